//! Whether an index holds what its table does, whoever defined the order of its entries.
//!
//! SQLite finds an entry by its order. Where that order is the application's own (a collation that it registers, or one of
//! SQLite's that it replaces) SQLite misses entries that are there; where a value is computed, a function or another
//! version may compute it otherwise. So entries are compared with rows one by one, without an order; only an index on plain
//! columns in binary order, of which nothing is the application's own, must also be found by its order.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

/// An index, as far as it matters here.
struct Index {
    name: String,
    /// Names of the columns whose values are stored as they are, in the order of the index.
    columns: Vec<String>,
    /// Whether the order of its entries is SQLite's own beyond doubt.
    is_plain: bool,
    /// Whether only the application can tell which rows belong into it.
    is_selective: bool,
    /// What a row must fulfil to be in it; nothing, if all are.
    predicate: Option<String>,
}

/// A table and how its rows are told apart.
struct Table {
    quoted: String,
    /// Empty for a table with rowids.
    primary_key: Vec<String>,
    has_rowids: bool,
    /// The name by which its rowid can be asked for.
    rowid: &'static str,
}

/// What a comparison of a table with its indexes gave.
#[derive(Default)]
pub(super) struct Compared {
    /// Indexes that lack rows, or hold others.
    pub(super) faults: Vec<String>,
    /// What could not be compared.
    pub(super) unknown: Vec<String>,
    /// Whether an application, or another version, may see another order or other values in one of them.
    pub(super) is_open_to_others: bool,
}

/// Compares a table with its indexes.
pub(super) fn compare_with_table(connection: &Connection, table: &str) -> Compared {
    let mut compared = Compared::default();
    let (table, indexes) = match describe_table(connection, table) {
        Ok(described) => described,
        Err(error) => {
            compared.unknown.push(format!("its indexes were not compared with it: {error}"));
            return compared;
        }
    };
    if !table.has_rowids {
        match count_out_of_order(connection, &table) {
            Ok(0) => {}
            Ok(lost) => compared.faults.push(format!("{lost} of its rows are out of order")),
            Err(error) => compared.unknown.push(format!("the order of its rows was not checked: {error}")),
        }
    }
    for index in &indexes {
        let name = &index.name;
        compared.is_open_to_others |= !index.is_plain;
        if index.is_selective {
            compared.unknown.push(format!(
                "index `{name}` was not compared with it: which rows it holds depends on functions or collations"
            ));
            continue;
        }
        match compare_index(connection, &table, index) {
            Ok(None) => {}
            Ok(Some(fault)) => compared.faults.push(format!("index `{name}` {fault}")),
            Err(error) => {
                compared.unknown.push(format!("index `{name}` was not compared with it: {error}"));
            }
        }
    }
    compared
}

