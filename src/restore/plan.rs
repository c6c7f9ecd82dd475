//! What a restore will make: which backup, with whose settings, and what no restore brings back. Reads only.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use serde::Serialize;

use super::target;
use crate::aws::{Aws, Restore, RestoreFrom};
use crate::error::{Error, Result};
use crate::rds::{
    AutomatedBackup, Instance, InstanceId, ResourceId, RunId, Settings, Snapshot, SnapshotId, Tags, tag,
};
use crate::snapshot;
use crate::when::format_time;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// What to go back to.
    pub from: From,
    /// Name of the new instance.
    pub target: InstanceId,
    /// Settings that the user named: they win over the source's.
    pub changes: Settings,
    /// Tags that the user gave.
    pub tags: Tags,
    /// Whether RDS's defaults may replace settings that are no longer known.
    pub unknown: Unknown,
}

/// What to go back to.
#[derive(Clone, Debug)]
pub(crate) enum From {
    /// A snapshot.
    Snapshot(SnapshotId),
    /// A moment in the automated backups of an instance: by its name, or by its resource id.
    Time(String, Moment),
}

/// Which moment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    /// This one.
    At(DateTime<Utc>),
    /// The latest restorable time.
    Latest,
}

/// What to do when the settings of the source are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// Refuse: the default security group is rarely what is wanted.
    Refused,
    /// Take RDS's defaults.
    Defaults,
}

/// Where the settings come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SettingsFrom {
    /// The instance, which is there.
    Instance,
    /// The tags of the snapshot.
    Snapshot,
    /// The tags of another snapshot of the same instance.
    AnotherSnapshot,
    /// Another instance that has the name now.
    Namesake,
    /// Nobody: RDS's defaults.
    Nobody,
}

/// A restore that can be done. By value: it is done once.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The run.
    pub run: RunId,
    /// What AWS will be asked.
    pub restore: Restore,
    /// What only a later change can set.
    pub afterwards: Settings,
    /// The source, by name.
    pub source: String,
    /// Version of PostgreSQL that the new instance runs.
    pub engine_version: String,
    /// The moment that comes back.
    pub moment: Option<DateTime<Utc>>,
    /// Where the settings come from.
    pub settings_from: SettingsFrom,
    /// What is as it was.
    pub carried_over: BTreeMap<&'static str, String>,
    /// What is not, and how it was.
    pub changed: BTreeMap<&'static str, Change>,
    /// What no restore brings back.
    pub not_carried: Vec<String>,
}

/// A setting that is not as it was.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Change {
    /// In the source.
    pub before: Option<String>,
    /// In the new instance.
    pub after: String,
}

/// The source of a restore.
struct Origin {
    /// What the living source has and a restore does not bring along; `None` if it is gone.
    beyond_restore: Option<Vec<String>>,
    name: String,
    from: RestoreFrom,
    moment: Option<DateTime<Utc>>,
    engine: String,
    engine_version: String,
    storage_gib: i32,
    settings: Settings,
    settings_from: SettingsFrom,
    tags: Tags,
}

/// Finds backup and settings, and checks what can be known to fail.
pub(crate) async fn plan_restore(aws: &Aws, request: Request, now: DateTime<Utc>) -> Result<Plan> {
    if let Some(taken) = aws.instance(&request.target).await? {
        return Err(Error::request(format!(
            "instance `{}` exists already: it is `{}`",
            taken.id, taken.reported_status
        ))
        .hint("A restore always makes a new instance and never goes over one: choose another `--to`."));
    }
    let mut origin = match &request.from {
        From::Snapshot(id) => of_snapshot(aws, id).await?,
        From::Time(source, moment) => of_time(aws, source, *moment).await?,
    };
    if origin.settings_from == SettingsFrom::Nobody
        && request.unknown == Unknown::Refused
        && !is_placed(&request)
    {
        let is_replica = matches!(origin.from, RestoreFrom::Time { replica: Some(_), .. });
        return Err(Error::request(format!(
            "the settings of `{}` are not known: {}, and none were saved with its backups",
            origin.name,
            if is_replica { "it is in another Region" } else { "it is gone" }
        ))
        .hint(
            "Name at least `--class`, `--subnet-group` and `--security-group`, or pass `--accept-defaults`: RDS then takes \
             the default security group, subnet group and parameter group. `lifeboat snapshot create` saves the settings.",
        ));
    }
    check_target(aws, &request, &origin).await?;
    let run = RunId::new(aws.now(now));
    let wanted = prefer_settings(&request.changes, &origin.settings);
    let (carried_over, changed) = compare_settings(&origin.settings, &wanted);
    let mut not_carried: Vec<String> = [
        "the master user has the password that it had at the restored moment",
        "the endpoint is new: point applications, DNS and secrets to it",
        "read replicas, alarms, event subscriptions and IAM roles stay with the source",
        "the KMS key is that of the backup",
    ]
    .map(str::to_owned)
    .into();
    match origin.beyond_restore.take() {
        Some(beyond) => not_carried.extend(beyond),
        None => not_carried.push(
            "a dedicated log volume, processor features, additional storage volumes, a directory domain and a managed master password: \
             it is unknown whether the source had any"
                .to_owned(),
        ),
    }
    if origin.settings_from == SettingsFrom::Namesake {
        not_carried.insert(
            0,
            format!("the settings are those of the instance that is called `{}` now", origin.name),
        );
    }
    let tags = restore_tags(&request, &origin, &run, &mut not_carried);
    let (settings, afterwards) = split_settings(wanted, origin.storage_gib);
    Ok(Plan {
        run,
        restore: Restore { id: request.target, from: origin.from, settings, tags },
        afterwards,
        source: origin.name,
        engine_version: origin.engine_version,
        moment: origin.moment,
        settings_from: origin.settings_from,
        carried_over,
        changed,
        not_carried,
    })
}

