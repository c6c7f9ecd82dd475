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
    /// A backup has its name only when it is complete, on disk, hashed and proven; otherwise nothing is left of it.
    /// Without DB and --url, DATABASE_URL names the database.
    Create(Box<create::CreateArgs>),
    /// List the backups in the vault, newest first.
    List(list::ListArgs),
    /// Show one backup.
    Show(list::ShowArgs),
    /// Restore a backup: beside what is there, checked, then in its place.
    ///
    /// The whole file is read and found good before anything is touched. A PostgreSQL database is restored into a new one,
    /// checked, and swapped in by two renames in one transaction; the old one is kept (`--keep-old`, and `backup undo`).
    /// A live SQLite file gets its content through SQLite, after a backup of what it holds now.
    Restore(Box<restore::RestoreArgs>),
    /// Put back the PostgreSQL database that the latest restore replaced.
    Undo(restore::UndoArgs),
    /// Remove the backups that no rule of retention keeps. Never the newest good one of a database.
    Prune(prune::PruneArgs),
    /// Delete one backup.
    Delete(delete::DeleteArgs),
    /// Keep a backup whatever the rules of retention say.
    Keep(delete::KeepArgs),
    /// Print, or install, a schedule for systemd or cron.
    Schedule(Box<schedule::ScheduleArgs>),
    /// Take over dumps and SQLite files that were made without lifeboat: proven, copied into the vault, and counted.
    ///
    /// A file is a plain dump of pg_dump, an archive of it, or a SQLite file; as it is, or compressed by gzip or zstd. It stays
    /// where it is.
    Adopt(Box<adopt::AdoptArgs>),
    /// Count the backups, and show how they grow.
    Stats(list::StatsArgs),
    /// Prove backups: exit code 0 if they are good, 1 if not, 3 if that cannot be found out.
    Verify(verify::VerifyArgs),
}

impl BackupCommand {
    /// The name by which notifications know the command.
    pub(super) fn spoken(&self) -> Option<&'static str> {
        let BackupCommand::Create(args) = self else { return None };
        args.notified_as()
    }

    /// The dead man's switch that hears how it ends.
    pub(super) fn ping(&self) -> Option<&str> {
        let BackupCommand::Create(args) = self else { return None };
        args.ping()
    }

    /// The file that it takes variables from.
    pub(super) fn environment_file(&self) -> Option<&std::path::Path> {
        let BackupCommand::Create(args) = self else { return None };
        args.environment_file()
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
