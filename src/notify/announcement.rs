//! What a command has to say of one subject: how it is, why, and what to do next.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind};
use crate::rds::Place;

/// The state of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// It needs attention.
    Warning,
    /// It could not be determined.
    Unknown,
    /// It has failed.
    Fail,
}

impl State {
    /// In a word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Unknown => "unknown",
            State::Fail => "fail",
        }
    }

    /// How urgent the state is.
    pub(crate) fn severity(self) -> &'static str {
        match self {
            State::Ok => "info",
            State::Warning | State::Unknown => "warning",
            State::Fail => "critical",
        }
    }
}

/// What an announcement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A database.
    Database(String),
    /// A runbook.
    Runbook(String),
    /// The command as a whole.
    Whole,
}

/// Whether an announcement is about an event or a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Each failure is news, such as that of a drill.
    Event,
    /// Repeating it is no news, such as what `status` finds every quarter of an hour.
    Condition,
}

/// The outcome of a command for one subject.
#[derive(Clone, Debug)]
pub(crate) struct Announcement {
    /// Of what.
    pub subject: Subject,
    /// In which account and Region, where there are several.
    pub place: Option<String>,
    /// Whether it is an event or a condition.
    pub nature: Nature,
    /// How it is.
    pub state: State,
    /// The command's own word for the outcome.
    pub verdict: String,
    /// The first reason.
    pub reason: String,
    /// Tells whether it is the same as before.
    pub mark: String,
    /// Path of the evidence.
    pub evidence: Option<String>,
    /// One step to take.
    pub next: String,
}

impl Announcement {
    /// What can be said of something that ended without an error, from its exit code.
    pub(crate) fn of_exit(subject: Subject, kind: Option<Kind>, evidence: Option<String>) -> Self {
        let (state, verdict, reason) = kind.map_or((State::Ok, "ok", "it is done"), describe_kind);
        let next = match kind {
            None => "nothing to do",
            Some(_) => "look at the output of the command, or run it again",
        };
        Announcement {
            subject,
            place: None,
            nature: Nature::Event,
            state,
            verdict: verdict.to_owned(),
            reason: reason.to_owned(),
            mark: verdict.to_owned(),
            evidence,
            next: next.to_owned(),
        }
    }

    /// What can be said of something from the error that ended it.
    pub(crate) fn of_error(subject: Subject, error: &Error) -> Self {
        let usual = Announcement::of_exit(subject, Some(error.kind()), None);
        let next = error.hints().first().cloned().unwrap_or(usual.next);
        Announcement { reason: error.chain(), next, ..usual }
    }

    /// What can be said of something from how it ended.
    pub(crate) fn of_result(subject: Subject, ended: &Result<Option<Kind>, Error>) -> Self {
        match ended {
            Ok(kind) => Announcement::of_exit(subject, *kind, None),
            Err(error) => Announcement::of_error(subject, error),
        }
    }

    /// The same, of something in an account that `lifeboat.toml` names: its namesakes elsewhere are others.
    pub(crate) fn located_in(self, place: &Place) -> Self {
        Announcement { place: place.account.is_some().then(|| place.to_string()), ..self }
    }
}

/// What an exit code says: how it is, in a word, and in a sentence.
fn describe_kind(kind: Kind) -> (State, &'static str, &'static str) {
    match kind {
        Kind::No => (State::Fail, "no", "the answer is no"),
        Kind::Request => (State::Unknown, "wrong request", "the request is wrong"),
        Kind::Outside => (State::Unknown, "unknown", "it could not be determined"),
        Kind::Guard => (State::Fail, "refused", "a guard refused"),
        Kind::Partial => (State::Fail, "partly done", "some of several parts failed"),
        Kind::LeftBehind => (State::Fail, "left behind", "something that costs money was left behind"),
        Kind::StillGoing => {
            (State::Warning, "still going on", "it was still going on when the time to wait was over")
        }
        Kind::Bug => (State::Fail, "defect", "a defect of lifeboat"),
        Kind::Interrupted | Kind::Terminated => (State::Unknown, "interrupted", "it was interrupted"),
    }
}
