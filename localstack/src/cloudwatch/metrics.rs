//! Metrics: data points by the minute, and the statistics of a span.
//!
//! A metric is its namespace, its name and *all* of its dimensions: a question with fewer finds nothing. Points of
//! different units lie apart, as they do on AWS.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Dimensions, Order, Request, dimensions, invalid, nothing, page, refusal, show_dimensions};
use crate::document::{Document, Fields};
use crate::error::Result;

/// CloudWatch keeps points by the minute for 15 days; the stack keeps nothing longer.
const KEPT: TimeDelta = TimeDelta::days(15);

/// Values of a minute that percentiles are computed from; more are only counted and summed.
const MOST_VALUES: usize = 500;

const MINUTE: i64 = 60;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Metric {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) dimensions: Dimensions,
}

/// What was measured in one minute, or in several.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    pub(crate) count: f64,
    sum: f64,
    minimum: f64,
    maximum: f64,
    values: Vec<f64>,
}

impl Bucket {
    fn add(&mut self, other: &Bucket) {
        if other.count <= 0.0 {
            return;
        }
        let is_first = self.count <= 0.0;
        self.minimum = if is_first { other.minimum } else { self.minimum.min(other.minimum) };
        self.maximum = if is_first { other.maximum } else { self.maximum.max(other.maximum) };
        self.count += other.count;
        self.sum += other.sum;
        let room = MOST_VALUES.saturating_sub(self.values.len());
        self.values.extend(other.values.iter().take(room));
    }

    fn of(value: f64, count: f64) -> Self {
        Self { count, sum: value * count, minimum: value, maximum: value, values: vec![value] }
    }

    /// A statistic by CloudWatch's name for it; percentiles as `p90`, `p99.9`.
    pub(crate) fn statistic(&self, name: &str) -> Option<f64> {
        match name {
            _ if self.count <= 0.0 => None,
            "Average" => Some(self.sum / self.count),
            "Sum" => Some(self.sum),
            "Minimum" => Some(self.minimum),
            "Maximum" => Some(self.maximum),
            "SampleCount" => Some(self.count),
            _ => self.percentile(name.strip_prefix('p')?.parse().ok()?),
        }
    }

    fn percentile(&self, percent: f64) -> Option<f64> {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let place = (percent / 100.0 * last as f64).clamp(0.0, last as f64);
        let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
        Some(low + (high - low) * place.fract())
    }
}

/// Whether CloudWatch knows a statistic of that name.
pub(super) fn is_statistic(name: &str) -> bool {
    ["Average", "Sum", "Minimum", "Maximum", "SampleCount"].contains(&name)
}

/// Whether it is a percentile, or another extended statistic that CloudWatch knows.
pub(super) fn is_extended(name: &str) -> bool {
    let percentile = name.strip_prefix('p').and_then(|percent| percent.parse::<f64>().ok());
    percentile.is_some_and(|percent| (0.0..=100.0).contains(&percent))
        || name == "IQM"
        || ["tm", "wm", "tc", "ts", "TM(", "WM(", "PR(", "TC(", "TS("]
            .iter()
            .any(|kind| name.starts_with(kind))
}

/// The points of one metric, by unit and then by minute.
type Points = BTreeMap<String, BTreeMap<i64, Bucket>>;

#[derive(Debug, Default)]
pub(crate) struct Metrics(BTreeMap<Metric, Points>);

impl Metrics {
    pub(crate) fn add(&mut self, metric: &Metric, unit: &str, at: DateTime<Utc>, bucket: &Bucket) {
        let minute = at.timestamp().div_euclid(MINUTE) * MINUTE;
        if !self.0.contains_key(metric) {
            self.0.insert(metric.clone(), Points::new());
        }
        let Some(points) = self.0.get_mut(metric) else { return };
        points.entry(unit.to_owned()).or_default().entry(minute).or_default().add(bucket);
    }

    /// A value in place of what was measured in that minute.
    pub(crate) fn replace(&mut self, metric: &Metric, unit: &str, at: DateTime<Utc>, value: f64) {
        let minute = at.timestamp().div_euclid(MINUTE) * MINUTE;
        if let Some(points) = self.0.get_mut(metric).and_then(|units| units.get_mut(unit)) {
            points.remove(&minute);
        }
        self.add(metric, unit, at, &Bucket::of(value, 1.0));
    }

    /// Everything measured in `[start, end)`, in seconds. Without a unit, all units count.
    pub(crate) fn span(&self, metric: &Metric, unit: Option<&str>, start: i64, end: i64) -> Bucket {
        let mut total = Bucket::default();
        for (of, points) in self.0.get(metric).into_iter().flatten() {
            if unit.is_none_or(|unit| unit == of) {
                points.range(start..end).for_each(|(_, bucket)| total.add(bucket));
            }
        }
        total
    }

