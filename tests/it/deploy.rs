//! `deploy/`: what the files promise is so, the action acts, the script of the roles creates them, metrics are there, and every
//! command line of lifeboat in them is one that this binary takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::lint::{Copy, files, read, steps, told, yaml};
use crate::support::{Moto, World, binary, finish, program, root};

/// The objects of a file of Kubernetes.
fn objects(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    text.split("\n---\n")
        .map(|part| part.trim_start_matches("---\n"))
        .filter(|part| !part.trim().is_empty())
        .map(yaml)
        .collect()
}

#[test]
fn jobs_in_kubernetes_run_once_alone_within_limits_and_without_rights() {
    let copy = Copy::new();
    let jobs: Vec<Value> = copy
        .of("kubernetes", ".yaml")
        .iter()
        .flat_map(|file| objects(file))
        .filter(|it| it["kind"] == "CronJob")
        .collect();
    assert_eq!(jobs.len(), 4);
    let mut accounts = BTreeMap::new();
    for job in &jobs {
        let (name, spec) = (job["metadata"]["name"].as_str().unwrap(), &job["spec"]);
        assert_eq!(spec["concurrencyPolicy"], "Forbid", "{name}");
        assert!(spec["startingDeadlineSeconds"].is_u64(), "{name}");
        let run = &spec["jobTemplate"]["spec"];
        let (whole, each) = (&run["backoffLimit"], &run["backoffLimitPerIndex"]);
        assert!(*whole == 0 || (*each == 0 && run["completionMode"] == "Indexed"), "{name} is tried again");
        assert!(run["activeDeadlineSeconds"].is_u64() && run["ttlSecondsAfterFinished"].is_u64(), "{name}");
        let pod = &run["template"]["spec"];
        assert_eq!(pod["restartPolicy"], "Never", "{name}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        for container in pod["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]), "{name}");
            assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
        }
        if name.contains("drill") {
            // A drill that is stopped has to remove its throwaway first.
            assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() >= 600, "{name}");
        }
        accounts.insert(name.to_owned(), pod["serviceAccountName"].as_str().unwrap().to_owned());
    }
    assert_eq!(accounts["lifeboat-sweep"], "lifeboat-sweeper", "the sweeper has a role of its own");
    assert_eq!(accounts["lifeboat-drill"], "lifeboat-drill");
}

#[test]
fn schedules_of_aws_try_nothing_again_and_keep_what_could_not_be_started() {
    for file in ["aws/schedule.cfn.yaml", "aws/fleet.cfn.yaml"] {
        let text = read(file);
        let schedules = text.matches("Type: AWS::Scheduler::Schedule\n").count();
        assert!(schedules > 0 && text.matches("MaximumRetryAttempts: 0\n").count() == schedules, "{file}");
        assert_eq!(text.matches("DeadLetterConfig:\n").count(), schedules, "{file}");
        assert!(text.contains("TreatMissingData: breaching"), "{file} has no dead man's switch");
        assert!(!text.contains("\"Retry\""), "{file}");
    }
    assert!(read("aws/fleet.cfn.yaml").contains("\"Mode\": \"DISTRIBUTED\""));
    for (unit, drills) in [("lifeboat-drill@.service", true), ("lifeboat-sweep.service", false)] {
        let text = read(&format!("systemd/{unit}"));
        assert!(
            text.contains("Type=oneshot\n")
                && text.contains("TimeoutStartSec=")
                && text.contains("OnFailure="),
            "{unit}"
        );
        assert!(!text.contains("Restart="), "{unit}");
        assert_eq!(text.contains("TimeoutStopSec="), drills, "{unit}");
    }
}

