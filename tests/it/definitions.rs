//! Definitions in drills with a recorded baseline: what the source changes and changes back is no damage, and damage is found
//! wherever in the catalog it is.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::{PASSWORD, Run, World, wait};

const SOURCE: &str = "
    create table orders (id bigserial primary key, a int check (a >= 0), b text);
    insert into orders (a, b) select n, md5(n::text) from generate_series(1, 400) n;
    create index orders_b on orders (b);
    create table audit (note text);
    create function note() returns trigger language plpgsql as 'begin return new; end';
    create trigger noted after update on orders for each row execute function note();
    create view big_orders as select id, b from orders where a > 100;
    create table parts (id int primary key, of_order bigint references orders);
    insert into parts select n, n from generate_series(1, 50) n;
    alter table parts enable row level security;
    create policy mine on parts using (id > 0);
    create schema mart; create table mart.facts (id int primary key, at date default now());
    create view mart.fresh as select * from mart.facts;
    insert into mart.facts select n from generate_series(1, 30) n;
    create domain amount as int; create table sums (total amount);
    create sequence tickets; select setval('tickets', 500);
    create sequence tight as int; select setval('tight', 500);
    create function total() returns bigint language sql as 'select count(*) from orders';
    create aggregate added (int) (sfunc = int4pl, stype = int, initcond = '0');
    create role reader login; create role loader login in role reader; create role boss createrole;
    grant select on audit to reader";

/// What a nightly load does to it first.
const BEGIN: &str = "
    alter table orders disable trigger noted;
    drop index orders_b;
    grant select on orders to public; grant select on orders to loader;
    alter table parts drop constraint parts_of_order_fkey;
    drop policy mine on parts; alter table parts disable row level security;
    alter table audit rename to audit_old;
    alter schema mart rename to mart_old;
    alter domain amount add constraint positive check (value > 0);
    create table stage (id int primary key, b text); create index stage_b on stage (b); insert into stage values (1, 'x');
    create trigger staged after insert on stage for each row execute function note();
    create or replace function total() returns bigint language sql as 'select 0::bigint';
    alter sequence tickets restart with 1;
    alter role loader nologin; revoke reader from loader; create role passing;
    insert into orders (a, b) values (1, 'loaded')";

/// And in the end.
const END: &str = "
    alter table orders enable trigger noted;
    create index orders_b on orders (b);
    revoke select on orders from public; revoke select on orders from loader;
    alter table parts add constraint parts_of_order_fkey foreign key (of_order) references orders;
    create policy mine on parts using (id > 0); alter table parts enable row level security;
    alter table audit_old rename to audit;
    alter schema mart_old rename to mart;
    alter domain amount drop constraint positive;
    drop table stage;
    create or replace function total() returns bigint language sql as 'select count(*) from orders';
    select setval('tickets', 500);
    alter role loader login; grant reader to loader; drop role passing";

impl World {
    async fn with_definitions() -> World {
        let world = World::new().await;
        world.create("orders-prod").await;
        world.sql("orders-prod", "app", SOURCE).await;
        world
    }

