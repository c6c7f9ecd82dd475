//! The vault as a directory of a file system. Directories are 0750, files 0600.

mod beneath;
mod draft;
mod placing;
mod root;

pub(super) use beneath::Beneath;
pub(crate) use placing::{link_or_copy, rename_new, sync_folder};
pub(super) use root::Directory;

use std::fs;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use chrono::{DateTime, Utc};
use fs4::fs_std::FileExt as _;

use super::backend::{
    Backend, Content, Draft, FilesOf, LARGEST_READ, LeaseLock, Listing, Lock, Recovered, Version,
};
use super::pulse::Overwritten;
use crate::error::{Error, Result};
use root::{cannot_write, failed, make_directory};

impl Backend for Directory {
    fn shown(&self, name: &str) -> String {
        let path = self.path(name);
        std::path::absolute(&path).unwrap_or(path).display().to_string()
    }

    fn directory(&self) -> Option<&Path> {
        Some(&self.root)
    }

    fn clock(&self) -> Result<DateTime<Utc>> {
        let failed = |error: io::Error| {
            Error::outside(format!("cannot write to the vault `{}`", self.root.display())).caused_by(error)
        };
        let mut probe = tempfile::tempfile_in(&self.root).map_err(failed)?;
        probe.write_all(b"lifeboat").map_err(failed)?;
        // Straight from the kernel: what changes the clock of a process can change what its C library says of files.
        let found = rustix::fs::fstat(&probe).map_err(|error| failed(error.into()))?;
        DateTime::from_timestamp(found.st_mtime, 0).ok_or_else(|| {
            Error::outside(format!(
                "the files of the vault `{}` have no modification times",
                self.root.display()
            ))
        })
    }

    fn list(&self, folder: &str) -> Result<Listing> {
        self.beneath().list(folder).map_err(|error| failed("read", &self.path(folder), error))
    }

    fn size(&self, name: &str) -> Result<Option<u64>> {
        self.beneath().size(name).map_err(|error| failed("read", &self.path(name), error))
    }

