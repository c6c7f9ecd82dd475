//! Steps that may or may not have happened: they are probed, and never repeated blindly.

use std::time::{Duration, Instant};

use super::{Progress, Run, Stop, USUAL};
use crate::error::{Error, Kind, Result};
use crate::runbook::document::{Script, Step};
use crate::runbook::journal::{Answer, Event, Made, folder};
use crate::runbook::objects;
use crate::runbook::read_only_step;
use crate::runbook::script::{self, Done, Ended};
use crate::runbook::state::StepState;

/// How long to wait for a command whose parent died.
const ORPHANS: Duration = Duration::from_secs(60);

/// What to do about a step.
pub(super) enum Doubt {
    Run,
    Happened,
    Stop(Stop),
}

/// What a probe has found.
pub(in crate::runbook) struct ProbeFound {
    pub(in crate::runbook) answer: Answer,
    pub(in crate::runbook) reason: String,
    pub(in crate::runbook) made: Vec<Made>,
}

impl ProbeFound {
    /// For the journal.
    pub(in crate::runbook) fn into_event(self, step: &Step) -> Event {
        Event::Probe { step: step.id.clone(), answer: self.answer, reason: self.reason, made: self.made }
    }
}

impl Run<'_, '_> {
    /// Decides whether a step may be run now.
    pub(super) async fn settle_doubt(&mut self, step: &Step) -> Result<Doubt> {
        let told = self.story.step(&step.id);
        let is_suspect = self.suspects.contains(&step.id);
        let Some(act) = step.kind.act().filter(|_| !self.only_reads(step)) else { return Ok(Doubt::Run) };
        if self.cx.redo.contains(&step.id) && told.state != StepState::Done {
            self.note_said(step, "redo")?;
            return Ok(Doubt::Run);
        }
        if self.cx.done.contains(&step.id) && told.state != StepState::Todo {
            self.note_said(step, "done")?;
            self.tell(Progress::Passed(step, "it was marked as done"));
            return Ok(Doubt::Happened);
        }
        if (told.state == StepState::Todo && !is_suspect) || told.may_repeat {
            return Ok(Doubt::Run);
        }
        if told.state == StepState::Unknown
            && let Some(stop) = self.wait_for_orphans(step, told.group).await
        {
            return Ok(Doubt::Stop(stop));
        }
        if let Some(probe) = &step.probe {
            let (answer, reason) = self.probe(step, probe).await?;
            return Ok(match answer {
                Answer::Happened if act.outputs().any(|name| self.values.get(name).is_none()) => {
                    Doubt::Stop(stop_for_lost_values(step))
                }
                Answer::Happened => Doubt::Happened,
                Answer::DidNot => Doubt::Run,
                Answer::Unknown => {
                    let what =
                        format!("whether step `{}` happened could not be determined: {reason}", step.id);
                    let error = Error::outside(what).hint("Run it again when its probe can be answered.");
                    Doubt::Stop(Stop::at(step, "unknown", error))
                }
            });
        }
        // What failed was not done, and may be tried again, unless it makes something.
        if told.state == StepState::Failed && !act.once && act.creates.is_empty() {
            return Ok(Doubt::Run);
        }
        let how = match told.state {
            StepState::Unmet => "ran, but something was not as expected",
            StepState::Failed => "failed, and must not run twice",
            _ => "began, but its end was not recorded",
        };
        let run = &self.story.start.run;
        let error = Error::new(Kind::Guard, format!("step `{}` {how}: it is not repeated blindly", step.id)).hint(format!(
            "Check whether it happened, then pass the answer: `lifeboat runbook resume {run} --done {id}`, or `--redo {id}` to do it again.",
            id = step.id
        ));
        Ok(Doubt::Stop(Stop::at(step, "unknown", error)))
    }

    fn note_said(&mut self, step: &Step, word: &str) -> Result<()> {
        self.add(Event::Said { step: step.id.clone(), word: word.to_owned(), by: self.cx.by.clone() })
    }

    /// Whether a step may be repeated freely: it says `read-only`, and is confined.
    pub(super) fn only_reads(&self, step: &Step) -> bool {
        read_only_step::confine_step(step, self.runbook, &self.values, self.cx.reads_only).is_ok()
    }

