//! Databases that steps log in to, and the tables that should be in them.

use super::{Finding, PreflightContext, Presence};
use crate::error::Result;
use crate::postgres::Refusal;
use crate::runbook::document::{NeedsDatabase, SqlTarget};
use crate::runbook::sql;

/// Logs in and checks.
pub(super) async fn check_database(
    needed: &NeedsDatabase,
    ground: &PreflightContext<'_>,
    is_begun: bool,
) -> Result<Vec<Finding>> {
    let place = SqlTarget { on: needed.on.clone(), db: needed.db.clone() };
    let on = needed.on.as_deref().map(|on| on.trim_matches(['{', '}', '$', ' ']));
    let on = on.and_then(|on| ground.values.get(on));
    let of = on.map_or_else(String::new, |on| format!(" of `{on}`"));
    // In a rehearsal, the run makes the instance itself.
    let made: Vec<String> = ground
        .runbook
        .steps
        .iter()
        .filter_map(|step| step.kind.act())
        .flat_map(|act| &act.creates)
        .filter_map(|object| ground.fill(object))
        .collect();
    if on.is_some_and(|on| made.contains(&format!("db:{on}"))) {
        return Ok(Vec::new());
    }
    let (server, database) = match sql::server(&place, ground.values, ground.aws).await {
        Ok(found) => found,
        Err(error) => return Ok(vec![Finding::new(Presence::Doubtful, error.chain())]),
    };
    let what = format!("database `{database}`{of}");
    let session = match server.connect_for_others(&database).await {
        Ok(session) => session,
        Err(failure) => {
            // What the environment names is needed itself; the instance that lost data may be gone.
            let is_certain = needed.on.is_none() || failure.refusal == Refusal::Login;
            let state = if is_certain { Presence::Missing } else { Presence::Doubtful };
            return Ok(vec![Finding::new(
                state,
                format!("{what} refuses the connection: {}", failure.error.chain()),
            )]);
        }
    };
    let mut findings = vec![Finding::new(Presence::There, format!("{what} accepts the connection"))];
    let unread = |why: String| Finding::new(Presence::Unknown, format!("{what} could not be checked: {why}"));
    if needed.creates_databases {
        match session.texts(MAY_CREATE).await {
            Err(failure) => findings.push(unread(failure.message)),
            Ok(rows) if rows.iter().flatten().flatten().any(|word| word == "t") => {}
            Ok(_) => {
                let what = format!("user `{}` may not create databases", server.user);
                findings.push(Finding::new(Presence::Missing, what));
            }
        }
    }
    let known = match session.texts(TABLES).await {
        Ok(rows) => rows.into_iter().flatten().flatten().collect::<Vec<String>>(),
        Err(failure) => {
            findings.push(unread(failure.message));
            return Ok(findings);
        }
    };
    let find = |table: &str| {
        known.iter().any(|known| {
            // A name without its schema may be in any.
            known.as_str() == table.to_lowercase()
                || (!table.contains('.') && known.rsplit('.').next() == Some(&table.to_lowercase()))
        })
    };
    let list = |tables: &Option<String>| {
        let filled = tables.as_deref().and_then(|tables| ground.fill(tables)).unwrap_or_default();
        filled.split(',').filter(|table| !table.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    for table in list(&needed.tables) {
        findings.push(match find(&table) {
            true => Finding::new(Presence::There, format!("table `{table}` is in {what}")),
            false => Finding::new(Presence::Doubtful, not_there(&table, &what, &known)),
        });
    }
    // Once the run has begun, it may have created them itself.
    let without = if is_begun { Vec::new() } else { list(&needed.without_tables) };
    for table in without.iter().filter(|table| find(table)) {
        findings.push(Finding::new(Presence::Missing, format!("table `{table}` is already in {what}")));
    }
    Ok(findings)
}

fn not_there(table: &str, what: &str, known: &[String]) -> String {
    let wanted = table.rsplit('.').next().unwrap_or(table);
    let distance =
        |known: &&String| strsim::damerau_levenshtein(known.rsplit('.').next().unwrap_or(known), wanted);
    let near = known.iter().filter(|known| distance(known) <= 2).min_by_key(distance);
    let near = near.map(|near| format!(" Did you mean `{near}`?")).unwrap_or_default();
    format!("table `{table}` is not in {what} now: unless somebody has dropped it, its name is wrong.{near}")
}

/// Whether the user may create databases.
const MAY_CREATE: &str =
    "select rolcreatedb or rolsuper from pg_catalog.pg_roles where rolname = pg_catalog.current_user";

/// Tables, views and the like, with their schema.
const TABLES: &str = "
    select n.nspname || '.' || c.relname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')";
