//! A restore: what is asked, what is planned, and what it did.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup::encryption::Recipients;
use crate::backup::manifest::Manifest;
use crate::backup::read_options::ReadOptions;
use crate::backup::source::Source;
use crate::backup::tolerance::{Difference, LeftOut, Tolerance};

/// Where a backup is restored to.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    /// In place of what is there now, or where nothing is.
    Replace(Source),
    /// To a name where nothing is yet: a database of the server, or a file.
    New(Source),
}

impl Destination {
    /// The database.
    pub(crate) fn source(&self) -> &Source {
        match self {
            Destination::Replace(source) | Destination::New(source) => source,
        }
    }
}

/// How a backup is restored.
#[derive(Clone, Debug)]
pub(crate) struct RestoreOptions {
    /// How many jobs restore a custom backup.
    pub jobs: usize,
    /// How long the replaced database is kept; zero drops it at once.
    pub keep_old: Duration,
    /// A SQLite file is replaced by another one, while no application has it open.
    pub offline: bool,
    /// To whom backups of this database are encrypted, and what is kept of it before it is replaced.
    pub recipients: Recipients,
    /// How the backup is opened.
    pub read: ReadOptions,
    /// Which differences from the source are accepted.
    pub tolerance: Tolerance,
}

/// A restore that is going to be made.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The backup.
    pub manifest: Manifest,
    /// Where to.
    pub destination: Destination,
    /// How.
    pub options: RestoreOptions,
    /// Whether something is there that will be replaced.
    pub replaces: bool,
}

/// What a restore did (`lifeboat.backup-restore/1`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// `lifeboat.backup-restore/1`.
    pub schema: String,
    /// The backup.
    pub backup_name: String,
    /// The database that holds its content now; without a password.
    pub restored_to: String,
    /// The moment whose content it holds.
    pub content_of: DateTime<Utc>,
    /// Where what was there before is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_old: Option<String>,
    /// The command that puts it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
    /// Until when at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<DateTime<Utc>>,
    /// Files that lay beside a SQLite database which is gone, and where they are now: SQLite would have played them into
    /// what was restored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved_aside: Vec<String>,
    /// Tables that were compared with what was recorded.
    pub tables_checked: usize,
    /// Rows that they hold.
    pub rows_checked: u64,
    /// What was left out as asked, or belongs to the server and is not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// What the server refused, and the restore went on past.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub complaints: Vec<LeftOut>,
    /// In what the copy is not what was recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Report {
    /// The report of a restore that has just ended; what was checked and kept is filled in by whoever knows it.
    pub(super) fn new(backup_name: String, content_of: DateTime<Utc>, restored_to: &Source) -> Self {
        Report {
            schema: "lifeboat.backup-restore/1".to_owned(),
            backup_name,
            restored_to: restored_to.shown(),
            content_of,
            kept_old: None,
            undo: None,
            kept_until: None,
            moved_aside: Vec::new(),
            tables_checked: 0,
            rows_checked: 0,
            left_out: Vec::new(),
            complaints: Vec::new(),
            differences: Vec::new(),
            seconds: 0.0,
        }
    }

    /// Whether the copy is what was recorded, but for what whoever restored accepted.
    pub(crate) fn is_whole(&self) -> bool {
        self.differences.iter().all(|difference| difference.accepted)
    }
}
