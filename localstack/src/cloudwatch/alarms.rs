//! The actions that create, change and delete alarms.

use std::collections::BTreeMap;

use crate::cloudwatch::composite_rule::Rule;
use crate::cloudwatch::request::{
    Request, empty_result, invalid_combination, invalid_value, missing_parameter, read_dimensions, refusal,
    validation_error, write_pairs,
};
use crate::cloudwatch::transition::{Verdict, enter_state, run_actions};
use crate::document::{Document, Fields};
use crate::error::{ApiError, Result};
use crate::monitoring::Monitor;
use crate::monitoring::alarm::{Alarm, AlarmState, Comparison, MetricWatch, Treatment, Watches};
use crate::monitoring::history::HistoryItem;
use crate::monitoring::metrics::{Metric, is_extended, is_statistic};
use crate::scope;

/// Actions per state.
const MOST_ACTIONS: usize = 5;

pub(super) fn put_metric_alarm(request: &Request<'_>) -> Result<Document> {
    let watches = Watches::Metric(read_metric_watch(request.input)?);
    put_alarm(request, watches)
}

pub(super) fn put_composite_alarm(request: &Request<'_>) -> Result<Document> {
    let input = request.input;
    let rule = input.required("AlarmRule")?;
    let parsed = Rule::parse(rule)
        .filter(|_| rule.len() <= 10_240)
        .ok_or_else(|| validation_error("AlarmRule must be valid: it could not be parsed."))?;
    let absent = request.read(|monitor| {
        let mut children = parsed.children().into_iter();
        children.find(|child| !monitor.alarms.contains_key(*child)).map(str::to_owned)
    });
    if let Some(child) = absent {
        return Err(validation_error(format!(
            "Could not create or update alarm: alarm {child} in AlarmRule does not exist."
        )));
    }
    let watches = Watches::Alarms {
        rule: rule.to_owned(),
        suppressor: input.owned("ActionsSuppressor"),
        wait: input.integer("ActionsSuppressorWaitPeriod")?,
        extension: input.integer("ActionsSuppressorExtensionPeriod")?,
    };
    put_alarm(request, watches)
}

/// An existing alarm is overwritten as a whole, but keeps its state and its tags.
fn put_alarm(request: &Request<'_>, watches: Watches) -> Result<Document> {
    let input = request.input;
    let name = input.required("AlarmName")?;
    if name.chars().count() > 255 {
        return Err(too_long("alarmName", 255));
    }
    let description = input.owned("AlarmDescription");
    if description.as_ref().is_some_and(|text| text.chars().count() > 1024) {
        return Err(too_long("alarmDescription", 1024));
    }
    let mut new = Alarm {
        name: name.to_owned(),
        description,
        actions_enabled: input.flag("ActionsEnabled")?.unwrap_or(true),
        ok_actions: requested_actions(request, "OKActions")?,
        alarm_actions: requested_actions(request, "AlarmActions")?,
        insufficient_actions: requested_actions(request, "InsufficientDataActions")?,
        watches,
        state: AlarmState::InsufficientData,
        reason: "Unchecked: Initial alarm creation".to_owned(),
        reason_data: None,
        state_at: request.now,
        turned_at: request.now,
        configured_at: request.now,
        tags: requested_tags(input)?,
    };
    request.change(|monitor| {
        let (change, summary) = match monitor.alarms.get(name) {
            Some(old) if old.is_composite() != new.is_composite() => {
                return Err(validation_error(format!("Alarm {name} exists already and is of another type.")));
            }
            Some(old) => {
                new.state = old.state;
                new.reason.clone_from(&old.reason);
                new.reason_data.clone_from(&old.reason_data);
                (new.state_at, new.turned_at) = (old.state_at, old.turned_at);
                new.tags.clone_from(&old.tags);
                ("Update", "updated")
            }
            None => ("Create", "created"),
        };
        monitor.history.push(HistoryItem::configuration(&new, request.now, change, summary));
        monitor.alarms.insert(name.to_owned(), new);
        monitor.changed_alarms.insert(name.to_owned());
        Ok(empty_result())
    })
}

fn too_long(member: &str, most: usize) -> ApiError {
    validation_error(format!(
        "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must have length less than \
         or equal to {most}"
    ))
}

fn requested_actions(request: &Request<'_>, name: &str) -> Result<Vec<String>> {
    let actions = request.input.texts(name);
    if actions.len() > MOST_ACTIONS {
        let member = format!("{}{}", name[..1].to_lowercase(), &name[1..]);
        return Err(too_long(&member, MOST_ACTIONS));
    }
    if let Some(wrong) = actions.iter().find(|arn| !arn.starts_with("arn:") || arn.split(':').count() < 6) {
        return Err(validation_error(format!("Invalid arn syntax: {wrong}")));
    }
    let here = scope::region_of(request.region);
    let elsewhere = actions.iter().filter_map(|arn| arn.split(':').nth(3)).find(|region| *region != here);
    if let Some(region) = elsewhere.filter(|region| !region.is_empty()) {
        return Err(validation_error(format!(
            "Invalid region {region} specified. Only {here} is supported."
        )));
    }
    Ok(actions)
}

