//! Automated backups: of living instances, and those kept of deleted ones.

use std::sync::Arc;

use crate::error::{ApiError, Result};
use crate::lifecycle::{drop_automated, sweep};
use crate::rds::instances::write_tags;
use crate::rds::paging::{Filters, page};
use crate::rds::{Request, replication, subnet_groups};
use crate::record::{Instance, Replicated, State};
use crate::restorable::{RestoreWindow, window};
use crate::stack::report;
use crate::wire::Xml;

/// One automated backup.
struct Backup<'a> {
    instance: &'a Instance,
    window: Option<RestoreWindow>,
    status: &'static str,
    /// Of another Region's instance.
    replica: Option<&'a Replicated>,
}

impl Backup<'_> {
    fn arn(&self, region: &str) -> String {
        self.replica.map_or_else(|| self.instance.backup_arn(), |replica| replica.arn(region))
    }
}

pub(super) fn describe(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let filters = Filters::parse(query, &["db-instance-id", "dbi-resource-id", "status"])?;
    for status in filters.values("status") {
        if !["active", "retained", "creating"].contains(&status) {
            return Err(ApiError::value(format!("Invalid value for filter status: {status}")));
        }
    }
    let id = query.get("DBInstanceIdentifier").map(|id| request.local(id));
    let resource = query.get("DbiResourceId");
    let arn = query.get("DBInstanceAutomatedBackupsArn");
    request.shared.store.read(|state| {
        let found: Vec<Backup<'_>> = backups(request, state)
            .into_iter()
            .filter(|backup| {
                let instance = backup.instance;
                id.as_ref().is_none_or(|id| *id == instance.id)
                    && resource.is_none_or(|id| id == instance.resource_id)
                    && arn.is_none_or(|arn| arn == backup.arn(request.region))
                    && filters.admit("db-instance-id", &[&instance.id, &instance.arn()])
                    && filters.admit("dbi-resource-id", &[&instance.resource_id])
                    && filters.admit("status", &[backup.status])
            })
            .collect();
        let named = resource.or(arn);
        if let Some(named) = named
            && found.is_empty()
        {
            return Err(not_found(named));
        }
        let page = page(query, found, |backup| backup.instance.resource_id.clone())?;
        let mut xml = Xml::new();
        page.marker(&mut xml);
        xml.list("DBInstanceAutomatedBackups", "DBInstanceAutomatedBackup", &page.items, |xml, backup| {
            write(xml, request, state, backup);
        });
        Ok(xml)
    })
}

pub(super) fn delete(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let (resource, arn) = (query.get("DbiResourceId"), query.get("DBInstanceAutomatedBackupsArn"));
    let named = resource.or(arn).ok_or_else(|| {
        ApiError::combination("Specify either DbiResourceId or DBInstanceAutomatedBackupsArn.")
    })?;
    let xml = request.shared.store.change(|state| {
        let all = backups(request, state);
        let backup = all
            .into_iter()
            .find(|backup| {
                resource.is_none_or(|id| id == backup.instance.resource_id)
                    && arn.is_none_or(|arn| arn == backup.arn(request.region))
            })
            .ok_or_else(|| not_found(named))?;
        if backup.status != "retained" {
            return Err(ApiError::new(
                "InvalidDBInstanceAutomatedBackupState",
                format!(
                    "The automated backup of {} is in use: only retained ones can be deleted.",
                    backup.instance.id
                ),
            ));
        }
        let mut xml = Xml::new();
        xml.within("DBInstanceAutomatedBackup", |xml| write(xml, request, state, &backup));
        let resource_id = backup.instance.resource_id.clone();
        let region = state.region_mut(request.region);
        region.retained.remove(&resource_id);
        drop_automated(region, &resource_id);
        xml.replace_text("Status", "deleting");
        Ok(xml)
    })?;
    let shared = Arc::clone(request.shared);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = sweep(&shared) {
            report(format_args!("cannot remove what is no longer needed: {error:#}"));
        }
    });
    Ok(xml)
}

fn not_found(what: &str) -> ApiError {
    ApiError::new("DBInstanceAutomatedBackupNotFound", format!("DBInstanceAutomatedBackup {what} not found."))
}

fn backups<'s>(request: &Request<'_>, state: &'s State) -> Vec<Backup<'s>> {
    let Some(region) = state.regions.get(request.region) else { return Vec::new() };
    let window = |instance| window(state, &request.shared.clock, request.shared.pace, instance);
    let living = region
        .instances
        .values()
        .filter(|instance| instance.settings.retention_days > 0 && instance.settings.is_postgres())
        .map(|instance| {
            let window = window(instance);
            let status = if window.is_some() { "active" } else { "creating" };
            Backup { instance, window, status, replica: None }
        });
    let retained = region.retained.values().map(|kept| Backup {
        instance: &kept.instance,
        window: window(&kept.instance),
        status: "retained",
        replica: None,
    });
    let replicated = replication::all(state, request.region).map(|(replica, instance)| Backup {
        instance,
        window: replica.window(request.shared, state),
        status: "replicating",
        replica: Some(replica),
    });
    living.chain(retained).chain(replicated).collect()
}

fn write(xml: &mut Xml, request: &Request<'_>, state: &State, backup: &Backup<'_>) {
    if let Some(replica) = backup.replica {
        return replication::write(xml, request, state, replica);
    }
    let instance = backup.instance;
    let settings = &instance.settings;
    let vpc = state
        .regions
        .get(&instance.region)
        .map(|region| subnet_groups::vpc(region, &settings.subnet_group))
        .unwrap_or_default();
    xml.text("DBInstanceArn", instance.arn())
        .text("DbiResourceId", &instance.resource_id)
        .text("Region", crate::place::region(&instance.region))
        .text("DBInstanceIdentifier", &instance.id)
        .within("RestoreWindow", |xml| {
            if let Some(window) = backup.window {
                xml.time("EarliestTime", Some(window.earliest)).time("LatestTime", Some(window.latest));
            }
        })
        .text("AllocatedStorage", settings.allocated_storage)
        .text("Status", backup.status)
        .text("Port", settings.asked_port)
        .text("AvailabilityZone", &settings.availability_zone)
        .text("VpcId", vpc)
        .time("InstanceCreateTime", instance.created_at)
        .maybe("MasterUsername", settings.master_username.as_ref())
        .text("Engine", &settings.engine)
        .text("EngineVersion", &settings.engine_version)
        .text("LicenseModel", &settings.license_model)
        .maybe("Iops", settings.iops)
        .text("OptionGroupName", &settings.option_group)
        .text("Encrypted", settings.kms_key.is_some())
        .text("StorageType", &settings.storage_type)
        .maybe("KmsKeyId", settings.kms_key.as_ref())
        .text("IAMDatabaseAuthenticationEnabled", settings.iam_authentication)
        .text("BackupRetentionPeriod", settings.retention_days)
        .text("PreferredBackupWindow", &settings.backup_window)
        .text("DBInstanceAutomatedBackupsArn", instance.backup_arn())
        .list(
            "DBInstanceAutomatedBackupsReplications",
            "DBInstanceAutomatedBackupsReplication",
            replication::arns(state, instance),
            |xml, arn| {
                xml.text("DBInstanceAutomatedBackupsArn", arn);
            },
        )
        .text("BackupTarget", "region");
    write_tags(xml, &instance.tags);
    xml.text("DedicatedLogVolume", settings.dedicated_log_volume);
}
