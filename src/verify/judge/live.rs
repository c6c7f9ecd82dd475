//! Judging a copy of an earlier moment against the source as it is now. What can be known, and why, stands in
//! [`crate::verify::physical`].

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::rows::{Found, Pair, RowEvidence, Writes};
use super::{Judgement, Verdicts, Word, format_rows, judge_uncounted, table_name, tables_by_name};
use crate::verify::lineage::{Horizon, Recency};
use crate::verify::observe::{Counted, Observation, Table, WriteCounters};

/// Evidence by database and object id of the source's table.
pub(crate) type Evidence = BTreeMap<(String, u32), RowEvidence>;

/// What the source and its copy have in common.
#[derive(Clone, Debug)]
pub(crate) enum Kinship<'a> {
    /// The copy carries on the source's transaction history up to the horizon.
    Lineage {
        /// Up to where.
        horizon: &'a Horizon,
        /// Transactions that had not committed by then.
        uncommitted: &'a BTreeSet<u64>,
        /// What the rows say.
        evidence: &'a Evidence,
        /// Whether the copy is as recent as its backup claims.
        recency: &'a Recency,
        /// The copy has rows by transactions that the source has not begun yet.
        was_written_to: bool,
        /// The moment of the backup.
        moment: Option<DateTime<Utc>>,
        /// How large a part of a table, 0 to 1, may be beyond what can be placed before or after the backup.
        tolerance: f64,
        /// Tables that are routinely emptied and reloaded.
        churning: &'a crate::verify::depth::Tables,
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
pub(crate) fn judge_live(source: &Observation, copy: &Observation, kinship: &Kinship<'_>) -> Judgement {
    let mut bench = Verdicts::new(source, copy);
    if let Kinship::Names { because, .. } = kinship {
        bench
            .not_tested
            .push(format!("rows one by one: {because}, so the counts are only compared within a tolerance"));
    }
    if let Kinship::Lineage { recency, horizon, was_written_to, .. } = kinship {
        if *was_written_to {
            bench.failures.push(
                "the copy has rows of transactions that the source has not begun: they were written in the copy itself after it was restored"
                    .to_owned(),
            );
        }
        match recency {
            Recency::Proven => {}
            Recency::Contradicted(reason) => bench.failures.push(reason.clone()),
            Recency::NotTested => bench.not_tested.push(recency_not_tested(horizon)),
        }
    }
    let mut may_lack_deleted = Vec::new();
    for (database, tables) in &source.databases {
        let Some(copies) = database_counterpart(source, copy, database, kinship) else {
            match made_since(source, database, kinship) {
                Some(true) => {
                    bench.not_tested.push(format!("database `{database}`: it was created after the backup"));
                    let reason = "its database was created after the backup";
                    bench.add_without_copy(database, tables, Word::Skipped, reason);
                }
                Some(false) => bench.database_is_missing(database, tables, copy),
                // That one is there and cannot be read is something else.
                None if copy.unreadable.contains_key(database) => {
                    bench.database_is_missing(database, tables, copy);
                }
                None => bench.database_may_be_missing(database, tables),
            }
            continue;
        };
        let mut matched = BTreeSet::new();
        let counterparts = Counterparts::new(tables, copies, kinship);
        for table in tables {
            let Some(copied) = counterparts.of(table) else {
                let (word, reason) = match existed_then(table.created_by, kinship) {
                    Some(true) => (Word::Missing, "it is older than the backup and not in the restored copy"),
                    Some(false) => (Word::Skipped, "created after the backup"),
                    None => (
                        Word::Unknown,
                        "it is not in the restored copy, and whether it is older than the backup is unknown",
                    ),
                };
                bench.add(database, Some(table), None, word, reason);
                continue;
            };
            matched.insert(copied.oid);
            let found = compare_table(source, copy, database, table, copied, kinship);
            let extra = evidence_of(kinship, database, table).map_or(0, |evidence| evidence.extra);
            let deleted = u64::try_from(table.written.counters.deleted).unwrap_or_default();
            if matches!(kinship, Kinship::Lineage { .. }) && found.word.is_comparison() && deleted > extra {
                may_lack_deleted.push(format!("`{database}.{}.{}`", table.schema, table.name));
            }
            if let Some(open) = found.open.filter(|_| found.word != Word::Skipped) {
                bench.not_tested.push(format!("table `{database}.{}.{}`: {open}", table.schema, table.name));
            }
            match kinship {
                Kinship::Lineage { .. } => bench.add_proven(
                    database,
                    Some(table),
                    Some(copied),
                    found.word,
                    found.reason,
                    found.proof,
                ),
                Kinship::Names { .. } => {
                    bench.add(database, Some(table), Some(copied), found.word, found.reason);
                }
            }
            if let (Word::Differs, Some(evidence)) = (found.word, evidence_of(kinship, database, table)) {
                bench.name_differences(&evidence.differences);
            }
        }
        for copied in copies.iter().filter(|copied| !matched.contains(&copied.oid)) {
            let (word, reason) = match existed_then(copied.created_by, kinship) {
                Some(false) => (Word::Differs, "it was created in the copy after the restore"),
                Some(true) | None => {
                    (Word::Unexpected, "the source no longer has it: dropped since the backup")
                }
            };
            bench.add(database, None, Some(copied), word, reason);
        }
    }
    if !may_lack_deleted.is_empty() {
        bench.not_tested.push(format!(
            "rows deleted in the source, before or after the backup, in {}: nothing is left to show whether the copy has them",
            may_lack_deleted.join(", ")
        ));
    }
    let oids: BTreeSet<&u32> = source.database_oids.values().collect();
    for (database, tables) in &copy.databases {
        let is_known = source.databases.contains_key(database)
            || source.unreadable.contains_key(database)
            || copy.database_oids.get(database).is_some_and(|oid| oids.contains(oid));
        if !is_known {
            bench.not_tested.push(format!("database `{database}`: the source no longer has it"));
            for table in tables {
                let reason = "the source no longer has its database";
                bench.add(database, None, Some(table), Word::Unexpected, reason);
            }
        }
    }
    bench.conclude(&[Word::Differs, Word::Missing])
}

fn recency_not_tested(horizon: &Horizon) -> String {
    let why =
        "the source keeps no commit timestamps (`track_commit_timestamp`), and no baseline was recorded";
    let as_recent = "whether the content is as recent as the backup claims";
    match horizon.replayed_until {
        Some(at) => {
            let at = crate::when::format_time(at);
            format!("{as_recent}: {why}; the last transaction that the copy replayed was committed at {at}")
        }
        None => format!("{as_recent}: {why}"),
    }
}

fn evidence_of<'a>(kinship: &Kinship<'a>, database: &str, table: &Table) -> Option<&'a RowEvidence> {
    let Kinship::Lineage { evidence, .. } = kinship else { return None };
    evidence.get(&(database.to_owned(), table.oid))
}

