//! Where an object is, when there are several accounts and Regions.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One Region of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Place {
    /// What the account is called in `lifeboat.toml`; absent where that names no accounts.
    pub account: Option<String>,
    /// The Region.
    pub region: String,
}

impl Place {
    /// The flags that mean this place and no other.
    pub(crate) fn flags(&self) -> String {
        match &self.account {
            Some(account) if self.region.is_empty() => format!("--account {account}"),
            Some(account) => format!("--account {account} --region {}", self.region),
            None => format!("--region {}", self.region),
        }
    }

    /// Commands of ours, as they are to be run for something in this place, if there are several.
    pub(crate) fn in_commands(&self, text: &str) -> String {
        if self.account.is_none() || !text.starts_with("lifeboat ") {
            return text.to_owned();
        }
        let here = |command: &str| format!("{command} {}", self.flags());
        text.split(" && ").map(here).collect::<Vec<_>>().join(" && ")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.account {
            // Before a connection the Region may be the environment's to say.
            Some(account) if self.region.is_empty() => f.write_str(account),
            Some(account) => write!(f, "{account}/{}", self.region),
            None => f.write_str(&self.region),
        }
    }
}

/// A place that could not be looked at, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unreached {
    /// Which.
    #[serde(flatten)]
    pub place: Place,
    /// Why not.
    pub error: String,
}

/// The Regions of some places, each once, as one word for a report over all of them.
pub(crate) fn list_regions(places: &[Place]) -> String {
    let mut regions: Vec<&str> = Vec::new();
    for place in places {
        if !regions.contains(&place.region.as_str()) {
            regions.push(&place.region);
        }
    }
    regions.join(", ")
}