/// Runs the action's steps as a runner would: inputs, outputs and summary by the files and variables that GitHub gives.
async fn act(
    world: &World,
    inputs: &BTreeMap<&str, &str>,
    job: &str,
) -> (i32, BTreeMap<String, String>, String, String) {
    let text = read("github-actions/snapshot/action.yml");
    let action = yaml(&text);
    let (outputs, summary) = (world.path(&format!("output-{job}")), world.path(&format!("summary-{job}")));
    fs::write(&outputs, "").unwrap();
    fs::write(&summary, "").unwrap();
    let path =
        format!("{}:{}", Path::new(program()).parent().unwrap().display(), std::env::var("PATH").unwrap());
    let (mut worst, mut said) = (0, String::new());
    for step in steps(&text) {
        let set = said_in(&outputs);
        if step["if"].is_string() && !set.contains_key("rollback_command") {
            continue;
        }
        let mut command = world.command(&[]);
        let mut shell = tokio::process::Command::new("bash");
        shell
            .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"].as_str().unwrap()])
            .env_clear();
        shell.envs(command.as_std_mut().get_envs().filter_map(|(key, value)| Some((key, value?))));
        shell
            .env("PATH", &path)
            .env("GITHUB_OUTPUT", &outputs)
            .env("GITHUB_STEP_SUMMARY", &summary)
            .env("GITHUB_SHA", "c0ffee");
        for (name, value) in step["env"].as_object().unwrap() {
            let expression = value.as_str().unwrap().trim_start_matches("${{").trim_end_matches("}}").trim();
            let value = match expression.strip_prefix("inputs.") {
                Some("idempotency-key") => format!("org/orders/Deploy/42/{job}"),
                Some(input) => {
                    let usual = action["inputs"][input]["default"].as_str().unwrap_or_default();
                    (*inputs.get(input).unwrap_or(&usual)).to_owned()
                }
                None => set
                    .get(expression.strip_prefix("steps.take.outputs.").unwrap())
                    .cloned()
                    .unwrap_or_default(),
            };
            shell.env(name, value);
        }
        shell.current_dir(world.path("")).stdin(std::process::Stdio::null());
        shell.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let done = finish(shell.spawn().unwrap()).await;
        said.push_str(&format!("{}{}", done.stdout, done.stderr));
        worst = worst.max(done.code.unwrap());
    }
    // The outputs by the names that a workflow uses.
    let set = said_in(&outputs);
    let named = action["outputs"].as_object().unwrap().iter().map(|(name, output)| {
        let expression =
            output["value"].as_str().unwrap().trim_start_matches("${{").trim_end_matches("}}").trim();
        let key = expression.strip_prefix("steps.take.outputs.").unwrap();
        (name.clone(), set.get(key).cloned().unwrap_or_default())
    });
    (worst, named.collect(), fs::read_to_string(&summary).unwrap(), said)
}

/// What was written to GITHUB_OUTPUT.
fn said_in(file: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| line.split_once('=').unwrap())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_action_takes_a_snapshot_hands_on_its_outputs_and_finds_it_again() {
    let world = World::with_orders().await;
    let inputs = BTreeMap::from([("database", "orders-prod"), ("tags", "release=2026.11\nteam=a b\n")]);
    let (code, outputs, summary, said) = act(&world, &inputs, "migrate").await;
    assert_eq!(code, 0, "{said}");
    let id = outputs["snapshot-id"].clone();
    assert!(id.starts_with("pre-migration-orders-prod-"), "{outputs:?}");
    assert_eq!(outputs["arn"], format!("arn:aws:rds:eu-central-1:123456789012:snapshot:{id}"));
    for time in ["created-at", "database-time"] {
        assert!(chrono::DateTime::parse_from_rfc3339(&outputs[time]).is_ok(), "{time}: {outputs:?}");
    }
    assert_eq!(outputs["still-creating"], "false");
    assert!(summary.contains(&id) && summary.contains(&outputs["rollback-command"]), "{summary}");
    let shown = world.json(&["snapshot", "show", &id]).await;
    assert_eq!(shown["tags"]["team"], "a b");
    assert_eq!(shown["tags"]["lifeboat:git-sha"], "c0ffee");
    // The job again, after its migration has failed: the snapshot of its first attempt, and no other.
    let (code, again, _, said) = act(&world, &inputs, "migrate").await;
    assert_eq!((code, &again), (0, &outputs), "{said}");
    assert_eq!(world.manual_snapshots().await.len(), 2);
    // What it says brings the database back.
    let words: Vec<&str> =
        outputs["rollback-command"].split(' ').skip(1).chain(["--poll", "200ms"]).collect();
    world.lifeboat(&words).await.assert_code(0);
    assert!(world.instances().await.contains("orders-prod-rollback"));
    // An input is never part of a script.
    let hostile =
        BTreeMap::from([("database", "orders-prod\"; touch hacked; $(touch hacked)"), ("tags", "")]);
    let (code, _, _, said) = act(&world, &hostile, "hostile").await;
    assert!(code == 2 && !world.path("hacked").exists(), "{said}");
    // The snapshot takes longer than one waits for.
    world.fault("DescribeDBSnapshots", serde_json::json!({"fault": "slow", "times": 1})).await;
    world.control("DELETE", "faults", Value::Null).await;
    let missing = BTreeMap::from([("database", "orders-prod"), ("lifeboat", "/nowhere/lifeboat")]);
    let (code, _, _, said) = act(&world, &missing, "missing").await;
    assert!(code == 2 && said.contains("::error::/nowhere/lifeboat is not on the PATH"), "{said}");
}

