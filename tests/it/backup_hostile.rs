//! Backups that somebody else may have written, and databases whose names and bodies look like dumps.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Run, World};

const EVERYTHING: &str = include_str!("../data/everything.sql");
const HOSTILE: &str = include_str!("../data/hostile.sql");

async fn backup(world: &World, arguments: &[&str]) -> Run {
    world.lifeboat(&[&["backup"], arguments].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_names_and_bodies_hold_is_backed_up_proven_and_restored_as_it_was() {
    let world = World::new().await;
    world.create("orders-prod").await;
    world.sql("orders-prod", "app", EVERYTHING).await;
    world.sql("orders-prod", "app", HOSTILE).await;
    world.sql("orders-prod", "app", "grant pg_read_all_data to owner").await;
    let app = world.url("orders-prod", "app").await;
    for (name, format) in [("as-sql", &["--format", "sql"][..]), ("as-archive", &["--format", "custom"])] {
        backup(&world, &[&["create", "--url", &app, "--name", name], format].concat()).await.assert_code(0);
        let run = backup(&world, &["verify", name, "--level", "restore", "--json"]).await;
        let proof = &run.json()["backups"][0]["verification"];
        assert_eq!(proof["result"], "pass", "{proof:#}\n{}", run.stderr);
        let copy = format!("copy_{}", name.replace('-', "_"));
        let run = backup(&world, &["restore", name, "--url", &app, "--into", &copy]).await;
        run.assert_code(0);
        let right = world.url("orders-prod", &copy).await;
        let run = world.lifeboat(&["verify", &app, &right, "--json"]).await;
        assert_eq!(run.code, Some(0), "{:#}", run.json()["reasons"]);
    }
}
