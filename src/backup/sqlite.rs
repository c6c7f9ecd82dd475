//! SQLite: a consistent copy of a file that others write to, and what a copy contains.
//!
//! The pages are read through SQLite itself (`sqlite_dbpage`) inside one read transaction, so that they are of one
//! moment in both journal modes, whoever writes meanwhile; the file itself is copied only where SQLite can lock nothing
//! (a read-only mount), and then only if nothing changed meanwhile. The source is opened read-only and never as
//! `immutable`. The one thing that is changed in a copy is its journal mode: a copy in WAL mode would need files beside it.
//!
//! `integrity_check` finds a damaged structure but no changed value (facts of SQLite's documentation of the pragma), so
//! a copy is proven by its SHA-256 as well.

mod companions;
mod contents;
mod indexes;
mod inspect;
mod live;
mod open;
mod structure;

use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};

pub(super) use companions::{FileOwner, move_aside, path_beside};
pub(super) use contents::{Contents, Warning};
pub(super) use inspect::inspect;
pub(super) use live::{is_free, require_fit, restore_into_live, set_journal_mode};
pub(super) use open::has_header;

use super::event::cannot_write;
use super::sqlite_url::absolute_path;
use crate::error::{Error, Result};
use crate::vault::Scratch;
use open::{BUSY, empty_file_error, explain_failure, open_to_read};

/// A SQLite file that is being read at one moment.
pub(super) struct Source {
    connection: Connection,
    path: PathBuf,
    pub(super) contents: Contents,
    /// Dropped after the connection, like what follows.
    _tidying: Option<companions::Tidying>,
    _copy: Option<Scratch>,
}

impl Source {
    /// Opens a database and fixes the moment that will be read. `spare` makes a folder where a copy can lie, should the
    /// database be one that SQLite cannot lock.
    pub(super) fn open(path: &Path, spare: &dyn Fn() -> Result<Scratch>) -> Result<Self> {
        let path = &absolute_path(path);
        let mut source = match Self::open_shared(path)? {
            Ok(source) => source,
            Err(error) if cannot_be_shared(&error) => Self::open_unshared(path, error, spare)?,
            Err(error) => return Err(explain_failure(path, "cannot read", error)),
        };
        source.contents.owner = FileOwner::of(path);
        if source.contents.pages == 0 { Err(empty_file_error(path)) } else { Ok(source) }
    }

    /// Finds out whether a database can be read, and copies nothing.
    pub(super) fn require_readable(path: &Path) -> Result<()> {
        let path = &absolute_path(path);
        match Self::open_shared(path)? {
            Ok(source) if source.contents.pages == 0 => Err(empty_file_error(path)),
            Ok(_) => Ok(()),
            Err(error) if cannot_be_shared(&error) && std::fs::File::open(path).is_ok() => Ok(()),
            Err(error) => Err(explain_failure(path, "cannot read", error)),
        }
    }

    /// Opens a database together with whoever else has it open.
    fn open_shared(path: &Path) -> Result<rusqlite::Result<Self>> {
        let tidying = companions::Tidying::of(path);
        let connection = open_to_read(path)?;
        let begun = match begin_reading(&connection) {
            Err(error) if needs_rollback(&error) => roll_back(path)
                .and_then(|()| connection.execute_batch("rollback"))
                .and_then(|()| begin_reading(&connection)),
            begun => begun,
        };
        Ok(begun.map(|contents| Source {
            connection,
            path: path.to_owned(),
            contents,
            _tidying: Some(tidying),
            _copy: None,
        }))
    }

