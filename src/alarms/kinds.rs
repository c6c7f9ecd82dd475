//! The kinds of alarms there are: what each is for, when it goes off, and what to do then.
//!
//! Three of them are about backups, which AWS's own list lacks: RDS has no event and no metric for "the automated
//! backup failed", so its absence must be seen. The rest is AWS's recommended set for RDS (Amazon CloudWatch User Guide,
//! "Recommended alarms") and what PostgreSQL needs.

use crate::error::{Error, Result};
use crate::rds::{Comparison, Treatment};

/// The namespace of the metrics that `status --publish` measures.
pub(super) const OWN: &str = "Lifeboat";
/// The metric that is always published for each database.
pub(super) const HEARTBEAT: &str = "MonitorRun";
/// The age of the newest copy elsewhere, published with `--copies-in`.
pub(super) const COPY_AGE: &str = "CopyAgeSeconds";
/// RDS's own.
pub(super) const RDS: &str = "AWS/RDS";

/// The unit of a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// A duration: `26h`.
    Age,
    /// Seconds below one, given in milliseconds: `20ms`.
    Latency,
    /// The metric is in percent: `90%`.
    Percent,
    /// Bytes, or a share of the allocated storage.
    Storage,
    /// Bytes, or a share of the class's memory.
    Memory,
    /// A number, or a share of the most connections.
    Connections,
    /// A number, or a share of the most CPU credits of the class.
    Credits,
    /// A number, or a share of the class's processors.
    Processors,
    /// A number.
    Count,
}

/// Which instances an alarm is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fits {
    Every,
    /// All that are not in a cluster: Aurora keeps its backups and its storage elsewhere.
    Single,
    /// Those, of PostgreSQL.
    Postgres,
    /// Read replicas.
    Replicas,
    /// Storage type gp2.
    Gp2,
    /// Burstable classes.
    Burstable,
    /// With Performance Insights.
    Insights,
    /// Without storage autoscaling.
    FixedStorage,
}

/// One kind of alarm.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) namespace: &'static str,
    pub(super) metric: &'static str,
    pub(super) statistic: &'static str,
    pub(super) period_seconds: i32,
    /// Breaching periods, one after the other.
    pub(super) periods: i32,
    pub(super) comparison: Comparison,
    /// As written in `lifeboat.toml`.
    pub(super) threshold: &'static str,
    pub(super) unit: Unit,
    pub(super) missing: Treatment,
    pub(super) is_for: Fits,
    /// Off unless enabled.
    pub(super) is_optional: bool,
    /// Completes "orders-prod: …".
    pub(super) meaning: &'static str,
    pub(super) remedy: &'static str,
}

const fn own(name: &'static str, metric: &'static str, threshold: &'static str) -> Kind {
    Kind {
        name,
        namespace: OWN,
        metric,
        statistic: "Maximum",
        period_seconds: 900,
        periods: 4,
        comparison: Comparison::Above,
        threshold,
        unit: Unit::Age,
        // The publisher has stopped, which is no better than a bad value.
        missing: Treatment::Breaching,
        is_for: Fits::Single,
        is_optional: false,
        meaning: "",
        remedy: "",
    }
}

const fn rds(name: &'static str, metric: &'static str, threshold: &'static str, unit: Unit) -> Kind {
    Kind {
        name,
        namespace: RDS,
        metric,
        statistic: "Average",
        period_seconds: 60,
        periods: 5,
        comparison: Comparison::Above,
        threshold,
        unit,
        missing: Treatment::Missing,
        is_for: Fits::Every,
        is_optional: false,
        meaning: "",
        remedy: "",
    }
}

