//! The record of a fleet run, `lifeboat.drill.fleet/1`: what `drill run` of a fleet prints, and what the vault keeps of it at
//! `fleets/<fleet run>/<shard>.json`.
//!
//! It is written anew after each drill. What counts as done is read from the evidence of the drills themselves, which
//! carries the id of the fleet run; the record says that there is such a run, so that a process that was killed and started
//! again goes on with it.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Ceilings, Selection, Shard};
use crate::drill::evidence::{Report, State, to_json};
use crate::drill::{journal, verify_evidence};
use crate::error::{Error, Kind, Result};
use crate::fleet::{Instance, Place, RunId, Unreached, account_of};
use crate::vault::{Lock, Vault};
use crate::verify::Verdict;

/// Name and version of the document.
pub(crate) const SCHEMA: &str = "lifeboat.drill.fleet/1";

/// A run that is not complete is gone on with for so long; after that, a new one begins. Below a day, so that a daily
/// schedule never goes on with the run of yesterday.
const GONE_ON_WITH: TimeDelta = TimeDelta::hours(12);

/// A run that was given a name is gone on with for so long, if it is not complete: a schedule that forgets to give each run
/// a name of its own must not take the proofs of last month for those of today.
const NAME_LASTS: TimeDelta = TimeDelta::days(7);

/// Everything about one run of a fleet, or of one shard of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fleet {
    /// `lifeboat.drill.fleet/1`.
    pub schema: String,
    /// Its id.
    pub fleet: String,
    /// How far it is.
    pub state: Progress,
    /// When its first process began it.
    pub started_at: DateTime<Utc>,
    /// When it was over.
    pub finished_at: Option<DateTime<Utc>>,
    /// Whether it goes on with what another process has begun.
    pub resumed: bool,
    /// Which databases.
    pub selection: Selection,
    /// Which part of them; `None` for all.
    pub shard: Option<Shard>,
    /// Of several shards, those that nothing is known of.
    #[serde(default)]
    pub missing_shards: Vec<u32>,
    /// How much it may cost.
    pub ceilings: Ceilings,
    /// Accounts and Regions that could not be looked at: what is in them is not known.
    #[serde(default)]
    pub unreached: Vec<Unreached>,
    /// What came of it, counted.
    pub summary: Summary,
    /// What came of it, database by database.
    pub databases: Vec<Row>,
}

/// How far a fleet run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Progress {
    /// Nothing was begun: only the plan was asked for.
    Planned,
    /// It goes on, or its process died.
    Running,
    /// Every database that was to be drilled has its verdict, pass or fail.
    Finished,
    /// Some have none; the same command again goes on with them.
    Partial,
    /// Stopped by a signal.
    Interrupted,
}

/// What became of one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Its backup is not good.
    Fail,
    /// It was drilled, and nothing was found out.
    Unknown,
    /// It could not be drilled.
    Refused,
    /// Somebody else drills it.
    Held,
    /// It has not had its turn.
    Pending,
    /// Its backup is good.
    Pass,
    /// It was proven not long ago.
    NotDue,
    /// It is none that can be drilled: a read replica, another engine.
    Skipped,
}

/// What came of a fleet run, counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// All that the selection meets.
    pub databases: usize,
    /// Backups that are good.
    pub passed: usize,
    /// Backups that are not.
    pub failed: usize,
    /// Drills that found nothing out.
    pub unknown: usize,
    /// Could not be drilled.
    pub refused: usize,
    /// Held by others.
    pub held: usize,
    /// Have not had their turn.
    pub pending: usize,
    /// Proven not long ago.
    pub not_due: usize,
    /// None that can be drilled.
    pub skipped: usize,
    /// Throwaways that could not be removed.
    pub left_behind: usize,
    /// Hours of throwaways, from the request until they were gone.
    pub instance_hours: f64,
}

/// One database of a fleet run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Its name.
    pub id: String,
    /// Its immutable id.
    pub resource_id: String,
    /// Account: what `lifeboat.toml` calls it, or else its number.
    pub account: Option<String>,
    /// Region.
    pub region: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What that rests on.
    pub reasons: Vec<String>,
    /// What to do about it.
    #[serde(default)]
    pub hints: Vec<String>,
    /// The drill, as `drill show` knows it.
    pub run: Option<String>,
    /// When that began.
    pub started_at: Option<DateTime<Utc>>,
    /// How long it took.
    pub seconds: Option<f64>,
    /// From the request to the validated copy.
    pub rto_seconds: Option<f64>,
    /// When its backup was last proven, before this run.
    pub last_proof: Option<DateTime<Utc>>,
    /// Its throwaway.
    pub throwaway: Option<String>,
    /// How long that was there.
    #[serde(default)]
    pub throwaway_seconds: f64,
    /// Why it is still there.
    pub left_behind: Option<String>,
    /// Where the evidence is.
    pub evidence: Option<String>,
    /// What a refusal means to the caller.
    #[serde(skip)]
    pub(super) kind: Option<Kind>,
}

