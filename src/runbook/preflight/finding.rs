//! What preflight finds, and what it works with.

use serde::Serialize;

use crate::aws::Aws;
use crate::runbook::document::{Mode, Runbook};
use crate::runbook::values::Values;

/// What was found out about something that a step needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Presence {
    /// It is there.
    There,
    /// It is missing, and a step will fail.
    Missing,
    /// A step may fail.
    Doubtful,
    /// It could not be looked at.
    #[serde(rename = "not_looked")]
    Unknown,
}

/// Something that a later step needs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// How it stands.
    pub state: Presence,
    /// What, and why it stands so.
    pub text: String,
}

impl Finding {
    pub(super) fn new(state: Presence, text: impl Into<String>) -> Self {
        Finding { state, text: text.into() }
    }
}

/// What is looked at, and with what.
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
