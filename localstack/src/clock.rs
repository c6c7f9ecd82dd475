//! The stack's clock: the machine's clock, plus the jumps that the control endpoint asked for.
//!
//! Everything the API shows is in the stack's time. The PostgreSQL servers run in the machine's time, and so do the
//! commit times in their write-ahead log; `machine_time` converts the target of a recovery. Only this module reads
//! the machine's clock.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// At the machine's time `at`, the stack's clock jumped to `ahead_milliseconds` ahead of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Jump {
    at: DateTime<Utc>,
    ahead_milliseconds: i64,
}

impl Jump {
    fn ahead(self) -> TimeDelta {
        TimeDelta::milliseconds(self.ahead_milliseconds)
    }
}

#[derive(Debug)]
pub(crate) struct Clock {
    jumps: Mutex<Vec<Jump>>,
    jumped: watch::Sender<()>,
}

impl Clock {
    pub(crate) fn new(jumps: Vec<Jump>) -> Self {
        Self { jumps: Mutex::new(jumps), jumped: watch::Sender::new(()) }
    }

    /// The machine's time.
    #[expect(clippy::disallowed_methods, reason = "this is the outermost layer that reads the clock")]
    pub(crate) fn machine_now() -> DateTime<Utc> {
        Utc::now()
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.stack_time(Self::machine_now())
    }

    /// The stack's time, and how many jumps led to it.
    pub(crate) fn now_and_jumps(&self) -> (DateTime<Utc>, usize) {
        let jumps = self.jumps.lock().unwrap_or_else(PoisonError::into_inner);
        (stack_time(&jumps, Self::machine_now()), jumps.len())
    }

    /// The stack's time at a moment of the machine's time.
    pub(crate) fn stack_time(&self, machine: DateTime<Utc>) -> DateTime<Utc> {
        stack_time(&self.jumps(), machine)
    }

    /// The machine's time at a moment of the stack's time.
    pub(crate) fn machine_time(&self, stack: DateTime<Utc>) -> DateTime<Utc> {
        machine_time(&self.jumps(), stack)
    }

    /// Like `machine_time`, for a moment that a person typed in: see `typed_time`.
    pub(crate) fn typed_time(&self, stack: DateTime<Utc>) -> DateTime<Utc> {
        typed_time(&self.jumps(), stack, Self::machine_now())
    }

    /// Jumps ahead, and returns all jumps so far, to be stored.
    pub(crate) fn advance(&self, by: TimeDelta) -> Vec<Jump> {
        let mut jumps = self.jumps.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = jumps.last().map_or(0, |jump| jump.ahead_milliseconds) + by.num_milliseconds();
        jumps.push(Jump { at: Self::machine_now(), ahead_milliseconds: ahead });
        let all = jumps.clone();
        drop(jumps);
        self.jumped.send_replace(());
        all
    }

    /// Sleeps until the stack's time is `until`; a jump past it ends the sleep immediately.
    pub(crate) async fn sleep_until(&self, until: DateTime<Utc>) {
        let mut jumped = self.jumped.subscribe();
        loop {
            let left = until - self.now();
            let Ok(left) = left.to_std() else { return };
            tokio::select! {
                () = tokio::time::sleep(left.min(Duration::from_secs(3600))) => {}
                _ = jumped.changed() => {}
            }
        }
    }

    fn jumps(&self) -> Vec<Jump> {
        self.jumps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn stack_time(jumps: &[Jump], machine: DateTime<Utc>) -> DateTime<Utc> {
    let ahead =
        jumps.iter().rev().find(|jump| jump.at <= machine).map_or(TimeDelta::zero(), |jump| jump.ahead());
    machine + ahead
}

/// A moment that the stack's clock jumped over maps to the instant of the jump: nothing happened in between.
fn machine_time(jumps: &[Jump], stack: DateTime<Utc>) -> DateTime<Utc> {
    let Some(jump) = jumps.iter().rev().find(|jump| stack_time_before(jumps, **jump) <= stack) else {
        return stack;
    };
    (stack - jump.ahead()).max(jump.at)
}

/// The stack's time just before `jump`.
fn stack_time_before(jumps: &[Jump], jump: Jump) -> DateTime<Utc> {
    let earlier =
        jumps.iter().rev().find(|other| other.at < jump.at).map_or(TimeDelta::zero(), |other| other.ahead());
    jump.at + earlier
}

/// After a jump, `now()` in a database is the machine's time, which is a moment that the stack's clock jumped over.
/// Such a moment, if the machine has reached it, is taken as the machine's time.
fn typed_time(jumps: &[Jump], stack: DateTime<Utc>, machine_now: DateTime<Utc>) -> DateTime<Utc> {
    let skipped =
        jumps.iter().any(|jump| stack_time_before(jumps, *jump) < stack && stack < jump.at + jump.ahead());
    if skipped && stack <= machine_now { stack } else { machine_time(jumps, stack) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000 + seconds, 0).unwrap()
    }

    fn jumps() -> Vec<Jump> {
        vec![
            Jump { at: at(100), ahead_milliseconds: 1_000_000 },
            Jump { at: at(200), ahead_milliseconds: 3_000_000 },
        ]
    }

    #[test]
    fn time_runs_on_from_each_jump() {
        assert_eq!(stack_time(&jumps(), at(50)), at(50));
        assert_eq!(stack_time(&jumps(), at(150)), at(1150));
        assert_eq!(stack_time(&jumps(), at(250)), at(3250));
    }

    #[test]
    fn every_moment_that_was_not_jumped_over_maps_back() {
        for machine in [0, 99, 100, 150, 199, 200, 400] {
            assert_eq!(machine_time(&jumps(), stack_time(&jumps(), at(machine))), at(machine), "{machine}");
        }
    }

    #[test]
    fn a_moment_that_was_jumped_over_is_the_moment_of_the_jump() {
        assert_eq!(machine_time(&jumps(), at(500)), at(100));
        assert_eq!(machine_time(&jumps(), at(2000)), at(200));
    }

    #[test]
    fn a_database_timestamp_after_a_jump_is_read_as_machine_time() {
        assert_eq!(typed_time(&jumps(), at(250), at(300)), at(250));
        // The machine has not reached it either, so it is the moment of the jump.
        assert_eq!(typed_time(&jumps(), at(500), at(300)), at(100));
        assert_eq!(typed_time(&jumps(), at(3250), at(300)), at(250));
        assert_eq!(typed_time(&[], at(10), at(300)), at(10));
    }
}
