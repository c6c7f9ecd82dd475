//! Encryption with age (<https://age-encryption.org/v1>): who may read a backup, and the keys to read one with.
//!
//! A backup is encrypted on its way to the disk, to recipients: whoever makes backups need not be able to read them.
//! The `age` program reads the files as well.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};

/// Whom backups are encrypted to; nobody means that they are not encrypted.
#[derive(Clone, Default)]
pub(crate) struct Recipients(Vec<age::x25519::Recipient>);

impl Recipients {
    /// Reads recipients as age writes them: `age1…`.
    pub(crate) fn parse(texts: &[String]) -> Result<Self> {
        let parse = |text: &String| {
            text.trim().parse().map_err(|why: &str| {
                // Somebody may have pasted the secret key.
                let shown = if text.to_ascii_lowercase().contains("secret") {
                    "(a secret key)"
                } else {
                    text.as_str()
                };
                Error::request(format!("`{}` is not an age recipient", shown.escape_default()))
                    .caused_by(why)
                    .hint("A recipient is the public key that `age-keygen` prints, which begins with `age1`.")
            })
        };
        texts.iter().map(parse).collect::<Result<_>>().map(Recipients)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These, and whoever holds one of the keys.
    pub(super) fn and_holders(mut self, identities: &Identities) -> Self {
        let known: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        let holders = identities.0.iter().map(|key| key.to_public());
        self.0.extend(holders.filter(|holder| !known.contains(&holder.to_string())));
        self
    }

    /// Something small, encrypted.
    pub(super) fn seal(&self, content: &[u8]) -> io::Result<Vec<u8>> {
        let mut sealed = self.wrap(Vec::new())?;
        sealed.write_all(content)?;
        sealed.finish()
    }

    pub(super) fn wrap<W: Write>(&self, target: W) -> io::Result<age::stream::StreamWriter<W>> {
        let recipients = self.0.iter().map(|recipient| recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
        encryptor.wrap_output(target)
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipients({})", self.0.len())
    }
}

/// The secret keys to read encrypted backups with.
#[derive(Clone, Default)]
pub(crate) struct Identities(Vec<Arc<age::x25519::Identity>>);

impl Identities {
    /// Reads a file of secret keys, as `age-keygen` writes it.
    pub(crate) fn from_file(path: &Path) -> Result<Self> {
        let unusable = || {
            Error::request(format!("cannot use the age keys in `{}`", path.display()))
                .hint("Name the file that `age-keygen -o FILE` wrote: it has a line that begins with `AGE-SECRET-KEY-`.")
        };
        let text = std::fs::read_to_string(path).map_err(|error| unusable().caused_by(error))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let parse = |line: &str| {
            let key: age::x25519::Identity = line.parse().map_err(|why: &str| unusable().caused_by(why))?;
            Ok(Arc::new(key))
        };
        let keys: Vec<_> = lines.map(parse).collect::<Result<_>>()?;
        if keys.is_empty() { Err(unusable()) } else { Ok(Identities(keys)) }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn unwrap<R: Read>(&self, origin: R) -> io::Result<age::stream::StreamReader<R>> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let decryptor = age::Decryptor::new(origin).map_err(|error| invalid(error.to_string()))?;
        let keys = self.0.iter().map(|key| key.as_ref() as &dyn age::Identity);
        decryptor.decrypt(keys).map_err(|error| match error {
            age::DecryptError::NoMatchingKeys => io::Error::new(io::ErrorKind::PermissionDenied, NoKey),
            error => invalid(error.to_string()),
        })
    }
}

/// Why an encrypted file stays closed: it was encrypted to others (or its header was altered).
#[derive(Debug)]
struct NoKey;

impl fmt::Display for NoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("none of the keys decrypts it")
    }
}

impl std::error::Error for NoKey {}

/// Whether a file could not be read for want of the right key.
pub(super) fn lacks_key(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NoKey>())
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
}
