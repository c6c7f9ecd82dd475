//! `lifeboat drill`: its flags, and how its reports look.

mod args;
mod evidence;
mod fleet;
mod left_behind;
mod live;
mod render;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::places::{Seek, Target};
use super::waiting::parse_poll;
use super::{Session, host_name, now};
use crate::aws::Poll;
use crate::drill::journal;
use crate::drill::outcome::Outcome;
use crate::drill::proof;
use crate::drill::sweep::{self, SweepReport};
use crate::drill::verify_evidence;
use crate::drill::{self, Context, Event, Plan, Report, Request};
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::notify::{Announcement, Nature, Subject};
use crate::output::Output;
use crate::rds::Instance;
use crate::vault::Vault;
use crate::when::parse_duration;

use args::RunArgs;
use left_behind::{describe_cost, warn_of_left_behind};
use live::LiveDrill;
use render::{Drills, History, PlanReport, Plans, Shown};

#[derive(Debug, Subcommand)]
pub(super) enum DrillCommand {
    /// Restore a backup of each DB to a throwaway instance, compare it with its source, time it, and remove it.
    ///
    /// The verdict is pass (exit code 0), fail (1) or unknown (3); a throwaway that could not be removed is 6.
    /// Whatever happens, the throwaway is removed before the command ends, on Ctrl-C and SIGTERM too; after a
    /// `kill -9`, `lifeboat drill sweep` removes it. A database is drilled by one process at a time, across all machines.
    ///
    /// A fleet (`--all`, `--tag`, or any flag below "Fleets") is drilled several databases at a time, with one report. A run that
    /// was killed resumes when it is started again, with the databases that have no verdict yet (exit code 5 if any are left).
    Run(Box<RunArgs>),
    /// List the drills that are recorded in the vault, newest first; with a period (`--year 2026`), each database by month,
    /// with the gaps.
    List(ListArgs),
    /// Show a recorded drill.
    Show(ShowArgs),
    /// Write one page about every drill of a period for an auditor: what was proven, what failed and what was done about it,
    /// sign-offs, hashes. HTML on stdout or in a file, or JSON with `--json`.
    ///
    /// Exit code 1 if evidence was altered since it was recorded, 3 if some could not be read.
    Report(evidence::ReportArgs),
    /// Add to the record of a drill what was done about it, or sign it off. Earlier notes are kept.
    Annotate(evidence::AnnotateArgs),
    /// Find evidence that was altered, removed, swapped, truncated or inserted after it was recorded.
    ///
    /// Each record names the SHA-256 of the one before it. Exit code 1 if a file differs from what was recorded (the report
    /// names each), 3 if some could not be read. A chain that was rewritten together with its head is detected only against
    /// a head that was kept elsewhere: keep what this prints, and pass it with `--expect-head` or `--expect-heads`.
    VerifyEvidence(evidence::VerifyEvidenceArgs),
    /// Remove throwaways whose drill has died: those that have expired, and those whose run has ended according to this vault.
    /// Nothing else is ever removed.
    Sweep(SweepArgs),
}

#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Only drills of these DB instances
    #[arg(value_name = "DB")]
    databases: Vec<String>,
    #[command(flatten)]
    period: evidence::PeriodArgs,
    /// Exit with 1 unless each past month of the period has a drill that passed and every existing database was drilled;
    /// with 3 if that could not be determined
    #[arg(long)]
    check: bool,
    /// Do not ask AWS which databases exist
    #[arg(long)]
    vault_only: bool,
}

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// Id of the run, as `drill list` shows it, or of a fleet run; a database, for its newest drill; `latest` for the newest of all
    #[arg(value_name = "RUN|DB|latest")]
    run: String,
}

#[derive(Args, Debug)]
pub(super) struct SweepArgs {
    /// Show what would be removed, remove nothing
    #[arg(long)]
    dry_run: bool,
    /// How often to poll AWS
    #[arg(long, value_name = "DURATION", value_parser = parse_poll, default_value = "15s")]
    poll: Duration,
    /// How long a removal may take
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30m")]
    wait: Duration,
}

