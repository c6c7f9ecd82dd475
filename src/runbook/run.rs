//! Runs a runbook, from the start or from where its journal ends.
//!
//! The beginning of a step is on disk before it runs, and its end after it. Whatever stops a run, it resumes there:
//! finished steps are not repeated, and a step that may or may not have happened is checked first.

mod act;
mod context;
mod doubt;
mod hold;

use std::time::Duration;

use super::document::{Kind as StepKind, Mode, Runbook, Step};
use super::evidence;
use super::journal::{Actor, Event, Journal, Start};
use super::preflight::{self, PreflightContext};
use super::redact::Redactor;
use super::report::Report;
use super::resumption::Reopened;
use super::state::{RunHistory, StepState};
use super::values::Values;
use crate::error::{Error, Kind, Result};
use crate::rds::RunId;
use crate::when::format_span;
use context::USUAL;
pub(crate) use context::{Clock, Context, Outcome, Progress};
pub(super) use context::{Run, Stop};
use doubt::{Doubt, stop_for_lost_values};

/// Begins a run.
pub(crate) async fn begin_run(
    runbook: &Runbook,
    run: &RunId,
    mode: Mode,
    values: Values,
    cx: &Context<'_>,
) -> Result<Outcome> {
    refuse_wrong_place(runbook, &cx.by)?;
    let redactor = Redactor::hiding(values.secrets());
    let doubts =
        preflight_run(runbook, mode, &values, &|_| StepState::Todo, cx, "the run was not started").await?;
    let doubts = doubts.iter().map(|doubt| redactor.clean(doubt)).collect();
    let mut journal = Journal::create(cx.vault, run.as_str())?;
    journal.write_beside("runbook.md", runbook.text.as_bytes())?;
    let open = values.list_public().into_iter().map(|(name, value)| (name, redactor.clean(&value))).collect();
    let start = Start {
        run: run.to_string(),
        runbook: runbook.origin.file_stem(),
        place: runbook.origin.recorded(),
        sha256: runbook.sha256.clone(),
        mode,
        values: open,
        by: cx.by.clone(),
        doubts,
    };
    journal.add(Event::Start(Box::new(start)), (cx.clock)())?;
    let story = RunHistory::replay(journal.lines())?;
    let run = Run { runbook, journal, story, values, redactor, cx, suspects: Vec::new() };
    run.go_on().await
}

/// Resumes a run. If the runbook was changed since, this one counts from now on.
pub(crate) async fn resume_run(
    runbook: &Runbook,
    reopened: Reopened,
    mut values: Values,
    from: Option<&str>,
    cx: &Context<'_>,
) -> Result<Outcome> {
    let Reopened { journal, found, story, is_changed } = reopened;
    refuse_wrong_place(runbook, &cx.by)?;
    if story.start.by.account.is_some()
        && cx.by.account.is_some()
        && (&story.start.by.account, &story.start.by.region) != (&cx.by.account, &cx.by.region)
    {
        return Err(Error::new(Kind::Guard, "the run was started in another AWS account or Region").hint(
            format!(
                "It was started in account {}, Region {}.",
                story.start.by.account.as_deref().unwrap_or("unknown"),
                story.start.by.region.as_deref().unwrap_or("unknown")
            ),
        ));
    }
    values.take_over(&story.values, &runbook.free_names())?;
    let redactor = Redactor::hiding(values.secrets());
    let state_of = |id: &str| story.state_of(id);
    preflight_run(runbook, story.start.mode, &values, &state_of, cx, "the run was not resumed").await?;
    let mut run = Run { runbook, journal, story, values, redactor, cx, suspects: Vec::new() };
    run.suspect(found.lost_lines);
    let accepted = is_changed.then(|| runbook.sha256.clone());
    if accepted.is_some() {
        run.journal.write_beside("runbook.md", runbook.text.as_bytes())?;
    }
    run.add(Event::Resumed {
        by: cx.by.clone(),
        accepted,
        dropped_bytes: found.dropped_bytes,
        lost_lines: found.lost_lines,
    })?;
    if found.dropped_bytes > 0 {
        (cx.tell)(Progress::Note(&format!(
            "the journal ended in mid-line: {} bytes were dropped",
            found.dropped_bytes
        )));
    }
    if let Some(from) = from {
        run.go_back_to(from).await?;
    }
    run.go_on().await
}

