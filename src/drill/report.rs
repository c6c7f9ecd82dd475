//! The record of a drill, `lifeboat.drill/1`: what `drill run` and `drill show` print and what is kept as evidence.
//!
//! Fields are added, never renamed. Nothing in here is secret.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::calendar::Which;
use super::chain::Place;
use super::{Plan, Surroundings};
use crate::error::Kind;
use crate::fleet::account_of;
use crate::restore::{Chosen, Way};
use crate::verify::judge::DefinitionVerdict;
use crate::verify::{Baseline, Depth, TableVerdict, Verdict};
use crate::when::format_time;

use crate::when::format_span;

/// Name and version of the document.
pub(crate) const SCHEMA: &str = "lifeboat.drill/1";

/// Everything about one drill.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// `lifeboat.drill/1`.
    pub schema: String,
    /// Id of the run.
    pub run: String,
    /// Whether the drill is over.
    pub state: State,
    /// Whether the backup is good.
    pub verdict: Verdict,
    /// What the verdict rests on.
    pub reasons: Vec<String>,
    /// What to do about it.
    pub hints: Vec<String>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it was over.
    pub finished_at: Option<DateTime<Utc>>,
    /// Who ran it, with what.
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
    /// How the copy was kept from acting by itself; evidence from before this was done has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolated>,
    /// What took how long.
    pub phases: Vec<Phase>,
    /// Table by table.
    pub tables: Vec<TableVerdict>,
    /// Definitions and sequences of the copy that are not what they ought to be.
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
    /// Where it stands in the chain of its source; evidence from before there was one has no place in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Place>,
    /// What broke the drill off, if anything did: a guard and a defect have exit codes of their own.
    #[serde(skip)]
    pub(super) broke_off: Option<Kind>,
}

/// Whether a drill is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Still going on, or its process ended and no sweep has found that yet.
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

/// Who ran a drill, with what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RanBy {
    /// ARN of the caller, if AWS told.
    pub caller: Option<String>,
    /// Host name.
    pub host: String,
    /// Version of lifeboat.
    pub version: String,
    /// What tells the lock that it held from one in a copy of the vault.
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
    /// Region.
    pub region: String,
    /// Engine.
    pub engine: String,
    /// Engine version.
    pub engine_version: String,
    /// Class.
    pub class: String,
    /// Allocated storage.
    pub storage_gib: i32,
    /// Whether its storage is encrypted.
    pub encrypted: bool,
}

/// What a restore went back to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Moment {
    /// By which way.
    pub kind: Way,
    /// The snapshot, if it was one.
    pub snapshot_id: Option<String>,
    /// `automated` or `manual`.
    pub snapshot_type: Option<String>,
    /// The time that the copy shows; known late for a point-in-time drill of the newest moment.
    pub time: Option<DateTime<Utc>>,
    /// What the user asked for.
    pub asked_for: String,
}

/// The instance that was made for a drill.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Throwaway {
    /// Instance id.
    pub id: String,
    /// Immutable id, once AWS has said it.
    pub resource_id: Option<String>,
    /// Class.
    pub class: String,
    /// When AWS was asked for it.
    pub requested_at: Option<DateTime<Utc>>,
    /// When anyone may remove it.
    pub expires_at: DateTime<Utc>,
    /// When AWS no longer knew it.
    pub removed_at: Option<DateTime<Utc>>,
    /// When a sweep found that AWS does not know it, of a drill that died without recording what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_gone_at: Option<DateTime<Utc>>,
    /// Kept because the user asked for that.
    pub kept: bool,
    /// Why it could not be removed.
    pub left_behind: Option<String>,
    /// What it is called now, if somebody has renamed it and it is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_as: Option<String>,
}

/// How a copy was kept from acting by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Isolated {
    /// The parameter group that it started with.
    pub parameter_group: Option<String>,
    /// Whether that was made for it.
    pub is_made: bool,
    /// What would have acted, as far as the source told when the drill began.
    pub would_have_acted: Vec<String>,
    /// Whether the copy was seen to run without anything that acts; not known before it runs.
    pub is_at_rest: Option<bool>,
    /// When AWS no longer knew the group that was made.
    pub removed_at: Option<DateTime<Utc>>,
    /// Why the group that was made could not be removed.
    pub left_behind: Option<String>,
}

