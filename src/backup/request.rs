//! A backup as it is asked for, at the command line or over the API, and the request that lifeboat.toml, the environment and
//! the defaults make of it.

use std::time::Duration;

use clap::ValueEnum;

use super::coding::Compression;
use super::encryption::Recipients;
use super::event::{Event, default_threads};
use super::identity::Identity;
use super::manifest::{Format, Level, Origin};
use super::name::BackupName;
use super::prune::retention_days_of_environment;
use super::read_options::{AccessOptions, ReadOptions};
use super::settings::{BackupSettings, Configured, DumpFormat};
use super::source::Source;
use super::stream::Packing;
use crate::error::{Error, Result};
use crate::postgres::read_database_url;
use crate::vault::Trigger;
use crate::verify::Depth;

/// A backup as somebody asks for it. What is left open is settled by [`Asked::resolve`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Databases of lifeboat.toml.
    pub databases: Vec<String>,
    /// URLs of other databases.
    pub urls: Vec<String>,
    /// Name of the backup.
    pub name: Option<BackupName>,
    /// How PostgreSQL is dumped.
    pub format: Option<DumpFormat>,
    /// How many connections dump at once.
    pub jobs: Option<u16>,
    /// How it is compressed.
    pub compress: Compress,
    /// How hard to compress.
    pub compression_level: Option<i32>,
    /// How many threads compress.
    pub threads: Option<u16>,
    /// age recipients, in place of those of lifeboat.toml.
    pub encrypt_to: Vec<String>,
    /// What is recorded of the source.
    pub observe: Observe,
    /// Whether the roles of the server are kept beside it.
    pub globals: Roles,
    /// How thoroughly it is proven.
    pub level: Option<Level>,
    /// Whether it is kept whatever the rules say.
    pub keep_forever: bool,
    /// What makes it the same database wherever it is.
    pub database_id: Option<String>,
    /// Retention class.
    pub class: Option<String>,
    /// How long another backup of the same database is waited for.
    pub wait: Duration,
    /// How backups are opened and databases are reached.
    pub access: AccessOptions,
}

/// How a backup is to be compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Compress {
    /// As BACKUP_COMPRESS or lifeboat.toml say; otherwise gzip.
    #[default]
    AsConfigured,
    /// The same, but gzip where they say that it is not to be compressed.
    Always,
    /// In this way, whatever they say.
    With(Compression),
}

/// What is recorded of a source while it is dumped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Observe {
    /// The number of rows and a fingerprint of the content of every table
    #[default]
    Content,
    /// The number of rows of every table
    Counts,
    /// Nothing
    None,
}

