//! Every alarm and event subscription of a Region, whoever created it: which can never fire, or never notify, and which
//! databases are unwatched. Changes nothing.

mod composite;
pub(super) mod fault;
mod metrics;
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::kinds::{OWN, RDS};
use super::topics::{self, Topics};
use crate::aws::Aws;
use crate::error::Result;
use crate::rds::{Alarm, EventSubscription, Instance, Metric, Place, Unreached, Watch, list_regions};

pub(crate) use fault::Fault;
use rules::AuditContext;

/// An alarm or event subscription, and what is wrong with it.
#[derive(Debug, Serialize)]
pub(crate) struct Audited {
    pub name: String,
    #[serde(flatten)]
    pub place: Place,
    /// `alarm` or `event-subscription`.
    #[serde(rename = "type")]
    pub noun: &'static str,
    /// Its state or status.
    pub state: String,
    /// Its faults; none if it can fire and notify.
    pub faults: Vec<Fault>,
}

/// A database that no working alarm watches at all.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Unwatched {
    /// The DB instance.
    pub database: String,
    #[serde(flatten)]
    pub place: Place,
}

/// What is unwatched of a database.
#[derive(Debug, Serialize)]
pub(crate) struct Gap {
    /// The DB instance.
    pub database: String,
    #[serde(flatten)]
    pub place: Place,
    /// What is unwatched: `backups`, `storage`, `events`.
    pub lacks: Vec<&'static str>,
}

/// The state of a Region's alarms.
#[derive(Debug, Serialize)]
pub(crate) struct Audit {
    /// `lifeboat.alarms.audit/1`.
    pub schema: &'static str,
    /// The Region; of several, all of them.
    pub region: String,
    /// The accounts and Regions that were read.
    pub places: Vec<Place>,
    pub unreached: Vec<Unreached>,
    /// All alarms and event subscriptions.
    pub alarms: Vec<Audited>,
    /// Databases that no working alarm watches at all.
    pub unwatched: Vec<String>,
    /// The same, and where each is.
    pub unwatched_in: Vec<Unwatched>,
    /// Databases that are only partly watched.
    pub gaps: Vec<Gap>,
    /// What could not be determined.
    pub unknown: Vec<String>,
}

impl Audit {
    /// Merges the audits of several Regions; there is at least one.
    pub(crate) fn merge(audits: Vec<Audit>, unreached: Vec<Unreached>) -> Option<Audit> {
        let mut all = audits.into_iter();
        let mut whole = all.next()?;
        for audit in all {
            whole.places.extend(audit.places);
            whole.alarms.extend(audit.alarms);
            whole.unwatched.extend(audit.unwatched);
            whole.unwatched_in.extend(audit.unwatched_in);
            whole.gaps.extend(audit.gaps);
            whole.unknown.extend(audit.unknown);
        }
        whole.region = list_regions(&whole.places);
        whole.unreached = unreached;
        Some(whole)
    }

    /// Alarms with faults.
    pub(crate) fn faulty(&self) -> impl Iterator<Item = &Audited> {
        self.alarms.iter().filter(|alarm| !alarm.faults.is_empty())
    }
}

/// CloudWatch keeps the history of alarms for so long (CloudWatch User Guide, "Alarm history").
const HISTORY: TimeDelta = TimeDelta::days(30);

