//! Where drills are recorded: `drills/<source>/<run>/` in the vault, with `evidence.json`, `evidence.html` and a
//! lock that is held while the drill runs. A record is written before anything is created, so that a drill that
//! dies leaves a trace, and it is never removed here. The chain of the source names each of these files by its hash.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::chain::{self, What};
use super::evidence::{ChainPosition, Evidence, Report, State, to_json};
use super::outcome::Outcome;
use super::{page, verify_evidence};
use crate::error::{Error, Kind, Result};
use crate::rds::RunId;
use crate::vault::{Lock, Vault};
use crate::verify::Verdict;

/// The record of one run, open for writing.
pub(crate) struct Journal<'a> {
    vault: &'a Vault,
    source: String,
    run: String,
    _lock: Lock,
}

/// When a drill last ended, for monitoring.
#[derive(Debug, Serialize, Deserialize)]
struct Stamp {
    run: String,
    at: DateTime<Utc>,
    verdict: Verdict,
}

impl<'a> Journal<'a> {
    /// Opens the record of a new run.
    pub(crate) fn open(vault: &'a Vault, source: &str, run: &str) -> Result<Self> {
        let lock = vault.try_lock(&lock_name(source, run))?;
        let lock = lock.ok_or_else(|| Error::new(Kind::Bug, format!("run `{run}` is already under way")))?;
        Ok(Journal { vault, source: source.to_owned(), run: run.to_owned(), _lock: lock })
    }

    /// Where the record will be.
    pub(crate) fn evidence_paths(&self) -> Evidence {
        let path = |name: &str| self.vault.shown(&format!("{}/{name}", run_folder(&self.source, &self.run)));
        Evidence { json: path("evidence.json"), html: path("evidence.html") }
    }

    /// Distinguishes the lock that this run holds from one in a copy of the vault.
    pub(crate) fn lock_mark(&self) -> Option<String> {
        self.vault.lock_mark(&lock_name(&self.source, &self.run)).ok().flatten()
    }

    /// Writes the record so far, while the drill runs: when it begins, and when AWS has said which instance it made.
    pub(crate) fn record_progress(&self, report: &mut Report, at: DateTime<Utc>) -> Result<()> {
        self.append_link(What::Begun, at, |place| {
            report.chain = Some(place.clone());
            Ok(vec![(format!("{}/evidence.json", self.run), to_json(report)?)])
        })
    }

    /// Writes the record of a drill that has ended, its page, and the two stamps: a monitor that knows only the last
    /// pass cannot tell a drill that keeps failing from one that is no longer run.
    pub(crate) fn close(self, report: &mut Report) -> Result<()> {
        let at = report.finished_at.unwrap_or(report.started_at);
        self.write_final_record(report, at, true)
    }

    fn write_final_record(self, report: &mut Report, at: DateTime<Utc>, is_last: bool) -> Result<()> {
        self.append_link(What::Ended, at, |place| {
            report.chain = Some(place.clone());
            let json = to_json(report)?;
            let page = page::render_evidence(report, &json).into_bytes();
            let stamp = Stamp { run: report.run.clone(), at, verdict: report.verdict };
            let stamp = to_json(&stamp)?;
            let mut files = vec![
                (format!("{}/evidence.html", self.run), page),
                (format!("{}/evidence.json", self.run), json),
            ];
            if is_last {
                files.push(("last-run.json".to_owned(), stamp.clone()));
            }
            if report.verdict == Verdict::Pass {
                files.push(("last-pass.json".to_owned(), stamp));
            }
            Ok(files)
        })
    }

    fn append_link(
        &self,
        what: What,
        at: DateTime<Utc>,
        compose: impl FnOnce(&ChainPosition) -> Result<chain::Files>,
    ) -> Result<()> {
        chain::append_to_chain(self.vault, &self.source, chain::Entry { run: &self.run, what, at }, compose)
    }
}

/// When a database was last drilled, and with which verdict, by the stamp in its folder.
pub(crate) fn read_last_stamp(
    vault: &Vault,
    source: &str,
) -> Result<Option<(String, DateTime<Utc>, Verdict)>> {
    let name = format!("drills/{source}/last-run.json");
    let Some(json) = vault.read(&name)? else { return Ok(None) };
    let stamp: Stamp = serde_json::from_slice(&json)
        .map_err(|error| Error::outside(format!("`{}` is damaged", vault.shown(&name))).caused_by(error))?;
    Ok(Some((stamp.run, stamp.at, stamp.verdict)))
}

