//! DB parameter groups. The installed PostgreSQL determines which settings exist, and which values they accept.

use std::collections::BTreeMap;

use crate::actors::Work;
use crate::cluster::config::is_applied;
use crate::cluster::template::Setting;
use crate::error::{ApiError, Result};
use crate::formula::{Variables, evaluate_formula, is_formula};
use crate::rds::paging::{Filters, page};
use crate::rds::request::Request;
use crate::rds::{catalogue, validate};
use crate::resources::{ParameterGroup, ParameterStatus, arn};
use crate::store::Region;
use crate::wire::{Query, Xml};

/// AWS's quota in a Region.
pub(super) const MOST: usize = 50;

/// Settings that RDS adds to PostgreSQL's: name, description and default.
const RDS_SETTINGS: [(&str, &str, &str); 3] = [
    ("rds.force_ssl", "Force SSL connections.", "1"),
    (
        "rds.log_retention_period",
        "Amazon RDS will delete PostgreSQL log that are older than N minutes.",
        "4320",
    ),
    ("rds.logical_replication", "Enables logical decoding.", "0"),
];

pub(super) fn create_parameter_group(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let name = request.new_identifier("DBParameterGroupName", 255)?;
    let family = query.required("DBParameterGroupFamily")?.to_owned();
    let description = query.required("Description")?.to_owned();
    if !catalogue::is_family(request.cx, &family) {
        return Err(ApiError::invalid_value(format!(
            "ParameterGroupFamily {family} is not a valid parameter group family"
        )));
    }
    let tags = validate::requested_tags(query)?.unwrap_or_default();
    insert_group(request, ParameterGroup { name, family, description, values: BTreeMap::new(), tags })
}

fn insert_group(request: &Request<'_>, group: ParameterGroup) -> Result<Xml> {
    request.cx.store.change(|state| {
        let groups = &mut state.region_mut(request.region).parameter_groups;
        let name = group.name.clone();
        if groups.contains_key(&name) {
            let message = format!("Parameter group {name} already exists");
            return Err(ApiError::new("DBParameterGroupAlreadyExists", message));
        }
        if groups.len() >= MOST {
            let message = "A Region has at most 50 DB parameter groups.";
            return Err(ApiError::new("DBParameterGroupQuotaExceeded", message));
        }
        let xml = Xml::with_element("DBParameterGroup", |xml| write_group(xml, request.region, &group));
        groups.insert(name, group);
        Ok(xml)
    })
}

pub(super) fn describe_parameter_groups(request: &Request<'_>) -> Result<Xml> {
    Filters::parse(request.query, &[])?;
    let mut found: Vec<ParameterGroup> = request
        .cx
        .store
        .read(|state| state.region(request.region).parameter_groups.values().cloned().collect());
    found.extend(request.cx.engines.all().map(|engine| default_group(&format!("postgres{}", engine.major))));
    if let Some(asked) = request.query.get("DBParameterGroupName") {
        let asked = asked.to_lowercase();
        found.retain(|group| group.name == asked);
        if found.is_empty() {
            return Err(no_parameter_group(&asked));
        }
    }
    let page = page(request.query, found, |group| group.name.clone())?;
    Ok(page.to_xml("DBParameterGroups", "DBParameterGroup", |xml, group| {
        write_group(xml, request.region, group)
    }))
}

pub(super) fn delete_parameter_group(request: &Request<'_>) -> Result<Xml> {
    let name = request.query.required("DBParameterGroupName")?.to_lowercase();
    request.cx.store.change(|state| {
        let region = state.region_mut(request.region);
        if is_default(&name) {
            return Err(group_state(format!("The parameter group {name} cannot be deleted")));
        }
        if !region.parameter_groups.contains_key(&name) {
            return Err(no_parameter_group(&name));
        }
        if region.instances.values().any(|instance| instance.settings.parameter_group == name) {
            return Err(group_state("One or more database instances are still members of this parameter group, so the group cannot be deleted"));
        }
        region.parameter_groups.remove(&name);
        Ok(Xml::new())
    })
}

