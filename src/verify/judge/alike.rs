//! Judges whether two databases have the same content, each observed at its own instant.

use super::moment::Writes;
use super::{
    DefinitionVerdict, Judgement, Note, Verdicts, Word, definitions, dumped, format_rows, judge_uncounted,
    same_content, table_name, tables_by_name,
};
use crate::verify::depth::Depth;
use crate::verify::observe::{Counted, DROPPED_MEANWHILE, Observation, Table, WrittenTables};
use crate::verify::schema::Definitions;

/// The write counters of one side before and after the instants of both.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looks {
    /// Before either instant.
    pub before: WrittenTables,
    /// After both, when every session has reported its writes.
    pub after: WrittenTables,
}

/// At most how many rows were added and removed; `None` if unbounded.
type Moved = Option<(u64, u64)>;

impl Looks {
    fn moved(&self, database: &str, oid: u32) -> Moved {
        let look = |tables: &WrittenTables| tables.get(database).and_then(|tables| tables.get(&oid)).copied();
        if self.after.is_empty() {
            return Some((0, 0));
        }
        let writes = Writes::between(look(&self.before)?, look(&self.after)?)?;
        (!writes.rewritten).then(|| (writes.inserted + writes.updated, writes.deleted + writes.updated))
    }

    /// At most how many rows of a table were written; `None` if unbounded.
    pub(crate) fn written(&self, database: &str, oid: u32) -> Option<u64> {
        self.moved(database, oid).map(|(added, taken)| added + taken)
    }
}

/// One side of a comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side<'a> {
    /// What it holds.
    pub seen: &'a Observation,
    /// Writes to it during the comparison.
    pub looks: &'a Looks,
}

/// Judges whether the right side holds what the left one does. Definitions of `ignored` kinds are not compared.
pub(crate) fn judge_alike(left: Side<'_>, right: Side<'_>, ignored: &[String]) -> Judgement {
    let mut bench = Verdicts::new(left.seen, right.seen);
    let none = Definitions::new();
    for (database, tables) in &left.seen.databases {
        let Some(others) = right.seen.databases.get(database) else {
            bench.database_is_missing(database, tables, right.seen);
            continue;
        };
        let are_kin = left.seen.is_same_database(right.seen, database);
        let definitions = left.seen.definitions.get(database).unwrap_or(&none);
        let logins = if are_kin { Vec::new() } else { dumped::login_triggers(definitions) };
        let (named, named_others) = (tables_by_name(tables), tables_by_name(others));
        for table in tables {
            let Some(other) = named_others.get(&table_name(table)) else {
                bench.add(database, Some(table), None, Word::Missing, "it is only on the left");
                continue;
            };
            let (word, reason) = match (&table.counted, &other.counted) {
                (Counted::Rows(_), Counted::Rows(_)) => {
                    let moved =
                        (left.looks.moved(database, table.oid), right.looks.moved(database, other.oid));
                    let found = judge_rows(table, other, moved, are_kin);
                    match found.0 {
                        Word::Differs | Word::Unknown if !are_kin => {
                            forgive_rows(found, (table, other), &logins)
                        }
                        _ => found,
                    }
                }
                (left, right) => uncounted_alike(table, other, judge_uncounted(left, right)),
            };
            if !are_kin && matches!(word, Word::Identical | Word::Equal | Word::Within) && !reason.is_empty()
            {
                bench.notes.push(Note {
                    database: database.clone(),
                    kind: "table".to_owned(),
                    name: table.quoted_name(),
                    reason: reason.clone(),
                });
            }
            bench.add(database, Some(table), Some(other), word, reason);
        }
        for other in others.iter().filter(|other| !named.contains_key(&table_name(other))) {
            bench.add(database, None, Some(other), Word::Unexpected, "it is only on the right");
        }
    }
    for database in right.seen.databases.keys().filter(|name| !left.seen.databases.contains_key(*name)) {
        if !left.seen.unreadable.contains_key(database) {
            bench.extra_databases.push(format!("database `{database}` is only on the right"));
        }
    }
    let (as_left, as_right) = (
        dumped::definitions_as_dumped(left.seen, right.seen),
        dumped::definitions_as_dumped(right.seen, left.seen),
    );
    let found =
        definitions::find_differences(&as_left, &as_left.definitions, &as_right, |_| None).differences;
    for (database, definitions) in &left.seen.definitions {
        if let Some(others) = right.seen.definitions.get(database)
            && !left.seen.is_same_database(right.seen, database)
        {
            bench.notes.extend(dumped::notes_on_definitions(database, definitions, others));
        }
    }
    let compared = |found: &DefinitionVerdict| !ignored.contains(&found.kind);
    bench.definitions = found.into_iter().filter(compared).map(by_side).collect();
    bench.leave_out_what_versions_write_differently(left.seen, right.seen);
    leave_out_roles_of_other_servers(&mut bench, left.seen, right.seen);
    for (database, sequences) in &left.seen.sequences {
        if let Some(others) = right.seen.sequences.get(database) {
            let mut found = definitions::sequences_apart(database, sequences, others);
            let kept = left.seen.definitions.get(database).unwrap_or(&none);
            if !left.seen.is_same_database(right.seen, database) {
                found.retain(|found| !dumped::has_undumped_position(kept, &found.name));
            }
            bench.definitions.extend(found.into_iter().filter(compared));
            bench.unreadable.extend(definitions::unreadable_sequences(database, sequences, others));
        }
    }
    if !ignored.is_empty() {
        bench.not_tested.push(format!("definitions of kind {}: ignored as requested", ignored.join(", ")));
    }
    bench.conclude(&[Word::Differs, Word::Missing, Word::Unexpected])
}

