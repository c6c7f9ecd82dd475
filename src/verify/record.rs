//! Records what a source contains, so that a copy can be judged later without the source.
//!
//! ```text
//! begin       the first reading of the write counters, then the instant: seconds, however large the source is
//! observe     every table as it was at that instant
//! look_again  the second reading, after the moment of the copy
//! ```
//!
//! A saved baseline is one JSON document whose last field is the SHA-256 of everything before it, its *seal*.
//! It contains no rows: only names, numbers and hashes.

use chrono::{DateTime, Timelike as _, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use tokio::time::Instant;

use super::depth::{Depth, Look};
use super::fingerprint::RECIPE;
use super::judge::Movement;
use super::observe::{Databases, Observation, Progress, Question};
use crate::error::{Error, Result};
use crate::postgres::Server;
use crate::rds::Instance;

/// Where in a second a source is observed that is to be restored to that second: the log can be replayed up to whole
/// seconds only, so the later in its second the observation is, the less can be written between the two.
const LATE_IN_THE_SECOND: u32 = 850_000_000;

/// A source that is being recorded.
pub(crate) struct Recording {
    server: Server,
    only: Vec<String>,
    look: Look,
    databases: Option<Databases>,
    /// When the source was seen, by its own clock: nothing that was committed later is in the record.
    pub instant: DateTime<Utc>,
    begun: Instant,
    pub seen: Observation,
    /// Writes to it during the comparison.
    pub movement: Movement,
}

impl Recording {
    /// Fixes the instant.
    pub(crate) async fn begin(server: &Server, only: &[String], look: &Look) -> Result<Self> {
        Recording::begin_within(server, only, look, false).await
    }

    /// Fixes the instant late in its second.
    pub(crate) async fn begin_late(server: &Server, only: &[String], look: &Look) -> Result<Self> {
        Recording::begin_within(server, only, look, true).await
    }

    async fn begin_within(server: &Server, only: &[String], look: &Look, late: bool) -> Result<Self> {
        let mut databases = Databases::connect(server, only, look).await?;
        let mut movement = Movement { before: databases.read_write_counters().await?, ..Movement::default() };
        if looks_at_definitions(look) {
            movement.sequences_before = databases.read_sequences().await?;
            movement.role_writes_before = databases.role_writes().await?;
        }
        databases.prepare_all().await?;
        if late {
            let clock = databases.server_time().await?;
            let early = LATE_IN_THE_SECOND.saturating_sub(clock.nanosecond() % 1_000_000_000);
            tokio::time::sleep(Duration::from_nanos(u64::from(early))).await;
        }
        let instant = databases.begin_prepared().await?;
        Ok(Recording {
            server: server.clone(),
            only: only.to_vec(),
            look: look.clone(),
            databases: Some(databases),
            instant,
            begun: Instant::now(),
            seen: Observation::default(),
            movement,
        })
    }

    /// The first whole second that is not before the instant.
    pub(crate) fn next_second(&self) -> DateTime<Utc> {
        self.instant.with_nanosecond(0).unwrap_or(self.instant) + chrono::TimeDelta::seconds(1)
    }

    /// Reads every table as it was at the instant.
    pub(crate) async fn observe(&mut self, progress: &(dyn Fn(Progress) + Sync)) -> Result<()> {
        if let Some(mut databases) = self.databases.take() {
            self.seen = databases.observe(&Question::default(), progress).await?;
            if let Some(latest) = self.seen.last_instant.filter(|latest| *latest > self.instant) {
                (self.instant, self.begun) = (latest, Instant::now());
            }
            databases.end_transactions();
        }
        Ok(())
    }

    /// Reads the counters of the source again, after the moment of the copy: as soon as its sessions have reported what they
    /// wrote up to `since`, because all that is written later only widens the bounds.
    pub(crate) async fn read_counters_again(&mut self, since: Instant) -> Result<()> {
        let databases = Databases::connect(&self.server, &self.only, &self.look).await?;
        self.movement.is_incomplete = !databases.wait_for_counters(since).await?;
        self.movement.after = databases.read_write_counters().await?;
        if looks_at_definitions(&self.look) {
            self.movement.sequences_after = databases.read_sequences().await?;
            self.movement.definitions_after = databases.read_definitions().await?;
            self.movement.role_writes_after = databases.role_writes().await?;
            // Last: whatever was written to when the rest was read is in here.
            let since = self.seen.definitions_settled_before();
            self.movement.touched_after = databases.read_touched(&since).await?;
        }
        Ok(())
    }

    /// The snapshot of a database that other sessions can import as long as nothing has been observed yet.
    pub(crate) fn snapshot_of(&self, database: &str) -> Option<&str> {
        self.databases.as_ref().and_then(|databases| databases.exported_snapshot(database))
    }

    /// Why a database could not be read.
    pub(crate) fn why_unreadable(&self, database: &str) -> Option<&str> {
        self.databases.as_ref()?.unreadable().get(database).map(String::as_str)
    }

    /// When the instant was, by our own clock.
    pub(crate) fn begun_at(&self) -> Instant {
        self.begun
    }

    /// The baseline to save.
    pub(crate) fn into_baseline(self, of: Origin, now: DateTime<Utc>) -> Recorded {
        Recorded {
            schema: SCHEMA.to_owned(),
            recipe: RECIPE,
            lifeboat: env!("CARGO_PKG_VERSION").to_owned(),
            recorded_at: now,
            instant: self.instant,
            of,
            seen: self.seen,
            movement: self.movement,
        }
    }
}

fn looks_at_definitions(look: &Look) -> bool {
    look.depths.usual_depth() != Depth::Counts
}

const SCHEMA: &str = "lifeboat.baseline/1";

/// What a baseline was recorded from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// RDS instance.
    pub instance: Option<String>,
    /// Its immutable id.
    pub resource_id: Option<String>,
    pub host: String,
    pub port: u16,
    /// The one database that was recorded, if it was one by name.
    pub database: Option<String>,
}

