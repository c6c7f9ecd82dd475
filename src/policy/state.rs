//! How a DB instance is backed up.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::rds::Instance;

/// How an instance is backed up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct State {
    /// Days that automated backups are kept; zero: there are none.
    pub retention_days: i32,
    /// Backup window, UTC.
    pub backup_window: Option<String>,
    /// Maintenance window, UTC.
    pub maintenance_window: Option<String>,
    /// Whether tags are copied to snapshots.
    pub copy_tags_to_snapshot: bool,
    /// Whether AWS refuses to delete it.
    pub deletion_protection: bool,
    /// Whether its storage is encrypted.
    pub encrypted: bool,
    /// Changes that wait for the maintenance window.
    pub pending: BTreeMap<String, String>,
}

impl State {
    /// The policy of an instance.
    pub(crate) fn of_instance(instance: &Instance) -> Self {
        State {
            retention_days: instance.retention_days,
            backup_window: instance.settings.backup_window.clone(),
            maintenance_window: instance.settings.maintenance_window.clone(),
            copy_tags_to_snapshot: instance.settings.copy_tags_to_snapshot.unwrap_or(false),
            deletion_protection: instance.deletion_protection,
            encrypted: instance.encrypted,
            pending: instance.pending.clone(),
        }
    }
}
