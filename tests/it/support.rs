//! A world of its own for each test: a local stack in this process, a directory, and the built binary.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_rds::Client;
use lifeboat_localstack::{Limits, Options, Pace, Stack};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

/// The password of every master user: a canary, which no output may show.
pub(crate) const PASSWORD: &str = "canary-7f3a-correct-horse";
pub(crate) const REGION: &str = "eu-central-1";

pub(crate) struct World {
    pub(crate) rds: Client,
    pub(crate) cloudwatch: aws_sdk_cloudwatch::Client,
    pub(crate) sns: aws_sdk_sns::Client,
    pub(crate) stack: Stack,
    directory: tempfile::TempDir,
    lazy: bool,
}

impl World {
    pub(crate) async fn new() -> World {
        World::at(Pace::Instant).await
    }

    pub(crate) async fn at(pace: Pace) -> World {
        World::of(pace, Limits::default()).await
    }

    pub(crate) async fn of(pace: Pace, limits: Limits) -> World {
        let directory = directory();
        // The servers run as another user than root, who must get there.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        World::within(directory, pace, limits, false).await
    }

    async fn within(directory: tempfile::TempDir, pace: Pace, limits: Limits, lazy: bool) -> World {
        let data = Some(directory.path().join("stack"));
        let options = Options { data, pace, limits, lazy, windows_only_in_jumps: true, ..Options::default() };
        let stack = Stack::start(options).await.unwrap();
        let credentials = aws_sdk_rds::config::Credentials::new("test", "test", None, None, "test");
        let config = aws_sdk_rds::Config::builder()
            .behavior_version(aws_sdk_rds::config::BehaviorVersion::latest())
            .region(aws_sdk_rds::config::Region::new(REGION))
            .credentials_provider(credentials.clone())
            .endpoint_url(stack.endpoint())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        let cloudwatch = aws_sdk_cloudwatch::Client::from_conf(
            aws_sdk_cloudwatch::Config::builder()
                .behavior_version(aws_sdk_rds::config::BehaviorVersion::latest())
                .region(aws_sdk_rds::config::Region::new(REGION))
                .credentials_provider(credentials.clone())
                .endpoint_url(stack.endpoint())
                .http_client(aws_smithy_http_client::Builder::new().build_http())
                .build(),
        );
        let sns = aws_sdk_sns::Client::from_conf(
            aws_sdk_sns::Config::builder()
                .behavior_version(aws_sdk_rds::config::BehaviorVersion::latest())
                .region(aws_sdk_rds::config::Region::new(REGION))
                .credentials_provider(credentials)
                .endpoint_url(stack.endpoint())
                .http_client(aws_smithy_http_client::Builder::new().build_http())
                .build(),
        );
        World { rds: Client::from_conf(config), cloudwatch, sns, stack, directory, lazy }
    }

    /// A world of `count` databases `db-0`, `db-1`…, all alike, each with a snapshot, whose servers start when somebody
    /// connects. Room is left for so many more.
    pub(crate) async fn fleet(count: usize, room: usize) -> World {
        let limits = Limits { instances: count + room, manual_snapshots: 2 * count + 10 };
        let mut world = World::new().await;
        world.create("seed").await;
        world
            .sql(
                "seed",
                "app",
                "create table users as select n as id, 'user ' || n as name from generate_series(1, 50) n",
            )
            .await;
        world.snapshot("seed", "seed").await;
        world.lazy = true;
        world
            .rewritten(limits, |state| {
                let region = &mut state["regions"][REGION];
                let (instance, snapshot) =
                    (region["instances"]["seed"].clone(), region["snapshots"]["seed"].clone());
                (region["instances"], region["snapshots"]) = (serde_json::json!({}), serde_json::json!({}));
                for number in 0..count {
                    let (mut instance, mut snapshot) = (instance.clone(), snapshot.clone());
                    let (id, resource) = (format!("db-{number}"), format!("db-FLEET{number:020}"));
                    instance["id"] = id.as_str().into();
                    instance["resource_id"] = resource.as_str().into();
                    instance["backup_name"] = format!("ab-{number}").into();
                    instance["asleep"] = snapshot["backup"].clone();
                    instance["port"] = Value::Null;
                    snapshot["id"] = format!("snapshot-{number}").into();
                    snapshot["instance_id"] = id.as_str().into();
                    snapshot["resource_id"] = resource.into();
                    region["snapshots"][format!("snapshot-{number}")] = snapshot;
                    region["instances"][id] = instance;
                }
            })
            .await
    }

