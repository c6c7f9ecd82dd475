//! How long a drill may still take, by what earlier drills of the same database took, phase by phase. Pure: nothing is read here.
//!
//! Where no earlier drill went through a phase, nothing is estimated, and a phase that takes longer than ever before is marked.

use std::time::Duration;

use super::evidence::{Report, State, TEAR_DOWN};
use crate::when::{format_rough_span, format_span};

/// What earlier drills of a database took, the newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Earlier {
    drills: Vec<Vec<Lap>>,
}

#[derive(Clone, Debug)]
struct Lap {
    phase: String,
    time: Duration,
}

/// What is left of a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// As long as the last drill took from here on.
    About {
        left: Duration,
        /// What the last drill took in all.
        last_took: Duration,
    },
    /// Its phase takes longer than in any earlier drill.
    Longer {
        /// What it took at most.
        longest: Duration,
    },
}

impl Earlier {
    /// Of these drills, the newest first: those that went through to the removal of the throwaway.
    pub(crate) fn of_records<'a>(reports: impl IntoIterator<Item = &'a Report>) -> Self {
        let is_whole = |report: &&Report| {
            let has = |name: &str| report.phases.iter().any(|phase| phase.name == name);
            report.state == State::Finished
                && report.throwaway.removed_at.is_some()
                && has("compare")
                && has(TEAR_DOWN)
        };
        let phases = |report: &Report| {
            let took = report.phases.iter().map(|phase| Lap {
                phase: phase.name.clone(),
                time: Duration::try_from_secs_f64(phase.seconds).unwrap_or_default(),
            });
            took.collect()
        };
        Earlier { drills: reports.into_iter().filter(is_whole).map(phases).collect() }
    }

    /// What is left of a drill that has been in `phase` since so long.
    pub(crate) fn time_left(&self, phase: &str, since: Duration) -> Option<Left> {
        let newest = self.drills.iter().find(|drill| drill.iter().any(|took| took.phase == phase))?;
        let of_phase = |drill: &Vec<Lap>| drill.iter().find(|took| took.phase == phase).map(|took| took.time);
        let all: Vec<Duration> = self.drills.iter().filter_map(of_phase).collect();
        // Once it takes longer than the last time, it may take as long as it did before that.
        let expected = of_phase(newest)
            .filter(|time| *time > since)
            .or_else(|| all.iter().copied().filter(|time| *time > since).min());
        let Some(expected) = expected else {
            return Some(Left::Longer { longest: all.into_iter().max().unwrap_or_default() });
        };
        let afterwards = newest.iter().skip_while(|took| took.phase != phase).skip(1);
        let left = expected - since + afterwards.map(|took| took.time).sum::<Duration>();
        Some(Left::About { left, last_took: self.last_took()? })
    }

    /// What the last drill took in all.
    pub(crate) fn last_took(&self) -> Option<Duration> {
        self.drills.first().map(|drill| drill.iter().map(|took| took.time).sum())
    }

    /// What a phase took in the last drill that went through it.
    pub(crate) fn phase_took(&self, phase: &str) -> Option<Duration> {
        self.drills.iter().flatten().find(|took| took.phase == phase).map(|took| took.time)
    }
}

impl Left {
    /// `about 11 min left (last drill took 15 min)`.
    pub(crate) fn format_left(self) -> String {
        match self {
            Left::About { left, last_took } => {
                format!(
                    "about {} left (last drill took {})",
                    format_rough_span(left),
                    format_rough_span(last_took)
                )
            }
            Left::Longer { longest } => {
                format!("longer than any drill before ({} at most)", format_span(longest.as_secs_f64()))
            }
        }
    }
}

