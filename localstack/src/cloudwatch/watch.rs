//! The loop that evaluates alarms whenever something could have changed their states, and runs their actions.
//!
//! CloudWatch evaluates alarms every minute. The stack does too, and also within a tick after metrics arrived or an alarm
//! changed, and after its clock jumped; the current minute counts with the points that it has so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use crate::cloudwatch::composite_rule::Rule;
use crate::cloudwatch::evaluate::{EXTRA_POINTS, evaluate_points};
use crate::cloudwatch::instance_metrics::measure_instances;
use crate::cloudwatch::transition::{Transition, Verdict, enter_state, format_short, run_actions};
use crate::monitoring::Monitor;
use crate::monitoring::alarm::{Alarm, AlarmState, Comparison, MetricWatch, Treatment, Watches};
use crate::monitoring::history;
use crate::monitoring::metrics::Metric;
use crate::stack::Context;

/// Measures instances and evaluates alarms for as long as the stack runs.
pub(crate) async fn keep_watch(cx: Arc<Context>) {
    let stopping = cx.stopping.listener();
    let mut measured = None;
    let mut minute = None;
    loop {
        let now = cx.clock.now();
        measured = Some(measure_instances(&cx, measured, now).await);
        let this_minute = now.timestamp().div_euclid(60);
        evaluate_due_alarms(&cx, now, minute != Some(this_minute));
        minute = Some(this_minute);
        tokio::select! {
            () = cx.clock.sleep_until(now + TimeDelta::from_std(cx.pace.tick()).unwrap_or_default()) => {}
            () = stopping.wait() => return,
        }
    }
}

/// Evaluates the alarms of every Region with new metrics or changed alarms; all of them when a new minute began.
fn evaluate_due_alarms(cx: &Arc<Context>, now: DateTime<Utc>, is_new_minute: bool) {
    let has_work = cx.monitoring.read(|all| {
        let mut monitors = all.monitors.values();
        is_new_minute || monitors.any(|monitor| monitor.has_new_metrics || !monitor.changed_alarms.is_empty())
    });
    if !has_work {
        return;
    }
    let transitions = cx.monitoring.change(|all| {
        let mut transitions = Vec::new();
        for (region, monitor) in &mut all.monitors {
            if is_new_minute {
                monitor.metrics.forget_before(now);
                monitor.history.retain(|item| item.at >= now - history::KEPT);
            }
            let is_everything = std::mem::take(&mut monitor.has_new_metrics) || is_new_minute;
            let changed = std::mem::take(&mut monitor.changed_alarms);
            if is_everything || !changed.is_empty() {
                let only = if is_everything { None } else { Some(&changed) };
                let evaluated = evaluate_alarms(monitor, now, only);
                transitions.extend(evaluated.into_iter().map(|transition| (region.clone(), transition)));
            }
        }
        transitions
    });
    for (region, transition) in transitions {
        run_actions(cx, &region, transition);
    }
}

/// Evaluates all metric alarms, or only some of them, and then every composite alarm.
fn evaluate_alarms(
    monitor: &mut Monitor,
    now: DateTime<Utc>,
    only: Option<&BTreeSet<String>>,
) -> Vec<Transition> {
    let Monitor { alarms, history, metrics, .. } = monitor;
    let mut transitions = Vec::new();
    for alarm in alarms.values_mut().filter(|alarm| only.is_none_or(|only| only.contains(&alarm.name))) {
        let Watches::Metric(watch) = &alarm.watches else { continue };
        let Some(verdict) = evaluate_metric(watch, now, |metric, start, end| {
            let statistic =
                watch.statistic.as_deref().or(watch.extended_statistic.as_deref()).unwrap_or_default();
            metrics.bucket_between(metric, watch.unit.as_deref(), start, end).statistic(statistic)
        }) else {
            continue;
        };
        if verdict.state != alarm.state {
            transitions.extend(enter_state(alarm, history, verdict, now));
        }
    }
    if !alarms.values().any(Alarm::is_composite) {
        return transitions;
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
            transitions.extend(enter_state(alarm, history, Verdict { state, reason, data: None }, now));
        }
    }
    transitions
}

