//! Judging a copy against what its source was seen to contain at, or just before, the very moment of the copy.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::definitions::{self, Window};
use super::{
    Judgement, TableVerdict, Verdicts, Word, format_rows, judge_uncounted, same_content, table_name,
    tables_by_name,
};
use crate::verify::depth::Depth;
use crate::verify::lineage::Horizon;
use crate::verify::observe::{
    Counted, Observation, Strata, Stratum, Table, WriteCounters, Written, WrittenTables,
};
use crate::verify::schema::{Definitions, Sequences, Touched};

/// What happened in a source between two looks at it. The first look is before the instant that was observed and
/// the second after the moment of the copy, so the difference is never less than what was written in between.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Movement {
    /// The first look at the write counters.
    pub before: WrittenTables,
    /// The second.
    pub after: WrittenTables,
    /// Where the sequences stood at the first look, by database.
    pub sequences_before: BTreeMap<String, Sequences>,
    /// And at the second.
    pub sequences_after: BTreeMap<String, Sequences>,
    /// The definitions at the second look, by database.
    pub definitions_after: BTreeMap<String, Definitions>,
    /// Definitions that were written to between the looks, by database.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub touched_after: BTreeMap<String, Touched>,
    /// How often roles had been written to at the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_writes_before: Option<i64>,
    /// And at the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_writes_after: Option<i64>,
    /// Some session had been in one transaction since before the moment: what it wrote earlier may not be counted yet.
    #[serde(default)]
    pub is_incomplete: bool,
}

const INCOMPLETE: &str = "but a session of the source stayed in one transaction throughout, and PostgreSQL counts the writes \
                          of a session only when its transaction ends";

impl Movement {
    fn looks(&self, database: &str, oid: u32) -> (Option<Written>, Option<Written>) {
        let look = |tables: &WrittenTables| tables.get(database).and_then(|tables| tables.get(&oid)).copied();
        (look(&self.before), look(&self.after))
    }

    fn has_looked_again(&self) -> bool {
        !self.after.is_empty()
    }
}

/// What tells the source's own changes around that moment from what somebody did in the copy.
#[derive(Clone, Copy, Default)]
pub(crate) struct Traces<'a> {
    /// Up to which transaction the copy reaches.
    pub horizon: Option<&'a Horizon>,
    /// Definitions that were written to in the copy since the first look at its source, by database.
    pub touched: Option<&'a BTreeMap<String, Touched>>,
}

