//! Deleting one snapshot that someone named.
//!
//! Only manual snapshots that carry our class tag, and never the newest good one of a database, unless that is
//! said outright.

use serde::Serialize;

use super::{Report, class_of, is_restorable};
use crate::aws::Aws;
use crate::error::{Error, Kind, Result};
use crate::rds::{InstanceId, Place, Snapshot, SnapshotId, SnapshotStatus, SnapshotType, tag};
use crate::retention::{Proof, Proofs};

/// Whether the newest good snapshot of a database may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastCopy {
    /// It stays.
    Guarded,
    /// The user said that it may go.
    Allowed,
}

/// A snapshot that may be deleted. By value: it is deleted once.
#[derive(Debug)]
pub(crate) struct Plan {
    /// It.
    pub snapshot: Snapshot,
}

/// What was deleted (`lifeboat.snapshot-delete/1`).
#[derive(Debug, Serialize)]
pub(crate) struct DeleteReport {
    schema: &'static str,
    /// Whether nothing was to be deleted.
    pub dry_run: bool,
    /// The snapshot as it was.
    pub snapshot: Report,
}

impl Plan {
    /// What would be deleted.
    pub(crate) fn report(&self, place: &Place) -> DeleteReport {
        DeleteReport {
            schema: "lifeboat.snapshot-delete/1",
            dry_run: true,
            snapshot: Report::of(&self.snapshot, place),
        }
    }
}

/// Holds a snapshot against the guards. Reads only. `proofs` is what drills have found out.
pub(crate) async fn plan_deletion(
    aws: &Aws,
    id: &SnapshotId,
    last_copy: LastCopy,
    proofs: &Proofs,
) -> Result<Plan> {
    let snapshot = super::existing_snapshot(aws, id).await?;
    check_kind(&snapshot)?;
    if last_copy == LastCopy::Guarded
        && is_restorable(&snapshot)
        && let Ok(instance) = InstanceId::parse(&snapshot.instance)
    {
        let proof = |snapshot: &Snapshot| super::proof_of(snapshot, aws.region(), proofs);
        let others = aws.snapshots_of(&instance).await?;
        let others = others.iter().filter(|other| {
            other.id != snapshot.id
                && other.snapshot_type == SnapshotType::Manual
                && is_restorable(other)
                && other.resource_id == snapshot.resource_id
        });
        let is_newer = |other: &&Snapshot| other.original_created_at >= snapshot.original_created_at;
        let is_bad = |other: &&Snapshot| matches!(proof(other), Proof::Bad(_));
        let (is_replaced, why) = match proof(&snapshot) {
            Proof::Good(by) => {
                let mut proven = others.filter(|other| matches!(proof(other), Proof::Good(_)));
                let why = format!("it is the newest snapshot of `{instance}` that is proven good, by {by}");
                (proven.any(|other| is_newer(&other)), why)
            }
            Proof::Bad(_) => {
                let mut left = others.filter(|other| is_newer(other) || !is_bad(other));
                (left.next().is_some(), format!("it is the newest snapshot of `{instance}` that lasts"))
            }
            Proof::Unknown | Proof::Claimed(_) => {
                let mut good = others.filter(|other| is_newer(other) && !is_bad(other));
                (good.next().is_some(), format!("it is the newest good snapshot of `{instance}` that lasts"))
            }
        };
        if !is_replaced {
            return Err(Error::new(Kind::Guard, format!("snapshot `{id}` was kept: {why}"))
                .hint("Take a new snapshot and drill it first, or pass `--allow-last-copy`."));
        }
    }
    Ok(Plan { snapshot })
}

fn check_kind(snapshot: &Snapshot) -> Result<()> {
    let id = &snapshot.id;
    let refused = |why: String| Error::new(Kind::Guard, format!("snapshot `{id}` was kept: {why}"));
    match &snapshot.snapshot_type {
        SnapshotType::Manual => {}
        SnapshotType::Automated => {
            return Err(refused(
                "it is an automated one, which AWS keeps for the retention of its instance".into(),
            )
            .hint(format!("`lifeboat policy set {} --retention-days N` changes that.", snapshot.instance)));
        }
        SnapshotType::AwsBackup => {
            return Err(refused("it belongs to AWS Backup".into()).hint("Delete its recovery point there."));
        }
        other => return Err(refused(format!("it is a {other} one, of another account"))),
    }
    if class_of(snapshot).is_none() {
        return Err(refused(format!("it carries no `{}` tag, so lifeboat did not make it", tag::CLASS)).hint(format!(
            "`aws rds delete-db-snapshot --db-snapshot-identifier {id}` deletes it, or put it into lifeboat's care by \
             giving it that tag."
        )));
    }
    if snapshot.reported_status == SnapshotStatus::Creating {
        return Err(Error::outside(format!("snapshot `{id}` is still being made"))
            .hint("AWS deletes only finished ones: run it again when it is available."));
    }
    Ok(())
}

/// Deletes it.
pub(crate) async fn apply_deletion(plan: Plan, aws: &Aws) -> Result<DeleteReport> {
    let mut report = plan.report(&aws.location());
    // Between the plan and now someone has typed a name: it may be another snapshot by now.
    match aws.snapshot_again(&plan.snapshot.id).await? {
        Some(now)
            if now.original_created_at != plan.snapshot.original_created_at
                || now.arn != plan.snapshot.arn =>
        {
            return Err(Error::new(
                Kind::Guard,
                format!("snapshot `{}` was kept: it is another one than a moment ago", plan.snapshot.id),
            )
            .hint("Look at it with `lifeboat snapshot show`, then run it again."));
        }
        Some(_) => {
            aws.delete_snapshot(&plan.snapshot.id).await?;
        }
        None => {}
    }
    report.dry_run = false;
    report.snapshot.status = "deleted".into();
    Ok(report)
}
