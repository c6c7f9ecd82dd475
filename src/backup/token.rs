//! The statements of a SQL script as tokens, and a cursor that walks over them.

use std::ops::Range;

use crate::postgres::RawText;

/// What a token of a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A keyword, or an identifier without quotes.
    Word,
    /// An identifier in double quotes.
    Quoted,
    /// A string of any kind.
    Text,
    /// A number.
    Number,
    /// A character of its own.
    Symbol,
}

/// A token: its kind, and where it stands in the text of its statement.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Range<usize>,
}

/// A statement: its text, without the comments before it and without its semicolon, and its tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Statement<'a> {
    pub(super) text: &'a [u8],
    pub(super) tokens: &'a [Token],
}

/// What a database consists of, as `CREATE` and `ALTER` name it.
pub(super) const KINDS: [&str; 33] = [
    "schema",
    "language",
    "collation",
    "type",
    "domain",
    "cast",
    "conversion",
    "function",
    "procedure",
    "aggregate",
    "operator",
    "access method",
    "table",
    "foreign table",
    "foreign data wrapper",
    "server",
    "user mapping",
    "view",
    "recursive view",
    "materialized view",
    "sequence",
    "index",
    "trigger",
    "rule",
    "policy",
    "publication",
    "subscription",
    "statistics",
    "text search",
    "transform",
    "large object",
    "extension",
    "event trigger",
];

/// Words that may stand before the kind.
const BEFORE_KIND: [&str; 9] =
    ["or", "replace", "unlogged", "unique", "trusted", "procedural", "constraint", "default", "only"];

/// Walks over the tokens of a statement.
pub(super) struct Cursor<'a> {
    pub(super) statement: &'a Statement<'a>,
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn token(&self) -> Option<&'a Token> {
        self.statement.tokens.get(self.at)
    }

    /// The word that stands here, in lower case.
    pub(super) fn peek(&self) -> Option<String> {
        word_of(self.statement, self.token()?)
    }

    pub(super) fn next(&mut self) -> Option<String> {
        let word = self.peek();
        self.at += usize::from(word.is_some());
        word
    }

    /// Passes over these words, if they all stand here.
    pub(super) fn skip(&mut self, words: &str) -> bool {
        let start = self.at;
        for word in words.split(' ') {
            if self.peek().as_deref() != Some(word) {
                self.at = start;
                return false;
            }
            self.at += 1;
        }
        true
    }

    pub(super) fn skip_symbol(&mut self, symbol: u8) -> bool {
        let is_there = self.token().is_some_and(|token| is_symbol(self.statement, token, symbol));
        self.at += usize::from(is_there);
        is_there
    }

    /// An identifier, and where it stands.
    pub(super) fn identifier(&mut self) -> Option<(String, Range<usize>)> {
        let token = self.token()?;
        // A name that is not UTF-8 is one all the same.
        let text = RawText::from(self.statement.text.get(token.span.clone())?).into_string();
        let name = match token.kind {
            TokenKind::Word => text,
            TokenKind::Quoted => text[1..text.len() - 1].replace("\"\"", "\""),
            _ => return None,
        };
        self.at += 1;
        Some((name, token.span.clone()))
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.statement.tokens.len()
    }
}

pub(super) fn word_of(statement: &Statement<'_>, token: &Token) -> Option<String> {
    if token.kind != TokenKind::Word {
        return None;
    }
    Some(String::from_utf8_lossy(&statement.text[token.span.clone()]).to_ascii_lowercase())
}

pub(super) fn is_symbol(statement: &Statement<'_>, token: &Token, symbol: u8) -> bool {
    token.kind == TokenKind::Symbol && statement.text[token.span.clone()] == [symbol]
}

/// Whether these words stand next to each other somewhere outside of brackets; where the next token is.
pub(super) fn find_words(statement: &Statement<'_>, words: &[&str]) -> Option<usize> {
    let mut depth = 0_u32;
    for (at, token) in statement.tokens.iter().enumerate() {
        if is_symbol(statement, token, b'(') {
            depth += 1;
        } else if is_symbol(statement, token, b')') {
            depth = depth.saturating_sub(1);
        }
        let is_here = |(offset, word): (usize, &&str)| {
            let token = statement.tokens.get(at + offset);
            token.and_then(|token| word_of(statement, token)).as_deref() == Some(*word)
        };
        if depth == 0 && words.iter().enumerate().all(is_here) {
            return Some(at + words.len());
        }
    }
    None
}

/// Whether rows follow the statement.
pub(super) fn has_rows(statement: &Statement<'_>) -> bool {
    let first = statement.tokens.first().and_then(|token| word_of(statement, token));
    first.as_deref() == Some("copy") && find_words(statement, &["from", "stdin"]).is_some()
}

/// The kind of object that stands here.
pub(super) fn parse_kind(cursor: &mut Cursor<'_>) -> Option<&'static str> {
    while cursor.peek().is_some_and(|word| BEFORE_KIND.contains(&word.as_str())) {
        cursor.at += 1;
    }
    // The longer one first: `foreign data wrapper`, `event trigger`, `text search`.
    let mut kinds = KINDS;
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.len()));
    kinds.into_iter().find(|kind| cursor.skip(kind))
}

/// Schema and name of a table.
pub(super) type TableName = (String, String);

/// The beginning of a text, for a message.
pub(super) fn excerpt(text: &[u8]) -> String {
    let whole = String::from_utf8_lossy(text);
    let line: String = whole.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut cut: String = line.chars().take(60).flat_map(escape_char).collect();
    if line.chars().count() > 60 {
        cut.push('…');
    }
    cut
}

/// A character as it is shown; quotes stand for themselves.
fn escape_char(c: char) -> impl Iterator<Item = char> {
    let is_quote = ['"', '\''].contains(&c);
    is_quote.then_some(c).into_iter().chain(c.escape_debug().filter(move |_| !is_quote))
}
