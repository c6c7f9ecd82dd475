//! What a statement of a dump does, and which statements no dump of one database has.
//!
//! The list says what pg_dump writes; everything else is refused, since nobody who backs a database up has written it.
//! What is let through can still run code of the database that was backed up: a check constraint calls its functions. As
//! whom that runs is decided by whoever loads the dump.

mod options;

pub(super) use options::{is_removal, makes_setting, names_tablespace};

use std::ops::Range;

use super::token::{
    Cursor, Statement, TableName, Token, TokenKind, excerpt, find_words, is_symbol, parse_kind, word_of,
};
use crate::postgres::quote_identifier;

/// What a statement does, as far as it matters to whoever runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Says how the script is encoded.
    Encoding(String),
    /// Sets something for the session.
    Setting,
    /// Begins or ends a transaction.
    Session,
    /// Creates the database; the statement.
    CreateDatabase(String),
    /// Drops the database.
    DropDatabase,
    /// Says something of the database itself, whose name stands there.
    Database(Range<usize>),
    /// Rows of a table follow.
    Copy(TableName),
    /// So many rows of a table.
    Rows(TableName, u64),
    /// Says whose something is, who may use it, or what is to be known of it; runs nothing.
    Attribution,
    /// An event trigger.
    EventTrigger,
    /// Takes a superuser or a right of its own, and runs nothing that the script could have brought along.
    Privileged,
    /// An extension: its script is a file of the server.
    Extension,
    /// Anything else that a database consists of.
    Definition,
}

/// Settings that pg_dump makes for its session.
const SETTINGS: [&str; 15] = [
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "transaction_timeout",
    "check_function_bodies",
    "xmloption",
    "client_min_messages",
    "row_security",
    "default_tablespace",
    "default_table_access_method",
    "default_with_oids",
    "search_path",
    "escape_string_warning",
    "quote_all_identifiers",
    "bytea_output",
];

/// Encodings in which no byte of a character of several bytes looks like a quote or a backslash: those that a database can have.
const ENCODINGS: [&str; 38] = [
    "SQLASCII",
    "UTF8",
    "UNICODE",
    "EUCJP",
    "EUCCN",
    "EUCKR",
    "EUCTW",
    "EUCJIS2004",
    "MULEINTERNAL",
    "LATIN1",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "ISO88591",
    "ISO88595",
    "ISO88596",
    "ISO88597",
    "ISO88598",
    "WIN1250",
    "WIN1251",
    "WIN1252",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1256",
    "WIN1257",
    "WIN1258",
    "WIN866",
    "WIN874",
    "KOI8R",
    "KOI8U",
    "KOI8",
];

/// Functions that pg_dump calls, with literals alone.
const FUNCTIONS: [&str; 8] = [
    "setval",
    "lo_create",
    "lo_open",
    "lowrite",
    "lo_close",
    "pg_restore_relation_stats",
    "pg_restore_attribute_stats",
    "pg_restore_extended_stats",
];

/// What a statement does; an error says why no dump of one database has it.
pub(super) fn step_of(statement: &Statement<'_>) -> Result<Step, String> {
    let refused =
        || format!("it holds a statement that no dump of a database has: `{}`", excerpt(statement.text));
    let mut cursor = Cursor { statement, at: 0 };
    let step = match cursor.next().as_deref() {
        Some("set") => parse_setting(&mut cursor),
        Some("reset") => {
            (cursor.skip("session authorization") && cursor.is_at_end()).then_some(Step::Attribution)
        }
        Some("begin" | "commit") => cursor.is_at_end().then_some(Step::Session),
        Some("select") => parse_call(&mut cursor),
        Some("copy") => parse_copy(&mut cursor),
        Some("insert") => parse_insert(&mut cursor),
        Some("comment") => parse_comment(&mut cursor),
        Some("security") => parse_label(&mut cursor),
        Some("grant" | "revoke") => parse_rights(statement),
        Some("refresh") => cursor.skip("materialized view").then_some(Step::Definition),
        Some("create") => parse_creation(&mut cursor),
        Some("alter") => parse_alteration(&mut cursor),
        Some("drop") => cursor.skip("database").then_some(Step::DropDatabase),
        _ => None,
    };
    step.ok_or_else(refused)
}