fn describe_table(connection: &Connection, name: &str) -> rusqlite::Result<(Table, Vec<Index>)> {
    let has_rowids = !connection.query_row(
        "select wr from pragma_table_list where schema = 'main' and name = ?1",
        [name],
        |row| row.get::<_, bool>(0),
    )?;
    let mut columns =
        connection.prepare("select name, pk, hidden from pragma_table_xinfo(?1) order by pk")?;
    let columns: Vec<(String, i64, i64)> = columns
        .query_map([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let primary_key = columns.iter().filter(|column| column.1 > 0 && !has_rowids);
    let table = Table {
        quoted: quote_name(name),
        primary_key: primary_key.map(|column| column.0.clone()).collect(),
        has_rowids,
        rowid: ["rowid", "_rowid_", "oid"]
            .into_iter()
            .find(|alias| columns.iter().all(|column| !column.0.eq_ignore_ascii_case(alias)))
            .unwrap_or("rowid"),
    };
    let sql: String = connection.query_row(
        "select sql from sqlite_schema where type = 'table' and name = ?1 collate nocase",
        [name],
        |row| row.get(0),
    )?;
    let computed = |column: &str| columns.iter().any(|(name, _, hidden)| name == column && *hidden == 2);
    let mut list = connection.prepare("select name, origin, partial from pragma_index_list(?1)")?;
    let list: Vec<(String, String, bool)> = list
        .query_map([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut indexes = Vec::new();
    for (index, origin, is_partial) in list {
        // The primary key of a table without rowids is the table itself.
        if origin == "pk" && !has_rowids {
            continue;
        }
        let mut keys = connection
            .prepare("select cid, name, coll from pragma_index_xinfo(?1) where key order by seqno")?;
        let keys: Vec<(i64, Option<String>, Option<String>)> = keys
            .query_map([&index], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let is_stored = |key: &(i64, Option<String>, Option<String>)| {
            key.0 >= 0 && key.1.as_deref().is_some_and(|column| !computed(column))
        };
        let is_binary = |key: &(i64, Option<String>, Option<String>)| {
            key.2.as_deref().is_some_and(|collation| collation.eq_ignore_ascii_case("binary"))
        };
        let predicate = if is_partial { Some(predicate_of(connection, &index)?) } else { None };
        let is_selective = predicate
            .as_ref()
            .is_some_and(|text| calls_functions(text) || sql.to_ascii_lowercase().contains("collate"));
        indexes.push(Index {
            is_plain: keys.iter().all(|key| is_stored(key) && is_binary(key)),
            is_selective,
            columns: keys.iter().filter(|key| is_stored(key)).filter_map(|key| key.1.clone()).collect(),
            name: index,
            predicate,
        });
    }
    Ok((table, indexes))
}

/// What follows the `WHERE` of a partial index.
fn predicate_of(connection: &Connection, index: &str) -> rusqlite::Result<String> {
    let sql: String = connection.query_row(
        "select sql from sqlite_schema where type = 'index' and name = ?1",
        [index],
        |row| row.get(0),
    )?;
    let (mut depth, mut quote, mut word) = (0_i32, None, String::new());
    for (at, c) in sql.char_indices() {
        match (quote, c) {
            (Some(end), _) if c == end => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"' | '`') => quote = Some(c),
            (None, '[') => quote = Some(']'),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, c) if c.is_ascii_alphabetic() => {
                word.push(c.to_ascii_lowercase());
                continue;
            }
            (None, _) => {}
        }
        if depth == 0 && word == "where" {
            return Ok(sql[at..].to_owned());
        }
        word.clear();
    }
    Ok("1".to_owned())
}

/// Whether a condition calls a function, or compares in a way that an application can define.
fn calls_functions(condition: &str) -> bool {
    const HARMLESS: [&str; 8] = ["and", "or", "not", "in", "is", "between", "case", "then"];
    const OPERATORS: [&str; 5] = ["like", "glob", "regexp", "match", "collate"];
    let lower = condition.to_ascii_lowercase();
    let mut words = lower.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_').peekable();
    while let Some(word) = words.next() {
        let name = word.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '_');
        let is_followed = word.ends_with('(') || (word.ends_with(' ') && words.peek() == Some(&"("));
        if OPERATORS.contains(&name) || (is_followed && !name.is_empty() && !HARMLESS.contains(&name)) {
            return true;
        }
    }
    false
}

fn quote_name(name: &str) -> String {
    crate::postgres::quote_identifier(name)
}

/// What sets an index apart from its table: rows that it lacks, or that are other ones.
fn compare_index(connection: &Connection, table: &Table, index: &Index) -> rusqlite::Result<Option<String>> {
    let condition = index.predicate.as_ref().map_or(String::new(), |predicate| format!(" where {predicate}"));
    let (name, quoted, rowid) = (&table.quoted, quote_name(&index.name), table.rowid);
    // `sum` rather than `count`, which SQLite answers from the smallest index.
    let count = |access: &str| {
        let sql = format!("select ifnull(sum(1), 0) from {name} {access}{condition}");
        connection.query_row(&sql, [], |row| row.get::<_, i64>(0))
    };
    let (rows, entries) = (count("not indexed")?, count(&format!("indexed by {quoted}"))?);
    if rows != entries {
        return Ok(Some(format!("has {entries} entries, and its table {rows} rows for it")));
    }
    if index.is_plain
        && let Ok(Some(lost)) = count_not_found(connection, table, index)
    {
        return Ok(Some(format!("does not lead to {lost} of the rows of its table")));
    }
    if !table.has_rowids {
        return Ok(None);
    }
    let columns: String = index.columns.iter().map(|column| format!(", {}", quote_name(column))).collect();
    let mut entries =
        connection.prepare(&format!("select {rowid}{columns} from {name} indexed by {quoted}{condition}"))?;
    let mut row =
        connection.prepare(&format!("select {rowid}{columns} from {name} not indexed where {rowid} = ?1"))?;
    let mut rows = connection.prepare(&format!("select {rowid} from {name} not indexed{condition}"))?;
    let (width, mut sum) = (index.columns.len(), 0_u64);
    let mut found = entries.query([])?;
    while let Some(entry) = found.next()? {
        let rowid: i64 = entry.get(0)?;
        sum = sum.wrapping_add(scatter_rowid(rowid));
        let is_same = |row: &Row<'_>| {
            let mut is_same = true;
            for column in 1..=width {
                is_same &= is_equal(entry.get_ref(column)?, row.get_ref(column)?);
            }
            Ok(is_same)
        };
        match row.query_row([rowid], is_same) {
            Ok(true) => {}
            Ok(false) => return Ok(Some(format!("holds other values than row {rowid} of its table"))),
            Err(rusqlite::Error::QueryReturnedNoRows) => {
                return Ok(Some(format!("refers to row {rowid}, which its table does not have")));
            }
            Err(error) => return Err(error),
        }
    }
    let mut expected = 0_u64;
    let mut all = rows.query([])?;
    while let Some(row) = all.next()? {
        expected = expected.wrapping_add(scatter_rowid(row.get(0)?));
    }
    Ok((sum != expected)
        .then(|| "refers to some rows of its table twice, and to others not at all".to_owned()))
}

/// Rows to which the order of an index does not lead.
fn count_not_found(connection: &Connection, table: &Table, index: &Index) -> rusqlite::Result<Option<i64>> {
    let equal = |column: &String| {
        let column = quote_name(column);
        format!("b.{column} collate binary is a.{column}")
    };
    let mut conditions: Vec<String> = index.columns.iter().map(equal).collect();
    conditions.extend(table.primary_key.iter().map(equal));
    if table.has_rowids {
        conditions.push(format!("b.{0} = a.{0}", table.rowid));
    }
    let predicate = index.predicate.as_ref().map_or(String::new(), |text| format!("({text}) and "));
    let (name, quoted) = (&table.quoted, quote_name(&index.name));
    let sql = format!(
        "select count(*) from {name} as a not indexed where {predicate}not exists \
         (select 1 from {name} as b indexed by {quoted} where {predicate}{})",
        conditions.join(" and ")
    );
    let lost: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
    Ok((lost > 0).then_some(lost))
}

/// A table without rowids is an index itself: how many of its rows its own order does not lead to.
fn count_out_of_order(connection: &Connection, table: &Table) -> rusqlite::Result<i64> {
    let name = &table.quoted;
    let collations: i64 = connection.query_row(
        "select count(*) from pragma_index_list(?1) l, pragma_index_xinfo(l.name) x
         where l.origin = 'pk' and x.key and x.coll <> 'BINARY' collate nocase",
        [unquote_name(name)],
        |row| row.get(0),
    )?;
    if collations > 0 {
        return Ok(0);
    }
    let equal = |column: &String| format!("b.{0} = a.{0}", quote_name(column));
    let equal: Vec<String> = table.primary_key.iter().map(equal).collect();
    let sql = format!(
        "select count(*) from {name} as a not indexed where not exists \
         (select 1 from {name} as b not indexed where {})",
        equal.join(" and ")
    );
    connection.query_row(&sql, [], |row| row.get(0))
}

fn unquote_name(quoted: &str) -> String {
    quoted[1..quoted.len() - 1].replace("\"\"", "\"")
}

/// A number with a fraction of nothing is stored as an integer in a table, and as it is in an index.
fn is_equal(left: ValueRef<'_>, right: ValueRef<'_>) -> bool {
    match (left, right) {
        (ValueRef::Real(real), ValueRef::Integer(integer))
        | (ValueRef::Integer(integer), ValueRef::Real(real)) => real == integer as f64,
        _ => left == right,
    }
}

/// Spreads rowids, so that the sum of many says which they were.
fn scatter_rowid(rowid: i64) -> u64 {
    let mut mixed = rowid.cast_unsigned().wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_an_application_can_define_is_told_from_a_plain_one() {
        for own in
            ["own(a)", "lower (a) = 'x'", "a like 'x%'", "a = 'x' collate u", "not own(a)", "a in (f(1))"]
        {
            assert!(calls_functions(own), "{own}");
        }
        for plain in ["a > 3", "a in (1, 2) and not (b is null)", "a between (1) and (2)", "likely = 1"] {
            assert!(!calls_functions(plain), "{plain}");
        }
    }

    #[test]
    fn entries_are_compared_in_no_order_and_what_is_lost_is_found() {
        let connection = Connection::open_in_memory().unwrap();
        let content =
            "create table t (a, b text collate nocase); create index \"where x\" on t (a) where a > 1;
                       create unique index i on t (b); insert into t values (1, 'a'), (2, 'B'), (3.0, 'c')";
        connection.execute_batch(content).unwrap();
        assert_eq!(predicate_of(&connection, "where x").unwrap().trim(), "a > 1");
        assert_eq!(compare_with_table(&connection, "t").faults, Vec::<String>::new());
        let lose = "pragma writable_schema = on; create table u (b); create index j on u (b); insert into u values ('a'), ('b'), ('z');
                    update sqlite_schema set rootpage = (select rootpage from sqlite_schema where name = 'j') where name = 'i';
                    delete from sqlite_schema where name in ('u', 'j'); pragma writable_schema = reset";
        connection.execute_batch(lose).unwrap();
        let faults = compare_with_table(&connection, "t").faults;
        assert_eq!(faults, ["index `i` holds other values than row 2 of its table"]);
    }
}
