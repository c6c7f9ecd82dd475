//! Loading a backup into a scratch database, through our own loader or through pg_restore.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::create_database::CreateDatabase;
use super::load::{KEEP_GOING_HINT, Loader, ROLES_HINT, Rights};
use super::plan::Plan;
use super::proven::Proven;
use super::scratch::{ScratchDatabase, ServerOwner};
use super::sessions::lacks_createdb;
use crate::backup::context::Context;
use crate::backup::dump_gate::Trust;
use crate::backup::event::{follow_progress, stop_if_interrupted};
use crate::backup::examine::{lay_out, read_content, require_unchanged, scratch_for};
use crate::backup::manifest::Format;
use crate::backup::tolerance::Omissions;
use crate::error::{Error, Kind, Result};
use crate::postgres::{Connecting, Programs, Session, collect_stderr, quote_identifier};

/// Creates a scratch database and loads a backup into it.
pub(super) async fn load_into_scratch(
    plan: &Plan,
    scratch: &ScratchDatabase<'_>,
    session: &Session,
    proven: Proven,
    cx: &Context<'_>,
) -> Result<Omissions> {
    let version = session.row("select current_setting('server_version_num')::int4 / 10000", &[]).await?;
    let major = u32::try_from(version.get::<_, i32>(0)).unwrap_or_default().max(plan.manifest.tool_major());
    let programs = Programs::for_server(major, plan.options.read.pg_bin.as_deref())?;
    let load = ScratchLoad { plan, scratch, programs: &programs, cx };
    scratch.lock(session).await?;
    let omissions = match plan.manifest.format {
        Format::Custom | Format::Directory => load.archive(session, proven).await?,
        Format::Sql | Format::Sqlite => load.script(session, proven).await?,
    };
    stop_if_interrupted(cx.interrupt, "the database is unchanged")?;
    Ok(omissions)
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
            session.execute(&format!("create role {}", quote_identifier(role))).await?;
        }
    }
    Ok(())
}

/// The loading of a scratch database.
struct ScratchLoad<'a> {
    plan: &'a Plan,
    scratch: &'a ScratchDatabase<'a>,
    programs: &'a Programs,
    cx: &'a Context<'a>,
}

