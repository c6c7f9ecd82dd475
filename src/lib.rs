//! lifeboat sets up, takes, restores and, above all, *proves* database backups.
//!
//! The house, top to ground. A module uses only what stands below it; `tests/it/house.rs` holds that order.
//!
//! ```text
//! cli        one file per noun: flags, and how its report looks
//! server     the REST API, the metrics, the dashboard
//! init       a first lifeboat.toml, from what there is
//! doctor     what this machine and this role can and cannot do
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
//! config     lifeboat.toml
//! aws        the only code that speaks AWS
//! web        the only code that calls other URLs
//! postgres   the only code that connects to PostgreSQL
//! fleet      the nouns: instances, snapshots, their ids and states
//! when       times as people say them
//! interrupt  SIGINT and SIGTERM as something to wait for
//! error      what went wrong, and the exit code that says so
//! ```

pub mod cli;
pub mod server;
pub mod init;
pub mod doctor;
pub mod output;
pub mod runbook;
pub mod tables;
pub mod drill;
pub mod status;
pub mod restore;
pub mod snapshot;
pub mod alarms;
pub mod policy;
pub mod backup;
pub mod verify;
pub mod notify;
pub mod retention;
pub mod vault;
pub mod config;
pub mod aws;
pub mod web;
pub mod postgres;
pub mod fleet;
pub mod when;
pub mod interrupt;
pub mod error;
