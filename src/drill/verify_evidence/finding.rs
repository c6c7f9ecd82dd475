//! What verifying the evidence of a source finds.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::drill::chain::run_of_file;
use crate::vault::chain::Head;

/// The result for a source, or for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Everything is as it was recorded.
    Intact,
    /// Nothing is known to have been changed, and some evidence is from before there was a chain, or says so: how it was before a
    /// chain adopted it, nothing shows.
    Unchained,
    /// Something could not be read.
    Unknown,
    /// Something was changed.
    Altered,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// It has another content.
    Altered,
    /// It has the content of another file.
    Swapped,
    /// It is not there.
    Removed,
    /// No link knows it.
    Inserted,
    /// The chain is not the one that the expected head belongs to.
    Rewritten,
    /// Something was wrong with the chain when a link was added.
    Noticed,
    /// It could not be read.
    Unreadable,
}

/// One file that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Finding {
    /// What is wrong.
    pub fault: Fault,
    /// Where the file lies, or should.
    pub file: String,
    /// In words.
    pub message: String,
    /// Its name below the folder of the source.
    #[serde(skip)]
    pub(super) name: String,
}

/// One source.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Checked {
    pub source: String,
    /// The result.
    pub verdict: Verdict,
    /// Links of its chain.
    pub links: u64,
    /// The last link: keep it elsewhere.
    pub head: Option<Head>,
    /// Drills that are recorded.
    pub drills: usize,
    /// Notes that are recorded.
    pub notes: usize,
    /// Runs that were recorded before there was a chain; those it has since adopted are protected from that day on.
    pub unchained: Vec<String>,
    /// When the chain adopted them.
    pub adopted_at: Option<DateTime<Utc>>,
    /// A process ended while it wrote, or writes now; the next one that writes finishes that.
    pub unfinished: Option<String>,
    /// The expected head, and the number of links that were added since.
    pub since_expected: Option<Since>,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// Whether the record of a run can be relied on: none of its files is other than it was recorded, and neither is the
    /// chain that says so. What a link recorded when it was added counts against no record.
    pub(crate) fn is_sound(&self, run: &str) -> bool {
        self.findings.iter().all(|finding| match run_of_file(&finding.name) {
            Some(of) => of != run,
            None => finding.fault == Fault::Noticed || finding.name.starts_with("last-"),
        })
    }
}

/// A head that was kept elsewhere, found in the chain.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Since {
    /// The expected head.
    pub sha256: String,
    /// Links after it.
    pub links_since: u64,
}
