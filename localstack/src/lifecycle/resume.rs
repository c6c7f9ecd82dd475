//! How a stack that was stopped or killed continues.

use std::sync::Arc;

use anyhow::Context as _;

use crate::actors::{Changes, Work};
use crate::cancel::CancelSignal;
use crate::instance_status::Status;
use crate::lazy_servers::open_proxy;
use crate::lifecycle::copies::finish_copies;
use crate::lifecycle::sweep::sweep_after_start;
use crate::resources::{Instance, SnapshotKind, SnapshotStatus};
use crate::stack::{Context, report_problem};

/// Brings every instance back to where it was when the stack ended, before the first call is answered.
pub(crate) async fn resume_instances(cx: &Arc<Context>) -> anyhow::Result<()> {
    sweep_after_start(cx)?;
    let instances = cx.store.read(|state| state.instances().cloned().collect::<Vec<_>>());
    finish_copies(cx);
    let mut starting = Vec::new();
    for instance in instances {
        let runs = instance.settings.is_postgres()
            && (instance.status.is_running() || instance.status == Status::Starting);
        let cx = Arc::clone(cx);
        starting.push(tokio::spawn(async move {
            let outcome = if runs && cx.is_lazy() {
                open_proxy(&cx, &instance).await.map(Some).map_err(Into::into)
            } else if runs {
                cx.start_server(&instance, None, &CancelSignal::never()).await.map(|server| Some(server.port))
            } else {
                Ok(None)
            };
            (instance, outcome)
        }));
    }
    // All servers start before any work: a restore under way may need the server of another instance.
    let mut started = Vec::new();
    for start in starting {
        started.push(start.await.context("the task that started an instance was lost")?);
    }
    let now = cx.clock.now();
    cx.store.change(|state| {
        for instance in state.instances_mut() {
            // Windows that passed while the stack was down are skipped: an instance that was available is available
            // when the first call is answered.
            instance.backup_considered_at = instance.backup_considered_at.max(now);
            instance.maintenance_considered_at = instance.maintenance_considered_at.max(now);
        }
    });
    for (instance, outcome) in started {
        resume_instance(cx, &instance, outcome);
    }
    Ok(())
}

/// Decides how an instance continues; `outcome` has the port of its server, if it needs one.
fn resume_instance(cx: &Arc<Context>, was: &Instance, outcome: anyhow::Result<Option<u16>>) {
    let resource_id = &was.resource_id;
    let unfinished = cx.store.change(|state| {
        let region = state.region_mut(&was.region);
        // An unfinished automated snapshot is dropped: the next one will follow.
        region.snapshots.retain(|_, snapshot| {
            snapshot.resource_id != *resource_id
                || snapshot.kind != SnapshotKind::Automated
                || snapshot.status != SnapshotStatus::Creating
        });
        region
            .snapshots
            .values()
            .find(|snapshot| {
                snapshot.resource_id == *resource_id
                    && snapshot.status == SnapshotStatus::Creating
                    && snapshot.copied_from.is_none()
            })
            .map(|snapshot| snapshot.id.clone())
    });
    let set = |status: Status| {
        cx.store.change(|state| {
            if let Some(instance) = state.instance_mut(resource_id) {
                instance.status = status;
                if let Ok(Some(port)) = outcome {
                    instance.port = Some(port);
                }
            }
        });
    };
    if let Err(error) = &outcome {
        report_problem(format_args!("cannot start instance `{}`: {error:#}", was.id));
        return set(Status::Failed);
    }
    match &was.status {
        Status::Creating => cx.queue_work(resource_id, Work::Create),
        Status::Deleting => cx.queue_work(resource_id, Work::Delete),
        Status::Stopping => cx.queue_work(resource_id, Work::Stop { snapshot: unfinished }),
        Status::Stopped
        | Status::Failed
        | Status::IncompatibleRestore
        | Status::IncompatibleParameters
        | Status::Other(_) => set(was.status.clone()),
        _ => match unfinished {
            Some(snapshot) => {
                set(Status::BackingUp);
                cx.queue_work(resource_id, Work::Snapshot(snapshot));
            }
            None => {
                set(Status::Available);
                if was.status == Status::BackingUp {
                    cx.queue_work(resource_id, Work::BackUp);
                }
                let is_changing = matches!(was.status, Status::Modifying | Status::Renaming);
                let changes = if is_changing { Changes::All } else { Changes::Urgent };
                cx.queue_work(resource_id, Work::ApplyChanges(changes));
            }
        },
    }
}