/// Whether the user has said where the new instance lives.
fn is_placed(request: &Request) -> bool {
    let changes = &request.changes;
    changes.class.is_some() && changes.subnet_group.is_some() && !changes.security_groups.is_empty()
}

async fn of_snapshot(aws: &Aws, id: &SnapshotId) -> Result<Origin> {
    let snapshot = snapshot::existing_snapshot(aws, id).await?;
    snapshot::require_available(&snapshot)?;
    let namesake = match InstanceId::parse(&snapshot.instance) {
        Ok(id) => aws.instance(&id).await?,
        Err(_) => None,
    };
    let is_same = |instance: &Instance| Some(&instance.resource_id) == snapshot.resource_id.as_ref();
    let saved = Settings::from_tags(&snapshot.tags);
    let mut tags = tag::foreign(&snapshot.tags);
    let source = namesake.as_ref().filter(|it| is_same(it));
    let beyond_restore = source.map(|it| it.beyond_restore.clone());
    let (settings, settings_from) = match (namesake, saved) {
        (Some(instance), _) if is_same(&instance) => {
            tags = tag::foreign(&instance.tags);
            (instance.settings.clone(), SettingsFrom::Instance)
        }
        (_, Some(saved)) => (saved, SettingsFrom::Snapshot),
        (namesake, None) => {
            match saved_elsewhere(aws, snapshot.resource_id.as_ref(), &snapshot.instance).await? {
                Some((settings, others)) => {
                    tags.extend(others);
                    (settings, SettingsFrom::AnotherSnapshot)
                }
                None => match namesake {
                    Some(instance) => {
                        tags = tag::foreign(&instance.tags);
                        (instance.settings.clone(), SettingsFrom::Namesake)
                    }
                    None => {
                        let option_group = snapshot.option_group.clone();
                        (Settings { option_group, ..Settings::default() }, SettingsFrom::Nobody)
                    }
                },
            }
        }
    };
    Ok(Origin {
        beyond_restore,
        name: snapshot.instance.clone(),
        from: RestoreFrom::Snapshot(snapshot.id.clone()),
        moment: snapshot.moment(),
        engine: snapshot.engine,
        engine_version: snapshot.engine_version,
        storage_gib: snapshot.storage_gib,
        settings,
        settings_from,
        tags,
    })
}

/// The settings that were saved with the newest snapshot of an instance that is gone.
async fn saved_elsewhere(
    aws: &Aws,
    resource: Option<&ResourceId>,
    name: &str,
) -> Result<Option<(Settings, Tags)>> {
    let Ok(id) = InstanceId::parse(name) else { return Ok(None) };
    let newest = aws
        .snapshots_of(&id)
        .await?
        .into_iter()
        .filter(|it| it.resource_id.as_ref() == resource && Settings::from_tags(&it.tags).is_some())
        .max_by_key(Snapshot::moment);
    Ok(newest.and_then(|it| Some((Settings::from_tags(&it.tags)?, tag::foreign(&it.tags)))))
}

