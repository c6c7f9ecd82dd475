//! The records of runs, as their journals have them now: ended, waiting and in progress.

use super::document::{Origin, Runbook};
use super::evidence;
use super::report::Report;
use super::state::{RunHistory, RunState, StepState};
use super::{journal, load_runbook};
use crate::error::{Error, Kind, Result};
use crate::vault::Vault;

/// The record of one run.
pub(crate) fn read_report(vault: &Vault, run: &str) -> Result<Report> {
    let found = journal::read_journal(vault, run)?;
    let mut story = RunHistory::replay(&found.lines)?;
    if story.state == RunState::Died && journal::is_alive(vault, run)? {
        story.state = RunState::Running;
    }
    let runbook = load_copy(vault, run, &story)?;
    let mut report = evidence::build_report(&runbook, &story, vault, &found.head, found.lines.len());
    if report.state == RunState::Running {
        let begun = report.steps.iter_mut().filter(|step| step.state == StepState::Unknown);
        begun.for_each(|step| step.state = StepState::Running);
        report.conclude();
    }
    Ok(report)
}

/// Those of all runs, newest first, and what is wrong with those that cannot be read.
pub(crate) fn list_reports(vault: &Vault) -> Result<(Vec<Report>, Vec<String>)> {
    let (mut reports, mut unreadable) = (Vec::new(), Vec::new());
    for run in vault.list("runs")?.folders.into_iter().rev() {
        match read_report(vault, &run) {
            Ok(report) => reports.push(report),
            Err(error) => unreadable.push(format!("run `{run}`: {}", error.chain())),
        }
    }
    // Ids begin with the second; within one, the time of the start decides.
    reports.sort_by_key(|report| std::cmp::Reverse(report.started_at));
    Ok((reports, unreadable))
}

/// The copy of the runbook beside the journal.
pub(crate) fn load_copy(vault: &Vault, run: &str, story: &RunHistory) -> Result<Runbook> {
    let path = vault.path(&format!("{}/runbook.md", journal::folder(run)))?;
    let mut runbook = load_runbook(&path.display().to_string())?;
    if runbook.sha256 != story.sha256 {
        return Err(Error::new(Kind::Guard, format!("`{}` was changed", path.display())));
    }
    let place = &story.start.place;
    runbook.origin =
        if place.contains('/') { Origin::File(place.into()) } else { Origin::Shipped(place.to_owned()) };
    Ok(runbook)
}
