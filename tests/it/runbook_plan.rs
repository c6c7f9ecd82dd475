//! A plan changes nothing: whatever a step says of itself, only what is known to read is run.

use serde_json::Value;

use crate::support::{Run, World, finish};

const FRONT: &str = "---\nrunbook: 1\ntitle: Try it\nowner: o\nreview_by: 2099-01-01\nrto: 60m\n";

/// Shell blocks that write, each in its own way; all of them say that they only read.
const SHELL: [&str; 64] = [
    "sed -n 'w harm' notes",
    "sed '1e touch harm' notes",
    "sed 's/.*/touch harm/e' notes",
    "sed -ni 's/a/b/w harm' notes",
    "sort --output harm notes",
    "sort -ro harm notes",
    "sort --compress-program ./hostile -S 1 notes",
    "uniq notes harm",
    "date 0101000026",
    "echo $(( $(touch harm) + 1 ))",
    "echo \"${x:-$(touch harm)}\"",
    "cat <<EOF\n$(touch harm)\nEOF",
    "echo $'a\\'' ; touch harm ; echo $'b\\''",
    "function cat { touch harm; }\ncat notes",
    "test() { touch harm; }\ntest -f notes",
    "printf -v 'a[$(touch harm)]' x",
    "test -v 'a[$(touch harm)]'",
    "echo x | read \"a[$(touch harm)]\"",
    "echo x >&harm",
    "echo x &>harm",
    "echo x >|harm",
    "PATH=. cat notes",
    "PATH=.\nls",
    "aws s3api get-object --bucket b --key k harm",
    "aws s3 cp s3://b/k harm",
    "aws sts get-session-token",
    "aws rds describe-db-instances --endpoint-url http://127.0.0.1:1",
    "aws rds describe-db-instances --endpoint http://127.0.0.1:1",
    "aws rds describe-db-instances --cli-input-json file://notes",
    "aws rds describe-db-instances --db-instance-identifier file://notes",
    "aws rds generate-db-auth-token --hostname h --port 1 --username u",
    "aws rds delete-db-snapshot --db-snapshot-identifier describe-me",
    "aws --region status rds delete-db-snapshot --db-snapshot-identifier x",
    "aws configure set region x",
    "aws rds describe-db-instances && touch harm",
    "aws rds describe-db-instances & touch harm",
    "aws rds describe-db-instances\ntouch harm",
    "lifeboat --region status serve token add x",
    "lifeboat serve token add x",
    "lifeboat --vault harm snapshot list",
    "lifeboat drill run x --dry-run",
    "lifeboat backup create --url sqlite:notes",
    "lifeboat completions bash > harm",
    "lifeboat runbook run other.md",
    "./hostile",
    "env touch harm",
    "command touch harm",
    "exec touch harm",
    "eval touch harm",
    "bash -c 'touch harm'",
    "find . -maxdepth 0 -exec touch harm ;",
    "find . -maxdepth 0 -fprint harm",
    "tee harm",
    "awk 'BEGIN { system(\"touch harm\") }'",
    "python3 -c 'open(\"harm\", \"w\")'",
    "psql -c '\\! touch harm'",
    "curl -o harm http://127.0.0.1:1",
    "git --exec-path=. status",
    "ls *(e:touch harm:)",
    "ls \"$name\"",
    "test -f \"$name\" -o -x harm",
    "a[$(touch harm)]=1",
    "ls ~harm",
    "! touch harm",
];

/// The names in a folder, all the way down.
fn names(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    // The local stack archives WAL by itself.
    let own = |entry: &std::fs::DirEntry| entry.file_name() != "stack";
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).filter(own) {
        found.push(entry.path().display().to_string());
        if entry.path().is_dir() {
            found.extend(names(&entry.path()));
        }
    }
    found.sort();
    found
}

async fn plan(folder: &std::path::Path, text: &str, environment: &[(&str, &str)]) -> Run {
    std::fs::write(folder.join("try.md"), text).unwrap();
    let mut command = crate::support::binary(folder, &["runbook", "plan", "try.md", "--json"]);
    command.env("BACKUP_DIR", folder.join("vault")).envs(environment.iter().copied());
    finish(command.spawn().unwrap()).await
}

