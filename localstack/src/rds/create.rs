//! CreateDBInstance, and what creating and restoring have in common.

use chrono::{DateTime, Utc};

use crate::actors::Work;
use crate::error::{ApiError, Result};
use crate::ids::{random_backup_name, random_resource_id, random_text};
use crate::instance_status::Status;
use crate::rds::instances::{instance_result, refuse_duplicate};
use crate::rds::request::Request;
use crate::rds::{catalogue, keys, parameter_groups, regions, subnet_groups, validate};
use crate::resources::{Instance, ManagedSecret, Origin, ParameterStatus, Pending, Settings, Tag};
use crate::storage;
use crate::store::{Region, State};
use crate::windows::{random_daily, random_weekly};
use crate::wire::{Query, Xml};

pub(super) fn create_db_instance(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let id = request.new_identifier("DBInstanceIdentifier", 63)?;
    let engine_name = query.required("Engine")?.to_ascii_lowercase();
    let class = query.required("DBInstanceClass")?;
    let cluster = query.get("DBClusterIdentifier").map(str::to_lowercase);
    let is_aurora = engine_name.starts_with("aurora");
    if is_aurora != cluster.is_some() {
        return Err(ApiError::invalid_combination(if is_aurora {
            "Aurora DB instances must belong to a DB cluster: specify DBClusterIdentifier."
        } else {
            "The engine of a DB cluster's member must be the cluster's."
        }));
    }
    let choice = catalogue::choose_engine(request.cx, &engine_name, query.get("EngineVersion"))?;
    catalogue::check_class(class, &engine_name, &choice.version, choice.license)?;
    let (master_username, secret, verifier) = if is_aurora {
        (None, None, String::new())
    } else {
        let user = query.get("MasterUsername").ok_or_else(|| blank_parameter("MasterUsername"))?;
        validate::check_master_username(user)?;
        let (secret, password) = master_password(request)?;
        (Some(user.to_owned()), secret, scram_verifier(&password))
    };
    let db_name = query.owned("DBName");
    if let Some(name) = &db_name
        && !is_aurora
    {
        validate::check_database_name(name)?;
    }
    let iops = query.number("Iops")?;
    let defaults = Settings {
        engine: engine_name,
        engine_version: choice.version,
        class: class.to_owned(),
        license_model: choice.license.to_owned(),
        master_username,
        db_name,
        asked_port: choice.port,
        allocated_storage: match query.number("AllocatedStorage")? {
            Some(size) => size,
            None if is_aurora => 1,
            None => return Err(ApiError::missing_parameter("AllocatedStorage")),
        },
        storage_type: query
            .owned("StorageType")
            .unwrap_or_else(|| if is_aurora { "aurora" } else { storage::default_type(iops) }.to_owned()),
        iops,
        kms_key: storage_key(request)?,
        retention_days: 1,
        auto_minor_upgrade: true,
        cluster,
        ..Settings::default()
    };
    let mut settings = requested_settings(request, defaults)?;
    if !is_aurora {
        storage::check_storage(&settings)?;
        storage::fill_in_performance(&mut settings);
    }
    let tags = validate::requested_tags(query)?.unwrap_or_default();
    request.cx.store.change(|state| {
        add_instance(
            request,
            state,
            NewInstance { id, settings, origin: Origin::New { verifier }, tags, secret },
        )
    })
}

/// The settings of a new or restored instance: what the request names, `defaults` otherwise. Some settings are never
/// inherited, and fall back to RDS's own defaults.
pub(super) fn requested_settings(request: &Request<'_>, defaults: Settings) -> Result<Settings> {
    let query = request.query;
    let (backup_window, maintenance_window) = requested_windows(query, request.now)?;
    let network_type = query.get("NetworkType");
    let network_type =
        network_type.map(|text| validate::check_one_of("NetworkType", text, &["IPV4", "DUAL"]));
    let mut settings = Settings {
        license_model: query.owned("LicenseModel").unwrap_or(defaults.license_model),
        asked_port: query.number("Port")?.map_or(Ok(defaults.asked_port), validate::check_port)?,
        max_allocated_storage: query.number("MaxAllocatedStorage")?,
        storage_throughput: query.number("StorageThroughput")?,
        backup_window,
        maintenance_window,
        retention_days: validate::check_retention(
            query.number("BackupRetentionPeriod")?.unwrap_or(defaults.retention_days),
        )?,
        multi_az: query.flag("MultiAZ")?.unwrap_or(false),
        auto_minor_upgrade: query.flag("AutoMinorVersionUpgrade")?.unwrap_or(defaults.auto_minor_upgrade),
        deletion_protection: query.flag("DeletionProtection")?.unwrap_or(false),
        copy_tags_to_snapshot: query.flag("CopyTagsToSnapshot")?.unwrap_or(false),
        iam_authentication: query.flag("EnableIAMDatabaseAuthentication")?.unwrap_or(false),
        performance_insights: query.flag("EnablePerformanceInsights")?.unwrap_or(false),
        insights_key: None,
        insights_days: None,
        insights_mode: None,
        dedicated_log_volume: query.flag("DedicatedLogVolume")?.unwrap_or(defaults.dedicated_log_volume),
        monitoring_interval: 0,
        monitoring_role: None,
        network_type: network_type.transpose()?.map(str::to_owned),
        log_exports: query.list("EnableCloudwatchLogsExports", "member").unwrap_or_default(),
        ca: regions::existing_authority(query.get("CACertificateIdentifier").unwrap_or(regions::DEFAULT_CA))?
            .to_owned(),
        lifecycle_support: query
            .get("EngineLifecycleSupport")
            .unwrap_or("open-source-rds-extended-support")
            .to_owned(),
        ..defaults
    };
    change_monitoring(request, &mut settings)?;
    Ok(settings)
}