fn parse_setting(cursor: &mut Cursor<'_>) -> Option<Step> {
    if cursor.skip("session authorization") {
        cursor.at += 1;
        return cursor.is_at_end().then_some(Step::Attribution);
    }
    let name = cursor.next()?;
    if !cursor.skip_symbol(b'=') && !cursor.skip("to") {
        return None;
    }
    match name.as_str() {
        // Otherwise a backslash in a string would mean something else to the server than it does here.
        "standard_conforming_strings" => (cursor.skip("on") && cursor.is_at_end()).then_some(Step::Setting),
        "client_encoding" => {
            let token = cursor.token()?;
            let text = String::from_utf8_lossy(&cursor.statement.text[token.span.clone()]).into_owned();
            let name = text.trim_matches('\'').to_owned();
            let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
            let is_known = ENCODINGS.contains(&plain.to_ascii_uppercase().as_str());
            cursor.at += 1;
            (is_known && cursor.is_at_end()).then_some(Step::Encoding(name))
        }
        name => SETTINGS.contains(&name).then_some(Step::Setting),
    }
}

/// `SELECT pg_catalog.setval('public.t_id_seq', 42, true)`: literals, and nothing that is called for them.
fn parse_call(cursor: &mut Cursor<'_>) -> Option<Step> {
    if cursor.skip_symbol(b'*') && !cursor.skip("from") {
        return None;
    }
    if !(cursor.skip("pg_catalog") && cursor.skip_symbol(b'.')) {
        return None;
    }
    let function = cursor.next()?;
    if !cursor.skip_symbol(b'(') {
        return None;
    }
    let arguments = &cursor.statement.tokens[cursor.at..];
    let (last, arguments) = arguments.split_last()?;
    let is_flat = arguments.iter().all(|token| !is_symbol(cursor.statement, token, b'('));
    if !is_symbol(cursor.statement, last, b')') || !is_flat {
        return None;
    }
    if function == "set_config" {
        let first = arguments.first()?;
        let is_path = &cursor.statement.text[first.span.clone()] == b"'search_path'";
        return is_path.then_some(Step::Setting);
    }
    FUNCTIONS.contains(&function.as_str()).then_some(Step::Definition)
}

/// `COPY public."Odd ""name""" (…) FROM stdin`, with no options, no file and no program.
fn parse_copy(cursor: &mut Cursor<'_>) -> Option<Step> {
    let (schema, _) = cursor.identifier()?;
    if !cursor.skip_symbol(b'.') {
        return None;
    }
    let (name, _) = cursor.identifier()?;
    if cursor.skip_symbol(b'(') {
        let is_end = |token: &Token| is_symbol(cursor.statement, token, b')');
        let length = cursor.statement.tokens[cursor.at..].iter().position(is_end)?;
        cursor.at += length + 1;
    }
    (cursor.skip("from stdin") && cursor.is_at_end()).then_some(Step::Copy((schema, name)))
}

fn parse_comment(cursor: &mut Cursor<'_>) -> Option<Step> {
    if !cursor.skip("on") {
        return None;
    }
    if cursor.skip("database") {
        return cursor.identifier().map(|(_, span)| Step::Database(span));
    }
    if ["role", "tablespace"].iter().any(|word| cursor.skip(word)) {
        return None;
    }
    Some(if cursor.skip("event trigger") { Step::EventTrigger } else { Step::Attribution })
}

fn parse_label(cursor: &mut Cursor<'_>) -> Option<Step> {
    if !cursor.skip("label") {
        return None;
    }
    if cursor.skip("for") {
        cursor.at += 1;
    }
    parse_comment(cursor)
}

/// Rights on something. Those of roles in roles, and on what the server has besides its databases, are in no dump.
fn parse_rights(statement: &Statement<'_>) -> Option<Step> {
    let mut cursor = Cursor { statement, at: find_words(statement, &["on"])? };
    if cursor.skip("database") {
        return cursor.identifier().map(|(_, span)| Step::Database(span));
    }
    let is_elsewhere = ["tablespace", "parameter"].iter().any(|word| cursor.skip(word));
    (!is_elsewhere).then_some(Step::Attribution)
}

/// Words that stand for a value by themselves.
const VALUES: [&str; 5] = ["null", "default", "true", "false", "b"];

