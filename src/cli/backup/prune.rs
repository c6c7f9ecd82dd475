//! `backup prune`.

use clap::Args;

use super::progress::{Progress, context, read_catalogue};
use super::render::Pruned;
use crate::backup::catalogue;
use crate::backup::prune::{self, Occasion, Overrides};
use crate::cli::{Session, actor, now};
use crate::error::{Kind, Result};
use crate::interrupt::Interrupt;
use crate::vault::Trigger;

#[derive(Args, Debug)]
pub(in crate::cli) struct PruneArgs {
    /// Only backups of these databases
    #[arg(value_name = "DB")]
    databases: Vec<String>,
    /// Days to keep backups without a class [default: BACKUP_RETENTION_DAYS as it was when they were made; if it was not set,
    /// as it is now, or 30]
    #[arg(long, value_name = "N")]
    keep_days: Option<u32>,
    /// Keep the newest N backups of each database, however old
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_last: usize,
    /// Keep the last backup of each of N days
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_daily: usize,
    /// Keep the last backup of each of N weeks
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_weekly: usize,
    /// Keep the last backup of each of N months
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_monthly: usize,
    /// Keep the last backup of each of N years
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_yearly: usize,
    /// Show what would be removed, but remove nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: &PruneArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let occasion = Occasion::Asked(Overrides {
        keep_days: args.keep_days,
        keep_last: args.keep_last,
        keep_daily: args.keep_daily,
        keep_weekly: args.keep_weekly,
        keep_monthly: args.keep_monthly,
        keep_yearly: args.keep_yearly,
    });
    let rules = occasion.rules(&session.config.backup)?;
    if !args.dry_run {
        catalogue::recover(&vault)?;
    }
    let catalogue = read_catalogue(&vault, &session.output)?;
    let plan = prune::plan(&catalogue, &args.databases, &rules, &occasion, now());
    if plan.removals() > 0 {
        prune::check_clock(&vault, now())?;
    }
    if args.dry_run {
        let report = plan.preview();
        session.output.report(&Pruned(report))?;
        return Ok(None);
    }
    let (never, say) =
        (Interrupt::never(), |event: crate::backup::Event<'_>| Progress::say(&session.output, event));
    let cx = context(&vault, &never, &say);
    let report = prune::run_recorded(plan, &args.databases, &actor(Trigger::Cli), &cx).await?;
    let kind = (!report.failed.is_empty()).then_some(Kind::Partial);
    session.output.conclude(&Pruned(report), kind)?;
    Ok(kind)
}
