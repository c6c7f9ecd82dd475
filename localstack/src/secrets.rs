//! Secrets Manager, as far as RDS's managed master passwords need it: reading them.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::rds::secret_arn;
use crate::stack::Shared;

/// Answers `action` with a JSON document.
pub(crate) fn answer(shared: &Shared, region: &str, action: &str, body: &Value) -> Result<Value, ApiError> {
    if action != "GetSecretValue" {
        return Err(ApiError { status: 400, ..ApiError::new("UnknownOperationException", "") });
    }
    let id = body["SecretId"].as_str().ok_or_else(|| ApiError {
        status: 400,
        ..ApiError::new("InvalidParameterException", "You must provide a SecretId.")
    })?;
    shared.store.read(|state| {
        let instances = state.regions.get(region).into_iter().flat_map(|region| region.instances.values());
        let found = instances
            .filter_map(|instance| Some((instance, instance.secret.as_ref()?)))
            .find(|(_, secret)| secret.name == id || secret_arn(region, &secret.name) == id);
        let Some((instance, secret)) = found else {
            let message = "Secrets Manager can't find the specified secret.";
            return Err(ApiError { status: 400, ..ApiError::new("ResourceNotFoundException", message) });
        };
        let value = json!({
            "username": instance.settings.master_username,
            "password": secret.password,
        });
        Ok(json!({
            "ARN": secret_arn(region, &secret.name),
            "Name": secret.name,
            "VersionId": secret.version,
            "SecretString": value.to_string(),
            "VersionStages": ["AWSCURRENT"],
            "CreatedDate": secret.since.timestamp(),
        }))
    })
}
