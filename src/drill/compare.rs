//! The comparison of a drill: the source and its restored copy are observed, then judged by `verify`.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Timelike as _, Utc};
use tokio::time::Instant;

use super::Event;
use crate::error::{Error, Result};
use crate::postgres::{Server, Session};
use crate::verify::judge::{CommitLog, Kinship, Movement};
use crate::verify::observe::Progress;
use crate::verify::{Databases, Depth, Horizon, Judgement, Observation, Question, Verdict, judge, lineage};

/// How long PostgreSQL may keep a session's write counters to itself: a busy one reports once a second, an idle
/// one after ten at most (PostgreSQL documentation, "The Cumulative Statistics System").
const COUNTERS_LAG: Duration = Duration::from_secs(11);

/// Where in a second the source is observed: the log can be replayed up to whole seconds only, so the later in
/// its second the observation is, the less can be written between it and the moment that is restored.
const LATE_IN_THE_SECOND: u32 = 850_000_000;

/// The source as it was at a moment that can be restored.
pub(super) struct Aligned {
    expected: Observation,
    movement: Movement,
    depth: Depth,
    /// The whole second to restore to: nothing that was observed was committed after it.
    pub(super) moment: DateTime<Utc>,
    taken: Instant,
}

/// Observes the source at a moment that a restore can go back to.
pub(super) async fn observe_aligned(
    source: &Server,
    only: &[String],
    depth: Depth,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Aligned> {
    let databases = Databases::connect(source, only).await?;
    let before = databases.write_counters().await?;
    let sequences_before =
        if depth == Depth::Content { databases.sequences().await? } else { BTreeMap::new() };
    let movement = Movement { before, sequences_before, ..Movement::default() };
    let clock = databases.clock().await?;
    let early = LATE_IN_THE_SECOND.saturating_sub(clock.nanosecond() % 1_000_000_000);
    tokio::time::sleep(Duration::from_nanos(u64::from(early))).await;
    let instant = databases.begin().await?;
    let taken = Instant::now();
    let moment = instant.with_nanosecond(0).unwrap_or(instant) + chrono::TimeDelta::seconds(1);
    let expected =
        databases.observe(&Question::Rows, depth, &|progress| counting(tell, "source", progress)).await?;
    databases.end().await?;
    Ok(Aligned { expected, movement, depth, moment, taken })
}

/// Looks at the source once more when its sessions have reported what they wrote up to the moment: as soon as that
/// is so, since all that is written later only widens the bounds.
pub(super) async fn look_again(aligned: &mut Aligned, source: &Server, only: &[String]) -> Result<()> {
    let databases = Databases::connect(source, only).await?;
    wait_for_counters(&databases, aligned.taken + Duration::from_secs(1)).await?;
    aligned.movement.after = databases.write_counters().await?;
    if aligned.depth == Depth::Content {
        aligned.movement.sequences_after = databases.sequences().await?;
        aligned.movement.definitions_after = databases.definitions().await?;
    }
    Ok(())
}

/// Judges a copy of the aligned moment.
pub(super) async fn judge_aligned(aligned: &Aligned, copy: &Copy) -> Result<Judgement> {
    let horizon = lineage::horizon(&copy.databases, &copy.observed).await?;
    Ok(judge::aligned(&aligned.expected, &aligned.movement, &copy.observed, horizon.as_ref()))
}

/// A restored copy, observed.
pub(super) struct Copy {
    databases: Databases,
    /// What it holds.
    pub(super) observed: Observation,
}

/// Observes a restored copy.
pub(super) async fn observe_copy(
    copy: &Server,
    only: &[String],
    depth: Depth,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Copy> {
    let databases = Databases::connect(copy, only).await?;
    databases.begin().await?;
    let observed = databases
        .observe(&Question::NewestWrite, depth, &|progress| counting(tell, "copy", progress))
        .await?;
    Ok(Copy { databases, observed })
}

/// What ties a copy to the source that it is compared with.
pub(super) struct Ties {
    /// Whether both are the same instance by resource id.
    pub(super) is_same_instance: bool,
    /// Whether the major version is the same: an upgrade makes every table anew.
    pub(super) is_same_major: bool,
    /// The moment of the backup.
    pub(super) moment: Option<DateTime<Utc>>,
    /// Allowed difference where only counts can be compared, 0 to 1.
    pub(super) tolerance: f64,
    /// How deep to look.
    pub(super) depth: Depth,
}

/// Judges a copy of an earlier moment against the source as it is now.
pub(super) async fn judge_live(
    source: &Server,
    only: &[String],
    copy: &Copy,
    ties: &Ties,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Judgement> {
    let databases = Databases::connect(source, only).await?;
    let begun = Instant::now();
    let horizon = match (ties.is_same_instance, ties.is_same_major) {
        (true, true) => lineage::horizon(&copy.databases, &copy.observed).await?,
        _ => None,
    };
    databases.begin().await?;
    let question = horizon.clone().map_or(Question::Rows, Question::Survivors);
    let mut seen =
        databases.observe(&question, ties.depth, &|progress| counting(tell, "source", progress)).await?;
    let because = match &horizon {
        _ if !ties.is_same_instance => "the backup is of an earlier instance of this name".to_owned(),
        _ if !ties.is_same_major => "the source has been upgraded to another major version since".to_owned(),
        None => "the copy does not tell up to which transaction it reaches".to_owned(),
        Some(horizon) if horizon.surely_before >= seen.next_transaction => {
            "the copy reaches further than the source, so they do not share a history".to_owned()
        }
        Some(_) => String::new(),
    };
    // On a source at rest the copy's own transactions run ahead of the source's.
    let last = seen.next_transaction.saturating_sub(1);
    let horizon = horizon.map(|horizon| Horizon { maybe_before: horizon.maybe_before.min(last), ..horizon });
    let Some(horizon) = horizon.filter(|_| because.is_empty()) else {
        databases.end().await?;
        return Ok(judge::live(
            &seen,
            &copy.observed,
            &Kinship::Names { tolerance: ties.tolerance, because },
        ));
    };
    let commit_log = read_commit_log(&databases, &seen, copy, &horizon).await?;
    databases.end().await?;
    let kinship = Kinship::Lineage {
        horizon: &horizon,
        commit_log: &commit_log,
        moment: ties.moment,
        tolerance: ties.tolerance,
    };
    let judgement = judge::live(&seen, &copy.observed, &kinship);
    if judgement.verdict != Verdict::Fail {
        return Ok(judgement);
    }
    // Before rows are called superfluous, the deletes that would explain them get the time to be counted.
    wait_for_counters(&databases, begun).await?;
    let counters = databases.write_counters().await?;
    for (database, tables) in &mut seen.databases {
        for table in tables {
            if let Some((writes, _)) = counters.get(&(database.clone(), table.oid)) {
                table.writes = *writes;
            }
        }
    }
    Ok(judge::live(&seen, &copy.observed, &kinship))
}

/// Asks the copy's commit log about everything that seems to be missing.
async fn read_commit_log(
    source: &Databases,
    seen: &Observation,
    copy: &Copy,
    horizon: &Horizon,
) -> Result<CommitLog> {
    let mut log = CommitLog::default();
    let Some(in_copy) = copy.databases.any() else { return Ok(log) };
    for (database, table) in judge::suspects(seen, &copy.observed) {
        let Some(in_source) = source.session(database) else { continue };
        let absent =
            lineage::count_not_in_copy(in_source, table, in_copy, horizon).await.map_err(|failure| {
                Error::outside(format!(
                    "table `{database}.{}.{}` could not be compared",
                    table.schema, table.name
                ))
                .caused_by(failure)
            })?;
        log.rows_not_in_copy.insert((database.to_owned(), table.oid), absent);
    }
    let made_by = seen
        .databases
        .values()
        .flatten()
        .filter_map(|table| table.created_by)
        .chain(seen.made_by.values().copied());
    log.uncommitted = uncommitted(in_copy, made_by.filter(|id| *id <= horizon.maybe_before)).await?;
    Ok(log)
}

async fn uncommitted(
    copy: &Session,
    ids: impl Iterator<Item = u64>,
) -> Result<std::collections::BTreeSet<u64>> {
    let ids: std::collections::BTreeSet<u64> = ids.collect();
    let texts: Vec<String> = ids.iter().map(u64::to_string).collect();
    let rows = copy
        .rows(
            "select id from unnest($1::text[]) as made(id)
             where pg_xact_status(id::xid8) is not null and pg_xact_status(id::xid8) <> 'committed'",
            &[&texts],
        )
        .await?;
    Ok(rows.iter().filter_map(|row| row.get::<_, String>(0).parse().ok()).collect())
}

/// Waits until every session that may have written before `since` has reported what it wrote: at once when there
/// is no other session, since those that end report first.
async fn wait_for_counters(databases: &Databases, since: Instant) -> Result<()> {
    let Some(session) = databases.any() else { return Ok(()) };
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
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

fn counting(tell: &(dyn Fn(Event<'_>) + Sync), side: &'static str, progress: Progress<'_>) {
    tell(Event::Counting {
        side,
        tables: progress.tables,
        of_tables: progress.of_tables,
        rows: progress.rows,
    });
}
