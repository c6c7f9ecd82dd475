//! A copy does nothing by itself: what its source receives from others, it goes on to receive alone.

use std::process::Stdio;

use aws_sdk_rds::types::Parameter;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{World, wait};

/// Two instances: `pub1` publishes a table, and `orders-prod` subscribes to it.
async fn publisher_and_subscriber() -> World {
    let world = World::new().await;
    let group = world.rds.create_db_parameter_group().db_parameter_group_name("logical");
    group.db_parameter_group_family("postgres15").description("x").send().await.unwrap();
    let logical = Parameter::builder().parameter_name("rds.logical_replication").parameter_value("1");
    let work_mem = Parameter::builder().parameter_name("work_mem").parameter_value("8192");
    let modify = world.rds.modify_db_parameter_group().db_parameter_group_name("logical");
    let pending = aws_sdk_rds::types::ApplyMethod::PendingReboot;
    modify
        .parameters(logical.apply_method(pending.clone()).build())
        .parameters(work_mem.apply_method(pending).build())
        .send()
        .await
        .unwrap();
    for id in ["pub1", "orders-prod"] {
        let create = world.rds.create_db_instance().db_instance_identifier(id).engine("postgres");
        let create = create.engine_version("15").db_instance_class("db.m6g.large").allocated_storage(20);
        let create = create.master_username("owner").master_user_password(crate::support::PASSWORD);
        create
            .db_name("app")
            .backup_retention_period(1)
            .db_parameter_group_name("logical")
            .send()
            .await
            .unwrap();
    }
    for id in ["pub1", "orders-prod"] {
        world.until_status(id, "available").await;
        world.sql(id, "app", "create table t (id int primary key)").await;
    }
    admin(&world, "pub1", "create publication p for table t").await;
    let port = port(&world, "pub1").await;
    let secret = std::fs::read_to_string(world.path("stack/secret")).unwrap();
    let from = format!("host=127.0.0.1 port={port} user=rdsadmin dbname=app password={}", secret.trim());
    admin(&world, "orders-prod", &format!("create subscription s connection '{from}' publication p")).await;
    admin(&world, "pub1", "insert into t select generate_series(1, 10)").await;
    until_received(&world, 10).await;
    world
}

async fn port(world: &World, id: &str) -> i32 {
    let answer = world.rds.describe_db_instances().db_instance_identifier(id).send().await.unwrap();
    answer.db_instances()[0].endpoint().unwrap().port().unwrap()
}

/// SQL as the superuser, whom RDS does not lend: it makes subscriptions for the master user.
async fn admin(world: &World, id: &str, sql: &str) -> String {
    let secret = std::fs::read_to_string(world.path("stack/secret")).unwrap();
    let mut command = Command::new("psql");
    command
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "rdsadmin", "-d", "app", "-h", "127.0.0.1"])
        .args(["-p", &port(world, id).await.to_string(), "-c", sql])
        .env("PGPASSWORD", secret.trim())
        .stderr(Stdio::piped());
    let done = command.output().await.unwrap();
    assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

async fn until_received(world: &World, rows: usize) {
    wait("the subscriber to have all rows", async || {
        admin(world, "orders-prod", "select count(*) from t").await == rows.to_string()
    })
    .await;
}

async fn groups(world: &World) -> Vec<String> {
    let answer = world.rds.describe_db_parameter_groups().send().await.unwrap();
    let names = answer.db_parameter_groups().iter().map(|group| group.db_parameter_group_name().unwrap());
    names.filter(|name| name.starts_with("lifeboat-")).map(str::to_owned).collect()
}

