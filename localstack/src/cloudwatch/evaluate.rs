//! The state that an alarm's data points call for, after the CloudWatch User Guide, "Configuring how CloudWatch
//! alarms treat missing data".
//!
//! More points are retrieved than are evaluated, so that older points fill a gap. Missing points are treated as the
//! alarm says only if there are too few real ones in that wider range.

use crate::monitoring::alarm::{AlarmState, Treatment};

/// The number of points that are retrieved beyond those that are evaluated: five for three in the guide's examples.
pub(super) const EXTRA_POINTS: usize = 2;

/// The state that `points` call for, or `None` if the alarm stays as it is. The points are `periods` + `EXTRA_POINTS`
/// many, oldest first: whether each breaches, `None` for a missing one.
pub(super) fn evaluate_points(
    points: &[Option<bool>],
    periods: usize,
    to_alarm: usize,
    treatment: Treatment,
) -> Option<AlarmState> {
    let real: Vec<bool> = points.iter().rev().filter_map(|point| *point).take(periods).collect();
    let breaching = real.iter().filter(|breaches| **breaches).count();
    let verdict = |breaching: usize| if breaching >= to_alarm { AlarmState::Alarm } else { AlarmState::Ok };
    if real.len() >= periods {
        return Some(verdict(breaching));
    }
    let filled = periods - real.len();
    let has_healthy = real.len() > breaching;
    match treatment {
        Treatment::Breaching => Some(verdict(breaching + filled)),
        Treatment::NotBreaching => Some(verdict(breaching)),
        _ if breaching >= to_alarm => Some(AlarmState::Alarm),
        _ if has_healthy => Some(AlarmState::Ok),
        Treatment::Ignore => None,
        Treatment::Missing if age_of_oldest(points) >= to_alarm => Some(AlarmState::Alarm),
        Treatment::Missing => Some(AlarmState::InsufficientData),
    }
}

/// How many points ago the oldest real point was; 0 if there is none. This is the guide's rule against waiting for
/// points that never come: a breaching point that is old enough counts until a good one comes.
fn age_of_oldest(points: &[Option<bool>]) -> usize {
    points.iter().position(Option::is_some).map_or(0, |index| points.len() - index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(text: &str) -> Vec<Option<bool>> {
        text.split(' ')
            .map(|point| match point {
                "X" => Some(true),
                "0" => Some(false),
                _ => None,
            })
            .collect()
    }

    /// The columns of the guide's tables: missing, ignore, breaching, notBreaching.
    #[track_caller]
    fn row(text: &str, to_alarm: usize, expected: [&str; 4]) {
        let treatments =
            [Treatment::Missing, Treatment::Ignore, Treatment::Breaching, Treatment::NotBreaching];
        let found = treatments.map(|treatment| {
            evaluate_points(&points(text), 3, to_alarm, treatment).map_or("same", AlarmState::name)
        });
        assert_eq!(found, expected, "{to_alarm} of 3: {text}");
    }

    #[test]
    fn three_of_three_as_in_the_guide() {
        row("0 - X - X", 3, ["OK"; 4]);
        row("- - - - 0", 3, ["OK"; 4]);
        row("- - - - -", 3, ["INSUFFICIENT_DATA", "same", "ALARM", "OK"]);
        row("0 X X - X", 3, ["ALARM"; 4]);
        row("- - X - -", 3, ["ALARM", "same", "ALARM", "OK"]);
    }

    #[test]
    fn two_of_three_as_in_the_guide() {
        row("0 - X - X", 2, ["ALARM"; 4]);
        row("0 0 X 0 X", 2, ["ALARM"; 4]);
        row("0 - X - -", 2, ["OK", "OK", "ALARM", "OK"]);
        row("- - - - 0", 2, ["OK", "OK", "ALARM", "OK"]);
        row("- - - - X", 2, ["INSUFFICIENT_DATA", "same", "ALARM", "OK"]);
        row("- - - X -", 2, ["ALARM", "same", "ALARM", "OK"]);
    }

    #[test]
    fn a_publisher_that_falls_silent_trips_one_period_late() {
        row("0 - - - -", 3, ["OK"; 4]);
        row("- - - - -", 3, ["INSUFFICIENT_DATA", "same", "ALARM", "OK"]);
    }
}
