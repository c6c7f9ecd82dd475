//! Everything outside that a backup, a proof or a restore works with, and how it tells what happens.

use chrono::{DateTime, Utc};

use super::event::Event;
use super::manifest::Manifest;
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::vault::{Act, Vault};

/// What a backup works with.
pub(crate) struct Context<'a> {
    /// Where backups are kept.
    pub vault: &'a Vault,
    /// Signals.
    pub interrupt: &'a Interrupt,
    /// Hears what happens.
    pub tell: &'a (dyn Fn(Event<'_>) + Sync),
    /// The clock.
    pub clock: fn() -> DateTime<Utc>,
    /// Name of this machine.
    pub host: String,
}

impl Context<'_> {
    /// Does something between two lines of the audit log.
    pub(crate) async fn record_act<T>(&self, act: Act, work: impl Future<Output = Result<T>>) -> Result<T> {
        let warn = |text: &str| (self.tell)(Event::Warning(text));
        self.vault.record_act(act, self.clock, &warn, |_| None, work).await
    }

    /// The same for a backup that is made, whose name may be known only then.
    pub(super) async fn record_backup(
        &self,
        act: Act,
        work: impl Future<Output = Result<Manifest>>,
    ) -> Result<Manifest> {
        let warn = |text: &str| (self.tell)(Event::Warning(text));
        let name_of = |made: &Manifest| Some(made.backup_name.to_string());
        self.vault.record_act(act, self.clock, &warn, name_of, work).await
    }
}
