//! `lifeboat drill run` of a fleet: its flags, and how its report looks.

use std::sync::Arc;

use super::args::RunArgs;
use super::left_behind::warn_of_left_behind;
use super::live::LiveFleet;
use crate::aws::Aws;
use crate::cli::host_name;
use crate::cli::places::{Seek, Targets};
use crate::cli::{Session, now};
use crate::drill::estimate::Earlier;
use crate::drill::fleet::{self, Fleet, FleetContext, Outcome, Row, Todo, record};
use crate::drill::journal;
use crate::drill::{Event, Report};
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::notify::{Announcement, Subject};
use crate::output::{self, Page};
use crate::rds::{Instance, InstanceId, Place};
use crate::when;
use crate::when::format_span;
use crate::words::Tone;

/// Rows that are as they should be are listed one by one up to this many.
const LISTED: usize = 40;

pub(super) async fn run_fleet(args: RunArgs, session: &Arc<Session>) -> Result<Option<Kind>> {
    let interrupt = Interrupt::listen()?;
    let args = Arc::new(args);
    // What is wrong with the flags is said before anything is asked.
    args.databases.iter().try_for_each(|id| args.request_for(id, session).map(drop))?;
    let Targets { found, unreached } = session.targets(&args.databases, Seek::ToChange).await?;
    let places = found.into_iter().map(|target| (target.aws, target.only)).collect();
    let ask = args.fleet.ask(&args.databases, session, args.dry_run, unreached);
    let vault = if args.dry_run { session.vault_to_read()? } else { session.vault()? };
    let request_of = |id: &InstanceId| args.request_for(id, session);
    let planned = tokio::select! {
        biased;
        kind = interrupt.wait(1) => Err(Error::new(kind, "interrupted before anything was created")),
        planned = fleet::plan_fleet_run(places, &vault, &ask, &request_of, now()) => planned,
    };
    let plan = planned?;
    for note in &plan.notes {
        session.output.warn(note);
    }
    for one in &plan.record.unreached {
        session.output.warn(format!("{} could not be reached: {}", one.place, one.error));
    }
    if args.dry_run {
        session.output.report(&plan.record)?;
        return Ok(plan.record.exit_kind_of_plan());
    }
    announce_fleet(session, &plan.record, plan.todo.len());
    // Only a live line says what is left of all, and only for that is the vault read.
    let is_live = session.output.is_live();
    let took = |todo: &Todo| {
        let source = &todo.source;
        let before =
            is_live.then(|| journal::newest_records(&vault, source.id.as_str(), &source.resource_id.0));
        Earlier::of_records(&before.unwrap_or_default()).last_took()
    };
    let waiting = plan.todo.iter().map(|todo| (todo.source.id.to_string(), took(todo))).collect();
    let live = LiveFleet::new(waiting, plan.todo.len(), plan.record.ceilings.concurrency);
    let cx = Arc::new(fleet_context(&args, session, vault, interrupt.clone(), &live, plan.todo.len()));
    let fleet = fleet::run_fleet(plan, cx).await?;
    session.output.settle();
    let kind = match fleet.exit_kind() {
        Some(Kind::LeftBehind) => Some(Kind::LeftBehind),
        kind => interrupt.first().or(kind),
    };
    match session.output.conclude(&fleet, kind) {
        // What costs money outranks a report that could not be printed.
        Err(error) if kind == Some(Kind::LeftBehind) => session.output.error(&error),
        other => other?,
    }
    Ok(kind)
}

fn announce_fleet(session: &Session, record: &Fleet, todo: usize) {
    let begun = when::format_time(record.started_at);
    let going_on = if record.resumed { format!(", begun at {begun}, resumed") } else { String::new() };
    let shard = record.shard.map(|shard| format!(", shard {shard}")).unwrap_or_default();
    session.output.say(format!(
        "fleet run {}{shard}{going_on}: {todo} of {} databases to drill, {} at once",
        record.fleet, record.summary.databases, record.ceilings.concurrency
    ));
}

