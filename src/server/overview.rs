//! Whether the data is safe, as the dashboard, `/api/status` and `/metrics` tell it: each database with its newest copy, when
//! that was proven, objectives, and findings with their remedies. Of DB instances in AWS, what `status` finds, looked at once
//! a minute.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::app::App;
use super::banner::{Banner, Gap, Health, banner};
use super::drills::{self, Drills};
use super::instances::Instances;
use super::jobs::{Job, State as JobState, Task};
use super::setup::{BackupTarget, Objectives};
use crate::backup::catalogue::{self, Catalogue, Entry, State};
use crate::backup::failures::{self, Failure};
use crate::backup::identity::{self, Identity};
use crate::backup::schedule::quote_for_shell;
use crate::backup::stats::{self, DatabaseStats};
use crate::backup::{BackupName, DatabaseType, Level};
use crate::error::Result;
use crate::policy::check::{Finding, Shared, group_findings};
use crate::rds::Place;
use crate::status::of_last_drill;
use crate::verify::Verdict;

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
    /// Its display name: its name, and what distinguishes it from others of that name.
    pub(super) label: String,
    pub(super) database_type: Option<DatabaseType>,
    /// Distinguishes it from other databases of its name.
    pub(super) identity: Option<Identity>,
    /// The name to request a backup by, if it can be backed up from here.
    #[serde(skip)]
    pub(super) target: Option<BackupTarget>,
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

/// A finding, its databases, and their account and Region, if several are checked.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Located {
    pub(super) place: Option<String>,
    #[serde(flatten)]
    pub(super) shared: Shared,
}

/// A database known only by its drills.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Drilled {
    pub(super) label: String,
    pub(super) health: Health,
    pub(super) findings: Vec<Finding>,
}

/// All of it (`lifeboat.overview/1`).
#[derive(Clone, Debug, Serialize)]
pub(super) struct Overview {
    schema: &'static str,
    success: bool,
    pub(super) timestamp: DateTime<Utc>,
    pub(super) health: Health,
    pub(super) banner: Banner,
    /// The findings of all of them, each once, with one command for its databases.
    pub(super) findings: Vec<Located>,
    pub(super) databases: Vec<Database>,
    /// Databases that were drilled, and of which AWS is not asked here.
    pub(super) drilled: Vec<Drilled>,
    pub(super) instances: Instances,
    /// Manifests that cannot be read.
    pub(super) damaged: Vec<String>,
    pub(super) free_bytes: Option<u64>,
    pub(super) jobs_running: usize,
}

/// Reads the vault.
pub(super) fn read_overview(app: &App) -> Result<Overview> {
    let catalogue = catalogue::read(&app.setup.vault)?;
    let failures = failures::read(&app.setup.vault)?;
    let drills = drills::read(&app.setup.vault)?;
    Ok(of(app, &catalogue, &failures, &drills))
}

/// Judges what a vault holds.
pub(super) fn of(app: &App, catalogue: &Catalogue, failures: &[Failure], drills: &Drills) -> Overview {
    let now = (app.setup.clock)();
    let stats = stats::compute_stats(catalogue, failures, now);
    let mut databases: Vec<Database> =
        stats.databases.iter().map(|it| judge_database(app, it, catalogue, failures, now)).collect();
    for target in &app.targets {
        let is_it = |database: &Database| database.target.as_ref().is_some_and(|it| it.name == target.name);
        if !databases.iter().any(is_it) {
            databases.push(without_backups(app, target));
        }
    }
    label_databases(&mut databases);
    databases.sort_by_key(|database| (database.health, database.label.clone()));
    let instances = app.instances.lock().clone();
    let drilled = drilled_elsewhere(drills, &instances, now);
    let banner = {
        let of_vault = databases.iter().map(|it| (it.label.clone(), it.health));
        let of_aws = instances.all().map(|it| (instances.label(it), Health::of(&it.findings)));
        let of_drills = drilled.iter().map(|it| (it.label.clone(), it.health));
        let all: Vec<(String, Health)> = of_vault.chain(of_aws).chain(of_drills).collect();
        banner(all.iter().map(|(name, health)| (name.as_str(), *health)), &list_gaps(catalogue, &instances))
    };
    Overview {
        schema: "lifeboat.overview/1",
        success: true,
        timestamp: now,
        health: banner.health,
        banner,
        findings: shared_findings(&databases, &instances, &drilled),
        databases,
        drilled,
        instances,
        damaged: catalogue.damaged.clone(),
        free_bytes: app.setup.vault.free_bytes(),
        jobs_running: app.jobs.running(),
    }
}

