//! Copying a snapshot: into another Region, under another key, or out of the reach of automated retention.
//!
//! A copy carries the tags of what it is a copy of, its settings included, with a class and an expiry of its own;
//! both count from when the content was first taken, not from when it was copied.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::time::Instant;

use super::create::{Taken, quota_error};
use super::{Event, Tell, class_of, is_restorable};
use crate::aws::{Aws, CopySnapshot, Creation, Failure, Fault};
use crate::error::{Error, Kind, Result};
use crate::rds::{InstanceId, RunId, Settings, Snapshot, SnapshotId, SnapshotType, Tags, tag};
use crate::retention::Rules;
use crate::when::format_time;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// What to copy.
    pub source: CopySource,
    /// Name of the copy, if not the usual one.
    pub id: Option<SnapshotId>,
    /// Class of the copy; otherwise that of the source.
    pub class: Option<String>,
    /// Key of the copy; otherwise the source's.
    pub kms_key: Option<String>,
}

/// What to copy.
#[derive(Clone, Debug)]
pub(crate) enum CopySource {
    /// A snapshot.
    Snapshot(SnapshotId),
    /// The newest automated snapshot of an instance: its archive of this month.
    NewestAutomated(InstanceId),
}

/// A copy that can be made. By value: it is made once.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What is copied.
    pub source: Snapshot,
    /// Where to.
    pub region: String,
    /// Name of the copy.
    pub id: SnapshotId,
    /// Its class.
    pub class: String,
    /// When it expires.
    pub expires: Option<DateTime<Utc>>,
    /// An earlier attempt has made it.
    pub existing: Option<Snapshot>,
    request: CopySnapshot,
}

/// What would be copied (`lifeboat.snapshot-copy-plan/1`).
#[derive(Debug, Serialize)]
pub(crate) struct PlanReport {
    schema: &'static str,
    /// Id of the copy.
    pub snapshot_id: String,
    /// Where it will be.
    pub region: String,
    /// ARN of what is copied.
    pub copied_from: String,
    /// Class of the copy.
    pub class: String,
    /// When it will expire.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether it is there already.
    pub reused: bool,
    /// The key that it would be encrypted with, if one is named; otherwise that of its source.
    pub kms_key: Option<String>,
    /// Whether it would be encrypted.
    pub encrypted: bool,
}

impl Plan {
    /// For people and programs.
    pub(crate) fn report(&self) -> PlanReport {
        PlanReport {
            schema: "lifeboat.snapshot-copy-plan/1",
            snapshot_id: self.id.to_string(),
            region: self.region.clone(),
            copied_from: self.source.arn.clone(),
            class: self.class.clone(),
            expires_at: self.expires,
            reused: self.existing.is_some(),
            kms_key: self.request.kms_key.clone(),
            encrypted: self.source.encrypted || self.request.kms_key.is_some(),
        }
    }
}

/// Checks what can be known beforehand. `here` is where the source is, `there` where the copy will be. Reads only.
pub(crate) async fn plan_copy(
    here: &Aws,
    there: &Aws,
    request: &Request,
    rules: &Rules,
    now: DateTime<Utc>,
) -> Result<Plan> {
    let (source, mut tags) = find_source(here, request).await?;
    super::require_available(&source)?;
    let is_elsewhere = here.region() != there.region();
    if is_elsewhere && source.encrypted && request.kms_key.is_none() {
        return Err(Error::request(format!(
            "snapshot `{}` is encrypted, and its key is not valid in {}",
            source.id,
            there.region()
        ))
        .hint(format!("Name a key of {} with `--kms-key`: AWS encrypts the copy with it.", there.region())));
    }
    let is_archive = matches!(request.source, CopySource::NewestAutomated(_));
    let usual = if is_archive { "monthly-archive" } else { "pre-migration" };
    let class = request.class.clone().or_else(|| class_of(&source).map(str::to_owned));
    let class = class.unwrap_or_else(|| usual.to_owned());
    let taken = source.original_created_at.unwrap_or(here.now(now));
    let expires = rules.of(&class)?.keep_for.end(taken);
    let id = match &request.id {
        Some(id) => id.clone(),
        None if is_archive => {
            SnapshotId::parse(&format!("{class}-{}-{}", source.instance, taken.format("%Y%m")))?
        }
        None => default_copy_id(&source.id, is_elsewhere)?,
    };
    if !is_elsewhere && id == source.id {
        return Err(
            Error::request(format!("snapshot `{id}` cannot be its own copy")).hint("Choose another `--id`.")
        );
    }
    let run = RunId::new(here.now(now));
    tags.remove(tag::IDEMPOTENCY_KEY);
    tags.remove(tag::EXPIRES);
    for (key, value) in [
        (tag::PURPOSE, "snapshot".to_owned()),
        (tag::RUN, run.to_string()),
        (tag::SOURCE, source.instance.clone()),
        (tag::CLASS, class.clone()),
        (tag::COPIED_FROM, source.arn.clone()),
    ] {
        tags.insert(key.to_owned(), value);
    }
    if let Some(expires) = expires {
        tags.insert(tag::EXPIRES.to_owned(), format_time(expires));
    }
    while tags.len() > tag::MOST {
        let Some(key) = tag::foreign(&tags).into_keys().next_back() else { break };
        tags.remove(&key);
    }
    let existing = find_existing_copy(there, &id, &source, is_archive).await?;
    let source_id = if is_elsewhere { source.arn.clone() } else { source.id.to_string() };
    let request = CopySnapshot {
        source: source_id,
        source_region: here.region().to_owned(),
        id: id.clone(),
        kms_key: request.kms_key.clone(),
        is_encrypted: source.encrypted,
        tags,
    };
    Ok(Plan { source, region: there.region().to_owned(), id, class, expires, existing, request })
}