/// The state that the points of its metric call for; `None` if the alarm stays as it is.
fn evaluate_metric(
    watch: &MetricWatch,
    now: DateTime<Utc>,
    value: impl Fn(&Metric, i64, i64) -> Option<f64>,
) -> Option<Verdict> {
    let (metric, period) = (watch.metric.as_ref()?, watch.period?.max(60));
    let periods = usize::try_from(watch.evaluation_periods).ok()?;
    let to_alarm = usize::try_from(watch.datapoints_to_alarm.unwrap_or(watch.evaluation_periods)).ok()?;
    let end = (now.timestamp().div_euclid(60) + 1) * 60;
    let spans = (0..periods + EXTRA_POINTS).rev().filter_map(|back| i64::try_from(back).ok());
    let points: Vec<(i64, Option<f64>)> = spans
        .map(|back| {
            let start = end - (back + 1) * period;
            (start, value(metric, start, start + period))
        })
        .collect();
    let breaches = |value: f64| watch.comparison.is_breached(value, watch.threshold.unwrap_or(f64::NAN));
    let breaching: Vec<Option<bool>> = points.iter().map(|(_, value)| value.map(breaches)).collect();
    let treatment = watch.missing.unwrap_or_default();
    let state = evaluate_points(&breaching, periods, to_alarm, treatment)?;
    let recent: Vec<(i64, f64)> =
        points.iter().rev().filter_map(|(start, value)| Some((*start, (*value)?))).take(periods).collect();
    let reason = Evaluation { watch, state, recent: &recent, periods, to_alarm, treatment }.state_reason();
    let data = json!({
        "version": "1.0",
        "queryDate": format_short(now),
        "startDate": recent.last().and_then(|(start, _)| DateTime::from_timestamp(*start, 0)).map(format_short),
        "statistic": watch.statistic.as_ref().or(watch.extended_statistic.as_ref()),
        "period": watch.period,
        "recentDatapoints": recent.iter().rev().map(|(_, value)| *value).collect::<Vec<_>>(),
        "threshold": watch.threshold,
    });
    Some(Verdict { state, reason, data: Some(data.to_string()) })
}

/// How a metric alarm came to its state.
struct Evaluation<'a> {
    watch: &'a MetricWatch,
    state: AlarmState,
    /// The start and value of the newest points, newest first.
    recent: &'a [(i64, f64)],
    periods: usize,
    to_alarm: usize,
    treatment: Treatment,
}

impl Evaluation<'_> {
    /// The alarm's `StateReason`.
    fn state_reason(&self) -> String {
        let Self { watch, state, recent, periods, to_alarm, treatment } = *self;
        let missing = periods - recent.len();
        let datapoints_were = if missing == 1 { "datapoint was" } else { "datapoints were" };
        if state == AlarmState::InsufficientData {
            return format!("Insufficient Data: {missing} {datapoints_were} unknown.");
        }
        let treated = if treatment == Treatment::Breaching { "Breaching" } else { "NonBreaching" };
        if recent.is_empty() {
            return format!(
                "Threshold Crossed: no datapoints were received for {periods} period{} and {missing} missing {datapoints_were} treated \
                 as [{treated}].",
                if periods == 1 { "" } else { "s" }
            );
        }
        let threshold = watch.threshold.unwrap_or_default();
        let is_alarm = state == AlarmState::Alarm;
        let counted: Vec<String> = recent
            .iter()
            .filter(|(_, value)| watch.comparison.is_breached(*value, threshold) == is_alarm)
            .map(|(start, value)| {
                let at = DateTime::from_timestamp(*start, 0).unwrap_or_default();
                format!("{value:?} ({})", at.format("%d/%m/%y %H:%M:%S"))
            })
            .collect();
        let words = match watch.comparison {
            Comparison::GreaterThanOrEqualToThreshold => "greater than or equal to",
            Comparison::GreaterThanThreshold => "greater than",
            Comparison::LessThanThreshold => "less than",
            _ => "less than or equal to",
        };
        let filled = if missing > 0 && treatment == Treatment::Breaching && is_alarm {
            format!(" and {missing} missing {datapoints_were} treated as [{treated}]")
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
}
