//! What the databases of a server contain.
//!
//! One REPEATABLE READ, READ ONLY transaction per database, so that all tables of a database are seen at one
//! instant. Leaf tables and materialised views are counted, partition parents not a second time; what cannot be
//! compared is listed with the reason.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::lineage::Horizon;
use crate::error::{Error, Result};
use crate::postgres::{QueryFailure, Refusal, Server, Session, quoted, user_databases};

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

/// Connections to the databases of a server, each in a transaction that sees one instant.
pub struct Databases {
    open: Vec<Session>,
    unreadable: BTreeMap<String, String>,
}

/// What is said to every session of an observation. The empty search path makes names mean one thing; with
/// `row_security = off` a policy that would hide rows is an error instead of a low count; `lock_timeout` keeps a
/// migration's lock from stopping us, and us from queueing up in front of others.
const SESSION: &str = "set search_path = pg_catalog; set row_security = off; set lock_timeout = '30s'; \
                       set statement_timeout = 0; set idle_in_transaction_session_timeout = 0; \
                       set default_transaction_read_only = on; set max_parallel_workers_per_gather = 1; set timezone = 'UTC'";

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
            match server.connect(&name).await {
                Ok(session) => {
                    session.run(SESSION).await?;
                    databases.open.push(session);
                }
                Err(failure) => {
                    databases.unreadable.insert(name, failure.error.chain());
                }
            }
        }
        Ok(databases)
    }

    /// Begins the transactions, all of them as close together as can be, and fixes what each will see.
    ///
    /// Returns the latest of their instants, by the server's clock: nothing that is committed later is seen.
    pub async fn begin(&self) -> Result<DateTime<Utc>> {
        let begun = futures::future::try_join_all(self.open.iter().map(|session| async {
            session.run(BEGIN).await?;
            // The first query takes the snapshot; the clock is read after that.
            let row = session.row("select pg_current_snapshot()::text, clock_timestamp()", &[]).await?;
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
        let session = self.open.first().ok_or_else(|| Error::outside("there is no database to look into"))?;
        Ok(session.row("select clock_timestamp()", &[]).await?.get(0))
    }

    /// Ends the transactions, so that they hold back no vacuum.
    pub async fn end(&self) -> Result<()> {
        for session in &self.open {
            session.run("rollback").await?;
        }
        Ok(())
    }

    /// The sessions that are open, by database.
    pub fn session(&self, database: &str) -> Option<&Session> {
        self.open.iter().find(|session| session.database() == database)
    }

    /// Any one session, for questions about the whole server.
    pub fn any(&self) -> Option<&Session> {
        self.open.first()
    }

    /// The write counters of every table as they are now, by database and object id, with the file of each. Taken
    /// outside of the transactions of [`Databases::begin`].
    pub async fn write_counters(&self) -> Result<BTreeMap<(String, u32), (WriteCounters, Option<u32>)>> {
        let mut counters = BTreeMap::new();
        for session in &self.open {
            for table in list_tables(session).await? {
                counters.insert((session.database().to_owned(), table.oid), (table.writes, table.filenode));
            }
        }
        Ok(counters)
    }

    /// Reads every table, in the transactions that [`Databases::begin`] began.
    pub async fn observe(
        &self,
        question: &Question,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Observation> {
        let mut observation = Observation { unreadable: self.unreadable.clone(), ..Observation::default() };
        let mut seen = (0, 0, 0);
        for session in &self.open {
            let mut tables = list_tables(session).await?;
            let reference = reference(session).await?;
            observation.next_transaction = observation.next_transaction.max(reference.next);
            let made = session
                .row("select age(xmin)::int8 from pg_database where datname = current_database()", &[])
                .await?;
            observation.made_by.insert(session.database().to_owned(), reference.aged(made.get(0)));
            let since = counting_since(session).await?;
            observation.counting_since = observation.counting_since.max(since);
            seen.1 += tables.iter().filter(|table| table.is_countable()).count();
            for table in tables.iter_mut().filter(|table| table.is_countable()) {
                count(session, table, question, reference).await?;
                seen.0 += 1;
                seen.2 += if let Counted::Rows(rows) = table.counted { rows } else { 0 };
                progress(Progress {
                    database: session.database(),
                    tables: seen.0,
                    of_tables: seen.1,
                    rows: seen.2,
                });
            }
            observation.databases.insert(session.database().to_owned(), tables);
        }
        Ok(observation)
    }
}

/// The transaction id that `age()` counts from in this transaction, as 64 bits: `age()` knows only the lower 32.
#[derive(Clone, Copy, Debug)]
struct Reference {
    next: u64,
}

async fn reference(session: &Session) -> Result<Reference> {
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
    fn aged(self, age: i64) -> u64 {
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

/// Every table of a database that holds rows of its own, and those that are deliberately not counted.
///
/// When a table was made is read off its system columns in `pg_attribute`: hardly anything ever touches those rows
/// again, while the row in `pg_class` is replaced by many commands.
const TABLES: &str = "
    select c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text,
           pg_relation_filenode(c.oid),
           has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT'),
           coalesce(pg_stat_get_tuples_inserted(c.oid), 0), coalesce(pg_stat_get_tuples_updated(c.oid), 0),
           coalesce(pg_stat_get_tuples_deleted(c.oid), 0),
           (select max(age(a.xmin))::int8 from pg_attribute a where a.attrelid = c.oid and a.attnum < 0),
           c.relkind = 'm' and not c.relispopulated
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'm', 'f')
      and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and n.nspname !~ '^pg_(temp|toast_temp)_'
    order by pg_relation_size(c.oid) desc nulls last, n.nspname, c.relname";

async fn list_tables(session: &Session) -> Result<Vec<Table>> {
    let reference = reference(session).await?;
    let rows = session.rows(TABLES, &[]).await?;
    let table = |row: &tokio_postgres::Row| {
        let (kind, persistence): (String, String) = (row.get(3), row.get(4));
        let counted = if kind == "f" {
            Counted::Skipped("a foreign table: its rows are not in this database".to_owned())
        } else if persistence == "u" {
            Counted::Skipped(
                "unlogged: PostgreSQL empties it in every restore, so it is not recoverable".to_owned(),
            )
        } else if row.get(11) {
            Counted::Skipped("a materialised view that has never been filled".to_owned())
        } else if !row.get::<_, bool>(6) {
            Counted::Unreadable("permission denied".to_owned())
        } else {
            Counted::Rows(0)
        };
        Table {
            oid: row.get(0),
            schema: row.get(1),
            name: row.get(2),
            filenode: row.get(5),
            counted,
            writes: WriteCounters { inserted: row.get(7), updated: row.get(8), deleted: row.get(9) },
            created_by: row.get::<_, Option<i64>>(10).map(|age| reference.aged(age)),
            newest_write: None,
            surely_older: None,
            maybe_older: None,
        }
    };
    Ok(rows.iter().map(table).collect())
}

/// Counts one table. An error of the server is the table's own and is kept with it; a broken connection is not.
async fn count(
    session: &Session,
    table: &mut Table,
    question: &Question,
    reference: Reference,
) -> Result<()> {
    let name = table.quoted();
    let sql = match question {
        Question::Rows => format!("select count(*), null::int8, null::int8 from only {name}"),
        Question::NewestWrite => {
            format!("select count(*), min(age(xmin))::int8, null::int8 from only {name}")
        }
        Question::Survivors(horizon) => format!(
            "select count(*), count(*) filter (where age(xmin) >= age('{}'::xid)), \
             count(*) filter (where age(xmin) >= age('{}'::xid)) from only {name}",
            horizon.surely_before as u32, horizon.maybe_before as u32
        ),
    };
    session.run("savepoint a_table").await?;
    match session.row(&sql, &[]).await {
        Ok(row) => {
            let number = |column| row.get::<_, Option<i64>>(column);
            let rows = |column| number(column).and_then(|rows| u64::try_from(rows).ok());
            table.counted = Counted::Rows(rows(0).unwrap_or_default());
            match question {
                Question::Rows => {}
                Question::NewestWrite => table.newest_write = number(1).map(|age| reference.aged(age)),
                Question::Survivors(_) => (table.surely_older, table.maybe_older) = (rows(1), rows(2)),
            }
            session.run("release savepoint a_table").await?;
        }
        Err(failure) if failure.session_survives() => {
            table.counted = Counted::Unreadable(match failure.sqlstate.as_deref() {
                Some("42P01") => "it was dropped while the database was being observed".to_owned(),
                Some("42501") => format!("{} (row-level security or rights)", failure.message),
                _ => failure.message.clone(),
            });
            session.run("rollback to savepoint a_table; release savepoint a_table").await?;
        }
        Err(failure) => return Err(failure.into()),
    }
    Ok(())
}
