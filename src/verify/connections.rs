//! Connections to the databases of a server: never more of them at once than agreed, and never its last free ones.
//!
//! A connection reaches one database only. So databases are visited one after the other, and only as many are held open
//! at one instant as the limit has room for. Nothing is written; every session says for itself what names, values and
//! timeouts mean, whatever roles and databases have set.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::boundary::Boundary;
use super::catalog;
use super::depth::{Depth, Look};
use super::fingerprint::SETTINGS;
use super::observation::WrittenTables;
use super::schema::{self, Definitions, Sequences, Touched};
use crate::error::{Error, Result};
use crate::postgres::{AS_IT_IS, ConnectFailure, Refusal, Server, Session, user_databases};
use crate::words::format_count;

/// Run in every session. The empty search path makes names mean one thing; with `row_security = off` a policy
/// that would hide rows is an error instead of a low count; `lock_timeout` keeps a migration's lock from stopping us, and
/// us from queueing up in front of others. Compiling (`jit`) takes longer than it saves: the queries over the catalog look
/// dear to the planner and are not.
const SESSION: &str = "set search_path = pg_catalog; set row_security = off; set lock_timeout = '30s'; \
                       set idle_in_transaction_session_timeout = 0; set default_transaction_read_only = on; \
                       set max_parallel_workers_per_gather = 1; set synchronize_seqscans = off; set jit = off; \
                       set quote_all_identifiers = off; \
                       select set_config(name, '0', false) from pg_settings \
                       where name in ('transaction_timeout', 'idle_session_timeout')";

/// A server that looks after its clients (Linux only) stops reading when we are gone.
const STOP_WHEN_ABANDONED: &str = "set client_connection_check_interval = '5s'";

/// How long PostgreSQL may keep a session's write counters to itself: a busy one reports once a second, an idle
/// one after ten at most (PostgreSQL documentation, "The Cumulative Statistics System").
const COUNTERS_LAG: Duration = Duration::from_secs(11);

/// How long the end of transactions is waited for that were under way then: only with it is counted what their sessions
/// wrote shortly before.
const LONGEST_TRANSACTION: Duration = Duration::from_secs(60);

const BEGIN: &str = "begin isolation level repeatable read read only";

/// So many of a server's connections stay free for others, whatever we do.
const LEFT_FREE: i64 = 2;
/// Of those that are free, we use one in so many at most.
const SHARE_OF_FREE: i64 = 4;

/// The user databases of a server, and the connections to them.
pub(crate) struct Databases {
    server: Server,
    look: Look,
    names: Vec<String>,
    held: BTreeMap<String, Opened>,
    unreadable: BTreeMap<String, String>,
    /// How many connections we may have at once.
    at_most: usize,
}

/// A connection that holds an instant of one database; further ones import it for as long as they read.
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) instant: Instant,
    pub(super) structure: Option<Structure>,
}

/// What one transaction sees.
pub(super) struct Instant {
    exported: String,
    pub(super) boundary: Boundary,
    pub(super) at: DateTime<Utc>,
}

/// Definitions and sequences, read shortly before an instant.
pub(super) struct Structure {
    pub(super) definitions: Definitions,
    /// Every transaction before this one had ended by then.
    pub(super) settled_before: u64,
    pub(super) sequences: Sequences,
}

/// A connection to one database: one that is held, or one that ends with the visit.
pub(crate) enum Visit<'a> {
    /// In the transaction of [`Databases::begin_prepared`].
    Held(&'a Session),
    /// In a transaction of its own.
    Own(Session),
}

impl Deref for Visit<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        match self {
            Visit::Held(session) => session,
            Visit::Own(session) => session,
        }
    }
}

impl Databases {
    /// Finds the user databases of a server, or those named in `only`. A name that the server does not have is simply
    /// absent; a database that refuses the login is kept as unreadable: its content is unknown.
    pub(crate) async fn connect(server: &Server, only: &[String], look: &Look) -> Result<Self> {
        let first = Self::first_session(server, only).await?;
        let mut wanted = user_databases(&first).await?;
        if !only.is_empty() {
            wanted.retain(|(name, _)| only.contains(name));
        }
        let at_most = connections_allowed(&first, server, look.connections).await?;
        let refused = wanted.iter().filter(|(_, may_connect)| !may_connect);
        let unreadable = refused.map(|(name, _)| {
            (name.clone(), format!("user `{}` is not allowed to connect to it", server.user))
        });
        Ok(Databases {
            server: server.clone(),
            look: look.clone(),
            unreadable: unreadable.collect(),
            names: wanted.into_iter().filter(|(_, may_connect)| *may_connect).map(|(name, _)| name).collect(),
            held: BTreeMap::new(),
            at_most,
        })
    }

