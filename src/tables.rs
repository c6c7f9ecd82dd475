//! Single tables from a backup, set beside the live ones: the commonest disaster is one table.
//!
//! Restores the backup to a throwaway, which carries a drill's name and tags so that `drill sweep` removes it if this
//! process dies; copies each table from there into the live database under a new name; compares both; removes the
//! throwaway, whatever happened. It never touches a table that is there: it only adds new ones. Foreign keys, triggers,
//! defaults, policies and rights stay behind, since they would tie the copy to live tables.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::time::Instant;

use crate::aws::{Aws, Poll, RestoreFrom};
use crate::drill::removal::{self, Claim};
use crate::drill::throwaway;
use crate::drill::{self};
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::postgres::{Programs, Server, Session, generate, major_version, quote_identifier, user_databases};
use crate::rds::{Instance, InstanceId, ResourceId, RunId, Settings};
use crate::restore::apply;
use crate::restore::isolation::{self, Isolation};
use crate::restore::log_in::{LOGIN_PATIENCE, server_of_copy, wait_until_logged_in};
use crate::restore::plan::{Plan as RestorePlan, SettingsFrom};
use crate::restore::{self, Chosen, Wanted};
use crate::snapshot::{Event, Tell};

/// How long the throwaway may live if nobody removes it.
const LIFETIME: chrono::TimeDelta = chrono::TimeDelta::hours(12);

/// A table, by schema and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableName {
    schema: String,
    name: String,
}

impl std::str::FromStr for TableName {
    type Err = Error;

    /// `orders`, `sales.orders`, `"Odd Schema"."Odd.Table"`: names mean what they say, capitals included.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::request(format!("`{}` is not the name of a table", text.escape_default()))
                .hint("Write it as TABLE or SCHEMA.TABLE; quote a name that has a dot, as in '\"a.b\".c'.")
        };
        let (first, rest) = part(text).ok_or_else(wrong)?;
        let name = match rest {
            None => return Ok(TableName { schema: "public".to_owned(), name: first }),
            Some(rest) => part(rest).filter(|(_, rest)| rest.is_none()).ok_or_else(wrong)?.0,
        };
        Ok(TableName { schema: first, name })
    }
}

/// The first name of a dotted one, and what follows the dot.
fn part(text: &str) -> Option<(String, Option<&str>)> {
    let (name, rest) = match text.strip_prefix('"') {
        Some(quoted) => {
            let end = quoted.replace("\"\"", "\0\0").find('"')?;
            (quoted[..end].replace("\"\"", "\""), &quoted[end + 1..])
        }
        None => {
            let end = text.find('.').unwrap_or(text.len());
            (text[..end].to_owned(), &text[end..])
        }
    };
    let rest = if rest.is_empty() { None } else { Some(rest.strip_prefix('.')?) };
    (!name.is_empty() && name.len() <= 63).then_some((name, rest))
}

impl TableName {
    /// Quoted, for SQL.
    fn sql(&self) -> String {
        format!("{}.{}", quote_identifier(&self.schema), quote_identifier(&self.name))
    }

    /// What its copy is called: `orders_restored_20261121`, within PostgreSQL's 63 bytes.
    fn restored(&self, moment: DateTime<Utc>) -> TableName {
        self.ending_in(&format!("_restored_{}", moment.format("%Y%m%d")))
    }

    /// What its copy is called where that name is taken: `orders_restored_20261121_2`.
    fn restored_again(&self, moment: DateTime<Utc>, attempt: u32) -> TableName {
        self.ending_in(&format!("_restored_{}_{attempt}", moment.format("%Y%m%d")))
    }

