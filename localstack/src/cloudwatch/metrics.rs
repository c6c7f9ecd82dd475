//! The actions on metrics.

use chrono::{DateTime, TimeDelta, Utc};

use crate::cloudwatch::request::{
    Order, Request, empty_result, invalid_combination, invalid_value, missing_parameter, page,
    read_dimensions, refusal, validation_error, write_dimensions,
};
use crate::document::{Document, Fields};
use crate::error::Result;
use crate::monitoring::metrics::{Bucket, MINUTE, Metric, is_extended, is_statistic};

pub(super) fn put_metric_data(request: &Request<'_>) -> Result<Document> {
    let namespace = request.input.required("Namespace")?;
    if namespace.starts_with("AWS/") {
        return Err(invalid_value("The value AWS/ for parameter Namespace is invalid."));
    }
    let data = request.input.items("MetricData");
    if data.is_empty() {
        return Err(missing_parameter("MetricData"));
    }
    if data.len() > 1000 {
        return Err(refusal("LimitExceeded", "No more than 1000 metrics may be given."));
    }
    let mut points = Vec::new();
    for (number, datum) in (1..).zip(data) {
        points.push(read_datum(request, namespace, datum, number)?);
    }
    request.change(|monitor| {
        monitor.has_new_metrics = true;
        for (metric, unit, at, bucket) in &points {
            monitor.metrics.add(metric, unit, *at, bucket);
        }
    });
    Ok(empty_result())
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
        dimensions: read_dimensions(datum)?,
    };
    let at = datum.time("Timestamp")?.unwrap_or(request.now);
    if at < request.now - TimeDelta::weeks(2) || at > request.now + TimeDelta::hours(2) {
        return Err(invalid_value(
            "The parameter MetricData.Timestamp must specify a time no more than two weeks in the past and no more than \
             two hours in the future.",
        ));
    }
    let finite = |value: f64| {
        value.is_finite().then_some(value).ok_or_else(|| {
            invalid_value(format!("The value {value} for parameter MetricData.Value is invalid."))
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
        bucket.add(&Bucket::from_value(finite(value)?, 1.0));
    } else if let Some(set) = datum.structure("StatisticValues") {
        let part = |name: &str| set.number(name)?.ok_or_else(|| missing_parameter(name));
        let (count, sum) = (part("SampleCount")?, part("Sum")?);
        let (minimum, maximum) = (part("Minimum")?, part("Maximum")?);
        bucket = Bucket { count, sum: finite(sum)?, minimum, maximum, values: vec![minimum, maximum] };
    } else {
        let values = datum.numbers("Values")?;
        let counts = datum.numbers("Counts")?;
        if values.is_empty() || !(counts.is_empty() || counts.len() == values.len()) {
            return Err(invalid_combination(
                "One of Value, StatisticValues, or Values with as many Counts must be given.",
            ));
        }
        for (number, value) in values.into_iter().enumerate() {
            bucket.add(&Bucket::from_value(finite(value)?, counts.get(number).copied().unwrap_or(1.0)));
        }
    }
    Ok((metric, datum.text("Unit").unwrap_or("None").to_owned(), at, bucket))
}

/// Reads the metric, the period and the statistic of a `MetricStat`.
fn read_metric_stat(stat: &Document) -> Result<(Metric, i64, String, Option<String>)> {
    let metric = stat.structure("Metric").ok_or_else(|| missing_parameter("MetricStat.Metric"))?;
    let metric = Metric {
        namespace: metric.text("Namespace").unwrap_or_default().to_owned(),
        name: metric.text("MetricName").unwrap_or_default().to_owned(),
        dimensions: read_dimensions(metric)?,
    };
    let period = stat.integer("Period")?.unwrap_or(MINUTE).max(MINUTE);
    let statistic = stat.required("Stat")?.to_owned();
    if !is_statistic(&statistic) && !is_extended(&statistic) {
        return Err(validation_error(format!(
            "The value {statistic} for parameter MetricStat.Stat is not supported."
        )));
    }
    Ok((metric, period, statistic, stat.owned("Unit")))
}

fn requested_span(input: &Document) -> Result<(i64, i64)> {
    let time = |name: &str| input.time(name)?.ok_or_else(|| missing_parameter(name));
    Ok((time("StartTime")?.timestamp(), time("EndTime")?.timestamp()))
}

/// The starts of the periods that lie in a span, oldest first.
fn period_starts(start: i64, end: i64, period: i64) -> Result<Vec<i64>> {
    let first = start.div_euclid(period) * period;
    let count = (end - first + period - 1) / period;
    if count > 100_800 {
        return Err(validation_error("You have requested too many data points."));
    }
    Ok((0..count).map(|number| first + number * period).collect())
}

fn time_at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

pub(super) fn get_metric_data(request: &Request<'_>) -> Result<Document> {
    let (start, end) = requested_span(request.input)?;
    if start > end {
        return Err(validation_error("The parameter EndTime must be greater than StartTime."));
    }
    if start == end {
        return Err(validation_error("The parameter StartTime must not equal parameter EndTime."));
    }
    let newest_first = request.input.text("ScanBy") != Some("TimestampAscending");
    let mut results = Vec::new();
    for query in request.input.items("MetricDataQueries") {
        if query.flag("ReturnData")? == Some(false) {
            continue;
        }
        let id = query.required("Id")?;
        let Some(stat) = query.structure("MetricStat") else {
            return Err(validation_error(
                "The local stack has no metric math: ask for each MetricStat by itself.",
            ));
        };
        let (metric, period, statistic, unit) = read_metric_stat(stat)?;
        let mut points: Vec<(i64, f64)> = request.read(|monitor| {
            period_starts(start, end, period).map(|starts| {
                starts
                    .into_iter()
                    .filter_map(|from| {
                        let bucket =
                            monitor.metrics.bucket_between(&metric, unit.as_deref(), from, from + period);
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
                .with("Timestamps", points.iter().map(|(from, _)| time_at(*from)).collect::<Vec<_>>())
                .with("Values", points.iter().map(|(_, value)| *value).collect::<Vec<_>>())
                .with("StatusCode", "Complete")
                .done(),
        );
    }
    Ok(Fields::new().with("MetricDataResults", results).with("Messages", Vec::<Document>::new()).done())
}

pub(super) fn get_metric_statistics(request: &Request<'_>) -> Result<Document> {
    let input = request.input;
    let (start, end) = requested_span(input)?;
    if start >= end {
        return Err(invalid_value("The parameter StartTime must be less than the parameter EndTime."));
    }
    let metric = Metric {
        namespace: input.required("Namespace")?.to_owned(),
        name: input.required("MetricName")?.to_owned(),
        dimensions: read_dimensions(input)?,
    };
    let period = input.integer("Period")?.unwrap_or_default();
    if period < 1 || (period % MINUTE != 0 && ![1, 5, 10, 20, 30].contains(&period)) {
        return Err(invalid_value("The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60."));
    }
    let starts = period_starts(start, end, period.max(MINUTE))?;
    if starts.len() > 1440 {
        return Err(invalid_combination(format!(
            "You have requested up to {} datapoints, which exceeds the limit of 1,440.",
            starts.len()
        )));
    }
    let (statistics, extended) = (input.texts("Statistics"), input.texts("ExtendedStatistics"));
    if statistics.is_empty() == extended.is_empty() {
        return Err(invalid_combination(
            "Must specify either Statistics or ExtendedStatistics, and not both.",
        ));
    }
    let unit = input.text("Unit");
    let points = request.read(|monitor| {
        let shown_unit = unit.or(monitor.metrics.first_unit(&metric)).unwrap_or("None").to_owned();
        let points = starts.iter().filter_map(|from| {
            let bucket = monitor.metrics.bucket_between(&metric, unit, *from, from + period.max(MINUTE));
            let mut point = Fields::new().with("Timestamp", time_at(*from)).with("Unit", shown_unit.as_str());
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
    let found: Vec<Metric> = request.read(|monitor| {
        let metrics = monitor.metrics.keys().filter(|metric| {
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
    let rows: Vec<Document> = metrics
        .iter()
        .map(|metric| {
            Fields::new()
                .with("Namespace", metric.namespace.as_str())
                .with("MetricName", metric.name.as_str())
                .with("Dimensions", write_dimensions(&metric.dimensions))
                .done()
        })
        .collect();
    Ok(Fields::new().with("Metrics", rows).maybe("NextToken", token).done())
}
