//! Which backup of an instance brings back which moment, and as what.
//!
//! A restore makes a new instance and never goes over one. It has the settings of its source, which RDS by itself
//! would not give it; they come from the source, or, when that is gone, from where `snapshot create` saved them.
//!
//! ```text
//! choose     the backup that a drill goes back to
//! target     the groups and the class of a new instance, which may not be there
//! isolation  what keeps a copy from acting by itself
//! plan       which backup, whose settings, what is changed and what no restore brings back; reads only
//! apply      asks, adopts what a lost answer hid, waits, sets the rest
//! ```

pub(crate) mod activity;
pub(crate) mod apply;
mod choose;
pub(crate) mod isolation;
pub(crate) mod log_in;
pub(crate) mod plan;
pub(crate) mod target;

pub(crate) use choose::{Chosen, Wanted, Way, choose_backup};
