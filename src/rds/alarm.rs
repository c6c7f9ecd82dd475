//! Alarms, and what they stand on: metrics, topics, event subscriptions. Plain data.

use super::spelling::aws_words;
use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Tags;

/// The identity of a metric: CloudWatch finds one only with *all* of its dimensions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub(crate) struct Metric {
    /// Such as `AWS/RDS`.
    pub namespace: String,
    /// Such as `FreeStorageSpace`.
    pub name: String,
    /// Values by name.
    pub dimensions: BTreeMap<String, String>,
}

impl Metric {
    /// A metric of one DB instance.
    pub(crate) fn of_instance(namespace: &str, name: &str, instance: &str) -> Self {
        Metric {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            dimensions: [("DBInstanceIdentifier".to_owned(), instance.to_owned())].into(),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.namespace, self.name)?;
        for (name, value) in &self.dimensions {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}

/// On which side of its threshold a value breaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Comparison {
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// Outside of a band that CloudWatch learns.
    Anomaly,
}

impl Comparison {
    /// The sign that people write.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Comparison::Above => ">",
            Comparison::AtLeast => ">=",
            Comparison::Below => "<",
            Comparison::AtMost => "<=",
            Comparison::Anomaly => "outside",
        }
    }

    /// Whether large values breach.
    pub(crate) fn is_upward(self) -> bool {
        matches!(self, Comparison::Above | Comparison::AtLeast)
    }

    /// Whether small values breach.
    pub(crate) fn is_downward(self) -> bool {
        matches!(self, Comparison::Below | Comparison::AtMost)
    }
}

/// How CloudWatch takes points that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Treatment {
    /// Without any point: `INSUFFICIENT_DATA`. CloudWatch's default.
    Missing,
    /// The alarm stays as it is.
    Ignore,
    /// As bad.
    Breaching,
    /// As good.
    NotBreaching,
}

impl Treatment {
    /// CloudWatch's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Treatment::Missing => "missing",
            Treatment::Ignore => "ignore",
            Treatment::Breaching => "breaching",
            Treatment::NotBreaching => "notBreaching",
        }
    }
}

/// One metric under watch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct MetricWatch {
    /// Which.
    pub metric: Metric,
    /// `Average`, `Minimum`, … or a percentile such as `p90`.
    pub statistic: String,
    /// Length of a period.
    pub period_seconds: i32,
    /// Periods that are looked at.
    pub evaluation_periods: i32,
    /// Breaching ones of them that raise the alarm.
    pub datapoints_to_alarm: i32,
    /// The side of the threshold.
    pub comparison: Comparison,
    /// In the metric's own unit.
    pub threshold: f64,
    /// What missing points count as.
    pub missing: Treatment,
    /// Only points of this unit count, if given.
    pub unit: Option<String>,
}

/// What an alarm looks at.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Watch {
    /// One metric.
    Metric(MetricWatch),
    /// Metric math, a query, anomaly detection: these metrics go into it.
    Computed(Vec<Metric>),
    /// Other alarms, by a rule.
    Alarms(String),
}

impl Watch {
    /// The one metric that is watched, if it is of that namespace.
    pub(crate) fn metric(&self, namespace: &str) -> Option<Metric> {
        match self {
            Watch::Metric(watch) if watch.metric.namespace == namespace => Some(watch.metric.clone()),
            _ => None,
        }
    }
}

/// Everything that `PutMetricAlarm` sets; it replaces all of it at once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct AlarmSpec {
    /// Unique in a Region.
    pub name: String,
    /// What it means and what to do.
    pub description: String,
    /// What it looks at.
    pub watch: Watch,
    /// Whether actions are carried out.
    pub actions_enabled: bool,
    /// ARNs, on `ALARM`.
    pub alarm_actions: Vec<String>,
    /// ARNs, on `OK`.
    pub ok_actions: Vec<String>,
    /// ARNs, on `INSUFFICIENT_DATA`.
    pub insufficient_data_actions: Vec<String>,
}

aws_words! {
    /// The state of an alarm.
    AlarmState {
        /// The rule is broken.
        Alarm = "ALARM",
        /// There are too few measurements to say.
        InsufficientData = "INSUFFICIENT_DATA",
        /// The rule holds.
        Ok = "OK",
    }
}

/// An alarm as CloudWatch reports it.
#[derive(Clone, Debug)]
pub(crate) struct Alarm {
    /// ARN.
    pub arn: String,
    /// How it is set.
    pub spec: AlarmSpec,
    /// Its state.
    pub state: AlarmState,
    /// Since when.
    pub since: Option<DateTime<Utc>>,
}

/// Something that happened to an alarm.
#[derive(Clone, Debug)]
pub(crate) struct HistoryItem {
    /// In a sentence.
    pub summary: String,
    /// In JSON.
    pub details: String,
    /// The ARN of what was notified, if CloudWatch says so.
    pub target: Option<String>,
    /// Whether that succeeded, if CloudWatch says so.
    pub has_succeeded: Option<bool>,
}

impl HistoryItem {
    /// Whether it is about the action with this ARN.
    pub(crate) fn concerns(&self, action: &str) -> bool {
        self.target.as_deref().map_or_else(|| self.summary.contains(action), |target| target == action)
    }
}

/// An SNS topic.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    /// ARN.
    pub arn: String,
    /// Subscriptions that are delivered to.
    pub confirmed: u32,
    /// Subscriptions that nobody has confirmed yet.
    pub pending: u32,
    /// Its access policy, JSON.
    pub policy: String,
    /// The KMS key that it is encrypted with.
    pub key: Option<String>,
}

/// Which events of RDS go to which topic.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EventSubscription {
    /// Name.
    pub name: String,
    /// ARN.
    pub arn: String,
    /// ARN of the topic.
    pub topic: String,
    /// `db-instance`, `db-snapshot`, …; all types if absent.
    pub source_type: Option<String>,
    /// Ids of the sources; all if empty.
    pub sources: Vec<String>,
    /// Categories; all if empty.
    pub categories: Vec<String>,
    /// Whether it is on.
    pub enabled: bool,
    /// `active`, `no-permission`, `topic-not-exist`, …
    pub status: String,
    /// Tags, where they were asked for.
    pub tags: Tags,
}

/// A value of a metric of our own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Measurement {
    /// Whose.
    pub database: String,
    /// Name of the metric in the namespace `Lifeboat`.
    pub metric: &'static str,
    /// CloudWatch's word for its unit.
    pub unit: &'static str,
    /// Value.
    pub value: f64,
}
