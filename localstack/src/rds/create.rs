//! CreateDBInstance, and the settings that creating and restoring have in common.

use chrono::{DateTime, Utc};

use crate::error::{ApiError, Result};
use crate::lifecycle::Work;
use crate::rds::instances::write_instance;
use crate::rds::{
    Request, catalogue, keys, parameter_groups, random_text, regions, resource_id, subnet_groups, validate,
};
use crate::record::{
    Fate, Instance, ManagedSecret, Origin, ParameterStatus, Pending, Region, Settings, State, Tag,
};
use crate::stack::group_values;
use crate::status::Status;
use crate::storage;
use crate::windows::{random_daily, random_weekly};
use crate::wire::{Query, Xml};

pub(super) fn create_db_instance(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let id = validate::identifier("DBInstanceIdentifier", query.required("DBInstanceIdentifier")?, 63)?;
    let engine_name = query.required("Engine")?.to_ascii_lowercase();
    let class = query.required("DBInstanceClass")?;
    let cluster = query.get("DBClusterIdentifier").map(str::to_lowercase);
    let is_aurora = engine_name.starts_with("aurora");
    if is_aurora != cluster.is_some() {
        return Err(ApiError::combination(if is_aurora {
            "Aurora DB instances must belong to a DB cluster: specify DBClusterIdentifier."
        } else {
            "The engine of a DB cluster's member must be the cluster's."
        }));
    }
    let choice = catalogue::engine(request.shared, &engine_name, query.get("EngineVersion"))?;
    catalogue::class(class, &engine_name, &choice.version, choice.license)?;
    let (master_username, secret, verifier) = if is_aurora {
        (None, None, String::new())
    } else {
        let user = query.get("MasterUsername").ok_or_else(|| blank("MasterUsername"))?;
        validate::master_username(user)?;
        let (secret, password) = password(request)?;
        (Some(user.to_owned()), secret, verifier(&password))
    };
    let db_name = query.owned("DBName");
    if let Some(name) = &db_name
        && !is_aurora
    {
        validate::database_name(name)?;
    }
    let (backup_window, maintenance_window) = windows(query, None, request.now)?;
    let retention_days = validate::retention(query.number("BackupRetentionPeriod")?.unwrap_or(1))?;
    let asked_port = match query.number("Port")? {
        Some(port) => validate::port(port)?,
        None => choice.port,
    };
    let iops = query.number("Iops")?;
    let mut settings = Settings {
        license_model: query.get("LicenseModel").unwrap_or(choice.license).to_owned(),
        class: class.to_owned(),
        master_username,
        db_name,
        asked_port,
        allocated_storage: match query.number("AllocatedStorage")? {
            Some(size) => size,
            None if is_aurora => 1,
            None => return Err(missing("AllocatedStorage")),
        },
        max_allocated_storage: query.number("MaxAllocatedStorage")?,
        storage_type: query
            .owned("StorageType")
            .unwrap_or_else(|| if is_aurora { "aurora" } else { storage::default_type(iops) }.to_owned()),
        iops,
        storage_throughput: query.number("StorageThroughput")?,
        kms_key: storage_key(request)?,
        backup_window,
        maintenance_window,
        retention_days,
        security_groups: Vec::new(),
        parameter_group: String::new(),
        option_group: String::new(),
        subnet_group: String::new(),
        availability_zone: String::new(),
        multi_az: query.flag("MultiAZ")?.unwrap_or(false),
        public: false,
        auto_minor_upgrade: query.flag("AutoMinorVersionUpgrade")?.unwrap_or(true),
        deletion_protection: query.flag("DeletionProtection")?.unwrap_or(false),
        copy_tags_to_snapshot: query.flag("CopyTagsToSnapshot")?.unwrap_or(false),
        iam_authentication: query.flag("EnableIAMDatabaseAuthentication")?.unwrap_or(false),
        performance_insights: query.flag("EnablePerformanceInsights")?.unwrap_or(false),
        insights_key: None,
        insights_days: None,
        insights_mode: None,
        dedicated_log_volume: query.flag("DedicatedLogVolume")?.unwrap_or(false),
        monitoring_interval: 0,
        monitoring_role: None,
        network_type: query
            .get("NetworkType")
            .map(|text| validate::one_of("NetworkType", text, &["IPV4", "DUAL"]).map(str::to_owned))
            .transpose()?,
        log_exports: query.list("EnableCloudwatchLogsExports", "member").unwrap_or_default(),
        ca: regions::authority(query.get("CACertificateIdentifier").unwrap_or(regions::DEFAULT_CA))?
            .to_owned(),
        lifecycle_support: lifecycle_support(query),
        cluster,
        engine: engine_name,
        engine_version: choice.version,
    };
    observe(request, &mut settings)?;
    if !is_aurora {
        storage::check(&settings)?;
        storage::settle(&mut settings);
    }
    let tags = validate::tags(query)?.unwrap_or_default();
    validate::tag_count(&tags)?;
    request.shared.store.change(|state| {
        place(request, state, &mut settings)?;
        let origin = Origin::New { verifier };
        let instance = new_instance(request, id, settings, origin, tags, secret, None);
        add(request, state, instance)
    })
}