    fn ending_in(&self, tail: &str) -> TableName {
        let mut end = self.name.len().min(63 - tail.len());
        while !self.name.is_char_boundary(end) {
            end -= 1;
        }
        TableName { schema: self.schema.clone(), name: format!("{}{tail}", &self.name[..end]) }
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The live instance.
    pub source: InstanceId,
    /// The backup.
    pub wanted: Wanted,
    /// The database; if not named, the only one that there is.
    pub database: Option<String>,
    pub tables: Vec<TableName>,
    /// Class of the throwaway.
    pub class: String,
}

/// Tables that can be brought back. By value: it is done once.
#[derive(Debug)]
pub(crate) struct Plan {
    pub run: RunId,
    pub throwaway: InstanceId,
    /// The live instance.
    pub source: Instance,
    /// The moment that comes back.
    pub moment: DateTime<Utc>,
    server: Server,
    database: String,
    tables: Vec<(TableName, TableName)>,
    restore: RestorePlan,
    isolation: Isolation,
    programs: Programs,
}

/// What was brought back (`lifeboat.restore-table/1`).
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: &'static str,
    /// Whether nothing was to be done.
    pub dry_run: bool,
    /// The live instance.
    pub source: String,
    pub database: String,
    /// The moment that the rows are of.
    pub moment: DateTime<Utc>,
    pub tables: Vec<Restored>,
    pub throwaway: Throwaway,
    /// From the request to the last comparison.
    pub seconds: Option<f64>,
}

/// A table that was brought back.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Restored {
    pub schema: String,
    /// Name.
    pub table: String,
    /// Name of the copy, in the same schema.
    pub restored_as: String,
    /// Rows in the backup, and so in the copy.
    pub rows: Option<i64>,
    /// Rows in the live table, for comparison; absent if it is gone.
    pub live_rows: Option<i64>,
    /// Whether the copy holds the same rows as the backup, value for value.
    pub verified: bool,
    /// What its rows name and the copy does not bring along.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_copied: Vec<String>,
}

/// The throwaway.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Throwaway {
    pub id: String,
    /// Whether AWS no longer knows it.
    pub is_removed: bool,
    /// Why it still exists.
    pub left_behind: Option<String>,
    /// The command that removes it, if it still exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_with: Option<String>,
    /// Why the parameter group that was made for it still exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter_group_left_behind: Option<String>,
}

impl Plan {
    /// What would be done.
    pub(crate) fn report(&self) -> Report {
        Report {
            schema: "lifeboat.restore-table/1",
            dry_run: true,
            source: self.source.id.to_string(),
            database: self.database.clone(),
            moment: self.moment,
            tables: self
                .tables
                .iter()
                .map(|(table, copy)| Restored {
                    schema: table.schema.clone(),
                    table: table.name.clone(),
                    restored_as: copy.name.clone(),
                    ..Restored::default()
                })
                .collect(),
            throwaway: Throwaway { id: self.throwaway.to_string(), ..Throwaway::default() },
            seconds: None,
        }
    }
}

