//! Backups of SQLite: every report about them.

use super::Scene;
use crate::backup::Place;

/// A database whose pages are the same in each run.
fn database(place: &Place, name: &str) {
    let connection = rusqlite::Connection::open(place.path(name)).unwrap();
    connection
        .execute_batch(
            "create table accounts (id integer primary key, balance int);
             insert into accounts values (1, 60000), (2, 40000);
             create table letters (id integer primary key, text);
             with recursive n (i) as (select 1 union all select i + 1 from n where i < 500)
             insert into letters select i, 'letter ' || i from n;",
        )
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_are_made_listed_proven_and_pruned() {
    let place = Place::new();
    database(&place, "app.db");
    database(&place, "billing.db");
    let mut scene = Scene::of_place(&place);
    for (clock, name) in [
        ("2026-11-01 03:00:00", "first"),
        ("2026-11-14 03:00:00", "second"),
        ("2026-11-20 03:00:00", "third"),
    ] {
        scene.clock = Some(clock);
        scene.terminal(&format!("backup create --url sqlite://app.db --name {name}")).await;
    }
    scene.pipe("backup create --url sqlite://billing.db --name bills --json").await;
    scene.assert_golden("backup-create");
    scene.clock = Some("2026-11-21 03:00:00");
    scene.screens("backup list").await;
    scene.pipe("backup list billing --json").await;
    scene.assert_golden("backup-list");
    scene.report("backup show first").await;
    scene.assert_golden("backup-show");
    scene.report("backup stats").await;
    scene.assert_golden("backup-stats");
    scene.report("backup verify second").await;
    scene.report("backup verify second --level restore").await;
    scene.assert_golden("backup-verify");
    scene.report("backup prune --dry-run --keep-last 1").await;
    scene.assert_golden("backup-prune");
}
