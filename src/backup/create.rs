//! Making a backup.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sha2::Digest as _;

use super::catalogue;
use super::coding::Compression;
use super::context::Context;
use super::dump;
use super::dump_gate::Held;
use super::event::{Event, cannot_write, follow_progress, stop_if_interrupted};
use super::failures;
use super::identity::Identity;
use super::manifest::{Format, Globals, Maker, Manifest, Origin, SCHEMA, file_name, globals_name};
use super::name::BackupName;
use super::parallel;
use super::prune;
use super::request::{IfTaken, Request, Roles};
use super::settings::Configured;
use super::source::{DatabaseType, Source};
use super::sqlite;
use super::stream::{Inflow, Packing, Target, Totals};
use super::token::TableName;
use super::verify::verify_draft;
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::postgres::{AS_IT_IS, Programs, RawText, Server, Session};
use crate::retention::PruneReport;
use crate::vault::{Actor, Draft, Lock, Secrecy};
use crate::verify::observation::Carried;
use crate::verify::schema::{self, Definitions};
use crate::verify::wording::{RECIPE as RECIPE_OF_WORDINGS, read_wordings};
use crate::verify::{self, Copies, Databases, Depth, Depths, Look, Recorded, Recording, judge};
use crate::when::format_time;

/// A backup that is going to be made.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What is wanted.
    pub request: Request,
    /// Version of the server or of the SQLite that reads.
    pub server_version: String,
    /// The system identifier of the cluster, if we may know it.
    pub system_identifier: Option<String>,
    /// The programs that will dump.
    pub programs: Option<Programs>,
    /// The name that it will have, if nothing of that name appears meanwhile.
    pub name: BackupName,
}

impl Plan {
    /// The program that dumps, and its version.
    pub(crate) fn tool(&self) -> String {
        match &self.programs {
            Some(programs) => format!("pg_dump {}", programs.version),
            None => format!("SQLite {}", sqlite::sqlite_version()),
        }
    }

    fn database_type(&self) -> DatabaseType {
        match self.request.source {
            Source::Postgresql { .. } => DatabaseType::Postgresql,
            Source::Sqlite { .. } => DatabaseType::Sqlite,
        }
    }

    /// The form of the content.
    pub(crate) fn format(&self) -> Format {
        match self.request.source {
            Source::Postgresql { .. } if self.request.jobs > 1 => Format::Directory,
            Source::Postgresql { .. } => self.request.format,
            Source::Sqlite { .. } => Format::Sqlite,
        }
    }

    /// Where the content comes from.
    fn origin(&self) -> Origin {
        let request = &self.request;
        let server = (self.server_version.clone(), self.system_identifier.clone());
        Origin::of(&request.source, request.database.clone(), request.database_id.clone(), server)
    }

    /// The name of the file.
    pub(crate) fn file_name(&self) -> String {
        self.file_name_of(&self.name)
    }

    fn file_name_of(&self, name: &BackupName) -> String {
        let packing = &self.request.packing;
        file_name(name, self.format(), packing.compression, !packing.recipients.is_empty())
    }
}

/// From when on a backup has lines in the audit log.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AuditFrom<'a> {
    /// From its plan on: a command that cannot be carried out is no act.
    Plan,
    /// From the request on, by the name that it gives the backup or the database.
    Request(&'a str),
}

/// A backup that was made.
#[derive(Debug)]
pub(crate) struct Created {
    /// Its manifest.
    pub manifest: Manifest,
    /// What was removed afterwards because no rule of retention keeps it, if anything was.
    pub pruned: Result<Option<PruneReport>>,
}

/// Makes a backup between two lines of the audit log. A failure is recorded where backups are listed; after a success, older
/// backups that the rules of `prune_by` no longer keep are removed.
pub(crate) async fn run_recorded(
    resolve: impl FnOnce() -> Result<Request>,
    actor: &Actor,
    audit_from: AuditFrom<'_>,
    prune_by: Option<&Configured>,
    cx: &Context<'_>,
) -> Result<Created> {
    let manifest = match audit_from {
        AuditFrom::Plan => run_with_failure_record(resolve()?, Some(actor), cx).await?,
        AuditFrom::Request(name) => {
            let work = async { run_with_failure_record(resolve()?, None, cx).await };
            cx.record_backup(actor.act("backup create", name), work).await?
        }
    };
    let pruned = match prune_by {
        Some(config) => prune::run_after(&manifest, config, actor, cx).await,
        None => Ok(None),
    };
    Ok(Created { manifest, pruned })
}

