//! ModifyDBInstance: which changes happen immediately, which soon, and which wait for the maintenance window unless
//! `ApplyImmediately` is set.

use crate::actors::{Changes, Work};
use crate::error::{ApiError, Result};
use crate::event_delivery::record_event;
use crate::event_messages::{self, EventMessage};
use crate::instance_status::{Operation, Status, permits_operation};
use crate::rds::create::{
    both_managed_and_given, change_monitoring, default_security_group, new_managed_secret, scram_verifier,
};
use crate::rds::instances::{instance_result, refuse_duplicate};
use crate::rds::request::Request;
use crate::rds::{catalogue, parameter_groups, regions, subnet_groups, validate};
use crate::resources::{EventSource, Instance, ManagedSecret, ParameterStatus, Settings};
use crate::storage::{self, StorageRequest};
use crate::store::Region;
use crate::wire::Xml;

pub(super) fn modify_db_instance(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let id = request.resolve_identifier("DBInstanceIdentifier")?;
    let is_immediate = query.flag("ApplyImmediately")?.unwrap_or(false);
    let changes = if is_immediate { Changes::All } else { Changes::Urgent };
    let mut events = Vec::new();
    let xml = request.cx.store.change(|state| {
        let instance = request.instance(state, &id)?;
        let is_possible_while_stopped =
            *instance.shown_status() == Status::Stopped && needs_no_database(request);
        if !permits_operation(instance.shown_status(), Operation::Modify) && !is_possible_while_stopped {
            return Err(ApiError::instance_state("Database instance is not in available state."));
        }
        // All on a copy: a request that is refused half way must change nothing.
        let mut changed = instance.clone();
        let region = state.region_mut(request.region);
        apply_immediate_changes(request, region, &mut changed)?;
        change_password(request, &mut changed)?;
        queue_changes(request, region, &mut changed)?;
        let resource_id = changed.resource_id.clone();
        events = immediate_events(&region.instances[&id].settings, &changed.settings);
        region.instances.insert(id.clone(), changed);
        request.cx.queue_work(&resource_id, Work::ApplyChanges(changes));
        instance_result(request, state, &id)
    })?;
    for event in events {
        record_event(request.cx, request.region, EventSource::Instance, &id, &event);
    }
    Ok(xml)
}

/// The events of the changes that are complete when the call returns.
fn immediate_events(was: &Settings, is: &Settings) -> Vec<EventMessage> {
    let group = (was.parameter_group != is.parameter_group)
        .then(|| event_messages::uses_parameter_group(&is.parameter_group));
    let monitoring = (was.monitoring_interval != is.monitoring_interval)
        .then(|| event_messages::monitoring_changed(is.monitoring_interval));
    group.into_iter().chain(monitoring).collect()
}

/// Whether a stopped instance can take the change: it needs no running database.
fn needs_no_database(request: &Request<'_>) -> bool {
    const NEEDS_DATABASE: &str = "AllocatedStorage BackupRetentionPeriod DBInstanceClass DBPortNumber EngineVersion \
        Iops ManageMasterUserPassword MasterUserPassword MultiAZ NewDBInstanceIdentifier RotateMasterUserPassword \
        StorageThroughput StorageType";
    NEEDS_DATABASE.split_whitespace().all(|name| request.query.get(name).is_none())
}

