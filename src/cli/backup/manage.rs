//! `backup restore`, `undo`, `prune`, `delete`, `keep` and `stats`.

use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;
use clap::Args;

use super::{Live, MeansArgs, ToleranceArgs, UrlArgs, audited, failures_of, source, url_of_environment};
use crate::backup::loss::Loss;
use crate::backup::restore::{self, Destination, Manner};
use crate::backup::{
    DatabaseType, Event, Manifest, Means, Recipients, Source, Surroundings, catalogue, prune as pruning,
    stats as counting,
};
use crate::cli::confirm::Act;
use crate::cli::connect::url_text;
use crate::cli::{Session, now};
use crate::config::parse_duration;
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::output::{Output, plain};
use crate::retention::{Lifetime, Rule, Rules};
use crate::vault::Vault;
use crate::when::format_time;

use super::render::{Deleted, Pruned, RestorePlan};

#[derive(Args, Debug)]
pub(in crate::cli) struct RestoreArgs {
    /// Name of the backup
    #[arg(value_name = "NAME")]
    name: String,
    /// Where to: a database (`postgresql://…`) or a file (`sqlite:///path`) [default: the database of lifeboat.toml that it
    /// is a backup of, or DATABASE_URL if it names that very database]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Restore to a new database of that server, or to a new file, and replace nothing
    #[arg(long, value_name = "NEW")]
    into: Option<String>,
    /// Confirm that the database is to be replaced, with the name of the backup
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    /// How long the replaced PostgreSQL database is kept under another name; 0s drops it at once
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "24h")]
    keep_old: Duration,
    /// How many jobs restore a custom backup [default: one per core, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Put another file in the place of a SQLite file that nobody has open
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    tolerance: ToleranceArgs,
    #[command(flatten)]
    pub(super) means: MeansArgs,
    #[command(flatten)]
    pub(super) connect: UrlArgs,
    /// Check what can be checked beforehand, restore nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct UndoArgs {
    /// The database that was restored [default: DATABASE_URL]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Confirm with the name of the database
    #[arg(long, value_name = "DATABASE")]
    confirm: Option<String>,
    #[command(flatten)]
    connect: UrlArgs,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct PruneArgs {
    /// Only backups of these databases
    #[arg(value_name = "DB")]
    databases: Vec<String>,
    /// Days that backups without a class are kept, whatever they were made under [default: what BACKUP_RETENTION_DAYS
    /// was when they were made; otherwise what it is now, or 30]
    #[arg(long, value_name = "N")]
    keep_days: Option<u32>,
    /// The newest so many of each database, however old
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_last: usize,
    /// The last of each of so many days
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_daily: usize,
    /// The last of each of so many weeks
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_weekly: usize,
    /// The last of each of so many months
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_monthly: usize,
    /// The last of each of so many years
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_yearly: usize,
    /// Show what would be removed, remove nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct DeleteArgs {
    /// Name of the backup
    #[arg(value_name = "NAME")]
    name: String,
    /// Confirm with the name of the backup
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    /// Even if it is the last good backup of its database
    #[arg(long)]
    allow_last_copy: bool,
    /// Show what would be deleted, delete nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct KeepArgs {
    /// Name of the backup
    #[arg(value_name = "NAME")]
    name: String,
    /// Leave it to the rules again
    #[arg(long)]
    no_longer: bool,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct StatsArgs {
    /// Only backups of these databases
    #[arg(value_name = "DB")]
    databases: Vec<String>,
}

pub(super) async fn restore(args: RestoreArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault()?;
    let destination = destination(&args, session)?;
    let manner = manner(&args, session)?;
    let plan = restore::plan(&args.name, destination, manner, &vault).await?;
    if args.dry_run {
        session.output.report(&RestorePlan::new(&plan))?;
        return Ok(None);
    }
    if plan.replaces {
        replacement(&plan, &args).confirm(args.confirm.as_deref(), session)?;
    }
    let interrupt = Interrupt::listen()?;
    let live = Live::new(&session.output, format!("restoring `{}`", args.name));
    let tell = |event: Event<'_>| live.tell(event);
    let surroundings = Surroundings {
        vault: &vault,
        interrupt: &interrupt,
        tell: &tell,
        clock: now,
        host: crate::cli::drill::host(),
    };
    let begun = audited::begin(&vault, "backup restore", &args.name, "cli")?;
    let report = restore::apply(plan, &surroundings).await;
    audited::end(begun, None, &report, &session.output);
    let report = report?;
    session.output.settle();
    let kind = (!report.is_whole()).then_some(Kind::No);
    session.output.conclude(&report, kind)?;
    Ok(kind)
}

pub(super) fn manner(args: &RestoreArgs, session: &Session) -> Result<Manner> {
    let manifest = catalogue::find(&session.vault_to_read()?, &args.name)?.manifest;
    let settings = session.config.backup_of(&manifest.source.database).cloned().unwrap_or_default();
    let recipients = settings.over(&session.config.backup).encrypt_to.unwrap_or_default();
    Ok(Manner {
        recipients: Recipients::parse(&recipients)?,
        jobs: args.jobs.map_or_else(crate::backup::usual_threads, usize::from),
        keep_old: args.keep_old,
        offline: args.offline,
        means: Means { tolerance: args.tolerance.tolerance(), ..args.means.means(session)? },
    })
}

pub(super) fn destination(args: &RestoreArgs, session: &Session) -> Result<Destination> {
    let vault = session.vault_to_read()?;
    let manifest = catalogue::find(&vault, &args.name)?.manifest;
    let configured =
        session.config.backup_of(&manifest.source.database).and_then(|settings| settings.url.clone());
    let environment = url_of_environment()?;
    let into_file = args.into.clone().filter(|_| manifest.database_type == DatabaseType::Sqlite);
    if let Some(into) = into_file {
        let recorded = manifest.source.path.as_deref();
        let path = crate::backup::sqlite_destination(&into, recorded)?.unwrap_or_else(|| PathBuf::from(into));
        return Ok(Destination::New(Source::Sqlite { path }));
    }
    let is_named = args.url.is_some() || configured.is_some();
    // The manifest says where the backup comes from, and never where it goes: whoever can write to the vault could
    // otherwise choose which file is replaced.
    let url = args.url.clone().or(configured).or(environment).ok_or_else(|| no_destination(&manifest))?;
    match (source_that_may_be_lost(url.trim(), &manifest, args, session)?, &args.into) {
        (Source::Postgresql { server, .. }, Some(into)) => {
            Ok(Destination::New(Source::Postgresql { server, dbname: into.clone() }))
        }
        (source, _) => {
            if !is_named {
                same_database(&manifest, &source)?;
            }
            Ok(Destination::Replace(source))
        }
    }
}

/// The database of a URL; a SQLite file of which nothing may be left.
fn source_that_may_be_lost(
    url: &str,
    manifest: &Manifest,
    args: &RestoreArgs,
    session: &Session,
) -> Result<Source> {
    match crate::backup::sqlite_destination(&url_text(url)?, manifest.source.path.as_deref())? {
        Some(path) => Ok(Source::Sqlite { path }),
        None => source(url, &args.connect, session),
    }
}

fn no_destination(manifest: &Manifest) -> Error {
    let error = Error::request(format!("`{}` has no destination", manifest.backup_name));
    match &manifest.source.path {
        Some(path) => error
            .caused_by(format!("its manifest says that it is a backup of `{}`, which decides nothing", plain(path)))
            .hint(
                "Pass `--into PATH` to restore it to a new file, or `--url sqlite:///PATH` or DATABASE_URL to replace the \
                 database that is there.",
            ),
        None => error.hint(
            "Pass `--url postgresql://user@host/database`, or set DATABASE_URL. With `--into NEW` it becomes a new database of \
             that server.",
        ),
    }
}

/// The environment says which database is meant, but not that the content of another one is to take its place.
fn same_database(manifest: &Manifest, meant: &Source) -> Result<()> {
    let (meant, of) = match (meant, &manifest.source.dbname, &manifest.source.path) {
        (Source::Postgresql { dbname, .. }, Some(of), _) => (dbname.clone(), of.clone()),
        (Source::Sqlite { path }, _, Some(of)) => {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            (absolute.to_string_lossy().into_owned(), of.clone())
        }
        _ => return Ok(()),
    };
    if meant == of {
        return Ok(());
    }
    let name = &manifest.backup_name;
    Err(Error::new(
        Kind::Guard,
        format!(
            "backup `{name}` is of database `{}`, and DATABASE_URL names `{}`",
            plain(&of),
            plain(&meant)
        ),
    )
    .hint("If one is to replace the other, name it: `lifeboat backup restore` with `--url`."))
}

/// What a restore over something that is there means.
fn replacement(plan: &restore::Plan, args: &RestoreArgs) -> Act {
    Act {
        name: args.name.to_string(),
        sentence: format!(
            "this replaces what `{}` holds now with what it held at {}",
            plan.destination.source().shown(),
            format_time(plan.manifest.timestamp)
        ),
        facts: Loss::of_restore(plan, &crate::cli::drill::host()).facts(),
    }
}

pub(super) async fn undo(args: UndoArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault()?;
    let environment = url_of_environment()?;
    let url = args.url.clone().or(environment).ok_or_else(|| {
        Error::request("no database is named")
            .hint("Pass `--url postgresql://user@host/database`, or set DATABASE_URL.")
    })?;
    let Source::Postgresql { server, dbname } = source(url.trim(), &args.connect, session)? else {
        return Err(Error::request("only restores of PostgreSQL are undone by a swap")
            .hint("Before a live SQLite file was restored, a backup of it was made: restore that."));
    };
    let act = Act {
        name: dbname.clone(),
        sentence: format!("this puts database `{dbname}` back to what the latest restore replaced"),
        facts: vec![
            ("host", server.place()),
            ("engine", "PostgreSQL".to_owned()),
            ("gone", format!("what `{dbname}` holds now is kept as another database")),
        ],
    };
    act.confirm(args.confirm.as_deref(), session)?;
    let interrupt = Interrupt::listen()?;
    let live = Live::new(&session.output, format!("putting `{dbname}` back"));
    let tell = |event: Event<'_>| live.tell(event);
    let surroundings = Surroundings {
        vault: &vault,
        interrupt: &interrupt,
        tell: &tell,
        clock: now,
        host: crate::cli::drill::host(),
    };
    let begun = audited::begin(&vault, "backup undo", &dbname, "cli")?;
    let report = restore::undo(&server, &dbname, &surroundings).await;
    audited::end(begun, None, &report, &session.output);
    let report = report?;
    session.output.settle();
    session.output.conclude(&report, None)?;
    Ok(None)
}

/// The rules: those of the classes, and what is said of backups without one.
pub(super) fn rules(session: &Session, asked: Option<&PruneArgs>) -> Result<Rules> {
    let mut rules = Rules::configured(&session.config.retention)?;
    let configured = rules.0.get(pruning::USUAL_CLASS).cloned();
    // What a backup is made under stands in its manifest. Those of which nothing was said are not judged by what the
    // environment of another backup says, unless somebody asks.
    let from_environment = days_of_environment()?.filter(|_| asked.is_some());
    let keep_days = asked.and_then(|args| args.keep_days).or(from_environment);
    let keep_for = |days: u32| Lifetime::Span(TimeDelta::days(i64::from(days)));
    let mut rule = match (configured, keep_days) {
        (Some(rule), None) => rule,
        (Some(rule), Some(days)) => Rule { keep_for: keep_for(days), ..rule },
        (None, days) => Rule::lasting(keep_for(days.unwrap_or(30))),
    };
    if let Some(args) = asked {
        rule.keep_last = rule.keep_last.max(args.keep_last);
        rule.keep_daily = rule.keep_daily.max(args.keep_daily);
        rule.keep_weekly = rule.keep_weekly.max(args.keep_weekly);
        rule.keep_monthly = rule.keep_monthly.max(args.keep_monthly);
        rule.keep_yearly = rule.keep_yearly.max(args.keep_yearly);
    }
    rules.0.insert(pruning::USUAL_CLASS.to_owned(), rule);
    for rhythm in crate::backup::schedule::Rhythm::ALL {
        rules
            .0
            .entry(rhythm.class().to_owned())
            .or_insert_with(|| Rule::lasting(keep_for(rhythm.usual_days())));
    }
    Ok(rules)
}

pub(super) fn days_of_environment() -> Result<Option<u32>> {
    let Some(text) = std::env::var("BACKUP_RETENTION_DAYS").ok().filter(|text| !text.trim().is_empty())
    else {
        return Ok(None);
    };
    match text.trim().parse::<u32>() {
        Ok(days) if (1..=36_500).contains(&days) => Ok(Some(days)),
        _ => Err(Error::request(format!(
            "BACKUP_RETENTION_DAYS is `{}`, which is no number of days",
            text.escape_default()
        ))
        .hint("Set it to a number from 1 to 36500, or unset it: then it is 30.")),
    }
}

pub(super) fn prune(args: &PruneArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let rules = rules(session, Some(args))?;
    if !args.dry_run {
        catalogue::recover(&vault)?;
    }
    let catalogue = catalogue::read(&vault)?;
    for damaged in &catalogue.damaged {
        session.output.warn(damaged);
    }
    let measure = match args.keep_days {
        Some(_) => pruning::Measure::AsGiven,
        None => pruning::Measure::AsMade,
    };
    let plan = pruning::plan(&catalogue, &args.databases, (&rules, measure), now(), pruning::Caution::Asked);
    if plan.removals() > 0 {
        pruning::check_clock(&vault, now())?;
    }
    let report = match (args.dry_run, plan.removals()) {
        (true, _) => plan.preview(),
        (false, 0) => pruning::apply(plan, &vault)?,
        (false, _) => {
            let name = args.databases.join(", ");
            audited::act(session, &vault, ("backup prune", &name), || pruning::apply(plan, &vault))?
        }
    };
    let kind = (!report.failed.is_empty()).then_some(Kind::Partial);
    match args.dry_run {
        true => session.output.report(&Pruned(report))?,
        false => session.output.conclude(&Pruned(report), kind)?,
    }
    Ok(kind)
}

pub(super) fn delete(args: &DeleteArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let entry = catalogue::find(&vault, &args.name)?;
    if !args.dry_run {
        catalogue::recover(&vault)?;
        let catalogue = catalogue::read(&vault)?;
        let act = Act {
            name: args.name.clone(),
            sentence: format!("this deletes backup `{}` for good", args.name),
            facts: Loss::of_deletion(&entry, &catalogue).facts(),
        };
        act.confirm(args.confirm.as_deref(), session)?;
        audited::act(session, &vault, ("backup delete", &args.name), || {
            pruning::delete(&vault, &catalogue, &entry.manifest.backup_name, args.allow_last_copy)
        })?;
    }
    let deleted = Deleted::new(&entry.manifest, args.dry_run);
    match args.dry_run {
        true => session.output.report(&deleted)?,
        false => session.output.conclude(&deleted, None)?,
    }
    Ok(None)
}

pub(super) fn keep(args: &KeepArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let entry = catalogue::find(&vault, &args.name)?;
    let what = if args.no_longer { "backup keep --no-longer" } else { "backup keep" };
    let manifest = audited::act(session, &vault, (what, &args.name), || {
        catalogue::amend(&vault, &entry.manifest.backup_name, |manifest| {
            manifest.keep_forever = !args.no_longer;
        })
    })?;
    session.output.conclude(&manifest, None)?;
    Ok(None)
}

/// All backups of a vault. Where there are none nothing was proven, and one whose manifest cannot be read is no good one.
pub(super) fn all_of(vault: &Vault, output: &Output) -> Result<(Vec<String>, Option<Kind>)> {
    let catalogue = catalogue::read(vault)?;
    for damaged in &catalogue.damaged {
        output.warn(damaged);
    }
    if catalogue.entries.is_empty() && catalogue.damaged.is_empty() {
        return Err(Error::request(format!(
            "there are no backups in `{}`: nothing was proven",
            vault.shown("")
        ))
        .hint("Name the vault with `--vault` or BACKUP_DIR."));
    }
    let names = catalogue.entries.iter().map(|entry| entry.manifest.backup_name.to_string()).collect();
    Ok((names, (!catalogue.damaged.is_empty()).then_some(Kind::No)))
}

pub(super) fn stats(args: &StatsArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let mut catalogue = catalogue::read(&vault)?;
    for damaged in &catalogue.damaged {
        session.output.warn(damaged);
    }
    if !args.databases.is_empty() {
        catalogue.entries.retain(|entry| args.databases.contains(&entry.manifest.source.database));
    }
    session.output.report(&counting::stats(&catalogue, &failures_of(&vault, &args.databases)?, now()))?;
    Ok(None)
}
