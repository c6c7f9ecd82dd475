//! The record of a fleet run, `lifeboat.drill.fleet/1`: what `drill run` of a fleet prints, and what the vault keeps of it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Ceilings, Selection, Shard};
use crate::drill::evidence::Report;
use crate::error::{Error, Kind};
use crate::rds::{Instance, Place, Unreached, account_of};
use crate::verify::Verdict;

/// Name and version of the document.
pub(crate) const SCHEMA: &str = "lifeboat.drill.fleet/1";

/// One fleet run, or one shard of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fleet {
    /// `lifeboat.drill.fleet/1`.
    pub schema: String,
    /// Its id.
    pub fleet: String,
    /// Its state.
    pub state: Progress,
    /// When its first process began it.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Whether it resumes what another process has begun.
    pub resumed: bool,
    pub selection: Selection,
    /// Which part of them; `None` for all.
    pub shard: Option<Shard>,
    /// Of several shards, those without a record.
    #[serde(default)]
    pub missing_shards: Vec<u32>,
    /// Its limits.
    pub ceilings: Ceilings,
    /// Accounts and Regions that could not be reached: their databases are unknown.
    #[serde(default)]
    pub unreached: Vec<Unreached>,
    /// Its outcomes, counted.
    pub summary: Summary,
    /// Its outcomes, by database.
    pub databases: Vec<Row>,
}

/// The state of a fleet run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Progress {
    /// Only planned.
    Planned,
    /// It is running, or its process died.
    Running,
    /// Every database that was to be drilled has its verdict, pass or fail.
    Finished,
    /// Some have none; the same command resumes with them.
    Partial,
    /// Stopped by a signal.
    Interrupted,
}

/// The outcome of one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Its backup is not good.
    Fail,
    /// It was drilled without a verdict.
    Unknown,
    /// It could not be drilled.
    Refused,
    /// Another process drills it.
    Held,
    /// It is waiting for its turn.
    Pending,
    /// Its backup is good.
    Pass,
    /// It was proven recently.
    NotDue,
    /// It cannot be drilled: a read replica, another engine.
    Skipped,
}

/// The outcomes of a fleet run, counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// All that are selected.
    pub databases: usize,
    /// Backups that are good.
    pub passed: usize,
    /// Backups that are not.
    pub failed: usize,
    /// Drills without a verdict.
    pub unknown: usize,
    /// Could not be drilled.
    pub refused: usize,
    /// Being drilled by others.
    pub held: usize,
    /// Waiting for their turn.
    pub pending: usize,
    /// Proven recently.
    pub not_due: usize,
    /// Not to be drilled.
    pub skipped: usize,
    /// Throwaways that could not be removed.
    pub left_behind: usize,
    /// Instance-hours of throwaways, from the request until their removal.
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
    pub region: String,
    /// The outcome.
    pub outcome: Outcome,
    /// The reasons.
    pub reasons: Vec<String>,
    /// What to do about it.
    #[serde(default)]
    pub hints: Vec<String>,
    /// The drill, as `drill show` knows it.
    pub run: Option<String>,
    pub started_at: Option<DateTime<Utc>>,
    /// How long it took.
    pub seconds: Option<f64>,
    /// From the request to the validated copy.
    pub rto_seconds: Option<f64>,
    /// When its backup was last proven, before this run.
    pub last_proof: Option<DateTime<Utc>>,
    pub throwaway: Option<String>,
    /// How long the throwaway existed.
    #[serde(default)]
    pub throwaway_seconds: f64,
    /// Why it still exists.
    pub left_behind: Option<String>,
    pub evidence: Option<String>,
    /// The kind of exit code of a refusal.
    #[serde(skip)]
    pub(super) kind: Option<Kind>,
}

impl Row {
    /// A database that is waiting for its turn.
    pub(super) fn pending(source: &Instance, place: Place, last_proof: Option<DateTime<Utc>>) -> Self {
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
    pub(super) fn with_outcome(mut self, outcome: Outcome, reason: impl Into<String>) -> Self {
        (self.outcome, self.reasons) = (outcome, vec![reason.into()]);
        self
    }

    /// One that could not be drilled.
    pub(super) fn with_refusal(self, error: &Error) -> Self {
        let (kind, hints) = (Some(error.kind()), error.hints().to_vec());
        Row { kind, hints, ..self.with_outcome(Outcome::Refused, error.chain()) }
    }

    /// The result of a drill.
    pub(super) fn with_drill(mut self, report: &Report) -> Self {
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
        self.kind = report.exit_kind();
        self
    }
}

impl Fleet {
    /// Recounts, and puts what needs attention first.
    pub(super) fn recount(&mut self) {
        // Those that wait, in order.
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

    /// The exit code of a plan, in which waiting databases are normal.
    pub(crate) fn exit_kind_of_plan(&self) -> Option<Kind> {
        match (self.summary.refused + self.unreached.len(), self.summary.pending + self.summary.not_due) {
            (0, _) => None,
            (_, 0) => self.exit_kind(),
            _ => Some(Kind::Partial),
        }
    }

    /// The exit code of the run: what costs money outranks a bug, which outranks an interrupt, a bad backup, and
    /// what could not be determined.
    pub(crate) fn exit_kind(&self) -> Option<Kind> {
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::rds::{InstanceId, ResourceId};

    pub(in crate::drill::fleet) fn row(id: &str, outcome: Outcome) -> Row {
        let source = Instance {
            id: InstanceId::parse(id).unwrap(),
            resource_id: ResourceId(format!("db-{id}")),
            arn: format!("arn:aws:rds:eu-central-1:123456789012:db:{id}"),
            ..Instance::default()
        };
        Row {
            outcome,
            ..Row::pending(&source, Place { account: None, region: "eu-central-1".to_owned() }, None)
        }
    }

    pub(in crate::drill::fleet) fn fleet(
        shard: Option<Shard>,
        state: Progress,
        databases: Vec<Row>,
    ) -> Fleet {
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
        fleet.recount();
        fleet
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst() {
        use Outcome::*;
        let kind = |outcomes: &[Outcome]| {
            let rows =
                outcomes.iter().enumerate().map(|(n, outcome)| row(&format!("a{n}"), *outcome)).collect();
            fleet(None, Progress::Finished, rows).exit_kind()
        };
        assert_eq!(kind(&[Pass, Pass, Skipped, NotDue]), None);
        assert_eq!(kind(&[]), None);
        assert_eq!(kind(&[Pass, Unknown]), Some(Kind::Partial));
        assert_eq!(kind(&[Pass, Held]), Some(Kind::Partial));
        assert_eq!(kind(&[Pass, Pending, Fail]), Some(Kind::No));
        let mut left = fleet(None, Progress::Finished, vec![row("a", Fail), row("b", Pass)]);
        left.databases[1].left_behind = Some("denied".to_owned());
        left.recount();
        assert_eq!(left.exit_kind(), Some(Kind::LeftBehind));
        let plan = |outcomes: [Outcome; 2]| {
            fleet(None, Progress::Planned, outcomes.map(|outcome| row("a", outcome)).into())
                .exit_kind_of_plan()
        };
        assert_eq!((plan([Pending, NotDue]), plan([Pending, Refused])), (None, Some(Kind::Partial)));
        let mut none = fleet(None, Progress::Partial, vec![row("a", Unknown)]);
        none.databases[0].kind = Some(Kind::Outside);
        assert_eq!(none.exit_kind(), Some(Kind::Outside));
        assert_eq!(row("a", Pass).account.as_deref(), Some("123456789012"));
    }
}
