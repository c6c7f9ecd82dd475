//! The book's commands are run as they are written, in their order, by a shell. What belongs to the reader, a host or a path, is
//! exchanged by a table; every command in a `console` block is run by one of these tests or stands in `NOT_RUN` with the reason.
//! Guides that are runbooks are rehearsed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use crate::notify::Hook;
use crate::places;
use crate::serving::Serving;
use crate::stores::Bucket;
use crate::support::{PASSWORD, REGION, World, binary, finish, program, root, wait};

/// What a test cannot run, by its beginning, and why.
const NOT_RUN: [(&str, &str); 9] = [
    ("cargo install", "it would replace the reader's own binary"),
    ("cargo run -p lifeboat-localstack", "the local stack is started in this process"),
    (
        "aws --endpoint-url $AWS_ENDPOINT_URL rds wait",
        "its first look comes too early on a busy machine, its second after 30 seconds",
    ),
    ("export PATH=", "the built binary is found otherwise"),
    ("deploy/iam/create", "makes roles and policies; deploy.rs runs it against moto"),
    ("systemctl enable", "would change this machine; the units are verified by systemd-analyze in lint.rs"),
    ("kubectl apply", "there is no cluster; the manifests are checked in lint.rs"),
    ("lifeboat runbook run", "a person answers its gates; runbooks_shipped.rs runs every step"),
    (
        "lifeboat serve --listen 0.0.0.0:5000",
        "would answer the whole network; it is run on this machine's address",
    ),
];

