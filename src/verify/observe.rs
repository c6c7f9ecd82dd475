//! What the databases of a server contain.
//!
//! One REPEATABLE READ, READ ONLY transaction per database, so that all tables of a database are seen at one
//! instant. Leaf tables and materialised views are counted, partition parents not a second time; what cannot be
//! compared is listed with the reason.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::catalog;
use super::fingerprint::{Column, SETTINGS, row_hash};
use super::lineage::Horizon;
use super::schema::{self, Definitions, Sequences};
use crate::error::{Error, Result};
use crate::postgres::{ConnectFailure, QueryFailure, Refusal, Server, Session, quoted, user_databases};

/// What is asked of each table besides its number of rows.
#[derive(Clone, Debug)]
pub enum Question {
    /// Nothing more.
    Rows,
    /// On a physical copy: the newest transaction that wrote one of its rows.
    NewestWrite,
    /// On the source of a copy: how many of its rows date from before the copy.
    Survivors(Horizon),
}

/// How deep an observation looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// Exact numbers of rows.
    Counts,
    /// Those, a fingerprint of every table's content, definitions and sequences.
    #[default]
    Content,
}

/// How many rows a table has, or why that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Counted exactly.
    Rows(u64),
    /// Deliberately not counted, with the reason.
    Skipped(String),
    /// It could not be read, with the reason.
    Unreadable(String),
}

/// How often a table was written to, since its statistics were last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteCounters {
    /// Rows inserted.
    pub inserted: i64,
    /// Rows updated.
    pub updated: i64,
    /// Rows deleted.
    pub deleted: i64,
}

/// A table as it was seen.
#[derive(Clone, Debug)]
pub struct Table {
    /// Object id; a physical copy has the same.
    pub oid: u32,
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Its file; another one means that it was truncated or rewritten.
    pub filenode: Option<u32>,
    /// Its rows.
    pub counted: Counted,
    /// Its write counters.
    pub writes: WriteCounters,
    /// Transaction that made it, as far as the catalog still tells.
    pub created_by: Option<u64>,
    /// Answer to [`Question::NewestWrite`]: full transaction id.
    pub newest_write: Option<u64>,
    /// Answer to [`Question::Survivors`]: rows surely older than the copy.
    pub surely_older: Option<u64>,
    /// Answer to [`Question::Survivors`]: rows that may be older than the copy.
    pub maybe_older: Option<u64>,
    /// Its columns, as far as the fingerprint depends on them.
    pub columns: Vec<Column>,
    /// The fingerprint of its content, where that was asked for.
    pub fingerprint: Option<String>,
    /// The fingerprint of the rows that may be older than the copy.
    pub older_fingerprint: Option<String>,
}

impl Table {
    /// Whether queries can reach its rows.
    fn is_countable(&self) -> bool {
        matches!(self.counted, Counted::Rows(_))
    }

    /// Schema and name, quoted.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

/// What the databases of a server were seen to contain.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// Tables by database.
    pub databases: BTreeMap<String, Vec<Table>>,
    /// Databases that could not be looked into, with the reason.
    pub unreadable: BTreeMap<String, String>,
    /// Transaction that made (or last altered) a database.
    pub made_by: BTreeMap<String, u64>,
    /// Object ids of the databases; a physical copy has the same.
    pub database_oids: BTreeMap<String, u32>,
    /// Definitions by database.
    pub definitions: BTreeMap<String, Definitions>,
    /// Sequences by database.
    pub sequences: BTreeMap<String, Sequences>,
    /// Newest transaction id that the server had handed out by then.
    pub next_transaction: u64,
    /// Since when the write counters have been counting, if that is known.
    pub counting_since: Option<DateTime<Utc>>,
}

impl Observation {
    /// How many rows were counted in all.
    pub fn rows(&self) -> u64 {
        let tables = self.databases.values().flatten();
        tables
            .filter_map(|table| if let Counted::Rows(rows) = table.counted { Some(rows) } else { None })
            .sum()
    }
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
}

/// Connections to the databases of a server, each database in transactions that see one instant.
pub struct Databases {
    open: Vec<Connections>,
    unreadable: BTreeMap<String, String>,
}

