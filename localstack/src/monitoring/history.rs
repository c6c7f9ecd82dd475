//! The history of alarms: configuration, states, actions. Kept for 30 days.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::monitoring::alarm::Alarm;

pub(crate) const KEPT: TimeDelta = TimeDelta::days(30);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HistoryItem {
    pub(crate) alarm: String,
    pub(crate) alarm_type: String,
    pub(crate) at: DateTime<Utc>,
    /// `ConfigurationUpdate`, `StateUpdate` or `Action`.
    pub(crate) kind: String,
    pub(crate) summary: String,
    pub(crate) data: String,
}

impl HistoryItem {
    pub(crate) fn new(alarm: &Alarm, at: DateTime<Utc>, kind: &str, summary: String, data: String) -> Self {
        let (name, alarm_type) = (alarm.name.clone(), alarm.kind().to_owned());
        Self { alarm: name, alarm_type, at, kind: kind.to_owned(), summary, data }
    }
}