fn read_metric_watch(input: &Document) -> Result<MetricWatch> {
    let metrics = input.items("Metrics").to_vec();
    let metric = match (input.text("Namespace"), input.text("MetricName")) {
        _ if !metrics.is_empty() => None,
        (Some(namespace), Some(name)) => {
            if namespace.len() > 255 || namespace.starts_with(':') {
                return Err(validation_error("The value for Namespace is invalid."));
            }
            Some(Metric {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                dimensions: read_dimensions(input)?,
            })
        }
        _ => return Err(missing_parameter("MetricName, Namespace")),
    };
    let watch = MetricWatch {
        metric,
        statistic: input.owned("Statistic"),
        extended_statistic: input.owned("ExtendedStatistic"),
        period: input.integer("Period")?,
        unit: input.owned("Unit"),
        evaluation_periods: input
            .integer("EvaluationPeriods")?
            .ok_or_else(|| missing_parameter("EvaluationPeriods"))?,
        datapoints_to_alarm: input.integer("DatapointsToAlarm")?,
        threshold: input.number("Threshold")?,
        comparison: read_comparison(input)?,
        missing: input.text("TreatMissingData").map(read_treatment).transpose()?,
        low_sample: input.owned("EvaluateLowSampleCountPercentile"),
        metrics,
        threshold_metric: input.owned("ThresholdMetricId"),
    };
    check_metric_watch(&watch)?;
    Ok(watch)
}

fn read_treatment(name: &str) -> Result<Treatment> {
    Treatment::from_name(name).ok_or_else(|| {
        validation_error(format!(
            "The value '{name}' for parameter TreatMissingData is not valid. Valid values are breaching, notBreaching, \
             ignore, missing"
        ))
    })
}

fn read_comparison(input: &Document) -> Result<Comparison> {
    let name = input.text("ComparisonOperator").ok_or_else(|| missing_parameter("ComparisonOperator"))?;
    Comparison::from_name(name).ok_or_else(|| {
        let known = Comparison::ALL.map(Comparison::name).join(", ");
        validation_error(format!(
            "1 validation error detected: Value '{name}' at 'comparisonOperator' failed to satisfy constraint: Member must \
             satisfy enum value set: [{known}]"
        ))
    })
}

fn check_metric_watch(watch: &MetricWatch) -> Result<()> {
    if watch.threshold_metric.is_none() && !watch.threshold.is_some_and(f64::is_finite) {
        return Err(missing_parameter("Threshold"));
    }
    let periods = watch.evaluation_periods;
    if periods < 1 {
        return Err(validation_error("The parameter EvaluationPeriods must be at least 1."));
    }
    if watch.datapoints_to_alarm.is_some_and(|points| points < 1 || points > periods) {
        return Err(validation_error("DatapointsToAlarm must be between 1 and EvaluationPeriods."));
    }
    if !watch.metrics.is_empty() {
        return Ok(());
    }
    match (&watch.statistic, &watch.extended_statistic) {
        (Some(_), Some(_)) | (None, None) => {
            return Err(invalid_combination(
                "Exactly one of Statistic and ExtendedStatistic must be specified.",
            ));
        }
        (Some(name), None) if !is_statistic(name) => {
            return Err(validation_error(format!(
                "The value {name} for parameter Statistic is not supported."
            )));
        }
        (None, Some(name)) if !is_extended(name) => {
            return Err(validation_error(format!(
                "The value {name} for parameter ExtendedStatistic is not supported."
            )));
        }
        _ => {}
    }
    let period = watch.period.ok_or_else(|| missing_parameter("Period"))?;
    if ![10, 20, 30].contains(&period) && (period < 60 || period % 60 != 0) {
        return Err(validation_error(format!(
            "The value {period} for parameter Period is invalid. It must be 10, 20, 30 or a multiple of 60."
        )));
    }
    let (most, said) = if period < 3600 { (86_400, "one day") } else { (604_800, "seven days") };
    if period.saturating_mul(periods) > most {
        return Err(validation_error(format!(
            "Metrics cannot be checked across more than {said} (EvaluationPeriods * Period must be <= {most})."
        )));
    }
    Ok(())
}

pub(super) fn delete_alarms(request: &Request<'_>) -> Result<Document> {
    let names = request.input.texts("AlarmNames");
    if names.len() > 100 {
        return Err(validation_error("No more than 100 alarms can be deleted at once."));
    }
    request.change(|monitor| {
        let composites =
            names.iter().filter(|name| monitor.alarms.get(*name).is_some_and(Alarm::is_composite));
        if composites.count() > 1 {
            return Err(validation_error("Only one composite alarm can be deleted at once."));
        }
        let absent: Vec<&String> = names.iter().filter(|name| !monitor.alarms.contains_key(*name)).collect();
        if let (Some(name), 1) = (absent.first(), names.len()) {
            return Err(refusal("ResourceNotFound", format!("Alarm {name} does not exist.")));
        }
        if let Some((name, parent)) = dependent_alarm(monitor, &names) {
            return Err(validation_error(format!("Could not delete alarm {name}: {parent} depends on it.")));
        }
        for name in &names {
            if let Some(alarm) = monitor.alarms.remove(name) {
                monitor.history.push(HistoryItem::configuration(&alarm, request.now, "Delete", "deleted"));
            }
        }
        Ok(empty_result())
    })
}

