//! The manifest of a backup, `<name>.json` beside its file: what is in it, where it comes from, how to prove it.
//!
//! A manifest is read with suspicion: it may have been edited, cut off, or put there by somebody else. The name of
//! the file is derived from the name and the format, never taken from a path in the manifest. It holds no secret.

use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::coding::Compression;
use super::name::BackupName;
use super::source::{DatabaseType, Source};
use super::sqlite::Contents;
use crate::vault::Trigger;
use crate::verify::Verdict;

/// In which form the content is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// SQL as `pg_dump --clean --create` writes it: readable, and restorable by hand with psql.
    Sql,
    /// PostgreSQL's custom archive: restorable by several jobs, and in parts.
    Custom,
    /// PostgreSQL's directory archive, dumped by several jobs, as a tar.
    Directory,
    /// A SQLite database file.
    Sqlite,
}

impl Format {
    /// The ending of file names, without compression.
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Format::Sql => ".sql",
            Format::Custom => ".dump",
            Format::Directory => ".tar",
            Format::Sqlite => ".sqlite",
        }
    }
}

/// How thoroughly a backup was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// The file on disk is the one that was written
    Checksum,
    /// The file can be read to its end and holds a whole database
    Stream,
    /// The backup was restored, and the copy matches what was recorded of the source
    Restore,
}

impl Level {
    /// The word as it stands in reports.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Level::Checksum => "checksum",
            Level::Stream => "stream",
            Level::Restore => "restore",
        }
    }
}

/// One look at a backup, and what came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verification {
    /// How thorough it was.
    pub level: Level,
    /// When.
    pub at: DateTime<Utc>,
    /// What came out.
    pub result: Verdict,
    /// Why, where it is not a pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// What is no fault, and what one should know of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Verification {
    /// Whether it stands after a later look. A checksum that is right takes nothing away from a restore that passed, or
    /// that failed; a look that found nothing out takes nothing away from one that did; one that failed always counts.
    fn outlasts(&self, later: &Verification) -> bool {
        let is_known = self.result != Verdict::Unknown;
        match later.result {
            Verdict::Fail => false,
            Verdict::Pass => is_known && self.level > later.level,
            Verdict::Unknown => is_known,
        }
    }
}

/// Where a backup comes from; never with a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// What retention and statistics group by: the name in `lifeboat.toml`, or the database's.
    pub database: String,
    /// Host and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Name of the database on its server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dbname: Option<String>,
    /// Path of a SQLite file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Version of the server, or of the library that read the file.
    pub server_version: String,
    /// What makes it the same database wherever it is, if somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_id: Option<String>,
    /// The system identifier of the PostgreSQL cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// What the SQLite file is known by on its file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_id: Option<String>,
}

impl Origin {
    /// The origin of what is taken from `source`. `server` is its version, and the system identifier of the cluster.
    pub(super) fn of(
        source: &Source,
        database: String,
        database_id: Option<String>,
        server: (String, Option<String>),
    ) -> Self {
        let (server_version, system_identifier) = server;
        let (mut address, mut name, mut path, mut file_id) = (None, None, None, None);
        match source {
            Source::Postgresql { server, dbname } => {
                (address, name) = (Some(server.place()), Some(dbname.clone()));
            }
            Source::Sqlite { path: at } => {
                let absolute = std::path::absolute(at).unwrap_or_else(|_| at.clone());
                (path, file_id) = (Some(absolute.to_string_lossy().into_owned()), read_file_id(at));
            }
        }
        Origin {
            database,
            server: address,
            dbname: name,
            path,
            server_version,
            database_id,
            system_identifier,
            file_id,
        }
    }
}

/// What a file is known by wherever it is moved on its file system; `None` where the file system does not tell.
pub(super) fn read_file_id(path: &Path) -> Option<String> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statvfs, statx};
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::INO | StatxFlags::BTIME).ok()?;
    let born = match StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME) {
        true => format!("{}.{:09}", found.stx_btime.tv_sec, found.stx_btime.tv_nsec),
        false => "0".to_owned(),
    };
    Some(format!("{:x}-{}-{born}", statvfs(path).ok()?.f_fsid, found.stx_ino))
}

/// What made a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Maker {
    /// `lifeboat` and its version.
    pub lifeboat: String,
    /// The program that dumped, and its version.
    pub tool: String,
    /// The machine.
    pub host: String,
    /// What started it.
    pub trigger: Trigger,
}

/// The roles and tablespaces of a server, as `pg_dumpall --globals-only` writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Globals {
    /// Bytes of the file.
    pub file_size: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Whether the verifiers of the roles' passwords are in it.
    pub with_passwords: bool,
}

/// What proves by which key a manifest was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seal {
    /// Always `hmac-sha256`.
    pub algorithm: String,
    /// Which key: eight hexadecimal digits that say nothing of it.
    pub key: String,
    /// The HMAC, in hexadecimal.
    pub mac: String,
}

