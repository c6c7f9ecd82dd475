//! The runbooks that are built in, against a real application: rehearsed, for real, by hand, and killed on the way.
//!
//! LIFEBOAT_CAMPAIGN=30 runs every one of them in every way, and kills `data-loss` thirty times; without it a few.

use std::collections::BTreeSet;
use std::process::Stdio;

use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tokio::process::Command;

use crate::support::{PASSWORD, REGION, Run, World, finish, program, wait};

/// The password of the application's own user: another canary.
const APP_PASSWORD: &str = "canary-of-the-app-9c1d";

fn campaign() -> Option<usize> {
    std::env::var("LIFEBOAT_CAMPAIGN").ok().and_then(|text| text.parse().ok())
}

/// An application that has lost its users.
struct Shop {
    world: World,
    /// The last moment at which it had them.
    when: String,
    health: String,
    /// Name of a backup of it outside of RDS.
    backup: String,
    /// More of the environment.
    more: Vec<(String, String)>,
}

impl Shop {
    async fn open() -> Self {
        let world = World::new().await;
        world.create("orders-prod").await;
        world
            .sql(
                "orders-prod",
                "app",
                &format!(
                    "create role shop login password '{APP_PASSWORD}';
                     create table users (id int primary key, name text not null check (name <> ''));
                     create index users_name on users (name);
                     create table jobs (id int primary key, owner int);
                     insert into users select n, 'user ' || n from generate_series(1, 500) n;
                     insert into jobs select n, n from generate_series(1, 300) n;
                     grant all on all tables in schema public to shop"
                ),
            )
            .await;
        let url = world.url("orders-prod", "app").await;
        let at = url.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
        world.write(".env", &format!("SECRET_KEY=x\nDATABASE_URL=\"postgresql://shop:{APP_PASSWORD}@{at}/app?sslmode=verify-full\"\nPORT=1\n"));
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/app.py");
        for verb in ["restart", "check"] {
            let program = format!("#!/bin/sh\nexec python3 {script} {verb} {}\n", world.path("").display());
            world.write(verb, &program);
            std::process::Command::new("chmod").arg("+x").arg(world.path(verb)).status().unwrap();
        }
        let mut shop = Shop {
            world,
            when: String::new(),
            health: String::new(),
            backup: String::new(),
            more: Vec::new(),
        };
        shop.shell("./restart").await;
        let port = std::fs::read_to_string(shop.world.path("port")).unwrap();
        shop.health = format!("http://127.0.0.1:{port}/health");
        // The moment lies between the last good write and the accident, whole seconds apart from both.
        shop.world.sql("orders-prod", "app", "select pg_sleep(1.1)").await;
        shop.when = shop
            .world
            .sql(
                "orders-prod",
                "app",
                "select to_char(now() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
            )
            .await;
        shop
    }

    /// The accident.
    async fn lose_users(&self) {
        self.world
            .sql("orders-prod", "app", "select pg_sleep(1.1); drop table users; select pg_sleep(1.1)")
            .await;
    }