/// Checks what can be known beforehand. Reads only.
pub(crate) async fn plan(
    aws: &Aws,
    request: Request,
    server: impl AsyncFnOnce(&Instance) -> Result<Server>,
    now: DateTime<Utc>,
) -> Result<Plan> {
    let source = aws.existing_instance(&request.source).await?;
    if source.engine != "postgres" || source.cluster.is_some() {
        return Err(Error::request(format!("`{}` runs {}", source.id, source.engine))
            .hint("Single tables can be restored for Amazon RDS for PostgreSQL only."));
    }
    let chosen = restore::choose_backup(aws, &source, &request.wanted).await?;
    let (from, moment) = match &chosen {
        Chosen::Snapshot(snapshot) => {
            (RestoreFrom::Snapshot(snapshot.id.clone()), snapshot.moment().unwrap_or(now))
        }
        Chosen::Time(at) | Chosen::Now { latest: at } => {
            let from = RestoreFrom::Time { source: source.resource_id.clone(), replica: None, at: *at };
            (from, *at)
        }
    };
    if let Ok(false) = aws.class_is_orderable(&source.engine, &source.engine_version, &request.class).await {
        return Err(Error::request(format!(
            "class `{}` is not offered for PostgreSQL in this Region",
            request.class
        ))
        .hint("Choose another `--class`, such as db.t4g.micro."));
    }
    let server = server(&source).await?;
    let database = database(&server, request.database).await?;
    let live = server.connect(&database).await?;
    let programs = Programs::for_server(major_version(&live).await?, None)?;
    let mut tables = Vec::new();
    for table in request.tables {
        let copy = table.restored(moment);
        if exists(&live, &copy).await? {
            return Err(Error::request(format!("table `{copy}` already exists in database `{database}`"))
                .hint("Rename or drop it first: existing tables are never overwritten."));
        }
        refuse_if_unlogged(&live, &table).await?;
        if !has_schema(&live, &copy.schema).await? {
            return Err(Error::request(format!("database `{database}` has no schema `{}`", copy.schema))
                .hint("Create it first, or correct `--table`."));
        }
        tables.push((table, copy));
    }
    let now = aws.now(now);
    let run = RunId::new(now);
    let throwaway = throwaway::throwaway_name(source.id.as_str(), &run)?;
    let tags = throwaway::throwaway_tags(&source, &run, now + LIFETIME);
    let engine_version = match &chosen {
        Chosen::Snapshot(snapshot) => &snapshot.engine_version,
        Chosen::Time(_) | Chosen::Now { .. } => &source.engine_version,
    };
    let wanted = isolation::Wanted {
        name: throwaway.as_str(),
        tags: tags.clone(),
        engine_version,
        source_group: source.parameter_group.as_deref(),
        given: None,
    };
    let acting = isolation::find_subscriptions(&live).await?;
    let isolation = isolation::plan_isolation(aws, source.id.as_str(), wanted, acting).await?;
    let restore = RestorePlan {
        run: run.clone(),
        restore: crate::aws::Restore {
            id: throwaway.clone(),
            from,
            settings: drill::copy_settings(&source, request.class),
            tags,
        },
        afterwards: Settings::default(),
        source: source.id.to_string(),
        engine_version: engine_version.clone(),
        moment: Some(moment),
        settings_from: SettingsFrom::Instance,
        carried_over: Default::default(),
        changed: Default::default(),
        not_carried: Vec::new(),
    };
    Ok(Plan { run, throwaway, source, moment, server, database, tables, restore, isolation, programs })
}

async fn database(server: &Server, named: Option<String>) -> Result<String> {
    if let Some(name) = named {
        return Ok(name);
    }
    let session = server.connect("postgres").await?;
    let all: Vec<String> = user_databases(&session).await?.into_iter().map(|(name, _)| name).collect();
    let own: Vec<&String> = all.iter().filter(|name| *name != "postgres").collect();
    match own[..] {
        [one] => Ok(one.clone()),
        [] => Ok("postgres".to_owned()),
        _ => Err(Error::request("the instance has several databases")
            .hint(format!("Name the table's database with `--dbname`: {}.", all.join(", ")))),
    }
}

async fn exists(session: &Session, table: &TableName) -> Result<bool> {
    let sql = "select exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
               where n.nspname::text = $1 and c.relname::text = $2)";
    Ok(session.row(sql, &[&table.schema, &table.name]).await?.get(0))
}

/// A snapshot holds no row of an unlogged table, so that a copy without rows would prove nothing.
async fn refuse_if_unlogged(session: &Session, table: &TableName) -> Result<()> {
    let sql = "select exists (
                   select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                   where n.nspname::text = $1 and c.relname::text = $2 and (c.relpersistence = 'u' or exists (
                       select from pg_catalog.pg_partition_tree(c.oid) t join pg_catalog.pg_class p on p.oid = t.relid
                       where p.relpersistence = 'u')))";
    if !session.row(sql, &[&table.schema, &table.name]).await?.get::<_, bool>(0) {
        return Ok(());
    }
    Err(Error::new(Kind::No, format!("table `{table}` is unlogged: no snapshot holds its rows")).hint(
        "PostgreSQL empties unlogged tables whenever a server is restored. A backup by `lifeboat backup create` holds them.",
    ))
}

