//! Restores: with the source's settings, of sources that are gone, to times as people say them.

use serde_json::{Value, json};

use crate::support::{PASSWORD, World, wait};

const QUICK: [&str; 2] = ["--poll", "200ms"];

impl World {
    /// `orders-prod` with groups, windows and protection of its own, and some rows.
    async fn with_own_settings(&self) {
        for name in ["private", "elsewhere"] {
            let group = self.rds.create_db_subnet_group().db_subnet_group_name(name);
            let group = group.db_subnet_group_description(name).subnet_ids("subnet-1").subnet_ids("subnet-2");
            group.send().await.unwrap();
        }
        let group = self.rds.create_db_parameter_group().db_parameter_group_name("tuned");
        let family = self.parameter_family().await;
        group.db_parameter_group_family(family).description("x").send().await.unwrap();
        let request = self.rds.create_db_instance().db_instance_identifier("orders-prod").engine("postgres");
        let request =
            request.db_instance_class("db.m6g.large").allocated_storage(20).max_allocated_storage(100);
        let request = request.master_username("owner").master_user_password(PASSWORD).db_name("app");
        let request = request.backup_retention_period(14).preferred_backup_window("03:00-03:30");
        let request =
            request.preferred_maintenance_window("sun:05:00-sun:05:30").db_subnet_group_name("private");
        let request = request.vpc_security_group_ids("sg-orders").vpc_security_group_ids("sg-office");
        let request = request.db_parameter_group_name("tuned").copy_tags_to_snapshot(true).multi_az(true);
        let request =
            request.enable_iam_database_authentication(true).enable_cloudwatch_logs_exports("postgresql");
        let request = request.tags(aws_sdk_rds::types::Tag::builder().key("env").value("prod").build());
        request.send().await.unwrap();
        self.until_status("orders-prod", "available").await;
        self.sql("orders-prod", "app", "create table jobs as select generate_series(1, 300) as id").await;
    }

    async fn parameter_family(&self) -> String {
        let versions = self.rds.describe_db_engine_versions().engine("postgres").send().await.unwrap();
        let newest = versions.db_engine_versions().last().unwrap().clone();
        newest.db_parameter_group_family().unwrap().to_owned()
    }

    async fn shown(&self, id: &str) -> aws_sdk_rds::types::DbInstance {
        let answer = self.rds.describe_db_instances().db_instance_identifier(id).send().await.unwrap();
        answer.db_instances()[0].clone()
    }

    async fn assert_same_settings(&self, id: &str) {
        let it = self.shown(id).await;
        assert_eq!(it.db_instance_class(), Some("db.m6g.large"));
        assert_eq!(it.db_subnet_group().unwrap().db_subnet_group_name(), Some("private"));
        let groups: Vec<_> =
            it.vpc_security_groups().iter().map(|it| it.vpc_security_group_id().unwrap()).collect();
        assert_eq!(groups, ["sg-orders", "sg-office"]);
        assert_eq!(it.db_parameter_groups()[0].db_parameter_group_name(), Some("tuned"));
        assert_eq!((it.multi_az(), it.publicly_accessible()), (Some(true), Some(false)));
        assert_eq!(it.enabled_cloudwatch_logs_exports(), ["postgresql"]);
        assert_eq!(
            (it.backup_retention_period(), it.preferred_backup_window()),
            (Some(14), Some("03:00-03:30"))
        );
        assert_eq!(it.preferred_maintenance_window(), Some("sun:05:00-sun:05:30"));
        assert_eq!(it.max_allocated_storage(), Some(100));
        assert_eq!(
            (it.iam_database_authentication_enabled(), it.copy_tags_to_snapshot()),
            (Some(true), Some(true))
        );
        let has = |key: &str, value: &str| {
            it.tag_list().iter().any(|it| it.key() == Some(key) && it.value() == Some(value))
        };
        assert!(
            has("env", "prod") && has("lifeboat:purpose", "restore") && has("lifeboat:source", "orders-prod")
        );
    }

