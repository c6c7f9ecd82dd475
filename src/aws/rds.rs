//! Amazon RDS: our nouns from its answers, and the few calls that change something.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeZone, Utc};

use aws_sdk_rds::auth_token::{AuthTokenGenerator, Config};
use aws_sdk_rds::operation::describe_db_instances::builders::DescribeDBInstancesFluentBuilder;
use aws_sdk_rds::types::{
    DbInstance, DbInstanceAutomatedBackup, DbSnapshot, Filter, PendingModifiedValues, Tag,
};
use aws_smithy_types::DateTime as AwsTime;
use aws_smithy_types::retry::RetryConfig;

use super::{Aws, Failure, Fault, call, if_found, list_all, retry};
use crate::error::Error;
use crate::postgres::Password;
use crate::rds::{
    AutomatedBackup, Instance, InstanceId, ResourceId, RestoreWindow, Settings, Snapshot, SnapshotId, Status,
    Tags,
};
use crate::words::quote_names;

/// What a restore goes back to.
#[derive(Clone, Debug)]
pub(crate) enum RestoreFrom {
    /// A snapshot.
    Snapshot(SnapshotId),
    /// A moment in the automated backups of an instance, by its immutable id. RDS counts in whole seconds.
    Time {
        /// Whose automated backups.
        source: ResourceId,
        /// The ARN of the backups when they are replicated from another Region: RDS does not find those by the id.
        replica: Option<String>,
        /// The moment.
        at: DateTime<Utc>,
    },
}

/// A new instance from a backup. Everything is said explicitly, for what RDS defaults to is another instance
/// than the source: default security group, parameter group and option group, the source's tags, its retention.
#[derive(Clone, Debug)]
pub(crate) struct Restore {
    /// Name of the new instance.
    pub id: InstanceId,
    /// From what.
    pub from: RestoreFrom,
    /// Its settings; what is `None` is left to RDS. Those that no restore takes are passed over.
    pub settings: Settings,
    /// Tags; never empty, since RDS copies the source's when none are passed.
    pub tags: Tags,
}

/// What a request to delete came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delete {
    /// AWS has begun to delete it, now or earlier.
    Accepted,
    /// There is no such instance.
    Gone,
}

/// How much of a quota is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    /// In use.
    pub used: i64,
    /// Allowed.
    pub max: i64,
}

impl Aws {
    /// The instance, if there is one of that name. Throttling and lost answers are tried again for a while.
    pub(crate) async fn instance(&self, id: &InstanceId) -> Result<Option<Instance>, Failure> {
        retry(|| self.look_at_instance(id)).await
    }

    /// The instance, in one look.
    pub(crate) async fn look_at_instance(&self, id: &InstanceId) -> Result<Option<Instance>, Failure> {
        let answer = self.rds.describe_db_instances().db_instance_identifier(id.as_str()).send().await;
        let answer = answer
            .map_err(|error| Failure::from_sdk("DescribeDBInstances", format!("instance `{id}`"), error));
        Ok(if_found(answer)?.and_then(|answer| answer.db_instances().first().and_then(instance)))
    }

    /// Every instance of the Region with that immutable id, whatever it is called now, in one look: at most one.
    ///
    /// AWS answers such a question with a list, which may be empty; only an empty list says that there is none. It never
    /// answers it with `DBInstanceNotFound`, so that is passed on as a failure like any other.
    pub(crate) async fn look_by_resource_id(&self, resource: &ResourceId) -> Result<Vec<Instance>, Failure> {
        let filter = Filter::builder().name("dbi-resource-id").values(&resource.0).build();
        let request = self.rds.describe_db_instances().filters(filter);
        let mut all = list_pages(request, &format!("instance `{resource}`")).await?;
        // What does not know the filter answers with everything.
        all.retain(|it| it.resource_id == *resource);
        Ok(all)
    }

    /// All instances of the Region, in one look. As of [`Aws::look_by_resource_id`], "not found" is no answer to this.
    pub(crate) async fn look_at_all_instances(&self) -> Result<Vec<Instance>, Failure> {
        list_pages(self.rds.describe_db_instances().max_records(100), "all instances").await
    }

    /// All instances of the Region.
    pub(crate) async fn instances(&self) -> Result<Vec<Instance>, Failure> {
        list_all(|marker| async move {
            let request = self.rds.describe_db_instances().max_records(100).set_marker(marker);
            let page = call("DescribeDBInstances", "all instances", || request.clone().send()).await?;
            Ok((page.db_instances().iter().filter_map(instance).collect(), page.marker))
        })
        .await
    }

