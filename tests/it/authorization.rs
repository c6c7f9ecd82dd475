//! What IAM asks about calls of AWS's APIs, by the Service Authorization Reference of each service: in one place for attacks that
//! are made up and for calls that the local stack has logged.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::iam::Ask;

pub(crate) type Tags = BTreeMap<String, String>;

/// The account of the local stack.
pub(crate) const ACCOUNT: &str = "123456789012";

pub(crate) fn arn(kind: &str, name: &str) -> String {
    format!("arn:aws:rds:eu-central-1:{ACCOUNT}:{kind}:{name}")
}

/// A restore: of the new instance, of what it is restored from, of the groups, and of the tags that it brings.
pub(crate) fn restore(
    action: &str,
    target: &str,
    from: &[String],
    tags: &Tags,
    public: Option<&str>,
) -> Vec<Ask> {
    let request = |resource: &str| {
        let ask = Ask::new(action, resource).bringing(tags);
        public.iter().fold(ask, |ask, public| ask.with("rds:PubliclyAccessible", public))
    };
    let mut asks = vec![request(&arn("db", target))];
    // Whether the request's tags are known where its source is judged is not documented: it must do without.
    asks.extend(from.iter().map(|source| Ask::new(action, source)));
    asks.extend(["og:default:postgres-15", "pg:orders", "subgrp:private"].map(|group| {
        let (kind, name) = group.split_once(':').unwrap();
        Ask::new(action, &arn(kind, name))
    }));
    if !tags.is_empty() {
        asks.push(Ask::new("rds:AddTagsToResource", &arn("db", target)).bringing(tags));
    }
    asks
}

pub(crate) fn create(action: &str, created: &str, from: &str, tags: &Tags, has: &Tags) -> Vec<Ask> {
    let mut asks = vec![Ask::new(action, created).bringing(tags), Ask::new(action, from).on(has)];
    if !tags.is_empty() {
        asks.push(Ask::new("rds:AddTagsToResource", created).bringing(tags));
    }
    asks
}

