//! Which rows of two tables differ.
//!
//! The table is divided into parts by the hash of its key, and each side sums the fingerprints of each part in one
//! pass. Of the parts that differ, few enough to hold, the keys and fingerprints of single rows are fetched. So both
//! sides are read twice at most, whatever the types of their keys and however their collations sort, and nothing
//! but keys and hashes leaves the server, unless rows are asked for.

use std::collections::{BTreeMap, HashMap};

use futures::{StreamExt as _, pin_mut};
use serde::{Deserialize, Serialize};

use super::fingerprint::{Column, Hashed, hash_of_row};
use super::observe::Table;
use crate::postgres::{QueryFailure, Session};

/// About how many rows a part of a table has.
const ROWS_OF_A_PART: u64 = 512;
/// About how many rows of differing parts are fetched from a side at most.
const ROWS_FETCHED: u64 = 40_000;

/// How a row differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HowRowsDiffer {
    /// On both sides, with other values.
    Changed,
    /// Only on the left, in the baseline, in the source.
    Missing,
    /// Only on the right, in the copy.
    Added,
}

/// A row that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowDifference {
    pub how: HowRowsDiffer,
    /// Its key, as `id 1042` or `(region, id) (eu, 7)`; none where the table has no key.
    pub key: Option<String>,
    /// Columns whose values differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// The row on the left, where rows are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    /// The row on the right, where rows are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right: Option<String>,
}

/// The rows of a table that differ.
#[derive(Clone, Debug, Default)]
pub(crate) struct Differences {
    /// As many of them as requested, in the order of their keys.
    pub rows: Vec<RowDifference>,
    /// How many there are.
    pub found: usize,
    /// Whether there are more, in parts that were not read.
    pub more: bool,
    /// Names of the key's columns.
    pub key: Vec<String>,
}

/// One side: where the table is read, and which of its rows count.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    /// A session in the transaction that saw the difference.
    pub session: &'a Session,
    pub table: &'a Table,
    /// SQL condition on its rows.
    pub only: Option<&'a str>,
}

/// How much is reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// At most so many rows.
    pub rows: usize,
    /// Whether their content is reported too.
    pub show_rows: bool,
    pub told: RowsNamed,
}

/// Which of the differing rows are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowsNamed {
    /// Every one.
    All,
    /// Those of the left: missing and changed ones. What only the right has may not be an error.
    OfTheLeft,
}

/// The columns that both sides have, as their hashes can be compared, for one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compared {
    pub columns: Vec<Hashed>,
    /// Those of a key that identifies a row; without one, a row is its own.
    pub key: Vec<Hashed>,
}

/// Columns as they are compared on the left and on the right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Common {
    pub left: Compared,
    pub right: Compared,
}

impl Common {
    /// By their names: the one that both sides have.
    pub(crate) fn by_name(left: &Table, right: &Table) -> Self {
        let shared = |column: &Column| {
            let other = right.columns.iter().find(|other| other.name == column.name)?;
            // Numbers of other types have other hashes; their text is the same.
            let built_in_type =
                column.built_in_type.clone().filter(|kind| other.built_in_type.as_ref() == Some(kind));
            Some(Hashed::from(&Column { name: column.name.clone(), built_in_type }))
        };
        let columns: Vec<Hashed> = left.columns.iter().filter_map(shared).collect();
        let named = |position: &usize| {
            let name = &left.columns.get(*position)?.name;
            columns.iter().find(|column| column.name == *name).cloned()
        };
        let key: Vec<Hashed> = left.key.iter().filter_map(named).collect();
        let is_whole = key.len() == left.key.len();
        let compared = Compared { key: if is_whole { key } else { Vec::new() }, columns };
        Common { left: compared.clone(), right: compared }
    }
}

impl Compared {
    fn row_hash(&self) -> String {
        hash_of_row(&self.columns)
    }

    /// Without a key, a row is its own.
    pub(super) fn key_hash(&self) -> String {
        if self.key.is_empty() { self.row_hash() } else { hash_of_row(&self.key) }
    }

