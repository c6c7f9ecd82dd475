//! Proving a backup, in three levels.
//!
//! 1. *checksum*: the file has the size and the SHA-256 that it was written with.
//! 2. *stream*: it can be read to its end, every part's own checksum holds, the content has the SHA-256 that it had, and
//!    it is a whole database: a SQL dump with its end and every row of it, an archive that pg_restore reads to its end
//!    (its table of contents alone proves nothing), a SQLite file whose structure is sound.
//! 3. *restore*: it is restored, and the copy holds what was observed in the source.
//!
//! A proof is made on one open file: what was checked is what is used afterwards, whatever happens to its name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};

use super::authenticity::SealKeys;
use super::dump_reader::{Held, Reader, Trust};
use super::manifest::Verification;
use super::parallel::Unpacker;
use super::script::TableName;
use super::sqlite::{self, Contents};
use super::stream::{Outflow, Totals, Unpacking, hash_file};
use super::{
    Compression, DatabaseType, Event, Format, Identities, Level, Manifest, Surroundings, catalogue, follow,
    interrupted, restore, seal, usual_threads,
};
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::postgres::{PrivateServer, Programs, Server, can_start};
use crate::vault::{Content, Draft, Scratch, Secrecy, Vault};
use crate::verify::Verdict;

/// What a proof needs besides the backup.
#[derive(Clone, Debug, Default)]
pub(crate) struct Means {
    /// Keys for encrypted backups.
    pub identities: Identities,
    /// A server to restore into for a proof; otherwise one of our own is started.
    pub server: Option<Server>,
    /// Directory of PostgreSQL's programs.
    pub pg_bin: Option<std::path::PathBuf>,
    /// Keys that seal backups, and by which is known where they come from.
    pub seal_keys: SealKeys,
    /// Whether backups are taken that carry no seal, although there is a key.
    pub accept_unsealed: bool,
    /// Whether the content of backups is trusted without a seal.
    pub trust_content: bool,
    /// What a restore goes on past.
    pub tolerance: restore::Tolerance,
}

impl Means {
    /// Refuses a backup whose manifest is not sealed by one of our keys; without a key any is taken.
    pub(crate) fn require_seal(&self, manifest: &Manifest) -> Result<()> {
        self.trust_in(manifest).map(drop)
    }

    /// Whether a seal, or whoever asks, vouches for what is in a backup. With a key, one without its seal is refused.
    pub(super) fn trust_in(&self, manifest: &Manifest) -> Result<Trust> {
        let is_sealed = self.seal_keys.prove(manifest, self.accept_unsealed)?;
        Ok(if is_sealed || self.trust_content { Trust::Vouched } else { Trust::Nobody })
    }
}

/// A way in which a restored copy is not what was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deviation {
    /// What it is known by, whatever its words are: kind and name of the object, as `index public.by_owner`.
    pub(super) name: String,
    /// What is wrong, for people.
    pub(super) text: String,
}

/// What came out of a look at a file.
#[derive(Debug, Default)]
pub(super) struct Finding {
    /// What is wrong with it.
    pub(super) faults: Vec<String>,
    /// In what a restored copy is not what was recorded.
    pub(super) deviations: Vec<Deviation>,
    /// What could not be found out.
    pub(super) doubts: Vec<String>,
    /// What a SQLite file contains.
    pub(super) contents: Option<Contents>,
    /// How the database of a dump is created, after its name.
    pub(super) create_database: Option<String>,
    /// What a dump holds that none of one database does: it is loaded only if somebody vouches for it.
    pub(super) refusals: Vec<String>,
    /// Which half of a database a dump lacks.
    pub(super) missing_half: Option<String>,
    /// What one may want to know, and what is no fault.
    pub(super) notes: Vec<String>,
    /// Rows of a dump, by table.
    pub(super) dumped_rows: BTreeMap<TableName, u64>,
    /// Roles that a dump names.
    pub(super) roles: Vec<String>,
    /// Tables and rows that were compared with what was recorded.
    pub(super) checked: (usize, u64),
}

impl Finding {
    fn fault(text: impl Into<String>) -> Self {
        Finding { faults: vec![text.into()], ..Finding::default() }
    }

