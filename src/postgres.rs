//! The only code that connects to PostgreSQL or runs its programs: TLS, credentials, redaction, and what a refused
//! login means.
//!
//! Writes nothing. A [`Session`] ends with its value; a password leaves this module only towards a server.

mod authorities;
mod certificate;
mod copy;
mod curves;
mod environment;
mod link;
mod overrides;
mod parameters;
mod password;
mod pooler;
mod private;
mod programs;
mod psql;
mod raw_text;
mod redaction;
mod resolution;
mod tls;
mod trust;
mod url;

pub(crate) use authorities::Authorities;
pub(crate) use copy::major_version;
pub(crate) use overrides::{ConnectionOverrides, read_database_url, read_url};
pub(crate) use password::{PassFile, Password, generate};
pub(crate) use private::{PrivateServer, can_start};
pub(crate) use programs::{Connecting, Programs};
pub(crate) use psql::Psql;
pub(crate) use raw_text::{AS_IT_IS, RawText};
pub(crate) use redaction::redacted;
pub(crate) use resolution::Target;
pub(crate) use tls::{Tls, TlsMode};
pub(crate) use url::{is_connection_string, refuse_quotes};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _, pin_mut};
use tokio_postgres::config::{ChannelBinding, SslMode, SslNegotiation};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row, SimpleQueryMessage};

use crate::error::{Error, Result};
use link::{AsItIs, Link, Unlinked, WithTls};

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

/// A server and who we are on it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// Host name or address, or the directory with its socket.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password; without one only servers that ask for none let us in.
    pub password: Option<Password>,
    /// How the connection is protected.
    pub tls: Tls,
    /// What `pg_stat_activity` shows.
    pub application_name: String,
    /// What else libpq's parameters say.
    pub wire: Wire,
}

/// Parameters of a connection that a host and a port do not say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire {
    /// Where to connect to in place of the host's own address: libpq's `hostaddr`.
    address: Option<String>,
    /// Command-line options for the server's process, as in PGOPTIONS.
    options: Option<String>,
    /// In seconds; zero is no limit.
    connect_timeout: Option<u32>,
    channel_binding: Option<&'static str>,
    /// Lines of the password file that fit, each with its database.
    passfile: Vec<(String, Password)>,
    /// Whether a pooler was found in between.
    is_pooled: Arc<AtomicBool>,
    /// The database that the connection string names.
    named_database: Option<String>,
}

impl Wire {
    /// The lines of a password file that fit a login.
    pub(crate) fn with_passfile(lines: Vec<(String, Password)>) -> Self {
        Wire { passfile: lines, ..Wire::default() }
    }

    /// The database that the connection string names: one that the user is let into, where any is.
    pub(crate) fn named_database(&self) -> Option<&str> {
        self.named_database.as_deref()
    }
}

/// Why a connection did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing answered: security group, route, wrong address, server not up.
    Unreachable,
    /// The server was reached, but its certificate does not verify, or one side wants TLS and the other does not.
    Tls,
    /// User, password or `pg_hba.conf` rule.
    Login,
    /// There is no such database, or it takes no connections from us.
    Database,
    /// The server is starting, stopping, or full: later it may work.
    Busy,
    /// Anything else.
    Other,
}

/// A connection that did not come about.
#[derive(Debug)]
pub(crate) struct ConnectFailure {
    /// Why.
    pub refusal: Refusal,
    /// Told to the user.
    pub error: Error,
    sqlstate: Option<SqlState>,
}

impl ConnectFailure {
    pub(crate) fn of_settings(failure: QueryFailure) -> Self {
        ConnectFailure { refusal: Refusal::Other, error: failure.into(), sqlstate: None }
    }

    /// A failure of another kind than those of connecting.
    pub(crate) fn of_query(failure: QueryFailure) -> Self {
        ConnectFailure::of_settings(failure)
    }

    /// Whether libpq would go on to the next host.
    fn lets_another_try(&self) -> bool {
        self.refusal == Refusal::Unreachable || self.sqlstate == Some(SqlState::CANNOT_CONNECT_NOW)
    }
}

impl From<ConnectFailure> for Error {
    fn from(failure: ConnectFailure) -> Self {
        failure.error
    }
}