async fn run_with_failure_record(
    request: Request,
    actor: Option<&Actor>,
    cx: &Context<'_>,
) -> Result<Manifest> {
    let (asked, began, since) = (request.clone(), (cx.clock)(), Instant::now());
    let outcome = async {
        let plan = Box::pin(plan(request, cx)).await?;
        // Boxed, since the future of a backup would not fit on the stack of a job.
        let act = actor.map(|actor| actor.act("backup create", plan.name.as_str()));
        let made = Box::pin(run(plan, cx));
        match act {
            Some(act) => cx.record_backup(act, made).await,
            None => made.await,
        }
    };
    let outcome = outcome.await;
    if let Err(error) = &outcome
        && let Err(error) = failures::record_failure(&asked, error, began, since.elapsed(), cx)
    {
        (cx.tell)(Event::Warning(&format!("the failure could not be recorded: {}", error.chain())));
    }
    outcome
}

/// Finds out whether the backup can be made; changes nothing.
pub(crate) async fn plan(request: Request, cx: &Context<'_>) -> Result<Plan> {
    tokio::select! {
        biased;
        kind = cx.interrupt.wait(1) => Err(Error::new(kind, "interrupted before the backup began")),
        plan = plan_uninterrupted(request, cx) => plan,
    }
}

async fn plan_uninterrupted(request: Request, cx: &Context<'_>) -> Result<Plan> {
    let (vault, now) = (cx.vault, (cx.clock)());
    let listing = vault.list("")?;
    let name = match &request.name {
        // What is being made, or was by a process that has died, is found out under its lock.
        Some(name) => {
            let is_taken =
                catalogue::is_taken(&listing, name) && !catalogue::is_in_the_making(&listing, name);
            if is_taken && request.if_taken == IfTaken::Refuse {
                return Err(name_taken(name));
            }
            name.clone()
        }
        None => catalogue::free_name(vault, BackupName::of(&request.database, now))?,
    };
    if request.jobs > 1 && !request.packing.recipients.is_empty() {
        return Err(Error::request("`--jobs` and `--encrypt-to` exclude each other").hint(
            "The parts of a parallel dump lie on a disk unencrypted for a while: leave one of the two out.",
        ));
    }
    let (server_version, system_identifier, programs) = match &request.source {
        Source::Sqlite { path } => {
            sqlite::Source::require_readable(path)?;
            (sqlite::sqlite_version(), None, None)
        }
        Source::Postgresql { server, dbname } => {
            let session = server.connect(dbname).await?;
            let row = session
                .row(
                    "select current_setting('server_version'), current_setting('server_version_num')::int4",
                    &[],
                )
                .await?;
            let major = u32::try_from(row.get::<_, i32>(1) / 10_000).unwrap_or_default();
            let programs = Programs::for_server(major, request.read.pg_bin.as_deref())?;
            (row.get(0), read_system_identifier(&session).await, Some(programs))
        }
    };
    Ok(Plan { request, server_version, system_identifier, programs, name })
}

/// Where a database is, and what makes it the same as another. A server that does not answer is known by its address alone.
pub(super) async fn read_origin(source: &Source, database: String, database_id: Option<String>) -> Origin {
    let mut server = (String::new(), None);
    if let Source::Postgresql { server: at, dbname } = source
        && let Ok(session) = at.connect(dbname).await
    {
        server.1 = read_system_identifier(&session).await;
    }
    Origin::of(source, database, database_id, server)
}

/// The identifier of a cluster, if we may know it.
async fn read_system_identifier(session: &Session) -> Option<String> {
    let rows = session.texts("select system_identifier from pg_catalog.pg_control_system()").await;
    rows.ok().and_then(|rows| rows.into_iter().flatten().flatten().next())
}

