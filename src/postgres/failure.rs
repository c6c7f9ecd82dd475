//! Why a connection did not come about, or a statement was refused.

use tokio_postgres::error::SqlState;

use crate::error::Error;

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
    pub(super) sqlstate: Option<SqlState>,
}

impl ConnectFailure {
    /// A failure of another kind than those of connecting.
    pub(crate) fn of_query(failure: QueryFailure) -> Self {
        ConnectFailure { refusal: Refusal::Other, error: failure.into(), sqlstate: None }
    }

    /// Whether libpq would go on to the next host.
    pub(super) fn lets_another_try(&self) -> bool {
        self.refusal == Refusal::Unreachable || self.sqlstate == Some(SqlState::CANNOT_CONNECT_NOW)
    }
}

impl From<ConnectFailure> for Error {
    fn from(failure: ConnectFailure) -> Self {
        failure.error
    }
}

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
    pub(super) fn is_untranslatable(&self) -> bool {
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
            // An internal error while rows are read is a value or a header that was never written so, unless somebody drops the
            // object at that moment: only the words tell, and those of internal errors are never translated (PostgreSQL's
            // manual, "Reporting Errors Within the Server").
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

pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

impl From<QueryFailure> for Error {
    fn from(failure: QueryFailure) -> Self {
        Error::outside("a query failed").caused_by(failure)
    }
}
