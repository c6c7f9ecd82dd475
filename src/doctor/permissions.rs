//! Which actions commands need, and whether AWS lets us.
//!
//! Read actions are called for real, once. Write actions are put to IAM's simulator, on the objects and with the tags that
//! the command would use; where that is denied, they are called for an object that does not exist: AWS checks permissions
//! first, so "not found" means allowed. A refusal then proves little, since policies are often bound to names and
//! tags that a nonexistent object lacks: that is *unknown*.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{Check, Outcome, Task};
use crate::aws::{Aws, Failure, Fault, Query, Service, identity_of_policies};
use crate::rds::Place;

/// How a permission is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By calling it.
    Read,
    /// With IAM's simulator, or else by calling it for an object that does not exist.
    Absent,
    /// Only with IAM's simulator.
    Simulated,
}

/// The object that an action is needed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Object {
    Anything,
    Instance,
    Throwaway,
    Group,
    Snapshot,
    Alarm,
    Metrics,
}

struct Need {
    service: Service,
    action: &'static str,
    object: Object,
    way: Way,
    tasks: &'static [Task],
}

const fn need(
    service: Service,
    action: &'static str,
    object: Object,
    way: Way,
    tasks: &'static [Task],
) -> Need {
    Need { service, action, object, way, tasks }
}

use Object::{Alarm, Anything, Group, Instance, Metrics, Snapshot, Throwaway};
use Service::{CloudWatch, Rds, Sts};
use Task::{Alarms, Drill, Policy, Restore, Snapshot as Snapshots, Status};
use Way::{Absent, Read, Simulated};

const NEEDS: &[Need] = &[
    need(Sts, "GetCallerIdentity", Anything, Read, &[Drill]),
    need(Rds, "DescribeDBInstances", Anything, Read, &Task::OF_AWS),
    need(Rds, "DescribeDBSnapshots", Anything, Read, &[Status, Snapshots, Restore, Drill]),
    need(Rds, "DescribeDBInstanceAutomatedBackups", Anything, Read, &[Status, Restore, Drill]),
    need(Rds, "DescribeDBSubnetGroups", Anything, Read, &[Drill]),
    need(Rds, "DescribeDBParameterGroups", Anything, Read, &[Drill]),
    need(Rds, "DescribeOrderableDBInstanceOptions", Anything, Read, &[Drill]),
    need(Rds, "DescribeAccountAttributes", Anything, Read, &[Drill]),
    need(Rds, "DescribeEventSubscriptions", Anything, Read, &[Alarms]),
    need(CloudWatch, "DescribeAlarms", Anything, Read, &[Alarms]),
    need(CloudWatch, "ListMetrics", Anything, Read, &[Alarms]),
    need(CloudWatch, "PutMetricData", Metrics, Simulated, &[Alarms]),
    need(Rds, "ModifyDBInstance", Instance, Absent, &[Policy]),
    need(Rds, "CreateDBSnapshot", Instance, Absent, &[Snapshots]),
    need(Rds, "AddTagsToResource", Snapshot, Absent, &[Snapshots]),
    need(Rds, "CopyDBSnapshot", Snapshot, Absent, &[Snapshots]),
    need(Rds, "DeleteDBSnapshot", Snapshot, Absent, &[Snapshots]),
    need(Rds, "RestoreDBInstanceFromDBSnapshot", Throwaway, Absent, &[Drill, Restore]),
    need(Rds, "RestoreDBInstanceToPointInTime", Throwaway, Absent, &[Drill, Restore]),
    need(Rds, "AddTagsToResource", Throwaway, Absent, &[Drill, Restore]),
    need(Rds, "ModifyDBInstance", Throwaway, Absent, &[Drill, Restore]),
    need(Rds, "DeleteDBInstance", Throwaway, Absent, &[Drill]),
    need(Rds, "DescribeDBParameters", Group, Absent, &[Drill]),
    need(Rds, "ModifyDBParameterGroup", Group, Absent, &[Drill]),
    need(Rds, "DeleteDBParameterGroup", Group, Absent, &[Drill]),
    need(CloudWatch, "PutMetricAlarm", Alarm, Simulated, &[Alarms]),
    need(CloudWatch, "TagResource", Alarm, Simulated, &[Alarms]),
    need(CloudWatch, "ListTagsForResource", Alarm, Simulated, &[Alarms]),
    need(CloudWatch, "DeleteAlarms", Alarm, Simulated, &[Alarms]),
];