    fn unit(&self, metric: &Metric) -> Option<&str> {
        self.0.get(metric).and_then(|points| points.keys().next()).map(String::as_str)
    }

    pub(crate) fn forget_before(&mut self, now: DateTime<Utc>) {
        let oldest = (now - KEPT).timestamp();
        for points in self.0.values_mut().flat_map(BTreeMap::values_mut) {
            *points = points.split_off(&oldest);
        }
        self.0.retain(|_, units| units.values().any(|points| !points.is_empty()));
    }

    /// As it lies in a file.
    pub(crate) fn saved(&self) -> Vec<(&Metric, &Points)> {
        self.0.iter().collect()
    }

    pub(crate) fn loaded(saved: Vec<(Metric, Points)>) -> Self {
        Self(saved.into_iter().collect())
    }
}

pub(super) fn put_metric_data(request: &Request<'_>) -> Result<Document> {
    let namespace = request.input.required("Namespace")?;
    if namespace.starts_with("AWS/") {
        return Err(refusal("InvalidParameterValue", "The value AWS/ for parameter Namespace is invalid."));
    }
    let data = request.input.items("MetricData");
    if data.is_empty() {
        return Err(refusal("MissingParameter", "The parameter MetricData is required."));
    }
    if data.len() > 1000 {
        return Err(refusal("LimitExceeded", "No more than 1000 metrics may be given."));
    }
    let mut points = Vec::new();
    for (number, datum) in (1..).zip(data) {
        points.push(read_datum(request, namespace, datum, number)?);
    }
    request.change(|monitor| {
        monitor.stirred = true;
        for (metric, unit, at, bucket) in &points {
            monitor.metrics.add(metric, unit, *at, bucket);
        }
    });
    Ok(nothing())
}

fn read_datum(
    request: &Request<'_>,
    namespace: &str,
    datum: &Document,
    number: usize,
) -> Result<(Metric, String, DateTime<Utc>, Bucket)> {
    let metric = Metric {
        namespace: namespace.to_owned(),
        name: datum.required("MetricName")?.to_owned(),
        dimensions: dimensions(datum)?,
    };
    let at = datum.time("Timestamp")?.unwrap_or(request.now);
    if at < request.now - TimeDelta::weeks(2) || at > request.now + TimeDelta::hours(2) {
        return Err(refusal(
            "InvalidParameterValue",
            "The parameter MetricData.Timestamp must specify a time no more than two weeks in the past and no more than \
             two hours in the future.",
        ));
    }
    let finite = |value: f64| {
        let is_finite = value.is_finite();
        is_finite.then_some(value).ok_or_else(|| {
            refusal(
                "InvalidParameterValue",
                format!("The value {value} for parameter MetricData.Value is invalid."),
            )
        })
    };
    let mut bucket = Bucket::default();
    let has = |name: &str| !datum.items(name).is_empty();
    let forms = [
        ("Value", datum.number("Value")?.is_some()),
        ("Values", has("Values")),
        ("StatisticValues", datum.structure("StatisticValues").is_some()),
    ];
    let given: Vec<&str> = forms.into_iter().filter_map(|(name, given)| given.then_some(name)).collect();
    if let [first, second, ..] = given[..] {
        return Err(refusal(
            if second == "Values" { "InvalidParameterValue" } else { "InvalidParameterCombination" },
            format!(
                "The parameters MetricData.member.{number}.{first} and MetricData.member.{number}.{second} are mutually \
                 exclusive and you have specified both."
            ),
        ));
    }
    if let Some(value) = datum.number("Value")? {
        bucket.add(&Bucket::of(finite(value)?, 1.0));
    } else if let Some(set) = datum.structure("StatisticValues") {
        let part = |name: &str| {
            set.number(name)?
                .ok_or_else(|| refusal("MissingParameter", format!("The parameter {name} is required.")))
        };
        let (count, sum) = (part("SampleCount")?, part("Sum")?);
        let (minimum, maximum) = (part("Minimum")?, part("Maximum")?);
        bucket = Bucket { count, sum: finite(sum)?, minimum, maximum, values: vec![minimum, maximum] };
    } else {
        let values = datum.numbers("Values")?;
        let counts = datum.numbers("Counts")?;
        if values.is_empty() || !(counts.is_empty() || counts.len() == values.len()) {
            return Err(refusal(
                "InvalidParameterCombination",
                "One of Value, StatisticValues, or Values with as many Counts must be given.",
            ));
        }
        for (number, value) in values.into_iter().enumerate() {
            bucket.add(&Bucket::of(finite(value)?, counts.get(number).copied().unwrap_or(1.0)));
        }
    }
    Ok((metric, datum.text("Unit").unwrap_or("None").to_owned(), at, bucket))
}

