//! What shows that a row of records was changed: each names the SHA-256 of the one before it, and a head names the last.
//!
//! That makes a change visible to whoever follows the row, from its head or from a head that was kept elsewhere. It does
//! not keep somebody who may write here from rewriting the row and its head.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Kind, Result};

/// The hash before the first record.
pub(crate) const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The number and the hash of the last record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Its number, from 1; 0 before the first.
    pub seq: u64,
    /// Its hash.
    pub sha256: String,
}

impl Head {
    /// The head of a row that has no record yet.
    pub(crate) fn before_the_first() -> Self {
        Head { seq: 0, sha256: NOTHING.to_owned() }
    }

    /// The head once `record` was added.
    pub(crate) fn after(&self, record: &[u8]) -> Self {
        Head { seq: self.seq + 1, sha256: sha256(record) }
    }

    /// Reads a head that was written by [`Head::to_json`], byte for byte.
    pub(crate) fn parse(text: &[u8]) -> Result<Self> {
        let unreadable = || Error::outside("the head of the chain is not valid");
        let head: Head = serde_json::from_slice(text).map_err(|error| unreadable().caused_by(error))?;
        // White space and the case of a digit are changes too.
        if head.to_json()? == text { Ok(head) } else { Err(unreadable()) }
    }

    /// As it is kept.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| Error::new(Kind::Bug, "a hash cannot be written").caused_by(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_only_as_it_was_written() {
        let head = Head::before_the_first().after(b"record");
        let text = head.to_json().unwrap();
        assert_eq!(Head::parse(&text).unwrap(), head);
        for place in 0..text.len() {
            for flipped in [text[place] ^ 1, text[place] ^ 0x20, b' '] {
                let mut altered = text.clone();
                altered[place] = flipped;
                // Another number or hash is a head too, but not this one.
                assert!(
                    altered == text || Head::parse(&altered).map_or(true, |found| found != head),
                    "{place}"
                );
            }
        }
        assert!(Head::parse(&[text.as_slice(), b"\n"].concat()).is_err());
    }
}
