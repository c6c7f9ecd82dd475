//! The watch: alarms are evaluated whenever something could have changed them, and do what they are for.
//!
//! CloudWatch evaluates each minute. The stack does too, and also within its tick after metrics came or an alarm
//! changed, and after a jump of its clock; the minute that is not over yet counts with the points it has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::alarms::{MetricWatch, Watches, notice_dimensions};
use super::evaluate::{AlarmState, MORE, Treatment, state};
use super::history::{self, HistoryItem};
use super::metrics::Metric;
use super::rule::Rule;
use super::{Alarm, Monitor, feed};
use crate::document::Document;
use crate::place;
use crate::sns;
use crate::stack::Shared;

/// Feeds metrics and evaluates alarms for as long as the stack runs.
pub(crate) async fn keep_watch(shared: Arc<Shared>) {
    let stopping = shared.stopping.listener();
    let mut fed = None;
    let mut minute = None;
    loop {
        let now = shared.clock.now();
        fed = Some(feed::feed(&shared, fed, now).await);
        let this_minute = now.timestamp().div_euclid(60);
        look(&shared, now, minute != Some(this_minute));
        minute = Some(this_minute);
        tokio::select! {
            () = shared.clock.sleep_until(now + TimeDelta::from_std(shared.pace.tick()).unwrap_or_default()) => {}
            () = stopping.given() => return,
        }
    }
}

/// Evaluates the alarms of every Region where something stirred; all of them when a new minute began.
fn look(shared: &Arc<Shared>, now: DateTime<Utc>, is_new_minute: bool) {
    let has_work = shared.monitoring.read(|all| {
        is_new_minute || all.monitors.values().any(|monitor| monitor.stirred || !monitor.fresh.is_empty())
    });
    if !has_work {
        return;
    }
    let deeds = shared.monitoring.change(|all| {
        let mut deeds = Vec::new();
        for (region, monitor) in &mut all.monitors {
            if is_new_minute {
                monitor.metrics.forget_before(now);
                monitor.history.retain(|item| item.at >= now - history::KEPT);
            }
            let is_everything = std::mem::take(&mut monitor.stirred) || is_new_minute;
            let fresh = std::mem::take(&mut monitor.fresh);
            if is_everything || !fresh.is_empty() {
                let only = if is_everything { None } else { Some(&fresh) };
                deeds.extend(evaluate_all(monitor, now, only).into_iter().map(|deed| (region.clone(), deed)));
            }
        }
        deeds
    });
    for (region, deed) in deeds {
        act(shared, &region, Some(deed));
    }
}

/// Evaluates all metric alarms, or only some, and then every composite one.
fn evaluate_all(monitor: &mut Monitor, now: DateTime<Utc>, only: Option<&BTreeSet<String>>) -> Vec<Deed> {
    let Monitor { alarms, history, metrics, .. } = monitor;
    let mut deeds = Vec::new();
    for alarm in alarms.values_mut().filter(|alarm| only.is_none_or(|only| only.contains(&alarm.name))) {
        let Watches::Metric(watch) = &alarm.watches else { continue };
        let Some(verdict) = judge(watch, now, |metric, start, end| {
            let statistic =
                watch.statistic.as_deref().or(watch.extended_statistic.as_deref()).unwrap_or_default();
            metrics.span(metric, watch.unit.as_deref(), start, end).statistic(statistic)
        }) else {
            continue;
        };
        if verdict.state != alarm.state {
            deeds.extend(turn(alarm, history, verdict.state, verdict.reason, Some(verdict.data), now));
        }
    }
    if !alarms.values().any(Alarm::is_composite) {
        return deeds;
    }
    let states: BTreeMap<String, AlarmState> =
        alarms.values().map(|alarm| (alarm.name.clone(), alarm.state)).collect();
    let state_of = |name: &str| states.get(name).copied();
    for alarm in alarms.values_mut() {
        let Watches::Alarms { rule, .. } = &alarm.watches else { continue };
        let holds = Rule::parse(rule).is_some_and(|rule| rule.holds(&state_of));
        let state = if holds { AlarmState::Alarm } else { AlarmState::Ok };
        if state != alarm.state {
            let reason = format!("{rule} evaluated to {}", state.name());
            deeds.extend(turn(alarm, history, state, reason, None, now));
        }
    }
    deeds
}

struct Verdict {
    state: AlarmState,
    reason: String,
    data: String,
}

