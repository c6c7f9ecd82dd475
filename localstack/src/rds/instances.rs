//! DB instances that exist: how they are shown, stopped, started, rebooted and deleted.

use chrono::TimeDelta;

use crate::actors::Work;
use crate::error::{ApiError, Result};
use crate::instance_status::{Operation, Status, permits_operation};
use crate::rds::automated_backups::{replica_arns, write_replica_arns};
use crate::rds::paging::{Filters, page};
use crate::rds::request::Request;
use crate::rds::snapshots::{begin_snapshot, no_snapshot_now};
use crate::rds::subnet_groups::write_subnet_group;
use crate::rds::tags::write_tags;
use crate::rds::validate;
use crate::resources::{Deletion, Instance, ManagedSecret, ParameterStatus, arn};
use crate::restorable::restore_window;
use crate::stack::Context;
use crate::store::{Region, State};
use crate::wire::Xml;

pub(super) fn describe_db_instances(request: &Request<'_>) -> Result<Xml> {
    let filters = Filters::parse(
        request.query,
        &["db-cluster-id", "db-instance-id", "dbi-resource-id", "domain", "engine"],
    )?;
    request.cx.store.read(|state| {
        let found: Vec<&Instance> = match request.query.get("DBInstanceIdentifier") {
            Some(id) => vec![request.instance(state, &request.resolve_name(id))?],
            None => state.region(request.region).instances.values().collect(),
        };
        let found = found
            .into_iter()
            .filter(|instance| {
                let cluster = instance.settings.cluster.as_deref().unwrap_or_default();
                filters.admit("db-instance-id", &[&instance.id, &instance.arn()])
                    && filters.admit("dbi-resource-id", &[&instance.resource_id])
                    && filters.admit("engine", &[&instance.settings.engine])
                    && filters.admit("db-cluster-id", &[cluster, &arn(request.region, "cluster", cluster)])
                    && filters.admit("domain", &[])
            })
            .collect::<Vec<_>>();
        if let (Some(id), true) = (request.query.get("DBInstanceIdentifier"), found.is_empty()) {
            return Err(ApiError::no_instance(id));
        }
        let page = page(request.query, found, |instance| instance.id.clone())?;
        Ok(page.to_xml("DBInstances", "DBInstance", |xml, instance| {
            write_instance(xml, request.cx, state, instance);
        }))
    })
}

pub(super) fn delete_db_instance(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let id = request.resolve_identifier("DBInstanceIdentifier")?;
    let skip = query.flag("SkipFinalSnapshot")?.unwrap_or(false);
    let final_snapshot = query.get("FinalDBSnapshotIdentifier");
    let keep_automated_backups = !query.flag("DeleteAutomatedBackups")?.unwrap_or(true);
    request.cx.store.change(|state| {
        let instance = request.instance(state, &id)?.clone();
        if *instance.shown_status() == Status::Deleting || instance.status == Status::Deleting {
            return Err(ApiError::instance_state(format!("Instance {id} is already being deleted.")));
        }
        if instance.settings.deletion_protection {
            return Err(ApiError::invalid_combination(
                "Cannot delete protected DB Instance, please disable deletion protection and try again.",
            ));
        }
        let is_member = instance.settings.cluster.is_some();
        let final_snapshot = match (skip, final_snapshot) {
            (true, Some(_)) => {
                return Err(ApiError::invalid_combination(
                    "FinalDBSnapshotIdentifier can not be specified when SkipFinalSnapshot is true.",
                ));
            }
            (false, Some(_)) if is_member => {
                return Err(ApiError::invalid_combination(
                    "FinalDBSnapshotIdentifier can not be specified when deleting a cluster instance",
                ));
            }
            (false, None) if !is_member => {
                return Err(ApiError::invalid_combination(
                    "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.",
                ));
            }
            (_, name) => name
                .map(|name| validate::check_identifier("FinalDBSnapshotIdentifier", name, 255))
                .transpose()?,
        };
        if let Some(snapshot) = &final_snapshot {
            if !permits_operation(instance.shown_status(), Operation::DeleteWithSnapshot) {
                return Err(no_snapshot_now(&id));
            }
            begin_snapshot(request, state, &instance, snapshot, Vec::new())?;
        }
        let instance = request.instance_mut(state, &id)?;
        instance.deletion = Some(Deletion { final_snapshot, keep_automated_backups });
        instance.status = Status::Deleting;
        if !instance.is_stuck_deleting() {
            instance.shown = None;
        }
        request.cx.queue_work(&instance.resource_id.clone(), Work::Delete);
        instance_result(request, state, &id)
    })
}

