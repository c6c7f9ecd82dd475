//! Compares a physical copy with its source as it is now.
//!
//! What the two can prove about each other, since a restore keeps transaction ids, object ids and column numbers:
//!
//! | rows | known |
//! |---|---|
//! | of the source from before the moment ([`super::lineage`]) | *exactly*: each must be in the copy with the same values, in every column that both have in a comparable form ([`super::shape`]) |
//! | of the copy without such a counterpart | *bounded*: the source has updated or deleted them since; its write counters bound how many, if they have counted since before the moment. Their values cannot be known |
//! | of the source that are newer | *bounded*: inserted since, or older ones that were updated. Those whose key the copy has were updated. Of the others, a sequence of the copy that had not handed out their keys yet proves that they were inserted since; what remains may be missing from the copy |
//! | of the copy that the source has deleted since and the copy has lost | *not at all* |
//! | objects | *exactly*: what a transaction before the moment made must be there, by object id; a database's own row is rewritten by a GRANT, so its age goes by the order of object ids |
//! | anything written in the copy itself | *exactly*: its counters began at its recovery; an id beyond the horizon is its own |
//!
//! Rows are not compared one by one where sums suffice: a table that is whole by its fingerprint is read once.
//! Otherwise both sides are summed up in parts by the hash of the key, and only parts that differ are read row by row, so a
//! row that was updated since leaves open its own part and no other.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, pin_mut};

use super::depth::Look;
use super::fingerprint::Hashed;
use super::judge::{Counterparts, Evidence, NewerRows, RowEvidence, name_in_copy};
use super::lineage::{self, Horizon, Recency};
use super::observe::{Counted, Databases, Observation, Observing, Progress, Question, Table, Visit};
use super::row_differences::{self, Budget, Common, Extent, RowsNamed, Side};
use super::shape::{self, Paired, Shapes};
use crate::error::{Error, Result};
use crate::postgres::{QueryFailure, Server, Session, quote_identifier, quote_literal};

type Queried<T> = std::result::Result<T, QueryFailure>;

/// Rows of both sides that are read one by one in a table at most.
const ROWS_READ: u64 = 2_000_000;
/// Rows of a table that are named in a report.
const ROWS_NAMED: Extent = Extent { rows: 100, show_rows: false, told: RowsNamed::OfTheLeft };
/// Keys of newer rows that are looked for in the copy at most; of more, a share is.
const KEYS_READ: u64 = 1_000_000;

/// The result of comparing a copy with its source.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// The source as it is now.
    pub seen: Observation,
    /// Transactions that were open at the moment.
    pub open: BTreeSet<u64>,
    /// What the rows say.
    pub evidence: Evidence,
    /// Whether the copy is as recent as its backup claims.
    pub recency: Recency,
    /// The copy has rows by transactions that the source has not begun yet.
    pub was_written_to: bool,
}

/// A physical copy and what was seen in it.
#[derive(Clone, Copy)]
pub(crate) struct PhysicalCopy<'a> {
    /// The way to its databases.
    pub databases: &'a Databases,
    /// What they hold.
    pub observed: &'a Observation,
    /// How far it reaches.
    pub horizon: &'a Horizon,
    /// The moment of the backup, where it is known.
    pub moment: Option<DateTime<Utc>>,
}