/// What the points of its metric say about an alarm; `None` leaves it as it is.
fn judge(
    watch: &MetricWatch,
    now: DateTime<Utc>,
    value: impl Fn(&Metric, i64, i64) -> Option<f64>,
) -> Option<Verdict> {
    let (metric, period) = (watch.metric.as_ref()?, watch.period?.max(60));
    let periods = usize::try_from(watch.evaluation_periods).ok()?;
    let to_alarm = usize::try_from(watch.datapoints_to_alarm.unwrap_or(watch.evaluation_periods)).ok()?;
    let end = (now.timestamp().div_euclid(60) + 1) * 60;
    let spans = (0..periods + MORE).rev().filter_map(|back| i64::try_from(back).ok());
    let points: Vec<(i64, Option<f64>)> = spans
        .map(|back| {
            let start = end - (back + 1) * period;
            (start, value(metric, start, start + period))
        })
        .collect();
    let breaches = |value: f64| is_breach(&watch.comparison, value, watch.threshold.unwrap_or(f64::NAN));
    let breaching: Vec<Option<bool>> = points.iter().map(|(_, value)| value.map(breaches)).collect();
    let treatment = watch.missing.unwrap_or_default();
    let state = state(&breaching, periods, to_alarm, treatment)?;
    let recent: Vec<(i64, f64)> =
        points.iter().rev().filter_map(|(start, value)| Some((*start, (*value)?))).take(periods).collect();
    let reason = reason(watch, state, &recent, periods, to_alarm, treatment);
    let data = json!({
        "version": "1.0",
        "queryDate": short(now),
        "startDate": recent.last().and_then(|(start, _)| DateTime::from_timestamp(*start, 0)).map(short),
        "statistic": watch.statistic.as_ref().or(watch.extended_statistic.as_ref()),
        "period": watch.period,
        "recentDatapoints": recent.iter().rev().map(|(_, value)| *value).collect::<Vec<_>>(),
        "threshold": watch.threshold,
    });
    Some(Verdict { state, reason, data: data.to_string() })
}

fn is_breach(comparison: &str, value: f64, threshold: f64) -> bool {
    match comparison {
        "GreaterThanOrEqualToThreshold" => value >= threshold,
        "GreaterThanThreshold" => value > threshold,
        "LessThanThreshold" => value < threshold,
        "LessThanOrEqualToThreshold" => value <= threshold,
        _ => false,
    }
}

fn reason(
    watch: &MetricWatch,
    state: AlarmState,
    recent: &[(i64, f64)],
    periods: usize,
    to_alarm: usize,
    treatment: Treatment,
) -> String {
    let missing = periods - recent.len();
    let is_many = if missing == 1 { "datapoint was" } else { "datapoints were" };
    if state == AlarmState::InsufficientData {
        return format!("Insufficient Data: {missing} {is_many} unknown.");
    }
    let treated = match treatment {
        Treatment::Breaching => "Breaching",
        _ => "NonBreaching",
    };
    if recent.is_empty() {
        return format!(
            "Threshold Crossed: no datapoints were received for {periods} period{} and {missing} missing {is_many} treated \
             as [{treated}].",
            if periods == 1 { "" } else { "s" }
        );
    }
    let threshold = watch.threshold.unwrap_or_default();
    let is_alarm = state == AlarmState::Alarm;
    let counted: Vec<String> = recent
        .iter()
        .filter(|(_, value)| is_breach(&watch.comparison, *value, threshold) == is_alarm)
        .map(|(start, value)| {
            let at = DateTime::from_timestamp(*start, 0).unwrap_or_default();
            format!("{value:?} ({})", at.format("%d/%m/%y %H:%M:%S"))
        })
        .collect();
    let words = match watch.comparison.as_str() {
        "GreaterThanOrEqualToThreshold" => "greater than or equal to",
        "GreaterThanThreshold" => "greater than",
        "LessThanThreshold" => "less than",
        _ => "less than or equal to",
    };
    let filled = if missing > 0 && treatment == Treatment::Breaching && is_alarm {
        format!(" and {missing} missing {is_many} treated as [{treated}]")
    } else {
        String::new()
    };
    format!(
        "Threshold Crossed: {} out of the last {periods} datapoints [{}] {} {}{words} the threshold ({threshold:?}){filled} \
         (minimum {} for {} transition).",
        counted.len(),
        counted.join(", "),
        if counted.len() == 1 { "was" } else { "were" },
        if is_alarm { "" } else { "not " },
        if to_alarm == 1 { "1 datapoint".to_owned() } else { format!("{to_alarm} datapoints") },
        if is_alarm { "OK -> ALARM" } else { "ALARM -> OK" },
    )
}

/// Times inside texts are written so.
fn short(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string()
}

