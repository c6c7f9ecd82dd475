//! `backup adopt`.

use std::path::PathBuf;

use clap::Args;

use super::flags::AccessArgs;
use super::progress::{Progress, context};
use super::render::{Backups, kind_of};
use crate::backup::adopt::{self, Asked, TemporaryVault, verify_file};
use crate::backup::{BackupName, Event, Level, Manifest, ProofOptions};
use crate::cli::{Session, actor};
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::vault::Trigger;

#[derive(Args, Debug)]
pub(in crate::cli) struct AdoptArgs {
    /// Dumps and SQLite files to adopt
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Database in lifeboat.toml that the files are backups of
    #[arg(long, value_name = "DB", conflicts_with = "url")]
    database: Option<String>,
    /// URL of the database that the files are backups of; `env:NAME` reads it from a variable [default: taken from the file]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Identity of the database across hosts, as in `backup create`
    #[arg(long, value_name = "ID", env = "BACKUP_DATABASE_ID", hide_env_values = true)]
    database_id: Option<String>,
    /// Name of the backup [default: the name of the file]
    #[arg(long, value_name = "NAME")]
    name: Option<BackupName>,
    /// When the backup was taken: RFC 3339, "yesterday 02:15", or "2026-11-30 02:15" (local time) [default: when the file was
    /// last modified]
    #[arg(long, value_name = "TIME")]
    taken_at: Option<String>,
    /// Retention class
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Keep the backups, whatever the retention rules say
    #[arg(long)]
    keep_forever: bool,
    /// How thoroughly to verify the files before they count
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "stream")]
    verify: Level,
    #[command(flatten)]
    access: AccessArgs,
    /// Verify the files, but copy nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: AdoptArgs, session: &Session) -> Result<Option<Kind>> {
    let interrupt = Interrupt::listen()?;
    if args.name.is_some() && args.files.len() > 1 {
        return Err(Error::request("several backups cannot share one `--name`")
            .hint("Leave `--name` out, or adopt the files one by one."));
    }
    let asked = Asked {
        database: args.database.clone(),
        url: args.url.clone(),
        database_id: args.database_id.clone(),
        name: args.name.clone(),
        taken_at: args.taken_at.as_deref().map(|text| session.read_time(text)).transpose()?,
        class: args.class.clone(),
        keep_forever: args.keep_forever,
        level: args.verify,
        access: args.access.options(),
    };
    let vault = if args.dry_run { session.vault_to_read()? } else { session.vault()? };
    let adoption =
        asked.resolve(&session.config.backup, &|event| Progress::say(&session.output, event)).await?;
    let (mut adopted, mut failures) = (Vec::new(), Vec::new());
    for file in &args.files {
        let progress = Progress::new(&session.output, file.display().to_string());
        let tell = |event: Event<'_>| progress.tell(event);
        let outcome = match args.dry_run {
            true => {
                let temporary = TemporaryVault::create()?;
                let cx = context(&temporary.vault, &interrupt, &tell);
                let options = ProofOptions { read: adoption.read.clone(), ..ProofOptions::default() };
                let verified = verify_file(file, args.verify, &options, &cx).await;
                verified.map(|(manifest, proof)| Manifest { verification: Some(proof), ..manifest })
            }
            false => {
                let cx = context(&vault, &interrupt, &tell);
                adopt::run_recorded(file, adoption.clone(), &actor(Trigger::Cli), &cx).await
            }
        };
        session.output.settle();
        match outcome {
            Ok(manifest) => adopted.push(manifest),
            Err(error) if args.files.len() == 1 => return Err(error),
            Err(error) => {
                failures.push(error.kind());
                session.output.error(&error.hint(format!("`{}` was not adopted.", file.display())));
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
    let kind = kind
        .or_else(|| adopted.iter().filter_map(|manifest| manifest.verification.as_ref()).find_map(kind_of));
    match (adopted.as_slice(), args.dry_run) {
        ([one], true) if args.files.len() == 1 => session.output.report(one)?,
        ([one], false) if args.files.len() == 1 => session.output.conclude(one, kind)?,
        (_, true) => session.output.report(&Backups::new(adopted))?,
        (_, false) => session.output.conclude(&Backups::new(adopted), kind)?,
    }
    Ok(kind)
}
