//! Whether the data is safe, as the dashboard, `/api/status` and `/metrics` tell it: each database with its newest copy, when
//! that was proven, objectives, and findings with their remedies. Of DB instances in AWS, what `status` finds, looked at once
//! a minute.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::App;
use super::jobs::{State as JobState, Task};
use crate::backup::catalogue::{self, Catalogue, Entry, State};
use crate::backup::failures::{self, Failure};
use crate::backup::schedule::shell_word;
use crate::backup::stats::{self, DatabaseStats};
use crate::backup::{DatabaseType, Level};
use crate::error::Result;
use crate::policy::check::{Finding, Severity};
use crate::runbook::record;
use crate::runbook::report::Report as RunReport;
use crate::status::Report;

/// How often AWS is asked, and how long it may take.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(45);

/// Whether all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Health {
    /// No finding is critical, and none warns.
    Safe,
    /// Something should be mended.
    Attention,
    /// Data is at risk.
    AtRisk,
    /// There is nothing to judge.
    Unknown,
}

/// One backup, in short.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Copy {
    pub(super) backup_name: String,
    pub(super) timestamp: DateTime<Utc>,
    pub(super) age_seconds: u64,
    pub(super) level: Option<Level>,
    pub(super) proven_at: Option<DateTime<Utc>>,
}

/// A database that this server backs up, or has backups of.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Database {
    pub(super) database: String,
    pub(super) database_type: Option<DatabaseType>,
    pub(super) health: Health,
    pub(super) backups: usize,
    pub(super) total_size_bytes: u64,
    pub(super) newest: Option<Copy>,
    /// The newest that is proven and whose file is there.
    pub(super) newest_proven: Option<Copy>,
    /// The newest that was proven by a restore.
    pub(super) newest_restored: Option<Copy>,
    pub(super) rpo_objective_seconds: f64,
    pub(super) rpo_measured_seconds: Option<f64>,
    pub(super) rto_objective_seconds: Option<f64>,
    /// How long the last restore took.
    pub(super) rto_measured_seconds: Option<f64>,
    pub(super) growth_bytes_per_day: Option<f64>,
    pub(super) trend: Vec<stats::Point>,
    pub(super) findings: Vec<Finding>,
}

/// What AWS says, or why it is not known.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Instances {
    /// Whether a Region is settled at all.
    pub(super) is_watched: bool,
    #[serde(serialize_with = "shared")]
    pub(super) report: Option<Arc<Report>>,
    pub(super) looked_at: Option<DateTime<Utc>>,
    pub(super) error: Option<String>,
}

fn shared<S: serde::Serializer>(
    report: &Option<Arc<Report>>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    report.as_deref().serialize(serializer)
}

/// All of it (`lifeboat.overview/1`).
#[derive(Clone, Debug, Serialize)]
pub(super) struct Overview {
    schema: &'static str,
    success: bool,
    pub(super) timestamp: DateTime<Utc>,
    pub(super) health: Health,
    pub(super) databases: Vec<Database>,
    pub(super) instances: Instances,
    /// Manifests that cannot be read.
    pub(super) damaged: Vec<String>,
    pub(super) free_bytes: Option<u64>,
    pub(super) jobs_running: usize,
}

/// What was last seen of AWS.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Instances>);

/// Looks at AWS from now on, where a Region is settled.
pub(super) fn watch(app: &Arc<App>) {
    let Some(look) = app.orders.fleet.clone() else { return };
    let app = Arc::clone(app);
    app.fleet.0.lock().unwrap_or_else(PoisonError::into_inner).is_watched = true;
    tokio::spawn(async move {
        loop {
            let looked = tokio::time::timeout(PATIENCE, look()).await;
            let error = match looked {
                Ok(Ok(report)) => {
                    let seen = Instances {
                        is_watched: true,
                        report: Some(Arc::new(report)),
                        looked_at: Some((app.orders.clock)()),
                        error: None,
                    };
                    *app.fleet.0.lock().unwrap_or_else(PoisonError::into_inner) = seen;
                    None
                }
                Ok(Err(error)) => Some(crate::output::redacted(&error.chain())),
                Err(_) => Some("AWS does not answer".to_owned()),
            };
            if error.is_some() {
                app.fleet.0.lock().unwrap_or_else(PoisonError::into_inner).error = error;
            }
            tokio::select! {
                () = tokio::time::sleep(BETWEEN_LOOKS) => {}
                _ = app.interrupt.wait(1) => return,
            }
        }
    });
}

