//! The sections `[backup]` and `[databases.*.backup]`, and the other keys that backups go by.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::coding::Compression;
use super::encryption::Recipients;
use crate::error::{Error, Result};
use crate::retention::Rules;
use crate::settings::{Layered, PerDatabase, at_least_one, describe_refusal, filled_text, one_of_words};

/// How PostgreSQL is dumped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DumpFormat {
    /// Readable SQL, which can be restored by hand with `gunzip | psql`
    #[default]
    Sql,
    /// PostgreSQL's archive, which several jobs can restore in parallel
    Custom,
}

/// How logical backups are made; every key is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BackupSettings {
    /// The database: `postgresql://…`, `sqlite:///path`, or `env:NAME` for the variable that holds it.
    #[serde(deserialize_with = "filled_text")]
    pub url: Option<String>,
    /// `gzip`, `zstd` or `none`.
    #[serde(deserialize_with = "one_of_words")]
    pub compression: Option<Compression>,
    /// `sql` or `custom`.
    #[serde(deserialize_with = "one_of_words")]
    pub format: Option<DumpFormat>,
    /// How many connections dump a PostgreSQL database at once, as `--jobs`.
    #[serde(deserialize_with = "at_least_one")]
    pub jobs: Option<u16>,
    /// age recipients.
    #[serde(deserialize_with = "recipients")]
    pub encrypt_to: Option<Recipients>,
    /// What makes it the same database on whatever host it is backed up, as `--database-id`.
    pub database_id: Option<String>,
}

impl Layered for BackupSettings {
    fn over(self, general: &Self) -> Self {
        let general = general.clone();
        BackupSettings {
            // A URL and an id are one database's.
            url: self.url,
            database_id: self.database_id,
            compression: self.compression.or(general.compression),
            format: self.format.or(general.format),
            jobs: self.jobs.or(general.jobs),
            encrypt_to: self.encrypt_to.or(general.encrypt_to),
        }
    }
}

/// All that lifeboat.toml says of backups.
#[derive(Clone, Debug, Default)]
pub(crate) struct Configured {
    /// How they are made; a database that has no section of its own is not backed up by name.
    pub databases: PerDatabase<BackupSettings>,
    /// File with the keys that seal their manifests; it lies outside of the vault.
    pub seal_key: Option<PathBuf>,
    /// How long those of each retention class are kept.
    pub retention: Rules,
}

impl Configured {
    /// The URL of one database, if it has a section that names one.
    pub(crate) fn url_of(&self, database: &str) -> Option<&str> {
        self.databases.own.get(database)?.url.as_deref()
    }

    /// The section of one database.
    pub(super) fn section(&self, database: &str) -> Result<&BackupSettings> {
        self.databases.own.get(database).ok_or_else(|| {
            Error::request(format!("`{database}` has no `backup` section in lifeboat.toml")).hint(format!(
                "Add `[databases.{database}.backup]` with a `url`, or name the database with `--url`."
            ))
        })
    }
}

fn recipients<'de, D: Deserializer<'de>>(source: D) -> std::result::Result<Option<Recipients>, D::Error> {
    let texts = Vec::<String>::deserialize(source)?;
    Recipients::parse(&texts).map(Some).map_err(|why| D::Error::custom(describe_refusal(&why)))
}