/// Whether the process of a run is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    /// It holds its lock.
    Alive,
    /// Its lock is free.
    Ended,
    /// The run is in this vault, and nothing shows its process: the vault is a copy, or this is another machine, or it was
    /// restarted.
    Unknown,
    /// The run is not in this vault.
    NotHere,
}

/// Whether the process of a run is alive, by the lock that it holds in the vault. The lock in a copy of the vault
/// is always free, so a free lock counts only if it is the very one that the run took.
pub(crate) fn process_of(vault: &Vault, source: &str, run: &str) -> Result<Process> {
    let Some(report) = read_record(vault, source, run)? else { return Ok(Process::NotHere) };
    process_of_report(vault, source, &report)
}

fn process_of_report(vault: &Vault, source: &str, report: &Report) -> Result<Process> {
    let name = lock_name(source, &report.run);
    if vault.try_lock(&name)?.is_none() {
        return Ok(Process::Alive);
    }
    if report.state != State::Running {
        return Ok(Process::Ended);
    }
    let mark = vault.lock_mark(&name)?;
    Ok(if mark.is_some() && mark == report.ran_by.lock { Process::Ended } else { Process::Unknown })
}

/// The record of a run, if this vault has it and it can be read.
pub(crate) fn read_record(vault: &Vault, source: &str, run: &str) -> Result<Option<Report>> {
    let name = format!("{}/evidence.json", run_folder(source, run));
    let Some(json) = vault.read(&name)? else { return Ok(None) };
    parse_record(vault, &name, &json).map(Some)
}

fn parse_record(vault: &Vault, name: &str, json: &[u8]) -> Result<Report> {
    serde_json::from_slice(json).map_err(|error| {
        Error::outside(format!("`{}` is damaged", vault.shown(name)))
            .caused_by(error)
            .hint("It was changed or cut short after the drill; restore it from a copy of the vault.")
    })
}

/// Finds a run by its id, whatever its source; the newest of a database by the database's name; `latest` is the newest of all.
pub(crate) fn find_record(vault: &Vault, run: &str) -> Result<Report> {
    let newest_of = match run {
        "latest" => Some(Vec::new()),
        run if RunId::parse(run).is_some() => None,
        run => vault.list("drills")?.folders.contains(&run.to_owned()).then(|| vec![run.to_owned()]),
    };
    if let Some(only) = newest_of {
        let (reports, damaged) = list_records(vault, &only)?;
        return reports.into_iter().next().ok_or_else(|| match damaged.into_iter().next() {
            Some(why) => Error::outside(why),
            None => {
                Error::request("no drill is recorded in this vault").hint("`lifeboat drill run DB` runs one.")
            }
        });
    }
    let source = source_of(vault, run)?;
    read_record(vault, &source, run)?.ok_or_else(|| unknown_run(run))
}

/// The source whose drill a run was.
pub(crate) fn source_of(vault: &Vault, run: &str) -> Result<String> {
    for source in vault.list("drills")?.folders {
        if RunId::parse(run).is_some()
            && vault.contains(&format!("{}/evidence.json", run_folder(&source, run)))?
        {
            return Ok(source);
        }
    }
    Err(unknown_run(run))
}

fn unknown_run(run: &str) -> Error {
    Error::request(format!(
        "this vault has no drill `{0}`, nor a drill of a database `{0}`",
        run.escape_default()
    ))
    .hint("`lifeboat drill list` lists the drills; `latest` is the newest.")
}

/// The newest drills of an instance that can be read, the newest first: enough to estimate the next one.
pub(crate) fn newest_records(vault: &Vault, source: &str, resource_id: &str) -> Vec<Report> {
    const EXAMPLES: usize = 5;
    let mut runs = vault.list(&format!("drills/{source}")).map(|found| found.folders).unwrap_or_default();
    runs.retain(|run| RunId::parse(run).is_some());
    runs.sort_unstable_by(|left, right| right.cmp(left));
    let read = runs.iter().take(EXAMPLES).filter_map(|run| read_record(vault, source, run).ok().flatten());
    read.filter(|report| report.source.resource_id == resource_id).collect()
}

