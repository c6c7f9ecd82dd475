//! How many throwaways at a time, over all machines, and how many hours of them in all.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;

use crate::aws::Aws;
use crate::error::{Error, Result};
use crate::vault::{Holder, Lease, Leased, Vault};

/// The hours of throwaways that a fleet run has used.
#[derive(Debug)]
pub(super) struct Hours {
    most: Option<f64>,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    gone: Duration,
    there: HashMap<String, Instant>,
}

impl Hours {
    /// Starts with the hours that a killed process of this fleet run has used.
    pub(super) fn new(most: Option<f64>, used_seconds: f64) -> Self {
        let gone = Duration::try_from_secs_f64(used_seconds).unwrap_or_default();
        Hours { most, used: Mutex::new(Used { gone, ..Used::default() }) }
    }

    /// A throwaway was requested.
    pub(super) fn start_counting(&self, source: &str) {
        self.used.lock().there.insert(source.to_owned(), Instant::now());
    }

    /// It is gone.
    pub(super) fn stop_counting(&self, source: &str) {
        let mut used = self.used.lock();
        if let Some(since) = used.there.remove(source) {
            used.gone += since.elapsed();
        }
    }

    /// Why no more may be used, if so.
    pub(super) fn limit_reached(&self) -> Option<Error> {
        let most = self.most?;
        let used = self.used.lock();
        let all = used.gone + used.there.values().map(Instant::elapsed).sum::<Duration>();
        (all.as_secs_f64() / 3600.0 >= most).then(|| {
            Error::outside(format!("the limit of {most} instance-hours of this fleet run was reached")).hint(
                "Run it again for the remaining databases, with a higher `--max-hours` or at another time.",
            )
        })
    }
}

/// One of so many places that the throwaways of an account and Region may take, over all processes with this vault; none
/// if all are taken.
pub(super) fn acquire_slot(
    vault: &Vault,
    place: &str,
    most: usize,
    holder: impl Fn() -> Holder,
) -> Result<Option<Lease>> {
    let first = rand::random_range(0..most);
    for number in (0..most).map(|number| (number + first) % most) {
        if let Leased::Ours(lease) =
            vault.lease(&format!("leases/throwaways/{place}/{number}.json"), holder())?
        {
            return Ok(Some(lease));
        }
    }
    Ok(None)
}

/// Why there is no room for another throwaway in this account and Region, if that is so. What is unknown is left to
/// the restore itself to say.
pub(super) async fn why_no_room(aws: &Aws, most: Option<usize>) -> Result<Option<String>> {
    if let Ok(Some(quota)) = aws.instance_quota().await
        && quota.used >= quota.max
    {
        return Ok(Some(format!(
            "the quota of DB instances is exhausted: {} of {} are in use",
            quota.used, quota.max
        )));
    }
    let Some(most) = most else { return Ok(None) };
    let there = aws.instances().await?.iter().filter(|instance| instance.is_throwaway()).count();
    Ok((there >= most).then(|| format!("{there} throwaways exist, and {most} are allowed")))
}

/// How much room the quota of an account and Region leaves, if AWS says.
pub(super) async fn instance_room(aws: &Aws) -> Option<i64> {
    let quota = aws.instance_quota().await.ok()??;
    Some((quota.max - quota.used).max(0))
}

/// Names the holder of a slot.
pub(super) fn slot_holder(host: &str, source: &str, fleet: &str, now: DateTime<Utc>) -> Holder {
    Holder::new(host, format!("throwaway of {source} in fleet run {fleet}"), now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_those_of_throwaways_that_are_gone_and_of_those_that_are_there() {
        let hours = Hours::new(Some(2.0), 3600.0);
        assert!(hours.limit_reached().is_none());
        hours.start_counting("a");
        hours.used.lock().there.insert("b".to_owned(), Instant::now() - Duration::from_secs(3599));
        hours.stop_counting("a");
        assert!(hours.limit_reached().is_none());
        hours.used.lock().gone += Duration::from_secs(1);
        assert!(hours.limit_reached().unwrap().chain().contains("2 instance-hours"));
        assert!(Hours::new(None, 1e9).limit_reached().is_none());
    }

    #[test]
    fn there_are_so_many_slots_and_no_more() {
        let place = tempfile::tempdir().unwrap();
        let vault = Vault::open(place.path().to_str().unwrap(), &crate::aws::Access::default()).unwrap();
        let take = || {
            acquire_slot(&vault, "1-eu", 2, || slot_holder("here", "a", "f", DateTime::UNIX_EPOCH)).unwrap()
        };
        let (one, two) = (take().unwrap(), take().unwrap());
        assert!(take().is_none());
        drop(one);
        assert!(take().is_some());
        drop(two);
    }
}
