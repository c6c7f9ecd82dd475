//! Locks in an object store: an object that says who holds it, and that its holder renews while it lives.
//!
//! Whoever finds one that was not renewed for half a minute, or as long as it says, by the clock of the store, takes it over; that it has changed
//! hands shows when its former holder wants to renew it. Each change is made only to what was seen last, so that of two
//! who want it one gets it. A lock keeps work from being done twice; that nothing is written over is held by conditional
//! creates, whoever believes to have which lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use object_store::path::Path;
use object_store::{ObjectStoreExt as _, UpdateVersion};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::client::Store;
use crate::error::{Error, Result};
use crate::vault::backend::HeldLock;
use crate::vault::pulse::{Overwritten, Pulse};

/// Between the last two is what requests take that take their time.
const PULSE: Pulse = Pulse {
    every: Duration::from_secs(8),
    relied_on: Duration::from_secs(20),
    lasts: Duration::from_secs(30),
};

/// What stands in a lock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Note {
    schema: String,
    /// Its holder, by a number that nobody else has.
    holder: String,
    process: u32,
    renewed: u64,
    /// For how long it holds without being renewed, where that is longer than usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lasts_seconds: Option<u64>,
    /// What its holder is making, so that others can remove it if it dies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) draft: Option<Drafted>,
}

/// What is being made under a lock.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Drafted {
    /// Names, the content first; what is beside it from the moment on when it is written.
    pub(super) files: Vec<String>,
    /// The upload in parts, if there is one.
    #[serde(default)]
    pub(super) upload: Option<String>,
    /// How large the content is, once that is known; it has its name only from then on.
    #[serde(default)]
    pub(super) size: Option<u64>,
}

/// A lock that is held.
#[derive(Debug)]
pub(super) struct Lease {
    shared: Arc<Shared>,
    renewing: tokio::task::AbortHandle,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    path: Path,
    name: String,
    overwritten: Overwritten,
    state: Mutex<State>,
    /// When it was renewed, and what holds since then.
    renewed_at: std::sync::Mutex<(Instant, Pulse)>,
    is_lost: AtomicBool,
    is_left: AtomicBool,
}

#[derive(Debug)]
struct State {
    note: Note,
    version: UpdateVersion,
}

impl Note {
    fn new(draft: Option<Drafted>) -> Self {
        Note {
            schema: "lifeboat.lock/1".to_owned(),
            holder: format!("{:032x}", rand::random::<u128>()),
            process: std::process::id(),
            renewed: 0,
            lasts_seconds: None,
            draft,
        }
    }

