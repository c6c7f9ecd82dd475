//! What the databases of a server contain.
//!
//! One REPEATABLE READ, READ ONLY transaction per database, so that all tables of a database are seen at one
//! instant. Leaf tables and materialised views are counted, partition parents not a second time; what cannot be
//! compared is listed with the reason.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::catalog;
use super::depth::{Depth, Look};
use super::fingerprint::SETTINGS;
use super::lineage::Boundary;
pub use super::observation::{
    Counted, DROPPED_MEANWHILE, Observation, Strata, Stratum, Table, WriteCounters, Written, WrittenTables,
};
use super::read::{self, Reader};
use super::schema::{self, Definitions, Sequences};
use crate::error::{Error, Result};
use crate::postgres::{ConnectFailure, QueryFailure, Refusal, Server, Session, user_databases};

/// What is asked of the rows of each table besides their number and content.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Where to divide the rows by age, for each database.
    pub boundaries: BTreeMap<String, Boundary>,
    /// On a physical copy: the newest transaction that wrote one of them.
    pub newest_write: bool,
}

/// Progress of an observation.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Database that is being read.
    pub database: &'a str,
    /// Tables read so far, of all databases.
    pub tables: usize,
    /// Tables known so far.
    pub of_tables: usize,
    /// Rows counted so far.
    pub rows: u64,
    /// Bytes of tables read so far.
    pub bytes: u64,
    /// Bytes of the tables known so far.
    pub of_bytes: u64,
}

/// Connections to the databases of a server, each database in transactions that see one instant.
pub struct Databases {
    server: Server,
    look: Look,
    open: Vec<Opened>,
    unreadable: BTreeMap<String, String>,
}

/// The connection that holds the instant of one database; further ones import it for as long as they read.
struct Opened {
    session: Session,
    instant: Option<Instant>,
}

struct Instant {
    exported: String,
    boundary: Boundary,
}

/// What is said to every session of an observation. The empty search path makes names mean one thing; with
/// `row_security = off` a policy that would hide rows is an error instead of a low count; `lock_timeout` keeps a
/// migration's lock from stopping us, and us from queueing up in front of others. Compiling (`jit`) takes longer than it
/// saves: the queries over the catalog look dear to the planner and are not. A server that looks after its clients
/// (`client_connection_check_interval`, Linux) stops reading when we are gone.
const SESSION: &str = "set search_path = pg_catalog; set row_security = off; set lock_timeout = '30s'; \
                       set idle_in_transaction_session_timeout = 0; set default_transaction_read_only = on; \
                       set max_parallel_workers_per_gather = 1; set synchronize_seqscans = off; set jit = off; set quote_all_identifiers = off; \
                       do $$ begin set client_connection_check_interval = '5s'; exception when others then null; end $$";

/// How long PostgreSQL may keep a session's write counters to itself: a busy one reports once a second, an idle
/// one after ten at most (PostgreSQL documentation, "The Cumulative Statistics System").
const COUNTERS_LAG: Duration = Duration::from_secs(11);

/// How long the end of transactions is waited for that were under way then: only with it is counted what their sessions
/// wrote shortly before.
const LONGEST_TRANSACTION: Duration = Duration::from_secs(60);

const BEGIN: &str = "begin isolation level repeatable read read only";

impl Databases {
    /// Connects to the user databases of a server, or to those named in `only`. A name that the server does not
    /// have is simply absent from the observation.
    ///
    /// A database that exists and does not let us in is kept as unreadable: what it holds is then unknown.
    pub async fn connect(server: &Server, only: &[String], look: &Look) -> Result<Self> {
        let first = Self::first(server, only).await?;
        let mut wanted = user_databases(&first).await?;
        if !only.is_empty() {
            wanted.retain(|(name, _)| only.contains(name));
        }
        let mut databases = Databases {
            server: server.clone(),
            look: look.clone(),
            open: Vec::new(),
            unreadable: BTreeMap::new(),
        };
        for (name, may_connect) in wanted {
            if !may_connect {
                let reason = format!("user `{}` may not connect to it", server.user);
                databases.unreadable.insert(name, reason);
                continue;
            }
            match databases.session_to(&name).await {
                Ok(session) => databases.open.push(Opened { session, instant: None }),
                Err(failure) => {
                    databases.unreadable.insert(name, failure.error.chain());
                }
            }
        }
        Ok(databases)
    }

    /// A session to look around with: in the database that is wanted, since a user may be let into no other, else in
    /// one that most servers have.
    async fn first(server: &Server, only: &[String]) -> Result<Session> {
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
        Err(refused.unwrap_or_else(|| Error::outside("there is no database to look into")))
    }

    async fn session_to(&self, database: &str) -> std::result::Result<Session, ConnectFailure> {
        let session = self.server.connect(database).await?;
        let timeout = self.look.statement_timeout.as_millis();
        let settings = format!("{SESSION}; set statement_timeout = {timeout}; {SETTINGS}");
        let failed =
            |failure: QueryFailure| ConnectFailure { refusal: Refusal::Other, error: failure.into() };
        session.run(&settings).await.map_err(failed)?;
        Ok(session)
    }

    fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.open.iter().map(|opened| &opened.session)
    }

    /// Begins the transactions, all of them as close together as can be, and fixes what each will see.
    ///
    /// Returns the latest of their instants, by the server's clock: nothing that is committed later is seen.
    pub async fn begin(&mut self) -> Result<DateTime<Utc>> {
        let begun = futures::future::try_join_all(self.open.iter_mut().map(|opened| async {
            opened.session.run(BEGIN).await?;
            // The first query takes the snapshot; the clock is read after that.
            let sql = "select pg_export_snapshot(), pg_current_snapshot()::text, clock_timestamp()";
            let row = opened.session.row(sql, &[]).await?;
            let boundary = Boundary::of_snapshot(row.get(1))
                .ok_or_else(|| Error::outside(format!("`{}` is not a snapshot", row.get::<_, String>(1))))?;
            opened.instant = Some(Instant { exported: row.get(0), boundary });
            Ok::<DateTime<Utc>, Error>(row.get(2))
        }))
        .await?;
        begun.into_iter().max().ok_or_else(|| Error::outside("there is no database to look into"))
    }

    /// The snapshot that one database is seen in, for other sessions to import.
    pub fn snapshot(&self, database: &str) -> Option<&str> {
        let opened = self.open.iter().find(|opened| opened.session.database() == database)?;
        opened.instant.as_ref().map(|instant| instant.exported.as_str())
    }

    /// Whether the server has a database of that name, readable or not.
    pub fn has(&self, database: &str) -> bool {
        self.unreadable.contains_key(database) || self.session(database).is_some()
    }

    /// The server's clock.
    pub async fn clock(&self) -> Result<DateTime<Utc>> {
        let session = self.any().ok_or_else(|| Error::outside("there is no database to look into"))?;
        Ok(session.row("select clock_timestamp()", &[]).await?.get(0))
    }

    /// Ends the transactions, so that they hold back no vacuum.
    pub async fn end(&mut self) -> Result<()> {
        for opened in &mut self.open {
            opened.session.run("rollback").await?;
            opened.instant = None;
        }
        Ok(())
    }

    /// The sessions that are open, by database.
    pub fn session(&self, database: &str) -> Option<&Session> {
        self.sessions().find(|session| session.database() == database)
    }

    /// Names of the databases that are open.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.sessions().map(|session| session.database().to_owned())
    }

    /// Any one session, for questions about the whole server.
    pub fn any(&self) -> Option<&Session> {
        self.sessions().next()
    }

    /// The write counters of every table as they are now, with the file of each. Taken outside of the transactions
    /// of [`Databases::begin`].
    pub async fn written(&self) -> Result<WrittenTables> {
        let mut written = WrittenTables::new();
        for session in self.sessions() {
            written.insert(session.database().to_owned(), catalog::written(session).await?);
        }
        Ok(written)
    }

    /// Where the sequences stand now, by database. They are not part of transactions.
    pub async fn sequences(&self) -> Result<BTreeMap<String, Sequences>> {
        let mut all = BTreeMap::new();
        for session in self.sessions() {
            session.run(BEGIN).await?;
            all.insert(session.database().to_owned(), schema::sequences(session).await?);
            session.run("rollback").await?;
        }
        Ok(all)
    }

    /// The definitions as they are now, by database.
    pub async fn definitions(&self) -> Result<BTreeMap<String, Definitions>> {
        let mut all = BTreeMap::new();
        for session in self.sessions() {
            session.run(BEGIN).await?;
            all.insert(session.database().to_owned(), schema::definitions(session).await?);
            session.run("rollback").await?;
        }
        Ok(all)
    }

    /// Waits until every session that may have written before `since` has reported what it wrote: at once when there
    /// is no other session, since those that end report first.
    ///
    /// `false` if a session stays in a transaction that it began before that: what it wrote earlier is not counted yet.
    pub async fn wait_for_counters(&self, since: tokio::time::Instant) -> Result<bool> {
        let Some(session) = self.any() else { return Ok(true) };
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

    /// Reads every table, largest first, in the transactions that [`Databases::begin`] began.
    pub async fn observe(
        &self,
        question: &Question,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Observation> {
        let mut observation = Observation { unreadable: self.unreadable.clone(), ..Observation::default() };
        let mut seen = Seen::default();
        for opened in &self.open {
            let session = &opened.session;
            let name = session.database().to_owned();
            observation.add_server(session).await?;
            observation.add_database(session).await?;
            if self.look.depths.usual() != Depth::Counts {
                observation.definitions.insert(name.clone(), schema::definitions(session).await?);
                observation.sequences.insert(name.clone(), schema::sequences(session).await?);
            }
            let mut boundary = question.boundaries.get(&name).cloned();
            if let Some(instant) = &opened.instant {
                observation.boundaries.insert(name.clone(), instant.boundary.clone());
                // What is settled at this very instant is recorded along, where that is not simply everything.
                boundary =
                    boundary.or_else(|| instant.boundary.has_running().then(|| instant.boundary.clone()));
            }
            let mut tables = catalog::tables(session).await?;
            for table in &mut tables {
                table.depth = self.look.depths.of(&name, &table.schema, &table.name);
                if table.depth == Depth::Schema && !matches!(table.counted, Counted::Skipped(_)) {
                    table.counted = Counted::Skipped("no rows were asked for (depth schema)".to_owned());
                }
            }
            let tables = self.read(opened, tables, boundary, question, &mut seen, progress).await?;
            observation.databases.insert(name, tables);
        }
        Ok(observation)
    }

    /// Reads the tables of one database, each connection the next ones when it is done with some.
    async fn read(
        &self,
        opened: &Opened,
        tables: Vec<Table>,
        boundary: Option<Boundary>,
        question: &Question,
        seen: &mut Seen,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Vec<Table>> {
        let countable = || tables.iter().filter(|table| table.is_countable());
        seen.of_tables += countable().count();
        seen.of_bytes += countable().map(|table| table.bytes).sum::<u64>();
        let others = match countable().count() {
            0 => Vec::new(),
            many => self.others(opened, many).await?,
        };
        let so_far = Mutex::new(*seen);
        let database = opened.session.database();
        let tell = |table: &Table| {
            let mut seen = so_far.lock().unwrap_or_else(PoisonError::into_inner);
            seen.add(table);
            progress(seen.progress(database));
        };
        let waiting = Mutex::new(read::Queue::new(tables));
        let readers = std::iter::once(&opened.session).chain(&others).map(|session| async {
            let reader = Reader::new(session, boundary.as_ref(), question.newest_write).await?;
            let mut read = Vec::new();
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(mut group) = next else { break };
                reader.read(&mut group, &tell).await?;
                read.append(&mut group);
            }
            Ok::<Vec<Table>, Error>(read)
        });
        let read = futures::future::try_join_all(readers).await?;
        *seen = so_far.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut tables: Vec<Table> = read.into_iter().flatten().collect();
        tables.sort_by(|left, right| (&left.schema, &left.name).cmp(&(&right.schema, &right.name)));
        Ok(tables)
    }

    /// Further connections that see what the first one sees.
    async fn others(&self, opened: &Opened, at_most: usize) -> Result<Vec<Session>> {
        let mut others = Vec::new();
        let Some(instant) = &opened.instant else { return Ok(others) };
        while others.len() + 1 < self.look.connections.min(at_most) {
            match self.session_to(opened.session.database()).await {
                Ok(session) => {
                    session.run(&format!("{BEGIN}; set transaction snapshot '{}'", instant.exported)).await?;
                    others.push(session);
                }
                // The server is full: one connection reads everything as well.
                Err(failure) if failure.refusal == Refusal::Busy => break,
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(others)
    }
}

/// What was read so far.
#[derive(Clone, Copy, Default)]
struct Seen {
    tables: usize,
    of_tables: usize,
    rows: u64,
    bytes: u64,
    of_bytes: u64,
}

impl Seen {
    fn add(&mut self, table: &Table) {
        self.tables += 1;
        self.rows += table.rows().unwrap_or_default();
        self.bytes += table.bytes;
    }

    fn progress(self, database: &str) -> Progress<'_> {
        let Seen { tables, of_tables, rows, bytes, of_bytes } = self;
        Progress { database, tables, of_tables, rows, bytes, of_bytes }
    }
}

impl Observation {
    /// What concerns the whole server.
    async fn add_server(&mut self, session: &Session) -> Result<()> {
        self.next_transaction = self.next_transaction.max(read::reference(session).await?.next());
        let row = session
            .row(
                // A crash or a reset makes the counters start anew.
                "select greatest((select stats_reset from pg_stat_database where datname = current_database()),
                                 (select stats_reset from pg_stat_bgwriter), (select stats_reset from pg_stat_wal)),
                        current_setting('server_version_num')::int4, has_function_privilege('pg_control_system()', 'execute')",
                &[],
            )
            .await?;
        self.counting_since = self.counting_since.max(row.get(0));
        self.server_version = u32::try_from(row.get::<_, i32>(1)).unwrap_or_default();
        if row.get(2) {
            let row = session.row("select system_identifier from pg_control_system()", &[]).await?;
            self.system_identifier = Some(row.get(0));
        }
        Ok(())
    }

    /// What concerns the database of a session as a whole.
    async fn add_database(&mut self, session: &Session) -> Result<()> {
        let reference = read::reference(session).await?;
        let made = "select age(xmin)::int8, oid from pg_database where datname = current_database()";
        let made = session.row(made, &[]).await?;
        self.made_by.insert(session.database().to_owned(), reference.aged(made.get(0)));
        self.database_oids.insert(session.database().to_owned(), made.get(1));
        Ok(())
    }
}
