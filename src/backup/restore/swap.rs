//! The swap: a restored copy takes the place of a database in one transaction of two renames, so that whoever connects
//! finds the old one or the new one, never none and never both. What was there is kept under another name, and put back by
//! [`undo_restore`]; what is kept, and until when, stands in the vault under `restores/`.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};

use super::plan::{Destination, Plan, Report};
use super::remains::drop_database;
use super::scratch::ScratchDatabase;
use super::sessions::{connect_apart_from, database_exists};
use crate::backup::context::Context;
use crate::backup::event::Event;
use crate::backup::source::Source;
use crate::error::{Error, Kind, Result};
use crate::postgres::{Server, Session, quote_identifier};
use crate::vault::Vault;

/// What is kept of a database that was replaced. It lies in the vault under `restores/`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    schema: String,
    server: String,
    database: String,
    pub(super) kept: String,
    pub(super) until: DateTime<Utc>,
    /// When it was replaced: what it holds is of that moment. Records of earlier versions do not say it.
    #[serde(default)]
    replaced_at: Option<DateTime<Utc>>,
}

impl Kept {
    fn is_of(&self) -> Option<DateTime<Utc>> {
        let stamp = || {
            let (_, stamp) = self.kept.rsplit_once("_old_")?;
            Some(NaiveDateTime::parse_from_str(stamp.get(..16)?, "%Y%m%dt%H%M%Sz").ok()?.and_utc())
        };
        self.replaced_at.or_else(stamp)
    }
}

const KEPT_SCHEMA: &str = "lifeboat.backup-kept/1";

/// Gives the scratch database its name. What has that name now is kept under another.
pub(super) async fn swap_in(
    plan: &Plan,
    dbname: &str,
    scratch: &ScratchDatabase<'_>,
    cx: &Context<'_>,
) -> Result<Option<Kept>> {
    let now = (cx.clock)();
    let ScratchDatabase { server, name: scratch, .. } = scratch;
    let session = &connect_apart_from(server, &[dbname]).await?;
    let there = database_exists(session, dbname).await?;
    if there && matches!(plan.destination, Destination::New(_)) {
        return Err(Error::request(format!("`{dbname}` was created while the restore was running"))
            .hint("It was not changed. Choose another name with `--into`."));
    }
    if !there {
        let rename = format!("alter database {scratch} rename to {}", quote_identifier(dbname));
        rename_alone(server, session, &[scratch], &rename).await?;
        return Ok(None);
    }
    (cx.tell)(Event::Phase("swapping"));
    let old = free_name_beside(session, dbname, "old", now).await?;
    let kept = Kept {
        schema: KEPT_SCHEMA.to_owned(),
        server: format!("{}:{}", server.host, server.port),
        database: dbname.to_owned(),
        kept: old.clone(),
        until: now
            + chrono::TimeDelta::from_std(plan.options.keep_old).unwrap_or(chrono::TimeDelta::days(366)),
        replaced_at: Some(now),
    };
    let text = serde_json::to_vec_pretty(&kept)
        .map_err(|error| Error::new(Kind::Bug, "cannot serialize a record").caused_by(error))?;
    cx.vault.write(&format!("restores/{scratch}.json"), &text)?;
    let swap = format!(
        "begin; alter database {} rename to {}; alter database {scratch} rename to {}; commit",
        quote_identifier(dbname),
        quote_identifier(&old),
        quote_identifier(dbname)
    );
    rename_alone(server, session, &[dbname, scratch], &swap).await?;
    warn_of_slots(session, &old, cx).await;
    warn_of_subscriptions(session, &old, cx).await;
    if plan.options.keep_old.is_zero() {
        let Err(error) = drop_database(session, &old).await else { return Ok(None) };
        // The database is restored, and the record of what it replaced lets a later restore try again.
        (cx.tell)(Event::Warning(&error.chain()));
        for hint in error.hints() {
            (cx.tell)(Event::Warning(hint));
        }
    }
    Ok(Some(kept))
}

