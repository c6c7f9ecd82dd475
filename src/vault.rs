//! The directory that holds what must not be lost: atomic writes, locks.
//!
//! A final name exists only when its content is complete and flushed to disk. Directories are 0750, files 0600.

mod draft;

pub use draft::{Draft, Recovered, read_small};

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use chrono::{DateTime, Utc};
use fs4::fs_std::FileExt as _;

use crate::error::{Error, Result};

/// A directory for what must last.
#[derive(Clone, Debug)]
pub struct Vault {
    root: PathBuf,
}

/// A lock on something in the vault, held until the value is dropped, and let go by the kernel when the process
/// dies, however it dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Vault {
    /// Opens the vault at `place`, a directory that need not exist yet, and proves that it can be written.
    pub fn open(place: &str) -> Result<Self> {
        if let Some((scheme, _)) = place.split_once("://") {
            return Err(Error::request(format!(
                "`{place}` cannot be the vault: `{scheme}://` is not supported"
            ))
            .hint("Name a directory with `--vault` or BACKUP_DIR."));
        }
        let vault = Vault { root: PathBuf::from(place) };
        let unusable = |error: std::io::Error| {
            Error::outside(format!("cannot write to the vault `{place}`"))
                .caused_by(error)
                .hint("Choose another directory with `--vault` or BACKUP_DIR, or make this one writable.")
        };
        make_directory(&vault.root).map_err(unusable)?;
        tempfile::tempfile_in(&vault.root)
            .and_then(|mut probe| probe.write_all(b"lifeboat"))
            .map_err(unusable)?;
        Ok(vault)
    }

    /// Opens the vault to read it; a directory that does not exist is an empty vault.
    pub fn open_to_read(place: &str) -> Result<Self> {
        if Path::new(place).exists() { Self::open(place) } else { Ok(Vault { root: PathBuf::from(place) }) }
    }

    /// The time by the clock that stamps the files in here.
    pub fn clock(&self) -> Result<DateTime<Utc>> {
        let failed = |error: std::io::Error| {
            Error::outside(format!("cannot write to the vault `{}`", self.root.display())).caused_by(error)
        };
        let mut probe = tempfile::tempfile_in(&self.root).map_err(failed)?;
        probe.write_all(b"lifeboat").map_err(failed)?;
        // Straight from the kernel: what changes the clock of a process can change what its C library says of files.
        let found = rustix::fs::fstat(&probe).map_err(|error| failed(error.into()))?;
        DateTime::from_timestamp(found.st_mtime, 0).ok_or_else(|| {
            Error::outside(format!("the files of the vault `{}` have no times", self.root.display()))
        })
    }

    /// Where `name` lies, for people who want to look at it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes `content` under `name`, whole or not at all, replacing what was there.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.inside(name)?;
        let failed = |error: std::io::Error| {
            Error::outside(format!("cannot write `{}`", path.display()))
                .caused_by(error)
                .hint("Free some space, or choose another `--vault`.")
        };
        let parent = path.parent().unwrap_or(&self.root);
        make_directory(parent).map_err(failed)?;
        // A private temporary file in the same directory, since a rename is atomic only within a file system.
        let mut file =
            tempfile::Builder::new().prefix(".").suffix(".tmp").tempfile_in(parent).map_err(failed)?;
        file.write_all(content).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        // The new name itself must be on disk too.
        File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(path)
    }

    /// The content of `name`, if it exists.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.inside(name)?;
        match fs::read(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::outside(format!("cannot read `{}`", path.display())).caused_by(error)),
        }
    }

    /// Names of the directories below `name`, sorted.
    pub fn directories(&self, name: &str) -> Result<Vec<String>> {
        let path = self.inside(name)?;
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(Error::outside(format!("cannot read `{}`", path.display())).caused_by(error));
            }
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// Takes the lock file `name`, or says `None` when another process holds it.
    pub fn try_lock(&self, name: &str) -> Result<Option<Lock>> {
        let path = self.inside(name)?;
        let failed = |error: std::io::Error| {
            Error::outside(format!("cannot lock `{}`", path.display())).caused_by(error)
        };
        make_directory(path.parent().unwrap_or(&self.root)).map_err(failed)?;
        let file = lock_file(&path).map_err(failed)?;
        Ok(file.try_lock_exclusive().map_err(failed)?.then_some(Lock { _file: file }))
    }

    /// Whether `name` exists.
    pub fn contains(&self, name: &str) -> bool {
        self.inside(name).is_ok_and(|path| path.exists())
    }

    /// Names come from ids that have been checked; this holds even if one was not.
    fn inside(&self, name: &str) -> Result<PathBuf> {
        if Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
            Ok(self.root.join(name))
        } else {
            Err(Error::request(format!("`{}` is not a name in the vault", name.escape_default())))
        }
    }
}

/// A lock file is never removed: whoever waits for the old one would then hold a lock on nothing.
fn lock_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}

fn make_directory(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn vault() -> (tempfile::TempDir, Vault) {
        let directory = tempfile::tempdir().unwrap();
        let vault = Vault::open(directory.path().join("v").to_str().unwrap()).unwrap();
        (directory, vault)
    }

    #[test]
    fn what_is_written_is_private_and_replaces_what_was_there() {
        let (_directory, vault) = vault();
        vault.write("drills/a/b.json", b"one").unwrap();
        let path = vault.write("drills/a/b.json", b"two").unwrap();
        assert_eq!(vault.read("drills/a/b.json").unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o750);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "a temporary file was left");
    }

    #[test]
    fn no_name_leads_out_of_the_vault() {
        let (_directory, vault) = vault();
        for name in ["../x", "/etc/passwd", "a/../../x", "./x"] {
            assert!(vault.write(name, b"").is_err(), "{name}");
            assert!(vault.read(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let (_directory, vault) = vault();
        let first = vault.try_lock("x/lock").unwrap();
        assert!(first.is_some());
        assert!(vault.try_lock("x/lock").unwrap().is_none());
        drop(first);
        assert!(vault.try_lock("x/lock").unwrap().is_some());
    }
}