pub(super) async fn describe_parameters(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    Filters::parse(query, &[])?;
    let name = query.required("DBParameterGroupName")?.to_lowercase();
    let group = find_group(request, &name)?;
    let source = query.get("Source");
    if let Some(source) = source
        && !["user", "system", "engine-default"].contains(&source)
    {
        return Err(ApiError::invalid_value(format!(
            "Invalid source: {source}. Must be user, system or engine-default."
        )));
    }
    let settings = family_settings(request, &group.family).await?;
    let found: Vec<Parameter> = settings
        .into_iter()
        .map(|(name, setting)| {
            let value = group.values.get(&name).cloned();
            let source = match (&value, name.starts_with("rds.")) {
                (Some(_), _) => "user",
                (None, true) => "system",
                (None, false) => "engine-default",
            };
            Parameter { value: value.or_else(|| rds_default(&name, &group.family)), source, name, setting }
        })
        .filter(|parameter| source.is_none_or(|source| source == parameter.source))
        .collect();
    let page = page(query, found, |parameter| parameter.name.clone())?;
    let mut xml = Xml::with_list("Parameters", "Parameter", &page.items, write_parameter);
    page.write_marker(&mut xml);
    Ok(xml)
}

pub(super) async fn modify_parameter_group(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let name = query.required("DBParameterGroupName")?.to_lowercase();
    let group = find_group(request, &name)?;
    if is_default(&name) {
        return Err(group_state(format!("The parameter group {name} cannot be modified")));
    }
    let wanted = query.structures("Parameters", "Parameter");
    if wanted.is_empty() || wanted.len() > 20 {
        return Err(ApiError::invalid_value("A request modifies between 1 and 20 parameters."));
    }
    let settings = family_settings(request, &group.family).await?;
    let mut values = Vec::new();
    let mut needs_reboot = false;
    for parameter in wanted {
        let parameter_name = parameter.required("ParameterName")?.to_owned();
        let value = parameter.required("ParameterValue")?.to_owned();
        let setting = settings.get(&parameter_name).ok_or_else(|| {
            ApiError::invalid_value(format!("Could not find parameter with name: {parameter_name}"))
        })?;
        let immediate = is_immediate(&parameter, setting.context == "postmaster")?;
        needs_reboot |= !immediate;
        check_value(&parameter_name, &value, setting)?;
        values.push((parameter_name, value, immediate));
    }
    request.cx.store.change(|state| {
        let region = state.region_mut(request.region);
        let Some(group) = region.parameter_groups.get_mut(&name) else {
            return Err(no_parameter_group(&name));
        };
        group.values.extend(values.iter().map(|(name, value, _)| (name.clone(), value.clone())));
        let at_once: Vec<Change> = values
            .into_iter()
            .filter_map(|(name, value, immediate)| immediate.then_some((name, Some(value))))
            .collect();
        apply_to_members(request, region, &name, &at_once, needs_reboot);
        Ok(name_result(&name))
    })
}

fn name_result(name: &str) -> Xml {
    Xml::with_text("DBParameterGroupName", name)
}

/// The name of a parameter and its new value; `None` stands for the default.
type Change = (String, Option<String>);

/// Applies a change to the members of a group: immediately, or at their next start.
fn apply_to_members(
    request: &Request<'_>,
    region: &mut Region,
    group: &str,
    at_once: &[Change],
    needs_reboot: bool,
) {
    for instance in region.instances.values_mut() {
        if instance.settings.parameter_group != group || !instance.settings.is_postgres() {
            continue;
        }
        if needs_reboot {
            instance.parameter_status = ParameterStatus::PendingReboot;
        }
        let in_effect = instance.parameters.get_or_insert_default();
        for (name, value) in at_once {
            match value {
                Some(value) => in_effect.insert(name.clone(), value.clone()),
                None => in_effect.remove(name),
            };
        }
        if !at_once.is_empty() && instance.status.is_running() {
            request.cx.queue_work(&instance.resource_id, Work::Reload);
        }
    }
}

