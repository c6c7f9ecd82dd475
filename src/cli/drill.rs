//! `lifeboat drill`: its flags, and how its reports look.

mod evidence;
mod fleet;
mod live;
mod render;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::connect::{ConnectArgs, LookArgs};
use super::places::{Seek, Target};
use super::waiting::parse_poll;
use super::{Session, host, notify, now};
use crate::aws::Poll;
use crate::config::{DrillSettings, parse_duration};
use crate::drill::journal;
use crate::drill::outcome::Outcome;
use crate::drill::proof;
use crate::drill::removal;
use crate::drill::sweep::{self, SweepReport};
use crate::drill::verify_evidence;
use crate::drill::{
    self, Afterwards, BaselineChoice, Context, CopyLogin, DEFAULT_FROM, Event, Plan, Report, Request,
};
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::notify::{Nature, Subject};
use crate::output::Output;
use crate::rds::{Instance, InstanceId};
use crate::restore::{Wanted, isolation};
use crate::vault::Vault;
use crate::when::{self, format_time};

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
pub(super) struct RunArgs {
    /// Ids of the DB instances to drill, one after the other
    #[arg(required_unless_present_any = ["all", "tags"], value_name = "DB")]
    databases: Vec<InstanceId>,
    #[command(flatten)]
    fleet: fleet::FleetArgs,
    /// What to restore: latest-snapshot, latest-automated, latest-manual, latest (point in time), a snapshot id, or
    /// a time as in `restore point-in-time --at` [default: latest-snapshot]
    #[arg(long, value_name = "WHAT")]
    from: Option<String>,
    /// Class of the throwaway [default: db.t3.micro]
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// DB subnet group of the throwaway [default: the source's]
    #[arg(long, value_name = "NAME")]
    subnet_group: Option<String>,
    /// VPC security group of the throwaway; may be repeated [default: the source's]
    #[arg(long = "security-group", value_name = "ID")]
    security_groups: Vec<String>,
    /// DB parameter group of the throwaway [default: the source's]
    #[arg(long, value_name = "NAME")]
    parameter_group: Option<String>,
    /// Option group of the throwaway [default: the source's]
    #[arg(long, value_name = "NAME")]
    option_group: Option<String>,
    #[command(flatten)]
    connect: ConnectArgs,
    /// How to log in to the copy
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    login: LoginArg,
    /// Recovery time objective: from the request to the validated copy [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    rto: Option<Duration>,
    /// Recovery point objective: age of what was restored when the drill began [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    rpo: Option<Duration>,
    #[command(flatten)]
    look: LookArgs,
    /// What to compare the copy with: what was recorded with the backup if that is in the vault (best), only that
    /// (recorded), or the source as it is now (live)
    #[arg(long, value_enum, default_value_t, value_name = "WHICH", help_heading = "Comparing")]
    baseline: BaselineArg,
    /// How many percent of a table may stay unproven: rows written since the backup, each of which may stand for an older one
    /// that is missing from the copy. Above this, the table and the drill are unknown [default: 10]
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    tolerance: Option<f64>,
    /// Table that is regularly emptied and reloaded, such as `staging.*` or a queue. If none of its rows can be compared,
    /// the report says so, and the drill is not unknown for it. May be repeated
    #[arg(long, value_name = "TABLE", help_heading = "Comparing")]
    churning: Vec<String>,
    /// How often to poll AWS
    #[arg(long, value_name = "DURATION", value_parser = parse_poll, default_value = "15s")]
    poll: Duration,
    /// How long the copy may take to become available [default: 2h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// How long the removal of the throwaway may take
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30m")]
    teardown_timeout: Duration,
    /// Time after which anyone may remove the throwaway [default: 6h, or --wait and 4h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    expires_after: Option<Duration>,
    /// Keep the throwaway until it expires, so that you can inspect it; it is billed until then
    #[arg(long, conflicts_with_all = ["all", "tags"])]
    keep: bool,
    /// Run every check that needs no instance, show the plan, create nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum LoginArg {
    /// As the master user, with a new random password
    #[default]
    ResetPassword,
    /// With the credentials of the source
    SameCredentials,
    /// With an IAM token
    Iam,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum BaselineArg {
    /// Recorded with the backup, else live
    #[default]
    Best,
    /// Recorded with the backup
    Recorded,
    /// The source as it is now
    Live,
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
    pub(super) fn spoken(&self) -> Option<(&'static str, Nature)> {
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
        DrillCommand::Run(args) if args.fleet.is_fleet() => fleet::run(*args, session).await,
        DrillCommand::Run(args) => run_drills(*args, session).await,
        DrillCommand::List(args) => match args.period.period()? {
            Some(period) => {
                evidence::list(&args.databases, period, (args.vault_only, args.check), session).await
            }
            None if args.check => Err(Error::request("`--check` needs a period")
                .hint("For example `--last-months 12`, or `--last-months 1` in a job that runs monthly.")),
            None => list(&args, session),
        },
        DrillCommand::Report(args) => evidence::report(&args, session).await,
        DrillCommand::Annotate(args) => evidence::annotate(args, session),
        DrillCommand::VerifyEvidence(args) => evidence::verify(&args, session),
        DrillCommand::Show(args) => {
            if let Some(fleet) = fleet::find(session, &args.run)? {
                session.output.report(&fleet)?;
                return Ok(None);
            }
            show(&args.run, session)
        }
        DrillCommand::Sweep(args) => sweep_all(&args, session).await,
    }
}

async fn run_drills(args: RunArgs, session: &Session) -> Result<Option<Kind>> {
    let interrupt = Interrupt::listen()?;
    let mut named = BTreeSet::new();
    let once = args.databases.iter().filter(|id| named.insert(id.as_str()));
    let requests: Vec<Request> = once.map(|id| request(&args, id, session)).collect::<Result<Vec<_>>>()?;
    let vault = session.vault()?;
    let output = &session.output;
    let is_single = requests.len() == 1;
    let (mut plans, mut reports, mut worst) = (Vec::new(), Vec::new(), None);
    for request in requests {
        match run_drill(request, &args, session, &vault, &interrupt).await {
            Ok(Drilled::Planned(plan)) => plans.push(*plan),
            Ok(Drilled::Run(report)) => {
                worst = Kind::worse(worst, report.kind());
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
        (true, false) => output.report(&Plans::new(plans)),
        (false, true) => reports.first().map_or(Ok(()), |report| output.conclude(report, worst)),
        (false, false) => output.conclude(&Drills::new(reports), worst),
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
            announce(output, plan);
        }
        live.tell(&event);
    };
    let cx = Context { aws: &aws, vault, interrupt, tell: &tell, clock: now, host: host(), stop: &|| None };
    let connect =
        async |source: &Instance| args.connect.server(session, &aws, source, "lifeboat drill").await;
    let drilled = match drill::plan_drill(request, connect, &cx).await {
        Ok(plan) if args.dry_run => Ok(Drilled::Planned(Box::new(PlanReport::new(&plan, aws.region())))),
        Ok(plan) => drill::run_alone(plan, &cx).await.map(|report| Drilled::Run(Box::new(report))),
        Err(error) => Err(error),
    };
    let news = match &drilled {
        Ok(Drilled::Planned(_)) => return drilled,
        Ok(Drilled::Run(report)) => {
            output.settle();
            tell_left_behind(output, report);
            notify::of_drill(report)
        }
        Err(error) => notify::of_error(Subject::Database(id.to_string()), error),
    };
    session.say(notify::at(news, &aws.place()));
    drilled
}

impl RunArgs {
    /// The settings that the flags give.
    fn settings(&self) -> DrillSettings {
        let given = |flags: &[String]| (!flags.is_empty()).then(|| flags.to_vec());
        DrillSettings {
            from: self.from.clone(),
            class: self.class.clone(),
            subnet_group: self.subnet_group.clone(),
            security_groups: given(&self.security_groups),
            parameter_group: self.parameter_group.clone(),
            option_group: self.option_group.clone(),
            rto: self.rto,
            rpo: self.rpo,
            wait: self.wait,
            databases: given(&self.connect.dbnames),
            tolerance_percent: self.tolerance,
            churning: given(&self.churning),
            ..DrillSettings::default()
        }
    }
}

fn request(args: &RunArgs, id: &InstanceId, session: &Session) -> Result<Request> {
    let settings = args.settings().over(&session.config.drill_of(id.as_str()));
    let wanted = match settings.from.as_deref().unwrap_or(DEFAULT_FROM) {
        time if when::looks_like_a_time(time) => Wanted::Time(session.read_time(time)?),
        other => Wanted::parse(other, now(), &chrono::Local)?,
    };
    let look = args.look.look(settings.depth.as_deref().unwrap_or_default())?;
    let by_settings = Request::new(id.clone(), wanted, settings, look);
    Ok(Request {
        login: match args.login {
            LoginArg::ResetPassword => CopyLogin::ResetPassword,
            LoginArg::SameCredentials => CopyLogin::SameCredentials,
            LoginArg::Iam => CopyLogin::Iam,
        },
        baseline: match args.baseline {
            BaselineArg::Best => BaselineChoice::Best,
            BaselineArg::Recorded => BaselineChoice::Recorded,
            BaselineArg::Live => BaselineChoice::Live,
        },
        checks: session.config.checks_of(id.as_str()).to_vec(),
        freshness: session.config.freshness_of(id.as_str()).cloned(),
        poll: args.poll,
        teardown_timeout: args.teardown_timeout,
        expires_after: args.expires_after.unwrap_or(by_settings.expires_after),
        afterwards: if args.keep { Afterwards::Keep } else { Afterwards::Remove },
        ..by_settings
    })
}

/// A drill by its run, the newest of a database, or the newest of all.
fn show(which: &str, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let report = journal::find_record(&vault, which)?;
    let outcome = if verify_evidence::is_sound(&vault, &report.source.id, &report.run)? {
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

fn list(args: &ListArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let records = proof::list(&vault, &args.databases)?;
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
        .map(|report| Ok((report, records.outcome(&vault, report)?)))
        .collect::<Result<Vec<_>>>()?;
    session.output.report(&History::new(&drills))?;
    Ok(None)
}

async fn sweep_all(args: &SweepArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let targets = session.targets(&[], Seek::ToChange).await?;
    let plans = targets
        .each(session, async |Target { aws, .. }| {
            let plan = sweep::plan_sweep(&aws, &vault, aws.now(now())).await?;
            Ok((aws, plan))
        })
        .await?;
    let kind = plans.kind();
    let preview =
        SweepReport::merge(plans.done.iter().map(|(aws, plan)| plan.preview(aws)), &plans.unreached);
    if args.dry_run {
        say_left_behind(&session.output, &preview);
        session.output.report(&preview)?;
        return Ok(preview.exit_kind().or(kind));
    }
    for swept in preview.instances.iter().filter(|swept| swept.action == sweep::Action::WouldRemove) {
        session.output.say(format!("removing `{}`: {}", swept.id, swept.reason));
    }
    let live = LiveDrill::new(&session.output, Duration::ZERO);
    let poll = Poll { every: args.poll, give_up_after: args.wait };
    let (tell, vault) = (|event: Event<'_>| live.tell(&event), &vault);
    let sweeps = plans
        .done
        .into_iter()
        .map(|(aws, plan)| async move { sweep::apply_sweep(plan, &aws, vault, poll, &tell).await });
    let report = SweepReport::merge(futures::future::join_all(sweeps).await, &plans.unreached);
    say_left_behind(&session.output, &report);
    let kind = report.exit_kind().or(kind);
    session.output.conclude(&report, kind)?;
    Ok(kind)
}

/// What costs money and is left to a person is said on stderr, with the command that removes it.
fn say_left_behind(output: &Output, report: &SweepReport) {
    for swept in report.instances.iter().filter(|swept| swept.left_behind) {
        output.warn(cost(&swept.id, &swept.place.region, &swept.class));
        output.warn(&swept.reason);
        if let Some(command) = &swept.remove_with {
            output.warn(format!("check what it is, then remove it with `{command}`"));
        }
    }
}

fn announce(output: &Output, plan: &Plan) {
    output.say(format!(
        "drill {} of `{}`: restoring {} to `{}` ({})",
        plan.run,
        plan.source.id,
        render::moment_of(plan),
        plan.throwaway,
        plan.request.class
    ));
}

/// What costs money is said on stderr, whatever else is printed.
fn tell_left_behind(output: &Output, report: &Report) {
    let throwaway = &report.throwaway;
    if let Some(isolation) = &report.isolation
        && let (Some(why), Some(group)) = (&isolation.left_behind, &isolation.parameter_group)
    {
        let command = isolation::remove_command(group, &report.source.region);
        output.warn(format!("{why}; remove it with `lifeboat drill sweep`, or `{command}`"));
    }
    if let Some(reason) = &throwaway.left_behind {
        output.warn(cost(throwaway.current_name(), &report.source.region, &throwaway.class));
        output.warn(reason);
        let command = InstanceId::parse(throwaway.current_name())
            .map(|id| removal::delete_command(&id, &report.source.region))
            .unwrap_or_default();
        output.warn(format!("remove it with `lifeboat drill sweep`, or `{command}`"));
    } else if report.throwaway.kept {
        output.warn(format!(
            "`{}` was kept and costs an hourly rate ({}) until it is removed; it expires at {}",
            report.throwaway.id,
            report.throwaway.class,
            format_time(report.throwaway.expires_at)
        ));
    }
}

fn cost(id: &str, region: &str, class: &str) -> String {
    format!("throwaway `{id}` was left behind in {region} and is billed by the hour as {class}")
}

fn parse_percent(text: &str) -> std::result::Result<f64, String> {
    match text.trim_end_matches('%').trim().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("expected a number from 0 to 100".to_owned()),
    }
}
