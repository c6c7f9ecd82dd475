//! Removing throwaways whose drill can no longer do it.
//!
//! Two things make one removable: its tag says that it has expired, or the record of its run is in this vault and
//! the process that held it is gone. Everything else is left alone, with the reason.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::journal::{self, Process};
use super::throwaway::{self, PREFIX, Proof};
use super::{Event, State};
use crate::aws::{Aws, Poll};
use crate::error::{Kind, Result};
use crate::fleet::tag::SOURCE_RESOURCE;
use crate::fleet::{Instance, Place, ResourceId, Unreached, regions};
use crate::vault::Vault;

/// What a sweep found and did.
#[derive(Debug, Serialize)]
pub struct SweepReport {
    /// `lifeboat.sweep/1`.
    pub schema: &'static str,
    /// Regions that were swept.
    pub region: String,
    /// Accounts and Regions that could not be looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreached: Vec<Unreached>,
    /// Whether it only looked.
    pub dry_run: bool,
    /// Instance by instance.
    pub instances: Vec<Swept>,
}

/// What became of one instance.
#[derive(Clone, Debug, Serialize)]
pub struct Swept {
    /// Its id.
    pub id: String,
    /// Its account and Region.
    #[serde(flatten)]
    pub place: Place,
    /// Its class, which says what it costs by the hour.
    pub class: String,
    /// The run that made it, if it says so credibly.
    pub run: Option<String>,
    /// What was done.
    pub action: Action,
    /// Why.
    pub reason: String,
}

/// What was done with an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is gone.
    Removed,
    /// It would be removed.
    WouldRemove,
    /// It was left alone.
    Left,
    /// It should be gone, and is not.
    Failed,
}

impl SweepReport {
    /// The sweeps of several accounts and Regions as one.
    pub fn of(sweeps: impl IntoIterator<Item = SweepReport>, unreached: &[Unreached]) -> SweepReport {
        let mut all = SweepReport {
            schema: SCHEMA,
            region: String::new(),
            unreached: unreached.to_vec(),
            dry_run: false,
            instances: Vec::new(),
        };
        let mut places = Vec::new();
        for sweep in sweeps {
            places.push(Place { account: None, region: sweep.region });
            all.dry_run |= sweep.dry_run;
            all.instances.extend(sweep.instances);
        }
        all.region = regions(&places);
        all
    }

    /// What the sweep means to its caller.
    pub fn kind(&self) -> Option<Kind> {
        self.instances.iter().any(|swept| swept.action == Action::Failed).then_some(Kind::LeftBehind)
    }
}

/// A sweep that has been decided and not yet made.
pub struct SweepPlan {
    remove: Vec<(Proof, Instance, String)>,
    left: Vec<Swept>,
}

/// Decides what to remove. Reads only.
pub async fn plan(aws: &Aws, vault: &Vault, now: DateTime<Utc>) -> Result<SweepPlan> {
    plan_where(aws, vault, now, |_| true).await
}

/// The same for the throwaways of one source, by its immutable id.
pub(super) async fn plan_of(
    aws: &Aws,
    vault: &Vault,
    source: &ResourceId,
    now: DateTime<Utc>,
) -> Result<SweepPlan> {
    plan_where(aws, vault, now, |instance| instance.tags.get(SOURCE_RESOURCE) == Some(&source.0)).await
}

async fn plan_where(
    aws: &Aws,
    vault: &Vault,
    now: DateTime<Utc>,
    is_meant: impl Fn(&Instance) -> bool,
) -> Result<SweepPlan> {
    let mut plan = SweepPlan { remove: Vec::new(), left: Vec::new() };
    let instances = aws.instances().await?;
    // AWS has told the time by now: a clock of ours that is ahead must not end the drills of others.
    let now = aws.now(now);
    let looks_like_one = |instance: &Instance| {
        instance.id.as_str().starts_with(PREFIX) || instance.tags.contains_key("lifeboat:purpose")
    };
    for instance in instances.iter().filter(|instance| looks_like_one(instance) && is_meant(instance)) {
        let decision = decide(instance, &instances, vault, now)?;
        match decision {
            Ok((proof, reason)) => plan.remove.push((proof, instance.clone(), reason)),
            Err((run, reason)) => plan.left.push(swept(instance, &aws.place(), run, Action::Left, reason)),
        }
    }
    Ok(plan)
}

type Decision = std::result::Result<(Proof, String), (Option<String>, String)>;

fn decide(instance: &Instance, all: &[Instance], vault: &Vault, now: DateTime<Utc>) -> Result<Decision> {
    let proof = match throwaway::prove(instance) {
        Ok(proof) => proof,
        Err(reason) => return Ok(Err((None, format!("no drill can be shown to have made it: {reason}")))),
    };
    let origin = proof.origin.clone();
    let refuse = |reason: String| Ok(Err((Some(origin.run.clone()), reason)));
    if instance.deletion_protection {
        return refuse("someone has turned on its deletion protection".to_owned());
    }
    // A tag is only a tag: what the source really is counts as well.
    if all.iter().any(|other| other.id.as_str() == origin.source && other.resource_id == instance.resource_id)
    {
        return refuse("it is its own source".to_owned());
    }
    if origin.expires <= now {
        return Ok(Ok((
            proof,
            format!("it expired at {}", origin.expires.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
        )));
    }
    let until = origin.expires.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    match journal::process_of(vault, &origin.source, &origin.run)? {
        Process::Alive => refuse("its drill is going on".to_owned()),
        Process::NotHere => refuse(format!("it expires at {until}, and its run is not in this vault")),
        Process::Ended => match journal::read(vault, &origin.source, &origin.run)? {
            Some(report) if report.throwaway.kept && report.state == State::Finished => {
                refuse(format!("its drill was told to keep it; it expires at {until}"))
            }
            _ => Ok(Ok((proof, "its drill ended without removing it".to_owned()))),
        },
    }
}

impl SweepPlan {
    /// What would be done.
    pub fn preview(&self, place: &Place) -> SweepReport {
        let removable = self.remove.iter().map(|(proof, instance, reason)| {
            swept(instance, place, Some(proof.origin.run.clone()), Action::WouldRemove, reason.clone())
        });
        let instances = removable.chain(self.left.iter().cloned()).collect();
        SweepReport {
            schema: SCHEMA,
            region: place.region.clone(),
            unreached: Vec::new(),
            dry_run: true,
            instances,
        }
    }
}

const SCHEMA: &str = "lifeboat.sweep/1";

/// Removes what was decided to be removable; one that cannot be removed does not keep the others.
pub async fn apply(plan: SweepPlan, aws: &Aws, poll: Poll, tell: &(dyn Fn(Event<'_>) + Sync)) -> SweepReport {
    let removals = plan.remove.into_iter().map(|(proof, instance, reason)| async move {
        let run = Some(proof.origin.run.clone());
        match throwaway::remove(aws, proof, poll, tell).await {
            Ok(()) => swept(&instance, &aws.place(), run, Action::Removed, reason),
            Err(error) => swept(&instance, &aws.place(), run, Action::Failed, error.chain()),
        }
    });
    let mut instances: Vec<Swept> = futures::future::join_all(removals).await;
    instances.extend(plan.left);
    SweepReport {
        schema: SCHEMA,
        region: aws.region().to_owned(),
        unreached: Vec::new(),
        dry_run: false,
        instances,
    }
}

fn swept(instance: &Instance, place: &Place, run: Option<String>, action: Action, reason: String) -> Swept {
    Swept {
        id: instance.id.to_string(),
        place: place.clone(),
        class: instance.class.clone(),
        run,
        action,
        reason,
    }
}