    /// What a dump was seen to hold.
    fn of_dump(held: Held, faults: Vec<String>) -> Self {
        let missing_half = held.missing_half();
        let Held { create_database, refusals, roles, rows: dumped_rows, .. } = held;
        let roles = roles.into_iter().collect();
        Finding { faults, create_database, refusals, roles, dumped_rows, missing_half, ..Finding::default() }
    }

    /// What a dump does not hold is a fault, unless somebody vouches for it.
    pub(super) fn refuse_unless(&mut self, trust: Trust) {
        let refusals = std::mem::take(&mut self.refusals);
        if trust == Trust::Nobody {
            self.faults.extend(refusals);
        }
    }

    pub(super) fn proof(self, level: Level, at: DateTime<Utc>) -> Verification {
        let deviations = self.deviations.into_iter().map(|deviation| deviation.text);
        let faults: Vec<String> = self.faults.into_iter().chain(deviations).collect();
        let result = match (faults.is_empty(), self.doubts.is_empty()) {
            (false, _) => Verdict::Fail,
            (true, false) => Verdict::Unknown,
            (true, true) => Verdict::Pass,
        };
        let warnings = self.contents.iter().flat_map(|contents| &contents.warnings);
        Verification {
            level,
            at,
            result,
            warnings: warnings.map(sqlite::Warning::sentence).collect(),
            reasons: [faults, self.doubts].concat(),
        }
    }
}

/// Proves a backup of the vault, and records in its manifest what came out: this look at it, and the manifest then.
pub(crate) async fn verify(
    name: &str,
    level: Level,
    means: &Means,
    surroundings: &Surroundings<'_>,
) -> Result<(Verification, Manifest)> {
    let entry = catalogue::find(surroundings.vault, name)?;
    let manifest = entry.manifest;
    if manifest.encrypted && level > Level::Checksum && means.identities.is_empty() {
        return Err(Error::request(format!(
            "`{name}` is encrypted: only its checksum can be proven without a key"
        ))
        .hint("Name the file with the secret key with `--identity`."));
    }
    let finding = match entry.state {
        catalogue::State::Missing => Finding::fault(format!("`{}` is not there", manifest.file_name())),
        _ => {
            let file = surroundings.vault.open_file(&manifest.file_name())?;
            let again = file.clone();
            let mut finding = examine(&manifest, file, None, level, means, surroundings).await?;
            finding.refuse_unless(means.trust_in(&manifest)?);
            let recorded = manifest.contents.as_ref();
            if level == Level::Restore && recorded.is_some_and(|contents| !contents.is_inspected()) {
                finding.doubts.push(
                    "its contents were not looked into when it was made, so that there is nothing to hold them against"
                        .to_owned(),
                );
            }
            let is_sound = finding.faults.is_empty();
            if level == Level::Restore && is_sound && manifest.database_type == DatabaseType::Postgresql {
                restore_elsewhere(&manifest, again, finding, means, surroundings).await?
            } else {
                finding
            }
        }
    };
    let proof = finding.proof(level, (surroundings.clock)());
    for warning in &proof.warnings {
        (surroundings.tell)(Event::Warning(warning));
    }
    let manifest = catalogue::record(surroundings.vault, &manifest, proof.clone())?;
    Ok((proof, manifest))
}

/// Proves a file that lifeboat did not make, and notes in its manifest which roles it names.
pub(super) async fn verify_found(
    manifest: &mut Manifest,
    file: Content,
    level: Level,
    means: &Means,
    surroundings: &Surroundings<'_>,
) -> Result<Verification> {
    let trust = if means.trust_content { Trust::Vouched } else { Trust::Nobody };
    let means = Means { seal_keys: SealKeys::default(), ..means.clone() };
    // Its hashes are what was read a moment ago: they prove nothing.
    let deep = level.max(Level::Stream);
    let mut finding = examine(manifest, file.clone(), None, deep, &means, surroundings).await?;
    manifest.roles.clone_from(&finding.roles);
    manifest.contents.clone_from(&finding.contents);
    for refusal in std::mem::take(&mut finding.refusals).into_iter().filter(|_| trust == Trust::Nobody) {
        finding.doubts.push(format!("{refusal}; `--trust-content` takes it all the same"));
    }
    if finding.faults.is_empty() && finding.doubts.is_empty() {
        finding.faults.extend(finding.missing_half.take());
    }
    let is_sound = finding.faults.is_empty() && finding.doubts.is_empty();
    if level == Level::Restore && is_sound && manifest.database_type == DatabaseType::Postgresql {
        finding = restore_elsewhere(manifest, file, finding, &means, surroundings).await?;
    }
    Ok(finding.proof(deep, (surroundings.clock)()))
}

