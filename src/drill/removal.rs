//! The removal of a throwaway, and the proof that it is gone.
//!
//! It is followed by its resource id: a new name does not hide it, and another instance under its old name is left alone. RDS is
//! eventually consistent, so one answer proves nothing: it counts as gone when several queries in a row, by its name and by its
//! resource id, have found nothing. What cannot be proven to be gone is reported as left behind.
//!
//! Nothing else in the tool deletes an instance, and [`remove_throwaway`] demands a [`Proof`].

use std::time::Duration;

use tokio::time::Instant;

use super::context::Event;
use super::throwaway::{Proof, prove_by_resource_id, prove_throwaway};
use crate::aws::{Aws, Delete, Failure, Fault, Poll};
use crate::error::Error;
use crate::rds::tag::RUN;
use crate::rds::{Health, Instance, InstanceId, ResourceId, RunId};

/// How long AWS may throttle, fail or be unreachable before a removal is abandoned.
const ACCEPTANCE: Duration = Duration::from_secs(180);

/// How long a throwaway whose restore request got no answer may take to appear.
const APPEARANCE: Duration = Duration::from_secs(45);

/// What is known about a requested throwaway.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// The name that it was given.
    pub id: InstanceId,
    /// The run that requested it.
    pub run: RunId,
    /// Its resource id, once AWS has said it.
    pub resource_id: Option<ResourceId>,
    /// Whether AWS may have begun a restore without an answer, so that it may still appear.
    pub may_yet_appear: bool,
}

/// A throwaway that exists, or may exist.
#[derive(Debug)]
pub(crate) struct Remains {
    /// Its last known name.
    pub known_as: InstanceId,
    /// Why it was not removed.
    pub error: Error,
}

/// The command with which a person removes an instance.
pub(crate) fn delete_command(id: &InstanceId, region: &str) -> String {
    format!(
        "aws rds delete-db-instance --region {region} --db-instance-identifier {id} --skip-final-snapshot \
         --delete-automated-backups"
    )
}

