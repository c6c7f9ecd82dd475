//! How instances are backed up: read, checked against `lifeboat.toml`, changed.
//!
//! Owns retention, backup window, copying of tags and deletion protection. Every value that AWS would refuse is refused
//! here first. It never lowers the retention unless the instance's name is repeated, since AWS deletes automated
//! backups with that, and it never applies other queued changes unless asked to explicitly.

pub(crate) mod check;
mod settings;
mod state;
pub(crate) mod window;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use tokio::time::Instant;

use crate::aws::{Aws, BackupChange, Poll, retry_while_wrong_state};
use crate::error::{Error, Kind, Result};
use crate::rds::{Health, Instance, InstanceId, Place, SnapshotType, Unreached};
use crate::settings::PerDatabase;
use crate::when::format_time;

use check::Finding;
pub(crate) use settings::PolicySettings;
pub(crate) use state::State;
use window::Window;

/// Policies of instances (`lifeboat.policy/1`).
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The schema of this document.
    pub schema: &'static str,
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    pub databases: Vec<Database>,
    /// Accounts and Regions that could not be reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreached: Vec<Unreached>,
}

impl Report {
    /// Of these.
    pub(crate) fn new(databases: Vec<Database>, unreached: Vec<Unreached>, dry_run: bool) -> Self {
        Report { schema: "lifeboat.policy/1", dry_run, databases, unreached }
    }
}

/// The policy of one instance.
#[derive(Debug, Serialize)]
pub(crate) struct Database {
    pub id: String,
    #[serde(flatten)]
    pub place: Place,
    /// As it is, or was before the change.
    pub before: State,
    /// As it is after the change, or would be; the same as before where nothing changes.
    pub after: State,
    /// What the change does besides, and what is special about the instance.
    pub notes: Vec<String>,
    /// What AWS deletes when the retention is lowered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
    /// Where it falls short.
    pub findings: Vec<Finding>,
}

/// What is lost when the backup retention is lowered or set to 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Lost {
    /// The earliest moment that can be restored now.
    pub earliest: Option<DateTime<Utc>>,
    /// The earliest moment that can be restored afterwards; absent if none can.
    pub earliest_afterwards: Option<DateTime<Utc>>,
    /// The automated snapshots that AWS deletes, the oldest first.
    pub snapshots: Vec<String>,
}

impl Lost {
    /// The loss, as a sentence.
    pub(crate) fn sentence(&self) -> String {
        let snapshots = match self.snapshots.as_slice() {
            [] => String::new(),
            [one] => format!(", and snapshot `{one}`"),
            [first, .., last] => {
                format!(", and {} automated snapshots, `{first}` to `{last}`", self.snapshots.len())
            }
        };
        match (self.earliest, self.earliest_afterwards) {
            (None, _) if self.snapshots.is_empty() => "there are no automated backups yet".to_owned(),
            (None, _) => snapshots.trim_start_matches(", and ").to_owned(),
            (Some(earliest), None) => format!("every moment from {} on{snapshots}", format_time(earliest)),
            (Some(earliest), Some(after)) if earliest >= after && self.snapshots.is_empty() => {
                format!("nothing yet: the earliest restorable time is {}", format_time(earliest))
            }
            (Some(earliest), Some(after)) => {
                format!(
                    "every moment from {} to {}{snapshots}",
                    format_time(earliest),
                    format_time(after.max(earliest))
                )
            }
        }
    }
}

/// What is to be changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// Days that automated backups are kept, 0 to 35.
    pub retention_days: Option<i32>,
    /// Days that automated backups are kept at least: this raises the retention, and never lowers it.
    pub least_retention_days: Option<i32>,
    pub backup_window: Option<String>,
    /// Whether tags are copied to snapshots.
    pub copy_tags_to_snapshot: Option<bool>,
    /// Whether AWS refuses to delete it.
    pub deletion_protection: Option<bool>,
    /// Whether queued changes may be applied with it.
    pub apply_pending: bool,
}

impl Request {
    /// What lifeboat.toml asks for, where nothing is asked for on the command line.
    pub(crate) fn or_configured(self, configured: PolicySettings) -> Self {
        let is_given = self.retention_days.is_some()
            || self.backup_window.is_some()
            || self.copy_tags_to_snapshot.is_some()
            || self.deletion_protection.is_some();
        if is_given {
            return self;
        }
        Request {
            least_retention_days: configured.retention_days.or(Some(7)),
            backup_window: configured.backup_window.map(|window| window.to_string()),
            copy_tags_to_snapshot: configured.copy_tags,
            deletion_protection: configured.deletion_protection,
            ..self
        }
    }
}

/// The instances that are named, or all of the Region but throwaways.
async fn list_instances(aws: &Aws, only: &[InstanceId]) -> Result<Vec<Instance>> {
    if only.is_empty() {
        let mut all = aws.instances().await?;
        all.retain(|instance| !instance.is_throwaway());
        return Ok(all);
    }
    let mut found = Vec::new();
    for id in only {
        found.push(aws.existing_instance(id).await?);
    }
    Ok(found)
}

