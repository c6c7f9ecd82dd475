//! Databases by months: which of them were proven, and which months lack a proof. Dates in, words out; no I/O, no clock.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};
use serde::Serialize;

use super::database::{Which, label_databases};
use super::outcome::Outcome;
use crate::error::{Error, Result};

/// A stretch of whole days, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Period {
    /// Its first day.
    pub from: NaiveDate,
    /// Its last day.
    pub to: NaiveDate,
}

impl Period {
    /// From one day to another, both included.
    pub(crate) fn new(from: NaiveDate, to: NaiveDate) -> Result<Self> {
        if from > to {
            return Err(Error::request(format!("{from} is after {to}")).hint("Swap `--from` and `--to`."));
        }
        if to.year() - from.year() > 20 {
            return Err(Error::request("a period is at most 20 years long"));
        }
        Ok(Period { from, to })
    }

    /// A calendar year.
    pub(crate) fn of_year(year: i32) -> Result<Self> {
        let day = |month, day| {
            NaiveDate::from_ymd_opt(year, month, day)
                .filter(|_| (1970..=9999).contains(&year))
                .ok_or_else(|| Error::request(format!("year {year} is out of range")))
        };
        Period::new(day(1, 1)?, day(12, 31)?)
    }

    /// A month, by any of its days.
    pub(crate) fn month_of(day: NaiveDate) -> Result<Self> {
        let first = first_of_month(day);
        Period::new(first, first + Months::new(1) - chrono::Days::new(1))
    }

    /// The whole months before the one of `today`.
    pub(crate) fn last_months(count: u32, today: NaiveDate) -> Result<Self> {
        let this = first_of_month(today);
        Period::new(this - Months::new(count.max(1)), this - chrono::Days::new(1))
    }

    /// Whether a moment is in it.
    pub(crate) fn contains(&self, at: DateTime<Utc>) -> bool {
        (self.from..=self.to).contains(&at.date_naive())
    }

    /// First days of its months.
    pub(crate) fn months(&self) -> Vec<NaiveDate> {
        let last = first_of_month(self.to);
        std::iter::successors(Some(first_of_month(self.from)), |month| Some(*month + Months::new(1)))
            .take_while(|month| *month <= last)
            .collect()
    }
}

fn first_of_month(day: NaiveDate) -> NaiveDate {
    day.with_day(1).unwrap_or(day)
}

/// A drill, as far as the calendar is concerned.
#[derive(Clone, Debug)]
pub(crate) struct Drilled {
    /// The database.
    pub source: Which,
    pub run: String,
    /// When it began.
    pub at: DateTime<Utc>,
    /// Its outcome; anything but a pass, a failure or a running drill is no answer.
    pub outcome: Outcome,
}

/// Which databases exist, according to AWS.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Existing {
    /// Whether it could be asked.
    pub asked: bool,
    /// Whether AWS was deliberately not asked.
    #[serde(skip)]
    pub is_left_out: bool,
    pub reason: Option<String>,
    pub regions: BTreeSet<String>,
    /// In which accounts and Regions; an account is not known where nothing was found.
    #[serde(skip)]
    pub places: BTreeSet<(Option<String>, String)>,
    /// Databases there that can be drilled, and when each was created.
    #[serde(skip)]
    pub databases: BTreeMap<Which, Option<DateTime<Utc>>>,
}

/// The result of a month for a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Month {
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
    /// Before the first evidence of the database.
    Before,
    /// Not yet come.
    Ahead,
    /// AWS no longer has the database; when it was deleted is unknown.
    Gone,
}

impl Month {
    /// Whether it counts against the database.
    pub(crate) fn is_short(self) -> bool {
        matches!(self, Month::Fail | Month::Unknown | Month::Gap)
    }
}

/// A month of a database.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cell {
    /// Which, as `2026-03`.
    pub month: String,
    /// The result.
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
pub(crate) struct Row {
    /// Its name.
    pub id: String,
    /// The number of its account, as far as it is known.
    pub account: Option<String>,
    pub region: String,
    /// Its display name: with account and Region, if another database has its name.
    #[serde(skip)]
    pub label: String,
    /// Whether AWS has it; `None` if that could not be asked.
    pub exists: Option<bool>,
    /// When it was first drilled, in this period or before.
    pub first_drill: Option<DateTime<Utc>>,
    /// When it last passed, up to the end of the period.
    pub last_pass: Option<DateTime<Utc>>,
    /// Drills that failed after that, with none that passed since.
    pub failed_since_pass: usize,
    /// Whether it has existed since before this month and was never drilled.
    pub never_drilled: bool,
    pub months: Vec<Cell>,
    /// Months without any drill, where there should have been one.
    pub gaps: Vec<String>,
}

