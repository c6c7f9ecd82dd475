//! Where what must not be lost is kept: a directory, or a bucket of an object store. Atomic writes, locks, drafts.
//!
//! A final name exists only when its content is complete, and lasts. What is being made is a [`Draft`]; it becomes a
//! backup when its manifest gets its name, which is the last thing that happens, and happens only where nothing of that
//! name is. A process that dies on the way, however it dies, leaves what [`Vault::recover`] removes or finishes.
//!
//! | | directory | object store |
//! |---|---|---|
//! | written whole or not at all | temporary file, `fsync`, rename | one request, or an upload in parts that is completed |
//! | only where nothing is | link | conditional create (`If-None-Match`) |
//! | lock | `flock`, let go by the kernel | an object that is renewed: free 30 seconds after its holder died |
//! | lease, for hours and between machines | `flock` and a note that is renewed | a note that is renewed |
//! | the same bytes, checked and used | one open file | every request bound to one ETag |
//!
//! Calls block, as reads and writes of files do; those of an object store run on a thread of their own.

mod audit;
mod backend;
pub(crate) mod chain;
mod directory;
mod lease;
mod location;
mod log;
mod pulse;
mod scratch;
mod store;
mod trial;

pub(crate) use audit::{Act, Actor, Trigger, is_unaudited};
pub(crate) use backend::{Content, Draft, Listing, Lock, Recovered};
pub(crate) use directory::{link_or_copy, rename_new, sync_folder};
pub(crate) use lease::{Holder, Lease, Leased, Theirs, is_held};
pub(crate) use location::read_location;
pub(crate) use log::Log;
pub(crate) use scratch::{Scratch, Secrecy};

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use backend::{Backend, FilesOf, LARGEST_READ, checked_name};

use crate::aws::Access;
use crate::error::{Error, Kind, Result};

/// Where what must last is kept.
#[derive(Clone, Debug)]
pub(crate) struct Vault {
    backend: Arc<dyn Backend>,
}

impl Vault {
    /// Opens the vault at `place`, a directory or the URL of a bucket, and proves that it is usable.
    pub(crate) fn open(place: &str, access: &Access) -> Result<Self> {
        if let Some(store) = store::Store::open(place, access)? {
            return Ok(Vault { backend: Arc::new(store) });
        }
        Ok(Vault { backend: Arc::new(directory::Directory::open(place)?) })
    }

    /// Opens the vault to read it; a directory that does not exist is an empty vault.
    pub(crate) fn open_to_read(place: &str, access: &Access) -> Result<Self> {
        if let Some(store) = store::Store::open(place, access)? {
            return Ok(Vault { backend: Arc::new(store) });
        }
        Ok(Vault { backend: Arc::new(directory::Directory::at(place)) })
    }

    /// The time by the clock that stamps the files in here.
    pub(crate) fn clock(&self) -> Result<DateTime<Utc>> {
        self.backend.clock()
    }

    /// Where `name` lies, for people who want to look at it.
    pub(crate) fn shown(&self, name: &str) -> String {
        self.backend.shown(name)
    }