    fn key_text(&self) -> String {
        let text = |column: &Hashed| {
            let text = column.text();
            format!("case when length({text}) > 200 then left({text}, 200) || '…' else {text} end")
        };
        // One of several values is quoted if its end would be unclear.
        let one_of_many = |column: &Hashed| {
            let text = text(column);
            format!("case when {} ~ '[,'' ]' then quote_literal({text}) else {text} end", column.text())
        };
        match self.key.as_slice() {
            [] => "null::text".to_owned(),
            [one] => text(one),
            many => {
                format!("concat_ws(', ', {})", many.iter().map(one_of_many).collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// The row for people. Not as JSON, which would call user-defined casts.
    fn row_text(&self) -> String {
        let told = |column: &Hashed| {
            let name = column.name.replace('\'', "''");
            format!("'{name}: ' || coalesce(quote_literal({}), 'NULL')", column.text())
        };
        let columns: Vec<String> = self.columns.iter().map(told).collect();
        format!("left(array_to_string(array[{}]::text[], ', '), 4000)", columns.join(", "))
    }

    fn shown_key(&self, text: &str) -> String {
        match self.key.as_slice() {
            [one] => format!("{} {text}", one.name),
            many => {
                let names: Vec<&str> = many.iter().map(|column| column.name.as_str()).collect();
                format!("({}) ({text})", names.join(", "))
            }
        }
    }
}

/// How much of what differs is read row by row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Rows of both sides together, about.
    pub rows: u64,
    /// So many rows certainly differ: with more parts than these, most parts do not.
    pub surely_differ: u64,
}

/// Parts of a table at most: their sums are held in memory, on the server too.
const PARTS: u64 = 65_536;

/// How the rows of two sides compare.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Rows of the left that the right has with the same values.
    pub matched: u64,
    /// Rows of the left whose key the right does not have.
    pub missing: u64,
    /// Rows of the left that the right has with other values.
    pub changed: u64,
    /// Rows of the right that no row of the left has the values of, less those that are `changed`.
    pub added: u64,
    /// Rows of the left in parts that were not read row by row.
    pub unread: u64,
    /// Which rows differ.
    pub differences: Differences,
}

/// Finds the rows that differ.
pub(crate) async fn find_differences(
    left: Side<'_>,
    right: Side<'_>,
    extent: Extent,
) -> Result<Differences, QueryFailure> {
    let common = Common::by_name(left.table, right.table);
    Ok(compare_sums(left, right, &common, Budget { rows: ROWS_FETCHED, surely_differ: 0 }, extent)
        .await?
        .differences)
}

/// Counts the rows that are on both sides with the same values, and finds those that are not.
pub(crate) async fn compare_sums(
    left: Side<'_>,
    right: Side<'_>,
    common: &Common,
    budget: Budget,
    extent: Extent,
) -> Result<Tally, QueryFailure> {
    let rows =
        left.table.counted_rows().unwrap_or_default().max(right.table.counted_rows().unwrap_or_default());
    let parts = (rows / ROWS_OF_A_PART).max(budget.surely_differ.saturating_mul(2).min(rows / 8));
    let parts = parts.clamp(1, PARTS).next_power_of_two();
    let (of_left, of_right) = futures::future::try_join(
        read_sums(left, &common.left, parts),
        read_sums(right, &common.right, parts),
    )
    .await?;
    let rows_of =
        |side: &BTreeMap<i64, (u64, String)>, part: &i64| side.get(part).map_or(0, |(rows, _)| *rows);
    let mut tally = Tally::default();
    let (mut apart, mut fetched, mut left_fetched) = (Vec::new(), 0, 0);
    for part in 0..parts as i64 {
        let (of_one, of_other) = (rows_of(&of_left, &part), rows_of(&of_right, &part));
        if of_left.get(&part) == of_right.get(&part) {
            tally.matched += of_one;
        } else if fetched == 0 || fetched + of_one + of_other <= budget.rows {
            fetched += of_one + of_other;
            left_fetched += of_one;
            apart.push(part);
        } else {
            // Only their numbers are compared.
            tally.differences.more = true;
            tally.missing += of_one.saturating_sub(of_other);
            tally.added += of_other.saturating_sub(of_one);
            tally.unread += of_one.min(of_other);
        }
    }
    tally.differences.key = common.left.key.iter().map(|column| column.name.clone()).collect();
    if apart.is_empty() {
        return Ok(tally);
    }
    let (mut of_left, mut of_right) = futures::future::try_join(
        rows_of_parts(left, &common.left, parts, &apart),
        rows_of_parts(right, &common.right, parts, &apart),
    )
    .await?;
    let differing = pair_up(&mut of_left, &mut of_right);
    let count = |wanted| -> u64 {
        differing.iter().filter(|differing| differing.how == wanted).map(|differing| differing.rows).sum()
    };
    let (missing, changed) = (count(HowRowsDiffer::Missing), count(HowRowsDiffer::Changed));
    tally.matched += left_fetched - missing - changed;
    tally.missing += missing;
    tally.changed += changed;
    tally.added += count(HowRowsDiffer::Added);
    let mut differing = differing;
    differing.retain(|differing| extent.told == RowsNamed::All || differing.how != HowRowsDiffer::Added);
    tally.differences.found = differing.iter().map(|differing| differing.rows as usize).sum();
    tally.differences.rows = describe_rows(left, right, common, differing, extent).await?;
    Ok(tally)
}

/// How many differing rows are read again, to name the first ones in the order of their keys.
const DESCRIBED: usize = 2_000;

/// Names some rows and how they differ, missing or changed ones first.
async fn describe_rows(
    left: Side<'_>,
    right: Side<'_>,
    common: &Common,
    mut differing: Vec<Differing>,
    extent: Extent,
) -> Result<Vec<RowDifference>, QueryFailure> {
    if extent.rows == 0 {
        return Ok(Vec::new());
    }
    differing.sort_by_key(|differing| differing.how == HowRowsDiffer::Added);
    differing.truncate(DESCRIBED);
    let wanted: Vec<i64> = differing.iter().map(|differing| differing.key).collect();
    let (of_left, of_right) = futures::future::try_join(
        read_details(left, &common.left, &wanted, extent.show_rows),
        read_details(right, &common.right, &wanted, extent.show_rows),
    )
    .await?;
    let key_of =
        |hash: &i64| of_left.get(hash).or_else(|| of_right.get(hash)).and_then(|detail| detail.key.clone());
    let mut rows: Vec<(Option<String>, Differing)> =
        differing.into_iter().map(|differing| (key_of(&differing.key), differing)).collect();
    rows.sort_by(|(a, _), (b, _)| in_order(a, b));
    let described = rows.into_iter().flat_map(|(text, Differing { key, how, rows })| {
        let row = row_difference(&common.left, text, how, of_left.get(&key), of_right.get(&key));
        std::iter::repeat_n(row, usize::try_from(rows).unwrap_or(usize::MAX))
    });
    Ok(described.take(extent.rows).collect())
}

fn row_difference(
    common: &Compared,
    key: Option<String>,
    how: HowRowsDiffer,
    left: Option<&Detail>,
    right: Option<&Detail>,
) -> RowDifference {
    let columns = match (how, left, right) {
        (HowRowsDiffer::Changed, Some(left), Some(right)) => {
            let hashes = left.hashes.iter().zip(&right.hashes);
            let named = common.columns.iter().zip(hashes).filter(|(_, (left, right))| left != right);
            named.map(|(column, _)| column.name.clone()).collect()
        }
        _ => Vec::new(),
    };
    // A row that moved out of the part of the table that counts still exists.
    let how = match (how, common.key.is_empty(), left, right) {
        (HowRowsDiffer::Missing, false, Some(_), Some(_)) => HowRowsDiffer::Changed,
        _ => how,
    };
    RowDifference {
        how,
        key: key.map(|key| common.shown_key(&key)),
        columns,
        left: left.filter(|_| how != HowRowsDiffer::Added).and_then(|detail| detail.row.clone()),
        right: right.filter(|_| how != HowRowsDiffer::Missing).and_then(|detail| detail.row.clone()),
    }
}

fn where_clause(side: Side<'_>, more: &str) -> String {
    let all: Vec<&str> = side.only.into_iter().chain(Some(more).filter(|more| !more.is_empty())).collect();
    if all.is_empty() { String::new() } else { format!(" where ({})", all.join(") and (")) }
}

/// Rows and sum of fingerprints of each part.
async fn read_sums(
    side: Side<'_>,
    common: &Compared,
    parts: u64,
) -> Result<BTreeMap<i64, (u64, String)>, QueryFailure> {
    let sql = format!(
        "select {} & {}, count(*), sum({})::text from only {}{} group by 1",
        common.key_hash(),
        parts - 1,
        common.row_hash(),
        side.table.quoted_name(),
        where_clause(side, "")
    );
    let rows = side.session.rows(&sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), (row.get::<_, i64>(1).unsigned_abs(), row.get(2)))).collect())
}

