//! Databases by months: which of them were proven, and which months lack a proof. Dates in, words out; no I/O, no clock.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};
use serde::Serialize;

use crate::error::{Error, Result};

/// A stretch of whole days, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Period {
    /// Its first day.
    pub from: NaiveDate,
    /// Its last day.
    pub to: NaiveDate,
}

impl Period {
    /// From one day to another, both included.
    pub fn new(from: NaiveDate, to: NaiveDate) -> Result<Self> {
        if from > to {
            return Err(Error::request(format!("{from} is after {to}")).hint("Exchange `--from` and `--to`."));
        }
        if to.year() - from.year() > 20 {
            return Err(Error::request("a period has at most 20 years"));
        }
        Ok(Period { from, to })
    }

    /// A calendar year.
    pub fn year(year: i32) -> Result<Self> {
        let day = |month, day| {
            NaiveDate::from_ymd_opt(year, month, day)
                .filter(|_| (1970..=9999).contains(&year))
                .ok_or_else(|| Error::request(format!("{year} is not a year of drills")))
        };
        Period::new(day(1, 1)?, day(12, 31)?)
    }

    /// A month, by any of its days.
    pub fn month_of(day: NaiveDate) -> Result<Self> {
        let first = first_of(day);
        Period::new(first, first + Months::new(1) - chrono::Days::new(1))
    }

    /// The whole months before the one of `today`.
    pub fn last_months(count: u32, today: NaiveDate) -> Result<Self> {
        let this = first_of(today);
        Period::new(this - Months::new(count.max(1)), this - chrono::Days::new(1))
    }

    /// Whether a moment is in it.
    pub fn contains(&self, at: DateTime<Utc>) -> bool {
        (self.from..=self.to).contains(&at.date_naive())
    }

    /// First days of its months.
    pub fn months(&self) -> Vec<NaiveDate> {
        let last = first_of(self.to);
        std::iter::successors(Some(first_of(self.from)), |month| Some(*month + Months::new(1)))
            .take_while(|month| *month <= last)
            .collect()
    }
}

fn first_of(day: NaiveDate) -> NaiveDate {
    day.with_day(1).unwrap_or(day)
}

/// A drill, as far as the calendar is concerned.
#[derive(Clone, Debug)]
pub struct Drilled {
    /// The database.
    pub source: String,
    /// Its Region.
    pub region: String,
    /// The run.
    pub run: String,
    /// When it began.
    pub at: DateTime<Utc>,
    /// `pass`, `fail`, `running`; anything else is no answer.
    pub outcome: String,
}

/// What AWS says of the databases that exist.
#[derive(Clone, Debug, Serialize)]
pub struct Existing {
    /// Whether it could be asked.
    pub asked: bool,
    /// Why not.
    pub reason: Option<String>,
    /// In which Regions.
    pub regions: BTreeSet<String>,
    /// Databases there that can be drilled.
    #[serde(skip)]
    pub databases: BTreeSet<String>,
}

/// How a month came out for a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Month {
    /// A drill passed.
    Pass,
    /// Drills failed, and none passed.
    Fail,
    /// Drills gave no answer, and none passed or failed.
    Unknown,
    /// No drill, where there should have been one.
    Gap,
    /// A drill is under way, or the month is not over: nothing is missing yet.
    Due,
    /// Before the first evidence of the database, of which nothing can be said.
    Before,
    /// Not yet come.
    Ahead,
    /// AWS has no such database any more; when it went is not known.
    Gone,
}

impl Month {
    /// Whether it speaks against the database.
    pub fn is_short(self) -> bool {
        matches!(self, Month::Fail | Month::Unknown | Month::Gap)
    }
}

/// A month of a database.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Which, as `2026-03`.
    pub month: String,
    /// How it came out.
    pub outcome: Month,
    /// Drills that passed.
    pub passed: usize,
    /// Drills that failed.
    pub failed: usize,
    /// Drills without an answer.
    pub unknown: usize,
    /// Their runs.
    pub runs: Vec<String>,
}

/// A database.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which.
    pub id: String,
    /// Whether AWS has it; `None` if that could not be asked.
    pub exists: Option<bool>,
    /// When it was first drilled, in this period or before.
    pub first_drill: Option<DateTime<Utc>>,
    /// When it last passed, up to the end of the period.
    pub last_pass: Option<DateTime<Utc>>,
    /// Whether it exists and has never been drilled.
    pub never_drilled: bool,
    /// Month by month.
    pub months: Vec<Cell>,
    /// Months without any drill, where there should have been one.
    pub gaps: Vec<String>,
}

