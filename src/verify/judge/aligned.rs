//! Judging a copy of the very moment that was observed.

use std::collections::BTreeMap;

use super::{Bench, Judgement, Word, counted_rows, definitions, is_same_name, same_content, uncounted};
use crate::verify::lineage::Horizon;
use crate::verify::observe::{Counted, Observation, WriteCounters};
use crate::verify::schema::{Definitions, Sequences};

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
