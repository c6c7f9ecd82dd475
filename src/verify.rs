//! What a database contains (observe) and whether two contents agree (judge).
//!
//! Reads only: every query runs in a READ ONLY transaction. A check that could not be made is reported as
//! unknown, never as passed.
//!
//! A restore of RDS is a *physical* copy: it carries on the transaction history of its source. That is what
//! makes an old snapshot comparable with a source that has moved on ([`lineage`]): every row that the source
//! still holds from before the snapshot must be in the copy, however much was written since.

mod boundary;
mod catalog;
pub(crate) mod connections;
pub(crate) mod depth;
pub(crate) mod fingerprint;
pub(crate) mod indexes;
pub(crate) mod judge;
pub(crate) mod lineage;
pub(crate) mod observation;
pub(crate) mod observe;
pub(crate) mod row_differences;
pub(crate) mod pair;
pub(crate) mod physical;
mod read;
pub(crate) mod record;
pub(crate) mod schema;
mod shape;
pub(crate) mod wording;

pub(crate) use depth::{Copies, Depth, DepthRule, Depths, Look};
pub(crate) use judge::{Judgement, TableVerdict, Word};
pub(crate) use lineage::Horizon;
pub(crate) use observe::{Databases, Observation, Question};
pub(crate) use record::{Origin, Recorded, Recording};

use serde::{Deserialize, Serialize};

use crate::words::Tone;

/// The answer to a question that may have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// Every check was made and holds.
    Pass,
    /// The answer is no.
    Fail,
    /// It could not be determined.
    Unknown,
}

impl Verdict {
    /// The word for programs.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Unknown => "unknown",
        }
    }

    pub(crate) const fn tone(self) -> Tone {
        match self {
            Verdict::Pass => Tone::Good,
            Verdict::Fail => Tone::Bad,
            Verdict::Unknown => Tone::Doubt,
        }
    }
}

/// What the restored copy is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Baseline {
    /// The source as it was at the very moment of the restore.
    Aligned,
    /// An observation that was saved with the backup.
    Recorded,
    /// The source as it is now.
    Live,
}
