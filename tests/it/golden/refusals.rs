//! Errors with their hints, by noun.

use super::backups::database;
use super::{Clock, Scene};
use crate::offline::Offline;
use crate::support::{PASSWORD, World};

#[tokio::test(flavor = "multi_thread")]
async fn command_lines_that_cannot_be_meant() {
    let place = Offline::new();
    let mut scene = Scene::of_place(&place);
    scene.clock = Clock::Still("2026-11-21 03:00:00");
    scene
        .pipe_each(&[
            "nonsense",
            "drill rnu",
            "drill run",
            "drill run a --from",
            "drill run a --wait 5000000y",
            "drill run a --poll 0s",
            "drill run a --rto soon",
            "drill run a --tolerance 200",
            "drill run a --connections 99",
            "drill run --all --shard 5/2",
            "drill run --all --tag nonsense",
            "drill list --year 26",
            "drill list --month 2026-13",
            "drill list --last-months 0",
            "drill list --from 2026-03-01 --to 2026-02-01",
            "drill report --from 2026-13-01",
            "drill annotate a",
            "drill annotate a --note x --due tomorrow",
            "--color pink status",
            "--account nope status",
            "--profile a --account b status",
            "status --format xml",
            "policy set a --retention-days 99",
            "policy set a --backup-window 3-4",
            "policy set a --copy-tags perhaps",
            "restore point-in-time a --to b",
            "restore point-in-time a --at nonsense --to b",
            "restore snapshot a",
            "restore table a --table t",
            "snapshot create",
            "snapshot list --class",
            "backup create --url sqlite://a --compression gzip --no-compress",
            "backup create --url sqlite://a --compression rar",
            "backup create --url sqlite://a --jobs 0",
            "backup create --url sqlite://a --name ../x",
            "backup verify --level deep",
            "backup schedule --at 25:00",
            "backup schedule --every minute",
            "alarms test",
            "runbook run x --set nonsense",
            "runbook run x --answer nonsense",
            "serve --listen nowhere",
            "serve token add x --scope everything",
            "completions tcsh",
            "verify a",
            "verify a b --rows many",
        ])
        .await;
    scene.assert_golden("refused-command-lines");
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_that_cannot_be_used() {
    let place = Offline::new();
    let mut scene = Scene::of_place(&place);
    for (number, text) in [
        "nonsense",
        "vualt = \"x\"",
        "vault = 7",
        "vault = \"gopher://x\"",
        "[policy]\nretention_days = 99",
        "[drill]\nrto = \"soon\"",
        "[drill]\nrto = \"0s\"",
        "[databases.app]\nrpo = \"1h\"",
        "[databases.app.backup]\nurl = \"mysql://x\"",
        "[databases.app.backup]\nurl = \"postgresql://a:secret@127.0.0.1:1/d\"",
        "[databases.app.backup]\nurl = \"sqlite://x\"\nclass = \"nope\"",
        "[databases.app.checks]\nx = 7",
        "[notify.channels.x]\nkind = \"pigeon\"",
        "[notify.channels.x]\nkind = \"slack\"",
        "[notify.channels.x]\nkind = \"slack\"\nurl = \"https://hooks.slack.com/x\"",
        "[retention.weekly]\nkeep = \"x\"",
        "[alarms]\nkinds.cpu.threshold = \"x\"",
        "[alarms]\ntopic = \"x\"\n\n[alarms.kinds.cpu]\nthreshold = \"90%\"\nperiod = \"90s\"",
        "[databases.app.alarms.kinds.pigeons]\nenabled = true",
        "[accounts.a]\nregions = []",
        "[[accounts]]\nname = \"prod\"\n\n[[accounts]]\nname = \"prod\"",
        "[fleet]\nconcurrency = 0",
        "region = \"eu west\"",
        "endpoint_url = \"localhost\"",
        "vault = \"~/backups\"",
        "# windows\n\n[policy]\nbackup_window = \"3am\"",
        "[databases.app.policy]\nstopped = \"22:00-22:10\"",
        "[drill]\nfrom = \"latest backup\"",
        "[drill]\nclass = \"t4g.micro\"",
        "[drill]\nclass = \"db.serverless\"\nfrom = \"thursday 09:00\"\n[fleet]\nmax_hours = 0",
        "[drill]\ndepth = [\"content\", \"audit.*=deep\"]",
        "[drill]\ntolerance_percent = 101",
        "[databases.app.drill]\nrpo = \"0s\"",
        "[[databases.app.checks]]\ndatabase = \"app\"\nquery = \"select 1\"\nexpect = \"> many\"",
        "[[databases.app.checks]]\ndatabase = \"app\"\nquery = \" \"\nexpect = 1",
        "[backup]\ncompression = \"lzma\"",
        "[backup]\nformat = \"tar\"",
        "[backup]\nencrypt_to = [\"nobody\"]",
        "[retention]\npre-migration = \"a while\"",
        "[retention]\nWeekly = \"7d\"",
        "[retention.weekly]\nkeep_last = 0",
        "[notify]\nremind_after = \"0s\"",
    ]
    .iter()
    .enumerate()
    {
        std::fs::write(place.path("lifeboat.toml"), text).unwrap();
        for line in text.lines() {
            scene.text.push_str(&format!("> {line}\n"));
        }
        let line = if number == 8 || number == 9 || number == 10 {
            "backup create app"
        } else {
            "BACKUP_DIR= backup list"
        };
        scene.pipe(line).await;
    }
    std::fs::remove_file(place.path("lifeboat.toml")).unwrap();
    scene.pipe_each(&["--config missing.toml status", "--config . status"]).await;
    scene.assert_golden("refused-configurations");
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_that_cannot_be_made_shown_or_restored() {
    let place = Offline::new();
    for name in ["app.db", "billing.db"] {
        database(&place, name);
    }
    for (name, content) in [
        (
            "text.db",
            "nothing of the kind, but longer than a header of SQLite is, which has a hundred bytes, or even some more",
        ),
        ("empty.db", ""),
        ("half.sql", "create table a (b int);\ninsert into"),
    ] {
        std::fs::write(place.path(name), content).unwrap();
    }
    std::fs::create_dir(place.path("folder")).unwrap();
    let mut scene = Scene::of_place(&place);
    scene.clock = Clock::Still("2026-11-21 03:00:00");
    for name in ["first", "damaged", "gone", "garbage"] {
        scene.run(&format!("backup create --url sqlite://app.db --name {name}")).await.assert_code(0);
    }
    let damaged = place.path("vault/damaged.sqlite.gz");
    let mut bytes = std::fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&damaged, bytes).unwrap();
    std::fs::remove_file(place.path("vault/gone.sqlite.gz")).unwrap();
    std::fs::write(place.path("vault/garbage.json"), "{}").unwrap();
    scene
        .pipe_each(&[
            "backup create",
            "backup create unknown",
            "backup create --url nonsense",
            "backup create --url mysql://host/db",
            "backup create --url env:NOT_SET",
            "backup create --url sqlite://missing.db",
            "backup create --url sqlite://text.db",
            "backup create --url sqlite://empty.db",
            "backup create --url sqlite://folder",
            "backup create --url sqlite://:memory:",
            "backup create --url \"postgresql://u@127.0.0.1:1/d?sslmode=never\"",
            "backup create --url postgresql://u@127.0.0.1:1/d",
            "backup create --url postgresql://u@127.0.0.1:1",
            "backup create --url sqlite://billing.db --name first",
            "backup create --url sqlite://app.db --compression-level 99",
            "backup create --url sqlite://app.db --encrypt-to nobody",
            "backup create --url sqlite://app.db --seal-key missing",
            "backup create --url sqlite://app.db --url sqlite://billing.db --name x",
            "BACKUP_COMPRESS=maybe backup create --url sqlite://app.db",
            "BACKUP_RETENTION_DAYS=x backup create --url sqlite://app.db",
            "DATABASE_URL=sqlite://missing.db backup create",
        ])
        .await;
    scene.assert_golden("refused-backup-create");
    for line in [
        "BACKUP_DIR=s3:// backup list",
        "--vault gopher://x backup list",
        "--vault app.db backup list",
        "--vault missing backup show first",
        "backup list nobody",
        "backup list",
        "backup show frist",
        "backup show nothing",
        "backup show garbage",
        "backup verify nothing",
        "backup verify damaged",
        "backup verify gone",
        "backup verify first --identity missing",
        "backup restore nothing --url sqlite://app.db",
        "backup restore first",
        "backup restore first --url sqlite://app.db",
        "backup restore first --url sqlite://app.db --confirm second",
        "backup restore first --url postgresql://u@127.0.0.1:1/d",
        "backup restore first --url sqlite://app.db --into billing.db",
        "backup restore first --url sqlite://app.db --into nowhere/x.db",
        "backup restore first --url sqlite://text.db --confirm first",
        "backup restore first --url sqlite://app.db --into x.db --no-owner",
        "backup restore damaged --url sqlite://app.db --confirm damaged",
        "backup restore gone --url sqlite://app.db --confirm gone",
        "backup restore garbage --url sqlite://app.db --confirm garbage",
        "backup undo",
        "backup undo --url sqlite://app.db",
        "backup undo --url postgresql://u@127.0.0.1:1/d",
        "backup keep nothing",
        "backup delete nothing",
        "backup delete first",
        "backup delete first --confirm second",
        "backup prune nobody",
        "backup adopt missing.sql",
        "backup adopt text.db",
        "backup adopt empty.db",
        "backup adopt folder",
        "backup adopt half.sql",
        "backup adopt app.db --taken-at 2999-01-01T00:00:00Z",
        "backup schedule unknown",
        "backup stats nobody",
    ] {
        scene.pipe(line).await;
    }
    for name in ["damaged", "gone"] {
        scene.run(&format!("backup delete {name} --confirm {name}")).await.assert_code(0);
    }
    scene.pipe("backup delete first --confirm first").await;
    scene.assert_golden("refused-backup");
}

#[tokio::test(flavor = "multi_thread")]
async fn runbooks_tokens_drills_and_databases_that_are_not_there() {
    let place = Offline::new();
    let front = "---\nrunbook: 1\ntitle: Try it\nowner: o\nreview_by: 2099-01-01\nrto: 60m\n";
    let text =
        "params:\n  source: {required: true, pattern: \"[a-z]+\"}\n---\n```sh id=a timeout=1m\nfalse\n```\n";
    std::fs::write(place.path("fails.md"), format!("{front}{text}")).unwrap();
    std::fs::write(place.path("empty.md"), "").unwrap();
    std::fs::write(place.path("bytes.md"), b"---\nrunbook: 1\ntitle: \xff\n---\n").unwrap();
    std::fs::write(place.path("needs.md"), format!("{front}needs:\n  commands: [no-such-program]\n  files: [no-such-file]\n---\n```sh id=a timeout=1m\ntrue\n```\n")).unwrap();
    let mut scene = Scene::of_place(&place);
    scene.clock = Clock::Still("2026-11-21 03:00:00");
    scene
        .pipe_each(&[
            "runbook show data-los",
            "runbook show nothing.md",
            "runbook check nothing.md",
            "runbook check empty.md",
            "runbook run empty.md",
            "runbook run bytes.md",
            "AWS_REGION= runbook run fails.md",
            "AWS_REGION= runbook run fails.md --set sorce=x",
            "AWS_REGION= runbook run fails.md --set source=X",
            "AWS_REGION= runbook run fails.md --set source=env:NOT_SET",
            "AWS_REGION= runbook run fails.md --set source=x --from b",
            "AWS_REGION= runbook run fails.md --set source=x --answer b=yes",
            "AWS_REGION= runbook run needs.md",
            "AWS_REGION= runbook plan needs.md",
            "runbook runs nothing",
            "runbook resume nothing",
            "runbook undo nothing",
            "runbook approve nothing --confirm x",
            "serve token revoke nobody",
            "AWS_REGION= DATABASE_URL=sqlite://missing.db serve --listen 256.0.0.1:1",
            "drill show nothing",
            "drill annotate nothing --note x",
            "drill verify-evidence nobody",
            "drill verify-evidence --expect-head nonsense",
            "drill verify-evidence --expect-heads missing.json",
            "drill report --vault-only --output nowhere/x.html",
            "verify postgresql://u@127.0.0.1:1/d postgresql://u@127.0.0.1:1/d",
            "verify env:NOT_SET env:NOT_SET",
            "verify missing.json missing.json",
            "verify mysql://h/d mysql://h/d",
            "verify record postgresql://u@127.0.0.1:1/d",
            "notify test",
            "notify digest",
            "man --out empty.md/x",
            "AWS_REGION= status",
            "AWS_REGION= AWS_ACCESS_KEY_ID= status",
            "AWS_ACCESS_KEY_ID= status",
            "--profile nope status",
            "--region \"bad region\" status",
            "--endpoint-url \"http:// junk\" status",
        ])
        .await;
    scene.pipe("AWS_REGION= runbook run fails.md --set source=x").await;
    scene.assert_golden("refused-others");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_to_instances_and_snapshots() {
    let world = World::with_orders().await;
    world.create_record("legacy").await;
    let aurora = world.rds.create_db_instance().db_instance_identifier("member").engine("aurora-postgresql");
    let aurora = aurora.db_instance_class("db.t3.medium").db_cluster_identifier("big").allocated_storage(20);
    aurora.master_username("owner").master_user_password(PASSWORD).send().await.unwrap();
    let unsaved = world.rds.create_db_instance().db_instance_identifier("unsaved").engine("postgres");
    let unsaved = unsaved.db_instance_class("db.t3.micro").allocated_storage(20).backup_retention_period(0);
    unsaved.master_username("owner").master_user_password(PASSWORD).send().await.unwrap();
    for id in ["legacy", "member", "unsaved"] {
        world.until_status(id, "available").await;
    }
    let long = "x".repeat(64);
    let mut scene = Scene::of_world(&world);
    for line in [
        "drill run order-prod",
        &format!("drill run {long}"),
        "drill run legacy",
        "drill run member",
        "drill run unsaved",
        "drill run unsaved --from latest",
        "drill run orders-prod --from nothing",
        "drill run orders-prod --from 2001-01-01T00:00:00Z",
        "drill run orders-prod --from 2999-01-01T00:00:00Z",
        "drill run orders-prod --from 2026-11-21",
        "drill run orders-prod --class db.nonsense.9x",
        "drill run orders-prod --subnet-group nowhere",
        "drill run orders-prod --parameter-group nope",
        "drill run orders-prod --dbname nope",
        "drill run orders-prod --ca /dev/null",
        "drill run orders-prod --ca missing.pem",
        "drill run orders-prod --user stranger",
        "drill run orders-prod --password-file missing",
        "drill run orders-prod --baseline recorded",
        "drill run --all --tag env=nowhere",
        "drill run --all --keep",
        "PGPASSWORD=wrong drill run orders-prod",
        "PGPASSWORD= drill run orders-prod",
        "PGSSLROOTCERT= drill run orders-prod",
        "AWS_ACCESS_KEY_ID= drill run orders-prod",
        "drill list nobody",
        "drill sweep --poll 0s",
    ] {
        scene.pipe(line).await;
    }
    scene.pipe("AWS_REGION= drill run orders-prod").await;
    std::fs::create_dir_all(world.path(".aws")).unwrap();
    world.write(".aws/config", "[default]\nregion = eu-central-1\n\n[profile prod]\nregion = eu-central-1\n");
    scene.pipe("--profile nope status").await;
    scene.pipe("AWS_PROFILE=nope AWS_ACCESS_KEY_ID= status").await;
    std::fs::remove_dir_all(world.path(".aws")).unwrap();
    scene.assert_golden("refused-drill");
    world.assert_only(&["orders-prod", "legacy", "member", "unsaved"]).await;
    for call in ["RestoreDBInstanceFromDBSnapshot", "RestoreDBInstanceToPointInTime"] {
        assert_eq!(world.calls(call).await, 0, "a drill was begun");
    }
    assert!(!world.path("vault/drills").exists(), "a drill was recorded that never began");
    scene
        .pipe_each(&[
            "status nobody",
            "status orders-prod --copies-in nowhere",
            "status orders-prod --ping nonsense",
            "status orders-prod --textfile nowhere/x",
            "policy show nobody",
            "policy set nobody --retention-days 7",
            "policy set orders-prod --retention-days 0",
            "policy set orders-prod --retention-days 1",
            "policy set orders-prod --backup-window 03:00-03:10",
            "policy set orders-prod --backup-window 03:00-04:00 --maintenance-window mon:03:00-mon:04:00",
            "policy set member --retention-days 7",
            "doctor orders",
        ])
        .await;
    scene.assert_golden("refused-policy");
    scene
        .pipe_each(&[
            "snapshot create nobody",
            "snapshot create member",
            "snapshot create orders-prod --id before",
            "snapshot create orders-prod --id 7up",
            "snapshot create orders-prod --class nope",
            "snapshot list nobody",
            "snapshot show nothing",
            "snapshot copy nothing",
            "snapshot copy before --kms-key nonsense",
            "snapshot archive nobody",
            "snapshot archive unsaved",
            "snapshot adopt nothing --class major-release",
            "snapshot adopt before --class nope",
            "snapshot prune nobody",
            "snapshot delete nothing",
            "snapshot delete before",
            "restore window nobody",
            "restore window unsaved",
            "restore snapshot nothing --to back",
            "restore snapshot before --to orders-prod",
            "restore snapshot before --to 7up",
            "restore snapshot before --to back --class db.nonsense.9x",
            "restore snapshot before --to back --tag nonsense",
            "restore point-in-time orders-prod --at 2001-01-01T00:00:00Z --to back",
            "restore point-in-time unsaved --at \"1 hour ago\" --to back",
            "restore table orders-prod --table users --from before",
            "restore table orders-prod --table nope --from before --dbname app --poll 200ms",
            "restore table orders-prod --table users --from nothing --dbname app",
        ])
        .await;
    scene.run("snapshot create orders-prod --id mine --poll 200ms").await.assert_code(0);
    scene.pipe_each(&["snapshot delete mine", "snapshot delete mine --confirm nime"]).await;
    scene.assert_golden("refused-snapshot");
    scene
        .pipe_each(&[
            "alarms plan",
            "alarms plan nobody",
            "alarms plan orders-prod",
            "alarms plan orders-prod --topic nothing",
            "alarms apply orders-prod --topic arn:aws:sns:eu-central-1:123456789012:nothing",
            "alarms test nothing",
            "alarms remove nobody",
        ])
        .await;
    scene.assert_golden("refused-alarms");
    let denied = serde_json::json!({"fault": "error", "code": "AccessDenied", "times": 1000});
    world.fault("DescribeDBInstances", denied.clone()).await;
    scene
        .pipe_each(&[
            "status",
            "status --json",
            "policy show",
            "drill run orders-prod",
            "restore window orders-prod",
            "init --print",
            "doctor status --no-databases",
        ])
        .await;
    world.control("DELETE", "faults", serde_json::Value::Null).await;
    for action in ["DescribeDBSnapshots", "DescribeAlarms"] {
        world.fault(action, denied.clone()).await;
    }
    scene.pipe_each(&["snapshot list", "snapshot show before", "alarms list", "alarms audit"]).await;
    world.control("DELETE", "faults", serde_json::Value::Null).await;
    world.rds.stop_db_instance().db_instance_identifier("orders-prod").send().await.unwrap();
    world.until_status("orders-prod", "stopped").await;
    scene.pipe("drill run orders-prod").await;
    scene.assert_golden("refused-by-aws");
}