    fn written(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Store {
    /// Takes a lock; `None` while somebody else holds it. That of a draft is not taken over, whoever left it: what it
    /// says has to be removed first, by [`Store::inherit`].
    pub(super) fn lease(&self, name: &str, draft: Option<Drafted>) -> Result<Option<Lease>> {
        let (store, path, note) = (self.clone(), self.path(name), Note::new(draft));
        let (taken_at, wanted) = (Instant::now(), note.clone());
        let at = path.clone();
        let taken = self.wait(async move { store.take(&at, &wanted).await })?;
        let Some(version) = taken.map_err(|error| self.told("cannot lock", name, error))? else {
            return Ok(None);
        };
        let shared = Arc::new(Shared {
            store: self.clone(),
            path,
            name: name.to_owned(),
            overwritten: self.overwritten_versions(),
            state: Mutex::new(State { note, version }),
            renewed_at: std::sync::Mutex::new((taken_at, PULSE)),
            is_lost: AtomicBool::new(false),
            is_left: AtomicBool::new(false),
        });
        let renewing = Arc::clone(&shared);
        let task = self.thread.spawn(async move { renewing.keep().await });
        let lost = || Error::new(crate::error::Kind::Bug, "the thread of the object store has ended");
        Ok(Some(Lease { shared, renewing: task.ok_or_else(lost)?.abort_handle() }))
    }

    async fn take(&self, path: &Path, note: &Note) -> object_store::Result<Option<UpdateVersion>> {
        if let Some(version) = self.create(path, note.written()).await? {
            return Ok(Some(version));
        }
        match self.seen(path).await? {
            Some(_) if note.draft.is_some() => Ok(None),
            Some((version, true)) => self.replace(path, note.written(), version).await,
            Some((_, false)) => Ok(None),
            // It was let go this very moment.
            None => self.create(path, note.written()).await,
        }
    }

    /// The version of a lock, and whether it was left by a process that died.
    async fn seen(&self, path: &Path) -> object_store::Result<Option<(UpdateVersion, bool)>> {
        let found = match self.bucket.get(path).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            found => found?,
        };
        let (age, meta) = (self.now() - found.meta.last_modified, found.meta.clone());
        let note = serde_json::from_slice::<Note>(&found.bytes().await?).ok();
        let lasts = PULSE.lasts(note.and_then(|note| note.lasts_seconds));
        let is_abandoned = age.to_std().is_ok_and(|age| age > lasts);
        Ok(Some((UpdateVersion { e_tag: meta.e_tag, version: meta.version }, is_abandoned)))
    }

    /// Takes over the lock of a draft whose maker has died, with what it says; `None` if its maker lives.
    pub(super) fn inherit(&self, name: &str) -> Result<Option<Drafted>> {
        let (store, path) = (self.clone(), self.path(name));
        let inherited = self.wait(async move {
            let Some((version, true)) = store.seen(&path).await? else { return Ok(None) };
            let content = store.bucket.get(&path).await?.bytes().await?;
            let draft = serde_json::from_slice::<Note>(&content).ok().and_then(|note| note.draft);
            let ours = Note::new(draft.clone());
            let taken = store.replace(&path, ours.written(), version).await?;
            Ok(taken.map(|_| draft.unwrap_or_default()))
        })?;
        inherited.map_err(|error| self.told("cannot lock", name, error))
    }
}

impl Shared {
    /// Renews the lock until it is let go or lost.
    async fn keep(&self) {
        let mut pause = PULSE.every;
        loop {
            tokio::time::sleep(pause).await;
            pause = match self.change(|_| ()).await {
                Ok(true) => self.renewed().1.every,
                Ok(false) => return,
                // It is tried again soon, however rarely it is renewed.
                Err(_) => PULSE.every,
            };
        }
    }

    fn renewed(&self) -> (Instant, Pulse) {
        *self.renewed_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Writes the lock anew; says whether it is still ours.
    async fn change(&self, change: impl FnOnce(&mut Note)) -> object_store::Result<bool> {
        let mut state = self.state.lock().await;
        let at = Instant::now();
        state.note.renewed += 1;
        let pulse = PULSE.after(state.note.renewed, self.overwritten);
        state.note.lasts_seconds = pulse.written(PULSE);
        change(&mut state.note);
        let (content, seen) = (state.note.written(), state.version.clone());
        match self.store.replace(&self.path, content, seen).await? {
            Some(version) => {
                state.version = version;
                *self.renewed_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = (at, pulse);
                Ok(true)
            }
            None => {
                self.is_lost.store(true, Ordering::Relaxed);
                Ok(false)
            }
        }
    }
}

impl HeldLock for Lease {
    /// Whether it is still ours, and will be for some seconds.
    fn check(&self) -> Result<()> {
        let (at, pulse) = self.shared.renewed();
        if self.shared.is_lost.load(Ordering::Relaxed) || at.elapsed() > pulse.relied_on {
            return Err(self.lost());
        }
        Ok(())
    }
}

impl Lease {
    fn lost(&self) -> Error {
        Error::outside(format!("the lock `{}` was lost", self.shared.store.shown_as(&self.shared.name))).hint(
            "The store was unreachable for too long, or this process was suspended: run the command again.",
        )
    }

    /// Notes what is being made under it.
    pub(super) fn note(&self, change: impl FnOnce(&mut Drafted) + Send + 'static) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let changed = shared
            .store
            .clone()
            .wait(async move { shared.change(|note| change(note.draft.get_or_insert_default())).await })?;
        match changed {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.lost()),
            Err(error) => Err(self.shared.store.told("cannot write", &self.shared.name, error)),
        }
    }

    /// Leaves it to time: whoever comes after it will find out what became of what was made under it.
    pub(super) fn leave(&self) {
        self.shared.is_left.store(true, Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
        if self.shared.is_left.load(Ordering::Relaxed) || self.check().is_err() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let _ = self.shared.store.wait(async move {
            let erase = async {
                // A renewal that is under way would bring it back.
                let _state = shared.state.lock().await;
                shared.store.erase(&shared.path).await
            };
            tokio::time::timeout(Duration::from_secs(10), erase).await
        });
    }
}
