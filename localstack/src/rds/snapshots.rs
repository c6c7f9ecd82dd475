//! DB snapshots: asked for, listed, copied, deleted. Taking them is `lifecycle::backup`.

use std::sync::Arc;

use crate::error::{ApiError, Result};
use crate::lifecycle::{Work, new_snapshot, sweep};
use crate::pace::Stage;
use crate::place;
use crate::rds::create::kms_key;
use crate::rds::instances::{no_snapshot_now, write_tags};
use crate::rds::paging::{Filters, page};
use crate::rds::{Request, bare, subnet_groups, validate};
use crate::record::{EventSource, Instance, Region, Snapshot, SnapshotKind, SnapshotStatus, State, Tag, arn};
use crate::stack::{Shared, report};
use crate::status::{Status, Wish, permits};
use crate::wire::Xml;

pub(super) fn create_db_snapshot(request: &Request<'_>) -> Result<Xml> {
    let name = request.query.required("DBSnapshotIdentifier")?;
    let name = validate::identifier("DBSnapshotIdentifier", name, 255)?;
    let id = request.identifier("DBInstanceIdentifier")?;
    let tags = validate::tags(request.query)?.unwrap_or_default();
    request.shared.store.change(|state| {
        let instance = request.instance(state, &id)?.clone();
        if instance.settings.cluster.is_some() {
            return Err(ApiError::combination(
                "The specified instance is a member of a cluster and a snapshot cannot be created directly. Please use \
                 the CreateDBClusterSnapshot API instead.",
            ));
        }
        if !permits(instance.shown_status(), Wish::Snapshot) {
            // Its own name being taken is said first: that is what a retried request wants to hear.
            refuse_duplicate(state.region_mut(request.region), &name)?;
            return Err(no_snapshot_now(&id));
        }
        begin_snapshot(request, state, &instance, &name, tags)?;
        let instance = request.instance_mut(state, &id)?;
        instance.status = Status::BackingUp;
        instance.shown = instance.shown.take().filter(|shown| shown.stay);
        request.shared.queue(&instance.resource_id.clone(), Work::Snapshot(name.clone()));
        answer(request, state, &name)
    })
}

/// Puts a manual snapshot in its Region, `creating`; the caller queues the work that fills it.
pub(super) fn begin_snapshot(
    request: &Request<'_>,
    state: &mut State,
    instance: &Instance,
    name: &str,
    given_tags: Vec<Tag>,
) -> Result<()> {
    let region = state.region_mut(request.region);
    refuse_duplicate(region, name)?;
    refuse_too_many(request.shared, region)?;
    let mut tags = given_tags;
    if instance.settings.copy_tags_to_snapshot {
        let own: Vec<String> = tags.iter().map(|tag| tag.key.clone()).collect();
        tags.extend(instance.tags.iter().filter(|tag| !own.contains(&tag.key)).cloned());
        tags.sort();
    }
    validate::tag_count(&tags)?;
    let snapshot = Snapshot { tags, ..new_snapshot(instance, name, SnapshotKind::Manual) };
    region.snapshots.insert(name.to_owned(), snapshot);
    Ok(())
}

fn refuse_duplicate(region: &Region, name: &str) -> Result<()> {
    if region.snapshots.contains_key(name) {
        return Err(ApiError::new(
            "DBSnapshotAlreadyExists",
            format!(
                "Cannot create the snapshot because a snapshot with the identifier {name} already exists."
            ),
        ));
    }
    Ok(())
}

fn refuse_too_many(shared: &Shared, region: &Region) -> Result<()> {
    let manual = region.snapshots.values().filter(|snapshot| snapshot.kind == SnapshotKind::Manual).count();
    if manual >= shared.limits.manual_snapshots {
        return Err(ApiError::new(
            "SnapshotQuotaExceeded",
            "Cannot create more snapshots: the quota of manual snapshots in this Region is used up.",
        ));
    }
    Ok(())
}