/// Logical replication slots belong to a database, not to its name: they stay with what was replaced.
async fn warn_of_slots(session: &Session, old: &str, cx: &Context<'_>) {
    let slots = session
        .row("select string_agg(slot_name, '`, `') from pg_replication_slots where database = $1", &[&old])
        .await;
    if let Some(slots) = slots.ok().and_then(|row| row.get::<_, Option<String>>(0)) {
        (cx.tell)(Event::Warning(&format!(
            "the logical replication slots of the database stay with `{old}`: `{slots}`; their consumers need new slots and start over"
        )));
    }
}

/// Subscriptions, too, belong to a database: in what was replaced they go on, and take what their publishers send.
async fn warn_of_subscriptions(session: &Session, old: &str, cx: &Context<'_>) {
    let subscriptions = session
        .row(
            "select string_agg(subname, '`, `') from pg_catalog.pg_subscription s
             join pg_catalog.pg_database d on d.oid = s.subdbid where d.datname = $1 and s.subenabled",
            &[&old],
        )
        .await;
    if let Some(names) = subscriptions.ok().and_then(|row| row.get::<_, Option<String>>(0)) {
        (cx.tell)(Event::Warning(&format!(
            "the subscriptions of the database stay with `{old}` and keep running there: `{names}`; disable them before enabling those \
             of the restored database"
        )));
    }
}

/// The name of this second, or of the next one that is free.
async fn free_name_beside(session: &Session, dbname: &str, word: &str, now: DateTime<Utc>) -> Result<String> {
    let mut at = now;
    loop {
        let name = dated_name(dbname, word, at);
        if !database_exists(session, &name).await? {
            return Ok(name);
        }
        at += chrono::TimeDelta::seconds(1);
    }
}

/// `app_old_20261122t010203z`, within PostgreSQL's 63 bytes.
fn dated_name(dbname: &str, word: &str, now: DateTime<Utc>) -> String {
    let ending = format!("_{word}_{}", now.format("%Y%m%dt%H%M%Sz"));
    let mut start = dbname;
    while start.len() + ending.len() > 63 {
        start = &start[..start.char_indices().next_back().map_or(0, |(at, _)| at)];
    }
    format!("{start}{ending}")
}

