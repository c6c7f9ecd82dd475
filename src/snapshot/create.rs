//! Taking a snapshot, in steps, so that something can be done just before the request and right after the end:
//! [`plan_snapshot`], [`wait_for_turn`], [`request_snapshot`], [`wait_until_complete`].
//!
//! There is no client token in `CreateDBSnapshot`, so a lost answer is made good by names and tags: a snapshot that
//! carries the run's id, or the pipeline's idempotency key, is the one that was asked for.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{Event, Report, Source, Tell, is_restorable};
use crate::aws::{Aws, Creation, Failure, Fault, LOOKS_UNTIL_GONE, Poll};
use crate::error::{Error, Kind, Result};
use crate::rds::{
    Health, Instance, InstanceId, Place, RunId, Snapshot, SnapshotId, SnapshotStatus, Tags, tag,
};
use crate::retention::{Lifetime, Rules};
use crate::when::format_time;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The instance.
    pub source: InstanceId,
    /// Name of the snapshot, if not the usual one.
    pub id: Option<SnapshotId>,
    /// Retention class.
    pub class: String,
    /// Lifetime, if not that of the class.
    pub expires_after: Option<Lifetime>,
    /// Tags that the user gave.
    pub tags: Tags,
    /// Commit, pipeline run and person, as far as known.
    pub provenance: Tags,
    /// A key under which a repeated job finds the snapshot of its first attempt.
    pub idempotency_key: Option<String>,
    /// How old that snapshot may be: an older one is no point to roll this deployment back to.
    pub idempotency_max_age: Duration,
}

/// A snapshot that can be taken. By value: it cannot be taken twice.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The run that takes it.
    pub run: RunId,
    /// Its name.
    pub id: SnapshotId,
    /// The instance.
    pub source: Instance,
    /// Its class.
    pub class: String,
    /// When it expires.
    pub expires: Option<DateTime<Utc>>,
    /// All its tags.
    pub tags: Tags,
    /// The one that an earlier attempt has taken under the same idempotency key.
    pub existing: Option<Snapshot>,
    /// Worth knowing before it is taken.
    pub notes: Vec<String>,
    /// That an earlier attempt under the same key is too old to be used.
    pub stale: Option<String>,
    key: Option<String>,
    /// Snapshots of the same key that were begun before this are not used.
    not_before: DateTime<Utc>,
}

/// What would be done (`lifeboat.snapshot-plan/1`).
#[derive(Debug, Serialize)]
pub(crate) struct PlanReport {
    schema: &'static str,
    /// Its id.
    pub snapshot_id: String,
    /// Its class.
    pub class: String,
    /// When it will expire.
    pub expires_at: Option<DateTime<Utc>>,
    /// The instance.
    pub source: Source,
    /// Whether one exists already that will be used.
    pub reused: bool,
    /// Its tags.
    pub tags: Tags,
    /// Whether what the database contains is recorded with it.
    pub baseline: bool,
    /// Worth knowing before it is taken.
    pub notes: Vec<String>,
}

impl Plan {
    /// For people and programs.
    pub(crate) fn report(&self, place: &Place, baseline: bool) -> PlanReport {
        PlanReport {
            schema: "lifeboat.snapshot-plan/1",
            snapshot_id: self.existing.as_ref().map_or(&self.id, |found| &found.id).to_string(),
            class: self.class.clone(),
            expires_at: self.expires,
            source: Source {
                id: self.source.id.to_string(),
                resource_id: Some(self.source.resource_id.to_string()),
                place: place.clone(),
            },
            reused: self.existing.is_some(),
            tags: self.tags.clone(),
            baseline,
            notes: self.notes.iter().chain(&self.stale).cloned().collect(),
        }
    }

    /// Whether a snapshot is the one that this plan asks for.
    fn is_ours(&self, found: &Snapshot) -> bool {
        let has = |key: &str, value: Option<&str>| {
            value.is_some() && found.tags.get(key).map(String::as_str) == value
        };
        let same_source = found.resource_id.as_ref().is_none_or(|id| *id == self.source.resource_id);
        let is_recent = begun_at(found).is_some_and(|at| at >= self.not_before);
        same_source
            && (has(tag::RUN, Some(self.run.as_str()))
                || (is_recent && has(tag::IDEMPOTENCY_KEY, self.key.as_deref())))
    }
}

/// When a snapshot was begun: by AWS's word, or, while it is being made, by the run that asked for it.
pub(crate) fn begun_at(snapshot: &Snapshot) -> Option<DateTime<Utc>> {
    let run = || RunId::parse(snapshot.tags.get(tag::RUN)?)?.began();
    snapshot.original_created_at.or_else(run)
}