    /// The span that the automated backups of an instance reach, by its immutable id: several rows can carry one
    /// name (retained backups of earlier instances).
    pub(crate) async fn restore_window(
        &self,
        resource: &ResourceId,
    ) -> Result<Option<RestoreWindow>, Failure> {
        let list = || self.rds.describe_db_instance_automated_backups().dbi_resource_id(&resource.0).send();
        let what = format!("automated backups of `{resource}`");
        let answer = if_found(call("DescribeDBInstanceAutomatedBackups", what, list).await)?;
        Ok(answer.and_then(|answer| answer.db_instance_automated_backups().first().map(restore_window)))
    }

    /// All automated backups of the Region, those kept of deleted instances among them.
    pub(crate) async fn automated_backups(&self) -> Result<Vec<AutomatedBackup>, Failure> {
        list_all(|marker| async move {
            let request = self.rds.describe_db_instance_automated_backups().max_records(100);
            let list = || request.clone().set_marker(marker.clone()).send();
            let page = call("DescribeDBInstanceAutomatedBackups", "all automated backups", list).await?;
            let backups = page.db_instance_automated_backups().iter().filter_map(automated_backup).collect();
            Ok((backups, page.marker))
        })
        .await
    }

    /// Used and allowed DB instances of the account in this Region.
    pub(crate) async fn instance_quota(&self) -> Result<Option<Quota>, Failure> {
        let list = || self.rds.describe_account_attributes().send();
        let answer = call("DescribeAccountAttributes", "the account's quotas", list).await?;
        Ok(answer
            .account_quotas()
            .iter()
            .find(|quota| quota.account_quota_name() == Some("DBInstances"))
            .and_then(|quota| Some(Quota { used: quota.used()?, max: quota.max()? })))
    }

    /// Whether a class can be had for an engine version, as far as AWS says.
    pub(crate) async fn class_is_orderable(
        &self,
        engine: &str,
        version: &str,
        class: &str,
    ) -> Result<bool, Failure> {
        // Where nothing at all is listed for the version, nothing is known of the class either.
        Ok(self.is_listed(engine, version, Some(class)).await?
            || !self.is_listed(engine, version, None).await?)
    }

    async fn is_listed(&self, engine: &str, version: &str, class: Option<&str>) -> Result<bool, Failure> {
        let request = self
            .rds
            .describe_orderable_db_instance_options()
            .engine(engine)
            .engine_version(version)
            .set_db_instance_class(class.map(str::to_owned))
            .max_records(20);
        let resource = format!("class `{}` for {engine} {version}", class.unwrap_or("any"));
        let list = || request.clone().send();
        let answer = call("DescribeOrderableDBInstanceOptions", resource, list).await?;
        Ok(!answer.orderable_db_instance_options().is_empty())
    }

    /// Whether there is a DB subnet group of that name.
    pub(crate) async fn subnet_group_exists(&self, name: &str) -> Result<bool, Failure> {
        let list = || self.rds.describe_db_subnet_groups().db_subnet_group_name(name).send();
        let answer = call("DescribeDBSubnetGroups", format!("subnet group `{name}`"), list).await;
        Ok(if_found(answer)?.is_some_and(|answer| !answer.db_subnet_groups().is_empty()))
    }

    /// Whether there is a DB parameter group of that name.
    pub(crate) async fn parameter_group_exists(&self, name: &str) -> Result<bool, Failure> {
        Ok(retry(|| self.look_at_parameter_group(name)).await?.is_some())
    }

