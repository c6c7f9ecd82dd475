//! What drills and verifications have found out about copies.

use chrono::{DateTime, TimeDelta, Utc};

/// What is known of a copy's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Nothing: nobody has looked, or no look gave an answer.
    #[default]
    Unknown,
    /// It was found good; by what, in words.
    Good(String),
    /// Something says that it was found good, and cannot be relied on; what, in words.
    Claimed(String),
    /// It was found bad; by what, in words.
    Bad(String),
}

/// A drill of a snapshot, as far as retention goes.
#[derive(Clone, Debug)]
pub(crate) struct Drilled {
    /// The snapshot.
    pub snapshot: String,
    /// The instance that it was thought to be of, by its immutable id.
    pub resource_id: String,
    /// The Region.
    pub region: String,
    /// The moment that it brings back: a name may have been given again, to another snapshot.
    pub moment: DateTime<Utc>,
    /// When the drill began.
    pub at: DateTime<Utc>,
    /// Its run.
    pub run: String,
    /// Whether it passed; otherwise it failed.
    pub has_passed: bool,
    /// Whether its record is as it was written.
    pub is_sound: bool,
}

/// What drills have found out about snapshots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proofs {
    drills: Vec<Drilled>,
}

/// A snapshot that may have been drilled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// Its id.
    pub snapshot: &'a str,
    /// The instance that it is of, by its immutable id.
    pub resource_id: &'a str,
    /// The Region that it is in.
    pub region: &'a str,
    /// The moment that it brings back.
    pub moment: DateTime<Utc>,
}

impl Proofs {
    /// Collects what drills have found out.
    pub(crate) fn new(mut drills: Vec<Drilled>) -> Self {
        drills.sort_by(|a, b| a.at.cmp(&b.at).then_with(|| a.run.cmp(&b.run)));
        Proofs { drills }
    }

    /// What is known of a snapshot, by the newest drill of this very one that came to a verdict. A record that is not as it was
    /// written never speaks against a copy; where it speaks for one, the copy is not given up for that.
    pub(crate) fn of(&self, subject: Subject<'_>) -> Proof {
        let is_its = |drill: &&Drilled| {
            (drill.snapshot.as_str(), drill.resource_id.as_str(), drill.region.as_str())
                == (subject.snapshot, subject.resource_id, subject.region)
                && (drill.moment - subject.moment).abs() <= TimeDelta::seconds(1)
        };
        let own = || self.drills.iter().filter(is_its);
        match own().rfind(|drill| drill.is_sound) {
            Some(drill) if drill.has_passed => Proof::Good(format!("drill run {}", drill.run)),
            Some(drill) => Proof::Bad(format!("drill run {}", drill.run)),
            None => match own().rfind(|drill| drill.has_passed) {
                Some(drill) => Proof::Claimed(format!("drill run {}", drill.run)),
                None => Proof::Unknown,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drill(run: &str, day: i64, has_passed: bool, is_sound: bool) -> Drilled {
        Drilled {
            snapshot: "before".to_owned(),
            resource_id: "db-ORDERS".to_owned(),
            region: "eu-central-1".to_owned(),
            moment: DateTime::UNIX_EPOCH,
            at: DateTime::UNIX_EPOCH + TimeDelta::days(day),
            run: run.to_owned(),
            has_passed,
            is_sound,
        }
    }

    const BEFORE: Subject<'_> = Subject {
        snapshot: "before",
        resource_id: "db-ORDERS",
        region: "eu-central-1",
        moment: DateTime::UNIX_EPOCH,
    };

    #[test]
    fn the_newest_verdict_counts_and_a_record_that_was_altered_only_protects() {
        let of = |drills: &[Drilled]| Proofs::new(drills.to_vec()).of(BEFORE);
        let (passed, failed) = (drill("a", 1, true, true), drill("b", 2, false, true));
        assert_eq!(of(&[]), Proof::Unknown);
        assert_eq!(of(&[failed.clone(), passed.clone()]), Proof::Bad("drill run b".to_owned()));
        assert_eq!(of(&[drill("c", 3, true, true), failed.clone()]), Proof::Good("drill run c".to_owned()));
        let forged = drill("d", 4, true, false);
        assert_eq!(of(&[failed.clone(), forged.clone()]), Proof::Bad("drill run b".to_owned()));
        assert_eq!(of(&[forged]), Proof::Claimed("drill run d".to_owned()));
        assert_eq!(of(&[drill("e", 5, false, false)]), Proof::Unknown);
        assert_eq!(of(&[passed, drill("e", 5, false, false)]), Proof::Good("drill run a".to_owned()));
    }

    #[test]
    fn a_drill_proves_the_very_snapshot_that_it_restored() {
        let proofs = Proofs::new(vec![drill("a", 1, true, true)]);
        assert!(matches!(proofs.of(BEFORE), Proof::Good(_)));
        let others = [
            Subject { snapshot: "after", ..BEFORE },
            Subject { resource_id: "db-NAMESAKE", ..BEFORE },
            Subject { region: "eu-west-1", ..BEFORE },
            // The name was given again, to another snapshot.
            Subject { moment: DateTime::UNIX_EPOCH + TimeDelta::minutes(1), ..BEFORE },
        ];
        for other in others {
            assert_eq!(proofs.of(other), Proof::Unknown, "{other:?}");
        }
    }
}
