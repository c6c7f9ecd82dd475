//! What is wrong with a runbook, and where.

use serde::Serialize;

/// A place in the file, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Position {
    pub line: usize,
    pub column: usize,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// It cannot be run as it is written.
    Malformed,
    /// It can be run, but will fail somebody one day.
    Shortfall,
    /// A note.
    Note,
}

/// Something wrong in a runbook.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Fault {
    pub at: Position,
    /// How bad.
    pub severity: Severity,
    /// Its code, for tools.
    pub code: &'static str,
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Fault {
    /// An error.
    pub(super) fn malformed(at: Position, code: &'static str, message: impl Into<String>) -> Self {
        Fault { at, severity: Severity::Malformed, code, message: message.into(), hint: None }
    }

    /// A warning.
    pub(super) fn shortfall(at: Position, code: &'static str, message: impl Into<String>) -> Self {
        Fault { at, severity: Severity::Shortfall, code, message: message.into(), hint: None }
    }

    /// A note.
    pub(super) fn note(at: Position, code: &'static str, message: impl Into<String>) -> Self {
        Fault { at, severity: Severity::Note, code, message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
