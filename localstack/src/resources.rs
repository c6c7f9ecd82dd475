//! The resources of RDS: instances, snapshots, groups, events. Plain data, as it is stored in `state.json`.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::instance_status::Status;
use crate::scope;

/// PostgreSQL's port on RDS unless a caller chooses another.
pub(crate) const DEFAULT_PORT: u16 = 5432;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Tag {
    pub(crate) key: String,
    pub(crate) value: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) id: String,
    /// The id that survives a rename and is never reused: `db-…`.
    pub(crate) resource_id: String,
    /// The last part of the ARN of its automated backup.
    pub(crate) backup_name: String,
    pub(crate) region: String,
    pub(crate) status: Status,
    pub(crate) shown: Option<ForcedStatus>,
    #[serde(rename = "fate")]
    pub(crate) restore_outcome: Option<ForcedStatus>,
    pub(crate) origin: Origin,
    /// The base backup from which its data is laid out when a client first connects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asleep: Option<String>,
    pub(crate) deletion: Option<Deletion>,
    pub(crate) requested_at: DateTime<Utc>,
    pub(crate) created_at: Option<DateTime<Utc>>,
    /// The port that its server listens on, once there is one.
    pub(crate) port: Option<u16>,
    pub(crate) settings: Settings,
    pub(crate) parameter_status: ParameterStatus,
    pub(crate) pending: Pending,
    pub(crate) secret: Option<ManagedSecret>,
    pub(crate) tags: Vec<Tag>,
    /// When the backup window was last used or skipped.
    pub(crate) backup_considered_at: DateTime<Utc>,
    pub(crate) maintenance_considered_at: DateTime<Utc>,
    /// For a stopped instance: up to when (machine's time) its write-ahead log was archived.
    pub(crate) archived_until: Option<DateTime<Utc>>,
    /// When it was stopped, while it is.
    #[serde(default)]
    pub(crate) stopped_at: Option<DateTime<Utc>>,
    /// When it was stopped and started again in the past.
    #[serde(default)]
    pub(crate) stops: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    /// When its storage was last changed.
    #[serde(default)]
    pub(crate) storage_changed_at: Option<DateTime<Utc>>,
    /// The parameter values in effect: those of its group when its server last started, and what was applied
    /// immediately since.
    #[serde(default)]
    pub(crate) parameters: Option<BTreeMap<String, String>>,
}

/// What a caller may set, and what a snapshot remembers of its instance.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) engine: String,
    pub(crate) engine_version: String,
    pub(crate) class: String,
    pub(crate) license_model: String,
    pub(crate) master_username: Option<String>,
    pub(crate) db_name: Option<String>,
    /// The port that the caller asked for.
    pub(crate) asked_port: u16,
    pub(crate) allocated_storage: i64,
    pub(crate) max_allocated_storage: Option<i64>,
    pub(crate) storage_type: String,
    pub(crate) iops: Option<i64>,
    pub(crate) storage_throughput: Option<i64>,
    pub(crate) kms_key: Option<String>,
    pub(crate) backup_window: String,
    pub(crate) maintenance_window: String,
    pub(crate) retention_days: i64,
    pub(crate) security_groups: Vec<String>,
    pub(crate) parameter_group: String,
    pub(crate) option_group: String,
    pub(crate) subnet_group: String,
    pub(crate) availability_zone: String,
    pub(crate) multi_az: bool,
    pub(crate) public: bool,
    pub(crate) auto_minor_upgrade: bool,
    pub(crate) deletion_protection: bool,
    pub(crate) copy_tags_to_snapshot: bool,
    pub(crate) iam_authentication: bool,
    pub(crate) performance_insights: bool,
    pub(crate) monitoring_interval: i64,
    #[serde(default)]
    pub(crate) monitoring_role: Option<String>,
    #[serde(default)]
    pub(crate) insights_key: Option<String>,
    #[serde(default)]
    pub(crate) insights_days: Option<i64>,
    /// `standard` or `advanced`; absent is `standard`.
    #[serde(default)]
    pub(crate) insights_mode: Option<String>,
    #[serde(default)]
    pub(crate) dedicated_log_volume: bool,
    /// `IPV4` or `DUAL`; absent is `IPV4`.
    #[serde(default)]
    pub(crate) network_type: Option<String>,
    pub(crate) log_exports: Vec<String>,
    pub(crate) ca: String,
    pub(crate) lifecycle_support: String,
    pub(crate) cluster: Option<String>,
}

