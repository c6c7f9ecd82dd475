//! Retention of snapshots: what goes, what stays, and what copies and archives add.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_rds::types::Tag;
use lifeboat_localstack::{Limits, Pace};
use serde_json::{Value, json};

use crate::support::{REGION, World, wait};

const DAY: i64 = 86_400;

async fn world() -> World {
    World::of(Pace::Instant, Limits { instances: 40, manual_snapshots: 1000 }).await
}

async fn take(world: &World, instance: &str, id: &str, class: Option<&str>) {
    wait("its turn", async || {
        let tags = class.map(|class| vec![Tag::builder().key("lifeboat:class").value(class).build()]);
        let request = world.rds.create_db_snapshot().db_instance_identifier(instance);
        request.db_snapshot_identifier(id).set_tags(tags).send().await.is_ok()
    })
    .await;
}

async fn all(world: &World) -> BTreeSet<String> {
    let pages = world.rds.describe_db_snapshots().into_paginator().items().send();
    let found = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    found.iter().map(|it| it.db_snapshot_identifier().unwrap().to_owned()).collect()
}

fn verdicts(report: &Value) -> BTreeMap<String, (bool, String)> {
    let verdicts = report["verdicts"].as_array().unwrap().iter();
    verdicts
        .map(|it| {
            let reasons = it["reasons"].as_array().unwrap().iter().map(|it| it.as_str().unwrap());
            let reasons = reasons.collect::<Vec<_>>().join("; ");
            (it["id"].as_str().unwrap().to_owned(), (it["keep"].as_bool().unwrap(), reasons))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_500_snapshots_of_5_databases_only_the_expired_of_living_ones_go() {
    let world = world().await;
    let databases = ["orders", "users", "billing", "search", "doomed"];
    for database in databases {
        world.create_record(database).await;
        world.until_status(database, "available").await;
    }
    // One round a day for 100 days; of each database one snapshot of ours, sometimes one that is not.
    for round in 0..100 {
        let takes = databases.map(|database| {
            let class = match round % 10 {
                0 => Some("major-release"),
                1 => Some("monthly-archive"),
                2 => None,
                3 => Some("of-another-team"),
                _ => Some("pre-migration"),
            };
            // Nothing of `search` is younger than 30 days.
            let class = if database == "search" && round > 60 { None } else { class };
            let id = format!("{database}-{round}");
            let world = &world;
            async move { take(world, database, &id, class).await }
        });
        futures::future::join_all(takes).await;
        world.advance_clock(DAY).await;
    }
    let delete = world.rds.delete_db_instance().db_instance_identifier("doomed").skip_final_snapshot(true);
    delete.delete_automated_backups(false).send().await.unwrap();
    wait("the deletion", async || !world.instances().await.contains("doomed")).await;
    world.create("real").await;
    let before = all(&world).await;

    let dry = world.json(&["snapshot", "prune", "--dry-run"]).await;
    assert_eq!((&dry["schema"], &dry["dry_run"]), (&json!("lifeboat.prune/1"), &json!(true)));
    assert_eq!(all(&world).await, before, "a dry run has deleted something");
    let judged = verdicts(&dry);
    assert_eq!(judged.keys().cloned().collect::<BTreeSet<_>>(), before);
    // Round 70 was taken 30 days ago; everything before has expired, but for what classes and guards keep.
    let expected: BTreeSet<String> = ["orders", "users", "billing", "search"]
        .iter()
        .flat_map(|database| (0..=70).filter(|round| round % 10 > 3).map(move |round| (*database, round)))
        .filter(|(database, round)| *database != "search" || *round < 60)
        .map(|(database, round)| format!("{database}-{round}"))
        .collect();
    let condemned: BTreeSet<String> =
        judged.iter().filter(|(_, (keep, _))| !keep).map(|(id, _)| id.clone()).collect();
    assert_eq!(condemned, expected);
    for (id, words) in [
        ("orders-99", "newest good copy of `orders`"),
        ("search-60", "newest good copy of `search`"),
        ("orders-12", "no `lifeboat:class` tag"),
        ("orders-13", "`of-another-team` has no rule"),
        ("orders-10", "kept forever"),
        ("orders-11", "kept for 12 months"),
        ("doomed-4", "no longer exists"),
        ("orders-4", "kept for 30 days: it expired"),
    ] {
        assert!(judged[id].1.contains(words), "{id}: {}", judged[id].1);
    }
    let automated = judged.iter().filter(|(id, _)| id.starts_with("rds:")).collect::<Vec<_>>();
    assert!(!automated.is_empty(), "no automated ones were made");
    for (id, (keep, why)) in automated {
        assert!(*keep && why.contains("automated"), "{id}: {why}");
    }

    // One is refused by AWS: the others go, and a second run ends what the first began.
    world
        .fault("DeleteDBSnapshot", json!({"fault": "error", "code": "InvalidDBSnapshotState", "times": 1}))
        .await;
    let run = world.lifeboat(&["snapshot", "prune", "--json"]).await;
    run.assert_code(5).assert_says(&["could not be removed", "Run it again"]);
    let failed = run.json()["failed"].clone();
    assert!(
        failed.as_array().unwrap().len() == 1 && failed[0]["id"].as_str().unwrap().ends_with("-4"),
        "{failed}"
    );
    assert_eq!(run.json()["deleted"].as_array().unwrap().len(), expected.len() - 1);
    let last = world.lifeboat(&["snapshot", "prune"]).await;
    last.assert_code(0);
    assert!(last.stdout.contains("snapshots: 1 deleted, "), "{}", last.stdout);
    assert_eq!(&before - &all(&world).await, expected);
    let calls = world.calls("DescribeDBSnapshots").await;
    assert_eq!(world.calls("ListTagsForResource").await, 0, "{calls}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_snapshot_that_a_drill_proved_outlives_a_newer_one_that_it_found_bad() {
    let world = World::with_orders().await;
    let class = || Some("pre-migration");
    let taken = async |id: &str| {
        take(&world, "orders-prod", id, class()).await;
        wait("the snapshot", async || {
            let answer = world.rds.describe_db_snapshots().db_snapshot_identifier(id).send().await.unwrap();
            answer.db_snapshots()[0].status() == Some("available")
        })
        .await;
    };
    taken("z-old").await;
    let passed = world.drill(&["--from", "z-old"]).await;
    passed.assert_code(0);
    let run = passed.json()["run"].as_str().unwrap().to_owned();
    taken("z-new").await;
    world
        .control("POST", "restored-sql", json!({"database": "app", "sql": "delete from jobs where id > 20"}))
        .await;
    world.drill(&["--from", "z-new"]).await.assert_code(1);
    world.advance_clock(45 * DAY).await;

    // Neither is replaced by the other: the proven one by hand either, the bad one well.
    let by_hand = ["snapshot", "delete", "z-old", "--confirm", "z-old"];
    world.lifeboat(&by_hand).await.assert_code(4).assert_says(&["proven good", &run]);
    let prune = |vault: &'static str| ["snapshot", "prune", "--json", "--dry-run", "--vault", vault];
    // Where nothing is known of drills, the newest is as good as any; a record that was put in protects, and condemns nothing.
    let unknown = world.lifeboat(&prune("elsewhere")).await.json();
    assert!(!verdicts(&unknown)["z-old"].0 && verdicts(&unknown)["z-new"].0, "{unknown:#}");
    let of_run = |vault: &str| world.path(vault).join("drills/orders-prod").join(&run);
    std::fs::create_dir_all(of_run("forged").parent().unwrap()).unwrap();
    let copied =
        std::process::Command::new("cp").arg("-a").args([of_run("vault"), of_run("forged")]).status();
    assert!(copied.unwrap().success());
    let forged = world.lifeboat(&prune("forged")).await.json();
    assert!(verdicts(&forged)["z-old"].0 && verdicts(&forged)["z-new"].0, "{forged:#}");
    assert!(verdicts(&forged)["z-old"].1.contains("its evidence was altered"), "{forged:#}");

    let pruned = world.lifeboat(&["snapshot", "prune", "--json"]).await;
    pruned.assert_code(0);
    let of = verdicts(&pruned.json());
    assert!(of["z-old"].0 && of["z-old"].1.contains(&run), "{of:#?}");
    assert!(!of["z-new"].0 && of["z-new"].1.contains("failed, so it is not a good copy"), "{of:#?}");
    let left = all(&world).await;
    assert!(left.contains("z-old") && !left.contains("z-new"), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_prunes_nothing_and_is_told_of() {
    let world = world().await;
    world.create_record("orders").await;
    world.until_status("orders", "available").await;
    take(&world, "orders", "first", Some("pre-migration")).await;
    take(&world, "orders", "second", Some("pre-migration")).await;
    // AWS's clock is two hours ahead of this machine's: ages go by AWS's.
    world.advance_clock(2 * 3600).await;
    let run = world.lifeboat(&["snapshot", "prune", "--json"]).await;
    run.assert_code(0).assert_says(&["clock is", "behind AWS's"]);
    assert_eq!(run.json()["deleted"], json!([]));
    // A promise outlasts the rule, and one that cannot be read is no permission.
    world.advance_clock(40 * DAY).await;
    let arn = format!("arn:aws:rds:{REGION}:123456789012:snapshot:first");
    let promise = async |value: &str| {
        let tag = Tag::builder().key("lifeboat:expires").value(value).build();
        world.rds.add_tags_to_resource().resource_name(&arn).tags(tag).send().await.unwrap();
        verdicts(&world.json(&["snapshot", "prune", "orders", "--dry-run"]).await)["first"].clone()
    };
    assert_eq!(promise("2999-01-01T00:00:00Z").await.1, "it must be kept until 2999-01-01T00:00:00Z");
    assert_eq!(promise("next year").await, (true, "its `lifeboat:expires` tag is not a time".to_owned()));
    assert!(!promise("2020-01-01T00:00:00Z").await.0);
    world.write("lifeboat.toml", "[retention]\npre-migration = { keep_for = \"1d\", keep_last = 2 }\n");
    assert!(promise("2020-01-01T00:00:00Z").await.1.contains("among the newest 2"));
    world
        .lifeboat(&["snapshot", "prune", "ordres"])
        .await
        .assert_code(2)
        .assert_says(&["Did you mean `orders`?"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_and_archives_keep_age_settings_and_tags_and_are_made_once() {
    let world = World::with_orders().await;
    let quick = ["--poll", "200ms"];
    let create = ["snapshot", "create", "orders-prod", "--id", "release-7", "--poll", "200ms"];
    let source = world.json(&create).await;
    let copy = world
        .json(&[&["snapshot", "copy", "release-7", "--class", "major-release"], &quick[..]].concat())
        .await;
    assert_eq!(copy["snapshot_id"], "release-7-copy");
    assert_eq!((&copy["class"], &copy["expires_at"]), (&json!("major-release"), &Value::Null));
    assert_eq!(copy["created_at"], source["created_at"]);
    assert_eq!(copy["settings"], source["settings"]);
    assert_eq!(copy["tags"]["env"], "prod");
    // Into another Region, after a lost answer, twice.
    world.fault("CopyDBSnapshot", json!({"fault": "lost-response", "times": 1})).await;
    let away = [&["snapshot", "copy", "release-7", "--to-region", "eu-west-1"], &quick[..]].concat();
    let (first, second) = (world.json(&away).await, world.json(&away).await);
    assert_eq!(first["snapshot_id"], "release-7");
    assert!(first["arn"].as_str().unwrap().contains("eu-west-1"));
    assert!(first["rollback_command"].as_str().unwrap().ends_with("--region eu-west-1"));
    assert_eq!((&first["reused"], &second["reused"]), (&json!(false), &json!(true)));
    let time = |value: &Value| value.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let lasting = time(&first["expires_at"]) - time(&first["created_at"]);
    assert_eq!((lasting + chrono::TimeDelta::seconds(1)).num_days(), 30);

    let archive = [&["snapshot", "archive", "orders-prod"], &quick[..]].concat();
    let (first, second) = (world.json(&archive).await, world.json(&archive).await);
    let id = first["snapshot_id"].as_str().unwrap();
    let month = first["created_at"].as_str().unwrap()[..7].replace('-', "");
    assert_eq!(id, format!("monthly-archive-orders-prod-{month}"));
    assert_eq!(
        (first["class"].as_str(), first["settings"]["class"].as_str()),
        (Some("monthly-archive"), Some("db.m6g.large"))
    );
    assert!(first["copied_from"].as_str().unwrap().contains(":rds:orders-prod-"));
    assert_eq!((&second["snapshot_id"], &second["reused"]), (&first["snapshot_id"], &json!(true)));

    let cases: [(&[&str], &[&str]); 5] = [
        (&["copy", "nothing"], &["snapshot `nothing` does not exist"]),
        (&["copy", "release-7", "--id", "before"], &["`before` exists already", "--id"]),
        (&["copy", "release-7", "--id", "release-7"], &["its own copy"]),
        (&["copy", "release-7", "--to-region", "over there"], &["not an AWS Region"]),
        (&["archive", "orders"], &["Did you mean `orders-prod`?"]),
    ];
    for (arguments, words) in cases {
        world.lifeboat(&[&["snapshot"], arguments].concat()).await.assert_code(2).assert_says(words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_snapshot_leaves_its_region_only_with_a_key_and_a_signed_request() {
    let world = world().await;
    let request = world.rds.create_db_instance().db_instance_identifier("vaulted").engine("mysql");
    let request = request.db_instance_class("db.m6g.large").allocated_storage(20).storage_encrypted(true);
    request.master_username("owner").master_user_password(crate::support::PASSWORD).send().await.unwrap();
    world.until_status("vaulted", "available").await;
    take(&world, "vaulted", "one", None).await;
    let away = ["snapshot", "copy", "one", "--to-region", "eu-west-1", "--poll", "200ms"];
    world
        .lifeboat(&away)
        .await
        .assert_code(2)
        .assert_says(&["its key is not valid in eu-west-1", "--kms-key"]);
    let key = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let copy = world.json(&[&away[..], &["--kms-key", key]].concat()).await;
    assert_eq!((&copy["kms_key"], &copy["class"]), (&json!(key), &json!("pre-migration")));
    let calls = world.control("GET", "calls", Value::Null).await;
    let call = calls.as_array().unwrap().iter().find(|it| it["action"] == "CopyDBSnapshot").unwrap();
    let url = call["parameters"]["PreSignedUrl"].as_str().unwrap();
    for part in [
        "Action=CopyDBSnapshot",
        "DestinationRegion=eu-west-1",
        "X-Amz-Signature=",
        "eu-central-1%2Frds",
        "key%2F1234abcd-12ab-34cd-56ef-1234567890ab",
    ] {
        assert!(url.contains(part), "{part} is not in {url}");
    }
}
