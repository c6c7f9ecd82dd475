//! The nouns of a fleet: instances, snapshots, their ids and states.
//!
//! Plain data on our side of the door to AWS. Nothing here does I/O or reads the clock.

mod alarm;
mod place;
mod run;
mod settings;
mod snapshot;
mod source;
mod spelling;
pub(crate) mod tag;

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub(crate) use alarm::{
    Alarm, AlarmSpec, AlarmState, Comparison, EventSubscription, HistoryItem, Measurement, Metric,
    MetricWatch, Topic, Treatment, Watch,
};
pub(crate) use place::{Place, Unreached, list_regions};
pub(crate) use run::RunId;
pub(crate) use settings::{SETTINGS_TAG, Settings};
pub(crate) use snapshot::{Snapshot, SnapshotStatus, SnapshotType};
pub(crate) use source::{NoSource, THROWAWAY_PREFIX};
pub(crate) use tag::Tags;

use crate::error::{Error, Result};

/// The id of a DB instance: 1 to 63 lower-case letters, digits and single hyphens, a letter first, no hyphen last
/// (Amazon RDS API, `CreateDBInstance`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct InstanceId(String);

impl InstanceId {
    /// Checks `text` against AWS's rule and folds it to lower case, as AWS does.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        check_identifier("instance", text, 63).map(InstanceId)
    }

    /// The id as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for InstanceId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        InstanceId::parse(text)
    }
}

/// The id of a DB snapshot: 1 to 255 characters; automated ones are called `rds:…`, those of AWS Backup `awsbackup:…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct SnapshotId(String);

impl SnapshotId {
    /// Checks `text` against AWS's rule; an `rds:` or `awsbackup:` prefix and ARNs (shared snapshots) are allowed.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.starts_with("arn:") {
            return Ok(SnapshotId(text.to_owned()));
        }
        let (prefix, rest) = match text.split_once(':') {
            Some((prefix @ ("rds" | "awsbackup"), rest)) => (format!("{prefix}:"), rest),
            _ => (String::new(), text),
        };
        // AWS Backup's own names carry a second colon-free part, `job-<uuid>`, that follows the same rule.
        check_identifier("snapshot", rest, 255).map(|id| SnapshotId(format!("{prefix}{id}")))
    }

    /// The id as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// AWS's immutable id of an instance (`db-…`): a new one for each instance, whatever its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ResourceId(pub String);

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of the account in an ARN.
pub(crate) fn account_of(arn: &str) -> Option<&str> {
    arn.split(':').nth(4).filter(|account| !account.is_empty())
}

/// A DB instance as AWS reports it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Instance {
    /// Its name.
    pub id: InstanceId,
    /// Its immutable id.
    pub resource_id: ResourceId,
    /// Its ARN.
    pub arn: String,
    /// `postgres`, `mysql`, `aurora-postgresql`, …
    pub engine: String,
    /// Such as `15.18`.
    pub engine_version: String,
    /// What AWS says it is doing.
    pub reported_status: Status,
    /// Such as `db.t3.micro`.
    pub class: String,
    /// Host name and port; absent while it is being created.
    pub endpoint: Option<(String, u16)>,
    /// The user that AWS made with it.
    pub master_user: String,
    /// The database that AWS made with it.
    pub db_name: Option<String>,
    /// The secret that RDS keeps for the master user, if it manages one.
    pub master_secret_arn: Option<String>,
    /// Days that automated backups are kept; zero means that there are none.
    pub retention_days: i32,
    /// The newest moment that it can be restored to.
    pub latest_restorable: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: Option<DateTime<Utc>>,
    /// Allocated storage in gibibytes.
    pub storage_gib: i32,
    /// Storage type, such as `gp3`.
    pub storage_type: Option<String>,
    /// Whether its storage is encrypted.
    pub encrypted: bool,
    /// The subnet group that it lives in.
    pub subnet_group: Option<String>,
    /// Ids of its VPC security groups.
    pub security_groups: Vec<String>,
    /// Its parameter group.
    pub parameter_group: Option<String>,
    /// Its option group.
    pub option_group: Option<String>,
    /// Whether AWS refuses to delete it.
    pub deletion_protection: bool,
    /// Whether IAM logins are enabled.
    pub iam_authentication: bool,
    /// The cluster that it is a member of (Aurora, Multi-AZ DB clusters).
    pub cluster: Option<String>,
    /// The instance that it is a read replica of.
    pub replica_of: Option<String>,
    /// Its read replicas.
    pub replicas: Vec<String>,
    /// Set if AWS Backup keeps its continuous backups.
    pub aws_backup: Option<String>,
    /// Changes that are accepted and wait for the maintenance window, by AWS's names.
    pub pending: BTreeMap<String, String>,
    /// All that a restore would have to be told again.
    pub settings: Settings,
    /// What else it has, in words, that a restore of ours does not give to the new instance.
    pub beyond_restore: Vec<String>,
    /// Tags.
    pub tags: Tags,
}

/// The span that an instance can be restored to, and the backups that give it.
#[derive(Clone, Debug)]
pub(crate) struct RestoreWindow {
    /// Earliest moment.
    pub earliest: Option<DateTime<Utc>>,
    /// Latest moment.
    pub latest: Option<DateTime<Utc>>,
    /// `active`, `retained` or `creating`.
    pub reported_status: String,
}

