//! What a restore makes on a server for the time that it takes, and how it goes: scratch databases, the subscriptions in them, and
//! the roles that load them. What cannot be removed is named, and keeps nobody from restoring.

use super::scratch::{LOADER, SCRATCH, ScratchDatabase, ServerOwner, loader_role_of, lock_key_of};
use crate::backup::context::Context;
use crate::backup::event::Event;
use crate::error::{Error, Kind, Result};
use crate::postgres::{Server, Session, quote_identifier};

/// The first error is the one that matters; what could not be cleared away is said with it.
pub(super) fn with_remains(first: Error, cleared: Result<()>) -> Error {
    match cleared {
        Ok(()) => first,
        Err(left) if left.kind() == Kind::LeftBehind => {
            let hints = left.hints().to_vec();
            let error = first.of_kind(Kind::LeftBehind).hint(format!("Also, {}.", left.chain()));
            hints.into_iter().fold(error, Error::hint)
        }
        Err(left) => first.hint(format!("Also, cleaning up failed: {}.", left.chain())),
    }
}

pub(super) async fn drop_database(session: &Session, dbname: &str) -> Result<()> {
    let left_behind = |failure: crate::postgres::QueryFailure| {
        let way = match failure.message.contains("subscription") {
            true => "Drop its subscriptions first, in that database, and then drop it",
            false => "Drop it by hand",
        };
        Error::new(Kind::LeftBehind, format!("database `{dbname}` could not be removed"))
            .caused_by(failure)
            .hint(format!("{way}: `drop database {}`.", quote_identifier(dbname)))
    };
    let found = session
        .row(
            "select count(*), coalesce(bool_or(datistemplate), false) from pg_database where datname = $1",
            &[&dbname],
        )
        .await
        .map_err(left_behind)?;
    if found.get::<_, i64>(0) == 0 {
        return Ok(());
    }
    // As its source was; a template cannot be dropped.
    if found.get(1) {
        session
            .execute(&format!("alter database {} is_template false", quote_identifier(dbname)))
            .await
            .map_err(left_behind)?;
    }
    // Another way to end sessions on it came with PostgreSQL 13, and none older is supported.
    let statement = format!("drop database if exists {} with (force)", quote_identifier(dbname));
    session.execute(&statement).await.map_err(left_behind)
}

/// Removes a scratch database, and the role that was made to load it.
pub(super) async fn drop_scratch(scratch: &ScratchDatabase<'_>, session: &Session) -> Result<()> {
    // Where that fails, the database cannot be dropped either, and that says so.
    let _ = drop_subscriptions(scratch, session).await;
    drop_database(session, &scratch.name).await?;
    drop_loader(session, &loader_role_of(&scratch.name)).await
}

/// A database with a subscription cannot be dropped. Those of a scratch database were restored, are off, and have no slot at
/// their publisher.
async fn drop_subscriptions(scratch: &ScratchDatabase<'_>, session: &Session) -> Result<()> {
    let rows = session
        .rows(
            "select s.subname::text from pg_catalog.pg_subscription s
             join pg_catalog.pg_database d on d.oid = s.subdbid where d.datname = $1",
            &[&scratch.name],
        )
        .await?;
    if rows.is_empty() {
        return Ok(());
    }
    let inside = scratch.server.connect(&scratch.name).await?;
    for row in rows {
        let name = quote_identifier(row.get(0));
        inside.execute(&format!("alter subscription {name} disable")).await?;
        inside.execute(&format!("alter subscription {name} set (slot_name = none)")).await?;
        inside.execute(&format!("drop subscription {name}")).await?;
    }
    Ok(())
}

async fn drop_loader(session: &Session, role: &str) -> Result<()> {
    let is_there =
        session.row("select exists (select from pg_catalog.pg_roles where rolname = $1)", &[&role]).await?;
    if !is_there.get::<_, bool>(0) {
        return Ok(());
    }
    // What it was granted on tablespaces goes with this; whoever may not do that, has granted nothing.
    let _ = session.execute(&format!("drop owned by {}", quote_identifier(role))).await;
    session.execute(&format!("drop role if exists {}", quote_identifier(role))).await.or_else(|failure| {
        // Whoever may drop no roles has made none.
        if failure.sqlstate.as_deref() == Some("42501") {
            return Ok(());
        }
        Err(Error::new(Kind::LeftBehind, format!("role `{role}` could not be removed"))
            .caused_by(failure)
            .hint(format!("Drop it by hand: `drop role {}`.", quote_identifier(role))))
    })
}

/// Removes scratch databases of processes that died, and the roles that were to load them. What cannot be removed is said,
/// and keeps nobody from restoring.
pub(super) async fn sweep_scratch_databases(server: &Server, session: &Session, cx: &Context<'_>) {
    let pattern = format!("^{SCRATCH}[0-9a-f]{{8}}$");
    let databases = session
        .rows(
            "select d.datname::text from pg_database d join pg_roles r on r.rolname = current_user
             where d.datname ~ $1 and (r.rolsuper or pg_has_role(d.datdba, 'USAGE'))",
            &[&pattern],
        )
        .await;
    let roles = session
        .rows(
            "select r.rolname::text from pg_roles r join pg_roles us on us.rolname = current_user and us.rolsuper
             where r.rolname ~ $1",
            &[&format!("^{LOADER}[0-9a-f]{{8}}$")],
        )
        .await;
    let names = |rows: std::result::Result<Vec<tokio_postgres::Row>, _>| -> Vec<String> {
        rows.unwrap_or_default().iter().map(|row| row.get(0)).collect()
    };
    let (databases, roles) = (names(databases), names(roles));
    for name in databases.iter().chain(&roles) {
        let key = lock_key_of(name);
        let is_free = session.row("select pg_try_advisory_lock($1)", &[&key]).await;
        if !is_free.is_ok_and(|row| row.get(0)) {
            continue;
        }
        let removed = match databases.contains(name) {
            true => {
                let scratch = ScratchDatabase { server, owner: ServerOwner::User, name: name.clone() };
                drop_scratch(&scratch, session).await
            }
            false => drop_loader(session, name).await,
        };
        let _ = session.rows("select pg_advisory_unlock($1)", &[&key]).await;
        match removed {
            Ok(()) if databases.contains(name) => {
                (cx.tell)(Event::Note(&format!("removed `{name}`, left behind by a restore that died")))
            }
            Ok(()) => {}
            Err(error) => (cx.tell)(Event::Warning(&format!(
                "`{name}`, left behind by a restore that died, could not be removed: {}",
                error.chain()
            ))),
        }
    }
}