/// A snapshot that AWS has begun, or that was there already.
#[derive(Debug)]
pub(crate) struct Taken {
    /// As it was when we last looked.
    pub snapshot: Snapshot,
    /// An earlier attempt had made it.
    pub reused: bool,
    began: Instant,
}

impl Taken {
    /// What AWS has begun, asked for at `began`.
    pub(super) fn new(snapshot: Snapshot, reused: bool, began: Instant) -> Self {
        Taken { snapshot, reused, began }
    }

    /// For people and programs.
    pub(crate) fn report(&self, place: &Place) -> Report {
        Report {
            reused: Some(self.reused),
            seconds: is_restorable(&self.snapshot).then(|| self.began.elapsed().as_secs_f64()),
            ..Report::of(&self.snapshot, place)
        }
    }
}

/// Checks what can be known beforehand, and decides name, class, expiry and tags. Reads only.
pub(crate) async fn plan_snapshot(
    aws: &Aws,
    request: Request,
    rules: &Rules,
    now: DateTime<Utc>,
) -> Result<Plan> {
    let rule = rules.of(&request.class)?;
    let source = aws.existing_instance(&request.source).await?;
    refuse_unusable_source(&source)?;
    let earlier = aws.snapshots_of(&source.id).await?;
    let now = aws.now(now);
    let run = RunId::new(now);
    let key = request.idempotency_key.as_deref().map(idempotency_tag);
    let of_key: Vec<&Snapshot> = earlier
        .iter()
        .filter(|snapshot| {
            key.is_some()
                && snapshot.tags.get(tag::IDEMPOTENCY_KEY) == key.as_ref()
                && snapshot.resource_id.as_ref().is_none_or(|id| *id == source.resource_id)
        })
        .collect();
    let max_age = TimeDelta::from_std(request.idempotency_max_age).unwrap_or(TimeDelta::MAX);
    let not_before = now.checked_sub_signed(max_age).unwrap_or(DateTime::<Utc>::MIN_UTC);
    let usable = |it: &&&Snapshot| is_restorable(it) || it.reported_status == SnapshotStatus::Creating;
    let newest = of_key.iter().filter(usable).max_by_key(|it| begun_at(it)).copied();
    let existing = newest.filter(|it| begun_at(it).is_some_and(|at| at >= not_before)).cloned();
    let stale = newest.filter(|_| existing.is_none()).map(|found| describe_stale(found, max_age, now));
    if let (Some(found), Some(stale)) = (newest, &stale)
        && request.id.as_ref() == Some(&found.id)
    {
        return Err(Error::request(format!("snapshot `{}` exists already: {stale}", found.id)).hint(
            "Choose another `--id` and a key of this attempt, such as one that ends in the number of the attempt; or raise \
             `--idempotency-max-age` if you would roll back to it.",
        ));
    }
    let id = match (&request.id, &key) {
        (Some(id), _) => id.clone(),
        (None, key) => default_id(&request.class, &source.id, now, key.as_deref(), of_key.len())?,
    };
    let mut notes = Vec::new();
    if let Some(found) = &existing {
        let class = super::class_of(found).unwrap_or_default();
        if class != request.class {
            notes.push(format!("`{}` was taken under this key with class `{class}`", found.id));
        }
        if request.id.as_ref().is_some_and(|id| *id != found.id) {
            notes.push(format!("the snapshot of this key is called `{}`, not `{id}`", found.id));
        }
    } else if source.settings.multi_az == Some(false) {
        notes.push(
            "I/O of a Single-AZ instance may be suspended for seconds to minutes while AWS takes the snapshot"
                .to_owned(),
        );
    }
    let expires = match request.expires_after {
        // What is asked for beyond the class counts; a class cannot be undercut.
        Some(asked) => asked.end(now).and_then(|asked| Some(asked.max(rule.keep_for.end(now)?))),
        None => rule.keep_for.end(now),
    };
    let tags = snapshot_tags(&request, &source, &run, expires, key.as_deref(), &mut notes)?;
    let stale = stale.map(|stale| format!("a new snapshot is taken: {stale}"));
    Ok(Plan { run, id, source, class: request.class, expires, tags, existing, notes, stale, key, not_before })
}

fn describe_stale(found: &Snapshot, max_age: TimeDelta, now: DateTime<Utc>) -> String {
    let age = begun_at(found).map_or("some time".to_owned(), |at| format_minutes(now - at));
    format!(
        "`{}`, which an earlier attempt took under the same key, is {age} old, more than the {} of `--idempotency-max-age`",
        found.id,
        format_minutes(max_age)
    )
}

/// A span in whole minutes.
fn format_minutes(span: TimeDelta) -> String {
    let whole = Duration::from_secs(u64::try_from(span.num_minutes()).unwrap_or(0) * 60);
    humantime::format_duration(whole).to_string()
}

