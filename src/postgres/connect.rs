//! Connecting to a server: with or without TLS as the mode says, and what a refusal means.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, SslMode, SslNegotiation};
use tokio_postgres::error::SqlState;

use super::failure::{ConnectFailure, Refusal};
use super::link::{self, AsItIs, Unlinked, WithTls};
use super::password::{Password, password_for};
use super::quote::quote_identifier;
use super::server::{Server, is_socket};
use super::session::Session;
use super::tls::{TlsMode, certificate_fault};
use crate::error::Error;

/// How long a server may take to answer a connection attempt, where `connect_timeout` does not say it.
const CONNECT: Duration = Duration::from_secs(10);

/// What every session of ours begins with, whatever roles, databases and PGOPTIONS have set: no limit of time ends it between
/// two statements or within a long one, it may write if what it is for is to write, and text means what it says. Some of
/// the settings are younger than the oldest server.
const SESSION: &str = "set statement_timeout = 0; set lock_timeout = 0; set default_transaction_read_only = off; \
                       set default_transaction_isolation = 'read committed'; set default_transaction_deferrable = off; \
                       set client_min_messages = notice; set standard_conforming_strings = on; \
                       set backslash_quote = safe_encoding; set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; \
                       set extra_float_digits = 1; set bytea_output = 'hex'; set xmloption = 'content'; \
                       set quote_all_identifiers = off; set row_security = on; \
                       set search_path = pg_catalog";

/// Limits of time that end a session which waits for us; not every server has all of them.
const PATIENCE: &str = "select pg_catalog.set_config(name, '0', false) from pg_catalog.pg_settings \
                        where name in ('idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')";

impl Server {
    /// Connects to `database`, under settings of our own.
    pub(crate) async fn connect(&self, database: &str) -> std::result::Result<Session, ConnectFailure> {
        let session = self.connect_plainly(database).await?;
        session.execute(&format!("{SESSION}; {PATIENCE}")).await.map_err(ConnectFailure::of_query)?;
        Ok(session)
    }

    /// Connects to `database` for SQL that a person has written: settings of roles and databases count, as they do in psql,
    /// but for those that would end a session which waits for us.
    pub(crate) async fn connect_for_others(
        &self,
        database: &str,
    ) -> std::result::Result<Session, ConnectFailure> {
        let session = self.connect_plainly(database).await?;
        session.execute(PATIENCE).await.map_err(ConnectFailure::of_query)?;
        Ok(session)
    }

    /// Connects to `database` and sets nothing. A pooler that gives each transaction to another process is refused.
    pub(super) async fn connect_plainly(
        &self,
        database: &str,
    ) -> std::result::Result<Session, ConnectFailure> {
        let (session, process) = self.open_session(database).await?;
        self.refuse_pooler(&session, process, database).await?;
        Ok(session)
    }

    /// Connects to `database`. Returns the process that the startup named, too.
    pub(super) async fn open_session(
        &self,
        database: &str,
    ) -> std::result::Result<(Session, i32), ConnectFailure> {
        let attempts = match self.tls.mode {
            _ if is_socket(&self.host) => [Some(WithTls::No), None],
            TlsMode::Disable => [Some(WithTls::No), None],
            TlsMode::Allow => [Some(WithTls::No), Some(WithTls::Yes)],
            TlsMode::Prefer => [Some(WithTls::IfOffered), Some(WithTls::No)],
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => [Some(WithTls::Yes), None],
        };
        let mut failed = None;
        for with_tls in attempts.into_iter().flatten() {
            match self.attempt(database, with_tls).await {
                Ok(opened) => return Ok(opened),
                // As libpq: the other way is tried where the two could not agree on this one.
                Err((failure, is_final)) => {
                    let failure = failed.take().unwrap_or(failure);
                    if is_final {
                        return Err(failure);
                    }
                    failed = Some(failure);
                }
            }
        }
        Err(failed.unwrap_or_else(|| self.unreachable("no way to connect is allowed")))
    }