/// What the checks of an account and Region need.
#[derive(Clone, Debug)]
pub(crate) struct CheckContext {
    /// Who we are, as STS says.
    pub caller: String,
    /// An existing DB instance, if there is one.
    pub instance: Option<String>,
    /// Makes the names of this run's nonexistent objects unique.
    pub mark: String,
}

/// Checks every action that some commands need.
pub(crate) async fn check_permissions(
    aws: &Aws,
    cx: &CheckContext,
    wanted: &[Task],
    now: DateTime<Utc>,
) -> Vec<Check> {
    let needs: Vec<&Need> =
        NEEDS.iter().filter(|need| need.tasks.iter().any(|task| wanted.contains(task))).collect();
    let simulated = simulate(aws, cx, &needs, now).await;
    let looks = needs.iter().map(|need| check_need(aws, cx, need, &simulated, now));
    futures::future::join_all(looks).await
}

/// By object and action, what the simulator says, of what it was asked.
type Simulation = BTreeMap<(Object, &'static str), Verdict>;

#[derive(Clone, Debug)]
enum Verdict {
    Allowed,
    Denied(String),
}

async fn simulate(aws: &Aws, cx: &CheckContext, needs: &[&Need], now: DateTime<Utc>) -> Simulation {
    let mut simulation = Simulation::new();
    let Some(identity) = identity_of_policies(&cx.caller) else { return simulation };
    let mut by_object: BTreeMap<Object, Vec<&Need>> = BTreeMap::new();
    for need in needs.iter().filter(|need| need.way != Read) {
        by_object.entry(need.object).or_default().push(need);
    }
    for (object, needs) in by_object {
        let actions: Vec<String> = needs.iter().map(|need| describe_need(need)).collect();
        let (resource, context) = (resource(object, cx, &aws.location()), context(object));
        let Ok(decisions) = aws.simulate(&identity, &actions, &resource, &context, now).await else {
            // One refusal is enough: the next would be refused too.
            return simulation;
        };
        for need in needs {
            let Some(decision) = decisions.iter().find(|decision| decision.action == describe_need(need))
            else {
                continue;
            };
            let verdict =
                if decision.is_allowed { Verdict::Allowed } else { Verdict::Denied(decision.word.clone()) };
            simulation.insert((need.object, need.action), verdict);
        }
    }
    simulation
}

fn describe_need(need: &Need) -> String {
    format!("{}:{}", need.service.prefix(), need.action)
}

/// The ARN of the object that a command would act on.
fn resource(object: Object, cx: &CheckContext, place: &Place) -> String {
    let parts: Vec<&str> = cx.caller.split(':').collect();
    let (partition, account) =
        (parts.get(1).copied().unwrap_or("aws"), parts.get(4).copied().unwrap_or_default());
    let region = &place.region;
    match object {
        Anything | Metrics => "*".to_owned(),
        Instance => {
            let id = cx.instance.as_deref().unwrap_or("lifeboat-doctor");
            format!("arn:{partition}:rds:{region}:{account}:db:{id}")
        }
        Throwaway => format!("arn:{partition}:rds:{region}:{account}:db:lifeboat-drill-{}", cx.mark),
        Group => format!("arn:{partition}:rds:{region}:{account}:pg:lifeboat-drill-{}", cx.mark),
        Snapshot => format!("arn:{partition}:rds:{region}:{account}:snapshot:pre-migration-{}", cx.mark),
        Alarm => {
            format!("arn:{partition}:cloudwatch:{region}:{account}:alarm:lifeboat/{}/storage", cx.mark)
        }
    }
}

/// The tags that it would have, and be asked for with.
fn context(object: Object) -> Vec<(String, String)> {
    let tagged = |purpose: &str, keys: &[&str]| {
        ["aws:RequestTag", "aws:ResourceTag"]
            .iter()
            .flat_map(|of| keys.iter().map(move |key| (of, key)))
            .map(|(of, key)| {
                (
                    format!("{of}/lifeboat:{key}"),
                    if *key == "purpose" { purpose } else { "doctor" }.to_owned(),
                )
            })
            .collect()
    };
    match object {
        Anything | Instance => Vec::new(),
        Throwaway | Group => tagged("drill", &["purpose", "run", "source", "expires"]),
        Snapshot => tagged("snapshot", &["purpose", "class"]),
        Alarm => tagged("alarm", &["purpose"]),
        Metrics => vec![("cloudwatch:namespace".to_owned(), "Lifeboat".to_owned())],
    }
}

async fn check_need(
    aws: &Aws,
    cx: &CheckContext,
    need: &Need,
    simulated: &Simulation,
    now: DateTime<Utc>,
) -> Check {
    let name = describe_need(need);
    let place = aws.location();
    let check = |verdict, message: String| {
        Check::new("permissions", name.clone(), verdict, message).at(&place).for_tasks(need.tasks)
    };
    let statement = || statement(&name, &resource_in_policy(need.object, cx, &place));
    match (need.way, simulated.get(&(need.object, need.action))) {
        (_, Some(Verdict::Allowed)) => {
            return check(Outcome::Pass, format!("{name}: allowed, by simulation"));
        }
        (_, Some(Verdict::Denied(word))) => {
            let message = format!("{name} is denied{}, by simulation ({word})", on(need.object));
            return check(Outcome::Fail, message).mended_by(statement());
        }
        (Simulated, None) => {
            let message = format!("{name}: trying it would change something");
            return check(Outcome::Unknown, message).mended_by(MAY_SIMULATE);
        }
        (Read | Absent, None) => {}
    }
    let query =
        Query { service: need.service, action: need.action, parameters: parameters(need, cx, &place) };
    match (aws.ask(&query, now).await, need.way) {
        (Ok(_), Read) => check(Outcome::Pass, format!("{name}: allowed, tried")),
        // The object does not exist, so something is very odd.
        (Ok(_), _) => {
            check(Outcome::Unknown, format!("{name}: AWS accepted a call for a nonexistent object"))
        }
        (Err(failure), Read) if failure.fault == Fault::Denied => {
            check(Outcome::Fail, format!("{name} is denied: {}", describe_failure(&failure)))
                .mended_by(statement())
        }
        (Err(failure), Read) => not_known(check, &name, &failure),
        (Err(failure), _) if failure.fault == Fault::NotFound => {
            check(Outcome::Pass, format!("{name}: allowed, tried on an object that does not exist"))
        }
        (Err(failure), _) if failure.fault == Fault::Denied => {
            let message = format!(
                "{name} is denied on an object that does not exist{}, entirely or for its name and tags: {}",
                on(need.object),
                describe_failure(&failure)
            );
            check(Outcome::Unknown, message).mended_by(format!("{MAY_SIMULATE} To allow it: {}", statement()))
        }
        (Err(failure), _) => not_known(check, &name, &failure),
    }
}

const MAY_SIMULATE: &str = "Allow this role iam:SimulatePrincipalPolicy on itself, so that doctor can tell.";

fn not_known(check: impl Fn(Outcome, String) -> Check, name: &str, failure: &Failure) -> Check {
    check(Outcome::Unknown, format!("{name}: {}", describe_failure(failure)))
        .mended_by("Run it again when AWS answers.")
}

fn describe_failure(failure: &Failure) -> String {
    match &failure.code {
        Some(code) => format!("{} ({code})", failure.message.trim_end_matches('.')),
        None => failure.message.clone(),
    }
}

fn on(object: Object) -> &'static str {
    match object {
        Anything => "",
        Instance => " on your DB instances",
        Throwaway => " on throwaways (lifeboat-drill-*)",
        Group => " on their parameter groups (lifeboat-drill-*)",
        Snapshot => " on snapshots",
        Alarm => " on alarms (lifeboat/*)",
        Metrics => " in the namespace Lifeboat",
    }
}