/// Looks at the vault.
pub(super) fn look(app: &App) -> Result<Overview> {
    let catalogue = catalogue::read(&app.vault)?;
    let failures = failures::read(&app.vault)?;
    Ok(of(app, &catalogue, &failures))
}

/// Judges what a vault holds.
pub(super) fn of(app: &App, catalogue: &Catalogue, failures: &[Failure]) -> Overview {
    let now = (app.orders.clock)();
    let stats = stats::stats(catalogue, failures, now);
    let mut databases: Vec<Database> =
        stats.databases.iter().map(|it| judge(app, it, catalogue, failures, now)).collect();
    for name in &app.orders.databases {
        if !databases.iter().any(|database| database.database == *name) {
            databases.push(without_backups(app, name));
        }
    }
    databases.sort_by_key(|database| (rank(database.health), database.database.clone()));
    let instances = app.fleet.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut healths: Vec<Health> = databases.iter().map(|database| database.health).collect();
    for instance in instances.report.iter().flat_map(|report| &report.databases) {
        healths.push(health(&instance.findings));
    }
    if !catalogue.damaged.is_empty() || instances.error.is_some() {
        healths.push(Health::Attention);
    }
    Overview {
        schema: "lifeboat.overview/1",
        success: true,
        timestamp: now,
        health: healths.into_iter().min_by_key(|health| rank(*health)).unwrap_or(Health::Unknown),
        databases,
        instances,
        damaged: catalogue.damaged.clone(),
        free_bytes: free_bytes(app),
        jobs_running: app.jobs.running(),
    }
}

/// The worst first.
const fn rank(health: Health) -> u8 {
    match health {
        Health::AtRisk => 0,
        Health::Attention => 1,
        Health::Unknown => 2,
        Health::Safe => 3,
    }
}

pub(super) fn health(findings: &[Finding]) -> Health {
    match findings.iter().map(|finding| finding.severity).min() {
        None => Health::Safe,
        Some(Severity::Critical) => Health::AtRisk,
        Some(Severity::Warning) => Health::Attention,
    }
}

fn copy(entry: &Entry, now: DateTime<Utc>) -> Copy {
    let manifest = &entry.manifest;
    let proof = manifest.verification.as_ref().filter(|_| manifest.is_verified());
    Copy {
        backup_name: manifest.backup_name.to_string(),
        timestamp: manifest.timestamp,
        age_seconds: catalogue::age_seconds(manifest, now),
        level: proof.map(|proof| proof.level),
        proven_at: proof.map(|proof| proof.at),
    }
}

fn without_backups(app: &App, name: &str) -> Database {
    let objectives = (app.orders.objectives)(name);
    let words = "there is no backup of it: if it were lost now, it would be lost for good";
    let finding =
        Finding::critical("no_backup", words, format!("lifeboat backup create {}", shell_word(name)));
    Database {
        database: name.to_owned(),
        database_type: None,
        health: Health::AtRisk,
        backups: 0,
        total_size_bytes: 0,
        newest: None,
        newest_proven: None,
        newest_restored: None,
        rpo_objective_seconds: objectives.rpo.as_secs_f64(),
        rpo_measured_seconds: None,
        rto_objective_seconds: objectives.rto.map(|rto| rto.as_secs_f64()),
        rto_measured_seconds: None,
        growth_bytes_per_day: None,
        trend: Vec::new(),
        findings: vec![finding],
    }
}

