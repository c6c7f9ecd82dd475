//! What the rows of one table and its copy prove, where the copy is of an earlier moment.
//!
//! Three kinds of rows are told apart. Rows that the source still holds from before the moment must be in the copy, value
//! by value. Rows of the copy that the source no longer holds were updated or deleted since; how many may be bounded by
//! write counters, their values are beyond proof. Rows of the source that are newer were inserted or updated since; those
//! that may be older and were updated must not be missing unnoticed.

use chrono::{DateTime, Utc};

use super::judgement::{TableProof, Word, format_rows};
use crate::verify::observe::{Observation, Table, WriteCounters};
use crate::verify::row_differences::Differences;
use crate::words::quote_names;

/// What was found by holding the rows of a table and of its copy against each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowEvidence {
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
pub(crate) struct NewerRows {
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

/// The result for one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) word: Word,
    pub(super) reason: String,
    /// What stays open although nothing counts against the copy.
    pub(super) open: Option<String>,
    pub(super) proof: TableProof,
}

impl Found {
    pub(super) fn new(word: Word, reason: impl Into<String>) -> Self {
        Found { word, reason: reason.into(), open: None, proof: TableProof::default() }
    }
}

/// What is known of the source's writes to a table since the backup.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writes {
    updated: u64,
    deleted: u64,
    /// The counters have counted since before the backup.
    cover_the_time: bool,
    /// Every row was rewritten since: the table was truncated or rewritten, or is a different table of the same name.
    replaced_all: bool,
}

impl Writes {
    pub(super) fn of(
        source: &Observation,
        table: &Table,
        copied: &Table,
        moment: Option<DateTime<Utc>>,
    ) -> Self {
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
            replaced_all: table.written.filenode != copied.written.filenode && strata.older_rows().rows == 0,
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
pub(super) struct Pair<'a> {
    pub(super) rows: u64,
    pub(super) held: u64,
    /// Rows of the source from before the moment.
    pub(super) older: u64,
    pub(super) evidence: &'a RowEvidence,
    pub(super) compares_values: bool,
    pub(super) writes: Writes,
    /// The source's table was made after the moment, under the name of one that the copy has.
    pub(super) made_anew: bool,
    pub(super) is_view: bool,
    pub(super) has_keys: bool,
    pub(super) written_in_copy: u64,
    /// Neither the copy's table nor its indexes have a page, and nobody truncated it there.
    pub(super) shows_no_page: bool,
    /// How many rows the copy's own statistics say it has, from before the moment.
    pub(super) estimate: Option<u64>,
    pub(super) churns: bool,
}

impl Pair<'_> {
    pub(super) fn judge_pair(&self, tolerance: f64) -> Found {
        let found = self.weigh_rows(tolerance);
        let evidence = self.evidence;
        Found { proof: TableProof { matched_rows: evidence.matched, open_rows: self.open_rows() }, ..found }
    }

