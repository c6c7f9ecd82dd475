//! A database that is backed up or restored to.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::sqlite_url::{sqlite_path, sqlite_url};
use crate::error::Result;
use crate::postgres::{ConnectionOverrides, Server, Target, read_url};

/// What kind of database a backup is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DatabaseType {
    /// PostgreSQL.
    Postgresql,
    /// SQLite.
    Sqlite,
}

impl DatabaseType {
    /// As files and labels write it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            DatabaseType::Postgresql => "postgresql",
            DatabaseType::Sqlite => "sqlite",
        }
    }

    /// As people write it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            DatabaseType::Postgresql => "PostgreSQL",
            DatabaseType::Sqlite => "SQLite",
        }
    }
}

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
    /// The database that a URL names, as psql would read it on this machine; `env:NAME` takes the URL from a variable.
    pub(crate) fn of_url(
        url: &str,
        connection: &ConnectionOverrides,
        tell: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<Self> {
        if let Some(path) = sqlite_path(&read_url(url)?)? {
            return Ok(Source::Sqlite { path });
        }
        let target = resolve_target(url, connection, tell)?;
        let dbname = target.database.clone().unwrap_or_else(|| target.server.user.clone());
        Ok(Source::Postgresql { server: Box::new(target.server), dbname })
    }

    /// The server that a URL names.
    pub(crate) fn server_of_url(
        url: &str,
        connection: &ConnectionOverrides,
        tell: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<Server> {
        resolve_target(url, connection, tell).map(|target| target.server)
    }

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

fn resolve_target(
    url: &str,
    connection: &ConnectionOverrides,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Target> {
    let target = connection.target(url, "lifeboat backup")?;
    target.note.iter().for_each(|note| tell(Event::Note(note)));
    target.warnings.iter().for_each(|warning| tell(Event::Warning(warning)));
    Ok(target)
}