fn refuse_unusable_source(source: &Instance) -> Result<()> {
    let id = &source.id;
    if let Some(cluster) = &source.cluster {
        return Err(Error::request(format!("`{id}` is a member of DB cluster `{cluster}`")).hint(format!(
            "Its backups are the cluster's: `aws rds create-db-cluster-snapshot --db-cluster-identifier {cluster}`."
        )));
    }
    match source.reported_status.health() {
        Health::Usable | Health::InTransit if source.reported_status.0 != "deleting" => Ok(()),
        Health::Stopped => Err(Error::outside(format!("`{id}` is `{}`", source.reported_status))
            .hint(format!("Start it first: `aws rds start-db-instance --db-instance-identifier {id}`."))),
        _ => Err(Error::outside(format!("`{id}` is `{}`", source.reported_status))
            .hint(source.reported_status.remedy())),
    }
}

/// The usual name. With a key it follows from the key, so that two attempts at the same moment ask for the same.
fn default_id(
    class: &str,
    source: &InstanceId,
    now: DateTime<Utc>,
    key: Option<&str>,
    failed: usize,
) -> Result<SnapshotId> {
    let last = match key {
        None => now.format("%H%M%S").to_string(),
        Some(key) => {
            let digest = Sha256::digest(format!("{source}\0{class}\0{key}\0{failed}"));
            hex::encode(&digest[..4])
        }
    };
    SnapshotId::parse(&format!("{class}-{source}-{}-{last}", now.format("%Y%m%d")))
}

/// The key as AWS takes it in a tag.
fn idempotency_tag(key: &str) -> String {
    if tag::is_allowed(key) && key.chars().count() <= 256 && key.trim() == key {
        key.to_owned()
    } else {
        format!("sha256:{}", hex::encode(Sha256::digest(key)))
    }
}