/// The automated backups of an instance, which may be gone.
#[derive(Clone, Debug)]
pub(crate) struct AutomatedBackup {
    /// Whose, by name.
    pub instance: String,
    /// Whose, by immutable id.
    pub resource_id: ResourceId,
    /// Engine.
    pub engine: String,
    /// Engine version.
    pub engine_version: String,
    /// Allocated storage in gibibytes.
    pub storage_gib: i32,
    /// Their ARN when they are replicated from another Region.
    pub replica: Option<String>,
    /// What they can bring back.
    pub window: RestoreWindow,
}

/// What AWS says that an instance is doing.
///
/// The list of statuses grows, so an unknown one is kept as it is and counts as [`Health::InTransit`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status(pub String);

/// What a status means to someone who waits for the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Connections are served.
    Usable,
    /// On its way to another state, or unknown to us: keep waiting.
    InTransit,
    /// It stands still until someone starts it.
    Stopped,
    /// It will not become usable by waiting.
    Broken,
}

impl Status {
    /// What the status means (Amazon RDS User Guide, "Viewing DB instance status").
    pub(crate) fn health(&self) -> Health {
        match self.0.as_str() {
            "available"
            | "backing-up"
            | "storage-optimization"
            | "storage-initialization"
            | "storage-config-upgrade"
            | "configuring-enhanced-monitoring"
            | "configuring-iam-database-auth"
            | "configuring-log-exports" => Health::Usable,
            "stopped" | "stopping" => Health::Stopped,
            "failed"
            | "restore-error"
            | "incompatible-restore"
            | "incompatible-network"
            | "incompatible-parameters"
            | "incompatible-option-group"
            | "incompatible-create"
            | "insufficient-capacity"
            | "inaccessible-encryption-credentials"
            | "inaccessible-encryption-credentials-recoverable"
            | "storage-full"
            | "upgrade-failed" => Health::Broken,
            _ => Health::InTransit,
        }
    }

    /// What to do about a status that waiting will not mend.
    pub(crate) fn remedy(&self) -> &'static str {
        match self.0.as_str() {
            "incompatible-restore" => {
                "AWS could not restore this backup as asked: compare engine version, parameter group and option group \
                 with the source's, and look at `aws rds describe-events` for the reason."
            }
            "incompatible-parameters" => {
                "The parameter group asks for more than the instance class has, usually memory: choose a larger \
                 `--class`, or another `--parameter-group`."
            }
            "incompatible-network" => {
                "The subnet group has no free address or its VPC changed: pass another `--subnet-group`."
            }
            "incompatible-option-group" => {
                "Pass the option group that the backup needs with `--option-group`."
            }
            "insufficient-capacity" => {
                "The Availability Zone has no room for this class now: choose another `--class`, or run the drill later."
            }
            "storage-full" => {
                "The restored copy has no free storage: restore with more of it, and look at the source's."
            }
            "inaccessible-encryption-credentials" | "inaccessible-encryption-credentials-recoverable" => {
                "The KMS key of the backup cannot be used: check that it is enabled and that its policy admits RDS."
            }
            _ => "Look at `aws rds describe-events --source-type db-instance` for the reason.",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_identifier(noun: &str, text: &str, longest: usize) -> Result<String> {
    let fault = if text.is_empty() {
        Some("it is empty".to_owned())
    } else if text.chars().count() > longest {
        Some(format!("it has {} characters, the most is {longest}", text.chars().count()))
    } else if let Some(odd) = text.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
        Some(format!("`{}` is not a letter, digit or hyphen", odd.escape_default()))
    } else if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        Some("it does not begin with a letter".to_owned())
    } else if text.ends_with('-') {
        Some("it ends with a hyphen".to_owned())
    } else if text.contains("--") {
        Some("it has two hyphens in a row".to_owned())
    } else {
        None
    };
    match fault {
        None => Ok(text.to_ascii_lowercase()),
        Some(fault) => Err(Error::request(format!(
            "`{}` is not a DB {noun} id: {fault}",
            text.escape_default()
        ))
        .hint(format!(
            "AWS allows 1 to {longest} letters, digits and single hyphens, a letter first and no hyphen last."
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_rule_of_aws() {
        assert_eq!(InstanceId::parse("Orders-Prod").unwrap().as_str(), "orders-prod");
        for wrong in ["", "1a", "-a", "a-", "a--b", "a_b", "a b", "ä", "a\nb", &"a".repeat(64)] {
            assert!(InstanceId::parse(wrong).is_err(), "{wrong:?} was accepted");
        }
        assert!(InstanceId::parse(&"a".repeat(63)).is_ok());
    }

    #[test]
    fn snapshot_ids_may_be_automated_ones_and_arns() {
        for right in [
            "pre-deploy-1",
            "rds:orders-2026-11-20-03-07",
            "arn:aws:rds:eu-west-1:1:snapshot:x",
            "awsbackup:job-1",
        ] {
            assert_eq!(SnapshotId::parse(right).unwrap().as_str(), right);
        }
        assert!(SnapshotId::parse("s3:orders").is_err());
    }

    #[test]
    fn an_unknown_status_is_waited_through() {
        assert_eq!(Status("polishing-brass".into()).health(), Health::InTransit);
        assert_eq!(Status("storage-initialization".into()).health(), Health::Usable);
    }
}