/// Runs of this vault, newest first, and those whose record cannot be read, with the reason.
pub(crate) fn list_records(vault: &Vault, only: &[String]) -> Result<(Vec<Report>, Vec<String>)> {
    let (mut reports, mut damaged) = (Vec::new(), Vec::new());
    for source in vault.list("drills")?.folders {
        if !only.is_empty() && !only.contains(&source) {
            continue;
        }
        let runs = vault.list(&format!("drills/{source}"))?.folders;
        let names: Vec<String> =
            runs.iter().map(|run| format!("{}/evidence.json", run_folder(&source, run))).collect();
        for ((name, run), json) in names.iter().zip(&runs).zip(vault.read_all(&names)?) {
            match json.and_then(|json| json.map(|json| parse_record(vault, name, &json)).transpose()) {
                // The chain goes by the path of a record: a record must not stand in for another.
                Ok(Some(report)) if report.source.id != source || report.run != *run => {
                    damaged.push(format!(
                        "`{}` is in the wrong place: it is the record of drill {} of `{}`",
                        vault.shown(name),
                        report.run.escape_default(),
                        report.source.id.escape_default()
                    ));
                }
                Ok(Some(report)) => reports.push(report),
                Ok(None) => {}
                Err(error) => damaged.push(error.chain()),
            }
        }
    }
    reports.sort_by_key(|report| std::cmp::Reverse(report.started_at));
    Ok((reports, damaged))
}

/// The outcome of a run: a record that says `running` under a free lock is of a process that died, or, where
/// the lock is that of a copy of the vault, `unfinished`.
pub(crate) fn current_outcome(vault: &Vault, report: &Report) -> Result<Outcome> {
    if report.state != State::Running {
        return Ok(Outcome::of_record(report));
    }
    Ok(match process_of_report(vault, &report.source.id, report)? {
        Process::Alive => Outcome::Running,
        // Only records from before locks had marks have none.
        Process::Unknown if report.ran_by.lock.is_some() => Outcome::Unfinished,
        _ => Outcome::Died,
    })
}

/// What a sweep found about the throwaway of a drill that died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The sweep has removed it.
    Removed,
    /// AWS does not have it.
    NotThere,
}

/// Closes the record of a drill whose process has ended before the drill did: the outcome of its throwaway is known now. Does
/// nothing if the record is closed, or its process alive.
pub(crate) fn close_dead(
    vault: &Vault,
    source: &str,
    run: &str,
    found: Found,
    at: DateTime<Utc>,
) -> Result<()> {
    let Some(mut report) = read_record(vault, source, run)? else { return Ok(()) };
    let is_over = report.state != State::Running;
    // An altered record must not be sealed as it is.
    if is_over
        || report.run != run
        || report.source.id != source
        || !verify_evidence::is_record_sound(vault, source, run)?
    {
        return Ok(());
    }
    let Some(lock) = vault.try_lock(&lock_name(source, run))? else { return Ok(()) };
    report.state = State::Died;
    report.verdict = Verdict::Unknown;
    report.reasons.push("the process of the drill was killed, or its machine stopped".to_owned());
    match found {
        Found::Removed => report.throwaway.removed_at = Some(at),
        Found::NotThere => report.throwaway.found_gone_at = Some(at),
    }
    // A drill that has ended since is the newer last drill.
    let is_last = read_last_stamp(vault, source)?.is_none_or(|(_, last, _)| last < report.started_at);
    let journal = Journal { vault, source: source.to_owned(), run: run.to_owned(), _lock: lock };
    journal.write_final_record(&mut report, at, is_last)
}

/// The path of the record of a run in the vault.
pub(super) fn evidence_name(source: &str, run: &str) -> String {
    format!("{}/evidence.json", run_folder(source, run))
}

fn lock_name(source: &str, run: &str) -> String {
    format!("{}/lock", run_folder(source, run))
}

fn run_folder(source: &str, run: &str) -> String {
    format!("drills/{source}/{run}")
}
