//! Several accounts and Regions in lifeboat.toml: what spans them, what must be one place, and one that cannot be reached.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Run, World};

/// The account of the role; the others are of the local stack's own account, 123456789012.
const PROD: &str = "111122223333";

const ACCOUNTS: &str = r#"
[policy]
encrypted = false
copy_tags = false
deletion_protection = false
# Records without a server are never backed up.
ignore = ["no_backup"]

[[accounts]]
name = "prod"
role_arn = "arn:aws:iam::111122223333:role/lifeboat"
external_id = "blue-42"
regions = ["eu-west-1"]

[[accounts]]
name = "staging"
regions = ["eu-central-1", "eu-west-1"]

[[accounts]]
name = "dev"
profile = "dev"
regions = ["eu-central-1"]
"#;

/// Who a client is, by its access key, as the local stack tells accounts apart.
fn client(world: &World, access_key: &str, region: &str) -> aws_sdk_rds::Client {
    let credentials = aws_sdk_rds::config::Credentials::new(access_key, "x", None, None, "test");
    let config = aws_sdk_rds::Config::builder()
        .behavior_version(aws_sdk_rds::config::BehaviorVersion::latest())
        .region(aws_sdk_rds::config::Region::new(region.to_owned()))
        .credentials_provider(credentials)
        .endpoint_url(world.stack.endpoint())
        .http_client(aws_smithy_http_client::Builder::new().build_http());
    aws_sdk_rds::Client::from_conf(config.build())
}

async fn create(rds: &aws_sdk_rds::Client, id: &str) {
    let request = rds.create_db_instance().db_instance_identifier(id).engine("mysql");
    let request = request.db_instance_class("db.m6g.large").allocated_storage(20).backup_retention_period(7);
    request.master_username("owner").master_user_password("long-enough-1").send().await.unwrap();
    crate::support::wait(id, async || {
        let answer = rds.describe_db_instances().db_instance_identifier(id).send().await.unwrap();
        answer.db_instances()[0].db_instance_status() == Some("available")
    })
    .await;
}

/// `orders` in prod and dev, `billing` and `shop` in staging, in one Region each.
async fn world() -> World {
    let world = World::new().await;
    std::fs::create_dir_all(world.path(".aws")).unwrap();
    world.write(".aws/config", "[profile dev]\nregion = eu-north-1\n");
    world.write(
        ".aws/credentials",
        "[dev]\naws_access_key_id = 222233334444\naws_secret_access_key = canary-dev-secret\n",
    );
    world.write("lifeboat.toml", ACCOUNTS);
    let prod = client(&world, PROD, "eu-west-1");
    create(&prod, "orders").await;
    create(&client(&world, "222233334444", "eu-central-1"), "orders").await;
    create(&client(&world, "test", "eu-central-1"), "billing").await;
    create(&client(&world, "test", "eu-west-1"), "shop").await;
    let snapshot = prod.create_db_snapshot().db_instance_identifier("orders").db_snapshot_identifier("one");
    let tag = aws_sdk_rds::types::Tag::builder().key("lifeboat:class").value("pre-migration").build();
    snapshot.tags(tag).send().await.unwrap();
    world
}

/// `orders-prod` in two accounts, `billing` in one of them: README's sample.
pub(crate) async fn orders_in_two_accounts() -> World {
    let world = World::new().await;
    std::fs::create_dir_all(world.path(".aws")).unwrap();
    world.write(".aws/config", "[profile dev]\nregion = eu-north-1\n");
    world.write(
        ".aws/credentials",
        "[dev]\naws_access_key_id = 222233334444\naws_secret_access_key = canary-dev-secret\n",
    );
    create(&client(&world, PROD, "eu-west-1"), "orders-prod").await;
    create(&client(&world, PROD, "eu-central-1"), "billing").await;
    create(&client(&world, "222233334444", "eu-central-1"), "orders-prod").await;
    world
}

async fn lifeboat(world: &World, arguments: &[&str]) -> Run {
    // The Region of the environment is for those accounts that name none.
    world.lifeboat(arguments).await
}

