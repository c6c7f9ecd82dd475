//! DB subnet groups. There is no network behind them: a subnet is a name, and its Availability Zone follows from its
//! position in the list. Every Region has the group `default`.

use crate::error::{ApiError, Result};
use crate::rds::paging::{Filters, page};
use crate::rds::request::Request;
use crate::rds::{catalogue, validate};
use crate::resources::{SubnetGroup, arn};
use crate::store::{Region, State};
use crate::wire::Xml;

/// The VPC of the group `default`, and of the groups that callers make.
const VPC: &str = "vpc-0a1b2c3d4e5f60718";
const DEFAULT_SUBNETS: [&str; 3] =
    ["subnet-0aaaaaaaaaaaaaaa1", "subnet-0bbbbbbbbbbbbbbb2", "subnet-0ccccccccccccccc3"];

/// AWS's quota in a Region.
pub(super) const MOST: usize = 50;
pub(super) const MOST_SUBNETS: usize = 20;

pub(super) fn create_subnet_group(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let name = valid_group_name("DBSubnetGroupName", query.required("DBSubnetGroupName")?)?;
    let description = query.required("DBSubnetGroupDescription")?.to_owned();
    let subnets = requested_subnets(request)?;
    let tags = validate::requested_tags(query)?.unwrap_or_default();
    request.cx.store.change(|state| {
        let region = state.region_mut(request.region);
        if name == "default" || region.subnet_groups.contains_key(&name) {
            return Err(ApiError::new(
                "DBSubnetGroupAlreadyExists",
                format!("The DB subnet group '{name}' already exists."),
            ));
        }
        if region.subnet_groups.len() + 1 >= MOST {
            let message = "A Region has at most 50 DB subnet groups.";
            return Err(ApiError::new("DBSubnetGroupQuotaExceeded", message));
        }
        let group = SubnetGroup { name: name.clone(), description, vpc: VPC.to_owned(), subnets, tags };
        region.subnet_groups.insert(name.clone(), group);
        Ok(group_result(state, request.region, &name))
    })
}

pub(super) fn modify_subnet_group(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let name = request.resolve_identifier("DBSubnetGroupName")?;
    let subnets = requested_subnets(request)?;
    request.cx.store.change(|state| {
        let region = state.region_mut(request.region);
        if name == "default" {
            return Err(group_state("The group default cannot be modified."));
        }
        let group = region.subnet_groups.get_mut(&name).ok_or_else(|| no_subnet_group(&name))?;
        group.subnets = subnets;
        if let Some(description) = query.owned("DBSubnetGroupDescription") {
            group.description = description;
        }
        Ok(group_result(state, request.region, &name))
    })
}

fn group_result(state: &State, region: &str, name: &str) -> Xml {
    Xml::with_element("DBSubnetGroup", |xml| write_subnet_group(xml, state, region, name))
}

/// The subnets of a request, which must lie in at least two zones.
fn requested_subnets(request: &Request<'_>) -> Result<Vec<String>> {
    let subnets = request
        .query
        .list("SubnetIds", "SubnetIdentifier")
        .ok_or_else(|| ApiError::missing_parameter("SubnetIds"))?;
    if let Some(wrong) = subnets.iter().find(|subnet| !validate::is_resource_id(subnet, "subnet-")) {
        let message = format!("Some input subnets in :[{wrong}] are invalid.");
        return Err(ApiError::new("InvalidSubnet", message));
    }
    if subnets.len() < 2 {
        return Err(ApiError::new(
            "DBSubnetGroupDoesNotCoverEnoughAZs",
            "The DB subnet group doesn't meet Availability Zone (AZ) coverage requirement. Current AZ coverage: 1. Add \
             subnets to cover at least 2 AZs.",
        ));
    }
    if subnets.len() > MOST_SUBNETS {
        return Err(ApiError::new("DBSubnetQuotaExceededFault", "A DB subnet group has at most 20 subnets."));
    }
    Ok(subnets)
}

