//! Whether a vault does what it must: tried with a file of its own, which is removed.

use super::Vault;
use crate::error::{Error, Result};

/// What was seen when a vault was tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    /// Room that is left, in a directory.
    pub free_bytes: Option<u64>,
    /// Whether the store refuses to write where something is; of a directory the file system sees to that.
    pub is_conditional: Option<bool>,
}

impl Vault {
    /// Writes a file, reads it, takes its lock twice, and removes everything.
    pub(crate) fn try_out(&self) -> Result<Trial> {
        let name = format!("doctor-{:016x}", rand::random::<u64>());
        let content = format!("lifeboat doctor looks whether this can be kept: {name}\n").into_bytes();
        let written = self.write(&name, &content).and_then(|()| self.read(&name));
        let is_conditional = match (&written, self.directory()) {
            (Ok(_), None) => Some(self.is_conditional(&format!("{name}.lock"))),
            _ => None,
        };
        let removed = self.forget(&name);
        let read = written?;
        removed?;
        if read.as_deref() != Some(content.as_slice()) {
            return Err(Error::outside(format!(
                "`{}` does not read back as it was written",
                self.shown(&name)
            ))
            .hint("Do not keep backups there."));
        }
        Ok(Trial { free_bytes: self.free_bytes(), is_conditional: is_conditional.transpose()? })
    }

    /// Room that is left, in a directory.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        let found = rustix::fs::statvfs(self.directory()?).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Whether of two who want one lock only the first gets it.
    fn is_conditional(&self, name: &str) -> Result<bool> {
        let Some(first) = self.try_lock(name)? else { return Ok(false) };
        let second = self.try_lock(name)?;
        let is_refused = second.is_none();
        drop((first, second));
        self.forget(name)?;
        Ok(is_refused)
    }
}