pub(super) fn name_taken(name: &BackupName) -> Error {
    Error::request(format!("backup `{name}` already exists"))
        .hint("Choose another `--name`, or leave it out: the default name contains the time.")
}

/// Makes the backup. It has its name when this returns it, and not before.
pub(crate) async fn run(plan: Plan, cx: &Context<'_>) -> Result<Manifest> {
    let vault = cx.vault;
    catalogue::recover(vault)?;
    let _turn = wait_for_turn(&plan.request, cx).await?;
    let (mut draft, name) = begin_draft(&plan, cx).await?;
    let (started, began) = ((cx.clock)(), Instant::now());
    (cx.tell)(Event::Phase(match plan.request.source {
        Source::Postgresql { .. } => "dumping",
        Source::Sqlite { .. } => "copying",
    }));
    let made = match &plan.request.source {
        Source::Sqlite { path } => copy_sqlite(path, &plan, &draft, cx).await?,
        Source::Postgresql { .. } => dump_postgresql(&plan, &draft, cx).await?,
    };
    stop_if_interrupted(cx.interrupt, "the unfinished backup was removed")?;
    let mut manifest = describe_backup(&plan, name, started, made, cx);
    let level = plan.request.level;
    let proof = verify_draft(&mut manifest, &mut draft, level, &plan.request.read, cx).await?;
    if proof.result != verify::Verdict::Pass {
        return Err(Error::new(
            Kind::No,
            format!("the new backup of `{}` failed verification and was discarded", plan.request.database),
        )
        .caused_by(proof.reasons.join("; "))
        .hint("If the source itself is damaged, restore an older backup."));
    }
    manifest.verification = Some(proof);
    let beside = globals_beside(&plan, &mut manifest)?;
    manifest.duration = began.elapsed().as_secs_f64();
    plan.request.read.seal_keys.seal(&mut manifest)?;
    stop_if_interrupted(cx.interrupt, "the unfinished backup was removed")?;
    draft.publish(&beside, &catalogue::serialize_manifest(&manifest)?)?;
    Ok(manifest)
}

