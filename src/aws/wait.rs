//! Waiting for an instance, with our own poller.
//!
//! The SDK's waiters sleep up to 30 minutes between looks, know half of the failure states and give up at the
//! first throttled call. This one looks at a steady interval, rides out throttling and lost answers, and hands
//! every look to the caller, who knows what it is waiting for.

use std::time::Duration;

use tokio::time::Instant;

use super::{Aws, Failure, Fault};
use crate::rds::{Instance, InstanceId, Snapshot, SnapshotId};

/// How long AWS may say nothing before waiting is given up.
const SILENCE: Duration = Duration::from_secs(600);

/// How often in a row something must not be found before it counts as gone: RDS is eventually consistent, and one answer may be
/// an old one.
pub(crate) const LOOKS_UNTIL_GONE: u32 = 4;

/// How often to look, and when to stop looking.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Poll {
    /// The longest pause between two looks; each pause is 80 to 100 percent of it, so that fleets do not march in step.
    pub every: Duration,
    /// How long to wait in all.
    pub give_up_after: Duration,
}

impl Poll {
    /// One pause.
    pub(crate) async fn pause(&self) {
        tokio::time::sleep(self.every.mul_f64(0.8 + 0.2 * rand::random::<f64>())).await;
    }
}

/// What one look found: the object as it is now, `None` if AWS knows no such object, or why AWS did not say.
type Seen<'a, T> = Result<Option<&'a T>, &'a Failure>;

impl Aws {
    /// Looks at an instance until `judge` returns a value. `Ok(None)` when the time is up; an error only when AWS
    /// refuses to tell us for good (denied, malformed): waiting would not change that.
    pub(crate) async fn watch<T>(
        &self,
        id: &InstanceId,
        poll: Poll,
        judge: impl FnMut(Seen<'_, Instance>) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        watch_by(async || self.look_at_instance(id).await, poll, judge).await
    }

    /// The same for a snapshot.
    pub(crate) async fn watch_snapshot<T>(
        &self,
        id: &SnapshotId,
        poll: Poll,
        judge: impl FnMut(Seen<'_, Snapshot>) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        watch_by(async || self.look_at_snapshot(id).await, poll, judge).await
    }
}

/// Looks at a steady interval until `judge` returns a value or the time is up.
async fn watch_by<L, T>(
    mut look: impl AsyncFnMut() -> Result<Option<L>, Failure>,
    poll: Poll,
    mut judge: impl FnMut(Seen<'_, L>) -> Option<T>,
) -> Result<Option<T>, Failure> {
    let give_up = Instant::now() + poll.give_up_after;
    let mut heard = Instant::now();
    let mut slower = 1;
    loop {
        let look = look().await;
        let verdict = match &look {
            Ok(found) => {
                heard = Instant::now();
                slower = (slower / 2).max(1);
                judge(Ok(found.as_ref()))
            }
            Err(failure) if failure.fault.is_transient() && heard.elapsed() < SILENCE => {
                if failure.fault == Fault::Throttled {
                    slower = (slower * 2).min(8);
                    tracing::info!(
                        operation = failure.operation,
                        "throttled: looking {slower} times less often"
                    );
                }
                judge(Err(failure))
            }
            Err(failure) => return Err(failure.clone()),
        };
        if verdict.is_some() {
            return Ok(verdict);
        }
        let left = give_up.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        // Never past the end: `--wait 2s` with a long interval means two seconds.
        let pace = Poll { every: poll.every * slower, ..poll };
        tokio::select! {
            () = pace.pause() => {}
            () = tokio::time::sleep(left) => {}
        }
    }
}
