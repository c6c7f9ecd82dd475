//! Connection URLs as libpq has them (PostgreSQL documentation, "Connection URIs").
//!
//! A URL may hold a password, so no error in here repeats it: they name the part that is wrong.

use std::path::PathBuf;

use url::Url;

use super::{Password, Server, Tls, TlsMode};
use crate::error::{Error, Result};

/// A database, or all databases of a server, and who we are there.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server.
    pub server: Server,
    /// The database that the URL names.
    pub database: Option<String>,
    /// Whether the URL itself says how the connection is protected.
    pub says_tls: bool,
}

/// `postgres://…` and `postgresql://…`.
pub fn is_url(text: &str) -> bool {
    ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

impl Target {
    /// Reads a URL. What it leaves out is libpq's default, but for `sslmode`: `verify-full`, and `prefer` on this
    /// machine's own addresses. `user` is who we are where the URL names nobody.
    pub fn parse(text: &str, user: Option<&str>) -> Result<Self> {
        let wrong = |why: &str| {
            Error::request(format!("a connection URL cannot be read: {why}")).hint(
                "Write it as `postgresql://user@host:5432/database?sslmode=verify-full`; characters such as `@`, `/`, `#` and `%` \
                 in a password must be percent-encoded.",
            )
        };
        if !is_url(text) {
            return Err(wrong("it does not begin with `postgresql://`"));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(wrong("it has a space or a control character in it"));
        }
        let authority = text
            .split_once("://")
            .map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
        if authority.rsplit('@').next().is_some_and(|hosts| hosts.contains(',')) {
            return Err(wrong("it names several hosts, and only one can be looked at"));
        }
        let (text, without_host) = host_for_none(text);
        let url = Url::parse(&text).map_err(|error| wrong(&error.to_string()))?;
        let mut told = Told::default();
        for (key, value) in url.query_pairs() {
            if value.contains('\0') {
                return Err(wrong(&format!("`{key}` has a zero byte (`%00`) in it")));
            }
            told.set(&key, &value, &wrong)?;
        }
        let decoded = |part: &str, name: &str| {
            let text = percent_encoding::percent_decode_str(part)
                .decode_utf8()
                .map_err(|_| wrong(&format!("the {name} is not UTF-8")))?;
            match text.contains('\0') {
                true => Err(wrong(&format!("the {name} has a zero byte (`%00`) in it"))),
                false => Ok(text.into_owned()),
            }
        };
        let in_url = url.host_str().filter(|host| !without_host && !host.is_empty());
        let host = match (told.host, in_url) {
            (Some(host), _) => host,
            (None, Some(host)) => decoded(host.trim_start_matches('[').trim_end_matches(']'), "host")?,
            (None, None) => "localhost".to_owned(),
        };
        if host.contains(',') {
            return Err(wrong("it names several hosts, and only one can be looked at"));
        }
        let user = match (told.user, url.username(), user) {
            (Some(user), _, _) => user,
            (None, "", Some(user)) => user.to_owned(),
            (None, "", None) => return Err(wrong("it names no user")),
            (None, user, _) => decoded(user, "user")?,
        };
        let password = match (told.password, url.password()) {
            (Some(password), _) => Some(Password::new(password)),
            (None, Some(password)) => Some(Password::new(decoded(password, "password")?)),
            (None, None) => None,
        };
        let path = decoded(url.path().trim_start_matches('/'), "database")?;
        let database = told.database.or(Some(path)).filter(|name| !name.is_empty());
        let says_tls = told.tls.is_some();
        let by_default = if is_this_machine(&host) { TlsMode::Prefer } else { TlsMode::VerifyFull };
        let tls = Tls { mode: told.tls.unwrap_or(by_default), authorities: told.authorities };
        let application_name = "lifeboat".to_owned();
        let port = told.port.or(url.port()).unwrap_or(5432);
        let server = Server { host, port, user, password, tls, application_name };
        Ok(Target { server, database, says_tls })
    }

    /// The URL without its password, for people.
    pub fn shown(&self) -> String {
        let database = self.database.as_deref().unwrap_or_default();
        format!("postgresql://{}@{}:{}/{database}", self.server.user, self.server.host, self.server.port)
    }
}

/// `postgresql:///database` has no host, which is libpq's alone: with a user or a port such a URL is none to others.
fn host_for_none(text: &str) -> (String, bool) {
    let Some((scheme, rest)) = text.split_once("://") else { return (text.to_owned(), false) };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (login, place) = authority.rsplit_once('@').map_or(("", authority), |(login, place)| (login, place));
    if !(place.is_empty() || place.starts_with(':')) {
        return (text.to_owned(), false);
    }
    let login = if login.is_empty() { String::new() } else { format!("{login}@") };
    (format!("{scheme}://{login}none{place}{}", &rest[authority.len()..]), true)
}

/// Whether traffic to this host leaves the machine.
fn is_this_machine(host: &str) -> bool {
    host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What the parameters after the question mark say.
#[derive(Default)]
struct Told {
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    tls: Option<TlsMode>,
    authorities: Option<PathBuf>,
}

impl Told {
    fn set(&mut self, key: &str, value: &str, wrong: &dyn Fn(&str) -> Error) -> Result<()> {
        let text = Some(value.to_owned());
        match key {
            "host" | "hostaddr" => self.host = text,
            "user" => self.user = text,
            "password" => self.password = text,
            "dbname" => self.database = text,
            "port" => {
                self.port = Some(value.parse().map_err(|_| wrong("`port` is not a number from 1 to 65535"))?);
            }
            "sslmode" => {
                self.tls = Some(match value {
                    "disable" => TlsMode::Disable,
                    "allow" | "prefer" => TlsMode::Prefer,
                    "require" => TlsMode::Require,
                    "verify-ca" => TlsMode::VerifyCa,
                    "verify-full" => TlsMode::VerifyFull,
                    _ => {
                        return Err(wrong(
                            "`sslmode` is none of disable, allow, prefer, require, verify-ca, verify-full",
                        ));
                    }
                });
            }
            "sslrootcert" => self.authorities = Some(PathBuf::from(value)),
            // They change nothing in what is read.
            "application_name"
            | "fallback_application_name"
            | "connect_timeout"
            | "keepalives"
            | "keepalives_idle"
            | "keepalives_interval"
            | "keepalives_count"
            | "tcp_user_timeout"
            | "client_encoding"
            | "gssencmode"
            | "channel_binding"
            | "target_session_attrs"
            | "sslnegotiation"
            | "ssl_min_protocol_version" => {}
            "sslcert" | "sslkey" | "options" | "service" | "passfile" | "sslcrl" | "krbsrvname" => {
                return Err(wrong(&format!("the parameter `{key}` is not supported")));
            }
            // Not repeated: with an unescaped `?` in a password, this is a part of it.
            _ => return Err(wrong("it has a parameter that libpq does not know")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match Target::parse(text, Some("me")) {
            Ok(target) => {
                let password = target.server.password.as_ref().map_or("-", Password::expose);
                format!("{} {password} {:?}", target.shown(), target.server.tls.mode)
            }
            Err(error) => error.chain(),
        }
    }

    #[test]
    fn urls_are_read_as_libpq_reads_them() {
        for (text, expected) in [
            ("postgres://a:p%40ss@db.example:5433/app", "postgresql://a@db.example:5433/app p@ss VerifyFull"),
            ("postgresql://localhost", "postgresql://me@localhost:5432/ - Prefer"),
            ("postgresql:///app", "postgresql://me@localhost:5432/app - Prefer"),
            ("postgresql://b@/app?host=/run/pg", "postgresql://b@/run/pg:5432/app - Prefer"),
            ("postgresql://b@:6000/app", "postgresql://b@localhost:6000/app - Prefer"),
            ("postgresql://[::1]:6000/a%20b", "postgresql://me@::1:6000/a b - Prefer"),
            ("postgresql://x/?dbname=y&user=u&password=s&port=1", "postgresql://u@x:1/y s VerifyFull"),
            ("postgresql://x/y?sslmode=require&connect_timeout=3", "postgresql://me@x:5432/y - Require"),
            ("POSTGRESQL://x/y?sslmode=verify-ca", "postgresql://me@x:5432/y - VerifyCa"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_without_its_password() {
        for (text, part) in [
            ("mysql://u:hunter2@h/d", "does not begin with"),
            ("postgresql://u:hunter2@h:99999/d", "invalid port number"),
            ("postgresql://u:hunter2@h/d?port=hunter2", "`port` is not a number"),
            ("postgresql://u:hunter2@h/d?sslmode=hunter2", "`sslmode` is none of"),
            ("postgresql://u:hunter2@h/d?ssslmode=x", "does not know"),
            ("postgresql://u@h/d%00e", "zero byte"),
            ("postgresql://u@h/d?dbname=%00", "zero byte"),
            ("postgresql://u:?hunter2@h/d", ""),
            ("postgresql://u:hunter2@h1,h2/d", "several hosts"),
            ("postgresql://u:hunter2 @h/d", "a space"),
            ("postgresql://u:hunter2@h:1,h:2/d", "several hosts"),
            ("postgresql://u:hunter2@h:x/d", "invalid port number"),
        ] {
            let said = shown(text);
            assert!(said.contains(part), "{text}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
        assert!(Target::parse("postgresql://h/d", None).unwrap_err().chain().contains("names no user"));
    }
}
