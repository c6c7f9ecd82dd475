//! What is wrong with the rule of one alarm: can it ever be true, and only when it should? Pure.
//!
//! A fault is reported where there is one for certain, or where a value is far outside any plausible range.

use std::collections::{BTreeMap, BTreeSet};

use super::Fault;
use super::metrics::{Counts, Has, Known, is_billing, is_dimension, metric, nearest};
use crate::alarms::kinds::{COPY_AGE, HEARTBEAT, OWN, RDS};
use crate::alarms::threshold::{memory, most_connections};
use crate::rds::{Instance, Metric, MetricWatch, Treatment};

const GIBIBYTE: f64 = 1024.0 * 1024.0 * 1024.0;

/// What is known of the account.
#[derive(Debug, Default)]
pub(super) struct AuditContext {
    pub(super) instances: BTreeMap<String, Instance>,
    /// Metrics that had data in the last day.
    pub(super) alive: BTreeSet<Metric>,
}

impl AuditContext {
    fn instance_of(&self, metric: &Metric) -> Option<&Instance> {
        self.instances.get(&metric.dimensions.get("DBInstanceIdentifier")?.to_lowercase())
    }

    /// Whether `status --publish` ran in the last day for the database of one of our metrics: what it did not publish then does
    /// not exist. Copies are checked only with `--copies-in`.
    fn is_measured(&self, metric: &Metric) -> bool {
        metric.name != COPY_AGE && self.alive.contains(&heartbeat_metric(metric))
    }

    fn has_cluster(&self, name: &str) -> bool {
        self.instances.values().any(|instance| instance.cluster.as_deref() == Some(name))
    }
}

/// The metric that `status --publish` always sends for a database.
pub(super) fn heartbeat_metric(of: &Metric) -> Metric {
    Metric { name: HEARTBEAT.to_owned(), ..of.clone() }
}

/// The faults of an alarm on one metric.
pub(super) fn find_faults(watch: &MetricWatch, world: &AuditContext) -> Vec<Fault> {
    let of_rds = watch.metric.namespace == RDS;
    let mut faults = Vec::new();
    if of_rds {
        faults.extend(identity(&watch.metric, world));
    }
    if of_rds || watch.metric.namespace == OWN {
        faults.extend(comparison(watch, world));
        faults.extend(data(watch, world, &faults));
    }
    faults
}

/// The faults of an alarm on metric math: if one metric is missing, so is the result.
pub(super) fn find_input_faults(metrics: &[Metric], world: &AuditContext) -> Vec<Fault> {
    metrics
        .iter()
        .filter(|metric| metric.namespace == RDS)
        .flat_map(|metric| identity(metric, world))
        .collect()
}