impl Asked {
    /// One request for each database. `tell` hears what a URL says that is not followed.
    pub(crate) fn resolve(
        &self,
        trigger: &Trigger,
        config: &Configured,
        tell: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<Vec<Request>> {
        let source_of = |url: &str| Source::of_url(url, &self.access.connection, tell);
        let mut sources = Vec::new();
        for database in &self.databases {
            let url = config.section(database)?.url.as_deref().ok_or_else(|| {
                Error::request(format!("`[databases.{database}.backup]` has no `url`"))
                    .hint("A `url` is `postgresql://user@host/db`, `sqlite:///path` or `env:NAME`.")
            })?;
            sources.push((source_of(url)?, Some(database.as_str())));
        }
        for url in &self.urls {
            sources.push((source_of(url)?, None));
        }
        if sources.is_empty() {
            let url = read_database_url()?.ok_or_else(|| {
                Error::request("no database is named").hint(
                    "Set DATABASE_URL, pass `--url postgresql://user@host/db` or `--url sqlite:///path`, or name a database of \
                     lifeboat.toml.",
                )
            })?;
            sources.push((source_of(&url)?, None));
        }
        if sources.len() > 1 && self.name.is_some() {
            return Err(Error::request("several backups cannot share one `--name`")
                .hint("Leave `--name` out, or back the databases up one by one."));
        }
        let database_id = self.database_id.clone().or_else(|| std::env::var("BACKUP_DATABASE_ID").ok());
        if sources.len() > 1 && database_id.as_ref().is_some_and(|id| !id.is_empty()) {
            return Err(Error::request("several databases cannot share one `--database-id`")
                .hint("Set `database_id` of each in lifeboat.toml, or back the databases up one by one."));
        }
        let requests = sources.into_iter().map(|(source, name)| {
            let settings = config.databases.of(name.unwrap_or_default());
            let packing = self.packing(&settings)?;
            let read = self.access.read_options(config)?;
            let format = match self.format.or(settings.format) {
                None | Some(DumpFormat::Sql) => Format::Sql,
                Some(DumpFormat::Custom) => Format::Custom,
            };
            Ok(Request {
                database: name.map_or_else(|| source.usual_name(), str::to_owned),
                jobs: self.jobs(&settings, format, &source)?,
                source,
                name: self.name.clone(),
                format,
                level: provable_level(self.level.unwrap_or(Level::Stream), &packing, &read),
                packing,
                read,
                wait: self.wait,
                keep_forever: self.keep_forever,
                class: self.class.clone(),
                keep_days: retention_days_of_environment()?,
                database_id: database_id.clone().or(settings.database_id).filter(|id| !id.is_empty()),
                if_taken: match trigger {
                    // A caller that asks again may not have heard the first answer.
                    Trigger::Api => IfTaken::Refuse,
                    _ => IfTaken::MoveAside,
                },
                trigger: trigger.clone(),
                observe: match self.observe {
                    Observe::Content => Some(Depth::Content),
                    Observe::Counts => Some(Depth::Counts),
                    Observe::None => None,
                },
                globals: self.globals,
            })
        });
        requests.collect()
    }

    fn packing(&self, settings: &BackupSettings) -> Result<Packing> {
        let configured = || -> Result<Compression> {
            Ok(compression_of_environment()?.or(settings.compression).unwrap_or_default())
        };
        let compression = match self.compress {
            Compress::With(compression) => compression,
            Compress::AsConfigured => configured()?,
            Compress::Always => Some(configured()?).filter(|it| *it != Compression::None).unwrap_or_default(),
        };
        let (level, levels) =
            (self.compression_level.unwrap_or(compression.usual_level()), compression.levels());
        if compression != Compression::None && !levels.contains(&level) {
            return Err(Error::request(format!("`--compression-level {level}` is out of range"))
                .hint(format!("It is from {} to {}.", levels.start(), levels.end())));
        }
        let recipients = match self.encrypt_to.is_empty() {
            true => settings.encrypt_to.clone().unwrap_or_default(),
            false => Recipients::parse(&self.encrypt_to)?,
        };
        Ok(Packing {
            compression,
            level,
            threads: self.threads.map_or_else(default_threads, usize::from),
            recipients,
        })
    }

    fn jobs(&self, settings: &BackupSettings, format: Format, source: &Source) -> Result<usize> {
        let is_archive = format == Format::Custom && matches!(source, Source::Postgresql { .. });
        match (self.jobs, settings.jobs) {
            (Some(jobs), _) if jobs > 1 && !is_archive => {
                Err(Error::request(format!("`--jobs {jobs}` needs an archive-format dump of PostgreSQL"))
                    .hint("Add `--format custom`. SQL dumps and SQLite files cannot be read in parallel."))
            }
            (jobs, configured) => {
                Ok(usize::from(jobs.or(configured.filter(|_| is_archive)).unwrap_or(1).max(1)))
            }
        }
    }
}

/// The databases of lifeboat.toml that can be backed up.
pub(crate) fn configured_databases(config: &Configured) -> Vec<String> {
    config.databases.own.keys().cloned().collect()
}

/// The database that a request without a name means: the only one of lifeboat.toml, unless DATABASE_URL names another.
pub(crate) fn default_database(config: &Configured) -> Option<String> {
    let is_named = std::env::var("DATABASE_URL").is_ok_and(|url| !url.trim().is_empty());
    let mut databases = configured_databases(config);
    (!is_named && databases.len() == 1).then(|| databases.remove(0))
}

/// The database that a request means: the one that it names, or the default one. `None` is that of DATABASE_URL.
pub(crate) fn choose_database(named: Option<String>, config: &Configured) -> Result<Option<String>> {
    let database = named.or_else(|| default_database(config));
    let databases = configured_databases(config);
    if database.is_none() && !databases.is_empty() && std::env::var_os("DATABASE_URL").is_none() {
        return Err(Error::request("the request names no database, and lifeboat.toml has several")
            .hint(format!("Name one with `database`: `{}`.", databases.join("`, `"))));
    }
    Ok(database)
}

fn compression_of_environment() -> Result<Option<Compression>> {
    let Some(text) = std::env::var("BACKUP_COMPRESS").ok().filter(|text| !text.trim().is_empty()) else {
        return Ok(None);
    };
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "gzip" => Ok(Some(Compression::Gzip)),
        "false" | "0" | "no" | "off" | "none" => Ok(Some(Compression::None)),
        "zstd" => Ok(Some(Compression::Zstd)),
        text => Err(Error::request(format!(
            "BACKUP_COMPRESS is `{}`, which is neither true nor false",
            text.escape_default()
        ))
        .hint("Set it to `true`, `false` or `zstd`, or unset it.")),
    }
}

