//! The directory of a vault, and how it is made and locked.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use fs4::fs_std::FileExt as _;

use super::beneath::Beneath;
use super::placing::sync_folder;
use crate::error::{Error, Result};

/// A directory for what must last.
#[derive(Clone, Debug)]
pub(in crate::vault) struct Directory {
    pub(super) root: PathBuf,
}

impl Directory {
    /// The directory, whether it exists or not.
    pub(in crate::vault) fn at(place: &str) -> Self {
        Directory { root: PathBuf::from(place) }
    }

    /// The directory, made if it is not there, and proven to be writable.
    pub(in crate::vault) fn open(place: &str) -> Result<Self> {
        let directory = Self::at(place);
        let unusable = |error: io::Error| {
            Error::outside(format!("cannot write to the vault `{place}`"))
                .caused_by(error)
                .hint("Choose another directory with `--vault` or BACKUP_DIR, or make this one writable.")
        };
        make_directory(&directory.root).map_err(unusable)?;
        // What the file system of the vault cannot do is said now, and not when hours of a dump are in it.
        let mut probe = tempfile::tempfile_in(&directory.root)
            .and_then(|mut probe| probe.write_all(b"lifeboat").map(|()| probe))
            .map_err(unusable)?;
        probe.flush().and_then(|()| probe.sync_all()).map_err(|error| {
            Error::outside(format!("the file system of the vault `{place}` cannot flush a file to disk"))
                .caused_by(error)
                .hint("A power failure could lose backups there: choose another `--vault`.")
        })?;
        probe.try_lock_exclusive().map_err(|error| {
            Error::outside(format!("the file system of the vault `{place}` does not support locks"))
                .caused_by(error)
                .hint(
                    "Locks keep two backups apart. Enable them (an NFS server needs `lockd`), or choose another \
                     `--vault`.",
                )
        })?;
        Ok(directory)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn beneath(&self) -> Beneath {
        Beneath::at(&self.root)
    }

    /// Waits for the lock under which the root is tidied; whoever holds it holds it for a moment.
    pub(super) fn quiet(&self) -> Result<File> {
        self.beneath()
            .open_lock(".lock")
            .and_then(|file| file.lock_exclusive().map(|()| file))
            .map_err(|error| failed("lock", &self.path(".lock"), error))
    }
}

pub(super) fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    Error::outside(format!("cannot {what} `{}`", path.display())).caused_by(error)
}

pub(super) fn cannot_write(path: &Path, error: io::Error) -> Error {
    failed("write", path, error).hint("Free some space, or choose another `--vault`.")
}

pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(path)
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    sync_folder(&File::open(path)?)
}
