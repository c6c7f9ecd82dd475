//! The audit log, `audit.jsonl`: who did what to which object, when, for how long, and how it ended.
//!
//! What destroys or replaces something has two lines: `begun` before it, and `done` or `failed` after it. A process that died
//! in between leaves the first line alone. If the first line cannot be written, nothing is done.

use std::time::Instant;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Vault;
use crate::error::{Error, Kind, Result};
use crate::postgres::redact_urls;

/// The name of the log in the vault.
const LOG: &str = "audit.jsonl";

/// What started an act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(crate) enum Trigger {
    /// Somebody at the command line, or a script of theirs.
    Cli,
    /// A schedule that `backup schedule` made.
    Schedule,
    /// A call of the REST API.
    Api,
    /// A restore, which backs up what it replaces.
    Restore,
    /// `backup adopt`.
    Adopt,
    /// What an integration called itself.
    Other(String),
}

impl Trigger {
    /// As it stands in manifests and in the audit log.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Trigger::Cli => "cli",
            Trigger::Schedule => "schedule",
            Trigger::Api => "api",
            Trigger::Restore => "restore",
            Trigger::Adopt => "adopt",
            Trigger::Other(word) => word,
        }
    }
}

impl From<String> for Trigger {
    fn from(word: String) -> Self {
        let known = [Trigger::Cli, Trigger::Schedule, Trigger::Api, Trigger::Restore, Trigger::Adopt];
        known.into_iter().find(|it| it.as_str() == word).unwrap_or(Trigger::Other(word))
    }
}

impl From<Trigger> for String {
    fn from(trigger: Trigger) -> Self {
        trigger.as_str().to_owned()
    }
}

/// Who acts, and where.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    /// A user of this machine, or of the API.
    pub who: String,
    /// The machine.
    pub host: String,
    /// What started it.
    pub trigger: Trigger,
    /// The id of the call, if it came over the API.
    pub request: Option<String>,
}

impl Actor {
    /// What is done to which object: `what` is the command, such as `backup create`.
    pub(crate) fn act(&self, what: &str, name: &str) -> Act {
        Act {
            who: self.who.clone(),
            host: self.host.clone(),
            trigger: self.trigger.clone(),
            what: what.to_owned(),
            name: redact_urls(name),
            request: self.request.clone(),
        }
    }
}

/// Something that is done, by whom and to which object.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Act {
    who: String,
    host: String,
    trigger: Trigger,
    what: String,
    /// The name of a backup, a database or a token.
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
}

/// An act whose first line is written.
#[derive(Debug)]
struct Begun<'a> {
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

/// Why the audit log cannot be written.
#[derive(Debug)]
struct Unwritten(String);

impl std::fmt::Display for Unwritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unwritten {}

/// Whether an act was refused because the audit log cannot be written.
pub(crate) fn is_unaudited(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.is::<Unwritten>())
}

impl Vault {
    /// Does something between the two lines of an act. Nothing is done if the first cannot be written; if the second cannot,
    /// `warn` is told, for the work was done. What was made may have another name than the act, by `name_of`.
    pub(crate) async fn record_act<T>(
        &self,
        act: Act,
        clock: fn() -> DateTime<Utc>,
        warn: &(dyn Fn(&str) + Sync),
        name_of: impl FnOnce(&T) -> Option<String>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut begun = self.begin_act(act, clock())?;
        let outcome = work.await;
        if let Ok(name) = outcome.as_ref().map(name_of)
            && let Some(name) = name
        {
            begun.act.name = name;
        }
        if let Err(error) = begun.end(outcome.as_ref().map(drop), clock()) {
            warn(&error.chain());
        }
        outcome
    }

    fn begin_act(&self, act: Act, now: DateTime<Utc>) -> Result<Begun<'_>> {
        let run = format!("{:016x}", rand::random::<u64>());
        let begun = Begun { vault: self, act, run, since: Instant::now() };
        begun.write("begun", None, now).map_err(|error| {
            let refused = Error::new(error.kind(), "the audit log cannot be written, so nothing was done");
            error
                .hints()
                .iter()
                .fold(refused.caused_by(Unwritten(error.chain())), |refused, hint| refused.hint(hint))
        })?;
        Ok(begun)
    }
}

impl Begun<'_> {
    fn end(&self, outcome: std::result::Result<(), &Error>, now: DateTime<Utc>) -> Result<()> {
        match outcome {
            Ok(()) => self.write("done", Some((0, None)), now),
            Err(error) => {
                let ended = (error.kind().exit_code(), Some(redact_urls(&error.chain())));
                self.write("failed", Some(ended), now)
            }
        }
    }

    fn write(
        &self,
        result: &'static str,
        ended: Option<(u8, Option<String>)>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let line = Line {
            schema: "lifeboat.audit/1",
            at: now,
            run: &self.run,
            act: &self.act,
            result,
            duration_seconds: ended.is_some().then(|| self.since.elapsed().as_secs_f64()),
            exit_code: ended.as_ref().map(|(code, _)| *code),
            error: ended.as_ref().and_then(|(_, error)| error.as_deref()),
        };
        let line = serde_json::to_vec(&line).map_err(|error| {
            Error::new(Kind::Bug, "a line of the audit log cannot be serialized").caused_by(error)
        })?;
        self.vault.append(LOG, now, &line)
    }
}