/// Columns of a table that name large objects of the backup: these stay behind.
async fn large_objects_of(backup: &Session, table: &TableName) -> Result<Vec<String>> {
    let sql = "with recursive kind (oid) as (
                   select 'pg_catalog.oid'::pg_catalog.regtype::pg_catalog.oid
                   union select t.oid from pg_catalog.pg_type t join kind on t.typbasetype = kind.oid
               )
               select attname::text from pg_catalog.pg_attribute
               where attrelid = $1::text::regclass and attnum > 0 and not attisdropped and atttypid in (select oid from kind)
                 and exists (select from pg_catalog.pg_largeobject_metadata) order by attnum";
    let mut told = Vec::new();
    for row in backup.rows(sql, &[&table.sql()]).await? {
        let column: String = row.get(0);
        let count = format!(
            "select count(distinct o.oid) from {} t join pg_catalog.pg_largeobject_metadata o on o.oid = t.{}",
            table.sql(),
            quote_identifier(&column)
        );
        if let objects @ 1.. = backup.row(&count, &[]).await?.get::<_, i64>(0) {
            told.push(format!(
                "column `{column}` names {objects} large {}, which are not copied with a table: restore the snapshot to read {}",
                if objects == 1 { "object" } else { "objects" },
                if objects == 1 { "it" } else { "them" }
            ));
        }
    }
    Ok(told)
}

async fn has_schema(session: &Session, schema: &str) -> Result<bool> {
    let sql = "select exists (select from pg_catalog.pg_namespace where nspname::text = $1)";
    Ok(session.row(sql, &[&schema]).await?.get(0))
}

/// Brings the tables back. The throwaway is removed whatever happens; an error says which tables were restored.
pub(crate) async fn apply(
    mut plan: Plan,
    aws: &Aws,
    interrupt: &Interrupt,
    poll: Poll,
    tell: Tell<'_>,
) -> (Report, Result<()>) {
    let mut report = plan.report();
    report.dry_run = false;
    let began = Instant::now();
    let mut resource: Option<ResourceId> = None;
    let group = plan.isolation.group_to_create().map(|group| group.name.clone());
    let isolated = tokio::select! {
        biased;
        kind = interrupt.wait(1) => Err(Error::new(kind, "interrupted before anything was restored")),
        isolated = isolate(&mut plan, aws, poll, tell) => isolated,
    };
    if let Err(error) = isolated {
        remove_group(aws, group, poll, &mut report).await;
        return (report, Err(error));
    }
    let work = bring_back(&plan, aws, poll, tell, &mut report, &mut resource);
    let ended = tokio::select! {
        biased;
        kind = interrupt.wait(1) => Err(Error::new(kind, "interrupted; the throwaway was removed")),
        ended = work => ended,
    };
    report.seconds = Some(began.elapsed().as_secs_f64());
    tell(Event::Note(format!("removing the throwaway `{}`", plan.throwaway)));
    let claim = Claim {
        id: plan.throwaway.clone(),
        run: plan.run.clone(),
        may_yet_appear: resource.is_none(),
        resource_id: resource,
    };
    let patience = Poll { give_up_after: Duration::from_secs(1800), ..poll };
    match removal::remove_claimed(aws, &claim, patience, &|_| {}).await {
        Ok(_) => report.throwaway.is_removed = true,
        Err(remains) => {
            report.throwaway.remove_with = Some(removal::delete_command(&remains.known_as, aws.region()));
            report.throwaway.left_behind = Some(remains.error.chain());
        }
    }
    if report.throwaway.is_removed {
        remove_group(aws, group, poll, &mut report).await;
    }
    (report, ended)
}

/// Makes the group with which the throwaway does not act by itself, where that is possible.
async fn isolate(plan: &mut Plan, aws: &Aws, poll: Poll, tell: Tell<'_>) -> Result<()> {
    if let Some(group) = plan.isolation.group_to_create().cloned() {
        let settling = plan.isolation.settling_time(poll);
        if !settling.is_zero() {
            tell(Event::Note(format!(
                "created parameter group `{}`, which turns off jobs and subscriptions; waiting {} before using it, as AWS advises",
                group.name,
                humantime::format_duration(settling)
            )));
        }
        match isolation::create_group(aws, &group, settling).await {
            Ok(note) => plan.isolation.notes.extend(note),
            Err(failure) => plan.isolation.run_without(plan.source.id.as_str(), &failure.to_string())?,
        }
    }
    for note in &plan.isolation.notes {
        tell(Event::Note(note.clone()));
    }
    if let Some(group) = plan.isolation.group_to_create() {
        plan.restore.restore.settings.parameter_group = Some(group.name.clone());
    }
    Ok(())
}

