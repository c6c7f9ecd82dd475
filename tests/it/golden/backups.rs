//! Backups of SQLite: every report about them.

use super::{Clock, Scene};
use crate::offline::Offline;

/// A database whose pages are the same in each run.
pub(super) fn database(place: &Offline, name: &str) {
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
    let place = Offline::new();
    database(&place, "app.db");
    database(&place, "billing.db");
    let mut scene = Scene::of_place(&place);
    for (clock, name) in [
        ("2026-11-01 03:00:00", "first"),
        ("2026-11-14 03:00:00", "second"),
        ("2026-11-20 03:00:00", "third"),
    ] {
        scene.clock = Clock::Still(clock);
        scene.terminal(&format!("backup create --url sqlite://app.db --name {name}")).await;
    }
    scene.pipe("backup create --url sqlite://billing.db --name bills --json").await;
    scene.assert_golden("backup-create");
    scene.clock = Clock::Still("2026-11-21 03:00:00");
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
    scene.terminal("backup keep first").await;
    scene.report("backup prune --dry-run --keep-days 3 --keep-last 1").await;
    scene.terminal("backup prune --keep-days 3 --keep-last 1").await;
    scene.assert_golden("backup-prune");
    scene.terminal("backup restore first --url sqlite://app.db --dry-run").await;
    scene.terminal("backup restore first --url sqlite://app.db --confirm first").await;
    scene.pipe("backup restore first --url sqlite://app.db --into beside.db --json").await;
    scene.assert_golden("backup-restore");
    std::fs::copy(place.path("app.db"), place.path("old.db")).unwrap();
    let written = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_790_000_000);
    std::fs::File::options().write(true).open(place.path("old.db")).unwrap().set_modified(written).unwrap();
    scene.report("backup adopt old.db --taken-at 2026-10-01T00:00:00Z --dry-run").await;
    scene.terminal("backup adopt old.db --taken-at 2026-10-01T00:00:00Z --name from-before").await;
    scene.terminal("backup delete from-before --confirm from-before --allow-last-copy").await;
    scene.assert_golden("backup-adopt");
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_printed() {
    let place = Offline::new();
    database(&place, "app.db");
    let url = format!("sqlite://{}", place.path("app.db").display());
    std::fs::write(place.path("lifeboat.toml"), format!("[databases.app.backup]\nurl = \"{url}\"\n"))
        .unwrap();
    let mut scene = Scene::of_place(&place);
    scene.pipe("backup schedule app --with systemd --every daily --every weekly --ping https://hc.example.com/uuid").await;
    scene.pipe("backup schedule app --with cron --every hourly --every monthly --user postgres").await;
    scene.assert_golden("backup-schedule");
}
