//! Restoring PostgreSQL databases: into a scratch database, checked, then swapped in.
//!
//! A scratch database carries its purpose in its name and is held by an advisory lock: one whose lock is free belongs to a
//! process that died, and is removed by the next restore.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::load::{KEEP_GOING_HINT, Loader, Rights};
use super::recount::recount;
use super::remains::{SCRATCH, drop_scratch, sweep, with_remains};
use super::swap::{drop_expired, swap_in};
use super::tolerance::{Difference, Omissions};
use super::wish::Wish;
use super::{Destination, Manner, Part, Plan, Proven, Report, prove, report};
use crate::backup::check::{self, Deviation, Finding};
use crate::backup::dump_reader::Trust;
use crate::backup::judge;
use crate::backup::schedule::shell_word;
use crate::backup::script::TableName;
use crate::backup::{
    Event, Format, Manifest, Means, Recipients, Source, Surroundings, follow, interrupted, usual_threads,
};
use crate::error::{Error, Kind, Result};
use crate::postgres::{Connecting, Programs, Server, Session, quoted, user_databases};
use crate::vault::Content;

/// Whether the database is there; and whether we could restore at all.
pub(super) async fn preflight(server: &Server, dbname: &str, manifest: &Manifest) -> Result<bool> {
    if dbname.starts_with(SCRATCH) {
        return Err(Error::request(format!("`{dbname}` is a name of lifeboat's own scratch databases")));
    }
    if dbname.is_empty() || dbname.len() > 63 || dbname.contains('\0') {
        return Err(Error::request(format!("`{}` cannot be the name of a database", dbname.escape_debug()))
            .hint("PostgreSQL's names have 1 to 63 bytes."));
    }
    let session = apart_from(server, &[dbname]).await?;
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
            .hint("It cannot be renamed before they have ended: `commit prepared` or `rollback prepared` each of them."));
    }
    if !can_create {
        return Err(may_not_create(&server.user));
    }
    if owns == Some(false) {
        return Err(Error::outside(format!("user `{}` does not own database `{dbname}`", server.user))
            .hint("Only its owner can rename a database: restore as the owner, or `--into` another name."));
    }
    if manifest.tool_major() > u32::try_from(major).unwrap_or_default() {
        return Err(Error::request(format!(
            "the backup was made by {}, and the server is PostgreSQL {major}: it may not understand it",
            manifest.made_by.tool
        ))
        .hint("Restore it on a server of that version or later."));
    }
    Ok(owns.is_some())
}

fn may_not_create(user: &str) -> Error {
    Error::outside(format!("user `{user}` may not create databases"))
        .hint(format!("A restore goes into a new database first: `alter role {} createdb`.", quoted(user)))
}

/// Refuses a server on which nothing can be made, before anything is tried that could leave something behind.
async fn require_writable(server: &Server, session: &Session) -> Result<()> {
    let row = session
        .row("select pg_catalog.pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'", &[])
        .await?;
    let at = server.place();
    if row.get(0) {
        return Err(Error::outside(format!("`{at}` is a standby: nothing can be restored there"))
            .hint("Name its primary with `--url`."));
    }
    if row.get(1) {
        return Err(Error::outside(format!("sessions on `{at}` may only read: nothing can be restored there"))
            .hint("`default_transaction_read_only` says so, of the server or of the user: name another user or server."));
    }
    Ok(())
}

/// The database of a server where one is to do other things than work with its content.
const MAINTENANCE: &str = "postgres";

/// A session from which these databases can be renamed: it is on none of them.
pub(super) async fn apart_from(server: &Server, databases: &[&str]) -> Result<Session> {
    let named = server.wire.named_database();
    let mut refused = None;
    for database in [MAINTENANCE, "template1"].into_iter().chain(named) {
        if databases.contains(&database) {
            continue;
        }
        match server.connect(database).await {
            Ok(session) => return Ok(session),
            Err(failure) => refused = Some(refused.unwrap_or(Error::from(failure))),
        }
    }
    let Some(refused) = refused else { return Ok(server.connect("template1").await?) };
    // Whoever is let into neither may be let into another one.
    let Some(inside) = named.filter(|named| databases.contains(named)) else { return Err(refused) };
    let Ok(inside) = server.connect(inside).await else { return Err(refused) };
    for (other, may_connect) in user_databases(&inside).await? {
        if may_connect && !databases.contains(&other.as_str()) && !other.starts_with(SCRATCH) {
            match server.connect(&other).await {
                Ok(session) => return Ok(session),
                Err(_) => continue,
            }
        }
    }
    Err(refused.hint(format!(
        "A database is replaced from a session on another one: `grant connect on database {MAINTENANCE} to {}`.",
        quoted(&server.user)
    )))
}

