//! The history of alarms: configuration, states, actions. Kept for 30 days.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

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
    /// `change` is `Create`, `Update` or `Delete`.
    pub(crate) fn configuration(alarm: &Alarm, at: DateTime<Utc>, change: &str, summary: &str) -> Self {
        let data = json!({ "version": "1.0", "type": change }).to_string();
        let summary = format!("Alarm \"{}\" {summary}", alarm.name);
        Self::new(alarm, at, "ConfigurationUpdate", summary, data)
    }

    pub(crate) fn new(alarm: &Alarm, at: DateTime<Utc>, kind: &str, summary: String, data: String) -> Self {
        let (name, alarm_type) = (alarm.name.clone(), alarm.kind().to_owned());
        Self { alarm: name, alarm_type, at, kind: kind.to_owned(), summary, data }
    }
}
