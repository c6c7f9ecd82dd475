//! Which run is resumed, and with which runbook and values.

use super::document::{Mode, Runbook, Step};
use super::journal::{self, Found, Journal};
use super::parameters::{self, ReadTime};
use super::state::{RunHistory, StepState};
use super::values::{Values, is_withheld};
use super::{load_valid_runbook, record, unknown_step_error};
use crate::error::{Error, Kind, Result};
use crate::rds::RunId;
use crate::vault::Vault;

/// A run to be resumed.
pub(crate) struct Reopened {
    /// Its journal, locked.
    pub journal: Journal,
    /// The lines of the journal.
    pub found: Found,
    /// The state according to the journal.
    pub story: RunHistory,
    /// Whether the runbook was changed since the run began.
    pub is_changed: bool,
}

/// Reopens a run to resume it, with its runbook. A run that has ended is refused unless a step is named; a runbook that was changed since, unless
/// `accepted` is the beginning of its hash.
pub(crate) fn resume(
    vault: &Vault,
    run: &str,
    from: Option<&str>,
    accepted: Option<&str>,
) -> Result<(Runbook, Reopened)> {
    let (journal, found) = Journal::reopen(vault, run)?;
    let story = RunHistory::replay(journal.lines())?;
    if story.state.is_over() && from.is_none() {
        return Err(Error::request(format!("run `{run}` has ended ({})", story.state.word()))
            .hint("Start a new run."));
    }
    let runbook = load_valid_runbook(&story.start.place)?;
    let is_changed = runbook.sha256 != story.sha256;
    if is_changed {
        refuse_changed(run, &runbook, &story, accepted)?;
    }
    Ok((runbook, Reopened { journal, found, story, is_changed }))
}

/// Reopens a run to undo it, with the copy of the runbook beside its journal.
pub(crate) fn resume_to_undo(vault: &Vault, run: &str) -> Result<(Runbook, Reopened)> {
    let (journal, found) = Journal::reopen(vault, run)?;
    let story = RunHistory::replay(journal.lines())?;
    let runbook = record::load_copy(vault, run, &story)?;
    Ok((runbook, Reopened { journal, found, story, is_changed: false }))
}

/// The latest run of this very runbook whose journal proves that everything before a step is done.
pub(crate) fn find_run_to_resume(vault: &Vault, runbook: &Runbook, from: &str, mode: Mode) -> Result<String> {
    let Some(place) = runbook.steps.iter().position(|step| step.id == from) else {
        return Err(unknown_step_error(runbook, from));
    };
    let mut proven = None;
    for run in vault.list("runs")?.folders {
        let Ok(found) = journal::read_journal(vault, &run) else { continue };
        let story = RunHistory::replay(&found.lines)?;
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
        .hint("Run it from the start; read-only steps cost little. `lifeboat runbook runs` shows what can be resumed."))
}

/// A changed runbook is accepted only by its hash.
fn refuse_changed(run: &str, runbook: &Runbook, story: &RunHistory, accepted: Option<&str>) -> Result<()> {
    let place = runbook.origin.display_path();
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
            "It was {}. Compare it with the copy `{copy}/runbook.md` in the vault; if it is right, pass `--accept-changed {}`.",
            &story.sha256[..12.min(story.sha256.len())],
            &runbook.sha256
        )),
    })
}

/// Values of the run; secret ones, which are not recorded, come from their sources again.
pub(crate) fn restore_values(
    runbook: &Runbook,
    story: &RunHistory,
    set: &[(String, String)],
    read_time: ReadTime<'_>,
) -> Result<Values> {
    let run =
        RunId::parse(&story.start.run).ok_or_else(|| Error::new(Kind::Guard, "the journal names no run"))?;
    for (name, value) in set {
        if let Some(was) = story.values.get(name)
            && was != value
            && !is_withheld(was)
        {
            return Err(Error::request(format!("`{name}` is `{was}` in this run and cannot be changed"))
                .hint("Start a new run."));
        }
    }
    let mut said: Vec<(String, String)> = story
        .values
        .iter()
        .filter(|(name, _)| runbook.front.parameters.iter().any(|parameter| parameter.name == **name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    said.extend(set.iter().cloned());
    if let Some((name, _)) =
        said.iter().find(|(name, value)| is_withheld(value) && !set.iter().any(|(given, _)| given == name))
    {
        return Err(Error::request(format!("the value of `{name}` looked secret and is not in the journal"))
            .hint(format!("Pass it again with `--set {name}=…`.")));
    }
    parameters::resolve_parameters(&runbook.front, &said, story.start.mode, &run, read_time)
}
