//! What happens on schedule: daily backups, changes that waited for the maintenance window, the expiry of old backups.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::actors::{Changes, Work};
use crate::event_delivery::record_event;
use crate::event_messages;
use crate::instance_status::Status;
use crate::lifecycle::snapshots::expire_backups;
use crate::lifecycle::sweep::sweep_files;
use crate::resources::{EventSource, Instance, Pending, SnapshotKind};
use crate::stack::{Context, report_problem};
use crate::windows::Window;

/// How long events are kept.
const EVENTS_KEPT: TimeDelta = TimeDelta::days(14);

/// Begins the work that is due, every tick and whenever the clock jumps, for as long as the stack runs.
pub(crate) async fn keep_schedules(cx: Arc<Context>) {
    let stopping = cx.stopping.listener();
    let mut archives_due = cx.clock.now();
    // Up to when windows have been dealt with, and how many jumps there had been by then.
    let (mut handled_until, mut jumps) = cx.clock.now_and_jumps();
    loop {
        let (now, jumps_so_far) = cx.clock.now_and_jumps();
        if cx.windows_only_in_jumps && jumps == jumps_so_far {
            handled_until = now;
        }
        let must_wait = begin_due_work(&cx, now, cx.windows_only_in_jumps.then_some(handled_until));
        if !must_wait {
            (handled_until, jumps) = (now, jumps_so_far);
        }
        if now >= archives_due {
            archives_due = now + TimeDelta::minutes(1);
            queue_pruning(&cx);
        }
        tokio::select! {
            () = cx.clock.sleep_until(now + TimeDelta::from_std(cx.pace.tick()).unwrap_or_default()) => {}
            () = stopping.wait() => return,
        }
    }
}

/// Begins the work that is due, ignoring windows that began before `handled_until`, if that is given. Returns whether a backup
/// has to wait for other work to end.
fn begin_due_work(cx: &Arc<Context>, now: DateTime<Utc>, handled_until: Option<DateTime<Utc>>) -> bool {
    let work = cx.store.read(|state| {
        let has_server = |instance: &Instance| cx.is_lazy() || cx.server(&instance.resource_id).is_some();
        state
            .instances()
            .filter_map(|instance| due_work(instance, has_server(instance), now, handled_until))
            .collect::<Vec<_>>()
    });
    let must_wait = work.iter().any(|(_, due)| *due == DueWork::Wait);
    for (resource_id, due) in work {
        let mut restarted = None;
        cx.store.change(|state| {
            let Some(instance) = state.instance_mut(&resource_id) else { return };
            match due {
                DueWork::BackUp => {
                    instance.backup_considered_at = now;
                    cx.queue_work(&resource_id, Work::BackUp);
                }
                DueWork::Skip => instance.backup_considered_at = now,
                DueWork::Change => {
                    instance.maintenance_considered_at = now;
                    cx.queue_work(&resource_id, Work::ApplyChanges(Changes::All));
                }
                DueWork::Revive => cx.queue_work(&resource_id, Work::Reboot { failover: false }),
                DueWork::Start => {
                    instance.status = Status::Starting;
                    restarted = Some((instance.region.clone(), instance.id.clone()));
                    cx.queue_work(&resource_id, Work::Start);
                }
                DueWork::Wait => {}
            }
        });
        if let Some((region, id)) = restarted {
            record_event(cx, &region, EventSource::Instance, &id, &event_messages::STOPPED_TOO_LONG);
        }
    }
    expire_old(cx, now);
    must_wait
}

/// Drops old events and expired backups, if there are any.
fn expire_old(cx: &Arc<Context>, now: DateTime<Utc>) {
    let is_time_to_expire = cx.store.read(|state| {
        state.regions.values().any(|region| {
            region.events.first().is_some_and(|event| event.at < now - EVENTS_KEPT)
                || region.snapshots.values().any(|snapshot| {
                    snapshot.kind == SnapshotKind::Automated
                        && snapshot.created_at.is_some_and(|at| at < now - TimeDelta::days(1))
                })
        })
    });
    if is_time_to_expire {
        cx.store.change(|state| {
            for region in state.regions.values_mut() {
                region.events.retain(|event| event.at >= now - EVENTS_KEPT);
            }
        });
        expire_backups(cx);
        if let Err(error) = sweep_files(cx) {
            report_problem(format_args!("cannot remove what is no longer needed: {error:#}"));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DueWork {
    BackUp,
    /// The window passed while no backup could be taken.
    Skip,
    Change,
    /// The server ended unexpectedly.
    Revive,
    /// The instance was stopped for as long as RDS allows.
    Start,
    /// A backup, as soon as the instance is no longer busy.
    Wait,
}

/// The work that the windows and the server of an instance call for now.
fn due_work(
    instance: &Instance,
    has_server: bool,
    now: DateTime<Utc>,
    handled_until: Option<DateTime<Utc>>,
) -> Option<(String, DueWork)> {
    let passed = |window: Result<Window, _>, considered: DateTime<Utc>| {
        let considered = handled_until.map_or(considered, |handled_until| considered.max(handled_until));
        window.is_ok_and(|window: Window| window.last_start(now) > considered)
    };
    let settings = &instance.settings;
    let is_free = instance.status == Status::Available && instance.shown.is_none();
    let may_stay_stopped = instance.automatic_restart().is_none_or(|at| now < at);
    let due = if instance.status == Status::Stopped && instance.shown.is_none() && !may_stay_stopped {
        DueWork::Start
    } else if is_free && !has_server && settings.is_postgres() {
        DueWork::Revive
    } else if settings.retention_days > 0
        && settings.is_postgres()
        && passed(Window::parse_daily(&settings.backup_window), instance.backup_considered_at)
    {
        match &instance.status {
            _ if is_free => DueWork::BackUp,
            Status::Stopped
            | Status::Deleting
            | Status::Failed
            | Status::IncompatibleRestore
            | Status::Other(_) => DueWork::Skip,
            _ => DueWork::Wait,
        }
    } else if is_free
        && instance.pending != Pending::default()
        && passed(Window::parse_weekly(&settings.maintenance_window), instance.maintenance_considered_at)
    {
        DueWork::Change
    } else {
        return None;
    };
    Some((instance.resource_id.clone(), due))
}

/// An instance without automated backups archives its log too, because a manual snapshot needs it. This removes what
/// nothing needs any more.
fn queue_pruning(cx: &Arc<Context>) {
    let idle = cx.store.read(|state| {
        state
            .instances()
            .filter(|instance| instance.status == Status::Available && instance.settings.is_postgres())
            .map(|instance| instance.resource_id.clone())
            .collect::<Vec<_>>()
    });
    for resource_id in idle {
        cx.queue_work(&resource_id, Work::PruneArchive);
    }
}
