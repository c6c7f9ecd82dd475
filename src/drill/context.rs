//! The context of a drill: everything outside of it, and where its events go.

use chrono::{DateTime, Utc};

use super::estimate::Earlier;
use super::plan::Plan;
use crate::aws::Aws;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::rds::InstanceId;
use crate::vault::Vault;
use crate::verify::observe::Progress;

/// An event of a running drill.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A drill begins.
    Begun {
        plan: &'a Plan,
        /// How long earlier drills of the database took.
        earlier: &'a Earlier,
    },
    /// A phase begins.
    Phase(&'a str),
    /// An instance has another status than before.
    Status {
        id: &'a InstanceId,
        /// Its status.
        status: &'a str,
    },
    /// Tables are being read.
    Counting {
        /// `source` or `copy`.
        side: &'static str,
        progress: Progress,
    },
    /// A note.
    Note(&'a str),
    /// A warning.
    Warning(&'a str),
}

/// The context of a drill.
pub(crate) struct Context<'a> {
    pub aws: &'a Aws,
    /// Where the record is kept.
    pub vault: &'a Vault,
    /// Signals.
    pub interrupt: &'a Interrupt,
    /// Where events go.
    pub tell: &'a (dyn Fn(Event<'_>) + Sync),
    pub clock: fn() -> DateTime<Utc>,
    /// Host name, for the record.
    pub host: String,
    /// Why the drill must be aborted, once there is a reason.
    pub stop: &'a (dyn Fn() -> Option<Error> + Sync),
}

impl Context<'_> {
    /// The time by AWS's clock.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.aws.now((self.clock)())
    }
}
