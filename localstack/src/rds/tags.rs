//! Tags of resources, by their ARNs.

use crate::error::{ApiError, Result};
use crate::rds::paging::Filters;
use crate::rds::request::{Request, local_name};
use crate::rds::{catalogue, validate};
use crate::resources::Tag;
use crate::scope;
use crate::store::{Region, State};
use crate::wire::Xml;

pub(super) fn add_tags(request: &Request<'_>) -> Result<Xml> {
    let name = request.query.required("ResourceName")?;
    let given =
        validate::requested_tags(request.query)?.ok_or_else(|| ApiError::missing_parameter("Tags"))?;
    request.cx.store.change(|state| {
        let tags = find_tags(request, state, name)?;
        let mut all: Vec<Tag> =
            tags.iter().filter(|tag| given.iter().all(|new| new.key != tag.key)).cloned().collect();
        all.extend(given);
        validate::check_tag_count(&all)?;
        all.sort();
        *tags = all;
        Ok(Xml::new())
    })
}

pub(super) fn remove_tags(request: &Request<'_>) -> Result<Xml> {
    let name = request.query.required("ResourceName")?;
    let keys =
        request.query.list("TagKeys", "member").ok_or_else(|| ApiError::missing_parameter("TagKeys"))?;
    request.cx.store.change(|state| {
        find_tags(request, state, name)?.retain(|tag| !keys.contains(&tag.key));
        Ok(Xml::new())
    })
}

pub(super) fn list_tags(request: &Request<'_>) -> Result<Xml> {
    Filters::parse(request.query, &[])?;
    let name = request.query.required("ResourceName")?;
    let tags = if is_built_in(request, name) {
        Vec::new()
    } else {
        // A change that changes nothing, because finding the tags needs the state to be mutable.
        request.cx.store.change(|state| find_tags(request, state, name).cloned())?
    };
    let mut xml = Xml::new();
    write_tags(&mut xml, &tags);
    Ok(xml)
}

pub(super) fn write_tags(xml: &mut Xml, tags: &[Tag]) {
    xml.list("TagList", "Tag", tags, |xml, tag| {
        xml.text("Key", &tag.key).text("Value", &tag.value);
    });
}

/// Whether an ARN names something that nobody made, and that therefore has no tags: a default group, or a cluster.
fn is_built_in(request: &Request<'_>, arn: &str) -> bool {
    if scope::scope_of_arn(arn).as_deref() != Some(request.region) {
        return false;
    }
    let name = local_name(arn);
    match arn.split(':').nth(5) {
        Some("subgrp") => name == "default",
        Some("pg") => {
            let family = name.strip_prefix("default.");
            family.is_some_and(|family| catalogue::is_family(request.cx, family))
        }
        Some("og") => catalogue::list_option_groups(request.cx).iter().any(|group| group.name() == name),
        Some("cluster") => request.cx.store.read(|state| {
            let mut instances = state.region(request.region).instances.values();
            instances.any(|instance| instance.settings.cluster.as_deref() == Some(name.as_str()))
        }),
        _ => false,
    }
}

/// The tags of the resource with that ARN.
fn find_tags<'s>(request: &Request<'_>, state: &'s mut State, name: &str) -> Result<&'s mut Vec<Tag>> {
    let invalid = || {
        ApiError::invalid_value(format!(
            "The specified resource name does not match an RDS resource in this region: {name}"
        ))
    };
    let parts: Vec<&str> = name.splitn(7, ':').collect();
    let ["arn", _, "rds", _, _, kind, _] = parts[..] else { return Err(invalid()) };
    if scope::scope_of_arn(name).as_deref() != Some(request.region) {
        return Err(invalid());
    }
    let id = local_name(name);
    let region: &mut Region = state.region_mut(request.region);
    let found = match kind {
        "db" => region.instances.get_mut(&id).map(|instance| &mut instance.tags),
        "snapshot" => region.snapshots.get_mut(&id).map(|snapshot| &mut snapshot.tags),
        "subgrp" => region.subnet_groups.get_mut(&id).map(|group| &mut group.tags),
        "pg" => region.parameter_groups.get_mut(&id).map(|group| &mut group.tags),
        "es" => region.subscriptions.get_mut(&id).map(|one| &mut one.tags),
        "auto-backup" => {
            let retained = region.retained.values_mut().map(|kept| &mut kept.instance);
            let mut all = region.instances.values_mut().chain(retained);
            all.find(|instance| instance.backup_name == id).map(|instance| &mut instance.tags)
        }
        _ => None,
    };
    found.ok_or_else(|| match kind {
        "db" => ApiError::no_instance(&id),
        "snapshot" => ApiError::no_snapshot(&id),
        _ => invalid(),
    })
}