    /// Asks for a restore, once: the SDK must not repeat it behind our back, since after a lost answer the next
    /// attempt is refused as a name already taken, and only the caller can tell whether that is its own.
    pub(crate) async fn begin_restore(&self, restore: &Restore) -> Result<Instance, Failure> {
        let resource = format!("instance `{}`", restore.id);
        let tags = Some(to_aws(&restore.tags));
        let settings = restore.settings.clone();
        let list = |list: Vec<String>| (!list.is_empty()).then_some(list);
        let once = aws_sdk_rds::config::Config::builder().retry_config(RetryConfig::disabled());
        // The two requests have the same fields but are two types.
        macro_rules! with_settings {
            ($request:expr) => {
                $request
                    .set_db_instance_class(settings.class)
                    .set_db_subnet_group_name(settings.subnet_group)
                    .set_vpc_security_group_ids(list(settings.security_groups))
                    .set_db_parameter_group_name(settings.parameter_group)
                    .set_option_group_name(settings.option_group)
                    .set_port(settings.port.map(i32::from))
                    .set_multi_az(settings.multi_az)
                    .set_publicly_accessible(settings.public)
                    .set_storage_type(settings.storage_type)
                    .set_iops(settings.iops)
                    .set_storage_throughput(settings.storage_throughput)
                    .set_enable_iam_database_authentication(settings.iam_authentication)
                    .set_enable_cloudwatch_logs_exports(list(settings.log_exports))
                    .set_ca_certificate_identifier(settings.ca)
                    .set_copy_tags_to_snapshot(settings.copy_tags_to_snapshot)
                    .set_deletion_protection(settings.deletion_protection)
                    .set_auto_minor_version_upgrade(settings.auto_minor_upgrade)
                    .set_backup_retention_period(settings.retention_days)
                    .set_preferred_backup_window(settings.backup_window)
                    .set_engine_lifecycle_support(settings.lifecycle_support)
                    .set_network_type(settings.network_type)
                    .set_tags(tags)
                    .customize()
                    .config_override(once)
                    .send()
                    .await
            };
        }
        let answer = match &restore.from {
            RestoreFrom::Snapshot(snapshot) => {
                let request = self
                    .rds
                    .restore_db_instance_from_db_snapshot()
                    .db_instance_identifier(restore.id.as_str())
                    .db_snapshot_identifier(snapshot.as_str());
                with_settings!(request)
                    .map_err(|error| Failure::from_sdk("RestoreDBInstanceFromDBSnapshot", &resource, error))?
                    .db_instance
            }
            RestoreFrom::Time { source, replica, at } => {
                let request = self
                    .rds
                    .restore_db_instance_to_point_in_time()
                    .target_db_instance_identifier(restore.id.as_str())
                    .set_source_dbi_resource_id(replica.is_none().then(|| source.0.clone()))
                    .set_source_db_instance_automated_backups_arn(replica.clone())
                    .restore_time(AwsTime::from_secs(at.timestamp()));
                with_settings!(request)
                    .map_err(|error| Failure::from_sdk("RestoreDBInstanceToPointInTime", &resource, error))?
                    .db_instance
            }
        };
        answer.as_ref().and_then(instance).ok_or_else(|| {
            Failure::new("RestoreDBInstance", resource, Fault::Unsure, "the answer names no instance")
        })
    }

    /// Sets a new password for the master user of an instance, now. RDS does it in the background.
    pub(crate) async fn set_master_password(&self, id: &InstanceId, password: &str) -> Result<(), Failure> {
        let set = || {
            let request = self.rds.modify_db_instance().db_instance_identifier(id.as_str());
            request.master_user_password(password).apply_immediately(true).send()
        };
        call("ModifyDBInstance", format!("instance `{id}`"), set).await.map(drop)
    }

    /// A token that stands in for the password of a database user that has `rds_iam`, for 15 minutes.
    pub(crate) async fn login_token(
        &self,
        host: &str,
        port: u16,
        user: &str,
    ) -> crate::error::Result<Password> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::outside(format!("no IAM login token for user `{user}` could be made")).caused_by(error)
        };
        // The generator puts the user into a URL as it is.
        if !user.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            return Err(Error::request(format!("user `{}` cannot log in by IAM", user.escape_default()))
                .hint("The name may have letters, digits, `_`, `-` and `.` only."));
        }
        let config = Config::builder().hostname(host).port(u64::from(port)).username(user).expires_in(900);
        let generator = AuthTokenGenerator::new(config.build().map_err(failed)?);
        let token = generator.auth_token(&self.config).await.map_err(failed)?;
        Ok(Password::new(token.as_str()))
    }

    /// Asks AWS to delete an instance with all its automated backups and without a final snapshot. What may be
    /// deleted is the caller's to prove; one attempt, since the caller looks again before it repeats.
    pub(crate) async fn begin_delete_for_good(&self, id: &InstanceId) -> Result<Delete, Failure> {
        let answer = self
            .rds
            .delete_db_instance()
            .db_instance_identifier(id.as_str())
            .skip_final_snapshot(true)
            .delete_automated_backups(true)
            .send()
            .await
            .map_err(|error| Failure::from_sdk("DeleteDBInstance", format!("instance `{id}`"), error));
        match answer {
            Ok(_) => Ok(Delete::Accepted),
            Err(failure) if failure.fault == Fault::NotFound => Ok(Delete::Gone),
            Err(failure)
                if failure.fault == Fault::WrongState
                    && failure.message.contains("already being deleted") =>
            {
                Ok(Delete::Accepted)
            }
            Err(failure) => Err(failure),
        }
    }

    /// The instance of that name, or what to say when there is none.
    pub(crate) async fn existing_instance(&self, id: &InstanceId) -> crate::error::Result<Instance> {
        if let Some(instance) = self.instance(id).await? {
            return Ok(instance);
        }
        let alike: Vec<String> =
            self.names_like(id).await.into_iter().map(|name| format!("`{name}`")).collect();
        let hint = if alike.is_empty() {
            "`lifeboat status` lists those of the Region; choose another with `--region`.".to_owned()
        } else {
            format!("Did you mean {}?", alike.join(" or "))
        };
        Err(Error::request(format!("instance `{id}` does not exist in {}", self.region())).hint(hint))
    }

    /// Names of instances that read like `id`, for "did you mean".
    async fn names_like(&self, id: &InstanceId) -> Vec<String> {
        let Ok(instances) = self.instances().await else { return Vec::new() };
        let alike = |name: &str| strsim::jaro_winkler(name, id.as_str());
        let mut names: Vec<String> = instances.into_iter().map(|found| found.id.to_string()).collect();
        names.retain(|name| alike(name) > 0.8 || name.starts_with(id.as_str()));
        names.sort_by(|a, b| alike(b).total_cmp(&alike(a)));
        names.truncate(3);
        names
    }
}

