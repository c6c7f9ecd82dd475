//! The schedulers that `backup schedule` writes for, run by them.

use std::fs;
use std::time::Duration;

use tokio::process::Command;

use crate::offline::Offline;

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
