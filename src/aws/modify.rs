//! Changes of an instance's settings.

use super::{Aws, Failure, call};
use crate::rds::{InstanceId, Settings};

/// A change of backups: retention and window. Neither needs `ApplyImmediately` between two retentions above zero, and
/// that flag would also apply every other change that is queued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BackupChange {
    /// Days that automated backups are kept.
    pub retention_days: Option<i32>,
    /// Backup window, UTC.
    pub backup_window: Option<String>,
    /// Whether tags are copied to snapshots.
    pub copy_tags_to_snapshot: Option<bool>,
    /// Whether AWS refuses to delete it.
    pub deletion_protection: Option<bool>,
    /// Whether queued changes are applied with it, now.
    pub apply_immediately: bool,
}

impl Aws {
    /// Sets what a restore does not take. None of it needs `ApplyImmediately`.
    pub(crate) async fn change_settings(&self, id: &InstanceId, settings: &Settings) -> Result<(), Failure> {
        let request = self
            .rds
            .modify_db_instance()
            .db_instance_identifier(id.as_str())
            .set_max_allocated_storage(settings.max_storage_gib)
            .set_preferred_maintenance_window(settings.maintenance_window.clone())
            .set_monitoring_interval(settings.monitoring_interval)
            .set_monitoring_role_arn(settings.monitoring_role.clone())
            .set_enable_performance_insights(settings.performance_insights);
        call("ModifyDBInstance", format!("instance `{id}`"), || request.clone().send()).await.map(drop)
    }

    /// Changes how an instance is backed up.
    pub(crate) async fn change_backups(&self, id: &InstanceId, change: &BackupChange) -> Result<(), Failure> {
        let request = self
            .rds
            .modify_db_instance()
            .db_instance_identifier(id.as_str())
            .set_backup_retention_period(change.retention_days)
            .set_preferred_backup_window(change.backup_window.clone())
            .set_copy_tags_to_snapshot(change.copy_tags_to_snapshot)
            .set_deletion_protection(change.deletion_protection)
            .apply_immediately(change.apply_immediately);
        call("ModifyDBInstance", format!("instance `{id}`"), || request.clone().send()).await.map(drop)
    }
}
