//! The work behind the states.
//!
//! Each instance has one actor: a task that does one piece of work after the other, so that two pieces never meet in
//! one data directory. A call decides under the lock of the state, sets the status that shows, and queues the work.
//! Deleting gives the signal to whatever is under way, waits for it to end itself, and is the actor's last piece.

mod backup;
mod change;
mod create;
mod delete;
pub(crate) mod schedule;
mod sweep;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::cluster::server::Server;
use crate::happening::Happening;
use crate::pace::Stage;
use crate::rds::subscriptions;
use crate::record::{Event, EventSource, Instance};
use crate::stack::{Shared, report};
use crate::status::Status;
use crate::stop::{Cancel, Canceller};

pub(crate) use backup::{drop_automated, new_snapshot};
pub(crate) use schedule::{keep_schedules, resume};
pub(crate) use sweep::sweep;

/// A piece of work on one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    /// Bring the database into being, as the instance's origin says.
    Create,
    /// Fill a manual snapshot that is `creating`.
    Snapshot(String),
    /// Take an automated snapshot.
    BackUp,
    /// Make pending changes happen: those that never wait, or all.
    Change {
        all: bool,
    },
    /// Have the server read its configuration again.
    Reload,
    Reboot {
        failover: bool,
    },
    Stop {
        snapshot: Option<String>,
    },
    Start,
    Delete,
    /// Throw away archived log that nothing needs.
    PruneArchive,
}

/// The work was overtaken: its instance is being deleted, or the stack stops.
#[derive(Debug)]
pub(crate) struct Superseded;

impl std::fmt::Display for Superseded {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("no longer wanted")
    }
}

impl std::error::Error for Superseded {}

#[derive(Debug, Default)]
pub(crate) struct Actors(Mutex<HashMap<String, Actor>>);

#[derive(Debug)]
struct Actor {
    queue: UnboundedSender<Work>,
    canceller: Canceller,
    task: tokio::task::JoinHandle<()>,
}

impl Actors {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Actor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Queues work for an instance. May be called with the state locked: that keeps the order of the decisions.
    pub(crate) fn queue(self: &Arc<Self>, resource_id: &str, work: Work) {
        if self.stopping.listener().is_set() {
            return;
        }
        let mut actors = self.actors.lock();
        let actor = actors.entry(resource_id.to_owned()).or_insert_with(|| {
            let (queue, received) = unbounded_channel();
            let canceller = Canceller::new();
            let job = Job {
                shared: Arc::clone(self),
                resource_id: resource_id.to_owned(),
                cancel: canceller.listener(),
            };
            Actor { queue, canceller, task: tokio::spawn(act(job, received)) }
        });
        if work == Work::Delete {
            actor.canceller.cancel();
        }
        // Fails only when the actor has done its last piece, and then there is no instance to work on.
        let _ = actor.queue.send(work);
    }

    /// Has all work end itself.
    pub(crate) fn cancel_all_work(&self) {
        for actor in self.actors.lock().values() {
            actor.canceller.cancel();
        }
    }

    /// Has all work end itself, and waits for that.
    pub(crate) async fn stop_all_work(&self) {
        self.stopping.cancel();
        let actors: Vec<Actor> = self.actors.lock().drain().map(|(_, actor)| actor).collect();
        for actor in &actors {
            actor.canceller.cancel();
        }
        for actor in actors {
            drop(actor.queue);
            // A panic in there was reported by the runtime.
            let _ = actor.task.await;
        }
    }

    pub(crate) fn add_event(
        self: &Arc<Self>,
        region: &str,
        source_type: EventSource,
        source: &str,
        happening: &Happening,
    ) {
        let event = Event {
            at: self.clock.now(),
            source: source.to_owned(),
            source_type,
            category: happening.category.to_owned(),
            message: happening.message.clone().into_owned(),
            id: happening.id.to_owned(),
        };
        self.tell(region, event);
    }

    /// Writes an event down and delivers it to those who subscribed to it.
    pub(crate) fn tell(self: &Arc<Self>, region: &str, event: Event) {
        self.store.change(|state| state.region_mut(region).events.push(event.clone()));
        subscriptions::deliver(self, region, &event);
    }
}

