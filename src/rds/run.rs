//! Ids of runs: what a command made carries the id of the run that made it.

use chrono::{DateTime, NaiveDateTime, Utc};

/// The id of a run: when it began, in UTC, and a random part, as in `20261121-140500-k3x9qa`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunId(String);

impl RunId {
    /// A new id.
    pub(crate) fn new(now: DateTime<Utc>) -> Self {
        const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let random: String =
            (0..6).map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())])).collect();
        RunId(format!("{}-{random}", now.format("%Y%m%d-%H%M%S")))
    }

    /// Reads an id; `None` if it is not one of ours.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let run = RunId(text.to_owned());
        let is_ours = run.random().len() == 6
            && run.random().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        (is_ours && run.began().is_some()).then_some(run)
    }

    /// The id as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// When the run began.
    pub(crate) fn began(&self) -> Option<DateTime<Utc>> {
        let (time, _) = self.0.rsplit_once('-')?;
        Some(NaiveDateTime::parse_from_str(time, "%Y%m%d-%H%M%S").ok()?.and_utc())
    }

    /// The random part.
    pub(crate) fn random(&self) -> &str {
        self.0.rsplit('-').next().unwrap_or_default()
    }

    /// The day on which it began, as `20261121`.
    pub(crate) fn day(&self) -> &str {
        self.0.split('-').next().unwrap_or_default()
    }
}

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
