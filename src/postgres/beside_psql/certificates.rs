//! Certificates of every make: psql and we take the same ones in the same modes.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::cluster::Cluster;
use super::{of_lifeboat, of_psql};

/// Makes all of them below a directory.
fn make_all(directory: &Path) {
    let mut bash = Command::new("bash");
    bash.args(["-c", include_str!("makes.sh")]).current_dir(directory).stdin(Stdio::null());
    let done = bash.output().expect("bash, openssl and faketime are installed by `make setup`");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Turns TLS on, with a certificate that nobody has to trust.
pub(super) fn make_usual(cluster: &Cluster) {
    let work = tempfile::tempdir().unwrap();
    let arguments =
        "req -x509 -newkey rsa:2048 -nodes -keyout server.key -out server.crt -subj /CN=localhost -days 30";
    let openssl = Command::new("openssl").args(arguments.split(' ')).current_dir(work.path()).output();
    assert!(openssl.expect("openssl is installed by `make setup`").status.success());
    show(cluster, work.path());
}

/// Has a server show the certificate of a directory.
fn show(cluster: &Cluster, directory: &Path) {
    for name in ["server.key", "server.crt"] {
        cluster.put(name, &std::fs::read(directory.join(name)).unwrap());
    }
    let before = cluster.sql("postgres", "select pg_conf_load_time()");
    cluster.sql_in_files("postgres", &["alter system set ssl = on", "select pg_reload_conf()"]);
    // A new process inherits what the postmaster has loaded.
    while cluster.sql("postgres", "select pg_conf_load_time()") == before {
        std::thread::yield_now();
    }
    let log = cluster.log();
    assert!(!log.contains("SSL configuration was not reloaded"), "{}:\n{log}", directory.display());
}

const LOCALHOST: &str = "host=localhost";
const ADDRESS: &str = "host=127.0.0.1";
const STAR: &str = "host=db.example.test hostaddr=127.0.0.1";
const DEEP: &str = "host=a.db.example.test hostaddr=127.0.0.1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_and_lifeboat_take_the_same_certificates_in_the_same_modes() {
    let work = tempfile::tempdir().unwrap();
    make_all(work.path());
    let cluster = Cluster::start("tls", &[], "");
    let account = whoami::username().unwrap();
    if account != "postgres" {
        cluster.sql("postgres", &format!("create role \"{account}\" superuser login"));
    }
    let mut names: Vec<String> = std::fs::read_dir(work.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("server.crt").exists())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(names.len() > 45, "{names:?}");
    let (mut wrong, mut reasons, mut taken) = (Vec::new(), BTreeMap::new(), 0);
    for name in &names {
        let directory = work.path().join(name);
        show(&cluster, &directory);
        let home = tempfile::tempdir().unwrap();
        if directory.join("root.crl").exists() {
            std::fs::create_dir(home.path().join(".postgresql")).unwrap();
            std::fs::copy(directory.join("root.crl"), home.path().join(".postgresql/root.crl")).unwrap();
        }
        let of_names = name.contains("star") || name.contains("address");
        let hosts = if of_names { &[LOCALHOST, ADDRESS, STAR, DEEP][..] } else { &[LOCALHOST, ADDRESS][..] };
        for host in hosts {
            for mode in ["prefer", "require", "verify-ca", "verify-full"] {
                if *host != LOCALHOST && mode != "verify-full" {
                    continue;
                }
                let root = directory.join("root.crt");
                let text = format!(
                    "{host} port={} dbname=postgres sslmode={mode} sslrootcert={}",
                    cluster.port,
                    root.display()
                );
                let variables = BTreeMap::new();
                let psql = of_psql(&text, &variables, home.path());
                let ours = of_lifeboat(&text, &variables, home.path()).await;
                // Our cryptography does not know this curve.
                let unknown = name == "ed448"
                    && (mode == "prefer"
                        || ours.as_ref().is_err_and(|why| why.contains("that lifeboat cannot verify")));
                taken += usize::from(ours.is_ok());
                let holds = match (&psql, &ours) {
                    (Ok(psql), Ok(ours)) => psql == ours || unknown,
                    (Err(_), Err(_)) => true,
                    _ => unknown,
                };
                if !holds {
                    wrong.push(format!("{name}: {text}\n  psql: {psql:?}\n  ours: {ours:?}"));
                }
                if let (Err(why), "verify-full", LOCALHOST) = (ours, mode, *host) {
                    reasons.insert(name.clone(), why);
                }
            }
        }
        // Without authorities, any certificate will do.
        let text = format!("host=localhost port={} dbname=postgres sslmode=require", cluster.port);
        let ours = of_lifeboat(&text, &BTreeMap::new(), &work.path().join("nowhere")).await;
        assert!(ours.as_ref().is_ok_and(|row| row.contains("|t|")), "{name}: {ours:?}");
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(taken > 100, "{taken}");
    for (name, words) in [
        ("expired", "the server's certificate expired on 2020-01-31"),
        ("not-yet", "the server's certificate is not valid before 2040-01-01"),
        ("other-name", "is for `other.example.test`, and not for `localhost`"),
        ("other-common-name", "is for `other.example.test`, and not for `localhost`"),
        ("other-authority", "is signed by `other`, which is not among the certificate authorities in"),
        ("self-signed-unknown", "is self-signed, and it is not among"),
        ("between-missing", "is signed by `between`, which is not among"),
        ("between-as-root", "leads to `between`, an authority that is not a root"),
        ("for-clients-only", "the server's certificate is not for servers"),
        ("below-nobody", "the certificate of the authority `nobody` may not sign other certificates"),
        ("path-too-long", "the certificate of the authority `short` may not sign other certificates"),
        ("below-elsewhere", "has a name that an authority above it does not allow"),
        ("rsa-1024", "has an RSA key of 1024 bits"),
        ("sha1", "is signed with SHA-1 or MD5"),
        ("revoked", "the server's certificate was revoked"),
        ("list-expired", "there is no valid revocation list of `ca`"),
        ("unknown-critical", "has a critical extension"),
    ] {
        let why = reasons.get(name).map(String::as_str).unwrap_or("it was taken");
        assert!(why.contains(words), "{name}: {why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_and_lifeboat_show_the_same_certificate_of_their_own() {
    let work = tempfile::tempdir().unwrap();
    make_all(work.path());
    let client = work.path().join("client");
    let cluster = Cluster::start("client", &["ssl_ca_file=ca.crt"], "hostssl all certified all cert\n");
    cluster.put("ca.crt", &std::fs::read(work.path().join("ca.crt")).unwrap());
    cluster.sql("postgres", "create role certified login");
    show(&cluster, &work.path().join("usual"));
    let set_mode = |name: &str, mode: u32| {
        std::fs::set_permissions(client.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::copy(client.join("client.key"), client.join("open.key")).unwrap();
    std::fs::copy(client.join("client.key"), client.join("group.key")).unwrap();
    for (name, mode) in [
        ("client.key", 0o600),
        ("open.key", 0o644),
        ("group.key", 0o640),
        ("encrypted.key", 0o600),
        ("client.der", 0o600),
    ] {
        set_mode(name, mode);
    }
    let home = tempfile::tempdir().unwrap();
    let usual = home.path().join(".postgresql");
    std::fs::create_dir(&usual).unwrap();
    let bare = tempfile::tempdir().unwrap();
    for (from, to) in
        [("client.crt", "postgresql.crt"), ("client.key", "postgresql.key"), ("root.crt", "root.crt")]
    {
        std::fs::copy(client.join(from), usual.join(to)).unwrap();
    }
    let at = format!("host=localhost port={} dbname=postgres user=certified sslmode=require", cluster.port);
    let named = |certificate: &str, key: &str| {
        format!("{at} sslcert={0}/{certificate} sslkey={0}/{key}", client.display())
    };
    let cases = [
        (at.clone(), home.path(), true),
        (format!("{at} sslmode=verify-full sslsni=0"), home.path(), true),
        (at.clone(), bare.path(), false),
        (named("client.crt", "client.key"), bare.path(), true),
        (named("client.crt", "client.der"), bare.path(), true),
        (named("client.crt", "group.key"), bare.path(), rustix::process::geteuid().is_root()),
        (named("client.crt", "open.key"), bare.path(), false),
        (named("client.crt", "absent.key"), bare.path(), false),
        (named("absent.crt", "client.key"), bare.path(), false),
        (named("client.crt", "encrypted.key"), bare.path(), false),
        (named("root.crt", "client.key"), bare.path(), false),
    ];
    for (text, home, is_let_in) in cases {
        let psql = of_psql(&text, &BTreeMap::new(), home);
        let ours = of_lifeboat(&text, &BTreeMap::new(), home).await;
        assert_eq!((psql.is_ok(), ours.is_ok()), (is_let_in, is_let_in), "{text}\n{psql:?}\n{ours:?}");
    }
}
