//! `backup adopt`: files that lifeboat did not make, dumps of `pg_dump`, plain or as archives, and SQLite files, as they are or compressed.
//!
//! What a manifest would say of such a file is read from the file itself, so that it is proven, taken over and restored like
//! any other. What its source held was not recorded: only that what is in the file can be brought back is proven.

mod prepared;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::catalogue;
use super::coding::{Compression, fill_buffer};
use super::context::Context;
use super::create;
use super::event::{Event, cannot_write, default_threads, follow_progress, stop_if_interrupted};
use super::manifest::{Format, Level, Maker, Manifest, Origin, SCHEMA, Verification, file_name};
use super::name::BackupName;
use super::prune::{Occasion, retention_days_of_environment};
use super::read_options::{AccessOptions, ProofOptions, ReadOptions};
use super::settings::Configured;
use super::source::{DatabaseType, Source};
use super::stream::{Outflow, Unpacking, hash_file};
use super::verify::verify_found;
use crate::error::{Error, Kind, Result};
use crate::vault::{Actor, Content, Trigger, Vault};
use crate::verify::Verdict;
use prepared::Prepared;

/// A file, and what could be read of it.
#[derive(Debug)]
pub(crate) struct FoundFile {
    content: Content,
    manifest: Manifest,
    /// What it was laid out as, which lies there as long as this does.
    _prepared: Option<Prepared>,
}

/// What it begins with is looked at this far.
const HEAD: usize = 64 << 10;

impl FoundFile {
    /// Looks at a file, and reads it to its end.
    pub(crate) async fn survey(path: &Path, cx: &Context<'_>) -> Result<Self> {
        refuse_living(path)?;
        let failed = |error: std::io::Error| {
            Error::request(format!("cannot read `{}`", path.display())).caused_by(error)
        };
        let found = std::fs::metadata(path).map_err(failed)?;
        let is_archive = found.is_dir() && path.join("toc.dat").is_file();
        if !found.is_file() && !is_archive {
            return Err(Error::request(format!(
                "`{}` is neither a file nor a dump in directory format",
                path.display()
            ))
            .hint("Name a dump of pg_dump or a SQLite file."));
        }
        let dated = if is_archive { std::fs::metadata(path.join("toc.dat")).map_err(failed)? } else { found };
        let modified: DateTime<Utc> = dated.modified().map_err(failed)?.into();
        let prepared = prepare_file(path, is_archive)?;
        let read = prepared.as_ref().map_or(path.to_owned(), Prepared::path);
        let content = Content::of(File::open(&read).map_err(failed)?);
        let mut start = vec![0; 8];
        let filled = fill_buffer(&mut content.reader(), &mut start).map_err(failed)?;
        let compression = compression_of(&start[..filled], path)?;
        let unpacking = move || Unpacking { compression, threads: default_threads(), identities: None };
        let mut head = vec![0; HEAD];
        let read = Outflow::open(content.reader(), unpacking())
            .and_then(|mut flow| fill_buffer(&mut flow, &mut head));
        head.truncate(read.map_err(|error| {
            let failed = Error::new(Kind::No, format!("`{}` is damaged", path.display()));
            failed.caused_by(error)
        })?);
        let kind = if is_archive { Kinds::Folder } else { Kinds::of(&head, path)? };
        let described = match kind {
            Kinds::Folder => {
                let toc = std::fs::read(path.join("toc.dat")).map_err(failed)?;
                Described::of(Kinds::Archive, &toc[..toc.len().min(HEAD)])
            }
            kind => Described::of(kind, &head),
        };
        let reader = content.reader();
        let bytes = std::sync::Arc::default();
        let totals = follow_progress(&bytes, cx.tell, move || {
            Ok(Outflow::open(reader, unpacking()).and_then(Outflow::finish))
        })
        .await?;
        let totals = totals.map_err(|error| {
            Error::new(Kind::No, format!("`{}` is damaged", path.display())).caused_by(error)
        })?;
        let name = name_of(path);
        let format = kind.format();
        let (database_type, dbname, absolute) = match format {
            Format::Sqlite => (DatabaseType::Sqlite, None, Some(path)),
            _ => (DatabaseType::Postgresql, described.dbname.clone(), None),
        };
        let manifest = Manifest {
            schema: SCHEMA.to_owned(),
            success: true,
            file_path: path.display().to_string(),
            file_size: totals.file_bytes,
            compressed: compression != Compression::None,
            compression,
            encrypted: false,
            database_type,
            format,
            timestamp: modified,
            duration: 0.0,
            sha256: totals.file_sha256,
            plain_size: totals.plain_bytes,
            plain_sha256: totals.plain_sha256,
            source: Origin {
                database: dbname.clone().unwrap_or_else(|| label_of(path)),
                server: None,
                dbname,
                path: absolute
                    .map(|path| std::path::absolute(path).unwrap_or(path.to_owned()).display().to_string()),
                server_version: described.server_version,
                database_id: None,
                system_identifier: None,
                file_id: None,
            },
            made_by: Maker {
                lifeboat: format!("lifeboat {}", env!("CARGO_PKG_VERSION")),
                tool: described.tool,
                host: cx.host.clone(),
                trigger: Trigger::Adopt,
            },
            backup_name: name,
            verification: None,
            last_check: None,
            keep_forever: false,
            keep_days: None,
            class: None,
            globals: None,
            contents: None,
            roles: Vec::new(),
            observation: None,
            moved_sequences: None,
            moved_definitions: Default::default(),
            wordings: None,
            wordings_recipe: Default::default(),
            seal: None,
        };
        Ok(FoundFile { content, manifest, _prepared: prepared })
    }

