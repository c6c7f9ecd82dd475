//! What databases were seen to contain: plain data, as it is judged and as a baseline stores it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::boundary::Boundary;
use super::depth::Depth;
use super::fingerprint::Column;
use super::schema::{Definitions, Sequences};
use crate::postgres::quote_identifier;

/// How many rows a table has, or why that is unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Counted {
    /// Counted exactly.
    Rows(u64),
    /// Deliberately not counted, with the reason.
    Skipped(String),
    /// It could not be read, with the reason.
    Unreadable(String),
    /// The server reports that it is damaged.
    Damaged(String),
}

/// Why a table was not counted whose owner dropped it after it was listed.
pub(crate) const DROPPED_MEANWHILE: &str = "dropped while the database was being observed";

/// How often a table was written to, since its statistics were last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WriteCounters {
    /// Rows inserted.
    pub inserted: i64,
    /// Rows updated.
    pub updated: i64,
    /// Rows deleted.
    pub deleted: i64,
}

/// One reading of the writes to a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub counters: WriteCounters,
    /// Its file; a different one means that it was truncated or rewritten.
    pub filenode: Option<u32>,
}

/// The write counters of tables, by database and object id.
pub(crate) type WrittenTables = BTreeMap<String, BTreeMap<u32, Written>>;

/// Some of the rows of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stratum {
    pub rows: u64,
    /// Sum of their fingerprints; 0 where no content was read.
    #[serde(with = "as_text")]
    pub sum: i128,
}

impl std::ops::Add for Stratum {
    type Output = Stratum;

    fn add(self, other: Stratum) -> Stratum {
        Stratum { rows: self.rows + other.rows, sum: self.sum + other.sum }
    }
}

/// The rows of a table by the age of the transactions that wrote them (see [`Boundary`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Strata {
    /// Written by transactions that had ended before any that was still running at the boundary.
    pub settled: Stratum,
    /// Written by transactions that had ended by the boundary, while older ones were still running.
    pub recent: Stratum,
    /// Written later.
    pub newer: Stratum,
}

impl Strata {
    /// The rows up to the boundary.
    pub(crate) fn older_rows(&self) -> Stratum {
        self.settled + self.recent
    }
}

/// What a table's files and statistics show, apart from its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Vessel {
    /// Rows by the last ANALYZE or VACUUM, if there was one and this server has made none since it was started.
    pub estimate: Option<u64>,
    /// Bytes of its main file.
    pub bytes: u64,
    /// Bytes of its largest index.
    pub index_bytes: u64,
    /// Transaction that last altered or truncated it, as far as the catalog still tells.
    pub altered_by: Option<u64>,
}

impl Vessel {
    /// Whether it looks as after TRUNCATE: any row would have left a page in it or in an index.
    pub(crate) fn shows_no_page(&self) -> bool {
        const META_PAGE: u64 = 8192;
        self.bytes == 0 && self.index_bytes <= META_PAGE && self.estimate.unwrap_or_default() == 0
    }
}

/// Rows as they were seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Portion {
    pub rows: u64,
    /// The fingerprint of their content, where that was taken.
    pub fingerprint: Option<String>,
}

/// What a dump includes of a table, if not every value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Carried {
    /// All but generated columns, which a restore recomputes, and XML without the declarations that its output leaves out.
    Columns {
        /// The generated ones.
        computed: Vec<String>,
        /// The rows without them.
        seen: Option<Portion>,
    },
    /// The bytes of large objects; pages in which nothing was ever written come back as pages of zeros.
    LargeObjects {
        /// Their content, whatever its pages.
        seen: Option<Portion>,
    },
    /// Rows of an extension's table that meet the extension's condition.
    Condition {
        extension: String,
        /// SQL that follows the name of the table.
        condition: String,
        /// Those rows.
        seen: Option<Portion>,
    },
    /// No row: the extension creates them.
    Nothing { extension: String },
}

impl Carried {
    /// What was seen of it.
    pub(crate) fn portion_seen(&self) -> Option<&Portion> {
        match self {
            Carried::Columns { seen, .. }
            | Carried::LargeObjects { seen }
            | Carried::Condition { seen, .. } => seen.as_ref(),
            Carried::Nothing { .. } => None,
        }
    }

    pub(super) fn set_seen(&mut self, portion: Portion) {
        match self {
            Carried::Columns { seen, .. }
            | Carried::LargeObjects { seen }
            | Carried::Condition { seen, .. } => *seen = Some(portion),
            Carried::Nothing { .. } => {}
        }
    }

