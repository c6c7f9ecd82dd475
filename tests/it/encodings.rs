//! Databases of other encodings than UTF-8, and text that is valid in none.

use crate::cluster::{Cluster, installed_programs};
use crate::support::World;
use crate::twins::{assert_equal, bring_across, differences, verify};

/// Psql is told that what it reads is UTF-8, whatever the database is in.
const IN_UTF8: &str = "set client_encoding = 'UTF8';";

#[tokio::test(flavor = "multi_thread")]
async fn names_and_texts_of_every_encoding_come_across_and_lost_rows_are_found() {
    let world = World::new().await;
    let bin = installed_programs();
    let (source, target) = (Cluster::start(bin.clone(), "postgres"), Cluster::start(bin.clone(), "postgres"));
    for (database, encoding, table, text) in
        [("latin", "LATIN1", "caf\u{e9}", "\u{df}\u{ff}"), ("euc", "EUC_JP", "\u{8868}", "\u{65e5}\u{672c}")]
    {
        source.sql(
            "postgres",
            &format!("create database {database} template template0 encoding '{encoding}' locale 'C'"),
        );
        let made = format!(
            "{IN_UTF8} create table \"{table}\" (\"{text}\" text default '{text}'); insert into \"{table}\" values ('{text}'), ('\\');
             comment on table \"{table}\" is '{text}'; create view v as select * from \"{table}\" where \"{text}\" <> '{table}';
             create type mood as enum ('{text}'); create role \"{database}{text}\"; grant select on \"{table}\" to \"{database}{text}\""
        );
        source.sql(database, &made);
        // The names of roles are shared, each in the encoding of the database that it was given in.
        target.sql(
            "postgres",
            &format!("create database names template template0 encoding '{encoding}' locale 'C'"),
        );
        target.sql("names", &format!("{IN_UTF8} create role \"{database}{text}\""));
        target.sql("postgres", "drop database names");
        let (url, there) = (source.url(database), target.url("postgres"));
        for format in ["sql", "custom"] {
            let name = format!("{database}_{format}");
            let create = [
                "backup", "create", "--url", &url, "--name", &name, "--format", format, "--verify", "restore",
            ];
            world.lifeboat(&create).await.assert_code(0);
            world
                .lifeboat(&["backup", "restore", &name, "--url", &there, "--into", &name])
                .await
                .assert_code(0);
            assert_equal(&verify(&world, &url, &target.url(&name)).await);
        }
        target.sql(
            &format!("{database}_sql"),
            &format!("{IN_UTF8} delete from \"{table}\" where ctid = '(0,1)'"),
        );
        let run = verify(&world, &url, &target.url(&format!("{database}_sql"))).await;
        let found = differences(&run.assert_code(1).json());
        assert_eq!(found, [format!("table public.{table}")]);
        // One database at a time: what the other's roles are called is nothing that this one could be told.
        let drop_role =
            format!("{IN_UTF8} drop owned by \"{database}{text}\"; drop role \"{database}{text}\"");
        source.sql(database, &drop_role);
        for format in ["sql", "custom"] {
            target.sql(
                &format!("{database}_{format}"),
                &format!("{IN_UTF8} drop owned by \"{database}{text}\""),
            );
        }
        target.sql(&format!("{database}_sql"), &format!("{IN_UTF8} drop role \"{database}{text}\""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_not_utf8_is_compared_and_names_that_are_not_end_nothing() {
    let world = World::new().await;
    let bin = installed_programs();
    let (source, target) = (Cluster::start(bin.clone(), "postgres"), Cluster::start(bin.clone(), "postgres"));
    source.sql(
        "postgres",
        "create database bytes template template0 encoding 'SQL_ASCII' locale 'C'; create database app",
    );
    source.sql("app", "create table t (a int); insert into t values (1)");
    let texts = "create table t (a text default E'\\xff' check (a <> E'\\xfe')); insert into t values (E'\\xe9'), (default);
                 comment on table t is E'\\xe9'; create view v as select E'\\xe9'::text as x";
    source.sql("bytes", texts);
    let (url, there) = (source.url("bytes"), target.url("postgres"));
    for format in ["sql", "custom"] {
        let create =
            ["backup", "create", "--url", &url, "--name", format, "--format", format, "--verify", "restore"];
        world.lifeboat(&create).await.assert_code(0);
        world
            .lifeboat(&["backup", "restore", format, "--url", &there, "--into", format])
            .await
            .assert_code(0);
        assert_equal(&verify(&world, &url, &target.url(format)).await);
    }
    target.sql("sql", "update t set a = E'\\xea' where a = E'\\xe9'");
    let run = verify(&world, &url, &target.url("sql")).await;
    assert_eq!(differences(&run.assert_code(1).json()), ["table public.t"]);
    // Names: of a table, and of a role that every database of the server is told.
    source.sql(
        "bytes",
        "do $$ begin execute E'create table \"n\\xe9\" (a int)'; execute E'insert into \"n\\xe9\" values (1)';
         execute E'create sequence \"s\\xe9\"'; execute E'create role \"r\\xe9\"'; end $$",
    );
    target.sql("postgres", "create database twin template template0 encoding 'SQL_ASCII' locale 'C'");
    bring_across(&bin, &url, &target.url("twin"));
    let run = verify(&world, &url, &target.url("twin")).await;
    // What cannot be asked for is unknown, and is named.
    let report = run.assert_code(3).json();
    assert!(
        report["not_tested"].to_string().contains("its name is not valid UTF-8"),
        "{:#}",
        report["not_tested"]
    );
    let tables = report["tables"].as_array().unwrap();
    assert!(
        tables.iter().any(|table| table["table"] == "n\\xe9" && table["verdict"] == "unknown"),
        "{tables:#?}"
    );
    assert!(
        tables.iter().any(|table| table["table"] == "t" && table["verdict"] == "identical"),
        "{tables:#?}"
    );
    let whole = |server: &Cluster| server.url("").replace("/?", "?");
    let run = verify(&world, &whole(&source), &whole(&source)).await;
    let report = run.assert_code(3).json();
    let tables = report["tables"].as_array().unwrap();
    assert!(
        tables.iter().any(|table| table["database"] == "app" && table["verdict"] == "identical"),
        "{tables:#?}"
    );
    assert_equal(&verify(&world, &source.url("app"), &source.url("app")).await);
    world.lifeboat(&["backup", "create", "--url", &source.url("app"), "--name", "app"]).await.assert_code(0);
}