/// A session from which databases are made and dropped.
pub(super) async fn maintenance(server: &Server) -> Result<Session> {
    apart_from(server, &[]).await
}

pub(super) async fn restore(
    plan: &Plan,
    server: &Server,
    dbname: &str,
    surroundings: &Surroundings<'_>,
) -> Result<Report> {
    let session = apart_from(server, &[dbname]).await?;
    sweep(server, &session, surroundings).await;
    drop_expired(&session, server, surroundings).await?;
    let proven = prove(plan, surroundings).await?;
    interrupted(surroundings.interrupt, "nothing was touched")?;
    (surroundings.tell)(Event::Phase("restoring"));
    let scratch = format!("{SCRATCH}{:08x}", rand::random::<u32>());
    let restored = into_scratch(plan, server, &session, &scratch, proven, surroundings).await;
    let finished = match restored {
        Ok(mut report) => match swap_in(plan, server, dbname, &scratch, surroundings).await {
            Ok(kept) => {
                if let Some(kept) = kept {
                    let (url, name) = (shell_word(&server.url(dbname)), shell_word(dbname));
                    report.undo = Some(format!("lifeboat backup undo --url {url} --confirm {name}"));
                    (report.kept_old, report.kept_until) = (Some(kept.kept), Some(kept.until));
                }
                Ok(report)
            }
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    match finished {
        Ok(report) => Ok(report),
        Err(error) => {
            let cleared = match apart_from(server, &[dbname]).await {
                Ok(session) => drop_scratch(server, &session, &scratch).await,
                Err(lost) => Err(lost),
            };
            Err(with_remains(error, cleared))
        }
    }
}

/// Restores a backup into a scratch database of a server, looks whether that holds what was recorded, and removes it.
/// `file` has been read to its end before.
pub(in crate::backup) async fn rehearse(
    manifest: &Manifest,
    file: Content,
    finding: Finding,
    (server, ground): (&Server, Ground),
    means: &Means,
    surroundings: &Surroundings<'_>,
) -> Result<Finding> {
    let manner = Manner {
        jobs: usual_threads(),
        keep_old: Duration::ZERO,
        offline: false,
        recipients: Recipients::default(),
        means: means.clone(),
    };
    let destination =
        Destination::New(Source::Postgresql { server: Box::new(server.clone()), dbname: String::new() });
    let plan = Plan { manifest: manifest.clone(), destination, manner, replaces: false };
    let session = maintenance(server).await?;
    require_writable(server, &session).await?;
    sweep(server, &session, surroundings).await;
    let scratch = format!("{SCRATCH}{:08x}", rand::random::<u32>());
    let dumped = finding.dumped_rows.clone();
    let loaded =
        load(&plan, (server, ground), &session, &scratch, Proven { file, finding }, surroundings).await;
    let judged = match loaded {
        Ok(omissions) => {
            (surroundings.tell)(Event::Phase("checking the restored copy"));
            let judged = judge_copy(&plan, server, &scratch, &dumped, &omissions).await;
            judged.map(|finding| with_omissions(finding, &omissions, &plan))
        }
        Err(error) => Err(error),
    };
    match (judged, drop_scratch(server, &session, &scratch).await) {
        (Err(error), cleared) => Err(with_remains(error, cleared)),
        (Ok(judged), Ok(())) => Ok(judged),
        // What was found out about the backup holds, whatever lies about on the server.
        (Ok(judged), Err(left)) => {
            (surroundings.tell)(Event::Warning(&left.chain()));
            for hint in left.hints() {
                (surroundings.tell)(Event::Warning(hint));
            }
            Ok(judged)
        }
    }
}

/// Which parts of the source the copy has.
fn parts(plan: &Plan, omissions: &Omissions) -> (Part, Part) {
    (Part::left_out_if(plan.manner.means.tolerance.no_owner), Part::left_out_if(omissions.settings))
}

/// Holds a restored copy against what was recorded of its source. Where nothing was, because something else had made the
/// dump, it is held against the dump; then whatever the server refused is missing, and nothing else would say so.
async fn judge_copy(
    plan: &Plan,
    server: &Server,
    scratch: &str,
    dumped: &BTreeMap<TableName, u64>,
    omissions: &Omissions,
) -> Result<Finding> {
    let manifest = &plan.manifest;
    let mut finding = match manifest.is_adopted() && manifest.observation.is_none() {
        true => recount(server, scratch, dumped).await?,
        false => judge::judge_restored(manifest, server, scratch, parts(plan, omissions)).await?,
    };
    if manifest.observation.is_none() {
        finding.deviations.extend(omissions.complaints.iter().map(|refused| Deviation {
            name: refused.what.clone(),
            text: format!("{}: {}", refused.what, refused.why),
        }));
    }
    Ok(finding)
}

/// A proof is told what the restore went on past, and counts no difference that was accepted.
fn with_omissions(mut finding: Finding, omissions: &Omissions, plan: &Plan) -> Finding {
    let accepted = &plan.manner.means.tolerance.accepted;
    let told = omissions.left_out.iter().chain(&omissions.complaints);
    finding.notes.extend(told.map(|left_out| format!("left out: {}: {}", left_out.what, left_out.why)));
    let (taken, left): (Vec<_>, Vec<_>) =
        finding.deviations.into_iter().partition(|deviation| accepted.contains(&deviation.name));
    finding.notes.extend(taken.into_iter().map(|deviation| format!("accepted: {}", deviation.text)));
    finding.deviations = left;
    finding
}

const MAKE_ALL_SUPERUSERS: &str = "do $$ declare name text; begin
    for name in select rolname from pg_catalog.pg_roles where rolname !~ '^pg_' and not rolsuper loop
        execute format('alter role %I superuser', name);
    end loop; end $$";

/// Makes the roles that a source has, on a server of our own.
async fn make_roles(session: &Session, roles: &[String]) -> Result<()> {
    for role in roles {
        let there: bool =
            session.row("select exists (select from pg_roles where rolname = $1)", &[role]).await?.get(0);
        if !there {
            session.run(&format!("create role {}", quoted(role))).await?;
        }
    }
    Ok(())
}

async fn load(
    plan: &Plan,
    (server, ground): (&Server, Ground),
    session: &Session,
    scratch: &str,
    proven: Proven,
    surroundings: &Surroundings<'_>,
) -> Result<Omissions> {
    let version = session.row("select current_setting('server_version_num')::int4 / 10000", &[]).await?;
    let major = u32::try_from(version.get::<_, i32>(0)).unwrap_or_default().max(plan.manifest.tool_major());
    let programs = Programs::for_server(major, plan.manner.means.pg_bin.as_deref())?;
    let load = Load { ground, plan, server, scratch, programs: &programs, surroundings };
    let key = i64::from(u32::from_str_radix(scratch.trim_start_matches(SCRATCH), 16).unwrap_or_default());
    session.rows("select pg_advisory_lock($1)", &[&key]).await?;
    let omissions = match plan.manifest.format {
        Format::Custom | Format::Directory => load.archive(session, proven).await?,
        Format::Sql | Format::Sqlite => load.script(session, proven).await?,
    };
    interrupted(surroundings.interrupt, "the database is as it was")?;
    Ok(omissions)
}

/// Restores into a scratch database and checks what it holds.
async fn into_scratch(
    plan: &Plan,
    server: &Server,
    session: &Session,
    scratch: &str,
    proven: Proven,
    surroundings: &Surroundings<'_>,
) -> Result<Report> {
    let dumped = proven.finding.dumped_rows.clone();
    let omissions = load(plan, (server, Ground::Named), session, scratch, proven, surroundings).await?;
    (surroundings.tell)(Event::Phase("checking the restored copy"));
    let finding = judge_copy(plan, server, scratch, &dumped, &omissions).await?;
    for note in &finding.notes {
        (surroundings.tell)(Event::Note(note));
    }
    let tolerance = &plan.manner.means.tolerance;
    let differences: Vec<Difference> = finding
        .deviations
        .iter()
        .map(|deviation| Difference {
            name: deviation.name.clone(),
            text: deviation.text.clone(),
            accepted: tolerance.accepted.contains(&deviation.name),
        })
        .collect();
    let refused: Vec<&Difference> = differences.iter().filter(|difference| !difference.accepted).collect();
    const TOLD: usize = 5;
    let mut told = refused.iter().take(TOLD).map(|difference| difference.text.clone()).collect::<Vec<_>>();
    if let more @ 1.. = refused.len().saturating_sub(TOLD) {
        told.push(format!("and {more} more"));
    }
    let first = finding.faults.first().cloned().or((!told.is_empty()).then(|| told.join("; ")));
    if let (Some(first), false) = (first, tolerance.keep_going && finding.faults.is_empty()) {
        let mut error = Error::new(Kind::No, "the restored copy does not hold what was recorded")
            .caused_by(first)
            .hint("The database is as it was. `lifeboat backup list` shows other backups of this database.");
        if !refused.is_empty() {
            let names: Vec<String> =
                refused.iter().take(20).map(|it| format!("--accept {}", shell_word(&it.name))).collect();
            let more = refused.len().saturating_sub(names.len());
            let more = if more > 0 { format!(", and {more} more differences") } else { String::new() };
            error = error.hint(format!(
                "If you can do without what is different, accept it by its name: `{}`{more}. `--keep-going` accepts whatever is \
                 different, and lists it.",
                names.join(" ")
            ));
        }
        return Err(error);
    }
    for doubt in &finding.doubts {
        (surroundings.tell)(Event::Warning(doubt));
    }
    let mut report = report(plan, plan.destination.source());
    (report.tables_checked, report.rows_checked) = finding.checked;
    (report.left_out, report.complaints) = (omissions.left_out, omissions.complaints);
    report.differences = differences;
    Ok(report)
}

/// Whose server a backup is loaded into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::backup) enum Ground {
    /// One that was named.
    Named,
    /// One that was started for the purpose.
    Ours,
}

/// The loading of a scratch database.
struct Load<'a> {
    ground: Ground,
    plan: &'a Plan,
    server: &'a Server,
    scratch: &'a str,
    programs: &'a Programs,
    surroundings: &'a Surroundings<'a>,
}

