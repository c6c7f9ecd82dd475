//! `lifeboat alarms`: what should be there, what differs, and that it arrives.

use serde_json::{Value, json};

use crate::support::{REGION, Run, World, root, wait};
use crate::watch::{aws, queue, state, topic, until_state};

/// A world with an instance, a topic `ops` whose messages come out at the queue `ops`, and a configuration of few kinds.
async fn world() -> World {
    let world = World::new().await;
    world.create("orders").await;
    topic(&world, "ops").await;
    configure(&world, &["backup-age", "backup-failure", "monitor", "storage"], "");
    world
}

/// Only these kinds, so that a test need not wait for all the puts.
fn configure(world: &World, kinds: &[&str], more: &str) {
    const ALL: &str = "backup-age backup-failure monitor storage storage-warning wal-disk replication-slot transaction-ids \
                       connections cpu load memory read-latency write-latency ebs-throughput ebs-io replica-lag \
                       burst-balance cpu-credits";
    let mut text = "[alarms]\ntopic = \"ops\"\n".to_owned();
    for kind in ALL.split_whitespace().filter(|kind| !kinds.contains(kind)) {
        text.push_str(&format!("kinds.{kind}.enabled = false\n"));
    }
    world.write("lifeboat.toml", &(text + more));
}

async fn alarms(world: &World, arguments: &[&str]) -> Run {
    world.lifeboat(&[&["alarms"], arguments].concat()).await
}

/// Publishes how the backups are; the exit code says whether they are well.
async fn publish(world: &World, code: i32, arguments: &[&str]) -> Run {
    let run = world.lifeboat(&[&["status", "orders", "--publish"], arguments].concat()).await;
    run.assert_code(code);
    run
}

