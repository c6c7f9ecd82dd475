//! Amazon CloudWatch: alarms, their history, and metrics.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cloudwatch::types::{
    AlarmType, ComparisonOperator, CompositeAlarm, Dimension, HistoryItemType, MetricAlarm, MetricDataQuery,
    MetricDatum, MetricStat, ScanBy, StandardUnit, StateValue, Statistic, Tag,
};
use aws_smithy_types::DateTime as AwsTime;
use chrono::{DateTime, TimeDelta, Utc};

use super::rds::from_aws_time;
use super::{Aws, Failure, call, if_found, list_all};
use crate::rds::{
    Alarm, AlarmSpec, AlarmState, Comparison, HistoryItem, Measurement, Metric, MetricWatch, Tags, Treatment,
    Watch,
};

/// As many as one call takes (Amazon CloudWatch API, `GetMetricData`, `PutMetricData`, `DeleteAlarms`).
const QUERIES_PER_CALL: usize = 500;
const DATA_PER_CALL: usize = 500;
const NAMES_PER_CALL: usize = 100;

impl Aws {
    /// All alarms whose names begin so, composite ones too.
    pub(crate) async fn alarms(&self, prefix: Option<&str>) -> Result<Vec<Alarm>, Failure> {
        list_all(|token| async move {
            let request = self
                .cloudwatch
                .describe_alarms()
                .alarm_types(AlarmType::MetricAlarm)
                .alarm_types(AlarmType::CompositeAlarm)
                .set_alarm_name_prefix(prefix.map(str::to_owned))
                .max_records(100)
                .set_next_token(token);
            let page = call("DescribeAlarms", "all alarms", || request.clone().send()).await?;
            let composite = page.composite_alarms().iter().map(composite_alarm);
            let alarms = page.metric_alarms().iter().map(metric_alarm).chain(composite).collect();
            Ok((alarms, page.next_token))
        })
        .await
    }

    /// One alarm, of whatever type.
    pub(crate) async fn alarm(&self, name: &str) -> Result<Option<Alarm>, Failure> {
        let request = self
            .cloudwatch
            .describe_alarms()
            .alarm_types(AlarmType::MetricAlarm)
            .alarm_types(AlarmType::CompositeAlarm)
            .alarm_names(name);
        let answer = call("DescribeAlarms", format!("alarm `{name}`"), || request.clone().send()).await?;
        let composite = answer.composite_alarms().first().map(composite_alarm);
        Ok(answer.metric_alarms().first().map(metric_alarm).or(composite))
    }

    /// The tags of an alarm; none if it is gone.
    pub(crate) async fn alarm_tags(&self, arn: &str) -> Result<Tags, Failure> {
        let list = || self.cloudwatch.list_tags_for_resource().resource_arn(arn).send();
        let answer = if_found(call("ListTagsForResource", format!("`{arn}`"), list).await)?;
        let tags = answer.as_ref().map(|answer| answer.tags()).unwrap_or_default().iter();
        let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
        Ok(tags.filter_map(pair).collect())
    }

    /// Creates an alarm with its tags, or replaces all settings of an existing one; CloudWatch then ignores tags.
    pub(crate) async fn put_alarm(&self, spec: &AlarmSpec, tags: &Tags) -> Result<(), Failure> {
        let Watch::Metric(watch) = &spec.watch else { return Ok(()) };
        let is_percentile = watch.statistic.starts_with('p');
        let put = || {
            self.cloudwatch
                .put_metric_alarm()
                .alarm_name(&spec.name)
                .alarm_description(&spec.description)
                .actions_enabled(spec.actions_enabled)
                .set_alarm_actions(Some(spec.alarm_actions.clone()))
                .set_ok_actions(Some(spec.ok_actions.clone()))
                .set_insufficient_data_actions(Some(spec.insufficient_data_actions.clone()))
                .namespace(&watch.metric.namespace)
                .metric_name(&watch.metric.name)
                .set_dimensions(Some(dimensions(&watch.metric)))
                .set_statistic((!is_percentile).then(|| Statistic::from(watch.statistic.as_str())))
                .set_extended_statistic(is_percentile.then(|| watch.statistic.clone()))
                .period(watch.period_seconds)
                .evaluation_periods(watch.evaluation_periods)
                .datapoints_to_alarm(watch.datapoints_to_alarm)
                .threshold(watch.threshold)
                .comparison_operator(operator(watch.comparison))
                .treat_missing_data(watch.missing.word())
                .set_unit(watch.unit.as_deref().map(StandardUnit::from))
                .set_tags((!tags.is_empty()).then(|| tag_list(tags)))
                .send()
        };
        call("PutMetricAlarm", format!("alarm `{}`", spec.name), put).await.map(drop)
    }