/// Fills in the groups, zone and access of a new or restored instance: what the request names, RDS's defaults
/// otherwise.
///
/// An instance is public unless it lies in a subnet group of the caller's own.
pub(super) fn place(request: &Request<'_>, state: &mut State, settings: &mut Settings) -> Result<()> {
    let query = request.query;
    let region = state.region_mut(request.region);
    let family = catalogue::family(&settings.engine, &settings.engine_version);
    settings.parameter_group = match query.get("DBParameterGroupName") {
        Some(name) => parameter_groups::of_family(request, region, name, &family)?,
        None => format!("default.{family}"),
    };
    settings.subnet_group = match query.get("DBSubnetGroupName") {
        Some(name) => subnet_groups::existing(region, name)?,
        None => "default".to_owned(),
    };
    let default_option_group = catalogue::option_group_of(&settings.engine, &settings.engine_version).name();
    settings.option_group = match query.get("OptionGroupName") {
        Some(name) if name != default_option_group => {
            return Err(ApiError::new(
                "OptionGroupNotFoundFault",
                format!("Specified OptionGroupName: {name} not found."),
            ));
        }
        _ => default_option_group,
    };
    settings.security_groups = match query.list("VpcSecurityGroupIds", "VpcSecurityGroupId") {
        Some(groups) => groups,
        None => vec![default_security_group(&subnet_groups::vpc(region, &settings.subnet_group))],
    };
    validate::security_groups(&settings.security_groups)?;
    let zones = catalogue::zones(request.region);
    settings.availability_zone = match query.get("AvailabilityZone") {
        Some(_) if settings.multi_az => {
            return Err(ApiError::combination(
                "Requesting a specific availability zone is not valid for Multi-AZ instances.",
            ));
        }
        Some(zone) if zones.iter().any(|known| known == zone) => zone.to_owned(),
        Some(zone) => return Err(ApiError::value(format!("Invalid Availability Zone: {zone}"))),
        None => zones[usize::from(rand::random::<u8>()) % zones.len()].clone(),
    };
    let is_default_network = settings.subnet_group == "default" && settings.cluster.is_none();
    settings.public = query.flag("PubliclyAccessible")?.unwrap_or(is_default_network);
    Ok(())
}

/// Puts a new instance in its Region and begins to make it.
pub(super) fn add(request: &Request<'_>, state: &mut State, mut instance: Instance) -> Result<Xml> {
    instance.parameters = Some(group_values(state, &instance));
    let region = state.region_mut(request.region);
    refuse_duplicate(region, &instance.id)?;
    if region.instances.len() >= request.shared.limits.instances {
        return Err(ApiError::new(
            "InstanceQuotaExceeded",
            "The request would exceed the allowed number of DB instances for this account.",
        ));
    }
    let (id, resource_id) = (instance.id.clone(), instance.resource_id.clone());
    region.instances.insert(id.clone(), instance);
    request.shared.queue(&resource_id, Work::Create);
    let mut xml = Xml::new();
    let instance = request.instance(state, &id)?;
    xml.within("DBInstance", |xml| write_instance(xml, request.shared, state, instance));
    Ok(xml)
}

