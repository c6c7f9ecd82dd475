//! What a copy contains, and what is wrong with it: damage, or things that SQLite's own checks complain of and that are none.
//!
//! Which is which is decided by what is looked at, never by how SQLite words it. A page or a tree that is not whole is
//! damage ([`structure`]), and so is an index that lacks rows of its table ([`indexes`]). A row that is older than a
//! constraint, a foreign key that cannot be looked up, a text index that is out of step with its text, and whatever needs
//! what only the application has (collations, functions, tokenizers, modules) are warnings: all pages are there.
//!
//! A copy of which `integrity_check` says that it is whole is not looked at any further. Of any other the tables are
//! looked at one by one, so that one that cannot be checked hides nothing of the next.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::contents::{Contents, TableRows, Warning};
use super::open::{explain_failure, is_damage};
use super::{indexes, structure};
use crate::error::Result;

/// What was found in a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::backup) struct Inspection {
    /// Faults of its structure.
    pub(in crate::backup) damage: Vec<String>,
    /// What it contains.
    pub(in crate::backup) contents: Contents,
}

/// More of one kind tell nothing more.
const ENOUGH: usize = 20;

/// Inspects a copy that nobody else uses: its structure, its indexes, its foreign keys, its tables.
pub(in crate::backup) fn inspect(copy: &Path) -> Result<Inspection> {
    match Inspector::new(copy).and_then(Inspector::inspect) {
        Ok(inspection) => Ok(inspection),
        Err(error) if is_damage(&error) => {
            Ok(Inspection { damage: vec![error.to_string()], ..Inspection::default() })
        }
        Err(error) => Err(explain_failure(copy, "cannot look into", error)),
    }
}

/// Opens a copy that nobody else has: no locks, and no files beside it.
fn open_copy(copy: &Path) -> rusqlite::Result<Connection> {
    let common = OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let path = escaped(copy);
    // Of a database that it may not write to SQLite does not even read the CHECK constraints.
    let writable = Connection::open_with_flags(
        format!("file:{path}?nolock=1"),
        OpenFlags::SQLITE_OPEN_READ_WRITE | common,
    )
    .and_then(|connection| {
        connection.execute_batch("pragma query_only = on; select count(*) from sqlite_schema")?;
        Ok(connection)
    });
    writable.or_else(|_| {
        Connection::open_with_flags(
            format!("file:{path}?immutable=1"),
            OpenFlags::SQLITE_OPEN_READ_ONLY | common,
        )
    })
}

/// A path in a `file:` URI.
fn escaped(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

/// A table of the schema.
struct Entry {
    name: String,
    sql: String,
    /// The module of a virtual table.
    module: Option<String>,
}

impl Entry {
    fn object(&self) -> String {
        match &self.module {
            Some(_) => format!("virtual table `{}`", self.name),
            None => format!("table `{}`", self.name),
        }
    }

    fn quoted(&self) -> String {
        crate::postgres::quote_identifier(&self.name)
    }

    /// Whether it is an index of texts, which can be built anew from them.
    fn is_text_index(&self) -> bool {
        let is_contentless = || {
            let dense: String = self.sql.split_whitespace().collect();
            dense.contains("content=''") || dense.contains("content=\"\"")
        };
        matches!(self.module.as_deref(), Some("fts3" | "fts4" | "fts5")) && !is_contentless()
    }
}

struct Inspector<'a> {
    connection: Connection,
    copy: &'a Path,
    tables: Vec<Entry>,
    /// Collations and functions that only the application has, for which something stands in here.
    stand_ins: BTreeSet<(Lacking, String)>,
    damage: Vec<String>,
    warnings: Vec<Warning>,
}

/// What SQLite may say it lacks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lacking {
    Collation,
    Function,
}