/// Judges a copy of the moment that was observed.
pub(crate) fn at_the_moment(
    expected: &Observation,
    movement: &Movement,
    observed: &Observation,
    traces: Traces<'_>,
) -> Judgement {
    let mut bench = Verdicts::new(expected, observed);
    let since = expected.definitions_settled_before();
    let window = |database: &str| Window {
        since: since.get(database).copied().unwrap_or_default(),
        source: movement.touched_after.get(database),
        copy: traces.touched.and_then(|touched| touched.get(database)),
        horizon: traces.horizon,
        roles_were_written: movement.role_writes_before != movement.role_writes_after,
    };
    for (database, tables) in &expected.databases {
        let Some(copies) = observed.databases.get(database) else {
            bench.database_is_missing(database, tables, observed);
            continue;
        };
        let (named, named_copies) = (tables_by_name(tables), tables_by_name(copies));
        let window = window(database);
        let mut renamed = BTreeSet::new();
        for table in tables {
            let looks = movement.looks(database, table.oid);
            let copy = named_copies.get(&table_name(table)).copied();
            let copy = copy.or_else(|| {
                let copy = copies.iter().find(|copy| copy.oid == table.oid && window.renamed(copy))?;
                renamed.insert(copy.oid);
                Some(copy)
            });
            let Some(copy) = copy else {
                if movement.has_looked_again() && looks.1.is_none() {
                    bench.add(database, Some(table), None, Word::Skipped, "dropped around that moment");
                } else {
                    bench.add(database, Some(table), None, Word::Missing, "it is not in the restored copy");
                }
                continue;
            };
            let (word, reason) = match (&table.counted, &copy.counted) {
                (Counted::Rows(_), Counted::Rows(_)) => {
                    let were_running =
                        expected.boundaries.get(database).is_none_or(|boundary| boundary.has_running());
                    let pair = Pair { table, copy, were_running };
                    let (word, reason) = judge_rows(&pair, looks);
                    if word == Word::Within && reason.contains("only bounds") {
                        bench
                            .not_tested
                            .push(format!("table `{database}.{}.{}`: {reason}", table.schema, table.name));
                    }
                    match word {
                        Word::Differs if movement.is_incomplete => {
                            (Word::Unknown, format!("{reason}; {INCOMPLETE}"))
                        }
                        word => (word, reason),
                    }
                }
                (Counted::Rows(_), Counted::Skipped(reason)) if copy.depth != Depth::Schema => {
                    (Word::Differs, format!("only in the copy: {reason}"))
                }
                (left, right) => judge_uncounted(left, right),
            };
            let reason = match renamed.contains(&copy.oid) {
                true => {
                    let name = format!(
                        "renamed around that moment, in the copy it is `{}.{}`",
                        copy.schema, copy.name
                    );
                    if reason.is_empty() { name } else { format!("{reason}; {name}") }
                }
                false => reason,
            };
            bench.add(database, Some(table), Some(copy), word, reason);
        }
        for copy in copies {
            if named.contains_key(&table_name(copy)) || renamed.contains(&copy.oid) {
                continue;
            }
            let (first, second) = movement.looks(database, copy.oid);
            // One from before the first look would have been seen then.
            let is_of_source = first.or(second).is_some()
                || traces.horizon.zip(copy.created_by).is_some_and(|(horizon, made_by)| {
                    made_by >= window.since && made_by <= horizon.surely_before
                });
            let (word, reason) = if is_of_source {
                (Word::Skipped, "created or dropped around that moment")
            } else {
                (Word::Unexpected, "it was not in the source at that moment")
            };
            bench.add(database, None, Some(copy), word, reason);
        }
    }
    let is_unknown =
        |name: &&String| !expected.databases.contains_key(*name) && !expected.unreadable.contains_key(*name);
    bench.uncovered = observed.databases.keys().filter(is_unknown).cloned().collect();
    for database in expected.databases.keys() {
        let is_looked_at_again = movement.definitions_after.contains_key(database);
        if expected.definitions.contains_key(database) && !is_looked_at_again && movement.has_looked_again() {
            bench.not_tested.push(format!(
                "definitions of database `{database}`: they could not be read a second time in the source"
            ));
        }
        if !expected.definitions.contains_key(database) && observed.definitions.contains_key(database) {
            bench.not_tested.push(format!(
                "definitions and sequences of database `{database}`: the baseline was recorded without them"
            ));
        }
    }
    let found = definitions::find_differences(expected, &movement.definitions_after, observed, |database| {
        Some(window(database))
    });
    bench.add_definitions(found);
    for (database, before) in &movement.sequences_before {
        if let Some(copies) = observed.sequences.get(database) {
            let looks = (before, movement.sequences_after.get(database));
            bench.add_definitions(definitions::sequences_out_of_bounds(
                database,
                looks,
                copies,
                &window(database),
            ));
            bench.unreadable.extend(definitions::unreadable_sequences(database, before, copies));
        }
    }
    bench.conclude(&[Word::Differs, Word::Missing, Word::Unexpected])
}

/// A table and its copy.
struct Pair<'a> {
    table: &'a Table,
    copy: &'a Table,
    /// Transactions were running at the instant that was observed: their subtransactions cannot be told from those that
    /// had ended.
    were_running: bool,
}