pub(super) fn describe_db_snapshots(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let filters = Filters::parse(
        query,
        &["db-instance-id", "db-snapshot-id", "dbi-resource-id", "engine", "snapshot-type"],
    )?;
    let kind = query.get("SnapshotType");
    if let Some(kind) = kind
        && !["automated", "manual", "shared", "public", "awsbackup"].contains(&kind)
    {
        return Err(ApiError::value(format!(
            "Invalid snapshot type: {kind}. Must be one of automated, manual, shared, public, awsbackup."
        )));
    }
    let instance = query.get("DBInstanceIdentifier").map(|id| request.local(id));
    let resource = query.get("DbiResourceId");
    request.shared.store.read(|state| {
        let all = state.regions.get(request.region);
        let all = || all.into_iter().flat_map(|region| region.snapshots.values());
        let found: Vec<&Snapshot> = match query.get("DBSnapshotIdentifier").map(|name| request.local(name)) {
            Some(name) => {
                let found = all().find(|snapshot| snapshot.id == name);
                vec![found.ok_or_else(|| ApiError::no_snapshot(&name))?]
            }
            None => all().collect(),
        };
        let found = found
            .into_iter()
            .filter(|snapshot| {
                let source_arn = arn(&snapshot.region, "db", &snapshot.instance_id);
                kind.map_or(snapshot.kind != SnapshotKind::Awsbackup, |kind| kind == snapshot.kind.name())
                    && instance.as_ref().is_none_or(|id| *id == snapshot.instance_id)
                    && resource.is_none_or(|id| id == snapshot.resource_id)
                    && filters.admit("db-instance-id", &[&snapshot.instance_id, &source_arn])
                    && filters.admit("db-snapshot-id", &[&snapshot.id, &snapshot.arn()])
                    && filters.admit("dbi-resource-id", &[&snapshot.resource_id])
                    && filters.admit("engine", &[&snapshot.settings.engine])
                    && filters.admit("snapshot-type", &[snapshot.kind.name()])
            })
            .collect();
        let page = page(query, found, |snapshot| snapshot.id.clone())?;
        let mut xml = Xml::new();
        page.marker(&mut xml);
        xml.list("DBSnapshots", "DBSnapshot", &page.items, |xml, snapshot| {
            write_snapshot(xml, state, snapshot);
        });
        Ok(xml)
    })
}

pub(super) fn copy_db_snapshot(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let source_text = query.required("SourceDBSnapshotIdentifier")?;
    let source_region = place::of_arn(source_text).unwrap_or_else(|| request.region.to_owned());
    let source_name = bare(source_text);
    let target = query.required("TargetDBSnapshotIdentifier")?;
    let target = validate::identifier("TargetDBSnapshotIdentifier", target, 255)?;
    let tags = validate::tags(query)?;
    let copy_tags = query.flag("CopyTags")?.unwrap_or(false);
    request.shared.store.change(|state| {
        let source = state
            .regions
            .get(&source_region)
            .and_then(|region| region.snapshots.get(&source_name))
            .cloned()
            .ok_or_else(|| ApiError::no_snapshot(&source_name))?;
        let region = state.region_mut(request.region);
        refuse_duplicate(region, &target)?;
        refuse_too_many(request.shared, region)?;
        if source.status != SnapshotStatus::Available {
            return Err(ApiError::new(
                "InvalidDBSnapshotState",
                format!("The snapshot {source_name} is not in the available state."),
            ));
        }
        let is_elsewhere = source_region != request.region;
        let mut settings = source.settings.clone();
        if query.get("KmsKeyId").is_some() {
            settings.kms_key = Some(kms_key(request.region, query));
        } else if is_elsewhere && settings.kms_key.is_some() {
            return Err(ApiError::value("Must specify new KMS key for cross region encrypted snapshot copy"));
        }
        // Tags that are given replace those that would be copied.
        let tags = match tags {
            Some(tags) => tags,
            None if copy_tags => source.tags.clone(),
            None => Vec::new(),
        };
        let copy = Snapshot {
            id: target.clone(),
            region: request.region.to_owned(),
            kind: SnapshotKind::Manual,
            status: SnapshotStatus::Creating,
            percent: 0,
            settings,
            created_at: None,
            copied_from: Some(source.arn()),
            tags,
            ..source
        };
        region.snapshots.insert(target.clone(), copy);
        finish_copy_later(request.shared, request.region, &target);
        answer(request, state, &target)
    })
}

/// Makes a copy available when its time has come. The copy shares the base backup, which never changes, with its
/// source; the files are there for as long as either is.
pub(crate) fn finish_copy_later(shared: &Arc<Shared>, region: &str, name: &str) {
    let (shared, region, name) = (Arc::clone(shared), region.to_owned(), name.to_owned());
    let until = shared.clock.now() + shared.pace.length(Stage::Copy);
    tokio::spawn(async move {
        let stopping = shared.stopping.listener();
        tokio::select! {
            () = shared.clock.sleep_until(until) => {}
            () = stopping.given() => return,
        }
        let now = shared.clock.now();
        let is_there = shared.store.change(|state| {
            let snapshot = state.region_mut(&region).snapshots.get_mut(&name);
            let Some(snapshot) = snapshot.filter(|snapshot| snapshot.status == SnapshotStatus::Creating)
            else {
                return false;
            };
            snapshot.status = SnapshotStatus::Available;
            snapshot.percent = 100;
            snapshot.created_at = Some(now);
            true
        });
        if is_there {
            let message = "Finished copying the DB snapshot";
            shared.add_event(&region, EventSource::Snapshot, &name, "notification", message);
        }
    });
}

