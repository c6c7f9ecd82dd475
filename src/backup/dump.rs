//! Running pg_dump: what it writes is compressed, hashed and counted in this process as it comes.
//!
//! A dump is complete when pg_dump has ended well *and* its output has the beginning and the end that it should have:
//! an exit code alone was not enough for others. When lifeboat dies, pg_dump dies with it, of its closed output.

use std::ffi::OsStr;
use std::os::fd::AsFd as _;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use super::dump_gate::{Held, Reader};
use super::event::{cannot_write, stop_if_interrupted};
use super::manifest::Format;
use super::stream::{Inflow, Packing, Target, Totals};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::postgres::{Programs, Server, collect_stderr};

/// What is to be dumped.
pub(super) struct Order<'a> {
    pub(super) programs: &'a Programs,
    pub(super) server: &'a Server,
    pub(super) dbname: &'a str,
    pub(super) format: Format,
    /// A snapshot that another transaction has exported: the dump sees the same moment.
    pub(super) snapshot: Option<&'a str>,
}

/// A pg_dump that runs.
pub(super) struct Running {
    child: Child,
    stdout: ChildStdout,
    stderr: std::thread::JoinHandle<String>,
    format: Format,
}

/// What came of it.
pub(super) struct Dumped {
    pub(super) totals: Totals,
    /// What a plain dump was seen to hold.
    pub(super) held: Option<Held>,
}

/// How long pg_dump waits for a lock of somebody's migration.
const LOCK_WAIT: &str = "--lock-wait-timeout=60s";

/// Starts pg_dump, which says on stderr what is wrong.
pub(super) fn spawn_pg_dump(
    order: &Order<'_>,
    arguments: &[impl AsRef<OsStr>],
    stdout: Stdio,
) -> Result<Child> {
    let mut connecting = order.programs.connecting("pg_dump", order.server, order.dbname)?;
    let command = &mut connecting.command;
    command.args(arguments).args(["--no-password", LOCK_WAIT]);
    if let Some(snapshot) = order.snapshot {
        command.arg(format!("--snapshot={snapshot}"));
    }
    command
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_run(order.programs, "pg_dump", error))
}

impl Running {
    pub(super) fn start(order: &Order<'_>) -> Result<Self> {
        let format: &[&str] = match order.format {
            Format::Custom => &["--format=custom", "--compress=0"],
            Format::Directory | Format::Sql | Format::Sqlite => {
                &["--format=plain", "--clean", "--if-exists", "--create"]
            }
        };
        let mut child = spawn_pg_dump(order, format, Stdio::piped())?;
        let stderr = collect_stderr(&mut child);
        let stdout = child.stdout.take().ok_or_else(|| Error::outside("pg_dump has no output"))?;
        // A larger pipe lets the two sides work in longer turns; without it things are slower, not wrong.
        let _ = rustix::pipe::fcntl_setpipe_size(stdout.as_fd(), 1 << 20);
        Ok(Running { child, stdout, stderr, format: order.format })
    }

    /// Takes everything that pg_dump writes into `target`.
    pub(super) fn pump(
        mut self,
        target: Target,
        packing: Packing,
        interrupt: &Interrupt,
        bytes: &AtomicU64,
    ) -> Result<Dumped> {
        let counter = (self.format == Format::Sql).then(Reader::new);
        let taken = take_output(&mut self.stdout, target, packing, counter, interrupt, bytes);
        if taken.is_err() {
            let _ = self.child.kill();
        }
        drop(self.stdout);
        let ended = self.child.wait();
        let said = self.stderr.join().unwrap_or_default();
        let (inflow, held, head) = taken?;
        let ended = ended.map_err(|error| Error::outside("lost track of pg_dump").caused_by(error))?;
        if !ended.success() {
            return Err(explain_failure(&said, &ended.to_string()));
        }
        let is_whole = match self.format {
            Format::Custom => head.starts_with(b"PGDMP"),
            Format::Directory | Format::Sql | Format::Sqlite => {
                held.as_ref().is_some_and(|held| held.is_whole)
            }
        };
        if !is_whole {
            return Err(Error::outside("pg_dump reported success, but its output is incomplete")
                .hint("Check the pg_dump that `--pg-bin` or PATH names."));
        }
        let totals = inflow.finish().map_err(cannot_write)?;
        Ok(Dumped { totals, held })
    }
}

