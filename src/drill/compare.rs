//! The comparison of a drill: the source and its restored copy are observed, then judged by `verify`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::context::Event;
use crate::error::Result;
use crate::postgres::Server;
use crate::verify::Recorded;
use crate::verify::depth::{Depth, Tables};
use crate::verify::indexes::Indexes;
use crate::verify::judge::{Kinship, reason_with_rows};
use crate::verify::observe::WrittenTables;
use crate::verify::physical::{self, Held, PhysicalCopy};
use crate::verify::row_differences::{self, Extent, HowRowsDiffer, RowsNamed};
use crate::verify::schema::Touched;
use crate::verify::{
    Databases, Horizon, Judgement, Look, Observation, Question, Recording, Verdict, Word, judge, lineage,
};

/// Observes the source at a moment that a restore can go back to.
pub(super) async fn observe_aligned(
    source: &Server,
    only: &[String],
    look: &Look,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Recording> {
    let mut recording = Recording::begin_late(source, only, look).await?;
    recording.observe(&|progress| tell(Event::Counting { side: "source", progress })).await?;
    Ok(recording)
}

/// So many tables are looked into for the rows that differ.
const NAMED_TABLES: usize = 20;
/// And so many rows of each are kept.
const NAMED_ROWS: usize = 100;

/// A restored copy, observed.
pub(super) struct Copy {
    databases: Databases,
    /// What it holds.
    pub(super) observed: Observation,
    /// Up to which transaction of its source it reaches, where that can be told.
    horizon: Option<Horizon>,
    /// Definitions that were written to since its source was recorded, by database.
    touched: BTreeMap<String, Touched>,
}

/// Observes a restored copy. `recorded`: what its source was seen to contain, where that was recorded.
pub(super) async fn observe_copy(
    copy: &Server,
    only: &[String],
    look: &Look,
    recorded: Option<&Observation>,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Copy> {
    let databases = Databases::connect(copy, only, look).await?;
    let boundaries = recorded.map(|seen| seen.boundaries.clone()).unwrap_or_default();
    let question = Question { boundaries, newest_write: true };
    let observed =
        databases.observe(&question, &|progress| tell(Event::Counting { side: "copy", progress })).await?;
    let horizon = lineage::find_horizon(&databases, &observed).await?;
    let touched = match recorded.filter(|_| !observed.definitions.is_empty()) {
        Some(recorded) => {
            let mut since = recorded.definitions_settled_before();
            since.retain(|name, _| observed.definitions.contains_key(name));
            databases.read_touched(&since).await?
        }
        None => BTreeMap::new(),
    };
    Ok(Copy { databases, observed, horizon, touched })
}

/// What ties a copy to the source that it is compared with.
pub(super) struct Ties {
    /// Whether both are the same instance by resource id.
    pub(super) is_same_instance: bool,
    /// Whether the major version is the same: an upgrade recreates every table.
    pub(super) is_same_major: bool,
    /// The moment of the backup.
    pub(super) moment: Option<DateTime<Utc>>,
    /// How large a part of a table may stay open, 0 to 1.
    pub(super) tolerance: f64,
    /// Tables that are regularly emptied and reloaded.
    pub(super) churning: Tables,
    pub(super) look: Look,
}

impl Ties {
    /// Why a copy cannot be compared with its source row by row, if it cannot.
    fn missing(&self, copy: &Copy) -> Option<&'static str> {
        match copy.horizon {
            _ if !self.is_same_instance => Some("the backup is of an earlier instance of this name"),
            _ if !self.is_same_major => Some("the source has been upgraded to another major version since"),
            None => Some("the copy does not show which transaction it reaches"),
            Some(_) => None,
        }
    }
}

/// Judges a copy of the very moment that was recorded. What the record leaves open, and databases that it does not cover,
/// are compared with the source as it is now.
pub(super) async fn judge_recorded(
    recorded: &Recorded,
    source: &Server,
    only: &[String],
    copy: &Copy,
    ties: &Ties,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Judgement> {
    let traces = judge::Traces { horizon: copy.horizon.as_ref(), touched: Some(&copy.touched) };
    let mut judgement = judge::at_the_moment(&recorded.seen, &recorded.movement, &copy.observed, traces);
    let open = judgement.databases_left_open(&copy.observed);
    if open.is_empty() || ties.missing(copy).is_some() {
        judgement.weigh();
        return Ok(judgement);
    }
    let open: Vec<String> = open.into_iter().filter(|name| only.is_empty() || only.contains(name)).collect();
    let (held, horizon) = match compare_with_live(source, &open, copy, ties, tell).await? {
        Ok(held) => held,
        Err(_) => return Ok(judgement),
    };
    judgement.settle_with(
        judge_held(source, &open, &copy.observed.restrict_to(&open), ties, held, &horizon).await?,
    );
    Ok(judgement)
}

/// Judges a copy of an earlier moment against the source as it is now.
pub(super) async fn judge_live(
    source: &Server,
    only: &[String],
    copy: &Copy,
    ties: &Ties,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Judgement> {
    let because = match ties.missing(copy) {
        Some(because) => because,
        None => match compare_with_live(source, only, copy, ties, tell).await? {
            Ok((held, horizon)) => {
                return judge_held(source, only, &copy.observed, ties, held, &horizon).await;
            }
            Err(because) => because,
        },
    };
    let databases = Databases::connect(source, only, &ties.look).await?;
    let seen = databases
        .observe(&Question::default(), &|progress| tell(Event::Counting { side: "source", progress }))
        .await?;
    let kinship = Kinship::Names { tolerance: ties.tolerance, because: because.to_owned() };
    Ok(judge::judge_live(&seen, &copy.observed, &kinship))
}

async fn judge_held(
    source: &Server,
    only: &[String],
    observed: &Observation,
    ties: &Ties,
    mut held: Held,
    horizon: &Horizon,
) -> Result<Judgement> {
    let begun = Instant::now();
    let judgement = judge::judge_live(&held.seen, observed, &kinship_of(&held, horizon, ties));
    if judgement.verdict != Verdict::Fail {
        return Ok(judgement);
    }
    // Before rows are called superfluous, the deletes that would explain them get the time to be counted.
    let databases = Databases::connect(source, only, &ties.look).await?;
    databases.wait_for_counters(begun).await?;
    let written = databases.read_write_counters().await?;
    for (database, tables) in &mut held.seen.databases {
        for table in tables {
            if let Some(written) = written.get(database).and_then(|tables| tables.get(&table.oid)) {
                table.written.counters = written.counters;
            }
        }
    }
    Ok(judge::judge_live(&held.seen, observed, &kinship_of(&held, horizon, ties)))
}

fn kinship_of<'a>(held: &'a Held, horizon: &'a Horizon, ties: &'a Ties) -> Kinship<'a> {
    Kinship::Lineage {
        horizon,
        uncommitted: &held.open,
        evidence: &held.evidence,
        recency: &held.recency,
        was_written_to: held.was_written_to,
        moment: ties.moment,
        tolerance: ties.tolerance,
        churning: &ties.churning,
    }
}

/// Holds a copy against its source; an inner error says why the two have nothing in common.
async fn compare_with_live(
    source: &Server,
    only: &[String],
    copy: &Copy,
    ties: &Ties,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<std::result::Result<(Held, Horizon), &'static str>> {
    let Some(horizon) = &copy.horizon else {
        return Ok(Err("the copy does not show which transaction it reaches"));
    };
    let databases = Databases::connect(source, only, &ties.look).await?;
    let next = databases.next_transaction().await?;
    drop(databases);
    // On a source at rest the copy's own transactions run ahead of the source's. A row by one of them is none of the source's.
    let last = next.saturating_sub(1);
    let was_written_to = horizon.surely_before > last;
    let horizon = Horizon {
        surely_before: horizon.surely_before.min(last),
        maybe_before: horizon.maybe_before.min(last),
        ..horizon.clone()
    };
    let physical = PhysicalCopy {
        databases: &copy.databases,
        observed: &copy.observed,
        horizon: &horizon,
        moment: ties.moment,
    };
    let held = physical::hold_against(source, only, &ties.look, physical, &|progress| {
        tell(Event::Counting { side: "source", progress })
    })
    .await?;
    Ok(Ok((Held { was_written_to, ..held }, horizon)))
}

/// Checks the indexes of a copy, after everything else: it may have to create an extension there.
pub(super) async fn check_indexes(judgement: &mut Judgement, copy: &Copy, look: &Look) {
    if look.depths.usual_depth() != Depth::Content {
        judgement.not_tested.push("indexes: only `--depth content` checks them".to_owned());
        return;
    }
    match Indexes::check_indexes(&copy.databases).await {
        Ok(found) => {
            judgement.not_tested.extend(found.not_tested);
            judgement.definitions.extend(found.damaged);
        }
        Err(error) => judgement.not_tested.push(format!("indexes: {}", error.chain())),
    }
    judgement.weigh();
}

/// Says which rows differ from what was recorded, as far as the source still has them: all of them in tables that it has
/// not written to since, those that are missing or changed in others. A comfort, so nothing fails with it.
pub(super) async fn name_rows(
    judgement: &mut Judgement,
    recorded: &Recorded,
    source: &Server,
    copy: &Copy,
    tell: &(dyn Fn(Event<'_>) + Sync),
) {
    if judgement.tables.iter().any(|table| table.verdict == Word::Differs && table.differences.is_empty())
        && let Err(error) = try_to_name_rows(judgement, recorded, source, copy).await
    {
        tell(Event::Note(&format!("which rows differ could not be determined: {}", error.chain())));
    }
    judgement.weigh();
}

async fn try_to_name_rows(
    judgement: &mut Judgement,
    recorded: &Recorded,
    source: &Server,
    copy: &Copy,
) -> Result<()> {
    let seen = &recorded.seen;
    let only: Vec<String> = seen.databases.keys().cloned().collect();
    let databases = Databases::connect(source, &only, &Look::default()).await?;
    let now = databases.read_write_counters().await?;
    let differing = judgement
        .tables
        .iter_mut()
        .filter(|table| table.verdict == Word::Differs && table.differences.is_empty());
    for table in differing.take(NAMED_TABLES) {
        let database = table.database.clone();
        let find = |seen: &Observation| seen.find_table(&database, &table.schema, &table.table).cloned();
        let (Some(ours), Some(theirs)) = (find(seen), find(&copy.observed)) else { continue };
        let (at_source, at_copy) =
            (databases.visit_database(&database).await?, copy.databases.visit_database(&database).await?);
        let written =
            |tables: &WrittenTables| tables.get(&database).and_then(|tables| tables.get(&ours.oid)).copied();
        let has_rested = written(&recorded.movement.after).is_some_and(|then| written(&now) == Some(then));
        let (mut in_source, mut in_copy) = (None, None);
        if !has_rested {
            let Some(boundary) = seen.boundaries.get(&database) else { continue };
            in_source = Some(lineage::older_than_sql(&at_source, boundary).await?);
            in_copy = Some(lineage::older_than_sql(&at_copy, boundary).await?);
        }
        // What only the copy has, the source may have deleted since.
        let told = if has_rested { RowsNamed::All } else { RowsNamed::OfTheLeft };
        let mut found = row_differences::find_differences(
            row_differences::Side { session: &at_source, table: &ours, only: in_source.as_deref() },
            row_differences::Side { session: &at_copy, table: &theirs, only: in_copy.as_deref() },
            Extent { rows: NAMED_ROWS, show_rows: false, told },
        )
        .await?;
        // What the source has written or deleted since could not be compared.
        found.more |= !has_rested;
        if let Some(told) = found.summary() {
            let missing = found.rows.iter().filter(|row| row.how == HowRowsDiffer::Missing).count() as u64;
            table.reason = reason_with_rows(&told, missing, table);
            table.differences = found.rows;
        }
    }
    Ok(())
}