/// Two backups of one database at once would only be in each other's way: the second waits.
async fn wait_for_turn(request: &Request, cx: &Context<'_>) -> Result<Lock> {
    let key = hex::encode(sha2::Sha256::digest(request.database.as_bytes()));
    let name = format!(".locks/{}", &key[..16]);
    let give_up = Instant::now() + request.wait;
    let mut told = false;
    loop {
        if let Some(lock) = cx.vault.try_lock(&name)? {
            return Ok(lock);
        }
        if Instant::now() >= give_up {
            return Err(Error::new(
                Kind::StillGoing,
                format!("another backup of `{}` is still running", request.database),
            )
            .hint("Wait longer with `--wait`, or find out what the other backup is waiting for."));
        }
        if !told {
            (cx.tell)(Event::Note("waiting for another backup of this database"));
            told = true;
        }
        stop_if_interrupted(cx.interrupt, "nothing was started")?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The place of the backup to be. Whoever makes another of that name is waited for; one that died is cleared away.
async fn begin_draft(plan: &Plan, cx: &Context<'_>) -> Result<(Draft, BackupName)> {
    let (vault, request) = (cx.vault, &plan.request);
    let give_up = Instant::now() + request.wait;
    loop {
        let name = match &request.name {
            Some(name) => name.clone(),
            None => catalogue::free_name(vault, BackupName::of(&request.database, (cx.clock)()))?,
        };
        if request.if_taken == IfTaken::MoveAside && catalogue::is_taken(&vault.list("")?, &name) {
            move_aside(plan, &name, cx)?;
        }
        let draft = vault.draft(name.as_str(), &plan.file_name_of(&name))?;
        // It may have been published between the look and the draft.
        let is_taken = catalogue::is_taken(&vault.list("")?, &name);
        match draft {
            Some(draft) if !is_taken => return Ok((draft, name)),
            // A name that was made is made anew; a second later it is another one.
            _ if request.name.is_none() => tokio::time::sleep(Duration::from_millis(200)).await,
            Some(_) => return Err(name_taken(&name)),
            None if Instant::now() >= give_up => {
                return Err(Error::new(
                    Kind::StillGoing,
                    format!("another backup `{name}` is still running"),
                )
                .hint("Choose another `--name`, or wait longer with `--wait`."));
            }
            None => {
                stop_if_interrupted(cx.interrupt, "nothing was started")?;
                tokio::time::sleep(Duration::from_millis(500)).await;
                catalogue::recover(vault)?;
            }
        }
    }
}

/// Makes room for a new backup: the one of the same database that has its name gets another.
fn move_aside(plan: &Plan, name: &BackupName, cx: &Context<'_>) -> Result<()> {
    let Ok(earlier) = catalogue::find(cx.vault, name.as_str()) else { return Ok(()) };
    let ours = Identity::from_origin(plan.database_type(), &plan.origin(), &cx.host);
    let theirs = Identity::of(&earlier.manifest);
    if !ours.is_same_as(&theirs) {
        return Err(name_taken(name).caused_by(format!("it is a backup of {theirs}, not of {ours}")));
    }
    let moved = catalogue::rename_backup(cx.vault, &earlier.manifest, &plan.request.read.seal_keys)?;
    (cx.tell)(Event::Note(&format!(
        "the earlier backup `{name}` of {} was renamed to `{moved}`",
        format_time(earlier.manifest.timestamp)
    )));
    Ok(())
}

/// What a dump or a copy gave.
#[derive(Default)]
struct DumpedContent {
    totals: Totals,
    contents: Option<sqlite::Contents>,
    observation: Option<Recorded>,
    moved_sequences: Option<Vec<String>>,
    moved_definitions: Vec<String>,
    wordings: Option<Definitions>,
    roles: Vec<String>,
}

async fn copy_sqlite(
    path: &std::path::Path,
    plan: &Plan,
    draft: &Draft,
    cx: &Context<'_>,
) -> Result<DumpedContent> {
    let bytes = Arc::new(AtomicU64::new(0));
    let (path, packing, target) = (path.to_owned(), plan.request.packing.clone(), draft.writer()?);
    let (counted, interrupt) = (Arc::clone(&bytes), cx.interrupt.clone());
    let (vault, stem) = (cx.vault.clone(), plan.name.to_string());
    let work = move || {
        let secrecy = if packing.recipients.is_empty() { Secrecy::Open } else { Secrecy::Sealed };
        let spare = || vault.scratch(&stem, secrecy);
        let source = sqlite::Source::open(&path, &spare)?;
        let mut inflow = Inflow::open(target, packing).map_err(cannot_write)?;
        let stop = || stop_if_interrupted(&interrupt, "the unfinished copy was removed");
        source.copy_to(&mut inflow, &|done| counted.store(done, Ordering::Relaxed), &stop, &spare)?;
        let contents = source.contents.clone();
        // Lets the writers of the source go on.
        drop(source);
        Ok(DumpedContent {
            totals: inflow.finish().map_err(cannot_write)?,
            contents: Some(contents),
            ..DumpedContent::default()
        })
    };
    follow_progress(&bytes, cx.tell, work).await
}

async fn dump_postgresql(plan: &Plan, draft: &Draft, cx: &Context<'_>) -> Result<DumpedContent> {
    let (Source::Postgresql { server, dbname }, Some(programs)) = (&plan.request.source, &plan.programs)
    else {
        return Err(Error::new(Kind::Bug, "there is no server to dump"));
    };
    let observing = match plan.request.observe {
        Some(depth) => Some(Observing::begin(server, dbname, depth).await?),
        None => None,
    };
    let snapshot = observing.as_ref().map(|observing| observing.snapshot.as_str());
    let order = dump::Order { programs, server, dbname, format: plan.format(), snapshot };
    let running = Dumping::start(&order, plan, cx)?;
    let bytes = Arc::new(AtomicU64::new(0));
    let (packing, target) = (plan.request.packing.clone(), draft.writer()?);
    let (counted, interrupt) = (Arc::clone(&bytes), cx.interrupt.clone());
    let pumping =
        follow_progress(&bytes, cx.tell, move || running.pump(target, packing, &interrupt, &counted));
    let Some(mut observing) = observing else {
        return Ok(DumpedContent { totals: pumping.await?.totals, ..DumpedContent::default() });
    };
    let (dumped, ()) = futures::future::try_join(pumping, observing.look()).await?;
    let faults = dumped.held.map(|held| missing_rows(&observing.recording.seen, &held)).unwrap_or_default();
    if let Some(fault) = faults.first() {
        return Err(Error::new(
            Kind::No,
            format!("the dump of `{dbname}` does not match the database"),
        )
        .caused_by(fault.clone())
        .hint(
            "The dump was discarded. Row-level security may hide rows: dump as the owner, or with BYPASSRLS.",
        ));
    }
    for warning in left_out_of_dumps(&observing.recording.seen) {
        (cx.tell)(Event::Warning(&warning));
    }
    let roles = observing.roles().await?;
    Ok(DumpedContent {
        totals: dumped.totals,
        contents: None,
        moved_sequences: observing.moved_sequences(server, dbname).await?,
        moved_definitions: observing.moved_definitions(server, dbname).await?,
        wordings: observing.wordings.take(),
        observation: Some(observing.into_baseline(server, dbname, (cx.clock)())),
        roles,
    })
}

/// A dump that runs, in one stream or in parts.
enum Dumping {
    Stream(dump::Running),
    Parts(parallel::Running),
}

impl Dumping {
    fn start(order: &dump::Order<'_>, plan: &Plan, cx: &Context<'_>) -> Result<Self> {
        if order.format != Format::Directory {
            return dump::Running::start(order).map(Dumping::Stream);
        }
        let scratch = cx.vault.scratch(plan.name.as_str(), Secrecy::Open)?;
        parallel::Running::start(order, plan.request.jobs, scratch).map(Dumping::Parts)
    }

    fn pump(
        self,
        target: Target,
        packing: Packing,
        interrupt: &Interrupt,
        bytes: &AtomicU64,
    ) -> Result<dump::Dumped> {
        match self {
            Dumping::Stream(running) => running.pump(target, packing, interrupt, bytes),
            Dumping::Parts(running) => running.pump(target, packing, interrupt, bytes),
        }
    }
}

/// A source that is being looked at, at the very moment that is dumped.
struct Observing {
    recording: Recording,
    /// Holds the moment until pg_dump has taken it over.
    holder: Session,
    snapshot: String,
    look: Look,
    wordings: Option<Definitions>,
}

impl Observing {
    async fn begin(server: &Server, dbname: &str, depth: Depth) -> Result<Self> {
        let rule = match depth {
            Depth::Counts => "counts",
            Depth::Content => "content",
            Depth::Schema => "schema",
        };
        let look = Look { depths: Depths::new([rule.parse()?]), copies: Copies::Dumped, ..Look::default() };
        let recording = Recording::begin(server, &[dbname.to_owned()], &look).await?;
        let exported = recording.snapshot_of(dbname).ok_or_else(|| {
            let error = Error::outside(format!("cannot read database `{dbname}`"));
            let error = match recording.why_unreadable(dbname) {
                Some(why) => error.caused_by(why.to_owned()),
                None => error,
            };
            error.hint("Grant the user CONNECT and `pg_read_all_data`, or pass `--observe none`.")
        })?;
        let holder = server.connect(dbname).await?;
        holder.execute(AS_IT_IS).await?;
        let import =
            format!("begin isolation level repeatable read read only; set transaction snapshot '{exported}'");
        holder.execute(&import).await?;
        let snapshot = holder.row("select pg_export_snapshot()", &[]).await?.get(0);
        let wordings = read_wordings_of_moment(&holder).await?;
        Ok(Observing { recording, holder, snapshot, look, wordings })
    }

    /// Sequences that do not stand where they stood before the dump. No transaction holds them still, so nobody knows where
    /// a copy of them stands.
    async fn moved_sequences(&self, server: &Server, dbname: &str) -> Result<Option<Vec<String>>> {
        let Some(before) = self.recording.movement.sequences_before.get(dbname) else { return Ok(None) };
        let databases = Databases::connect(server, &[dbname.to_owned()], &self.look).await?;
        let after = databases.read_sequences().await?.remove(dbname).unwrap_or_default();
        let moved = before.iter().filter(|(name, state)| after.get(*name) != Some(state));
        Ok(Some(moved.map(|(name, _)| name.clone()).collect()))
    }

    /// Definitions that are not what they were before the dump. pg_dump asks for them one by one, after the moment that it
    /// dumps, so nobody knows which of the two it was given.
    async fn moved_definitions(&self, server: &Server, dbname: &str) -> Result<Vec<String>> {
        let Some(before) = self.recording.seen.definitions.get(dbname) else { return Ok(Vec::new()) };
        let databases = Databases::connect(server, &[dbname.to_owned()], &self.look).await?;
        let after = databases.read_definitions().await?.remove(dbname).unwrap_or_default();
        Ok(schema::list_changes(before, &after))
    }

    async fn look(&mut self) -> Result<()> {
        self.recording.observe(&|_| ()).await
    }

    /// Names of the roles of the server, without which the owners and rights in a dump mean nothing.
    async fn roles(&self) -> Result<Vec<String>> {
        let rows = self
            .holder
            .rows("select rolname::text from pg_roles where rolname !~ '^pg_' order by 1", &[])
            .await?;
        Ok(rows.iter().map(|row| row.get::<_, RawText>(0).into_string()).collect())
    }

    fn into_baseline(self, server: &Server, dbname: &str, now: DateTime<Utc>) -> Recorded {
        let of = verify::Origin {
            instance: None,
            resource_id: None,
            host: server.host.clone(),
            port: server.port,
            database: Some(dbname.to_owned()),
        };
        let mut recorded = self.recording.into_baseline(of, now);
        // A dump is no physical copy: neither the history of transactions nor the cluster goes on in what is restored.
        recorded.seen.system_identifier = None;
        recorded.seen.boundaries.clear();
        recorded.movement = judge::Movement::default();
        recorded
    }
}

/// What definitions read like, in the transaction that holds the moment. Where something was dropped since, PostgreSQL may
/// not find it: then there are no wordings, and what differs in words alone is told.
async fn read_wordings_of_moment(holder: &Session) -> Result<Option<Definitions>> {
    holder.execute("savepoint wordings; set local search_path = pg_catalog; set local jit = off").await?;
    let read = read_wordings(holder).await;
    holder.execute("rollback to savepoint wordings").await?;
    Ok(read.ok())
}

/// Tables of the source whose rows are not all in the dump.
fn missing_rows(seen: &verify::Observation, held: &Held) -> Vec<String> {
    let tables =
        seen.databases.values().flatten().filter(|table| !table.is_view && table.depth != Depth::Schema);
    let mut in_other_encodings: BTreeMap<TableName, Vec<u64>> = BTreeMap::new();
    for ((schema, name), rows) in &held.rows {
        let blurred = (blur_encoding(schema), blur_encoding(name));
        in_other_encodings.entry(blurred).or_default().push(*rows);
    }
    tables
        .filter_map(|table| {
            let rows = match &table.carried {
                Some(Carried::Nothing { .. } | Carried::LargeObjects { .. }) => return None,
                Some(Carried::Condition { seen, .. }) => seen.as_ref()?.rows,
                Some(Carried::Columns { .. }) | None => table.counted_rows()?,
            };
            let mut dumped = held.rows.get(&(table.schema.clone(), table.name.clone())).copied();
            if dumped.is_none()
                && let Some(counts) =
                    in_other_encodings.get_mut(&(blur_encoding(&table.schema), blur_encoding(&table.name)))
                && let Some(at) = counts.iter().position(|count| *count == rows)
            {
                dumped = Some(counts.remove(at));
            }
            (dumped.unwrap_or_default() != rows).then(|| {
                let dumped = dumped.map_or("none".to_owned(), |rows| rows.to_string());
                format!("table {} has {rows} rows, but the dump holds {dumped}", table.quoted_name())
            })
        })
        .collect()
}

/// A name by which a table is found in a dump of any encoding: letters that are not ASCII become one `?`. In no encoding
/// of a server does ASCII stand for anything else.
fn blur_encoding(name: &str) -> String {
    let mut blurred = String::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let is_escape = rest.len() >= 4 && rest.starts_with("\\x") && rest.is_char_boundary(4);
        let length = match is_escape && u8::from_str_radix(&rest[2..4], 16).is_ok_and(|byte| byte >= 0x80) {
            true => 4,
            false => first.len_utf8(),
        };
        if length == 1 {
            blurred.push(first);
        } else if !blurred.ends_with('?') {
            blurred.push('?');
        }
        rest = &rest[length..];
    }
    blurred
}

/// What of the source no dump carries, for whoever counts on the backup.
fn left_out_of_dumps(seen: &verify::Observation) -> Vec<String> {
    let tables = seen.databases.values().flatten();
    let rows = tables.filter_map(|table| match (&table.carried, table.counted_rows()) {
        (Some(Carried::Nothing { extension }), Some(rows @ 1..)) => Some(format!(
            "table {} belongs to extension `{extension}`, which lets pg_dump carry none of its {rows} rows: those that the \
             extension does not make itself are not in the backup",
            table.quoted_name()
        )),
        _ => None,
    });
    let definitions = seen.definitions.values().flat_map(judge::notes_on_dumps);
    rows.chain(definitions).collect()
}

fn describe_backup(
    plan: &Plan,
    name: BackupName,
    started: DateTime<Utc>,
    made: DumpedContent,
    cx: &Context<'_>,
) -> Manifest {
    let packing = &plan.request.packing;
    let (database_type, source) = (plan.database_type(), plan.origin());
    let file = file_name(&name, plan.format(), packing.compression, !packing.recipients.is_empty());
    Manifest {
        schema: SCHEMA.to_owned(),
        success: true,
        backup_name: name,
        file_path: cx.vault.shown(&file),
        file_size: made.totals.file_bytes,
        compressed: packing.compression != Compression::None,
        compression: packing.compression,
        encrypted: !packing.recipients.is_empty(),
        database_type,
        format: plan.format(),
        timestamp: started,
        duration: 0.0,
        sha256: made.totals.file_sha256,
        plain_size: made.totals.plain_bytes,
        plain_sha256: made.totals.plain_sha256,
        source,
        made_by: Maker {
            lifeboat: format!("lifeboat {}", env!("CARGO_PKG_VERSION")),
            tool: plan.tool(),
            host: cx.host.clone(),
            trigger: plan.request.trigger.clone(),
        },
        verification: None,
        last_check: None,
        keep_forever: plan.request.keep_forever,
        keep_days: plan.request.keep_days.filter(|_| plan.request.class.is_none()),
        class: plan.request.class.clone(),
        globals: None,
        contents: made.contents,
        roles: made.roles,
        observation: made.observation,
        moved_sequences: made.moved_sequences,
        moved_definitions: made.moved_definitions,
        wordings: made.wordings,
        wordings_recipe: RECIPE_OF_WORDINGS,
        seal: None,
    }
}

/// The roles and tablespaces of the server, as a file to lie beside the backup.
fn globals_beside(plan: &Plan, manifest: &mut Manifest) -> Result<Vec<(String, Vec<u8>)>> {
    let (Source::Postgresql { server, dbname }, Some(programs)) = (&plan.request.source, &plan.programs)
    else {
        return Ok(Vec::new());
    };
    if plan.request.globals == Roles::Without {
        return Ok(Vec::new());
    }
    let with_passwords = plan.request.globals == Roles::WithPasswords;
    let text = dump::dump_globals(programs, server, dbname, with_passwords)?;
    let recipients = &plan.request.packing.recipients;
    let content = if recipients.is_empty() {
        text
    } else {
        recipients
            .seal(&text)
            .map_err(|error| Error::outside("cannot encrypt the globals").caused_by(error))?
    };
    manifest.globals = Some(Globals {
        file_size: content.len() as u64,
        sha256: hex::encode(sha2::Sha256::digest(&content)),
        with_passwords,
    });
    Ok(vec![(globals_name(&manifest.backup_name, manifest.encrypted), content)])
}
