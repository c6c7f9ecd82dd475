//! Drills that reach a verdict.

use serde_json::{Value, json};

use crate::calendar::today;
use crate::signals::hold;
use crate::support::{PASSWORD, World, finish, finish_ahead};

const LEFT: [&str; 1] = ["orders-prod"];

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_from_a_snapshot_passes_and_leaves_nothing_but_evidence() {
    let world = World::with_orders().await;
    let run = world.drill(&[]).await;
    run.assert_code(0);
    world.assert_only(&LEFT).await;

    let report = run.json();
    assert_eq!(report["schema"], "lifeboat.drill/1");
    assert_eq!((&report["verdict"], &report["baseline"]), (&json!("pass"), &json!("live")));
    assert_eq!(report["moment"]["snapshot_id"], "before");
    assert_eq!(report["source"]["id"], "orders-prod");
    assert_eq!(report["source"]["region"], "eu-central-1");
    assert_ne!(report["source"]["resource_id"], report["throwaway"]["resource_id"]);
    assert!(report["throwaway"]["id"].as_str().unwrap().starts_with("lifeboat-drill-orders-prod-"));
    assert!(report["throwaway"]["removed_at"].is_string());
    assert_eq!((&report["rto"]["verdict"], &report["rpo"]["verdict"]), (&json!("pass"), &json!("pass")));
    assert_eq!(run.table("users"), ("identical".into(), Some(500), Some(500)));
    assert_eq!(run.table("Jobs \"2026\"; drop"), ("identical".into(), Some(20), Some(20)));
    assert_eq!(run.table("events_2"), ("identical".into(), Some(120), Some(120)));
    assert_eq!(run.table("invoices"), ("identical".into(), Some(40), Some(40)));
    assert_eq!(run.table("sessions").0, "skipped");
    assert_eq!(run.table("empty_one"), ("identical".into(), Some(0), Some(0)));
    assert!(!run.stdout.contains("\"events\""), "the partition parent was counted as well");
    let names: Vec<_> =
        report["phases"].as_array().unwrap().iter().map(|phase| phase["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["restore", "log in", "observe copy", "compare", "check indexes", "tear down"]);

    let kept = std::fs::read_to_string(report["evidence"]["json"].as_str().unwrap()).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&kept).unwrap(), report);
    let page = std::fs::read_to_string(report["evidence"]["html"].as_str().unwrap()).unwrap();
    assert!(page.contains("orders-prod") && !page.contains("<script") && !page.contains(PASSWORD));

    let listed = world.lifeboat(&["drill", "list", "--json"]).await;
    assert_eq!(listed.json()["drills"][0]["outcome"], "pass");
    let shown = world.lifeboat(&["drill", "show", report["run"].as_str().unwrap(), "--json"]).await;
    assert_eq!(shown.json(), report);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_throwaway_is_small_private_tagged_and_without_backups() {
    let world = World::with_orders().await;
    let run = world.drill(&["--keep"]).await;
    run.assert_code(0).assert_says(&["was kept"]);
    let id = run.json()["throwaway"]["id"].as_str().unwrap().to_owned();
    let answer = world.rds.describe_db_instances().db_instance_identifier(&id).send().await.unwrap();
    let copy = &answer.db_instances()[0];
    assert_eq!(copy.db_instance_class(), Some("db.t3.micro"));
    assert_eq!(
        (copy.publicly_accessible(), copy.multi_az(), copy.deletion_protection()),
        (Some(false), Some(false), Some(false))
    );
    assert_eq!(copy.backup_retention_period(), Some(0));
    let tags: Vec<_> = copy.tag_list().iter().map(|tag| tag.key().unwrap()).collect();
    for tag in ["lifeboat:purpose", "lifeboat:run", "lifeboat:source", "lifeboat:expires"] {
        assert!(tags.contains(&tag), "{tag} is missing: {tags:?}");
    }
    assert!(!tags.contains(&"env"), "the source's tags were copied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_has_moved_on_since_the_snapshot_is_not_a_failure_and_is_said_why() {
    let world = World::with_orders().await;
    world
        .sql(
            "orders-prod",
            "app",
            "insert into users select n, 'new' from generate_series(501, 900) n;
             update users set name = 'other' where id <= 50;
             delete from jobs where id > 290;
             truncate \"Odd Schema\".\"Jobs \"\"2026\"\"; drop\";
             alter table events_1 rename to events_early;
             drop table empty_one;
             create table flags as select 1 as id",
        )
        .await;
    let run = world.drill(&[]).await;
    run.assert_code(0);
    assert_eq!(run.table("users"), ("within".into(), Some(900), Some(500)));
    assert!(
        run.stdout.contains(
            "450 rows from before the backup are identical; 50 rows updated or deleted since; the source has written 450 rows since"
        )
    );
    assert_eq!(run.table("jobs"), ("within".into(), Some(290), Some(300)));
    assert_eq!(run.table("events_early").0, "identical");
    assert_eq!(run.table("empty_one").0, "unexpected");
    assert_eq!(run.table("flags").0, "skipped");
    world.assert_only(&LEFT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_the_restored_copy_is_found_and_named_with_both_counts() {
    let world = World::with_orders().await;
    world
        .sql("orders-prod", "app", "insert into users select n, 'new' from generate_series(501, 510) n")
        .await;
    let damages = [
        ("app", "delete from users where id = 407", "users", "differs", Some(510), Some(499)),
        (
            "app",
            "insert into jobs select n, 1 from generate_series(900, 904) n",
            "jobs",
            "differs",
            Some(300),
            Some(305),
        ),
        ("app", "drop table jobs", "jobs", "missing", Some(300), None),
        ("app", "truncate jobs", "jobs", "differs", Some(300), Some(0)),
        ("app", "update jobs set owner = 9 where id = 8", "jobs", "differs", Some(300), Some(300)),
        ("app", "update users set name = null where id = 1", "users", "differs", Some(510), Some(500)),
        (
            "app",
            "update users set name = case id when 1 then 'user 2' else 'user 1' end where id < 3",
            "users",
            "differs",
            Some(510),
            Some(500),
        ),
        ("app", "delete from events where at < '2026-01-03'", "events_1", "differs", Some(181), Some(179)),
        // It makes a checkpoint, after which nothing proves that the last thing made before the backup is older.
        ("postgres", "drop database billing", "invoices", "unknown", Some(40), None),
    ];
    for (database, sql, table, verdict, expected, found) in damages {
        world.control("POST", "restored-sql", json!({"database": database, "sql": sql})).await;
        let run = world.drill(&[]).await;
        run.assert_code(if verdict == "unknown" { 3 } else { 1 });
        assert_eq!(run.table(table), (verdict.into(), expected, found), "after {sql}");
        assert!(run.json()["reasons"].to_string().contains(table), "{sql}: {}", run.json()["reasons"]);
        world.assert_only(&LEFT).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_damage_is_found_in_a_copy_of_a_point_in_time() {
    let world = World::with_orders().await;
    world
        .sql(
            "orders-prod",
            "app",
            "create sequence tickets; select setval('tickets', 500);
             create index by_name on users (name); create view names as select name from users;
             create function total() returns bigint language sql as 'select count(*) from users'",
        )
        .await;
    for (database, sql, table) in [
        ("app", "delete from users where id = 407", "users"),
        ("app", "drop table jobs", "jobs"),
        ("postgres", "drop database billing", "invoices"),
        ("app", "create table ghosts ()", "ghosts"),
        ("app", "update jobs set owner = 9 where id = 8", "jobs"),
        ("app", "select setval('tickets', 450)", "tickets"),
        ("app", "update pg_index set indisvalid = false where indexrelid = 'by_name'::regclass", "by_name"),
        (
            "app",
            "create or replace function total() returns bigint language sql as 'select 1::bigint'",
            "total",
        ),
        ("app", "alter table jobs alter id type bigint", "jobs"),
        ("app", "drop view names", "names"),
        ("app", "grant select on jobs to public", "jobs"),
    ] {
        world.control("POST", "restored-sql", json!({"database": database, "sql": sql})).await;
        let run = world.drill(&["--from", "latest"]).await;
        run.assert_code(1);
        assert!(run.json()["reasons"].to_string().contains(table), "{sql}: {}", run.json()["reasons"]);
        world.assert_only(&LEFT).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_in_time_drill_compares_with_the_source_at_that_very_moment() {
    let world = World::with_orders().await;
    let run = world.drill(&["--from", "latest"]).await;
    run.assert_code(0);
    let report = run.json();
    assert_eq!(
        (&report["baseline"], &report["moment"]["kind"]),
        (&json!("aligned"), &json!("point-in-time"))
    );
    assert!(report["moment"]["time"].is_string());
    assert_eq!(run.table("users"), ("identical".into(), Some(500), Some(500)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_in_the_past_is_restored_and_compared_with_the_source_of_now() {
    let world = World::with_orders().await;
    let at = world
        .sql(
            "orders-prod",
            "app",
            "select to_char(now() + interval '1 second', 'YYYY-MM-DD\"T\"HH24:MI:SSOF:00')",
        )
        .await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    world
        .sql("orders-prod", "app", "insert into users select n, 'new' from generate_series(501, 600) n")
        .await;
    let run = world.drill(&["--from", &at]).await;
    run.assert_code(0);
    assert_eq!(run.table("users"), ("within".into(), Some(600), Some(500)));
    assert_eq!(run.json()["rpo"]["verdict"], "not_judged");
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_of_the_configuration_are_made_in_the_copy() {
    let world = World::with_orders().await;
    let check = |query: &str, expect: &str| {
        format!(
            "[[databases.orders-prod.checks]]\nname = \"mine\"\ndatabase = \"app\"\nquery = \"{query}\"\nexpect = {expect}\n"
        )
    };
    for (query, expect, code, verdict) in [
        ("select count(*) from users", "500", 0, "pass"),
        ("select count(*) from users", "\"> 500\"", 1, "fail"),
        ("select count(*) from nothing", "\"> 0\"", 3, "unknown"),
        ("delete from users returning 1", "1", 3, "unknown"),
        ("begin read write; delete from users; commit; select 1", "1", 3, "unknown"),
        ("select null", "\"!= 5\"", 1, "fail"),
    ] {
        world.write("lifeboat.toml", &check(query, expect));
        let run = world.drill(&[]).await;
        run.assert_code(code);
        assert_eq!(run.json()["checks"][0]["verdict"], verdict, "{}", run.stdout);
        world.assert_only(&LEFT).await;
    }
    world.write("lifeboat.toml", &check("select 1", "\"> many\""));
    world
        .drill(&[])
        .await
        .assert_code(2)
        .assert_says(&["`databases.orders-prod.checks.expect`", "`many` is not a number"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_objective_fails_the_drill_and_the_newest_row_gives_the_real_rpo() {
    let world = World::with_orders().await;
    world.drill(&["--rto", "1ms"]).await.assert_code(1);
    let freshness = "[databases.orders-prod.freshness]\ndatabase = \"app\"\nquery = \"select timestamptz '2026-01-01 00:00Z'\"\n";
    world.write("lifeboat.toml", freshness);
    let run = world.drill(&[]).await;
    run.assert_code(1);
    let report = run.json();
    assert_eq!(report["rpo"]["newest_row"], "2026-01-01T00:00:00Z");
    assert!(report["reasons"][0].as_str().unwrap().starts_with("RPO missed"), "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_objective_that_was_not_measured_is_not_met_whatever_this_machines_clock_says() {
    let world = World::with_orders().await;
    world
        .sql(
            "orders-prod",
            "app",
            "create table none_yet (at timestamptz); create table odd (at timestamptz);
             insert into odd values (now() - interval '90 days'), ('2099-01-01')",
        )
        .await;
    world.snapshot("orders-prod", "newer").await;
    let freshness = |query: &str| {
        let of = "[databases.orders-prod.freshness]\ndatabase = \"app\"\n";
        world.write("lifeboat.toml", &format!("{of}query = \"{query}\"\n"));
    };
    for (query, why) in [
        ("select max(at) from none_yet", "null or infinity"),
        ("select timestamptz 'infinity'", "null or infinity"),
        ("select at from none_yet", "null or infinity"),
        ("select at from gone", "gone"),
        ("select max(at) from odd", "2099-01-01T00:00:00Z, which is after the restored moment"),
    ] {
        freshness(query);
        let run = world.drill(&["--rpo", "24h"]).await;
        run.assert_code(3);
        let report = run.json();
        assert_eq!(
            (&report["rpo"]["verdict"], &report["rpo"]["measured_seconds"]),
            (&json!("unknown"), &Value::Null)
        );
        assert!(report["reasons"].to_string().contains(why), "{query}: {report:#}");
    }
    // Three hours are three hours, by AWS's clock.
    let old = (today() - chrono::TimeDelta::hours(3)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    freshness(&format!("select timestamptz '{old}'"));
    for (by, objective, code) in [("-2h", "2h", 1), ("+2h", "4h", 0)] {
        let drill = ["drill", "run", "orders-prod", "--json", "--poll", "200ms", "--rpo", objective];
        let run = finish_ahead(by, &world.command(&drill)).await;
        run.assert_code(code);
        let measured = run.json()["rpo"]["measured_seconds"].as_f64().unwrap();
        assert!((measured - 10_800.0).abs() < 300.0, "{by}: {measured}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_creates_nothing() {
    let world = World::with_orders().await;
    let run = world.drill(&["--dry-run"]).await;
    run.assert_code(0);
    assert_eq!(run.json()["schema"], "lifeboat.drill-plan/1");
    assert_eq!(world.calls("RestoreDBInstanceFromDBSnapshot").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_databases_are_drilled_one_after_the_other() {
    let world = World::with_orders().await;
    world.create("users-prod").await;
    world.sql("users-prod", "app", "create table people (id int)").await;
    let run = world
        .lifeboat(&[
            "drill",
            "run",
            "orders-prod",
            "nobody",
            "users-prod",
            "--json",
            "--poll",
            "200ms",
            "--from",
            "latest",
        ])
        .await;
    run.assert_code(2).assert_says(&["`nobody` does not exist"]);
    let drills = run.json()["drills"].clone();
    assert_eq!(drills.as_array().unwrap().len(), 2);
    assert!(drills.as_array().unwrap().iter().all(|drill| drill["verdict"] == "pass"), "{drills:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_that_cannot_log_in_or_read_a_table_is_unknown_and_never_a_pass() {
    let world = World::with_orders().await;
    // The password was changed after the snapshot.
    world
        .rds
        .modify_db_instance()
        .db_instance_identifier("orders-prod")
        .master_user_password("another-canary")
        .apply_immediately(true)
        .send()
        .await
        .unwrap();
    world.until_status("orders-prod", "available").await;
    let mut command = world.command(&[
        "drill",
        "run",
        "orders-prod",
        "--json",
        "--poll",
        "200ms",
        "--login",
        "same-credentials",
    ]);
    let run = finish(command.env("PGPASSWORD", "another-canary").spawn().unwrap()).await;
    run.assert_code(3);
    assert_eq!(run.json()["verdict"], "unknown");
    world.assert_only(&LEFT).await;
    let mut command = world.command(&["drill", "run", "orders-prod", "--json", "--poll", "200ms"]);
    finish(command.env("PGPASSWORD", "another-canary").spawn().unwrap()).await.assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_rights_or_behind_row_level_security_is_unknown() {
    let world = World::with_orders().await;
    world
        .sql(
            "orders-prod",
            "app",
            "create role keeper; grant keeper to owner; set role keeper; reset role;
             create table hidden (id int); insert into hidden values (1);
             create table policed (id int); insert into policed values (1);
             alter table policed enable row level security; alter table policed force row level security;
             grant create on schema public to keeper; alter table hidden owner to keeper; revoke keeper from owner",
        )
        .await;
    let run = world.drill(&["--from", "latest"]).await;
    run.assert_code(3);
    assert_eq!(run.table("hidden").0, "unknown");
    assert_eq!(run.table("policed").0, "unknown");
    assert!(run.json()["hints"].to_string().contains("pg_read_all_data"), "{}", run.stdout);
    assert_eq!(run.table("users").0, "identical");
    world.assert_only(&LEFT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_databases_since_the_snapshot_raises_no_alarm_and_hides_no_loss() {
    let world = World::with_orders().await;
    world.sql("orders-prod", "postgres", "create database second template billing").await;
    world.sql("orders-prod", "postgres", "alter database billing rename to invoicing").await;
    // Nothing proves that it was not there: a GRANT makes an old database look as new.
    let run = world.drill(&[]).await;
    run.assert_code(3);
    assert!(run.json()["reasons"].to_string().contains("database `second`"), "{}", run.stdout);
    world.sql("orders-prod", "postgres", "drop database second").await;
    // It is younger than a table that was made since.
    world.sql("orders-prod", "app", "create table since ()").await;
    world.sql("orders-prod", "postgres", "create database second template invoicing").await;
    let run = world.drill(&[]).await;
    run.assert_code(0);
    assert!(run.json()["not_tested"].to_string().contains("`second`"), "{}", run.stdout);
    world.sql("orders-prod", "postgres", "drop database second").await;
    // A database that nobody may connect to cannot be compared, and so is not passed either.
    world.sql("orders-prod", "postgres", "alter database invoicing allow_connections false").await;
    let run = world.drill(&["--from", "latest"]).await;
    run.assert_code(3);
    assert!(run.json()["reasons"].to_string().contains("invoicing"), "{}", run.stdout);
    world.assert_only(&LEFT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_whatever_hides_it() {
    let world = World::with_orders().await;
    world.sql("orders-prod", "app", "create materialized view names as select name from users").await;
    world.snapshot("orders-prod", "later").await;
    world.sql("orders-prod", "app", "update users set name = name || '!'").await;
    let damages = [
        ("refresh materialized view names with no data", "names", "differs", 1),
        ("alter table jobs set unlogged; delete from jobs", "jobs", "differs", 1),
        // A later checkpoint takes away the sharp horizon.
        ("delete from jobs where id <= 100; checkpoint", "jobs", "differs", 1),
        // Every row was updated in the source since: that none is left cannot be excused by it.
        ("truncate users cascade", "users", "unknown", 1),
    ];
    for (sql, table, verdict, code) in damages {
        world.control("POST", "restored-sql", json!({"database": "app", "sql": sql})).await;
        let run = world.drill(&["--from", "later"]).await;
        run.assert_code(code);
        assert_eq!(run.table(table).0, verdict, "after {sql}: {}", run.stdout);
        world.assert_only(&LEFT).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_come_and_go_during_a_drill_do_it_no_harm() {
    let world = World::with_orders().await;
    let churning = async {
        for number in 20.. {
            let drop = format!("drop table if exists st_{}", number - 20);
            world
                .sql("orders-prod", "app", &format!("create table st_{number} as select 1 as id; {drop}"))
                .await;
        }
    };
    let drilling = async {
        for from in ["latest-snapshot", "latest", "latest"] {
            world.drill(&["--from", from]).await.assert_code(0);
        }
    };
    tokio::select! {
        () = churning => unreachable!("it never stops"),
        () = drilling => {}
    }
    world.assert_only(&LEFT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_that_cannot_be_kept_hides_neither_the_verdict_nor_what_is_left() {
    let world = World::with_orders().await;
    for (faulty, code) in [(false, 3), (true, 6)] {
        if faulty {
            world
                .fault("DeleteDBInstance", json!({"fault": "error", "code": "AccessDenied", "times": 100}))
                .await;
        }
        hold(&world, "log in", 3).await;
        let child = world.drill_until(&[], "log in").await;
        std::fs::rename(world.path("vault"), world.path(&format!("gone-{code}"))).unwrap();
        world.write("vault", "not a directory");
        let run = child.finish().await;
        run.assert_code(code);
        let report = run.json();
        assert!(report["reasons"].to_string().contains("the evidence could not be written"), "{report:#}");
        std::fs::remove_file(world.path("vault")).unwrap();
    }
}
