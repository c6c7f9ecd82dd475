//! `backup adopt`, and proofs of files that have no manifest.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Live, MeansArgs, UrlArgs, audited, catalogue, manage, source};
use crate::backup::found::{self, Adoption, FoundFile};
use crate::backup::{BackupName, Event, Level, Manifest, Means, Surroundings, Verification, create};
use crate::cli::{Session, now};
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::vault::Vault;
use crate::verify::Verdict;

use super::render::Backups;

#[derive(Args, Debug)]
pub(in crate::cli) struct AdoptArgs {
    /// Dumps and SQLite files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The database of lifeboat.toml that they are backups of
    #[arg(long, value_name = "DB", conflicts_with = "url")]
    database: Option<String>,
    /// The database that they are backups of; `env:NAME` takes it from a variable [default: one of its own, by what the file
    /// says]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// What makes it the same database on whatever host, as in `backup create`
    #[arg(long, value_name = "ID", env = "BACKUP_DATABASE_ID", hide_env_values = true)]
    database_id: Option<String>,
    /// Name of the backup [default: that of the file]
    #[arg(long, value_name = "NAME")]
    name: Option<BackupName>,
    /// When the content was taken: RFC 3339, "yesterday 02:15", or "2026-11-30 02:15" (local time) [default: when the file was
    /// last written to]
    #[arg(long, value_name = "TIME")]
    taken_at: Option<String>,
    /// Retention class
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Keep them whatever the rules of retention say
    #[arg(long)]
    keep_forever: bool,
    /// How thoroughly they are proven before they count
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "stream")]
    verify: Level,
    #[command(flatten)]
    means: MeansArgs,
    #[command(flatten)]
    connect: UrlArgs,
    /// Prove the files, copy nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: AdoptArgs, session: &Session) -> Result<Option<Kind>> {
    let interrupt = Interrupt::listen()?;
    if args.name.is_some() && args.files.len() > 1 {
        return Err(Error::request("one `--name` cannot be that of several backups")
            .hint("Leave `--name` out, or adopt the files one by one."));
    }
    if let Some(class) = &args.class {
        manage::rules(session, None)?.of(class)?;
    }
    let taken_at = args.taken_at.as_deref().map(|text| session.read_time(text)).transpose()?;
    let vault = if args.dry_run { session.vault_to_read()? } else { session.vault()? };
    let origin = origin(&args, session).await?;
    let means = args.means.means(session)?;
    let (mut adopted, mut failures) = (Vec::new(), Vec::new());
    for file in &args.files {
        let live = Live::new(&session.output, file.display().to_string());
        let tell = |event: Event<'_>| live.tell(event);
        let outcome = match args.dry_run {
            true => survey_alone(file, args.verify, &means, &interrupt, &tell)
                .await
                .map(|(found, proof)| Manifest { verification: Some(proof), ..found.manifest().clone() }),
            false => {
                let adoption = Adoption {
                    name: args.name.clone(),
                    origin: origin.clone(),
                    taken_at,
                    class: args.class.clone(),
                    keep_days: manage::days_of_environment()?,
                    keep_forever: args.keep_forever,
                    level: args.verify,
                    means: means.clone(),
                };
                adopt(file, adoption, &vault, &interrupt, (&tell, session)).await
            }
        };
        session.output.settle();
        match outcome {
            Ok(manifest) => adopted.push(manifest),
            Err(error) if args.files.len() == 1 => return Err(error),
            Err(error) => {
                failures.push(error.kind());
                session.output.error_of_one(&error.hint(format!("`{}` was not adopted.", file.display())));
                if interrupt.first().is_some() {
                    break;
                }
            }
        }
    }
    let kind = failures.first().map(|first| match interrupt.first() {
        Some(kind) => kind,
        None if adopted.is_empty() => *first,
        None => Kind::Partial,
    });
    let kind = kind.or_else(|| {
        adopted.iter().filter_map(|manifest| manifest.verification.as_ref()).find_map(super::render::kind_of)
    });
    match (adopted.as_slice(), args.dry_run) {
        ([one], true) if args.files.len() == 1 => session.output.report(one)?,
        ([one], false) if args.files.len() == 1 => session.output.conclude(one, kind)?,
        (_, true) => session.output.report(&Backups::new(adopted))?,
        (_, false) => session.output.conclude(&Backups::new(adopted), kind)?,
    }
    Ok(kind)
}

