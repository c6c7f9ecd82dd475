//! What goes on around backups: the audit log, the clock, and what runs them.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::offline::Offline;
use crate::support::{finish, finish_ahead};

#[tokio::test(flavor = "multi_thread")]
async fn who_did_what_and_what_came_of_it_stands_in_the_audit_log() {
    let place = Offline::new();
    let url = place.database("app.db", "delete", 10);
    let lines = || -> Vec<Value> {
        let text = fs::read_to_string(place.path("vault/audit.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // A request that is wrong is no act.
    place.backup(&["create", "--url", &url, "--name", "a/b"]).await.assert_code(2);
    place.backup(&["delete", "nothing", "--confirm", "nothing"]).await.assert_code(2);
    assert_eq!(lines().len(), 0);
    place.backup(&["create", "--url", &url, "--name", "a"]).await.assert_code(0);
    place.backup(&["create", "--url", &url, "--name", "b", "--trigger", "schedule"]).await.assert_code(0);
    place.backup(&["restore", "a", "--url", &url, "--confirm", "a"]).await.assert_code(0);
    place.backup(&["keep", "a"]).await.assert_code(0);
    place.backup(&["delete", "a", "--confirm", "a"]).await.assert_code(4);
    place.backup(&["delete", "b", "--confirm", "b"]).await.assert_code(0);
    let (lines, mut acts) = (lines(), Vec::new());
    for pair in lines.chunks(2) {
        let (begun, ended) = (&pair[0], &pair[1]);
        assert_eq!((&begun["result"], &begun["run"]), (&"begun".into(), &ended["run"]));
        assert_eq!(ended["schema"], "lifeboat.audit/1");
        assert!(
            ended["duration_seconds"].as_f64().unwrap() > 0.0
                && ended["who"].as_str().unwrap().contains("uid")
        );
        acts.push((
            ended["what"].as_str().unwrap(),
            ended["name"].as_str().unwrap(),
            ended["exit_code"].as_i64().unwrap(),
        ));
    }
    assert_eq!(
        acts,
        [
            ("backup create", "a", 0),
            ("backup create", "b", 0),
            ("backup restore", "a", 0),
            ("backup keep", "a", 0),
            ("backup delete", "a", 4),
            ("backup delete", "b", 0)
        ]
    );
    assert_eq!((&lines[3]["trigger"], &lines[9]["result"]), (&"schedule".into(), &"failed".into()));
    assert!(lines[9]["error"].as_str().unwrap().contains("marked to be kept forever"));
    // A log that cannot be written stops what would destroy something.
    fs::remove_file(place.path("vault/audit.jsonl")).unwrap();
    fs::create_dir(place.path("vault/audit.jsonl")).unwrap();
    place.backup(&["keep", "a", "--no-longer"]).await.assert_code(3).assert_says(&["audit.jsonl"]);
    let run = place.backup(&["delete", "a", "--confirm", "a", "--allow-last-copy"]).await;
    run.assert_code(3);
    assert!(place.files().contains(&"a.json".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_40_days_ahead_never_costs_a_good_backup() {
    let place = Offline::new();
    let url = place.database("app.db", "wal", 10);
    for name in ["a", "b", "c"] {
        place.backup(&["create", "--url", &url, "--name", name]).await.assert_code(0);
    }
    place.age("a", 29);
    let ahead = async |arguments: &[&str]| {
        finish_ahead("+40d", &place.command(&[&["backup"], arguments].concat())).await
    };
    // Two backups from the future, so that they agree on the time; and the rules are asked for by hand.
    for name in ["d", "e"] {
        ahead(&["create", "--url", &url, "--name", name]).await.assert_code(0);
    }
    ahead(&["prune"]).await.assert_code(4).assert_says(&["clock is 40 days ahead"]);
    assert_eq!(place.files().len(), 10);
    // With the clock right again, they are new, and nothing that is young enough goes.
    place.backup(&["create", "--url", &url, "--name", "f"]).await.assert_code(0);
    place.backup(&["prune"]).await.assert_code(0);
    assert_eq!(place.files().len(), 12);
    place.backup(&["verify", "--all"]).await.assert_code(0);
    // Newest of all is one from the future: when the others have gone, the last good one still stays.
    for name in ["a", "b", "c", "f"] {
        place.backup(&["delete", name, "--confirm", name]).await.assert_code(0);
    }
    let run =
        finish(place.command(&["backup", "prune"]).env("BACKUP_RETENTION_DAYS", "1").spawn().unwrap()).await;
    run.assert_code(0);
    assert_eq!(place.files().len(), 4);
}

/// What `schedule` writes is run by the real thing. Cron looks once a minute, so this is part of a campaign.
#[tokio::test(flavor = "multi_thread")]
async fn the_line_for_cron_runs_under_a_cron_daemon() {
    if std::env::var_os("LIFEBOAT_CAMPAIGN").is_none() || !is_root() {
        eprintln!("skipped: cron takes a minute, and root (set LIFEBOAT_CAMPAIGN)");
        return;
    }
    let place = Offline::new();
    let url = place.database("app.db", "wal", 10);
    fs::write(place.path("lifeboat.toml"), format!("[databases.app.backup]\nurl = \"{url}\"\n")).unwrap();
    let [directory, log, environment] = ["cron.d", "cron.log", "no.env"].map(|name| place.path(name));
    fs::create_dir(&directory).unwrap();
    let paths = [&directory, &log, &environment].map(|path| path.to_string_lossy().into_owned());
    let schedule =
        ["schedule", "app", "--with", "cron", "--install", "--directory", &paths[0], "--log", &paths[1]];
    place.backup(&[&schedule[..], &["--environment-file", &paths[2]]].concat()).await.assert_code(0);
    let written = fs::read_to_string(directory.join("lifeboat-backup-app-daily")).unwrap();
    let name = format!("/etc/cron.d/lifeboat-test-{}", std::process::id());
    fs::write(&name, written.replace("15 2 * * *", "* * * * *")).unwrap();
    let mut daemon =
        Command::new("cron").arg("-f").kill_on_drop(true).spawn().expect("cron is installed by `make setup`");
    let made = async {
        while !place.files().iter().any(|file| file.ends_with(".json")) {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(150), made).await;
    fs::remove_file(&name).unwrap();
    daemon.kill().await.unwrap();
    assert!(in_time.is_ok(), "{}", fs::read_to_string(&log).unwrap_or_default());
    let list = place.backup(&["list", "--json"]).await.assert_code(0).json();
    assert_eq!(
        (&list["backups"][0]["class"], &list["backups"][0]["made_by"]["trigger"]),
        (&"daily".into(), &"schedule".into())
    );
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == 0)
}