/// What IAM would be asked for a call of the local stack's log; what has been tagged so far is remembered in `known`.
pub(crate) fn asks(call: &Value, known: &mut BTreeMap<String, Tags>) -> Vec<Ask> {
    let parameters: BTreeMap<String, String> = serde_json::from_value(call["parameters"].clone()).unwrap();
    let of = |name: &str| parameters.get(name).cloned().unwrap_or_else(|| panic!("no {name} in {call:#}"));
    let brought = brought(&parameters);
    let (service, action) = (call["service"].as_str().unwrap(), call["action"].as_str().unwrap());
    let prefix = match service {
        "monitoring" | "cloudwatch" => "cloudwatch",
        other => other,
    };
    let name = format!("{prefix}:{action}");
    let has = |known: &BTreeMap<String, Tags>, arn: &str| known.get(arn).cloned().unwrap_or_default();
    let alarm = |name: &str| format!("arn:aws:cloudwatch:eu-central-1:{ACCOUNT}:alarm:{name}");
    match (prefix, action) {
        // Nobody needs a right to ask who they are.
        ("sts", "GetCallerIdentity") => Vec::new(),
        ("rds", "ListTagsForResource") => vec![Ask::new(&name, &of("ResourceName"))],
        ("rds", action) if action.starts_with("Describe") => vec![Ask::new(&name, "*")],
        ("rds", "RestoreDBInstanceFromDBSnapshot") => {
            let target = of("DBInstanceIdentifier");
            known.insert(arn("db", &target), brought.clone());
            let from = [arn("snapshot", &of("DBSnapshotIdentifier"))];
            restore(&name, &target, &from, &brought, parameters.get("PubliclyAccessible").map(String::as_str))
        }
        ("rds", "RestoreDBInstanceToPointInTime") => {
            let target = of("TargetDBInstanceIdentifier");
            known.insert(arn("db", &target), brought.clone());
            let from = [arn("auto-backup", "ab-0123456789"), arn("db", "orders-prod")];
            restore(&name, &target, &from, &brought, parameters.get("PubliclyAccessible").map(String::as_str))
        }
        ("rds", "CreateDBParameterGroup") => {
            let created = arn("pg", &of("DBParameterGroupName"));
            known.insert(created.clone(), brought.clone());
            let mut asks = vec![Ask::new(&name, &created).bringing(&brought)];
            if !brought.is_empty() {
                asks.push(Ask::new("rds:AddTagsToResource", &created).bringing(&brought));
            }
            asks
        }
        ("rds", "ModifyDBParameterGroup" | "DeleteDBParameterGroup") => {
            let group = arn("pg", &of("DBParameterGroupName"));
            vec![Ask::new(&name, &group).on(&has(known, &group))]
        }
        ("rds", "ModifyDBInstance" | "DeleteDBInstance") => {
            let instance = arn("db", &of("DBInstanceIdentifier"));
            if action == "DeleteDBInstance" {
                assert_eq!(of("SkipFinalSnapshot"), "true", "a final snapshot would need more rights");
            }
            vec![Ask::new(&name, &instance).on(&has(known, &instance))]
        }
        ("rds", "CreateDBSnapshot") => {
            let (created, from) =
                (arn("snapshot", &of("DBSnapshotIdentifier")), arn("db", &of("DBInstanceIdentifier")));
            known.insert(created.clone(), brought.clone());
            create(&name, &created, &from, &brought, &has(known, &from))
        }
        ("rds", "CopyDBSnapshot") => {
            let source = of("SourceDBSnapshotIdentifier");
            let source = if source.starts_with("arn:") { source } else { arn("snapshot", &source) };
            let created = arn("snapshot", &of("TargetDBSnapshotIdentifier"));
            known.insert(created.clone(), brought.clone());
            create(&name, &created, &source, &brought, &has(known, &source))
        }
        ("rds", "DeleteDBSnapshot") => {
            let snapshot = arn("snapshot", &of("DBSnapshotIdentifier"));
            vec![Ask::new(&name, &snapshot).on(&has(known, &snapshot))]
        }
        ("rds", "AddTagsToResource") => {
            let resource = of("ResourceName");
            let ask = Ask::new(&name, &resource).on(&has(known, &resource)).bringing(&brought);
            known.entry(resource).or_default().extend(brought);
            vec![ask]
        }
        ("rds", action) if action.contains("Subscription") => {
            let subscription = arn("es", &of("SubscriptionName"));
            let mut asks = vec![Ask::new(&name, &subscription).bringing(&brought)];
            if !brought.is_empty() {
                asks.push(Ask::new("rds:AddTagsToResource", &subscription).bringing(&brought));
            }
            asks
        }
        ("cloudwatch", "PutMetricData") => {
            vec![Ask::new(&name, "*").with("cloudwatch:namespace", &of("Namespace"))]
        }
        ("cloudwatch", "PutMetricAlarm" | "SetAlarmState") => {
            let alarm = alarm(&of("AlarmName"));
            let told: Vec<String> = parameters
                .get("AlarmActions")
                .map_or_else(Vec::new, |list| serde_json::from_str(list).unwrap());
            let put = told
                .iter()
                .fold(Ask::new(&name, &alarm), |ask, action| ask.with("cloudwatch:AlarmActions", action));
            let mut asks = vec![put];
            if !brought.is_empty() {
                asks.push(Ask::new("cloudwatch:TagResource", &alarm).bringing(&brought));
            }
            asks
        }
        ("cloudwatch", "DeleteAlarms") => {
            let names: Vec<String> = serde_json::from_str(&of("AlarmNames")).unwrap();
            names.iter().map(|one| Ask::new(&name, &alarm(one))).collect()
        }
        ("cloudwatch", "TagResource" | "UntagResource" | "ListTagsForResource") => {
            vec![Ask::new(&name, &of("ResourceARN"))]
        }
        ("cloudwatch", "DescribeAlarms" | "DescribeAlarmHistory" | "GetMetricData" | "ListMetrics") => {
            vec![Ask::new(&name, "*")]
        }
        ("sns", "GetTopicAttributes") => vec![Ask::new(&name, &of("TopicArn"))],
        ("secretsmanager", "GetSecretValue") => vec![Ask::new(&name, &of("SecretId"))],
        other => panic!("nobody has said what IAM asks for {other:?}: {call:#}"),
    }
}

/// The tags of a request: `Tags.Tag.1.Key` of RDS; of CloudWatch, the log has them as JSON.
fn brought(parameters: &BTreeMap<String, String>) -> Tags {
    if let Some(list) = parameters.get("Tags") {
        let list: Vec<BTreeMap<String, String>> = serde_json::from_str(list).unwrap();
        return list.iter().map(|tag| (tag["Key"].clone(), tag["Value"].clone())).collect();
    }
    let keys = parameters.iter().filter(|(name, _)| name.starts_with("Tags.") && name.ends_with("Key"));
    keys.map(|(name, key)| {
        let value = parameters.get(&format!("{}Value", name.trim_end_matches("Key")));
        (key.clone(), value.cloned().unwrap_or_default())
    })
    .collect()
}

/// What S3 is asked for a request in path style (Amazon S3 User Guide, "Required permissions for Amazon S3 API operations").
pub(crate) fn s3(line: &str) -> Ask {
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let resource = format!("arn:aws:s3:::{}", path.trim_matches('/'));
    let has_key = path.trim_matches('/').contains('/');
    let action = match method {
        "GET" | "HEAD" if has_key => "s3:GetObject",
        "GET" | "HEAD" => "s3:ListBucket",
        "PUT" => "s3:PutObject",
        "POST" if query.starts_with("upload") => "s3:PutObject",
        "DELETE" if query.contains("uploadId") => "s3:AbortMultipartUpload",
        "DELETE" => "s3:DeleteObject",
        other => panic!("nobody has said what S3 asks for {other} {target}"),
    };
    Ask::new(action, &resource)
}
