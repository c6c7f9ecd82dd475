//! A plain SQL dump as it streams by: which part of it is SQL and which is data, how many rows each table has, and
//! whether it is whole.
//!
//! Only what pg_dump itself writes is understood. Data is recognised by the comment that pg_dump puts in front of it
//! (`-- Data for Name: …; Type: TABLE DATA; …`), so that a line of a function's body is not taken for it.

use std::collections::BTreeMap;

use memchr::memmem::Finder;

/// A line of SQL that is longer than this comes in pieces.
const LONGEST_LINE: usize = 256 << 10;

/// A piece of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A line of SQL with its end.
    Line(&'a [u8]),
    /// A piece of a very long line.
    PartOfLine(&'a [u8]),
    /// Rows of the table that the last line named, and at their end the line `\.`.
    Data(&'a [u8]),
}

impl<'a> Piece<'a> {
    /// Its bytes.
    pub(super) fn bytes(self) -> &'a [u8] {
        match self {
            Piece::Line(bytes) | Piece::PartOfLine(bytes) | Piece::Data(bytes) => bytes,
        }
    }
}

/// Tells SQL from data.
pub(super) struct Splitter {
    carry: Vec<u8>,
    is_long: bool,
    announced: bool,
    /// The last bytes of data; `None` outside of data.
    tail: Option<Vec<u8>>,
    end_of_data: Finder<'static>,
}

const END_OF_DATA: &[u8] = b"\n\\.\n";

impl Splitter {
    pub(super) fn new() -> Self {
        Splitter {
            carry: Vec::new(),
            is_long: false,
            announced: false,
            tail: None,
            end_of_data: Finder::new(END_OF_DATA),
        }
    }

    /// Takes the next bytes of a dump.
    pub(super) fn feed(&mut self, mut bytes: &[u8], take: &mut dyn FnMut(Piece<'_>)) {
        while !bytes.is_empty() {
            let used = match self.tail.take() {
                Some(tail) => self.data(tail, bytes, take),
                None => self.sql(bytes, take),
            };
            bytes = &bytes[used..];
        }
    }

    fn data(&mut self, tail: Vec<u8>, bytes: &[u8], take: &mut dyn FnMut(Piece<'_>)) -> usize {
        // The end may lie across the seam.
        let seam: Vec<u8> = tail.iter().chain(bytes.iter().take(3)).copied().collect();
        let across = self.end_of_data.find(&seam).filter(|at| *at < tail.len());
        let end = match across {
            Some(at) => Some(at + END_OF_DATA.len() - tail.len()),
            None => self.end_of_data.find(bytes).map(|at| at + END_OF_DATA.len()),
        };
        let used = end.unwrap_or(bytes.len());
        take(Piece::Data(&bytes[..used]));
        if end.is_none() {
            let whole: Vec<u8> =
                tail.iter().chain(&bytes[bytes.len().saturating_sub(3)..]).copied().collect();
            self.tail = Some(whole[whole.len().saturating_sub(3)..].to_vec());
        }
        used
    }

    fn sql(&mut self, bytes: &[u8], take: &mut dyn FnMut(Piece<'_>)) -> usize {
        let end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
        let used = end.unwrap_or(bytes.len());
        if self.is_long || self.carry.len() + used > LONGEST_LINE {
            if !self.carry.is_empty() {
                take(Piece::PartOfLine(&std::mem::take(&mut self.carry)));
            }
            take(Piece::PartOfLine(&bytes[..used]));
            self.is_long = end.is_none();
            self.announced = false;
        } else if end.is_none() {
            self.carry.extend_from_slice(bytes);
        } else if self.carry.is_empty() {
            self.line(&bytes[..used], take);
        } else {
            let mut line = std::mem::take(&mut self.carry);
            line.extend_from_slice(&bytes[..used]);
            self.line(&line, take);
        }
        used
    }

    fn line(&mut self, line: &[u8], take: &mut dyn FnMut(Piece<'_>)) {
        take(Piece::Line(line));
        if line.starts_with(b"-- Data for Name: ") {
            self.announced = true;
        } else if self.announced && line.starts_with(b"COPY ") && line.ends_with(b" FROM stdin;\n") {
            self.announced = false;
            // What comes next is the beginning of a line.
            self.tail = Some(b"\n".to_vec());
        } else if !line.starts_with(b"--") && line != b"\n" {
            self.announced = false;
        }
    }

    /// What is left after the last byte.
    pub(super) fn finish(&mut self, take: &mut dyn FnMut(Piece<'_>)) {
        if !self.carry.is_empty() {
            take(Piece::Line(&std::mem::take(&mut self.carry)));
        }
    }

    fn is_in_data(&self) -> bool {
        self.tail.is_some()
    }
}

/// Schema and name of a table.
pub(super) type TableName = (String, String);

/// What a dump was seen to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Rows by table.
    pub(super) rows: BTreeMap<TableName, u64>,
    /// Whether it ends as pg_dump ends a dump.
    pub(super) is_whole: bool,
    /// The statement that creates its database.
    pub(super) create_database: Option<String>,
}

/// Counts the rows in a dump.
pub(super) struct Counter {
    splitter: Splitter,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    held: Held,
    current: Option<TableName>,
    rows: u64,
}

impl Counter {
    pub(super) fn new() -> Self {
        Counter { splitter: Splitter::new(), tally: Tally::default() }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let tally = &mut self.tally;
        self.splitter.feed(bytes, &mut |piece| tally.take(piece));
    }

    pub(super) fn finish(mut self) -> Held {
        let in_data = self.splitter.is_in_data();
        let tally = &mut self.tally;
        self.splitter.finish(&mut |piece| tally.take(piece));
        self.tally.close();
        let mut held = self.tally.held;
        held.is_whole &= !in_data;
        held
    }
}

impl Tally {
    fn take(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Data(rows) => self.rows += memchr::memchr_iter(b'\n', rows).count() as u64,
            Piece::PartOfLine(_) => self.held.is_whole = false,
            Piece::Line(line) => {
                self.close();
                if line.starts_with(b"CREATE DATABASE ") && self.held.create_database.is_none() {
                    self.held.create_database = Some(String::from_utf8_lossy(line).into_owned());
                } else if line.starts_with(b"COPY ") {
                    self.current = table_of(line);
                } else if line == b"-- PostgreSQL database dump complete\n" {
                    self.held.is_whole = true;
                } else if !(line.starts_with(b"--") || line.starts_with(b"\\unrestrict ") || line == b"\n") {
                    self.held.is_whole = false;
                }
            }
        }
    }

    /// The line that ends the data is no row.
    fn close(&mut self) {
        if self.rows > 0 {
            if let Some(table) = self.current.take() {
                *self.held.rows.entry(table).or_default() += self.rows - 1;
            }
            self.rows = 0;
        }
    }
}

/// `COPY public."Odd ""name""" (…) FROM stdin;`
fn table_of(line: &[u8]) -> Option<TableName> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix("COPY ")?;
    let (schema, rest) = identifier(text)?;
    let (name, _) = identifier(rest.strip_prefix('.')?)?;
    Some((schema, name))
}

/// An identifier at the beginning of `text`, and what follows it.
pub(super) fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return Some((name, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\nCREATE FUNCTION f() AS $$\nCOPY public.lie (a) FROM stdin;\n\
        1\n\\.\n$$;\n--\n-- Data for Name: users; Type: TABLE DATA; Schema: public; Owner: me\n--\n\n\
        COPY public.users (id, name) FROM stdin;\n1\ta\n2\t\\\\.\n3\tc\n\\.\n\n\n\
        --\n-- Data for Name: Odd \"x\"; Type: TABLE DATA; Schema: S s; Owner: me\n--\n\n\
        COPY \"S s\".\"Odd \"\"x\"\"\" (id) FROM stdin;\n\\.\n\n\
        --\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n";

    #[test]
    fn rows_are_counted_wherever_the_stream_is_cut_into_pieces() {
        for size in [1, 2, 3, 4, 5, 7, 64, DUMP.len()] {
            let mut counter = Counter::new();
            DUMP.as_bytes().chunks(size).for_each(|piece| counter.feed(piece));
            let held = counter.finish();
            assert!(held.is_whole, "{size}");
            let rows: Vec<_> = held
                .rows
                .iter()
                .map(|((schema, name), rows)| (schema.as_str(), name.as_str(), *rows))
                .collect();
            assert_eq!(rows, [("S s", "Odd \"x\"", 0), ("public", "users", 3)], "{size}");
        }
    }

    #[test]
    fn a_dump_that_was_cut_off_anywhere_is_not_whole() {
        let end = DUMP.find("-- PostgreSQL database dump complete\n").unwrap() + 37;
        for cut in 0..end {
            let mut counter = Counter::new();
            counter.feed(&DUMP.as_bytes()[..cut]);
            assert!(!counter.finish().is_whole, "{cut}");
        }
    }

    #[test]
    fn nothing_is_lost_or_changed_on_the_way() {
        for size in [1, 3, 10, DUMP.len()] {
            let (mut splitter, mut out) = (Splitter::new(), Vec::new());
            let mut take = |piece: Piece<'_>| out.extend_from_slice(piece.bytes());
            DUMP.as_bytes().chunks(size).for_each(|piece| splitter.feed(piece, &mut take));
            splitter.finish(&mut take);
            assert_eq!(String::from_utf8(out).unwrap(), DUMP);
        }
    }
}
