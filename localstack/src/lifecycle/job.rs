//! What every piece of work on an instance needs: its state, its server, and the time that a state lasts.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::cancel::CancelSignal;
use crate::cluster::server::Server;
use crate::event_delivery::record_event;
use crate::event_messages::EventMessage;
use crate::instance_status::Status;
use crate::lazy_servers::wake_server;
use crate::pace::Stage;
use crate::resources::{EventSource, Instance};
use crate::stack::Context;

/// The work is no longer wanted: its instance is being deleted, or the stack stops.
#[derive(Debug)]
pub(crate) struct Superseded;

impl std::fmt::Display for Superseded {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("no longer wanted")
    }
}

impl std::error::Error for Superseded {}

/// An instance with work under way.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(super) cx: Arc<Context>,
    pub(super) resource_id: String,
    pub(super) cancel: CancelSignal,
}

impl Job {
    pub(super) fn instance(&self) -> Result<Instance, Superseded> {
        self.cx.store.read(|state| state.instance(&self.resource_id).cloned()).ok_or(Superseded)
    }

    pub(super) fn instance_name(&self) -> String {
        self.instance().map_or_else(|_| self.resource_id.clone(), |instance| instance.id)
    }

    /// Moves the instance to the status `next`, if that may follow its current status.
    pub(super) fn enter_status(&self, next: Status) -> Result<(), Superseded> {
        self.enter_status_with(next, |_| {})
    }

    /// The same, with an edit of the instance in the same step.
    pub(super) fn enter_status_with(
        &self,
        next: Status,
        edit: impl FnOnce(&mut Instance),
    ) -> Result<(), Superseded> {
        self.cx.store.change(|state| {
            let instance = state.instance_mut(&self.resource_id).ok_or(Superseded)?;
            if !instance.status.may_become(&next) {
                return Err(Superseded);
            }
            if instance.status != next && instance.shown.as_ref().is_some_and(|shown| !shown.stay) {
                instance.shown = None;
            }
            instance.status = next;
            edit(instance);
            Ok(())
        })
    }

    pub(super) fn edit_instance(&self, edit: impl FnOnce(&mut Instance)) -> Result<(), Superseded> {
        self.cx.store.change(|state| {
            edit(state.instance_mut(&self.resource_id).ok_or(Superseded)?);
            Ok(())
        })
    }

    /// Waits until `stage`, which began at `since`, has lasted as long as the pace wants.
    pub(super) async fn hold_stage(&self, since: DateTime<Utc>, stage: Stage) -> Result<(), Superseded> {
        self.hold_stage_with_progress(since, stage, |_| {}).await
    }

    /// The same, reporting ten times how many percent of the time have passed.
    pub(super) async fn hold_stage_with_progress(
        &self,
        since: DateTime<Utc>,
        stage: Stage,
        mut tell: impl FnMut(u8),
    ) -> Result<(), Superseded> {
        let length = self.cx.pace.length(stage);
        if length <= TimeDelta::zero() {
            return Ok(());
        }
        for tenth in 1..=10_u8 {
            tokio::select! {
                () = self.cx.clock.sleep_until(since + length * i32::from(tenth) / 10) => tell(tenth * 10),
                () = self.cancel.wait() => return Err(Superseded),
            }
        }
        Ok(())
    }

    /// After work that failed half way: the instance is `available` if its server runs, `failed` otherwise.
    pub(super) fn settle_after_failure(&self) {
        let is_up = self.cx.is_lazy() || self.cx.server(&self.resource_id).is_some();
        // An instance that is gone has no status to settle.
        let _ = self.edit_instance(|instance| {
            let was_passing = matches!(
                instance.status,
                Status::BackingUp
                    | Status::Modifying
                    | Status::ResettingMasterCredentials
                    | Status::Renaming
                    | Status::Rebooting
                    | Status::Stopping
                    | Status::Starting
            );
            if was_passing {
                instance.status = if is_up { Status::Available } else { Status::Failed };
            }
        });
    }

    pub(super) async fn running_server(&self) -> anyhow::Result<Arc<Server>> {
        if self.cx.is_lazy() {
            return wake_server(&self.cx, &self.resource_id, &self.cancel).await;
        }
        self.cx.server(&self.resource_id).ok_or_else(|| {
            anyhow::anyhow!("the PostgreSQL server is not running; see the log in its cluster directory")
        })
    }

    pub(super) fn record_event(&self, what: &EventMessage) {
        if let Ok(instance) = self.instance() {
            record_event(&self.cx, &instance.region, EventSource::Instance, &instance.id, what);
        }
    }
}
