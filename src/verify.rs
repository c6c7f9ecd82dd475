//! What a database contains (observe) and whether two contents agree (judge).
//!
//! Reads only: every query runs in a READ ONLY transaction. A check that could not be made is reported as
//! unknown, never as passed.
//!
//! A restore of RDS is a *physical* copy: it carries on the transaction history of its source. That is what
//! makes an old snapshot comparable with a source that has moved on ([`lineage`]): every row that the source
//! still holds from before the snapshot must be in the copy, however much was written since.

mod catalog;
pub mod connections;
pub mod depth;
pub mod fingerprint;
pub mod indexes;
pub mod judge;
pub mod lineage;
pub mod observation;
pub mod observe;
pub mod narrow;
pub mod pair;
pub mod physical;
mod read;
pub mod record;
pub mod schema;
mod shape;
pub mod wording;

pub use depth::{Copies, Depth, DepthRule, Depths, Look};
pub use judge::{Judgement, TableVerdict, Word};
pub use lineage::{Boundary, Horizon};
pub use observe::{Counted, Databases, Observation, Question, Table, WriteCounters};
pub use record::{Origin, Recorded, Recording};

use serde::{Deserialize, Serialize};

/// The answer to a question that may have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every check was made and holds.
    Pass,
    /// The answer is no.
    Fail,
    /// Something could not be found out.
    Unknown,
}

/// What the restored copy is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Baseline {
    /// The source as it was at the very moment of the restore.
    Aligned,
    /// An observation that was saved with the backup.
    Recorded,
    /// The source as it is now.
    Live,
}
