//! The vault as a bucket of an object store: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.
//!
//! What is made appears under its name when it is complete, in one request. Nothing is ever written over that is not ours:
//! names are taken by conditional creates, locks are objects that are changed only by whoever saw them last (ETags).
//! Every request may have been done although its answer was lost: then we look what is there.

mod http;
mod lease;
mod object;
mod place;
mod retention;
mod upload;

pub(super) use lease::Lease;
pub(super) use object::Object;
pub(super) use upload::Upload;

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use object_store::aws::{AmazonS3Builder, AwsCredential, Checksum};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::CredentialProvider;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, RetryConfig, UpdateVersion,
};
use url::Url;

use crate::aws::{Access, Identity};
use crate::error::{Error, Result};
use crate::vault::pulse::Overwritten;
use http::{Clock, Connector};
use retention::Asker;

/// What all stores can do.
trait Bucket: ObjectStore + MultipartStore {}
impl<T: ObjectStore + MultipartStore> Bucket for T {}

/// A bucket, or what lies below a prefix in it.
#[derive(Clone)]
pub(super) struct Store {
    bucket: Arc<dyn Bucket>,
    prefix: String,
    /// As it was named, for people.
    url: String,
    clock: Clock,
    thread: Arc<Thread>,
    /// Of S3 only.
    asker: Option<Arc<Asker>>,
    /// Known once a lease was wanted.
    overwritten: Arc<OnceLock<Overwritten>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.url)
    }
}

/// The thread that requests are made on. Whoever waits for one may be a thread of any kind.
#[derive(Debug)]
struct Thread(Option<tokio::runtime::Runtime>);

