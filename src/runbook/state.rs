//! The state of a run, from its journal alone.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::document::Runbook;
use super::journal::{Actor, Answer, End, Ending, Event, Line, Made, Output, Start};
use crate::error::{Error, Kind, Result};

/// The state of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StepState {
    /// Not begun.
    #[default]
    Todo,
    /// Being run by a live process.
    Running,
    /// Done as expected.
    Done,
    Failed,
    /// It ran, but something is not as expected.
    Unmet,
    /// It began, but its end was not recorded.
    Unknown,
    /// Not for this mode.
    Skipped,
    /// Done, and undone.
    Undone,
}

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunState {
    /// Its process is alive.
    Running,
    /// Its process died.
    Died,
    /// It stopped at a gate.
    Waiting,
    /// A step failed, or something was not as expected.
    Failed,
    Interrupted,
    /// Somebody must decide whether a step happened.
    Unknown,
    /// It ended as it should.
    Passed,
    /// It ended, but something is not as it should be.
    Missed,
    /// Everything it did was undone afterwards.
    Undone,
    /// Some of what it did was undone, and some was not.
    PartlyUndone,
    /// An undo was attempted, and nothing was undone.
    NotUndone,
}

impl RunState {
    /// In a word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Died => "died",
            RunState::Waiting => "waiting",
            RunState::Failed => "failed",
            RunState::Interrupted => "interrupted",
            RunState::Unknown => "unknown",
            RunState::Passed => "passed",
            RunState::Missed => "missed",
            RunState::Undone => "undone",
            RunState::PartlyUndone => "partly undone",
            RunState::NotUndone => "not undone",
        }
    }

    /// Whether it cannot be resumed.
    pub(crate) const fn is_over(self) -> bool {
        matches!(
            self,
            RunState::Passed
                | RunState::Missed
                | RunState::Undone
                | RunState::PartlyUndone
                | RunState::NotUndone
        )
    }
}

/// What the journal tells of one step.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepHistory {
    pub state: StepState,
    /// How often it has begun.
    pub attempts: u32,
    /// When it first began.
    pub began: Option<DateTime<Utc>>,
    /// When it last ended.
    pub ended: Option<DateTime<Utc>>,
    /// How long it took, all attempts together.
    pub seconds: f64,
    /// Its last result.
    pub exit: Option<i32>,
    /// Its last output.
    pub output: Option<Output>,
    /// The reason.
    pub reasons: Vec<String>,
    /// Objects that were not there when it first began.
    pub absent: Vec<String>,
    pub made: Vec<Made>,
    /// What was typed at this gate, and by whom.
    pub answer: Option<(String, Actor)>,
    /// Process group of a command whose end was not recorded.
    pub group: Option<u32>,
    /// Whether somebody allowed it to be repeated.
    pub may_repeat: bool,
    /// Whether it was undone; `Some(false)` if that failed.
    pub undone: Option<bool>,
}

/// What the journal tells of an undo.
#[derive(Clone, Debug)]
pub(crate) struct UndoHistory {
    pub began: DateTime<Utc>,
    pub by: Actor,
    /// The newest step that was kept, with all before it.
    pub kept: Option<String>,
    /// Why something is left.
    pub reasons: Vec<String>,
}

/// What the journal tells of a run.
#[derive(Clone, Debug)]
pub(crate) struct RunHistory {
    pub start: Start,
    pub began: DateTime<Utc>,
    /// When the last event of the run itself happened; an undo does not count.
    pub last: DateTime<Utc>,
    /// Its state, as far as the journal knows: [`RunState::Died`] where no end is written.
    pub state: RunState,
    /// Why it stopped.
    pub reasons: Vec<String>,
    /// Hash of the runbook that counts.
    pub sha256: String,
    /// Values, without the secret ones.
    pub values: BTreeMap<String, String>,
    /// Steps, by id.
    pub steps: BTreeMap<String, StepHistory>,
    /// In which order steps have ended.
    pub order: Vec<String>,
    /// Who resumed it, and when.
    pub resumed: Vec<(DateTime<Utc>, Actor)>,
    /// Whether it ended, and whether it passed.
    pub passed: Option<bool>,
    /// The last undo.
    pub undo: Option<UndoHistory>,
}

