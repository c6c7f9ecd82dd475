//! The work that takes instances from one state to the next.
//!
//! Each instance has one actor: a task that performs one piece of work after the other, so that two pieces never
//! touch the same data directory. A call decides while it holds the lock of the state, sets the new status, and
//! queues the work. A deletion signals the work under way to end, waits for that, and is the actor's last piece of
//! work.

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