    /// Values of the parameters that a runbook has.
    fn values(&self, name: &str) -> Vec<(String, String)> {
        let path = |name: &str| self.world.path(name).display().to_string();
        let all = [
            ("source", "orders-prod".to_owned()),
            ("when", self.when.clone()),
            ("dbname", "app".to_owned()),
            ("tables", "users,jobs".to_owned()),
            ("table", "users".to_owned()),
            ("env_file", path(".env")),
            ("restart", path("restart")),
            ("checks", path("check")),
            ("health_url", self.health.clone()),
            ("protect", "false".to_owned()),
            ("poll", "200ms".to_owned()),
            ("gib", "40".to_owned()),
            ("master", "owner".to_owned()),
            ("name", "Ada Lovelace".to_owned()),
            ("migrate", path("migrate")),
            ("verify", path("verify")),
            ("roll_back", path("roll_back")),
            ("snapshot", "before".to_owned()),
            ("backup", self.backup.clone()),
        ];
        let shown =
            std::process::Command::new(program()).args(["runbook", "show", name, "--json"]).output().unwrap();
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
        let takes =
            |name: &str| shown["parameters"].as_array().unwrap().iter().any(|param| param["name"] == name);
        // Before a migration the snapshot is yet to be taken.
        let is_given = |key: &str| key != "snapshot" || name != "before-a-migration";
        all.into_iter()
            .filter(|(key, _)| takes(key) && is_given(key))
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    fn flags(&self, name: &str) -> Vec<String> {
        self.values(name)
            .into_iter()
            .flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")])
            .collect()
    }

    fn command(&self, arguments: &[String]) -> Command {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = self.world.command(&[&["runbook"], arguments.as_slice()].concat());
        command.env("PGSSLMODE", "verify-full").envs(self.more.clone());
        command
    }

    fn arguments(&self, name: &str, more: &[&str]) -> Vec<String> {
        let mut arguments = vec![
            "run".to_owned(),
            name.to_owned(),
            "--json".to_owned(),
            "--poll".to_owned(),
            "200ms".to_owned(),
        ];
        arguments.extend(self.flags(name));
        arguments.extend(more.iter().map(|word| (*word).to_owned()));
        arguments
    }

    async fn lifeboat(&self, arguments: &[String]) -> Run {
        finish(self.command(arguments).spawn().unwrap()).await
    }

    /// Goes on with a run until it is over, answering at each gate as its own hint says.
    async fn see_through(&self, mut run: Run) -> Value {
        for _ in 0..20 {
            let report = run.json();
            if run.code == Some(0) {
                return report;
            }
            assert_eq!((run.code, report["state"].as_str()), (Some(4), Some("waiting")), "{}", run.stderr);
            let id = report["run"].as_str().unwrap().to_owned();
            if run.stderr.contains("waits for a second person") {
                let mut command =
                    self.command(&["approve".to_owned(), id.clone(), "--confirm".to_owned(), id.clone()]);
                let approved = finish(command.env("AWS_ACCESS_KEY_ID", "user-grace").spawn().unwrap()).await;
                // What must be typed is the name in the text, where there is one.
                if approved.code != Some(0) {
                    let name = approved
                        .stderr
                        .split("is not `")
                        .nth(1)
                        .unwrap()
                        .split('`')
                        .next()
                        .unwrap()
                        .to_owned();
                    let mut command =
                        self.command(&["approve".to_owned(), id.clone(), "--confirm".to_owned(), name]);
                    finish(command.env("AWS_ACCESS_KEY_ID", "user-grace").spawn().unwrap())
                        .await
                        .assert_code(0);
                }
                run = self.lifeboat(&["resume", &id, "--json", "--poll", "200ms"].map(str::to_owned)).await;
                continue;
            }
            let answer =
                run.stderr.split("--answer ").nth(1).unwrap().split('`').next().unwrap().replace('\'', "");
            run = self
                .lifeboat(
                    &["resume", &id, "--json", "--poll", "200ms", "--answer", &answer].map(str::to_owned),
                )
                .await;
        }
        panic!("there is no end of gates: {}", run.stderr);
    }

    async fn for_real(&self, name: &str) -> Value {
        let run = self.lifeboat(&self.arguments(name, &[])).await;
        self.see_through(run).await
    }

    /// Rehearses one: nothing is left, and the live database is as it was.
    async fn rehearse(&self, name: &str) -> Value {
        let (before, env) =
            (self.world.instances().await, std::fs::read_to_string(self.world.path(".env")).unwrap());
        let run = self.lifeboat(&self.arguments(name, &["--rehearse"])).await;
        let report = run.assert_code(0).json();
        assert_eq!(self.world.instances().await, before, "{name}");
        assert_eq!(std::fs::read_to_string(self.world.path(".env")).unwrap(), env);
        assert_eq!(report["left"].as_array().unwrap().len(), 0);
        report
    }

    async fn shell(&self, text: &str) -> String {
        let mut command = Command::new("bash");
        let path = std::env::var("PATH").unwrap();
        command.args(["-euo", "pipefail", "-c", text]).current_dir(self.world.path("")).env_clear();
        command
            .env("PATH", path)
            .env("HOME", self.world.path(""))
            .env("AWS_ENDPOINT_URL", self.world.stack.endpoint());
        command
            .env("AWS_REGION", REGION)
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test");
        command
            .env("AWS_PAGER", "")
            .env("PGPASSWORD", PASSWORD)
            .env("PGSSLMODE", "verify-full")
            .env("PGSSLROOTCERT", self.world.stack.ca_path());
        command.envs(self.more.clone());
        let done = command.stdin(Stdio::null()).output().await.unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{said}");
        said
    }

    /// Pastes the blocks of a runbook one after the other into one shell, those by hand in place of those that call lifeboat.
    async fn by_hand(&self, name: &str, more: &[(&str, &str)]) -> String {
        let blocks = self.lifeboat(&["show", name, "--by-hand", "--json"].map(str::to_owned)).await.json();
        let mut text = String::from("aws() { command aws --cli-read-timeout 60 \"$@\"; }\n");
        let more = more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        for (key, value) in self.values(name).into_iter().chain(more) {
            text.push_str(&format!("export {key}='{value}'\n"));
        }
        for block in blocks["steps"].as_array().unwrap() {
            let role = block["role"].as_str().unwrap();
            let shell = block["shell"].as_str().unwrap();
            if matches!(role, "confirm" | "manual" | "approve") || block["only"] == "rehearse" {
                continue;
            }
            assert!(!shell.contains("lifeboat "), "{name}: {shell}");
            assert!(!shell.starts_with("# wait"), "{name}: nothing to paste for {block}");
            // AWS's waiters look every 30 seconds.
            text.push_str(&shell.replace("aws rds wait ", "quickly "));
            text.push('\n');
        }
        let quickly = "quickly() { local kind=$1 status=''; shift; while :; do\n\
             case $kind in\n\
             db-instance-available) status=$(aws rds describe-db-instances \"$@\" --query 'DBInstances[0].DBInstanceStatus' --output text); [ \"$status\" != available ] || return 0 ;;\n\
             db-snapshot-available) status=$(aws rds describe-db-snapshots \"$@\" --query 'DBSnapshots[0].Status' --output text); [ \"$status\" != available ] || return 0 ;;\n\
             db-instance-deleted) aws rds describe-db-instances \"$@\" >/dev/null 2>&1 || return 0 ;;\n\
             *) return 9 ;; esac; sleep 0.3; done; }\n";
        self.shell(&format!("{quickly}{text}")).await
    }

    /// The application is served by the database that its `.env` names now, and has its users.
    async fn assert_served_by(&self, instance: &str) {
        let url = self.world.url(instance, "app").await;
        let at = url.split('@').nth(1).unwrap().split('/').next().unwrap();
        assert_eq!(self.shell(&format!("curl -fsS {}", self.health)).await, format!("users 500 on {at}"));
        let env = std::fs::read_to_string(self.world.path(".env")).unwrap();
        assert!(
            env.contains(&format!("\"postgresql://shop:{APP_PASSWORD}@{at}/app?sslmode=verify-full\"")),
            "{env}"
        );
        assert!(env.starts_with("SECRET_KEY=x\n") && env.ends_with("PORT=1\n"), "{env}");
    }

    async fn remove(&self, instance: &str) {
        let _ = self
            .world
            .rds
            .delete_db_instance()
            .db_instance_identifier(instance)
            .skip_final_snapshot(true)
            .send()
            .await;
        wait("its end", async || !self.world.instances().await.contains(instance)).await;
    }

    fn assert_no_secret_was_written(&self) {
        let mut folders = vec![self.world.path("vault/runs")];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let text = String::from_utf8(std::fs::read(&path).unwrap()).unwrap();
                    assert!(!text.contains("canary"), "{}: {text}", path.display());
                }
            }
        }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if let Ok(process) = std::fs::read_to_string(self.world.path("pid")) {
            let _ = std::process::Command::new("kill").args(["-9", process.trim()]).status();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_loss_brings_the_application_back_planned_rehearsed_for_real_and_by_hand() {
    let shop = Shop::open().await;
    shop.lose_users().await;
    assert_eq!(shop.shell(&format!("curl -s -o /dev/null -w '%{{http_code}}' {}", shop.health)).await, "503");
    shop.world.control("DELETE", "calls", Value::Null).await;
    let mut plan = vec!["plan".to_owned(), "data-loss".to_owned(), "--json".to_owned()];
    plan.extend(shop.flags("data-loss"));
    let planned = shop.lifeboat(&plan).await.assert_code(1).json();
    assert_eq!(planned["findings"], serde_json::json!([]));
    let doubts = planned["doubts"].as_array().unwrap();
    assert!(
        doubts.len() == 1
            && doubts[0].as_str().unwrap().starts_with("table `users` is not in database `app`"),
        "{doubts:?}"
    );
    assert_eq!(planned["steps"][1]["state"], "holds");
    assert_eq!(planned["steps"][3]["state"], "would_run");
    let calls = shop.world.control("GET", "calls", Value::Null).await;
    let actions: BTreeSet<&str> =
        calls.as_array().unwrap().iter().map(|call| call["action"].as_str().unwrap()).collect();
    assert!(
        !actions.is_empty()
            && actions
                .iter()
                .all(|action| ["Describe", "Get", "Simulate"].iter().any(|verb| action.starts_with(verb))),
        "{actions:?}"
    );
    assert!(!shop.world.path("vault").exists(), "a plan has written something");

    let rehearsed = shop.rehearse("data-loss").await;
    let not_rehearsed = rehearsed["not_rehearsed"].to_string();
    assert!(not_rehearsed.contains("switch") && not_rehearsed.contains("go"), "{not_rehearsed}");

    let report = shop.for_real("data-loss").await;
    let target = report["values"]["target"].as_str().unwrap().to_owned();
    shop.assert_served_by(&target).await;
    shop.world.assert_only(&["orders-prod", &target]).await;
    let kept = std::fs::read_to_string(
        shop.world.path(&format!(".env.before-{}", target.rsplit("-r").next().unwrap())),
    )
    .unwrap();
    shop.assert_no_secret_was_written();

    // Going back: the old database has no users yet, so that the restored one is kept.
    let id = report["run"].as_str().unwrap().to_owned();
    shop.shell(&format!("aws rds modify-db-instance --db-instance-identifier {target} --deletion-protection --apply-immediately >/dev/null")).await;
    let asked = shop.lifeboat(&["undo", &id].map(str::to_owned)).await;
    asked.assert_code(4).assert_says(&[
        "nothing was undone in account 123456789012",
        "postgres 15",
        &format!("--answer restore={target}"),
    ]);
    shop.assert_served_by(&target).await;
    let restore = format!("restore={target}");
    let undo = [
        "undo",
        &id,
        "--json",
        "--poll",
        "200ms",
        "--answer",
        "switch=switch",
        "--answer",
        "prepare=prepare",
        "--answer",
        &restore,
    ]
    .map(str::to_owned);
    let partly = shop.lifeboat(&undo).await;
    partly.assert_code(5).assert_says(&["answered 503, not 200", "`restore`: was kept"]);
    assert_eq!(partly.json()["headline"], "NOT UNDONE");
    // The application works on what it worked on before the undo.
    partly.assert_says(&[&format!("the application is on {target} again")]);
    shop.assert_served_by(&target).await;
    shop.world.assert_only(&["orders-prod", &target]).await;
    let switched = std::fs::read_to_string(shop.world.path(".env")).unwrap();
    let restart = std::fs::read_to_string(shop.world.path("restart")).unwrap();
    shop.world.write("restart", "#!/bin/sh\nexit 1\n");
    shop.lifeboat(&undo).await.assert_code(5).assert_says(&["could not be restarted"]);
    assert_eq!(std::fs::read_to_string(shop.world.path(".env")).unwrap(), switched);
    shop.world.write("restart", &restart);
    shop.assert_served_by(&target).await;
    shop.world
        .sql(
            "orders-prod",
            "app",
            "create table users as select n as id from generate_series(1, 500) n; grant all on users to shop",
        )
        .await;
    let undone = shop.lifeboat(&undo).await.assert_code(0).json();
    assert_eq!((undone["state"].as_str(), undone["left"].as_array().unwrap().len()), (Some("undone"), 0));
    shop.assert_served_by("orders-prod").await;
    shop.world.assert_only(&["orders-prod"]).await;
    shop.world.sql("orders-prod", "app", "drop table users").await;

    shop.world.write(".env", &kept);
    shop.by_hand("data-loss", &[("target", "orders-prod-by-hand")]).await;
    shop.assert_served_by("orders-prod-by-hand").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_loss_that_is_killed_anywhere_is_finished_with_one_restored_instance() {
    let shop = Shop::open().await;
    shop.lose_users().await;
    let env = std::fs::read_to_string(shop.world.path(".env")).unwrap();
    let seed: u64 = rand::rng().random();
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    for round in 0..campaign().unwrap_or(2) {
        shop.world.write(".env", &env);
        let mut arguments = shop.arguments("data-loss", &[]);
        arguments.extend(
            ["--answer", "stop-writers=orders-prod", "--answer", "afterwards=watched it"].map(str::to_owned),
        );
        let mut child = shop.command(&arguments).spawn().unwrap();
        let delay = rng.random_range(50..9000);
        let mut kills = 1;
        tokio::time::sleep(std::time::Duration::from_millis(delay)).await;
        let _ = child.kill().await;
        let runs = shop.lifeboat(&["runs", "--json"].map(str::to_owned)).await.json();
        let Some(id) = runs["runs"][0]["run"]
            .as_str()
            .map(str::to_owned)
            .filter(|_| runs["runs"][0]["state"] != "passed")
        else {
            continue;
        };
        let target = format!("orders-prod-r{}", id.rsplit('-').next().unwrap());
        let go = format!("go={target}");
        let resume = [
            "resume",
            &id,
            "--json",
            "--poll",
            "200ms",
            "--answer",
            "stop-writers=orders-prod",
            "--answer",
            &go,
            "--answer",
            "afterwards=watched it",
        ]
        .map(str::to_owned);
        // Half of them are killed once more while they are taken up.
        if rng.random_bool(0.5) {
            let mut child = shop.command(&resume).spawn().unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(rng.random_range(50..6000))).await;
            let _ = child.kill().await;
            kills += 1;
        }
        let told = format!("seed {seed}, round {round}, {kills} kills, the first after {delay} ms");
        let run = shop.lifeboat(&resume).await;
        let is_over = run.stderr.contains("has ended (passed)");
        assert!(run.code == Some(0) || is_over, "{told}: {}\n{}", run.stderr, run.stdout);
        shop.assert_served_by(&target).await;
        shop.world.assert_only(&["orders-prod", &target]).await;
        shop.remove(&target).await;
        shop.assert_no_secret_was_written();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_comes_back_and_a_migration_has_a_way_back() {
    let shop = Shop::open().await;
    shop.world.snapshot("orders-prod", "before").await;
    shop.world.write(
        "migrate",
        "#!/bin/sh\nexec psql -Xq -v ON_ERROR_STOP=1 -c 'alter table jobs add column note text'\n",
    );
    shop.world.write(
        "roll_back",
        "#!/bin/sh\nexec psql -Xq -v ON_ERROR_STOP=1 -c 'alter table jobs drop column note'\n",
    );
    shop.world.write("verify", "#!/bin/sh\ntest \"$(psql -XAtq -c \"select count(*) from pg_attribute where attrelid = 'jobs'::regclass and attname = 'note' and not attisdropped\")\" = 1\n");
    shop.shell("chmod +x migrate roll_back verify").await;
    let has_note = "select count(*) from pg_attribute where attrelid = 'jobs'::regclass and attname = 'note' and not attisdropped";
    let is_whole = campaign().is_some();
    shop.rehearse("before-a-migration").await;
    assert_eq!(
        shop.world.sql("orders-prod", "app", has_note).await,
        "0",
        "a rehearsal has migrated the live database"
    );
    if is_whole {
        let report = shop.for_real("before-a-migration").await;
        assert_eq!(shop.world.sql("orders-prod", "app", has_note).await, "1");
        let id = report["run"].as_str().unwrap();
        shop.lifeboat(&["undo", id, "--keep", "snapshot", "--answer", "migrate=migrate"].map(str::to_owned))
            .await
            .assert_code(0);
        assert_eq!(shop.world.sql("orders-prod", "app", has_note).await, "0");
        shop.by_hand("before-a-migration", &[("snapshot", "by-hand"), ("database", "orders-prod")]).await;
        assert_eq!(shop.world.sql("orders-prod", "app", has_note).await, "1");
        shop.rehearse("a-table-was-dropped").await;
    }
    let shape = "select string_agg(pg_get_constraintdef(oid), ';' order by contype) || (select count(*) from users) from pg_constraint where conrelid = 'users'::regclass";
    let before = shop.world.sql("orders-prod", "app", shape).await;
    shop.lose_users().await;
    shop.for_real("a-table-was-dropped").await;
    assert_eq!(shop.world.sql("orders-prod", "app", shape).await, before);
    shop.world.assert_only(&["orders-prod"]).await;
    if is_whole {
        shop.lose_users().await;
        shop.by_hand(
            "a-table-was-dropped",
            &[("schema", "public"), ("throwaway", "drill-by-hand"), ("into", "orders-prod")],
        )
        .await;
        assert_eq!(shop.world.sql("orders-prod", "app", shape).await, before);
        shop.world.assert_only(&["orders-prod"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_runbook_is_green_in_every_way() {
    let shop = Shop::open().await;
    shop.world.snapshot("orders-prod", "before").await;
    let all: &[(&str, &[(&str, &str)])] = &[
        ("monthly-drill", &[("copy", "drill-by-hand")]),
        ("point-in-time", &[("target", "by-hand-1")]),
        ("the-key-is-lost", &[("target", "by-hand-2")]),
        ("the-region-is-gone", &[("target", "by-hand-3")]),
        ("new-team-member", &[("copy", "drill-by-hand")]),
        ("storage-is-full", &[("database", "orders-prod"), ("gib", "60")]),
    ];
    for (name, more) in all.iter().take(if campaign().is_some() { all.len() } else { 1 }) {
        shop.rehearse(name).await;
        let before = shop.world.instances().await;
        shop.for_real(name).await;
        if campaign().is_some() {
            shop.by_hand(name, more).await;
        }
        for made in shop.world.instances().await.difference(&before) {
            shop.remove(made).await;
        }
    }
    shop.assert_no_secret_was_written();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_backup_is_restored_beside_rehearsed_for_real_and_by_hand() {
    let mut shop = Shop::open().await;
    let url = shop.world.url("orders-prod", "app").await;
    let (host, port) = url.split('@').nth(1).unwrap().split('/').next().unwrap().split_once(':').unwrap();
    let made = shop.world.lifeboat(&["backup", "create", "--url", &url, "--json"]).await;
    let backup = made.assert_code(0).json()["backup_name"].as_str().unwrap().to_owned();
    shop.more = vec![
        ("PGHOST".to_owned(), host.to_owned()),
        ("PGPORT".to_owned(), port.to_owned()),
        ("PGUSER".to_owned(), "owner".to_owned()),
        ("BACKUP_DIR".to_owned(), shop.world.path("vault").display().to_string()),
    ];
    shop.backup = backup;
    shop.lose_users().await;
    let databases =
        "select string_agg(datname, ' ' order by datname) from pg_database where not datistemplate";
    let before = shop.world.sql("orders-prod", "app", databases).await;
    shop.rehearse("restore-a-local-backup").await;
    assert_eq!(shop.world.sql("orders-prod", "app", databases).await, before);
    let served = format!("users 500 on {host}:{port}");
    shop.for_real("restore-a-local-backup").await;
    assert_eq!(shop.shell(&format!("curl -fsS {}", shop.health)).await, served);
    let kept = std::fs::read_to_string(shop.world.path(".env")).unwrap();
    assert!(kept.contains("/restored_") && kept.contains("?sslmode=verify-full\""), "{kept}");
    shop.by_hand("restore-a-local-backup", &[("restored", "by_hand")]).await;
    assert_eq!(shop.shell(&format!("curl -fsS {}", shop.health)).await, served);
    assert!(std::fs::read_to_string(shop.world.path(".env")).unwrap().contains("/by_hand?sslmode"));
    shop.assert_no_secret_was_written();
}