impl<'a> Inspector<'a> {
    fn new(copy: &'a Path) -> rusqlite::Result<Self> {
        let connection = open_copy(copy)?;
        let tables = {
            let mut statement = connection
                .prepare("select name, sql from sqlite_schema where type = 'table' order by name")?;
            let entries = statement.query_map([], |row| {
                let (name, sql) = (text_of(row.get_ref(0)?), text_of(row.get_ref(1)?));
                Ok(Entry { module: module_of(&sql), name, sql })
            })?;
            entries.collect::<rusqlite::Result<_>>()?
        };
        let (stand_ins, damage, warnings) = Default::default();
        Ok(Inspector { connection, copy, tables, stand_ins, damage, warnings })
    }

    fn inspect(mut self) -> rusqlite::Result<Inspection> {
        let number = |pragma: &str| {
            self.connection.query_row(&format!("pragma {pragma}"), [], |row| row.get::<_, i64>(0))
        };
        let mut contents = Contents {
            page_size: u32::try_from(number("page_size")?).unwrap_or_default(),
            pages: u32::try_from(number("page_count")?).unwrap_or_default(),
            user_version: number("user_version")?,
            inspected: Some(true),
            ..Contents::default()
        };
        // Before anything stands in for what is lacking, with which keys could not be looked up.
        contents.dangling_references = self.check_foreign_keys()?;
        let (copy, roots) = (self.copy, self.roots()?);
        // SQLite passes over the free list and over lost pages, if a view or a virtual table comes first in its schema.
        let (whole, faults) = std::thread::scope(|scope| {
            let faults = scope.spawn(|| structure::find_faults(copy, &roots));
            let whole = self.lines_of("pragma integrity_check(20)");
            (whole, faults.join())
        });
        match faults {
            Ok(Ok(faults)) => self.damage.extend(faults),
            Ok(Err(error)) => self.damage.push(format!("its pages cannot all be read: {error}")),
            Err(_) => self.damage.push("its pages are not valid".to_owned()),
        }
        let is_whole = matches!(&whole, Ok(lines) if lines.is_empty()) && self.stand_ins.is_empty();
        if !is_whole {
            self.check_one_by_one(whole.unwrap_or_default())?;
        }
        if self.damage.is_empty() {
            contents.tables = self.count_rows()?;
        }
        contents.warnings = self.warnings;
        Ok(Inspection { damage: self.damage, contents })
    }

    /// Rows that refer to rows which do not exist.
    fn check_foreign_keys(&mut self) -> rusqlite::Result<Vec<String>> {
        match read_dangling(&self.connection, "pragma foreign_key_check") {
            Ok(dangling) => return Ok(dangling),
            Err(error) if is_damage(&error) => return Err(error),
            Err(_) => {}
        }
        let mut found = Vec::new();
        for table in self.tables.iter().filter(|table| table.module.is_none()) {
            match read_dangling(&self.connection, &format!("pragma foreign_key_check({})", table.quoted())) {
                Ok(dangling) => found.extend(dangling),
                Err(error) if is_damage(&error) => return Err(error),
                Err(error) => self.warnings.push(Warning::new(
                    table.object(),
                    format!("its foreign keys were not checked: {}", reason_of(&error)),
                )),
            }
        }
        found.truncate(ENOUGH);
        Ok(found)
    }

    /// What a check has to say, without its `ok`. Whatever it lacks of the application's own is stood in for.
    fn lines_of(&mut self, pragma: &str) -> rusqlite::Result<Vec<String>> {
        loop {
            let asked = self.connection.prepare(pragma).and_then(|mut statement| {
                let lines = statement.query_map([], |row| Ok(text_of(row.get_ref(0)?)))?;
                lines.filter(|line| !matches!(line, Ok(line) if line == "ok")).collect()
            });
            match asked {
                Err(error) if self.stand_in(&error)? => {}
                asked => return asked,
            }
        }
    }

