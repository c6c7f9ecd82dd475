//! Bringing a backup back.
//!
//! In this order, always: the whole file is read and found to be what was written; it is restored beside what is there
//! now; the copy is checked; only then it takes the place of the database, in one transaction or one step, and what was
//! there before is kept. An error or a kill at any moment leaves the database as it was or as it is to be.

mod create_database;
mod judge_copy;
mod load;
mod plan;
mod postgres;
mod proven;
mod rehearse;
mod remains;
mod request;
mod scratch;
mod scratch_load;
mod sessions;
mod sqlite;
mod swap;

use plan::Destination;
pub(crate) use plan::{Plan, Report};
pub(super) use proven::Proven;
pub(super) use rehearse::rehearse;
pub(crate) use request::Asked;
pub(super) use scratch::{ScratchDatabase, ServerOwner};

use super::catalogue;
use super::context::Context;
use super::settings::Configured;
use super::source::{DatabaseType, Source};
use crate::error::{Error, Kind, Result};
use crate::postgres::Server;
use crate::vault::Actor;

/// Finds out whether a restore can be made; changes nothing.
pub(crate) async fn plan(asked: &Asked, config: &Configured, cx: &Context<'_>) -> Result<Plan> {
    let name = &asked.name;
    let entry = catalogue::find(cx.vault, name)?;
    let manifest = entry.manifest;
    let destination = asked.destination(&manifest, config, cx)?;
    let options = asked.options(&manifest, config)?;
    options.read.require_seal(&manifest)?;
    match (&entry.state, destination.source(), manifest.database_type) {
        (catalogue::State::Missing, _, _) => {
            return Err(Error::new(Kind::No, format!("the file of backup `{name}` is missing"))
                .hint("`lifeboat backup list` shows which backups are complete."));
        }
        (_, Source::Postgresql { .. }, DatabaseType::Postgresql)
        | (_, Source::Sqlite { .. }, DatabaseType::Sqlite) => {}
        (_, _, kind) => {
            return Err(Error::request(format!(
                "backup `{name}` is a backup of a {} database",
                kind.title()
            ))
            .hint("Name a database of that kind with `--url`."));
        }
    }
    let tolerance = &options.tolerance;
    let is_of_postgresql = tolerance.no_owner || tolerance.keep_going || tolerance.locale.is_some();
    if is_of_postgresql && manifest.database_type == DatabaseType::Sqlite {
        return Err(Error::request(format!(
            "`--no-owner`, `--keep-going` and `--locale` do not apply to `{name}`, a backup of SQLite"
        ))
        .hint("Leave them out."));
    }
    if manifest.encrypted && options.read.identities.is_empty() {
        return Err(Error::request(format!("`{name}` is encrypted"))
            .hint("Pass the file with the secret key with `--identity`."));
    }
    let replaces = match destination.source() {
        Source::Postgresql { server, dbname } => {
            postgres::preflight_postgres(server, dbname, &manifest).await?
        }
        Source::Sqlite { path } => sqlite::preflight_sqlite(path, &options)?,
    };
    if let (true, Destination::New(source)) = (replaces, &destination) {
        return Err(Error::request(format!("`{}` already exists", source.shown()))
            .hint("`--into` needs a name that is not taken; without it the database is replaced."));
    }
    Ok(Plan { manifest, destination, options, replaces })
}

/// Restores what `plan` says, between two lines of the audit log.
pub(crate) async fn run_recorded(
    name: &str,
    plan: impl Future<Output = Result<Plan>>,
    actor: &Actor,
    cx: &Context<'_>,
) -> Result<Report> {
    let work = async { Box::pin(apply(plan.await?, cx)).await };
    cx.record_act(actor.act("backup restore", name), work).await
}

/// Puts back the database that the latest restore replaced, between two lines of the audit log.
pub(crate) async fn undo_recorded(
    server: &Server,
    dbname: &str,
    actor: &Actor,
    cx: &Context<'_>,
) -> Result<Report> {
    cx.record_act(actor.act("backup undo", dbname), swap::undo_restore(server, dbname, cx)).await
}

async fn apply(plan: Plan, cx: &Context<'_>) -> Result<Report> {
    catalogue::recover(cx.vault)?;
    let began = std::time::Instant::now();
    let mut report = match plan.destination.source().clone() {
        Source::Postgresql { server, dbname } => {
            postgres::restore_postgres(&plan, &server, &dbname, cx).await?
        }
        Source::Sqlite { path } => sqlite::restore_sqlite(&plan, &path, cx).await?,
    };
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}