/// Audits a Region.
pub(crate) async fn audit_alarms(aws: &Aws, here: DateTime<Utc>) -> Result<Audit> {
    let instances = aws.instances().await?;
    let alarms = aws.alarms(None).await?;
    let subscriptions = aws.event_subscriptions().await?;
    let watched: BTreeSet<Metric> = alarms.iter().flat_map(metrics_of).collect();
    let mut ours: BTreeSet<Metric> =
        watched.into_iter().filter(|metric| [RDS, OWN].contains(&metric.namespace.as_str())).collect();
    let heartbeats: Vec<Metric> =
        ours.iter().filter(|metric| metric.namespace == OWN).map(rules::heartbeat_metric).collect();
    ours.extend(heartbeats);
    let alive = aws.metrics_with_data(&ours, aws.now(here)).await?;
    let world = AuditContext {
        instances: instances.iter().map(|instance| (instance.id.to_string(), instance.clone())).collect(),
        alive,
    };
    let paged = paged_by_composites(&alarms);
    let mut delivery =
        Delivery { aws, topics: Topics::default(), unknown: BTreeSet::new(), now: aws.now(here) };
    let mut audited = Vec::new();
    let mut working: Vec<&Alarm> = Vec::new();
    for alarm in &alarms {
        let mut faults = match &alarm.spec.watch {
            Watch::Metric(watch) => rules::find_faults(watch, &world),
            Watch::Computed(metrics) => rules::find_input_faults(metrics, &world),
            Watch::Alarms(rule) => find_rule_faults(rule, &alarms),
        };
        if !paged.contains(alarm.spec.name.as_str()) {
            faults.extend(delivery.of_alarm(alarm).await?);
        }
        if faults.is_empty() {
            working.push(alarm);
        }
        audited.push(Audited {
            name: alarm.spec.name.clone(),
            place: aws.location(),
            noun: "alarm",
            state: alarm.state.to_string(),
            faults,
        });
    }
    let mut heard: Vec<&EventSubscription> = Vec::new();
    for subscription in &subscriptions {
        let faults = delivery.of_subscription(subscription).await?;
        if faults.is_empty() {
            heard.push(subscription);
        }
        audited.push(Audited {
            name: subscription.name.clone(),
            place: aws.location(),
            noun: "event-subscription",
            state: subscription.status.clone(),
            faults,
        });
    }
    let misses = find_missed_categories(&subscriptions, &heard);
    for one in audited.iter_mut().filter(|one| one.noun == "event-subscription") {
        one.faults.extend(misses.get(one.name.as_str()).cloned());
    }
    let databases: Vec<&Instance> = instances.iter().filter(|one| !one.is_throwaway()).collect();
    let place = aws.location();
    let (unwatched, gaps) = find_gaps(&databases, &working, &heard, &place);
    Ok(Audit {
        schema: "lifeboat.alarms.audit/1",
        region: aws.region().to_owned(),
        places: vec![place.clone()],
        unreached: Vec::new(),
        alarms: audited,
        unwatched_in: unwatched
            .iter()
            .map(|database| Unwatched { database: database.clone(), place: place.clone() })
            .collect(),
        unwatched,
        gaps,
        unknown: delivery.unknown.into_iter().collect(),
    })
}

fn metrics_of(alarm: &Alarm) -> Vec<Metric> {
    match &alarm.spec.watch {
        Watch::Metric(watch) => vec![watch.metric.clone()],
        Watch::Computed(metrics) => metrics.clone(),
        Watch::Alarms(_) => Vec::new(),
    }
}

/// Alarms that need no actions of their own: a composite alarm with actions depends on them, directly or indirectly.
fn paged_by_composites(alarms: &[Alarm]) -> BTreeSet<&str> {
    let by_name: BTreeMap<&str, &Alarm> =
        alarms.iter().map(|alarm| (alarm.spec.name.as_str(), alarm)).collect();
    let is_acting = |alarm: &&Alarm| alarm.spec.actions_enabled && !alarm.spec.alarm_actions.is_empty();
    let mut to_read: Vec<&Alarm> = alarms.iter().filter(is_acting).collect();
    let mut paged = BTreeSet::new();
    while let Some(alarm) = to_read.pop() {
        let Watch::Alarms(rule) = &alarm.spec.watch else { continue };
        for child in composite::list_alarm_names(rule).unwrap_or_default() {
            if let Some((name, child)) = by_name.get_key_value(child.as_str())
                && paged.insert(*name)
            {
                to_read.push(child);
            }
        }
    }
    paged
}

fn find_rule_faults(rule: &str, alarms: &[Alarm]) -> Vec<Fault> {
    // CloudWatch accepted it: a rule that only we cannot parse is not the alarm's fault.
    let Some(named) = composite::list_alarm_names(rule) else { return Vec::new() };
    let stands_on_any = alarms.iter().any(|alarm| named.contains(&alarm.spec.name));
    if stands_on_any {
        return Vec::new();
    }
    vec![Fault {
        code: "impossible-comparison",
        message: format!("its rule names no alarm that exists: {rule}"),
        remedy: "Name alarms of this Region in the rule, or delete it.".to_owned(),
    }]
}

