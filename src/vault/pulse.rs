//! How often leases and locks are renewed, how long their holders rely on them, and when they count as left.
//!
//! In a bucket whose default retention keeps every version, each renewal leaves one that nobody can delete. There, whoever holds a
//! lease for long renews it ever more rarely, and says in it how long it lasts: one that is held for moments is free as soon
//! after the death of its holder as anywhere else.

use std::time::Duration;

/// The rarest renewal of a lease whose versions are kept: 720 a day for one that is held all day.
const RAREST: Duration = Duration::from_secs(120);
/// A note that claims to last longer was not written by us.
const LONGEST: Duration = Duration::from_secs(600);

/// When a lease is renewed, and for how long it holds if it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pulse {
    pub(super) every: Duration,
    /// For how long after it was renewed its holder relies on it.
    pub(super) relied_on: Duration,
    /// For how long it must be seen unchanged before somebody else takes it over.
    pub(super) lasts: Duration,
}

/// What becomes of a version that was written over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overwritten {
    /// It is gone, or can be deleted.
    Gone,
    /// It stays until its retention ends.
    Kept,
}

impl Pulse {
    /// The pulse of a lease that was renewed so often, if this is its pulse at first.
    pub(super) fn after(self, renewals: u64, overwritten: Overwritten) -> Pulse {
        if overwritten == Overwritten::Gone {
            return self;
        }
        let doubled =
            1_u32.checked_shl(u32::try_from(renewals).unwrap_or(u32::MAX).min(30)).unwrap_or(u32::MAX);
        let every = self.every.saturating_mul(doubled).min(RAREST.max(self.every));
        let longer = (every - self.every) * 2;
        Pulse { every, relied_on: self.relied_on + longer, lasts: self.lasts + longer }
    }

    /// What a note says about how long it lasts, where that is not what everybody expects.
    pub(super) fn written(self, at_first: Pulse) -> Option<u64> {
        (self != at_first).then_some(self.lasts.as_secs())
    }

    /// How long a note lasts that says so, if it does.
    pub(super) fn lasts(self, written: Option<u64>) -> Duration {
        written.map_or(self.lasts, |seconds| Duration::from_secs(seconds).clamp(self.lasts, LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT_FIRST: Pulse = Pulse {
        every: Duration::from_secs(8),
        relied_on: Duration::from_secs(20),
        lasts: Duration::from_secs(30),
    };

    /// How many versions a lease leaves that is held for so long.
    fn versions(held: Duration, overwritten: Overwritten) -> u64 {
        let (mut renewals, mut at) = (0, Duration::ZERO);
        loop {
            at += AT_FIRST.after(renewals, overwritten).every;
            if at > held {
                return renewals + 1;
            }
            renewals += 1;
        }
    }

    #[test]
    fn what_is_kept_for_good_is_written_rarely() {
        let day = Duration::from_secs(86_400);
        assert_eq!(versions(day, Overwritten::Gone), 10_801);
        assert_eq!(versions(day, Overwritten::Kept), 724);
        assert_eq!(versions(Duration::from_secs(20 * 60), Overwritten::Kept), 14);
        // What is held for moments is free as soon as anywhere.
        assert_eq!(AT_FIRST.after(0, Overwritten::Kept), AT_FIRST);
    }

    proptest! {
        /// A holder may miss a renewal and still has its lease, and stops relying on it before others take it over.
        #[test]
        fn a_holder_lets_go_before_others_take_over(renewals in any::<u64>()) {
            for overwritten in [Overwritten::Gone, Overwritten::Kept] {
                let pulse = AT_FIRST.after(renewals, overwritten);
                prop_assert!(pulse.every * 2 < pulse.relied_on);
                prop_assert!(pulse.relied_on + Duration::from_secs(10) <= pulse.lasts);
                // Whoever reads the note waits as long as its holder relies on it.
                prop_assert_eq!(AT_FIRST.lasts(pulse.written(AT_FIRST)), pulse.lasts);
            }
        }

        #[test]
        fn no_note_is_waited_for_for_long(written in any::<Option<u64>>()) {
            prop_assert!((AT_FIRST.lasts..=LONGEST).contains(&AT_FIRST.lasts(written)));
        }
    }
}