pub(super) fn start_db_instance(request: &Request<'_>) -> Result<Xml> {
    begin_operation(request, Operation::Start, "stopped", Status::Starting, |_| Ok(Work::Start))
}

pub(super) fn stop_db_instance(request: &Request<'_>) -> Result<Xml> {
    let snapshot = request.query.get("DBSnapshotIdentifier");
    let snapshot =
        snapshot.map(|name| validate::check_identifier("DBSnapshotIdentifier", name, 255)).transpose()?;
    begin_operation(request, Operation::Stop, "available", Status::Stopping, |state| {
        if let Some(name) = &snapshot {
            let instance =
                request.instance(state, &request.resolve_identifier("DBInstanceIdentifier")?)?.clone();
            begin_snapshot(request, state, &instance, name, Vec::new())?;
        }
        Ok(Work::Stop { snapshot: snapshot.clone() })
    })
}

pub(super) fn reboot_db_instance(request: &Request<'_>) -> Result<Xml> {
    let failover = request.query.flag("ForceFailover")?.unwrap_or(false);
    begin_operation(request, Operation::Reboot, "available", Status::Rebooting, |state| {
        let instance = request.instance(state, &request.resolve_identifier("DBInstanceIdentifier")?)?;
        if failover && !instance.settings.multi_az {
            return Err(ApiError::invalid_combination(
                "ForceFailover cannot be specified since the instance is not configured for either MultiAZ or High \
                 Availability",
            ));
        }
        Ok(Work::Reboot { failover })
    })
}

/// The stack has no read replicas. A source that could not have one on AWS either is refused in AWS's words.
pub(super) fn refuse_read_replica(request: &Request<'_>) -> Result<Xml> {
    let id = request.new_identifier("DBInstanceIdentifier", 63)?;
    let source = request.resolve_identifier("SourceDBInstanceIdentifier")?;
    request.cx.store.read(|state| {
        let instance = request.instance(state, &source)?;
        refuse_duplicate(state.region(request.region), &id)?;
        if instance.settings.retention_days == 0 {
            return Err(ApiError::instance_state(
                "Automated backups are not enabled for this database instance. To enable automated backups, use \
                 ModifyDBInstance to set the backup retention period to a non-zero value.",
            ));
        }
        Err(ApiError::invalid_combination(format!(
            "Cannot create a read replica of {source}: this local stack has no read replicas."
        )))
    })
}

pub(super) fn refuse_duplicate(region: &Region, id: &str) -> Result<()> {
    if region.instances.contains_key(id) {
        return Err(ApiError::new("DBInstanceAlreadyExists", "DB instance already exists"));
    }
    Ok(())
}