/// The source, and the tags that its copy begins with.
async fn find_source(here: &Aws, request: &Request) -> Result<(Snapshot, Tags)> {
    match &request.source {
        CopySource::Snapshot(id) => {
            let source = super::existing_snapshot(here, id).await?;
            let mut tags = source.tags.clone();
            tags.retain(|key, _| !key.starts_with("aws:") && !key.starts_with("rds:"));
            // An automated snapshot knows little of its instance, which is most often still there.
            if Settings::from_tags(&tags).is_none()
                && let Ok(instance) = InstanceId::parse(&source.instance)
                && let Some(instance) = here.instance(&instance).await?
                && Some(&instance.resource_id) == source.resource_id.as_ref()
            {
                tags.extend(instance.settings.to_tags());
            }
            Ok((source, tags))
        }
        CopySource::NewestAutomated(id) => {
            let instance = here.existing_instance(id).await?;
            let newest = here
                .snapshots_of(id)
                .await?
                .into_iter()
                .filter(|it| it.snapshot_type == SnapshotType::Automated && is_restorable(it))
                .filter(|it| it.resource_id.as_ref() == Some(&instance.resource_id))
                .max_by_key(Snapshot::moment);
            let newest = newest.ok_or_else(|| {
                let hint = match instance.retention_days {
                    0 => format!("Automated backups are off: `lifeboat policy set {id} --retention-days 7`."),
                    _ => "Its first automated backup is still being made: run it again when that is done."
                        .to_owned(),
                };
                Error::request(format!("`{id}` has no automated snapshot to archive")).hint(hint)
            })?;
            let mut tags = tag::foreign(&instance.tags);
            tags.extend(instance.settings.to_tags());
            Ok((newest, tags))
        }
    }
}

/// The name of a copy: that of its source in another Region; automated ones have a colon, which ours must not.
fn default_copy_id(source: &SnapshotId, is_elsewhere: bool) -> Result<SnapshotId> {
    let text = source.as_str().rsplit(':').next().unwrap_or_default();
    let is_named_by_us = !source.as_str().contains(':');
    match (is_elsewhere, is_named_by_us) {
        (true, true) => Ok(source.clone()),
        _ => SnapshotId::parse(&format!("{text}-copy")),
    }
}

/// The snapshot that has the name already, if it is a copy of the same source (or the archive of the same month).
async fn find_existing_copy(
    there: &Aws,
    id: &SnapshotId,
    source: &Snapshot,
    is_archive: bool,
) -> Result<Option<Snapshot>> {
    let Some(found) = there.snapshot(id).await? else { return Ok(None) };
    let is_copy = found.tags.get(tag::COPIED_FROM) == Some(&source.arn)
        || found.copied_from.as_ref() == Some(&source.arn);
    let is_archive = is_archive && class_of(&found).is_some() && found.resource_id == source.resource_id;
    let is_sound = is_restorable(&found) || found.is_being_made();
    if (is_copy || is_archive) && is_sound {
        return Ok(Some(found));
    }
    Err(Error::request(format!(
        "snapshot `{id}` exists already in {}, and is no copy of `{}`",
        there.region(),
        source.id
    ))
    .hint("Choose another name for the copy with `--id`."))
}

/// Asks for the copy until AWS has answered.
pub(crate) async fn request_copy(there: &Aws, plan: Plan, tell: Tell<'_>) -> Result<Taken> {
    let began = Instant::now();
    if let Some(snapshot) = plan.existing {
        return Ok(Taken::new(snapshot, true, began));
    }
    let note = |text| tell(Event::Note(text));
    let creation = Creation { what: "copy", give_up_after: Duration::from_secs(180), note: &note };
    let find_ours = async |failure: &Failure| match there.snapshot(&plan.id).await? {
        Some(found) if found.tags.get(tag::COPIED_FROM) != Some(&plan.source.arn) => {
            Err(Error::from(failure.clone()).hint("Choose another `--id`."))
        }
        found => Ok(found),
    };
    let wait_out = async |failure: &Failure, _: Duration| match failure.fault {
        Fault::Quota => Err(quota_error(failure)),
        _ => Ok(false),
    };
    let begin = async || there.begin_copy(&plan.request).await;
    let snapshot = creation.begin_or_adopt(begin, find_ours, wait_out).await?;
    Ok(Taken::new(snapshot, false, began))
}

/// What an interrupt before AWS's answer leaves open.
pub(crate) fn interrupted_error(kind: Kind, id: &SnapshotId) -> Error {
    Error::new(kind, "interrupted before AWS had answered")
        .hint(format!("`lifeboat snapshot show {id}` shows whether the copy was begun."))
}