/// Databases by months.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Calendar {
    /// From when to when.
    #[serde(flatten)]
    pub period: Period,
    /// What is known of the databases that exist.
    pub aws: Existing,
    /// Each of them.
    pub databases: Vec<Row>,
}

/// Draws up the calendar. `drills` are all that are known, from before the period too.
pub(crate) fn draw_up_calendar(
    period: Period,
    drills: &[Drilled],
    existing: Existing,
    now: DateTime<Utc>,
) -> Calendar {
    let known: BTreeSet<&Which> =
        existing.databases.keys().chain(drills.iter().map(|drill| &drill.source)).collect();
    // Evidence without an account is that of the only one that has such a database.
    let settled = |which: &Which| {
        if which.account.is_some() {
            return which.clone();
        }
        let mut candidates = known.iter().filter(|other| other.account.is_some() && other.may_be(which));
        match (candidates.next(), candidates.next()) {
            (Some(only), None) => (*only).clone(),
            _ => which.clone(),
        }
    };
    let mut of = BTreeMap::<Which, Vec<&Drilled>>::new();
    for drill in drills {
        of.entry(settled(&drill.source)).or_default().push(drill);
    }
    for which in existing.databases.keys() {
        of.entry(which.clone()).or_default();
    }
    // What came after the period is not missing in it.
    let was_there = |created: &Option<DateTime<Utc>>| created.is_none_or(|at| at.date_naive() <= period.to);
    of.retain(|which, own| {
        own.iter().any(|drill| drill.at.date_naive() <= period.to)
            || existing.databases.get(which).is_some_and(was_there)
    });
    let labels = label_databases(&of.keys().cloned().collect());
    let rows = of.iter().map(|(which, own)| {
        let row = draw_up_row(which, period, own, &existing, now);
        Row { label: labels[which].clone(), ..row }
    });
    let databases = rows.collect();
    Calendar { period, aws: existing, databases }
}

