//! The alarms that a fleet should have, the difference from those it has, and whether they arrive.
//!
//! `plan` reads and decides, `apply` takes the plan by value. An alarm is only changed or removed if its name *and* its tag
//! say that it is ours. A put replaces every setting of an alarm, so whole specifications are sent; tags are set apart, because
//! CloudWatch ignores them on an update.

mod audit;
mod change;
mod difference;
mod kinds;
mod topic_policy;
mod test;
pub(crate) mod publish;
mod removal;
mod settings;
mod subscriptions;
mod threshold;
mod topics;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use tokio::time::Instant;

use crate::aws::Aws;
use settings::AlarmKindSettings;

use crate::error::{Error, Kind as ErrorKind, Result};
use crate::interrupt::Interrupt;
use crate::rds::{
    Alarm, AlarmState, Instance, InstanceId, Metric, Place, Tags, Topic, Unreached, list_regions,
};
use crate::settings::PerDatabase;
use crate::words::quote_names;

pub(crate) use audit::{Audit, Fault, Gap, Unwatched, audit_alarms};
use change::Work;
pub(crate) use change::{Action, Change, Field};
pub(crate) use removal::{Removal, plan_removal, remove};
pub(crate) use settings::AlarmSettings;
pub(crate) use test::{Test, TestReport, test_alarm};
pub(crate) use wanted::{Skipped, check_kind};

use topics::Topics;
use wanted::{PREFIX, WantedAlarm, is_ours};

/// CloudWatch takes three puts a second from an account (Amazon CloudWatch User Guide, "Service quotas").
const BETWEEN_PUTS: Duration = Duration::from_millis(334);

/// US dollars a month, in us-east-1 (Amazon CloudWatch pricing): an alarm on one metric, and a custom metric.
const ALARM_USD: f64 = 0.10;
const METRIC_USD: f64 = 0.30;

/// Which instances.
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    /// All instances of the Region, except throwaways.
    All,
    /// These.
    Some(Vec<InstanceId>),
}

/// A plan: decided, not yet done.
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    /// `lifeboat.alarms/1`.
    pub schema: &'static str,
    /// The Region; of several, all of them.
    pub region: String,
    /// The accounts and Regions that were read.
    pub places: Vec<Place>,
    pub unreached: Vec<Unreached>,
    pub databases: Vec<String>,
    /// Changes to alarms and event subscriptions.
    pub changes: Vec<Change>,
    /// Kinds that a database does not get.
    pub skipped: Vec<Skipped>,
    /// Warnings.
    pub warnings: Vec<String>,
    /// Estimated monthly cost of alarms and custom metrics, without the free tier.
    pub monthly_cost_usd: f64,
    /// Number of alarms afterwards.
    pub alarms: usize,
    /// Custom metrics that they need.
    pub custom_metrics: usize,
    /// The command that applies it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply_command: Option<String>,
}

impl Plan {
    /// Merges the plans of several Regions, for display; there is at least one.
    pub(crate) fn merge(plans: Vec<Plan>, unreached: Vec<Unreached>) -> Option<Plan> {
        let mut all = plans.into_iter();
        let mut whole = all.next()?;
        for plan in all {
            whole.places.extend(plan.places);
            whole.databases.extend(plan.databases);
            whole.changes.extend(plan.changes);
            whole.skipped.extend(plan.skipped);
            whole.warnings.extend(plan.warnings);
            whole.monthly_cost_usd =
                ((whole.monthly_cost_usd + plan.monthly_cost_usd) * 100.0).round() / 100.0;
            whole.alarms += plan.alarms;
            whole.custom_metrics += plan.custom_metrics;
        }
        whole.region = list_regions(&whole.places);
        whole.unreached = unreached;
        Some(whole)
    }

    /// How many changes there are.
    pub(crate) fn pending(&self) -> usize {
        self.changes.iter().filter(|change| change.action != Action::None).count()
    }
}

/// The instances of a scope; throwaways of drills have no alarms.
pub(crate) async fn instances(aws: &Aws, scope: &Scope) -> Result<Vec<Instance>> {
    match scope {
        Scope::All => {
            let mut all = aws.instances().await?;
            all.retain(|instance| !instance.is_throwaway());
            Ok(all)
        }
        Scope::Some(ids) => {
            let mut found = Vec::new();
            for id in ids.iter().collect::<BTreeSet<_>>() {
                found.push(aws.instance(id).await?.ok_or_else(|| {
                    Error::request(format!("there is no DB instance `{id}` in {}", aws.region()))
                        .hint("`lifeboat status` lists the instances; check `--region` too.")
                })?);
            }
            Ok(found)
        }
    }
}