/// What a request for instances lists, in one look.
async fn list_pages(
    request: DescribeDBInstancesFluentBuilder,
    resource: &str,
) -> Result<Vec<Instance>, Failure> {
    list_all(async |marker| {
        let page = request.clone().set_marker(marker).send().await;
        let page = page.map_err(|error| Failure::from_sdk("DescribeDBInstances", resource, error))?;
        Ok((page.db_instances().iter().filter_map(instance).collect(), page.marker))
    })
    .await
}

pub(super) fn from_aws_time(at: &AwsTime) -> Option<DateTime<Utc>> {
    Utc.timestamp_opt(at.secs(), at.subsec_nanos()).single()
}

/// Tags in the SDK's form.
pub(super) fn to_aws(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

pub(super) fn tags(list: &[Tag]) -> Tags {
    list.iter()
        .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned())))
        .collect()
}

/// `None` for a row without the fields that every instance has; AWS has never sent one.
fn instance(row: &DbInstance) -> Option<Instance> {
    let settings = settings(row);
    let endpoint = row
        .endpoint()
        .and_then(|endpoint| Some((endpoint.address()?.to_owned(), u16::try_from(endpoint.port()?).ok()?)));
    Some(Instance {
        id: InstanceId::parse(row.db_instance_identifier()?).ok()?,
        resource_id: ResourceId(row.dbi_resource_id()?.to_owned()),
        arn: row.db_instance_arn().unwrap_or_default().to_owned(),
        engine: row.engine().unwrap_or_default().to_owned(),
        engine_version: row.engine_version().unwrap_or_default().to_owned(),
        reported_status: Status(row.db_instance_status().unwrap_or("unknown").to_owned()),
        class: row.db_instance_class().unwrap_or_default().to_owned(),
        endpoint,
        master_user: row.master_username().unwrap_or_default().to_owned(),
        db_name: row.db_name().filter(|name| !name.is_empty()).map(str::to_owned),
        master_secret_arn: row.master_user_secret().and_then(|secret| secret.secret_arn()).map(str::to_owned),
        retention_days: row.backup_retention_period().unwrap_or(0),
        latest_restorable: row.latest_restorable_time().and_then(from_aws_time),
        created_at: row.instance_create_time().and_then(from_aws_time),
        storage_gib: row.allocated_storage().unwrap_or(0),
        storage_type: settings.storage_type.clone(),
        encrypted: row.storage_encrypted().unwrap_or(false),
        subnet_group: settings.subnet_group.clone(),
        security_groups: settings.security_groups.clone(),
        parameter_group: settings.parameter_group.clone(),
        option_group: settings.option_group.clone(),
        deletion_protection: row.deletion_protection().unwrap_or(false),
        iam_authentication: row.iam_database_authentication_enabled().unwrap_or(false),
        cluster: row.db_cluster_identifier().map(str::to_owned),
        replica_of: row
            .read_replica_source_db_instance_identifier()
            .or(row.read_replica_source_db_cluster_identifier())
            .map(str::to_owned),
        replicas: row.read_replica_db_instance_identifiers().to_vec(),
        aws_backup: row.aws_backup_recovery_point_arn().map(str::to_owned),
        pending: row.pending_modified_values().map(pending).unwrap_or_default(),
        settings,
        beyond_restore: beyond_restore(row),
        tags: tags(row.tag_list()),
    })
}

