//! The context of a run, and its progress events.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::aws::Aws;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::runbook::confined::ReadsOnly;
use crate::runbook::document::{Runbook, Step};
use crate::runbook::gate::Ask;
use crate::runbook::journal::{Actor, Answer, Ending, Journal};
use crate::runbook::redact::Redactor;
use crate::runbook::report::Report;
use crate::runbook::state::RunHistory;
use crate::runbook::values::Values;
use crate::vault::Vault;

/// The default timeout of a step.
pub(super) const USUAL: Duration = Duration::from_secs(300);

/// A progress event.
pub(crate) enum Progress<'a> {
    /// A step begins.
    Step(&'a Step, &'a Clock),
    /// Output of a step, redacted.
    Says(&'a str),
    /// What a step waits for.
    Waits(&'a str),
    /// A step has ended.
    Ended(&'a Step, Ending, f64, &'a [String], &'a Clock),
    /// A step is not for this mode, or was done before.
    Passed(&'a Step, &'a str),
    /// A probe was run.
    Probed(&'a Step, Answer, &'a str),
    /// A gate was passed.
    Answered(&'a Step, &'a str, &'a Clock),
    /// A step that is being undone, and the result once it is known.
    Undo(&'a str, Option<bool>, &'a str),
    /// Something that may make a later step fail.
    Doubt(&'a str),
    /// Anything else.
    Note(&'a str),
}

/// How much time has passed, and how much is left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Number of the step, from 1, and of how many.
    pub step: (usize, usize),
    /// Since the run began.
    pub elapsed: Duration,
    /// How long it may take.
    pub rto: Option<Duration>,
    /// How long the recovery took, if it is complete.
    pub recovered: Option<Duration>,
}

/// The context of a run.
pub(crate) struct Context<'a> {
    /// Where journals lie.
    pub vault: &'a Vault,
    /// AWS, if the runbook needs it.
    pub aws: Option<&'a Aws>,
    /// Signals.
    pub interrupt: &'a Interrupt,
    /// Called with each progress event.
    pub tell: &'a dyn Fn(Progress<'_>),
    pub clock: fn() -> DateTime<Utc>,
    /// Who runs it.
    pub by: Actor,
    /// Asks a person on the terminal.
    pub ask: Ask<'a>,
    /// Answers that were given beforehand, by step.
    pub answers: &'a [(String, String)],
    /// Steps that somebody marked as done.
    pub done: &'a [String],
    /// Steps that somebody allowed to be repeated.
    pub redo: &'a [String],
    /// Variables for commands, besides those of the environment.
    pub variables: &'a [(String, String)],
    /// How often waits poll, overriding the runbook.
    pub poll: Option<Duration>,
    /// Which calls of lifeboat are read-only.
    pub reads_only: ReadsOnly<'a>,
    /// Whether preflight is skipped.
    pub without_preflight: bool,
}

/// The result: the record, and what stopped the run.
pub(crate) struct Outcome {
    /// The record.
    pub report: Report,
    /// Why it stopped; `None` if it passed.
    pub error: Option<Error>,
}

/// Where a run stops.
pub(in crate::runbook) struct Stop {
    pub(in crate::runbook) state: &'static str,
    pub(in crate::runbook) step: Option<String>,
    pub(in crate::runbook) error: Error,
}

impl Stop {
    pub(in crate::runbook) fn at(step: &Step, state: &'static str, error: Error) -> Self {
        Stop { state, step: Some(step.id.clone()), error }
    }
}

/// A run in progress.
pub(in crate::runbook) struct Run<'a, 'cx> {
    pub(in crate::runbook) runbook: &'a Runbook,
    pub(in crate::runbook) journal: Journal,
    pub(in crate::runbook) story: RunHistory,
    pub(in crate::runbook) values: Values,
    pub(in crate::runbook) redactor: Redactor,
    pub(in crate::runbook) cx: &'a Context<'cx>,
    /// Steps that may have begun in lines that the journal has lost.
    pub(in crate::runbook) suspects: Vec<String>,
}
