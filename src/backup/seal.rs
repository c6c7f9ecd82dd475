//! Seals: by which key a manifest was written.
//!
//! Whoever can write to a vault can put a file there and a manifest with its hashes. With a key, which lies elsewhere,
//! every manifest carries an HMAC over what it says of the backup: its content, its source, its moment. What is noted
//! later is left out: proofs, and whether it is kept. A backup without the seal is then refused.

use std::fmt;
use std::path::Path;

use ring::hmac;
use serde_json::Value;

use super::manifest::{Manifest, Seal};
use crate::error::{Error, Kind, Result};

const ALGORITHM: &str = "hmac-sha256";

/// A key has at least so many characters.
const SHORTEST: usize = 32;

/// Keys of seals. The first one seals; by all of them is looked.
#[derive(Clone, Default)]
pub(crate) struct SealKeys(Vec<hmac::Key>);

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKeys({})", self.0.len())
    }
}

impl SealKeys {
    /// Reads a file with a key in each line, the one to seal with first.
    pub(crate) fn from_file(path: &Path) -> Result<Self> {
        let unusable = || {
            Error::request(format!("cannot use the seal key in `{}`", path.display())).hint(
                "Make one with `openssl rand -hex 32`, and keep the file out of the vault. Each line is a key; the first \
                 one seals, and older ones stay good for reading.",
            )
        };
        let text = std::fs::read_to_string(path).map_err(|error| unusable().caused_by(error))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys: Vec<&str> = lines.collect();
        if keys.is_empty() {
            return Err(unusable().caused_by("it contains no key"));
        }
        if keys.iter().any(|key| key.len() < SHORTEST) {
            return Err(unusable().caused_by(format!("a key in it is shorter than {SHORTEST} characters")));
        }
        Ok(SealKeys(keys.iter().map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes())).collect()))
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Seals a manifest, if there is a key.
    pub(super) fn seal(&self, manifest: &mut Manifest) -> Result<()> {
        let Some(key) = self.0.first() else { return Ok(()) };
        let mac = hex::encode(hmac::sign(key, &sealed_text(manifest)?).as_ref());
        manifest.seal = Some(Seal { algorithm: ALGORITHM.to_owned(), key: name_of(key), mac });
        Ok(())
    }

    /// Whether one of the keys has sealed a manifest. Where there is a key, one that none has sealed is an error.
    pub(super) fn prove(&self, manifest: &Manifest, accept_unsealed: bool) -> Result<bool> {
        let name = &manifest.backup_name;
        if self.is_empty() {
            return Ok(false);
        }
        let Some(seal) = &manifest.seal else {
            return match accept_unsealed {
                true => Ok(false),
                false => Err(Error::new(Kind::Guard, format!("backup `{name}` is not sealed")).hint(
                    "It was made before there was a key, or by somebody else. `--accept-unsealed` accepts it anyway, as untrusted \
                     content.",
                )),
            };
        };
        let text = sealed_text(manifest)?;
        let mac = bytes_of(&seal.mac);
        let is_ours = |key: &hmac::Key| mac.as_ref().is_some_and(|mac| hmac::verify(key, &text, mac).is_ok());
        if seal.algorithm == ALGORITHM && self.0.iter().any(is_ours) {
            return Ok(true);
        }
        let is_known = self.0.iter().any(|key| name_of(key) == seal.key);
        Err(if is_known {
            Error::new(
                Kind::No,
                format!("the manifest of backup `{name}` was altered: its seal does not match"),
            )
            .hint("Do not restore it. `lifeboat backup list` shows other backups of this database.")
        } else {
            Error::new(Kind::No, format!("backup `{name}` was sealed with another key"))
                .caused_by(format!("its key is `{}`", seal.key.chars().take(16).collect::<String>()))
                .hint("Add the key that it was sealed with to the file that `--seal-key` names, on a line of its own.")
        })
    }
}

/// What a key is called, so that one can tell which is missing.
fn name_of(key: &hmac::Key) -> String {
    hex::encode(&hmac::sign(key, b"lifeboat seal key").as_ref()[..4])
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (digits.len() == 64).then(|| (0..64).step_by(2).map(pair).collect())?
}

/// What is sealed of a manifest, written in one way.
fn sealed_text(manifest: &Manifest) -> Result<Vec<u8>> {
    let mut value = serde_json::to_value(manifest)
        .map_err(|error| Error::new(Kind::Bug, "cannot serialize a manifest").caused_by(error))?;
    if let Value::Object(fields) = &mut value {
        for later in ["seal", "verification", "last_check", "keep_forever", "file_path"] {
            fields.remove(later);
        }
    }
    let mut text = Vec::from(&b"lifeboat.seal/1\n"[..]);
    write_sorted(&value, &mut text);
    Ok(text)
}

/// The order of a map's fields is no part of what it says.
fn write_sorted(value: &Value, text: &mut Vec<u8>) {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            text.push(b'{');
            for name in names {
                text.extend_from_slice(Value::String(name.clone()).to_string().as_bytes());
                text.push(b':');
                write_sorted(&fields[name], text);
                text.push(b',');
            }
            text.push(b'}');
        }
        Value::Array(items) => {
            text.push(b'[');
            for item in items {
                write_sorted(item, text);
                text.push(b',');
            }
            text.push(b']');
        }
        // A number with a fraction may be another one in its last digit after it was written and read.
        Value::Number(number) if number.is_f64() => {
            text.extend_from_slice(format!("{:.6e}", number.as_f64().unwrap_or_default()).as_bytes());
        }
        plain => text.extend_from_slice(plain.to_string().as_bytes()),
    }
}
