//! `backup verify`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::flags::{AccessArgs, ToleranceArgs};
use super::progress::{Progress, context, read_catalogue};
use super::render::{Proofs, Proven, kind_of};
use crate::backup::adopt::{TemporaryVault, verify_file};
use crate::backup::{self, BackupName, Event, Level, ProofOptions, Source, Verification, catalogue};
use crate::cli::{Session, now};
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::vault::Vault;
use crate::verify::Verdict;

#[derive(Args, Debug)]
pub(in crate::cli) struct VerifyArgs {
    /// Names of backups in the vault, or files without a manifest: dumps made by pg_dump and SQLite files, uncompressed or
    /// compressed with gzip or zstd
    #[arg(value_name = "NAME|FILE", required_unless_present = "all")]
    names: Vec<String>,
    /// Verify every backup in the vault
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// How thoroughly to verify
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "stream")]
    level: Level,
    /// Server to restore into at level `restore` [default: a temporary server, if PostgreSQL's server programs are installed]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    tolerance: ToleranceArgs,
    #[command(flatten)]
    access: AccessArgs,
}

pub(super) async fn run(args: VerifyArgs, session: &Session) -> Result<Option<Kind>> {
    let interrupt = Interrupt::listen()?;
    let output = &session.output;
    let (names, files) = split_names_and_files(&args.names, session)?;
    let vault = if names.is_empty() && !args.all { None } else { Some(session.vault()?) };
    let access = args.access.options();
    let server = args.url.as_deref().map(|url| {
        let tell = |event: Event<'_>| Progress::say(output, event);
        Source::server_of_url(url, &access.connection, &tell)
    });
    let options = ProofOptions {
        read: access.read_options(&session.config.backup)?,
        server: server.transpose()?,
        tolerance: args.tolerance.tolerance(),
    };
    let (names, mut worst) = match &vault {
        Some(vault) if args.all => all_names(vault, output)?,
        _ => (names, None),
    };
    let (is_single, mut proven) = (names.len() + files.len() == 1, Vec::new());
    let mut take = |outcome: Result<Proven>| {
        output.settle();
        match outcome {
            Ok(proof) => {
                worst = Kind::worse(worst, kind_of(&proof.verification));
                proven.push(proof);
            }
            Err(error) if is_single || interrupt.first().is_some() => return Err(error),
            Err(error) => {
                worst = Kind::worse(worst, Some(error.kind()));
                output.error(&error);
            }
        }
        Ok(())
    };
    for file in files {
        let progress = Progress::new(output, format!("verifying `{}`", file.display()));
        let temporary = TemporaryVault::create()?;
        let tell = |event: Event<'_>| progress.tell(event);
        let outcome =
            verify_file(&file, args.level, &options, &context(&temporary.vault, &interrupt, &tell)).await;
        let outcome = match outcome {
            Ok((_, proof)) => Ok(proof),
            // What cannot be read to its end is not good, and that is an answer.
            Err(error) if error.kind() == Kind::No => Ok(failed_proof(&error, args.level)),
            Err(error) => Err(error),
        };
        take(outcome.map(|verification| Proven { backup_name: file.display().to_string(), verification }))?;
    }
    for (name, vault) in names.iter().zip(vault.iter().cycle()) {
        let progress = Progress::new(output, format!("verifying `{name}`"));
        let tell = |event: Event<'_>| progress.tell(event);
        let outcome = backup::verify(name, args.level, &options, &context(vault, &interrupt, &tell)).await;
        match outcome {
            Err(_) if args.all && is_gone(vault, name) => {
                output.settle();
                output.warn(format!("backup `{name}` was removed or renamed before it could be verified"));
            }
            outcome => take(outcome.map(|(verification, manifest)| Proven {
                backup_name: manifest.backup_name.to_string(),
                verification,
            }))?,
        }
    }
    if proven.is_empty() {
        worst = worst.or(Some(Kind::Outside));
    }
    output.conclude(&Proofs { schema: "lifeboat.backup-verify/1", backups: proven }, worst)?;
    Ok(worst)
}

fn failed_proof(error: &Error, level: Level) -> Verification {
    Verification {
        level: level.max(Level::Stream),
        at: now(),
        result: Verdict::Fail,
        reasons: error.causes().into_iter().chain([error.to_string()]).take(1).collect(),
        warnings: Vec::new(),
    }
}

/// Whether a backup that was there is gone: another process may prune, or give its name to a newer one.
fn is_gone(vault: &Vault, name: &str) -> bool {
    catalogue::find(vault, name).is_err_and(|error| error.kind() == Kind::Request)
}

/// Names of backups of the vault, and files. A name that the vault knows is that of a backup.
fn split_names_and_files(named: &[String], session: &Session) -> Result<(Vec<String>, Vec<PathBuf>)> {
    let is_path = |text: &str| text.contains('/') || Path::new(text).exists();
    if !named.iter().any(|name| is_path(name)) {
        return Ok((named.to_vec(), Vec::new()));
    }
    let vault = session.vault_to_read()?;
    let (mut names, mut files) = (Vec::new(), Vec::new());
    for name in named {
        let is_backup = name.parse::<BackupName>().is_ok() && catalogue::find(&vault, name).is_ok();
        match is_path(name) && !is_backup {
            true => files.push(PathBuf::from(name)),
            false => names.push(name.clone()),
        }
    }
    Ok((names, files))
}

/// All backups of a vault. Where there are none nothing was proven, and one whose manifest cannot be read is no good one.
fn all_names(vault: &Vault, output: &Output) -> Result<(Vec<String>, Option<Kind>)> {
    let catalogue = read_catalogue(vault, output)?;
    if catalogue.entries.is_empty() && catalogue.damaged.is_empty() {
        return Err(Error::request(format!(
            "there are no backups in `{}`: nothing was verified",
            vault.shown("")
        ))
        .hint("Name the vault with `--vault` or BACKUP_DIR."));
    }
    let names = catalogue.entries.iter().map(|entry| entry.manifest.backup_name.to_string()).collect();
    Ok((names, (!catalogue.damaged.is_empty()).then_some(Kind::No)))
}
