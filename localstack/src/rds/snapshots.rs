//! DB snapshots: asked for, listed, copied, deleted. Taking them is `lifecycle::backup`.

use std::sync::Arc;

use crate::error::{ApiError, Result};
use crate::happening::{self, Happening};
use crate::lifecycle::{Work, new_snapshot, sweep};
use crate::pace::Stage;
use crate::place;
use crate::rds::instances::{no_snapshot_now, write_tags};
use crate::rds::paging::{Filters, page};
use crate::rds::{Request, keys, sharing, subnet_groups, validate};
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
    // A type that is asked for decides alone about what others share.
    let asked =
        |name: &str, own: &str| Ok(kind == Some(own) || (kind.is_none() && query.flag(name)? == Some(true)));
    let (shared, public) = (asked("IncludeShared", "shared")?, asked("IncludePublic", "public")?);
    request.shared.store.read(|state| {
        let at = request.region;
        let named = query.get("DBSnapshotIdentifier");
        let found: Vec<&Snapshot> = match named {
            Some(text) => vec![
                sharing::find(state, at, text)
                    .ok()
                    .filter(|found| place::region(&found.region) == place::region(at))
                    .ok_or_else(|| ApiError::no_snapshot(text))?,
            ],
            None => {
                let own = state.regions.get(at).into_iter().flat_map(|region| region.snapshots.values());
                let others = sharing::seen_from(state, at).filter(|snapshot| {
                    let kind = sharing::kind_for(snapshot, at);
                    (shared && kind == Some("shared")) || (public && kind == Some("public"))
                });
                own.chain(others).collect()
            }
        };
        let found: Vec<&Snapshot> = found
            .into_iter()
            .filter(|snapshot| {
                let source_arn = arn(&snapshot.region, "db", &snapshot.instance_id);
                let seen_as = seen_as(snapshot, at);
                // One's own public snapshots are among the public ones.
                let is_kind = |kind: &str| kind == seen_as || (kind == "public" && is_public(snapshot));
                kind.map_or(snapshot.kind != SnapshotKind::Awsbackup, is_kind)
                    && instance.as_ref().is_none_or(|id| *id == snapshot.instance_id)
                    && resource.is_none_or(|id| id == snapshot.resource_id)
                    && filters.admit("db-instance-id", &[&snapshot.instance_id, &source_arn])
                    && filters.admit("db-snapshot-id", &[&snapshot.id, &snapshot.arn()])
                    && filters.admit("dbi-resource-id", &[&snapshot.resource_id])
                    && filters.admit("engine", &[&snapshot.settings.engine])
                    && filters.admit("snapshot-type", &[seen_as])
            })
            .collect();
        if let (Some(named), true) = (named, found.is_empty()) {
            return Err(ApiError::no_snapshot(named));
        }
        let page = page(query, found, |snapshot| format!("{} {}", snapshot.region, snapshot.id))?;
        let mut xml = Xml::new();
        page.marker(&mut xml);
        xml.list("DBSnapshots", "DBSnapshot", &page.items, |xml, snapshot| {
            write_snapshot(xml, state, snapshot, at);
        });
        Ok(xml)
    })
}

fn is_public(snapshot: &Snapshot) -> bool {
    snapshot.shared_with.iter().any(|with| with == "all")
}

/// The type of a snapshot, to whoever looks at it from `at`.
fn seen_as(snapshot: &Snapshot, at: &str) -> &'static str {
    let foreign = sharing::is_foreign(snapshot, at).then(|| sharing::kind_for(snapshot, at)).flatten();
    foreign.unwrap_or(snapshot.kind.name())
}