/// A backup that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Of what.
    pub source: Source,
    /// What retention and statistics group by.
    pub database: String,
    /// Its name; otherwise one is made.
    pub name: Option<BackupName>,
    /// What becomes of an earlier backup of the same database that has the name.
    pub if_taken: IfTaken,
    /// In which form PostgreSQL is dumped.
    pub format: Format,
    /// How many connections dump at once; more than one makes an archive in parts.
    pub jobs: usize,
    /// How it is compressed and encrypted.
    pub packing: Packing,
    /// How thoroughly it is proven before it counts.
    pub level: Level,
    /// What the proof may use; PostgreSQL's programs are looked for there too.
    pub read: ReadOptions,
    /// How long another backup of the same database is waited for.
    pub wait: Duration,
    /// Whether it is kept whatever the rules say.
    pub keep_forever: bool,
    /// Its retention class.
    pub class: Option<String>,
    /// How many days it is kept, if it has no class and somebody said so.
    pub keep_days: Option<u32>,
    /// What makes it the same database wherever it is, if somebody said so.
    pub database_id: Option<String>,
    /// What started it.
    pub trigger: Trigger,
    /// How deep the source is looked into, to prove restored copies by; not at all, if `None`.
    pub observe: Option<Depth>,
    /// Whether the roles and tablespaces of the server are kept beside it.
    pub globals: Roles,
}

impl Request {
    /// What is known of the database before it is reached from `host`.
    pub(crate) fn identity(&self, host: &str) -> Identity {
        let (name, id) = (self.database.clone(), self.database_id.clone());
        let origin = Origin::of(&self.source, name, id, (String::new(), None));
        Identity::from_origin(self.source.kind(), &origin, host)
    }
}

/// What becomes of an earlier backup of the same database that has the name of a new one. That of another database is never
/// touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfTaken {
    /// It stays, and the new one is not made.
    Refuse,
    /// Its own time is appended to its name, so that the name is always that of the newest.
    MoveAside,
}

/// Whether roles are kept with a backup of PostgreSQL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Roles {
    /// No.
    #[default]
    Without,
    /// Yes, but not the verifiers of their passwords.
    WithoutPasswords,
    /// With the verifiers of their passwords, which takes a superuser.
    WithPasswords,
}

/// Without its key an encrypted backup can be proven by its checksum alone.
pub(super) fn provable_level(level: Level, packing: &Packing, read: &ReadOptions) -> Level {
    if packing.recipients.is_empty() || !read.identities.is_empty() { level } else { Level::Checksum }
}