/// Reads the metric, the period and the statistic of a `MetricStat`.
fn read_stat(stat: &Document) -> Result<(Metric, i64, String, Option<String>)> {
    let metric = stat
        .structure("Metric")
        .ok_or_else(|| refusal("MissingParameter", "The parameter MetricStat.Metric is required."))?;
    let metric = Metric {
        namespace: metric.text("Namespace").unwrap_or_default().to_owned(),
        name: metric.text("MetricName").unwrap_or_default().to_owned(),
        dimensions: dimensions(metric)?,
    };
    let period = stat.integer("Period")?.unwrap_or(MINUTE).max(MINUTE);
    let statistic = stat.required("Stat")?.to_owned();
    if !is_statistic(&statistic) && !is_extended(&statistic) {
        return Err(invalid(format!(
            "The value {statistic} for parameter MetricStat.Stat is not supported."
        )));
    }
    Ok((metric, period, statistic, stat.owned("Unit")))
}

fn span_of(input: &Document) -> Result<(i64, i64)> {
    let time = |name: &str| {
        input
            .time(name)?
            .ok_or_else(|| refusal("MissingParameter", format!("The parameter {name} is required.")))
    };
    Ok((time("StartTime")?.timestamp(), time("EndTime")?.timestamp()))
}

/// The starts of the periods that lie in a span, oldest first.
fn periods(start: i64, end: i64, period: i64) -> Result<Vec<i64>> {
    let first = start.div_euclid(period) * period;
    let count = (end - first + period - 1) / period;
    if count > 100_800 {
        return Err(invalid("You have requested too many data points."));
    }
    Ok((0..count).map(|number| first + number * period).collect())
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

pub(super) fn get_metric_data(request: &Request<'_>) -> Result<Document> {
    let (start, end) = span_of(request.input)?;
    if start > end {
        return Err(invalid("The parameter EndTime must be greater than StartTime."));
    }
    if start == end {
        return Err(invalid("The parameter StartTime must not equal parameter EndTime."));
    }
    let newest_first = request.input.text("ScanBy") != Some("TimestampAscending");
    let mut results = Vec::new();
    for query in request.input.items("MetricDataQueries") {
        if query.flag("ReturnData")? == Some(false) {
            continue;
        }
        let id = query.required("Id")?;
        let Some(stat) = query.structure("MetricStat") else {
            return Err(invalid("The local stack has no metric math: ask for each MetricStat by itself."));
        };
        let (metric, period, statistic, unit) = read_stat(stat)?;
        let mut points: Vec<(i64, f64)> = request.look(|monitor| {
            periods(start, end, period).map(|starts| {
                starts
                    .into_iter()
                    .filter_map(|from| {
                        let bucket = monitor.metrics.span(&metric, unit.as_deref(), from, from + period);
                        Some((from, bucket.statistic(&statistic)?))
                    })
                    .collect()
            })
        })?;
        if newest_first {
            points.reverse();
        }
        let label = query.text("Label").unwrap_or(&metric.name);
        results.push(
            Fields::new()
                .with("Id", id)
                .with("Label", label)
                .with("Timestamps", points.iter().map(|(from, _)| at(*from)).collect::<Vec<_>>())
                .with("Values", points.iter().map(|(_, value)| *value).collect::<Vec<_>>())
                .with("StatusCode", "Complete")
                .done(),
        );
    }
    Ok(Fields::new().with("MetricDataResults", results).with("Messages", Vec::<Document>::new()).done())
}

pub(super) fn get_metric_statistics(request: &Request<'_>) -> Result<Document> {
    let input = request.input;
    let (start, end) = span_of(input)?;
    if start >= end {
        return Err(refusal(
            "InvalidParameterValue",
            "The parameter StartTime must be less than the parameter EndTime.",
        ));
    }
    let metric = Metric {
        namespace: input.required("Namespace")?.to_owned(),
        name: input.required("MetricName")?.to_owned(),
        dimensions: dimensions(input)?,
    };
    let period = input.integer("Period")?.unwrap_or_default();
    if period < 1 || (period % MINUTE != 0 && ![1, 5, 10, 20, 30].contains(&period)) {
        return Err(refusal(
            "InvalidParameterValue",
            "The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60.",
        ));
    }
    let starts = periods(start, end, period.max(MINUTE))?;
    if starts.len() > 1440 {
        return Err(refusal(
            "InvalidParameterCombination",
            format!(
                "You have requested up to {} datapoints, which exceeds the limit of 1,440.",
                starts.len()
            ),
        ));
    }
    let (statistics, extended) = (input.texts("Statistics"), input.texts("ExtendedStatistics"));
    if statistics.is_empty() == extended.is_empty() {
        return Err(refusal(
            "InvalidParameterCombination",
            "Must specify either Statistics or ExtendedStatistics, and not both.",
        ));
    }
    let unit = input.text("Unit");
    let points = request.look(|monitor| {
        let shown_unit = unit.or(monitor.metrics.unit(&metric)).unwrap_or("None").to_owned();
        let points = starts.iter().filter_map(|from| {
            let bucket = monitor.metrics.span(&metric, unit, *from, from + period.max(MINUTE));
            let mut point = Fields::new().with("Timestamp", at(*from)).with("Unit", shown_unit.as_str());
            for name in &statistics {
                point = point.with(name, bucket.statistic(name)?);
            }
            if !extended.is_empty() {
                let values =
                    extended.iter().filter_map(|name| Some((name.clone(), bucket.statistic(name)?.into())));
                let values: Vec<(String, Document)> = values.collect();
                if values.is_empty() {
                    return None;
                }
                point = point.with("ExtendedStatistics", Document::Map(values));
            }
            Some(point.done())
        });
        points.collect::<Vec<_>>()
    });
    Ok(Fields::new().with("Label", metric.name).with("Datapoints", points).done())
}

pub(super) fn list_metrics(request: &Request<'_>) -> Result<Document> {
    let input = request.input;
    let (namespace, name) = (input.text("Namespace"), input.text("MetricName"));
    let wanted: Vec<(&str, Option<&str>)> = input
        .items("Dimensions")
        .iter()
        .map(|item| Ok((item.required("Name")?, item.text("Value"))))
        .collect::<Result<_>>()?;
    let found: Vec<Metric> = request.look(|monitor| {
        let metrics = monitor.metrics.0.keys().filter(|metric| {
            namespace.is_none_or(|namespace| metric.namespace == namespace)
                && name.is_none_or(|name| metric.name == name)
                && wanted.iter().all(|(name, value)| {
                    let has = metric.dimensions.get(*name);
                    has.is_some_and(|has| value.is_none_or(|value| has == value))
                })
        });
        metrics.cloned().collect()
    });
    let (metrics, token) = page(input, 500, Order::Rising, found, |metric| {
        format!("{}\0{}\0{:?}", metric.namespace, metric.name, metric.dimensions)
    })?;
    let shown: Vec<Document> = metrics
        .iter()
        .map(|metric| {
            Fields::new()
                .with("Namespace", metric.namespace.as_str())
                .with("MetricName", metric.name.as_str())
                .with("Dimensions", show_dimensions(&metric.dimensions))
                .done()
        })
        .collect();
    Ok(Fields::new().with("Metrics", shown).maybe("NextToken", token).done())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(dimensions: &[(&str, &str)]) -> Metric {
        Metric {
            namespace: "N".to_owned(),
            name: "M".to_owned(),
            dimensions: dimensions
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn statistics_are_those_of_all_values_in_the_span() {
        let mut metrics = Metrics::default();
        for (second, value) in [(0, 1.0), (30, 3.0), (60, 8.0), (600, 100.0)] {
            metrics.add(&metric(&[]), "None", at(second), &Bucket::of(value, 1.0));
        }
        let bucket = metrics.span(&metric(&[]), None, 0, 120);
        let shown =
            ["Average", "Sum", "Minimum", "Maximum", "SampleCount", "p50"].map(|name| bucket.statistic(name));
        assert_eq!(shown, [4.0, 12.0, 1.0, 8.0, 3.0, 3.0].map(Some));
    }

    #[test]
    fn a_question_with_fewer_dimensions_or_another_unit_finds_nothing() {
        let mut metrics = Metrics::default();
        metrics.replace(&metric(&[("D", "x")]), "Bytes", at(0), 7.0);
        metrics.replace(&metric(&[("D", "x")]), "Bytes", at(0), 1.0);
        assert_eq!(metrics.span(&metric(&[("D", "x")]), None, 0, 60).count, 1.0);
        assert_eq!(metrics.span(&metric(&[]), None, 0, 60).count, 0.0);
        assert_eq!(metrics.span(&metric(&[("D", "x")]), Some("Percent"), 0, 60).count, 0.0);
    }
}
