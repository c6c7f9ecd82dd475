//! The statuses of a DB instance: which may follow which, and which operations may begin in each.
//!
//! Work under way moves its instance only along `may_become`. Nothing may follow `deleting`, so a restore that
//! finishes late cannot bring a deleted instance back. How a new or restored instance moves on is in `lifecycle/create.rs`, how
//! long each status lasts in `pace.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    Creating,
    BackingUp,
    Available,
    Modifying,
    ResettingMasterCredentials,
    Renaming,
    Rebooting,
    Stopping,
    Stopped,
    Starting,
    StorageOptimization,
    Deleting,
    Failed,
    IncompatibleRestore,
    IncompatibleParameters,
    /// A status that only the control endpoint sets, such as `storage-full`.
    #[serde(untagged)]
    Other(String),
}

impl Status {
    /// The status of that name.
    pub(crate) fn from_name(name: &str) -> Self {
        serde_json::from_value(name.into()).unwrap_or_else(|_| Self::Other(name.to_owned()))
    }

    /// Whether work under way may move an instance from this status to `next`.
    pub(crate) fn may_become(&self, next: &Self) -> bool {
        use Status::{
            Available, BackingUp, Creating, Deleting, Failed, IncompatibleParameters, IncompatibleRestore,
            Modifying, Other, Rebooting, Renaming, ResettingMasterCredentials, Starting, Stopped, Stopping,
            StorageOptimization,
        };
        if next == self || *next == Deleting {
            return true;
        }
        match self {
            Deleting => false,
            // The control endpoint may make a restore end in any status.
            Creating => true,
            BackingUp => matches!(next, Available | Modifying | Failed | Other(_)),
            Available | StorageOptimization => !matches!(next, Creating | Stopped | Starting),
            Modifying | ResettingMasterCredentials | Renaming => matches!(
                next,
                Modifying
                    | ResettingMasterCredentials
                    | Renaming
                    | Rebooting
                    | BackingUp
                    | StorageOptimization
                    | Available
                    | IncompatibleParameters
                    | Failed
            ),
            Rebooting | Starting => matches!(next, Available | IncompatibleParameters | Failed | Stopping),
            Stopping => matches!(next, Stopped | Failed),
            Stopped => matches!(next, Starting),
            IncompatibleParameters => matches!(next, Rebooting | Modifying | Available),
            Failed | IncompatibleRestore | Other(_) => false,
        }
    }

    /// Whether the instance's server accepts connections in this status.
    pub(crate) fn is_running(&self) -> bool {
        const USABLE: &str = "configuring-enhanced-monitoring configuring-iam-database-auth configuring-log-exports \
            maintenance moving-to-vpc storage-config-upgrade storage-initialization upgrading";
        match self {
            Self::Creating
            | Self::Stopped
            | Self::Starting
            | Self::Deleting
            | Self::Failed
            | Self::IncompatibleRestore
            | Self::IncompatibleParameters => false,
            Self::Other(name) => USABLE.split_whitespace().any(|usable| usable == name),
            _ => true,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

/// The operations that depend on an instance's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Modify,
    Reboot,
    Stop,
    Start,
    Snapshot,
    /// With a final snapshot, which needs a running database.
    DeleteWithSnapshot,
}

/// Whether `operation` may begin in `status`. Deleting without a final snapshot may begin in every status but
/// `deleting`.
pub(crate) fn permits_operation(status: &Status, operation: Operation) -> bool {
    match operation {
        Operation::Modify => {
            matches!(status, Status::Available | Status::StorageOptimization | Status::IncompatibleParameters)
                || matches!(status, Status::Other(name) if name == "storage-full")
        }
        Operation::Reboot => {
            matches!(status, Status::Available | Status::StorageOptimization | Status::IncompatibleParameters)
        }
        Operation::Stop => matches!(status, Status::Available),
        Operation::Start => matches!(status, Status::Stopped),
        Operation::Snapshot | Operation::DeleteWithSnapshot => {
            matches!(status, Status::Available | Status::StorageOptimization)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_deleting() {
        for name in ["creating", "available", "backing-up", "modifying", "failed", "storage-full"] {
            assert!(!Status::Deleting.may_become(&Status::from_name(name)), "{name}");
        }
    }

    #[test]
    fn every_state_may_become_deleting() {
        for name in ["creating", "available", "stopped", "failed", "incompatible-restore", "storage-full"] {
            assert!(Status::from_name(name).may_become(&Status::Deleting), "{name}");
        }
    }

    #[test]
    fn names_survive_a_round_trip_through_the_state_file() {
        for name in ["creating", "resetting-master-credentials", "storage-full", "incompatible-restore"] {
            let status = Status::from_name(name);
            assert_eq!(status.to_string(), name);
            let json = serde_json::to_string(&status).unwrap();
            assert_eq!(json, format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
        }
    }

    #[test]
    fn only_a_stopped_instance_starts_and_only_an_available_one_stops() {
        assert!(permits_operation(&Status::Stopped, Operation::Start));
        assert!(!permits_operation(&Status::Available, Operation::Start));
        assert!(permits_operation(&Status::Available, Operation::Stop));
        assert!(!permits_operation(&Status::BackingUp, Operation::Stop));
    }
}
