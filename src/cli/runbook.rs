//! `lifeboat runbook`: its flags, and how its reports look.

mod args;
mod by_hand;
mod render;
mod watch;

use super::{Session, notify, now, own_calls};
use crate::aws::Aws;
use crate::error::{Error, Kind, Result};
use crate::fleet::RunId;
use crate::interrupt::Interrupt;
use crate::notify::Subject;
use crate::runbook::gate::{self, Gate, Reply};
use crate::runbook::journal::{self, Actor, Journal};
use crate::runbook::run::{self as engine, Outcome, Surroundings};
use crate::runbook::state::{StepState, Story};
use crate::runbook::{self, Mode, Runbook, Severity, Step, lint, parameters, plan, record, values};
use crate::when;
use crate::words::Tone;

pub(super) use args::RunbookCommand;
use args::{ApproveArgs, CheckArgs, GoArgs, ResumeArgs, RunArgs, ShowArgs, UndoArgs, ValueArgs};
use render::{Checked, Checks, Listing, Runs, Shown};
use watch::Watch;

impl RunbookCommand {
    /// What those who listen know the command as.
    pub(super) fn spoken(&self) -> Option<&'static str> {
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
            plan_of(&args.runbook, &args.values, mode(args.rehearse), session).await
        }
        RunbookCommand::Run(args) => begin(&args, session).await,
        RunbookCommand::Resume(args) => resume(&args, session).await,
        RunbookCommand::Approve(args) => approve(&args, session).await,
        RunbookCommand::Undo(args) => undo(&args, session).await,
        RunbookCommand::Runs => runs(session),
    }
}

fn mode(rehearse: bool) -> Mode {
    if rehearse { Mode::Rehearse } else { Mode::Real }
}

fn show(args: &ShowArgs, session: &Session) -> Result<Option<Kind>> {
    if RunId::parse(&args.what).is_some() {
        let vault = session.vault_to_read()?;
        session.output.report(&record::of(&vault, &args.what)?)?;
        return Ok(None);
    }
    let runbook = runbook::load(&args.what)?;
    if args.by_hand {
        session.output.report(&by_hand::ByHand::of(&runbook::sound(runbook)?))?;
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
        let runbook = runbook::load(name)?;
        let faults = lint::check(
            &runbook,
            now(),
            &|words| own_calls::understands(&session.command_line, words),
            &|words| own_calls::only_reads(&session.command_line, words),
        );
        checks.push(Checked::new(name, &runbook, faults));
    }
    let worst = checks.iter().flat_map(|checked| &checked.faults).map(|fault| fault.severity).min();
    session.output.report(&Checks::new(checks))?;
    Ok(match worst {
        Some(Severity::Malformed) => Some(Kind::Request),
        Some(Severity::Shortfall) => Some(Kind::No),
        Some(Severity::Note) | None => None,
    })
}

/// What commands of steps find in their environment, so that they speak to where we speak to.
fn variables(session: &Session, aws: Option<&Aws>) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut set = |name: &str, value: String| variables.push((name.to_owned(), value));
    if let Some(aws) = aws {
        set("AWS_REGION", aws.region().to_owned());
        set("AWS_DEFAULT_REGION", aws.region().to_owned());
    }
    if let Some(profile) = &session.access.profile {
        set("AWS_PROFILE", profile.clone());
    }
    if let Some(url) = &session.access.endpoint_url {
        set("AWS_ENDPOINT_URL", url.clone());
    }
    let vault = std::path::absolute(&session.vault).unwrap_or_else(|_| session.vault.clone().into());
    set("BACKUP_DIR", vault.display().to_string());
    variables
}

/// The name of the user that this process runs as; what `USER` says is anybody's to choose.
fn user_of_process() -> String {
    let uid = rustix::process::getuid().as_raw();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of_uid = |line: &&str| line.split(':').nth(2) == Some(uid.to_string().as_str());
    let name = passwd.lines().find(of_uid).and_then(|line| line.split(':').next());
    name.map_or_else(|| format!("uid-{uid}"), str::to_owned)
}

