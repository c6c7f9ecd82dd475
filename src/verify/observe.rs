//! What the databases of a server contain.
//!
//! One REPEATABLE READ, READ ONLY transaction per database, so that all tables of a database are seen at one
//! instant ([`super::connections`]). Leaf tables and materialized views are counted, partition parents not a second time; what cannot be
//! compared is listed with the reason.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::boundary::Boundary;
use super::catalog;
use super::connections::Opened;
pub(crate) use super::connections::{Databases, Visit};
use super::depth::{Copies, Depth};
pub(crate) use super::observation::{
    Counted, DROPPED_MEANWHILE, Observation, Strata, Stratum, Table, WriteCounters, Written, WrittenTables,
};
use super::read::{self, Reader};
use super::schema::RECIPE;
use crate::error::{Error, Result};
use crate::postgres::Session;

/// What is read of the rows of each table, besides their number and content.
#[derive(Clone, Debug, Default)]
pub(crate) struct Question {
    /// Where to divide the rows by age, for each database.
    pub boundaries: BTreeMap<String, Boundary>,
    /// On a physical copy: the newest transaction that wrote one of them.
    pub newest_write: bool,
}

/// Progress of an observation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
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

impl Progress {
    fn add(&mut self, table: &Table) {
        self.tables += 1;
        self.rows += table.counted_rows().unwrap_or_default();
        self.bytes += table.bytes;
    }
}

/// An observation in progress.
pub(super) struct Observing<'a> {
    seen: Progress,
    question: &'a Question,
    progress: &'a (dyn Fn(Progress) + Sync),
}

impl<'a> Observing<'a> {
    pub(super) fn new(question: &'a Question, progress: &'a (dyn Fn(Progress) + Sync)) -> Self {
        Observing { seen: Progress::default(), question, progress }
    }
}

impl Databases {
    /// Reads every table, largest first: of databases that [`Databases::begin_prepared`] holds at the instant that was fixed
    /// there, of the others each at an instant of its own, one database after the other.
    pub(crate) async fn observe(
        &self,
        question: &Question,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Observation> {
        let mut observation = Observation { unreadable: self.unreadable().clone(), ..Observation::default() };
        let mut observing = Observing::new(question, progress);
        for name in self.database_names() {
            let observed = match self.opened(name) {
                Some(opened) => self.observe_one(opened, &mut observing).await,
                None => match self.open_database(name).await {
                    Ok(opened) => self.observe_one(&opened, &mut observing).await,
                    Err(error) => Err(error),
                },
            };
            match observed {
                Ok(observed) => observation.add_database(name, observed),
                Err(error) => self.note_unread(&mut observation, name, &error).await?,
            }
        }
        if observation.databases.is_empty()
            && let Some(reason) = observation.unreadable.values().next()
        {
            return Err(Error::outside("no database could be read").caused_by(reason.clone()));
        }
        Ok(observation)
    }

    /// Notes a database that could not be read. Its owner may have dropped it, even WITH (FORCE); the other databases are
    /// unaffected.
    pub(super) async fn note_unread(&self, seen: &mut Observation, name: &str, error: &Error) -> Result<()> {
        match self.still_exists(name).await? {
            true => drop(seen.unreadable.insert(name.to_owned(), error.chain())),
            false => drop(seen.dropped.insert(name.to_owned())),
        }
        Ok(())
    }

    /// Reads one database, in the transaction that `opened` holds.
    pub(super) async fn observe_one(
        &self,
        opened: &Opened,
        observing: &mut Observing<'_>,
    ) -> Result<Observation> {
        let mut observation = Observation::default();
        let session = &opened.session;
        let name = session.database().to_owned();
        observation.add_server(session).await?;
        observation.read_database(session).await?;
        observation.last_instant = Some(opened.instant.at);
        if let Some(structure) = &opened.structure {
            observation.definitions.insert(name.clone(), structure.definitions.clone());
            observation.definitions_recipe = RECIPE;
            observation.definitions_since.insert(name.clone(), structure.settled_before);
            observation.sequences.insert(name.clone(), structure.sequences.clone());
        }
        let instant = &opened.instant.boundary;
        observation.boundaries.insert(name.clone(), instant.clone());
        // The boundary of this very instant is recorded too, unless no transaction was running.
        let boundary = observing.question.boundaries.get(&name).cloned();
        let boundary = boundary.or_else(|| instant.has_running().then(|| instant.clone()));
        let mut tables = catalog::list_tables(session).await?;
        let is_standby: bool = session.row("select pg_is_in_recovery()", &[]).await?.get(0);
        for table in &mut tables {
            table.depth = self.read_settings().depths.depth_of(&name, &table.schema, &table.name);
            if table.depth == Depth::Schema && !matches!(table.counted, Counted::Skipped(_)) {
                table.counted =
                    Counted::Skipped("rows were not compared, as requested (depth schema)".to_owned());
            }
            if self.read_settings().copies == Copies::Physical || is_standby {
                table.skip_if_unlogged();
            }
            if self.read_settings().copies == Copies::Physical || table.depth == Depth::Schema {
                table.carried = None;
            }
        }
        let tables = self.read(opened, tables, boundary, observing).await?;
        observation.databases.insert(name, tables);
        Ok(observation)
    }

    /// Reads the tables of one database, each connection the next ones when it is done with some.
    async fn read(
        &self,
        opened: &Opened,
        tables: Vec<Table>,
        boundary: Option<Boundary>,
        observing: &mut Observing<'_>,
    ) -> Result<Vec<Table>> {
        let Observing { seen, question, progress } = observing;
        let countable = || tables.iter().filter(|table| table.is_countable());
        seen.of_tables += countable().count();
        seen.of_bytes += countable().map(|table| table.bytes).sum::<u64>();
        let others = match countable().count() {
            0 => Vec::new(),
            many => self.open_readers(opened, many).await?,
        };
        let so_far = Mutex::new(*seen);
        let tell = |table: &Table| {
            let mut seen = so_far.lock();
            seen.add(table);
            progress(*seen);
        };
        let waiting = Mutex::new(read::Queue::new(tables));
        let readers = std::iter::once(&opened.session).chain(&others).map(|session| async {
            let reader = Reader::new(session, boundary.as_ref(), question.newest_write).await?;
            let mut read = Vec::new();
            loop {
                let next = waiting.lock().next_group();
                let Some(mut group) = next else { break };
                reader.read_group(&mut group, &tell).await?;
                read.append(&mut group);
            }
            Ok::<Vec<Table>, Error>(read)
        });
        let read = futures::future::try_join_all(readers).await?;
        *seen = so_far.into_inner();
        let mut tables: Vec<Table> = read.into_iter().flatten().collect();
        tables.sort_by(|left, right| (&left.schema, &left.name).cmp(&(&right.schema, &right.name)));
        Ok(tables)
    }
}

impl Observation {
    /// Reads what concerns the whole server.
    async fn add_server(&mut self, session: &Session) -> Result<()> {
        self.next_transaction = self.next_transaction.max(read::read_reference(session).await?.next_id());
        let row = session
            .row(
                // A crash or a reset sets the counters to zero.
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

    /// Reads what concerns the database of a session as a whole.
    async fn read_database(&mut self, session: &Session) -> Result<()> {
        let reference = read::read_reference(session).await?;
        let made = "select age(xmin)::int8, oid from pg_database where datname = current_database()";
        let made = session.row(made, &[]).await?;
        self.made_by.insert(session.database().to_owned(), reference.id_of_age(made.get(0)));
        self.database_oids.insert(session.database().to_owned(), made.get(1));
        Ok(())
    }
}