/// Runs a rename while the sessions on the databases are being ended. The rename holds a lock that keeps new ones out, and
/// waits up to five seconds for the old ones to be gone (`CountOtherDBBackends` in PostgreSQL).
async fn rename_alone(server: &Server, session: &Session, databases: &[&str], rename: &str) -> Result<()> {
    let helper = connect_apart_from(server, databases).await?;
    let databases: Vec<String> = databases.iter().map(|name| (*name).to_owned()).collect();
    let end_sessions = async {
        loop {
            let ended = helper
                .rows(
                    "select pg_terminate_backend(pid) from pg_stat_activity
                     where datname = any($1) and pid <> pg_backend_pid() and backend_type in ('client backend', 'walsender')",
                    &[&databases],
                )
                .await;
            if let Err(failure) = ended {
                return failure;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    let attempts = async {
        let mut last = None;
        for _ in 0..6 {
            match session.execute(rename).await {
                Ok(()) => return Ok(()),
                Err(failure) => {
                    // The failed transaction is still open.
                    let _ = session.execute("rollback").await;
                    if failure.sqlstate.as_deref() != Some("55006") {
                        return Err(failure);
                    }
                    last = Some(failure);
                }
            }
        }
        last.map_or(Ok(()), Err)
    };
    let outcome = tokio::select! {
        biased;
        outcome = attempts => outcome,
        failure = end_sessions => Err(failure),
    };
    outcome.map_err(|failure| {
        Error::outside("the restored copy cannot replace the database, which is unchanged")
            .caused_by(failure)
            .hint("Sessions that this user may not terminate are connected to it: end them, or restore as a member of `pg_signal_backend`.")
    })
}

/// Drops replaced databases whose time has passed.
pub(super) async fn drop_expired(session: &Session, server: &Server, cx: &Context<'_>) -> Result<()> {
    let now = (cx.clock)();
    for (record, kept) in read_kept_databases(cx.vault, server)? {
        if !database_exists(session, &kept.kept).await? {
            continue;
        }
        if kept.until <= now && database_exists(session, &kept.database).await? {
            // Whatever holds it, another restore need not wait for that.
            if let Err(error) = drop_database(session, &kept.kept).await {
                (cx.tell)(Event::Warning(&format!(
                    "cannot drop `{}`, the expired copy of a replaced database: {}",
                    kept.kept,
                    error.chain()
                )));
                continue;
            }
            cx.vault.forget(&record)?;
            (cx.tell)(Event::Note(&format!("dropped `{}`, which was kept until {}", kept.kept, kept.until)));
        }
    }
    Ok(())
}

/// The records of replaced databases of a server, oldest first.
fn read_kept_databases(vault: &Vault, server: &Server) -> Result<Vec<(String, Kept)>> {
    let at = format!("{}:{}", server.host, server.port);
    let mut found = Vec::new();
    let records: Vec<String> =
        vault.list("restores")?.files.iter().map(|file| format!("restores/{}", file.name)).collect();
    for (record, text) in records.iter().cloned().zip(vault.read_all(&records)?) {
        let Some(text) = text? else { continue };
        if let Some(kept) = serde_json::from_slice::<Kept>(&text).ok().filter(|kept| kept.server == at) {
            found.push((record, kept));
        }
    }
    found.sort_by(|left, right| left.1.kept.cmp(&right.1.kept));
    Ok(found)
}

/// Puts back the database that the latest restore replaced. What is there now is kept in its turn.
pub(crate) async fn undo_restore(server: &Server, dbname: &str, cx: &Context<'_>) -> Result<Report> {
    let began = std::time::Instant::now();
    let session = connect_apart_from(server, &[dbname]).await?;
    let mut newest = None;
    for (record, kept) in read_kept_databases(cx.vault, server)? {
        if kept.database == dbname && database_exists(&session, &kept.kept).await? {
            newest = Some((record, kept));
        }
    }
    let Some((record, kept)) = newest else {
        return Err(Error::request(format!("no replaced copy of `{dbname}` is kept")).hint(
            "`backup restore` reports what it keeps and for how long; `psql -l` lists the databases.",
        ));
    };
    // What is kept may be the one other database that the user is let into.
    let session = connect_apart_from(server, &[dbname, &kept.kept]).await?;
    let now = (cx.clock)();
    let undone = free_name_beside(&session, dbname, "undone", now).await?;
    let (is_there, from, to) =
        (database_exists(&session, dbname).await?, quote_identifier(&kept.kept), quote_identifier(dbname));
    let swap = match is_there {
        true => format!(
            "begin; alter database {to} rename to {}; alter database {from} rename to {to}; commit",
            quote_identifier(&undone)
        ),
        false => format!("alter database {from} rename to {to}"),
    };
    rename_alone(server, &session, &[dbname, &kept.kept], &swap).await?;
    cx.vault.forget(&record)?;
    let source = Source::Postgresql { server: Box::new(server.clone()), dbname: dbname.to_owned() };
    let content_of = kept.is_of().unwrap_or(now);
    Ok(Report {
        kept_old: is_there.then_some(undone),
        seconds: began.elapsed().as_secs_f64(),
        ..Report::new(kept.kept, content_of, &source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kept_databases_fit_whatever_the_name() {
        let now = "2026-11-22T01:02:03Z".parse().unwrap();
        assert_eq!(dated_name("app", "old", now), "app_old_20261122t010203z");
        let long = dated_name(&"ä".repeat(31), "old", now);
        assert!(long.len() <= 63 && long.ends_with("_old_20261122t010203z"), "{long}");
    }
}