    /// The same world after its memory was changed while it was down: the way to thousands of records in no time.
    pub(crate) async fn rewritten(self, limits: Limits, change: impl FnOnce(&mut Value)) -> World {
        let World { stack, directory, lazy, .. } = self;
        stack.stop().await;
        let file = directory.path().join("stack/state.json");
        let mut state: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        change(&mut state);
        std::fs::write(&file, state.to_string()).unwrap();
        World::within(directory, Pace::Instant, limits, lazy).await
    }

    /// A world with an available instance `orders-prod` that has the usual tables, and a snapshot `before`.
    pub(crate) async fn with_orders() -> World {
        let world = World::new().await;
        world.create("orders-prod").await;
        world.fill("orders-prod").await;
        world.snapshot("orders-prod", "before").await;
        world
    }

    pub(crate) async fn create(&self, id: &str) {
        self.begin_create(id).await;
        self.until_status(id, "available").await;
    }

    /// An instance that is a record only, with no server behind it: quick to make, in any number.
    pub(crate) async fn create_record(&self, id: &str) {
        let request = self.rds.create_db_instance().db_instance_identifier(id).engine("mysql");
        let request = request.db_instance_class("db.m6g.large").allocated_storage(20);
        request.master_username("owner").master_user_password(PASSWORD).send().await.unwrap();
    }

    pub(crate) async fn advance_clock(&self, seconds: i64) {
        self.control("POST", "clock", serde_json::json!({"advance_seconds": seconds})).await;
    }

    /// Moves the stack's clock on until an instance has a status, so that nobody waits for a real pace. In small steps: on a
    /// slow machine there are many, and they must not lead into the next backup window.
    pub(crate) async fn hurry_until(&self, id: &str, status: &str) {
        wait(&format!("{id} to be {status}"), async || {
            self.advance_clock(60).await;
            let answer = self.rds.describe_db_instances().db_instance_identifier(id).send().await.unwrap();
            answer.db_instances()[0].db_instance_status() == Some(status)
        })
        .await;
    }

    pub(crate) async fn begin_create(&self, id: &str) {
        self.rds
            .create_db_instance()
            .db_instance_identifier(id)
            .engine("postgres")
            .db_instance_class("db.m6g.large")
            .allocated_storage(20)
            .master_username("owner")
            .master_user_password(PASSWORD)
            .db_name("app")
            .backup_retention_period(7)
            .tags(aws_sdk_rds::types::Tag::builder().key("env").value("prod").build())
            .send()
            .await
            .unwrap();
    }

    /// Users, jobs (quoted and partitioned ones too), an unlogged table, and a second database.
    pub(crate) async fn fill(&self, id: &str) {
        self.sql(
            id,
            "app",
            r#"create table users (id int primary key, name text);
               create table jobs (id int primary key, owner int references users);
               create schema "Odd Schema"; create table "Odd Schema"."Jobs ""2026""; drop" (id int);
               create table events (at date, what text) partition by range (at);
               create table events_1 partition of events for values from ('2026-01-01') to ('2026-07-01');
               create table events_2 partition of events for values from ('2026-07-01') to ('2027-01-01');
               create unlogged table sessions (id int);
               create table empty_one (id int);
               insert into users select n, 'user ' || n from generate_series(1, 500) n;
               insert into jobs select n, n from generate_series(1, 300) n;
               insert into "Odd Schema"."Jobs ""2026""; drop" select generate_series(1, 20);
               insert into events select date '2026-01-01' + n, 'x' from generate_series(0, 300) n;
               insert into sessions values (1);
               create database billing"#,
        )
        .await;
        self.sql(id, "billing", "create table invoices as select generate_series(1, 40) as id").await;
    }

    pub(crate) async fn snapshot(&self, instance: &str, id: &str) {
        self.rds
            .create_db_snapshot()
            .db_instance_identifier(instance)
            .db_snapshot_identifier(id)
            .send()
            .await
            .unwrap();
        wait("the snapshot", async || {
            let answer = self.rds.describe_db_snapshots().db_snapshot_identifier(id).send().await.unwrap();
            answer.db_snapshots()[0].status() == Some("available")
        })
        .await;
    }

    pub(crate) async fn until_status(&self, id: &str, status: &str) {
        wait(&format!("{id} to be {status}"), async || {
            let answer = self.rds.describe_db_instances().db_instance_identifier(id).send().await.unwrap();
            answer.db_instances()[0].db_instance_status() == Some(status)
        })
        .await;
    }

