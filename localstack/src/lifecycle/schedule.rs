//! What happens by itself: daily backups, changes that waited for the maintenance window, the end of old backups.
//! And how a stack that was stopped, or killed, goes on.

use std::sync::Arc;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};

use crate::happening;
use crate::lifecycle::backup::expire;
use crate::lifecycle::sweep::sweep_all;
use crate::lifecycle::{Work, sweep};
use crate::rds::finish_copy_later;
use crate::record::{EventSource, Instance, Pending, SnapshotKind, SnapshotStatus};
use crate::stack::{Shared, report};
use crate::status::Status;
use crate::stop::Cancel;
use crate::windows::Window;

/// How long events are kept.
const EVENTS_KEPT: TimeDelta = TimeDelta::days(14);

/// Looks at the schedules now and then, and whenever the clock jumps, for as long as the stack runs.
pub(crate) async fn keep_schedules(shared: Arc<Shared>) {
    let stopping = shared.stopping.listener();
    let mut archives_due = shared.clock.now();
    // Up to when windows are over, and how many jumps there were by then.
    let (mut over, mut jumps) = shared.clock.now_and_jumps();
    loop {
        let (now, jumps_so_far) = shared.clock.now_and_jumps();
        if shared.windows_only_in_jumps && jumps == jumps_so_far {
            over = now;
        }
        let is_waited_for = look(&shared, now, shared.windows_only_in_jumps.then_some(over));
        if !is_waited_for {
            (over, jumps) = (now, jumps_so_far);
        }
        if now >= archives_due {
            archives_due = now + TimeDelta::minutes(1);
            prune_archives(&shared);
        }
        tokio::select! {
            () = shared.clock.sleep_until(now + TimeDelta::from_std(shared.pace.tick()).unwrap_or_default()) => {}
            () = stopping.given() => return,
        }
    }
}

/// Begins what is due, of the windows after `over` if that is given, and returns whether something else has to end first.
fn look(shared: &Arc<Shared>, now: DateTime<Utc>, over: Option<DateTime<Utc>>) -> bool {
    let work = shared.store.read(|state| {
        let has_server =
            |instance: &Instance| shared.is_lazy() || shared.server(&instance.resource_id).is_some();
        state
            .instances()
            .filter_map(|instance| due(instance, has_server(instance), now, over))
            .collect::<Vec<_>>()
    });
    let is_waited_for = work.iter().any(|(_, due)| *due == Due::Wait);
    for (resource_id, due) in work {
        let mut too_long = None;
        shared.store.change(|state| {
            let Some(instance) = state.instance_mut(&resource_id) else { return };
            match due {
                Due::BackUp => {
                    instance.backup_considered_at = now;
                    shared.queue(&resource_id, Work::BackUp);
                }
                Due::Skip => instance.backup_considered_at = now,
                Due::Change => {
                    instance.maintenance_considered_at = now;
                    shared.queue(&resource_id, Work::Change { all: true });
                }
                Due::Revive => shared.queue(&resource_id, Work::Reboot { failover: false }),
                Due::Start => {
                    instance.status = Status::Starting;
                    too_long = Some((instance.region.clone(), instance.id.clone()));
                    shared.queue(&resource_id, Work::Start);
                }
                Due::Wait => {}
            }
        });
        if let Some((region, id)) = too_long {
            shared.add_event(&region, EventSource::Instance, &id, &happening::STOPPED_TOO_LONG);
        }
    }
    let is_time_to_expire = shared.store.read(|state| {
        state.regions.values().any(|region| {
            region.events.first().is_some_and(|event| event.at < now - EVENTS_KEPT)
                || region.snapshots.values().any(|snapshot| {
                    snapshot.kind == SnapshotKind::Automated
                        && snapshot.created_at.is_some_and(|at| at < now - TimeDelta::days(1))
                })
        })
    });
    if is_time_to_expire {
        shared.store.change(|state| {
            for region in state.regions.values_mut() {
                region.events.retain(|event| event.at >= now - EVENTS_KEPT);
            }
        });
        expire(shared);
        if let Err(error) = sweep(shared) {
            report(format_args!("cannot remove what is no longer needed: {error:#}"));
        }
    }
    is_waited_for
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    BackUp,
    /// The window passed while no backup could be taken.
    Skip,
    Change,
    /// Its server ended by itself.
    Revive,
    /// It was stopped for as long as it may be.
    Start,
    /// A backup, as soon as it is no longer busy.
    Wait,
}

/// What an instance's windows, and its server, ask for now.
fn due(
    instance: &Instance,
    has_server: bool,
    now: DateTime<Utc>,
    over: Option<DateTime<Utc>>,
) -> Option<(String, Due)> {
    let passed = |window: Result<Window, _>, considered: DateTime<Utc>| {
        let considered = over.map_or(considered, |over| considered.max(over));
        window.is_ok_and(|window: Window| window.last_start(now) > considered)
    };
    let is_free = instance.status == Status::Available && instance.shown.is_none();
    let may_stay_stopped = instance.automatic_restart().is_none_or(|at| now < at);
    let due = if instance.status == Status::Stopped && instance.shown.is_none() && !may_stay_stopped {
        Due::Start
    } else if is_free && !has_server && instance.settings.is_postgres() {
        Due::Revive
    } else if instance.settings.retention_days > 0
        && instance.settings.is_postgres()
        && passed(Window::daily(&instance.settings.backup_window), instance.backup_considered_at)
    {
        match &instance.status {
            _ if is_free => Due::BackUp,
            Status::Stopped
            | Status::Deleting
            | Status::Failed
            | Status::IncompatibleRestore
            | Status::Told(_) => Due::Skip,
            _ => Due::Wait,
        }
    } else if is_free
        && instance.pending != Pending::default()
        && passed(Window::weekly(&instance.settings.maintenance_window), instance.maintenance_considered_at)
    {
        Due::Change
    } else {
        return None;
    };
    Some((instance.resource_id.clone(), due))
}

