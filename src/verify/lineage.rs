//! Which rows of a source are older than a physical copy of it.
//!
//! Every row carries the id of the transaction that wrote it (`xmin`), a restore by RDS keeps those ids, and both
//! sides count on from the same number. So the copy tells up to which transaction it reaches (its *horizon*), and
//! each row that the source still holds from before the horizon must be in the copy as well, however long ago the
//! backup was.
//!
//! *The horizon* is exact as long as the copy's last checkpoint is the one that ended its recovery. Later the copy has
//! used ids of its own, so there are two: up to one, every id is surely the source's; beyond the other, none is. No row of
//! the copy lies between them, since the newest row in the copy's tables is the source's, too: what lies between them in
//! the source was written just before the moment and lost, or just after it.
//!
//! *Transactions that were open at the moment* are before the horizon by number and not in the copy. The copy's commit
//! log tells ([`open_at_the_horizon`]), but a damaged log would excuse every row that it loses. So it is not asked about
//! transactions that had surely ended: VACUUM moves a table's `relfrozenxid` on only past transactions of its database
//! that have, so whatever is older than the newest `relfrozenxid` of a database had ended there, and the source's log is
//! right.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::boundary::Boundary;
use super::observe::{Databases, Observation};
use crate::error::Result;
use crate::postgres::Session;

impl Horizon {
    /// The boundary that divides the source's rows: up to it are those that the copy must have, less those of the
    /// transactions that were open.
    pub(crate) fn boundary_of(&self, database: &str, open: &BTreeSet<u64>) -> Boundary {
        let open: BTreeSet<u64> = self.open_in(database, open).collect();
        let visible_before = self.surely_before + 1;
        let settled_before = open.first().copied().unwrap_or(visible_before).min(visible_before);
        Boundary { settled_before, visible_before, running: open.into_iter().collect() }
    }

    /// Those of some transactions that may have been open in a database of the copy.
    pub(crate) fn open_in(&self, database: &str, open: &BTreeSet<u64>) -> impl Iterator<Item = u64> {
        let ended_before = self.ended_before.get(database).copied().unwrap_or_default();
        open.range(ended_before..).copied()
    }
}

/// Up to which transaction a copy reaches, as 64-bit transaction ids (both inclusive).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Horizon {
    /// Every transaction up to this one began before the copy's moment.
    pub surely_before: u64,
    /// Every later one began after it.
    pub maybe_before: u64,
    /// By database: every transaction in it before this one had ended at the copy's moment.
    pub ended_before: BTreeMap<String, u64>,
    /// No object of the copy's moment has this object id or a greater one, as far as the copy tells.
    pub next_object: Option<u32>,
    /// When the last transaction that the copy replayed from the log was committed, as far as the copy tells.
    pub replayed_until: Option<DateTime<Utc>>,
}

/// SQL condition, for one transaction of one session, on the rows that are from before a boundary.
pub(crate) async fn older_than_sql(session: &Session, boundary: &Boundary) -> Result<String> {
    let reference = super::read::read_reference(session).await?;
    Ok(format!("({}) < 2", super::read::stratum_sql(boundary, reference)))
}

/// Ids that the copy's own transactions have used beyond what its counters tell: transactions that only lock rows, or
/// draw from a sequence, count no row.
const UNCOUNTED: i64 = 10;

/// Reads the horizon off a copy whose newest writes have been observed.
pub(crate) async fn find_horizon(copy: &Databases, observed: &Observation) -> Result<Option<Horizon>> {
    if copy.database_names().next().is_none() {
        return Ok(None);
    }
    let session = copy.visit_any().await?;
    // Nobody writes users' tables in a copy, so the newest row in them is from before.
    let newest_row =
        observed.databases.values().flatten().filter_map(|table| table.newest_write).max().unwrap_or(3);
    let handed_out = observed.next_transaction.saturating_sub(1);
    let control = read_control_file(&session).await?;
    let control = control.as_ref();
    let (surely_before, maybe_before) = match control.and_then(|control| control.end_of_recovery) {
        Some(next) => (next.saturating_sub(1), next.saturating_sub(1)),
        None => {
            // Each of the copy's own transactions that has an id, and each of their subtransactions, has written a row.
            let sql = "select sum(tup_inserted + tup_updated + tup_deleted)::int8 from pg_stat_database";
            let own = session.row(sql, &[]).await?.get::<_, Option<i64>>(0).unwrap_or(i64::MAX / 2);
            let before_own = handed_out.saturating_sub_signed(own.saturating_add(UNCOUNTED));
            let first = control.and_then(|control| control.first_checkpoint);
            let maybe = first.map_or(handed_out, |next| next.saturating_sub(1).min(handed_out));
            (newest_row.max(before_own).min(maybe), maybe)
        }
    };
    Ok(Some(Horizon {
        surely_before,
        maybe_before,
        ended_before: list_ended_before(copy, surely_before).await?,
        next_object: control.map(|control| control.next_object),
        replayed_until: session.row("select pg_last_xact_replay_timestamp()", &[]).await?.get(0),
    }))
}

