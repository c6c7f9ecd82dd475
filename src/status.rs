//! How healthy the backups of a fleet are: what there is, how old, how far back, and where it falls short.
//!
//! Reads only, and costs pages, not calls per instance: the instances, the snapshots and the automated backups of a
//! Region are listed once each, and everything else is computed here.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::aws::Aws;
use crate::error::Result;
use crate::policy::PolicySettings;
use crate::policy::check::{self, Finding};
use crate::rds::{
    AutomatedBackup, Health, Instance, InstanceId, Place, ResourceId, RestoreWindow, Snapshot, SnapshotType,
    Unreached, list_regions,
};

/// A daily backup is late after a day and an hour for the window.
const LATE: TimeDelta = TimeDelta::hours(25);
/// RDS uploads transaction logs every five minutes.
const LAGGING: TimeDelta = TimeDelta::minutes(15);
/// A drill proves something for about a month.
const STALE_DRILL: TimeDelta = TimeDelta::days(35);

/// What AWS says of a Region.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    instances: Vec<Instance>,
    snapshots: BTreeMap<ResourceId, Vec<Snapshot>>,
    windows: BTreeMap<ResourceId, RestoreWindow>,
}

/// Lists what is needed: of the whole Region, or of single instances where there are few.
pub(crate) async fn read_fleet(aws: &Aws, only: &[InstanceId]) -> Result<Fleet> {
    let mut fleet = Fleet::default();
    let snapshots = match only {
        [one] => {
            let instance = aws.existing_instance(one).await?;
            if let Some(window) = aws.restore_window(&instance.resource_id).await? {
                fleet.windows.insert(instance.resource_id.clone(), window);
            }
            fleet.instances.push(instance);
            aws.backups_of(one).await?
        }
        _ => {
            let (instances, snapshots, backups) =
                tokio::try_join!(aws.instances(), aws.backups(), aws.automated_backups())?;
            fleet.instances = instances;
            let window = |backup: AutomatedBackup| (backup.resource_id, backup.window);
            fleet.windows = backups.into_iter().map(window).collect();
            snapshots
        }
    };
    for id in only {
        if !fleet.instances.iter().any(|instance| instance.id == *id) {
            aws.existing_instance(id).await?;
        }
    }
    // Throwaways of drills are nobody's databases.
    let is_wanted = |instance: &Instance| {
        if only.is_empty() { !instance.is_throwaway() } else { only.contains(&instance.id) }
    };
    fleet.instances.retain(is_wanted);
    for snapshot in snapshots {
        if let Some(resource) = &snapshot.resource_id {
            fleet.snapshots.entry(resource.clone()).or_default().push(snapshot);
        }
    }
    Ok(fleet)
}

/// The last drill of a database.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LastDrill {
    pub run: String,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// `pass`, `fail` or `unknown`.
    pub verdict: String,
}

/// What is known of a database besides what AWS reports.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// How it should be backed up.
    pub policy: PolicySettings,
    /// Its recovery point objective.
    pub rpo: Duration,
    /// Its last drill, if this vault knows one.
    pub last_drill: Option<LastDrill>,
}

/// The state of a fleet (`lifeboat.status/1`).
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: &'static str,
    /// The Region; of several, all of them.
    pub region: String,
    /// When it was read, by AWS's clock.
    pub at: DateTime<Utc>,
    /// The accounts and Regions that were read.
    pub places: Vec<Place>,
    pub unreached: Vec<Unreached>,
    /// One by one, the worst first.
    pub databases: Vec<Database>,
}

impl Database {
    /// When the newest of its snapshots of any origin was taken.
    pub(crate) fn newest_snapshot(&self) -> Option<DateTime<Utc>> {
        let newest = [&self.newest_automated, &self.newest_manual, &self.newest_aws_backup];
        newest.into_iter().flatten().map(|it| it.created_at).max()
    }
}

impl Report {
    /// One report over several places, looked at about the same time; there is at least one.
    pub(crate) fn merge(reports: Vec<Report>, unreached: Vec<Unreached>) -> Option<Report> {
        let mut all = reports.into_iter();
        let mut whole = all.next()?;
        for report in all {
            whole.at = whole.at.min(report.at);
            whole.places.extend(report.places);
            whole.databases.extend(report.databases);
        }
        whole.region = list_regions(&whole.places);
        whole.unreached = unreached;
        whole.databases.sort_by(worst_first);
        Some(whole)
    }

    /// Whether several accounts or Regions were asked for.
    pub(crate) fn is_over_several(&self) -> bool {
        self.places.len() + self.unreached.len() > 1
    }
}

