//! Certificates of every make.

use std::process::{Command, Stdio};

use super::cluster::Cluster;

/// Runs openssl in a directory.
fn openssl(directory: &std::path::Path, arguments: &str) {
    let done = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .stdin(Stdio::null())
        .output();
    let done = done.expect("openssl is installed by `make setup`");
    assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Turns TLS on, with a certificate that nobody has to trust.
pub(super) fn make_usual(cluster: &Cluster) {
    let work = tempfile::tempdir().unwrap();
    openssl(
        work.path(),
        "req -x509 -newkey rsa:2048 -nodes -keyout key -out certificate -subj /CN=localhost -days 30",
    );
    for (name, file) in [("server.key", "key"), ("server.crt", "certificate")] {
        cluster.put(name, &std::fs::read(work.path().join(file)).unwrap());
    }
    cluster.sql_in_files("postgres", &["alter system set ssl = on", "select pg_reload_conf()"]);
    while cluster.sql("postgres", "show ssl") != "on" {
        std::thread::yield_now();
    }
}
