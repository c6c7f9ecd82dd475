//! Starting and stopping the replication of automated backups to another Region, from where they are restored when their own
//! Region is out of reach. The replicas share the files of their source, and end with it.

use crate::error::{ApiError, Result};
use crate::ids::random_backup_name;
use crate::rds::automated_backups::{Backup, backup_result};
use crate::rds::request::{Request, local_name};
use crate::rds::{keys, validate};
use crate::resources::{Instance, Replicated};
use crate::scope;
use crate::store::State;
use crate::wire::Xml;

/// The source that a request names, which lies in another Region of the account.
fn find_source<'s>(request: &Request<'_>, state: &'s State) -> Result<&'s Instance> {
    let text = request.query.required("SourceDBInstanceArn")?;
    let home = scope::scope_of_arn(text).filter(|_| text.split(':').nth(5) == Some("db"));
    let home = home.ok_or_else(|| ApiError::invalid_value(format!("Invalid SourceDBInstanceArn: {text}")))?;
    if home == request.region {
        return Err(ApiError::invalid_value(
            "The source DB instance must be in another AWS Region than its replicated automated backups.",
        ));
    }
    let found = state.region(&home).instances.get(&local_name(text));
    found
        .filter(|_| scope::account_of(&home) == scope::account_of(request.region))
        .ok_or_else(|| ApiError::no_instance(text))
}

pub(super) fn start_replication(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let days = validate::check_retention(query.number("BackupRetentionPeriod")?.unwrap_or(7))?;
    let key = query.get("KmsKeyId").map(|key| keys::resolve_key(request.region, key)).transpose()?;
    let tags = validate::requested_tags(query)?.unwrap_or_default();
    request.cx.store.change(|state| {
        let source = find_source(request, state)?.clone();
        if source.settings.retention_days == 0 || !source.settings.is_postgres() {
            return Err(ApiError::instance_state(format!(
                "Automated backups are not enabled for DB instance {}.",
                source.id
            )));
        }
        if source.settings.kms_key.is_some() && key.is_none() {
            return Err(ApiError::invalid_value(
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
            name: random_backup_name(),
            retention_days: days,
            kms_key: key.filter(|_| source.settings.kms_key.is_some()),
            since: request.now,
            tags,
        };
        region.replicated.insert(source.resource_id.clone(), replica.clone());
        Ok(replica_result(request, state, &replica))
    })
}

pub(super) fn stop_replication(request: &Request<'_>) -> Result<Xml> {
    request.cx.store.change(|state| {
        let source = find_source(request, state)?;
        let (id, resource_id) = (source.id.clone(), source.resource_id.clone());
        let replica = state.region_mut(request.region).replicated.remove(&resource_id);
        let replica = replica.ok_or_else(|| {
            ApiError::instance_state(format!(
                "The automated backups of {id} are not replicated to this Region."
            ))
        })?;
        Ok(replica_result(request, state, &replica))
    })
}

fn replica_result(request: &Request<'_>, state: &State, replica: &Replicated) -> Xml {
    let backup = Backup::of_replica(request.cx, state, replica);
    backup.map_or_else(Xml::new, |backup| backup_result(request, state, &backup))
}