/// `account/region/id` of what a report lists.
fn homes(report: &Value, list: &str, id: &str) -> BTreeSet<String> {
    let word = |it: &Value, key: &str| it[key].as_str().unwrap_or_default().to_owned();
    let one = |it: &Value| format!("{}/{}/{}", word(it, "account"), word(it, "region"), word(it, id));
    report[list].as_array().unwrap().iter().map(one).collect()
}

const ALL: [&str; 4] = [
    "dev/eu-central-1/orders",
    "prod/eu-west-1/orders",
    "staging/eu-central-1/billing",
    "staging/eu-west-1/shop",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_command_over_a_fleet_spans_accounts_and_regions_and_flags_narrow_it_down() {
    let world = world().await;
    let all: BTreeSet<String> = ALL.map(str::to_owned).into();
    for arguments in
        [&["status", "--json"][..], &["status", "--all", "--json"], &["policy", "show", "--json"]]
    {
        let report = lifeboat(&world, arguments).await.assert_code(0).json();
        assert_eq!(homes(&report, "databases", "id"), all, "{arguments:?}");
    }
    for (flags, expected) in [
        (&["--account", "prod"][..], &ALL[1..2]),
        (&["--region", "eu-west-1"], &[ALL[1], ALL[3]]),
        (&["--account", "staging", "--region", "eu-central-1"], &ALL[2..3]),
        // A role is no part of the profile that is named in place of the accounts.
        (&["--profile", "dev", "--region", "eu-central-1"], &["/eu-central-1/orders"]),
    ] {
        let report = lifeboat(&world, &[&["status", "--json"], flags].concat()).await.assert_code(0).json();
        let expected: BTreeSet<String> = expected.iter().map(|one| (*one).to_owned()).collect();
        assert_eq!(homes(&report, "databases", "id"), expected, "{flags:?}");
    }
    let table = lifeboat(&world, &["status"]).await;
    for word in ["where", "prod/eu-west-1", "staging/eu-central-1"] {
        assert!(table.assert_code(0).stdout.contains(word), "{word}: {}", table.stdout);
    }
    let metrics = lifeboat(&world, &["status", "--format", "prometheus"]).await;
    let line = "lifeboat_backup_retention_days{database=\"orders\",account=\"prod\",region=\"eu-west-1\"} 7";
    assert!(metrics.stdout.lines().any(|it| it == line), "{}", metrics.stdout);

    // A copy of everything that is asked of AWS was asked as somebody of that account.
    let snapshots =
        lifeboat(&world, &["snapshot", "list", "--type", "manual", "--json"]).await.assert_code(0).json();
    assert_eq!(snapshots["snapshots"][0]["source"]["account"], "prod");
    assert!(
        snapshots["snapshots"][0]["rollback_command"]
            .as_str()
            .unwrap()
            .ends_with("--account prod --region eu-west-1")
    );
    let prune = lifeboat(&world, &["snapshot", "prune", "--dry-run", "--json"]).await.assert_code(0).json();
    assert!(homes(&prune, "verdicts", "id").contains("prod/eu-west-1/one"), "{prune:#}");

    // Changes go where the database is, and nowhere else.
    let set =
        lifeboat(&world, &["policy", "set", "shop", "--retention-days", "9", "--poll", "200ms", "--json"])
            .await;
    assert_eq!(homes(&set.assert_code(0).json(), "databases", "id"), [ALL[3].to_owned()].into());
    let taken = lifeboat(&world, &["snapshot", "create", "billing", "--poll", "200ms", "--json"]).await;
    let taken = taken.assert_code(0).json();
    assert_eq!(
        (&taken["source"]["account"], &taken["source"]["region"]),
        (&json!("staging"), &json!("eu-central-1"))
    );
    let id = taken["snapshot_id"].as_str().unwrap();
    let shown = lifeboat(&world, &["snapshot", "show", id, "--json"]).await.assert_code(0).json();
    assert_eq!(shown["source"]["account"], "staging");

    alarms_span_them_too(&world).await;
}

async fn alarms_span_them_too(world: &World) {
    for (key, region) in [
        (PROD, "eu-west-1"),
        ("222233334444", "eu-central-1"),
        ("test", "eu-central-1"),
        ("test", "eu-west-1"),
    ] {
        let (code, said) = topic(world, key, region).await;
        assert_eq!(code, 0, "{said}");
    }
    let plan =
        lifeboat(world, &["alarms", "plan", "--all", "--topic", "ops", "--json"]).await.assert_code(1).json();
    let alarms = homes(&plan, "changes", "alarm");
    for home in ALL {
        let (place, id) = home.rsplit_once('/').unwrap();
        let alarm = format!("{place}/lifeboat/{id}/backup-age");
        assert!(alarms.contains(&alarm), "{alarm}: {alarms:?}");
    }
    let apply =
        lifeboat(world, &["alarms", "apply", "shop", "--topic", "ops", "--json"]).await.assert_code(0).json();
    assert_eq!((&apply["region"], &apply["left"]), (&json!("eu-west-1"), &json!(0)));
    let listed = lifeboat(world, &["alarms", "list", "--json"]).await.assert_code(0).json();
    let of_shop = |it: &String| it.starts_with("staging/eu-west-1/lifeboat/shop/");
    assert!(homes(&listed, "alarms", "name").iter().all(of_shop), "{listed:#}");
    let audit = lifeboat(world, &["alarms", "audit", "--json"]).await.assert_code(1).json();
    assert!(homes(&audit, "unwatched_in", "database").contains(ALL[1]), "{audit:#}");
}

/// A topic with a subscriber who has confirmed.
async fn topic(world: &World, key: &str, region: &str) -> (i32, String) {
    let script = format!(
        "set -e; export AWS_ACCESS_KEY_ID={key} AWS_SECRET_ACCESS_KEY=x AWS_DEFAULT_REGION={region} AWS_PAGER=; \
         a='aws --endpoint-url {}'; $a sns create-topic --name ops >/dev/null",
        world.stack.endpoint()
    );
    let done = tokio::process::Command::new("sh").args(["-c", &script]).output().await.unwrap();
    (done.status.code().unwrap(), String::from_utf8_lossy(&done.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_found_where_it_is_and_a_name_that_means_two_is_refused() {
    let world = world().await;
    let found = lifeboat(&world, &["status", "shop", "billing", "--json"]).await.assert_code(0).json();
    assert_eq!(homes(&found, "databases", "id"), [ALL[2].to_owned(), ALL[3].to_owned()].into());
    for arguments in [
        &["status", "orders"][..],
        &["policy", "set", "orders", "--retention-days", "3"],
        &["snapshot", "create", "orders"],
        &["restore", "window", "orders"],
        &["alarms", "plan", "orders"],
    ] {
        lifeboat(&world, arguments).await.assert_code(2).assert_says(&[
            "is in more than one place: prod/eu-west-1, dev/eu-central-1",
            "--account prod --region eu-west-1",
        ]);
    }
    let one =
        lifeboat(&world, &["status", "orders", "--account", "dev", "--json"]).await.assert_code(0).json();
    assert_eq!(homes(&one, "databases", "id"), [ALL[0].to_owned()].into());
    lifeboat(&world, &["status", "nowhere"])
        .await
        .assert_code(2)
        .assert_says(&["`nowhere` was not found in any"]);
    let unsaid = lifeboat(&world, &["alarms", "test", "x"]).await;
    unsaid.assert_code(2).assert_says(&[
        "lifeboat.toml names several accounts and Regions",
        "--account staging --region eu-west-1",
    ]);
    lifeboat(&world, &["status", "--account", "pord"])
        .await
        .assert_code(2)
        .assert_says(&["no account `pord`", "prod, staging, dev"]);
    lifeboat(&world, &["status", "--region", "us-east-1"])
        .await
        .assert_code(2)
        .assert_says(&["no account", "`us-east-1`"]);
    let calls = world.control("GET", "calls", Value::Null).await;
    let assumed = calls.as_array().unwrap().iter().find(|call| call["action"] == "AssumeRole").unwrap();
    assert_eq!(
        (&assumed["parameters"]["ExternalId"], &assumed["parameters"]["RoleSessionName"]),
        (&json!("blue-42"), &json!("lifeboat"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_be_reached_does_not_hide_the_others() {
    let world = world().await;
    let refused = json!({"fault": "error", "code": "AccessDenied", "for_seconds": 600});
    let mut role = refused.clone();
    role["about"] = json!("role/lifeboat");
    world.fault("AssumeRole", role).await;
    let seen = lifeboat(&world, &["status", "--json"]).await;
    let report =
        seen.assert_code(5).assert_says(&["prod/eu-west-1 could not be reached", "role/lifeboat"]).json();
    assert_eq!(homes(&report, "databases", "id").len(), 3);
    assert_eq!(
        (&report["unreached"][0]["account"], &report["unreached"][0]["region"]),
        (&json!("prod"), &json!("eu-west-1"))
    );
    let nagios = lifeboat(&world, &["status", "--format", "nagios"]).await;
    assert!(
        nagios.assert_code(3).stdout.starts_with("LIFEBOAT UNKNOWN - prod/eu-west-1: not reached"),
        "{}",
        nagios.stdout
    );
    for arguments in [
        &["policy", "check"][..],
        &["policy", "show"],
        &["snapshot", "list"],
        &["snapshot", "prune"],
        &["alarms", "list"],
    ] {
        lifeboat(&world, arguments).await.assert_code(5).assert_says(&["prod/eu-west-1"]);
    }
    // `orders` is in dev; that there is none in prod is not known, so it is read with a warning and not changed.
    lifeboat(&world, &["status", "orders"]).await.assert_code(5).assert_says(&["prod/eu-west-1"]);
    let change = lifeboat(&world, &["policy", "set", "orders", "--retention-days", "3"]).await;
    change.assert_code(3).assert_says(&["is in dev/eu-central-1", "--account dev --region eu-central-1"]);
    // Refused by RDS itself, in one Region.
    world.control("DELETE", "faults", Value::Null).await;
    let mut region = refused;
    region["region"] = json!("eu-central-1");
    world.fault("DescribeDBInstances", region).await;
    let seen = lifeboat(&world, &["status", "--json"]).await;
    let report = seen.assert_code(5).assert_says(&["staging/eu-central-1", "dev/eu-central-1"]).json();
    assert_eq!(homes(&report, "databases", "id").len(), 2);
    // Nothing at all can be reached: nothing was found out.
    world.fault("*", json!({"fault": "error", "code": "AccessDenied", "for_seconds": 600})).await;
    lifeboat(&world, &["status"]).await.assert_code(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_assumes_a_role_needs_no_region_but_its_own() {
    let world = World::new().await;
    std::fs::create_dir_all(world.path(".aws")).unwrap();
    world.write(
        ".aws/config",
        "[profile base]\naws_access_key_id = test\naws_secret_access_key = canary\n\
         [profile prod]\nrole_arn = arn:aws:iam::111122223333:role/lifeboat\nsource_profile = base\nregion = eu-west-1\n\
         [profile job]\nrole_arn = arn:aws:iam::111122223333:role/lifeboat\ncredential_source = Environment\nregion = eu-west-1\n",
    );
    create(&client(&world, PROD, "eu-west-1"), "orders").await;
    for profile in ["prod", "job"] {
        let mut command = world.command(&["status", "--json", "--profile", profile]);
        command.env_remove("AWS_REGION").env_remove("AWS_DEFAULT_REGION");
        let report = crate::support::finish(command.spawn().unwrap()).await.assert_code(1).json();
        let expected = std::iter::once("/eu-west-1/orders".to_owned()).collect();
        assert_eq!(homes(&report, "databases", "id"), expected, "{profile}");
    }
}
