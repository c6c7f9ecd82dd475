//! What instances measure about themselves, each minute, in `AWS/RDS`.
//!
//! Disk, connections, transaction ids, write-ahead log and replication slots are those of the real servers. Processors,
//! memory and latencies are not looked at: they say that all is well until the control endpoint says otherwise. A jump of
//! the clock is filled with what is measured after it, twenty minutes back, where there are alarms to see it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::metrics::Metric;
use crate::happening;
use crate::record::{EventSource, Instance};
use crate::stack::Shared;

const GIBIBYTE: f64 = 1024.0 * 1024.0 * 1024.0;

/// How far back a jump of the clock is filled, in minutes.
const FILLED: i64 = 20;

/// When the last measurement was, and of what.
#[derive(Debug, Default)]
pub(super) struct Fed {
    minute: i64,
    instances: BTreeSet<String>,
    /// Those that were told to be nearly full.
    full: BTreeSet<String>,
    revision: u64,
}

type Measurements = Vec<(&'static str, &'static str, f64)>;

/// Measures every instance that is up, if a minute is over; at once those that are new or were told something.
pub(super) async fn feed(shared: &Arc<Shared>, fed: Option<Fed>, now: DateTime<Utc>) -> Fed {
    let minute = now.timestamp().div_euclid(60);
    let mut fed = fed.unwrap_or_else(|| Fed { minute: minute - 1, ..Fed::default() });
    let revision = shared.monitoring.read(|all| all.revision);
    let is_due = minute > fed.minute || revision != fed.revision;
    let instances = shared.store.read(|state| {
        let up = state.instances().filter(|instance| instance.status.is_running());
        up.filter(|instance| is_due || !fed.instances.contains(&instance.resource_id))
            .cloned()
            .collect::<Vec<_>>()
    });
    for instance in instances {
        let first = if fed.instances.insert(instance.resource_id.clone()) {
            minute
        } else {
            (fed.minute + 1).clamp(minute - FILLED, minute)
        };
        let Some(measured) = measure(shared, &instance).await else {
            fed.instances.remove(&instance.resource_id);
            continue;
        };
        warn_of_full_disk(shared, &instance, &measured, &mut fed.full);
        shared.monitoring.change(|all| {
            let told = all.told.get(&instance.resource_id).cloned().unwrap_or_default();
            let monitor = all.monitors.entry(instance.region.clone()).or_default();
            monitor.stirred = true;
            // A fleet that nobody watches need not pay for it.
            let first = if monitor.alarms.is_empty() { minute } else { first };
            let dimensions = [("DBInstanceIdentifier".to_owned(), instance.id.clone())].into();
            let mut metric = Metric { namespace: "AWS/RDS".to_owned(), name: String::new(), dimensions };
            for (name, unit, value) in &measured {
                (*name).clone_into(&mut metric.name);
                let value = told.metrics.get(*name).copied().unwrap_or(*value);
                for at in first..=minute {
                    let at = DateTime::from_timestamp(at * 60, 0).unwrap_or(now);
                    monitor.metrics.replace(&metric, unit, at, value);
                }
            }
        });
    }
    (fed.minute, fed.revision) = (minute, revision);
    fed
}

async fn measure(shared: &Arc<Shared>, instance: &Instance) -> Option<Measurements> {
    let settings = &instance.settings;
    let is_aurora = settings.engine.starts_with("aurora");
    let memory = memory(&settings.class);
    let mut measured: Measurements = vec![
        ("CPUUtilization", "Percent", 3.0),
        ("FreeableMemory", "Bytes", memory * 0.6),
        ("SwapUsage", "Bytes", 0.0),
        ("ReadLatency", "Seconds", 0.001),
        ("WriteLatency", "Seconds", 0.001),
        ("ReadIOPS", "Count/Second", 1.0),
        ("WriteIOPS", "Count/Second", 1.0),
        ("DiskQueueDepth", "Count", 0.0),
        ("NetworkReceiveThroughput", "Bytes/Second", 1000.0),
        ("NetworkTransmitThroughput", "Bytes/Second", 1000.0),
    ];
    if is_aurora {
        measured.push(("FreeLocalStorage", "Bytes", memory));
        measured.push(("BufferCacheHitRatio", "Percent", 99.9));
    } else {
        measured.push(("EBSByteBalance%", "Percent", 100.0));
        measured.push(("EBSIOBalance%", "Percent", 100.0));
        if settings.storage_type == "gp2" {
            measured.push(("BurstBalance", "Percent", 100.0));
        }
    }
    if settings.class.starts_with("db.t") {
        measured.push(("CPUCreditBalance", "Count", 140.0));
        measured.push(("CPUCreditUsage", "Count", 1.0));
    }
    if settings.performance_insights {
        measured.push(("DBLoad", "Count", 0.1));
    }
    if settings.is_postgres() {
        ask_server(shared, instance, &mut measured).await?;
    } else {
        measured.push(("DatabaseConnections", "Count", 0.0));
        if !is_aurora {
            let free = settings.allocated_storage as f64 * GIBIBYTE * 0.9 - taken(shared, instance);
            measured.push(("FreeStorageSpace", "Bytes", free.max(0.0)));
        }
    }
    Some(measured)
}