/// What the source wrote to a table between the looks.
#[derive(Clone, Copy)]
pub(super) struct Writes {
    pub(super) inserted: u64,
    pub(super) updated: u64,
    pub(super) deleted: u64,
    pub(super) rewritten: bool,
}

impl Writes {
    /// `None` if the counters were reset in between.
    pub(super) fn between(first: Written, second: Written) -> Option<Self> {
        let WriteCounters { inserted, updated, deleted } = second.counters;
        let since = |now: i64, then: i64| u64::try_from(now - then).ok();
        Some(Writes {
            inserted: since(inserted, first.counters.inserted)?,
            updated: since(updated, first.counters.updated)?,
            deleted: since(deleted, first.counters.deleted)?,
            rewritten: first.filenode != second.filenode,
        })
    }

    fn are_none(self) -> bool {
        self.inserted == 0 && self.only_add()
    }

    fn only_add(self) -> bool {
        self.updated == 0 && self.deleted == 0 && !self.rewritten
    }

    fn describe(self) -> String {
        let rewritten = if self.rewritten { ", and the table was truncated or rewritten" } else { "" };
        format!("{} inserted, {} updated, {} deleted{rewritten}", self.inserted, self.updated, self.deleted)
    }
}

fn judge_rows(pair: &Pair<'_>, (first, second): (Option<Written>, Option<Written>)) -> (Word, String) {
    let (rows, copied) =
        (pair.table.counted_rows().unwrap_or_default(), pair.copy.counted_rows().unwrap_or_default());
    if first.is_some_and(|first| first.filenode != pair.table.written.filenode) {
        // An older snapshot sees it empty, whatever it held.
        let reason = "truncated or rewritten while the source was being observed, so its content is unknown";
        return (Word::Skipped, reason.to_owned());
    }
    match same_content(pair.table.fingerprint.as_ref(), pair.copy.fingerprint.as_ref()) {
        Some(true) if rows == copied => return (Word::Identical, String::new()),
        None if rows == copied => return (Word::Equal, String::new()),
        _ => {}
    }
    let (Some(first), Some(second)) = (first, second) else {
        let reason = "the table was created or dropped while the source was being observed";
        return (Word::Unknown, reason.to_owned());
    };
    let Some(writes) = Writes::between(first, second) else {
        let reason = "the source's write counters were reset in between, so nothing bounds its writes";
        return (Word::Unknown, reason.to_owned());
    };
    if writes.are_none() {
        let reason = match rows.abs_diff(copied) {
            0 => OTHER_CONTENT.to_owned(),
            _ => describe_gap(rows, copied),
        };
        return (Word::Differs, format!("{reason}; nothing wrote to it in between"));
    }
    let by_age = pair.copy.strata.map(|strata| by_age(pair, &strata, writes));
    match by_age {
        // Whatever was rewritten looks new, unless that was after the moment of the copy.
        Some(verdict) if !writes.rewritten || pair.copy.written.filenode == pair.table.written.filenode => {
            verdict.unwrap_or_else(|| judge_bounds(rows, copied, writes))
        }
        _ => judge_bounds(rows, copied, writes),
    }
}

