//! Restoring PostgreSQL databases: into a scratch database, checked, then swapped in.
//!
//! A scratch database carries its purpose in its name and is held by an advisory lock: one whose lock is free belongs to a
//! process that died, and is removed by the next restore.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::load::{LOADER, Loader, Rights, role_of};
use super::swap::{drop_expired, swap_in};
use super::{Destination, Manner, Owners, Plan, Proven, Report, prove, report};
use crate::backup::check::{self, Finding};
use crate::backup::judge;
use crate::backup::script::Trust;
use crate::backup::statement::create_statement;
use crate::backup::{
    Event, Format, Manifest, Means, Recipients, Source, Surroundings, follow, interrupted, usual_threads,
};
use crate::error::{Error, Kind, Result};
use crate::postgres::{Connecting, Programs, Server, Session, quoted};
use crate::vault::Content;

/// Scratch databases are named this and eight hexadecimal digits: a name that needs quotes nowhere.
const SCRATCH: &str = "lifeboat_scratch_";

/// Whether the database is there; and whether we could restore at all.
pub(super) async fn preflight(server: &Server, dbname: &str, manifest: &Manifest) -> Result<bool> {
    if dbname.starts_with(SCRATCH) {
        return Err(Error::request(format!("`{dbname}` is a name of lifeboat's own scratch databases")));
    }
    if dbname.is_empty() || dbname.len() > 63 || dbname.contains('\0') {
        return Err(Error::request(format!("`{}` cannot be the name of a database", dbname.escape_debug()))
            .hint("PostgreSQL's names have 1 to 63 bytes."));
    }
    let session = maintenance(server).await?;
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
        return Err(Error::outside(format!("user `{}` may not create databases", server.user)).hint(
            format!(
                "A restore goes into a new database first: `alter role {} createdb`.",
                quoted(&server.user)
            ),
        ));
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

/// The database of a server where one is to do other things than work with its content.
const MAINTENANCE: &str = "postgres";

/// A session from which these databases can be renamed: it is on none of them.
pub(super) async fn apart_from(server: &Server, databases: &[&str]) -> Result<Session> {
    if databases.contains(&MAINTENANCE) {
        return Ok(server.connect("template1").await?);
    }
    maintenance(server).await
}

/// A session from which databases are made, renamed and dropped.
pub(super) async fn maintenance(server: &Server) -> Result<Session> {
    match server.connect(MAINTENANCE).await {
        Ok(session) => Ok(session),
        Err(first) => server.connect("template1").await.map_err(|_| first.into()),
    }
}

pub(super) async fn restore(
    plan: &Plan,
    server: &Server,
    dbname: &str,
    surroundings: &Surroundings<'_>,
) -> Result<Report> {
    let session = maintenance(server).await?;
    sweep(&session, surroundings).await?;
    drop_expired(&session, server, surroundings).await?;
    let proven = prove(plan, surroundings).await?;
    interrupted(surroundings.interrupt, "nothing was touched")?;
    (surroundings.tell)(Event::Phase("restoring"));
    let scratch = format!("{SCRATCH}{:08x}", rand::random::<u32>());
    let restored = into_scratch(plan, server, &session, &scratch, proven, surroundings).await;
    let finished = match restored {
        Ok(mut report) => match swap_in(plan, server, dbname, &scratch, surroundings).await {
            Ok(kept) => {
                (report.kept_old, report.kept_until) =
                    kept.map_or((None, None), |kept| (Some(kept.kept), Some(kept.until)));
                Ok(report)
            }
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    if finished.is_err() {
        drop_scratch(&apart_from(server, &[dbname]).await?, &scratch).await?;
    }
    finished
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
        no_owner: false,
        keep_old: Duration::ZERO,
        offline: false,
        recipients: Recipients::default(),
        means: means.clone(),
    };
    let destination =
        Destination::New(Source::Postgresql { server: Box::new(server.clone()), dbname: String::new() });
    let plan = Plan { manifest: manifest.clone(), destination, manner, replaces: false };
    let session = maintenance(server).await?;
    sweep(&session, surroundings).await?;
    let scratch = format!("{SCRATCH}{:08x}", rand::random::<u32>());
    let loaded =
        load(&plan, (server, ground), &session, &scratch, Proven { file, finding }, surroundings).await;
    let judged = match loaded {
        Ok(()) => {
            (surroundings.tell)(Event::Phase("checking the restored copy"));
            judge::judge_restored(manifest, server, &scratch, Owners::Restored).await
        }
        Err(error) => Err(error),
    };
    drop_scratch(&session, &scratch).await?;
    judged
}

/// Makes the roles that a source has, on a server of our own.
pub(in crate::backup) async fn make_roles(server: &Server, roles: &[String]) -> Result<()> {
    let session = maintenance(server).await?;
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
) -> Result<()> {
    let version = session.row("select current_setting('server_version_num')::int4 / 10000", &[]).await?;
    let major = u32::try_from(version.get::<_, i32>(0)).unwrap_or_default().max(plan.manifest.tool_major());
    let programs = Programs::for_server(major, plan.manner.means.pg_bin.as_deref())?;
    let load = Load { ground, plan, server, scratch, programs: &programs, surroundings };
    let key = i64::from(u32::from_str_radix(scratch.trim_start_matches(SCRATCH), 16).unwrap_or_default());
    session.rows("select pg_advisory_lock($1)", &[&key]).await?;
    match plan.manifest.format {
        Format::Custom | Format::Directory => load.archive(session, proven).await?,
        Format::Sql | Format::Sqlite => load.script(session, proven).await?,
    }
    interrupted(surroundings.interrupt, "the database is as it was")
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
    load(plan, (server, Ground::Named), session, scratch, proven, surroundings).await?;
    (surroundings.tell)(Event::Phase("checking the restored copy"));
    let owners = if plan.manner.no_owner { Owners::LeftOut } else { Owners::Restored };
    let finding = judge::judge_restored(&plan.manifest, server, scratch, owners).await?;
    for note in &finding.notes {
        (surroundings.tell)(Event::Note(note));
    }
    if !finding.deviations.is_empty() {
        const TOLD: usize = 5;
        let mut told: Vec<String> =
            finding.deviations.iter().take(TOLD).map(|deviation| deviation.text.clone()).collect();
        if let more @ 1.. = finding.deviations.len().saturating_sub(TOLD) {
            told.push(format!("and {more} more"));
        }
        return Err(Error::new(Kind::No, "the restored copy does not hold what was recorded")
            .caused_by(told.join("; "))
            .hint("The database is as it was. Restore another backup, and tell us if this one proves good otherwise."));
    }
    for doubt in &finding.doubts {
        (surroundings.tell)(Event::Warning(doubt));
    }
    let mut report = report(plan, plan.destination.source());
    (report.tables_checked, report.rows_checked) = finding.checked;
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
    /// `rest`: how the database of the source is created, after its name.
    async fn create(&self, session: &Session, rest: Option<&str>) -> Result<()> {
        let statement = rest
            .map(|rest| create_statement(rest, self.scratch))
            .unwrap_or_else(|| format!("CREATE DATABASE {} TEMPLATE template0", self.scratch));
        session.run(&statement).await.map_err(|failure| {
            Error::outside("the database to restore into cannot be created")
                .caused_by(failure)
                .hint("The backup wants the encoding, locale and tablespace of its source: the server must have them.")
        })
    }

    /// A plain dump, over a connection of our own.
    async fn script(&self, session: &Session, proven: Proven) -> Result<()> {
        self.create(session, proven.finding.create_database.as_deref()).await?;
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
    }

    async fn loader(&self, session: &Session) -> Result<Loader> {
        let (rights, trust) = self.terms(session).await?;
        Loader::open(self.server, self.scratch, rights, trust).await
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
    async fn archive(&self, session: &Session, proven: Proven) -> Result<()> {
        let (manifest, means) = (&self.plan.manifest, &self.plan.manner.means);
        let scratch = check::scratch_for(manifest, self.surroundings.vault)?;
        let archive = check::lay_out(manifest, &proven.file, &scratch, means, self.surroundings).await?;
        self.create(session, proven.finding.create_database.as_deref()).await?;
        if self.terms(session).await?.0 != Rights::Own {
            return self.written_out(session, &archive, &[]).await;
        }
        let mut connecting = self.programs.connecting("pg_restore", self.server, self.scratch)?;
        connecting.command.args(["--exit-on-error", "--no-password"]);
        // Of an archive in tar format, which others make, several jobs cannot read.
        if is_read_by_several(&archive) {
            connecting.command.arg(format!("--jobs={}", self.plan.manner.jobs.max(1)));
        }
        connecting.command.arg(format!("--dbname={}", self.scratch));
        if self.plan.manner.no_owner {
            connecting.command.args(["--no-owner", "--no-acl"]);
        }
        connecting.command.arg(&archive);
        let child = spawn(&mut connecting)?;
        let interrupt = self.surroundings.interrupt.clone();
        follow(&Arc::default(), self.surroundings.tell, move || watch(child, "pg_restore", &interrupt))
            .await?;
        if self.plan.manner.no_owner {
            return Ok(());
        }
        // The statements on the database itself are restored only with `--create`, which would make the database under
        // its old name.
        self.written_out(session, &archive, &["--schema-only"]).await
    }

    /// Loads an archive as the script that pg_restore writes of it; with `--schema-only`, what it says of the database.
    async fn written_out(&self, session: &Session, archive: &Path, which: &[&str]) -> Result<()> {
        let mut loader = self.loader(session).await?;
        if !which.is_empty() {
            loader = loader.of_database_only();
        }
        let mut command = self.programs.without_connection("pg_restore");
        command.args(["--create", "--file=-"]).args(which);
        if self.plan.manner.no_owner {
            command.args(["--no-owner", "--no-acl"]);
        }
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
                                     `--no-owner` (custom backups).";

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
    if cause.contains("role") && cause.contains("does not exist") { error.hint(ROLES_HINT) } else { error }
}

pub(super) async fn exists(session: &Session, dbname: &str) -> Result<bool> {
    let row = session.row("select exists (select from pg_database where datname = $1)", &[&dbname]).await?;
    Ok(row.get(0))
}

pub(super) async fn drop_database(session: &Session, dbname: &str) -> Result<()> {
    // Another way to end sessions on it came with PostgreSQL 13, and none older is supported.
    let statement = format!("drop database if exists {} with (force)", quoted(dbname));
    session.run(&statement).await.map_err(|failure| {
        Error::new(Kind::LeftBehind, format!("database `{dbname}` could not be removed"))
            .caused_by(failure)
            .hint(format!("Drop it by hand: `drop database {}`.", quoted(dbname)))
    })
}

/// Removes a scratch database, and the role that was made to load it.
async fn drop_scratch(session: &Session, scratch: &str) -> Result<()> {
    drop_database(session, scratch).await?;
    drop_loader(session, &role_of(scratch)).await
}

async fn drop_loader(session: &Session, role: &str) -> Result<()> {
    session.run(&format!("drop role if exists {}", quoted(role))).await.or_else(|failure| {
        // Whoever may drop no roles has made none.
        if failure.sqlstate.as_deref() == Some("42501") {
            return Ok(());
        }
        Err(Error::new(Kind::LeftBehind, format!("role `{role}` could not be removed"))
            .caused_by(failure)
            .hint(format!("Drop it by hand: `drop role {}`.", quoted(role))))
    })
}

/// Removes scratch databases of processes that died, and the roles that were to load them.
async fn sweep(session: &Session, surroundings: &Surroundings<'_>) -> Result<()> {
    let pattern = format!("^{SCRATCH}[0-9a-f]{{8}}$");
    let rows = session
        .rows(
            "select d.datname::text from pg_database d join pg_roles r on r.rolname = current_user
             where d.datname ~ $1 and (r.rolsuper or pg_has_role(d.datdba, 'USAGE'))",
            &[&pattern],
        )
        .await?;
    for row in rows {
        let name: String = row.get(0);
        let key = i64::from(u32::from_str_radix(name.trim_start_matches(SCRATCH), 16).unwrap_or_default());
        let free: bool = session.row("select pg_try_advisory_lock($1)", &[&key]).await?.get(0);
        if free {
            drop_scratch(session, &name).await?;
            session.rows("select pg_advisory_unlock($1)", &[&key]).await?;
            (surroundings.tell)(Event::Note(&format!(
                "removed `{name}`, which a restore that died had left"
            )));
        }
    }
    let roles = session
        .rows(
            "select r.rolname::text from pg_roles r join pg_roles us on us.rolname = current_user and us.rolsuper
             where r.rolname ~ $1",
            &[&format!("^{LOADER}[0-9a-f]{{8}}$")],
        )
        .await?;
    for row in roles {
        let name: String = row.get(0);
        let key = i64::from(u32::from_str_radix(name.trim_start_matches(LOADER), 16).unwrap_or_default());
        let free: bool = session.row("select pg_try_advisory_lock($1)", &[&key]).await?.get(0);
        if free {
            drop_loader(session, &name).await?;
            session.rows("select pg_advisory_unlock($1)", &[&key]).await?;
        }
    }
    Ok(())
}
