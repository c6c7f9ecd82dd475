//! Bringing a backup back.
//!
//! In this order, always: the whole file is read and found to be what was written; it is restored beside what is there
//! now; the copy is checked; only then it takes the place of the database, in one transaction or one step, and what was
//! there before is kept. An error or a kill at any moment leaves the database as it was or as it is to be.

mod load;
mod postgres;
mod recount;
mod remains;
mod sqlite;
mod swap;
mod tolerance;
mod wish;

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::check::{self, Finding};
use super::{DatabaseType, Event, Level, Manifest, Means, Recipients, Source, Surroundings, catalogue};
use crate::error::{Error, Kind, Result};
use crate::vault::{Content, Vault};

pub(super) use postgres::{Ground, rehearse};
pub(crate) use swap::undo;
pub(crate) use tolerance::{Difference, LeftOut, Tolerance};

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

/// How it is restored.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// How many jobs restore a custom backup.
    pub jobs: usize,
    /// How long the replaced database is kept; zero drops it at once.
    pub keep_old: Duration,
    /// A SQLite file is replaced by another one, while no application has it open.
    pub offline: bool,
    /// To whom backups of this database are encrypted, and what is kept of it before it is replaced.
    pub recipients: Recipients,
    /// Keys and programs.
    pub means: Means,
}

/// Whether a copy has something of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It has.
    Restored,
    /// It was left out.
    LeftOut,
}

impl Part {
    pub(super) fn left_out_if(is_left_out: bool) -> Self {
        if is_left_out { Part::LeftOut } else { Part::Restored }
    }
}

/// A restore that is going to be made.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The backup.
    pub manifest: Manifest,
    /// Where to.
    pub destination: Destination,
    /// How.
    pub manner: Manner,
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
    /// Whether the copy is what was recorded, but for what whoever restored accepted.
    pub(crate) fn is_whole(&self) -> bool {
        self.differences.iter().all(|difference| difference.accepted)
    }
}

/// Looks whether a restore can be made; changes nothing.
pub(crate) async fn plan(
    name: &str,
    destination: Destination,
    manner: Manner,
    vault: &Vault,
) -> Result<Plan> {
    let entry = catalogue::find(vault, name)?;
    let manifest = entry.manifest;
    manner.means.require_seal(&manifest)?;
    match (&entry.state, destination.source(), manifest.database_type) {
        (catalogue::State::Missing, _, _) => {
            return Err(Error::new(Kind::No, format!("the file of backup `{name}` is not there"))
                .hint("`lifeboat backup list` shows which backups are whole."));
        }
        (_, Source::Postgresql { .. }, DatabaseType::Postgresql)
        | (_, Source::Sqlite { .. }, DatabaseType::Sqlite) => {}
        (_, _, kind) => {
            return Err(Error::request(format!("backup `{name}` is of a {} database", kind.title()))
                .hint("Name a database of that kind with `--url`."));
        }
    }
    let tolerance = &manner.means.tolerance;
    let is_of_postgresql = tolerance.no_owner || tolerance.keep_going || tolerance.locale.is_some();
    if is_of_postgresql && manifest.database_type == DatabaseType::Sqlite {
        return Err(Error::request(format!(
            "`--no-owner`, `--keep-going` and `--locale` mean nothing to `{name}`, which is of SQLite"
        ))
        .hint("Leave them out."));
    }
    if manifest.encrypted && manner.means.identities.is_empty() {
        return Err(Error::request(format!("`{name}` is encrypted"))
            .hint("Name the file with the secret key with `--identity`."));
    }
    let replaces = match destination.source() {
        Source::Postgresql { server, dbname } => postgres::preflight(server, dbname, &manifest).await?,
        Source::Sqlite { path } => sqlite::preflight(path, &manner)?,
    };
    if let (true, Destination::New(source)) = (replaces, &destination) {
        return Err(Error::request(format!("`{}` exists already", source.shown()))
            .hint("`--into` takes a name where nothing is yet; without it the database is replaced."));
    }
    Ok(Plan { manifest, destination, manner, replaces })
}

/// Restores.
pub(crate) async fn apply(plan: Plan, surroundings: &Surroundings<'_>) -> Result<Report> {
    catalogue::recover(surroundings.vault)?;
    let began = std::time::Instant::now();
    let mut report = match plan.destination.source().clone() {
        Source::Postgresql { server, dbname } => {
            postgres::restore(&plan, &server, &dbname, surroundings).await?
        }
        Source::Sqlite { path } => sqlite::restore(&plan, &path, surroundings).await?,
    };
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

/// The file of a backup, read to its end and found to be what was written. From here on this handle is used, and not the
/// name, behind which another file might come to lie.
struct Proven {
    file: Content,
    finding: Finding,
}

async fn prove(plan: &Plan, surroundings: &Surroundings<'_>) -> Result<Proven> {
    (surroundings.tell)(Event::Phase("checking the backup"));
    let manifest = &plan.manifest;
    let file = surroundings.vault.open_file(&manifest.file_name())?;
    let means = &plan.manner.means;
    let mut finding =
        check::examine(manifest, file.clone(), None, Level::Stream, means, surroundings).await?;
    let is_damaged = !finding.faults.is_empty();
    finding.refuse_unless(means.trust_in(manifest)?);
    if !is_damaged && !finding.faults.is_empty() {
        let name = &manifest.backup_name;
        return Err(Error::new(Kind::No, format!("backup `{name}` was refused: {}", finding.faults.join("; ")))
            .hint(
                "Nothing was touched. Somebody may have altered the backup; if you trust the vault, pass `--trust-content`.",
            ));
    }
    if is_damaged {
        return Err(Error::new(
            Kind::No,
            format!("backup `{}` was refused: it is damaged", manifest.backup_name),
        )
        .caused_by(finding.faults.join("; "))
        .hint("Nothing was touched. `lifeboat backup list` shows other backups of this database."));
    }
    Ok(Proven { file, finding })
}

fn report(plan: &Plan, restored_to: &Source) -> Report {
    Report {
        schema: "lifeboat.backup-restore/1".to_owned(),
        backup_name: plan.manifest.backup_name.to_string(),
        restored_to: restored_to.shown(),
        content_of: plan.manifest.timestamp,
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

/// A path as it is meant, whatever the working directory becomes.
pub(super) fn absolute(path: &std::path::Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
