//! Changes of an existing instance: settings, password, name, reboot, stop, start.

use chrono::{DateTime, Utc};

use crate::actors::Changes;
use crate::clock::Clock;
use crate::cluster::base_backup::archive_everything;
use crate::event_messages::{self, EventMessage};
use crate::instance_status::Status;
use crate::lazy_servers::{open_proxy, wake_server};
use crate::lifecycle::create::set_password;
use crate::lifecycle::job::{Job, Superseded};
use crate::lifecycle::snapshots::drop_automated_snapshots;
use crate::lifecycle::sweep::sweep_files;
use crate::pace::Stage;
use crate::resources::{Instance, ParameterStatus, Pending};
use crate::storage;

impl Job {
    /// Applies pending changes. The password, the port and a retention that is neither turned on nor off never wait
    /// for the maintenance window; the rest waits unless all changes are asked for.
    pub(super) async fn apply_pending(&self, changes: Changes) -> anyhow::Result<()> {
        self.hold_stage(self.cx.clock.now(), Stage::Settle).await?;
        if let Some(verifier) = self.instance()?.pending.verifier {
            self.reset_password(&verifier).await?;
        }
        let instance = self.instance()?;
        let due = due_changes(&instance, changes);
        if due == Pending::default() {
            return Ok(());
        }
        let since = self.cx.clock.now();
        self.enter_status(if due.new_id.is_some() { Status::Renaming } else { Status::Modifying })?;
        let events = change_events(&due);
        for [begun, _] in &events {
            self.record_event(begun);
        }
        if needs_restart(&due) && self.cx.server(&self.resource_id).is_some() {
            self.restart_server(&due).await?;
        }
        self.hold_stage(since, Stage::Modify).await?;
        let was = instance.settings.retention_days;
        let becomes = due.retention_days.unwrap_or(was);
        self.settle_changes(&due, since)?;
        if was > 0 && becomes == 0 {
            self.record_event(&event_messages::BACKUPS_DISABLED);
            self.cx.store.change(|state| {
                drop_automated_snapshots(state.region_mut(&instance.region), &self.resource_id);
            });
            sweep_files(&self.cx)?;
            self.prune_archive()?;
        }
        for [_, done] in events {
            self.record_event(done);
        }
        if was == 0 && becomes > 0 {
            self.record_event(&event_messages::BACKUPS_ENABLED);
            return self.back_up().await;
        }
        if changes_storage(&due) {
            let since = self.cx.clock.now();
            self.enter_status(Status::StorageOptimization)?;
            self.hold_stage(since, Stage::Modify).await?;
        }
        Ok(self.enter_status(Status::Available)?)
    }

    async fn reset_password(&self, verifier: &str) -> anyhow::Result<()> {
        let since = self.cx.clock.now();
        self.enter_status(Status::ResettingMasterCredentials)?;
        let instance = self.instance()?;
        if let (true, Some(user)) = (instance.settings.is_postgres(), &instance.settings.master_username) {
            let client = self.running_server().await?.connect("postgres").await?;
            set_password(&client, user, verifier).await?;
        }
        self.hold_stage(since, Stage::ResetCredentials).await?;
        let applied = verifier.to_owned();
        self.enter_status_with(Status::Available, |instance| {
            // If a newer password was requested in the meantime, it is applied next.
            if instance.pending.verifier.as_ref() == Some(&applied) {
                instance.pending.verifier = None;
            }
            if let Some(secret) = &mut instance.secret {
                (secret.active, secret.rotating) = (true, false);
            }
        })?;
        self.record_event(&event_messages::RESET_CREDENTIALS);
        Ok(())
    }

    /// Moves the applied changes from the pending changes into the settings.
    fn settle_changes(&self, due: &Pending, now: DateTime<Utc>) -> Result<(), Superseded> {
        self.cx.store.change(|state| {
            let instance = state.instance_mut(&self.resource_id).ok_or(Superseded)?;
            move_into_settings(instance, due, now);
            if due.retention_days.is_some() {
                instance.backup_considered_at = now;
            }
            if let Some(new_id) = &due.new_id {
                let (region, old_id) = (instance.region.clone(), instance.id.clone());
                let instances = &mut state.region_mut(&region).instances;
                // If another instance took the new name in the meantime, the rename is dropped.
                if !instances.contains_key(new_id)
                    && let Some(mut instance) = instances.remove(&old_id)
                {
                    instance.id.clone_from(new_id);
                    instances.insert(new_id.clone(), instance);
                }
            }
            Ok(())
        })
    }

