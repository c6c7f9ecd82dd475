//! Policies: shown, checked, changed within AWS's rules.

use serde_json::{Value, json};

use crate::support::{PASSWORD, World, wait};

const QUICK: [&str; 2] = ["--poll", "200ms"];

fn codes(database: &Value) -> Vec<&str> {
    database["findings"].as_array().unwrap().iter().map(|it| it["code"].as_str().unwrap()).collect()
}

/// Windows that the tests can reckon with. Both at once: RDS makes up what is not named, and would refuse one that
/// meets the other.
async fn windows(world: &World) {
    let request = world.rds.modify_db_instance().db_instance_identifier("orders-prod");
    let request = request.preferred_backup_window("01:00-01:30");
    request.preferred_maintenance_window("sun:05:00-sun:05:30").send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_shown_made_and_waited_for() {
    let world = World::with_orders().await;
    let set = ["policy", "set", "orders-prod", "--retention-days", "14", "--backup-window", "03:00-03:30"];
    windows(&world).await;
    let dry = world.json(&[&set[..], &["--dry-run"]].concat()).await;
    assert_eq!((&dry["schema"], &dry["dry_run"]), (&json!("lifeboat.policy/1"), &json!(true)));
    assert_eq!(dry["databases"][0]["before"]["retention_days"], 7);
    assert_eq!(dry["databases"][0]["after"]["retention_days"], 14);
    assert_eq!(
        world.json(&["policy", "show", "orders-prod"]).await["databases"][0]["before"]["retention_days"],
        7
    );

    let done = world.json(&[&set[..], &QUICK[..]].concat()).await;
    let after = &done["databases"][0]["after"];
    assert_eq!((&after["retention_days"], &after["backup_window"]), (&json!(14), &json!("03:00-03:30")));
    let calls = world.control("GET", "calls", Value::Null).await;
    let last = calls.as_array().unwrap().iter().rfind(|it| it["action"] == "ModifyDBInstance").unwrap();
    assert_eq!(
        last["parameters"]["ApplyImmediately"], "false",
        "it would apply whatever else is queued: {last}"
    );
    let again = world.lifeboat(&set).await;
    assert!(again.assert_code(0).stdout.contains("is as it should be"), "{}", again.stdout);

    // What is mended by the remedies is found no more.
    let check = world.lifeboat(&["policy", "check", "--json"]).await;
    let check = check.assert_code(1).json();
    assert_eq!(codes(&check["databases"][0]), ["not_encrypted", "copy_tags_off", "no_deletion_protection"]);
    for finding in &check["databases"][0]["findings"].as_array().unwrap()[1..] {
        let remedy: Vec<&str> = finding["remedy"].as_str().unwrap().split(' ').skip(1).collect();
        world.lifeboat(&[&remedy[..], &QUICK[..]].concat()).await.assert_code(0);
    }
    world.write("lifeboat.toml", "[policy]\nignore = [\"not_encrypted\"]\n");
    assert!(world.lifeboat(&["policy", "check"]).await.assert_code(0).stdout.contains("`orders-prod`: ok"));
    // A file that wants more.
    world.write(
        "lifeboat.toml",
        "[policy]\nretention_days = 21\nencrypted = false\nstopped = \"20:00-04:00\"\n[databases.orders-prod.policy]\nbackup_window = \"06:00-06:30\"\n",
    );
    let check = world.lifeboat(&["policy", "check", "orders-prod", "--json"]).await.assert_code(1).json();
    assert_eq!(codes(&check["databases"][0]), ["retention_short", "window_while_stopped", "window_differs"]);
    world.lifeboat(&[&["policy", "set", "orders-prod"], &QUICK[..]].concat()).await.assert_code(0);
    world.lifeboat(&["policy", "check", "orders-prod"]).await.assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn turning_backups_off_is_refused_unless_it_is_confirmed_by_name() {
    let world = World::with_orders().await;
    let off = [&["policy", "set", "orders-prod", "--retention-days", "0"], &QUICK[..]].concat();
    let refused = world.lifeboat(&off).await;
    refused.assert_code(4).assert_says(&[
        "turns the automated backups of `orders-prod` off, and AWS deletes all of them",
        "account: 123456789012, Region eu-central-1",
        "every moment from 20",
        "--confirm orders-prod",
    ]);
    let wrong = world.lifeboat(&[&off[..], &["--confirm", "orders"]].concat()).await;
    wrong.assert_code(4).assert_says(&["`orders` is not `orders-prod`"]);
    // Something else is queued: doing it at once would apply that too.
    let queue = world.rds.modify_db_instance().db_instance_identifier("orders-prod");
    queue.db_instance_class("db.t3.micro").apply_immediately(false).send().await.unwrap();
    let confirmed = [&off[..], &["--confirm", "orders-prod"]].concat();
    let run = world.lifeboat(&confirmed).await;
    run.assert_code(4).assert_says(&["DBInstanceClass = db.t3.micro", "--apply-pending"]);
    assert_eq!(world.calls("ModifyDBInstance").await, 1, "only ours");

    let done = world.lifeboat(&[&confirmed[..], &["--apply-pending", "--json"]].concat()).await;
    done.assert_code(0).assert_says(&["outage", "point-in-time restore is no longer possible"]);
    assert_eq!(done.json()["databases"][0]["after"]["retention_days"], 0);
    let check = world.lifeboat(&["policy", "check", "orders-prod", "--json"]).await.assert_code(1).json();
    let finding = &check["databases"][0]["findings"][0];
    assert_eq!((&finding["code"], &finding["severity"]), (&json!("backups_off"), &json!("critical")));
    let on = world
        .lifeboat(&[&["policy", "set", "orders-prod", "--retention-days", "7"], &QUICK[..]].concat())
        .await;
    on.assert_code(0).assert_says(&["outage"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lowering_the_retention_shows_what_goes_and_is_confirmed_by_name() {
    let world = World::with_orders().await;
    let set = async |flags: &[&str]| world.lifeboat(&[&["policy", "set"], flags, &QUICK[..]].concat()).await;
    set(&["orders-prod", "--retention-days", "14"]).await.assert_code(0);
    let automated = async || {
        let answer = world.rds.describe_db_snapshots().snapshot_type("automated").send().await.unwrap();
        answer.db_snapshots().iter().filter(|it| it.status() == Some("available")).count()
    };
    for _day in 0..5 {
        let before = automated().await;
        world.advance_clock(86_400).await;
        wait("the daily backup", async || automated().await > before).await;
    }
    let before = automated().await;
    // What the file or a default wants is the least: it raises, and lowers nothing.
    world.write("lifeboat.toml", "[policy]\nretention_days = 7\n");
    for databases in ["--all", "orders-prod"] {
        let run = set(&[databases]).await;
        assert!(run.assert_code(0).stdout.contains("is as it should be"), "{}", run.stdout);
    }
    let lower = ["orders-prod", "--retention-days", "2"];
    let shown = set(&[&lower[..], &["--dry-run", "--json"]].concat()).await.assert_code(0).json();
    let lost = &shown["databases"][0]["lost"];
    let going = lost["snapshots"].as_array().unwrap().len();
    assert!(going >= 2 && going < before, "{lost}");
    assert!(lost["earliest"].as_str().unwrap() < lost["earliest_afterwards"].as_str().unwrap(), "{lost}");
    for wrong in [&[][..], &["--confirm", "orders"]] {
        let refused = set(&[&lower[..], wrong].concat()).await;
        refused.assert_code(4).assert_says(&[
            "lowers the retention of `orders-prod` from 14 days to 2 days",
            "every moment from 20",
            &format!("{going} automated snapshots, `rds:orders-prod-"),
            "Pass `--confirm orders-prod`",
        ]);
    }
    assert_eq!(automated().await, before, "nothing was changed");
    // Of all, each is confirmed by its own name.
    set(&["--all", "--retention-days", "2"]).await.assert_code(4).assert_says(&["--confirm orders-prod"]);
    let done = set(&["--all", "--retention-days", "2", "--confirm", "orders-prod"]).await;
    assert!(done.assert_code(0).stdout.contains("14 days → 2 days"), "{}", done.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_aws_would_refuse_is_refused_here_with_its_rule() {
    let world = World::with_orders().await;
    windows(&world).await;
    let request = world.rds.create_db_instance().db_instance_identifier("member").engine("aurora-postgresql");
    let request = request.db_instance_class("db.t3.medium").db_cluster_identifier("big");
    request.master_username("owner").master_user_password(PASSWORD).send().await.unwrap();
    let modified = world.calls("ModifyDBInstance").await;
    let cases: [(&[&str], &[&str]); 9] = [
        (&["orders-prod", "--retention-days", "36"], &["`36`", "1 to 35 days"]),
        (&["orders-prod", "--retention-days", "-1"], &["-1"]),
        (
            &["orders-prod", "--backup-window", "03:00-03:10"],
            &["shorter than 30 minutes", "at least 30 minutes"],
        ),
        (&["orders-prod", "--backup-window", "25:00-26:00"], &["hh24:mi-hh24:mi"]),
        (
            &["orders-prod", "--backup-window", "05:15-05:45"],
            &["overlaps the maintenance window sun:05:00-sun:05:30"],
        ),
        (&["orders--prod", "--retention-days", "7"], &["two hyphens in a row", "single hyphens"]),
        (&["orders", "--retention-days", "7"], &["Did you mean `orders-prod`?"]),
        (&["member", "--retention-days", "7"], &["member of DB cluster `big`", "modify-db-cluster"]),
        (&["orders-prod", "--retention-days"], &["--retention-days"]),
    ];
    for (arguments, words) in cases {
        let run = world.lifeboat(&[&["policy", "set"], arguments].concat()).await;
        run.assert_code(2).assert_says(words);
    }
    assert_eq!(world.calls("ModifyDBInstance").await, modified);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_names_that_have_to_be_confirmed_are_named_at_once() {
    let world = World::with_orders().await;
    world.create("billing").await;
    let lower = ["policy", "set", "billing", "orders-prod", "--retention-days", "1"];
    let both = "--confirm billing --confirm orders-prod";
    world.lifeboat(&lower).await.assert_code(4).assert_says(&["2 databases", both]);
    let confirmed: Vec<&str> = lower.into_iter().chain(both.split(' ')).collect();
    world.lifeboat(&confirmed).await.assert_code(0);
}
