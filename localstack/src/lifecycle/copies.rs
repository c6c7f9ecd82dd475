//! Copies of snapshots, which become available after a while.

use std::sync::Arc;

use crate::event_delivery::record_event;
use crate::event_messages::{self, EventMessage};
use crate::pace::Stage;
use crate::resources::{EventSource, SnapshotStatus};
use crate::scope;
use crate::stack::Context;

/// Makes a copy available after as long as the pace wants. The copy shares the base backup, which never changes, with
/// its source; the files stay as long as either of the two needs them.
pub(crate) fn finish_copy_later(cx: &Arc<Context>, region: &str, name: &str) {
    let (cx, region, name) = (Arc::clone(cx), region.to_owned(), name.to_owned());
    tokio::spawn(async move {
        let begun = cx.clock.now();
        let Some((is_pending, from)) = copy_under_way(&cx, &region, &name) else { return };
        let here = scope::region_of(&region).to_owned();
        let record = |what: &EventMessage| record_event(&cx, &region, EventSource::Snapshot, &name, what);
        record(&event_messages::copy_begun(&name, from.as_deref(), &here));
        let length = cx.pace.length(Stage::Copy);
        let stopping = cx.stopping.listener();
        let steps = if is_pending { [begun + length / 3, begun + length] } else { [begun + length; 2] };
        for (until, next) in steps.into_iter().zip([SnapshotStatus::Creating, SnapshotStatus::Available]) {
            tokio::select! {
                () = cx.clock.sleep_until(until) => {}
                () = stopping.wait() => return,
            }
            let now = cx.clock.now();
            let is_there = cx.store.change(|state| {
                let snapshot = state.region_mut(&region).snapshots.get_mut(&name);
                let Some(snapshot) = snapshot.filter(|snapshot| snapshot.is_under_way()) else {
                    return false;
                };
                snapshot.status = next;
                if next == SnapshotStatus::Available {
                    snapshot.percent = 100;
                    snapshot.created_at = Some(now);
                }
                true
            });
            if !is_there {
                return;
            }
        }
        let minutes = (cx.clock.now() - begun).num_minutes();
        record(&event_messages::copy_done(&name, from.as_deref(), &here, minutes));
    });
}

/// Whether a copy is still `pending`, and from which other Region it comes; `None` if it is gone or complete.
fn copy_under_way(cx: &Context, region: &str, name: &str) -> Option<(bool, Option<String>)> {
    cx.store.read(|state| {
        let snapshot = state.regions.get(region)?.snapshots.get(name).filter(|one| one.is_under_way())?;
        let from = snapshot.copied_from.as_deref().and_then(scope::scope_of_arn);
        let from = from.map(|from| scope::region_of(&from).to_owned());
        let from = from.filter(|from| from != scope::region_of(region));
        Some((snapshot.status == SnapshotStatus::Pending, from))
    })
}

/// Finishes the copies that were under way when the stack ended.
pub(super) fn finish_copies(cx: &Arc<Context>) {
    let copies = cx.store.read(|state| {
        let snapshots = state.snapshots();
        snapshots
            .filter(|snapshot| snapshot.is_under_way() && snapshot.copied_from.is_some())
            .map(|snapshot| (snapshot.region.clone(), snapshot.id.clone()))
            .collect::<Vec<_>>()
    });
    for (region, id) in copies {
        finish_copy_later(cx, &region, &id);
    }
}