pub(super) fn copy_db_snapshot(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let source_text = query.required("SourceDBSnapshotIdentifier")?;
    let target = query.required("TargetDBSnapshotIdentifier")?;
    let target = validate::identifier("TargetDBSnapshotIdentifier", target, 255)?;
    let tags = validate::tags(query)?;
    let copy_tags = query.flag("CopyTags")?.unwrap_or(false);
    request.shared.store.change(|state| {
        let source = sharing::find(state, request.region, source_text)?.clone();
        let region = state.region_mut(request.region);
        refuse_duplicate(region, &target)?;
        refuse_too_many(request.shared, region)?;
        if source.status != SnapshotStatus::Available {
            return Err(ApiError::new(
                "InvalidDBSnapshotState",
                format!("The snapshot {} is not in the available state.", source.id),
            ));
        }
        let is_foreign = sharing::is_foreign(&source, request.region);
        let is_elsewhere = place::region(&source.region) != place::region(request.region);
        let mut settings = source.settings.clone();
        settings.kms_key = copy_key(request, &source)?;
        // Tags that are given replace those that would be copied.
        let tags = match tags {
            Some(tags) => tags,
            // Of what others share the tags are not seen.
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
        finish_copy_later(request.shared, request.region, &target);
        answer(request, state, &target)
    })
}

/// The key of a copy: the one named; within an account and a Region that of the source.
fn copy_key(request: &Request<'_>, source: &Snapshot) -> Result<Option<String>> {
    let named = request.query.get("KmsKeyId").map(|key| keys::named(request.region, key)).transpose()?;
    let Some(key) = &source.settings.kms_key else { return Ok(named) };
    if sharing::is_foreign(source, request.region) {
        if *key == keys::default_for(&source.region, "rds") {
            return Err(keys::not_accessible("source snapshot", key));
        }
        return named.map(Some).ok_or_else(|| keys::not_accessible("target", "None"));
    }
    if source.region != request.region && named.is_none() {
        return Err(ApiError::value("Must specify new KMS key for cross region encrypted snapshot copy"));
    }
    Ok(Some(named.unwrap_or_else(|| key.clone())))
}

/// Makes a copy available when its time has come. The copy shares the base backup, which never changes, with its
/// source; the files are there for as long as either is.
pub(crate) fn finish_copy_later(shared: &Arc<Shared>, region: &str, name: &str) {
    let (shared, region, name) = (Arc::clone(shared), region.to_owned(), name.to_owned());
    tokio::spawn(async move {
        let begun = shared.clock.now();
        let Some((is_pending, from)) = copy_under_way(&shared, &region, &name) else { return };
        let here = place::region(&region).to_owned();
        let tell = |happening: &Happening| shared.add_event(&region, EventSource::Snapshot, &name, happening);
        tell(&happening::copy_begun(&name, from.as_deref(), &here));
        let length = shared.pace.length(Stage::Copy);
        let stopping = shared.stopping.listener();
        let steps = if is_pending { [begun + length / 3, begun + length] } else { [begun + length; 2] };
        for (until, next) in steps.into_iter().zip([SnapshotStatus::Creating, SnapshotStatus::Available]) {
            tokio::select! {
                () = shared.clock.sleep_until(until) => {}
                () = stopping.given() => return,
            }
            let now = shared.clock.now();
            let is_there = shared.store.change(|state| {
                let snapshot = state.region_mut(&region).snapshots.get_mut(&name);
                let Some(snapshot) = snapshot.filter(|snapshot| is_under_way(snapshot)) else { return false };
                snapshot.status = next;
                if next == SnapshotStatus::Available {
                    snapshot.percent = 100;
                    snapshot.created_at = Some(now);
                }
                true
            });
            if !is_there {
                return;
            }
        }
        let minutes = (shared.clock.now() - begun).num_minutes();
        tell(&happening::copy_done(&name, from.as_deref(), &here, minutes));
    });
}

fn is_under_way(snapshot: &Snapshot) -> bool {
    matches!(snapshot.status, SnapshotStatus::Pending | SnapshotStatus::Creating)
}

/// Whether a copy waits for its turn, and from which other Region it comes; nothing when it is gone or done.
fn copy_under_way(shared: &Shared, region: &str, name: &str) -> Option<(bool, Option<String>)> {
    shared.store.read(|state| {
        let snapshot = state.regions.get(region)?.snapshots.get(name).filter(|one| is_under_way(one))?;
        let from = snapshot.copied_from.as_deref().and_then(place::of_arn);
        let from = from.map(|from| place::region(&from).to_owned());
        let from = from.filter(|from| from != place::region(region));
        Some((snapshot.status == SnapshotStatus::Pending, from))
    })
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
        if is_under_way(snapshot) {
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
    request.shared.add_event(request.region, EventSource::Snapshot, &name, &happening::SNAPSHOT_DELETED);
    // Out of the way of the answer: a base backup can be large.
    let shared = Arc::clone(request.shared);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = sweep(&shared) {
            report(format_args!("cannot remove what is no longer needed: {error:#}"));
        }
    });
    Ok(xml)
}