fn automated_backup(row: &DbInstanceAutomatedBackup) -> Option<AutomatedBackup> {
    let region = |arn: &str| arn.split(':').nth(3).map(str::to_owned);
    let arn = row.db_instance_automated_backups_arn();
    let is_replica =
        arn.zip(row.db_instance_arn()).is_some_and(|(own, source)| region(own) != region(source));
    Some(AutomatedBackup {
        replica: arn.filter(|_| is_replica).map(str::to_owned),
        instance: row.db_instance_identifier()?.to_owned(),
        resource_id: ResourceId(row.dbi_resource_id()?.to_owned()),
        engine: row.engine().unwrap_or_default().to_owned(),
        engine_version: row.engine_version().unwrap_or_default().to_owned(),
        storage_gib: row.allocated_storage().unwrap_or(0),
        window: restore_window(row),
    })
}

fn restore_window(row: &DbInstanceAutomatedBackup) -> RestoreWindow {
    let window = row.restore_window();
    RestoreWindow {
        earliest: window.and_then(|window| window.earliest_time()).and_then(from_aws_time),
        latest: window.and_then(|window| window.latest_time()).and_then(from_aws_time),
        reported_status: row.status().unwrap_or_default().to_owned(),
    }
}

fn settings(row: &DbInstance) -> Settings {
    let text = |text: Option<&str>| text.map(str::to_owned);
    let groups = row.vpc_security_groups().iter().filter_map(|it| it.vpc_security_group_id());
    Settings {
        class: text(row.db_instance_class()),
        subnet_group: text(row.db_subnet_group().and_then(|it| it.db_subnet_group_name())),
        security_groups: groups.map(str::to_owned).collect(),
        parameter_group: text(row.db_parameter_groups().first().and_then(|it| it.db_parameter_group_name())),
        option_group: text(row.option_group_memberships().first().and_then(|it| it.option_group_name())),
        port: row.endpoint().and_then(|it| it.port()).and_then(|port| u16::try_from(port).ok()),
        multi_az: row.multi_az(),
        public: row.publicly_accessible(),
        storage_type: text(row.storage_type()),
        iops: row.iops(),
        storage_throughput: row.storage_throughput(),
        max_storage_gib: row.max_allocated_storage(),
        iam_authentication: row.iam_database_authentication_enabled(),
        log_exports: row.enabled_cloudwatch_logs_exports().to_vec(),
        ca: text(row.ca_certificate_identifier()),
        copy_tags_to_snapshot: row.copy_tags_to_snapshot(),
        deletion_protection: row.deletion_protection(),
        auto_minor_upgrade: row.auto_minor_version_upgrade(),
        retention_days: row.backup_retention_period(),
        backup_window: text(row.preferred_backup_window()),
        maintenance_window: text(row.preferred_maintenance_window()),
        monitoring_interval: row.monitoring_interval(),
        monitoring_role: text(row.monitoring_role_arn()),
        performance_insights: row.performance_insights_enabled(),
        lifecycle_support: text(row.engine_lifecycle_support()),
        network_type: text(row.network_type()),
    }
}

