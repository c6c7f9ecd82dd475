//! `restore table`: the rows of a moment beside the live ones, with nothing left behind.

use serde_json::{Value, json};

use crate::support::{World, wait};

const QUICK: [&str; 2] = ["--poll", "200ms"];

async fn gone(world: &World) {
    world.assert_only(&["orders-prod"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_exactly_the_rows_of_the_moment_come_back_and_the_live_table_stays_as_it_is() {
    let world = World::with_orders().await;
    world
        .sql(
            "orders-prod",
            "app",
            r#"create table stock (id serial primary key, item text not null check (item <> ''), price numeric,
                                   doubled numeric generated always as (price * 2) stored, job int references jobs);
               create index on stock (item);
               insert into stock (item, price, job) select 'item ' || n, n / 7.0, n from generate_series(1, 300) n"#,
        )
        .await;
    // Others write all the time; `stock` rests around the moment, so that its rows are known to the last.
    let load = async {
        loop {
            world.sql("orders-prod", "app", "insert into empty_one select generate_series(1, 50)").await;
        }
    };
    let work = async {
        let pause = || tokio::time::sleep(std::time::Duration::from_millis(1500));
        pause().await;
        let moment = world
            .sql(
                "orders-prod",
                "app",
                "select to_char(now() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
            )
            .await;
        pause().await;
        world.sql("orders-prod", "app", "delete from stock where id > 20; update stock set price = 0; drop table \"Odd Schema\".\"Jobs \"\"2026\"\"; drop\"").await;
        wait("the moment to be restorable", async || {
            let latest = world.json(&["restore", "window", "orders-prod"]).await["latest"].clone();
            latest.as_str().is_some_and(|latest| latest > moment.as_str())
        })
        .await;
        let table = [
            "restore",
            "table",
            "orders-prod",
            "--dbname",
            "app",
            "--table",
            "stock",
            "--table",
            "\"Odd Schema\".\"Jobs \"\"2026\"\"; drop\"",
        ];
        let run = world.lifeboat(&[&table[..], &["--at", &moment, "--json"], &QUICK[..]].concat()).await;
        (moment, run)
    };
    let (moment, run) = tokio::select! {
        done = work => done,
        () = load => unreachable!("the load never ends"),
    };
    let report = run.assert_code(0).json();
    run.assert_says(&["local time", "removing the throwaway"]);
    assert_eq!(report["schema"], "lifeboat.restore-table/1");
    let day = moment[..10].replace('-', "");
    let stock = &report["tables"][0];
    assert_eq!(stock["restored_as"], format!("stock_restored_{day}"));
    assert_eq!(
        (&stock["rows"], &stock["live_rows"], &stock["verified"]),
        (&json!(300), &json!(20), &json!(true))
    );
    assert_eq!((&report["tables"][1]["rows"], &report["tables"][1]["live_rows"]), (&json!(20), &Value::Null));
    assert_eq!(report["throwaway"]["is_removed"], true);
    gone(&world).await;
    let ask = async |sql: &str| world.sql("orders-prod", "app", sql).await;
    let copy = format!("stock_restored_{day}");
    assert_eq!(
        ask(&format!("select count(*), sum(id), round(sum(doubled), 4) from {copy}")).await,
        "300|45150|12900.0000"
    );
    assert_eq!(ask("select count(*), sum(price) from stock").await, "20|0");
    assert_eq!(ask(&format!("select count(*) from pg_indexes where tablename = '{copy}'")).await, "2");
    assert_eq!(
        ask(&format!(
            "select count(*) from pg_constraint where conrelid = '{copy}'::regclass and contype = 'f'"
        ))
        .await,
        "0"
    );
    // A second time it would write over what is there.
    let again = world
        .lifeboat(&[
            "restore",
            "table",
            "orders-prod",
            "--dbname",
            "app",
            "--table",
            "stock",
            "--at",
            &moment,
        ])
        .await;
    again.assert_code(2).assert_says(&["already exists", "never overwritten"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_restore_that_cannot_be_done_leaves_nothing_behind() {
    let world = World::with_orders().await;
    let run = async |arguments: &[&str]| {
        let all = [&["restore", "table", "orders-prod", "--from", "before"], arguments, &QUICK[..]].concat();
        world.lifeboat(&all).await
    };
    let cases: [(&[&str], &[&str]); 6] = [
        (&["--table", "jobs"], &["several databases", "--dbname", "billing"]),
        (&["--table", "a.b.c", "--dbname", "app"], &["is not the name of a table"]),
        (&["--table", "nowhere.jobs", "--dbname", "app"], &["no schema `nowhere`"]),
        (&["--table", "jobs", "--dbname", "app", "--class", "db.nonsense.9x"], &["db.nonsense.9x"]),
        (&["--table", "jobs", "--dbname", "app", "--dbname", "billing"], &["one database"]),
        (&["--dbname", "app"], &["--table"]),
    ];
    for (arguments, words) in cases {
        run(arguments).await.assert_code(2).assert_says(words);
    }
    assert_eq!(world.calls("RestoreDBInstanceFromDBSnapshot").await, 0);
    // The table is in neither; and a restore that ends badly.
    run(&["--table", "jobz", "--dbname", "app"])
        .await
        .assert_code(2)
        .assert_says(&["has no table `public.jobz`"]);
    gone(&world).await;
    world
        .control("POST", "statuses", json!({"instance": "next-restore", "status": "incompatible-restore"}))
        .await;
    run(&["--table", "jobs", "--dbname", "app"])
        .await
        .assert_code(3)
        .assert_says(&["ended as `incompatible-restore`"]);
    gone(&world).await;
    // What a snapshot does not hold: rows of unlogged tables, and large objects, which are in no table of anybody's.
    let calls = world.calls("RestoreDBInstanceFromDBSnapshot").await;
    world
        .sql(
            "orders-prod",
            "app",
            "create unlogged table cache (id int); create table partly (id int) partition by list (id);
             create unlogged table partly_1 partition of partly for values in (1)",
        )
        .await;
    for table in ["cache", "partly"] {
        run(&["--table", table, "--dbname", "app"]).await.assert_code(1).assert_says(&["is unlogged"]);
    }
    assert_eq!(world.calls("RestoreDBInstanceFromDBSnapshot").await, calls);
    // From a snapshot, of the only database that is named, as a table of the person's.
    let done = run(&["--table", "jobs", "--dbname", "app"]).await;
    assert!(done.assert_code(0).stdout.contains("verified"), "{}", done.stdout);
    gone(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_names_large_objects_comes_back_and_says_that_they_do_not() {
    let world = World::new().await;
    world.create("orders-prod").await;
    let sql = "create domain picture as oid; create table pages (id int primary key, image picture, other oid, n int);
               insert into pages values (1, lo_from_bytea(0, 'x'), 1, 1), (2, lo_from_bytea(0, 'y'), 2, 2)";
    world.sql("orders-prod", "app", sql).await;
    world.snapshot("orders-prod", "before").await;
    let arguments =
        ["restore", "table", "orders-prod", "--from", "before", "--table", "pages", "--dbname", "app"];
    let run = world.lifeboat(&[&arguments, &QUICK[..]].concat()).await;
    assert!(run.assert_code(0).stdout.contains("rows verified"), "{}", run.stdout);
    assert!(run.stdout.contains("column `image` names 2 large objects"), "{}", run.stdout);
    assert!(!run.stdout.contains("`other`"), "{}", run.stdout);
    // Whoever restored it once has it in the next snapshot, under the very name that is wanted then.
    world.snapshot("orders-prod", "after").await;
    let copies = "select string_agg(relname, ' ' order by relname) from pg_class where relkind = 'r' and relname like 'pages_restored%'";
    let first = world.sql("orders-prod", "app", copies).await;
    world.sql("orders-prod", "app", &format!("drop table {first}")).await;
    let again: Vec<&str> =
        arguments.iter().map(|word| if *word == "before" { "after" } else { word }).collect();
    let run = world.lifeboat(&[&again, &QUICK[..], &["--json"]].concat()).await;
    let report = run.assert_code(0).json();
    let second = world.sql("orders-prod", "app", copies).await;
    assert_eq!(report["tables"][0]["restored_as"], second.as_str());
    // Around midnight the snapshots are of two days, and the names as well.
    assert!(second == format!("{first}_2") || !second.starts_with(&first), "{first} {second}");
    assert_eq!(report["tables"][0]["rows"], 2);
}