impl DrillCommand {
    /// What those who listen know the command as, and whether what it says happens or lasts.
    pub(super) fn notified_as(&self) -> Option<(&'static str, Nature)> {
        match self {
            DrillCommand::Run(args) if !args.dry_run => Some(("drill run", Nature::Event)),
            DrillCommand::Sweep(args) if !args.dry_run => Some(("drill sweep", Nature::Event)),
            DrillCommand::List(args) if args.check => Some(("drill list", Nature::Condition)),
            DrillCommand::VerifyEvidence(_) => Some(("drill verify-evidence", Nature::Event)),
            _ => None,
        }
    }
}

pub(super) async fn run(command: DrillCommand, session: &Arc<Session>) -> Result<Option<Kind>> {
    match command {
        DrillCommand::Run(args) if args.fleet.is_fleet() => fleet::run_fleet(*args, session).await,
        DrillCommand::Run(args) => run_drills(*args, session).await,
        DrillCommand::List(args) => match args.period.period()? {
            Some(period) => {
                let query = evidence::PeriodQuery {
                    databases: &args.databases,
                    period,
                    is_vault_only: args.vault_only,
                    is_judged: args.check,
                };
                evidence::list_period(query, session).await
            }
            None if args.check => Err(Error::request("`--check` needs a period")
                .hint("For example `--last-months 12`, or `--last-months 1` in a job that runs monthly.")),
            None => list_drills(&args, session),
        },
        DrillCommand::Report(args) => evidence::show_report(&args, session).await,
        DrillCommand::Annotate(args) => evidence::annotate_drill(args, session),
        DrillCommand::VerifyEvidence(args) => evidence::show_verification(&args, session),
        DrillCommand::Show(args) => {
            if let Some(fleet) = fleet::find_fleet_run(session, &args.run)? {
                session.output.report(&fleet)?;
                return Ok(None);
            }
            show_drill(&args.run, session)
        }
        DrillCommand::Sweep(args) => sweep_places(&args, session).await,
    }
}

async fn run_drills(args: RunArgs, session: &Session) -> Result<Option<Kind>> {
    let interrupt = Interrupt::listen()?;
    let mut named = BTreeSet::new();
    let once = args.databases.iter().filter(|id| named.insert(id.as_str()));
    let requests: Vec<Request> = once.map(|id| args.request_for(id, session)).collect::<Result<Vec<_>>>()?;
    let vault = session.vault()?;
    let output = &session.output;
    let is_single = requests.len() == 1;
    let (mut plans, mut reports, mut worst) = (Vec::new(), Vec::new(), None);
    for request in requests {
        match run_drill(request, &args, session, &vault, &interrupt).await {
            Ok(Drilled::Planned(plan)) => plans.push(*plan),
            Ok(Drilled::Run(report)) => {
                worst = Kind::worse(worst, report.exit_kind());
                reports.push(*report);
                if interrupt.first().is_some() {
                    break;
                }
            }
            Err(error) if is_single || interrupt.first().is_some() => return Err(error),
            // With several databases, one that cannot be drilled does not keep the others from it.
            Err(error) => {
                output.error(&error);
                worst = Kind::worse(worst, Some(error.kind()));
            }
        }
    }
    let printed = match (args.dry_run, is_single) {
        (true, true) => plans.first().map_or(Ok(()), |plan| output.report(plan)),
        (true, false) => output.report(&Plans { schema: "lifeboat.drill-plans/1", plans }),
        (false, true) => reports.first().map_or(Ok(()), |report| output.conclude(report, worst)),
        (false, false) => output.conclude(&Drills { schema: "lifeboat.drills/1", drills: reports }, worst),
    };
    match printed {
        // What costs money outranks a report that could not be printed.
        Err(error) if worst == Some(Kind::LeftBehind) => output.error(&error),
        other => other?,
    }
    Ok(worst)
}

/// What became of one database.
enum Drilled {
    Planned(Box<PlanReport>),
    Run(Box<Report>),
}

