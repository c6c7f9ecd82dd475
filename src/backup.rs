//! Logical backups of databases we can reach: PostgreSQL through pg_dump, SQLite through SQLite.
//!
//! A backup is a file in the vault and a manifest beside it (`<name>.json`). Neither has its final name before the
//! content is complete, flushed to disk, hashed and proven; whatever happens on the way, and however the process ends,
//! nothing half-made counts. Nothing here replaces a database before its successor has been restored and checked, and
//! nothing removes the last verified backup of a database.
//!
//! Writes: the vault; on a restore the database that was asked for; for a proof a scratch database, file or server,
//! which it removes.

pub(crate) mod adopt;
pub(crate) mod catalogue;
mod examine;
mod coding;
mod context;
pub(crate) mod create;
pub(crate) mod delete;
mod dump;
mod dump_gate;
mod encryption;
mod event;
pub(crate) mod failures;
mod finding;
pub(crate) mod identity;
mod judge;
pub(crate) mod loss;
pub(crate) mod manifest;
mod name;
mod parallel;
pub(crate) mod prune;
pub(crate) mod restore;
mod read_options;
pub(crate) mod request;
mod roles;
pub(crate) mod sql_lexer;
pub(crate) mod schedule;
mod seal;
mod sqlite;
mod sqlite_url;
mod source;
mod statement;
pub(crate) mod stats;
mod settings;
mod stream;
pub(crate) mod token;
mod tolerance;
mod verify;

pub(crate) use coding::Compression;
pub(crate) use context::Context;
pub(crate) use encryption::Identities;
pub(crate) use event::Event;
pub(crate) use manifest::{Format, Level, Manifest, Verification};
pub(crate) use name::BackupName;
pub(crate) use read_options::{AccessOptions, ProofOptions};
pub(crate) use settings::{BackupSettings, Configured, DumpFormat};
pub(crate) use source::{DatabaseType, Source};
pub(crate) use sqlite_url::{sqlite_path, sqlite_url};
pub(crate) use tolerance::Tolerance;
pub(crate) use verify::verify;
