//! Taking snapshots, manual and automated, and the expiry of automated ones.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::cluster::base_backup::take_base_backup;
use crate::cluster::files::remove_tree;
use crate::event_delivery::record_event;
use crate::event_messages::{self, EventMessage};
use crate::instance_status::Status;
use crate::lifecycle::job::{Job, Superseded};
use crate::lifecycle::sweep::sweep_files;
use crate::pace::Stage;
use crate::resources::{BaseBackup, EventSource, Instance, Snapshot, SnapshotKind, SnapshotStatus};
use crate::restorable::retention_start;
use crate::stack::Context;
use crate::store::Region;

impl Job {
    /// Fills a manual snapshot. The call that asked for it has set the instance to `backing-up`.
    pub(super) async fn take_snapshot(&self, id: &str) -> anyhow::Result<()> {
        let outcome = self.fill_snapshot(id).await;
        // Whatever became of the snapshot, the instance is available again, unless it is being deleted by now.
        let after = self.enter_status(Status::Available);
        outcome?;
        Ok(after?)
    }

    /// Takes an automated snapshot and drops those that have expired.
    pub(super) async fn back_up(&self) -> anyhow::Result<()> {
        let instance = self.instance()?;
        if instance.settings.retention_days == 0 || !instance.settings.is_postgres() {
            return Ok(self.enter_status(Status::Available)?);
        }
        self.enter_status(Status::BackingUp)?;
        self.record_event(&event_messages::BACKING_UP);
        let now = self.cx.clock.now();
        let id = self.cx.store.change(|state| {
            let region = state.region_mut(&instance.region);
            let id = automated_snapshot_id(region, &instance.id, now);
            let tags =
                if instance.settings.copy_tags_to_snapshot { instance.tags.clone() } else { Vec::new() };
            let snapshot = Snapshot { tags, ..new_snapshot(&instance, &id, SnapshotKind::Automated) };
            region.snapshots.insert(id.clone(), snapshot);
            id
        });
        let outcome = self.fill_snapshot(&id).await;
        if outcome.is_err() {
            self.cx.store.change(|state| state.region_mut(&instance.region).snapshots.remove(&id));
        }
        let after = self.enter_status(Status::Available);
        outcome?;
        after?;
        self.record_event(&event_messages::BACKED_UP);
        expire_backups(&self.cx);
        sweep_files(&self.cx)
    }

    /// Takes the base backup behind a snapshot that is `creating`, and makes it `available`.
    ///
    /// A manual snapshot is finished even if its instance is deleted in the meantime: a caller asked for it. Only the
    /// end of the stack interrupts it.
    pub(super) async fn fill_snapshot(&self, id: &str) -> anyhow::Result<()> {
        let instance = self.instance()?;
        let since = self.cx.clock.now();
        let region = &instance.region;
        let kind = self.cx.store.read(|state| Some(state.region(region).snapshots.get(id)?.kind));
        let kind = kind.ok_or(Superseded)?;
        let begun = match kind {
            SnapshotKind::Automated => &event_messages::AUTOMATED_SNAPSHOT_BEGUN,
            SnapshotKind::Manual | SnapshotKind::Awsbackup => &event_messages::MANUAL_SNAPSHOT_BEGUN,
        };
        self.record_snapshot_event(&instance, id, begun);
        let cancel =
            if kind == SnapshotKind::Automated { self.cancel.clone() } else { self.cx.stopping.listener() };
        let patient = Job { cancel, ..self.clone() };
        let edit_snapshot = |edit: &dyn Fn(&mut Snapshot)| {
            self.cx.store.change(|state| {
                let region = state.region_mut(&instance.region);
                region.snapshots.get_mut(id).into_iter().for_each(edit);
            });
        };
        let outcome = async {
            let backup = patient.take_base_backup(&instance).await?;
            let show_progress = |percent: u8| edit_snapshot(&|snapshot| snapshot.percent = percent.min(99));
            patient.hold_stage_with_progress(since, Stage::BackUp, show_progress).await?;
            Ok(backup)
        };
        match outcome.await {
            Ok(backup) => {
                self.finish_snapshot(&instance, id, kind, backup);
                Ok(())
            }
            Err(error) => {
                if kind == SnapshotKind::Manual && !self.cx.stopping.listener().is_set() {
                    edit_snapshot(&|snapshot| snapshot.status = SnapshotStatus::Failed);
                }
                Err(error)
            }
        }
    }

