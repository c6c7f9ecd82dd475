//! Master passwords that RDS keeps in Secrets Manager.

use serde::Deserialize;

use super::{Aws, Failure, Fault, call};

/// What is needed of a secret that RDS manages.
#[derive(Deserialize)]
pub(crate) struct MasterSecret {
    /// Password. Never printed: the type has no `Debug`.
    pub password: String,
}

impl Aws {
    /// Reads a secret (a name or an ARN) of the form that RDS writes: `{"username": …, "password": …}`.
    pub(crate) async fn master_secret(&self, secret: &str) -> Result<MasterSecret, Failure> {
        let client = aws_sdk_secretsmanager::Client::new(&self.config);
        let get = || client.get_secret_value().secret_id(secret).send();
        let answer = call("GetSecretValue", format!("secret `{secret}`"), get).await?;
        let text = answer.secret_string().unwrap_or_default();
        serde_json::from_str(text).map_err(|_| {
            Failure::new(
                "GetSecretValue",
                format!("secret `{secret}`"),
                Fault::Refused,
                // The parser's own words could quote the secret.
                "the secret is not a JSON object with a `password`",
            )
        })
    }
}