/// Reads the source, database by database, and holds the copy against it.
pub(crate) async fn hold_against(
    source: &Server,
    only: &[String],
    look: &Look,
    copy: PhysicalCopy<'_>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Held> {
    let databases = Databases::connect(source, only, look).await?;
    let mut held = Held {
        seen: Observation { unreadable: databases.unreadable().clone(), ..Observation::default() },
        ..Held::default()
    };
    if databases.database_names().next().is_none() {
        return Ok(held);
    }
    held.open = lineage::open_at_the_horizon(&databases, copy.databases, copy.horizon).await?;
    if let Some(moment) = copy.moment {
        held.recency = lineage::judge_recency(&databases, copy.horizon, &held.open, moment).await?;
    }
    let boundaries = BTreeMap::from_iter(
        databases.database_names().map(|name| (name.to_owned(), copy.horizon.boundary_of(name, &held.open))),
    );
    let question = Question { boundaries, newest_write: false };
    let mut observing = Observing::new(&question, progress);
    for name in databases.database_names() {
        match hold_database(&databases, name, copy, &mut held, &mut observing).await {
            Ok(seen) => held.seen.add_database(name, seen),
            Err(error) => databases.note_unread(&mut held.seen, name, &error).await?,
        }
    }
    if held.seen.databases.is_empty()
        && let Some(reason) = held.seen.unreadable.values().next()
    {
        return Err(Error::outside("no database of the source could be read").caused_by(reason.clone()));
    }
    Ok(held)
}

async fn hold_database(
    databases: &Databases,
    name: &str,
    copy: PhysicalCopy<'_>,
    held: &mut Held,
    observing: &mut Observing<'_>,
) -> Result<Observation> {
    let opened = databases.open_database(name).await?;
    let mut seen = databases.observe_one(&opened, observing).await?;
    let in_copy = name_in_copy(&seen, copy.observed, name).to_owned();
    let Some(copies) = copy.observed.databases.get(&in_copy) else { return Ok(seen) };
    let open: BTreeSet<u64> = copy.horizon.open_in(name, &held.open).collect();
    let boundary = copy.horizon.boundary_of(name, &open);
    let older = lineage::older_than_sql(&opened.session, &boundary).await?;
    let mut against: Option<DatabasePair<'_>> = None;
    let mut failed = BTreeMap::new();
    let tables = seen.databases.get(name).map(Vec::as_slice).unwrap_or_default();
    let counterparts = Counterparts::physical(tables, copies);
    for table in tables {
        let Some(copied) = counterparts.of(table) else { continue };
        let placed = Placed {
            counters_cover: seen
                .counting_since
                .zip(copy.moment)
                .is_some_and(|(since, moment)| since <= moment),
            is_sharp: copy.horizon.surely_before == copy.horizon.maybe_before && open.is_empty(),
        };
        let is_whole = match Found::at_a_glance(table, copied, placed) {
            Found::Nothing => continue,
            Found::Evidence(evidence) => {
                held.evidence.insert((name.to_owned(), table.oid), evidence);
                continue;
            }
            Found::MustBeRead { is_whole } => is_whole,
        };
        if against.is_none() {
            against =
                Some(DatabasePair::open(&opened.session, copy, &in_copy, (tables, copies), &older).await?);
        }
        let Some(against) = &against else { continue };
        let evidence = match against.read(table, copied, is_whole, (copy.horizon, &open)).await {
            Ok(evidence) => evidence,
            Err(failure) if failure.session_survives() => {
                against.recover().await?;
                failed.insert(table.oid, failure);
                continue;
            }
            Err(failure) => return Err(failure.into()),
        };
        held.evidence.insert((name.to_owned(), table.oid), evidence);
    }
    for table in seen.databases.get_mut(name).into_iter().flatten() {
        if let Some(failure) = failed.get(&table.oid) {
            table.counted = Counted::Unreadable(format!("its rows could not be compared: {failure}"));
        }
    }
    Ok(seen)
}

/// What places the newer rows of a table without reading them.
#[derive(Clone, Copy)]
struct Placed {
    /// The source's write counters have counted since before the moment.
    counters_cover: bool,
    /// Every transaction is known to be from before the moment or after it, and none was open.
    is_sharp: bool,
}

/// What the sums of a table show.
enum Found {
    /// Nothing is counted on one of the sides.
    Nothing,
    /// All there is to know.
    Evidence(RowEvidence),
    /// Rows have to be compared; `is_whole`: only the newer ones.
    MustBeRead { is_whole: bool },
}

