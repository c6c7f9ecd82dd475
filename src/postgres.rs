//! The only code that connects to PostgreSQL or runs its programs: TLS, credentials, redaction, and what a refused
//! login means.
//!
//! Writes nothing. A [`Session`] ends with its value; a password leaves this module only towards a server.

mod authorities;
mod copy;
mod password;
mod private;
mod programs;
mod psql;
mod redaction;
mod tls;
mod url;

pub use authorities::Authorities;
pub use copy::major_version;
pub use password::{Password, from_pgpass, generate};
pub use private::{PrivateServer, can_start};
pub use programs::{Connecting, Programs};
pub use psql::Psql;
pub use redaction::redacted;
pub use tls::{Tls, TlsMode};
pub use url::{Target, is_url};

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _, pin_mut};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row, SimpleQueryMessage};

use crate::error::{Error, Result};

/// How long a server may take to answer a connection attempt.
const CONNECT: Duration = Duration::from_secs(10);

/// A server and who we are on it.
#[derive(Clone, Debug)]
pub struct Server {
    /// Host name or address.
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
}

/// Why a connection did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
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
pub struct ConnectFailure {
    /// Why.
    pub refusal: Refusal,
    /// Told to the user.
    pub error: Error,
}

impl From<ConnectFailure> for Error {
    fn from(failure: ConnectFailure) -> Self {
        failure.error
    }
}

/// A connection to one database.
pub struct Session {
    client: Client,
    database: String,
}

