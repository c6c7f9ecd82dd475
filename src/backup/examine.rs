//! Examining the file of a backup: its checksum, or everything in it.
//!
//! An examination reads one open file: what was examined is what is used afterwards, whatever happens to its name.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::coding::Compression;
use super::context::Context;
use super::dump_gate::{Held, Reader};
use super::encryption;
use super::event::{default_threads, follow_progress, stop_if_interrupted};
use super::finding::Finding;
use super::manifest::{Format, Level, Manifest};
use super::parallel::Unpacker;
use super::read_options::ReadOptions;
use super::sqlite::{self, Contents};
use super::sqlite_url::absolute_path;
use super::stream::{Outflow, Totals, Unpacking, hash_file};
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::postgres::{Programs, collect_stderr};
use crate::vault::{Content, Scratch, Secrecy, Vault};

/// Looks at a file. `path` is where it lies, if SQLite may open it there.
pub(super) async fn examine_file(
    manifest: &Manifest,
    file: Content,
    path: Option<&Path>,
    level: Level,
    options: &ReadOptions,
    cx: &Context<'_>,
) -> Result<Finding> {
    let bytes = Arc::new(AtomicU64::new(0));
    let work = Work {
        manifest: manifest.clone(),
        vault: cx.vault.clone(),
        path: path.map(Path::to_owned),
        options: options.clone(),
        interrupt: cx.interrupt.clone(),
        bytes: Arc::clone(&bytes),
    };
    follow_progress(&bytes, cx.tell, move || match level {
        Level::Checksum => work.checksum(file),
        Level::Stream | Level::Restore => work.stream(file),
    })
    .await
}

fn unreadable(error: std::io::Error) -> Error {
    Error::outside("cannot read the backup").caused_by(error)
}

/// A look at a file, in a thread of its own.
struct Work {
    manifest: Manifest,
    vault: Vault,
    path: Option<std::path::PathBuf>,
    options: ReadOptions,
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
        stop_if_interrupted(&self.interrupt, "the backup was not verified")
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
        read_content(&self.manifest, file, &self.options, &self.interrupt, &self.bytes, take)
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
            faults.push("the dump is truncated".to_owned());
        }
        Ok(Finding::of_dump(held, faults))
    }

    /// Has pg_restore read everything. It checks the structure of the archive, our hashes check the content.
    fn archive(&self, file: Content) -> Result<Finding> {
        let major = self.manifest.tool_major();
        let programs = Programs::for_server(major, self.options.pg_bin.as_deref()).ok();
        let Some(programs) = programs.filter(|programs| programs.has("pg_restore")) else {
            let mut finding = match self.content(file, &mut |_| Ok(()))? {
                Ok(totals) => Finding { faults: all_faults(&self.manifest, &totals), ..Finding::default() },
                Err(finding) => finding,
            };
            finding.doubts.push(format!(
                "pg_restore of PostgreSQL {major} or later is not installed, so the archive was not read"
            ));
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
        faults.extend(
            unpacked.err().map(|error| format!("it is not a directory-format archive: {}", error.chain())),
        );
        if !faults.is_empty() {
            return Ok(Finding { faults, ..Finding::default() });
        }
        let major = self.manifest.tool_major();
        let programs = Programs::for_server(major, self.options.pg_bin.as_deref()).ok();
        let Some(programs) = programs.filter(|programs| programs.has("pg_restore")) else {
            let doubt = format!(
                "pg_restore of PostgreSQL {major} or later is not installed, so the archive was not read"
            );
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
            faults.extend(compare_contents(recorded, &contents));
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
            Some(folder) => command.arg(absolute_path(folder)),
            None => command.stdin(Stdio::piped()),
        };
        let mut child =
            command.spawn().map_err(|error| Error::outside("cannot run pg_restore").caused_by(error))?;
        let Some(mut stdout) = child.stdout.take() else {
            return Err(Error::new(Kind::Bug, "pg_restore has no output"));
        };
        let reader = std::thread::spawn(move || {
            let (mut reader, mut buffer) = (Reader::new(), vec![0; 1 << 20]);
            while let Ok(read @ 1..) = stdout.read(&mut buffer) {
                reader.feed(&buffer[..read]);
            }
            reader.finish()
        });
        let said = collect_stderr(&mut child);
        Ok(Reading { child, reader, said })
    }

    /// What pg_restore has against the archive, and what the script holds.
    fn finish(mut self) -> Result<(Option<String>, Held)> {
        drop(self.child.stdin.take());
        let ended =
            self.child.wait().map_err(|error| Error::outside("lost track of pg_restore").caused_by(error))?;
        let (held, said) = (self.reader.join().unwrap_or_default(), self.said.join().unwrap_or_default());
        let first = said.lines().next().unwrap_or("it gave no reason");
        let fault = (!ended.success()).then(|| format!("pg_restore cannot read it: {first}"));
        Ok((fault, held))
    }
}