/// AWS where the runbook needs it, and who we are.
async fn who(session: &Session, runbook: &Runbook) -> Result<(Option<Aws>, Actor)> {
    let host = super::host();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    if !runbook.uses_aws() {
        let identity = format!("{}@{host}", user_of_process());
        return Ok((None, Actor { identity, account: None, region: None, host, version }));
    }
    let aws = session.aws().await?;
    let arn = aws.caller().await?;
    let account = crate::fleet::account_of(&arn).map(str::to_owned);
    let region = Some(aws.region().to_owned());
    Ok((Some(aws), Actor { identity: arn, account, region, host, version }))
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
    let read_time = |text: &str| when::parse_time(text, now(), &chrono::Local);
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
            match parameters::read(parameter, typed.trim().to_owned(), &read_time) {
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

async fn plan_of(name: &str, args: &ValueArgs, mode: Mode, session: &Session) -> Result<Option<Kind>> {
    let runbook = runbook::load_sound(name)?;
    let interrupt = Interrupt::listen()?;
    let said = ask_for_missing(&runbook, &args.set, mode, session).await?;
    let read_time = |text: &str| session.read_time(text);
    let values = parameters::resolve(&runbook.front, &said, mode, &RunId::new(now()), &read_time)?;
    let (aws, by) = who(session, &runbook).await?;
    let began = std::time::Instant::now();
    let tell = |step: &str| session.output.show_live(format!("looking: {step}"), began);
    let variables = variables(session, aws.as_ref());
    let to = plan::Surroundings {
        aws: aws.as_ref(),
        interrupt: &interrupt,
        variables: &variables,
        by,
        reads_only: &|words| own_calls::only_reads(&session.command_line, words),
        now: now(),
        tell: &tell,
    };
    let plan = plan::plan(&runbook, mode, values, &to).await?;
    session.output.settle();
    session.output.report(&plan)?;
    Ok((!plan.findings.is_empty() || !plan.doubts.is_empty()).then_some(Kind::No))
}

async fn begin(args: &RunArgs, session: &Session) -> Result<Option<Kind>> {
    let mode = mode(args.rehearse);
    if args.dry_run {
        return plan_of(&args.runbook, &args.values, mode, session).await;
    }
    let runbook = runbook::load_sound(&args.runbook)?;
    if let Some(from) = &args.from {
        let run = provable_run(&runbook, from, mode, session)?;
        session.output.say(format!("going on with run {run}"));
        let go = Go {
            set: &args.values.set,
            accepted: None,
            from: Some(from),
            done: &[],
            redo: &[],
            go: &args.go,
        };
        return take_up(&run, go, session).await;
    }
    let run = RunId::new(now());
    let said = ask_for_missing(&runbook, &args.values.set, mode, session).await?;
    let values = parameters::resolve(&runbook.front, &said, mode, &run, &|text| session.read_time(text))?;
    refuse_unknown_steps(&runbook, args.go.answers.iter().map(|(step, _)| step))?;
    warn_of_shortfalls(&runbook, session);
    let interrupt = Interrupt::listen()?;
    let (aws, by) = who(session, &runbook).await?;
    let vault = session.vault()?;
    let variables = variables(session, aws.as_ref());
    let watch = Watch::new(&session.output, &runbook);
    watch.begin(run.as_str(), mode, &by);
    let to = Surroundings {
        vault: &vault,
        aws: aws.as_ref(),
        interrupt: &interrupt,
        tell: &|tell| watch.tell(&tell),
        clock: now,
        by,
        ask: async |gate: &Gate| watch.ask(gate).await,
        answers: &args.go.answers,
        done: &[],
        redo: &[],
        variables: &variables,
        poll: args.go.poll,
        without_preflight: args.go.without_preflight,
        reads_only: &|words| own_calls::only_reads(&session.command_line, words),
    };
    finish(engine::begin(&runbook, &run, mode, values, &to).await?, session)
}

/// What is known to be wrong with it is said, and does not keep anybody at 3 a.m. from running it.
fn warn_of_shortfalls(runbook: &Runbook, session: &Session) {
    let faults = lint::check(
        runbook,
        now(),
        &|words| own_calls::understands(&session.command_line, words),
        &|words| own_calls::only_reads(&session.command_line, words),
    );
    let shortfalls: Vec<_> = faults.iter().filter(|fault| fault.severity == Severity::Shortfall).collect();
    for fault in shortfalls.iter().take(3) {
        session.output.warn(format!("{}:{}: {}", runbook.origin.shown(), fault.at, fault.message));
    }
    if shortfalls.len() > 3 {
        session.output.warn(format!(
            "and {} more: `lifeboat runbook check {}`",
            shortfalls.len() - 3,
            runbook.origin.shown()
        ));
    }
}

fn refuse_unknown_steps<'a>(runbook: &Runbook, steps: impl Iterator<Item = &'a String>) -> Result<()> {
    for step in steps {
        if runbook.step(step).is_none() {
            return Err(runbook::unknown_step(runbook, step));
        }
    }
    Ok(())
}

/// The latest run of this very runbook whose journal proves that everything before a step is done.
fn provable_run(runbook: &Runbook, from: &str, mode: Mode, session: &Session) -> Result<String> {
    let Some(place) = runbook.steps.iter().position(|step| step.id == from) else {
        return refuse_unknown_steps(runbook, std::iter::once(&from.to_owned())).map(|()| String::new());
    };
    let vault = session.vault_to_read()?;
    let mut proven = None;
    for run in vault.list("runs")?.folders {
        let Ok(found) = journal::read(&vault, &run) else { continue };
        let story = Story::of(&found.lines)?;
        let is_it = story.sha256 == runbook.sha256 && story.start.mode == mode && !story.state.is_over();
        let is_done = |step: &Step| matches!(story.state_of(&step.id), StepState::Done | StepState::Skipped);
        if is_it && runbook.steps[..place].iter().all(is_done) {
            proven = proven.max(Some((story.began, run)));
        }
    }
    if let Some((_, run)) = proven {
        return Ok(run);
    }
    Err(Error::new(Kind::Guard, format!("`--from {from}` was refused: no journal proves that the steps before it are done"))
        .hint("Run it from the start; steps that only read cost little. `lifeboat runbook runs` shows what can be resumed."))
}

struct Go<'a> {
    set: &'a [(String, String)],
    accepted: Option<&'a str>,
    from: Option<&'a str>,
    done: &'a [String],
    redo: &'a [String],
    go: &'a GoArgs,
}

