//! Copies of whole database clusters on disk.

use std::io;
use std::path::Path;
use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::cancel::CancelSignal;
use crate::home::{Owner, give_to_owner};

/// Directories whose content a base backup leaves out (the directories themselves stay): it is rebuilt at startup,
/// or, for `pg_wal`, comes from the archive. The list is PostgreSQL's own (basebackup, "excludeDirContents").
const EMPTIED: &str =
    "pg_wal pg_dynshmem pg_notify pg_replslot pg_serial pg_snapshots pg_stat_tmp pg_subtrans";

/// Files that belong to the running server and not to its data.
const LEFT_OUT: &str = "postmaster.pid postmaster.opts postgresql.auto.conf.tmp current_logfiles.tmp \
    backup_label.old recovery.signal";

/// What a copy contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// A cluster at rest: everything.
    Everything,
    /// A cluster in use: what a base backup consists of. Files may vanish meanwhile.
    BaseBackup,
}

/// Copies a tree; the kernel shares the blocks where the file system supports it. Fails with
/// `io::ErrorKind::Interrupted` as soon as `cancel` is set.
pub(crate) fn copy_tree(
    from: &Path,
    to: &Path,
    content: Content,
    owner: Option<Owner>,
    cancel: &CancelSignal,
) -> io::Result<()> {
    TreeCopy { content, owner, cancel }.copy_directory(from, to, true)
}

struct TreeCopy<'a> {
    content: Content,
    owner: Option<Owner>,
    cancel: &'a CancelSignal,
}

impl TreeCopy<'_> {
    fn copy_directory(&self, from: &Path, to: &Path, is_top: bool) -> io::Result<()> {
        self.make_empty(to)?;
        let mut last = None;
        for entry in fs::read_dir(from)? {
            if self.cancel.is_set() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let entry = entry?;
            let name = entry.file_name();
            let text = name.to_string_lossy();
            let in_use = self.content == Content::BaseBackup;
            if in_use && (text.starts_with("pgsql_tmp") || text == "pg_internal.init") {
                continue;
            }
            if in_use && is_top && LEFT_OUT.split_whitespace().any(|name| name == text) {
                continue;
            }
            let (source, target) = (entry.path(), to.join(&name));
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(error) if in_use && error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if kind.is_dir() {
                if in_use && is_top && EMPTIED.split_whitespace().any(|name| name == text) {
                    self.make_empty(&target)?;
                } else {
                    self.copy_directory(&source, &target, false)?;
                }
            } else if kind.is_file() {
                // The control file is copied after everything else, as PostgreSQL's own tools do.
                if text == "pg_control" {
                    last = Some((source, target));
                } else {
                    self.copy_file(&source, &target)?;
                }
            }
        }
        if let Some((source, target)) = last {
            self.copy_file(&source, &target)?;
        }
        Ok(())
    }

    fn make_empty(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir(directory)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
        give_to_owner(self.owner, directory)
    }

    fn copy_file(&self, from: &Path, to: &Path) -> io::Result<()> {
        match fs::copy(from, to) {
            Ok(_) => give_to_owner(self.owner, to),
            // The file was dropped or truncated during the backup; the write-ahead log accounts for it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.content == Content::BaseBackup => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Removes a tree that may be missing or incomplete.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The names in a directory; none if it does not exist.
pub(crate) fn list_names(directory: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Prepares for a new tree: removes what an interrupted attempt left, and makes the parent directory.
pub(crate) fn make_room(path: &Path) -> io::Result<()> {
    remove_tree(path)?;
    path.parent().map_or(Ok(()), fs::create_dir_all)
}