impl Load<'_> {
    /// Creates the scratch database. `rest`: how the database of the source is created, after its name.
    async fn create(&self, session: &Session, rest: Option<&str>) -> Result<Omissions> {
        let omissions = self.create_empty(session, rest).await?;
        if self.ground == Ground::Ours {
            // From here, since the names of roles are stored in the encoding of the database that they are created from.
            make_roles(&self.server.connect(self.scratch).await?, &self.plan.manifest.roles).await?;
            if self.terms(session).await?.0 == Rights::Own {
                // Some things only a superuser can own, and what roles of the source may do is not in a dump.
                session.run(MAKE_ALL_SUPERUSERS).await?;
            }
        }
        Ok(omissions)
    }

    async fn create_empty(&self, session: &Session, rest: Option<&str>) -> Result<Omissions> {
        let mut omissions = Omissions::default();
        let mut wish = Wish::of(rest.unwrap_or(" TEMPLATE template0"));
        if let Some(tablespace) = &wish.tablespace {
            let sql = "select exists (select from pg_catalog.pg_tablespace where spcname = $1)";
            if !session.row(sql, &[tablespace]).await?.get::<_, bool>(0) {
                omissions.leave_out(
                    format!("tablespace {}", quoted(tablespace)),
                    "the server has none of that name: the database is in the usual one",
                );
                wish.tablespace = None;
            }
        }
        if let Some(locale) = &self.plan.manner.means.tolerance.locale {
            wish.locale = Some(locale.clone());
        }
        let failure = match session.run(&wish.statement(self.scratch)).await {
            Ok(()) => return Ok(omissions),
            Err(failure) => failure,
        };
        if self.ground == Ground::Ours && failure.message.contains("locale") {
            wish.locale = Some("C".to_owned());
            session.run(&wish.statement(self.scratch)).await?;
            omissions.leave_out("the locale of the database", failure.message);
            return Ok(omissions);
        }
        if failure.sqlstate.as_deref() == Some("42501") {
            return Err(may_not_create(&self.server.user).caused_by(failure));
        }
        let is_of_locale = failure.message.contains("locale") || failure.message.contains("collation");
        let error = Error::outside("the database to restore into cannot be created").caused_by(failure);
        Err(match is_of_locale {
            true => error.hint(
                "The server lacks the locale of the source: install it there, or choose another with `--locale`, such as \
                 `--locale C.UTF-8`. Texts are then sorted by that one.",
            ),
            false => error.hint("The backup wants the encoding and the locale of its source: the server must have them."),
        })
    }

    /// A plain dump, over a connection of our own.
    async fn script(&self, session: &Session, proven: Proven) -> Result<Omissions> {
        let begun = self.create(session, proven.finding.create_database.as_deref()).await?;
        let mut loader = self.loader(session).await?;
        let (manifest, means) = (self.plan.manifest.clone(), self.plan.manner.means.clone());
        let (interrupt, bytes) = (self.surroundings.interrupt.clone(), Arc::new(AtomicU64::new(0)));
        let (counted, file) = (Arc::clone(&bytes), proven.file);
        follow(&bytes, self.surroundings.tell, move || {
            let taken = check::content(&manifest, file, &means, &interrupt, &counted, &mut |block| {
                loader.feed(block)
            });
            if let Some(failure) = loader.failure() {
                return Err(failure);
            }
            check::unchanged(&manifest, taken?)?;
            tokio::runtime::Handle::current().block_on(loader.finish())
        })
        .await
        .map(|loaded| begun.and(loaded))
    }

    async fn loader(&self, session: &Session) -> Result<Loader> {
        let terms = self.terms(session).await?;
        Loader::open(self.server, self.scratch, terms, &self.plan.manner.means.tolerance).await
    }

    /// As whom a script is run, and whether somebody vouches for it.
    async fn terms(&self, session: &Session) -> Result<(Rights, Trust)> {
        let trust = self.plan.manner.means.trust_in(&self.plan.manifest)?;
        let sql = "select rolsuper from pg_catalog.pg_roles where rolname = current_user";
        let is_superuser: bool = session.row(sql, &[]).await?.get(0);
        let rights = match (is_superuser && trust == Trust::Nobody, self.ground) {
            (false, _) => Rights::Own,
            (true, Ground::Named) => Rights::Confined,
            (true, Ground::Ours) => Rights::ConfinedOnOwnServer,
        };
        Ok((rights, trust))
    }

    /// An archive goes through pg_restore, by several jobs, and so from a file that can be read anywhere. What may not be
    /// run with the rights of the user is written out as a script instead, which is loaded like any other.
    async fn archive(&self, session: &Session, proven: Proven) -> Result<Omissions> {
        let (manifest, means) = (&self.plan.manifest, &self.plan.manner.means);
        let scratch = check::scratch_for(manifest, self.surroundings.vault)?;
        let archive = check::lay_out(manifest, &proven.file, &scratch, means, self.surroundings).await?;
        let begun = self.create(session, proven.finding.create_database.as_deref()).await?;
        let tolerance = &means.tolerance;
        // pg_restore itself would end at the first thing that the server refuses, or say nothing of what it left out.
        let goes_on = tolerance.keep_going || tolerance.no_owner || !begun.left_out.is_empty();
        if goes_on || self.terms(session).await?.0 != Rights::Own {
            return self.written_out(session, &archive, &[]).await.map(|loaded| begun.and(loaded));
        }
        let mut connecting = self.programs.connecting("pg_restore", self.server, self.scratch)?;
        connecting.command.args(["--exit-on-error", "--no-password"]);
        // Of an archive in tar format, which others make, several jobs cannot read.
        if is_read_by_several(&archive) {
            connecting.command.arg(format!("--jobs={}", self.plan.manner.jobs.max(1)));
        }
        connecting.command.arg(format!("--dbname={}", self.scratch));
        connecting.command.arg(&archive);
        let child = spawn(&mut connecting)?;
        let interrupt = self.surroundings.interrupt.clone();
        follow(&Arc::default(), self.surroundings.tell, move || watch(child, "pg_restore", &interrupt))
            .await?;
        // The statements on the database itself are restored only with `--create`, which would make the database under
        // its old name.
        self.written_out(session, &archive, &["--schema-only"]).await.map(|loaded| begun.and(loaded))
    }

    /// Loads an archive as the script that pg_restore writes of it; with `--schema-only`, what it says of the database.
    async fn written_out(&self, session: &Session, archive: &Path, which: &[&str]) -> Result<Omissions> {
        let mut loader = self.loader(session).await?;
        if !which.is_empty() {
            loader = loader.of_database_only();
        }
        let mut command = self.programs.without_connection("pg_restore");
        command.args(["--create", "--file=-"]).args(which);
        command.arg(archive).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| Error::outside("pg_restore cannot be run").caused_by(error))?;
        let interrupt = self.surroundings.interrupt.clone();
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&bytes);
        follow(&bytes, self.surroundings.tell, move || {
            let Some(mut stdout) = child.stdout.take() else {
                return Err(Error::new(Kind::Bug, "pg_restore has no output"));
            };
            let stderr = child.stderr.take();
            let said = std::thread::spawn(move || read_words(stderr));
            let fed = feed_from(&mut stdout, &mut loader, &interrupt, &counted);
            drop(stdout);
            if fed.is_err() {
                let _ = child.kill();
            }
            let ended =
                child.wait().map_err(|error| Error::outside("pg_restore was lost").caused_by(error))?;
            let said = said.join().unwrap_or_default();
            fed?;
            if !ended.success() {
                return Err(failed("pg_restore", &said, &ended.to_string()));
            }
            tokio::runtime::Handle::current().block_on(loader.finish())
        })
        .await
    }
}