/// `INSERT INTO public.t (…) VALUES (…), (…)`, with literals alone: nothing is called for them.
fn parse_insert(cursor: &mut Cursor<'_>) -> Option<Step> {
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
        let is_end = |token: &Token| is_symbol(statement, token, b')');
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

fn parse_creation(cursor: &mut Cursor<'_>) -> Option<Step> {
    let statement = cursor.statement;
    if cursor.skip("database") {
        return create_database(cursor);
    }
    let has = |words: &[&str]| find_words(statement, words).is_some();
    match parse_kind(cursor)? {
        "large object" => None,
        "extension" => Some(Step::Extension),
        "event trigger" => Some(Step::EventTrigger),
        "publication"
            if (has(&["all", "tables"]) || has(&["tables", "in", "schema"])) && !has(&["where"]) =>
        {
            Some(Step::Privileged)
        }
        "subscription" => {
            // Any other would reach for a server that the script names.
            let is_apart = statement.tokens.windows(3).any(|three| {
                word_of(statement, &three[0]).as_deref() == Some("connect")
                    && is_symbol(statement, &three[1], b'=')
                    && word_of(statement, &three[2]).as_deref() == Some("false")
            });
            is_apart.then_some(Step::Privileged)
        }
        _ => Some(Step::Definition),
    }
}

/// From no other template than the empty one: what another database holds is not for whoever wrote the script.
fn create_database(cursor: &mut Cursor<'_>) -> Option<Step> {
    let statement = cursor.statement;
    let (_, span) = cursor.identifier()?;
    if let Some(at) = find_words(statement, &["template"]) {
        let mut value = Cursor { statement, at };
        value.skip_symbol(b'=');
        if !value.skip("template0") {
            return None;
        }
    }
    let is_owned = find_words(statement, &["owner"]).is_some();
    let rest = String::from_utf8_lossy(&statement.text[span.end..]);
    (!is_owned).then(|| Step::CreateDatabase(rest.trim_end().to_owned()))
}

fn parse_alteration(cursor: &mut Cursor<'_>) -> Option<Step> {
    let statement = cursor.statement;
    if cursor.skip("default privileges") {
        return Some(Step::Attribution);
    }
    if cursor.skip("role") {
        // `ALTER ROLE me IN DATABASE app SET …`; a role itself is none of a database's.
        cursor.identifier()?;
        if !cursor.skip("in database") {
            return None;
        }
        return cursor.identifier().map(|(_, span)| Step::Database(span));
    }
    if cursor.skip("database") {
        let (_, span) = cursor.identifier()?;
        let what = cursor.next()?;
        let is_of_pg_dump = ["owner", "set", "reset", "connection", "is_template", "refresh"];
        return (is_of_pg_dump.contains(&what.as_str()) && !cursor.skip("tablespace"))
            .then_some(Step::Database(span));
    }
    let kind = parse_kind(cursor)?;
    if kind == "event trigger" {
        return Some(Step::EventTrigger);
    }
    if is_change_of_owner(cursor, kind) {
        return Some(Step::Attribution);
    }
    match kind {
        "extension" | "subscription" => None,
        "publication" if find_words(statement, &["tables", "in", "schema"]).is_some() => {
            Some(Step::Privileged)
        }
        _ => Some(Step::Definition),
    }
}

/// Whether nothing but the owner of something is changed. `ALTER TABLE` can do several things at once, some of which run
/// what others have written.
fn is_change_of_owner(cursor: &mut Cursor<'_>, kind: &str) -> bool {
    let statement = cursor.statement;
    if find_words(statement, &["owner", "to"]) != Some(statement.tokens.len() - 1) {
        return false;
    }
    match kind {
        "function" | "procedure" | "aggregate" | "operator" | "large object" | "type" | "domain"
        | "text search" => true,
        _ => {
            cursor.skip("only");
            while cursor.identifier().is_some() && cursor.skip_symbol(b'.') {}
            cursor.skip("owner to")
        }
    }
}

/// Whether a line for psql is one that pg_dump writes, and that says nothing to whoever loads without psql: the lock on
/// such lines, and the connection to the new database before anything is put into it.
pub(super) fn is_of_pg_dump(line: &[u8], is_past_head: bool) -> bool {
    let Ok(text) = std::str::from_utf8(line) else { return !is_past_head && line.starts_with(b"\\connect ") };
    let is_key = |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match text.split_once(' ') {
        Some(("\\restrict" | "\\unrestrict", key)) => is_key(key),
        // The name of a database with more in it than letters and digits, such as `my-app`, may be in any encoding.
        Some(("\\connect", _) | ("\\encoding", "SQL_ASCII")) => !is_past_head,
        _ => false,
    }
}

/// A statement on the database, for another one.
pub(super) fn rename_database(text: &[u8], name: &Range<usize>, database: &str) -> Vec<u8> {
    [&text[..name.start], quote_identifier(database).as_bytes(), &text[name.end..]].concat()
}

/// `CREATE DATABASE …` for a database of another name, from what follows its own.
pub(super) fn create_database_statement(rest: &str, database: &str) -> String {
    format!("CREATE DATABASE {}{rest}", quote_identifier(database))
}

/// Whether a setting of a database makes every session on it load a library, or become somebody.
pub(super) fn takes_over_sessions(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let words: Vec<&str> =
        text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).collect();
    let Some(at) = words.iter().position(|word| *word == "set") else { return false };
    words.get(at + 1).is_some_and(|name| {
        name.ends_with("_libraries")
            || name.ends_with("library_path")
            || ["role", "session", "session_authorization", "extension_control_path"].contains(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::sql_lexer::{Lexer, Piece};

    fn step(text: &str) -> Option<Step> {
        let (mut lexer, mut found) = (Lexer::new(), None);
        let mut take = |piece: Piece<'_>| {
            if let Piece::Statement(statement) = piece {
                found = step_of(&statement).ok();
            }
            Ok(())
        };
        lexer.feed(format!("{text};\n").as_bytes(), &mut take).unwrap();
        found
    }

    #[test]
    fn what_no_dump_of_a_database_holds_is_refused() {
        for text in [
            "COPY t FROM PROGRAM 'sh'",
            "COPY t TO PROGRAM 'sh'",
            "COPY public.t (a) FROM '/etc/passwd'",
            "COPY public.t (a) FROM stdin WITH (FORMAT csv)",
            "COPY (SELECT 1) TO stdout",
            "ALTER SYSTEM SET archive_command = 'sh'",
            "DROP TABLE t",
            "DROP ROLE r",
            "CREATE ROLE r SUPERUSER",
            "CREATE USER r",
            "CREATE GROUP r",
            "ALTER ROLE r SUPERUSER",
            "ALTER USER r PASSWORD 'x'",
            "ALTER ROLE r SET search_path = x",
            "CREATE TABLESPACE t LOCATION '/'",
            "CREATE TEMP TABLE t (a int)",
            "CREATE DATABASE x TEMPLATE production",
            "CREATE DATABASE x OWNER someone",
            "ALTER DATABASE x RENAME TO y",
            "ALTER DATABASE x SET TABLESPACE y",
            "GRANT postgres TO me",
            "REVOKE postgres FROM me",
            "GRANT SET ON PARAMETER x TO me",
            "COMMENT ON ROLE r IS 'x'",
            "DO $$ begin end $$",
            "CALL f()",
            "EXECUTE x",
            "LOAD 'x'",
            "SET ROLE postgres",
            "SET LOCAL work_mem = 1",
            "SET standard_conforming_strings = off",
            "SET client_encoding = 'SJIS'",
            "SET session_preload_libraries = 'x'",
            "SELECT f()",
            "SELECT public.setval('x', 1)",
            "SELECT pg_catalog.setval('x', evil())",
            "SELECT pg_catalog.pg_read_file('x')",
            "SELECT pg_catalog.lo_export(1, '/x')",
            "SELECT pg_catalog.set_config('role', 'postgres', false)",
            "SELECT pg_catalog.setval('x', 1), evil()",
            "INSERT INTO t VALUES (f())",
            "UPDATE pg_catalog.pg_authid SET rolsuper = true",
            "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p",
            "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION connect, false",
            "ALTER SUBSCRIPTION s ENABLE",
            "VACUUM",
            "TRUNCATE t",
            "IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c",
            "REINDEX DATABASE x",
            "WITH a AS (SELECT f()) SELECT 1",
        ] {
            assert_eq!(step(text), None, "{text}");
        }
    }

    #[test]
    fn a_superuser_runs_only_what_runs_nothing_of_the_script() {
        for text in [
            "ALTER TABLE public.t OWNER TO me",
            "ALTER TABLE ONLY \"a b\".\"OWNER TO\" OWNER TO \"m e\"",
            "ALTER FUNCTION public.f(a integer, b text) OWNER TO me",
            "ALTER OPERATOR public.+ (integer, integer) OWNER TO me",
            "ALTER LARGE OBJECT 12 OWNER TO me",
            "ALTER TEXT SEARCH CONFIGURATION public.x OWNER TO me",
            "GRANT SELECT(a, b) ON TABLE public.t TO me",
            "ALTER DEFAULT PRIVILEGES FOR ROLE me GRANT SELECT ON TABLES TO you",
            "COMMENT ON TABLE t IS 'x'",
            "SET SESSION AUTHORIZATION me",
            "RESET SESSION AUTHORIZATION",
        ] {
            assert_eq!(step(text), Some(Step::Attribution), "{text}");
        }
        for text in [
            "ALTER TABLE t ALTER COLUMN c TYPE int USING evil(), OWNER TO me",
            "ALTER TABLE t ADD CHECK (evil()), OWNER TO me",
            "ALTER VIEW v ALTER COLUMN c SET DEFAULT evil()",
            "CREATE PUBLICATION p FOR TABLES IN SCHEMA a, TABLE t WHERE (evil())",
            "CREATE UNIQUE INDEX i ON t (evil())",
            "CREATE UNLOGGED TABLE t (a int)",
            "CREATE OR REPLACE VIEW v AS SELECT 1",
            "REFRESH MATERIALIZED VIEW v",
        ] {
            assert_eq!(step(text), Some(Step::Definition), "{text}");
        }
        assert_eq!(step("CREATE PUBLICATION p FOR ALL TABLES"), Some(Step::Privileged));
        assert_eq!(
            step("CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()"),
            Some(Step::EventTrigger)
        );
        assert_eq!(step("CREATE EXTENSION IF NOT EXISTS x WITH SCHEMA public"), Some(Step::Extension));
    }

    #[test]
    fn statements_on_the_database_speak_of_the_new_one() {
        for (text, expected) in [
            ("ALTER DATABASE app OWNER TO me", "ALTER DATABASE \"n\" OWNER TO me"),
            (
                "COMMENT ON DATABASE \"a\"\"b\" IS 'ON DATABASE app'",
                "COMMENT ON DATABASE \"n\" IS 'ON DATABASE app'",
            ),
            (
                "ALTER ROLE me IN DATABASE app SET x.y TO '1'",
                "ALTER ROLE me IN DATABASE \"n\" SET x.y TO '1'",
            ),
            ("GRANT CONNECT ON DATABASE app TO you", "GRANT CONNECT ON DATABASE \"n\" TO you"),
            ("REVOKE ALL ON DATABASE app FROM PUBLIC", "REVOKE ALL ON DATABASE \"n\" FROM PUBLIC"),
        ] {
            let Some(Step::Database(name)) = step(text) else { panic!("{text}") };
            assert_eq!(String::from_utf8(rename_database(text.as_bytes(), &name, "n")).unwrap(), expected);
        }
        assert!(takes_over_sessions(b"ALTER DATABASE app SET \"session_preload_libraries\" TO 'x'"));
        assert!(takes_over_sessions(b"ALTER ROLE me IN DATABASE app SET role TO 'postgres'"));
        assert!(!takes_over_sessions(b"ALTER DATABASE app SET search_path TO 'role'"));
    }

    #[test]
    fn tables_are_named_whatever_their_names_hold() {
        let table = |schema: &str, name: &str| Some(Step::Copy((schema.to_owned(), name.to_owned())));
        assert_eq!(step("COPY public.t (a, \"b) FROM stdin;\") FROM stdin"), table("public", "t"));
        assert_eq!(
            step("COPY \"a; Type: DATABASE\".\"x\n\\connect\" FROM stdin"),
            table("a; Type: DATABASE", "x\n\\connect")
        );
    }
}
