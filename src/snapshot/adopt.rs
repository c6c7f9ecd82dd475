//! Taking over a manual snapshot that was made without lifeboat: from then on it has a retention class, and counts.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Report, class_of};
use crate::aws::Aws;
use crate::error::{Error, Kind, Result};
use crate::rds::{Place, Snapshot, SnapshotId, SnapshotType, Tags, tag};
use crate::retention::{Proof, Proofs, Rules};
use crate::when::format_time;

/// A snapshot that is going to be taken over. By value: it happens once.
#[derive(Debug)]
pub(crate) struct Plan {
    snapshot: Snapshot,
    tags: Tags,
    proof: Proof,
    /// What one may want to know.
    pub notes: Vec<String>,
}

/// What was taken over (`lifeboat.snapshot-adopt/1`).
#[derive(Debug, Serialize)]
pub(crate) struct AdoptReport {
    schema: &'static str,
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    /// The drill that proved it, if one did.
    pub proven_by: Option<String>,
    /// The snapshot as it is now.
    pub snapshot: Report,
}

/// Checks whether it can be taken over. Reads only. `proofs` is what drills have found out.
pub(crate) async fn plan_adoption(
    aws: &Aws,
    id: &SnapshotId,
    class: &str,
    rules: &Rules,
    proofs: &Proofs,
    now: DateTime<Utc>,
) -> Result<Plan> {
    let rule = rules.of(class)?;
    let snapshot = super::existing_snapshot(aws, id).await?;
    if snapshot.snapshot_type != SnapshotType::Manual {
        let kind = &snapshot.snapshot_type;
        return Err(Error::new(
            Kind::Guard,
            format!("snapshot `{id}` was left alone: it is {kind}, and not manual"),
        )
        .hint(format!("Copy it, and the copy has a class: `lifeboat snapshot copy {id} --class {class}`.")));
    }
    match class_of(&snapshot) {
        Some(other) if other != class => {
            return Err(Error::new(
                Kind::Guard,
                format!("snapshot `{id}` was left alone: it has the class `{other}`"),
            )
            .hint(format!(
                "Its `{}` tag says so. Change the tag if it is to have another class.",
                tag::CLASS
            )));
        }
        _ => {}
    }
    super::require_available(&snapshot)?;
    let proof = super::proof_of(&snapshot, aws.region(), proofs);
    if let Proof::Bad(by) = &proof {
        return Err(Error::new(Kind::No, format!("snapshot `{id}` was not adopted: {by} found it bad"))
            .hint(format!("`lifeboat drill run {id}` drills it again.")));
    }
    let mut tags = Tags::new();
    tags.insert(tag::PURPOSE.to_owned(), "snapshot".to_owned());
    tags.insert(tag::SOURCE.to_owned(), snapshot.instance.clone());
    tags.insert(tag::CLASS.to_owned(), class.to_owned());
    let mut notes = Vec::new();
    let expires = snapshot.original_created_at.and_then(|taken| rule.keep_for.end(taken));
    if let Some(expires) = expires {
        let at = format_time(expires);
        if expires <= now {
            notes.push(format!(
                "snapshot `{id}` expired at {at} by its class: the next `lifeboat snapshot prune` deletes it, unless it is \
                 the newest good one of `{}`",
                snapshot.instance
            ));
        }
        tags.insert(tag::EXPIRES.to_owned(), at);
    }
    if snapshot.tags.keys().chain(tags.keys()).collect::<std::collections::BTreeSet<_>>().len() > tag::MOST {
        return Err(Error::request(format!("snapshot `{id}` has too many tags")).hint(format!(
            "AWS allows {}: remove {} of its own.",
            tag::MOST,
            tags.len()
        )));
    }
    if matches!(proof, Proof::Unknown | Proof::Claimed(_)) {
        notes.push(format!("no drill has proven snapshot `{id}` yet: `lifeboat drill run {id}` does"));
    }
    Ok(Plan { snapshot, tags, proof, notes })
}

impl Plan {
    /// What would be.
    pub(crate) fn report(&self, place: &Place) -> AdoptReport {
        let mut adopted = self.snapshot.clone();
        adopted.tags.extend(self.tags.clone());
        AdoptReport {
            schema: "lifeboat.snapshot-adopt/1",
            dry_run: true,
            proven_by: match &self.proof {
                Proof::Good(by) => Some(by.clone()),
                _ => None,
            },
            snapshot: Report::of(&adopted, place),
        }
    }
}

/// Gives it the tags.
pub(crate) async fn apply_adoption(plan: Plan, aws: &Aws) -> Result<AdoptReport> {
    let mut report = plan.report(&aws.location());
    // Between the plan and now somebody may have deleted it and given its name to another.
    let again = aws.snapshot_again(&plan.snapshot.id).await?;
    if again.is_none_or(|now| now.original_created_at != plan.snapshot.original_created_at) {
        return Err(Error::new(
            Kind::Guard,
            format!("snapshot `{}` was left alone: it is another one than a moment ago", plan.snapshot.id),
        )
        .hint("Look at it with `lifeboat snapshot show`, then run it again."));
    }
    aws.add_tags(&plan.snapshot.arn, &plan.tags).await?;
    report.dry_run = false;
    Ok(report)
}