impl Row {
    /// A database that has not had its turn.
    pub(super) fn new(source: &Instance, place: Place, last_proof: Option<DateTime<Utc>>) -> Self {
        Row {
            id: source.id.to_string(),
            resource_id: source.resource_id.to_string(),
            account: place.account.or_else(|| account_of(&source.arn).map(str::to_owned)),
            region: place.region,
            outcome: Outcome::Pending,
            reasons: Vec::new(),
            hints: Vec::new(),
            run: None,
            started_at: None,
            seconds: None,
            rto_seconds: None,
            last_proof,
            throwaway: None,
            throwaway_seconds: 0.0,
            left_behind: None,
            evidence: None,
            kind: None,
        }
    }

    /// The same with another outcome, and why.
    pub(super) fn ended(mut self, outcome: Outcome, reason: impl Into<String>) -> Self {
        (self.outcome, self.reasons) = (outcome, vec![reason.into()]);
        self
    }

    /// One that could not be drilled.
    pub(super) fn refused(self, error: &Error) -> Self {
        let (kind, hints) = (Some(error.kind()), error.hints().to_vec());
        Row { kind, hints, ..self.ended(Outcome::Refused, error.chain()) }
    }

    /// What a drill came to.
    pub(super) fn drilled(mut self, report: &Report) -> Self {
        self.outcome = match report.verdict {
            Verdict::Pass => Outcome::Pass,
            Verdict::Fail => Outcome::Fail,
            Verdict::Unknown => Outcome::Unknown,
        };
        self.reasons.clone_from(&report.reasons);
        self.hints.clone_from(&report.hints);
        self.run = Some(report.run.clone());
        self.started_at = Some(report.started_at);
        let since = |from: DateTime<Utc>, to: DateTime<Utc>| (to - from).as_seconds_f64().max(0.0);
        self.seconds = report.finished_at.map(|end| since(report.started_at, end));
        self.rto_seconds = report.rto.measured_seconds;
        self.throwaway = report.throwaway.requested_at.map(|_| report.throwaway.id.clone());
        let gone = report.throwaway.removed_at.or(report.finished_at);
        self.throwaway_seconds = match (report.throwaway.requested_at, gone) {
            (Some(from), Some(to)) => since(from, to),
            _ => 0.0,
        };
        self.left_behind.clone_from(&report.throwaway.left_behind);
        self.evidence = Some(report.evidence.json.clone());
        self.kind = report.kind();
        self
    }
}

impl Fleet {
    /// Counts anew, and puts what is worth a look first.
    pub(super) fn settle(&mut self) {
        // Those that wait, in the order of their turns.
        let turn = |row: &Row| (row.outcome == Outcome::Pending).then_some(row.last_proof);
        self.databases.sort_by(|a, b| {
            (a.outcome, turn(a), &a.region, &a.id).cmp(&(b.outcome, turn(b), &b.region, &b.id))
        });
        let count = |outcome| self.databases.iter().filter(|row| row.outcome == outcome).count();
        self.summary = Summary {
            databases: self.databases.len(),
            passed: count(Outcome::Pass),
            failed: count(Outcome::Fail),
            unknown: count(Outcome::Unknown),
            refused: count(Outcome::Refused),
            held: count(Outcome::Held),
            pending: count(Outcome::Pending),
            not_due: count(Outcome::NotDue),
            skipped: count(Outcome::Skipped),
            left_behind: self.databases.iter().filter(|row| row.left_behind.is_some()).count(),
            // The sum of nothing is -0.
            instance_hours: self.databases.iter().fold(0.0, |sum, row| sum + row.throwaway_seconds) / 3600.0,
        };
    }

    /// How many databases have no verdict that should have one.
    pub(crate) fn without_verdict(&self) -> usize {
        let sum = &self.summary;
        sum.unknown + sum.refused + sum.held + sum.pending
    }

    /// What a plan means to its caller: those that wait their turn are what it is for.
    pub(crate) fn kind_of_plan(&self) -> Option<Kind> {
        match (self.summary.refused + self.unreached.len(), self.summary.pending + self.summary.not_due) {
            (0, _) => None,
            (_, 0) => self.kind(),
            _ => Some(Kind::Partial),
        }
    }

