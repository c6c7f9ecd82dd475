//! Logical backups of databases we can reach: PostgreSQL through pg_dump, SQLite through SQLite.
//!
//! A backup is a file in the vault and a manifest beside it (`<name>.json`). Neither has its final name before the
//! content is complete, flushed to disk, hashed and proven; whatever happens on the way, and however the process ends,
//! nothing half-made counts. Nothing here replaces a database before its successor has been restored and checked, and
//! nothing removes the last verified backup of a database.
//!
//! Writes: the vault; on a restore the database that was asked for; for a proof a scratch database, file or server,
//! which it removes.

mod authenticity;
pub mod catalogue;
mod check;
mod coding;
pub mod create;
mod dump;
pub mod failures;
mod judge;
pub mod manifest;
mod name;
mod parallel;
pub mod prune;
pub mod restore;
mod script;
pub mod schedule;
mod seal;
mod sqlite;
mod statement;
pub mod stats;
mod stream;

use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

pub use authenticity::{Seal, SealKeys};
pub use check::{Means, verify};
pub use coding::Compression;
pub use manifest::{DatabaseType, Format, Level, Manifest, Verification};
pub use name::BackupName;
pub use seal::{Identities, Recipients};
pub use stream::{Packing, Totals};

use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::postgres::Server;
use crate::vault::Vault;

/// A database that can be backed up.
#[derive(Clone, Debug)]
pub enum Source {
    /// A database of a PostgreSQL server.
    Postgresql {
        /// The server, and who we are there.
        server: Box<Server>,
        /// Name of the database.
        dbname: String,
    },
    /// A SQLite file.
    Sqlite {
        /// Its path.
        path: PathBuf,
    },
}

impl Source {
    /// What it is called when nobody gives it a name.
    pub fn usual_name(&self) -> String {
        match self {
            Source::Postgresql { dbname, .. } => dbname.clone(),
            Source::Sqlite { path } => {
                path.file_stem().map_or("database".to_owned(), |stem| stem.to_string_lossy().into_owned())
            }
        }
    }

    /// For people; without a password.
    pub fn shown(&self) -> String {
        match self {
            Source::Postgresql { server, dbname } => {
                format!("postgresql://{}@{}:{}/{dbname}", server.user, server.host, server.port)
            }
            Source::Sqlite { path } => sqlite_url(path),
        }
    }
}

/// The path in `sqlite:///absolute/path`; `None` if it is no such URL.
///
/// Frameworks write relative paths with three slashes too (`sqlite:///app.db`): such a file is taken where there is none
/// at the absolute path. So is one whose name was not encoded as a URL wants it.
pub fn sqlite_path(url: &str) -> Option<PathBuf> {
    let readings = sqlite_paths(url)?;
    let found = readings.iter().find(|path| path.symlink_metadata().is_ok());
    found.or(readings.first()).cloned()
}

/// The path in such a URL, of a file that may be lost: the one that is `recorded`, if the URL may mean that; otherwise one
/// where a file is. What may mean several files that are not there is refused.
pub fn sqlite_destination(url: &str, recorded: Option<&str>) -> Option<Result<PathBuf>> {
    let readings = sqlite_paths(url)?;
    let is_recorded =
        |path: &&PathBuf| restore::absolute(path).to_str().is_some_and(|path| recorded == Some(path));
    let is_there = |path: &&PathBuf| path.symlink_metadata().is_ok();
    if let Some(known) = readings.iter().find(is_recorded).or_else(|| readings.iter().find(is_there)) {
        return Some(Ok(known.clone()));
    }
    let mut possible: Vec<PathBuf> = Vec::new();
    for path in readings.iter().map(|path| restore::absolute(path)) {
        if path.parent().is_some_and(Path::is_dir) && !possible.contains(&path) {
            possible.push(path);
        }
    }
    let [first, second, ..] = possible.as_slice() else { return readings.first().cloned().map(Ok) };
    let from_root = |path: &Path| sqlite_url(path).replacen("//", "///", 1);
    let (first_url, second_url) = (from_root(first), from_root(second));
    let (first, second) = (first.display(), second.display());
    Some(Err(Error::request(format!("the URL may mean `{first}` or `{second}`, and there is neither"))
        .hint(format!("Name the one that you mean with four slashes: `{first_url}` or `{second_url}`."))))
}

