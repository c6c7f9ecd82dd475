//! Flags that several commands of backups have.

use std::path::PathBuf;

use clap::Args;

use crate::backup::{AccessOptions, Tolerance};
use crate::cli::connect::UrlArgs;

/// How backups are opened and databases are reached.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct AccessArgs {
    /// File with the age secret key for encrypted backups
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Directory of pg_dump, pg_restore and psql [default: found to match the server's version]
    #[arg(long, value_name = "DIR", env = "LIFEBOAT_PG_BIN", hide_env_values = true)]
    pg_bin: Option<PathBuf>,
    /// File with the keys that seal manifests, one per line; backups without a seal by one of them are then refused
    /// [default: `seal_key` in lifeboat.toml]
    #[arg(long, value_name = "FILE", env = "LIFEBOAT_SEAL_KEY", hide_env_values = true)]
    seal_key: Option<PathBuf>,
    /// Accept unsealed backups despite the key, such as those made before there was one
    #[arg(long)]
    accept_unsealed: bool,
    /// Run the SQL of an unsealed backup with all rights of the connecting user
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
    /// Do not restore owners and privileges
    #[arg(long)]
    no_owner: bool,
    /// Continue after statements that the server refuses, as psql does; refusals and differences are listed, and the exit code
    /// is 1 if there are any
    #[arg(long)]
    keep_going: bool,
    /// Accept a difference from the recorded source, by the name shown in the error; may be repeated
    #[arg(long = "accept", value_name = "NAME")]
    accepted: Vec<String>,
    /// Locale of the new database, such as C.UTF-8, if the server lacks the source's
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