    /// A session to look around with: in the database that is wanted, since a user may be let into no other, else in
    /// one that most servers have.
    async fn first_session(server: &Server, only: &[String]) -> Result<Session> {
        let mut refused = None;
        for database in only.iter().take(1).map(String::as_str).chain(["postgres", "template1"]) {
            match server.connect(database).await {
                Ok(session) => return Ok(session),
                Err(failure) if failure.refusal == Refusal::Database => {
                    refused = Some(refused.unwrap_or(failure.error));
                }
                Err(failure) => return Err(refused.unwrap_or(failure.error)),
            }
        }
        Err(refused.unwrap_or_else(|| Error::outside("the server has no database to connect to")))
    }

    async fn session_to(&self, database: &str) -> std::result::Result<Session, ConnectFailure> {
        let session = self.server.connect(database).await?;
        let timeout = self.look.statement_timeout.as_millis();
        let settings = format!("{SESSION}; set statement_timeout = {timeout}; {SETTINGS}; {AS_IT_IS}");
        let failed = ConnectFailure::of_query;
        session.execute(&settings).await.map_err(failed)?;
        match session.execute(STOP_WHEN_ABANDONED).await {
            Err(failure) if !failure.session_survives() => Err(failed(failure)),
            Ok(()) | Err(_) => Ok(session),
        }
    }

    /// How we look at the server.
    pub(super) fn read_settings(&self) -> &Look {
        &self.look
    }

    /// Databases that refuse the login, with the reason.
    pub(super) fn unreadable(&self) -> &BTreeMap<String, String> {
        &self.unreadable
    }

    /// The connection that holds the instant of a database, where there is one.
    pub(super) fn opened(&self, database: &str) -> Option<&Opened> {
        self.held.get(database)
    }

    /// Names of the databases that can be visited.
    pub(crate) fn database_names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether the server has a database of that name, readable or not.
    pub(crate) fn has_database(&self, database: &str) -> bool {
        self.unreadable.contains_key(database) || self.names.iter().any(|name| name == database)
    }

    /// Whether a database is still there.
    pub(super) async fn still_exists(&self, database: &str) -> Result<bool> {
        let others: Vec<String> =
            self.database_names().filter(|name| *name != database).map(str::to_owned).collect();
        let session = match Self::first_session(&self.server, &others).await {
            Ok(session) => session,
            // The only database that accepts the login may be the one in question.
            Err(_) => Self::first_session(&self.server, &[database.to_owned()]).await?,
        };
        let sql = "select exists (select from pg_database where datname = $1)";
        Ok(session.row(sql, &[&database]).await?.get(0))
    }

    /// Opens a connection to one database, outside of any transaction.
    pub(super) async fn connect_to(&self, database: &str) -> Result<Session> {
        Ok(self.session_to(database).await?)
    }

    /// Opens a connection to one database and fixes an instant there.
    pub(super) async fn open_database(&self, database: &str) -> Result<Opened> {
        let session = self.session_to(database).await?;
        let structure = self.read_structure(&session).await?;
        let instant = fix_instant(&session).await?;
        Ok(Opened { session, instant, structure })
    }

    /// Outside of a transaction: PostgreSQL deparses definitions as they are now, and trips over what an older snapshot
    /// still lists and somebody has dropped since.
    async fn read_structure(&self, session: &Session) -> Result<Option<Structure>> {
        if self.look.depths.usual_depth() == Depth::Counts {
            return Ok(None);
        }
        let settled_before = schema::read_settled_before(session).await?;
        match schema::read_definitions(session).await {
            Ok(definitions) => {
                let sequences = schema::read_sequences(session).await?;
                Ok(Some(Structure { definitions, settled_before, sequences }))
            }
            // Somebody holds a lock on one of the tables. Its rows will tell; the definitions stay unknown.
            Err(error) if error.chain().contains("lock timeout") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A connection to one database, in a transaction that sees the instant of [`Databases::begin_prepared`] if one is held.
    pub(crate) async fn visit_database(&self, database: &str) -> Result<Visit<'_>> {
        if let Some(opened) = self.held.get(database) {
            return Ok(Visit::Held(&opened.session));
        }
        let session = self.session_to(database).await?;
        session.execute(BEGIN).await?;
        Ok(Visit::Own(session))
    }

    /// A connection to any database that accepts the login, for queries about the whole server.
    pub(crate) async fn visit_any(&self) -> Result<Visit<'_>> {
        let mut refused = None;
        for name in &self.names {
            match self.visit_database(name).await {
                Ok(visit) => return Ok(visit),
                Err(error) => refused = Some(error),
            }
        }
        // Those that were wanted may be gone since.
        match Self::first_session(&self.server, &[]).await {
            Ok(session) => {
                session.execute(BEGIN).await?;
                Ok(Visit::Own(session))
            }
            Err(error) => Err(refused.unwrap_or(error)),
        }
    }

