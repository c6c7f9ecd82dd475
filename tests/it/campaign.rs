//! Drills of a source that is written to all the time: no false alarm, and no damage that passes.
//!
//! LIFEBOAT_CAMPAIGN=20 makes twenty of each kind of drill and two hundred damages; without it a few.

use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::support::{PASSWORD, World};

/// Tables that nobody writes to, that only grow, and that are rewritten all the time.
const QUIET: usize = 12;
const GROWING: usize = 4;

fn rounds() -> usize {
    std::env::var("LIFEBOAT_CAMPAIGN").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// A source with those tables and everything that hangs on them, and a load that goes on until it is dropped.
async fn busy_world() -> (World, Child) {
    let world = World::new().await;
    world.create("orders-prod").await;
    let sql = format!(
        "create extension pg_trgm;
         do $$ begin
             for i in 1..{QUIET} loop
                 execute format('create table quiet_%s (id int primary key, a int, b text); create index quiet_%s_b on quiet_%s (b)', i, i, i);
                 execute format('insert into quiet_%s select n, n * 7, md5(n::text) from generate_series(1, 400) n', i);
                 execute format('create function about_%s() returns bigint language sql as ''select count(*) from quiet_%s''', i, i);
                 execute format('create sequence quiet_%s_seq; select setval(''quiet_%s_seq'', 500)', i, i);
             end loop;
             for i in 1..{GROWING} loop
                 execute format('create table growing_%s (id bigserial primary key, a int, b text)', i);
                 execute format('insert into growing_%s (a, b) select n, md5(n::text) from generate_series(1, 400) n', i);
             end loop;
         end $$;
         create table churning (id int primary key, a int);
         insert into churning select n, n from generate_series(1, 1000) n;
         create table emptied (id bigserial, a int);
         insert into emptied (a) select n from generate_series(1, 100) n;
         analyze" // as autovacuum would soon
    );
    world.sql("orders-prod", "app", &sql).await;
    world.write(
        "write.sql",
        "\\set n random(1, 1000)\n\\set m random(1001, 100000)\n\
         begin; insert into growing_1 (a, b) values (:n, 'x'); insert into growing_2 (a, b) values (:n, 'y');\n\
         savepoint s; insert into growing_3 (a, b) values (:n, 'z'); release s;\n\
         savepoint t; insert into growing_4 (a, b) values (:n, 'w'); rollback to t;\n\
         update churning set a = a + 1 where id = :n; delete from churning where id = :m;\n\
         insert into churning values (:m, :n) on conflict do nothing; insert into emptied (a) values (:n); end;\n",
    );
    world.write("truncate.sql", "truncate emptied;\ninsert into emptied (a) values (1);\n");
    // It stays open across the instants that are observed.
    world.write("long.sql", "begin; insert into growing_1 (a, b) values (0, 'slow'); savepoint s; insert into growing_1 (a, b) values (0, 's');\n\\sleep 3 s\nend;\n");
    let url = world.url("orders-prod", "app").await;
    let pgbench = std::fs::read_dir("/usr/lib/postgresql").ok().and_then(|all| {
        all.flatten().map(|entry| entry.path().join("bin/pgbench")).find(|path| path.exists())
    });
    let file = |name: &str| world.path(name).to_string_lossy().into_owned();
    let load = Command::new(pgbench.unwrap_or("pgbench".into()))
        .args(["-n", "-c", "3", "-T", "7200", "--rate", "40"])
        .args(["-f", &format!("{}@60", file("write.sql")), "-f", &format!("{}@3", file("truncate.sql"))])
        .args(["-f", &format!("{}@1", file("long.sql")), &url])
        .env("PGPASSWORD", PASSWORD)
        .env("PGSSLROOTCERT", world.stack.ca_path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("pgbench comes with PostgreSQL");
    (world, load)
}

impl World {
    async fn snapshot_with_baseline(&self, id: &str) -> Value {
        let flags =
            ["snapshot", "create", "orders-prod", "--id", id, "--baseline", "--poll", "200ms", "--json"];
        let run = self.lifeboat(&flags).await;
        run.assert_code(0);
        run.json()
    }
}

/// What the report says of the table of that name.
#[track_caller]
fn table<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["tables"].as_array().unwrap().iter().find(|table| table["table"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_written_to_all_the_time_raises_no_alarm() {
    let (world, mut load) = busy_world().await;
    for round in 0..rounds() {
        let id = format!("round-{round}");
        let snapshot = world.snapshot_with_baseline(&id).await;
        assert_eq!(snapshot["tags"]["lifeboat:baseline"].as_str().unwrap().len(), 64);
        for (from, flags, baseline) in [
            (id.as_str(), [].as_slice(), "recorded"),
            ("latest", &[], "aligned"),
            (&id, &["--baseline", "live"], "live"),
        ] {
            let run = world.drill(&[&["--from", from], flags].concat()).await;
            let report = run.json();
            // Of a table that is emptied again and again, a look at the source of today cannot tell what it held.
            let reasons = report["reasons"].as_array().unwrap();
            let honest = baseline == "live"
                && reasons.iter().all(|reason| reason.as_str().unwrap().contains(".emptied` is unknown"));
            assert!(
                run.code == Some(0) || (honest && run.code == Some(3)),
                "round {round}, {baseline}: {reasons:#?}"
            );
            assert_eq!(report["baseline"], baseline);
            assert_eq!(table(&report, "quiet_1")["verdict"], "identical");
            if baseline != "live" {
                let grown = table(&report, "growing_2");
                let reason = grown["reason"].as_str().unwrap();
                assert!(grown["verdict"] == "identical" || reason.contains("identical"), "{grown}");
                let churned = table(&report, "churning");
                let reason = churned["reason"].as_str().unwrap();
                assert!(
                    churned["verdict"] == "identical"
                        || reason.contains("only bounds")
                        || reason.contains("identical"),
                    "{churned}"
                );
            }
        }
    }
    assert!(load.try_wait().unwrap().is_none(), "the load has ended");
    world.assert_only(&["orders-prod"]).await;
}

/// One way to damage a restored copy, and the name that must be told.
fn damage(kind: usize, at: usize, rng: &mut rand::rngs::StdRng) -> (String, String) {
    let (quiet, id) = (format!("quiet_{at}"), rng.random_range(1..=400));
    let growing = format!("growing_{}", 1 + at % GROWING);
    let other = 1 + (id + rng.random_range(1..399)) % 400;
    let swap = |table: &str| {
        format!(
            "update {table} t set a = s.a from {table} s where t.id in ({id}, {other}) and s.id in ({id}, {other}) and s.id <> t.id"
        )
    };
    match kind {
        0 => (format!("delete from {quiet} where id = {id}"), quiet),
        1 => (format!("insert into {quiet} values ({id} + 1000, 1, 'new')"), quiet),
        2 => (format!("update {quiet} set b = b || 'x' where id = {id}"), quiet),
        3 => (swap(&quiet), quiet),
        4 => (
            format!(
                "alter table {quiet} drop constraint {quiet}_pkey; insert into {quiet} select * from {quiet} where id = {id}"
            ),
            quiet,
        ),
        5 => (format!("select setval('{quiet}_seq', {id})"), format!("{quiet}_seq")),
        6 => (
            format!("update pg_index set indisvalid = false where indexrelid = '{quiet}_b'::regclass"),
            format!("{quiet}_b"),
        ),
        7 => (format!("alter table {quiet} alter a type bigint"), quiet),
        8 => (
            format!(
                "create or replace function about_{at}() returns bigint language sql as 'select {id}::bigint'"
            ),
            format!("about_{at}"),
        ),
        9 => (format!("delete from {growing} where id = {id}"), growing),
        10 => (format!("update {growing} set a = -1 where id = {id}"), growing),
        11 => (swap(&growing), growing),
        12 => (format!("drop index {quiet}_b"), format!("{quiet}_b")),
        _ => (format!("truncate {quiet}"), quiet),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_damage_to_a_copy_is_found_and_named() {
    let (world, _load) = busy_world().await;
    world.snapshot_with_baseline("base").await;
    let seed = rand::rng().random();
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let mut damages = 0;
    let drills = 2 + rounds().saturating_sub(1);
    for round in 0..drills {
        // Each drill has a damage to each of ten tables, of a kind that the dice choose; once, a rewritten table and the
        // extension too.
        let mut places: Vec<usize> = (1..=QUIET).collect();
        let mut chosen = Vec::new();
        for _ in 0..10 {
            let place = *places.choose(&mut rng).unwrap();
            places.retain(|other| *other != place);
            let kind = rng.random_range(0..14);
            let found = damage(kind, place, &mut rng);
            // Two damages to one growing table could not be told apart.
            if chosen.iter().all(|(_, name): &(String, String)| *name != found.1) {
                chosen.push(found);
            }
        }
        if round == 0 {
            chosen.push(("drop extension pg_trgm".to_owned(), "pg_trgm".to_owned()));
            chosen.push(("delete from churning".to_owned(), "churning".to_owned()));
        }
        let sql: Vec<&str> = chosen.iter().map(|(sql, _)| sql.as_str()).collect();
        world.control("POST", "restored-sql", json!({"database": "app", "sql": sql.join(";\n")})).await;
        let from = if round % 2 == 0 { "base" } else { "latest" };
        let run = world.drill(&["--from", from]).await;
        run.assert_code(1);
        let reasons = run.json()["reasons"].to_string();
        for (sql, name) in &chosen {
            assert!(reasons.contains(&format!(".{name}")), "seed {seed}, {from}: {sql}\n{reasons}");
        }
        damages += chosen.len();
    }
    // Of ten, the dice choose one growing table twice now and then.
    assert!(damages >= 8 * drills, "{damages}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_copy_lacks_are_named_in_the_evidence_and_their_contents_are_not() {
    let world = World::with_orders().await;
    world.snapshot_with_baseline("base").await;
    let damage = "update users set name = 'changed' where id = 42; delete from users where id in (443, 450); insert into users values (900, 'new')";
    for flags in [["--from", "base"], ["--baseline", "live"]] {
        world.control("POST", "restored-sql", json!({"database": "app", "sql": damage})).await;
        let report = world.drill(&flags).await.assert_code(1).json();
        let reason = table(&report, "users")["reason"].as_str().unwrap().to_owned();
        let expected = if flags[1] == "base" {
            "4 rows differ (id 42, 443, 450, 900): 1 changed, 2 missing, 1 added"
        } else {
            "3 rows differ (id 42, 443, 450): 1 changed, 2 missing"
        };
        assert!(reason.contains(expected), "{flags:?}: {reason}");
        assert_eq!(reason.matches("missing").count(), 1, "it is said once: {reason}");
        assert!(!report.to_string().contains("user 443"), "contents stand in the evidence");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_source_has_changed_since_are_not_counted_as_if_they_had_been_compared() {
    let world = World::with_orders().await;
    world.snapshot_with_baseline("base").await;
    world.sql("orders-prod", "app", "update users set name = 'newer' where id = 42").await;
    let damage = "update users set name = 'changed' where id in (42, 44); delete from users where id = 450";
    for (flags, tail) in [
        (&["--from", "base"][..], "nothing wrote to it in between"),
        (&["--from", "base", "--baseline", "live"], "the source still has 499 rows from before the backup"),
    ] {
        world.control("POST", "restored-sql", json!({"database": "app", "sql": damage})).await;
        let report = world.drill(flags).await.assert_code(1).json();
        let reason = table(&report, "users")["reason"].as_str().unwrap().to_owned();
        assert_eq!(reason, format!("at least 2 rows differ (id 44, 450, …): 1 changed, 1 missing; {tail}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_baseline_that_is_damaged_or_not_there_is_said() {
    let world = World::with_orders().await;
    let snapshot = world.snapshot_with_baseline("base").await;
    let file = world
        .path("vault/baselines")
        .join(format!("{}.json", snapshot["tags"]["lifeboat:baseline"].as_str().unwrap()));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("\"users\"", "\"usurs\"", 1)).unwrap();
    let run = world.drill(&["--from", "base"]).await;
    run.assert_code(2).assert_says(&["is damaged", "--baseline live"]);
    std::fs::remove_file(&file).unwrap();
    let run = world.drill(&["--from", "base", "--baseline", "recorded"]).await;
    run.assert_code(2).assert_says(&["not in this vault"]);
    let run = world.drill(&["--from", "base"]).await;
    run.assert_code(0).assert_says(&["not in this vault"]);
    assert_eq!(run.json()["baseline"], "live");
    world.assert_only(&["orders-prod"]).await;
}
