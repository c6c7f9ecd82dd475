//! Connection strings as people write them: libpq's URLs and `keyword=value` pairs (PostgreSQL documentation, "Connection
//! Strings"), and the URLs of frameworks that mean the same: `postgresql+psycopg2://`, `postgis://`, `jdbc:postgresql://`.
//!
//! Reads only what is written; `resolution` adds the environment and the defaults. A connection string may hold a password, so
//! no error in here repeats it: they name the part that is wrong.

use std::collections::BTreeMap;

use super::parameters::{self, Role};
use crate::error::{Error, Result};

/// What a connection string says.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    /// Values by libpq's names. A value may be empty, which is not the same as absent.
    pub(super) values: BTreeMap<&'static str, String>,
    /// Parameters that mean nothing to a backup.
    pub(super) ignored: Vec<String>,
}

/// By whose rules a URL is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Libpq,
    /// `postgresql+driver://`: a password may hold `/`, the database is not percent-encoded, and `+` in a parameter is a
    /// space (SQLAlchemy, `make_url`).
    SqlAlchemy,
    /// `jdbc:postgresql:`: `+` in a parameter is a space, and the environment does not say where the server is (pgJDBC,
    /// "Connecting to the Database").
    Jdbc,
}

/// Schemes that stand for PostgreSQL: libpq's own, and those of Django, Rails, Laravel, Doctrine, Ecto and pgx.
const SCHEMES: [&str; 11] = [
    "postgresql",
    "postgres",
    "postgis",
    "pgsql",
    "psql",
    "pdo-pgsql",
    "pdo_pgsql",
    "pgx",
    "pgx4",
    "pgx5",
    "ecto",
];

/// Whether it is a URL of PostgreSQL, in any of the ways in which they are written.
pub(crate) fn is_url(text: &str) -> bool {
    split_scheme(text.trim()).is_some()
}

/// Whether it is a connection string as psql takes one in place of a database's name: a URL, or `host=… dbname=…`.
pub(crate) fn is_connection_string(text: &str) -> bool {
    is_url(text) || is_pairs(text)
}

/// `keyword = value …`, where the first keyword is one of libpq's.
fn is_pairs(text: &str) -> bool {
    let first = text.split_once('=').map(|(first, _)| first.trim());
    first.is_some_and(|first| parameters::role_of(first).is_some() || first == "requiressl")
}

/// By whose rules it is read, and what follows the scheme and its slashes.
fn split_scheme(text: &str) -> Option<(Dialect, &str)> {
    let starts =
        |text: &str, with: &str| text.get(..with.len()).is_some_and(|it| it.eq_ignore_ascii_case(with));
    if starts(text, "jdbc:") {
        let rest = &text["jdbc:".len()..];
        return starts(rest, "postgresql:").then(|| (Dialect::Jdbc, &rest["postgresql:".len()..]));
    }
    let (scheme, rest) = text.split_once("://")?;
    let (kind, driver) = match scheme.split_once('+') {
        Some((kind, driver)) => (kind, Some(driver)),
        None => (scheme, None),
    };
    let is_word = |driver: &str| {
        !driver.is_empty() && driver.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if !SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(kind)) || !driver.is_none_or(is_word) {
        return None;
    }
    Some((driver.map_or(Dialect::Libpq, |_| Dialect::SqlAlchemy), rest))
}

fn wrong(why: &str) -> Error {
    Error::request(format!("a connection URL cannot be read: {why}")).hint(
        "Write it as `postgresql://user@host:5432/database?sslmode=verify-full`; characters such as `@`, `/`, `#` and `%` \
         in a password must be percent-encoded.",
    )
}

/// An error if quotes are part of the value, as they are in a file for `docker --env-file`.
pub(crate) fn refuse_quotes(text: &str, subject: &str) -> Result<()> {
    if !text.starts_with(['"', '\'', '\u{201c}', '\u{2018}']) {
        return Ok(());
    }
    Err(Error::request(format!("{subject} is in quotes, and the quotes are part of the value")).hint(
        "Remove the quotes: `docker --env-file` and systemd's `-` files pass them on as they stand, unlike a shell.",
    ))
}

/// Whether a text is plainly the path of a file. One with a password in it is not shown.
fn is_path(text: &str) -> bool {
    let is_file = [".db", ".sqlite", ".sqlite3"].iter().any(|ending| text.ends_with(ending));
    (is_file || text.starts_with(['/', '.'])) && !text.contains(['@', '='])
}

