//! What a person sees: a terminal of 80 columns and fewer, gates that ask again, and documents for programs.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Run, World, finish};

impl World {
    /// Runs the binary on a terminal of so many columns, types `typed`, and returns what stood on it.
    pub(crate) async fn screen(&self, columns: u16, arguments: &[&str], typed: &str) -> Run {
        let mut child = self.terminal(columns, arguments);
        let mut keyboard = child.stdin.take().unwrap();
        keyboard.write_all(typed.as_bytes()).await.unwrap();
        let mut run = finish(child).await;
        drop(keyboard);
        run.stdout = run.stdout.replace("\r\n", "\n");
        run
    }

    /// Presses Ctrl-C when the command asks something.
    async fn interrupt_at_prompt(&self, arguments: &[&str]) -> Run {
        let mut child = self.terminal(80, arguments);
        let mut keyboard = child.stdin.take().unwrap();
        let mut screen = child.stdout.take().unwrap();
        let mut shown = Vec::new();
        let has_asked = async {
            while !shown.ends_with(b"> ") {
                let Ok(byte) = screen.read_u8().await else { break };
                shown.push(byte);
            }
        };
        tokio::time::timeout(Duration::from_secs(60), has_asked).await.expect("it asks");
        assert!(shown.ends_with(b"> "), "it asks nothing: {}", String::from_utf8_lossy(&shown));
        keyboard.write_all(b"\x03").await.unwrap();
        let ended = async {
            screen.read_to_end(&mut shown).await.unwrap();
            child.wait().await.unwrap()
        };
        let status = tokio::time::timeout(Duration::from_secs(120), ended).await.expect("Ctrl-C ends it");
        Run { code: status.code(), stdout: String::from_utf8(shown).unwrap(), stderr: String::new() }
    }

    fn terminal(&self, columns: u16, arguments: &[&str]) -> tokio::process::Child {
        on_terminal(columns, &self.command(arguments)).spawn().expect("script is part of every Debian")
    }
}

