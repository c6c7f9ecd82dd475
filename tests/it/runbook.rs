//! Runbooks as they are written: what is wrong with them, gates, journals, probes, secrets, undo. Small ones, without AWS.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::support::{Run, World, finish, program, root, wait};

/// A directory with the built binary in it and no AWS.
struct Bench {
    directory: tempfile::TempDir,
}

const FRONT: &str = "---\nrunbook: 1\ntitle: Try it\nowner: o\nreview_by: 2099-01-01\nrto: 60m\n";

impl Bench {
    fn new() -> Self {
        Bench { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// A runbook with `params`, lines of YAML, and a text.
    fn write(&self, params: &str, body: &str) {
        let params = if params.is_empty() { String::new() } else { format!("params:\n{params}\n") };
        std::fs::write(self.path("try.md"), format!("{FRONT}{params}---\n{body}")).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg("runbook").args(arguments).current_dir(self.directory.path()).env_clear();
        command
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("USER", "ada")
            .env("BACKUP_DIR", self.path("vault"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Run {
        finish(self.command(arguments).spawn().unwrap()).await
    }

    /// Ids begin with the second; within one, the time in the journal decides.
    fn latest(&self) -> String {
        let runs = std::fs::read_dir(self.path("vault/runs")).unwrap();
        let began = |run: &String| {
            let text = std::fs::read_to_string(self.journal(run)).unwrap_or_default();
            let line: Value = serde_json::from_str(text.lines().next().unwrap_or("{}")).unwrap_or_default();
            line["t"].as_str().unwrap_or_default().to_owned()
        };
        runs.map(|entry| entry.unwrap().file_name().into_string().unwrap()).max_by_key(began).unwrap()
    }

    fn journal(&self, run: &str) -> std::path::PathBuf {
        self.path(&format!("vault/runs/{run}/journal.jsonl"))
    }

    fn lines(&self, name: &str) -> usize {
        std::fs::read_to_string(self.path(name)).map(|text| text.lines().count()).unwrap_or(0)
    }
}

fn states(report: &Value) -> Vec<String> {
    let steps = report["steps"].as_array().unwrap();
    steps
        .iter()
        .map(|step| format!("{} {}", step["id"].as_str().unwrap(), step["state"].as_str().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shipped_runbook_lints_clean_and_reads_without_the_tool() {
    let bench = Bench::new();
    let checked = bench.run(&["check", "--json"]).await;
    checked.assert_code(0);
    let checked = checked.json();
    let runbooks = checked["runbooks"].as_array().unwrap();
    assert_eq!(runbooks.len(), 10);
    for runbook in runbooks {
        assert_eq!(runbook["faults"].as_array().unwrap().len(), 0, "{runbook:#}");
        let name = runbook["runbook"].as_str().unwrap();
        let shown = bench.run(&["show", name, "--json"]).await.json();
        for step in shown["steps"].as_array().unwrap() {
            let text = format!("{} {} {}", step["text"], step["probe"], step["undo"]);
            let role = step["role"].as_str().unwrap();
            let by_hand = step["by_hand"].as_array().unwrap();
            // Whoever has no lifeboat finds something to paste for each step that is no gate.
            let has_to = role == "wait" || (role == "sh" && text.contains("lifeboat "));
            assert!(!has_to || !by_hand.is_empty() || text.contains(" gone"), "{name}: {step:#}");
            assert!(
                !by_hand.iter().any(|block| block.as_str().unwrap().contains("lifeboat ")),
                "{name}: {step:#}"
            );
        }
        let hand = bench.run(&["show", name, "--by-hand"]).await;
        assert!(!hand.assert_code(0).stdout.contains("\nlifeboat "), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_named_with_its_place_and_nothing_is_run() {
    let bench = Bench::new();
    let step = "```sh id=a timeout=1m\ntouch touched\n```\n";
    for (body, words) in [
        ("```shh id=a\nx\n```\n".to_owned(), "try.md:8:4: error: unknown role `shh`"),
        (format!("{step}```sh id=a\nls\n```\n"), "try.md:11:7: error: two steps have the id `a`"),
        (format!("{step}```expct\nstdout = 1\n```\n"), "try.md:11:4: error: unknown role `expct`"),
        (
            format!("{step}```sh id=b tiemout=1s\nls\n```\n"),
            "try.md:11:12: error: a block of role `sh` has no attribute `tiemout`",
        ),
    ] {
        bench.write("", &body);
        let checked = bench.run(&["check", "try.md"]).await;
        assert!(checked.assert_code(2).stdout.contains(words), "{words}:\n{}", checked.stdout);
        bench.run(&["run", "try.md"]).await.assert_code(2).assert_says(&["try.md:"]);
        assert!(!bench.path("touched").exists());
    }
    std::fs::write(bench.path("try.md"), b"---\nrunbook: 1\ntitle: \xff\n---\n").unwrap();
    bench
        .run(&["run", "try.md"])
        .await
        .assert_code(2)
        .assert_says(&["try.md:3:8: the file is not UTF-8 text"]);
    bench.write(
        "  source: {required: true, pattern: \"[a-z][a-z0-9-]*\"}",
        "```sh id=a\ntouch touched; echo \"$source\"\n```\n",
    );
    for (set, words) in [
        ("source=x; touch touched", "does not match"),
        ("source=$(touch touched)", "does not match"),
        ("source=a\nb", "control character"),
        ("sorce=x", "Did you mean `source`?"),
    ] {
        bench.run(&["run", "try.md", "--set", set]).await.assert_code(2).assert_says(&[words]);
        assert!(!bench.path("touched").exists(), "{set}");
    }
    bench
        .run(&["run", "try.md"])
        .await
        .assert_code(2)
        .assert_says(&["parameter `source` has no value", "--set source="]);
    bench.run(&["run", "nothing.md"]).await.assert_code(2).assert_says(&["cannot read the runbook"]);
    bench.run(&["show", "data-los"]).await.assert_code(2).assert_says(&["Did you mean `data-loss`?"]);
    assert!(!bench.path("vault").exists(), "something was recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_will_let_somebody_down_is_a_warning_and_does_not_keep_anybody_from_running_it() {
    let bench = Bench::new();
    bench.write(
        "  source: {default: x, pattern: \"[a-z]+\"}",
        "```sh id=a timeout=1m creates=\"file:made\"\necho $source > made\n```\n```sh id=b timeout=1m\nlifeboat snapshot craete \"$source\" --frob || no-such-program-here \"$sorce\" || true\n```\n```sh id=c read-only timeout=1m\nrm -f made\n```\n",
    );
    let text = std::fs::read_to_string(bench.path("try.md")).unwrap().replace("2099", "2020");
    std::fs::write(bench.path("try.md"), text).unwrap();
    let checked = bench.run(&["check", "try.md"]).await;
    for words in [
        "was due for review",
        "creates file:made, and nothing undoes it",
        "creates file:made, and nothing checks whether it exists",
        "`$source` is outside double quotes",
        "there is no command `craete`",
        "does not say how to do it without",
        "`no-such-program-here` in `b` is not installed",
        "`$sorce` in `b` is neither a parameter nor set by a step",
        "step `c` says `read-only`, but a plan cannot verify it: `rm` is not a program that is known to be read-only",
    ] {
        assert!(checked.assert_code(1).stdout.contains(words), "{words}:\n{}", checked.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_without_a_terminal_stops_with_exit_code_4_and_is_resumed() {
    let bench = Bench::new();
    bench.write(
        "  source: {required: true, pattern: \"[a-z-]+\"}",
        "## 1. Before\n```sh id=before\necho before >> log\n```\n## 2. Gate\n```confirm id=go\nType the name: {{source}}\n```\n## 3. After\n```sh id=after\necho after >> log\n```\n```manual id=note\nSay something\n```\n",
    );
    let run = bench.run(&["run", "try.md", "--set", "source=orders", "--json"]).await;
    run.assert_code(4).assert_says(&[
        "gate `go` (object orders) needs a person, and there is no terminal",
        "--answer go=orders",
        "resume",
    ]);
    assert_eq!(run.json()["state"], "waiting");
    assert_eq!(run.json()["next"], "go");
    let id = bench.latest();
    let wrong = bench.run(&["resume", &id, "--answer", "go=ordres"]).await;
    wrong.assert_code(4).assert_says(&["gate `go` was not passed: `ordres` is not `orders`"]);
    assert!(!wrong.stderr.contains("nothing was run"), "a step was run: {}", wrong.stderr);
    assert_eq!(bench.lines("log"), 1, "a step was run");
    let right = bench.run(&["resume", &id, "--answer", "go=orders", "--json"]).await;
    right.assert_code(4).assert_says(&["gate `note` needs a person"]);
    let done = bench.run(&["resume", &id, "--answer", "note=it is done, ticket 42", "--json"]).await;
    let report = done.assert_code(0).json();
    assert_eq!(states(&report), ["before done", "go done", "after done", "note done"]);
    assert_eq!(
        (report["schema"].as_str(), report["verdict"].as_str()),
        (Some("lifeboat.run/1"), Some("pass"))
    );
    assert_eq!(report["steps"][3]["answer"], "it is done, ticket 42");
    assert_eq!(bench.lines("log"), 2);
    bench.run(&["resume", &id]).await.assert_code(2).assert_says(&["has ended"]);
    let listed = bench.run(&["runs", "--json"]).await.json();
    assert_eq!(listed["runs"][0]["state"], "passed");
    let page = std::fs::read_to_string(bench.path(&format!("vault/runs/{id}/evidence.html"))).unwrap();
    assert!(page.contains("PASS") && page.contains("it is done, ticket 42"));
}

/// Runs a command on a terminal of its own, types each line when it has said what stands before it, and returns its exit code and what
/// was shown. A line of `^C` is Ctrl-C.
async fn on_a_terminal(bench: &Bench, arguments: &[&str], dialogue: &[(&str, &str)]) -> (i32, String) {
    let script = "import json, os, pty, sys\n\
        dialogue, command = json.loads(sys.argv[1]), sys.argv[2:]\n\
        pid, fd = pty.fork()\n\
        if pid == 0: os.execvp(command[0], command)\n\
        shown, heard = b'', 0\n\
        while True:\n\
        \x20   try: part = os.read(fd, 65536)\n\
        \x20   except OSError: break\n\
        \x20   if not part: break\n\
        \x20   shown += part\n\
        \x20   if dialogue and (at := shown.find(dialogue[0][0].encode(), heard)) >= 0:\n\
        \x20       prompt, typed = dialogue.pop(0)\n\
        \x20       heard = at + len(prompt.encode())\n\
        \x20       os.write(fd, b'\\x03' if typed == '^C' else typed.encode() + b'\\n')\n\
        sys.stdout.write(shown.decode(errors='replace')); sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n";
    let dialogue = serde_json::to_string(dialogue).unwrap();
    let mut command = Command::new("python3");
    command.args(["-c", script, &dialogue, program(), "runbook"]).args(arguments);
    command
        .current_dir(bench.directory.path())
        .env("BACKUP_DIR", bench.path("vault"))
        .env("USER", "ada")
        .env("TERM", "xterm");
    let done = command.kill_on_drop(true).output().await.expect("Python is installed by `make setup`");
    (done.status.code().unwrap(), String::from_utf8_lossy(&done.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_the_object_s_own_name_is_asked_for() {
    let bench = Bench::new();
    bench.write(
        "  source: {required: true, pattern: \"[a-z-]+\"}",
        "```confirm id=go\nStop the writers first: {{source}}\n```\n```sh id=after\necho after >> log\n```\n",
    );
    let flags = ["run", "try.md", "--set", "source=orders"];
    // A typo is asked about again; only Ctrl-C and the right name end it.
    let prompt = "Type `orders` to continue.";
    let dialogue =
        [(prompt, "production"), ("`production` is not `orders`. Type `orders` to continue.", "^C")];
    let (code, shown) = on_a_terminal(&bench, &flags, &dialogue).await;
    assert!(code == 130 && bench.lines("log") == 0, "{code}: {shown}");
    let dialogue = [(prompt, "ordres"), ("`ordres` is not `orders`", ""), ("`` is not `orders`", "orders")];
    let (code, shown) = on_a_terminal(&bench, &flags, &dialogue).await;
    assert!(
        code == 0 && shown.contains("CONFIRM") && shown.contains("Stop the writers first: orders"),
        "{code}: {shown}"
    );
    assert!(shown.contains("\u{1b}[0m > ") && !shown.contains("nothing was run"), "{shown}");
    assert_eq!(bench.lines("log"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_asked_for_on_a_terminal_and_named_at_once_elsewhere() {
    let bench = Bench::new();
    bench.write(
        "  source: {required: true, pattern: \"[a-z-]+\", example: orders-prod, help: the database}\n  when: {required: true, is: time, example: \"2026-11-20T14:05:00Z\", help: the moment}\n  name: {default: x, pattern: \"[a-z]\"}",
        "```sh id=a\necho \"$source $when\" > log\n```\n",
    );
    bench.run(&["run", "try.md"]).await.assert_code(2).assert_says(&[
        "2 parameters have no value: `source` (the database), `when` (the moment)",
        "`--set source=orders-prod --set when=2026-11-20T14:05:00Z`",
    ]);
    let set = ["--set", "source=orders", "--set", "when=20 minutes ago"];
    let report = bench.run(&[&["run", "try.md", "--json"][..], &set].concat()).await.assert_code(0).json();
    let written = std::fs::read_to_string(bench.path("log")).unwrap();
    let when: chrono::DateTime<chrono::Utc> = written.trim().split(' ').nth(1).unwrap().parse().unwrap();
    let began: chrono::DateTime<chrono::Utc> = report["started_at"].as_str().unwrap().parse().unwrap();
    let age = began - when;
    assert!((19..=21).contains(&age.num_minutes()), "{written}");
    let set = ["--set", "source=orders", "--set", "when=yesterday"];
    bench
        .run(&[&["run", "try.md"][..], &set].concat())
        .await
        .assert_code(2)
        .assert_says(&["is a day, and not a time"]);
    let dialogue = [
        ("the database (such as orders-prod)", "Orders"),
        ("`Orders` cannot be `source`", "orders"),
        ("the moment (such as", "yesterday"),
        ("is a day, and not a time", "2026-11-20 14:05 UTC"),
    ];
    let (code, shown) = on_a_terminal(&bench, &["run", "try.md"], &dialogue).await;
    assert_eq!(code, 0, "{shown}");
    assert_eq!(std::fs::read_to_string(bench.path("log")).unwrap(), "orders 2026-11-20T14:05:00Z\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_that_was_edited_is_resumed_only_if_its_hash_is_accepted() {
    let bench = Bench::new();
    bench.write("", "```sh id=a\necho a >> log\n```\n```confirm id=go type=\"yes\"\nGo?\n```\n```sh id=b\necho b >> log\n```\n");
    bench.run(&["run", "try.md"]).await.assert_code(4);
    let id = bench.latest();
    let text = std::fs::read_to_string(bench.path("try.md")).unwrap().replace("echo b", "echo edited");
    std::fs::write(bench.path("try.md"), text).unwrap();
    let refused = bench.run(&["resume", &id, "--answer", "go=yes"]).await;
    refused.assert_code(4).assert_says(&["was changed since run", "--accept-changed"]);
    assert_eq!(bench.lines("log"), 1);
    let wrong = "0".repeat(64);
    bench.run(&["resume", &id, "--answer", "go=yes", "--accept-changed", &wrong]).await.assert_code(4);
    let hash =
        refused.stderr.split("--accept-changed ").nth(1).unwrap().split('`').next().unwrap().to_owned();
    let done = bench.run(&["resume", &id, "--answer", "go=yes", "--accept-changed", &hash, "--json"]).await;
    assert_eq!(done.assert_code(0).json()["sha256"], hash.as_str());
    assert_eq!(std::fs::read_to_string(bench.path("log")).unwrap(), "a\nedited\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_was_edited_is_found_and_one_that_was_cut_off_is_resumed() {
    let bench = Bench::new();
    bench.write("", "```sh id=a\necho a >> log\n```\n```probe for=a\ntest -f log\n```\n```confirm id=go type=\"yes\"\nGo?\n```\n```sh id=b\necho b >> log\n```\n");
    bench.run(&["run", "try.md"]).await.assert_code(4);
    let id = bench.latest();
    let whole = std::fs::read_to_string(bench.journal(&id)).unwrap();
    for (was, is) in
        [("\"exit\":0", "\"exit\":1"), ("\"waiting\"", "\"failed\""), ("\"real\"", "\"rehearse\"")]
    {
        assert!(whole.contains(was), "{whole}");
        std::fs::write(bench.journal(&id), whole.replacen(was, is, 1)).unwrap();
        for command in ["resume", "show", "undo"] {
            bench.run(&[command, &id]).await.assert_code(4).assert_says(&["was changed"]);
        }
    }
    std::fs::write(bench.journal(&id), &whole[..whole.len() - 20]).unwrap();
    let run = bench.run(&["resume", &id, "--answer", "go=yes", "--json"]).await;
    run.assert_code(0).assert_says(&["the journal ended in mid-line"]);
    assert_eq!(std::fs::read_to_string(bench.path("log")).unwrap(), "a\nb\n");

    // Cut off further up, what may have begun since is asked for and not repeated.
    bench.run(&["run", "try.md"]).await.assert_code(4);
    let id = bench.latest();
    let whole = std::fs::read_to_string(bench.journal(&id)).unwrap();
    let second = whole.match_indices('\n').nth(1).unwrap().0;
    std::fs::write(bench.journal(&id), &whole[..second + 30]).unwrap();
    bench
        .run(&["resume", &id, "--answer", "go=yes"])
        .await
        .assert_code(4)
        .assert_says(&["step `b` began", "not repeated blindly"]);
    bench.run(&["resume", &id, "--redo", "b"]).await.assert_code(0);
    assert_eq!(std::fs::read_to_string(bench.path("log")).unwrap(), "a\nb\na\nb\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_a_step_is_asked_for_by_its_probe_and_never_repeated_blindly() {
    let bench = Bench::new();
    let body = |probe: &str| {
        format!(
            "```sh id=do once timeout=1m\necho done >> log; touch begun; sleep 3; echo end >> log\n```\n{probe}```sh id=after\necho after >> log\n```\n"
        )
    };
    for (probe, resumed, expected) in [
        ("```probe for=do\ngrep -q end log\n```\n", 0, "done\nend\nafter\n"),
        ("```probe for=do\nfalse\n```\n", 0, "done\nend\ndone\nend\nafter\n"),
        ("```probe for=do\necho 'AWS is away' >&2; exit 254\n```\n", 3, "done\nend\n"),
        ("", 4, "done\nend\n"),
    ] {
        for left in ["log", "begun"] {
            let _ = std::fs::remove_file(bench.path(left));
        }
        bench.write("", &body(probe));
        let mut child = bench.command(&["run", "try.md"]).spawn().unwrap();
        wait("the step", async || bench.path("begun").exists()).await;
        child.kill().await.unwrap();
        let id = bench.latest();
        assert_eq!(bench.run(&["show", &id, "--json"]).await.json()["state"], "died");
        // The command outlives its parent; it is waited for before anybody asks whether it happened.
        let run = bench.run(&["resume", &id]).await;
        run.assert_code(resumed);
        assert_eq!(std::fs::read_to_string(bench.path("log")).unwrap(), expected, "{probe}\n{}", run.stderr);
        if resumed == 4 {
            run.assert_says(&["--done do", "--redo do"]);
            bench.run(&["resume", &id, "--done", "do"]).await.assert_code(0);
            assert_eq!(std::fs::read_to_string(bench.path("log")).unwrap(), "done\nend\nafter\n");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_too_long_failed_and_unmet_are_four_things() {
    let bench = Bench::new();
    bench.write("", "```sh id=a timeout=1m\ntouch begun; sleep 30\n```\n");
    let child = bench.command(&["run", "try.md", "--json"]).spawn().unwrap();
    wait("the step", async || bench.path("begun").exists()).await;
    std::process::Command::new("kill").args(["-INT", &child.id().unwrap().to_string()]).status().unwrap();
    let run = finish(child).await;
    assert_eq!(
        (run.assert_code(130).json()["state"].as_str(), states(&run.json())),
        (Some("interrupted"), vec!["a unknown".to_owned()])
    );
    for (body, code, words, state) in [
        ("```sh id=a timeout=1s\nsleep 30\n```\n", 3, "took longer than 1.0 s", "a unknown"),
        ("```sh id=a\necho oh >&2; exit 7\n```\n", 3, "failed with exit code 7: oh", "a failed"),
        (
            "```sh id=a capture=n\necho 3\n```\n```expect\nn > 5\n```\n",
            1,
            "does not hold: `n > 5`, it is `3`",
            "a unmet",
        ),
        ("```sh id=a\necho $unset_thing\n```\n", 3, "unset_thing: unbound variable", "a failed"),
        (
            "```wait id=a timeout=1s every=100ms\nurl http://127.0.0.1:1/ answers 200\n```\n",
            7,
            "was not met in 1.0 s",
            "a failed",
        ),
    ] {
        bench.write("", body);
        let run = bench.run(&["run", "try.md", "--json"]).await;
        run.assert_code(code).assert_says(&[words]);
        assert_eq!(states(&run.json()), [state], "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_in_no_file_that_a_run_has_written() {
    let bench = Bench::new();
    let secret = "hunter2-Very/secret value";
    bench.write(
        "  password: {secret: true, env: THE_PASSWORD}\n  url: {secret: true, env: THE_URL}",
        "```sh id=a\necho \"it is $password\"; echo \"$url\" >&2; echo \"$password\" | base64\n```\n\
         ```sh id=b secret capture=token\nprintf 'found-by-%s\\n' the-step-99\n```\n\
         ```sh id=c\necho \"token $token\"; printf '%s' \"$password\" | sed 's/ /%20/;s,/,%2F,'; exit 3\n```\n",
    );
    let mut command = bench.command(&["run", "try.md", "--json"]);
    command.env("THE_PASSWORD", secret).env("THE_URL", "postgresql://app:s3cr%2Ft-x@db/orders");
    let run = finish(command.spawn().unwrap()).await;
    run.assert_code(3);
    let mut texts = vec![run.stdout.clone(), run.stderr.clone()];
    let mut folders = vec![bench.path("vault")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry)
            } else {
                texts.push(String::from_utf8(std::fs::read(entry).unwrap()).unwrap())
            }
        }
    }
    assert!(texts.len() > 8, "{}", texts.len());
    for text in &texts {
        for canary in ["hunter2", "s3cr", "found-by-the-step", "aHVudGVyMi1WZXJ5"] {
            assert!(!text.contains(canary), "{canary} in {text}");
        }
    }
    assert!(texts.iter().any(|text| text.contains("it is [secret]")));
    let refused = bench.run(&["run", "try.md", "--set", "password=hunter2"]).await;
    refused.assert_code(2).assert_says(&["must not be on a command line"]);
    assert!(!refused.stderr.contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_touches_only_what_the_journal_proves() {
    let bench = Bench::new();
    bench.write(
        "  name: {default: made, rehearse: tried, pattern: \"[a-z]+\"}",
        "```sh id=make creates=\"file:{{name}}\"\necho x > \"$name\"\n```\n```probe for=make\ntest -f \"$name\"\n```\n```undo for=make\nrm \"$name\"\n```\n\
         ```sh id=only-real only=real\ntouch real\n```\n```sh id=fails\ntest ! -e fail\n```\n",
    );
    // A rehearsal takes back what it made, also when it fails, and says what it did not try.
    let run = bench.run(&["run", "try.md", "--rehearse", "--json"]).await.assert_code(0).json();
    assert_eq!(run["not_rehearsed"].as_array().unwrap().len(), 1);
    assert!(!bench.path("tried").exists() && !bench.path("real").exists());
    std::fs::write(bench.path("fail"), "").unwrap();
    let failed = bench.run(&["run", "try.md", "--rehearse", "--json"]).await;
    let failed = failed.assert_code(3).json();
    assert!(!bench.path("tried").exists());
    assert_eq!(states(&failed), ["make undone", "only-real skipped", "fails failed"]);
    std::fs::remove_file(bench.path("fail")).unwrap();
    // What was there before is neither used nor removed.
    std::fs::write(bench.path("made"), "mine").unwrap();
    bench
        .run(&["run", "try.md"])
        .await
        .assert_code(4)
        .assert_says(&["already exists and was not created by this run"]);
    bench.run(&["undo", &bench.latest(), "--answer", "make=make"]).await.assert_code(0);
    assert_eq!(std::fs::read_to_string(bench.path("made")).unwrap(), "mine");
    std::fs::remove_file(bench.path("made")).unwrap();
    // For real somebody types its name; another file of that name is not the one that was made.
    bench.run(&["run", "try.md"]).await.assert_code(0);
    let id = bench.latest();
    let before = std::fs::read_to_string(bench.journal(&id)).unwrap();
    bench.run(&["undo", &id]).await.assert_code(4).assert_says(&[
        "nothing was undone, because nobody confirmed it: Undo of `make`: removes `file:made`, which this run created",
        &format!("`lifeboat runbook undo {id} --answer make=make`"),
    ]);
    let wrong = bench.run(&["undo", &id, "--answer", "make=mkae"]).await;
    wrong.assert_code(4).assert_says(&["nothing was undone: `make` was not confirmed: `mkae` is not `make`"]);
    assert_eq!(
        std::fs::read_to_string(bench.journal(&id)).unwrap(),
        before,
        "the record of the run was touched"
    );
    std::fs::rename(bench.path("made"), bench.path("kept")).unwrap();
    std::fs::write(bench.path("made"), "another").unwrap();
    bench
        .run(&["undo", &id, "--answer", "make=make"])
        .await
        .assert_code(4)
        .assert_says(&["nothing was undone", "is not the one this run created"]);
    assert_eq!(std::fs::read_to_string(bench.path("made")).unwrap(), "another");
    std::fs::rename(bench.path("kept"), bench.path("made")).unwrap();
    let undone = bench.run(&["undo", &id, "--answer", "make=make", "--json"]).await.assert_code(0).json();
    assert!(!bench.path("made").exists());
    assert_eq!((undone["state"].as_str(), undone["headline"].as_str()), (Some("undone"), Some("UNDONE")));
    assert_eq!(
        (undone["verdict"].as_str(), undone["undo"]["reasons"].as_array().unwrap().len()),
        (Some("pass"), 0)
    );
    let page = std::fs::read_to_string(bench.path(&format!("vault/runs/{id}/evidence.html"))).unwrap();
    assert!(page.contains("UNDONE") && !page.contains("PASS"), "{page}");
    bench.run(&["resume", &id]).await.assert_code(2).assert_says(&["has ended (undone)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_is_refused_unless_a_journal_proves_what_is_before() {
    let bench = Bench::new();
    bench.write("", "```sh id=a\necho a >> log\n```\n```sh id=b\ntest -f go && echo b >> log\n```\n```sh id=c\necho c >> log\n```\n");
    bench.run(&["run", "try.md", "--from", "b"]).await.assert_code(4).assert_says(&["no journal proves"]);
    bench.run(&["run", "try.md"]).await.assert_code(3);
    bench.run(&["run", "try.md", "--from", "c"]).await.assert_code(4);
    std::fs::write(bench.path("go"), "").unwrap();
    bench.run(&["run", "try.md", "--from", "b"]).await.assert_code(0);
    assert_eq!(std::fs::read_to_string(bench.path("log")).unwrap(), "a\nb\nc\n");
    bench.run(&["run", "try.md", "--from", "nowhere"]).await.assert_code(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_person_approves_under_another_identity_and_sql_goes_to_its_instance() {
    let world = World::with_orders().await;
    world.write(
        "try.md",
        &format!(
            "{FRONT}params:\n  source: {{required: true, pattern: \"[a-z-]+\"}}\nneeds: {{aws: {{account: \"123456789012\"}}}}\n---\n\
             ```sql id=count on=source db=app capture=n read-only\nselect count(*) from users where name <> :'source';\n```\n```expect\nn = 500\n```\n\
             ```approve id=four-eyes timeout=1m\nIs {{{{source}}}} the right one?\n```\n```sh id=after\ntouch after\n```\n"
        ),
    );
    let run = world.lifeboat(&["runbook", "run", "try.md", "--set", "source=orders-prod", "--json"]).await;
    run.assert_code(4).assert_says(&["waits for a second person", "runbook approve"]);
    let id = run.json()["run"].as_str().unwrap().to_owned();
    let own = world.lifeboat(&["runbook", "approve", &id, "--confirm", "orders-prod"]).await;
    own.assert_code(4).assert_says(&["runs this runbook and cannot approve it too"]);
    let mut other = world.command(&["runbook", "approve", &id, "--confirm", "orders-prd"]);
    finish(other.env("AWS_ACCESS_KEY_ID", "user-grace").spawn().unwrap())
        .await
        .assert_code(4)
        .assert_says(&["is not `orders-prod`"]);
    world.lifeboat(&["runbook", "resume", &id]).await.assert_code(4);
    let mut other = world.command(&["runbook", "approve", &id, "--confirm", "orders-prod"]);
    finish(other.env("AWS_ACCESS_KEY_ID", "user-grace").spawn().unwrap()).await.assert_code(0);
    let report = world.lifeboat(&["runbook", "resume", &id, "--json"]).await.assert_code(0).json();
    assert_eq!(report["steps"][1]["answered_by"], "arn:aws:iam::123456789012:user/grace");
    world.write(
        "other.md",
        &std::fs::read_to_string(world.path("try.md")).unwrap().replace("123456789012", "111122223333"),
    );
    let refused = world.lifeboat(&["runbook", "run", "other.md", "--set", "source=orders-prod"]).await;
    refused.assert_code(4).assert_says(&["is for account `111122223333`", "nothing was run"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_never_evaluated_whatever_a_block_does_with_it() {
    let bench = Bench::new();
    let blocks = [
        "(( count > 0 ))",
        "echo $((count+1))",
        "[[ \"$count\" -gt 0 ]]",
        "let x=count",
        "declare -i n=\"$count\"",
        "a[$count]=1",
        "test -v \"$count\" || true",
        "printf -v \"$count\" x",
        "read -r \"$count\" <<< x",
        "echo \"${x:count}\"",
        "eval \"echo $count\"",
        "bash -c \"echo $count\"",
        "bash -c '(( count > 0 ))'",
        "python3 -c \"print('$count')\"",
        "psql -c \"select $count\"",
        "bash <<EOF\necho $count\nEOF",
        "echo \"echo $count\" | sh",
        "n=$count; (( n > 0 ))",
    ];
    let values = [
        "HOME[$(touch harm)]",
        "HOME[`touch harm`]",
        "$(touch harm)",
        "1;touch harm",
        "1|touch${IFS}harm",
        "x'y",
        "1 or true",
        "a\\$x",
    ];
    let parameter = |more: &str| format!("  count: {{required: true{more}}}");
    for (place, block) in blocks.iter().enumerate() {
        bench.write(&parameter(", pattern: \".*\""), &format!("```sh id=a\nx=1; {block}\n```\n"));
        let checked = bench.run(&["check", "try.md"]).await;
        assert!(
            checked.assert_code(1).stdout.contains("evaluates the value of `"),
            "{block}: {}",
            checked.stdout
        );
        // Each block with one of the values is enough: what is refused is the value.
        let set = format!("count={}", values[place % values.len()]);
        let run = bench.run(&["run", "try.md", "--set", &set]).await;
        run.assert_code(2).assert_says(&["which a shell would interpret", "Nothing was run"]);
        // Text that anybody may choose is not put into such a block at all.
        bench.write(&parameter(", free_text: true"), &format!("```sh id=a\nx=1; {block}\n```\n"));
        bench
            .run(&["run", "try.md", "--set", &set])
            .await
            .assert_code(2)
            .assert_says(&["evaluates the value of `"]);
    }
    let mut command = bench.command(&["run", "try.md"]);
    bench.write("  count: {env: COUNT}", "```sh id=a\n(( count > 0 ))\n```\n");
    finish(command.env("COUNT", values[0]).spawn().unwrap()).await.assert_code(2);
    // Nor is what a step has found: a row of a table may say anything.
    for found in ["sets=count", "capture=count"] {
        let made = "count='HOME[$(touch harm)]'; printf '%s\\n' \"$count\"";
        bench.write("", &format!("```sh id=find {found}\n{made}\n```\n```sh id=use\n(( count > 0 ))\n```\n"));
        let run = bench.run(&["run", "try.md", "--json"]).await;
        run.assert_code(3).assert_says(&["found a value of `count` that is not free text"]);
        assert_eq!(states(&run.json()), ["find failed", "use todo"]);
        bench.write(
            "",
            &format!("```sh id=find free-text {found}\n{made}\n```\n```sh id=use\n(( count > 0 ))\n```\n"),
        );
        bench.run(&["run", "try.md"]).await.assert_code(2);
    }
    assert!(!bench.path("harm").exists(), "a value was evaluated");
    // Free text arrives as it is where it is an argument, and what is no text at all needs no such word.
    bench.write(&parameter(", free_text: true"), "```sh id=a\nprintf '%s' \"$count\" > kept\n```\n");
    bench.run(&["run", "try.md", "--set", "count=it's $(x) & \"y\""]).await.assert_code(0);
    assert_eq!(std::fs::read_to_string(bench.path("kept")).unwrap(), "it's $(x) & \"y\"");
    for plain in [
        "orders-prod",
        "2026-11-20T14:05:00Z",
        "2026-11-20 14:05:00+00",
        "arn:aws:rds:eu-west-1:1:db:x",
        "0.5",
        "a@b.example",
        "users,orders",
        "Ä_1",
        "https://x.example/y?z=1",
    ] {
        bench.write(&parameter(""), "```sh id=a\nprintf '%s' \"$count\" > kept\n```\n");
        bench.run(&["run", "try.md", "--set", &format!("count={plain}")]).await.assert_code(0);
        assert_eq!(std::fs::read_to_string(bench.path("kept")).unwrap(), plain);
    }
    bench.write("  https_proxy: {default: x}", "```sh id=a\ntrue\n```\n");
    bench.run(&["run", "try.md"]).await.assert_code(2).assert_says(&["is not a valid parameter name"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_their_own_second_person_and_an_approval_that_nobody_has_signed_is_none() {
    let world = World::with_orders().await;
    let text = format!(
        "{FRONT}params:\n  source: {{required: true, pattern: \"[a-z-]+\"}}\nneeds: {{aws: {{}}}}\n---\n\
         ```approve id=four-eyes timeout=1m\nIs {{{{source}}}} the right one?\n```\n```sh id=after\ntouch after\n```\n"
    );
    world.write("try.md", &text);
    let run_as = async |session: &str, key: &str, arguments: &[&str]| {
        let mut command = world.command(&[&["runbook"], arguments].concat());
        command.env("AWS_ACCESS_KEY_ID", key);
        if !session.is_empty() {
            command.env("AWS_SESSION_TOKEN", format!("localstack-role/{session}"));
        }
        finish(command.spawn().unwrap()).await
    };
    let begun =
        run_as("admin/ada", "test", &["run", "try.md", "--set", "source=orders-prod", "--json"]).await;
    let id = begun.assert_code(4).json()["run"].as_str().unwrap().to_owned();
    let approve = ["approve", &id, "--confirm", "orders-prod"];
    for session in ["admin/grace", "admin/ada2"] {
        run_as(session, "test", &approve)
            .await
            .assert_code(4)
            .assert_says(&["role admin of account 123456789012"]);
    }
    // A file that was written by hand, in the name of somebody else: without a signature, with one of the runner, with one for another run.
    let file = world.path(&format!("vault/runs/{id}/approvals/four-eyes.json"));
    run_as("", "user-grace", &approve).await.assert_code(0);
    let good: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let other =
        run_as("admin/ada", "test", &["run", "try.md", "--set", "source=orders-prod", "--json"]).await;
    let other = other.json()["run"].as_str().unwrap().to_owned();
    let of_other = world.path(&format!("vault/runs/{other}/approvals/four-eyes.json"));
    std::fs::create_dir_all(of_other.parent().unwrap()).unwrap();
    let forge = |change: &dyn Fn(&mut Value)| {
        let mut forged = good.clone();
        change(&mut forged);
        std::fs::write(&file, forged.to_string()).unwrap();
    };
    let resume = ["resume", &id, "--json"];
    for (change, words) in [
        (
            &(|it: &mut Value| drop(it.as_object_mut().unwrap().remove("proof"))) as &dyn Fn(&mut Value),
            "it carries no proof of who gave it",
        ),
        (
            &|it| it["by"]["identity"] = "arn:aws:iam::123456789012:user/eve".into(),
            "it is signed by arn:aws:iam::123456789012:user/grace",
        ),
        (&|it| it["purpose"] = "0".repeat(64).into(), "not given for the current state of this run"),
        (
            &|it| drop(it.as_object_mut().unwrap().remove("purpose")),
            "not given for the current state of this run",
        ),
        (
            &|it| it["by"]["identity"] = "arn:aws:sts::123456789012:assumed-role/admin/eve".into(),
            "role admin of account",
        ),
        (
            &|it| it["by"]["identity"] = "arn:aws:sts::123456789012:federated-user/eve".into(),
            "a federated session",
        ),
        (
            &|it| {
                it["proof"]["authorization"] = "AWS4-HMAC-SHA256 Credential=user-grace/20260101/eu-central-1/sts/aws4_request, SignedHeaders=host;x-amz-date, Signature=0".into()
            },
            "does not cover the run",
        ),
    ] {
        forge(change);
        run_as("admin/ada", "test", &resume)
            .await
            .assert_code(4)
            .assert_says(&["waits for a second person", words]);
        assert!(!world.path("after").exists(), "{words}");
    }
    std::fs::write(&of_other, good.to_string()).unwrap();
    run_as("admin/ada", "test", &["resume", &other])
        .await
        .assert_code(4)
        .assert_says(&["not given for the current state of this run"]);
    // Whoever took the run up in between is no second person either.
    forge(&|_| ());
    run_as("", "user-grace", &resume)
        .await
        .assert_code(4)
        .assert_says(&["runs this runbook and cannot approve it too"]);
    run_as("approvers/ada", "test", &approve).await.assert_code(0);
    let report = run_as("admin/ada", "test", &resume).await.assert_code(0).json();
    assert_eq!(
        report["steps"][0]["answer"],
        "approved by arn:aws:sts::123456789012:assumed-role/approvers/ada (proven by AWS)"
    );
    assert!(!std::fs::read_to_string(&file).unwrap().contains("Signature"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_aws_an_approval_is_a_claim_and_the_record_says_so() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
    let bench = Bench::new();
    bench.write("", "```approve id=four-eyes timeout=1m\nShall we?\n```\n```sh id=after\ntouch after\n```\n");
    let id = bench.run(&["run", "try.md", "--json"]).await.assert_code(4).json()["run"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut own = bench.command(&["approve", &id, "--confirm", &id]);
    let refused = finish(own.env("USER", "grace").env("LOGNAME", "grace").spawn().unwrap()).await;
    refused.assert_code(4).assert_says(&["runs this runbook and cannot approve it too"]);
    let hash = bench.run(&["show", &id, "--json"]).await.json()["sha256"].as_str().unwrap().to_owned();
    let file = bench.path(&format!("vault/runs/{id}/approvals/four-eyes.json"));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let by = serde_json::json!({"identity": "grace@elsewhere", "account": null, "region": null, "host": "elsewhere", "version": "0"});
    let forged =
        serde_json::json!({"step": "four-eyes", "by": by, "at": "2026-11-30T00:00:00Z", "sha256": hash});
    std::fs::write(&file, forged.to_string()).unwrap();
    bench
        .run(&["resume", &id])
        .await
        .assert_code(4)
        .assert_says(&["not given for the current state of this run"]);
    std::fs::remove_file(&file).unwrap();
    // Another user of this machine, where the tests may be one.
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    let open = std::process::Command::new("chmod").args(["-R", "a+rwX"]).arg(bench.directory.path()).status();
    assert!(open.unwrap().success());
    let copy = bench.path("lifeboat");
    std::fs::copy(program(), &copy).unwrap();
    std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
    let mut other = Command::new(&copy);
    other.args(["runbook", "approve", &id, "--confirm", &id]).current_dir(bench.directory.path()).env_clear();
    other
        .env("BACKUP_DIR", bench.path("vault"))
        .uid(65534)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let approved = finish(other.spawn().unwrap()).await;
    assert!(approved.assert_code(0).stdout.contains("nothing proves that it was you"), "{}", approved.stdout);
    let run = bench.run(&["resume", &id, "--json"]).await;
    run.assert_code(0).assert_says(&["nothing proves that"]);
    let answer = run.json()["steps"][0]["answer"].as_str().unwrap().to_owned();
    assert!(answer.ends_with("(claimed, not proven)"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_later_steps_need_is_looked_at_before_the_first_one_changes_anything() {
    let bench = Bench::new();
    bench.write(
        "  env_file: {default: app.env, pattern: \"[a-z.]+\"}\n  restart: {default: ./restart, pattern: \"[a-z./]+\"}\n  health: {default: \"http://127.0.0.1:9/health\", pattern: \"http:.*\"}\nneeds:\n  files: [{path: \"{{env_file}}\", has: \"^DATABASE_URL=\"}]",
        "```sh id=a\ntouch harm\n```\n```sh id=b only=real\ncat \"$env_file\" | frobnicate\nX=1 \"$restart\"\n```\n```sh id=c\n(( 1 > 0 ))\nwork() { true; }\nwork\ncase x in *y*) false ;; esac\nfor n in {1..2}; do echo \"$n\"; done\n```\n```wait id=well only=real timeout=1s\nurl {{health}} answers 200\n```\n",
    );
    let lacks = [
        "step `b` needs `frobnicate`",
        "step `b` needs `./restart`, which does not exist",
        "`app.env` does not exist",
    ];
    let refused = bench.run(&["run", "try.md"]).await;
    refused.assert_code(4).assert_says(&["the run was not started"]).assert_says(&lacks);
    assert!(!bench.path("harm").exists() && !bench.path("vault/runs").exists());
    let planned = bench.run(&["plan", "try.md"]).await;
    for words in lacks
        .iter()
        .chain(&["This would stop the run:", "step `well` waits for http://127.0.0.1:9/health to answer 200"])
    {
        assert!(planned.assert_code(1).stdout.contains(words), "{words}: {}", planned.stdout);
    }
    assert!(!planned.stdout.contains("would stop this run"), "{}", planned.stdout);
    // A rehearsal needs less, and what is only in doubt keeps nobody from beginning.
    bench.run(&["run", "try.md", "--rehearse"]).await.assert_code(0);
    std::fs::write(bench.path("app.env"), "X=1\n").unwrap();
    let other = bench.run(&["run", "try.md"]).await;
    other.assert_code(4).assert_says(&["`app.env` has no line that matches `^DATABASE_URL=`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn gates_have_their_time_and_the_recovery_ends_before_what_comes_after_it() {
    let bench = Bench::new();
    bench.write(
        "  name: {default: x, pattern: \"[a-z]\"}",
        "```confirm id=go\nGo: {{name}}\n```\n```sh id=mend\nfor n in {1..30}; do printf 'line\\t%s\\n' \"$n\"; done\n```\n```manual id=watch\nWatch for ten minutes\n```\n",
    );
    bench.run(&["run", "try.md"]).await.assert_code(4);
    let id = bench.latest();
    let run = bench.run(&["resume", &id, "--answer", "go=x"]).await;
    run.assert_code(4).assert_says(&["│ line    1\n", "│ line    30\n", "recovered after"]);
    tokio::time::timeout(std::time::Duration::from_secs(30), async {
        let began = std::time::Instant::now();
        wait("a second to pass", async || began.elapsed().as_secs_f64() > 1.5).await;
    })
    .await
    .unwrap();
    let report =
        bench.run(&["resume", &id, "--answer", "watch=all is well", "--json"]).await.assert_code(0).json();
    let seconds = |step: usize| report["steps"][step]["seconds"].as_f64().unwrap();
    assert!(seconds(0) > 0.0 && seconds(2) >= 1.5, "{report:#}");
    let rto = &report["rto"];
    assert_eq!((rto["recovered_by"].as_str(), rto["verdict"].as_str()), (Some("mend"), Some("pass")));
    assert_eq!(rto["people_seconds"].as_f64(), Some(seconds(0)));
    let ended = |step: usize| {
        let at: chrono::DateTime<chrono::Utc> =
            report["steps"][step]["started_at"].as_str().unwrap().parse().unwrap();
        at
    };
    let until_watch = (ended(2)
        - report["started_at"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap())
    .as_seconds_f64();
    assert!(rto["measured_seconds"].as_f64().unwrap() <= until_watch, "{report:#}");
    assert!(report["steps"][1]["output"].as_str().unwrap().starts_with("line\t1\n"), "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_says_what_failed_and_whether_something_may_be_left() {
    let bench = Bench::new();
    let body = |probe: &str| {
        format!(
            "```sh id=make creates=\"database:x\"\necho 'error: cannot connect' >&2; exit 2\n```\n```probe for=make\n{probe}\n```\n```undo for=make\ntouch removed\n```\n"
        )
    };
    // Nothing was made, and its probe knows it.
    bench.write("", &body("exit 1"));
    let run = bench.run(&["run", "try.md", "--rehearse", "--json"]).await;
    assert_eq!(states(&run.assert_code(3).json()), ["make failed"]);
    assert!(!run.stderr.contains("left something behind") && !run.stderr.contains("money"), "{}", run.stderr);
    assert!(!bench.path("removed").exists());
    // Nobody knows: that is another night than something that is known to be there.
    bench.write("", &body("echo 'error: cannot connect' >&2; exit 2"));
    let run = bench.run(&["run", "try.md", "--rehearse", "--json"]).await;
    run.assert_code(3).assert_says(&["it is not known whether `database:x` was created"]);
    assert!(!run.stderr.contains("money"), "{}", run.stderr);
    // It was made before the step failed.
    bench.write("", &body("exit 0"));
    let run = bench.run(&["run", "try.md", "--rehearse", "--json"]).await;
    let report = run.assert_code(3).json();
    assert!(bench.path("removed").exists(), "{report:#}");
    let page = bench.run(&["show", &bench.latest()]).await.stdout;
    assert!(
        page.starts_with("FAIL  rehearsal of runbook `try`, ") && page.contains("0 of 1 step was rehearsed"),
        "{page}"
    );
    let html =
        std::fs::read_to_string(bench.path(&format!("vault/runs/{}/evidence.html", bench.latest()))).unwrap();
    assert!(!html.contains("not measured yet") && html.contains("0 of 1 step was rehearsed"), "{html}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_of_a_real_run_begins_only_if_all_of_it_can_be_done_and_stops_where_it_cannot_go_on() {
    let bench = Bench::new();
    bench.write(
        "",
        "```sh id=old creates=\"file:old\"\ntouch old\n```\n```undo for=old does=\"removes the old file.\"\nrm old\n```\n\
         ```sh id=new creates=\"file:new\"\ntouch new\n```\n```undo for=new\ntest -e well; rm new\n```\n```undo-check for=new\nif test ! -e ready; then echo 'error: it is not ready' >&2; exit 1; fi\n```\n",
    );
    bench.run(&["run", "try.md"]).await.assert_code(0);
    let id = bench.latest();
    let journal = std::fs::read_to_string(bench.journal(&id)).unwrap();
    let undo = ["undo", &id, "--answer", "old=old", "--answer", "new=new"];
    bench.run(&undo).await.assert_code(4).assert_says(&["nothing was undone", "it is not ready"]);
    assert_eq!(std::fs::read_to_string(bench.journal(&id)).unwrap(), journal);
    std::fs::write(bench.path("ready"), "").unwrap();
    let partly = bench.run(&[&undo[..], &["--json"]].concat()).await;
    let report = partly.assert_code(5).assert_says(&["`old`: was kept"]).json();
    assert!(bench.path("old").exists() && bench.path("new").exists());
    assert_eq!(
        (report["headline"].as_str(), report["state"].as_str()),
        (Some("NOT UNDONE"), Some("not_undone"))
    );
    std::fs::write(bench.path("well"), "").unwrap();
    let kept = bench.run(&["undo", &id, "--answer", "new=new", "--keep", "old"]).await;
    assert!(kept.assert_code(0).stdout.starts_with("PARTLY UNDONE  runbook `try`, "), "{}", kept.stdout);
    assert!(bench.path("old").exists() && !bench.path("new").exists());
    bench.run(&undo[..4]).await.assert_code(0);
    assert!(!bench.path("old").exists());
    let shown = bench.run(&["runs", "--json"]).await.json();
    assert_eq!(
        (shown["runs"][0]["state"].as_str(), shown["runs"][0]["steps_done"].as_u64()),
        (Some("undone"), Some(2))
    );
}

/// The calls of this tool in prose and in strings: what stands between backticks, and lines of examples.
fn calls_in(text: &str) -> Vec<String> {
    let spans = text.split('`').skip(1).step_by(2).map(str::to_owned);
    let lines = text.lines().map(|line| line.trim().trim_start_matches("$ ").to_owned());
    let is_call = |call: &String| {
        call.starts_with("lifeboat ")
            && call.split(' ').count() > 2
            && !call.contains('\n')
            && call.split(' ').nth(1).is_some_and(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    spans.chain(lines).filter(is_call).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_runbooks_and_their_hints_name_is_understood() {
    let bench = Bench::new();
    let root = root();
    let mut folders: Vec<_> =
        ["runbooks", "src/runbook", "src/cli/runbook"].map(|name| root.join(name)).into();
    let mut calls = std::collections::BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                calls.extend(calls_in(&text));
            }
        }
    }
    // A place for a value is one word.
    let calls: Vec<String> = calls
        .iter()
        .map(|call| {
            let call = call.split("{").enumerate().map(|(n, part)| {
                if n == 0 {
                    part.to_owned()
                } else {
                    format!("x{}", part.split_once('}').map_or("", |(_, rest)| rest))
                }
            });
            call.collect::<String>().trim_end_matches('\\').replace(['…', '<', '>', '|'], "x")
        })
        .collect();
    assert!(
        calls.len() > 15 && calls.iter().any(|call| call.starts_with("lifeboat runbook undo")),
        "{calls:#?}"
    );
    let steps = calls.iter().enumerate().map(|(n, call)| format!("```sh id=s{n} timeout=1m\n{call}\n```\n"));
    bench.write("", &steps.collect::<String>());
    let checked = bench.run(&["check", "try.md"]).await;
    let wrong: Vec<&str> = checked.stdout.lines().filter(|line| line.contains("rejects a call")).collect();
    assert!(wrong.is_empty() && checked.stdout.contains("how to do it without"), "{wrong:#?}\n{calls:#?}");
}