    async fn delete(&self, id: &str, keep_automated: bool) {
        let request = self.rds.delete_db_instance().db_instance_identifier(id).skip_final_snapshot(true);
        request.delete_automated_backups(!keep_automated).send().await.unwrap();
        wait("the deletion", async || !self.instances().await.contains(id)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_comes_up_with_the_settings_of_its_source_even_when_that_is_gone() {
    let world = World::new().await;
    world.with_own_settings().await;
    world.json(&[&["snapshot", "create", "orders-prod", "--id", "kept"], &QUICK[..]].concat()).await;
    // While the source is there, and after an answer that was lost.
    world.fault("RestoreDBInstanceFromDBSnapshot", json!({"fault": "lost-response", "times": 1})).await;
    let report = world.json(&[&["restore", "snapshot", "kept", "--to", "copy-1"], &QUICK[..]].concat()).await;
    world.assert_same_settings("copy-1").await;
    assert_eq!(
        (&report["schema"], &report["settings_from"]),
        (&json!("lifeboat.restore/1"), &json!("instance"))
    );
    assert_eq!(report["carried_over"]["security-groups"], "sg-orders:sg-office");
    assert_eq!(report["changed"], json!({}));
    assert!(report["endpoint"]["host"].is_string() && report["seconds"].is_number());
    assert!(report["connect"].as_str().unwrap().contains("user=owner"));
    assert!(report["not_carried"][0].as_str().unwrap().contains("password"));
    assert_eq!(world.sql("copy-1", "app", "select count(*) from jobs").await, "300");

    // Retained automated backups: by name, and by resource id. RDS counts in whole seconds, so there has to be one.
    wait("a whole second to be restorable", async || {
        let window = world.json(&["restore", "window", "orders-prod"]).await;
        let second = |key: &str| window[key].as_str().map(|at| at[..19].to_owned());
        second("latest") > second("earliest")
    })
    .await;
    let latest = world.json(&["restore", "window", "orders-prod"]).await;
    let resource = latest["resource_id"].as_str().unwrap().to_owned();
    assert_eq!((&latest["status"], latest["lag_seconds"].is_number()), (&json!("active"), true));
    world.delete("orders-prod", true).await;
    let retained = world.json(&["restore", "window", &resource]).await;
    assert_eq!((&retained["status"], &retained["database"]), (&json!("retained"), &json!("orders-prod")));
    let restored =
        [&["restore", "point-in-time", "orders-prod", "--latest", "--to", "copy-2"], &QUICK[..]].concat();
    assert_eq!(world.json(&restored).await["settings_from"], "another-snapshot");
    world.assert_same_settings("copy-2").await;

    // From what was saved with the snapshot, with something changed.
    let changed = [
        "--class",
        "db.t3.micro",
        "--subnet-group",
        "elsewhere",
        "--multi-az",
        "false",
        "--tag",
        "why=drill",
    ];
    let restored = [&["restore", "snapshot", "kept", "--to", "copy-3"], &changed[..], &QUICK[..]].concat();
    let report = world.json(&restored).await;
    assert_eq!(report["settings_from"], "snapshot");
    assert_eq!(report["changed"]["class"], json!({"before": "db.m6g.large", "after": "db.t3.micro"}));
    let it = world.shown("copy-3").await;
    assert_eq!((it.db_instance_class(), it.multi_az()), (Some("db.t3.micro"), Some(false)));
    assert_eq!(it.db_parameter_groups()[0].db_parameter_group_name(), Some("tuned"));
    let run = world.lifeboat(&["restore", "snapshot", "kept", "--to", "copy-3"]).await;
    run.assert_code(2).assert_says(&["`copy-3` exists already", "never goes over one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_is_said_as_people_say_it_and_shown_in_utc_before_it_happens() {
    let world = World::with_orders().await;
    let zone = |arguments: &[&str]| {
        let mut command = world
            .command(&[&["restore", "point-in-time", "orders-prod", "--to", "copy"], arguments].concat());
        command.env("TZ", "Europe/Berlin").spawn().unwrap()
    };
    // RDS takes whole seconds: one must have begun after the tables were filled.
    let filled = "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS')";
    let filled = world.sql("orders-prod", "app", filled).await;
    crate::support::wait("a whole second in the window", async || {
        let window = world.json(&["restore", "window", "orders-prod"]).await;
        window["latest"].as_str().is_some_and(|at| at[..19] > *filled)
    })
    .await;
    let latest =
        world.json(&["restore", "window", "orders-prod"]).await["latest"].as_str().unwrap().to_owned();
    world.sql("orders-prod", "app", "delete from jobs where id > 100").await;
    let run = crate::support::finish(zone(&["--at", &latest, "--json", "--poll", "200ms"])).await;
    run.assert_code(0).assert_says(&["local time, ", "Z", "restoring `orders-prod` of "]);
    assert_eq!(run.json()["moment"].as_str().unwrap()[..19], latest[..19]);
    assert_eq!(world.sql("copy", "app", "select count(*) from jobs").await, "300");
    world.delete("copy", false).await;

    let cases: [(&[&str], &[&str]); 7] = [
        (
            &["--at", "20 minutes ago"],
            &["`20 minutes ago` is 20", "local time", "cannot be restored to", "begin at 20"],
        ),
        (&["--at", "2999-01-01T00:00:00Z"], &["cannot be restored to 2999", "latest restorable time"]),
        (&["--at", "2999-06-01 12:00"], &["+02:00 local time, 2999-06-01T10:00:00Z"]),
        (
            &["--at", "2026-10-25 02:30"],
            &["showed twice", "2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00"],
        ),
        (&["--at", "2026-03-29 02:30"], &["never showed"]),
        (&["--at", "the other day"], &["is not a time", "\"20 minutes ago\""]),
        (&[], &["--at", "--latest"]),
    ];
    for (arguments, words) in cases {
        crate::support::finish(zone(arguments)).await.assert_code(2).assert_says(words);
    }
    assert_eq!(world.calls("RestoreDBInstanceToPointInTime").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_restores_are_refused_before_anything_is_created() {
    let world = World::with_orders().await;
    world.json(&[&["snapshot", "create", "orders-prod", "--id", "kept"], &QUICK[..]].concat()).await;
    let cases: [(&[&str], i32, &[&str]); 9] = [
        (&["snapshot", "nothing", "--to", "x"], 2, &["snapshot `nothing` does not exist"]),
        (&["snapshot", "kept", "--to", "a--b"], 2, &["two hyphens in a row", "single hyphens"]),
        (&["snapshot", "kept", "--to", "orders-prod"], 2, &["`orders-prod` exists already"]),
        (&["snapshot", "kept", "--to", "x", "--class", "db.nonsense.9x"], 2, &["db.nonsense.9x", "--class"]),
        (&["snapshot", "kept", "--to", "x", "--subnet-group", "nowhere"], 2, &["`nowhere` does not exist"]),
        (&["snapshot", "kept", "--to", "x", "--parameter-group", "nope"], 2, &["`nope` does not exist"]),
        (&["snapshot", "kept", "--to", "x", "--retention-days", "36"], 2, &["36", "0..=35"]),
        (&["point-in-time", "nothing", "--latest", "--to", "x"], 2, &["neither an instance `nothing`"]),
        (&["window", "nothing"], 2, &["retained automated backup"]),
    ];
    for (arguments, code, words) in cases {
        let run = world.lifeboat(&[&["restore"], arguments].concat()).await;
        run.assert_code(code).assert_says(words);
        assert!(run.stdout.is_empty());
    }
    let dry = world.json(&["restore", "snapshot", "kept", "--to", "x", "--dry-run"]).await;
    assert_eq!((&dry["dry_run"], &dry["endpoint"]), (&json!(true), &Value::Null));
    // Nobody knows the settings of `before` once its instance and the snapshot that has them are gone.
    world.delete("orders-prod", false).await;
    world.rds.delete_db_snapshot().db_snapshot_identifier("kept").send().await.unwrap();
    let blind = ["restore", "snapshot", "before", "--to", "x", "--dry-run"];
    world
        .lifeboat(&blind)
        .await
        .assert_code(2)
        .assert_says(&["settings of `orders-prod` are not known", "--accept-defaults"]);
    assert_eq!(world.json(&[&blind[..], &["--accept-defaults"]].concat()).await["settings_from"], "nobody");
    // What goes on at the end of the wait is told, with the id on stdout.
    let run = world
        .lifeboat(&["restore", "snapshot", "before", "--to", "x", "--accept-defaults", "--no-wait"])
        .await;
    assert!(
        run.assert_code(0).stdout.starts_with("CREATING  instance `x`\n  restoring `orders-prod`"),
        "{}",
        run.stdout
    );
    assert_eq!(world.calls("RestoreDBInstanceFromDBSnapshot").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_psql_line_of_a_restore_runs_as_it_is_printed_and_finds_the_tables() {
    let world = World::with_orders().await;
    for (to, flags, rootcert) in [
        ("orders-a", &[][..], true),
        ("orders-b", &[], false),
        ("orders-c", &["--ca", "ca with space.pem"], false),
        ("orders-d", &["--dbname", "billing"], true),
    ] {
        std::fs::copy(world.stack.ca_path(), world.path("ca with space.pem")).unwrap();
        let command =
            [&["restore", "snapshot", "before", "--to", to, "--json", "--poll", "200ms"][..], flags].concat();
        let mut command = world.command(&command);
        if !rootcert {
            command.env_remove("PGSSLROOTCERT");
        }
        let run = crate::support::finish(command.spawn().unwrap()).await;
        let report = run.assert_code(0).json();
        let line = report["connect"].as_str().unwrap();
        // In another directory, with nothing but what the person had.
        let mut shell = tokio::process::Command::new("bash");
        let question = "select string_agg(relname, ',') from pg_class where relname in ('users', 'invoices')";
        shell.arg("-c").arg(format!("{line} -XAtc \"{question}\"")).current_dir("/");
        shell
            .env("PGPASSWORD", crate::support::PASSWORD)
            .env_remove("PGSSLROOTCERT")
            .env("HOME", world.path("vault"));
        if rootcert {
            shell.env("PGSSLROOTCERT", world.stack.ca_path());
        }
        let done = shell.output().await.unwrap();
        let said = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        let expected = if to == "orders-d" { "invoices" } else { "users" };
        assert_eq!(said, expected, "{line}: {}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(line.contains("verify-full"), to != "orders-b", "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restore_cannot_know_of_its_source_is_said() {
    let world = World::with_orders().await;
    let words = "a dedicated log volume, processor features, additional storage volumes";
    let dry = ["restore", "snapshot", "before", "--to", "back", "--dry-run"];
    let known = world.lifeboat(&dry).await;
    assert!(!known.assert_code(0).stdout.contains(words), "{}", known.stdout);
    world
        .rds
        .delete_db_instance()
        .db_instance_identifier("orders-prod")
        .skip_final_snapshot(true)
        .send()
        .await
        .unwrap();
    crate::support::wait("orders-prod to be gone", async || !world.instances().await.contains("orders-prod"))
        .await;
    let gone = world.lifeboat(&[&dry[..], &["--accept-defaults"]].concat()).await;
    assert!(gone.assert_code(0).stdout.contains(words), "{}", gone.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replicated_backup_is_restored_in_its_own_region() {
    let world = World::new().await;
    world.create("orders-prod").await;
    world.sql("orders-prod", "app", "create table jobs as select generate_series(1, 300) as id").await;
    let source = world.shown("orders-prod").await;
    let elsewhere = aws_sdk_rds::Client::from_conf(
        world.rds.config().to_builder().region(aws_sdk_rds::config::Region::new("eu-west-1")).build(),
    );
    let request = elsewhere.start_db_instance_automated_backups_replication();
    request.source_db_instance_arn(source.db_instance_arn().unwrap()).send().await.unwrap();
    world.advance_clock(600).await;
    wait("what is written to be restorable", async || {
        let answer = elsewhere.describe_db_instance_automated_backups().send().await.unwrap();
        answer.db_instance_automated_backups()[0]
            .restore_window()
            .is_some_and(|it| it.latest_time().is_some())
    })
    .await;
    let run =
        ["restore", "point-in-time", "orders-prod", "--latest", "--to", "there", "--region", "eu-west-1"];
    world.lifeboat(&run).await.assert_code(2).assert_says(&["it is in another Region"]);
    for name in ["orders-prod", source.dbi_resource_id().unwrap()] {
        let to = format!("there-{}", name.to_lowercase());
        let run = [
            "restore",
            "point-in-time",
            name,
            "--latest",
            "--to",
            &to,
            "--region",
            "eu-west-1",
            "--accept-defaults",
        ];
        world.lifeboat(&[&run[..], &QUICK].concat()).await.assert_code(0);
        let answer = elsewhere.describe_db_instances().db_instance_identifier(&to).send().await.unwrap();
        assert!(answer.db_instances()[0].endpoint().is_some(), "{answer:?}");
    }
    // RDS finds it by the ARN of the backups alone.
    let calls = world.control("GET", "calls", Value::Null).await;
    let asked =
        calls.as_array().unwrap().iter().filter(|it| it["action"] == "RestoreDBInstanceToPointInTime");
    for call in asked {
        let parameters = &call["parameters"];
        assert!(parameters["SourceDBInstanceAutomatedBackupsArn"].is_string(), "{call}");
        assert_eq!(parameters["SourceDbiResourceId"], Value::Null, "{call}");
    }
}
