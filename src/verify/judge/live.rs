//! Judging a copy of an earlier moment against the source as it is now. What can be known, and why, stands in
//! [`crate::verify::physical`].
//!
//! Three kinds of rows are told apart. Rows that the source still holds from before the moment must be in the copy, value
//! by value. Rows of the copy that the source no longer holds were updated or deleted since; how many may be bounded by
//! write counters, their values are beyond proof. Rows of the source that are newer were inserted or updated since; those
//! that may be older and were updated must not be missing unnoticed.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::{Bench, Judgement, TableProof, Word, by_name, counted_rows, name_of, uncounted};
use crate::verify::lineage::{Horizon, Recency};
use crate::verify::narrow::Differences;
use crate::verify::observe::{Counted, Observation, Table, WriteCounters};

/// What was found by holding the rows of a table and of its copy against each other.
#[derive(Clone, Debug, Default)]
pub struct RowEvidence {
    /// Rows from before the moment that the copy holds with the same values.
    pub matched: u64,
    /// Rows from before the moment that the copy does not hold.
    pub missing: u64,
    /// Rows from before the moment that the copy holds with other values.
    pub changed: u64,
    /// Rows of the copy that the source no longer holds as they were.
    pub extra: u64,
    /// Rows from before the moment in parts of the table that were too many to be read row by row.
    pub unread: u64,
    /// The newer rows, where it matters which of them are in the copy under the same key.
    pub newer: Option<NewerRows>,
    /// Columns whose values could not be compared: their type was changed since.
    pub columns_left_out: Vec<String>,
    /// Columns from before the moment that the copy does not have, or that were added in the copy.
    pub columns_lost: Vec<String>,
    /// Which rows are missing or changed.
    pub differences: Differences,
}

/// The rows of the source that are not from before the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewerRows {
    /// Those whose key the copy does not have, and that no sequence of the copy proves to have been inserted since, by not
    /// having handed out their keys.
    pub absent: u64,
    /// Those written by transactions that the copy's commit log calls open at the moment.
    pub of_open_transactions: u64,
    /// Of these, those of transactions that began long before it: they may have been open, or the log is damaged.
    pub of_old_transactions: u64,
    /// Those written by a few transactions around the moment, of which it is not known on which side they were. The copy
    /// has no row of any of them, so it ends before them: that it should not is a question of how recent it is, and not of
    /// a row that it lost.
    pub around_the_moment: u64,
}

/// Evidence by database and object id of the source's table.
pub type Evidence = BTreeMap<(String, u32), RowEvidence>;

/// What the source and its copy have in common.
#[derive(Clone, Debug)]
pub enum Kinship<'a> {
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
        /// Tables that are emptied and loaded anew as a matter of course.
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
pub fn live(source: &Observation, copy: &Observation, kinship: &Kinship<'_>) -> Judgement {
    let mut bench = Bench::new(source, copy);
    if let Kinship::Names { because, .. } = kinship {
        bench
            .not_tested
            .push(format!("rows one by one: {because}, so the counts are only held against a tolerance"));
    }
    if let Kinship::Lineage { recency, horizon, was_written_to, .. } = kinship {
        if *was_written_to {
            bench.failures.push(
                "the copy has rows by transactions that the source has not begun: they were written in the copy itself after it was restored"
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
                    bench.not_tested.push(format!("database `{database}`: it was made after the backup"));
                    for table in tables {
                        bench.add(
                            database,
                            Some(table),
                            None,
                            Word::Skipped,
                            "its database was made after the backup",
                        );
                    }
                }
                Some(false) => bench.database_is_missing(database, tables.iter(), copy),
                None => bench.database_may_be_missing(database, tables.iter()),
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
                        "it is not in the restored copy, and whether it is older than the backup cannot be told",
                    ),
                };
                bench.add(database, Some(table), None, word, reason);
                continue;
            };
            matched.insert(copied.oid);
            let found = compare(source, copy, database, table, copied, kinship);
            let extra = evidence_of(kinship, database, table).map_or(0, |evidence| evidence.extra);
            let deleted = u64::try_from(table.written.counters.deleted).unwrap_or_default();
            if matches!(kinship, Kinship::Lineage { .. }) && found.word.is_comparison() && deleted > extra {
                may_lack_deleted.push(format!("`{database}.{}.{}`", table.schema, table.name));
            }
            if let Some(open) = found.open.filter(|_| found.word != Word::Skipped) {
                bench.not_tested.push(format!("table `{database}.{}.{}`: {open}", table.schema, table.name));
            }
            bench.add_proven(database, Some(table), Some(copied), found.word, found.reason, found.proof);
            if let (Word::Differs, Some(evidence)) = (found.word, evidence_of(kinship, database, table)) {
                bench.name_differences(&evidence.differences);
            }
        }
        for copied in copies.iter().filter(|copied| !matched.contains(&copied.oid)) {
            let (word, reason) = match existed(copied.created_by, kinship) {
                Some(false) => (Word::Differs, "somebody made it in the copy after it was restored"),
                Some(true) | None => {
                    (Word::Unexpected, "the source no longer has it: dropped since the backup")
                }
            };
            bench.add(database, None, Some(copied), word, reason);
        }
    }
    if !may_lack_deleted.is_empty() {
        bench.not_tested.push(format!(
            "rows that the source has deleted since the backup, or ever, in {}: nothing is left to show whether the copy has them",
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
                bench.add(
                    database,
                    None,
                    Some(table),
                    Word::Unexpected,
                    "the source no longer has its database",
                );
            }
        }
    }
    bench.close(&[Word::Differs, Word::Missing])
}

