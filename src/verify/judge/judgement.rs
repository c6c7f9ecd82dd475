//! The verdict on each table, and the resulting verdict on a copy.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::dumped::Note;
use crate::verify::Verdict;
use crate::verify::observe::Observation;
use crate::verify::row_differences::RowDifference;
use crate::words::format_count;

/// The result for one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Word {
    /// Same content.
    Identical,
    /// Same number of rows.
    Equal,
    /// Within what the writes since then allow.
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
    /// The word in reports.
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

    /// Whether rows were really compared.
    pub(crate) const fn is_comparison(self) -> bool {
        matches!(self, Word::Identical | Word::Equal | Word::Within | Word::Differs)
    }
}

/// The verdict on one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableVerdict {
    pub database: String,
    pub schema: String,
    pub table: String,
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
    pub reason: String,
    /// Rows that differ, where known: some of them, in the order of their keys.
    #[serde(default)]
    pub differences: Vec<RowDifference>,
}

pub(super) const NOT_COVERED: &str =
    "the recorded baseline does not cover its database, so it was compared with the source as it is now";

pub(super) fn doubt_of_coverage(database: &str) -> String {
    format!(
        "database `{database}` is in the copy, and the recorded baseline does not cover it: name the databases to compare with `--dbname`"
    )
}

impl TableVerdict {
    pub(super) fn name(&self) -> String {
        format!("{}.{}.{}", self.database, self.schema, self.table)
    }

    /// Whether some of its values were not compared, because none were recorded.
    pub(super) fn stays_open(&self) -> bool {
        match self.verdict {
            Word::Equal | Word::Within | Word::Unknown => true,
            Word::Skipped => self.expected_rows.is_some() && self.observed_rows.is_some(),
            Word::Identical | Word::Differs | Word::Missing | Word::Unexpected => false,
        }
    }

    /// Adopts what the source as it is now proves.
    pub(super) fn settle_with(&mut self, found: TableVerdict) {
        let proves = |table: &TableVerdict| table.matched_rows.unwrap_or_default();
        match found.verdict {
            Word::Differs => {
                let reason = format!("{}; by the baseline alone: {}", found.reason, self.reason);
                *self = TableVerdict { reason, expected_rows: self.expected_rows, ..found };
            }
            // An empty copy of what has rows now, and had some then.
            Word::Unknown if found.observed_rows == Some(0) && found.expected_rows > Some(0) => {
                (self.verdict, self.reason) = (Word::Unknown, found.reason);
            }
            Word::Identical => {
                self.verdict = Word::Identical;
                self.reason =
                    format!("compared with the source as it is now; by the baseline alone: {}", self.reason);
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

/// A definition or a sequence of the copy that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DefinitionVerdict {
    pub database: String,
    /// `index`, `function`, `constraint`, …
    pub kind: String,
    /// Qualified name.
    pub name: String,
    /// How it differs.
    pub verdict: Word,
    pub reason: String,
}

impl DefinitionVerdict {
    /// A definition that both sides have, and that differs.
    pub(crate) fn of_difference(database: &str, kind: &str, name: &str, reason: String) -> Self {
        let (database, kind, name) = (database.to_owned(), kind.to_owned(), name.to_owned());
        DefinitionVerdict { database, kind, name, verdict: Word::Differs, reason }
    }
}

/// How many rows of a table were proven one by one.
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
    /// The reasons, worst first.
    pub reasons: Vec<String>,
    /// Table by table, worst first within each database.
    pub tables: Vec<TableVerdict>,
    /// Definitions and sequences that are not as expected.
    pub definitions: Vec<DefinitionVerdict>,
    /// What was not compared, and why.
    pub not_tested: Vec<String>,
    /// Differences that count against nothing, and why.
    pub notes: Vec<Note>,
    pub(super) failing: &'static [Word],
    pub(super) other_failures: Vec<String>,
    pub(super) other_doubts: Vec<String>,
    /// Databases of the copy that the baseline does not cover.
    pub(super) uncovered: BTreeSet<String>,
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
                    table.settle_with(found);
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
        self.weigh();
    }

    /// Derives the verdict and its reasons: again whenever a table's own reason has changed.
    pub(crate) fn weigh(&mut self) {
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

/// `1 row`, `1,234 rows`.
pub(super) fn format_rows(rows: u64) -> String {
    format_count(rows as usize, "row", "rows")
}