    /// The same without the observed content.
    pub(super) fn kind(&self) -> Carried {
        let mut kind = self.clone();
        match &mut kind {
            Carried::Columns { seen, .. }
            | Carried::LargeObjects { seen }
            | Carried::Condition { seen, .. } => *seen = None,
            Carried::Nothing { .. } => {}
        }
        kind
    }
}

/// Why an unlogged table is not compared with a physical copy.
pub(super) const UNLOGGED: &str = "unlogged: PostgreSQL empties it on restore, so it cannot be recovered";

/// Large objects by their content: pages without the zeros at their end, and the length of each object. A page that was
/// never written is the same content as one of zeros.
const LARGE_OBJECTS: &str = "
    select loid, pageno, rtrim(data, '\\x00'::bytea) as data from pg_catalog.pg_largeobject
    where rtrim(data, '\\x00'::bytea) <> ''::bytea
    union all
    select loid, -1, int8send(max(pageno * (current_setting('block_size')::int8 / 4) + octet_length(data)))
    from pg_catalog.pg_largeobject group by loid";

/// An observed table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Table {
    /// Object id; a physical copy has the same.
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// Whether it is a materialized view.
    pub is_view: bool,
    /// Size of its rows on disk.
    pub bytes: u64,
    /// How deeply it was read.
    pub depth: Depth,
    /// Its rows.
    pub counted: Counted,
    /// Its write counters and its file.
    pub written: Written,
    /// Transaction that made it, as far as the catalog still tells.
    pub created_by: Option<u64>,
    /// Full id of the newest transaction that wrote one of its rows, where that was asked.
    pub newest_write: Option<u64>,
    /// Its rows by age, where that was asked.
    pub strata: Option<Strata>,
    /// Its columns, as far as the fingerprint depends on them.
    pub columns: Vec<Column>,
    /// Numbers of the columns of its primary key, or of another unique key that holds no NULL.
    pub key: Vec<usize>,
    /// The fingerprint of its content, where that was taken.
    pub fingerprint: Option<String>,
    /// What its files and statistics show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vessel: Option<Vessel>,
    /// Whether it is unlogged: physical copies lack its rows, dumps include them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_unlogged: bool,
    /// What a dump includes of it, if not everything and if it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<Carried>,
}

impl Table {
    /// Whether queries can reach its rows.
    pub(super) fn is_countable(&self) -> bool {
        matches!(self.counted, Counted::Rows(_)) && self.depth != Depth::Schema
    }

    /// Removes the rows that physical copies lack.
    pub(super) fn skip_if_unlogged(&mut self) {
        if self.is_unlogged && !matches!(self.counted, Counted::Skipped(_)) {
            self.counted = Counted::Skipped(UNLOGGED.to_owned());
        }
    }

    /// How many rows it has, if that is known.
    pub(crate) fn counted_rows(&self) -> Option<u64> {
        match self.counted {
            Counted::Rows(rows) => Some(rows),
            Counted::Skipped(_) | Counted::Unreadable(_) | Counted::Damaged(_) => None,
        }
    }

    /// What follows FROM to read what a dump includes of it.
    pub(super) fn carried_rows(&self) -> String {
        match &self.carried {
            Some(Carried::LargeObjects { .. }) => format!("({LARGE_OBJECTS}) as objects"),
            Some(Carried::Condition { condition, .. }) => format!("only {} {condition}", self.quoted_name()),
            _ => format!("only {}", self.quoted_name()),
        }
    }

    /// The columns that a dump includes.
    pub(super) fn carried_columns(&self) -> Vec<Column> {
        let is_computed = |name: &String| match &self.carried {
            Some(Carried::Columns { computed, .. }) => computed.contains(name),
            _ => false,
        };
        let carried = self.columns.iter().filter(|column| !is_computed(&column.name));
        carried.map(|column| if column.is_xml() { column.as_written() } else { column.clone() }).collect()
    }

    /// Schema and name, quoted.
    pub(crate) fn quoted_name(&self) -> String {
        format!("{}.{}", quote_identifier(&self.schema), quote_identifier(&self.name))
    }
}