pub(super) fn refuse_duplicate(region: &Region, id: &str) -> Result<()> {
    if region.instances.contains_key(id) {
        return Err(ApiError::new("DBInstanceAlreadyExists", "DB instance already exists"));
    }
    Ok(())
}

pub(super) fn new_instance(
    request: &Request<'_>,
    id: String,
    settings: Settings,
    origin: Origin,
    tags: Vec<Tag>,
    secret: Option<ManagedSecret>,
    fate: Option<Fate>,
) -> Instance {
    Instance {
        id,
        resource_id: resource_id(),
        backup_name: format!("ab-{}", random_text(b"abcdefghijklmnopqrstuvwxyz234567")),
        region: request.region.to_owned(),
        status: Status::Creating,
        shown: None,
        fate,
        origin,
        asleep: None,
        deletion: None,
        requested_at: request.now,
        created_at: None,
        port: None,
        settings,
        parameter_status: ParameterStatus::InSync,
        pending: Pending::default(),
        secret,
        tags,
        backup_considered_at: request.now,
        maintenance_considered_at: request.now,
        archived_until: None,
        stopped_at: None,
        stops: Vec::new(),
        storage_changed_at: None,
        parameters: None,
    }
}

/// The two windows of a request; what it leaves out is `inherited` (maintenance only) or made up so that they do not
/// meet.
pub(super) fn windows(
    query: &Query,
    inherited: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(String, String)> {
    let backup_text = query.owned("PreferredBackupWindow");
    let maintenance_text =
        query.get("PreferredMaintenanceWindow").or(inherited).map(|text| text.to_ascii_lowercase());
    let backup = backup_text.as_deref().map(validate::backup_window).transpose()?;
    let maintenance = maintenance_text.as_deref().map(validate::maintenance_window).transpose()?;
    validate::apart(backup, maintenance)?;
    let backup_text = backup_text.unwrap_or_else(|| random_daily(maintenance, now));
    let backup = Some(validate::backup_window(&backup_text)?);
    Ok((backup_text, maintenance_text.unwrap_or_else(|| random_weekly(backup, now))))
}

/// The master password: the caller's, or one that the stack makes up and keeps.
fn password(request: &Request<'_>) -> Result<(Option<ManagedSecret>, String)> {
    let query = request.query;
    let given = query.get("MasterUserPassword");
    if query.flag("ManageMasterUserPassword")?.unwrap_or(false) {
        if given.is_some() {
            return Err(managed_and_given());
        }
        let secret = managed_secret(request)?;
        let password = secret.password.clone();
        return Ok((Some(secret), password));
    }
    let given = given.ok_or_else(|| blank("MasterUserPassword"))?;
    validate::password(given)?;
    Ok((None, given.to_owned()))
}

pub(super) fn managed_and_given() -> ApiError {
    ApiError::combination("You can't specify MasterUserPassword when ManageMasterUserPassword is turned on.")
}

/// A password that the stack keeps, under the name that RDS gives its secrets.
pub(super) fn managed_secret(request: &Request<'_>) -> Result<ManagedSecret> {
    let kms_key = match request.query.get("MasterUserSecretKmsKeyId") {
        Some(key) => keys::named(request.region, key)?,
        None => keys::default_for(request.region, "secretsmanager"),
    };
    Ok(ManagedSecret {
        name: format!("rds!db-{:08x}-{:016x}", rand::random::<u32>(), rand::random::<u64>()),
        password: random_text(b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"),
        version: format!("{:032x}", rand::random::<u128>()),
        since: request.now,
        kms_key: Some(kms_key),
        active: false,
        rotating: false,
    })
}

/// What the database keeps of a password.
pub(super) fn verifier(password: &str) -> String {
    postgres_protocol::password::scram_sha_256(password.as_bytes())
}

/// The key of an encrypted instance: the one named, else RDS's own.
fn storage_key(request: &Request<'_>) -> Result<Option<String>> {
    let query = request.query;
    match (query.flag("StorageEncrypted")?.unwrap_or(false), query.get("KmsKeyId")) {
        (true, Some(key)) => keys::named(request.region, key).map(Some),
        (true, None) => Ok(Some(keys::default_for(request.region, "rds"))),
        (false, Some(_)) => Err(ApiError::combination(
            "You can't specify KmsKeyId for a DB instance that isn't encrypted: set StorageEncrypted to true.",
        )),
        (false, None) => Ok(None),
    }
}

/// Takes over what a request says about enhanced monitoring and Performance Insights.
pub(super) fn observe(request: &Request<'_>, settings: &mut Settings) -> Result<()> {
    let query = request.query;
    let interval = query.number("MonitoringInterval")?;
    let role = query.owned("MonitoringRoleArn");
    if interval.is_some() || role.is_some() {
        let interval = interval.unwrap_or(settings.monitoring_interval);
        // Switching it off takes the role along.
        let kept = || settings.monitoring_role.clone().filter(|_| interval > 0);
        let role = role.or_else(kept);
        validate::monitoring(interval, role.as_deref())?;
        (settings.monitoring_interval, settings.monitoring_role) = (interval, role);
    }
    if let Some(on) = query.flag("EnablePerformanceInsights")? {
        settings.performance_insights = on;
    }
    if let Some(mode) = query.get("DatabaseInsightsMode") {
        settings.insights_mode =
            Some(validate::one_of("DatabaseInsightsMode", mode, &["standard", "advanced"])?.to_owned());
    }
    let key = query.get("PerformanceInsightsKMSKeyId");
    let key = key.map(|key| keys::named(request.region, key)).transpose()?;
    let days =
        query.number("PerformanceInsightsRetentionPeriod")?.map(validate::insights_days).transpose()?;
    let is_advanced = settings.insights_mode.as_deref() == Some("advanced");
    if !settings.performance_insights {
        if key.is_some() || days.is_some() {
            return Err(ApiError::combination(
                "You can't specify PerformanceInsightsKMSKeyId or PerformanceInsightsRetentionPeriod when Performance \
                 Insights isn't enabled.",
            ));
        }
        if is_advanced {
            return Err(ApiError::combination(
                "To enable the Advanced mode of Database Insights, Performance Insights must be enabled.",
            ));
        }
        (settings.insights_key, settings.insights_days) = (None, None);
        return Ok(());
    }
    let default_key = || keys::default_for(request.region, "rds");
    settings.insights_key = key.or(settings.insights_key.take()).or_else(|| Some(default_key()));
    settings.insights_days = days.or(settings.insights_days).or(Some(if is_advanced { 465 } else { 7 }));
    if is_advanced && settings.insights_days.is_some_and(|days| days < 465) {
        return Err(ApiError::combination(
            "To enable the Advanced mode of Database Insights, the Performance Insights retention period must be at least \
             465 days.",
        ));
    }
    Ok(())
}

pub(super) fn default_security_group(vpc: &str) -> String {
    format!("sg-{}", vpc.trim_start_matches("vpc-"))
}

pub(super) fn lifecycle_support(query: &Query) -> String {
    query.get("EngineLifecycleSupport").unwrap_or("open-source-rds-extended-support").to_owned()
}

fn blank(parameter: &str) -> ApiError {
    ApiError::value(format!("The parameter {parameter} must be provided and must not be blank."))
}

fn missing(parameter: &str) -> ApiError {
    ApiError::new("MissingParameter", format!("The request must contain the parameter {parameter}."))
}