    fn read(&self, name: &str, largest: u64) -> Result<Option<Vec<u8>>> {
        match self.beneath().read(name, largest) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &self.path(name), error)),
        }
    }

    fn read_all(&self, names: &[String], largest: u64) -> Vec<Result<Option<Vec<u8>>>> {
        names.iter().map(|name| self.read(name, largest)).collect()
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        make_directory(&self.root)
            .and_then(|()| self.beneath().replace(name, content))
            .map_err(|error| cannot_write(&self.path(name), error))
    }

    fn append(&self, name: &str, _at: DateTime<Utc>, line: &[u8]) -> Result<()> {
        let act = || -> io::Result<()> {
            make_directory(&self.root)?;
            let beneath = self.beneath();
            let mut file = beneath.open_to_append(name)?;
            file.lock_exclusive()?;
            // Whoever held the lock may have put another file in its place.
            while !beneath.is_still(name, &file)? {
                file = beneath.open_to_append(name)?;
                file.lock_exclusive()?;
            }
            // A line that a full disk cut off must not swallow this one.
            let mut last = [b'\n'];
            if file.metadata()?.len() > 0 {
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)?;
            }
            let parts: [&[u8]; 3] = [if last == [b'\n'] { b"" } else { b"\n" }, line, b"\n"];
            file.write_all(&parts.concat())?;
            file.sync_all()
        };
        act().map_err(|error| cannot_write(&self.path(name), error))
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.beneath().remove(name).map_err(|error| failed("remove", &self.path(name), error))
    }

    fn open(&self, name: &str) -> Result<Content> {
        self.beneath().open(name).map(Content::of).map_err(|error| {
            failed("open", &self.path(name), error).hint("`lifeboat backup list` shows what the vault holds.")
        })
    }

    fn try_lock(&self, name: &str) -> Result<Option<Lock>> {
        let failed = |error: io::Error| failed("lock", &self.path(name), error);
        make_directory(&self.root).map_err(failed)?;
        let file = self.beneath().open_lock(name).map_err(failed)?;
        Ok(file.try_lock_exclusive().map_err(failed)?.then(|| Box::new(file) as Lock))
    }

    fn versioned(&self, name: &str) -> Result<Option<(Vec<u8>, Version)>> {
        Ok(self.read(name, LARGEST_READ)?.map(|content| (content.clone(), Version::Content(content))))
    }

    /// The lock of the lease, held by the caller, makes looking and replacing one step. Where a file system keeps such locks to
    /// each machine, a moment is left between the two: what counts is who stands there afterwards.
    fn put_if(&self, name: &str, content: &[u8], seen: Option<&Version>) -> Result<Option<Version>> {
        let Some(Version::Content(seen)) = seen else {
            let made = make_directory(&self.root).and_then(|()| self.beneath().create(name, content));
            let is_ours = made.map_err(|error| failed("write", &self.path(name), error))?;
            return Ok(is_ours.then(|| Version::Content(content.to_vec())));
        };
        if self.read(name, LARGEST_READ)?.as_ref() != Some(seen) {
            return Ok(None);
        }
        self.write(name, content)?;
        let is_ours = self.read(name, LARGEST_READ)?.is_some_and(|there| there == content);
        Ok(is_ours.then(|| Version::Content(content.to_vec())))
    }

    fn overwritten(&self) -> Overwritten {
        Overwritten::Gone
    }

    fn lease_lock(&self, name: &str) -> Result<LeaseLock> {
        let hidden = match name.rsplit_once('/') {
            Some((folder, name)) => format!("{folder}/.{name}.lock"),
            None => format!(".{name}.lock"),
        };
        let failed = |error: io::Error| failed("lock", &self.path(&hidden), error);
        make_directory(&self.root).map_err(failed)?;
        let file = self.beneath().open_lock(&hidden).map_err(failed)?;
        Ok(if file.try_lock_exclusive().map_err(failed)? { LeaseLock::Ours(file) } else { LeaseLock::Held })
    }

    /// Nothing of this outlives the machine's next start, nor holds on another machine: what it then says is that nothing is
    /// known.
    fn mark(&self, name: &str) -> Option<String> {
        let found = fs::symlink_metadata(self.path(name)).ok()?;
        let machine = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(format!("{}:{}:{}", machine.trim(), found.dev(), found.ino()))
    }

    fn draft(&self, stem: &str, payload: &str) -> Result<Option<Draft>> {
        Ok(self.begin_draft(stem, payload)?.map(|draft| Box::new(draft) as Draft))
    }

    fn recover(&self, files_of: FilesOf<'_>) -> Result<Recovered> {
        self.tidy(files_of)
    }

    fn copy(&self, from: &str, to: &str) -> Result<()> {
        let act = || -> io::Result<()> {
            let (beneath, source) = (self.beneath(), self.beneath().open(from)?);
            beneath.create_from(to, from, source)
        };
        act().map_err(|error| cannot_write(&self.path(to), error))
    }

    fn delete(&self, stem: &str, files: &[String]) -> Result<()> {
        self.delete_backup(stem, files)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn directory() -> (tempfile::TempDir, Directory) {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::open(parent.path().join("v").to_str().unwrap()).unwrap();
        (parent, directory)
    }

    #[test]
    fn what_is_written_is_private_and_replaces_what_was_there() {
        let (_parent, directory) = directory();
        directory.write("drills/a/b.json", b"one").unwrap();
        directory.write("drills/a/b.json", b"two").unwrap();
        let path = directory.path("drills/a/b.json");
        assert_eq!(directory.read("drills/a/b.json", 99).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o750);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "a temporary file was left");
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let (_parent, directory) = directory();
        let first = directory.try_lock("x/lock").unwrap();
        assert!(first.is_some());
        assert!(directory.try_lock("x/lock").unwrap().is_none());
        drop(first);
        assert!(directory.try_lock("x/lock").unwrap().is_some());
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_swallow_the_next() {
        let (_parent, directory) = directory();
        directory.append("log", DateTime::UNIX_EPOCH, b"one").unwrap();
        let mut file = OpenOptions::new().append(true).open(directory.path("log")).unwrap();
        file.write_all(b"tw").unwrap();
        directory.append("log", DateTime::UNIX_EPOCH, b"three").unwrap();
        assert_eq!(directory.read("log", 99).unwrap().unwrap(), b"one\ntw\nthree\n");
    }
}