fn is_read_by_several(archive: &Path) -> bool {
    let mut start = [0; 5];
    archive.is_dir()
        || std::fs::File::open(archive).and_then(|mut file| file.read_exact(&mut start)).is_ok()
            && start == *b"PGDMP"
}

/// Gives everything that a program writes to a loader.
fn feed_from(
    stdout: &mut impl Read,
    loader: &mut Loader,
    interrupt: &crate::interrupt::Interrupt,
    counted: &AtomicU64,
) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        interrupted(interrupt, "the database is as it was")?;
        let read = stdout
            .read(&mut buffer)
            .map_err(|error| Error::outside("the output of pg_restore cannot be read").caused_by(error))?;
        if read == 0 {
            return Ok(());
        }
        counted.fetch_add(read as u64, std::sync::atomic::Ordering::Relaxed);
        let fed = loader.feed(&buffer[..read]);
        if let Some(failure) = loader.failure() {
            return Err(failure);
        }
        fed.map_err(|error| Error::new(Kind::No, "the script of the backup was refused").caused_by(error))?;
    }
}

/// What a program says of its errors; of very much only the beginning.
fn read_words(stderr: Option<impl Read>) -> String {
    let mut said = Vec::new();
    if let Some(mut stderr) = stderr {
        let _ = stderr.by_ref().take(64 << 10).read_to_end(&mut said);
        let _ = std::io::copy(&mut stderr, &mut std::io::sink());
    }
    String::from_utf8_lossy(&said).into_owned()
}

