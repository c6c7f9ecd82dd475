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
        /// How large a part of a table, 0 to 1, may be beyond what can be placed before or after the backup.
        tolerance: f64,
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
///
/// `horizon`: up to which transaction the copy reaches, to tell what the source made and dropped around that moment
/// from what somebody made in the copy.
pub fn aligned(
    expected: &Observation,
    movement: &Movement,
    observed: &Observation,
    horizon: Option<&Horizon>,
) -> Judgement {
    let mut bench = Bench::new(expected, observed);
    for (database, tables) in &expected.databases {
        let Some(copies) = observed.databases.get(database) else {
            bench.database_is_missing(database, tables.iter(), observed);
            continue;
        };
        for table in tables {
            let Some(copy) = copies.iter().find(|copy| is_same_name(table, copy)) else {
                let was_dropped = !movement.after.is_empty()
                    && !movement.after.contains_key(&(database.clone(), table.oid));
                if was_dropped {
                    bench.add(database, Some(table), None, Word::Skipped, "dropped around that moment");
                } else {
                    bench.add(database, Some(table), None, Word::Missing, "it is not in the restored copy");
                }
                continue;
            };
            let key = (database.clone(), table.oid);
            let (word, reason) = match (&table.counted, &copy.counted) {
                (Counted::Rows(rows), Counted::Rows(copied)) => {
                    let same_content = same_content(table.fingerprint.as_ref(), copy.fingerprint.as_ref());
                    let looks = (movement.before.get(&key), movement.after.get(&key));
                    aligned_rows(*rows, *copied, same_content, looks)
                }
                (Counted::Rows(_), Counted::Skipped(reason)) => {
                    (Word::Differs, format!("only in the copy: {reason}"))
                }
                (left, right) => uncounted(left, right),
            };
            bench.add(database, Some(table), Some(copy), word, reason);
        }
        for copy in copies {
            if tables.iter().any(|table| is_same_name(table, copy)) {
                continue;
            }
            let key = (database.clone(), copy.oid);
            let is_of_source = movement.before.contains_key(&key)
                || movement.after.contains_key(&key)
                || horizon
                    .zip(copy.created_by)
                    .is_some_and(|(horizon, made_by)| made_by <= horizon.surely_before);
            if is_of_source {
                bench.add(database, None, Some(copy), Word::Skipped, "made or dropped around that moment");
            } else {
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
        let Some(copies) = database_counterpart(source, copy, database, kinship) else {
            if made_since(source, database, kinship) {
                bench.not_tested.push(format!("database `{database}`: it was made after the backup"));
            } else {
                let older = tables.iter().filter(|table| existed(table.created_by, kinship) != Some(false));
                bench.database_is_missing(database, older, copy);
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
                    Kinship::Lineage { horizon, commit_log, moment, tolerance } => {
                        let absent = commit_log.rows_not_in_copy.get(&(database.clone(), table.oid)).copied();
                        let counters_cover = matches!((source.counting_since, moment), (Some(since), Some(moment)) if since <= *moment);
                        let survivors = Survivors::of(table, copied, horizon, absent.unwrap_or_default());
                        let writes = Writes {
                            counters: table.writes,
                            cover_the_time: counters_cover,
                            was_rewritten: table.filenode != copied.filenode,
                        };
                        live_rows(*rows, *held, &survivors, &writes, *tolerance)
                    }
                    Kinship::Names { tolerance, .. } => tolerated(*rows, *held, *tolerance),
                },
                (Counted::Rows(_), Counted::Skipped(reason)) => {
                    let absent = match kinship {
                        Kinship::Lineage { commit_log, .. } => commit_log
                            .rows_not_in_copy
                            .get(&(database.clone(), table.oid))
                            .copied()
                            .unwrap_or_default(),
                        Kinship::Names { .. } => 0,
                    };
                    match table.surely_older.map(|older| older.saturating_sub(absent)) {
                        Some(0) => (Word::Skipped, reason.clone()),
                        Some(older) => {
                            let older = counted_rows(older);
                            (
                                Word::Differs,
                                format!(
                                    "the source has {older} from before the backup; the copy is {reason}"
                                ),
                            )
                        }
                        None => (Word::Unknown, format!("only in the copy: {reason}")),
                    }
                }
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
    let oids: BTreeSet<&u32> = source.database_oids.values().collect();
    for database in copy.databases.keys() {
        let is_known = source.databases.contains_key(database)
            || source.unreadable.contains_key(database)
            || copy.database_oids.get(database).is_some_and(|oid| oids.contains(oid));
        if !is_known {
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
        let oid = source.database_oids.get(database);
        let renamed = copy.database_oids.iter().find(|(_, other)| oid == Some(other)).map(|(name, _)| name);
        let Some(copies) = copy.databases.get(renamed.unwrap_or(database)) else { continue };
        for table in tables {
            let held = copies.iter().find(|copied| copied.oid == table.oid || is_same_name(table, copied));
            let held = match held.map(|copied| &copied.counted) {
                Some(Counted::Rows(held)) => *held,
                Some(Counted::Skipped(_)) => 0,
                Some(Counted::Unreadable(_)) | None => continue,
            };
            if table.maybe_older.is_some_and(|older| held < older) {
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

/// What is known of the source's writes to a table since the backup.
struct Writes {
    counters: WriteCounters,
    /// The counters have counted since before the backup.
    cover_the_time: bool,
    /// The table has another file than in the copy: truncated, rewritten or made anew.
    was_rewritten: bool,
}

impl Writes {
    /// At most how many rows of the source that are newer than the backup may be older ones that were updated.
    /// Counters that were reset since, and have not seen an update, are taken for those of a table that only grows.
    fn updated_at_most(&self, newer: u64) -> u64 {
        let updated = u64::try_from(self.counters.updated).unwrap_or_default();
        match (self.was_rewritten, self.cover_the_time) {
            (true, _) => newer,
            (false, true) => newer.min(updated),
            (false, false) if updated == 0 => 0,
            (false, false) => newer,
        }
    }

    /// Rows come and go in it, as in a queue: then any number of rows may be right, and only bounds can be checked. An
    /// empty copy is believed only if all that is there now has come since.
    fn show_a_table_that_turns_over(&self, rows: u64, held: u64) -> bool {
        let deleted = u64::try_from(self.counters.deleted).unwrap_or_default();
        self.cover_the_time && !self.was_rewritten && deleted > 0 && (held > 0 || deleted >= rows)
    }
}

fn live_rows(rows: u64, held: u64, survivors: &Survivors, writes: &Writes, tolerance: f64) -> (Word, String) {
    if held < survivors.surely {
        let missing = survivors.surely - held;
        let reason = format!(
            "{} missing: the source still has {} from before the backup",
            counted_rows(missing),
            counted_rows(survivors.surely)
        );
        return (Word::Differs, reason);
    }
    // As many rows as are left from then: nothing of that time was changed since, so the content must be the same.
    if held == survivors.at_most && survivors.same_content == Some(false) {
        return (
            Word::Differs,
            "as many rows as are left from before the backup, but with other content".to_owned(),
        );
    }
    if writes.cover_the_time && !writes.was_rewritten {
        let allowed = u64::try_from(writes.counters.updated + writes.counters.deleted).unwrap_or_default();
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
    // Rows that the source has updated since look new there. As many as may have been must not be missing unnoticed.
    let may_have_been = survivors.at_most + writes.updated_at_most(rows.saturating_sub(survivors.at_most));
    let unplaced = may_have_been.saturating_sub(held);
    let beyond = unplaced > (rows as f64 * tolerance).floor() as u64 || (held == 0 && unplaced > 0);
    if beyond && !writes.show_a_table_that_turns_over(rows, held) {
        let reason = format!(
            "{} from before the backup are there; {} of the source were written since then or are missing, which cannot be told",
            counted_rows(survivors.surely),
            counted_rows(unplaced)
        );
        return (Word::Unknown, reason);
    }
    let (word, reason) = live_words(rows, held, survivors);
    match unplaced {
        0 => (word, reason),
        _ => (
            word,
            format!(
                "{reason} (only bounds could be checked: {} were updated or are new)",
                counted_rows(unplaced)
            ),
        ),
    }
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

/// The tables of the copy of a database: by object id, which survives renaming, else by name.
fn database_counterpart<'a>(
    source: &Observation,
    copy: &'a Observation,
    database: &str,
    kinship: &Kinship<'_>,
) -> Option<&'a Vec<Table>> {
    let oid = source.database_oids.get(database);
    let by_id =
        copy.database_oids.iter().find(|(_, other)| oid == Some(other)).map(|(name, _)| name.as_str());
    match kinship {
        Kinship::Lineage { .. } => copy.databases.get(by_id.unwrap_or(database)),
        Kinship::Names { .. } => copy.databases.get(database),
    }
}

/// Whether a database was made after the backup. One that was made from a template has tables that are older than
/// itself, and one that was altered since looks new: so its object id is held against those of tables that are older
/// than the backup.
fn made_since(source: &Observation, database: &str, kinship: &Kinship<'_>) -> bool {
    if existed(source.made_by.get(database).copied(), kinship) != Some(false) {
        return false;
    }
    let older =
        source.databases.values().flatten().filter(|table| existed(table.created_by, kinship) == Some(true));
    let older = older.map(|table| table.oid).max();
    match (source.database_oids.get(database), older) {
        (Some(oid), Some(older)) => *oid > older,
        _ => true,
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