/// Restores into a scratch database: of the server that was named, or of one of our own.
async fn restore_elsewhere(
    manifest: &Manifest,
    file: Content,
    finding: Finding,
    means: &Means,
    surroundings: &Surroundings<'_>,
) -> Result<Finding> {
    (surroundings.tell)(Event::Phase("restoring into a scratch database"));
    let private;
    let server = match &means.server {
        Some(server) => (server, restore::Ground::Named),
        None => {
            let programs = Programs::for_server(manifest.tool_major(), means.pg_bin.as_deref())?;
            if !can_start(&programs) {
                let doubt = "there is no server to restore into: name one with `--url`, or install PostgreSQL's server";
                return Ok(Finding { doubts: vec![doubt.to_owned()], ..Finding::default() });
            }
            private = PrivateServer::start(&programs).await?;
            (private.server(), restore::Ground::Ours)
        }
    };
    match restore::rehearse(manifest, file, finding, server, means, surroundings).await {
        Ok(finding) => Ok(finding),
        // What a server lacks says nothing about the backup.
        Err(error) if error.kind() == Kind::Outside => {
            let hints: String =
                error.hints().iter().map(|hint| format!(". {}", hint.trim_end_matches('.'))).collect();
            Ok(Finding {
                doubts: vec![format!("it could not be restored there: {}{hints}", error.chain())],
                ..Finding::default()
            })
        }
        Err(error) => Err(error),
    }
}

/// Proves a backup that has no name yet.
pub(super) async fn verify_draft(
    manifest: &mut Manifest,
    draft: &mut Draft,
    level: Level,
    means: &Means,
    surroundings: &Surroundings<'_>,
) -> Result<Verification> {
    (surroundings.tell)(Event::Phase("proving"));
    let file = draft.content()?;
    let mut finding = examine(manifest, file.clone(), draft.path(), level, means, surroundings).await?;
    // It was dumped a moment ago by pg_dump itself: here that says something of us, and nothing against the backup.
    for refusal in std::mem::take(&mut finding.refusals) {
        finding.doubts.push(format!("{refusal}, so it is restored only with `--trust-content` or a seal"));
    }
    let is_sound = finding.faults.is_empty() && finding.doubts.is_empty();
    if level == Level::Restore && is_sound && manifest.database_type == DatabaseType::Postgresql {
        // It is sealed once it is proven; until then it is ours as much.
        let mut sealed = manifest.clone();
        means.seal_keys.seal(&mut sealed)?;
        finding = restore_elsewhere(&sealed, file, finding, means, surroundings).await?;
    }
    if let (Some(recorded), Some(found)) = (&mut manifest.contents, &finding.contents) {
        recorded.tables.clone_from(&found.tables);
        recorded.dangling_references.clone_from(&found.dangling_references);
        recorded.warnings.clone_from(&found.warnings);
        recorded.inspected = found.inspected;
        for warning in &found.warnings {
            (surroundings.tell)(Event::Warning(&warning.sentence()));
        }
        for dangling in &found.dangling_references {
            (surroundings.tell)(Event::Warning(&format!("in the source, {dangling}")));
        }
    }
    if finding.faults.is_empty() && finding.deviations.is_empty() && !finding.doubts.is_empty() {
        // It was written, and hashed on its way: that much is known.
        for doubt in &finding.doubts {
            (surroundings.tell)(Event::Warning(&format!("proven by its checksum alone: {doubt}")));
        }
        finding.doubts.clear();
        return Ok(finding.proof(Level::Checksum, (surroundings.clock)()));
    }
    // They stand in what the manifest says of the contents.
    Ok(Verification { warnings: Vec::new(), ..finding.proof(level, (surroundings.clock)()) })
}