pub(super) fn describe_subnet_groups(request: &Request<'_>) -> Result<Xml> {
    Filters::parse(request.query, &[])?;
    request.cx.store.read(|state| {
        let groups = &state.region(request.region).subnet_groups;
        let mut names: Vec<&str> = groups.keys().map(String::as_str).collect();
        names.push("default");
        if let Some(asked) = request.query.get("DBSubnetGroupName") {
            let asked = asked.to_lowercase();
            names.retain(|name| *name == asked);
            if names.is_empty() {
                return Err(no_subnet_group(&asked));
            }
        }
        let page = page(request.query, names, |name| (*name).to_owned())?;
        Ok(page.to_xml("DBSubnetGroups", "DBSubnetGroup", |xml, name| {
            write_subnet_group(xml, state, request.region, name);
        }))
    })
}

pub(super) fn delete_subnet_group(request: &Request<'_>) -> Result<Xml> {
    let name = request.query.required("DBSubnetGroupName")?.to_lowercase();
    request.cx.store.change(|state| {
        let region = state.region_mut(request.region);
        if name == "default" {
            return Err(group_state("The group default cannot be deleted."));
        }
        if !region.subnet_groups.contains_key(&name) {
            return Err(no_subnet_group(&name));
        }
        if let Some(user) = region.instances.values().find(|instance| instance.settings.subnet_group == name) {
            return Err(group_state(
                format!("Cannot delete the subnet group '{name}' because at least one database instance: {} is still using it.", user.id),
            ));
        }
        region.subnet_groups.remove(&name);
        Ok(Xml::new())
    })
}

/// The name of a group that a request refers to.
pub(super) fn existing_group(region: &Region, name: &str) -> Result<String> {
    let name = name.to_lowercase();
    if name == "default" || region.subnet_groups.contains_key(&name) {
        Ok(name)
    } else {
        Err(no_subnet_group(&name))
    }
}

/// The VPC of a group.
pub(super) fn vpc_of(region: &Region, group: &str) -> String {
    region.subnet_groups.get(group).map_or(VPC, |group| &group.vpc).to_owned()
}

pub(super) fn write_subnet_group(xml: &mut Xml, state: &State, region: &str, name: &str) {
    let group = state.region(region).subnet_groups.get(name);
    let subnets: Vec<&str> = match group {
        Some(group) => group.subnets.iter().map(String::as_str).collect(),
        None => DEFAULT_SUBNETS.to_vec(),
    };
    let zones = catalogue::zones_of(region);
    xml.text("DBSubnetGroupName", name)
        .text("DBSubnetGroupDescription", group.map_or("default", |group| &group.description))
        .text("VpcId", group.map_or(VPC, |group| &group.vpc))
        .text("SubnetGroupStatus", "Complete")
        .list("Subnets", "Subnet", subnets.iter().zip(zones.iter().cycle()), |xml, (subnet, zone)| {
            xml.text("SubnetIdentifier", subnet)
                .within("SubnetAvailabilityZone", |xml| {
                    xml.text("Name", zone);
                })
                .within("SubnetOutpost", |_| {})
                .text("SubnetStatus", "Active");
        })
        .text("DBSubnetGroupArn", arn(region, "subgrp", name))
        .values("SupportedNetworkTypes", "member", ["IPV4"]);
}

fn group_state(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidDBSubnetGroupStateFault", message)
}

fn no_subnet_group(name: &str) -> ApiError {
    ApiError::new("DBSubnetGroupNotFoundFault", format!("DB subnet group '{name}' does not exist."))
}

/// The name of a subnet group in lower case. It may contain periods, spaces and underscores.
fn valid_group_name(parameter: &str, text: &str) -> Result<String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_. ".contains(&byte));
    if is_plain && text.len() <= 255 {
        return Ok(text.to_lowercase());
    }
    Err(ApiError::invalid_value(format!(
        "The parameter {parameter} must contain only ASCII letters, digits, hyphens, underscores, periods and spaces."
    )))
}