async fn remove_group(aws: &Aws, group: Option<String>, poll: Poll, report: &mut Report) {
    let Some(group) = group else { return };
    let patience = Poll { give_up_after: Duration::from_secs(600), ..poll };
    if let Err(error) = isolation::remove_group(aws, &group, patience).await {
        report.throwaway.parameter_group_left_behind = Some(format!(
            "{}; remove it with `{}`",
            error.chain(),
            isolation::remove_group_command(&group, aws.region())
        ));
    }
}

async fn bring_back(
    plan: &Plan,
    aws: &Aws,
    poll: Poll,
    tell: Tell<'_>,
    report: &mut Report,
    resource: &mut Option<ResourceId>,
) -> Result<()> {
    let mut restored = apply::Report::planned(&plan.restore, apply::Psql::default());
    apply::begin_restore(aws, &plan.restore, &mut restored, tell).await?;
    *resource = restored.resource_id.clone().map(ResourceId);
    if !apply::wait_until_available(aws, &plan.throwaway, poll, &mut restored, tell).await? {
        return Err(Error::outside(format!(
            "the throwaway `{}` was still `{}` at the end of `--wait`",
            plan.throwaway, restored.status
        ))
        .hint("Large databases take longer: raise `--wait`."));
    }
    let copy = log_in(plan, aws, poll, &restored, tell).await?;
    if plan.isolation.group_to_create().is_some()
        && !isolation::is_at_rest(&copy, std::slice::from_ref(&plan.database)).await?
    {
        return Err(Error::new(Kind::Guard, "the throwaway did not start with its parameter group, so its jobs and subscriptions may have run")
            .hint("Compare the publishers of its subscriptions with their subscribers, and check `aws rds describe-events`."));
    }
    let backup = copy.connect(&plan.database).await?;
    let live = plan.server.connect(&plan.database).await?;
    for ((table, name), entry) in plan.tables.iter().zip(&mut report.tables) {
        if !exists(&backup, table).await? {
            return Err(Error::request(format!(
                "the backup's database `{}` has no table `{table}`",
                plan.database
            ))
            .hint("Correct `--table`, or choose an earlier or later moment."));
        }
        refuse_if_unlogged(&backup, table).await?;
        let name = &find_free_name((&backup, &live), (table, name), plan.moment).await?;
        if name.name != entry.restored_as {
            tell(Event::Note(format!(
                "the backup holds a table `{}` of its own, so the copy is called `{}`",
                entry.restored_as, name.name
            )));
            entry.restored_as.clone_from(&name.name);
        }
        tell(Event::Note(format!("copying `{table}` to `{name}`")));
        set_beside(&backup, table, name).await?;
        plan.programs
            .copy_table((&copy, &plan.database), (&plan.server, &plan.database), &name.sql())
            .await?;
        let (expected, found) = (content(&backup, name).await?, content(&live, name).await?);
        entry.rows = Some(expected.0);
        entry.verified = expected == found;
        entry.not_copied = large_objects_of(&backup, table).await?;
        for told in &entry.not_copied {
            tell(Event::Note(format!("`{name}`: {told}")));
        }
        if exists(&live, table).await? {
            entry.live_rows = Some(content(&live, table).await?.0);
        }
        if !entry.verified {
            return Err(Error::new(
                Kind::No,
                format!("`{name}` has {} rows and the table in the backup {}, or their content differs", found.0, expected.0),
            )
            .hint("Do not use it: something may have written to it during the copy. Drop it and run this again."));
        }
    }
    Ok(())
}

