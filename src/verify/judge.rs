//! Whether a restored copy holds what it ought to. Pure: observations in, verdicts with reasons out.

mod definitions;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use definitions::DefinitionVerdict;

use super::Verdict;
use super::lineage::Horizon;
use super::observe::{Counted, Observation, Table, WriteCounters};
use super::schema::{Definitions, Sequences};

/// What was found of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
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
    pub const fn as_str(self) -> &'static str {
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
    pub const fn is_comparison(self) -> bool {
        matches!(self, Word::Identical | Word::Equal | Word::Within | Word::Differs)
    }
}

/// The verdict on one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableVerdict {
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
    /// Why.
    pub reason: String,
}

impl TableVerdict {
    fn name(&self) -> String {
        format!("{}.{}.{}", self.database, self.schema, self.table)
    }
}

/// The verdict on a copy.
#[derive(Clone, Debug)]
pub struct Judgement {
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
}

/// The writes to the tables of a source between two looks at its counters, for the time-aligned baseline. The
/// first look is before the instant that was observed and the second after the moment that was restored, so the
/// difference is never less than what was written in between.
#[derive(Clone, Debug, Default)]
pub struct Movement {
    /// The looks, by database and object id: counters and file.
    pub before: BTreeMap<(String, u32), (WriteCounters, Option<u32>)>,
    /// The second look.
    pub after: BTreeMap<(String, u32), (WriteCounters, Option<u32>)>,
    /// Where the sequences stood at the first look, by database.
    pub sequences_before: BTreeMap<String, Sequences>,
    /// And at the second.
    pub sequences_after: BTreeMap<String, Sequences>,
    /// The definitions at the second look, by database.
    pub definitions_after: BTreeMap<String, Definitions>,
}

/// What the copy's commit log says where rows or tables seem to be missing.
#[derive(Clone, Debug, Default)]
pub struct CommitLog {
    /// Rows of a table that by number are older than the horizon and whose transaction had not committed by then.
    pub rows_not_in_copy: BTreeMap<(String, u32), u64>,
    /// Transactions that had not committed by then.
    pub uncommitted: BTreeSet<u64>,
}

/// What the source and its copy have in common.
#[derive(Clone, Debug)]
pub enum Kinship<'a> {
    /// The copy carries on the source's transaction history up to the horizon.
    Lineage {
        /// Up to where.
        horizon: &'a Horizon,
        /// What the commit log adds.
        commit_log: &'a CommitLog,
        /// The moment of the backup.
        moment: Option<DateTime<Utc>>,
    },
    /// Nothing but the names: the counts may differ by a tolerance.
    Names {
        /// Allowed difference as a share of the source's rows, 0 to 1.
        tolerance: f64,
        /// Why no more can be said.
        because: String,
    },
}

/// Judges a copy of the very moment that was observed.
pub fn aligned(expected: &Observation, movement: &Movement, observed: &Observation) -> Judgement {
    let mut bench = Bench::new(expected, observed);
    for (database, tables) in &expected.databases {
        let Some(copies) = observed.databases.get(database) else {
            bench.database_is_missing(database, tables.iter(), observed);
            continue;
        };
        for table in tables {
            let Some(copy) = copies.iter().find(|copy| is_same_name(table, copy)) else {
                bench.add(database, Some(table), None, Word::Missing, "it is not in the restored copy");
                continue;
            };
            let key = (database.clone(), table.oid);
            let (word, reason) = match (&table.counted, &copy.counted) {
                (Counted::Rows(rows), Counted::Rows(copied)) => {
                    let same_content = same_content(table.fingerprint.as_ref(), copy.fingerprint.as_ref());
                    let looks = (movement.before.get(&key), movement.after.get(&key));
                    aligned_rows(*rows, *copied, same_content, looks)
                }
                (left, right) => uncounted(left, right),
            };
            bench.add(database, Some(table), Some(copy), word, reason);
        }
        for copy in copies {
            if !tables.iter().any(|table| is_same_name(table, copy)) {
                bench.add(
                    database,
                    None,
                    Some(copy),
                    Word::Unexpected,
                    "it was not in the source at that moment",
                );
            }
        }
    }
    bench.definitions = definitions::differences(expected, &movement.definitions_after, observed);
    for (database, before) in &movement.sequences_before {
        if let Some(copies) = observed.sequences.get(database) {
            let after = movement.sequences_after.get(database);
            bench.definitions.extend(definitions::sequences_set_back(database, before, after, copies));
        }
    }
    bench.close(&[Word::Differs, Word::Missing, Word::Unexpected])
}