/// Looks at a file. `path` is where it lies, if SQLite may open it there.
pub(super) async fn examine(
    manifest: &Manifest,
    file: Content,
    path: Option<&Path>,
    level: Level,
    means: &Means,
    surroundings: &Surroundings<'_>,
) -> Result<Finding> {
    let bytes = Arc::new(AtomicU64::new(0));
    let work = Work {
        manifest: manifest.clone(),
        vault: surroundings.vault.clone(),
        path: path.map(Path::to_owned),
        means: means.clone(),
        interrupt: surroundings.interrupt.clone(),
        bytes: Arc::clone(&bytes),
    };
    follow(&bytes, surroundings.tell, move || match level {
        Level::Checksum => work.checksum(file),
        Level::Stream | Level::Restore => work.stream(file),
    })
    .await
}

fn unreadable(error: std::io::Error) -> Error {
    Error::outside("the backup cannot be read").caused_by(error)
}

/// A look at a file, in a thread of its own.
struct Work {
    manifest: Manifest,
    vault: Vault,
    path: Option<std::path::PathBuf>,
    means: Means,
    interrupt: Interrupt,
    bytes: Arc<AtomicU64>,
}

impl Work {
    fn checksum(&self, file: Content) -> Result<Finding> {
        let (bytes, sha256) = hash_file(file.reader()).map_err(unreadable)?;
        self.stop_if_asked()?;
        Ok(Finding { faults: file_faults(&self.manifest, bytes, &sha256), ..Finding::default() })
    }

    fn stop_if_asked(&self) -> Result<()> {
        interrupted(&self.interrupt, "the backup was not proven")
    }

    fn stream(&self, file: Content) -> Result<Finding> {
        match self.manifest.format {
            Format::Sql => self.sql(file),
            Format::Custom => self.archive(file),
            Format::Directory => self.parts(file),
            Format::Sqlite => self.sqlite(file),
        }
    }