async fn adopt(
    file: &Path,
    adoption: Adoption,
    vault: &Vault,
    interrupt: &Interrupt,
    (tell, session): (&(dyn Fn(Event<'_>) + Sync), &Session),
) -> Result<Manifest> {
    let surroundings = Surroundings { vault, interrupt, tell, clock: now, host: crate::cli::drill::host() };
    let found = FoundFile::survey(file, &surroundings).await?;
    let name = adoption.name.as_ref().unwrap_or(&found.manifest().backup_name).to_string();
    let begun = audited::begin(vault, "backup adopt", &name, "cli")?;
    let adopted = found::adopt(found, adoption, &surroundings).await;
    let name = adopted.as_ref().ok().map(|manifest| manifest.backup_name.to_string());
    audited::end(begun, name.as_deref(), &adopted, &session.output);
    adopted
}

/// Where the database is that the files are backups of.
async fn origin(args: &AdoptArgs, session: &Session) -> Result<Option<crate::backup::manifest::Origin>> {
    let settings = match &args.database {
        None => None,
        Some(database) => Some(session.config.backup_of(database).cloned().ok_or_else(|| {
            Error::request(format!("`{database}` has no backup in lifeboat.toml")).hint(format!(
                "Add `[databases.{database}.backup]` with a `url`, or name the database with `--url`."
            ))
        })?),
    };
    let url = args.url.clone().or_else(|| settings.as_ref().and_then(|settings| settings.url.clone()));
    let Some(url) = url else { return Ok(None) };
    let source = source(url.trim(), &args.connect, session)?;
    let name = args.database.clone().unwrap_or_else(|| source.usual_name());
    let id = args.database_id.clone().or_else(|| settings.and_then(|it| it.database_id));
    Ok(Some(create::origin_of(&source, name, id.filter(|id| !id.is_empty())).await))
}

/// Names of backups of the vault, and files. A name that the vault knows is that of a backup.
pub(super) fn apart(named: &[String], session: &Session) -> Result<(Vec<String>, Vec<PathBuf>)> {
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

/// Proves a file that has no manifest. Nothing is written but temporary files.
pub(super) async fn prove_alone(
    file: &Path,
    level: Level,
    means: &Means,
    interrupt: &Interrupt,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Verification> {
    match survey_alone(file, level, means, interrupt, tell).await {
        Ok((_, proof)) => Ok(proof),
        // What cannot be read to its end is not good, and that is an answer.
        Err(error) if error.kind() == Kind::No => {
            let reasons = error.causes().into_iter().chain([error.to_string()]).take(1).collect();
            Ok(Verification {
                level: level.max(Level::Stream),
                at: now(),
                result: Verdict::Fail,
                reasons,
                warnings: Vec::new(),
            })
        }
        Err(error) => Err(error),
    }
}

async fn survey_alone(
    file: &Path,
    level: Level,
    means: &Means,
    interrupt: &Interrupt,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<(FoundFile, Verification)> {
    let failed = |error: std::io::Error| {
        Error::outside("a temporary folder cannot be made")
            .caused_by(error)
            .hint("Free some space; TMPDIR names another place for temporary files.")
    };
    let folder = tempfile::Builder::new().prefix("lifeboat-verify-").tempdir().map_err(failed)?;
    let place = folder.path().to_string_lossy().into_owned();
    let vault = Vault::open(&place, &crate::aws::Access::default())?;
    let surroundings =
        Surroundings { vault: &vault, interrupt, tell, clock: now, host: crate::cli::drill::host() };
    let mut found = FoundFile::survey(file, &surroundings).await?;
    let proof = found.prove(level, means, &surroundings).await?;
    Ok((found, proof))
}
