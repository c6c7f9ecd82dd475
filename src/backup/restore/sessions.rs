//! Sessions from which databases are created, renamed and dropped.

use super::scratch::SCRATCH;
use crate::error::{Error, Result};
use crate::postgres::{Server, Session, quote_identifier, user_databases};

/// The database of a server where one is to do other things than work with its content.
const MAINTENANCE: &str = "postgres";

/// A session from which these databases can be renamed: it is on none of them.
pub(super) async fn connect_apart_from(server: &Server, databases: &[&str]) -> Result<Session> {
    let named = server.wire.named_database();
    let mut refused = None;
    for database in [MAINTENANCE, "template1"].into_iter().chain(named) {
        if databases.contains(&database) {
            continue;
        }
        match server.connect(database).await {
            Ok(session) => return Ok(session),
            Err(failure) => refused = Some(refused.unwrap_or(Error::from(failure))),
        }
    }
    let Some(refused) = refused else { return Ok(server.connect("template1").await?) };
    // Whoever is let into neither may be let into another one.
    let Some(inside) = named.filter(|named| databases.contains(named)) else { return Err(refused) };
    let Ok(inside) = server.connect(inside).await else { return Err(refused) };
    for (other, may_connect) in user_databases(&inside).await? {
        if may_connect && !databases.contains(&other.as_str()) && !other.starts_with(SCRATCH) {
            match server.connect(&other).await {
                Ok(session) => return Ok(session),
                Err(_) => continue,
            }
        }
    }
    Err(refused.hint(format!(
        "A restore needs a session on another database: `grant connect on database {MAINTENANCE} to {}`.",
        quote_identifier(&server.user)
    )))
}

/// A session from which databases are made and dropped.
pub(super) async fn connect_for_maintenance(server: &Server) -> Result<Session> {
    connect_apart_from(server, &[]).await
}

/// Refuses a server on which nothing can be made, before anything is tried that could leave something behind.
pub(super) async fn require_writable(server: &Server, session: &Session) -> Result<()> {
    let row = session
        .row("select pg_catalog.pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'", &[])
        .await?;
    let at = server.place();
    if row.get(0) {
        return Err(Error::outside(format!("`{at}` is a standby and cannot be written to"))
            .hint("Name its primary with `--url`."));
    }
    if row.get(1) {
        return Err(Error::outside(format!("sessions on `{at}` are read-only"))
            .hint("`default_transaction_read_only` is set for the server or the user: connect as another user or to another server."));
    }
    Ok(())
}

pub(super) fn lacks_createdb(user: &str) -> Error {
    Error::outside(format!("user `{user}` may not create databases")).hint(format!(
        "A restore goes into a new database first: `alter role {} createdb`.",
        quote_identifier(user)
    ))
}

pub(super) async fn database_exists(session: &Session, dbname: &str) -> Result<bool> {
    let row = session.row("select exists (select from pg_database where datname = $1)", &[&dbname]).await?;
    Ok(row.get(0))
}
