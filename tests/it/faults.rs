//! Drills against an AWS that misbehaves.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::signals::hold;
use crate::support::World;

const LEFT: [&str; 1] = ["orders-prod"];

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_ends_badly_is_unknown_says_what_to_do_and_is_removed() {
    let world = World::with_orders().await;
    for (status, remedy) in [
        ("incompatible-restore", "parameter group"),
        ("storage-full", "free storage"),
        ("insufficient-capacity", "--class"),
        ("incompatible-parameters", "--class"),
    ] {
        world.control("POST", "statuses", json!({"instance": "next-restore", "status": status})).await;
        let run = world.drill(&[]).await;
        run.assert_code(3);
        let report = run.json();
        assert!(report["reasons"].to_string().contains(status), "{report:#}");
        assert!(report["hints"].to_string().contains(remedy), "{report:#}");
        world.assert_only(&LEFT).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_never_becomes_available_is_given_up_and_removed() {
    let world = World::with_orders().await;
    world
        .control("POST", "statuses", json!({"instance": "next-restore", "status": "creating", "stay": true}))
        .await;
    let run = world.drill(&["--wait", "2s"]).await;
    run.assert_code(3);
    assert!(run.json()["reasons"][0].as_str().unwrap().contains("still `creating`"), "{}", run.stdout);
    world.assert_only(&LEFT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_is_ridden_out() {
    let world = World::with_orders().await;
    world.fault("*", json!({"fault": "throttle", "times": 40})).await;
    world.drill(&[]).await.assert_code(0);
    world.fault("RestoreDBInstanceFromDBSnapshot", json!({"fault": "throttle", "times": 5})).await;
    world.fault("DeleteDBInstance", json!({"fault": "throttle", "times": 5})).await;
    world.fault("ModifyDBInstance", json!({"fault": "throttle", "times": 5})).await;
    world.drill(&[]).await.assert_code(0);
    world.assert_only(&LEFT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_and_cut_connections_make_one_throwaway_not_two() {
    let world = World::with_orders().await;
    for (action, fault) in [
        ("RestoreDBInstanceFromDBSnapshot", "lost-response"),
        ("RestoreDBInstanceFromDBSnapshot", "cut"),
        ("ModifyDBInstance", "lost-response"),
        ("DeleteDBInstance", "lost-response"),
        ("DescribeDBInstances", "cut"),
    ] {
        world.fault(action, json!({"fault": fault, "times": 1})).await;
        let run = world.drill(&[]).await;
        run.assert_code(0);
        world.assert_only(&LEFT).await;
    }
    let restores = world.control("GET", "calls", serde_json::Value::Null).await;
    let ids: std::collections::BTreeSet<String> = restores
        .as_array()
        .or_else(|| restores["calls"].as_array())
        .unwrap()
        .iter()
        .filter(|call| call["action"] == "RestoreDBInstanceFromDBSnapshot")
        .map(|call| call["parameters"]["DBInstanceIdentifier"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 5, "one throwaway for each drill: {ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_aws_refuses_says_why_and_leaves_nothing() {
    let world = World::with_orders().await;
    for (code, words) in [
        ("InsufficientDBInstanceCapacity", "another `--class`"),
        ("InstanceQuotaExceeded", "quota"),
        ("AccessDenied", "rds:RestoreDBInstanceFromDBSnapshot"),
        ("KMSKeyNotAccessibleFault", "KMSKeyNotAccessibleFault"),
    ] {
        world
            .fault("RestoreDBInstanceFromDBSnapshot", json!({"fault": "error", "code": code, "times": 1}))
            .await;
        let run = world.drill(&[]).await;
        run.assert_code(3);
        let report = run.json();
        assert!(
            report["reasons"].to_string().contains(words) || report["hints"].to_string().contains(words),
            "{report:#}"
        );
        world.assert_only(&LEFT).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throwaway_that_cannot_be_deleted_is_exit_6_with_its_id_region_and_class() {
    let world = World::with_orders().await;
    for code in ["AccessDenied", "InvalidParameterCombination"] {
        world.fault("DeleteDBInstance", json!({"fault": "error", "code": code, "times": 1000})).await;
        let run = world.drill(&[]).await;
        let id = run.json()["throwaway"]["id"].as_str().unwrap().to_owned();
        run.assert_code(6).assert_says(&[&id, "eu-central-1", "db.t3.micro", "drill sweep"]);
        assert_eq!(run.json()["verdict"], "pass", "the verdict on the backup is kept");
        // The drill has ended, so a sweep need not wait for the expiry; as long as deleting fails, it is 6 as well.
        world.lifeboat(&["drill", "sweep", "--poll", "200ms"]).await.assert_code(6).assert_says(&[&id]);
        world.control("DELETE", "faults", serde_json::Value::Null).await;
        world.lifeboat(&["drill", "sweep", "--poll", "200ms"]).await.assert_code(0);
        world.assert_only(&LEFT).await;
    }
    world
        .control("POST", "statuses", json!({"instance": "next-restore", "status": "creating", "stay": true}))
        .await;
    let run = world.drill(&["--wait", "1s"]).await;
    run.assert_code(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_hangs_is_exit_6_after_its_time() {
    let world = World::with_orders().await;
    hold(&world, "observe copy", 5).await;
    let child = world.drill_until(&["--teardown-timeout", "2s"], "observe copy").await;
    let id = world.instances().await.into_iter().find(|id| id.starts_with("lifeboat-drill-")).unwrap();
    world.control("POST", "statuses", json!({"instance": id, "status": "deleting", "stay": true})).await;
    let run = child.finish().await;
    run.assert_code(6);
    assert!(
        run.json()["throwaway"]["left_behind"].as_str().unwrap().contains("still `deleting`"),
        "{}",
        run.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn available_is_noticed_within_one_poll_interval() {
    let world = World::at(lifeboat_localstack::Pace::Fast).await;
    world.create("orders-prod").await;
    world.fill("orders-prod").await;
    world.snapshot("orders-prod", "before").await;
    let child = world.drill_until(&["--poll", "4s"], "is creating").await;
    let id = world.instances().await.into_iter().find(|id| id.starts_with("lifeboat-drill-")).unwrap();
    world.until_status(&id, "available").await;
    let available = Instant::now();
    crate::support::wait("the drill to set the password", async || world.calls("ModifyDBInstance").await > 0)
        .await;
    // One interval, and as much again and more for a machine that is busy with other tests. The SDK's waiter looks after 30 s.
    let lag = available.elapsed();
    assert!(lag < Duration::from_secs(15), "noticed after {lag:?}");
    child.finish().await.assert_code(0);
}
