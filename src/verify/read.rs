//! Reading tables: one pass over each for everything that is needed of its rows.
//!
//! Small tables are read many to a statement, since round trips would cost more than their rows. Every statement
//! runs in a savepoint that is rolled back, which releases its locks: a transaction over ten thousand
//! tables and their indexes would otherwise take more than the server has for everyone
//! (`max_locks_per_transaction`).

use super::boundary::Boundary;
use super::depth::Depth;
use super::fingerprint::row_hash;
use super::observation::{Carried, Portion};
use super::observe::{Counted, DROPPED_MEANWHILE, Strata, Stratum, Table};
use crate::error::{Error, Result};
use crate::postgres::{QueryFailure, Session};

/// Tables up to this size are read together.
const SMALL: u64 = 256 * 1024;
/// At most so many of them: each takes a few locks.
const TOGETHER: usize = 50;
/// At most so many of their columns, which keeps statements short enough for the parser.
const COLUMNS_TOGETHER: usize = 1600;

/// Tables that wait to be read, largest first.
pub(super) struct Queue(std::collections::VecDeque<Table>);

impl Queue {
    pub(super) fn new(tables: Vec<Table>) -> Self {
        Queue(tables.into())
    }

    /// The next table, or the next small ones together.
    pub(super) fn next_group(&mut self) -> Option<Vec<Table>> {
        let first = self.0.pop_front()?;
        let is_small = |table: &Table| table.bytes <= SMALL || !table.is_countable();
        let mut columns = first.columns.len();
        let mut group = vec![first];
        while is_small(&group[0])
            && group.len() < TOGETHER
            && let Some(next) =
                self.0.pop_front_if(|next| is_small(next) && columns + next.columns.len() <= COLUMNS_TOGETHER)
        {
            columns += next.columns.len();
            group.push(next);
        }
        Some(group)
    }
}

/// The transaction id that `age()` counts from in this transaction, as 64 bits: `age()` knows only the lower 32.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference {
    next: u64,
}

pub(super) async fn read_reference(session: &Session) -> Result<Reference> {
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
    /// The next transaction id that the server will hand out.
    pub(super) fn next_id(self) -> u64 {
        self.next
    }

    /// The transaction that is `age` old. Frozen rows of ancient times have the greatest age there is, or, when the
    /// counter has gone around since, a negative one.
    pub(super) fn id_of_age(self, age: i64) -> u64 {
        if age < 0 { 3 } else { self.next.saturating_sub(age.unsigned_abs()) }
    }

    /// The least age of transactions before `id`, as `age()` counts.
    pub(super) fn age_before(self, id: u64) -> i64 {
        i64::try_from(self.next).unwrap_or(i64::MAX).saturating_sub_unsigned(id).saturating_add(1)
    }
}

/// A session that reads tables.
pub(super) struct Reader<'a> {
    session: &'a Session,
    reference: Reference,
    /// The SQL expression that says to which stratum a row belongs.
    stratum: Option<String>,
    newest_write: bool,
}

impl<'a> Reader<'a> {
    pub(super) async fn new(
        session: &'a Session,
        boundary: Option<&Boundary>,
        newest_write: bool,
    ) -> Result<Self> {
        // `age()` counts from another transaction in each session.
        let reference = read_reference(session).await?;
        let stratum = boundary.map(|boundary| stratum_sql(boundary, reference));
        Ok(Reader { session, reference, stratum, newest_write })
    }

    /// Reads tables, and reports each one that was read.
    pub(super) async fn read_group(&self, group: &mut [Table], tell: &(dyn Fn(&Table) + Sync)) -> Result<()> {
        let were_countable: Vec<bool> = group.iter().map(Table::is_countable).collect();
        match self.read_together(group).await {
            Ok(()) => {}
            // One of them failed: each is then read alone.
            Err(failure) if failure.session_survives() && group.len() > 1 => {
                self.session.execute("rollback to savepoint tables").await?;
                for table in group.iter_mut().filter(|table| table.is_countable()) {
                    self.read_alone(table).await?;
                }
            }
            Err(failure) if failure.session_survives() => self.find_culprit(&mut group[0], &failure).await?,
            Err(failure) => return Err(broken_read_error(group, failure)),
        }
        for table in group.iter_mut().filter(|table| table.carried.is_some() && table.is_countable()) {
            self.read_what_a_dump_carries(table).await?;
        }
        group
            .iter()
            .zip(were_countable)
            .filter(|(_, was_countable)| *was_countable)
            .for_each(|(table, _)| tell(table));
        Ok(())
    }