    /// Opens a connection to every database for [`Databases::begin_prepared`], so that it takes no time, if the limit has
    /// room for holding them. Otherwise each database is seen at an instant of its own, when its turn comes.
    pub(crate) async fn prepare_all(&mut self) -> Result<()> {
        if self.names.len() > self.at_most {
            return Ok(());
        }
        for name in self.names.clone() {
            match self.open_database(&name).await {
                Ok(opened) => {
                    opened.session.execute("rollback").await?;
                    self.held.insert(name, opened);
                }
                Err(error) if self.still_exists(&name).await? => {
                    self.unreadable.insert(name, error.chain());
                }
                Err(_) => {}
            }
        }
        self.names.retain(|name| self.held.contains_key(name));
        Ok(())
    }

    /// Fixes the instant at which the databases will be seen, in the connections that were prepared, all of them as close
    /// together as can be.
    ///
    /// Returns the latest instant that was fixed, by the server's clock: nothing that is committed later is seen.
    pub(crate) async fn begin_prepared(&mut self) -> Result<DateTime<Utc>> {
        let begun = futures::future::try_join_all(self.held.values_mut().map(|opened| async {
            opened.instant = fix_instant(&opened.session).await?;
            Ok::<DateTime<Utc>, Error>(opened.instant.at)
        }))
        .await?;
        match begun.into_iter().max() {
            Some(latest) => Ok(latest),
            None => self.server_time().await,
        }
    }

    /// Ends the transactions, so that they hold back no vacuum, and the connections.
    pub(crate) fn end_transactions(&mut self) {
        self.held.clear();
    }

    /// The snapshot that one database is seen in, for other sessions to import.
    pub(crate) fn exported_snapshot(&self, database: &str) -> Option<&str> {
        self.held.get(database).map(|opened| opened.instant.exported.as_str())
    }

    /// The server's clock.
    pub(crate) async fn server_time(&self) -> Result<DateTime<Utc>> {
        Ok(self.visit_any().await?.row("select clock_timestamp()", &[]).await?.get(0))
    }

    /// The next transaction id that the server will hand out.
    pub(crate) async fn next_transaction(&self) -> Result<u64> {
        Ok(super::read::read_reference(&*self.visit_any().await?).await?.next_id())
    }

    /// Calls `read` for each database with a connection outside of a transaction. A database that is dropped in between, or
    /// cannot be read, is left out.
    async fn read_each<T>(&self, read: impl AsyncFn(&Session) -> Result<T>) -> Result<BTreeMap<String, T>> {
        self.read_each_of(self.names.iter(), read).await
    }

    async fn read_each_of<T>(
        &self,
        names: impl Iterator<Item = &String>,
        read: impl AsyncFn(&Session) -> Result<T>,
    ) -> Result<BTreeMap<String, T>> {
        let mut all = BTreeMap::new();
        for name in names {
            let read = match self.session_to(name).await {
                Ok(session) => read(&session).await,
                Err(failure) => Err(failure.into()),
            };
            match read {
                Ok(read) => {
                    all.insert(name.clone(), read);
                }
                // What is not known of one database leaves the others what they are.
                Err(error) => {
                    tracing::debug!(database = name, error = error.chain(), "a database could not be read")
                }
            }
        }
        Ok(all)
    }

    /// The write counters of every table as they are now, with the file of each. Taken outside of the transactions
    /// of [`Databases::begin_prepared`].
    pub(crate) async fn read_write_counters(&self) -> Result<WrittenTables> {
        self.read_each(catalog::read_write_counters).await
    }

    /// Where the sequences stand now, by database. They are not part of transactions.
    pub(crate) async fn read_sequences(&self) -> Result<BTreeMap<String, Sequences>> {
        self.read_each(schema::read_sequences).await
    }

    /// The definitions as they are now, by database.
    pub(crate) async fn read_definitions(&self) -> Result<BTreeMap<String, Definitions>> {
        self.read_each(schema::read_definitions).await
    }

    /// The definitions that were written to by the transactions in `since`, one for each database, or by later ones.
    pub(crate) async fn read_touched(
        &self,
        since: &BTreeMap<String, u64>,
    ) -> Result<BTreeMap<String, Touched>> {
        let asked = self.names.iter().filter(|name| since.contains_key(*name));
        self.read_each_of(asked, async |session: &Session| {
            schema::read_touched(session, since.get(session.database()).copied().unwrap_or_default()).await
        })
        .await
    }

