//! The metrics of Amazon RDS: which engines have them, their units, and the values they can have
//! (Amazon RDS and Aurora User Guides, "CloudWatch metrics").

/// The unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    Bytes,
    Percent,
    Seconds,
    Milliseconds,
    Other,
}

/// Which instances have a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Has {
    Every,
    /// RDS's own engines.
    NotAurora,
    Aurora,
    /// Aurora clusters, not their instances.
    AuroraCluster,
    Postgres,
    MySql,
    SqlServer,
    Replicas,
    Burstable,
    Gp2,
    Insights,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) counts: Counts,
    pub(super) has: Has,
    /// A low value is the bad one.
    pub(super) is_scarce: bool,
    /// Instances may lack it for good reason: no slot, no burst.
    pub(super) is_sparse: bool,
}

const fn known(name: &'static str, counts: Counts, has: Has) -> Known {
    Known { name, counts, has, is_scarce: false, is_sparse: false }
}

const fn scarce(name: &'static str, counts: Counts, has: Has) -> Known {
    Known { is_scarce: true, ..known(name, counts, has) }
}

const fn sparse(metric: Known) -> Known {
    Known { is_sparse: true, ..metric }
}

use Counts::{Bytes, Milliseconds, Other, Percent, Seconds};

/// Every metric that RDS and Aurora publish in `AWS/RDS`, as far as we know; what is not here is called unknown only if it has
/// no data either.
const METRICS: &[Known] = &[
    known("CPUUtilization", Percent, Has::Every),
    known("DatabaseConnections", Other, Has::Every),
    scarce("FreeableMemory", Bytes, Has::Every),
    known("SwapUsage", Bytes, Has::Every),
    known("DBLoad", Other, Has::Insights),
    known("DBLoadCPU", Other, Has::Insights),
    known("DBLoadNonCPU", Other, Has::Insights),
    known("DBLoadRelativeToNumVCPUs", Other, Has::Insights),
    known("ReadLatency", Seconds, Has::Every),
    known("WriteLatency", Seconds, Has::Every),
    known("ReadIOPS", Other, Has::Every),
    known("WriteIOPS", Other, Has::Every),
    known("ReadThroughput", Other, Has::Every),
    known("WriteThroughput", Other, Has::Every),
    known("NetworkReceiveThroughput", Other, Has::Every),
    known("NetworkTransmitThroughput", Other, Has::Every),
    known("DiskQueueDepth", Other, Has::Every),
    scarce("FreeStorageSpace", Bytes, Has::NotAurora),
    scarce("FreeStorageSpaceLogVolume", Bytes, Has::NotAurora),
    sparse(scarce("FreeLocalStorage", Bytes, Has::Every)),
    sparse(scarce("FreeLocalStoragePercent", Percent, Has::Every)),
    sparse(scarce("EBSByteBalance%", Percent, Has::Every)),
    sparse(scarce("EBSIOBalance%", Percent, Has::Every)),
    sparse(scarce("BurstBalance", Percent, Has::Gp2)),
    sparse(scarce("CPUCreditBalance", Other, Has::Burstable)),
    sparse(known("CPUCreditUsage", Other, Has::Burstable)),
    sparse(known("CPUSurplusCreditBalance", Other, Has::Burstable)),
    sparse(known("CPUSurplusCreditsCharged", Other, Has::Burstable)),
    known("MaximumUsedTransactionIDs", Other, Has::Postgres),
    known("TransactionLogsDiskUsage", Bytes, Has::Postgres),
    known("TransactionLogsGeneration", Other, Has::Postgres),
    sparse(known("OldestReplicationSlotLag", Bytes, Has::Postgres)),
    sparse(known("OldestLogicalReplicationSlotLag", Bytes, Has::Postgres)),
    sparse(known("ReplicationSlotDiskUsage", Bytes, Has::Postgres)),
    known("CheckpointLag", Seconds, Has::Postgres),
    sparse(known("ReplicaLag", Seconds, Has::Replicas)),
    sparse(known("ReplicationChannelLag", Seconds, Has::MySql)),
    known("BinLogDiskUsage", Bytes, Has::MySql),
    sparse(known("FailedSQLServerAgentJobsCount", Other, Has::SqlServer)),
    known("ActiveTransactions", Other, Has::Aurora),
    known("AuroraBinlogReplicaLag", Seconds, Has::Aurora),
    known("AuroraReplicaLag", Milliseconds, Has::Aurora),
    known("AuroraReplicaLagMaximum", Milliseconds, Has::Aurora),
    known("AuroraReplicaLagMinimum", Milliseconds, Has::Aurora),
    scarce("AuroraVolumeBytesLeftTotal", Bytes, Has::AuroraCluster),
    known("AuroraGlobalDBReplicationLag", Milliseconds, Has::AuroraCluster),
    known("AuroraGlobalDBRPOLag", Milliseconds, Has::AuroraCluster),
    known("BackupRetentionPeriodStorageUsed", Bytes, Has::AuroraCluster),
    known("SnapshotStorageUsed", Bytes, Has::AuroraCluster),
    known("TotalBackupStorageBilled", Bytes, Has::AuroraCluster),
    known("VolumeBytesUsed", Bytes, Has::AuroraCluster),
    known("VolumeReadIOPs", Other, Has::AuroraCluster),
    known("VolumeWriteIOPs", Other, Has::AuroraCluster),
    scarce("BufferCacheHitRatio", Percent, Has::Aurora),
    scarce("EngineUptime", Seconds, Has::Aurora),
    known("CommitLatency", Milliseconds, Has::Aurora),
    known("CommitThroughput", Other, Has::Aurora),
    known("SelectLatency", Milliseconds, Has::Aurora),
    known("DMLLatency", Milliseconds, Has::Aurora),
    known("DDLLatency", Milliseconds, Has::Aurora),
    known("Deadlocks", Other, Has::Aurora),
    known("LoginFailures", Other, Has::Aurora),
    known("Queries", Other, Has::Aurora),
    known("RollbackSegmentHistoryListLength", Other, Has::Aurora),
    known("StorageNetworkThroughput", Other, Has::Aurora),
    known("NetworkThroughput", Other, Has::Aurora),
    known("ServerlessDatabaseCapacity", Other, Has::Aurora),
    known("ACUUtilization", Percent, Has::Aurora),
    known("RDSToAuroraPostgreSQLReplicaLag", Seconds, Has::Aurora),
];

pub(super) fn metric(name: &str) -> Option<&'static Known> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// The known metric that is most similar to a name.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    METRICS
        .iter()
        .map(|metric| (strsim::jaro_winkler(metric.name, name), metric.name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}

/// Metrics of billed backup storage, often mistaken for signs that backups work.
pub(super) fn is_billing(name: &str) -> bool {
    ["SnapshotStorageUsed", "BackupRetentionPeriodStorageUsed", "TotalBackupStorageBilled"].contains(&name)
}

/// Dimensions under which RDS publishes.
pub(super) fn is_dimension(name: &str) -> bool {
    [
        "DBInstanceIdentifier",
        "DBClusterIdentifier",
        "DbClusterIdentifier",
        "Role",
        "EngineName",
        "DatabaseClass",
        "SourceRegion",
        "SecondaryRegion",
        "WriterDBInstanceIdentifier",
        "VolumeName",
    ]
    .contains(&name)
}
