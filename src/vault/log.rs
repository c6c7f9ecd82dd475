//! A file that only grows: each line is on disk before anything else happens.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::Vault;
use super::backend::checked_name;
use super::directory::Beneath;
use crate::error::{Error, Result};

/// A file that only grows.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    path: PathBuf,
}

impl Vault {
    /// Where `name` lies, in a vault that is a directory: what must be on disk before the next step is taken, and what other
    /// programs hold open, cannot lie in an object store.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf> {
        let Some(root) = self.directory() else {
            return Err(Error::request(format!(
                "`{}` cannot hold runbook runs: it is not a directory",
                self.shown("")
            ))
            .hint("Name a directory with `--vault` or BACKUP_DIR."));
        };
        Beneath::at(root).plain_path(checked_name(name)?).map_err(|error| {
            Error::outside(format!("cannot use `{}`", root.join(name).display())).caused_by(error)
        })
    }

    /// Opens the log `name`, new or not.
    pub(crate) fn log(&self, name: &str) -> Result<Log> {
        let path = self.path(name)?;
        let failed =
            |error: io::Error| Error::outside(format!("cannot open `{}`", path.display())).caused_by(error);
        let root = self.directory().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o750).create(root).map_err(failed)?;
        let file = Beneath::at(root).open_to_append(checked_name(name)?).map_err(failed)?;
        let parent = path.parent().unwrap_or(&path);
        File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(Log { file, path })
    }
}

impl Log {
    /// All of it.
    pub(crate) fn read(&mut self) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.file
            .rewind()
            .and_then(|()| self.file.read_to_end(&mut content))
            .map_err(|error| self.failed("read", error))?;
        Ok(content)
    }

    /// Adds a line, which is on disk when this returns.
    pub(crate) fn append(&mut self, line: &[u8]) -> Result<()> {
        self.file
            .write_all(line)
            .and_then(|()| self.file.sync_data())
            .map_err(|error| self.failed("write", error).hint("Free some space; the run can be resumed."))
    }

    /// Cuts off what a crash has left behind the last whole line.
    pub(crate) fn cut_to(&mut self, length: u64) -> Result<()> {
        self.file
            .set_len(length)
            .and_then(|()| self.file.sync_data())
            .map_err(|error| self.failed("write", error))
    }

    fn failed(&self, what: &str, error: io::Error) -> Error {
        Error::outside(format!("cannot {what} `{}`", self.path.display())).caused_by(error)
    }
}
