//! Metrics: data points by the minute, and the statistics of a span.
//!
//! A metric is its namespace, its name and *all* of its dimensions: a query with fewer of them finds nothing. Points of
//! different units are kept apart, as on AWS.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// CloudWatch keeps points by the minute for 15 days; the stack keeps none longer.
const KEPT: TimeDelta = TimeDelta::days(15);

/// The number of values of a minute that are kept for percentiles; more are only counted and summed.
const MOST_VALUES: usize = 500;

pub(crate) const MINUTE: i64 = 60;

/// Dimensions by name: they are a set, so their order does not matter.
pub(crate) type Dimensions = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Metric {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) dimensions: Dimensions,
}

/// The measurements of one minute, or of several.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    pub(crate) count: f64,
    pub(crate) sum: f64,
    pub(crate) minimum: f64,
    pub(crate) maximum: f64,
    /// At most `MOST_VALUES` of the measured values, for percentiles.
    pub(crate) values: Vec<f64>,
}

impl Bucket {
    pub(crate) fn add(&mut self, other: &Bucket) {
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

    pub(crate) fn from_value(value: f64, count: f64) -> Self {
        Self { count, sum: value * count, minimum: value, maximum: value, values: vec![value] }
    }

    /// A statistic by CloudWatch's name; percentiles are called `p90`, `p99.9`.
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
        let rank = (percent / 100.0 * last as f64).clamp(0.0, last as f64);
        let (low, high) = (values[rank.floor() as usize], values[rank.ceil() as usize]);
        Some(low + (high - low) * rank.fract())
    }
}

/// Whether CloudWatch knows a statistic of that name.
pub(crate) fn is_statistic(name: &str) -> bool {
    ["Average", "Sum", "Minimum", "Maximum", "SampleCount"].contains(&name)
}

/// Whether it is a percentile, or another extended statistic that CloudWatch knows.
pub(crate) fn is_extended(name: &str) -> bool {
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
        let points = self.0.entry(metric.clone()).or_default();
        points.entry(unit.to_owned()).or_default().entry(minute).or_default().add(bucket);
    }

    /// Replaces the measurements of a minute with one value.
    pub(crate) fn replace(&mut self, metric: &Metric, unit: &str, at: DateTime<Utc>, value: f64) {
        let minute = at.timestamp().div_euclid(MINUTE) * MINUTE;
        if let Some(points) = self.0.get_mut(metric).and_then(|units| units.get_mut(unit)) {
            points.remove(&minute);
        }
        self.add(metric, unit, at, &Bucket::from_value(value, 1.0));
    }

    /// The measurements in `[start, end)`, in seconds. Without a unit, those of all units.
    pub(crate) fn bucket_between(&self, metric: &Metric, unit: Option<&str>, start: i64, end: i64) -> Bucket {
        let mut total = Bucket::default();
        for (of, points) in self.0.get(metric).into_iter().flatten() {
            if unit.is_none_or(|unit| unit == of) {
                points.range(start..end).for_each(|(_, bucket)| total.add(bucket));
            }
        }
        total
    }

    pub(crate) fn first_unit(&self, metric: &Metric) -> Option<&str> {
        self.0.get(metric).and_then(|points| points.keys().next()).map(String::as_str)
    }

    pub(crate) fn forget_before(&mut self, now: DateTime<Utc>) {
        let oldest = (now - KEPT).timestamp();
        for points in self.0.values_mut().flat_map(BTreeMap::values_mut) {
            *points = points.split_off(&oldest);
        }
        self.0.retain(|_, units| units.values().any(|points| !points.is_empty()));
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Metric> {
        self.0.keys()
    }

    /// The metrics as `metrics.json` has them.
    pub(crate) fn to_saved(&self) -> Vec<(&Metric, &Points)> {
        self.0.iter().collect()
    }

    pub(crate) fn from_saved(saved: Vec<(Metric, Points)>) -> Self {
        Self(saved.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

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
            metrics.add(&metric(&[]), "None", at(second), &Bucket::from_value(value, 1.0));
        }
        let bucket = metrics.bucket_between(&metric(&[]), None, 0, 120);
        let shown =
            ["Average", "Sum", "Minimum", "Maximum", "SampleCount", "p50"].map(|name| bucket.statistic(name));
        assert_eq!(shown, [4.0, 12.0, 1.0, 8.0, 3.0, 3.0].map(Some));
    }

    #[test]
    fn a_query_with_fewer_dimensions_or_another_unit_finds_nothing() {
        let mut metrics = Metrics::default();
        metrics.replace(&metric(&[("D", "x")]), "Bytes", at(0), 7.0);
        metrics.replace(&metric(&[("D", "x")]), "Bytes", at(0), 1.0);
        assert_eq!(metrics.bucket_between(&metric(&[("D", "x")]), None, 0, 60).count, 1.0);
        assert_eq!(metrics.bucket_between(&metric(&[]), None, 0, 60).count, 0.0);
        assert_eq!(metrics.bucket_between(&metric(&[("D", "x")]), Some("Percent"), 0, 60).count, 0.0);
    }
}
