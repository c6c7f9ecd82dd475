//! The RDS API: what each action accepts, refuses, decides and shows. One file per noun.
//!
//! An action reads its parameters, decides under the lock of the state, and queues work; it never waits for work.

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
mod restore;
mod sharing;
mod snapshots;
mod subnet_groups;
pub(crate) mod subscriptions;
mod tags;
mod validate;

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::error::{ApiError, Result};
use crate::place;
use crate::record::{Instance, State};
use crate::stack::Shared;
use crate::wire::{Query, Xml};

pub(crate) use instances::secret_arn;
pub(crate) use snapshots::finish_copy_later;

pub(crate) const NAMESPACE: &str = "http://rds.amazonaws.com/doc/2014-10-31/";

pub(crate) const VERSION: &str = "2014-10-31";

/// PostgreSQL's port on RDS unless another is asked for.
pub(crate) const DEFAULT_PORT: u16 = 5432;

/// A call of one action.
pub(crate) struct Request<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) region: &'a str,
    pub(crate) query: &'a Query,
    pub(crate) now: DateTime<Utc>,
}

/// Does what `action` asks for.
pub(crate) async fn answer(request: &Request<'_>, action: &str) -> Result<Xml> {
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
        "DescribeDBSnapshotAttributes" => sharing::describe(request),
        "ModifyDBSnapshotAttribute" => sharing::modify(request),
        "RestoreDBInstanceFromDBSnapshot" => restore::restore_from_snapshot(request),
        "RestoreDBInstanceToPointInTime" => restore::restore_to_point_in_time(request),
        "DescribeDBInstanceAutomatedBackups" => automated_backups::describe(request),
        "DeleteDBInstanceAutomatedBackup" => automated_backups::delete(request),
        "AddTagsToResource" => tags::add(request),
        "RemoveTagsFromResource" => tags::remove(request),
        "ListTagsForResource" => tags::list(request),
        "DescribeEvents" => events::describe_events(request),
        "DescribeEventCategories" => subscriptions::describe_categories(request),
        "CreateEventSubscription" => subscriptions::create(request),
        "DescribeEventSubscriptions" => subscriptions::describe(request),
        "ModifyEventSubscription" => subscriptions::modify(request),
        "DeleteEventSubscription" => subscriptions::delete(request),
        "AddSourceIdentifierToSubscription" => subscriptions::add_source(request),
        "RemoveSourceIdentifierFromSubscription" => subscriptions::remove_source(request),
        "DescribeAccountAttributes" => account::describe_account_attributes(request),
        "CreateDBSubnetGroup" => subnet_groups::create(request),
        "DescribeDBSubnetGroups" => subnet_groups::describe(request),
        "DeleteDBSubnetGroup" => subnet_groups::delete(request),
        "CreateDBParameterGroup" => parameter_groups::create(request),
        "DescribeDBParameterGroups" => parameter_groups::describe(request),
        "DescribeDBParameters" => parameter_groups::describe_parameters(request).await,
        "ModifyDBParameterGroup" => parameter_groups::modify(request).await,
        "CopyDBParameterGroup" => parameter_groups::copy(request),
        "ResetDBParameterGroup" => parameter_groups::reset(request).await,
        "DeleteDBParameterGroup" => parameter_groups::delete(request),
        "DescribeDBEngineVersions" => catalogue::describe_engine_versions(request),
        "DescribeOrderableDBInstanceOptions" => catalogue::describe_orderable_options(request),
        "DescribeCertificates" => regions::describe_certificates(request),
        "DescribeOptionGroups" => regions::describe_option_groups(request),
        "DescribeSourceRegions" => regions::describe_source_regions(request),
        "DescribeDBLogFiles" => logs::describe(request),
        "DownloadDBLogFilePortion" => logs::download(request),
        "ModifyDBSubnetGroup" => subnet_groups::modify(request),
        "DescribeDBClusterSnapshots" => clusters::describe_db_cluster_snapshots(request),
        "CreateDBInstanceReadReplica" => instances::refuse_read_replica(request),
        "StartDBInstanceAutomatedBackupsReplication" => replication::start(request),
        "StopDBInstanceAutomatedBackupsReplication" => replication::stop(request),
        "DescribePendingMaintenanceActions" => {
            let mut xml = Xml::new();
            xml.within("PendingMaintenanceActions", |_| {});
            Ok(xml)
        }
        "DescribeDBClusters" => clusters::describe_db_clusters(request),
        _ => Err(ApiError::new(
            "InvalidAction",
            format!("Could not find operation {action} for version {VERSION}"),
        )),
    }
}

/// Whether an action's answer has no result element, only metadata.
pub(crate) fn has_no_result(action: &str) -> bool {
    ["AddTagsToResource", "RemoveTagsFromResource", "DeleteDBSubnetGroup", "DeleteDBParameterGroup"]
        .contains(&action)
}

impl Request<'_> {
    /// The identifier in a parameter, lowercased as RDS stores it; an ARN stands for its last part.
    fn identifier(&self, parameter: &str) -> Result<String> {
        Ok(self.local(self.query.required(parameter)?))
    }

    /// The name that a text stands for in this Region. The ARN of another Region's object stays whole, and is then
    /// not found.
    fn local(&self, text: &str) -> String {
        let is_elsewhere = place::of_arn(text).is_some_and(|place| place != self.region);
        if is_elsewhere { text.to_lowercase() } else { bare(text) }
    }

    fn instance<'s>(&self, state: &'s State, id: &str) -> Result<&'s Instance> {
        let region = state.regions.get(self.region);
        region.and_then(|region| region.instances.get(id)).ok_or_else(|| ApiError::no_instance(id))
    }

    fn instance_mut<'s>(&self, state: &'s mut State, id: &str) -> Result<&'s mut Instance> {
        let region = state.regions.get_mut(self.region);
        region.and_then(|region| region.instances.get_mut(id)).ok_or_else(|| ApiError::no_instance(id))
    }
}

/// `arn:aws:rds:eu-west-1:123456789012:snapshot:rds:app-2026` → `rds:app-2026`; anything else as it is. Lowercase.
fn bare(text: &str) -> String {
    let is_arn = text.starts_with("arn:");
    let name = if is_arn { text.splitn(7, ':').nth(6).unwrap_or(text) } else { text };
    name.to_lowercase()
}

/// A fresh resource id: `db-` and 26 capitals and digits.
fn resource_id() -> String {
    format!("db-{}", random_text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
}

fn random_text(alphabet: &[u8]) -> String {
    (0..26).map(|_| char::from(alphabet[rand::random::<u64>() as usize % alphabet.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_stands_for_its_last_part_even_with_colons_in_it() {
        assert_eq!(bare("arn:aws:rds:eu-west-1:123456789012:snapshot:rds:App-2026"), "rds:app-2026");
        assert_eq!(bare("Orders"), "orders");
    }
}
