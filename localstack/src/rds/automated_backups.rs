//! Automated backups: those of existing instances, those that deleted ones left, and replicas of both.

use crate::error::{ApiError, Result};
use crate::lifecycle::{drop_automated_snapshots, sweep_later};
use crate::rds::paging::{Filters, page};
use crate::rds::request::Request;
use crate::rds::subnet_groups;
use crate::rds::tags::write_tags;
use crate::resources::{Instance, Replicated, Settings};
use crate::restorable::{RestoreWindow, restore_window};
use crate::scope;
use crate::stack::Context;
use crate::store::State;
use crate::wire::Xml;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BackupStatus {
    Creating,
    Active,
    Retained,
    Replicating,
}

impl BackupStatus {
    fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Active => "active",
            Self::Retained => "retained",
            Self::Replicating => "replicating",
        }
    }
}

/// One automated backup.
#[derive(Clone, Copy)]
pub(super) struct Backup<'a> {
    pub(super) instance: &'a Instance,
    pub(super) window: Option<RestoreWindow>,
    status: BackupStatus,
    /// Present for a replica of the backups of another Region's instance.
    pub(super) replica: Option<&'a Replicated>,
}

impl<'a> Backup<'a> {
    /// A replica, unless its source is gone and left no backups.
    pub(super) fn of_replica(cx: &Context, state: &'a State, replica: &'a Replicated) -> Option<Self> {
        let region = state.region(&replica.source_region);
        let existing = region.instances.values().find(|instance| instance.resource_id == replica.resource_id);
        let retained = || region.retained.get(&replica.resource_id).map(|kept| &kept.instance);
        let instance = existing.or_else(retained)?;
        // Nothing from before the replication began can be restored.
        let retention_days = replica.retention_days.min(instance.settings.retention_days);
        let settings = Settings { retention_days, ..instance.settings.clone() };
        let limited = Instance { settings, ..instance.clone() };
        let window = restore_window(state, &cx.clock, cx.pace, &limited)
            .filter(|window| replica.since < window.latest)
            .map(|window| RestoreWindow { earliest: window.earliest.max(replica.since), ..window });
        Some(Self { instance, window, status: BackupStatus::Replicating, replica: Some(replica) })
    }

    pub(super) fn arn(&self, region: &str) -> String {
        self.replica.map_or_else(|| self.instance.backup_arn(), |replica| replica.arn(region))
    }
}

pub(super) fn describe_automated_backups(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let filters = Filters::parse(query, &["db-instance-id", "dbi-resource-id", "status"])?;
    for status in filters.values("status") {
        if !["active", "retained", "creating"].contains(&status) {
            return Err(ApiError::invalid_value(format!("Invalid value for filter status: {status}")));
        }
    }
    let id = query.get("DBInstanceIdentifier").map(|id| request.resolve_name(id));
    let resource = query.get("DbiResourceId");
    let arn = query.get("DBInstanceAutomatedBackupsArn");
    request.cx.store.read(|state| {
        let found: Vec<Backup<'_>> = list_backups(request, state)
            .into_iter()
            .filter(|backup| {
                let instance = backup.instance;
                id.as_ref().is_none_or(|id| *id == instance.id)
                    && resource.is_none_or(|id| id == instance.resource_id)
                    && arn.is_none_or(|arn| arn == backup.arn(request.region))
                    && filters.admit("db-instance-id", &[&instance.id, &instance.arn()])
                    && filters.admit("dbi-resource-id", &[&instance.resource_id])
                    && filters.admit("status", &[backup.status.name()])
            })
            .collect();
        let named = resource.or(arn);
        if let Some(named) = named
            && found.is_empty()
        {
            return Err(ApiError::no_automated_backup(named));
        }
        let page = page(query, found, |backup| backup.instance.resource_id.clone())?;
        Ok(page.to_xml("DBInstanceAutomatedBackups", "DBInstanceAutomatedBackup", |xml, backup| {
            write_backup(xml, request, state, backup);
        }))
    })
}

pub(super) fn delete_automated_backup(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let (resource, arn) = (query.get("DbiResourceId"), query.get("DBInstanceAutomatedBackupsArn"));
    let named = resource.or(arn).ok_or_else(|| {
        ApiError::invalid_combination("Specify either DbiResourceId or DBInstanceAutomatedBackupsArn.")
    })?;
    let xml = request.cx.store.change(|state| {
        let backup = list_backups(request, state)
            .into_iter()
            .find(|backup| {
                resource.is_none_or(|id| id == backup.instance.resource_id)
                    && arn.is_none_or(|arn| arn == backup.arn(request.region))
            })
            .ok_or_else(|| ApiError::no_automated_backup(named))?;
        if backup.status != BackupStatus::Retained {
            return Err(ApiError::new(
                "InvalidDBInstanceAutomatedBackupState",
                format!(
                    "The automated backup of {} is in use: only retained ones can be deleted.",
                    backup.instance.id
                ),
            ));
        }
        let mut xml = backup_result(request, state, &backup);
        let resource_id = backup.instance.resource_id.clone();
        let region = state.region_mut(request.region);
        region.retained.remove(&resource_id);
        drop_automated_snapshots(region, &resource_id);
        xml.replace_text("Status", "deleting");
        Ok(xml)
    })?;
    sweep_later(request.cx);
    Ok(xml)
}