/// Rows of one side by the hash of their key: the fingerprint of each, and how many are the same.
type Rows = HashMap<i64, Vec<(i64, i64)>>;

async fn rows_of_parts(
    side: Side<'_>,
    common: &Compared,
    parts: u64,
    wanted: &[i64],
) -> Result<Rows, QueryFailure> {
    let list: Vec<String> = wanted.iter().map(i64::to_string).collect();
    let part = match wanted.len() as u64 == parts {
        true => String::new(),
        false => format!("{} & {} = any ('{{{}}}'::int8[])", common.key_hash(), parts - 1, list.join(",")),
    };
    let sql = format!(
        "select {}, {}, count(*) from only {}{} group by 1, 2",
        common.key_hash(),
        common.row_hash(),
        side.table.quoted_name(),
        where_clause(side, &part)
    );
    let stream = side.session.stream(&sql).await?;
    pin_mut!(stream);
    let mut rows = Rows::new();
    while let Some(row) = stream.next().await.transpose()? {
        rows.entry(row.get(0)).or_default().push((row.get(1), row.get(2)));
    }
    Ok(rows)
}

/// Rows with one key that differ in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Differing {
    /// The hash of their key.
    key: i64,
    how: HowRowsDiffer,
    rows: u64,
}

/// Removes what is on both sides, and returns the rest.
fn pair_up(left: &mut Rows, right: &mut Rows) -> Vec<Differing> {
    let mut differing = Vec::new();
    let mut add = |key, how, rows: i64| {
        if rows > 0 {
            differing.push(Differing { key, how, rows: rows.unsigned_abs() });
        }
    };
    for (hash, rows) in left.iter_mut() {
        let others = right.entry(*hash).or_default();
        for (fingerprint, count) in rows.iter_mut() {
            if let Some((_, other)) = others.iter_mut().find(|(other, _)| other == fingerprint) {
                let same = (*count).min(*other);
                (*count, *other) = (*count - same, *other - same);
            }
        }
        let left_over = |rows: &mut Vec<(i64, i64)>| rows.drain(..).map(|(_, count)| count).sum::<i64>();
        let (ours, theirs) = (left_over(rows), left_over(others));
        let changed = ours.min(theirs);
        add(*hash, HowRowsDiffer::Changed, changed);
        add(*hash, HowRowsDiffer::Missing, ours - changed);
        add(*hash, HowRowsDiffer::Added, theirs - changed);
    }
    for (hash, rows) in right.iter_mut() {
        for (_, count) in rows.drain(..) {
            add(*hash, HowRowsDiffer::Added, count);
        }
    }
    differing
}