/// The paths that a `sqlite:` URL may mean, the likeliest first.
fn sqlite_paths(url: &str) -> Option<Vec<PathBuf>> {
    let rest = url.strip_prefix("sqlite:").or_else(|| url.strip_prefix("sqlite3:"))?;
    // Where no `key=value` follows, a question mark belongs to the name; a `#` always does, since no part of a file is meant.
    let is_parameter = |pair: &str| pair.is_empty() || pair.find('=').is_some_and(|at| at > 0);
    let text = match rest.split_once('?') {
        Some((text, parameters)) if parameters.split('&').all(is_parameter) => text,
        _ => rest,
    };
    let text = text.strip_prefix("//").unwrap_or(text);
    // Three slashes are what frameworks write before a relative path; four mean the root and nothing else.
    let is_from_root = text.starts_with("//");
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
    let mut readings = Vec::new();
    for bytes in [decoded, text.as_bytes().to_vec()] {
        let written = PathBuf::from(std::ffi::OsString::from_vec(bytes));
        let path: PathBuf = written.components().collect();
        let relative =
            path.strip_prefix("/").ok().filter(|path| !path.as_os_str().is_empty() && !is_from_root);
        readings.extend([Some(path.clone()), relative.map(Path::to_owned)].into_iter().flatten());
    }
    Some(readings)
}

/// The URL that means a file.
pub fn sqlite_url(path: &Path) -> String {
    /// What a path may hold as it is; the rest would mean something else in a URL, or end it.
    const PLAIN: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
        .add(b'%')
        .add(b'?')
        .add(b'#')
        .add(b' ')
        .add(b'"')
        .add(b'<')
        .add(b'>')
        .add(b'`');
    let bytes = path.as_os_str().as_bytes();
    format!("sqlite://{}", percent_encoding::percent_encode(bytes, PLAIN))
}

/// What a backup works with.
pub struct Surroundings<'a> {
    /// Where backups are kept.
    pub vault: &'a Vault,
    /// Signals.
    pub interrupt: &'a Interrupt,
    /// Hears what happens.
    pub tell: &'a (dyn Fn(Event<'_>) + Sync),
    /// The clock.
    pub clock: fn() -> DateTime<Utc>,
    /// Name of this machine.
    pub host: String,
}

/// What happens during a backup, a proof or a restore.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Something begins.
    Phase(&'a str),
    /// So many bytes of content have passed.
    Bytes(u64),
    /// Something that one may want to know.
    Note(&'a str),
    /// Something that is not as it should be.
    Warning(&'a str),
}

/// How many threads compress or expand, unless told otherwise.
pub fn usual_threads() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(1, 8)
}

/// The error of a run that was interrupted.
fn interrupted(interrupt: &Interrupt, what: &str) -> Result<()> {
    match interrupt.first() {
        None => Ok(()),
        Some(kind) => Err(Error::new(kind, format!("interrupted: {what}"))),
    }
}

fn cannot_write(error: std::io::Error) -> Error {
    Error::outside("the backup cannot be written")
        .caused_by(error)
        .hint("Free some space, or choose another `--vault`. Nothing was left of the attempt.")
}

/// Waits for work that blocks, telling how far it has come.
async fn follow<T: Send + 'static>(
    bytes: &std::sync::Arc<std::sync::atomic::AtomicU64>,
    tell: &(dyn Fn(Event<'_>) + Sync),
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let mut work = tokio::task::spawn_blocking(work);
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(250));
    loop {
        tokio::select! {
            done = &mut work => {
                return done.map_err(|error| {
                    Error::new(crate::error::Kind::Bug, "a thread has panicked").caused_by(error)
                })?;
            }
            _ = tick.tick() => tell(Event::Bytes(bytes.load(std::sync::atomic::Ordering::Relaxed))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_means_the_path_that_it_was_made_of() {
        for path in ["/a b/c.db", "/a#b?c%41.db", "/\u{fc}/x", "/srv/app.db"] {
            let url = sqlite_url(Path::new(path));
            assert_eq!(sqlite_path(&url), Some(PathBuf::from(path)), "{url}");
        }
        for (url, first) in [
            ("sqlite:////srv/app.db", "/srv/app.db"),
            ("sqlite:///srv/app.db?mode=ro&cache=shared", "/srv/app.db"),
            ("sqlite:///srv/what?.db", "/srv/what?.db"),
            ("sqlite:///srv/a#b.db", "/srv/a#b.db"),
            ("sqlite:app.db", "app.db"),
            ("sqlite://app.db", "app.db"),
        ] {
            assert_eq!(sqlite_path(url), Some(PathBuf::from(first)), "{url}");
        }
        assert_eq!(sqlite_path("postgresql://h/d"), None);
    }

    #[test]
    fn of_a_lost_file_the_recorded_path_decides() {
        let here = std::env::current_dir().unwrap().join("nowhere.db");
        let decided = |recorded| sqlite_destination("sqlite:///nowhere.db", recorded).unwrap();
        assert_eq!(decided(here.to_str()).unwrap(), PathBuf::from("nowhere.db"));
        assert_eq!(decided(Some("/nowhere.db")).unwrap(), PathBuf::from("/nowhere.db"));
        assert!(decided(Some("/elsewhere.db")).unwrap_err().chain().contains("may mean"));
        assert!(decided(None).is_err());
    }
}
