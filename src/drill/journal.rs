//! Where drills are recorded: `drills/<source>/<run>/` in the vault, with `evidence.json`, `evidence.html` and a
//! lock that is held while the drill runs. A record is written before anything is created, so that a drill that
//! dies leaves a trace, and it is never removed here.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::page;
use super::report::{Evidence, Report, State};
use crate::error::{Error, Kind, Result};
use crate::vault::{Lock, Vault};
use crate::verify::Verdict;

/// The record of one run, open for writing.
pub struct Journal<'a> {
    vault: &'a Vault,
    folder: String,
    _lock: Lock,
}

/// When something last happened, for whoever watches that it does.
#[derive(Debug, Serialize, Deserialize)]
struct Stamp {
    run: String,
    at: DateTime<Utc>,
    verdict: Verdict,
}

impl<'a> Journal<'a> {
    /// Opens the record of a new run.
    pub fn open(vault: &'a Vault, source: &str, run: &str) -> Result<Self> {
        let folder = folder(source, run);
        let lock = vault.try_lock(&format!("{folder}/lock"))?;
        let lock = lock.ok_or_else(|| Error::new(Kind::Bug, format!("run `{run}` is already going on")))?;
        Ok(Journal { vault, folder, _lock: lock })
    }

    /// Where the record will be.
    pub fn evidence(&self) -> Evidence {
        let path = |name: &str| self.vault.shown(&format!("{}/{name}", self.folder));
        Evidence { json: path("evidence.json"), html: path("evidence.html") }
    }

    /// Writes the record as it stands.
    pub fn write(&self, report: &Report) -> Result<()> {
        let json = to_json(report)?;
        self.vault.write(&format!("{}/evidence.json", self.folder), &json)?;
        Ok(())
    }

    /// Writes the record of a drill that is over, its page, and the two stamps: a watcher that knows only the last
    /// pass cannot tell a drill that keeps failing from one that is no longer run.
    pub fn close(self, report: &Report) -> Result<()> {
        let json = to_json(report)?;
        self.vault.write(&format!("{}/evidence.json", self.folder), &json)?;
        self.vault
            .write(&format!("{}/evidence.html", self.folder), page::render(report, &json).as_bytes())?;
        let stamp = Stamp {
            run: report.run.clone(),
            at: report.finished_at.unwrap_or(report.started_at),
            verdict: report.verdict,
        };
        let stamp = to_json(&stamp)?;
        self.vault.write(&format!("drills/{}/last-run.json", report.source.id), &stamp)?;
        if report.verdict == Verdict::Pass {
            self.vault.write(&format!("drills/{}/last-pass.json", report.source.id), &stamp)?;
        }
        Ok(())
    }
}

/// When a database was last drilled, and with which verdict, by the stamp in its folder.
pub fn last(vault: &Vault, source: &str) -> Result<Option<(String, DateTime<Utc>, Verdict)>> {
    let name = format!("drills/{source}/last-run.json");
    let Some(json) = vault.read(&name)? else { return Ok(None) };
    let stamp: Stamp = serde_json::from_slice(&json)
        .map_err(|error| Error::outside(format!("`{}` is damaged", vault.shown(&name))).caused_by(error))?;
    Ok(Some((stamp.run, stamp.at, stamp.verdict)))
}

/// Whether the process of a run is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// It holds its lock.
    Alive,
    /// Its lock is free.
    Ended,
    /// The run is not in this vault.
    NotHere,
}

/// Whether the process of a run is still there, by the lock that it holds in the vault.
pub fn process_of(vault: &Vault, source: &str, run: &str) -> Result<Process> {
    let folder = folder(source, run);
    if !vault.contains(&format!("{folder}/evidence.json"))? {
        return Ok(Process::NotHere);
    }
    let lock = vault.try_lock(&format!("{folder}/lock"))?;
    Ok(if lock.is_some() { Process::Ended } else { Process::Alive })
}

/// The record of a run, if this vault has it and it can be read.
pub fn read(vault: &Vault, source: &str, run: &str) -> Result<Option<Report>> {
    let name = format!("{}/evidence.json", folder(source, run));
    let Some(json) = vault.read(&name)? else { return Ok(None) };
    parse(vault, &name, &json).map(Some)
}

fn parse(vault: &Vault, name: &str, json: &[u8]) -> Result<Report> {
    serde_json::from_slice(json).map_err(|error| {
        Error::outside(format!("`{}` is damaged", vault.shown(name)))
            .caused_by(error)
            .hint("It was changed or cut short after the drill; restore it from a copy of the vault.")
    })
}

/// Finds a run by its id, whatever its source.
pub fn find(vault: &Vault, run: &str) -> Result<Report> {
    for source in vault.list("drills")?.folders {
        if vault.list(&format!("drills/{source}"))?.folders.iter().any(|found| found == run)
            && let Some(report) = read(vault, &source, run)?
        {
            return Ok(report);
        }
    }
    Err(Error::request(format!("there is no drill `{}` in this vault", run.escape_default()))
        .hint("`lifeboat drill list` shows those that are there."))
}

/// Runs of this vault, newest first, and those whose record cannot be read, with the reason.
pub fn list(vault: &Vault, only: &[String]) -> Result<(Vec<Report>, Vec<String>)> {
    let (mut reports, mut damaged) = (Vec::new(), Vec::new());
    for source in vault.list("drills")?.folders {
        if !only.is_empty() && !only.contains(&source) {
            continue;
        }
        let runs = vault.list(&format!("drills/{source}"))?.folders;
        let names: Vec<String> =
            runs.iter().map(|run| format!("{}/evidence.json", folder(&source, run))).collect();
        for (name, json) in names.iter().zip(vault.read_all(&names)?) {
            match json.and_then(|json| json.map(|json| parse(vault, name, &json)).transpose()) {
                Ok(Some(report)) => reports.push(report),
                Ok(None) => {}
                Err(error) => damaged.push(error.chain()),
            }
        }
    }
    reports.sort_by_key(|report| std::cmp::Reverse(report.started_at));
    Ok((reports, damaged))
}

/// What became of a run, in a word: a record that says `running` under a free lock is of a process that died.
pub fn outcome(vault: &Vault, report: &Report) -> Result<&'static str> {
    Ok(match (report.state, report.verdict) {
        (State::Running, _) => match process_of(vault, &report.source.id, &report.run)? {
            Process::Alive => "running",
            _ => "died",
        },
        // A signal that came while the throwaway was being removed does not unsay what was found before.
        (_, Verdict::Pass) => "pass",
        (_, Verdict::Fail) => "fail",
        (State::Interrupted | State::Terminated, Verdict::Unknown) => "interrupted",
        (State::Finished, Verdict::Unknown) => "unknown",
    })
}

/// Where the record of a run lies in the vault.
pub(super) fn name(source: &str, run: &str) -> String {
    format!("{}/evidence.json", folder(source, run))
}

fn folder(source: &str, run: &str) -> String {
    format!("drills/{source}/{run}")
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::new(Kind::Bug, "a record cannot be written as JSON").caused_by(error))?;
    json.push(b'\n');
    Ok(json)
}
