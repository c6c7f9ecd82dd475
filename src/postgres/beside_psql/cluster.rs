//! Servers of the test's own, over TCP and over a socket.

use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::postgres::Programs;
use crate::postgres::private_server::owner;

/// A server; it ends with the value.
pub(super) struct Cluster {
    pub(super) port: u16,
    directory: tempfile::TempDir,
    socket: String,
    child: Child,
}

impl Cluster {
    /// Starts one whose `cluster_name` is given. Everybody may do everything, but for what `hba` says first.
    pub(super) fn start(name: &str, settings: &[&str], hba: &str) -> Cluster {
        let programs = Programs::for_server(14, None).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let data = directory.path().join("data");
        let sockets = directory.path().join("s");
        std::fs::create_dir(&sockets).unwrap();
        own(directory.path());
        own(&sockets);
        let mut initdb = as_owner(programs.without_connection("initdb"));
        initdb.args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            "-D",
        ]);
        let made = initdb.arg(&data).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let rules = format!("{hba}local all all trust\nhost all all all trust\n");
        std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut postgres = as_owner(programs.without_connection("postgres"));
        let usual = [
            format!("cluster_name={name}"),
            format!("port={port}"),
            "listen_addresses=127.0.0.1,::1".to_owned(),
            format!("unix_socket_directories={}", sockets.display()),
            "fsync=off".to_owned(),
            "max_connections=30".to_owned(),
        ];
        for setting in usual.iter().map(String::as_str).chain(settings.iter().copied()) {
            postgres.args(["-c", setting]);
        }
        // The server takes keys that its clients refuse.
        let weak = directory.path().join("openssl.conf");
        std::fs::write(
            &weak,
            "openssl_conf=a\n[a]\nssl_conf=b\n[b]\nsystem_default=c\n[c]\nCipherString=DEFAULT@SECLEVEL=0\n",
        )
        .unwrap();
        postgres.env("OPENSSL_CONF", &weak);
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let child =
            postgres.arg("-D").arg(&data).stdout(Stdio::null()).stderr(log).process_group(0).spawn().unwrap();
        let socket = sockets.to_str().unwrap().to_owned();
        let cluster = Cluster { port, directory, socket, child };
        let give_up = Instant::now() + Duration::from_secs(60);
        while cluster.psql("postgres", &["select 1"]).is_err() {
            assert!(Instant::now() < give_up, "the server does not start:\n{}", cluster.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        cluster
    }

    /// The directory of its socket.
    pub(super) fn socket(&self) -> &str {
        &self.socket
    }

    /// The directory of its files.
    pub(super) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(super) fn sql(&self, database: &str, sql: &str) -> String {
        self.psql(database, &[sql]).unwrap()
    }

    /// Statements that cannot stand in one transaction.
    pub(super) fn sql_in_files(&self, database: &str, statements: &[&str]) {
        self.psql(database, statements).unwrap();
    }

    fn psql(&self, database: &str, statements: &[&str]) -> Result<String, String> {
        let mut psql = Command::new("psql");
        psql.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        psql.env("PGOPTIONS", "-c default_transaction_read_only=off");
        psql.args([
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-h",
            &self.socket,
            "-p",
        ]);
        psql.arg(self.port.to_string()).args(["-d", database]);
        for statement in statements {
            psql.args(["-c", statement]);
        }
        let done = psql.output().expect("psql is installed by `make setup`");
        match done.status.success() {
            true => Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
        }
    }

    /// What the server has written.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Puts a file into its directory that it alone can read.
    pub(super) fn put(&self, name: &str, content: &[u8]) {
        let path = self.data().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        own(&path);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let process = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(process, rustix::process::Signal::INT);
        let _ = self.child.wait();
    }
}

fn as_owner(mut command: Command) -> Command {
    if let Some((uid, gid)) = owner().unwrap() {
        command.uid(uid).gid(gid);
    }
    command
}

fn own(path: &Path) {
    if let Some((uid, gid)) = owner().unwrap() {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}