pub(super) async fn reset_parameter_group(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let name = request.resolve_identifier("DBParameterGroupName")?;
    let group = find_group(request, &name)?;
    if is_default(&name) {
        return Err(group_state(format!("The parameter group {name} cannot be modified")));
    }
    let named = query.structures("Parameters", "Parameter");
    let all = query.flag("ResetAllParameters")?.unwrap_or(named.is_empty());
    if all != named.is_empty() || named.len() > 20 {
        return Err(ApiError::invalid_combination(
            "Specify either ResetAllParameters or between 1 and 20 parameters to reset.",
        ));
    }
    let settings = family_settings(request, &group.family).await?;
    let mut wanted: Vec<(String, bool)> = Vec::new();
    let is_static = |name: &str| settings.get(name).is_some_and(|setting| setting.context == "postmaster");
    for parameter in named {
        let name = parameter.required("ParameterName")?;
        if !settings.contains_key(name) {
            return Err(ApiError::invalid_value(format!("Could not find parameter with name: {name}")));
        }
        wanted.push((name.to_owned(), is_immediate(&parameter, is_static(name))?));
    }
    if all {
        wanted = group.values.keys().map(|name| (name.clone(), !is_static(name))).collect();
    }
    request.cx.store.change(|state| {
        let region = state.region_mut(request.region);
        let Some(group) = region.parameter_groups.get_mut(&name) else {
            return Err(no_parameter_group(&name));
        };
        wanted.retain(|(name, _)| group.values.remove(name).is_some());
        let needs_reboot = wanted.iter().any(|(_, at_once)| !at_once);
        let at_once: Vec<Change> =
            wanted.into_iter().filter_map(|(name, at_once)| at_once.then_some((name, None))).collect();
        apply_to_members(request, region, &name, &at_once, needs_reboot);
        Ok(name_result(&name))
    })
}

/// Whether a parameter is applied immediately; by default it is applied at the next start.
fn is_immediate(parameter: &Query, is_static: bool) -> Result<bool> {
    match parameter.get("ApplyMethod").unwrap_or("pending-reboot") {
        "immediate" if is_static => {
            Err(ApiError::invalid_combination("cannot use immediate apply method for static parameter"))
        }
        "immediate" => Ok(true),
        "pending-reboot" => Ok(false),
        other => Err(ApiError::invalid_value(format!("Invalid apply method: {other}"))),
    }
}

pub(super) fn copy_parameter_group(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let source = request.resolve_identifier("SourceDBParameterGroupIdentifier")?;
    let target = request.new_identifier("TargetDBParameterGroupIdentifier", 255)?;
    let description = query.required("TargetDBParameterGroupDescription")?.to_owned();
    let tags = validate::requested_tags(query)?.unwrap_or_default();
    if is_default(&source) {
        return Err(ApiError::invalid_value(format!(
            "The default parameter group {source} cannot be copied."
        )));
    }
    let source = find_group(request, &source)?;
    insert_group(request, ParameterGroup { name: target, description, tags, ..source })
}

/// The name of the group that a request refers to, if it is of the family.
pub(super) fn group_of_family(
    request: &Request<'_>,
    region: &Region,
    name: &str,
    family: &str,
) -> Result<String> {
    let name = name.to_lowercase();
    let found = match region.parameter_groups.get(&name) {
        Some(group) => group.family.clone(),
        None => match name.strip_prefix("default.") {
            Some(default) if catalogue::is_family(request.cx, default) => default.to_owned(),
            _ => return Err(no_parameter_group(&name)),
        },
    };
    if found != family {
        return Err(ApiError::invalid_combination(format!(
            "The Parameter Group {name} with DBParameterGroupFamily {found} cannot be used for this instance. Please use \
             a Parameter Group with DBParameterGroupFamily {family}"
        )));
    }
    Ok(name)
}

struct Parameter {
    name: String,
    value: Option<String>,
    source: &'static str,
    setting: Setting,
}

fn find_group(request: &Request<'_>, name: &str) -> Result<ParameterGroup> {
    let own = request.cx.store.read(|state| state.region(request.region).parameter_groups.get(name).cloned());
    let default = || {
        let family = name.strip_prefix("default.")?;
        catalogue::is_family(request.cx, family).then(|| default_group(family))
    };
    own.or_else(default).ok_or_else(|| no_parameter_group(name))
}

/// The settings of a family's server; none for engines without a server.
async fn family_settings(request: &Request<'_>, family: &str) -> Result<BTreeMap<String, Setting>> {
    let major = family.strip_prefix("postgres").and_then(|major| major.parse().ok());
    let Some(engine) = major.and_then(|major| request.cx.engines.major(major)) else {
        return Ok(BTreeMap::new());
    };
    let template = request.cx.templates.get_or_make(&request.cx.home, engine).await;
    let template = template.map_err(|error| ApiError::new("InternalFailure", format!("{error:#}")))?;
    let mut settings = template.settings.clone();
    for (name, description, _) in RDS_SETTINGS {
        let is_switch = name != "rds.log_retention_period";
        settings.insert(
            name.to_owned(),
            Setting {
                description: description.to_owned(),
                context: if name == "rds.logical_replication" { "postmaster" } else { "sighup" }.to_owned(),
                kind: "integer".to_owned(),
                least: Some("0".to_owned()),
                greatest: Some(if is_switch { "1" } else { "10080" }.to_owned()),
                choices: Vec::new(),
            },
        );
    }
    Ok(settings)
}

