//! CloudWatch and SNS of the local stack: any client works against them, and what an alarm says arrives.

use aws_sdk_cloudwatch::types::{ComparisonOperator, Dimension, MetricDatum, StateValue, Statistic};
use serde_json::Value;
use tokio::process::Command;

use crate::support::{REGION, World, aws_cli, wait};

/// Runs the AWS CLI and returns whether it succeeded, and what it printed.
pub(crate) async fn aws(world: &World, arguments: &[&str]) -> (bool, String) {
    let (code, text) = aws_cli(&world.stack.endpoint(), arguments).await;
    (code == 0, text)
}

/// The state of an alarm.
pub(crate) async fn state(world: &World, alarm: &str) -> String {
    let answer = world.cloudwatch.describe_alarms().alarm_names(alarm).send().await.unwrap();
    answer.metric_alarms().first().map_or("none", |alarm| alarm.state_value().unwrap().as_str()).to_owned()
}

pub(crate) async fn until_state(world: &World, alarm: &str, wanted: &str) {
    wait(&format!("{alarm} to be {wanted}"), async || state(world, alarm).await == wanted).await;
}

/// What came out at a queue: the texts of the messages.
pub(crate) async fn queue(world: &World, name: &str) -> Vec<Value> {
    let messages = world.control("GET", &format!("queues/{name}"), Value::Null).await;
    let read = |message: &Value| {
        let envelope: Value = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
        let text = envelope["Message"].as_str().unwrap();
        serde_json::from_str(text).unwrap_or_else(|_| text.into())
    };
    messages.as_array().unwrap().iter().map(read).collect()
}

/// A topic whose messages come out at the queue of the same name.
pub(crate) async fn topic(world: &World, name: &str) -> String {
    let topic = world.sns.create_topic().name(name).send().await.unwrap().topic_arn.unwrap();
    let queue = format!("arn:aws:sqs:{REGION}:123456789012:{name}");
    world.sns.subscribe().topic_arn(&topic).protocol("sqs").endpoint(queue).send().await.unwrap();
    topic
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_puts_metrics_and_hears_alarms_and_events() {
    let world = World::new().await;
    world.create("orders").await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/watch.py");
    let done =
        Command::new("python3").args([script, &world.stack.endpoint(), "orders"]).output().await.unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "run `make setup` for boto3\n{stdout}\n{stderr}");
    assert_eq!(stdout.trim(), "watched and heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alarm_of_the_guide_never_leaves_insufficient_data() {
    let world = World::new().await;
    world.create("orders").await;
    let put = "cloudwatch put-metric-alarm --alarm-name backup-failed --metric-name SnapshotStorageUsed --namespace \
               AWS/RDS --statistic Average --period 86400 --evaluation-periods 1 --threshold 0 --comparison-operator \
               LessThanThreshold";
    let (ok, said) = aws(&world, &put.split_whitespace().collect::<Vec<_>>()).await;
    assert!(ok, "{said}");
    // Backups end, a day passes, the instance goes.
    world
        .rds
        .modify_db_instance()
        .db_instance_identifier("orders")
        .backup_retention_period(0)
        .apply_immediately(true)
        .send()
        .await
        .unwrap();
    for _ in 0..3 {
        world.advance_clock(86_400).await;
        world.until_status("orders", "available").await;
    }
    // The watch has seen this day: an alarm that can fire does.
    let control = "cloudwatch put-metric-alarm --alarm-name control --metric-name SnapshotStorageUsed --namespace AWS/RDS \
                   --statistic Average --period 60 --evaluation-periods 1 --threshold 0 --comparison-operator \
                   LessThanThreshold --treat-missing-data breaching";
    assert!(aws(&world, &control.split_whitespace().collect::<Vec<_>>()).await.0);
    until_state(&world, "control", "ALARM").await;
    assert_eq!(state(&world, "backup-failed").await, "INSUFFICIENT_DATA");
    let history =
        aws(&world, &["cloudwatch", "describe-alarm-history", "--alarm-name", "backup-failed"]).await.1;
    assert!(!history.contains("StateUpdate"), "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_sdk_puts_data_and_an_alarm_fires_into_a_queue() {
    let world = World::new().await;
    let topic = topic(&world, "pager").await;
    let dimension = Dimension::builder().name("DBInstanceIdentifier").value("orders").build();
    world
        .cloudwatch
        .put_metric_alarm()
        .alarm_name("lag")
        .namespace("Lifeboat")
        .metric_name("RestorePointLagSeconds")
        .dimensions(dimension.clone())
        .statistic(Statistic::Maximum)
        .period(60)
        .evaluation_periods(1)
        .threshold(1800.0)
        .comparison_operator(ComparisonOperator::GreaterThanThreshold)
        .alarm_actions(&topic)
        .send()
        .await
        .unwrap();
    assert_eq!(state(&world, "lag").await, "INSUFFICIENT_DATA");
    let datum =
        MetricDatum::builder().metric_name("RestorePointLagSeconds").dimensions(dimension).value(2000.0);
    world.cloudwatch.put_metric_data().namespace("Lifeboat").metric_data(datum.build()).send().await.unwrap();
    until_state(&world, "lag", "ALARM").await;
    wait("the message", async || {
        queue(&world, "pager").await.iter().any(|message| message["AlarmName"] == "lag")
    })
    .await;
    // What was done is written down after it was done.
    let history = async || world.cloudwatch.describe_alarm_history().alarm_name("lag").send().await.unwrap();
    wait("the action in the history", async || history().await.alarm_history_items().len() >= 3).await;
    assert_eq!(history().await.alarm_history_items().len(), 3, "{:?}", history().await);
    let missing = world
        .cloudwatch
        .set_alarm_state()
        .alarm_name("nobody")
        .state_value(StateValue::Ok)
        .state_reason("try")
        .send()
        .await
        .unwrap_err();
    assert!(missing.into_service_error().is_resource_not_found());
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_topics_and_metrics_survive_a_stop_of_the_stack() {
    let directory = tempfile::tempdir().unwrap();
    let options = || lifeboat_localstack::Options {
        data: Some(directory.path().join("stack")),
        ..lifeboat_localstack::Options::default()
    };
    let stack = lifeboat_localstack::Stack::start(options()).await.unwrap();
    let said = |stack: &lifeboat_localstack::Stack, line: &str| {
        let endpoint = stack.endpoint();
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        async move {
            let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let (code, text) = aws_cli(&endpoint, &words).await;
            assert_eq!(code, 0, "{text}");
            text
        }
    };
    said(&stack, "sns create-topic --name ops").await;
    said(&stack, "cloudwatch put-metric-data --namespace N --metric-name M --value 7").await;
    said(
        &stack,
        "cloudwatch put-metric-alarm --alarm-name a --namespace N --metric-name M --statistic Sum --period 3600 \
         --evaluation-periods 1 --threshold 5 --comparison-operator GreaterThanThreshold",
    )
    .await;
    stack.stop().await;
    let stack = lifeboat_localstack::Stack::start(options()).await.unwrap();
    assert!(said(&stack, "sns list-topics").await.contains(":ops"));
    wait("the alarm to be evaluated", async || {
        said(&stack, "cloudwatch describe-alarms").await.contains("\"StateValue\": \"ALARM\"")
    })
    .await;
    stack.stop().await;
}