    fn content(
        &self,
        file: Content,
        take: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<std::result::Result<Totals, Finding>> {
        content(&self.manifest, file, &self.means, &self.interrupt, &self.bytes, take)
    }

    fn sql(&self, file: Content) -> Result<Finding> {
        let mut reader = Reader::new();
        let read = self.content(file, &mut |block| {
            reader.feed(block);
            Ok(())
        })?;
        let totals = match read {
            Ok(totals) => totals,
            Err(finding) => return Ok(finding),
        };
        let mut faults = all_faults(&self.manifest, &totals);
        let held = reader.finish();
        if !held.is_whole && held.refusals.is_empty() {
            faults.push("the dump has no end".to_owned());
        }
        Ok(Finding::of_dump(held, faults))
    }

    /// Has pg_restore read everything. It checks the structure of the archive, our hashes check the content.
    fn archive(&self, file: Content) -> Result<Finding> {
        let major = self.manifest.tool_major();
        let programs = Programs::for_server(major, self.means.pg_bin.as_deref()).ok();
        let Some(programs) = programs.filter(|programs| programs.has("pg_restore")) else {
            let mut finding = match self.content(file, &mut |_| Ok(()))? {
                Ok(totals) => Finding { faults: all_faults(&self.manifest, &totals), ..Finding::default() },
                Err(finding) => finding,
            };
            finding
                .doubts
                .push(format!("no pg_restore of PostgreSQL {major} or later is here to read the archive"));
            return Ok(finding);
        };
        let mut reading = Reading::start(&programs, None)?;
        let mut stdin = reading.child.stdin.take();
        let read = self.content(file, &mut |block| {
            // When pg_restore ends early its exit code says why.
            if stdin.as_mut().is_some_and(|stdin| stdin.write_all(block).is_err()) {
                stdin = None;
            }
            Ok(())
        });
        drop(stdin);
        let (said, held) = reading.finish()?;
        let totals = match read? {
            Ok(totals) => totals,
            Err(finding) => return Ok(finding),
        };
        let faults = all_faults(&self.manifest, &totals).into_iter().chain(said).collect();
        Ok(Finding::of_dump(held, faults))
    }

    /// Unpacks an archive in parts, and has pg_restore read all of them.
    fn parts(&self, file: Content) -> Result<Finding> {
        let scratch = scratch_for(&self.manifest, &self.vault)?;
        let folder = scratch.file(EXPANDED);
        let mut unpacker = Unpacker::start(&folder)?;
        let read = self.content(file, &mut |block| unpacker.feed(block));
        let unpacked = unpacker.finish();
        let totals = match read? {
            Ok(totals) => totals,
            Err(finding) => return Ok(finding),
        };
        let mut faults = all_faults(&self.manifest, &totals);
        faults.extend(unpacked.err().map(|error| format!("it is no archive in parts: {}", error.chain())));
        if !faults.is_empty() {
            return Ok(Finding { faults, ..Finding::default() });
        }
        let major = self.manifest.tool_major();
        let programs = Programs::for_server(major, self.means.pg_bin.as_deref()).ok();
        let Some(programs) = programs.filter(|programs| programs.has("pg_restore")) else {
            let doubt = format!("no pg_restore of PostgreSQL {major} or later is here to read the archive");
            return Ok(Finding { doubts: vec![doubt], ..Finding::default() });
        };
        let (said, held) = Reading::start(&programs, Some(&folder))?.finish()?;
        Ok(Finding::of_dump(held, said.into_iter().collect()))
    }

    fn sqlite(&self, file: Content) -> Result<Finding> {
        let is_plain = self.manifest.compression == Compression::None && !self.manifest.encrypted;
        let scratch = match (&self.path, is_plain) {
            (Some(_), true) => None,
            _ => Some(scratch_for(&self.manifest, &self.vault)?),
        };
        let mut target = scratch.as_ref().map(|scratch| scratch.create(EXPANDED)).transpose()?;
        let read = self
            .content(file, &mut |block| target.as_mut().map_or(Ok(()), |target| target.write_all(block)))?;
        let totals = match read {
            Ok(totals) => totals,
            Err(finding) => return Ok(finding),
        };
        let mut faults = all_faults(&self.manifest, &totals);
        if !faults.is_empty() {
            return Ok(Finding { faults, ..Finding::default() });
        }
        let expanded = scratch.as_ref().map(|scratch| scratch.file(EXPANDED));
        let path = expanded.as_deref().or(self.path.as_deref()).unwrap_or(Path::new(""));
        let inspection = sqlite::inspect(path)?;
        faults
            .extend(inspection.damage.into_iter().map(|fault| format!("its structure is damaged: {fault}")));
        let contents = inspection.contents;
        let recorded = self.manifest.contents.as_ref().filter(|recorded| recorded.is_inspected());
        if let (Some(recorded), true) = (recorded, faults.is_empty()) {
            faults.extend(differences(recorded, &contents));
        }
        Ok(Finding { faults, contents: Some(contents), ..Finding::default() })
    }
}

/// A pg_restore that reads a whole archive, a folder or what it is fed, and writes the script of it, which is read here.
struct Reading {
    child: std::process::Child,
    reader: std::thread::JoinHandle<Held>,
    said: std::thread::JoinHandle<String>,
}

impl Reading {
    fn start(programs: &Programs, folder: Option<&Path>) -> Result<Self> {
        let mut command = programs.without_connection("pg_restore");
        command.args(["--create", "--file=-"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        match folder {
            Some(folder) => command.arg(restore::absolute(folder)),
            None => command.stdin(Stdio::piped()),
        };
        let mut child =
            command.spawn().map_err(|error| Error::outside("pg_restore cannot be run").caused_by(error))?;
        let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Error::new(Kind::Bug, "pg_restore has no output"));
        };
        let reader = std::thread::spawn(move || {
            let (mut reader, mut buffer) = (Reader::new(), vec![0; 1 << 20]);
            while let Ok(read @ 1..) = stdout.read(&mut buffer) {
                reader.feed(&buffer[..read]);
            }
            reader.finish()
        });
        let said = std::thread::spawn(move || {
            let mut said = Vec::new();
            let _ = stderr.by_ref().take(64 << 10).read_to_end(&mut said);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            String::from_utf8_lossy(&said).into_owned()
        });
        Ok(Reading { child, reader, said })
    }

