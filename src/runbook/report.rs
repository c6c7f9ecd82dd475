//! The record of a run, `lifeboat.run/1`: what `runbook run`, `resume` and `show` print and what is kept as evidence.
//!
//! Fields are added, never renamed. Nothing in here is secret.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::document::Mode;
use super::journal::Actor;
use super::state::{RunState, StepState};

/// Everything about one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// `lifeboat.run/1`.
    pub schema: &'static str,
    /// Id of the run.
    pub run: String,
    /// Name of the runbook.
    pub runbook: String,
    /// Where it lies.
    pub place: String,
    /// SHA-256 of the file.
    pub sha256: String,
    pub title: String,
    /// Who maintains it.
    pub owner: String,
    /// Whether a run is real or a rehearsal.
    pub mode: Mode,
    pub state: RunState,
    /// `pass` or `fail` of a run that ended, whether it was undone later or not; otherwise `unknown`.
    pub verdict: &'static str,
    /// The headline of the report, such as `PASS` or `WAITING`.
    pub headline: &'static str,
    /// What the headline means here.
    pub meaning: String,
    /// The reasons.
    pub reasons: Vec<String>,
    pub started_at: DateTime<Utc>,
    /// When the last thing happened.
    pub finished_at: Option<DateTime<Utc>>,
    /// Who began it.
    pub ran_by: Actor,
    /// Who took it up again.
    pub resumed_by: Vec<Resumption>,
    /// Values, without the secret ones.
    pub values: BTreeMap<String, String>,
    /// Steps, in order.
    pub steps: Vec<StepReport>,
    /// The next step, if there is one.
    pub next: Option<String>,
    /// Recovery time against its objective.
    pub rto: Rto,
    /// How much may be lost, as the runbook has it.
    pub rpo_objective_seconds: Option<f64>,
    /// What a rehearsal did not test.
    pub not_rehearsed: Vec<String>,
    /// How much of the steps were tried, in percent.
    pub coverage_percent: u32,
    /// How many steps are done.
    pub steps_done: usize,
    /// What preflight left in doubt.
    pub doubts: Vec<String>,
    /// The last undo of the run.
    pub undo: Option<Undo>,
    /// What the run created and still exists.
    pub left: Vec<Left>,
    /// Where the record is kept.
    pub evidence: Evidence,
    /// The journal that it rests on.
    pub journal: JournalHead,
}

/// A resumption of the run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Resumption {
    pub at: DateTime<Utc>,
    pub identity: String,
}

/// An undo of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Undo {
    /// When it began.
    pub at: DateTime<Utc>,
    pub by: Actor,
    /// The newest step that was kept, with all before it.
    pub kept: Option<String>,
    /// Why something is left.
    pub reasons: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StepReport {
    pub id: String,
    /// The heading above it.
    pub title: String,
    pub role: &'static str,
    pub state: StepState,
    /// When it first began.
    pub started_at: Option<DateTime<Utc>>,
    /// How long it took, all attempts together.
    pub seconds: Option<f64>,
    /// Its exit code.
    pub exit: Option<i32>,
    /// How often it was begun.
    pub attempts: u32,
    /// Why it is not done.
    pub reasons: Vec<String>,
    pub expects: Vec<String>,
    /// What was typed at this gate.
    pub answer: Option<String>,
    /// Who typed it.
    pub answered_by: Option<String>,
    /// The end of its output, redacted.
    pub output: Option<String>,
    pub output_file: Option<String>,
    /// Hash of that file.
    pub output_sha256: Option<String>,
    pub made: Vec<String>,
    /// Whether it was undone; `false` if that failed.
    pub taken_back: Option<bool>,
}

/// Recovery time: from the start of the run until the step that completes the recovery. What comes after it, such as watching errors
/// or removing a throwaway, is not part of the outage.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Rto {
    /// At most.
    pub objective_seconds: Option<f64>,
    /// Until the recovery was complete, or until the last thing happened.
    pub measured_seconds: f64,
    /// `pass`, `fail` or `unknown`.
    pub verdict: &'static str,
    /// The step that completed the recovery; `None` if none did.
    pub recovered_by: Option<String>,
    /// How much of it people took at gates.
    pub people_seconds: f64,
}

/// An object that still exists.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Left {
    /// Which step made it.
    pub step: String,
    pub object: String,
    /// Its immutable id.
    pub identity: Option<String>,
}

/// Where the record is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Evidence {
    /// This document.
    pub json: String,
    /// The page for people.
    pub html: String,
}

/// The journal that a record rests on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct JournalHead {
    pub file: String,
    /// How many lines.
    pub lines: usize,
    /// SHA-256 of the last one, which carries that of the one before, and so on.
    pub head: String,
}
