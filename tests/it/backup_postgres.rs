//! Backups of PostgreSQL: made, proven and restored against real servers, with others connected.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use crate::offline::RECORDS;
use crate::support::{PASSWORD, Run, World, finish, wait};

/// The URL of a database of `orders-prod`; the password is not in it.
async fn url(world: &World, database: &str) -> String {
    let answer =
        world.rds.describe_db_instances().db_instance_identifier("orders-prod").send().await.unwrap();
    let endpoint = answer.db_instances()[0].endpoint().unwrap().clone();
    format!("postgresql://owner@{}:{}/{database}", endpoint.address().unwrap(), endpoint.port().unwrap())
}

async fn world() -> World {
    let world = World::new().await;
    world.create("orders-prod").await;
    world.fill("orders-prod").await;
    world
        .sql(
            "orders-prod",
            "app",
            "create table big as select n as id, md5(n::text) as a, repeat(md5((n * 7)::text), 4) as b from generate_series(1, 30000) n;
             create materialized view summary as select count(*) as jobs from jobs;
             create sequence tickets; select setval('tickets', 41);
             alter database app set work_mem = '7MB'; comment on database app is 'the orders'",
        )
        .await;
    world
}

async fn backup(world: &World, arguments: &[&str]) -> Run {
    world.lifeboat(&[&["backup"], arguments].concat()).await
}

