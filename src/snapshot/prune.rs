//! Removing snapshots that have outlived their class.
//!
//! The rules are those of [`crate::retention`]. What they may touch is narrower than what AWS would delete: manual
//! snapshots that carry our class tag, of instances that still exist. What was condemned is judged once more from a
//! fresh list right before it is deleted, oldest first, so that stopping half way leaves the newer ones.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::{Event, Tell, class_of, expiry_of, is_restorable};
use crate::aws::{Aws, Fault};
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::rds::{
    InstanceId, ResourceId, Snapshot, SnapshotId, SnapshotStatus, SnapshotType, Unreached, tag,
};
use crate::retention::{Copy, Proof, Proofs, PruneFailure, PruneReport, Rules, Verdict, judge};

/// What is to be removed, and why the rest stays. By value: it is applied once.
#[derive(Debug)]
pub(crate) struct Plan {
    verdicts: Vec<Verdict>,
    condemned: Vec<Snapshot>,
    rules: Rules,
    only: Option<InstanceId>,
    proofs: Proofs,
}

impl Plan {
    /// What would be done.
    pub(crate) fn report(&self) -> PruneReport {
        PruneReport::planned(self.verdicts.clone())
    }
}

/// Judges the snapshots of the Region, or of one instance. Reads only: two lists, whatever the size of the fleet. `proofs` is
/// what drills have found out.
pub(crate) async fn plan_prune(
    aws: &Aws,
    rules: &Rules,
    only: Option<&InstanceId>,
    proofs: &Proofs,
    now: DateTime<Utc>,
) -> Result<Plan> {
    let instances: BTreeMap<ResourceId, InstanceId> = aws
        .instances()
        .await?
        .into_iter()
        // One that is being deleted is as good as gone: its snapshots are what is left of it.
        .filter(|instance| instance.reported_status.0 != "deleting")
        .map(|instance| (instance.resource_id, instance.id))
        .collect();
    let mut snapshots = match only {
        Some(id) => aws.snapshots_of(id).await?,
        None => aws.snapshots(None).await?,
    };
    if snapshots.is_empty()
        && let Some(id) = only
    {
        aws.existing_instance(id).await?;
    }
    let copies: Vec<Copy> = snapshots
        .iter()
        .map(|snapshot| Copy {
            proof: super::proof_of(snapshot, aws.region(), proofs),
            ..copy_of_snapshot(snapshot, &instances)
        })
        .collect();
    let mut verdicts = judge(&copies, rules, aws.now(now));
    for verdict in &mut verdicts {
        verdict.place = Some(aws.location());
    }
    let removed: BTreeSet<&str> =
        verdicts.iter().filter(|verdict| !verdict.keep).map(|verdict| verdict.id.as_str()).collect();
    snapshots.retain(|snapshot| removed.contains(snapshot.id.as_str()));
    snapshots.sort_by(|a, b| a.original_created_at.cmp(&b.original_created_at).then_with(|| a.id.cmp(&b.id)));
    Ok(Plan {
        verdicts,
        condemned: snapshots,
        rules: rules.clone(),
        only: only.cloned(),
        proofs: proofs.clone(),
    })
}

/// A snapshot as retention sees it.
fn copy_of_snapshot(snapshot: &Snapshot, instances: &BTreeMap<ResourceId, InstanceId>) -> Copy {
    let living = snapshot.resource_id.as_ref().and_then(|id| instances.get(id));
    // An earlier instance of the same name was another database.
    let database = match (living, &snapshot.resource_id) {
        (Some(name), _) => name.to_string(),
        (None, Some(resource)) => format!("{} ({resource})", snapshot.instance),
        (None, None) => format!("{} (unknown)", snapshot.instance),
    };
    Copy {
        id: snapshot.id.to_string(),
        database,
        taken_at: snapshot.original_created_at,
        class: class_of(snapshot).map(str::to_owned),
        lifetime: None,
        is_good: is_restorable(snapshot),
        proof: Proof::Unknown,
        keep_until: expiry_of(snapshot),
        exempt: exemption_of(snapshot, living.is_some()),
    }
}

