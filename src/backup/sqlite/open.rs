//! Opening SQLite files to read them, and what to do when that fails.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::{Error, Result};

/// How long a lock of another process is waited for.
pub(super) const BUSY: Duration = Duration::from_secs(60);

/// Whether a file begins as every SQLite database does.
pub(in crate::backup) fn has_header(path: &Path) -> std::io::Result<bool> {
    let mut start = Vec::new();
    std::fs::File::open(path)?.take(16).read_to_end(&mut start)?;
    Ok(start == b"SQLite format 3\0")
}

pub(super) fn not_a_database_error(path: &Path) -> Error {
    Error::request(format!("`{}` is not a SQLite database", path.display()))
        .hint("Check the path. Encrypted files (SQLCipher, SEE) look like this too and are not supported.")
}

pub(super) fn empty_file_error(path: &Path) -> Error {
    Error::request(format!("`{}` is an empty file, not a SQLite database", path.display()))
}

pub(super) fn open_to_read(path: &Path) -> Result<Connection> {
    let missing = |error: std::io::Error| {
        Error::request(format!("cannot open the SQLite database `{}`", path.display()))
            .caused_by(error)
            .hint("Name the file as `sqlite:///absolute/path/of.db`.")
    };
    let found = std::fs::metadata(path).map_err(missing)?;
    if !found.is_file() {
        return Err(Error::request(format!("`{}` is not a file", path.display())));
    }
    // SQLite removes the WAL beside an empty file, and plays it into any other: it may be all that is left.
    match has_header(path) {
        Ok(true) => {}
        Ok(false) if found.len() == 0 => return Err(empty_file_error(path)),
        Ok(false) => return Err(not_a_database_error(path)),
        Err(error) => {
            return Err(Error::outside(format!("cannot read `{}`", path.display()))
                .caused_by(error)
                .hint("Run the command as a user who may read the file."));
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|error| explain_failure(path, "cannot open", error))?;
    connection.busy_timeout(BUSY).map_err(|error| explain_failure(path, "cannot open", error))?;
    Ok(connection)
}

pub(super) fn explain_failure(path: &Path, what: &str, error: rusqlite::Error) -> Error {
    let code = error.sqlite_error_code();
    let text = format!("{what} `{}`", path.display());
    match code {
        Some(ErrorCode::NotADatabase) => not_a_database_error(path).caused_by(error),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::outside(text)
            .caused_by(error)
            .hint("Another process has held a lock for more than a minute: end it, and run the command again."),
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

pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}
