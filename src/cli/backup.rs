//! `lifeboat backup`: its commands.

mod adopt;
mod create;
mod delete;
mod flags;
mod list;
mod progress;
mod prune;
mod render;
mod restore;
mod schedule;
mod verify;

use clap::Subcommand;

use super::Session;
use crate::error::{Kind, Result};

pub(super) use flags::AccessArgs;

#[derive(Debug, Subcommand)]
pub(super) enum BackupCommand {
    /// Back up databases into the vault.
    ///
    /// A backup gets its name only once it is complete, on disk, hashed and verified; otherwise nothing of it remains.
    /// Without DB and --url, DATABASE_URL names the database.
    Create(Box<create::CreateArgs>),
    /// List the backups in the vault, newest first.
    List(list::ListArgs),
    /// Show one backup.
    Show(list::ShowArgs),
    /// Restore a backup beside the current database, check it, then swap it in.
    ///
    /// The whole file is read and verified before anything is touched. A PostgreSQL database is restored into a new one,
    /// checked, and swapped in by two renames in one transaction; the old one is kept (`--keep-old`, `backup undo`).
    /// A live SQLite file is rewritten through SQLite, after a backup of its current content.
    Restore(Box<restore::RestoreArgs>),
    /// Put back the PostgreSQL database that the latest restore replaced.
    Undo(restore::UndoArgs),
    /// Remove backups that no retention rule keeps, but never the newest good backup of a database.
    Prune(prune::PruneArgs),
    /// Delete one backup.
    Delete(delete::DeleteArgs),
    /// Keep a backup, whatever the retention rules say.
    Keep(delete::KeepArgs),
    /// Print or install a schedule for systemd or cron.
    Schedule(Box<schedule::ScheduleArgs>),
    /// Adopt dumps and SQLite files that another tool made: verify them and copy them into the vault.
    ///
    /// A file is a plain or custom-format dump made by pg_dump, or a SQLite file, uncompressed or compressed with gzip or zstd.
    /// The original is left where it is.
    Adopt(Box<adopt::AdoptArgs>),
    /// Show how many backups there are and how they grow.
    Stats(list::ListArgs),
    /// Verify backups: exit code 0 if they are good, 1 if not, 3 if that could not be determined.
    Verify(verify::VerifyArgs),
}

impl BackupCommand {
    /// The name by which notifications know the command.
    pub(super) fn notified_as(&self) -> Option<&'static str> {
        let BackupCommand::Create(args) = self else { return None };
        (!args.dry_run).then_some("backup create")
    }

    /// The dead man's switch that hears how it ends.
    pub(super) fn ping(&self) -> Option<&str> {
        let BackupCommand::Create(args) = self else { return None };
        args.ping.as_deref().filter(|url| crate::web::refuse_bad_url(url).is_ok())
    }

    /// The file that it takes variables from.
    pub(super) fn environment_file(&self) -> Option<&std::path::Path> {
        let BackupCommand::Create(args) = self else { return None };
        args.environment_file.as_deref()
    }
}

pub(super) async fn run(command: BackupCommand, session: &Session) -> Result<Option<Kind>> {
    match command {
        BackupCommand::Create(args) => create::run(*args, session).await,
        BackupCommand::List(args) => list::run(&args, session),
        BackupCommand::Show(args) => list::show(&args, session),
        BackupCommand::Verify(args) => verify::run(args, session).await,
        BackupCommand::Restore(args) => restore::run(*args, session).await,
        BackupCommand::Undo(args) => restore::undo(args, session).await,
        BackupCommand::Prune(args) => prune::run(&args, session).await,
        BackupCommand::Delete(args) => delete::run(&args, session).await,
        BackupCommand::Keep(args) => delete::keep(&args, session).await,
        BackupCommand::Schedule(args) => schedule::run(*args, session),
        BackupCommand::Adopt(args) => adopt::run(*args, session).await,
        BackupCommand::Stats(args) => list::stats(&args, session),
    }
}