/// Plans the changes that give the instances of a scope the alarms they should have.
pub(crate) async fn plan_alarms(
    aws: &Aws,
    settings: &PerDatabase<AlarmSettings>,
    scope: &Scope,
    topic_flags: &[String],
    here: DateTime<Utc>,
) -> Result<Plan> {
    let instances = instances(aws, scope).await?;
    let mut skipped = Vec::new();
    let mut all_wanted: Vec<WantedAlarm> = Vec::new();
    let mut topics_of = BTreeMap::new();
    let mut groups: BTreeMap<String, Option<u32>> = BTreeMap::new();
    for instance in &instances {
        let own = settings.of(instance.id.as_str());
        let topics =
            |kind: &AlarmKindSettings| topics::list_topics(instance, topic_flags, &own, kind, aws.region());
        topics_of.insert(instance.id.to_string(), topics(&AlarmKindSettings::default())?);
        let max_connections = max_connections(aws, instance, &mut groups).await?;
        let (wanted, unneeded) = wanted::list_wanted(instance, &own, max_connections, topics)?;
        all_wanted.extend(wanted);
        skipped.extend(unneeded);
    }
    let own: BTreeSet<Metric> =
        all_wanted.iter().filter_map(|one| one.spec.watch.metric(kinds::OWN)).collect();
    let mut warnings = check_topics(aws, &all_wanted).await?;
    warnings.extend(instances.iter().filter_map(warn_of_full_storage));
    warnings.extend(warn_of_unmeasured(aws, &own, here).await?);
    let existing = list_own_alarms(aws, scope).await?;
    let mut changes = difference::plan_changes(all_wanted, existing, &instances);
    let is_all = matches!(scope, Scope::All);
    if !topics_of.is_empty() {
        changes.extend(
            subscriptions::plan_subscriptions(aws, &topics_of, is_all, &settings.general.tags).await?,
        );
    }
    for change in &mut changes {
        change.place = aws.location();
    }
    let alarms = changes.iter().filter(|one| one.noun == "alarm" && one.action != Action::Delete).count();
    Ok(Plan {
        schema: "lifeboat.alarms/1",
        region: aws.region().to_owned(),
        places: vec![aws.location()],
        unreached: Vec::new(),
        databases: instances.iter().map(|instance| instance.id.to_string()).collect(),
        changes,
        skipped,
        warnings,
        monthly_cost_usd: ((alarms as f64 * ALARM_USD + own.len() as f64 * METRIC_USD) * 100.0).round()
            / 100.0,
        alarms,
        custom_metrics: own.len(),
        apply_command: None,
    })
}

/// `max_connections` of the instance's parameter group; each group is read once.
async fn max_connections(
    aws: &Aws,
    instance: &Instance,
    groups: &mut BTreeMap<String, Option<u32>>,
) -> Result<Option<u32>> {
    // A default group contains only RDS's formula.
    let Some(group) = instance.parameter_group.as_ref().filter(|group| !group.starts_with("default.")) else {
        return Ok(None);
    };
    if let Some(known) = groups.get(group) {
        return Ok(*known);
    }
    let found = aws.max_connections_in(group).await?;
    groups.insert(group.clone(), found);
    Ok(found)
}

/// Autoscaling stops at a limit.
fn warn_of_full_storage(instance: &Instance) -> Option<String> {
    let most = instance.settings.max_storage_gib?;
    let share = f64::from(instance.storage_gib) / f64::from(most);
    (share >= 0.9).then(|| {
        format!(
            "`{}` has {} GiB of the {most} GiB at which storage autoscaling stops: raise MaxAllocatedStorage",
            instance.id, instance.storage_gib
        )
    })
}

