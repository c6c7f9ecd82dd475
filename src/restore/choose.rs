//! What the user asked to go back to, and the backup that brings it back.

use chrono::{DateTime, TimeZone, Utc};
use serde::{Deserialize, Serialize};

use crate::aws::Aws;
use crate::error::{Error, Result};
use crate::rds::{Instance, Snapshot, SnapshotId, SnapshotType};
use crate::snapshot::{existing_snapshot, require_available};
use crate::when::{self, format_time};

/// What the user asked to go back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The newest snapshot of any origin: automated, manual, AWS Backup.
    LatestSnapshot,
    /// The newest automated snapshot.
    LatestAutomated,
    /// The newest manual snapshot.
    LatestManual,
    /// The latest restorable time.
    Latest,
    /// A snapshot by id.
    Snapshot(SnapshotId),
    /// A moment.
    Time(DateTime<Utc>),
}

impl Wanted {
    /// Reads what the user asked for; `now` and `zone` are theirs.
    pub(crate) fn parse<Z: TimeZone>(text: &str, now: DateTime<Utc>, zone: &Z) -> Result<Self>
    where
        Z::Offset: std::fmt::Display,
    {
        match text {
            "latest-snapshot" => Ok(Wanted::LatestSnapshot),
            "latest-automated" => Ok(Wanted::LatestAutomated),
            "latest-manual" => Ok(Wanted::LatestManual),
            "latest" => Ok(Wanted::Latest),
            time if when::looks_like_a_time(time) => when::parse_time(time, now, zone).map(Wanted::Time),
            id => SnapshotId::parse(id).map(Wanted::Snapshot),
        }
    }

    /// Whether the user chose the very backup, so that its age says nothing about the routine.
    pub(crate) fn is_by_hand(&self) -> bool {
        matches!(self, Wanted::Snapshot(_) | Wanted::Time(_))
    }
}

/// How a backup brings back its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    /// By restoring a snapshot.
    Snapshot,
    /// By replaying the transaction log up to a time.
    PointInTime,
}

/// A backup that exists, and the moment that it brings back.
#[derive(Clone, Debug)]
pub(crate) enum Chosen {
    /// A snapshot.
    Snapshot(Box<Snapshot>),
    /// The automated backups, up to a moment inside their window.
    Time(DateTime<Utc>),
    /// The automated backups, up to a moment that is yet to come: the drill observes the source first.
    Now {
        /// The newest moment that could be restored when this was chosen.
        latest: DateTime<Utc>,
    },
}

impl Chosen {
    /// The version of PostgreSQL that a copy runs.
    pub(crate) fn engine_version<'a>(&'a self, source: &'a Instance) -> &'a str {
        match self {
            Chosen::Snapshot(snapshot) => &snapshot.engine_version,
            Chosen::Time(_) | Chosen::Now { .. } => &source.engine_version,
        }
    }
}

/// Finds the backup that brings back what is wanted, or says why there is none.
pub(crate) async fn choose_backup(aws: &Aws, source: &Instance, wanted: &Wanted) -> Result<Chosen> {
    match wanted {
        Wanted::Snapshot(id) => named_snapshot(aws, source, id).await,
        Wanted::LatestSnapshot => newest_snapshot(aws, source, None).await,
        Wanted::LatestAutomated => newest_snapshot(aws, source, Some(SnapshotType::Automated)).await,
        Wanted::LatestManual => newest_snapshot(aws, source, Some(SnapshotType::Manual)).await,
        Wanted::Latest => {
            let (_, latest) = window(aws, source).await?;
            Ok(Chosen::Now { latest })
        }
        Wanted::Time(at) => {
            let (earliest, latest) = window(aws, source).await?;
            if *at < earliest || *at > latest {
                return Err(Error::request(format!(
                    "`{}` cannot be restored to {}",
                    source.id,
                    format_time(*at)
                ))
                .hint(format!(
                    "Choose a time from {} to {}.",
                    format_time(earliest),
                    format_time(latest)
                )));
            }
            Ok(Chosen::Time(*at))
        }
    }
}