impl Origin {
    /// Of an RDS instance, of which `only` some databases are recorded.
    pub(crate) fn of_instance(instance: &Instance, server: &Server, only: &[String]) -> Self {
        Origin {
            instance: Some(instance.id.to_string()),
            resource_id: Some(instance.resource_id.to_string()),
            ..Origin::of_server(server, only)
        }
    }

    /// Of a server, of which `only` some databases are recorded.
    pub(crate) fn of_server(server: &Server, only: &[String]) -> Self {
        let database = match only {
            [one] => Some(one.clone()),
            _ => None,
        };
        Origin { instance: None, resource_id: None, host: server.host.clone(), port: server.port, database }
    }

    /// For people.
    pub(crate) fn describe(&self) -> String {
        match &self.instance {
            Some(instance) => format!("instance `{instance}`"),
            None => {
                let database = self.database.as_deref().unwrap_or_default();
                format!("`{}:{}/{database}`", self.host, self.port)
            }
        }
    }
}

/// A baseline that can be saved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Recorded {
    schema: String,
    recipe: u32,
    lifeboat: String,
    /// When it was completed.
    pub recorded_at: DateTime<Utc>,
    /// When the source was seen, by its own clock.
    pub instant: DateTime<Utc>,
    /// What it was recorded from.
    pub of: Origin,
    pub seen: Observation,
    /// Writes during the recording; none are known without a second reading.
    pub movement: Movement,
}

const SEAL: &str = ",\"sha256\":\"";

impl Recorded {
    /// The document and its seal.
    pub(crate) fn to_sealed_json(&self) -> Result<(String, Vec<u8>)> {
        let mut document = serde_json::to_vec(self).map_err(|error| {
            Error::new(crate::error::Kind::Bug, "a baseline cannot be written as JSON").caused_by(error)
        })?;
        document.pop();
        let seal = hex::encode(Sha256::digest(&document));
        document.extend_from_slice(format!("{SEAL}{seal}\"}}\n").as_bytes());
        Ok((seal, document))
    }