async fn run_drill(
    request: Request,
    args: &RunArgs,
    session: &Session,
    vault: &Vault,
    interrupt: &Interrupt,
) -> Result<Drilled> {
    let (id, output) = (request.source.clone(), &session.output);
    let aws = session.aws_of(&id, Seek::ToChange).await?;
    let live = LiveDrill::new(output, request.rto);
    let tell = |event: Event<'_>| {
        if let Event::Begun { plan, .. } = &event {
            announce_drill(output, plan);
        }
        live.show_event(&event);
    };
    let cx =
        Context { aws: &aws, vault, interrupt, tell: &tell, clock: now, host: host_name(), stop: &|| None };
    let connect =
        async |source: &Instance| args.connect.connect_to(session, &aws, source, "lifeboat drill").await;
    let drilled = match drill::plan_drill(request, connect, &cx).await {
        Ok(plan) if args.dry_run => Ok(Drilled::Planned(Box::new(PlanReport::new(&plan, aws.region())))),
        Ok(plan) => drill::run_alone(plan, &cx).await.map(|report| Drilled::Run(Box::new(report))),
        Err(error) => Err(error),
    };
    let news = match &drilled {
        Ok(Drilled::Planned(_)) => return drilled,
        Ok(Drilled::Run(report)) => {
            output.settle();
            warn_of_left_behind(output, report);
            report.announcement()
        }
        Err(error) => Announcement::of_error(Subject::Database(id.to_string()), error),
    };
    session.announce(news.located_in(&aws.location()));
    drilled
}

/// A drill by its run, the newest of a database, or the newest of all.
fn show_drill(which: &str, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let report = journal::find_record(&vault, which)?;
    let outcome = if verify_evidence::is_record_sound(&vault, &report.source.id, &report.run)? {
        journal::current_outcome(&vault, &report)?
    } else {
        session.output.warn(format!(
            "this record was changed after it was written and proves nothing: run `lifeboat drill verify-evidence {}` for details",
            report.source.id
        ));
        Outcome::Altered
    };
    session.output.report(&Shown::new(&report, outcome))?;
    Ok(None)
}

fn list_drills(args: &ListArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let records = proof::read_records(&vault, &args.databases)?;
    for record in &records.damaged {
        session.output.warn(record);
    }
    if records.is_altered() {
        session
            .output
            .warn("the evidence was changed after it was recorded: run `lifeboat drill verify-evidence` to see where");
    }
    let drills = records
        .reports
        .iter()
        .map(|report| Ok((report, records.outcome_of(&vault, report)?)))
        .collect::<Result<Vec<_>>>()?;
    session.output.report(&History::new(&drills))?;
    Ok(None)
}

async fn sweep_places(args: &SweepArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let targets = session.targets(&[], Seek::ToChange).await?;
    let plans = targets
        .each(session, async |Target { aws, .. }| {
            let plan = sweep::plan_sweep(&aws, &vault, None, aws.now(now())).await?;
            Ok((aws, plan))
        })
        .await?;
    let kind = plans.kind();
    let preview =
        SweepReport::merge(plans.done.iter().map(|(aws, plan)| plan.preview(aws)), &plans.unreached);
    if args.dry_run {
        warn_of_swept(&session.output, &preview);
        session.output.report(&preview)?;
        return Ok(preview.exit_kind().or(kind));
    }
    for swept in preview.instances.iter().filter(|swept| swept.action == sweep::Action::WouldRemove) {
        session.output.say(format!("removing `{}`: {}", swept.id, swept.reason));
    }
    let live = LiveDrill::new(&session.output, Duration::ZERO);
    let poll = Poll { every: args.poll, give_up_after: args.wait };
    let (tell, vault) = (|event: Event<'_>| live.show_event(&event), &vault);
    let sweeps = plans
        .done
        .into_iter()
        .map(|(aws, plan)| async move { sweep::apply_sweep(plan, &aws, vault, poll, &tell).await });
    let report = SweepReport::merge(futures::future::join_all(sweeps).await, &plans.unreached);
    warn_of_swept(&session.output, &report);
    let kind = report.exit_kind().or(kind);
    session.output.conclude(&report, kind)?;
    Ok(kind)
}

/// What costs money and is left to a person is said on stderr, with the command that removes it.
fn warn_of_swept(output: &Output, report: &SweepReport) {
    for swept in report.instances.iter().filter(|swept| swept.left_behind) {
        output.warn(describe_cost(&swept.id, &swept.place.region, &swept.class));
        output.warn(&swept.reason);
        if let Some(command) = &swept.remove_with {
            output.warn(format!("check what it is, then remove it with `{command}`"));
        }
    }
}

fn announce_drill(output: &Output, plan: &Plan) {
    output.say(format!(
        "drill {} of `{}`: restoring {} to `{}` ({})",
        plan.run,
        plan.source.id,
        render::moment_of(plan),
        plan.throwaway,
        plan.request.class
    ));
}