    /// Sets tags of an alarm, and takes others away.
    pub(crate) async fn tag_alarm(&self, arn: &str, set: &Tags, remove: &[String]) -> Result<(), Failure> {
        if !set.is_empty() {
            let request = self.cloudwatch.tag_resource().resource_arn(arn).set_tags(Some(tag_list(set)));
            call("TagResource", format!("`{arn}`"), || request.clone().send()).await?;
        }
        if !remove.is_empty() {
            let request = self.cloudwatch.untag_resource().resource_arn(arn);
            let request = request.set_tag_keys(Some(remove.to_vec()));
            call("UntagResource", format!("`{arn}`"), || request.clone().send()).await?;
        }
        Ok(())
    }

    /// Deletes metric alarms; names that do not exist are no error.
    pub(crate) async fn delete_alarms(&self, names: &[String]) -> Result<(), Failure> {
        for names in names.chunks(NAMES_PER_CALL) {
            let request = self.cloudwatch.delete_alarms().set_alarm_names(Some(names.to_vec()));
            let resource = format!("{} alarms, `{}` first", names.len(), names[0]);
            if_found(call("DeleteAlarms", resource, || request.clone().send()).await)?;
        }
        Ok(())
    }

    /// Puts an alarm into a state, until CloudWatch evaluates it the next time. Actions are carried out.
    pub(crate) async fn set_alarm_state(
        &self,
        name: &str,
        state: &AlarmState,
        reason: &str,
    ) -> Result<(), Failure> {
        let request = self.cloudwatch.set_alarm_state().alarm_name(name);
        let request = request.state_value(StateValue::from(state.as_str())).state_reason(reason);
        call("SetAlarmState", format!("alarm `{name}`"), || request.clone().send()).await.map(drop)
    }

    /// What an alarm's actions came to since `since`, oldest first.
    pub(crate) async fn alarm_actions_since(
        &self,
        name: &str,
        since: DateTime<Utc>,
    ) -> Result<Vec<HistoryItem>, Failure> {
        let request = self
            .cloudwatch
            .describe_alarm_history()
            .alarm_name(name)
            .alarm_types(AlarmType::MetricAlarm)
            .alarm_types(AlarmType::CompositeAlarm)
            .history_item_type(HistoryItemType::Action)
            .start_date(AwsTime::from_millis(since.timestamp_millis()))
            .scan_by(ScanBy::TimestampAscending)
            .max_records(100);
        let answer =
            call("DescribeAlarmHistory", format!("alarm `{name}`"), || request.clone().send()).await?;
        Ok(answer
            .alarm_history_items()
            .iter()
            .map(|item| history_item(item.history_summary(), item.history_data()))
            .collect())
    }

    /// Publishes measurements in `namespace`. CloudWatch stamps them with its own time: an alarm metric must never be
    /// backfilled.
    pub(crate) async fn publish(&self, namespace: &str, measurements: &[Measurement]) -> Result<(), Failure> {
        for some in measurements.chunks(DATA_PER_CALL) {
            let data = some.iter().map(|one| {
                let dimension = Dimension::builder().name("DBInstanceIdentifier").value(&one.database);
                MetricDatum::builder()
                    .metric_name(one.metric)
                    .dimensions(dimension.build())
                    .unit(StandardUnit::from(one.unit))
                    .value(one.value)
                    .build()
            });
            let request = self.cloudwatch.put_metric_data().namespace(namespace);
            let request = request.set_metric_data(Some(data.collect()));
            call("PutMetricData", format!("namespace `{namespace}`"), || request.clone().send()).await?;
        }
        Ok(())
    }

