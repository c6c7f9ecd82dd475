//! The record of a drill, `lifeboat.drill/1`: what `drill run` and `drill show` print and what is kept as evidence.
//!
//! Fields are added, never renamed. Nothing in here is secret.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::database::Which;
use crate::error::{Error, Kind, Result};
use crate::notify::{self, Announcement, Nature, Subject};
use crate::rds::account_of;
use crate::restore::Way;
use crate::verify::judge::DefinitionVerdict;
use crate::verify::{Baseline, TableVerdict, Verdict};

/// Name and version of the document.
pub(crate) const SCHEMA: &str = "lifeboat.drill/1";

/// The phase in which the throwaway is removed.
pub(crate) const TEAR_DOWN: &str = "tear down";

/// Everything about one drill.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// `lifeboat.drill/1`.
    pub schema: String,
    /// Id of the run.
    pub run: String,
    /// Whether the drill has ended.
    pub state: State,
    /// Whether the backup is good.
    pub verdict: Verdict,
    /// The reasons of the verdict.
    pub reasons: Vec<String>,
    /// What to do about it.
    pub hints: Vec<String>,
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    pub ran_by: RanBy,
    /// The fleet run that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<String>,
    /// The database that was drilled.
    pub source: Source,
    /// What the restore went back to.
    pub moment: Moment,
    /// What the restored copy was compared with.
    pub baseline: Baseline,
    /// Seal of the baseline in the vault, where it was recorded.
    #[serde(default)]
    pub baseline_sha256: Option<String>,
    /// The instance that was made for it.
    pub throwaway: Throwaway,
    /// How the copy was isolated; absent in evidence from before isolation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolated>,
    /// Its phases and how long they took.
    pub phases: Vec<Phase>,
    pub tables: Vec<TableVerdict>,
    /// Definitions and sequences of the copy that are not as expected.
    #[serde(default)]
    pub definitions: Vec<DefinitionVerdict>,
    /// The user's own checks.
    pub checks: Vec<CheckResult>,
    /// Recovery time against its objective.
    pub rto: Rto,
    /// Recovery point against its objective.
    pub rpo: Rpo,
    /// What the drill says nothing about.
    pub not_tested: Vec<String>,
    /// Where this is kept.
    pub evidence: Evidence,
    /// Its place in the chain of its source; absent in evidence from before the chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainPosition>,
    /// What aborted the drill, if anything: a guard and a bug have exit codes of their own.
    #[serde(skip)]
    pub(super) broke_off: Option<Kind>,
}

/// Whether a drill has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Still running, or its process ended and no sweep has found that yet.
    Running,
    /// Over.
    Finished,
    /// Stopped by SIGINT.
    Interrupted,
    /// Stopped by SIGTERM.
    Terminated,
    /// Its process ended before the drill did; a sweep has found that.
    Died,
}

/// Who ran a drill, and with which version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RanBy {
    /// ARN of the caller, if known.
    pub caller: Option<String>,
    /// Host name.
    pub host: String,
    /// Version of lifeboat.
    pub version: String,
    /// Tells the lock that it held from one in a copy of the vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
}

/// The database that was drilled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Source {
    /// Instance id.
    pub id: String,
    /// Immutable id.
    pub resource_id: String,
    /// The number of its account; evidence from before this was written down has none.
    #[serde(default)]
    pub account: Option<String>,
    pub region: String,
    pub engine: String,
    pub engine_version: String,
    pub class: String,
    /// Allocated storage.
    pub storage_gib: i32,
    /// Whether its storage is encrypted.
    pub encrypted: bool,
}

/// What a restore went back to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Moment {
    pub kind: Way,
    pub snapshot_id: Option<String>,
    /// `automated` or `manual`.
    pub snapshot_type: Option<String>,
    /// The time that the copy shows; known late for a point-in-time drill of the newest moment.
    pub time: Option<DateTime<Utc>>,
    /// What the user asked for.
    pub asked_for: String,
}

/// The instance that was made for a drill.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Throwaway {
    /// Instance id.
    pub id: String,
    /// Immutable id, once AWS has said it.
    pub resource_id: Option<String>,
    pub class: String,
    /// When AWS was asked for it.
    pub requested_at: Option<DateTime<Utc>>,
    /// When anyone may remove it.
    pub expires_at: DateTime<Utc>,
    /// When AWS no longer had it.
    pub removed_at: Option<DateTime<Utc>>,
    /// When a sweep found that AWS no longer had it, of a drill that died without recording its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_gone_at: Option<DateTime<Utc>>,
    /// Kept because the user asked for that.
    pub kept: bool,
    /// Why it could not be removed.
    pub left_behind: Option<String>,
    /// What it is called now, if somebody has renamed it and it still exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_as: Option<String>,
}

/// How a copy was isolated: kept from running jobs and subscriptions.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Isolated {
    /// The parameter group that it started with.
    pub parameter_group: Option<String>,
    /// Whether the group was created for it.
    pub is_made: bool,
    /// What would have acted, as far as the source told when the drill began.
    pub would_have_acted: Vec<String>,
    /// Whether the running copy was checked to have nothing that acts; unknown before it runs.
    pub is_at_rest: Option<bool>,
    /// When AWS no longer had the group that was created.
    pub removed_at: Option<DateTime<Utc>>,
    /// Why the group that was created could not be removed.
    pub left_behind: Option<String>,
}

/// One part of a drill.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Phase {
    pub name: String,
    pub started_at: DateTime<Utc>,
    /// How long it took.
    pub seconds: f64,
}