    /// One attempt. An error says, too, whether it is the last word, or another attempt with or without TLS may help.
    async fn attempt(
        &self,
        database: &str,
        with_tls: WithTls,
    ) -> std::result::Result<(Session, i32), (ConnectFailure, bool)> {
        let patience = match self.wire.connect_timeout {
            None => Some(CONNECT),
            Some(0) => None,
            Some(seconds) => Some(Duration::from_secs(u64::from(seconds))),
        };
        let opening = link::open_link(self, with_tls, patience);
        let link = match with_timeout(patience.map(|patience| patience * 2), opening).await {
            None => return Err((self.unreachable(describe_timeout(patience)), true)),
            Some(Ok(link)) => link,
            Some(Err(unlinked)) => {
                let is_final = !matches!(unlinked, Unlinked::Unprotected(_) | Unlinked::Unusable(_));
                return Err((self.unlinked(unlinked), is_final));
            }
        };
        let (process, is_protected) = (link.process(), link.is_protected());
        let config = self.config(database, is_protected);
        let connecting = config.connect_raw(link, AsItIs);
        match with_timeout(patience.map(|patience| patience * 2), connecting).await {
            None => Err((self.unreachable(describe_timeout(patience)), true)),
            Some(Ok((client, connection))) => {
                // Ends when the client is dropped; an error of the connection reaches us through the query that it fails.
                tokio::spawn(connection);
                let session = Session { client, database: database.to_owned() };
                Ok((session, process.load(Ordering::Relaxed)))
            }
            Some(Err(error)) => {
                let may_try_other = error.code().is_some()
                    && match self.tls.mode {
                        TlsMode::Prefer => is_protected,
                        TlsMode::Allow => !is_protected,
                        _ => false,
                    };
                Err((self.refused(database, error), !may_try_other))
            }
        }
    }

    fn config(&self, database: &str, is_protected: bool) -> Config {
        let mut config = Config::new();
        config.user(&self.user).dbname(database).application_name(&self.application_name);
        if is_protected {
            // TLS is on already: nothing is asked of the server once more.
            config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
        } else {
            config.ssl_mode(SslMode::Disable);
        }
        config.channel_binding(match self.wire.channel_binding {
            Some("require") => ChannelBinding::Require,
            Some("disable") => ChannelBinding::Disable,
            _ => ChannelBinding::Prefer,
        });
        if let Some(password) = self.password_for(database) {
            config.password(password.expose());
        }
        if let Some(options) = &self.wire.options {
            config.options(options);
        }
        config
    }

    /// The password for a database: one for all, or that of the line in the password file which names it.
    pub(crate) fn password_for(&self, database: &str) -> Option<&Password> {
        self.password.as_ref().or_else(|| password_for(&self.wire.passfile, database))
    }

    /// Where it is, for people: `host:port`, or the path of its socket.
    pub(crate) fn place(&self) -> String {
        match self.host.as_str() {
            folder if is_socket(folder) => format!("{folder}/.s.PGSQL.{}", self.port),
            address if address.contains(':') => format!("[{address}]:{}", self.port),
            name => format!("{name}:{}", self.port),
        }
    }