/// A change of state that asks for actions.
pub(super) struct Deed {
    alarm: Alarm,
    was: AlarmState,
}

/// Sets an alarm's state. Actions follow only when the state is another one.
pub(super) fn turn(
    alarm: &mut Alarm,
    history: &mut Vec<HistoryItem>,
    state: AlarmState,
    reason: String,
    data: Option<String>,
    now: DateTime<Utc>,
) -> Option<Deed> {
    let was = alarm.state;
    let old_reason = std::mem::replace(&mut alarm.reason, reason);
    let old_data = std::mem::replace(&mut alarm.reason_data, data);
    alarm.state = state;
    alarm.state_at = now;
    if was == state {
        return None;
    }
    alarm.turned_at = now;
    let parsed = |data: &Option<String>| {
        data.as_ref().and_then(|data| serde_json::from_str::<serde_json::Value>(data).ok())
    };
    let told = json!({
        "version": "1.0",
        "oldState": { "stateValue": was.name(), "stateReason": old_reason, "stateReasonData": parsed(&old_data) },
        "newState": {
            "stateValue": state.name(),
            "stateReason": alarm.reason,
            "stateReasonData": parsed(&alarm.reason_data),
        },
    });
    let summary = format!("Alarm updated from {} to {}", was.name(), state.name());
    history.push(HistoryItem::new(alarm, now, "StateUpdate", summary, told.to_string()));
    Some(Deed { alarm: alarm.clone(), was })
}

/// Does what an alarm is to do in its new state, and writes down how that went.
pub(super) fn act(shared: &Arc<Shared>, region: &str, deed: Option<Deed>) {
    let Some(Deed { alarm, was }) = deed else { return };
    // A composite alarm may wait for it.
    shared.monitoring.change(|all| {
        all.monitors.entry(region.to_owned()).or_default().fresh.insert(alarm.name.clone());
    });
    if !alarm.actions_enabled {
        return;
    }
    let (subject, message) = notice(&alarm, was, region);
    let arn = alarm.arn(region);
    for action in alarm.actions(alarm.state) {
        let outcome = if action.starts_with("arn:aws:sns:") {
            let publisher = sns::Publisher { service: "cloudwatch.amazonaws.com", arn: &arn, region };
            sns::publish(shared, action, Some(&subject), &message, &publisher).map_err(|error| error.message)
        } else {
            // Lambda, Systems Manager, Auto Scaling: nothing of the kind is here.
            Err("The local stack has no service behind this action".to_owned())
        };
        let (summary, data) = match outcome {
            Ok(id) => (
                format!("Successfully executed action {action}"),
                json!({
                    "actionState": "Succeeded",
                    "stateUpdateTimestamp": alarm.state_at.timestamp_millis(),
                    "notificationResource": action,
                    "publishedMessage": message,
                    "messageId": id,
                }),
            ),
            Err(error) => (
                format!("Failed to execute action {action}. Received error: \"{error}\""),
                json!({
                    "actionState": "Failed",
                    "stateUpdateTimestamp": alarm.state_at.timestamp_millis(),
                    "notificationResource": action,
                    "publishedMessage": message,
                    "error": error,
                }),
            ),
        };
        shared.monitoring.change(|all| {
            let monitor = all.monitors.entry(region.to_owned()).or_default();
            monitor.history.push(HistoryItem::new(
                &alarm,
                shared.clock.now(),
                "Action",
                summary,
                data.to_string(),
            ));
        });
    }
}

/// Subject and text of what an alarm publishes.
fn notice(alarm: &Alarm, was: AlarmState, region: &str) -> (String, String) {
    let place_name = name_of(place::region(region));
    let mut subject = format!("{}: \"{}\" in {place_name}", alarm.state.name(), alarm.name);
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
            "Dimensions": watch.metric.as_ref().map(|metric| notice_dimensions(&metric.dimensions)),
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
        "AWSAccountId": place::account(region),
        "AlarmConfigurationUpdatedTimestamp": short(alarm.configured_at),
        "NewStateValue": alarm.state.name(),
        "NewStateReason": alarm.reason,
        "StateChangeTime": short(alarm.state_at),
        "Region": place_name,
        "AlarmArn": alarm.arn(region),
        "OldStateValue": was.name(),
        "OKActions": alarm.ok_actions,
        "AlarmActions": alarm.alarm_actions,
        "InsufficientDataActions": alarm.insufficient_actions,
        "Trigger": trigger,
    });
    (subject, message.to_string())
}

/// A Region as notices call it.
fn name_of(region: &str) -> &str {
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