/// The same command on a terminal of so many columns; talk goes there too.
pub(crate) fn on_terminal(columns: u16, ours: &tokio::process::Command) -> tokio::process::Command {
    let quote = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''"));
    let words: Vec<String> =
        std::iter::once(ours.as_std().get_program()).chain(ours.as_std().get_args()).map(quote).collect();
    let script = format!("stty -echo cols {columns} rows 50; exec {}", words.join(" "));
    let mut command = tokio::process::Command::new("script");
    command.args(["--quiet", "--return", "--command", &script, "/dev/null"]);
    let set = ours.as_std().get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.env_clear().envs(set).env("TERM", "xterm").env("NO_COLOR", "1");
    command.current_dir(ours.as_std().get_current_dir().unwrap());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Whether each of these stands whole on one line.
#[track_caller]
fn assert_whole(screen: &str, ids: &[&str]) {
    for id in ids {
        assert!(screen.lines().any(|line| line.contains(id)), "{id} is broken:\n{screen}");
    }
}

const LONG: &str = "pre-migration-orders-prod-with-a-name-of-many-words-20261130t0315";

#[tokio::test(flavor = "multi_thread")]
async fn ids_and_commands_are_whole_on_a_terminal_of_any_width() {
    let world = World::with_orders().await;
    world.snapshot("orders-prod", LONG).await;
    for columns in [40, 60, 80, 100, 132] {
        for arguments in
            [&["snapshot", "list"][..], &["snapshot", "show", LONG], &["restore", "window", "orders-prod"]]
        {
            let screen = world.screen(columns, arguments, "").await;
            let screen = &screen.assert_code(0).stdout;
            if arguments[0] == "snapshot" && columns > 66 {
                assert_whole(screen, &[LONG]);
            }
            for line in screen.lines().filter(|line| line.split_whitespace().count() > 1) {
                assert!(
                    line.chars().count() <= columns.into() || line.contains('`') || line.contains(LONG),
                    "{columns}: {line}"
                );
            }
        }
        // A command goes on after a backslash, as a shell takes it.
        let screen = world.screen(columns, &["status"], "").await.stdout;
        let shell = screen.replace("\\\n", " ");
        let command = shell.lines().find(|line| line.contains("policy set")).unwrap();
        let words: Vec<&str> = command.split_whitespace().collect();
        assert_eq!(
            words,
            ["lifeboat", "policy", "set", "orders-prod", "--copy-tags", "true"],
            "{columns}:\n{screen}"
        );
    }
    // Nobody reads a pipe at 80 columns: a row is a line.
    let piped = world.lifeboat(&["snapshot", "list"]).await;
    let row = piped.assert_code(0).stdout.lines().find(|line| line.contains(LONG)).unwrap().to_owned();
    assert!(row.contains("orders-prod") && row.contains("available"), "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_name_is_asked_for_again_and_what_will_be_gone_is_named() {
    let world = World::with_orders().await;
    for id in ["first", "second"] {
        world
            .lifeboat(&["snapshot", "create", "orders-prod", "--id", id, "--poll", "200ms"])
            .await
            .assert_code(0);
    }
    let run = world.screen(80, &["snapshot", "delete", "first"], "frist\n\nfirst\n").await;
    run.assert_code(0);
    for words in [
        "This permanently deletes snapshot `first`.",
        "account   123456789012, Region eu-central-1",
        "database  orders-prod, postgres 15",
        "Type `first` to continue; Ctrl-C changes nothing.",
        "> `frist` is not `first`. Nothing was changed; try again.",
        "> `` is not `first`.",
        "deleted snapshot `first`",
    ] {
        assert!(run.stdout.contains(words), "{words:?}:\n{}", run.stdout);
    }
    let list = world.lifeboat(&["snapshot", "list"]).await;
    assert!(!list.stdout.contains("first") && list.stdout.contains("second"), "{}", list.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_at_any_question_ends_the_command_and_leaves_everything_as_it_is() {
    let world = World::with_orders().await;
    world
        .lifeboat(&["snapshot", "create", "orders-prod", "--id", "first", "--poll", "200ms"])
        .await
        .assert_code(0);
    let url = world.url("orders-prod", "app").await;
    world.write(
        "made.md",
        "---\nrunbook: 1\ntitle: Make a file\n---\n```sh id=make creates=\"file:made\"\ntouch made\n```\n\
         ```undo for=make does=\"removes the file.\"\nrm made\n```\n",
    );
    let run = world.lifeboat(&["runbook", "run", "made.md", "--json"]).await;
    let run = run.assert_code(0).json()["run"].as_str().unwrap().to_owned();
    world.write("asks.md", "---\nrunbook: 1\ntitle: Ask\n---\n```confirm id=sure type=\"yes\"\nSure?\n```\n");
    world.lifeboat(&["backup", "create", "--url", &url, "--name", "before"]).await.assert_code(0);
    for arguments in [
        &["snapshot", "delete", "first", "--allow-last-copy"][..],
        &["policy", "set", "orders-prod", "--retention-days", "1"],
        &["backup", "delete", "before", "--allow-last-copy"],
        &["backup", "restore", "before", "--url", &url],
        &["backup", "undo", "--url", &url],
        &["runbook", "undo", &run],
        &["runbook", "run", "asks.md"],
    ] {
        let ended = world.interrupt_at_prompt(arguments).await;
        assert_eq!(ended.code, Some(130), "{arguments:?}:\n{}", ended.stdout);
    }
    world.lifeboat(&["snapshot", "show", "first"]).await.assert_code(0);
    world.lifeboat(&["backup", "show", "before"]).await.assert_code(0);
    assert!(world.path("made").exists());
    let shown = world.lifeboat(&["policy", "show", "orders-prod", "--json"]).await.json();
    assert!(!shown.to_string().contains("\"retention_days\":1,"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_argument_says_what_is_wrong_and_what_to_write_to_people_and_in_the_document() {
    let world = World::new().await;
    for (arguments, message, hint) in [
        (
            &["drill", "report", "--from", "2026-13-01"][..],
            "`2026-13-01` is not a day",
            "2026-11-21, `today`",
        ),
        (&["policy", "set", "x", "--retention-days", "99"], "not a backup retention period", "1 to 35 days"),
        (&["drill"], "`lifeboat drill` needs a subcommand", "`lifeboat drill --help` lists them."),
        (&["backup"], "`lifeboat backup` needs a subcommand", "`lifeboat backup --help` lists them."),
    ] {
        let run = world.lifeboat(arguments).await;
        let on_stderr = if arguments.len() > 1 { [message, hint] } else { ["Usage: lifeboat", "Commands:"] };
        run.assert_code(2).assert_says(&on_stderr);
        let run = world.lifeboat(&[&["--json"], arguments].concat()).await;
        let document = run.assert_code(2).json();
        assert!(document["message"].as_str().unwrap().contains(message), "{document}");
        assert!(document["hints"].to_string().contains(hint), "{document}");
        assert!(run.stderr.lines().count() < 12, "{}", run.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_a_document_where_a_document_was_asked_for() {
    let world = World::with_orders().await;
    let cases: [(&[&str], i32, &str, &str); 7] = [
        (&["drill", "show", "nope", "--json"], 2, "request", "this vault has no drill `nope`"),
        (&["--json", "snapshot", "show", "nope"], 2, "request", "snapshot `nope` does not exist"),
        (&["snapshot", "delete", "nope", "--json"], 2, "request", "snapshot `nope` does not exist"),
        (&["drill", "rnu", "--json"], 2, "request", "unrecognized subcommand 'rnu'"),
        (&["status", "--format", "json", "nope"], 2, "request", "`nope`"),
        (&["--config", "missing.toml", "status", "--json"], 2, "request", "missing.toml"),
        (&["policy", "set", "orders-prod", "--retention-days", "0", "--json"], 4, "guard", "`orders-prod`"),
    ];
    for (arguments, code, kind, words) in cases {
        let run = world.lifeboat(arguments).await;
        let document = run.assert_code(code).json();
        assert_eq!(document["schema"], "lifeboat.error/1", "{document}");
        assert_eq!((&document["kind"], &document["exit_code"]), (&json!(kind), &json!(code)), "{document}");
        assert!(document["message"].as_str().unwrap().contains(words), "{document}");
        assert!(document["hints"].is_array() && document["caused_by"].is_array(), "{document}");
        assert!(!run.stderr.is_empty(), "people are told too");
    }
    // A report whose answer is no stays the one document.
    world
        .fault("DescribeDBInstances", json!({ "fault": "error", "code": "AccessDenied", "times": 100 }))
        .await;
    let denied = world.lifeboat(&["status", "--json"]).await;
    assert_eq!(denied.assert_code(3).json()["kind"], "outside");
    world.control("DELETE", "faults", Value::Null).await;
    let report = world.lifeboat(&["policy", "check", "--json"]).await;
    assert_eq!(report.assert_code(1).json()["schema"], "lifeboat.policy/1");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_are_printed_repeat_the_flags_that_they_need() {
    let world = World::with_orders().await;
    let vault = world.path("another vault");
    let vault = vault.to_str().unwrap();
    let run = world.lifeboat(&["--vault", vault, "--region", "eu-central-1", "status"]).await;
    let command =
        run.assert_code(0).stdout.lines().find(|line| line.contains("drill run")).unwrap().trim().to_owned();
    assert_eq!(command, format!("lifeboat --region eu-central-1 --vault '{vault}' drill run orders-prod"));
    // As it is printed it is run, and its evidence is where it was asked for.
    let ours = world.command(&[]);
    let program = ours.as_std().get_program().to_str().unwrap();
    let mut shell = tokio::process::Command::new("sh");
    shell.arg("-c").arg(command.replacen("lifeboat", program, 1) + " --poll 200ms");
    let set = ours.as_std().get_envs().filter_map(|(name, value)| Some((name, value?)));
    shell.env_clear().envs(set).current_dir(ours.as_std().get_current_dir().unwrap());
    let done = shell.output().await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(std::path::Path::new(vault).join("drills/orders-prod").is_dir());
    // An error's hint too.
    let run = world.lifeboat(&["--vault", vault, "drill", "show", "nope"]).await;
    run.assert_code(2).assert_says(&[&format!("`lifeboat --vault '{vault}' drill list`")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_is_quiet_when_all_is_well_and_a_wrong_name_is_no_empty_list() {
    let world = World::with_orders().await;
    let said = |run: &Run| format!("{}{}", run.stdout, run.stderr);
    for arguments in [
        &["snapshot", "create", "orders-prod", "--id", "one", "--poll", "200ms"][..],
        &["snapshot", "create", "orders-prod", "--id", "two", "--poll", "200ms"],
        &["restore", "snapshot", "one", "--to", "orders-back", "--poll", "200ms"],
        &["snapshot", "delete", "one", "--confirm", "one"],
        &["policy", "set", "orders-prod", "--copy-tags", "true", "--poll", "200ms"],
    ] {
        let run = world.lifeboat(&[&["--quiet"], arguments].concat()).await;
        assert_eq!(said(run.assert_code(0)), "", "{arguments:?}");
    }
    // What is asked for is still shown.
    assert!(said(&world.lifeboat(&["--quiet", "snapshot", "list"]).await).contains("two"));
    let none = world.lifeboat(&["snapshot", "list", "orders-prod", "--class", "monthly-archive"]).await;
    assert!(said(none.assert_code(0)).contains("no snapshots"));
    world
        .lifeboat(&["snapshot", "list", "nope"])
        .await
        .assert_code(2)
        .assert_says(&["instance `nope` does not exist"]);
}