    /// A database beside which SQLite cannot write: on a read-only mount, or in somebody else's directory. The files
    /// themselves are copied; if all are afterwards as they were before, nobody wrote to them meanwhile.
    fn open_unshared(path: &Path, why: rusqlite::Error, spare: &dyn Fn() -> Result<Scratch>) -> Result<Self> {
        let scratch = spare()?;
        let copy = scratch.file("source");
        match companions::copy_all(path, &copy) {
            Ok(true) => {}
            Ok(false) => {
                return Err(explain_failure(path, "cannot read", why)
                    .hint("It changed while it was copied: another process is writing to it."));
            }
            // What cannot be read at all is better explained by SQLite.
            Err(_) => return Err(explain_failure(path, "cannot read", why)),
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = |error| explain_failure(path, "cannot read", error);
        let connection = Connection::open_with_flags(&copy, flags).map_err(failed)?;
        let contents = begin_reading(&connection).map_err(failed)?;
        Ok(Source { connection, path: path.to_owned(), contents, _tidying: None, _copy: Some(scratch) })
    }

    /// Writes every page. `tell` hears how many bytes have been written; `go_on` may end it; `spare` makes a folder where
    /// a copy can lie, should one be needed.
    pub(super) fn copy_to(
        &self,
        target: &mut dyn Write,
        tell: &dyn Fn(u64),
        go_on: &dyn Fn() -> Result<()>,
        spare: &dyn Fn() -> Result<Scratch>,
    ) -> Result<()> {
        let failed = |error: rusqlite::Error| explain_failure(&self.path, "cannot read", error);
        let mut statement = match self.connection.prepare("select data from sqlite_dbpage('main')") {
            Ok(statement) => statement,
            // SQLite was built without it: `cargo install` does not read the flags in `.cargo/config.toml`.
            Err(error) if error.to_string().contains("no such table") => {
                return self.copy_through_file(target, tell, go_on, &spare()?);
            }
            Err(error) => return Err(failed(error)),
        };
        let mut rows = statement.query([]).map_err(failed)?;
        let (mut pages, mut bytes) = (0_u32, 0_u64);
        while let Some(row) = rows.next().map_err(failed)? {
            let page = row.get_ref(0).map_err(failed)?.as_blob().unwrap_or_default();
            if page.len() != self.contents.page_size as usize {
                return Err(Error::outside(format!(
                    "page {} of cannot read `{}`",
                    pages + 1,
                    self.path.display()
                )));
            }
            let written = if pages == 0 { write_first(target, page) } else { target.write_all(page) };
            written.map_err(cannot_write)?;
            pages += 1;
            bytes += page.len() as u64;
            if pages.is_multiple_of(1024) {
                tell(bytes);
                go_on()?;
            }
        }
        if pages == self.contents.pages {
            return Ok(());
        }
        Err(Error::outside(format!(
            "`{}` has {} pages, but {pages} could be read",
            self.path.display(),
            self.contents.pages
        )))
    }
}

impl Source {
    /// The same in twice the time, with any SQLite: through its backup API into a file, in one step of the same moment.
    fn copy_through_file(
        &self,
        target: &mut dyn Write,
        tell: &dyn Fn(u64),
        go_on: &dyn Fn() -> Result<()>,
        spare: &Scratch,
    ) -> Result<()> {
        let path = spare.file("pages");
        let copy = || -> rusqlite::Result<StepResult> {
            let mut copy = Connection::open(&path)?;
            copy.execute_batch("pragma journal_mode = off; pragma synchronous = off")?;
            let backup = Backup::new(&self.connection, &mut copy)?;
            backup.step(-1)
        };
        match copy().map_err(|error| explain_failure(&self.path, "cannot copy", error))? {
            StepResult::Done => {}
            _ => {
                return Err(Error::outside(format!(
                    "`{}` is locked by another process",
                    self.path.display()
                )));
            }
        }
        let cannot = |error: std::io::Error| {
            Error::outside(format!("the copy of cannot read `{}`", self.path.display())).caused_by(error)
        };
        let mut file = std::fs::File::open(&path).map_err(cannot)?;
        let size = self.contents.page_size as usize;
        if file.metadata().map_err(cannot)?.len() != u64::from(self.contents.pages) * size as u64 {
            return Err(Error::outside(format!("the copy of `{}` is incomplete", self.path.display())));
        }
        let mut page = vec![0; size];
        for number in 0..self.contents.pages {
            file.read_exact(&mut page).map_err(cannot)?;
            let written = if number == 0 { write_first(target, &page) } else { target.write_all(&page) };
            written.map_err(cannot_write)?;
            if number % 1024 == 0 {
                tell(u64::from(number) * size as u64);
                go_on()?;
            }
        }
        Ok(())
    }
}

/// The first page, with the two bytes that say WAL (SQLite's file format, 1.3.3) set to say that it needs no other file.
fn write_first(target: &mut dyn Write, page: &[u8]) -> std::io::Result<()> {
    let (mut head, rest) = ([0; 20], &page[20..]);
    head.copy_from_slice(&page[..20]);
    (head[18], head[19]) = (1, 1);
    target.write_all(&head)?;
    target.write_all(rest)
}

/// Begins to read: what is read from now on is of one moment.
fn begin_reading(connection: &Connection) -> rusqlite::Result<Contents> {
    connection.execute_batch("begin")?;
    // The transaction begins with its first read.
    let pages = connection.query_row("pragma page_count", [], |row| row.get(0))?;
    Ok(Contents {
        page_size: connection.query_row("pragma page_size", [], |row| row.get(0))?,
        pages,
        journal_mode: connection.query_row("pragma journal_mode", [], |row| row.get(0))?,
        user_version: connection.query_row("pragma user_version", [], |row| row.get(0))?,
        inspected: Some(false),
        ..Contents::default()
    })
}

/// Whether a crash has left a journal that somebody has to roll back before anybody can read.
fn needs_rollback(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_READONLY_ROLLBACK)
}

