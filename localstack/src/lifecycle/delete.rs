//! Deleting an instance.

use crate::clock::Clock;
use crate::cluster::base_backup::archive_everything;
use crate::cluster::files::remove_tree;
use crate::event_messages;
use crate::instance_status::Status;
use crate::lifecycle::job::{Job, Superseded};
use crate::lifecycle::snapshots::drop_automated_snapshots;
use crate::lifecycle::sweep::sweep_files;
use crate::pace::Stage;
use crate::resources::{Instance, Origin, Retained, SnapshotStatus};

impl Job {
    /// Deletes the instance, as its actor's last piece of work. The signal that ended the work before it has been
    /// given; from here on only the end of the stack interrupts.
    pub(super) async fn delete(&self) -> anyhow::Result<()> {
        let last = Job { cancel: self.cx.stopping.listener(), ..self.clone() };
        last.delete_uninterrupted().await
    }

    async fn delete_uninterrupted(&self) -> anyhow::Result<()> {
        let since = self.cx.clock.now();
        let instance = self.instance()?;
        let deletion = instance.deletion.clone().ok_or(Superseded)?;
        if let Some(id) = &deletion.final_snapshot
            && self.is_snapshot_creating(&instance, id)
        {
            if instance.settings.is_postgres() && self.cx.server(&self.resource_id).is_none() {
                // The stack was restarted in the middle of this deletion.
                self.cx.start_server(&instance, None, &self.cancel).await?;
            }
            if let Err(error) = self.fill_snapshot(id).await {
                // An instance is not deleted without its final snapshot.
                if !self.cancel.is_set() {
                    let is_up = self.cx.server(&self.resource_id).is_some();
                    self.edit_instance(|instance| {
                        instance.status = if is_up { Status::Available } else { Status::Failed };
                        instance.deletion = None;
                    })?;
                }
                return Err(error);
            }
        }
        let is_source = self.cx.store.read(|state| {
            state.instances().any(
                |other| matches!(&other.origin, Origin::Time { source, .. } if *source == self.resource_id),
            )
        });
        if (deletion.keep_automated_backups || is_source) && self.cx.is_lazy() && instance.status.is_running()
        {
            self.running_server().await?;
        }
        if (deletion.keep_automated_backups || is_source)
            && instance.archived_until.is_none()
            && let Some(server) = self.cx.server(&self.resource_id)
        {
            let until = archive_everything(&self.cx.home, &server, &self.resource_id, &self.cancel).await?;
            self.edit_instance(|instance| instance.archived_until = Some(until))?;
        }
        self.cx.proxies.close(&self.resource_id).await;
        self.cx.stop_server(&self.resource_id).await;
        self.hold_stage(since, Stage::Delete).await?;
        self.wait_while_stuck().await?;
        remove_tree(&self.cx.home.cluster(&self.resource_id).root)?;
        let now = self.cx.clock.now();
        self.record_event(&event_messages::DELETED);
        self.cx.store.change(|state| {
            let region = state.region_mut(&instance.region);
            let named = region.instances.values().find(|instance| instance.resource_id == self.resource_id);
            let Some(name) = named.map(|instance| instance.id.clone()) else { return };
            let Some(mut instance) = region.instances.remove(&name) else { return };
            // An instance that never had a complete backup leaves nothing to keep.
            let has_backup = region.snapshots.values().any(|snapshot| {
                snapshot.is_automated_of(&self.resource_id) && snapshot.status == SnapshotStatus::Available
            });
            if deletion.keep_automated_backups && instance.settings.retention_days > 0 && has_backup {
                instance.archived_until.get_or_insert_with(Clock::machine_now);
                instance.secret = None;
                instance.shown = None;
                region.retained.insert(self.resource_id.clone(), Retained { instance, deleted_at: now });
            } else {
                drop_automated_snapshots(region, &self.resource_id);
            }
        });
        sweep_files(&self.cx)
    }

    /// Whether the final snapshot has yet to be taken.
    fn is_snapshot_creating(&self, instance: &Instance, snapshot: &str) -> bool {
        self.cx.store.read(|state| {
            let found = state.regions.get(&instance.region).and_then(|region| region.snapshots.get(snapshot));
            found.is_some_and(|snapshot| snapshot.status == SnapshotStatus::Creating)
        })
    }

    /// Waits for as long as the control endpoint says that the instance never goes away.
    async fn wait_while_stuck(&self) -> Result<(), Superseded> {
        let mut changes = self.cx.store.subscribe();
        while self.instance()?.is_stuck_deleting() {
            tokio::select! {
                _ = changes.changed() => {}
                () = self.cancel.wait() => return Err(Superseded),
            }
        }
        Ok(())
    }
}