fn recency_not_tested(horizon: &Horizon) -> String {
    let why =
        "the source keeps no commit timestamps (`track_commit_timestamp`), and no baseline was recorded";
    let as_recent = "whether the content is as recent as the backup claims";
    match horizon.replayed_until {
        Some(at) => {
            let at = at.format("%Y-%m-%d %H:%M:%S UTC");
            format!("{as_recent}: {why}; the last transaction that the copy replayed was committed at {at}")
        }
        None => format!("{as_recent}: {why}"),
    }
}

fn evidence_of<'a>(kinship: &Kinship<'a>, database: &str, table: &Table) -> Option<&'a RowEvidence> {
    let Kinship::Lineage { evidence, .. } = kinship else { return None };
    evidence.get(&(database.to_owned(), table.oid))
}

/// What was found of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    word: Word,
    reason: String,
    /// What stays open although nothing speaks against the copy.
    open: Option<String>,
    proof: TableProof,
}

impl Found {
    fn new(word: Word, reason: impl Into<String>) -> Self {
        Found { word, reason: reason.into(), open: None, proof: TableProof::default() }
    }
}

/// The verdict on a table that is on both sides.
fn compare(
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
                older: table.strata.unwrap_or_default().older().rows,
                evidence: evidence.get(&(database.to_owned(), table.oid)).unwrap_or(&none),
                compares_values: table.fingerprint.is_some() && copied.fingerprint.is_some(),
                writes: Writes::of(source, table, copied, *moment),
                made_anew: table.oid != copied.oid && existed(table.created_by, kinship) == Some(false),
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
            pair.judge(*tolerance)
        }
        (Counted::Rows(rows), Counted::Rows(held), Kinship::Names { tolerance, .. }) => {
            let (word, reason) = tolerated(*rows, *held, *tolerance);
            Found::new(word, reason)
        }
        // Empty by its nature in the copy only: fine if the source has nothing from then either.
        (Counted::Rows(_), Counted::Skipped(reason), Kinship::Lineage { .. }) => {
            match table.strata.unwrap_or_default().older().rows {
                0 => Found::new(Word::Skipped, reason.clone()),
                older => {
                    let older = counted_rows(older);
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
            let (word, reason) = uncounted(left, right);
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

/// What is known of the source's writes to a table since the backup.
#[derive(Clone, Copy, Debug)]
struct Writes {
    updated: u64,
    deleted: u64,
    /// The counters have counted since before the backup.
    cover_the_time: bool,
    /// Every row was written anew since: the table was truncated or rewritten, or is another one of the same name.
    replaced_all: bool,
}

impl Writes {
    fn of(source: &Observation, table: &Table, copied: &Table, moment: Option<DateTime<Utc>>) -> Self {
        let WriteCounters { inserted, updated, deleted } = table.written.counters;
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        let strata = table.strata.unwrap_or_default();
        let since = source.counting_since.zip(moment).is_some_and(|(since, moment)| since <= moment);
        // Counters of one table can be reset by themselves: then they have seen fewer writes than there are newer rows.
        let have_seen_them = count(inserted) + count(updated) >= strata.newer.rows;
        Writes {
            updated: count(updated),
            deleted: count(deleted),
            // VACUUM FULL and CLUSTER change the file and keep the transactions of the rows; TRUNCATE and what rewrites the
            // values leave none of them.
            replaced_all: table.written.filenode != copied.written.filenode && strata.older().rows == 0,
            cover_the_time: since && have_seen_them && table.oid == copied.oid,
        }
    }

    /// At most how many rows were updated or deleted since; `None` if nothing bounds that.
    fn taken_at_most(&self) -> Option<u64> {
        (self.cover_the_time && !self.replaced_all).then(|| self.updated.saturating_add(self.deleted))
    }

    /// At most how many of the newer rows are older ones that were updated; `None` if nothing bounds that.
    fn updated_at_most(&self) -> Option<u64> {
        (self.cover_the_time && !self.replaced_all).then_some(self.updated)
    }
}

/// A table and its copy, both counted.
struct Pair<'a> {
    rows: u64,
    held: u64,
    /// Rows of the source from before the moment.
    older: u64,
    evidence: &'a RowEvidence,
    compares_values: bool,
    writes: Writes,
    /// The source's table was made after the moment, under the name of one that the copy has.
    made_anew: bool,
    is_view: bool,
    has_keys: bool,
    written_in_copy: u64,
    /// Neither the copy's table nor its indexes have a page, and nobody truncated it there.
    shows_no_page: bool,
    /// How many rows the copy's own statistics say it has, from before the moment.
    estimate: Option<u64>,
    churns: bool,
}

impl Pair<'_> {
    fn judge(&self, tolerance: f64) -> Found {
        let found = self.weigh(tolerance);
        let evidence = self.evidence;
        Found { proof: TableProof { matched_rows: evidence.matched, open_rows: self.open_rows() }, ..found }
    }

    /// Rows of the copy that no row of the source proves, and rows of the source that may be missing from it.
    fn open_rows(&self) -> u64 {
        self.evidence.extra + self.evidence.unread + self.lost_at_most()
    }

    /// At most how many rows that the source still has, updated since, may be missing from the copy.
    fn lost_at_most(&self) -> u64 {
        if self.made_anew {
            return 0;
        }
        let newer = self.rows.saturating_sub(self.older);
        let absent = match &self.evidence.newer {
            Some(rows) => rows.absent.saturating_sub(rows.around_the_moment + rows.of_open_transactions),
            // Without keys: whatever the copy has and the source has not, takes the place of as many of them.
            None => newer.saturating_sub(self.evidence.extra),
        };
        // Each row that only the copy has used up an update or a delete, each that is missing an update.
        let updated = self.writes.updated_at_most().zip(self.writes.taken_at_most());
        let lost = updated.map_or(absent, |(updated, taken)| {
            absent.min(updated).min(taken.saturating_sub(self.evidence.extra))
        });
        lost + self.evidence.newer.map_or(0, |rows| rows.of_old_transactions.min(rows.absent))
    }

    /// Rows written within a few transactions of the moment are few, unless the whole table was: then its pages may be old.
    fn are_many_around_the_moment(&self, tolerance: f64) -> bool {
        const FEW: u64 = 100;
        let around = self.evidence.newer.map_or(0, |rows| rows.around_the_moment);
        around > FEW.max((self.rows as f64 * tolerance).floor() as u64)
    }

    /// Nothing in the source's table is from before the moment, and nothing was ever taken out of it since.
    fn has_only_grown_from_nothing(&self) -> bool {
        self.older == 0 && self.writes.taken_at_most() == Some(0) && self.lost_at_most() == 0
    }

    fn weigh(&self, tolerance: f64) -> Found {
        let (evidence, older) = (self.evidence, counted_rows(self.older));
        if !evidence.columns_lost.is_empty() {
            let names = quoted_names(&evidence.columns_lost);
            return Found::new(
                Word::Differs,
                format!("the copy has other columns than the backup had: {names}"),
            );
        }
        let bad = evidence.missing + evidence.changed;
        if bad > 0 {
            let parts = [(evidence.missing, "missing"), (evidence.changed, "changed")];
            let parts: Vec<String> = parts
                .iter()
                .filter(|(rows, _)| *rows > 0)
                .map(|(rows, how)| format!("{} {how}", counted_rows(*rows)))
                .collect();
            return Found::new(
                Word::Differs,
                format!("{}: the source still has {older} from before the backup", parts.join(", ")),
            );
        }
        let is_whole = self.rows == self.older && evidence.extra == 0 && evidence.unread == 0;
        if self.written_in_copy > 0 && !(is_whole && self.compares_values) {
            let written = counted_rows(self.written_in_copy);
            return Found::new(
                Word::Differs,
                format!(
                    "{written} were inserted, updated or deleted in the copy itself after it was restored"
                ),
            );
        }
        if let Some(allowed) = self.writes.taken_at_most()
            && evidence.extra > allowed
        {
            let reason = format!(
                "{} too many: the source has {older} from before the backup and has updated or deleted at most {allowed} since",
                counted_rows(evidence.extra - allowed)
            );
            return Found::new(Word::Differs, reason);
        }
        if self.held == 0 && self.rows > 0 {
            return self.weigh_empty_copy();
        }
        if is_whole {
            return if !self.compares_values {
                Found::new(Word::Equal, "only the number of rows was compared")
            } else if evidence.columns_left_out.is_empty() {
                Found::new(Word::Identical, "")
            } else {
                self.with_columns_left_out(Found::new(
                    Word::Within,
                    format!("{older} are identical in the columns that can be compared"),
                ))
            };
        }
        let lost = self.lost_at_most();
        let beyond = lost > (self.rows as f64 * tolerance).floor() as u64;
        let is_as_estimated = self
            .estimate
            .is_some_and(|estimate| self.held as f64 >= estimate as f64 * (1.0 - tolerance) && estimate > 0);
        if self.are_many_around_the_moment(tolerance) && !self.churns && !self.is_view {
            let around = self.evidence.newer.map_or(0, |rows| rows.around_the_moment);
            let reason = format!(
                "{} of the source were written within a few transactions of the backup, before it or after it, which cannot \
                 be told apart",
                counted_rows(around)
            );
            return Found::new(Word::Unknown, reason);
        }
        if beyond && !self.churns && !self.is_view && !is_as_estimated {
            let reason = format!(
                "{} from before the backup {} proven; {} of the source may be older and missing from the copy: they were \
                 updated, or inserted, since, which cannot be told apart",
                counted_rows(evidence.matched),
                if evidence.matched == 1 { "is" } else { "are" },
                counted_rows(lost)
            );
            return Found::new(Word::Unknown, reason);
        }
        self.with_columns_left_out(self.open_words(lost))
    }

    /// A table that has rows in the source and none in the copy.
    fn weigh_empty_copy(&self) -> Found {
        let rows = counted_rows(self.rows);
        let all_by_sequence = self.evidence.newer.is_some_and(|newer| newer.absent == 0) && self.has_keys;
        if self.older == 0
            && all_by_sequence
            && self.estimate.unwrap_or_default() == 0
            && !self.writes.replaced_all
        {
            let reason = format!(
                "the source has inserted {rows} since the backup, with keys that its sequence had not handed out by then; nothing \
                 else is left to compare"
            );
            return Found {
                open: Some("whether it was empty at the backup".to_owned()),
                ..Found::new(Word::Within, reason)
            };
        }
        if self.has_only_grown_from_nothing() {
            return Found::new(
                Word::Within,
                format!("it was empty at the backup; the source has inserted {rows} since"),
            );
        }
        let open = "it is empty in the copy, and nothing of the source is left to prove that it was empty at the backup";
        if self.shows_no_page {
            let reason = format!(
                "it held no row at the backup: neither it nor its indexes have a page in the copy ({rows} since)"
            );
            return Found {
                open: Some("it was empty at the backup, so there was nothing to compare".into()),
                ..Found::new(Word::Skipped, reason)
            };
        }
        if self.churns || self.made_anew {
            return Found::new(Word::Skipped, open);
        }
        Found::new(Word::Unknown, format!("{open}: every one of its {rows} was written since"))
    }

    /// The words for a copy that nothing speaks against, with what stays open.
    fn open_words(&self, lost: u64) -> Found {
        let evidence = self.evidence;
        let newer = self.rows.saturating_sub(self.older);
        let mut open = Vec::new();
        if evidence.extra > 0 {
            open.push(format!(
                "the values of {} that the source has updated or deleted since could not be compared",
                counted_rows(evidence.extra)
            ));
        }
        if evidence.unread > 0 {
            open.push(format!(
                "{} were compared only by number, part by part",
                counted_rows(evidence.unread)
            ));
        }
        if lost > 0 {
            open.push(format!(
                "{} of the source were written since and may be older rows that the copy lacks",
                counted_rows(lost)
            ));
        }
        if let Some(around) = evidence.newer.map(|rows| rows.around_the_moment).filter(|rows| *rows > 0) {
            open.push(format!(
                "{} of the source were written within a few transactions of the backup, before it or after it",
                counted_rows(around)
            ));
        }
        if let Some(rows) = evidence.newer.map(|rows| rows.of_open_transactions).filter(|rows| *rows > 0) {
            open.push(format!(
                "{} of the source were written by transactions that were open at the backup, by the copy's own commit log",
                counted_rows(rows)
            ));
        }
        let open = (!open.is_empty()).then(|| open.join("; "));
        if self.older == 0 {
            let keys_tell = self.has_keys && !self.writes.replaced_all && !self.made_anew;
            let (word, reason) = match keys_tell {
                true if lost == 0 => (
                    Word::Within,
                    "no row from before the backup is left to compare values with; the copy lacks no key that may be older"
                        .to_owned(),
                ),
                true => (
                    Word::Within,
                    format!(
                        "every row was updated since the backup; the copy lacks the keys of {}",
                        counted_rows(lost)
                    ),
                ),
                false if self.made_anew => (
                    Word::Skipped,
                    "the source's table was made after the backup, under the name of an older one".to_owned(),
                ),
                false => (
                    Word::Skipped,
                    "every row was replaced since the backup, so no value could be compared".to_owned(),
                ),
            };
            return Found { open, ..Found::new(word, reason) };
        }
        let how = if self.compares_values { "identical" } else { "there" };
        let proven = match evidence.unread {
            0 => counted_rows(self.older),
            _ => format!("{} of {}", evidence.matched, counted_rows(self.older)),
        };
        let are = if self.older == 1 { "is" } else { "are" };
        let mut reason = format!("{proven} from before the backup {are} {how}");
        if evidence.extra > 0 {
            reason.push_str(&format!("; {} updated or deleted since", counted_rows(evidence.extra)));
        }
        if newer > 0 {
            reason.push_str(&format!("; the source has written {} since", counted_rows(newer)));
        }
        Found { open, ..Found::new(Word::Within, reason) }
    }

    fn with_columns_left_out(&self, found: Found) -> Found {
        if self.evidence.columns_left_out.is_empty() {
            return found;
        }
        let left_out = format!(
            "the values of column{} {}, whose type, or a type within it, was changed since",
            if self.evidence.columns_left_out.len() == 1 { "" } else { "s" },
            quoted_names(&self.evidence.columns_left_out)
        );
        let open = found.open.map_or(left_out.clone(), |open| format!("{open}; {left_out}"));
        Found { open: Some(open), ..found }
    }
}

fn quoted_names(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
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
pub fn name_in_copy<'a>(source: &Observation, copy: &'a Observation, database: &'a str) -> &'a str {
    let oid = source.database_oids.get(database);
    let by_id = copy.database_oids.iter().find(|(_, other)| oid == Some(other));
    by_id.map_or(database, |(name, _)| name.as_str())
}

/// Whether a database was made after the backup; `None` where nothing proves it either way.
///
/// The row in `pg_database` that would tell is written anew by a mere GRANT. Object ids are handed out in order, so the
/// database is held against other objects of the source: it is older than whatever has a greater id and is from before
/// the backup, and younger than whatever has a smaller one and was made since.
fn made_since(source: &Observation, database: &str, kinship: &Kinship<'_>) -> Option<bool> {
    if existed(source.made_by.get(database).copied(), kinship) == Some(true) {
        return Some(false);
    }
    let oid = source.database_oids.get(database)?;
    let tables = || source.databases.values().flatten();
    if tables().any(|table| table.oid > *oid && existed(table.created_by, kinship) == Some(true)) {
        return Some(false);
    }
    let is_younger =
        tables().any(|table| table.oid < *oid && existed(table.created_by, kinship) == Some(false));
    let Kinship::Lineage { horizon, .. } = kinship else { return None };
    let beyond_the_counter = horizon.next_object.is_some_and(|next| *oid >= next);
    (is_younger || beyond_the_counter).then_some(true)
}

/// The copies of tables: by object id, which survives renaming, else by name, which survives being made anew.
pub struct Counterparts<'a> {
    by_id: BTreeMap<u32, &'a Table>,
    by_name: BTreeMap<(&'a str, &'a str), &'a Table>,
    /// Not the copy of another table that has since taken another name.
    taken: BTreeSet<u32>,
}

impl<'a> Counterparts<'a> {
    fn new(tables: &[Table], copies: &'a [Table], kinship: &Kinship<'_>) -> Self {
        match kinship {
            Kinship::Lineage { .. } => Counterparts::physical(tables, copies),
            Kinship::Names { .. } => {
                Counterparts { by_id: BTreeMap::new(), by_name: by_name(copies), taken: BTreeSet::new() }
            }
        }
    }

    /// Of a physical copy.
    pub fn physical(tables: &[Table], copies: &'a [Table]) -> Self {
        Counterparts {
            by_id: copies.iter().map(|copy| (copy.oid, copy)).collect(),
            by_name: by_name(copies),
            taken: tables.iter().map(|table| table.oid).collect(),
        }
    }

    /// The copy of a table.
    pub fn of(&self, table: &Table) -> Option<&'a Table> {
        let named = || self.by_name.get(&name_of(table)).filter(|copy| !self.taken.contains(&copy.oid));
        self.by_id.get(&table.oid).or_else(named).copied()
    }
}