/// Whether its notifications can arrive.
struct Delivery<'a> {
    aws: &'a Aws,
    topics: Topics,
    unknown: BTreeSet<String>,
    now: DateTime<Utc>,
}

impl Delivery<'_> {
    async fn of_alarm(&mut self, alarm: &Alarm) -> Result<Vec<Fault>> {
        let spec = &alarm.spec;
        if spec.alarm_actions.is_empty() {
            let others = spec.ok_actions.len() + spec.insufficient_data_actions.len();
            let message =
                if others == 0 { "it notifies nobody" } else { "it notifies nobody when it goes off" };
            return Ok(vec![Fault {
                code: "no-actions",
                message: format!("{message}: it has no action for the state ALARM"),
                remedy: "Give it an SNS topic as alarm action, and subscribe someone.".to_owned(),
            }]);
        }
        if !spec.actions_enabled {
            return Ok(vec![Fault {
                code: "actions-disabled",
                message: "its actions are disabled".to_owned(),
                remedy: "Enable them: `aws cloudwatch enable-alarm-actions`.".to_owned(),
            }]);
        }
        let faults = self.of_topics(&spec.alarm_actions, &alarm.arn, "cloudwatch.amazonaws.com").await?;
        let doubts = topics::list_unknown_keys(self.topics.list_fetched(&spec.alarm_actions));
        if doubts.is_empty() || !faults.is_empty() {
            return Ok(faults);
        }
        // Whether a key allows CloudWatch shows in the result of the last action, if there was one.
        let since = self.now - HISTORY;
        let last = self.aws.alarm_actions_since(&spec.name, since).await?.pop();
        match last {
            Some(item) if item.has_succeeded == Some(false) => Ok(vec![Fault {
                code: "topic-key-shuts-out",
                message: format!("its last action failed, and {}", doubts.join("; ")),
                remedy: topics::KEY_REMEDY.to_owned(),
            }]),
            Some(_) => Ok(faults),
            None => {
                self.unknown.extend(doubts);
                Ok(faults)
            }
        }
    }

    /// One topic that works is enough; if none does, each says why.
    async fn of_topics(&mut self, actions: &[String], own_arn: &str, service: &str) -> Result<Vec<Fault>> {
        let mut faults = Vec::new();
        for action in actions {
            // Services other than SNS are not checked.
            let Some(topic) = topics::parse_arn(action) else {
                if action.contains(":sns:") {
                    faults.push(topic_fault(
                        "topic-not-found",
                        format!("`{action}` is not the ARN of a topic"),
                    ));
                    continue;
                }
                return Ok(Vec::new());
            };
            if topic.region != self.aws.region() {
                faults.push(topic_fault(
                    "topic-in-another-region",
                    format!(
                        "topic `{action}` is in {}, and an alarm cannot publish to another Region",
                        topic.region
                    ),
                ));
                continue;
            }
            if topic.name.ends_with(".fifo") {
                faults.push(topic_fault(
                    "topic-fifo",
                    format!("`{action}` is a FIFO topic, to which {service} cannot publish"),
                ));
                continue;
            }
            if own_arn.split(':').nth(4).is_some_and(|account| account != topic.account) {
                self.unknown
                    .insert(format!("topic `{action}` is in another account: its subscribers are unknown"));
                return Ok(Vec::new());
            }
            let Some(found) = self.topics.fetch(self.aws, action).await? else {
                faults.push(topic_fault("topic-not-found", format!("topic `{action}` does not exist")));
                continue;
            };
            let obstacles = topics::find_obstacles(&found, service);
            if obstacles.is_empty() {
                return Ok(Vec::new());
            }
            faults.extend(obstacles);
        }
        Ok(faults)
    }

    async fn of_subscription(&mut self, subscription: &EventSubscription) -> Result<Vec<Fault>> {
        if !subscription.enabled {
            return Ok(vec![Fault {
                code: "subscription-disabled",
                message: "it is disabled".to_owned(),
                remedy: "Enable it: `aws rds modify-event-subscription --enabled`.".to_owned(),
            }]);
        }
        let topic = std::slice::from_ref(&subscription.topic);
        let mut faults = self.of_topics(topic, &subscription.arn, "events.rds.amazonaws.com").await?;
        let says = |code: &str| faults.iter().any(|fault| fault.code == code);
        match subscription.status.as_str() {
            "no-permission" if !says("topic-policy-shuts-out") && !says("topic-key-shuts-out") => {
                faults.push(topic_fault(
                    "topic-policy-shuts-out",
                    "RDS says that it may not publish to its topic".to_owned(),
                ));
            }
            "topic-not-exist" if !says("topic-not-found") => {
                faults.push(topic_fault(
                    "topic-not-found",
                    "RDS says that its topic does not exist".to_owned(),
                ));
            }
            _ => {}
        }
        Ok(faults)
    }
}