/// What a restore does not bring along by itself, and ours does not ask for (Amazon RDS API, `RestoreDBInstanceFromDBSnapshot`).
fn beyond_restore(row: &DbInstance) -> Vec<String> {
    let domains: Vec<&str> =
        row.domain_memberships().iter().filter_map(|it| it.domain().or(it.fqdn())).collect();
    let processor: Vec<String> = row
        .processor_features()
        .iter()
        .filter_map(|it| Some(format!("{}={}", it.name()?, it.value()?)))
        .collect();
    let volumes: Vec<&str> =
        row.additional_storage_volumes().iter().filter_map(|it| it.volume_name()).collect();
    let has_log_volume = row.dedicated_log_volume() == Some(true);
    let insights = row.performance_insights_retention_period().filter(|days| *days > 7);
    [
        has_log_volume.then(|| "its dedicated log volume".to_owned()),
        row.master_user_secret().map(|_| {
            "the password of the master user is not managed in Secrets Manager: the source's secret does not follow".to_owned()
        }),
        (!domains.is_empty()).then(|| format!("its membership in the directory domain {}", quote_names(domains))),
        (!processor.is_empty()).then(|| format!("its processor features ({})", processor.join(", "))),
        (!volumes.is_empty()).then(|| format!("the settings of its additional storage volumes {}", quote_names(volumes))),
        insights.map(|days| format!("that Performance Insights keeps {days} days: RDS's default is 7")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Queued changes, by the names of the API.
fn pending(values: &PendingModifiedValues) -> BTreeMap<String, String> {
    let text = |text: Option<&str>| text.map(str::to_owned);
    let number = |number: Option<i32>| number.map(|number| number.to_string());
    let flag = |flag: Option<bool>| flag.map(|flag| flag.to_string());
    let logs = values.pending_cloudwatch_logs_exports().map(|_| "…".to_owned());
    [
        ("DBInstanceClass", text(values.db_instance_class())),
        ("AllocatedStorage", number(values.allocated_storage())),
        ("MasterUserPassword", values.master_user_password().map(|_| "(hidden)".to_owned())),
        ("Port", number(values.port())),
        ("BackupRetentionPeriod", number(values.backup_retention_period())),
        ("MultiAZ", flag(values.multi_az())),
        ("EngineVersion", text(values.engine_version())),
        ("LicenseModel", text(values.license_model())),
        ("Iops", number(values.iops())),
        ("StorageThroughput", number(values.storage_throughput())),
        ("DBInstanceIdentifier", text(values.db_instance_identifier())),
        ("StorageType", text(values.storage_type())),
        ("CACertificateIdentifier", text(values.ca_certificate_identifier())),
        ("DBSubnetGroupName", text(values.db_subnet_group_name())),
        ("PendingCloudwatchLogsExports", logs),
        ("IAMDatabaseAuthenticationEnabled", flag(values.iam_database_authentication_enabled())),
        ("DedicatedLogVolume", flag(values.dedicated_log_volume())),
        ("Engine", text(values.engine())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

pub(super) fn snapshot(row: &DbSnapshot) -> Option<Snapshot> {
    Some(Snapshot {
        id: SnapshotId::parse(row.db_snapshot_identifier()?).ok()?,
        arn: row.db_snapshot_arn().unwrap_or_default().to_owned(),
        instance: row.db_instance_identifier().unwrap_or_default().to_owned(),
        resource_id: row.dbi_resource_id().map(|id| ResourceId(id.to_owned())),
        snapshot_type: row.snapshot_type().unwrap_or("manual").into(),
        reported_status: row.status().unwrap_or_default().into(),
        // Absent while it is being created.
        original_created_at: row
            .original_snapshot_create_time()
            .or(row.snapshot_create_time())
            .and_then(from_aws_time),
        created_at: row.snapshot_create_time().and_then(from_aws_time),
        percent: row.percent_progress(),
        kms_key: row.kms_key_id().map(str::to_owned),
        copied_from: row.source_db_snapshot_identifier().map(str::to_owned),
        option_group: row.option_group_name().map(str::to_owned),
        database_time: row.snapshot_database_time().and_then(from_aws_time),
        engine: row.engine().unwrap_or_default().to_owned(),
        engine_version: row.engine_version().unwrap_or_default().to_owned(),
        storage_gib: row.allocated_storage().unwrap_or(0),
        encrypted: row.encrypted().unwrap_or(false),
        tags: tags(row.tag_list()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_restore_does_not_bring_along_is_named() {
        use aws_sdk_rds::types::{DomainMembership, MasterUserSecret, ProcessorFeature};

        assert!(beyond_restore(&DbInstance::builder().build()).is_empty());
        let row = DbInstance::builder()
            .dedicated_log_volume(true)
            .master_user_secret(MasterUserSecret::builder().secret_arn("arn").build())
            .domain_memberships(DomainMembership::builder().domain("d-9067").build())
            .processor_features(ProcessorFeature::builder().name("coreCount").value("4").build())
            .additional_storage_volumes(
                aws_sdk_rds::types::AdditionalStorageVolumeOutput::builder()
                    .volume_name("rdsdbdata2")
                    .build(),
            )
            .performance_insights_retention_period(731)
            .build();
        let said = beyond_restore(&row).join("\n");
        for words in [
            "dedicated log volume",
            "Secrets Manager",
            "`d-9067`",
            "coreCount=4",
            "`rdsdbdata2`",
            "keeps 731 days",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert_eq!(beyond_restore(&row).len(), 6);
    }
}
