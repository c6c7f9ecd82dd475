//! PostgreSQL's own programs: which of those that are installed fits a server, and how one is run without showing a
//! password to anyone.
//!
//! pg_dump refuses a server of a newer major version, and what a newer one writes an older server may not understand;
//! so the program whose major version is the server's, or the next above it, is taken.

use std::ffi::OsString;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Server, TlsMode};
use crate::error::{Error, Result};

/// A directory with pg_dump, pg_restore and psql of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    directory: PathBuf,
    /// Major version, such as 16.
    pub major: u32,
    /// As the program tells it, such as `16.4`.
    pub version: String,
}

/// Where packages put the programs, besides PATH: Debian, Red Hat, Homebrew, Postgres.app.
const PLACES: [(&str, &str); 5] = [
    ("/usr/lib/postgresql", "bin"),
    ("/usr", "bin"),
    ("/opt/homebrew/opt", "bin"),
    ("/usr/local/opt", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "bin"),
];

impl Programs {
    /// Those that fit a server of the given major version. Only in `only`, if that is given.
    pub fn for_server(major: u32, only: Option<&Path>) -> Result<Self> {
        let found = Self::installed(only);
        let newest = found.iter().max_by_key(|programs| programs.major).cloned();
        match (found.into_iter().filter(|programs| programs.major >= major).min_by_key(|programs| programs.major), newest) {
            (Some(programs), _) => Ok(programs),
            (None, Some(newest)) => Err(Error::request(format!(
                "the server is PostgreSQL {major}, and the newest pg_dump here is {}",
                newest.version
            ))
            .hint(format!(
                "Install the client programs of PostgreSQL {major} or later (`postgresql-client-{major}`), or name their \
                 directory with `--pg-bin`."
            ))),
            (None, None) => Err(Error::request("no pg_dump was found").hint(format!(
                "Install the client programs of PostgreSQL {major} (`postgresql-client-{major}`), or name their directory \
                 with `--pg-bin`."
            ))),
        }
    }

    /// All that are installed, or those of one directory.
    pub fn installed(only: Option<&Path>) -> Vec<Self> {
        let directories = match only {
            Some(directory) => vec![directory.to_owned()],
            None => directories(),
        };
        directories.into_iter().filter_map(Self::of).collect()
    }

    fn of(directory: PathBuf) -> Option<Self> {
        let program = directory.join("pg_dump");
        // Debian's wrapper in /usr/bin chooses a version by itself; the programs behind it are found anyway.
        if std::fs::canonicalize(&program).ok()?.ends_with("postgresql-common/pg_wrapper") {
            return None;
        }
        let said = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        // `pg_dump (PostgreSQL) 16.4 (Debian 16.4-1)`
        let version = said.split_once("(PostgreSQL) ")?.1.split_whitespace().next()?.to_owned();
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        Some(Programs { directory, major: digits.parse().ok()?, version })
    }

    /// The path of one of them.
    pub fn path(&self, program: &str) -> PathBuf {
        self.directory.join(program)
    }

    /// Whether it is there; servers' programs often are not.
    pub fn has(&self, program: &str) -> bool {
        self.path(program).is_file()
    }

    /// A program that will connect to `database`. What it needs to know goes through its environment and through
    /// anonymous memory, and nothing through its arguments, which everybody can read.
    pub fn connecting(&self, program: &str, server: &Server, database: &str) -> Result<Connecting> {
        let mut command = self.without_connection(program);
        command
            .env("PGHOST", &server.host)
            .env("PGPORT", server.port.to_string())
            .env("PGUSER", &server.user)
            .env("PGDATABASE", database)
            .env("PGAPPNAME", &server.application_name)
            .env("PGCONNECT_TIMEOUT", "20")
            .env("PGGSSENCMODE", "disable")
            .env("PGSSLMODE", ssl_mode(server.tls.mode));
        let mut kept = Vec::new();
        if let Some(password) = server.password.as_ref().map(super::Password::expose) {
            match pass_file(password) {
                Some((path, file)) => {
                    command.env("PGPASSFILE", path);
                    kept.push(file);
                }
                // Other users cannot see the environment either, but the user's own processes can.
                None => {
                    command.env("PGPASSWORD", password);
                }
            }
        }
        match (&server.tls.authorities, server.tls.mode) {
            // With a root certificate at hand libpq would check it in these modes too.
            (_, TlsMode::Disable | TlsMode::Prefer | TlsMode::Require) => {}
            (Some(path), _) => {
                let absolute = if path.as_os_str() == "system" {
                    path.clone()
                } else {
                    std::path::absolute(path).unwrap_or(path.clone())
                };
                command.env("PGSSLROOTCERT", absolute);
            }
            (None, _) => {
                if let Some((path, file)) = shared_memory(super::tls::RDS_AUTHORITIES) {
                    command.env("PGSSLROOTCERT", path);
                    kept.push(file);
                }
            }
        }
        Ok(Connecting { command, _kept: kept })
    }

