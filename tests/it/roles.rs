//! The roles of `deploy/iam`: each may do what the tool was seen to do under it, and none of the ways around its bounds is open.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::authorization::{self, ACCOUNT, Tags, arn, asks, s3};
use crate::iam::{Ask, Decision, Policy};
use crate::stores::Bucket;
use crate::support::{World, root, wait};
use crate::watch::topic;

const BUCKET: &str = "backups";

/// A role, for the account and the bucket of the tests: as its README says, by replacing both.
fn role(name: &str) -> Policy {
    let file = root().join(format!("deploy/iam/{name}.json"));
    let text = std::fs::read_to_string(file).unwrap();
    Policy::parse(&text.replace("111122223333", ACCOUNT).replace("example-lifeboat-vault", BUCKET))
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The tags of a throwaway.
fn drill_tags() -> Tags {
    tags(&[
        ("lifeboat:purpose", "drill"),
        ("lifeboat:run", "20261122-080000-abcdef"),
        ("lifeboat:source", "orders-prod"),
        ("lifeboat:source-resource-id", "db-SOURCE"),
        ("lifeboat:expires", "2026-11-22T14:00:00Z"),
    ])
}

fn without(tags: &Tags, key: &str) -> Tags {
    tags.iter().filter(|(name, _)| *name != key).map(|(key, value)| (key.clone(), value.clone())).collect()
}

const DRILL: &str = "lifeboat-drill-orders-prod-20261122-abcdef";

/// The log of calls since it was last read.
async fn log(world: &World) -> Vec<Value> {
    let all = world.control("GET", "calls", Value::Null).await;
    world.control("DELETE", "calls", Value::Null).await;
    all.as_array().unwrap().clone()
}

/// Asserts that a role allows everything that was done, and that something was.
#[track_caller]
fn assert_enough(
    name: &str,
    calls: &[Value],
    objects: &[String],
    known: &mut BTreeMap<String, Tags>,
    must: &[&str],
) {
    let role = role(name);
    let done: Vec<&str> = calls.iter().map(|call| call["action"].as_str().unwrap()).collect();
    for action in must {
        assert!(done.contains(action), "{name}: {action} was not called: {done:?}");
    }
    for call in calls {
        let asked = asks(call, known);
        if !asked.is_empty() {
            let refused = role.refusals(&asked);
            assert!(refused.is_empty(), "{name} may not make this call: {call:#}\n{refused:#?}");
        }
    }
    for line in objects {
        let refused = role.refusals(&[s3(line)]);
        assert!(refused.is_empty(), "{name} may not make this request: {line}\n{refused:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_all_that_the_tool_was_seen_to_do_under_it() {
    let (world, bucket) = (World::with_orders().await, Bucket::start().await);
    let vault = bucket.url("");
    let orders = (arn("db", "orders-prod"), tags(&[("env", "prod")]));
    let mut known = BTreeMap::from([orders]);
    let run = async |code: i32, arguments: &[&str]| {
        let ended = world.lifeboat(&[arguments, &["--vault", &vault]].concat()).await;
        ended.assert_code(code);
        ended
    };
    log(&world).await;

    let create =
        ["snapshot", "create", "orders-prod", "--baseline", "--idempotency-key", "k", "--poll", "200ms"];
    let _ = run(0, &create).await;
    let must = ["CreateDBSnapshot", "AddTagsToResource"];
    assert_enough("snapshot", &log(&world).await, &bucket.requests(), &mut known, &must);

    for from in ["latest-snapshot", "latest"] {
        let _ = run(0, &["drill", "run", "orders-prod", "--from", from, "--poll", "200ms"]).await;
    }
    let must = [
        "RestoreDBInstanceFromDBSnapshot",
        "RestoreDBInstanceToPointInTime",
        "ModifyDBInstance",
        "DeleteDBInstance",
        "CreateDBParameterGroup",
        "ModifyDBParameterGroup",
        "DeleteDBParameterGroup",
    ];
    assert_enough("drill", &log(&world).await, &bucket.requests(), &mut known, &must);

    // A drill that dies, and the sweeper.
    let arguments = ["drill", "run", "orders-prod", "--poll", "200ms", "--vault", &vault];
    let mut dying = world.command(&arguments).spawn().unwrap();
    wait("the throwaway", async || world.instances().await.len() == 2).await;
    dying.kill().await.unwrap();
    bucket.settled().await;
    let made = log(&world).await;
    let _ = bucket.requests();
    for call in made.iter().filter(|call| call["service"] == "rds") {
        let _ = asks(call, &mut known);
    }
    // Its lock is free when it was not renewed for half a minute.
    bucket.advance(60);
    let _ = run(0, &["drill", "sweep", "--poll", "200ms"]).await;
    world.assert_only(&["orders-prod"]).await;
    assert_enough(
        "sweeper",
        &log(&world).await,
        &bucket.requests(),
        &mut known,
        &["DeleteDBInstance", "DeleteDBParameterGroup"],
    );

    topic(&world, "ops").await;
    log(&world).await;
    let _ = world.lifeboat(&["status", "--all", "--publish", "--vault", &vault]).await;
    let seen = log(&world).await;
    assert_enough("status", &seen, &bucket.requests(), &mut known, &["PutMetricData"]);

    let only: String = [
        "wal-disk",
        "replication-slot",
        "transaction-ids",
        "connections",
        "cpu",
        "load",
        "memory",
        "read-latency",
    ]
    .iter()
    .chain(&[
        "write-latency",
        "ebs-throughput",
        "ebs-io",
        "storage-warning",
        "storage",
        "backup-failure",
        "burst-balance",
    ])
    .map(|kind| format!("kinds.{kind}.enabled = false\n"))
    .collect();
    world.write("lifeboat.toml", &format!("[alarms]\n{only}"));
    let _ = run(0, &["alarms", "apply", "--all", "--topic", "ops"]).await;
    let _ = world.lifeboat(&["alarms", "audit"]).await;
    let _ = run(0, &["alarms", "list"]).await;
    let _ = run(0, &["alarms", "remove", "orders-prod", "--confirm", "orders-prod"]).await;
    let must = ["PutMetricAlarm", "CreateEventSubscription", "DeleteAlarms", "DescribeAlarms"];
    assert_enough("alarms", &log(&world).await, &[], &mut known, &must);

    let _ = run(0, &["snapshot", "archive", "orders-prod", "--poll", "200ms"]).await;
    let mut seen = log(&world).await;
    // The newest one stays, whatever its age: another one is, by the time that the first has expired.
    world.advance_clock(40 * 86400).await;
    let _ = run(0, &["snapshot", "create", "orders-prod", "--poll", "200ms"]).await;
    log(&world).await;
    world.advance_clock(3600).await;
    let _ = bucket.requests();
    // Of a vault that knows of no drill: what one has proven stays.
    let pruned = world.lifeboat(&["snapshot", "prune", "--json", "--vault", &bucket.url("elsewhere")]).await;
    let pruned = pruned.assert_code(0).json();
    assert_ne!(pruned["deleted"], json!([]), "{pruned:#}");
    seen.extend(log(&world).await);
    let must = ["CopyDBSnapshot", "DeleteDBSnapshot"];
    assert_enough("retention", &seen, &bucket.requests(), &mut known, &must);

    let _ = world.lifeboat(&["status", "--vault", &vault]).await;
    let _ = world.lifeboat(&["policy", "check"]).await;
    let _ = run(0, &["snapshot", "list"]).await;
    let _ = run(0, &["restore", "window", "orders-prod"]).await;
    let _ = world.lifeboat(&["alarms", "plan", "--all", "--topic", "ops"]).await;
    let _ = run(0, &["drill", "run", "orders-prod", "--dry-run"]).await;
    let seen = log(&world).await;
    let objects: Vec<String> = bucket.requests();
    let objects: Vec<String> = objects.into_iter().filter(|line| !line.starts_with("PUT")).collect();
    assert_enough("read-only", &seen, &objects, &mut known, &["DescribeDBInstances"]);
}

/// Asserts that a call is refused, and by an explicit deny where there has to be one.
#[track_caller]
fn assert_refused(role: &Policy, attack: &str, asks: &[Ask]) -> Vec<Decision> {
    let refused = role.refusals(asks);
    assert!(!refused.is_empty(), "{attack} is allowed: {asks:#?}");
    refused.into_iter().map(|(_, decision)| decision).collect()
}

fn one(action: &str, resource: &str) -> [Ask; 1] {
    [Ask::new(action, resource)]
}

#[test]
fn the_drill_role_restores_into_tags_changes_and_removes_a_throwaway() {
    let role = role("drill");
    let snapshot = [arn("snapshot", "rds:orders-prod-2026-11-22-03-00")];
    let moment = [arn("auto-backup", "ab-xyz"), arn("db", "orders-prod")];
    for asks in [
        authorization::restore(
            "rds:RestoreDBInstanceFromDBSnapshot",
            DRILL,
            &snapshot,
            &drill_tags(),
            Some("false"),
        ),
        authorization::restore("rds:RestoreDBInstanceToPointInTime", DRILL, &moment, &drill_tags(), None),
        vec![Ask::new("rds:ModifyDBInstance", &arn("db", DRILL)).on(&drill_tags())],
        vec![Ask::new("rds:DeleteDBInstance", &arn("db", DRILL)).on(&drill_tags())],
        vec![Ask::new("rds:CreateDBParameterGroup", &arn("pg", DRILL)).bringing(&drill_tags())],
        vec![Ask::new("rds:ModifyDBParameterGroup", &arn("pg", DRILL)).on(&drill_tags())],
        vec![Ask::new("rds:DeleteDBParameterGroup", &arn("pg", DRILL)).on(&drill_tags())],
    ] {
        assert_eq!(role.refusals(&asks).len(), 0, "{asks:#?}: {:#?}", role.refusals(&asks));
    }
}

#[test]
fn no_role_can_delete_or_change_what_no_drill_made() {
    let production = tags(&[("env", "prod")]);
    let foreign = tags(&[("lifeboat:purpose", "restore")]);
    let objects = [
        ("production", "orders-prod", &production),
        ("production that is tagged as a drill", "orders-prod", &drill_tags()),
        ("a name of a drill without tags", DRILL, &Tags::new()),
        ("a name of a drill with the tags of something else", DRILL, &foreign),
        ("a name that only looks like one", "my-lifeboat-drill-x", &drill_tags()),
    ];
    let actions =
        ["DeleteDBInstance", "ModifyDBInstance", "RebootDBInstance", "StopDBInstance", "PromoteReadReplica"];
    for name in ["drill", "sweeper", "snapshot", "retention", "alarms", "status", "read-only"] {
        let role = role(name);
        // The group of production, one of a drill that has lost its tags, and one that brings none.
        for (what, group, has) in [
            ("the group of production", "orders", &drill_tags()),
            ("a group without the tags of a drill", DRILL, &production),
        ] {
            for action in ["ModifyDBParameterGroup", "DeleteDBParameterGroup", "CreateDBParameterGroup"] {
                let ask = Ask::new(&format!("rds:{action}"), &arn("pg", group)).on(has);
                assert_refused(&role, &format!("{name}: {action} of {what}"), &[ask]);
            }
        }
        for (what, id, has) in objects {
            for action in actions {
                let ask = Ask::new(&format!("rds:{action}"), &arn("db", id)).on(has);
                assert_refused(&role, &format!("{name}: {action} of {what}"), &[ask]);
            }
        }
        // One of another account, and a whole cluster.
        let there = format!("arn:aws:rds:eu-central-1:999999999999:db:{DRILL}");
        assert_refused(
            &role,
            "the throwaway of another account",
            &[Ask::new("rds:DeleteDBInstance", &there).on(&drill_tags())],
        );
        assert_refused(
            &role,
            "a cluster",
            &[Ask::new("rds:DeleteDBCluster", &arn("cluster", DRILL)).on(&drill_tags())],
        );
    }
}

#[test]
fn deleting_and_changing_production_is_denied_even_to_a_role_that_is_given_everything() {
    let production = tags(&[("env", "prod")]);
    for (name, id, has) in [
        ("drill", "orders-prod", &production),
        ("drill", "orders-prod", &drill_tags()),
        ("drill", DRILL, &production),
        ("sweeper", "orders-prod", &drill_tags()),
    ] {
        let file = root().join(format!("deploy/iam/{name}.json"));
        let mut document: Value =
            serde_json::from_str(&std::fs::read_to_string(file).unwrap().replace("111122223333", ACCOUNT))
                .unwrap();
        let all = json!({"Sid": "AdministratorAccess", "Effect": "Allow", "Action": "*", "Resource": "*"});
        document["Statement"].as_array_mut().unwrap().push(all);
        let role = Policy::parse(&document.to_string());
        let denied = |ask: Ask, what: &str| {
            assert!(matches!(role.decide(&ask), Decision::Denied(_)), "{name} with everything: {what}");
        };
        denied(
            Ask::new("rds:DeleteDBInstance", &arn("db", id)).on(has),
            &format!("deletes {id} with {has:?}"),
        );
        for action in [
            "rds:SwitchoverBlueGreenDeployment",
            "rds:DeleteBlueGreenDeployment",
            "rds:DeleteTenantDatabase",
            "rds:AddRoleToDBInstance",
            "rds:ModifyDBParameterGroup",
            "rds:ApplyPendingMaintenanceAction",
            "rds:StopDBCluster",
            "rds:FailoverDBCluster",
            "rds:StopDBInstanceAutomatedBackupsReplication",
            "rds:RestoreDBInstanceFromS3",
            "rds:SwitchoverReadReplica",
            "kms:ScheduleKeyDeletion",
            "kms:PutKeyPolicy",
            "backup:DeleteRecoveryPoint",
            "iam:PassRole",
            "s3:DeleteObjectVersion",
            "s3:PutBucketPolicy",
        ] {
            if name == "drill" || !action.starts_with("s3:") {
                denied(Ask::new(action, "*").on(has), action);
            }
        }
    }
}

#[test]
fn no_way_leads_from_production_to_a_throwaway() {
    let role = role("drill");
    let production = tags(&[("env", "prod")]);
    let retag = |id: &str, brings: &Tags| {
        [Ask::new("rds:AddTagsToResource", &arn("db", id)).on(&production).bringing(brings)]
    };
    assert_refused(&role, "production is tagged as a drill", &retag("orders-prod", &drill_tags()));
    assert_refused(&role, "production is tagged as anything", &retag("orders-prod", &tags(&[("x", "y")])));
    // A rename is a ModifyDBInstance: of the old name, and if IAM asked for it, of the new one.
    assert_refused(
        &role,
        "production is renamed",
        &[Ask::new("rds:ModifyDBInstance", &arn("db", "orders-prod")).on(&production)],
    );
    let tagged_before = [Ask::new("rds:ModifyDBInstance", &arn("db", "orders-prod")).on(&drill_tags())];
    assert_refused(&role, "production, which somebody has tagged, is renamed", &tagged_before);
    assert_refused(
        &role,
        "a tag of production is removed",
        &one("rds:RemoveTagsFromResource", &arn("db", "orders-prod")),
    );
    assert_refused(
        &role,
        "a tag of a throwaway is removed",
        &[Ask::new("rds:RemoveTagsFromResource", &arn("db", DRILL)).on(&drill_tags())],
    );
    let purpose = tags(&[("lifeboat:purpose", "restore")]);
    assert_refused(
        &role,
        "a throwaway is given another purpose",
        &[Ask::new("rds:AddTagsToResource", &arn("db", DRILL)).on(&drill_tags()).bringing(&purpose)],
    );
    let mut more = drill_tags();
    more.insert("env".into(), "prod".into());
    assert_refused(
        &role,
        "a throwaway is dressed up as production",
        &[Ask::new("rds:AddTagsToResource", &arn("db", DRILL)).bringing(&more)],
    );
    for (kind, name) in [
        ("snapshot", "lifeboat-drill-x"),
        ("cluster", "lifeboat-drill-x"),
        ("auto-backup", "lifeboat-drill-x"),
        ("es", "lifeboat-drill-x"),
        ("subgrp", "lifeboat-drill-x"),
        ("pg", "orders"),
    ] {
        let ask = Ask::new("rds:AddTagsToResource", &arn(kind, name)).bringing(&drill_tags());
        assert!(matches!(role.decide(&ask), Decision::Denied(_)), "a {kind} is tagged");
    }
}

#[test]
fn a_throwaway_cannot_be_made_without_its_tags_nor_public_nor_under_another_name() {
    let role = role("drill");
    let actions = [
        ("rds:RestoreDBInstanceFromDBSnapshot", vec![arn("snapshot", "before")]),
        ("rds:RestoreDBInstanceToPointInTime", vec![arn("auto-backup", "ab-x"), arn("db", "orders-prod")]),
    ];
    for (action, from) in &actions {
        let restore = |target: &str, tags: &Tags, public: Option<&str>| {
            authorization::restore(action, target, from, tags, public)
        };
        assert_eq!(role.refusals(&restore(DRILL, &drill_tags(), None)).len(), 0);
        assert_refused(&role, "no tags: it would get the source's", &restore(DRILL, &Tags::new(), None));
        for key in drill_tags().keys() {
            assert_refused(&role, &format!("no {key}"), &restore(DRILL, &without(&drill_tags(), key), None));
        }
        let other =
            tags(&[("lifeboat:purpose", "restore"), ("lifeboat:run", "x"), ("lifeboat:expires", "x")]);
        assert_refused(&role, "another purpose", &restore(DRILL, &other, None));
        assert_refused(&role, "another name", &restore("orders-back", &drill_tags(), None));
        let public = assert_refused(&role, "public", &restore(DRILL, &drill_tags(), Some("true")));
        assert!(
            public.iter().any(|decision| *decision == Decision::Denied("NeverPublic".into())),
            "{public:?}"
        );
    }
}

#[test]
fn no_way_leads_out_of_the_account_or_to_other_rights() {
    let snapshot = arn("snapshot", "rds:orders-prod-2026-11-22-03-00");
    let pass = format!("arn:aws:iam::{ACCOUNT}:role/Administrator");
    let attacks = [
        ("a snapshot is shared", "rds:ModifyDBSnapshotAttribute", snapshot.as_str()),
        ("a cluster snapshot is shared", "rds:ModifyDBClusterSnapshotAttribute", "*"),
        ("a snapshot is exported", "rds:StartExportTask", "*"),
        ("automated backups are deleted", "rds:DeleteDBInstanceAutomatedBackup", "*"),
        ("retention is changed", "rds:ModifyDBInstance", &arn("db", "orders-prod")),
        ("a role is passed", "iam:PassRole", pass.as_str()),
        ("a policy is written", "iam:PutRolePolicy", pass.as_str()),
        (
            "the evidence is deleted",
            "s3:DeleteObject",
            "arn:aws:s3:::backups/drills/orders-prod/run/evidence.json",
        ),
        ("a backup is written over", "s3:PutObject", "arn:aws:s3:::backups/orders_20261122.sql.gz"),
        ("the vault is opened to all", "s3:PutBucketPolicy", "arn:aws:s3:::backups"),
        (
            "a secret of others is read",
            "secretsmanager:GetSecretValue",
            "arn:aws:secretsmanager:eu-central-1:123456789012:secret:payroll",
        ),
    ];
    for name in ["drill", "sweeper", "snapshot", "retention", "alarms", "status", "read-only"] {
        for (attack, action, resource) in attacks {
            assert_refused(&role(name), &format!("{name}: {attack}"), &one(action, resource));
        }
    }
    for name in ["drill", "sweeper", "snapshot", "alarms", "status", "read-only"] {
        for action in ["rds:DeleteDBSnapshot", "rds:DeleteDBClusterSnapshot", "rds:CopyDBSnapshot"] {
            assert_refused(&role(name), &format!("{name}: {action}"), &one(action, &snapshot));
        }
    }
}

#[test]
fn the_snapshot_role_takes_snapshots_and_no_more() {
    let role = role("snapshot");
    let (database, snapshot) =
        (arn("db", "orders-prod"), arn("snapshot", "pre-migration-orders-prod-20261122-080000"));
    let good = tags(&[
        ("lifeboat:purpose", "snapshot"),
        ("lifeboat:class", "pre-migration"),
        ("lifeboat:run", "x"),
        ("env", "prod"),
    ]);
    let create = |created: &str, from: &str, tags: &Tags| {
        authorization::create("rds:CreateDBSnapshot", created, from, tags, &Tags::new())
    };
    assert_eq!(role.refusals(&create(&snapshot, &database, &good)).len(), 0);
    assert_refused(&role, "of another database", &create(&snapshot, &arn("db", "payroll"), &good));
    assert_refused(&role, "under another name", &create(&arn("snapshot", "mine"), &database, &good));
    assert_refused(&role, "without tags", &create(&snapshot, &database, &Tags::new()));
    let for_ever = tags(&[("lifeboat:purpose", "snapshot"), ("lifeboat:class", "major-release")]);
    assert_refused(&role, "of a class that is kept for ever", &create(&snapshot, &database, &for_ever));
    let baseline = tags(&[("lifeboat:baseline", "00ff")]);
    let note = |brings: &Tags| [Ask::new("rds:AddTagsToResource", &snapshot).on(&good).bringing(brings)];
    assert_eq!(role.refusals(&note(&baseline)).len(), 0);
    assert_refused(
        &role,
        "the expiry is brought forward",
        &note(&tags(&[("lifeboat:expires", "2020-01-01T00:00:00Z")])),
    );
    assert_refused(
        &role,
        "with the baseline",
        &note(&tags(&[("lifeboat:baseline", "00ff"), ("lifeboat:expires", "2020-01-01T00:00:00Z")])),
    );
    // With the tags that it may set on creation, too: the class is no way to another end.
    let mut again = good.clone();
    again.insert("lifeboat:expires".into(), "2027-01-01T00:00:00Z".into());
    let retag = |brings: &Tags| [Ask::new("rds:AddTagsToResource", &snapshot).on(&again).bringing(brings)];
    assert_refused(&role, "all tags of an existing snapshot, but for its end", &retag(&good));
    let mut sooner = again.clone();
    sooner.insert("lifeboat:expires".into(), "2020-01-01T00:00:00Z".into());
    assert_refused(&role, "an existing snapshot ends sooner", &retag(&sooner));
    // Whether IAM knows the tags of what is being created as those of the resource is not documented for RDS: it may.
    assert_eq!(role.refusals(&retag(&again)).len(), 0);
    assert_eq!(role.refusals(&create(&snapshot, &database, &again)).len(), 0);
    assert_eq!(role.refusals(&retag(&baseline)).len(), 0);
    again.extend(baseline.clone());
    let exchanged = [Ask::new("rds:AddTagsToResource", &snapshot)
        .on(&again)
        .bringing(&tags(&[("lifeboat:baseline", "11ee")]))];
    assert_refused(&role, "the baseline is exchanged", &exchanged);
    assert_refused(
        &role,
        "a snapshot of others is marked",
        &[Ask::new("rds:AddTagsToResource", &snapshot).bringing(&baseline)],
    );
    assert_refused(
        &role,
        "an instance is tagged",
        &[Ask::new("rds:AddTagsToResource", &database).bringing(&good)],
    );
    for action in
        ["rds:RestoreDBInstanceFromDBSnapshot", "rds:DeleteDBSnapshot", "rds:ModifyDBSnapshotAttribute"]
    {
        assert!(
            matches!(role.decide(&Ask::new(action, &snapshot).on(&good)), Decision::Denied(_)),
            "{action}"
        );
    }
}

#[test]
fn the_retention_role_removes_only_what_has_a_class_and_an_end() {
    let role = role("retention");
    let snapshot = arn("snapshot", "pre-migration-orders-prod-20261022-080000");
    let good = tags(&[
        ("lifeboat:purpose", "snapshot"),
        ("lifeboat:class", "pre-migration"),
        ("lifeboat:expires", "2026-11-21T08:00:00Z"),
    ]);
    let remove = |snapshot: &str, tags: &Tags| [Ask::new("rds:DeleteDBSnapshot", snapshot).on(tags)];
    assert_eq!(role.refusals(&remove(&snapshot, &good)).len(), 0);
    assert_refused(&role, "without tags", &remove(&snapshot, &Tags::new()));
    assert_refused(&role, "without an end", &remove(&snapshot, &without(&good, "lifeboat:expires")));
    let for_ever = tags(&[
        ("lifeboat:purpose", "snapshot"),
        ("lifeboat:class", "major-release"),
        ("lifeboat:expires", "x"),
    ]);
    assert_refused(&role, "kept for ever", &remove(&arn("snapshot", "major-release-orders-prod"), &for_ever));
    assert_refused(&role, "of others", &remove(&arn("snapshot", "mine"), &good));
    let retag = Ask::new("rds:AddTagsToResource", &snapshot).on(&good).bringing(&good);
    assert!(matches!(role.decide(&retag), Decision::Denied(_)));
}

#[test]
fn the_alarms_role_touches_no_alarm_of_others_and_the_status_role_no_metric_of_others() {
    let alarms = role("alarms");
    let alarm = |name: &str| format!("arn:aws:cloudwatch:eu-central-1:{ACCOUNT}:alarm:{name}");
    for action in ["cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms", "cloudwatch:SetAlarmState"] {
        assert_eq!(alarms.refusals(&one(action, &alarm("lifeboat/orders-prod/storage"))).len(), 0);
        assert!(
            matches!(alarms.decide(&Ask::new(action, &alarm("billing"))), Decision::Denied(_)),
            "{action}"
        );
    }
    let does = |action: &str| {
        [Ask::new("cloudwatch:PutMetricAlarm", &alarm("lifeboat/orders-prod/storage"))
            .with("cloudwatch:AlarmActions", "arn:aws:sns:eu-central-1:123456789012:ops")
            .with("cloudwatch:AlarmActions", action)]
    };
    assert_eq!(alarms.refusals(&does("arn:aws:sns:eu-central-1:123456789012:ops-2")).len(), 0);
    for action in
        ["arn:aws:lambda:eu-central-1:123456789012:function:x", "arn:aws:automate:eu-central-1:ec2:terminate"]
    {
        assert_refused(&alarms, "an alarm does more than tell", &does(action));
    }
    assert_refused(
        &alarms,
        "a subscription of others",
        &one("rds:DeleteEventSubscription", &arn("es", "billing")),
    );
    assert_refused(
        &alarms,
        "ages are made up",
        &[Ask::new("cloudwatch:PutMetricData", "*").with("cloudwatch:namespace", "Lifeboat")],
    );
    let status = role("status");
    let publish =
        |namespace: &str| Ask::new("cloudwatch:PutMetricData", "*").with("cloudwatch:namespace", namespace);
    assert_eq!(status.refusals(&[publish("Lifeboat")]).len(), 0);
    assert!(matches!(status.decide(&publish("AWS/RDS")), Decision::Denied(_)));
    assert!(matches!(status.decide(&Ask::new("cloudwatch:PutMetricData", "*")), Decision::Denied(_)));
}
