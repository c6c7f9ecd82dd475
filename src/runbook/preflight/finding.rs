//! Findings of preflight, and its context.

use serde::Serialize;

use crate::aws::Aws;
use crate::runbook::document::{Mode, Runbook};
use crate::runbook::values::Values;

/// The state of something that a step needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Presence {
    There,
    /// It is missing, and a step will fail.
    Missing,
    /// A step may fail.
    Doubtful,
    /// It could not be checked.
    #[serde(rename = "not_looked")]
    Unknown,
}

/// Something that a later step needs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    pub state: Presence,
    /// What it is, and the reason.
    pub text: String,
}

impl Finding {
    pub(super) fn new(state: Presence, text: impl Into<String>) -> Self {
        Finding { state, text: text.into() }
    }
}

/// The context of the checks.
pub(in crate::runbook) struct PreflightContext<'a> {
    pub(in crate::runbook) runbook: &'a Runbook,
    pub(in crate::runbook) mode: Mode,
    pub(in crate::runbook) values: &'a Values,
    pub(in crate::runbook) aws: Option<&'a Aws>,
    pub(in crate::runbook) variables: &'a [(String, String)],
    pub(in crate::runbook) identity: &'a str,
    pub(in crate::runbook) now: chrono::DateTime<chrono::Utc>,
}

impl PreflightContext<'_> {
    /// A text with its values, if all of them are known before the first step.
    pub(super) fn fill(&self, text: &str) -> Option<String> {
        self.values.fill(text).ok()
    }
}
