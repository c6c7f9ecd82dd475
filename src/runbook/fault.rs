//! What is wrong with a runbook, and where.

use serde::Serialize;

/// A place in the file, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Position {
    /// Line.
    pub line: usize,
    /// Column.
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
    /// It can be run, and will let somebody down one day.
    Shortfall,
    /// Worth knowing.
    Note,
}

/// Something wrong in a runbook.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Fault {
    /// Where.
    pub at: Position,
    /// How bad.
    pub severity: Severity,
    /// In a word that tools can match.
    pub code: &'static str,
    /// What.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Fault {
    /// Something that cannot be run.
    pub(super) fn malformed(at: Position, code: &'static str, message: impl Into<String>) -> Self {
        Fault { at, severity: Severity::Malformed, code, message: message.into(), hint: None }
    }

    /// Something that will let somebody down.
    pub(super) fn shortfall(at: Position, code: &'static str, message: impl Into<String>) -> Self {
        Fault { at, severity: Severity::Shortfall, code, message: message.into(), hint: None }
    }

    /// Something worth knowing.
    pub(super) fn note(at: Position, code: &'static str, message: impl Into<String>) -> Self {
        Fault { at, severity: Severity::Note, code, message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