/// What is left of several drills, so many of which run at once; none, unless known for each.
pub(crate) fn time_left_of_all(
    under_way: impl IntoIterator<Item = Option<Duration>>,
    waiting: impl IntoIterator<Item = Option<Duration>>,
    at_once: usize,
) -> Option<Duration> {
    let mut ends: Vec<Duration> = under_way.into_iter().collect::<Option<_>>()?;
    ends.resize(ends.len().max(at_once.max(1)), Duration::ZERO);
    for took in waiting {
        let first = ends.iter_mut().min()?;
        *first += took?;
    }
    ends.into_iter().max()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 4] = ["restore", "log in", "compare", "tear down"];

    fn seconds(of: u64) -> Duration {
        Duration::from_secs(of)
    }

    fn earlier(drills: &[[u64; 4]]) -> Earlier {
        let took = |(name, time): (&&str, &u64)| Lap { phase: (*name).to_owned(), time: seconds(*time) };
        Earlier { drills: drills.iter().map(|drill| NAMES.iter().zip(drill).map(took).collect()).collect() }
    }

    #[test]
    fn what_is_left_is_told_as_people_say_it() {
        let known = earlier(&[[600, 30, 60, 210], [700, 30, 60, 210]]);
        let told = |phase: &str, since: u64| known.time_left(phase, seconds(since)).map(Left::format_left);
        assert_eq!(told("restore", 250).as_deref(), Some("about 11 min left (last drill took 15 min)"));
        // Longer than the last time, not longer than ever.
        assert_eq!(told("restore", 650).as_deref(), Some("about 6 min left (last drill took 15 min)"));
        assert_eq!(told("restore", 700).as_deref(), Some("longer than any drill before (11m 40s at most)"));
        assert_eq!(told("wait until restorable", 1), None);
        assert_eq!(Earlier::default().time_left("restore", seconds(1)), None);
    }

    #[test]
    fn only_drills_that_went_through_are_examples() {
        let passed = crate::drill::page::samples::passed_report();
        let mut interrupted = passed.clone();
        interrupted.state = State::Interrupted;
        let mut kept = passed.clone();
        kept.throwaway.removed_at = None;
        assert_eq!(Earlier::of_records([&interrupted, &kept]).last_took(), None);
        let whole: f64 = passed.phases.iter().map(|phase| phase.seconds).sum();
        let took = Earlier::of_records([&interrupted, &passed]).last_took().unwrap();
        assert!((took.as_secs_f64() - whole).abs() < 0.01);
    }

    proptest! {
        /// Of a drill that goes as the last one did, what is left is what was left then.
        #[test]
        fn a_drill_that_goes_like_the_last_one_ends_when_it_is_said_to(
            last in prop::array::uniform4(1_u64..4000),
            before in prop::collection::vec(prop::array::uniform4(1_u64..4000), 0..4),
            at in 0..4_usize,
            part in 0_u64..1000,
        ) {
            let since = last[at] * part / 1000;
            let all: Vec<[u64; 4]> = [vec![last], before].concat();
            let left = last[at] - since + last[at + 1..].iter().sum::<u64>();
            let expected = Left::About { left: seconds(left), last_took: seconds(last.iter().sum()) };
            prop_assert_eq!(earlier(&all).time_left(NAMES[at], seconds(since)), Some(expected));
        }

        /// It is said to take longer than ever before exactly when it does.
        #[test]
        fn longer_than_ever_is_longer_than_ever(
            drills in prop::collection::vec(prop::array::uniform4(1_u64..4000), 1..5),
            at in 0..4_usize,
            since in 0_u64..5000,
        ) {
            let longest = drills.iter().map(|drill| drill[at]).max().unwrap();
            match earlier(&drills).time_left(NAMES[at], seconds(since)).unwrap() {
                Left::Longer { longest: said } => prop_assert!(since >= longest && said == seconds(longest)),
                Left::About { left, .. } => {
                    let rest = drills[0][at + 1..].iter().sum::<u64>();
                    prop_assert!(since < longest && left > seconds(rest) && left <= seconds(longest + rest));
                }
            }
        }

        #[test]
        fn a_fleet_takes_as_long_as_its_longest_drill_and_no_longer_than_all_in_a_row(
            under_way in prop::collection::vec(0_u64..4000, 0..5),
            waiting in prop::collection::vec(0_u64..4000, 0..20),
            at_once in 1..5_usize,
        ) {
            let some = |all: &[u64]| all.iter().map(|it| Some(seconds(*it))).collect::<Vec<_>>();
            let left = time_left_of_all(some(&under_way), some(&waiting), at_once).unwrap();
            let all = || under_way.iter().chain(&waiting);
            prop_assert!(left >= seconds(all().max().copied().unwrap_or(0)));
            prop_assert!(left <= seconds(all().sum()));
            let unknown = [some(&waiting), vec![None]].concat();
            prop_assert_eq!(time_left_of_all(some(&under_way), unknown, at_once), None);
        }
    }
}
