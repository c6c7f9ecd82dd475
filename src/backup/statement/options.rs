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
        // A template is made none, to be dropped. There is none yet, and another database's row is not ours to touch.
        Some("update") => {
            let text = String::from_utf8_lossy(statement.text);
            let name =
                text.strip_prefix("UPDATE pg_catalog.pg_database SET datistemplate = false WHERE datname = ");
            name.is_some() && statement.tokens.last().is_some_and(|token| token.kind == TokenKind::Text)
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

/// The tablespace that `SET default_tablespace = …` names; `None` of another statement, and of the usual one.
pub(in crate::backup) fn names_tablespace(statement: &Statement<'_>) -> Option<String> {
    let mut cursor = Cursor { statement, at: 0 };
    if !cursor.skip("set default_tablespace") || !(cursor.skip_symbol(b'=') || cursor.skip("to")) {
        return None;
    }
    let token = cursor.token()?;
    let text = String::from_utf8_lossy(&statement.text[token.span.clone()]).into_owned();
    let name = match token.kind {
        TokenKind::Word => text,
        TokenKind::Quoted => text[1..text.len() - 1].replace("\"\"", "\""),
        TokenKind::Text => text.trim_matches('\'').replace("''", "'"),
        TokenKind::Number | TokenKind::Symbol => return None,
    };
    (!name.is_empty()).then_some(name)
}

/// Whether it is `ALTER DATABASE … SET …` or `ALTER ROLE … IN DATABASE … SET …`.
pub(in crate::backup) fn makes_setting(statement: &Statement<'_>) -> bool {
    let mut cursor = Cursor { statement, at: 0 };
    let is_of_database = cursor.skip("alter database") && cursor.identifier().is_some();
    let is_of_role = !is_of_database
        && cursor.skip("alter role")
        && cursor.identifier().is_some()
        && cursor.skip("in database")
        && cursor.identifier().is_some();
    (is_of_database || is_of_role) && cursor.skip("set")
}
