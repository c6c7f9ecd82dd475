//! Copies of databases as far as retention goes, and what is to become of them. Plain data.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::proof::Proof;
use super::rules::Lifetime;
use crate::rds::{Place, Unreached};

/// A copy of a database, as far as retention goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    /// What it is called; unique among those that are judged together.
    pub id: String,
    /// The database that it is of. Two databases that had the same name one after the other are not the same.
    pub database: String,
    /// When its content was taken; a copy of a copy keeps the time of the first. Unknown while it is being made.
    pub taken_at: Option<DateTime<Utc>>,
    /// Its retention class; `None` if nobody gave it one.
    pub class: Option<String>,
    /// How long it was created to be kept; overrides its class.
    pub lifetime: Option<Lifetime>,
    /// Whether one could restore from it, as far as its state tells.
    pub is_good: bool,
    /// What is known of its content.
    pub proof: Proof,
    /// Until when it must be kept, if that was set when it was created.
    pub keep_until: Option<DateTime<Utc>>,
    /// Why no rule may touch it, if so.
    pub exempt: Option<String>,
}

/// What is to become of a copy, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// The copy.
    pub id: String,
    pub database: String,
    /// Where it is, of a snapshot.
    #[serde(flatten)]
    pub place: Option<Place>,
    pub class: Option<String>,
    pub taken_at: Option<DateTime<Utc>>,
    /// Whether it stays.
    pub keep: bool,
    /// Why; never empty, the strongest first.
    pub reasons: Vec<String>,
}

/// What a prune found and did (`lifeboat.prune/1`).
#[derive(Debug, Serialize)]
pub(crate) struct PruneReport {
    /// The schema of this document.
    pub schema: &'static str,
    /// Whether nothing was to be removed.
    pub dry_run: bool,
    /// One for each copy: by database, newest first.
    pub verdicts: Vec<Verdict>,
    /// Ids of what was removed.
    pub deleted: Vec<String>,
    /// What could not be removed.
    pub failed: Vec<PruneFailure>,
    /// Accounts and Regions that could not be reached: nothing was removed there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreached: Vec<Unreached>,
}

impl PruneReport {
    /// What would be removed.
    pub(crate) fn planned(verdicts: Vec<Verdict>) -> Self {
        PruneReport {
            schema: "lifeboat.prune/1",
            dry_run: true,
            verdicts,
            deleted: Vec::new(),
            failed: Vec::new(),
            unreached: Vec::new(),
        }
    }
}

/// A copy that could not be removed.
#[derive(Debug, Serialize)]
pub(crate) struct PruneFailure {
    pub id: String,
    /// Where it is, of a snapshot.
    #[serde(flatten)]
    pub place: Option<Place>,
    pub reason: String,
}
