//! The outcome of a drill, of its throwaway and of its objectives, each with a word, a tone and a rank. Terminal,
//! pages and reports use it, so that they all say the same about one drill.

use super::evidence::{ObjectiveVerdict, Report, State, Throwaway};
use crate::verify::Verdict;
use crate::words::Tone;
use chrono::{DateTime, Utc};
use serde::Serialize;

/// The outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The backup is good.
    Pass,
    /// It is not.
    Fail,
    /// The drill could not determine it.
    Unknown,
    /// A signal ended it before it had a verdict.
    Interrupted,
    /// Its process ended before the drill did.
    Died,
    /// It had not ended when this record was copied: its process, if any, is on another machine.
    Unfinished,
    /// It goes on.
    Running,
    /// Its record was altered, and proves nothing.
    Altered,
}

impl Outcome {
    /// By the record alone, without checking its process.
    pub(crate) fn of_record(report: &Report) -> Self {
        match (report.state, report.verdict) {
            (State::Running, _) => Outcome::Unfinished,
            (State::Died, _) => Outcome::Died,
            // A signal during the removal of the throwaway does not change the verdict.
            (_, Verdict::Pass) => Outcome::Pass,
            (_, Verdict::Fail) => Outcome::Fail,
            (State::Interrupted | State::Terminated, Verdict::Unknown) => Outcome::Interrupted,
            (State::Finished, Verdict::Unknown) => Outcome::Unknown,
        }
    }

    /// In a word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::Unknown => "unknown",
            Outcome::Interrupted => "interrupted",
            Outcome::Died => "died",
            Outcome::Unfinished => "unfinished",
            Outcome::Running => "running",
            Outcome::Altered => "altered",
        }
    }

    /// The verdict for the head of a page, and why there is none.
    pub(crate) const fn headline(self) -> &'static str {
        match self {
            Outcome::Pass => "PASS",
            Outcome::Fail => "FAIL",
            Outcome::Unknown => "UNKNOWN",
            Outcome::Interrupted => "UNKNOWN (interrupted)",
            Outcome::Died => "UNKNOWN (died)",
            Outcome::Unfinished => "UNKNOWN (unfinished)",
            Outcome::Running => "RUNNING",
            Outcome::Altered => "UNKNOWN (altered)",
        }
    }

    /// How it is drawn.
    pub(crate) const fn tone(self) -> Tone {
        match self {
            Outcome::Pass => Tone::Good,
            Outcome::Fail | Outcome::Altered => Tone::Bad,
            Outcome::Running => Tone::Faint,
            Outcome::Unknown | Outcome::Interrupted | Outcome::Died | Outcome::Unfinished => Tone::Doubt,
        }
    }

    /// Whether it is over and did not pass.
    pub(crate) fn is_shortfall(self) -> bool {
        !matches!(self, Outcome::Pass | Outcome::Running)
    }
}

/// The outcome of a throwaway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate<'a> {
    /// It could not be removed, for this reason.
    LeftBehind(&'a str),
    /// It was kept, as asked, until then.
    Kept(DateTime<Utc>),
    /// It was removed, and AWS no longer knew it then.
    Removed(DateTime<Utc>),
    /// A sweep found then that AWS does not know it; nobody has recorded a removal.
    NotThere(DateTime<Utc>),
    /// The drill is running.
    InUse,
    /// AWS was not asked for it before the drill ended.
    NeverMade,
    /// The drill ended without recording it.
    NotKnown,
}

impl<'a> Fate<'a> {
    /// Reads it from the record.
    pub(crate) fn of_throwaway(throwaway: &'a Throwaway, outcome: Outcome) -> Self {
        match throwaway {
            Throwaway { left_behind: Some(why), .. } => Fate::LeftBehind(why),
            Throwaway { kept: true, expires_at, .. } => Fate::Kept(*expires_at),
            Throwaway { removed_at: Some(at), .. } => Fate::Removed(*at),
            Throwaway { found_gone_at: Some(at), .. } => Fate::NotThere(*at),
            _ if outcome == Outcome::Running => Fate::InUse,
            // A process that ended early may have asked for it and not written that down.
            _ if matches!(outcome, Outcome::Died | Outcome::Unfinished) => Fate::NotKnown,
            Throwaway { requested_at: None, .. } => Fate::NeverMade,
            _ => Fate::NotKnown,
        }
    }

