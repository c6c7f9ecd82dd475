//! The RDS API: what each action accepts, refuses, decides and returns. One file per noun.
//!
//! An action reads its parameters, decides while it holds the lock of the state, and queues work; it never waits for
//! work.

mod account;
mod automated_backups;
mod catalogue;
mod clusters;
mod create;
mod events;
mod instances;
mod keys;
mod logs;
mod modify;
mod paging;
mod parameter_groups;
mod regions;
mod replication;
mod request;
mod restore;
mod sharing;
mod snapshots;
mod subnet_groups;
mod subscriptions;
mod tags;
mod validate;

use crate::error::{ApiError, Result};
use crate::wire::Xml;

pub(crate) use request::Request;
pub(crate) use subscriptions::check_event_category;

pub(crate) const NAMESPACE: &str = "http://rds.amazonaws.com/doc/2014-10-31/";

pub(crate) const VERSION: &str = "2014-10-31";

/// Performs an action.
pub(crate) async fn perform_action(request: &Request<'_>, action: &str) -> Result<Xml> {
    match action {
        "CreateDBInstance" => create::create_db_instance(request),
        "DescribeDBInstances" => instances::describe_db_instances(request),
        "ModifyDBInstance" => modify::modify_db_instance(request),
        "DeleteDBInstance" => instances::delete_db_instance(request),
        "StartDBInstance" => instances::start_db_instance(request),
        "StopDBInstance" => instances::stop_db_instance(request),
        "RebootDBInstance" => instances::reboot_db_instance(request),
        "CreateDBSnapshot" => snapshots::create_db_snapshot(request),
        "DescribeDBSnapshots" => snapshots::describe_db_snapshots(request),
        "CopyDBSnapshot" => snapshots::copy_db_snapshot(request),
        "DeleteDBSnapshot" => snapshots::delete_db_snapshot(request),
        "ModifyDBSnapshot" => snapshots::modify_db_snapshot(request),
        "DescribeDBSnapshotAttributes" => sharing::describe_db_snapshot_attributes(request),
        "ModifyDBSnapshotAttribute" => sharing::modify_db_snapshot_attribute(request),
        "RestoreDBInstanceFromDBSnapshot" => restore::restore_from_snapshot(request),
        "RestoreDBInstanceToPointInTime" => restore::restore_to_point_in_time(request),
        "DescribeDBInstanceAutomatedBackups" => automated_backups::describe_automated_backups(request),
        "DeleteDBInstanceAutomatedBackup" => automated_backups::delete_automated_backup(request),
        "AddTagsToResource" => tags::add_tags(request),
        "RemoveTagsFromResource" => tags::remove_tags(request),
        "ListTagsForResource" => tags::list_tags(request),
        "DescribeEvents" => events::describe_events(request),
        "DescribeEventCategories" => subscriptions::describe_event_categories(request),
        "CreateEventSubscription" => subscriptions::create_subscription(request),
        "DescribeEventSubscriptions" => subscriptions::describe_subscriptions(request),
        "ModifyEventSubscription" => subscriptions::modify_subscription(request),
        "DeleteEventSubscription" => subscriptions::delete_subscription(request),
        "AddSourceIdentifierToSubscription" => subscriptions::add_source(request),
        "RemoveSourceIdentifierFromSubscription" => subscriptions::remove_source(request),
        "DescribeAccountAttributes" => account::describe_account_attributes(request),
        "CreateDBSubnetGroup" => subnet_groups::create_subnet_group(request),
        "DescribeDBSubnetGroups" => subnet_groups::describe_subnet_groups(request),
        "DeleteDBSubnetGroup" => subnet_groups::delete_subnet_group(request),
        "CreateDBParameterGroup" => parameter_groups::create_parameter_group(request),
        "DescribeDBParameterGroups" => parameter_groups::describe_parameter_groups(request),
        "DescribeDBParameters" => parameter_groups::describe_parameters(request).await,
        "ModifyDBParameterGroup" => parameter_groups::modify_parameter_group(request).await,
        "CopyDBParameterGroup" => parameter_groups::copy_parameter_group(request),
        "ResetDBParameterGroup" => parameter_groups::reset_parameter_group(request).await,
        "DeleteDBParameterGroup" => parameter_groups::delete_parameter_group(request),
        "DescribeDBEngineVersions" => catalogue::describe_engine_versions(request),
        "DescribeOrderableDBInstanceOptions" => catalogue::describe_orderable_options(request),
        "DescribeCertificates" => regions::describe_certificates(request),
        "DescribeOptionGroups" => regions::describe_option_groups(request),
        "DescribeSourceRegions" => regions::describe_source_regions(request),
        "DescribeDBLogFiles" => logs::describe_log_files(request),
        "DownloadDBLogFilePortion" => logs::download_log_portion(request),
        "ModifyDBSubnetGroup" => subnet_groups::modify_subnet_group(request),
        "DescribeDBClusterSnapshots" => clusters::describe_db_cluster_snapshots(request),
        "CreateDBInstanceReadReplica" => instances::refuse_read_replica(request),
        "StartDBInstanceAutomatedBackupsReplication" => replication::start_replication(request),
        "StopDBInstanceAutomatedBackupsReplication" => replication::stop_replication(request),
        "DescribePendingMaintenanceActions" => Ok(Xml::with_element("PendingMaintenanceActions", |_| {})),
        "DescribeDBClusters" => clusters::describe_db_clusters(request),
        _ => Err(ApiError::no_operation(action, VERSION)),
    }
}

/// Whether the answer to an action has no result element, only metadata.
pub(crate) fn has_no_result(action: &str) -> bool {
    ["AddTagsToResource", "RemoveTagsFromResource", "DeleteDBSubnetGroup", "DeleteDBParameterGroup"]
        .contains(&action)
}
