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
pub(crate) mod chain;
mod directory;
mod lease;
mod log;
mod pulse;
mod scratch;
mod store;
mod trial;

pub(crate) use audit::{Act, Actor, Trigger, is_unaudited};
pub(crate) use directory::{link_or_copy, rename_new, sync_folder};
pub(crate) use lease::{Holder, Lease, Leased, Theirs, is_held};
pub(crate) use log::Log;
pub(crate) use scratch::{Scratch, Secrecy};

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::aws::Access;
use crate::error::{Error, Kind, Result};

/// Where what must last is kept.
#[derive(Clone, Debug)]
pub(crate) struct Vault {
    place: Arc<dyn Place>,
}

/// What a directory and an object store each do in their own way. Names have been checked.
trait Place: fmt::Debug + Send + Sync {
    fn shown(&self, name: &str) -> String;
    fn clock(&self) -> Result<DateTime<Utc>>;
    fn list(&self, folder: &str) -> Result<Listing>;
    fn size(&self, name: &str) -> Result<Option<u64>>;
    fn read(&self, name: &str, largest: u64) -> Result<Option<Vec<u8>>>;
    fn read_all(&self, names: &[String], largest: u64) -> Vec<Result<Option<Vec<u8>>>>;
    fn write(&self, name: &str, content: &[u8]) -> Result<()>;
    fn append(&self, name: &str, at: DateTime<Utc>, line: &[u8]) -> Result<()>;
    fn remove(&self, name: &str) -> Result<()>;
    fn open(&self, name: &str) -> Result<Content>;
    fn try_lock(&self, name: &str) -> Result<Option<Lock>>;
    fn versioned(&self, name: &str) -> Result<Option<(Vec<u8>, lease::Version)>>;
    fn put_if(
        &self,
        name: &str,
        content: &[u8],
        seen: Option<&lease::Version>,
    ) -> Result<Option<lease::Version>>;
    fn lease_lock(&self, name: &str) -> Result<lease::LeaseLock>;
    fn overwritten(&self) -> pulse::Overwritten;
    fn mark(&self, name: &str) -> Option<String>;
    fn draft(&self, stem: &str, payload: &str) -> Result<Option<Draft>>;
    fn recover(&self, files_of: FilesOf<'_>) -> Result<Recovered>;
    fn copy(&self, from: &str, to: &str) -> Result<()>;
    fn delete(&self, stem: &str, files: &[String]) -> Result<()>;
    fn directory(&self) -> Option<&Path>;
}

/// What is read as a whole has at most so many bytes: more was never written, and would fill the memory.
const LARGEST_READ: u64 = 256 << 20;

/// Reads from a manifest which files it describes, the content first; nothing if it is not whole.
type FilesOf<'a> = &'a dyn Fn(&[u8]) -> Vec<String>;

/// What lies in a folder of the vault, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Files; hidden ones too.
    pub files: Vec<Found>,
    /// Names of folders.
    pub folders: Vec<String>,
}

/// A file in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its name in the folder.
    pub name: String,
    /// Its bytes.
    pub size: u64,
}

impl Listing {
    /// Whether a file of that name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.name == name)
    }

    /// How large a file is; `None` if there is none.
    pub(crate) fn size(&self, name: &str) -> Option<u64> {
        self.files.iter().find(|file| file.name == name).map(|file| file.size)
    }
}

/// What [`Vault::recover`] found and put right.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Names whose publication was finished.
    pub published: Vec<String>,
    /// Names whose deletion was finished.
    pub deleted: Vec<String>,
    /// Names whose incomplete content was removed.
    pub removed: Vec<String>,
}

/// A lock on something in the vault, held until the value is dropped. It ends with the process, however that ends: in a
/// directory at once, in an object store half a minute later.
#[derive(Debug)]
pub(crate) struct Lock(Held);

#[derive(Debug)]
enum Held {
    File { _file: File },
    Lease(store::Lease),
}

impl Lock {
    /// Whether it is still held, for whoever is about to destroy something: a process that was stopped for long may have
    /// lost its lock to another.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.0 {
            Held::File { .. } => Ok(()),
            Held::Lease(lease) => lease.check(),
        }
    }
}

/// A file of the vault that was opened once: whenever it is read it is the same bytes, whatever happens to its name.
#[derive(Clone, Debug)]
pub(crate) struct Content(Opened);

#[derive(Clone, Debug)]
enum Opened {
    File(Arc<File>),
    Object(store::Object),
}

impl Content {
    /// A file that is open already.
    pub(crate) fn of(file: File) -> Self {
        Content(Opened::File(Arc::new(file)))
    }

    /// Reads it from its beginning.
    pub(crate) fn reader(&self) -> Box<dyn Read + Send> {
        match &self.0 {
            Opened::File(file) => Box::new(FileReader { file: Arc::clone(file), at: 0 }),
            Opened::Object(object) => Box::new(object.reader()),
        }
    }
}

/// Several may read one file: each knows where it is.
struct FileReader {
    file: Arc<File>,
    at: u64,
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// A large file in the making; dropped before it is published, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Draft(Making);

#[derive(Debug)]
enum Making {
    File(directory::Draft),
    Upload(Box<store::Upload>),
}

impl Draft {
    /// What its content is written through. The content is complete when the writer was flushed and dropped.
    pub(crate) fn writer(&self) -> Result<Box<dyn Write + Send>> {
        match &self.0 {
            Making::File(draft) => Ok(Box::new(draft.file()?)),
            Making::Upload(upload) => Ok(Box::new(upload.writer())),
        }
    }

    /// What was written, to be read again. After this nothing can be written.
    pub(crate) fn content(&mut self) -> Result<Content> {
        match &mut self.0 {
            Making::File(draft) => Ok(Content::of(draft.file()?)),
            Making::Upload(upload) => upload.complete().map(|object| Content(Opened::Object(object))),
        }
    }

