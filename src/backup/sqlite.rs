//! SQLite: a consistent copy of a file that others write to, and what a copy contains.
//!
//! The pages are read through SQLite itself (`sqlite_dbpage`) inside one read transaction, so that they are of one
//! moment in both journal modes, whoever writes meanwhile; the file itself is never copied. The source is opened
//! read-only and never as `immutable`. The one thing that is changed in a copy is its journal mode: a copy in WAL mode
//! would need files beside it.
//!
//! `integrity_check` finds a damaged structure but no changed value (facts of SQLite's documentation of the pragma), so
//! a copy is proven by its SHA-256 as well.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a SQLite database was seen to contain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Bytes of a page.
    pub page_size: u32,
    /// Pages.
    pub pages: u32,
    /// `delete`, `wal` and so on, as the source had it.
    pub journal_mode: String,
    /// `user_version`, which applications number their schema with.
    pub user_version: i64,
    /// Tables, with the number of rows in each.
    pub tables: Vec<TableRows>,
    /// Rows that refer to rows which do not exist, as the source has them too; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dangling_references: Vec<String>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRows {
    /// Name.
    pub table: String,
    /// Rows; `None` for what this SQLite cannot read, such as virtual tables of an extension.
    pub rows: Option<u64>,
}

/// How long a lock of another process is waited for.
const BUSY: Duration = Duration::from_secs(60);

/// A SQLite file that is being read at one moment.
pub(super) struct Source {
    connection: Connection,
    path: PathBuf,
    pub(super) contents: Contents,
}

