//! Flags that several commands of backups have.

use std::path::PathBuf;

use clap::Args;

use crate::backup::{AccessOptions, Tolerance};
use crate::cli::connect::UrlArgs;

/// How backups are opened and databases are reached.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct AccessArgs {
    /// File with the age secret key of encrypted backups
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Directory of pg_dump, pg_restore and psql [default: those that fit the server are looked for]
    #[arg(long, value_name = "DIR", env = "LIFEBOAT_PG_BIN", hide_env_values = true)]
    pg_bin: Option<PathBuf>,
    /// File with the keys that seal manifests, one a line; with it, backups that none of them has sealed are refused
    /// [default: `seal_key` of lifeboat.toml]
    #[arg(long, value_name = "FILE", env = "LIFEBOAT_SEAL_KEY", hide_env_values = true)]
    seal_key: Option<PathBuf>,
    /// Take backups without a seal although there is a key: those that were made before it
    #[arg(long)]
    accept_unsealed: bool,
    /// Run whatever the SQL of a backup says with all rights of the user who restores it, without a seal
    #[arg(long)]
    trust_content: bool,
    #[command(flatten)]
    connect: UrlArgs,
}

impl AccessArgs {
    pub(in crate::cli) fn options(&self) -> AccessOptions {
        AccessOptions {
            identity: self.identity.clone(),
            pg_bin: self.pg_bin.clone(),
            seal_key: self.seal_key.clone(),
            accept_unsealed: self.accept_unsealed,
            trust_content: self.trust_content,
            connection: self.connect.overrides(),
        }
    }
}

/// What restores and proofs by a restore go on past.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ToleranceArgs {
    /// Without the owners and rights of the source
    #[arg(long)]
    no_owner: bool,
    /// Go on past what the server refuses, as psql does; everything that it refused and everything that is then different is
    /// listed, and where something is, the exit code is 1
    #[arg(long)]
    keep_going: bool,
    /// Accept a difference from what was recorded, by the name that the refusal gave it; may be repeated
    #[arg(long = "accept", value_name = "NAME")]
    accepted: Vec<String>,
    /// Locale of the new database, such as C.UTF-8, where the server lacks that of the source
    #[arg(long, value_name = "LOCALE")]
    locale: Option<String>,
}

impl ToleranceArgs {
    pub(super) fn tolerance(&self) -> Tolerance {
        Tolerance {
            no_owner: self.no_owner,
            keep_going: self.keep_going,
            accepted: self.accepted.clone(),
            locale: self.locale.clone(),
        }
    }
}