    /// Registers what an error says is lacking; false, if it says no such thing, or has said so before.
    fn stand_in(&mut self, error: &rusqlite::Error) -> rusqlite::Result<bool> {
        let Some((lacking, name)) = what_is_lacking(&error.to_string()) else { return Ok(false) };
        if self.stand_ins.len() >= 1000 || !self.stand_ins.insert((lacking, name.clone())) {
            return Ok(false);
        }
        // Anew: SQLite uses no index any more of which it has once found that it lacks the collation.
        self.connection = open_copy(self.copy)?;
        for (lacking, name) in &self.stand_ins {
            match lacking {
                Lacking::Collation => self.connection.create_collation(name.as_str(), str::cmp)?,
                Lacking::Function => {
                    let flags = FunctionFlags::SQLITE_UTF8
                        | FunctionFlags::SQLITE_DETERMINISTIC
                        | FunctionFlags::SQLITE_INNOCUOUS;
                    let nothing = |_: &rusqlite::functions::Context<'_>| Ok(rusqlite::types::Null);
                    self.connection.create_scalar_function(name.as_str(), -1, flags, nothing)?;
                }
            }
        }
        Ok(true)
    }

    fn roots(&self) -> rusqlite::Result<Vec<u32>> {
        let mut statement =
            self.connection.prepare("select rootpage from sqlite_schema where rootpage > 0")?;
        let roots = statement.query_map([], |row| row.get(0))?;
        roots.collect()
    }

    fn check_one_by_one(&mut self, whole: Vec<String>) -> rusqlite::Result<()> {
        // A fault that only SQLite finds in a tree is one as well.
        self.damage.extend(whole.into_iter().filter(|line| is_structural(line)));
        if !self.damage.is_empty() {
            return Ok(());
        }
        for position in 0..self.tables.len() {
            if self.tables[position].module.is_some() {
                self.check_virtual_table(position);
            } else {
                self.check_table(position)?;
            }
        }
        self.tell_of_stand_ins()
    }

    fn check_virtual_table(&mut self, position: usize) {
        let pragma = format!("pragma integrity_check({})", self.tables[position].quoted());
        let outcome = self.lines_of(&pragma);
        let entry = &self.tables[position];
        // Boxes in an R-tree are nowhere else.
        let holds_content = matches!(entry.module.as_deref(), Some("rtree" | "rtree_i32" | "geopoly"))
            || (entry.module.as_deref().is_some_and(|module| module.starts_with("fts"))
                && !entry.is_text_index());
        match outcome {
            Ok(lines) if lines.is_empty() => {}
            Ok(lines) if holds_content => {
                self.damage.extend(lines.into_iter().map(|line| format!("{}: {line}", entry.object())));
            }
            Err(error) if is_damage(&error) && holds_content => {
                self.damage.push(format!("{}: {}", entry.object(), reason_of(&error)));
            }
            Ok(lines) => {
                let remedy = entry.is_text_index().then(|| rebuild(entry));
                self.warnings.extend(
                    lines_once(lines)
                        .into_iter()
                        .map(|line| Warning { remedy: remedy.clone(), ..Warning::new(entry.object(), line) }),
                );
            }
            Err(error) if is_damage(&error) && entry.is_text_index() => {
                let message = reason_of(&error);
                self.warnings
                    .push(Warning { remedy: Some(rebuild(entry)), ..Warning::new(entry.object(), message) });
            }
            Err(error) => self.warnings.push(Warning::new(
                entry.object(),
                format!("it was not checked, but for the pages of its content: {}", reason_of(&error)),
            )),
        }
    }