/// Changes that are complete when the call returns, whatever it says in `ApplyImmediately`.
fn apply_immediate_changes(request: &Request<'_>, region: &Region, instance: &mut Instance) -> Result<()> {
    let query = request.query;
    let settings = &mut instance.settings;
    let backup = query.get("PreferredBackupWindow").map(str::to_owned);
    let maintenance = query.get("PreferredMaintenanceWindow").map(str::to_ascii_lowercase);
    if backup.is_some() || maintenance.is_some() {
        // Each is compared with the other as it will be.
        let backup_text = backup.clone().unwrap_or_else(|| settings.backup_window.clone());
        let maintenance_text = maintenance.clone().unwrap_or_else(|| settings.maintenance_window.clone());
        validate::refuse_overlap(
            Some(validate::parse_backup_window(&backup_text)?),
            Some(validate::parse_maintenance_window(&maintenance_text)?),
        )?;
    }
    if let Some(window) = backup {
        settings.backup_window = window;
        instance.backup_considered_at = request.now;
    }
    if let Some(window) = maintenance {
        settings.maintenance_window = window;
        instance.maintenance_considered_at = request.now;
    }
    if let Some(groups) = query.list("VpcSecurityGroupIds", "VpcSecurityGroupId") {
        validate::check_security_groups(&groups)?;
        settings.security_groups = groups;
    }
    if let Some(name) = query.get("DBParameterGroupName") {
        let family = catalogue::parameter_group_family(&settings.engine, &settings.engine_version);
        let group = parameter_groups::group_of_family(request, region, name, &family)?;
        if group != settings.parameter_group {
            settings.parameter_group = group;
            instance.parameter_status = ParameterStatus::PendingReboot;
        }
    }
    if let Some(name) = query.get("OptionGroupName")
        && name != settings.option_group
    {
        return Err(ApiError::no_option_group(name));
    }
    set_if_given(&mut settings.deletion_protection, query.flag("DeletionProtection")?);
    set_if_given(&mut settings.copy_tags_to_snapshot, query.flag("CopyTagsToSnapshot")?);
    set_if_given(&mut settings.auto_minor_upgrade, query.flag("AutoMinorVersionUpgrade")?);
    set_if_given(&mut settings.public, query.flag("PubliclyAccessible")?);
    change_monitoring(request, settings)?;
    if let Some(kind) = query.get("NetworkType") {
        let kind = validate::check_one_of("NetworkType", kind, &["IPV4", "DUAL"])?;
        settings.network_type = Some(kind.to_owned());
    }
    if let Some(most) = query.number("MaxAllocatedStorage")? {
        // The current size as the limit turns automatic growth off.
        let is_off = most == settings.allocated_storage;
        if !is_off {
            storage::check_upper_limit(settings, most)?;
        }
        settings.max_allocated_storage = (!is_off).then_some(most);
    }
    change_log_exports(request, settings);
    Ok(())
}

fn set_if_given<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

fn change_log_exports(request: &Request<'_>, settings: &mut Settings) {
    let list = |name: &str| {
        let list = request.query.list(&format!("CloudwatchLogsExportConfiguration.{name}"), "member");
        list.unwrap_or_default()
    };
    let disabled = list("DisableLogTypes");
    settings.log_exports.retain(|log| !disabled.contains(log));
    for log in list("EnableLogTypes") {
        if !settings.log_exports.contains(&log) {
            settings.log_exports.push(log);
        }
    }
}

/// A new password is set soon after the call, whatever it says in `ApplyImmediately`.
fn change_password(request: &Request<'_>, instance: &mut Instance) -> Result<()> {
    let query = request.query;
    let given = query.get("MasterUserPassword");
    let manage = query.flag("ManageMasterUserPassword")?;
    let rotate = query.flag("RotateMasterUserPassword")?.unwrap_or(false);
    if instance.settings.cluster.is_some() && (given.is_some() || manage.is_some()) {
        return Err(ApiError::invalid_combination(
            "The specified DB Instance is a member of a cluster: set the master password on the cluster.",
        ));
    }
    let is_managed = manage.unwrap_or(instance.secret.is_some());
    if is_managed && given.is_some() {
        return Err(both_managed_and_given());
    }
    if rotate && !query.flag("ApplyImmediately")?.unwrap_or(false) {
        return Err(ApiError::invalid_combination(
            "You must apply the change immediately when rotating the master user password: set ApplyImmediately to true.",
        ));
    }
    if rotate && !is_managed {
        return Err(ApiError::invalid_combination(
            "You can rotate only a master user password that is managed in Secrets Manager.",
        ));
    }
    if manage == Some(false) && instance.secret.is_some() && given.is_none() {
        return Err(ApiError::invalid_combination(
            "Specify MasterUserPassword when you turn off ManageMasterUserPassword.",
        ));
    }
    if let Some(password) = given {
        validate::check_password(password)?;
        instance.secret = None;
        instance.pending.verifier = Some(scram_verifier(password));
    } else if is_managed && (rotate || instance.secret.is_none()) {
        let secret = new_managed_secret(request)?;
        instance.pending.verifier = Some(scram_verifier(&secret.password));
        instance.secret = Some(match instance.secret.take() {
            // A rotation keeps the secret and gives it a new version.
            Some(old) => ManagedSecret { name: old.name, kms_key: old.kms_key, rotating: true, ..secret },
            None => secret,
        });
    }
    Ok(())
}

