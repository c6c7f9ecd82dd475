//! What an alarm is: its configuration and the state it is in.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::monitoring::metrics::Metric;
use crate::scope;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AlarmState {
    Ok,
    Alarm,
    InsufficientData,
}

impl AlarmState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
            Self::InsufficientData => "INSUFFICIENT_DATA",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Ok, Self::Alarm, Self::InsufficientData].into_iter().find(|state| state.name() == name)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Treatment {
    #[default]
    Missing,
    Ignore,
    Breaching,
    NotBreaching,
}

impl Treatment {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Ignore => "ignore",
            Self::Breaching => "breaching",
            Self::NotBreaching => "notBreaching",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Missing, Self::Ignore, Self::Breaching, Self::NotBreaching]
            .into_iter()
            .find(|treatment| treatment.name() == name)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Alarm {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) actions_enabled: bool,
    pub(crate) ok_actions: Vec<String>,
    pub(crate) alarm_actions: Vec<String>,
    pub(crate) insufficient_actions: Vec<String>,
    pub(crate) watches: Watches,
    pub(crate) state: AlarmState,
    pub(crate) reason: String,
    pub(crate) reason_data: Option<String>,
    /// When the state was last set, be it to the same value.
    pub(crate) state_at: DateTime<Utc>,
    /// When the state last changed.
    pub(crate) turned_at: DateTime<Utc>,
    pub(crate) configured_at: DateTime<Utc>,
    pub(crate) tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Watches {
    Metric(MetricWatch),
    /// A composite alarm watches other alarms by a rule.
    Alarms {
        rule: String,
        suppressor: Option<String>,
        wait: Option<i64>,
        extension: Option<i64>,
    },
}

/// What is watched of a metric, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MetricWatch {
    /// Absent if it is computed from several metrics.
    pub(crate) metric: Option<Metric>,
    pub(crate) statistic: Option<String>,
    pub(crate) extended_statistic: Option<String>,
    pub(crate) period: Option<i64>,
    pub(crate) unit: Option<String>,
    pub(crate) evaluation_periods: i64,
    pub(crate) datapoints_to_alarm: Option<i64>,
    pub(crate) threshold: Option<f64>,
    pub(crate) comparison: Comparison,
    pub(crate) missing: Option<Treatment>,
    pub(crate) low_sample: Option<String>,
    /// Metric math, as the request had it.
    pub(crate) metrics: Vec<Document>,
    pub(crate) threshold_metric: Option<String>,
}

/// How a metric is compared with the threshold. The last three compare with a band of metric math.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::enum_variant_names, reason = "these are CloudWatch's own names")]
pub(crate) enum Comparison {
    GreaterThanOrEqualToThreshold,
    GreaterThanThreshold,
    LessThanThreshold,
    LessThanOrEqualToThreshold,
    LessThanLowerOrGreaterThanUpperThreshold,
    LessThanLowerThreshold,
    GreaterThanUpperThreshold,
}

impl Comparison {
    pub(crate) const ALL: [Self; 7] = [
        Self::GreaterThanOrEqualToThreshold,
        Self::GreaterThanThreshold,
        Self::LessThanThreshold,
        Self::LessThanOrEqualToThreshold,
        Self::LessThanLowerOrGreaterThanUpperThreshold,
        Self::LessThanLowerThreshold,
        Self::GreaterThanUpperThreshold,
    ];

    /// CloudWatch's name, which is the variant's.
    pub(crate) fn name(self) -> String {
        format!("{self:?}")
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|comparison| comparison.name() == name)
    }

    pub(crate) fn is_breached(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::GreaterThanOrEqualToThreshold => value >= threshold,
            Self::GreaterThanThreshold => value > threshold,
            Self::LessThanThreshold => value < threshold,
            Self::LessThanOrEqualToThreshold => value <= threshold,
            _ => false,
        }
    }
}

impl Alarm {
    pub(crate) fn arn(&self, region: &str) -> String {
        format!("arn:aws:cloudwatch:{}:alarm:{}", scope::arn_part(region), self.name)
    }

    pub(crate) fn is_composite(&self) -> bool {
        matches!(self.watches, Watches::Alarms { .. })
    }

    pub(crate) fn kind(&self) -> &'static str {
        if self.is_composite() { "CompositeAlarm" } else { "MetricAlarm" }
    }

    /// The actions that it runs when it enters `state`.
    pub(crate) fn actions(&self, state: AlarmState) -> &[String] {
        match state {
            AlarmState::Ok => &self.ok_actions,
            AlarmState::Alarm => &self.alarm_actions,
            AlarmState::InsufficientData => &self.insufficient_actions,
        }
    }
}