    /// In a word or two.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Fate::LeftBehind(_) => "left behind",
            Fate::Kept(_) => "kept",
            Fate::Removed(_) => "removed",
            Fate::NotThere(_) => "not there",
            Fate::InUse => "in use",
            Fate::NeverMade => "never created",
            Fate::NotKnown => "not known",
        }
    }

    /// How it is drawn.
    pub(crate) const fn tone(self) -> Tone {
        match self {
            Fate::LeftBehind(_) => Tone::Bad,
            Fate::Removed(_) | Fate::NotThere(_) => Tone::Good,
            Fate::Kept(_) | Fate::NotKnown => Tone::Doubt,
            Fate::InUse | Fate::NeverMade => Tone::Faint,
        }
    }

    /// When that was.
    pub(crate) const fn known_at(self) -> Option<DateTime<Utc>> {
        match self {
            Fate::Removed(at) | Fate::NotThere(at) | Fate::Kept(at) => Some(at),
            Fate::LeftBehind(_) | Fate::InUse | Fate::NeverMade | Fate::NotKnown => None,
        }
    }

    /// What that means, in a sentence without its full stop.
    pub(crate) fn explain(self) -> String {
        match self {
            Fate::LeftBehind(why) => format!("it could not be removed: {why}"),
            Fate::Kept(_) => "it was kept as requested, and is billed until it is removed".to_owned(),
            Fate::Removed(_) => "by then AWS had no instance with this id".to_owned(),
            Fate::NotThere(_) => {
                "a sweep found no such instance; who removed it, or whether it was ever created, is not recorded".to_owned()
            }
            Fate::InUse => "the drill is still running".to_owned(),
            Fate::NeverMade => "it was never requested from AWS".to_owned(),
            Fate::NotKnown => "the drill ended without recording it: `lifeboat drill sweep` searches for it".to_owned(),
        }
    }

    /// Whether it may still be there without anybody's wish, as far as the record says.
    pub(crate) const fn may_be_left(self) -> bool {
        matches!(self, Fate::LeftBehind(_) | Fate::NotKnown)
    }
}

impl ObjectiveVerdict {
    /// In a word or two.
    pub(crate) const fn word(self, measured: Option<f64>) -> &'static str {
        match (self, measured) {
            (ObjectiveVerdict::Pass, _) => "met",
            (ObjectiveVerdict::Fail, _) => "missed",
            // The drill broke off before it could judge what it had measured.
            (ObjectiveVerdict::Unknown, Some(_)) => "not judged",
            (ObjectiveVerdict::Unknown, None) => "not measured",
            // The backup was chosen by hand, so its age says nothing of the routine.
            (ObjectiveVerdict::NotJudged, _) => "not judged",
        }
    }

    /// How it is drawn.
    pub(crate) const fn tone(self) -> Tone {
        match self {
            ObjectiveVerdict::Pass => Tone::Good,
            ObjectiveVerdict::Fail => Tone::Bad,
            ObjectiveVerdict::Unknown => Tone::Doubt,
            ObjectiveVerdict::NotJudged => Tone::Faint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::samples;
    use super::*;

    #[test]
    fn a_record_that_is_not_over_says_nothing_of_its_throwaway() {
        let mut report = samples::unknown_report();
        (report.throwaway.removed_at, report.throwaway.left_behind, report.throwaway.kept) =
            (None, None, false);
        report.throwaway.requested_at = None;
        for (state, fate) in [
            (State::Died, Fate::NotKnown),
            (State::Running, Fate::NotKnown),
            (State::Finished, Fate::NeverMade),
            (State::Interrupted, Fate::NeverMade),
        ] {
            report.state = state;
            assert_eq!(Fate::of_throwaway(&report.throwaway, Outcome::of_record(&report)), fate, "{state:?}");
        }
        assert_eq!(Fate::of_throwaway(&report.throwaway, Outcome::Running), Fate::InUse);
        let at = report.started_at;
        report.throwaway.found_gone_at = Some(at);
        assert!(!Fate::of_throwaway(&report.throwaway, Outcome::Died).may_be_left());
        report.throwaway.removed_at = Some(at);
        assert_eq!(Fate::of_throwaway(&report.throwaway, Outcome::Died), Fate::Removed(at));
    }
}
