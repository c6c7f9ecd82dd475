//! The sections `[policy]` and `[databases.*.policy]`.

use serde::Deserialize;

use super::window::Window;
use crate::settings::{Layered, from_text, retention_days};

/// How instances are to be backed up; every key is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PolicySettings {
    /// Days that automated backups are kept, at least; `policy set` sets this many. 7 by default.
    #[serde(deserialize_with = "retention_days")]
    pub retention_days: Option<i32>,
    /// Backup window, UTC.
    #[serde(deserialize_with = "from_text")]
    pub backup_window: Option<Window>,
    /// When instances are stopped by a schedule, UTC: no backups are made then.
    #[serde(deserialize_with = "from_text")]
    pub stopped: Option<Window>,
    /// Whether storage must be encrypted; true by default.
    pub encrypted: Option<bool>,
    /// Whether snapshots must get the instance's tags; true by default.
    pub copy_tags: Option<bool>,
    /// Whether deletion protection must be on; true by default.
    pub deletion_protection: Option<bool>,
    /// Findings, by code, that are accepted.
    pub ignore: Option<Vec<String>>,
}

impl Layered for PolicySettings {
    fn over(self, general: &Self) -> Self {
        let general = general.clone();
        PolicySettings {
            retention_days: self.retention_days.or(general.retention_days),
            backup_window: self.backup_window.or(general.backup_window),
            stopped: self.stopped.or(general.stopped),
            encrypted: self.encrypted.or(general.encrypted),
            copy_tags: self.copy_tags.or(general.copy_tags),
            deletion_protection: self.deletion_protection.or(general.deletion_protection),
            ignore: self.ignore.or(general.ignore),
        }
    }
}
