//! The record of a run is made from its journal and kept beside it, as a document and as a page.

use super::document::{Mode, Runbook, Step};
use super::journal::{Journal, folder};
use super::page;
use super::report::{Evidence, JournalHead, Left, Report, Resumption, Rto, StepReport, Undo};
use super::state::{RunHistory, StepHistory};
use super::words::{self, Count};
use crate::error::{Error, Kind, Result};
use crate::vault::Vault;

/// Makes the record of a run.
pub(crate) fn build_report(
    runbook: &Runbook,
    story: &RunHistory,
    vault: &Vault,
    head: &str,
    lines: usize,
) -> Report {
    let run = &story.start.run;
    let steps: Vec<StepReport> = runbook.steps.iter().map(|step| report_step(step, story)).collect();
    let is_rehearsal = story.start.mode == Mode::Rehearse;
    let not_rehearsed: Vec<String> = steps
        .iter()
        .filter(|step| is_rehearsal && !words::is_done(step.state))
        .map(|step| format!("{}: {}", step.id, step.title))
        .collect();
    let path = |name: &str| {
        let shown = vault.shown(&format!("{}/{name}", folder(run)));
        std::path::absolute(&shown).map_or(shown, |path| path.display().to_string())
    };
    let mut report = Report {
        schema: "lifeboat.run/1",
        run: run.clone(),
        runbook: story.start.runbook.clone(),
        place: story.start.place.clone(),
        sha256: story.sha256.clone(),
        title: runbook.front.title.clone(),
        owner: runbook.front.owner.clone(),
        mode: story.start.mode,
        state: story.state,
        verdict: match story.passed {
            Some(true) => "pass",
            Some(false) => "fail",
            None => "unknown",
        },
        headline: "",
        meaning: String::new(),
        reasons: story.reasons.clone(),
        started_at: story.began,
        finished_at: story.passed.map(|_| story.last),
        ran_by: story.start.by.clone(),
        resumed_by: story
            .resumed
            .iter()
            .map(|(at, by)| Resumption { at: *at, identity: by.identity.clone() })
            .collect(),
        values: story.values.clone(),
        next: story.next(runbook).filter(|_| !story.state.is_over()).map(|step| step.id.clone()),
        rto: measure_rto(runbook, story),
        rpo_objective_seconds: runbook.front.rpo.map(|rpo| rpo.as_secs_f64()),
        not_rehearsed,
        coverage_percent: 0,
        steps_done: 0,
        doubts: story.start.doubts.clone(),
        undo: story.undo.as_ref().map(|undo| Undo {
            at: undo.began,
            by: undo.by.clone(),
            kept: undo.kept.clone(),
            reasons: undo.reasons.clone(),
        }),
        left: story
            .list_left_behind()
            .into_iter()
            .map(|(step, made)| Left { step, object: made.object, identity: made.identity })
            .collect(),
        evidence: Evidence { json: path("evidence.json"), html: path("evidence.html") },
        journal: JournalHead { file: path("journal.jsonl"), lines, head: head.to_owned() },
        steps,
    };
    report.conclude();
    report
}

impl Report {
    /// Derives the headline of the record from its content.
    pub(super) fn conclude(&mut self) {
        let count = Count::of_report(self);
        (self.coverage_percent, self.steps_done) = (count.percent(), count.done);
        let headline = words::headline(self);
        (self.headline, self.meaning) = (headline.word, headline.meaning);
    }
}

fn report_step(step: &Step, story: &RunHistory) -> StepReport {
    let told = story.step(&step.id);
    StepReport {
        id: step.id.clone(),
        title: step.title.clone(),
        role: step.kind.role(),
        state: told.state,
        started_at: told.began,
        seconds: seconds_of(&told),
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
        taken_back: told.undone,
    }
}

/// How long a step took; of a gate, how long a person took.
fn seconds_of(told: &StepHistory) -> Option<f64> {
    match (&told.answer, told.began, told.ended) {
        (Some(_), Some(began), Some(ended)) => Some((ended - began).as_seconds_f64()),
        _ => (told.seconds > 0.0).then_some(told.seconds),
    }
}

/// The steps of this mode up to the one that completes the recovery: the one marked `recovered`, otherwise the last one that
/// is not a gate.
fn list_recovery_steps(runbook: &Runbook, mode: Mode) -> Vec<&Step> {
    let marked = runbook.steps.iter().position(|step| step.completes_recovery);
    let goal = marked.or_else(|| runbook.steps.iter().rposition(|step| !step.kind.is_gate()));
    let steps = &runbook.steps[..goal.map_or(runbook.steps.len(), |goal| goal + 1)];
    steps.iter().filter(|step| step.only.is_none_or(|only| only == mode)).collect()
}

/// How long the recovery took, or has taken so far.
pub(super) fn measure_rto(runbook: &Runbook, story: &RunHistory) -> Rto {
    let steps = list_recovery_steps(runbook, story.start.mode);
    let told: Vec<StepHistory> = steps.iter().map(|step| story.step(&step.id)).collect();
    let ended = told.iter().filter_map(|told| told.ended).max();
    let is_complete = told.iter().all(|told| words::is_done(told.state));
    let until = ended.filter(|_| is_complete).unwrap_or(story.last);
    let measured = (until - story.began).as_seconds_f64();
    let objective = runbook.front.rto.map(|rto| rto.as_secs_f64());
    let verdict = match objective {
        Some(objective) if measured > objective => "fail",
        Some(_) if is_complete => "pass",
        _ => "unknown",
    };
    let people = told.iter().filter(|told| told.answer.is_some()).filter_map(seconds_of).sum();
    let recovered_by = steps.last().filter(|_| is_complete).map(|step| step.id.clone());
    Rto {
        objective_seconds: objective,
        measured_seconds: measured,
        verdict,
        recovered_by,
        people_seconds: people,
    }
}

/// Writes the record beside the journal: the document and the page.
pub(super) fn write_evidence(report: &Report, journal: &Journal) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(report)
        .map_err(|error| Error::new(Kind::Bug, "a record cannot be written as JSON").caused_by(error))?;
    json.push(b'\n');
    journal.write_beside("evidence.json", &json)?;
    journal.write_beside("evidence.html", page::render_page(report, &json).as_bytes())?;
    Ok(())
}
