//! Whether a restored copy holds what it ought to. Pure: observations in, verdicts with reasons out.

mod alike;
mod definitions;
mod dumped;
mod live;
mod moment;
mod rows;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub(crate) use alike::{KINDS_NAMING_ROLES, Looks, Side, alike};
pub(crate) use definitions::{DefinitionVerdict, compares_kind};
pub(crate) use dumped::{Note, notes_on_dumps};
pub(crate) use live::{Counterparts, Evidence, Kinship, live, name_in_copy};
pub(crate) use moment::{Movement, Traces, at_the_moment, reason_with_rows};

pub(crate) use rows::{NewerRows, RowEvidence};

use super::Verdict;
use super::depth::Depth;
use super::narrow::{Differences, RowDifference};
use super::observe::{Counted, Observation, Table};

/// What was found of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Word {
    /// Same content.
    Identical,
    /// Same number of rows.
    Equal,
    /// Inside what the writes since then allow.
    Within,
    /// Rows are missing, or there are too many.
    Differs,
    /// The table is not in the copy.
    Missing,
    /// The table is only in the copy.
    Unexpected,
    /// Deliberately not compared.
    Skipped,
    /// Could not be compared.
    Unknown,
}

impl Word {
    /// The word as it stands in reports.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Word::Identical => "identical",
            Word::Equal => "equal",
            Word::Within => "within",
            Word::Differs => "differs",
            Word::Missing => "missing",
            Word::Unexpected => "unexpected",
            Word::Skipped => "skipped",
            Word::Unknown => "unknown",
        }
    }

    /// Whether rows were really held against each other.
    pub(crate) const fn is_comparison(self) -> bool {
        matches!(self, Word::Identical | Word::Equal | Word::Within | Word::Differs)
    }
}

/// The verdict on one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableVerdict {
    /// Database.
    pub database: String,
    /// Schema.
    pub schema: String,
    /// Table.
    pub table: String,
    /// What was found.
    pub verdict: Word,
    /// Rows of the baseline.
    pub expected_rows: Option<u64>,
    /// Rows of the copy.
    pub observed_rows: Option<u64>,
    /// Rows of which every value was compared, and is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched_rows: Option<u64>,
    /// Rows of either side that nothing could be compared with, or that could not be placed before or after the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_rows: Option<u64>,
    /// Why.
    pub reason: String,
    /// Rows that differ, where they could be found out: some of them, in the order of their keys.
    #[serde(default)]
    pub differences: Vec<RowDifference>,
}

const NOT_COVERED: &str =
    "the recorded baseline does not cover its database, so it was held against the source as it is now";

fn doubt_of_coverage(database: &str) -> String {
    format!(
        "database `{database}` is in the copy, and the recorded baseline does not cover it: name the databases to compare with `--dbname`"
    )
}

impl TableVerdict {
    fn name(&self) -> String {
        format!("{}.{}.{}", self.database, self.schema, self.table)
    }

    /// Whether its values were not all compared, for want of a record of them.
    fn stays_open(&self) -> bool {
        match self.verdict {
            Word::Equal | Word::Within | Word::Unknown => true,
            Word::Skipped => self.expected_rows.is_some() && self.observed_rows.is_some(),
            Word::Identical | Word::Differs | Word::Missing | Word::Unexpected => false,
        }
    }

    /// Takes over what the source as it is now proves.
    fn settle(&mut self, found: TableVerdict) {
        let proves = |table: &TableVerdict| table.matched_rows.unwrap_or_default();
        match found.verdict {
            Word::Differs => {
                let reason = format!("{}; by the record alone: {}", found.reason, self.reason);
                *self = TableVerdict { reason, expected_rows: self.expected_rows, ..found };
            }
            // An empty copy of what has rows now, and had some then.
            Word::Unknown if found.observed_rows == Some(0) && found.expected_rows > Some(0) => {
                (self.verdict, self.reason) = (Word::Unknown, found.reason);
            }
            Word::Identical => {
                self.verdict = Word::Identical;
                self.reason =
                    format!("held against the source as it is now; by the record alone: {}", self.reason);
                (self.matched_rows, self.open_rows) = (found.matched_rows, found.open_rows);
            }
            Word::Within if proves(&found) > proves(self) => {
                self.verdict = Word::Within;
                self.reason = found.reason;
                (self.matched_rows, self.open_rows) = (found.matched_rows, found.open_rows);
            }
            _ => {}
        }
    }
}

/// How far the rows of a table were proven one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableProof {
    /// Rows with the same values on both sides.
    pub(crate) matched_rows: u64,
    /// Rows that stay open.
    pub(crate) open_rows: u64,
}

