//! DB snapshots as AWS reports them.

use chrono::{DateTime, Utc};

use super::spelling::aws_words;
use super::{ResourceId, SnapshotId, Tags};

aws_words! {
    /// Who took a snapshot, or shared it (Amazon RDS API, `DescribeDBSnapshots`).
    SnapshotType {
        /// RDS, in the backup window.
        Automated = "automated",
        /// Somebody, or a tool.
        Manual = "manual",
        /// Another account, which shares it with this one.
        Shared = "shared",
        /// AWS Backup. It can be restored like any other; RDS lists it only if it is asked for, and only AWS Backup deletes it.
        AwsBackup = "awsbackup",
    }
}

aws_words! {
    /// What AWS says of the state of a snapshot.
    SnapshotStatus {
        /// It is being taken.
        Creating = "creating",
        /// It is being copied.
        Copying = "copying",
        /// It can be restored.
        Available = "available",
        /// It is on its way out.
        Deleting = "deleting",
    }
}

impl SnapshotStatus {
    /// Whether it will not become available by waiting.
    pub(crate) fn is_broken(&self) -> bool {
        ["failed", "incompatible"].iter().any(|start| self.as_str().starts_with(start))
    }
}

/// A DB snapshot as AWS reports it.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// Its name.
    pub id: SnapshotId,
    /// Its ARN.
    pub arn: String,
    /// The instance that it is of, by name.
    pub instance: String,
    /// The instance that it is of, by immutable id.
    pub resource_id: Option<ResourceId>,
    /// Who took it, or shared it.
    pub snapshot_type: SnapshotType,
    /// What AWS says of its state.
    pub reported_status: SnapshotStatus,
    /// When it was first taken; a copy keeps this, so age is counted from here.
    pub original_created_at: Option<DateTime<Utc>>,
    /// When it became available; of a copy, when the copy did.
    pub created_at: Option<DateTime<Utc>>,
    /// How far its making has come, in percent.
    pub percent: Option<i32>,
    /// The key that it is encrypted with.
    pub kms_key: Option<String>,
    /// The snapshot that it is a copy of.
    pub copied_from: Option<String>,
    /// What it knows of its instance's settings by itself.
    pub option_group: Option<String>,
    /// The last transaction that it holds, as far as AWS says.
    pub database_time: Option<DateTime<Utc>>,
    /// Engine.
    pub engine: String,
    /// Engine version.
    pub engine_version: String,
    /// Allocated storage in gibibytes.
    pub storage_gib: i32,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Tags.
    pub tags: Tags,
}

impl Snapshot {
    /// Whether it can be restored.
    pub(crate) fn is_available(&self) -> bool {
        self.reported_status == SnapshotStatus::Available
    }

    /// Whether it may become available by waiting.
    pub(crate) fn is_being_made(&self) -> bool {
        matches!(self.reported_status, SnapshotStatus::Creating | SnapshotStatus::Copying)
    }

    /// The moment that a restore of it goes back to.
    pub(crate) fn moment(&self) -> Option<DateTime<Utc>> {
        self.database_time.or(self.original_created_at)
    }
}
