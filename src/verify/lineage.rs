//! Which rows of a source are older than a physical copy of it.
//!
//! Every row carries the id of the transaction that wrote it (`xmin`), a restore by RDS keeps those ids, and both
//! sides count on from the same number. So the copy tells up to which transaction it reaches (its *horizon*), and
//! each row that the source still holds from before the horizon must be in the copy as well, however long ago the
//! backup was. Rows that were deleted or updated since are beyond this; the source's write counters bound them.
//!
//! Two things blur the horizon. A transaction that was still running at that moment is before it by number and
//! yet not in the copy: the copy's own commit log tells ([`count_not_in_copy`]). And the copy may itself have used
//! a few ids since it was restored, for instance for a new master password: so there are two horizons, one that
//! is surely before any of those and one that is surely not after them.

use futures::{StreamExt as _, pin_mut};

use serde::{Deserialize, Serialize};

use super::observe::{Databases, Observation, Table};
use crate::error::Result;
use crate::postgres::{QueryFailure, Session};

/// Which transactions had ended at an instant of a source, as 64-bit ids: those before `visible_before` that are not
/// listed as running.
///
/// PostgreSQL lists running transactions without their subtransactions, which may be any id from `settled_before`
/// on; rows from before that are beyond all doubt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boundary {
    /// Every earlier transaction had ended.
    pub settled_before: u64,
    /// No later transaction had begun to write.
    pub visible_before: u64,
    /// Those in between that were still running.
    pub running: Vec<u64>,
}

impl Boundary {
    /// From the text of a `pg_snapshot`: `xmin:xmax:xip,…`.
    pub fn of_snapshot(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (settled, visible, running) = (parts.next()?, parts.next()?, parts.next()?);
        let running = running.split(',').filter(|id| !id.is_empty()).map(str::parse);
        Some(Boundary {
            settled_before: settled.parse().ok()?,
            visible_before: visible.parse().ok()?,
            running: running.collect::<std::result::Result<_, _>>().ok()?,
        })
    }

    /// Whether any transaction was still running.
    pub fn has_running(&self) -> bool {
        self.settled_before < self.visible_before
    }
}

impl Horizon {
    /// The boundary that divides the source's rows at this horizon.
    pub fn boundary(&self) -> Boundary {
        Boundary {
            settled_before: self.surely_before + 1,
            visible_before: self.maybe_before + 1,
            running: Vec::new(),
        }
    }
}

/// Up to which transaction a copy reaches, as 64-bit transaction ids (both inclusive).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Every transaction up to this one that committed at all did so before the copy's moment.
    pub surely_before: u64,
    /// No later transaction is in the copy.
    pub maybe_before: u64,
}

/// SQL condition, for one transaction of one session, on the rows that are from before a boundary.
pub async fn older_than(session: &Session, boundary: &Boundary) -> Result<String> {
    let reference = super::read::reference(session).await?;
    Ok(format!("({}) < 2", super::read::stratum(boundary, reference)))
}

/// Reads the horizon off a copy that has been whose newest writes have been observed.
pub async fn horizon(copy: &Databases, observed: &Observation) -> Result<Option<Horizon>> {
    let Some(session) = copy.any() else { return Ok(None) };
    // Nobody writes users' tables in a copy, so the newest row in them is from before.
    let newest_row =
        observed.databases.values().flatten().filter_map(|table| table.newest_write).max().unwrap_or(3);
    let handed_out = observed.next_transaction.saturating_sub(1);
    Ok(Some(match end_of_recovery(session).await? {
        Some(next) => {
            let last = next.saturating_sub(1);
            Horizon { surely_before: last, maybe_before: last }
        }
        None => {
            // The copy has used at most as many ids as it has ended transactions since its recovery.
            let own = "select coalesce(sum(xact_commit + xact_rollback), 0)::int8 + 50 from pg_stat_database";
            let own: i64 = session.row(own, &[]).await?.get(0);
            let before_own = handed_out.saturating_sub_signed(own);
            Horizon { surely_before: newest_row.max(before_own).min(handed_out), maybe_before: handed_out }
        }
    }))
}

/// The transaction counter at the end of the copy's recovery, if its last checkpoint is still the one that ended
/// the recovery: later ones may include transactions of the copy itself.
async fn end_of_recovery(session: &Session) -> Result<Option<u64>> {
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
                checkpoint_time >= date_trunc('second', pg_postmaster_start_time()), {checkpoints}
         from pg_control_checkpoint()"
    );
    let row = match session.row(&sql, &[]).await {
        Ok(row) => row,
        // Managed services may keep this function for themselves.
        Err(failure) if failure.session_survives() => {
            session.run("rollback").await?;
            session.run("begin isolation level repeatable read read only").await?;
            tracing::debug!(%failure, "the end of the recovery cannot be read");
            return Ok(None);
        }
        Err(failure) => return Err(failure.into()),
    };
    let (ends_recovery, since_start, checkpoints): (bool, bool, i64) = (row.get(1), row.get(2), row.get(3));
    if !since_start || !(ends_recovery || checkpoints <= 1) {
        return Ok(None);
    }
    let text: String = row.get(0);
    Ok(text
        .split_once(':')
        .and_then(|(epoch, xid)| Some((epoch.parse::<u64>().ok()? << 32) | xid.parse::<u64>().ok()?)))
}

/// How many of the source's rows from before the horizon the copy never held, because the transactions that wrote
/// them had not committed by then.
///
/// Costs a second read of the table, so it is asked only where rows seem to be missing.
pub async fn count_not_in_copy(
    source: &Session,
    table: &Table,
    copy: &Session,
    horizon: &Horizon,
) -> std::result::Result<u64, QueryFailure> {
    const BATCH: usize = 5_000;
    let sql = format!(
        "select xmin::text::int8, count(*) from only {} where age(xmin) >= age('{}'::xid) or age(xmin) < 0 group by 1",
        table.quoted(),
        horizon.maybe_before as u32
    );
    let rows = source.stream(&sql).await?;
    pin_mut!(rows);
    let (mut ids, mut counts, mut absent) = (Vec::new(), Vec::new(), 0_i64);
    loop {
        let row = rows.next().await.transpose()?;
        if let Some(row) = &row {
            ids.push(full_id(row.get(0), horizon.maybe_before).to_string());
            counts.push(row.get::<_, i64>(1));
        }
        if ids.len() >= BATCH || row.is_none() {
            // NULL: so old that the commit log has forgotten it, hence long committed.
            let answer = copy
                .row(
                    "select coalesce(sum(rows), 0)::int8 from unnest($1::text[], $2::int8[]) as written(id, rows)
                     where pg_xact_status(id::xid8) is distinct from 'committed' and pg_xact_status(id::xid8) is not null",
                    &[&ids, &counts],
                )
                .await?;
            absent += answer.get::<_, i64>(0);
            ids.clear();
            counts.clear();
        }
        if row.is_none() {
            return Ok(u64::try_from(absent).unwrap_or_default());
        }
    }
}

/// The 64-bit id of a 32-bit one that is not after `latest`.
fn full_id(short: i64, latest: u64) -> u64 {
    let behind = (latest as u32).wrapping_sub(short as u32);
    latest.saturating_sub(u64::from(behind))
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
    fn ids_are_completed_across_the_wrap_of_the_counter() {
        let latest = (7_u64 << 32) | 10;
        assert_eq!(full_id(10, latest), latest);
        assert_eq!(full_id(9, latest), latest - 1);
        assert_eq!(full_id(i64::from(u32::MAX), latest), latest - 11);
    }
}
