//! What a vault holds, in numbers.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::catalogue::{Catalogue, State};
use super::failures::Failure;
use super::identity::{self, Identity};
use super::manifest::Manifest;
use super::source::DatabaseType;

/// Numbers of a vault (`lifeboat.backup-stats/1`).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Stats {
    /// `lifeboat.backup-stats/1`.
    pub schema: &'static str,
    /// How many backups there are.
    pub count: usize,
    /// Bytes of their files.
    pub total_size_bytes: u64,
    /// Bytes of their content.
    pub total_plain_bytes: u64,
    /// How many are proven good.
    pub verified: usize,
    /// How many are missing, altered or proven bad.
    pub bad: usize,
    /// The oldest.
    pub oldest: Option<DateTime<Utc>>,
    /// The newest.
    pub newest: Option<DateTime<Utc>>,
    /// How many of the last 30 days did not come about.
    pub failed: usize,
    /// By database.
    pub databases: Vec<DatabaseStats>,
}

/// Numbers of one database.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DatabaseStats {
    /// Its name.
    pub database: String,
    /// Its kind.
    pub database_type: DatabaseType,
    /// What tells it from other databases of its name; unknown where only backups failed that did not say.
    pub identity: Option<Identity>,
    /// How many backups there are of it.
    pub count: usize,
    /// Bytes of their files.
    pub total_size_bytes: u64,
    /// When the newest proven one was taken.
    pub last_success: Option<DateTime<Utc>>,
    /// Seconds since then.
    pub last_success_age_seconds: Option<i64>,
    /// How many of the last 30 days did not come about.
    pub failed: usize,
    /// How many did not come about since the newest proven one.
    pub failed_since_success: usize,
    /// When the latest did not come about.
    pub last_failure: Option<DateTime<Utc>>,
    /// Growth of the content per day between the oldest and the newest backup, in bytes.
    pub growth_bytes_per_day: Option<f64>,
    /// Sizes of the content, oldest first: the last 30.
    pub trend: Vec<Point>,
}

/// The size of a database at one moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Point {
    /// When.
    pub at: DateTime<Utc>,
    /// Bytes of the content.
    pub plain_bytes: u64,
    /// Seconds that the backup took.
    pub duration_seconds: f64,
}

/// Counts.
pub(crate) fn compute_stats(catalogue: &Catalogue, failures: &[Failure], now: DateTime<Utc>) -> Stats {
    let manifests = || catalogue.entries.iter().map(|entry| &entry.manifest);
    let is_bad = |manifest: &Manifest| {
        manifest.verification.as_ref().is_some_and(|proof| proof.result == crate::verify::Verdict::Fail)
    };
    Stats {
        schema: "lifeboat.backup-stats/1",
        count: catalogue.entries.len(),
        total_size_bytes: manifests().map(|manifest| manifest.file_size).sum(),
        total_plain_bytes: manifests().map(|manifest| manifest.plain_size).sum(),
        verified: catalogue
            .entries
            .iter()
            .filter(|entry| entry.manifest.is_verified() && entry.state == State::Present)
            .count(),
        bad: catalogue
            .entries
            .iter()
            .filter(|entry| entry.state != State::Present || is_bad(&entry.manifest))
            .count(),
        oldest: manifests().map(|manifest| manifest.timestamp).min(),
        newest: manifests().map(|manifest| manifest.timestamp).max(),
        failed: failures.len(),
        databases: stats_of_databases(catalogue, failures, now),
    }
}

/// One by one, in the order of their names.
fn stats_of_databases(catalogue: &Catalogue, failures: &[Failure], now: DateTime<Utc>) -> Vec<DatabaseStats> {
    let identities: Vec<Identity> =
        catalogue.entries.iter().map(|entry| Identity::of(&entry.manifest)).collect();
    let mut databases = Vec::new();
    for group in identity::group_by_identity(&identities) {
        let backups: Vec<&Manifest> = group.iter().map(|at| &catalogue.entries[*at].manifest).collect();
        let is_its = |failure: &&Failure| group.iter().any(|at| failure.is_of(&identities[*at]));
        let failures: Vec<&Failure> = failures.iter().filter(is_its).collect();
        // The newest is where it is now.
        let identity = &identities[group[0]];
        let named = (identity.database().to_owned(), identity.kind(), Some(identity.clone()));
        databases.push(of_database(named, &backups, &failures, now));
    }
    // A database whose every backup failed must not be missing here.
    let lost: Vec<&Failure> =
        failures.iter().filter(|failure| !identities.iter().any(|it| failure.is_of(it))).collect();
    for (position, failure) in lost.iter().enumerate() {
        let is_same = |other: &&&Failure| match (failure.identity(), other.identity()) {
            (Some(one), Some(another)) => one.is_at_the_place_of(&another),
            _ => (&failure.database, failure.database_type) == (&other.database, other.database_type),
        };
        if !lost[..position].iter().any(|other| is_same(&other)) {
            let failures: Vec<&Failure> = lost.iter().filter(is_same).copied().collect();
            let named = (failure.database.clone(), failure.database_type, failure.identity());
            databases.push(of_database(named, &[], &failures, now));
        }
    }
    databases.sort_by_cached_key(|it| {
        let distinction = it.identity.as_ref().map(Identity::distinction);
        (it.database.clone(), it.database_type, distinction)
    });
    databases
}

/// `backups` are newest first.
fn of_database(
    (database, database_type, identity): (String, DatabaseType, Option<Identity>),
    backups: &[&Manifest],
    failures: &[&Failure],
    now: DateTime<Utc>,
) -> DatabaseStats {
    let point = |manifest: &&Manifest| Point {
        at: manifest.timestamp,
        plain_bytes: manifest.plain_size,
        duration_seconds: manifest.duration,
    };
    let last_success =
        backups.iter().find(|manifest| manifest.is_verified()).map(|manifest| manifest.timestamp);
    DatabaseStats {
        database,
        database_type,
        identity,
        count: backups.len(),
        total_size_bytes: backups.iter().map(|manifest| manifest.file_size).sum(),
        last_success,
        last_success_age_seconds: last_success.map(|then| (now - then).num_seconds()),
        failed: failures.len(),
        failed_since_success: failures
            .iter()
            .filter(|failure| last_success.is_none_or(|success| failure.timestamp > success))
            .count(),
        last_failure: failures.iter().map(|failure| failure.timestamp).max(),
        growth_bytes_per_day: growth_per_day(backups),
        trend: backups.iter().take(30).rev().map(point).collect(),
    }
}

/// Over less than a day, growth per day would be a guess.
fn growth_per_day(backups: &[&Manifest]) -> Option<f64> {
    let (newest, oldest) = (backups.first()?, backups.last()?);
    let days = (newest.timestamp - oldest.timestamp).as_seconds_f64() / 86_400.0;
    (days >= 1.0).then(|| (newest.plain_size as f64 - oldest.plain_size as f64) / days)
}
