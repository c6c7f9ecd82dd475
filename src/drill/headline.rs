//! The headline of a calendar of drills: one sentence, its standing, and the reasons. The page for auditors, the terminal and
//! the exit code of `drill list --check` use it. Pure.

use serde::Serialize;

use super::calendar::{Calendar, Month, Row};
use crate::words::{Tone, format_count};

/// Whether everything that should be proven is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    Complete,
    /// Something is missing, failed, or was altered.
    Incomplete,
    /// It could not be determined.
    Unknown,
}

impl Standing {
    const fn tone(self) -> Tone {
        match self {
            Standing::Complete => Tone::Good,
            Standing::Incomplete => Tone::Bad,
            Standing::Unknown => Tone::Doubt,
        }
    }
}

/// Faults in the records behind a calendar.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evidence {
    /// Something was changed since it was recorded.
    pub is_altered: bool,
    /// Something could not be read, or not be checked with its chain.
    pub is_unreadable: bool,
    /// Some drills of the period are from before there was a chain, or say so.
    pub is_unchained: bool,
}

/// The sentence at the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Headline {
    /// Whether every month and database has its proof.
    pub standing: Standing,
    /// Its tone: a month's proof is not good news while the last drill failed.
    pub(crate) tone: Tone,
    /// The sentence, without a full stop.
    pub words: String,
}

/// The headline of a calendar.
pub(crate) fn summarize_calendar(calendar: &Calendar, evidence: Evidence) -> Headline {
    let rows = &calendar.databases;
    let says = |standing: Standing, words: &str| Headline {
        standing,
        tone: standing.tone(),
        words: words.to_owned(),
    };
    let failing = rows.iter().filter(|row| row.failed_since_pass > 0).count();
    let has_pass = |row: &Row| row.months.iter().any(|cell| cell.outcome == Month::Pass);
    let is_left = |row: &Row| !has_pass(row) && row.months.iter().any(|cell| cell.outcome != Month::Gone);
    match () {
        () if evidence.is_altered => says(Standing::Incomplete, "evidence was altered"),
        () if rows.is_empty() => says(Standing::Unknown, "no drills"),
        () if rows.iter().flat_map(|row| &row.months).any(|cell| cell.outcome.is_short()) => {
            says(Standing::Incomplete, "not every month is proven")
        }
        () if rows.iter().any(|row| row.never_drilled) => {
            says(Standing::Incomplete, "not every database was drilled")
        }
        () if evidence.is_unreadable => says(Standing::Unknown, "not all evidence could be read"),
        () if evidence.is_unchained => says(Standing::Unknown, "not all evidence is protected by a chain"),
        () if !rows.iter().any(has_pass) => says(Standing::Unknown, "nothing is proven yet"),
        () if rows.iter().any(is_left) => says(Standing::Unknown, "not every database is proven yet"),
        () => {
            let aws = &calendar.aws;
            let known = if aws.asked { "" } else { ", as far as this vault knows" };
            let is_known = aws.asked || aws.is_left_out;
            let standing = if is_known { Standing::Complete } else { Standing::Unknown };
            let proven = format!("{} is proven{known}", describe_scope(calendar));
            match failing {
                0 => says(standing, &proven),
                _ => Headline {
                    tone: Tone::Bad,
                    ..says(standing, &format!("{proven}, but the last {} failed", drills_of(failing)))
                },
            }
        }
    }
}

fn drills_of(databases: usize) -> String {
    let drills = if databases == 1 { "drill" } else { "drills" };
    format!("{drills} of {}", format_count(databases, "database", "databases"))
}

/// Which months a complete calendar covers: neither those before the first drill, nor those that may still get one, nor those of a
/// deleted database.
fn describe_scope(calendar: &Calendar) -> String {
    let has = |outcomes: &[Month]| {
        calendar.databases.iter().flat_map(|row| &row.months).any(|cell| outcomes.contains(&cell.outcome))
    };
    let mut scope = "every month".to_owned();
    for (outcomes, limit) in [
        (&[Month::Due, Month::Ahead][..], " that has ended"),
        (&[Month::Before], " since the first drill"),
        (&[Month::Gone], " in which the database existed"),
    ] {
        if has(outcomes) {
            scope.push_str(limit);
        }
    }
    scope
}

/// What is missing or failed, database by database.
pub(crate) fn list_shortfalls(calendar: &Calendar) -> Vec<String> {
    calendar.databases.iter().flat_map(reasons_of).collect()
}

