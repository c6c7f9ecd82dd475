//! RestoreDBInstanceFromDBSnapshot and RestoreDBInstanceToPointInTime.
//!
//! The table in the RDS API reference says what a restored instance inherits: class, port, storage and retention; not
//! the groups, Multi-AZ, IAM authentication, copying of tags and deletion protection, which have their defaults
//! unless the request names them; and the tags only if the request has none.

use chrono::TimeDelta;

use crate::error::{ApiError, Result};
use crate::instance_status::Status;
use crate::rds::automated_backups::Backup;
use crate::rds::create::{NewInstance, add_instance, requested_settings};
use crate::rds::instances::refuse_duplicate;
use crate::rds::request::Request;
use crate::rds::{catalogue, sharing, validate};
use crate::resources::{Instance, Origin, Settings, SnapshotStatus};
use crate::restorable::{RestoreWindow, newest_backup_before, restore_window};
use crate::storage;
use crate::store::State;
use crate::wire::{Query, Xml, format_timestamp};

pub(super) fn restore_from_snapshot(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let id = request.new_identifier("DBInstanceIdentifier", 63)?;
    if query.get("DBClusterSnapshotIdentifier").is_some() {
        return Err(ApiError::new(
            "DBClusterSnapshotNotFoundFault",
            "DBClusterSnapshot not found: this local stack has no cluster snapshots.",
        ));
    }
    let named = query.required("DBSnapshotIdentifier")?;
    let given_tags = validate::requested_tags(query)?;
    request.cx.store.change(|state| {
        let snapshot = sharing::find_snapshot_here(state, request.region, named)?.clone();
        let name = snapshot.id.clone();
        refuse_duplicate(state.region_mut(request.region), &id)?;
        let is_foreign = sharing::is_foreign(&snapshot, request.region);
        if is_foreign && snapshot.settings.kms_key.is_some() {
            return Err(ApiError::snapshot_state(
                "You can't restore a DB instance from a DB snapshot that is both shared and encrypted: copy the DB snapshot \
                 and restore the DB instance from the copy.",
            ));
        }
        if snapshot.status != SnapshotStatus::Available {
            return Err(ApiError::snapshot_unavailable(&name));
        }
        let origin = match snapshot.backup {
            Some(backup) => Origin::Snapshot { backup, snapshot: name.clone() },
            None => Origin::Done,
        };
        // The tags of a snapshot that another account shares are not visible.
        let source_tags = if is_foreign { Vec::new() } else { snapshot.source_tags };
        let settings = restored_settings(request, snapshot.settings)?;
        let tags = given_tags.unwrap_or(source_tags);
        add_instance(request, state, NewInstance { id, settings, origin, tags, secret: None })
    })
}

pub(super) fn restore_to_point_in_time(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let id = request.new_identifier("TargetDBInstanceIdentifier", 63)?;
    let given_tags = validate::requested_tags(query)?;
    let time = query.time("RestoreTime")?;
    let latest = query.flag("UseLatestRestorableTime")?.unwrap_or(false);
    let asked = match (time, latest) {
        (Some(_), true) => {
            return Err(ApiError::invalid_combination(
                "Only one of RestoreTime and UseLatestRestorableTime can be specified.",
            ));
        }
        (None, false) => {
            return Err(ApiError::invalid_combination(
                "Either RestoreTime or UseLatestRestorableTime must be specified.",
            ));
        }
        (time, _) => time,
    };
    request.cx.store.change(|state| {
        let (source, window) = find_source(request, state)?;
        refuse_duplicate(state.region_mut(request.region), &id)?;
        if source.settings.cluster.is_some() {
            return Err(ApiError::invalid_combination(
                "The source is a member of a cluster. Please use the RestoreDBClusterToPointInTime API instead.",
            ));
        }
        if source.settings.retention_days == 0 {
            return Err(ApiError::new(
                "PointInTimeRestoreNotEnabled",
                format!("Point-in-time restore is not enabled for {}: its backup retention period is 0.", source.id),
            ));
        }
        let clock = &request.cx.clock;
        let Some(window) = window else {
            return Err(ApiError::instance_state(format!(
                "DB instance {} has no restorable time yet: its first automated backup is not complete.",
                source.id
            )));
        };
        let target = match asked {
            Some(time) if time < window.earliest || time > window.latest => {
                return Err(ApiError::invalid_value(format!(
                    "The RestoreTime {} is outside the restorable window of DB instance {}: it must be between {} and {}.",
                    format_timestamp(time),
                    source.id,
                    format_timestamp(window.earliest),
                    format_timestamp(window.latest)
                )));
            }
            Some(time) => clock.typed_time(time),
            None => clock.machine_time(window.latest),
        };
        // The window is rounded to milliseconds, so the target may lie up to one before the backup.
        let found = newest_backup_before(state, &source, target)
            .or_else(|| newest_backup_before(state, &source, target + TimeDelta::milliseconds(1)));
        let Some((backup, base)) = found else {
            return Err(ApiError::invalid_value(format!(
                "DB instance {} has no automated backup from before {}.",
                source.id,
                format_timestamp(clock.stack_time(target))
            )));
        };
        let origin = Origin::Time {
            source: source.resource_id.clone(),
            region: source.region.clone(),
            backup: backup.to_owned(),
            target: target.max(base.consistent_at),
        };
        let settings = restored_settings(request, source.settings)?;
        let tags = given_tags.unwrap_or(source.tags);
        add_instance(request, state, NewInstance { id, settings, origin, tags, secret: None })
    })
}

