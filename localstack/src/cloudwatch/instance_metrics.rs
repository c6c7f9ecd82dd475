//! The metrics that instances publish every minute in `AWS/RDS`.
//!
//! Storage, connections, transaction ids, write-ahead log and replication slots are measured at the real servers.
//! Processor, memory and latency metrics have fixed healthy values unless the control endpoint overrides them. After a jump
//! of the clock, the last twenty minutes are filled with the new measurement in Regions that have alarms.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::event_delivery::record_event;
use crate::event_messages;
use crate::instance_class::{GIBIBYTE, class_size};
use crate::monitoring::metrics::Metric;
use crate::resources::{EventSource, Instance};
use crate::stack::Context;

/// How many minutes are filled after a jump of the clock.
const MOST_FILLED_MINUTES: i64 = 20;

/// The state of the last round of measurements.
#[derive(Debug, Default)]
pub(super) struct Round {
    minute: i64,
    /// The instances that were measured, by resource id.
    instances: BTreeSet<String>,
    /// Those for which a low-storage event was recorded.
    full: BTreeSet<String>,
    /// The revision of the overrides that was used.
    revision: u64,
}

type Measurements = Vec<(&'static str, &'static str, f64)>;

/// Measures every running instance if a new minute began or the overrides changed; new instances at once.
pub(super) async fn measure_instances(cx: &Arc<Context>, last: Option<Round>, now: DateTime<Utc>) -> Round {
    let minute = now.timestamp().div_euclid(60);
    let mut round = last.unwrap_or_else(|| Round { minute: minute - 1, ..Round::default() });
    let revision = cx.monitoring.read(|all| all.revision);
    let is_due = minute > round.minute || revision != round.revision;
    let instances = cx.store.read(|state| {
        let up = state.instances().filter(|instance| instance.status.is_running());
        up.filter(|instance| is_due || !round.instances.contains(&instance.resource_id))
            .cloned()
            .collect::<Vec<_>>()
    });
    for instance in instances {
        let first = if round.instances.insert(instance.resource_id.clone()) {
            minute
        } else {
            (round.minute + 1).clamp(minute - MOST_FILLED_MINUTES, minute)
        };
        let Some(measured) = measure_instance(cx, &instance).await else {
            round.instances.remove(&instance.resource_id);
            continue;
        };
        record_low_storage(cx, &instance, &measured, &mut round.full);
        cx.monitoring.change(|all| {
            let overrides = all.overrides.get(&instance.resource_id).cloned().unwrap_or_default();
            let monitor = all.monitors.entry(instance.region.clone()).or_default();
            monitor.has_new_metrics = true;
            // Filling costs time, which a large fleet without alarms need not spend.
            let first = if monitor.alarms.is_empty() { minute } else { first };
            let dimensions = [("DBInstanceIdentifier".to_owned(), instance.id.clone())].into();
            let mut metric = Metric { namespace: "AWS/RDS".to_owned(), name: String::new(), dimensions };
            for (name, unit, value) in &measured {
                (*name).clone_into(&mut metric.name);
                let value = overrides.metrics.get(*name).copied().unwrap_or(*value);
                for at in first..=minute {
                    let at = DateTime::from_timestamp(at * 60, 0).unwrap_or(now);
                    monitor.metrics.replace(&metric, unit, at, value);
                }
            }
        });
    }
    (round.minute, round.revision) = (minute, revision);
    round
}

async fn measure_instance(cx: &Arc<Context>, instance: &Instance) -> Option<Measurements> {
    let settings = &instance.settings;
    let is_aurora = settings.engine.starts_with("aurora");
    let memory = class_size(&settings.class).memory_bytes;
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
        measure_server(cx, instance, &mut measured).await?;
    } else {
        measured.push(("DatabaseConnections", "Count", 0.0));
        if !is_aurora {
            let free = settings.allocated_storage as f64 * GIBIBYTE * 0.9 - taken_bytes(cx, instance);
            measured.push(("FreeStorageSpace", "Bytes", free.max(0.0)));
        }
    }
    Some(measured)
}

/// Measures what only the real server knows. `None` while it does not answer.
async fn measure_server(cx: &Arc<Context>, instance: &Instance, measured: &mut Measurements) -> Option<()> {
    let server = cx.server(&instance.resource_id)?;
    let data = cx.home.cluster(&instance.resource_id).data;
    let (used, log) =
        tokio::task::spawn_blocking(move || (directory_size(&data), directory_size(&data.join("pg_wal"))))
            .await
            .ok()?;
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
    measured.push(("FreeStorageSpace", "Bytes", (size - used - taken_bytes(cx, instance)).max(0.0)));
    measured.push(("DatabaseConnections", "Count", row.try_get(0).ok()?));
    measured.push(("MaximumUsedTransactionIDs", "Count", row.try_get(1).ok()?));
    measured.push(("TransactionLogsDiskUsage", "Bytes", log));
    measured.push(("CheckpointLag", "Seconds", 30.0));
    // A server without slots has no lag.
    if let Some(lag) = row.try_get::<_, Option<f64>>(2).ok()? {
        measured.push(("OldestReplicationSlotLag", "Bytes", lag));
        measured.push(("ReplicationSlotDiskUsage", "Bytes", lag));
    }
    Some(())
}

/// The storage that the control endpoint says is occupied by something else.
fn taken_bytes(cx: &Context, instance: &Instance) -> f64 {
    cx.monitoring
        .read(|all| all.overrides.get(&instance.resource_id).map_or(0.0, |overrides| overrides.taken_bytes))
}

/// Records RDS-EVENT-0089 once each time that an instance fills up.
fn record_low_storage(
    cx: &Arc<Context>,
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
        let event = event_messages::low_storage(message);
        record_event(cx, &instance.region, EventSource::Instance, &instance.id, &event);
    }
}

/// The bytes in a directory and below it. Files that disappear during the walk do not count.
fn directory_size(directory: &Path) -> f64 {
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