/// The newest `relfrozenxid` of each database's tables that nothing has vacuumed or made in the copy itself. VACUUM waits for
/// the transactions of its own database only, but for shared tables, for those of all.
async fn list_ended_before(copy: &Databases, surely_before: u64) -> Result<BTreeMap<String, u64>> {
    let (mut ended, mut shared) = (BTreeMap::new(), 3);
    for name in copy.database_names() {
        // A database that refuses the login is reported elsewhere.
        let Ok(session) = copy.visit_database(name).await else { continue };
        let reference = super::read::read_reference(&session).await?;
        let sql = "select relisshared, min(age(relfrozenxid))::int8 from pg_class
                   where relfrozenxid <> '0'::xid and relkind in ('r', 'm', 't') and age(relfrozenxid)::int8 >= $1
                     and pg_stat_get_last_vacuum_time(oid) is null and pg_stat_get_last_autovacuum_time(oid) is null
                   group by 1";
        let made_by_the_source = reference.age_before(surely_before + 1);
        for row in session.rows(sql, &[&made_by_the_source]).await? {
            let id = reference.id_of_age(row.get(1));
            match row.get(0) {
                true => shared = shared.max(id),
                false => {
                    ended.insert(name.to_owned(), id);
                }
            }
        }
    }
    for id in ended.values_mut() {
        *id = (*id).max(shared);
    }
    Ok(ended)
}

/// What the copy's control file says of its last checkpoint.
struct ControlFile {
    /// The transaction counter at the end of the recovery, if the last checkpoint is still the one that ended it: later
    /// ones may include transactions of the copy itself.
    end_of_recovery: Option<u64>,
    /// The counter at the first checkpoint after a promotion, which does not wait for it: a few transactions later at most.
    first_checkpoint: Option<u64>,
    next_object: u32,
}

async fn read_control_file(session: &Session) -> Result<Option<ControlFile>> {
    let version: i32 = session.row("select current_setting('server_version_num')::int4", &[]).await?.get(0);
    let checkpoints = if version >= 170_000 {
        "(select num_timed + num_requested from pg_stat_checkpointer)"
    } else {
        "(select checkpoints_timed + checkpoints_req from pg_stat_bgwriter)"
    };
    // A checkpoint that shuts down or ends a recovery starts at its own record; others start before it. The control
    // file knows whole seconds only.
    let sql = format!(
        "select next_xid, redo_lsn = checkpoint_lsn,
                checkpoint_time >= date_trunc('second', pg_postmaster_start_time()), {checkpoints}, next_oid
         from pg_control_checkpoint()"
    );
    session.execute("savepoint control").await?;
    let row = match session.row(&sql, &[]).await {
        Ok(row) => row,
        // Managed services may keep this function for themselves.
        Err(failure) if failure.session_survives() => {
            session.execute("rollback to savepoint control").await?;
            tracing::debug!(%failure, "the end of the recovery cannot be read");
            return Ok(None);
        }
        Err(failure) => return Err(failure.into()),
    };
    let (ends_recovery, since_start, checkpoints): (bool, bool, i64) = (row.get(1), row.get(2), row.get(3));
    let text: String = row.get(0);
    let next = text
        .split_once(':')
        .and_then(|(epoch, xid)| Some((epoch.parse::<u64>().ok()? << 32) | xid.parse::<u64>().ok()?));
    Ok(Some(ControlFile {
        end_of_recovery: next.filter(|_| since_start && ends_recovery),
        first_checkpoint: next.filter(|_| since_start && checkpoints <= 1),
        next_object: row.get(4),
    }))
}

/// So many ids are looked up in the commit log at most, counted back from the horizon: a transaction that was open while
/// so many others began is not believed in.
const LOOKED_UP: u64 = 20_000_000;
/// So many of them by one query: the server holds what it lists.
const LISTED: u64 = 500_000;

