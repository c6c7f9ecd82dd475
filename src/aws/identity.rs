//! Who we are to AWS, for a service that is spoken to without its SDK: the credentials of the usual chain.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials as _;

use super::Access;
use super::access::{check_credentials, check_endpoint, configuration};
use crate::error::{Error, Result};

/// Credentials, and the Region and endpoint that go with them.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    config: SdkConfig,
    latest: Arc<tokio::sync::Mutex<Option<(Keys, Instant)>>>,
}

/// Credentials of one moment. Nothing shows them.
#[derive(Clone)]
pub(crate) struct Keys {
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: String,
    /// Session token, of those that expire.
    pub token: Option<String>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// How long credentials are used before the chain is asked again; they last for minutes at least when it gives them.
const FRESH: Duration = Duration::from_secs(60);

impl Identity {
    /// Finds credentials, and makes sure that there are some.
    pub(crate) async fn find(access: &Access) -> Result<Self> {
        access.endpoint_url.as_deref().map_or(Ok(()), check_endpoint)?;
        let config = configuration(access).await;
        config.endpoint_url().map_or(Ok(()), check_endpoint)?;
        check_credentials(access, &config).await?;
        Ok(Identity { config, latest: Arc::default() })
    }

    /// The Region, if one is set.
    pub(crate) fn region(&self) -> Option<&str> {
        self.config.region().map(AsRef::as_ref)
    }

    /// The endpoint, where it is not AWS's own.
    pub(crate) fn endpoint(&self) -> Option<&str> {
        self.config.endpoint_url()
    }

    /// The credentials of this moment.
    pub(crate) async fn keys(&self) -> Result<Keys> {
        let mut latest = self.latest.lock().await;
        if let Some((keys, at)) = latest.as_ref()
            && at.elapsed() < FRESH
        {
            return Ok(keys.clone());
        }
        let missing = || Error::outside("there are no usable AWS credentials");
        let provider = self.config.credentials_provider().ok_or_else(missing)?;
        let keys = provider.provide_credentials().await.map_err(|error| missing().caused_by(error))?;
        let keys = Keys {
            id: keys.access_key_id().to_owned(),
            secret: keys.secret_access_key().to_owned(),
            token: keys.session_token().map(str::to_owned),
        };
        *latest = Some((keys.clone(), Instant::now()));
        Ok(keys)
    }
}