    /// Proves it. What it needs besides its content, such as roles, is taken from it.
    async fn prove(
        &mut self,
        level: Level,
        options: &ProofOptions,
        cx: &Context<'_>,
    ) -> Result<Verification> {
        let file = self.content.clone();
        verify_found(&mut self.manifest, file, level, options, cx).await
    }
}

/// Lays out what cannot be read as it is.
fn prepare_file(path: &Path, is_archive: bool) -> Result<Option<Prepared>> {
    if is_archive {
        return Prepared::of_directory(path).map(Some);
    }
    let failed =
        |error: std::io::Error| Error::request(format!("cannot read `{}`", path.display())).caused_by(error);
    let content = Content::of(File::open(path).map_err(failed)?);
    let mut start = vec![0; 8];
    let filled = fill_buffer(&mut content.reader(), &mut start).map_err(failed)?;
    let compression = compression_of(&start[..filled], path)?;
    let unpacking = Unpacking { compression, threads: 1, identities: None };
    let mut head = vec![0; SQLITE_SCRIPT.len()];
    let read =
        Outflow::open(content.reader(), unpacking).and_then(|mut flow| fill_buffer(&mut flow, &mut head));
    // What is damaged is told by whoever reads it to its end.
    match read {
        Ok(_) if head == SQLITE_SCRIPT => Prepared::of_sqlite_script(path, compression).map(Some),
        _ => Ok(None),
    }
}

/// What `sqlite3 .dump` begins with.
const SQLITE_SCRIPT: &[u8] = b"PRAGMA foreign_keys=OFF;";

/// A SQLite file that is in use is more than the file: its latest transactions lie beside it.
fn refuse_living(path: &Path) -> Result<()> {
    for ending in ["-wal", "-journal"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(ending);
        let beside = PathBuf::from(beside);
        if std::fs::metadata(&beside).is_ok_and(|found| found.len() > 0) {
            return Err(Error::request(format!("`{}` is not a whole database", path.display()))
                .caused_by(format!(
                    "`{}` lies beside it and may hold some of its transactions",
                    beside.display()
                ))
                .hint(format!(
                    "Back it up instead: `lifeboat backup create --url sqlite://{}`.",
                    path.display()
                )));
        }
    }
    Ok(())
}

