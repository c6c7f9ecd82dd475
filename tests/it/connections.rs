//! Which database a URL and an environment mean: psql is the judge, from outside.

use serde_json::Value;

use crate::cluster::Cluster;
use crate::offline::Offline;
use crate::support::{Run, finish};

/// A server of its own, with a database `app` that holds one row.
struct Own {
    cluster: Cluster,
    socket: String,
}

impl Own {
    fn new(row: &str) -> Own {
        let cluster = Cluster::start_on_socket("superuser");
        cluster.sql("postgres", "create database app");
        cluster.sql("app", &format!("create table t as select '{row}'::text as v"));
        let socket = cluster.socket().display().to_string();
        Own { cluster, socket }
    }

    fn sql(&self, database: &str, sql: &str) -> String {
        self.cluster.sql(database, sql)
    }

    fn socket(&self) -> &str {
        &self.socket
    }

    fn user(&self) -> &'static str {
        "superuser"
    }

    fn variables(&self) -> [(&str, &str); 2] {
        [("PGHOST", self.socket()), ("PGUSER", self.user())]
    }
}

async fn run(place: &Offline, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = place.command(arguments);
    command.envs(variables.iter().copied());
    finish(command.spawn().unwrap()).await
}

fn dump(place: &Offline, name: &str) -> String {
    std::fs::read_to_string(place.path(&format!("vault/{name}.sql"))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_without_a_host_means_the_server_that_the_environment_means() {
    let (one, two) = (Own::new("of one"), Own::new("of two"));
    let place = Offline::new();
    for (server, name) in [(&one, "a"), (&two, "b")] {
        let create = ["backup", "create", "--url", "postgresql:///app", "--name", name, "--no-compress"];
        run(&place, &create, &server.variables()).await.assert_code(0);
    }
    assert!(dump(&place, "a").contains("of one") && dump(&place, "b").contains("of two"));
    two.sql("app", "update t set v = 'changed since'");
    let restore = ["backup", "restore", "b", "--url", "postgresql:///app", "--confirm", "b"];
    run(&place, &restore, &two.variables()).await.assert_code(0);
    assert_eq!(two.sql("app", "select v from t"), "of two");
    assert_eq!(one.sql("app", "select v from t"), "of one");
    // Neither socket nor host: no other database is taken in its stead.
    let nowhere = place.path("nowhere").display().to_string();
    let create = ["backup", "create", "--url", "postgresql:///app", "--name", "c"];
    run(&place, &create, &[("PGHOST", nowhere.as_str())]).await.assert_code(3).assert_says(&[
        "cannot reach PostgreSQL at",
        "/nowhere/.s.PGSQL.5432",
        "name its host in the URL",
    ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_spelling_of_a_url_is_read_wherever_urls_are_written() {
    let own = Own::new("x");
    let place = Offline::new();
    let encoded = own.socket().replace('/', "%2F");
    let (socket, user) = (own.socket(), own.user());
    let spellings = [
        format!("postgresql+psycopg2://{user}@/app?host={socket}"),
        format!("postgresql+asyncpg://{user}@{encoded}/app"),
        format!("postgis://{user}@{encoded}/app?schema=public"),
        format!("host={socket} user={user} dbname=app"),
    ];
    for (index, url) in spellings.iter().enumerate() {
        let (a, b, c) = (format!("a{index}"), format!("b{index}"), format!("c{index}"));
        let dry = ["backup", "create", "--observe", "none", "--name"];
        if url.contains(encoded.as_str()) {
            let seen = psql_row(
                &url.replace("postgis", "postgresql").replace("+asyncpg", "").replace("?schema=public", ""),
            )
            .await;
            assert_eq!(seen, "app", "{url}");
        }
        run(&place, &[&dry[..], &[&a, "--url", url]].concat(), &[]).await.assert_code(0);
        run(&place, &[&dry[..], &[&b]].concat(), &[("DATABASE_URL", url)]).await.assert_code(0);
        std::fs::write(place.path("lifeboat.toml"), format!("[databases.d.backup]\nurl = \"{url}\"\n"))
            .unwrap();
        run(&place, &[&dry[..], &[&c, "d"]].concat(), &[]).await.assert_code(0);
        std::fs::remove_file(place.path("lifeboat.toml")).unwrap();
        for name in [a, b, c] {
            assert_eq!(place.manifest(&name)["source"]["dbname"], "app", "{url}");
        }
        let verified = run(&place, &["verify", url, url, "--json"], &[]).await;
        assert_eq!(verified.json()["verdict"], "pass", "{url}: {}", verified.stderr);
    }
    let noted = run(&place, &["backup", "create", "--dry-run", "--url", &spellings[2]], &[]).await;
    noted.assert_code(0).assert_says(&["`schema` in the connection URL is for the application"]);
    for (url, words) in [
        (format!("\"postgresql://{user}@{encoded}/app\""), "the value of DATABASE_URL is in quotes"),
        (
            format!("postgresql://{user}@{encoded}/app?nonsense=1"),
            "the parameter `nonsense` of a connection URL",
        ),
        ("mysql://u:hunter2@h/d".to_owned(), "`mysql://` is neither PostgreSQL's nor SQLite's"),
        ("prisma+postgres://accelerate.prisma-data.net/?api_key=hunter2".to_owned(), "Prisma's own service"),
    ] {
        let refused = run(&place, &["backup", "create"], &[("DATABASE_URL", &url)]).await;
        refused.assert_code(2).assert_says(&[words]);
        assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
    }
}

async fn psql_row(url: &str) -> String {
    let mut psql = tokio::process::Command::new("psql");
    let done =
        psql.args(["-X", "-A", "-t", "-c", "select current_database()", "-d", url]).output().await.unwrap();
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_sqlite_are_found_as_their_frameworks_find_them() {
    let place = Offline::new();
    place.database("app.db", "delete", 3);
    for (index, url) in [
        "sqlite+aiosqlite:///app.db",
        "sqlite+pysqlite:///./app.db",
        "sqlite3:app.db",
        "file:./app.db?mode=ro",
    ]
    .iter()
    .enumerate()
    {
        let name = format!("n{index}");
        run(&place, &["backup", "create", "--name", &name], &[("DATABASE_URL", url)]).await.assert_code(0);
        assert_eq!(place.manifest(&name)["database_type"], "sqlite", "{url}");
    }
    run(&place, &["backup", "create", "--url", "sqlite+aiosqlite://"], &[])
        .await
        .assert_code(2)
        .assert_says(&["in-memory"]);
    for path in ["app.db", "./app.db", "/srv/app"] {
        let refused = run(&place, &["backup", "create", "--url", path], &[]).await;
        refused.assert_code(2).assert_says(&["is a path, and not a connection URL", "`sqlite:///"]);
    }
}

#[tokio::test]
async fn a_vault_that_a_shell_would_have_named_otherwise_is_refused() {
    let place = Offline::new();
    let url = place.database("app.db", "delete", 3);
    for (value, words) in [
        ("\"/backups\"", "the value of BACKUP_DIR is in quotes"),
        ("~/backups", "begins with `~`"),
        ("/back\rups", "has a control character"),
        ("/backups'", "ends with a quote"),
        ("$HOME/backups", "holds a variable"),
        ("/data/${STAGE}/backups", "holds a variable"),
        ("s3:/backups", "begins with `s3:/`"),
    ] {
        let mut command = place.command(&["backup", "create", "--url", &url]);
        command.env("BACKUP_DIR", value);
        let refused = finish(command.spawn().unwrap()).await;
        refused.assert_code(2).assert_says(&[words]);
    }
    run(&place, &["backup", "create", "--url", &url, "--vault", "~/x"], &[]).await.assert_code(2);
    let padded = format!(" {}\r", place.path("padded").display());
    let mut command = place.command(&["backup", "create", "--url", &url, "--name", "n"]);
    command.env("BACKUP_DIR", &padded);
    finish(command.spawn().unwrap()).await.assert_code(0);
    assert!(place.path("padded/n.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_role_neither_end_a_backup_nor_hide_why_it_cannot_be_made() {
    let own = Own::new("x");
    let place = Offline::new();
    own.sql(
        "app",
        "create role bk login; grant pg_read_all_data to bk; alter role bk set idle_in_transaction_session_timeout = '50ms';
         alter role bk set idle_session_timeout = '50ms'; alter role bk set lock_timeout = '1ms';
         alter role bk set default_transaction_read_only = on; alter role bk set search_path = 'nowhere';
         create role once login connection limit 1; grant pg_read_all_data to once;
         insert into t select repeat('x', 1000) from generate_series(1, 50000)",
    );
    let variables = |user| [("PGHOST", own.socket()), ("PGUSER", user), ("PGDATABASE", "app")];
    let create = ["backup", "create", "--url", "postgresql:///", "--name"];
    run(&place, &[&create[..], &["n"]].concat(), &variables("bk")).await.assert_code(0);
    let proof = run(&place, &["backup", "verify", "n", "--level", "restore", "--json"], &[]).await;
    assert_eq!(proof.json()["backups"][0]["verification"]["result"], Value::from("pass"), "{}", proof.stderr);
    let refused = run(&place, &[&create[..], &["m"]].concat(), &variables("once")).await;
    refused
        .assert_code(3)
        .assert_says(&["too many connections for role", "alter role \"once\" connection limit 4"]);
}