/// A page: README, or one of the book.
fn page(name: &str) -> String {
    let folder = if name == "README.md" { root().to_path_buf() } else { root().join("docs") };
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// All pages of the book, by their paths below `docs`.
pub(crate) fn pages() -> Vec<String> {
    let docs = root().join("docs");
    let mut folders = vec![docs.clone()];
    let mut pages = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                pages.push(path.strip_prefix(&docs).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    pages.sort();
    pages
}

/// The commands in the `console` blocks of a page, with what continues them.
fn commands(name: &str) -> Vec<String> {
    let (mut commands, mut is_console, mut is_open) = (Vec::<String>::new(), false, false);
    for line in page(name).lines() {
        if line.starts_with("```") {
            is_console = line == "```console";
        } else if is_open {
            commands.last_mut().unwrap().push_str(&format!("\n{line}"));
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| is_console) {
            commands.push(command.to_owned());
        } else {
            continue;
        }
        is_open = line.ends_with('\\');
    }
    commands
}

fn first_sample_of_a_configuration(name: &str) -> String {
    page(name).split("```toml\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
}

/// A shell that keeps its environment and its directory from command to command.
struct Shell {
    directory: PathBuf,
    environment: BTreeMap<String, String>,
    exchanged: Vec<(String, String)>,
}

impl Shell {
    fn new(world: &World) -> Shell {
        let directory = world.path("reader");
        std::fs::create_dir_all(directory.join("bin")).unwrap();
        std::os::unix::fs::symlink(program(), directory.join("bin/lifeboat")).unwrap();
        let clients = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/clients/bin");
        let path = format!("{}/bin:{clients}:{}", directory.display(), std::env::var("PATH").unwrap());
        let set = [
            ("PATH", path),
            ("HOME", directory.display().to_string()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_PAGER", String::new()),
        ];
        let environment = set.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let exchanged = vec![
            ("http://127.0.0.1:4566".to_owned(), world.stack.endpoint()),
            ("/tmp/stack/ca.pem".to_owned(), world.stack.ca_path().display().to_string()),
            ("correct-horse".to_owned(), PASSWORD.to_owned()),
        ];
        Shell { directory, environment, exchanged }
    }

    fn exchange(&mut self, written: &str, meant: impl Into<String>) {
        self.exchanged.push((written.to_owned(), meant.into()));
    }

    fn command(&self, written: &str) -> Command {
        let meant = self.exchanged.iter().fold(written.to_owned(), |text, (from, to)| text.replace(from, to));
        let state = self.directory.join(".state");
        let script = format!("{meant}\ncode=$?\nenv -0 > '{}'\nexit $code", state.display());
        let mut command = Command::new("bash");
        command.arg("-c").arg(script).current_dir(&self.directory).env_clear().envs(&self.environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// A command that goes on until it is ended, in the place of the shell.
    fn service(&self, written: &str) -> Command {
        self.command(&format!("exec env {written}"))
    }

    /// Runs a command as it is written and returns what it printed.
    async fn run(&mut self, written: &str, expected: i32) -> String {
        let done = self.command(written).output().await.unwrap();
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        assert_eq!(done.status.code(), Some(expected), "$ {written}\n{said}");
        let state = std::fs::read_to_string(self.directory.join(".state")).unwrap();
        let exported = state.split('\0').filter_map(|pair| pair.split_once('='));
        self.environment = exported.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        said
    }
}

fn reason_not_to_run(command: &str) -> Option<&'static str> {
    NOT_RUN.iter().find(|(start, _)| command.starts_with(start)).map(|(_, reason)| *reason)
}

/// Runs the commands of a page; those of which the exit code is not 0 are named by their beginning.
async fn run_page(shell: &mut Shell, name: &str, expected: &[(&str, i32)]) -> String {
    let mut said = String::new();
    for command in commands(name).iter().filter(|command| reason_not_to_run(command).is_none()) {
        let code = expected.iter().find(|(start, _)| command.starts_with(start)).map_or(0, |(_, code)| *code);
        said.push_str(&shell.run(command, code).await);
    }
    said
}

/// A guide that goes back a second and not a minute, and looks at AWS five times a second.
fn in_a_hurry(guide: &str) -> String {
    let waiting = [
        "drill run",
        "snapshot create",
        "snapshot copy",
        "restore snapshot",
        "restore point-in-time",
        "restore table",
    ];
    let lines = guide.lines().map(|line| {
        let waits = line
            .strip_prefix("lifeboat ")
            .is_some_and(|rest| waiting.iter().any(|start| rest.starts_with(start)));
        if waits { format!("{line} --poll 200ms\n") } else { format!("{line}\n") }
    });
    lines.collect::<String>().replace("1 minute ago", "1 second ago")
}

#[test]
fn every_command_of_the_book_is_in_a_page_that_is_run() {
    let run = [
        "README.md",
        "guides/accounts.md",
        "guides/adopt.md",
        "guides/alarms.md",
        "guides/api.md",
        "guides/audit.md",
        "guides/bucket.md",
        "guides/dashboard.md",
        "guides/doctor.md",
        "guides/fleets.md",
        "guides/iam.md",
        "guides/notifications.md",
        "guides/postgresql-backups.md",
        "guides/retention.md",
        "guides/runbooks.md",
        "guides/schedule.md",
        "guides/sqlite-backups.md",
        "guides/status.md",
        "guides/two-databases.md",
        "install.md",
        "tutorials/first-drill.md",
        "tutorials/first-week.md",
    ];
    let with_commands: Vec<String> = std::iter::once("README.md".to_owned())
        .chain(pages())
        .filter(|name| !commands(name).is_empty())
        .collect();
    assert_eq!(run.as_slice(), with_commands);
    for (start, _) in NOT_RUN {
        let is_there = run.iter().any(|name| commands(name).iter().any(|command| command.starts_with(start)));
        assert!(is_there, "{start} is not in the book");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorials_and_the_guides_of_rds_run_as_they_are_written() {
    let world = World::new().await;
    let mut shell = Shell::new(&world);
    // Nobody has to wait for 15 seconds between two looks.
    shell.exchange("lifeboat drill run orders-prod", "lifeboat drill run --poll 200ms orders-prod");
    run_page(&mut shell, "install.md", &[]).await;
    assert!(shell.directory.join(".local/share/man/man1/lifeboat-drill-run.1").is_file());

    // The instance has to be there before what follows; a person reads on meanwhile.
    let (mut said, mut drills) = (String::new(), 0);
    for command in commands("tutorials/first-drill.md") {
        if reason_not_to_run(&command).is_some() {
            continue;
        }
        drills += usize::from(command == "lifeboat drill run orders-prod");
        // The third copy is damaged.
        let is_damaged = drills == 3 && command == "lifeboat drill run orders-prod";
        said.push_str(&shell.run(&command, i32::from(is_damaged)).await);
        if command.contains("create-db-instance") {
            world.until_status("orders-prod", "available").await;
        }
    }
    assert!(
        said.contains("PASS") && said.contains("FAIL") && said.contains("(id 1042, 1043, 7781"),
        "{said}"
    );

    let said = run_page(&mut shell, "guides/fleets.md", &[]).await;
    assert!(said.contains("pass") && !said.contains("FAIL"), "{said}");

    wait("a moment to go back to", async || {
        let answer =
            world.rds.describe_db_instances().db_instance_identifier("orders-prod").send().await.unwrap();
        answer.db_instances()[0].latest_restorable_time().is_some()
    })
    .await;
    let url = format!("postgresql://app@localhost:{}/orders", shell.environment["PORT"]);
    for name in pages().iter().filter(|name| page(name).starts_with("---\nrunbook:")) {
        let text = in_a_hurry(&page(name));
        std::fs::write(shell.directory.join("guide.md"), &text).unwrap();
        shell.run("lifeboat runbook check guide.md", 0).await;
        let set = if text.contains("\n  url: ") { format!(" --set url='{url}'") } else { String::new() };
        let rehearsed =
            shell.run(&format!("lifeboat runbook run guide.md --rehearse --poll 200ms{set}"), 0).await;
        assert!(rehearsed.contains("PASS  rehearsal"), "{name}: {rehearsed}");
    }
    world.assert_only(&["orders-prod"]).await;

    shell.exchange("20 minutes ago", "1 second ago");
    let week = run_page(&mut shell, "tutorials/first-week.md", &[("lifeboat policy check", 1)]).await;
    assert!(week.contains("orders_restored_"), "{week}");
    assert!(shell.directory.join("lifeboat.toml").is_file());
    world.assert_only(&["orders-prod", "orders-back", "orders-then"]).await;
    run_page(&mut shell, "guides/retention.md", &[("lifeboat policy check", 1)]).await;
    run_page(&mut shell, "guides/status.md", &[("lifeboat status --format nagios", 1)]).await;
    run_page(&mut shell, "guides/doctor.md", &[]).await;
    run_page(&mut shell, "README.md", &[]).await;

    // Of the sample, the run that was annotated.
    let runs = world.path("reader/backups/drills/orders-prod");
    let run = std::fs::read_dir(runs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let run = run.filter(|name| name.starts_with("20")).max().unwrap();
    shell.exchange("20261130-175359-ggigcz", run);
    let year = run_page(&mut shell, "guides/audit.md", &[]).await;
    assert!(year.contains("orders-prod") && year.contains("--expect-head"), "{year}");
    assert!(shell.directory.join("drills-2026.html").is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_and_runbooks_run_as_they_are_written() {
    let world = World::with_orders().await;
    world.rds.modify_db_instance().db_instance_identifier("orders-prod").send().await.unwrap();
    crate::watch::topic(&world, "ops").await;
    let mut shell = Shell::new(&world);
    for command in
        commands("tutorials/first-drill.md").iter().filter(|command| command.starts_with("export AWS"))
    {
        shell.run(command, 0).await;
    }
    let expected = [("lifeboat alarms plan", 1)];
    let said = run_page(&mut shell, "guides/alarms.md", &expected).await;
    assert!(said.contains("lifeboat alarms apply --all --topic ops"), "{said}");

    std::fs::create_dir_all(shell.directory.join("runbooks")).unwrap();
    // Nobody is there to be asked: all that is missing is named at once.
    let said = run_page(&mut shell, "guides/runbooks.md", &[("lifeboat runbook plan", 2)]).await;
    for parameter in ["source", "when"] {
        assert!(
            said.contains(&format!("`{parameter}`")) || said.contains(&format!("--set {parameter}=")),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_accounts_run_as_they_are_written() {
    let world = places::orders_in_two_accounts().await;
    let mut shell = Shell::new(&world);
    for command in
        commands("tutorials/first-drill.md").iter().filter(|command| command.starts_with("export AWS"))
    {
        shell.run(command, 0).await;
    }
    std::fs::create_dir_all(shell.directory.join(".aws")).unwrap();
    for file in [".aws/config", ".aws/credentials"] {
        std::fs::copy(world.path(file), shell.directory.join(file)).unwrap();
    }
    let toml = first_sample_of_a_configuration("guides/accounts.md");
    std::fs::write(shell.directory.join("lifeboat.toml"), toml).unwrap();
    // A fleet that falls short is no success; a name that means two is no request.
    let expected = [("lifeboat status orders-prod", 2), ("lifeboat status", 1)];
    let said = run_page(&mut shell, "guides/accounts.md", &expected).await;
    assert!(said.contains("`orders-prod` is in more than one place: "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_and_comparisons_run_as_they_are_written() {
    let world = World::with_orders().await;
    world.dump_and_restore("orders-prod", "app", "orders_new").await;
    world.sql("orders-prod", "orders_new", "update users set name = 'x' where id in (7, 42)").await;
    let mut shell = Shell::new(&world);
    shell.environment.insert("PGPASSWORD".to_owned(), PASSWORD.to_owned());
    shell.environment.insert("PGSSLROOTCERT".to_owned(), world.stack.ca_path().display().to_string());
    let (old, new) = (world.url("orders-prod", "app").await, world.url("orders-prod", "orders_new").await);
    shell.exchange("postgresql://app@old.example/orders", format!("'{old}'"));
    shell.exchange("postgresql://app@new.example/orders", format!("'{new}'"));
    let expected = [("lifeboat verify record", 0), ("lifeboat verify", 1)];
    let said = run_page(&mut shell, "guides/two-databases.md", &expected).await;
    assert!(said.contains("2 rows differ (id 7, 42)"), "{said}");

    let bucket = Bucket::start().await;
    for (name, value) in [("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_REGION", REGION)]
    {
        shell.environment.insert(name.to_owned(), value.to_owned());
    }
    let sqlite = shell.directory.join("app.db");
    let made = std::process::Command::new("sqlite3")
        .arg(&sqlite)
        .arg("create table jobs as select 1 as id")
        .status();
    assert!(made.unwrap().success());
    shell.exchange("sqlite:///srv/app/app.db", format!("sqlite://{}", sqlite.display()));
    shell.exchange("postgresql://app@localhost/app", format!("'{old}'"));
    shell.exchange("s3://backups/team", format!("'{}'", bucket.url("team")));
    let mut said = run_page(&mut shell, "guides/postgresql-backups.md", &[]).await;
    for name in ["guides/adopt.md", "guides/sqlite-backups.md", "guides/bucket.md"] {
        said.push_str(&run_page(&mut shell, name, &[]).await);
    }
    // What undoes it is printed, and runs as it is printed.
    let undo = said.lines().find_map(|line| line.trim().strip_prefix("to undo")).unwrap().trim();
    let undone = shell.run(undo, 0).await;
    assert!(undone.contains("content of"), "{undone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_runs_as_it_is_written() {
    let world = World::new().await;
    let mut shell = Shell::new(&world);
    let database = shell.directory.join("app.db");
    let made = std::process::Command::new("sqlite3")
        .arg(&database)
        .arg("create table jobs as select 1 as id")
        .status();
    assert!(made.unwrap().success());
    shell.exchange("sqlite:///srv/app.db", format!("sqlite://{}", database.display()));
    let (mut serving, mut with_token): (Option<Serving>, Option<Serving>) = (None, None);
    for command in ["guides/api.md", "guides/dashboard.md"].map(commands).concat() {
        if command.ends_with("lifeboat serve") {
            let started = Serving::start(shell.service(&format!("{command} --listen 127.0.0.1:0"))).await;
            shell.exchange("localhost:5000", started.address.clone());
            serving = Some(started);
        } else if command.starts_with("lifeboat serve --listen") {
            let command = "DATABASE_URL=sqlite:///srv/app.db lifeboat serve --listen 127.0.0.1:0";
            let started = Serving::start(shell.service(command)).await;
            shell.exchange("https://backups.example", format!("http://{}", started.address));
            with_token = Some(started);
        } else {
            let said = shell.run(&command, 0).await;
            assert!(!command.contains("api/") || said.contains("\"success\":true"), "$ {command}\n{said}");
            if let Some(token) = said.lines().find(|line| line.starts_with("lifeboat_")) {
                shell.exchange("lifeboat_5d0c…", token);
            }
        }
    }
    for served in [serving.unwrap(), with_token.unwrap()] {
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_run_as_they_are_written() {
    let world = World::new().await;
    let hook = Hook::listen().await;
    let mut shell = Shell::new(&world);
    let toml = first_sample_of_a_configuration("guides/notifications.md");
    std::fs::write(
        shell.directory.join("lifeboat.toml"),
        toml.replace("/run/secrets/hc-drills", "hc-drills"),
    )
    .unwrap();
    std::fs::write(shell.directory.join("hc-drills"), hook.url("ping")).unwrap();
    let set = [
        ("SLACK_URL", hook.url("slack")),
        ("HOOK_KEY", "a key".to_owned()),
        ("SMTP_PASSWORD", "a word".to_owned()),
    ];
    shell.environment.extend(set.into_iter().map(|(name, value)| (name.to_owned(), value)));
    // As in the sample, `hooks.example` does not take it, and whoever is there hears it.
    let expected = [("lifeboat notify test", 5), ("lifeboat notify digest", 5)];
    let said = run_page(&mut shell, "guides/notifications.md", &expected).await;
    assert!(said.contains("arrived  chat") && said.contains("FAILED   hook"), "{said}");
}

#[tokio::test]
async fn every_sample_of_a_configuration_is_one() {
    let mut samples = 0;
    let directory = tempfile::tempdir().unwrap();
    let text: String = pages().iter().map(|name| page(name)).collect();
    for block in text.split("```toml\n").skip(1) {
        let toml = block.split("```").next().unwrap();
        std::fs::write(directory.path().join("lifeboat.toml"), toml).unwrap();
        let run = binary(directory.path(), &["drill", "list", "--vault", "vault"]).spawn().unwrap();
        let run = finish(run).await;
        assert_eq!(run.code, Some(0), "{}\n{toml}", run.stderr);
        samples += 1;
    }
    assert!(samples >= 8, "{samples}");
}
