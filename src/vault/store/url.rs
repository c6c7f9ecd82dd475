//! The URL of a bucket, and the connection that it stands for.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::{AmazonS3Builder, AwsCredential, Checksum};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::CredentialProvider;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, RetryConfig};
use url::Url;

use super::client::{Bucket, credentials_of, said};
use super::http::{Clock, Connector};
use super::retention::Asker;
use crate::aws::Identity;
use crate::error::{Error, Result};
use crate::vault::backend::checked_name;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreKind {
    S3,
    Google,
    Azure,
}

/// A store as a URL names it: `s3://bucket/prefix?region=…&endpoint=…`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoreUrl {
    pub(super) kind: StoreKind,
    pub(super) bucket: String,
    pub(super) prefix: String,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) shown: String,
}

impl StoreUrl {
    pub(super) fn parse(place: &str) -> Result<Self> {
        let wrong = |why: &str| {
            let scheme = place.split("://").next().unwrap_or_default();
            Error::request(format!("this `{}://` URL is not a vault: {why}", scheme.escape_default()))
                .hint("Write `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`, or name a directory.")
        };
        let url = Url::parse(place).map_err(|error| wrong(&error.to_string()))?;
        let kind = match url.scheme() {
            "s3" | "s3a" => StoreKind::S3,
            "gs" => StoreKind::Google,
            "az" | "azure" => StoreKind::Azure,
            _ => return Err(wrong("its scheme is not supported")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("it contains credentials"));
        }
        let bucket =
            url.host_str().filter(|bucket| !bucket.is_empty()).ok_or_else(|| wrong("it names no bucket"))?;
        let prefix = percent_encoding::percent_decode_str(url.path().trim_matches('/'))
            .decode_utf8()
            .map_err(|error| wrong(&error.to_string()))?
            .into_owned();
        if !prefix.is_empty() && checked_name(&prefix).is_err() {
            return Err(wrong("its path is not a valid prefix"));
        }
        let (mut region, mut endpoint) = (None, None);
        for (key, value) in url.query_pairs() {
            match (key.as_ref(), kind) {
                ("region", StoreKind::S3) => region = Some(value.into_owned()),
                ("endpoint", _) => {
                    crate::web::refuse_bad_url(&value)?;
                    endpoint = Some(value.into_owned());
                }
                _ => return Err(wrong(&format!("`{}` is not a known parameter", key.escape_default()))),
            }
        }
        let slash = if prefix.is_empty() { "" } else { "/" };
        let shown = format!("{}://{bucket}{slash}{prefix}", url.scheme());
        Ok(StoreUrl { kind, bucket: bucket.to_owned(), prefix, region, endpoint, shown })
    }

    pub(super) fn connect(
        &self,
        identity: Option<&Identity>,
        retries: usize,
        clock: &Clock,
    ) -> Result<(Arc<dyn Bucket>, Option<Asker>)> {
        let retry = RetryConfig {
            backoff: BackoffConfig { max_backoff: Duration::from_secs(8), ..BackoffConfig::default() },
            max_retries: retries,
            retry_timeout: Duration::from_secs(180),
        };
        let unusable = |error: object_store::Error| {
            Error::request(format!("cannot use `{}` as the vault", self.shown))
                .caused_by(said(&error).1)
                .hint(credentials_of(&self.shown))
        };
        let is_plain = self.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let options = object_store::ClientOptions::new().with_allow_http(true);
        let bucket: Arc<dyn Bucket> = match self.kind {
            StoreKind::S3 => {
                let connector = Connector::new(clock.clone(), true)?;
                let mut builder = AmazonS3Builder::new()
                    .with_bucket_name(&self.bucket)
                    .with_retry(retry)
                    .with_disable_bulk_delete(true)
                    .with_client_options(options)
                    .with_http_connector(connector.clone());
                // S3 refuses an upload without one to a bucket with a default Object Lock retention.
                if !is_checksum_unwanted() {
                    builder = builder.with_checksum_algorithm(Checksum::SHA256);
                }
                if let Some(identity) = identity {
                    builder = builder
                        .with_region(identity.region().unwrap_or("us-east-1"))
                        .with_credentials(Arc::new(Keys(identity.clone())));
                    if let Some(endpoint) = identity.endpoint() {
                        builder = builder.with_endpoint(endpoint);
                    }
                }
                let bucket = builder.build().map_err(unusable)?;
                return Ok((Arc::new(bucket.clone()), Some(Asker { bucket, connector })));
            }
            StoreKind::Google => {
                let mut builder = GoogleCloudStorageBuilder::from_env()
                    .with_bucket_name(&self.bucket)
                    .with_retry(retry)
                    .with_client_options(options)
                    .with_http_connector(Connector::new(clock.clone(), false)?);
                if let Some(endpoint) = &self.endpoint {
                    builder = builder.with_base_url(endpoint);
                }
                Arc::new(builder.build().map_err(unusable)?)
            }
            StoreKind::Azure => {
                let mut builder = MicrosoftAzureBuilder::from_env()
                    .with_container_name(&self.bucket)
                    .with_retry(retry)
                    .with_client_options(options)
                    .with_allow_http(is_plain)
                    .with_http_connector(Connector::new(clock.clone(), false)?);
                if let Some(endpoint) = &self.endpoint {
                    builder = builder.with_endpoint(endpoint.clone());
                }
                Arc::new(builder.build().map_err(unusable)?)
            }
        };
        Ok((bucket, None))
    }
}

/// Whether uploads carry no checksum unless they must, as AWS's own tools are told where another S3 refuses them.
fn is_checksum_unwanted() -> bool {
    std::env::var("AWS_REQUEST_CHECKSUM_CALCULATION")
        .is_ok_and(|value| value.eq_ignore_ascii_case("when_required"))
}

/// The credentials of the usual AWS chain, asked for at each request: they expire.
#[derive(Debug)]
struct Keys(Identity);

#[async_trait]
impl CredentialProvider for Keys {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let keys = self
            .0
            .keys()
            .await
            .map_err(|error| object_store::Error::Generic { store: "S3", source: error.chain().into() })?;
        Ok(Arc::new(AwsCredential { key_id: keys.id, secret_key: keys.secret, token: keys.token }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_named_by_a_url_that_holds_no_secret() {
        let url =
            StoreUrl::parse("s3://backups/a/b/?region=eu-west-1&endpoint=http%3A%2F%2F127.0.0.1%3A9000")
                .unwrap();
        assert_eq!((url.bucket.as_str(), url.prefix.as_str()), ("backups", "a/b"));
        assert_eq!(url.region.as_deref(), Some("eu-west-1"));
        assert_eq!(url.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(url.shown, "s3://backups/a/b");
        for wrong in [
            "s3://",
            "s3://key:canary@b",
            "ftp://x/y",
            "s3://b?x=1",
            "s3://b/a//c",
            "gs://b?region=x",
            "s3://b/../c%2f..",
        ] {
            let parsed = StoreUrl::parse(wrong);
            assert!(
                parsed.as_ref().is_err_and(|error| !error.chain().contains("canary")),
                "{wrong}: {parsed:?}"
            );
        }
    }
}
