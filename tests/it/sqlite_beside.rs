//! What lies beside SQLite files, how they are named, whose they are, and what state they are in.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rusqlite::Connection;

use crate::offline::Offline;

/// Leaves a database as a crash does: its last change in a WAL or journal that nobody has played back.
fn crash(place: &Offline, name: &str, mode: &str) {
    let (whole, crashed) = (place.path("crashing.db"), place.path(name));
    let connection = Connection::open(&whole).unwrap();
    let start = "create table t (a, b); with recursive n (i) as (select 1 union all select i + 1 from n where i < 400)
                 insert into t select i, hex(zeroblob(250)) from n;";
    connection.execute_batch(&format!("pragma journal_mode = {mode}; {start}")).unwrap();
    let end = match mode {
        "wal" => "pragma wal_autocheckpoint = 0; delete from t where a > 300",
        _ => "pragma cache_size = 2; begin; delete from t where a > 300",
    };
    connection.execute_batch(end).unwrap();
    for ending in ["", "-wal", "-shm", "-journal"] {
        let from = format!("{}{ending}", whole.display());
        if Path::new(&from).exists() {
            fs::copy(from, format!("{}{ending}", crashed.display())).unwrap();
        }
    }
    drop(connection);
    for ending in ["", "-wal", "-shm", "-journal"] {
        let _ = fs::remove_file(format!("{}{ending}", whole.display()));
    }
}