/// The verdict on a copy.
#[derive(Clone, Debug)]
pub(crate) struct Judgement {
    /// Overall.
    pub verdict: Verdict,
    /// What it rests on, worst first.
    pub reasons: Vec<String>,
    /// Table by table, worst first within each database.
    pub tables: Vec<TableVerdict>,
    /// Definitions and sequences that are not what they ought to be.
    pub definitions: Vec<DefinitionVerdict>,
    /// What was not compared, and why.
    pub not_tested: Vec<String>,
    /// What is otherwise and speaks against nothing, and why.
    pub notes: Vec<Note>,
    failing: &'static [Word],
    other_failures: Vec<String>,
    other_doubts: Vec<String>,
    /// Databases of the copy that the baseline does not cover.
    uncovered: BTreeSet<String>,
}

/// Whether two fingerprints are of the same content; `None` where there are none.
fn same_content(left: Option<&String>, right: Option<&String>) -> Option<bool> {
    left.zip(right).map(|(left, right)| left == right)
}

/// Tables by schema and name.
fn by_name(tables: &[Table]) -> BTreeMap<(&str, &str), &Table> {
    tables.iter().map(|table| (name_of(table), table)).collect()
}

fn name_of(table: &Table) -> (&str, &str) {
    (&table.schema, &table.name)
}

fn uncounted(expected: &Counted, observed: &Counted) -> (Word, String) {
    match (expected, observed) {
        (Counted::Unreadable(reason), _) => (Word::Unknown, format!("not readable in the source: {reason}")),
        (Counted::Damaged(reason), _) => (Word::Unknown, format!("the source itself is damaged: {reason}")),
        // The server says that it stores what it never wrote: that is an answer, not a failure to find one.
        (_, Counted::Damaged(reason)) => (Word::Differs, format!("damaged in the copy: {reason}")),
        (_, Counted::Unreadable(reason)) => (Word::Unknown, format!("not readable in the copy: {reason}")),
        (Counted::Skipped(reason), _) | (_, Counted::Skipped(reason)) => (Word::Skipped, reason.clone()),
        (Counted::Rows(_), Counted::Rows(_)) => (Word::Unknown, String::new()),
    }
}

/// `1 row`, `2 rows`.
fn counted_rows(rows: u64) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}

/// Gathers the verdicts and weighs them.
struct Bench {
    tables: Vec<TableVerdict>,
    missing_databases: Vec<String>,
    extra_databases: Vec<String>,
    /// What else speaks against the copy.
    failures: Vec<String>,
    unreadable: Vec<String>,
    definitions: Vec<DefinitionVerdict>,
    not_tested: Vec<String>,
    notes: Vec<Note>,
    /// Databases of the copy that the baseline does not cover.
    uncovered: BTreeSet<String>,
    /// Any table was to be read.
    rows_were_asked: bool,
}

impl Bench {
    fn new(expected: &Observation, observed: &Observation) -> Self {
        let side = |side: &str, observation: &Observation| -> Vec<String> {
            let told = observation.unreadable.iter();
            told.map(|(database, reason)| {
                format!("database `{database}` of the {side} could not be read: {reason}")
            })
            .collect()
        };
        let unreadable = [side("source", expected), side("restored copy", observed)].concat();
        Bench {
            tables: Vec::new(),
            missing_databases: Vec::new(),
            extra_databases: Vec::new(),
            failures: Vec::new(),
            unreadable,
            definitions: Vec::new(),
            not_tested: Vec::new(),
            notes: Vec::new(),
            uncovered: BTreeSet::new(),
            rows_were_asked: expected.databases.values().flatten().all(|table| table.depth != Depth::Schema),
        }
    }

    fn add(
        &mut self,
        database: &str,
        table: Option<&Table>,
        copy: Option<&Table>,
        verdict: Word,
        reason: impl Into<String>,
    ) {
        let Some(named) = table.or(copy) else { return };
        let rows = |table: Option<&Table>| table.and_then(Table::rows);
        self.tables.push(TableVerdict {
            database: database.to_owned(),
            schema: named.schema.clone(),
            table: named.name.clone(),
            verdict,
            expected_rows: rows(table),
            observed_rows: rows(copy),
            matched_rows: None,
            open_rows: None,
            reason: reason.into(),
            differences: Vec::new(),
        });
    }

    fn take(&mut self, found: definitions::Found) {
        self.definitions.extend(found.differences);
        self.not_tested.extend(found.changed_around);
        self.unreadable.extend(found.doubts);
    }

