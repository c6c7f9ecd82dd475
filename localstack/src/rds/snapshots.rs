//! DB snapshots: requested, listed, copied, deleted. `lifecycle::snapshots` takes them.

use crate::actors::Work;
use crate::error::{ApiError, Result};
use crate::event_delivery::record_event;
use crate::event_messages;
use crate::instance_status::{Operation, Status, permits_operation};
use crate::lifecycle::{finish_copy_later, new_snapshot, sweep_later};
use crate::rds::paging::{Filters, page};
use crate::rds::request::Request;
use crate::rds::sharing::{self, Sharing};
use crate::rds::tags::write_tags;
use crate::rds::{keys, subnet_groups, validate};
use crate::resources::{EventSource, Instance, Snapshot, SnapshotKind, SnapshotStatus, Tag, arn};
use crate::scope;
use crate::stack::Context;
use crate::store::{Region, State};
use crate::wire::Xml;

pub(super) fn create_db_snapshot(request: &Request<'_>) -> Result<Xml> {
    let name = request.new_identifier("DBSnapshotIdentifier", 255)?;
    let id = request.resolve_identifier("DBInstanceIdentifier")?;
    let tags = validate::requested_tags(request.query)?.unwrap_or_default();
    request.cx.store.change(|state| {
        let instance = request.instance(state, &id)?.clone();
        if instance.settings.cluster.is_some() {
            return Err(ApiError::invalid_combination(
                "The specified instance is a member of a cluster and a snapshot cannot be created directly. Please use \
                 the CreateDBClusterSnapshot API instead.",
            ));
        }
        if !permits_operation(instance.shown_status(), Operation::Snapshot) {
            // A name that is taken comes first: it tells a retried request that the first one succeeded.
            refuse_duplicate(state.region_mut(request.region), &name)?;
            return Err(no_snapshot_now(&id));
        }
        begin_snapshot(request, state, &instance, &name, tags)?;
        let instance = request.instance_mut(state, &id)?;
        instance.status = Status::BackingUp;
        instance.shown = instance.shown.take().filter(|shown| shown.stay);
        request.cx.queue_work(&instance.resource_id.clone(), Work::Snapshot(name.clone()));
        snapshot_result(request, state, &name)
    })
}

pub(super) fn no_snapshot_now(id: &str) -> ApiError {
    ApiError::instance_state(format!(
        "Cannot create a snapshot because the database instance {id} is not currently in the available state."
    ))
}

/// Adds a manual snapshot to its Region, in the status `creating`. The caller queues the work that fills it.
pub(super) fn begin_snapshot(
    request: &Request<'_>,
    state: &mut State,
    instance: &Instance,
    name: &str,
    given_tags: Vec<Tag>,
) -> Result<()> {
    let region = state.region_mut(request.region);
    refuse_duplicate(region, name)?;
    refuse_too_many(request.cx, region)?;
    let mut tags = given_tags;
    if instance.settings.copy_tags_to_snapshot {
        let own: Vec<String> = tags.iter().map(|tag| tag.key.clone()).collect();
        tags.extend(instance.tags.iter().filter(|tag| !own.contains(&tag.key)).cloned());
        tags.sort();
    }
    validate::check_tag_count(&tags)?;
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

fn refuse_too_many(cx: &Context, region: &Region) -> Result<()> {
    let manual = region.snapshots.values().filter(|snapshot| snapshot.kind == SnapshotKind::Manual).count();
    if manual >= cx.limits.manual_snapshots {
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
        return Err(ApiError::invalid_value(format!(
            "Invalid snapshot type: {kind}. Must be one of automated, manual, shared, public, awsbackup."
        )));
    }
    let instance = query.get("DBInstanceIdentifier").map(|id| request.resolve_name(id));
    let resource = query.get("DbiResourceId");
    // A type in the request decides alone whether snapshots of other accounts are listed.
    let is_included =
        |name: &str, own: &str| Ok(kind == Some(own) || (kind.is_none() && query.flag(name)? == Some(true)));
    let include_shared = is_included("IncludeShared", "shared")?;
    let include_public = is_included("IncludePublic", "public")?;
    request.cx.store.read(|state| {
        let at = request.region;
        let named = query.get("DBSnapshotIdentifier");
        let found: Vec<&Snapshot> = match named {
            Some(text) => vec![sharing::find_snapshot_here(state, at, text)?],
            None => {
                let own = state.region(at).snapshots.values();
                let others = sharing::shared_snapshots(state, at).filter(|snapshot| {
                    match sharing::sharing_with(snapshot, at) {
                        Some(Sharing::Shared) => include_shared,
                        Some(Sharing::Public) => include_public,
                        None => false,
                    }
                });
                own.chain(others).collect()
            }
        };
        let found: Vec<&Snapshot> = found
            .into_iter()
            .filter(|snapshot| {
                let source_arn = arn(&snapshot.region, "db", &snapshot.instance_id);
                let visible_type = visible_type(snapshot, at);
                // The caller's own public snapshots count as public too.
                let is_kind =
                    |kind: &str| kind == visible_type || (kind == "public" && sharing::is_public(snapshot));
                kind.map_or(snapshot.kind != SnapshotKind::Awsbackup, is_kind)
                    && instance.as_ref().is_none_or(|id| *id == snapshot.instance_id)
                    && resource.is_none_or(|id| id == snapshot.resource_id)
                    && filters.admit("db-instance-id", &[&snapshot.instance_id, &source_arn])
                    && filters.admit("db-snapshot-id", &[&snapshot.id, &snapshot.arn()])
                    && filters.admit("dbi-resource-id", &[&snapshot.resource_id])
                    && filters.admit("engine", &[&snapshot.settings.engine])
                    && filters.admit("snapshot-type", &[visible_type])
            })
            .collect();
        if let (Some(named), true) = (named, found.is_empty()) {
            return Err(ApiError::no_snapshot(named));
        }
        let page = page(query, found, |snapshot| format!("{} {}", snapshot.region, snapshot.id))?;
        Ok(page.to_xml("DBSnapshots", "DBSnapshot", |xml, snapshot| {
            write_snapshot(xml, state, snapshot, at);
        }))
    })
}

/// The type of a snapshot as callers in the scope `at` see it.
fn visible_type(snapshot: &Snapshot, at: &str) -> &'static str {
    let foreign = sharing::is_foreign(snapshot, at).then(|| sharing::sharing_with(snapshot, at)).flatten();
    foreign.map_or(snapshot.kind.name(), Sharing::name)
}

