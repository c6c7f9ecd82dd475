//! What a restore or a deletion does away with, as somebody confirms it at a terminal or on the dashboard. Pure.

use std::time::Duration;

use serde::Serialize;

use super::catalogue::{Catalogue, Entry, State};
use super::identity::Identity;
use super::restore::Plan;
use super::source::Source;
use crate::when::{format_span, format_time};

/// What will be gone, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Loss {
    /// The server, or the machine whose file it is.
    pub host: String,
    /// PostgreSQL or SQLite.
    pub engine: &'static str,
    /// The database on its server, or the path of its file.
    pub database: String,
    /// What will be gone, and what will be left.
    pub gone: String,
}

impl Loss {
    /// Of a restore that is planned on `host`.
    pub(crate) fn of_restore(plan: &Plan, host: &str) -> Self {
        let source = plan.destination.source();
        let (host, database, kept) = match source {
            Source::Postgresql { server, dbname } => (
                server.place(),
                dbname.clone(),
                match plan.options.keep_old {
                    Duration::ZERO => "it is not kept".to_owned(),
                    kept => format!("it is kept as another database for {}", format_span(kept.as_secs_f64())),
                },
            ),
            Source::Sqlite { path } => {
                (host.to_owned(), path.display().to_string(), "a backup of it is made first".to_owned())
            }
        };
        let gone = match plan.replaces {
            true => format!("what the database holds now; {kept}"),
            false => "nothing: the database does not exist yet".to_owned(),
        };
        Loss { host, engine: source.kind().title(), database, gone }
    }

    /// Of a deletion of a backup.
    pub(crate) fn of_deletion(entry: &Entry, catalogue: &Catalogue) -> Self {
        let manifest = &entry.manifest;
        let identity = Identity::of(manifest);
        let others = catalogue.entries.iter().filter(|other| {
            other.manifest.backup_name != manifest.backup_name
                && other.state == State::Present
                && other.manifest.is_verified()
                && Identity::of(&other.manifest).is_same_as(&identity)
        });
        let left = match others.count() {
            0 => "no other good backup of this database is left".to_owned(),
            1 => "1 other good backup of this database is left".to_owned(),
            count => format!("{count} other good backups of this database are left"),
        };
        let origin = &manifest.source;
        let place = origin.dbname.as_ref().or(origin.path.as_ref());
        Loss {
            host: origin.server.clone().unwrap_or_else(|| manifest.made_by.host.clone()),
            engine: manifest.database_type.title(),
            database: place.unwrap_or(&origin.database).clone(),
            gone: format!(
                "`{}`, its content of {}; {left}",
                manifest.file_path,
                format_time(manifest.timestamp)
            ),
        }
    }

    /// A label and what it says, for whoever is asked.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        vec![
            ("host", self.host.clone()),
            ("engine", self.engine.to_owned()),
            ("database", self.database.clone()),
            ("gone", self.gone.clone()),
        ]
    }
}