    fn add_proven(
        &mut self,
        database: &str,
        table: Option<&Table>,
        copy: Option<&Table>,
        verdict: Word,
        reason: impl Into<String>,
        proof: TableProof,
    ) {
        self.add(database, table, copy, verdict, reason);
        let are_counted = |table: Option<&Table>| table.is_some_and(|table| table.rows().is_some());
        if let Some(added) = self.tables.last_mut().filter(|_| are_counted(table) && are_counted(copy)) {
            added.matched_rows = Some(proof.matched_rows);
            added.open_rows = Some(proof.open_rows);
        }
    }

    /// Names rows of the table that was added last.
    fn name_differences(&mut self, found: &Differences) {
        if let (Some(added), Some(told)) = (self.tables.last_mut(), found.told()) {
            added.reason = format!("{told}; {}", added.reason);
            added.differences = found.rows.clone();
        }
    }

    /// Adds the tables of a database that the copy lacks, and that may have been made since.
    fn database_may_be_missing<'a>(&mut self, database: &str, tables: impl Iterator<Item = &'a Table>) {
        let reason =
            "its database is not in the restored copy, and nothing proves that it was made after the backup";
        self.unreadable.push(format!(
            "database `{database}` is not in the restored copy, and nothing proves that it was made after the backup: drill a newer backup, or name the other databases with `--dbname`"
        ));
        for table in tables {
            self.add(database, Some(table), None, Word::Unknown, reason);
        }
    }

    fn database_is_missing<'a>(
        &mut self,
        database: &str,
        tables: impl Iterator<Item = &'a Table>,
        copy: &Observation,
    ) {
        if copy.unreadable.contains_key(database) {
            for table in tables {
                self.add(
                    database,
                    Some(table),
                    None,
                    Word::Unknown,
                    "its database could not be read in the restored copy",
                );
            }
            return;
        }
        self.missing_databases.push(format!("database `{database}` is not in the restored copy"));
        for table in tables {
            self.add(
                database,
                Some(table),
                None,
                Word::Missing,
                "its whole database is not in the restored copy",
            );
        }
    }

    /// Another major version deparses views and rules in other words.
    fn leave_out_what_versions_write_differently(&mut self, left: &Observation, right: &Observation) {
        const WORDS: [&str; 4] = ["view", "rule", "aggregate", "publication columns"];
        if left.major() == right.major() {
            return;
        }
        let of_words = |found: &DefinitionVerdict| {
            found.verdict == Word::Differs && WORDS.contains(&found.kind.as_str())
        };
        let left_out = self.definitions.extract_if(.., |found| of_words(found)).map(|found| {
            format!(
                "{} `{}.{}`: PostgreSQL {} and {} write it down in different words",
                found.kind,
                found.database,
                found.name,
                left.major(),
                right.major()
            )
        });
        self.not_tested.extend(left_out);
    }

    fn close(mut self, failing: &'static [Word]) -> Judgement {
        let mut other_doubts = self.unreadable.clone();
        other_doubts.extend(self.uncovered.iter().map(|name| doubt_of_coverage(name)));
        let compared = self.tables.iter().filter(|table| table.verdict.is_comparison()).count();
        let is_all_well = self.missing_databases.is_empty()
            && self.extra_databases.is_empty()
            && self.failures.is_empty()
            && self.definitions.is_empty()
            && other_doubts.is_empty()
            && self
                .tables
                .iter()
                .all(|table| !failing.contains(&table.verdict) && table.verdict != Word::Unknown);
        if compared == 0 && is_all_well && self.rows_were_asked {
            other_doubts.push("no table was compared, which proves nothing: choose a newer backup, or other databases with `--dbname`".to_owned());
        }
        let proven = || self.tables.iter().filter_map(|table| table.matched_rows.zip(table.observed_rows));
        if is_all_well && proven().all(|(matched, _)| matched == 0) && proven().any(|(_, held)| held > 0) {
            other_doubts.push(
                "no row of the copy could be compared by its values, since the source has replaced all of them: drill a newer backup"
                    .to_owned(),
            );
        }
        let skipped = self.tables.iter().filter(|table| table.verdict == Word::Skipped);
        self.not_tested.extend(skipped.map(|table| format!("table `{}`: {}", table.name(), table.reason)));
        self.not_tested.extend(self.unreadable);
        let mut judgement = Judgement {
            verdict: Verdict::Unknown,
            reasons: Vec::new(),
            tables: self.tables,
            definitions: self.definitions,
            not_tested: self.not_tested,
            notes: self.notes,
            failing,
            other_failures: [self.failures, self.missing_databases, self.extra_databases].concat(),
            other_doubts,
            uncovered: self.uncovered,
        };
        judgement.tell();
        judgement
    }
}

