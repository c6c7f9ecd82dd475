//! The only code that speaks AWS.
//!
//! Owns the SDK's clients, paging, retry, waiting and the meaning of AWS's error codes. Our own types go in and
//! come out; no SDK type leaves this module. It decides nothing: which backup, which name and whether something
//! may be deleted are questions for the modules above.

mod access;
mod ask;
mod client;
mod cloudwatch;
mod event_subscriptions;
mod failure;
mod identity;
mod modify;
mod parameters;
mod patience;
mod presign;
mod proof;
mod query;
mod rds;
mod secrets;
mod snapshots;
mod sns;
mod throttling;
mod time;
mod wait;

pub(crate) use access::{Access, Role};
pub(crate) use ask::{Arrival, Creation, Sighting, retry_while_wrong_state};
pub(crate) use client::Aws;
pub(crate) use failure::{Failure, Fault};
pub(crate) use identity::Identity;
pub(crate) use modify::BackupChange;
pub(crate) use parameters::Parameter;
pub(crate) use proof::Proof;
pub(crate) use query::{Query, Service, identity_of_policies};
pub(crate) use rds::{Delete, Restore, RestoreFrom};
pub(crate) use snapshots::CopySnapshot;
pub(crate) use wait::{LOOKS_UNTIL_GONE, Poll, Seen};

use patience::retry;