/// Whether two fingerprints are of the same content; `None` where there are none.
fn same_content(left: Option<&String>, right: Option<&String>) -> Option<bool> {
    left.zip(right).map(|(left, right)| left == right)
}

/// The counters and the file of a table at one look.
type Look<'a> = Option<&'a (WriteCounters, Option<u32>)>;

fn aligned_rows(
    rows: u64,
    copied: u64,
    same_content: Option<bool>,
    (before, after): (Look<'_>, Look<'_>),
) -> (Word, String) {
    match same_content {
        Some(true) if rows == copied => return (Word::Identical, String::new()),
        None if rows == copied => return (Word::Equal, String::new()),
        _ => {}
    }
    let (Some((first, first_file)), Some((second, second_file))) = (before, after) else {
        return (
            Word::Unknown,
            "the table was made or dropped while the source was being observed".to_owned(),
        );
    };
    let inserted = second.inserted - first.inserted;
    let updated = second.updated - first.updated;
    let deleted = second.deleted - first.deleted;
    if inserted < 0 || updated < 0 || deleted < 0 {
        let reason = "the source's write counters were reset meanwhile, so nothing bounds its writes";
        return (Word::Unknown, reason.to_owned());
    }
    let was_rewritten = first_file != second_file;
    let nobody_wrote = inserted == 0 && updated == 0 && deleted == 0 && !was_rewritten;
    let lowest = if was_rewritten { 0 } else { rows.saturating_sub(deleted.unsigned_abs()) };
    let highest = rows.saturating_add(inserted.unsigned_abs());
    if rows == copied && nobody_wrote {
        let reason = "as many rows, but with other content; nobody wrote to it meanwhile";
        return (Word::Differs, reason.to_owned());
    }
    if (lowest..=highest).contains(&copied) {
        let rewritten = if was_rewritten { ", and the table was truncated or rewritten" } else { "" };
        let reason = format!(
            "written to around that moment, so only bounds can be checked: {lowest} to {highest} rows are sound \
             ({inserted} inserted, {updated} updated, {deleted} deleted{rewritten})"
        );
        return (Word::Within, reason);
    }
    let (difference, direction) = (rows.abs_diff(copied), if copied < rows { "missing" } else { "too many" });
    let allowed = if nobody_wrote {
        "nobody wrote to it meanwhile".to_owned()
    } else {
        format!("the writes meanwhile allow {lowest} to {highest}")
    };
    (Word::Differs, format!("{} {direction}; {allowed}", counted_rows(difference)))
}

/// Judges a copy of an earlier moment against the source as it is now.
pub fn live(source: &Observation, copy: &Observation, kinship: &Kinship<'_>) -> Judgement {
    let mut bench = Bench::new(source, copy);
    if let Kinship::Names { because, .. } = kinship {
        bench
            .not_tested
            .push(format!("rows one by one: {because}, so the counts are only held against a tolerance"));
    }
    for (database, tables) in &source.databases {
        let Some(copies) = copy.databases.get(database) else {
            let older: Vec<&Table> =
                tables.iter().filter(|table| existed(table.created_by, kinship) != Some(false)).collect();
            let itself = source.made_by.get(database).copied();
            if older.is_empty() && existed(itself, kinship) == Some(false) {
                bench.not_tested.push(format!("database `{database}`: it was made after the backup"));
            } else {
                bench.database_is_missing(database, older.into_iter(), copy);
            }
            continue;
        };
        let mut matched = BTreeSet::new();
        for table in tables {
            let Some(copied) = counterpart(table, tables, copies, kinship) else {
                let (word, reason) = match existed(table.created_by, kinship) {
                    Some(true) => (Word::Missing, "it is older than the backup and not in the restored copy"),
                    Some(false) => (Word::Skipped, "made after the backup"),
                    None => (
                        Word::Unknown,
                        "it is not in the restored copy, and whether it is older cannot be told",
                    ),
                };
                bench.add(database, Some(table), None, word, reason);
                continue;
            };
            matched.insert(copied.oid);
            let (word, reason) = match (&table.counted, &copied.counted) {
                (Counted::Rows(rows), Counted::Rows(held)) => match kinship {
                    Kinship::Lineage { horizon, commit_log, moment } => {
                        let absent = commit_log.rows_not_in_copy.get(&(database.clone(), table.oid)).copied();
                        let counters_cover = matches!((source.counting_since, moment), (Some(since), Some(moment)) if since <= *moment);
                        let survivors = Survivors::of(table, copied, horizon, absent.unwrap_or_default());
                        let same_file = table.filenode == copied.filenode && counters_cover;
                        live_rows(*rows, *held, &survivors, same_file.then_some(table.writes))
                    }
                    Kinship::Names { tolerance, .. } => tolerated(*rows, *held, *tolerance),
                },
                (left, right) => uncounted(left, right),
            };
            bench.add(database, Some(table), Some(copied), word, reason);
        }
        for copied in copies.iter().filter(|copied| !matched.contains(&copied.oid)) {
            bench.add(
                database,
                None,
                Some(copied),
                Word::Unexpected,
                "the source no longer has it: dropped since the backup",
            );
        }
    }
    for database in copy.databases.keys().filter(|name| !source.databases.contains_key(*name)) {
        if !source.unreadable.contains_key(database) {
            bench.not_tested.push(format!("database `{database}`: the source no longer has it"));
        }
    }
    bench.close(&[Word::Differs, Word::Missing])
}

