//! What an instance is to drills: a throwaway of one, a database of somebody's that is to be drilled, or neither.
//!
//! Whoever lists databases, counts months or chooses what to drill asks here, so that no two of them count differently. Nothing is
//! removed by what is said here: that takes a proof (`drill::throwaway`).

use std::fmt;

use super::Instance;
use super::tag::{PURPOSE, SOURCE, SOURCE_RESOURCE};

/// Prefix of every throwaway, first in the name so that IAM can bound a role by ARN.
pub(crate) const THROWAWAY_PREFIX: &str = "lifeboat-drill-";

/// Why an instance is not among the databases that a fleet drill drills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoSource {
    /// It is, or claims to be, a throwaway of a drill.
    Throwaway,
    /// It is a member of this cluster (Aurora, Multi-AZ DB clusters): the backups are the cluster's.
    Member(String),
    /// It runs this engine.
    Engine(String),
    /// It is a read replica of this instance, whose backups are what counts. It can be drilled by its name.
    Replica(String),
}

impl fmt::Display for NoSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoSource::Throwaway => f.write_str("a throwaway of a drill"),
            NoSource::Member(cluster) => write!(f, "a member of DB cluster `{cluster}`"),
            NoSource::Engine(engine) if engine.starts_with("aurora") => {
                write!(f, "an Aurora instance ({engine})")
            }
            NoSource::Engine(engine) => write!(f, "an instance of {engine}, not of PostgreSQL"),
            NoSource::Replica(source) => write!(f, "a read replica of `{source}`"),
        }
    }
}

impl Instance {
    /// Whether it is a throwaway of a drill, or claims to be one by its name or tags. An instance that carries the tags of its own
    /// throwaway is a database whose tags somebody has copied.
    pub(crate) fn is_throwaway(&self) -> bool {
        let tag = |key: &str| self.tags.get(key).map(String::as_str);
        let is_own_source =
            tag(SOURCE_RESOURCE) == Some(&self.resource_id.0) || tag(SOURCE) == Some(self.id.as_str());
        self.id.as_str().starts_with(THROWAWAY_PREFIX) || (tag(PURPOSE) == Some("drill") && !is_own_source)
    }

    /// Why it is not one of the databases that are to be drilled; `None` if it is one. An instance that a restore brought back is:
    /// after a recovery it is production.
    pub(crate) fn why_no_source(&self) -> Option<NoSource> {
        if self.is_throwaway() {
            return Some(NoSource::Throwaway);
        }
        if let Some(cluster) = &self.cluster {
            return Some(NoSource::Member(cluster.clone()));
        }
        if self.engine != "postgres" {
            return Some(NoSource::Engine(self.engine.clone()));
        }
        self.replica_of.clone().map(NoSource::Replica)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rds::{InstanceId, ResourceId};

    fn instance(change: impl FnOnce(&mut Instance)) -> Instance {
        let mut it = Instance {
            id: InstanceId::parse("orders").unwrap(),
            resource_id: ResourceId("db-ORDERS".to_owned()),
            engine: "postgres".to_owned(),
            ..Instance::default()
        };
        change(&mut it);
        it
    }

    fn tagged(tags: &[(&str, &str)]) -> Instance {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        instance(|it| it.tags = tags)
    }

    #[test]
    fn what_a_restore_brought_back_is_a_database_and_what_a_drill_made_is_none() {
        assert_eq!(instance(|_| {}).why_no_source(), None);
        assert_eq!(tagged(&[(PURPOSE, "restore"), (SOURCE, "old")]).why_no_source(), None);
        assert_eq!(tagged(&[(PURPOSE, "drill"), (SOURCE, "old")]).why_no_source(), Some(NoSource::Throwaway));
        let named =
            instance(|it| it.id = InstanceId::parse("lifeboat-drill-orders-20260101-abc234").unwrap());
        assert_eq!(named.why_no_source(), Some(NoSource::Throwaway));
        for own in [(SOURCE, "orders"), (SOURCE_RESOURCE, "db-ORDERS")] {
            let copied = tagged(&[(PURPOSE, "drill"), own]);
            assert!(!copied.is_throwaway(), "a database whose tags were copied from its throwaway: {own:?}");
        }
    }

    #[test]
    fn aurora_clusters_replicas_and_other_engines_are_not_drilled_with_the_fleet() {
        let said = |it: Instance| it.why_no_source().map(|why| why.to_string()).unwrap_or_default();
        assert_eq!(
            said(instance(|it| it.engine = "mysql".into())),
            "an instance of mysql, not of PostgreSQL"
        );
        assert_eq!(
            said(instance(|it| it.engine = "aurora-postgresql".into())),
            "an Aurora instance (aurora-postgresql)"
        );
        assert_eq!(said(instance(|it| it.cluster = Some("c".into()))), "a member of DB cluster `c`");
        assert_eq!(said(instance(|it| it.replica_of = Some("a".into()))), "a read replica of `a`");
    }
}
