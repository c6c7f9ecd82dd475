//! `lifeboat verify`: two databases, or one and a baseline.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::cluster::{Cluster, programs_of_17};
use crate::support::{PASSWORD, Run, World, wait};

const EVERYTHING: &str = include_str!("../data/everything.sql");
const CASELESS: &str = include_str!("../data/caseless.sql");

impl World {
    /// A world with one server, and on it a database `app` with orders in it and its twin `twin`.
    async fn with_twins() -> World {
        let world = World::new().await;
        world.create("orders-prod").await;
        let orders = "create table orders (id int primary key, owner text not null, price numeric(10, 2), at timestamptz);
                      insert into orders select n, 'secret owner ' || n, n / 7.0, timestamptz '2026-01-01' + n * interval '1 h'
                      from generate_series(1, 10000) n;
                      create table log (line text);
                      insert into log select 'line ' || n % 100 from generate_series(1, 1000) n;
                      create sequence tickets; select setval('tickets', 77);
                      create function total() returns bigint language sql as 'select count(*) from orders';
                      create index by_owner on orders (owner);
                      create table pairs (id int primary key, big bigint, at timestamptz, clock time, padded bpchar, lsn pg_lsn);
                      insert into pairs values (1, 1, '2026-01-01', '01:00', 'a', '0/1'), (2, -1, null, null, '', null);
                      create sequence fresh;
                      create policy own on pairs using (big > 0)";
        world.sql("orders-prod", "app", orders).await;
        world.sql("orders-prod", "app", "create database twin template app").await;
        world
    }

    async fn verify(&self, left: &str, right: &str, flags: &[&str]) -> Run {
        let (left, right) = (self.url("orders-prod", left).await, self.url("orders-prod", right).await);
        self.lifeboat(&[&["verify", left.as_str(), right.as_str(), "--json"], flags].concat()).await
    }
}