/// One part of a drill.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Phase {
    /// Which.
    pub name: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How long it took.
    pub seconds: f64,
}

/// The result of one of the user's checks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CheckResult {
    /// What it is called.
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
    /// Why not.
    pub reason: String,
}

/// Whether an objective was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Met {
    /// It was.
    Pass,
    /// It was not.
    Fail,
    /// It was not measured.
    Unknown,
    /// It does not apply, since the backup was chosen by hand.
    NotJudged,
}

/// Recovery time: from the request to restore until the copy was validated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Rto {
    /// At most.
    pub objective_seconds: f64,
    /// Until every row had been read and every check made.
    pub measured_seconds: Option<f64>,
    /// Until AWS said `available`.
    pub available_seconds: Option<f64>,
    /// Whether it was met.
    pub verdict: Met,
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
    pub verdict: Met,
}

/// How far the clocks of the database, of AWS and of whoever wrote a row may differ.
const SKEW: TimeDelta = TimeDelta::minutes(5);

/// How old the newest row of a copy was when the drill began, in seconds. A row that is dated after the moment that was restored
/// says nothing of that, and hides what the others would say.
pub(super) fn age_of_newest_row(
    newest: DateTime<Utc>,
    moment: Option<DateTime<Utc>>,
    began: DateTime<Utc>,
) -> std::result::Result<f64, String> {
    let latest = moment.unwrap_or(began);
    if newest > latest + SKEW {
        return Err(format!(
            "the newest row is dated {}, which is after the restored moment {}; how old the other rows are is not known",
            format_time(newest),
            format_time(latest)
        ));
    }
    Ok((began - newest).as_seconds_f64().max(0.0))
}

/// How old a backup was when the drill began, in seconds.
fn age_of_backup(moment: Option<DateTime<Utc>>, began: DateTime<Utc>) -> std::result::Result<f64, String> {
    match moment {
        None => Err("AWS does not say of which moment the backup is".to_owned()),
        Some(at) if at > began + SKEW => {
            Err(format!("AWS dates the backup {}, which was after the drill began", format_time(at)))
        }
        Some(at) => Ok((began - at).as_seconds_f64().max(0.0)),
    }
}

/// Where the record of a drill is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Evidence {
    /// This document.
    pub json: String,
    /// The page for people.
    pub html: String,
}

impl Throwaway {
    /// What it is called now.
    pub(crate) fn current_name(&self) -> &str {
        self.known_as.as_deref().unwrap_or(&self.id)
    }
}

impl Report {
    /// Which database it was. Whoever drilled it was of its account.
    pub(crate) fn which(&self) -> Which {
        let caller = || self.ran_by.caller.as_deref().and_then(account_of).map(str::to_owned);
        let source = &self.source;
        let account = source.account.clone().or_else(caller);
        Which { id: source.id.clone(), account, region: source.region.clone() }
    }