async fn act(job: Job, mut queue: UnboundedReceiver<Work>) {
    while let Some(work) = queue.recv().await {
        if job.shared.stopping.listener().is_set() {
            return;
        }
        let is_last = work == Work::Delete;
        let outcome = match work {
            Work::Create => job.create().await,
            Work::Snapshot(id) => job.snapshot(&id).await,
            Work::BackUp => job.back_up().await,
            Work::Change { all } => job.change(all).await,
            Work::Reload => job.reload(),
            Work::Reboot { failover } => job.reboot(failover).await,
            Work::Stop { snapshot } => job.stop(snapshot).await,
            Work::Start => job.start().await,
            Work::PruneArchive => job.prune_archive(),
            Work::Delete => job.delete().await,
        };
        if let Err(error) = outcome
            && !error.is::<Superseded>()
            && !job.cancel.is_set()
        {
            report(format_args!("instance `{}`: {error:#}", job.name()));
            job.recover();
        }
        if is_last {
            job.shared.actors.lock().remove(&job.resource_id);
            return;
        }
    }
}

/// An instance with work under way.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    shared: Arc<Shared>,
    resource_id: String,
    cancel: Cancel,
}

impl Job {
    fn instance(&self) -> Result<Instance, Superseded> {
        self.shared.store.read(|state| state.instance(&self.resource_id).cloned()).ok_or(Superseded)
    }

    fn name(&self) -> String {
        self.instance().map_or_else(|_| self.resource_id.clone(), |instance| instance.id)
    }

    /// Takes the instance to `next`, if that may follow the state it is in.
    fn enter(&self, next: Status) -> Result<(), Superseded> {
        self.enter_with(next, |_| {})
    }

    /// The same, with an edit at the same moment.
    fn enter_with(&self, next: Status, edit: impl FnOnce(&mut Instance)) -> Result<(), Superseded> {
        self.shared.store.change(|state| {
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

    fn edit(&self, edit: impl FnOnce(&mut Instance)) -> Result<(), Superseded> {
        self.shared.store.change(|state| {
            edit(state.instance_mut(&self.resource_id).ok_or(Superseded)?);
            Ok(())
        })
    }

    /// Waits until `stage`, which began at `since`, has taken as long as the pace wants.
    async fn hold(&self, since: DateTime<Utc>, stage: Stage) -> Result<(), Superseded> {
        self.hold_reporting(since, stage, |_| {}).await
    }

    /// The same, telling now and then how many percent of the time are over.
    async fn hold_reporting(
        &self,
        since: DateTime<Utc>,
        stage: Stage,
        mut tell: impl FnMut(u8),
    ) -> Result<(), Superseded> {
        let length = self.shared.pace.length(stage);
        if length <= TimeDelta::zero() {
            return Ok(());
        }
        for tenth in 1..=10_u8 {
            tokio::select! {
                () = self.shared.clock.sleep_until(since + length * i32::from(tenth) / 10) => tell(tenth * 10),
                () = self.cancel.given() => return Err(Superseded),
            }
        }
        Ok(())
    }

    /// Work failed half way: the instance is what its server makes it.
    fn recover(&self) {
        let is_up = self.shared.is_lazy() || self.shared.server(&self.resource_id).is_some();
        // An instance that is gone needs no recovery.
        let _ = self.edit(|instance| {
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

    async fn server(&self) -> anyhow::Result<Arc<Server>> {
        if self.shared.is_lazy() {
            return self.shared.wake(&self.resource_id, &self.cancel).await;
        }
        self.shared.server(&self.resource_id).ok_or_else(|| {
            anyhow::anyhow!("its PostgreSQL server does not run; see the log in its cluster directory")
        })
    }

    fn event(&self, happening: &Happening) {
        if let Ok(instance) = self.instance() {
            self.shared.add_event(&instance.region, EventSource::Instance, &instance.id, happening);
        }
    }

    fn prune_archive(&self) -> anyhow::Result<()> {
        sweep::prune(&self.shared, &self.resource_id)
    }
}