pub(super) fn copy_db_snapshot(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let source_text = query.required("SourceDBSnapshotIdentifier")?;
    let target = request.new_identifier("TargetDBSnapshotIdentifier", 255)?;
    let tags = validate::requested_tags(query)?;
    let copy_tags = query.flag("CopyTags")?.unwrap_or(false);
    request.cx.store.change(|state| {
        let source = sharing::find_snapshot(state, request.region, source_text)?.clone();
        let region = state.region_mut(request.region);
        refuse_duplicate(region, &target)?;
        refuse_too_many(request.cx, region)?;
        if source.status != SnapshotStatus::Available {
            return Err(ApiError::snapshot_unavailable(&source.id));
        }
        let is_foreign = sharing::is_foreign(&source, request.region);
        let is_elsewhere = scope::region_of(&source.region) != scope::region_of(request.region);
        let mut settings = source.settings.clone();
        settings.kms_key = copy_key(request, &source)?;
        // Tags in the request replace those that would be copied.
        let tags = match tags {
            Some(tags) => tags,
            // The tags of a snapshot that another account shares are not visible.
            None if copy_tags && !is_foreign => source.tags.clone(),
            None => Vec::new(),
        };
        let copy = Snapshot {
            id: target.clone(),
            region: request.region.to_owned(),
            kind: SnapshotKind::Manual,
            status: if is_elsewhere { SnapshotStatus::Pending } else { SnapshotStatus::Creating },
            percent: 0,
            settings,
            created_at: None,
            copied_from: Some(source.arn()),
            tags,
            source_tags: if is_foreign { Vec::new() } else { source.source_tags.clone() },
            shared_with: Vec::new(),
            ..source
        };
        region.snapshots.insert(target.clone(), copy);
        finish_copy_later(request.cx, request.region, &target);
        snapshot_result(request, state, &target)
    })
}

/// The key of a copy: the one in the request or, within one account and Region, that of the source.
fn copy_key(request: &Request<'_>, source: &Snapshot) -> Result<Option<String>> {
    let named =
        request.query.get("KmsKeyId").map(|key| keys::resolve_key(request.region, key)).transpose()?;
    let Some(key) = &source.settings.kms_key else { return Ok(named) };
    if sharing::is_foreign(source, request.region) {
        if *key == keys::default_key(&source.region, "rds") {
            return Err(keys::not_accessible("source snapshot", key));
        }
        return named.map(Some).ok_or_else(|| keys::not_accessible("target", "None"));
    }
    if source.region != request.region && named.is_none() {
        return Err(ApiError::invalid_value(
            "Must specify new KMS key for cross region encrypted snapshot copy",
        ));
    }
    Ok(Some(named.unwrap_or_else(|| key.clone())))
}

