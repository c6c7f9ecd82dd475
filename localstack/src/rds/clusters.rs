//! DescribeDBClusters. A cluster exists as long as an instance is a member of it; nothing else is behind it.

use std::collections::BTreeMap;

use crate::error::{ApiError, Result};
use crate::rds::paging::{Filters, page};
use crate::rds::request::{Request, local_name};
use crate::resources::{Instance, arn};
use crate::wire::Xml;

/// The stack has no cluster snapshots.
pub(super) fn describe_db_cluster_snapshots(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    Filters::parse(
        query,
        &["db-cluster-id", "db-cluster-snapshot-id", "db-cluster-resource-id", "engine", "snapshot-type"],
    )?;
    if let Some(name) = query.get("DBClusterSnapshotIdentifier") {
        return Err(ApiError::new(
            "DBClusterSnapshotNotFoundFault",
            format!("DBClusterSnapshot not found: {name}"),
        ));
    }
    let page = page(query, Vec::<String>::new(), Clone::clone)?;
    let mut xml = Xml::new();
    page.write_marker(&mut xml);
    xml.within("DBClusterSnapshots", |_| {});
    Ok(xml)
}

pub(super) fn describe_db_clusters(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let filters = Filters::parse(
        query,
        &["clone-group-id", "db-cluster-id", "db-cluster-resource-id", "domain", "engine"],
    )?;
    request.cx.store.read(|state| {
        let mut clusters: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
        for instance in state.region(request.region).instances.values() {
            if let Some(cluster) = &instance.settings.cluster {
                clusters.entry(cluster).or_default().push(instance);
            }
        }
        if let Some(asked) = query.get("DBClusterIdentifier").map(local_name) {
            clusters.retain(|id, _| *id == asked);
            if clusters.is_empty() {
                return Err(ApiError::new("DBClusterNotFoundFault", format!("DBCluster {asked} not found.")));
            }
        }
        let found = clusters
            .into_iter()
            .filter(|(id, members)| {
                filters.admit("db-cluster-id", &[id, &arn(request.region, "cluster", id)])
                    && filters.admit("engine", &[&members[0].settings.engine])
                    && filters.admit("clone-group-id", &[])
                    && filters.admit("db-cluster-resource-id", &[])
                    && filters.admit("domain", &[])
            })
            .collect();
        let page = page(query, found, |(id, _)| (*id).to_owned())?;
        Ok(page.to_xml("DBClusters", "DBCluster", |xml, (id, members)| {
            let settings = &members[0].settings;
            let numbered = members.iter().enumerate();
            xml.text("AllocatedStorage", 1)
                .text("BackupRetentionPeriod", settings.retention_days)
                .text("DBClusterIdentifier", id)
                .text("Status", "available")
                .text("MultiAZ", members.len() > 1)
                .text("Engine", &settings.engine)
                .text("EngineVersion", &settings.engine_version)
                .text("Port", settings.asked_port)
                .text("PreferredBackupWindow", &settings.backup_window)
                .text("PreferredMaintenanceWindow", &settings.maintenance_window)
                .list("DBClusterMembers", "DBClusterMember", numbered, |xml, (number, member)| {
                    xml.text("DBInstanceIdentifier", &member.id)
                        .text("IsClusterWriter", number == 0)
                        .text("DBClusterParameterGroupStatus", "in-sync")
                        .text("PromotionTier", 1);
                })
                .text("StorageEncrypted", settings.kms_key.is_some())
                .text("DBClusterArn", arn(request.region, "cluster", id))
                .text("EngineMode", "provisioned")
                .text("DeletionProtection", false)
                .within("TagList", |_| {});
        }))
    })
}
