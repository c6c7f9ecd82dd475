//! Bringing content into a file that applications have open.

use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::open::{BUSY, explain_failure, open_to_read};
use crate::error::{Error, Kind, Result};

const WRITE: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// What of a database cannot change under the connections of others.
#[derive(PartialEq, Eq)]
struct Form {
    page_size: u32,
    encoding: String,
    is_wal: bool,
    is_empty: bool,
}

impl Form {
    fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let number = |pragma| connection.query_row(pragma, [], |row| row.get::<_, u32>(0));
        let word = |pragma| connection.query_row(pragma, [], |row| row.get::<_, String>(0));
        Ok(Form {
            page_size: number("pragma page_size")?,
            encoding: word("pragma encoding")?,
            is_wal: word("pragma journal_mode")? == "wal",
            is_empty: number("pragma page_count")? == 0,
        })
    }

    /// SQLite changes the size of pages only outside of WAL mode, and leaves WAL mode only where no other connection is open.
    fn must_leave_wal(&self, to: &Form) -> bool {
        self.is_wal && !self.is_empty && self.page_size != to.page_size
    }

    /// A connection that has read one encoding refuses another.
    fn locks_others_out(&self, to: &Form) -> bool {
        !self.is_empty && self.encoding != to.encoding
    }
}

/// Refuses what SQLite could not bring into a live file, or what those who have it open could not read, before anything is
/// done for it.
pub(in crate::backup) fn require_fit(copy: &Path, target: &Path) -> Result<()> {
    let failed = |error: rusqlite::Error| explain_failure(copy, "cannot look into", error);
    let content = Form::of(&open_to_read(copy)?).map_err(failed)?;
    // What cannot be read is told when it is backed up.
    let Some(now) = open_to_read(target).ok().and_then(|live| Form::of(&live).ok()) else { return Ok(()) };
    let (must_leave_wal, locks_others_out) = (now.must_leave_wal(&content), now.locks_others_out(&content));
    // In WAL mode every open connection holds a lock; otherwise nobody can tell whether there is one.
    if !(must_leave_wal || locks_others_out) || (now.is_wal && is_free(target)?) {
        return Ok(());
    }
    let shown = target.display();
    let reason = if locks_others_out {
        let (from, to) = (now.encoding, content.encoding);
        format!(
            "`{shown}` holds its text in {from} and the backup in {to}, which open connections could not read"
        )
    } else {
        let (from, to) = (now.page_size, content.page_size);
        format!(
            "`{shown}` has pages of {from} bytes and the backup has pages of {to}: in WAL mode SQLite changes that only \
             while no other connection is open, and one is"
        )
    };
    Err(Error::new(Kind::Guard, reason)
        .hint("Nothing was changed. Stop the processes that use the file, and pass `--offline`."))
}

/// Brings the pages of `copy` into the live database at `target`, through SQLite, so that connections of applications
/// see the new content with their next transaction and can go on.
pub(in crate::backup) fn restore_into_live(copy: &Path, target: &Path) -> Result<()> {
    let failed = |error: rusqlite::Error| explain_failure(target, "cannot restore into", error);
    let source = open_to_read(copy)?;
    let mut live = Connection::open_with_flags(target, WRITE).map_err(failed)?;
    live.busy_timeout(BUSY).map_err(failed)?;
    let (now, content) = (Form::of(&live).map_err(failed)?, Form::of(&source).map_err(failed)?);
    let leaves_wal = now.must_leave_wal(&content);
    if leaves_wal {
        let mode = live.query_row("pragma journal_mode = delete", [], |row| row.get::<_, String>(0));
        if mode.map_err(failed)? != "delete" {
            return Err(locked_error(target));
        }
    }
    let step = Backup::new(&source, &mut live).and_then(|backup| {
        // In one step: one transaction of the target, which comes about whole or not at all.
        backup.step(-1)
    });
    drop(live);
    if leaves_wal {
        set_journal_mode(target, "wal")?;
    }
    match step.map_err(failed)? {
        StepResult::Done => Ok(()),
        _ => Err(locked_error(target)),
    }
}

fn locked_error(target: &Path) -> Error {
    Error::outside(format!("`{}` is locked by another process", target.display()))
        .hint("Another process holds a transaction open: end it, and run the command again.")
}

/// Whether nobody else has a database open for writing, or holds a transaction.
pub(in crate::backup) fn is_free(path: &Path) -> Result<bool> {
    let try_it = || -> rusqlite::Result<()> {
        let connection = Connection::open_with_flags(path, WRITE)?;
        connection.execute_batch("pragma locking_mode = exclusive; begin exclusive; rollback")
    };
    match try_it() {
        Ok(()) => Ok(true),
        Err(error)
            if matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(explain_failure(path, "cannot lock", error)),
    }
}

/// Sets the journal mode of a database that was restored, to what its source had.
pub(in crate::backup) fn set_journal_mode(path: &Path, mode: &str) -> Result<()> {
    if mode != "wal" {
        return Ok(());
    }
    let set = || -> rusqlite::Result<String> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.query_row("pragma journal_mode = wal", [], |row| row.get(0))
    };
    set().map(|_| ()).map_err(|error| explain_failure(path, "cannot set the journal mode of", error))
}
