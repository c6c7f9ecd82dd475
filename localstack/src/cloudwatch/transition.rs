//! What follows when an alarm changes its state: an entry in its history, its actions, and the notifications they publish.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::document::Document;
use crate::monitoring::alarm::{Alarm, AlarmState, Watches};
use crate::monitoring::history::HistoryItem;
use crate::monitoring::metrics::Dimensions;
use crate::scope;
use crate::sns;
use crate::stack::Context;

/// A time as alarms write it inside texts.
pub(super) fn format_short(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string()
}

/// An alarm that has just changed its state.
pub(super) struct Transition {
    alarm: Alarm,
    was: AlarmState,
}

/// The state that an alarm is to be in, and why.
pub(super) struct Verdict {
    pub(super) state: AlarmState,
    pub(super) reason: String,
    pub(super) data: Option<String>,
}

/// Sets an alarm's state. `None` if the alarm was in that state already, and no actions are to run.
pub(super) fn enter_state(
    alarm: &mut Alarm,
    history: &mut Vec<HistoryItem>,
    verdict: Verdict,
    now: DateTime<Utc>,
) -> Option<Transition> {
    let state = verdict.state;
    let was = std::mem::replace(&mut alarm.state, state);
    let old_reason = std::mem::replace(&mut alarm.reason, verdict.reason);
    let old_data = std::mem::replace(&mut alarm.reason_data, verdict.data);
    alarm.state_at = now;
    if was == state {
        return None;
    }
    alarm.turned_at = now;
    let parsed = |data: &Option<String>| {
        data.as_ref().and_then(|data| serde_json::from_str::<serde_json::Value>(data).ok())
    };
    let change = json!({
        "version": "1.0",
        "oldState": { "stateValue": was.name(), "stateReason": old_reason, "stateReasonData": parsed(&old_data) },
        "newState": {
            "stateValue": state.name(),
            "stateReason": alarm.reason,
            "stateReasonData": parsed(&alarm.reason_data),
        },
    });
    let summary = format!("Alarm updated from {} to {}", was.name(), state.name());
    history.push(HistoryItem::new(alarm, now, "StateUpdate", summary, change.to_string()));
    Some(Transition { alarm: alarm.clone(), was })
}

/// Runs the actions of an alarm's new state, and records in its history how each went.
pub(super) fn run_actions(cx: &Arc<Context>, region: &str, transition: Transition) {
    let Transition { alarm, was } = transition;
    // A composite alarm may depend on it.
    cx.monitoring.change_monitor(region, |monitor| monitor.changed_alarms.insert(alarm.name.clone()));
    if !alarm.actions_enabled {
        return;
    }
    let (subject, text) = notification(&alarm, was, region);
    let arn = alarm.arn(region);
    for action in alarm.actions(alarm.state) {
        let outcome = if action.starts_with("arn:aws:sns:") {
            let publisher = sns::Publisher { service: "cloudwatch.amazonaws.com", arn: &arn, region };
            let message = sns::Message { subject: Some(&subject), text: &text, ..sns::Message::default() };
            sns::publish(cx, action, &message, &publisher).map_err(|error| error.message)
        } else {
            // Lambda, Systems Manager, Auto Scaling.
            Err("The local stack has no service behind this action".to_owned())
        };
        let mut data = json!({
            "actionState": if outcome.is_ok() { "Succeeded" } else { "Failed" },
            "stateUpdateTimestamp": alarm.state_at.timestamp_millis(),
            "notificationResource": action,
            "publishedMessage": text,
        });
        let summary = match outcome {
            Ok(id) => {
                data["messageId"] = id.into();
                format!("Successfully executed action {action}")
            }
            Err(error) => {
                let summary = format!("Failed to execute action {action}. Received error: \"{error}\"");
                data["error"] = error.into();
                summary
            }
        };
        let item = HistoryItem::new(&alarm, cx.clock.now(), "Action", summary, data.to_string());
        cx.monitoring.change_monitor(region, |monitor| monitor.history.push(item));
    }
}

/// The subject and the text that an alarm publishes.
fn notification(alarm: &Alarm, was: AlarmState, region: &str) -> (String, String) {
    let region_name = display_name(scope::region_of(region));
    let mut subject = format!("{}: \"{}\" in {region_name}", alarm.state.name(), alarm.name);
    if subject.chars().count() > 99 {
        subject = subject.chars().take(96).collect::<String>() + "...";
    }
    let trigger = match &alarm.watches {
        Watches::Metric(watch) => json!({
            "MetricName": watch.metric.as_ref().map(|metric| &metric.name),
            "Namespace": watch.metric.as_ref().map(|metric| &metric.namespace),
            "StatisticType": if watch.statistic.is_some() { "Statistic" } else { "ExtendedStatistic" },
            "Statistic": watch.statistic.as_ref().map(|name| name.to_uppercase()),
            "ExtendedStatistic": watch.extended_statistic,
            "Unit": watch.unit,
            "Dimensions": watch.metric.as_ref().map(|metric| dimensions_json(&metric.dimensions)),
            "Period": watch.period,
            "EvaluationPeriods": watch.evaluation_periods,
            "DatapointsToAlarm": watch.datapoints_to_alarm,
            "ComparisonOperator": watch.comparison,
            "Threshold": watch.threshold,
            "TreatMissingData": watch.missing.unwrap_or_default().name(),
            "EvaluateLowSampleCountPercentile": watch.low_sample.as_deref().unwrap_or(""),
            "Metrics": watch.metrics.iter().map(Document::to_json).collect::<Vec<_>>(),
        }),
        Watches::Alarms { rule, .. } => json!({ "AlarmRule": rule }),
    };
    let message = json!({
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "AWSAccountId": scope::account_of(region),
        "AlarmConfigurationUpdatedTimestamp": format_short(alarm.configured_at),
        "NewStateValue": alarm.state.name(),
        "NewStateReason": alarm.reason,
        "StateChangeTime": format_short(alarm.state_at),
        "Region": region_name,
        "AlarmArn": alarm.arn(region),
        "OldStateValue": was.name(),
        "OKActions": alarm.ok_actions,
        "AlarmActions": alarm.alarm_actions,
        "InsufficientDataActions": alarm.insufficient_actions,
        "Trigger": trigger,
    });
    (subject, message.to_string())
}

/// A Region's name in notifications.
fn display_name(region: &str) -> &str {
    match region {
        "us-east-1" => "US East (N. Virginia)",
        "us-east-2" => "US East (Ohio)",
        "us-west-2" => "US West (Oregon)",
        "eu-west-1" => "EU (Ireland)",
        "eu-central-1" => "EU (Frankfurt)",
        "eu-west-2" => "EU (London)",
        "eu-north-1" => "EU (Stockholm)",
        "ap-southeast-2" => "Asia Pacific (Sydney)",
        other => other,
    }
}

fn dimensions_json(dimensions: &Dimensions) -> serde_json::Value {
    dimensions.iter().map(|(name, value)| json!({ "value": value, "name": name })).collect()
}