/// Whether a word is in any file below a directory.
fn is_written(directory: &std::path::Path, word: &str) -> Option<std::path::PathBuf> {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        let found = if path.is_dir() {
            is_written(&path, word)
        } else {
            let content = fs::read(&path).unwrap_or_default();
            content.windows(word.len()).any(|window| window == word.as_bytes()).then_some(path)
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn both_formats_come_back_whole_into_a_new_database_and_are_proven_by_a_restore() {
    let world = world().await;
    let app = url(&world, "app").await;
    let counts = "select (select count(*) from users), (select count(*) from jobs), (select count(*) from big),
                  (select count(*) from \"Odd Schema\".\"Jobs \"\"2026\"\"; drop\"), (select count(*) from events),
                  (select jobs from summary), nextval('tickets')";
    for (name, format) in [("as-sql", "sql"), ("as-archive", "custom")] {
        let run =
            backup(&world, &["create", "--url", &app, "--name", name, "--format", format, "--json"]).await;
        let manifest = run.assert_code(0).json();
        assert_eq!(manifest["verification"]["result"], "pass");
        assert_eq!(manifest["database_type"], "postgresql");
        let tables = manifest["observation"]["seen"]["databases"]["app"].as_array().unwrap();
        let big = tables.iter().find(|table| table["name"] == "big").unwrap();
        assert_eq!(big["counted"]["rows"], 30_000);
        let new = format!("copy_{}", name.replace('-', "_"));
        let run = backup(&world, &["restore", name, "--url", &app, "--into", &new, "--json"]).await;
        assert!(run.assert_code(0).json()["rows_checked"].as_u64().unwrap() > 30_000);
        assert_eq!(world.sql("orders-prod", &new, counts).await, "500|300|30000|20|301|300|42");
        let settings =
            "select (select setconfig from pg_db_role_setting s join pg_database d on d.oid = setdatabase
                        where datname = current_database()), shobj_description(oid, 'pg_database')
                        from pg_database where datname = current_database()";
        assert_eq!(world.sql("orders-prod", &new, settings).await, "{work_mem=7MB}|the orders");
        let again = backup(&world, &["restore", name, "--url", &app, "--into", &new]).await;
        again.assert_code(2).assert_says(&["already exists"]);
    }
    // Of SQL the owners are left out as of an archive, and that is said.
    let run = backup(&world, &["restore", "as-sql", "--url", &app, "--into", "x", "--no-owner"]).await;
    assert!(run.assert_code(0).stdout.contains("ALTER TABLE public.users OWNER TO owner"), "{}", run.stdout);
    let run = backup(&world, &["verify", "as-sql", "as-archive", "--level", "restore", "--json"]).await;
    for proven in run.assert_code(0).json()["backups"].as_array().unwrap() {
        assert_eq!(proven["verification"]["level"], "restore");
        assert_eq!(proven["verification"]["result"], "pass");
    }
    backup(&world, &["verify", "as-sql", "--level", "restore", "--url", &app]).await.assert_code(0);
    // pg_dump writes other lines for psql where a name holds more than letters and digits.
    for (name, encoded) in [("my-app", "my-app"), ("An \u{e4}/b'c", "An%20%C3%A4%2Fb%27c")] {
        world.sql("orders-prod", "app", &format!("create database \"{name}\" template app")).await;
        let here = url(&world, encoded).await;
        let run = backup(&world, &["create", "--url", &here, "--name", "odd", "--verify", "restore"]).await;
        run.assert_code(0);
        world.sql("orders-prod", name, "truncate users cascade").await;
        backup(&world, &["restore", "odd", "--url", &here, "--confirm", "\u{e4}"])
            .await
            .assert_code(4)
            .assert_says(&["`\u{e4}` is not `odd`"]);
        backup(&world, &["restore", "odd", "--url", &here, "--confirm", "odd"]).await.assert_code(0);
        assert_eq!(world.sql("orders-prod", name, "select count(*) from users").await, "500");
        backup(&world, &["delete", "odd", "--confirm", "odd", "--allow-last-copy"]).await.assert_code(0);
    }
    let left =
        world.sql("orders-prod", "app", "select datname from pg_database where datname ~ 'scratch'").await;
    assert_eq!(left, "");
    assert_eq!(is_written(&world.path("vault"), PASSWORD), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_under_a_connected_application_never_leaves_the_database_missing_or_doubled() {
    let world = world().await;
    let app = url(&world, "app").await;
    backup(&world, &["create", "--url", &app, "--name", "before"]).await.assert_code(0);
    world
        .sql("orders-prod", "app", "delete from jobs where id > 100; insert into users values (9999, 'new')")
        .await;
    let answer =
        world.rds.describe_db_instances().db_instance_identifier("orders-prod").send().await.unwrap();
    let endpoint = answer.db_instances()[0].endpoint().unwrap().clone();
    // Connects anew for every question, and writes, as applications do.
    let script = "for i in $(seq 400); do psql -XAtq -c 'insert into sessions values (1)' -c 'select count(*) from jobs' 2>&1; \
                  test -e stop && exit; done";
    let application = tokio::process::Command::new("sh")
        .args(["-c", script])
        .current_dir(world.path(""))
        .env("PGHOST", endpoint.address().unwrap())
        .env("PGPORT", endpoint.port().unwrap().to_string())
        .env("PGUSER", "owner")
        .env("PGDATABASE", "app")
        .env("PGPASSWORD", PASSWORD)
        .env("PGSSLMODE", "require")
        .env_remove("PGSSLROOTCERT")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let run = backup(&world, &["restore", "before", "--url", &app, "--confirm", "before", "--json"]).await;
    let report = run.assert_code(0).json();
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.write("stop", "");
    let said = String::from_utf8(application.wait_with_output().await.unwrap().stdout).unwrap();
    let counts: Vec<&str> = said.lines().filter(|line| line.parse::<u32>().is_ok()).collect();
    assert!(counts.iter().all(|count| ["100", "300"].contains(count)), "{said}");
    assert_eq!(counts.last(), Some(&"300"), "the application does not see what was restored: {said}");
    assert!(!said.contains("does not exist") || said.contains("terminating") || counts.len() > 5, "{said}");
    assert_eq!(world.sql("orders-prod", "app", "select count(*) from users").await, "500");
    // One command back.
    let old = report["kept_old"].as_str().unwrap();
    assert_eq!(world.sql("orders-prod", old, "select count(*) from jobs").await, "100");
    backup(&world, &["undo", "--url", &app]).await.assert_code(4);
    backup(&world, &["undo", "--url", &app, "--confirm", "app"]).await.assert_code(0);
    assert_eq!(world.sql("orders-prod", "app", "select count(*) from jobs").await, "100");
    backup(&world, &["undo", "--url", &app, "--confirm", "app"]).await.assert_code(2);
    // The database from which others are renamed, and names that PostgreSQL would cut off.
    let maintenance = url(&world, "postgres").await;
    backup(&world, &["create", "--url", &maintenance, "--name", "m"]).await.assert_code(0);
    backup(&world, &["restore", "m", "--url", &maintenance, "--confirm", "m"]).await.assert_code(0);
    backup(&world, &["undo", "--url", &maintenance, "--confirm", "postgres"]).await.assert_code(0);
    // DATABASE_URL does not say that the content of another database is to take its place.
    let meant =
        world.command(&["backup", "restore", "m", "--confirm", "m"]).env("DATABASE_URL", &app).spawn();
    finish(meant.unwrap()).await.assert_code(4).assert_says(&["is of database `postgres`"]);
    for name in ["", &"x".repeat(64)] {
        let run = backup(&world, &["restore", "m", "--url", &maintenance, "--into", name]).await;
        run.assert_code(2).assert_says(&["is not a valid name for a database"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_during_a_restore_leaves_the_database_as_it_was_or_as_it_is_to_be() {
    let world = world().await;
    let app = url(&world, "app").await;
    backup(&world, &["create", "--url", &app, "--name", "before"]).await.assert_code(0);
    world.sql("orders-prod", "app", "delete from jobs where id > 100").await;
    for round in 0..4 {
        let arguments =
            ["backup", "restore", "before", "--url", &app, "--confirm", "before", "--keep-old", "0s"];
        let mut child = world.command(&arguments).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(400 + 500 * round)).await;
        child.kill().await.unwrap();
        let jobs = world.sql("orders-prod", "app", "select count(*) from jobs").await;
        assert!(["100", "300"].contains(&jobs.as_str()), "{jobs}");
    }
    backup(&world, &["restore", "before", "--url", &app, "--confirm", "before", "--keep-old", "0s"])
        .await
        .assert_code(0);
    wait("what was left behind to be removed", async || {
        backup(&world, &["verify", "before", "--level", "restore", "--url", &app]).await.assert_code(0);
        world
            .sql("orders-prod", "app", "select datname from pg_database where datname ~ 'scratch'")
            .await
            .is_empty()
    })
    .await;
    assert_eq!(world.sql("orders-prod", "app", "select count(*) from jobs").await, "300");
}

/// A process and all that it has started, and those have.
fn with_descendants(process: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let process = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name of the program, in brackets, may hold anything.
            Some((process, stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?))
        })
        .collect();
    let mut found = vec![process];
    let mut next = 0;
    while let Some(&of) = found.get(next) {
        found.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(child, _)| *child));
        next += 1;
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_stands_in_any_process_argument_while_a_backup_runs() {
    let world = world().await;
    let app = url(&world, "app").await;
    // A lock keeps pg_dump waiting, so that there is time to look.
    let answer =
        world.rds.describe_db_instances().db_instance_identifier("orders-prod").send().await.unwrap();
    let port = answer.db_instances()[0].endpoint().unwrap().port().unwrap().to_string();
    let mut locker = tokio::process::Command::new("psql")
        .args(["-XAtq", "-h", "localhost", "-p", &port, "-U", "owner", "-d", "app"])
        .args(["-c", "begin; lock table big; select pg_sleep(600); commit"])
        .env("PGPASSWORD", PASSWORD)
        .env("PGSSLMODE", "require")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let is_locked =
        "select count(*) from pg_locks where relation = 'big'::regclass and mode = 'AccessExclusiveLock'";
    wait("the lock", async || world.sql("orders-prod", "app", is_locked).await == "1").await;
    let child = world
        .command(&["backup", "create", "--url", &app, "--name", "a", "--observe", "none"])
        .spawn()
        .unwrap();
    let seen = std::cell::Cell::new(false);
    let ours = child.id().unwrap();
    wait("pg_dump", async || {
        // Of this backup only: other tests run programs that want a password as an argument, and backups of their own.
        for process in with_descendants(ours) {
            let entry = std::path::Path::new("/proc").join(process.to_string());
            let arguments = fs::read(entry.join("cmdline")).unwrap_or_default();
            let text = String::from_utf8_lossy(&arguments).replace('\0', " ");
            assert!(!text.contains(PASSWORD), "a password stands in {text}");
            if text.contains("pg_dump --format=plain") {
                seen.set(true);
                let environment = fs::read(entry.join("environ")).unwrap_or_default();
                assert!(
                    !String::from_utf8_lossy(&environment).contains(PASSWORD),
                    "a password is in its environment"
                );
            }
        }
        seen.get()
    })
    .await;
    let release = "select count(pg_terminate_backend(pid)) from pg_stat_activity where query like '%pg_sleep(600)%' and pid <> pg_backend_pid()";
    assert_eq!(world.sql("orders-prod", "app", release).await, "1");
    finish(child).await.assert_code(0);
    locker.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_fails_is_no_backup() {
    let world = world().await;
    let app = url(&world, "app").await;
    let directory = world.path("programs");
    fs::create_dir(&directory).unwrap();
    let fake = |script: &str| {
        fs::write(directory.join("pg_dump"), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(directory.join("pg_dump"), fs::Permissions::from_mode(0o755)).unwrap();
    };
    let create = ["create", "--url", &app, "--name", "a", "--pg-bin", directory.to_str().unwrap()];
    backup(&world, &create).await.assert_code(2).assert_says(&["no pg_dump was found", "--pg-bin"]);
    fake("echo 'pg_dump (PostgreSQL) 9.6.1'");
    backup(&world, &create).await.assert_code(2).assert_says(&["the newest pg_dump here is 9.6.1"]);
    let version = "if [ \"$1\" = --version ]; then echo 'pg_dump (PostgreSQL) 99.1'; exit; fi";
    // It dies on the way, says that all is well after nothing, after half, or after something else.
    for (script, words) in [
        ("echo 'begin;'; echo 'pg_dump: error: the disk is on fire' >&2; exit 1", "the disk is on fire"),
        ("echo 'begin;'; kill -9 $$", "signal: 9"),
        ("exit 0", "its output is incomplete"),
        ("echo '-- PostgreSQL database dump'; echo 'create table a();'", "its output is incomplete"),
    ] {
        fake(&format!("{version}\n{script}"));
        let run = backup(&world, &create).await;
        run.assert_code(3).assert_says(&[words]);
        assert!(run.stdout.is_empty());
    }
    let left: Vec<_> =
        fs::read_dir(world.path("vault")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    let expected = [".lock", ".locks", RECORDS[0], RECORDS[1]];
    assert!(left.iter().all(|name| expected.contains(&name.to_str().unwrap())), "{left:?}");
    // What failed is shown where backups are looked at, and counts as none.
    let list = backup(&world, &["list", "--json"]).await.assert_code(0).json();
    assert_eq!(list["backups"].as_array().unwrap().len(), 0);
    assert_eq!(list["failures"].as_array().unwrap().len(), 4, "{list:#}");
    assert_eq!(list["failures"][3]["success"], false);
    assert!(list["failures"][3]["error"].as_str().unwrap().contains("the disk is on fire"));
    let stats = backup(&world, &["stats", "--json"]).await.assert_code(0).json();
    assert_eq!((&stats["databases"][0]["failed_since_success"], &stats["verified"]), (&4.into(), &0.into()));
    backup(&world, &["create", "--url", &app, "--name", "good"]).await.assert_code(0);
    let stats = backup(&world, &["stats", "--json"]).await.assert_code(0).json();
    let app = &stats["databases"][0];
    assert_eq!(
        (&app["failed"], &app["failed_since_success"], &app["count"]),
        (&4.into(), &0.into(), &1.into())
    );
    let shown = backup(&world, &["list"]).await;
    assert!(shown.stdout.contains("good") && !shown.stdout.contains("FAILED"), "{}", shown.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_that_cannot_be_reached_or_read_are_refused_with_the_remedy() {
    let world = world().await;
    let app = url(&world, "app").await;
    let nowhere = url(&world, "nowhere").await;
    backup(&world, &["create", "--url", &nowhere])
        .await
        .assert_code(3)
        .assert_says(&["`nowhere`", "does not exist"]);
    let closed = "postgresql://owner@127.0.0.1:1/app";
    backup(&world, &["create", "--url", closed])
        .await
        .assert_code(3)
        .assert_says(&["cannot reach PostgreSQL"]);
    let mut command = world.command(&["backup", "create", "--url", &app]);
    let run = finish(command.env("PGPASSWORD", "wrong").spawn().unwrap()).await;
    run.assert_code(3).assert_says(&["password authentication failed"]);
    world
        .sql(
            "orders-prod",
            "app",
            "create role reader login password 'canary-reader'; grant connect on database app to reader",
        )
        .await;
    let mut command = world.command(&["backup", "create", "--url", &app.replace("owner@", "reader@")]);
    let run = finish(command.env("PGPASSWORD", "canary-reader").spawn().unwrap()).await;
    run.assert_code(3).assert_says(&["permission denied", "pg_read_all_data"]);
    // The URL of the environment, with everything in it.
    let mut command = world.command(&["backup", "create", "--json"]);
    let with_password = app.replace("owner@", &format!("owner:{PASSWORD}@"));
    let run =
        finish(command.env_remove("PGPASSWORD").env("DATABASE_URL", with_password).spawn().unwrap()).await;
    assert_eq!(run.assert_code(0).json()["source"]["database"], "app");
    assert_eq!(is_written(&world.path("vault"), PASSWORD), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_run_as_they_are_written() {
    let world = world().await;
    let app = url(&world, "app").await;
    world.write("lifeboat.toml", &format!("[databases.orders.backup]\nurl = \"{app}\"\n"));
    world.write(
        "backup.env",
        &format!("PGPASSWORD={PASSWORD}\nPGSSLROOTCERT={}\n", world.stack.ca_path().display()),
    );
    let directory = world.path("units");
    fs::create_dir(&directory).unwrap();
    let path = |name: &str| world.path(name).to_string_lossy().into_owned();
    let (environment, log) = (path("backup.env"), path("cron.log"));
    let schedule = async |with: &str| {
        let arguments = [
            "schedule",
            "orders",
            "--with",
            with,
            "--every",
            "daily",
            "--every",
            "monthly",
            "--environment-file",
            &environment,
            "--log",
            &log,
            "--install",
            "--directory",
            directory.to_str().unwrap(),
        ];
        backup(&world, &arguments).await.assert_code(0);
    };
    schedule("cron").await;
    let crontab = fs::read_to_string(directory.join("lifeboat-backup-orders-daily")).unwrap();
    let line = crontab.lines().find(|line| line.contains("--class daily")).unwrap();
    // As cron does: the command is what follows the user, `\%` is a percent sign, and there is hardly any environment.
    let command = line.splitn(7, ' ').nth(6).unwrap().replace("\\%", "%");
    let done = tokio::process::Command::new("/bin/sh")
        .args(["-c", &command])
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .status()
        .await
        .unwrap();
    let said = fs::read_to_string(&log).unwrap_or_default();
    assert!(done.success(), "{said}");
    assert_eq!(backup(&world, &["list", "--json"]).await.json()["backups"][0]["class"], "daily");
    schedule("systemd").await;
    let units: Vec<_> = fs::read_dir(&directory).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(directory.join("lifeboat-backup-orders-monthly").exists(), "a rhythm displaced another");
    let units: Vec<_> = units.iter().filter(|path| path.extension().is_some()).collect();
    assert_eq!(units.len(), 4);
    match std::process::Command::new("systemd-analyze").arg("verify").args(&units).output() {
        Ok(done) => assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr)),
        Err(error) => eprintln!("skipped: systemd-analyze cannot be run: {error}"),
    }
}