impl Found {
    fn at_a_glance(table: &Table, copied: &Table, placed: Placed) -> Self {
        let (Some(rows), Some(held)) = (table.counted_rows(), copied.counted_rows()) else {
            return Found::Nothing;
        };
        let older = table.strata.unwrap_or_default().older_rows();
        let (Some(_), Some(of_copy)) = (&table.fingerprint, &copied.fingerprint) else {
            // Only numbers were asked for.
            return Found::Evidence(RowEvidence {
                matched: older.rows.min(held),
                missing: older.rows.saturating_sub(held),
                extra: held.saturating_sub(older.rows),
                ..RowEvidence::default()
            });
        };
        if older.rows != held || older.sum.to_string() != *of_copy {
            return Found::MustBeRead { is_whole: false };
        }
        // Newer rows of a table that has seen no update were inserted.
        let newer = i64::try_from(rows - older.rows).unwrap_or(i64::MAX);
        let counters = table.written.counters;
        let only_inserted = placed.counters_cover && counters.updated == 0 && counters.inserted >= newer;
        if newer == 0 || only_inserted && placed.is_sharp && held > 0 {
            return Found::Evidence(RowEvidence { matched: older.rows, ..RowEvidence::default() });
        }
        Found::MustBeRead { is_whole: true }
    }
}

/// A database of the source paired with that of the copy.
struct DatabasePair<'a> {
    source: &'a Session,
    copy: Visit<'a>,
    shapes: (Shapes, Shapes),
    /// SQL condition on rows of the source from before the moment.
    older: &'a str,
}

impl<'a> DatabasePair<'a> {
    async fn open(
        source: &'a Session,
        copy: PhysicalCopy<'a>,
        in_copy: &str,
        (tables, copies): (&[Table], &[Table]),
        older: &'a str,
    ) -> Result<Self> {
        let copy = copy.databases.visit_database(in_copy).await?;
        let oids = |tables: &[Table]| tables.iter().map(|table| table.oid).collect::<Vec<u32>>();
        let shapes = (Shapes::read(source, &oids(tables)).await?, Shapes::read(&copy, &oids(copies)).await?);
        source.execute("savepoint rows").await?;
        copy.execute("savepoint rows").await?;
        Ok(DatabasePair { source, copy, shapes, older })
    }

    async fn recover(&self) -> Result<()> {
        self.source.execute("rollback to savepoint rows").await?;
        Ok(self.copy.execute("rollback to savepoint rows").await?)
    }

    async fn read(
        &self,
        table: &Table,
        copied: &Table,
        is_whole: bool,
        (horizon, open): (&Horizon, &BTreeSet<u64>),
    ) -> Queried<RowEvidence> {
        let Paired { common, left_out, lost } =
            shape::pair_columns((&self.shapes.0, table), (&self.shapes.1, copied));
        let older_rows = table.strata.unwrap_or_default().older_rows().rows;
        let mut evidence =
            RowEvidence { columns_left_out: left_out, columns_lost: lost, ..RowEvidence::default() };
        if is_whole {
            evidence.matched = older_rows;
        } else if older_rows == 0 {
            evidence.extra = copied.counted_rows().unwrap_or_default();
        } else {
            let left = Side { session: self.source, table, only: Some(self.older) };
            let right = Side { session: &self.copy, table: copied, only: None };
            let surely_differ = copied.counted_rows().unwrap_or_default().abs_diff(older_rows);
            let budget = Budget { rows: ROWS_READ, surely_differ };
            let tally = row_differences::compare_sums(left, right, &common, budget, ROWS_NAMED).await?;
            evidence = RowEvidence {
                matched: tally.matched,
                missing: tally.missing,
                changed: tally.changed,
                extra: tally.added,
                unread: tally.unread,
                differences: tally.differences,
                ..evidence
            };
        }
        let newer = table.counted_rows().unwrap_or_default().saturating_sub(older_rows);
        // What the source has written since could not be compared: among it may be rows that were there.
        evidence.differences.more |= newer > 0;
        if newer > 0 {
            let without_keys = newer.saturating_sub(evidence.extra);
            evidence.newer =
                Some(self.place_newer_rows((table, copied), &common, without_keys, (horizon, open)).await?);
        }
        // Locks that the reading took are let go of.
        self.recover_after_reading().await?;
        Ok(evidence)
    }