/// Fills in the groups, zone and access of a new or restored instance: what the request names, RDS's defaults
/// otherwise.
///
/// An instance is public unless it lies in a subnet group that the caller made.
fn assign_network(request: &Request<'_>, region: &Region, settings: &mut Settings) -> Result<()> {
    let query = request.query;
    let family = catalogue::parameter_group_family(&settings.engine, &settings.engine_version);
    settings.parameter_group = match query.get("DBParameterGroupName") {
        Some(name) => parameter_groups::group_of_family(request, region, name, &family)?,
        None => format!("default.{family}"),
    };
    settings.subnet_group = match query.get("DBSubnetGroupName") {
        Some(name) => subnet_groups::existing_group(region, name)?,
        None => "default".to_owned(),
    };
    let default_option_group = catalogue::option_group_of(&settings.engine, &settings.engine_version).name();
    settings.option_group = match query.get("OptionGroupName") {
        Some(name) if name != default_option_group => return Err(ApiError::no_option_group(name)),
        _ => default_option_group,
    };
    settings.security_groups = match query.list("VpcSecurityGroupIds", "VpcSecurityGroupId") {
        Some(groups) => groups,
        None => vec![default_security_group(&subnet_groups::vpc_of(region, &settings.subnet_group))],
    };
    validate::check_security_groups(&settings.security_groups)?;
    let zones = catalogue::zones_of(request.region);
    settings.availability_zone = match query.get("AvailabilityZone") {
        Some(_) if settings.multi_az => {
            return Err(ApiError::invalid_combination(
                "Requesting a specific availability zone is not valid for Multi-AZ instances.",
            ));
        }
        Some(zone) if zones.iter().any(|known| known == zone) => zone.to_owned(),
        Some(zone) => return Err(ApiError::invalid_value(format!("Invalid Availability Zone: {zone}"))),
        None => zones[usize::from(rand::random::<u8>()) % zones.len()].clone(),
    };
    let is_default_network = settings.subnet_group == "default" && settings.cluster.is_none();
    settings.public = query.flag("PubliclyAccessible")?.unwrap_or(is_default_network);
    Ok(())
}

/// An instance that is about to be created or restored.
pub(super) struct NewInstance {
    pub(super) id: String,
    pub(super) settings: Settings,
    pub(super) origin: Origin,
    pub(super) tags: Vec<Tag>,
    pub(super) secret: Option<ManagedSecret>,
}

/// Adds an instance to its Region and queues the work that makes its database.
pub(super) fn add_instance(request: &Request<'_>, state: &mut State, new: NewInstance) -> Result<Xml> {
    let NewInstance { id, mut settings, origin, tags, secret } = new;
    let region = state.region_mut(request.region);
    assign_network(request, region, &mut settings)?;
    validate::check_tag_count(&tags)?;
    refuse_duplicate(region, &id)?;
    if region.instances.len() >= request.cx.limits.instances {
        return Err(ApiError::new(
            "InstanceQuotaExceeded",
            "The request would exceed the allowed number of DB instances for this account.",
        ));
    }
    // Taken after all checks: a request that is refused must leave an injected outcome for the next one.
    let is_new = matches!(origin, Origin::New { .. });
    let restore_outcome = if is_new { None } else { request.cx.injected.take_restore_outcome() };
    let mut instance = Instance {
        id: id.clone(),
        resource_id: random_resource_id(),
        backup_name: random_backup_name(),
        region: request.region.to_owned(),
        status: Status::Creating,
        shown: None,
        restore_outcome,
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
    };
    instance.parameters = Some(state.group_values(&instance));
    let resource_id = instance.resource_id.clone();
    state.region_mut(request.region).instances.insert(id.clone(), instance);
    request.cx.queue_work(&resource_id, Work::Create);
    instance_result(request, state, &id)
}

/// The backup and the maintenance window of a request. A missing one is chosen so that the two do not overlap.
fn requested_windows(query: &Query, now: DateTime<Utc>) -> Result<(String, String)> {
    let backup_text = query.owned("PreferredBackupWindow");
    let maintenance_text = query.get("PreferredMaintenanceWindow").map(str::to_ascii_lowercase);
    let backup = backup_text.as_deref().map(validate::parse_backup_window).transpose()?;
    let maintenance = maintenance_text.as_deref().map(validate::parse_maintenance_window).transpose()?;
    validate::refuse_overlap(backup, maintenance)?;
    let backup_text = backup_text.unwrap_or_else(|| random_daily(maintenance, now));
    let backup = Some(validate::parse_backup_window(&backup_text)?);
    Ok((backup_text, maintenance_text.unwrap_or_else(|| random_weekly(backup, now))))
}