/// Those who drill, with their ways to the databases and to the screen.
fn fleet_context(
    args: &Arc<RunArgs>,
    session: &Arc<Session>,
    vault: crate::vault::Vault,
    interrupt: Interrupt,
    live: &LiveFleet,
    of: usize,
) -> FleetContext<impl AsyncFn(&Aws, &Instance) -> Result<crate::postgres::Server> + Send + Sync + 'static> {
    let tell = {
        let (session, live) = (Arc::clone(session), live.clone());
        move |id: &str, event: Event<'_>| {
            live.note_event(id, &event);
            match event {
                Event::Phase(name) => {
                    tracing::info!(database = id, "{name}");
                    live.show(&session.output);
                }
                Event::Status { status, .. } => tracing::info!(database = id, "its throwaway is {status}"),
                Event::Begun { .. } | Event::Counting { .. } => {}
                Event::Note(text) => session.output.say(format!("{id}: {text}")),
                Event::Warning(text) => session.output.warn(format!("{id}: {text}")),
            }
        }
    };
    let on_outcome = {
        let (session, live) = (Arc::clone(session), live.clone());
        move |row: &Row, report: Option<&Report>| {
            let done = live.end_drill(row.id.as_str());
            let (word, tone) = outcome_word(row.outcome);
            let why = row
                .reasons
                .first()
                .map(|reason| format!(": {}", output::escape_controls(reason)))
                .unwrap_or_default();
            let took = row.seconds.map(|seconds| format!(" in {}", format_span(seconds))).unwrap_or_default();
            let word = session.output.toned(tone, word);
            session.output.say(format!(
                "[{done}/{of}] {} {word}{took}{}",
                row.id,
                if row.outcome == Outcome::Pass { String::new() } else { why }
            ));
            let announcement = match report {
                Some(report) => {
                    warn_of_left_behind(&session.output, report);
                    Some(report.announcement())
                }
                None if row.outcome == Outcome::Refused => Some(Announcement {
                    reason: row.reasons.first().cloned().unwrap_or_default(),
                    ..Announcement::of_exit(Subject::Database(row.id.to_string()), Some(Kind::Outside), None)
                }),
                None => None,
            };
            if let Some(announcement) = announcement {
                session.announce(announcement.located_in(&place_of_row(row, &session)));
            }
            live.show(&session.output);
        }
    };
    let (to, session) = (Arc::clone(args), Arc::clone(session));
    FleetContext {
        vault,
        interrupt,
        connect: async move |aws: &Aws, source: &Instance| {
            to.connect.connect_to(&session, aws, source, "lifeboat drill").await
        },
        tell: Box::new(tell),
        on_outcome: Box::new(on_outcome),
        clock: now,
        host: host_name(),
    }
}

/// Where a database is; with its account if `lifeboat.toml` names that.
fn place_of_row(row: &Row, session: &Session) -> Place {
    let names = |name: &String| session.config.accounts.iter().any(|account| account.name == *name);
    Place { account: row.account.clone().filter(names), region: row.region.clone() }
}

/// A fleet run of that name, if the vault has one.
pub(super) fn find_fleet_run(session: &Session, name: &str) -> Result<Option<Fleet>> {
    fleet::journal::find_fleet_run(&session.vault_to_read()?, name)
}

fn outcome_word(outcome: Outcome) -> (&'static str, Tone) {
    match outcome {
        Outcome::Pass => ("pass", Tone::Good),
        Outcome::Fail => ("FAIL", Tone::Bad),
        Outcome::Unknown => ("unknown", Tone::Doubt),
        Outcome::Refused => ("not drilled", Tone::Doubt),
        Outcome::Held => ("held", Tone::Doubt),
        Outcome::Pending => ("pending", Tone::Doubt),
        Outcome::NotDue => ("not due", Tone::Faint),
        Outcome::Skipped => ("skipped", Tone::Faint),
    }
}

