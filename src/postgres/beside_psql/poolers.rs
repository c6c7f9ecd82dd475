//! Poolers in every mode, and roles whose settings would spoil a session.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use crate::postgres::private_server::owner;
use crate::postgres::{Programs, Server, Target};

/// PgBouncer in front of a server.
struct Pooler {
    port: u16,
    child: Child,
    _directory: tempfile::TempDir,
}

impl Pooler {
    fn start(cluster: &Cluster, settings: &str) -> Pooler {
        let directory = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let write = |name: &str, text: String| {
            std::fs::write(directory.path().join(name), text).unwrap();
            directory.path().join(name).display().to_string()
        };
        let users = write("users", "\"postgres\" \"\"\n".to_owned());
        let ini = write(
            "ini",
            format!(
                "[databases]\n* = host={} port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
                 unix_socket_dir =\nauth_type = trust\nauth_file = {users}\nmax_client_conn = 100\n{settings}\n",
                cluster.socket(),
                cluster.port
            ),
        );
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let installed = "/usr/sbin/pgbouncer";
        let mut command =
            Command::new(if std::path::Path::new(installed).exists() { installed } else { "pgbouncer" });
        if let Some((uid, gid)) = owner().unwrap() {
            command.uid(uid).gid(gid);
        }
        let child = command
            .args(["-q", &ini])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.expect("PgBouncer is installed by `make setup`");
        let give_up = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < give_up, "PgBouncer does not start");
            std::thread::yield_now();
        }
        Pooler { port, child, _directory: directory }
    }

    fn server(&self) -> Server {
        let url = format!("postgresql://postgres@127.0.0.1:{}/postgres?sslmode=disable", self.port);
        Target::parse(&url).unwrap().server
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SHOWN: &str = "select current_setting('search_path'), current_setting('default_transaction_read_only'),
    current_setting('statement_timeout'), current_setting('row_security'), current_setting('datestyle')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_of_transactions_is_refused_before_anything_is_set_in_it() {
    let cluster = Cluster::start("pooled", &[], "");
    for settings in [
        "pool_mode = transaction",
        "pool_mode = transaction\nserver_round_robin = 1\ndefault_pool_size = 3",
        "pool_mode = transaction\ndefault_pool_size = 1\nquery_wait_timeout = 3",
        "pool_mode = statement",
    ] {
        let pooler = Pooler::start(&cluster, settings);
        let server = pooler.server();
        // An application at work, so that processes change hands.
        let busy = tokio::spawn({
            let server = server.clone();
            async move {
                let mut sessions = Vec::new();
                for _ in 0..3 {
                    sessions.extend(server.open_session("postgres").await.map(|(session, _)| session));
                }
                loop {
                    for session in &sessions {
                        let _ = session.texts("select pg_sleep(0.001)").await;
                    }
                }
            }
        });
        for _ in 0..5 {
            let Err(failure) = server.connect("postgres").await else { panic!("{settings}: it was taken") };
            let said = failure.error.chain();
            assert!(said.contains("gives each transaction to another server process"), "{settings}: {said}");
        }
        busy.abort();
        let _ = busy.await;
        // What the next ones get is as it was.
        let (session, _) = server.open_session("postgres").await.map_err(|failure| failure.error).unwrap();
        for _ in 0..5 {
            let found = session.texts(SHOWN).await.unwrap().remove(0);
            let found: Vec<String> = found.into_iter().map(Option::unwrap_or_default).collect();
            assert_eq!(found, ["\"$user\", public", "off", "0", "on", "ISO, MDY"], "{settings}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_of_sessions_is_like_the_server_itself() {
    let cluster = Cluster::start("pooled", &[], "");
    let pooler = Pooler::start(&cluster, "pool_mode = session\ndefault_pool_size = 10");
    let server = pooler.server();
    let session = server.connect("postgres").await.map_err(|failure| failure.error).unwrap();
    assert_eq!(session.texts(SHOWN).await.unwrap()[0][0].as_deref(), Some("pg_catalog"));
    // pg_dump gets through it, too: PgBouncer refuses options that it does not know.
    let programs = Programs::for_server(14, None).unwrap();
    let connecting = programs.connecting("pg_dump", &server, "postgres").unwrap();
    let mut command = connecting.command;
    let dumped = command.arg("--schema-only").output().unwrap();
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_roles_databases_and_options_do_not_reach_our_sessions() {
    let cluster = Cluster::start("settings", &[], "");
    let hostile = [
        ("statement_timeout", "20s"),
        ("lock_timeout", "20s"),
        ("idle_in_transaction_session_timeout", "20s"),
        ("idle_session_timeout", "20s"),
        ("default_transaction_read_only", "on"),
        ("default_transaction_isolation", "serializable"),
        ("default_transaction_deferrable", "on"),
        ("search_path", "evil"),
        ("row_security", "off"),
        ("datestyle", "SQL, DMY"),
        ("intervalstyle", "iso_8601"),
        ("extra_float_digits", "-15"),
        ("bytea_output", "escape"),
        ("standard_conforming_strings", "off"),
        ("xmloption", "document"),
        ("quote_all_identifiers", "on"),
        ("client_encoding", "LATIN1"),
    ];
    cluster.sql("postgres", "create role bk superuser login; create role limited login connection limit 1");
    for (name, value) in hostile {
        cluster.sql("postgres", &format!("alter role bk set {name} = '{value}'"));
    }
    let url =
        format!("host={} port={} user=bk options='-c statement_timeout=30s'", cluster.socket(), cluster.port);
    let server = Target::parse(&url).unwrap().server;
    let settings = |names: &[&str]| {
        let columns: Vec<String> =
            names.iter().map(|name| format!("pg_catalog.current_setting('{name}')")).collect();
        format!("select {}", columns.join(", "))
    };
    let ours = [
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        ("idle_session_timeout", "0"),
        ("default_transaction_read_only", "off"),
        ("default_transaction_isolation", "read committed"),
        ("default_transaction_deferrable", "off"),
        ("search_path", "pg_catalog"),
        ("row_security", "on"),
        ("datestyle", "ISO, YMD"),
        ("intervalstyle", "postgres"),
        ("extra_float_digits", "1"),
        ("bytea_output", "hex"),
        ("standard_conforming_strings", "on"),
        ("xmloption", "content"),
        ("quote_all_identifiers", "off"),
        ("client_encoding", "UTF8"),
    ];
    let session = server.connect("postgres").await.map_err(|failure| failure.error).unwrap();
    let found = session.texts(&settings(&ours.map(|(name, _)| name))).await.unwrap().remove(0);
    for ((name, value), found) in ours.iter().zip(found) {
        assert_eq!(found.as_deref(), Some(*value), "{name}");
    }
    // A person's SQL keeps the settings that it was written for, and is not cut off while it waits for us.
    let session = server.connect_for_others("postgres").await.map_err(|failure| failure.error).unwrap();
    let asked = settings(&["search_path", "statement_timeout", "idle_in_transaction_session_timeout"]);
    let found: Vec<_> = session.texts(&asked).await.unwrap().remove(0).into_iter().flatten().collect();
    assert_eq!(found, ["evil", "30s", "0"]);
    // Programs of PostgreSQL's.
    let programs = Programs::for_server(14, None).unwrap();
    let connecting = programs.connecting("psql", &server, "postgres").unwrap();
    let mut command = connecting.command;
    let names = ours.map(|(name, _)| name);
    let shown = command.args(["-X", "-A", "-t", "-F", "|", "-c", &settings(&names[..7])]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&shown.stdout).trim(), "0|0|0|20s|off|read committed|off");
    // A role that may connect once.
    let url = format!("host={} port={} user=limited", cluster.socket(), cluster.port);
    let server = Target::parse(&url).unwrap().server;
    let _first = server.connect("postgres").await.map_err(|failure| failure.error).unwrap();
    let Err(second) = server.connect("postgres").await else { panic!("a second connection") };
    assert!(
        second.error.hints()[0].contains("alter role \"limited\" connection limit 4"),
        "{:?}",
        second.error.hints()
    );
}