/// The automated backups that a person means, by name or resource id: those of the living instance first.
pub(crate) async fn automated_backup(aws: &Aws, name: &str) -> Result<(AutomatedBackup, Option<Instance>)> {
    let all = aws.automated_backups().await?;
    let living = match InstanceId::parse(name) {
        Ok(id) => aws.instance(&id).await?,
        Err(_) => None,
    };
    if let Some(instance) = living {
        let found = all.into_iter().find(|backup| backup.resource_id == instance.resource_id);
        return match found {
            Some(backup) => Ok((backup, Some(instance))),
            None if instance.retention_days == 0 => Err(Error::request(format!(
                "automated backups of `{name}` are off, so there is no moment to restore to"
            ))
            .hint(format!(
                "Restore a snapshot: `lifeboat snapshot list {name}`. From now on: `lifeboat policy set {name} --retention-days 7`."
            ))),
            None => Err(super::choose::no_window_error(name)),
        };
    }
    let mut found: Vec<AutomatedBackup> = all
        .into_iter()
        .filter(|backup| {
            backup.resource_id.0.eq_ignore_ascii_case(name) || backup.instance.eq_ignore_ascii_case(name)
        })
        .collect();
    match found.len() {
        0 => Err(Error::request(format!(
            "there is neither an instance `{}` in {} nor a retained automated backup of one",
            name.escape_default(),
            aws.region()
        ))
        .hint("`lifeboat status` lists the instances, `lifeboat snapshot list` the snapshots, those of deleted ones too.")),
        1 => Ok((found.remove(0), None)),
        _ => {
            let ids = found.iter().map(|backup| {
                let until = backup.window.latest.map_or("an unknown time".to_owned(), format_time);
                format!("`{}` (until {until})", backup.resource_id)
            });
            Err(Error::request(format!("several instances were called `{name}`"))
                .hint(format!("Name one by its resource id: {}.", ids.collect::<Vec<_>>().join(", "))))
        }
    }
}

/// The moment that RDS is asked for: in whole seconds, and none before the window begins.
fn in_whole_seconds(at: DateTime<Utc>, earliest: DateTime<Utc>) -> DateTime<Utc> {
    let floor = at.trunc_subsecs(0);
    let first = earliest.trunc_subsecs(0);
    let first = if first < earliest { first + TimeDelta::seconds(1) } else { first };
    floor.max(first)
}

async fn of_time(aws: &Aws, name: &str, moment: Moment) -> Result<Origin> {
    let (backup, living) = automated_backup(aws, name).await?;
    let (Some(earliest), Some(latest)) = (backup.window.earliest, backup.window.latest) else {
        return Err(super::choose::no_window_error(name));
    };
    let at = match moment {
        Moment::Latest => latest,
        Moment::At(at) => at,
    };
    // RDS counts in whole seconds; a moment in the first second of the window is in it.
    if at.timestamp() < earliest.timestamp() || at > latest {
        let error = Error::request(format!("`{name}` cannot be restored to {}", format_time(at)));
        return Err(if at > latest {
            error.hint(format!(
                "RDS restores up to the latest restorable time, some minutes behind now: {} at the moment, or `--latest`.",
                format_time(latest)
            ))
        } else {
            error.hint(format!(
                "Its automated backups begin at {}; older moments are in snapshots.",
                format_time(earliest)
            ))
        });
    }
    let at = in_whole_seconds(at, earliest);
    let (settings, settings_from, tags) = match &living {
        Some(instance) => (instance.settings.clone(), SettingsFrom::Instance, tag::foreign(&instance.tags)),
        None => match saved_elsewhere(aws, Some(&backup.resource_id), &backup.instance).await? {
            Some((settings, tags)) => (settings, SettingsFrom::AnotherSnapshot, tags),
            None => (Settings::default(), SettingsFrom::Nobody, Tags::new()),
        },
    };
    Ok(Origin {
        beyond_restore: living.map(|it| it.beyond_restore),
        name: backup.instance,
        from: RestoreFrom::Time { source: backup.resource_id, replica: backup.replica, at },
        moment: Some(at),
        engine: backup.engine,
        engine_version: backup.engine_version,
        storage_gib: backup.storage_gib,
        settings,
        settings_from,
        tags,
    })
}

/// Checks that what the restore will use exists, and that the quota leaves room.
async fn check_target(aws: &Aws, request: &Request, origin: &Origin) -> Result<()> {
    let settings = prefer_settings(&request.changes, &origin.settings);
    if let Some(class) = &settings.class {
        // A role without this permission can still restore; AWS itself then says.
        if let Ok(false) = aws.class_is_orderable(&origin.engine, &origin.engine_version, class).await {
            return Err(target::class_not_offered_error(aws, &origin.engine, &origin.engine_version, class));
        }
    }
    // What the living source uses is there.
    let is_new = |group: &&String, chosen: &Option<String>| {
        !group.starts_with("default") && (chosen.is_some() || origin.settings_from != SettingsFrom::Instance)
    };
    let subnet_group = settings.subnet_group.as_ref().filter(|it| is_new(it, &request.changes.subnet_group));
    target::require_subnet_group(aws, subnet_group).await?;
    let group = settings.parameter_group.as_ref().filter(|it| is_new(it, &request.changes.parameter_group));
    target::require_parameter_group(aws, group).await
}