/// Command lines of lifeboat in a file: in lists of arguments, in shell, in units, between backticks.
fn command_lines(text: &str) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    // JSON or YAML lists, which may go over several lines.
    for key in ["args: [", "Command: [", "\"Command\": ["] {
        for rest in text.split(key).skip(1) {
            let list = rest.split(']').next().unwrap();
            let words: Vec<String> =
                list.split(',').map(|word| word.trim().trim_matches('"').to_owned()).collect();
            found.insert(words);
        }
    }
    for line in text.lines() {
        let line = line.trim().trim_start_matches("- ").trim_start_matches("$ ");
        let starts = ["lifeboat ", "run: lifeboat ", "ExecStart=/usr/local/bin/lifeboat "];
        let whole = starts
            .iter()
            .find_map(|start| line.strip_prefix(start))
            .filter(|rest| !rest.starts_with('-') || rest.starts_with("--"));
        let quoted = line.split('`').skip(1).step_by(2).filter_map(|part| part.strip_prefix("lifeboat "));
        let is_prose = |rest: &str| rest.ends_with('.') || rest.contains(": ");
        for rest in whole.into_iter().filter(|rest| !is_prose(rest)).chain(quoted) {
            let rest =
                rest.split(" #").next().unwrap().split(" | ").next().unwrap().split(" > ").next().unwrap();
            let words = rest.split_whitespace().map(|word| word.trim_matches(['"', '\'']).to_owned());
            found.insert(words.take_while(|word| word != "…" && word != "&&").collect());
        }
    }
    found.retain(|words| {
        words.first().is_some_and(|word| word.starts_with(|c: char| c.is_ascii_lowercase() || c == '-'))
    });
    found
}