async fn slot(world: &World) -> String {
    admin(world, "pub1", "select confirmed_flush_lsn, active from pg_replication_slots where slot_name = 's'")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_copy_takes_the_slot_of_its_source_on_the_publisher() {
    let world = publisher_and_subscriber().await;
    world.snapshot("orders-prod", "before").await;
    // Maintenance: the source does not receive for a while, and the snapshot says that it does.
    admin(&world, "orders-prod", "alter subscription s disable").await;
    wait("the slot to be free", async || slot(&world).await.ends_with("|f")).await;
    admin(&world, "pub1", "insert into t select generate_series(11, 13)").await;
    let before = slot(&world).await;

    // The copy is kept: whatever it did, it has the time to do it.
    let run = world.drill(&["--keep"]).await;
    run.assert_code(0);
    let report = run.json();
    let isolation = &report["isolation"];
    assert_eq!((&isolation["is_made"], &isolation["is_at_rest"]), (&json!(true), &json!(true)), "{report:#}");
    assert!(isolation["would_have_acted"][0].as_str().unwrap().contains("subscription `s`"), "{report:#}");
    let copy = report["throwaway"]["id"].as_str().unwrap().to_owned();
    assert_eq!(admin(&world, &copy, "show work_mem").await, "8MB", "what the source's group sets was lost");
    assert_eq!(admin(&world, &copy, "select subenabled from pg_subscription").await, "t");
    assert_eq!(admin(&world, &copy, "select count(*) from t").await, "10");
    let table = ["restore", "table", "orders-prod", "--table", "t", "--from", "before", "--poll", "200ms"];
    world.lifeboat(&[&table[..], &["--dbname", "app"]].concat()).await.assert_code(0);
    assert_eq!(slot(&world).await, before, "a copy has moved the slot of its source");
    let restore = ["restore", "snapshot", "before", "--poll", "200ms", "--to"];
    let refused = world.lifeboat(&[&restore[..], &["again"]].concat()).await;
    refused.assert_code(4).assert_says(&["subscription `s`", "--isolated"]);
    let isolated = world.lifeboat(&[&restore[..], &["again", "--isolated", "--json"]].concat()).await;
    isolated.assert_code(0);
    let group = isolated.json()["isolated_by"].as_str().unwrap().to_owned();
    assert_eq!(admin(&world, "again", "show max_logical_replication_workers").await, "0");
    assert_eq!(slot(&world).await, before, "a copy has moved the slot of its source");

    admin(&world, "orders-prod", "alter subscription s enable").await;
    until_received(&world, 13).await;
    // Nothing is left of the copies but what was asked for.
    assert_eq!(groups(&world).await, [copy.clone(), group.clone()]);
    world.advance_clock(8 * 3600).await;
    world.lifeboat(&["drill", "sweep", "--poll", "200ms"]).await.assert_code(0);
    assert_eq!(groups(&world).await, [group]);
    world.assert_only(&["again", "orders-prod", "pub1"]).await;

    // What this is about: a copy that is left to itself takes what comes next.
    admin(&world, "orders-prod", "alter subscription s disable").await;
    admin(&world, "pub1", "insert into t values (14)").await;
    let acting = ["restore", "snapshot", "before", "--poll", "200ms", "--to", "acting", "--allow-active"];
    world.lifeboat(&acting).await.assert_code(0);
    wait("the copy to take the row", async || {
        admin(&world, "acting", "select count(*) from t where id = 14").await == "1"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_cannot_be_kept_from_acting_is_not_made_and_no_group_is_left() {
    let world = publisher_and_subscriber().await;
    world.snapshot("orders-prod", "before").await;
    let denied =
        |action: &str| (action.to_owned(), json!({"fault": "error", "code": "AccessDenied", "times": 1000}));
    for (action, fault) in [denied("CreateDBParameterGroup"), denied("ModifyDBParameterGroup")] {
        world.fault(&action, fault).await;
        let run = world.drill(&[]).await;
        run.assert_code(4);
        assert!(run.json()["reasons"].to_string().contains("subscription `s`"), "{}", run.stdout);
        let table =
            ["restore", "table", "orders-prod", "--table", "t", "--from", "before", "--dbname", "app"];
        world.lifeboat(&table).await.assert_code(4).assert_says(&["subscription `s`"]);
        world.control("DELETE", "faults", Value::Null).await;
        assert_eq!(groups(&world).await, [""; 0], "{action}");
    }
    // A group of the user's own in which it would act, and one in which it would not.
    let run = world.drill(&["--parameter-group", "logical"]).await;
    run.assert_code(4).assert_says(&["subscription `s`", "max_logical_replication_workers"]);
    let still = world.rds.create_db_parameter_group().db_parameter_group_name("still");
    still.db_parameter_group_family("postgres15").description("x").send().await.unwrap();
    let none = Parameter::builder().parameter_name("max_logical_replication_workers").parameter_value("0");
    let none = none.apply_method(aws_sdk_rds::types::ApplyMethod::PendingReboot).build();
    let modify = world.rds.modify_db_parameter_group().db_parameter_group_name("still");
    modify.parameters(none).send().await.unwrap();
    let run = world.drill(&["--parameter-group", "still"]).await;
    run.assert_code(0);
    assert_eq!(run.json()["isolation"]["is_made"], false);

    // Killed in the middle, it leaves a group, which the sweep removes after its instance.
    crate::signals::hold(&world, "observe copy", 60).await;
    let drill = world.drill_until(&[], "observe copy").await;
    assert_eq!(groups(&world).await.len(), 1);
    drill.kill().await;
    let swept = world.lifeboat(&["drill", "sweep", "--poll", "200ms", "--json"]).await;
    swept.assert_code(0);
    assert_eq!(swept.json()["parameter_groups"][0]["action"], "removed", "{}", swept.stdout);
    assert_eq!(groups(&world).await, [""; 0]);
    world.assert_only(&["orders-prod", "pub1"]).await;
}