/// `first`, and `second` where it says nothing.
fn prefer_settings(first: &Settings, second: &Settings) -> Settings {
    let list = |first: &Vec<String>, second: &Vec<String>| {
        if first.is_empty() { second.clone() } else { first.clone() }
    };
    macro_rules! merged {
        ($($field:ident),*) => {
            Settings {
                security_groups: list(&first.security_groups, &second.security_groups),
                log_exports: list(&first.log_exports, &second.log_exports),
                $($field: first.$field.clone().or_else(|| second.$field.clone()),)*
            }
        };
    }
    merged!(
        class,
        subnet_group,
        parameter_group,
        option_group,
        port,
        multi_az,
        public,
        storage_type,
        iops,
        storage_throughput,
        max_storage_gib,
        iam_authentication,
        ca,
        copy_tags_to_snapshot,
        deletion_protection,
        auto_minor_upgrade,
        retention_days,
        backup_window,
        maintenance_window,
        monitoring_interval,
        monitoring_role,
        performance_insights,
        lifecycle_support,
        network_type
    )
}

fn compare_settings(
    before: &Settings,
    after: &Settings,
) -> (BTreeMap<&'static str, String>, BTreeMap<&'static str, Change>) {
    let before: BTreeMap<_, _> = before.pairs().into_iter().collect();
    let (mut same, mut changed) = (BTreeMap::new(), BTreeMap::new());
    for (key, after) in after.pairs() {
        match before.get(key) {
            Some(before) if *before == after => {
                same.insert(key, after);
            }
            before => {
                changed.insert(key, Change { before: before.cloned(), after });
            }
        }
    }
    (same, changed)
}

/// What the request takes, and what only a later change can set.
fn split_settings(wanted: Settings, storage_gib: i32) -> (Settings, Settings) {
    let mut now = wanted;
    let is_monitored = now.monitoring_interval.take().filter(|seconds| *seconds > 0);
    let afterwards = Settings {
        max_storage_gib: now.max_storage_gib.take(),
        maintenance_window: now.maintenance_window.take(),
        monitoring_interval: is_monitored,
        monitoring_role: now.monitoring_role.take().filter(|_| is_monitored.is_some()),
        performance_insights: now.performance_insights.take().filter(|is_on| *is_on),
        ..Settings::default()
    };
    // RDS gives the default option group of the version by itself, which may be another than it was.
    now.option_group = now.option_group.filter(|name| !name.starts_with("default:"));
    // RDS takes the type only with its IOPS, and IOPS for gp3 only from 400 GiB on; below, gp3 is its default anyway.
    let is_provisioned = matches!(now.storage_type.as_deref(), Some("io1" | "io2"));
    let is_large_gp3 = now.storage_type.as_deref() == Some("gp3") && storage_gib >= 400;
    if !is_provisioned && !is_large_gp3 {
        now.iops = None;
        now.storage_throughput = None;
    }
    if now.iops.is_none() && matches!(now.storage_type.as_deref(), Some("gp3" | "io1" | "io2")) {
        now.storage_type = None;
    }
    if !is_large_gp3 {
        now.storage_throughput = None;
    }
    (now, afterwards)
}

fn restore_tags(request: &Request, origin: &Origin, run: &RunId, not_carried: &mut Vec<String>) -> Tags {
    let mut tags = Tags::from([
        (tag::PURPOSE.to_owned(), "restore".to_owned()),
        (tag::RUN.to_owned(), run.to_string()),
        (tag::SOURCE.to_owned(), origin.name.clone()),
    ]);
    tags.extend(request.tags.clone());
    if !tag::add_as_room_allows(&mut tags, &origin.tags) {
        not_carried.push("not all tags fit beside lifeboat's own".to_owned());
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_asked_for_in_whole_seconds_and_never_before_the_window() {
        let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        for (at, earliest, expected) in [
            ("2026-11-30T12:40:05Z", "2026-11-30T12:40:05.612Z", "2026-11-30T12:40:06Z"),
            ("2026-11-30T12:40:05.9Z", "2026-11-30T12:40:05.612Z", "2026-11-30T12:40:06Z"),
            ("2026-11-30T12:40:05Z", "2026-11-30T12:40:05Z", "2026-11-30T12:40:05Z"),
            ("2026-11-30T12:40:09.999Z", "2026-11-30T12:40:05.612Z", "2026-11-30T12:40:09Z"),
        ] {
            assert_eq!(in_whole_seconds(time(at), time(earliest)), time(expected), "{at} of {earliest}");
        }
    }
}
