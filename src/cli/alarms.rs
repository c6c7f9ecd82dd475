//! `lifeboat alarms`: its flags, and how its reports look.

mod render;

use std::cell::Cell;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::confirm::Act;
use super::places::{Looked, Seek, Target};
use super::{Session, now};
use crate::alarms::{self, Audit, Plan, Report, Scope};
use crate::aws::Aws;
use crate::backup::schedule::quote_for_shell;
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::rds::{InstanceId, Place};
use crate::web;
use crate::when::parse_duration;

use render::AlarmList;

/// Without a terminal, progress is said this often.
const SAY_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Subcommand)]
pub(super) enum AlarmsCommand {
    /// Show what differs between the alarms that databases should have and those they have: field by field, with
    /// where each threshold comes from and what it all costs. Exit code 1 if anything differs.
    Plan(ScopeArgs),
    /// Make the alarms and event subscriptions what `plan` shows. Running it again changes nothing; after an
    /// interruption it goes on where it stopped.
    Apply(ApplyArgs),
    /// List the alarms that lifeboat made, with their states.
    List(ListArgs),
    /// Remove the alarms and event subscriptions that lifeboat made: name and tag must both say so.
    Remove(RemoveArgs),
    /// Look at all alarms and event subscriptions, whoever made them, and say which can never fire or never
    /// arrive, and which databases nobody watches. Exit code 1 if there is any such.
    Audit,
    /// Set an alarm off and follow it: CloudWatch's history says whether its actions succeeded, and an inbox whether the
    /// message arrived. Whoever is on call will hear of it. The state is put back.
    Test(TestArgs),
}

#[derive(Args, Debug)]
pub(super) struct ScopeArgs {
    /// Ids of the DB instances [default: those of lifeboat.toml]
    #[arg(value_name = "DB")]
    databases: Vec<InstanceId>,
    /// All DB instances of the Region, or of all accounts and Regions of lifeboat.toml
    #[arg(long, conflicts_with = "databases")]
    all: bool,
    /// SNS topic that is told, by name or ARN; may be repeated [default: `topic` in lifeboat.toml]
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
}

impl ScopeArgs {
    /// The command that does what a plan with these flags shows.
    fn apply_command(&self) -> String {
        let ids = self.databases.iter().map(|id| id.as_str().to_owned());
        let topics = self.topics.iter().map(|topic| format!("--topic {}", quote_for_shell(topic)));
        let all = self.all.then(|| "--all".to_owned());
        let words: Vec<String> = ids.chain(all).chain(topics).collect();
        ["lifeboat alarms apply".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" ")
    }
}

#[derive(Args, Debug)]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Show what would be done, do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Ids of the DB instances [default: all]
    #[arg(value_name = "DB")]
    databases: Vec<InstanceId>,
}

#[derive(Args, Debug)]
pub(super) struct RemoveArgs {
    /// Ids of the DB instances
    #[arg(value_name = "DB", required_unless_present = "all")]
    databases: Vec<InstanceId>,
    /// All that lifeboat made in the Region, of databases that are gone too
    #[arg(long, conflicts_with = "databases")]
    all: bool,
    /// Says that you mean it: the id of the database, several joined by commas, or the Region with --all
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    /// Show what would be removed, remove nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub(super) struct TestArgs {
    /// Name of the alarm, anyone's
    #[arg(value_name = "ALARM")]
    alarm: String,
    /// A URL that shows what has arrived at a subscriber: the page of a webhook's inbox, a queue of the local stack
    #[arg(long, value_name = "URL")]
    inbox: Option<String>,
    /// How long to wait until everything is known
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "2m")]
    wait: Duration,
}

pub(super) async fn run(command: AlarmsCommand, session: &Session) -> Result<Option<Kind>> {
    match command {
        AlarmsCommand::Plan(args) => plan(&args, session).await,
        AlarmsCommand::Apply(args) => apply(&args, session).await,
        AlarmsCommand::List(args) => list(&args, session).await,
        AlarmsCommand::Remove(args) => remove(args, session).await,
        AlarmsCommand::Audit => audit(session).await,
        AlarmsCommand::Test(args) => test(args, session).await,
    }
}

