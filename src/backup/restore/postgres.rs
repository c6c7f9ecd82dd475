//! Restoring PostgreSQL databases: into a scratch database, checked, then swapped in.
//!
//! A scratch database carries its purpose in its name and is held by an advisory lock: one whose lock is free belongs to a
//! process that died, and is removed by the next restore.

use super::judge_copy::judge_copy;
use super::plan::{Plan, Report};
use super::proven::{Proven, prove_file};
use super::remains::{drop_scratch, sweep_scratch_databases, with_remains};
use super::scratch::{SCRATCH, ScratchDatabase, ServerOwner};
use super::scratch_load::load_into_scratch;
use super::sessions::{connect_apart_from, lacks_createdb, require_writable};
use super::swap::{drop_expired, swap_in};
use crate::backup::context::Context;
use crate::backup::event::{Event, stop_if_interrupted};
use crate::backup::finding::Finding;
use crate::backup::manifest::Manifest;
use crate::backup::schedule::quote_for_shell;
use crate::backup::tolerance::{Difference, Tolerance};
use crate::error::{Error, Kind, Result};
use crate::postgres::{Server, Session};

/// Whether the database is there; and whether we could restore at all.
pub(super) async fn preflight_postgres(server: &Server, dbname: &str, manifest: &Manifest) -> Result<bool> {
    if dbname.starts_with(SCRATCH) {
        return Err(Error::request(format!("`{dbname}` is a name that lifeboat uses for scratch databases")));
    }
    if dbname.is_empty() || dbname.len() > 63 || dbname.contains('\0') {
        return Err(Error::request(format!(
            "`{}` is not a valid name for a database",
            dbname.escape_debug()
        ))
        .hint("Names in PostgreSQL have 1 to 63 bytes."));
    }
    let session = connect_apart_from(server, &[dbname]).await?;
    require_writable(server, &session).await?;
    let row = session
        .row(
            "select rolcreatedb or rolsuper, current_setting('server_version_num')::int4 / 10000,
                    (select rolsuper or pg_has_role(datdba, 'USAGE') from pg_database where datname = $1),
                    (select string_agg(gid, ', ') from pg_prepared_xacts where database = $1)
             from pg_roles where rolname = current_user",
            &[&dbname],
        )
        .await?;
    let (can_create, major, owns): (bool, i32, Option<bool>) = (row.get(0), row.get(1), row.get(2));
    if let Some(prepared) = row.get::<_, Option<String>>(3) {
        return Err(Error::outside(format!("prepared transactions hold database `{dbname}`: {prepared}"))
            .hint("End each of them with `commit prepared` or `rollback prepared` first: until then the database cannot be renamed."));
    }
    if !can_create {
        return Err(lacks_createdb(&server.user));
    }
    if owns == Some(false) {
        return Err(Error::outside(format!("user `{}` does not own database `{dbname}`", server.user))
            .hint("Only its owner can rename a database: restore as the owner, or `--into` another name."));
    }
    if manifest.tool_major() > u32::try_from(major).unwrap_or_default() {
        return Err(Error::request(format!(
            "the backup was made by {}, but the server is PostgreSQL {major}, which may not be able to read it",
            manifest.made_by.tool
        ))
        .hint("Restore it on a server of that version or later."));
    }
    Ok(owns.is_some())
}

