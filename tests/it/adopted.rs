//! What was there before lifeboat: dumps, SQLite files and snapshots, proven and taken over.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::cluster::installed_programs;
use crate::offline::Offline;
use crate::support::{PASSWORD, World, finish};

/// A program of PostgreSQL, as a person would run it.
fn dump(world: &World, program: &str, url: &str, arguments: &[&str], file: &str) -> PathBuf {
    let path = world.path(file);
    let program = installed_programs().join(program);
    let mut command = Command::new(program);
    command.env("PGPASSWORD", PASSWORD).env("PGSSLROOTCERT", world.stack.ca_path());
    let done =
        command.args(arguments).arg(format!("--dbname={url}")).arg("--file").arg(&path).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    path
}

fn pack(program: &str, path: &std::path::Path, ending: &str) -> PathBuf {
    let packed = PathBuf::from(format!("{}{ending}", path.display()));
    let output = Command::new(program).args(["-c"]).arg(path).output().unwrap();
    fs::write(&packed, output.stdout).unwrap();
    packed
}

#[tokio::test(flavor = "multi_thread")]
async fn any_dump_is_proven_adopted_and_restored() {
    let world = World::new().await;
    world.create("orders-prod").await;
    world
        .sql(
            "orders-prod",
            "app",
            "create role clerk; create table t (id int primary key, word text default 'x');
             insert into t select n, md5(n::text) from generate_series(1, 500) n;
             create view w as select * from t; grant select on t to clerk; create type mood as enum ('a', 'b')",
        )
        .await;
    let url = world.url("orders-prod", "app").await;
    let mut files = Vec::new();
    for (name, arguments) in [
        ("plain.sql", vec![]),
        ("created.sql", vec!["--create"]),
        ("clean.sql", vec!["--clean", "--if-exists"]),
        ("harsh.sql", vec!["--clean"]),
        ("inserts.sql", vec!["--inserts"]),
        ("columns.sql", vec!["--column-inserts", "--rows-per-insert=50"]),
        ("bare.sql", vec!["--no-owner", "--no-privileges"]),
        ("talking.sql", vec!["--verbose"]),
        ("archive.dump", vec!["--format=custom"]),
        ("tarred.tar", vec!["--format=tar"]),
    ] {
        files.push(dump(&world, "pg_dump", &url, &arguments, name));
    }
    files.push(dump(&world, "pg_dump", &url, &["--format=directory", "--jobs=2"], "folder"));
    files.push(pack("gzip", &files[0], ".gz"));
    files.push(pack("zstd", &files[0], ".zst"));
    files.push(pack("gzip", &files[8], ".gz"));
    let paths: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let named: Vec<&str> = paths.iter().map(String::as_str).collect();
    for level in ["stream", "restore"] {
        let run =
            world.lifeboat(&[&["backup", "verify", "--level", level, "--json"], &named[..]].concat()).await;
        let proofs = run.assert_code(0).json();
        assert_eq!(proofs["backups"].as_array().unwrap().len(), files.len());
    }
    assert!(!world.path("vault").join("plain.json").exists(), "a proof has written to the vault");
    // Half a database is no backup of it, and must not come to be the newest good one.
    for (kind, words) in
        [("--schema-only", "definitions but no rows"), ("--data-only", "rows but no definitions")]
    {
        for format in ["--format=plain", "--format=custom", "--inserts"] {
            let half = dump(&world, "pg_dump", &url, &[kind, format], "half");
            let half = half.display().to_string();
            let run = world.lifeboat(&["backup", "verify", &half]).await;
            let said = &run.assert_code(1).stdout;
            assert!(said.contains(words) && said.contains(kind), "{said}");
            world
                .lifeboat(&["backup", "adopt", "--url", &url, &half])
                .await
                .assert_code(1)
                .assert_says(&[words]);
        }
    }
    world.sql("orders-prod", "app", "create database nothing").await;
    let nothing = world.url("orders-prod", "nothing").await;
    let nothing = dump(&world, "pg_dump", &nothing, &[], "nothing.sql").display().to_string();
    world.lifeboat(&["backup", "verify", &nothing]).await.assert_code(0);
    let run = world.lifeboat(&[&["backup", "adopt", "--json", "--url", &url], &named[..]].concat()).await;
    let adopted = run.assert_code(0).json();
    let adopted = adopted["backups"].as_array().unwrap();
    assert_eq!(adopted.len(), files.len());
    for (number, manifest) in adopted.iter().enumerate() {
        assert_eq!(manifest["source"]["database"], "app", "{manifest}");
        assert_eq!(manifest["verification"]["result"], "pass");
        assert!(manifest["made_by"]["tool"].as_str().unwrap().starts_with("pg_dump 1"), "{manifest}");
        let (name, into) = (manifest["backup_name"].as_str().unwrap(), format!("copy_{number}"));
        world.lifeboat(&["backup", "restore", name, "--url", &url, "--into", &into]).await.assert_code(0);
        let found = world
            .sql("orders-prod", &into, "select count(*), md5(string_agg(word, '' order by id)) from t")
            .await;
        let held = world
            .sql("orders-prod", "app", "select count(*), md5(string_agg(word, '' order by id)) from t")
            .await;
        assert_eq!(found, held, "{name}");
    }
    // They count: the newest of them all is not deleted, and all are backups of one database.
    let list = world.lifeboat(&["backup", "list", "--json"]).await.assert_code(0).json();
    let identities: std::collections::BTreeSet<&str> =
        list["backups"].as_array().unwrap().iter().map(|it| it["identity"].as_str().unwrap()).collect();
    assert_eq!(identities.len(), 1, "{identities:?}");
    world.lifeboat(&["backup", "create", "--url", &url, "--name", "own"]).await.assert_code(0);
    world.lifeboat(&["backup", "delete", "plain", "--confirm", "plain"]).await.assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_or_no_dump_is_not_adopted_and_the_reason_is_said() {
    let place = Offline::new();
    place.database("app.db", "delete", 2000);
    let whole = fs::read(place.path("app.db")).unwrap();
    let rows: String = (0..2000).map(|n| format!("{n}\tword {n}\n")).collect();
    let dump = format!(
        "--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version 15.1\n-- Dumped by pg_dump version 15.1\n\n\
         SET client_encoding = 'UTF8';\nCREATE TABLE public.t (a integer, b text);\n\
         COPY public.t (a, b) FROM stdin;\n{rows}\\.\n\n--\n-- PostgreSQL database dump complete\n--\n\n"
    );
    let write = |name: &str, content: &[u8]| {
        fs::write(place.path(name), content).unwrap();
        place.path(name)
    };
    let sql = write("t.sql", dump.as_bytes());
    let [gz, zst] = [("gzip", ".gz"), ("zstd", ".zst")].map(|(program, ending)| pack(program, &sql, ending));
    let [gz, zst] = [gz, zst].map(|path| fs::read(path).unwrap());
    let flipped = |content: &[u8]| {
        let mut content = content.to_owned();
        let middle = content.len() / 2;
        content[middle] ^= 0x40;
        content
    };
    let mut page = whole.clone();
    page[4096..4096 + 64].fill(0xff);
    for (name, content, code, words) in [
        ("cut.sql", &dump.as_bytes()[..dump.len() - 60], 1, "the dump is truncated"),
        ("cut.sql.gz", &gz[..gz.len() - 9], 1, "deflate"),
        ("cut.sql.zst", &zst[..zst.len() - 9], 1, "incomplete frame"),
        ("bad.sql.gz", &flipped(&gz), 1, ""),
        ("bad.sql.zst", &flipped(&zst), 1, ""),
        ("cut.db", &whole[..whole.len() - 5000], 1, "malformed"),
        ("bad.db", &page, 1, ""),
        ("none.sql", b"", 1, "is empty"),
        ("words.txt", b"some words", 2, "neither a dump of PostgreSQL nor a SQLite file"),
        ("packed.xz", b"\xfd7zXZ\0rest", 2, "compressed with xz"),
        ("packed.bz2", b"BZh91AY", 2, "compressed with bzip2"),
        ("all.sql", b"--\n-- PostgreSQL database cluster dump\n--\n", 2, "whole cluster"),
        ("my.sql", b"-- MySQL dump 10.13\n", 2, "MySQL"),
    ] {
        let path = write(name, content).display().to_string();
        let run = place.backup(&["verify", &path]).await;
        run.assert_code(code);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains(words), "{name}: {said}");
        place.backup(&["adopt", &path]).await.assert_code(code);
    }
    assert_eq!(place.files(), Vec::<String>::new());
    // What psql would run and pg_dump never writes is not taken for good, unless somebody vouches for it.
    let hostile = dump.replace("SET client_encoding", "\\! touch /tmp/x\nSET client_encoding");
    let path = write("hostile.sql", hostile.as_bytes()).display().to_string();
    place.backup(&["verify", &path]).await.assert_code(3);
    place.backup(&["adopt", &path]).await.assert_code(3);
    // The latest transactions of a database in use lie beside its file.
    write("app.db-wal", b"something");
    let live = place.path("app.db").display().to_string();
    place
        .backup(&["verify", &live])
        .await
        .assert_code(2)
        .assert_says(&["is not a whole database", "app.db-wal"]);
}

