//! Backups that somebody else may have written, and databases whose names and bodies look like dumps.

use std::fs;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::cluster::{Cluster, installed_programs};
use crate::offline::Offline;
use crate::serving::Serving;
use crate::support::{Run, World, finish};

const EVERYTHING: &str = include_str!("../data/everything.sql");
const HOSTILE: &str = include_str!("../data/hostile.sql");

async fn backup(world: &World, arguments: &[&str]) -> Run {
    world.lifeboat(&[&["backup"], arguments].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_names_and_bodies_hold_is_backed_up_proven_and_restored_as_it_was() {
    let world = World::new().await;
    world.create("orders-prod").await;
    world.sql("orders-prod", "app", EVERYTHING).await;
    world.sql("orders-prod", "app", HOSTILE).await;
    world.sql("orders-prod", "app", "grant pg_read_all_data to owner").await;
    let app = world.url("orders-prod", "app").await;
    for (name, format) in [("as-sql", &["--format", "sql"][..]), ("as-archive", &["--format", "custom"])] {
        backup(&world, &[&["create", "--url", &app, "--name", name], format].concat()).await.assert_code(0);
        let run = backup(&world, &["verify", name, "--level", "restore", "--json"]).await;
        let proof = &run.json()["backups"][0]["verification"];
        assert_eq!(proof["result"], "pass", "{proof:#}\n{}", run.stderr);
        let copy = format!("copy_{}", name.replace('-', "_"));
        let run = backup(&world, &["restore", name, "--url", &app, "--into", &copy]).await;
        run.assert_code(0);
        let right = world.url("orders-prod", &copy).await;
        let run = world.lifeboat(&["verify", &app, &right, "--json"]).await;
        assert_eq!(run.code, Some(0), "{:#}", run.json()["reasons"]);
    }
}

/// A server whose superuser we are.
struct Superuser {
    place: Offline,
    cluster: Cluster,
}

impl Superuser {
    fn new() -> Superuser {
        let server = Superuser { place: Offline::new(), cluster: Cluster::start_on_socket("superuser") };
        server.sql("postgres", "create database app; create table precious (a int)");
        server
    }

    fn url(&self, database: &str) -> String {
        self.cluster.url(database)
    }

    fn sql(&self, database: &str, sql: &str) -> String {
        self.cluster.sql(database, sql)
    }

    /// Writes another script behind a backup, with a manifest that fits it.
    fn forge(&self, name: &str, change: impl Fn(&str) -> String) {
        let file = self.place.path(&format!("vault/{name}.sql"));
        let forged = change(&fs::read_to_string(&file).unwrap());
        fs::write(&file, &forged).unwrap();
        let mut manifest = self.place.manifest(name);
        let digest: String =
            Sha256::digest(forged.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        for (hash, size) in [("sha256", "file_size"), ("plain_sha256", "plain_size")] {
            (manifest[hash], manifest[size]) = (json!(digest), json!(forged.len()));
        }
        fs::write(self.place.path(&format!("vault/{name}.json")), manifest.to_string()).unwrap();
    }
}

const COMPLETE: &str = "--\n-- PostgreSQL database dump complete";

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_script_runs_nothing_on_this_machine_or_on_the_server() {
    let server = Superuser::new();
    server.sql("app", "create table t (a int); insert into t values (1)");
    let touched = server.place.path("touched");
    let (touch, app) = (touched.display().to_string(), server.url("app"));
    // Servers run as another user, who may write here.
    fs::set_permissions(server.place.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let create = ["create", "--url", &app, "--name", "a", "--no-compress", "--no-prune"];
    server.place.backup(&create).await.assert_code(0);
    let original = fs::read_to_string(server.place.path("vault/a.sql")).unwrap();
    let key = original.lines().find_map(|line| line.strip_prefix("\\restrict ")).unwrap_or("x").to_owned();
    let to_program = format!("copy (select 1) to program 'touch {touch}'");
    let refused = [
        format!("\\! touch {touch}\n"),
        format!("\\unrestrict {key}\n\\! touch {touch}\n\\restrict {key}\n"),
        format!("\\unrestrict `touch {touch}; echo {key}`\n"),
        format!("SELECT 1 \\g |touch {touch}\n;\n"),
        "\\connect postgres\nDROP TABLE public.precious;\n".to_owned(),
        format!("{to_program};\n"),
        "DROP DATABASE app;\n".to_owned(),
        "CREATE ROLE intruder SUPERUSER LOGIN;\n".to_owned(),
        "ALTER SYSTEM SET archive_command = 'x';\n".to_owned(),
        format!("DO $$ begin {to_program}; end $$;\n"),
        format!(
            "SET standard_conforming_strings = off;\nSELECT pg_catalog.setval('\\'); {to_program}; --', 1);\n"
        ),
        "SET client_encoding = 'SJIS';\n".to_owned(),
    ];
    // What is let through has the rights of nobody.
    let evil = |body: &str| {
        format!(
            "CREATE FUNCTION public.evil() RETURNS boolean LANGUAGE plpgsql AS $$ begin {body}; return true; end $$;\n"
        )
    };
    let in_check = |body: &str| format!("{}ALTER TABLE public.t ADD CHECK (public.evil());\n", evil(body));
    let powerless = [
        in_check(&to_program),
        in_check(&format!("execute 'reset session authorization'; execute 'reset role'; {to_program}")),
        in_check("execute 'create role intruder superuser'"),
        in_check("execute 'alter system set archive_command = ''x'''"),
        in_check("perform pg_read_file('/etc/passwd')"),
        in_check("perform lo_export(lo_from_bytea(0, 'x'), '/tmp/x')"),
        format!(
            "{}ALTER TABLE public.t ALTER COLUMN a TYPE int USING public.evil()::int, OWNER TO superuser;\n",
            evil(&to_program)
        ),
        "CREATE FUNCTION public.sys(text) RETURNS int LANGUAGE c AS 'libc.so.6', 'system';\n".to_owned(),
        "ALTER DATABASE app SET session_preload_libraries = 'auto_explain';\n".to_owned(),
        "ALTER ROLE current_user IN DATABASE app SET role = 'x';\n".to_owned(),
        "CREATE TABLE public.x (a int);\nCREATE EXTENSION hstore WITH SCHEMA public;\n".to_owned(),
        "CREATE SUBSCRIPTION s CONNECTION 'host=localhost' PUBLICATION p;\n".to_owned(),
    ];
    let trap = format!(
        "CREATE FUNCTION public.trap() RETURNS event_trigger LANGUAGE plpgsql AS $$ begin {to_program}; end $$;\n\
         CREATE EVENT TRIGGER trap ON ddl_command_end EXECUTE FUNCTION public.trap();\nCOMMENT ON TABLE public.t IS 'x';\n"
    );
    let cases = refused
        .iter()
        .map(|text| (text, true))
        .chain(powerless.iter().map(|text| (text, false)))
        .chain([(&trap, false)]);
    for (addition, is_refused) in cases {
        server.forge("a", |_| original.replace(COMPLETE, &format!("{addition}{COMPLETE}")));
        let on_server = ["verify", "a", "--level", "restore", "--url", &app];
        for act in [
            &["verify", "a", "--level", "restore"][..],
            &on_server,
            &["restore", "a", "--url", &app, "--into", "b"],
        ] {
            let run = server.place.backup(act).await;
            let is_restore = act[0] == "restore";
            match (is_refused, run.code) {
                (true, Some(1)) | (false, Some(1 | 3)) => {}
                other => panic!("{addition}\n{act:?}: {other:?}\n{}{}", run.stdout, run.stderr),
            }
            assert!(!is_restore || run.stdout.is_empty(), "{addition}");
        }
        assert!(!touched.exists(), "{addition} ran a program");
        let left = "select count(*) from precious; select count(*) from pg_roles where rolname ~ 'intruder|loader'; \
                    select count(*) from pg_database where datname in ('app') or datname ~ 'scratch'";
        assert_eq!(server.sql("postgres", left), "0\n0\n1", "{addition}");
    }
    // Whoever trusts the content gets what it says.
    server.forge("a", |_| original.replace(COMPLETE, &format!("{}{COMPLETE}", in_check(&to_program))));
    let trusting = ["restore", "a", "--url", &app, "--into", "b", "--trust-content"];
    let _ = server.place.backup(&trusting).await;
    assert!(touched.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superuser_restores_what_only_superusers_have() {
    let server = Superuser::new();
    server.sql("postgres", "create role clerk; create role \"cl\"\"erk\" login");
    server
        .sql(
            "app",
            "create extension hstore; create extension postgres_fdw; create extension pg_stat_statements; \
             create table t (a int, h hstore); insert into t values (1, 'a=>1'); alter table t owner to clerk; \
             grant select (a) on t to \"cl\"\"erk\"; create schema s authorization \"cl\"\"erk\"; \
             create server far foreign data wrapper postgres_fdw options (host 'x'); create foreign table s.ft (a int) server far; \
             create publication p for all tables; alter table t enable row level security; alter table t force row level security; \
             create policy p on t to clerk using (a > 1); create materialized view v as select count(*) from t; \
             alter default privileges for role clerk grant select on tables to \"cl\"\"erk\"; alter database app set work_mem = '7MB';\n\
             create function e() returns event_trigger language plpgsql as $$ begin end $$;\n\
             create event trigger e on ddl_command_end execute function e(); alter event trigger e disable; comment on event trigger e is 'e'",
        );
    let app = server.url("app");
    for (name, format) in [("s", "sql"), ("c", "custom")] {
        server
            .place
            .backup(&["create", "--url", &app, "--name", name, "--format", format])
            .await
            .assert_code(0);
        server.place.backup(&["verify", name, "--level", "restore"]).await.assert_code(0);
        server.place.backup(&["verify", name, "--level", "restore", "--url", &app]).await.assert_code(0);
        server
            .place
            .backup(&["restore", name, "--url", &app, "--into", &format!("copy_{name}")])
            .await
            .assert_code(0);
        let copy = server.url(&format!("copy_{name}"));
        let run = finish(server.place.command(&["verify", &app, &copy, "--json"]).spawn().unwrap()).await;
        assert_eq!(run.code, Some(0), "{:#}", run.json()["reasons"]);
    }
    // The words of the seeds: the database that the environment names, and the name of the backup.
    let mut command = server.place.command(&["backup", "restore", "s", "--confirm", "s"]);
    finish(command.env("DATABASE_URL", &app).spawn().unwrap()).await.assert_code(0);
    // A kill in the middle leaves no role: the next restore removes it.
    server.sql("postgres", "create role lifeboat_loader_00c0ffee");
    server.place.backup(&["verify", "s", "--level", "restore", "--url", &app]).await.assert_code(0);
    assert_eq!(server.sql("postgres", "select count(*) from pg_roles where rolname ~ 'loader'"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_planted_in_a_restored_copy_is_found() {
    let server = Superuser::new();
    server
        .sql(
            "app",
            "create table t (a serial, b int default 7 check (b > 3), c varchar(9) check (c in ('x', 'y'))); \
             insert into t (b, c) values (5, 'x'), (6, 'y'); create index i on t (b); create view v as select a + b * 2 as s from t;\n\
             create function f() returns int language sql as $$ select 1 $$;\n\
             grant select on t to public; comment on table t is 'COMMENT'",
        );
    let app = server.url("app");
    server.place.backup(&["create", "--url", &app, "--name", "a", "--no-compress"]).await.assert_code(0);
    let original = fs::read_to_string(server.place.path("vault/a.sql")).unwrap();
    for (from, to, word) in [
        ("select 1 ", "select 2 ", "function"),
        ("DEFAULT 7", "DEFAULT 8", "columns"),
        ("(b > 3)", "(b > 2)", "constraint"),
        ("'y'::character varying", "'z'::character varying, 'y'::character varying", "constraint"),
        ("USING btree (b)", "USING btree (a)", "index"),
        ("b * 2)", "b * 3)", "view"),
        ("(t.a + (t.b * 2))", "((t.a + t.b) * 2)", "view"),
        ("t_a_seq', 2, true", "t_a_seq', 1, true", "sequence"),
        ("t_a_seq', 2, true", "t_a_seq', 2000, true", "sequence"),
        ("INCREMENT BY 1", "INCREMENT BY 2", "sequence"),
        ("GRANT SELECT ON TABLE public.t TO PUBLIC", "GRANT ALL ON TABLE public.t TO PUBLIC", "rights"),
        ("5\tx\n", "5\ty\n", "table"),
        (
            COMPLETE,
            "CREATE FUNCTION public.g() RETURNS int LANGUAGE sql AS 'select 1';\n--\n-- PostgreSQL database dump complete",
            "function",
        ),
    ] {
        assert!(original.contains(from), "{from}\n{original}");
        server.forge("a", |_| original.replace(from, to));
        let run = server.place.backup(&["verify", "a", "--level", "restore", "--json"]).await;
        let reasons = run.assert_code(1).json()["backups"][0]["verification"]["reasons"].to_string();
        assert!(reasons.contains(word), "{to}: {reasons}");
    }
    server.forge("a", |_| original.clone());
    server.place.backup(&["verify", "a", "--level", "restore"]).await.assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_the_source_is_asked_for_by_its_name_whoever_made_the_server() {
    // A master user who is no superuser, named as the superuser of other servers is.
    let server = Superuser::new();
    server.sql(
        "postgres",
        "create role postgres login createdb; alter database app owner to postgres; create role reader",
    );
    server.sql("app", "create table t (a int); alter table t owner to postgres; grant select on t to reader; alter schema public owner to postgres");
    let app = server.url("app");
    server.place.backup(&["create", "--url", &app, "--name", "a"]).await.assert_code(0);
    server.place.backup(&["verify", "a", "--level", "restore"]).await.assert_code(0);
    // There its owner is the superuser that `initdb` made, and belongs to nothing that PostgreSQL notes down.
    let programs = installed_programs();
    let other = Cluster::start(programs, "postgres");
    other.sql("postgres", "create role reader");
    let into = ["restore", "a", "--url", &other.url("postgres"), "--into", "app"];
    server.place.backup(&into).await.assert_code(0);
    let verify = async |left: &str, right: &str| {
        finish(server.place.command(&["verify", left, right, "--json"]).spawn().unwrap()).await
    };
    for (left, right) in [(&app, &other.url("app")), (&other.url("app"), &app)] {
        let report = verify(left, right).await.assert_code(0).json();
        assert!(
            report["not_tested"].to_string().contains("roles belong to the server"),
            "{:#}",
            report["not_tested"]
        );
    }
    // And the other way: a backup of the server that `postgres` made, where `postgres` is nobody in particular.
    server.place.backup(&["create", "--url", &other.url("app"), "--name", "b"]).await.assert_code(0);
    server.place.backup(&["restore", "b", "--url", &app, "--into", "back"]).await.assert_code(0);
    // A role that matters and is not there is named.
    other.sql("app", "revoke select on t from reader");
    other.sql("postgres", "drop role reader");
    let run = verify(&app, &other.url("app")).await;
    assert!(run.assert_code(1).json()["reasons"].to_string().contains("role `app.reader`"), "{}", run.stdout);
    let run =
        server.place.backup(&["restore", "a", "--url", &other.url("postgres"), "--into", "again"]).await;
    run.assert_code(3).assert_says(&["role \"reader\" does not exist", "Roles are not part"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_only_what_it_has_sealed_is_restored() {
    let place = Offline::new();
    let url = place.database("app.db", "delete", 20);
    fs::write(place.path("old"), "f".repeat(64)).unwrap();
    fs::write(place.path("short"), "secret").unwrap();
    fs::write(place.path("keys"), format!("{}\n{}\n", "0123456789abcdef".repeat(4), "f".repeat(64))).unwrap();
    let create = async |name: &str, flags: &[&str]| {
        place.backup(&[&["create", "--url", &url, "--name", name, "--no-prune"], flags].concat()).await
    };
    create("unsealed", &[]).await.assert_code(0);
    create("bad", &["--seal-key", "short"]).await.assert_code(2).assert_says(&["shorter than 32"]);
    create("older", &["--seal-key", "old"]).await.assert_code(0);
    create("sealed", &["--seal-key", "keys"]).await.assert_code(0);
    fs::write(place.path("lifeboat.toml"), "seal_key = \"keys\"\n").unwrap();
    let verify = async |name: &str, flags: &[&str]| place.backup(&[&["verify", name], flags].concat()).await;
    verify("sealed", &[]).await.assert_code(0);
    verify("older", &[]).await.assert_code(0);
    verify("sealed", &["--seal-key", "old"]).await.assert_code(1).assert_says(&["another key"]);
    verify("unsealed", &[]).await.assert_code(4).assert_says(&["is not sealed", "--accept-unsealed"]);
    verify("unsealed", &["--accept-unsealed"]).await.assert_code(0);
    // What is noted later breaks no seal; anything else does.
    place.backup(&["keep", "sealed"]).await.assert_code(0);
    verify("sealed", &[]).await.assert_code(0);
    let manifest = place.manifest("sealed");
    let restore = ["restore", "sealed", "--url", &url, "--confirm", "sealed"];
    let forgeries: [(&str, Value, i32); 5] = [
        ("timestamp", json!("2020-01-01T00:00:00Z"), 1),
        ("sha256", json!("0".repeat(64)), 1),
        ("source", json!({"database": "other", "path": "/x", "server_version": "3"}), 1),
        ("seal", Value::Null, 4),
        ("seal", json!({"algorithm": "none", "key": "", "mac": ""}), 1),
    ];
    for (field, value, code) in forgeries {
        let mut forged = manifest.clone();
        forged[field] = value;
        fs::write(place.path("vault/sealed.json"), forged.to_string()).unwrap();
        verify("sealed", &[]).await.assert_code(code);
        place.backup(&restore).await.assert_code(code);
    }
    fs::write(place.path("vault/sealed.json"), manifest.to_string()).unwrap();
    place.backup(&restore).await.assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_never_says_where_to_write() {
    let place = Offline::new();
    let (url, _) = (place.database("app.db", "delete", 20), place.database("victim.db", "delete", 5));
    let before = fs::read(place.path("victim.db")).unwrap();
    place.backup(&["create", "--url", &url, "--name", "a"]).await.assert_code(0);
    let mut manifest = place.manifest("a");
    for path in ["victim.db", "new.db", "vault/audit.jsonl"] {
        manifest["source"]["path"] = json!(place.path(path));
        fs::write(place.path("vault/a.json"), manifest.to_string()).unwrap();
        let run = place.backup(&["restore", "a", "--confirm", "a"]).await;
        run.assert_code(2).assert_says(&["has no destination", path, "--into"]);
        let mut command = place.command(&["backup", "restore", "a", "--confirm", "a"]);
        let run = finish(command.env("DATABASE_URL", &url).spawn().unwrap()).await;
        run.assert_code(4).assert_says(&["DATABASE_URL names"]);
    }
    let server = Serving::of_place(&place, &url, &[]).await;
    let refused = server.post("/api/backup/restore/a", &json!({"confirm": "a"})).await.refusal(409);
    assert!(refused["error"].to_string().contains("DATABASE_URL names"), "{refused}");
    assert_eq!(fs::read(place.path("victim.db")).unwrap(), before);
    assert!(!place.path("new.db").exists());
    place.backup(&["restore", "a", "--into", &place.path("new.db").to_string_lossy()]).await.assert_code(0);
    place.backup(&["restore", "a", "--url", &url, "--confirm", "a"]).await.assert_code(0);
}
