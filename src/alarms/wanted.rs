//! The alarms that an instance should have.

use super::kinds::{Fits, KINDS, Kind, OWN, Unit, find_kind};
use super::settings::{AlarmKindSettings, AlarmSettings};
use super::threshold::{self, Threshold, parse_threshold, resolve_threshold};
use crate::error::{Error, Result};
use crate::rds::{AlarmSpec, Instance, Metric, MetricWatch, Tags, Watch};

/// What the names of our alarms begin with.
pub(super) const PREFIX: &str = "lifeboat/";
/// The tag that says what an object is for.
pub(super) const PURPOSE: &str = "lifeboat:purpose";
const SOURCE: &str = "lifeboat:source";

/// An alarm that should exist.
#[derive(Clone, Debug)]
pub(super) struct WantedAlarm {
    pub(super) spec: AlarmSpec,
    pub(super) tags: Tags,
    /// Where the threshold comes from.
    pub(super) from: String,
}

/// A kind of alarm that does not apply to an instance, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Skipped {
    /// The instance.
    pub database: String,
    pub kind: &'static str,
    pub reason: String,
}

/// Checks the settings of one kind, whether there is an instance that they apply to or not.
pub(crate) fn check_kind(name: &str, own: &AlarmKindSettings) -> Result<()> {
    let kind = find_kind(name)?;
    if let Some(text) = &own.threshold {
        parse_threshold(kind, text)?;
    }
    shape(kind, own).map(drop)
}

/// The periods of an alarm: length, evaluation periods, datapoints to alarm.
struct Shape {
    period_seconds: i32,
    periods: i32,
    to_alarm: i32,
}

/// Checks the periods by CloudWatch's rules (Amazon CloudWatch API, `PutMetricAlarm`).
fn shape(kind: &Kind, own: &AlarmKindSettings) -> Result<Shape> {
    let wrong = |what: String, hint: &str| {
        Err(Error::request(format!("alarms of kind `{}` cannot be set like this: {what}", kind.name))
            .hint(hint))
    };
    let seconds = own.period.map_or(i64::from(kind.period_seconds), |period| {
        i64::try_from(period.as_millis()).unwrap_or(i64::MAX).div_euclid(1000)
    });
    let is_whole = own.period.is_none_or(|period| period.subsec_nanos() == 0);
    if !is_whole || seconds < 60 || seconds % 60 != 0 {
        let shown = own.period.map_or(String::new(), |period| humantime::format_duration(period).to_string());
        return wrong(
            format!("its period of `{shown}` is not a whole number of minutes"),
            "CloudWatch accepts multiples of 60 seconds; shorter periods need high-resolution metrics, which these are \
             not.",
        );
    }
    let periods = i64::from(own.evaluation_periods.unwrap_or(kind.periods));
    let to_alarm =
        i64::from(own.datapoints_to_alarm.unwrap_or(own.evaluation_periods.unwrap_or(kind.periods)));
    if periods < 1 || to_alarm < 1 || to_alarm > periods {
        return wrong(
            format!("{to_alarm} of {periods} periods"),
            "`evaluation_periods` is at least 1, and `datapoints_to_alarm` lies between 1 and that.",
        );
    }
    let (most, said) = if seconds < 3600 { (86_400, "a day") } else { (604_800, "seven days") };
    if seconds * periods > most {
        return wrong(
            format!("{periods} periods of {seconds} seconds are more than {said}"),
            "CloudWatch looks back at most a day with periods below an hour, and seven days otherwise.",
        );
    }
    let small = |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
    Ok(Shape { period_seconds: small(seconds), periods: small(periods), to_alarm: small(to_alarm) })
}

/// Why a kind does not apply to an instance.
fn unfit(kind: &Kind, instance: &Instance) -> Option<&'static str> {
    let is_in_cluster = instance.engine.starts_with("aurora") || instance.cluster.is_some();
    match kind.is_for {
        Fits::Every => None,
        Fits::Single => {
            is_in_cluster.then_some("it is in a cluster, whose backups and storage are the cluster's")
        }
        Fits::Postgres => (is_in_cluster || instance.engine != "postgres")
            .then_some("the metric exists only for PostgreSQL"),
        Fits::Replicas => instance.replica_of.is_none().then_some("it is not a read replica"),
        Fits::Gp2 => (instance.storage_type.as_deref() != Some("gp2")).then_some("its storage is not gp2"),
        Fits::Burstable => (!instance.class.starts_with("db.t")).then_some("its class is not burstable"),
        Fits::Insights => (!instance.settings.performance_insights.unwrap_or(false))
            .then_some("Performance Insights is off"),
        Fits::FixedStorage => match instance.settings.max_storage_gib {
            _ if is_in_cluster => Some("it is in a cluster, whose storage is the cluster's"),
            Some(_) => Some("it has storage autoscaling"),
            None => None,
        },
    }
}