    async fn read_alone(&self, table: &mut Table) -> Result<()> {
        match self.read_together(std::slice::from_mut(table)).await {
            Ok(()) => Ok(()),
            // An error of the server is the table's own and is kept with it; a broken connection is not.
            Err(failure) if failure.session_survives() => self.find_culprit(table, &failure).await,
            Err(failure) => Err(broken_read_error(std::slice::from_ref(table), failure)),
        }
    }

    /// Another pass over what a dump includes of a table, if that is not all of it.
    async fn read_what_a_dump_carries(&self, table: &mut Table) -> Result<()> {
        if matches!(table.carried, Some(Carried::Nothing { .. })) {
            return Ok(());
        }
        let sum = match table.depth {
            Depth::Content => format!("sum({})::text", row_hash(&table.carried_columns())),
            Depth::Counts | Depth::Schema => "null::text".to_owned(),
        };
        let sql = format!("select count(*)::text, {sum} from {}", table.carried_rows());
        let sql = format!("savepoint tables; {sql}; rollback to savepoint tables");
        match self.session.texts(&sql).await {
            Ok(rows) => {
                let text = |column: usize| rows.first().and_then(|row| row.get(column).cloned().flatten());
                let rows = text(0).and_then(|text| text.parse().ok()).unwrap_or_default();
                let fingerprint = text(1).or_else(|| (table.depth == Depth::Content).then(|| "0".to_owned()));
                if let Some(carried) = &mut table.carried {
                    carried.set_seen(Portion { rows, fingerprint });
                }
                Ok(())
            }
            // What a dump includes of it stays unknown; the table itself was read.
            Err(failure) if failure.session_survives() => {
                Ok(self.session.execute("rollback to savepoint tables").await?)
            }
            Err(failure) => Err(broken_read_error(std::slice::from_ref(table), failure)),
        }
    }

    async fn find_culprit(&self, table: &mut Table, failure: &QueryFailure) -> Result<()> {
        table.counted = match failure.sqlstate.as_deref() {
            // Its owner dropped it, so nothing is lost.
            Some("42P01" | "3F000") => Counted::Skipped(DROPPED_MEANWHILE.to_owned()),
            Some("42501") if failure.message.contains("row-level security") => {
                Counted::Unreadable(format!("{} (read it as its owner, or with BYPASSRLS)", failure.message))
            }
            Some("42501") => {
                Counted::Unreadable(format!("{} (grant the user `pg_read_all_data`)", failure.message))
            }
            Some("57014") => {
                Counted::Unreadable(format!("{} (raise `--statement-timeout`)", failure.message))
            }
            _ if failure.is_damage() => Counted::Damaged(failure.message.clone()),
            _ => Counted::Unreadable(failure.message.clone()),
        };
        Ok(self.session.execute("rollback to savepoint tables").await?)
    }

