//! `backup delete` and `backup keep`.

use clap::Args;

use super::progress::{Progress, context};
use super::render::Deleted;
use crate::backup::delete::{self, LastCopy};
use crate::backup::loss::Loss;
use crate::backup::{Event, catalogue};
use crate::cli::confirm::Act;
use crate::cli::{Session, actor};
use crate::error::{Kind, Result};
use crate::interrupt::Interrupt;
use crate::vault::Trigger;

#[derive(Args, Debug)]
pub(in crate::cli) struct DeleteArgs {
    /// Name of the backup
    #[arg(value_name = "NAME")]
    name: String,
    /// Confirm the deletion with the name of the backup
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    /// Delete it even if it is the last good backup of its database
    #[arg(long)]
    allow_last_copy: bool,
    /// Show what would be deleted, but delete nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct KeepArgs {
    /// Name of the backup
    #[arg(value_name = "NAME")]
    name: String,
    /// Let the retention rules decide again
    #[arg(long)]
    no_longer: bool,
}

pub(super) async fn run(args: &DeleteArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let entry = catalogue::find(&vault, &args.name)?;
    let deleted = Deleted::new(&entry.manifest, args.dry_run);
    if args.dry_run {
        session.output.report(&deleted)?;
        return Ok(None);
    }
    catalogue::recover(&vault)?;
    let catalogue = catalogue::read(&vault)?;
    let act = Act {
        name: args.name.clone(),
        sentence: format!("this deletes backup `{}` for good", args.name),
        facts: Loss::of_deletion(&entry, &catalogue).facts(),
    };
    act.confirm(args.confirm.as_deref(), session)?;
    let last_copy = if args.allow_last_copy { LastCopy::Delete } else { LastCopy::Keep };
    let (never, say) = (Interrupt::never(), |event: Event<'_>| Progress::say(&session.output, event));
    let cx = context(&vault, &never, &say);
    let name = &entry.manifest.backup_name;
    delete::run_recorded(name, &catalogue, last_copy, &actor(Trigger::Cli), &cx).await?;
    session.output.conclude(&deleted, None)?;
    Ok(None)
}

pub(super) async fn keep(args: &KeepArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let entry = catalogue::find(&vault, &args.name)?;
    let what = if args.no_longer { "backup keep --no-longer" } else { "backup keep" };
    let (never, say) = (Interrupt::never(), |event: Event<'_>| Progress::say(&session.output, event));
    let cx = context(&vault, &never, &say);
    let keep = async {
        catalogue::amend_manifest(&vault, &entry.manifest.backup_name, |manifest| {
            manifest.keep_forever = !args.no_longer;
        })
    };
    let manifest = cx.record_act(actor(Trigger::Cli).act(what, &args.name), keep).await?;
    session.output.conclude(&manifest, None)?;
    Ok(None)
}
