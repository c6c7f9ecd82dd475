//! What every call works with.

use std::sync::Arc;

use super::audit::Audit;
use super::instances::WatchedInstances;
use super::jobs::Jobs;
use super::limits::Limits;
use super::readiness::Readiness;
use super::setup::{BackupTarget, Setup};
use super::tokens::KnownTokens;

/// What every call works with.
pub(super) struct App {
    pub(super) setup: Arc<Setup>,
    /// Databases that a request may name.
    pub(super) databases: Vec<String>,
    /// The database that a request without a name means, if lifeboat.toml names it.
    pub(super) default_database: Option<String>,
    /// What requests for backups reach.
    pub(super) targets: Vec<BackupTarget>,
    pub(super) limits: Limits,
    pub(super) jobs: Arc<Jobs>,
    pub(super) audit: Audit,
    pub(super) instances: WatchedInstances,
    pub(super) readiness: Readiness,
    pub(super) known: KnownTokens,
    /// Whether it listens on a loopback address.
    pub(super) is_local: bool,
    pub(super) started: std::time::Instant,
}
