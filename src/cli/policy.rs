//! `lifeboat policy`: its flags, and how its reports look.

use std::collections::BTreeSet;
use std::time::Instant;

use clap::{Args, Subcommand};

use super::confirm::Act;
use super::places::{Looked, Seek, Target};
use super::waiting::WaitArgs;
use super::{Session, now};
use crate::aws::Aws;
use crate::error::{Kind, Result};
use crate::output::{self, Page, escape_controls};
use crate::policy::check::{Severity, Shared, group_findings};
use crate::policy::{self, Database, Lost, Plan, Report, Request, State};
use crate::rds::{InstanceId, Place, account_of};
use crate::snapshot::Wait;
use crate::words::Tone;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Show how DB instances are backed up: retention, windows, protection, queued changes.
    Show(LookArgs),
    /// Change retention, backup window and protection; what is not given comes from `[policy]` of lifeboat.toml.
    ///
    /// Lowering the retention deletes automated backups: it is shown what goes, and --confirm with the instance's id is needed.
    /// Only --retention-days lowers it; what comes from lifeboat.toml is the least that is wanted. Turning backups on or off is
    /// an outage and applies whatever else is queued, which needs --apply-pending.
    Set(SetArgs),
    /// Hold DB instances against lifeboat.toml and good practice; exit code 1 if one falls short.
    Check(LookArgs),
}

#[derive(Args, Debug)]
pub(super) struct SetArgs {
    /// Ids of the DB instances
    #[arg(required_unless_present = "all", value_name = "DB")]
    databases: Vec<InstanceId>,
    /// All DB instances of the Region, or of all accounts and Regions of lifeboat.toml, but for read replicas and members of clusters
    #[arg(long, conflicts_with = "databases")]
    all: bool,
    /// Days that automated backups are kept: 1 to 35; 0 turns them off and deletes them
    #[arg(long, value_name = "N", value_parser = policy::parse_retention)]
    retention_days: Option<i32>,
    /// Daily backup window in UTC, at least 30 minutes, clear of the maintenance window
    #[arg(long, value_name = "HH:MM-HH:MM", value_parser = parse_window)]
    backup_window: Option<String>,
    /// Whether snapshots get the instance's tags
    #[arg(long, value_name = "BOOL")]
    copy_tags: Option<bool>,
    /// Whether AWS refuses to delete the instance
    #[arg(long, value_name = "BOOL")]
    deletion_protection: Option<bool>,
    /// Let AWS apply what else is queued, where the change does that
    #[arg(long)]
    apply_pending: bool,
    /// The instance's id once more, where the retention is lowered and automated backups are deleted; may be repeated
    #[arg(long, value_name = "DB")]
    confirm: Vec<String>,
    /// Show before and after, change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    waiting: WaitArgs,
}

#[derive(Args, Debug)]
pub(super) struct LookArgs {
    /// Ids of the DB instances [default: all of the Region, or of all accounts and Regions of lifeboat.toml]
    #[arg(value_name = "DB")]
    databases: Vec<InstanceId>,
    /// All DB instances
    #[arg(long, conflicts_with = "databases")]
    all: bool,
}

pub(super) async fn run(command: PolicyCommand, session: &Session) -> Result<Option<Kind>> {
    match command {
        PolicyCommand::Show(args) => {
            let report = judge_fleet(&args.databases, session).await?;
            session.output.report(&Policies { report: &report, aim: Aim::Show })?;
            Ok((!report.unreached.is_empty()).then_some(Kind::Partial))
        }
        PolicyCommand::Set(args) => set(&args, session).await,
        PolicyCommand::Check(args) => {
            let report = judge_fleet(&args.databases, session).await?;
            let falls_short = report.databases.iter().any(|it| !it.findings.is_empty());
            let kind = match falls_short {
                true => Some(Kind::No),
                false => (!report.unreached.is_empty()).then_some(Kind::Partial),
            };
            session.output.conclude(&Policies { report: &report, aim: Aim::Check }, kind)?;
            Ok(kind)
        }
    }
}

fn parse_window(text: &str) -> Result<String> {
    policy::window::Window::daily(text).map(|_| text.to_owned())
}

/// The policies of some instances, or of all.
async fn judge_fleet(only: &[InstanceId], session: &Session) -> Result<Report> {
    let targets = session.targets(only, Seek::ToRead).await?;
    let looked = targets
        .each(session, async |Target { aws, only }| {
            policy::judge_instances(&aws, &session.config.policy, &only).await
        })
        .await?;
    Ok(Report::new(looked.done.into_iter().flatten().collect(), looked.unreached, false))
}

