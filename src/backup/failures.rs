//! Records of backups that did not come about, `failures/<name>.json` in the vault, so that an outage is seen where backups
//! are looked at. They are no backups: nothing counts them as one, and retention never sees them.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::identity::Identity;
use super::manifest::Origin;
use super::name::BackupName;
use super::request::Request;
use super::source::DatabaseType;
use crate::error::{Error, Kind, Result};
use crate::postgres::redact_urls;
use crate::vault::{Trigger, Vault};

/// Where they lie.
const FOLDER: &str = "failures";
/// How long they are of interest.
const KEPT: TimeDelta = TimeDelta::days(30);
/// How many of all databases are kept at most.
const MOST: usize = 200;

/// A backup that did not come about (`lifeboat.backup-failure/1`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// `lifeboat.backup-failure/1`.
    pub schema: String,
    /// Never.
    pub success: bool,
    /// The name that it was given, or would have had.
    pub backup_name: BackupName,
    /// What retention and statistics group by.
    pub database: String,
    /// Kind of database.
    pub database_type: DatabaseType,
    /// Where it was to come from; without a password.
    pub source: String,
    /// The same, to tell which of several databases of one name it was; records from before this was written down have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// When it was begun.
    pub timestamp: DateTime<Utc>,
    /// Seconds until it failed.
    pub duration: f64,
    /// What went wrong.
    pub error: String,
    /// The exit code of the command.
    pub exit_code: u8,
    /// What started it.
    pub trigger: Trigger,
    /// The machine.
    pub host: String,
}

impl Failure {
    /// Which database it was, as far as that was known.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.origin.as_ref().map(|origin| Identity::from_origin(self.database_type, origin, &self.host))
    }

    /// Whether it was of this database; where that cannot be told from another one of the name and kind, it was.
    pub(crate) fn is_of(&self, identity: &Identity) -> bool {
        match self.identity() {
            Some(own) => own.is_at_the_place_of(identity),
            None => self.database == identity.database() && self.database_type == identity.kind(),
        }
    }
}

/// Whether a failure is one of the backup, and not of the request for it: what someone mistyped at a terminal is no outage,
/// what a schedule cannot do is one. That another backup is still being made is neither.
fn is_worth_a_record(kind: Kind, trigger: &Trigger) -> bool {
    match kind {
        Kind::StillGoing => false,
        Kind::Request => *trigger != Trigger::Cli,
        _ => true,
    }
}

/// Records a failure of a backup, in words that hold no secret, unless the request alone was wrong. Old records are removed.
pub(super) fn record_failure(
    request: &Request,
    error: &Error,
    began: DateTime<Utc>,
    took: Duration,
    cx: &Context<'_>,
) -> Result<()> {
    if !is_worth_a_record(error.kind(), &request.trigger) {
        return Ok(());
    }
    let vault = cx.vault;
    let name = request.name.clone().unwrap_or_else(|| BackupName::of(&request.database, began));
    let (database, id) = (request.database.clone(), request.database_id.clone());
    let failure = Failure {
        schema: "lifeboat.backup-failure/1".to_owned(),
        success: false,
        backup_name: name,
        database: database.clone(),
        database_type: request.source.kind(),
        source: request.source.shown(),
        origin: Some(Origin::of(&request.source, database, id, (String::new(), None))),
        timestamp: began,
        duration: took.as_secs_f64(),
        error: redact_urls(&error.chain()),
        exit_code: error.kind().exit_code(),
        trigger: request.trigger.clone(),
        host: cx.host.clone(),
    };
    let text = serde_json::to_vec_pretty(&failure)
        .map_err(|error| Error::new(Kind::Bug, "cannot serialize a record").caused_by(error))?;
    // The time comes first, so that their order is that of their names.
    let stamp = began.format("%Y%m%dt%H%M%Sz");
    vault.write(
        &format!("{FOLDER}/{stamp}_{}_{:04x}.json", failure.backup_name, rand::random::<u16>()),
        &text,
    )?;
    let oldest = (began - KEPT).format("%Y%m%dt%H%M%Sz").to_string();
    // A hidden file is one that another process is writing at this moment.
    let is_record = |name: &String| name.ends_with(".json") && !name.starts_with('.');
    let names: Vec<String> =
        vault.list(FOLDER)?.files.into_iter().map(|file| file.name).filter(is_record).collect();
    let surplus = names.len().saturating_sub(MOST);
    for (position, name) in names.iter().enumerate() {
        if position < surplus || name.as_str() < oldest.as_str() {
            vault.forget(&format!("{FOLDER}/{name}"))?;
        }
    }
    Ok(())
}

/// All that are recorded, newest first. Records that cannot be read are passed over: they tell nothing of a backup.
pub(crate) fn read(vault: &Vault) -> Result<Vec<Failure>> {
    let listing = vault.list(FOLDER)?;
    let names: Vec<String> = listing.files.iter().map(|file| format!("{FOLDER}/{}", file.name)).collect();
    let texts = vault.read_all(&names)?.into_iter().filter_map(|text| text.ok().flatten());
    let mut failures: Vec<Failure> = texts.filter_map(|text| serde_json::from_slice(&text).ok()).collect();
    failures.sort_by_key(|failure| std::cmp::Reverse(failure.timestamp));
    Ok(failures)
}
