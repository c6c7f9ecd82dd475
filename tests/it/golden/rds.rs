//! DB instances: how well they are backed up, their snapshots, alarms, restores and drills.

use super::Scene;
use crate::serving::Serving;
use crate::support::{World, wait};
use crate::watch::{topic, until_state};

const CONFIGURATION: &str = "[alarms]
topic = \"ops\"

[databases.orders-prod.drill]
rpo = \"24h\"
rto = \"1h\"
";

/// So few that nobody waits for the puts of all.
const FEW_ALARMS: &str = "wal-disk replication-slot transaction-ids connections cpu load memory read-latency write-latency ebs-throughput \
                          ebs-io replica-lag burst-balance cpu-credits storage-warning";

/// In minutes.
const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;

/// An instance of some days, with snapshots of several ages.
async fn days_of_orders(world: &World, scene: &mut Scene<'_>) {
    scene.jump(world, 2 * HOUR + 5).await;
    world.create("orders-prod").await;
    world.fill("orders-prod").await;
    world.create_record("legacy").await;
    for id in ["orders-prod", "legacy"] {
        world.until_status(id, "available").await;
        let windows = world.rds.modify_db_instance().db_instance_identifier(id).apply_immediately(true);
        let windows = windows.preferred_backup_window("03:00-03:30");
        windows.preferred_maintenance_window("mon:05:00-mon:05:30").send().await.unwrap();
        world.until_status(id, "available").await;
    }
    world.snapshot("orders-prod", "before").await;
    scene.jump(world, 3 * DAY + 3 * HOUR + 40).await;
    wait("the automated snapshot", async || {
        let all =
            world.rds.describe_db_snapshots().db_instance_identifier("orders-prod").send().await.unwrap();
        let ready = all.db_snapshots().iter().filter(|it| it.status() == Some("available"));
        ready.filter(|it| it.snapshot_type() == Some("automated")).count() > 1
    })
    .await;
    world.until_status("orders-prod", "available").await;
    scene.jump(world, 3 * DAY + 12 * HOUR + 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_their_snapshots_and_restores_are_shown() {
    let world = World::new().await;
    let mut scene = Scene::of_world(&world);
    days_of_orders(&world, &mut scene).await;
    topic(&world, "ops").await;

    scene.report("status").await;
    scene.pipe("status orders-prod --format prometheus").await;
    scene.terminal("status orders-prod --format nagios").await;
    scene.assert_golden("status");

    scene.screens("policy show").await;
    scene.report("policy check orders-prod").await;
    scene.report("policy set orders-prod --retention-days 14 --copy-tags true --dry-run").await;
    scene.terminal("policy set orders-prod --copy-tags true --poll 200ms").await;
    scene.assert_golden("policy");

    scene.pipe("init --print").await;
    scene.terminal("init").await;
    scene.assert_golden("init");

    world.write("lifeboat.toml", CONFIGURATION);
    scene.report("alarms plan orders-prod").await;
    let few: String =
        FEW_ALARMS.split_whitespace().map(|kind| format!("kinds.{kind}.enabled = false\n")).collect();
    world.write("lifeboat.toml", &format!("[alarms]\ntopic = \"ops\"\n{few}"));
    scene.terminal("alarms apply orders-prod").await;
    until_state(&world, "lifeboat/orders-prod/monitor", "ALARM").await;
    until_state(&world, "lifeboat/orders-prod/storage", "OK").await;
    scene.report("alarms list").await;
    scene.report("alarms audit").await;
    scene.terminal("alarms remove orders-prod --dry-run").await;
    scene.assert_golden("alarms");

    scene.report("doctor").await;
    scene.assert_golden("doctor");

    scene.report("snapshot list").await;
    scene.report("snapshot show before").await;
    scene.terminal("snapshot create orders-prod --id mine --class pre-migration --dry-run").await;
    scene.terminal("snapshot create orders-prod --id mine --class pre-migration --poll 200ms").await;
    scene.pipe("snapshot create orders-prod --id other --poll 200ms --json").await;
    scene.terminal("snapshot adopt before --class major-release --dry-run").await;
    scene.terminal("snapshot adopt before --class major-release").await;
    scene.terminal("snapshot copy mine --id mine-copy --poll 200ms").await;
    scene.terminal("snapshot archive orders-prod --id archive --dry-run").await;
    scene.report("snapshot prune --dry-run").await;
    scene.terminal("snapshot delete mine --confirm mine").await;
    scene.assert_golden("snapshot");

    scene.report("restore window orders-prod").await;
    scene.report("restore snapshot before --to orders-back --dry-run").await;
    scene.terminal("restore snapshot before --to orders-back --poll 200ms").await;
    scene.pipe("restore point-in-time orders-prod --at \"3 hours ago\" --to orders-then --dry-run").await;
    scene
        .screens("restore table orders-prod --dbname app --table public.users --from before --dry-run")
        .await;
    scene
        .terminal("restore table orders-prod --dbname app --table public.users --from before --poll 200ms")
        .await;
    scene.assert_golden("restore");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_is_planned_run_shown_annotated_and_swept() {
    let world = World::new().await;
    let mut scene = Scene::of_world(&world);
    days_of_orders(&world, &mut scene).await;
    scene.report("drill run orders-prod --from before --dry-run").await;
    scene.pipe("drill run orders-prod legacy --from before --dry-run").await;
    scene.pipe("drill run orders-prod --from before --poll 200ms --json").await;
    scene.assert_golden("drill-run");
    let change =
        "insert into users values (501, 'late'); delete from jobs where id < 4; update jobs set owner = 1";
    world.sql("orders-prod", "app", change).await;
    let run = scene.run("drill run orders-prod --from before --poll 200ms --json --keep").await;
    let id = run.assert_code(0).json()["run"].as_str().unwrap().to_owned();
    // Spans differ, and with them the columns and where lines are wrapped: those are pinned by what is recorded.
    scene.pipe(&format!("drill show {id}")).await;
    scene
        .terminal(&format!(
            "drill annotate {id} --note \"The jobs were moved\" --ticket OPS-7 --owner ada --due 2099-01-01"
        ))
        .await;
    scene.terminal(&format!("drill annotate {id} --note Seen --sign-off grace")).await;
    scene.report("drill verify-evidence").await;
    scene.assert_golden("drill-show");
    scene.report("drill sweep --dry-run").await;
    scene.terminal("status orders-prod").await;
    scene.assert_golden("drill-sweep");
    let page = std::fs::read_to_string(world.path(&format!("vault/drills/orders-prod/{id}/evidence.html")));
    scene.page("evidence.html", &page.unwrap());
    scene.assert_golden("page-drill-evidence");

    let server = Serving::start(scene.command("serve --listen 127.0.0.1:0")).await;
    wait("the server to have asked AWS", async || server.get("/").await.text.contains("automated")).await;
    scene.show(&server, "/").await;
    scene.assert_golden("page-dashboard-instances");
    assert_eq!(server.stop().await, Some(0));

    let (app, billing) = (world.url("orders-prod", "app").await, world.url("orders-prod", "billing").await);
    world.dump_and_restore("orders-prod", "app", "copy").await;
    let copy = world.url("orders-prod", "copy").await;
    world.sql("orders-prod", "copy", "delete from users where id = 7; update jobs set owner = 2 where id = 9; create index on users (name)").await;
    scene.report(&format!("verify {app} {app}")).await;
    scene.report(&format!("verify {app} {copy}")).await;
    scene.terminal(&format!("verify {app} {copy} --show-rows")).await;
    scene.terminal(&format!("verify {app} {billing} --depth schema")).await;
    scene.report(&format!("verify record {billing}")).await;
    scene.assert_golden("verify");

    scene.pipe(&format!("backup create --url {app} --name whole")).await;
    scene.pipe(&format!("backup create --url {billing} --name bills --format custom")).await;
    scene.pipe(&format!("backup create --url {billing} --name dry --dry-run")).await;
    scene.pipe("backup list app --json").await;
    scene.pipe("backup show whole").await;
    scene.pipe(&format!("backup restore bills --url {billing} --dry-run")).await;
    scene.pipe(&format!("backup restore bills --url {billing} --confirm bills")).await;
    scene.pipe(&format!("backup restore whole --url {app} --into fresh")).await;
    scene.pipe(&format!("backup undo --url {billing} --confirm billing")).await;
    scene.pipe("backup verify whole --level restore").await;
    scene.assert_golden("backup-postgresql");
}