/// The instances that are to be changed, and the places of which nothing is known.
async fn list_targets(args: &SetArgs, session: &Session) -> Result<Looked<Vec<(Aws, InstanceId)>>> {
    let targets = session.targets(&args.databases, Seek::ToChange).await?;
    targets
        .each(session, async |Target { aws, only }| {
            if !args.all {
                return Ok(only.into_iter().map(|id| (aws.clone(), id)).collect());
            }
            let (own, others) = policy::list_changeable(&aws).await?;
            for instance in others {
                session.output.say(format!(
                    "`{}` was skipped: its backups are set on its cluster or source",
                    instance.id
                ));
            }
            Ok(own.into_iter().map(|instance| (aws.clone(), instance.id)).collect())
        })
        .await
}

async fn set(args: &SetArgs, session: &Session) -> Result<Option<Kind>> {
    let began = Instant::now();
    let looked = list_targets(args, session).await?;
    let unknown = looked.kind();
    let wanted: Vec<(Aws, InstanceId)> = looked.done.into_iter().flatten().collect();
    let is_single = wanted.len() == 1;
    let mut plans = Vec::new();
    for (aws, id) in &wanted {
        let request = Request {
            retention_days: args.retention_days,
            least_retention_days: None,
            backup_window: args.backup_window.clone(),
            copy_tags_to_snapshot: args.copy_tags,
            deletion_protection: args.deletion_protection,
            apply_pending: args.apply_pending,
        };
        let request = request.or_configured(session.config.policy.of(id.as_str()));
        plans.push((aws, policy::plan_change(aws, id, &request, now()).await?));
    }
    // Nothing is changed before everything may be.
    for (_, plan) in &plans {
        let Some(lost) = plan.lost.as_ref().filter(|_| !args.dry_run) else { continue };
        let id = plan.instance.id.as_str();
        let given = match args.confirm.as_slice() {
            [one] if is_single => Some(one.as_str()),
            several => several.iter().map(String::as_str).find(|name| *name == id),
        };
        confirm_lowering(plan, lost).confirm(given, session).map_err(|error| {
            let lowered: Vec<&str> = plans
                .iter()
                .filter(|(_, plan)| plan.lost.is_some())
                .map(|(_, plan)| plan.instance.id.as_str())
                .collect();
            match lowered.len() {
                0 | 1 => error,
                several => error.hint(format!(
                    "This lowers the retention of {several} databases. For all of them pass `--confirm {}`.",
                    lowered.join(" --confirm ")
                )),
            }
        })?;
    }
    let (mut databases, mut worst) = (Vec::new(), None);
    for (aws, plan) in plans {
        for note in &plan.notes {
            session.output.warn(note);
        }
        if args.dry_run || !plan.is_needed() {
            databases.push(plan.database());
            continue;
        }
        session.output.say(format!("changing `{}`", plan.instance.id));
        let wait = args.waiting.wait() != Wait::No;
        let id = plan.instance.id.clone();
        match policy::apply_change(plan, aws, args.waiting.poll_since(began), wait).await {
            Ok((database, kind)) => {
                worst = worst.or(kind);
                databases.push(database);
            }
            // What became of the others must be told all the same.
            Err(error) if !is_single => {
                session.output.warn(format!("`{id}` was not changed: {}", error.chain()));
                worst = Some(error.kind());
            }
            Err(error) => return Err(error),
        }
    }
    let report = Report::new(databases, looked.unreached, args.dry_run);
    let kind = worst.or(unknown);
    session.output.conclude(&Policies { report: &report, aim: Aim::Set }, kind)?;
    Ok(kind)
}

/// What lowering the retention of an instance means.
fn confirm_lowering(plan: &Plan, lost: &Lost) -> Act {
    let (instance, place) = (&plan.instance, &plan.place);
    let days = |count: i32| format!("{count} day{}", if count == 1 { "" } else { "s" });
    let host =
        instance.endpoint.as_ref().map_or("none yet".to_owned(), |(host, port)| format!("{host}:{port}"));
    let sentence = match plan.after.retention_days {
        0 => {
            format!("this turns the automated backups of `{}` off, and AWS deletes all of them", instance.id)
        }
        after => format!(
            "this lowers the retention of `{}` from {} to {}, and AWS deletes the automated backups that are older",
            instance.id,
            days(instance.retention_days),
            days(after)
        ),
    };
    let account = account_of(&instance.arn).unwrap_or("unknown");
    Act {
        name: instance.id.to_string(),
        sentence,
        facts: vec![
            ("host", host),
            ("engine", format!("{} {}", instance.engine, instance.engine_version)),
            ("account", format!("{account}, Region {}", place.region)),
            ("gone", lost.sentence()),
        ],
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    Show,
    Set,
    Check,
}

/// A report, and which command shows it.
struct Policies<'a> {
    report: &'a Report,
    aim: Aim,
}

impl serde::Serialize for Policies<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        self.report.serialize(to)
    }
}

