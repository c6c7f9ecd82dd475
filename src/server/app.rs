//! The context of every call.

use std::sync::Arc;

use super::audit::Audit;
use super::blocking::run_blocking;
use super::instances::WatchedInstances;
use super::jobs::Jobs;
use super::limits::Limits;
use super::readiness::Readiness;
use super::setup::{BackupTarget, Setup};
use super::tokens::{KnownTokens, Token};
use crate::error::Result;

/// The context of every call.
pub(super) struct App {
    pub(super) setup: Arc<Setup>,
    /// Databases that a request may name.
    pub(super) databases: Vec<String>,
    /// The default database, if lifeboat.toml names it.
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

impl App {
    /// The token of that text, if there is one.
    pub(super) async fn holder_of(self: &Arc<Self>, presented: String) -> Result<Option<Token>> {
        let app = Arc::clone(self);
        run_blocking(move || app.known.holder(&app.setup.vault, &presented)).await
    }
}
