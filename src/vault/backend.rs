//! What a vault is made of, whether it is a directory or an object store: files, locks, drafts, leases.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::pulse::Overwritten;
use crate::error::{Error, Result};

/// What a directory and an object store each do in their own way. Names have been checked.
pub(super) trait Backend: fmt::Debug + Send + Sync {
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
    fn versioned(&self, name: &str) -> Result<Option<(Vec<u8>, Version)>>;
    fn put_if(&self, name: &str, content: &[u8], seen: Option<&Version>) -> Result<Option<Version>>;
    fn lease_lock(&self, name: &str) -> Result<LeaseLock>;
    fn overwritten(&self) -> Overwritten;
    fn mark(&self, name: &str) -> Option<String>;
    fn draft(&self, stem: &str, payload: &str) -> Result<Option<Draft>>;
    fn recover(&self, files_of: FilesOf<'_>) -> Result<Recovered>;
    fn copy(&self, from: &str, to: &str) -> Result<()>;
    fn delete(&self, stem: &str, files: &[String]) -> Result<()>;
    fn directory(&self) -> Option<&Path>;
}

/// What is read as a whole has at most so many bytes: more was never written, and would fill the memory.
pub(super) const LARGEST_READ: u64 = 256 << 20;

/// Reads from a manifest which files it describes, the content first; nothing if it is not whole.
pub(super) type FilesOf<'a> = &'a dyn Fn(&[u8]) -> Vec<String>;

/// What lies in a folder of the vault, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Files; hidden ones too.
    pub files: Vec<StoredFile>,
    /// Names of folders.
    pub folders: Vec<String>,
}

/// A file in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredFile {
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

/// What `Vault::recover` found and put right.
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
pub(crate) type Lock = Box<dyn HeldLock>;

/// A lock as a directory or an object store holds it.
pub(crate) trait HeldLock: fmt::Debug + Send + Sync {
    /// Fails unless it is still held; to be asked before something is destroyed: a process that was stopped for long may have
    /// lost its lock to another.
    fn require_held(&self) -> Result<()>;
}

/// The kernel's lock on a file, which nobody takes away.
impl HeldLock for File {
    fn require_held(&self) -> Result<()> {
        Ok(())
    }
}

/// A file of the vault that was opened once: whenever it is read it is the same bytes, whatever happens to its name.
#[derive(Clone, Debug)]
pub(crate) struct Content(pub(super) Arc<dyn Opened>);

/// An open file or object.
pub(super) trait Opened: fmt::Debug + Send + Sync {
    /// Reads it from its beginning.
    fn reader(&self) -> Box<dyn Read + Send>;
}

impl Opened for Arc<File> {
    fn reader(&self) -> Box<dyn Read + Send> {
        Box::new(FileReader { file: Arc::clone(self), at: 0 })
    }
}

impl Content {
    /// A file that is open already.
    pub(crate) fn of(file: File) -> Self {
        Content(Arc::new(Arc::new(file)))
    }

    /// Reads it from its beginning.
    pub(crate) fn reader(&self) -> Box<dyn Read + Send> {
        self.0.reader()
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
pub(crate) type Draft = Box<dyn DraftFile>;

/// A draft as a directory or an object store makes it.
pub(crate) trait DraftFile: fmt::Debug + Send + Sync {
    /// What its content is written through. The content is complete when the writer was flushed and dropped.
    fn writer(&self) -> Result<Box<dyn Write + Send>>;

    /// What was written, to be read again. After this nothing can be written.
    fn content(&mut self) -> Result<Content>;

    /// Where it lies for now, if that is a file of this machine.
    fn path(&self) -> Option<&Path>;

    /// Makes it last, described by `manifest`, with small files beside it. All of it or nothing.
    fn publish(self: Box<Self>, beside: &[(String, Vec<u8>)], manifest: &[u8]) -> Result<()>;
}

/// A file or an object as it was seen; it can be replaced if it is still so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Of a file: what is in it.
    Content(Vec<u8>),
    /// Of an object.
    Tag(Option<String>, Option<String>),
}

/// What the kernel says of a lease, where the vault is a directory.
#[derive(Debug)]
pub(super) enum LeaseLock {
    /// A living process has it.
    Held,
    /// It is held by us from now on.
    Ours(File),
    /// There is no such thing here.
    None,
}

/// Names come from ids that have been checked; this holds even if one was not.
pub(super) fn checked_name(name: &str) -> Result<&str> {
    let is_plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    // `components` passes over a dot in the middle and over doubled and closing slashes.
    let is_canonical = name.is_empty() || name.split('/').all(|part| !part.is_empty() && part != ".");
    if is_plain && is_canonical && !name.chars().any(char::is_control) {
        Ok(name)
    } else {
        Err(Error::request(format!("`{}` is not a valid name in the vault", name.escape_default())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_vault() {
        for name in ["../x", "/etc/passwd", "a/../../x", "./x", "a//b", "a/", "a\nb"] {
            assert!(checked_name(name).is_err(), "{name}");
        }
        for name in ["", "a", ".lock", "drills/orders/run.json"] {
            assert!(checked_name(name).is_ok(), "{name}");
        }
    }
}