/// Transactions of the source that began before the horizon and had not committed at the copy's moment, although the
/// source has committed them since: what they wrote is in the source and not in the copy, rightly.
pub(crate) async fn open_at_the_horizon(
    source: &Databases,
    copy: &Databases,
    horizon: &Horizon,
) -> Result<BTreeSet<u64>> {
    const BATCH: usize = 5_000;
    let ended = horizon.ended_before.values().min().copied().unwrap_or_default();
    let first = ended.max(horizon.surely_before.saturating_sub(LOOKED_UP)).max(3);
    // Of those between the two horizons, one that the copy itself has used has committed there.
    let last = horizon.maybe_before;
    let in_copy = copy.visit_any().await?;
    // NULL: so old that the commit log has forgotten it, hence long ended.
    let sql = "select id::text from generate_series($1::int8, $2::int8) id
               where pg_xact_status(id::text::xid8) in ('aborted', 'in progress')";
    let mut not_committed: Vec<String> = Vec::new();
    let mut from = first;
    while from <= last {
        let to = last.min(from + LISTED - 1);
        let bounds = (i64::try_from(from).unwrap_or(i64::MAX), i64::try_from(to).unwrap_or(i64::MAX));
        let rows = in_copy.rows(sql, &[&bounds.0, &bounds.1]).await?;
        not_committed.extend(rows.iter().map(|row| row.get::<_, String>(0)));
        from = to + 1;
    }
    drop(in_copy);
    let in_source = source.visit_any().await?;
    let mut open = BTreeSet::new();
    for batch in not_committed.chunks(BATCH) {
        let sql = "select id from unnest($1::text[]) as began(id) where pg_xact_status(id::xid8) is distinct from 'aborted'";
        let rows = in_source.rows(sql, &[&batch]).await?;
        open.extend(rows.iter().filter_map(|row| row.get::<_, String>(0).parse::<u64>().ok()));
    }
    Ok(open)
}

/// Whether a copy is as recent as its backup claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Recency {
    /// By the source's commit timestamps it holds everything that was committed up to then.
    Proven,
    /// The source had committed transactions before the moment that the copy does not have.
    Contradicted(String),
    /// Nothing tells.
    #[default]
    NotTested,
}

/// How far the moment that a backup claims may be from that of its content.
const CLAIM: TimeDelta = TimeDelta::minutes(5);
/// So many transactions after the horizon are checked.
const LOOKED_AT: u64 = 10_000;

/// Holds the copy's horizon against the commit timestamps of its source, where it keeps any
/// (`track_commit_timestamp`).
pub(crate) async fn judge_recency(
    source: &Databases,
    horizon: &Horizon,
    open: &BTreeSet<u64>,
    moment: DateTime<Utc>,
) -> Result<Recency> {
    let session = source.visit_any().await?;
    let tracks = "select current_setting('track_commit_timestamp')";
    if session.row(tracks, &[]).await?.get::<_, String>(0) != "on" {
        return Ok(Recency::NotTested);
    }
    let next = super::read::read_reference(&session).await?.next_id();
    let after = (horizon.maybe_before + 1)..next.min(horizon.maybe_before + LOOKED_AT);
    let ids: Vec<String> = open.iter().copied().chain(after).map(|id| id.to_string()).collect();
    let sql = "select min(pg_xact_commit_timestamp((id::xid8)::xid)) from unnest($1::text[]) as later(id)
               where pg_xact_status(id::xid8) = 'committed'";
    let earliest: Option<DateTime<Utc>> = session.row(sql, &[&ids]).await?.get(0);
    Ok(match earliest {
        Some(earliest) if earliest < moment - CLAIM => Recency::Contradicted(format!(
            "the copy is older than its backup claims: the source committed a transaction at {} that the copy does not have, \
             but the backup is dated {}",
            crate::when::format_time(earliest),
            crate::when::format_time(moment)
        )),
        Some(_) => Recency::Proven,
        None => Recency::NotTested,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read_with_its_running_transactions() {
        let boundary = Boundary::of_snapshot("10:20:10,14").unwrap();
        assert_eq!(boundary, Boundary { settled_before: 10, visible_before: 20, running: vec![10, 14] });
        assert!(boundary.has_running() && !Boundary::of_snapshot("20:20:").unwrap().has_running());
        assert!(Boundary::of_snapshot("20").is_none());
    }

    #[test]
    fn the_boundary_of_a_horizon_leaves_out_what_was_open() {
        let horizon = Horizon { surely_before: 99, maybe_before: 120, ..Horizon::default() };
        let boundary = |open: &[u64]| horizon.boundary_of("app", &open.iter().copied().collect());
        assert_eq!(boundary(&[]), Boundary { settled_before: 100, visible_before: 100, running: vec![] });
        assert_eq!(
            boundary(&[90, 95]),
            Boundary { settled_before: 90, visible_before: 100, running: vec![90, 95] }
        );
    }
}