/// Checks what the remaining steps need. What is certainly missing is an error; what is doubtful is reported and returned.
async fn preflight_run(
    runbook: &Runbook,
    mode: Mode,
    values: &Values,
    state_of: &dyn Fn(&str) -> StepState,
    cx: &Context<'_>,
    what: &str,
) -> Result<Vec<String>> {
    if cx.without_preflight {
        return Ok(vec!["the requirements of later steps were not checked".to_owned()]);
    }
    let ground = PreflightContext {
        runbook,
        mode,
        values,
        aws: cx.aws,
        variables: cx.variables,
        identity: &cx.by.identity,
        now: (cx.clock)(),
    };
    let doubts = preflight::refuse_missing(preflight::find_missing(&ground, state_of).await?, what)?;
    for doubt in &doubts {
        (cx.tell)(Progress::Doubt(doubt));
    }
    Ok(doubts)
}

/// The account and the Region that a runbook names are the only ones in which it is run.
fn refuse_wrong_place(runbook: &Runbook, by: &Actor) -> Result<()> {
    let Some(needs) = &runbook.front.needs.aws else { return Ok(()) };
    for (what, wanted, is) in
        [("account", &needs.account, &by.account), ("Region", &needs.region, &by.region)]
    {
        if let Some(wanted) = wanted
            && is.as_ref() != Some(wanted)
        {
            return Err(Error::new(
                Kind::Guard,
                format!(
                    "this runbook is for {what} `{wanted}`, and this is `{}`: nothing was run",
                    is.as_deref().unwrap_or("unknown")
                ),
            )
            .hint("Choose another `--profile` or `--region`."));
        }
    }
    Ok(())
}

impl Run<'_, '_> {
    pub(super) fn add(&mut self, event: Event) -> Result<()> {
        self.journal.add(event, (self.cx.clock)())?;
        if let Some(line) = self.journal.lines().last() {
            self.story.hear(line);
        }
        Ok(())
    }

    pub(super) fn tell(&self, tell: Progress<'_>) {
        (self.cx.tell)(tell);
    }

    fn clock(&self, step: &Step) -> Clock {
        let number =
            self.runbook.steps.iter().position(|other| other.id == step.id).map_or(0, |index| index + 1);
        let elapsed = ((self.cx.clock)() - self.story.began).to_std().unwrap_or_default();
        let recovery = evidence::measure_rto(self.runbook, &self.story);
        let recovered =
            recovery.recovered_by.map(|_| Duration::from_secs_f64(recovery.measured_seconds.max(0.0)));
        Clock { step: (number, self.runbook.steps.len()), elapsed, rto: self.runbook.front.rto, recovered }
    }

    /// Every line that is lost may have been the beginning of one more step.
    fn suspect(&mut self, lost_lines: u64) {
        let is_open = |step: &&Step| {
            matches!(self.story.state_of(&step.id), StepState::Todo | StepState::Unknown | StepState::Failed)
        };
        let lost = usize::try_from(lost_lines).unwrap_or(usize::MAX);
        self.suspects =
            self.runbook.steps.iter().filter(is_open).take(lost).map(|step| step.id.clone()).collect();
    }

    async fn go_on(mut self) -> Result<Outcome> {
        let ended = self.steps().await;
        let mode = self.story.start.mode;
        let result = match ended {
            Ok(Ok(())) => self.close(None).await,
            // A gate keeps what was created; anything else that stops a rehearsal ends it.
            Ok(Err(stop)) if mode == Mode::Rehearse && stop.state != "waiting" => {
                self.close(Some(stop)).await
            }
            Ok(Err(stop)) => self.stop(stop),
            Err(error) => {
                let stop = Stop { state: "failed", step: None, error };
                if mode == Mode::Rehearse { self.close(Some(stop)).await } else { self.stop(stop) }
            }
        };
        result.map(|error| Outcome { report: self.keep_evidence(), error })
    }

    fn stop(&mut self, stop: Stop) -> Result<Option<Error>> {
        let reason = self.redactor.clean(&stop.error.chain());
        self.add(Event::Stopped {
            state: stop.state.to_owned(),
            step: stop.step,
            reason,
            exit: stop.error.kind().exit_code(),
        })?;
        let run = &self.story.start.run;
        let made = self.story.list_left_behind();
        let mut error = stop.error.hint(format!("`lifeboat runbook resume {run}` resumes from here."));
        if !made.is_empty() && self.story.start.mode == Mode::Rehearse {
            let names: Vec<&str> = made.iter().map(|(_, made)| made.object.as_str()).collect();
            error = error.hint(format!(
                "Until then, the rehearsal keeps {}; `lifeboat runbook undo {run}` removes it.",
                names.join(", ")
            ));
        }
        Ok(Some(error))
    }

