//! What happened in a run: `runs/<run>/journal.jsonl` in the vault, one JSON document a line, only ever added to.
//!
//! Each line is on disk before and after the event it records, and carries the SHA-256 of the line before. Beside it lies `head`,
//! the number and hash of the last line, so that the last line cannot be changed or removed unseen either. That makes changes
//! visible; it does not keep somebody who rewrites both files from making them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::document::Mode;
use super::sha256;
use crate::error::{Error, Kind, Result};
use crate::vault::chain::{Head, NOTHING};
use crate::vault::{Lock, Log, Vault};

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Version of the format.
    pub v: u32,
    /// Number, from 1.
    pub seq: u64,
    pub t: DateTime<Utc>,
    #[serde(flatten)]
    pub event: Event,
    /// Hash of the line before.
    pub prev: String,
}

/// Who does something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Actor {
    /// ARN of the caller, if known; else user and host.
    pub identity: String,
    /// AWS account.
    pub account: Option<String>,
    /// AWS Region.
    pub region: Option<String>,
    /// Host name.
    pub host: String,
    /// Version of lifeboat.
    pub version: String,
}

/// An event.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// The run began.
    Start(Box<Start>),
    /// A process resumed the run.
    Resumed {
        by: Actor,
        /// Hash of the runbook, if a changed one was accepted.
        accepted: Option<String>,
        /// Bytes of an incomplete line that were dropped.
        dropped_bytes: u64,
        /// Lines that the journal has lost.
        lost_lines: u64,
    },
    /// A step is about to begin.
    Begin {
        step: String,
        /// How often it has begun, this time included.
        attempt: u32,
        /// Hash of what is run.
        sha256: String,
        /// Objects that it will create and that did not exist.
        absent: Vec<String>,
    },
    /// A command of the step has been started.
    Process {
        step: String,
        /// Its process group.
        group: u32,
    },
    /// A step has ended.
    End(Box<End>),
    /// The probe of a step was run.
    Probe {
        step: String,
        /// What came out.
        answer: Answer,
        /// The reason.
        reason: String,
        made: Vec<Made>,
    },
    /// A person is asked at a gate.
    Asked { step: String },
    /// Somebody answered at a gate.
    Gate {
        step: String,
        /// What they typed.
        answer: String,
        by: Actor,
    },
    /// Somebody decided whether a step happened.
    Said {
        step: String,
        /// `done` or `redo`.
        word: String,
        by: Actor,
    },
    /// A step is not for this mode.
    Skipped { step: String, reason: String },
    /// The run stopped and can be resumed.
    Stopped {
        /// `waiting`, `failed`, `interrupted`, `unknown`.
        state: String,
        step: Option<String>,
        reason: String,
        /// Exit code of the process.
        exit: u8,
    },
    /// An undo of the run begins.
    Undo {
        by: Actor,
        /// The newest step that is kept, with all before it.
        kept: Option<String>,
    },
    /// The undo ended.
    Undone {
        /// Whether everything was undone.
        is_whole: bool,
        reasons: Vec<String>,
    },
    /// A step is about to be undone.
    UndoBegin { step: String },
    /// The undo of the step ended.
    UndoEnd {
        step: String,
        /// Whether it is gone.
        is_undone: bool,
        reason: String,
    },
    /// The run has ended.
    Finished {
        /// `passed` or `failed`.
        verdict: String,
        /// The reasons of the verdict.
        reasons: Vec<String>,
    },
}

/// How a run began.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    /// Id of the run.
    pub run: String,
    /// Name of the runbook.
    pub runbook: String,
    /// Its path, or its name if it is built in.
    pub place: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Whether a run is real or a rehearsal.
    pub mode: Mode,
    /// Values, without the secret ones.
    pub values: BTreeMap<String, String>,
    pub by: Actor,
    /// What preflight left in doubt.
    #[serde(default)]
    pub doubts: Vec<String>,
}