fn beside(place: &Offline, name: &str) -> Vec<String> {
    let entries = fs::read_dir(place.path("")).unwrap().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.retain(|other| other.starts_with(&format!("{name}-")) || other.starts_with(&format!("{name}.old")));
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_lost_database_left_is_played_into_what_is_restored() {
    for mode in ["wal", "delete"] {
        let place = Offline::new();
        let url = place.database("app.db", mode, 300);
        place.backup(&["create", "--url", &url, "--name", "good"]).await.assert_code(0);
        assert_eq!(beside(&place, "app.db"), Vec::<String>::new(), "{mode}: a backup leaves nothing behind");
        let journal = if mode == "wal" { "-wal" } else { "-journal" };
        for (target, into) in [("app.db", false), ("new.db", true)] {
            crash(&place, target, mode);
            fs::remove_file(place.path(target)).unwrap();
            let left = fs::read(place.path(&format!("{target}{journal}"))).unwrap();
            let at = format!("sqlite://{}", place.path(target).display());
            let run = place
                .backup(&["restore", "good", if into { "--into" } else { "--url" }, &at, "--json"])
                .await;
            run.assert_code(0).assert_says(&["belongs to a database that no longer exists", journal]);
            assert_eq!(place.query(target, "select count(*) from filler"), "Integer(300)");
            assert_eq!(place.query(target, "pragma integrity_check"), "ok");
            let moved = run.json()["moved_aside"][0].as_str().unwrap().to_owned();
            assert_eq!(fs::read(moved).unwrap(), left, "what was moved is as it was");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_a_file_that_is_replaced_stays_with_it() {
    let place = Offline::new();
    let url = place.database("app.db", "wal", 100);
    place.backup(&["create", "--url", &url, "--name", "good"]).await.assert_code(0);
    // Of an application that has made an empty file where there was one; and of a file that is no database any more.
    for (content, flags) in [("", &[][..]), ("this was a database", &["--offline"])] {
        for ending in ["-wal", "-journal"] {
            fs::write(place.path(&format!("app.db{ending}")), "all that is left").unwrap();
        }
        fs::write(place.path("app.db"), content).unwrap();
        let restore = [&["restore", "good", "--url", &url, "--confirm", "good"], flags].concat();
        place.backup(&restore).await.assert_code(0);
        assert_eq!(place.query("app.db", "select count(*) from filler"), "Integer(100)");
        let kept = beside(&place, "app.db");
        let is_kept = |name: &&String| name.starts_with("app.db.old") && !name.ends_with('z');
        assert_eq!(kept.iter().filter(is_kept).count(), 2, "{content:?}: {kept:?}");
        for name in kept {
            if name.ends_with("-wal") || name.ends_with("-journal") {
                assert_eq!(fs::read_to_string(place.path(&name)).unwrap(), "all that is left");
            }
            fs::remove_file(place.path(&name)).unwrap();
        }
    }
    // Reading an empty file or another one never costs the WAL beside it either.
    for content in ["", "no database"] {
        fs::write(place.path("other.db"), content).unwrap();
        fs::write(place.path("other.db-wal"), "all that is left").unwrap();
        let other = format!("sqlite://{}", place.path("other.db").display());
        place.backup(&["create", "--url", &other]).await.assert_code(2);
        assert_eq!(fs::read_to_string(place.path("other.db-wal")).unwrap(), "all that is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_a_path_whatever_it_holds_and_what_was_recorded_is_restored_to() {
    let place = Offline::new();
    let encode =
        |path: &str| path.replace('%', "%25").replace('#', "%23").replace('?', "%3F").replace(' ', "%20");
    for folder in ["d#1", "p%41", "w?x"] {
        fs::create_dir(place.path(folder)).unwrap();
    }
    let names = [
        "a#b.db",
        "a%23b.db",
        "q?r.db",
        "p%41/x.db",
        "pA.db",
        "d#1/x.db",
        "w?x/y.db",
        "sp ace.db",
        "\u{fc}.db",
        "file:z.db",
    ];
    for name in names {
        Connection::open(place.path(name))
            .unwrap()
            .execute_batch(&format!("create table t (a); insert into t values ('{name}')"))
            .unwrap();
    }
    for (number, name) in names.into_iter().enumerate() {
        let path = place.path(name);
        let absolute = format!("sqlite://{}", encode(path.to_str().unwrap()));
        for (form, url) in
            [absolute, format!("sqlite:{}", encode(name)), format!("sqlite:///{}", encode(name))]
                .iter()
                .enumerate()
        {
            let backup = format!("b{number}{form}");
            let run =
                place.backup(&["create", "--url", url, "--name", &backup, "--no-prune", "--json"]).await;
            assert_eq!(run.assert_code(0).json()["source"]["path"], path.to_str().unwrap(), "{url}");
            fs::rename(&path, place.path("kept")).unwrap();
            let run = place.backup(&["restore", &backup, "--url", url, "--json"]).await;
            assert_eq!(run.code, Some(0), "{url}: {}", run.stderr);
            assert_eq!(place.query(name, "select a from t"), name, "{url}");
            // What is told as a URL means the same file again.
            let told = run.json()["restored_to"].as_str().unwrap().to_owned();
            let run = place.backup(&["create", "--url", &told, "--dry-run", "--json"]).await;
            assert_eq!(run.assert_code(0).json()["backups"][0]["source"], told);
            fs::rename(place.path("kept"), &path).unwrap();
        }
    }
    for name in names {
        assert_eq!(place.query(name, "select a from t"), name, "another file was written to");
    }
    // Nothing says which of two files is meant, and neither is there.
    let run = place.backup(&["restore", "b00", "--url", "sqlite:///nowhere.db"]).await;
    run.assert_code(2).assert_says(&["can mean `/nowhere.db` or `", "sqlite:////nowhere.db"]);
    std::os::unix::fs::symlink("gone.db", place.path("link.db")).unwrap();
    let run = place.backup(&["restore", "b00", "--url", "sqlite:link.db"]).await;
    run.assert_code(2).assert_says(&["is a symbolic link to `", "gone.db`, which does not exist"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_file_comes_back_as_whose_it_was() {
    let place = Offline::new();
    let url = place.database("app.db", "delete", 10);
    let file = place.path("app.db");
    let is_root = fs::metadata(&file).unwrap().uid() == 0;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    if is_root {
        std::os::unix::fs::chown(&file, Some(65_534), Some(65_534)).unwrap();
    }
    place.backup(&["create", "--url", &url, "--name", "a"]).await.assert_code(0);
    let before = fs::metadata(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let run = place.backup(&["restore", "a", "--url", &url]).await;
    run.assert_code(0);
    assert_eq!(run.stderr, "");
    let after = fs::metadata(&file).unwrap();
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    // On another machine the numbers may be those of others: whose it was is told.
    let mut manifest = place.manifest("a");
    manifest["made_by"]["host"] = "elsewhere".into();
    manifest["contents"]["owner"]["user"] = "nobody-of-here".into();
    manifest["contents"]["owner"]["uid"] = 54_321.into();
    fs::write(place.path("vault/a.json"), manifest.to_string()).unwrap();
    fs::remove_file(&file).unwrap();
    let run = place.backup(&["restore", "a", "--url", &url]).await;
    run.assert_code(0).assert_says(&["run `chown nobody-of-here:", "chmod 0640"]);
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_the_live_file_does_not_allow_is_refused_before_its_copy_is_made() {
    let place = Offline::new();
    let file = |name: &str, size: u32, mode: &str, encoding: &str| {
        let connection = Connection::open(place.path(name)).unwrap();
        connection
            .execute_batch(&format!(
                "pragma page_size = {size}; pragma encoding = '{encoding}'; pragma journal_mode = {mode};
                 create table t (a); insert into t values ('{name}')"
            ))
            .unwrap();
        (connection, format!("sqlite://{}", place.path(name).display()))
    };
    let (_, source) = file("source.db", 1024, "wal", "UTF-8");
    place.backup(&["create", "--url", &source, "--name", "s"]).await.assert_code(0);
    let cases = [
        ("pages.db", 4096, "wal", "UTF-8", "pages of 4096 bytes and the backup has pages of 1024"),
        ("text.db", 1024, "delete", "UTF-16le", "holds its text in UTF-16le and the backup in UTF-8"),
        ("both.db", 65_536, "wal", "UTF-16be", "holds its text in UTF-16be"),
    ];
    for (name, size, mode, encoding, reason) in cases {
        let (application, url) = file(name, size, mode, encoding);
        let restore = ["restore", "s", "--url", &url, "--confirm", "s"];
        let run = place.backup(&restore).await;
        run.assert_code(4).assert_says(&[reason, "Nothing was changed", "--offline"]);
        assert_eq!(place.files(), ["s.json", "s.sqlite.gz"], "{name}: no copy was made in vain");
        application.execute_batch("insert into t values ('goes on')").unwrap();
        drop(application);
        // The way out.
        place.backup(&[&restore[..], &["--offline"]].concat()).await.assert_code(0);
        assert_eq!(place.query(name, "select group_concat(a) from t"), "source.db");
    }
    // In WAL mode it can be known that nobody is there.
    let (application, url) = file("alone.db", 512, "wal", "UTF-16le");
    drop(application);
    place.backup(&["restore", "s", "--url", &url, "--confirm", "s"]).await.assert_code(0);
    assert_eq!(place.query("alone.db", "select a from t"), "source.db");
    assert_eq!(place.query("alone.db", "pragma journal_mode"), "wal");
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_that_nobody_looked_into_are_unknown_and_never_good() {
    let place = Offline::new();
    let url = place.database("app.db", "delete", 10);
    let create = ["create", "--url", &url, "--name", "a", "--verify", "checksum"];
    let run = place.backup(&create).await;
    assert!(run.assert_code(0).stdout.contains("contents   not inspected"), "{}", run.stdout);
    assert_eq!(place.manifest("a")["contents"]["inspected"], false);
    place.backup(&["verify", "a"]).await.assert_code(0);
    let run = place.backup(&["verify", "a", "--level", "restore"]).await;
    assert!(run.assert_code(3).stdout.contains("UNKNOWN  backup `a` (restore)"), "{}", run.stdout);
    assert!(run.stdout.contains("nothing to compare them with"), "{}", run.stdout);
    let run = place.backup(&["restore", "a", "--into", "copy.db", "--json"]).await;
    assert_eq!(run.assert_code(0).json()["tables_checked"], 0);
    // No tables are something else than no look.
    Connection::open(place.path("none.db")).unwrap().execute_batch("pragma user_version = 3").unwrap();
    let none = format!("sqlite://{}", place.path("none.db").display());
    let run = place.backup(&["create", "--url", &none, "--name", "none"]).await;
    assert!(run.assert_code(0).stdout.contains("0 tables, 0 rows"), "{}", run.stdout);
    place.backup(&["verify", "none", "--level", "restore"]).await.assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_before_a_restore_is_as_secret_as_the_backup() {
    let place = Offline::new();
    let url = place.database("app.db", "delete", 10);
    let key = age::x25519::Identity::generate();
    use age::secrecy::ExposeSecret as _;
    fs::write(place.path("key"), key.to_string().expose_secret()).unwrap();
    let (to, identity) = (key.to_public().to_string(), place.path("key").display().to_string());
    place.backup(&["create", "--url", &url, "--name", "a", "--encrypt-to", &to]).await.assert_code(0);
    let with_key = ["--identity", &identity];
    let restore = ["restore", "a", "--url", &url, "--confirm", "a", "--json"];
    let run = place.backup(&[&restore[..], &with_key].concat()).await;
    let kept = run.assert_code(0).json()["kept_old"].as_str().unwrap().to_owned();
    assert_eq!(place.manifest(&kept)["encrypted"], true);
    assert!(place.files().iter().all(|file| !file.ends_with(".gz")), "{:?}", place.files());
    let again = ["restore", &kept, "--url", &url, "--confirm", &kept];
    place.backup(&[&again[..], &with_key].concat()).await.assert_code(0);
}

/// A file system that nobody may write to, as a mounted snapshot is one.
struct ReadOnly(std::path::PathBuf);

impl ReadOnly {
    fn mount(folder: &Path) -> Option<ReadOnly> {
        let run = |arguments: &[&str]| {
            let done = std::process::Command::new("mount").args(arguments).output();
            done.is_ok_and(|done| done.status.success())
        };
        let path = folder.to_str().unwrap();
        let mounted = ReadOnly(folder.to_owned());
        (run(&["--bind", path, path]) && run(&["-o", "remount,bind,ro", path])).then_some(mounted)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_on_a_read_only_mount_is_copied_with_its_wal_and_its_journal() {
    let place = Offline::new();
    fs::create_dir(place.path("ro")).unwrap();
    place.database("ro/stopped.db", "wal", 50);
    crash(&place, "ro/wal.db", "wal");
    crash(&place, "ro/journal.db", "delete");
    fs::remove_file(place.path("ro/wal.db-shm")).unwrap();
    let Some(_mount) = ReadOnly::mount(&place.path("ro")) else {
        eprintln!("skipped: nothing can be mounted here");
        return;
    };
    for (name, table, rows) in [("stopped", "filler", 50), ("wal", "t", 300), ("journal", "t", 400)] {
        let url = format!("sqlite://{}", place.path(&format!("ro/{name}.db")).display());
        place.backup(&["create", "--url", &url, "--dry-run"]).await.assert_code(0);
        place.backup(&["create", "--url", &url, "--name", name]).await.assert_code(0);
        let found = &place.manifest(name)["contents"]["tables"];
        let counted = found.as_array().unwrap().iter().find(|found| found["table"] == table).unwrap();
        assert_eq!(counted["rows"], rows, "{name}");
    }
    assert_eq!(place.unfinished(), Vec::<String>::new());
}