/// The verdict on a table that is on both sides.
fn compare_table(
    source: &Observation,
    copy: &Observation,
    database: &str,
    table: &Table,
    copied: &Table,
    kinship: &Kinship<'_>,
) -> Found {
    match (&table.counted, &copied.counted, kinship) {
        (
            Counted::Rows(rows),
            Counted::Rows(held),
            Kinship::Lineage { horizon, evidence, moment, tolerance, churning, .. },
        ) => {
            let none = RowEvidence::default();
            let pair = Pair {
                rows: *rows,
                held: *held,
                older: table.strata.unwrap_or_default().older_rows().rows,
                evidence: evidence.get(&(database.to_owned(), table.oid)).unwrap_or(&none),
                compares_values: table.fingerprint.is_some() && copied.fingerprint.is_some(),
                writes: Writes::of(source, table, copied, *moment),
                made_anew: table.oid != copied.oid && existed_then(table.created_by, kinship) == Some(false),
                is_view: table.is_view,
                has_keys: !table.key.is_empty(),
                written_in_copy: written_in_copy(copy, copied, *moment),
                shows_no_page: copied.vessel.is_some_and(|vessel| {
                    // A table keeps the number of its first file until something truncates or rewrites it.
                    let has_another_file = copied.written.filenode != Some(copied.oid);
                    vessel.shows_no_page()
                        && (vessel.index_bytes > 0 || has_another_file)
                        && vessel.altered_by.is_some_and(|by| by <= horizon.surely_before)
                }),
                estimate: copied.vessel.and_then(|vessel| vessel.estimate),
                churns: churning.include(database, &table.schema, &table.name),
            };
            pair.judge_pair(*tolerance)
        }
        (Counted::Rows(rows), Counted::Rows(held), Kinship::Names { tolerance, .. }) => {
            let (word, reason) = judge_tolerance(*rows, *held, *tolerance);
            Found::new(word, reason)
        }
        // Empty by its nature in the copy only: fine if the source has nothing from then either.
        (Counted::Rows(_), Counted::Skipped(reason), Kinship::Lineage { .. }) => {
            match table.strata.unwrap_or_default().older_rows().rows {
                0 => Found::new(Word::Skipped, reason.clone()),
                older => {
                    let older = format_rows(older);
                    Found::new(
                        Word::Differs,
                        format!("the source has {older} from before the backup; the copy is {reason}"),
                    )
                }
            }
        }
        (Counted::Rows(_), Counted::Skipped(reason), Kinship::Names { .. }) => {
            Found::new(Word::Unknown, format!("only in the copy: {reason}"))
        }
        (left, right, _) => {
            let (word, reason) = judge_uncounted(left, right);
            Found::new(word, reason)
        }
    }
}

