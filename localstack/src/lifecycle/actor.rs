//! Queues work for instances, and performs it.

use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::actors::{Actor, Work};
use crate::cancel::Canceller;
use crate::lifecycle::job::{Job, Superseded};
use crate::stack::{Context, report_problem};

impl Context {
    /// Queues work for an instance. Calling this with the state locked preserves the order of the decisions.
    pub(crate) fn queue_work(self: &Arc<Self>, resource_id: &str, work: Work) {
        if self.stopping.listener().is_set() {
            return;
        }
        let mut actors = self.actors.lock();
        let actor = actors.entry(resource_id.to_owned()).or_insert_with(|| {
            let (queue, received) = unbounded_channel();
            let canceller = Canceller::new();
            let job = Job {
                cx: Arc::clone(self),
                resource_id: resource_id.to_owned(),
                cancel: canceller.listener(),
            };
            Actor { queue, canceller, task: tokio::spawn(run_actor(job, received)) }
        });
        if work == Work::Delete {
            actor.canceller.cancel();
        }
        // This fails only when the actor has done its last piece of work, and then there is no instance left.
        let _ = actor.queue.send(work);
    }

    /// Signals all work to end.
    pub(crate) fn cancel_all_work(&self) {
        for actor in self.actors.lock().values() {
            actor.canceller.cancel();
        }
    }

    /// Signals all work to end, and waits until it has ended.
    pub(crate) async fn stop_all_work(&self) {
        self.stopping.cancel();
        let actors: Vec<Actor> = self.actors.lock().drain().map(|(_, actor)| actor).collect();
        for actor in &actors {
            actor.canceller.cancel();
        }
        for actor in actors {
            drop(actor.queue);
            // The runtime has already reported a panic in the task.
            let _ = actor.task.await;
        }
    }
}

async fn run_actor(job: Job, mut queue: UnboundedReceiver<Work>) {
    while let Some(work) = queue.recv().await {
        if job.cx.stopping.listener().is_set() {
            return;
        }
        let is_last = work == Work::Delete;
        let outcome = match work {
            Work::Create => job.create().await,
            Work::Snapshot(id) => job.take_snapshot(&id).await,
            Work::BackUp => job.back_up().await,
            Work::ApplyChanges(changes) => job.apply_pending(changes).await,
            Work::Reload => job.reload_server(),
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
            report_problem(format_args!("instance `{}`: {error:#}", job.instance_name()));
            job.settle_after_failure();
        }
        if is_last {
            job.cx.actors.lock().remove(&job.resource_id);
            return;
        }
    }
}
