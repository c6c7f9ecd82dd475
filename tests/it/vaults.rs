//! Vaults as people have them: shared by machines, on file systems that lack something, for a year.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::offline::Offline;
use crate::support::{Run, finish, finish_ahead};

/// Runs a command on a machine of that name.
async fn finish_on(host: &str, days_ago: u32, ours: &Command) -> Run {
    let ours = ours.as_std();
    let mut command = Command::new("unshare");
    command.args([
        "--map-root-user",
        "--uts",
        "sh",
        "-c",
        "hostname \"$0\" && exec \"$@\"",
        host,
        "faketime",
        "-f",
    ]);
    command.arg(format!("-{days_ago}d")).arg(ours.get_program()).args(ours.get_args());
    finish(like(command, ours).spawn().expect("unshare is part of util-linux")).await
}

/// A command with the environment of another.
fn like(mut command: Command, ours: &std::process::Command) -> Command {
    let set = ours.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.env_clear().envs(set).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.current_dir(ours.get_current_dir().unwrap());
    command
}

/// Runs a command to which the kernel answers some calls with an error.
async fn finish_without(faults: &[&str], ours: &Command) -> Run {
    let ours = ours.as_std();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null"]);
    let calls: Vec<&str> = faults.iter().map(|fault| fault.split(':').next().unwrap()).collect();
    command.args(["-e", &format!("trace={}", calls.join(","))]);
    command.args(faults.iter().map(|fault| format!("--inject={fault}")));
    command.arg(ours.get_program()).args(ours.get_args());
    finish(like(command, ours).spawn().expect("strace is installed by `make setup`")).await
}