/// The name of a copy, or the next one that neither the backup nor the live database has: a backup may hold what an earlier
/// restore brought back.
async fn find_free_name(
    (backup, live): (&Session, &Session),
    (table, name): (&TableName, &TableName),
    moment: DateTime<Utc>,
) -> Result<TableName> {
    if !exists(backup, name).await? {
        return Ok(name.clone());
    }
    for attempt in 2..100 {
        let name = table.restored_again(moment, attempt);
        if !exists(backup, &name).await? && !exists(live, &name).await? {
            return Ok(name);
        }
    }
    Err(Error::request(format!("the backup holds `{name}` and many similar tables"))
        .hint("Choose an earlier moment, before they were restored."))
}

/// In the throwaway: the table under its new name, with its columns, checks and indexes, and nothing that ties it to others.
async fn set_beside(backup: &Session, table: &TableName, name: &TableName) -> Result<()> {
    let columns = backup
        .rows(
            "select attname::text from pg_catalog.pg_attribute where attrelid = $1::text::regclass and attnum > 0
             and not attisdropped and attgenerated = '' order by attnum",
            &[&table.sql()],
        )
        .await?;
    let columns: Vec<String> = columns.iter().map(|row| quote_identifier(row.get(0))).collect();
    let columns = columns.join(", ");
    let (old, new) = (table.sql(), name.sql());
    // The copy's event triggers must not act on what is done to it; who may not set this has to do without.
    let _ = backup.execute("set session_replication_role = replica").await;
    // A table of another role, and its row-level security, must not hide rows: that is an error, never fewer rows.
    let sql = format!(
        "set row_security = off;
         create table {new} (like {old} including constraints including generated including storage including comments
                             including indexes including statistics);
         insert into {new} ({columns}) select {columns} from {old};"
    );
    Ok(backup.execute(&sql).await?)
}

/// Number of rows and a sum of the hashes of their text: the same on both sides if every value is.
async fn content(session: &Session, table: &TableName) -> Result<(i64, String)> {
    session
        .execute(
            "set row_security = off; set timezone = 'UTC'; set datestyle = 'ISO'; set extra_float_digits = 1",
        )
        .await?;
    let sql = format!(
        "select count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text from {} t",
        table.sql()
    );
    let row = session.row(&sql, &[]).await?;
    Ok((row.get(0), row.get(1)))
}

/// As the master user, with a new random password; ready is a query that returns a row.
async fn log_in(
    plan: &Plan,
    aws: &Aws,
    poll: Poll,
    restored: &apply::Report,
    tell: Tell<'_>,
) -> Result<Server> {
    let endpoint = restored.endpoint.as_ref().map(|at| (at.host.clone(), at.port));
    let mut server = server_of_copy(&plan.throwaway, endpoint, &plan.server)?;
    tell(Event::Note("setting a password on the throwaway and logging in".to_owned()));
    let password = generate();
    aws.reset_password(&plan.throwaway, password.expose(), poll).await?;
    (server.user, server.password) = (plan.source.master_user.clone(), Some(password));
    let entered = wait_until_logged_in(&server, &plan.database, poll.every, |_| LOGIN_PATIENCE).await;
    entered.map(|()| server).map_err(|failure| failure.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_mean_what_they_say() {
        let name = |schema: &str, name: &str| TableName { schema: schema.to_owned(), name: name.to_owned() };
        for (text, expected) in [
            ("orders", name("public", "orders")),
            ("Sales.Orders", name("Sales", "Orders")),
            ("\"a.b\".\"c\"\"d\"", name("a.b", "c\"d")),
        ] {
            assert_eq!(text.parse::<TableName>().unwrap(), expected, "{text}");
        }
        for wrong in ["", ".", "a.", ".b", "a.b.c", "\"a", "\"a\"b"] {
            assert!(wrong.parse::<TableName>().is_err(), "{wrong}");
        }
        let moment = "2026-11-21T14:05:00Z".parse().unwrap();
        assert_eq!(name("s", "orders").restored(moment).to_string(), "s.orders_restored_20261121");
        let long = name("s", &"ä".repeat(31)).restored(moment);
        assert!(long.name.len() <= 63 && long.name.ends_with("_restored_20261121"), "{long}");
        let again = name("s", &"ä".repeat(31)).restored_again(moment, 12);
        assert!(again.name.len() <= 63 && again.name.ends_with("_restored_20261121_12"), "{again}");
    }
}