/// Moves an instance to the state that an operation shows, and queues the operation's work.
fn begin_operation(
    request: &Request<'_>,
    operation: Operation,
    needed: &str,
    next: Status,
    work: impl FnOnce(&mut State) -> Result<Work>,
) -> Result<Xml> {
    let id = request.resolve_identifier("DBInstanceIdentifier")?;
    request.cx.store.change(|state| {
        let instance = request.instance(state, &id)?;
        if !permits_operation(instance.shown_status(), operation) {
            return Err(ApiError::instance_state(format!("Instance {id} is not in {needed} state.")));
        }
        if instance.settings.cluster.is_some() && operation != Operation::Reboot {
            return Err(ApiError::invalid_combination(
                "The specified DB Instance is a member of a cluster: use the operations of the cluster.",
            ));
        }
        let work = work(state)?;
        let instance = request.instance_mut(state, &id)?;
        instance.status = next;
        instance.shown = instance.shown.take().filter(|shown| shown.stay);
        request.cx.queue_work(&instance.resource_id.clone(), work);
        instance_result(request, state, &id)
    })
}

/// An instance as the result of an action.
pub(super) fn instance_result(request: &Request<'_>, state: &State, id: &str) -> Result<Xml> {
    let instance = request.instance(state, id)?;
    Ok(Xml::with_element("DBInstance", |xml| write_instance(xml, request.cx, state, instance)))
}

/// Writes an instance as RDS shows it.
pub(super) fn write_instance(xml: &mut Xml, cx: &Context, state: &State, instance: &Instance) {
    let settings = &instance.settings;
    xml.text("DBInstanceIdentifier", &instance.id)
        .text("DBInstanceClass", &settings.class)
        .text("Engine", &settings.engine)
        .text("DBInstanceStatus", instance.shown_status())
        .maybe("MasterUsername", settings.master_username.as_ref())
        .maybe("DBName", settings.db_name.as_ref());
    if let (Some(port), Some(_)) = (instance.port, instance.created_at) {
        xml.within("Endpoint", |xml| {
            xml.text("Address", "localhost").text("Port", port).text("HostedZoneId", "Z00000000000000000000");
        });
    }
    xml.text("AllocatedStorage", settings.allocated_storage)
        .time("InstanceCreateTime", instance.created_at)
        .text("PreferredBackupWindow", &settings.backup_window)
        .text("BackupRetentionPeriod", settings.retention_days)
        .within("DBSecurityGroups", |_| {})
        .list("VpcSecurityGroups", "VpcSecurityGroupMembership", &settings.security_groups, |xml, group| {
            xml.text("VpcSecurityGroupId", group).text("Status", "active");
        })
        .list("DBParameterGroups", "DBParameterGroup", [&settings.parameter_group], |xml, group| {
            let status = match instance.parameter_status {
                ParameterStatus::InSync => "in-sync",
                ParameterStatus::PendingReboot => "pending-reboot",
            };
            xml.text("DBParameterGroupName", group).text("ParameterApplyStatus", status);
        })
        .text("AvailabilityZone", &settings.availability_zone)
        .within("DBSubnetGroup", |xml| {
            write_subnet_group(xml, state, &instance.region, &settings.subnet_group)
        })
        .text("PreferredMaintenanceWindow", &settings.maintenance_window)
        .within("PendingModifiedValues", |xml| write_pending_changes(xml, instance));
    if settings.is_postgres() {
        let latest = restore_window(state, &cx.clock, cx.pace, instance).map(|window| window.latest);
        xml.time("LatestRestorableTime", latest);
    }
    xml.text("MultiAZ", settings.multi_az)
        .text("EngineVersion", &settings.engine_version)
        .text("AutoMinorVersionUpgrade", settings.auto_minor_upgrade)
        .within("ReadReplicaDBInstanceIdentifiers", |_| {})
        .text("LicenseModel", &settings.license_model)
        .maybe("Iops", settings.iops)
        .maybe("StorageThroughput", settings.storage_throughput)
        .list("OptionGroupMemberships", "OptionGroupMembership", [&settings.option_group], |xml, group| {
            xml.text("OptionGroupName", group).text("Status", "in-sync");
        })
        .text("PubliclyAccessible", settings.public)
        .within("StatusInfos", |_| {})
        .text("StorageType", &settings.storage_type)
        .text("DbInstancePort", 0)
        .maybe("DBClusterIdentifier", settings.cluster.as_ref())
        .text("StorageEncrypted", settings.kms_key.is_some())
        .maybe("KmsKeyId", settings.kms_key.as_ref())
        .text("DbiResourceId", &instance.resource_id)
        .text("CACertificateIdentifier", &settings.ca)
        .within("DomainMemberships", |_| {})
        .text("CopyTagsToSnapshot", settings.copy_tags_to_snapshot)
        .text("MonitoringInterval", settings.monitoring_interval)
        .maybe("MonitoringRoleArn", settings.monitoring_role.as_ref())
        .text("DBInstanceArn", instance.arn())
        .text("IAMDatabaseAuthenticationEnabled", settings.iam_authentication)
        .text("DatabaseInsightsMode", settings.insights_mode.as_deref().unwrap_or("standard"))
        .text("PerformanceInsightsEnabled", settings.performance_insights)
        .maybe("PerformanceInsightsKMSKeyId", settings.insights_key.as_ref())
        .maybe("PerformanceInsightsRetentionPeriod", settings.insights_days)
        .values("EnabledCloudwatchLogsExports", "member", &settings.log_exports)
        .text("DeletionProtection", settings.deletion_protection)
        .within("AssociatedRoles", |_| {})
        .maybe("MaxAllocatedStorage", settings.max_allocated_storage);
    write_tags(xml, &instance.tags);
    xml.text("CustomerOwnedIpEnabled", false)
        .text("NetworkType", settings.network_type.as_deref().unwrap_or("IPV4"))
        .text("ActivityStreamStatus", "stopped");
    write_replica_arns(xml, replica_arns(state, instance));
    xml.text("BackupTarget", "region").time("AutomaticRestartTime", instance.automatic_restart());
    if instance.created_at.is_some() {
        xml.within("CertificateDetails", |xml| {
            xml.text("CAIdentifier", &settings.ca)
                .time("ValidTill", Some(instance.requested_at + TimeDelta::days(365)));
        });
    }
    if let Some(secret) = &instance.secret {
        xml.within("MasterUserSecret", |xml| {
            xml.text("SecretArn", secret.arn(&instance.region))
                .text("SecretStatus", secret_status(secret))
                .maybe("KmsKeyId", secret.kms_key.as_ref());
        });
    }
    xml.text("DedicatedLogVolume", settings.dedicated_log_volume)
        .text("IsStorageConfigUpgradeAvailable", false)
        .text("EngineLifecycleSupport", &settings.lifecycle_support);
}