    /// A command whose parent died may still be running.
    async fn wait_for_orphans(&self, step: &Step, group: Option<u32>) -> Option<Stop> {
        let path = self.lock_path(step).ok()?;
        let began = Instant::now();
        while script::is_under_way(&path) {
            if began.elapsed() > ORPHANS || self.cx.interrupt.first().is_some() {
                let which = group.map(|group| format!(" (process group {group})")).unwrap_or_default();
                let what = format!("a command of step `{}` is still running{which}", step.id);
                let error = Error::new(Kind::StillGoing, what)
                    .hint("Wait for it or kill it, then resume; or decide with `--done` or `--redo`.");
                return Some(Stop::at(step, "unknown", error));
            }
            self.tell(Progress::Waits("a command of the earlier attempt to end"));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        None
    }

    pub(super) fn lock_path(&self, step: &Step) -> Result<std::path::PathBuf> {
        self.journal.vault().path(&format!("{}/steps/{}.in", folder(&self.story.start.run), step.id))
    }

    /// Probes whether a step happened, and records the result.
    async fn probe(&mut self, step: &Step, probe: &Script) -> Result<(Answer, String)> {
        let found = self.ask_probe(step, probe).await?;
        let (answer, reason) = (found.answer, found.reason.clone());
        self.add(found.into_event(step))?;
        self.tell(Progress::Probed(step, answer, &reason));
        Ok((answer, reason))
    }

    /// Probes whether a step happened.
    pub(in crate::runbook) async fn ask_probe(&self, step: &Step, probe: &Script) -> Result<ProbeFound> {
        let settings = self.settings(probe.timeout.unwrap_or(USUAL), self.cx.interrupt);
        let done = script::shell(&probe.text, &[], &settings, |_| Ok(()), |_| ()).await?;
        let (answer, reason) = read_probe(&done);
        let reason = self.redactor.clean(&reason);
        let mut made = Vec::new();
        if answer == Answer::Happened
            && let Some(act) = step.kind.act()
        {
            let objects = objects::fill_names(&act.creates, &self.values)?;
            made = objects::made(&objects, true, self.cx.aws).await?;
        }
        Ok(ProbeFound { answer, reason, made })
    }

    /// Goes back to a step, if the journal proves that all before it is done.
    pub(super) async fn go_back_to(&mut self, from: &str) -> Result<()> {
        let runbook = self.runbook;
        let Some(place) = runbook.steps.iter().position(|step| step.id == from) else {
            return Err(Error::request(format!("the runbook has no step `{}`", from.escape_default())));
        };
        for step in &runbook.steps[..place] {
            if !matches!(self.story.state_of(&step.id), StepState::Done | StepState::Skipped) {
                return Err(Error::new(
                    Kind::Guard,
                    format!(
                        "`--from {from}` was refused: the journal does not prove that step `{}` is done",
                        step.id
                    ),
                )
                .hint(format!("`lifeboat runbook resume {}` resumes the run.", self.story.start.run)));
            }
        }
        for step in &runbook.steps[place..] {
            if self.story.state_of(&step.id) != StepState::Done {
                continue;
            }
            let changes = step.kind.act().is_some() && !self.only_reads(step);
            match (&step.probe, changes) {
                (_, false) => self.note_said(step, "redo")?,
                (Some(probe), true) => {
                    self.probe(step, probe).await?;
                }
                (None, true) if step.id == from => {
                    return Err(Error::new(Kind::Guard, format!("`--from {from}` was refused: it is done, and nothing shows whether it may be repeated"))
                        .hint("Give it a `probe`, or start a new run."));
                }
                (None, true) => {}
            }
        }
        Ok(())
    }
}

/// Exit code 0 means that it happened. Anything else means that it did not only if that is certain: AWS reports "not found", or nothing
/// was printed. A probe that AWS refused is inconclusive.
fn read_probe(done: &Done) -> (Answer, String) {
    let said = done.stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    match (done.end, done.exit) {
        (Ended::ByItself, Some(0)) => (Answer::Happened, "its probe says so".to_owned()),
        (Ended::ByItself, Some(code))
            if done.stderr.contains("NotFound") || (code == 1 && said.is_empty()) =>
        {
            (Answer::DidNot, "its probe found nothing".to_owned())
        }
        (Ended::ByItself, Some(code)) => {
            (Answer::Unknown, format!("the probe failed with exit code {code}: {said}"))
        }
        _ => (Answer::Unknown, "the probe did not end by itself".to_owned()),
    }
}

pub(super) fn stop_for_lost_values(step: &Step) -> Stop {
    let what = format!("step `{}` happened, but the values it set are lost", step.id);
    let error = Error::new(Kind::Guard, what)
        .hint(format!("Pass `--redo {}` if it may be repeated, or continue by hand.", step.id));
    Stop::at(step, "unknown", error)
}
