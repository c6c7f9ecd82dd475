//! `backup restore` and `backup undo`.

use std::time::Duration;

use clap::Args;

use super::flags::{AccessArgs, ToleranceArgs};
use super::progress::{Progress, context};
use super::render::RestorePlan;
use crate::backup::loss::Loss;
use crate::backup::restore::{self, Asked};
use crate::backup::{Event, Source};
use crate::cli::confirm::Act;
use crate::cli::connect::UrlArgs;
use crate::cli::{Session, actor};
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::postgres::read_database_url;
use crate::vault::Trigger;
use crate::when::format_time;
use crate::when::parse_duration;

#[derive(Args, Debug)]
pub(in crate::cli) struct RestoreArgs {
    /// Name of the backup
    #[arg(value_name = "NAME")]
    name: String,
    /// Database to restore to: `postgresql://…` or `sqlite:///path` [default: the backup's own database in lifeboat.toml, or
    /// DATABASE_URL if it names the same database]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Restore to a new database on that server, or to a new file, instead of replacing anything
    #[arg(long, value_name = "NEW")]
    into: Option<String>,
    /// Confirm the replacement of the database with the name of the backup
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    /// How long to keep the replaced PostgreSQL database under another name; 0s drops it at once
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "24h")]
    keep_old: Duration,
    /// Number of parallel jobs for a custom-format backup [default: one per core, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Replace a SQLite file that no process has open by another file
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    tolerance: ToleranceArgs,
    #[command(flatten)]
    access: AccessArgs,
    /// Run the checks that precede a restore, but restore nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct UndoArgs {
    /// The database that was restored [default: DATABASE_URL]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Confirm the swap with the name of the database
    #[arg(long, value_name = "DATABASE")]
    confirm: Option<String>,
    #[command(flatten)]
    connect: UrlArgs,
}

impl RestoreArgs {
    fn asked(&self) -> Asked {
        Asked {
            name: self.name.clone(),
            url: self.url.clone(),
            into: self.into.clone(),
            keep_old: self.keep_old,
            jobs: self.jobs,
            offline: self.offline,
            tolerance: self.tolerance.tolerance(),
            access: self.access.options(),
        }
    }
}

pub(super) async fn run(args: RestoreArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault()?;
    let progress = Progress::new(&session.output, format!("restoring `{}`", args.name));
    let tell = |event: Event<'_>| progress.tell(event);
    // Until the restore is confirmed, Ctrl-C ends the process.
    let unheard = Interrupt::never();
    let plan =
        restore::plan(&args.asked(), &session.config.backup, &context(&vault, &unheard, &tell)).await?;
    if args.dry_run {
        session.output.report(&RestorePlan::new(&plan))?;
        return Ok(None);
    }
    if plan.replaces {
        replacement(&plan, &args).confirm(args.confirm.as_deref(), session)?;
    }
    let interrupt = Interrupt::listen()?;
    let cx = context(&vault, &interrupt, &tell);
    let report = restore::run_recorded(&args.name, async { Ok(plan) }, &actor(Trigger::Cli), &cx).await?;
    session.output.settle();
    let kind = (!report.is_whole()).then_some(Kind::No);
    session.output.conclude(&report, kind)?;
    Ok(kind)
}

/// What a restore over something that is there means.
fn replacement(plan: &restore::Plan, args: &RestoreArgs) -> Act {
    Act {
        name: args.name.to_string(),
        sentence: format!(
            "this replaces the current content of `{}` with its content at {}",
            plan.destination.source().shown(),
            format_time(plan.manifest.timestamp)
        ),
        facts: Loss::of_restore(plan, &crate::cli::host_name()).facts(),
    }
}

pub(super) async fn undo(args: UndoArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault()?;
    let environment = read_database_url()?;
    let url = args.url.clone().or(environment).ok_or_else(|| {
        Error::request("no database is named")
            .hint("Pass `--url postgresql://user@host/database`, or set DATABASE_URL.")
    })?;
    let say = |event: Event<'_>| Progress::say(&session.output, event);
    let Source::Postgresql { server, dbname } = Source::of_url(url.trim(), &args.connect.overrides(), &say)?
    else {
        return Err(Error::request("`backup undo` works for PostgreSQL only")
            .hint("Before a live SQLite file was restored, it was backed up: restore that backup."));
    };
    let act = Act {
        name: dbname.clone(),
        sentence: format!("this puts back database `{dbname}` as it was before the latest restore"),
        facts: vec![
            ("host", server.place()),
            ("engine", "PostgreSQL".to_owned()),
            ("gone", format!("the current content of `{dbname}` is kept under another name")),
        ],
    };
    act.confirm(args.confirm.as_deref(), session)?;
    let interrupt = Interrupt::listen()?;
    let progress = Progress::new(&session.output, format!("undoing the restore of `{dbname}`"));
    let tell = |event: Event<'_>| progress.tell(event);
    let cx = context(&vault, &interrupt, &tell);
    let report = restore::undo_recorded(&server, &dbname, &actor(Trigger::Cli), &cx).await?;
    session.output.settle();
    session.output.conclude(&report, None)?;
    Ok(None)
}
