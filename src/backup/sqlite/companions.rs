//! What lies beside a SQLite file, and whose file it is.
//!
//! SQLite plays `-wal` and `-journal` into whatever file lies beside them, whoever left them there: one that belongs to a
//! file that is gone would undo a restore, or damage what was restored.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

/// The endings of the files that SQLite keeps beside a database.
const ENDINGS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The path of a file that has another one's name and more.
pub(in crate::backup) fn path_beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Moves what lies beside `path` to lie beside `to` instead: each file where it was and where it is now.
pub(in crate::backup) fn move_aside(path: &Path, to: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let mut moved = Vec::new();
    for ending in ENDINGS {
        let (here, there) = (path_beside(path, ending), path_beside(to, ending));
        match fs::rename(&here, &there) {
            Ok(()) => moved.push((here, there)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                for (here, there) in moved.iter().rev() {
                    let _ = fs::rename(there, here);
                }
                return Err(error);
            }
        }
    }
    Ok(moved)
}

/// Copies a database with its WAL and journal. False, if something of it changed meanwhile.
pub(super) fn copy_all(path: &Path, copy: &Path) -> io::Result<bool> {
    let state = || {
        let state = |ending| match fs::metadata(path_beside(path, ending)) {
            Ok(found) => Ok(Some((
                (found.dev(), found.ino(), found.len()),
                (found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()),
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        ["", "-wal", "-journal"].into_iter().map(state).collect::<io::Result<Vec<_>>>()
    };
    let before = state()?;
    for (ending, found) in ["", "-wal", "-journal"].into_iter().zip(&before) {
        if found.is_some() {
            let (from, to) = (path_beside(path, ending), path_beside(copy, ending));
            let mut to = OpenOptions::new().create_new(true).write(true).open(to)?;
            to.set_permissions(fs::Permissions::from_mode(0o600))?;
            io::copy(&mut File::open(from)?, &mut to)?;
        }
    }
    Ok(state()? == before)
}

/// Whoever only reads a database in WAL mode leaves an empty WAL and its index behind: SQLite removes them when somebody
/// who may write closes it last.
pub(super) struct Tidying {
    path: PathBuf,
    had_none: bool,
}

impl Tidying {
    /// Takes note of what there is before a database is opened.
    pub(super) fn of(path: &Path) -> Self {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let had_none = ["-wal", "-shm"].iter().all(|ending| !path_beside(&path, ending).exists());
        Tidying { path, had_none }
    }
}

impl Drop for Tidying {
    fn drop(&mut self) {
        let is_empty =
            |ending| fs::metadata(path_beside(&self.path, ending)).is_ok_and(|found| found.len() == 0);
        if !self.had_none || !is_empty("-wal") {
            return;
        }
        // Under SQLite's own locks: an application that has opened it meanwhile keeps them.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let _ = Connection::open_with_flags(&self.path, flags).and_then(|connection| {
            connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))
        });
    }
}

/// Whose file a database is, and who may open it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileOwner {
    /// Permissions, in octal.
    pub mode: String,
    /// Number of the user.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Name of the user, if this machine has one for the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Name of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

impl FileOwner {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(FileOwner {
            mode: format!("{:04o}", found.mode() & 0o777),
            uid: found.uid(),
            gid: found.gid(),
            user: name_of(USERS, found.uid()),
            group: name_of(GROUPS, found.gid()),
        })
    }

    /// Gives a file to whom it belonged. `Err` holds the command that does, where we may not.
    ///
    /// On another machine a number may be somebody else's, so that only names count there.
    pub(in crate::backup) fn give(
        &self,
        file: &Path,
        shown: &Path,
        is_same_host: bool,
    ) -> Result<(), String> {
        let Some(command) = self.command_unless_given(file, shown) else { return Ok(()) };
        let number = |list, name: &Option<String>, number| match name {
            Some(name) => number_of(list, name).or(is_same_host.then_some(number)),
            None => is_same_host.then_some(number),
        };
        let (uid, gid) = (number(USERS, &self.user, self.uid), number(GROUPS, &self.group, self.gid));
        // The group first, while it is still ours.
        let is_given = uid.is_some()
            && gid.is_some()
            && fs::metadata(file).is_ok_and(|found| {
                (found.gid() == gid.unwrap_or_default() || chown(file, None, gid).is_ok())
                    && (found.uid() == uid.unwrap_or_default() || chown(file, uid, None).is_ok())
            });
        let mode = u32::from_str_radix(&self.mode, 8).unwrap_or(0o600) & 0o777;
        if is_given && fs::set_permissions(file, fs::Permissions::from_mode(mode)).is_ok() {
            return Ok(());
        }
        Err(command)
    }

    /// The command that gives a file to whom it belonged, unless it is his already.
    pub(in crate::backup) fn command_unless_given(&self, file: &Path, shown: &Path) -> Option<String> {
        let mode = u32::from_str_radix(&self.mode, 8).unwrap_or(0o600) & 0o777;
        let is_given = |found: fs::Metadata| {
            found.uid() == self.uid && found.gid() == self.gid && found.mode() & 0o777 == mode
        };
        if fs::metadata(file).is_ok_and(is_given) {
            return None;
        }
        let word = |name: &Option<String>, number: u32| name.clone().unwrap_or_else(|| number.to_string());
        let path = crate::backup::schedule::quote_for_shell(&shown.to_string_lossy());
        Some(format!(
            "chown {}:{} {path} && chmod {mode:04o} {path}",
            crate::backup::schedule::quote_for_shell(&word(&self.user, self.uid)),
            crate::backup::schedule::quote_for_shell(&word(&self.group, self.gid)),
        ))
    }
}

/// The name of a number in `/etc/passwd` or `/etc/group`.
fn name_of(list: &str, number: u32) -> Option<String> {
    read_entries(list).into_iter().find(|entry| entry.1 == number).map(|entry| entry.0)
}

fn number_of(list: &str, name: &str) -> Option<u32> {
    read_entries(list).into_iter().find(|entry| entry.0 == name).map(|entry| entry.1)
}

fn read_entries(list: &str) -> Vec<(String, u32)> {
    let text = fs::read_to_string(list).unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split(':');
        Some((fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}