async fn resume(args: &ResumeArgs, session: &Session) -> Result<Option<Kind>> {
    let go = Go {
        set: &args.values.set,
        accepted: args.accept_changed.as_deref(),
        from: args.from.as_deref(),
        done: &args.done,
        redo: &args.redo,
        go: &args.go,
    };
    take_up(&args.run, go, session).await
}

async fn take_up(run: &str, go: Go<'_>, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let (journal, found) = Journal::take_up(&vault, run)?;
    let story = Story::of(journal.lines())?;
    if story.state.is_over() && go.from.is_none() {
        return Err(
            Error::request(format!("run `{run}` is over ({})", story.state.word())).hint("Begin a new one.")
        );
    }
    let runbook = runbook::load_sound(&story.start.place)?;
    let is_changed = runbook.sha256 != story.sha256;
    if is_changed {
        accept(run, &runbook, &story, go.accepted)?;
    }
    refuse_unknown_steps(
        &runbook,
        go.done.iter().chain(go.redo).chain(go.go.answers.iter().map(|(step, _)| step)),
    )?;
    let values = values_again(&runbook, &story, go.set)?;
    let interrupt = Interrupt::listen()?;
    let (aws, by) = who(session, &runbook).await?;
    let variables = variables(session, aws.as_ref());
    let watch = Watch::new(&session.output, &runbook);
    watch.resume(&story, &by);
    let to = Surroundings {
        vault: &vault,
        aws: aws.as_ref(),
        interrupt: &interrupt,
        tell: &|tell| watch.tell(&tell),
        clock: now,
        by,
        ask: async |gate: &Gate| watch.ask(gate).await,
        answers: &go.go.answers,
        done: go.done,
        redo: go.redo,
        variables: &variables,
        poll: go.go.poll,
        without_preflight: go.go.without_preflight,
        reads_only: &|words| own_calls::only_reads(&session.command_line, words),
    };
    finish(engine::resume(&runbook, journal, &found, values, is_changed, go.from, &to).await?, session)
}

/// A runbook that has changed counts only if somebody says so by its hash.
fn accept(run: &str, runbook: &Runbook, story: &Story, accepted: Option<&str>) -> Result<()> {
    let place = runbook.origin.shown();
    let is_accepted =
        accepted.is_some_and(|hash| hash.len() >= 12 && runbook.sha256.starts_with(&hash.to_lowercase()));
    if is_accepted {
        return Ok(());
    }
    let error = Error::new(
        Kind::Guard,
        format!("{place} was changed since run `{run}` began: the run was not resumed"),
    );
    let copy = journal::folder(run);
    Err(match accepted {
        Some(_) => error.hint(format!("The hash that was accepted is not that of {place}, which is {}.", runbook.sha256)),
        None => error.hint(format!(
            "It was {}. Compare it with the copy `{copy}/runbook.md` in the vault; if it is right, say `--accept-changed {}`.",
            &story.sha256[..12.min(story.sha256.len())],
            &runbook.sha256
        )),
    })
}