    fn check_table(&mut self, position: usize) -> rusqlite::Result<()> {
        let (name, object, quoted) = {
            let entry = &self.tables[position];
            (entry.name.clone(), entry.object(), entry.quoted())
        };
        let asked = self
            .lines_of(&format!("pragma quick_check({quoted})"))
            .and_then(|rows| Ok((rows, self.lines_of(&format!("pragma integrity_check({quoted})"))?)));
        let (rows, all) = match asked {
            Ok(said) => said,
            Err(error) if is_damage(&error) => {
                self.damage.push(format!("{object}: {}", reason_of(&error)));
                return Ok(());
            }
            Err(error) => {
                let message = format!(
                    "its rows were not checked against its constraints and indexes: {}",
                    reason_of(&error)
                );
                self.warnings.push(Warning::new(object, message));
                return Ok(());
            }
        };
        self.damage.extend(all.iter().filter(|line| is_structural(line)).cloned());
        // `quick_check` looks at the rows alone: what else there is to say is about the indexes.
        let of_indexes: Vec<String> = all.iter().filter(|line| !rows.contains(line)).cloned().collect();
        let mut told = rows;
        // At a hundred lines SQLite stops.
        if !of_indexes.is_empty() || all.len() >= 100 {
            let compared = indexes::compare_with_table(&self.connection, &name);
            if !compared.faults.is_empty() {
                self.damage.extend(compared.faults.into_iter().map(|fault| format!("{object}: {fault}")));
                return Ok(());
            }
            self.warnings.extend(compared.unknown.into_iter().map(|text| Warning::new(&object, text)));
            match of_indexes.first() {
                // What an order that is not the application's makes SQLite say of an index means nothing.
                _ if !self.stand_ins.is_empty() => {}
                Some(first) if compared.is_open_to_others => told.push(format!(
                    "its indexes hold all of its rows, but in another order or with other values than those of this \
                     SQLite: {first}"
                )),
                _ => told.extend(of_indexes),
            }
        }
        self.warnings.extend(lines_once(told).into_iter().map(|line| Warning::new(&object, line)));
        Ok(())
    }

    /// Names what was looked at with a stand-in for something of the application's own.
    fn tell_of_stand_ins(&mut self) -> rusqlite::Result<()> {
        if self.stand_ins.is_empty() {
            return Ok(());
        }
        let mut statement = self.connection.prepare(
            "select type, name, lower(sql) from sqlite_schema where type in ('table', 'index') order by 2",
        )?;
        let objects = statement.query_map([], |row| {
            Ok((text_of(row.get_ref(0)?), text_of(row.get_ref(1)?), text_of(row.get_ref(2)?)))
        })?;
        for object in objects {
            let (kind, name, sql) = object?;
            for (lacking, own) in &self.stand_ins {
                if !sql.contains(&own.to_ascii_lowercase()) {
                    continue;
                }
                let message = match lacking {
                    Lacking::Collation => format!(
                        "its rows are there, but their order was not checked: the collation `{own}` is not one of SQLite's"
                    ),
                    Lacking::Function => format!(
                        "what the function `{own}` computes was not checked: it is not one of SQLite's"
                    ),
                };
                self.warnings.push(Warning::new(format!("{kind} `{name}`"), message));
            }
        }
        Ok(())
    }

    fn count_rows(&mut self) -> rusqlite::Result<Vec<TableRows>> {
        let mut counted = Vec::new();
        for position in 0..self.tables.len() {
            let (table, sql) = {
                let entry = &self.tables[position];
                (entry.name.clone(), format!("select count(*) from {}", entry.quoted()))
            };
            if table.starts_with("sqlite_") {
                continue;
            }
            let rows = loop {
                match self.connection.query_row(&sql, [], |row| row.get::<_, i64>(0)) {
                    Ok(rows) => break u64::try_from(rows).ok(),
                    Err(error) if self.tables[position].module.is_none() && is_damage(&error) => {
                        return Err(error);
                    }
                    Err(error) if self.stand_in(&error)? => {}
                    Err(_) => break None,
                }
            };
            counted.push(TableRows { table, rows });
        }
        Ok(counted)
    }
}

/// The SQL that builds an index of texts anew.
fn rebuild(entry: &Entry) -> String {
    let quoted = entry.quoted();
    format!("insert into {quoted}({quoted}) values('rebuild')")
}

/// What SQLite's check of the trees says begins like this; whatever does is damage.
fn is_structural(line: &str) -> bool {
    line.starts_with("*** in database ")
}