/// What the report says of one table.
#[track_caller]
fn table<'a>(report: &'a Value, name: &str) -> &'a Value {
    let tables = report["tables"].as_array().unwrap();
    tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn twins_pass_and_what_was_compared_is_counted() {
    let world = World::with_twins().await;
    let run = world.verify("app", "twin", &[]).await;
    let report = run.assert_code(0).json();
    assert_eq!((&report["schema"], &report["verdict"]), (&json!("lifeboat.verify/1"), &json!("pass")));
    let orders = table(&report, "orders");
    assert_eq!((&orders["verdict"], &orders["rows"]), (&json!("identical"), &json!(10000)));
    assert_eq!(orders["fingerprint"], orders["expected_fingerprint"]);
    assert!(orders["fingerprint"].as_str().unwrap().len() > 10);
    assert_eq!(
        (&report["sequences"]["verdict"], &report["sequences"]["compared"]),
        (&json!("pass"), &json!(2))
    );
    assert!(report["definitions"]["compared"].as_u64().unwrap() > 8);
    assert_eq!(report["extensions"]["verdict"], "pass");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_differ_are_named_by_their_keys_and_their_contents_only_when_asked() {
    let world = World::with_twins().await;
    let parts = "create table parts (maker text, name text, n int, primary key (maker, name));
                 insert into parts values ('a, b', 'c', 1), ('a', 'b, c', 1), ('eu', repeat('x', 300), 1), ('eu', 'y', 1)";
    for database in ["app", "twin"] {
        world.sql("orders-prod", database, parts).await;
    }
    let damage = "update parts set n = 2 where name <> 'y';
                  update orders set price = price + 0.01 where id = 1042; delete from orders where id = 1043;
                  insert into orders values (77810, 'somebody', 1, now());
                  update log set line = 'other' where ctid = (select min(ctid) from log)";
    world.sql("orders-prod", "twin", damage).await;
    let run = world.verify("app", "twin", &[]).await;
    let report = run.assert_code(1).json();
    let orders = table(&report, "orders");
    assert_eq!(
        orders["differences"],
        json!([
            {"how": "changed", "key": "id 1042", "columns": ["price"]},
            {"how": "missing", "key": "id 1043"},
            {"how": "added", "key": "id 77810"}
        ])
    );
    let reasons = report["reasons"].to_string();
    assert!(
        reasons.contains("3 rows differ (id 1042, 1043, 77810): 1 changed, 1 missing, 1 added"),
        "{reasons}"
    );
    assert!(table(&report, "log")["reason"].as_str().unwrap().contains("has no key"), "{report:#}");
    // Where one value ends and the next begins can be seen, and where one was cut.
    let keys: Vec<&str> = table(&report, "parts")["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["key"].as_str().unwrap())
        .collect();
    let long = format!("(maker, name) (eu, {}…)", "x".repeat(200));
    assert_eq!(keys, ["(maker, name) ('a, b', c)", "(maker, name) (a, 'b, c')", &long]);
    assert!(!run.stdout.contains("secret owner"), "contents were shown");
    let run = world.verify("app", "twin", &["--show-rows"]).await;
    run.assert_code(1);
    assert!(run.stdout.contains("secret owner 1042"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_damage_between_two_databases_is_found_and_named() {
    let world = World::with_twins().await;
    for (sql, name) in [
        ("update orders set owner = b.owner from orders b where orders.id = 5 and b.id = 6", "orders"),
        (
            "with two as (select id, owner from orders where id in (7, 8)) update orders o set owner = t.owner from two t where o.id + t.id = 15 and o.id in (7, 8)",
            "orders",
        ),
        ("insert into log select line from log limit 1", "log"),
        ("alter table orders alter price type numeric(12, 4)", "orders"),
        ("alter table orders alter owner drop not null", "orders"),
        ("create or replace function total() returns bigint language sql as 'select 1::bigint'", "total"),
        ("drop index by_owner", "by_owner"),
        ("select setval('tickets', 76)", "tickets"),
        ("grant select on orders to public", "orders"),
        ("create table more ()", "more"),
        ("drop table log", "log"),
        ("alter table orders enable row level security", "orders"),
        ("alter table orders rename column at to \"when\"", "orders"),
        // Values and definitions that PostgreSQL's own hashes, casts or catalog texts call equal.
        ("update pairs set big = 4294967296 where id = 1", "pairs"),
        ("update pairs set big = 4294967295 where id = 2", "pairs"),
        ("update pairs set at = at + interval '4294.967296 s' where id = 1", "pairs"),
        ("update pairs set clock = clock + interval '4294.967296 s' where id = 1", "pairs"),
        ("update pairs set padded = 'a   ' where id = 1", "pairs"),
        ("update pairs set padded = null where id = 2", "pairs"),
        ("update pairs set lsn = '1/0' where id = 1", "pairs"),
        ("alter sequence fresh restart 1000", "fresh"),
        ("select setval('fresh', 500, false)", "fresh"),
        ("drop policy own on pairs; create policy own on pairs with check (big > 0)", "own"),
        ("alter table orders replica identity full", "orders"),
        ("alter default privileges grant select on tables to public", "default rights"),
        ("revoke connect on database damaged from public", "the database"),
    ] {
        world.sql("orders-prod", "postgres", "create database damaged template twin").await;
        world.sql("orders-prod", "damaged", sql).await;
        let run = world.verify("app", "damaged", &[]).await;
        assert_eq!(run.code, Some(1), "{sql}: {}", run.stdout);
        assert!(run.json()["reasons"].to_string().contains(name), "{sql}: {}", run.json()["reasons"]);
        world.sql("orders-prod", "postgres", "drop database damaged").await;
    }
    // A right that was given and undone is none, however the catalog writes that down.
    let undone = "grant select on orders to pg_monitor; revoke select on orders from pg_monitor";
    world.sql("orders-prod", "twin", undone).await;
    world.verify("app", "twin", &[]).await.assert_code(0);
    // What does not matter can be said.
    world.sql("orders-prod", "twin", "grant select on orders to public").await;
    let run = world.verify("app", "twin", &["--ignore", "rights"]).await;
    run.assert_code(0);
    assert!(run.json()["not_tested"].to_string().contains("rights"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_everything_survives_pg_dump_and_is_compared_or_skipped_with_a_reason() {
    let world = World::new().await;
    world.create("orders-prod").await;
    world.sql("orders-prod", "app", EVERYTHING).await;
    world.sql("orders-prod", "app", CASELESS).await;
    world.dump_and_restore("orders-prod", "app", "again").await;
    let run = world.verify("app", "again", &["--depth", "pg_catalog.pg_largeobject=schema"]).await;
    let report = run.json();
    assert_eq!(run.code, Some(0), "{:#}", report["reasons"]);
    for table in report["tables"].as_array().unwrap() {
        let (name, verdict) = (table["table"].as_str().unwrap(), table["verdict"].as_str().unwrap());
        let expected = match name {
            "never_filled" | "pg_largeobject" => "skipped",
            _ => "identical",
        };
        assert_eq!(verdict, expected, "{name}: {}", table["reason"]);
        assert!(verdict == "identical" || !table["reason"].as_str().unwrap().is_empty());
    }
    assert_eq!(table(&report, "every_type")["rows"], 503);
    assert_eq!(table(&report, "parent")["rows"], 10, "the children were counted twice");
    assert!(report["tables"].as_array().unwrap().len() >= 21);
    // 'ABC' and 'abc' are equal to that collation, and not the same.
    world.sql("orders-prod", "again", "update caseless set word = 'ABC' where id = 1").await;
    let report =
        world.verify("app", "again", &["--depth", "schema", "--depth", "caseless=content"]).await.json();
    assert_eq!(table(&report, "caseless")["verdict"], "differs", "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_major_version_with_the_same_data_has_the_same_fingerprints() {
    let world = World::new().await;
    world.create("orders-prod").await;
    world.sql("orders-prod", "app", EVERYTHING).await;
    let other = Cluster::start(programs_of_17(), "owner");
    other.sql("postgres", "create database app");
    other.sql("app", EVERYTHING);
    let left = world.url("orders-prod", "app").await;
    let flags = ["--json", "--depth", "pg_catalog.pg_largeobject=schema", "--ignore", "owner,database,role"];
    let run = world.lifeboat(&[&["verify", &left, &other.url("app")], flags.as_slice()].concat()).await;
    let report = run.json();
    assert_eq!(run.code, Some(0), "{:#}", report["reasons"]);
    assert_ne!(report["left"]["server_version"], report["right"]["server_version"]);
    assert_eq!(table(&report, "every_type")["verdict"], "identical");
    assert!(report["not_tested"].to_string().contains("print it differently"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_unknown_and_nothing_is_hidden_by_row_level_security() {
    let world = World::with_twins().await;
    let prepare = format!(
        "create role reader login password '{PASSWORD}'; grant select on orders to reader; grant usage on sequence tickets to reader;
         alter table orders enable row level security; create policy half on orders using (id % 2 = 0)"
    );
    world.sql("orders-prod", "app", &prepare).await;
    world.sql("orders-prod", "twin", "grant select on all tables in schema public to reader").await;
    let as_reader =
        async |database: &str| world.url("orders-prod", database).await.replace("owner@", "reader@");
    let (left, right) = (as_reader("app").await, as_reader("twin").await);
    let run =
        world.lifeboat(&["verify", &left, &right, "--json", "--ignore", "rights,policy,row security"]).await;
    let report = run.assert_code(3).json();
    let of =
        |name: &str| (table(&report, name)["verdict"].clone(), table(&report, name)["reason"].to_string());
    assert!(
        of("orders").0 == "unknown" && of("orders").1.contains("row-level security"),
        "{:?}",
        of("orders")
    );
    assert!(of("log").0 == "unknown" && of("log").1.contains("permission denied"), "{:?}", of("log"));
    assert_eq!(report["verdict"], "unknown");
}

/// A port that leads to another one of this machine, with so much delay for everything that is sent either way.
async fn slow_link(to: u16, delay: Duration) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let lag = move |mut from: OwnedReadHalf, mut to: OwnedWriteHalf| async move {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            tokio::time::sleep(delay).await;
            if to.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    };
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = TcpStream::connect(("127.0.0.1", to)).await.unwrap().into_split();
            tokio::spawn(lag(near_read, far_write));
            tokio::spawn(lag(far_read, near_write));
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_between_the_two_instants_explain_as_many_rows_and_no_more() {
    let world = World::with_twins().await;
    let url = world.url("orders-prod", "twin").await;
    let port = url.split(':').nth(2).unwrap().split('/').next().unwrap();
    // The right side is far away, so that the left one, where someone writes, waits for it between its first look and its
    // instant.
    let far = slow_link(port.parse().unwrap(), Duration::from_millis(30)).await;
    let (left, right) = (world.url("orders-prod", "app").await, url.replace(port, &far.to_string()));
    let begins = "do $$ begin
                      while not exists (select from pg_stat_activity where datname = 'app' and application_name like 'lifeboat%'
                                        and query = 'rollback' and state = 'idle') loop
                          commit; perform pg_sleep(0.01);
                      end loop;
                  end $$;";
    for (harm, code) in [("select 1", 0), ("update orders set owner = 'x' || owner where id > 8000", 1)] {
        world.sql("orders-prod", "app", "drop database twin; create database twin template app").await;
        world.sql("orders-prod", "twin", harm).await;
        let write = (1..=80).map(|id| {
            format!("update orders set price = price + 1 where id = {id}; delete from log where ctid = '(0,{id})'; select pg_sleep(0.01);")
        });
        let script = format!("{begins} {}", write.collect::<String>());
        let flags = ["verify", &left, &right, "--json"];
        let (run, _) = tokio::join!(world.lifeboat(&flags), world.sql("orders-prod", "app", &script));
        let report = run.assert_code(code).json();
        let orders = table(&report, "orders");
        if code == 0 {
            assert_eq!(orders["verdict"], "within", "{orders}");
            assert_eq!(table(&report, "log")["verdict"], "within", "{report:#}");
        } else {
            assert_eq!(orders["verdict"], "differs");
            assert!(orders["reason"].as_str().unwrap().contains("rows were written to while"), "{orders}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_dropped_while_it_is_observed_does_no_harm() {
    let world = World::with_twins().await;
    // Enough to read for some seconds, and a table that is gone before its turn.
    let sql = "create table big as select n, repeat(md5(n::text), 30) as t from generate_series(1, 300000) n;
               create table last_one as select 1 as x";
    for database in ["app", "twin"] {
        world.sql("orders-prod", database, sql).await;
    }
    // Each database sees for itself when the large table is read: a client that asks again and again could miss it.
    let drop_it = "do $$ begin
                       for i in 1..60000 loop
                           perform pg_stat_clear_snapshot();
                           exit when exists (
                               select from pg_stat_activity
                               where datname = current_database() and application_name like 'lifeboat%'
                                 and query like '%\"big\"%' and state = 'active');
                           perform pg_sleep(0.003);
                           if i = 60000 then raise 'nobody has read the large table'; end if;
                       end loop; end $$;
                   drop table last_one";
    let verified = async {
        let watching = "select count(*) from pg_stat_activity where query like 'do $$%' and state = 'active'";
        wait("both to watch", async || world.sql("orders-prod", "postgres", watching).await == "2").await;
        world.verify("app", "twin", &["--connections", "1", "--ignore", "columns,storage,rights,owner"]).await
    };
    let (run, _, _) = tokio::join!(
        verified,
        world.sql("orders-prod", "app", drop_it),
        world.sql("orders-prod", "twin", drop_it)
    );
    let report = run.json();
    let last = table(&report, "last_one");
    // On a slow machine one side of it is read before the drop, or both are.
    let was_dropped =
        last["reason"].as_str().unwrap().starts_with("dropped while the database was being observed");
    match last["verdict"].as_str().unwrap() {
        "skipped" => assert!(was_dropped && run.code == Some(0), "{report:#}"),
        "unknown" => assert!(was_dropped && run.code == Some(3), "{report:#}"),
        other => assert!(other == "identical" && run.code == Some(0), "{report:#}"),
    }
    assert!(
        report["reasons"]
            .as_array()
            .unwrap()
            .iter()
            .all(|reason| reason.as_str().unwrap().contains("last_one"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_tables_take_no_more_locks_than_the_server_has() {
    let world = World::new().await;
    world.create("orders-prod").await;
    // More than max_locks_per_transaction * max_connections = 6,400 with their indexes and sequences.
    let sql = "do $$ begin for i in 1..2500 loop
                   execute format('create table t%s (id serial primary key, v text)', i);
                   execute format('insert into t%s (v) values (''a''), (''b'')', i);
                   if i % 250 = 0 then commit; end if;
               end loop; end $$";
    world.sql("orders-prod", "app", sql).await;
    world.sql("orders-prod", "app", "create database twin template app").await;
    let run = world.verify("app", "twin", &[]).await;
    let report = run.assert_code(0).json();
    assert_eq!(report["tables"].as_array().unwrap().len(), 2500);
    assert_eq!(report["sequences"]["compared"], 2500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_baseline_is_recorded_and_verified_and_damage_to_it_is_found() {
    let world = World::with_twins().await;
    let twin = world.url("orders-prod", "twin").await;
    let run = world.lifeboat(&["verify", "record", &twin, "--json"]).await;
    let recorded = run.assert_code(0).json();
    let (file, seal) = (recorded["file"].as_str().unwrap(), recorded["sha256"].as_str().unwrap());
    assert_eq!(recorded["rows"], 11002);
    assert!(!std::fs::read_to_string(file).unwrap().contains("secret owner"));
    for baseline in [file, seal] {
        world.lifeboat(&["verify", baseline, &twin, "--json"]).await.assert_code(0);
        world.lifeboat(&["verify", &twin, baseline, "--json"]).await.assert_code(0);
    }
    world.sql("orders-prod", "twin", "update orders set price = 0 where id = 1").await;
    let run = world.lifeboat(&["verify", file, &twin, "--json"]).await;
    let report = run.assert_code(1).json();
    assert!(
        report["reasons"][0].as_str().unwrap().contains("table `twin.public.orders` differs"),
        "{report:#}"
    );

    // The baseline of another database is told by what differs.
    let app = world.url("orders-prod", "postgres").await;
    let run = world.lifeboat(&["verify", file, &app, "--json"]).await;
    assert!(run.assert_code(1).stdout.contains("is missing"), "{}", run.stdout);
    let text = std::fs::read_to_string(file).unwrap();
    world.write("flipped.json", &text.replace("\"secret", "\"Secret").replace("orders", "0rders"));
    world.write("short.json", &text[..text.len() / 2]);
    world.write("empty.json", "");
    world.write("other.json", "{\"a\": 1}");
    for (name, says) in [
        ("flipped.json", "damaged: its content does not match its SHA-256"),
        ("short.json", "damaged: it is truncated"),
        ("empty.json", "damaged: it is empty"),
        ("other.json", "not a baseline of lifeboat"),
        ("nothing.json", "neither a connection URL nor a baseline"),
        (&"0".repeat(64), "the vault has no baseline"),
    ] {
        world.lifeboat(&["verify", name, &twin]).await.assert_code(2).assert_says(&[says, "hint: "]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_that_is_wrong_with_a_url_or_a_login_has_its_own_words() {
    let world = World::with_twins().await;
    let good = world.url("orders-prod", "app").await;
    let says = async |url: &str, code: i32, words: &[&str]| {
        let run = world.lifeboat(&["verify", url, &good]).await;
        run.assert_code(code).assert_says(words).assert_says(&["hint: "]);
        assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
    };
    says("mysql://a:hunter2@h/d", 2, &["`mysql://` is neither PostgreSQL's nor SQLite's"]).await;
    says("postgresql://a:hunter2@h:99999/d", 2, &["is not a number from 1 to 65535"]).await;
    says("postgresql://a:hunter2@h/d?sslmode=never", 2, &["`sslmode` of the connection URL is none of"])
        .await;
    says("env:NO_SUCH_VARIABLE", 2, &["`NO_SUCH_VARIABLE` is not set"]).await;
    let wrong = good.replace("owner@", "owner:hunter2@");
    says(&wrong, 3, &["refused user `owner`", "password"]).await;
    says(&good.replace("/app", "/nothing"), 2, &["has no database `nothing`"]).await;
    says(
        "postgresql://owner@127.0.0.1:1/app",
        3,
        &["cannot reach PostgreSQL at 127.0.0.1:1", "Nothing answers at this port"],
    )
    .await;
    says(
        "postgresql://owner@no-such-host.invalid/app",
        3,
        &["cannot reach PostgreSQL at no-such-host.invalid:5432"],
    )
    .await;

    let mut untrusted = world.command(&["verify", &good, &good]);
    untrusted.env_remove("PGSSLROOTCERT");
    let run = crate::support::finish(untrusted.spawn().unwrap()).await;
    run.assert_code(3).assert_says(&["does not verify", "--ca FILE", "ca.pem"]);
    world.write("not-a-ca.pem", "hello");
    let ca = world.path("not-a-ca.pem");
    let run = world.lifeboat(&["verify", &good, &good, "--ca", ca.to_str().unwrap()]).await;
    run.assert_code(2).assert_says(&["certificate authorities", "not-a-ca.pem"]);

    // A host that takes the connection and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgresql://owner@127.0.0.1:{}/app", silent.local_addr().unwrap().port());
    says(&url, 3, &["cannot reach PostgreSQL", "no answer"]).await;
}