/// So many rows were written to a table in the copy itself, since its recovery: its counters began to count then.
fn written_in_copy(copy: &Observation, copied: &Table, moment: Option<DateTime<Utc>>) -> u64 {
    let counts_its_own = copy.counting_since.zip(moment).is_some_and(|(since, moment)| since > moment);
    let WriteCounters { inserted, updated, deleted } = copied.written.counters;
    if counts_its_own { u64::try_from(inserted + updated + deleted).unwrap_or_default() } else { 0 }
}

fn judge_tolerance(rows: u64, held: u64, tolerance: f64) -> (Word, String) {
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
fn existed_then(made_by: Option<u64>, kinship: &Kinship<'_>) -> Option<bool> {
    let Kinship::Lineage { horizon, uncommitted, .. } = kinship else { return None };
    let made_by = made_by?;
    if made_by > horizon.maybe_before || uncommitted.contains(&made_by) {
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
    let name = match kinship {
        Kinship::Lineage { .. } => name_in_copy(source, copy, database),
        Kinship::Names { .. } => database,
    };
    copy.databases.get(name)
}

/// What the copy calls a database: it may have been renamed in the source since.
pub(crate) fn name_in_copy<'a>(source: &Observation, copy: &'a Observation, database: &'a str) -> &'a str {
    let oid = source.database_oids.get(database);
    let by_id = copy.database_oids.iter().find(|(_, other)| oid == Some(other));
    by_id.map_or(database, |(name, _)| name.as_str())
}

/// Whether a database was made after the backup; `None` where nothing proves it either way.
///
/// The row in `pg_database` is rewritten by a mere GRANT. Object ids are handed out in order, so the
/// database is compared with other objects of the source: it is older than whatever has a greater id and is from before
/// the backup, and younger than whatever has a smaller one and was made since.
fn made_since(source: &Observation, database: &str, kinship: &Kinship<'_>) -> Option<bool> {
    if existed_then(source.made_by.get(database).copied(), kinship) == Some(true) {
        return Some(false);
    }
    let oid = source.database_oids.get(database)?;
    let tables = || source.databases.values().flatten();
    if tables().any(|table| table.oid > *oid && existed_then(table.created_by, kinship) == Some(true)) {
        return Some(false);
    }
    let is_younger =
        tables().any(|table| table.oid < *oid && existed_then(table.created_by, kinship) == Some(false));
    let Kinship::Lineage { horizon, .. } = kinship else { return None };
    let beyond_the_counter = horizon.next_object.is_some_and(|next| *oid >= next);
    (is_younger || beyond_the_counter).then_some(true)
}

/// The copies of tables: by object id, which survives renaming, else by name, which survives being recreated.
pub(crate) struct Counterparts<'a> {
    by_id: BTreeMap<u32, &'a Table>,
    by_name: BTreeMap<(&'a str, &'a str), &'a Table>,
    /// Not the copy of another table that has since taken another name.
    taken: BTreeSet<u32>,
}

impl<'a> Counterparts<'a> {
    fn new(tables: &[Table], copies: &'a [Table], kinship: &Kinship<'_>) -> Self {
        match kinship {
            Kinship::Lineage { .. } => Counterparts::physical(tables, copies),
            Kinship::Names { .. } => Counterparts {
                by_id: BTreeMap::new(),
                by_name: tables_by_name(copies),
                taken: BTreeSet::new(),
            },
        }
    }

    /// Of a physical copy.
    pub(crate) fn physical(tables: &[Table], copies: &'a [Table]) -> Self {
        Counterparts {
            by_id: copies.iter().map(|copy| (copy.oid, copy)).collect(),
            by_name: tables_by_name(copies),
            taken: tables.iter().map(|table| table.oid).collect(),
        }
    }

    /// The copy of a table.
    pub(crate) fn of(&self, table: &Table) -> Option<&'a Table> {
        let named = || self.by_name.get(&table_name(table)).filter(|copy| !self.taken.contains(&copy.oid));
        self.by_id.get(&table.oid).or_else(named).copied()
    }
}