    /// The record of a drill that begins.
    pub(super) fn begin(
        plan: &Plan,
        to: &Surroundings<'_>,
        caller: Option<String>,
        evidence: Evidence,
    ) -> Report {
        let (way, baseline) = plan.way();
        let (snapshot, time) = match &plan.chosen {
            Chosen::Snapshot(snapshot) => (Some(snapshot), snapshot.moment()),
            Chosen::Time(at) => (None, Some(*at)),
            Chosen::Now { .. } => (None, None),
        };
        let lost = match &plan.chosen {
            Chosen::Now { latest } => Some(*latest),
            Chosen::Snapshot(_) | Chosen::Time(_) => time,
        };
        let lost = age_of_backup(lost, plan.planned_at);
        let source = &plan.source;
        Report {
            schema: SCHEMA.to_owned(),
            run: plan.run.to_string(),
            state: State::Running,
            verdict: Verdict::Unknown,
            reasons: Vec::new(),
            hints: Vec::new(),
            started_at: plan.planned_at,
            finished_at: None,
            ran_by: RanBy {
                caller,
                host: to.host.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                lock: None,
            },
            fleet: plan.request.fleet.clone(),
            source: Source {
                id: source.id.to_string(),
                resource_id: source.resource_id.to_string(),
                account: account_of(&source.arn).map(str::to_owned),
                region: to.aws.region().to_owned(),
                engine: source.engine.clone(),
                engine_version: source.engine_version.clone(),
                class: source.class.clone(),
                storage_gib: source.storage_gib,
                encrypted: source.encrypted,
            },
            moment: Moment {
                kind: way,
                snapshot_id: snapshot.map(|snapshot| snapshot.id.to_string()),
                snapshot_type: snapshot.map(|snapshot| snapshot.snapshot_type.clone()),
                time,
                asked_for: plan.request.asked_for.clone(),
            },
            baseline,
            baseline_sha256: None,
            throwaway: Throwaway {
                id: plan.throwaway.to_string(),
                resource_id: None,
                class: plan.request.class.clone(),
                requested_at: None,
                expires_at: plan.expires,
                removed_at: None,
                found_gone_at: None,
                kept: false,
                left_behind: None,
                known_as: None,
            },
            isolation: Some(Isolated {
                parameter_group: plan.parameter_group(),
                is_made: plan.isolation.group().is_some(),
                would_have_acted: plan.isolation.acting.clone(),
                is_at_rest: None,
                removed_at: None,
                left_behind: None,
            }),
            phases: Vec::new(),
            tables: Vec::new(),
            definitions: Vec::new(),
            checks: Vec::new(),
            rto: Rto {
                objective_seconds: plan.request.rto.as_secs_f64(),
                measured_seconds: None,
                available_seconds: None,
                verdict: Met::Unknown,
            },
            rpo: Rpo {
                objective_seconds: plan.request.rpo.as_secs_f64(),
                measured_seconds: lost.as_ref().ok().copied(),
                newest_row: None,
                reason: lost.err(),
                verdict: Met::Unknown,
            },
            not_tested: not_tested(plan.request.look.depths.usual(), baseline)
                .into_iter()
                .chain(class_not_tested(&source.class, &plan.request.class))
                .collect(),
            evidence,
            chain: None,
            broke_off: None,
        }
    }

    /// Weighs the objectives: one that was missed fails the drill, and one that was not measured is not met.
    pub(super) fn judge_objectives(&mut self, rpo_is_by_hand: bool) {
        let weigh = |measured: Option<f64>, objective: f64| match measured {
            Some(measured) if measured <= objective => Met::Pass,
            Some(_) => Met::Fail,
            None => Met::Unknown,
        };
        self.rto.verdict = weigh(self.rto.measured_seconds, self.rto.objective_seconds);
        self.rpo.verdict = if rpo_is_by_hand {
            Met::NotJudged
        } else {
            weigh(self.rpo.measured_seconds, self.rpo.objective_seconds)
        };
        let missed = [
            ("RTO", self.rto.verdict, self.rto.measured_seconds, self.rto.objective_seconds),
            ("RPO", self.rpo.verdict, self.rpo.measured_seconds, self.rpo.objective_seconds),
        ];
        for (name, verdict, measured, objective) in missed {
            if verdict == Met::Fail {
                self.verdict = Verdict::Fail;
                let (measured, objective) =
                    (format_span(measured.unwrap_or_default()), format_span(objective));
                self.reasons.push(format!("{name} missed: {measured} against an objective of {objective}"));
            }
            if verdict == Met::Unknown {
                if self.verdict == Verdict::Pass {
                    self.verdict = Verdict::Unknown;
                }
                let why = self.rpo.reason.as_deref().filter(|_| name == "RPO");
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                self.reasons.push(format!("{name} was not measured, so it is not met{why}"));
            }
        }
    }

