//! Strict sliding windows: of N per hour, no hour, wherever it begins, sees more than N.
//!
//! A token bucket of the same name would let through up to 2N - 1 in the worst hour. Here the instants themselves are kept:
//! at most N for each principal and endpoint. The instant is an argument, so that rules about hours are tested in no time.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) most: usize,
    pub(super) window: Duration,
}

impl Limit {
    pub(super) const fn per_hour(most: usize) -> Self {
        Limit { most, window: Duration::from_secs(3600) }
    }

    pub(super) const fn per_minute(most: usize) -> Self {
        Limit { most, window: Duration::from_secs(60) }
    }

    /// `3 per hour`.
    pub(super) fn shown(self) -> String {
        let unit = if self.window.as_secs() == 3600 { "hour" } else { "minute" };
        format!("{} per {unit}", self.most)
    }
}

/// The instants of what one principal did at one endpoint.
#[derive(Debug, Default)]
pub(super) struct Log(VecDeque<Instant>);

impl Log {
    /// Whether the last instant is inside of the window.
    pub(super) fn is_recent(&self, limit: Limit, now: Instant) -> bool {
        self.0.back().is_some_and(|then| now.saturating_duration_since(*then) < limit.window)
    }

    /// How long until there is room; nothing, if there is now.
    fn full_for(&mut self, limit: Limit, now: Instant) -> Option<Duration> {
        while self.0.front().is_some_and(|then| now.saturating_duration_since(*then) >= limit.window) {
            self.0.pop_front();
        }
        let oldest = self.0.front().filter(|_| self.0.len() >= limit.most)?;
        Some(limit.window.saturating_sub(now.saturating_duration_since(*oldest)))
    }

    pub(super) fn admit(&mut self, limit: Limit, now: Instant) -> Result<(), Duration> {
        match self.full_for(limit, now) {
            Some(wait) => Err(wait),
            None => {
                self.0.push_back(now);
                Ok(())
            }
        }
    }
}

/// Failed authentications of one address, before they are no longer answered one by one.
const FAILURES: Limit = Limit::per_minute(20);
/// Addresses that are remembered at most; a flood from more of them finds the oldest forgotten.
const ADDRESSES: usize = 10_000;

/// What was admitted so far.
#[derive(Debug, Default)]
pub(super) struct Limits {
    calls: Mutex<HashMap<(String, &'static str), Log>>,
    failures: Mutex<HashMap<IpAddr, Log>>,
}

impl Limits {
    /// How long a principal has to wait for an endpoint, if at all; counts nothing.
    pub(super) fn full_for(
        &self,
        who: &str,
        what: &'static str,
        limit: Limit,
        now: Instant,
    ) -> Option<Duration> {
        let mut calls = self.calls.lock();
        calls.get_mut(&(who.to_owned(), what)).and_then(|log| log.full_for(limit, now))
    }

    /// Admits a call of a principal, or returns how long it has to wait.
    pub(super) fn admit(
        &self,
        who: &str,
        what: &'static str,
        limit: Limit,
        now: Instant,
    ) -> Result<(), Duration> {
        let mut calls = self.calls.lock();
        calls.entry((who.to_owned(), what)).or_default().admit(limit, now)
    }

    /// Uncounts a call at an instant that was refused after all.
    pub(super) fn give_back(&self, who: &str, what: &'static str, taken: Instant) {
        let mut calls = self.calls.lock();
        let Some(Log(instants)) = calls.get_mut(&(who.to_owned(), what)) else { return };
        if let Some(at) = instants.iter().rposition(|at| *at == taken) {
            instants.remove(at);
        }
    }

    /// Takes up what was admitted `age` ago by a process that is gone: a restart gives nobody more than the limit. What the
    /// clock says is yet to come is taken as just done.
    pub(super) fn remember(
        &self,
        who: &str,
        what: &'static str,
        limit: Limit,
        (age, now): (chrono::TimeDelta, Instant),
    ) {
        let age = age.to_std().unwrap_or_default();
        let Some(then) = now.checked_sub(age).filter(|_| age < limit.window) else { return };
        let mut calls = self.calls.lock();
        let Log(instants) = calls.entry((who.to_owned(), what)).or_default();
        let at = instants.partition_point(|earlier| *earlier <= then);
        instants.insert(at, then);
    }