/// Nothing was recorded of its source, so what was gone on past is all that tells.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_of_a_found_dump_is_no_pass_until_it_is_accepted() {
    let place = Offline::new();
    let dump = |table: &str, view: &str| {
        format!(
            "--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version 15.1\n-- Dumped by pg_dump version 15.1\n\n\
             CREATE TABLE public.t ({table});\nCREATE VIEW public.w AS\n SELECT 1 FROM public.{view};\n\
             COPY public.t (a) FROM stdin;\n1\n2\n\\.\n\n--\n-- PostgreSQL database dump complete\n--\n\n"
        )
    };
    for (name, table, view, words) in [
        ("view.sql", "a integer", "nothing", "nothing"),
        ("table.sql", "a no_such_type", "t", "table `\"public\".\"t\"` is missing"),
        ("rows.sql", "a integer CHECK (a < 2)", "t", "has 0 rows, and the dump holds 2"),
    ] {
        fs::write(place.path(name), dump(table, view)).unwrap();
        let verify = ["verify", &format!("./{name}"), "--level", "restore"].map(str::to_owned);
        let verify: Vec<&str> = verify.iter().map(String::as_str).collect();
        place.backup(&verify).await.assert_code(3);
        let run = place.backup(&[&verify[..], &["--keep-going"]].concat()).await;
        assert!(run.assert_code(1).stdout.contains(words), "{name}: {}", run.stdout);
    }
    fs::write(place.path("good.sql"), dump("a integer", "t")).unwrap();
    place.backup(&["verify", "./good.sql", "--level", "restore", "--keep-going"]).await.assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_file_and_a_copy_before_a_restore_are_of_the_database_that_they_are_of() {
    let place = Offline::new();
    let (url, other) = (place.database("app.db", "delete", 5), place.database("staging.db", "delete", 9));
    fs::copy(place.path("app.db"), place.path("old.db")).unwrap();
    let run = async |words: &[&str]| {
        let mut command = place.command(&[&["backup"], words].concat());
        finish(command.env("BACKUP_DATABASE_ID", "orders-eu").spawn().unwrap()).await
    };
    run(&["create", "--url", &url, "--name", "own"]).await.assert_code(0);
    run(&["adopt", &place.path("old.db").display().to_string(), "--url", &url]).await.assert_code(0);
    place.backup(&["restore", "own", "--url", &other, "--confirm", "own"]).await.assert_code(0);
    let list = place.backup(&["list", "--json"]).await.assert_code(0).json();
    let of = |start: &str| {
        let backups = list["backups"].as_array().unwrap();
        let found = backups.iter().find(|it| it["backup_name"].as_str().unwrap().starts_with(start)).unwrap();
        found["identity"].as_str().unwrap().to_owned()
    };
    assert_eq!((of("own").as_str(), of("old").as_str()), ("id orders-eu", "id orders-eu"));
    assert!(of("app-before-restore").contains("staging.db"), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_that_was_kept_by_a_script_counts_as_a_backup() {
    let place = Offline::new();
    let url = place.database("app.db", "delete", 50);
    let old = place.path("app-2026-10-01.db");
    fs::copy(place.path("app.db"), &old).unwrap();
    let packed = pack("gzip", &old, ".gz").display().to_string();
    let run = place
        .backup(&[
            "adopt",
            &packed,
            "--url",
            &url,
            "--taken-at",
            "2026-10-01T02:00:00Z",
            "--class",
            "monthly",
            "--json",
        ])
        .await;
    let manifest = run.assert_code(0).json();
    assert_eq!(
        (&manifest["timestamp"], &manifest["class"]),
        (&"2026-10-01T02:00:00Z".into(), &"monthly".into())
    );
    assert_eq!(fs::read(&packed).unwrap(), fs::read(place.path("vault/app-2026-10-01.sqlite.gz")).unwrap());
    // It is the last good one, until there is another.
    let delete = ["delete", "app-2026-10-01", "--confirm", "app-2026-10-01"];
    place.backup(&delete).await.assert_code(4);
    place.backup(&["verify", "app-2026-10-01", "--level", "restore"]).await.assert_code(0);
    fs::remove_file(place.path("app.db")).unwrap();
    place.backup(&["restore", "app-2026-10-01", "--url", &url]).await.assert_code(0);
    assert_eq!(place.query("app.db", "select count(*) from filler"), "Integer(50)");
    place.backup(&["create", "--url", &url, "--name", "own"]).await.assert_code(0);
    place.backup(&delete).await.assert_code(0);
    // SQL that `sqlite3 .dump` wrote is the database that it makes.
    let script = Command::new("sqlite3").arg(place.path("app.db")).arg(".dump").output().unwrap().stdout;
    fs::write(place.path("kept.sql"), &script).unwrap();
    let kept = pack("gzip", &place.path("kept.sql"), ".gz").display().to_string();
    place.backup(&["verify", &kept, "--level", "restore"]).await.assert_code(0);
    place.backup(&["adopt", &kept, "--url", &url, "--name", "script"]).await.assert_code(0);
    let into = place.path("script.db").display().to_string();
    place.backup(&["restore", "script", "--into", &into]).await.assert_code(0);
    assert_eq!(place.query("script.db", "select count(*) from filler"), "Integer(50)");
    place.backup(&["delete", "script", "--confirm", "script"]).await.assert_code(0);
    fs::write(place.path("cut.sql"), &script[..script.len() - 9]).unwrap();
    let cut = place.path("cut.sql").display().to_string();
    place.backup(&["verify", &cut]).await.assert_code(1);
    fs::write(place.path("hostile.sql"), "PRAGMA foreign_keys=OFF;\nATTACH 'other.db' AS o;\nCOMMIT;\n")
        .unwrap();
    let hostile = place.path("hostile.sql").display().to_string();
    place.backup(&["verify", &hostile]).await.assert_code(1);
    assert!(!place.path("other.db").exists());
    // What is tried is not copied.
    place.backup(&["adopt", &packed, "--dry-run"]).await.assert_code(0);
    assert_eq!(place.files(), ["own.json", "own.sqlite.gz"]);
    let mut command = place.command(&["backup", "adopt", &packed, "--class", "no-such-class"]);
    finish(command.spawn().unwrap()).await.assert_code(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manual_snapshot_is_adopted_and_then_judged_by_its_class() {
    let world = World::with_orders().await;
    world.snapshot("orders-prod", "by-hand").await;
    let judged = async || -> Value {
        let report = world.json(&["snapshot", "prune", "--dry-run"]).await;
        report["verdicts"].as_array().unwrap().iter().find(|it| it["id"] == "by-hand").unwrap().clone()
    };
    assert!(judged().await["reasons"][0].as_str().unwrap().contains("lifeboat did not make it"));
    world.lifeboat(&["snapshot", "adopt", "by-hand", "--class", "nonsense"]).await.assert_code(2);
    world.lifeboat(&["snapshot", "adopt", "nothing", "--class", "pre-migration"]).await.assert_code(2);
    let dry = world.json(&["snapshot", "adopt", "by-hand", "--class", "pre-migration", "--dry-run"]).await;
    assert_eq!((&dry["dry_run"], &dry["snapshot"]["class"]), (&true.into(), &"pre-migration".into()));
    assert!(judged().await["reasons"][0].as_str().unwrap().contains("lifeboat did not make it"));
    let run = world.lifeboat(&["snapshot", "adopt", "by-hand", "--class", "pre-migration", "--json"]).await;
    run.assert_code(0).assert_says(&["no drill has proven snapshot `by-hand` yet"]);
    assert_eq!(run.json()["snapshot"]["class"], "pre-migration");
    assert!(run.json()["snapshot"]["expires_at"].is_string());
    // Again is the same; another class is not given silently.
    world.lifeboat(&["snapshot", "adopt", "by-hand", "--class", "pre-migration"]).await.assert_code(0);
    world.lifeboat(&["snapshot", "adopt", "by-hand", "--class", "major-release"]).await.assert_code(4);
    let verdict = judged().await;
    assert_eq!(verdict["class"], "pre-migration");
    assert!(verdict["reasons"][0].as_str().unwrap().contains("newest good copy"), "{verdict}");
    world.lifeboat(&["snapshot", "delete", "by-hand", "--confirm", "by-hand"]).await.assert_code(4);
}