impl Settings {
    /// Whether a real server is behind it.
    pub(crate) fn is_postgres(&self) -> bool {
        self.engine == "postgres"
    }

    pub(crate) fn major(&self) -> &str {
        self.engine_version.split('.').next().unwrap_or(&self.engine_version)
    }
}

/// Where an instance's database comes from. Kept until the database exists, so that a restarted stack can begin
/// again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Origin {
    /// Empty, with a master user whose password has this SCRAM verifier.
    New {
        verifier: String,
    },
    Snapshot {
        backup: String,
        snapshot: String,
    },
    /// `target` is in the machine's time, as the write-ahead log is.
    Time {
        source: String,
        region: String,
        backup: String,
        target: DateTime<Utc>,
    },
    /// The database exists, or never will.
    Done,
}

/// A status that the control endpoint shows in place of the real one, or in which it makes a restore end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForcedStatus {
    pub(crate) status: Status,
    /// Whether a shown status stays until it is cleared. Otherwise it ends with the instance's next change of status.
    pub(crate) stay: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deletion {
    pub(crate) final_snapshot: Option<String>,
    pub(crate) keep_automated_backups: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ParameterStatus {
    InSync,
    PendingReboot,
}

/// Changes that were accepted but not applied yet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) class: Option<String>,
    pub(crate) allocated_storage: Option<i64>,
    pub(crate) storage_type: Option<String>,
    pub(crate) iops: Option<i64>,
    #[serde(default)]
    pub(crate) storage_throughput: Option<i64>,
    #[serde(default)]
    pub(crate) dedicated_log_volume: Option<bool>,
    pub(crate) multi_az: Option<bool>,
    pub(crate) retention_days: Option<i64>,
    pub(crate) new_id: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) engine_version: Option<String>,
    pub(crate) subnet_group: Option<String>,
    pub(crate) ca: Option<String>,
    pub(crate) iam_authentication: Option<bool>,
    /// The new password's SCRAM verifier.
    pub(crate) verifier: Option<String>,
}

/// A master password that the stack chose and keeps, as Secrets Manager would.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ManagedSecret {
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) version: String,
    pub(crate) since: DateTime<Utc>,
    pub(crate) kms_key: Option<String>,
    pub(crate) active: bool,
    /// A new version is being set.
    #[serde(default)]
    pub(crate) rotating: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SnapshotKind {
    Manual,
    Automated,
    /// Taken by AWS Backup: RDS lists it only if that type is asked for, and does not delete it.
    Awsbackup,
}

impl SnapshotKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Automated => "automated",
            Self::Awsbackup => "awsbackup",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SnapshotStatus {
    /// A copy from another Region that has not begun yet.
    Pending,
    Creating,
    Available,
    Failed,
}

impl fmt::Display for SnapshotStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) id: String,
    pub(crate) region: String,
    pub(crate) kind: SnapshotKind,
    pub(crate) status: SnapshotStatus,
    pub(crate) percent: u8,
    pub(crate) instance_id: String,
    pub(crate) resource_id: String,
    pub(crate) instance_created_at: Option<DateTime<Utc>>,
    pub(crate) settings: Settings,
    /// Absent until the base backup is complete, and for engines that have no server.
    pub(crate) backup: Option<String>,
    pub(crate) created_at: Option<DateTime<Utc>>,
    pub(crate) original_created_at: Option<DateTime<Utc>>,
    pub(crate) database_time: Option<DateTime<Utc>>,
    /// The ARN it was copied from.
    pub(crate) copied_from: Option<String>,
    pub(crate) tags: Vec<Tag>,
    /// The instance's tags when it was taken. A restore without tags gets these.
    pub(crate) source_tags: Vec<Tag>,
    /// The accounts that may copy and restore it; `all` stands for everybody.
    #[serde(default)]
    pub(crate) shared_with: Vec<String>,
}

/// A base backup: which moments it covers, in the machine's time and in WAL file names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BaseBackup {
    pub(crate) resource_id: String,
    pub(crate) start_segment: String,
    /// It contains every commit up to here.
    pub(crate) complete_until: DateTime<Utc>,
    /// It can be recovered to any time from here on.
    pub(crate) consistent_at: DateTime<Utc>,
}

