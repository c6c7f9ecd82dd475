//! What the vault keeps of a fleet run, at `fleets/<fleet run>/<shard>.json`, and how a run that was killed is found again.
//!
//! The record is written again after each drill. What counts as done is read from the evidence of the drills themselves,
//! which carries the id of the fleet run; the record shows that there is such a run, so that a process that was killed and
//! started again resumes it.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::record::{Fleet, Progress, Row};
use super::{Selection, Shard};
use crate::drill::evidence::{Report, State, to_json};
use crate::drill::{journal, verify_evidence};
use crate::error::{Error, Result};
use crate::rds::{Instance, RunId};
use crate::vault::Vault;
use crate::verify::Verdict;

/// An incomplete run is resumed for so long; after that, a new one begins. Below a day, so that a daily schedule never
/// resumes the run of yesterday.
const GONE_ON_WITH: TimeDelta = TimeDelta::hours(12);

/// A run that was given a name is resumed for so long, if it is not complete: a schedule that forgets to give each run
/// a name of its own must not take the proofs of last month for those of today.
const NAME_LASTS: TimeDelta = TimeDelta::days(7);

/// A fleet run that begins or resumes.
#[derive(Clone, Debug)]
pub(super) struct Joined {
    pub(super) fleet: String,
    pub(super) started_at: DateTime<Utc>,
    pub(super) is_resumed: bool,
}

/// What ties the shards of a fleet run together.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Tie {
    selection: Selection,
    shards: Option<u32>,
    started_at: DateTime<Utc>,
}