/// Tables whose verdict in [`live`] would rest on the copy's commit log: those that hold fewer rows than the
/// source has from before the horizon.
pub fn suspects<'a>(source: &'a Observation, copy: &Observation) -> Vec<(&'a str, &'a Table)> {
    let mut suspects = Vec::new();
    for (database, tables) in &source.databases {
        let Some(copies) = copy.databases.get(database) else { continue };
        for table in tables {
            let held = copies.iter().find(|copied| copied.oid == table.oid || is_same_name(table, copied));
            if let (Some(Table { counted: Counted::Rows(held), .. }), Some(older)) = (held, table.maybe_older)
                && *held < older
            {
                suspects.push((database.as_str(), table));
            }
        }
    }
    suspects
}

/// The rows that the source still holds from before the backup.
struct Survivors {
    surely: u64,
    at_most: u64,
    /// Whether their content is that of the whole copy; `None` where that cannot be told.
    same_content: Option<bool>,
}

impl Survivors {
    fn of(table: &Table, copied: &Table, horizon: &Horizon, absent: u64) -> Self {
        let at_most = table.maybe_older.unwrap_or_default().saturating_sub(absent);
        let is_sharp = horizon.surely_before == horizon.maybe_before;
        let surely = if is_sharp {
            at_most
        } else {
            // `absent` counts over the wider horizon, so this errs to the side of fewer survivors.
            table.surely_older.unwrap_or_default().saturating_sub(absent)
        };
        let same = same_content(table.older_fingerprint.as_ref(), copied.fingerprint.as_ref());
        // Under a blurred horizon, and with rows that were not committed then, another content is no evidence.
        let same_content = same.filter(|same| *same || (is_sharp && absent == 0));
        Survivors { surely, at_most, same_content }
    }
}

/// `writes`: the source's counters, if they have counted since before the backup and the table was never rewritten.
fn live_rows(rows: u64, held: u64, survivors: &Survivors, writes: Option<WriteCounters>) -> (Word, String) {
    if held < survivors.surely {
        let missing = survivors.surely - held;
        let reason = format!(
            "{} missing: the source still has {} from before the backup",
            counted_rows(missing),
            counted_rows(survivors.surely)
        );
        return (Word::Differs, reason);
    }
    if held < survivors.at_most && held == 0 {
        let newer = counted_rows(survivors.at_most);
        return (
            Word::Unknown,
            format!("the copy is empty; whether {newer} of the source are newer cannot be told"),
        );
    }
    // As many rows as are left from then: nothing of that time was changed since, so the content must be the same.
    if held == survivors.at_most && survivors.same_content == Some(false) {
        return (
            Word::Differs,
            "as many rows as are left from before the backup, but with other content".to_owned(),
        );
    }
    if let Some(writes) = writes {
        let allowed = u64::try_from(writes.updated + writes.deleted).unwrap_or_default();
        // Rows between the two horizons may be in the copy as well.
        let unexplained = (held.saturating_sub(survivors.at_most)).saturating_sub(allowed);
        if unexplained > 0 {
            let reason = format!(
                "{} too many: the source has {} from before the backup and since updated or deleted at most {allowed}",
                counted_rows(unexplained),
                counted_rows(survivors.at_most)
            );
            return (Word::Differs, reason);
        }
    }
    live_words(rows, held, survivors)
}

/// The words for a copy that nothing speaks against.
fn live_words(rows: u64, held: u64, survivors: &Survivors) -> (Word, String) {
    let is_identical = held == survivors.at_most && survivors.same_content == Some(true);
    let changed_since = held - survivors.surely.min(held);
    let identical = if is_identical { ", identical" } else { "" };
    let proven =
        format!("{} from before the backup are all there{identical}", counted_rows(survivors.surely));
    if rows == held && is_identical {
        (Word::Identical, String::new())
    } else if rows == held && changed_since == 0 {
        (Word::Equal, String::new())
    } else if rows == held {
        (Word::Equal, format!("{proven}; {} updated or replaced since", counted_rows(changed_since)))
    } else if survivors.surely == 0 && held < rows {
        (Word::Within, format!("every row of the source is newer than the backup ({} more)", rows - held))
    } else if held < rows {
        (Word::Within, format!("{proven}; the source has grown by {} since", counted_rows(rows - held)))
    } else {
        (
            Word::Within,
            format!("{proven}; {} deleted or updated in the source since", counted_rows(changed_since)),
        )
    }
}

