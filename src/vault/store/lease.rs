//! Locks in an object store: an object that says who holds it, and that its holder renews while it lives.
//!
//! Whoever finds one that was not renewed for half a minute, or as long as it says, by the clock of the store, takes it over; that it has changed
//! hands shows when its former holder wants to renew it. Each change is made only to what was seen last, so that of two
//! who want it one gets it. A lock keeps work from being done twice; that nothing is written over is held by conditional
//! creates, whoever believes to have which lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use object_store::ObjectStoreExt as _;
use serde::{Deserialize, Serialize};

use super::client::Store;
use crate::error::Result;
use crate::vault::backend::{Backend as _, HeldLock, Version};
use crate::vault::pulse::Pulse;
use crate::vault::renewal::{Renewable, Renewal, Renewals};

/// Between the last two is what requests take that take their time.
const PULSE: Pulse = Pulse {
    every: Duration::from_secs(8),
    relied_on: Duration::from_secs(20),
    lasts: Duration::from_secs(30),
};

/// For how long its removal may take; it is left to time then.
const RELEASE: Duration = Duration::from_secs(10);

/// What stands in a lock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Note {
    schema: String,
    /// Its holder, by a number that nobody else has.
    holder: String,
    process: u32,
    #[serde(flatten)]
    renewals: Renewals,
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
    store: Store,
    name: String,
    renewal: Renewal<Note>,
    is_left: AtomicBool,
}

/// A lock that somebody has.
struct Seen {
    version: Version,
    /// Whether it was left by a process that died.
    is_abandoned: bool,
    draft: Option<Drafted>,
}

impl Note {
    fn new(draft: Option<Drafted>) -> Self {
        Note {
            schema: "lifeboat.lock/1".to_owned(),
            holder: format!("{:032x}", rand::random::<u128>()),
            process: std::process::id(),
            renewals: Renewals::default(),
            draft,
        }
    }
}

impl Renewable for Note {
    const NOUN: &'static str = "lock";

    fn renewals(&mut self) -> &mut Renewals {
        &mut self.renewals
    }

    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Store {
    /// Takes a lock; `None` while somebody else holds it. That of a draft is not taken over, whoever left it: what it
    /// says has to be removed first, by [`Store::inherit`].
    pub(super) fn lease(&self, name: &str, draft: Option<Drafted>) -> Result<Option<Lease>> {
        let note = Note::new(draft);
        let start =
            |seen: Option<&Version>| Renewal::start(Arc::new(self.clone()), name, note.clone(), seen, PULSE);
        let started = match start(None)? {
            Some(renewal) => Some(renewal),
            None => match self.seen(name)? {
                Some(seen) if seen.is_abandoned && note.draft.is_none() => start(Some(&seen.version))?,
                Some(_) => None,
                // It was let go this very moment.
                None => start(None)?,
            },
        };
        Ok(started.map(|renewal| Lease {
            store: self.clone(),
            name: name.to_owned(),
            renewal,
            is_left: AtomicBool::new(false),
        }))
    }

    fn seen(&self, name: &str) -> Result<Option<Seen>> {
        let (bucket, path) = (self.bucket.clone(), self.path(name));
        let read = self.wait(async move {
            let found = bucket.get(&path).await?;
            Ok((found.meta.clone(), found.bytes().await?))
        })?;
        let (meta, content) = match read {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            read => read.map_err(|error| self.told("cannot lock", name, error))?,
        };
        let note = serde_json::from_slice::<Note>(&content).ok();
        let lasts = PULSE.lasts(note.as_ref().and_then(|note| note.renewals.lasts_seconds));
        Ok(Some(Seen {
            version: Version::Tag(meta.e_tag, meta.version),
            is_abandoned: (self.now() - meta.last_modified).to_std().is_ok_and(|age| age > lasts),
            draft: note.and_then(|note| note.draft),
        }))
    }

    /// Takes over the lock of a draft whose maker has died, with what it says; `None` if its maker lives.
    pub(super) fn inherit(&self, name: &str) -> Result<Option<Drafted>> {
        let Some(seen) = self.seen(name)?.filter(|seen| seen.is_abandoned) else { return Ok(None) };
        let ours = Note::new(seen.draft.clone()).to_json();
        Ok(self.put_if(name, &ours, Some(&seen.version))?.map(|_| seen.draft.unwrap_or_default()))
    }
}

impl HeldLock for Lease {
    fn require_held(&self) -> Result<()> {
        self.renewal.require_held()
    }
}

impl Lease {
    /// Notes what is being made under it.
    pub(super) fn note(&self, change: impl FnOnce(&mut Drafted)) -> Result<()> {
        self.renewal.change(|note| change(note.draft.get_or_insert_default()))
    }

    /// Leaves it to time: whoever comes after it will find out what became of what was made under it.
    pub(super) fn leave(&self) {
        self.is_left.store(true, Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.renewal.stop() && !self.is_left.load(Ordering::Relaxed) {
            let (store, path) = (self.store.clone(), self.store.path(&self.name));
            let erase = async move { tokio::time::timeout(RELEASE, store.erase(&path)).await };
            let _ = self.store.wait(erase);
        }
    }
}