/// Joins the fleet run of that name, or the one of this selection that is not complete, or begins one. Under a lock, so
/// that shards that start together find each other.
pub(super) fn join_fleet_run(
    vault: &Vault,
    selection: &Selection,
    shard: Option<Shard>,
    name: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Joined> {
    let _lock = vault.lock("fleets/.lock")?;
    let tie = |fleet: &str| -> Result<Option<Tie>> {
        let read = vault.read(&format!("fleets/{fleet}/selection.json"))?;
        Ok(read.and_then(|json| serde_json::from_slice(&json).ok()))
    };
    if let Some(name) = name {
        if let Some(found) = tie(name)? {
            let age = now - found.started_at;
            let is_complete = read_shard(vault, name, &shard_file(shard))?
                .is_some_and(|own| own.state == Progress::Finished);
            if age > NAME_LASTS || (is_complete && age > GONE_ON_WITH) {
                let at = crate::when::format_time(found.started_at);
                return Err(Error::request(format!("fleet run `{name}` began at {at} and has ended"))
                    .hint("Give each run a name of its own, such as one with the date."));
            }
            return Ok(Joined { fleet: name.to_owned(), started_at: found.started_at, is_resumed: true });
        }
    } else {
        let mut recent: Vec<String> = vault.list("fleets")?.folders;
        recent.retain(|fleet| {
            let began = RunId::parse(fleet).and_then(|run| run.began());
            began.is_some_and(|began| (now - began).abs() < GONE_ON_WITH)
        });
        for fleet in recent.iter().rev() {
            let is_ours = tie(fleet)?
                .filter(|tie| tie.selection == *selection && tie.shards == shard.map(|shard| shard.count));
            let Some(tie) = is_ours else { continue };
            let own = read_shard(vault, fleet, &shard_file(shard))?;
            if own.is_some_and(|own| own.state == Progress::Finished) {
                break;
            }
            return Ok(Joined { fleet: fleet.clone(), started_at: tie.started_at, is_resumed: true });
        }
    }
    let fleet = name.map_or_else(|| RunId::new(now).to_string(), str::to_owned);
    let tie = Tie { selection: selection.clone(), shards: shard.map(|shard| shard.count), started_at: now };
    vault.write(&format!("fleets/{fleet}/selection.json"), &to_json(&tie)?)?;
    Ok(Joined { fleet, started_at: now, is_resumed: false })
}

/// The file of a shard in the folder of its fleet run.
fn shard_file(shard: Option<Shard>) -> String {
    shard.map_or("all.json".to_owned(), |shard| format!("{}-of-{}.json", shard.index, shard.count))
}

fn read_shard(vault: &Vault, fleet: &str, file: &str) -> Result<Option<Fleet>> {
    let Some(json) = vault.read(&format!("fleets/{fleet}/{file}"))? else { return Ok(None) };
    Ok(serde_json::from_slice(&json).ok())
}

/// Writes the record so far.
pub(super) fn write_shard(vault: &Vault, record: &Fleet) -> Result<()> {
    vault.write(&format!("fleets/{}/{}", record.fleet, shard_file(record.shard)), &to_json(record)?)
}

/// The drill of a database that this fleet run has done already: one with a verdict of pass or fail.
pub(super) fn find_finished_drill(
    vault: &Vault,
    source: &Instance,
    fleet: &str,
    since: DateTime<Utc>,
) -> Result<Option<Report>> {
    let mut runs = vault.list(&format!("drills/{}", source.id))?.folders;
    // An hour for the clocks of machines that work on one fleet.
    runs.retain(|run| {
        RunId::parse(run)
            .and_then(|run| run.began())
            .is_some_and(|began| began >= since - TimeDelta::hours(1))
    });
    let names: Vec<String> = runs.iter().map(|run| journal::evidence_name(source.id.as_str(), run)).collect();
    let reports = vault.read_all(&names)?.into_iter().filter_map(|read| {
        let report: Report = serde_json::from_slice(&read.ok()??).ok()?;
        let is_it = report.fleet.as_deref() == Some(fleet)
            && report.source.resource_id == source.resource_id.0
            && report.state != State::Running
            && report.verdict != Verdict::Unknown;
        let is_proof = is_it
            && verify_evidence::is_record_sound(vault, source.id.as_str(), &report.run).unwrap_or(false);
        is_proof.then_some(report)
    });
    Ok(reports.max_by_key(|report| report.started_at))
}

/// A fleet run with all of its shards, as the vault has it; `None` if there is none of that name.
pub(crate) fn find_fleet_run(vault: &Vault, fleet: &str) -> Result<Option<Fleet>> {
    if !is_name(fleet) {
        return Ok(None);
    }
    let files = vault.list(&format!("fleets/{fleet}"))?.files;
    let mut parts = Vec::new();
    for file in files.iter().filter(|file| file.name != "selection.json" && file.name.ends_with(".json")) {
        parts.extend(read_shard(vault, fleet, &file.name)?);
    }
    Ok(merge_shards(parts))
}

/// Several shards as one.
fn merge_shards(mut parts: Vec<Fleet>) -> Option<Fleet> {
    // Of those who divided the fleet in another way, the last counts for what is missing.
    parts.sort_by_key(|part| part.shard.map(|shard| shard.count));
    let mut whole = parts.first()?.clone();
    let count = parts.last().and_then(|part| part.shard).map(|shard| shard.count);
    let is_there = |index: u32| {
        parts.iter().any(|part| part.shard.is_none_or(|it| it.index == index && Some(it.count) == count))
    };
    whole.unreached = parts.iter().flat_map(|part| part.unreached.clone()).collect();
    whole.unreached.dedup();
    whole.missing_shards = (0..count.unwrap_or(0)).filter(|index| !is_there(*index)).collect();
    whole.shard = None;
    let mut rows: Vec<Row> = Vec::new();
    for row in parts.iter().flat_map(|part| &part.databases) {
        match rows.iter_mut().find(|known| known.resource_id == row.resource_id) {
            // A verdict says more than none, and the later one more than the earlier.
            Some(known) if (row.run.is_some(), row.started_at) > (known.run.is_some(), known.started_at) => {
                *known = row.clone()
            }
            Some(_) => {}
            None => rows.push(row.clone()),
        }
    }
    whole.databases = rows;
    whole.started_at = parts.iter().map(|part| part.started_at).min()?;
    let all = |state: Progress| parts.iter().all(|part| part.state == state);
    let any = |state: Progress| parts.iter().any(|part| part.state == state);
    whole.state = match () {
        () if any(Progress::Running) => Progress::Running,
        () if all(Progress::Finished) && whole.missing_shards.is_empty() => Progress::Finished,
        () if any(Progress::Interrupted) => Progress::Interrupted,
        () => Progress::Partial,
    };
    whole.finished_at = match whole.state {
        Progress::Running => None,
        _ => parts.iter().filter_map(|part| part.finished_at).max(),
    };
    whole.recount();
    Some(whole)
}

/// Whether a text can be the name of a fleet run.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && !text.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::super::record::Outcome;
    use super::super::record::tests::{fleet, row};
    use super::*;
    use crate::error::Kind;

    #[test]
    fn shards_make_a_whole_and_what_is_missing_is_said() {
        let shard = |index| Some(Shard { index, count: 3 });
        let parts = vec![
            fleet(shard(0), Progress::Finished, vec![row("a", Outcome::Pass)]),
            fleet(shard(2), Progress::Finished, vec![row("b", Outcome::Pass), row("c", Outcome::Fail)]),
        ];
        let whole = merge_shards(parts).unwrap();
        assert_eq!((whole.summary.databases, whole.missing_shards.clone()), (3, vec![1]));
        assert_eq!((whole.state, whole.exit_kind()), (Progress::Partial, Some(Kind::No)));
    }

    #[test]
    fn a_run_that_was_killed_is_gone_on_with_and_a_complete_one_is_not() {
        let place = tempfile::tempdir().unwrap();
        let vault = Vault::open(place.path().to_str().unwrap(), &crate::aws::Access::default()).unwrap();
        let now: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().unwrap();
        let all = Selection::default();
        let shard = |index| Some(Shard { index, count: 2 });
        let first = join_fleet_run(&vault, &all, shard(0), None, now).unwrap();
        assert!(!first.is_resumed);
        let second = join_fleet_run(&vault, &all, shard(1), None, now + TimeDelta::minutes(5)).unwrap();
        assert_eq!((second.fleet.as_str(), second.is_resumed), (first.fleet.as_str(), true));
        let mut record = fleet(shard(0), Progress::Running, Vec::new());
        record.fleet.clone_from(&first.fleet);
        write_shard(&vault, &record).unwrap();
        let again = join_fleet_run(&vault, &all, shard(0), None, now + TimeDelta::hours(1)).unwrap();
        assert_eq!(again.fleet, first.fleet);
        let tomorrow = join_fleet_run(&vault, &all, shard(0), None, now + TimeDelta::hours(24)).unwrap();
        assert_ne!(tomorrow.fleet, first.fleet);
        record.state = Progress::Finished;
        write_shard(&vault, &record).unwrap();
        let next = join_fleet_run(&vault, &all, shard(0), None, now + TimeDelta::hours(1)).unwrap();
        assert!(next.fleet != first.fleet && !next.is_resumed);
        let other = Selection { due_seconds: Some(60), ..Selection::default() };
        assert!(!join_fleet_run(&vault, &other, shard(1), None, now).unwrap().is_resumed);
        let named = |at| join_fleet_run(&vault, &all, None, Some("nightly"), at);
        assert!(!named(now).unwrap().is_resumed);
        assert!(named(now + TimeDelta::days(2)).unwrap().is_resumed);
        assert!(named(now + TimeDelta::days(30)).unwrap_err().chain().contains("has ended"));
        let complete = Fleet { fleet: "nightly".to_owned(), shard: None, ..record };
        write_shard(&vault, &complete).unwrap();
        assert!(named(now + TimeDelta::hours(1)).unwrap().is_resumed);
        assert!(named(now + TimeDelta::days(2)).is_err());
    }
}