/// The roles and tablespaces of a server, as SQL.
pub(super) fn dump_globals(
    programs: &Programs,
    server: &Server,
    dbname: &str,
    with_passwords: bool,
) -> Result<Vec<u8>> {
    let mut connecting = programs.connecting("pg_dumpall", server, dbname)?;
    connecting.command.args(["--globals-only", "--no-password"]).arg("--database=postgres");
    if !with_passwords {
        connecting.command.arg("--no-role-passwords");
    }
    let done = connecting.command.output().map_err(|error| cannot_run(programs, "pg_dumpall", error))?;
    let said = String::from_utf8_lossy(&done.stderr);
    if !done.status.success() {
        return Err(explain_failure(&said.replace("pg_dumpall: ", "pg_dump: "), &done.status.to_string()));
    }
    if memchr::memmem::find(&done.stdout, b"-- PostgreSQL database cluster dump complete").is_none() {
        return Err(Error::outside("pg_dumpall reported success, but its output is incomplete"));
    }
    Ok(done.stdout)
}

/// The entrance with everything in it, what was counted, and the first bytes.
fn take_output(
    stdout: &mut ChildStdout,
    target: Target,
    packing: Packing,
    mut counter: Option<Reader>,
    interrupt: &Interrupt,
    bytes: &AtomicU64,
) -> Result<(Inflow, Option<Held>, Vec<u8>)> {
    let mut inflow = Inflow::open(target, packing).map_err(cannot_write)?;
    let mut head = Vec::new();
    loop {
        // While pg_dump waits for a lock it writes nothing, and a signal must end that too.
        wait_for_output(stdout)?;
        stop_if_interrupted(interrupt, "the unfinished dump was removed")?;
        let Some(piece) = take_ready(&mut inflow, stdout)? else { continue };
        if piece.is_empty() {
            break;
        }
        if head.len() < 8 {
            head.extend_from_slice(&piece[..piece.len().min(8)]);
        }
        bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
        if let Some(counter) = &mut counter {
            counter.feed(piece);
        }
    }
    Ok((inflow, counter.map(Reader::finish), head))
}

/// What is there to be read; `None` if nothing came within the time that [`wait_for_output`] waits.
fn take_ready<'a>(inflow: &'a mut Inflow, stdout: &mut ChildStdout) -> Result<Option<&'a [u8]>> {
    if !is_ready(stdout, 0)? {
        return Ok(None);
    }
    inflow.take_from(stdout).map(Some).map_err(cannot_write)
}

fn wait_for_output(stdout: &ChildStdout) -> Result<()> {
    is_ready(stdout, 200).map(|_| ())
}

fn is_ready(stdout: &ChildStdout, milliseconds: i64) -> Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut wanted = [PollFd::new(stdout, PollFlags::IN)];
    let timeout = Timespec { tv_sec: 0, tv_nsec: milliseconds * 1_000_000 };
    match poll(&mut wanted, Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => {
            Err(Error::outside("cannot read the output of pg_dump").caused_by(std::io::Error::from(error)))
        }
    }
}

/// One of PostgreSQL's programs does not start.
pub(super) fn cannot_run(programs: &Programs, name: &str, error: std::io::Error) -> Error {
    Error::request(format!("cannot run `{}`", programs.path(name).display()))
        .caused_by(error)
        .hint("Install PostgreSQL's client programs, or name their directory with `--pg-bin`.")
}

/// What pg_dump said, as an error of ours.
pub(super) fn explain_failure(said: &str, ended: &str) -> Error {
    let lines: Vec<&str> = said
        .lines()
        .map(|line| line.trim_start_matches("pg_dump: ").trim_start_matches("error: "))
        .filter(|line| !line.trim().is_empty())
        .collect();
    let cause = if lines.is_empty() { format!("it ended with {ended}") } else { lines.join("; ") };
    let error = Error::outside("pg_dump failed").caused_by(cause.clone());
    if cause.contains("permission denied") {
        error.hint("Grant the user `pg_read_all_data`, or dump as the owner of the database.")
    } else if cause.contains("row-level security") {
        error.hint(
            "A policy would hide rows from this user, so nothing was dumped: dump as the owner of the table, or give the user \
             BYPASSRLS with `alter role … bypassrls`.",
        )
    } else if cause.contains("lock timeout") || cause.contains("could not obtain lock") {
        error.hint("Another session, such as a migration, holds a lock on a table: run the command again when it is done.")
    } else if cause.contains("server version mismatch") {
        error.hint(
            "Install the client programs of the server's version, or name their directory with `--pg-bin`.",
        )
    } else {
        error.hint("The attempt was discarded; earlier backups are unchanged.")
    }
}