/// Values of the run, and the secret ones, which are nowhere written, from where they came from.
fn values_again(runbook: &Runbook, story: &Story, set: &[(String, String)]) -> Result<values::Values> {
    let run =
        RunId::parse(&story.start.run).ok_or_else(|| Error::new(Kind::Guard, "the journal names no run"))?;
    for (name, value) in set {
        if let Some(was) = story.values.get(name)
            && was != value
            && !values::is_withheld(was)
        {
            return Err(Error::request(format!("`{name}` is `{was}` in this run and stays so"))
                .hint("Begin a new run."));
        }
    }
    let mut said: Vec<(String, String)> = story
        .values
        .iter()
        .filter(|(name, _)| runbook.front.parameters.iter().any(|parameter| parameter.name == **name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    said.extend(set.iter().cloned());
    if let Some((name, _)) = said
        .iter()
        .find(|(name, value)| values::is_withheld(value) && !set.iter().any(|(given, _)| given == name))
    {
        return Err(Error::request(format!("the value of `{name}` looked secret and is not in the journal"))
            .hint(format!("Say it again with `--set {name}=…`.")));
    }
    let read_time = |text: &str| when::parse_time(text, now(), &chrono::Local);
    parameters::resolve(&runbook.front, &said, story.start.mode, &run, &read_time)
}

async fn undo(args: &UndoArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let (journal, found) = Journal::take_up(&vault, &args.run)?;
    let story = Story::of(journal.lines())?;
    let runbook = record::runbook(&vault, &args.run, &story)?;
    refuse_unknown_steps(&runbook, args.go.answers.iter().map(|(step, _)| step))?;
    let values = values_again(&runbook, &story, &args.values.set)?;
    let interrupt = Interrupt::listen()?;
    let (aws, by) = who(session, &runbook).await?;
    let variables = variables(session, aws.as_ref());
    let watch = Watch::new(&session.output, &runbook);
    let undoing = runbook::Undoing { keep: args.keep.as_deref(), is_dry: args.dry_run };
    let to = Surroundings {
        vault: &vault,
        aws: aws.as_ref(),
        interrupt: &interrupt,
        tell: &|tell| watch.tell(&tell),
        clock: now,
        by,
        ask: async |gate: &Gate| watch.ask(gate).await,
        answers: &args.go.answers,
        done: &[],
        redo: &[],
        variables: &variables,
        poll: args.go.poll,
        without_preflight: args.go.without_preflight,
        reads_only: &|words| own_calls::only_reads(&session.command_line, words),
    };
    finish(runbook::undo(&runbook, journal, &found, values, undoing, &to).await?, session)
}

fn finish(outcome: Outcome, session: &Session) -> Result<Option<Kind>> {
    session.output.settle();
    session.output.report(&outcome.report)?;
    let (subject, evidence) =
        (Subject::Runbook(outcome.report.runbook.clone()), Some(outcome.report.evidence.html.clone()));
    session.say(match &outcome.error {
        None => notify::of_end(subject, None, evidence),
        Some(error) => notify::Told { evidence, ..notify::of_error(subject, error) },
    });
    match outcome.error {
        Some(error) => Err(error),
        None => Ok(None),
    }
}

async fn approve(args: &ApproveArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let story = Story::of(&journal::read(&vault, &args.run)?.lines)?;
    let runbook = record::runbook(&vault, &args.run, &story)?;
    let mut values = values::Values::default();
    for (name, value) in &story.values {
        values.set(name, value, false);
    }
    let (aws, by) = who(session, &runbook).await?;
    let request = gate::request(&vault, &args.run, &runbook, &values, &by)?;
    let watch = Watch::new(&session.output, &runbook);
    let typed = match &args.confirm {
        Some(typed) => typed.clone(),
        None => {
            let gate = Gate { role: "confirm", ..request.gate.clone() };
            match gate.ask_until_right(&async |gate: &Gate| watch.ask(gate).await).await? {
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
    let approval = gate::approve(request, &vault, &typed, by, proof, now())?;
    session.output.report(&render::Approved::of(&args.run, approval))?;
    Ok(None)
}

fn runs(session: &Session) -> Result<Option<Kind>> {
    let (reports, unreadable) = record::all(&session.vault_to_read()?)?;
    for what in unreadable {
        session.output.warn(what);
    }
    session.output.report(&Runs::new(reports))?;
    Ok(None)
}