    /// Takes a snapshot with a baseline, at whose moment a load is under way that has undone everything by its end.
    async fn snapshot_within_a_load(&self, id: &str) -> Run {
        // While another session is there, lifeboat gives it time to report what it wrote before it looks again.
        let mut other = Command::new("psql")
            .args(["-Xq", &self.url("orders-prod", "app").await])
            .env("PGPASSWORD", PASSWORD)
            .env("PGSSLROOTCERT", self.stack.ca_path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut input = other.stdin.take().unwrap();
        input.write_all(b"select 1;\n").await.unwrap();
        let asked = self.calls("CreateDBSnapshot").await;
        self.fault("CreateDBSnapshot", json!({"fault": "throttle", "times": 50})).await;
        let flags =
            ["snapshot", "create", "orders-prod", "--id", id, "--baseline", "--poll", "200ms", "--json"];
        let child = self.command(&flags).spawn().unwrap();
        wait("the first look", async || self.calls("CreateDBSnapshot").await > asked).await;
        self.sql("orders-prod", "app", BEGIN).await;
        self.control("DELETE", "faults", Value::Null).await;
        wait("the snapshot", async || {
            let answer = self.rds.describe_db_snapshots().db_snapshot_identifier(id).send().await;
            answer.is_ok_and(|answer| answer.db_snapshots()[0].status() == Some("available"))
        })
        .await;
        self.sql("orders-prod", "app", END).await;
        drop(input);
        crate::support::finish(child).await
    }

    async fn damage_next_copy(&self, database: &str, sql: &str) {
        self.control("POST", "restored-sql", json!({"database": database, "sql": sql})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_load_changes_and_changes_back_around_the_snapshot_is_no_damage_and_hides_none() {
    let world = World::with_definitions().await;
    world.snapshot_within_a_load("loaded").await.assert_code(0);
    let run = world.drill(&["--from", "loaded"]).await;
    run.assert_code(0);
    let not_tested = run.json()["not_tested"].to_string();
    for name in [
        "trigger `app.noted on public.orders`",
        "index `app.public.orders_b`",
        "rights `app.public.orders`",
        "columns `app.public.stage`",
        "type `app.public.amount`",
        "sequence `app.public.tickets`",
        "role `app.loader`",
    ] {
        assert!(
            not_tested.contains(&format!("{name}: changed in the source around that moment")),
            "{name}: {not_tested}"
        );
    }
    let facts =
        run.json()["tables"].as_array().unwrap().iter().find(|table| table["table"] == "facts").cloned();
    assert!(facts.unwrap()["reason"].as_str().unwrap().contains("`mart_old.facts`"), "{}", run.stdout);
    // The same things, when the copy itself has written to them, and others that were dropped in it.
    let damages = [
        ("alter table orders disable trigger noted", "noted on public.orders"),
        ("grant delete on orders to public", "public.orders"),
        (
            "create or replace function total() returns bigint language sql as 'select 1::bigint'",
            "public.total",
        ),
        ("drop view big_orders", "public.big_orders"),
        ("alter table sums drop column total", "public.sums"),
        ("create table ghosts (id int)", "public.ghosts"),
        ("drop table mart_old.facts cascade", "mart.facts"),
        ("alter table audit_old rename to elsewhere", "public.audit"),
    ];
    let sql: Vec<&str> = damages.iter().map(|(sql, _)| *sql).collect();
    world.damage_next_copy("app", &sql.join(";\n")).await;
    let run = world.drill(&["--from", "loaded"]).await;
    run.assert_code(1);
    let reasons = run.json()["reasons"].to_string();
    for (sql, name) in damages {
        assert!(reasons.contains(&format!(".{name}")), "{sql}: {reasons}");
    }
}

/// Damage to a copy, and what must be told of it.
const DAMAGES: [(&str, &str); 36] = [
    ("drop role boss", "role `app.boss` is missing"),
    ("alter role reader nologin", "role `app.reader` is different"),
    ("revoke reader from loader", "role `app.loader` is different"),
    ("create role intruder superuser login", "role `app.intruder` is unexpected"),
    ("create role member; grant reader to member with admin option", "role `app.member` is unexpected"),
    ("alter role idle set work_mem = '1MB'", "role `app.idle` is different"),
    ("alter role all set work_mem = '1MB'", "instance setting `app.work_mem` is unexpected"),
    ("alter server far options (set host 'evil.example.org')", "foreign options `app.far` is different"),
    (
        "alter foreign data wrapper bare options (add debug 'true')",
        "foreign data wrapper `app.bare` is different",
    ),
    (
        "alter foreign table abroad alter a options (add x 'y')",
        "foreign options `app.public.abroad` is different",
    ),
    ("alter publication notes set table audit (note)", "publication columns `app.notes` is different"),
    (
        "select setval('tickets', 9223372036854775806)",
        "sequence `app.public.tickets` is different: it is at 9223372036854775806",
    ),
    ("select setval('tight', 2147483646)", "sequence `app.public.tight` is different: it is at 2147483646"),
    (
        "update pg_aggregate set aggminitval = '7' where aggfnoid = 'added(int)'::regprocedure",
        "aggregate `app.public.added(integer)` is different",
    ),
    (
        "set allow_system_table_mods = on; create function pg_catalog.sneaky() returns int language sql as 'select 1'",
        "system function `app.pg_catalog.sneaky()` is unexpected",
    ),
    (
        "create function information_schema.sneaky() returns int language sql as 'select 1'",
        "system function `app.information_schema.sneaky()` is unexpected",
    ),
    (
        "update pg_proc set prosrc = 'int4mi' where proname = 'int4pl'",
        "system function `app.those of PostgreSQL` is different",
    ),
    (
        "create table information_schema.sneaked (a int)",
        "system relation `app.information_schema.sneaked` is unexpected",
    ),
    ("grant execute on function pg_read_file(text) to public", "system rights `app.pg_catalog.pg_read_file("),
    ("grant select on pg_authid to public", "system rights `app.pg_catalog.pg_authid` is different"),
    ("grant create on schema pg_catalog to public", "system rights `app.schema pg_catalog` is different"),
    (
        "create or replace function show_trgm(text) returns text[] language sql as 'select null::text[]'",
        "extension members `app.pg_trgm` is different",
    ),
    ("alter extension pg_trgm drop function show_limit()", "extension members `app.pg_trgm` is different"),
    (
        "update pg_class set relhastriggers = false where relname = 'orders'",
        "catalog flags `app.relhastriggers of public.orders` is unexpected",
    ),
    (
        "update pg_class set relchecks = 0 where relname = 'checked'",
        "catalog flags `app.relchecks of public.checked` is unexpected",
    ),
    (
        "update pg_class set relhasrules = false where relname = 'ruled'",
        "catalog flags `app.relhasrules of public.ruled` is unexpected",
    ),
    (
        "update pg_class set relhassubclass = false where relname = 'parent'",
        "catalog flags `app.relhassubclass of public.parent` is unexpected",
    ),
    (
        "update pg_class set relhasindex = false where relname = 'parts'",
        "catalog flags `app.relhasindex of public.parts` is unexpected",
    ),
    (
        "update pg_index set indislive = false where indexrelid = 'orders_b'::regclass",
        "catalog flags `app.indislive of public.orders_b` is unexpected",
    ),
    (
        "update pg_index set indimmediate = false where indexrelid = 'parts_pkey'::regclass",
        "catalog flags `app.indimmediate of public.parts_pkey` is unexpected",
    ),
    (
        "update pg_attribute set atthasdef = false where attrelid = 'mart.facts'::regclass and attname = 'at'",
        "catalog flags `app.atthasdef of mart.facts` is unexpected",
    ),
    (
        "update pg_class set relfrozenxid = '1000000000' where relname = 'sums'",
        "catalog flags `app.relfrozenxid of public.sums` is unexpected",
    ),
    ("alter database app connection limit 7", "connection limit `app.the database` is different"),
    ("alter role owner createdb superuser", "role `app.owner` is different"),
    ("alter language sql owner to boss2", "system rights `app.language sql` is different"),
    ("grant boss2 to idle", "role `app.idle` is different"),
];

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_hidden_corners_of_the_catalog_is_found_and_named() {
    let world = World::with_definitions().await;
    world.sql_as_superuser(
        "orders-prod",
        "app",
        "create extension pg_trgm; create role idle; create role boss2;
         create foreign data wrapper bare; create server far foreign data wrapper bare options (host 'db.example.org', password 'x');
         create foreign table abroad (a int) server far;
         create publication notes for table audit;
         create table checked (a int check (a > 0)); create table ruled (a int); create rule nothing as on delete to ruled do instead nothing;
         create table parent (a int); create table child () inherits (parent);
         alter table audit add column more text; grant pg_read_all_data to owner",
    )
    .await;
    let flags =
        ["snapshot", "create", "orders-prod", "--id", "base", "--baseline", "--poll", "200ms", "--json"];
    world.lifeboat(&flags).await.assert_code(0);
    let run = world.drill(&["--from", "base"]).await;
    run.assert_code(0);
    let sql: Vec<&str> = DAMAGES.iter().map(|(sql, _)| *sql).collect();
    world.damage_next_copy("app", &sql.join(";\n")).await;
    let run = world.drill(&["--from", "base"]).await;
    run.assert_code(1);
    let reasons = run.json()["reasons"].to_string();
    for (sql, told) in DAMAGES {
        assert!(reasons.contains(told), "{sql}: {told}\n{reasons}");
    }
}
