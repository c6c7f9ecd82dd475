//! The audit log, `audit.jsonl`: who did what to which object, when, for how long, and what came of it.
//!
//! What destroys or replaces something has a line before it (`begun`) and one after it: a process that died in between
//! shows as a line without its answer. Where the first cannot be written, nothing is done.

use std::time::Instant;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Vault;
use crate::error::{Error, Kind, Result};

/// The name of the log in the vault.
const LOG: &str = "audit.jsonl";

/// Something that is going to be done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Act {
    /// Who does it: a user of this machine, or of the API.
    pub who: String,
    /// The machine.
    pub host: String,
    /// What started it: `cli`, `schedule`, `api`.
    pub trigger: String,
    /// What is done, such as `backup create`.
    pub what: String,
    /// To which object: the name of a backup, or of a database.
    pub name: String,
    /// The id of the call, if it came over the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// An act that was begun.
#[derive(Debug)]
pub(crate) struct Begun<'a> {
    vault: &'a Vault,
    act: Act,
    run: String,
    since: Instant,
}

#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    at: DateTime<Utc>,
    /// The same in both lines of an act.
    run: &'a str,
    #[serde(flatten)]
    act: &'a Act,
    /// `begun`, `done`, or `failed`.
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl Vault {
    /// Writes into the audit log that something is going to be done.
    pub(crate) fn begin(&self, act: Act, now: DateTime<Utc>) -> Result<Begun<'_>> {
        let run = format!("{:016x}", rand::random::<u64>());
        let begun = Begun { vault: self, act, run, since: Instant::now() };
        begun.write(None, now)?;
        Ok(begun)
    }
}

/// How an act ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// As it should.
    Done,
    /// It failed, with this exit code and in these words, which hold no secret.
    Failed(u8, String),
}

impl Begun<'_> {
    /// Writes what came of it. The name of what was made may be known only now.
    pub(crate) fn end(mut self, name: Option<&str>, outcome: &Outcome, now: DateTime<Utc>) -> Result<()> {
        if let Some(name) = name {
            name.clone_into(&mut self.act.name);
        }
        self.write(Some(outcome), now)
    }

    fn write(&self, outcome: Option<&Outcome>, now: DateTime<Utc>) -> Result<()> {
        let (result, exit_code, error) = match outcome {
            None => ("begun", None, None),
            Some(Outcome::Done) => ("done", Some(0), None),
            Some(Outcome::Failed(code, words)) => ("failed", Some(*code), Some(words.as_str())),
        };
        let line = Line {
            schema: "lifeboat.audit/1",
            at: now,
            run: &self.run,
            act: &self.act,
            result,
            duration_seconds: outcome.map(|_| self.since.elapsed().as_secs_f64()),
            exit_code,
            error,
        };
        let line = serde_json::to_vec(&line).map_err(|error| {
            Error::new(Kind::Bug, "a line of the audit log cannot be written").caused_by(error)
        })?;
        self.vault.append(LOG, now, &line)
    }
}