/// Reads a connection string.
pub(super) fn parse(text: &str) -> Result<Written> {
    let text = text.trim();
    refuse_quotes(text, "a connection URL")?;
    if text.chars().any(char::is_control) {
        return Err(wrong("it has a control character in it"));
    }
    match split_scheme(text) {
        Some((Dialect::Jdbc, rest)) => parse_jdbc(rest),
        Some((dialect, rest)) => parse_url(dialect, rest),
        None if text.get(..6).is_some_and(|it| it.eq_ignore_ascii_case("prisma")) => {
            Err(Error::request("a `prisma:` URL names Prisma's own service, and not a database").hint(
                "Name the database behind it, whose URL Prisma calls `directUrl`: `postgresql://user@host:5432/database`.",
            ))
        }
        None if !text.contains("://") && is_pairs(text) => parse_pairs(text),
        None => match text.split_once(':').map(|(scheme, _)| scheme) {
            Some(scheme) if text[scheme.len()..].starts_with("://") && is_nameable(&scheme.replace('+', "_")) => {
                Err(Error::request(format!("`{scheme}://` is neither PostgreSQL's nor SQLite's")).hint(
                    "Write `postgresql://user@host:5432/database` or `sqlite:///absolute/path.db`.",
                ))
            }
            _ if is_path(text) => Err(Error::request(format!("`{text}` is a path, and not a connection URL"))
                .hint("Write a SQLite file as `sqlite:///absolute/path.db`.")),
            _ => Err(wrong("it does not begin with `postgresql://`")),
        },
    }
}

fn parse_url(dialect: Dialect, rest: &str) -> Result<Written> {
    let mut written = Written::default();
    let (user, password, rest) = split_login(dialect, rest);
    let mut store = |name: &'static str, value: &str, is_encoded: bool| -> Result<()> {
        if !value.is_empty() {
            let value = if is_encoded { decode(value, name)? } else { value.to_owned() };
            written.values.insert(name, value);
        }
        Ok(())
    };
    store("user", user, true)?;
    store("password", password, true)?;
    let (hosts, ports, rest) = split_hosts(rest)?;
    // An abstract socket begins with `@`; one that stands later is that of a password that is not encoded.
    if hosts.get(1..).is_some_and(|later| later.contains('@')) {
        return Err(wrong(
            "it has more than one `@` before the host, so one of them belongs to the password",
        ));
    }
    store("host", &hosts, true)?;
    store("port", &ports, true)?;
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    store("dbname", path.strip_prefix('/').unwrap_or(path), dialect == Dialect::Libpq)?;
    read_query(&mut written, dialect, query.unwrap_or_default())?;
    Ok(written)
}

/// `jdbc:postgresql://host:port/database`, `jdbc:postgresql:database`, `jdbc:postgresql:/`.
fn parse_jdbc(rest: &str) -> Result<Written> {
    let mut written = match rest.strip_prefix("//") {
        Some(rest) => parse_url(Dialect::Jdbc, rest)?,
        None => parse_url(Dialect::Jdbc, &format!("/{}", rest.trim_start_matches('/')))?,
    };
    if let Some(name) = written.values.get_mut("dbname") {
        *name = decode(name, "database")?;
    }
    written.values.entry("host").or_insert_with(|| "localhost".to_owned());
    written.values.entry("port").or_insert_with(|| "5432".to_owned());
    Ok(written)
}

/// User, password and what follows them. The first `@` ends them, unless a slash comes before it.
fn split_login(dialect: Dialect, rest: &str) -> (&str, &str, &str) {
    let end = match dialect {
        Dialect::SqlAlchemy => {
            let slash = rest.find('/').unwrap_or(rest.len());
            // Once a colon has come, everything up to the `@` is the password.
            let has_password = rest.find(['/', ':', '@']).is_some_and(|at| rest[at..].starts_with(':'));
            rest[..if has_password { rest.len() } else { slash }].find('@')
        }
        Dialect::Libpq | Dialect::Jdbc => rest.find(['@', '/']).filter(|at| rest[*at..].starts_with('@')),
    };
    let Some(end) = end else { return ("", "", rest) };
    let (user, password) = rest[..end].split_once(':').unwrap_or((&rest[..end], ""));
    (user, password, &rest[end + 1..])
}

/// Hosts and ports, each separated by commas as libpq keeps them, and what follows.
fn split_hosts(mut rest: &str) -> Result<(String, String, &str)> {
    let (mut hosts, mut ports) = (String::new(), String::new());
    loop {
        if let Some(inside) = rest.strip_prefix('[') {
            let end = inside.find(']').ok_or_else(|| wrong("an IPv6 address lacks its closing `]`"))?;
            if end == 0 {
                return Err(wrong("an IPv6 address is empty"));
            }
            hosts.push_str(&inside[..end]);
            rest = &inside[end + 1..];
            if !rest.is_empty() && !rest.starts_with([':', '/', '?', ',']) {
                return Err(wrong("an IPv6 address is followed by neither `:` nor `/`"));
            }
        } else {
            let end = rest.find([':', '/', '?', ',']).unwrap_or(rest.len());
            hosts.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        if let Some(port) = rest.strip_prefix(':') {
            let end = port.find(['/', '?', ',']).unwrap_or(port.len());
            ports.push_str(&port[..end]);
            rest = &port[end..];
        }
        let Some(next) = rest.strip_prefix(',') else { break };
        rest = next;
        hosts.push(',');
        ports.push(',');
    }
    Ok((hosts, ports, rest))
}

fn read_query(written: &mut Written, dialect: Dialect, query: &str) -> Result<()> {
    // With an unescaped `?` in a password, what follows is a part of it, and the `@` comes later.
    let may_be_password = query.contains('@');
    let pairs = query.strip_suffix('&').unwrap_or(query).split('&');
    for pair in pairs.filter(|pair| !(pair.is_empty() && (query.is_empty() || dialect != Dialect::Libpq))) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(wrong("a parameter after the `?` has no `=`"));
        };
        if value.contains('=') && dialect == Dialect::Libpq {
            return Err(wrong("a parameter after the `?` has more than one `=`: write `%3D` inside a value"));
        }
        let spaced = |text: &str| match dialect {
            Dialect::Libpq => text.to_owned(),
            Dialect::SqlAlchemy | Dialect::Jdbc => text.replace('+', " "),
        };
        let name = decode(&spaced(name), "name of a parameter")?;
        let shown = if is_nameable(&name) && !may_be_password { name.as_str() } else { "" };
        let value = decode(&spaced(value), if shown.is_empty() { "value of a parameter" } else { shown })?;
        store(written, dialect, (&name, value), shown)?;
    }
    Ok(())
}

