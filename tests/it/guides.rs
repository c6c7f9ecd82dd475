//! The two guides that people come from, from beginning to end, in lifeboat's terms: how to back up and recover databases on RDS
//! (policy, a snapshot before each deployment, rollback, point in time, the monthly drill, its records, alarms, clean-up), and how an
//! application's own server backs its database up (the API, cron lines, a systemd unit, an alert that reads the list, the log).

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::offline::Offline;
use crate::serving::{Serving, database};
use crate::support::{Run, World, program, wait};

/// A line of a script or a crontab, run by `sh` as cron would: with almost no environment.
async fn shell(place: &Offline, line: &str, more: &[(&str, &str)]) -> Run {
    let program = Path::new(program()).parent().unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .current_dir(place.path(""))
        .env_clear()
        .env("PATH", format!("{}:{}", program.display(), std::env::var("PATH").unwrap()))
        .env("HOME", place.path(""))
        .envs(more.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    crate::support::finish(command.spawn().unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_on_rds_is_protected_deployed_rolled_back_drilled_and_watched() {
    let world = World::with_orders().await;
    let quick = ["--poll", "200ms"];
    let lifeboat = async |words: &[&str]| world.lifeboat(words).await;

    // Set up: retention, window, tags and protection as the file wants them; the check agrees afterwards.
    world.write(
        "lifeboat.toml",
        "[policy]\nretention_days = 7\nbackup_window = \"03:00-03:30\"\ncopy_tags = true\ndeletion_protection = true\n\
         encrypted = false\n",
    );
    // AWS keeps the two windows apart, and so does the plan.
    let away = world.rds.modify_db_instance().db_instance_identifier("orders-prod");
    away.preferred_maintenance_window("sun:05:00-sun:05:30").apply_immediately(true).send().await.unwrap();
    world.until_status("orders-prod", "available").await;
    lifeboat(&["policy", "check"]).await.assert_code(1);
    lifeboat(&[&["policy", "set", "--all"], &quick[..]].concat()).await.assert_code(0);
    lifeboat(&["policy", "check"]).await.assert_code(0);

    // Before a deployment: a snapshot whose content is known, and the way back in one command.
    let create = ["snapshot", "create", "orders-prod", "--id", "before-v2", "--baseline", "--json"];
    let snapshot = lifeboat(&[&create[..], &quick].concat()).await.assert_code(0).json();
    assert_eq!((&snapshot["status"], &snapshot["class"]), (&json!("available"), &json!("pre-migration")));
    let list = lifeboat(&["snapshot", "list", "orders-prod"]).await;
    assert!(list.assert_code(0).stdout.contains("before-v2"), "{}", list.stdout);
    // The migration goes wrong.
    world.sql("orders-prod", "app", "drop table jobs; update users set name = null").await;
    let rollback = snapshot["rollback_command"].as_str().unwrap();
    let words: Vec<&str> = rollback.split(' ').skip(1).collect();
    let restored = lifeboat(&[&words[..], &quick, &["--json"]].concat()).await.assert_code(0).json();
    let back = restored["instance_id"].as_str().unwrap();
    assert_eq!(world.sql(back, "app", "select count(*) from jobs").await, "300");
    assert_eq!(world.sql(back, "app", "select count(name) from users").await, "500");
    assert_eq!(restored["not_carried"].as_array().map(Vec::is_empty), Some(false), "{restored}");

    // A minute of data was lost: back to the moment before, beside what is there.
    let moment = world
        .sql(
            back,
            "app",
            "select to_char(clock_timestamp() at time zone 'utc' + interval '1 second', 'YYYY-MM-DD HH24:MI:SS') || '+00'",
        )
        .await;
    wait("that moment to have passed", async || {
        world
            .sql(
                back,
                "app",
                &format!("select clock_timestamp() > timestamptz '{moment}' + interval '1.5 seconds'"),
            )
            .await
            == "t"
    })
    .await;
    world.sql(back, "app", "delete from jobs").await;
    let then = ["restore", "point-in-time", back, "--at", &moment, "--to", "orders-then", "--json"];
    wait("the moment to be restorable", async || {
        lifeboat(&[&then[..], &["--dry-run"]].concat()).await.code == Some(0)
    })
    .await;
    lifeboat(&[&then[..], &quick].concat()).await.assert_code(0);
    assert_eq!(world.sql("orders-then", "app", "select count(*) from jobs").await, "300");

    // Each month: a drill, its record, and whoever looks at it. A gap would be an exit code.
    let drill =
        lifeboat(&[&["drill", "run", "orders-prod", "--from", "before-v2", "--json"], &quick[..]].concat())
            .await;
    let report = drill.assert_code(0).json();
    assert_eq!((&report["verdict"], &report["baseline"]), (&json!("pass"), &json!("recorded")));
    let run = report["run"].as_str().unwrap();
    lifeboat(&["drill", "annotate", run, "--sign-off", "A. Okafor", "--note", "Seen."]).await.assert_code(0);
    let page = world.path("drills.html");
    let year = ["drill", "report", "--year", "2026", "--vault-only", "--output", page.to_str().unwrap()];
    lifeboat(&year).await.assert_code(0);
    assert!(std::fs::read_to_string(&page).unwrap().contains("A. Okafor"));
    lifeboat(&["drill", "verify-evidence"]).await.assert_code(0);
    world.assert_only(&["orders-prod", back, "orders-then"]).await;

    lifeboat(&["doctor", "snapshot", "restore"]).await.assert_code(0);

    // Alarms that can fire and arrive, and the ages that they watch.
    crate::watch::topic(&world, "ops").await;
    lifeboat(&["status", "--publish"]).await.assert_code(0);
    lifeboat(&["alarms", "apply", "--all", "--topic", "ops"]).await.assert_code(0);
    lifeboat(&["alarms", "audit"]).await.assert_code(0);
    let test = lifeboat(&["alarms", "test", "lifeboat/orders-prod/backup-age", "--json"]).await;
    assert_eq!(test.assert_code(0).json()["verdict"], "pass");

    // Clean-up: what has outlived its class goes, and never the newest good copy.
    world.advance_clock(40 * 86_400).await;
    lifeboat(&[&["snapshot", "create", "orders-prod", "--id", "before-v3"], &quick[..]].concat())
        .await
        .assert_code(0);
    let pruned = lifeboat(&["snapshot", "prune", "--json"]).await.assert_code(0).json();
    assert!(pruned["deleted"].as_array().unwrap().len() <= 1, "{pruned}");
    let kept = lifeboat(&["snapshot", "list", "orders-prod", "--json"]).await.assert_code(0).json();
    let kept: Vec<&str> =
        kept["snapshots"].as_array().unwrap().iter().filter_map(|it| it["snapshot_id"].as_str()).collect();
    assert!(
        kept.contains(&"before-v3") && kept.contains(&"before-v2"),
        "the newest, and the one that a drill passed: {kept:?}"
    );

    // The checklist of every day, as a scheduler asks it.
    lifeboat(&["policy", "check"]).await.assert_code(0);
    for runbook in ["data-loss", "point-in-time", "before-a-migration", "monthly-drill"] {
        let shown = lifeboat(&["runbook", "show", runbook]).await;
        world.write("runbook.md", &shown.assert_code(0).stdout);
        lifeboat(&["runbook", "check", "runbook.md"]).await.assert_code(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_of_an_application_backs_up_restores_and_tells_when_it_fails() {
    let place = Offline::new();
    let url = database(&place, "app.db", 200);
    let serving = Serving::of_place(&place, &url, &[]).await;
    let api = format!("http://{}/api/backup", serving.address);
    let set = [("API", api.as_str()), ("DATABASE_URL", url.as_str())];
    let vault = place.path("vault").display().to_string();

    // The calls of the guide, by curl and jq as it has them.
    let made = shell(&place, r#"curl -sS -X POST "$API/create" -H 'Content-Type: application/json' -d '{"backup_name": "before_migration"}'"#, &set).await;
    let made = made.assert_code(0).json();
    assert_eq!((&made["success"], &made["backup_name"]), (&json!(true), &json!("before_migration")));
    for field in ["file_path", "file_size", "compressed", "database_type", "timestamp", "duration"] {
        assert_ne!(made[field], Value::Null, "{field}: {made}");
    }
    let count = shell(&place, r#"curl -sS "$API/list" | jq '.backups | length'"#, &set).await;
    assert_eq!(count.assert_code(0).stdout.trim(), "1");
    let total = shell(
        &place,
        r#"curl -sS "$API/statistics" | jq '.total_backups // .statistics.total_backups'"#,
        &set,
    )
    .await;
    assert_eq!(total.assert_code(0).stdout.trim(), "1", "{}", total.stdout);
    place.query("app.db", "delete from accounts returning 1");
    let restored =
        shell(&place, r#"curl -sS -X POST "$API/restore/before_migration" | jq -r .success"#, &set).await;
    assert_eq!(restored.assert_code(0).stdout.trim(), "true");
    assert_eq!(place.query("app.db", "select count(*) from accounts"), "Integer(200)");

    // Its alert: the newest entry of the list, every hour; a mail if that is no success.
    let alert = r#"success=$(curl -s "$API/list" | jq -r '.backups[0].success'); if [ "$success" != "true" ]; then echo "Backup failed" > mail; fi"#;
    shell(&place, alert, &set).await.assert_code(0);
    assert!(!place.path("mail").exists(), "all is well");
    std::fs::rename(place.path("app.db"), place.path("away.db")).unwrap();
    let failed = shell(&place, r#"curl -sS -X POST "$API/create" | jq -r .success"#, &set).await;
    assert_eq!(failed.assert_code(0).stdout.trim(), "false");
    shell(&place, alert, &set).await.assert_code(0);
    assert!(place.path("mail").exists(), "nobody was told");
    std::fs::rename(place.path("away.db"), place.path("app.db")).unwrap();

    // Its cron lines: daily, weekly under a fixed name, monthly for a year; all into one log.
    let daily = "BACKUP_RETENTION_DAYS=7 lifeboat backup create --quiet >> backup.log 2>&1";
    let weekly = "lifeboat backup create --name weekly_backup --quiet >> backup.log 2>&1";
    let monthly = "BACKUP_RETENTION_DAYS=365 lifeboat backup create --quiet >> backup.log 2>&1";
    let cron = [("DATABASE_URL", url.as_str()), ("BACKUP_DIR", vault.as_str())];
    for line in [daily, weekly, monthly, daily, weekly] {
        shell(&place, line, &cron).await.assert_code(0);
    }
    let log = || std::fs::read_to_string(place.path("backup.log")).unwrap();
    assert_eq!(log(), "", "all is well, and nothing is said");
    // A month later the daily ones are gone; the monthly one is not.
    let later = shell(
        &place,
        &format!("faketime -f +40d {}", "lifeboat backup create --quiet >> backup.log 2>&1"),
        &cron,
    )
    .await;
    later.assert_code(0);
    let names = shell(
        &place,
        "lifeboat backup list --json | jq -r '.backups[] | [.backup_name, .keep_days] | @tsv'",
        &cron,
    )
    .await;
    let kept = names.assert_code(0).stdout.lines().filter(|line| line.ends_with("\t365")).count();
    assert_eq!(kept, 1, "{}", names.stdout);

    // What goes wrong stands in the log, with its time and its level, for `grep`.
    shell(&place, &weekly.replace("backup create", "backup create --url sqlite:///nowhere/app.db"), &cron)
        .await
        .assert_code(2);
    let found = shell(&place, "grep ERROR backup.log | head -1", &[]).await;
    assert!(found.stdout.starts_with("20") && found.stdout.contains("/nowhere/app.db"), "{}", found.stdout);

    // Each month, a restore of the newest is tested elsewhere.
    let newest =
        shell(&place, "lifeboat backup list --json | jq -r '.backups[0].backup_name'", &cron).await.stdout;
    let verify = format!("lifeboat backup verify {} --level restore", newest.trim());
    shell(&place, &verify, &cron).await.assert_code(0);

    // The units for systemd run the same, and are units.
    let schedule = "lifeboat backup schedule --every daily --with systemd --install --directory units";
    shell(&place, &format!("mkdir -p units && {schedule}"), &cron).await.assert_code(0);
    let units = shell(&place, "systemd-analyze verify --man=no units/*.service units/*.timer", &[]).await;
    assert!(units.code == Some(0), "{}", units.stderr);

    // Deleting: what is not the last good copy goes, and a restore of what never was costs nothing of the limit.
    let deleted =
        shell(&place, r#"curl -sS -X DELETE "$API/delete/before_migration" | jq -r .success"#, &set).await;
    assert_eq!(deleted.assert_code(0).stdout.trim(), "true", "{}", deleted.stdout);
    serving.stop().await;
}
