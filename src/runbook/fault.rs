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
    /// Adds what to do about it.
    pub(super) fn hint(&mut self, hint: impl Into<String>) {
        self.hint = Some(hint.into());
    }
}

/// The faults of a runbook, as they are found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(pub(super) Vec<Fault>);

impl Faults {
    /// Adds an error.
    pub(super) fn malformed(
        &mut self,
        at: Position,
        code: &'static str,
        message: impl Into<String>,
    ) -> &mut Fault {
        self.add(at, Severity::Malformed, code, message.into())
    }

    /// Adds a warning.
    pub(super) fn shortfall(
        &mut self,
        at: Position,
        code: &'static str,
        message: impl Into<String>,
    ) -> &mut Fault {
        self.add(at, Severity::Shortfall, code, message.into())
    }

    /// Adds a note.
    pub(super) fn note(
        &mut self,
        at: Position,
        code: &'static str,
        message: impl Into<String>,
    ) -> &mut Fault {
        self.add(at, Severity::Note, code, message.into())
    }

    fn add(&mut self, at: Position, severity: Severity, code: &'static str, message: String) -> &mut Fault {
        let place = self.0.len();
        self.0.push(Fault { at, severity, code, message, hint: None });
        &mut self.0[place]
    }

    /// Moves those of another list to the end of this one.
    pub(super) fn append(&mut self, other: &mut Faults) {
        self.0.append(&mut other.0);
    }

    /// Sorts them as they stand in the file.
    pub(super) fn sort(&mut self) {
        self.0.sort_by_key(|fault| (fault.at, fault.severity));
    }
}

impl std::ops::Deref for Faults {
    type Target = [Fault];

    fn deref(&self) -> &[Fault] {
        &self.0
    }
}