    /// Runs SQL with psql, each statement by itself, and returns what it printed.
    pub(crate) async fn sql(&self, id: &str, database: &str, sql: &str) -> String {
        let answer = self.rds.describe_db_instances().db_instance_identifier(id).send().await.unwrap();
        let endpoint = answer.db_instances()[0].endpoint().unwrap();
        let mut command = Command::new("psql");
        command
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "owner", "-d", database])
            .args(["-h", endpoint.address().unwrap(), "-p", &endpoint.port().unwrap().to_string()])
            .env("PGPASSWORD", PASSWORD)
            .env("PGSSLMODE", "verify-full")
            .env("PGSSLROOTCERT", self.stack.ca_path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("psql is installed by `make setup`");
        child.stdin.take().unwrap().write_all(sql.as_bytes()).await.unwrap();
        let done = child.wait_with_output().await.unwrap();
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    /// A connection URL of a database of an instance, without its password.
    pub(crate) async fn url(&self, id: &str, database: &str) -> String {
        let answer = self.rds.describe_db_instances().db_instance_identifier(id).send().await.unwrap();
        let endpoint = answer.db_instances()[0].endpoint().unwrap();
        let (host, port) = (endpoint.address().unwrap(), endpoint.port().unwrap());
        format!("postgresql://owner@{host}:{port}/{database}?sslmode=verify-full")
    }

    /// Copies a database of an instance to another one by pg_dump and psql.
    pub(crate) async fn dump_and_restore(&self, id: &str, from: &str, to: &str) {
        self.sql(id, from, &format!("create database {to}")).await;
        let (from, to) = (self.url(id, from).await, self.url(id, to).await);
        let shell = format!("set -o pipefail; pg_dump '{from}' | psql -Xq -v ON_ERROR_STOP=1 '{to}'");
        let mut command = Command::new("bash");
        command.args(["-c", &shell]).env("PGPASSWORD", PASSWORD).env("PGSSLROOTCERT", self.stack.ca_path());
        let done = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().await.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Ids of all instances.
    pub(crate) async fn instances(&self) -> BTreeSet<String> {
        let answer = self.rds.describe_db_instances().send().await.unwrap();
        answer
            .db_instances()
            .iter()
            .map(|instance| instance.db_instance_identifier().unwrap().to_owned())
            .collect()
    }

    /// Asserts that no throwaway is left.
    pub(crate) async fn assert_only(&self, ids: &[&str]) {
        let expected: BTreeSet<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(self.instances().await, expected);
    }

    /// A call to the control endpoint.
    pub(crate) async fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let endpoint = self.stack.endpoint();
        let address = endpoint.trim_start_matches("http://");
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} /_control/{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 2"), "{path}: {answer}");
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    pub(crate) async fn fault(&self, action: &str, fault: Value) {
        let mut body = fault;
        body["action"] = action.into();
        self.control("POST", "faults", body).await;
    }

    /// How often an action was called.
    pub(crate) async fn calls(&self, action: &str) -> usize {
        let log = self.control("GET", "calls", Value::Null).await;
        let calls = log.as_array().or_else(|| log["calls"].as_array()).unwrap();
        calls.iter().filter(|call| call["action"] == action).count()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The built binary, in the world's directory and environment, and in no other.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = binary(self.directory.path(), arguments);
        command
            .env("AWS_ENDPOINT_URL", self.stack.endpoint())
            .env("PGPASSWORD", PASSWORD)
            .env("PGSSLROOTCERT", self.stack.ca_path())
            .env("BACKUP_DIR", self.path("vault"));
        command
    }

    pub(crate) async fn lifeboat(&self, arguments: &[&str]) -> Run {
        finish(self.command(arguments).spawn().unwrap()).await
    }

    /// `drill run orders-prod` with JSON and a quick poll.
    pub(crate) async fn drill(&self, arguments: &[&str]) -> Run {
        self.lifeboat(&[&["drill", "run", "orders-prod", "--json", "--poll", "200ms"], arguments].concat())
            .await
    }

    /// Starts a drill and returns when it has said `words`.
    pub(crate) async fn drill_until(&self, arguments: &[&str], words: &str) -> Started {
        let all = [&["drill", "run", "orders-prod", "--json", "--poll", "200ms"], arguments].concat();
        self.start_until(&all, words).await
    }

    /// Starts a command and returns when it has said `words`.
    pub(crate) async fn start_until(&self, all: &[&str], words: &str) -> Started {
        let mut child = self.command(all).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        loop {
            let line = tokio::time::timeout(Duration::from_secs(180), lines.next_line()).await;
            let line = line.expect("the drill is still saying things").unwrap();
            let Some(line) = line else { panic!("the drill ended without saying {words:?}:\n{said}") };
            said.push_str(&format!("{line}\n"));
            if line.contains(words) {
                break;
            }
        }
        // Whatever else it says must not block it.
        let rest = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                said.push_str(&format!("{line}\n"));
            }
            said
        });
        Started { child, rest }
    }
}