    async fn recover_after_reading(&self) -> Queried<()> {
        self.source.execute("rollback to savepoint rows").await?;
        self.copy.execute("rollback to savepoint rows").await
    }

    /// Which of the newer rows are in the copy under the same key, or cannot have been in it. `without_keys`: how many are
    /// left where rows have no key, when each row that only the copy has takes the place of one.
    async fn place_newer_rows(
        &self,
        (table, copied): (&Table, &Table),
        common: &Common,
        without_keys: u64,
        (horizon, open): (&Horizon, &BTreeSet<u64>),
    ) -> Queried<NewerRows> {
        let mut may_be_older = format!("not ({})", self.older);
        if let [one] = common.left.key.as_slice()
            && let Some(beyond) = self.beyond_the_sequence((table, copied), common, one).await?
        {
            may_be_older.push_str(&format!(" and not ({beyond})"));
        }
        let absent = match common.left.key.is_empty() {
            true => without_keys,
            false => self.count_absent_keys((table, copied), common, &may_be_older).await?,
        };
        let count = |written_by: Option<String>| {
            let may_be_older = &may_be_older;
            async move {
                let Some(written_by) = written_by else { return Ok(0) };
                let sql = format!(
                    "select count(*) from only {} where {may_be_older} and {written_by}",
                    table.quoted_name()
                );
                Queried::Ok(self.source.row(&sql, &[]).await?.get::<_, i64>(0).unsigned_abs())
            }
        };
        let long_before = open.range(..horizon.surely_before.saturating_sub(RECENT)).copied();
        let of_open_transactions = count(written_by(open.iter().copied())).await?;
        let of_old_transactions = count(written_by(long_before)).await?;
        let around_the_moment = count(written_around(horizon, open)).await?;
        Ok(NewerRows { absent, of_open_transactions, of_old_transactions, around_the_moment })
    }

    /// How many rows of the source that meet a condition have a key that the copy has not: of very many, as reckoned from a
    /// share of the keys.
    async fn count_absent_keys(
        &self,
        (table, copied): (&Table, &Table),
        common: &Common,
        condition: &str,
    ) -> Queried<u64> {
        let rows = table.counted_rows().max(copied.counted_rows()).unwrap_or_default();
        let share = (rows / KEYS_READ + 1).next_power_of_two();
        let (ours, theirs) = (common.left.key_hash(), common.right.key_hash());
        let in_share = |key: &str| match share {
            1 => String::new(),
            _ => format!(" and {key} & {} = 0", share - 1),
        };
        let sql =
            format!("select {ours} from only {} where {condition}{}", table.quoted_name(), in_share(&ours));
        let mut keys = read_numbers(self.source, &sql).await?;
        if keys.is_empty() {
            return Ok(0);
        }
        let sql =
            format!("select {theirs} from only {} where true{}", copied.quoted_name(), in_share(&theirs));
        let stream = self.copy.stream(&sql).await?;
        pin_mut!(stream);
        while let Some(row) = stream.next().await.transpose()? {
            keys.remove(&row.get::<_, i64>(0));
        }
        Ok(keys.len() as u64 * share)
    }