pub(super) async fn restore_postgres(
    plan: &Plan,
    server: &Server,
    dbname: &str,
    cx: &Context<'_>,
) -> Result<Report> {
    let session = connect_apart_from(server, &[dbname]).await?;
    sweep_scratch_databases(server, &session, cx).await;
    drop_expired(&session, server, cx).await?;
    let proven = prove_file(plan, cx).await?;
    stop_if_interrupted(cx.interrupt, "nothing was changed")?;
    (cx.tell)(Event::Phase("restoring"));
    let scratch = ScratchDatabase::new(server, ServerOwner::User);
    let restored = async {
        let mut report = restore_into_scratch(plan, &scratch, &session, proven, cx).await?;
        if let Some(kept) = swap_in(plan, dbname, &scratch, cx).await? {
            let (url, name) = (quote_for_shell(&server.url(dbname)), quote_for_shell(dbname));
            report.undo = Some(format!("lifeboat backup undo --url {url} --confirm {name}"));
            (report.kept_old, report.kept_until) = (Some(kept.kept), Some(kept.until));
        }
        Ok(report)
    };
    match restored.await {
        Ok(report) => Ok(report),
        Err(error) => {
            let cleared = match connect_apart_from(server, &[dbname]).await {
                Ok(session) => drop_scratch(&scratch, &session).await,
                Err(lost) => Err(lost),
            };
            Err(with_remains(error, cleared))
        }
    }
}

/// Restores into a scratch database and checks what it holds.
async fn restore_into_scratch(
    plan: &Plan,
    scratch: &ScratchDatabase<'_>,
    session: &Session,
    proven: Proven,
    cx: &Context<'_>,
) -> Result<Report> {
    let dumped = proven.finding.dumped_rows.clone();
    let omissions = load_into_scratch(plan, scratch, session, proven, cx).await?;
    (cx.tell)(Event::Phase("checking the restored copy"));
    let finding = judge_copy(plan, scratch, &dumped, &omissions).await?;
    for note in &finding.notes {
        (cx.tell)(Event::Note(note));
    }
    let tolerance = &plan.options.tolerance;
    let differences: Vec<Difference> = finding
        .deviations
        .iter()
        .map(|deviation| Difference {
            name: deviation.name.clone(),
            text: deviation.text.clone(),
            accepted: tolerance.accepted.contains(&deviation.name),
        })
        .collect();
    if let Some(error) = refuse_differences(&finding, &differences, tolerance) {
        return Err(error);
    }
    for doubt in &finding.doubts {
        (cx.tell)(Event::Warning(doubt));
    }
    let mut report = Report::new(
        plan.manifest.backup_name.to_string(),
        plan.manifest.timestamp,
        plan.destination.source(),
    );
    (report.tables_checked, report.rows_checked) = finding.checked;
    (report.left_out, report.complaints) = (omissions.left_out, omissions.complaints);
    report.differences = differences;
    Ok(report)
}

/// The end of a restore whose copy is not what was recorded, unless every difference was accepted.
fn refuse_differences(finding: &Finding, differences: &[Difference], tolerance: &Tolerance) -> Option<Error> {
    let refused: Vec<&Difference> = differences.iter().filter(|difference| !difference.accepted).collect();
    const TOLD: usize = 5;
    let mut told = refused.iter().take(TOLD).map(|difference| difference.text.clone()).collect::<Vec<_>>();
    if let more @ 1.. = refused.len().saturating_sub(TOLD) {
        told.push(format!("and {more} more"));
    }
    let first = finding.faults.first().cloned().or((!told.is_empty()).then(|| told.join("; ")));
    if let (Some(first), false) = (first, tolerance.keep_going && finding.faults.is_empty()) {
        let mut error =
            Error::new(Kind::No, "the restored copy does not match what was recorded of the source")
                .caused_by(first)
                .hint(
                    "The database is unchanged. `lifeboat backup list` shows other backups of this database.",
                );
        if !refused.is_empty() {
            let names: Vec<String> =
                refused.iter().take(20).map(|it| format!("--accept {}", quote_for_shell(&it.name))).collect();
            let more = refused.len().saturating_sub(names.len());
            let more = if more > 0 { format!(", and {more} more differences") } else { String::new() };
            error = error.hint(format!(
                "To accept the differences, name them: `{}`{more}. `--keep-going` accepts and lists every \
                 difference.",
                names.join(" ")
            ));
        }
        return Some(error);
    }
    None
}