/// The connections to one database: the first exports its snapshot, the others import it.
struct Connections {
    first: Session,
    others: Vec<Session>,
}

/// Connections to each database: as many as cores of a small instance. More of them read no faster and take memory
/// from the users of the source.
const CONNECTIONS: usize = 2;

/// What is said to every session of an observation. The empty search path makes names mean one thing; with
/// `row_security = off` a policy that would hide rows is an error instead of a low count; `lock_timeout` keeps a
/// migration's lock from stopping us, and us from queueing up in front of others.
const SESSION: &str = "set search_path = pg_catalog; set row_security = off; set lock_timeout = '30s'; \
                       set statement_timeout = 0; set idle_in_transaction_session_timeout = 0; \
                       set default_transaction_read_only = on; set max_parallel_workers_per_gather = 1; \
                       set synchronize_seqscans = off";

const BEGIN: &str = "begin isolation level repeatable read read only";

impl Databases {
    /// Connects to the user databases of a server, or to those named in `only`. A name that the server does not
    /// have is simply absent from the observation.
    ///
    /// A database that exists and does not let us in is kept as unreadable: what it holds is then unknown.
    pub async fn connect(server: &Server, only: &[String]) -> Result<Self> {
        // Someone may have dropped `postgres`, or closed it to us.
        let first = match (server.connect("postgres").await, only.first()) {
            (Ok(session), _) => session,
            (Err(failure), Some(name)) if failure.refusal == Refusal::Database => {
                server.connect(name).await?
            }
            (Err(failure), _) => return Err(failure.into()),
        };
        let mut wanted = user_databases(&first).await?;
        if !only.is_empty() {
            wanted.retain(|(name, _)| only.contains(name));
        }
        let mut databases = Databases { open: Vec::new(), unreadable: BTreeMap::new() };
        for (name, may_connect) in wanted {
            if !may_connect {
                let reason = format!("user `{}` may not connect to it", server.user);
                databases.unreadable.insert(name, reason);
                continue;
            }
            match connections(server, &name).await {
                Ok(connections) => databases.open.push(connections),
                Err(failure) => {
                    databases.unreadable.insert(name, failure.error.chain());
                }
            }
        }
        Ok(databases)
    }

    fn firsts(&self) -> impl Iterator<Item = &Session> {
        self.open.iter().map(|connections| &connections.first)
    }

