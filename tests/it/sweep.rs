//! Nothing but throwaways is ever removed: each guard is attacked.

use aws_sdk_rds::types::Tag;

use crate::signals::hold;
use crate::support::{Run, World, finish_ahead};

fn tags(run: &str, source: &str, source_resource: &str, expires: &str) -> Vec<Tag> {
    [
        ("lifeboat:purpose", "drill"),
        ("lifeboat:run", run),
        ("lifeboat:source", source),
        ("lifeboat:source-resource-id", source_resource),
        ("lifeboat:expires", expires),
    ]
    .into_iter()
    .map(|(key, value)| Tag::builder().key(key).value(value).build())
    .collect()
}

const RUN: &str = "20250101-000000-abcdef";
const NAME: &str = "lifeboat-drill-orders-prod-20250101-abcdef";
const PAST: &str = "2025-01-01T06:00:00Z";
const FUTURE: &str = "2099-01-01T00:00:00Z";

async fn copy(world: &World, id: &str, tags: Vec<Tag>) {
    let request = world
        .rds
        .restore_db_instance_from_db_snapshot()
        .db_instance_identifier(id)
        .db_snapshot_identifier("before");
    request.set_tags(Some(tags)).send().await.unwrap();
    world.until_status(id, "available").await;
}

async fn resource_of(world: &World, id: &str) -> String {
    let answer = world.rds.describe_db_instances().db_instance_identifier(id).send().await.unwrap();
    answer.db_instances()[0].dbi_resource_id().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_removes_an_expired_throwaway_from_its_tags_alone() {
    let world = World::with_orders().await;
    let source = resource_of(&world, "orders-prod").await;
    copy(&world, NAME, tags(RUN, "orders-prod", &source, PAST)).await;
    let shown = world.lifeboat(&["drill", "sweep", "--dry-run", "--json"]).await;
    shown.assert_code(0);
    assert_eq!(shown.json()["instances"][0]["action"], "would_remove");
    assert!(world.instances().await.contains(NAME), "a dry run removed it");
    world.lifeboat(&["drill", "sweep", "--poll", "200ms"]).await.assert_code(0);
    world.assert_only(&["orders-prod"]).await;
}

/// What a sweep says was left behind.
fn left_behind(run: &Run) -> Vec<String> {
    let report = run.json();
    let all = report["instances"].as_array().unwrap().iter();
    let ids = all.filter(|swept| swept["left_behind"] == true).map(|swept| swept["id"].as_str().unwrap());
    let mut ids: Vec<String> = ids.map(str::to_owned).collect();
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_never_removes_what_no_drill_made() {
    let world = World::with_orders().await;
    let source = resource_of(&world, "orders-prod").await;
    let good = || tags(RUN, "orders-prod", &source, PAST);
    // Our prefix and no tags.
    copy(&world, "lifeboat-drill-mine", vec![Tag::builder().key("env").value("dev").build()]).await;
    // Our tags and no prefix.
    copy(&world, "orders-staging", good()).await;
    // Our prefix and tags, but not the name that this run would have given.
    copy(&world, "lifeboat-drill-orders-prod-20250101-zzzzzz", good()).await;
    // An unexpired throwaway of a drill elsewhere.
    copy(
        &world,
        "lifeboat-drill-orders-prod-20250101-bcdefg",
        tags("20250101-000000-bcdefg", "orders-prod", &source, FUTURE),
    )
    .await;
    // No expiry at all, or one that is no time.
    copy(
        &world,
        "lifeboat-drill-orders-prod-20250101-cdefgh",
        tags("20250101-000000-cdefgh", "orders-prod", &source, "soon"),
    )
    .await;
    // A full set of tags copied to production, and to production that was renamed.
    let arn = |id: &str| format!("arn:aws:rds:eu-central-1:123456789012:db:{id}");
    world
        .rds
        .add_tags_to_resource()
        .resource_name(arn("orders-prod"))
        .set_tags(Some(good()))
        .send()
        .await
        .unwrap();
    // Created before its run began: an old instance that someone renamed and tagged.
    let late = "29990101-000000-defghi";
    copy(&world, "lifeboat-drill-orders-prod-29990101-defghi", tags(late, "orders-prod", &source, PAST))
        .await;
    // Someone wants it kept.
    copy(&world, NAME, good()).await;
    world
        .rds
        .modify_db_instance()
        .db_instance_identifier(NAME)
        .deletion_protection(true)
        .send()
        .await
        .unwrap();

    let before = world.instances().await;
    assert_eq!(before.len(), 8);
    let run = world.lifeboat(&["drill", "sweep", "--json", "--poll", "200ms"]).await;
    run.assert_code(6);
    assert_eq!(world.instances().await, before, "{}", run.stdout);
    // What may be a throwaway that should be gone is for a person to look at; what is none is not worth a word.
    assert_eq!(
        left_behind(&run),
        [
            "lifeboat-drill-orders-prod-20250101-abcdef",
            "lifeboat-drill-orders-prod-20250101-cdefgh",
            "lifeboat-drill-orders-prod-20250101-zzzzzz",
            "lifeboat-drill-orders-prod-29990101-defghi",
            "orders-staging",
        ]
    );
    run.assert_says(&["--db-instance-identifier orders-staging --skip-final-snapshot"]);
    // A machine whose clock is a century ahead goes by AWS's.
    let run = finish_ahead("+36500d", &world.command(&["drill", "sweep", "--json", "--poll", "200ms"])).await;
    run.assert_code(6);
    assert_eq!(world.instances().await, before, "{}", run.stdout);
    assert!(
        run.json()["instances"].as_array().unwrap().iter().all(|swept| swept["action"] == "left"),
        "{}",
        run.stdout
    );
    assert_eq!(world.calls("DeleteDBInstance").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn production_renamed_and_tagged_as_a_throwaway_is_not_removed() {
    let world = World::with_orders().await;
    let source = resource_of(&world, "orders-prod").await;
    let today = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap().format("%Y%m%d").to_string();
    let name = format!("lifeboat-drill-orders-prod-{today}-abcdef");
    world
        .rds
        .modify_db_instance()
        .db_instance_identifier("orders-prod")
        .new_db_instance_identifier(&name)
        .apply_immediately(true)
        .send()
        .await
        .unwrap();
    crate::support::wait("the new name", async || world.instances().await.contains(&name)).await;
    world.until_status(&name, "available").await;
    let tags = tags(&format!("{today}-000000-abcdef"), "orders-prod", &source, PAST);
    let arn = format!("arn:aws:rds:eu-central-1:123456789012:db:{name}");
    world.rds.add_tags_to_resource().resource_name(arn).set_tags(Some(tags)).send().await.unwrap();
    let run = world.lifeboat(&["drill", "sweep", "--json"]).await;
    run.assert_code(0);
    assert!(run.stdout.contains("it is its own source"), "{}", run.stdout);
    world.assert_only(&[&name]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn teardown_does_not_remove_an_instance_whose_tags_were_taken_away() {
    let world = World::with_orders().await;
    hold(&world, "observe copy", 5).await;
    let child = world.drill_until(&[], "observe copy").await;
    let id = world.instances().await.into_iter().find(|id| id.starts_with("lifeboat-drill-")).unwrap();
    let arn = format!("arn:aws:rds:eu-central-1:123456789012:db:{id}");
    world
        .rds
        .remove_tags_from_resource()
        .resource_name(arn)
        .tag_keys("lifeboat:purpose")
        .send()
        .await
        .unwrap();
    let run = child.finish().await;
    run.assert_code(6).assert_says(&[&id, "lifeboat:purpose"]);
    assert!(world.instances().await.contains(&id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_that_was_killed_is_said_to_have_died_and_what_a_sweep_finds_is_recorded() {
    let world = World::with_orders().await;
    world.drill(&[]).await.assert_code(0);
    let drill = world.drill_until(&[], "log in").await;
    drill.kill().await;
    let died = |listed: &Run| {
        let report = listed.assert_code(0).json();
        let found = report["drills"].as_array().unwrap().iter().find(|it| it["outcome"] == "died").cloned();
        found.unwrap_or_else(|| panic!("none died in {report:#}"))
    };
    let before = died(&world.lifeboat(&["drill", "list", "--json"]).await);
    assert_eq!(before["left_behind"], true);
    let shown = world.lifeboat(&["drill", "show", "latest"]).await;
    assert!(shown.assert_code(0).stdout.contains("UNKNOWN (died)"), "{}", shown.stdout);
    assert!(
        shown.stdout.contains("not known: the drill ended without recording it: `lifeboat drill sweep`"),
        "{}",
        shown.stdout
    );
    let evidence = |shown: &Run| {
        let line = shown.stdout.lines().find(|line| line.trim_start().starts_with("evidence: ")).unwrap();
        line.trim_start().trim_start_matches("evidence: ").to_owned()
    };
    assert!(std::path::Path::new(&evidence(&shown)).exists(), "{}", shown.stdout);

    world.lifeboat(&["drill", "sweep", "--poll", "200ms"]).await.assert_code(0);
    world.assert_only(&["orders-prod"]).await;
    let after = died(&world.lifeboat(&["drill", "list", "--json"]).await);
    assert_eq!((&after["run"], &after["left_behind"]), (&before["run"], &serde_json::json!(false)));
    let shown = world.lifeboat(&["drill", "show", "orders-prod"]).await;
    assert!(
        shown.assert_code(0).stdout.contains("removed at ") && shown.stdout.contains("UNKNOWN (died)"),
        "{}",
        shown.stdout
    );
    let page = std::fs::read_to_string(evidence(&shown)).unwrap();
    assert!(
        page.contains("UNKNOWN (died)")
            && page.contains("The process of the drill ended before it had a verdict.")
    );
    world.lifeboat(&["drill", "verify-evidence"]).await.assert_code(0);
    // A second sweep has nothing to add.
    let record = world.lifeboat(&["drill", "show", "latest", "--json"]).await.assert_code(0).json();
    assert_eq!(record["state"], "died");
    assert!(record["throwaway"]["removed_at"].is_string());
    world.lifeboat(&["drill", "sweep"]).await.assert_code(0);
    assert_eq!(world.lifeboat(&["drill", "show", "latest", "--json"]).await.json(), record);
    let year = record["started_at"].as_str().unwrap()[..4].to_owned();
    let report = world.lifeboat(&["drill", "report", "--year", &year]).await;
    report.assert_code(0);
    assert!(report.stdout.contains("died") && !report.stdout.contains("never created"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throwaway_that_somebody_else_removed_is_said_to_be_gone_after_a_sweep() {
    let world = World::with_orders().await;
    let drill = world.drill_until(&[], "log in").await;
    drill.kill().await;
    let copy = world.instances().await.into_iter().find(|id| id.starts_with("lifeboat-drill-")).unwrap();
    world
        .rds
        .delete_db_instance()
        .db_instance_identifier(&copy)
        .skip_final_snapshot(true)
        .send()
        .await
        .unwrap();
    crate::support::wait("the copy to be gone", async || !world.instances().await.contains(&copy)).await;
    // AWS may be slow to show what was asked for a moment ago.
    world.lifeboat(&["drill", "sweep"]).await.assert_code(0);
    let show = async || world.lifeboat(&["drill", "show", "latest", "--json"]).await.assert_code(0).json();
    assert_eq!(show().await["state"], "running");
    world.advance_clock(16 * 60).await;
    world.lifeboat(&["drill", "sweep", "--dry-run"]).await.assert_code(0);
    assert_eq!(show().await["state"], "running", "a dry run writes nothing");
    world.lifeboat(&["drill", "sweep"]).await.assert_code(0);
    let record = show().await;
    assert!(record["throwaway"]["found_gone_at"].is_string() && record["throwaway"]["removed_at"].is_null());
    let listed = world.lifeboat(&["drill", "list"]).await;
    assert!(
        listed.assert_code(0).stdout.contains("died") && !listed.stdout.contains("may be left"),
        "{}",
        listed.stdout
    );
    world.lifeboat(&["drill", "verify-evidence"]).await.assert_code(0);
}
