//! `backup list`, `backup show` and `backup stats`.

use clap::Args;

use super::progress::read_catalogue;
use super::render::Listing;
use crate::backup::failures::{self, Failure};
use crate::backup::{catalogue, stats};
use crate::cli::{Session, now};
use crate::error::{Kind, Result};
use crate::vault::Vault;

#[derive(Args, Debug)]
pub(in crate::cli) struct ListArgs {
    /// Only backups of these databases
    #[arg(value_name = "DB")]
    databases: Vec<String>,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ShowArgs {
    /// Name of the backup
    #[arg(value_name = "NAME")]
    name: String,
}

pub(super) fn run(args: &ListArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let mut catalogue = read_catalogue(&vault, &session.output)?;
    for stranger in catalogue::files_without_manifest(&catalogue) {
        session.output.warn(format!("`{stranger}` has no manifest, so it is neither listed nor removed"));
    }
    if !args.databases.is_empty() {
        catalogue.entries.retain(|entry| args.databases.contains(&entry.manifest.source.database));
    }
    let failures = read_failures_of(&vault, &args.databases)?;
    session.output.report(&Listing::new(&catalogue, failures, now()))?;
    Ok(None)
}

/// Backups that did not come about, of these databases or of all.
fn read_failures_of(vault: &Vault, databases: &[String]) -> Result<Vec<Failure>> {
    let mut failures = failures::read(vault)?;
    failures.retain(|failure| databases.is_empty() || databases.contains(&failure.database));
    Ok(failures)
}

pub(super) fn show(args: &ShowArgs, session: &Session) -> Result<Option<Kind>> {
    let entry = catalogue::find(&session.vault_to_read()?, &args.name)?;
    session.output.report(&entry.manifest)?;
    Ok(None)
}

pub(super) fn stats(args: &ListArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let mut catalogue = read_catalogue(&vault, &session.output)?;
    if !args.databases.is_empty() {
        catalogue.entries.retain(|entry| args.databases.contains(&entry.manifest.source.database));
    }
    session.output.report(&stats::compute_stats(
        &catalogue,
        &read_failures_of(&vault, &args.databases)?,
        now(),
    ))?;
    Ok(None)
}