impl output::Report for Policies<'_> {
    fn render(&self, page: &mut Page) {
        for database in &self.report.databases {
            match self.aim {
                Aim::Check => render_verdict(database, page),
                Aim::Show | Aim::Set => render_state(database, self.aim, self.report.dry_run, page),
            }
        }
        if self.aim == Aim::Check {
            let short = self.report.databases.iter().filter(|it| !it.findings.is_empty()).count();
            let all = self.report.databases.len();
            let instances = if all == 1 { "instance" } else { "instances" };
            page.line(format!("{all} {instances} checked, {short} with findings"));
            let places: BTreeSet<&Place> = self.report.databases.iter().map(|it| &it.place).collect();
            for place in &places {
                let here: Vec<&Database> =
                    self.report.databases.iter().filter(|it| it.place == **place).collect();
                if places.len() > 1 {
                    page.line(page.toned(Tone::Strong, place.to_string()));
                }
                render_findings(
                    &group_findings(here.iter().map(|it| (it.id.as_str(), it.findings.as_slice()))),
                    here.len(),
                    page,
                );
            }
        }
    }
}

/// A database, and where it is if there are several accounts.
fn name_with_location(database: &Database) -> String {
    match &database.place.account {
        Some(_) => format!("`{}` in {}", database.id, database.place),
        None => format!("`{}`", database.id),
    }
}

fn render_verdict(database: &Database, page: &mut Page) {
    let (word, tone) =
        if database.findings.is_empty() { ("ok", Tone::Good) } else { ("FALLS SHORT", Tone::Bad) };
    page.line(format!(
        "{}: {}",
        page.toned(Tone::Strong, name_with_location(database)),
        page.toned(tone, word)
    ));
    for note in &database.notes {
        page.line(page.toned(Tone::Faint, format!("  {note}")));
    }
}

/// Findings of a place with `all` databases, each with the databases of which it is true and with what mends it.
pub(super) fn render_findings(shared: &[Shared], all: usize, page: &mut Page) {
    for Shared { finding, databases } in shared {
        let (word, tone) = match finding.severity {
            Severity::Critical => ("critical", Tone::Bad),
            Severity::Warning => ("warning", Tone::Doubt),
        };
        page.line(format!(
            "  {}  {} ({})",
            page.toned(tone, format!("{word:8}")),
            finding.message,
            finding.code
        ));
        match databases.len() {
            _ if all == 1 => {}
            count if count == all && count > 3 => page.line(format!("            all {count} databases")),
            _ => page.line(format!("            {}", databases.join(", "))),
        }
        page.remedy(12, &finding.remedy);
    }
}

fn render_state(database: &Database, aim: Aim, dry_run: bool, page: &mut Page) {
    let is_changed = database.before != database.after;
    let what = match (aim, is_changed, dry_run) {
        (Aim::Set, true, true) => "would be changed",
        (Aim::Set, true, false) => "changed",
        (Aim::Set, false, _) => "is as it should be",
        _ => "",
    };
    page.line(format!("{} {what}", page.toned(Tone::Strong, name_with_location(database))));
    let days = |state: &State| match state.retention_days {
        0 => "off".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    let text = |text: &Option<String>| text.clone().unwrap_or("-".to_owned());
    let (before, after) = (&database.before, &database.after);
    let on = |is_on: bool| if is_on { "on" } else { "off" }.to_owned();
    let rows = [
        ("retention", days(before), days(after)),
        ("backup window (UTC)", text(&before.backup_window), text(&after.backup_window)),
        ("maintenance window (UTC)", text(&before.maintenance_window), text(&after.maintenance_window)),
        ("tags to snapshots", on(before.copy_tags_to_snapshot), on(after.copy_tags_to_snapshot)),
        ("deletion protection", on(before.deletion_protection), on(after.deletion_protection)),
        ("encrypted", on(before.encrypted), on(after.encrypted)),
    ];
    let rows = rows.into_iter().map(|(name, before, after)| {
        let (value, tone) = if before == after {
            (after, None)
        } else {
            (format!("{before} → {after}"), Some(Tone::Doubt))
        };
        vec![(name.to_owned(), Some(Tone::Faint)), (value, tone)]
    });
    page.table(&["setting", "value"], rows.collect());
    for (name, value) in &after.pending {
        page.line(page.toned(Tone::Doubt, format!("  queued for the maintenance window: {name} = {value}")));
    }
    if let Some(lost) = &database.lost {
        let word = if dry_run { "AWS would delete:" } else { "AWS deletes:" };
        page.line(format!("  {} {}", page.toned(Tone::Bad, word), escape_controls(&lost.sentence())));
    }
    if aim == Aim::Show {
        for note in &database.notes {
            page.line(page.toned(Tone::Faint, format!("  {note}")));
        }
        render_findings(&group_findings([(database.id.as_str(), database.findings.as_slice())]), 1, page);
    }
}
