//! `lifeboat doctor` on a machine where each thing is broken in turn: it names that thing, and nothing else. `lifeboat init`.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt as _;
use tokio::process::Command;

use crate::support::{Moto, Run, World, finish, finish_ahead};

/// Codes of what is not as it should be.
fn broken(report: &Value) -> BTreeSet<String> {
    let checks = report["checks"].as_array().unwrap().iter();
    let bad = checks.filter(|check| check["verdict"] == "fail" || check["verdict"] == "unknown");
    bad.map(|check| check["code"].as_str().unwrap().to_owned()).collect()
}

async fn doctor(world: &World, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Run {
    let mut command = world.command(&[&["doctor", "--json"], arguments].concat());
    change(&mut command);
    finish(command.spawn().unwrap()).await
}

/// Asserts that exactly these codes are broken, and that each says what mends it.
#[track_caller]
fn assert_names(what: &str, run: &Run, exit: i32, codes: &[&str]) -> Value {
    let report = run.assert_code(exit).json();
    assert_eq!(report["schema"], "lifeboat.doctor/1");
    let expected: BTreeSet<String> = codes.iter().map(|code| (*code).to_owned()).collect();
    assert_eq!(broken(&report), expected, "{what}: {report:#}");
    for check in report["checks"].as_array().unwrap() {
        let is_fine = check["verdict"] == "pass";
        assert!(is_fine || check["remedy"].is_string(), "{what}: no remedy: {check:#}");
    }
    report
}

fn executable(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_where_all_is_well_is_told_so_and_nothing_is_changed() {
    let world = World::with_orders().await;
    let before =
        (world.instances().await, world.control("GET", "calls", Value::Null).await.as_array().unwrap().len());
    let well = doctor(&world, &[], |_| {}).await;
    let report = assert_names("well", &well, 0, &[]);
    for ability in report["commands"].as_array().unwrap() {
        assert_ne!(ability["verdict"], "fail", "{ability}");
    }
    assert_eq!(world.instances().await, before.0);
    assert!(!world.path("vault").exists(), "a vault that does not exist is not made");
    let calls = world.control("GET", "calls", Value::Null).await;
    for call in &calls.as_array().unwrap()[before.1..] {
        let action = call["action"].as_str().unwrap();
        let reads = ["Describe", "List", "Get", "Simulate"].iter().any(|verb| action.starts_with(verb));
        assert!(reads, "{call}");
    }
    let table = world.lifeboat(&["doctor", "drill", "status"]).await;
    for words in [
        "credentials",
        "authenticated as arn:aws:iam::123456789012:user/local",
        "actions are allowed",
        "`orders-prod` at",
        "works here: status, drill",
    ] {
        assert!(table.assert_code(0).stdout.contains(words), "{words}: {}", table.stdout);
    }
    assert!(!table.stdout.contains("pg_dump"), "not asked for: {}", table.stdout);

    // Where the simulator may not be asked, what does not exist is asked about; what cannot be tried is unknown.
    world
        .fault(
            "SimulatePrincipalPolicy",
            json!({"fault": "error", "code": "AccessDenied", "for_seconds": 60}),
        )
        .await;
    let tried = doctor(&world, &["drill", "snapshot", "restore", "policy"], |_| {}).await;
    assert_names("no simulator", &tried, 0, &[]);
    let alarms = doctor(&world, &["alarms"], |_| {}).await;
    let unknown = ["PutMetricAlarm", "PutMetricData", "TagResource", "ListTagsForResource", "DeleteAlarms"];
    let unknown = unknown.map(|action| format!("cloudwatch:{action}"));
    assert_names("no simulator", &alarms, 3, &unknown.each_ref().map(String::as_str));
    // A refusal about something that does not exist may be for its name alone.
    world.fault("DeleteDBInstance", json!({"fault": "error", "code": "AccessDenied"})).await;
    let refused = doctor(&world, &["drill"], |_| {}).await;
    assert_names("refused on nothing", &refused, 3, &["rds:DeleteDBInstance"]);
    assert_eq!(world.instances().await, before.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_about_aws_is_named() {
    let world = World::new().await;
    let unset = |name: &'static str| {
        move |command: &mut Command| {
            command.env_remove(name);
        }
    };
    let run = doctor(&world, &[], unset("AWS_ACCESS_KEY_ID")).await;
    assert_names("no credentials", &run, 1, &["credentials"]);
    let run = doctor(&world, &[], unset("AWS_REGION")).await;
    assert_names("no Region", &run, 1, &["region"]);
    let run = doctor(&world, &["--profile", "nope"], |_| {}).await;
    assert_names("bad profile", &run, 1, &["profile"]);
    let run = doctor(&world, &["--endpoint-url", "http://127.0.0.1:1"], |_| {}).await;
    let report = assert_names("unreachable", &run, 1, &["tcp", "identity"]);
    assert!(report.to_string().contains("Connection refused"), "{report:#}");
    let run = doctor(&world, &["--endpoint-url", "http://nowhere.invalid:4566"], |_| {}).await;
    assert_names("DNS", &run, 1, &["dns", "identity"]);

    for (action, code, exit, named) in [
        ("GetCallerIdentity", "InvalidClientTokenId", 1, "identity"),
        ("GetCallerIdentity", "SignatureDoesNotMatch", 1, "identity"),
        ("GetCallerIdentity", "ExpiredToken", 1, "identity"),
        ("DescribeDBSnapshots", "AccessDenied", 1, "rds:DescribeDBSnapshots"),
        ("CreateDBSnapshot", "AccessDenied", 1, "rds:CreateDBSnapshot"),
        ("DeleteDBInstance", "AccessDenied", 1, "rds:DeleteDBInstance"),
        ("PutMetricAlarm", "AccessDenied", 1, "cloudwatch:PutMetricAlarm"),
        ("DescribeAlarms", "AccessDenied", 1, "cloudwatch:DescribeAlarms"),
        ("DescribeAccountAttributes", "InternalFailure", 3, "rds:DescribeAccountAttributes"),
    ] {
        world.fault(action, json!({"fault": "error", "code": code, "for_seconds": 60})).await;
        let run = doctor(&world, &[], |_| {}).await;
        let report = assert_names(action, &run, exit, &[named]);
        let of = report["checks"].as_array().unwrap().iter().find(|check| check["code"] == named).unwrap();
        if named.contains(':') && exit == 1 {
            assert!(of["remedy"].as_str().unwrap().contains(&format!(r#""Action": "{named}""#)), "{of}");
        }
        world.control("DELETE", "faults", Value::Null).await;
    }
    // What a command does not need does not keep it.
    world.fault("PutMetricAlarm", json!({"fault": "error", "code": "AccessDenied", "for_seconds": 60})).await;
    assert_names("narrowed down", &doctor(&world, &["drill", "backup"], |_| {}).await, 0, &[]);
    let report = doctor(&world, &[], |_| {}).await.json();
    let unable: Vec<&Value> =
        report["commands"].as_array().unwrap().iter().filter(|it| it["verdict"] == "fail").collect();
    assert_eq!((unable.len(), &unable[0]["command"]), (1, &json!("alarms")), "{report:#}");
    world.control("DELETE", "faults", Value::Null).await;

    world.write("lifeboat.toml", "[[accounts]]\nname = \"prod\"\nrole_arn = \"arn:aws:iam::111122223333:role/x\"\n[[accounts]]\nname = \"here\"\n");
    world.fault("AssumeRole", json!({"fault": "error", "code": "AccessDenied", "for_seconds": 60})).await;
    let report = assert_names("role", &doctor(&world, &[], |_| {}).await, 1, &["role"]);
    assert!(report.to_string().contains("role/x"), "{report:#}");
    world.control("DELETE", "faults", Value::Null).await;
    world.write("lifeboat.toml", "[alarms]\ntopic = \"nowhere\"\n");
    assert_names("topic", &doctor(&world, &[], |_| {}).await, 1, &["topic"]);
    world.write("lifeboat.toml", "[notify.channels.ops]\nkind = \"slack\"\nurl_env = \"LIFEBOAT_SLACK\"\n");
    assert_names("notify", &doctor(&world, &[], |_| {}).await, 1, &["notify"]);
    world.write("lifeboat.toml", "[policy]\nretention = 7\n");
    let report = assert_names("broken file", &doctor(&world, &[], |_| {}).await, 1, &["lifeboat_toml"]);
    assert!(report.to_string().contains("unknown field `retention`"), "{report:#}");
    world.write("lifeboat.toml", "[backup]\nencrypt_to = [\"age1nope\"]\n[retention]\nweekly = \"soon\"\n");
    let report = assert_names("values", &doctor(&world, &[], |_| {}).await, 1, &["lifeboat_toml"]);
    assert!(report.to_string().contains("line 2, `backup.encrypt_to`: `age1nope` is not"), "{report:#}");
}

/// A file of that name, somewhere below.
fn find(folder: &Path, name: &str) -> std::path::PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path if path.ends_with(name) => return path,
                _ => {}
            }
        }
    }
    panic!("there is no {name}");
}

/// A server whose certificate is of an authority that this system does not know; it ends with the value.
async fn tls_server(world: &World) -> (tokio::process::Child, String) {
    let script = "import http.server,ssl,sys; s=http.server.HTTPServer(('127.0.0.1',0),http.server.SimpleHTTPRequestHandler); \
                  c=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain(sys.argv[1],sys.argv[2]); \
                  s.socket=c.wrap_socket(s.socket,server_side=True); print(s.server_port,flush=True); s.serve_forever()";
    let (certificate, key) =
        (find(&world.path("stack"), "server.pem"), find(&world.path("stack"), "server.key"));
    let mut command = Command::new("python3");
    command.args(["-c", script]).args([&certificate, &key]).kill_on_drop(true);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let port = lines.next_line().await.unwrap().expect("Python is installed by `make setup`");
    (child, format!("https://localhost:{port}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_on_this_machine_is_named() {
    let world = World::new().await;
    world.create("orders-prod").await;
    let set = |name: &'static str, value: &Path| {
        let value = value.to_owned();
        move |command: &mut Command| {
            command.env(name, value);
        }
    };
    let empty = world.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let run = doctor(&world, &[], set("LIFEBOAT_PG_BIN", &empty)).await;
    let report = assert_names("no pg_dump", &run, 1, &["pg_dump"]);
    assert!(report.to_string().contains("Install `postgresql-client-"), "{report:#}");
    let old = world.path("old");
    std::fs::create_dir(&old).unwrap();
    executable(&old.join("pg_dump"), "#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n");
    let run = doctor(&world, &[], set("LIFEBOAT_PG_BIN", &old)).await;
    let report = assert_names("old pg_dump", &run, 1, &["pg_dump", "pg_restore"]);
    assert!(report.to_string().contains("newest pg_dump here is 9.6.24"), "{report:#}");

    let run = doctor(&world, &[], set("PGSSLROOTCERT", &world.path("nowhere.pem"))).await;
    assert_names("no CA file", &run, 1, &["ca", "database_tls"]);
    world
        .write("other.pem", &std::fs::read_to_string(world.stack.ca_path()).unwrap().replacen("MI", "QQ", 1));
    let run = doctor(&world, &[], set("PGSSLROOTCERT", &world.path("other.pem"))).await;
    assert_names("damaged CA file", &run, 1, &["ca", "database_tls"]);
    let run = doctor(&world, &[], |command| {
        command.env_remove("PGSSLROOTCERT");
    })
    .await;
    assert_names("another CA", &run, 1, &["database_tls"]);
    let run = doctor(&world, &[], |command| {
        command.env("PGPASSWORD", "canary-wrong");
    })
    .await;
    assert_names("wrong password", &run, 1, &["database_login"]);
    let run = doctor(&world, &["--identity", "/nowhere/key.txt"], |_| {}).await;
    assert_names("age key", &run, 1, &["age_identity"]);
    let run = doctor(&world, &[], |command| {
        command.env("LIFEBOAT_PING_URL", "hc-ping.com/x");
    })
    .await;
    assert_names("ping", &run, 1, &["ping"]);
    let run = doctor(&world, &[], |command| {
        command.env("DATABASE_URL", "sqlite:///nowhere/app.db");
    })
    .await;
    assert_names("database file", &run, 1, &["database_file"]);

    let server = tls_server(&world).await;
    let run = doctor(&world, &["--endpoint-url", &server.1], |_| {}).await;
    assert_names("unknown authority", &run, 1, &["tls", "identity"]);
    drop(server);

    // The clock of this machine, five hours ahead.
    let plain = world.command(&["doctor", "--json"]);
    let run = finish_ahead("+5h", &plain).await;
    let report = assert_names("clock", &run, 1, &["clock"]);
    assert!(report.to_string().contains("5 hours ahead of AWS"), "{report:#}");

    if !vaults(&world).await {
        eprintln!("skipped: only root can mount a small file system");
    }
}

/// Returns whether a small file system could be mounted.
async fn vaults(world: &World) -> bool {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |command: &mut Command| {
            command.env("BACKUP_DIR", path);
        }
    };
    let place = world.path("place");
    world.write("place", "a file");
    assert_names("a file", &doctor(world, &["backup"], at(&place)).await, 1, &["vault_writable"]);
    let open = world.path("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_names("open to all", &doctor(world, &["backup"], at(&open)).await, 1, &["vault_mode"]);
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o750)).unwrap();
    assert_names("well", &doctor(world, &["backup"], at(&open)).await, 0, &[]);
    assert_eq!(std::fs::read_dir(&open).unwrap().count(), 0, "nothing is left of the trial");

    let small = world.path("small");
    std::fs::create_dir(&small).unwrap();
    let mount = |options: &str| {
        let mut command = std::process::Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "none"]).arg(&small);
        command.status().is_ok_and(|status| status.success())
    };
    let is_mounted = mount("size=64k,mode=750");
    if is_mounted {
        let filled = std::fs::write(small.join("fill"), vec![1; 1 << 20]);
        assert!(filled.is_err(), "it is full");
        let full = doctor(world, &["backup"], at(&small)).await;
        let read_only =
            std::process::Command::new("mount").args(["-o", "remount,ro"]).arg(&small).status().unwrap();
        let read = doctor(world, &["backup"], at(&small)).await;
        assert!(std::process::Command::new("umount").arg(&small).status().unwrap().success());
        assert_names("full", &full, 1, &["vault_writable"]);
        assert!(read_only.success());
        assert_names("read-only", &read, 1, &["vault_writable"]);
    }

    let moto = Moto::start(&[]).await;
    let bucket = format!("s3://missing/x?endpoint={}", moto.endpoint());
    let run = doctor(world, &["backup", "--vault", &bucket], |_| {}).await;
    assert_names("missing bucket", &run, 1, &["vault_writable"]);
    let (code, said) = crate::support::aws_cli(&moto.endpoint(), &["s3", "mb", "s3://missing"]).await;
    assert_eq!(code, 0, "{said}");
    let run = doctor(world, &["backup", "--vault", &bucket], |_| {}).await;
    let report = assert_names("bucket", &run, 0, &[]);
    assert!(report.to_string().contains("vault_conditional"), "{report:#}");
    is_mounted
}