fn rds_default(name: &str, family: &str) -> Option<String> {
    let (_, _, value) = RDS_SETTINGS.iter().find(|(known, ..)| *known == name)?;
    let is_old =
        family.strip_prefix("postgres").and_then(|major| major.parse::<u32>().ok()).is_some_and(|m| m < 15);
    Some(if name == "rds.force_ssl" && is_old { "0" } else { value }.to_owned())
}

/// Checks a value against its setting. Values with a unit are left to the server.
fn check_value(name: &str, value: &str, setting: &Setting) -> Result<()> {
    if !name.starts_with("rds.") && !is_applied(name) {
        // Accepted and stored: the stack decides this setting, but a caller's group may well name it.
        return Ok(());
    }
    let is_number = matches!(setting.kind.as_str(), "integer" | "real");
    let is_allowed = match setting.kind.as_str() {
        _ if is_number && is_formula(value) => {
            // Its value depends on the instance.
            let any = Variables { memory_bytes: 1e9, processors: 2.0, storage_bytes: 1e9, port: 5432.0 };
            evaluate_formula(value, &any).is_some()
        }
        "bool" => {
            let known = ["0", "1", "on", "off", "true", "false", "yes", "no"];
            known.iter().any(|known| known.eq_ignore_ascii_case(value))
        }
        "enum" => setting.choices.iter().any(|choice| choice.eq_ignore_ascii_case(value)),
        _ if is_number => {
            let bound = |bound: &Option<String>| bound.as_deref().and_then(|bound| bound.parse::<f64>().ok());
            match (bound(&setting.least), bound(&setting.greatest), value.parse::<f64>()) {
                (Some(least), Some(greatest), Ok(number)) => (least..=greatest).contains(&number),
                (Some(_), Some(_), Err(_)) => {
                    !name.starts_with("rds.") && !value.starts_with(|first: char| first.is_alphabetic())
                }
                _ => true,
            }
        }
        _ => true,
    };
    is_allowed.then_some(()).ok_or_else(|| {
        ApiError::invalid_value(format!(
            "Invalid parameter value: {value} for: {name} allowed values are: {}",
            allowed_values(setting)
        ))
    })
}

fn allowed_values(setting: &Setting) -> String {
    match (setting.kind.as_str(), &setting.least, &setting.greatest) {
        ("bool", ..) => "0,1".to_owned(),
        ("enum", ..) => setting.choices.join(","),
        (_, Some(least), Some(greatest)) => format!("{least}-{greatest}"),
        _ => String::new(),
    }
}

fn write_group(xml: &mut Xml, region: &str, group: &ParameterGroup) {
    xml.text("DBParameterGroupName", &group.name)
        .text("DBParameterGroupFamily", &group.family)
        .text("Description", &group.description)
        .text("DBParameterGroupArn", arn(region, "pg", &group.name));
}

fn write_parameter(xml: &mut Xml, parameter: &Parameter) {
    let setting = &parameter.setting;
    let kind = match setting.kind.as_str() {
        "bool" => "boolean",
        "real" => "float",
        "enum" => "list",
        other => other,
    };
    let is_static = setting.context == "postmaster";
    let allowed = Some(allowed_values(setting)).filter(|allowed| !allowed.is_empty());
    xml.text("ParameterName", &parameter.name)
        .maybe("ParameterValue", parameter.value.as_ref())
        .text("Description", &setting.description)
        .text("Source", parameter.source)
        .text("ApplyType", if is_static { "static" } else { "dynamic" })
        .text("DataType", kind)
        .maybe("AllowedValues", allowed)
        .text("IsModifiable", true)
        .text("ApplyMethod", if is_static { "pending-reboot" } else { "immediate" });
}

fn default_group(family: &str) -> ParameterGroup {
    ParameterGroup {
        name: format!("default.{family}"),
        family: family.to_owned(),
        description: format!("Default parameter group for {family}"),
        values: BTreeMap::new(),
        tags: Vec::new(),
    }
}

fn is_default(name: &str) -> bool {
    name.starts_with("default.")
}

fn group_state(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidDBParameterGroupState", message)
}

fn no_parameter_group(name: &str) -> ApiError {
    ApiError::new("DBParameterGroupNotFound", format!("DBParameterGroup not found: {name}"))
}
