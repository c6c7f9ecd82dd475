//! The comparison of a drill: the source and its restored copy are observed, then judged by `verify`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::Event;
use crate::error::{Error, Result};
use crate::postgres::{Server, Session};
use crate::verify::judge::{CommitLog, Kinship, Movement};
use crate::verify::narrow::{self, Extent, HowRowsDiffer};
use crate::verify::observe::{Progress, WrittenTables};
use crate::verify::{
    Boundary, Databases, Horizon, Judgement, Look, Observation, Question, Recording, Verdict, Word, judge,
    lineage,
};

/// Observes the source at a moment that a restore can go back to.
pub(super) async fn observe_aligned(
    source: &Server,
    only: &[String],
    look: &Look,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Recording> {
    let mut recording = Recording::begin_late(source, only, look).await?;
    recording.observe(&|progress| counting(tell, "source", progress)).await?;
    Ok(recording)
}

/// What a copy is judged by, and how its rows can be told from others of the source.
pub(super) struct Basis {
    /// What the source was seen to contain.
    seen: Observation,
    /// Which of its rows the copy must have, by database.
    boundaries: BTreeMap<String, Boundary>,
    /// The look at its write counters after which nothing in the copy was written.
    after: WrittenTables,
}

/// Judges a copy of the very moment that was recorded.
pub(super) async fn judge_recorded(
    seen: &Observation,
    movement: &Movement,
    copy: &Copy,
) -> Result<(Judgement, Basis)> {
    let horizon = lineage::horizon(&copy.databases, &copy.observed).await?;
    let judgement = judge::at_the_moment(seen, movement, &copy.observed, horizon.as_ref());
    let (seen, boundaries) = (seen.clone(), seen.boundaries.clone());
    Ok((judgement, Basis { seen, boundaries, after: movement.after.clone() }))
}

/// So many tables are looked into for the rows that differ.
const NAMED_TABLES: usize = 20;
/// And so many rows of each are kept.
const NAMED_ROWS: usize = 100;

/// Says which rows differ, as far as the source still has them: all of them in tables that it has not written to since,
/// those that are missing or changed in others. A comfort, so nothing fails with it.
pub(super) async fn name_rows(
    judgement: &mut Judgement,
    basis: &Basis,
    source: &Server,
    copy: &Copy,
    tell: &(dyn Fn(Event<'_>) + Sync),
) {
    if judgement.tables.iter().any(|table| table.verdict == Word::Differs)
        && let Err(error) = try_to_name_rows(judgement, basis, source, copy).await
    {
        tell(Event::Note(&format!("which rows differ could not be found out: {}", error.chain())));
    }
    judgement.tell();
}

async fn try_to_name_rows(
    judgement: &mut Judgement,
    basis: &Basis,
    source: &Server,
    copy: &Copy,
) -> Result<()> {
    let only: Vec<String> = basis.seen.databases.keys().cloned().collect();
    let mut databases = Databases::connect(source, &only, &Look::default()).await?;
    let now = databases.written().await?;
    databases.begin().await?;
    let differing = judgement.tables.iter_mut().filter(|table| table.verdict == Word::Differs);
    for table in differing.take(NAMED_TABLES) {
        let database = &table.database;
        let find = |seen: &Observation| seen.table(database, &table.schema, &table.table).cloned();
        let sessions = (databases.session(database), copy.databases.session(database));
        let (Some(ours), Some(theirs), (Some(at_source), Some(at_copy))) =
            (find(&basis.seen), find(&copy.observed), sessions)
        else {
            continue;
        };
        let written =
            |tables: &WrittenTables| tables.get(database).and_then(|tables| tables.get(&ours.oid)).copied();
        let has_rested = written(&basis.after).is_some_and(|then| written(&now) == Some(then));
        let (mut in_source, mut in_copy) = (None, None);
        if !has_rested {
            let Some(boundary) = basis.boundaries.get(database) else { continue };
            in_source = Some(lineage::older_than(at_source, boundary).await?);
            in_copy = Some(lineage::older_than(at_copy, boundary).await?);
        }
        let mut found = narrow::differences(
            narrow::Side { session: at_source, table: &ours, only: in_source.as_deref() },
            narrow::Side { session: at_copy, table: &theirs, only: in_copy.as_deref() },
            Extent { rows: NAMED_ROWS, show_rows: false },
        )
        .await?;
        if !has_rested {
            // What only the copy has, the source may have deleted since.
            found.keep_only(&[HowRowsDiffer::Missing, HowRowsDiffer::Changed]);
        }
        if let Some(told) = found.told() {
            table.reason = format!("{told}; {}", table.reason);
            table.differences = found.rows;
        }
    }
    Ok(())
}

/// A restored copy, observed.
pub(super) struct Copy {
    databases: Databases,
    /// What it holds.
    pub(super) observed: Observation,
}

/// Observes a restored copy. `recorded`: what its source was seen to contain, where that was recorded.
pub(super) async fn observe_copy(
    copy: &Server,
    only: &[String],
    look: &Look,
    recorded: Option<&Observation>,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Copy> {
    let mut databases = Databases::connect(copy, only, look).await?;
    databases.begin().await?;
    let boundaries = recorded.map(|seen| seen.boundaries.clone()).unwrap_or_default();
    let question = Question { boundaries, newest_write: true };
    let observed = databases.observe(&question, &|progress| counting(tell, "copy", progress)).await?;
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
    /// How to look.
    pub(super) look: Look,
}

/// Judges a copy of an earlier moment against the source as it is now.
pub(super) async fn judge_live(
    source: &Server,
    only: &[String],
    copy: &Copy,
    ties: &Ties,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<(Judgement, Basis)> {
    let mut databases = Databases::connect(source, only, &ties.look).await?;
    let begun = Instant::now();
    let horizon = match (ties.is_same_instance, ties.is_same_major) {
        (true, true) => lineage::horizon(&copy.databases, &copy.observed).await?,
        _ => None,
    };
    databases.begin().await?;
    let mut question = Question::default();
    if let Some(horizon) = &horizon {
        let names = databases.names();
        question.boundaries = names.map(|name| (name.to_owned(), horizon.boundary())).collect();
    }
    let mut seen = databases.observe(&question, &|progress| counting(tell, "source", progress)).await?;
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
        let kinship = Kinship::Names { tolerance: ties.tolerance, because };
        let judgement = judge::live(&seen, &copy.observed, &kinship);
        return Ok((judgement, Basis { seen, boundaries: BTreeMap::new(), after: WrittenTables::new() }));
    };
    let commit_log = read_commit_log(&databases, &seen, copy, &horizon).await?;
    databases.end().await?;
    let kinship = Kinship::Lineage {
        horizon: &horizon,
        commit_log: &commit_log,
        moment: ties.moment,
        tolerance: ties.tolerance,
    };
    let basis = |seen| Basis { seen, boundaries: question.boundaries, after: WrittenTables::new() };
    let judgement = judge::live(&seen, &copy.observed, &kinship);
    if judgement.verdict != Verdict::Fail {
        return Ok((judgement, basis(seen)));
    }
    // Before rows are called superfluous, the deletes that would explain them get the time to be counted.
    databases.wait_for_counters(begun).await?;
    let written = databases.written().await?;
    for (database, tables) in &mut seen.databases {
        for table in tables {
            if let Some(written) = written.get(database).and_then(|tables| tables.get(&table.oid)) {
                table.written.counters = written.counters;
            }
        }
    }
    let judgement = judge::live(&seen, &copy.observed, &kinship);
    Ok((judgement, basis(seen)))
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

fn counting(tell: &(dyn Fn(Event<'_>) + Sync), side: &'static str, progress: Progress<'_>) {
    tell(Event::Counting {
        side,
        tables: progress.tables,
        of_tables: progress.of_tables,
        rows: progress.rows,
        bytes: progress.bytes,
        of_bytes: progress.of_bytes,
    });
}