/// Databases by months.
#[derive(Clone, Debug, Serialize)]
pub struct Calendar {
    /// From when to when.
    #[serde(flatten)]
    pub period: Period,
    /// What is known of the databases that exist.
    pub aws: Existing,
    /// Each of them.
    pub databases: Vec<Row>,
}

impl Calendar {
    /// Whether every month has its proof, as far as that is known.
    pub fn is_complete(&self) -> bool {
        self.databases
            .iter()
            .all(|row| !row.never_drilled && row.months.iter().all(|cell| !cell.outcome.is_short()))
    }
}

/// Draws up the calendar. `drills` are all that are known, from before the period too.
pub fn draw(period: Period, drills: &[Drilled], existing: Existing, now: DateTime<Utc>) -> Calendar {
    let drilled = drills.iter().filter(|drill| drill.at.date_naive() <= period.to).map(|drill| &drill.source);
    let ids: BTreeSet<&String> = drilled.chain(&existing.databases).collect();
    let rows = ids.into_iter().map(|id| {
        let own: Vec<&Drilled> = drills.iter().filter(|drill| drill.source == *id).collect();
        row(id, period, &own, &existing, now)
    });
    let databases = rows.collect();
    Calendar { period, aws: existing, databases }
}

fn row(id: &str, period: Period, drills: &[&Drilled], existing: &Existing, now: DateTime<Utc>) -> Row {
    // Whether it exists where nobody has looked is not known.
    let was_asked = existing.asked && drills.iter().all(|drill| existing.regions.contains(&drill.region));
    let exists = match existing.databases.contains(id) {
        true => Some(true),
        false => was_asked.then_some(false),
    };
    let first_drill = drills.iter().map(|drill| drill.at).min();
    let last_drill = drills.iter().map(|drill| drill.at).max();
    let until = |drill: &&&Drilled| drill.at.date_naive() <= period.to;
    let months: Vec<Cell> = period
        .months()
        .into_iter()
        .map(|month| {
            let within: Vec<&&Drilled> = drills
                .iter()
                .filter(|drill| first_of(drill.at.date_naive()) == month && period.contains(drill.at))
                .collect();
            let count = |outcome: &str| within.iter().filter(|drill| drill.outcome == outcome).count();
            let (passed, failed, running) = (count("pass"), count("fail"), count("running"));
            let unknown = within.len() - passed - failed - running;
            let this = first_of(now.date_naive());
            let is_before = first_drill.is_none_or(|first| month < first_of(first.date_naive()));
            let is_gone =
                exists == Some(false) && last_drill.is_some_and(|last| month > first_of(last.date_naive()));
            // The rest of a month that is cut off by the period, or not over, may yet have its drill.
            let is_open = month >= this || month + Months::new(1) - chrono::Days::new(1) > period.to;
            let outcome = match () {
                () if passed > 0 => Month::Pass,
                () if failed > 0 => Month::Fail,
                () if unknown > 0 => Month::Unknown,
                () if month > this => Month::Ahead,
                () if is_before => Month::Before,
                () if is_gone => Month::Gone,
                () if running > 0 || is_open => Month::Due,
                () => Month::Gap,
            };
            let runs = within.iter().map(|drill| drill.run.clone()).collect();
            Cell { month: month.format("%Y-%m").to_string(), outcome, passed, failed, unknown, runs }
        })
        .collect();
    let gaps =
        months.iter().filter(|cell| cell.outcome == Month::Gap).map(|cell| cell.month.clone()).collect();
    let last_pass =
        drills.iter().filter(until).filter(|drill| drill.outcome == "pass").map(|drill| drill.at).max();
    let never_drilled = exists == Some(true) && drills.is_empty();
    Row { id: id.to_owned(), exists, first_drill, last_pass, never_drilled, months, gaps }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("{text}T12:00:00Z").parse().unwrap()
    }

    fn drill(source: &str, day: &str, outcome: &str) -> Drilled {
        let (source, region) = (source.into(), "eu-central-1".into());
        Drilled { source, region, run: format!("{day}-run"), at: at(day), outcome: outcome.into() }
    }

    fn existing(ids: &[&str]) -> Existing {
        let databases = ids.iter().map(|id| (*id).to_owned()).collect();
        Existing { asked: true, reason: None, regions: ["eu-central-1".to_owned()].into(), databases }
    }

    fn not_asked() -> Existing {
        let (regions, databases) = (BTreeSet::new(), BTreeSet::new());
        Existing { asked: false, reason: Some("no Region".into()), regions, databases }
    }

    /// One letter a month.
    fn letters(row: &Row) -> String {
        let letter = |cell: &Cell| match cell.outcome {
            Month::Pass => 'P',
            Month::Fail => 'F',
            Month::Unknown => '?',
            Month::Gap => 'G',
            Month::Due => 'd',
            Month::Before => '.',
            Month::Ahead => ' ',
            Month::Gone => 'x',
        };
        row.months.iter().map(letter).collect()
    }

    fn year(drills: &[Drilled], existing: Existing, now: &str) -> Calendar {
        draw(Period::year(2026).unwrap(), drills, existing, at(now))
    }

    #[test]
    fn a_month_without_a_drill_stands_out_and_neither_the_time_before_the_first_nor_the_time_to_come_does() {
        let drills = [
            drill("orders", "2026-03-02", "pass"),
            drill("orders", "2026-04-02", "fail"),
            drill("orders", "2026-04-03", "pass"),
            drill("orders", "2026-05-31", "fail"),
            drill("orders", "2026-07-01", "unknown"),
            drill("orders", "2026-08-01", "died"),
            drill("orders", "2026-09-30", "interrupted"),
        ];
        let calendar = year(&drills, existing(&["orders"]), "2026-11-22");
        assert_eq!(letters(&calendar.databases[0]), "..PPFG???Gd ");
        assert_eq!(calendar.databases[0].gaps, ["2026-06", "2026-10"]);
        assert_eq!(calendar.databases[0].months[3].failed, 1);
        assert!(!calendar.is_complete());
    }

    #[test]
    fn evidence_of_the_year_before_makes_the_whole_year_count() {
        let drills = [drill("orders", "2025-12-31", "pass"), drill("orders", "2026-02-01", "pass")];
        assert_eq!(letters(&year(&drills, not_asked(), "2027-06-01").databases[0]), "GPGGGGGGGGGG");
        assert_eq!(year(&drills, not_asked(), "2027-06-01").databases[0].exists, None);
    }

    #[test]
    fn a_database_that_was_never_drilled_is_no_gap_of_the_past_and_yet_not_complete() {
        let calendar = year(&[], existing(&["billing"]), "2026-11-22");
        assert_eq!(letters(&calendar.databases[0]), "........... ");
        assert!(calendar.databases[0].never_drilled && !calendar.is_complete());
    }

    #[test]
    fn a_database_that_is_gone_has_no_gaps_after_its_last_drill() {
        let drills = [drill("old", "2026-01-05", "pass"), drill("old", "2026-04-05", "pass")];
        assert_eq!(letters(&year(&drills, existing(&[]), "2026-11-22").databases[0]), "PGGPxxxxxxx ");
        assert_eq!(letters(&year(&drills, not_asked(), "2026-11-22").databases[0]), "PGGPGGGGGGd ");
    }

    #[test]
    fn drills_after_the_period_do_not_put_a_database_into_it() {
        let drills = [drill("new", "2027-01-05", "pass")];
        assert!(year(&drills, not_asked(), "2027-02-01").databases.is_empty());
    }

    #[test]
    fn a_month_that_the_period_cuts_off_is_not_called_a_gap() {
        let drills = [drill("orders", "2026-01-20", "pass")];
        let period = Period::new("2026-01-01".parse().unwrap(), "2026-03-10".parse().unwrap()).unwrap();
        assert_eq!(letters(&draw(period, &drills, not_asked(), at("2026-11-22")).databases[0]), "PGd");
    }

    #[test]
    fn periods_are_whole_days() {
        let last = Period::last_months(2, "2026-01-15".parse().unwrap()).unwrap();
        assert_eq!((last.from.to_string(), last.to.to_string()), ("2025-11-01".into(), "2025-12-31".into()));
        let february = Period::month_of("2028-02-29".parse().unwrap()).unwrap();
        assert_eq!(february.to.to_string(), "2028-02-29");
        assert!(february.contains("2028-02-29T23:59:59Z".parse().unwrap()));
        assert!(Period::year(99_999).is_err() && Period::new(february.to, february.from).is_err());
    }
}