fn exemption_of(snapshot: &Snapshot, is_living: bool) -> Option<String> {
    match &snapshot.snapshot_type {
        SnapshotType::Manual => {}
        SnapshotType::Automated => {
            return Some("it is automated: AWS removes it by the instance's retention".to_owned());
        }
        other => return Some(format!("it is of type {other}, not a manual one of this account")),
    }
    if class_of(snapshot).is_none() {
        return Some(format!("it carries no `{}` tag: lifeboat did not make it", tag::CLASS));
    }
    if snapshot.tags.get(tag::EXPIRES).is_some_and(|_| expiry_of(snapshot).is_none()) {
        return Some(format!("its `{}` tag is not a time", tag::EXPIRES));
    }
    if snapshot.reported_status == SnapshotStatus::Creating {
        return Some("it is still being made".to_owned());
    }
    (!is_living).then(|| "its database no longer exists: it may be all that is left of it".to_owned())
}

/// Removes what was condemned and still is.
pub(crate) async fn apply_prune(
    plan: Plan,
    aws: &Aws,
    interrupt: &Interrupt,
    now: DateTime<Utc>,
    tell: Tell<'_>,
) -> Result<PruneReport> {
    let mut report = plan.report();
    report.dry_run = false;
    if plan.condemned.is_empty() {
        return Ok(report);
    }
    let again = plan_prune(aws, &plan.rules, plan.only.as_ref(), &plan.proofs, now).await?;
    let still: BTreeMap<&SnapshotId, &Snapshot> =
        again.condemned.iter().map(|snapshot| (&snapshot.id, snapshot)).collect();
    let mut denied: Option<String> = None;
    for snapshot in &plan.condemned {
        let id = snapshot.id.to_string();
        let is_same = |now: &&&Snapshot| {
            now.arn == snapshot.arn && now.original_created_at == snapshot.original_created_at
        };
        let reason = if still.get(&snapshot.id).filter(is_same).is_none() {
            Some("it has changed since it was judged".to_owned())
        } else if interrupt.first().is_some() {
            Some("not tried: interrupted".to_owned())
        } else if let Some(denied) = &denied {
            Some(format!("not tried: {denied}"))
        } else {
            match aws.delete_snapshot(&snapshot.id).await {
                Ok(_) => None,
                Err(failure) => {
                    let reason = failure.to_string();
                    if failure.fault == Fault::Denied {
                        denied = Some(reason.clone());
                    }
                    Some(reason)
                }
            }
        };
        match reason {
            None => {
                tell(Event::Note(format!("deleted `{id}`")));
                report.deleted.push(id);
            }
            Some(reason) => report.failed.push(PruneFailure { id, place: Some(aws.location()), reason }),
        }
    }
    Ok(report)
}

/// One report over several places.
pub(crate) fn merge_reports(reports: Vec<PruneReport>, unreached: Vec<Unreached>) -> PruneReport {
    let dry_run = reports.iter().all(|report| report.dry_run);
    let mut whole = PruneReport { dry_run, unreached, ..PruneReport::planned(Vec::new()) };
    for report in reports {
        whole.verdicts.extend(report.verdicts);
        whole.deleted.extend(report.deleted);
        whole.failed.extend(report.failed);
    }
    whole
}

/// The exit code of a prune.
pub(crate) fn exit_kind(report: &PruneReport, interrupt: &Interrupt) -> Option<Kind> {
    match (report.failed.is_empty(), report.deleted.is_empty()) {
        _ if interrupt.first().is_some() => interrupt.first(),
        _ if !report.unreached.is_empty() => Some(Kind::Partial),
        (true, _) => None,
        (false, true) => Some(Kind::Outside),
        (false, false) => Some(Kind::Partial),
    }
}

/// What to do about snapshots that could not be removed.
pub(crate) fn next_step(report: &PruneReport) -> Option<Error> {
    let first = report.failed.first()?;
    Some(
        Error::new(Kind::Partial, format!("{} snapshots could not be removed", report.failed.len()))
            .caused_by(format!("`{}`: {}", first.id, first.reason))
            .hint("Run it again: what has been removed stays removed. Reading needs `rds:DescribeDBSnapshots`, removing `rds:DeleteDBSnapshot`."),
    )
}
