//! Requests that cannot be met: each is refused with its remedy, before anything is created.

use crate::support::{PASSWORD, World, finish};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_with_the_remedy_before_anything_is_created() {
    let world = World::with_orders().await;
    let too_long = "a".repeat(64);
    let cases: [(&[&str], i32, &[&str]); 16] = [
        (&["drill", "run", "orders-prod", "--wait", "5000000y"], 2, &["--wait", "366 days"]),
        (&["drill", "run", "orders-prod", "--endpoint-url", "http:// junk"], 2, &["not an endpoint URL"]),
        (&["drill", "run", "orders-prod", "--region", "bad region"], 2, &["not an AWS Region"]),
        (&["drill", "run", "order-prod"], 2, &["`order-prod` does not exist", "Did you mean `orders-prod`?"]),
        (&["drill", "run", &too_long], 2, &["64 characters, the most is 63"]),
        (
            &["drill", "run", "orders-prod", "--from", "nothing"],
            2,
            &["snapshot `nothing` does not exist", "lifeboat snapshot list orders-prod"],
        ),
        (
            &["drill", "run", "orders-prod", "--from", "2001-01-01T00:00:00Z"],
            2,
            &["cannot be restored to 2001", "Choose a time from 20"],
        ),
        (
            &["drill", "run", "orders-prod", "--from", "2999-01-01T00:00:00Z"],
            2,
            &["cannot be restored to 2999", "Choose a time from 20"],
        ),
        (
            &["drill", "run", "orders-prod", "--from", "2026-11-21"],
            2,
            &["is a day, and not a time", "Add the hour"],
        ),
        (&["drill", "run", "orders-prod", "--class", "db.nonsense.9x"], 2, &["db.nonsense.9x", "--class"]),
        (
            &["drill", "run", "orders-prod", "--subnet-group", "nowhere"],
            2,
            &["subnet group `nowhere` does not exist"],
        ),
        (
            &["drill", "run", "orders-prod", "--parameter-group", "nope"],
            2,
            &["parameter group `nope` does not exist"],
        ),
        (&["drill", "run", "orders-prod", "--dbname", "nope"], 2, &["no database `nope`"]),
        (&["drill", "run", "orders-prod", "--poll", "0s"], 2, &["--poll"]),
        (&["drill", "run", "orders-prod", "--ca", "/dev/null"], 2, &["/dev/null", "PEM"]),
        (
            &["drill", "run", "orders-prod", "--user", "stranger"],
            3,
            &["refused user `stranger`", "--password-file"],
        ),
    ];
    for (arguments, code, words) in cases {
        let run = world.lifeboat(arguments).await;
        run.assert_code(code).assert_says(words);
        assert!(run.stdout.is_empty(), "{arguments:?}: {}", run.stdout);
    }
    world.rds.stop_db_instance().db_instance_identifier("orders-prod").send().await.unwrap();
    world.until_status("orders-prod", "stopped").await;
    world.drill(&[]).await.assert_code(3).assert_says(&["is `stopped`", "start-db-instance"]);
    assert_eq!(
        world.calls("RestoreDBInstanceFromDBSnapshot").await
            + world.calls("RestoreDBInstanceToPointInTime").await,
        0
    );
    assert!(!world.path("vault/drills").exists(), "a drill was recorded that never began");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_engines_and_aurora_are_refused_and_told_what_is_supported() {
    let world = World::new().await;
    let create = |id: &str, engine: &str| {
        let request = world
            .rds
            .create_db_instance()
            .db_instance_identifier(id)
            .engine(engine)
            .db_instance_class("db.t3.medium");
        request.allocated_storage(20).master_username("owner").master_user_password(PASSWORD)
    };
    create("shop", "mysql").send().await.unwrap();
    create("member", "aurora-postgresql").db_cluster_identifier("big").send().await.unwrap();
    for (id, words) in [("shop", "is an instance of mysql"), ("member", "is a member of DB cluster `big`")] {
        world.lifeboat(&["drill", "run", id]).await.assert_code(2).assert_says(&[
            words,
            "Amazon RDS for PostgreSQL",
            "neither Aurora",
        ]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_credentials_and_wrong_passwords_say_where_they_come_from() {
    let world = World::with_orders().await;
    let mut command = world.command(&["drill", "run", "orders-prod"]);
    let run = finish(command.env_remove("AWS_ACCESS_KEY_ID").spawn().unwrap()).await;
    run.assert_code(3).assert_says(&["no usable AWS credentials", "AWS_PROFILE"]);
    // A profile that does not exist is named, with the files that were read and what there is instead.
    std::fs::create_dir_all(world.path(".aws")).unwrap();
    world.write(".aws/config", "[default]\nregion = eu-central-1\n\n[profile prod]\nregion = eu-central-1\n");
    let words = ["profile `nope` is neither in `", "/.aws/config`", "There are: default, prod."];
    world.lifeboat(&["--profile", "nope", "status"]).await.assert_code(2).assert_says(&words);
    let mut command = world.command(&["status"]);
    command.env("AWS_PROFILE", "nope").env_remove("AWS_ACCESS_KEY_ID");
    finish(command.spawn().unwrap()).await.assert_code(2).assert_says(&words);
    std::fs::remove_dir_all(world.path(".aws")).unwrap();
    let mut command = world.command(&["drill", "run", "orders-prod"]);
    let run = finish(command.env("PGPASSWORD", "wrong").spawn().unwrap()).await;
    run.assert_code(3).assert_says(&["password authentication failed", "--password-file"]);
    let mut command = world.command(&["drill", "run", "orders-prod"]);
    let run = finish(command.env_remove("PGPASSWORD").spawn().unwrap()).await;
    run.assert_code(3).assert_says(&["for a password"]);
    let mut command = world.command(&["drill", "run", "orders-prod"]);
    let run = finish(command.env_remove("PGSSLROOTCERT").spawn().unwrap()).await;
    run.assert_code(3).assert_says(&["certificate", "--ca"]);
    let mut command = world.command(&["drill", "run", "orders-prod"]);
    let run = finish(command.env_remove("AWS_REGION").spawn().unwrap()).await;
    run.assert_code(2).assert_says(&["Region", "--region"]);
    world.assert_only(&["orders-prod"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_without_backups_is_told_how_to_get_some() {
    let world = World::new().await;
    let request = world.rds.create_db_instance().db_instance_identifier("orders-prod").engine("postgres");
    let request = request.db_instance_class("db.t3.micro").allocated_storage(20).backup_retention_period(0);
    request.master_username("owner").master_user_password(PASSWORD).send().await.unwrap();
    world.until_status("orders-prod", "available").await;
    for (from, words) in
        [("latest-snapshot", "no snapshot"), ("latest", "automated backups of `orders-prod` are off")]
    {
        world
            .drill(&["--from", from])
            .await
            .assert_code(2)
            .assert_says(&[words, "lifeboat policy set orders-prod --retention-days 7"]);
    }
}