/// What only the real server knows. `None` while it cannot say.
async fn ask_server(shared: &Arc<Shared>, instance: &Instance, measured: &mut Measurements) -> Option<()> {
    let server = shared.server(&instance.resource_id)?;
    let data = shared.home.cluster(&instance.resource_id).data;
    let (used, log) =
        tokio::task::spawn_blocking(move || (size(&data), size(&data.join("pg_wal")))).await.ok()?;
    let ask = async {
        let client = server.connect("rdsadmin").await.ok()?;
        client
            .query_one(
                "select (select count(*) from pg_stat_activity
                         where backend_type = 'client backend' and usename <> 'rdsadmin')::float8,
                        (select max(age(datfrozenxid)) from pg_database)::float8,
                        (select max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))
                         from pg_replication_slots)::float8",
                &[],
            )
            .await
            .ok()
    };
    let row = tokio::time::timeout(Duration::from_secs(5), ask).await.ok().flatten()?;
    let size = instance.settings.allocated_storage as f64 * GIBIBYTE;
    measured.push(("FreeStorageSpace", "Bytes", (size - used - taken(shared, instance)).max(0.0)));
    measured.push(("DatabaseConnections", "Count", row.try_get(0).ok()?));
    measured.push(("MaximumUsedTransactionIDs", "Count", row.try_get(1).ok()?));
    measured.push(("TransactionLogsDiskUsage", "Bytes", log));
    measured.push(("CheckpointLag", "Seconds", 30.0));
    // A server without slots has no lag to tell of.
    if let Some(lag) = row.try_get::<_, Option<f64>>(2).ok()? {
        measured.push(("OldestReplicationSlotLag", "Bytes", lag));
        measured.push(("ReplicationSlotDiskUsage", "Bytes", lag));
    }
    Some(())
}

/// What the control endpoint says lies on the disk besides the database.
fn taken(shared: &Shared, instance: &Instance) -> f64 {
    shared.monitoring.read(|all| all.told.get(&instance.resource_id).map_or(0.0, |told| told.taken_bytes))
}

/// RDS-EVENT-0089, once per time that an instance fills up.
fn warn_of_full_disk(
    shared: &Arc<Shared>,
    instance: &Instance,
    measured: &Measurements,
    full: &mut BTreeSet<String>,
) {
    let size = instance.settings.allocated_storage as f64 * GIBIBYTE;
    let free = measured.iter().find(|(name, ..)| *name == "FreeStorageSpace").map(|(.., value)| *value);
    let is_full = free.is_some_and(|free| free < size * 0.1);
    if !is_full {
        full.remove(&instance.resource_id);
    } else if full.insert(instance.resource_id.clone()) {
        let percent = free.unwrap_or_default() / size * 100.0;
        let message = format!(
            "The free storage capacity for DB instance {} is low at {percent:.0}% of the provisioned storage [Provisioned \
             Storage: {} GiB].",
            instance.id, instance.settings.allocated_storage
        );
        shared.add_event(
            &instance.region,
            EventSource::Instance,
            &instance.id,
            &happening::low_storage(message),
        );
    }
}

/// Bytes in a directory and below it. What goes away meanwhile does not count.
fn size(directory: &Path) -> f64 {
    let mut total = 0.0;
    let mut left: Vec<PathBuf> = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => left.push(entry.path()),
                Ok(metadata) => total += metadata.len() as f64,
                Err(_) => {}
            }
        }
    }
    total
}

/// The memory of a class, in bytes: near enough for a metric that nothing is behind.
fn memory(class: &str) -> f64 {
    let size = class.rsplit('.').next().unwrap_or_default();
    let gibibytes = match size {
        "micro" => 1.0,
        "small" => 2.0,
        "medium" => 4.0,
        "large" => 8.0,
        "xlarge" => 16.0,
        other => 16.0 * other.strip_suffix("xlarge").and_then(|count| count.parse().ok()).unwrap_or(1.0),
    };
    let is_memory_class = class.starts_with("db.r") || class.starts_with("db.x");
    gibibytes * if is_memory_class { 2.0 * GIBIBYTE } else { GIBIBYTE }
}