/// The source of a point-in-time restore, and the window that it can be restored to: an instance, the automated backups of
/// one that is gone, or a replica of those.
fn find_source(request: &Request<'_>, state: &State) -> Result<(Instance, Option<RestoreWindow>)> {
    let query = request.query;
    let region = state.region(request.region);
    let backup_arn = query.get("SourceDBInstanceAutomatedBackupsArn");
    let replica =
        region.replicated.values().find(|replica| Some(&*replica.arn(request.region)) == backup_arn);
    if let Some(backup) = replica.and_then(|replica| Backup::of_replica(request.cx, state, replica)) {
        let mut source = backup.instance.clone();
        source.settings.kms_key = replica.and_then(|replica| replica.kms_key.clone());
        return Ok((source, backup.window));
    }
    let retained = || region.retained.values().map(|kept| &kept.instance);
    let mut all = region.instances.values().chain(retained());
    let found = match (query.get("SourceDBInstanceIdentifier"), query.get("SourceDbiResourceId"), backup_arn)
    {
        (Some(id), None, None) => request.instance(state, &request.resolve_name(id))?,
        (None, Some(id), None) => {
            all.find(|instance| instance.resource_id == id).ok_or_else(|| ApiError::no_instance(id))?
        }
        (None, None, Some(arn)) => all
            .find(|instance| instance.backup_arn() == arn)
            .ok_or_else(|| ApiError::no_automated_backup(arn))?,
        _ => {
            return Err(ApiError::invalid_combination(
                "Exactly one of SourceDBInstanceIdentifier, SourceDbiResourceId and \
                 SourceDBInstanceAutomatedBackupsArn must be specified.",
            ));
        }
    };
    let is_kept = retained().any(|instance| instance.resource_id == found.resource_id);
    if !is_kept && found.status == Status::Deleting {
        return Err(ApiError::instance_state(format!("Instance {} is being deleted.", found.id)));
    }
    let window = restore_window(state, &request.cx.clock, request.cx.pace, found);
    Ok((found.clone(), window))
}

/// The settings of a restored instance, but for its network. The engine, the names and, since neither restore takes one, the
/// key are the source's.
fn restored_settings(request: &Request<'_>, source: Settings) -> Result<Settings> {
    let query = request.query;
    if query.get("Engine").is_some_and(|engine| !engine.eq_ignore_ascii_case(&source.engine)) {
        return Err(ApiError::invalid_combination(format!(
            "The engine of the restored DB instance must be that of its source, {}.",
            source.engine
        )));
    }
    let class = query.owned("DBInstanceClass").unwrap_or_else(|| source.class.clone());
    catalogue::check_class(&class, &source.engine, &source.engine_version, &source.license_model)?;
    let given_iops = query.number("Iops")?;
    let allocated_storage = query.number("AllocatedStorage")?.unwrap_or(source.allocated_storage);
    if allocated_storage < source.allocated_storage {
        return Err(ApiError::invalid_combination(format!(
            "Invalid storage size for engine name {} and storage type {}: {allocated_storage}. It must be at least the \
             source's, {}.",
            source.engine, source.storage_type, source.allocated_storage
        )));
    }
    let (storage_type, iops) = restored_storage(query, &source, given_iops);
    let defaults = Settings { class, allocated_storage, storage_type, iops, cluster: None, ..source };
    let mut settings = requested_settings(request, defaults)?;
    storage::check_storage(&settings)?;
    storage::fill_in_performance(&mut settings);
    Ok(settings)
}

/// The storage type of a restored instance, and its IOPS: those of the source if the type is the source's too.
fn restored_storage(query: &Query, source: &Settings, given_iops: Option<i64>) -> (String, Option<i64>) {
    let is_provisioned = |kind: &str| kind.starts_with("io");
    let kind = match query.get("StorageType") {
        Some(kind) => kind,
        None if given_iops.is_some_and(|iops| iops > 0) => storage::default_type(given_iops),
        None if is_provisioned(&source.storage_type) && given_iops != Some(0) => &source.storage_type,
        None => storage::default_type(None),
    };
    let carries =
        kind == source.storage_type || (is_provisioned(kind) && is_provisioned(&source.storage_type));
    let iops = given_iops.or(source.iops.filter(|_| carries)).filter(|iops| *iops > 0);
    (kind.to_owned(), iops)
}