    async fn read_together(&self, group: &mut [Table]) -> std::result::Result<(), QueryFailure> {
        let parts: Vec<String> = group
            .iter()
            .enumerate()
            .filter(|(_, table)| table.is_countable())
            .map(|(position, table)| self.count_expression(position, table))
            .collect();
        if parts.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "savepoint tables; {}; {}; rollback to savepoint tables",
            parts.join(" union all "),
            from_files_sql(group)
        );
        let rows = self.session.texts(&sql).await?;
        let mut read: Vec<Read> = group.iter().map(|_| Read::default()).collect();
        for row in &rows {
            let number = |column: usize| {
                row.get(column).and_then(Option::as_deref).and_then(|text| text.parse::<i64>().ok())
            };
            let Some(read) =
                number(0).and_then(|at| usize::try_from(at).ok()).and_then(|at| read.get_mut(at))
            else {
                continue;
            };
            if row.len() == 2 {
                read.filenode = number(1).and_then(|file| u32::try_from(file).ok());
                continue;
            }
            let sum =
                row.get(3).and_then(Option::as_deref).and_then(|text| text.parse().ok()).unwrap_or_default();
            let rows = number(2).and_then(|rows| u64::try_from(rows).ok()).unwrap_or_default();
            let stratum = match number(1) {
                Some(1) => &mut read.strata.recent,
                Some(2) => &mut read.strata.newer,
                _ => &mut read.strata.settled,
            };
            *stratum = *stratum + Stratum { rows, sum };
            let newest = number(4).map(|age| self.reference.id_of_age(age));
            read.newest_write = read.newest_write.max(newest);
        }
        for (table, read) in group.iter_mut().zip(read).filter(|(table, _)| table.is_countable()) {
            let all = read.strata.older_rows() + read.strata.newer;
            table.counted = Counted::Rows(all.rows);
            table.written.filenode = read.filenode;
            table.fingerprint = (table.depth == Depth::Content).then(|| all.sum.to_string());
            table.strata = self.stratum.is_some().then_some(read.strata);
            table.newest_write = read.newest_write.filter(|_| self.newest_write);
        }
        Ok(())
    }

    /// One pass over a table for everything that is needed: position, stratum, rows, sum of fingerprints, age of the
    /// newest row.
    fn count_expression(&self, position: usize, table: &Table) -> String {
        let name = table.quoted_name();
        let sum = match table.depth {
            Depth::Content => format!("sum({})", row_hash(&table.columns)),
            Depth::Counts | Depth::Schema => "null::numeric".to_owned(),
        };
        let newest = if self.newest_write { "min(nullif(age(xmin), 2147483647))" } else { "null::int4" };
        // The grouping reads each row's hash once, which two filtered sums would not.
        let (stratum, group) = match &self.stratum {
            Some(stratum) => (stratum.as_str(), " group by 2"),
            None => ("0", ""),
        };
        format!("select {position}, {stratum}, count(*), {sum}, {newest} from only {name}{group}")
    }
}

/// What was read of a table.
#[derive(Default)]
struct Read {
    filenode: Option<u32>,
    strata: Strata,
    newest_write: Option<u64>,
}

/// The files that were read. The locks of the reading are still held, so they cannot have been replaced since: but
/// TRUNCATE and ALTER TABLE empty a table for every older snapshot, so the judge must know which file was read.
fn from_files_sql(group: &[Table]) -> String {
    let file = |(position, table): (usize, &Table)| format!("({position}, {}::oid)", table.oid);
    let read = group.iter().enumerate().filter(|(_, table)| table.is_countable());
    let list: Vec<String> = read.map(file).collect();
    format!(
        "select position, pg_relation_filenode(id) from (values {}) as of_tables(position, id)",
        list.join(", ")
    )
}

/// To which stratum a row belongs. A negative age is that of a row that was frozen before the counter went around.
pub(super) fn stratum_sql(boundary: &Boundary, reference: Reference) -> String {
    let settled = reference.age_before(boundary.settled_before);
    let older = reference.age_before(boundary.visible_before);
    let running = if boundary.running.is_empty() {
        String::new()
    } else {
        let ids: Vec<String> = boundary.running.iter().map(|id| (*id as u32).to_string()).collect();
        format!(" and xmin <> all ('{{{}}}'::xid[])", ids.join(","))
    };
    format!(
        "case when age(xmin) >= {settled} or age(xmin) < 0 then 0 when age(xmin) >= {older}{running} then 1 else 2 end"
    )
}

fn broken_read_error(tables: &[Table], failure: QueryFailure) -> Error {
    let named = tables.first().map(Table::quoted_name).unwrap_or_default();
    Error::outside(format!("the connection broke while table `{named}` was being read")).caused_by(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_from_ids_and_ids_from_ages() {
        let reference = Reference { next: (5_u64 << 32) + 100 };
        assert_eq!(reference.id_of_age(1), (5_u64 << 32) + 99);
        assert_eq!(reference.id_of_age(-7), 3);
        assert_eq!(reference.age_before((5_u64 << 32) + 100), 1);
        assert_eq!(reference.age_before((5_u64 << 32) + 90), 11);
    }
}