/// Keys that are numbers in the order of numbers, then others in the order of text.
fn in_order(left: &Option<String>, right: &Option<String>) -> std::cmp::Ordering {
    let number = |key: &Option<String>| key.as_deref().and_then(|key| key.parse::<i128>().ok());
    match (number(left), number(right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => left.cmp(right),
    }
}

/// The details of one row.
struct Detail {
    /// Its key, for people.
    key: Option<String>,
    /// Hash of each column.
    hashes: Vec<i64>,
    /// The row, where rows are asked for.
    row: Option<String>,
}

/// Details of the rows with these hashes of their keys, whichever rows count.
async fn read_details(
    side: Side<'_>,
    common: &Compared,
    wanted: &[i64],
    show_rows: bool,
) -> Result<HashMap<i64, Detail>, QueryFailure> {
    if wanted.is_empty() || (common.key.is_empty() && !show_rows) {
        return Ok(HashMap::new());
    }
    let hashes: Vec<String> = common.columns.iter().map(Hashed::hash).collect();
    let row = if show_rows { common.row_text() } else { "null::text".to_owned() };
    let sql = format!(
        "select {key}, {}, array[{}]::int8[], {row} from only {} where {key} = any ($1)",
        common.key_text(),
        hashes.join(", "),
        side.table.quoted_name(),
        key = common.key_hash()
    );
    let rows = side.session.rows(&sql, &[&wanted]).await?;
    let detail = |row: &tokio_postgres::Row| Detail { key: row.get(1), hashes: row.get(2), row: row.get(3) };
    Ok(rows.iter().map(|row| (row.get(0), detail(row))).collect())
}

impl Differences {
    /// `3 rows differ (id 1042, 1043, 7781): 2 changed, 1 missing`.
    pub(crate) fn summary(&self) -> Option<String> {
        const NAMED: usize = 10;
        if self.found == 0 {
            return None;
        }
        let count = |how| self.rows.iter().filter(|row| row.how == how).count();
        let kinds = [
            (count(HowRowsDiffer::Changed), "changed"),
            (count(HowRowsDiffer::Missing), "missing"),
            (count(HowRowsDiffer::Added), "added"),
        ];
        let kinds: Vec<String> = kinds
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, kind)| format!("{count} {kind}"))
            .collect();
        let named: Vec<&str> = self.rows.iter().filter_map(|row| row.key.as_deref()).take(NAMED).collect();
        let prefix = match self.key.as_slice() {
            [one] => format!("{one} "),
            many => format!("({}) ", many.join(", ")),
        };
        let keys: Vec<&str> = named.iter().map(|key| key.strip_prefix(&prefix).unwrap_or(key)).collect();
        let ellipsis = if self.found > NAMED || self.more { ", …" } else { "" };
        let keys = if keys.is_empty() {
            " (it has no key to name them by)".to_owned()
        } else {
            format!(" ({prefix}{}{ellipsis})", keys.join(", "))
        };
        let at_least = if self.more { "at least " } else { "" };
        let (rows, differ) = if self.found == 1 { ("row", "differs") } else { ("rows", "differ") };
        let of = if self.rows.len() < self.found {
            format!(" of the first {}", self.rows.len())
        } else {
            String::new()
        };
        Some(format!("{at_least}{} {rows} {differ}{keys}: {}{of}", self.found, kinds.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(list: &[(i64, i64)]) -> Rows {
        let mut rows = Rows::new();
        for (key_hash, row_hash) in list {
            rows.entry(*key_hash).or_default().push((*row_hash, 1));
        }
        rows
    }

    #[test]
    fn keys_have_one_order_whatever_they_are() {
        let mut keys: Vec<Option<String>> =
            (0..3000).map(|n| Some(["10", "1a", "x3", "2", "9b"][n % 5].to_owned())).collect();
        keys.sort_by(in_order);
        assert_eq!((keys[0].as_deref(), keys[2999].as_deref()), (Some("2"), Some("x3")));
    }

    #[test]
    fn rows_are_paired_by_key_and_told_apart_by_content() {
        let mut left = rows(&[(1, 10), (2, 20), (3, 30)]);
        let mut right = rows(&[(1, 10), (2, 21), (4, 40)]);
        let mut differing = pair_up(&mut left, &mut right);
        differing.sort_by_key(|differing| differing.key);
        let how: Vec<HowRowsDiffer> = differing.iter().map(|differing| differing.how).collect();
        assert_eq!(how, [HowRowsDiffer::Changed, HowRowsDiffer::Missing, HowRowsDiffer::Added]);
    }

    #[test]
    fn the_rows_of_a_table_without_a_key_are_a_bag() {
        let bag = |count| Rows::from([(7, vec![(7, count)])]);
        let differing = |how| vec![Differing { key: 7, how, rows: 2 }];
        assert_eq!(pair_up(&mut bag(3), &mut bag(1)), differing(HowRowsDiffer::Missing));
        assert_eq!(pair_up(&mut bag(1), &mut bag(3)), differing(HowRowsDiffer::Added));
    }

    #[test]
    fn what_differs_is_told_with_its_keys() {
        let row = |key: &str, how| RowDifference {
            how,
            key: Some(format!("id {key}")),
            columns: Vec::new(),
            left: None,
            right: None,
        };
        let rows = vec![
            row("1042", HowRowsDiffer::Changed),
            row("1043", HowRowsDiffer::Changed),
            row("7781", HowRowsDiffer::Missing),
        ];
        let found = Differences { found: 3, rows, more: false, key: vec!["id".into()] };
        assert_eq!(found.summary().unwrap(), "3 rows differ (id 1042, 1043, 7781): 2 changed, 1 missing");
    }
}
