//! Snapshots: manual and automated, and when automated ones end.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::cluster::backup::take;
use crate::cluster::files::remove_tree;
use crate::happening;
use crate::lifecycle::{Job, Superseded, sweep};
use crate::pace::Stage;
use crate::record::{BaseBackup, EventSource, Instance, Region, Snapshot, SnapshotKind, SnapshotStatus};
use crate::restorable::horizon;
use crate::stack::Shared;
use crate::status::Status;
use crate::stop::Cancel;

impl Job {
    /// Fills a manual snapshot; the instance was set to `backing-up` when it was asked for.
    pub(super) async fn snapshot(&self, id: &str) -> anyhow::Result<()> {
        let outcome = self.fill(id).await;
        // Whatever became of the snapshot, the instance is as it was, unless it is being deleted by now.
        let after = self.enter(Status::Available);
        outcome?;
        Ok(after?)
    }

    /// Takes an automated snapshot and drops those that are past the retention.
    pub(super) async fn back_up(&self) -> anyhow::Result<()> {
        let instance = self.instance()?;
        if instance.settings.retention_days == 0 || !instance.settings.is_postgres() {
            return Ok(self.enter(Status::Available)?);
        }
        self.enter(Status::BackingUp)?;
        self.event(&happening::BACKING_UP);
        let now = self.shared.clock.now();
        let id = self.shared.store.change(|state| {
            let region = state.region_mut(&instance.region);
            let id = automated_id(region, &instance.id, now);
            let tags =
                if instance.settings.copy_tags_to_snapshot { instance.tags.clone() } else { Vec::new() };
            let snapshot = Snapshot { tags, ..new_snapshot(&instance, &id, SnapshotKind::Automated) };
            region.snapshots.insert(id.clone(), snapshot);
            id
        });
        let outcome = self.fill(&id).await;
        if outcome.is_err() {
            self.shared.store.change(|state| state.region_mut(&instance.region).snapshots.remove(&id));
        }
        let after = self.enter(Status::Available);
        outcome?;
        after?;
        self.event(&happening::BACKED_UP);
        expire(&self.shared);
        sweep(&self.shared)
    }