/// A connection to one database.
pub(crate) struct Session {
    client: Client,
    database: String,
}

impl Server {
    /// Connects to `database`, under settings of our own.
    pub(crate) async fn connect(&self, database: &str) -> std::result::Result<Session, ConnectFailure> {
        let session = self.connect_plainly(database).await?;
        session.run(&format!("{SESSION}; {PATIENCE}")).await.map_err(ConnectFailure::of_settings)?;
        Ok(session)
    }

    /// Connects to `database` for SQL that a person has written: settings of roles and databases count, as they do in psql,
    /// but for those that would end a session which waits for us.
    pub(crate) async fn connect_for_others(
        &self,
        database: &str,
    ) -> std::result::Result<Session, ConnectFailure> {
        let session = self.connect_plainly(database).await?;
        session.run(PATIENCE).await.map_err(ConnectFailure::of_settings)?;
        Ok(session)
    }

    /// Connects to `database` and sets nothing. A pooler that gives each transaction to another process is refused.
    async fn connect_plainly(&self, database: &str) -> std::result::Result<Session, ConnectFailure> {
        let (session, process) = self.open_session(database).await?;
        self.refuse_pooler(&session, process, database).await?;
        Ok(session)
    }

    /// Connects to `database`. Returns the process that the startup named, too.
    async fn open_session(&self, database: &str) -> std::result::Result<(Session, i32), ConnectFailure> {
        let attempts = match self.tls.mode {
            _ if resolution::is_socket(&self.host) => [Some(WithTls::No), None],
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
        let opening = link::open(self, with_tls, patience);
        let link = match within(patience.map(|patience| patience * 2), opening).await {
            None => return Err((self.unreachable(silence(patience)), true)),
            Some(Ok(link)) => link,
            Some(Err(unlinked)) => {
                let is_final = !matches!(unlinked, Unlinked::Unprotected(_) | Unlinked::Unusable(_));
                return Err((self.unlinked(unlinked), is_final));
            }
        };
        let (process, is_protected) = (link.process(), link.is_protected());
        let config = self.config(database, is_protected);
        let connecting = config.connect_raw(link, AsItIs);
        match within(patience.map(|patience| patience * 2), connecting).await {
            None => Err((self.unreachable(silence(patience)), true)),
            Some(Ok((client, connection))) => {
                self.drive(connection);
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

    /// Ends when the client is dropped; an error of the connection reaches us through the query that it fails.
    fn drive(&self, connection: tokio_postgres::Connection<Link, Link>) {
        tokio::spawn(connection);
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
        self.password.as_ref().or_else(|| password::password_for(&self.wire.passfile, database))
    }

    /// Where it is, for people: `host:port`, or the path of its socket.
    pub(crate) fn place(&self) -> String {
        match self.host.as_str() {
            folder if resolution::is_socket(folder) => format!("{folder}/.s.PGSQL.{}", self.port),
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
        let error = if resolution::is_socket(&self.host) {
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
            Unlinked::Unprotected(error) => match tls::certificate_fault(&error) {
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
                quoted(&self.user)
            )),
            Refusal::Busy if says.contains("for database") => told.hint(format!(
                "Raise the limit with `alter database {} connection limit …`, or run it again when fewer are connected.",
                quoted(database)
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
async fn within<T>(patience: Option<Duration>, future: impl Future<Output = T>) -> Option<T> {
    match patience {
        None => Some(future.await),
        Some(patience) => tokio::time::timeout(patience, future).await.ok(),
    }
}

fn silence(patience: Option<Duration>) -> String {
    format!("no answer in {} seconds", patience.unwrap_or_default().as_secs() * 2)
}

const PASSWORD_HINT: &str = "Check the user (in the URL, or `--user`) and the password: it comes from the URL, PGPASSWORD or \
                             `~/.pgpass`, or where a command has them from `--password-file`, `--secret` or the secret that RDS manages.";

/// A statement that the server refused, or a connection that broke on the way.
#[derive(Debug)]
pub(crate) struct QueryFailure {
    /// The five characters of SQLSTATE, if the server answered.
    pub sqlstate: Option<String>,
    /// The server's words, or what broke.
    pub message: String,
    source: tokio_postgres::Error,
}

impl QueryFailure {
    /// Whether the server has a text that it cannot send as UTF-8 (`character_not_in_repertoire`, `untranslatable_character`).
    fn is_untranslatable(&self) -> bool {
        matches!(self.sqlstate.as_deref(), Some("22021" | "22P05"))
    }

    /// Where it happened, in the server's words: the line of a `COPY`, the function that was running.
    pub(crate) fn place(&self) -> Option<&str> {
        self.source.as_db_error().and_then(|answer| answer.where_())
    }

    /// Whether the session can be used after this: an answer of the server leaves it usable, a broken connection not.
    pub(crate) fn session_survives(&self) -> bool {
        let is_only_unreadable = std::error::Error::source(&self.source)
            .is_some_and(|source| source.downcast_ref::<std::str::Utf8Error>().is_some());
        !self.source.is_closed()
            && (is_only_unreadable || self.sqlstate.as_deref().is_some_and(|state| !state.starts_with("57P")))
    }
}

impl QueryFailure {
    /// Whether the server says that what it stores is damaged: `data_corrupted`, `index_corrupted`, files that are missing or
    /// end early, and values that cannot be what was once written (PostgreSQL's list of error codes, classes XX and 58).
    pub(crate) fn is_damage(&self) -> bool {
        let says = |part: &str| self.message.contains(part);
        match self.sqlstate.as_deref() {
            Some("XX001" | "XX002" | "58030" | "58P01") => true,
            // An internal error while rows are read is a value or a header that was never written so; but for an object that
            // somebody drops meanwhile.
            Some("XX000") => {
                !says("cache lookup failed")
                    && !says("could not open relation")
                    && !says("tuple concurrently")
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for QueryFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for QueryFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<tokio_postgres::Error> for QueryFailure {
    fn from(source: tokio_postgres::Error) -> Self {
        let sqlstate = source.code().map(|code| code.code().to_owned());
        let message = match source.as_db_error() {
            Some(answer) => answer.message().to_owned(),
            None => {
                Error::outside(source.to_string()).caused_by(std::io::Error::other(describe(&source))).chain()
            }
        };
        QueryFailure { sqlstate, message, source }
    }
}

fn describe(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

impl From<QueryFailure> for Error {
    fn from(failure: QueryFailure) -> Self {
        Error::outside("a query failed").caused_by(failure)
    }
}

impl Session {
    /// The database that we are connected to.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// Runs statements that return nothing of interest.
    pub(crate) async fn run(&self, sql: &str) -> std::result::Result<(), QueryFailure> {
        Ok(self.client.batch_execute(sql).await?)
    }

    /// Rows of a query.
    pub(crate) async fn rows(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> std::result::Result<Vec<Row>, QueryFailure> {
        Ok(self.client.query(sql, parameters).await?)
    }

    /// Rows of several statements, every value as text.
    pub(crate) async fn texts(
        &self,
        sql: &str,
    ) -> std::result::Result<Vec<Vec<Option<String>>>, QueryFailure> {
        let mut rows = Vec::new();
        for message in self.client.simple_query(sql).await? {
            if let SimpleQueryMessage::Row(row) = message {
                rows.push(texts_of(&row)?);
            }
        }
        Ok(rows)
    }

    /// Rows of a statement, every value as text, as long as they have at most `bytes` bytes together.
    pub(crate) async fn texts_up_to(
        &self,
        sql: &str,
        bytes: usize,
    ) -> std::result::Result<Vec<Vec<Option<String>>>, QueryFailure> {
        let messages = self.client.simple_query_raw(sql).await?;
        pin_mut!(messages);
        let (mut rows, mut length) = (Vec::new(), 0);
        while let Some(message) = messages.next().await {
            let SimpleQueryMessage::Row(row) = message? else { continue };
            let row = texts_of(&row)?;
            length += row.iter().flatten().map(String::len).sum::<usize>();
            if length <= bytes {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// Runs one statement; a text that holds several is refused by the server.
    pub(crate) async fn run_alone(&self, sql: &str) -> std::result::Result<(), QueryFailure> {
        self.client.execute(sql, &[]).await?;
        Ok(())
    }

    /// Begins a `COPY … FROM stdin`.
    pub(crate) async fn begin_copy(&self, sql: &str) -> std::result::Result<CopyIn, QueryFailure> {
        Ok(CopyIn { sink: Box::pin(self.client.copy_in(sql).await?) })
    }

    /// The one row of a query.
    pub(crate) async fn row(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> std::result::Result<Row, QueryFailure> {
        Ok(self.client.query_one(sql, parameters).await?)
    }

    /// How many columns a query returns. More than one statement is refused.
    pub(crate) async fn columns(&self, sql: &str) -> std::result::Result<usize, QueryFailure> {
        Ok(self.client.prepare(sql).await?.columns().len())
    }

    /// Gives every row of a query to `take`, so that memory stays flat whatever their number.
    pub(crate) async fn for_each(&self, sql: &str, mut take: impl FnMut(Row) -> Result<()>) -> Result<()> {
        let rows = self.stream(sql).await?;
        pin_mut!(rows);
        while let Some(row) = rows.next().await {
            take(row.map_err(QueryFailure::from)?)?;
        }
        Ok(())
    }

    /// The rows of a query, one after the other, so that memory stays flat whatever their number.
    pub(crate) async fn stream(
        &self,
        sql: &str,
    ) -> std::result::Result<tokio_postgres::RowStream, QueryFailure> {
        let none: [&str; 0] = [];
        Ok(self.client.query_raw(sql, none).await?)
    }
}

/// Rows on their way into a table. Dropped before it is finished, none of them arrive.
pub(crate) struct CopyIn {
    sink: std::pin::Pin<Box<tokio_postgres::CopyInSink<std::io::Cursor<Vec<u8>>>>>,
}

impl CopyIn {
    /// Sends bytes of `COPY`'s text format, cut anywhere.
    pub(crate) async fn send(&mut self, rows: &[u8]) -> std::result::Result<(), QueryFailure> {
        Ok(self.sink.send(std::io::Cursor::new(rows.to_vec())).await?)
    }

    /// Waits until the server has all of them.
    pub(crate) async fn finish(mut self) -> std::result::Result<u64, QueryFailure> {
        Ok(self.sink.as_mut().finish().await?)
    }
}

/// The databases of an instance that hold users' data, and whether we may connect to each.
pub(crate) async fn user_databases(session: &Session) -> Result<Vec<(String, bool)>> {
    // `rdsadmin` is Amazon's own: the master user may not connect to it.
    let sql = "select datname::text, datallowconn and has_database_privilege(oid, 'CONNECT') from pg_catalog.pg_database
               where datname not in ('template0', 'template1', 'rdsadmin')
                 and datconnlimit <> -2 -- half dropped: PostgreSQL lets nobody in any more
               order by datname";
    let rows = match session.rows(sql, &[]).await {
        // A name that was given in a database of another encoding.
        Err(failure) if failure.is_untranslatable() => {
            session.run("set client_encoding = 'SQL_ASCII'").await?;
            let rows = session.rows(sql, &[]).await?;
            session.run("set client_encoding = 'UTF8'").await?;
            rows
        }
        rows => rows?,
    };
    Ok(rows.iter().map(|row| (row.get::<_, RawText>(0).into_string(), row.get(1))).collect())
}

/// The values of a row; text that is not UTF-8 is an error.
fn texts_of(
    row: &tokio_postgres::SimpleQueryRow,
) -> std::result::Result<Vec<Option<String>>, tokio_postgres::Error> {
    (0..row.len()).map(|column| Ok(row.try_get(column)?.map(str::to_owned))).collect()
}

/// An identifier, quoted so that any name means itself.
pub(crate) fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// A text as an SQL literal that means itself, whatever `standard_conforming_strings` says.
pub(crate) fn quoted_literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod beside_psql;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_literal_that_means_itself() {
        assert_eq!(quoted_literal("it's \\ here"), "E'it''s \\\\ here'");
    }

    #[test]
    fn any_identifier_means_itself() {
        assert_eq!(quoted("Kandidaten \"2026\"; drop"), "\"Kandidaten \"\"2026\"\"; drop\"");
    }
}
