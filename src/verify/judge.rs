//! Whether a restored copy contains what it should. Pure: observations in, verdicts with reasons out.
//!
//! ```text
//! rows         a physical copy against its living source: what `within` means row by row
//! moment       against a baseline of the very moment: within what the write counters allow
//! live         against a source without that history: within a tolerance
//! alike        two databases that a dump connects, or that nothing connects
//! definitions  definitions, sequences and settings, in each of these cases
//! judgement    the words, and what a report says of them
//! ```

mod alike;
mod definitions;
mod dumped;
mod judgement;
mod live;
mod moment;
mod rows;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use alike::{KINDS_NAMING_ROLES, Looks, Side, judge_alike};
pub(crate) use definitions::compares_kind;
pub(crate) use dumped::{Note, notes_on_dumps};
pub(crate) use judgement::{DefinitionVerdict, Judgement, TableProof, TableVerdict, Word};
pub(crate) use live::{Counterparts, Evidence, Kinship, judge_live, name_in_copy};
pub(crate) use moment::{Movement, Traces, at_the_moment, reason_with_rows};

pub(crate) use rows::{NewerRows, RowEvidence};

use judgement::{doubt_of_coverage, format_rows};

use super::Verdict;
use super::depth::Depth;
use super::observe::{Counted, Observation, Table};
use super::row_differences::Differences;

/// Whether two fingerprints are of the same content; `None` if one is missing.
fn same_content(left: Option<&String>, right: Option<&String>) -> Option<bool> {
    left.zip(right).map(|(left, right)| left == right)
}

/// Tables by schema and name.
fn tables_by_name(tables: &[Table]) -> BTreeMap<(&str, &str), &Table> {
    tables.iter().map(|table| (table_name(table), table)).collect()
}

fn table_name(table: &Table) -> (&str, &str) {
    (&table.schema, &table.name)
}

fn judge_uncounted(expected: &Counted, observed: &Counted) -> (Word, String) {
    match (expected, observed) {
        (Counted::Unreadable(reason), _) => (Word::Unknown, format!("not readable in the source: {reason}")),
        (Counted::Damaged(reason), _) => (Word::Unknown, format!("the source itself is damaged: {reason}")),
        // The server reports content that it never wrote: that is a result, not a failure to get one.
        (_, Counted::Damaged(reason)) => (Word::Differs, format!("damaged in the copy: {reason}")),
        (_, Counted::Unreadable(reason)) => (Word::Unknown, format!("not readable in the copy: {reason}")),
        (Counted::Skipped(reason), _) | (_, Counted::Skipped(reason)) => (Word::Skipped, reason.clone()),
        (Counted::Rows(_), Counted::Rows(_)) => (Word::Unknown, String::new()),
    }
}

/// Collects the verdicts and derives the overall one.
#[derive(Default)]
struct Verdicts {
    tables: Vec<TableVerdict>,
    missing_databases: Vec<String>,
    extra_databases: Vec<String>,
    /// Other evidence against the copy.
    failures: Vec<String>,
    unreadable: Vec<String>,
    definitions: Vec<DefinitionVerdict>,
    not_tested: Vec<String>,
    notes: Vec<Note>,
    /// Databases of the copy that the baseline does not cover.
    uncovered: BTreeSet<String>,
    /// Whether any table was to be read.
    rows_were_asked: bool,
}

impl Verdicts {
    fn new(expected: &Observation, observed: &Observation) -> Self {
        let side = |side: &str, observation: &Observation| -> Vec<String> {
            let told = observation.unreadable.iter();
            told.map(|(database, reason)| {
                format!("database `{database}` of the {side} could not be read: {reason}")
            })
            .collect()
        };
        let unreadable = [side("source", expected), side("restored copy", observed)].concat();
        Verdicts {
            unreadable,
            rows_were_asked: expected.databases.values().flatten().all(|table| table.depth != Depth::Schema),
            ..Verdicts::default()
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
        let rows = |table: Option<&Table>| table.and_then(Table::counted_rows);
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

    fn add_definitions(&mut self, found: definitions::Found) {
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
        let are_counted = |table: Option<&Table>| table.is_some_and(|table| table.counted_rows().is_some());
        if let Some(added) = self.tables.last_mut().filter(|_| are_counted(table) && are_counted(copy)) {
            added.matched_rows = Some(proof.matched_rows);
            added.open_rows = Some(proof.open_rows);
        }
    }

    /// Names rows of the table that was added last.
    fn name_differences(&mut self, found: &Differences) {
        if let (Some(added), Some(told)) = (self.tables.last_mut(), found.summary()) {
            added.reason = format!("{told}; {}", added.reason);
            added.differences = found.rows.clone();
        }
    }

    /// Adds the tables of a database that the copy lacks, and that may have been created since.
    /// Adds tables of a database that the copy does not have, or not readably.
    fn add_without_copy(&mut self, database: &str, tables: &[Table], verdict: Word, reason: &str) {
        for table in tables {
            self.add(database, Some(table), None, verdict, reason);
        }
    }

    fn database_may_be_missing(&mut self, database: &str, tables: &[Table]) {
        let reason = "its database is not in the restored copy, and nothing proves that it was created after the backup";
        self.unreadable.push(format!(
            "database `{database}` is not in the restored copy, and nothing proves that it was created after the backup: drill a newer backup, or name the other databases with `--dbname`"
        ));
        self.add_without_copy(database, tables, Word::Unknown, reason);
    }

    fn database_is_missing(&mut self, database: &str, tables: &[Table], copy: &Observation) {
        if copy.unreadable.contains_key(database) {
            let reason = "its database could not be read in the restored copy";
            return self.add_without_copy(database, tables, Word::Unknown, reason);
        }
        self.missing_databases.push(format!("database `{database}` is not in the restored copy"));
        let reason = "its whole database is not in the restored copy";
        self.add_without_copy(database, tables, Word::Missing, reason);
    }

    /// Another major version deparses views and rules differently.
    fn leave_out_what_versions_write_differently(&mut self, left: &Observation, right: &Observation) {
        const WORDS: [&str; 4] = ["view", "rule", "aggregate", "publication columns"];
        if left.major_version() == right.major_version() {
            return;
        }
        let of_words = |found: &DefinitionVerdict| {
            found.verdict == Word::Differs && WORDS.contains(&found.kind.as_str())
        };
        let left_out = self.definitions.extract_if(.., |found| of_words(found)).map(|found| {
            format!(
                "{} `{}.{}`: PostgreSQL {} and {} print it differently",
                found.kind,
                found.database,
                found.name,
                left.major_version(),
                right.major_version()
            )
        });
        self.not_tested.extend(left_out);
    }

    fn conclude(mut self, failing: &'static [Word]) -> Judgement {
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
                "no row of the copy could be compared by its values, because the source has replaced all of them: drill a newer backup"
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
        judgement.weigh();
        judgement
    }
}

#[cfg(test)]
mod tests;