/// What could not be checked.
fn list_gaps(catalogue: &Catalogue, instances: &Instances) -> Vec<Gap> {
    let fault = |words: String| Gap { words, is_fault: true };
    let mut gaps = Vec::new();
    match catalogue.damaged.len() {
        0 => {}
        1 => gaps.push(fault("1 manifest in the vault cannot be read".to_owned())),
        count => gaps.push(fault(format!("{count} manifests in the vault cannot be read"))),
    }
    match (&instances.error, &instances.report) {
        (Some(_), Some(_)) => gaps.push(fault("AWS could not be reached: old data shown".to_owned())),
        (Some(_), None) => gaps.push(fault("AWS could not be reached".to_owned())),
        (None, None) if instances.is_watched => {
            gaps.push(Gap { words: "DB instances are being checked".to_owned(), is_fault: false });
        }
        _ => {}
    }
    for one in instances.report.iter().flat_map(|report| &report.unreached) {
        gaps.push(fault(format!("{} could not be checked", one.place)));
    }
    gaps
}

/// Gives each database its display name.
fn label_databases(databases: &mut [Database]) {
    let known: Vec<Identity> = databases.iter().filter_map(|it| it.identity.clone()).collect();
    let mut names = identity::name_databases(&known).into_iter();
    for database in databases {
        database.label = match &database.identity {
            Some(_) => names.next().unwrap_or_default(),
            None => database.database.clone(),
        };
    }
}

/// Databases whose drills are known and whose findings AWS has not given.
fn drilled_elsewhere(drills: &Drills, instances: &Instances, now: DateTime<Utc>) -> Vec<Drilled> {
    // If AWS is checked, it says which of the drilled databases still exist.
    if instances.report.is_some() {
        return Vec::new();
    }
    let judged = drills.by_database().filter_map(|(label, of_it)| {
        let last = of_it.iter().find(|drill| drill.is_over())?.as_last();
        let findings: Vec<Finding> =
            of_last_drill(&of_it.first()?.report.source.id, Some(&last), now).into_iter().collect();
        Some(Drilled { label, health: Health::of(&findings), findings })
    });
    judged.collect()
}

