//! Secrets Manager, as far as it is needed to read the master passwords that RDS manages.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::stack::Context;

/// Performs `action` and returns a JSON document.
pub(crate) fn perform_action(
    cx: &Context,
    region: &str,
    action: &str,
    body: &Value,
) -> Result<Value, ApiError> {
    if action != "GetSecretValue" {
        return Err(ApiError::with_status(400, "UnknownOperationException", ""));
    }
    let id = body["SecretId"].as_str().ok_or_else(|| {
        ApiError::with_status(400, "InvalidParameterException", "You must provide a SecretId.")
    })?;
    cx.store.read(|state| {
        let instances = state.region(region).instances.values();
        let found = instances
            .filter_map(|instance| Some((instance, instance.secret.as_ref()?)))
            .find(|(_, secret)| secret.name == id || secret.arn(region) == id);
        let Some((instance, secret)) = found else {
            let message = "Secrets Manager can't find the specified secret.";
            return Err(ApiError::with_status(400, "ResourceNotFoundException", message));
        };
        let value = json!({ "username": instance.settings.master_username, "password": secret.password });
        Ok(json!({
            "ARN": secret.arn(region),
            "Name": secret.name,
            "VersionId": secret.version,
            "SecretString": value.to_string(),
            "VersionStages": ["AWSCURRENT"],
            "CreatedDate": secret.since.timestamp(),
        }))
    })
}