fn spawn(connecting: &mut Connecting) -> Result<Child> {
    connecting
        .command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Error::outside("a program of PostgreSQL cannot be run").caused_by(error))
}

/// Waits for a program, or ends it when we are to end.
fn watch(mut child: Child, program: &str, interrupt: &crate::interrupt::Interrupt) -> Result<()> {
    let stderr = child.stderr.take();
    let said = std::thread::spawn(move || read_words(stderr));
    loop {
        match child
            .try_wait()
            .map_err(|error| Error::outside(format!("{program} was lost")).caused_by(error))?
        {
            Some(ended) if ended.success() => return Ok(()),
            Some(ended) => return Err(failed(program, &said.join().unwrap_or_default(), &ended.to_string())),
            None if interrupt.first().is_some() => {
                let _ = child.kill();
                let _ = child.wait();
                return interrupted(interrupt, "the database is as it was");
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// What to do when a role of the source is missing.
pub(super) const ROLES_HINT: &str = "Roles are not part of a database's backup: create them, restore the globals beside it, or pass \
                                     `--no-owner`.";

fn failed(program: &str, said: &str, ended: &str) -> Error {
    let lines: Vec<&str> = said
        .lines()
        .map(|line| line.trim_start_matches("pg_restore: "))
        .filter(|line| !line.trim().is_empty())
        .take(3)
        .collect();
    let cause = if lines.is_empty() { format!("it ended with {ended}") } else { lines.join("; ") };
    let error =
        Error::outside(format!("{program} failed, and the database is as it was")).caused_by(cause.clone());
    let error = if cause.contains("could not execute query") { error.hint(KEEP_GOING_HINT) } else { error };
    if cause.contains("role") && cause.contains("does not exist") { error.hint(ROLES_HINT) } else { error }
}

pub(super) async fn exists(session: &Session, dbname: &str) -> Result<bool> {
    let row = session.row("select exists (select from pg_database where datname = $1)", &[&dbname]).await?;
    Ok(row.get(0))
}
