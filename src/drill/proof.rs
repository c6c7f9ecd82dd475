//! Which records prove something: unaltered ones, by the chain of their source.
//!
//! Whatever relies on drills reads them through here. A record that was altered, inserted or exchanged proves
//! nothing: it is shown without a verdict, with its fault.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::evidence::{Report, State};
use super::journal;
use super::outcome::Outcome;
use super::verify_evidence::{self, Checked, Finding, Verdict as Integrity};
use crate::error::Result;
use crate::retention::{Drilled, Proofs};
use crate::vault::Vault;
use crate::verify::Verdict;

/// The records of drills.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// Newest first. Those that prove nothing have no verdict.
    pub reports: Vec<Report>,
    /// Why others cannot be read.
    pub damaged: Vec<String>,
    /// What was altered.
    pub findings: Vec<Finding>,
    /// The worst of the sources.
    pub integrity: Option<Integrity>,
    /// Sources and runs that no chain protected when they were recorded.
    pub unchained: BTreeSet<(String, String)>,
    /// Runs whose records prove nothing, by source, with the verdict recorded in them.
    unsound: BTreeMap<(String, String), Verdict>,
}

impl Records {
    /// Whether the record of a run is unaltered.
    pub(crate) fn is_sound(&self, report: &Report) -> bool {
        !self.unsound.contains_key(&(report.source.id.clone(), report.run.clone()))
    }

    /// Whether something was changed since it was recorded.
    pub(crate) fn is_altered(&self) -> bool {
        self.integrity == Some(Integrity::Altered)
    }

    /// The outcome of a run.
    pub(crate) fn outcome_of(&self, vault: &Vault, report: &Report) -> Result<Outcome> {
        if self.is_sound(report) { journal::current_outcome(vault, report) } else { Ok(Outcome::Altered) }
    }

    /// What drills have proven about snapshots.
    pub(crate) fn collect_proofs(&self) -> Proofs {
        let drilled = self.reports.iter().filter_map(|report| {
            let key = (report.source.id.clone(), report.run.clone());
            let stands = self.unsound.get(&key).copied().unwrap_or(report.verdict);
            if report.state == State::Running || stands == Verdict::Unknown {
                return None;
            }
            Some(Drilled {
                snapshot: report.moment.snapshot_id.clone()?,
                resource_id: report.source.resource_id.clone(),
                region: report.source.region.clone(),
                moment: report.moment.time?,
                at: report.started_at,
                run: report.run.clone(),
                has_passed: stands == Verdict::Pass,
                is_sound: !self.unsound.contains_key(&key),
            })
        });
        Proofs::new(drilled.collect())
    }
}

/// The records of some sources, or of all, checked with their chains.
pub(crate) fn read_records(vault: &Vault, only: &[String]) -> Result<Records> {
    let (mut reports, damaged) = journal::list_records(vault, only)?;
    let mut records = Records { damaged, ..Records::default() };
    let sources: BTreeSet<String> = vault
        .list("drills")?
        .folders
        .into_iter()
        .filter(|source| only.is_empty() || only.contains(source))
        .collect();
    for source in sources {
        let checked = verify_evidence::verify_source(vault, &source, &[])?;
        records.integrity = records.integrity.max(Some(checked.verdict));
        for report in reports.iter_mut().filter(|report| report.source.id == source) {
            if !checked.is_sound(&report.run) {
                records.unsound.insert((source.clone(), report.run.clone()), report.verdict);
                remove_verdict(report, &checked);
            }
        }
        records.unchained.extend(checked.unchained.into_iter().map(|run| (source.clone(), run)));
        records.findings.extend(checked.findings);
    }
    records.reports = reports;
    Ok(records)
}

/// Removes from a record what it does not prove.
fn remove_verdict(report: &mut Report, checked: &Checked) {
    let why = checked
        .findings
        .iter()
        .find(|finding| finding.file.contains(&report.run))
        .or(checked.findings.first())
        .map_or(String::new(), |finding| format!(": `{}`: {}", finding.file, finding.message));
    report.verdict = Verdict::Unknown;
    report
        .reasons
        .insert(0, format!("this record was changed after it was written, and proves nothing{why}"));
}

/// The record of a run, if unaltered.
pub(crate) fn read_proven_record(vault: &Vault, source: &str, run: &str) -> Result<Option<Report>> {
    let Some(report) = journal::read_record(vault, source, run)? else { return Ok(None) };
    let is_its = report.run == run && report.source.id == source;
    Ok((is_its && verify_evidence::is_record_sound(vault, source, run)?).then_some(report))
}

/// The drill that ended last.
#[derive(Clone, Debug)]
pub(crate) struct ProvenDrill {
    pub run: String,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// Its proven verdict.
    pub verdict: Verdict,
    /// Whether its record is unaltered.
    pub is_sound: bool,
}

/// The last drill of a database, and what it proves: nothing, if its record or the stamp that names it was altered.
pub(crate) fn newest_drill(vault: &Vault, source: &str) -> Result<Option<ProvenDrill>> {
    let Some((run, at, stamped)) = journal::read_last_stamp(vault, source)? else { return Ok(None) };
    let record = read_proven_record(vault, source, &run)?.filter(|record| record.verdict == stamped);
    let is_last = verify_evidence::is_last_stamp_sound(vault, source)?;
    Ok(Some(match record {
        Some(record) if is_last => {
            let at = record.finished_at.unwrap_or(record.started_at);
            ProvenDrill { run, at, verdict: stamped, is_sound: true }
        }
        // Even its time is unknown; a long time ago is the safe guess for monitoring of ages.
        Some(record) => {
            ProvenDrill { run, at: at.min(record.started_at), verdict: Verdict::Unknown, is_sound: false }
        }
        None => ProvenDrill { run, at, verdict: Verdict::Unknown, is_sound: false },
    }))
}
