//! Automated backups that are replicated to another Region, from where they are restored when their own is out of reach.
//! They lie at the same place as those that they are replicas of, and end with them.

use crate::error::{ApiError, Result};
use crate::place;
use crate::rds::instances::write_tags;
use crate::rds::{Request, bare, keys, random_text, validate};
use crate::record::{Instance, Replicated, State, arn};
use crate::restorable::{RestoreWindow, window};
use crate::stack::Shared;
use crate::wire::Xml;

impl Replicated {
    pub(super) fn arn(&self, region: &str) -> String {
        arn(region, "auto-backup", &self.name)
    }

    /// Whose backups they are: an instance that lives, or is gone and left its own.
    pub(super) fn source<'s>(&self, state: &'s State) -> Option<&'s Instance> {
        let region = state.regions.get(&self.source_region)?;
        let living = region.instances.values().find(|instance| instance.resource_id == self.resource_id);
        living.or_else(|| region.retained.get(&self.resource_id).map(|kept| &kept.instance))
    }

    /// What of the source's window is here: nothing from before the replication began.
    pub(super) fn window(&self, shared: &Shared, state: &State) -> Option<RestoreWindow> {
        let source = self.source(state)?;
        let own = Instance {
            settings: crate::record::Settings {
                retention_days: self.retention_days.min(source.settings.retention_days),
                ..source.settings.clone()
            },
            ..source.clone()
        };
        let window = window(state, &shared.clock, shared.pace, &own)?;
        (self.since < window.latest)
            .then(|| RestoreWindow { earliest: window.earliest.max(self.since), ..window })
    }
}

/// The ARNs of the replicas of an instance's automated backups, in whatever Region.
pub(super) fn arns(state: &State, instance: &Instance) -> Vec<String> {
    let regions = state.regions.iter();
    regions
        .filter_map(|(name, region)| Some(region.replicated.get(&instance.resource_id)?.arn(name)))
        .collect()
}

/// The source that a request names, which lies in another Region of the account.
fn source_of<'s>(request: &Request<'_>, state: &'s State) -> Result<&'s Instance> {
    let text = request.query.required("SourceDBInstanceArn")?;
    let home = place::of_arn(text).filter(|_| text.split(':').nth(5) == Some("db"));
    let home = home.ok_or_else(|| ApiError::value(format!("Invalid SourceDBInstanceArn: {text}")))?;
    if home == request.region {
        return Err(ApiError::value(
            "The source DB instance must be in another AWS Region than its replicated automated backups.",
        ));
    }
    let region = state.regions.get(&home).filter(|_| place::account(&home) == place::account(request.region));
    let found = region.and_then(|region| region.instances.get(&bare(text)));
    found.ok_or_else(|| ApiError::no_instance(text))
}

pub(super) fn start(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let days = validate::retention(query.number("BackupRetentionPeriod")?.unwrap_or(7))?;
    let key = query.get("KmsKeyId").map(|key| keys::named(request.region, key)).transpose()?;
    let tags = validate::tags(query)?.unwrap_or_default();
    request.shared.store.change(|state| {
        let source = source_of(request, state)?.clone();
        if source.settings.retention_days == 0 || !source.settings.is_postgres() {
            return Err(ApiError::instance_state(format!(
                "Automated backups are not enabled for DB instance {}.",
                source.id
            )));
        }
        if source.settings.kms_key.is_some() && key.is_none() {
            return Err(ApiError::value(
                "Must specify a KMS key of the destination Region for encrypted automated backups.",
            ));
        }
        let region = state.region_mut(request.region);
        if region.replicated.contains_key(&source.resource_id) {
            return Err(ApiError::new(
                "InvalidDBInstanceAutomatedBackupState",
                format!("The automated backups of {} are already replicated to this Region.", source.id),
            ));
        }
        let replica = Replicated {
            source_region: source.region.clone(),
            resource_id: source.resource_id.clone(),
            name: format!("ab-{}", random_text(b"abcdefghijklmnopqrstuvwxyz234567")),
            retention_days: days,
            kms_key: key.filter(|_| source.settings.kms_key.is_some()),
            since: request.now,
            tags,
        };
        region.replicated.insert(source.resource_id.clone(), replica.clone());
        Ok(shown(request, state, &replica))
    })
}

pub(super) fn stop(request: &Request<'_>) -> Result<Xml> {
    request.shared.store.change(|state| {
        let source = source_of(request, state)?;
        let (id, resource_id) = (source.id.clone(), source.resource_id.clone());
        let replica = state.region_mut(request.region).replicated.remove(&resource_id);
        let replica = replica.ok_or_else(|| {
            ApiError::instance_state(format!(
                "The automated backups of {id} are not replicated to this Region."
            ))
        })?;
        Ok(shown(request, state, &replica))
    })
}

fn shown(request: &Request<'_>, state: &State, replica: &Replicated) -> Xml {
    let mut xml = Xml::new();
    xml.within("DBInstanceAutomatedBackup", |xml| write(xml, request, state, replica));
    xml
}

/// The replicas in a Region whose source has not ended.
pub(super) fn all<'s>(
    state: &'s State,
    region: &str,
) -> impl Iterator<Item = (&'s Replicated, &'s Instance)> {
    let replicas = state.regions.get(region).into_iter().flat_map(|region| region.replicated.values());
    replicas.filter_map(|replica| Some((replica, replica.source(state)?)))
}

/// Writes a replica as a row of the automated backups of its Region.
pub(super) fn write(xml: &mut Xml, request: &Request<'_>, state: &State, replica: &Replicated) {
    let Some(source) = replica.source(state) else { return };
    let settings = &source.settings;
    xml.text("DBInstanceArn", source.arn())
        .text("DbiResourceId", &replica.resource_id)
        .text("Region", place::region(&replica.source_region))
        .text("DBInstanceIdentifier", &source.id)
        .within("RestoreWindow", |xml| {
            if let Some(window) = replica.window(request.shared, state) {
                xml.time("EarliestTime", Some(window.earliest)).time("LatestTime", Some(window.latest));
            }
        })
        .text("AllocatedStorage", settings.allocated_storage)
        .text("Status", "replicating")
        .text("Port", settings.asked_port)
        .time("InstanceCreateTime", source.created_at)
        .maybe("MasterUsername", settings.master_username.as_ref())
        .text("Engine", &settings.engine)
        .text("EngineVersion", &settings.engine_version)
        .text("LicenseModel", &settings.license_model)
        .maybe("Iops", settings.iops)
        .text("OptionGroupName", &settings.option_group)
        .text("Encrypted", replica.kms_key.is_some())
        .text("StorageType", &settings.storage_type)
        .maybe("KmsKeyId", replica.kms_key.as_ref())
        .text("IAMDatabaseAuthenticationEnabled", settings.iam_authentication)
        .text("BackupRetentionPeriod", replica.retention_days)
        .text("DBInstanceAutomatedBackupsArn", replica.arn(request.region))
        .within("DBInstanceAutomatedBackupsReplications", |_| {})
        .text("BackupTarget", "region");
    write_tags(xml, &replica.tags);
    xml.text("DedicatedLogVolume", false);
}
