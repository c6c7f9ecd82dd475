//! The one error of the crate, and what each kind of it means to whoever started us.
//!
//! An error says what went wrong on which object, why, and what to do next. The text is lower case without a
//! full stop, the object in backticks; a hint is a sentence, something to *do*. Hints are attached once, where
//! an outside failure becomes ours.

use std::fmt;

/// Shorthand for results that fail with our [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What a failure means to the caller; each kind is one exit code of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The answer is no: rows are missing, an objective was missed.
    No,
    /// The request is wrong: flags, configuration, an object that does not exist.
    Request,
    /// The outside failed: AWS or a database refused or could not be reached. We could not find out.
    Outside,
    /// A guard refused: the act would destroy what must not be destroyed.
    Guard,
    /// Some of several parts failed; running it again continues.
    Partial,
    /// Something that costs money was left behind. It outranks [`Kind::No`] and [`Kind::Outside`].
    LeftBehind,
    /// Still going on at the end of the time that was allowed for waiting.
    StillGoing,
    /// A defect of the tool itself.
    Bug,
    /// Stopped by SIGINT, after cleaning up.
    Interrupted,
    /// Stopped by SIGTERM, after cleaning up.
    Terminated,
}

impl Kind {
    /// The process exit code; a promise to scripts (see the table in docs/reference.md).
    pub const fn exit_code(self) -> u8 {
        match self {
            Kind::No => 1,
            Kind::Request => 2,
            Kind::Outside => 3,
            Kind::Guard => 4,
            Kind::Partial => 5,
            Kind::LeftBehind => 6,
            Kind::StillGoing => 7,
            Kind::Bug => 70,
            Kind::Interrupted => 130,
            Kind::Terminated => 143,
        }
    }

    /// Which of several failures an exit code stands for: what costs money outranks all, then come a guard and a bug,
    /// then an interrupt, then "no", then "could not find out".
    const fn rank(self) -> u8 {
        match self {
            Kind::Request => 1,
            Kind::Outside => 2,
            Kind::No => 3,
            Kind::Interrupted | Kind::Terminated => 4,
            Kind::Guard | Kind::Partial | Kind::StillGoing | Kind::Bug => 5,
            Kind::LeftBehind => 6,
        }
    }

    /// The worse of two ends, of which `None` is the good one.
    pub(crate) fn worse(left: Option<Self>, right: Option<Self>) -> Option<Self> {
        let rank = |kind: Option<Self>| kind.map_or(0, Self::rank);
        if rank(right) > rank(left) { right } else { left }
    }

    /// The word for programs (`lifeboat.error/1`).
    pub const fn word(self) -> &'static str {
        match self {
            Kind::No => "no",
            Kind::Request => "request",
            Kind::Outside => "outside",
            Kind::Guard => "guard",
            Kind::Partial => "partial",
            Kind::LeftBehind => "left_behind",
            Kind::StillGoing => "still_going",
            Kind::Bug => "bug",
            Kind::Interrupted => "interrupted",
            Kind::Terminated => "terminated",
        }
    }
}

/// A failure, told to the person who has to act on it.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hints: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), hints: Vec::new(), source: None }
    }

    /// The request is wrong (exit code 2).
    pub fn request(message: impl Into<String>) -> Self {
        Error::new(Kind::Request, message)
    }

    /// The outside failed (exit code 3).
    pub fn outside(message: impl Into<String>) -> Self {
        Error::new(Kind::Outside, message)
    }

    /// The same, of another kind.
    #[must_use]
    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the failure means to the caller.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The remedies, most useful first.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The remedies of this error and of those that caused it.
    pub fn all_hints(&self) -> Vec<String> {
        let mut hints = self.hints.clone();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            hints.extend(cause.downcast_ref::<Error>().map(Error::hints).unwrap_or_default().iter().cloned());
            next = cause.source();
        }
        hints.dedup();
        hints
    }

    /// The message and every cause below it, on one line.
    pub fn chain(&self) -> String {
        let mut line = self.message.clone();
        for cause in self.causes() {
            line.push_str(": ");
            let lines: Vec<&str> = cause.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            line.push_str(&lines.join("; ").replace(":; ", ": "));
        }
        line
    }

    /// Every cause below the message, outermost first; a cause that only repeats the one above is left out.
    pub fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            let text = cause.to_string();
            let repeated = causes.last().unwrap_or(&self.message).contains(&text);
            if !repeated && !text.is_empty() {
                causes.push(text);
            }
            next = cause.source();
        }
        causes
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_repeats_the_message_is_said_once() {
        let io = std::io::Error::other("disk on fire");
        let inner = Error::outside("cannot write `a`: disk on fire").caused_by(io);
        let outer = Error::outside("drill `x` was not recorded").caused_by(inner);
        assert_eq!(outer.chain(), "drill `x` was not recorded: cannot write `a`: disk on fire");
    }

    #[test]
    fn a_chain_is_one_line() {
        let cause =
            std::io::Error::other("no credentials. Attempted:\n  Environment: not set\n  Profile: none\n");
        let error = Error::outside("there are none").caused_by(cause);
        assert_eq!(
            error.chain(),
            "there are none: no credentials. Attempted: Environment: not set; Profile: none"
        );
    }

    #[test]
    fn the_reference_lists_every_exit_code() {
        let reference = include_str!("../docs/reference.md");
        let kinds = [
            Kind::No,
            Kind::Request,
            Kind::Outside,
            Kind::Guard,
            Kind::Partial,
            Kind::LeftBehind,
            Kind::StillGoing,
            Kind::Bug,
        ];
        for kind in kinds {
            assert!(reference.contains(&format!("| {} | ", kind.exit_code())), "{kind:?}");
        }
        let (interrupted, terminated) = (Kind::Interrupted.exit_code(), Kind::Terminated.exit_code());
        assert!(reference.contains(&format!("| {interrupted}, {terminated} |")));
    }
}