    /// Counts a failed authentication of an address, or returns how long it has to wait.
    pub(super) fn failed(&self, peer: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut failures = self.failures.lock();
        if failures.len() >= ADDRESSES && !failures.contains_key(&peer) {
            failures.retain(|_, log| {
                log.0.back().is_some_and(|then| now.saturating_duration_since(*then) < FAILURES.window)
            });
            let oldest = failures.iter().min_by_key(|(_, log)| log.0.back().copied()).map(|(peer, _)| *peer);
            if let Some(oldest) = oldest.filter(|_| failures.len() >= ADDRESSES) {
                failures.remove(&oldest);
            }
        }
        failures.entry(peer).or_default().admit(FAILURES, now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_window_wherever_it_begins_sees_more_than_the_limit(
            steps in proptest::collection::vec(0_u64..1500, 1..200),
            most in 1_usize..5,
        ) {
            let limit = Limit { most, window: Duration::from_secs(3600) };
            let (limits, start) = (Limits::default(), Instant::now());
            let (mut at, mut admitted) = (0, Vec::new());
            for step in steps {
                at += step;
                match limits.admit("a", "create", limit, start + Duration::from_secs(at)) {
                    Ok(()) => admitted.push(at),
                    Err(wait) => {
                        // Exactly when it says, and not before, the next one is admitted.
                        let oldest: u64 = admitted[admitted.len() - most];
                        prop_assert_eq!(at + wait.as_secs(), oldest + 3600);
                    }
                }
            }
            for first in &admitted {
                let within = admitted.iter().filter(|at| (*first..*first + 3600).contains(at)).count();
                prop_assert!(within <= most);
            }
        }
    }

    #[test]
    fn principals_and_endpoints_do_not_take_from_each_other() {
        let (limits, now, one) = (Limits::default(), Instant::now(), Limit::per_hour(1));
        assert_eq!(limits.admit("a", "create", one, now), Ok(()));
        assert!(limits.admit("a", "create", one, now).is_err());
        assert_eq!(limits.admit("b", "create", one, now), Ok(()));
        assert_eq!(limits.admit("a", "delete", one, now), Ok(()));
        assert!(limits.full_for("a", "create", one, now + Duration::from_millis(3_599_999)).is_some());
        assert_eq!(limits.full_for("a", "create", one, now + Duration::from_secs(3600)), None);
    }

    #[test]
    fn what_is_given_back_makes_room_for_one_and_no_more() {
        let (limits, now, limit) = (Limits::default(), Instant::now(), Limit::per_hour(2));
        let later = now + Duration::from_secs(60);
        assert_eq!(
            (limits.admit("a", "x", limit, now), limits.admit("a", "x", limit, later)),
            (Ok(()), Ok(()))
        );
        limits.give_back("a", "x", later);
        limits.give_back("a", "x", later);
        limits.give_back("b", "x", now);
        assert_eq!(limits.admit("a", "x", limit, later), Ok(()));
        // The first of them still counts from when it was.
        assert_eq!(limits.admit("a", "x", limit, later), Err(Duration::from_secs(3540)));
    }

    #[test]
    fn what_was_done_before_a_restart_counts_for_the_rest_of_its_window() {
        let (limits, limit) = (Limits::default(), Limit::per_hour(3));
        let now = Instant::now() + Duration::from_secs(7200);
        for minutes in [90, 10, 50, -5] {
            limits.remember("a", "create", limit, (chrono::TimeDelta::minutes(minutes), now));
        }
        assert_eq!(limits.admit("a", "create", limit, now), Err(Duration::from_secs(600)));
        assert_eq!(limits.admit("a", "create", limit, now + Duration::from_secs(600)), Ok(()));
    }

    #[test]
    fn a_flood_of_addresses_does_not_grow_without_end() {
        let (limits, now) = (Limits::default(), Instant::now());
        for number in 0..12_000_u32 {
            let peer = IpAddr::from(std::net::Ipv4Addr::from(number));
            assert_eq!(limits.failed(peer, now + Duration::from_micros(number.into())), Ok(()));
        }
        assert!(limits.failures.lock().len() <= ADDRESSES);
    }
}