/// An instance without backups archives its log too (a manual snapshot needs it); here it goes.
fn prune_archives(shared: &Arc<Shared>) {
    let idle = shared.store.read(|state| {
        state
            .instances()
            .filter(|instance| instance.status == Status::Available && instance.settings.is_postgres())
            .map(|instance| instance.resource_id.clone())
            .collect::<Vec<_>>()
    });
    for resource_id in idle {
        shared.queue(&resource_id, Work::PruneArchive);
    }
}

/// Brings every instance back to where it was when the stack ended, before calls are answered.
pub(crate) async fn resume(shared: &Arc<Shared>) -> anyhow::Result<()> {
    sweep_all(shared)?;
    let instances = shared.store.read(|state| state.instances().cloned().collect::<Vec<_>>());
    finish_copies(shared);
    let mut starting = Vec::new();
    for instance in instances {
        let runs = instance.settings.is_postgres()
            && (instance.status.is_running() || instance.status == Status::Starting);
        let shared = Arc::clone(shared);
        starting.push(tokio::spawn(async move {
            let outcome = if runs && shared.is_lazy() {
                shared.open_door(&instance).await.map(Some).map_err(Into::into)
            } else if runs {
                shared.start_server(&instance, None, &Cancel::never()).await.map(|server| Some(server.port))
            } else {
                Ok(None)
            };
            (instance, outcome)
        }));
    }
    // All servers first, then the work: a restore under way may need the server of another instance.
    let mut started = Vec::new();
    for start in starting {
        started.push(start.await.context("the start of an instance was lost")?);
    }
    let now = shared.clock.now();
    shared.store.change(|state| {
        for instance in state.regions.values_mut().flat_map(|region| region.instances.values_mut()) {
            // Windows that passed while the stack was down are not made up for: an instance that was available
            // is available when the first call is answered.
            instance.backup_considered_at = instance.backup_considered_at.max(now);
            instance.maintenance_considered_at = instance.maintenance_considered_at.max(now);
        }
    });
    for (instance, outcome) in started {
        settle(shared, &instance, outcome);
    }
    Ok(())
}

/// Copies of snapshots that were under way.
fn finish_copies(shared: &Arc<Shared>) {
    let copies = shared.store.read(|state| {
        let snapshots = state.regions.values().flat_map(|region| region.snapshots.values());
        snapshots
            .filter(|snapshot| {
                matches!(snapshot.status, SnapshotStatus::Pending | SnapshotStatus::Creating)
                    && snapshot.copied_from.is_some()
            })
            .map(|snapshot| (snapshot.region.clone(), snapshot.id.clone()))
            .collect::<Vec<_>>()
    });
    for (region, id) in copies {
        finish_copy_later(shared, &region, &id);
    }
}

/// Decides where an instance goes on, once its server runs on the port that `outcome` tells, if it needs one.
fn settle(shared: &Arc<Shared>, was: &Instance, outcome: anyhow::Result<Option<u16>>) {
    let resource_id = &was.resource_id;
    let unfinished = shared.store.change(|state| {
        let region = state.region_mut(&was.region);
        // An automated snapshot that was not finished is dropped; the next one comes.
        region.snapshots.retain(|_, snapshot| {
            snapshot.resource_id != *resource_id
                || snapshot.kind != SnapshotKind::Automated
                || snapshot.status != SnapshotStatus::Creating
        });
        region
            .snapshots
            .values()
            .filter(|snapshot| {
                snapshot.resource_id == *resource_id
                    && snapshot.status == SnapshotStatus::Creating
                    && snapshot.copied_from.is_none()
            })
            .map(|snapshot| snapshot.id.clone())
            .next()
    });
    let set = |status: Status| {
        shared.store.change(|state| {
            if let Some(instance) = state.instance_mut(resource_id) {
                instance.status = status;
                if let Ok(Some(port)) = outcome {
                    instance.port = Some(port);
                }
            }
        });
    };
    if let Err(error) = &outcome {
        report(format_args!("instance `{}` does not start: {error:#}", was.id));
        return set(Status::Failed);
    }
    match &was.status {
        Status::Creating => shared.queue(resource_id, Work::Create),
        Status::Deleting => shared.queue(resource_id, Work::Delete),
        Status::Stopping => shared.queue(resource_id, Work::Stop { snapshot: unfinished }),
        Status::Stopped
        | Status::Failed
        | Status::IncompatibleRestore
        | Status::IncompatibleParameters
        | Status::Told(_) => set(was.status.clone()),
        _ => match unfinished {
            Some(snapshot) => {
                set(Status::BackingUp);
                shared.queue(resource_id, Work::Snapshot(snapshot));
            }
            None => {
                set(Status::Available);
                if was.status == Status::BackingUp {
                    shared.queue(resource_id, Work::BackUp);
                }
                let all = matches!(was.status, Status::Modifying | Status::Renaming);
                shared.queue(resource_id, Work::Change { all });
            }
        },
    }
}