fn reasons_of(row: &Row) -> Vec<String> {
    let mut reasons = Vec::new();
    if row.never_drilled {
        reasons.push(format!("`{}` exists and was never drilled", row.label));
    }
    if !row.gaps.is_empty() {
        reasons.push(format!("`{}`: no drill in {}", row.label, row.gaps.join(", ")));
    }
    for cell in &row.months {
        match cell.outcome {
            Month::Fail => reasons
                .push(format!("`{}`: no drill passed in {}, {} failed", row.label, cell.month, cell.failed)),
            Month::Unknown => reasons
                .push(format!("`{}`: no drill passed in {}, none gave an answer", row.label, cell.month)),
            _ => {}
        }
    }
    if row.failed_since_pass > 0 {
        let since = row.last_pass.map_or("ever".to_owned(), |at| format!("since {}", at.format("%Y-%m-%d")));
        let failed = format_count(row.failed_since_pass, "drill", "drills");
        reasons.push(format!("`{}`: {failed} failed, and none has passed {since}", row.label));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use proptest::prelude::*;

    use super::super::calendar::{Drilled, Existing, Period, draw_up_calendar};
    use super::super::database::Which;
    use super::super::outcome::Outcome;
    use super::*;

    const OUTCOMES: [Outcome; 6] =
        [Outcome::Pass, Outcome::Fail, Outcome::Unknown, Outcome::Died, Outcome::Running, Outcome::Altered];

    fn which(id: u8) -> Which {
        Which { id: format!("db-{id}"), account: Some("1".into()), region: "r".into() }
    }

    fn on(day: i64) -> DateTime<Utc> {
        "2026-01-01T12:00:00Z".parse::<DateTime<Utc>>().unwrap() + chrono::TimeDelta::days(day)
    }

    fn drawn(
        drills: &[(u8, i64, Outcome)],
        there: &[(u8, Option<i64>)],
        asked: bool,
        today: i64,
    ) -> Calendar {
        let drills: Vec<Drilled> = drills
            .iter()
            .map(|(id, day, outcome)| Drilled {
                source: which(*id),
                run: format!("{day}"),
                at: on(*day),
                outcome: *outcome,
            })
            .collect();
        let existing = Existing {
            asked,
            regions: ["r".to_owned()].into(),
            places: [(Some("1".to_owned()), "r".to_owned())].into(),
            databases: there.iter().map(|(id, created)| (which(*id), created.map(on))).collect(),
            ..Existing::default()
        };
        draw_up_calendar(Period::of_year(2026).unwrap(), &drills, existing, on(today))
    }

    fn of(calendar: &Calendar) -> Headline {
        summarize_calendar(calendar, Evidence::default())
    }

    #[test]
    fn a_month_with_a_pass_is_not_proven_by_a_database_whose_last_drills_failed() {
        let drills = [(1, 2, Outcome::Pass), (1, 5, Outcome::Fail), (1, 9, Outcome::Fail)];
        let calendar = drawn(&drills, &[(1, Some(-400))], true, 12);
        let said = of(&calendar);
        assert_eq!(
            said.words,
            "every month that has ended is proven, but the last drill of 1 database failed"
        );
        assert_eq!((said.standing, said.tone), (Standing::Complete, Tone::Bad));
        assert_eq!(
            list_shortfalls(&calendar),
            ["`db-1`: 2 drills failed, and none has passed since 2026-01-03"]
        );
        let mended = [&drills[..], &[(1, 11, Outcome::Pass)]].concat();
        let said = of(&drawn(&mended, &[(1, Some(-400))], true, 12));
        assert_eq!(
            (said.standing, said.words.as_str()),
            (Standing::Complete, "every month that has ended is proven")
        );
    }

    proptest! {
        /// The rows below bear out every claim of the headline.
        #[test]
        fn the_headline_follows_from_the_rows(
            drills in proptest::collection::vec((0_u8..3, -60_i64..364, 0_usize..6), 0..24),
            there in proptest::collection::vec((0_u8..4, proptest::option::of(-500_i64..364)), 0..4),
            asked: bool,
            today in 0_i64..430,
        ) {
            let drills: Vec<(u8, i64, Outcome)> = drills
                .into_iter()
                .filter(|(_, day, _)| *day <= today)
                .map(|(id, day, outcome)| (id, day, OUTCOMES[outcome]))
                .collect();
            let there = if asked { there } else { Vec::new() };
            let calendar = drawn(&drills, &there, asked, today);
            let said = of(&calendar);
            let cells = || calendar.databases.iter().flat_map(|row| &row.months);
            let is_proven = said.words.starts_with("every month");
            prop_assert_eq!(said.standing == Standing::Complete, is_proven && asked);
            prop_assert_eq!(said.tone == Tone::Good, is_proven && asked && list_shortfalls(&calendar).is_empty());
            prop_assert!(said.standing != Standing::Incomplete || !list_shortfalls(&calendar).is_empty());
            if is_proven {
                for row in &calendar.databases {
                    prop_assert!(!row.never_drilled && row.gaps.is_empty());
                    let gone = row.months.iter().all(|cell| cell.outcome == Month::Gone);
                    prop_assert!(gone || row.months.iter().any(|cell| cell.outcome == Month::Pass));
                    let own = || drills.iter().filter(|(id, day, _)| which(*id).id == row.id && *day < 365);
                    let last_pass = own().filter(|it| it.2 == Outcome::Pass).map(|it| it.1).max();
                    let last_fail = own().filter(|it| it.2 == Outcome::Fail).map(|it| it.1).max();
                    let is_failing = last_fail > last_pass && row.exists != Some(false);
                    prop_assert!(!is_failing || (said.words.contains(" failed") && said.tone == Tone::Bad));
                }
                prop_assert!(cells().all(|cell| !cell.outcome.is_short()));
                for (outcomes, limit) in [
                    (vec![Month::Due, Month::Ahead], "that has ended"),
                    (vec![Month::Before], "since the first drill"),
                    (vec![Month::Gone], "in which the database existed"),
                ] {
                    let has = cells().any(|cell| outcomes.contains(&cell.outcome));
                    prop_assert_eq!(has, said.words.contains(limit), "{}", said.words);
                }
            }
        }
    }
}
