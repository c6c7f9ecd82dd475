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
pub(crate) mod catalogue;
mod check;
mod coding;
pub(crate) mod create;
mod dump;
mod dump_reader;
pub(crate) mod failures;
pub(crate) mod found;
pub(crate) mod identity;
mod judge;
pub(crate) mod loss;
pub(crate) mod manifest;
mod name;
mod parallel;
pub(crate) mod prune;
pub(crate) mod restore;
mod roles;
mod script;
pub(crate) mod schedule;
mod seal;
mod sqlite;
mod sqlite_url;
mod statement;
pub(crate) mod stats;
mod stream;

use std::path::PathBuf;

use chrono::{DateTime, Utc};

pub(crate) use authenticity::SealKeys;
pub(crate) use check::{Means, verify};
pub(crate) use coding::Compression;
pub(crate) use manifest::{DatabaseType, Format, Level, Manifest, Verification};
pub(crate) use name::BackupName;
pub(crate) use seal::{Identities, Recipients};
pub(crate) use sqlite_url::{sqlite_destination, sqlite_path, sqlite_url};
pub(crate) use stream::{Packing, Totals};

use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::postgres::Server;
use crate::vault::Vault;

/// A database that can be backed up.
#[derive(Clone, Debug)]
pub(crate) enum Source {
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
    pub(crate) fn usual_name(&self) -> String {
        match self {
            Source::Postgresql { dbname, .. } => dbname.clone(),
            Source::Sqlite { path } => {
                path.file_stem().map_or("database".to_owned(), |stem| stem.to_string_lossy().into_owned())
            }
        }
    }

    /// Kind of database.
    pub(crate) const fn kind(&self) -> DatabaseType {
        match self {
            Source::Postgresql { .. } => DatabaseType::Postgresql,
            Source::Sqlite { .. } => DatabaseType::Sqlite,
        }
    }

    /// For people; without a password.
    pub(crate) fn shown(&self) -> String {
        match self {
            Source::Postgresql { server, dbname } => server.url(dbname),
            Source::Sqlite { path } => sqlite_url(path),
        }
    }
}

/// What a backup works with.
pub(crate) struct Surroundings<'a> {
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
pub(crate) enum Event<'a> {
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
pub(crate) fn usual_threads() -> usize {
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