    /// Takes the base backup behind a snapshot that is `creating`, and makes it `available`.
    ///
    /// A manual one is finished even when its instance is to be deleted meanwhile: someone asked for it. Only the
    /// stack's own end stops it.
    pub(super) async fn fill(&self, id: &str) -> anyhow::Result<()> {
        let instance = self.instance()?;
        let since = self.shared.clock.now();
        let kind = self
            .shared
            .store
            .read(|state| Some(state.regions.get(&instance.region)?.snapshots.get(id)?.kind))
            .ok_or(Superseded)?;
        let begun = match kind {
            SnapshotKind::Manual | SnapshotKind::Awsbackup => &happening::MANUAL_SNAPSHOT_BEGUN,
            SnapshotKind::Automated => &happening::AUTOMATED_SNAPSHOT_BEGUN,
        };
        self.shared.add_event(&instance.region, EventSource::Snapshot, id, begun);
        let cancel = match kind {
            SnapshotKind::Manual | SnapshotKind::Awsbackup => self.shared.stopping.listener(),
            SnapshotKind::Automated => self.cancel.clone(),
        };
        let patient = Job { cancel: cancel.clone(), ..self.clone() };
        let outcome = patient.take_base_backup(&instance, &cancel).await;
        let outcome = match outcome {
            Ok(backup) => {
                let tell = |percent: u8| {
                    self.shared.store.change(|state| {
                        if let Some(snapshot) = state.region_mut(&instance.region).snapshots.get_mut(id) {
                            snapshot.percent = percent.min(99);
                        }
                    });
                };
                patient.hold_reporting(since, Stage::BackUp, tell).await.map(|()| backup).map_err(Into::into)
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(backup) => {
                self.finish(&instance, id, kind, backup);
                Ok(())
            }
            Err(error) => {
                let is_stopping = self.shared.stopping.listener().is_set();
                if kind == SnapshotKind::Manual && !is_stopping {
                    self.shared.store.change(|state| {
                        if let Some(snapshot) = state.region_mut(&instance.region).snapshots.get_mut(id) {
                            snapshot.status = SnapshotStatus::Failed;
                        }
                    });
                }
                Err(error)
            }
        }
    }

    /// The backup's id and place in time; nothing for an engine without a server.
    async fn take_base_backup(
        &self,
        instance: &Instance,
        cancel: &Cancel,
    ) -> anyhow::Result<Option<(String, BaseBackup)>> {
        if !instance.settings.is_postgres() {
            return Ok(None);
        }
        let id = format!("{:032x}", rand::random::<u128>());
        let place = self.shared.home.backup(&id);
        let server = self.server().await?;
        match take(&self.shared.home, &server, &self.resource_id, &place, cancel).await {
            Ok(backup) => Ok(Some((id, backup))),
            Err(error) => {
                remove_tree(&place)?;
                Err(error)
            }
        }
    }

    fn finish(
        &self,
        instance: &Instance,
        id: &str,
        kind: SnapshotKind,
        backup: Option<(String, BaseBackup)>,
    ) {
        let taken_at = match &backup {
            Some((_, backup)) => self.shared.clock.stack_time(backup.complete_until),
            None => self.shared.clock.now(),
        };
        self.shared.store.change(|state| {
            let backup_id = backup.as_ref().map(|(id, _)| id.clone());
            let snapshots = &mut state.region_mut(&instance.region).snapshots;
            // Deleted while it was being taken: the sweep removes its files.
            if let Some(snapshot) = snapshots.get_mut(id) {
                snapshot.backup = backup_id;
                snapshot.status = SnapshotStatus::Available;
                snapshot.percent = 100;
                snapshot.created_at = Some(taken_at);
                snapshot.original_created_at = Some(taken_at);
                snapshot.database_time = Some(taken_at);
            }
            if let Some((id, backup)) = backup {
                state.backups.insert(id, backup);
            }
        });
        let created = match kind {
            SnapshotKind::Manual | SnapshotKind::Awsbackup => &happening::MANUAL_SNAPSHOT_CREATED,
            SnapshotKind::Automated => &happening::AUTOMATED_SNAPSHOT_CREATED,
        };
        self.shared.add_event(&instance.region, EventSource::Snapshot, id, created);
    }
}

/// A snapshot of the instance as it is, `creating`.
pub(crate) fn new_snapshot(instance: &Instance, id: &str, kind: SnapshotKind) -> Snapshot {
    Snapshot {
        id: id.to_owned(),
        region: instance.region.clone(),
        kind,
        status: SnapshotStatus::Creating,
        percent: 0,
        instance_id: instance.id.clone(),
        resource_id: instance.resource_id.clone(),
        instance_created_at: instance.created_at,
        settings: instance.settings.clone(),
        backup: None,
        created_at: None,
        original_created_at: None,
        database_time: None,
        copied_from: None,
        tags: Vec::new(),
        source_tags: instance.tags.clone(),
        shared_with: Vec::new(),
    }
}

/// `rds:<instance>-YYYY-MM-DD-HH-MM`. A name that is taken, by an instance of the same name before, moves on a minute.
fn automated_id(region: &Region, instance: &str, now: DateTime<Utc>) -> String {
    (0..)
        .map(|minute| {
            format!("rds:{instance}-{}", (now + TimeDelta::minutes(minute)).format("%Y-%m-%d-%H-%M"))
        })
        .find(|id| !region.snapshots.contains_key(id))
        .expect("a Region holds finitely many snapshots")
}

/// Drops automated snapshots that are past their instance's retention, and retained backups whose time is over.
///
/// The newest of those that are past it stays: a recovery to the first moments of the retention begins there.
pub(super) fn expire(shared: &Arc<Shared>) {
    let now = shared.clock.now();
    shared.store.change(|state| {
        for region in state.regions.values_mut() {
            let over: Vec<String> = region
                .retained
                .iter()
                .filter(|(_, kept)| {
                    kept.deleted_at + TimeDelta::days(kept.instance.settings.retention_days) <= now
                })
                .map(|(resource_id, _)| resource_id.clone())
                .collect();
            for resource_id in over {
                region.retained.remove(&resource_id);
                drop_automated(region, &resource_id);
            }
            for (resource_id, horizon) in region
                .instances
                .values()
                .map(|instance| (instance.resource_id.clone(), horizon(instance, now)))
                .collect::<Vec<_>>()
            {
                for id in past_retention(region, &resource_id, horizon) {
                    region.snapshots.remove(&id);
                }
            }
        }
    });
}

/// The ids of the automated snapshots taken before `horizon`, without the newest of them.
fn past_retention(region: &Region, resource_id: &str, horizon: DateTime<Utc>) -> Vec<String> {
    let mut taken: Vec<(DateTime<Utc>, &str)> = region
        .snapshots
        .values()
        .filter(|snapshot| snapshot.kind == SnapshotKind::Automated && snapshot.resource_id == resource_id)
        .filter_map(|snapshot| Some((snapshot.created_at?, snapshot.id.as_str())))
        .collect();
    taken.retain(|(at, _)| *at <= horizon);
    taken.sort_unstable();
    taken.pop();
    taken.into_iter().map(|(_, id)| id.to_owned()).collect()
}

/// Removes all automated snapshots of an instance.
pub(crate) fn drop_automated(region: &mut Region, resource_id: &str) {
    region.snapshots.retain(|_, snapshot| {
        snapshot.kind != SnapshotKind::Automated || snapshot.resource_id != resource_id
    });
}
