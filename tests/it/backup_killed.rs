//! `kill -9` at random points of a create, a restore and a prune, in a directory and in a bucket: no name that is not
//! complete, no good backup lost, a database that is as it was or as it is to be.
//!
//! LIFEBOAT_CAMPAIGN=50 kills fifty of each; without it a few.

use std::time::Duration;

use rand::RngExt as _;

use crate::offline::Offline;
use crate::stores::Bucket;
use crate::support::finish;

/// A vault and a database beside it.
struct Ground {
    place: Offline,
    /// Where the vault is, if it is no directory.
    vault: Option<String>,
    bucket: Option<Bucket>,
    url: String,
}

impl Ground {
    async fn new(is_bucket: bool) -> Ground {
        let place = Offline::new();
        let bucket = if is_bucket { Some(Bucket::start().await) } else { None };
        let vault = bucket.as_ref().map(|bucket| bucket.url("killed"));
        let url = place.database("app.db", "wal", 8_000);
        Ground { place, vault, bucket, url }
    }

    fn command(&self, arguments: &[&str]) -> tokio::process::Command {
        let vault: Vec<&str> = self.vault.iter().flat_map(|vault| ["--vault", vault]).collect();
        self.place.command(&[&["backup"], arguments, &vault].concat())
    }

    async fn run(&self, arguments: &[&str]) -> crate::support::Run {
        finish(self.command(arguments).spawn().unwrap()).await
    }

    /// Kills a command at a random moment of `longest`.
    async fn kill(&self, arguments: &[&str], longest: Duration) {
        let mut child = self.command(arguments).spawn().unwrap();
        let moment = longest.mul_f64(rand::rng().random_range(0.0..1.0));
        if tokio::time::timeout(moment, child.wait()).await.is_err() {
            child.kill().await.unwrap();
        }
        if let Some(bucket) = &self.bucket {
            bucket.settled().await;
        }
    }

    /// Lets time pass: locks of the dead are free in a directory at once, in a bucket after half a minute of its clock.
    fn pass_time(&self) {
        if let Some(bucket) = &self.bucket {
            bucket.advance(60);
        }
    }

    /// Names of all backups, each of which proves good.
    async fn good(&self) -> Vec<String> {
        let list = self.run(&["list", "--json"]).await.assert_code(0).json();
        assert!(list["damaged"].as_array().is_none_or(Vec::is_empty), "{list}");
        let backups = list["backups"].as_array().unwrap();
        assert!(backups.iter().all(|backup| backup["file"] == "present"), "{list}");
        if !backups.is_empty() {
            self.run(&["verify", "--all"]).await.assert_code(0);
        }
        backups.iter().map(|backup| backup["backup_name"].as_str().unwrap().to_owned()).collect()
    }

    /// Makes a backup, and says how long that took.
    async fn create(&self, name: &str) -> Duration {
        let began = std::time::Instant::now();
        self.run(&["create", "--url", &self.url, "--name", name, "--no-prune"]).await.assert_code(0);
        began.elapsed()
    }
}

/// How many of each.
fn rounds(usual: usize) -> usize {
    std::env::var("LIFEBOAT_CAMPAIGN").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

async fn killed(ground: &Ground, rounds: usize) {
    let longest = ground.create("first").await;
    for round in 0..rounds {
        let name = format!("k{round}");
        ground.kill(&["create", "--url", &ground.url, "--name", &name, "--no-prune"], longest).await;
        // The backup is whole, or the same name is free, as soon as the locks of the dead are.
        if !ground.good().await.contains(&name) {
            let again =
                ground.command(&["create", "--url", &ground.url, "--name", &name, "--no-prune"]).spawn();
            tokio::time::sleep(Duration::from_millis(300)).await;
            ground.pass_time();
            finish(again.unwrap()).await.assert_code(0);
        }
        ground.pass_time();
        ground.run(&["delete", &name, "--confirm", &name]).await.assert_code(0);
    }

    // The first backup has 8,000 rows of filler, the database from now on none.
    let place = &ground.place;
    let empty = || {
        let connection = rusqlite::Connection::open(place.path("app.db")).unwrap();
        connection.execute("delete from filler", []).unwrap();
    };
    empty();
    let restore = ["restore", "first", "--url", &ground.url, "--confirm", "first"];
    let began = std::time::Instant::now();
    ground.run(&restore).await.assert_code(0);
    let longest = began.elapsed();
    for _ in 0..rounds {
        empty();
        ground.kill(&restore, longest).await;
        ground.pass_time();
        assert_eq!(place.query("app.db", "pragma integrity_check"), "ok");
        let rows = place.query("app.db", "select count(*) from filler");
        assert!(["Integer(0)", "Integer(8000)"].contains(&rows.as_str()), "neither old nor new: {rows}");
        assert!(ground.good().await.contains(&"first".to_owned()), "the backup that was restored is lost");
    }
    ground.run(&restore).await.assert_code(0);
    assert_eq!(place.query("app.db", "select count(*) from filler"), "Integer(8000)");

    let prune = ["prune", "--keep-last", "2", "--keep-days", "0"];
    let began = std::time::Instant::now();
    ground.run(&prune).await.assert_code(0);
    let longest = began.elapsed();
    for round in 0..rounds {
        for number in 0..4 {
            ground.create(&format!("p{round}-{number}")).await;
        }
        ground.kill(&prune, longest).await;
        ground.pass_time();
        let newest = format!("p{round}-3");
        let left = ground.good().await;
        assert!(left.len() >= 2 && left[0] == newest, "{left:?}");
        ground.run(&prune).await.assert_code(0);
        assert_eq!(ground.good().await, [newest, format!("p{round}-2")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_loses_nothing_in_a_directory() {
    let ground = Ground::new(false).await;
    killed(&ground, rounds(3)).await;
    assert_eq!(ground.place.unfinished(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_loses_nothing_in_a_bucket() {
    let ground = Ground::new(true).await;
    killed(&ground, rounds(1)).await;
    let bucket = ground.bucket.as_ref().unwrap();
    assert_eq!(bucket.uploads().await, 0, "parts of an upload were left");
    assert_eq!(bucket.objects("killed").await.len(), 4, "{:?}", bucket.objects("killed").await);
}