/// Alarms on our metrics go off if nobody publishes them: better to warn beforehand.
async fn warn_of_unmeasured(
    aws: &Aws,
    own: &BTreeSet<Metric>,
    here: DateTime<Utc>,
) -> Result<Option<String>> {
    let runs: BTreeSet<Metric> = own.iter().filter(|metric| metric.name == "MonitorRun").cloned().collect();
    let alive = aws.metrics_with_data(&runs, aws.now(here)).await?;
    let silent: Vec<&str> = runs
        .difference(&alive)
        .filter_map(|metric| metric.dimensions.get("DBInstanceIdentifier").map(String::as_str))
        .collect();
    let more = if silent.len() > 3 { format!(" and {} more", silent.len() - 3) } else { String::new() };
    Ok((!silent.is_empty()).then(|| {
        format!(
            "no metrics are published for the backups of {}{more}: their alarms go off until `lifeboat status --publish` \
             runs every 15 minutes",
            quote_names(silent.iter().take(3))
        )
    }))
}

/// Every topic must exist; one that cannot deliver gets a warning.
async fn check_topics(aws: &Aws, wanted: &[WantedAlarm]) -> Result<Vec<String>> {
    let mut topics = Topics::default();
    let mut warnings = Vec::new();
    let arns: BTreeSet<&String> = wanted.iter().flat_map(|one| &one.spec.alarm_actions).collect();
    for arn in arns {
        let Some(topic) = topics.fetch(aws, arn).await? else {
            return Err(Error::request(format!("topic `{arn}` does not exist")).hint(format!(
                "Create it with `aws sns create-topic --name {}`, and subscribe whoever is on call.",
                arn.rsplit(':').next().unwrap_or_default()
            )));
        };
        let blocked = obstacles(&topic).into_iter();
        warnings.extend(blocked.map(|(message, remedy)| format!("{message}: {}", lower_first(&remedy))));
    }
    Ok(warnings)
}

/// What keeps a topic from delivering messages of CloudWatch and RDS, each with its remedy.
pub(crate) fn obstacles(topic: &Topic) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for service in ["cloudwatch.amazonaws.com", "events.rds.amazonaws.com"] {
        for blocked in topics::find_obstacles(topic, service) {
            if !found.iter().any(|(message, _)| *message == blocked.message) {
                found.push((blocked.message, blocked.remedy));
            }
        }
    }
    found
}

fn lower_first(text: &str) -> String {
    let mut letters = text.trim_end_matches('.').chars();
    letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}

/// Our alarms in a scope, with their tags: those whose name and tag both prove it.
async fn list_own_alarms(aws: &Aws, scope: &Scope) -> Result<Vec<(Alarm, Tags)>> {
    let mut named = Vec::new();
    match scope {
        Scope::All => named = aws.alarms(Some(PREFIX)).await?,
        Scope::Some(ids) => {
            for id in ids.iter().collect::<BTreeSet<_>>() {
                named.extend(aws.alarms(Some(&format!("{PREFIX}{id}/"))).await?);
            }
        }
    }
    futures::stream::iter(named)
        .map(|alarm| async move {
            let tags = aws.alarm_tags(&alarm.arn).await?;
            Ok::<_, Error>((alarm, tags))
        })
        .buffered(8)
        .try_collect()
        .await
}

/// What `apply` did.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    pub plan: Plan,
    /// How many changes were made.
    pub applied: usize,
    /// How many are left to do.
    pub left: usize,
    /// What could not be done.
    pub failed: Vec<Failed>,
    /// Whether it was stopped by a signal.
    pub interrupted: bool,
}

impl Report {
    /// Merges the reports of several Regions; there is at least one.
    pub(crate) fn merge(reports: Vec<Report>, unreached: Vec<Unreached>) -> Option<Report> {
        let (mut plans, mut failed) = (Vec::new(), Vec::new());
        let (mut applied, mut left, mut interrupted) = (0, 0, false);
        for report in reports {
            plans.push(report.plan);
            failed.extend(report.failed);
            applied += report.applied;
            left += report.left;
            interrupted |= report.interrupted;
        }
        Some(Report { plan: Plan::merge(plans, unreached)?, applied, left, failed, interrupted })
    }
}

/// A change that could not be made.
#[derive(Debug, Serialize)]
pub(crate) struct Failed {
    /// The alarm or event subscription.
    pub alarm: String,
    #[serde(flatten)]
    pub place: Place,
    pub error: String,
}