/// Gives the content of a backup to `take`, piece by piece, from the beginning of its file. A file that is damaged is a
/// finding, not an error.
pub(super) fn read_content(
    manifest: &Manifest,
    file: Content,
    options: &ReadOptions,
    interrupt: &Interrupt,
    bytes: &AtomicU64,
    take: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<std::result::Result<Totals, Finding>> {
    let identities = manifest.encrypted.then(|| options.identities.clone());
    let unpacking = Unpacking { compression: manifest.compression, threads: default_threads(), identities };
    let mut outflow = Outflow::open(file.reader(), unpacking).map_err(unreadable)?;
    let ended_by = |error: std::io::Error| match error {
        error if is_damage(&error) => Ok(Err(Finding::fault(error.to_string()))),
        error if encryption::lacks_key(&error) => explain_missing_key(manifest, &file).map(Err),
        error => Err(unreadable(error)),
    };
    let mut taken = 0;
    loop {
        stop_if_interrupted(interrupt, "the backup was not read to its end")?;
        match outflow.next_block() {
            Ok(None) => break,
            Ok(Some(block)) => {
                taken += block.len() as u64;
                bytes.store(taken, Ordering::Relaxed);
                // What is larger than it was cannot be ours, and might fill the disk.
                if taken > manifest.plain_size {
                    return Ok(Err(Finding::fault("its content is larger than recorded")));
                }
                take(&block).map_err(|error| {
                    Error::outside("cannot pass on the content of the backup").caused_by(error)
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
fn explain_missing_key(manifest: &Manifest, file: &Content) -> Result<Finding> {
    let (bytes, sha256) = hash_file(file.reader()).map_err(unreadable)?;
    let faults = file_faults(manifest, bytes, &sha256);
    if !faults.is_empty() {
        return Ok(Finding { faults, ..Finding::default() });
    }
    let name = &manifest.backup_name;
    Err(Error::request(format!("none of the keys decrypts `{name}`, whose checksum is correct"))
        .hint("Pass the file with the matching secret key with `--identity`."))
}

/// Writes the content of a backup into a file, which is then exactly what was backed up.
pub(super) async fn write_content(
    manifest: &Manifest,
    file: &Content,
    mut target: File,
    options: &ReadOptions,
    cx: &Context<'_>,
) -> Result<()> {
    let bytes = Arc::new(AtomicU64::new(0));
    let (manifest, options, interrupt) = (manifest.clone(), options.clone(), cx.interrupt.clone());
    let (counted, file) = (Arc::clone(&bytes), file.clone());
    follow_progress(&bytes, cx.tell, move || {
        let read = read_content(&manifest, file, &options, &interrupt, &counted, &mut |block| {
            target.write_all(block)
        })?;
        require_unchanged(&manifest, read)
    })
    .await
}

/// Lays an archive out for pg_restore, which reads it from several places at once.
pub(super) async fn lay_out(
    manifest: &Manifest,
    file: &Content,
    scratch: &Scratch,
    options: &ReadOptions,
    cx: &Context<'_>,
) -> Result<std::path::PathBuf> {
    let path = absolute_path(&scratch.file(EXPANDED));
    if manifest.format != Format::Directory {
        write_content(manifest, file, scratch.create(EXPANDED)?, options, cx).await?;
        return Ok(path);
    }
    let bytes = Arc::new(AtomicU64::new(0));
    let (manifest, options, interrupt) = (manifest.clone(), options.clone(), cx.interrupt.clone());
    let (counted, file, folder) = (Arc::clone(&bytes), file.clone(), path.clone());
    follow_progress(&bytes, cx.tell, move || {
        let mut unpacker = Unpacker::start(&folder)?;
        let read =
            read_content(&manifest, file, &options, &interrupt, &counted, &mut |block| unpacker.feed(block));
        let unpacked = unpacker.finish();
        require_unchanged(&manifest, read?)?;
        unpacked
    })
    .await?;
    Ok(path)
}

/// What was read for use must be what was read for the proof.
pub(super) fn require_unchanged(
    manifest: &Manifest,
    read: std::result::Result<Totals, Finding>,
) -> Result<()> {
    let faults = match read {
        Ok(totals) => all_faults(manifest, &totals),
        Err(finding) => finding.faults,
    };
    match faults.first() {
        None => Ok(()),
        Some(fault) => {
            Err(Error::new(Kind::No, "the backup changed while it was being restored")
                .caused_by(fault.clone()))
        }
    }
}

/// Tables that are not as they were seen when the backup was made.
pub(super) fn compare_contents(recorded: &Contents, found: &Contents) -> Vec<String> {
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
            "the file is {direction} than recorded: {bytes} bytes instead of {}",
            manifest.file_size
        )];
    }
    if sha256 != manifest.sha256 {
        return vec!["the file was altered: its SHA-256 does not match".to_owned()];
    }
    Vec::new()
}

pub(super) fn all_faults(manifest: &Manifest, totals: &Totals) -> Vec<String> {
    let mut faults = file_faults(manifest, totals.file_bytes, &totals.file_sha256);
    if totals.plain_bytes != manifest.plain_size || totals.plain_sha256 != manifest.plain_sha256 {
        faults.push("the content was altered: its SHA-256 does not match".to_owned());
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
            "`{}` holds {} bytes, but only {room} are free in `{}`",
            manifest.backup_name,
            manifest.plain_size,
            scratch.path().parent().unwrap_or(scratch.path()).display()
        ))
        .hint("Free some space, or set TMPDIR to another folder."));
    }
    Ok(scratch)
}