    /// Those of `metrics` that have any data in the day before `now`.
    pub(crate) async fn metrics_with_data(
        &self,
        metrics: &BTreeSet<Metric>,
        now: DateTime<Utc>,
    ) -> Result<BTreeSet<Metric>, Failure> {
        let metrics: Vec<&Metric> = metrics.iter().collect();
        let mut found = BTreeSet::new();
        let time = |time: DateTime<Utc>| AwsTime::from_millis(time.timestamp_millis());
        for some in metrics.chunks(QUERIES_PER_CALL) {
            let queries = some.iter().enumerate().map(|(number, metric)| count_of(number, metric));
            let request = self
                .cloudwatch
                .get_metric_data()
                .set_metric_data_queries(Some(queries.collect()))
                .start_time(time(now - TimeDelta::days(1)))
                .end_time(time(now + TimeDelta::minutes(5)));
            let list = |token| {
                let request = request.clone().set_next_token(token);
                async move {
                    let page =
                        call("GetMetricData", "the metrics of alarms", || request.clone().send()).await?;
                    Ok((page.metric_data_results.unwrap_or_default(), page.next_token))
                }
            };
            for result in list_all(list).await?.iter().filter(|result| !result.values().is_empty()) {
                let number = result.id().and_then(|id| id.strip_prefix('m')?.parse::<usize>().ok());
                found.extend(number.and_then(|number| some.get(number)).map(|metric| (*metric).clone()));
            }
        }
        Ok(found)
    }
}

fn count_of(number: usize, metric: &Metric) -> MetricDataQuery {
    let of = aws_sdk_cloudwatch::types::Metric::builder()
        .namespace(&metric.namespace)
        .metric_name(&metric.name)
        .set_dimensions(Some(dimensions(metric)))
        .build();
    let stat = MetricStat::builder().metric(of).period(3600).stat("SampleCount").build();
    MetricDataQuery::builder().id(format!("m{number}")).metric_stat(stat).build()
}

fn dimensions(metric: &Metric) -> Vec<Dimension> {
    metric
        .dimensions
        .iter()
        .map(|(name, value)| Dimension::builder().name(name).value(value).build())
        .collect()
}