/// Makes the changes of a plan, no faster than CloudWatch allows. After an interruption a new plan holds what is left.
/// `tell` is called with the number of changes done, their total, and the current one.
pub(crate) async fn apply_plan(
    aws: &Aws,
    plan: Plan,
    interrupt: &Interrupt,
    tell: &(dyn Fn(usize, usize, &str) + Sync),
) -> Report {
    let total = plan.pending();
    let (mut applied, mut failed) = (0, Vec::new());
    let mut next_put = Instant::now();
    let mut interrupted = false;
    let mut deletions = Vec::new();
    for change in &plan.changes {
        let is_put = match change.work {
            Work::Nothing => continue,
            Work::Delete => {
                deletions.push(change.alarm.clone());
                continue;
            }
            Work::Put { is_spec_new, .. } => is_spec_new,
            Work::Subscribe { .. } => false,
        };
        tell(applied, total, &change.alarm);
        if is_put {
            tokio::select! {
                biased;
                _ = interrupt.wait(1) => {}
                () = tokio::time::sleep_until(next_put) => {}
            }
            next_put = Instant::now() + BETWEEN_PUTS;
        }
        if interrupt.first().is_some() {
            interrupted = true;
            break;
        }
        match apply_change(aws, change).await {
            Ok(()) => applied += 1,
            Err(error) => failed.push(Failed {
                alarm: change.alarm.clone(),
                place: aws.location(),
                error: error.chain(),
            }),
        }
    }
    if !interrupted && !deletions.is_empty() {
        match aws.delete_alarms(&deletions).await {
            Ok(()) => applied += deletions.len(),
            Err(failure) => {
                let error = Error::from(failure).chain();
                let failure = |alarm| Failed { alarm, place: aws.location(), error: error.clone() };
                failed.extend(deletions.into_iter().map(failure));
            }
        }
    }
    tell(applied, total, "");
    Report { left: total - applied, plan, applied, failed, interrupted }
}

async fn apply_change(aws: &Aws, change: &Change) -> Result<()> {
    match &change.work {
        Work::Nothing | Work::Delete => Ok(()),
        Work::Put { spec, arn: None, set, .. } => Ok(aws.put_alarm(spec, set).await?),
        Work::Put { spec, arn: Some(arn), is_spec_new, set } => {
            if *is_spec_new {
                aws.put_alarm(spec, &Tags::new()).await?;
            }
            Ok(aws.tag_alarm(arn, set, &[]).await?)
        }
        Work::Subscribe { subscription, is_new: true, .. } => {
            Ok(aws.create_event_subscription(subscription).await?)
        }
        Work::Subscribe { subscription, new_sources, .. } => {
            Ok(aws.modify_event_subscription(subscription, new_sources).await?)
        }
    }
}

/// The exit code of `apply`.
pub(crate) fn exit_kind(report: &Report) -> Option<ErrorKind> {
    match report.failed.len() {
        0 if !report.plan.unreached.is_empty() => Some(ErrorKind::Partial),
        0 => None,
        _ if report.applied == 0 => Some(ErrorKind::Outside),
        _ => Some(ErrorKind::Partial),
    }
}

/// An alarm of ours, for `list`.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    pub name: String,
    #[serde(flatten)]
    pub place: Place,
    pub state: AlarmState,
    pub since: Option<chrono::DateTime<chrono::Utc>>,
    /// Its rule.
    pub rule: Option<String>,
    /// Its topics.
    pub actions: Vec<String>,
    /// Whether it notifies anyone.
    pub actions_enabled: bool,
}

/// Our alarms in a scope, those in alarm first.
pub(crate) async fn list_alarms(aws: &Aws, scope: &Scope) -> Result<Vec<Listed>> {
    let mut listed: Vec<Listed> = list_own_alarms(aws, scope)
        .await?
        .into_iter()
        .filter(|(_, tags)| is_ours(tags))
        .map(|(alarm, _)| Listed {
            rule: difference::describe_rule(&alarm.spec),
            place: aws.location(),
            name: alarm.spec.name,
            state: alarm.state,
            since: alarm.since,
            actions: alarm.spec.alarm_actions,
            actions_enabled: alarm.spec.actions_enabled,
        })
        .collect();
    listed.sort_by(most_urgent_first);
    Ok(listed)
}

/// Those in alarm first.
pub(crate) fn most_urgent_first(left: &Listed, right: &Listed) -> std::cmp::Ordering {
    let urgency = |state: &AlarmState| match state {
        AlarmState::Alarm => 0,
        AlarmState::InsufficientData => 1,
        _ => 2,
    };
    (urgency(&left.state), &left.name, &left.place).cmp(&(urgency(&right.state), &right.name, &right.place))
}
