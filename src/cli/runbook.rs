//! `lifeboat runbook`: its flags, and how its reports look.

mod args;
mod by_hand;
mod render;
mod watch;

use super::{Session, host_name, now, own_calls};
use crate::aws::Aws;
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::notify::{Announcement, Subject};
use crate::rds::RunId;
use crate::runbook::actor::{identify_actor, list_variables};
use crate::runbook::gate::{self, Gate, Reply};
use crate::runbook::journal::{self, Actor};
use crate::runbook::resumption;
use crate::runbook::run::{self as engine, Context, Outcome};
use crate::runbook::state::RunHistory;
use crate::runbook::{self, Mode, Runbook, Severity, lint, parameters, plan, record, values};
use crate::vault::Vault;
use crate::when;
use crate::words::Tone;

pub(super) use args::RunbookCommand;
use args::{ApproveArgs, CheckArgs, GoArgs, ResumeArgs, RunArgs, ShowArgs, UndoArgs, ValueArgs};
use render::{Checked, Checks, Listing, Runs, Shown};
use watch::Watch;

impl RunbookCommand {
    /// What those who listen know the command as.
    pub(super) fn notified_as(&self) -> Option<&'static str> {
        match self {
            RunbookCommand::Run(args) if !args.dry_run => Some("runbook run"),
            RunbookCommand::Resume(_) => Some("runbook run"),
            _ => None,
        }
    }
}

pub(super) async fn run(command: RunbookCommand, session: &Session) -> Result<Option<Kind>> {
    match command {
        RunbookCommand::List => session.output.report(&Listing::new()).map(|()| None),
        RunbookCommand::Show(args) => show(&args, session),
        RunbookCommand::Check(args) => check(&args, session),
        RunbookCommand::Plan(args) => {
            show_plan(&args.runbook, &args.values, mode_of(args.rehearse), session).await
        }
        RunbookCommand::Run(args) => begin(&args, session).await,
        RunbookCommand::Resume(args) => resume(&args, session).await,
        RunbookCommand::Approve(args) => approve(&args, session).await,
        RunbookCommand::Undo(args) => undo(&args, session).await,
        RunbookCommand::Runs => runs(session),
    }
}

fn mode_of(rehearse: bool) -> Mode {
    if rehearse { Mode::Rehearse } else { Mode::Real }
}

fn show(args: &ShowArgs, session: &Session) -> Result<Option<Kind>> {
    if RunId::parse(&args.what).is_some() {
        let vault = session.vault_to_read()?;
        session.output.report(&record::read_report(&vault, &args.what)?)?;
        return Ok(None);
    }
    let runbook = runbook::load_runbook(&args.what)?;
    if args.by_hand {
        session.output.report(&by_hand::ByHand::of(&runbook::refuse_malformed(runbook)?))?;
        return Ok(None);
    }
    session.output.report(&Shown::of(&runbook))?;
    Ok(None)
}

fn check(args: &CheckArgs, session: &Session) -> Result<Option<Kind>> {
    let names: Vec<String> = match args.runbooks.is_empty() {
        true => runbook::shipped::names().map(str::to_owned).collect(),
        false => args.runbooks.clone(),
    };
    let mut checks = Vec::new();
    for name in &names {
        let runbook = runbook::load_runbook(name)?;
        let faults = lint::lint_runbook(
            &runbook,
            now(),
            &|words| own_calls::understands(&session.command_line, words),
            &|words| own_calls::only_reads(&session.command_line, words),
        );
        checks.push(Checked::new(name, &runbook, faults));
    }
    let worst = checks.iter().flat_map(|checked| &checked.faults).map(|fault| fault.severity).min();
    session.output.report(&Checks { schema: "lifeboat.runbook.check/1", runbooks: checks })?;
    Ok(match worst {
        Some(Severity::Malformed) => Some(Kind::Request),
        Some(Severity::Shortfall) => Some(Kind::No),
        Some(Severity::Note) | None => None,
    })
}

/// AWS where the runbook needs it, and who we are.
async fn actor_of(session: &Session, runbook: &Runbook) -> Result<(Option<Aws>, Actor)> {
    let aws = if runbook.uses_aws() { Some(session.aws().await?) } else { None };
    let actor = identify_actor(aws.as_ref(), host_name()).await?;
    Ok((aws, actor))
}

fn read_local_time(text: &str) -> Result<chrono::DateTime<chrono::Utc>> {
    when::parse_time(text, now(), &chrono::Local)
}