    /// A program that connects to nothing.
    pub fn without_connection(&self, program: &str) -> Command {
        let mut command = Command::new(self.path(program));
        command.env_clear().stdin(Stdio::null()).current_dir("/");
        for name in ["PATH", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        // Neither `~/.psqlrc` nor `~/.postgresql` may change what we do; messages are read, so they are English.
        command.env("HOME", "/nonexistent").env("LC_ALL", "C");
        command
    }
}

/// A command, and what must stay open until it has been started.
#[derive(Debug)]
pub struct Connecting {
    /// The command.
    pub command: Command,
    pub(super) _kept: Vec<OwnedFd>,
}

fn directories() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = std::env::split_paths(&path).filter(|place| place.is_absolute()).collect();
    for (place, below) in PLACES {
        let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
        found.extend(
            entries
                .filter(|entry| place != "/usr" || entry.file_name().to_string_lossy().starts_with("pgsql-"))
                .map(|entry| entry.path().join(below))
                .filter(|directory| directory.join("pg_dump").exists()),
        );
    }
    found.retain(|directory| directory.join("pg_dump").exists());
    found.sort();
    found.dedup();
    found
}

pub(super) fn ssl_mode(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::VerifyFull => "verify-full",
        TlsMode::VerifyCa => "verify-ca",
        TlsMode::Require => "require",
        TlsMode::Prefer => "prefer",
        TlsMode::Disable => "disable",
    }
}

/// A password file as libpq reads it, in memory that has no name.
fn pass_file(password: &str) -> Option<(OsString, OwnedFd)> {
    if password.contains(['\n', '\r']) {
        return None;
    }
    let escaped = password.replace('\\', "\\\\").replace(':', "\\:");
    shared_memory(format!("*:*:*:*:{escaped}\n").as_bytes())
}

/// Content that a child process finds under a path, and nobody else.
#[cfg(target_os = "linux")]
pub(super) fn shared_memory(content: &[u8]) -> Option<(OsString, OwnedFd)> {
    use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
    let memory = memfd_create("lifeboat", MemfdFlags::CLOEXEC).ok()?;
    // libpq passes over a password file that others could read.
    fchmod(&memory, Mode::RUSR | Mode::WUSR).ok()?;
    let mut rest = content;
    while !rest.is_empty() {
        let written = rustix::io::write(&memory, rest).ok()?;
        rest = &rest[written..];
    }
    rustix::io::fcntl_setfd(&memory, rustix::io::FdFlags::empty()).ok()?;
    Some((format!("/proc/self/fd/{}", memory.as_raw_fd()).into(), memory))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn shared_memory(_content: &[u8]) -> Option<(OsString, OwnedFd)> {
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn fake(directory: &Path, version: &str) {
        let program = directory.join("pg_dump");
        std::fs::write(&program, format!("#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}'\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_client_older_than_the_server_is_refused_before_it_starts() {
        let directory = tempfile::tempdir().unwrap();
        let only = Some(directory.path());
        let none = Programs::for_server(16, only).unwrap_err();
        assert!(none.chain().contains("no pg_dump was found"));
        fake(directory.path(), "15.18 (Debian 15.18-0+deb12u1)");
        let old = Programs::for_server(16, only).unwrap_err();
        assert!(
            old.chain().contains("PostgreSQL 16, and the newest pg_dump here is 15.18"),
            "{}",
            old.chain()
        );
        for server in [14, 15] {
            assert_eq!(Programs::for_server(server, only).unwrap().version, "15.18");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_password_reaches_a_child_through_memory_alone() {
        let (path, _file) = pass_file("a:b\\c").unwrap();
        let said = Command::new("cat").arg(&path).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), "*:*:*:*:a\\:b\\\\c\n");
    }
}