/// Those that are named on the command line, or in lifeboat.toml; none means all.
fn list_ids(args: &ScopeArgs, session: &Session) -> Result<Vec<InstanceId>> {
    if args.all {
        return Ok(Vec::new());
    }
    let ids = if args.databases.is_empty() {
        session.config.database_names().map(|id| InstanceId::parse(id)).collect::<Result<Vec<_>>>()?
    } else {
        args.databases.clone()
    };
    if ids.is_empty() {
        return Err(Error::request("no database is named")
            .hint("Name DB instances, pass `--all`, or list them in lifeboat.toml as [databases.NAME]."));
    }
    Ok(ids)
}

fn scope(only: Vec<InstanceId>) -> Scope {
    if only.is_empty() { Scope::All } else { Scope::Some(only) }
}

/// What is to be done in each place. A wrong configuration is said before AWS is asked anything.
async fn plans(args: &ScopeArgs, session: &Session, seek: Seek) -> Result<Looked<(Aws, Plan)>> {
    let ids = list_ids(args, session)?;
    let targets = session.targets(&ids, seek).await?;
    targets
        .each(session, async |Target { aws, only }| {
            let plan =
                alarms::plan_alarms(&aws, &session.config.alarms, &scope(only), &args.topics, now()).await?;
            Ok((aws, plan))
        })
        .await
}

async fn plan(args: &ScopeArgs, session: &Session) -> Result<Option<Kind>> {
    let looked = plans(args, session, Seek::ToRead).await?;
    let unknown = looked.kind();
    let plans = looked.done.into_iter().map(|(_, plan)| plan).collect();
    let mut plan = Plan::merge(plans, looked.unreached).ok_or_else(no_region_error)?;
    let differs = plan.pending() > 0;
    plan.apply_command = differs.then(|| args.apply_command());
    session.output.report(&plan)?;
    Ok(if differs { Some(Kind::No) } else { unknown })
}

fn no_region_error() -> Error {
    Error::new(Kind::Bug, "no account and Region was checked")
}

async fn apply(args: &ApplyArgs, session: &Session) -> Result<Option<Kind>> {
    if args.dry_run {
        // What it would do is no finding: the exit code is that of a success.
        return plan(&args.scope, session).await.map(|kind| kind.filter(|kind| *kind != Kind::No));
    }
    let interrupt = Interrupt::listen()?;
    let looked = tokio::select! {
        kind = interrupt.wait(1) => return Err(Error::new(kind, "interrupted before anything was changed")),
        looked = plans(&args.scope, session, Seek::ToChange) => looked?,
    };
    let mut reports = Vec::new();
    for (aws, plan) in looked.done {
        let progress = Progress::new(&session.output);
        let tell = |done: usize, total: usize, now: &str| progress.tell(done, total, now);
        reports.push(alarms::apply_plan(&aws, plan, &interrupt, &tell).await);
        session.output.settle();
    }
    let report = Report::merge(reports, looked.unreached).ok_or_else(no_region_error)?;
    session.output.conclude(&report, alarms::exit_kind(&report))?;
    if let Some(kind) = interrupt.first().filter(|_| report.interrupted) {
        session.output.say(format!("interrupted with {} left to do: run it again to go on", report.left));
        return Ok(Some(kind));
    }
    for failed in &report.failed {
        session.output.warn(format!("`{}` was not set: {}", failed.alarm, failed.error));
    }
    Ok(alarms::exit_kind(&report))
}

async fn list(args: &ListArgs, session: &Session) -> Result<Option<Kind>> {
    let targets = session.targets(&args.databases, Seek::ToRead).await?;
    let looked = targets
        .each(session, async |Target { aws, only }| {
            Ok((alarms::list_alarms(&aws, &scope(only)).await?, aws.location()))
        })
        .await?;
    let unknown = looked.kind();
    let (listed, places): (Vec<_>, Vec<Place>) = looked.done.into_iter().unzip();
    let mut listed: Vec<_> = listed.into_iter().flatten().collect();
    listed.sort_by(alarms::most_urgent_first);
    session.output.report(&AlarmList::new(listed, places, looked.unreached))?;
    Ok(unknown)
}