/// Tells the copy's rows that were there when the source was observed from newer ones. `None` where that leaves only
/// bounds.
fn by_age(pair: &Pair<'_>, copy: &Strata, writes: Writes) -> Option<(Word, String)> {
    let observed = pair.table.strata.unwrap_or_else(|| Strata {
        settled: Stratum {
            rows: pair.table.counted_rows().unwrap_or_default(),
            sum: pair.table.fingerprint.as_deref().and_then(|sum| sum.parse().ok()).unwrap_or_default(),
        },
        ..Strata::default()
    });
    let (then, held) = (observed.older_rows(), copy.older_rows());
    let may_be_gone = if writes.rewritten { 0 } else { writes.updated + writes.deleted };
    if held.rows.saturating_add(may_be_gone) < then.rows {
        let missing = format_rows(then.rows - may_be_gone - held.rows);
        let reason = match may_be_gone {
            0 => format!("{missing} missing or changed, of {} that were there", format_rows(then.rows)),
            _ => format!(
                "{missing} more are missing or changed than the writes in between explain ({})",
                writes.describe()
            ),
        };
        return Some((Word::Differs, reason));
    }
    let may_be_new = writes.inserted + writes.updated;
    if copy.newer.rows > may_be_new {
        let reason = format!(
            "{} too many: {} are newer, and the writes in between allow {may_be_new} ({})",
            format_rows(copy.newer.rows - may_be_new),
            format_rows(copy.newer.rows),
            writes.describe()
        );
        return Some((Word::Differs, reason));
    }
    let (extra, is_same_sum) = (held.rows.saturating_sub(then.rows), held.sum == then.sum);
    // Subtransactions of what was running at that instant have since added rows that look old.
    let may_look_old = if pair.were_running { writes.inserted + writes.updated } else { 0 };
    if extra > may_look_old {
        return Some((
            Word::Differs,
            format!("{} too many that look older than the baseline", format_rows(extra)),
        ));
    }
    // Nothing of that time was taken away, or nothing new can look old: then as many rows are the same rows.
    let must_be_same = held.rows == then.rows && (writes.only_add() || !pair.were_running);
    let settled_must_be_same = writes.only_add();
    if must_be_same && !is_same_sum || settled_must_be_same && observed.settled != copy.settled {
        return Some((Word::Differs, "the rows of that moment have different content".to_owned()));
    }
    (must_be_same || settled_must_be_same).then(|| {
        let identical = if pair.table.fingerprint.is_some() {
            "identical up to the baseline"
        } else {
            "complete up to the baseline"
        };
        let newer = format_rows(copy.newer.rows + extra);
        let reason =
            format!("{identical} ({}), and {newer} newer of at most {may_be_new}", format_rows(then.rows));
        (Word::Within, reason)
    })
}

/// The verdict where only the number of rows can be compared with the writes.
fn judge_bounds(rows: u64, copied: u64, writes: Writes) -> (Word, String) {
    let lowest = if writes.rewritten { 0 } else { rows.saturating_sub(writes.deleted) };
    let highest = rows.saturating_add(writes.inserted);
    if (lowest..=highest).contains(&copied) {
        let reason = format!(
            "written to around that moment, so only bounds can be checked: {lowest} to {highest} rows are sound ({})",
            writes.describe()
        );
        return (Word::Within, reason);
    }
    let reason = format!("{}; the writes in between allow {lowest} to {highest}", describe_gap(rows, copied));
    (Word::Differs, reason)
}

/// How a reason begins where the number of rows is right and they are not.
const OTHER_CONTENT: &str = "the same number of rows, but different content";

/// How a reason begins where the number of rows is wrong: `2 rows missing`.
fn describe_gap(rows: u64, copied: u64) -> String {
    let direction = if copied < rows { "missing" } else { "too many" };
    format!("{} {direction}", format_rows(rows.abs_diff(copied)))
}

/// The reason of a table whose rows were found out one by one: `told` names them, so that their number is not repeated.
/// If more are missing than were found, it says so.
pub(crate) fn reason_with_rows(told: &str, missing_among_them: u64, table: &TableVerdict) -> String {
    let (rows, copied) = (table.expected_rows.unwrap_or(0), table.observed_rows.unwrap_or(0));
    let apart = describe_gap(rows, copied);
    let rest = [apart.as_str(), OTHER_CONTENT].iter().find_map(|count| table.reason.strip_prefix(count));
    let rest = rest.map_or(format!("; {}", table.reason), str::to_owned);
    match rows.saturating_sub(copied) > missing_among_them {
        true => format!("{told}; {apart} in all{rest}"),
        false => format!("{told}{rest}"),
    }
}
