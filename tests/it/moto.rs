//! One scenario, two backs: the local stack, and moto, an RDS that others wrote. What moto does otherwise than AWS
//! (point in time, pending changes, states) is not asked of it.

use std::time::Duration;

use aws_sdk_rds::Client;
use serde_json::{Value, json};

use crate::support::{Moto, PASSWORD, REGION, Run, World, binary, finish, wait};

/// An RDS at an endpoint, and a directory of one's own.
struct Back {
    endpoint: String,
    rds: Client,
    directory: tempfile::TempDir,
    _server: Option<Moto>,
}

impl Back {
    fn at(endpoint: String, server: Option<Moto>) -> Back {
        let credentials = aws_sdk_rds::config::Credentials::new("test", "test", None, None, "test");
        let config = aws_sdk_rds::Config::builder()
            .behavior_version(aws_sdk_rds::config::BehaviorVersion::latest())
            .region(aws_sdk_rds::config::Region::new(REGION))
            .credentials_provider(credentials)
            .endpoint_url(&endpoint)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        Back {
            endpoint,
            rds: Client::from_conf(config),
            directory: tempfile::tempdir().unwrap(),
            _server: server,
        }
    }

    async fn moto() -> Back {
        let moto = Moto::start(&[]).await;
        Back::at(moto.endpoint(), Some(moto))
    }

    async fn lifeboat(&self, arguments: &[&str]) -> Run {
        let mut command = binary(self.directory.path(), arguments);
        command.args(["--endpoint-url", &self.endpoint, "--region", REGION]);
        finish(command.spawn().unwrap()).await
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        self.lifeboat(&[arguments, &["--json"]].concat()).await.assert_code(0).json()
    }
}