#[tokio::test(flavor = "multi_thread")]
async fn init_writes_a_file_that_status_policy_and_doctor_take() {
    let world = World::with_orders().await;
    let client = world.sns.clone();
    client.create_topic().name("db-alerts").send().await.unwrap();
    client.create_topic().name("newsletter").send().await.unwrap();
    let written = world.lifeboat(&["init", "--json"]).await.assert_code(0).json();
    assert_eq!(
        (&written["schema"], &written["databases"]),
        (&json!("lifeboat.init/1"), &json!(["orders-prod"]))
    );
    let text = std::fs::read_to_string(world.path("lifeboat.toml")).unwrap();
    assert_eq!(written["text"].as_str().unwrap(), text);
    for line in [
        "region = \"eu-central-1\"",
        "topic = \"db-alerts\"",
        "# topics here: db-alerts, newsletter",
        "[databases.orders-prod.drill]",
        "rto = \"1h\"",
    ] {
        assert!(text.lines().any(|it| it.starts_with(line)), "{line}:\n{text}");
    }
    let subscribe =
        client.subscribe().topic_arn("arn:aws:sns:eu-central-1:123456789012:db-alerts").protocol("sqs");
    subscribe.endpoint("arn:aws:sqs:eu-central-1:123456789012:inbox").send().await.unwrap();
    // The file says the Region now.
    for arguments in [&["status"][..], &["doctor"], &["alarms", "plan"]] {
        let mut command = world.command(arguments);
        command.env_remove("AWS_REGION");
        let run = finish(command.spawn().unwrap()).await;
        assert!(matches!(run.code, Some(0 | 1)) && !run.stderr.contains("error:"), "{arguments:?}: {run:?}");
        assert!(run.stdout.contains("orders-prod"), "{arguments:?}: {run:?}");
    }
    let check = world.lifeboat(&["policy", "check", "--json"]).await.assert_code(1).json();
    assert!(
        !check.to_string().contains("retention_short"),
        "what is so already falls short of nothing: {check:#}"
    );

    // It is never written over, and can be printed all the same.
    let again = world.lifeboat(&["init"]).await;
    again.assert_code(4).assert_says(&["`lifeboat.toml` is there: nothing was written", "--print"]);
    let printed = world.lifeboat(&["init", "--print"]).await;
    assert_eq!(printed.assert_code(0).stdout, text);
    // Several Regions, one of them without databases.
    let several = world.lifeboat(&["init", "--print", "--regions", "eu-central-1,eu-west-1"]).await;
    for line in
        ["name = \"123456789012\"", "regions = [\"eu-central-1\"]", "# without databases: \"eu-west-1\""]
    {
        assert!(
            several.assert_code(0).stdout.lines().any(|it| it.starts_with(line)),
            "{line}:\n{}",
            several.stdout
        );
    }
    // Without AWS.
    let mut command = world.command(&["init", "--config", "local.toml"]);
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env("DATABASE_URL", format!("sqlite://{}", world.path("my \"app\".db").display()));
    let run = finish(command.spawn().unwrap()).await;
    run.assert_code(0).assert_says(&["AWS was left out"]);
    let local = std::fs::read_to_string(world.path("local.toml")).unwrap();
    assert!(
        local.contains("[databases.\"my \\\"app\\\"\".backup]")
            && local.contains("url = \"env:DATABASE_URL\""),
        "{local}"
    );
    let mut command = world.command(&["init", "--config", "none.toml"]);
    command.env_remove("AWS_ACCESS_KEY_ID");
    finish(command.spawn().unwrap())
        .await
        .assert_code(3)
        .assert_says(&["no usable AWS credentials", "--no-aws"]);
    assert!(!world.path("none.toml").exists());
}