    pub(super) fn reload_server(&self) -> anyhow::Result<()> {
        self.cx.reload_server(&self.instance()?)
    }

    pub(super) async fn reboot(&self, failover: bool) -> anyhow::Result<()> {
        let since = self.cx.clock.now();
        self.enter_status(Status::Rebooting)?;
        self.record_event(if failover {
            &event_messages::FAILOVER_BEGUN
        } else {
            &event_messages::SHUT_DOWN
        });
        if self.instance()?.settings.is_postgres() {
            self.restart_server(&Pending::default()).await?;
        }
        self.hold_stage(since, Stage::Reboot).await?;
        self.enter_status(Status::Available)?;
        self.record_event(&event_messages::RESTARTED);
        if failover {
            self.record_event(&event_messages::FAILOVER_DONE);
        }
        Ok(())
    }

    /// Restarts the server. If the server does not start with its parameters, the instance becomes
    /// `incompatible-parameters`, as on AWS.
    async fn restart_server(&self, due: &Pending) -> anyhow::Result<()> {
        self.cx.stop_server(&self.resource_id).await;
        self.cx.store.change(|state| {
            let Some(values) = state.instance(&self.resource_id).map(|instance| state.group_values(instance))
            else {
                return;
            };
            if let Some(instance) = state.instance_mut(&self.resource_id) {
                instance.parameters = Some(values);
                instance.parameter_status = ParameterStatus::InSync;
            }
        });
        let mut instance = self.instance()?;
        if let Some(port) = due.port {
            instance.port = None;
            instance.settings.asked_port = port;
        }
        let started = if self.cx.is_lazy() {
            if due.port.is_some() {
                self.cx.proxies.close(&self.resource_id).await;
            }
            let port = open_proxy(&self.cx, &instance).await?;
            wake_server(&self.cx, &self.resource_id, &self.cancel).await.map(|_| port)
        } else {
            self.cx.start_server(&instance, None, &self.cancel).await.map(|server| server.port)
        };
        match started {
            Ok(port) => Ok(self.edit_instance(|instance| instance.port = Some(port))?),
            Err(_) if self.cancel.is_set() => Err(Superseded.into()),
            Err(error) => {
                self.enter_status(Status::IncompatibleParameters)?;
                self.record_event(&event_messages::INVALID_PARAMETERS);
                Err(error)
            }
        }
    }

    pub(super) async fn stop(&self, snapshot: Option<String>) -> anyhow::Result<()> {
        let since = self.cx.clock.now();
        if let Some(id) = snapshot {
            self.fill_snapshot(&id).await?;
        }
        let mut until = Clock::machine_now();
        if self.cx.is_lazy() {
            self.running_server().await?;
        }
        if let Some(server) = self.cx.server(&self.resource_id) {
            until = archive_everything(&self.cx.home, &server, &self.resource_id, &self.cancel).await?;
            self.cx.stop_server(&self.resource_id).await;
        }
        self.hold_stage(since, Stage::Stop).await?;
        let now = self.cx.clock.now();
        self.enter_status_with(Status::Stopped, |instance| {
            instance.archived_until = Some(until);
            instance.stopped_at = Some(now);
            // Changes that waited for the maintenance window are dropped.
            instance.pending = Pending::default();
        })?;
        self.record_event(&event_messages::STOPPED);
        Ok(())
    }

    pub(super) async fn start(&self) -> anyhow::Result<()> {
        let since = self.cx.clock.now();
        self.enter_status(Status::Starting)?;
        if self.instance()?.settings.is_postgres() {
            self.restart_server(&Pending::default()).await?;
        }
        self.hold_stage(since, Stage::Start).await?;
        let now = self.cx.clock.now();
        self.enter_status_with(Status::Available, |instance| {
            instance.archived_until = None;
            if let Some(stop) = instance.stopped_at.take() {
                instance.stops.push((stop, now));
            }
        })?;
        self.record_event(&event_messages::STARTED);
        Ok(())
    }
}