async fn scenario(back: &Back) {
    let request = back.rds.create_db_instance().db_instance_identifier("orders").engine("postgres");
    let request = request.db_instance_class("db.m6g.large").allocated_storage(20).backup_retention_period(7);
    let request =
        request.master_username("owner").master_user_password(PASSWORD).vpc_security_group_ids("sg-orders");
    let request =
        request.preferred_backup_window("03:00-03:30").preferred_maintenance_window("sun:05:00-sun:05:30");
    request.send().await.unwrap();
    wait("the instance", async || {
        let answer = back.rds.describe_db_instances().send().await.unwrap();
        answer.db_instances()[0].db_instance_status() == Some("available")
    })
    .await;
    let quick = ["--poll", "200ms"];

    let create = [&["snapshot", "create", "orders", "--idempotency-key", "job-1"], &quick[..]].concat();
    let (first, second) = (back.json(&create).await, back.json(&create).await);
    assert_eq!((&first["status"], &first["class"]), (&json!("available"), &json!("pre-migration")));
    assert_eq!((&first["snapshot_id"], &second["reused"]), (&second["snapshot_id"], &json!(true)));
    let id = first["snapshot_id"].as_str().unwrap();
    assert_eq!(back.json(&["snapshot", "show", id]).await["settings"]["class"], "db.m6g.large");
    let copy = [&["snapshot", "copy", id, "--id", "copied", "--class", "major-release"], &quick[..]].concat();
    assert_eq!(back.json(&copy).await["expires_at"], Value::Null);
    let listed = back.json(&["snapshot", "list", "orders", "--type", "manual"]).await;
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 2);
    let pruned = back.json(&["snapshot", "prune"]).await;
    assert_eq!((&pruned["deleted"], &pruned["failed"]), (&json!([]), &json!([])));
    back.lifeboat(&["snapshot", "delete", "nothing", "--confirm", "nothing"]).await.assert_code(2);
    back.lifeboat(&["snapshot", "delete", id]).await.assert_code(4).assert_says(&["--confirm"]);

    let restore = [&["restore", "snapshot", id, "--to", "orders-back"], &quick[..]].concat();
    let restored = back.json(&restore).await;
    assert_eq!(restored["carried_over"]["security-groups"], "sg-orders");
    let answer = back.rds.describe_db_instances().db_instance_identifier("orders-back").send().await.unwrap();
    assert_eq!(answer.db_instances()[0].vpc_security_groups()[0].vpc_security_group_id(), Some("sg-orders"));
    assert_eq!(answer.db_instances()[0].db_instance_class(), Some("db.m6g.large"));
    back.lifeboat(&restore).await.assert_code(2).assert_says(&["`orders-back` exists already"]);

    let set = ["policy", "set", "orders", "--retention-days", "14", "--backup-window", "06:00-06:30"];
    let set = back.json(&[&set[..], &quick[..]].concat()).await;
    assert_eq!(set["databases"][0]["after"]["retention_days"], 14);
    back.lifeboat(&["policy", "set", "orders", "--backup-window", "05:15-05:45"]).await.assert_code(2);
    let status = back.lifeboat(&["status", "--json"]).await.json();
    assert_eq!(status["databases"].as_array().unwrap().len(), 2);
    assert_eq!(
        status["databases"].as_array().unwrap().iter().find(|it| it["id"] == "orders").unwrap()["retention_days"],
        14
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_everyday_commands_work_against_the_local_stack_and_against_moto() {
    let world = World::new().await;
    let limit = Duration::from_secs(600);
    tokio::time::timeout(limit, scenario(&Back::at(world.stack.endpoint(), None)))
        .await
        .expect("the local stack");
    let moto = Back::moto().await;
    tokio::time::timeout(limit, scenario(&moto)).await.expect("moto");
    those_whose_backups_are_anothers_are_refused(&moto).await;
}

/// Read replicas and members of clusters, which the local stack does not have.
async fn those_whose_backups_are_anothers_are_refused(moto: &Back) {
    let replica = moto.rds.create_db_instance_read_replica().db_instance_identifier("orders-replica");
    replica.source_db_instance_identifier("orders").send().await.unwrap();
    let cluster = moto.rds.create_db_cluster().db_cluster_identifier("aurora").engine("aurora-postgresql");
    cluster.master_username("owner").master_user_password(PASSWORD).send().await.unwrap();
    let member = moto.rds.create_db_instance().db_instance_identifier("aurora-1").engine("aurora-postgresql");
    member.db_instance_class("db.r6g.large").db_cluster_identifier("aurora").send().await.unwrap();
    let set = async |id: &str, days: &str, words: &[&str]| {
        let run = moto.lifeboat(&["policy", "set", id, "--retention-days", days, "--confirm", id]).await;
        run.assert_code(2).assert_says(words);
    };
    set("orders-replica", "9", &["`orders-replica` is a read replica of `orders`", "hint: "]).await;
    set("aurora-1", "9", &["`aurora-1` is a member of DB cluster `aurora`", "modify-db-cluster"]).await;
    set("orders", "0", &["it has read replicas", "orders-replica"]).await;
    moto.lifeboat(&["snapshot", "create", "aurora-1"])
        .await
        .assert_code(2)
        .assert_says(&["create-db-cluster-snapshot"]);
    let all =
        moto.lifeboat(&["policy", "set", "--all", "--retention-days", "9", "--dry-run", "--json"]).await;
    all.assert_says(&["`orders-replica` was skipped", "`aurora-1` was skipped"]);
    assert_eq!(all.json()["databases"].as_array().unwrap().len(), 2, "{}", all.stdout);
    let check = moto.lifeboat(&["policy", "check", "--all", "--json"]).await.json();
    let of = |id: &str| {
        let databases = check["databases"].as_array().unwrap();
        databases.iter().find(|it| it["id"] == id).unwrap_or_else(|| panic!("{check:#}"))["notes"].to_string()
    };
    assert!(of("orders-replica").contains("whose backups count"), "{check:#}");
    assert!(of("aurora-1").contains("backed up as a whole"), "{check:#}");
}