    /// Where it lies for now, if that is a file of this machine.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.0 {
            Making::File(draft) => Some(draft.path()),
            Making::Upload(_) => None,
        }
    }

    /// Makes it last, described by `manifest`, with small files beside it. All of it or nothing.
    pub(crate) fn publish(self, beside: &[(String, Vec<u8>)], manifest: &[u8]) -> Result<()> {
        match self.0 {
            Making::File(draft) => draft.publish(beside, manifest),
            Making::Upload(upload) => upload.publish(beside, manifest),
        }
    }
}

impl Vault {
    /// Opens the vault at `place`, a directory or the URL of a bucket, and proves that it is usable.
    pub(crate) fn open(place: &str, access: &Access) -> Result<Self> {
        if let Some(store) = store::Store::open(place, access)? {
            return Ok(Vault { place: Arc::new(store) });
        }
        Ok(Vault { place: Arc::new(directory::Directory::open(place)?) })
    }

    /// Opens the vault to read it; a directory that does not exist is an empty vault.
    pub(crate) fn open_to_read(place: &str, access: &Access) -> Result<Self> {
        if let Some(store) = store::Store::open(place, access)? {
            return Ok(Vault { place: Arc::new(store) });
        }
        Ok(Vault { place: Arc::new(directory::Directory::at(place)) })
    }

    /// The time by the clock that stamps the files in here.
    pub(crate) fn clock(&self) -> Result<DateTime<Utc>> {
        self.place.clock()
    }

    /// Where `name` lies, for people who want to look at it.
    pub(crate) fn shown(&self, name: &str) -> String {
        self.place.shown(name)
    }

    /// The directory that it is, if it is one: then files can be made in it that are renamed within it.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.place.directory()
    }

    /// Writes `content` under `name`, whole or not at all, replacing what was there.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        self.place.write(checked(name)?, content)
    }

    /// Adds a line to a log. An object store cannot append: there each line is an object below that name.
    pub(crate) fn append(&self, name: &str, at: DateTime<Utc>, line: &[u8]) -> Result<()> {
        self.place.append(checked(name)?, at, line)
    }

    /// The content of `name`, if it exists.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.place.read(checked(name)?, LARGEST_READ)
    }

    /// The content of `name`, if it exists and has at most so many bytes.
    pub(crate) fn read_at_most(&self, name: &str, largest: u64) -> Result<Option<Vec<u8>>> {
        self.place.read(checked(name)?, largest)
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
        names.iter().try_for_each(|name| checked(name).map(drop))?;
        Ok(self.place.read_all(names, largest))
    }

    /// What lies in a folder; `""` is the root. Nothing, if there is no such folder.
    pub(crate) fn list(&self, folder: &str) -> Result<Listing> {
        self.place.list(checked(folder)?)
    }

    /// Whether `name` exists.
    pub(crate) fn contains(&self, name: &str) -> Result<bool> {
        Ok(self.place.size(checked(name)?)?.is_some())
    }

    /// Removes a record that has served its purpose.
    pub(crate) fn forget(&self, name: &str) -> Result<()> {
        self.place.remove(checked(name)?)
    }

    /// Opens a file once, to be checked and used through the same handle: what was checked is what is used.
    pub(crate) fn open_file(&self, name: &str) -> Result<Content> {
        self.place.open(checked(name)?)
    }

    /// Takes the lock `name`, or says `None` when another process holds it.
    pub(crate) fn try_lock(&self, name: &str) -> Result<Option<Lock>> {
        self.place.try_lock(checked(name)?)
    }

    /// What tells the lock `name` of this vault from one in a copy of the vault: the machine since its latest start, the
    /// file system and the file; of an object store, the address. Only where a lock has the mark that it had when it was
    /// taken does it say anything that nobody holds it now.
    pub(crate) fn lock_mark(&self, name: &str) -> Result<Option<String>> {
        Ok(self.place.mark(checked(name)?))
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
        checked(payload)?;
        self.place.draft(checked(stem)?, payload)
    }

    /// Puts right what processes left that died on the way. What living ones are making is not touched.
    pub(crate) fn recover(&self, files_of: FilesOf<'_>) -> Result<Recovered> {
        self.place.recover(files_of)
    }

    /// Gives what lies under `from` a second name at the root, where nothing is.
    pub(crate) fn copy(&self, from: &str, to: &str) -> Result<()> {
        self.place.copy(checked(from)?, checked(to)?)
    }

    /// Deletes a backup: from the first moment on it does not count, and from then on it will be deleted, even if
    /// this process dies. The caller holds [`Vault::quiet`].
    pub(crate) fn delete(&self, stem: &str, files: &[String]) -> Result<()> {
        files.iter().try_for_each(|file| checked(file).map(drop))?;
        self.place.delete(checked(stem)?, files)
    }
}

/// Names come from ids that have been checked; this holds even if one was not.
fn checked(name: &str) -> Result<&str> {
    let is_plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    // `components` passes over a dot in the middle and over doubled and closing slashes.
    let is_canonical = name.is_empty() || name.split('/').all(|part| !part.is_empty() && part != ".");
    if is_plain && is_canonical && !name.chars().any(char::is_control) {
        Ok(name)
    } else {
        Err(Error::request(format!("`{}` is not a name in the vault", name.escape_default())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_vault() {
        for name in ["../x", "/etc/passwd", "a/../../x", "./x", "a//b", "a/", "a\nb"] {
            assert!(checked(name).is_err(), "{name}");
        }
        for name in ["", "a", ".lock", "drills/orders/run.json"] {
            assert!(checked(name).is_ok(), "{name}");
        }
    }
}
