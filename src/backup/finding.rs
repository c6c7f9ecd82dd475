//! What an examination of a backup found.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::dump_gate::{Held, Trust};
use super::manifest::{Level, Verification};
use super::sqlite::{self, Contents};
use super::token::TableName;
use crate::verify::Verdict;

/// A way in which a restored copy is not what was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deviation {
    /// What it is known by, whatever its words are: kind and name of the object, as `index public.by_owner`.
    pub(super) name: String,
    /// What is wrong, for people.
    pub(super) text: String,
}

/// What came out of a look at a file.
#[derive(Debug, Default)]
pub(super) struct Finding {
    /// What is wrong with it.
    pub(super) faults: Vec<String>,
    /// In what a restored copy is not what was recorded.
    pub(super) deviations: Vec<Deviation>,
    /// What could not be found out.
    pub(super) doubts: Vec<String>,
    /// What a SQLite file contains.
    pub(super) contents: Option<Contents>,
    /// How the database of a dump is created, after its name.
    pub(super) create_database: Option<String>,
    /// What a dump holds that none of one database does: it is loaded only if somebody vouches for it.
    pub(super) refusals: Vec<String>,
    /// Which half of a database a dump lacks.
    pub(super) missing_half: Option<String>,
    /// What one may want to know, and what is no fault.
    pub(super) notes: Vec<String>,
    /// Rows of a dump, by table.
    pub(super) dumped_rows: BTreeMap<TableName, u64>,
    /// Roles that a dump names.
    pub(super) roles: Vec<String>,
    /// Tables and rows that were compared with what was recorded.
    pub(super) checked: (usize, u64),
}

impl Finding {
    pub(super) fn fault(text: impl Into<String>) -> Self {
        Finding { faults: vec![text.into()], ..Finding::default() }
    }

    /// What a dump was seen to hold.
    pub(super) fn of_dump(held: Held, faults: Vec<String>) -> Self {
        let missing_half = held.missing_half();
        let Held { create_database, refusals, roles, rows: dumped_rows, .. } = held;
        let roles = roles.into_iter().collect();
        Finding { faults, create_database, refusals, roles, dumped_rows, missing_half, ..Finding::default() }
    }

    /// What a dump does not hold is a fault, unless somebody vouches for it.
    pub(super) fn refuse_unless(&mut self, trust: Trust) {
        let refusals = std::mem::take(&mut self.refusals);
        if trust == Trust::Nobody {
            self.faults.extend(refusals);
        }
    }

    pub(super) fn proof(self, level: Level, at: DateTime<Utc>) -> Verification {
        let deviations = self.deviations.into_iter().map(|deviation| deviation.text);
        let faults: Vec<String> = self.faults.into_iter().chain(deviations).collect();
        let result = match (faults.is_empty(), self.doubts.is_empty()) {
            (false, _) => Verdict::Fail,
            (true, false) => Verdict::Unknown,
            (true, true) => Verdict::Pass,
        };
        let warnings = self.contents.iter().flat_map(|contents| &contents.warnings);
        Verification {
            level,
            at,
            result,
            warnings: warnings.map(sqlite::Warning::sentence).collect(),
            reasons: [faults, self.doubts].concat(),
        }
    }
}