/// Removes the throwaway of a run, and returns when AWS no longer has it; `false` if there never was one.
///
/// It is followed by its resource id: a new name does not hide it, and another instance under its old name is left alone.
pub(crate) async fn remove_claimed(
    aws: &Aws,
    claim: &Claim,
    poll: Poll,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> std::result::Result<bool, Remains> {
    let remains = |known_as: &InstanceId, error: Error| Remains { known_as: known_as.clone(), error };
    let sought =
        ThrowawayQuery { id: &claim.id, run: claim.run.as_str(), resource_id: claim.resource_id.as_ref() };
    if let Some(made) = &claim.resource_id {
        return remove_made(aws, sought, made, poll, tell).await.map(|()| true);
    }
    let appear_until = Instant::now() + if claim.may_yet_appear { APPEARANCE } else { Duration::ZERO };
    let started = Instant::now();
    let instance = loop {
        match look_for(aws, &sought).await {
            Ok(Some(instance)) => break instance,
            Ok(None) if Instant::now() >= appear_until => return Ok(false),
            Ok(None) => {}
            Err(failure) if is_passing(&failure) && started.elapsed() < ACCEPTANCE => {}
            Err(failure) => return Err(remains(&claim.id, failure.into())),
        }
        tokio::time::sleep(poll.every.min(Duration::from_secs(3))).await;
    };
    let proof = prove_throwaway(&instance).and_then(|proof| match proof.origin.run == claim.run.as_str() {
        true => Ok(proof),
        false => Err(format!("it belongs to run `{}`", proof.origin.run)),
    });
    match proof {
        Ok(proof) => remove_throwaway(aws, proof, poll, tell).await.map(|()| true),
        Err(reason) => Err(remains(&instance.id, refuse_unproven(&instance.id, &reason))),
    }
}

fn refuse_unproven(id: &InstanceId, reason: &str) -> Error {
    Error::outside(format!("instance `{id}` was not deleted: {reason}"))
        .hint("Find out who changed its tags; a drill deletes only what it can prove to be its own.")
}

/// Removes a proven throwaway, and returns when AWS no longer has it.
pub(crate) async fn remove_throwaway(
    aws: &Aws,
    proof: Proof,
    poll: Poll,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> std::result::Result<(), Remains> {
    let made = &proof.resource_id;
    let sought = ThrowawayQuery { id: &proof.id, run: &proof.origin.run, resource_id: Some(made) };
    remove_made(aws, sought, made, poll, tell).await
}

/// The throwaway to be found.
struct ThrowawayQuery<'a> {
    /// The name that it was given.
    id: &'a InstanceId,
    run: &'a str,
    /// Its resource id, if that is known.
    resource_id: Option<&'a ResourceId>,
}

/// Looks for a throwaway under its name and under its resource id, or, if that is not known, under the tag of its run.
/// `None` only if AWS has said both times that there is no such instance.
///
/// RDS is eventually consistent, so either answer may be an old one. That an instance is there is believed when either says
/// so; that it is gone is for [`Absence`] to decide.
async fn look_for(aws: &Aws, sought: &ThrowawayQuery<'_>) -> std::result::Result<Option<Instance>, Failure> {
    let is_it = |found: &Instance| match sought.resource_id {
        Some(made) => found.resource_id == *made,
        None => found.tags.get(RUN).is_some_and(|run| run == sought.run),
    };
    let by_name = aws.look_at_instance(sought.id).await?;
    if let Some(found) = by_name.filter(is_it) {
        return Ok(Some(found));
    }
    let others = match sought.resource_id {
        Some(made) => aws.look_by_resource_id(made).await?,
        None => aws.look_at_all_instances().await?,
    };
    Ok(others.into_iter().find(is_it))
}

/// Whether the same query may succeed later. "Not found" is not an answer to a query for a list.
fn is_passing(failure: &Failure) -> bool {
    failure.fault.is_transient() || failure.fault == Fault::NotFound
}

/// How often in a row an instance must not be found before it counts as gone, if its deletion was accepted.
const LOOKS: u32 = 4;

/// The same if we know of no deletion: somebody else would have had to delete it, which is rarer than a stale answer.
const LOOKS_UNEXPLAINED: u32 = 12;

/// The longest pause between two such queries.
const PAUSE: Duration = Duration::from_secs(5);

/// How often in a row an instance was not found.
#[derive(Debug, Default)]
struct Absence {
    looks: u32,
    /// How often the list of the whole Region was empty.
    empty_lists: u32,
}

impl Absence {
    /// Counts another query that found nothing, and decides whether the instance is gone. The final check is the list of all
    /// instances of the Region. An empty list is doubted: a broken answer looks the same.
    async fn is_proven(
        &mut self,
        aws: &Aws,
        made: &ResourceId,
        was_deleted: bool,
    ) -> std::result::Result<bool, Failure> {
        self.looks += 1;
        if self.looks < if was_deleted { LOOKS } else { LOOKS_UNEXPLAINED } {
            return Ok(false);
        }
        let all = aws.look_at_all_instances().await?;
        if all.is_empty() && self.empty_lists < LOOKS {
            self.empty_lists += 1;
            return Ok(false);
        }
        if all.iter().any(|other| other.resource_id == *made) {
            *self = Absence::default();
            return Ok(false);
        }
        Ok(true)
    }
}

/// Removes the instance with that resource id, whatever it is called, and returns when it is proven to be gone.
async fn remove_made(
    aws: &Aws,
    sought: ThrowawayQuery<'_>,
    made: &ResourceId,
    poll: Poll,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> std::result::Result<(), Remains> {
    let started = Instant::now();
    let give_up = started + poll.give_up_after;
    let mut known_as = sought.id.clone();
    let mut deletion = Deletion::default();
    let mut absence = Absence::default();
    let mut said = String::from("available");
    let mut heard = Instant::now();
    loop {
        let seen = match look_for(aws, &sought).await {
            Ok(None) => match absence.is_proven(aws, made, deletion.is_accepted).await {
                Ok(true) => return Ok(()),
                unproven => unproven.map(|_| None),
            },
            seen => seen,
        };
        let mut pause = poll.every.min(PAUSE);
        match seen {
            Ok(None) => heard = Instant::now(),
            Ok(Some(instance)) => {
                (heard, absence) = (Instant::now(), Absence::default());
                if instance.id != known_as {
                    tell(Event::Warning(&format!("`{known_as}` was renamed to `{}`", instance.id)));
                    known_as = instance.id.clone();
                }
                if instance.reported_status.0 != said {
                    said.clone_from(&instance.reported_status.0);
                    tell(Event::Status { id: &known_as, status: &said });
                }
                if let Err(reason) = prove_by_resource_id(&instance, sought.run, made) {
                    let error = refuse_unproven(&instance.id, &reason);
                    return Err(Remains { known_as, error });
                }
                deletion.advance_deletion(aws, &instance, started.elapsed()).await;
                if deletion.refusals >= 3 || Instant::now() >= give_up {
                    let error = deletion.deletion_error(&instance, started.elapsed());
                    return Err(Remains { known_as, error });
                }
                if deletion.is_accepted {
                    pause = poll.every;
                }
            }
            Err(failure)
                if is_passing(&failure) && heard.elapsed() < ACCEPTANCE && Instant::now() < give_up => {}
            Err(failure) => {
                let error =
                    Error::outside(format!("whether instance `{known_as}` is gone could not be determined"));
                return Err(Remains { known_as, error: error.caused_by(failure) });
            }
        }
        Poll { every: pause, ..poll }.pause().await;
    }
}

/// A deletion that is requested until it is in progress.
#[derive(Debug, Default)]
struct Deletion {
    is_accepted: bool,
    /// How often the instance was seen in another state than `deleting` although the deletion had been accepted.
    looks_since: u32,
    refusals: u32,
    last_refusal: Option<Error>,
}

impl Deletion {
    /// Requests the deletion, unless it is in progress. One that was accepted without effect is requested again.
    async fn advance_deletion(&mut self, aws: &Aws, instance: &Instance, elapsed: Duration) {
        if instance.reported_status.0 == "deleting" {
            (self.is_accepted, self.looks_since) = (true, 0);
            return;
        }
        if self.is_accepted {
            self.looks_since += 1;
            if self.looks_since < LOOKS {
                return;
            }
            self.looks_since = 0;
        }
        match aws.begin_delete_for_good(&instance.id).await {
            // It was just seen: the next query will show.
            Ok(Delete::Gone) => {}
            Ok(Delete::Accepted) => self.is_accepted = true,
            Err(failure) => {
                // Transient states, throttling and service errors are retried.
                let passes = failure.fault == Fault::WrongState
                    && instance.reported_status.health() == Health::InTransit;
                let may_pass = passes || (failure.fault.is_transient() && elapsed < ACCEPTANCE);
                if !may_pass {
                    self.refusals += 1;
                }
                self.last_refusal = Some(failure.into());
            }
        }
    }

    fn deletion_error(&mut self, instance: &Instance, elapsed: Duration) -> Error {
        let error = Error::outside(format!("instance `{}` could not be deleted", instance.id));
        match self.last_refusal.take().filter(|_| !self.is_accepted) {
            Some(refusal) => error.caused_by(refusal),
            None => error.caused_by(format!(
                "it is still `{}` after {}",
                instance.reported_status,
                humantime::format_duration(Duration::from_secs(elapsed.as_secs()))
            )),
        }
    }
}