    /// The directory that it is, if it is one: then files can be made in it that are renamed within it.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.backend.directory()
    }

    /// Writes `content` under `name`, whole or not at all, replacing what was there.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        self.backend.write(checked_name(name)?, content)
    }

    /// Adds a line to a log. An object store cannot append: there each line is an object below that name.
    pub(crate) fn append(&self, name: &str, at: DateTime<Utc>, line: &[u8]) -> Result<()> {
        self.backend.append(checked_name(name)?, at, line)
    }

    /// The content of `name`, if it exists.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.backend.read(checked_name(name)?, LARGEST_READ)
    }

    /// The content of `name`, if it exists and has at most so many bytes.
    pub(crate) fn read_at_most(&self, name: &str, largest: u64) -> Result<Option<Vec<u8>>> {
        self.backend.read(checked_name(name)?, largest)
    }

    /// The contents of several, in their order.
    pub(crate) fn read_all(&self, names: &[String]) -> Result<Vec<Result<Option<Vec<u8>>>>> {
        self.read_all_at_most(names, LARGEST_READ)
    }

    /// The contents of several, in their order; of one that has more bytes than that it is an error.
    pub(crate) fn read_all_at_most(
        &self,
        names: &[String],
        largest: u64,
    ) -> Result<Vec<Result<Option<Vec<u8>>>>> {
        names.iter().try_for_each(|name| checked_name(name).map(drop))?;
        Ok(self.backend.read_all(names, largest))
    }

    /// What lies in a folder; `""` is the root. Nothing, if there is no such folder.
    pub(crate) fn list(&self, folder: &str) -> Result<Listing> {
        self.backend.list(checked_name(folder)?)
    }

    /// Whether `name` exists.
    pub(crate) fn contains(&self, name: &str) -> Result<bool> {
        Ok(self.backend.size(checked_name(name)?)?.is_some())
    }

    /// Removes a record that has served its purpose.
    pub(crate) fn forget(&self, name: &str) -> Result<()> {
        self.backend.remove(checked_name(name)?)
    }

    /// Opens a file once, to be checked and used through the same handle: what was checked is what is used.
    pub(crate) fn open_file(&self, name: &str) -> Result<Content> {
        self.backend.open(checked_name(name)?)
    }

    /// Takes the lock `name`, or says `None` when another process holds it.
    pub(crate) fn try_lock(&self, name: &str) -> Result<Option<Lock>> {
        self.backend.try_lock(checked_name(name)?)
    }

    /// What tells the lock `name` of this vault from one in a copy of the vault: the machine since its latest start, the
    /// file system and the file; of an object store, the address. Only where a lock has the mark that it had when it was
    /// taken does it say anything that nobody holds it now.
    pub(crate) fn lock_mark(&self, name: &str) -> Result<Option<String>> {
        Ok(self.backend.mark(checked_name(name)?))
    }

    /// Takes the lock of the manifests, waiting for whoever holds it. It is held for moments only.
    pub(crate) fn quiet(&self) -> Result<Lock> {
        self.lock(".lock")
    }

    /// Takes a lock that is held for moments only, waiting for whoever holds it.
    pub(crate) fn lock(&self, name: &str) -> Result<Lock> {
        let give_up = Instant::now() + Duration::from_secs(120);
        loop {
            if let Some(lock) = self.try_lock(name)? {
                return Ok(lock);
            }
            if Instant::now() >= give_up {
                return Err(Error::new(Kind::StillGoing, "another process is changing the vault")
                    .hint("Run it again when it is done."));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Begins the file `payload` of a backup `stem`; `None` while another process makes one of that name.
    pub(crate) fn draft(&self, stem: &str, payload: &str) -> Result<Option<Draft>> {
        checked_name(payload)?;
        self.backend.draft(checked_name(stem)?, payload)
    }

    /// Puts right what processes left that died on the way. What living ones are making is not touched.
    pub(crate) fn recover(&self, files_of: FilesOf<'_>) -> Result<Recovered> {
        self.backend.recover(files_of)
    }

    /// Gives what lies under `from` a second name at the root, where nothing is.
    pub(crate) fn copy(&self, from: &str, to: &str) -> Result<()> {
        self.backend.copy(checked_name(from)?, checked_name(to)?)
    }

    /// Deletes a backup: from the first moment on it does not count, and from then on it will be deleted, even if
    /// this process dies. The caller holds [`Vault::quiet`].
    pub(crate) fn delete(&self, stem: &str, files: &[String]) -> Result<()> {
        files.iter().try_for_each(|file| checked_name(file).map(drop))?;
        self.backend.delete(checked_name(stem)?, files)
    }

    /// Makes a folder for what belongs to `stem`: in the vault if that is a directory, so that it is on a disk that has
    /// room for backups; otherwise where temporary files go.
    pub(crate) fn scratch(&self, stem: &str, secrecy: Secrecy) -> Result<Scratch> {
        let made = match (secrecy, self.directory()) {
            (Secrecy::Sealed, _) => Scratch::among_others(Path::new(scratch::MEMORY)),
            (Secrecy::Open, None) => Scratch::among_others(&std::env::temp_dir()),
            (Secrecy::Open, Some(root)) => {
                // Under this lock abandoned folders are removed: a new one must not look like one.
                let _quiet = self.quiet()?;
                Scratch::make(&root.join(format!(".{stem}.{:08x}.partial", rand::random::<u32>())))
            }
        };
        made.map_err(|error| match secrecy {
            Secrecy::Sealed => Error::outside("not enough memory to unpack an encrypted backup")
                .caused_by(error)
                .hint("Verification at level `checksum` needs none."),
            Secrecy::Open => Error::outside("cannot create a temporary folder")
                .caused_by(error)
                .hint("Free some space, or set TMPDIR to another folder."),
        })
    }
}
