//! AWS's own clients, unchanged, against the local stack.

use tokio::process::Command;

use crate::support::{PASSWORD, World, aws_cli, wait};

#[tokio::test(flavor = "multi_thread")]
async fn boto3_and_psql_live_through_a_whole_life() {
    let world = World::new().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/life.py");
    let done = Command::new("python3")
        .arg(script)
        .arg(world.stack.endpoint())
        .arg(world.stack.ca_path())
        .output()
        .await
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "run `make setup` for boto3\n{stdout}\n{stderr}");
    assert_eq!(stdout.trim(), "a whole life");
}

async fn aws(world: &World, line: &str) -> (i32, String) {
    let words: Vec<&str> = std::iter::once("rds").chain(line.split_whitespace()).collect();
    aws_cli(&world.stack.endpoint(), &words).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_aws_cli_creates_changes_restores_and_deletes() {
    let world = World::new().await;
    let create = format!(
        "create-db-instance --db-instance-identifier orders --engine postgres --db-instance-class db.t3.micro \
         --allocated-storage 20 --master-username owner --master-user-password {PASSWORD} --db-name app \
         --query DBInstance.DBInstanceStatus --output text"
    );
    assert_eq!(aws(&world, &create).await, (0, "creating".into()));
    world.until_status("orders", "available").await;
    world.sql("orders", "app", "create table t as select generate_series(1, 7) as id").await;
    let modify = "modify-db-instance --db-instance-identifier orders --backup-retention-period 14 \
                  --preferred-backup-window 02:00-02:30 --preferred-maintenance-window sun:05:00-sun:05:30 --apply-immediately";
    assert_eq!(aws(&world, modify).await.0, 0);
    wait("the new retention", async || {
        aws(&world, "describe-db-instances --query DBInstances[0].BackupRetentionPeriod --output text")
            .await
            .1
            == "14"
    })
    .await;
    let snapshot = "create-db-snapshot --db-instance-identifier orders --db-snapshot-identifier s1";
    assert_eq!(aws(&world, snapshot).await.0, 0);
    wait("the snapshot", async || {
        aws(
            &world,
            "describe-db-snapshots --db-snapshot-identifier s1 --query DBSnapshots[0].Status --output text",
        )
        .await
        .1 == "available"
    })
    .await;
    let restore = "restore-db-instance-from-db-snapshot --db-instance-identifier orders-2 --db-snapshot-identifier s1 \
                   --db-instance-class db.t3.micro --no-publicly-accessible";
    assert_eq!(aws(&world, restore).await.0, 0);
    world.until_status("orders-2", "available").await;
    assert_eq!(world.sql("orders-2", "app", "select count(*) from t").await, "7");
    let (code, refusal) = aws(&world, "delete-db-instance --db-instance-identifier orders-2").await;
    assert!(code != 0 && refusal.contains("(InvalidParameterCombination)"), "{refusal}");
    assert_eq!(
        aws(&world, "delete-db-instance --db-instance-identifier orders-2 --skip-final-snapshot").await.0,
        0
    );
    wait("the end of orders-2", async || !world.instances().await.contains("orders-2")).await;
}
