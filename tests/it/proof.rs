//! What a drill without a recorded baseline proves of a copy, and what it costs the source.

use std::path::Path;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::disk::{find_row, lose_row, replace};
use crate::support::{PASSWORD, Run, World};

/// A restore of RDS takes longer than the time between two checkpoints.
const CHECKPOINTS: &str = "checkpoint; select pg_current_xact_id(); checkpoint";

impl World {
    async fn with_table(sql: &str) -> World {
        let world = World::new().await;
        world.create("orders-prod").await;
        world.sql("orders-prod", "app", sql).await;
        world
    }

    async fn in_next_copy(&self, database: &str, sql: &str) {
        self.control("POST", "restored-sql", json!({"database": database, "sql": sql})).await;
    }

    /// A session whose transaction stays open.
    async fn open_transaction(&self, database: &str, sql: &str) -> OpenTransaction {
        let url = self.url("orders-prod", database).await;
        let mut child = Command::new("psql")
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", &url])
            .env("PGPASSWORD", PASSWORD)
            .env("PGSSLROOTCERT", self.stack.ca_path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(format!("{sql} select pg_advisory_lock(7);\n").as_bytes()).await.unwrap();
        let held = "select count(*) from pg_locks where locktype = 'advisory' and granted";
        crate::support::wait("the transaction", async || {
            self.sql("orders-prod", database, held).await == "1"
        })
        .await;
        OpenTransaction { child, input }
    }

    /// The file of a relation within the data of its server.
    async fn file_of(&self, relation: &str) -> String {
        self.sql("orders-prod", "app", &format!("select pg_relation_filepath('{relation}')")).await
    }
}

struct OpenTransaction {
    child: tokio::process::Child,
    input: tokio::process::ChildStdin,
}

impl OpenTransaction {
    async fn commit(mut self) {
        self.input.write_all(b"commit;\n").await.unwrap();
        drop(self.input);
        assert!(self.child.wait().await.unwrap().success());
    }
}

/// What the report says of a table: its verdict and reason.
#[track_caller]
fn verdict(run: &Run, name: &str) -> (String, String) {
    let report = run.json();
    let found = report["tables"].as_array().unwrap().iter().find(|table| table["table"] == name);
    let found = found.unwrap_or_else(|| panic!("{name} is not in the report: {}", run.stdout));
    let text = |field: &str| found[field].as_str().unwrap().to_owned();
    (text("verdict"), text("reason"))
}

#[track_caller]
fn is_not_tested(report: &Value, words: &str) -> bool {
    report["not_tested"].as_array().unwrap().iter().any(|line| line.as_str().unwrap().contains(words))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_copy_is_found_after_any_number_of_checkpoints() {
    let world = World::with_table(
        "create table pay (id int primary key, iban text); insert into pay select n, 'AAAA' || n from generate_series(1, 5000) n;
         create table keyless (iban text); insert into keyless select 'CCCC' || n from generate_series(1, 500) n",
    )
    .await;
    let (pay, keyless) = (world.file_of("pay").await, world.file_of("keyless").await);
    let files = world.snapshot_files("orders-prod", "before").await;
    replace(&files.join(pay), "AAAA", "BBBB");
    replace(&files.join(keyless), "CCCC77", "DDDD77");
    // The source goes on, in other tables and in these.
    world.sql("orders-prod", "app", "insert into pay values (9000, 'new'); create table other ()").await;
    for checkpoints in [true, false] {
        if checkpoints {
            world.in_next_copy("app", CHECKPOINTS).await;
        }
        let run = world.drill(&[]).await;
        run.assert_code(1);
        assert_eq!(verdict(&run, "pay").0, "differs");
        assert!(
            verdict(&run, "pay").1.starts_with("at least 5000 rows differ"),
            "{}",
            verdict(&run, "pay").1
        );
        assert_eq!(verdict(&run, "keyless").0, "differs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_rows_do_not_hide_behind_what_the_source_has_deleted_and_updated_since() {
    let world = World::with_table(
        "create table users (id int primary key, email text, v int);
         insert into users select n, 'user' || n || '@example.org', 0 from generate_series(1, 10000) n;
         create table bag (word text); insert into bag select 'word' || n from generate_series(1, 3000) n",
    )
    .await;
    let (users, bag) = (world.file_of("users").await, world.file_of("bag").await);
    let files = world.snapshot_files("orders-prod", "before").await;
    let lose = |file: &Path, texts: Vec<String>| {
        let mut bytes = std::fs::read(file).unwrap();
        for text in texts {
            let at = find_row(&bytes, &text);
            lose_row(&mut bytes, at);
        }
        std::fs::write(file, bytes).unwrap();
    };
    lose(&files.join(users), (5000..5099).map(|n| format!("user{n}@")).collect());
    lose(&files.join(bag), (2000..2020).map(|n| format!("word{n}")).collect());
    world
        .sql(
            "orders-prod",
            "app",
            "delete from users where id <= 100; update users set v = 1 where id between 200 and 400;
             delete from bag where word like 'word1%'; update bag set word = word || '!' where word like 'word29%'",
        )
        .await;
    let run = world.drill(&[]).await;
    run.assert_code(1);
    let (word, reason) = verdict(&run, "users");
    assert_eq!(word, "differs");
    assert!(
        reason.starts_with("at least 99 rows differ")
            && reason.contains(": 99 missing")
            && reason.contains("id 5000, 5001"),
        "{reason}"
    );
    let (word, reason) = verdict(&run, "bag");
    assert!(
        word == "differs" && reason.starts_with("at least 20 rows differ") && reason.contains("20 missing"),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_excuse_no_loss_and_an_emptied_copy_is_no_pass() {
    let world = World::with_table(
        "create table users (id int primary key, v int); insert into users select n, 0 from generate_series(1, 10000) n;
         create table etl (id int primary key) with (autovacuum_enabled = off); insert into etl select generate_series(1, 500);
         create table kept (id int); insert into kept values (1); delete from users where id = 10000; insert into users values (10000, 0)",
    )
    .await;
    let (users, etl) = (world.file_of("users").await, world.file_of("etl").await);
    let files = world.snapshot_files("orders-prod", "before").await;
    // All but the first page, and all of it.
    let first_page = std::fs::read(files.join(&users)).unwrap()[..8192].to_vec();
    std::fs::write(files.join(&users), first_page).unwrap();
    std::fs::write(files.join(&etl), []).unwrap();
    let etl = "begin; delete from etl; insert into etl select generate_series(1, 500); commit; update users set v = v + 1";
    world.sql("orders-prod", "app", etl).await;
    for reset in [false, true] {
        if reset {
            world.sql_as_superuser("orders-prod", "app", "select pg_stat_reset()").await;
        }
        let run = world.drill(&[]).await;
        run.assert_code(3);
        for table in ["users", "etl"] {
            assert_eq!(verdict(&run, table).0, "unknown", "{}", verdict(&run, table).1);
        }
    }
    // The user may name what is emptied and loaded as a matter of course; the other stays what it is.
    let run = world.drill(&["--churning", "etl"]).await;
    run.assert_code(3);
    assert_eq!(verdict(&run, "etl").0, "skipped");
    assert!(is_not_tested(&run.json(), "table `app.public.etl`"), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_migrations_since_the_snapshot_raise_no_alarm_and_hide_no_change() {
    let world = World::with_table(
        "create role clerk; create type mood as enum ('sad', 'glad'); create type pair as (a int, b text);
         create domain word as text;
         create table plain (id int primary key, a text, b text, mark text); insert into plain select n, 'a', 'b', 'AAAA' || n from generate_series(1, 300) n;
         create table moods (id int primary key, m mood, ms mood[], mark text); insert into moods select n, 'sad', '{glad}', 'AAAA' || n from generate_series(1, 300) n;
         create table pairs (id int primary key, p pair, mark text); insert into pairs select n, row(n, 'x')::pair, 'AAAA' || n from generate_series(1, 300) n;
         create table names (id int primary key, c regclass, r regrole, cs regclass[], w word, mark text);
         insert into names select n, 'plain', 'clerk', '{moods}', 'w', 'AAAA' || n from generate_series(1, 300) n;
         create table typed (id int primary key, v varchar(20), t timestamp, c cidr, mark text);
         insert into typed select n, 'x', '2026-01-01', '10.0.0.1/32', 'AAAA' || n from generate_series(1, 300) n;
         create table rekeyed (id int primary key, other int unique not null, mark text);
         insert into rekeyed select n, n, 'AAAA' || n from generate_series(1, 300) n",
    )
    .await;
    let tables = ["plain", "moods", "pairs", "names", "typed", "rekeyed"];
    let mut files = Vec::new();
    for table in tables {
        files.push(world.file_of(table).await);
    }
    let backup = world.snapshot_files("orders-prod", "before").await;
    let migration = "
        alter table plain add column c int; alter table plain add column d int default 7; alter table plain drop column b;
        alter table plain rename a to renamed; alter table plain rename to simple;
        alter type mood rename value 'sad' to 'blue'; alter type mood add value 'new';
        alter type pair add attribute c int;
        alter table moods rename to feelings; alter role clerk rename to officer; alter domain word rename to term;
        set timezone = 'UTC'; alter table typed alter v type text; alter table typed alter t type timestamptz; alter table typed alter c type inet;
        alter table rekeyed drop constraint rekeyed_pkey; alter table rekeyed drop column id;
        insert into simple (id, renamed, mark) values (1000, 'new', 'n'); delete from simple where id = 3; update simple set renamed = 'z' where id = 4";
    world.sql("orders-prod", "app", migration).await;
    let run = world.drill(&[]).await;
    run.assert_code(0);
    for (table, word) in [
        ("simple", "within"),
        ("names", "identical"),
        ("typed", "identical"),
        ("feelings", "within"),
        ("pairs", "within"),
        ("rekeyed", "identical"),
    ] {
        assert_eq!(verdict(&run, table).0, word, "{table}: {}", verdict(&run, table).1);
    }
    // What has no form in which it could be compared is said.
    assert!(
        is_not_tested(&run.json(), "table `app.public.feelings`: the values of column `ms`"),
        "{}",
        run.stdout
    );
    assert!(
        is_not_tested(&run.json(), "table `app.public.pairs`: the values of column `p`"),
        "{}",
        run.stdout
    );

    for file in &files {
        replace(&backup.join(file), "AAAA77", "BBBB77");
    }
    let run = world.drill(&[]).await;
    run.assert_code(1);
    for table in ["simple", "feelings", "pairs", "names", "typed", "rekeyed"] {
        assert_eq!(verdict(&run, table).0, "differs", "{table}: {}", verdict(&run, table).1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_are_open_across_the_snapshot_raise_no_alarm() {
    let world = World::with_table(
        "create table one (id int primary key, v int); insert into one select n, 0 from generate_series(1, 1000) n;
         create table reloaded (id int primary key, v int); insert into reloaded select n, 0 from generate_series(1, 200) n;
         create materialized view seen as select count(*) as n, sum(v) as s from one; create table more (id serial primary key, v int)",
    )
    .await;
    let sql = "begin; update one set v = 1 where id = 7; savepoint s; update one set v = 2 where id = 8; release s;
               refresh materialized view seen; delete from reloaded; insert into reloaded select n, 1 from generate_series(1, 200) n;
               insert into more (v) select 1 from generate_series(1, 20);";
    let open = world.open_transaction("app", sql).await;
    world.snapshot("orders-prod", "before").await;
    open.commit().await;
    for checkpoints in [false, true] {
        if checkpoints {
            world.in_next_copy("app", CHECKPOINTS).await;
        }
        let run = world.drill(&["--churning", "more"]).await;
        run.assert_code(0);
        assert_eq!(verdict(&run, "one").0, "within", "{}", verdict(&run, "one").1);
        assert_eq!(run.json()["tables"].as_array().unwrap().len(), 4);
    }
    // What is written in the copy itself is found, whatever number its transaction has.
    world.in_next_copy("app", &format!("update one set v = 5 where id = 9; {CHECKPOINTS}")).await;
    world.drill(&["--churning", "more"]).await.assert_code(1);
    // A change to a row that the transaction did not touch is found all the same.
    world.in_next_copy("app", "update one set v = 5 where id = 9").await;
    world.drill(&["--churning", "more"]).await.assert_code(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_commit_log_is_not_its_own_alibi() {
    let world = World::with_table("create table pay (id int primary key, mark text)").await;
    // Nobody has read the rows: nothing but the commit log says that they are committed.
    let xid: u64 = world
        .sql("orders-prod", "app", "begin; insert into pay select n, 'm' || n from generate_series(1, 5000) n; select pg_current_xact_id()::xid; commit")
        .await
        .parse()
        .unwrap();
    // An object that is made later proves that the transaction had ended.
    world.sql("orders-prod", "app", "create table later (id int); insert into later values (1)").await;
    let files = world.snapshot_files("orders-prod", "before").await;
    let log = files.join("pg_xact/0000");
    let mut bytes = std::fs::read(&log).unwrap();
    let (byte, shift) = ((xid / 4) as usize, (xid % 4) * 2);
    assert_eq!(bytes[byte] >> shift & 3, 1, "it is committed");
    bytes[byte] = bytes[byte] & !(3 << shift) | 2 << shift;
    std::fs::write(&log, bytes).unwrap();
    let run = world.drill(&[]).await;
    run.assert_code(1);
    assert_eq!(run.table("pay"), ("differs".into(), Some(5000), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_holds_older_content_than_it_claims_is_found_or_said_not_to_be_tested() {
    let world = World::with_table("create table log (id serial primary key, v int); insert into log (v) select 1 from generate_series(1, 100)").await;
    world.snapshot("orders-prod", "old").await;
    let run = world.drill(&["--from", "old"]).await;
    run.assert_code(0);
    let line = "whether the content is as recent as the backup claims";
    assert!(is_not_tested(&run.json(), line), "{}", run.stdout);
    // With commit timestamps, the source itself knows.
    world.sql_as_superuser("orders-prod", "app", "alter system set track_commit_timestamp = on").await;
    world.rds.reboot_db_instance().db_instance_identifier("orders-prod").send().await.unwrap();
    world.until_status("orders-prod", "available").await;
    let old = world.snapshot_files("orders-prod", "old-2").await;
    world.sql("orders-prod", "app", "insert into log (v) select 2 from generate_series(1, 500)").await;
    world.advance_clock(3600).await;
    let new = world.snapshot_files("orders-prod", "new").await;
    let run = world.drill(&["--from", "new"]).await;
    run.assert_code(0);
    std::fs::remove_dir_all(&new).unwrap();
    std::fs::rename(&old, &new).unwrap();
    let run = world.drill(&["--from", "new"]).await;
    run.assert_code(1);
    assert!(run.json()["reasons"].to_string().contains("older than its backup claims"), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_database_is_no_pass_whatever_makes_it_look_new() {
    let world =
        World::with_table("create table kept (id int); insert into kept values (1); create role app_user")
            .await;
    world.sql("orders-prod", "app", "create database newest").await;
    world.sql("orders-prod", "newest", "create table t (id int); insert into t values (1)").await;
    world.snapshot("orders-prod", "before").await;
    world
        .sql("orders-prod", "newest", "drop table t; create table t (id int); insert into t values (2)")
        .await;
    for alteration in
        ["grant connect on database newest to app_user", "alter database newest connection limit 90"]
    {
        world.sql("orders-prod", "app", alteration).await;
        world.in_next_copy("postgres", "drop database newest").await;
        let run = world.drill(&[]).await;
        assert!(matches!(run.code, Some(1 | 3)), "{:?}: {}", run.code, run.stdout);
        assert!(run.json()["reasons"].to_string().contains("newest"), "{}", run.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn normal_operations_pass_and_what_could_not_be_compared_is_said() {
    let world = World::with_table(
        "create table staging (id int primary key); insert into staging select 1; truncate staging;
         create table facts (id bigserial primary key, v int); insert into facts (v) select 1 from generate_series(1, 500);
         create materialized view totals as select id from facts where id <= 100; create table packed (id serial primary key, v text);
         insert into packed (v) select 'x' from generate_series(1, 300); create table swapped (id int primary key, v int);
         insert into swapped select n, n from generate_series(1, 300) n; create table everyone (id serial primary key, v int);
         insert into everyone (v) select 0 from generate_series(1, 1000); analyze",
    )
    .await;
    world.snapshot("orders-prod", "before").await;
    world
        .sql(
            "orders-prod",
            "app",
            "truncate staging; insert into staging select generate_series(1, 700);
             insert into facts (v) select 2 from generate_series(1, 200); create or replace view later as select 1;
             refresh materialized view totals; vacuum full packed; insert into packed (v) select 'y' from generate_series(1, 60);
             create table swapped_new (like swapped including all); insert into swapped_new select n, n from generate_series(1, 360) n;
             alter table swapped rename to swapped_old; alter table swapped_new rename to swapped; drop table swapped_old;
             update everyone set v = v + 1; insert into everyone (v) select 0 from generate_series(1, 200)",
        )
        .await;
    let run = world.drill(&[]).await;
    run.assert_code(0);
    let report = run.json();
    assert_eq!(verdict(&run, "packed").0, "within");
    assert_eq!(
        verdict(&run, "everyone").1,
        "no row from before the backup is left to compare values with; the copy lacks no key that may be older"
    );
    for table in ["staging", "totals", "swapped", "everyone"] {
        assert!(is_not_tested(&report, &format!("table `app.public.{table}`")), "{table}: {}", run.stdout);
    }
    assert!(!is_not_tested(&report, "table `app.public.facts`"), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_cannot_be_right_fails_the_drill() {
    let world = World::with_table("create table pay (id int primary key, mark text); insert into pay select n, md5(n::text) from generate_series(1, 5000) n").await;
    let file = world.file_of("pay").await;
    let files = world.snapshot_files("orders-prod", "before").await;
    let mut bytes = std::fs::read(files.join(&file)).unwrap();
    bytes[10 * 8192..10 * 8192 + 24].fill(0x5a);
    std::fs::write(files.join(&file), bytes).unwrap();
    let run = world.drill(&[]).await;
    run.assert_code(1);
    assert!(
        verdict(&run, "pay").1.contains("damaged in the copy: invalid page"),
        "{}",
        verdict(&run, "pay").1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_baseline_that_covers_less_is_never_a_pass_for_the_rest() {
    let world = World::with_orders().await;
    let create = |id: &'static str, flags: &'static [&'static str]| {
        let all =
            [&["snapshot", "create", "orders-prod", "--id", id, "--baseline", "--poll", "200ms"], flags]
                .concat();
        let world = &world;
        async move {
            world.lifeboat(&all).await.assert_code(0);
        }
    };
    create("one-database", &["--dbname", "billing"]).await;
    create("only-counts", &["--depth", "counts"]).await;
    // What the record does not cover is held against the source.
    let run = world.drill(&["--from", "one-database"]).await;
    run.assert_code(0);
    assert_eq!(verdict(&run, "users"), ("identical".into(), "the recorded baseline does not cover its database, so it was compared with the source as it is now".into()));
    for damage in ["drop table jobs", "delete from jobs", "update users set name = 'x'"] {
        world.in_next_copy("app", damage).await;
        let run = world.drill(&["--from", "one-database"]).await;
        assert_eq!(run.code, Some(1), "{damage}: {}", run.stdout);
    }
    world.in_next_copy("app", "update users set name = 'x'; checkpoint; checkpoint").await;
    let run = world.drill(&["--from", "only-counts"]).await;
    run.assert_code(1);
    assert_eq!(verdict(&run, "users").0, "differs");
    let run = world.drill(&["--from", "only-counts"]).await;
    run.assert_code(0);
    assert!(is_not_tested(&run.json(), "definitions and sequences of database `app`"), "{}", run.stdout);
    // Another instance's baseline is none.
    world.create("second").await;
    world.sql("second", "app", "create table users (id int)").await;
    let flags =
        ["snapshot", "create", "second", "--id", "foreign", "--baseline", "--poll", "200ms", "--json"];
    let tags = world.lifeboat(&flags).await.json()["tags"].clone();
    let arn = format!("arn:aws:rds:eu-central-1:123456789012:snapshot:{}", "before");
    let tag = aws_sdk_rds::types::Tag::builder()
        .key("lifeboat:baseline")
        .value(tags["lifeboat:baseline"].as_str().unwrap())
        .build();
    world.rds.add_tags_to_resource().resource_name(arn).tags(tag).send().await.unwrap();
    world
        .drill(&["--from", "before"])
        .await
        .assert_code(2)
        .assert_says(&["was recorded from instance `second`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_takes_few_connections_and_never_the_last_ones() {
    let world = World::with_orders().await;
    let databases: Vec<String> = (0..12).map(|n| format!("create database db_{n};")).collect();
    world.sql("orders-prod", "app", &databases.concat()).await;
    let most = "select max(n) from pulse";
    world.sql("orders-prod", "app", "create table pulse (n int)").await;
    world.snapshot("orders-prod", "moment").await;
    let watching = async {
        loop {
            let count = "insert into pulse select count(*) from pg_stat_activity where application_name like 'lifeboat%'";
            world.sql("orders-prod", "app", count).await;
        }
    };
    let drilling = async {
        for from in ["moment", "latest"] {
            world.drill(&["--from", from, "--churning", "pulse"]).await.assert_code(0);
        }
    };
    tokio::select! {
        () = watching => unreachable!("it never stops"),
        () = drilling => {}
    }
    let most: usize = world.sql("orders-prod", "app", most).await.parse().unwrap();
    assert!((1..=3).contains(&most), "{most} connections at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_are_checked_where_amcheck_is_to_be_had_and_said_not_to_be_otherwise() {
    let world = World::with_table(
        "create table pay (id int primary key, mark text); insert into pay select n, md5(n::text) from generate_series(1, 5000) n;
         create index by_mark on pay (mark); create index by_hash on pay using hash (mark)",
    )
    .await;
    world.snapshot("orders-prod", "without").await;
    // As on RDS, the master user creates the extension in the copy.
    let run = world.drill(&["--from", "without"]).await;
    run.assert_code(0);
    assert!(is_not_tested(&run.json(), "1 index, which amcheck cannot check"), "{}", run.stdout);
    // Unless it may not: an extension needs the right to create in the database.
    world.in_next_copy("app", "alter database app owner to rdsadmin").await;
    let run = world.drill(&["--from", "without"]).await;
    assert!(
        is_not_tested(
            &run.json(),
            "indexes of database `app`: 3 indexes could not be checked, because amcheck"
        ),
        "{}",
        run.stdout
    );

    let grant = "create extension amcheck; grant execute on all functions in schema public to owner";
    world.sql_as_superuser("orders-prod", "app", grant).await;
    let file = world.file_of("pay_pkey").await;
    let files = world.snapshot_files("orders-prod", "with").await;
    for flags in [[].as_slice(), &["--baseline", "live"]] {
        let run = world.drill(&[&["--from", "with"], flags].concat()).await;
        run.assert_code(0);
        assert!(is_not_tested(&run.json(), "1 index, which amcheck cannot check"), "{}", run.stdout);
    }
    // A version of the host's collations that is not the recorded one.
    world.in_next_copy("app", "update pg_database set datcollversion = '1.0' where datname = 'app'").await;
    let run = world.drill(&["--from", "with"]).await;
    assert!(
        is_not_tested(&run.json(), "collations of the copy's host have other versions"),
        "{}",
        run.stdout
    );
    // The table is identical, and its index loses rows.
    let mut bytes = std::fs::read(files.join(&file)).unwrap();
    bytes[2 * 8192 + 24..3 * 8192].fill(0);
    std::fs::write(files.join(&file), bytes).unwrap();
    let run = world.drill(&["--from", "with"]).await;
    run.assert_code(1);
    assert_eq!(verdict(&run, "pay").0, "identical");
    assert!(
        run.json()["reasons"]
            .to_string()
            .contains("index `app.public.pay_pkey` is different: damaged in the copy"),
        "{}",
        run.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_plpgsql_is_drilled_and_backed_up_like_any_other() {
    let world = World::with_orders().await;
    world.sql_as_superuser("orders-prod", "billing", "drop extension plpgsql").await;
    world.sql_as_superuser("orders-prod", "app", "revoke usage on language plpgsql from public").await;
    world.snapshot("orders-prod", "hardened").await;
    for from in ["hardened", "latest"] {
        let run = world.drill(&["--from", from]).await;
        run.assert_code(0);
        assert_eq!(verdict(&run, "invoices").0, "identical");
    }
    for database in ["app", "billing"] {
        let url = world.url("orders-prod", database).await;
        world.lifeboat(&["backup", "create", "--url", &url, "--name", database]).await.assert_code(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_that_come_and_go_end_neither_a_drill_nor_a_baseline() {
    let world = World::with_orders().await;
    let churning = async {
        for number in 0.. {
            let fill = "create table t (id int primary key); insert into t select generate_series(1, 50)";
            world.sql("orders-prod", "postgres", &format!("create database scratch_{number}")).await;
            world.sql("orders-prod", &format!("scratch_{number}"), fill).await;
            world
                .sql("orders-prod", "postgres", &format!("drop database scratch_{number} with (force)"))
                .await;
        }
    };
    let drilling = async {
        for round in 0..2 {
            let id = format!("with-baseline-{round}");
            let flags = ["snapshot", "create", "orders-prod", "--id", &id, "--baseline", "--poll", "200ms"];
            world.lifeboat(&flags).await.assert_code(0);
            let run = world.drill(&["--from", "latest"]).await;
            assert_eq!(verdict(&run, "users").0, "identical");
            // What came and went is at most unknown, and nothing but that.
            assert!(matches!(run.code, Some(0 | 3)), "{:?}: {}", run.code, run.stdout);
            let reasons = run.json()["reasons"].as_array().unwrap().clone();
            assert!(
                reasons.iter().all(|reason| reason.as_str().unwrap().contains("scratch_")),
                "{reasons:#?}"
            );
        }
    };
    tokio::select! {
        () = churning => unreachable!("it never stops"),
        () = drilling => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_while_a_baseline_is_recorded_hide_no_change() {
    let world = World::with_table(
        "create table pay (id int primary key, iban text, v int); insert into pay select n, 'AAAA' || n, 0 from generate_series(1, 5000) n;
         create table packed (id int primary key, iban text); insert into packed select n, 'CCCC' || n from generate_series(1, 500) n;
         create table queue (id serial primary key, what text); insert into queue (what) select 'EEEE' || n from generate_series(1, 200) n",
    )
    .await;
    let (pay, queue) = (world.file_of("pay").await, world.file_of("queue").await);
    let known = world.backups();
    let flags = ["snapshot", "create", "orders-prod", "--id", "busy", "--baseline", "--poll", "200ms"];
    let writing = async {
        loop {
            let write = "update pay set v = v + 1 where id = 4999; vacuum full packed;
                         delete from queue where id = (select max(id) from queue); insert into queue (what) values ('new')";
            world.sql("orders-prod", "app", write).await;
        }
    };
    tokio::select! {
        () = writing => unreachable!("it never stops"),
        run = world.lifeboat(&flags) => { run.assert_code(0); }
    }
    let run = world.drill(&["--from", "busy"]).await;
    run.assert_code(0);
    let files = world.backups().difference(&known).next().unwrap().clone();
    replace(&files.join(pay), "AAAA", "BBBB");
    std::fs::write(files.join(queue), []).unwrap();
    let run = world.drill(&["--from", "busy"]).await;
    run.assert_code(1);
    assert_eq!(verdict(&run, "pay").0, "differs", "{}", verdict(&run, "pay").1);
    assert_eq!(verdict(&run, "queue").0, "differs", "{}", verdict(&run, "queue").1);
    // An emptied copy of a table that was rewritten while it was read.
    world.in_next_copy("app", "delete from packed; select pg_stat_force_next_flush()").await;
    let run = world.drill(&["--from", "busy"]).await;
    assert_eq!(verdict(&run, "packed").0, "differs", "{}", verdict(&run, "packed").1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_in_another_database_proves_nothing_of_open_transactions() {
    let world = World::with_table("create table acct (id int primary key, v int); insert into acct select n, 0 from generate_series(1, 1000) n").await;
    world.sql("orders-prod", "app", "create database other").await;
    world.sql("orders-prod", "other", "create table w (v int)").await;
    let sql = "begin; update acct set v = v + 1 where id <= 100; insert into acct select n, n from generate_series(2001, 2010) n;";
    let open = world.open_transaction("app", sql).await;
    for _ in 0..5 {
        world.sql("orders-prod", "other", "insert into w values (2)").await;
    }
    world.sql("orders-prod", "other", "vacuum freeze w; vacuum w").await;
    world.snapshot("orders-prod", "before").await;
    open.commit().await;
    let run = world.drill(&[]).await;
    run.assert_code(0);
    assert_eq!(verdict(&run, "acct").0, "within", "{}", verdict(&run, "acct").1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_the_copy_lost_or_gained_is_found() {
    let world = World::with_table("create table floats (id int primary key, f float, n numeric); insert into floats select n, n, n from generate_series(1, 300) n").await;
    world.snapshot("orders-prod", "before").await;
    for damage in ["drop column f, drop column n", "add column g int", "drop column n, add column n numeric"]
    {
        for more in ["", "; checkpoint; select pg_current_xact_id(); checkpoint; select pg_stat_reset()"] {
            world.in_next_copy("app", &format!("alter table floats {damage}{more}")).await;
            world.drill(&[]).await.assert_code(1);
        }
    }
    world.sql("orders-prod", "app", "alter table floats add column later int, drop column f").await;
    world.drill(&[]).await.assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_no_sequence_handed_out_prove_nothing() {
    let world = World::with_table(
        "create table users (id serial primary key, v text); insert into users select n, 'm' || n || ';' from generate_series(1, 3000) n;
         create table jobs (id bigserial primary key, v text); insert into jobs (v) select 'x' from generate_series(1, 100); delete from jobs",
    )
    .await;
    let file = world.file_of("users").await;
    let files = world.snapshot_files("orders-prod", "before").await;
    world
        .sql(
            "orders-prod",
            "app",
            "update users set v = v || 'w' where id > 500; insert into jobs (v) select 'y' from generate_series(1, 60);
             delete from jobs where id < 140",
        )
        .await;
    // A queue that was empty: its keys come from the sequence, whose log is 32 of them ahead.
    let run = world.drill(&[]).await;
    run.assert_code(0);
    assert_eq!(verdict(&run, "jobs").0, "within");
    let mut bytes = std::fs::read(files.join(&file)).unwrap();
    for n in 501..=3000 {
        let at = find_row(&bytes, &format!("m{n};"));
        lose_row(&mut bytes, at);
    }
    std::fs::write(files.join(&file), bytes).unwrap();
    let run = world.drill(&[]).await;
    run.assert_code(3);
    assert_eq!(verdict(&run, "users").0, "unknown", "{}", verdict(&run, "users").1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_on_one_table_leaves_the_others_what_they_are() {
    let world = World::with_table("create table locked (id int primary key); create table free (id int primary key); insert into free values (1); insert into locked values (1)").await;
    world.snapshot("orders-prod", "before").await;
    let open = world.open_transaction("app", "begin; lock table locked in access exclusive mode;").await;
    let run = world.drill(&[]).await;
    run.assert_code(3);
    assert_eq!(verdict(&run, "free").0, "identical");
    assert_eq!(verdict(&run, "locked").0, "unknown");
    open.commit().await;
}