/// How a step ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct End {
    pub step: String,
    /// The result.
    pub result: Ending,
    /// Exit code, of what has one.
    pub exit: Option<i32>,
    /// How long it took.
    pub seconds: f64,
    /// Its output, redacted.
    pub output: Option<Output>,
    /// The values that it set, without the secret ones.
    pub values: BTreeMap<String, String>,
    pub made: Vec<Made>,
    /// Why it is not done.
    pub reasons: Vec<String>,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    /// It was done as expected.
    Done,
    Failed,
    /// It ran, but something is not as expected.
    Unmet,
    /// It took too long or was interrupted: whether it happened is not known.
    Unknown,
}

/// The output of a step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Output {
    /// File beside the journal.
    pub file: String,
    /// Its hash.
    pub sha256: String,
    /// The last lines of it.
    pub tail: String,
}

/// An object that a step created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    /// As `kind:name`.
    pub object: String,
    /// Its immutable id, if it has one.
    pub identity: Option<String>,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Happened,
    DidNot,
    /// It could not be determined.
    Unknown,
}

/// The journal of one run, open for writing and locked.
pub(crate) struct Journal {
    vault: Vault,
    run: String,
    log: Log,
    lines: Vec<Line>,
    last: String,
    /// Where an incomplete line begins, which the next one replaces.
    cut_to: Option<u64>,
    _lock: Lock,
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Whole lines.
    pub lines: Vec<Line>,
    /// Hash of the last one.
    pub head: String,
    /// Bytes up to the end of the last whole line.
    pub good_bytes: u64,
    /// Bytes of an incomplete line after it.
    pub dropped_bytes: u64,
    /// Lines that `head` counts, the incomplete one included.
    pub lost_lines: u64,
}

/// The folder of a run.
pub(crate) fn folder(run: &str) -> String {
    format!("runs/{run}")
}

impl Journal {
    /// Begins the journal of a new run.
    pub(crate) fn create(vault: &Vault, run: &str) -> Result<Self> {
        let lock = lock(vault, run)?;
        let log = vault.log(&format!("{}/journal.jsonl", folder(run)))?;
        Ok(Journal {
            vault: vault.clone(),
            run: run.to_owned(),
            log,
            lines: Vec::new(),
            last: NOTHING.to_owned(),
            cut_to: None,
            _lock: lock,
        })
    }

    /// Reopens the journal of a run whose process has ended.
    pub(crate) fn reopen(vault: &Vault, run: &str) -> Result<(Self, Found)> {
        read_journal(vault, run)?;
        let lock = lock(vault, run)?;
        let mut log = vault.log(&format!("{}/journal.jsonl", folder(run)))?;
        let found = understand(&log.read()?, head(vault, run)?.as_ref(), run)?;
        let journal = Journal {
            vault: vault.clone(),
            run: run.to_owned(),
            log,
            lines: found.lines.clone(),
            last: found.head.clone(),
            cut_to: (found.dropped_bytes > 0).then_some(found.good_bytes),
            _lock: lock,
        };
        Ok((journal, found))
    }

    /// Adds a line. It is on disk when this returns.
    pub(crate) fn add(&mut self, event: Event, now: DateTime<Utc>) -> Result<()> {
        let seq = self.lines.last().map_or(0, |line| line.seq) + 1;
        let line = Line { v: 1, seq, t: now, event, prev: self.last.clone() };
        let mut text = serde_json::to_vec(&line).map_err(|error| {
            Error::new(Kind::Bug, "a journal line cannot be written as JSON").caused_by(error)
        })?;
        self.last = sha256(&text);
        text.push(b'\n');
        if let Some(good_bytes) = self.cut_to.take() {
            self.log.cut_to(good_bytes)?;
        }
        self.log.append(&text)?;
        let head = Head { seq, sha256: self.last.clone() };
        self.vault.write(&format!("{}/head", folder(&self.run)), &head.to_json()?)?;
        self.lines.push(line);
        Ok(())
    }

    /// All lines so far.
    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Hash of the last line.
    pub(crate) fn head(&self) -> &str {
        &self.last
    }

    /// The vault that holds it.
    pub(crate) fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Writes a file beside it.
    pub(crate) fn write_beside(&self, name: &str, content: &[u8]) -> Result<()> {
        self.vault.write(&format!("{}/{name}", folder(&self.run)), content)
    }
}