    fn record_snapshot_event(&self, instance: &Instance, id: &str, what: &EventMessage) {
        record_event(&self.cx, &instance.region, EventSource::Snapshot, id, what);
    }

    /// The id and the description of the new backup; `None` for an engine without a server.
    async fn take_base_backup(&self, instance: &Instance) -> anyhow::Result<Option<(String, BaseBackup)>> {
        if !instance.settings.is_postgres() {
            return Ok(None);
        }
        let id = format!("{:032x}", rand::random::<u128>());
        let directory = self.cx.home.backup(&id);
        let server = self.running_server().await?;
        match take_base_backup(&self.cx.home, &server, &self.resource_id, &directory, &self.cancel).await {
            Ok(backup) => Ok(Some((id, backup))),
            Err(error) => {
                remove_tree(&directory)?;
                Err(error)
            }
        }
    }

    fn finish_snapshot(
        &self,
        instance: &Instance,
        id: &str,
        kind: SnapshotKind,
        backup: Option<(String, BaseBackup)>,
    ) {
        let taken_at = match &backup {
            Some((_, backup)) => self.cx.clock.stack_time(backup.complete_until),
            None => self.cx.clock.now(),
        };
        self.cx.store.change(|state| {
            let backup_id = backup.as_ref().map(|(id, _)| id.clone());
            let snapshots = &mut state.region_mut(&instance.region).snapshots;
            // If the snapshot was deleted in the meantime, the sweep removes its files.
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
            SnapshotKind::Automated => &event_messages::AUTOMATED_SNAPSHOT_CREATED,
            SnapshotKind::Manual | SnapshotKind::Awsbackup => &event_messages::MANUAL_SNAPSHOT_CREATED,
        };
        self.record_snapshot_event(instance, id, created);
    }
}

/// A snapshot of the instance as it is now, in the status `creating`.
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

/// `rds:<instance>-YYYY-MM-DD-HH-MM`. If an earlier instance of the same name has taken that name, a later minute is used.
fn automated_snapshot_id(region: &Region, instance: &str, now: DateTime<Utc>) -> String {
    (0..)
        .map(|minute| {
            format!("rds:{instance}-{}", (now + TimeDelta::minutes(minute)).format("%Y-%m-%d-%H-%M"))
        })
        .find(|id| !region.snapshots.contains_key(id))
        .expect("a Region holds finitely many snapshots")
}

/// Drops automated snapshots that are older than their instance's retention, and retained backups that have expired.
pub(super) fn expire_backups(cx: &Arc<Context>) {
    let now = cx.clock.now();
    cx.store.change(|state| {
        for region in state.regions.values_mut() {
            let expired: Vec<String> = region
                .retained
                .iter()
                .filter(|(_, kept)| {
                    kept.deleted_at + TimeDelta::days(kept.instance.settings.retention_days) <= now
                })
                .map(|(resource_id, _)| resource_id.clone())
                .collect();
            for resource_id in expired {
                region.retained.remove(&resource_id);
                drop_automated_snapshots(region, &resource_id);
            }
            let starts: Vec<_> = region
                .instances
                .values()
                .map(|instance| (instance.resource_id.clone(), retention_start(instance, now)))
                .collect();
            for (resource_id, start) in starts {
                for id in expired_snapshots(region, &resource_id, start) {
                    region.snapshots.remove(&id);
                }
            }
        }
    });
}

/// The ids of the automated snapshots taken before the retention started, without the newest of them: a recovery to the
/// first moments of the retention begins there.
fn expired_snapshots(region: &Region, resource_id: &str, start: DateTime<Utc>) -> Vec<String> {
    let mut taken: Vec<(DateTime<Utc>, &str)> = region
        .snapshots
        .values()
        .filter(|snapshot| snapshot.is_automated_of(resource_id))
        .filter_map(|snapshot| Some((snapshot.created_at?, snapshot.id.as_str())))
        .collect();
    taken.retain(|(at, _)| *at <= start);
    taken.sort_unstable();
    taken.pop();
    taken.into_iter().map(|(_, id)| id.to_owned()).collect()
}

/// Removes all automated snapshots of an instance.
pub(crate) fn drop_automated_snapshots(region: &mut Region, resource_id: &str) {
    region.snapshots.retain(|_, snapshot| !snapshot.is_automated_of(resource_id));
}