fn snapshot_tags(
    request: &Request,
    source: &Instance,
    run: &RunId,
    expires: Option<DateTime<Utc>>,
    key: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<Tags> {
    let mut tags = source.settings.to_tags();
    let mut add = |key: &str, value: String| tags.insert(key.to_owned(), value);
    add(tag::PURPOSE, "snapshot".to_owned());
    add(tag::RUN, run.to_string());
    add(tag::SOURCE, source.id.to_string());
    add(tag::CLASS, request.class.clone());
    if let Some(expires) = expires {
        add(tag::EXPIRES, format_time(expires));
    }
    if let Some(key) = key {
        add(tag::IDEMPOTENCY_KEY, key.to_owned());
    }
    tags.extend(request.provenance.clone());
    tags.extend(request.tags.clone());
    if tags.len() > tag::MOST {
        return Err(Error::request(format!("the snapshot would have {} tags", tags.len()))
            .hint(format!("AWS allows {}: leave out some `--tag`.", tag::MOST)));
    }
    // The instance's own tags come along, as AWS itself does it with CopyTagsToSnapshot, as far as there is room.
    if !tag::add_as_room_allows(&mut tags, &tag::foreign(&source.tags)) {
        notes.push(format!("not all tags of `{}` fit beside lifeboat's own on the snapshot", source.id));
    }
    Ok(tags)
}

/// Waits until AWS would take a snapshot: the instance is available, and no other snapshot of it is being made.
pub(crate) async fn wait_for_turn(aws: &Aws, plan: &Plan, poll: Poll, tell: Tell<'_>) -> Result<()> {
    let mut said = String::new();
    let id = &plan.source.id;
    let ended = aws
        .watch(id, poll, |seen| {
            let instance = match seen {
                Ok(Some(instance)) => instance,
                Ok(None) => return Some(Err("it is gone".to_owned())),
                Err(_) => return None,
            };
            let status = instance.reported_status.0.as_str();
            if matches!(status, "available" | "storage-optimization") {
                return Some(Ok(()));
            }
            if status == "deleting"
                || matches!(instance.reported_status.health(), Health::Broken | Health::Stopped)
            {
                return Some(Err(format!("it is `{status}`")));
            }
            if status != said {
                status.clone_into(&mut said);
                tell(Event::Status { what: format!("`{id}`"), status });
                tell(Event::Note(format!("the snapshot can be taken when `{id}` is available")));
            }
            None
        })
        .await?;
    match ended {
        Some(Ok(())) => Ok(()),
        Some(Err(why)) => Err(Error::outside(format!("no snapshot of `{id}` can be taken: {why}"))),
        None => Err(turn_timeout_error(id, &said, poll)),
    }
}

fn turn_timeout_error(id: &InstanceId, status: &str, poll: Poll) -> Error {
    let waited = humantime::format_duration(Duration::from_secs(poll.give_up_after.as_secs()));
    Error::outside(format!("no snapshot of `{id}` was taken: it was still `{status}` after {waited}")).hint(
        "AWS takes one snapshot of an instance at a time: run it again later, or with a longer `--wait`.",
    )
}

/// Asks for the snapshot until AWS has answered, or finds that an earlier attempt has it already.
pub(crate) async fn request_snapshot(aws: &Aws, plan: Plan, poll: Poll, tell: Tell<'_>) -> Result<Taken> {
    let began = Instant::now();
    if let Some(snapshot) = plan.existing {
        return Ok(Taken { snapshot, reused: true, began });
    }
    let note = |text| tell(Event::Note(text));
    let give_up_after = poll.give_up_after.max(Duration::from_secs(60));
    let creation = Creation { what: "snapshot", give_up_after, note: &note };
    let find_ours = async |failure: &Failure| match aws.snapshot(&plan.id).await? {
        Some(found) if !plan.is_ours(&found) => Err(name_taken_error(&plan, &found, failure.clone())),
        found => Ok(found),
    };
    let wait_out = async |failure: &Failure, left: Duration| match failure.fault {
        Fault::WrongState if !left.is_zero() => {
            // Someone else was faster, or the automated backup has just begun.
            note(format!("another snapshot or change is under way: {}", failure.message));
            Poll { every: poll.every.min(left), ..poll }.pause().await;
            wait_for_turn(aws, &plan, Poll { give_up_after: left, ..poll }, tell).await?;
            Ok(true)
        }
        Fault::Quota => Err(quota_error(failure)),
        _ => Ok(false),
    };
    let begin = async || aws.begin_snapshot(&plan.source.id, &plan.id, &plan.tags).await;
    let snapshot = creation.begin_or_adopt(begin, find_ours, wait_out).await?;
    let reused = snapshot.tags.get(tag::RUN).is_some_and(|run| run != plan.run.as_str());
    Ok(Taken { snapshot, reused, began })
}

fn name_taken_error(plan: &Plan, found: &Snapshot, failure: Failure) -> Error {
    let by = found
        .tags
        .get(tag::RUN)
        .map_or("something other than lifeboat".to_owned(), |run| format!("run `{run}`"));
    Error::request(format!("snapshot `{}` exists already: {by} took it of `{}`", plan.id, found.instance))
        .caused_by(failure)
        .hint("Choose another `--id`, or give a repeated job an `--idempotency-key`: it then finds its own snapshot again.")
}

/// What to do when no more manual snapshots are allowed.
pub(super) fn quota_error(failure: &Failure) -> Error {
    Error::from(failure.clone())
        .hint("`lifeboat snapshot prune --dry-run` shows which snapshots have expired; nothing was taken.")
}

/// Waits until the snapshot is available; [`Kind::StillGoing`] if it is not by then.
pub(crate) async fn wait_until_complete(
    aws: &Aws,
    taken: &mut Taken,
    poll: Poll,
    tell: Tell<'_>,
) -> Result<Option<Kind>> {
    let id = taken.snapshot.id.clone();
    let (mut said, mut missing) = ((String::new(), -1), 0);
    let ended = aws
        .watch_snapshot(&id, poll, |look| {
            let snapshot = match look {
                Ok(Some(snapshot)) => snapshot,
                // Describe may lag behind the request.
                Ok(None) if said.0.is_empty() => return None,
                Ok(None) if missing + 1 < LOOKS_UNTIL_GONE => {
                    missing += 1;
                    return None;
                }
                Ok(None) => return Some(Err("it no longer exists".to_owned())),
                Err(failure) => {
                    tell(Event::Note(format!("AWS gave no status: {failure}")));
                    return None;
                }
            };
            missing = 0;
            let status = &snapshot.reported_status;
            let percent = snapshot.percent.unwrap_or(0);
            if status.as_str() != said.0 {
                tell(Event::Status { what: format!("snapshot `{id}`"), status: status.as_str() });
            }
            if percent != said.1 {
                tell(Event::Progress { percent });
            }
            said = (status.to_string(), percent);
            match status {
                SnapshotStatus::Available => Some(Ok(snapshot.clone())),
                SnapshotStatus::Creating | SnapshotStatus::Copying => {
                    taken.snapshot = snapshot.clone();
                    None
                }
                SnapshotStatus::Deleting => Some(Err("it is being deleted".to_owned())),
                _ if status.is_broken() => Some(Err(format!("it ended as `{status}`"))),
                // The list of statuses may grow.
                _ => None,
            }
        })
        .await?;
    match ended {
        Some(Ok(snapshot)) => {
            taken.snapshot = snapshot;
            Ok(None)
        }
        Some(Err(why)) => Err(Error::outside(format!("snapshot `{id}` is no backup: {why}")).hint(
            "Take another one; `aws rds describe-events --source-type db-snapshot` may say why this one failed.",
        )),
        None => Ok(Some(Kind::StillGoing)),
    }
}
