//! The actors of the instances: the work that waits for each, and the signal that ends it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::UnboundedSender;

use crate::cancel::Canceller;

/// Which of the pending changes are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changes {
    /// Those that never wait for the maintenance window.
    Urgent,
    All,
}

/// A piece of work on one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    /// Create the database as the instance's origin says.
    Create,
    /// Fill a manual snapshot that is `creating`.
    Snapshot(String),
    /// Take an automated snapshot.
    BackUp,
    ApplyChanges(Changes),
    /// Make the server reload its configuration.
    Reload,
    Reboot {
        failover: bool,
    },
    Stop {
        snapshot: Option<String>,
    },
    Start,
    Delete,
    /// Remove archived log that nothing needs.
    PruneArchive,
}

#[derive(Debug, Default)]
pub(crate) struct Actors(Mutex<HashMap<String, Actor>>);

#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) queue: UnboundedSender<Work>,
    pub(crate) canceller: Canceller,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

impl Actors {
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<String, Actor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