/// Changes that happen in the maintenance window, or soon. Asking for the current value cancels a pending change.
fn queue_changes(request: &Request<'_>, region: &Region, instance: &mut Instance) -> Result<()> {
    let query = request.query;
    change_storage(request, instance)?;
    let Instance { settings, pending, .. } = instance;
    if let Some(days) = query.number("BackupRetentionPeriod")? {
        if settings.cluster.is_some() {
            return Err(ApiError::invalid_combination(
                "The specified DB Instance is a member of a cluster and its backup retention should not be modified \
                 directly.",
            ));
        }
        let days = validate::check_retention(days)?;
        pending.retention_days = (days != settings.retention_days).then_some(days);
    }
    if let Some(class) = query.get("DBInstanceClass") {
        catalogue::check_class(class, &settings.engine, &settings.engine_version, &settings.license_model)?;
        pending.class = (class != settings.class).then(|| class.to_owned());
    }
    if let Some(multi_az) = query.flag("MultiAZ")? {
        pending.multi_az = (multi_az != settings.multi_az).then_some(multi_az);
    }
    if let Some(volume) = query.flag("DedicatedLogVolume")? {
        let kind = pending.storage_type.clone().unwrap_or_else(|| settings.storage_type.clone());
        storage::check_storage(&Settings {
            storage_type: kind,
            dedicated_log_volume: volume,
            ..settings.clone()
        })?;
        pending.dedicated_log_volume = (volume != settings.dedicated_log_volume).then_some(volume);
    }
    if let Some(iam) = query.flag("EnableIAMDatabaseAuthentication")? {
        pending.iam_authentication = (iam != settings.iam_authentication).then_some(iam);
    }
    if let Some(port) = query.number("DBPortNumber")? {
        let port = validate::check_port(port)?;
        pending.port = (port != settings.asked_port).then_some(port);
    }
    if let Some(ca) = query.get("CACertificateIdentifier") {
        let ca = regions::existing_authority(ca)?;
        pending.ca = (ca != settings.ca).then(|| ca.to_owned());
    }
    if let Some(version) = query.get("EngineVersion")
        && settings.is_postgres()
    {
        let choice = catalogue::choose_engine(request.cx, &settings.engine, Some(version))?;
        if choice.version != settings.engine_version {
            // The data of one major is not readable to another, and of each major only one minor is installed.
            return Err(ApiError::invalid_combination(format!(
                "Cannot upgrade postgres from {} to {}: this local stack does not upgrade.",
                settings.engine_version, choice.version
            )));
        }
    }
    if let Some(name) = query.get("DBSubnetGroupName") {
        let name = subnet_groups::existing_group(region, name)?;
        let vpc = subnet_groups::vpc_of(region, &name);
        if name != settings.subnet_group && query.list("VpcSecurityGroupIds", "VpcSecurityGroupId").is_none()
        {
            settings.security_groups = vec![default_security_group(&vpc)];
        }
        pending.subnet_group = (name != settings.subnet_group).then_some(name);
    }
    if let Some(new_id) = query.get("NewDBInstanceIdentifier") {
        let new_id = validate::check_identifier("NewDBInstanceIdentifier", new_id, 63)?;
        if new_id == instance.id {
            pending.new_id = None;
        } else {
            refuse_duplicate(region, &new_id)?;
            pending.new_id = Some(new_id);
        }
    }
    Ok(())
}

fn change_storage(request: &Request<'_>, instance: &mut Instance) -> Result<()> {
    let query = request.query;
    let wanted = StorageRequest {
        size: query.number("AllocatedStorage")?,
        kind: query.owned("StorageType"),
        iops: query.number("Iops")?,
        throughput: query.number("StorageThroughput")?,
    };
    let Some(will_have) = storage::changed_storage(instance, wanted, request.now)? else { return Ok(()) };
    let Instance { settings, pending, .. } = instance;
    pending.allocated_storage =
        Some(will_have.allocated_storage).filter(|size| *size != settings.allocated_storage);
    pending.storage_type = Some(will_have.storage_type).filter(|kind| *kind != settings.storage_type);
    pending.iops = will_have.iops.filter(|iops| Some(*iops) != settings.iops);
    pending.storage_throughput =
        will_have.storage_throughput.filter(|it| Some(*it) != settings.storage_throughput);
    Ok(())
}