fn names(list: &Value) -> Vec<&str> {
    list["backups"].as_array().unwrap().iter().map(|it| it["backup_name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_share_a_vault_keep_their_own_last_copies() {
    let place = Offline::new();
    let url = place.database("app.db", "delete", 1);
    let create = |name: &str| place.command(&["backup", "create", "--url", &url, "--name", name]);
    finish_on("web1", 60, &create("w1")).await.assert_code(0);
    for (name, days) in [("w22", 2), ("w21", 1), ("w20", 0)] {
        finish_on("web2", days, &create(name)).await.assert_code(0);
    }
    let run = place.backup(&["list"]).await;
    let said = &run.assert_code(0).stdout;
    assert!(said.contains("on web1") && said.contains("on web2"), "{said}");
    let list = place.backup(&["list", "--json"]).await.assert_code(0).json();
    assert_eq!(names(&list), ["w20", "w21", "w22", "w1"]);
    place
        .backup(&["delete", "w1", "--confirm", "w1"])
        .await
        .assert_code(4)
        .assert_says(&["it is the last good backup of `app`", "on web1"]);
    // A container has another name at each start; its file on a volume is the same one.
    fs::remove_dir_all(place.path("vault")).unwrap();
    for (name, host, days) in [
        ("c1", "3f2a9c01b7de", 60),
        ("c2", "api-7d9f8b6c54-x2k8z", 2),
        ("c3", "9e1b2c3d4f5a", 1),
        ("c4", "0a1b2c3d4e5f", 0),
    ] {
        finish_on(host, days, &create(name)).await.assert_code(0);
    }
    let list = place.backup(&["list", "--json"]).await.assert_code(0).json();
    assert_eq!(names(&list), ["c4", "c3", "c2"]);
    // The file was moved to another directory, and an id says that it is still the same database.
    fs::remove_dir_all(place.path("vault")).unwrap();
    let named = |name: &str, url: &str| {
        place.command(&["backup", "create", "--url", url, "--name", name, "--database-id", "orders-eu"])
    };
    finish_on("old", 60, &named("i1", &url)).await.assert_code(0);
    fs::create_dir(place.path("moved")).unwrap();
    fs::rename(place.path("app.db"), place.path("moved/app.db")).unwrap();
    let moved = format!("sqlite://{}", place.path("moved/app.db").display());
    for (name, days) in [("i2", 2), ("i3", 1), ("i4", 0)] {
        finish_on("new", days, &named(name, &moved)).await.assert_code(0);
    }
    let list = place.backup(&["list", "--json"]).await.assert_code(0).json();
    assert_eq!(names(&list), ["i4", "i3", "i2"]);
    assert_eq!(list["backups"][0]["identity"], "id orders-eu");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_judged_by_the_rule_that_it_was_made_under() {
    let place = Offline::new();
    let url = place.database("app.db", "delete", 1);
    let create = |name: String| place.command(&["backup", "create", "--url", &url, "--name", &name]);
    for days in [400, 300, 40, 20, 6, 1, 0] {
        let ahead = format!("-{days}d");
        for (kind, rule) in [("year", Some("365")), ("week", Some("7")), ("usual", None)] {
            let mut command = create(format!("{kind}-{days}"));
            rule.map(|rule| command.env("BACKUP_RETENTION_DAYS", rule));
            finish_ahead(&ahead, &command).await.assert_code(0);
        }
    }
    let list = place.backup(&["list", "--json"]).await.assert_code(0).json();
    let mut kept = names(&list);
    kept.sort_unstable();
    assert_eq!(
        kept,
        [
            "usual-0", "usual-1", "usual-20", "usual-6", "week-0", "week-1", "week-6", "year-0", "year-1",
            "year-20", "year-300", "year-40", "year-6"
        ]
    );
    // What somebody asks for by hand goes before what they were made under.
    let run = place.backup(&["prune", "--keep-days", "10", "--json"]).await.assert_code(0).json();
    let mut deleted: Vec<&str> =
        run["deleted"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    deleted.sort_unstable();
    assert_eq!(deleted, ["usual-20", "year-20", "year-300", "year-40"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_name_is_that_of_the_newest_backup() {
    let place = Offline::new();
    let url = place.database("app.db", "delete", 5);
    let other = place.database("other.db", "delete", 5);
    let create = |url: &str| place.command(&["backup", "create", "--url", url, "--name", "weekly_backup"]);
    for days in [14, 7, 0] {
        let rows = format!("insert into filler (b) values ({days})");
        rusqlite::Connection::open(place.path("app.db")).unwrap().execute_batch(&rows).unwrap();
        finish_ahead(&format!("-{days}d"), &create(&url)).await.assert_code(0);
    }
    let list = place.backup(&["list", "--json"]).await.assert_code(0).json();
    let found = names(&list);
    assert_eq!(found.len(), 3);
    assert!(
        found[0] == "weekly_backup" && found[1..].iter().all(|name| name.starts_with("weekly_backup_20"))
    );
    place.backup(&["verify", "--all", "--level", "restore"]).await.assert_code(0);
    let into = place.path("restored.db").display().to_string();
    place.backup(&["restore", "weekly_backup", "--into", &into]).await.assert_code(0);
    assert_eq!(place.query("restored.db", "select b from filler order by a desc"), "0");
    // The name of another database's backup is not taken from it.
    let run = finish(create(&other).spawn().unwrap()).await;
    run.assert_code(2).assert_says(&["backup `weekly_backup` already exists", "it is a backup of app"]);
    assert_eq!(place.unfinished(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_without_links_takes_backups_and_one_without_locks_is_refused_at_once() {
    let place = Offline::new();
    let url = place.database("app.db", "delete", 5);
    let create = |name: &str| place.command(&["backup", "create", "--url", &url, "--name", name]);
    let mut made = Vec::new();
    for error in ["EPERM", "ENOSYS", "EOPNOTSUPP", "EMLINK"] {
        for faults in [
            vec![format!("linkat:error={error}")],
            vec![format!("linkat:error={error}"), "renameat2:error=EINVAL".to_owned()],
        ] {
            let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
            let name = format!("{error}-{}", faults.len());
            finish_without(&faults, &create(&name)).await.assert_code(0);
            // A name that is taken is not written over there either, and makes room by a copy.
            finish_without(&faults, &create(&name)).await.assert_code(0);
            made.push(name);
        }
    }
    place.backup(&["verify", "--all"]).await.assert_code(0);
    assert_eq!(place.files().len(), made.len() * 4);
    assert_eq!(place.unfinished(), Vec::<String>::new());
    for (fault, words) in [
        ("flock:error=ENOLCK", "does not support locks"),
        ("fsync:error=EINVAL", "cannot flush a file to disk"),
    ] {
        finish_without(&[fault], &create("refused")).await.assert_code(3).assert_says(&[words]);
    }
    assert_eq!(place.files().len(), made.len() * 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_reported_as_failed_is_not_listed() {
    let place = Offline::new();
    let url = place.database("app.db", "delete", 5);
    let create = |name: &str| place.command(&["backup", "create", "--url", &url, "--name", name]);
    let mut failed = 0;
    for number in 1..12 {
        let name = format!("n{number}");
        let run = finish_without(&[&format!("fsync:error=EIO:when={number}")], &create(&name)).await;
        let list = place.backup(&["list", "--json"]).await.assert_code(0).json();
        let is_listed = names(&list).contains(&name.as_str());
        assert_eq!(run.code == Some(0), is_listed, "fsync {number}: {}", run.stderr);
        failed += usize::from(!is_listed);
    }
    assert!(failed >= 5, "no flush was met");
    place.backup(&["verify", "--all"]).await.assert_code(0);
    assert_eq!(place.unfinished(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_belongs_to_the_backup_that_was_read_whatever_it_is_called_by_now() {
    let place = Offline::new();
    let url = place.database("app.db", "delete", 5);
    for name in ["weekly", "newer"] {
        rusqlite::Connection::open(place.path("app.db"))
            .unwrap()
            .execute("delete from filler where a = 5", [])
            .unwrap();
        let run = place.backup(&["create", "--url", &url, "--name", name, "--verify", "checksum"]).await;
        run.assert_code(0);
    }
    let text = |name: &str| fs::read_to_string(place.path(&format!("vault/{name}.json"))).unwrap();
    // Names change under this lock, and so are proofs recorded.
    let lock = fs::File::create(place.path("vault/.lock")).unwrap();
    lock.lock().unwrap();
    let ours = place.command(&["backup", "verify", "weekly"]);
    let (ours, trace) = (ours.as_std(), place.path("trace"));
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=flock", "-o"]).arg(&trace);
    command.arg(ours.get_program()).args(ours.get_args());
    let mut verifying = like(command, ours).spawn().unwrap();
    let is_waiting = || fs::read_to_string(&trace).is_ok_and(|calls| calls.contains("EAGAIN"));
    while !is_waiting() && verifying.try_wait().unwrap().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let (read, newer) = (text("weekly"), text("newer"));
    for (from, to, content) in [("weekly", "weekly_old", read), ("newer", "weekly", newer)] {
        let file = |name: &str| place.path(&format!("vault/{name}.sqlite.gz"));
        fs::rename(file(from), file(to)).unwrap();
        fs::remove_file(place.path(&format!("vault/{from}.json"))).unwrap();
        let renamed = content.replace(from, to);
        fs::write(place.path(&format!("vault/{to}.json")), renamed).unwrap();
    }
    drop(lock);
    let run = finish(verifying).await;
    assert!(run.assert_code(0).stdout.contains("PASS  backup `weekly_old` (stream)"), "{}", run.stdout);
    let level = |name: &str| {
        serde_json::from_str::<Value>(&text(name)).unwrap()["verification"]["level"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!([level("weekly_old"), level("weekly")], ["stream", "checksum"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_at_the_same_moment_are_all_recorded() {
    let place = Offline::new();
    let mut running = Vec::new();
    for number in 0..24 {
        let url = format!("postgresql://nobody@127.0.0.1:1/app{number}");
        running.push(place.command(&["backup", "create", "--url", &url]).spawn().unwrap());
    }
    for child in running {
        let run = finish(child).await;
        assert!(!run.assert_code(3).stderr.contains("could not be recorded"), "{}", run.stderr);
    }
    let list = place.backup(&["list", "--json"]).await.assert_code(0).json();
    assert_eq!(list["failures"].as_array().unwrap().len(), 24);
    assert_eq!(place.unfinished(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_schedule_displaces_another() {
    let place = Offline::new();
    let url = place.database("app.db", "delete", 1);
    let settings = format!("[databases.a.backup]\nurl = \"{url}\"\n[databases.b.backup]\nurl = \"{url}\"\n");
    fs::write(place.path("lifeboat.toml"), settings).unwrap();
    let directory = place.path("o");
    fs::create_dir(&directory).unwrap();
    let path = directory.display().to_string();
    let schedule = async |of: &[&str], more: &[&str]| {
        let words = [&["schedule"], of, &["--install", "--directory", &path], more].concat();
        place.backup(&words).await
    };
    let files = || {
        let mut names: Vec<String> = fs::read_dir(&directory)
            .unwrap()
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    for with in ["cron", "systemd"] {
        schedule(&["a", "--with", with], &[]).await.assert_code(0);
        schedule(&["b", "--with", with], &[]).await.assert_code(0);
        schedule(&["a", "--with", with], &["--every", "weekly"]).await.assert_code(0);
        // What is there already says the same.
        schedule(&["a", "--with", with], &[]).await.assert_code(0);
    }
    let expected = ["a-daily", "a-weekly", "b-daily"]
        .iter()
        .flat_map(|name| ["", ".service", ".timer"].map(|kind| format!("lifeboat-backup-{name}{kind}")));
    assert_eq!(files(), expected.collect::<Vec<_>>());
    let cron = directory.join("lifeboat-backup-a-daily");
    let written = fs::read_to_string(&cron).unwrap();
    let run = schedule(&["a", "--with", "cron"], &["--at", "03:00"]).await;
    run.assert_code(4).assert_says(&["lifeboat-backup-a-daily` was kept", "--replace"]);
    let elsewhere = place.command(&[
        "--vault",
        "/elsewhere",
        "backup",
        "schedule",
        "a",
        "--with",
        "cron",
        "--install",
        "--directory",
        &path,
    ]);
    let mut elsewhere = elsewhere;
    finish(elsewhere.spawn().unwrap()).await.assert_code(4);
    assert_eq!(fs::read_to_string(&cron).unwrap(), written);
    schedule(&["a", "--with", "cron"], &["--at", "03:00", "--replace"]).await.assert_code(0);
    assert_ne!(fs::read_to_string(&cron).unwrap(), written);
    // A link that lies there, and what it leads to, stay as they are.
    let target = place.path("precious");
    fs::write(&target, "precious").unwrap();
    fs::remove_file(&cron).unwrap();
    symlink(&target, &cron).unwrap();
    schedule(&["a", "--with", "cron"], &[]).await.assert_code(4);
    assert!(fs::symlink_metadata(&cron).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    // Where cron runs a command a relative path is another file, or none.
    let settings =
        format!("[databases.a.backup]\nurl = \"{url}\"\n[databases.r.backup]\nurl = \"sqlite:app.db\"\n");
    fs::write(
        place.path("lifeboat.toml"),
        settings.clone() + &format!("[databases.b.backup]\nurl = \"{url}\"\n"),
    )
    .unwrap();
    let run = place.backup(&["schedule", "r", "--with", "cron"]).await;
    run.assert_code(2).assert_says(&["`r` in lifeboat.toml is a relative path", "Write it as `sqlite:///"]);
    // Nothing is run if the log cannot be opened.
    let run = place.backup(&["schedule", "b", "--with", "cron", "--user", "ats"]).await;
    run.assert_code(0).assert_says(&["will not start unless `ats` can write to the log"]);
    // The user is the unit's, too.
    let run = place.backup(&["schedule", "b", "--with", "systemd", "--user", "ats"]).await;
    assert!(run.assert_code(0).stdout.contains("\nUser=ats\n"));
    place.backup(&["schedule", "b", "--with", "systemd", "--user", "a b"]).await.assert_code(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_night_says_nothing_and_a_bad_one_can_be_found_in_the_log() {
    let place = Offline::new();
    let url = place.database("app.db", "delete", 1);
    let logged = async |words: &[&str]| {
        let log = fs::OpenOptions::new().create(true).append(true).open(place.path("backup.log")).unwrap();
        let mut command = place.command(words);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        command.status().await.unwrap().code().unwrap()
    };
    let log = || fs::read_to_string(place.path("backup.log")).unwrap();
    assert_eq!(logged(&["--quiet", "backup", "create", "--url", &url, "--name", "a"]).await, 0);
    assert_eq!(logged(&["--quiet", "backup", "verify", "a"]).await, 0);
    assert_eq!(logged(&["--quiet", "backup", "prune"]).await, 0);
    assert_eq!(log(), "");
    assert_eq!(logged(&["backup", "create", "--url", &url, "--name", "b"]).await, 0);
    let said = log();
    assert!(said.lines().all(|line| line.contains("Z INFO ")), "{said}");
    assert_eq!(logged(&["--quiet", "backup", "create", "--url", "sqlite:///nowhere/x.db"]).await, 2);
    assert_eq!(logged(&["--quiet", "backup", "create", "--no-such-flag"]).await, 2);
    let said = log();
    let errors: Vec<&str> = said.lines().filter(|line| line.contains(" ERROR ")).collect();
    assert!(errors.iter().any(|line| line.contains("/nowhere/x.db")), "{said}");
    assert!(errors.iter().any(|line| line.contains("--no-such-flag")), "{said}");
    let time = |line: &str| chrono::DateTime::parse_from_rfc3339(line.split(' ').next().unwrap()).is_ok();
    assert!(said.lines().all(time), "{said}");
    // Data stays data, wherever it goes, and help is what was asked for.
    for words in [&["--help"][..], &["--version"], &["backup", "create", "-h"]] {
        fs::remove_file(place.path("backup.log")).unwrap();
        let errors = fs::File::create(place.path("errors")).unwrap();
        let asked = place.command(words).stderr(errors).output().await.unwrap();
        assert!(asked.status.success() && fs::read(place.path("errors")).unwrap().is_empty(), "{words:?}");
        assert_eq!(logged(words).await, 0);
        assert_eq!(log().as_bytes(), asked.stdout);
        assert!(!asked.stdout.is_empty());
    }
    fs::remove_file(place.path("backup.log")).unwrap();
    assert_eq!(logged(&["--quiet", "--json", "backup", "list"]).await, 0);
    assert_eq!(names(&serde_json::from_str(&log()).unwrap()), ["b", "a"]);
}

/// Every line of a crontab that an application had, each day of a year: a daily backup kept for a week, a weekly one under a
/// fixed name, a monthly one kept for a year.
#[tokio::test(flavor = "multi_thread")]
async fn the_cron_lines_of_an_application_work_for_a_year() {
    let place = Offline::new();
    let url = place.database("app.db", "delete", 1);
    let days = 366;
    for day in 0..=days {
        let ahead = format!("-{}d", days - day);
        let run = async |name: Option<&str>, rule: &str| {
            let mut words = vec!["--quiet", "backup", "create"];
            words.extend(name.into_iter().flat_map(|name| ["--name", name]));
            let mut command = place.command(&words);
            command.env("DATABASE_URL", &url).env("BACKUP_RETENTION_DAYS", rule);
            let run = finish_ahead(&ahead, &command).await;
            run.assert_code(0);
            assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""), "day {day}");
        };
        run(None, "7").await;
        if day % 7 == 0 {
            run(Some("weekly_backup"), "30").await;
        }
        if day % 30 == 0 {
            run(Some(&format!("monthly-{day:03}")), "365").await;
        }
    }
    let list = place.backup(&["list", "--json"]).await.assert_code(0).json();
    let found = names(&list);
    let count = |prefix: &str| found.iter().filter(|name| name.starts_with(prefix)).count();
    assert_eq!(count("monthly-"), days / 30 + 1 - 1);
    assert!((4..=6).contains(&count("weekly_backup")), "{found:?}");
    assert!((7..=9).contains(&count("app_")), "{found:?}");
    place.backup(&["verify", "--all"]).await.assert_code(0);
    assert_eq!(place.unfinished(), Vec::<String>::new());
}