impl Judgement {
    /// Databases of which something stays open that the source as it is now may settle: tables of which only bounds, or no
    /// values, could be compared, and databases that the record does not cover.
    pub(crate) fn databases_left_open(&self, observed: &Observation) -> BTreeSet<String> {
        let open = self.tables.iter().filter(|table| table.stays_open());
        open.map(|table| table.database.clone())
            .chain(observed.databases.keys().filter(|name| self.uncovered.contains(*name)).cloned())
            .collect()
    }

    /// Takes over what `other`, a judgement by the source as it is now, proves of tables that stay open here.
    pub(crate) fn settle_with(&mut self, other: Judgement) {
        let uncovered = std::mem::take(&mut self.uncovered);
        let mut settled = Vec::new();
        for found in other.tables {
            let is_same = |table: &&mut TableVerdict| {
                (&table.database, &table.schema, &table.table)
                    == (&found.database, &found.schema, &found.table)
            };
            match self.tables.iter_mut().find(is_same) {
                Some(table) if table.stays_open() => {
                    let by_the_record = table.clone();
                    table.settle(found);
                    if *table != by_the_record {
                        settled.push(format!("table `{}`:", table.name()));
                    }
                }
                Some(_) => {}
                None if uncovered.contains(&found.database) => {
                    let reason = match found.reason.is_empty() {
                        true => NOT_COVERED.to_owned(),
                        false => format!("{} ({NOT_COVERED})", found.reason),
                    };
                    // As in a live drill, what the source no longer has was dropped since.
                    let verdict = match found.verdict {
                        Word::Unexpected => Word::Skipped,
                        word => word,
                    };
                    self.tables.push(TableVerdict { reason, verdict, ..found });
                }
                None => {}
            }
        }
        for failure in other.other_failures {
            if !self.other_failures.contains(&failure) {
                self.other_failures.push(failure);
            }
        }
        let is_covered = |doubt: &String| !uncovered.iter().any(|name| *doubt == doubt_of_coverage(name));
        self.other_doubts.retain(is_covered);
        let names = |doubt: &String| uncovered.iter().any(|name| doubt.contains(&format!("`{name}`")));
        self.other_doubts.extend(other.other_doubts.into_iter().filter(names));
        // What stays open of a table is what the judgement says that settled it.
        let is_of_settled = |line: &String| settled.iter().any(|table| line.starts_with(table));
        self.not_tested.retain(|line| !is_of_settled(line));
        let is_of_uncovered = |line: &String| uncovered.iter().any(|name| line.contains(&format!("`{name}")));
        let taken_over = |line: &String| is_of_settled(line) || is_of_uncovered(line);
        self.not_tested.extend(other.not_tested.into_iter().filter(taken_over));
        self.tables.sort_by(|left, right| left.database.cmp(&right.database));
        self.tell();
    }

    /// Weighs what was found, and words the reasons: again whenever a table's own words have changed.
    pub(crate) fn tell(&mut self) {
        let told = |table: &TableVerdict| {
            let rows = |rows: Option<u64>| rows.map_or("?".to_owned(), |rows| rows.to_string());
            let counts =
                format!("expected {}, found {}", rows(table.expected_rows), rows(table.observed_rows));
            match table.verdict {
                Word::Differs => format!("table `{}` differs ({counts}): {}", table.name(), table.reason),
                word => format!("table `{}` is {}: {}", table.name(), word.as_str(), table.reason),
            }
        };
        let tables_that = |wanted: &dyn Fn(Word) -> bool| -> Vec<String> {
            self.tables.iter().filter(|table| wanted(table.verdict)).map(told).collect()
        };
        let definitions = self.definitions.iter().map(|found| {
            format!(
                "{} `{}.{}` is {}: {}",
                found.kind,
                found.database,
                found.name,
                match found.verdict {
                    Word::Differs => "different",
                    word => word.as_str(),
                },
                found.reason
            )
        });
        let failures = [
            self.other_failures.clone(),
            tables_that(&|word| self.failing.contains(&word)),
            definitions.collect(),
        ]
        .concat();
        let doubts = [self.other_doubts.clone(), tables_that(&|word| word == Word::Unknown)].concat();
        self.verdict = match (failures.is_empty(), doubts.is_empty()) {
            (false, _) => Verdict::Fail,
            (true, false) => Verdict::Unknown,
            (true, true) => Verdict::Pass,
        };
        self.reasons = [failures, doubts].concat();
    }
}

#[cfg(test)]
mod tests;