fn secret_status(secret: &ManagedSecret) -> &'static str {
    match (secret.active, secret.rotating) {
        (true, _) => "active",
        (false, true) => "rotating",
        (false, false) => "creating",
    }
}

fn write_pending_changes(xml: &mut Xml, instance: &Instance) {
    let pending = &instance.pending;
    xml.maybe("DBInstanceClass", pending.class.as_ref())
        .maybe("AllocatedStorage", pending.allocated_storage)
        .maybe("MasterUserPassword", pending.verifier.as_ref().map(|_| "****"))
        .maybe("Port", pending.port)
        .maybe("BackupRetentionPeriod", pending.retention_days)
        .maybe("MultiAZ", pending.multi_az)
        .maybe("EngineVersion", pending.engine_version.as_ref())
        .maybe("Iops", pending.iops)
        .maybe("StorageThroughput", pending.storage_throughput)
        .maybe("DBInstanceIdentifier", pending.new_id.as_ref())
        .maybe("StorageType", pending.storage_type.as_ref())
        .maybe("CACertificateIdentifier", pending.ca.as_ref())
        .maybe("DBSubnetGroupName", pending.subnet_group.as_ref())
        .maybe("IAMDatabaseAuthenticationEnabled", pending.iam_authentication)
        .maybe("DedicatedLogVolume", pending.dedicated_log_volume);
}