/// The state of one database.
#[derive(Debug, Serialize)]
pub(crate) struct Database {
    pub id: String,
    #[serde(flatten)]
    pub place: Place,
    /// Its immutable id.
    pub resource_id: String,
    pub engine: String,
    pub engine_version: String,
    /// What AWS says of it.
    pub status: String,
    /// Days that automated backups are kept.
    pub retention_days: i32,
    /// Backup window, UTC.
    pub backup_window: Option<String>,
    /// The newest automated snapshot.
    pub newest_automated: Option<Newest>,
    /// The newest manual snapshot.
    pub newest_manual: Option<Newest>,
    /// The newest snapshot that AWS Backup has taken.
    pub newest_aws_backup: Option<Newest>,
    /// From when to when it can be restored.
    pub restorable: Option<Restorable>,
    /// How much would be lost now.
    pub rpo: Rpo,
    pub last_drill: Option<LastDrill>,
    /// What is special about it.
    pub notes: Vec<String>,
    /// Where it falls short, the worst first.
    pub findings: Vec<Finding>,
}

/// The newest snapshot of a kind.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Newest {
    pub snapshot_id: String,
    /// When it was taken.
    pub created_at: DateTime<Utc>,
    /// How old it is.
    pub age_seconds: f64,
}

/// From when to when a database can be restored.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Restorable {
    /// Earliest moment.
    pub earliest: Option<DateTime<Utc>>,
    /// Latest moment.
    pub latest: Option<DateTime<Utc>>,
    /// How far the latest is behind now.
    pub lag_seconds: Option<f64>,
}

/// How much would be lost if the database were lost now.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Rpo {
    /// What is allowed.
    pub objective_seconds: f64,
    /// Age of the newest moment that can be brought back; absent if there is none.
    pub measured_seconds: Option<f64>,
    /// `pass` or `fail`; `unknown` of a member of a cluster or a replica, whose backups are elsewhere.
    pub verdict: &'static str,
}

/// Judges what was seen of a place.
pub(crate) fn judge_fleet(
    fleet: &Fleet,
    place: &Place,
    wanted: impl Fn(&Instance) -> Wanted,
    now: DateTime<Utc>,
) -> Report {
    let mut databases: Vec<Database> = fleet
        .instances
        .iter()
        .map(|instance| judge_instance(fleet, instance, place, wanted(instance), now))
        .collect();
    databases.sort_by(worst_first);
    Report {
        schema: "lifeboat.status/1",
        region: place.region.clone(),
        at: now,
        places: vec![place.clone()],
        unreached: Vec::new(),
        databases,
    }
}

fn worst_first(a: &Database, b: &Database) -> std::cmp::Ordering {
    let worst = |database: &Database| {
        let worst = database.findings.first().map(|it| it.severity);
        (worst.is_none(), worst)
    };
    worst(a).cmp(&worst(b)).then_with(|| (&a.id, &a.place).cmp(&(&b.id, &b.place)))
}

fn judge_instance(
    fleet: &Fleet,
    instance: &Instance,
    place: &Place,
    wanted: Wanted,
    now: DateTime<Utc>,
) -> Database {
    let snapshots = fleet.snapshots.get(&instance.resource_id).map(Vec::as_slice).unwrap_or_default();
    let newest = |kind: SnapshotType| {
        snapshots
            .iter()
            .filter(|it| it.snapshot_type == kind && it.is_available())
            .filter_map(|it| Some((it, it.original_created_at?)))
            .max_by_key(|(_, at)| *at)
            .map(|(it, at)| Newest {
                snapshot_id: it.id.to_string(),
                created_at: at,
                age_seconds: seconds_since(at, now),
            })
    };
    let (newest_automated, newest_manual) = (newest(SnapshotType::Automated), newest(SnapshotType::Manual));
    let newest_aws_backup = newest(SnapshotType::AwsBackup);
    let window = fleet.windows.get(&instance.resource_id).filter(|_| instance.retention_days > 0);
    let latest = window
        .and_then(|window| window.latest)
        .or(instance.latest_restorable.filter(|_| instance.retention_days > 0));
    let restorable = (latest.is_some() || window.is_some()).then(|| Restorable {
        earliest: window.and_then(|window| window.earliest),
        latest,
        lag_seconds: latest.map(|at| seconds_since(at, now)),
    });
    let newest_moment = [
        latest,
        newest_automated.as_ref().map(|it| it.created_at),
        newest_manual.as_ref().map(|it| it.created_at),
        newest_aws_backup.as_ref().map(|it| it.created_at),
    ];
    let measured = newest_moment.into_iter().flatten().max().map(|at| seconds_since(at, now));
    let is_elsewhere = instance.cluster.is_some() || instance.replica_of.is_some();
    let objective = wanted.rpo.as_secs_f64();
    let rpo = Rpo {
        objective_seconds: objective,
        measured_seconds: measured,
        verdict: match measured {
            _ if is_elsewhere => "unknown",
            Some(measured) if measured <= objective => "pass",
            _ => "fail",
        },
    };
    let (mut findings, mut notes) = check::check_instance(instance, &wanted.policy);
    if let Some(newest) = &newest_aws_backup {
        notes.push(format!("AWS Backup takes snapshots of it: the newest is `{}`", newest.snapshot_id));
    }
    if !is_elsewhere {
        findings.extend(judge_backups(instance, &rpo, newest_automated.as_ref(), latest, now));
        if instance.why_no_source().is_none() {
            findings.extend(of_last_drill(instance.id.as_str(), wanted.last_drill.as_ref(), now));
        }
    }
    findings.extend(judge_health(instance));
    findings.retain(|finding| !wanted.policy.ignore.iter().flatten().any(|code| code == finding.code));
    findings.sort_by_key(|finding| finding.severity);
    for finding in &mut findings {
        finding.remedy = place.in_commands(&finding.remedy);
    }
    Database {
        id: instance.id.to_string(),
        place: place.clone(),
        resource_id: instance.resource_id.to_string(),
        engine: instance.engine.clone(),
        engine_version: instance.engine_version.clone(),
        status: instance.reported_status.0.clone(),
        retention_days: instance.retention_days,
        backup_window: instance.settings.backup_window.clone(),
        newest_automated,
        newest_manual,
        newest_aws_backup,
        restorable,
        rpo,
        last_drill: wanted.last_drill,
        notes,
        findings,
    }
}

