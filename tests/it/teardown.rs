//! A throwaway counts as gone when AWS has been asked often enough, whatever it is called by then.

use std::collections::BTreeSet;

use serde_json::json;

use crate::calendar::today;
use crate::signals::hold;
use crate::support::{Started, World, finish_ahead};

/// A drill that is held after its copy was made, and what the copy is called.
async fn held(world: &World, seconds: u32, arguments: &[&str]) -> (Started, String) {
    hold(world, "observe copy", seconds).await;
    let drill = world.drill_until(arguments, "observe copy").await;
    let ids = world.instances().await;
    (drill, ids.into_iter().find(|id| id.starts_with("lifeboat-drill-")).unwrap())
}

/// Gives an instance another name while its drill is stopped: a rename ends every session.
async fn rename(world: &World, drill: &Started, from: &str, to: &str) {
    drill.signal("STOP");
    let request = world.rds.modify_db_instance().db_instance_identifier(from).new_db_instance_identifier(to);
    request.apply_immediately(true).send().await.unwrap();
    crate::support::wait("the new name", async || world.instances().await.contains(to)).await;
    world.until_status(to, "available").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_is_not_ended_by_answers_that_know_of_no_instance() {
    let world = World::with_orders().await;
    // One stale answer, as RDS gives them; several, to every question.
    for times in [1, 9] {
        let (drill, _) = held(&world, 3, &[]).await;
        let fault = json!({"fault": "error", "code": "DBInstanceNotFound", "times": times});
        world.fault("DescribeDBInstances", fault).await;
        let run = drill.finish().await;
        run.assert_code(0);
        assert!(run.json()["throwaway"]["removed_at"].is_string());
        world.assert_only(&["orders-prod"]).await;
    }

    // Under its name it is never found.
    let (drill, id) = held(&world, 3, &[]).await;
    let fault = json!({"fault": "error", "code": "DBInstanceNotFound", "about": id, "for_seconds": 120});
    world.fault("DescribeDBInstances", fault).await;
    drill.finish().await.assert_code(0);
    world.control("DELETE", "faults", serde_json::Value::Null).await;
    world.assert_only(&["orders-prod"]).await;

    // Nothing that is asked is answered: that it is gone is not known, and not said.
    let (drill, id) = held(&world, 3, &["--teardown-timeout", "2s"]).await;
    let fault = json!({"fault": "error", "code": "DBInstanceNotFound", "for_seconds": 120});
    world.fault("DescribeDBInstances", fault).await;
    let run = drill.finish().await;
    run.assert_code(6).assert_says(&[&id]);
    let throwaway = &run.json()["throwaway"];
    assert!(throwaway["removed_at"].is_null() && throwaway["left_behind"].is_string(), "{throwaway:#}");
    world.control("DELETE", "faults", serde_json::Value::Null).await;
    world.lifeboat(&["drill", "sweep", "--poll", "200ms"]).await.assert_code(0);
    world.assert_only(&["orders-prod"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throwaway_that_was_renamed_is_removed_and_its_namesake_is_not() {
    let world = World::with_orders().await;
    let (drill, id) = held(&world, 60, &[]).await;
    rename(&world, &drill, &id, "renamed-by-admin").await;
    // Somebody else takes the old name.
    let restore = world.rds.restore_db_instance_from_db_snapshot().db_instance_identifier(&id);
    let env = aws_sdk_rds::types::Tag::builder().key("env").value("dev").build();
    restore.db_snapshot_identifier("before").tags(env).send().await.unwrap();
    drill.signal("CONT");
    let run = drill.finish().await;
    let throwaway = &run.json()["throwaway"];
    assert!(throwaway["removed_at"].is_string() && throwaway["left_behind"].is_null(), "{run:?}");
    run.assert_says(&["renamed to `renamed-by-admin`"]);
    world.assert_only(&["orders-prod", &id]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_finds_a_renamed_throwaway_again_and_removes_it_only_with_proof() {
    let world = World::with_orders().await;
    let (drill, id) = held(&world, 60, &[]).await;
    rename(&world, &drill, &id, "renamed-by-admin").await;
    drill.kill().await;
    // Another one with the same tags is not the one that the run made.
    let answer = world.rds.describe_db_instances().db_instance_identifier("renamed-by-admin").send().await;
    let tags = answer.unwrap().db_instances()[0].tag_list().to_vec();
    let restore = world.rds.restore_db_instance_from_db_snapshot().db_instance_identifier("with-its-tags");
    restore.db_snapshot_identifier("before").set_tags(Some(tags)).send().await.unwrap();
    world.until_status("with-its-tags", "available").await;
    let ids = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();

    // Where the record of the run is not known, neither can be told to be a throwaway: they stay, and when they should be
    // gone a person is told.
    let stranger = ["drill", "sweep", "--json", "--poll", "200ms", "--vault", "elsewhere"];
    world.lifeboat(&stranger).await.assert_code(0);
    world.lifeboat(&["drill", "sweep", "--poll", "200ms"]).await.assert_code(0);
    assert_eq!(world.instances().await, ids(&["orders-prod", "with-its-tags"]));
    world.advance_clock(8 * 3600).await;
    let run = world.lifeboat(&stranger).await;
    run.assert_code(6).assert_says(&["aws rds delete-db-instance", "with-its-tags"]);
    assert_eq!(world.instances().await, ids(&["orders-prod", "with-its-tags"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_vault_made_during_a_drill_ends_no_drill() {
    let world = World::with_orders().await;
    let (drill, id) = held(&world, 20, &[]).await;
    world.write("lifeboat.toml", "");
    let copied =
        std::process::Command::new("cp").arg("-a").args([world.path("vault"), world.path("copy")]).status();
    assert!(copied.unwrap().success());
    let from_copy = ["drill", "sweep", "--json", "--poll", "200ms", "--vault", "copy"];
    let run = world.lifeboat(&from_copy).await;
    run.assert_code(0);
    assert_eq!(run.json()["instances"][0]["action"], "left", "{}", run.stdout);
    let listed = world.lifeboat(&["drill", "list", "--json", "--vault", "copy"]).await;
    assert_eq!(listed.json()["drills"][0]["outcome"], "unfinished");
    // Nor does another drill that is run with the copy put it away.
    let dry = ["drill", "run", "orders-prod", "--poll", "200ms", "--vault", "copy"];
    world.lifeboat(&dry).await.assert_code(0);
    assert!(world.instances().await.contains(&id));
    drill.finish().await.assert_code(0);
    world.assert_only(&["orders-prod"]).await;

    // What a dead one has left is for its own vault to know, and for everybody when it has expired, by AWS's clock.
    let (drill, _) = held(&world, 60, &[]).await;
    let copied =
        std::process::Command::new("cp").arg("-a").args([world.path("vault"), world.path("again")]).status();
    assert!(copied.unwrap().success());
    drill.kill().await;
    let from_copy = ["drill", "sweep", "--poll", "200ms", "--vault", "again"];
    finish_ahead("+30h", &world.command(&from_copy)).await.assert_code(0);
    assert_eq!(world.instances().await.len(), 2);
    world.advance_clock(7 * 3600).await;
    world.lifeboat(&from_copy).await.assert_code(0);
    world.assert_only(&["orders-prod"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_of_this_machine_makes_no_throwaway_look_like_anothers() {
    let world = World::with_orders().await;
    for by in ["+2h", "-2h", "+26h"] {
        let drill = ["drill", "run", "orders-prod", "--json", "--poll", "200ms"];
        let run = finish_ahead(by, &world.command(&drill)).await;
        run.assert_code(0);
        world.assert_only(&["orders-prod"]).await;
        // The evidence goes by AWS's clock too.
        let report = run.json();
        let removed: chrono::DateTime<chrono::Utc> =
            report["throwaway"]["removed_at"].as_str().unwrap().parse().unwrap();
        assert!((removed - today()).abs() < chrono::TimeDelta::minutes(30), "{removed}");
    }
}
