//! Restores to servers that lack something of the source: what is left out, what is refused, and what is accepted.

use serde_json::Value;

use crate::cluster::{Cluster, installed_programs};
use crate::support::World;

/// Two servers: one with a database that names what the other does not have.
async fn world() -> World {
    let world = World::new().await;
    world.create("source").await;
    world.create("target").await;
    world
}

async fn backup(world: &World, name: &str, format: &str) -> Value {
    let url = world.url("source", "app").await;
    let run = world
        .lifeboat(&["backup", "create", "--url", &url, "--name", name, "--format", format, "--json"])
        .await;
    run.assert_code(0).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_that_the_target_lacks_are_left_out_as_asked_in_every_format() {
    let world = world().await;
    world
        .sql(
            "source",
            "app",
            "create role clerk; create role reader; grant create on schema public to clerk; create table t (a int); insert into t select generate_series(1, 9);
             grant clerk to owner; alter table t owner to clerk; create table g (a int); grant select on g to reader;
             create policy p on g to reader using (true); alter default privileges for role clerk grant select on tables to reader;
             alter role reader in database app set work_mem = '8MB'; alter role owner in database app set search_path = public",
        )
        .await;
    let target = world.url("target", "app").await;
    for (name, format) in [("as_sql", "sql"), ("as_archive", "custom")] {
        backup(&world, name, format).await;
        let restore = ["backup", "restore", name, "--url", &target, "--into", name];
        let run = world.lifeboat(&restore).await;
        run.assert_code(3).assert_says(&["does not exist", "--no-owner"]);
        let run = world.lifeboat(&[&restore[..], &["--no-owner", "--json"]].concat()).await;
        let report = run.assert_code(0).json();
        let left: Vec<&str> =
            report["left_out"].as_array().unwrap().iter().map(|it| it["what"].as_str().unwrap()).collect();
        assert!(left.iter().any(|what| what.contains("OWNER TO clerk")), "{left:?}");
        assert!(left.iter().any(|what| what.contains("TO reader")), "{left:?}");
        assert!(left.iter().any(|what| what.contains("ALTER ROLE reader IN DATABASE")), "{left:?}");
        assert_eq!(world.sql("target", name, "select count(*) from t").await, "9");
        let settings = "select setconfig[1] from pg_db_role_setting join pg_database d on d.oid = setdatabase where datname = current_database()";
        assert_eq!(world.sql("target", name, settings).await, "search_path=public");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_can_be_gone_on_past_and_is_listed() {
    let world = world().await;
    world
        .sql(
            "source",
            "app",
            "create schema kept; create table kept.t (a int primary key); insert into kept.t select generate_series(1, 9);
             create function kept.one() returns int language sql immutable as 'select 1';
             create table kept.odd (a int, b int); insert into kept.odd values (1, 1)",
        )
        .await;
    // What the source's own check allows is refused where the rows come in again.
    world
        .sql(
            "source",
            "app",
            "create function kept.fits(int) returns bool language sql stable as 'select $1 < 100';
             alter table kept.odd add constraint fits check (kept.fits(b));
             create or replace function kept.fits(int) returns bool language sql stable as 'select $1 > 100'",
        )
        .await;
    backup(&world, "odd", "sql").await;
    let target = world.url("target", "app").await;
    let restore = ["backup", "restore", "odd", "--url", &target, "--into", "copy"];
    let run = world.lifeboat(&restore).await;
    run.assert_code(3).assert_says(&["violates check constraint", "--keep-going"]);
    let run = world.lifeboat(&[&restore[..], &["--keep-going", "--json"]].concat()).await;
    let report = run.assert_code(1).json();
    assert!(report["complaints"][0]["what"].as_str().unwrap().contains("kept.odd"), "{report}");
    let differences = report["differences"].as_array().unwrap();
    let odd = differences.iter().find(|it| it["name"].as_str().unwrap().contains("odd")).unwrap();
    assert_eq!(odd["accepted"], false);
    assert_eq!(world.sql("target", "copy", "select count(*) from kept.t").await, "9");
    assert_eq!(world.sql("target", "copy", "select count(*) from kept.odd").await, "0");
    // A named difference is accepted, and then all is well.
    let mut accepted =
        vec!["backup", "restore", "odd", "--url", &target, "--into", "copy2", "--keep-going", "--json"];
    accepted.extend(differences.iter().flat_map(|it| ["--accept", it["name"].as_str().unwrap()]));
    let report = world.lifeboat(&accepted).await.assert_code(0).json();
    assert!(report["differences"].as_array().unwrap().iter().all(|it| it["accepted"] == true));
    // Without it nothing is left on the server.
    let scratch = "select count(*) from pg_database where datname like 'lifeboat%'";
    assert_eq!(world.sql("target", "app", scratch).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_settings_and_locales_of_the_source_stand_in_nobodys_way() {
    let world = world().await;
    world
        .sql(
            "source",
            "app",
            "create table t (a int); insert into t values (1); alter database app is_template true",
        )
        .await;
    backup(&world, "template", "sql").await;
    let source = world.url("source", "app").await;
    for _ in 0..2 {
        // The second finds nothing of the first.
        let verify = ["backup", "verify", "template", "--level", "restore", "--url", &source];
        world.lifeboat(&verify).await.assert_code(0);
    }
    let is_template = "select datistemplate from pg_database where datname = 'app'";
    assert_eq!(world.sql("source", "app", is_template).await, "t");
    let target = world.url("target", "app").await;
    world
        .lifeboat(&["backup", "restore", "template", "--url", &target, "--into", "tpl"])
        .await
        .assert_code(0);
    assert_eq!(world.sql("target", "tpl", "select a from t").await, "1");
    // A locale that is not there can be given another.
    let restore = ["backup", "restore", "template", "--url", &target, "--into", "other", "--locale"];
    let run = world.lifeboat(&[&restore[..], &["no_SUCH.UTF-8"]].concat()).await;
    run.assert_code(3).assert_says(&["locale", "--locale"]);
    world.lifeboat(&[&restore[..], &["C"]].concat()).await.assert_code(0);
    let collate = "select datcollate from pg_database where datname = 'other'";
    assert_eq!(world.sql("target", "app", collate).await, "C");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_let_into_one_database_alone_can_restore_it_and_others_own_nothing_of_his() {
    let world = World::new().await;
    let server = Cluster::start(installed_programs(), "postgres");
    server.sql(
        "postgres",
        "create role app login createdb; create database shop owner app; create database side owner app;
         create database of_other; revoke connect on database postgres, template1, of_other from public",
    );
    server.sql("of_other", "create table t (a int); insert into t values (1)");
    let as_app = |database: &str| server.url(database).replace("postgres@", "app@");
    let shop = as_app("shop");
    server.sql("shop", "create table t (a int); insert into t values (1); alter table t owner to app");
    world.lifeboat(&["backup", "create", "--url", &shop, "--name", "shop"]).await.assert_code(0);
    let verify = ["backup", "verify", "shop", "--level", "restore", "--url", &shop];
    world.lifeboat(&verify).await.assert_code(0);
    world.lifeboat(&["backup", "restore", "shop", "--url", &shop, "--into", "twin"]).await.assert_code(0);
    // In the place of the database itself, and back.
    world.lifeboat(&["backup", "restore", "shop", "--url", &shop, "--confirm", "shop"]).await.assert_code(0);
    world.lifeboat(&["backup", "undo", "--url", &shop, "--confirm", "shop"]).await.assert_code(0);
    // What belongs to somebody else is his who restores it, if he says so.
    let create = ["backup", "create", "--url", &server.url("of_other"), "--name", "other"];
    world.lifeboat(&create).await.assert_code(0);
    let restore = ["backup", "restore", "other", "--url", &shop, "--into", "mine"];
    world.lifeboat(&restore).await.assert_code(3).assert_says(&["must be member of role", "--no-owner"]);
    world.lifeboat(&[&restore[..], &["--no-owner"]].concat()).await.assert_code(0);
    // A role that may make none is told so.
    server.sql("postgres", "alter role app nocreatedb");
    let run = world.lifeboat(&verify).await;
    assert!(run.assert_code(3).stdout.contains("may not create databases"), "{}", run.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_with_a_subscription_warns_and_a_seal_vouches_before_the_backup_has_a_name() {
    let world = World::new().await;
    let server = Cluster::start(installed_programs(), "postgres");
    server.sql("postgres", "create database app");
    server.sql(
        "app",
        "create table t (a int); insert into t values (1);
         create function e() returns event_trigger language plpgsql as 'begin end'; create event trigger e on sql_drop execute function e();
         create subscription s connection 'host=127.0.0.1 port=1' publication p with (connect = false, slot_name = 'x')",
    );
    let app = server.url("app");
    let key = world.path("seal.key");
    std::fs::write(&key, "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n").unwrap();
    let key = key.display().to_string();
    let sealed = ["--seal-key", &key];
    for (name, format) in [("plain", "sql"), ("packed", "custom")] {
        let create =
            ["backup", "create", "--url", &app, "--name", name, "--format", format, "--verify", "restore"];
        let run = world.lifeboat(&[&create[..], &sealed, &["--json"]].concat()).await;
        assert_eq!(run.assert_code(0).json()["verification"]["level"], "restore");
    }
    let restore =
        ["backup", "restore", "plain", "--url", &app, "--confirm", "plain", "--keep-old", "0s", "--json"];
    for _ in 0..2 {
        let run = world.lifeboat(&[&restore[..], &sealed].concat()).await;
        let old = run.assert_code(0).json()["kept_old"].as_str().unwrap().to_owned();
        run.assert_says(&["Drop its subscriptions first", &old]);
    }
}