/// The result of one of the user's checks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CheckResult {
    pub name: String,
    /// Database that was asked.
    pub database: String,
    /// What was asked.
    pub query: String,
    /// What the answer had to be.
    pub expect: String,
    /// What it was; `None` when there was none.
    pub observed: Option<String>,
    /// Whether it holds.
    pub verdict: Verdict,
    pub reason: String,
}

/// Whether an objective was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ObjectiveVerdict {
    Pass,
    /// It was not.
    Fail,
    /// It was not measured.
    Unknown,
    /// It does not apply, because the backup was chosen by hand.
    NotJudged,
}

/// Recovery time: from the request to restore until the copy was validated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Rto {
    /// At most.
    pub objective_seconds: f64,
    /// Until every row had been read and every check run.
    pub measured_seconds: Option<f64>,
    /// Until AWS said `available`.
    pub available_seconds: Option<f64>,
    /// Whether it was met.
    pub verdict: ObjectiveVerdict,
}

/// Recovery point: how much would have been lost, had the source gone when the drill began.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Rpo {
    /// At most.
    pub objective_seconds: f64,
    /// Age of what was restored when the drill began.
    pub measured_seconds: Option<f64>,
    /// Time of the newest row in the copy, where the configuration says how to find it.
    pub newest_row: Option<DateTime<Utc>>,
    /// Why it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it was met.
    pub verdict: ObjectiveVerdict,
}

/// Where the record of a drill is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Evidence {
    /// This document.
    pub json: String,
    /// The page for people.
    pub html: String,
}

/// Where a record stands in the chain; part of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChainPosition {
    /// Number of its link.
    pub seq: u64,
    /// Hash of the link before.
    pub previous: String,
    /// The evidence before it.
    pub previous_evidence: Option<PreviousEvidence>,
}

/// Evidence that other evidence refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PreviousEvidence {
    pub run: String,
    /// SHA-256 of its `evidence.json`.
    pub sha256: String,
}

impl Throwaway {
    /// What it is called now.
    pub(crate) fn current_name(&self) -> &str {
        self.known_as.as_deref().unwrap_or(&self.id)
    }
}

impl Report {
    /// What it has to say for those who are notified.
    pub(crate) fn announcement(&self) -> Announcement {
        let word = self.verdict.word().to_owned();
        let first_hint = || {
            self.hints.first().cloned().unwrap_or_else(|| {
                format!(
                    "read the evidence, then say what was done: lifeboat drill annotate {} --note …",
                    self.run
                )
            })
        };
        let (state, next) = match (&self.throwaway.left_behind, self.verdict) {
            (Some(_), _) => (notify::State::Fail, "lifeboat drill sweep".to_owned()),
            (None, Verdict::Pass) => (notify::State::Ok, "nothing to do".to_owned()),
            (None, Verdict::Fail) => (notify::State::Fail, first_hint()),
            (None, Verdict::Unknown) => (notify::State::Unknown, first_hint()),
        };
        let reason = match (&self.throwaway.left_behind, self.reasons.first()) {
            (Some(why), _) => {
                let name = self.throwaway.current_name();
                format!("throwaway `{name}` was left behind and costs money: {why}")
            }
            (None, Some(reason)) => reason.clone(),
            (None, None) => "the backup was restored and holds what it should".to_owned(),
        };
        Announcement {
            subject: Subject::Database(self.source.id.clone()),
            place: None,
            nature: Nature::Event,
            state,
            verdict: word.clone(),
            reason,
            mark: word,
            evidence: Some(self.evidence.html.clone()),
            next,
        }
    }

    /// Which database it was. Whoever drilled it was of its account.
    pub(crate) fn database_key(&self) -> Which {
        let caller = || self.ran_by.caller.as_deref().and_then(account_of).map(str::to_owned);
        let source = &self.source;
        let account = source.account.clone().or_else(caller);
        Which { id: source.id.clone(), account, region: source.region.clone() }
    }

    /// The kind of the exit code; `None` when every check holds.
    pub(crate) fn exit_kind(&self) -> Option<Kind> {
        let group = self.isolation.as_ref().and_then(|isolation| isolation.left_behind.as_ref());
        if self.throwaway.left_behind.is_some() || group.is_some() {
            return Some(Kind::LeftBehind);
        }
        match (self.state, self.verdict) {
            (State::Interrupted, _) => Some(Kind::Interrupted),
            (State::Terminated, _) => Some(Kind::Terminated),
            (_, Verdict::Pass) => None,
            (_, Verdict::Fail) => Some(Kind::No),
            (_, Verdict::Unknown) => match self.broke_off {
                Some(kind @ (Kind::Bug | Kind::Guard)) => Some(kind),
                _ => Some(Kind::Outside),
            },
        }
    }
}

/// The JSON of the record, as the vault keeps it.
pub(super) fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::new(Kind::Bug, "a record cannot be written as JSON").caused_by(error))?;
    json.push(b'\n');
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_and_a_guard_keep_their_exit_codes_and_what_is_left_outranks_them() {
        let kind_of = |broke_off: Option<Kind>, left_behind: Option<&str>| {
            let mut report = crate::drill::page::samples::unknown_report();
            report.state = State::Finished;
            (report.broke_off, report.throwaway.left_behind) = (broke_off, left_behind.map(str::to_owned));
            report.exit_kind()
        };
        assert_eq!(kind_of(Some(Kind::Bug), None), Some(Kind::Bug));
        assert_eq!(kind_of(Some(Kind::Guard), None), Some(Kind::Guard));
        assert_eq!(kind_of(Some(Kind::Request), None), Some(Kind::Outside));
        assert_eq!(kind_of(None, None), Some(Kind::Outside));
        assert_eq!(kind_of(Some(Kind::Bug), Some("denied")), Some(Kind::LeftBehind));
    }
}