/// Nothing of a snapshot can be changed here but for its version, and there are no upgrades.
pub(super) fn modify_db_snapshot(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let name = request.identifier("DBSnapshotIdentifier")?;
    request.shared.store.read(|state| {
        let region = state.regions.get(request.region);
        let snapshot = region.and_then(|region| region.snapshots.get(&name));
        let snapshot = snapshot.ok_or_else(|| ApiError::no_snapshot(&name))?;
        let is_manual = snapshot.kind == SnapshotKind::Manual;
        if !is_manual || snapshot.status != SnapshotStatus::Available || !snapshot.shared_with.is_empty() {
            return Err(ApiError::new(
                "InvalidDBSnapshotState",
                format!(
                    "The snapshot {name} can't be modified: it must be manual, available and not shared."
                ),
            ));
        }
        let settings = &snapshot.settings;
        if let Some(version) = query.get("EngineVersion")
            && version != settings.engine_version
            && version != settings.major()
        {
            return Err(ApiError::combination(format!(
                "Cannot upgrade {} from {} to {version}: this local stack does not upgrade.",
                settings.engine, settings.engine_version
            )));
        }
        if let Some(group) = query.get("OptionGroupName")
            && group != settings.option_group
        {
            return Err(ApiError::new(
                "OptionGroupNotFoundFault",
                format!("Specified OptionGroupName: {group} not found."),
            ));
        }
        answer(request, state, &name)
    })
}

fn answer(request: &Request<'_>, state: &State, name: &str) -> Result<Xml> {
    let region = state.regions.get(request.region);
    let snapshot =
        region.and_then(|region| region.snapshots.get(name)).ok_or_else(|| ApiError::no_snapshot(name))?;
    let mut xml = Xml::new();
    xml.within("DBSnapshot", |xml| write_snapshot(xml, state, snapshot, request.region));
    Ok(xml)
}

/// Writes a snapshot as it is seen from `at`.
fn write_snapshot(xml: &mut Xml, state: &State, snapshot: &Snapshot, at: &str) {
    let settings = &snapshot.settings;
    let vpc = state
        .regions
        .get(&snapshot.region)
        .map(|region| subnet_groups::vpc(region, &settings.subnet_group))
        .unwrap_or_default();
    let source_region = snapshot.copied_from.as_deref().and_then(place::of_arn);
    let is_foreign = sharing::is_foreign(snapshot, at);
    let id = if is_foreign { snapshot.arn() } else { snapshot.id.clone() };
    xml.text("DBSnapshotIdentifier", id)
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
        .text("SnapshotType", seen_as(snapshot, at))
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
    write_tags(xml, if is_foreign { &[] } else { &snapshot.tags });
    xml.text("SnapshotTarget", "region")
        .time("OriginalSnapshotCreateTime", snapshot.original_created_at)
        .time("SnapshotDatabaseTime", snapshot.database_time)
        .text("DedicatedLogVolume", settings.dedicated_log_volume);
}
