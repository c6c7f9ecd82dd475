//! Limits the audit log lines of calls that anybody can make: those of unknown callers, and those that are refused.
//!
//! A disk that is full of such lines would keep backups from being made, restored and deleted. So the lines of an hour have a ceiling
//! for all unknown callers together, wherever they come from; what is beyond it is counted, and a count is one line a minute.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::limits::{Limit, Log};

/// Who calls without a token that is known.
pub(super) const NOBODY: &str = "nobody";
/// Lines of their own that all unknown callers together have.
const OF_NOBODY: Limit = Limit::per_hour(60);
/// Lines of their own that refused calls of a known caller have.
const OF_SOMEBODY: Limit = Limit::per_hour(600);
/// Lines of their own that one address, or one caller who runs against a limit, has for one status.
const ALIKE: Limit = Limit::per_minute(1);
/// How long calls are counted before their number is a line.
const COUNTING: Duration = Duration::from_secs(60);
/// Most addresses, and most kinds of calls, that are kept apart.
const KINDS: usize = 1000;

/// Calls that have no line of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) who: String,
    pub(super) calls: u64,
    /// How often each status was answered.
    pub(super) statuses: BTreeMap<u16, u64>,
    /// The first of the addresses.
    pub(super) peer: IpAddr,
    /// Where they came from, as far as they were kept apart.
    pub(super) addresses: HashSet<IpAddr>,
    since: Instant,
}

/// What was refused so far.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    alike: HashMap<(String, u16), Log>,
    own: HashMap<String, Log>,
    tallies: HashMap<String, Tally>,
}

impl Refusals {
    /// Whether a call has a line of its own; if not, it is counted.
    pub(super) fn has_own_line(&self, who: &str, peer: IpAddr, status: u16, now: Instant) -> bool {
        let mut counts = self.0.lock();
        let Counts { alike, own, tallies } = &mut *counts;
        let is_known = who != NOBODY;
        let key = (if is_known { who.to_owned() } else { peer.to_string() }, status);
        let is_first = match is_known && ![401, 429].contains(&status) {
            true => true,
            false => {
                if alike.len() >= KINDS {
                    alike.retain(|_, log| log.is_recent(ALIKE, now));
                }
                let has_room = alike.len() < KINDS || alike.contains_key(&key);
                has_room && alike.entry(key).or_default().admit(ALIKE, now).is_ok()
            }
        };
        let ceiling = if is_known { OF_SOMEBODY } else { OF_NOBODY };
        if is_first && own.entry(who.to_owned()).or_default().admit(ceiling, now).is_ok() {
            return true;
        }
        let tally = tallies.entry(who.to_owned()).or_insert_with(|| Tally {
            who: who.to_owned(),
            calls: 0,
            statuses: BTreeMap::new(),
            peer,
            addresses: HashSet::new(),
            since: now,
        });
        tally.calls += 1;
        *tally.statuses.entry(status).or_default() += 1;
        if tally.addresses.len() < KINDS {
            tally.addresses.insert(peer);
        }
        false
    }

    /// The counts that are due for a line, or all of them.
    pub(super) fn take_tallies(&self, now: Instant, all: bool) -> Vec<Tally> {
        let mut counts = self.0.lock();
        let is_due = |tally: &Tally| all || now.saturating_duration_since(tally.since) >= COUNTING;
        counts.tallies.extract_if(|_, tally| is_due(tally)).map(|(_, tally)| tally).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that a number of calls have, evenly over a number of seconds.
    fn lines(calls: u64, seconds: u64, call: impl Fn(u64) -> (&'static str, IpAddr, u16)) -> (u64, u64) {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let (mut lines, mut counted) = (0, 0);
        for number in 0..calls {
            let now = start + Duration::from_millis(seconds * 1000 * number / calls);
            let (who, peer, status) = call(number);
            lines += u64::from(refusals.has_own_line(who, peer, status, now));
            for tally in refusals.take_tallies(now, false) {
                lines += 1;
                counted += tally.calls;
            }
        }
        let left = refusals.take_tallies(start, true);
        counted += left.iter().map(|tally| tally.calls).sum::<u64>();
        let counts = refusals.0.lock();
        assert!(counts.alike.len() <= KINDS && counts.own.len() <= 2 && counts.tallies.is_empty());
        (lines, counted)
    }

    #[test]
    fn unknown_callers_have_two_lines_a_minute_however_many_they_are() {
        let address = |number: u64| IpAddr::from(std::net::Ipv6Addr::from(u128::from(number)));
        for kind in [
            &(|_| (NOBODY, address(1), 404_u16)) as &dyn Fn(u64) -> (&'static str, IpAddr, u16),
            &|number| (NOBODY, address(number), 404),
            &|number| (NOBODY, address(number % 7), 400 + u16::try_from(number % 50).unwrap()),
        ] {
            let (lines, counted) = lines(60_000, 3600, kind);
            assert!(lines <= 120, "{lines} lines");
            assert!(counted >= 60_000 - 60, "{counted} calls were counted");
        }
    }

    #[test]
    fn a_known_caller_has_a_line_for_each_call_up_to_a_ceiling_and_takes_none_from_others() {
        let peer = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(lines(500, 60, |_| ("deploy", peer, 404)), (500, 0));
        let (many, counted) = lines(60_000, 3600, |_| ("deploy", peer, 404));
        assert!(many <= 660 && counted == 60_000 - 600, "{many} lines, {counted} counted");
        assert!(lines(1000, 50, |_| ("deploy", peer, 429)).0 <= 2);
        let refusals = Refusals::default();
        let now = Instant::now();
        for number in 0..1000_u32 {
            refusals.has_own_line(NOBODY, IpAddr::from(number.to_be_bytes()), 401, now);
        }
        assert!(refusals.has_own_line("deploy", peer, 403, now));
        let tally = &refusals.take_tallies(now, true)[0];
        assert_eq!((tally.calls, tally.addresses.len(), tally.statuses[&401]), (940, 940, 940));
    }
}