impl RunHistory {
    /// Reads it from the lines.
    pub(crate) fn replay(lines: &[Line]) -> Result<Self> {
        let Some(Line { event: Event::Start(start), t, .. }) = lines.first() else {
            return Err(Error::new(Kind::Bug, "a journal does not begin with its start"));
        };
        let mut story = RunHistory {
            start: (**start).clone(),
            began: *t,
            last: *t,
            state: RunState::Died,
            reasons: Vec::new(),
            sha256: start.sha256.clone(),
            values: start.values.clone(),
            steps: BTreeMap::new(),
            order: Vec::new(),
            resumed: Vec::new(),
            passed: None,
            undo: None,
        };
        for line in &lines[1..] {
            story.hear(line);
        }
        Ok(story)
    }

    /// Applies one more line.
    pub(super) fn hear(&mut self, line: &Line) {
        // Any line after an end means that the run was resumed.
        let is_undo = self.undo.is_some()
            || matches!(
                line.event,
                Event::Undo { .. } | Event::Undone { .. } | Event::UndoBegin { .. } | Event::UndoEnd { .. }
            );
        if !is_undo {
            self.state = RunState::Died;
        }
        match &line.event {
            Event::Start(_) => {}
            Event::Resumed { by, accepted, .. } => {
                self.resumed.push((line.t, by.clone()));
                if let Some(accepted) = accepted {
                    self.sha256.clone_from(accepted);
                }
            }
            Event::Begin { step, attempt, absent, .. } => {
                let told = self.step_mut(step);
                told.state = StepState::Unknown;
                told.attempts = *attempt;
                told.began = told.began.or(Some(line.t));
                told.may_repeat = false;
                told.reasons.clear();
                if told.absent.is_empty() {
                    told.absent.clone_from(absent);
                }
            }
            Event::Process { step, group } => self.step_mut(step).group = Some(*group),
            Event::End(end) => self.hear_end(end, line.t),
            Event::Probe { step, answer, reason, made } => {
                let told = self.step_mut(step);
                told.reasons = vec![reason.clone()];
                match answer {
                    Answer::Happened => {
                        told.state = StepState::Done;
                        told.ended = Some(line.t);
                        keep_made(&mut told.made, made);
                        self.note_order(step);
                    }
                    Answer::DidNot => told.state = StepState::Todo,
                    Answer::Unknown => told.state = StepState::Unknown,
                }
            }
            Event::Asked { step } => {
                let told = self.step_mut(step);
                told.began = told.began.or(Some(line.t));
            }
            Event::Gate { step, answer, by } => {
                let told = self.step_mut(step);
                told.state = StepState::Done;
                told.answer = Some((answer.clone(), by.clone()));
                told.ended = Some(line.t);
                told.reasons.clear();
            }
            Event::Said { step, word, by } => {
                let told = self.step_mut(step);
                told.reasons = vec![format!("{} said so", by.identity)];
                if word == "done" {
                    told.state = StepState::Done;
                    self.note_order(step);
                } else {
                    told.state = StepState::Todo;
                    told.may_repeat = true;
                }
            }
            Event::Skipped { step, reason } => {
                let told = self.step_mut(step);
                told.state = StepState::Skipped;
                told.reasons = vec![reason.clone()];
            }
            Event::Stopped { state, reason, step, .. } => {
                self.state = match state.as_str() {
                    "waiting" => RunState::Waiting,
                    "interrupted" => RunState::Interrupted,
                    "unknown" => RunState::Unknown,
                    _ => RunState::Failed,
                };
                self.reasons = vec![reason.clone()];
                if let Some(step) = step.as_ref().filter(|_| self.state == RunState::Waiting) {
                    let told = self.step_mut(step);
                    told.began = told.began.or(Some(line.t));
                }
            }
            Event::UndoBegin { step } => self.step_mut(step).undone = Some(false),
            Event::UndoEnd { step, is_undone, reason } => {
                let told = self.step_mut(step);
                told.undone = Some(*is_undone);
                match (is_undone, told.state) {
                    // A failure stays a failure, even if nothing of it is left.
                    (true, StepState::Done) => told.state = StepState::Undone,
                    (true, _) => {}
                    (false, _) => told.reasons.push(reason.clone()),
                }
            }
            Event::Undo { by, kept } => {
                self.state = RunState::PartlyUndone;
                let (by, kept) = (by.clone(), kept.clone());
                self.undo = Some(UndoHistory { began: line.t, by, kept, reasons: Vec::new() });
            }
            Event::Undone { is_whole, reasons } => {
                let is_any_undone = self.steps.values().any(|step| step.undone == Some(true));
                self.state = match (is_whole, is_any_undone) {
                    (true, _) => RunState::Undone,
                    (false, true) => RunState::PartlyUndone,
                    (false, false) => RunState::NotUndone,
                };
                if let Some(undo) = &mut self.undo {
                    undo.reasons.clone_from(reasons);
                }
            }
            Event::Finished { verdict, reasons } => {
                self.passed = Some(verdict == "passed");
                self.state = if verdict == "passed" { RunState::Passed } else { RunState::Missed };
                self.reasons.clone_from(reasons);
            }
        }
        if !is_undo {
            self.last = line.t;
        }
    }

