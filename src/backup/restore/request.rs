//! A restore as it is asked for, at the command line or over the API: where it goes, and how.

use std::path::PathBuf;
use std::time::Duration;

use super::plan::{Destination, RestoreOptions};
use crate::backup::context::Context;
use crate::backup::event::default_threads;
use crate::backup::manifest::Manifest;
use crate::backup::read_options::AccessOptions;
use crate::backup::settings::Configured;
use crate::backup::source::{DatabaseType, Source};
use crate::backup::sqlite_url::sqlite_destination;
use crate::backup::tolerance::Tolerance;
use crate::error::{Error, Kind, Result};
use crate::postgres::{read_database_url, read_url};

/// How long a replaced database is kept, unless somebody says otherwise.
pub(crate) const KEEP_OLD: Duration = Duration::from_secs(24 * 3600);

/// A restore as somebody asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Name of the backup.
    pub name: String,
    /// URL of the database that is replaced.
    pub url: Option<String>,
    /// A new database of that server, or a new file.
    pub into: Option<String>,
    /// How long the replaced database is kept; zero drops it at once.
    pub keep_old: Duration,
    /// How many jobs restore a custom backup.
    pub jobs: Option<u16>,
    /// Whether a SQLite file is replaced by another one, while no application has it open.
    pub offline: bool,
    /// Which differences from the source are accepted.
    pub tolerance: Tolerance,
    /// How backups are opened and databases are reached.
    pub access: AccessOptions,
}

impl Asked {
    /// A restore of a backup to where it comes from, with the defaults.
    pub(crate) fn of(name: &str, access: AccessOptions) -> Self {
        Asked {
            name: name.to_owned(),
            url: None,
            into: None,
            keep_old: KEEP_OLD,
            jobs: None,
            offline: false,
            tolerance: Tolerance::default(),
            access,
        }
    }

    pub(super) fn options(&self, manifest: &Manifest, config: &Configured) -> Result<RestoreOptions> {
        Ok(RestoreOptions {
            jobs: self.jobs.map_or_else(default_threads, usize::from),
            keep_old: self.keep_old,
            offline: self.offline,
            recipients: config.databases.of(&manifest.source.database).encrypt_to.unwrap_or_default(),
            read: self.access.read_options(config)?,
            tolerance: self.tolerance.clone(),
        })
    }

    pub(super) fn destination(
        &self,
        manifest: &Manifest,
        config: &Configured,
        cx: &Context<'_>,
    ) -> Result<Destination> {
        let configured = config.url_of(&manifest.source.database).map(str::to_owned);
        let environment = read_database_url()?;
        let recorded = manifest.source.path.as_deref();
        if let Some(into) = self.into.as_ref().filter(|_| manifest.database_type == DatabaseType::Sqlite) {
            let path = sqlite_destination(into, recorded)?.unwrap_or_else(|| PathBuf::from(into));
            return Ok(Destination::New(Source::Sqlite { path }));
        }
        let is_named = self.url.is_some() || configured.is_some();
        // The manifest says where the backup comes from, and never where it goes: whoever can write to the vault could
        // otherwise choose which file is replaced.
        let url =
            self.url.clone().or(configured).or(environment).ok_or_else(|| lacks_destination(manifest))?;
        // A SQLite file of which nothing may be left is not looked for.
        let source = match sqlite_destination(&read_url(&url)?, recorded)? {
            Some(path) => Source::Sqlite { path },
            None => Source::of_url(url.trim(), &self.access.connection, cx.tell)?,
        };
        match (source, &self.into) {
            (Source::Postgresql { server, .. }, Some(into)) => {
                Ok(Destination::New(Source::Postgresql { server, dbname: into.clone() }))
            }
            (source, _) => {
                if !is_named {
                    require_same_database(manifest, &source)?;
                }
                Ok(Destination::Replace(source))
            }
        }
    }
}

fn lacks_destination(manifest: &Manifest) -> Error {
    let error = Error::request(format!("`{}` has no destination", manifest.backup_name));
    match &manifest.source.path {
        Some(path) => error
            .caused_by(format!("its manifest names `{}`, but a manifest does not decide where a backup is restored to", path.escape_debug()))
            .hint(
                "Pass `--into PATH` to restore it to a new file, or `--url sqlite:///PATH` or DATABASE_URL to replace the \
                 database that is there.",
            ),
        None => error.hint(
            "Pass `--url postgresql://user@host/database`, or set DATABASE_URL. With `--into NEW` it becomes a new database of \
             that server.",
        ),
    }
}

/// DATABASE_URL says which database is meant, but not that the content of another one is to take its place.
fn require_same_database(manifest: &Manifest, meant: &Source) -> Result<()> {
    let (meant, of) = match (meant, &manifest.source.dbname, &manifest.source.path) {
        (Source::Postgresql { dbname, .. }, Some(of), _) => (dbname.clone(), of.clone()),
        (Source::Sqlite { path }, _, Some(of)) => {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            (absolute.to_string_lossy().into_owned(), of.clone())
        }
        _ => return Ok(()),
    };
    if meant == of {
        return Ok(());
    }
    let name = &manifest.backup_name;
    Err(Error::new(
        Kind::Guard,
        format!(
            "backup `{name}` is of database `{}`, and DATABASE_URL names `{}`",
            of.escape_debug(),
            meant.escape_debug()
        ),
    )
    .hint("To restore one over the other, name the destination with `--url`."))
}