/// One of `names` that a composite alarm outside of them depends on, and that alarm.
fn dependent_alarm<'m>(monitor: &'m Monitor, names: &[String]) -> Option<(String, &'m str)> {
    let remaining = monitor.alarms.values().filter(|alarm| !names.contains(&alarm.name));
    for alarm in remaining {
        let Watches::Alarms { rule, .. } = &alarm.watches else { continue };
        let rule = Rule::parse(rule)?;
        if let Some(child) = rule.children().into_iter().find(|child| names.iter().any(|name| name == child))
        {
            return Some((child.to_owned(), &alarm.name));
        }
    }
    None
}

pub(super) fn set_actions_enabled(request: &Request<'_>, enabled: bool) -> Result<Document> {
    let names = request.input.texts("AlarmNames");
    request.change(|monitor| {
        for name in names {
            let Some(alarm) = monitor.alarms.get_mut(&name) else { continue };
            alarm.actions_enabled = enabled;
            alarm.configured_at = request.now;
            let summary = if enabled { "updated: actions enabled" } else { "updated: actions disabled" };
            let item = HistoryItem::configuration(alarm, request.now, "Update", summary);
            monitor.history.push(item);
        }
        Ok(empty_result())
    })
}

pub(super) fn set_alarm_state(request: &Request<'_>) -> Result<Document> {
    let input = request.input;
    let (name, reason) = (input.required("AlarmName")?, input.required("StateReason")?);
    let value = input.required("StateValue")?;
    let state = AlarmState::from_name(value).ok_or_else(|| {
        validation_error(format!(
            "1 validation error detected: Value '{value}' at 'stateValue' failed to satisfy constraint: Member must \
             satisfy enum value set: [INSUFFICIENT_DATA, ALARM, OK]"
        ))
    })?;
    let data = input.owned("StateReasonData");
    if data.as_ref().is_some_and(|data| serde_json::from_str::<serde_json::Value>(data).is_err()) {
        return Err(refusal("InvalidFormat", "StateReasonData is not valid JSON."));
    }
    let transition = request.change(|monitor| {
        let alarm = monitor
            .alarms
            .get_mut(name)
            .ok_or_else(|| refusal("ResourceNotFound", format!("Alarm {name} does not exist.")))?;
        let verdict = Verdict { state, reason: reason.to_owned(), data };
        Ok(enter_state(alarm, &mut monitor.history, verdict, request.now))
    })?;
    if let Some(transition) = transition {
        run_actions(request.cx, request.region, transition);
    }
    Ok(empty_result())
}

fn requested_tags(input: &Document) -> Result<BTreeMap<String, String>> {
    input
        .items("Tags")
        .iter()
        .map(|tag| Ok((tag.required("Key")?.to_owned(), tag.text("Value").unwrap_or_default().to_owned())))
        .collect()
}

/// The name in the request's ARN, which must be that of an alarm of this Region.
fn alarm_name_in_arn<'r>(request: &Request<'r>) -> Result<&'r str> {
    let arn = request.input.required("ResourceARN")?;
    let prefix = format!("arn:aws:cloudwatch:{}:alarm:", scope::arn_part(request.region));
    arn.strip_prefix(&prefix)
        .ok_or_else(|| invalid_value(format!("{arn} is not the ARN of an alarm of this Region.")))
}

fn no_alarm(name: &str) -> ApiError {
    let error = refusal("ResourceNotFoundException", format!("Unknown alarm {name}"));
    ApiError { status: 404, ..error }
}

pub(super) fn tag_resource(request: &Request<'_>) -> Result<Document> {
    let (name, given) = (alarm_name_in_arn(request)?, requested_tags(request.input)?);
    request.change(|monitor| {
        let alarm = monitor.alarms.get_mut(name).ok_or_else(|| no_alarm(name))?;
        alarm.tags.extend(given);
        if alarm.tags.len() > 50 {
            return Err(validation_error("No more than 50 tags are allowed."));
        }
        Ok(empty_result())
    })
}

pub(super) fn untag_resource(request: &Request<'_>) -> Result<Document> {
    let (name, keys) = (alarm_name_in_arn(request)?, request.input.texts("TagKeys"));
    request.change(|monitor| {
        let alarm = monitor.alarms.get_mut(name).ok_or_else(|| no_alarm(name))?;
        alarm.tags.retain(|key, _| !keys.contains(key));
        Ok(empty_result())
    })
}

pub(super) fn list_tags(request: &Request<'_>) -> Result<Document> {
    let name = alarm_name_in_arn(request)?;
    request.read(|monitor| {
        let alarm = monitor.alarms.get(name).ok_or_else(|| no_alarm(name))?;
        Ok(Fields::new().with("Tags", write_pairs("Key", &alarm.tags)).done())
    })
}