/// What was said, and on a terminal what is missing, which a person is asked for until it can be used.
async fn ask_for_missing(
    runbook: &Runbook,
    set: &[(String, String)],
    mode: Mode,
    session: &Session,
) -> Result<Vec<(String, String)>> {
    let mut said = set.to_vec();
    if !super::terminal::is_terminal() {
        return Ok(said);
    }
    for parameter in parameters::list_missing(&runbook.front, set, mode) {
        if parameter.secret {
            continue;
        }
        let help = parameter.help.as_ref().map(|help| format!(": {help}")).unwrap_or_default();
        let example = parameter.example.as_ref().map(|example| format!(" (such as {example})"));
        let name = session.output.toned(Tone::Strong, &parameter.name);
        session.output.ask(format!("{name}{help}{}", example.unwrap_or_default()));
        loop {
            let Some(typed) = super::terminal::read_line("> ").await? else { return Ok(said) };
            match parameters::read_value(parameter, typed.trim().to_owned(), &read_local_time) {
                Ok(_) => {
                    said.push((parameter.name.clone(), typed.trim().to_owned()));
                    break;
                }
                Err(error) => {
                    let hints: String = error.hints().iter().map(|hint| format!(" {hint}")).collect();
                    session.output.ask(format!("{}.{hints}", error.chain()));
                }
            }
        }
    }
    Ok(said)
}

async fn show_plan(name: &str, args: &ValueArgs, mode: Mode, session: &Session) -> Result<Option<Kind>> {
    let runbook = runbook::load_valid_runbook(name)?;
    let interrupt = Interrupt::listen()?;
    let said = ask_for_missing(&runbook, &args.set, mode, session).await?;
    let read_time = |text: &str| session.read_time(text);
    let values = parameters::resolve_parameters(&runbook.front, &said, mode, &RunId::new(now()), &read_time)?;
    let (aws, by) = actor_of(session, &runbook).await?;
    let began = std::time::Instant::now();
    let tell = |step: &str| session.output.show_live(format!("looking: {step}"), began);
    let variables = list_variables(&session.access, &session.vault, aws.as_ref());
    let to = plan::PlanContext {
        aws: aws.as_ref(),
        interrupt: &interrupt,
        variables: &variables,
        by,
        reads_only: &|words| own_calls::only_reads(&session.command_line, words),
        now: now(),
        tell: &tell,
    };
    let plan = plan::plan_run(&runbook, mode, values, &to).await?;
    session.output.settle();
    session.output.report(&plan)?;
    Ok((!plan.findings.is_empty() || !plan.doubts.is_empty()).then_some(Kind::No))
}

async fn begin(args: &RunArgs, session: &Session) -> Result<Option<Kind>> {
    let mode = mode_of(args.rehearse);
    if args.dry_run {
        return show_plan(&args.runbook, &args.values, mode, session).await;
    }
    let runbook = runbook::load_valid_runbook(&args.runbook)?;
    let go = Go { set: &args.values.set, from: args.from.as_deref(), ..Go::new(&args.go) };
    if let Some(from) = go.from {
        let run = resumption::find_run_to_resume(&session.vault_to_read()?, &runbook, from, mode)?;
        session.output.say(format!("resuming run {run}"));
        return resume_run(&run, &go, session).await;
    }
    let run = RunId::new(now());
    let said = ask_for_missing(&runbook, go.set, mode, session).await?;
    let values =
        parameters::resolve_parameters(&runbook.front, &said, mode, &run, &|text| session.read_time(text))?;
    go.refuse_unknown_steps(&runbook)?;
    warn_of_shortfalls(&runbook, session);
    act_on_run(&runbook, session.vault()?, &go, session, async |cx, watch| {
        watch.begin(run.as_str(), mode, &cx.by);
        engine::begin_run(&runbook, &run, mode, values, cx).await
    })
    .await
}

/// Gives a run what it works with here, and reports how it ends.
async fn act_on_run(
    runbook: &Runbook,
    vault: Vault,
    go: &Go<'_>,
    session: &Session,
    act: impl AsyncFnOnce(&Context<'_>, &Watch<'_>) -> Result<Outcome>,
) -> Result<Option<Kind>> {
    let interrupt = Interrupt::listen()?;
    let (aws, by) = actor_of(session, runbook).await?;
    let watch = Watch::new(&session.output, runbook);
    let cx = Context {
        vault: &vault,
        aws: aws.as_ref(),
        interrupt: &interrupt,
        tell: &|progress| watch.tell(&progress),
        clock: now,
        by,
        ask: &|gate| watch.ask_later(gate),
        answers: &go.go.answers,
        done: go.done,
        redo: go.redo,
        variables: &list_variables(&session.access, &session.vault, aws.as_ref()),
        poll: go.go.poll,
        without_preflight: go.go.without_preflight,
        reads_only: &|words| own_calls::only_reads(&session.command_line, words),
    };
    report_outcome(act(&cx, &watch).await?, session)
}