pub(super) fn delete_db_snapshot(request: &Request<'_>) -> Result<Xml> {
    let name = request.identifier("DBSnapshotIdentifier")?;
    let xml = request.shared.store.change(|state| {
        let region = state.region_mut(request.region);
        let snapshot = region.snapshots.get(&name).ok_or_else(|| ApiError::no_snapshot(&name))?;
        if snapshot.kind == SnapshotKind::Automated {
            return Err(ApiError::new(
                "InvalidDBSnapshotState",
                "Automated snapshots cannot be deleted: only manual snapshots may be deleted.",
            ));
        }
        if snapshot.status == SnapshotStatus::Creating {
            return Err(ApiError::new(
                "InvalidDBSnapshotState",
                format!("The snapshot {name} is not in the available state."),
            ));
        }
        let mut xml = answer(request, state, &name)?;
        state.region_mut(request.region).snapshots.remove(&name);
        xml.replace_text("Status", "deleted");
        Ok(xml)
    })?;
    request.shared.add_event(
        request.region,
        EventSource::Snapshot,
        &name,
        "deletion",
        "Deleted manual snapshot",
    );
    // Out of the way of the answer: a base backup can be large.
    let shared = Arc::clone(request.shared);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = sweep(&shared) {
            report(format_args!("cannot remove what is no longer needed: {error:#}"));
        }
    });
    Ok(xml)
}

fn answer(request: &Request<'_>, state: &State, name: &str) -> Result<Xml> {
    let region = state.regions.get(request.region);
    let snapshot =
        region.and_then(|region| region.snapshots.get(name)).ok_or_else(|| ApiError::no_snapshot(name))?;
    let mut xml = Xml::new();
    xml.within("DBSnapshot", |xml| write_snapshot(xml, state, snapshot));
    Ok(xml)
}

fn write_snapshot(xml: &mut Xml, state: &State, snapshot: &Snapshot) {
    let settings = &snapshot.settings;
    let vpc = state
        .regions
        .get(&snapshot.region)
        .map(|region| subnet_groups::vpc(region, &settings.subnet_group))
        .unwrap_or_default();
    let source_region = snapshot.copied_from.as_deref().and_then(place::of_arn);
    xml.text("DBSnapshotIdentifier", &snapshot.id)
        .text("DBInstanceIdentifier", &snapshot.instance_id)
        .time("SnapshotCreateTime", snapshot.created_at)
        .text("Engine", &settings.engine)
        .text("AllocatedStorage", settings.allocated_storage)
        .text("Status", snapshot.status.name())
        .text("Port", settings.asked_port)
        .text("AvailabilityZone", &settings.availability_zone)
        .text("VpcId", vpc)
        .time("InstanceCreateTime", snapshot.instance_created_at)
        .maybe("MasterUsername", settings.master_username.as_ref())
        .text("EngineVersion", &settings.engine_version)
        .text("LicenseModel", &settings.license_model)
        .text("SnapshotType", snapshot.kind.name())
        .maybe("Iops", settings.iops)
        .maybe("StorageThroughput", settings.storage_throughput)
        .text("OptionGroupName", &settings.option_group)
        .text("PercentProgress", snapshot.percent)
        .maybe("SourceRegion", source_region.as_deref().map(place::region))
        .maybe("SourceDBSnapshotIdentifier", snapshot.copied_from.as_ref())
        .text("StorageType", &settings.storage_type)
        .text("Encrypted", settings.kms_key.is_some())
        .maybe("KmsKeyId", settings.kms_key.as_ref())
        .text("BackupRetentionPeriod", settings.retention_days)
        .text("PreferredBackupWindow", &settings.backup_window)
        .text("DBSnapshotArn", snapshot.arn())
        .text("IAMDatabaseAuthenticationEnabled", settings.iam_authentication)
        .within("ProcessorFeatures", |_| {})
        .text("DbiResourceId", &snapshot.resource_id);
    write_tags(xml, &snapshot.tags);
    xml.text("SnapshotTarget", "region")
        .time("OriginalSnapshotCreateTime", snapshot.original_created_at)
        .time("SnapshotDatabaseTime", snapshot.database_time)
        .text("DedicatedLogVolume", false);
}