/// The automated backups that a deleted instance left.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Retained {
    pub(crate) instance: Instance,
    pub(crate) deleted_at: DateTime<Utc>,
}

/// The automated backups of an instance of another Region, for a restore in this one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Replicated {
    pub(crate) source_region: String,
    pub(crate) resource_id: String,
    /// The last part of its ARN.
    pub(crate) name: String,
    pub(crate) retention_days: i64,
    pub(crate) kms_key: Option<String>,
    pub(crate) since: DateTime<Utc>,
    pub(crate) tags: Vec<Tag>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SubnetGroup {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) vpc: String,
    pub(crate) subnets: Vec<String>,
    pub(crate) tags: Vec<Tag>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ParameterGroup {
    pub(crate) name: String,
    pub(crate) family: String,
    pub(crate) description: String,
    /// The values that were set, by name.
    pub(crate) values: BTreeMap<String, String>,
    pub(crate) tags: Vec<Tag>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) at: DateTime<Utc>,
    pub(crate) source: String,
    pub(crate) source_type: EventSource,
    pub(crate) category: String,
    pub(crate) message: String,
    /// Its id in the User Guide.
    #[serde(default)]
    pub(crate) id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EventSource {
    Instance,
    Snapshot,
}

impl EventSource {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Instance => "db-instance",
            Self::Snapshot => "db-snapshot",
        }
    }

    /// The word that stands for it in an ARN.
    pub(crate) fn arn_word(self) -> &'static str {
        match self {
            Self::Instance => "db",
            Self::Snapshot => "snapshot",
        }
    }
}

/// Which events go to which SNS topic. No type means all, no sources means all, no categories means all.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EventSubscription {
    pub(crate) name: String,
    pub(crate) topic: String,
    pub(crate) source_type: Option<String>,
    pub(crate) sources: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) enabled: bool,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) tags: Vec<Tag>,
}

/// The ARN of an object of RDS; `kind` is `db`, `snapshot`, `subgrp`, `pg`, `auto-backup`, `cluster`, `es`.
pub(crate) fn arn(region: &str, kind: &str, name: &str) -> String {
    format!("arn:aws:rds:{}:{kind}:{name}", scope::arn_part(region))
}

impl Instance {
    pub(crate) fn arn(&self) -> String {
        arn(&self.region, "db", &self.id)
    }

    pub(crate) fn backup_arn(&self) -> String {
        arn(&self.region, "auto-backup", &self.backup_name)
    }

    /// The port that its server should listen on, if it still can. Instances would share the default port, so each gets a
    /// free one instead.
    pub(crate) fn wanted_port(&self) -> Option<u16> {
        self.port.or(Some(self.settings.asked_port)).filter(|port| *port != DEFAULT_PORT)
    }

    /// When RDS starts it automatically: an instance stays stopped for at most seven days.
    pub(crate) fn automatic_restart(&self) -> Option<DateTime<Utc>> {
        self.stopped_at.map(|at| at + TimeDelta::days(7))
    }

    /// The status that callers see, and that decides which operations they may begin.
    pub(crate) fn shown_status(&self) -> &Status {
        self.shown.as_ref().map_or(&self.status, |shown| &shown.status)
    }

    /// Whether the control endpoint says that it never goes away.
    pub(crate) fn is_stuck_deleting(&self) -> bool {
        self.shown.as_ref().is_some_and(|shown| shown.stay && shown.status == Status::Deleting)
            || self.restore_outcome.as_ref().is_some_and(|it| it.stay && it.status == Status::Deleting)
    }
}

impl ManagedSecret {
    /// The ARN under which Secrets Manager knows it.
    pub(crate) fn arn(&self, region: &str) -> String {
        format!("arn:aws:secretsmanager:{}:secret:{}-lifebt", scope::arn_part(region), self.name)
    }
}

impl Replicated {
    pub(crate) fn arn(&self, region: &str) -> String {
        arn(region, "auto-backup", &self.name)
    }
}

impl Snapshot {
    pub(crate) fn arn(&self) -> String {
        arn(&self.region, "snapshot", &self.id)
    }

    pub(crate) fn is_automated_of(&self, resource_id: &str) -> bool {
        self.kind == SnapshotKind::Automated && self.resource_id == resource_id
    }

    /// Whether it is still being taken or copied.
    pub(crate) fn is_under_way(&self) -> bool {
        matches!(self.status, SnapshotStatus::Pending | SnapshotStatus::Creating)
    }
}