async fn audit(session: &Session) -> Result<Option<Kind>> {
    let targets = session.targets(&[], Seek::ToRead).await?;
    let looked =
        targets.each(session, async |Target { aws, .. }| alarms::audit_alarms(&aws, now()).await).await?;
    let unknown = looked.kind();
    let audit = Audit::merge(looked.done, looked.unreached).ok_or_else(no_region_error)?;
    let is_sound = audit.faulty().next().is_none() && audit.unwatched.is_empty();
    let kind = if is_sound { unknown } else { Some(Kind::No) };
    session.output.conclude(&audit, kind)?;
    Ok(kind)
}

/// A live line on a terminal; otherwise a line now and then, when it takes long.
struct Progress<'a> {
    output: &'a Output,
    began: Instant,
    said: Mutex<Cell<Instant>>,
}

impl<'a> Progress<'a> {
    fn new(output: &'a Output) -> Self {
        let began = Instant::now();
        Progress { output, began, said: Mutex::new(Cell::new(began)) }
    }

    fn tell(&self, done: usize, total: usize, now: &str) {
        if now.is_empty() {
            return;
        }
        self.output.show_live(format!("{done} of {total}: {now}"), self.began);
        let Ok(said) = self.said.lock() else { return };
        if !self.output.is_live() && said.get().elapsed() >= SAY_EVERY {
            said.set(Instant::now());
            self.output.say(format!("{done} of {total} set, three a second is what CloudWatch takes"));
        }
    }
}

async fn remove(args: RemoveArgs, session: &Session) -> Result<Option<Kind>> {
    // In one place at a time: what is confirmed is its Region, or databases in it.
    let aws = session.aws().await?;
    let ids: Vec<&str> = args.databases.iter().map(InstanceId::as_str).collect();
    let name = if args.all { aws.region().to_owned() } else { ids.join(",") };
    let scope = if args.all { Scope::All } else { Scope::Some(args.databases.clone()) };
    let mut removal = alarms::plan_removal(&aws, &scope).await?;
    if args.dry_run {
        removal.dry_run = true;
        session.output.report(&removal)?;
        return Ok(None);
    }
    let count = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let act = Act {
        name: name.clone(),
        sentence: format!("this removes every alarm that lifeboat made for `{name}`"),
        facts: vec![
            ("Region", aws.region().to_owned()),
            ("alarms", removal.alarms.join(", ")),
            (
                "events",
                count(removal.event_subscriptions.len() + removal.event_sources.len(), "event subscription"),
            ),
        ],
    };
    act.confirm(args.confirm.as_deref(), session)?;
    let removal = alarms::remove(&aws, removal).await?;
    session.output.conclude(&removal, None)?;
    Ok(None)
}

async fn test(args: TestArgs, session: &Session) -> Result<Option<Kind>> {
    args.inbox.as_deref().map_or(Ok(()), web::refuse_bad_url)?;
    let interrupt = Interrupt::listen()?;
    let aws = session.aws().await?;
    let mark = format!("{:08x}", rand::random::<u32>());
    let test = alarms::Test { alarm: args.alarm, mark, inbox: args.inbox, patience: args.wait };
    session.output.show_live(format!("testing `{}`", test.alarm), Instant::now());
    let proof = alarms::test_alarm(&aws, &test, now(), &interrupt).await;
    session.output.settle();
    let proof = proof?;
    if !proof.put_back {
        session.output.warn(format!(
            "the state of `{}` was not put back to {}: `aws cloudwatch set-alarm-state` does",
            proof.alarm, proof.state
        ));
    }
    session.output.conclude(&proof, proof.kind())?;
    Ok(proof.kind())
}