fn fault(code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Fault {
    Fault { code, message: message.into(), remedy: remedy.into() }
}

/// Does the metric exist, for this engine and under these dimensions?
fn identity(of: &Metric, world: &AuditContext) -> Vec<Fault> {
    let mut faults = Vec::new();
    let name = of.name.as_str();
    let dimensions = &of.dimensions;
    let known = metric(name);
    if known.is_none() && !world.alive.contains(of) {
        let likely = nearest(name).map_or(String::new(), |near| format!(" The nearest is `{near}`."));
        faults.push(fault(
            "unknown-metric",
            format!("RDS has no metric `{name}`"),
            format!("Use a metric that `aws cloudwatch list-metrics --namespace AWS/RDS` lists.{likely}"),
        ));
    }
    if is_billing(name) {
        faults.push(fault(
            "metric-not-a-signal",
            format!("`{name}` measures billed backup storage, which does not change when backups stop"),
            "Watch the age of the newest backup instead: `lifeboat alarms apply --all`.",
        ));
    }
    if dimensions.is_empty() {
        faults.push(fault(
            "missing-dimensions",
            "no dimension names the database: CloudWatch finds a metric only by all of its dimensions",
            "Name the database: DBInstanceIdentifier (DBClusterIdentifier for Aurora clusters).",
        ));
    }
    if let Some(strange) = dimensions.keys().find(|name| !is_dimension(name)) {
        faults.push(fault(
            "unknown-dimension",
            format!("RDS publishes nothing under a dimension `{strange}`"),
            "The name of the dimension is DBInstanceIdentifier; its value is the id of the instance.",
        ));
    }
    if let Some(id) = dimensions.get("DBInstanceIdentifier") {
        if world.instance_of(of).is_none() {
            faults.push(fault(
                "no-such-database",
                format!("there is no DB instance `{id}` in this Region"),
                "Delete the alarm, or correct the id.",
            ));
        } else if *id != id.to_lowercase() {
            faults.push(fault(
                "unknown-dimension",
                format!(
                    "`{id}` is written `{}` by RDS, and dimensions are case-sensitive",
                    id.to_lowercase()
                ),
                "Write the id in lower case.",
            ));
        }
    }
    let misfit = known.and_then(|known| misfit(known, of, world));
    faults.extend(misfit);
    faults
}

/// A metric that this instance does not have.
fn misfit(known: &Known, metric: &Metric, world: &AuditContext) -> Option<Fault> {
    let name = known.name;
    let Some(instance) = world.instance_of(metric) else {
        let cluster =
            metric.dimensions.get("DBClusterIdentifier").or(metric.dimensions.get("DbClusterIdentifier"));
        let is_of_cluster = cluster.is_some_and(|cluster| world.has_cluster(cluster));
        // Without a dimension every instance is meant, and those of other engines do not have it.
        let needs_aurora = matches!(known.has, Has::Aurora | Has::AuroraCluster);
        let is_all_aurora = world.instances.values().all(|instance| instance.engine.starts_with("aurora"));
        let is_nobodys = world.instances.is_empty() || !is_all_aurora;
        return (needs_aurora && !is_of_cluster && is_nobodys).then(|| {
            fault(
                "metric-not-for-engine",
                format!("`{name}` is a metric of Aurora: other DB instances never have data for it"),
                "Watch a metric that your engine has; for backups, `lifeboat alarms apply --all`.",
            )
        });
    };
    let engine = instance.engine.as_str();
    let is_aurora = engine.starts_with("aurora");
    let engine_fits = match known.has {
        Has::Every | Has::Replicas | Has::Burstable | Has::Gp2 | Has::Insights => true,
        Has::NotAurora => !is_aurora,
        Has::Aurora => is_aurora,
        Has::AuroraCluster => false,
        Has::Postgres => engine.contains("postgres"),
        Has::MySql => ["mysql", "mariadb", "aurora-mysql", "aurora"].contains(&engine),
        Has::SqlServer => engine.starts_with("sqlserver"),
    };
    if !engine_fits {
        return Some(fault(
            "metric-not-for-engine",
            format!("`{name}` does not exist for {engine} instances: it never has data"),
            "Watch a metric that this engine has; for backups and storage, `lifeboat alarms apply --all`.",
        ));
    }
    let misses = match known.has {
        Has::Replicas if instance.replica_of.is_none() => "exists only for read replicas",
        Has::Burstable if !instance.class.starts_with("db.t") => "exists only for burstable (t) classes",
        Has::Gp2 if instance.storage_type.as_deref().is_some_and(|kind| kind != "gp2") => {
            "exists only for gp2 storage"
        }
        Has::Insights if !instance.settings.performance_insights.unwrap_or(false) => {
            "needs Performance Insights, which is off"
        }
        _ => return None,
    };
    Some(fault(
        "metric-not-for-instance",
        format!("`{name}` {misses}: `{}` has no data for it", instance.id),
        "Delete the alarm, or change the instance so that it has the metric.",
    ))
}

/// Can the comparison be true, and false? Is the threshold in the metric's own unit?
fn comparison(watch: &MetricWatch, world: &AuditContext) -> Vec<Fault> {
    let threshold = watch.threshold;
    let compare = watch.comparison;
    if !threshold.is_finite()
        || !(compare.is_upward() || compare.is_downward())
        || watch.statistic == "SampleCount"
    {
        return Vec::new();
    }
    let sign = compare.sign();
    let name = watch.metric.name.as_str();
    let known = metric(name).filter(|_| watch.metric.namespace == RDS);
    // -1 means that binary log replication is broken; no other metric is negative.
    let least = if name == "AuroraBinlogReplicaLag" { -1.0 } else { 0.0 };
    let most = match known.map(|known| known.counts) {
        Some(Counts::Percent) if watch.statistic != "Sum" => 100.0,
        _ => f64::INFINITY,
    };
    let (never, always) = match sign {
        "<" => (threshold <= least, threshold > most),
        "<=" => (threshold < least, threshold >= most),
        ">" => (threshold >= most, threshold < least),
        _ => (threshold > most, threshold <= least),
    };
    if never {
        return vec![fault(
            "impossible-comparison",
            format!("`{name}` can never be {sign} {threshold}"),
            "Reverse the comparison, or choose a threshold that can be reached.",
        )];
    }
    if always {
        return vec![fault(
            "always-true",
            format!("`{name}` is always {sign} {threshold}: the alarm goes off once and never again"),
            "Choose a threshold that is not always crossed.",
        )];
    }
    let Some(known) = known else { return Vec::new() };
    let mut faults = Vec::new();
    if known.is_scarce && compare.is_upward() && name != "EngineUptime" {
        faults.push(fault(
            "inverted-comparison",
            format!("the alarm goes off when all is well: `{name}` {sign} {threshold}"),
            "Reverse the comparison: a low value is the bad one.",
        ));
        return faults;
    }
    faults.extend(unit(known, watch).or_else(|| reach(known, watch, world)));
    faults
}

/// Bytes taken for percent or for gibibytes, seconds for milliseconds, a balance that is never full.
fn unit(known: &Known, watch: &MetricWatch) -> Option<Fault> {
    let (name, threshold) = (known.name, watch.threshold);
    let is_small_matter = name == "SwapUsage" && watch.comparison.is_upward();
    match known.counts {
        Counts::Bytes if threshold > 0.0 && threshold < 1_048_576.0 && !is_small_matter => {
            let meant = if threshold <= 100.0 { "percent or gibibytes" } else { "mebibytes or kibibytes" };
            Some(fault(
                "bytes-mistaken",
                format!("`{name}` is in bytes: {threshold} is next to nothing, {meant} were meant"),
                "Give the threshold in bytes: 10% of 20 GiB is 2147483648. `lifeboat alarms plan --all` computes it.",
            ))
        }
        Counts::Seconds if name.ends_with("Latency") && threshold >= 2.0 => Some(fault(
            "seconds-mistaken",
            format!(
                "`{name}` is in seconds, and {threshold} s is never reached: milliseconds were probably meant"
            ),
            "AWS recommends 0.020, which is 20 ms.",
        )),
        Counts::Seconds
            if name.ends_with("Latency") && threshold <= 0.005 && watch.comparison.is_upward() =>
        {
            Some(fault(
                "threshold-unlikely",
                format!("`{name}` above {} ms is normal for healthy disks", threshold * 1000.0),
                "AWS recommends 0.020, which is 20 ms.",
            ))
        }
        Counts::Percent if threshold > 0.0 && threshold < 1.0 => Some(fault(
            "percent-mistaken",
            format!("`{name}` is a percentage from 0 to 100: {threshold} is less than one"),
            format!("Give the threshold in percent: {}.", threshold * 100.0),
        )),
        Counts::Percent if known.is_scarce && watch.comparison.sign() == "<" && threshold >= 99.0 => {
            Some(fault(
                "threshold-unlikely",
                format!("`{name}` falls below {threshold} under the slightest load"),
                "AWS recommends 10 to 20.",
            ))
        }
        _ => None,
    }
}

/// A threshold beyond the instance's resources.
fn reach(known: &Known, watch: &MetricWatch, world: &AuditContext) -> Option<Fault> {
    let instance = world.instance_of(&watch.metric)?;
    let (name, threshold) = (known.name, watch.threshold);
    let beyond = |has: f64, what: String| {
        let all = format!("`{}` has {what}: `{name}` is always below {threshold}", instance.id);
        (watch.comparison.is_downward() && threshold >= has).then(|| {
            fault("always-true", all, "Use a share of what the instance has: `lifeboat alarms plan --all`.")
        })
    };
    match name {
        "FreeStorageSpace" => {
            let size = f64::from(instance.storage_gib) * GIBIBYTE;
            beyond(size, format!("{} GiB of storage", instance.storage_gib)).or_else(|| {
                (watch.comparison.is_downward() && threshold < size * 0.005).then(|| {
                    fault(
                        "threshold-unlikely",
                        format!(
                            "{threshold} bytes are less than half a percent of the {} GiB of `{}`: the alarm goes off \
                             when the disk is already full",
                            instance.storage_gib, instance.id
                        ),
                        "Use 10% of the allocated storage; `lifeboat alarms plan --all` computes it.",
                    )
                })
            })
        }
        "FreeableMemory" => {
            let memory = memory(&instance.class)?;
            beyond(memory, format!("{} GiB of memory", memory / GIBIBYTE))
        }
        "DatabaseConnections" if watch.comparison.is_upward() && watch.statistic != "Sum" => {
            // Only an estimate: it must be missed by far.
            let (most, _) = most_connections(instance, None).filter(|_| {
                instance.parameter_group.as_deref().is_none_or(|group| group.starts_with("default."))
            })?;
            (threshold > most * 1.5).then(|| {
                fault(
                    "threshold-unreachable",
                    format!(
                        "`{}` allows about {most} connections: {threshold} are never reached",
                        instance.id
                    ),
                    "Use 90% of max_connections.",
                )
            })
        }
        "MaximumUsedTransactionIDs" if watch.comparison.is_upward() && threshold >= 2_147_483_648.0 => {
            Some(fault(
                "threshold-unreachable",
                "PostgreSQL stops accepting writes before 2^31 transaction ids are used",
                "AWS recommends 1000000000.",
            ))
        }
        _ => None,
    }
}

/// Is there any data, under this unit and this period? What happens if there is none?
fn data(watch: &MetricWatch, world: &AuditContext, earlier: &[Fault]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let name = watch.metric.name.as_str();
    let of_rds = watch.metric.namespace == RDS;
    if of_rds && watch.period_seconds < 60 {
        faults.push(fault(
            "period-too-short",
            format!("RDS publishes once a minute: most periods of {} s are empty", watch.period_seconds),
            "Use a period of 60 seconds; it is cheaper too.",
        ));
    }
    if let (Some(unit), Some(known)) = (&watch.unit, metric(name).filter(|_| of_rds)) {
        let fits = match known.counts {
            Counts::Bytes => unit == "Bytes",
            Counts::Percent => unit == "Percent",
            Counts::Seconds => unit == "Seconds",
            Counts::Milliseconds => unit == "Milliseconds",
            Counts::Other => true,
        };
        if !fits {
            faults.push(fault(
                "wrong-unit",
                format!("only data points in {unit} count, but `{name}` is published in {:?}", known.counts),
                "Leave the unit out: CloudWatch does not convert.",
            ));
        }
    }
    let treatment = watch.missing;
    if !world.alive.contains(&watch.metric) {
        let is_sparse = metric(name).is_some_and(|known| of_rds && known.is_sparse);
        let is_explained = is_sparse && treatment == Treatment::NotBreaching && earlier.is_empty();
        match treatment {
            _ if is_explained => {}
            // There is no backup, or no drill, whose age could be published: the alarm is rightly on.
            Treatment::Breaching if !of_rds && world.is_measured(&watch.metric) => {}
            Treatment::Breaching if earlier.is_empty() && !of_rds => faults.push(fault(
                "no-data",
                format!("`{name}` is not published: the alarm is in ALARM all the time"),
                match watch.metric.name.as_str() {
                    COPY_AGE => "Run `lifeboat status --publish --copies-in REGION` every 15 minutes.",
                    _ => "Run `lifeboat status --publish` every 15 minutes.",
                },
            )),
            Treatment::Breaching => {}
            other => faults.push(fault(
                "missing-data",
                format!(
                    "`{name}` had no data for a day, and missing data is treated as `{}`: the alarm is silent when its metric \
                     is",
                    other.word()
                ),
                "Watch a metric that has data, and treat missing data as breaching where its absence is the alarm.",
            )),
        }
    } else if watch.metric.namespace == OWN && treatment != Treatment::Breaching {
        faults.push(fault(
            "missing-data",
            format!(
                "`{name}` stops when its publisher stops, and missing data is treated as `{}`: nobody would notice",
                treatment.word()
            ),
            "Treat missing data as breaching.",
        ));
    }
    faults
}
