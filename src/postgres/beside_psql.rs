//! psql and we, asked the same: connection strings and environments against real servers. Both reach the same server, port,
//! database and user with the same protection, or neither does, or we name what we do not take.

mod certificates;
mod cluster;
mod poolers;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use cluster::Cluster;

use super::Target;
use super::environment::Environment;

/// What is asked of whatever answers.
const QUESTION: &str = "select current_setting('cluster_name'), current_database(), current_user,
    coalesce(inet_server_port()::text, 'socket'), (select ssl from pg_stat_ssl where pid = pg_backend_pid()),
    current_setting('work_mem')";

/// How psql and we compare.
#[derive(Clone, Copy, Debug)]
enum Expect {
    /// Both reach the same, or neither reaches anything.
    Same,
    /// psql gets through, and we refuse with these words.
    Refused(&'static str),
    /// psql does not know the parameter, and we reach this.
    Ours(&'static str),
}
use Expect::{Ours, Refused, Same};

type Case = (&'static str, &'static [(&'static str, &'static str)], Expect);

/// `{1}`, `{2}`: the ports of the two servers; `{s1}`, `{s2}`: the directories of their sockets, as they stand; `{e1}`, `{e2}`:
/// percent-encoded; `{home}`: the home directory.
const CASES: &[Case] = &[
    // What the environment alone says.
    ("", &[("PGHOST", "{s1}"), ("PGPORT", "{1}"), ("PGDATABASE", "app")], Same),
    ("", &[("PGHOST", "{s2}"), ("PGPORT", "{2}"), ("PGDATABASE", "app")], Same),
    ("", &[("PGHOST", "{s2}"), ("PGPORT", "{2}")], Same),
    ("", &[("PGHOST", "127.0.0.1"), ("PGPORT", "{1}"), ("PGUSER", "other"), ("PGDATABASE", "app")], Same),
    ("", &[("PGHOSTADDR", "127.0.0.1"), ("PGPORT", "{2}"), ("PGDATABASE", "app")], Same),
    ("", &[("PGSERVICE", "one")], Same),
    ("", &[("PGSERVICE", "two")], Same),
    ("", &[("PGSERVICE", "one"), ("PGHOST", "{s2}"), ("PGPORT", "{2}")], Same),
    ("", &[("PGSERVICE", "one"), ("PGDATABASE", "a b")], Same),
    ("", &[("PGSERVICE", "absent")], Same),
    ("", &[("PGSERVICE", "faulty")], Same),
    ("", &[("PGSERVICE", "unknown")], Same),
    ("", &[("PGSERVICE", "one"), ("PGSERVICEFILE", "{home}/other_services")], Same),
    ("", &[("PGSERVICE", "shared"), ("PGSYSCONFDIR", "{home}/etc")], Same),
    ("", &[("PGSERVICE", "one"), ("PGSYSCONFDIR", "{home}/etc")], Same),
    ("", &[("PGSERVICE", "one"), ("PGSERVICEFILE", "{home}/absent")], Same),
    // The case that lost data: a URL without a host.
    ("postgresql:///app", &[("PGHOST", "{s2}"), ("PGPORT", "{2}")], Same),
    ("postgresql:///app", &[("PGHOST", "localhost"), ("PGPORT", "{1}")], Same),
    ("postgresql:///app", &[("PGHOSTADDR", "127.0.0.1"), ("PGPORT", "{2}")], Same),
    ("postgresql:///app", &[("PGSERVICE", "two")], Same),
    ("postgresql:///app", &[("PGPORT", "{1}")], Same),
    ("postgresql://", &[("PGHOST", "{s1}"), ("PGPORT", "{1}"), ("PGDATABASE", "app")], Same),
    ("postgresql://other@", &[("PGHOST", "{s1}"), ("PGPORT", "{1}"), ("PGDATABASE", "app")], Same),
    ("postgresql://other@/app", &[("PGHOST", "{s1}"), ("PGPORT", "{1}"), ("PGUSER", "nobody_here")], Same),
    ("postgresql://:{2}/app", &[("PGHOST", "{s2}"), ("PGPORT", "1")], Same),
    ("postgresql://localhost/app", &[("PGPORT", "{2}")], Same),
    ("postgresql://localhost/app", &[("PGPORT", "{1}"), ("PGHOST", "{s2}")], Same),
    ("postgresql://localhost:{1}", &[("PGDATABASE", "app")], Same),
    ("postgresql://localhost:{1}/", &[("PGDATABASE", "app")], Same),
    ("postgresql://localhost:{1}", &[], Same),
    ("postgresql://localhost:{1}?dbname=app", &[("PGDATABASE", "a b")], Same),
    ("postgresql://localhost:{1}/app?dbname=", &[("PGDATABASE", "a b")], Same),
    ("host='' port={1} dbname=app", &[("PGHOST", "localhost")], Same),
    ("postgresql:///app?host={s2}&port={2}", &[], Same),
    ("postgresql://127.0.0.1/app?port={2}", &[], Same),
    ("postgresql://127.0.0.1:1/app?port={2}", &[], Same),
    ("postgresql://127.0.0.1:{1}/app?host={s2}&port={2}", &[], Same),
    ("postgres://localhost:{1}/app", &[], Same),
    // Sockets.
    ("postgresql://{e1}:{1}/app", &[], Same),
    ("postgresql://{e2}:{2}/app", &[], Same),
    ("postgresql://{e2}/app?port={2}", &[], Same),
    ("postgresql://other@{e2}:{2}/app", &[], Same),
    ("postgresql://{e2}:{2}/app?sslmode=require", &[], Same),
    ("postgresql://{e2}:{2}/app?sslmode=verify-full", &[], Same),
    ("postgresql://{e2}:{2}/app", &[("PGSSLMODE", "verify-full"), ("PGSSLROOTCERT", "{home}/absent")], Same),
    ("postgresql://{e1}:{2}/app", &[], Same),
    ("postgresql://%2Fnowhere/app", &[], Same),
    // Addresses.
    ("postgresql://127.0.0.1:{1}/app", &[], Same),
    ("postgresql://[::1]:{1}/app", &[], Same),
    ("postgresql://[::1]/app?port={2}", &[], Same),
    ("postgresql://[::1%25lo]:{1}/app", &[], Same),
    ("postgresql://[::1/app", &[], Same),
    ("postgresql://[]:{1}/app", &[], Same),
    ("postgresql://[::1]x:{1}/app", &[], Same),
    ("postgresql://nowhere.invalid/app?hostaddr=127.0.0.1&port={1}", &[], Same),
    ("postgresql://nowhere.invalid:{1}/app", &[("PGHOSTADDR", "127.0.0.1")], Same),
    ("postgresql://nowhere.invalid:{1}/app", &[], Same),
    ("postgresql:///app?hostaddr=::1&port={1}", &[], Same),
    ("postgresql://localhost:{1}/app?hostaddr=not-an-address", &[], Same),
    ("postgresql://LOCALHOST:{1}/app", &[], Same),
    ("postgresql://localhost:1/app", &[], Same),
    ("postgresql://localhost:0/app", &[], Same),
    ("postgresql://localhost:65536/app", &[], Same),
    ("postgresql://localhost:x/app", &[], Same),
    ("postgresql://localhost:{1}x/app", &[], Same),
    ("postgresql://localhost: {1} /app", &[], Same),
    ("postgresql://localhost/app", &[("PGPORT", "x")], Same),
    // Several hosts.
    ("postgresql://localhost:1,localhost:{1}/app", &[], Same),
    ("postgresql://localhost:1,localhost:2/app", &[], Same),
    ("postgresql://localhost:{2},localhost:{1}/app", &[], Same),
    ("postgresql://localhost:{2},localhost:{1}/app?target_session_attrs=read-write", &[], Same),
    ("postgresql://localhost:{1},localhost:{2}/app?target_session_attrs=read-only", &[], Same),
    ("postgresql://localhost:{1},localhost:{2}/app?target_session_attrs=standby", &[], Same),
    ("postgresql://localhost:{1},localhost:{2}/app?target_session_attrs=prefer-standby", &[], Same),
    ("postgresql://localhost:{1},localhost:{2}/app?target_session_attrs=primary", &[], Same),
    ("postgresql://localhost:{1},localhost:{2}/app?target_session_attrs=sideways", &[], Same),
    ("postgresql://localhost:{2}/app", &[("PGTARGETSESSIONATTRS", "read-write")], Same),
    ("postgresql://localhost,localhost/app?port={1}", &[], Same),
    ("postgresql://localhost,localhost/app?port=1,{2}", &[], Same),
    ("postgresql://localhost,localhost,localhost/app?port=1,{2}", &[], Same),
    ("postgresql://{e1}:{1},{e2}:{2}/app", &[], Same),
    ("postgresql://nowhere.invalid,{e2}/app?port=1,{2}", &[], Same),
    ("postgresql://,localhost:{1}/app?hostaddr=127.0.0.1,127.0.0.1", &[], Same),
    ("host=a,b hostaddr=127.0.0.1 port={1} dbname=app", &[], Same),
    ("postgresql://refused@localhost:{2},localhost:{1}/app", &[], Same),
    // Databases and their names.
    ("postgresql://localhost:{1}/a%20b", &[], Same),
    ("postgresql://localhost:{1}/a b", &[], Same),
    ("postgresql://localhost:{1}/a+b", &[], Same),
    ("postgresql://localhost:{1}/a%2Bb", &[], Same),
    ("postgresql://localhost:{1}?dbname=a+b", &[], Same),
    ("postgresql://localhost:{1}?dbname=a%20b", &[], Same),
    ("postgresql://localhost:{1}/a@b", &[], Same),
    ("postgresql://localhost:{1}/a%40b", &[], Same),
    ("postgresql://localhost:{1}/a/b", &[], Same),
    ("postgresql://localhost:{1}/a%2Fb", &[], Same),
    ("postgresql://localhost:{1}/a#b", &[], Same),
    ("postgresql://localhost:{1}/a%23b", &[], Same),
    ("postgresql://localhost:{1}/%D0%B4%D0%B0%D0%BD%D0%BD%D1%8B%D0%B5", &[], Same),
    ("postgresql://localhost:{1}/данные", &[], Same),
    ("postgresql://localhost:{1}", &[("PGDATABASE", "данные")], Same),
    ("postgresql://localhost:{1}/App", &[], Same),
    ("postgresql://localhost:{1}/absent", &[], Same),
    ("postgresql://localhost:{1}/a%00b", &[], Same),
    ("postgresql://localhost:{1}/a%2", &[], Same),
    ("postgresql://localhost:{1}/a%zz", &[], Same),
    ("postgresql://localhost:{1}/a%3Fb", &[], Same),
    ("postgresql://localhost:{1}//app", &[], Same),
    // Users and passwords.
    ("postgresql://other@localhost:{1}/app", &[], Same),
    ("postgresql://other:@localhost:{1}/app", &[], Same),
    ("postgresql://:@localhost:{1}/app", &[], Same),
    ("postgresql://@localhost:{1}/app", &[], Same),
    ("postgresql://localhost:{1}/app?user=other", &[], Same),
    ("postgresql://other@localhost:{1}/app?user=o'r%20%C5%82", &[], Same),
    ("postgresql://o'r%20ł@localhost:{1}/app", &[], Same),
    ("postgresql://localhost:{1}/app", &[("PGUSER", "o'r ł")], Same),
    ("postgresql://localhost:{1}/app?user=", &[], Same),
    ("postgresql://localhost:{1}/app", &[("USER", "other"), ("LOGNAME", "other")], Same),
    ("postgresql://pw:p%40%2F%3A%3F%23%2B%25%20s@localhost:{1}/app", &[], Same),
    ("postgresql://pw:p%40%2F:?#+%25 s@localhost:{1}/app", &[], Same),
    ("postgresql://pw@localhost:{1}/app?password=p%40/:?%23+%25 s", &[], Same),
    ("postgresql://pw@localhost:{1}/app", &[("PGPASSWORD", "p@/:?#+% s")], Same),
    ("postgresql://pw:wrong@localhost:{1}/app", &[("PGPASSWORD", "p@/:?#+% s")], Same),
    ("postgresql://pw@localhost:{1}/app", &[("PGPASSWORD", "wrong")], Same),
    ("postgresql://pw@localhost:{1}/app", &[], Same),
    ("postgresql://pw@localhost:{1}/app", &[("PGPASSFILE", "{home}/pass")], Same),
    ("postgresql://pw@127.0.0.1:{1}/app", &[("PGPASSFILE", "{home}/pass")], Same),
    ("postgresql://pw@localhost:{1}/a%20b", &[("PGPASSFILE", "{home}/pass")], Same),
    ("postgresql://pw@localhost:{1}/app?passfile={home}/pass", &[], Same),
    ("postgresql://pw@localhost:{1}/app", &[("PGPASSFILE", "{home}/open_pass")], Same),
    ("postgresql://pw@localhost:{1}/app", &[("PGPASSFILE", "{home}/absent")], Same),
    ("postgresql://pw@{e1}:{1}/app", &[("PGPASSFILE", "{home}/pass")], Same),
    ("postgresql://pw@nowhere.invalid:{1}/app?hostaddr=127.0.0.1", &[("PGPASSFILE", "{home}/pass")], Same),
    ("postgresql://pw@/app?hostaddr=127.0.0.1&port={1}", &[("PGPASSFILE", "{home}/pass")], Same),
    ("postgresql://pw@localhost:{2},localhost:{1}/app", &[("PGPASSFILE", "{home}/pass")], Same),
    ("postgresql://refused@localhost:{2}/app", &[], Same),
    // Keywords and values, as psql takes them for a database.
    ("host=localhost port={1} dbname=app", &[], Same),
    ("host={s2} port={2} dbname=app", &[], Same),
    ("host = localhost port = {1} dbname = 'a b'", &[], Same),
    ("host=localhost port={1} dbname=a\\ b", &[], Same),
    ("host=localhost port={1} user='o\\'r ł' dbname=app", &[], Same),
    ("dbname=app", &[("PGHOST", "{s2}"), ("PGPORT", "{2}")], Same),
    ("service=two", &[], Same),
    ("service=two dbname='a b'", &[], Same),
    ("host=localhost port={1} dbname='app", &[], Same),
    ("host=localhost port={1} dbname", &[], Same),
    ("host=localhost port={1} dbname=app nonsense=1", &[], Same),
    // Parameters.
    ("postgresql://?service=two", &[], Same),
    ("postgresql://localhost:{1}/app?service=two", &[], Same),
    ("postgresql://localhost:{1}/app?service=two", &[("PGSERVICE", "one")], Same),
    ("postgresql://localhost:{1}/app?connect_timeout=3", &[], Same),
    ("postgresql://localhost:{1}/app?connect_timeout=0", &[], Same),
    ("postgresql://localhost:{1}/app?connect_timeout=-1", &[], Same),
    ("postgresql://localhost:{1}/app?connect_timeout=%203%20", &[], Same),
    ("postgresql://localhost:{1}/app?connect_timeout=soon", &[], Same),
    ("postgresql://localhost:{1}/app", &[("PGCONNECT_TIMEOUT", "2")], Same),
    ("postgresql://localhost:{1}/app?options=-c%20work_mem%3D1MB", &[], Same),
    ("postgresql://localhost:{1}/app?options=-c%20work_mem=1MB", &[], Same),
    ("postgresql://localhost:{1}/app", &[("PGOPTIONS", "-c work_mem=2MB")], Same),
    ("postgresql://localhost:{1}/app?options=-c%20nonsense%3D1", &[], Same),
    ("postgresql://localhost:{1}/app?application_name=x&client_encoding=LATIN1&keepalives=1", &[], Same),
    ("postgresql://localhost:{1}/app?sslsni=0&sslcompression=1&ssl_min_protocol_version=TLSv1.2", &[], Same),
    ("postgresql://localhost:{1}/app?nonsense=1", &[], Same),
    ("postgresql://localhost:{1}/app?Host=localhost", &[], Same),
    ("postgresql://localhost:{1}/app?user", &[], Same),
    ("postgresql://localhost:{1}/app?user=a=b", &[], Same),
    ("postgresql://localhost:{1}/app?&user=other", &[], Same),
    ("postgresql://localhost:{1}/app?user=other&", &[], Same),
    ("postgresql://localhost:{1}/app?user=other&&", &[], Same),
    ("postgresql://localhost:{1}/app?", &[], Same),
    ("postgresql://localhost:{1}/app?=x", &[], Same),
    ("postgresql://localhost:{1}/app?us%65r=other", &[], Same),
    ("postgresql://localhost:{1}/app?user=other#fragment", &[], Same),
    ("postgresql://localhost:{1}/app?gssencmode=disable", &[], Same),
    (
        "postgresql://localhost:{1}/app",
        &[("PGCLIENTENCODING", "UTF8"), ("PGTZ", "UTC"), ("PGAPPNAME", "x")],
        Same,
    ),
    // How the connection is protected: the first server does not speak TLS, the second does.
    ("postgresql://localhost:{1}/app?sslmode=disable", &[], Same),
    ("postgresql://localhost:{1}/app?sslmode=allow", &[], Same),
    ("postgresql://localhost:{1}/app?sslmode=prefer", &[], Same),
    ("postgresql://localhost:{1}/app?sslmode=require", &[], Same),
    ("postgresql://localhost:{1}/app?sslmode=nonsense", &[], Same),
    ("postgresql://localhost:{1}/app?sslmode=", &[], Same),
    ("postgresql://localhost:{1}/app", &[("PGSSLMODE", "require")], Same),
    ("postgresql://localhost:{1}/app?sslmode=disable", &[("PGSSLMODE", "require")], Same),
    ("postgresql://localhost:{1}/app", &[("PGREQUIRESSL", "1")], Same),
    ("postgresql://localhost:{1}/app", &[("PGREQUIRESSL", "0")], Same),
    ("postgresql://localhost:{1}/app?requiressl=1", &[], Same),
    ("postgresql://localhost:{1}/app?ssl=true", &[], Same),
    ("postgresql://localhost:{2}/app", &[], Same),
    ("postgresql://localhost:{2}/app?sslmode=disable", &[], Same),
    ("postgresql://localhost:{2}/app?sslmode=allow", &[], Same),
    ("postgresql://localhost:{2}/app?sslmode=prefer", &[], Same),
    ("postgresql://localhost:{2}/app?sslmode=require", &[], Same),
    ("postgresql://localhost:{2}/app?ssl=true", &[], Same),
    ("postgresql://localhost:{2}/app?sslmode=verify-ca", &[("PGSSLROOTCERT", "{home}/absent")], Same),
    ("postgresql://localhost:{2}/app?sslmode=require&sslrootcert={home}/absent", &[], Same),
    ("postgresql://localhost:{2}/app?sslmode=require&ssl_min_protocol_version=TLSv1.3", &[], Same),
    ("postgresql://localhost:{2}/app?sslmode=require&ssl_max_protocol_version=TLSv1.2", &[], Same),
    (
        "postgresql://localhost:{2}/app?sslmode=require&ssl_max_protocol_version=TLSv1.2&ssl_min_protocol_version=TLSv1.3",
        &[],
        Same,
    ),
    ("postgresql://localhost:{2}/app?sslmode=require&ssl_min_protocol_version=SSLv3", &[], Same),
    ("postgresql://onlyplain@localhost:{2}/app?sslmode=prefer", &[], Same),
    ("postgresql://onlyplain@localhost:{2}/app?sslmode=require", &[], Same),
    ("postgresql://onlyplain@localhost:{2}/app?sslmode=allow", &[], Same),
    ("postgresql://onlytls@localhost:{2}/app?sslmode=allow", &[], Same),
    ("postgresql://onlytls@localhost:{2}/app?sslmode=disable", &[], Same),
    ("postgresql://onlytls@localhost:{2}/app?sslmode=prefer", &[], Same),
    (
        "postgresql://pw:p%40%2F%3A%3F%23%2B%25%20s@localhost:{2}/app?sslmode=require&channel_binding=require",
        &[],
        Same,
    ),
    (
        "postgresql://pw:p%40%2F%3A%3F%23%2B%25%20s@localhost:{2}/app?sslmode=disable&channel_binding=require",
        &[],
        Same,
    ),
    (
        "postgresql://pw:p%40%2F%3A%3F%23%2B%25%20s@localhost:{2}/app",
        &[("PGCHANNELBINDING", "disable")],
        Same,
    ),
    ("postgresql://other@localhost:{2}/app?channel_binding=require", &[], Same),
    ("postgresql://localhost:{2}/app?sslmode=require&sslcert={home}/absent", &[], Same),
    // What we do not take, by name.
    ("postgresql://{e1}:{1}/app?requirepeer=nobody-here", &[], Same),
    ("postgresql://localhost:{1}/app?sslpassword=x", &[], Refused("`sslpassword`")),
    ("postgresql://localhost:{1}/app?sslcrldir=/x", &[], Refused("`sslcrldir`")),
    ("postgresql://localhost:{1}/app?replication=false", &[], Refused("`replication`")),
    ("postgresql://localhost:{1}/app", &[("PGREQUIREPEER", "root")], Refused("PGREQUIREPEER")),
    ("postgresql://pw:p@x@localhost:{1}/app", &[], Same),
    // URLs of frameworks, which psql does not take.
    ("postgresql+psycopg2://other@localhost:{1}/app", &[], Ours("one|app|other|{1}|f|4MB")),
    ("postgresql+psycopg://localhost:{2}/app", &[], Ours("two|app|{me}|{2}|t|4MB")),
    ("postgresql+asyncpg://other@localhost:{1}/app?ssl=disable", &[], Ours("one|app|other|{1}|f|4MB")),
    ("postgresql+psycopg2:///app?host={s2}&port={2}", &[], Ours("two|app|{me}|socket|f|4MB")),
    ("postgresql+psycopg2://pw:p%40/:?%23+%25 s@localhost:{1}/app", &[], Ours("one|app|pw|{1}|f|4MB")),
    ("postgres+pg8000://localhost:{1}/app", &[], Ours("one|app|{me}|{1}|f|4MB")),
    ("postgis://other@localhost:{1}/app", &[], Ours("one|app|other|{1}|f|4MB")),
    ("pgsql://other@localhost:{1}/app?serverVersion=16&charset=utf8", &[], Ours("one|app|other|{1}|f|4MB")),
    ("jdbc:postgresql://localhost:{1}/app?user=other&currentSchema=x", &[], Ours("one|app|other|{1}|f|4MB")),
    ("postgresql://localhost:{1}/app?schema=public&connection_limit=5", &[], Ours("one|app|{me}|{1}|f|4MB")),
    ("postgresql://localhost:{1}/app?pool_max_conns=3", &[], Ours("one|app|{me}|{1}|f|4MB")),
    ("postgresql://localhost:{1}/app?pool=5&prepared_statements=false", &[], Ours("one|app|{me}|{1}|f|4MB")),
    (
        "postgresql://localhost:{2}/app?uselibpqcompat=true&sslmode=require",
        &[],
        Ours("two|app|{me}|{2}|t|4MB"),
    ),
    ("postgresql://localhost:{1}/app?search_path=x&statement_timeout=5", &[], Ours("one|app|{me}|{1}|f|4MB")),
];

/// The two servers, and the files of a home directory.
struct World {
    one: Cluster,
    two: Cluster,
    home: tempfile::TempDir,
    account: String,
}

impl World {
    fn start() -> World {
        let one = Cluster::start("one", &[], "host all pw all scram-sha-256\nlocal all pw scram-sha-256\n");
        let hba = "host all pw all scram-sha-256\nhost all refused all reject\nhostssl all onlyplain all reject\n\
                   hostnossl all onlytls all reject\n";
        let two = Cluster::start("two", &["default_transaction_read_only=on"], hba);
        let home = tempfile::tempdir().unwrap();
        certificates::make_usual(&two);
        let account = whoami::username().unwrap();
        for cluster in [&one, &two] {
            cluster.sql("postgres", "set password_encryption = 'scram-sha-256';
                 create role other login; create role onlyplain login; create role onlytls login; create role refused login;
                 create role \"o'r ł\" login; create role pw login password 'p@/:?#+% s'");
            for role in [account.as_str()].iter().filter(|role| **role != "postgres") {
                cluster.sql("postgres", &format!("create role \"{role}\" superuser login"));
            }
            for database in
                ["app", "a b", "a+b", "a@b", "a/b", "a#b", "данные", "a?b", "/app", account.as_str()]
            {
                // CREATE DATABASE stands alone.
                cluster.sql_in_files("postgres", &[&format!("create database \"{database}\"")]);
            }
        }
        let world = World { one, two, home, account };
        let services = "[one]\nhost={s1}\nport={1}\ndbname=app\n\n# another\n[two]\n  host={s2}\nport={2}\nport=1\ndbname=app\n\
                        user=other\n[faulty]\nhost\n[unknown]\nnonsense=1\n";
        world.write(".pg_service.conf", services, 0o644);
        world.write("other_services", "[one]\nhost=localhost\nport={2}\ndbname=a b\n", 0o644);
        world.write(
            "etc/pg_service.conf",
            "[shared]\nhost={s1}\nport={1}\ndbname=a b\n[one]\nport=1\n",
            0o644,
        );
        let passes = "#localhost:{1}:app:pw:no\nlocalhost:{1}:a b:pw:wrong\nlocalhost:{1}:app:p\\w:p@/\\:?#+% s\n\
                      localhost:{2}:*:pw:p@/:?#+% s\nnowhere.invalid:*:app:pw:p@/\\:?#+% s:more\n{s1}:*:*:pw:p@/\\:?#+% s\n";
        world.write("pass", passes, 0o600);
        world.write("open_pass", "*:*:*:*:p@/\\:?#+% s\n", 0o644);
        world
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, self.fill(text)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn fill(&self, text: &str) -> String {
        let encoded = |cluster: &Cluster| cluster.socket().replace('/', "%2F");
        text.replace("{1}", &self.one.port.to_string())
            .replace("{2}", &self.two.port.to_string())
            .replace("{s1}", self.one.socket())
            .replace("{s2}", self.two.socket())
            .replace("{e1}", &encoded(&self.one))
            .replace("{e2}", &encoded(&self.two))
            .replace("{home}", self.home.path().to_str().unwrap())
            .replace("{me}", &self.account)
    }
}

/// What psql reaches.
fn of_psql(text: &str, variables: &BTreeMap<String, String>, home: &Path) -> Result<String, String> {
    let mut psql = Command::new("psql");
    psql.args(["-X", "-w", "-A", "-t", "-q", "-c", QUESTION]).env_clear().envs(variables);
    psql.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home).stdin(Stdio::null());
    if !text.is_empty() {
        psql.args(["-d", text]);
    }
    let done = psql.output().expect("psql is installed by `make setup`");
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
    }
}

/// What we reach.
async fn of_lifeboat(
    text: &str,
    variables: &BTreeMap<String, String>,
    home: &Path,
) -> Result<String, String> {
    let environment = Environment {
        variables: variables.clone().into_iter().filter(|(name, _)| name.starts_with("PG")).collect(),
        home: Some(home.to_owned()),
        account: whoami::username().ok(),
    };
    let reach = async {
        let target = Target::resolve(text, &environment)?.choose_server().await?;
        let database = target.database.clone().unwrap_or_else(|| target.server.user.clone());
        let session = target.server.connect_for_others(&database).await?;
        Ok::<_, crate::error::Error>(session.texts(QUESTION).await?.remove(0))
    };
    match reach.await {
        Ok(row) => Ok(row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|")),
        Err(error) => Err(error.chain()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_and_lifeboat_reach_the_same_server_database_and_user() {
    let world = World::start();
    assert!(CASES.len() >= 150, "{} cases", CASES.len());
    let mut wrong = Vec::new();
    for (text, variables, expect) in CASES {
        let text = world.fill(text);
        let variables: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), world.fill(value))).collect();
        let psql = of_psql(&text, &variables, world.home.path());
        let ours = of_lifeboat(&text, &variables, world.home.path()).await;
        let holds = match (expect, &psql, &ours) {
            (Same, Ok(psql), Ok(ours)) => psql == ours,
            (Same, Err(_), Err(_)) => true,
            (Refused(words), Ok(_), Err(why)) => why.contains(words),
            (Ours(row), Err(_), Ok(ours)) => world.fill(row) == *ours,
            _ => false,
        };
        if !holds {
            wrong.push(format!("{text} {variables:?}\n  {expect:?}\n  psql: {psql:?}\n  ours: {ours:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}