/// Definitions of owners and privileges.
pub(crate) const KINDS_NAMING_ROLES: [&str; 23] = [
    "conversion",
    "extension rights",
    "foreign data wrapper",
    "language",
    "large object rights",
    "object owner",
    "operator class",
    "operator family",
    "rights to maintain",
    "subscription",
    "text search",
    "type options",
    "owner",
    "rights",
    "default rights",
    "schema",
    "columns",
    "function",
    "type",
    "publication",
    "operator",
    "foreign server",
    "policy",
];

/// Roles belong to the server and not to a database, so a dump does not include them, and PostgreSQL does not record what belongs to
/// the superuser of `initdb`. Between databases that are not physical copies of each other, a role is missing only where
/// that shows: in an owner, a right or a policy, which name it.
fn leave_out_roles_of_other_servers(bench: &mut Verdicts, left: &Observation, right: &Observation) {
    let databases: Vec<String> = left.databases.keys().cloned().collect();
    for database in databases.iter().filter(|database| !left.is_same_database(right, database)) {
        let shows = bench
            .definitions
            .iter()
            .any(|found| found.database == *database && KINDS_NAMING_ROLES.contains(&found.kind.as_str()));
        let is_left_out = |found: &DefinitionVerdict| {
            let is_of_role = found.database == *database && found.kind == "role";
            is_of_role && (found.verdict == Word::Differs || !shows)
        };
        let told = bench.definitions.extract_if(.., |found| is_left_out(found)).map(|found| {
            let how = match found.verdict {
                Word::Differs => "has different attributes on the right",
                Word::Missing => "is not referenced on the right",
                _ => "is not referenced on the left",
            };
            format!(
                "role `{}` {how}: roles belong to the server, and a dump of a database does not include them",
                found.name
            )
        });
        let told: Vec<String> = told.collect();
        bench.not_tested.extend(told);
    }
}