/// Compares the named instances of a Region, or all, with lifeboat.toml.
pub(crate) async fn judge_instances(
    aws: &Aws,
    settings: &PerDatabase<PolicySettings>,
    only: &[InstanceId],
) -> Result<Vec<Database>> {
    let judge_one = |instance: &Instance| {
        let (mut findings, notes) = check::check_instance(instance, &settings.of(instance.id.as_str()));
        for finding in &mut findings {
            finding.remedy = aws.location().in_commands(&finding.remedy);
        }
        let (id, place, state) = (instance.id.to_string(), aws.location(), State::of_instance(instance));
        Database { id, place, before: state.clone(), after: state, notes, lost: None, findings }
    };
    Ok(list_instances(aws, only).await?.iter().map(judge_one).collect())
}

/// All instances of a Region whose backups are set on themselves, and those whose are not: members of clusters, and replicas.
pub(crate) async fn list_changeable(aws: &Aws) -> Result<(Vec<Instance>, Vec<Instance>)> {
    let all = list_instances(aws, &[]).await?;
    Ok(all.into_iter().partition(|instance| instance.cluster.is_none() && instance.replica_of.is_none()))
}

/// A change that can be made. By value: it is made once.
#[derive(Debug)]
pub(crate) struct Plan {
    pub instance: Instance,
    pub place: Place,
    /// As it will be.
    pub after: State,
    /// What the change does besides.
    pub notes: Vec<String>,
    /// What it deletes, if it lowers the retention.
    pub lost: Option<Lost>,
    change: BackupChange,
}

impl Plan {
    /// Whether there is anything to change.
    pub(crate) fn is_needed(&self) -> bool {
        self.after != State::of_instance(&self.instance)
    }

    /// As it would be.
    pub(crate) fn database(&self) -> Database {
        Database {
            id: self.instance.id.to_string(),
            place: self.place.clone(),
            before: State::of_instance(&self.instance),
            after: self.after.clone(),
            notes: self.notes.clone(),
            lost: self.lost.clone(),
            findings: Vec::new(),
        }
    }
}

/// Reads a retention, by AWS's rule.
pub(crate) fn parse_retention(text: &str) -> Result<i32> {
    text.parse::<i32>().ok().filter(|days| (0..=35).contains(days)).ok_or_else(|| {
        Error::request(format!("`{}` is not a backup retention period", text.escape_default()))
            .hint("AWS keeps automated backups for 1 to 35 days; 0 turns them off and deletes them all.")
    })
}

/// Checks a change against AWS's rules and ours. Reads only. `now` is this machine's: ages go by AWS's clock.
pub(crate) async fn plan_change(
    aws: &Aws,
    id: &InstanceId,
    request: &Request,
    now: DateTime<Utc>,
) -> Result<Plan> {
    let instance = aws.existing_instance(id).await?;
    let before = State::of_instance(&instance);
    refuse_members(&instance, request)?;
    let mut after = before.clone();
    let mut notes = Vec::new();
    if let Some(days) = request.retention_days {
        after.retention_days = days;
    } else if let Some(least) = request.least_retention_days {
        after.retention_days = after.retention_days.max(least);
    }
    if let Some(text) = &request.backup_window {
        let backup = Window::daily(text)?;
        if let Some(maintenance) = &before.maintenance_window
            && Window::weekly(maintenance).is_ok_and(|maintenance| maintenance.meets(backup))
        {
            return Err(Error::request(format!(
                "backup window {text} overlaps the maintenance window {maintenance} of `{id}`"
            ))
            .hint("AWS does not let them overlap: choose another `--backup-window`."));
        }
        after.backup_window = Some(text.clone());
    }
    after.copy_tags_to_snapshot = request.copy_tags_to_snapshot.unwrap_or(before.copy_tags_to_snapshot);
    after.deletion_protection = request.deletion_protection.unwrap_or(before.deletion_protection);
    if instance.aws_backup.is_some() && after.retention_days != before.retention_days {
        notes.push(
            "AWS Backup manages its continuous backups: these settings have no effect while it does"
                .to_owned(),
        );
    }
    let turns = before.retention_days != after.retention_days
        && (before.retention_days == 0 || after.retention_days == 0);
    if turns {
        check_retention_switch(&instance, &after, request, &mut notes)?;
    }
    let change = BackupChange {
        retention_days: changed_value(&before.retention_days, &after.retention_days),
        backup_window: changed_value(&before.backup_window, &after.backup_window).flatten(),
        copy_tags_to_snapshot: changed_value(&before.copy_tags_to_snapshot, &after.copy_tags_to_snapshot),
        deletion_protection: changed_value(&before.deletion_protection, &after.deletion_protection),
        apply_immediately: turns,
    };
    let lost = match after.retention_days < before.retention_days {
        true => Some(find_lost_backups(aws, &instance, after.retention_days, aws.now(now)).await?),
        false => None,
    };
    Ok(Plan { instance, place: aws.location(), after, notes, lost, change })
}