    /// What the drill means to its caller; `None` when every check holds.
    pub(crate) fn kind(&self) -> Option<Kind> {
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

/// That a time measured on another class says little of the class that a real recovery would take.
fn class_not_tested(source: &str, throwaway: &str) -> Option<String> {
    (source != throwaway).then(|| {
        format!(
            "recovery time on the class of the source: the copy ran as {throwaway}, and the source is {source}; `--class {source}` \
             measures that"
        )
    })
}

/// What a drill of this kind says nothing about, whatever it finds.
fn not_tested(depth: Depth, baseline: Baseline) -> Vec<String> {
    let mut not_tested = Vec::new();
    if depth == Depth::Schema {
        not_tested.push("rows: definitions alone were compared".to_owned());
    }
    if depth == Depth::Counts {
        not_tested.push("the content of rows: tables were compared by their number of rows".to_owned());
    }
    if depth == Depth::Counts || baseline == Baseline::Live {
        let definitions = "definitions (indexes, functions, grants) and sequences";
        not_tested.push(format!(
            "{definitions}: a drill of a snapshot with a recorded baseline, or one with `--from latest`, compares them"
        ));
    }
    not_tested
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_and_a_guard_keep_their_exit_codes_and_what_is_left_outranks_them() {
        let kind_of = |broke_off: Option<Kind>, left_behind: Option<&str>| {
            let mut report = crate::drill::page::samples::unknown();
            report.state = State::Finished;
            (report.broke_off, report.throwaway.left_behind) = (broke_off, left_behind.map(str::to_owned));
            report.kind()
        };
        assert_eq!(kind_of(Some(Kind::Bug), None), Some(Kind::Bug));
        assert_eq!(kind_of(Some(Kind::Guard), None), Some(Kind::Guard));
        assert_eq!(kind_of(Some(Kind::Request), None), Some(Kind::Outside));
        assert_eq!(kind_of(None, None), Some(Kind::Outside));
        assert_eq!(kind_of(Some(Kind::Bug), Some("denied")), Some(Kind::LeftBehind));
    }

    #[test]
    fn a_row_that_cannot_be_that_new_measures_nothing() {
        let began: DateTime<Utc> = "2026-11-21T14:00:00Z".parse().unwrap();
        let moment = began - TimeDelta::days(90);
        assert_eq!(age_of_newest_row(moment, Some(moment), began), Ok(90.0 * 86_400.0));
        // Clocks differ a little; a copy of the newest moment has rows from after the drill began.
        assert!(age_of_newest_row(moment + TimeDelta::minutes(4), Some(moment), began).is_ok());
        assert_eq!(
            age_of_newest_row(began + TimeDelta::hours(1), Some(began + TimeDelta::hours(1)), began),
            Ok(0.0)
        );
        for odd in [moment + TimeDelta::minutes(6), began, began + TimeDelta::days(26_000)] {
            let why = age_of_newest_row(odd, Some(moment), began).unwrap_err();
            assert!(why.contains("after the restored moment 2026-08-23T14:00:00Z"), "{why}");
        }
        assert!(age_of_newest_row(began + TimeDelta::hours(1), None, began).is_err());
        assert!(
            age_of_backup(None, began).is_err()
                && age_of_backup(Some(began + TimeDelta::hours(2)), began).is_err()
        );
    }

    #[test]
    fn an_objective_that_was_not_measured_is_not_met_and_hides_no_failure() {
        let judged = |verdict, rto, rpo, by_hand| {
            let mut report = crate::drill::page::samples::unknown();
            report.reasons.clear();
            report.verdict = verdict;
            (report.rto.measured_seconds, report.rpo.measured_seconds) = (rto, rpo);
            report.judge_objectives(by_hand);
            (report.verdict, report.reasons.len())
        };
        use Verdict::{Fail, Pass, Unknown};
        assert_eq!(judged(Pass, Some(1.0), Some(1.0), false), (Pass, 0));
        assert_eq!(judged(Pass, Some(1.0), None, false), (Unknown, 1));
        assert_eq!(judged(Pass, None, Some(1.0), false), (Unknown, 1));
        assert_eq!(judged(Fail, None, None, false), (Fail, 2));
        assert_eq!(judged(Pass, Some(1e9), None, false), (Fail, 2));
        assert_eq!(
            judged(Pass, Some(1.0), None, true),
            (Pass, 0),
            "a backup that was chosen by hand has no RPO"
        );
    }
}