fn tag_list(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

fn operator(comparison: Comparison) -> ComparisonOperator {
    match comparison {
        Comparison::Above => ComparisonOperator::GreaterThanThreshold,
        Comparison::AtLeast => ComparisonOperator::GreaterThanOrEqualToThreshold,
        Comparison::Below => ComparisonOperator::LessThanThreshold,
        Comparison::AtMost => ComparisonOperator::LessThanOrEqualToThreshold,
        Comparison::Anomaly => ComparisonOperator::LessThanLowerOrGreaterThanUpperThreshold,
    }
}

fn read_operator(operator: Option<&ComparisonOperator>) -> Comparison {
    match operator {
        Some(ComparisonOperator::GreaterThanThreshold) => Comparison::Above,
        Some(ComparisonOperator::GreaterThanOrEqualToThreshold) => Comparison::AtLeast,
        Some(ComparisonOperator::LessThanThreshold) => Comparison::Below,
        Some(ComparisonOperator::LessThanOrEqualToThreshold) => Comparison::AtMost,
        _ => Comparison::Anomaly,
    }
}

fn read_dimensions(dimensions: &[Dimension]) -> BTreeMap<String, String> {
    dimensions
        .iter()
        .map(|one| (one.name().unwrap_or_default().to_owned(), one.value().unwrap_or_default().to_owned()))
        .collect()
}

fn metric_alarm(row: &MetricAlarm) -> Alarm {
    let is_plain = row.metrics().is_empty() && row.metric_name().is_some();
    let watch = if is_plain {
        Watch::Metric(metric_watch(row))
    } else {
        let metrics = row.metrics().iter().filter_map(|query| query.metric_stat()?.metric());
        let metrics = metrics.map(|metric| Metric {
            namespace: metric.namespace().unwrap_or_default().to_owned(),
            name: metric.metric_name().unwrap_or_default().to_owned(),
            dimensions: read_dimensions(metric.dimensions()),
        });
        Watch::Computed(metrics.collect())
    };
    Alarm {
        arn: row.alarm_arn().unwrap_or_default().to_owned(),
        spec: AlarmSpec {
            name: row.alarm_name().unwrap_or_default().to_owned(),
            description: row.alarm_description().unwrap_or_default().to_owned(),
            watch,
            actions_enabled: row.actions_enabled().unwrap_or(true),
            alarm_actions: row.alarm_actions().to_vec(),
            ok_actions: row.ok_actions().to_vec(),
            insufficient_data_actions: row.insufficient_data_actions().to_vec(),
        },
        state: row.state_value().map_or(AlarmState::InsufficientData, |state| state.as_str().into()),
        since: row.state_transitioned_timestamp().or(row.state_updated_timestamp()).and_then(from_aws_time),
    }
}

fn metric_watch(row: &MetricAlarm) -> MetricWatch {
    let periods = row.evaluation_periods().unwrap_or(1);
    MetricWatch {
        metric: Metric {
            namespace: row.namespace().unwrap_or_default().to_owned(),
            name: row.metric_name().unwrap_or_default().to_owned(),
            dimensions: read_dimensions(row.dimensions()),
        },
        statistic: row
            .statistic()
            .map(|statistic| statistic.as_str())
            .or(row.extended_statistic())
            .unwrap_or_default()
            .to_owned(),
        period_seconds: row.period().unwrap_or(60),
        evaluation_periods: periods,
        datapoints_to_alarm: row.datapoints_to_alarm().unwrap_or(periods),
        comparison: read_operator(row.comparison_operator()),
        threshold: row.threshold().unwrap_or(f64::NAN),
        missing: match row.treat_missing_data() {
            Some("breaching") => Treatment::Breaching,
            Some("notBreaching") => Treatment::NotBreaching,
            Some("ignore") => Treatment::Ignore,
            _ => Treatment::Missing,
        },
        unit: row.unit().map(|unit| unit.as_str().to_owned()),
    }
}

fn composite_alarm(row: &CompositeAlarm) -> Alarm {
    Alarm {
        arn: row.alarm_arn().unwrap_or_default().to_owned(),
        spec: AlarmSpec {
            name: row.alarm_name().unwrap_or_default().to_owned(),
            description: row.alarm_description().unwrap_or_default().to_owned(),
            watch: Watch::Alarms(row.alarm_rule().unwrap_or_default().to_owned()),
            actions_enabled: row.actions_enabled().unwrap_or(true),
            alarm_actions: row.alarm_actions().to_vec(),
            ok_actions: row.ok_actions().to_vec(),
            insufficient_data_actions: row.insufficient_data_actions().to_vec(),
        },
        state: row.state_value().map_or(AlarmState::InsufficientData, |state| state.as_str().into()),
        since: row.state_transitioned_timestamp().or(row.state_updated_timestamp()).and_then(from_aws_time),
    }
}

/// What became of an action. The data says it in fields, whose form AWS does not document; where they are absent, the summary
/// begins with the result ("Successfully executed action …", "Failed to execute action …").
fn history_item(summary: Option<&str>, data: Option<&str>) -> HistoryItem {
    let (summary, details) = (summary.unwrap_or_default(), data.unwrap_or_default());
    let data: serde_json::Value = serde_json::from_str(details).unwrap_or_default();
    let result = data["actionState"].as_str().unwrap_or(summary);
    let has_succeeded = result.starts_with("Succe");
    HistoryItem {
        target: data["notificationResource"].as_str().map(str::to_owned),
        has_succeeded: (has_succeeded || result.starts_with("Fail")).then_some(has_succeeded),
        summary: summary.to_owned(),
        details: details.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_an_action_is_read_from_its_data_or_else_from_its_summary() {
        const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:ops";
        let data =
            |state: &str| format!(r#"{{"actionState": "{state}", "notificationResource": "{TOPIC}"}}"#);
        let executed = format!("Successfully executed action {TOPIC}");
        let failed = format!("Failed to execute action {TOPIC}. Received error: \"not authorized\"");
        for (summary, data, expected) in [
            (executed.as_str(), Some(data("Succeeded")), Some(true)),
            (&failed, Some(data("Failed")), Some(false)),
            ("a sentence of tomorrow", Some(data("Failed")), Some(false)),
            (&executed, None, Some(true)),
            (&failed, Some("{}".to_owned()), Some(false)),
            (&failed, Some("not JSON".to_owned()), Some(false)),
        ] {
            let item = history_item(Some(summary), data.as_deref());
            assert_eq!(item.has_succeeded, expected, "{summary} {data:?}");
            assert!(item.concerns(TOPIC) && !item.concerns("arn:aws:sns:eu-central-1:123456789012:other"));
        }
        assert_eq!(history_item(Some("Executing"), None).has_succeeded, None);
    }
}