/// What a file is compressed with, by its first bytes.
fn compression_of(start: &[u8], path: &Path) -> Result<Compression> {
    let other = |what: &str, command: &str| {
        Err(Error::request(format!("`{}` is {what}", path.display())).hint(format!(
            "lifeboat reads files that are uncompressed or compressed with gzip or zstd: {command} it first."
        )))
    };
    match start {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
        [b'B', b'Z', b'h', ..] => other("compressed with bzip2", "decompress"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => other("compressed with xz", "decompress"),
        [0x04, 0x22, 0x4d, 0x18, ..] => other("compressed with lz4", "decompress"),
        [b'P', b'K', 3, 4, ..] => other("a ZIP archive", "unpack"),
        [b'a', b'g', b'e', b'-', ..] => other("encrypted with age", "decrypt"),
        [] => Err(Error::new(Kind::No, format!("`{}` is empty", path.display()))),
        _ => Ok(Compression::None),
    }
}

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kinds {
    Sqlite,
    Script,
    Archive,
    Tar,
    Folder,
}

impl Kinds {
    fn of(head: &[u8], path: &Path) -> Result<Self> {
        let refused = |what: &str, hint: &str| {
            Err(Error::request(format!("`{}` is {what}", path.display())).hint(hint.to_owned()))
        };
        let text = String::from_utf8_lossy(&head[..head.len().min(4096)]);
        let comments: Vec<&str> = text.lines().filter(|line| line.starts_with("--")).take(20).collect();
        let says = |words: &str| comments.iter().any(|line| line.contains(words));
        if head.starts_with(b"SQLite format 3\0") {
            return Ok(Kinds::Sqlite);
        }
        if head.starts_with(b"PGDMP") {
            return Ok(Kinds::Archive);
        }
        if head.starts_with(b"toc.dat\0") && head.get(257..262) == Some(b"ustar") {
            return Ok(Kinds::Tar);
        }
        if says("PostgreSQL database cluster dump") {
            return refused(
                "a dump of a whole cluster, made by pg_dumpall",
                "A backup holds one database. Restore the dump with psql, then back up each database.",
            );
        }
        if says("PostgreSQL database dump") {
            return Ok(Kinds::Script);
        }
        if says("MySQL dump") || says("MariaDB dump") {
            return refused("a dump of MySQL or MariaDB", "lifeboat supports PostgreSQL and SQLite.");
        }
        refused(
            "neither a dump of PostgreSQL nor a SQLite file",
            "A dump by pg_dump begins with `-- PostgreSQL database dump` or `PGDMP`.",
        )
    }

    fn format(self) -> Format {
        match self {
            Kinds::Sqlite => Format::Sqlite,
            Kinds::Script => Format::Sql,
            Kinds::Archive | Kinds::Tar => Format::Custom,
            Kinds::Folder => Format::Directory,
        }
    }
}

/// What a file says of itself.
#[derive(Debug, Default)]
struct Described {
    dbname: Option<String>,
    server_version: String,
    tool: String,
}

impl Described {
    fn of(kind: Kinds, head: &[u8]) -> Self {
        match kind {
            Kinds::Sqlite => Described { tool: "SQLite".to_owned(), ..Described::default() },
            Kinds::Script => Self::of_script(&String::from_utf8_lossy(head)),
            Kinds::Archive | Kinds::Folder => Self::of_archive(head).unwrap_or_default(),
            Kinds::Tar => head.get(512..).and_then(Self::of_archive).unwrap_or_default(),
        }
    }

    fn of_script(text: &str) -> Self {
        let after = |words: &str| {
            text.lines()
                .take(200)
                .find_map(|line| line.strip_prefix(words))
                .map(|rest| rest.trim().to_owned())
        };
        let connected = text.lines().find_map(|line| line.strip_prefix("\\connect "));
        let dbname = connected.map(connected_database);
        Described {
            dbname: dbname.filter(|name| !name.is_empty()),
            server_version: after("-- Dumped from database version ").unwrap_or_default(),
            tool: format!("pg_dump {}", after("-- Dumped by pg_dump version ").unwrap_or_default()),
        }
    }

    /// The header of an archive (`ReadHead` of PostgreSQL's pg_backup_archiver.c).
    fn of_archive(head: &[u8]) -> Option<Self> {
        let mut bytes = head.strip_prefix(b"PGDMP")?;
        let (major, minor) = (take_byte(&mut bytes)?, take_byte(&mut bytes)?);
        let _revision = take_byte(&mut bytes)?;
        let width = usize::from(take_byte(&mut bytes)?);
        let _offset_width = take_byte(&mut bytes)?;
        let _format = take_byte(&mut bytes)?;
        match (major, minor) {
            (1, 15..) => drop(take_byte(&mut bytes)?),
            _ => drop(take_number(&mut bytes, width)?),
        }
        // The time of day, in the zone of whoever dumped: no moment.
        for _ in 0..7 {
            take_number(&mut bytes, width)?;
        }
        let dbname = take_text(&mut bytes, width)?;
        let server_version = take_text(&mut bytes, width)?;
        let tool = format!("pg_dump {}", take_text(&mut bytes, width)?);
        Some(Described { dbname: Some(dbname).filter(|name| !name.is_empty()), server_version, tool })
    }
}

/// The database that a `\\connect` of pg_dump names: an identifier, or a connection string where the name holds more than
/// letters and digits (`appendPsqlMetaConnect` of PostgreSQL's string_utils.c).
fn connected_database(arguments: &str) -> String {
    let string = arguments.trim().strip_prefix("-reuse-previous=on \"dbname='");
    match string.and_then(|rest| rest.strip_suffix("'\"")) {
        None => arguments.trim().trim_matches('"').replace("\"\"", "\""),
        Some(escaped) => {
            let mut name = String::new();
            let mut is_escaped = false;
            for letter in escaped.replace("\"\"", "\"").chars() {
                is_escaped = letter == '\\' && !is_escaped;
                if !is_escaped {
                    name.push(letter);
                }
            }
            name
        }
    }
}

fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

/// A sign, and the number from its lowest byte on.
fn take_number(bytes: &mut &[u8], width: usize) -> Option<i64> {
    let is_negative = take_byte(bytes)? != 0;
    let (digits, rest) = bytes.split_at_checked(width.clamp(1, 8))?;
    *bytes = rest;
    let value = digits.iter().rev().fold(0_i64, |value, digit| value << 8 | i64::from(*digit));
    Some(if is_negative { -value } else { value })
}

fn take_text(bytes: &mut &[u8], width: usize) -> Option<String> {
    let length = usize::try_from(take_number(bytes, width)?).unwrap_or(0);
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// What a file is called without its endings.
fn label_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut name: &str = &name;
    for endings in [
        [".gz", ".zst", ".zstd"].as_slice(),
        &[".sql", ".dump", ".pgdump", ".tar", ".backup", ".sqlite", ".sqlite3", ".db"],
    ] {
        name = endings.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    }
    if name.is_empty() { "database".to_owned() } else { name.to_owned() }
}

fn name_of(path: &Path) -> BackupName {
    let label = label_of(path);
    let plain: String = label
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .take(100)
        .collect();
    let plain = plain.replace("..", ".");
    let plain = plain.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    plain.parse().unwrap_or_else(|_| BackupName::of(&label, DateTime::<Utc>::UNIX_EPOCH))
}

/// An adoption as somebody asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The database of lifeboat.toml that the files are backups of.
    pub database: Option<String>,
    /// The URL of the database that they are backups of.
    pub url: Option<String>,
    /// What makes it the same database wherever it is.
    pub database_id: Option<String>,
    /// Name of the backup.
    pub name: Option<BackupName>,
    /// When the content was taken.
    pub taken_at: Option<DateTime<Utc>>,
    /// Retention class.
    pub class: Option<String>,
    /// Whether they are kept whatever the rules say.
    pub keep_forever: bool,
    /// How thoroughly they are proven.
    pub level: Level,
    /// How backups are opened and databases are reached.
    pub access: AccessOptions,
}

