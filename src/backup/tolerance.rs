//! What a restore goes on past, and what it left out.
//!
//! By default a restore is all or nothing. What belongs to the server that it goes to, and is not there, is left out and
//! said: a tablespace, a setting that only a superuser may make. Anything else that the server refuses ends the restore,
//! unless whoever restores says that it is to go on, as psql does.

use serde::{Deserialize, Serialize};

/// What whoever restores puts up with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tolerance {
    /// Owners and rights of the source are left out.
    pub no_owner: bool,
    /// A statement that the server refuses is listed, and the next one is run.
    pub keep_going: bool,
    /// Differences from what was recorded that are accepted, by their names.
    pub accepted: Vec<String>,
    /// The locale of the new database, in place of the source's.
    pub locale: Option<String>,
}

/// A statement of the backup that was not run, or that the server refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    /// The beginning of the statement, or the object.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What a load left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Omissions {
    /// What was asked for, or belongs to the server and is not there.
    pub(super) left_out: Vec<LeftOut>,
    /// What the server refused, and the restore went on past.
    pub(super) complaints: Vec<LeftOut>,
    /// Whether settings of the database are among what was left out.
    pub(super) settings: bool,
}

impl Omissions {
    /// These, and others.
    pub(super) fn and(mut self, mut others: Omissions) -> Self {
        self.left_out.append(&mut others.left_out);
        self.complaints.append(&mut others.complaints);
        self.settings |= others.settings;
        self
    }

    pub(super) fn leave_out(&mut self, what: impl Into<String>, why: impl Into<String>) {
        let left_out = LeftOut { what: what.into(), why: why.into() };
        if !self.left_out.contains(&left_out) {
            self.left_out.push(left_out);
        }
    }
}

/// A way in which a restored copy is not what was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Difference {
    /// What it is accepted by: `--accept NAME`.
    pub name: String,
    /// What is different.
    pub text: String,
    /// Whether whoever restored accepted it.
    pub accepted: bool,
}
