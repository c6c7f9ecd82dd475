//! The setup of the server, and the databases that it reaches.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;

use crate::backup::identity::Identity;
use crate::backup::request::{self, Asked};
use crate::backup::{AccessOptions, Event};
use crate::config::Config;
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::vault::{Trigger, Vault};

/// A day and an hour: a daily backup is never later than that, and never flaps.
const DEFAULT_RPO: Duration = Duration::from_secs(25 * 3600);

/// The objectives of a database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Objectives {
    /// Recovery time objective.
    pub rto: Option<Duration>,
    /// Recovery point objective.
    pub rpo: Duration,
}

/// The setup of the server.
pub(crate) struct Setup {
    /// Where backups, jobs and the audit log are.
    pub vault: Vault,
    /// lifeboat.toml.
    pub config: Config,
    /// How backups are opened and databases are reached.
    pub access: AccessOptions,
    /// Checks the DB instances of a Region, if a Region is configured.
    pub instances: Option<CheckInstances>,
    /// Signals.
    pub interrupt: Interrupt,
    pub clock: fn() -> DateTime<Utc>,
    /// Name of this machine.
    pub host: String,
    /// Gets warnings that no caller sees, such as those about connection URLs.
    pub tell: Box<dyn Fn(Event<'_>) + Send + Sync>,
}

impl Setup {
    /// A backup with default settings.
    pub(super) fn asked(&self) -> Asked {
        Asked { access: self.access.clone(), ..Asked::default() }
    }

    /// The objectives of a database, or the defaults.
    pub(super) fn objectives_of(&self, database: &str) -> Objectives {
        let drill = self.config.drill.of(database);
        Objectives { rto: drill.rto, rpo: drill.rpo.unwrap_or(DEFAULT_RPO) }
    }

    /// The databases that requests reach, and which they are.
    pub(super) fn targets(&self) -> Vec<BackupTarget> {
        let identity = |name: Option<&String>| {
            let asked = Asked { databases: name.cloned().into_iter().collect(), ..self.asked() };
            let request = asked.resolve(&Trigger::Api, &self.config.backup, &self.tell).ok()?.pop()?;
            Some(request.identity(&self.host))
        };
        let databases = request::configured_databases(&self.config.backup);
        let named =
            databases.iter().map(|it| BackupTarget { name: Some(it.clone()), identity: identity(Some(it)) });
        let is_unnamed_possible = request::default_database(&self.config.backup).is_none();
        let unnamed = is_unnamed_possible.then(|| identity(None)).flatten();
        let unnamed = unnamed.map(|identity| BackupTarget { name: None, identity: Some(identity) });
        named.chain(unnamed).collect()
    }
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").field("host", &self.host).finish_non_exhaustive()
    }
}

/// A database that can be backed up from here.
#[derive(Clone, Debug)]
pub(crate) struct BackupTarget {
    /// Its name in lifeboat.toml; `None` for the database that a request without a name means.
    pub name: Option<String>,
    /// Which database it is, if known.
    pub identity: Option<Identity>,
}

/// Checks the DB instances of a Region.
pub(crate) type CheckInstances =
    Arc<dyn Fn() -> BoxFuture<'static, Result<crate::status::Report>> + Send + Sync>;
