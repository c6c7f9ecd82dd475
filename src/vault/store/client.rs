//! The bucket of a vault, and the requests that are made to it.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, UpdateVersion};

use super::http::Clock;
use super::retention::Asker;
use crate::error::{Error, Result};
use crate::vault::pulse::Overwritten;

/// What all stores can do.
pub(super) trait Bucket: ObjectStore + MultipartStore {}
impl<T: ObjectStore + MultipartStore> Bucket for T {}

/// A bucket, or what lies below a prefix in it.
#[derive(Clone)]
pub(in crate::vault) struct Store {
    pub(super) bucket: Arc<dyn Bucket>,
    pub(super) prefix: String,
    /// As it was named, for people.
    pub(super) url: String,
    pub(super) clock: Clock,
    pub(super) thread: Arc<Thread>,
    /// Of S3 only.
    pub(super) asker: Option<Arc<Asker>>,
    /// Known once a lease was wanted.
    pub(super) overwritten: Arc<OnceLock<Overwritten>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.url)
    }
}

/// The thread that requests are made on. Whoever waits for one may be a thread of any kind.
#[derive(Debug)]
pub(super) struct Thread(Option<tokio::runtime::Runtime>);

impl Thread {
    pub(super) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store")
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| Error::outside("cannot start a thread").caused_by(error))?;
        Ok(Thread(Some(runtime)))
    }

    pub(super) fn spawn<T: Send + 'static>(
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

impl Store {
    /// Whether the bucket is there and we may look into it.
    pub(super) fn require_readable(&self) -> Result<()> {
        let (bucket, path) = (Arc::clone(&self.bucket), self.path(".locks"));
        let found = self.wait(async move { bucket.list_with_delimiter(Some(&path)).await })?;
        found.map(drop).map_err(|error| self.told("cannot use", "", error))
    }

    /// What becomes of versions that are written over; asked once.
    pub(super) fn overwritten_versions(&self) -> Overwritten {
        *self.overwritten.get_or_init(|| {
            let Some(asker) = self.asker.clone() else { return Overwritten::Gone };
            self.wait(async move { asker.overwritten_versions().await }).unwrap_or(Overwritten::Kept)
        })
    }

    pub(super) fn path(&self, name: &str) -> Path {
        match (self.prefix.as_str(), name) {
            ("", name) => Path::from(name),
            (prefix, "") => Path::from(prefix),
            (prefix, name) => Path::from(format!("{prefix}/{name}")),
        }
    }

    pub(super) fn shown_as(&self, name: &str) -> String {
        if name.is_empty() { self.url.clone() } else { format!("{}/{name}", self.url) }
    }

    /// The time by the clock of the store.
    pub(super) fn now(&self) -> DateTime<Utc> {
        // Every decision that needs it comes after an answer.
        self.clock.now().unwrap_or(DateTime::<Utc>::MIN_UTC)
    }

    /// Waits for a request, or several.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        wait_on(&self.thread, work)
    }

    /// Creates an object where nothing is; `None` if something is there. Whether that is ours, from an attempt whose
    /// answer was lost, is seen from its content, which is therefore never the same twice.
    pub(super) async fn create(
        &self,
        path: &Path,
        content: Vec<u8>,
    ) -> object_store::Result<Option<UpdateVersion>> {
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
    pub(super) async fn replace(
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
    pub(super) async fn erase(&self, path: &Path) -> object_store::Result<()> {
        match self.bucket.delete(path).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            done => done,
        }
    }

    /// What a store said, for the person who has to act on it.
    pub(super) fn told(&self, what: &str, name: &str, error: object_store::Error) -> Error {
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
            return Error::request(format!("{what} `{}`: the bucket does not exist", self.url))
                .hint("Create it first, or correct `--vault`.");
        }
        let failed = Error::outside(format!("{what} `{object}`")).caused_by(words.clone());
        if denied.iter().any(|word| code == *word || words.contains(word)) {
            failed.hint(format!(
                "{} They need permission to list the bucket and to get, put and delete its objects.",
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
pub(super) fn credentials_of(url: &str) -> &'static str {
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
pub(super) fn said(error: &object_store::Error) -> (String, String) {
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

pub(super) fn wait_on<T: Send + 'static>(
    thread: &Thread,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T> {
    let (give, take) = std::sync::mpsc::sync_channel(1);
    let lost = || Error::new(crate::error::Kind::Bug, "the thread of the object store has ended");
    thread
        .spawn(async move {
            let _ = give.send(work.await);
        })
        .ok_or_else(lost)?;
    take.recv().map_err(|_| lost())
}
