//! What pg_dump writes with options that lifeboat does not pass, and others do, such as `--clean` without `--create`.

use crate::backup::token::{Cursor, KINDS, Statement, TokenKind, is_symbol, parse_kind, word_of};

/// What `--clean` removes before it is made anew. In a database that is new there is nothing to remove.
pub(in crate::backup) fn is_removal(statement: &Statement<'_>) -> bool {
    let mut cursor = Cursor { statement, at: 0 };
    match cursor.next().as_deref() {
        Some("drop") => parse_kind(&mut cursor).is_some_and(|kind| KINDS.contains(&kind)),
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
