//! A SQL script as it streams by: its statements, its data, and what is addressed to psql and not to the server.
//!
//! The text is read as the server reads it (PostgreSQL documentation, "Lexical Structure"): strings, quoted identifiers,
//! dollar quotes, comments that nest, and the bodies of SQL functions. Comments are never taken for structure: whatever
//! pg_dump writes into one may hold the name of an object, and names may hold anything. What could be read in two ways
//! is refused, for whoever decides by what a script says must read what the server will.

use std::io;

use memchr::memmem::Finder;

use super::token::{Statement, Token, TokenKind, has_rows};

/// No statement that pg_dump writes is longer; rows are not statements.
const LONGEST_STATEMENT: usize = 256 << 20;
/// Enough for a view over everything, and a bound for what is remembered of a statement.
const MOST_TOKENS: usize = 4 << 20;
/// Of a comment only its beginning is kept.
const KEPT_OF_COMMENT: usize = 256;

/// A piece of a script.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece<'a> {
    /// A whole statement.
    Statement(Statement<'a>),
    /// Rows of the table that the `COPY` before them names.
    Data(&'a [u8]),
    /// The rows are complete.
    EndOfData,
    /// A line for psql, from its backslash on.
    Command(&'a [u8]),
    /// The beginning of a comment that stands between two statements, without its dashes.
    Comment(&'a [u8]),
}

/// Hears what a script holds.
pub(crate) type Take<'a> = dyn FnMut(Piece<'_>) -> io::Result<()> + 'a;

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Plain,
    Word,
    Number,
    /// After one `-` or `/`, which may begin a comment.
    Dash,
    Slash,
    LineComment,
    /// How deep comments are nested, and the byte before.
    BlockComment(u32, u8),
    /// In a string, which may hold escapes.
    Text(bool),
    /// After a backslash in it.
    Escaped,
    /// After a quote in it, which may be its end or stand for itself.
    TextQuote(bool),
    Quoted,
    QuotedQuote,
    /// After a `$` that may begin a dollar quote; where it stands.
    DollarTag(usize),
    /// In a dollar quote: where its body begins, and its tag with both dollars.
    Dollar(usize, Vec<u8>),
    Command,
    /// After the semicolon of a `COPY` whose rows follow.
    BeforeData,
    /// In rows: how much of the line that ends them was seen at the beginning of a line; `None` within a line.
    Data(Option<usize>),
}

const END_OF_DATA: &[u8] = b"\\.\n";

/// Takes a script apart.
pub(crate) struct Lexer {
    state: State,
    text: Vec<u8>,
    tokens: Vec<Token>,
    /// Where the token began that is being read.
    begun_at: usize,
    /// Open brackets.
    depth: u32,
    /// Open `BEGIN ATOMIC` and `CASE` of a SQL function's body.
    blocks: u32,
    comment: Vec<u8>,
    /// The last token was a string with escapes, which a string in the next line would go on.
    after_escapes: bool,
    line_that_may_end: Finder<'static>,
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

impl Lexer {
    pub(crate) fn new() -> Self {
        Lexer {
            state: State::Plain,
            text: Vec::new(),
            tokens: Vec::new(),
            begun_at: 0,
            depth: 0,
            blocks: 0,
            comment: Vec::new(),
            after_escapes: false,
            line_that_may_end: Finder::new(b"\n\\."),
        }
    }

    /// Takes the next bytes of a script.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], take: &mut Take<'_>) -> io::Result<()> {
        while !bytes.is_empty() {
            let used = match self.state {
                State::Data(_) => self.read_data(bytes, take)?,
                State::Text(escapes) => self.read_until(bytes, |rest| match escapes {
                    true => memchr::memchr2(b'\'', b'\\', rest),
                    false => memchr::memchr(b'\'', rest),
                }),
                State::Quoted => self.read_until(bytes, |rest| memchr::memchr(b'"', rest)),
                State::Dollar(..) => self.read_until(bytes, |rest| memchr::memchr(b'$', rest)),
                _ => 0,
            };
            bytes = &bytes[used..];
            if let (Some(&byte), false) = (bytes.first(), matches!(self.state, State::Data(_))) {
                self.read_byte(byte, take)?;
                bytes = &bytes[1..];
            }
            if self.text.len() > LONGEST_STATEMENT || self.tokens.len() > MOST_TOKENS {
                return Err(invalid("the script holds a statement that is longer than any of a dump"));
            }
        }
        Ok(())
    }

    /// Whether the script may end here.
    pub(super) fn is_between_statements(&self) -> bool {
        self.text.is_empty() && matches!(self.state, State::Plain | State::LineComment | State::Command)
    }

    /// What is left after the last byte.
    pub(crate) fn finish(&mut self, take: &mut Take<'_>) -> io::Result<()> {
        match self.state {
            State::LineComment | State::Command => self.read_byte(b'\n', take),
            _ => Ok(()),
        }
    }

    fn read_until(&mut self, bytes: &[u8], find: impl Fn(&[u8]) -> Option<usize>) -> usize {
        let end = find(bytes).unwrap_or(bytes.len());
        self.text.extend_from_slice(&bytes[..end]);
        end
    }

    fn read_byte(&mut self, byte: u8, take: &mut Take<'_>) -> io::Result<()> {
        if byte == 0 {
            return Err(invalid("the script holds a zero byte"));
        }
        match &mut self.state {
            State::Plain => return self.read_plain(byte, take),
            State::Word if is_word_byte(byte) => self.text.push(byte),
            State::Word => {
                self.end_token(TokenKind::Word);
                self.follow_body();
                return self.read_plain(byte, take);
            }
            State::Number if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.') => {
                self.text.push(byte);
            }
            // `1e'…'` and `1$a$` are read differently by different versions.
            State::Number if is_word_byte(byte) || matches!(byte, b'\'' | b'"') => {
                return Err(invalid("the script holds a quote that follows a number"));
            }
            State::Number => {
                self.end_token(TokenKind::Number);
                return self.read_plain(byte, take);
            }
            State::Dash if byte == b'-' => {
                self.state = State::LineComment;
                self.comment.clear();
                if !self.text.is_empty() {
                    self.text.extend_from_slice(b"--");
                }
            }
            State::Slash if byte == b'*' => {
                self.state = State::BlockComment(1, 0);
                if !self.text.is_empty() {
                    self.text.extend_from_slice(b"/*");
                }
            }
            State::Dash => return self.read_after_symbol(b'-', byte, take),
            State::Slash => return self.read_after_symbol(b'/', byte, take),
            State::LineComment => {
                let is_end = matches!(byte, b'\n' | b'\r');
                if !self.text.is_empty() {
                    self.text.push(byte);
                } else if !is_end && self.comment.len() < KEPT_OF_COMMENT {
                    self.comment.push(byte);
                }
                if is_end {
                    self.state = State::Plain;
                    if self.text.is_empty() {
                        take(Piece::Comment(&self.comment))?;
                    }
                }
            }
            State::BlockComment(depth, before) => {
                match (*before, byte) {
                    (b'/', b'*') => (*depth, *before) = (*depth + 1, 0),
                    (b'*', b'/') => (*depth, *before) = (*depth - 1, 0),
                    _ => *before = byte,
                }
                let is_end = *depth == 0;
                if !self.text.is_empty() {
                    self.text.push(byte);
                }
                if is_end {
                    self.state = State::Plain;
                }
            }
            State::Text(escapes) => {
                let next = if byte == b'\'' { State::TextQuote(*escapes) } else { State::Escaped };
                self.text.push(byte);
                self.state = next;
            }
            State::Escaped => {
                self.text.push(byte);
                self.state = State::Text(true);
            }
            State::TextQuote(escapes) if byte == b'\'' => {
                self.state = State::Text(*escapes);
                self.text.push(byte);
            }
            State::TextQuote(escapes) => {
                let escapes = *escapes;
                self.end_token(TokenKind::Text);
                self.after_escapes = escapes;
                return self.read_plain(byte, take);
            }
            State::Quoted => {
                self.text.push(byte);
                self.state = State::QuotedQuote;
            }
            State::QuotedQuote if byte == b'"' => {
                self.text.push(byte);
                self.state = State::Quoted;
            }
            State::QuotedQuote => {
                self.end_token(TokenKind::Quoted);
                return self.read_plain(byte, take);
            }
            State::DollarTag(at) => {
                let at = *at;
                return self.read_tag(at, byte, take);
            }
            State::Dollar(body, tag) => {
                self.text.push(byte);
                if self.text[*body..].ends_with(tag) {
                    self.end_token(TokenKind::Text);
                }
            }
            State::Command if byte == b'\n' => {
                self.state = State::Plain;
                let line = std::mem::take(&mut self.comment);
                take(Piece::Command(line.strip_suffix(b"\r").unwrap_or(&line)))?;
            }
            State::Command if self.comment.len() > 4096 => {
                return Err(invalid("the script holds a very long command for psql"));
            }
            State::Command => self.comment.push(byte),
            State::BeforeData if byte == b'\n' => self.state = State::Data(Some(0)),
            State::BeforeData => return Err(invalid("the rows of a COPY do not begin in the line after it")),
            State::Data(_) => {}
        }
        Ok(())
    }

    fn read_plain(&mut self, byte: u8, take: &mut Take<'_>) -> io::Result<()> {
        let is_space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
        let goes_on = std::mem::take(&mut self.after_escapes);
        self.begun_at = self.text.len();
        self.state = State::Plain;
        match byte {
            _ if is_space => {
                self.after_escapes = goes_on;
                if !self.text.is_empty() {
                    self.text.push(byte);
                }
            }
            b'-' => (self.state, self.after_escapes) = (State::Dash, goes_on),
            b'/' => (self.state, self.after_escapes) = (State::Slash, goes_on),
            b'\'' | b'"' if self.follows_unicode_mark() => {
                return Err(invalid("the script holds a string or name with Unicode escapes"));
            }
            b'\'' if goes_on => {
                return Err(invalid("the script holds a string with escapes in several parts"));
            }
            b'\'' => {
                let escapes = self.tokens.last().is_some_and(|last| {
                    last.span.end == self.text.len()
                        && last.kind == TokenKind::Word
                        && self.text[last.span.clone()].eq_ignore_ascii_case(b"e")
                });
                self.text.push(byte);
                self.state = State::Text(escapes);
            }
            b'"' => {
                self.text.push(byte);
                self.state = State::Quoted;
            }
            b'$' => {
                self.text.push(byte);
                self.state = State::DollarTag(self.begun_at);
            }
            b'\\' if self.text.is_empty() => {
                self.comment.clear();
                self.comment.push(byte);
                self.state = State::Command;
            }
            b'\\' => return Err(invalid("the script holds a backslash within a statement")),
            b';' if self.depth == 0 && self.blocks == 0 => return self.end_statement(take),
            _ if byte.is_ascii_digit() => {
                self.text.push(byte);
                self.state = State::Number;
            }
            _ if starts_word(byte) => {
                self.text.push(byte);
                self.state = State::Word;
            }
            _ => {
                match byte {
                    b'(' => self.depth += 1,
                    b')' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
                self.text.push(byte);
                self.end_token(TokenKind::Symbol);
            }
        }
        Ok(())
    }

    /// Whether what comes next is written with Unicode escapes (`U&'…'`), behind which words could hide.
    fn follows_unicode_mark(&self) -> bool {
        let [.., mark, sign] = &self.tokens[..] else { return false };
        sign.span.end == self.text.len()
            && mark.span.end == sign.span.start
            && &self.text[sign.span.clone()] == b"&"
            && self.text[mark.span.clone()].eq_ignore_ascii_case(b"u")
    }

    /// What had looked like the beginning of a comment was none.
    fn read_after_symbol(&mut self, symbol: u8, byte: u8, take: &mut Take<'_>) -> io::Result<()> {
        self.after_escapes = false;
        self.begun_at = self.text.len();
        self.text.push(symbol);
        self.end_token(TokenKind::Symbol);
        self.read_plain(byte, take)
    }

    fn read_tag(&mut self, at: usize, byte: u8, take: &mut Take<'_>) -> io::Result<()> {
        let tag = &self.text[at + 1..];
        if byte == b'$' {
            self.text.push(byte);
            let delimiter = self.text[at..].to_vec();
            self.state = State::Dollar(self.text.len(), delimiter);
            return Ok(());
        }
        let fits = if tag.is_empty() { starts_word(byte) } else { is_word_byte(byte) };
        match (fits, tag.is_empty()) {
            (true, _) => self.text.push(byte),
            (false, true) => {
                self.end_token(TokenKind::Symbol);
                return self.read_plain(byte, take);
            }
            (false, false) => return Err(invalid("the script holds a dollar quote that is none")),
        }
        Ok(())
    }

    fn end_token(&mut self, kind: TokenKind) {
        self.tokens.push(Token { kind, span: self.begun_at..self.text.len() });
        self.state = State::Plain;
    }

    /// The semicolons in the body of a SQL function end no statement: `BEGIN ATOMIC … END`, where `CASE` has an `END` too.
    fn follow_body(&mut self) {
        let word = |token: &Token, word: &[u8]| {
            token.kind == TokenKind::Word && self.text[token.span.clone()].eq_ignore_ascii_case(word)
        };
        let Some((last, before)) = self.tokens.split_last() else { return };
        if self.blocks > 0 {
            if word(last, b"case") {
                self.blocks += 1;
            } else if word(last, b"end") {
                self.blocks -= 1;
            }
        } else if word(last, b"atomic") && before.last().is_some_and(|token| word(token, b"begin")) {
            let heads: [&[&[u8]]; 2] = [&[b"create"], &[b"create", b"or", b"replace"]];
            let is_routine = heads.iter().any(|head| {
                let is_head = self.tokens.iter().zip(*head).all(|(token, name)| word(token, name));
                let kind = self.tokens.get(head.len());
                is_head && kind.is_some_and(|kind| word(kind, b"function") || word(kind, b"procedure"))
            });
            if is_routine {
                self.blocks = 1;
            }
        }
    }

    fn end_statement(&mut self, take: &mut Take<'_>) -> io::Result<()> {
        let text = std::mem::take(&mut self.text);
        let tokens = std::mem::take(&mut self.tokens);
        (self.depth, self.blocks, self.after_escapes) = (0, 0, false);
        if tokens.is_empty() {
            return Ok(());
        }
        if memchr::memchr(0, &text).is_some() {
            return Err(invalid("the script holds a zero byte"));
        }
        let statement = Statement { text: &text, tokens: &tokens };
        self.state = if has_rows(&statement) { State::BeforeData } else { State::Plain };
        take(Piece::Statement(statement))
    }

    fn read_data(&mut self, bytes: &[u8], take: &mut Take<'_>) -> io::Result<usize> {
        if let State::Data(Some(seen)) = self.state {
            let byte = bytes[0];
            if byte == END_OF_DATA[seen] {
                if seen + 1 == END_OF_DATA.len() {
                    self.state = State::Plain;
                    take(Piece::EndOfData)?;
                } else {
                    self.state = State::Data(Some(seen + 1));
                }
                return Ok(1);
            }
            self.state = State::Data(None);
            if seen > 0 {
                take(Piece::Data(&END_OF_DATA[..seen]))?;
            }
        }
        let (end, is_line_end) = match self.line_that_may_end.find(bytes) {
            Some(at) => (at + 1, true),
            None => match memchr::memrchr(b'\n', &bytes[bytes.len().saturating_sub(2)..]) {
                // What follows may be the beginning of the line that ends the rows.
                Some(at) => (bytes.len().saturating_sub(2) + at + 1, true),
                None => (bytes.len(), false),
            },
        };
        if is_line_end {
            self.state = State::Data(Some(0));
        }
        take(Piece::Data(&bytes[..end]))?;
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The statements of a script, or why it cannot be read.
    fn statements(text: &str) -> Result<Vec<String>, String> {
        let (mut lexer, mut found) = (Lexer::new(), Vec::new());
        let mut take = |piece: Piece<'_>| {
            if let Piece::Statement(statement) = piece {
                found.push(String::from_utf8_lossy(statement.text).into_owned());
            }
            Ok(())
        };
        lexer.feed(text.as_bytes(), &mut take).map_err(|error| error.to_string())?;
        if lexer.is_between_statements() { Ok(found) } else { Err("cut off".to_owned()) }
    }

    #[test]
    fn rows_come_out_as_they_went_in() {
        let rows = "a\n\\\n.\n\\..\n\\.x\n\n\\N\nb\\\n";
        let script = format!("COPY a.b FROM stdin;\n{rows}\\.\nCOMMIT;");
        for size in 1..script.len() {
            let (mut lexer, mut out, mut ends) = (Lexer::new(), Vec::new(), 0);
            let mut take = |piece: Piece<'_>| {
                match piece {
                    Piece::Data(rows) => out.extend_from_slice(rows),
                    Piece::EndOfData => ends += 1,
                    _ => {}
                }
                Ok(())
            };
            script.as_bytes().chunks(size).for_each(|piece| lexer.feed(piece, &mut take).unwrap());
            assert_eq!((String::from_utf8(out).unwrap().as_str(), ends), (rows, 1), "{size}");
        }
    }

    #[test]
    fn statements_end_where_the_server_ends_them() {
        for (script, expected) in [
            ("select ';'; select 2;", vec!["select ';'", "select 2"]),
            ("select 'a''; b';", vec!["select 'a''; b'"]),
            ("select 'a\\'; select '';", vec!["select 'a\\'", "select ''"]),
            ("select E'a\\'; b'; x;", vec!["select E'a\\'; b'", "x"]),
            ("select \"a;\"\"b\"; x;", vec!["select \"a;\"\"b\"", "x"]),
            ("select $$;$a$;$$; x;", vec!["select $$;$a$;$$", "x"]),
            ("select $a$;$$;$b$;$a$; x;", vec!["select $a$;$$;$b$;$a$", "x"]),
            ("select a$b$; x;", vec!["select a$b$", "x"]),
            ("select $1; x;", vec!["select $1", "x"]),
            ("/* ; /* ; */ ' */ x; -- ;'\ny;", vec!["x", "y"]),
            ("a -- ;\r; b;", vec!["a -- ;\r", "b"]),
            ("a - -1; b / 2;", vec!["a - -1", "b / 2"]),
            (
                "create rule r as on insert to t do (a; b); x;",
                vec!["create rule r as on insert to t do (a; b)", "x"],
            ),
            (
                "create or replace function f() begin atomic select begin; select case when a then b end; end; x;",
                vec![
                    "create or replace function f() begin atomic select begin; select case when a then b end; end",
                    "x",
                ],
            ),
            ("begin; end; ;;", vec!["begin", "end"]),
        ] {
            assert_eq!(statements(script).unwrap(), expected, "{script}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for script in [
            "select 1E'\\'; x;",
            "select 1$a$; x; $a$;",
            "select U&'\\0041';",
            "select e'a'\n'\\'; x';",
            "select e'a' -- b\n '\\'; x';",
            "select 1 \\g |sh\n;",
            "select \\! sh\n;",
            "copy a.b from stdin; x\n\\.\n",
            "select '\0';",
        ] {
            assert!(statements(script).is_err(), "{script}");
        }
    }
}