impl output::Report for Fleet {
    fn render(&self, page: &mut Page) {
        let (state, tone) = match (self.state, self.exit_kind()) {
            (record::Progress::Planned, _) => ("PLANNED", Tone::Strong),
            (record::Progress::Running, _) => ("RUNNING", Tone::Doubt),
            (_, None) if self.summary.passed + self.summary.not_due == 0 => ("NOTHING TO DRILL", Tone::Doubt),
            (_, None) => ("PASS", Tone::Good),
            (_, Some(Kind::No)) => ("FAIL", Tone::Bad),
            (_, Some(Kind::LeftBehind)) => ("LEFT BEHIND", Tone::Bad),
            (_, Some(_)) => ("INCOMPLETE", Tone::Doubt),
        };
        let shard = self.shard.map(|shard| format!(" (shard {shard})")).unwrap_or_default();
        let is_planned = self.state == record::Progress::Planned;
        let name = if is_planned { String::new() } else { format!(" {}", self.fleet) };
        let head = format!("fleet run{name}{shard}");
        let took = self.finished_at.map(|at| (at - self.started_at).as_seconds_f64());
        page.heading(tone, state, head, took.filter(|_| !is_planned));
        page.line(format!("  {}", self.summary.describe()));
        for one in &self.unreached {
            let text = format!("{} could not be reached: {}", one.place, output::escape_controls(&one.error));
            page.line(format!("  {} {text}", page.toned(Tone::Doubt, "-")));
        }
        if !self.missing_shards.is_empty() {
            let missing: Vec<String> = self.missing_shards.iter().map(u32::to_string).collect();
            let text = format!("no record of shard {}", missing.join(", "));
            page.line(format!("  {} {text}", page.toned(Tone::Doubt, "-")));
        }
        page.line("");
        let places: std::collections::BTreeSet<_> =
            self.databases.iter().map(|row| (&row.account, &row.region)).collect();
        let is_quiet = |row: &&Row| matches!(row.outcome, Outcome::Pass | Outcome::NotDue | Outcome::Skipped);
        let quiet = self.databases.iter().filter(is_quiet).count();
        let is_long = self.databases.len() > LISTED;
        let (mut rows, mut unlisted) = (Vec::new(), 0);
        for row in &self.databases {
            if is_long && is_quiet(&row) && row.left_behind.is_none() {
                continue;
            }
            // Those that wait need not all be listed; those that are bad do.
            if row.outcome == Outcome::Pending && rows.len() >= LISTED {
                unlisted += 1;
                continue;
            }
            rows.push(row_cells(row, places.len() > 1));
        }
        page.table(&["", "database", "last proof", "RTO", "run", ""], rows);
        if unlisted > 0 {
            page.line(format!("  … and {unlisted} more that are pending"));
        }
        if is_long && quiet > 0 {
            page.line(format!(
                "  … and {quiet} more that passed, are not due or cannot be drilled (`--json` lists them)"
            ));
        }
        if self.without_verdict() > 0 && !is_planned {
            page.line(format!(
                "{} run the same command again to drill those that have no verdict",
                page.toned(Tone::Strong, "hint:")
            ));
        }
    }
}

fn row_cells(row: &Row, with_place: bool) -> Vec<(String, Option<Tone>)> {
    let (outcome, tone) = outcome_word(row.outcome);
    let name = match (&row.account, with_place) {
        (Some(account), true) => format!("{} ({account}, {})", row.id, row.region),
        _ => row.id.clone(),
    };
    let reason = match (&row.left_behind, row.outcome) {
        (Some(reason), _) => format!("LEFT BEHIND: {reason}"),
        (None, Outcome::Pass) => String::new(),
        (None, _) => row.reasons.first().cloned().unwrap_or_default(),
    };
    let proof = row.last_proof.map_or("never".to_owned(), |at| at.format("%Y-%m-%d").to_string());
    vec![
        (outcome.to_owned(), Some(tone)),
        (name, None),
        (proof, None),
        (row.rto_seconds.map_or("-".to_owned(), format_span), None),
        (row.run.clone().unwrap_or("-".to_owned()), None),
        (reason, Some(if row.left_behind.is_some() { Tone::Bad } else { Tone::Faint })),
    ]
}

impl record::Summary {
    /// `198 passed, 1 failed, 1 unknown of 200 databases; 12.5 instance-hours`.
    fn describe(&self) -> String {
        let parts = [
            (self.passed, "passed"),
            (self.failed, "failed"),
            (self.unknown, "unknown"),
            (self.refused, "not drilled"),
            (self.held, "held by others"),
            (self.pending, "pending"),
            (self.not_due, "not due"),
            (self.skipped, "skipped"),
            (self.left_behind, "LEFT BEHIND"),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        if parts.is_empty() {
            return "no database to drill".to_owned();
        }
        format!(
            "{} of {} databases; {:.2} instance-hours",
            parts.join(", "),
            self.databases,
            self.instance_hours
        )
    }
}
