//! Which copies no rule removes: the newest good one, the newest proven one, and the newest where none is good.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::copy::Copy;
use super::proof::Proof;

/// Whether a copy counts as a good one: it can be restored from, as far as is known.
pub(super) fn counts_as_good(copy: &Copy) -> bool {
    copy.is_good && !matches!(copy.proof, Proof::Bad(_))
}

/// Copies that no rule may remove, with the reasons: the newest good one, the newest that is proven good, and where none is good
/// the newest that there is. Of each also the newest that is not from the future: one that a wrong clock has dated years ahead
/// must not be the only one that is safe. `copies` are of one database, newest first.
pub(super) fn protected<'c>(copies: &[&'c Copy], now: DateTime<Utc>) -> BTreeMap<&'c str, Vec<String>> {
    let mut protected: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut protect = |copy: &'c Copy, reason: String| {
        let reasons = protected.entry(copy.id.as_str()).or_default();
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    };
    let dated = |copy: &Copy| copy.taken_at.is_some();
    let past = |copy: &Copy| copy.taken_at.is_some_and(|taken| taken <= now);
    for is_meant in [&dated as &dyn Fn(&Copy) -> bool, &past] {
        let own = || copies.iter().copied().filter(|copy| copy.exempt.is_none() && is_meant(copy));
        match own().find(|copy| counts_as_good(copy)) {
            Some(copy) => protect(copy, format!("it is the newest good copy of `{}`", copy.database)),
            None => {
                // One that was found bad may still be all that is left, and what found it bad may be wrong.
                if let Some(copy) = own().find(|copy| copy.is_good).or_else(|| own().next()) {
                    protect(
                        copy,
                        format!("no copy of `{}` is known to be good, and it is the newest", copy.database),
                    );
                }
            }
        }
        let proven = own().find_map(|copy| match &copy.proof {
            Proof::Good(by) if copy.is_good => Some((copy, by)),
            _ => None,
        });
        if let Some((copy, by)) = proven {
            protect(copy, format!("it is the newest proven copy of `{}` ({by})", copy.database));
        }
        let claimed = own().find_map(|copy| match &copy.proof {
            Proof::Claimed(by) if copy.is_good => Some((copy, by)),
            _ => None,
        });
        if let Some((copy, by)) = claimed {
            protect(
                copy,
                format!(
                    "{by} says that it is good, but its evidence was altered: see `lifeboat drill verify-evidence`"
                ),
            );
        }
    }
    protected
}