fn topic_fault(code: &'static str, message: String) -> Fault {
    let remedy = "Give it an existing standard topic of this Region whose policy lets the service publish.";
    Fault { code, message, remedy: remedy.to_owned() }
}

/// Categories without which failed backups and full disks go unnoticed.
const CATEGORIES: [&str; 4] = ["availability", "backup", "failure", "low storage"];

/// Event subscriptions of instances that lack important categories, unless another one has them.
fn find_missed_categories<'s>(
    all: &'s [EventSubscription],
    heard: &[&'s EventSubscription],
) -> BTreeMap<&'s str, Fault> {
    let of_instances =
        |one: &&EventSubscription| one.source_type.as_deref().is_none_or(|of| of == "db-instance");
    let mut missed = BTreeMap::new();
    for one in all.iter().filter(of_instances).filter(|one| one.enabled) {
        let covered_elsewhere = |category: &str| {
            heard.iter().filter(|other| of_instances(other) && other.name != one.name).any(|other| {
                hears(other, category)
                    && (other.sources.is_empty()
                        || (!one.sources.is_empty()
                            && one.sources.iter().all(|source| other.sources.contains(source))))
            })
        };
        let missing: Vec<&str> = CATEGORIES
            .into_iter()
            .filter(|category| !hears(one, category) && !covered_elsewhere(category))
            .collect();
        if !missing.is_empty() {
            missed.insert(
                one.name.as_str(),
                Fault {
                    code: "categories-missing",
                    message: format!(
                        "it leaves out {}: nobody is told when a database's backups fail",
                        missing.join(", ")
                    ),
                    remedy: "Add the categories, or subscribe to all by naming none.".to_owned(),
                },
            );
        }
    }
    missed
}

fn hears(subscription: &EventSubscription, category: &str) -> bool {
    subscription.categories.is_empty() || subscription.categories.iter().any(|one| one == category)
}

/// Databases that no working alarm or subscription watches, and what others lack.
fn find_gaps(
    databases: &[&Instance],
    working: &[&Alarm],
    heard: &[&EventSubscription],
    place: &Place,
) -> (Vec<String>, Vec<Gap>) {
    let (mut unwatched, mut gaps) = (Vec::new(), Vec::new());
    for database in databases {
        let id = database.id.as_str();
        let metrics: Vec<Metric> = working
            .iter()
            .flat_map(|alarm| metrics_of(alarm))
            .filter(|metric| {
                let of_cluster = metric.dimensions.get("DBClusterIdentifier");
                metric.dimensions.get("DBInstanceIdentifier").is_some_and(|value| value == id)
                    || (of_cluster.is_some() && of_cluster == database.cluster.as_ref())
            })
            .collect();
        if metrics.is_empty() {
            unwatched.push(id.to_owned());
        }
        let watches = |namespace: &str, names: &[&str]| {
            metrics.iter().any(|one| one.namespace == namespace && names.contains(&one.name.as_str()))
        };
        let mut lacks = Vec::new();
        if database.cluster.is_none() && !watches(OWN, &["SnapshotAgeSeconds", "RestorePointLagSeconds"]) {
            lacks.push("backups");
        }
        let is_aurora = database.engine.starts_with("aurora") || database.cluster.is_some();
        if !is_aurora && !watches(RDS, &["FreeStorageSpace"]) {
            lacks.push("storage");
        }
        let is_heard = heard.iter().any(|one| {
            one.source_type.as_deref().is_none_or(|of| of == "db-instance")
                && (one.sources.is_empty() || one.sources.iter().any(|source| source == id))
        });
        if !is_heard {
            lacks.push("events");
        }
        if !lacks.is_empty() {
            gaps.push(Gap { database: id.to_owned(), place: place.clone(), lacks });
        }
    }
    (unwatched, gaps)
}