pub(super) fn delete_db_snapshot(request: &Request<'_>) -> Result<Xml> {
    let name = request.resolve_identifier("DBSnapshotIdentifier")?;
    let xml = request.cx.store.change(|state| {
        let region = state.region_mut(request.region);
        let snapshot = region.snapshots.get(&name).ok_or_else(|| ApiError::no_snapshot(&name))?;
        if snapshot.kind == SnapshotKind::Automated {
            return Err(ApiError::snapshot_state(
                "Automated snapshots cannot be deleted: only manual snapshots may be deleted.",
            ));
        }
        if snapshot.is_under_way() {
            return Err(ApiError::snapshot_unavailable(&name));
        }
        let mut xml = snapshot_result(request, state, &name)?;
        state.region_mut(request.region).snapshots.remove(&name);
        xml.replace_text("Status", "deleted");
        Ok(xml)
    })?;
    record_event(request.cx, request.region, EventSource::Snapshot, &name, &event_messages::SNAPSHOT_DELETED);
    sweep_later(request.cx);
    Ok(xml)
}

/// Only the engine version of a snapshot could be changed, and the stack does not upgrade.
pub(super) fn modify_db_snapshot(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let name = request.resolve_identifier("DBSnapshotIdentifier")?;
    request.cx.store.read(|state| {
        let snapshots = &state.region(request.region).snapshots;
        let snapshot = snapshots.get(&name).ok_or_else(|| ApiError::no_snapshot(&name))?;
        let is_manual = snapshot.kind == SnapshotKind::Manual;
        if !is_manual || snapshot.status != SnapshotStatus::Available || !snapshot.shared_with.is_empty() {
            return Err(ApiError::snapshot_state(format!(
                "The snapshot {name} can't be modified: it must be manual, available and not shared."
            )));
        }
        let settings = &snapshot.settings;
        if let Some(version) = query.get("EngineVersion")
            && version != settings.engine_version
            && version != settings.major()
        {
            return Err(ApiError::invalid_combination(format!(
                "Cannot upgrade {} from {} to {version}: this local stack does not upgrade.",
                settings.engine, settings.engine_version
            )));
        }
        if let Some(group) = query.get("OptionGroupName")
            && group != settings.option_group
        {
            return Err(ApiError::no_option_group(group));
        }
        snapshot_result(request, state, &name)
    })
}

/// A snapshot as the result of an action.
fn snapshot_result(request: &Request<'_>, state: &State, name: &str) -> Result<Xml> {
    let snapshots = &state.region(request.region).snapshots;
    let snapshot = snapshots.get(name).ok_or_else(|| ApiError::no_snapshot(name))?;
    Ok(Xml::with_element("DBSnapshot", |xml| write_snapshot(xml, state, snapshot, request.region)))
}

/// Writes a snapshot as callers in the scope `at` see it.
fn write_snapshot(xml: &mut Xml, state: &State, snapshot: &Snapshot, at: &str) {
    let settings = &snapshot.settings;
    let vpc = subnet_groups::vpc_of(state.region(&snapshot.region), &settings.subnet_group);
    let source_region = snapshot.copied_from.as_deref().and_then(scope::scope_of_arn);
    let is_foreign = sharing::is_foreign(snapshot, at);
    let id = if is_foreign { snapshot.arn() } else { snapshot.id.clone() };
    xml.text("DBSnapshotIdentifier", id)
        .text("DBInstanceIdentifier", &snapshot.instance_id)
        .time("SnapshotCreateTime", snapshot.created_at)
        .text("Engine", &settings.engine)
        .text("AllocatedStorage", settings.allocated_storage)
        .text("Status", snapshot.status)
        .text("Port", settings.asked_port)
        .text("AvailabilityZone", &settings.availability_zone)
        .text("VpcId", vpc)
        .time("InstanceCreateTime", snapshot.instance_created_at)
        .maybe("MasterUsername", settings.master_username.as_ref())
        .text("EngineVersion", &settings.engine_version)
        .text("LicenseModel", &settings.license_model)
        .text("SnapshotType", visible_type(snapshot, at))
        .maybe("Iops", settings.iops)
        .maybe("StorageThroughput", settings.storage_throughput)
        .text("OptionGroupName", &settings.option_group)
        .text("PercentProgress", snapshot.percent)
        .maybe("SourceRegion", source_region.as_deref().map(scope::region_of))
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
    write_tags(xml, if is_foreign { &[] } else { &snapshot.tags });
    xml.text("SnapshotTarget", "region")
        .time("OriginalSnapshotCreateTime", snapshot.original_created_at)
        .time("SnapshotDatabaseTime", snapshot.database_time)
        .text("DedicatedLogVolume", settings.dedicated_log_volume);
}
