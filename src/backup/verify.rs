//! `backup verify`: proving a backup, in three levels.
//!
//! 1. *checksum*: the file has the size and the SHA-256 that it was written with.
//! 2. *stream*: the file can be read to its end, every part's own checksum holds, the content has the SHA-256 that it had, and
//!    it is a whole database: a SQL dump with its end and every row of it, an archive that pg_restore reads to its end
//!    (its table of contents alone proves nothing), a SQLite file whose structure is sound.
//! 3. *restore*: the backup was restored, and the copy holds what was observed in the source.

use super::catalogue::{self, State};
use super::context::Context;
use super::dump_gate::Trust;
use super::event::Event;
use super::examine::examine_file;
use super::finding::Finding;
use super::manifest::{Level, Manifest, Verification};
use super::read_options::{ProofOptions, ReadOptions};
use super::restore::{Proven, ScratchDatabase, ServerOwner, rehearse};
use super::seal::SealKeys;
use super::source::DatabaseType;
use crate::error::{Error, Kind, Result};
use crate::postgres::{PrivateServer, Programs, can_start};
use crate::vault::{Content, Draft};

/// Proves a backup of the vault, and records in its manifest what came out: this look at it, and the manifest then.
pub(crate) async fn verify(
    name: &str,
    level: Level,
    options: &ProofOptions,
    cx: &Context<'_>,
) -> Result<(Verification, Manifest)> {
    let entry = catalogue::find(cx.vault, name)?;
    let manifest = entry.manifest;
    if manifest.encrypted && level > Level::Checksum && options.read.identities.is_empty() {
        return Err(Error::request(format!(
            "`{name}` is encrypted: without a key, only its checksum can be verified"
        ))
        .hint("Pass the file with the secret key with `--identity`."));
    }
    let finding = match entry.state {
        State::Missing => Finding::fault(format!("`{}` is missing", manifest.file_name())),
        _ => {
            let file = cx.vault.open_file(&manifest.file_name())?;
            let again = file.clone();
            let mut finding = examine_file(&manifest, file, None, level, &options.read, cx).await?;
            finding.refuse_unless(options.read.trust_in(&manifest)?);
            let recorded = manifest.contents.as_ref();
            if level == Level::Restore && recorded.is_some_and(|contents| !contents.is_inspected()) {
                finding.doubts.push(
                    "its contents were not inspected when it was made, so there is nothing to compare them with"
                        .to_owned(),
                );
            }
            let is_sound = finding.faults.is_empty();
            if level == Level::Restore && is_sound && manifest.database_type == DatabaseType::Postgresql {
                restore_elsewhere(&manifest, again, finding, options, cx).await?
            } else {
                finding
            }
        }
    };
    let proof = finding.proof(level, (cx.clock)());
    for warning in &proof.warnings {
        (cx.tell)(Event::Warning(warning));
    }
    let manifest = catalogue::record_proof(cx.vault, &manifest, proof.clone())?;
    Ok((proof, manifest))
}

/// Proves a file that lifeboat did not make, and notes in its manifest which roles it names.
pub(super) async fn verify_found(
    manifest: &mut Manifest,
    file: Content,
    level: Level,
    options: &ProofOptions,
    cx: &Context<'_>,
) -> Result<Verification> {
    let trust = if options.read.trust_content { Trust::Vouched } else { Trust::Nobody };
    let read = ReadOptions { seal_keys: SealKeys::default(), ..options.read.clone() };
    let options = &ProofOptions { read, ..options.clone() };
    // Its hashes are what was read a moment ago: they prove nothing.
    let deep = level.max(Level::Stream);
    let mut finding = examine_file(manifest, file.clone(), None, deep, &options.read, cx).await?;
    manifest.roles.clone_from(&finding.roles);
    manifest.contents.clone_from(&finding.contents);
    for refusal in std::mem::take(&mut finding.refusals).into_iter().filter(|_| trust == Trust::Nobody) {
        finding.doubts.push(format!("{refusal}; `--trust-content` accepts it anyway"));
    }
    if finding.faults.is_empty() && finding.doubts.is_empty() {
        finding.faults.extend(finding.missing_half.take());
    }
    let is_sound = finding.faults.is_empty() && finding.doubts.is_empty();
    if level == Level::Restore && is_sound && manifest.database_type == DatabaseType::Postgresql {
        finding = restore_elsewhere(manifest, file, finding, options, cx).await?;
    }
    Ok(finding.proof(deep, (cx.clock)()))
}

