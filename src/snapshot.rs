//! Snapshots: take, list, copy, prune, delete.
//!
//! Owns the manual snapshots that carry our class tag, from the request to the removal. It refuses to touch any
//! other, and it never deletes the newest good one of a database. It writes nothing to disk; what must be known
//! after the source is gone (class, expiry, settings for a restore) is written into the snapshot's own tags.
//!
//! ```text
//! create     plan, wait for one's turn, request (and adopt what a lost answer hid), wait until it is available
//! copy       into another Region, under another key, out of the reach of automated retention
//! prune      what has outlived its class
//! delete     one snapshot that someone named
//! adopt      one that was made without lifeboat
//! ```

pub(crate) mod adopt;
pub(crate) mod baseline;
pub(crate) mod copy;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod prune;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::aws::Aws;
use crate::error::{Error, Result};
use crate::rds::{InstanceId, Place, Settings, Snapshot, SnapshotId, SnapshotStatus, SnapshotType, tag};
use crate::retention::{Proof, Proofs, Subject};

/// What taking, copying and deleting a snapshot reports while it runs.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// Something has another status than before.
    Status {
        /// What.
        what: String,
        /// Its status.
        status: &'a str,
    },
    /// How far it has come.
    Progress {
        /// In percent.
        percent: i32,
    },
    /// Worth knowing.
    Note(String),
}

/// What drills have found out about a snapshot.
fn proof_of(snapshot: &Snapshot, region: &str, proofs: &Proofs) -> Proof {
    let (Some(resource), Some(moment)) = (&snapshot.resource_id, snapshot.moment()) else {
        return Proof::Unknown;
    };
    proofs.of(Subject { snapshot: snapshot.id.as_str(), resource_id: &resource.0, region, moment })
}

/// Where events go.
pub(crate) type Tell<'a> = &'a (dyn Fn(Event<'_>) + Sync);

/// A snapshot as reports show it (`lifeboat.snapshot/1`).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// The name of this form.
    pub schema: &'static str,
    /// Its id.
    pub snapshot_id: String,
    /// Its ARN.
    pub arn: String,
    /// What AWS says of it.
    pub status: SnapshotStatus,
    /// When it was taken; absent while it is being made.
    pub created_at: Option<DateTime<Utc>>,
    /// Its retention class, if it is one of ours.
    pub class: Option<String>,
    /// When `prune` may remove it, as far as was said when it was made; absent if never.
    pub expires_at: Option<DateTime<Utc>>,
    /// What brings it back.
    pub rollback_command: String,
    /// The instance that it is of.
    pub source: Source,
    /// `manual`, `automated`, …
    pub snapshot_type: SnapshotType,
    /// The last transaction that it holds.
    pub database_time: Option<DateTime<Utc>>,
    /// How far its making has come.
    pub percent: Option<i32>,
    /// Engine and version.
    pub engine: String,
    /// Engine version.
    pub engine_version: String,
    /// Allocated storage.
    pub storage_gib: i32,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// With which key.
    pub kms_key: Option<String>,
    /// The snapshot that it is a copy of.
    pub copied_from: Option<String>,
    /// SHA-256 of the baseline that was recorded with it, if one was.
    pub baseline_sha256: Option<String>,
    /// Whether an existing snapshot was used in place of a new one: an earlier attempt had made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reused: Option<bool>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// The settings of its instance that were saved with it.
    pub settings: Option<Settings>,
    /// Its tags, without those that hold the settings.
    pub tags: BTreeMap<String, String>,
}

/// The instance that a snapshot is of.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Source {
    /// By name.
    pub id: String,
    /// By immutable id.
    pub resource_id: Option<String>,
    /// Where the snapshot is.
    #[serde(flatten)]
    pub place: Place,
}

impl Report {
    /// A snapshot in a place.
    pub(crate) fn of(snapshot: &Snapshot, place: &Place) -> Self {
        let is_settings = |key: &str| key.starts_with(crate::rds::SETTINGS_TAG);
        Report {
            schema: "lifeboat.snapshot/1",
            snapshot_id: snapshot.id.to_string(),
            arn: snapshot.arn.clone(),
            status: snapshot.reported_status.clone(),
            created_at: snapshot.original_created_at,
            class: class_of(snapshot).map(str::to_owned),
            expires_at: expiry_of(snapshot),
            rollback_command: rollback_command(snapshot, place),
            source: Source {
                id: snapshot.instance.clone(),
                resource_id: snapshot.resource_id.as_ref().map(ToString::to_string),
                place: place.clone(),
            },
            snapshot_type: snapshot.snapshot_type.clone(),
            database_time: snapshot.database_time,
            percent: snapshot.percent,
            engine: snapshot.engine.clone(),
            engine_version: snapshot.engine_version.clone(),
            storage_gib: snapshot.storage_gib,
            encrypted: snapshot.encrypted,
            kms_key: snapshot.kms_key.clone(),
            copied_from: snapshot.copied_from.clone(),
            baseline_sha256: snapshot.tags.get(tag::BASELINE).cloned(),
            reused: None,
            seconds: None,
            settings: Settings::from_tags(&snapshot.tags),
            tags: snapshot
                .tags
                .iter()
                .filter(|(key, _)| !is_settings(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        }
    }
}

/// The snapshot of that id, or what to say when there is none.
pub(crate) async fn existing_snapshot(aws: &Aws, id: &SnapshotId) -> Result<Snapshot> {
    aws.snapshot(id).await?.ok_or_else(|| {
        Error::request(format!("snapshot `{id}` does not exist in {}", aws.region()))
            .hint("`lifeboat snapshot list` lists those that do; choose another Region with `--region`.")
    })
}

/// Its retention class, if it carries one.
pub(crate) fn class_of(snapshot: &Snapshot) -> Option<&str> {
    snapshot.tags.get(tag::CLASS).map(String::as_str)
}

/// When it expires, as far as was said when it was made.
pub(crate) fn expiry_of(snapshot: &Snapshot) -> Option<DateTime<Utc>> {
    let text = snapshot.tags.get(tag::EXPIRES)?;
    Some(DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc))
}

/// Refuses a snapshot that cannot be restored or copied now.
pub(crate) fn require_available(snapshot: &Snapshot) -> Result<()> {
    if is_restorable(snapshot) {
        return Ok(());
    }
    Err(Error::outside(format!("snapshot `{}` is `{}`", snapshot.id, snapshot.reported_status))
        .hint("Run it again when the snapshot is available."))
}

/// Whether one can restore from it.
pub(crate) fn is_restorable(snapshot: &Snapshot) -> bool {
    snapshot.is_available()
}

/// The command that brings a snapshot back, beside the instance that it is of.
fn rollback_command(snapshot: &Snapshot, place: &Place) -> String {
    let name: String = snapshot.instance.chars().take(63 - "-rollback".len()).collect();
    let target = format!("{}-rollback", name.trim_end_matches('-'));
    let target = InstanceId::parse(&target).map_or("NEW".to_owned(), |id| id.to_string());
    format!("lifeboat restore snapshot {} --to {target} {}", snapshot.id, place.flags())
}