impl ScratchLoad<'_> {
    /// Creates the scratch database. `rest`: how the database of the source is created, after its name.
    async fn create(&self, session: &Session, rest: Option<&str>) -> Result<Omissions> {
        let omissions = self.create_empty(session, rest).await?;
        if self.scratch.owner == ServerOwner::Lifeboat {
            // From here, since the names of roles are stored in the encoding of the database that they are created from.
            make_roles(&self.scratch.server.connect(&self.scratch.name).await?, &self.plan.manifest.roles)
                .await?;
            if self.terms(session).await?.0 == Rights::Own {
                // Some things only a superuser can own, and what roles of the source may do is not in a dump.
                session.execute(MAKE_ALL_SUPERUSERS).await?;
            }
        }
        Ok(omissions)
    }

    async fn create_empty(&self, session: &Session, rest: Option<&str>) -> Result<Omissions> {
        let mut omissions = Omissions::default();
        let mut create = CreateDatabase::of(rest.unwrap_or(" TEMPLATE template0"));
        if let Some(tablespace) = &create.tablespace {
            let sql = "select exists (select from pg_catalog.pg_tablespace where spcname = $1)";
            if !session.row(sql, &[tablespace]).await?.get::<_, bool>(0) {
                omissions.leave_out(
                    format!("tablespace {}", quote_identifier(tablespace)),
                    "the server has no such tablespace, so the database was created in the default one",
                );
                create.tablespace = None;
            }
        }
        if let Some(locale) = &self.plan.options.tolerance.locale {
            create.locale = Some(locale.clone());
        }
        let failure = match session.execute(&create.statement(&self.scratch.name)).await {
            Ok(()) => return Ok(omissions),
            Err(failure) => failure,
        };
        if self.scratch.owner == ServerOwner::Lifeboat && failure.message.contains("locale") {
            create.locale = Some("C".to_owned());
            session.execute(&create.statement(&self.scratch.name)).await?;
            omissions.leave_out("the locale of the database", failure.message);
            return Ok(omissions);
        }
        if failure.sqlstate.as_deref() == Some("42501") {
            return Err(lacks_createdb(&self.scratch.server.user).caused_by(failure));
        }
        let is_of_locale = failure.message.contains("locale") || failure.message.contains("collation");
        let error = Error::outside("cannot create the database to restore into").caused_by(failure);
        Err(match is_of_locale {
            true => error.hint(
                "The server lacks the locale of the source: install it there, or choose another with `--locale`, such as \
                 `--locale C.UTF-8`. Texts are then sorted by that one.",
            ),
            false => error.hint("The server must support the encoding and the locale of the source."),
        })
    }

    /// A plain dump, over a connection of our own.
    async fn script(&self, session: &Session, proven: Proven) -> Result<Omissions> {
        let begun = self.create(session, proven.finding.create_database.as_deref()).await?;
        let mut loader = self.loader(session).await?;
        let (manifest, options) = (self.plan.manifest.clone(), self.plan.options.read.clone());
        let (interrupt, bytes) = (self.cx.interrupt.clone(), Arc::new(AtomicU64::new(0)));
        let (counted, file) = (Arc::clone(&bytes), proven.file);
        follow_progress(&bytes, self.cx.tell, move || {
            let taken = read_content(&manifest, file, &options, &interrupt, &counted, &mut |block| {
                loader.feed(block)
            });
            if let Some(failure) = loader.failure() {
                return Err(failure);
            }
            require_unchanged(&manifest, taken?)?;
            tokio::runtime::Handle::current().block_on(loader.finish())
        })
        .await
        .map(|loaded| begun.and(loaded))
    }

    async fn loader(&self, session: &Session) -> Result<Loader> {
        let terms = self.terms(session).await?;
        Loader::open(self.scratch, terms, &self.plan.options.tolerance).await
    }

    /// As whom a script is run, and whether somebody vouches for it.
    async fn terms(&self, session: &Session) -> Result<(Rights, Trust)> {
        let trust = self.plan.options.read.trust_in(&self.plan.manifest)?;
        let sql = "select rolsuper from pg_catalog.pg_roles where rolname = current_user";
        let is_superuser: bool = session.row(sql, &[]).await?.get(0);
        let rights = match (is_superuser && trust == Trust::Nobody, self.scratch.owner) {
            (false, _) => Rights::Own,
            (true, ServerOwner::User) => Rights::Confined,
            (true, ServerOwner::Lifeboat) => Rights::ConfinedOnOwnServer,
        };
        Ok((rights, trust))
    }

    /// An archive goes through pg_restore, by several jobs, and so from a file that can be read anywhere. What may not be
    /// run with the rights of the user is written out as a script instead, which is loaded like any other.
    async fn archive(&self, session: &Session, proven: Proven) -> Result<Omissions> {
        let (manifest, options) = (&self.plan.manifest, &self.plan.options.read);
        let scratch = scratch_for(manifest, self.cx.vault)?;
        let archive = lay_out(manifest, &proven.file, &scratch, options, self.cx).await?;
        let begun = self.create(session, proven.finding.create_database.as_deref()).await?;
        let tolerance = &self.plan.options.tolerance;
        // pg_restore itself would end at the first thing that the server refuses, or say nothing of what it left out.
        let goes_on = tolerance.keep_going || tolerance.no_owner || !begun.left_out.is_empty();
        if goes_on || self.terms(session).await?.0 != Rights::Own {
            return self.written_out(session, &archive, &[]).await.map(|loaded| begun.and(loaded));
        }
        let mut connecting =
            self.programs.connecting("pg_restore", self.scratch.server, &self.scratch.name)?;
        connecting.command.args(["--exit-on-error", "--no-password"]);
        // Of an archive in tar format, which others make, several jobs cannot read.
        if is_read_by_several(&archive) {
            connecting.command.arg(format!("--jobs={}", self.plan.options.jobs.max(1)));
        }
        connecting.command.arg(format!("--dbname={}", self.scratch.name));
        connecting.command.arg(&archive);
        let child = spawn_program(&mut connecting)?;
        let interrupt = self.cx.interrupt.clone();
        follow_progress(&Arc::default(), self.cx.tell, move || {
            wait_for_program(child, "pg_restore", &interrupt)
        })
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
            command.spawn().map_err(|error| Error::outside("cannot run pg_restore").caused_by(error))?;
        let interrupt = self.cx.interrupt.clone();
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&bytes);
        follow_progress(&bytes, self.cx.tell, move || {
            let Some(mut stdout) = child.stdout.take() else {
                return Err(Error::new(Kind::Bug, "pg_restore has no output"));
            };
            let said = collect_stderr(&mut child);
            let fed = feed_from(&mut stdout, &mut loader, &interrupt, &counted);
            drop(stdout);
            if fed.is_err() {
                let _ = child.kill();
            }
            let ended =
                child.wait().map_err(|error| Error::outside("lost track of pg_restore").caused_by(error))?;
            let said = said.join().unwrap_or_default();
            fed?;
            if !ended.success() {
                return Err(explain_program_failure("pg_restore", &said, &ended.to_string()));
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
        stop_if_interrupted(interrupt, "the database is unchanged")?;
        let read = stdout
            .read(&mut buffer)
            .map_err(|error| Error::outside("cannot read the output of pg_restore").caused_by(error))?;
        if read == 0 {
            return Ok(());
        }
        counted.fetch_add(read as u64, std::sync::atomic::Ordering::Relaxed);
        let fed = loader.feed(&buffer[..read]);
        if let Some(failure) = loader.failure() {
            return Err(failure);
        }
        fed.map_err(|error| Error::new(Kind::No, "the SQL of the backup was refused").caused_by(error))?;
    }
}

fn spawn_program(connecting: &mut Connecting) -> Result<Child> {
    connecting
        .command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Error::outside("cannot run one of PostgreSQL's programs").caused_by(error))
}

/// Waits for a program, or ends it when we are to end.
fn wait_for_program(mut child: Child, program: &str, interrupt: &crate::interrupt::Interrupt) -> Result<()> {
    let said = collect_stderr(&mut child);
    loop {
        match child
            .try_wait()
            .map_err(|error| Error::outside(format!("lost track of {program}")).caused_by(error))?
        {
            Some(ended) if ended.success() => return Ok(()),
            Some(ended) => {
                return Err(explain_program_failure(
                    program,
                    &said.join().unwrap_or_default(),
                    &ended.to_string(),
                ));
            }
            None if interrupt.first().is_some() => {
                let _ = child.kill();
                let _ = child.wait();
                return stop_if_interrupted(interrupt, "the database is unchanged");
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn explain_program_failure(program: &str, said: &str, ended: &str) -> Error {
    let lines: Vec<&str> = said
        .lines()
        .map(|line| line.trim_start_matches("pg_restore: "))
        .filter(|line| !line.trim().is_empty())
        .take(3)
        .collect();
    let cause = if lines.is_empty() { format!("it ended with {ended}") } else { lines.join("; ") };
    let error =
        Error::outside(format!("{program} failed; the database is unchanged")).caused_by(cause.clone());
    let error = if cause.contains("could not execute query") { error.hint(KEEP_GOING_HINT) } else { error };
    if cause.contains("role") && cause.contains("does not exist") { error.hint(ROLES_HINT) } else { error }
}
