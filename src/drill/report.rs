//! Every drill of a period in one document, for auditors: what was proven and when, what failed and what
//! was done about it, who signed it off, and whether the record is unaltered.

mod page;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::annotate::{self, Note};
use super::calendar::{self, Calendar, Drilled, Existing, Period};
use super::database::label_databases;
use super::evidence::Report;
use super::headline::{self, Evidence, Headline};
use super::outcome::Outcome;
use super::verify_evidence::{self, Verdict as Integrity};
use super::{chain, proof};
use crate::error::Result;
use crate::vault::Vault;
use crate::vault::chain::sha256;

pub(crate) use page::render_report;

/// Name and version of the document.
pub(crate) const SCHEMA: &str = "lifeboat.drill-report/1";

/// Who prepares the report, and with which version.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Author {
    /// A user of this machine.
    pub by: String,
    /// The machine.
    pub host: String,
    /// Version of lifeboat.
    pub version: String,
}

/// Drills of a period, counted.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Totals {
    pub drills: usize,
    /// Those that passed.
    pub passed: usize,
    /// Those that failed.
    pub failed: usize,
    /// Those that gave no answer.
    pub unknown: usize,
    /// Failed or without an answer, and without a note on what was done.
    pub unanswered: usize,
    /// Signed off by a reviewer.
    pub signed_off: usize,
}

/// A later drill of the same database that passed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Later {
    pub run: String,
    /// When it began.
    pub at: DateTime<Utc>,
}

/// Hashes of what was recorded.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Hashes {
    /// SHA-256 of `evidence.json`.
    pub evidence_sha256: Option<String>,
    /// SHA-256 of `evidence.html`; a drill that died has no page.
    pub page_sha256: Option<String>,
    /// Its link in the chain of its source.
    pub link: Option<u64>,
    /// Whether both are unaltered.
    pub verdict: Integrity,
}

/// A drill.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    /// The outcome.
    pub outcome: Outcome,
    /// What its database is called here: with account and Region, if another one has its name.
    #[serde(skip)]
    pub(super) label: String,
    /// Its record.
    pub drill: Report,
    /// Whether the record is unaltered.
    pub integrity: Hashes,
    /// Its notes, oldest first.
    pub notes: Vec<Note>,
    /// The next drill of the same database that passed, after one that did not.
    pub passed_again: Option<Later>,
}

impl Entry {
    /// Whether it proved the backup.
    pub(crate) fn has_passed(&self) -> bool {
        self.outcome == Outcome::Pass
    }

    /// What was done about it.
    pub(crate) fn follow_ups(&self) -> impl Iterator<Item = &Note> {
        self.notes.iter().filter(|note| note.reviewer.is_none())
    }

    /// Who has signed it off.
    pub(crate) fn sign_offs(&self) -> impl Iterator<Item = &Note> {
        self.notes.iter().filter(|note| note.reviewer.is_some())
    }
}

/// The document.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DrillReport {
    /// `lifeboat.drill-report/1`.
    pub schema: &'static str,
    /// When it was prepared.
    pub at: DateTime<Utc>,
    pub author: Author,
    pub vault: String,
    /// How many drills there were.
    pub totals: Totals,
    /// Databases by months, with the period.
    #[serde(flatten)]
    pub calendar: Calendar,
    /// The drills, oldest first.
    pub drills: Vec<Entry>,
    /// Whether the record is unaltered.
    pub integrity: verify_evidence::Report,
    /// Records that could not be read, and why.
    pub unreadable: Vec<String>,
}

/// All drills: the records, their outcomes, and records that cannot be read.
pub(crate) struct History {
    /// Newest first.
    pub reports: Vec<(Report, Outcome)>,
    /// Why others cannot be read.
    pub unreadable: Vec<String>,
    /// What was altered.
    pub findings: Vec<verify_evidence::Finding>,
    /// Whether something was changed since it was recorded.
    pub is_altered: bool,
    /// Sources and runs that no chain protected when they were recorded.
    unchained: BTreeSet<(String, String)>,
}