    fn hear_end(&mut self, end: &End, at: DateTime<Utc>) {
        let told = self.step_mut(&end.step);
        told.state = match end.result {
            Ending::Done => StepState::Done,
            Ending::Failed => StepState::Failed,
            Ending::Unmet => StepState::Unmet,
            Ending::Unknown => StepState::Unknown,
        };
        told.ended = Some(at);
        told.seconds += end.seconds;
        told.exit = end.exit;
        told.group = told.group.filter(|_| end.result == Ending::Unknown);
        told.reasons.clone_from(&end.reasons);
        if end.output.is_some() {
            told.output.clone_from(&end.output);
        }
        keep_made(&mut told.made, &end.made);
        self.values.extend(end.values.clone());
        if end.result == Ending::Done {
            self.note_order(&end.step);
        }
    }

    fn note_order(&mut self, step: &str) {
        self.order.retain(|other| other != step);
        self.order.push(step.to_owned());
    }

    fn step_mut(&mut self, id: &str) -> &mut StepHistory {
        self.steps.entry(id.to_owned()).or_default()
    }

    /// The record of a step.
    pub(crate) fn step(&self, id: &str) -> StepHistory {
        self.steps.get(id).cloned().unwrap_or_default()
    }

    /// The state of a step.
    pub(crate) fn state_of(&self, id: &str) -> StepState {
        self.steps.get(id).map_or(StepState::Todo, |told| told.state)
    }

    /// What this run has created and not undone, newest first, with the step that created it.
    pub(crate) fn list_left_behind(&self) -> Vec<(String, Made)> {
        let mut left = Vec::new();
        for step in self.order.iter().rev() {
            let told = self.step(step);
            if told.undone != Some(true) {
                left.extend(told.made.into_iter().map(|made| (step.clone(), made)));
            }
        }
        left
    }

    /// The first step that is not done.
    pub(crate) fn next<'a>(&self, runbook: &'a Runbook) -> Option<&'a super::Step> {
        runbook.steps.iter().find(|step| {
            !matches!(self.state_of(&step.id), StepState::Done | StepState::Skipped | StepState::Undone)
        })
    }
}

fn keep_made(all: &mut Vec<Made>, new: &[Made]) {
    for made in new {
        all.retain(|other| other.object != made.object);
        all.push(made.clone());
    }
}