async fn named_snapshot(aws: &Aws, source: &Instance, id: &SnapshotId) -> Result<Chosen> {
    let snapshot = existing_snapshot(aws, id).await?;
    require_available(&snapshot)?;
    if snapshot.instance != source.id.as_str() {
        return Err(Error::request(format!(
            "snapshot `{id}` is of instance `{}`, not of `{}`",
            snapshot.instance, source.id
        ))
        .hint(format!("Run the drill on `{}`, or choose another snapshot.", snapshot.instance)));
    }
    Ok(Chosen::Snapshot(Box::new(snapshot)))
}

async fn newest_snapshot(aws: &Aws, source: &Instance, kind: Option<SnapshotType>) -> Result<Chosen> {
    let of_kind = |snapshot: &Snapshot| kind.as_ref().is_none_or(|kind| snapshot.snapshot_type == *kind);
    // An earlier instance may have had this name: its snapshots are not backups of the one that is there now.
    let of_source =
        |snapshot: &Snapshot| snapshot.resource_id.as_ref().is_none_or(|id| *id == source.resource_id);
    let snapshots = aws.backups_of(&source.id).await?;
    let newest = snapshots
        .into_iter()
        .filter(|snapshot| of_kind(snapshot) && of_source(snapshot) && snapshot.is_available())
        .max_by_key(Snapshot::moment);
    match newest {
        Some(snapshot) => Ok(Chosen::Snapshot(Box::new(snapshot))),
        None => {
            let kind = kind.map(|kind| format!("{kind} ")).unwrap_or_default();
            let id = &source.id;
            let hint = if source.retention_days == 0 {
                format!(
                    "Automated backups are off: turn them on with `lifeboat policy set {id} --retention-days 7`, or take a \
                     snapshot with `lifeboat snapshot create {id}`."
                )
            } else {
                format!("Take one with `lifeboat snapshot create {id}`, or wait for the next backup window.")
            };
            Err(Error::request(format!("`{}` has no {kind}snapshot that is available", source.id)).hint(hint))
        }
    }
}

/// The earliest and latest moment that an instance can be restored to.
async fn window(aws: &Aws, source: &Instance) -> Result<(DateTime<Utc>, DateTime<Utc>)> {
    if source.retention_days == 0 {
        return Err(Error::request(format!(
            "automated backups of `{}` are off, so there is no moment to restore to",
            source.id
        ))
        .hint(
            format!(
                "Turn them on with `lifeboat policy set {} --retention-days 7`, or drill from a snapshot with `--from latest-snapshot`.",
                source.id
            ),
        ));
    }
    let window = aws.restore_window(&source.resource_id).await?;
    let latest = window.as_ref().and_then(|window| window.latest).or(source.latest_restorable);
    match (window.and_then(|window| window.earliest), latest) {
        (Some(earliest), Some(latest)) => Ok((earliest, latest)),
        _ => Err(no_window_error(source.id.as_str())),
    }
}

pub(super) fn no_window_error(name: &str) -> Error {
    Error::request(format!("`{name}` has no restorable window yet"))
        .hint("Its first automated backup is still being made: run it again when that is done.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_read_as_people_say_it() {
        let now: DateTime<Utc> = "2026-11-21T15:05:00Z".parse().unwrap();
        let read = |text: &str| Wanted::parse(text, now, &Utc);
        assert_eq!(read("latest").unwrap(), Wanted::Latest);
        for time in ["2026-11-21T15:45:00+01:00", "20 minutes ago", "14:45", "2026-11-21 14:45 UTC"] {
            let Wanted::Time(at) = read(time).unwrap() else { panic!("{time} is not a time") };
            assert_eq!(format_time(at), "2026-11-21T14:45:00Z");
        }
        assert!(matches!(read("rds:orders-2026-11-20-03-07").unwrap(), Wanted::Snapshot(_)));
        for wrong in ["2026-11-21", "yesterday", "yesterday!", "", "25:00"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