/// The master password: the one in the request, or one that the stack chooses and keeps.
fn master_password(request: &Request<'_>) -> Result<(Option<ManagedSecret>, String)> {
    let query = request.query;
    let given = query.get("MasterUserPassword");
    if query.flag("ManageMasterUserPassword")?.unwrap_or(false) {
        if given.is_some() {
            return Err(both_managed_and_given());
        }
        let secret = new_managed_secret(request)?;
        let password = secret.password.clone();
        return Ok((Some(secret), password));
    }
    let given = given.ok_or_else(|| blank_parameter("MasterUserPassword"))?;
    validate::check_password(given)?;
    Ok((None, given.to_owned()))
}

pub(super) fn both_managed_and_given() -> ApiError {
    ApiError::invalid_combination(
        "You can't specify MasterUserPassword when ManageMasterUserPassword is turned on.",
    )
}

/// A password that the stack chooses and keeps, under a name like those that RDS gives its secrets.
pub(super) fn new_managed_secret(request: &Request<'_>) -> Result<ManagedSecret> {
    let kms_key = match request.query.get("MasterUserSecretKmsKeyId") {
        Some(key) => keys::resolve_key(request.region, key)?,
        None => keys::default_key(request.region, "secretsmanager"),
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

/// What the database stores in place of a password.
pub(super) fn scram_verifier(password: &str) -> String {
    postgres_protocol::password::scram_sha_256(password.as_bytes())
}

/// The key of an encrypted instance: the one in the request, RDS's own otherwise.
fn storage_key(request: &Request<'_>) -> Result<Option<String>> {
    let query = request.query;
    match (query.flag("StorageEncrypted")?.unwrap_or(false), query.get("KmsKeyId")) {
        (true, Some(key)) => keys::resolve_key(request.region, key).map(Some),
        (true, None) => Ok(Some(keys::default_key(request.region, "rds"))),
        (false, Some(_)) => Err(ApiError::invalid_combination(
            "You can't specify KmsKeyId for a DB instance that isn't encrypted: set StorageEncrypted to true.",
        )),
        (false, None) => Ok(None),
    }
}

/// Applies what a request says about enhanced monitoring and Performance Insights.
pub(super) fn change_monitoring(request: &Request<'_>, settings: &mut Settings) -> Result<()> {
    let query = request.query;
    let interval = query.number("MonitoringInterval")?;
    let role = query.owned("MonitoringRoleArn");
    if interval.is_some() || role.is_some() {
        let interval = interval.unwrap_or(settings.monitoring_interval);
        // Turning it off also removes the role.
        let kept = || settings.monitoring_role.clone().filter(|_| interval > 0);
        let role = role.or_else(kept);
        validate::check_monitoring(interval, role.as_deref())?;
        (settings.monitoring_interval, settings.monitoring_role) = (interval, role);
    }
    if let Some(on) = query.flag("EnablePerformanceInsights")? {
        settings.performance_insights = on;
    }
    if let Some(mode) = query.get("DatabaseInsightsMode") {
        settings.insights_mode =
            Some(validate::check_one_of("DatabaseInsightsMode", mode, &["standard", "advanced"])?.to_owned());
    }
    let key = query.get("PerformanceInsightsKMSKeyId");
    let key = key.map(|key| keys::resolve_key(request.region, key)).transpose()?;
    let days =
        query.number("PerformanceInsightsRetentionPeriod")?.map(validate::check_insights_days).transpose()?;
    let is_advanced = settings.insights_mode.as_deref() == Some("advanced");
    if !settings.performance_insights {
        if key.is_some() || days.is_some() {
            return Err(ApiError::invalid_combination(
                "You can't specify PerformanceInsightsKMSKeyId or PerformanceInsightsRetentionPeriod when Performance \
                 Insights isn't enabled.",
            ));
        }
        if is_advanced {
            return Err(ApiError::invalid_combination(
                "To enable the Advanced mode of Database Insights, Performance Insights must be enabled.",
            ));
        }
        (settings.insights_key, settings.insights_days) = (None, None);
        return Ok(());
    }
    let default_key = || keys::default_key(request.region, "rds");
    settings.insights_key = key.or(settings.insights_key.take()).or_else(|| Some(default_key()));
    settings.insights_days = days.or(settings.insights_days).or(Some(if is_advanced { 465 } else { 7 }));
    if is_advanced && settings.insights_days.is_some_and(|days| days < 465) {
        return Err(ApiError::invalid_combination(
            "To enable the Advanced mode of Database Insights, the Performance Insights retention period must be at least \
             465 days.",
        ));
    }
    Ok(())
}

pub(super) fn default_security_group(vpc: &str) -> String {
    format!("sg-{}", vpc.trim_start_matches("vpc-"))
}

fn blank_parameter(parameter: &str) -> ApiError {
    ApiError::invalid_value(format!("The parameter {parameter} must be provided and must not be blank."))
}