/// A drill that goes on.
pub(crate) struct Started {
    child: Child,
    rest: tokio::task::JoinHandle<String>,
}

impl Started {
    pub(crate) fn signal(&self, name: &str) {
        let process = self.child.id().unwrap().to_string();
        let done = std::process::Command::new("kill").args([&format!("-{name}"), &process]).status();
        assert!(done.unwrap().success());
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) async fn finish(self) -> Run {
        let mut run = finish(self.child).await;
        run.stderr = self.rest.await.unwrap();
        run
    }
}

/// Runs a command whose clock is ahead by so much (`+40d`).
pub(crate) async fn finish_ahead(by: &str, ours: &Command) -> Run {
    let ours = ours.as_std();
    let mut command = Command::new("faketime");
    command.args(["-f", by]).arg(ours.get_program()).args(ours.get_args());
    let set = ours.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.env_clear().envs(set).env("FAKETIME_DONT_FAKE_MONOTONIC", "1").stdin(Stdio::null());
    command.current_dir(ours.get_current_dir().unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command.spawn().expect("faketime is installed by `make setup`")).await
}

pub(crate) async fn finish(child: Child) -> Run {
    // Only so that a test ends which waits in vain: a busy machine is slow, and a campaign makes one so.
    let minutes = if std::env::var_os("LIFEBOAT_CAMPAIGN").is_some() { 15 } else { 5 };
    let done = tokio::time::timeout(Duration::from_secs(60 * minutes), child.wait_with_output()).await;
    let done = done.expect("the command ends in time").unwrap();
    let run = Run {
        code: done.status.code(),
        stdout: String::from_utf8(done.stdout).unwrap(),
        stderr: String::from_utf8(done.stderr).unwrap(),
    };
    assert!(
        !run.stdout.contains("canary") && !run.stderr.contains("canary"),
        "a secret was printed: {run:?}"
    );
    assert_commands_can_be_pasted(&format!("{}\n{}", run.stdout, run.stderr));
    run
}

/// Whatever command of ours is printed, in backticks, on a line of its own or as a text of a document, is one that this version
/// takes.
#[track_caller]
fn assert_commands_can_be_pasted(printed: &str) {
    for line in printed.lines() {
        let alone = line.trim_start().strip_prefix("lifeboat ").filter(|_| !line.ends_with([':', '\\']));
        let quoted = ["`lifeboat ", "\"lifeboat "].into_iter().flat_map(|start| {
            let close = start.chars().next().unwrap();
            line.split(start).skip(1).map(move |rest| rest.split(close).next().unwrap_or_default())
        });
        for command in alone.into_iter().chain(quoted) {
            for part in command.split(" && ").map(|part| part.trim_start_matches("lifeboat ")) {
                let part = part.split(" #").next().unwrap().trim_end();
                let first = part.split(' ').find(|word| !word.starts_with('-') && !word.starts_with('/'));
                let is_command = first.is_some_and(|word| COMMANDS.contains(&word));
                // Angle brackets are of a usage line.
                if is_command && !part.contains(['\\', '<']) {
                    assert_is_command_line(part, line);
                }
            }
        }
    }
}

const COMMANDS: [&str; 13] = [
    "drill", "verify", "status", "policy", "restore", "snapshot", "backup", "alarms", "runbook", "serve",
    "notify", "doctor", "init",
];

/// What a command did.
#[derive(Debug)]
#[must_use = "look at the output or assert the exit code"]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that stderr says each of `words`.
    #[track_caller]
    pub(crate) fn assert_says(&self, words: &[&str]) -> &Self {
        for word in words {
            assert!(self.stderr.contains(word), "stderr does not say {word:?}:\n{}", self.stderr);
        }
        self
    }

    /// The one document on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("{error}\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr),
        }
    }

    /// What the report says of a table: verdict, expected rows, found rows.
    #[track_caller]
    pub(crate) fn table(&self, name: &str) -> (String, Option<u64>, Option<u64>) {
        let report = self.json();
        let table = report["tables"].as_array().unwrap().iter().find(|table| table["table"] == name);
        let table = table.unwrap_or_else(|| panic!("no table {name} in {report:#}"));
        let verdict = table["verdict"].as_str().unwrap().to_owned();
        (verdict, table["expected_rows"].as_u64(), table["observed_rows"].as_u64())
    }
}

