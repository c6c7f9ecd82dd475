//! The record of a run, `lifeboat.run/1`: what `runbook run`, `resume` and `show` print and what is kept as evidence.
//!
//! Fields are added, never renamed. Nothing in here is secret.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::document::{Mode, Runbook};
use super::journal::{Actor, Journal, folder};
use super::page;
use super::state::{RunState, StepState, Story};
use crate::error::{Error, Kind, Result};
use crate::vault::Vault;

pub use crate::drill::report::span;

/// Everything about one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
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
    /// What it is for.
    pub title: String,
    /// Who keeps it right.
    pub owner: String,
    /// Whether it is in earnest.
    pub mode: Mode,
    /// How it stands.
    pub state: RunState,
    /// `pass`, `fail` or `unknown`.
    pub verdict: &'static str,
    /// What that rests on.
    pub reasons: Vec<String>,
    /// When it began.
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
    /// What a rehearsal did not try.
    pub not_rehearsed: Vec<String>,
    /// How much of the steps were tried, in percent.
    pub coverage_percent: u32,
    /// What the run made and is still there.
    pub left: Vec<Left>,
    /// Where the record is kept.
    pub evidence: Evidence,
    /// The journal that it rests on.
    pub journal: JournalHead,
}

/// Somebody who took a run up again.
#[derive(Clone, Debug, Serialize)]
pub struct Resumption {
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub identity: String,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// Its id.
    pub id: String,
    /// The heading that it stands under.
    pub title: String,
    /// Its role.
    pub role: &'static str,
    /// How it stands.
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
    /// What it expects.
    pub expects: Vec<String>,
    /// What was typed at this gate.
    pub answer: Option<String>,
    /// Who typed it.
    pub answered_by: Option<String>,
    /// Its last words, redacted.
    pub output: Option<String>,
    /// The file with all of them.
    pub output_file: Option<String>,
    /// Hash of that file.
    pub output_sha256: Option<String>,
    /// What it made.
    pub made: Vec<String>,
}

/// Recovery time: from the start of the run.
#[derive(Clone, Debug, Serialize)]
pub struct Rto {
    /// At most.
    pub objective_seconds: Option<f64>,
    /// Until now, or until the last step was done.
    pub measured_seconds: f64,
    /// `pass`, `fail` or `unknown`.
    pub verdict: &'static str,
}

/// Something that is still there.
#[derive(Clone, Debug, Serialize)]
pub struct Left {
    /// Which step made it.
    pub step: String,
    /// What.
    pub object: String,
    /// What nothing else of that name has.
    pub identity: Option<String>,
}

/// Where the record is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// This document.
    pub json: String,
    /// The page for people.
    pub html: String,
}

/// The journal that a record rests on.
#[derive(Clone, Debug, Serialize)]
pub struct JournalHead {
    /// File.
    pub file: String,
    /// How many lines.
    pub lines: usize,
    /// SHA-256 of the last one, which carries that of the one before, and so on.
    pub head: String,
}

/// Makes the record of a run.
pub fn of(runbook: &Runbook, story: &Story, vault: &Vault, head: &str, lines: usize) -> Report {
    let run = &story.start.run;
    let steps: Vec<StepReport> = runbook.steps.iter().map(|step| step_report(step, story)).collect();
    let is_rehearsal = story.start.mode == Mode::Rehearse;
    let not_rehearsed: Vec<String> = steps
        .iter()
        .filter(|step| is_rehearsal && step.state != StepState::Done && step.state != StepState::Undone)
        .map(|step| format!("{}: {}", step.id, step.title))
        .collect();
    let tried = steps.iter().filter(|step| matches!(step.state, StepState::Done | StepState::Undone)).count();
    let path = |name: &str| {
        let shown = vault.shown(&format!("{}/{name}", folder(run)));
        std::path::absolute(&shown).map_or(shown, |path| path.display().to_string())
    };
    Report {
        schema: "lifeboat.run/1",
        run: run.clone(),
        runbook: story.start.runbook.clone(),
        place: story.start.place.clone(),
        sha256: story.sha256.clone(),
        title: runbook.front.title.clone(),
        owner: runbook.front.owner.clone(),
        mode: story.start.mode,
        state: story.state,
        verdict: match story.state {
            RunState::Passed => "pass",
            RunState::Missed => "fail",
            _ => "unknown",
        },
        reasons: story.reasons.clone(),
        started_at: story.began,
        finished_at: story.state.is_over().then_some(story.last),
        ran_by: story.start.by.clone(),
        resumed_by: story
            .resumed
            .iter()
            .map(|(at, by)| Resumption { at: *at, identity: by.identity.clone() })
            .collect(),
        values: story.values.clone(),
        next: story.next(runbook).filter(|_| !story.state.is_over()).map(|step| step.id.clone()),
        rto: rto(runbook, story),
        rpo_objective_seconds: runbook.front.rpo.map(|rpo| rpo.as_secs_f64()),
        not_rehearsed,
        coverage_percent: u32::try_from(tried * 100 / steps.len().max(1)).unwrap_or(0),
        left: story
            .left()
            .into_iter()
            .map(|(step, made)| Left { step, object: made.object, identity: made.identity })
            .collect(),
        evidence: Evidence { json: path("evidence.json"), html: path("evidence.html") },
        journal: JournalHead { file: path("journal.jsonl"), lines, head: head.to_owned() },
        steps,
    }
}

fn step_report(step: &super::Step, story: &Story) -> StepReport {
    let told = story.told(&step.id);
    StepReport {
        id: step.id.clone(),
        title: step.title.clone(),
        role: step.kind.role(),
        state: told.state,
        started_at: told.began,
        seconds: match (&told.answer, told.began, told.ended) {
            (Some(_), Some(began), Some(ended)) => Some((ended - began).as_seconds_f64()),
            _ => (told.seconds > 0.0).then_some(told.seconds),
        },
        exit: told.exit,
        attempts: told.attempts,
        reasons: told.reasons,
        expects: step.expects.iter().map(|assertion| assertion.text.clone()).collect(),
        answer: told.answer.as_ref().map(|(answer, _)| answer.clone()),
        answered_by: told.answer.map(|(_, by)| by.identity),
        output: told.output.as_ref().map(|output| output.tail.clone()),
        output_file: told.output.as_ref().map(|output| output.file.clone()),
        output_sha256: told.output.map(|output| output.sha256),
        made: told.made.into_iter().map(|made| made.object).collect(),
    }
}

/// Until the last step was done: what a rehearsal takes to clean up is nobody's recovery.
fn rto(runbook: &Runbook, story: &Story) -> Rto {
    let last = story.steps.values().filter_map(|told| told.ended).max().unwrap_or(story.last);
    let measured = (last - story.began).as_seconds_f64();
    let objective = runbook.front.rto.map(|rto| rto.as_secs_f64());
    let verdict = match objective {
        Some(objective) if measured > objective => "fail",
        Some(_) if story.state == RunState::Passed => "pass",
        _ => "unknown",
    };
    Rto { objective_seconds: objective, measured_seconds: measured, verdict }
}

/// Writes the record beside the journal: the document and the page.
pub(super) fn keep(report: &Report, journal: &Journal) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(report)
        .map_err(|error| Error::new(Kind::Bug, "a record cannot be written as JSON").caused_by(error))?;
    json.push(b'\n');
    journal.write_beside("evidence.json", &json)?;
    journal.write_beside("evidence.html", page::render(report, &json).as_bytes())?;
    Ok(())
}
