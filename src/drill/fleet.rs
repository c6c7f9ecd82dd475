//! Drills of a whole fleet: which databases, in which order, how many at once, by which of several machines.
//!
//! ```text
//! plan     reads only: whom the selection names, who is due, what this fleet run has done already, what cannot be drilled
//! run      the drills, some at a time, under the ceilings; each under the lease of its source
//! due      when a database was last proven, from the evidence in the vault
//! record   `lifeboat.drill.fleet/1`: the outcome of each database
//! journal  what the vault keeps of a run; how one that was killed is found again
//! ceiling  throwaways at a time, over all machines, and instance-hours
//! ```
//!
//! Shards do not communicate: each takes the databases whose resource id falls to it. What has been done is
//! read from the evidence, under the lease, so that two processes of one fleet run never drill one database twice.

mod ceiling;
mod due;
pub(crate) mod journal;
mod plan;
pub(crate) mod record;
mod run;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

pub(crate) use plan::{FleetRequest, Todo, plan_fleet_run};
pub(crate) use record::{Fleet, Outcome, Row};
pub(crate) use run::{FleetContext, run_fleet};

use crate::error::Error;
use crate::rds::{Instance, InstanceId, ResourceId};

/// Which databases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Selection {
    /// The named ones; if none is named, all.
    pub databases: Vec<InstanceId>,
    /// Those that carry all of these tags.
    pub tags: Vec<(String, String)>,
    /// Those that were not proven within this many seconds.
    pub due_seconds: Option<u64>,
}

impl Selection {
    /// How long a proof lasts, if that counts.
    pub(crate) fn proof_lasts(&self) -> Option<Duration> {
        self.due_seconds.map(Duration::from_secs)
    }

    /// Whether the selection includes an instance.
    fn matches_tags(&self, instance: &Instance) -> bool {
        self.tags.iter().all(|(key, value)| instance.tags.get(key) == Some(value))
    }

    /// Why an instance of a selection without names is not drilled.
    fn why_skipped(&self, instance: &Instance) -> Option<String> {
        instance.why_no_source().filter(|_| self.databases.is_empty()).map(|why| format!("it is {why}"))
    }
}

/// One of several parts of a fleet, by a hash of the immutable resource id of a database. Databases that come
/// and go move no other to another part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shard {
    /// Which, from 0.
    pub index: u32,
    /// Of how many.
    pub count: u32,
}

impl Shard {
    /// Whether a database falls to this part.
    pub(crate) fn contains(&self, resource: &ResourceId) -> bool {
        let digest = digest(&SHA256, resource.0.as_bytes());
        let head: [u8; 8] = std::array::from_fn(|at| digest.as_ref()[at]);
        u64::from_be_bytes(head) % u64::from(self.count) == u64::from(self.index)
    }
}

impl FromStr for Shard {
    type Err = Error;

    /// `I/N`. Kubernetes counts from 0, people from 1: N/N is the same part as 0/N, so that each way of counting meets all.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = text.split_once('/').and_then(|(index, count)| {
            let (index, count) = (index.parse::<u32>().ok()?, count.parse::<u32>().ok()?);
            ((1..=10_000).contains(&count) && index <= count).then(|| Shard { index: index % count, count })
        });
        parsed.ok_or_else(|| {
            Error::request(format!("`{}` is not a shard", text.escape_default()))
                .hint("Write it as I/N, as in 3/8: I counts from 0 to N-1, or from 1 to N.")
        })
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

/// The limits of a fleet run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ceilings {
    /// Drills at once, in this process.
    pub concurrency: usize,
    /// Throwaways at once in an account and Region, those of other processes with this vault counted.
    pub max_instances: Option<usize>,
    /// Hours of throwaways in all, of this process and of those whose place it takes.
    pub max_hours: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_all_and_none_twice_whichever_way_one_counts() {
        let resources: Vec<ResourceId> = (0..1000).map(|n| ResourceId(format!("db-{n:026X}"))).collect();
        for first in [0, 1] {
            let shards: Vec<Shard> = (first..first + 8).map(|n| format!("{n}/8").parse().unwrap()).collect();
            for resource in &resources {
                assert_eq!(shards.iter().filter(|shard| shard.contains(resource)).count(), 1);
            }
            for shard in shards {
                let share = resources.iter().filter(|resource| shard.contains(resource)).count();
                assert!((80..170).contains(&share), "{shard}: {share}");
            }
        }
        for wrong in ["", "3", "9/8", "-1/8", "1/0", "a/b", "1/2/3", "1/99999"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_selection_without_names_passes_over_what_cannot_be_drilled() {
        let instance = |change: fn(&mut Instance)| {
            let mut it = Instance { engine: "postgres".to_owned(), ..Instance::default() };
            change(&mut it);
            it
        };
        let all = Selection::default();
        assert_eq!(all.why_skipped(&instance(|_| {})), None);
        assert!(all.why_skipped(&instance(|it| it.replica_of = Some("a".to_owned()))).is_some());
        assert!(all.why_skipped(&instance(|it| it.engine = "mysql".to_owned())).is_some());
        let tagged = Selection { tags: vec![("env".to_owned(), "prod".to_owned())], ..Selection::default() };
        assert!(!tagged.matches_tags(&instance(|_| {})));
        assert!(
            tagged.matches_tags(&instance(|it| drop(it.tags.insert("env".to_owned(), "prod".to_owned()))))
        );
    }
}
