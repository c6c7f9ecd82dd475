//! Bringing content into a file that applications have open.

use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{BUSY, explain, open_to_read};
use crate::error::{Error, Kind, Result};

const WRITE: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Whether the pages of a live file are of another size, and it is in WAL mode: SQLite changes the size of pages only
/// outside of WAL mode, and leaves WAL mode only where no other connection is open.
fn needs_other_pages(live: &Connection, page_size: u32) -> rusqlite::Result<bool> {
    let mode: String = live.query_row("pragma journal_mode", [], |row| row.get(0))?;
    let pages: u32 = live.query_row("pragma page_count", [], |row| row.get(0))?;
    let now: u32 = live.query_row("pragma page_size", [], |row| row.get(0))?;
    Ok(mode == "wal" && pages > 0 && now != page_size)
}

/// Refuses what SQLite could not bring into a live file, before anything is done for it.
pub(in crate::backup) fn require_fit(target: &Path, page_size: u32) -> Result<()> {
    // What cannot be read is told when it is backed up.
    let Ok(live) = open_to_read(target) else { return Ok(()) };
    if page_size == 0 || !needs_other_pages(&live, page_size).unwrap_or(false) {
        return Ok(());
    }
    let now: u32 = live.query_row("pragma page_size", [], |row| row.get(0)).unwrap_or_default();
    drop(live);
    if is_free(target)? {
        return Ok(());
    }
    Err(Error::new(
        Kind::Guard,
        format!(
            "`{}` has pages of {now} bytes and the backup has pages of {page_size}: in WAL mode SQLite changes that only \
             while no other connection is open, and one is",
            target.display()
        ),
    )
    .hint("Nothing was touched. Stop what uses the file, and run this again."))
}

/// Brings the pages of `copy` into the live database at `target`, through SQLite, so that connections of applications
/// see the new content with their next transaction and can go on.
pub(in crate::backup) fn restore_into_live(copy: &Path, target: &Path) -> Result<()> {
    let failed = |error: rusqlite::Error| explain(target, "cannot restore into", error);
    let source = open_to_read(copy)?;
    let page_size: u32 = source.query_row("pragma page_size", [], |row| row.get(0)).map_err(failed)?;
    let mut live = Connection::open_with_flags(target, WRITE).map_err(failed)?;
    live.busy_timeout(BUSY).map_err(failed)?;
    let leaves_wal = needs_other_pages(&live, page_size).map_err(failed)?;
    let journal_mode = |mode: &str| -> rusqlite::Result<String> {
        live.query_row(&format!("pragma journal_mode = {mode}"), [], |row| row.get(0))
    };
    if leaves_wal && journal_mode("delete").map_err(failed)? != "delete" {
        return Err(locked(target));
    }
    let step = Backup::new(&source, &mut live).and_then(|backup| {
        // In one step: one transaction of the target, which comes about whole or not at all.
        backup.step(-1)
    });
    if leaves_wal {
        // An application that has opened it meanwhile goes on in the other mode, and sets its own when it opens it again.
        let _: rusqlite::Result<String> = live.query_row("pragma journal_mode = wal", [], |row| row.get(0));
    }
    match step.map_err(failed)? {
        StepResult::Done => Ok(()),
        _ => Err(locked(target)),
    }
}

fn locked(target: &Path) -> Error {
    Error::outside(format!("`{}` is locked by another process", target.display()))
        .hint("An application holds a transaction open: end it, and run this again.")
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
        Err(error) => Err(explain(path, "cannot lock", error)),
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
    set().map(|_| ()).map_err(|error| explain(path, "cannot set the journal mode of", error))
}