/// The pending changes that are applied now.
fn due_changes(instance: &Instance, changes: Changes) -> Pending {
    let mut due = Pending { verifier: None, ..instance.pending.clone() };
    if changes == Changes::Urgent {
        // From one number of days to another: immediately, whatever `ApplyImmediately` said.
        let is_switch = |days: i64| days == 0 || instance.settings.retention_days == 0;
        let retention_days = due.retention_days.filter(|days| !is_switch(*days));
        // A new port restarts the database whatever `ApplyImmediately` said.
        due = Pending { retention_days, port: due.port, ..Pending::default() };
    }
    due
}

fn changes_storage(due: &Pending) -> bool {
    due.allocated_storage.is_some()
        || due.storage_type.is_some()
        || due.iops.is_some()
        || due.storage_throughput.is_some()
}

/// The events that announce the beginning and the end of each change.
fn change_events(due: &Pending) -> Vec<[&'static EventMessage; 2]> {
    let class = [&event_messages::CHANGING_CLASS, &event_messages::CHANGED_CLASS];
    let storage = [&event_messages::CHANGING_STORAGE, &event_messages::CHANGED_STORAGE];
    let multi_az = [&event_messages::BECOMING_MULTI_AZ, &event_messages::BECAME_MULTI_AZ];
    let single_az = [&event_messages::BECOMING_SINGLE_AZ, &event_messages::BECAME_SINGLE_AZ];
    let zones = due.multi_az.map(|is_multi| if is_multi { multi_az } else { single_az });
    let class = due.class.is_some().then_some(class);
    class.into_iter().chain(changes_storage(due).then_some(storage)).chain(zones).collect()
}

fn needs_restart(due: &Pending) -> bool {
    due.class.is_some() || due.port.is_some() || due.new_id.is_some() || due.ca.is_some()
}

/// Moves `due` from the pending changes into the settings. A change that was replaced in the meantime stays pending.
fn move_into_settings(instance: &mut Instance, due: &Pending, now: DateTime<Utc>) {
    fn move_over<T: Clone + PartialEq>(due: &Option<T>, pending: &mut Option<T>, setting: &mut T) {
        if let Some(value) = due {
            setting.clone_from(value);
            if pending.as_ref() == Some(value) {
                *pending = None;
            }
        }
    }
    let (settings, pending) = (&mut instance.settings, &mut instance.pending);
    move_over(&due.class, &mut pending.class, &mut settings.class);
    move_over(&due.allocated_storage, &mut pending.allocated_storage, &mut settings.allocated_storage);
    move_over(&due.storage_type, &mut pending.storage_type, &mut settings.storage_type);
    move_over(&due.multi_az, &mut pending.multi_az, &mut settings.multi_az);
    move_over(&due.retention_days, &mut pending.retention_days, &mut settings.retention_days);
    move_over(
        &due.dedicated_log_volume,
        &mut pending.dedicated_log_volume,
        &mut settings.dedicated_log_volume,
    );
    move_over(&due.port, &mut pending.port, &mut settings.asked_port);
    move_over(&due.engine_version, &mut pending.engine_version, &mut settings.engine_version);
    move_over(&due.subnet_group, &mut pending.subnet_group, &mut settings.subnet_group);
    move_over(&due.ca, &mut pending.ca, &mut settings.ca);
    move_over(&due.iam_authentication, &mut pending.iam_authentication, &mut settings.iam_authentication);
    if due.iops.is_some() {
        settings.iops = due.iops;
        pending.iops = None;
    }
    if due.storage_throughput.is_some() {
        settings.storage_throughput = due.storage_throughput;
        pending.storage_throughput = None;
    }
    storage::fill_in_performance(settings);
    if changes_storage(due) {
        instance.storage_changed_at = Some(now);
    }
    if due.new_id == pending.new_id {
        pending.new_id = None;
    }
}
