//! Backups of SQLite files, and the promises of the vault, attacked.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::offline::{Offline, RECORDS};
use crate::support::finish;

/// A process would write like this; a thread with a connection of its own does as well.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<usize>>,
}

impl Writer {
    fn start(path: PathBuf) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut connection = rusqlite::Connection::open(path).unwrap();
            connection.busy_timeout(Duration::from_secs(30)).unwrap();
            let mut written = 0;
            while !stopped.load(Ordering::Relaxed) {
                let transfer = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate);
                let Ok(transfer) = transfer else { continue };
                transfer.execute("update accounts set balance = balance - 1 where id = 1", []).unwrap();
                transfer.execute("insert into filler (b) values (hex(randomblob(200)))", []).unwrap();
                transfer.execute("update accounts set balance = balance + 1 where id = 2", []).unwrap();
                written += usize::from(transfer.commit().is_ok());
            }
            written
        });
        Writer { stop, thread: Some(thread) }
    }

    fn stop(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_backups_are_intact_whoever_writes_meanwhile_in_both_journal_modes() {
    let place = Offline::new();
    // LIFEBOAT_CAMPAIGN makes 40 of each.
    let rounds = if std::env::var_os("LIFEBOAT_CAMPAIGN").is_some() { 40 } else { 5 };
    for mode in ["wal", "delete"] {
        let file = format!("{mode}.db");
        let url = place.database(&file, mode, 4000);
        let writer = Writer::start(place.path(&file));
        for round in 0..rounds {
            let name = format!("{mode}-{round}");
            place.backup(&["create", "--url", &url, "--name", &name, "--no-prune"]).await.assert_code(0);
            place
                .backup(&["restore", &name, "--into", &place.path(&name).to_string_lossy()])
                .await
                .assert_code(0);
            assert_eq!(place.query(&name, "pragma integrity_check"), "ok");
            assert_eq!(place.query(&name, "select sum(balance) from accounts"), "Integer(100000)");
        }
        assert!(writer.stop() > 10, "nobody wrote while the backups were made");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_can_be_restored_by_hand_with_the_usual_tools() {
    let place = Offline::new();
    let url = place.database("app.db", "wal", 3000);
    for (how, program) in [("gzip", "gunzip"), ("zstd", "zstd"), ("none", "cat")] {
        let run =
            place.backup(&["create", "--url", &url, "--name", how, "--compression", how, "--json"]).await;
        let manifest = run.assert_code(0).json();
        let file = fs::File::open(manifest["file_path"].as_str().unwrap()).unwrap();
        let mut command = Command::new(program);
        if program != "cat" {
            command.args(["-d", "-c"]);
        }
        let done = command.stdin(file).output().await.unwrap();
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
        fs::write(place.path("by-hand.db"), &done.stdout).unwrap();
        assert_eq!(place.query("by-hand.db", "pragma integrity_check"), "ok");
        assert_eq!(place.query("by-hand.db", "select count(*) from filler"), "Integer(3000)");
        let sum =
            Command::new("sha256sum").arg(manifest["file_path"].as_str().unwrap()).output().await.unwrap();
        assert!(String::from_utf8_lossy(&sum.stdout).starts_with(manifest["sha256"].as_str().unwrap()));
        assert_eq!(manifest["compressed"], how != "none");
        assert_eq!(manifest["contents"]["tables"][1]["rows"], 3000);
        assert_eq!(manifest["schema"], "lifeboat.backup/1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_or_altered_backup_is_refused_before_anything_is_touched() {
    let place = Offline::new();
    let url = place.database("app.db", "delete", 3000);
    place.backup(&["create", "--url", &url, "--name", "good", "--verify", "checksum"]).await.assert_code(0);
    let file = place.path("vault/good.sqlite.gz");
    let whole = fs::read(&file).unwrap();
    let before = fs::read(place.path("app.db")).unwrap();
    let mut damaged: Vec<Vec<u8>> = (0..10).map(|tenth| whole[..whole.len() * tenth / 10].to_vec()).collect();
    for part in [0, 3, 12, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[part] ^= 1;
        damaged.push(flipped);
    }
    damaged.push([&whole[..], b"x"].concat());
    for (case, content) in damaged.iter().enumerate() {
        fs::write(&file, content).unwrap();
        for level in ["checksum", "stream"] {
            let run = place.backup(&["verify", "good", "--level", level, "--json"]).await;
            assert_eq!(
                run.assert_code(1).json()["backups"][0]["verification"]["result"],
                "fail",
                "case {case}"
            );
        }
        let run = place.backup(&["restore", "good", "--url", &url, "--confirm", "good"]).await;
        run.assert_code(1).assert_says(&["backup `good` was refused", "Nothing was changed"]);
        assert_eq!(fs::read(place.path("app.db")).unwrap(), before, "case {case}");
    }
    fs::write(&file, &whole).unwrap();
    place.backup(&["verify", "good"]).await.assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_file_is_restored_under_its_application_after_a_copy_of_it_was_made() {
    let place = Offline::new();
    let url = place.database("app.db", "wal", 500);
    place.backup(&["create", "--url", &url, "--name", "before"]).await.assert_code(0);
    let application = rusqlite::Connection::open(place.path("app.db")).unwrap();
    application.execute_batch("delete from filler; update accounts set balance = 0").unwrap();
    let run = place.backup(&["restore", "before", "--url", &url]).await;
    run.assert_code(4).assert_says(&["was not confirmed", "--confirm before"]);
    let run = place.backup(&["restore", "before", "--url", &url, "--confirm", "before", "--json"]).await;
    let report = run.assert_code(0).json();
    let sum: i64 = application.query_row("select sum(balance) from accounts", [], |row| row.get(0)).unwrap();
    assert_eq!(sum, 100_000, "the application's own connection does not see what was restored");
    application.execute_batch("insert into filler (b) values ('after')").unwrap();
    assert_eq!(place.query("app.db", "pragma integrity_check"), "ok");
    assert_eq!(place.query("app.db", "pragma journal_mode"), "wal");
    // What was there before can be brought back in the same way.
    let kept = report["kept_old"].as_str().unwrap().to_owned();
    place.backup(&["restore", &kept, "--url", &url, "--confirm", &kept]).await.assert_code(0);
    assert_eq!(place.query("app.db", "select count(*) from filler"), "Integer(0)");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offline_restore_wants_the_file_for_itself_and_leaves_no_old_wal_behind() {
    let place = Offline::new();
    let url = place.database("app.db", "wal", 500);
    place.backup(&["create", "--url", &url, "--name", "before"]).await.assert_code(0);
    let application = rusqlite::Connection::open(place.path("app.db")).unwrap();
    application.execute_batch("begin immediate; delete from filler").unwrap();
    let run = place.backup(&["restore", "before", "--url", &url, "--confirm", "before", "--offline"]).await;
    run.assert_code(4).assert_says(&["is in use"]);
    application.execute_batch("commit").unwrap();
    drop(application);
    place
        .backup(&["restore", "before", "--url", &url, "--confirm", "before", "--offline"])
        .await
        .assert_code(0);
    assert_eq!(place.query("app.db", "select count(*) from filler"), "Integer(500)");
    // A file that is no database any more is replaced as well, and kept.
    fs::write(place.path("app.db"), "this was a database").unwrap();
    place
        .backup(&["restore", "before", "--url", &url, "--confirm", "before"])
        .await
        .assert_code(2)
        .assert_says(&["--offline"]);
    place
        .backup(&["restore", "before", "--url", &url, "--confirm", "before", "--offline"])
        .await
        .assert_code(0);
    assert_eq!(place.query("app.db", "pragma integrity_check"), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_leaves_no_name_that_is_not_complete() {
    let place = Offline::new();
    let url = place.database("app.db", "wal", 20_000);
    for round in 0..8 {
        let name = format!("k{round}");
        let mut child = place.command(&["backup", "create", "--url", &url, "--name", &name]).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(40 + 130 * round)).await;
        child.kill().await.unwrap();
        for file in place.files().iter().filter(|file| file.ends_with(".json")) {
            let stem = file.trim_end_matches(".json");
            place.backup(&["verify", stem, "--level", "checksum"]).await.assert_code(0);
        }
    }
    place.backup(&["create", "--url", &url, "--name", "last"]).await.assert_code(0);
    assert_eq!(place.unfinished(), Vec::<String>::new());
    let list = place.backup(&["list", "--json"]).await;
    for backup in list.assert_code(0).json()["backups"].as_array().unwrap() {
        assert_eq!(backup["file"], "present");
    }
    assert_eq!(place.files().len() % 2, 0, "a file without its manifest: {:?}", place.files());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_leaves_nothing() {
    let place = Offline::new();
    let url = place.database("app.db", "wal", 40_000);
    let small = place.path("small");
    fs::create_dir(&small).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "none"])
        .arg(&small)
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: only root can mount a small file system");
        return;
    }
    let run = place.backup(&["create", "--url", &url, "--vault", &small.to_string_lossy()]).await;
    let left: Vec<String> = fs::read_dir(&small)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".lock" && name != ".locks" && !RECORDS.contains(&name.as_str()))
        .collect();
    let unmounted = std::process::Command::new("umount").arg(&small).status().unwrap();
    run.assert_code(3).assert_says(&["No space left", "The attempt was discarded"]);
    assert_eq!(left, Vec::<String>::new());
    assert!(unmounted.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_creates_of_one_name_the_later_has_it_and_none_is_lost() {
    let place = Offline::new();
    let url = place.database("app.db", "wal", 5000);
    let named = ["create", "--url", &url, "--name", "same"];
    let (left, right) = tokio::join!(place.backup(&named), place.backup(&named));
    left.assert_code(0);
    right.assert_code(0);
    let made = place.files();
    assert_eq!(made.len(), 4, "{made:?}");
    assert!(made.contains(&"same.json".to_owned()) && made.iter().any(|file| file.starts_with("same_20")));
    let unnamed = ["create", "--url", &url];
    let (left, right) = tokio::join!(place.backup(&unnamed), place.backup(&unnamed));
    left.assert_code(0);
    right.assert_code(0);
    assert_eq!(place.files().len(), 8);
    place.backup(&["verify", "--all"]).await.assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_private_and_directories_almost() {
    let place = Offline::new();
    let url = place.database("app.db", "wal", 10);
    place.backup(&["create", "--url", &url, "--name", "a"]).await.assert_code(0);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.path("vault")), 0o750);
    for entry in fs::read_dir(place.path("vault")).unwrap().flatten() {
        let expected = if entry.file_type().unwrap().is_dir() { 0o750 } else { 0o600 };
        assert_eq!(mode(&entry.path()), expected, "{:?}", entry.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_counts_only_what_is_proven_and_never_takes_the_last() {
    let place = Offline::new();
    let url = place.database("app.db", "wal", 10);
    for (name, days) in [("old", 90), ("older", 100), ("middle", 40), ("pinned", 200), ("recent", 3)] {
        place.backup(&["create", "--url", &url, "--name", name, "--no-prune"]).await.assert_code(0);
        place.age(name, days);
    }
    place.backup(&["keep", "pinned"]).await.assert_code(0);
    let kept = |report: &Value| -> Vec<String> {
        let verdicts = report["verdicts"].as_array().unwrap().iter();
        let kept = verdicts.filter(|verdict| verdict["keep"] == true);
        kept.map(|verdict| verdict["id"].as_str().unwrap().to_owned()).collect()
    };
    let report = place.backup(&["prune", "--dry-run", "--json"]).await.assert_code(0).json();
    assert_eq!(report["schema"], "lifeboat.prune/1");
    assert_eq!(kept(&report), ["recent", "pinned"]);
    assert_eq!(place.files().len(), 10, "a dry run removed something");
    // A backup that is damaged is none: then the newest good one is an old one, and stays.
    let mut file = fs::OpenOptions::new().write(true).open(place.path("vault/recent.sqlite.gz")).unwrap();
    file.seek(SeekFrom::Start(100)).unwrap();
    file.write_all(b"damage").unwrap();
    place.backup(&["verify", "recent"]).await.assert_code(1);
    let report = place.backup(&["prune", "--json"]).await.assert_code(0).json();
    assert_eq!(kept(&report), ["recent", "middle", "pinned"]);
    assert_eq!(report["deleted"].as_array().unwrap().len(), 2);
    // Nothing is left to rely on but `middle`: a rule of one day does not take it either.
    let run =
        finish(place.command(&["backup", "prune"]).env("BACKUP_RETENTION_DAYS", "1").spawn().unwrap()).await;
    run.assert_code(0);
    assert!(place.files().contains(&"middle.sqlite.gz".to_owned()));
    place
        .backup(&["delete", "pinned", "--confirm", "pinned", "--allow-last-copy"])
        .await
        .assert_code(4)
        .assert_says(&["forever"]);
    place.backup(&["keep", "pinned", "--no-longer"]).await.assert_code(0);
    place.backup(&["delete", "pinned", "--confirm", "wrong"]).await.assert_code(4);
    place.backup(&["delete", "pinned", "--confirm", "pinned"]).await.assert_code(0);
    let run = place.backup(&["delete", "middle", "--confirm", "middle"]).await;
    run.assert_code(4).assert_says(&["it is the last good backup", "--allow-last-copy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_removes_old_ones_after_it_but_not_after_a_gap() {
    let place = Offline::new();
    let url = place.database("app.db", "wal", 10);
    for (name, days) in [("a", 50), ("b", 45)] {
        place.backup(&["create", "--url", &url, "--name", name]).await.assert_code(0);
        place.age(name, days);
    }
    // After 45 days without a backup the clock may be wrong: nothing goes before another backup confirms the time.
    place.backup(&["create", "--url", &url, "--name", "c"]).await.assert_code(0);
    assert_eq!(place.files().len(), 6);
    place
        .backup(&["create", "--url", &url, "--name", "d"])
        .await
        .assert_code(0)
        .assert_says(&["removed `a`", "removed `b`"]);
    assert_eq!(place.files(), ["c.json", "c.sqlite.gz", "d.json", "d.sqlite.gz"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_backups_hold_no_plaintext_and_open_with_their_key_alone() {
    let place = Offline::new();
    let url = place.database("app.db", "wal", 200);
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    use age::secrecy::ExposeSecret as _;
    fs::write(place.path("key.txt"), format!("# a key\n{}\n", identity.to_string().expose_secret())).unwrap();
    place
        .backup(&["create", "--url", &url, "--name", "e", "--encrypt-to", &recipient, "--no-compress"])
        .await
        .assert_code(0);
    let mut content = Vec::new();
    fs::File::open(place.path("vault/e.sqlite.age")).unwrap().read_to_end(&mut content).unwrap();
    assert!(content.starts_with(b"age-encryption.org/v1"));
    assert!(!content.windows(13).any(|window| window == b"SQLite format"));
    place.backup(&["verify", "e", "--level", "checksum"]).await.assert_code(0);
    place.backup(&["verify", "e"]).await.assert_code(2).assert_says(&["--identity"]);
    place.backup(&["verify", "e", "--identity", "key.txt"]).await.assert_code(0);
    let into = place.path("back.db");
    place
        .backup(&["restore", "e", "--identity", "key.txt", "--into", &into.to_string_lossy()])
        .await
        .assert_code(0);
    assert_eq!(place.query("back.db", "select count(*) from filler"), "Integer(200)");
    let other = age::x25519::Identity::generate();
    fs::write(place.path("other.txt"), other.to_string().expose_secret()).unwrap();
    // A wrong key says nothing about the backup; a checksum takes nothing away from what was proven.
    for act in [&["verify", "e"][..], &["restore", "e", "--into", "nowhere.db"]] {
        let run = place.backup(&[act, &["--identity", "other.txt"]].concat()).await;
        run.assert_code(2).assert_says(&["none of the keys decrypts `e`", "--identity"]);
    }
    let look = place.backup(&["verify", "e", "--level", "checksum"]).await;
    assert!(look.assert_code(0).stdout.contains("PASS  backup `e` (checksum)"), "{}", look.stdout);
    let shown = place.backup(&["show", "e"]).await.assert_code(0).stdout.clone();
    for words in ["proven     good (stream", "checked    good (checksum"] {
        assert!(shown.contains(words), "{shown}");
    }
    let run = place.backup(&["create", "--url", &url, "--encrypt-to", "age1nonsense"]).await;
    run.assert_code(2).assert_says(&["is not an age recipient"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_say_what_to_do_and_leave_nothing() {
    let place = Offline::new();
    let url = place.database("app.db", "wal", 10);
    fs::write(place.path("text.db"), "x".repeat(5000)).unwrap();
    fs::write(place.path("empty.db"), "").unwrap();
    let at = |name: &str| format!("sqlite://{}", place.path(name).display());
    let (text, empty, absent) = (at("text.db"), at("empty.db"), at("absent.db"));
    let cases: Vec<(Vec<&str>, i32, &str)> = vec![
        (vec!["create", "--url", &url, "--name", "../x"], 2, "is not a valid name for a backup"),
        (vec!["create", "--url", &url, "--name", "a/b"], 2, "is not a valid name for a backup"),
        (vec!["create", "--url", &url, "--name", "a\u{1b}[2J"], 2, "is not a valid name for a backup"),
        (vec!["create", "--url", &url, "--name", "-rf"], 2, "unexpected argument"),
        (vec!["create", "--url", &url, "--name", ""], 2, "it is empty"),
        (vec!["create", "--url", &text], 2, "is not a SQLite database"),
        (vec!["create", "--url", &empty], 2, "empty file"),
        (vec!["create", "--url", &absent], 2, "cannot open"),
        (vec!["create", "--url", "sqlite:///"], 2, "in-memory"),
        (vec!["create", "--url", "mysql://u:canary-pw@h/d"], 2, "`mysql://` is neither"),
        (vec!["create"], 2, "DATABASE_URL"),
        (vec!["create", "nowhere"], 2, "lifeboat.toml"),
        (vec!["create", "--url", &url, "--compression-level", "99"], 2, "It is from 1 to 12"),
        (vec!["create", "--url", &url, "--vault", "/proc/nothing"], 3, "cannot write to the vault"),
        (vec!["show", "nothing"], 2, "backup `nothing` does not exist"),
        (vec!["verify", "../../no/such/file"], 2, "cannot read"),
        (vec!["show", "../../etc/passwd"], 2, "is not a valid name"),
        (vec!["verify", "--all"], 2, "nothing was verified"),
        (vec!["restore", "nothing", "--confirm", "nothing"], 2, "does not exist"),
        (vec!["delete", "nothing", "--confirm", "nothing"], 2, "does not exist"),
    ];
    for (arguments, code, words) in cases {
        let run = place.backup(&arguments).await;
        run.assert_code(code).assert_says(&[words]);
        assert!(run.stdout.is_empty(), "{arguments:?}: {}", run.stdout);
    }
    let mut wrong = place.command(&["backup", "create", "--url", &url]);
    let run = finish(wrong.env("BACKUP_RETENTION_DAYS", "ten").spawn().unwrap()).await;
    run.assert_code(2).assert_says(&["BACKUP_RETENTION_DAYS is `ten`"]);
    assert_eq!(place.files(), Vec::<String>::new());
    place.backup(&["create", "--url", &url, "--name", "a"]).await.assert_code(0);
    let over_nothing = place.backup(&["restore", "a", "--url", &empty, "--confirm", "a"]).await;
    over_nothing.assert_code(0);
    fs::write(place.path("vault/torn.json"), "{").unwrap();
    place.backup(&["verify", "--all"]).await.assert_code(1).assert_says(&["torn.json"]);
    fs::remove_file(place.path("vault/torn.json")).unwrap();
    let other = place.database("other.db", "delete", 10);
    let again = place.backup(&["create", "--url", &other, "--name", "a"]).await;
    again.assert_code(2).assert_says(&["backup `a` already exists"]);
    assert_eq!(place.unfinished(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_was_tampered_with_leads_nowhere() {
    let place = Offline::new();
    let url = place.database("app.db", "wal", 10);
    place.backup(&["create", "--url", &url, "--name", "a"]).await.assert_code(0);
    fs::write(place.path("outside.sqlite.gz"), "precious").unwrap();
    let mut manifest = place.manifest("a");
    manifest["file_path"] = place.path("outside.sqlite.gz").to_string_lossy().into_owned().into();
    fs::write(place.path("vault/a.json"), manifest.to_string()).unwrap();
    place.backup(&["verify", "a"]).await.assert_code(0);
    place.backup(&["delete", "a", "--confirm", "a", "--allow-last-copy"]).await.assert_code(0);
    assert!(place.path("outside.sqlite.gz").exists());
    for broken in ["", "{", "[]", r#"{"schema":"lifeboat.backup/1","backup_name":"../../x"}"#] {
        fs::write(place.path("vault/b.json"), broken).unwrap();
        place
            .backup(&["list"])
            .await
            .assert_code(0)
            .assert_says(&["`b.json` is not the manifest of a backup"]);
        place.backup(&["show", "b"]).await.assert_code(1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_pipes_and_bombs_in_a_vault_lead_nowhere() {
    use std::os::unix::fs::symlink;
    let place = Offline::new();
    let url = place.database("app.db", "delete", 20);
    place.backup(&["create", "--url", &url, "--name", "good"]).await.assert_code(0);
    let vault = place.path("vault");
    fs::write(place.path("precious"), "precious\n").unwrap();
    let is_precious = || assert_eq!(fs::read_to_string(place.path("precious")).unwrap(), "precious\n");
    let pipe =
        |path: PathBuf| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    // A log that leads elsewhere, as a link and as a second name of another file.
    fs::remove_file(vault.join("audit.jsonl")).unwrap();
    symlink(place.path("precious"), vault.join("audit.jsonl")).unwrap();
    let run = place.backup(&["create", "--url", &url, "--name", "b"]).await;
    run.assert_code(3).assert_says(&["audit.jsonl", "symbolic link"]);
    is_precious();
    fs::remove_file(vault.join("audit.jsonl")).unwrap();
    fs::hard_link(place.path("precious"), vault.join("audit.jsonl")).unwrap();
    place.backup(&["create", "--url", &url, "--name", "c"]).await.assert_code(0);
    is_precious();
    // Locks and drafts that would make or cut off a file elsewhere.
    for name in [".lock", ".d.json.next", ".d.partial", "failures"] {
        let _ = fs::remove_file(vault.join(name)).or_else(|_| fs::remove_dir_all(vault.join(name)));
        symlink(place.path(if name == ".d.json.next" { "precious" } else { "made" }), vault.join(name))
            .unwrap();
        let run = place.backup(&["create", "--url", &url, "--name", "d"]).await;
        assert!(matches!(run.code, Some(0 | 2 | 3)), "{name}: {}", run.stderr);
        is_precious();
        assert!(!place.path("made").exists(), "{name}");
        fs::remove_file(vault.join(name)).ok();
        let _ = place.backup(&["delete", "d", "--confirm", "d"]).await;
    }
    // Manifests that are pipes, links, or larger than memory, beside good ones.
    pipe(vault.join("pipe.json"));
    symlink("/dev/zero", vault.join("zero.json")).unwrap();
    fs::File::create(vault.join("sparse.json")).unwrap().set_len(3 << 30).unwrap();
    symlink("/etc/passwd", vault.join("tokens.json")).unwrap();
    let list = place.backup(&["list", "--json"]).await;
    assert_eq!(list.assert_code(0).json()["backups"].as_array().unwrap().len(), 2, "{}", list.stderr);
    assert!(list.stderr.contains("sparse.json") && list.stderr.contains("larger than"), "{}", list.stderr);
    for name in ["pipe", "zero", "sparse"] {
        let run = place.backup(&["show", name]).await;
        assert!(matches!(run.code, Some(1..=3)), "{name}: {:?} {}", run.code, run.stderr);
    }
    let server = crate::serving::Serving::of_place(&place, &url, &[]).await;
    assert_eq!(server.get("/api/backup/list").await.json(200)["backups"].as_array().unwrap().len(), 2);
    // The content of a backup as a link, and as a pipe.
    let content = vault.join("good.sqlite.gz");
    let whole = fs::read(&content).unwrap();
    for make in [
        |at: &PathBuf| symlink("/etc/passwd", at).unwrap(),
        |at: &PathBuf| {
            assert!(std::process::Command::new("mkfifo").arg(at).status().unwrap().success());
        },
    ] {
        fs::remove_file(&content).unwrap();
        make(&content);
        let run = place.backup(&["restore", "good", "--into", "x.db"]).await;
        assert!(matches!(run.code, Some(1 | 3)), "{}", run.stderr);
    }
    fs::remove_file(&content).unwrap();
    fs::write(&content, whole).unwrap();
    // What a manifest says is shown, not obeyed.
    let mut manifest = place.manifest("good");
    let hostile = "a\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}2J\u{202e}\r\nb";
    manifest["made_by"]["tool"] = hostile.into();
    manifest["source"]["database"] = hostile.into();
    manifest["source"]["path"] = hostile.into();
    manifest["verification"]["reasons"] = serde_json::json!([hostile]);
    manifest["class"] = hostile.into();
    manifest["sha256"] = hostile.into();
    fs::write(vault.join("good.json"), manifest.to_string()).unwrap();
    for arguments in [
        &["show", "good"][..],
        &["show", "good", "--json"],
        &["list"],
        &["stats"],
        &["verify", "good"],
        &["restore", "good"],
        &["prune", "--dry-run"],
        &["delete", "good"],
    ] {
        let run = finish(
            place.command(&[&["backup"], arguments, &["--color", "always"]].concat()).spawn().unwrap(),
        )
        .await;
        for text in [&run.stdout, &run.stderr] {
            let obeyed =
                text.chars().find(|c| c.is_control() && !"\n\t\u{1b}".contains(*c) || *c == '\u{202e}');
            assert!(
                obeyed.is_none() && !text.contains("\u{1b}]") && !text.contains("\u{1b}[2J"),
                "{arguments:?}: {text:?}"
            );
        }
    }
}