fn judge(
    app: &App,
    stats: &DatabaseStats,
    catalogue: &Catalogue,
    failures: &[Failure],
    now: DateTime<Utc>,
) -> Database {
    let of_it = |entry: &&Entry| {
        entry.manifest.source.database == stats.database
            && entry.manifest.database_type == stats.database_type
    };
    let entries: Vec<&Entry> = catalogue.entries.iter().filter(of_it).collect();
    let good: Vec<&&Entry> = entries
        .iter()
        .filter(|entry| entry.state == State::Present && entry.manifest.is_verified())
        .collect();
    let is_restored = |entry: &&&&Entry| {
        entry.manifest.verification.as_ref().is_some_and(|proof| proof.level == Level::Restore)
    };
    let newest_proven = good.first().map(|entry| copy(entry, now));
    let objectives = (app.orders.objectives)(&stats.database);
    let measured = newest_proven.as_ref().map(|copy| copy.age_seconds as f64);
    let restores = app.jobs.list().into_iter().find(|job| {
        job.task == Task::Restore
            && job.state == JobState::Succeeded
            && job.database.as_deref() == Some(stats.database.as_str())
    });
    let mut database = Database {
        backups: stats.count,
        total_size_bytes: stats.total_size_bytes,
        database_type: Some(stats.database_type),
        newest: entries.first().map(|entry| copy(entry, now)),
        newest_restored: good.iter().find(is_restored).map(|entry| copy(entry, now)),
        newest_proven,
        rpo_measured_seconds: measured,
        rto_measured_seconds: restores.and_then(|job| job.result?["duration"].as_f64()),
        growth_bytes_per_day: stats.growth_bytes_per_day,
        trend: stats.trend.clone(),
        findings: Vec::new(),
        ..without_backups(app, &stats.database)
    };
    database.findings = findings(&database, stats, &entries, failures, objectives.rpo.as_secs_f64());
    database.health = health(&database.findings);
    database
}

fn findings(
    database: &Database,
    stats: &DatabaseStats,
    entries: &[&Entry],
    failures: &[Failure],
    rpo: f64,
) -> Vec<Finding> {
    let name = &stats.database;
    let create = format!("lifeboat backup create {}", shell_word(name));
    let mut findings = Vec::new();
    match database.rpo_measured_seconds {
        None => findings.push(Finding::critical(
            "no_good_backup",
            "there is no backup of it that is proven good",
            &create,
        )),
        Some(age) if age > rpo => findings.push(Finding::critical(
            "rpo_missed",
            "its newest proven backup is older than the recovery point objective",
            &create,
        )),
        Some(_) => {}
    }
    if stats.failed_since_success > 0 {
        let latest = failures.iter().find(|failure| failure.database == *name);
        let why = latest.map_or(String::new(), |failure| format!(": {}", failure.error));
        let words = match stats.failed_since_success {
            1 => format!("the last backup failed{why}"),
            count => format!("the last {count} backups failed{why}"),
        };
        findings.push(Finding::warning("backups_fail", words, create));
    }
    for entry in entries {
        let backup = &entry.manifest.backup_name;
        let is_bad = entry
            .manifest
            .verification
            .as_ref()
            .is_some_and(|proof| proof.result == crate::verify::Verdict::Fail);
        if entry.state != State::Present || is_bad {
            let words = format!("backup `{backup}` is missing, altered or damaged");
            findings.push(Finding::warning("bad_backup", words, format!("lifeboat backup show {backup}")));
        }
    }
    if let (Some(newest), None) = (&database.newest_proven, &database.newest_restored) {
        findings.push(Finding::warning(
            "never_restored",
            "none of its backups was ever proven by a restore",
            format!("lifeboat backup verify {} --level restore", newest.backup_name),
        ));
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Runs of runbooks, newest first, those that are going on among them; and what is wrong with those that cannot be read.
pub(super) fn runs(app: &App) -> Result<(Vec<RunReport>, Vec<String>)> {
    record::all(&app.vault)
}

/// What is free where the vault is, if that is a disk of this machine.
pub(super) fn free_bytes(app: &App) -> Option<u64> {
    let found = rustix::fs::statvfs(app.vault.directory()?).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// By database, the newest drill of each and the time of its last pass.
pub(super) fn newest_drills(
    drills: &[crate::drill::report::Report],
) -> BTreeMap<&str, (&crate::drill::report::Report, Option<DateTime<Utc>>)> {
    let mut newest: BTreeMap<&str, (&crate::drill::report::Report, Option<DateTime<Utc>>)> = BTreeMap::new();
    for drill in drills {
        let entry = newest.entry(drill.source.id.as_str()).or_insert((drill, None));
        if drill.verdict == crate::verify::Verdict::Pass && entry.1.is_none() {
            entry.1 = drill.finished_at;
        }
    }
    newest
}