/// A negative age can occur while two clocks disagree by a second: what it belongs to is new.
fn seconds_since(at: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    (now - at).as_seconds_f64().max(0.0)
}

fn judge_backups(
    instance: &Instance,
    rpo: &Rpo,
    automated: Option<&Newest>,
    latest: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Vec<Finding> {
    let id = &instance.id;
    let mut findings = Vec::new();
    let take = format!("lifeboat snapshot create {id}");
    match rpo.measured_seconds {
        None => findings.push(Finding::critical("no_backup", "there is no backup to restore it from", &take)),
        Some(_) if rpo.verdict == "fail" => findings.push(Finding::critical(
            "rpo_missed",
            "the newest restorable data is older than the recovery point objective",
            &take,
        )),
        Some(_) => {}
    }
    let is_old = instance.created_at.is_none_or(|created| now - created > LATE);
    let is_late = automated.is_none_or(|newest| now - newest.created_at > LATE);
    if instance.retention_days > 0 && is_old && is_late {
        findings.push(Finding::warning(
            "automated_late",
            "the last automated snapshot is more than 25 hours old: AWS skips it silently under heavy load or while the instance is stopped",
            format!("aws rds describe-events --source-type db-instance --source-identifier {id} --duration 2880"),
        ));
    }
    if let Some(latest) = latest
        && now - latest > LAGGING
    {
        findings.push(Finding::warning(
            "restorable_lags",
            "the latest restorable time is more than 15 minutes behind",
            format!("lifeboat restore window {id}"),
        ));
    }
    findings
}

/// What the last drill of a database calls for.
pub(crate) fn of_last_drill(id: &str, last: Option<&LastDrill>, now: DateTime<Utc>) -> Option<Finding> {
    let run = format!("lifeboat drill run {id}");
    match last {
        None => Some(Finding::warning(
            "never_drilled",
            "no drill has proved that its backups can be restored",
            run,
        )),
        Some(last) if last.verdict == "fail" => {
            let show = format!("lifeboat drill show {}", last.run);
            Some(Finding::critical("drill_failed", "its last drill failed", show))
        }
        Some(last) if last.verdict != "pass" => Some(Finding::warning(
            "drill_unknown",
            "its last drill could not determine whether its backup is good",
            run,
        )),
        Some(last) if now - last.at > STALE_DRILL => {
            Some(Finding::warning("drill_stale", "its last drill was more than 35 days ago", run))
        }
        Some(_) => None,
    }
}

fn judge_health(instance: &Instance) -> Option<Finding> {
    let status = &instance.reported_status;
    match status.health() {
        Health::Stopped => Some(Finding::warning(
            "stopped",
            "it is stopped: AWS takes no backups of a stopped instance",
            format!("aws rds start-db-instance --db-instance-identifier {}", instance.id),
        )),
        Health::Broken => {
            Some(Finding::critical("broken", format!("its status is `{status}`"), status.remedy()))
        }
        Health::Usable | Health::InTransit => None,
    }
}