fn draw_up_row(
    which: &Which,
    period: Period,
    drills: &[&Drilled],
    existing: &Existing,
    now: DateTime<Utc>,
) -> Row {
    // Where AWS was not asked, whether it exists is unknown.
    let was_asked = existing.asked
        && existing.places.iter().any(|(account, region)| {
            *region == which.region
                && (account.is_none() || which.account.is_none() || *account == which.account)
        });
    let created = existing.databases.get(which);
    let exists = match created {
        Some(_) => Some(true),
        None => was_asked.then_some(false),
    };
    let this = first_of_month(now.date_naive());
    let is_new = created.copied().flatten().is_some_and(|at| first_of_month(at.date_naive()) >= this);
    let first_drill = drills.iter().map(|drill| drill.at).min();
    let last_drill = drills.iter().map(|drill| drill.at).max();
    let until = |drill: &&&Drilled| drill.at.date_naive() <= period.to;
    let months: Vec<Cell> = period
        .months()
        .into_iter()
        .map(|month| {
            let within: Vec<&&Drilled> = drills
                .iter()
                .filter(|drill| first_of_month(drill.at.date_naive()) == month && period.contains(drill.at))
                .collect();
            let count = |outcome: Outcome| within.iter().filter(|drill| drill.outcome == outcome).count();
            let (passed, failed, running) =
                (count(Outcome::Pass), count(Outcome::Fail), count(Outcome::Running));
            let unknown = within.len() - passed - failed - running;
            let is_before = first_drill.is_none_or(|first| month < first_of_month(first.date_naive()));
            let is_gone = exists == Some(false)
                && last_drill.is_some_and(|last| month > first_of_month(last.date_naive()));
            // A month that the period cuts off, or that has not ended, may still get its drill.
            let is_open = month >= this || month + Months::new(1) - chrono::Days::new(1) > period.to;
            let outcome = match () {
                () if passed > 0 => Month::Pass,
                () if failed > 0 => Month::Fail,
                () if unknown > 0 => Month::Unknown,
                () if month > this => Month::Ahead,
                () if is_new && month == this => Month::Due,
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
    let last_pass = drills
        .iter()
        .filter(until)
        .filter(|drill| drill.outcome == Outcome::Pass)
        .map(|drill| drill.at)
        .max();
    let failed = drills.iter().filter(until).filter(|drill| drill.outcome == Outcome::Fail);
    // A deleted database has nothing left to fix.
    let failed_since_pass = match exists {
        Some(false) => 0,
        _ => failed.filter(|drill| last_pass.is_none_or(|pass| drill.at > pass)).count(),
    };
    let never_drilled = exists == Some(true) && drills.is_empty() && !is_new;
    let Which { id, account, region } = which.clone();
    let label = id.clone();
    Row {
        id,
        account,
        region,
        label,
        exists,
        first_drill,
        last_pass,
        failed_since_pass,
        never_drilled,
        months,
        gaps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("{text}T12:00:00Z").parse().unwrap()
    }

    fn drill(source: &str, day: &str, outcome: &str) -> Drilled {
        let all = [Outcome::Pass, Outcome::Fail, Outcome::Unknown, Outcome::Died, Outcome::Interrupted];
        let outcome = all.into_iter().find(|it| it.word() == outcome).unwrap();
        Drilled { source: which(source), run: format!("{day}-run"), at: at(day), outcome }
    }

    fn which(id: &str) -> Which {
        Which { id: id.into(), account: Some("111122223333".into()), region: "eu-central-1".into() }
    }

    fn existing(ids: &[&str]) -> Existing {
        let databases = ids.iter().map(|id| (which(id), None)).collect();
        let region = "eu-central-1".to_owned();
        let places = [(Some("111122223333".to_owned()), region.clone())].into();
        Existing { asked: true, regions: [region].into(), places, databases, ..Existing::default() }
    }

    fn not_asked() -> Existing {
        Existing { reason: Some("no Region".into()), ..Existing::default() }
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
        draw_up_calendar(Period::of_year(2026).unwrap(), drills, existing, at(now))
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
        assert!(calendar.databases[0].never_drilled);
    }

    #[test]
    fn a_database_of_one_account_is_no_proof_of_its_namesake_in_another() {
        let there = |account: &str, region: &str| Which {
            account: Some(account.into()),
            region: region.into(),
            ..which("orders")
        };
        let mut all = existing(&["orders"]);
        all.databases.insert(there("999922223333", "eu-central-1"), None);
        all.databases.insert(there("999922223333", "eu-west-1"), None);
        let mut drills = [drill("orders", "2026-10-02", "pass"), drill("orders", "2026-11-02", "pass")];
        // Evidence from before accounts were written down, in a Region where there is one only.
        drills[1].source = Which { account: None, ..there("", "eu-west-1") };
        let calendar = year(&drills, all, "2026-11-22");
        let shown: Vec<_> = calendar
            .databases
            .iter()
            .map(|row| (row.label.as_str(), letters(row), row.never_drilled))
            .collect();
        let label = |text: &'static str, months: &str, never| (text, months.to_owned(), never);
        assert_eq!(
            shown,
            [
                label("orders (111122223333, eu-central-1)", ".........Pd ", false),
                label("orders (999922223333, eu-central-1)", "........... ", true),
                label("orders (999922223333, eu-west-1)", "..........P ", false),
            ]
        );
    }

    #[test]
    fn a_database_that_came_this_month_is_due_and_one_that_came_later_is_not_there() {
        let mut all = existing(&[]);
        all.databases.insert(which("new"), Some(at("2026-11-20")));
        all.databases.insert(which("old"), Some(at("2026-10-31")));
        let calendar = year(&[], all.clone(), "2026-11-22");
        assert_eq!(
            (letters(&calendar.databases[0]).as_str(), calendar.databases[0].never_drilled),
            ("..........d ", false)
        );
        assert!(calendar.databases[1].never_drilled);
        let october = Period::last_months(1, "2026-11-22".parse().unwrap()).unwrap();
        let ids: Vec<_> = draw_up_calendar(october, &[], all, at("2026-11-22"))
            .databases
            .into_iter()
            .map(|row| row.id)
            .collect();
        assert_eq!(ids, ["old"]);
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
        assert_eq!(
            letters(&draw_up_calendar(period, &drills, not_asked(), at("2026-11-22")).databases[0]),
            "PGd"
        );
    }

    #[test]
    fn periods_are_whole_days() {
        let last = Period::last_months(2, "2026-01-15".parse().unwrap()).unwrap();
        assert_eq!((last.from.to_string(), last.to.to_string()), ("2025-11-01".into(), "2025-12-31".into()));
        let february = Period::month_of("2028-02-29".parse().unwrap()).unwrap();
        assert_eq!(february.to.to_string(), "2028-02-29");
        assert!(february.contains("2028-02-29T23:59:59Z".parse().unwrap()));
        assert!(Period::of_year(99_999).is_err() && Period::new(february.to, february.from).is_err());
    }
}