    /// What the run means to its caller: what costs money outranks a defect, that an interrupt, that a bad backup, that
    /// what could not be found out.
    pub(crate) fn kind(&self) -> Option<Kind> {
        let has = |kind: Kind| self.databases.iter().any(|row| row.kind == Some(kind));
        let sum = &self.summary;
        if sum.left_behind > 0 || has(Kind::LeftBehind) {
            return Some(Kind::LeftBehind);
        }
        if let Some(kind) =
            [Kind::Bug, Kind::Terminated, Kind::Interrupted].into_iter().find(|kind| has(*kind))
        {
            return Some(kind);
        }
        let open = self.without_verdict() + self.missing_shards.len() + self.unreached.len();
        match (sum.failed, open, sum.passed + sum.not_due) {
            (1.., ..) => Some(Kind::No),
            (0, 0, _) => None,
            (0, _, 1..) => Some(Kind::Partial),
            // None has a verdict: the same as of a single drill.
            (0, _, 0) => [Kind::Guard, Kind::Outside, Kind::Request]
                .into_iter()
                .find(|kind| has(*kind))
                .or(Some(Kind::Partial)),
        }
    }
}

/// A fleet run that is begun, or gone on with.
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
pub(super) fn join(
    vault: &Vault,
    selection: &Selection,
    shard: Option<Shard>,
    name: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Joined> {
    let _lock = patiently(vault)?;
    let tie = |fleet: &str| -> Result<Option<Tie>> {
        let read = vault.read(&format!("fleets/{fleet}/selection.json"))?;
        Ok(read.and_then(|json| serde_json::from_slice(&json).ok()))
    };
    if let Some(name) = name {
        if let Some(found) = tie(name)? {
            let age = now - found.started_at;
            let is_complete =
                read(vault, name, &file_of(shard))?.is_some_and(|own| own.state == Progress::Finished);
            if age > NAME_LASTS || (is_complete && age > GONE_ON_WITH) {
                let at = crate::when::format_time(found.started_at);
                return Err(Error::request(format!("fleet run `{name}` began at {at}, and is over"))
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
            let own = read(vault, fleet, &file_of(shard))?;
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

fn patiently(vault: &Vault) -> Result<Lock> {
    let give_up = std::time::Instant::now() + std::time::Duration::from_secs(90);
    loop {
        if let Some(lock) = vault.try_lock("fleets/.lock")? {
            return Ok(lock);
        }
        if std::time::Instant::now() > give_up {
            return Err(Error::new(
                Kind::StillGoing,
                format!("`{}` is held by another process", vault.shown("fleets/.lock")),
            )
            .hint("It is held for moments only: run it again."));
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// The file of a shard in the folder of its fleet run.
fn file_of(shard: Option<Shard>) -> String {
    shard.map_or("all.json".to_owned(), |shard| format!("{}-of-{}.json", shard.index, shard.count))
}

fn read(vault: &Vault, fleet: &str, file: &str) -> Result<Option<Fleet>> {
    let Some(json) = vault.read(&format!("fleets/{fleet}/{file}"))? else { return Ok(None) };
    Ok(serde_json::from_slice(&json).ok())
}

/// Writes the record as it stands.
pub(super) fn write(vault: &Vault, record: &Fleet) -> Result<()> {
    vault.write(&format!("fleets/{}/{}", record.fleet, file_of(record.shard)), &to_json(record)?)
}

/// The drill of a database that this fleet run has done already: one with a verdict of pass or fail.
pub(super) fn done(
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
        let is_proof =
            is_it && verify_evidence::is_sound(vault, source.id.as_str(), &report.run).unwrap_or(false);
        is_proof.then_some(report)
    });
    Ok(reports.max_by_key(|report| report.started_at))
}

/// A fleet run with all of its shards, as the vault has it; `None` if there is none of that name.
pub(crate) fn find(vault: &Vault, fleet: &str) -> Result<Option<Fleet>> {
    if !is_name(fleet) {
        return Ok(None);
    }
    let files = vault.list(&format!("fleets/{fleet}"))?.files;
    let mut parts = Vec::new();
    for file in files.iter().filter(|file| file.name != "selection.json" && file.name.ends_with(".json")) {
        parts.extend(read(vault, fleet, &file.name)?);
    }
    Ok(merged(parts))
}

/// Several shards as one.
fn merged(mut parts: Vec<Fleet>) -> Option<Fleet> {
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
    whole.settle();
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
    use super::*;
    use crate::fleet::{InstanceId, ResourceId};

    fn row(id: &str, outcome: Outcome) -> Row {
        let source = Instance {
            id: InstanceId::parse(id).unwrap(),
            resource_id: ResourceId(format!("db-{id}")),
            arn: format!("arn:aws:rds:eu-central-1:123456789012:db:{id}"),
            ..Instance::default()
        };
        Row { outcome, ..Row::new(&source, Place { account: None, region: "eu-central-1".to_owned() }, None) }
    }

    fn fleet(shard: Option<Shard>, state: Progress, databases: Vec<Row>) -> Fleet {
        let mut fleet = Fleet {
            schema: SCHEMA.to_owned(),
            fleet: "x".to_owned(),
            state,
            started_at: DateTime::UNIX_EPOCH,
            finished_at: None,
            resumed: false,
            selection: Selection::default(),
            shard,
            missing_shards: Vec::new(),
            ceilings: Ceilings { concurrency: 1, max_instances: None, max_hours: None },
            unreached: Vec::new(),
            summary: Summary::default(),
            databases,
        };
        fleet.settle();
        fleet
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst() {
        use Outcome::*;
        let kind = |outcomes: &[Outcome]| {
            let rows =
                outcomes.iter().enumerate().map(|(n, outcome)| row(&format!("a{n}"), *outcome)).collect();
            fleet(None, Progress::Finished, rows).kind()
        };
        assert_eq!(kind(&[Pass, Pass, Skipped, NotDue]), None);
        assert_eq!(kind(&[]), None);
        assert_eq!(kind(&[Pass, Unknown]), Some(Kind::Partial));
        assert_eq!(kind(&[Pass, Held]), Some(Kind::Partial));
        assert_eq!(kind(&[Pass, Pending, Fail]), Some(Kind::No));
        let mut left = fleet(None, Progress::Finished, vec![row("a", Fail), row("b", Pass)]);
        left.databases[1].left_behind = Some("denied".to_owned());
        left.settle();
        assert_eq!(left.kind(), Some(Kind::LeftBehind));
        let plan = |outcomes: [Outcome; 2]| {
            fleet(None, Progress::Planned, outcomes.map(|outcome| row("a", outcome)).into()).kind_of_plan()
        };
        assert_eq!((plan([Pending, NotDue]), plan([Pending, Refused])), (None, Some(Kind::Partial)));
        let mut none = fleet(None, Progress::Partial, vec![row("a", Unknown)]);
        none.databases[0].kind = Some(Kind::Outside);
        assert_eq!(none.kind(), Some(Kind::Outside));
        assert_eq!(row("a", Pass).account.as_deref(), Some("123456789012"));
    }

    #[test]
    fn shards_make_a_whole_and_what_is_missing_is_said() {
        let shard = |index| Some(Shard { index, count: 3 });
        let parts = vec![
            fleet(shard(0), Progress::Finished, vec![row("a", Outcome::Pass)]),
            fleet(shard(2), Progress::Finished, vec![row("b", Outcome::Pass), row("c", Outcome::Fail)]),
        ];
        let whole = merged(parts).unwrap();
        assert_eq!((whole.summary.databases, whole.missing_shards.clone()), (3, vec![1]));
        assert_eq!((whole.state, whole.kind()), (Progress::Partial, Some(Kind::No)));
    }

    #[test]
    fn a_run_that_was_killed_is_gone_on_with_and_a_complete_one_is_not() {
        let place = tempfile::tempdir().unwrap();
        let vault = Vault::open(place.path().to_str().unwrap(), &crate::aws::Access::default()).unwrap();
        let now: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().unwrap();
        let all = Selection::default();
        let shard = |index| Some(Shard { index, count: 2 });
        let first = join(&vault, &all, shard(0), None, now).unwrap();
        assert!(!first.is_resumed);
        let second = join(&vault, &all, shard(1), None, now + TimeDelta::minutes(5)).unwrap();
        assert_eq!((second.fleet.as_str(), second.is_resumed), (first.fleet.as_str(), true));
        let mut record = fleet(shard(0), Progress::Running, Vec::new());
        record.fleet.clone_from(&first.fleet);
        write(&vault, &record).unwrap();
        let again = join(&vault, &all, shard(0), None, now + TimeDelta::hours(1)).unwrap();
        assert_eq!(again.fleet, first.fleet);
        let tomorrow = join(&vault, &all, shard(0), None, now + TimeDelta::hours(24)).unwrap();
        assert_ne!(tomorrow.fleet, first.fleet);
        record.state = Progress::Finished;
        write(&vault, &record).unwrap();
        let next = join(&vault, &all, shard(0), None, now + TimeDelta::hours(1)).unwrap();
        assert!(next.fleet != first.fleet && !next.is_resumed);
        let other = Selection { due_seconds: Some(60), ..Selection::default() };
        assert!(!join(&vault, &other, shard(1), None, now).unwrap().is_resumed);
        let named = |at| join(&vault, &all, None, Some("nightly"), at);
        assert!(!named(now).unwrap().is_resumed);
        assert!(named(now + TimeDelta::days(2)).unwrap().is_resumed);
        assert!(named(now + TimeDelta::days(30)).unwrap_err().chain().contains("is over"));
        let complete = Fleet { fleet: "nightly".to_owned(), shard: None, ..record };
        write(&vault, &complete).unwrap();
        assert!(named(now + TimeDelta::hours(1)).unwrap().is_resumed);
        assert!(named(now + TimeDelta::days(2)).is_err());
    }
}