/// All of them, the most important first.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        meaning: "the newest backup is too old, or its age is no longer published",
        remedy: "Check `lifeboat status` and the instance's events; run `lifeboat snapshot create` now.",
        ..own("backup-age", "SnapshotAgeSeconds", "26h")
    },
    Kind {
        meaning: "backups fail: the latest restorable time does not advance, or automated backups are off",
        remedy: "Check retention (`lifeboat policy check`), the instance's status and its free storage.",
        ..own("backup-failure", "RestorePointLagSeconds", "30m")
    },
    Kind {
        statistic: "Sum",
        comparison: Comparison::Below,
        threshold: "1",
        unit: Unit::Count,
        meaning: "`lifeboat status --publish` has not run for an hour: backups are not being monitored",
        remedy: "Check the scheduler that runs it, and its credentials.",
        ..own("monitor", HEARTBEAT, "1")
    },
    Kind {
        is_optional: true,
        meaning: "the newest copy in the other Region or account is too old",
        remedy: "Check the copy job: `lifeboat snapshot list` there, and the key's policy.",
        ..own("copy-age", COPY_AGE, "26h")
    },
    Kind {
        is_optional: true,
        meaning: "no restore drill has been run for too long",
        remedy: "Run `lifeboat drill run`, and check its scheduler.",
        ..own("drill-age", "LastDrillAgeSeconds", "35d")
    },
    Kind {
        statistic: "Minimum",
        comparison: Comparison::Below,
        threshold: "1",
        unit: Unit::Count,
        is_optional: true,
        meaning: "the last restore drill did not pass",
        remedy: "Read it: `lifeboat drill list`, `lifeboat drill show`.",
        ..own("drill-failed", "LastDrillPassed", "1")
    },
    Kind {
        is_optional: true,
        meaning: "the last restore drill took longer than the objective",
        remedy: "Compare its phases with earlier ones: `lifeboat drill show`.",
        ..own("drill-rto", "LastDrillRtoSeconds", "1h")
    },
    Kind {
        statistic: "Minimum",
        comparison: Comparison::Below,
        is_for: Fits::Single,
        meaning: "free storage is low; when it is used up, the database stops and so do its backups",
        remedy: "Find what grew (tables, logs, a replication slot), then raise the allocated storage.",
        ..rds("storage", "FreeStorageSpace", "10%", Unit::Storage)
    },
    Kind {
        statistic: "Minimum",
        comparison: Comparison::Below,
        is_for: Fits::FixedStorage,
        meaning: "free storage is getting low",
        remedy: "Plan more storage, or turn on storage autoscaling.",
        ..rds("storage-warning", "FreeStorageSpace", "20%", Unit::Storage)
    },
    Kind {
        is_for: Fits::Postgres,
        periods: 15,
        meaning: "write-ahead logs are filling the disk, often kept by an unused replication slot",
        remedy: "Check pg_replication_slots and drop the unused one; check that archiving keeps up.",
        ..rds("wal-disk", "TransactionLogsDiskUsage", "10%", Unit::Storage)
    },
    Kind {
        is_for: Fits::Postgres,
        missing: Treatment::NotBreaching,
        meaning: "a replication slot lags far behind and keeps write-ahead logs",
        remedy: "Restart its consumer, or drop the slot.",
        ..rds("replication-slot", "OldestReplicationSlotLag", "5%", Unit::Storage)
    },
    Kind {
        is_for: Fits::Postgres,
        periods: 1,
        meaning: "transaction ids are running out: at 2 billion PostgreSQL stops accepting writes",
        remedy: "Find what holds vacuum back: long transactions, prepared ones, slots; then vacuum freeze.",
        ..rds("transaction-ids", "MaximumUsedTransactionIDs", "1000000000", Unit::Count)
    },
    Kind {
        meaning: "connections are nearly used up",
        remedy: "Check pg_stat_activity for idle ones; use a pooler or a larger class.",
        ..rds("connections", "DatabaseConnections", "90%", Unit::Connections)
    },
    Kind {
        meaning: "the vCPUs are busy all the time",
        remedy: "Look for the heaviest queries (pg_stat_statements) before choosing a larger class.",
        ..rds("cpu", "CPUUtilization", "90%", Unit::Percent)
    },
    Kind {
        periods: 15,
        is_for: Fits::Insights,
        meaning: "more sessions are active than the instance has vCPUs",
        remedy: "Look at the wait events in Performance Insights.",
        ..rds("load", "DBLoad", "100%", Unit::Processors)
    },
    Kind {
        periods: 15,
        comparison: Comparison::Below,
        meaning: "memory is low",
        remedy: "Check connections and work_mem; choose a class with more memory.",
        ..rds("memory", "FreeableMemory", "25%", Unit::Memory)
    },
    Kind {
        statistic: "p90",
        missing: Treatment::NotBreaching,
        is_for: Fits::Single,
        meaning: "disk reads are slow",
        remedy: "Compare IOPS and throughput with what the volume is provisioned for.",
        ..rds("read-latency", "ReadLatency", "20ms", Unit::Latency)
    },
    Kind {
        statistic: "p90",
        missing: Treatment::NotBreaching,
        is_for: Fits::Single,
        meaning: "disk writes are slow",
        remedy: "Compare IOPS and throughput with what the volume is provisioned for.",
        ..rds("write-latency", "WriteLatency", "20ms", Unit::Latency)
    },
    Kind {
        periods: 3,
        comparison: Comparison::Below,
        missing: Treatment::NotBreaching,
        is_for: Fits::Single,
        meaning: "the instance's EBS throughput credits are nearly used up",
        remedy: "Choose a larger class, or lower the load.",
        ..rds("ebs-throughput", "EBSByteBalance%", "10%", Unit::Percent)
    },
    Kind {
        periods: 3,
        comparison: Comparison::Below,
        missing: Treatment::NotBreaching,
        is_for: Fits::Single,
        meaning: "the instance's EBS IOPS credits are nearly used up",
        remedy: "Choose a larger class, or lower the load.",
        ..rds("ebs-io", "EBSIOBalance%", "10%", Unit::Percent)
    },
    Kind {
        statistic: "Maximum",
        periods: 10,
        is_for: Fits::Replicas,
        meaning: "the read replica lags behind",
        remedy: "Look for long queries and heavy writes; a replica that stopped has an event.",
        ..rds("replica-lag", "ReplicaLag", "60s", Unit::Age)
    },
    Kind {
        periods: 10,
        comparison: Comparison::Below,
        missing: Treatment::NotBreaching,
        is_for: Fits::Gp2,
        meaning: "the gp2 volume's burst credits are nearly used up, and the disk will be slow",
        remedy: "Move to gp3.",
        ..rds("burst-balance", "BurstBalance", "20%", Unit::Percent)
    },
    Kind {
        comparison: Comparison::Below,
        missing: Treatment::NotBreaching,
        is_for: Fits::Burstable,
        meaning: "CPU credits are nearly used up: the instance will be throttled, or cost more",
        remedy: "Choose a larger class, or one that is not burstable.",
        ..rds("cpu-credits", "CPUCreditBalance", "10%", Unit::Credits)
    },
];

/// The kind of that name.
///
/// # Errors
///
/// Names the nearest known kind.
pub(super) fn find_kind(name: &str) -> Result<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let nearest = KINDS.iter().map(|kind| kind.name).max_by(|left, right| {
            strsim::jaro_winkler(left, name).total_cmp(&strsim::jaro_winkler(right, name))
        });
        let all: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        Error::request(format!("`{}` is not a kind of alarm", name.escape_default())).hint(format!(
            "Did you mean `{}`? Kinds are {}.",
            nearest.unwrap_or_default(),
            all.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_kind_is_told_the_nearest_one() {
        for (wrong, right) in [("storge", "storage"), ("backup_age", "backup-age"), ("cpus", "cpu")] {
            let error = find_kind(wrong).unwrap_err();
            assert!(error.hints()[0].contains(&format!("`{right}`")), "{wrong}: {:?}", error.hints());
        }
    }

    #[test]
    fn every_kind_says_what_it_means_and_what_to_do() {
        for kind in KINDS {
            assert!(!kind.meaning.is_empty() && !kind.remedy.is_empty(), "{}", kind.name);
            assert!(find_kind(kind.name).is_ok());
        }
    }
}