/// What AWS deletes when automated backups are kept for `days`. Reads only.
async fn find_lost_backups(aws: &Aws, instance: &Instance, days: i32, now: DateTime<Utc>) -> Result<Lost> {
    let window = aws.restore_window(&instance.resource_id).await?;
    let kept_from = (days > 0).then(|| now - TimeDelta::days(days.into()));
    let mut snapshots: Vec<_> = aws
        .snapshots_of(&instance.id)
        .await?
        .into_iter()
        .filter(|it| {
            it.snapshot_type == SnapshotType::Automated
                && it.resource_id.as_ref() == Some(&instance.resource_id)
        })
        .filter(|it| kept_from.is_none_or(|from| it.original_created_at.is_some_and(|at| at < from)))
        .collect();
    snapshots.sort_by_key(|it| it.original_created_at);
    Ok(Lost {
        earliest: window.and_then(|window| window.earliest),
        earliest_afterwards: kept_from,
        snapshots: snapshots.into_iter().map(|it| it.id.to_string()).collect(),
    })
}

fn changed_value<T: PartialEq + Clone>(before: &T, after: &T) -> Option<T> {
    (before != after).then(|| after.clone())
}

fn refuse_members(instance: &Instance, request: &Request) -> Result<()> {
    if request.retention_days.is_none() && request.backup_window.is_none() {
        return Ok(());
    }
    let id = &instance.id;
    if let Some(cluster) = &instance.cluster {
        return Err(Error::request(format!(
            "`{id}` is a member of DB cluster `{cluster}`: AWS does not let its backup retention be modified directly"
        ))
        .hint(format!("Change the cluster: `aws rds modify-db-cluster --db-cluster-identifier {cluster} --backup-retention-period N`.")));
    }
    if let Some(source) = &instance.replica_of {
        return Err(Error::request(format!(
            "`{id}` is a read replica of `{source}`: its backups are its source's"
        ))
        .hint(format!("Change the source: `lifeboat policy set {source}` with the same flags.")));
    }
    Ok(())
}

/// From or to zero: AWS takes the instance offline for it, does it in the maintenance window unless told to do it at
/// once, and applies everything else that is queued with it.
fn check_retention_switch(
    instance: &Instance,
    after: &State,
    request: &Request,
    notes: &mut Vec<String>,
) -> Result<()> {
    let id = &instance.id;
    if after.retention_days == 0 && !instance.replicas.is_empty() {
        return Err(Error::request(format!("backups of `{id}` cannot be turned off: it has read replicas"))
            .hint(format!("Its replicas are {}.", instance.replicas.join(", "))));
    }
    let mut queued: Vec<String> = instance
        .pending
        .iter()
        .filter(|(name, _)| *name != "BackupRetentionPeriod")
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    queued.sort();
    if !queued.is_empty() && !request.apply_pending {
        return Err(Error::new(
            Kind::Guard,
            format!(
                "`{id}` was not changed: turning backups on or off at once applies what else is queued: {}",
                queued.join(", ")
            ),
        )
        .hint(
            "Wait until the maintenance window has passed, or pass `--apply-pending` if that may happen now.",
        ));
    }
    if !queued.is_empty() {
        notes.push(format!("queued changes are applied with it: {}", queued.join(", ")));
    }
    notes.push("expect an outage of seconds to minutes while AWS turns backups on or off".to_owned());
    if after.retention_days == 0 {
        notes.push(format!(
            "all automated backups of `{id}` are deleted, and point-in-time restore is no longer possible"
        ));
    }
    Ok(())
}

/// Makes the change and waits until it is in effect; [`Kind::StillGoing`] if it is not in time.
pub(crate) async fn apply_change(
    plan: Plan,
    aws: &Aws,
    poll: Poll,
    wait: bool,
) -> Result<(Database, Option<Kind>)> {
    let (id, mut database) = (plan.instance.id.clone(), plan.database());
    let give_up = Instant::now() + poll.give_up_after;
    // A backup or another change in progress will end.
    retry_while_wrong_state(poll, async || aws.change_backups(&id, &plan.change).await).await?;
    if !wait {
        return Ok((database, None));
    }
    let wanted = plan.after.clone();
    let poll = Poll { give_up_after: give_up.saturating_duration_since(Instant::now()), ..poll };
    let ended = aws
        .watch(&id, poll, |seen| match seen {
            Ok(Some(instance)) => {
                let now = State::of_instance(instance);
                let is_so = now.retention_days == wanted.retention_days
                    && now.backup_window == wanted.backup_window
                    && now.copy_tags_to_snapshot == wanted.copy_tags_to_snapshot
                    && now.deletion_protection == wanted.deletion_protection
                    && !now.pending.contains_key("BackupRetentionPeriod");
                (is_so && instance.reported_status.health() == Health::Usable).then_some(now)
            }
            Ok(None) | Err(_) => None,
        })
        .await?;
    match ended {
        Some(now) => {
            database.after = now;
            Ok((database, None))
        }
        None => Ok((database, Some(Kind::StillGoing))),
    }
}