/// What stands for a value that only somebody else knows.
fn filled_in(word: &str) -> String {
    let known = [
        ("$(SHARD)", "3"),
        ("$(RUN)", "night-1"),
        ("${Due}", "30d"),
        ("{% $states.input.shard %}", "3/8"),
        ("{% $states.input.run %}", "night-1"),
        ("{{ $labels.database }}", "orders-prod"),
        ("{{ $labels.region }}", "eu-central-1"),
        ("%i", "orders-prod"),
        ("$DATABASE", "orders-prod"),
    ];
    known.iter().fold(word.to_owned(), |word, (from, to)| word.replace(from, to))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_line_in_deploy_is_one_that_this_binary_takes() {
    let directory = tempfile::tempdir().unwrap();
    let mut all = BTreeSet::new();
    for file in files(&root().join("deploy")) {
        let text = read(file.to_str().unwrap());
        // Labels of Prometheus have spaces in their braces.
        let text = text
            .replace("{{ $labels.database }}", "orders-prod")
            .replace("{{ $labels.region }}", "eu-central-1")
            .replace("{{ $labels.instance }}", "orders-prod");
        all.extend(command_lines(&text).into_iter().map(|words| (file.clone(), words)));
    }
    for needed in ["drill run", "drill sweep", "status", "snapshot create"] {
        assert!(
            all.iter().any(|(_, words)| words.join(" ").starts_with(needed)),
            "no {needed} is found in deploy/"
        );
    }
    let mut wrong = Vec::new();
    for (file, words) in all {
        let words: Vec<String> =
            words.iter().map(|word| filled_in(word)).chain(["--help".to_owned()]).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let run = finish(binary(directory.path(), &words).spawn().unwrap()).await;
        if run.code != Some(0) {
            wrong.push(format!("{}: lifeboat {}\n{}", file.display(), words.join(" "), run.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Names of metrics in PromQL.
fn metrics(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_part(c)).filter(|word| word.starts_with("lifeboat_")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_dashboard_ask_for_metrics_that_there_are() {
    let world = World::new().await;
    world.create_record("orders-prod").await;
    let status = world.lifeboat(&["status", "--format", "prometheus"]).await.stdout;
    let mut server = world.command(&["serve", "--listen", "127.0.0.1:0"]).spawn().unwrap();
    let served = {
        use tokio::io::AsyncBufReadExt as _;
        let mut lines = tokio::io::BufReader::new(server.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
        let done = tokio::process::Command::new("curl")
            .args(["--silent", "--fail", "--max-time", "60", &format!("{url}/metrics")])
            .output()
            .await;
        String::from_utf8(done.unwrap().stdout).unwrap()
    };
    server.kill().await.unwrap();
    let there: BTreeSet<String> = [status, served]
        .iter()
        .flat_map(|text| {
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned))
        })
        .collect();
    assert!(there.contains("lifeboat_up") && there.contains("lifeboat_rpo_met"), "{there:?}");
    let rules = read("prometheus/lifeboat.rules.yml");
    let expressions: String =
        rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect::<Vec<_>>().join("\n");
    let dashboard: Value = serde_json::from_str(&read("grafana/lifeboat.json")).unwrap();
    let (mut queries, mut ids, mut places) = (Vec::new(), BTreeSet::new(), Vec::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels with one id");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        let place = (at("x"), at("y"), at("w"), at("h"));
        let apart = |(x, y, w, h): &(u64, u64, u64, u64)| {
            place.0 >= x + w || place.0 + place.2 <= *x || place.1 >= y + h || place.1 + place.3 <= *y
        };
        assert!(
            place.0 + place.2 <= 24 && places.iter().all(apart),
            "{} lies over another panel",
            panel["title"]
        );
        places.push(place);
        assert!(
            panel["type"] == "row" || panel["description"].is_string(),
            "{} says nothing of itself",
            panel["title"]
        );
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push(target["expr"].as_str().unwrap().to_owned());
        }
    }
    assert!(queries.len() > 15);
    for name in metrics(&expressions).union(&metrics(&queries.join("\n"))) {
        assert!(there.contains(name), "there is no metric {name}: {there:?}");
    }
    // Its queries are PromQL.
    let copy = Copy::new();
    let recorded = queries.iter().enumerate().map(|(number, query)| {
        serde_json::json!({"record": format!("query_{number}"), "expr": query.replace("$region", ".*").replace("$database", ".*")})
    });
    let checked =
        serde_json::json!({"groups": [{"name": "dashboard", "rules": recorded.collect::<Vec<_>>()}]});
    fs::write(copy.0.path().join("dashboard.yml"), checked.to_string()).unwrap();
    let (well, said) = told([copy.run("promtool", &["check", "rules", "dashboard.yml"], &[])]);
    assert!(well, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roles_are_created_and_brought_up_to_date_by_their_script() {
    let moto = Moto::start(&[]).await;
    let path = format!("{}:{}", root().join("target/clients/bin").display(), std::env::var("PATH").unwrap());
    let create = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(root().join("deploy/iam/create"));
        command
            .args(arguments)
            .env("PATH", &path)
            .env("AWS_ENDPOINT_URL", moto.endpoint())
            .env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        let done = command.output().await.unwrap();
        (done.status.code().unwrap(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
    };
    assert_eq!(create(&["only-a-bucket"]).await.0, 2);
    let (code, said) = create(&["my-vault", "ecs-task", "drill", "sweeper"]).await;
    assert_eq!(
        (code, said.as_str()),
        (
            0,
            "arn:aws:iam::123456789012:role/lifeboat-drill\narn:aws:iam::123456789012:role/lifeboat-sweeper\n"
        )
    );
    // moto refuses what is no policy; a second time they are there already.
    let (code, said) = create(&["my-vault", "github-oidc", "drill"]).await;
    assert_eq!(code, 0, "{said}");
    // Each role is that of its own service account, not of the drill's.
    assert_eq!(create(&["my-vault", "irsa", "drill", "sweeper"]).await.0, 0);
    for name in ["lifeboat-drill", "lifeboat-sweeper"] {
        let words = ["iam", "get-role", "--role-name", name, "--query", "Role.AssumeRolePolicyDocument"];
        let (_, trust) = crate::support::aws_cli(&moto.endpoint(), &words).await;
        assert!(trust.contains(&format!("system:serviceaccount:lifeboat:{name}\"")), "{trust}");
    }
    let show =
        "iam get-role-policy --role-name lifeboat-drill --policy-name lifeboat-drill --query PolicyDocument";
    let words: Vec<&str> = show.split(' ').collect();
    let (_, policy) = crate::support::aws_cli(&moto.endpoint(), &words).await;
    assert!(
        policy.contains("arn:aws:s3:::my-vault/drills/*")
            && policy.contains("arn:aws:rds:*:123456789012:db:lifeboat-drill-*")
    );
    assert!(!policy.contains("111122223333") && !policy.contains("example-lifeboat-vault"), "{policy}");
}
