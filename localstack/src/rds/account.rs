//! DescribeAccountAttributes: quotas, and how much of them is used in the Region.

use crate::error::Result;
use crate::rds::request::Request;
use crate::rds::{parameter_groups, subnet_groups};
use crate::resources::SnapshotKind;
use crate::wire::Xml;

pub(super) fn describe_account_attributes(request: &Request<'_>) -> Result<Xml> {
    let limits = request.cx.limits;
    let quotas = request.cx.store.read(|state| {
        let region = state.region(request.region);
        let manual = region.snapshots.values().filter(|s| s.kind == SnapshotKind::Manual).count();
        let storage: i64 =
            region.instances.values().map(|instance| instance.settings.allocated_storage).sum();
        let subnets = region.subnet_groups.values().map(|group| group.subnets.len()).max().unwrap_or(3);
        [
            ("DBInstances", region.instances.len(), limits.instances),
            ("ReservedDBInstances", 0, 40),
            ("AllocatedStorage", usize::try_from(storage).unwrap_or(0), 100_000),
            ("DBSecurityGroups", 0, 25),
            ("AuthorizationsPerDBSecurityGroup", 0, 20),
            ("DBParameterGroups", region.parameter_groups.len(), parameter_groups::MOST),
            ("ManualSnapshots", manual, limits.manual_snapshots),
            ("EventSubscriptions", 0, 20),
            ("DBSubnetGroups", region.subnet_groups.len() + 1, subnet_groups::MOST),
            ("OptionGroups", 0, 20),
            ("SubnetsPerDBSubnetGroup", subnets, subnet_groups::MOST_SUBNETS),
            ("ReadReplicasPerMaster", 0, 15),
            ("DBClusters", 0, 40),
            ("DBClusterParameterGroups", 0, 50),
            ("DBClusterRoles", 0, 5),
            ("DBInstanceRoles", 0, 5),
            ("ManualClusterSnapshots", 0, 100),
            ("CustomEndpointsPerDBCluster", 0, 5),
        ]
    });
    Ok(Xml::with_list("AccountQuotas", "AccountQuota", quotas, |xml, (name, used, most)| {
        xml.text("AccountQuotaName", name).text("Used", used).text("Max", most);
    }))
}
