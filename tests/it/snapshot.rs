//! Snapshots: taken, found again, listed, deleted.

use lifeboat_localstack::Pace;
use serde_json::{Value, json};

use crate::support::{REGION, World, wait};

impl World {
    pub(crate) async fn manual_snapshots(&self) -> Vec<String> {
        let answer = self.rds.describe_db_snapshots().snapshot_type("manual").send().await.unwrap();
        answer.db_snapshots().iter().map(|it| it.db_snapshot_identifier().unwrap().to_owned()).collect()
    }

    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let run = self.lifeboat(&[arguments, &["--json"]].concat()).await;
        run.assert_code(0).json()
    }
}

const QUICK: [&str; 2] = ["--poll", "200ms"];

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_taken_with_class_expiry_and_settings_in_its_tags() {
    let world = World::with_orders().await;
    let mut command = world.command(&[
        "snapshot",
        "create",
        "orders-prod",
        "--tag",
        "release=2026.11",
        "--github-output",
        "--json",
        "--poll",
        "200ms",
    ]);
    command.env("GITHUB_OUTPUT", world.path("output")).env("GITHUB_SHA", "c0ffee").env("GITHUB_RUN_ID", "42");
    let run = crate::support::finish(command.env("GITHUB_ACTOR", "o'brien").spawn().unwrap()).await;
    let report = run.assert_code(0).json();
    let id = report["snapshot_id"].as_str().unwrap();
    let time = id.strip_prefix("pre-migration-orders-prod-").unwrap();
    assert!(time.len() == 15 && time.as_bytes()[8] == b'-', "{id}");
    assert_eq!(report["schema"], "lifeboat.snapshot/1");
    assert_eq!(report["status"], "available");
    assert_eq!(report["class"], "pre-migration");
    assert_eq!(report["reused"], false);
    assert!(report["created_at"].as_str().unwrap() < report["expires_at"].as_str().unwrap());
    let rollback = format!("lifeboat restore snapshot {id} --to orders-prod-rollback --region {REGION}");
    assert_eq!(report["rollback_command"], rollback);
    let tags = &report["tags"];
    for (key, value) in [
        ("release", "2026.11"),
        ("env", "prod"),
        ("lifeboat:purpose", "snapshot"),
        ("lifeboat:source", "orders-prod"),
        ("lifeboat:class", "pre-migration"),
        ("lifeboat:git-sha", "c0ffee"),
        ("lifeboat:ci-run", "42"),
        ("lifeboat:who", "o_brien"),
    ] {
        assert_eq!(tags[key], value, "{key}");
    }
    assert_eq!(report["settings"]["class"], "db.m6g.large");
    let output = std::fs::read_to_string(world.path("output")).unwrap();
    let arn = report["arn"].as_str().unwrap();
    assert!(
        output.starts_with(&format!("snapshot_id={id}\nsnapshot_arn={arn}\nsnapshot_time=20")),
        "{output}"
    );
    assert!(output.ends_with(&format!("\nrollback_command={rollback}\n")), "{output}");

    let listed = world.json(&["snapshot", "list", "orders-prod"]).await;
    let newest = &listed["snapshots"][0];
    assert_eq!((newest["snapshot_id"].as_str(), &newest["expires_at"]), (Some(id), &report["expires_at"]));
    assert_eq!(world.json(&["snapshot", "show", id]).await["arn"], arn);
    let table = world.lifeboat(&["snapshot", "list", "--class", "pre-migration"]).await;
    assert!(table.assert_code(0).stdout.contains("in 29d"), "{}", table.stdout);
    assert!(!table.stdout.contains("before"), "{}", table.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_repeated_after_a_lost_answer_ends_with_one_snapshot_and_the_same_id() {
    let world = World::with_orders().await;
    let job = [
        "snapshot",
        "create",
        "orders-prod",
        "--idempotency-key",
        "deploy #7/1",
        "--json",
        "--poll",
        "200ms",
    ];
    world.fault("CreateDBSnapshot", json!({"fault": "lost-response", "times": 1})).await;
    let first = world.lifeboat(&job).await.assert_code(0).json();
    let second = world.lifeboat(&job).await.assert_code(0).json();
    assert_eq!(first["snapshot_id"], second["snapshot_id"]);
    assert_eq!((&first["reused"], &second["reused"]), (&json!(false), &json!(true)));
    assert_eq!(world.manual_snapshots().await.len(), 2, "one beside `before`");
    assert_eq!(world.calls("CreateDBSnapshot").await, 2, "one beside that of `before`");
    // Another key is another snapshot, and without a key each run takes its own.
    let other = [
        "snapshot",
        "create",
        "orders-prod",
        "--idempotency-key",
        "deploy #7/2",
        "--json",
        "--poll",
        "200ms",
    ];
    let third = world.lifeboat(&other).await.assert_code(0).json();
    assert_ne!(third["snapshot_id"], first["snapshot_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_died_before_it_heard_of_its_snapshot_finds_it_again() {
    let world = World::with_orders().await;
    let job =
        ["snapshot", "create", "orders-prod", "--idempotency-key", "deploy-8", "--json", "--poll", "200ms"];
    world.fault("CreateDBSnapshot", json!({"fault": "slow", "seconds": 30, "times": 1})).await;
    let mut child = world.command(&job).spawn().unwrap();
    wait("the request", async || world.calls("CreateDBSnapshot").await == 2).await;
    child.kill().await.unwrap();
    let report = world.lifeboat(&job).await.assert_code(0).json();
    assert_eq!(report["reused"], true);
    assert_eq!(world.manual_snapshots().await.len(), 2);
    // Two attempts at the same moment ask for the same name, so that AWS lets only one of them through.
    let twice =
        ["snapshot", "create", "orders-prod", "--idempotency-key", "deploy-9", "--json", "--poll", "200ms"];
    let (left, right) = tokio::join!(world.lifeboat(&twice), world.lifeboat(&twice));
    assert_eq!(left.assert_code(0).json()["snapshot_id"], right.assert_code(0).json()["snapshot_id"]);
    assert_eq!(world.manual_snapshots().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_wait_is_exit_code_7_with_the_id_on_stdout() {
    let world = World::at(Pace::Real).await;
    world.begin_create("orders-prod").await;
    world.hurry_until("orders-prod", "available").await;
    let run = world.lifeboat(&["snapshot", "create", "orders-prod", "--wait", "2s", "--json"]).await;
    run.assert_code(7)
        .assert_says(&["is still being created", "lifeboat snapshot show pre-migration-orders-prod-"]);
    assert_eq!(run.json()["status"], "creating");
    assert_eq!(run.json()["snapshot_id"], world.manual_snapshots().await[0]);
    // A second one waits for its turn, and says so; it is refused only then.
    let late =
        world.lifeboat(&["snapshot", "create", "orders-prod", "--wait", "1s", "--poll", "200ms"]).await;
    late.assert_code(3).assert_says(&["is backing-up", "one snapshot of an instance at a time", "--wait"]);
    assert_eq!(world.manual_snapshots().await.len(), 1);
    // In text, too, and without waiting.
    world.hurry_until("orders-prod", "available").await;
    let run = world.lifeboat(&["snapshot", "create", "orders-prod", "--no-wait", "--id", "second"]).await;
    assert!(
        run.assert_code(0).stdout.starts_with("CREATING  snapshot `second` of `orders-prod`\n"),
        "{}",
        run.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_waits_for_another_snapshot_and_takes_its_own_then() {
    let world = World::at(Pace::Fast).await;
    world.create("orders-prod").await;
    let one = ["snapshot", "create", "orders-prod", "--id", "one", "--json", "--poll", "200ms"];
    let two = ["snapshot", "create", "orders-prod", "--id", "two", "--json", "--poll", "200ms"];
    let (one, two) = tokio::join!(world.lifeboat(&one), world.lifeboat(&two));
    assert_eq!(
        (one.assert_code(0).json()["status"].as_str(), two.assert_code(0).json()["status"].as_str()),
        (Some("available"), Some("available"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_removes_only_what_it_may_and_only_when_it_is_confirmed() {
    let world = World::with_orders().await;
    let create = async |id: &str| {
        let run =
            world.lifeboat(&[&["snapshot", "create", "orders-prod", "--id", id], &QUICK[..]].concat()).await;
        run.assert_code(0);
    };
    create("first").await;
    create("second").await;
    let automated = world.rds.describe_db_snapshots().snapshot_type("automated").send().await.unwrap();
    let automated = automated.db_snapshots()[0].db_snapshot_identifier().unwrap();
    let cases: [(&[&str], i32, &[&str]); 7] = [
        (&["first"], 4, &["`first` was not confirmed", "deletes snapshot `first`", "--confirm first"]),
        (&["first", "--confirm", "frist"], 4, &["`frist` is not `first`"]),
        (
            &["second", "--confirm", "second"],
            4,
            &["newest good snapshot of `orders-prod`", "--allow-last-copy"],
        ),
        (&["before", "--confirm", "before"], 4, &["no `lifeboat:class` tag", "aws rds delete-db-snapshot"]),
        (&[automated, "--confirm", automated], 4, &["automated", "lifeboat policy set orders-prod"]),
        (
            &["nothing", "--confirm", "nothing"],
            2,
            &["snapshot `nothing` does not exist", "lifeboat snapshot list"],
        ),
        (&["a--b", "--confirm", "a--b"], 2, &["two hyphens in a row"]),
    ];
    for (arguments, code, words) in cases {
        let run = world.lifeboat(&[&["snapshot", "delete"], arguments].concat()).await;
        run.assert_code(code).assert_says(words);
        assert!(run.stdout.is_empty());
    }
    let dry = world.json(&["snapshot", "delete", "first", "--dry-run"]).await;
    assert_eq!(dry["dry_run"], true);
    assert_eq!(world.manual_snapshots().await, ["before", "first", "second"]);
    world.lifeboat(&["snapshot", "delete", "first", "--confirm", "first"]).await.assert_code(0);
    world
        .lifeboat(&["snapshot", "delete", "second", "--confirm", "second", "--allow-last-copy"])
        .await
        .assert_code(0);
    assert_eq!(world.manual_snapshots().await, ["before"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_for_snapshots_are_refused_before_anything_is_taken() {
    let world = World::with_orders().await;
    let long = "x".repeat(257);
    let cases: [(&[&str], i32, &[&str]); 12] = [
        (&["orders"], 2, &["instance `orders` does not exist", "Did you mean `orders-prod`?"]),
        (
            &["orders-prod", "--class", "weekly"],
            2,
            &["retention class `weekly` does not exist", "`pre-migration`"],
        ),
        (&["orders-prod", "--id", "a--b"], 2, &["two hyphens in a row", "single hyphens"]),
        (&["orders-prod", "--id", "rds:x"], 2, &["colon"]),
        (&["orders-prod", "--id", "before"], 2, &["`before` exists already", "--idempotency-key"]),
        (&["orders-prod", "--tag", "novalue"], 2, &["there is no `=`"]),
        (&["orders-prod", "--tag", "aws:x=1"], 2, &["AWS's own"]),
        (&["orders-prod", "--tag", "a=b,c"], 2, &["does not allow"]),
        (&["orders-prod", "--tag", &format!("a={long}")], 2, &["too long"]),
        (&["orders-prod", "--expires-after", "soon"], 2, &["30d"]),
        (&["orders-prod", "--github-output"], 2, &["GITHUB_OUTPUT"]),
        (&["orders-prod", "--poll", "1ms"], 2, &["100ms to 10m"]),
    ];
    for (arguments, code, words) in cases {
        let run = world.lifeboat(&[&["snapshot", "create"], arguments].concat()).await;
        run.assert_code(code).assert_says(words);
        assert!(run.stdout.is_empty(), "{arguments:?}: {}", run.stdout);
    }
    world.write("lifeboat.toml", "[retention]\nweekly = \"sometimes\"\n");
    world
        .lifeboat(&["snapshot", "create", "orders-prod"])
        .await
        .assert_code(2)
        .assert_says(&["weekly", "sometimes"]);
    world.write("lifeboat.toml", "[retention]\nweekly = { keep_lats = 3 }\n");
    world.lifeboat(&["snapshot", "create", "orders-prod"]).await.assert_code(2).assert_says(&["keep_lats"]);
    world.write("lifeboat.toml", "[retention]\nweekly = { keep_for = \"8 days\", keep_last = 3 }\n");
    let plan = world.json(&["snapshot", "create", "orders-prod", "--class", "weekly", "--dry-run"]).await;
    assert_eq!((&plan["class"], &plan["reused"]), (&json!("weekly"), &json!(false)));
    assert_eq!(world.manual_snapshots().await, ["before"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_repeated_days_later_gets_no_stale_point_to_roll_back_to() {
    let world = World::with_orders().await;
    let job =
        ["snapshot", "create", "orders-prod", "--idempotency-key", "run-77", "--json", "--poll", "200ms"];
    let first = world.lifeboat(&job).await.assert_code(0).json();
    world.advance_clock(30 * 60).await;
    let soon = world.lifeboat(&job).await.assert_code(0).json();
    assert_eq!((&soon["snapshot_id"], &soon["reused"]), (&first["snapshot_id"], &json!(true)));
    world.advance_clock(2 * 86_400).await;
    let dry = world.lifeboat(&[&job[..], &["--dry-run"]].concat()).await.assert_code(0).json();
    assert_eq!(dry["reused"], false);
    // As old as one is willing to roll back to is a matter of choice.
    let patient = world.lifeboat(&[&job[..], &["--idempotency-max-age", "7d"]].concat()).await;
    assert_eq!(patient.assert_code(0).json()["snapshot_id"], first["snapshot_id"]);
    let late = world.lifeboat(&job).await;
    late.assert_code(0).assert_says(&[
        "warning: a new snapshot is taken",
        first["snapshot_id"].as_str().unwrap(),
        "2days",
        "`--idempotency-max-age`",
    ]);
    let second = late.json();
    assert_ne!(second["snapshot_id"], first["snapshot_id"]);
    assert_eq!(second["reused"], false);
    let again = world.lifeboat(&job).await.assert_code(0).json();
    assert_eq!((&again["snapshot_id"], &again["reused"]), (&second["snapshot_id"], &json!(true)));
    // A name of one's own cannot be taken twice: then it is refused, whoever made it.
    let named = [&job[..], &["--id", "named"]].concat();
    let named: Vec<&str> = named.into_iter().map(|it| if it == "run-77" { "run-78" } else { it }).collect();
    world.lifeboat(&named).await.assert_code(0);
    world.advance_clock(2 * 3600).await;
    world.lifeboat(&named).await.assert_code(2).assert_says(&[
        "`named` exists already",
        "took under the same key, is ",
        "Choose another `--id`",
    ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_says_which_key_encrypts_and_whether_a_baseline_was_recorded() {
    let world = World::with_orders().await;
    let create = ["snapshot", "create", "orders-prod", "--id", "with", "--poll", "200ms", "--baseline"];
    let made = world.lifeboat(&create).await;
    assert!(
        made.assert_code(0)
            .stdout
            .contains("baseline  recorded: a drill compares the copy with it (SHA-256 ")
    );
    let shown = world.lifeboat(&["snapshot", "show", "with", "--json"]).await.assert_code(0).json();
    assert_eq!(shown["baseline_sha256"].as_str().unwrap().len(), 64);
    let copy =
        ["snapshot", "copy", "with", "--id", "copied", "--kms-key", "alias/backups", "--poll", "200ms"];
    let dry = world.lifeboat(&[&copy[..], &["--dry-run", "--json"]].concat()).await.assert_code(0).json();
    assert_eq!((&dry["kms_key"], &dry["encrypted"]), (&json!("alias/backups"), &json!(true)));
    let made = world.lifeboat(&copy).await;
    assert!(made.assert_code(0).stdout.contains("encrypted with "), "{}", made.stdout);
    let plain = world.lifeboat(&["snapshot", "show", "before"]).await;
    assert!(
        plain.assert_code(0).stdout.contains("encrypted no\n  baseline  none recorded"),
        "{}",
        plain.stdout
    );
}

/// A world in which AWS Backup alone backs `orders-prod` up.
async fn with_aws_backup() -> World {
    let world = World::with_orders().await;
    let off = world.rds.modify_db_instance().db_instance_identifier("orders-prod").backup_retention_period(0);
    off.apply_immediately(true).send().await.unwrap();
    world.until_status("orders-prod", "available").await;
    world
        .rewritten(lifeboat_localstack::Limits::default(), |state| {
            let snapshots = &mut state["regions"][crate::support::REGION]["snapshots"];
            let mut snapshot = snapshots["before"].take();
            snapshot["id"] = "awsbackup:job-1f0c".into();
            snapshot["kind"] = "awsbackup".into();
            *snapshots = json!({"awsbackup:job-1f0c": snapshot});
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_of_aws_backup_are_listed_counted_and_drilled() {
    let world = with_aws_backup().await;
    let plain = world.rds.describe_db_snapshots().send().await.unwrap();
    assert!(plain.db_snapshots().is_empty(), "RDS lists them only if they are asked for");
    for arguments in [&["snapshot", "list", "--json"][..], &["snapshot", "list", "orders-prod", "--json"]] {
        let listed = world.lifeboat(arguments).await.assert_code(0).json();
        assert_eq!(listed["snapshots"][0]["snapshot_type"], "awsbackup", "{listed:#}");
    }
    for arguments in [&["status", "--json"][..], &["status", "orders-prod", "--json"]] {
        let report = world.lifeboat(arguments).await.json();
        let database = &report["databases"][0];
        assert_eq!(database["newest_aws_backup"]["snapshot_id"], "awsbackup:job-1f0c", "{database:#}");
        assert_eq!(database["rpo"]["verdict"], "pass");
        let codes: Vec<&str> =
            database["findings"].as_array().unwrap().iter().map(|it| it["code"].as_str().unwrap()).collect();
        assert!(!codes.contains(&"no_backup") && !codes.contains(&"rpo_missed"), "{codes:?}");
    }
    let drill = world.drill(&[]).await;
    assert_eq!(drill.assert_code(0).json()["moment"]["snapshot_type"], "awsbackup");
    world.lifeboat(&["snapshot", "prune"]).await.assert_code(0);
    world.lifeboat(&["snapshot", "show", "awsbackup:job-1f0c"]).await.assert_code(0);
}
