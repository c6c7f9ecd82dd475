//! One running PostgreSQL server.
//!
//! A server ends with the stack, however the stack ends: a watcher process beside it holds one end of a pipe from the
//! stack, and shuts the server down when the other end closes. When the stack itself has seen the server end, it says
//! so through the pipe, and the watcher exits without a signal: the process id may belong to another process by then.

use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_postgres::{Client, NoTls};

use crate::cancel::CancelSignal;
use crate::home::{ClusterPaths, Home};

/// Starts the watcher detached (so that the server never sees it end), then becomes the server. The watcher's command
/// line names neither PostgreSQL nor a directory: whoever searches for servers must not find it.
const WATCHED: &str = r#"exec 3<&0 </dev/null
( exec /bin/sh -c 'read -r word || kill -INT "$1"' watcher $$ <&3 3<&- >/dev/null 2>&1 & )
exec "$@" 3<&-"#;

/// The superuser of every cluster; only the stack uses it.
pub(crate) const SUPERUSER: &str = "rdsadmin";

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) pid: u32,
    pub(crate) port: u16,
    secret: String,
    ended: watch::Receiver<bool>,
    /// The file that the server removes last of all.
    pub(crate) pid_file: std::path::PathBuf,
}

/// Why a server did not start.
#[derive(Debug)]
pub(crate) enum StartError {
    /// Another process listens on the port.
    PortTaken,
    /// The server ended; these are the last lines of its log.
    Ended(String),
    Cancelled,
    Io(io::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PortTaken => formatter.write_str("its port is in use by another process"),
            Self::Ended(log) => write!(formatter, "PostgreSQL ended while starting: {log}"),
            Self::Cancelled => formatter.write_str("no longer wanted"),
            Self::Io(error) => write!(formatter, "{error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Server {
    /// Starts the server with its written configuration, and waits until it accepts connections, which is after a
    /// recovery if there is one.
    pub(crate) async fn start(
        home: &Home,
        program: &Path,
        paths: &ClusterPaths,
        port: u16,
        cancel: &CancelSignal,
    ) -> Result<Self, StartError> {
        let log = fs::File::options().create(true).append(true).open(&paths.log)?;
        home.give_to_owner(&paths.log)?;
        let log_start = log.metadata()?.len();
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", WATCHED, "lifeboat-localstack"])
            .arg(program)
            .arg("-D")
            .arg(&paths.data)
            .arg("-c")
            .arg(format!("config_file={}", paths.conf.join("postgresql.conf").display()))
            .current_dir(&paths.root)
            // The servers' user cannot read our home directory, where `dblink` would look for certificates.
            .env("HOME", &paths.root)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C at the terminal is for the stack, which then stops its servers in order.
            .process_group(0);
        // Our own PG* variables must not reach a server.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        if let Some(owner) = home.owner {
            command.uid(owner.uid).gid(owner.gid);
        }
        let child = command.spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("the server has no process id"))?;
        let (report_end, ended) = watch::channel(false);
        tokio::spawn(reap_server(child, report_end));
        let server = Self {
            pid,
            port,
            secret: home.secret.clone(),
            ended,
            pid_file: paths.data.join("postmaster.pid"),
        };
        match server.wait_until_ready(cancel).await {
            Ok(()) => Ok(server),
            Err(StartError::Ended(_)) => {
                let log = log_since(&paths.log, log_start);
                Err(
                    if log.contains("could not bind") || log.contains("could not create any TCP/IP sockets") {
                        StartError::PortTaken
                    } else {
                        StartError::Ended(log)
                    },
                )
            }
            Err(other) => {
                server.stop().await;
                Err(other)
            }
        }
    }

    async fn wait_until_ready(&self, cancel: &CancelSignal) -> Result<(), StartError> {
        let mut pause = Duration::from_millis(10);
        loop {
            if self.has_ended() {
                return Err(StartError::Ended(String::new()));
            }
            if cancel.is_set() {
                return Err(StartError::Cancelled);
            }
            if self.connect("postgres").await.is_ok() {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = cancel.wait() => {}
                () = self.wait_for_end() => {}
            }
            pause = (pause * 5 / 4).min(Duration::from_millis(100));
        }
    }

    /// Connects as the superuser.
    pub(crate) async fn connect(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::Config::new()
            .host("127.0.0.1")
            .port(self.port)
            .user(SUPERUSER)
            .password(&self.secret)
            .dbname(database)
            .application_name("rdsadmin")
            .connect_timeout(Duration::from_secs(5))
            .connect(NoTls)
            .await?;
        tokio::spawn(async move {
            // How the connection ends shows in the client's next call.
            let _ = connection.await;
        });
        Ok(client)
    }

    pub(crate) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits until the server has ended, for whatever reason.
    pub(crate) async fn wait_for_end(&self) {
        // An error means that the sender is gone, which happens when the stack ends.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Makes the server reload its configuration.
    pub(crate) fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Shuts the server down: fast, then immediately, then by force.
    pub(crate) async fn stop(&self) {
        for (signal, patience) in
            [(Signal::INT, Duration::from_secs(20)), (Signal::QUIT, Duration::from_secs(5))]
        {
            self.signal(signal);
            if tokio::time::timeout(patience, self.wait_for_end()).await.is_ok() {
                return;
            }
        }
        self.signal(Signal::KILL);
        self.wait_for_end().await;
    }

    /// Tells the server to end immediately, without waiting. Its data stays intact: it recovers at its next start.
    pub(crate) fn abandon(&self) {
        self.signal(Signal::QUIT);
    }

    fn signal(&self, signal: Signal) {
        if self.has_ended() {
            return;
        }
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // The server may have just ended; it has not been waited for yet, so the process id is still its own.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Waits for the server's process, then dismisses its watcher.
async fn reap_server(mut child: Child, report_end: watch::Sender<bool>) {
    let pipe = child.stdin.take();
    let _status: io::Result<ExitStatus> = child.wait().await;
    if let Some(mut pipe) = pipe {
        // If the watcher is gone too, there is nothing to dismiss.
        let _ = pipe.write_all(b"ended\n").await;
    }
    report_end.send_replace(true);
}

/// A port that was free a moment ago.
pub(crate) fn find_free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

pub(crate) fn is_port_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// The last lines that were added to a log since it had the length `start`, joined into one line.
pub(crate) fn log_since(log: &Path, start: u64) -> String {
    let mut text = Vec::new();
    let read = fs::File::open(log).and_then(|mut file| {
        file.seek(io::SeekFrom::Start(start))?;
        file.read_to_end(&mut text)
    });
    if read.is_err() {
        return "its log could not be read".to_owned();
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join(" | ")
}
