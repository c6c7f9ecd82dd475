//! What a drill works with: everything outside of it, and where its events go.

use chrono::{DateTime, Utc};

use super::estimate::Earlier;
use super::plan::Plan;
use crate::aws::Aws;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::rds::InstanceId;
use crate::vault::Vault;

/// What a drill tells while it runs.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A drill begins.
    Begun {
        /// Which.
        plan: &'a Plan,
        /// What earlier drills of the database took.
        earlier: &'a Earlier,
    },
    /// A part begins.
    Phase(&'a str),
    /// An instance has another status than before.
    Status {
        /// Which.
        id: &'a InstanceId,
        /// What AWS says.
        status: &'a str,
    },
    /// Tables are being read.
    Counting {
        /// `source` or `copy`.
        side: &'static str,
        /// Tables read.
        tables: usize,
        /// Tables in all, as far as known.
        of_tables: usize,
        /// Rows read.
        rows: u64,
        /// Bytes of the tables read.
        bytes: u64,
        /// Bytes of the tables in all, as far as known.
        of_bytes: u64,
    },
    /// Worth knowing.
    Note(&'a str),
    /// Worth worrying about.
    Warning(&'a str),
}

/// What a drill works with.
pub(crate) struct Context<'a> {
    /// AWS.
    pub aws: &'a Aws,
    /// Where the record is kept.
    pub vault: &'a Vault,
    /// Signals.
    pub interrupt: &'a Interrupt,
    /// Where events go.
    pub tell: &'a (dyn Fn(Event<'_>) + Sync),
    /// The clock.
    pub clock: fn() -> DateTime<Utc>,
    /// Host name, for the record.
    pub host: String,
    /// Why the drill is to be broken off, as soon as there is a reason.
    pub stop: &'a (dyn Fn() -> Option<Error> + Sync),
}

impl Context<'_> {
    /// The time by AWS's clock.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.aws.now((self.clock)())
    }
}