    /// Begins the transactions, all of them as close together as can be, and fixes what each will see.
    ///
    /// Returns the latest of their instants, by the server's clock: nothing that is committed later is seen.
    pub async fn begin(&self) -> Result<DateTime<Utc>> {
        let begun = futures::future::try_join_all(self.open.iter().map(|connections| async {
            connections.first.run(BEGIN).await?;
            // The first query takes the snapshot; the clock is read after that.
            let row = connections.first.row("select pg_export_snapshot(), clock_timestamp()", &[]).await?;
            let snapshot: String = row.get(0);
            for other in &connections.others {
                other.run(&format!("{BEGIN}; set transaction snapshot '{snapshot}'")).await?;
            }
            Ok::<DateTime<Utc>, QueryFailure>(row.get(1))
        }))
        .await?;
        begun.into_iter().max().ok_or_else(|| Error::outside("there is no database to look into"))
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
    pub async fn end(&self) -> Result<()> {
        for connections in &self.open {
            for session in connections.all() {
                session.run("rollback").await?;
            }
        }
        Ok(())
    }

    /// The sessions that are open, by database.
    pub fn session(&self, database: &str) -> Option<&Session> {
        self.firsts().find(|session| session.database() == database)
    }

    /// Any one session, for questions about the whole server.
    pub fn any(&self) -> Option<&Session> {
        self.firsts().next()
    }

    /// The write counters of every table as they are now, by database and object id, with the file of each. Taken
    /// outside of the transactions of [`Databases::begin`].
    pub async fn write_counters(&self) -> Result<BTreeMap<(String, u32), (WriteCounters, Option<u32>)>> {
        let mut counters = BTreeMap::new();
        for session in self.firsts() {
            for table in catalog::tables(session).await? {
                counters.insert((session.database().to_owned(), table.oid), (table.writes, table.filenode));
            }
        }
        Ok(counters)
    }

    /// Where the sequences stand now, by database. They are not part of transactions.
    pub async fn sequences(&self) -> Result<BTreeMap<String, Sequences>> {
        let mut all = BTreeMap::new();
        for session in self.firsts() {
            all.insert(session.database().to_owned(), schema::sequences(session).await?);
        }
        Ok(all)
    }

    /// The definitions as they are now, by database.
    pub async fn definitions(&self) -> Result<BTreeMap<String, Definitions>> {
        let mut all = BTreeMap::new();
        for session in self.firsts() {
            all.insert(session.database().to_owned(), schema::definitions(session).await?);
        }
        Ok(all)
    }

    /// Reads every table, largest first, in the transactions that [`Databases::begin`] began.
    pub async fn observe(
        &self,
        question: &Question,
        depth: Depth,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Observation> {
        let mut observation = Observation { unreadable: self.unreadable.clone(), ..Observation::default() };
        let mut done = (0, 0, 0);
        for connections in &self.open {
            let session = &connections.first;
            let reference = reference(session).await?;
            observation.next_transaction = observation.next_transaction.max(reference.next);
            let made = "select age(xmin)::int8, oid from pg_database where datname = current_database()";
            let made = session.row(made, &[]).await?;
            observation.made_by.insert(session.database().to_owned(), reference.aged(made.get(0)));
            observation.database_oids.insert(session.database().to_owned(), made.get(1));
            observation.counting_since = observation.counting_since.max(counting_since(session).await?);

            if depth == Depth::Content {
                let name = session.database().to_owned();
                observation.definitions.insert(name.clone(), schema::definitions(session).await?);
                observation.sequences.insert(name, schema::sequences(session).await?);
            }
            let tables = catalog::tables(session).await?;
            done.1 += tables.iter().filter(|table| table.is_countable()).count();
            let of_tables = done.1;
            let seen = Mutex::new(done);
            let tell = |table: &Table| {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.0 += 1;
                seen.2 += if let Counted::Rows(rows) = table.counted { rows } else { 0 };
                progress(Progress { database: session.database(), tables: seen.0, of_tables, rows: seen.2 });
            };
            let tables = connections.count_all(tables, question, depth, &tell).await?;
            done = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
            observation.databases.insert(session.database().to_owned(), tables);
        }
        Ok(observation)
    }
}

async fn connections(server: &Server, database: &str) -> std::result::Result<Connections, ConnectFailure> {
    let settings = format!("{SESSION}; {SETTINGS}");
    let open = async || {
        let session = server.connect(database).await?;
        let failed =
            |failure: QueryFailure| ConnectFailure { refusal: Refusal::Other, error: failure.into() };
        session.run(&settings).await.map_err(failed)?;
        Ok::<Session, ConnectFailure>(session)
    };
    let (first, mut others) = (open().await?, Vec::new());
    while others.len() + 1 < CONNECTIONS {
        match open().await {
            Ok(session) => others.push(session),
            // The server is full: one connection reads everything as well.
            Err(failure) if failure.refusal == Refusal::Busy => break,
            Err(failure) => return Err(failure),
        }
    }
    Ok(Connections { first, others })
}

impl Connections {
    fn all(&self) -> impl Iterator<Item = &Session> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Reads all tables, each connection the next one when it is done with one.
    async fn count_all(
        &self,
        tables: Vec<Table>,
        question: &Question,
        depth: Depth,
        tell: &(dyn Fn(&Table) + Sync),
    ) -> Result<Vec<Table>> {
        let waiting = Mutex::new(tables.into_iter());
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
        let read = futures::future::try_join_all(self.all().map(|session| async {
            // `age()` counts from another transaction in each session.
            let reference = reference(session).await?;
            let mut read = Vec::new();
            while let Some(mut table) = next() {
                if table.is_countable() {
                    count(session, &mut table, question, depth, reference).await?;
                    tell(&table);
                }
                read.push(table);
            }
            Ok::<Vec<Table>, Error>(read)
        }))
        .await?;
        let mut tables: Vec<Table> = read.into_iter().flatten().collect();
        tables.sort_by(|left, right| (&left.schema, &left.name).cmp(&(&right.schema, &right.name)));
        Ok(tables)
    }
}

/// The transaction id that `age()` counts from in this transaction, as 64 bits: `age()` knows only the lower 32.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference {
    next: u64,
}

pub(super) async fn reference(session: &Session) -> Result<Reference> {
    let row = session
        .row("select pg_snapshot_xmax(pg_current_snapshot())::text::int8, age('3'::xid)::int8", &[])
        .await?;
    let snapshot = u64::try_from(row.get::<_, i64>(0)).unwrap_or_default();
    let low = (3 + row.get::<_, i64>(1)) as u32;
    // The counter that `age()` starts from is read a moment after the snapshot: never far ahead of it.
    let ahead = low.wrapping_sub(snapshot as u32);
    Ok(Reference { next: snapshot.saturating_add(u64::from(ahead)) })
}

impl Reference {
    /// The transaction that is `age` old. Frozen rows of ancient times have the greatest age there is.
    pub(super) fn aged(self, age: i64) -> u64 {
        self.next.saturating_add_signed(-age)
    }
}

/// Since when the counters of `pg_stat` have counted: a crash or a reset makes them start anew.
async fn counting_since(session: &Session) -> Result<Option<DateTime<Utc>>> {
    let row = session
        .row(
            "select greatest((select stats_reset from pg_stat_database where datname = current_database()),
                             (select stats_reset from pg_stat_bgwriter), (select stats_reset from pg_stat_wal))",
            &[],
        )
        .await?;
    Ok(row.get(0))
}

