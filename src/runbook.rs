//! Disaster-recovery runbooks: one Markdown file that people read and the tool runs.
//!
//! The language of a fenced block is its role, so that a person sees it on any Markdown page; identifiers and times follow
//! behind it. A run keeps a [`journal`] in the vault (`runs/<run>/`), flushed before and after every step, each line carrying
//! the hash of the one before. What the journal does not prove is not known: a step that began and did not end is checked with
//! its probe, never repeated blindly, and only what a run is proven to have made is ever undone.
//!
//! Refused on purpose: loops, conditions, and parameters inside of shell text. A decision is a gate for a person, or another
//! runbook; parameters reach shells as environment variables only.

pub(crate) mod actor;
pub(crate) mod confined;
pub(crate) mod document;
mod evaluation;
mod evidence;
pub(crate) mod expect;
pub(crate) mod fault;
mod fence;
mod front;
pub(crate) mod gate;
pub(crate) mod journal;
pub(crate) mod lint;
mod objects;
mod page;
pub(crate) mod parameters;
pub(crate) mod parse;
pub(crate) mod plan;
pub(crate) mod preflight;
mod read_only_step;
mod redact;
pub(crate) mod record;
pub(crate) mod report;
pub(crate) mod resumption;
pub(crate) mod run;
mod script;
pub(crate) mod shell;
pub(crate) mod shipped;
mod sql;
pub(crate) mod state;
mod undo;
pub(crate) mod values;
mod wait;
pub(crate) mod words;

pub(crate) use document::{Kind, Mode, Origin, Runbook, Step};
pub(crate) use fault::Severity;
pub(crate) use undo::{Undoing, undo_run};

use std::path::Path;

use crate::error::{Error, Result};
pub(crate) use crate::vault::chain::sha256;

/// Largest runbook that is read.
const LARGEST: u64 = 1024 * 1024;

/// Reads a runbook: a file, or one that is built in, by its name. Errors in it are in its faults.
pub(crate) fn load_runbook(place: &str) -> Result<Runbook> {
    let path = Path::new(place);
    let looks_like_a_name = !place.contains('/') && !place.ends_with(".md");
    if looks_like_a_name && !path.is_file() {
        let Some(text) = shipped::read_shipped(place) else {
            let near = shipped::nearest_name(place).map(|name| format!("Did you mean `{name}`? "));
            return Err(Error::request(format!("there is no runbook `{}`", place.escape_default())).hint(
                format!(
                    "{}`lifeboat runbook list` lists the built-in runbooks; name a file by its path.",
                    near.unwrap_or_default()
                ),
            ));
        };
        return Ok(parse::parse(Origin::Shipped(place.to_owned()), text.as_bytes()));
    }
    let failed = |error: std::io::Error| {
        Error::request(format!("cannot read the runbook `{place}`"))
            .caused_by(error)
            .hint("`lifeboat runbook list` lists the built-in runbooks.")
    };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > LARGEST {
        return Err(Error::request(format!("`{place}` is too large for a runbook ({size} bytes)")));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    Ok(parse::parse(Origin::File(std::path::absolute(path).unwrap_or(path.to_owned())), &bytes))
}

/// The same, refused if it cannot be run as it is written.
pub(crate) fn load_valid_runbook(place: &str) -> Result<Runbook> {
    refuse_malformed(load_runbook(place)?)
}

/// The error for a step that the runbook does not have.
fn unknown_step_error(runbook: &Runbook, step: &str) -> Error {
    let known: Vec<&str> = runbook.steps.iter().map(|step| step.id.as_str()).collect();
    Error::request(format!("the runbook has no step `{}`", step.escape_default()))
        .hint(format!("It has {}.", known.join(", ")))
}

/// Refuses a runbook that cannot be run as it is written.
pub(crate) fn refuse_malformed(runbook: Runbook) -> Result<Runbook> {
    let mut malformed = runbook.faults.iter().filter(|fault| fault.severity == Severity::Malformed);
    let Some(first) = malformed.next() else { return Ok(runbook) };
    let more = malformed.count();
    let place = runbook.origin.display_path();
    let mut error = Error::request(format!("{place}:{}: {}", first.at, first.message));
    if let Some(hint) = &first.hint {
        error = error.hint(hint.clone());
    }
    let others = if more > 0 { format!(" There are {more} more errors.") } else { String::new() };
    Err(error.hint(format!("`lifeboat runbook check {place}` shows all errors.{others}")))
}

/// Refuses names that no step of the runbook has.
pub(crate) fn refuse_unknown_steps<'a>(
    runbook: &Runbook,
    steps: impl Iterator<Item = &'a String>,
) -> Result<()> {
    for step in steps {
        if runbook.step(step).is_none() {
            return Err(unknown_step_error(runbook, step));
        }
    }
    Ok(())
}