    /// Parses the document called `name`. `expected`: the seal that it must have.
    pub(crate) fn from_sealed_json(
        name: &str,
        document: &[u8],
        expected: Option<&str>,
    ) -> Result<(String, Self)> {
        let broken = |why: &str| {
            Error::request(format!("baseline `{name}` is damaged: {why}"))
                .hint("Restore the file from a copy of the vault, or record a new baseline.")
        };
        let text = std::str::from_utf8(document).map_err(|_| broken("it is not text"))?.trim_end();
        let is_one = text.starts_with(&format!("{{\"schema\":\"{SCHEMA}\""));
        if !is_one {
            return Err(if text.starts_with("{\"schema\":\"lifeboat.baseline/") {
                Error::request(format!("baseline `{name}` was recorded by a newer version of lifeboat"))
                    .hint("Update lifeboat.")
            } else if text.is_empty() {
                broken("it is empty")
            } else {
                Error::request(format!("`{name}` is not a baseline of lifeboat"))
                    .hint("`lifeboat verify record URL` records one.")
            });
        }
        let sealed = text.strip_suffix("\"}").and_then(|text| text.rsplit_once(SEAL));
        let (content, seal) = sealed.ok_or_else(|| broken("it is truncated"))?;
        if hex::encode(Sha256::digest(content.as_bytes())) != seal {
            return Err(broken("its content does not match its SHA-256"));
        }
        if let Some(expected) = expected.filter(|expected| *expected != seal) {
            return Err(broken(&format!("its SHA-256 is not the expected {expected}")));
        }
        let recorded: Recorded = serde_json::from_str(&format!("{content}}}"))
            .map_err(|error| broken("it cannot be read").caused_by(error))?;
        if recorded.recipe != RECIPE {
            let (its, ours) = (recorded.recipe, RECIPE);
            return Err(Error::request(format!(
                "baseline `{name}` has fingerprints of version {its}, and this version of lifeboat computes version {ours}"
            ))
            .hint(format!("Use lifeboat {} to verify it, or record a new one.", recorded.lifeboat)));
        }
        Ok((seal.to_owned(), recorded))
    }
}

/// The path of baselines in the vault.
pub(crate) fn vault_name(seal: &str) -> String {
    format!("baselines/{seal}.json")
}

/// Whether `text` looks like a seal.
pub(crate) fn is_seal(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded() -> Recorded {
        let of = Origin { instance: None, resource_id: None, host: "h".into(), port: 1, database: None };
        let at = "2026-11-21T00:00:00Z".parse().unwrap();
        Recorded {
            schema: SCHEMA.to_owned(),
            recipe: RECIPE,
            lifeboat: "0".into(),
            recorded_at: at,
            instant: at,
            of,
            seen: Observation::default(),
            movement: Movement::default(),
        }
    }

    #[test]
    fn a_sealed_baseline_opens_and_is_one_json_document() {
        let (seal, document) = recorded().to_sealed_json().unwrap();
        assert_eq!(Recorded::from_sealed_json("x", &document, Some(&seal)).unwrap().0, seal);
        let value: serde_json::Value = serde_json::from_slice(&document).unwrap();
        assert_eq!(value["sha256"], seal.as_str());
    }

    #[test]
    fn every_damage_is_found_and_said() {
        let (_, document) = recorded().to_sealed_json().unwrap();
        let mut flipped = document.clone();
        let at = flipped.len() / 2;
        flipped[at] ^= 1;
        let says = |document: &[u8], expected: Option<&str>, part: &str| {
            let error = Recorded::from_sealed_json("b.json", document, expected).unwrap_err().chain();
            assert!(error.contains("`b.json`") && error.contains(part), "{error}");
        };
        says(&flipped, None, "SHA-256");
        says(&document[..at], None, "truncated");
        says(b"", None, "empty");
        says(b"{}", None, "not a baseline");
        says(&document, Some(&"0".repeat(64)), "not the expected");
        says(b"{\"schema\":\"lifeboat.baseline/9\"}", None, "newer version");
    }
}
