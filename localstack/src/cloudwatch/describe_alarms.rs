//! DescribeAlarms and DescribeAlarmsForMetric.

use crate::cloudwatch::composite_rule::Rule;
use crate::cloudwatch::request::{Order, Request, page, read_dimensions, validation_error, write_dimensions};
use crate::document::{Document, Fields};
use crate::error::Result;
use crate::monitoring::alarm::{Alarm, MetricWatch, Treatment, Watches};

pub(super) fn describe_alarms(request: &Request<'_>) -> Result<Document> {
    let input = request.input;
    let names = input.texts("AlarmNames");
    let prefix = input.text("AlarmNamePrefix");
    if !names.is_empty() && prefix.is_some() {
        return Err(validation_error("AlarmNames and AlarmNamePrefix cannot be used together."));
    }
    if names.len() > 100 {
        return Err(validation_error("No more than 100 alarm names may be given."));
    }
    let types = input.texts("AlarmTypes");
    let state = input.text("StateValue");
    let action = input.text("ActionPrefix");
    let relatives = wanted_relatives(request)?;
    let is_wanted = |alarm: &Alarm| {
        let kind = alarm.kind();
        let mut actions =
            [&alarm.ok_actions, &alarm.alarm_actions, &alarm.insufficient_actions].into_iter().flatten();
        (names.is_empty() || names.contains(&alarm.name))
            && prefix.is_none_or(|prefix| alarm.name.starts_with(prefix))
            // Without types, only metric alarms are listed.
            && if types.is_empty() { kind == "MetricAlarm" || relatives.is_some() } else { types.iter().any(|wanted| wanted == kind) }
            && state.is_none_or(|state| alarm.state.name() == state)
            && action.is_none_or(|prefix| actions.any(|action| action.starts_with(prefix)))
            && relatives.as_ref().is_none_or(|relatives| relatives.contains(&alarm.name))
    };
    let found: Vec<Alarm> =
        request.read(|monitor| monitor.alarms.values().filter(|alarm| is_wanted(alarm)).cloned().collect());
    let (alarms, token) = page(input, 100, Order::Rising, found, |alarm| alarm.name.clone())?;
    let write = |composite: bool| {
        let alarms = alarms.iter().filter(|alarm| alarm.is_composite() == composite);
        alarms.map(|alarm| write_alarm(request, alarm)).collect::<Vec<_>>()
    };
    Ok(Fields::new()
        .with("CompositeAlarms", write(true))
        .with("MetricAlarms", write(false))
        .maybe("NextToken", token)
        .done())
}

/// The names of a composite alarm's children or of an alarm's parents, if the call asks for either.
fn wanted_relatives(request: &Request<'_>) -> Result<Option<Vec<String>>> {
    let children_of = |alarm: &Alarm| match &alarm.watches {
        Watches::Alarms { rule, .. } => {
            let rule = Rule::parse(rule);
            rule.iter().flat_map(Rule::children).map(str::to_owned).collect()
        }
        Watches::Metric(_) => Vec::new(),
    };
    let (children, parents) =
        (request.input.text("ChildrenOfAlarmName"), request.input.text("ParentsOfAlarmName"));
    Ok(request.read(|monitor| match (children, parents) {
        (Some(parent), _) => Some(monitor.alarms.get(parent).map(children_of).unwrap_or_default()),
        (None, Some(child)) => {
            let parents =
                monitor.alarms.values().filter(|alarm| children_of(alarm).iter().any(|name| name == child));
            Some(parents.map(|alarm| alarm.name.clone()).collect())
        }
        (None, None) => None,
    }))
}

pub(super) fn describe_alarms_for_metric(request: &Request<'_>) -> Result<Document> {
    let input = request.input;
    let (namespace, name) = (input.required("Namespace")?, input.required("MetricName")?);
    let wanted = read_dimensions(input)?;
    let (statistic, extended) = (input.text("Statistic"), input.text("ExtendedStatistic"));
    let (period, unit) = (input.integer("Period")?, input.text("Unit"));
    let watches_it = |watch: &MetricWatch| {
        watch.metric.as_ref().is_some_and(|metric| {
            metric.namespace == namespace && metric.name == name && metric.dimensions == wanted
        }) && statistic.is_none_or(|statistic| watch.statistic.as_deref() == Some(statistic))
            && extended.is_none_or(|extended| watch.extended_statistic.as_deref() == Some(extended))
            && period.is_none_or(|period| watch.period == Some(period))
            && unit.is_none_or(|unit| watch.unit.as_deref() == Some(unit))
    };
    let found: Vec<Document> = request.read(|monitor| {
        let alarms = monitor.alarms.values().filter(|alarm| match &alarm.watches {
            Watches::Metric(watch) => watches_it(watch),
            Watches::Alarms { .. } => false,
        });
        alarms.map(|alarm| write_alarm(request, alarm)).collect()
    });
    Ok(Fields::new().with("MetricAlarms", found).done())
}

fn write_alarm(request: &Request<'_>, alarm: &Alarm) -> Document {
    let fields = Fields::new()
        .with("AlarmName", alarm.name.as_str())
        .with("AlarmArn", alarm.arn(request.region))
        .maybe("AlarmDescription", alarm.description.as_deref())
        .with("AlarmConfigurationUpdatedTimestamp", alarm.configured_at)
        .with("ActionsEnabled", alarm.actions_enabled)
        .with("OKActions", alarm.ok_actions.clone())
        .with("AlarmActions", alarm.alarm_actions.clone())
        .with("InsufficientDataActions", alarm.insufficient_actions.clone())
        .with("StateValue", alarm.state.name())
        .with("StateReason", alarm.reason.as_str())
        .maybe("StateReasonData", alarm.reason_data.as_deref())
        .with("StateUpdatedTimestamp", alarm.state_at)
        .with("StateTransitionedTimestamp", alarm.turned_at);
    match &alarm.watches {
        Watches::Metric(watch) => write_metric_watch(fields, watch).done(),
        Watches::Alarms { rule, suppressor, wait, extension } => fields
            .with("AlarmRule", rule.as_str())
            .maybe("ActionsSuppressor", suppressor.as_deref())
            .maybe("ActionsSuppressorWaitPeriod", *wait)
            .maybe("ActionsSuppressorExtensionPeriod", *extension)
            .done(),
    }
}

fn write_metric_watch(fields: Fields, watch: &MetricWatch) -> Fields {
    let metric = watch.metric.as_ref();
    let dimensions = metric.map(|metric| write_dimensions(&metric.dimensions));
    let metrics = (!watch.metrics.is_empty()).then(|| Document::List(watch.metrics.clone()));
    fields
        .maybe("MetricName", metric.map(|metric| metric.name.as_str()))
        .maybe("Namespace", metric.map(|metric| metric.namespace.as_str()))
        .maybe("Statistic", watch.statistic.as_deref())
        .maybe("ExtendedStatistic", watch.extended_statistic.as_deref())
        .with("Dimensions", dimensions.unwrap_or(Document::List(Vec::new())))
        .maybe("Period", watch.period)
        .maybe("Unit", watch.unit.as_deref())
        .with("EvaluationPeriods", watch.evaluation_periods)
        .maybe("DatapointsToAlarm", watch.datapoints_to_alarm)
        .maybe("Threshold", watch.threshold)
        .with("ComparisonOperator", watch.comparison.name())
        .maybe("TreatMissingData", watch.missing.map(Treatment::name))
        .maybe("EvaluateLowSampleCountPercentile", watch.low_sample.as_deref())
        .maybe("ThresholdMetricId", watch.threshold_metric.as_deref())
        .maybe("Metrics", metrics)
}
