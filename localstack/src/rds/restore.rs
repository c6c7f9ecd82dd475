//! RestoreDBInstanceFromDBSnapshot and RestoreDBInstanceToPointInTime.
//!
//! What a restored instance takes over from its source, and what it does not, is the table in the RDS API reference:
//! class, port, storage and retention come along; groups, Multi-AZ, IAM authentication, copying of tags and deletion
//! protection fall back to defaults unless the request names them; tags come along only when the request has none.

use crate::error::{ApiError, Result};
use crate::place as place_of;
use crate::rds::create::{add, lifecycle_support, new_instance, observe, place, refuse_duplicate, windows};
use crate::rds::{Request, catalogue, regions, replication, sharing, validate};
use crate::record::{Instance, Origin, Settings, SnapshotStatus, State, Tag};
use crate::restorable::{RestoreWindow, base_for, window};
use crate::status::Status;
use crate::storage;
use crate::wire::{Query, Xml, timestamp};

pub(super) fn restore_from_snapshot(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let id = validate::identifier("DBInstanceIdentifier", query.required("DBInstanceIdentifier")?, 63)?;
    if query.get("DBClusterSnapshotIdentifier").is_some() {
        return Err(ApiError::new(
            "DBClusterSnapshotNotFoundFault",
            "DBClusterSnapshot not found: this local stack has no cluster snapshots.",
        ));
    }
    let named = query.required("DBSnapshotIdentifier")?;
    let given_tags = validate::tags(query)?;
    request.shared.store.change(|state| {
        let snapshot = sharing::find(state, request.region, named)
            .ok()
            .filter(|found| place_of::region(&found.region) == place_of::region(request.region))
            .cloned()
            .ok_or_else(|| ApiError::no_snapshot(named))?;
        let name = snapshot.id.clone();
        refuse_duplicate(state.region_mut(request.region), &id)?;
        let is_foreign = sharing::is_foreign(&snapshot, request.region);
        if is_foreign && snapshot.settings.kms_key.is_some() {
            return Err(ApiError::new(
                "InvalidDBSnapshotState",
                "You can't restore a DB instance from a DB snapshot that is both shared and encrypted: copy the DB snapshot \
                 and restore the DB instance from the copy.",
            ));
        }
        if snapshot.status != SnapshotStatus::Available {
            return Err(ApiError::new(
                "InvalidDBSnapshotState",
                format!("The snapshot {name} is not in the available state."),
            ));
        }
        let origin = match snapshot.backup {
            Some(backup) => Origin::Snapshot { backup, snapshot: name.clone() },
            None => Origin::Done,
        };
        let tags = if is_foreign { Vec::new() } else { snapshot.source_tags };
        begin(request, state, id, &snapshot.settings, given_tags, tags, origin)
    })
}

