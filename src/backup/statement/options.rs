//! What pg_dump writes with options that lifeboat does not pass, and others do: `--clean` without `--create`, and `--inserts`.

use super::{Cursor, KINDS, Step, is_symbol, kind, word_of};
use crate::backup::script::{Statement, TokenKind};

/// Words that stand for a value by themselves.
const VALUES: [&str; 5] = ["null", "default", "true", "false", "b"];

/// `INSERT INTO public.t (…) VALUES (…), (…)`, with literals alone: nothing is called for them.
pub(super) fn rows(cursor: &mut Cursor<'_>) -> Option<Step> {
    let statement = cursor.statement;
    if !cursor.skip("into") {
        return None;
    }
    let (schema, _) = cursor.identifier()?;
    if !cursor.skip_symbol(b'.') {
        return None;
    }
    let (name, _) = cursor.identifier()?;
    if cursor.skip_symbol(b'(') {
        let is_end = |token: &crate::backup::script::Token| is_symbol(statement, token, b')');
        cursor.at += statement.tokens[cursor.at..].iter().position(is_end)? + 1;
    }
    let _ = cursor.skip("overriding system value");
    if cursor.skip("default values") && cursor.is_at_end() {
        return Some(Step::Rows((schema, name), 1));
    }
    if !cursor.skip("values") {
        return None;
    }
    let (mut depth, mut rows) = (0_u32, 0);
    for token in &statement.tokens[cursor.at..] {
        match token.kind {
            TokenKind::Text | TokenKind::Number => {}
            TokenKind::Word
                if word_of(statement, token).is_some_and(|word| VALUES.contains(&word.as_str())) => {}
            TokenKind::Symbol if is_symbol(statement, token, b'(') => {
                rows += u64::from(depth == 0);
                depth += 1;
            }
            TokenKind::Symbol if is_symbol(statement, token, b')') => depth = depth.checked_sub(1)?,
            TokenKind::Symbol
                if [b',', b'-', b'+'].iter().any(|symbol| is_symbol(statement, token, *symbol)) => {}
            _ => return None,
        }
        if depth > 1 {
            return None;
        }
    }
    (rows > 0 && depth == 0).then_some(Step::Rows((schema, name), rows))
}

/// What `--clean` removes before it is made anew. In a database that is new there is nothing to remove.
pub(in crate::backup) fn is_removal(statement: &Statement<'_>) -> bool {
    let mut cursor = Cursor { statement, at: 0 };
    match cursor.next().as_deref() {
        Some("drop") => kind(&mut cursor).is_some_and(|kind| KINDS.contains(&kind)),
        Some("alter") => {
            let is_known = cursor.skip("table") || cursor.skip("foreign table") || cursor.skip("domain");
            let words: Vec<String> = statement.tokens[cursor.at.min(statement.tokens.len())..]
                .iter()
                .filter_map(|token| word_of(statement, token))
                .collect();
            let follows =
                |words: &[String], end: &[&str]| words.windows(end.len()).any(|window| window == end);
            let is_short = statement.tokens.len() < 20
                && !statement.tokens.iter().any(|token| is_symbol(statement, token, b','));
            is_known
                && is_short
                && (follows(&words, &["drop", "constraint"])
                    || words.ends_with(&["drop".to_owned(), "default".to_owned()]))
        }
        Some("select") => {
            let text = String::from_utf8_lossy(statement.text);
            let rest = text.strip_prefix(
                "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid = '",
            );
            let rest = rest.or_else(|| text.strip_prefix("SELECT pg_catalog.lo_unlink('"));
            rest.is_some_and(|rest| {
                rest.trim_end_matches(['\'', ')']).bytes().all(|byte| byte.is_ascii_digit())
            })
        }
        _ => false,
    }
}