fn lock(vault: &Vault, run: &str) -> Result<Lock> {
    vault.path(&folder(run))?;
    vault.try_lock(&format!("{}/lock", folder(run)))?.ok_or_else(|| {
        Error::new(Kind::Guard, format!("run `{run}` is being run by another process"))
            .hint("Go to its terminal, or wait for it: two processes would run steps twice.")
    })
}

/// Whether the process of a run is alive.
pub(crate) fn is_alive(vault: &Vault, run: &str) -> Result<bool> {
    Ok(vault.try_lock(&format!("{}/lock", folder(run)))?.is_none())
}

/// Reads the journal of a run without locking it.
pub(crate) fn read_journal(vault: &Vault, run: &str) -> Result<Found> {
    let unknown = || {
        Error::request(format!("there is no run `{}` in this vault", run.escape_default()))
            .hint("`lifeboat runbook runs` lists the runs; `--vault` names another vault.")
    };
    if crate::rds::RunId::parse(run).is_none() {
        return Err(unknown());
    }
    let text = vault.read(&format!("{}/journal.jsonl", folder(run)))?.ok_or_else(unknown)?;
    understand(&text, head(vault, run)?.as_ref(), run)
}

fn head(vault: &Vault, run: &str) -> Result<Option<Head>> {
    let Some(text) = vault.read(&format!("{}/head", folder(run)))? else { return Ok(None) };
    Head::parse(&text).map(Some).map_err(|error| changed(run, "its `head` cannot be read").caused_by(error))
}

fn changed(run: &str, why: &str) -> Error {
    Error::new(Kind::Guard, format!("the journal of run `{run}` was changed: {why}")).hint(
        "It no longer proves what the run did. Check what exists, restore the journal from a copy of the vault, or start a new run.",
    )
}

