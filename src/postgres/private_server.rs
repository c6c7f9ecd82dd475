//! A server of our own, for as long as one needs it: in a directory of its own, reachable through a socket in it and
//! through nothing else, removed with everything in it when the value is dropped or the process dies.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{ConnectionOptions, Programs, Server, Tls, TlsMode};
use crate::error::{Error, Result};

/// A server that is ours alone.
#[derive(Debug)]
pub(crate) struct PrivateServer {
    server: Server,
    child: Child,
}

/// Becomes the server. Before that it starts a watcher, as nobody's child, which waits for the other end of its input to
/// be closed, however that comes about; then it stops the server and removes the directory.
const WATCHED: &str = r#"exec 3<&0 </dev/null
directory=$1; shift
( ( read -r word <&3; kill -INT $$; while kill -0 $$; do sleep 0.1; done; rm -rf "$directory" ) >/dev/null 2>&1 & )
exec 3<&-
exec "$@""#;

const READY_WITHIN: Duration = Duration::from_secs(60);

impl PrivateServer {
    /// Makes and starts one with the programs given. It takes some seconds.
    pub(crate) async fn start(programs: &Programs) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::outside("a private PostgreSQL server cannot be set up").caused_by(error)
        };
        let directory = tempfile::Builder::new().prefix("lifeboat-").tempdir().map_err(failed)?;
        let owner = owner()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).map_err(failed)?;
        if let Some((uid, gid)) = owner {
            chown(directory.path(), Some(uid), Some(gid)).map_err(failed)?;
        }
        let as_owner = |mut command: Command| {
            if let Some((uid, gid)) = owner {
                command.uid(uid).gid(gid);
            }
            command
        };
        let cluster = directory.path().join("data");
        let mut initdb = as_owner(programs.without_connection("initdb"));
        // No role of a source is called that: what belongs to a `postgres` there belongs to an ordinary role here.
        let user = format!("lifeboat_{:08x}", rand::random::<u32>());
        initdb.arg(format!("--username={user}")).args([
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            "-D",
        ]);
        let made = initdb.arg(&cluster).output().map_err(failed)?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr).trim().to_owned();
            return Err(Error::outside("a private PostgreSQL server cannot be set up").caused_by(said));
        }
        let base = programs.without_connection("postgres");
        let child = as_owner(replaced(&base, directory.path(), &programs.path("postgres"), &cluster))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C at the terminal is for us, who then put things in order.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        // From here on the watcher removes it, which outlives us.
        let place = directory.keep();
        let server = Server {
            host: place.to_string_lossy().into_owned(),
            port: 5432,
            user,
            password: None,
            tls: Tls::new(TlsMode::Disable, None),
            application_name: "lifeboat".to_owned(),
            wire: ConnectionOptions::default(),
        };
        let mut private = PrivateServer { server, child };
        private.wait_until_ready().await?;
        Ok(private)
    }

    /// How to reach it.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let give_up = Instant::now() + READY_WITHIN;
        loop {
            match self.server.connect("postgres").await {
                Ok(_) => return Ok(()),
                Err(failure) if Instant::now() >= give_up => return Err(failure.error),
                Err(_) => {}
            }
            if let Ok(Some(ended)) = self.child.try_wait() {
                return Err(
                    Error::outside("a private PostgreSQL server did not start").caused_by(ended.to_string())
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        // Its closing is what the watcher waits for.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The shell that becomes the server.
fn replaced(base: &Command, directory: &Path, postgres: &Path, cluster: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.env_clear().current_dir("/");
    for (name, value) in base.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.args(["-c", WATCHED, "lifeboat"]).arg(directory).arg(postgres).arg("-D").arg(cluster);
    let settings = [
        "listen_addresses=".to_owned(),
        format!("unix_socket_directories={}", directory.display()),
        "fsync=off".to_owned(),
        "full_page_writes=off".to_owned(),
        "wal_level=minimal".to_owned(),
        "max_wal_senders=0".to_owned(),
        "max_wal_size=4GB".to_owned(),
        "autovacuum=off".to_owned(),
    ];
    for setting in settings {
        command.arg("-c").arg(setting);
    }
    command
}

/// PostgreSQL does not run as root: as whom it runs then.
pub(super) fn owner() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of = |name: &str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let fields: Vec<&str> = line.split(':').collect();
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    };
    of("postgres").or_else(|| of("nobody")).map(Some).ok_or_else(|| {
        Error::outside("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`")
            .hint("Run this as another user, or name a server with `--url`.")
    })
}

/// Whether the programs for a private server are there.
pub(crate) fn can_start(programs: &Programs) -> bool {
    programs.has("initdb") && programs.has("postgres")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_private_server_answers_and_leaves_nothing() {
        let programs = Programs::for_server(14, None).unwrap();
        assert!(can_start(&programs), "the server's programs are installed by `make setup`");
        let private = PrivateServer::start(&programs).await.unwrap();
        let place = std::path::PathBuf::from(&private.server().host);
        let session = private.server().connect("postgres").await.unwrap();
        assert_eq!(session.row("select 1", &[]).await.unwrap().get::<_, i32>(0), 1);
        drop(session);
        drop(private);
        let give_up = Instant::now() + Duration::from_secs(60);
        while place.exists() {
            assert!(Instant::now() < give_up, "{} is still there", place.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