/// The manifest; `schema` is `lifeboat.backup/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// `lifeboat.backup/1`.
    pub schema: String,
    /// Whether the backup is complete. A manifest is written only then.
    pub success: bool,
    /// Name.
    pub backup_name: BackupName,
    /// Where the file was put, for people; the name of the file is derived, see [`Manifest::file_name`].
    pub file_path: String,
    /// Bytes of the file.
    pub file_size: u64,
    /// Whether the file is compressed.
    pub compressed: bool,
    /// How.
    pub compression: Compression,
    /// Whether the file is encrypted with age.
    #[serde(default)]
    pub encrypted: bool,
    /// Kind of database.
    pub database_type: DatabaseType,
    /// Form of the content.
    pub format: Format,
    /// The moment whose content it holds.
    pub timestamp: DateTime<Utc>,
    /// Seconds that it took.
    pub duration: f64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Bytes of the content.
    pub plain_size: u64,
    /// SHA-256 of the content.
    pub plain_sha256: String,
    /// Where it comes from.
    pub source: Origin,
    /// What made it.
    pub made_by: Maker,
    /// The proof that stands: the latest that was at least as thorough as the one before, or that failed.
    pub verification: Option<Verification>,
    /// A later look that changes nothing of what stands: a less thorough one, or one without a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_check: Option<Verification>,
    /// Kept whatever the rules of retention say.
    #[serde(default)]
    pub keep_forever: bool,
    /// Days that it was made to be kept, if that was said and it has no class. Pruning goes by this, whoever prunes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<u32>,
    /// Retention class, if it was given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Roles and tablespaces of the server, in a file beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub globals: Option<Globals>,
    /// What a SQLite file was seen to contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<Contents>,
    /// Names of the roles of the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// What a PostgreSQL database was seen to contain, at the very moment that was dumped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation: Option<crate::verify::Recorded>,
    /// Sequences of the source that moved while it was dumped; all others stand in a copy where they were observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_sequences: Option<Vec<String>>,
    /// Definitions of the source that changed while it was dumped, by kind and name: a copy may have them as they were before,
    /// or as they were afterwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved_definitions: Vec<String>,
    /// Digests of the definitions that a dump and a restore may put in other words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wordings: Option<crate::verify::schema::Definitions>,
    /// By which rule they were taken; those of another one cannot be compared.
    #[serde(default)]
    pub wordings_recipe: u32,
    /// By which key it was written, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
}

/// The schema of manifests.
pub(crate) const SCHEMA: &str = "lifeboat.backup/1";
/// Manifests of databases with very many tables have some megabytes.
pub(crate) const LARGEST: u64 = 64 << 20;

impl Manifest {
    /// Reads a manifest, if it is one.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let manifest: Manifest = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if manifest.schema != SCHEMA {
            return Err(format!("its schema is `{}`", manifest.schema.escape_default()));
        }
        Ok(manifest)
    }

    /// The name of the file in the vault.
    pub(crate) fn file_name(&self) -> String {
        file_name(&self.backup_name, self.format, self.compression, self.encrypted)
    }

    /// All its files but the manifest, the content first.
    pub(crate) fn files(&self) -> Vec<String> {
        let globals = self.globals.as_ref().map(|_| globals_name(&self.backup_name, self.encrypted));
        std::iter::once(self.file_name()).chain(globals).collect()
    }

    /// Whether it was made by something else, and taken over.
    pub(crate) fn is_adopted(&self) -> bool {
        self.made_by.trigger == Trigger::Adopt
    }

    /// Major version of the pg_dump that made it; 0 for what pg_dump did not make.
    pub(crate) fn tool_major(&self) -> u32 {
        let version = self.made_by.tool.strip_prefix("pg_dump ").unwrap_or_default();
        version
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .and_then(|major| major.parse().ok())
            .unwrap_or_default()
    }

    /// Takes a look at the backup into account.
    pub(crate) fn looked_at(&mut self, proof: Verification) {
        if self.verification.as_ref().is_some_and(|standing| standing.outlasts(&proof)) {
            self.last_check = Some(proof);
        } else {
            (self.verification, self.last_check) = (Some(proof), None);
        }
    }

    /// Whether it counts as a copy that one can rely on.
    pub(crate) fn is_verified(&self) -> bool {
        let proven = |proof: &Verification| proof.result == Verdict::Pass;
        self.success && self.verification.as_ref().is_some_and(proven)
    }
}

/// The name of a backup's file.
pub(crate) fn file_name(
    name: &BackupName,
    format: Format,
    compression: Compression,
    encrypted: bool,
) -> String {
    let age = if encrypted { ".age" } else { "" };
    format!("{name}{}{}{age}", format.extension(), compression.extension())
}

/// The name of a manifest.
pub(crate) fn manifest_name(name: &BackupName) -> String {
    format!("{name}.json")
}

/// The name of the file with roles and tablespaces.
pub(crate) fn globals_name(name: &BackupName, encrypted: bool) -> String {
    format!("{name}.globals.sql{}", if encrypted { ".age" } else { "" })
}

/// Every name that a file of a backup of that name could have.
pub(crate) fn file_names(name: &BackupName) -> Vec<String> {
    let formats = [Format::Sql, Format::Custom, Format::Directory, Format::Sqlite];
    let compressions = [Compression::None, Compression::Gzip, Compression::Zstd];
    let mut names = vec![manifest_name(name), globals_name(name, false), globals_name(name, true)];
    for format in formats {
        for compression in compressions {
            names.extend([false, true].map(|encrypted| file_name(name, format, compression, encrypted)));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lesser_look_takes_no_proof_away_and_excuses_no_fault() {
        let look = |level, result| Verification {
            level,
            result,
            at: DateTime::default(),
            reasons: Vec::new(),
            warnings: Vec::new(),
        };
        let (good, bad) = (look(Level::Restore, Verdict::Pass), look(Level::Restore, Verdict::Fail));
        for lesser in [look(Level::Checksum, Verdict::Pass), look(Level::Restore, Verdict::Unknown)] {
            assert!(good.outlasts(&lesser) && bad.outlasts(&lesser), "{lesser:?}");
        }
        let fault = look(Level::Checksum, Verdict::Fail);
        assert!(!good.outlasts(&fault) && !good.outlasts(&good) && !bad.outlasts(&good));
        assert!(!fault.outlasts(&good) && !look(Level::Restore, Verdict::Unknown).outlasts(&fault));
        assert!(!look(Level::Restore, Verdict::Unknown).outlasts(&look(Level::Checksum, Verdict::Pass)));
    }
}