/// What the databases of a server were seen to contain.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Observation {
    pub databases: BTreeMap<String, Vec<Table>>,
    /// Databases that could not be read, with the reason.
    pub unreadable: BTreeMap<String, String>,
    /// Databases that were dropped while they were being read.
    #[serde(default)]
    pub dropped: BTreeSet<String>,
    /// The latest of the instants at which the databases were seen, by the server's clock: nothing that was committed
    /// later is in here.
    #[serde(default)]
    pub last_instant: Option<DateTime<Utc>>,
    /// Transaction that made (or last altered) a database.
    pub made_by: BTreeMap<String, u64>,
    /// Object ids of the databases; a physical copy has the same.
    pub database_oids: BTreeMap<String, u32>,
    /// Definitions by database.
    pub definitions: BTreeMap<String, Definitions>,
    /// Which kinds of definitions were read (see [`super::schema::RECIPE`]).
    #[serde(default)]
    pub definitions_recipe: u32,
    /// Every transaction before this one had ended when the definitions were read, by database.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub definitions_since: BTreeMap<String, u64>,
    /// Sequences by database.
    pub sequences: BTreeMap<String, Sequences>,
    /// Which transactions had ended at the instant that was seen, by database.
    pub boundaries: BTreeMap<String, Boundary>,
    /// Newest transaction id that the server had handed out by then.
    pub next_transaction: u64,
    /// Since when the write counters have been counting, if that is known.
    pub counting_since: Option<DateTime<Utc>>,
    /// `server_version_num`.
    pub server_version: u32,
    /// Identifier of the cluster, which a physical copy has too; if the server reports it.
    pub system_identifier: Option<i64>,
}

impl Observation {
    /// Adds what was seen of one more database of the same server.
    pub(super) fn add_database(&mut self, database: &str, seen: Observation) {
        self.databases.extend(seen.databases);
        self.made_by.extend(seen.made_by);
        self.database_oids.extend(seen.database_oids);
        self.definitions.extend(seen.definitions);
        self.definitions_recipe = self.definitions_recipe.max(seen.definitions_recipe);
        self.definitions_since.extend(seen.definitions_since);
        self.sequences.extend(seen.sequences);
        self.boundaries.extend(seen.boundaries);
        self.next_transaction = self.next_transaction.max(seen.next_transaction);
        self.counting_since = self.counting_since.max(seen.counting_since);
        self.last_instant = self.last_instant.max(seen.last_instant);
        self.server_version = seen.server_version;
        self.system_identifier = seen.system_identifier.or(self.system_identifier);
        self.unreadable.remove(database);
    }

    /// The same, restricted to some databases.
    pub(crate) fn restrict_to(&self, databases: &[String]) -> Observation {
        let mut seen = self.clone();
        let is_one = |name: &String| databases.contains(name);
        seen.databases.retain(|name, _| is_one(name));
        seen.unreadable.retain(|name, _| is_one(name));
        seen.database_oids.retain(|name, _| is_one(name));
        seen
    }

    /// For each database a transaction before which every other had ended when its definitions were read. Records of
    /// earlier versions tell it of the rows only, which were seen shortly after.
    pub(crate) fn definitions_settled_before(&self) -> BTreeMap<String, u64> {
        let of_rows = self.boundaries.iter().map(|(name, boundary)| (name.clone(), boundary.settled_before));
        let mut all: BTreeMap<String, u64> = of_rows.collect();
        all.extend(self.definitions_since.clone());
        all.retain(|name, _| self.definitions.contains_key(name));
        all
    }

    /// How many rows were counted in all.
    pub(crate) fn total_rows(&self) -> u64 {
        self.databases.values().flatten().filter_map(Table::counted_rows).sum()
    }

    /// Whether a database is the same in both, or a physical copy: a dump creates another one even in the same cluster.
    pub(crate) fn is_same_database(&self, other: &Observation, database: &str) -> bool {
        let id = |seen: &Observation| seen.database_oids.get(database).copied();
        self.system_identifier.is_some()
            && self.system_identifier == other.system_identifier
            && id(self).is_some()
            && id(self) == id(other)
    }

    /// A table by its name.
    pub(crate) fn find_table(&self, database: &str, schema: &str, name: &str) -> Option<&Table> {
        let tables = self.databases.get(database)?;
        // They are kept in this order.
        let at = tables
            .binary_search_by(|table| (table.schema.as_str(), table.name.as_str()).cmp(&(schema, name)));
        at.ok().and_then(|at| tables.get(at))
    }

    /// Major version of PostgreSQL.
    pub(crate) fn major_version(&self) -> u32 {
        self.server_version / 10_000
    }
}

/// JSON numbers end at 64 bits.
mod as_text {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &i128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i128, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}