fn steps(planned: &Value) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let steps = planned["steps"].as_array().unwrap();
    steps.iter().map(|step| (word(&step["state"]), word(&step["reason"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_shell_step_of_a_plan_writes_whatever_it_says_of_itself() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("notes"), "touch harm\n").unwrap();
    std::fs::write(path.join("other.md"), format!("{FRONT}---\n```sh id=a\ntouch harm\n```\n")).unwrap();
    for program in ["hostile", "cat", "ls", "aws", "test"] {
        std::fs::write(path.join(program), "#!/bin/sh\ntouch harm\n").unwrap();
        std::fs::set_permissions(path.join(program), PermissionsExt::from_mode(0o755)).unwrap();
    }
    std::fs::write(path.join("try.md"), "").unwrap();
    let before = names(path);
    let document = |promise: &str| {
        let steps =
            SHELL.iter().enumerate().map(|(n, text)| format!("```sh id=s{n}{promise}\n{text}\n```\n"));
        let param = "params:\n  name: {default: \"--hostile\", pattern: \"[a-z-]+\"}\n";
        format!("{FRONT}{param}---\n{}", steps.collect::<String>())
    };
    // A function of the environment, and a folder of PATH that is the current one, mean nothing either.
    let usual = std::env::var("PATH").unwrap();
    let environment = [
        ("PATH", format!(".::{usual}")),
        ("BASH_FUNC_ls%%", "() { touch harm; }".to_owned()),
        ("BASH_ENV", path.join("hostile").display().to_string()),
    ];
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let planned = plan(path, &document(" read-only"), &environment).await.assert_code(0).json();
    for ((state, reason), text) in steps(&planned).iter().zip(SHELL) {
        assert_eq!(state, "not_run", "{text}");
        assert!(reason.starts_with("not run in a plan: line "), "{text}: {reason}");
    }
    let planned = plan(path, &document(""), &environment).await.assert_code(0).json();
    for (state, reason) in steps(&planned) {
        assert_eq!(
            (state.as_str(), reason.as_str()),
            ("would_run", "not run in a plan: it does not say `read-only`")
        );
    }
    // What does read is run, and finds the programs of the machine.
    let text = format!(
        "{FRONT}---\n```sh id=a read-only capture=seen\nls notes\ntest -f notes\n```\n```expect\nseen = notes\n```\n```sh id=b read-only\ntest -f harm\n```\n"
    );
    let planned = plan(path, &text, &environment).await.assert_code(1).json();
    assert_eq!(planned["steps"][0]["state"], "holds", "{planned:#}");
    assert_eq!(planned["steps"][1]["state"], "failed", "{planned:#}");
    assert_eq!(names(path), before, "a plan has written something");
}

/// SQL that changes something, or might; all of it says that it only reads.
const SQL: [&str; 44] = [
    "select count(*) from indexed",
    "select count(*) from partial",
    "select count(*) from checked",
    "select 1; set default_transaction_read_only=off; delete from users",
    "begin read write",
    "commit",
    "rollback; begin read write; delete from users; commit",
    "set transaction read write",
    "select set_config('transaction_read_only', 'off', false)",
    "select set_config('default_transaction_read_only', 'off', false), 1",
    "select 'delete from users' \\gexec",
    "select 1 \\! touch harm",
    "select 1 \\g |touch harm",
    "select 1 \\g harm",
    "\\copy users to harm",
    "\\o harm",
    "\\connect app",
    "copy users to program 'touch harm'",
    "delete from users",
    "with gone as (delete from users returning 1) select * from gone",
    "select * into other from users",
    "explain analyze delete from users",
    "explain (analyze) delete from users",
    "do $$ begin delete from users; end $$",
    "call clean()",
    "select nextval('counter')",
    "select pg_notify('a', 'b')",
    "select pg_sleep(0)",
    "select pg_terminate_backend(pid) from pg_stat_activity",
    "select \"pg_terminate_backend\"/* */ (pid) from pg_stat_activity",
    "select U&\"pg_terminate_backen\\0064\"(0)",
    "select pg_switch_wal()",
    "select pg_create_restore_point('x')",
    "select lo_export(1, '/tmp/harm')",
    "select query_to_xml('select pg_switch_wal()', true, true, '')",
    "select public.loud()",
    "select loud()",
    "select users.touched from users limit 1",
    "select (users).touched from users limit 1",
    "select min(users) from users",
    "select * from noisy",
    "select * from noisier",
    "select 1 @!@ 2",
    "select * from guarded",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_sql_step_of_a_plan_changes_a_row_or_calls_what_acts_outside_of_its_transaction() {
    let world = World::with_orders().await;
    world
        .sql(
            "orders-prod",
            "app",
            "create sequence counter;
             create procedure clean() language sql as 'delete from users';
             create function loud() returns int stable language plpgsql as $$ begin perform pg_notify('a', 'b'); return 1; end $$;
             create function touched(users) returns int stable language sql as 'select loud()';
             create function loud_sum(int, int) returns int immutable language sql as 'select $1 + $2 + loud()';
             create operator @!@ (function = loud_sum, leftarg = int, rightarg = int);
             create view noisy as select loud() as n;
             create function public.min(users) returns int language sql as 'select loud()';
             create view noisier as select * from noisy;
             create view quiet as select count(*) as n from users;
             create table guarded (n int);
             alter table guarded enable row level security;
             alter table guarded force row level security;
             create policy p on guarded using (loud() = 1);
             insert into guarded values (1);
             create function quiet_once(int) returns int immutable language sql as 'select $1';
             create table indexed (n int); create index on indexed (quiet_once(1));
             create table partial (n int); create index on partial (n) where quiet_once(2) > 1;
             create table checked (n int check (n > quiet_once(3)));
             create or replace function quiet_once(int) returns int immutable language plpgsql as $$ begin perform loud(); return $1; end $$",
        )
        .await;
    let content = "select (select count(*) from users)::text || (select last_value from counter)";
    let before = world.sql("orders-prod", "app", content).await;
    let names_before = names(world.path("").as_path());
    let document = |promise: &str, statements: &[&str]| {
        let steps = statements
            .iter()
            .enumerate()
            .map(|(n, text)| format!("```sql id=s{n} on=source db=app{promise}\n{text}\n```\n"));
        let param = "params:\n  source: {default: orders-prod, pattern: \"[a-z-]+\"}\n  table: {default: users, pattern: \"[a-z]+\"}\nneeds: {aws: {}}\n";
        format!("{FRONT}{param}---\n{}", steps.collect::<String>())
    };
    world.write("try.md", &document(" read-only", &SQL));
    let planned = world.lifeboat(&["runbook", "plan", "try.md", "--json"]).await;
    let planned = planned.json();
    for ((state, reason), text) in steps(&planned).iter().zip(SQL) {
        assert_eq!(state, "not_run", "{text}: {reason}");
        assert!(reason.starts_with("not run in a plan: "), "{text}: {reason}");
    }
    let reads = [
        "select count(*) from users where name <> :'source';",
        "select count(*) from :\"table\"",
        "with x as (select * from users) select max(id)::text || ':' || now() from x -- the newest",
        "show transaction_read_only",
        "values (1), (2)",
        "select * from quiet",
        "explain select * from users",
    ];
    world.write("try.md", &document(" read-only", &reads));
    let planned = world.lifeboat(&["runbook", "plan", "try.md", "--json"]).await.json();
    for ((state, reason), text) in steps(&planned).iter().zip(reads) {
        assert_eq!(state, "holds", "{text}: {reason}");
    }
    assert_eq!(planned["steps"][0]["output"], "500");
    assert_eq!(planned["steps"][3]["output"], "on");
    assert_eq!(planned["steps"][4]["output"], "1\n2");
    assert_eq!(world.sql("orders-prod", "app", content).await, before);
    std::fs::remove_file(world.path("try.md")).unwrap();
    assert_eq!(names(world.path("").as_path()), names_before, "a plan has written something");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_interruption_only_what_is_known_to_read_is_repeated_without_asking() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let run = async |arguments: &[&str]| {
        let mut command = crate::support::binary(path, &[&["runbook"], arguments].concat());
        command.env("BACKUP_DIR", path.join("vault"));
        finish(command.spawn().unwrap()).await
    };
    for (body, code) in [
        ("ls log", 0),
        ("cat log; echo again >> log", 4),
        ("sed -n 'w copy' log", 4),
        ("lifeboat serve token add x", 4),
    ] {
        let _ = std::fs::remove_dir_all(path.join("vault"));
        std::fs::write(path.join("log"), "").unwrap();
        let text = format!(
            "{FRONT}---\n```sh id=a timeout=1m read-only\n{body}\n```\n```confirm id=go type=\"yes\"\nGo?\n```\n"
        );
        std::fs::write(path.join("try.md"), text).unwrap();
        run(&["run", "try.md"]).await.assert_code(4);
        let id = std::fs::read_dir(path.join("vault/runs")).unwrap().next().unwrap().unwrap();
        let journal = id.path().join("journal.jsonl");
        // As after a crash: the step has begun, and nothing says how it ended.
        let whole = std::fs::read_to_string(&journal).unwrap();
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        let end = lines.iter().position(|line| line.contains("\"end\"")).unwrap();
        std::fs::write(&journal, lines[..end].concat() + "{\"v\":1,").unwrap();
        std::fs::write(path.join("log"), "").unwrap();
        let _ = std::fs::remove_file(path.join("copy"));
        let name = id.file_name().into_string().unwrap();
        let resumed = run(&["resume", &name, "--answer", "go=yes"]).await;
        resumed.assert_code(code);
        if code == 4 {
            resumed.assert_says(&["step `a` began", "not repeated blindly", "--redo a"]);
        }
        assert_eq!(std::fs::read_to_string(path.join("log")).unwrap(), "", "{body}");
        assert!(!path.join("copy").exists(), "{body}");
    }
}
