//! PostgreSQL's own programs: which of those that are installed fits a server, and how one is run without showing a
//! password to anyone.
//!
//! pg_dump refuses a server of a newer major version, and what a newer one writes an older server may not understand;
//! so the program whose major version is the server's, or the next above it, is taken.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use super::tls::TlsVersion;
use super::{Server, TlsMode};
use crate::error::{Error, Result};

/// A directory with pg_dump, pg_restore and psql of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Programs {
    directory: PathBuf,
    /// Major version, such as 16.
    pub major: u32,
    /// As the program tells it, such as `16.4`.
    pub version: String,
}

/// Collects what a program says of its errors, so that it never waits for a reader; of very much only the beginning.
pub(crate) fn collect_stderr(child: &mut Child) -> JoinHandle<String> {
    let stderr = child.stderr.take();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr.by_ref().take(64 << 10).read_to_end(&mut said);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
        }
        String::from_utf8_lossy(&said).into_owned()
    })
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
    pub(crate) fn for_server(major: u32, only: Option<&Path>) -> Result<Self> {
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
    pub(crate) fn installed(only: Option<&Path>) -> Vec<Self> {
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
    pub(crate) fn path(&self, program: &str) -> PathBuf {
        self.directory.join(program)
    }

    /// Whether it is there; servers' programs often are not.
    pub(crate) fn has(&self, program: &str) -> bool {
        self.path(program).is_file()
    }

    /// A program that will connect to `database`. What it needs to know goes through its environment and through
    /// anonymous memory, and nothing through its arguments, which everybody can read.
    pub(crate) fn connecting(&self, program: &str, server: &Server, database: &str) -> Result<Connecting> {
        let mut command = self.without_connection(program);
        let mut kept = Vec::new();
        for (name, value) in connection_environment(server, Some(database), &mut kept)? {
            command.env(name, value);
        }
        // PgBouncer lets nobody in who passes options that it does not know.
        if !server.wire.is_pooled.load(Ordering::Relaxed) {
            let given = server.wire.options.as_deref().unwrap_or_default();
            command.env("PGOPTIONS", format!("{given} {SESSION_OPTIONS}"));
        }
        if let Some(password) = server.password_for(database).map(super::Password::expose) {
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
        Ok(Connecting { command, _kept: kept })
    }

    /// A program that connects to nothing.
    pub(crate) fn without_connection(&self, program: &str) -> Command {
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
pub(crate) struct Connecting {
    /// The command.
    pub command: Command,
    pub(super) _kept: Vec<OwnedFd>,
}

/// What every session of a program begins with: limits of time and read-only defaults of roles and databases end neither a dump
/// nor a restore. Known to every server since PostgreSQL 9.6.
const SESSION_OPTIONS: &str = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 \
                               -c default_transaction_read_only=off -c default_transaction_deferrable=off \
                               -c default_transaction_isolation=read\\ committed";

/// The variables by which libpq reaches a server as we do. What has to stay open until the program has started goes to `kept`.
pub(super) fn connection_environment(
    server: &Server,
    database: Option<&str>,
    kept: &mut Vec<OwnedFd>,
) -> Result<Vec<(&'static str, OsString)>> {
    let mut variables: Vec<(&'static str, OsString)> = vec![
        ("PGHOST", server.host.clone().into()),
        ("PGPORT", server.port.to_string().into()),
        ("PGUSER", server.user.clone().into()),
        ("PGAPPNAME", server.application_name.clone().into()),
        ("PGGSSENCMODE", "disable".into()),
        ("PGCONNECT_TIMEOUT", server.wire.connect_timeout.unwrap_or(20).to_string().into()),
        ("PGSSLMODE", ssl_mode(server.tls.mode).into()),
    ];
    variables.extend(database.map(|database| ("PGDATABASE", database.into())));
    variables.extend(server.wire.address.as_ref().map(|address| ("PGHOSTADDR", address.into())));
    variables.extend(server.wire.channel_binding.map(|word| ("PGCHANNELBINDING", word.into())));
    variables.extend(server.wire.options.as_ref().map(|options| ("PGOPTIONS", options.into())));
    let tls = &server.tls;
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or(path.to_owned()).into_os_string();
    let mut in_memory = |content: &[u8]| {
        let (path, file) = shared_memory(content).ok_or_else(|| {
            Error::outside("certificate authorities cannot be handed to a program of PostgreSQL's")
        })?;
        kept.push(file);
        Ok::<OsString, Error>(path)
    };
    let authorities = match &tls.authorities {
        // With a file at hand, libpq would check certificates in the weaker modes too.
        _ if !tls.checks_certificates() => NOTHING.into(),
        None => in_memory(super::tls::RDS_AUTHORITIES)?,
        // libpq knows the word since PostgreSQL 16.
        Some(path) if super::tls::is_system(path) => in_memory(pem_of(&tls.roots()?).as_bytes())?,
        Some(path) => absolute(path),
    };
    let or_nothing = |path: Option<&PathBuf>| path.map_or(NOTHING.into(), |path| absolute(path));
    variables.extend([
        ("PGSSLROOTCERT", authorities),
        ("PGSSLCERT", or_nothing(tls.client.as_ref().map(|client| &client.certificate))),
        ("PGSSLKEY", or_nothing(tls.client.as_ref().map(|client| &client.key))),
        ("PGSSLCRL", or_nothing(tls.revoked.as_ref())),
    ]);
    if tls.hides_name {
        variables.push(("PGSSLSNI", "0".into()));
    }
    if tls.direct {
        variables.push(("PGSSLNEGOTIATION", "direct".into()));
    }
    let version = |version: TlsVersion| match version {
        TlsVersion::Older => "TLSv1",
        TlsVersion::Tls12 => "TLSv1.2",
        TlsVersion::Tls13 => "TLSv1.3",
    };
    variables.extend(tls.lowest.map(|lowest| ("PGSSLMINPROTOCOLVERSION", version(lowest).into())));
    variables.extend(tls.highest.map(|highest| ("PGSSLMAXPROTOCOLVERSION", version(highest).into())));
    Ok(variables)
}

/// A path at which there is nothing, in place of the files that libpq would find in the home directory.
const NOTHING: &str = "/nonexistent/lifeboat";

/// Certificates as text.
fn pem_of(certificates: &[rustls::pki_types::CertificateDer<'_>]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in certificate.chunks(48) {
            for three in line.chunks(3) {
                let byte = |index: usize| u32::from(three.get(index).copied().unwrap_or_default());
                let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
                for index in 0..4_u32 {
                    let letter = LETTERS[(bits >> (18 - 6 * index) & 63) as usize];
                    text.push(if index as usize > three.len() { '=' } else { char::from(letter) });
                }
            }
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
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

fn ssl_mode(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::VerifyFull => "verify-full",
        TlsMode::VerifyCa => "verify-ca",
        TlsMode::Require => "require",
        TlsMode::Prefer => "prefer",
        TlsMode::Allow => "allow",
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
