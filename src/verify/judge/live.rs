//! Judging a copy of an earlier moment against the source as it is now.
//!
//! Every row that the source still has from before the moment must be in the copy. What was updated, deleted or
//! inserted since is bounded by the source's write counters, and what the bounds leave open is not passed over.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::{Bench, Judgement, Word, by_name, counted_rows, is_same_name, name_of, same_content, uncounted};
use crate::verify::lineage::Horizon;
use crate::verify::observe::{Counted, Observation, Table, WriteCounters};

/// What the copy's commit log says where rows or tables seem to be missing.
#[derive(Clone, Debug, Default)]
pub struct CommitLog {
    /// Rows of a table that by number are older than the horizon and whose transaction had not committed by then.
    pub rows_not_in_copy: BTreeMap<(String, u32), u64>,
    /// Transactions that had not committed by then.
    pub uncommitted: BTreeSet<u64>,
}

impl CommitLog {
    fn absent(&self, database: &str, table: &Table) -> u64 {
        self.rows_not_in_copy.get(&(database.to_owned(), table.oid)).copied().unwrap_or_default()
    }
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
        let counterparts = Counterparts::new(tables, copies, kinship);
        for table in tables {
            let Some(copied) = counterparts.of(table) else {
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
            let (word, reason) = compare(source, database, table, copied, kinship);
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

/// The verdict on a table that is on both sides.
fn compare(
    source: &Observation,
    database: &str,
    table: &Table,
    copied: &Table,
    kinship: &Kinship<'_>,
) -> (Word, String) {
    match (&table.counted, &copied.counted, kinship) {
        (
            Counted::Rows(rows),
            Counted::Rows(held),
            Kinship::Lineage { horizon, commit_log, moment, tolerance },
        ) => {
            let survivors = Survivors::of(table, copied, horizon, commit_log.absent(database, table));
            let writes = Writes {
                counters: table.written.counters,
                cover_the_time: source
                    .counting_since
                    .zip(*moment)
                    .is_some_and(|(since, moment)| since <= moment),
                was_rewritten: table.written.filenode != copied.written.filenode,
            };
            live_rows(*rows, *held, &survivors, &writes, *tolerance)
        }
        (Counted::Rows(rows), Counted::Rows(held), Kinship::Names { tolerance, .. }) => {
            tolerated(*rows, *held, *tolerance)
        }
        // Empty by its nature in the copy only: fine if the source has nothing from then either.
        (Counted::Rows(_), Counted::Skipped(reason), Kinship::Lineage { commit_log, .. }) => {
            let older = table.strata.unwrap_or_default().settled.rows;
            match older.saturating_sub(commit_log.absent(database, table)) {
                0 => (Word::Skipped, reason.clone()),
                older => {
                    let older = counted_rows(older);
                    (
                        Word::Differs,
                        format!("the source has {older} from before the backup; the copy is {reason}"),
                    )
                }
            }
        }
        (Counted::Rows(_), Counted::Skipped(reason), Kinship::Names { .. }) => {
            (Word::Unknown, format!("only in the copy: {reason}"))
        }
        (left, right, _) => uncounted(left, right),
    }
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
            if table.strata.is_some_and(|strata| held < strata.older().rows) {
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
        let strata = table.strata.unwrap_or_default();
        let at_most = strata.older().rows.saturating_sub(absent);
        let is_sharp = horizon.surely_before == horizon.maybe_before;
        let surely = if is_sharp {
            at_most
        } else {
            // `absent` counts over the wider horizon, so this errs to the side of fewer survivors.
            strata.settled.rows.saturating_sub(absent)
        };
        let of_then = table.fingerprint.is_some().then(|| strata.older().sum.to_string());
        let same = same_content(of_then.as_ref(), copied.fingerprint.as_ref());
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

/// The copies of tables: by object id, which survives renaming, else by name, which survives being made anew.
struct Counterparts<'a> {
    by_id: BTreeMap<u32, &'a Table>,
    by_name: BTreeMap<(&'a str, &'a str), &'a Table>,
    /// Not the copy of another table that has since taken another name.
    taken: BTreeSet<u32>,
}

impl<'a> Counterparts<'a> {
    fn new(tables: &[Table], copies: &'a [Table], kinship: &Kinship<'_>) -> Self {
        let is_physical = matches!(kinship, Kinship::Lineage { .. });
        let ids = |tables: &[Table]| tables.iter().filter(|_| is_physical).map(|table| table.oid).collect();
        let by_id = copies.iter().filter(|_| is_physical).map(|copy| (copy.oid, copy)).collect();
        Counterparts { by_id, by_name: by_name(copies), taken: ids(tables) }
    }

    fn of(&self, table: &Table) -> Option<&'a Table> {
        let named = || self.by_name.get(&name_of(table)).filter(|copy| !self.taken.contains(&copy.oid));
        self.by_id.get(&table.oid).or_else(named).copied()
    }
}