/// Whether a name can be told to people without telling them a password.
fn is_nameable(name: &str) -> bool {
    name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

fn store(written: &mut Written, dialect: Dialect, (name, value): (&str, String), shown: &str) -> Result<()> {
    let (name, value) = match (name, value.as_str()) {
        // What JDBC, asyncpg and node-postgres write; libpq takes the first of them.
        ("ssl", "true") if dialect == Dialect::Jdbc => match written.values.contains_key("sslmode") {
            true => return Ok(()),
            false => ("sslmode", "verify-full".to_owned()),
        },
        ("ssl", "true") => ("sslmode", "require".to_owned()),
        ("ssl", "disable" | "allow" | "prefer" | "require" | "verify-ca" | "verify-full") => {
            ("sslmode", value)
        }
        ("ssl", _) => {
            return Err(Error::request("the parameter `ssl` of a connection URL is neither `true` nor a mode of libpq's")
                .hint("Write `sslmode=disable` for connections without TLS, or `sslmode=require` and stricter ones."));
        }
        ("requiressl", required) => {
            ("sslmode", if required.starts_with('1') { "require" } else { "prefer" }.to_owned())
        }
        // Django calls them so.
        _ => (name, value),
    };
    match parameters::role_of(name) {
        Some((name, Role::Obeyed)) => {
            written.values.insert(name, value);
            Ok(())
        }
        Some((_, Role::Neutral)) => Ok(()),
        Some((name, Role::Unsupported)) => Err(unsupported(&format!("the parameter `{name}` of a connection URL"))),
        None if parameters::is_of_framework(name) || name.starts_with("variables[") => {
            written.ignored.push(name.to_owned());
            Ok(())
        }
        None if shown.is_empty() => Err(wrong("it has a parameter that is not libpq's")),
        None => Err(Error::request(format!("the parameter `{shown}` of a connection URL is not libpq's")).hint(
            "Remove it, or write the URL as psql takes it: `postgresql://user@host:5432/database?sslmode=verify-full`.",
        )),
    }
}

/// The error of a parameter that would change what is reached.
pub(super) fn unsupported(subject: &str) -> Error {
    Error::request(format!("{subject} is not supported"))
        .hint("Remove it: without it the connection would not be the one that it asks for.")
}

/// `%XX`, and nothing else.
fn decode(text: &str, part: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(wrong(&format!("the {part} has a `%` that two hexadecimal digits do not follow")));
        };
        match u8::try_from(high * 16 + low) {
            Ok(0) | Err(_) => return Err(wrong(&format!("the {part} has a zero byte (`%00`) in it"))),
            Ok(byte) => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong(&format!("the {part} is not UTF-8")))
}

/// `host=localhost dbname='a b' password=x\ y`.
fn parse_pairs(text: &str) -> Result<Written> {
    let mut written = Written::default();
    let mut rest = text.chars().peekable();
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        if rest.peek().is_none() {
            return Ok(written);
        }
        let mut name = String::new();
        while let Some(c) = rest.next_if(|c| *c != '=' && !c.is_whitespace()) {
            name.push(c);
        }
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        if rest.next() != Some('=') {
            return Err(wrong("a keyword has no `=` after it"));
        }
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        let mut value = String::new();
        let is_quoted = rest.next_if_eq(&'\'').is_some();
        loop {
            match rest.next() {
                Some('\\') => value.extend(rest.next()),
                Some('\'') if is_quoted => break,
                None if is_quoted => return Err(wrong("a quoted value does not end")),
                None => break,
                Some(c) if c.is_whitespace() && !is_quoted => break,
                Some(c) => value.push(c),
            }
        }
        // What follows a space in a password that is not quoted looks like a keyword.
        let shown = if is_nameable(&name) && !text.contains("password") { name.as_str() } else { "" };
        if name == "ssl" {
            return Err(Error::request("the keyword `ssl` of a connection string is not libpq's")
                .hint("Write `sslmode`."));
        }
        store(&mut written, Dialect::Libpq, (&name, value), shown)?;
    }
}