impl Thread {
    fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store")
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| Error::outside("no thread can be started").caused_by(error))?;
        Ok(Thread(Some(runtime)))
    }

    fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<tokio::task::JoinHandle<T>> {
        self.0.as_ref().map(|runtime| runtime.spawn(work))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // To wait for it is forbidden where other futures run.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// How often a request is tried again while the store is busy or out of reach: about half a minute in all.
const PATIENT: usize = 8;
/// The first one: whoever mistyped an address should not wait for that.
const FIRST: usize = 2;

impl Store {
    /// The store that `place` names, if it is a URL; asked once, so that what is wrong with it is said at once.
    pub(super) fn open(place: &str, access: &Access) -> Result<Option<Self>> {
        if !place.contains("://") {
            return Ok(None);
        }
        let named = Named::parse(place)?;
        let (clock, thread) = (Clock::default(), Arc::new(Thread::start()?));
        let identity = match named.kind {
            StoreKind::S3 => {
                let access = Access {
                    region: named.region.clone().or_else(|| access.region.clone()),
                    endpoint_url: named.endpoint.clone().or_else(|| {
                        let own = std::env::var("AWS_ENDPOINT_URL_S3").ok().filter(|url| !url.is_empty());
                        own.or_else(|| access.endpoint_url.clone())
                    }),
                    ..access.clone()
                };
                Some(wait_on(&thread, async move { Identity::find(&access).await })??)
            }
            StoreKind::Google | StoreKind::Azure => None,
        };
        let with = |retries: usize| -> Result<Self> {
            let (bucket, asker) = named.connect(identity.as_ref(), retries, &clock)?;
            Ok(Store {
                bucket,
                asker: asker.map(Arc::new),
                overwritten: Arc::default(),
                prefix: named.prefix.clone(),
                url: named.shown.clone(),
                clock: clock.clone(),
                thread: Arc::clone(&thread),
            })
        };
        with(FIRST)?.look()?;
        with(PATIENT).map(Some)
    }

    /// Whether the bucket is there and we may look into it.
    fn look(&self) -> Result<()> {
        let (bucket, path) = (Arc::clone(&self.bucket), self.path(".locks"));
        let found = self.wait(async move { bucket.list_with_delimiter(Some(&path)).await })?;
        found.map(drop).map_err(|error| self.told("cannot use", "", error))
    }

    fn path(&self, name: &str) -> Path {
        match (self.prefix.as_str(), name) {
            ("", name) => Path::from(name),
            (prefix, "") => Path::from(prefix),
            (prefix, name) => Path::from(format!("{prefix}/{name}")),
        }
    }

    fn shown_as(&self, name: &str) -> String {
        if name.is_empty() { self.url.clone() } else { format!("{}/{name}", self.url) }
    }

    /// The time by the clock of the store.
    fn now(&self) -> DateTime<Utc> {
        // Every decision that needs it comes after an answer.
        self.clock.now().unwrap_or(DateTime::<Utc>::MIN_UTC)
    }

    /// Waits for a request, or several.
    fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        wait_on(&self.thread, work)
    }

    /// Creates an object where nothing is; `None` if something is there. Whether that is ours, from an attempt whose
    /// answer was lost, is seen from its content, which is therefore never the same twice.
    async fn create(&self, path: &Path, content: Vec<u8>) -> object_store::Result<Option<UpdateVersion>> {
        let payload = PutPayload::from(content.clone());
        for attempt in 0.. {
            let error = match self.bucket.put_opts(path, payload.clone(), PutMode::Create.into()).await {
                Ok(made) => return Ok(Some(made.into())),
                Err(error) => error,
            };
            let is_taken = matches!(error, object_store::Error::AlreadyExists { .. });
            if !is_taken && !is_unsure(&error) {
                return Err(error);
            }
            match self.look_for(path, &content).await {
                Ok(Looked::Ours(version)) => return Ok(Some(version)),
                Ok(Looked::Other) => return Ok(None),
                Ok(Looked::Nothing) if attempt < 2 => {}
                Ok(Looked::Nothing) => return Err(error),
                Err(_) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Replaces an object that is as we saw it last; `None` if it is not.
    async fn replace(
        &self,
        path: &Path,
        content: Vec<u8>,
        seen: UpdateVersion,
    ) -> object_store::Result<Option<UpdateVersion>> {
        let payload = PutPayload::from(content.clone());
        match self.bucket.put_opts(path, payload, PutMode::Update(seen).into()).await {
            Ok(made) => Ok(Some(made.into())),
            Err(error) if matches!(error, object_store::Error::Precondition { .. }) || is_unsure(&error) => {
                match self.look_for(path, &content).await {
                    Ok(Looked::Ours(version)) => Ok(Some(version)),
                    Ok(_) if matches!(error, object_store::Error::Precondition { .. }) => Ok(None),
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn look_for(&self, path: &Path, content: &[u8]) -> object_store::Result<Looked> {
        let found = match self.bucket.get(path).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(Looked::Nothing),
            found => found?,
        };
        let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
        Ok(if found.bytes().await?[..] == *content { Looked::Ours(version) } else { Looked::Other })
    }

    /// Removes an object, if it is there.
    async fn erase(&self, path: &Path) -> object_store::Result<()> {
        match self.bucket.delete(path).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            done => done,
        }
    }

    /// What a store said, for the person who has to act on it.
    fn told(&self, what: &str, name: &str, error: object_store::Error) -> Error {
        let (code, words) = said(&error);
        let object = self.shown_as(name);
        let denied = [
            "AccessDenied",
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "ExpiredToken",
            "InvalidToken",
            "AuthenticationFailed",
            "AuthorizationFailure",
            "403 ",
            "401 ",
        ];
        if code == "NoSuchBucket" || code == "ContainerNotFound" || words.contains("bucket does not exist") {
            return Error::request(format!("{what} `{}`: there is no such bucket", self.url))
                .hint("Create it first, or correct `--vault`.");
        }
        let failed = Error::outside(format!("{what} `{object}`")).caused_by(words.clone());
        if denied.iter().any(|word| code == *word || words.contains(word)) {
            failed.hint(format!(
                "{} Their rights must be to list the bucket, and to get, put and delete objects in it.",
                credentials_of(&self.url)
            ))
        } else if words.contains("301")
            || code == "PermanentRedirect"
            || code == "AuthorizationHeaderMalformed"
        {
            failed.hint("The bucket is in another Region: add `?region=NAME` to its URL.")
        } else {
            failed.hint("Check the network and the URL of the vault, and run it again.")
        }
    }
}

/// Where the credentials of a store come from.
fn credentials_of(url: &str) -> &'static str {
    match url.split("://").next() {
        Some("gs") => {
            "Credentials are those of GOOGLE_APPLICATION_CREDENTIALS, GOOGLE_SERVICE_ACCOUNT or the machine."
        }
        Some("az" | "azure") => {
            "Set AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY, a SAS token or a client with its secret."
        }
        _ => "Check the credentials: `aws sts get-caller-identity` shows whose they are.",
    }
}

enum Looked {
    Nothing,
    Ours(UpdateVersion),
    Other,
}

/// Whether a request may have been done although it failed.
fn is_unsure(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::Generic { .. })
}

/// The code and the words of a store, or what kept them from us.
fn said(error: &object_store::Error) -> (String, String) {
    let mut innermost: &dyn std::error::Error = error;
    let mut texts = vec![error.to_string()];
    while let Some(next) = innermost.source() {
        innermost = next;
        texts.push(next.to_string());
    }
    let between = |tag: &str| {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        texts.iter().find_map(|text| {
            let start = text.find(&open)? + open.len();
            Some(text[start..start + text[start..].find(&close)?].trim().to_owned())
        })
    };
    let code = between("Code").unwrap_or_default();
    let words = match between("Message") {
        Some(message) => format!("{code}: {}", message.trim_end_matches('.')),
        None => {
            let last = texts.pop().unwrap_or_default();
            last.lines().next().unwrap_or_default().chars().take(300).collect()
        }
    };
    (code, words)
}

fn wait_on<T: Send + 'static>(thread: &Thread, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
    let (give, take) = std::sync::mpsc::sync_channel(1);
    let lost = || Error::new(crate::error::Kind::Bug, "the thread of the object store has ended");
    thread
        .spawn(async move {
            let _ = give.send(work.await);
        })
        .ok_or_else(lost)?;
    take.recv().map_err(|_| lost())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoreKind {
    S3,
    Google,
    Azure,
}

/// A store as a URL names it: `s3://bucket/prefix?region=…&endpoint=…`.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    kind: StoreKind,
    bucket: String,
    prefix: String,
    region: Option<String>,
    endpoint: Option<String>,
    shown: String,
}

impl Named {
    fn parse(place: &str) -> Result<Self> {
        let wrong = |why: &str| {
            let scheme = place.split("://").next().unwrap_or_default();
            Error::request(format!("this `{}://` URL cannot be the vault: {why}", scheme.escape_default()))
                .hint("Write `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`, or name a directory.")
        };
        let url = Url::parse(place).map_err(|error| wrong(&error.to_string()))?;
        let kind = match url.scheme() {
            "s3" | "s3a" => StoreKind::S3,
            "gs" => StoreKind::Google,
            "az" | "azure" => StoreKind::Azure,
            _ => return Err(wrong("it is no store that is known here")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("credentials do not belong into it"));
        }
        let bucket =
            url.host_str().filter(|bucket| !bucket.is_empty()).ok_or_else(|| wrong("it names no bucket"))?;
        let prefix = percent_encoding::percent_decode_str(url.path().trim_matches('/'))
            .decode_utf8()
            .map_err(|error| wrong(&error.to_string()))?
            .into_owned();
        if !prefix.is_empty() && super::checked(&prefix).is_err() {
            return Err(wrong("its path is no prefix"));
        }
        let (mut region, mut endpoint) = (None, None);
        for (key, value) in url.query_pairs() {
            match (key.as_ref(), kind) {
                ("region", StoreKind::S3) => region = Some(value.into_owned()),
                ("endpoint", _) => {
                    crate::web::check(&value)?;
                    endpoint = Some(value.into_owned());
                }
                _ => return Err(wrong(&format!("`{}` is not known in it", key.escape_default()))),
            }
        }
        let slash = if prefix.is_empty() { "" } else { "/" };
        let shown = format!("{}://{bucket}{slash}{prefix}", url.scheme());
        Ok(Named { kind, bucket: bucket.to_owned(), prefix, region, endpoint, shown })
    }

    fn connect(
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
            Error::request(format!("`{}` cannot be the vault", self.shown))
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
        let named = Named::parse("s3://backups/a/b/?region=eu-west-1&endpoint=http%3A%2F%2F127.0.0.1%3A9000")
            .unwrap();
        assert_eq!((named.bucket.as_str(), named.prefix.as_str()), ("backups", "a/b"));
        assert_eq!(named.region.as_deref(), Some("eu-west-1"));
        assert_eq!(named.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(named.shown, "s3://backups/a/b");
        for wrong in [
            "s3://",
            "s3://key:canary@b",
            "ftp://x/y",
            "s3://b?x=1",
            "s3://b/a//c",
            "gs://b?region=x",
            "s3://b/../c%2f..",
        ] {
            let parsed = Named::parse(wrong);
            assert!(
                parsed.as_ref().is_err_and(|error| !error.chain().contains("canary")),
                "{wrong}: {parsed:?}"
            );
        }
    }
}