/// Each finding once: those of the vault, and those of each account and Region, the worst first.
fn shared_findings(databases: &[Database], instances: &Instances, drilled: &[Drilled]) -> Vec<Located> {
    let of_vault = databases.iter().map(|it| (it.label.as_str(), it.findings.as_slice()));
    let of_drills = drilled.iter().map(|it| (it.label.as_str(), it.findings.as_slice()));
    let here = |shared: Shared| Located { place: None, shared };
    let mut told: Vec<Located> = group_findings(of_vault.chain(of_drills)).into_iter().map(here).collect();
    let places: BTreeSet<&Place> = instances.all().map(|it| &it.place).collect();
    for place in places {
        let of_place = instances.all().filter(|it| it.place == *place);
        let shared = group_findings(of_place.map(|it| (it.id.as_str(), it.findings.as_slice())));
        let shown = Some(place.to_string()).filter(|_| instances.is_over_several());
        told.extend(shared.into_iter().map(|shared| Located { place: shown.clone(), shared }));
    }
    told.sort_by_key(|it| (it.shared.finding.severity, std::cmp::Reverse(it.shared.databases.len())));
    told
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

/// A database that can be backed up from here and never was.
fn without_backups(app: &App, target: &BackupTarget) -> Database {
    let known = target.identity.as_ref();
    let name = target.name.as_deref().or(known.map(Identity::database)).unwrap_or_default();
    let words = "it has no backup";
    let finding = Finding::critical("no_backup", words, create_command(Some(target)));
    let empty = blank(name, known.map(Identity::kind), app.setup.objectives_of(name));
    Database {
        health: Health::AtRisk,
        identity: known.cloned(),
        target: Some(target.clone()),
        findings: vec![finding],
        ..empty
    }
}

/// A database of which nothing is known yet.
fn blank(name: &str, kind: Option<DatabaseType>, objectives: Objectives) -> Database {
    Database {
        database: name.to_owned(),
        label: name.to_owned(),
        database_type: kind,
        identity: None,
        target: None,
        health: Health::Unknown,
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
        findings: Vec::new(),
    }
}

/// The command that backs a database up, as it runs where this server runs.
fn create_command(target: Option<&BackupTarget>) -> String {
    match target {
        Some(BackupTarget { name: Some(name), .. }) => {
            format!("lifeboat backup create {}", quote_for_shell(name))
        }
        // DATABASE_URL names it.
        Some(BackupTarget { name: None, .. }) => "lifeboat backup create".to_owned(),
        None => "lifeboat backup create --url URL".to_owned(),
    }
}

fn judge_database(
    app: &App,
    stats: &DatabaseStats,
    catalogue: &Catalogue,
    failures: &[Failure],
    now: DateTime<Utc>,
) -> Database {
    let is_its = |identity: &Identity| stats.identity.as_ref().is_some_and(|own| own.is_same_as(identity));
    let entries: Vec<&Entry> =
        catalogue.entries.iter().filter(|entry| is_its(&Identity::of(&entry.manifest))).collect();
    let good: Vec<&&Entry> = entries
        .iter()
        .filter(|entry| entry.state == State::Present && entry.manifest.is_verified())
        .collect();
    let is_restored = |entry: &&&&Entry| {
        entry.manifest.verification.as_ref().is_some_and(|proof| proof.level == Level::Restore)
    };
    let newest_proven = good.first().map(|entry| copy(entry, now));
    let objectives = app.setup.objectives_of(&stats.database);
    let measured = newest_proven.as_ref().map(|copy| copy.age_seconds as f64);
    let is_of_it = |job: &Job| match (&job.identity, &job.backup_name) {
        (Some(identity), _) => stats.identity.as_ref().is_some_and(|own| own.distinction() == *identity),
        // An older record lacks it: the backup says which database it was.
        (None, Some(name)) => entries.iter().any(|entry| entry.manifest.backup_name.as_str() == name),
        (None, None) => false,
    };
    let restore = app
        .jobs
        .list()
        .into_iter()
        .find(|job| job.task == Task::Restore && job.state == JobState::Succeeded && is_of_it(job));
    let mut database = Database {
        backups: stats.count,
        total_size_bytes: stats.total_size_bytes,
        identity: stats.identity.clone(),
        target: target_of(app, stats),
        newest: entries.first().map(|entry| copy(entry, now)),
        newest_restored: good.iter().find(is_restored).map(|entry| copy(entry, now)),
        newest_proven,
        rpo_measured_seconds: measured,
        rto_measured_seconds: restore.and_then(|job| job.result?["duration"].as_f64()),
        growth_bytes_per_day: stats.growth_bytes_per_day,
        trend: stats.trend.clone(),
        ..blank(&stats.database, Some(stats.database_type), objectives)
    };
    database.findings = findings(&database, stats, &entries, failures, objectives.rpo.as_secs_f64());
    database.health = Health::of(&database.findings);
    database
}

/// As what a database can be backed up from here: it is the one that a request reaches, not one of the same name.
fn target_of(app: &App, stats: &DatabaseStats) -> Option<BackupTarget> {
    let is_it = |target: &&BackupTarget| match (&target.identity, &stats.identity) {
        (Some(one), Some(other)) => one.is_at_the_place_of(other),
        (None, _) | (_, None) => target.name.as_deref() == Some(stats.database.as_str()),
    };
    app.targets.iter().find(is_it).cloned()
}

fn findings(
    database: &Database,
    stats: &DatabaseStats,
    entries: &[&Entry],
    failures: &[Failure],
    rpo: f64,
) -> Vec<Finding> {
    let create = create_command(database.target.as_ref());
    let mut findings = Vec::new();
    match database.rpo_measured_seconds {
        None => findings.push(Finding::critical("no_good_backup", "it has no proven backup", &create)),
        Some(age) if age > rpo => findings.push(Finding::critical(
            "rpo_missed",
            "its newest proven backup is older than the recovery point objective",
            &create,
        )),
        Some(_) => {}
    }
    if stats.failed_since_success > 0 {
        let is_its = |failure: &&Failure| match &stats.identity {
            Some(identity) => failure.is_of(identity),
            None => (&failure.database, failure.database_type) == (&stats.database, stats.database_type),
        };
        let why = failures.iter().find(is_its).map_or(String::new(), |it| format!(": {}", it.error));
        let words = match stats.failed_since_success {
            1 => format!("the last backup failed{why}"),
            count => format!("the last {count} backups failed{why}"),
        };
        // Its severity is that of its consequence.
        findings.push(match findings.is_empty() {
            true => Finding::warning("backups_fail", words, create),
            false => Finding::critical("backups_fail", words, create),
        });
    }
    let bad: Vec<&BackupName> = entries
        .iter()
        .filter(|entry| {
            let proof = entry.manifest.verification.as_ref();
            entry.state != State::Present || proof.is_some_and(|proof| proof.result == Verdict::Fail)
        })
        .map(|entry| &entry.manifest.backup_name)
        .collect();
    match bad.as_slice() {
        [] => {}
        [backup] => findings.push(Finding::warning(
            "bad_backup",
            format!("backup `{backup}` is missing, altered or damaged"),
            format!("lifeboat backup show {backup}"),
        )),
        [first, ..] => findings.push(Finding::warning(
            "bad_backup",
            format!("{} backups are missing, altered or damaged, the newest of them `{first}`", bad.len()),
            "lifeboat backup list",
        )),
    }
    if let (Some(newest), None) = (&database.newest_proven, &database.newest_restored) {
        findings.push(Finding::warning(
            "never_restored",
            "none of its backups has ever been proven by a restore",
            format!("lifeboat backup verify {} --level restore", newest.backup_name),
        ));
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}