    /// Rows of the copy that no row of the source proves, and rows of the source that may be missing from it.
    fn around_the_moment(&self) -> u64 {
        self.evidence.newer.map_or(0, |rows| rows.around_the_moment)
    }

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
        self.around_the_moment() > FEW.max((self.rows as f64 * tolerance).floor() as u64)
    }

    /// Nothing in the source's table is from before the moment, and nothing was ever taken out of it since. Rows that were
    /// written within a few transactions of the moment may be from before it.
    fn has_only_grown_from_nothing(&self) -> bool {
        self.older == 0
            && self.around_the_moment() == 0
            && self.writes.taken_at_most() == Some(0)
            && self.lost_at_most() == 0
    }

    fn weigh_rows(&self, tolerance: f64) -> Found {
        let (evidence, older) = (self.evidence, format_rows(self.older));
        if !evidence.columns_lost.is_empty() {
            let names = quote_names(&evidence.columns_lost);
            return Found::new(
                Word::Differs,
                format!("the copy has different columns from the backup: {names}"),
            );
        }
        let bad = evidence.missing + evidence.changed;
        if bad > 0 {
            let parts = [(evidence.missing, "missing"), (evidence.changed, "changed")];
            let parts: Vec<String> = parts
                .iter()
                .filter(|(rows, _)| *rows > 0)
                .map(|(rows, how)| format!("{} {how}", format_rows(*rows)))
                .collect();
            let still = format!("the source still has {older} from before the backup");
            // Where each of them is named, their number stands there.
            let is_named = evidence.differences.found as u64 == bad;
            let reason = if is_named { still } else { format!("{}: {still}", parts.join(", ")) };
            return Found::new(Word::Differs, reason);
        }
        let is_whole = self.rows == self.older && evidence.extra == 0 && evidence.unread == 0;
        if self.written_in_copy > 0 && !(is_whole && self.compares_values) {
            let written = format_rows(self.written_in_copy);
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
                format_rows(evidence.extra - allowed)
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
            let reason = format!(
                "{} of the source were written within a few transactions of the backup, before it or after it, which cannot \
                 be told apart",
                format_rows(self.around_the_moment())
            );
            return Found::new(Word::Unknown, reason);
        }
        if beyond && !self.churns && !self.is_view && !is_as_estimated {
            let reason = format!(
                "{} from before the backup {} proven; {} of the source may be older and missing from the copy: they were \
                 updated, or inserted, since, which cannot be told apart",
                format_rows(evidence.matched),
                if evidence.matched == 1 { "is" } else { "are" },
                format_rows(lost)
            );
            return Found::new(Word::Unknown, reason);
        }
        self.with_columns_left_out(self.open_words(lost))
    }

    /// A table that has rows in the source and none in the copy.
    fn weigh_empty_copy(&self) -> Found {
        let rows = format_rows(self.rows);
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
                "TRUNCATE had left it empty at the backup: neither it nor its indexes have a page in the copy; the source has \
                 written {rows} since"
            );
            return Found::new(Word::Skipped, reason);
        }
        // A table that is emptied and loaded as a matter of course may be met empty; one that had rows when it was last
        // analyzed is none the less no pass.
        let had_rows = self.estimate.filter(|rows| *rows > 0);
        if let (true, false, Some(estimate)) = (self.churns, self.made_anew, had_rows) {
            let estimate = format_rows(estimate);
            return Found::new(
                Word::Unknown,
                format!("{open}; it had about {estimate} when it was last analyzed before the backup"),
            );
        }
        if self.churns || self.made_anew {
            return Found::new(Word::Skipped, open);
        }
        Found::new(Word::Unknown, format!("{open}: every one of its {rows} was written since"))
    }

    /// The reason for a copy that nothing counts against, with what stays open.
    fn open_words(&self, lost: u64) -> Found {
        let evidence = self.evidence;
        let newer = self.rows.saturating_sub(self.older);
        let of_open_transactions = evidence.newer.map_or(0, |rows| rows.of_open_transactions);
        let open = [
            (
                evidence.extra,
                "the values of # that the source has updated or deleted since could not be compared",
            ),
            (evidence.unread, "# were compared only by count, range by range"),
            (lost, "# of the source were written since and may be older rows that the copy lacks"),
            (
                self.around_the_moment(),
                "# of the source were written within a few transactions of the backup, before it or after it",
            ),
            (
                of_open_transactions,
                "# of the source were written by transactions that were open at the backup, by the copy's own commit log",
            ),
        ];
        let open = open.into_iter().filter(|(rows, _)| *rows > 0);
        let open: Vec<String> =
            open.map(|(rows, sentence)| sentence.replace('#', &format_rows(rows))).collect();
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
                        "no row from before the backup is left to compare values with; the copy lacks the keys of {}",
                        format_rows(lost)
                    ),
                ),
                false if self.made_anew => (
                    Word::Skipped,
                    "the source's table was created after the backup, under the name of an older one".to_owned(),
                ),
                false => (
                    Word::Skipped,
                    "every row was replaced since the backup, so no value could be compared".to_owned(),
                ),
            };
            return Found { open, ..Found::new(word, reason) };
        }
        let how = match (self.compares_values, evidence.columns_left_out.is_empty()) {
            (true, true) => "identical",
            (true, false) => "identical in the columns that can be compared",
            (false, _) => "there",
        };
        let proven = match evidence.unread {
            0 => format_rows(self.older),
            _ => format!("{} of {}", evidence.matched, format_rows(self.older)),
        };
        let are = if self.older == 1 { "is" } else { "are" };
        let mut reason = format!("{proven} from before the backup {are} {how}");
        if evidence.extra > 0 {
            reason.push_str(&format!("; {} updated or deleted since", format_rows(evidence.extra)));
        }
        if newer > 0 {
            reason.push_str(&format!("; the source has written {} since", format_rows(newer)));
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
            quote_names(&self.evidence.columns_left_out)
        );
        let open = found.open.map_or(left_out.clone(), |open| format!("{open}; {left_out}"));
        Found { open: Some(open), ..found }
    }
}