    /// How often roles were made, altered or dropped, since the server has been counting. The rows themselves, and so the
    /// transactions that wrote them, are for superusers only.
    pub(crate) async fn role_writes(&self) -> Result<Option<i64>> {
        let sql = "select pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid)
                   from pg_class c where c.oid = 'pg_authid'::regclass";
        Ok(self.visit_any().await?.row(sql, &[]).await?.get(0))
    }

    /// Waits until every session that may have written before `since` has reported what it wrote: at once when there
    /// is no other session, since those that end report first.
    ///
    /// `false` if a session stays in a transaction that it began before that: what it wrote earlier is not counted yet.
    pub(crate) async fn wait_for_counters(&self, since: tokio::time::Instant) -> Result<bool> {
        let Some(name) = self.names.first() else { return Ok(true) };
        let session = self.connect_to(name).await?;
        while since.elapsed() < COUNTERS_LAG {
            let others: i64 = session
                .row(
                    "select count(*) from pg_stat_activity
                     where application_name <> current_setting('application_name') and pid <> pg_backend_pid()
                       and coalesce(backend_type, 'client backend') not in
                           ('autovacuum launcher', 'autovacuum worker', 'background writer', 'checkpointer', 'walwriter',
                            'archiver', 'walsender', 'walsummarizer', 'logical replication launcher', 'startup',
                            'io worker', 'slotsync worker', 'stats collector')",
                    &[],
                )
                .await?
                .get(0);
            if others == 0 && since.elapsed() >= Duration::from_millis(500) {
                return Ok(true);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        while since.elapsed() < LONGEST_TRANSACTION {
            let ago = since.elapsed().as_secs_f64();
            let old: i64 = session
                .row(
                    "select count(*) from pg_stat_activity
                     where xact_start < clock_timestamp() - $1 * interval '1 second' and pid <> pg_backend_pid()
                       and application_name <> current_setting('application_name')
                       and coalesce(backend_type, 'client backend') in ('client backend', 'background worker')",
                    &[&ago],
                )
                .await?
                .get(0);
            if old == 0 {
                return Ok(true);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(false)
    }

    /// Further connections that see what the first one sees, as far as the limit has room for them.
    pub(super) async fn open_readers(&self, opened: &Opened, at_most: usize) -> Result<Vec<Session>> {
        let others_held = self.held.len().max(1) - 1;
        let room = self.at_most.saturating_sub(others_held).min(at_most);
        let mut readers = Vec::new();
        while readers.len() + 1 < room {
            match self.session_to(opened.session.database()).await {
                Ok(session) => {
                    session
                        .execute(&format!("{BEGIN}; set transaction snapshot '{}'", opened.instant.exported))
                        .await?;
                    readers.push(session);
                }
                // The server is full: one connection reads everything as well.
                Err(failure) if failure.refusal == Refusal::Busy => break,
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(readers)
    }
}

/// Begins a transaction and fixes what it will see.
async fn fix_instant(session: &Session) -> Result<Instant> {
    session.execute(BEGIN).await?;
    // The first query takes the snapshot; the clock is read after that.
    let sql = "select pg_export_snapshot(), pg_current_snapshot()::text, clock_timestamp()";
    let row = session.row(sql, &[]).await?;
    let boundary = Boundary::of_snapshot(row.get(1))
        .ok_or_else(|| Error::outside(format!("`{}` is not a snapshot", row.get::<_, String>(1))))?;
    Ok(Instant { exported: row.get(0), boundary, at: row.get(2) })
}

/// How many connections we may have at once: `wanted`, and at most a share of those that are free.
async fn connections_allowed(session: &Session, server: &Server, wanted: usize) -> Result<usize> {
    // Without the right to see what others run, their rows are still listed.
    let sql = "select current_setting('max_connections')::int8 - current_setting('superuser_reserved_connections')::int8
                      - coalesce(current_setting('reserved_connections', true)::int8, 0)
                      - (select count(*) from pg_stat_activity where coalesce(backend_type, 'client backend') = 'client backend')";
    // The session that asks is one of them, and ends after this.
    let free = session.row(sql, &[]).await?.get::<_, i64>(0) + 1;
    if free <= LEFT_FREE {
        return Err(Error::outside(format!(
            "PostgreSQL at {} has {} free, and lifeboat leaves the last {LEFT_FREE} to other clients",
            server.place(),
            format_count(usize::try_from(free).unwrap_or(0), "connection", "connections")
        ))
        .hint("Run it again when the application uses fewer connections, or raise `max_connections`."));
    }
    let share = usize::try_from(free / SHARE_OF_FREE).unwrap_or(1);
    Ok(wanted.min(share).max(1))
}