/// What is known to be wrong with it is said, and does not keep anybody at 3 a.m. from running it.
fn warn_of_shortfalls(runbook: &Runbook, session: &Session) {
    let faults = lint::lint_runbook(
        runbook,
        now(),
        &|words| own_calls::understands(&session.command_line, words),
        &|words| own_calls::only_reads(&session.command_line, words),
    );
    let shortfalls: Vec<_> = faults.iter().filter(|fault| fault.severity == Severity::Shortfall).collect();
    for fault in shortfalls.iter().take(3) {
        session.output.warn(format!("{}:{}: {}", runbook.origin.display_path(), fault.at, fault.message));
    }
    if shortfalls.len() > 3 {
        session.output.warn(format!(
            "and {} more: `lifeboat runbook check {}`",
            shortfalls.len() - 3,
            runbook.origin.display_path()
        ));
    }
}

struct Go<'a> {
    set: &'a [(String, String)],
    from: Option<&'a str>,
    accepted: Option<&'a str>,
    done: &'a [String],
    redo: &'a [String],
    go: &'a GoArgs,
}

impl<'a> Go<'a> {
    fn new(go: &'a GoArgs) -> Self {
        Go { set: &[], from: None, accepted: None, done: &[], redo: &[], go }
    }

    fn refuse_unknown_steps(&self, runbook: &Runbook) -> Result<()> {
        let answered = self.go.answers.iter().map(|(step, _)| step);
        runbook::refuse_unknown_steps(runbook, self.done.iter().chain(self.redo).chain(answered))
    }
}

async fn resume(args: &ResumeArgs, session: &Session) -> Result<Option<Kind>> {
    let go = Go {
        set: &args.values.set,
        from: args.from.as_deref(),
        accepted: args.accept_changed.as_deref(),
        done: &args.done,
        redo: &args.redo,
        go: &args.go,
    };
    resume_run(&args.run, &go, session).await
}

async fn resume_run(run: &str, go: &Go<'_>, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let (runbook, reopened) = resumption::resume(&vault, run, go.from, go.accepted)?;
    go.refuse_unknown_steps(&runbook)?;
    let values = resumption::restore_values(&runbook, &reopened.story, go.set, &read_local_time)?;
    act_on_run(&runbook, vault, go, session, async |cx, watch| {
        watch.resume(&reopened.story, &cx.by);
        engine::resume_run(&runbook, reopened, values, go.from, cx).await
    })
    .await
}

async fn undo(args: &UndoArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let (runbook, reopened) = resumption::resume_to_undo(&vault, &args.run)?;
    let go = Go::new(&args.go);
    go.refuse_unknown_steps(&runbook)?;
    let values = resumption::restore_values(&runbook, &reopened.story, &args.values.set, &read_local_time)?;
    let undoing = runbook::Undoing { keep: args.keep.as_deref(), is_dry: args.dry_run };
    act_on_run(&runbook, vault, &go, session, async |cx, _| {
        runbook::undo_run(&runbook, reopened, values, undoing, cx).await
    })
    .await
}

fn report_outcome(outcome: Outcome, session: &Session) -> Result<Option<Kind>> {
    session.output.settle();
    session.output.report(&outcome.report)?;
    let (subject, evidence) =
        (Subject::Runbook(outcome.report.runbook.clone()), Some(outcome.report.evidence.html.clone()));
    let ended = outcome.error.map_or(Ok(None), Err);
    session.announce(Announcement { evidence, ..Announcement::of_result(subject, &ended) });
    ended
}

async fn approve(args: &ApproveArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let story = RunHistory::replay(&journal::read_journal(&vault, &args.run)?.lines)?;
    let runbook = record::load_copy(&vault, &args.run, &story)?;
    let mut values = values::Values::default();
    for (name, value) in &story.values {
        values.set(name, value, false);
    }
    let (aws, by) = actor_of(session, &runbook).await?;
    let request = gate::prepare_approval(&vault, &args.run, &runbook, &values, &by)?;
    let watch = Watch::new(&session.output, &runbook);
    let typed = match &args.confirm {
        Some(typed) => typed.clone(),
        None => {
            let gate = Gate { role: "confirm", ..request.gate.clone() };
            match gate.ask_until_right(&|gate| watch.ask_later(gate)).await? {
                Reply::Typed(typed) => typed,
                _ => {
                    let what = format!("`{}` was not approved: nobody answered", request.gate.step);
                    let answer = request.gate.answer.as_deref().unwrap_or_default();
                    return Err(Error::new(Kind::Guard, what).hint(format!("Pass `--confirm {answer}`.")));
                }
            }
        }
    };
    let proof = match &aws {
        Some(aws) => Some(aws.prove_identity(&request.purpose, now()).await?),
        None => None,
    };
    let approval = gate::approve_step(request, &vault, &typed, by, proof, now())?;
    session.output.report(&render::Approved::of(&args.run, approval))?;
    Ok(None)
}

fn runs(session: &Session) -> Result<Option<Kind>> {
    let (reports, unreadable) = record::list_reports(&session.vault_to_read()?)?;
    for what in unreadable {
        session.output.warn(what);
    }
    session.output.report(&Runs { schema: "lifeboat.runs/1", runs: reports })?;
    Ok(None)
}