/// How long the path of a world's directory is wherever temporary files are, so that what names it is wrapped alike.
const PATH_LENGTH: usize = 44;

/// A directory for a world.
pub(crate) fn directory() -> tempfile::TempDir {
    let (folder, random) = (std::env::temp_dir(), 6);
    let room = PATH_LENGTH.saturating_sub(folder.join("x").as_os_str().len() - 1 + random);
    tempfile::Builder::new().prefix(&"w".repeat(room)).rand_bytes(random).tempdir().unwrap()
}

/// Asks the binary itself: `--help` behind a command line is answered if all before it is understood. What stands for
/// something that only the reader knows is not looked at here, but where the hints are written.
#[track_caller]
fn assert_is_command_line(arguments: &str, line: &str) {
    static UNDERSTOOD: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(Mutex::default);
    let words = shlex::split(arguments).unwrap_or_else(|| panic!("a quote is not closed in: {line}"));
    let is_placeholder = |word: &String| {
        word.contains(['…', '$', '{', '[']) || word == "N" || {
            word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || "_-=.:".contains(c))
        }
    };
    if words.iter().any(is_placeholder) || UNDERSTOOD.lock().unwrap().contains(arguments) {
        return;
    }
    let done = std::process::Command::new(program()).args(words).arg("--help").output().unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "`lifeboat {arguments}` in: {line}\n{stderr}");
    UNDERSTOOD.lock().unwrap().insert(arguments.to_owned());
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The built binary. `cargo test` does not build it, as it belongs to another package: one that is older than its sources
/// would be a test of what was.
pub(crate) fn program() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| {
        let tests = std::env::current_exe().unwrap();
        let program = tests.parent().and_then(Path::parent).unwrap().join("lifeboat");
        let changed = |file: &Path| file.metadata().and_then(|file| file.modified());
        let built = changed(&program).expect("`cargo build --workspace --bins` builds it first");
        let sources = std::fs::read_to_string(program.with_extension("d")).unwrap();
        for source in sources.split(' ').skip(1).map(|source| Path::new(source.trim())) {
            let is_older = changed(source).is_ok_and(|changed| changed > built);
            assert!(!is_older, "{} changed: run `cargo build --workspace --bins`", source.display());
        }
        program.to_str().unwrap().to_owned()
    });
    &PROGRAM
}

/// The built binary, in a directory, and in no environment but credentials that mean nothing.
pub(crate) fn binary(directory: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", directory)
        .env("TMPDIR", std::env::temp_dir())
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "canary-aws-secret")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs the AWS CLI at an endpoint and returns its exit code and what it printed.
pub(crate) async fn aws_cli(endpoint: &str, arguments: &[&str]) -> (i32, String) {
    let done = Command::new("aws")
        .args(["--endpoint-url", endpoint])
        .args(arguments)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("AWS_PAGER", "")
        .output()
        .await
        .expect("the AWS CLI is installed by `make setup`");
    let text = [done.stdout, done.stderr].concat();
    (done.status.code().unwrap(), String::from_utf8(text).unwrap().trim().to_owned())
}

/// moto, AWS as others understand it, on a port of its own.
pub(crate) struct Moto {
    pub(crate) port: u16,
    _server: Child,
}

impl Moto {
    pub(crate) async fn start(environment: &[(&str, &str)]) -> Moto {
        let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/clients/bin/moto_server");
        let program = if std::path::Path::new(installed).exists() { installed } else { "moto_server" };
        let mut command = Command::new(program);
        // A port that it takes itself: one that was free a moment ago may be somebody else's by now.
        command.args(["-H", "127.0.0.1", "-p", "0"]).envs(environment.iter().copied());
        let server = command.kill_on_drop(true).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut server = server.expect("moto is installed by `make setup`");
        let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let port = loop {
            let line = tokio::time::timeout(Duration::from_secs(180), lines.next_line()).await;
            let line = line.expect("moto says where it runs").unwrap();
            let Some(line) = line else { panic!("moto ended:\n{said}") };
            if let Some((_, port)) = line.split_once("Running on http://127.0.0.1:") {
                break port.trim().parse().unwrap();
            }
            said.push_str(&format!("{line}\n"));
        };
        // A line for each request, which must not block it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Moto { port, _server: server }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Waits for a condition; the limit is there so that a test that waits in vain ends.
pub(crate) async fn wait(what: &str, condition: impl AsyncFn() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(180);
    while !condition().await {
        assert!(Instant::now() < give_up, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