impl History {
    /// Reads it; `only` some databases, or all.
    pub(crate) fn read(vault: &Vault, only: &[String]) -> Result<Self> {
        let mut records = proof::read_records(vault, only)?;
        let (findings, is_altered) = (std::mem::take(&mut records.findings), records.is_altered());
        let reports = std::mem::take(&mut records.reports).into_iter().map(|report| {
            let outcome = records.outcome_of(vault, &report)?;
            Ok((report, outcome))
        });
        let reports = reports.collect::<Result<_>>()?;
        let unchained = std::mem::take(&mut records.unchained);
        Ok(History { reports, unreadable: records.damaged, findings, is_altered, unchained })
    }

    /// How many drills of a period no chain protected when they were recorded, by database.
    pub(crate) fn count_unchained(&self, period: Period) -> BTreeMap<String, usize> {
        let mut unchained = BTreeMap::new();
        for (report, _) in self.reports.iter().filter(|(report, _)| period.contains(report.started_at)) {
            let key = (report.source.id.clone(), report.run.clone());
            if self.unchained.contains(&key) {
                *unchained.entry(key.0).or_default() += 1;
            }
        }
        unchained
    }

    /// Databases by months.
    pub(crate) fn calendar_of(&self, period: Period, existing: Existing, now: DateTime<Utc>) -> Calendar {
        let drilled = self.reports.iter().map(|(report, outcome)| Drilled {
            source: report.database_key(),
            run: report.run.clone(),
            at: report.started_at,
            outcome: *outcome,
        });
        calendar::draw_up_calendar(period, &drilled.collect::<Vec<_>>(), existing, now)
    }
}

/// Prepares the report.
pub(crate) fn draw_up(
    vault: &Vault,
    only: &[String],
    (period, existing): (Period, Existing),
    author: Author,
    now: DateTime<Utc>,
) -> Result<DrillReport> {
    let history = History::read(vault, only)?;
    let recorded = vault.list("drills")?.folders;
    let sources: Vec<String> = only.iter().filter(|source| recorded.contains(source)).cloned().collect();
    let integrity = if only.is_empty() || !sources.is_empty() {
        verify_evidence::verify_evidence(vault, &sources, &[], now)?
    } else {
        verify_evidence::Report::of_sources(Vec::new(), vault, now)
    };
    let calendar = history.calendar_of(period, existing, now);
    let mut unreadable = history.unreadable.clone();
    let labels = label_databases(&history.reports.iter().map(|(report, _)| report.database_key()).collect());
    let mut drills = Vec::new();
    for (report, outcome) in
        history.reports.iter().rev().filter(|(report, _)| period.contains(report.started_at))
    {
        let (notes, damaged) = annotate::notes_of(vault, &report.source.id, &report.run)?;
        unreadable.extend(damaged);
        let later = history.reports.iter().rev().find(|(other, word)| {
            other.database_key().may_be(&report.database_key())
                && other.started_at > report.started_at
                && *word == Outcome::Pass
        });
        drills.push(Entry {
            outcome: *outcome,
            label: labels[&report.database_key()].clone(),
            integrity: compare_hashes(vault, report, &integrity)?,
            drill: report.clone(),
            notes,
            passed_again: later
                .filter(|_| *outcome != Outcome::Pass)
                .map(|(other, _)| Later { run: other.run.clone(), at: other.started_at }),
        });
    }
    let totals = count_outcomes(&drills);
    Ok(DrillReport {
        schema: SCHEMA,
        at: now,
        author,
        vault: vault.shown(""),
        totals,
        calendar,
        drills,
        integrity,
        unreadable,
    })
}

