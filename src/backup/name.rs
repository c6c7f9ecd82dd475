//! Names of backups: what they may look like, and how one is made.
//!
//! A name becomes the name of files, so that its grammar is narrow. A backup is never looked for by joining a path:
//! its name is checked first, then its manifest is read.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The name of a backup.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct BackupName(String);

/// File names have at most 255 bytes; what we put around a name must fit too.
const LONGEST: usize = 128;

impl BackupName {
    /// The name that a backup of `database` gets when nobody names it.
    pub(crate) fn of(database: &str, now: DateTime<Utc>) -> Self {
        let slug: String = database
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c.to_ascii_lowercase() } else { '-' })
            .take(80)
            .collect();
        let slug = slug.trim_matches(|c| c == '-' || c == '_');
        let slug = if slug.is_empty() { "database" } else { slug };
        BackupName(format!("{slug}_{}", now.format("%Y%m%dt%H%M%Sz")))
    }

    /// The same name with a number, for a second one in the same second.
    #[must_use]
    pub(crate) fn numbered(&self, number: u32) -> Self {
        BackupName(format!("{}_{number}", self.0))
    }

    /// The same name with a time, for one that makes room for a newer one of its name.
    #[must_use]
    pub(crate) fn dated(&self, at: DateTime<Utc>) -> Self {
        let stamp = at.format("_%Y%m%dt%H%M%Sz").to_string();
        let kept = self.0[..self.0.len().min(LONGEST - 20 - stamp.len())].trim_end_matches('.');
        BackupName(format!("{kept}{stamp}"))
    }

    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BackupName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = |why: &str| {
            Err(Error::request(format!("`{}` is not a valid name for a backup: {why}", text.escape_default())).hint(
                "A name is 1 to 128 letters, digits, dots, hyphens and underscores, and begins with a letter or a digit.",
            ))
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if text.is_empty() {
            return refused("it is empty");
        }
        if text.len() > LONGEST {
            return refused(&format!("it has {} characters, and {LONGEST} is the maximum", text.len()));
        }
        if let Some(wrong) = text.chars().find(|c| !allowed(*c)) {
            return refused(&format!("it contains `{}`", wrong.escape_default()));
        }
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return refused("it does not begin with a letter or a digit");
        }
        if text.contains("..") || text.ends_with('.') {
            return refused("it has two dots in a row, or ends with a dot");
        }
        Ok(BackupName(text.to_owned()))
    }
}

impl TryFrom<String> for BackupName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<BackupName> for String {
    fn from(name: BackupName) -> Self {
        name.0
    }
}

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_lead_elsewhere_are_refused() {
        let long = "a".repeat(129);
        let refused = [
            "",
            "../x",
            "..",
            "a/b",
            "/etc/passwd",
            "a\\b",
            "-rf",
            ".hidden",
            "a\0b",
            "a\nb",
            "a\u{1b}[2J",
            "ä",
            "a b",
            "a..b",
            "a.",
            "a%2fb",
            "$(x)",
            &long,
        ];
        for name in refused {
            assert!(name.parse::<BackupName>().is_err(), "{name:?}");
        }
        for name in ["a", "orders_20261122t010203z", "Before-Release.1", "7"] {
            assert_eq!(name.parse::<BackupName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn made_names_say_what_and_when_and_are_names() {
        let now = "2026-11-22T01:02:03Z".parse().unwrap();
        assert_eq!(BackupName::of("Orders \"1\"", now).as_str(), "orders--1_20261122t010203z");
        for database in ["", "///", "ünï", &"x".repeat(300)] {
            BackupName::of(database, now).as_str().parse::<BackupName>().unwrap();
        }
    }
}
