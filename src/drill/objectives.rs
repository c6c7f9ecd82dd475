//! Whether a drill met its objectives: the recovery time, and the age of what it restored.

use chrono::{DateTime, TimeDelta, Utc};

use super::evidence::{ObjectiveVerdict, Report};
use crate::verify::Verdict;
use crate::when::{format_span, format_time};

/// How much the clocks of the database, of AWS and of the client that wrote a row may differ.
const SKEW: TimeDelta = TimeDelta::minutes(5);

/// How old the newest row of a copy was when the drill began, in seconds. A row that is dated after the restored moment
/// proves nothing, and hides the age of the others.
pub(super) fn age_of_newest_row(
    newest: DateTime<Utc>,
    moment: Option<DateTime<Utc>>,
    began: DateTime<Utc>,
) -> std::result::Result<f64, String> {
    let latest = moment.unwrap_or(began);
    if newest > latest + SKEW {
        return Err(format!(
            "the newest row is dated {}, which is after the restored moment {}, so the age of the other rows is unknown",
            format_time(newest),
            format_time(latest)
        ));
    }
    Ok((began - newest).as_seconds_f64().max(0.0))
}

/// How old a backup was when the drill began, in seconds.
pub(super) fn age_of_backup(
    moment: Option<DateTime<Utc>>,
    began: DateTime<Utc>,
) -> std::result::Result<f64, String> {
    match moment {
        None => Err("AWS does not report the time of the backup".to_owned()),
        Some(at) if at > began + SKEW => {
            Err(format!("AWS dates the backup {}, which was after the drill began", format_time(at)))
        }
        Some(at) => Ok((began - at).as_seconds_f64().max(0.0)),
    }
}

impl Report {
    /// Judges the objectives: one that was missed fails the drill, and one that was not measured is not met.
    pub(super) fn judge_objectives(&mut self, rpo_is_by_hand: bool) {
        let weigh = |measured: Option<f64>, objective: f64| match measured {
            Some(measured) if measured <= objective => ObjectiveVerdict::Pass,
            Some(_) => ObjectiveVerdict::Fail,
            None => ObjectiveVerdict::Unknown,
        };
        self.rto.verdict = weigh(self.rto.measured_seconds, self.rto.objective_seconds);
        self.rpo.verdict = if rpo_is_by_hand {
            ObjectiveVerdict::NotJudged
        } else {
            weigh(self.rpo.measured_seconds, self.rpo.objective_seconds)
        };
        let missed = [
            ("RTO", self.rto.verdict, self.rto.measured_seconds, self.rto.objective_seconds),
            ("RPO", self.rpo.verdict, self.rpo.measured_seconds, self.rpo.objective_seconds),
        ];
        for (name, verdict, measured, objective) in missed {
            if verdict == ObjectiveVerdict::Fail {
                self.verdict = Verdict::Fail;
                let (measured, objective) =
                    (format_span(measured.unwrap_or_default()), format_span(objective));
                self.reasons.push(format!("{name} missed: {measured} against an objective of {objective}"));
            }
            if verdict == ObjectiveVerdict::Unknown {
                if self.verdict == Verdict::Pass {
                    self.verdict = Verdict::Unknown;
                }
                let why = self.rpo.reason.as_deref().filter(|_| name == "RPO");
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                self.reasons.push(format!("{name} was not measured, so it is not met{why}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_cannot_be_that_new_measures_nothing() {
        let began: DateTime<Utc> = "2026-11-21T14:00:00Z".parse().unwrap();
        let moment = began - TimeDelta::days(90);
        assert_eq!(age_of_newest_row(moment, Some(moment), began), Ok(90.0 * 86_400.0));
        // Clocks differ a little; a copy of the newest moment has rows from after the drill began.
        assert!(age_of_newest_row(moment + TimeDelta::minutes(4), Some(moment), began).is_ok());
        assert_eq!(
            age_of_newest_row(began + TimeDelta::hours(1), Some(began + TimeDelta::hours(1)), began),
            Ok(0.0)
        );
        for odd in [moment + TimeDelta::minutes(6), began, began + TimeDelta::days(26_000)] {
            let why = age_of_newest_row(odd, Some(moment), began).unwrap_err();
            assert!(why.contains("after the restored moment 2026-08-23T14:00:00Z"), "{why}");
        }
        assert!(age_of_newest_row(began + TimeDelta::hours(1), None, began).is_err());
        assert!(
            age_of_backup(None, began).is_err()
                && age_of_backup(Some(began + TimeDelta::hours(2)), began).is_err()
        );
    }

    #[test]
    fn an_objective_that_was_not_measured_is_not_met_and_hides_no_failure() {
        let judged = |verdict, rto, rpo, by_hand| {
            let mut report = crate::drill::page::samples::unknown_report();
            report.reasons.clear();
            report.verdict = verdict;
            (report.rto.measured_seconds, report.rpo.measured_seconds) = (rto, rpo);
            report.judge_objectives(by_hand);
            (report.verdict, report.reasons.len())
        };
        use Verdict::{Fail, Pass, Unknown};
        assert_eq!(judged(Pass, Some(1.0), Some(1.0), false), (Pass, 0));
        assert_eq!(judged(Pass, Some(1.0), None, false), (Unknown, 1));
        assert_eq!(judged(Pass, None, Some(1.0), false), (Unknown, 1));
        assert_eq!(judged(Fail, None, None, false), (Fail, 2));
        assert_eq!(judged(Pass, Some(1e9), None, false), (Fail, 2));
        assert_eq!(
            judged(Pass, Some(1.0), None, true),
            (Pass, 0),
            "a backup that was chosen by hand has no RPO"
        );
    }
}