fn count_outcomes(drills: &[Entry]) -> Totals {
    let having = |wanted: &dyn Fn(&Entry) -> bool| drills.iter().filter(|entry| wanted(entry)).count();
    Totals {
        drills: drills.len(),
        passed: having(&Entry::has_passed),
        failed: having(&|entry| entry.outcome == Outcome::Fail),
        unknown: having(&|entry| entry.outcome.is_shortfall() && entry.outcome != Outcome::Fail),
        unanswered: having(&|entry| entry.outcome.is_shortfall() && entry.follow_ups().next().is_none()),
        signed_off: having(&|entry| entry.sign_offs().next().is_some()),
    }
}

fn compare_hashes(vault: &Vault, report: &Report, integrity: &verify_evidence::Report) -> Result<Hashes> {
    let folder = format!("{}/{}", chain::source_folder(&report.source.id), report.run);
    let hash = |name: &str| -> Result<Option<String>> {
        Ok(vault.read(&format!("{folder}/{name}"))?.map(|content| sha256(&content)))
    };
    let of_source = integrity.sources.iter().find(|source| source.source == report.source.id);
    let place = vault.shown(&folder);
    let verdict = match of_source {
        None => Integrity::Unknown,
        Some(source) => {
            let own: Vec<_> =
                source.findings.iter().filter(|finding| finding.file.starts_with(&place)).collect();
            match own.is_empty() {
                true if source.unchained.contains(&report.run) => Integrity::Unchained,
                // Faults of the chain itself are reported for the chain.
                true => Integrity::Intact,
                false if own.iter().all(|finding| finding.fault == verify_evidence::Fault::Unreadable) => {
                    Integrity::Unknown
                }
                false => Integrity::Altered,
            }
        }
    };
    Ok(Hashes {
        evidence_sha256: hash("evidence.json")?,
        page_sha256: hash("evidence.html")?,
        link: report.chain.as_ref().map(|place| place.seq),
        verdict,
    })
}

/// What the drills of a database measured against its objectives.
pub(super) struct Measured {
    pub(super) source: String,
    pub(super) drills: usize,
    pub(super) rto: Against,
    pub(super) rpo: Against,
}

/// Values against an objective: the worst counts.
#[derive(Clone, Copy, Default)]
pub(super) struct Against {
    pub(super) objective: f64,
    pub(super) worst: Option<f64>,
    pub(super) median: Option<f64>,
}

impl DrillReport {
    /// The overall result.
    pub(crate) fn headline(&self) -> Headline {
        let is_unreadable = self.integrity.verdict == Integrity::Unknown || !self.unreadable.is_empty();
        let is_altered = self.integrity.verdict == Integrity::Altered;
        let is_unchained = self.drills.iter().any(|entry| entry.integrity.verdict == Integrity::Unchained);
        headline::summarize_calendar(&self.calendar, Evidence { is_altered, is_unreadable, is_unchained })
    }

    /// Per database, the drills that measured anything.
    pub(super) fn measured_objectives(&self) -> Vec<Measured> {
        let mut of: BTreeMap<&str, Vec<&Report>> = BTreeMap::new();
        for entry in &self.drills {
            of.entry(&entry.label).or_default().push(&entry.drill);
        }
        let measured = of.into_iter().map(|(source, drills)| Measured {
            source: source.to_owned(),
            drills: drills.len(),
            rto: summarize_measurements(
                drills.iter().map(|drill| (drill.rto.measured_seconds, drill.rto.objective_seconds)),
            ),
            rpo: summarize_measurements(
                drills.iter().map(|drill| (drill.rpo.measured_seconds, drill.rpo.objective_seconds)),
            ),
        });
        measured.collect()
    }
}

fn summarize_measurements(values: impl Iterator<Item = (Option<f64>, f64)>) -> Against {
    let (mut measured, mut objective) = (Vec::new(), 0.0);
    for (value, goal) in values {
        measured.extend(value);
        // The objective may have changed: the newest is shown, and each drill shows its own.
        objective = goal;
    }
    measured.sort_by(f64::total_cmp);
    Against { objective, worst: measured.last().copied(), median: measured.get(measured.len() / 2).copied() }
}