    /// What pg_restore has against the archive, and what the script holds.
    fn finish(mut self) -> Result<(Option<String>, Held)> {
        drop(self.child.stdin.take());
        let ended =
            self.child.wait().map_err(|error| Error::outside("pg_restore was lost").caused_by(error))?;
        let (held, said) = (self.reader.join().unwrap_or_default(), self.said.join().unwrap_or_default());
        let first = said.lines().next().unwrap_or("it does not say why");
        let fault = (!ended.success()).then(|| format!("pg_restore cannot read it: {first}"));
        Ok((fault, held))
    }
}

/// Gives the content of a backup to `take`, piece by piece, from the beginning of its file. A file that is damaged is a
/// finding, not an error.
pub(super) fn content(
    manifest: &Manifest,
    file: Content,
    means: &Means,
    interrupt: &Interrupt,
    bytes: &AtomicU64,
    take: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<std::result::Result<Totals, Finding>> {
    let identities = manifest.encrypted.then(|| means.identities.clone());
    let unpacking = Unpacking { compression: manifest.compression, threads: usual_threads(), identities };
    let mut outflow = Outflow::open(file.reader(), unpacking).map_err(unreadable)?;
    let ended_by = |error: std::io::Error| match error {
        error if is_damage(&error) => Ok(Err(Finding::fault(error.to_string()))),
        error if seal::lacks_key(&error) => closed(manifest, &file).map(Err),
        error => Err(unreadable(error)),
    };
    let mut taken = 0;
    loop {
        interrupted(interrupt, "the backup was not read to its end")?;
        match outflow.next_block() {
            Ok(None) => break,
            Ok(Some(block)) => {
                taken += block.len() as u64;
                bytes.store(taken, Ordering::Relaxed);
                // What is larger than it was cannot be ours, and might fill the disk.
                if taken > manifest.plain_size {
                    return Ok(Err(Finding::fault("its content is larger than it was")));
                }
                take(&block).map_err(|error| {
                    Error::outside("the content of the backup cannot be passed on").caused_by(error)
                })?;
            }
            Err(error) => return ended_by(error),
        }
    }
    match outflow.finish() {
        Ok(totals) => Ok(Ok(totals)),
        Err(error) => ended_by(error),
    }
}

/// What a file that no key opens says of the backup: nothing, unless it is another file than the one that was written.
fn closed(manifest: &Manifest, file: &Content) -> Result<Finding> {
    let (bytes, sha256) = hash_file(file.reader()).map_err(unreadable)?;
    let faults = file_faults(manifest, bytes, &sha256);
    if !faults.is_empty() {
        return Ok(Finding { faults, ..Finding::default() });
    }
    let name = &manifest.backup_name;
    Err(Error::request(format!("none of the keys opens `{name}`; its checksum is right"))
        .hint("Name the file with the secret key that it was encrypted to with `--identity`."))
}

/// Writes the content of a backup into a file, which is then exactly what was backed up.
pub(super) async fn expand(
    manifest: &Manifest,
    file: &Content,
    mut target: File,
    means: &Means,
    surroundings: &Surroundings<'_>,
) -> Result<()> {
    let bytes = Arc::new(AtomicU64::new(0));
    let (manifest, means, interrupt) = (manifest.clone(), means.clone(), surroundings.interrupt.clone());
    let (counted, file) = (Arc::clone(&bytes), file.clone());
    follow(&bytes, surroundings.tell, move || {
        let read =
            content(&manifest, file, &means, &interrupt, &counted, &mut |block| target.write_all(block))?;
        unchanged(&manifest, read)
    })
    .await
}

/// Lays an archive out for pg_restore, which reads it from several places at once.
pub(super) async fn lay_out(
    manifest: &Manifest,
    file: &Content,
    scratch: &Scratch,
    means: &Means,
    surroundings: &Surroundings<'_>,
) -> Result<std::path::PathBuf> {
    let path = restore::absolute(&scratch.file(EXPANDED));
    if manifest.format != Format::Directory {
        expand(manifest, file, scratch.create(EXPANDED)?, means, surroundings).await?;
        return Ok(path);
    }
    let bytes = Arc::new(AtomicU64::new(0));
    let (manifest, means, interrupt) = (manifest.clone(), means.clone(), surroundings.interrupt.clone());
    let (counted, file, folder) = (Arc::clone(&bytes), file.clone(), path.clone());
    follow(&bytes, surroundings.tell, move || {
        let mut unpacker = Unpacker::start(&folder)?;
        let read = content(&manifest, file, &means, &interrupt, &counted, &mut |block| unpacker.feed(block));
        let unpacked = unpacker.finish();
        unchanged(&manifest, read?)?;
        unpacked
    })
    .await?;
    Ok(path)
}

/// What was read for use must be what was read for the proof.
pub(super) fn unchanged(manifest: &Manifest, read: std::result::Result<Totals, Finding>) -> Result<()> {
    let faults = match read {
        Ok(totals) => all_faults(manifest, &totals),
        Err(finding) => finding.faults,
    };
    match faults.first() {
        None => Ok(()),
        Some(fault) => Err(Error::new(Kind::No, "the backup has changed while it was being restored")
            .caused_by(fault.clone())),
    }
}

/// Tables that are not as they were seen when the backup was made.
pub(super) fn differences(recorded: &Contents, found: &Contents) -> Vec<String> {
    let rows = |rows: Option<u64>| rows.map_or("unknown".to_owned(), |rows| rows.to_string());
    let mut faults = Vec::new();
    for table in &recorded.tables {
        match found.tables.iter().find(|other| other.table == table.table) {
            None => faults.push(format!("table `{}` is missing", table.table)),
            // What one SQLite can count and another cannot says nothing.
            Some(other) if other.rows.is_some() && table.rows.is_some() && other.rows != table.rows => faults
                .push(format!(
                    "table `{}` has {} rows, {} were recorded",
                    table.table,
                    rows(other.rows),
                    rows(table.rows)
                )),
            Some(_) => {}
        }
    }
    let unexpected =
        found.tables.iter().filter(|other| recorded.tables.iter().all(|table| table.table != other.table));
    faults.extend(unexpected.map(|other| format!("table `{}` was not recorded", other.table)));
    faults
}

fn is_damage(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
}

fn file_faults(manifest: &Manifest, bytes: u64, sha256: &str) -> Vec<String> {
    if bytes != manifest.file_size {
        let direction = if bytes < manifest.file_size { "shorter" } else { "longer" };
        return vec![format!(
            "the file is {direction} than it was: {bytes} bytes, not {}",
            manifest.file_size
        )];
    }
    if sha256 != manifest.sha256 {
        return vec!["the file was altered: its SHA-256 is another".to_owned()];
    }
    Vec::new()
}

pub(super) fn all_faults(manifest: &Manifest, totals: &Totals) -> Vec<String> {
    let mut faults = file_faults(manifest, totals.file_bytes, &totals.file_sha256);
    if totals.plain_bytes != manifest.plain_size || totals.plain_sha256 != manifest.plain_sha256 {
        faults.push("the content was altered: its SHA-256 is another".to_owned());
    }
    faults
}

/// The name of expanded content in a scratch folder.
pub(super) const EXPANDED: &str = "content";

/// A folder for what is in a backup.
pub(super) fn scratch_for(manifest: &Manifest, vault: &Vault) -> Result<Scratch> {
    let secrecy = if manifest.encrypted { Secrecy::Sealed } else { Secrecy::Open };
    let scratch = vault.scratch(manifest.backup_name.as_str(), secrecy)?;
    // A manifest may promise more than there is room for: that is found out before the disk is full.
    let room = rustix::fs::statvfs(scratch.path())
        .map_or(u64::MAX, |found| found.f_bavail.saturating_mul(found.f_frsize));
    if manifest.plain_size > room {
        return Err(Error::outside(format!(
            "`{}` holds {} bytes, and there is room for {room} in `{}`",
            manifest.backup_name,
            manifest.plain_size,
            scratch.path().parent().unwrap_or(scratch.path()).display()
        ))
        .hint("Free some space; TMPDIR names another place for temporary files."));
    }
    Ok(scratch)
}
