//! The drills of a vault with their outcomes, in the terminal's words, for the dashboard, the metrics and the overview.

use std::collections::BTreeMap;

use crate::drill::database::Which;
use crate::drill::evidence::Report;
use crate::drill::outcome::Outcome;
use crate::drill::proof::{self, Records};
use crate::error::Result;
use crate::status::LastDrill;
use crate::vault::Vault;

/// A drill and its outcome.
#[derive(Debug)]
pub(super) struct Drill {
    pub(super) report: Report,
    pub(super) outcome: Outcome,
}

impl Drill {
    /// Whether it has come to an end.
    pub(super) fn is_over(&self) -> bool {
        self.report.finished_at.is_some() && self.outcome != Outcome::Running
    }

    /// As the last one of its database.
    pub(super) fn as_last(&self) -> LastDrill {
        let at = self.report.finished_at.unwrap_or(self.report.started_at);
        LastDrill { run: self.report.run.clone(), at, verdict: self.report.verdict.word().to_owned() }
    }
}

/// All of them, newest first.
#[derive(Debug)]
pub(super) struct Drills {
    pub(super) all: Vec<Drill>,
    /// Why others cannot be read.
    pub(super) damaged: Vec<String>,
}

/// Reads them.
pub(super) fn read(vault: &Vault) -> Result<Drills> {
    let mut records = proof::read_records(vault, &[])?;
    let reports = std::mem::take(&mut records.reports);
    let damaged = std::mem::take(&mut records.damaged);
    let drill = |report: Report| -> Result<Drill> {
        Ok(Drill { outcome: Records::outcome_of(&records, vault, &report)?, report })
    };
    Ok(Drills { all: reports.into_iter().map(drill).collect::<Result<_>>()?, damaged })
}

impl Drills {
    /// By database, newest first; two accounts may each have one of the same name.
    pub(super) fn by_database(&self) -> impl Iterator<Item = (String, Vec<&Drill>)> {
        let mut groups: BTreeMap<Which, Vec<&Drill>> = BTreeMap::new();
        for drill in &self.all {
            groups.entry(drill.report.database_key()).or_default().push(drill);
        }
        let ids: Vec<String> = groups.keys().map(|which| which.id.clone()).collect();
        groups.into_iter().map(move |(which, drills)| {
            let label = match ids.iter().filter(|id| **id == which.id).count() {
                ..=1 => which.id.clone(),
                _ => format!("{} ({})", which.id, describe_place(&which)),
            };
            (label, drills)
        })
    }
}

/// The account and the Region.
pub(super) fn describe_place(which: &Which) -> String {
    format!("{}/{}", which.account.as_deref().unwrap_or("account unknown"), which.region)
}