impl Asked {
    /// Settles what was left open.
    pub(crate) async fn resolve(
        &self,
        config: &Configured,
        tell: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<Adoption> {
        if let Some(class) = &self.class {
            Occasion::AfterBackup.rules(config)?.of(class)?;
        }
        Ok(Adoption {
            name: self.name.clone(),
            origin: self.origin(config, tell).await?,
            taken_at: self.taken_at,
            class: self.class.clone(),
            keep_days: retention_days_of_environment()?,
            keep_forever: self.keep_forever,
            level: self.level,
            read: self.access.read_options(config)?,
        })
    }

    /// Where the database is that the files are backups of.
    async fn origin(&self, config: &Configured, tell: &(dyn Fn(Event<'_>) + Sync)) -> Result<Option<Origin>> {
        let settings = self.database.as_deref().map(|it| config.section(it)).transpose()?;
        let url = self.url.as_deref().or(settings.and_then(|settings| settings.url.as_deref()));
        let Some(url) = url else { return Ok(None) };
        let source = Source::of_url(url.trim(), &self.access.connection, tell)?;
        let name = self.database.clone().unwrap_or_else(|| source.usual_name());
        let id = self.database_id.clone().or_else(|| settings.and_then(|it| it.database_id.clone()));
        Ok(Some(create::read_origin(&source, name, id.filter(|id| !id.is_empty())).await))
    }
}

/// A file that is to become a backup of the vault.
#[derive(Clone, Debug)]
pub(crate) struct Adoption {
    /// Its name; otherwise that of the file.
    pub name: Option<BackupName>,
    /// The database that it is a backup of; otherwise one of its own, by what the file says.
    pub origin: Option<Origin>,
    /// When its content was taken; otherwise when the file was last written to.
    pub taken_at: Option<DateTime<Utc>>,
    /// Its retention class.
    pub class: Option<String>,
    /// How many days it is kept, if it has no class.
    pub keep_days: Option<u32>,
    /// Whether it is kept whatever the rules say.
    pub keep_forever: bool,
    /// How thoroughly it is proven before it counts.
    pub level: Level,
    /// How it is opened.
    pub read: ReadOptions,
}

/// Adopts a file between two lines of the audit log.
pub(crate) async fn run_recorded(
    path: &Path,
    adoption: Adoption,
    actor: &Actor,
    cx: &Context<'_>,
) -> Result<Manifest> {
    let found = FoundFile::survey(path, cx).await?;
    let name = adoption.name.as_ref().unwrap_or(&found.manifest.backup_name).to_string();
    cx.record_backup(actor.act("backup adopt", &name), adopt_file(found, adoption, cx)).await
}

/// A vault for the time of a proof, where files are surveyed that are in none.
pub(crate) struct TemporaryVault {
    /// The vault.
    pub vault: Vault,
    _folder: tempfile::TempDir,
}

impl TemporaryVault {
    /// Makes one in the folder for temporary files.
    pub(crate) fn create() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("lifeboat-verify-").tempdir().map_err(|error| {
            Error::outside("cannot create a temporary folder")
                .caused_by(error)
                .hint("Free some space, or set TMPDIR to a folder elsewhere.")
        })?;
        let vault = Vault::open(&folder.path().to_string_lossy(), &crate::aws::Access::default())?;
        Ok(TemporaryVault { vault, _folder: folder })
    }
}

/// Proves a file that has no manifest. Nothing is written but temporary files.
pub(crate) async fn verify_file(
    path: &Path,
    level: Level,
    options: &ProofOptions,
    cx: &Context<'_>,
) -> Result<(Manifest, Verification)> {
    let mut found = FoundFile::survey(path, cx).await?;
    let proof = found.prove(level, options, cx).await?;
    Ok((found.manifest, proof))
}

/// Copies a file into the vault, proven, as a backup like any other. The file itself stays as it is.
async fn adopt_file(mut found: FoundFile, adoption: Adoption, cx: &Context<'_>) -> Result<Manifest> {
    let vault = cx.vault;
    catalogue::recover(vault)?;
    let shown = found.manifest.file_path.clone();
    let options = ProofOptions { read: adoption.read.clone(), ..ProofOptions::default() };
    let proof = found.prove(adoption.level, &options, cx).await?;
    let failed = |kind: Kind| {
        Error::new(kind, format!("`{shown}` was not adopted")).caused_by(proof.reasons.join("; "))
    };
    match proof.result {
        Verdict::Pass => {}
        Verdict::Fail => return Err(failed(Kind::No).hint("Nothing was copied. Look for an older file.")),
        Verdict::Unknown => {
            return Err(failed(Kind::Outside).hint("Nothing was copied: the file could not be verified."));
        }
    }
    let mut manifest = found.manifest;
    manifest.backup_name = match adoption.name {
        Some(name) if catalogue::is_taken(&vault.list("")?, &name) => {
            return Err(create::name_taken(&name));
        }
        Some(name) => name,
        None => catalogue::free_name(vault, manifest.backup_name)?,
    };
    if let Some(origin) = adoption.origin {
        manifest.source = Origin { server_version: manifest.source.server_version, ..origin };
    }
    manifest.timestamp = adoption.taken_at.unwrap_or(manifest.timestamp);
    manifest.keep_days = adoption.keep_days.filter(|_| adoption.class.is_none());
    (manifest.class, manifest.keep_forever) = (adoption.class, adoption.keep_forever);
    manifest.verification = Some(proof);
    let file = file_name(&manifest.backup_name, manifest.format, manifest.compression, false);
    manifest.file_path = vault.shown(&file);
    (cx.tell)(Event::Phase("copying"));
    let mut draft = vault.draft(manifest.backup_name.as_str(), &file)?.ok_or_else(|| {
        Error::new(Kind::StillGoing, format!("another backup `{}` is still running", manifest.backup_name))
    })?;
    let copied = copy_into_vault(found.content, draft.writer()?, cx).await?;
    // What lies in the vault now is what was proven, whatever happened to the file meanwhile.
    let (bytes, sha256) = hash_file(draft.content()?.reader())
        .map_err(|error| Error::outside("cannot read the copy").caused_by(error))?;
    if (copied, bytes, &sha256) != (manifest.file_size, manifest.file_size, &manifest.sha256) {
        return Err(Error::outside(format!("`{shown}` changed while it was copied"))
            .hint("The copy was removed. Run the command again when nothing writes to the file."));
    }
    adoption.read.seal_keys.seal(&mut manifest)?;
    stop_if_interrupted(cx.interrupt, "nothing was adopted")?;
    draft.publish(&[], &catalogue::serialize_manifest(&manifest)?)?;
    Ok(manifest)
}

async fn copy_into_vault(
    content: Content,
    mut target: Box<dyn std::io::Write + Send>,
    cx: &Context<'_>,
) -> Result<u64> {
    let bytes = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (counted, interrupt) = (std::sync::Arc::clone(&bytes), cx.interrupt.clone());
    follow_progress(&bytes, cx.tell, move || {
        let (mut reader, mut buffer, mut copied) = (content.reader(), vec![0; 1 << 20], 0);
        loop {
            stop_if_interrupted(&interrupt, "nothing was adopted")?;
            let read = reader
                .read(&mut buffer)
                .map_err(|error| Error::outside("cannot read the file").caused_by(error))?;
            if read == 0 {
                target.flush().map_err(cannot_write)?;
                return Ok(copied);
            }
            target.write_all(&buffer[..read]).map_err(cannot_write)?;
            copied += read as u64;
            counted.store(copied, std::sync::atomic::Ordering::Relaxed);
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_says_which_database_it_is_of() {
        for (line, name) in [
            ("app", "app"),
            (r#""Odd""#, "Odd"),
            (r#"-reuse-previous=on "dbname='my-app'""#, "my-app"),
            (r#"-reuse-previous=on "dbname='a""b'""#, "a\"b"),
            (r#"-reuse-previous=on "dbname='q\'x'""#, "q'x"),
            (r#"-reuse-previous=on "dbname='back\\slash\\'""#, r"back\slash\"),
        ] {
            assert_eq!(connected_database(line), name);
        }
    }
}
