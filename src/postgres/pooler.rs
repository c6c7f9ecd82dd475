//! Poolers between us and the server, such as PgBouncer, RDS Proxy, Odyssey and Supavisor.
//!
//! One that keeps a server's process for each client is like the server itself. One that gives each transaction to whichever
//! process is free is refused before anything is set: what we set would stay in a process that serves the application
//! next, and what we hold (a snapshot, a lock) would be another's.

use std::sync::atomic::Ordering;

use super::{ConnectFailure, Refusal, Server, Session};
use crate::error::Error;

/// Transactions that are held open at once to learn whether a process is given away: a pooler takes the process that became
/// free last, or the one that has been free for longest.
const HELD: usize = 3;

const PROCESS: &str = "select pg_catalog.pg_backend_pid()";

/// What became of the question.
enum Found {
    /// The process stays ours for as long as we are connected.
    OurOwn,
    /// It serves others between our transactions.
    Shared,
    /// We may not open a second connection to find out.
    Unknown(Error),
}

impl Server {
    /// Refuses a pooler that gives each transaction to another process. A pooler hands out a key of its own at the start, so
    /// that the process it named is not the one that answers.
    pub(super) async fn refuse_pooler(
        &self,
        session: &Session,
        named: i32,
        database: &str,
    ) -> std::result::Result<(), ConnectFailure> {
        let first = process_of(session).await.map_err(ConnectFailure::of_query)?;
        if first == Some(named) {
            return Ok(());
        }
        self.wire.is_pooled.store(true, Ordering::Relaxed);
        let at = self.place();
        let refused = |error: Error| ConnectFailure { refusal: Refusal::Other, error, sqlstate: None };
        match self.is_shared(session, first, database).await {
            Found::OurOwn => Ok(()),
            Found::Shared => Err(refused(
                Error::outside(format!("a pooler at {at} gives each transaction to another server process"))
                    .caused_by("a backup needs one session from its begin to its end, and would leave its settings to others")
                    .hint(
                        "Connect to the server itself, or to a port of the pooler with session pooling (PgBouncer: \
                         `pool_mode = session`). Nothing was set in its sessions.",
                    ),
            )),
            Found::Unknown(error) => Err(refused(
                Error::outside(format!("there is a pooler at {at}, and a second connection to find out its mode was refused"))
                    .caused_by(error)
                    .hint("Connect to the server itself."),
            )),
        }
    }

    async fn is_shared(&self, session: &Session, first: Option<i32>, database: &str) -> Found {
        let mut held = Vec::new();
        let found = self.look_for_changes(session, first, database, &mut held).await;
        for other in held {
            let _ = other.execute("rollback").await;
        }
        found
    }

    async fn look_for_changes(
        &self,
        session: &Session,
        first: Option<i32>,
        database: &str,
        held: &mut Vec<Session>,
    ) -> Found {
        for _ in 0..HELD {
            let other = match Box::pin(self.open_session(database)).await {
                Ok((other, _)) => other,
                // One of those that are held has to be the one we wait for.
                Err(_) if !held.is_empty() => break,
                Err(failure) => return Found::Unknown(failure.error),
            };
            // A pooler of single statements refuses to begin.
            if other.execute("begin read only").await.is_err() {
                return Found::Shared;
            }
            let process = process_of(&other).await;
            held.push(other);
            if process.is_ok_and(|process| process == first) {
                return Found::Shared;
            }
            match process_of(session).await {
                Ok(process) if process == first => {}
                Ok(_) | Err(_) => return Found::Shared,
            }
        }
        Found::OurOwn
    }
}

/// The server's process that answers now. As a simple query: a pooler of transactions may lose what was prepared.
async fn process_of(session: &Session) -> std::result::Result<Option<i32>, super::QueryFailure> {
    let rows = session.texts(PROCESS).await?;
    Ok(rows.first().and_then(|row| row.first()?.as_deref()?.parse().ok()))
}
