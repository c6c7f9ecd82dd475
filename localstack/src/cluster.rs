//! Real PostgreSQL: which versions are installed, a running server, its configuration, its base backups.
//!
//! Knows nothing of RDS. Of an installation, only `initdb` and `postgres` are needed.

pub(crate) mod base_backup;
pub(crate) mod config;
pub(crate) mod engine;
pub(crate) mod extensions;
pub(crate) mod files;
pub(crate) mod orphans;
pub(crate) mod server;
pub(crate) mod template;
pub(crate) mod tls;
