//! What a dump holds, and whether it may be loaded: read through once, statement by statement.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::roles::note_roles;
use super::sql_lexer::{Lexer, Piece};
use super::statement::{self, Step};
use super::token::{Statement, TableName, excerpt};

/// What a dump was seen to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Roles that it names.
    pub(super) roles: BTreeSet<String>,
    /// Rows by table.
    pub(super) rows: BTreeMap<TableName, u64>,
    /// Whether it ends as pg_dump ends a dump.
    pub(super) is_whole: bool,
    /// The statement that creates its database.
    pub(super) create_database: Option<String>,
    /// Why it is not loaded: what no dump of one database holds.
    pub(super) refusals: Vec<String>,
    /// Whether it creates anything, a table that has rows of its own among it, and whether it has rows for one.
    definitions: Definitions,
    has_rows: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Definitions {
    #[default]
    Absent,
    Other,
    Tables,
}

impl Held {
    /// Which half of a database is missing, if one is. pg_dump has a section for the rows of every table, an empty one too.
    pub(super) fn missing_half(&self) -> Option<String> {
        match (self.definitions, self.has_rows) {
            (Definitions::Tables, false) => {
                Some("it holds definitions but no rows, like a dump made with `--schema-only`".to_owned())
            }
            (Definitions::Absent, true) => {
                Some("it holds rows but no definitions, like a dump made with `--data-only`".to_owned())
            }
            _ => None,
        }
    }

    fn note_definition(&mut self, statement: &Statement<'_>) {
        let Some(what) = statement.text.strip_prefix(b"CREATE ") else { return };
        if what.starts_with(b"DATABASE ") {
            return;
        }
        let is_partitioned = || memchr::memmem::find(what, b"PARTITION BY").is_some();
        let found = match what.starts_with(b"TABLE ") && !is_partitioned() {
            true => Definitions::Tables,
            false => Definitions::Other,
        };
        self.definitions = self.definitions.max(found);
    }
}

/// Reads a dump through: counts its rows, and looks whether it holds only what a dump of one database holds.
pub(super) struct Reader {
    lexer: Lexer,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    held: Held,
    gate: Gate,
    current: Option<TableName>,
    rows: u64,
}

/// So many refusals are told; more would say nothing else.
const TOLD: usize = 3;

impl Reader {
    pub(super) fn new() -> Self {
        Reader { lexer: Lexer::new(), tally: Tally::default() }
    }

    /// Takes the next bytes; what cannot be read is the last that is looked at.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let tally = &mut self.tally;
        if !tally.gate.is_shut
            && let Err(error) = self.lexer.feed(bytes, &mut |piece| tally.take(piece))
        {
            tally.refuse(error.to_string());
            tally.gate.is_shut = true;
        }
    }

    pub(super) fn finish(mut self) -> Held {
        let may_end = self.lexer.is_between_statements();
        let tally = &mut self.tally;
        let _ = self.lexer.finish(&mut |piece| tally.take(piece));
        let mut held = self.tally.held;
        held.is_whole &= may_end;
        held
    }
}

impl Tally {
    fn refuse(&mut self, why: String) {
        if self.held.refusals.len() < TOLD && !self.held.refusals.contains(&why) {
            self.held.refusals.push(why);
        }
    }