pub(super) fn restore_to_point_in_time(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let id = query.required("TargetDBInstanceIdentifier")?;
    let id = validate::identifier("TargetDBInstanceIdentifier", id, 63)?;
    let given_tags = validate::tags(query)?;
    let time = query.time("RestoreTime")?;
    let latest = query.flag("UseLatestRestorableTime")?.unwrap_or(false);
    let asked = match (time, latest) {
        (Some(_), true) => {
            return Err(ApiError::combination(
                "Only one of RestoreTime and UseLatestRestorableTime can be specified.",
            ));
        }
        (None, false) => {
            return Err(ApiError::combination(
                "Either RestoreTime or UseLatestRestorableTime must be specified.",
            ));
        }
        (time, _) => time,
    };
    request.shared.store.change(|state| {
        let (source, replicated) = source(request, state)?;
        refuse_duplicate(state.region_mut(request.region), &id)?;
        if source.settings.cluster.is_some() {
            return Err(ApiError::combination(
                "The source is a member of a cluster. Please use the RestoreDBClusterToPointInTime API instead.",
            ));
        }
        if source.settings.retention_days == 0 {
            return Err(ApiError::new(
                "PointInTimeRestoreNotEnabled",
                format!("Point-in-time restore is not enabled for {}: its backup retention period is 0.", source.id),
            ));
        }
        let clock = &request.shared.clock;
        let own = || window(state, clock, request.shared.pace, &source);
        let Some(window) = replicated.unwrap_or_else(own) else {
            return Err(ApiError::instance_state(format!(
                "DB instance {} has no restorable time yet: its first automated backup is not complete.",
                source.id
            )));
        };
        let target = match asked {
            Some(time) if time < window.earliest || time > window.latest => {
                return Err(ApiError::value(format!(
                    "The RestoreTime {} is outside the restorable window of DB instance {}: it must be between {} and {}.",
                    timestamp(time),
                    source.id,
                    timestamp(window.earliest),
                    timestamp(window.latest)
                )));
            }
            Some(time) => clock.typed_time(time),
            None => clock.machine_time(window.latest),
        };
        let Some((backup, base)) = base_for(state, &source, target)
            .or_else(|| {
                // A moment within the millisecond by which the window is rounded.
                base_for(state, &source, target + chrono::TimeDelta::milliseconds(1))
            })
        else {
            return Err(ApiError::value(format!(
                "DB instance {} has no automated backup from before {}.",
                source.id,
                timestamp(clock.stack_time(target))
            )));
        };
        let origin = Origin::Time {
            source: source.resource_id.clone(),
            region: source.region.clone(),
            backup: backup.to_owned(),
            target: target.max(base.consistent_at),
        };
        begin(request, state, id, &source.settings, given_tags, source.tags, origin)
    })
}

/// The source of a point-in-time restore: an instance, or the automated backup of one that is gone.
///
/// Of a replica also the window that it can be restored to.
fn source(request: &Request<'_>, state: &State) -> Result<(Instance, Option<Option<RestoreWindow>>)> {
    let query = request.query;
    let region = state.regions.get(request.region);
    let living = || region.into_iter().flat_map(|region| region.instances.values());
    let retained =
        || region.into_iter().flat_map(|region| region.retained.values()).map(|kept| &kept.instance);
    if let Some(arn) = query.get("SourceDBInstanceAutomatedBackupsArn")
        && let Some((replica, instance)) =
            replication::all(state, request.region).find(|(replica, _)| replica.arn(request.region) == arn)
    {
        let mut source = instance.clone();
        source.settings.kms_key.clone_from(&replica.kms_key);
        return Ok((source, Some(replica.window(request.shared, state))));
    }
    let none = |what: &str| {
        ApiError::new(
            "DBInstanceAutomatedBackupNotFound",
            format!("DBInstanceAutomatedBackup {what} not found."),
        )
    };
    let found = match (
        query.get("SourceDBInstanceIdentifier"),
        query.get("SourceDbiResourceId"),
        query.get("SourceDBInstanceAutomatedBackupsArn"),
    ) {
        (Some(id), None, None) => request.instance(state, &request.local(id))?,
        (None, Some(id), None) => living()
            .chain(retained())
            .find(|instance| instance.resource_id == id)
            .ok_or_else(|| ApiError::new("DBInstanceNotFound", format!("DBInstance {id} not found.")))?,
        (None, None, Some(arn)) => living()
            .chain(retained())
            .find(|instance| instance.backup_arn() == arn)
            .ok_or_else(|| none(arn))?,
        _ => {
            return Err(ApiError::combination(
                "Exactly one of SourceDBInstanceIdentifier, SourceDbiResourceId and \
                 SourceDBInstanceAutomatedBackupsArn must be specified.",
            ));
        }
    };
    let is_kept = retained().any(|instance| instance.resource_id == found.resource_id);
    if !is_kept && found.status == Status::Deleting {
        return Err(ApiError::instance_state(format!("Instance {} is being deleted.", found.id)));
    }
    Ok((found.clone(), None))
}