/// Lines that are the same are said once.
fn lines_once(lines: Vec<String>) -> Vec<String> {
    let mut once: Vec<(String, usize)> = Vec::new();
    for line in lines {
        match once.iter_mut().find(|(known, _)| *known == line) {
            Some((_, times)) => *times += 1,
            None => once.push((line, 1)),
        }
    }
    let more = once.len().saturating_sub(ENOUGH);
    let say = |(line, times): (String, usize)| match times {
        1 => line,
        100.. => format!("{line} (in 100 rows or more)"),
        times => format!("{line} (in {times} rows)"),
    };
    let mut said: Vec<String> = once.into_iter().take(ENOUGH).map(say).collect();
    if more > 0 {
        said.push(format!("{more} more of SQLite's messages were left out"));
    }
    said
}

fn read_dangling(connection: &Connection, pragma: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(pragma)?;
    let dangling = statement.query_map([], |row| {
        let (table, row_id, parent) =
            (text_of(row.get_ref(0)?), row.get::<_, Option<i64>>(1)?, text_of(row.get_ref(2)?));
        let row_id = row_id.map_or(String::new(), |id| format!(" row {id}"));
        Ok(format!("`{table}`{row_id} refers to a row of `{parent}` that does not exist"))
    })?;
    dangling.take(ENOUGH).collect()
}

/// The module that a virtual table names, in lower case.
fn module_of(sql: &str) -> Option<String> {
    let lower = sql.to_ascii_lowercase();
    let rest = lower.trim_start().strip_prefix("create")?.trim_start().strip_prefix("virtual")?;
    // The name of the table may hold anything in quotes; the word that counts stands outside of them.
    let (mut quote, mut outside) = (None, String::new());
    for c in rest.chars() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '`' | '\'') => quote = Some(c),
            None if c == '[' => quote = Some(']'),
            None => outside.push(c),
        }
        if quote.is_some() && outside.split_whitespace().any(|word| word == "using") {
            break;
        }
    }
    let mut words = outside.split(|c: char| c.is_whitespace() || c == '(').filter(|word| !word.is_empty());
    words.find(|word| *word == "using")?;
    Some(words.next().unwrap_or_default().to_owned())
}

/// What SQLite says that it lacks, if that is what it says.
fn what_is_lacking(said: &str) -> Option<(Lacking, String)> {
    let after = |words: &str| said.find(words).map(|at| said[at + words.len()..].trim());
    let whole =
        |rest: &str| rest.split(" in ").next().unwrap_or(rest).trim_end_matches("()").trim().to_owned();
    if let Some(rest) = after("no such collation sequence:") {
        return Some((Lacking::Collation, whole(rest)));
    }
    let rest = after("no such function:").or_else(|| after("unknown function:"))?;
    Some((Lacking::Function, whole(rest)))
}

/// What SQLite says, without the code.
fn reason_of(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(said)) => said.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        error if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => "it is damaged".to_owned(),
        error => error.to_string(),
    }
}

/// Text as it is; what is no text in the encoding that it claims is shown as far as it can be.
fn text_of(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Integer(number) => number.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_whatever_the_table_is_called() {
        let module = |sql: &str| module_of(sql);
        assert_eq!(module("CREATE VIRTUAL TABLE f USING fts5(a)").as_deref(), Some("fts5"));
        assert_eq!(
            module("create virtual table \"using x\" using FTS4(a, content='d')").as_deref(),
            Some("fts4")
        );
        assert_eq!(module("CREATE VIRTUAL TABLE IF NOT EXISTS [a b] using rtree").as_deref(), Some("rtree"));
        assert_eq!(module("CREATE TABLE f (a) -- using fts5"), None);
    }

    #[test]
    fn what_sqlite_lacks_is_taken_from_what_it_says() {
        let lacking = |said: &str| what_is_lacking(said).map(|(_, name)| name);
        assert_eq!(lacking("no such collation sequence: u in pragma x at offset 3").as_deref(), Some("u"));
        assert_eq!(lacking("unknown function: own()").as_deref(), Some("own"));
        assert_eq!(lacking("no such function: own").as_deref(), Some("own"));
        assert_eq!(lacking("database disk image is malformed"), None);
    }
}
