//! Asking AWS for what takes more than one call: an answer may be lost, a state may be wrong for now, and an instance may take
//! its time.

use std::time::Duration;

use tokio::time::Instant;

use super::wait::{LOOKS_UNTIL_GONE, Poll};
use super::{Aws, Failure, Fault};
use crate::error::{self, Error};
use crate::rds::{Health, Instance, InstanceId};

/// How long Describe may lag behind the request that it should show.
const LAG: Duration = Duration::from_secs(90);

/// A request that creates something.
pub(crate) struct Creation<'a> {
    /// What is asked for, such as `restore`.
    pub what: &'static str,
    /// How long to ask again.
    pub give_up_after: Duration,
    /// Hears what is worth knowing.
    pub note: &'a (dyn Fn(String) + Sync),
}

impl Creation<'_> {
    /// Asks until AWS has answered. When an answer was lost, or the name is taken, `find_ours` looks at what is there: an error
    /// says that it is somebody else's. `wait_out` waits until an obstacle has passed, given the time that is left, and says
    /// whether it has.
    pub(crate) async fn begin_or_adopt<T>(
        &self,
        mut begin: impl AsyncFnMut() -> Result<T, Failure>,
        mut find_ours: impl AsyncFnMut(&Failure) -> error::Result<Option<T>>,
        mut wait_out: impl AsyncFnMut(&Failure, Duration) -> error::Result<bool>,
    ) -> error::Result<T> {
        let give_up = Instant::now() + self.give_up_after;
        let mut pause = Duration::from_millis(500);
        loop {
            let failure = match begin().await {
                Ok(begun) => return Ok(begun),
                Err(failure) => failure,
            };
            if matches!(failure.fault, Fault::AlreadyExists | Fault::Unsure)
                && let Some(found) = find_ours(&failure).await?
            {
                (self.note)(format!("AWS had begun the {} although its answer was lost", self.what));
                return Ok(found);
            }
            let left = give_up.saturating_duration_since(Instant::now());
            if wait_out(&failure, left).await? {
                continue;
            }
            if !failure.is_worth_repeating() || left < pause {
                return Err(failure.into());
            }
            (self.note)(format!("retrying the {}: {failure}", self.what));
            tokio::time::sleep(pause.mul_f64(0.8 + 0.2 * rand::random::<f64>())).await;
            pause = (pause * 2).min(Duration::from_secs(15));
        }
    }
}

/// Asks for a change until the instance is in a state to take it: `available` is not stable, since a restored instance may go
/// through `modifying` or `backing-up` once more.
pub(crate) async fn retry_while_wrong_state<T>(
    poll: Poll,
    mut change: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let give_up = Instant::now() + poll.give_up_after;
    loop {
        match change().await {
            Err(failure) if failure.fault == Fault::WrongState && Instant::now() < give_up => {
                poll.pause().await;
            }
            ended => return ended,
        }
    }
}

/// How waiting for an instance ended.
pub(crate) enum Arrival {
    /// It can be used.
    Available(Box<Instance>),
    /// It never will be.
    Never {
        /// Why.
        why: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// It was not available yet when the time was up.
    StillGoing {
        /// Its last status.
        status: String,
    },
}

/// What was seen of an instance that is waited for.
pub(crate) enum Sighting<'a> {
    /// It is there.
    Instance {
        /// As it is now.
        instance: &'a Instance,
        /// Whether its status is another than before.
        is_new_status: bool,
    },
    /// AWS did not answer.
    NoAnswer(&'a Failure),
}

impl Aws {
    /// Waits until a new instance is available and has an endpoint.
    pub(crate) async fn wait_until_available(
        &self,
        id: &InstanceId,
        poll: Poll,
        mut on_sighting: impl FnMut(Sighting<'_>),
    ) -> Result<Arrival, Failure> {
        let (started, mut last_status, mut missing) = (Instant::now(), String::new(), 0);
        let never = |why: String, remedy| Some(Arrival::Never { why, remedy });
        let arrival = self
            .watch(id, poll, |seen| {
                let instance = match seen {
                    Ok(Some(instance)) => instance,
                    Ok(None) if last_status.is_empty() && started.elapsed() < LAG => return None,
                    Ok(None) if missing + 1 < LOOKS_UNTIL_GONE => {
                        missing += 1;
                        return None;
                    }
                    Ok(None) => {
                        return never("it no longer exists".to_owned(), "CloudTrail shows who deleted it.");
                    }
                    Err(failure) => {
                        on_sighting(Sighting::NoAnswer(failure));
                        return None;
                    }
                };
                missing = 0;
                let status = &instance.reported_status;
                let is_new_status = status.0 != last_status;
                last_status.clone_from(&status.0);
                on_sighting(Sighting::Instance { instance, is_new_status });
                match status.health() {
                    Health::Usable if instance.endpoint.is_some() => {
                        Some(Arrival::Available(Box::new(instance.clone())))
                    }
                    Health::Broken | Health::Stopped => {
                        never(format!("it ended as `{status}`"), status.remedy())
                    }
                    _ if status.0 == "deleting" => {
                        never("it is being deleted".to_owned(), "CloudTrail shows who deletes it.")
                    }
                    Health::Usable | Health::InTransit => None,
                }
            })
            .await?;
        Ok(arrival.unwrap_or(Arrival::StillGoing { status: last_status }))
    }

    /// Sets a new master password, as soon as the instance takes it.
    pub(crate) async fn reset_password(
        &self,
        id: &InstanceId,
        password: &str,
        poll: Poll,
    ) -> error::Result<()> {
        let poll = Poll {
            every: poll.every.min(Duration::from_secs(5)),
            give_up_after: poll.give_up_after.max(Duration::from_secs(600)),
        };
        let set = retry_while_wrong_state(poll, async || self.set_master_password(id, password).await);
        set.await.map_err(Error::from)
    }
}