/// A table whose rows were not counted on at least one side.
fn uncounted_alike(table: &Table, other: &Table, verdict: (Word, String)) -> (Word, String) {
    let is_asked = table.depth != Depth::Schema && other.depth != Depth::Schema;
    match (&table.counted, &other.counted) {
        (Counted::Skipped(reason), Counted::Skipped(other)) if was_dropped(reason) && was_dropped(other) => {
            (Word::Skipped, format!("{reason}, on both sides"))
        }
        (Counted::Skipped(reason), _) | (_, Counted::Skipped(reason)) if was_dropped(reason) => {
            (Word::Unknown, format!("{reason}: compare again"))
        }
        (Counted::Rows(_), Counted::Skipped(reason)) if is_asked => {
            (Word::Differs, format!("only on the right: {reason}"))
        }
        (Counted::Skipped(reason), Counted::Rows(_)) if is_asked => {
            (Word::Differs, format!("only on the left: {reason}"))
        }
        _ => verdict,
    }
}

/// Rows that differ because a dump does not include all of them, or because the restore itself wrote some.
fn forgive_rows(found: (Word, String), sides: (&Table, &Table), logins: &[&str]) -> (Word, String) {
    let (table, other) = sides;
    if let Some(reason) = dumped::rest_of_rows(table, other) {
        return (Word::Identical, reason);
    }
    let (left, right) = (table.counted_rows().unwrap_or_default(), other.counted_rows().unwrap_or_default());
    match logins {
        [trigger, ..] if right > left && found.0 == Word::Differs => (
            Word::Within,
            format!(
                "{} more on the right, where event trigger {trigger} runs at every login, including those of the restore",
                format_rows(right - left)
            ),
        ),
        _ => found,
    }
}

fn was_dropped(reason: &str) -> bool {
    reason == DROPPED_MEANWHILE
}

/// Neither side is a copy of the other.
fn by_side(found: DefinitionVerdict) -> DefinitionVerdict {
    let reason = match found.verdict {
        Word::Missing => "it is only on the left",
        Word::Unexpected => "it is only on the right",
        _ => "its definition differs on the right",
    };
    DefinitionVerdict { reason: reason.to_owned(), ..found }
}

fn judge_rows(table: &Table, other: &Table, moved: (Moved, Moved), are_kin: bool) -> (Word, String) {
    let (left, right) = (table.counted_rows().unwrap_or_default(), other.counted_rows().unwrap_or_default());
    match same_content(table.fingerprint.as_ref(), other.fingerprint.as_ref()) {
        Some(true) if left == right => return (Word::Identical, String::new()),
        None if left == right => return (Word::Equal, String::new()),
        _ => {}
    }
    let apart = match left.abs_diff(right) {
        0 => "the same number of rows, but different content".to_owned(),
        more => format!(
            "{} {}",
            format_rows(more),
            if left < right { "more on the right" } else { "fewer on the right" }
        ),
    };
    if table.is_view && !are_kin {
        // A dump does not include its rows.
        return (
            Word::Skipped,
            format!(
                "{apart}: a restore refreshes a materialized view from its tables, which are compared here"
            ),
        );
    }
    let (Some((added_left, taken_left)), Some((added_right, taken_right))) = moved else {
        return (
            Word::Unknown,
            format!("{apart}; it was truncated, rewritten, created or dropped while it was being compared"),
        );
    };
    if added_left + taken_left + added_right + taken_right == 0 {
        return (Word::Differs, apart);
    }
    // Rows may have been added or removed before the instant of the count, or after it.
    let range = |rows: u64, (added, taken): (u64, u64)| {
        let most = added.max(taken);
        (rows.saturating_sub(most), rows.saturating_add(most))
    };
    let (low, high) = range(left, (added_left, taken_left));
    let (other_low, other_high) = range(right, (added_right, taken_right));
    if low <= other_high && other_low <= high {
        return (
            Word::Within,
            format!(
                "{apart}; written to while it was being compared, so only bounds can be checked (left {low} to {high}, right {other_low} to {other_high})"
            ),
        );
    }
    (Word::Differs, format!("{apart}; more than the concurrent writes explain"))
}