    fn take(&mut self, piece: Piece<'_>) -> io::Result<()> {
        match piece {
            Piece::Comment(text) => {
                if text == b" PostgreSQL database dump complete" {
                    self.held.is_whole = true;
                }
                self.held.has_rows |= text.starts_with(b" Data for Name: ");
            }
            Piece::Data(rows) => self.rows += memchr::memchr_iter(b'\n', rows).count() as u64,
            Piece::EndOfData => {
                if let Some(table) = self.current.take() {
                    *self.held.rows.entry(table).or_default() += self.rows;
                }
                self.rows = 0;
            }
            Piece::Command(_) | Piece::Statement(_) => {
                if !matches!(piece, Piece::Command(line) if line.starts_with(b"\\unrestrict ")) {
                    self.held.is_whole = false;
                }
                if let Piece::Statement(statement) = &piece {
                    note_roles(statement, &mut self.held.roles);
                    self.held.note_definition(statement);
                }
                match self.gate.admit(piece) {
                    Err(why) => self.refuse(why),
                    Ok(Some(Step::Copy(table))) => {
                        self.held.has_rows = true;
                        self.current = Some(table);
                    }
                    Ok(Some(Step::Rows(table, rows))) => {
                        self.held.has_rows = true;
                        *self.held.rows.entry(table).or_default() += rows;
                    }
                    Ok(Some(Step::CreateDatabase(statement))) => {
                        self.held.create_database = Some(statement);
                    }
                    Ok(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// Whether somebody vouches for what a script says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Trust {
    /// Nobody: what no dump holds is refused.
    #[default]
    Nobody,
    /// A seal, or whoever asks for the restore.
    Vouched,
}

/// Decides what of a dump is let through. It is the same for whoever looks at a dump and for whoever loads it.
#[derive(Default)]
pub(super) struct Gate {
    trust: Trust,
    /// Something other than the database itself was spoken of.
    is_past_head: bool,
    /// The script could not be read any further.
    is_shut: bool,
}

impl Gate {
    pub(super) fn new(trust: Trust) -> Self {
        Gate { trust, ..Gate::default() }
    }

    /// What a statement does, or `None` for a line that is left out; an error says why the dump is refused.
    pub(super) fn admit(&mut self, piece: Piece<'_>) -> Result<Option<Step>, String> {
        match piece {
            Piece::Statement(statement) if !self.is_past_head && statement::is_removal(&statement) => {
                Ok(None)
            }
            Piece::Statement(statement) => {
                let step = match (statement::step_of(&statement), self.trust) {
                    (Err(_), Trust::Vouched) => Step::Definition,
                    (step, _) => step?,
                };
                match step {
                    Step::Database(_) | Step::Session | Step::Setting | Step::Encoding(_) => {}
                    Step::CreateDatabase(_) | Step::DropDatabase if self.is_past_head => {
                        return Err("it creates or drops a database".to_owned());
                    }
                    Step::CreateDatabase(_) | Step::DropDatabase => {}
                    _ => self.is_past_head = true,
                }
                Ok(Some(step))
            }
            Piece::Command(line) if statement::is_of_pg_dump(line, self.is_past_head) => Ok(None),
            Piece::Command(line) => Err(format!("it holds a command for psql: `{}`", excerpt(line))),
            Piece::Data(_) | Piece::EndOfData | Piece::Comment(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\nSET standard_conforming_strings = on;\n\
        CREATE DATABASE app WITH TEMPLATE = template0;\n\\connect app\n\nCOMMENT ON DATABASE app IS 'a\n\\connect b\n\\! c';\n\
        CREATE FUNCTION f() AS $_$\n-- Data for Name: users; Type: TABLE DATA\n\nCOPY public.lie (a) FROM stdin;\n\
        1\n\\.\n$_$;\n--\n-- Data for Name: users; Type: TABLE DATA; Schema: public; Owner: me\n--\n\n\
        COPY public.users (id, name) FROM stdin;\n1\ta\n2\t\\\\.\n\\\\.\n3\t;drop '\"$$\n\\.\n\n\n\
        --\n-- Data for Name: a; Type: DATABASE; Schema: x\n--\n\n\
        COPY \"S s\".\"Odd \"\"x\"\"\" (id, \"a)b\") FROM stdin;\n\\.\n\n\
        --\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n";

    fn read(text: &[u8], size: usize) -> Held {
        let mut reader = Reader::new();
        text.chunks(size).for_each(|piece| reader.feed(piece));
        reader.finish()
    }

    #[test]
    fn rows_are_counted_wherever_the_stream_is_cut_into_pieces() {
        for size in [1, 2, 3, 4, 5, 7, 64, DUMP.len()] {
            let held = read(DUMP.as_bytes(), size);
            assert!(held.is_whole, "{size}");
            assert_eq!(held.refusals, Vec::<String>::new(), "{size}");
            assert_eq!(held.create_database.as_deref(), Some(" WITH TEMPLATE = template0"));
            let rows: Vec<_> = held
                .rows
                .iter()
                .map(|((schema, name), rows)| (schema.as_str(), name.as_str(), *rows))
                .collect();
            assert_eq!(rows, [("S s", "Odd \"x\"", 0), ("public", "users", 4)], "{size}");
        }
    }

    #[test]
    fn a_dump_that_was_cut_off_anywhere_is_not_whole() {
        let end = DUMP.find("-- PostgreSQL database dump complete\n").unwrap() + 36;
        for cut in 0..end {
            assert!(!read(&DUMP.as_bytes()[..cut], DUMP.len()).is_whole, "{cut}");
        }
    }

    #[test]
    fn the_name_of_a_database_may_hold_anything() {
        let simple = "\\connect app\n";
        assert!(DUMP.contains(simple));
        for name in ["my-app", "A b", "a=b", "x\\'y"] {
            let complex = format!("\\encoding SQL_ASCII\n\\connect -reuse-previous=on \"dbname='{name}'\"\n");
            let held = read(DUMP.replace(simple, &complex).as_bytes(), 7);
            assert_eq!(held.refusals, Vec::<String>::new(), "{name}");
            let other = complex.replace("SQL_ASCII", "SJIS");
            assert!(!read(DUMP.replace(simple, &other).as_bytes(), 7).refusals.is_empty(), "{name}");
        }
    }

    #[test]
    fn commands_for_psql_are_refused_wherever_they_stand() {
        let at = DUMP.find("\n--\n-- Data").unwrap() + 1;
        for command in [
            "\\! touch x",
            "\\unrestrict `touch x`",
            "\\restrict a\\! touch x",
            "\\restrict :x",
            "\\connect other",
            "\\encoding SQL_ASCII",
            "\\encoding SJIS",
            "\\c other",
            "\\o |sh",
            "\\copy t to program 'sh'",
            "\\i /etc/passwd",
            "\\gexec",
            "\\set x y",
            "\\setenv A b",
            "\\if true",
            "\\",
            "\\.",
            "  \\! touch x",
            "\\\\! touch x",
            "/* */ \\! touch x",
        ] {
            let script = format!("{}{command}\n{}", &DUMP[..at], &DUMP[at..]);
            for size in [1, script.len()] {
                let held = read(script.as_bytes(), size);
                assert!(!held.refusals.is_empty(), "{command}");
            }
        }
    }
}