fn tolerated(rows: u64, held: u64, tolerance: f64) -> (Word, String) {
    let difference = rows.abs_diff(held);
    let allowed = (rows as f64 * tolerance).floor() as u64;
    let percent = tolerance * 100.0;
    if difference == 0 {
        (Word::Equal, String::new())
    } else if held == 0 {
        (Word::Differs, "the copy is empty and the source is not".to_owned())
    } else if difference <= allowed {
        (Word::Within, format!("{difference} apart, within the tolerance of {percent} %"))
    } else {
        (Word::Differs, format!("{difference} apart, beyond the tolerance of {percent} %"))
    }
}

/// Whether an object made by that transaction was there at the moment of the copy.
fn existed(made_by: Option<u64>, kinship: &Kinship<'_>) -> Option<bool> {
    let Kinship::Lineage { horizon, commit_log, .. } = kinship else { return None };
    let made_by = made_by?;
    if made_by > horizon.maybe_before || commit_log.uncommitted.contains(&made_by) {
        Some(false)
    } else if made_by <= horizon.surely_before {
        Some(true)
    } else {
        None
    }
}

fn is_same_name(left: &Table, right: &Table) -> bool {
    left.schema == right.schema && left.name == right.name
}

/// The copy of a table: by object id, which survives renaming, else by name, which survives being made anew.
fn counterpart<'a>(
    table: &Table,
    tables: &[Table],
    copies: &'a [Table],
    kinship: &Kinship<'_>,
) -> Option<&'a Table> {
    let by_id = match kinship {
        Kinship::Lineage { .. } => copies.iter().find(|copy| copy.oid == table.oid),
        Kinship::Names { .. } => None,
    };
    by_id.or_else(|| {
        copies.iter().find(|copy| {
            // Not the copy of another table that has since taken another name.
            let taken = matches!(kinship, Kinship::Lineage { .. })
                && tables.iter().any(|other| other.oid == copy.oid);
            is_same_name(table, copy) && !taken
        })
    })
}

fn uncounted(expected: &Counted, observed: &Counted) -> (Word, String) {
    match (expected, observed) {
        (Counted::Unreadable(reason), _) => (Word::Unknown, format!("not readable in the source: {reason}")),
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
    unreadable: Vec<String>,
    definitions: Vec<DefinitionVerdict>,
    not_tested: Vec<String>,
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
            unreadable,
            definitions: Vec::new(),
            not_tested: Vec::new(),
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
        let rows = |table: Option<&Table>| match table.map(|table| &table.counted) {
            Some(Counted::Rows(rows)) => Some(*rows),
            _ => None,
        };
        self.tables.push(TableVerdict {
            database: database.to_owned(),
            schema: named.schema.clone(),
            table: named.name.clone(),
            verdict,
            expected_rows: rows(table),
            observed_rows: rows(copy),
            reason: reason.into(),
        });
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

    fn close(mut self, failing: &[Word]) -> Judgement {
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
                found.verdict.as_str(),
                found.reason
            )
        });
        let failures = [
            self.missing_databases.clone(),
            tables_that(&|word| failing.contains(&word)),
            definitions.collect(),
        ]
        .concat();
        let mut doubts = [self.unreadable.clone(), tables_that(&|word| word == Word::Unknown)].concat();
        let compared = self.tables.iter().filter(|table| table.verdict.is_comparison()).count();
        if compared == 0 && failures.is_empty() && doubts.is_empty() {
            doubts.push("no table was compared: that proves nothing".to_owned());
        }
        let skipped = self.tables.iter().filter(|table| table.verdict == Word::Skipped);
        self.not_tested.extend(skipped.map(|table| format!("table `{}`: {}", table.name(), table.reason)));
        self.not_tested.extend(self.unreadable.clone());
        let verdict = match (failures.is_empty(), doubts.is_empty()) {
            (false, _) => Verdict::Fail,
            (true, false) => Verdict::Unknown,
            (true, true) => Verdict::Pass,
        };
        Judgement {
            verdict,
            reasons: [failures, doubts].concat(),
            tables: self.tables,
            definitions: self.definitions,
            not_tested: self.not_tested,
        }
    }
}

#[cfg(test)]
mod tests;