    /// The end of a run: a rehearsal always undoes what it did.
    async fn close(&mut self, stop: Option<Stop>) -> Result<Option<Error>> {
        let rto = evidence::measure_rto(self.runbook, &self.story);
        let mut reasons: Vec<String> =
            stop.iter().map(|stop| self.redactor.clean(&stop.error.chain())).collect();
        if let (None, "fail", Some(objective)) = (&stop, rto.verdict, rto.objective_seconds) {
            reasons.push(format!(
                "the recovery took {}, and the objective is {}",
                format_span(rto.measured_seconds),
                format_span(objective)
            ));
        }
        let mut left = Vec::new();
        if self.story.start.mode == Mode::Rehearse {
            left = self.undo_all().await?;
            reasons.extend(left.iter().map(ToString::to_string));
        }
        let verdict = if reasons.is_empty() { "passed" } else { "failed" };
        self.add(Event::Finished { verdict: verdict.to_owned(), reasons: reasons.clone() })?;
        if !left.is_empty() {
            let run = &self.story.start.run;
            let names: Vec<String> = left.iter().map(ToString::to_string).collect();
            let bill = if left.iter().any(|it| it.is_there && it.is_billed) {
                " It is billed until it is removed."
            } else {
                ""
            };
            if left.iter().any(|residue| residue.is_there) {
                let what = format!("the rehearsal left something behind: {}", names.join("; "));
                return Ok(Some(
                    Error::new(Kind::LeftBehind, what)
                        .hint(format!("`lifeboat runbook undo {run}` tries again.{bill}")),
                ));
            }
            let error = stop.map_or_else(
                || Error::outside(format!("the rehearsal could not be cleaned up: {}", names.join("; "))),
                |stop| stop.error,
            );
            return Ok(Some(error.hint(format!(
                "{}. `lifeboat runbook undo {run}` tries again and removes what is left.",
                names.join("; ")
            ))));
        }
        Ok(match stop {
            Some(stop) => Some(
                stop.error.hint("The rehearsal has ended; what it created was removed. Start a new one."),
            ),
            None if reasons.is_empty() => None,
            None => {
                Some(Error::new(Kind::No, format!("the runbook ran to its end, but {}", reasons.join("; "))))
            }
        })
    }

    /// The record for people and machines. A failure to write it must not hide how the run ended.
    pub(super) fn keep_evidence(&self) -> Report {
        let report = self.report();
        let kept = evidence::write_evidence(&report, &self.journal);
        if let Err(error) = kept {
            self.tell(Progress::Note(&format!("the evidence could not be written: {}", error.chain())));
        }
        report
    }

    /// The record as the journal has it now.
    pub(super) fn report(&self) -> Report {
        let journal = &self.journal;
        evidence::build_report(
            self.runbook,
            &self.story,
            journal.vault(),
            journal.head(),
            journal.lines().len(),
        )
    }

    async fn steps(&mut self) -> Result<std::result::Result<(), Stop>> {
        let runbook = self.runbook;
        for step in &runbook.steps {
            if let Some(kind) = self.cx.interrupt.first() {
                return Ok(Err(stop_interrupted(step, kind)));
            }
            match self.story.state_of(&step.id) {
                StepState::Skipped | StepState::Undone => continue,
                StepState::Done if self.has_its_values(step) => continue,
                StepState::Done if step.kind.act().is_some() && !self.only_reads(step) => {
                    return Ok(Err(stop_for_lost_values(step)));
                }
                _ => {}
            }
            if step.only.is_some_and(|only| only != self.story.start.mode) {
                let reason = format!("only {}", step.only.unwrap_or(Mode::Real).word());
                self.add(Event::Skipped { step: step.id.clone(), reason: reason.clone() })?;
                self.tell(Progress::Passed(step, &reason));
                continue;
            }
            match self.settle_doubt(step).await? {
                Doubt::Run => {}
                Doubt::Happened => continue,
                Doubt::Stop(stop) => return Ok(Err(stop)),
            }
            self.tell(Progress::Step(step, &self.clock(step)));
            let ended = match &step.kind {
                StepKind::Sh(act) | StepKind::Sql(act, _) => self.act(step, act).await?,
                StepKind::Wait(waiting) => self.wait(step, waiting).await?,
                StepKind::Confirm { .. } | StepKind::Manual { .. } | StepKind::Approve { .. } => {
                    self.gate(step).await?
                }
            };
            if let Err(stop) = ended {
                return Ok(Err(stop));
            }
        }
        Ok(Ok(()))
    }

    /// Secret values are not recorded: a step that set one is run again after a break.
    fn has_its_values(&self, step: &Step) -> bool {
        step.kind.act().is_none_or(|act| act.outputs().all(|name| self.values.get(name).is_some()))
    }
}

fn stop_interrupted(step: &Step, kind: Kind) -> Stop {
    Stop::at(step, "interrupted", Error::new(kind, format!("interrupted at step `{}`", step.id)))
}
