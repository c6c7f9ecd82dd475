//! The first record of a drill: what is known beforehand, and what a drill of this kind does not test.

use super::context::Context;
use super::evidence::{
    Evidence, Isolated, Moment, ObjectiveVerdict, RanBy, Report, Rpo, Rto, SCHEMA, Source, State, Throwaway,
};
use super::objectives::age_of_backup;
use super::plan::Plan;
use crate::rds::account_of;
use crate::restore::Chosen;
use crate::verify::{Baseline, Depth, Verdict};

/// The first record of a drill.
pub(super) fn begin_report(
    plan: &Plan,
    cx: &Context<'_>,
    caller: Option<String>,
    evidence: Evidence,
) -> Report {
    let (way, baseline) = plan.way_and_baseline();
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
            host: cx.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            lock: None,
        },
        fleet: plan.request.fleet.clone(),
        source: Source {
            id: source.id.to_string(),
            resource_id: source.resource_id.to_string(),
            account: account_of(&source.arn).map(str::to_owned),
            region: cx.aws.region().to_owned(),
            engine: source.engine.clone(),
            engine_version: source.engine_version.clone(),
            class: source.class.clone(),
            storage_gib: source.storage_gib,
            encrypted: source.encrypted,
        },
        moment: Moment {
            kind: way,
            snapshot_id: snapshot.map(|snapshot| snapshot.id.to_string()),
            snapshot_type: snapshot.map(|snapshot| snapshot.snapshot_type.to_string()),
            time,
            asked_for: plan.request.asked_for.clone(),
        },
        baseline,
        baseline_sha256: None,
        throwaway: Throwaway {
            id: plan.throwaway.to_string(),
            class: plan.request.class.clone(),
            expires_at: plan.expires,
            ..Throwaway::default()
        },
        isolation: Some(Isolated {
            parameter_group: plan.parameter_group(),
            is_made: plan.isolation.group_to_create().is_some(),
            would_have_acted: plan.isolation.acting.clone(),
            ..Isolated::default()
        }),
        phases: Vec::new(),
        tables: Vec::new(),
        definitions: Vec::new(),
        checks: Vec::new(),
        rto: Rto {
            objective_seconds: plan.request.rto.as_secs_f64(),
            measured_seconds: None,
            available_seconds: None,
            verdict: ObjectiveVerdict::Unknown,
        },
        rpo: Rpo {
            objective_seconds: plan.request.rpo.as_secs_f64(),
            measured_seconds: lost.as_ref().ok().copied(),
            newest_row: None,
            reason: lost.err(),
            verdict: ObjectiveVerdict::Unknown,
        },
        not_tested: list_untested(plan.request.look.depths.usual_depth(), baseline)
            .into_iter()
            .chain(untested_class(&source.class, &plan.request.class))
            .collect(),
        evidence,
        chain: None,
        broke_off: None,
    }
}

/// The note that a time measured on another class says little about a real recovery.
fn untested_class(source: &str, throwaway: &str) -> Option<String> {
    (source != throwaway).then(|| {
        format!(
            "recovery time on the class of the source: the copy ran as {throwaway}, and the source is {source}; `--class {source}` \
             measures that"
        )
    })
}

/// What a drill of this kind does not test, whatever it finds.
fn list_untested(depth: Depth, baseline: Baseline) -> Vec<String> {
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