/// The change that a plan has for an alarm.
#[track_caller]
fn change(run: &Run, name: &str) -> Value {
    let report = run.json();
    let found = report["changes"].as_array().unwrap().iter().find(|change| change["alarm"] == name).cloned();
    found.unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

#[track_caller]
fn field(change: &Value, name: &str) -> (String, String) {
    let found = change["fields"].as_array().unwrap().iter().find(|field| field["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no {name} in {change:#}"));
    (found["before"].as_str().unwrap().to_owned(), found["after"].as_str().unwrap().to_owned())
}

/// Codes of what the audit finds, by the name of the alarm.
#[track_caller]
fn codes(audit: &Value, name: &str) -> Vec<String> {
    let found = audit["alarms"].as_array().unwrap().iter().find(|alarm| alarm["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no {name} in {audit:#}"));
    found["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["code"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_sets_every_alarm_and_changes_nothing_the_second_time() {
    let world = World::new().await;
    world.create("orders").await;
    topic(&world, "ops").await;
    let plan = alarms(&world, &["plan", "orders", "--topic", "ops", "--json"]).await;
    plan.assert_code(1);
    let report = plan.json();
    assert_eq!(report["schema"], "lifeboat.alarms/1");
    assert!(report["monthly_cost_usd"].as_f64().unwrap() > 2.0, "{report:#}");
    let storage = change(&plan, "lifeboat/orders/storage");
    assert_eq!(
        (storage["action"].as_str(), storage["threshold_from"].as_str()),
        (Some("create"), Some("10% of 20 GiB allocated"))
    );
    assert_eq!(world.calls("PutMetricAlarm").await, 0, "a plan changes nothing");

    let first = alarms(&world, &["apply", "orders", "--topic", "ops", "--json"]).await;
    first.assert_code(0);
    let made = first.json()["applied"].as_u64().unwrap();
    let puts = world.calls("PutMetricAlarm").await;
    assert!(made as usize > puts && puts > 10, "{made} {puts}");
    alarms(&world, &["apply", "orders", "--topic", "ops"]).await.assert_code(0);
    alarms(&world, &["plan", "orders", "--topic", "ops"]).await.assert_code(0);
    assert_eq!(world.calls("PutMetricAlarm").await, puts, "the second time nothing is set");

    // Three a second, whatever the account allows; a slow machine notes the first some time after it was sent.
    let log = world.control("GET", "calls", Value::Null).await;
    let times: Vec<chrono::DateTime<chrono::Utc>> = log
        .as_array()
        .unwrap()
        .iter()
        .filter(|call| call["action"] == "PutMetricAlarm")
        .map(|call| call["time"].as_str().unwrap().parse().unwrap())
        .collect();
    let span = (times[times.len() - 1] - times[0]).as_seconds_f64();
    assert!((times.len() - 1) as f64 / (span + 1.5) <= 3.0, "{} puts in {span} s", times.len());

    // None of what RDS measures by itself is left without data.
    let rds_alarms = |listed: &Value| {
        let all = listed["alarms"].as_array().unwrap().clone();
        all.into_iter()
            .filter(|alarm| !alarm["rule"].as_str().unwrap().contains("or no data"))
            .collect::<Vec<_>>()
    };
    wait("every alarm to be evaluated", async || {
        let listed = alarms(&world, &["list", "--json"]).await.json();
        rds_alarms(&listed).iter().all(|alarm| alarm["state"] == "OK")
    })
    .await;

    alarms(&world, &["remove", "orders"]).await.assert_code(4).assert_says(&["--confirm orders"]);
    let mine = "cloudwatch put-metric-alarm --alarm-name lifeboat/orders/mine --metric-name M --namespace N --statistic Sum \
                --period 60 --evaluation-periods 1 --threshold 1 --comparison-operator GreaterThanThreshold";
    assert!(aws(&world, &mine.split_whitespace().collect::<Vec<_>>()).await.0);
    let removed = alarms(&world, &["remove", "orders", "--confirm", "orders"]).await;
    removed.assert_code(0);
    assert!(removed.stdout.contains("`lifeboat/orders/mine` kept"), "{}", removed.stdout);
    let left = world.cloudwatch.describe_alarms().send().await.unwrap();
    let left: Vec<_> = left.metric_alarms().iter().filter_map(|alarm| alarm.alarm_name()).collect();
    assert_eq!(left, ["lifeboat/orders/mine"]);
    let events = world.rds.describe_event_subscriptions().send().await.unwrap();
    assert!(
        !events
            .event_subscriptions_list()
            .iter()
            .any(|one| one.cust_subscription_id() == Some("lifeboat-ops-db-instance"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_shows_what_someone_changed_and_what_storage_now_asks_for() {
    let world = world().await;
    alarms(&world, &["apply", "orders"]).await.assert_code(0);
    // By hand: another threshold, no actions, a tag.
    let by_hand = "cloudwatch put-metric-alarm --alarm-name lifeboat/orders/storage --metric-name FreeStorageSpace --namespace \
                   AWS/RDS --dimensions Name=DBInstanceIdentifier,Value=orders --statistic Minimum --period 60 \
                   --evaluation-periods 5 --threshold 10 --comparison-operator LessThanThreshold";
    assert!(aws(&world, &by_hand.split_whitespace().collect::<Vec<_>>()).await.0);
    let plan = alarms(&world, &["plan", "orders", "--json"]).await;
    plan.assert_code(1);
    let storage = change(&plan, "lifeboat/orders/storage");
    assert_eq!(field(&storage, "threshold"), ("10".into(), "2147483648".into()));
    assert!(field(&storage, "alarm_actions").1.ends_with(":ops"));
    let shown = alarms(&world, &["plan", "orders"]).await;
    assert!(shown.stdout.contains("threshold") && shown.stdout.contains("2147483648"), "{}", shown.stdout);
    alarms(&world, &["apply", "orders"]).await.assert_code(0);
    alarms(&world, &["plan", "orders"]).await.assert_code(0);

    // Storage doubled: the bytes follow.
    let modify = world.rds.modify_db_instance().db_instance_identifier("orders").allocated_storage(40);
    modify.apply_immediately(true).send().await.unwrap();
    wait("the storage", async || {
        let answer = world.rds.describe_db_instances().db_instance_identifier("orders").send().await.unwrap();
        answer.db_instances()[0].allocated_storage() == Some(40)
    })
    .await;
    let plan = alarms(&world, &["plan", "orders", "--json"]).await;
    plan.assert_code(1);
    assert_eq!(
        field(&change(&plan, "lifeboat/orders/storage"), "threshold"),
        ("2147483648".into(), "4294967296".into())
    );

    // Tags are set on an alarm that exists, where a put would leave them out; a tag of someone else stays.
    let arn = format!("arn:aws:cloudwatch:{REGION}:123456789012:alarm:lifeboat/orders/storage");
    let tag = ["cloudwatch", "tag-resource", "--resource-arn", &arn, "--tags", "Key=theirs,Value=1"];
    assert!(aws(&world, &tag).await.0);
    configure(&world, &["backup-age", "storage"], "tags.team = \"payments\"\n");
    alarms(&world, &["apply", "orders"]).await.assert_code(0);
    let tags = aws(&world, &["cloudwatch", "list-tags-for-resource", "--resource-arn", &arn]).await.1;
    assert!(tags.contains("payments") && tags.contains("theirs"), "{tags}");
    // Kinds that were switched off are gone.
    assert_eq!(state(&world, "lifeboat/orders/monitor").await, "none");
    alarms(&world, &["plan", "orders"]).await.assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_does_not_come_is_heard_of() {
    let world = world().await;
    alarms(&world, &["apply", "orders"]).await.assert_code(0);
    publish(&world, 0, &[]).await.assert_says(&["published in namespace Lifeboat"]);
    for name in ["backup-age", "backup-failure", "monitor"] {
        // One good point in four is not yet four bad ones.
        until_state(&world, &format!("lifeboat/orders/{name}"), "OK").await;
    }
    world.snapshot("orders", "the-last-one").await;
    let off = world.rds.modify_db_instance().db_instance_identifier("orders").backup_retention_period(0);
    off.apply_immediately(true).send().await.unwrap();
    world.until_status("orders", "available").await;
    wait("the event of switched-off backups", async || {
        queue(&world, "ops")
            .await
            .iter()
            .any(|one| one["Event ID"].as_str().is_some_and(|id| id.contains("0028")))
    })
    .await;
    world.advance_clock(27 * 3600).await;
    // Silence is enough for the alarm.
    until_state(&world, "lifeboat/orders/backup-age", "ALARM").await;
    wait("the notice", async || {
        queue(&world, "ops").await.iter().any(|one| {
            one["AlarmName"] == "lifeboat/orders/backup-age"
                && one["NewStateValue"] == "ALARM"
                && one["AlarmDescription"].as_str().unwrap().contains("lifeboat snapshot create")
        })
    })
    .await;
    // And so is an age: the publisher lives, the backup does not.
    for _ in 0..6 {
        publish(&world, 1, &[]).await.assert_code(1);
        world.advance_clock(900).await;
    }
    let report = publish(&world, 1, &["--json"]).await.json();
    let age = report["databases"][0]["newest_manual"]["age_seconds"].as_f64();
    assert!(age.unwrap() > 28.0 * 3600.0, "{report:#}");
    until_state(&world, "lifeboat/orders/monitor", "OK").await;
    assert_eq!(state(&world, "lifeboat/orders/backup-age").await, "ALARM");
    assert_eq!(state(&world, "lifeboat/orders/backup-failure").await, "ALARM");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_fill_the_disk_until_the_storage_alarm_goes_off() {
    let world = world().await;
    alarms(&world, &["apply", "orders"]).await.assert_code(0);
    // 20 GiB, of which something else leaves a tenth and a little; the rows are real.
    let taken = json!({ "instance": "orders", "taken_bytes": 18.0 * 1024.0 * 1024.0 * 1024.0 - 110e6 });
    world.control("POST", "storage", taken).await;
    for seconds in [600, 60] {
        world.advance_clock(seconds).await;
    }
    until_state(&world, "lifeboat/orders/storage", "OK").await;
    let rows = "create table filler as select repeat(md5(n::text), 30) from generate_series(1, 100000) n";
    world.sql("orders", "app", rows).await;
    for seconds in [600, 600, 60] {
        world.advance_clock(seconds).await;
    }
    until_state(&world, "lifeboat/orders/storage", "ALARM").await;
    let arrived =
        async || queue(&world, "ops").await.iter().any(|one| one["AlarmName"] == "lifeboat/orders/storage");
    wait("the notice", arrived).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_stops_is_heard_of_and_tells_its_switch_and_prometheus() {
    let world = world().await;
    alarms(&world, &["apply", "orders"]).await.assert_code(0);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ping = format!("http://{}/canary-uuid", listener.local_addr().unwrap());
    let heard = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut heard = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await
                .unwrap();
            heard.push(String::from_utf8_lossy(&request[..length]).lines().next().unwrap().to_owned());
        }
        heard
    });
    publish(&world, 0, &["--ping", &ping, "--textfile", "lifeboat.prom"]).await.assert_code(0);
    assert_eq!(heard.await.unwrap(), ["POST /canary-uuid/start HTTP/1.1", "POST /canary-uuid HTTP/1.1"]);
    let text = std::fs::read_to_string(world.path("lifeboat.prom")).unwrap();
    assert!(text.contains("lifeboat_newest_automated_age_seconds{database=\"orders\""), "{text}");
    until_state(&world, "lifeboat/orders/monitor", "OK").await;
    world.advance_clock(2 * 3600).await;
    until_state(&world, "lifeboat/orders/monitor", "ALARM").await;
    wait("the notice", async || {
        queue(&world, "ops")
            .await
            .iter()
            .any(|one| one["AlarmName"] == "lifeboat/orders/monitor" && one["NewStateValue"] == "ALARM")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_follows_an_alarm_to_its_end_and_puts_the_state_back() {
    let world = world().await;
    configure(&world, &["storage"], "");
    alarms(&world, &["apply", "orders"]).await.assert_code(0);
    let name = "lifeboat/orders/storage";
    until_state(&world, name, "OK").await;
    let inbox = |queue: &str| format!("{}/_control/queues/{queue}", world.stack.endpoint());
    let pass = alarms(&world, &["test", name, "--inbox", &inbox("ops"), "--json"]).await;
    pass.assert_code(0);
    let report = pass.json();
    assert_eq!(
        (report["verdict"].as_str(), report["arrived"].as_bool()),
        (Some("pass"), Some(true)),
        "{report:#}"
    );
    assert_eq!(state(&world, name).await, "OK");
    let lost = alarms(&world, &["test", name, "--inbox", &inbox("nowhere"), "--wait", "3s"]).await;
    lost.assert_code(1);
    assert!(lost.stdout.contains("not arrived"), "{}", lost.stdout);
    // A topic that CloudWatch may not use: the history says so.
    let topic = format!("arn:aws:sns:{REGION}:123456789012:ops");
    world
        .sns
        .set_topic_attributes()
        .topic_arn(&topic)
        .attribute_name("KmsMasterKeyId")
        .attribute_value("alias/aws/sns")
        .send()
        .await
        .unwrap();
    let shut_out = alarms(&world, &["test", name, "--wait", "10s"]).await;
    shut_out.assert_code(1);
    assert!(shut_out.stdout.contains("Failed to execute action"), "{}", shut_out.stdout);
    assert_eq!(state(&world, name).await, "OK");
    alarms(&world, &["test", "nobody"]).await.assert_code(2).assert_says(&["there is no alarm `nobody`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_before_anything_is_changed() {
    let world = world().await;
    let other_region = "arn:aws:sns:us-west-2:123456789012:ops";
    for (topic, words) in [
        ("nobody", "`arn:aws:sns:eu-central-1:123456789012:nobody` does not exist"),
        ("ops.fifo", "FIFO"),
        ("arn:aws:sns:eu-central-1:123456789012:ops.fifo", "FIFO"),
        (other_region, "is in us-west-2"),
        ("arn:aws:sqs:eu-central-1:123456789012:ops", "is not the ARN of an SNS topic"),
        ("not a name", "is not the name of an SNS topic"),
    ] {
        alarms(&world, &["apply", "orders", "--topic", topic]).await.assert_code(2).assert_says(&[words]);
    }
    for (line, words) in [
        ("kinds.storage.threshold = \"120%\"", "at most 100"),
        ("kinds.storage.threshold = 10", "percent or bytes"),
        ("kinds.storge.enabled = true", "Did you mean `storage`?"),
        ("kinds.cpu.period = \"90s\"", "multiples of 60"),
        ("kinds.cpu.period = \"30m\"\nkinds.cpu.evaluation_periods = 49", "more than a day"),
        ("kinds.cpu.period = \"1d\"\nkinds.cpu.evaluation_periods = 8", "more than seven days"),
        ("kinds.cpu.datapoints_to_alarm = 9", "9 of 5 periods"),
        ("kinds.cpu.treshold = 9", "treshold"),
    ] {
        world.write("lifeboat.toml", &format!("[alarms]\ntopic = \"ops\"\n{line}\n"));
        alarms(&world, &["apply", "orders"]).await.assert_code(2).assert_says(&[words]);
        alarms(&world, &["plan", "orders"]).await.assert_code(2);
    }
    world.write("lifeboat.toml", "");
    alarms(&world, &["plan", "orders"]).await.assert_code(2).assert_says(&["no topic is given", "--topic"]);
    alarms(&world, &["plan"]).await.assert_code(2).assert_says(&["no database is named", "--all"]);
    alarms(&world, &["plan", "nobody", "--topic", "ops"]).await.assert_code(2).assert_says(&["`nobody`"]);
    alarms(&world, &["test", "x", "--inbox", "ftp://x"]).await.assert_code(2).assert_says(&["is not a URL"]);
    assert_eq!(world.calls("PutMetricAlarm").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn teams_hear_of_their_own_databases_and_an_interrupted_apply_goes_on() {
    let world = world().await;
    world.create("billing").await;
    topic(&world, "payments").await;
    let tag = world.rds.add_tags_to_resource();
    let arn = format!("arn:aws:rds:{REGION}:123456789012:db:billing");
    tag.resource_name(arn)
        .tags(aws_sdk_rds::types::Tag::builder().key("team").value("money").build())
        .send()
        .await
        .unwrap();
    configure(
        &world,
        &["backup-age", "backup-failure", "monitor", "storage", "cpu", "memory"],
        "team_tag = \"team\"\ntopics.money = \"payments\"\n[databases.orders.alarms]\nkinds.storage.threshold = \"15%\"\n",
    );
    // So slowly that it is met on its way.
    world.fault("PutMetricAlarm", json!({"fault": "slow", "seconds": 2})).await;
    let started = world.command(&["alarms", "apply", "--all", "--json"]).spawn().unwrap();
    wait("the first alarms", async || world.calls("PutMetricAlarm").await >= 4).await;
    let process = started.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &process]).status().unwrap().success());
    let stopped = crate::support::finish(started).await;
    stopped.assert_code(130);
    let done = stopped.json()["applied"].as_u64().unwrap();
    assert!((3..12).contains(&done), "{done}");
    world.control("DELETE", "faults", Value::Null).await;
    let goes_on = alarms(&world, &["apply", "--all", "--json"]).await;
    goes_on.assert_code(0);
    assert_eq!(goes_on.json()["left"], 0);
    alarms(&world, &["plan", "--all"]).await.assert_code(0);
    let answer = world.cloudwatch.describe_alarms().alarm_name_prefix("lifeboat/").send().await.unwrap();
    assert_eq!(answer.metric_alarms().len(), 12);
    for alarm in answer.metric_alarms() {
        let of_team = if alarm.alarm_name().unwrap().contains("billing") { ":payments" } else { ":ops" };
        assert!(alarm.alarm_actions()[0].ends_with(of_team), "{alarm:?}");
    }
    let storage =
        answer.metric_alarms().iter().find(|one| one.alarm_name() == Some("lifeboat/orders/storage"));
    assert_eq!(storage.unwrap().threshold(), Some(0.15 * 20.0 * 1024.0 * 1024.0 * 1024.0));
}

/// Good and broken alarms, the broken ones in ways that people really broke them.
#[tokio::test(flavor = "multi_thread")]
async fn the_audit_finds_every_broken_alarm_of_a_corpus_and_accuses_no_good_one() {
    let world = World::new().await;
    world.create("orders").await;
    let others = [
        "--db-instance-identifier third --engine mysql --storage-type gp3 --allocated-storage 20 --master-username owner \
         --master-user-password secret1234 --db-instance-class db.m6g.large",
        "--db-instance-identifier aurora-1 --engine aurora-postgresql --db-cluster-identifier c --db-instance-class \
         db.r6g.large",
    ];
    for arguments in others {
        let line = format!("rds create-db-instance {arguments}");
        let (ok, said) = aws(&world, &line.split_whitespace().collect::<Vec<_>>()).await;
        assert!(ok, "{said}");
    }
    topic(&world, "ops").await;
    prepare_topics(&world).await;
    let corpus = include_str!("alarms/corpus.json");
    let corpus: Vec<Value> = serde_json::from_str(corpus).unwrap();
    assert!(corpus.len() >= 40, "{}", corpus.len());
    let root = root().display();
    let put = tokio::process::Command::new("python3")
        .arg(format!("{root}/tests/clients/put_alarms.py"))
        .arg(world.stack.endpoint())
        .arg(format!("{root}/tests/it/alarms/corpus.json"))
        .output()
        .await
        .unwrap();
    assert!(put.status.success(), "{}", String::from_utf8_lossy(&put.stderr));
    wait("the instance to be measured", async || state(&world, "good-cpu").await == "OK").await;
    publish(&world, 0, &[]).await.assert_code(0);
    let audit = async || alarms(&world, &["audit", "--json"]).await.assert_code(1).json();
    // Until an alarm has gone off, nothing shows whether the key of its topic lets CloudWatch in.
    let before = audit().await;
    assert_eq!(
        before["unknown"].to_string().matches("may not allow CloudWatch to use it").count(),
        2,
        "{before:#}"
    );
    for name in ["key-of-a-team-shuts-out", "good-key-of-a-team"] {
        let off = world.cloudwatch.set_alarm_state().alarm_name(name).state_value("ALARM".into());
        off.state_reason("a trial").send().await.unwrap();
    }
    wait("the actions", async || audit().await["unknown"].as_array().unwrap().is_empty()).await;
    let audit = audit().await;
    let mut wrong = Vec::new();
    for alarm in &corpus {
        let name = alarm["name"].as_str().unwrap();
        let found = codes(&audit, name);
        let expected: Vec<&str> =
            alarm["faults"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let is_right = if expected.is_empty() {
            found.is_empty()
        } else {
            expected.iter().all(|code| found.iter().any(|found| found == code))
        };
        if !is_right {
            wrong.push(format!("{name}: expected {expected:?}, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The guide's alarm: its six faults.
    assert_eq!(codes(&audit, "guide").len(), 6, "{:?}", codes(&audit, "guide"));
    // Somebody watches `orders`, but nobody hears its events.
    assert_eq!(audit["unwatched"], json!(["aurora-1", "third"]));
    let gaps = audit["gaps"].as_array().unwrap();
    let lacks = |id: &str| gaps.iter().find(|gap| gap["database"] == id).unwrap()["lacks"].clone();
    assert_eq!(lacks("orders"), json!(["events"]));
    assert_eq!(lacks("third"), json!(["backups", "storage", "events"]));
}

/// Topics where nothing arrives.
async fn prepare_topics(world: &World) {
    for name in ["silent", "shut", "keyed", "pending", "sealed", "locked"] {
        world.sns.create_topic().name(name).send().await.unwrap();
    }
    topic(world, "shut").await;
    for name in ["keyed", "sealed", "locked"] {
        topic(world, name).await;
    }
    let arn = |name: &str| format!("arn:aws:sns:{REGION}:123456789012:{name}");
    let set = |name: &str, attribute: &str, value: &str| {
        let call = world.sns.set_topic_attributes().topic_arn(arn(name));
        call.attribute_name(attribute).attribute_value(value).send()
    };
    let policy = r#"{"Statement": [{"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sns:Publish", "Resource": "*"}]}"#;
    set("shut", "Policy", policy).await.unwrap();
    set("keyed", "KmsMasterKeyId", "alias/aws/sns").await.unwrap();
    set("sealed", "KmsMasterKeyId", "alias/team-without-services").await.unwrap();
    set("locked", "KmsMasterKeyId", "alias/team").await.unwrap();
    let mail = world.sns.subscribe().topic_arn(arn("pending")).protocol("email").endpoint("a@example.com");
    mail.send().await.unwrap();
    world.sns.create_topic().name("fifo.fifo").attributes("FifoTopic", "true").send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_reads_the_rules_of_composite_alarms_as_cloudwatch_does() {
    let world = World::new().await;
    world.create("orders").await;
    let ops = topic(&world, "ops").await;
    let names = ["High CPU (prod)", r#"say "hi", \ (now)"#, "plain", "of the inner one"];
    for name in names {
        let put = world.cloudwatch.put_metric_alarm().alarm_name(name).namespace("AWS/RDS");
        let of = aws_sdk_cloudwatch::types::Dimension::builder().name("DBInstanceIdentifier").value("orders");
        let put = put.metric_name("CPUUtilization").dimensions(of.build()).period(60).evaluation_periods(3);
        let put = put.statistic(aws_sdk_cloudwatch::types::Statistic::Average).threshold(90.0);
        let above = aws_sdk_cloudwatch::types::ComparisonOperator::GreaterThanThreshold;
        put.comparison_operator(above).send().await.unwrap();
    }
    let composite = async |name: &str, rule: &str, acts: bool| {
        let put = world.cloudwatch.put_composite_alarm().alarm_name(name).alarm_rule(rule);
        let put = if acts { put.alarm_actions(&ops) } else { put };
        put.send().await.unwrap();
    };
    composite("quoted", r#"ALARM("High CPU (prod)") OR NOT OK("say \"hi\", \\ (now)")"#, true).await;
    composite("inner", r#"ALARM("of the inner one")"#, false).await;
    composite("quorum", r#"AT_LEAST(50%, NOT OK, (plain, "inner"))"#, true).await;
    let report = alarms(&world, &["audit", "--json"]).await.json();
    for name in names.into_iter().chain(["quoted", "inner", "quorum"]) {
        let found = codes(&report, name);
        let of_rule = ["impossible-comparison", "no-actions"];
        assert!(!found.iter().any(|code| of_rule.contains(&code.as_str())), "{name}: {found:?}");
    }
    // One that stands on nothing that pages has no actions all the same.
    composite("silent", "ALARM(plain)", false).await;
    assert_eq!(codes(&alarms(&world, &["audit", "--json"]).await.json(), "silent"), ["no-actions"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subscription_of_apply_names_no_category_and_an_older_one_is_widened() {
    let world = World::new().await;
    world.create("orders").await;
    let ops = topic(&world, "ops").await;
    let call = world.rds.create_event_subscription().subscription_name("lifeboat-ops-db-instance");
    let call = call.sns_topic_arn(&ops).source_type("db-instance").event_categories("backup");
    call.send().await.unwrap();
    let plan = alarms(&world, &["plan", "--all", "--topic", "ops", "--json"]).await;
    let categories = field(&change(&plan, "lifeboat-ops-db-instance"), "categories");
    assert_eq!(categories, ("backup".to_owned(), "all".to_owned()));
    alarms(&world, &["apply", "--all", "--topic", "ops"]).await.assert_code(0);
    let all = world.rds.describe_event_subscriptions().send().await.unwrap();
    let found = all
        .event_subscriptions_list()
        .iter()
        .find(|one| one.cust_subscription_id() == Some("lifeboat-ops-db-instance"))
        .unwrap();
    // Security Hub RDS.20 and Prowler's rds_instance_critical_event_subscription pass one that names none.
    assert!(found.event_categories_list().is_empty() && found.enabled() == Some(true), "{found:?}");
    alarms(&world, &["plan", "--all", "--topic", "ops"]).await.assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_judges_event_subscriptions_and_names_databases_that_nobody_watches() {
    let world = World::new().await;
    world.create("orders").await;
    let ops = topic(&world, "ops").await;
    let subscribe = async |name: &str, categories: &[&str]| {
        let call = world.rds.create_event_subscription().subscription_name(name).sns_topic_arn(&ops);
        let categories = categories.iter().map(|one| (*one).to_owned()).collect();
        call.source_type("db-instance").set_event_categories(Some(categories)).send().await.unwrap();
    };
    subscribe("module", &["failover", "failure", "low storage", "maintenance", "notification", "recovery"])
        .await;
    let audit = alarms(&world, &["audit", "--json"]).await;
    audit.assert_code(1);
    let report = audit.json();
    assert_eq!(codes(&report, "module"), ["categories-missing"]);
    assert_eq!(report["unwatched"], json!(["orders"]));
    // Together with another one nothing is missing.
    subscribe("rest", &["availability", "backup", "failure", "low storage"]).await;
    let report = alarms(&world, &["audit", "--json"]).await.json();
    assert_eq!((codes(&report, "module"), codes(&report, "rest")), (Vec::new(), Vec::new()));
    // Ours are sound as soon as someone measures.
    publish(&world, 0, &[]).await.assert_code(0);
    alarms(&world, &["apply", "orders", "--topic", "ops"]).await.assert_code(0);
    wait("the first measurements", async || state(&world, "lifeboat/orders/cpu").await == "OK").await;
    alarms(&world, &["audit"]).await.assert_code(0);
    world.sns.delete_topic().topic_arn(&ops).send().await.unwrap();
    let report = alarms(&world, &["audit", "--json"]).await.json();
    assert!(codes(&report, "module").contains(&"topic-not-found".to_owned()));
    assert_eq!(report["unwatched"], json!(["orders"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_any_backup_is_watched_by_the_alarm_that_says_so() {
    let world = world().await;
    let off = world.rds.modify_db_instance().db_instance_identifier("orders").backup_retention_period(0);
    off.apply_immediately(true).send().await.unwrap();
    wait("automated backups to be off and gone", async || {
        let report = world.lifeboat(&["status", "orders", "--json"]).await.json();
        report["databases"][0]["rpo"]["measured_seconds"].is_null()
    })
    .await;
    alarms(&world, &["apply", "orders", "--topic", "ops"]).await.assert_code(0);
    publish(&world, 1, &[]).await.assert_code(1);
    wait("the alarm on what is not published", async || {
        state(&world, "lifeboat/orders/backup-age").await == "ALARM"
    })
    .await;
    let report = alarms(&world, &["audit", "--json"]).await.json();
    for name in ["backup-age", "backup-failure", "monitor"] {
        assert_eq!(
            codes(&report, &format!("lifeboat/orders/{name}")),
            Vec::<String>::new(),
            "{name}: {report:#}"
        );
    }
    assert_eq!(report["unwatched"], json!([]), "{report:#}");
    assert_eq!(report["gaps"], json!([]), "{report:#}");
}
