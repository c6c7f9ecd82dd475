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
