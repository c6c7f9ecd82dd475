//! The state of a fleet, in its four forms and at its size.

use lifeboat_localstack::Limits;
use serde_json::{Value, json};

use crate::support::{World, wait};

#[tokio::test(flavor = "multi_thread")]
async fn status_says_what_there_is_how_old_and_where_it_falls_short() {
    let world = World::with_orders().await;
    world.create_record("shop").await;
    world.until_status("shop", "available").await;
    let off = world.rds.modify_db_instance().db_instance_identifier("shop").backup_retention_period(0);
    off.apply_immediately(true).send().await.unwrap();
    world.until_status("shop", "available").await;
    let run = world.lifeboat(&["status", "--json"]).await;
    let report = run.assert_code(1).json();
    assert_eq!(report["schema"], "lifeboat.status/1");
    let database =
        |id: &str| report["databases"].as_array().unwrap().iter().find(|it| it["id"] == id).unwrap().clone();
    let orders = database("orders-prod");
    assert_eq!((&orders["engine"], &orders["retention_days"]), (&json!("postgres"), &json!(7)));
    assert_eq!(orders["newest_manual"]["snapshot_id"], "before");
    assert!(orders["newest_automated"]["age_seconds"].as_f64().unwrap() < 900.0);
    assert!(orders["restorable"]["earliest"].is_string() && orders["restorable"]["latest"].is_string());
    assert_eq!((&orders["rpo"]["verdict"], &orders["last_drill"]), (&json!("pass"), &Value::Null));
    let codes = |database: &Value| -> Vec<String> {
        database["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["code"].as_str().unwrap().to_owned())
            .collect()
    };
    assert!(codes(&orders).contains(&"never_drilled".to_owned()));
    let shop = database("shop");
    assert_eq!((&shop["rpo"]["verdict"], &shop["restorable"]), (&json!("fail"), &Value::Null));
    assert_eq!(codes(&shop)[..2], ["backups_off", "no_backup"]);
    assert_eq!(report["databases"][0]["id"], "shop", "the worst comes first");

    let table = world.lifeboat(&["status", "--all"]).await;
    for word in ["database", "orders-prod", "7d", "off", "MISSED", "met", "never", "backups_off"] {
        assert!(table.assert_code(1).stdout.contains(word), "{word}: {}", table.stdout);
    }
    let nagios = world.lifeboat(&["status", "--format", "nagios"]).await;
    nagios.assert_code(2);
    assert!(
        nagios.stdout.starts_with(
            "LIFEBOAT CRITICAL - shop: backups_off, shop: no_backup (2 databases)|critical=2;;1"
        ),
        "{}",
        nagios.stdout
    );
    assert_eq!(nagios.stdout.lines().count(), 1);
    let fine = world.lifeboat(&["status", "orders-prod", "--format", "nagios"]).await;
    assert!(fine.assert_code(1).stdout.starts_with("LIFEBOAT WARNING - orders-prod: "), "{}", fine.stdout);
    let metrics = world.lifeboat(&["status", "--format", "prometheus"]).await;
    for line in [
        "# TYPE lifeboat_rpo_met gauge",
        "lifeboat_rpo_met{database=\"orders-prod\",region=\"eu-central-1\"} 1",
        "lifeboat_rpo_met{database=\"shop\",region=\"eu-central-1\"} 0",
        "lifeboat_backup_retention_days{database=\"shop\",region=\"eu-central-1\"} 0",
        "lifeboat_reached{region=\"eu-central-1\"} 1",
    ] {
        assert!(metrics.stdout.lines().any(|it| it == line), "{line}: {}", metrics.stdout);
    }
    // After a drill has passed, and with what is accepted ignored, there is nothing left to say.
    world.drill(&[]).await.assert_code(0);
    world.write(
        "lifeboat.toml",
        "[policy]\nencrypted = false\ncopy_tags = false\ndeletion_protection = false\n",
    );
    let fine = world.json(&["status", "orders-prod"]).await["databases"][0].clone();
    assert_eq!((&fine["last_drill"]["verdict"], &fine["findings"]), (&json!("pass"), &json!([])));
    // Two days without a backup.
    world.rds.stop_db_instance().db_instance_identifier("orders-prod").send().await.unwrap();
    world.until_status("orders-prod", "stopped").await;
    world.advance_clock(2 * 86_400).await;
    let late = world.lifeboat(&["status", "orders-prod", "--json"]).await;
    let late = late.assert_code(1).json()["databases"][0].clone();
    assert_eq!(codes(&late), ["rpo_missed", "automated_late", "restorable_lags", "stopped"]);
    world
        .lifeboat(&["status", "ordres-prod"])
        .await
        .assert_code(2)
        .assert_says(&["Did you mean `orders-prod`?"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_costs_pages_not_calls_per_instance() {
    let (instances, each) = (150, 8);
    let world = World::new().await;
    world.create_record("db-0").await;
    world.until_status("db-0", "available").await;
    world.snapshot("db-0", "snapshot-0").await;
    let limits = Limits { instances: 2000, manual_snapshots: 10_000 };
    let world = world
        .rewritten(limits, |state| {
            let region = &mut state["regions"]["eu-central-1"];
            let (instance, snapshot) =
                (region["instances"]["db-0"].clone(), region["snapshots"]["snapshot-0"].clone());
            for number in 0..instances {
                let (id, resource) = (format!("db-{number}"), format!("db-RESOURCE{number}"));
                let mut one = instance.clone();
                one["id"] = json!(id);
                one["resource_id"] = json!(resource);
                one["backup_name"] = json!(format!("ab-{number}"));
                region["instances"][&id] = one;
                for copy in 0..each {
                    let name = format!("snapshot-{number}-{copy}");
                    let mut one = snapshot.clone();
                    one["id"] = json!(name);
                    one["instance_id"] = json!(id);
                    one["resource_id"] = json!(resource);
                    region["snapshots"][&name] = one;
                }
            }
            region["snapshots"].as_object_mut().unwrap().remove("snapshot-0");
        })
        .await;
    let run = world.lifeboat(&["status", "--all", "--json"]).await;
    let report = run.json();
    let databases = report["databases"].as_array().unwrap();
    assert_eq!(databases.len(), instances);
    assert!(
        databases
            .iter()
            .all(|it| it["newest_manual"]["snapshot_id"].as_str().unwrap().starts_with("snapshot-"))
    );
    let calls = world.control("GET", "calls", Value::Null).await.as_array().unwrap().len();
    let bound = instances.div_ceil(100) + (instances * each).div_ceil(100) + instances.div_ceil(100) + 5;
    assert!(calls <= bound, "{calls} calls, at most {bound} are allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_fleet_is_published_though_the_client_compresses_it() {
    let databases = 40;
    let limits = Limits { instances: 100, manual_snapshots: 100 };
    let world = World::of(lifeboat_localstack::Pace::Instant, limits).await;
    for number in 0..databases {
        world.create_record(&format!("database-{number}")).await;
    }
    wait("the databases", async || {
        let answer = world.rds.describe_db_instances().send().await.unwrap();
        answer.db_instances().iter().all(|it| it.db_instance_status() == Some("available"))
    })
    .await;
    let run = world.lifeboat(&["status", "--publish", "--format", "prometheus"]).await;
    run.assert_says(&["values published in namespace Lifeboat"]);
    let mut published = std::collections::BTreeSet::new();
    let mut pages = world.cloudwatch.list_metrics().namespace("Lifeboat").into_paginator().send();
    while let Some(page) = pages.next().await {
        for metric in page.unwrap().metrics() {
            published.extend(metric.dimensions().iter().filter_map(|it| it.value()).map(str::to_owned));
        }
    }
    for number in 0..databases {
        assert!(published.contains(&format!("database-{number}")), "{number}: {published:?}");
    }
}