fn list_backups<'s>(request: &Request<'_>, state: &'s State) -> Vec<Backup<'s>> {
    let region = state.region(request.region);
    let window = |instance| restore_window(state, &request.cx.clock, request.cx.pace, instance);
    let existing = region
        .instances
        .values()
        .filter(|instance| instance.settings.retention_days > 0 && instance.settings.is_postgres())
        .map(|instance| {
            let window = window(instance);
            let status = if window.is_some() { BackupStatus::Active } else { BackupStatus::Creating };
            Backup { instance, window, status, replica: None }
        });
    let retained = region.retained.values().map(|kept| Backup {
        instance: &kept.instance,
        window: window(&kept.instance),
        status: BackupStatus::Retained,
        replica: None,
    });
    let replicas = region.replicated.values();
    let replicated = replicas.filter_map(|replica| Backup::of_replica(request.cx, state, replica));
    existing.chain(retained).chain(replicated).collect()
}

/// Writes one backup as the result of an action.
pub(super) fn backup_result(request: &Request<'_>, state: &State, backup: &Backup<'_>) -> Xml {
    Xml::with_element("DBInstanceAutomatedBackup", |xml| write_backup(xml, request, state, backup))
}

fn write_backup(xml: &mut Xml, request: &Request<'_>, state: &State, backup: &Backup<'_>) {
    let Backup { instance, replica, window, status } = *backup;
    let settings = &instance.settings;
    let is_own = replica.is_none();
    let vpc = subnet_groups::vpc_of(state.region(&instance.region), &settings.subnet_group);
    let kms_key = replica.map_or(&settings.kms_key, |replica| &replica.kms_key);
    xml.text("DBInstanceArn", instance.arn())
        .text("DbiResourceId", &instance.resource_id)
        .text("Region", scope::region_of(&instance.region))
        .text("DBInstanceIdentifier", &instance.id)
        .within("RestoreWindow", |xml| {
            if let Some(window) = window {
                xml.time("EarliestTime", Some(window.earliest)).time("LatestTime", Some(window.latest));
            }
        })
        .text("AllocatedStorage", settings.allocated_storage)
        .text("Status", status.name())
        .text("Port", settings.asked_port)
        .maybe("AvailabilityZone", Some(&settings.availability_zone).filter(|_| is_own))
        .maybe("VpcId", Some(vpc).filter(|_| is_own))
        .time("InstanceCreateTime", instance.created_at)
        .maybe("MasterUsername", settings.master_username.as_ref())
        .text("Engine", &settings.engine)
        .text("EngineVersion", &settings.engine_version)
        .text("LicenseModel", &settings.license_model)
        .maybe("Iops", settings.iops)
        .text("OptionGroupName", &settings.option_group)
        .text("Encrypted", kms_key.is_some())
        .text("StorageType", &settings.storage_type)
        .maybe("KmsKeyId", kms_key.as_ref())
        .text("IAMDatabaseAuthenticationEnabled", settings.iam_authentication)
        .text("BackupRetentionPeriod", replica.map_or(settings.retention_days, |it| it.retention_days))
        .maybe("PreferredBackupWindow", Some(&settings.backup_window).filter(|_| is_own))
        .text("DBInstanceAutomatedBackupsArn", backup.arn(request.region));
    write_replica_arns(xml, if is_own { replica_arns(state, instance) } else { Vec::new() });
    xml.text("BackupTarget", "region");
    write_tags(xml, replica.map_or(&instance.tags, |replica| &replica.tags));
    xml.text("DedicatedLogVolume", is_own && settings.dedicated_log_volume);
}

/// The ARNs of the replicas of an instance's automated backups, in whichever Region.
pub(super) fn replica_arns(state: &State, instance: &Instance) -> Vec<String> {
    let regions = state.regions.iter();
    regions
        .filter_map(|(name, region)| Some(region.replicated.get(&instance.resource_id)?.arn(name)))
        .collect()
}

pub(super) fn write_replica_arns(xml: &mut Xml, arns: Vec<String>) {
    let (list, member) = ("DBInstanceAutomatedBackupsReplications", "DBInstanceAutomatedBackupsReplication");
    xml.list(list, member, arns, |xml, arn| {
        xml.text("DBInstanceAutomatedBackupsArn", arn);
    });
}