impl Source {
    /// Opens a database and fixes the moment that will be read.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let connection = open_to_read(path)?;
        let begin = || -> rusqlite::Result<Contents> {
            connection.execute_batch("begin")?;
            // The transaction begins with its first read.
            let pages = connection.query_row("pragma page_count", [], |row| row.get(0))?;
            Ok(Contents {
                page_size: connection.query_row("pragma page_size", [], |row| row.get(0))?,
                pages,
                journal_mode: connection.query_row("pragma journal_mode", [], |row| row.get(0))?,
                user_version: connection.query_row("pragma user_version", [], |row| row.get(0))?,
                ..Contents::default()
            })
        };
        let contents = begin().map_err(|error| told(path, "cannot read", error))?;
        if contents.pages == 0 {
            return Err(Error::request(format!(
                "`{}` is an empty file, not a SQLite database",
                path.display()
            )));
        }
        Ok(Source { connection, path: path.to_owned(), contents })
    }

    /// Writes every page. `tell` hears how many bytes have been written; `go_on` may end it.
    pub(super) fn copy_to(
        &self,
        target: &mut dyn Write,
        tell: &dyn Fn(u64),
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        let failed = |error: rusqlite::Error| told(&self.path, "cannot read", error);
        let mut statement =
            self.connection.prepare("select data from sqlite_dbpage('main')").map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        let (mut pages, mut bytes) = (0_u32, 0_u64);
        while let Some(row) = rows.next().map_err(failed)? {
            let page = row.get_ref(0).map_err(failed)?.as_blob().unwrap_or_default();
            if page.len() != self.contents.page_size as usize {
                return Err(Error::outside(format!(
                    "page {} of `{}` cannot be read",
                    pages + 1,
                    self.path.display()
                )));
            }
            let written = if pages == 0 { write_first(target, page) } else { target.write_all(page) };
            written.map_err(super::cannot_write)?;
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

/// The first page, with the two bytes that say WAL (SQLite's file format, 1.3.3) set to say that it needs no other file.
fn write_first(target: &mut dyn Write, page: &[u8]) -> std::io::Result<()> {
    let (mut head, rest) = ([0; 20], &page[20..]);
    head.copy_from_slice(&page[..20]);
    (head[18], head[19]) = (1, 1);
    target.write_all(&head)?;
    target.write_all(rest)
}

fn open_to_read(path: &Path) -> Result<Connection> {
    let missing = |error: std::io::Error| {
        Error::request(format!("cannot open the SQLite database `{}`", path.display()))
            .caused_by(error)
            .hint("Name the file as `sqlite:///absolute/path/of.db`.")
    };
    let found = std::fs::metadata(path).map_err(missing)?;
    if !found.is_file() {
        return Err(Error::request(format!("`{}` is not a file", path.display())));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(|error| told(path, "cannot open", error))?;
    connection.busy_timeout(BUSY).map_err(|error| told(path, "cannot open", error))?;
    Ok(connection)
}

fn told(path: &Path, what: &str, error: rusqlite::Error) -> Error {
    let code = error.sqlite_error_code();
    let text = format!("{what} `{}`", path.display());
    match code {
        Some(ErrorCode::NotADatabase) => {
            Error::request(format!("`{}` is not a SQLite database", path.display())).caused_by(error).hint(
                "Check the path. A file that is encrypted (SQLCipher, SEE) looks like this too, and is not supported.",
            )
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::outside(text)
            .caused_by(error)
            .hint("Another process holds a lock for longer than a minute: see what it does, and run this again."),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            Error::outside(text).caused_by(error).hint(
                "SQLite needs to read the file and, in WAL mode or after a crash, to write into its directory: run this as \
                 the user of the application.",
            )
        }
        Some(ErrorCode::DatabaseCorrupt) => Error::new(crate::error::Kind::No, text)
            .caused_by(error)
            .hint("The source itself is damaged: restore an older backup, or try `sqlite3 FILE .recover`."),
        _ => Error::outside(text).caused_by(error),
    }
}

/// What was found wrong in a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inspection {
    /// Faults of its structure.
    pub(super) damage: Vec<String>,
    /// What it contains.
    pub(super) contents: Contents,
}

/// Looks at a copy that nobody else uses: its structure, its foreign keys, its tables.
pub(super) fn inspect(copy: &Path) -> Result<Inspection> {
    // Nobody writes to a copy: no locks, and no files beside it.
    let uri = format!("file:{}?immutable=1", escaped(copy));
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let look = || -> rusqlite::Result<Inspection> {
        let connection = Connection::open_with_flags(&uri, flags)?;
        let contents = Contents {
            page_size: connection.query_row("pragma page_size", [], |row| row.get(0))?,
            pages: connection.query_row("pragma page_count", [], |row| row.get(0))?,
            user_version: connection.query_row("pragma user_version", [], |row| row.get(0))?,
            tables: table_rows(&connection)?,
            ..Contents::default()
        };
        let mut inspection = Inspection { contents, ..Inspection::default() };
        let mut statement = connection.prepare("pragma integrity_check(20)")?;
        let said: Vec<String> =
            statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        inspection.damage = said.into_iter().filter(|line| line != "ok").collect();
        let mut statement = connection.prepare("pragma foreign_key_check")?;
        let dangling = statement.query_map([], |row| {
            let (table, row_id, parent): (String, Option<i64>, String) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let row_id = row_id.map_or(String::new(), |id| format!(" row {id}"));
            Ok(format!("`{table}`{row_id} refers to a row of `{parent}` that does not exist"))
        })?;
        inspection.contents.dangling_references = dangling.take(20).collect::<rusqlite::Result<_>>()?;
        Ok(inspection)
    };
    match look() {
        Ok(inspection) => Ok(inspection),
        Err(error) if is_damage(&error) => {
            Ok(Inspection { damage: vec![error.to_string()], ..Inspection::default() })
        }
        Err(error) => Err(told(copy, "cannot look into", error)),
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// A path in a `file:` URI.
fn escaped(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

fn table_rows(connection: &Connection) -> rusqlite::Result<Vec<TableRows>> {
    let mut statement = connection.prepare(
        "select name from sqlite_schema where type = 'table' and name not like 'sqlite\\_%' escape '\\' order by name",
    )?;
    let names: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    names
        .into_iter()
        .map(|table| {
            let count = format!("select count(*) from {}", crate::postgres::quoted(&table));
            match connection.query_row(&count, [], |row| row.get::<_, i64>(0)) {
                Ok(rows) => Ok(TableRows { table, rows: u64::try_from(rows).ok() }),
                Err(error) if is_damage(&error) => Err(error),
                Err(_) => Ok(TableRows { table, rows: None }),
            }
        })
        .collect()
}

/// Brings the pages of `copy` into the live database at `target`, through SQLite, so that connections of applications
/// see the new content with their next transaction and can go on.
pub(super) fn restore_into_live(copy: &Path, target: &Path) -> Result<()> {
    let failed = |error: rusqlite::Error| told(target, "cannot restore into", error);
    let source = open_to_read(copy)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut live = Connection::open_with_flags(target, flags).map_err(failed)?;
    live.busy_timeout(BUSY).map_err(failed)?;
    let backup = Backup::new(&source, &mut live).map_err(failed)?;
    // In one step: one transaction of the target, which comes about whole or not at all.
    match backup.step(-1).map_err(failed)? {
        StepResult::Done => Ok(()),
        _ => Err(Error::outside(format!("`{}` is locked by another process", target.display()))
            .hint("An application holds a transaction open: end it, and run this again.")),
    }
}

/// Whether somebody else has a database open for writing, or holds a transaction.
pub(super) fn is_free(path: &Path) -> Result<bool> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let try_it = || -> rusqlite::Result<()> {
        let connection = Connection::open_with_flags(path, flags)?;
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
        Err(error) => Err(told(path, "cannot lock", error)),
    }
}

/// Sets the journal mode of a database that was restored, to what its source had.
pub(super) fn set_journal_mode(path: &Path, mode: &str) -> Result<()> {
    if mode != "wal" {
        return Ok(());
    }
    let set = || -> rusqlite::Result<String> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.query_row("pragma journal_mode = wal", [], |row| row.get(0))
    };
    set().map(|_| ()).map_err(|error| told(path, "cannot set the journal mode of", error))
}

/// The version of the SQLite that is built in.
pub(super) fn version() -> String {
    rusqlite::version().to_owned()
}