fn understand(text: &[u8], head: Option<&Head>, run: &str) -> Result<Found> {
    let good_bytes = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut found = Found {
        head: NOTHING.to_owned(),
        good_bytes: good_bytes as u64,
        dropped_bytes: (text.len() - good_bytes) as u64,
        ..Found::default()
    };
    for (index, raw) in
        text[..good_bytes].split(|byte| *byte == b'\n').take_while(|raw| !raw.is_empty()).enumerate()
    {
        let number = index + 1;
        let line: Line = serde_json::from_slice(raw)
            .map_err(|error| changed(run, &format!("line {number} cannot be read")).caused_by(error))?;
        if line.prev != found.head || line.seq != number as u64 {
            return Err(changed(run, &format!("line {number} does not follow the one before it")));
        }
        found.head = sha256(raw);
        if head.is_some_and(|head| head.seq == line.seq && head.sha256 != found.head) {
            return Err(changed(run, &format!("line {number} was altered")));
        }
        found.lines.push(line);
    }
    let last = found.lines.len() as u64;
    let known = head.map_or(0, |head| head.seq);
    if head.is_none() && last > 1 {
        return Err(changed(run, "its `head` is missing"));
    }
    found.lost_lines = known.saturating_sub(last);
    // A crash writes half a line, never none; and the head follows each line at once.
    if found.lost_lines > 0 && found.dropped_bytes == 0 {
        return Err(changed(run, &format!("{} lines at its end are missing", found.lost_lines)));
    }
    if last > known + 1 {
        return Err(changed(run, "it has lines that its `head` does not count"));
    }
    let begins_well =
        matches!(found.lines.first().map(|line| &line.event), Some(Event::Start(start)) if start.run == run);
    if !begins_well {
        return Err(changed(run, "it does not begin with the start of this run"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "20261122-050000-abc234";

    fn now() -> DateTime<Utc> {
        "2026-11-22T05:00:00Z".parse().unwrap()
    }

    fn journal() -> (tempfile::TempDir, Vault, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let vault = Vault::open(directory.path().to_str().unwrap(), &crate::aws::Access::default()).unwrap();
        let mut journal = Journal::create(&vault, RUN).unwrap();
        let by = Actor {
            identity: "me".into(),
            account: None,
            region: None,
            host: "h".into(),
            version: "0".into(),
        };
        let start = Start {
            run: RUN.into(),
            runbook: "x".into(),
            place: "x.md".into(),
            sha256: "0".into(),
            mode: Mode::Real,
            values: BTreeMap::new(),
            by,
            doubts: Vec::new(),
        };
        journal.add(Event::Start(Box::new(start)), now()).unwrap();
        for step in ["a", "b", "c"] {
            journal.add(Event::Skipped { step: step.into(), reason: "x".into() }, now()).unwrap();
        }
        let path = directory.path().join("runs").join(RUN).join("journal.jsonl");
        (directory, vault, path)
    }

    #[test]
    fn a_changed_line_is_found_wherever_it_stands() {
        for line in 0..4 {
            let (_directory, vault, path) = journal();
            let text = std::fs::read_to_string(&path).unwrap();
            let lines: Vec<String> = text
                .lines()
                .enumerate()
                .map(|(index, text)| {
                    if index == line {
                        text.replacen("\"event\":\"s", "\"event\": \"s", 1)
                    } else {
                        text.to_owned()
                    }
                })
                .collect();
            std::fs::write(&path, lines.join("\n") + "\n").unwrap();
            let error = Journal::reopen(&vault, RUN).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), Kind::Guard, "line {line}: {}", error.chain());
            assert!(error.chain().contains("was changed"), "line {line}: {}", error.chain());
        }
    }

    #[test]
    fn lines_that_are_taken_away_or_put_in_are_found() {
        let (_directory, vault, path) = journal();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for kept in [vec![0, 1, 2], vec![0, 2, 3], vec![0, 1, 1, 2, 3], vec![1, 2, 3], vec![0, 1, 2, 3, 3]] {
            let text: Vec<&str> = kept.iter().map(|index| lines[*index]).collect();
            std::fs::write(&path, text.join("\n") + "\n").unwrap();
            assert!(Journal::reopen(&vault, RUN).is_err(), "{kept:?}");
        }
    }

    #[test]
    fn a_journal_that_is_cut_off_in_mid_line_is_taken_up() {
        let (_directory, vault, path) = journal();
        let text = std::fs::read(&path).unwrap();
        for cut in 1..text.len() {
            let whole = text[..cut].iter().filter(|byte| **byte == b'\n').count();
            if whole == 0 || text[cut - 1] == b'\n' {
                continue;
            }
            std::fs::write(&path, &text[..cut]).unwrap();
            let found = read_journal(&vault, RUN).unwrap();
            assert_eq!((found.lines.len(), found.lost_lines), (whole, 4 - whole as u64), "cut at {cut}");
        }
        std::fs::write(&path, &text[..text.len() - 5]).unwrap();
        let (mut journal, found) = Journal::reopen(&vault, RUN).unwrap();
        assert!(found.dropped_bytes > 0);
        journal.add(Event::Skipped { step: "c".into(), reason: "again".into() }, now()).unwrap();
        drop(journal);
        assert_eq!(read_journal(&vault, RUN).unwrap().lines.len(), 4);
    }

    #[test]
    fn one_process_at_a_time() {
        let (_directory, vault, _path) = journal();
        // A process that another test is just starting holds every open file of ours until it becomes its program.
        let until = |condition: &dyn Fn() -> bool| {
            let give_up = std::time::Instant::now() + std::time::Duration::from_secs(30);
            while !condition() {
                assert!(std::time::Instant::now() < give_up, "the lock is held by nobody");
                std::thread::yield_now();
            }
        };
        until(&|| !is_alive(&vault, RUN).unwrap());
        let first = Journal::reopen(&vault, RUN).unwrap();
        assert!(is_alive(&vault, RUN).unwrap());
        assert_eq!(Journal::reopen(&vault, RUN).map(|_| ()).unwrap_err().kind(), Kind::Guard);
        drop(first);
        until(&|| !is_alive(&vault, RUN).unwrap());
    }
}
