//! The metrics that alarms about backups watch: ages of backups and drills, published in the namespace `Lifeboat`.
//!
//! A gauge of age rather than a counter of successes: it carries the number, gives lead time, and keeps rising when nothing
//! happens. Unknown values are not published, so that their absence raises the alarm.

use std::io::Write as _;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::kinds::{COPY_AGE, HEARTBEAT, OWN};
use crate::aws::Aws;
use crate::error::{Error, Result};
use crate::rds::{InstanceId, Measurement};

/// The last restore drill of a database.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LastDrill {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// Whether it passed.
    pub passed: bool,
    /// Time from the request to the validated copy, if it got that far.
    pub rto_seconds: Option<f64>,
}

/// How well a database is backed up, as far as is known.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Health {
    /// The DB instance.
    pub database: String,
    /// When the newest backup that could be restored was taken.
    pub newest_backup: Option<DateTime<Utc>>,
    /// The newest moment that it can be restored to.
    pub latest_restorable: Option<DateTime<Utc>>,
    /// When the data in the newest copy elsewhere was taken.
    pub newest_copy: Option<DateTime<Utc>>,
    pub last_drill: Option<LastDrill>,
}

/// The measurements of a database at `now`.
pub(crate) fn measurements(health: &Health, now: DateTime<Utc>) -> Vec<Measurement> {
    // A clock that is a little behind AWS's must not make an age negative.
    let age = |at: DateTime<Utc>| (now - at).max(TimeDelta::zero()).as_seconds_f64();
    let drill = health.last_drill.as_ref();
    let values = [
        ("SnapshotAgeSeconds", "Seconds", health.newest_backup.map(age)),
        ("RestorePointLagSeconds", "Seconds", health.latest_restorable.map(age)),
        (COPY_AGE, "Seconds", health.newest_copy.map(age)),
        ("LastDrillAgeSeconds", "Seconds", drill.map(|drill| age(drill.at))),
        ("LastDrillPassed", "None", drill.map(|drill| f64::from(u8::from(drill.passed)))),
        ("LastDrillRtoSeconds", "Seconds", drill.and_then(|drill| drill.rto_seconds)),
        (HEARTBEAT, "Count", Some(1.0)),
    ];
    let known = values.into_iter().filter_map(|(metric, unit, value)| Some((metric, unit, value?)));
    known
        .map(|(metric, unit, value)| Measurement { database: health.database.clone(), metric, unit, value })
        .collect()
}

/// When the data in the newest copy of an instance's snapshots was taken, in the Region where copies are kept: a copy of an
/// old one is old.
pub(crate) async fn newest_copy(elsewhere: &Aws, database: &InstanceId) -> Result<Option<DateTime<Utc>>> {
    let copies = elsewhere.snapshots_of(database).await?;
    let usable = copies.iter().filter(|copy| copy.is_available());
    Ok(usable.filter_map(|copy| copy.original_created_at).max())
}

/// Puts measurements into CloudWatch.
pub(crate) async fn publish(aws: &Aws, measurements: &[Measurement]) -> Result<()> {
    Ok(aws.publish(OWN, measurements).await?)
}

/// Writes a file for node_exporter's textfile collector: replaced atomically.
pub(crate) fn write_textfile(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    let failed = |error: std::io::Error| {
        Error::outside(format!("`{}` could not be written", path.display())).caused_by(error)
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    // The collector runs as another user.
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn health() -> Health {
        Health {
            database: "orders".into(),
            newest_backup: Some(now() - TimeDelta::hours(27)),
            latest_restorable: Some(now() - TimeDelta::minutes(5)),
            newest_copy: None,
            last_drill: None,
        }
    }

    #[test]
    fn what_is_not_known_is_not_published() {
        let names: Vec<_> =
            measurements(&health(), now()).into_iter().map(|one| (one.metric, one.value)).collect();
        assert_eq!(
            names,
            [("SnapshotAgeSeconds", 97_200.0), ("RestorePointLagSeconds", 300.0), ("MonitorRun", 1.0)]
        );
    }

    #[test]
    fn an_age_is_never_negative() {
        let young = Health { newest_backup: Some(now() + TimeDelta::minutes(1)), ..health() };
        assert_eq!(measurements(&young, now())[0].value, 0.0);
    }
}