/// Reads one table. An error of the server is the table's own and is kept with it; a broken connection is not.
async fn count(
    session: &Session,
    table: &mut Table,
    question: &Question,
    depth: Depth,
    reference: Reference,
) -> Result<()> {
    session.run("savepoint a_table").await?;
    match session.row(&count_sql(table, question, depth), &[]).await {
        Ok(row) => {
            let number = |column| row.get::<_, Option<i64>>(column);
            let rows = |column| number(column).and_then(|rows| u64::try_from(rows).ok());
            table.counted = Counted::Rows(rows(0).unwrap_or_default());
            table.fingerprint = row.get(1);
            match question {
                Question::Rows => {}
                Question::NewestWrite => table.newest_write = number(2).map(|age| reference.aged(age)),
                Question::Survivors(_) => {
                    (table.surely_older, table.maybe_older) = (rows(2), rows(3));
                    table.older_fingerprint = row.get(4);
                }
            }
            session.run("release savepoint a_table").await?;
        }
        Err(failure) if failure.session_survives() => {
            table.counted = match failure.sqlstate.as_deref() {
                // Its owner wanted it gone, so nothing is lost with it.
                Some("42P01") => Counted::Skipped("dropped while the database was being observed".to_owned()),
                Some("42501") => {
                    Counted::Unreadable(format!("{} (row-level security or rights)", failure.message))
                }
                _ => Counted::Unreadable(failure.message.clone()),
            };
            session.run("rollback to savepoint a_table; release savepoint a_table").await?;
        }
        Err(failure) => return Err(failure.into()),
    }
    Ok(())
}

/// One pass over the table for everything that is asked. The sum over no row is NULL, and that is 0.
fn count_sql(table: &Table, question: &Question, depth: Depth) -> String {
    let name = table.quoted();
    let hash = match depth {
        Depth::Counts => None,
        Depth::Content => Some(row_hash(&table.columns)),
    };
    let sum = |filter: &str| match &hash {
        None => "null::text".to_owned(),
        Some(hash) => format!("coalesce(sum({hash}){filter}, 0)::text"),
    };
    match question {
        Question::Rows => format!("select count(*), {} from only {name}", sum("")),
        Question::NewestWrite => {
            format!("select count(*), {}, min(age(xmin))::int8 from only {name}", sum(""))
        }
        Question::Survivors(horizon) => {
            let older = |than: u64| format!(" filter (where age(xmin) >= age('{}'::xid))", than as u32);
            let (surely, maybe) = (older(horizon.surely_before), older(horizon.maybe_before));
            format!(
                "select count(*), null::text, count(*){surely}, count(*){maybe}, {} from only {name}",
                sum(&maybe)
            )
        }
    }
}
