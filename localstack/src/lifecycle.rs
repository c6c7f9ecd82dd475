//! The work behind the states.
//!
//! Each instance has one actor: a task that does one piece of work after the other, so that two pieces never meet in
//! one data directory. A call decides under the lock of the state, sets the status that shows, and queues the work.
//! Deleting signals the work that is under way, waits until it ends, and is the actor's last piece of work.

mod resume;
mod schedule;
mod actor;
mod delete;
mod create;
mod change;
mod snapshots;
mod copies;
mod job;
mod sweep;

pub(crate) use copies::finish_copy_later;
pub(crate) use resume::resume_instances;
pub(crate) use schedule::keep_schedules;
pub(crate) use snapshots::{drop_automated_snapshots, new_snapshot};
pub(crate) use sweep::sweep_later;