    /// The URL of one of its databases, without a password, which psql and we can read again.
    pub(crate) fn url(&self, database: &str) -> String {
        let encoded = |text: &str| {
            const PLAIN: &percent_encoding::AsciiSet =
                &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
            // Letters of other alphabets can be read as they are.
            let kept = |c: char| match c {
                c if c.is_alphanumeric() => c.to_string(),
                c => percent_encoding::utf8_percent_encode(&c.to_string(), PLAIN).to_string(),
            };
            text.chars().map(kept).collect::<String>()
        };
        let host = match self.host.parse::<std::net::Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) if self.host.contains(':') => format!("[{}]", encoded(&self.host).replace("%3A", ":")),
            Err(_) => encoded(&self.host),
        };
        format!("postgresql://{}@{host}:{}/{}", encoded(&self.user), self.port, encoded(database))
    }

    fn unreachable(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ConnectFailure {
        let error = Error::outside(format!("cannot reach PostgreSQL at {}", self.place())).caused_by(cause);
        let error = if is_socket(&self.host) {
            error.hint(
                "Nothing listens at this socket. If the server is elsewhere, name its host in the URL, as in \
                 `postgresql://user@localhost/database`, or set PGHOST.",
            )
        } else if self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        {
            error.hint("Nothing answers at this port of this machine: check that the server runs, and the port in the URL or PGPORT.")
        } else {
            error.hint(
                "A timeout usually means that the security group or the route does not let this machine in; a refusal, \
                 that nothing listens there. A database that is not public must be reached from inside its VPC.",
            )
        };
        ConnectFailure { refusal: Refusal::Unreachable, error, sqlstate: None }
    }

    fn unlinked(&self, unlinked: Unlinked) -> ConnectFailure {
        let at = self.place();
        let of_tls = |error| ConnectFailure { refusal: Refusal::Tls, error, sqlstate: None };
        match unlinked {
            Unlinked::Unreachable(error) => self.unreachable(error),
            Unlinked::Unusable(error) => of_tls(error),
            Unlinked::NoTls => of_tls(Error::outside(format!("PostgreSQL at {at} does not speak TLS")).hint(
                "If the way to it is safe, say so in the URL with `?sslmode=disable`, or set PGSSLMODE=disable.",
            )),
            Unlinked::Unprotected(error) => match certificate_fault(&error) {
                Some(fault) => {
                    let hint = self.tls.hint(Some(fault));
                    let fault = fault.clone();
                    of_tls(
                        Error::outside(format!("the certificate of PostgreSQL at {at} does not verify"))
                            .caused_by(fault)
                            .hint(hint),
                    )
                }
                None => of_tls(
                    Error::outside(format!("PostgreSQL at {at} and lifeboat cannot agree on TLS")).caused_by(error).hint(
                        "The server's log has its side of it. `?sslmode=disable` (PGSSLMODE) connects without TLS.",
                    ),
                ),
            },
        }
    }

    fn refused(&self, database: &str, error: tokio_postgres::Error) -> ConnectFailure {
        let at = self.place();
        let Some(code) = error.code().cloned() else {
            let text = Error::outside("").caused_by(error).causes().join(": ");
            if text.contains("password missing") {
                let told =
                    Error::outside(format!("PostgreSQL at {at} asks user `{}` for a password", self.user))
                        .hint(PASSWORD_HINT);
                return ConnectFailure { refusal: Refusal::Login, error: told, sqlstate: None };
            }
            if text.contains("channel binding") {
                let told = Error::outside(format!("PostgreSQL at {at} offers no channel binding"))
                    .caused_by(text)
                    .hint("`channel_binding=require` (PGCHANNELBINDING) demands it; it needs TLS and SCRAM.");
                return ConnectFailure { refusal: Refusal::Login, error: told, sqlstate: None };
            }
            return self.unreachable(text);
        };
        let refusal = match code {
            SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => Refusal::Login,
            SqlState::INVALID_CATALOG_NAME | SqlState::INSUFFICIENT_PRIVILEGE => Refusal::Database,
            SqlState::CANNOT_CONNECT_NOW | SqlState::TOO_MANY_CONNECTIONS | SqlState::ADMIN_SHUTDOWN => {
                Refusal::Busy
            }
            _ => Refusal::Other,
        };
        let says = error.as_db_error().map(|answer| answer.message().to_owned()).unwrap_or_default();
        let told = Error::outside(format!(
            "PostgreSQL at {at} refused user `{}` on database `{database}`",
            self.user
        ))
        .caused_by(says.clone());
        let told = match refusal {
            Refusal::Login if says.contains("no encryption") => told.hint(
                "The server accepts only TLS here: leave `sslmode` (PGSSLMODE, `--tls`) at verify-full, or write \
                 `?sslmode=require`.",
            ),
            Refusal::Login => told.hint(PASSWORD_HINT),
            Refusal::Database => told.hint(
                "Name another in the URL, or the databases to use with `--dbname` where a command has it.",
            ),
            // PostgreSQL: "too many connections for role", "for database".
            Refusal::Busy if says.contains("for role") => told.hint(format!(
                                "lifeboat needs more than one connection at once: give the role room with `alter role {} connection limit 4`.",
                quote_identifier(&self.user)
            )),
            Refusal::Busy if says.contains("for database") => told.hint(format!(
                "Raise the limit with `alter database {} connection limit …`, or run it again when fewer are connected.",
                quote_identifier(database)
            )),
            Refusal::Busy => told.hint("Run it again in a moment."),
            _ if says.contains("unsupported startup parameter") => told.hint(
                "A pooler such as PgBouncer is in between: connect to the server itself.",
            ),
            _ => told,
        };
        ConnectFailure { refusal, error: told, sqlstate: Some(code) }
    }
}

/// What a future comes to, unless it takes longer.
async fn with_timeout<T>(patience: Option<Duration>, future: impl Future<Output = T>) -> Option<T> {
    match patience {
        None => Some(future.await),
        Some(patience) => tokio::time::timeout(patience, future).await.ok(),
    }
}

fn describe_timeout(patience: Option<Duration>) -> String {
    format!("no answer in {} seconds", patience.unwrap_or_default().as_secs() * 2)
}

const PASSWORD_HINT: &str = "Check the user (in the URL, or `--user`) and the password: it comes from the URL, PGPASSWORD or \
                             `~/.pgpass`, or where a command has them from `--password-file`, `--secret` or the secret that RDS manages.";
