//! How backups are opened on this machine: keys, whom to trust, and PostgreSQL's programs.

use std::path::PathBuf;

use super::dump_gate::Trust;
use super::encryption::Identities;
use super::manifest::Manifest;
use super::seal::SealKeys;
use super::settings::Configured;
use super::tolerance::Tolerance;
use crate::error::Result;
use crate::postgres::{ConnectionOverrides, Server};

/// How backups are opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadOptions {
    /// Keys that decrypt backups.
    pub identities: Identities,
    /// Directory of PostgreSQL's programs; by default those that fit the server are looked up.
    pub pg_bin: Option<PathBuf>,
    /// Keys that seal backups, and that show where a backup comes from.
    pub seal_keys: SealKeys,
    /// Whether unsealed backups are accepted although there is a key.
    pub accept_unsealed: bool,
    /// Whether the SQL of a backup is trusted without a seal.
    pub trust_content: bool,
}

impl ReadOptions {
    /// Refuses a backup whose manifest is not sealed by one of our keys; without a key any is taken.
    pub(crate) fn require_seal(&self, manifest: &Manifest) -> Result<()> {
        self.trust_in(manifest).map(drop)
    }

    /// Whether a seal, or whoever asks, vouches for what is in a backup. With a key, one without its seal is refused.
    pub(super) fn trust_in(&self, manifest: &Manifest) -> Result<Trust> {
        let is_sealed = self.seal_keys.prove(manifest, self.accept_unsealed)?;
        Ok(if is_sealed || self.trust_content { Trust::Vouched } else { Trust::Nobody })
    }
}

/// How backups are verified.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProofOptions {
    /// How they are opened.
    pub read: ReadOptions,
    /// The server to restore into at level `restore`; by default a temporary one is started.
    pub server: Option<Server>,
    /// Which differences from the source are accepted at level `restore`.
    pub tolerance: Tolerance,
}

/// What flags say of how backups are opened and databases are reached: flags of one command, or those of the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccessOptions {
    /// File with the keys that decrypt backups.
    pub identity: Option<PathBuf>,
    /// Directory of PostgreSQL's programs.
    pub pg_bin: Option<PathBuf>,
    /// File with the keys that seal backups, in place of that of lifeboat.toml.
    pub seal_key: Option<PathBuf>,
    /// Whether unsealed backups are accepted although there is a key.
    pub accept_unsealed: bool,
    /// Whether the SQL of a backup is trusted without a seal.
    pub trust_content: bool,
    /// How connections are protected.
    pub connection: ConnectionOverrides,
}

impl AccessOptions {
    /// Reads the keys that these flags or lifeboat.toml name.
    pub(crate) fn read_options(&self, config: &Configured) -> Result<ReadOptions> {
        let seal_key = self.seal_key.as_ref().or(config.seal_key.as_ref());
        Ok(ReadOptions {
            identities: self.identity.as_deref().map(Identities::from_file).transpose()?.unwrap_or_default(),
            pg_bin: self.pg_bin.clone(),
            seal_keys: seal_key.map(|path| SealKeys::from_file(path)).transpose()?.unwrap_or_default(),
            accept_unsealed: self.accept_unsealed,
            trust_content: self.trust_content,
        })
    }
}