/// Whether SQLite may not write where it has to, so that it cannot read together with others.
fn cannot_be_shared(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied)
    )
}

/// Does what the application would when it next opened the file: SQLite rolls the journal back when somebody who may
/// write reads.
fn roll_back(path: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))
}

/// The version of the SQLite that is built in.
pub(super) fn sqlite_version() -> String {
    rusqlite::version().to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::aws::Access;
    use crate::vault::{Secrecy, Vault};

    #[test]
    fn what_a_crash_left_half_written_is_rolled_back_first() {
        let folder = tempfile::tempdir().unwrap();
        let [live, crashed] = ["live.db", "crashed.db"].map(|name| folder.path().join(name));
        let connection = Connection::open(&live).unwrap();
        let rows = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000) select i, 'old' from n";
        connection
            .execute_batch(&format!(
                "create table t as {rows}; pragma cache_size = 2; begin; update t set \"'old'\" = 'new';"
            ))
            .unwrap();
        let beside = |path: &Path| PathBuf::from(format!("{}-journal", path.display()));
        std::fs::copy(&live, &crashed).unwrap();
        std::fs::copy(beside(&live), beside(&crashed)).unwrap();
        let source = Source::open(&crashed, &|| unreachable!()).unwrap();
        let new: i64 = source
            .connection
            .query_row("select count(*) from t where \"'old'\" = 'new'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(new, 0);
        assert!(!beside(&crashed).exists());
    }

    struct Stop<'a>(&'a AtomicBool);

    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Both ways give a copy that is whole and of one moment, while another connection writes.
    #[test]
    fn pages_come_out_the_same_with_and_without_the_page_table() {
        let place = tempfile::tempdir().unwrap();
        let vault = Vault::open(place.path().join("v").to_str().unwrap(), &Access::default()).unwrap();
        for mode in ["wal", "delete"] {
            let path = place.path().join(format!("{mode}.db"));
            let writer = Connection::open(&path).unwrap();
            writer.busy_timeout(BUSY).unwrap();
            writer
                .execute_batch(&format!(
                    "pragma journal_mode = {mode}; create table t (a integer primary key, b int, c blob);
                     with recursive n (i) as (select 1 union all select i + 1 from n where i < 3000)
                     insert into t select i, 0, randomblob(300) from n"
                ))
                .unwrap();
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let writer = Connection::open(&path).unwrap();
                    writer.busy_timeout(BUSY).unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        let _ = writer.execute_batch("update t set b = b + 1");
                    }
                });
                // Whatever happens below, the writer must end.
                let _stop = Stop(&stop);
                for round in 0..4 {
                    let source = Source::open(&path, &|| unreachable!()).unwrap();
                    let (mut pages, mut through_file) = (Vec::new(), Vec::new());
                    let spare = || vault.scratch("x", Secrecy::Open);
                    source.copy_to(&mut pages, &|_| (), &|| Ok(()), &spare).unwrap();
                    let scratch = spare().unwrap();
                    source.copy_through_file(&mut through_file, &|_| (), &|| Ok(()), &scratch).unwrap();
                    // A copy that SQLite wrote has counters of its own in its header (file format, 1.3.7 and 1.3.9).
                    for counter in [24..28, 92..96] {
                        through_file[counter.clone()].copy_from_slice(&pages[counter]);
                    }
                    assert!(pages == through_file, "{mode} {round}");
                    let copy = place.path().join("copy.db");
                    std::fs::write(&copy, &pages).unwrap();
                    assert_eq!(inspect(&copy).unwrap().damage, Vec::<String>::new());
                    let copy = Connection::open(&copy).unwrap();
                    let kinds: i64 =
                        copy.query_row("select count(distinct b) from t", [], |row| row.get(0)).unwrap();
                    assert_eq!(kinds, 1, "not of one moment: {mode} {round}");
                }
            });
        }
    }
}