/// Restores into a scratch database: of the server that was named, or of one of our own.
async fn restore_elsewhere(
    manifest: &Manifest,
    file: Content,
    finding: Finding,
    options: &ProofOptions,
    cx: &Context<'_>,
) -> Result<Finding> {
    (cx.tell)(Event::Phase("restoring into a scratch database"));
    let private;
    let scratch = match &options.server {
        Some(server) => ScratchDatabase::new(server, ServerOwner::User),
        None => {
            let programs = Programs::for_server(manifest.tool_major(), options.read.pg_bin.as_deref())?;
            if !can_start(&programs) {
                let doubt = "no server to restore into: pass one with `--url`, or install PostgreSQL's server programs";
                return Ok(Finding { doubts: vec![doubt.to_owned()], ..Finding::default() });
            }
            private = PrivateServer::start(&programs).await?;
            ScratchDatabase::new(private.server(), ServerOwner::Lifeboat)
        }
    };
    match rehearse(manifest, Proven { file, finding }, &scratch, options, cx).await {
        Ok(finding) => Ok(finding),
        // What a server lacks says nothing about the backup.
        Err(error) if error.kind() == Kind::Outside => {
            let hints: String =
                error.hints().iter().map(|hint| format!(". {}", hint.trim_end_matches('.'))).collect();
            Ok(Finding {
                doubts: vec![format!("the restore failed: {}{hints}", error.chain())],
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
    options: &ReadOptions,
    cx: &Context<'_>,
) -> Result<Verification> {
    (cx.tell)(Event::Phase("proving"));
    let file = draft.content()?;
    let mut finding = examine_file(manifest, file.clone(), draft.path(), level, options, cx).await?;
    // It was dumped a moment ago by pg_dump itself: here that says something of us, and nothing against the backup.
    for refusal in std::mem::take(&mut finding.refusals) {
        finding.doubts.push(format!("{refusal}, so it is restored only with `--trust-content` or a seal"));
    }
    let is_sound = finding.faults.is_empty() && finding.doubts.is_empty();
    if level == Level::Restore && is_sound && manifest.database_type == DatabaseType::Postgresql {
        // It is sealed once it is proven; until then it is ours as much.
        let mut sealed = manifest.clone();
        options.seal_keys.seal(&mut sealed)?;
        finding = restore_elsewhere(
            &sealed,
            file,
            finding,
            &ProofOptions { read: options.clone(), ..ProofOptions::default() },
            cx,
        )
        .await?;
    }
    if let (Some(recorded), Some(found)) = (&mut manifest.contents, &finding.contents) {
        recorded.tables.clone_from(&found.tables);
        recorded.dangling_references.clone_from(&found.dangling_references);
        recorded.warnings.clone_from(&found.warnings);
        recorded.inspected = found.inspected;
        for warning in &found.warnings {
            (cx.tell)(Event::Warning(&warning.sentence()));
        }
        for dangling in &found.dangling_references {
            (cx.tell)(Event::Warning(&format!("in the source, {dangling}")));
        }
    }
    if finding.faults.is_empty() && finding.deviations.is_empty() && !finding.doubts.is_empty() {
        // It was written, and hashed on its way: that much is known.
        for doubt in &finding.doubts {
            (cx.tell)(Event::Warning(&format!("verified by checksum only: {doubt}")));
        }
        finding.doubts.clear();
        return Ok(finding.proof(Level::Checksum, (cx.clock)()));
    }
    // They stand in what the manifest says of the contents.
    Ok(Verification { warnings: Vec::new(), ..finding.proof(level, (cx.clock)()) })
}