/// The alarms that an instance should have, and the kinds that do not apply.
pub(super) fn list_wanted(
    instance: &Instance,
    settings: &AlarmSettings,
    max_connections: Option<u32>,
    topics: impl Fn(&AlarmKindSettings) -> Result<Vec<String>>,
) -> Result<(Vec<WantedAlarm>, Vec<Skipped>)> {
    let (mut wanted, mut skipped) = (Vec::new(), Vec::new());
    for kind in KINDS {
        let own = settings.kinds.get(kind.name).cloned().unwrap_or_default();
        let mut skip = |reason: &str| {
            skipped.push(Skipped {
                database: instance.id.to_string(),
                kind: kind.name,
                reason: reason.to_owned(),
            });
        };
        if !own.enabled.unwrap_or(!kind.is_optional || own.threshold.is_some()) {
            skip(if kind.is_optional { "not enabled" } else { "disabled" });
            continue;
        }
        if let Some(reason) = unfit(kind, instance) {
            skip(reason);
            continue;
        }
        let threshold = match &own.threshold {
            Some(text) => parse_threshold(kind, text)?,
            None => default_threshold(kind, instance)?,
        };
        let Some(resolved) = resolve_threshold(kind, threshold, instance, max_connections) else {
            skip("the resources of its class are not known: give the threshold as a number");
            continue;
        };
        let shape = shape(kind, &own)?;
        let topics = topics(&own)?;
        let watch = MetricWatch {
            metric: Metric::of_instance(kind.namespace, kind.metric, instance.id.as_str()),
            statistic: kind.statistic.to_owned(),
            period_seconds: shape.period_seconds,
            evaluation_periods: shape.periods,
            datapoints_to_alarm: shape.to_alarm,
            comparison: kind.comparison,
            threshold: resolved.value,
            missing: kind.missing,
            unit: None,
        };
        let mut tags: Tags = settings.tags.clone();
        tags.insert(PURPOSE.to_owned(), "alarm".to_owned());
        tags.insert(SOURCE.to_owned(), instance.id.to_string());
        wanted.push(WantedAlarm {
            spec: AlarmSpec {
                name: format!("{PREFIX}{}/{}", instance.id, kind.name),
                description: description(kind, instance, resolved.value, &resolved.from, settings),
                watch: Watch::Metric(watch),
                actions_enabled: true,
                alarm_actions: topics.clone(),
                ok_actions: topics.clone(),
                // A wrong dimension shows on the first day; a metric that may be absent must not raise the alarm.
                insufficient_data_actions: if kind.namespace == OWN { topics } else { Vec::new() },
            },
            tags,
            from: resolved.from,
        });
    }
    Ok((wanted, skipped))
}

/// With autoscaling, RDS itself acts below 10%, so an alarm there would page for nothing; below 5%, it has failed to act. A lag of
/// 10 GiB is much on any disk.
fn default_threshold(kind: &Kind, instance: &Instance) -> Result<Threshold> {
    const TEN_GIBIBYTES: f64 = 10.0 * 1024.0 * 1024.0 * 1024.0;
    match kind.name {
        "storage" if instance.settings.max_storage_gib.is_some() => Ok(Threshold::Share(5.0)),
        "memory" if instance.engine.starts_with("aurora") => Ok(Threshold::Share(5.0)),
        "replication-slot" if instance.storage_gib > 200 => Ok(Threshold::Value(TEN_GIBIBYTES)),
        _ => parse_threshold(kind, kind.threshold),
    }
}

fn description(kind: &Kind, instance: &Instance, value: f64, from: &str, settings: &AlarmSettings) -> String {
    let runbook = match &settings.runbooks {
        Some(base) => format!("Runbook: {}/{}.md", base.trim_end_matches('/'), kind.name),
        None => format!("Runbook: docs/guides/alarms.md of lifeboat, {}", kind.name),
    };
    let exact = if matches!(kind.unit, Unit::Storage | Unit::Memory) {
        format!("{value} bytes = {from}")
    } else if matches!(kind.unit, Unit::Age | Unit::Latency | Unit::Percent) {
        threshold::format_value(kind.unit, value)
    } else {
        from.to_owned()
    };
    let text = format!(
        "{}: {}. Threshold {} {exact}. {} {runbook}",
        instance.id,
        kind.meaning,
        kind.comparison.sign(),
        kind.remedy
    );
    text.chars().take(1024).collect()
}

/// Whether the tags of an alarm say that it is ours.
pub(super) fn is_ours(tags: &Tags) -> bool {
    tags.get(PURPOSE).is_some_and(|purpose| purpose == "alarm")
}