    /// SQL condition on keys that the sequence behind them had not handed out at the copy's moment.
    async fn beyond_the_sequence(
        &self,
        (table, copied): (&Table, &Table),
        common: &Common,
        key: &Hashed,
    ) -> Queried<Option<String>> {
        let Some(in_copy) = common.right.key.first() else { return Ok(None) };
        // The default's own dependency, besides that of an identity column, which owns its sequence.
        let sql = format!(
            "select n.nspname::text, s.relname::text, q.seqincrement
             from pg_attribute a
             left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
             join pg_depend p on p.classid = 'pg_class'::regclass and p.deptype in ('a', 'i')
                                 and p.refclassid = 'pg_class'::regclass and p.refobjid = a.attrelid and p.refobjsubid = a.attnum
                              or p.refclassid = 'pg_class'::regclass and p.classid = 'pg_attrdef'::regclass and p.objid = d.oid
             join pg_class s on s.relkind = 'S' and s.oid = case when p.classid = 'pg_class'::regclass then p.objid else p.refobjid end
             join pg_namespace n on n.oid = s.relnamespace join pg_sequence q on q.seqrelid = s.oid
             where a.attrelid = {} and a.attname = {} and a.atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
               and not q.seqcycle
             group by 1, 2, 3",
            copied.oid,
            quote_literal(&in_copy.name)
        );
        let rows = self.copy.rows(&sql, &[]).await?;
        let [row] = rows.as_slice() else { return Ok(None) };
        let increment: i64 = row.get(2);
        let sequence = format!("{}.{}", quote_identifier(row.get(0)), quote_identifier(row.get(1)));
        let (extreme, compare) = if increment > 0 { ("max", ">") } else { ("min", "<") };
        // Keys that it did not hand out prove nothing: then there are keys beyond it in the copy, or in the source now.
        let handed_out = |key: &Hashed, table: &Table| {
            format!(
                "select last_value, is_called and not coalesce((select {extreme}({}) from only {}) {compare} last_value, false)
                 from {sequence}",
                quote_identifier(&key.name),
                table.quoted_name()
            )
        };
        let there = self.copy.row(&handed_out(in_copy, copied), &[]).await?;
        // Here it may have another name, or be gone.
        let here = match self.source.row(&handed_out(key, table), &[]).await {
            Ok(here) => here,
            Err(failure) if failure.session_survives() => {
                self.source.execute("rollback to savepoint rows").await?;
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        };
        if !(there.get::<_, bool>(1) && here.get::<_, bool>(1)) {
            return Ok(None);
        }
        Ok(Some(format!("{} {compare} {}", quote_identifier(&key.name), there.get::<_, i64>(0))))
    }
}

/// SQL condition on rows by transactions between the two horizons, but for those that were open.
fn written_around(horizon: &Horizon, open: &BTreeSet<u64>) -> Option<String> {
    let width = horizon.maybe_before.checked_sub(horizon.surely_before).filter(|width| *width > 0)?;
    let first = (horizon.surely_before + 1) as u32;
    // As a difference of 32 bits, which stays right where the counter wraps around.
    let around = format!("(xmin::text::int8 - {first} + 4294967296) % 4294967296 < {width}");
    Some(match written_by(open.iter().copied()) {
        Some(by_open) => format!("{around} and not ({by_open})"),
        None => around,
    })
}

/// A transaction that began so many ids before the moment was hardly open at it, unless it was a long one.
const RECENT: u64 = 100;

/// SQL condition on rows by some transactions.
fn written_by(transactions: impl Iterator<Item = u64>) -> Option<String> {
    let ids: Vec<String> = transactions.map(|id| (id as u32).to_string()).collect();
    (!ids.is_empty()).then(|| format!("xmin = any ('{{{}}}'::xid[])", ids.join(",")))
}

async fn read_numbers(session: &Session, sql: &str) -> Queried<std::collections::HashSet<i64>> {
    let stream = session.stream(sql).await?;
    pin_mut!(stream);
    let mut numbers = std::collections::HashSet::new();
    while let Some(row) = stream.next().await.transpose()? {
        numbers.insert(row.get(0));
    }
    Ok(numbers)
}
