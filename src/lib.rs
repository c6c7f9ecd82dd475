//! lifeboat sets up, takes, restores and, above all, *proves* database backups.
//!
//! The house, top to ground. A module uses only what stands below it; `tests/it/house.rs` holds that order.
//!
//! ```text
//! fuzzed     only in tests and fuzz/: the readers of what others wrote
//! cli        one file per noun: flags, and how its report looks
//! server     the REST API, the metrics, the dashboard
//! init       a first lifeboat.toml, from what there is
//! doctor     what this machine and this role can and cannot do
//! config     lifeboat.toml: the settings of all that stands below
//! output     the only printer
//! runbook    Markdown as steps: run, journal, resume, undo
//! tables     single tables from a backup, set beside the live ones
//! drill      restore elsewhere, prove, time, tear down
//! status     how healthy the backups of a fleet are
//! restore    which backup brings back which moment, as what
//! snapshot   take, copy, prune
//! alarms     the alarms a fleet should have, and whether they arrive
//! policy     retention and windows: read, check, change
//! backup     logical backups of databases we can reach: PostgreSQL and SQLite
//! verify     what a database contains, and whether two contents agree
//! notify     who is told what changed
//! retention  which copies to keep, and why
//! vault      what must not be lost: atomic writes, locks
//! aws        the only code that speaks AWS
//! web        the only code that calls other URLs
//! postgres   the only code that connects to PostgreSQL
//! rds        the nouns: instances, snapshots, their ids and states
//! settings   how values of lifeboat.toml are read, and which layer wins
//! page       the kit of every page: style, marks, names of others
//! when       times as people say them
//! words      how counts, sizes, lists and verdicts are said
//! interrupt  SIGINT and SIGTERM as something to wait for
//! error      what went wrong, and the exit code that says so
//! ```

#[cfg(any(fuzzing, test))]
pub mod fuzzed;
pub mod cli;
pub(crate) mod server;
pub(crate) mod init;
pub(crate) mod doctor;
pub(crate) mod config;
pub(crate) mod output;
pub(crate) mod runbook;
pub(crate) mod tables;
pub(crate) mod drill;
pub(crate) mod status;
pub(crate) mod restore;
pub(crate) mod snapshot;
pub(crate) mod alarms;
pub(crate) mod policy;
pub(crate) mod backup;
pub(crate) mod verify;
pub(crate) mod notify;
pub(crate) mod retention;
pub(crate) mod vault;
pub(crate) mod aws;
pub(crate) mod web;
pub(crate) mod postgres;
pub(crate) mod rds;
pub(crate) mod settings;
pub(crate) mod page;
pub(crate) mod when;
pub(crate) mod words;
pub(crate) mod interrupt;
pub mod error;