/// The ARN, or pattern, that a policy would name.
fn resource_in_policy(object: Object, cx: &CheckContext, place: &Place) -> String {
    let exact = resource(object, cx, place);
    match object {
        Anything | Metrics | Instance => exact,
        Throwaway | Group => exact.replace(&cx.mark, "*"),
        Snapshot => exact.replace(&format!("pre-migration-{}", cx.mark), "*"),
        Alarm => exact.replace(&format!("{}/storage", cx.mark), "*"),
    }
}

/// The policy statement that fixes it; whole policies are in `deploy/iam`.
fn statement(action: &str, resource: &str) -> String {
    format!(
        r#"{{"Effect": "Allow", "Action": "{action}", "Resource": "{resource}"}} (whole policies: deploy/iam)"#
    )
}

/// The parameters of a call that reads little, or names an object that does not exist.
fn parameters(need: &Need, cx: &CheckContext, place: &Place) -> Vec<(String, String)> {
    let nothing = format!("lifeboat-doctor-{}", cx.mark);
    let throwaway = format!("lifeboat-drill-{}", cx.mark);
    let few: &[(&str, &str)] = &[("MaxRecords", "20")];
    let arn = resource(need.object, cx, place);
    let tag = [("Tags.Tag.1.Key", "lifeboat:purpose"), ("Tags.Tag.1.Value", "drill")];
    let list: Vec<(&str, &str)> = match need.action {
        "GetCallerIdentity" | "DescribeAccountAttributes" | "ListMetrics" => Vec::new(),
        "DescribeAlarms" => vec![("MaxRecords", "1")],
        "DescribeOrderableDBInstanceOptions" => vec![("Engine", "postgres"), ("MaxRecords", "20")],
        "ModifyDBInstance" => {
            let id = if need.object == Throwaway { &throwaway } else { &nothing };
            vec![("DBInstanceIdentifier", id), ("CopyTagsToSnapshot", "true")]
        }
        "DeleteDBInstance" => vec![("DBInstanceIdentifier", &throwaway), ("SkipFinalSnapshot", "true")],
        "DescribeDBParameters" => vec![("DBParameterGroupName", &throwaway), ("MaxRecords", "20")],
        "DeleteDBParameterGroup" => vec![("DBParameterGroupName", &throwaway)],
        "ModifyDBParameterGroup" => vec![
            ("DBParameterGroupName", &throwaway),
            ("Parameters.Parameter.1.ParameterName", "max_logical_replication_workers"),
            ("Parameters.Parameter.1.ParameterValue", "0"),
            ("Parameters.Parameter.1.ApplyMethod", "pending-reboot"),
        ],
        "CreateDBSnapshot" => vec![("DBInstanceIdentifier", &nothing), ("DBSnapshotIdentifier", &nothing)],
        "CopyDBSnapshot" => {
            vec![("SourceDBSnapshotIdentifier", &nothing), ("TargetDBSnapshotIdentifier", &throwaway)]
        }
        "DeleteDBSnapshot" => vec![("DBSnapshotIdentifier", &nothing)],
        "RestoreDBInstanceFromDBSnapshot" => {
            let ids = [("DBInstanceIdentifier", throwaway.as_str()), ("DBSnapshotIdentifier", &nothing)];
            ids.into_iter().chain(tag).collect()
        }
        "RestoreDBInstanceToPointInTime" => {
            let ids = [
                ("TargetDBInstanceIdentifier", throwaway.as_str()),
                ("SourceDBInstanceIdentifier", &nothing),
                ("UseLatestRestorableTime", "true"),
            ];
            ids.into_iter().chain(tag).collect()
        }
        "AddTagsToResource" => [("ResourceName", arn.as_str())].into_iter().chain(tag).collect(),
        _ => few.to_vec(),
    };
    list.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policies_of_a_session_are_those_of_its_role() {
        assert_eq!(
            identity_of_policies("arn:aws:sts::111122223333:assumed-role/lifeboat/x").as_deref(),
            Some("arn:aws:iam::111122223333:role/lifeboat")
        );
        let user = "arn:aws:iam::111122223333:user/ops/anna";
        assert_eq!(identity_of_policies(user).as_deref(), Some(user));
        assert_eq!(identity_of_policies("arn:aws:iam::111122223333:root"), None);
        assert_eq!(identity_of_policies(""), None);
    }

    #[test]
    fn nothing_that_changes_something_is_called_about_something_that_exists() {
        let cx = CheckContext {
            caller: "arn:aws:iam::111122223333:user/x".to_owned(),
            instance: Some("orders-prod".to_owned()),
            mark: "0123456789abcdef".to_owned(),
        };
        let place = Place { account: None, region: "eu-west-1".to_owned() };
        for need in NEEDS.iter().filter(|need| need.way == Absent) {
            let parameters = parameters(need, &cx, &place);
            assert!(!parameters.is_empty(), "{}", need.action);
            for (name, value) in parameters {
                let is_name = name.ends_with("Identifier")
                    || ["ResourceName", "DBParameterGroupName"].contains(&&*name);
                assert!(!is_name || value.contains(&cx.mark), "{}: {name}={value}", need.action);
            }
        }
        for need in NEEDS.iter().filter(|need| need.way == Read) {
            let reads = ["Get", "Describe", "List"];
            assert!(reads.iter().any(|verb| need.action.starts_with(verb)), "{}", need.action);
        }
    }
}