impl Server {
    /// Connects to `database`.
    pub async fn connect(&self, database: &str) -> std::result::Result<Session, ConnectFailure> {
        let connector =
            self.tls.connector().map_err(|error| ConnectFailure { refusal: Refusal::Tls, error })?;
        let mut config = Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.user)
            .dbname(database)
            .application_name(&self.application_name)
            .connect_timeout(CONNECT)
            // A network that swallows packets must not hold a drill, and its throwaway, for ever.
            .keepalives_idle(Duration::from_secs(30))
            .keepalives_interval(Duration::from_secs(10))
            .tcp_user_timeout(Duration::from_secs(120))
            .ssl_mode(self.tls.ssl_mode());
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        let attempt = tokio::time::timeout(CONNECT * 2, config.connect(connector)).await;
        let (client, connection) = match attempt {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return Err(self.refused(database, error)),
            Err(_) => return Err(self.unreachable("no answer in 20 seconds")),
        };
        // Ends when the client is dropped; an error of the connection reaches us through the query that it fails.
        tokio::spawn(connection);
        Ok(Session { client, database: database.to_owned() })
    }

    fn unreachable(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ConnectFailure {
        let error = Error::outside(format!("cannot reach PostgreSQL at {}:{}", self.host, self.port))
            .caused_by(cause)
            .hint(
                "A timeout usually means that the security group or the route does not let this machine in; a refusal, \
                 that nothing listens there. A database that is not public must be reached from inside its VPC.",
            );
        ConnectFailure { refusal: Refusal::Unreachable, error }
    }

    fn refused(&self, database: &str, error: tokio_postgres::Error) -> ConnectFailure {
        let at = format!("{}:{}", self.host, self.port);
        if tls::is_certificate_fault(&error) {
            let told = Error::outside(format!("the certificate of PostgreSQL at {at} does not verify"))
                .caused_by(error)
                .hint(self.tls.hint());
            return ConnectFailure { refusal: Refusal::Tls, error: told };
        }
        let Some(code) = error.code().cloned() else {
            let text = Error::outside("").caused_by(error).causes().join(": ");
            if text.contains("server does not support TLS") {
                let told = Error::outside(format!("PostgreSQL at {at} does not speak TLS"))
                    .hint("Pass `--tls disable` if the way to it is safe.");
                return ConnectFailure { refusal: Refusal::Tls, error: told };
            }
            if text.contains("password missing") {
                let told =
                    Error::outside(format!("PostgreSQL at {at} asks user `{}` for a password", self.user))
                        .hint(PASSWORD_HINT);
                return ConnectFailure { refusal: Refusal::Login, error: told };
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
            Refusal::Login if says.contains("no encryption") => {
                told.hint("The server accepts only TLS here: leave `--tls` at verify-full.")
            }
            Refusal::Login => told.hint(PASSWORD_HINT),
            Refusal::Database => told.hint(
                "Name another in the URL, or the databases to use with `--dbname` where a command has it.",
            ),
            Refusal::Busy => told.hint("Run it again in a moment."),
            _ => told,
        };
        ConnectFailure { refusal, error: told }
    }
}

const PASSWORD_HINT: &str = "Check the user (in the URL, or `--user`) and the password: it comes from the URL, PGPASSWORD or \
                             `~/.pgpass`, or where a command has them from `--password-file`, `--secret` or the secret that RDS manages.";

/// A statement that the server refused, or a connection that broke on the way.
#[derive(Debug)]
pub struct QueryFailure {
    /// The five characters of SQLSTATE, if the server answered.
    pub sqlstate: Option<String>,
    /// The server's words, or what broke.
    pub message: String,
    source: tokio_postgres::Error,
}

impl QueryFailure {
    /// Where it happened, in the server's words: the line of a `COPY`, the function that was running.
    pub fn place(&self) -> Option<&str> {
        self.source.as_db_error().and_then(|answer| answer.where_())
    }

    /// Whether the session can be used after this: an answer of the server leaves it usable, a broken connection not.
    pub fn session_survives(&self) -> bool {
        !self.source.is_closed() && self.sqlstate.as_deref().is_some_and(|state| !state.starts_with("57P"))
    }
}

impl QueryFailure {
    /// Whether the server says that what it stores is damaged: `data_corrupted`, `index_corrupted`, files that are missing or
    /// end early, and values that cannot be what was once written (PostgreSQL's list of error codes, classes XX and 58).
    pub fn is_damage(&self) -> bool {
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
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Runs statements that return nothing of interest.
    pub async fn run(&self, sql: &str) -> std::result::Result<(), QueryFailure> {
        Ok(self.client.batch_execute(sql).await?)
    }

    /// Rows of a query.
    pub async fn rows(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> std::result::Result<Vec<Row>, QueryFailure> {
        Ok(self.client.query(sql, parameters).await?)
    }

    /// Rows of several statements, every value as text.
    pub async fn texts(&self, sql: &str) -> std::result::Result<Vec<Vec<Option<String>>>, QueryFailure> {
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            _ => None,
        };
        Ok(self.client.simple_query(sql).await?.into_iter().filter_map(row).collect())
    }

    /// Rows of a statement, every value as text, as long as they have at most `bytes` bytes together.
    pub async fn texts_up_to(
        &self,
        sql: &str,
        bytes: usize,
    ) -> std::result::Result<Vec<Vec<Option<String>>>, QueryFailure> {
        let messages = self.client.simple_query_raw(sql).await?;
        pin_mut!(messages);
        let (mut rows, mut length) = (Vec::new(), 0);
        while let Some(message) = messages.next().await {
            let SimpleQueryMessage::Row(row) = message? else { continue };
            let row: Vec<Option<String>> =
                (0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect();
            length += row.iter().flatten().map(String::len).sum::<usize>();
            if length <= bytes {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// Runs one statement; a text that holds several is refused by the server.
    pub async fn run_alone(&self, sql: &str) -> std::result::Result<(), QueryFailure> {
        self.client.execute(sql, &[]).await?;
        Ok(())
    }

    /// Begins a `COPY … FROM stdin`.
    pub async fn begin_copy(&self, sql: &str) -> std::result::Result<CopyIn, QueryFailure> {
        Ok(CopyIn { sink: Box::pin(self.client.copy_in(sql).await?) })
    }

    /// The one row of a query.
    pub async fn row(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> std::result::Result<Row, QueryFailure> {
        Ok(self.client.query_one(sql, parameters).await?)
    }

    /// How many columns a query returns. More than one statement is refused.
    pub async fn columns(&self, sql: &str) -> std::result::Result<usize, QueryFailure> {
        Ok(self.client.prepare(sql).await?.columns().len())
    }

    /// Gives every row of a query to `take`, so that memory stays flat whatever their number.
    pub async fn for_each(&self, sql: &str, mut take: impl FnMut(Row) -> Result<()>) -> Result<()> {
        let rows = self.stream(sql).await?;
        pin_mut!(rows);
        while let Some(row) = rows.next().await {
            take(row.map_err(QueryFailure::from)?)?;
        }
        Ok(())
    }

    /// The rows of a query, one after the other, so that memory stays flat whatever their number.
    pub async fn stream(&self, sql: &str) -> std::result::Result<tokio_postgres::RowStream, QueryFailure> {
        let none: [&str; 0] = [];
        Ok(self.client.query_raw(sql, none).await?)
    }
}

/// Rows on their way into a table. Dropped before it is finished, none of them arrive.
pub struct CopyIn {
    sink: std::pin::Pin<Box<tokio_postgres::CopyInSink<std::io::Cursor<Vec<u8>>>>>,
}

impl CopyIn {
    /// Sends bytes of `COPY`'s text format, cut anywhere.
    pub async fn send(&mut self, rows: &[u8]) -> std::result::Result<(), QueryFailure> {
        Ok(self.sink.send(std::io::Cursor::new(rows.to_vec())).await?)
    }

    /// Waits until the server has all of them.
    pub async fn finish(mut self) -> std::result::Result<u64, QueryFailure> {
        Ok(self.sink.as_mut().finish().await?)
    }
}

/// The databases of an instance that hold users' data, and whether we may connect to each.
pub async fn user_databases(session: &Session) -> Result<Vec<(String, bool)>> {
    let rows = session
        .rows(
            // `rdsadmin` is Amazon's own: the master user may not connect to it.
            "select datname::text, datallowconn and has_database_privilege(oid, 'CONNECT') from pg_catalog.pg_database
             where datname not in ('template0', 'template1', 'rdsadmin')
               and datconnlimit <> -2 -- half dropped: PostgreSQL lets nobody in any more
             order by datname",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// An identifier, quoted so that any name means itself.
pub fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// A text as an SQL literal that means itself, whatever `standard_conforming_strings` says.
pub fn quoted_literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

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
