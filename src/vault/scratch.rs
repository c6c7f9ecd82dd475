//! Folders for what is looked at and thrown away: expanded content, the parts of a parallel dump.
//!
//! A folder is gone when its value is dropped; after a crash its lock is free, and whoever needs a folder next removes
//! it. Content of encrypted backups is laid out in memory, never on a disk.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use fs4::fs_std::FileExt as _;

use super::directory::Beneath;
use crate::error::{Error, Result};

/// A folder that nobody else may look into, and that does not last.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    _lock: File,
}

/// Whether what lies in a scratch folder may be on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// It may.
    Open,
    /// It belongs to an encrypted backup: it stays in memory.
    Sealed,
}

/// Memory that has file names, on Linux.
pub(super) const MEMORY: &str = "/dev/shm";

impl Scratch {
    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file in it lies.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a file in it, to write to.
    pub(crate) fn create(&self, name: &str) -> Result<File> {
        let path = self.file(name);
        OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(&path).map_err(|error| {
            Error::outside(format!("cannot write `{}`", path.display()))
                .caused_by(error)
                .hint("Free some space, or set TMPDIR to another folder.")
        })
    }

    pub(super) fn among_others(place: &Path) -> io::Result<Self> {
        sweep(place);
        Self::make(&place.join(format!("lifeboat-{:016x}.partial", rand::random::<u64>())))
    }

    pub(super) fn make(path: &Path) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).create(path)?;
        let lock = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path.join(LOCK))?;
        lock.lock_exclusive()?;
        Ok(Scratch { path: path.to_owned(), _lock: lock })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

const LOCK: &str = "lock";

/// Whether a folder was left by a process that died. `without_lock` says what a folder is that has no lock in it.
pub(super) fn is_abandoned(folder: &Path, without_lock: bool) -> io::Result<bool> {
    // Whoever made the folder could have put a pipe or a link there.
    match Beneath::at(folder).open(LOCK) {
        Ok(file) => file.try_lock_exclusive(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(without_lock),
        Err(error) => Err(error),
    }
}

/// Removes what our own processes left that died, in a place where others keep files too.
fn sweep(place: &Path) {
    let us = rustix::process::getuid().as_raw();
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours = name.starts_with("lifeboat-")
            && name.ends_with(".partial")
            && entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == us);
        // One without a lock is just being made.
        if is_ours && is_abandoned(&entry.path(), false).unwrap_or(false) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_a_process_that_died_is_removed_and_one_of_a_living_one_is_not() {
        let place = tempfile::tempdir().unwrap();
        let alive = Scratch::among_others(place.path()).unwrap();
        let dead = place.path().join("lifeboat-1.partial");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        let other = Scratch::among_others(place.path()).unwrap();
        assert!(alive.path().exists() && other.path().exists() && !dead.exists());
        let path = alive.path().to_owned();
        drop(alive);
        assert!(!path.exists());
    }
}