fn begin(
    request: &Request<'_>,
    state: &mut State,
    id: String,
    source: &Settings,
    given_tags: Option<Vec<Tag>>,
    source_tags: Vec<Tag>,
    origin: Origin,
) -> Result<Xml> {
    let mut settings = carried_over(request, source)?;
    place(request, state, &mut settings)?;
    let tags = given_tags.unwrap_or(source_tags);
    validate::tag_count(&tags)?;
    // Looked at before an injected end is used up: a refused request must leave it for the next.
    if state.region_mut(request.region).instances.len() < request.shared.limits.instances {
        let fate = request.shared.injected.take_fate();
        let instance = new_instance(request, id, settings, origin, tags, None, fate);
        return add(request, state, instance);
    }
    add(request, state, new_instance(request, id, settings, origin, tags, None, None))
}

/// The settings of a restored instance, apart from where it is placed.
fn carried_over(request: &Request<'_>, source: &Settings) -> Result<Settings> {
    let query = request.query;
    if query.get("Engine").is_some_and(|engine| !engine.eq_ignore_ascii_case(&source.engine)) {
        return Err(ApiError::combination(format!(
            "The engine of the restored DB instance must be that of its source, {}.",
            source.engine
        )));
    }
    let class = query.get("DBInstanceClass").unwrap_or(&source.class);
    catalogue::class(class, &source.engine, &source.engine_version, &source.license_model)?;
    let retention_days = match query.number("BackupRetentionPeriod")? {
        Some(days) => validate::retention(days)?,
        None => source.retention_days,
    };
    let (backup_window, maintenance_window) = windows(query, None, request.now)?;
    let given_iops = query.number("Iops")?;
    let allocated_storage = query.number("AllocatedStorage")?.unwrap_or(source.allocated_storage);
    if allocated_storage < source.allocated_storage {
        return Err(ApiError::combination(format!(
            "Invalid storage size for engine name {} and storage type {}: {allocated_storage}. It must be at least the \
             source's, {}.",
            source.engine, source.storage_type, source.allocated_storage
        )));
    }
    let (storage_type, iops) = storage_of(query, source, given_iops);
    let mut settings = Settings {
        class: class.to_owned(),
        license_model: query.get("LicenseModel").unwrap_or(&source.license_model).to_owned(),
        asked_port: match query.number("Port")? {
            Some(port) => validate::port(port)?,
            None => source.asked_port,
        },
        allocated_storage,
        max_allocated_storage: query.number("MaxAllocatedStorage")?,
        storage_type,
        iops,
        storage_throughput: query.number("StorageThroughput")?,
        backup_window,
        maintenance_window,
        retention_days,
        multi_az: query.flag("MultiAZ")?.unwrap_or(false),
        auto_minor_upgrade: query.flag("AutoMinorVersionUpgrade")?.unwrap_or(source.auto_minor_upgrade),
        deletion_protection: query.flag("DeletionProtection")?.unwrap_or(false),
        copy_tags_to_snapshot: query.flag("CopyTagsToSnapshot")?.unwrap_or(false),
        iam_authentication: query.flag("EnableIAMDatabaseAuthentication")?.unwrap_or(false),
        performance_insights: query.flag("EnablePerformanceInsights")?.unwrap_or(false),
        insights_key: None,
        insights_days: None,
        insights_mode: None,
        dedicated_log_volume: query.flag("DedicatedLogVolume")?.unwrap_or(source.dedicated_log_volume),
        monitoring_interval: 0,
        monitoring_role: None,
        network_type: query
            .get("NetworkType")
            .map(|text| validate::one_of("NetworkType", text, &["IPV4", "DUAL"]).map(str::to_owned))
            .transpose()?,
        log_exports: query.list("EnableCloudwatchLogsExports", "member").unwrap_or_default(),
        ca: regions::authority(query.get("CACertificateIdentifier").unwrap_or(regions::DEFAULT_CA))?
            .to_owned(),
        lifecycle_support: lifecycle_support(query),
        cluster: None,
        // The engine, the names and, since neither restore takes one, the key.
        ..source.clone()
    };
    observe(request, &mut settings)?;
    storage::check(&settings)?;
    storage::settle(&mut settings);
    Ok(settings)
}

/// The storage type of a restored instance, and its IOPS: those of the source, as far as the type is the source's too.
fn storage_of(query: &Query, source: &Settings, given_iops: Option<i64>) -> (String, Option<i64>) {
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
