//! Notifications: what changed is heard, through each kind of channel; what cannot be delivered changes nothing but stderr.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{Run, World, finish};
use crate::watch::{queue, topic};

/// What came in at a hook.
#[derive(Clone, Debug)]
struct Heard {
    path: String,
    head: String,
    body: String,
}

impl Heard {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        let found = lines.find(|line| line.to_lowercase().starts_with(&format!("{name}: ")));
        found.and_then(|line| line.split_once(": ")).map(|(_, value)| value)
    }
}

/// A server on this machine that hears everything and answers as it is told, then with 200.
pub(crate) struct Hook {
    port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
    answers: Arc<Mutex<VecDeque<&'static str>>>,
}

const HANG: &str = "hang";

impl Hook {
    pub(crate) async fn listen() -> Hook {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (heard, answers) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(VecDeque::new())));
        let hook = Hook {
            port: listener.local_addr().unwrap().port(),
            heard: Arc::clone(&heard),
            answers: Arc::clone(&answers),
        };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (heard, answers) = (Arc::clone(&heard), Arc::clone(&answers));
                tokio::spawn(async move {
                    let (mut text, mut buffer) = (Vec::new(), vec![0; 65_536]);
                    let (head, length) = loop {
                        let read = stream.read(&mut buffer).await.unwrap_or(0);
                        text.extend_from_slice(&buffer[..read]);
                        if let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") {
                            let head = String::from_utf8_lossy(&text[..end]).into_owned();
                            let length = head
                                .to_lowercase()
                                .lines()
                                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                            break (head, end + 4 + length.unwrap_or(0));
                        }
                        if read == 0 {
                            return;
                        }
                    };
                    while text.len() < length {
                        let read = stream.read(&mut buffer).await.unwrap();
                        text.extend_from_slice(&buffer[..read]);
                    }
                    let body = String::from_utf8_lossy(&text[head.len() + 4..]).into_owned();
                    let path = head.split(' ').nth(1).unwrap().to_owned();
                    heard.lock().unwrap().push(Heard { path, head, body });
                    let answer = answers.lock().unwrap().pop_front().unwrap_or("200 OK");
                    if answer == HANG {
                        tokio::time::sleep(Duration::from_secs(60)).await;
                    }
                    let answer =
                        format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        hook
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// What came in since the last time somebody asked.
    fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }

    /// What each of its paths was sent.
    pub(crate) fn bodies(&self) -> Vec<String> {
        let mut heard = self.heard.lock().unwrap().clone();
        heard.sort_by(|one, other| one.path.cmp(&other.path));
        heard.iter().map(|one| format!("{} {}", one.path, one.body)).collect()
    }

    fn answer(&self, answers: &[&'static str]) {
        *self.answers.lock().unwrap() = answers.iter().copied().collect();
    }
}

const KEY: &str = "canary-of-the-key";

/// Runs a command with the secrets of every channel in its environment; no output may show one.
async fn lifeboat(world: &World, hook: &Hook, arguments: &[&str]) -> Run {
    let mut command = world.command(arguments);
    command
        .env("SLACK_URL", hook.url("slack/T000/canary-slack"))
        .env("HOOK_KEY", KEY)
        .env("PING_URL", hook.url("ping/canary-uuid"));
    finish(command.spawn().unwrap()).await
}

async fn drill(world: &World, hook: &Hook, arguments: &[&str]) -> Run {
    let all = [&["drill", "run", "orders-prod", "--json", "--poll", "200ms"], arguments].concat();
    lifeboat(world, hook, &all).await
}

fn configure(world: &World, hook: &Hook, topic: &str) {
    world.write("hook.url", &format!("{}\n", hook.url("hook/canary-path")));
    world.write(
        "lifeboat.toml",
        &format!(
            r#"
            [notify.channels.oncall]
            kind = "sns"
            topic = "{topic}"
            [notify.channels.chat]
            kind = "slack"
            url_env = "SLACK_URL"
            [notify.channels.hook]
            kind = "webhook"
            url_file = "hook.url"
            secret_env = "HOOK_KEY"
            [notify.channels.switch]
            kind = "ping"
            url_env = "PING_URL"
            commands = ["drill run", "drill sweep"]
            "#
        ),
    );
}

fn of(heard: &[Heard], path: &str) -> Vec<Heard> {
    heard.iter().filter(|one| one.path.starts_with(path)).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_that_fails_is_heard_everywhere_once_it_is_well_again_too_and_silence_in_between() {
    let world = World::with_orders().await;
    let hook = Hook::listen().await;
    let topic = topic(&world, "pager").await;
    configure(&world, &hook, &topic);

    // Good news from the start is no news; the switch hears start and end, paired.
    drill(&world, &hook, &[]).await.assert_code(0);
    let heard = hook.take();
    assert_eq!(of(&heard, "/slack").len() + of(&heard, "/hook").len(), 0, "{heard:?}");
    let pings = of(&heard, "/ping");
    let run = pings[0].path.strip_prefix("/ping/canary-uuid/start?rid=").unwrap().to_owned();
    assert_eq!(pings[1].path, format!("/ping/canary-uuid/0?rid={run}"));

    // A drill that fails is heard of everywhere.
    let damage = json!({"database": "app", "sql": "delete from users where id = 407"});
    world.control("POST", "restored-sql", damage).await;
    let failed = drill(&world, &hook, &[]).await;
    failed.assert_code(1);
    let (report, heard) = (failed.json(), hook.take());
    let message = the_signed_message(&of(&heard, "/hook")[0]);
    assert_eq!(
        (&message["schema"], &message["state"], &message["severity"]),
        (&json!("lifeboat.notification/1"), &json!("fail"), &json!("critical"))
    );
    assert_eq!(
        (&message["database"], &message["command"], &message["change"]),
        (&json!("orders-prod"), &json!("drill run"), &json!("failed"))
    );
    assert_eq!(message["previous_state"], "ok");
    assert_eq!(message["reason"].as_str().unwrap(), report["reasons"][0].as_str().unwrap());
    assert_eq!(message["evidence"], report["evidence"]["html"]);
    assert!(!message["next_step"].as_str().unwrap().is_empty());
    let text = of(&heard, "/slack")[0].json()["text"].as_str().unwrap().to_owned();
    for words in ["*FAIL orders-prod: drill run*", "Reason: ", "Evidence: ", "Next: "] {
        assert!(text.contains(words), "{text}");
    }
    assert!(of(&heard, "/ping").last().unwrap().path.contains("/canary-uuid/1?rid="));
    the_topic_has_it(&world).await;

    // Good news after bad is news, once.
    drill(&world, &hook, &[]).await.assert_code(0);
    let heard = hook.take();
    assert_eq!(of(&heard, "/hook")[0].json()["change"], "recovered");
    assert_eq!(of(&heard, "/slack").len(), 1);
    let listed = lifeboat(&world, &hook, &["notify", "list", "--json"]).await;
    listed.assert_code(0);
    assert_eq!(listed.json()["states"][0]["state"], "ok");
    lifeboat(&world, &hook, &["drill", "sweep"]).await.assert_code(0);
    let heard = hook.take();
    assert_eq!((of(&heard, "/hook").len(), of(&heard, "/ping").len()), (0, 2));

    what_does_not_arrive_changes_nothing_but_stderr(&world, &hook).await;
    a_test_goes_through_each_channel(&world, &hook).await;
    conditions_are_told_when_they_change(&world, &hook).await;
}

/// As the README tells a receiver to check it, by another program.
fn the_signed_message(heard: &Heard) -> Value {
    let signature = heard.header("lifeboat-signature").unwrap();
    let (time, hash) = signature.split_once(",v1=").unwrap();
    let script = "import hmac,hashlib,sys;print(hmac.new(sys.argv[1].encode(),sys.argv[2].encode(),hashlib.sha256).hexdigest())";
    let signed = format!("{}.{}", time.strip_prefix("t=").unwrap(), heard.body);
    let done = std::process::Command::new("python3").args(["-c", script, KEY, &signed]).output().unwrap();
    assert_eq!(String::from_utf8(done.stdout).unwrap().trim(), hash);
    assert_eq!(heard.header("lifeboat-id"), heard.json()["id"].as_str());
    heard.json()
}

async fn the_topic_has_it(world: &World) {
    let messages = world.control("GET", "queues/pager", Value::Null).await;
    let envelope: Value = serde_json::from_str(messages[0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(envelope["Subject"], "FAIL orders-prod: drill run");
    assert_eq!(envelope["MessageAttributes"]["severity"]["Value"], "critical");
    assert_eq!(envelope["MessageAttributes"]["database"]["Value"], "orders-prod");
    assert_eq!(queue(world, "pager").await[0]["state"], "fail");
}

/// 500, a redirect to another host, a hook that hangs, nobody there, a secret that is not set.
async fn what_does_not_arrive_changes_nothing_but_stderr(world: &World, hook: &Hook) {
    let other = Hook::listen().await;
    let redirect = format!("302 Found\r\nlocation: {}", other.url("stolen"));
    let redirect: &'static str = Box::leak(redirect.into_boxed_str());
    // A drill that cannot begin says so quickly.
    let refused = ["drill", "run", "no-such-database", "--json"];
    for (answers, says, attempts) in [
        (vec!["500 Oops"; 9], "answered 500", 3),
        (vec![redirect], "a redirect is not followed", 1),
        (vec![HANG; 9], "no answer within 3 seconds", 2),
        (vec!["503 Busy", "200 OK"], "", 2),
    ] {
        world.write(
            "lifeboat.toml",
            &format!(
                "[notify.channels.hook]\nkind = \"webhook\"\nurl = \"{}\"\n",
                hook.url("hook/canary-path")
            ),
        );
        hook.take();
        hook.answer(&answers);
        let began = Instant::now();
        let run = lifeboat(world, hook, &refused).await;
        run.assert_code(2);
        // Two attempts of three seconds, and what a slow machine needs; far less than the hook hangs.
        assert!(began.elapsed() < Duration::from_secs(40), "{says}: it took {:?}", began.elapsed());
        assert_eq!(run.stderr.contains("channel `hook` was not told"), !says.is_empty(), "{}", run.stderr);
        assert!(says == "no answer within 3 seconds" || run.stderr.contains(says), "{says}: {}", run.stderr);
        let heard = hook.take();
        assert_eq!(heard.len(), attempts, "{says}");
        // What did not arrive is news again the next time.
        assert_eq!(heard[0].json()["change"], "failed");
    }
    assert_eq!(other.take().len(), 0, "a redirect was followed");
    hook.answer(&[]);
    for (channel, says) in [
        ("kind = \"webhook\"\nurl = \"http://127.0.0.1:1/canary\"".to_owned(), "could not be asked"),
        ("kind = \"slack\"\nurl_env = \"NOT_THERE\"".to_owned(), "`NOT_THERE`"),
        ("kind = \"slack\"\nurl_file = \"not-there\"".to_owned(), "`not-there`"),
        (
            "kind = \"sns\"\ntopic = \"arn:aws:sns:eu-central-1:123456789012:nothing\"".to_owned(),
            "Topic does not exist",
        ),
    ] {
        world.write("lifeboat.toml", &format!("[notify.channels.x]\n{channel}\n"));
        let run = lifeboat(world, hook, &refused).await;
        run.assert_code(2).assert_says(&["channel `x` was not told", says]);
    }
    // A secret in the wrong place is not repeated.
    for channel in [
        "kind = \"slack\"\nurl = \"https://hooks.slack.com/canary\"",
        "kind = \"webhook\"\nurl = \"https://x/\"\nsecret = \"canary\"",
    ] {
        world.write("lifeboat.toml", &format!("[notify.channels.x]\n{channel}\n"));
        lifeboat(world, hook, &refused).await.assert_code(2).assert_says(&["line ", "secret"]);
    }
}

async fn a_test_goes_through_each_channel(world: &World, hook: &Hook) {
    let topic = format!("arn:aws:sns:{}:123456789012:pager", crate::support::REGION);
    configure(world, hook, &topic);
    hook.take();
    let test = lifeboat(world, hook, &["notify", "test", "--json"]).await;
    test.assert_code(0);
    assert_eq!(test.json()["channels"].as_array().unwrap().len(), 4);
    let heard = hook.take();
    assert_eq!(of(&heard, "/hook")[0].json()["change"], "test");
    assert!(of(&heard, "/ping")[0].path.ends_with("/log"));
    hook.answer(&["404 Not Found"]);
    let partly = lifeboat(world, hook, &["notify", "test", "chat", "oncall"]).await;
    partly.assert_code(5);
    assert!(partly.stdout.contains("answered 404"), "{}", partly.stdout);
    hook.answer(&["404 Not Found"]);
    lifeboat(world, hook, &["notify", "test", "chat"]).await.assert_code(3);
    lifeboat(world, hook, &["notify", "test", "nobody"]).await.assert_code(2);
    let digest = lifeboat(world, hook, &["notify", "digest"]).await;
    digest.assert_code(0);
    assert!(hook.take().iter().any(|one| one.body.contains("still watching")));
}

/// `status` every quarter of an hour: a finding that lasts is told once.
async fn conditions_are_told_when_they_change(world: &World, hook: &Hook) {
    hook.take();
    // The mysql record has no backups, which is critical.
    world.create_record("legacy").await;
    world.until_status("legacy", "available").await;
    let modify = world.rds.modify_db_instance().db_instance_identifier("legacy").backup_retention_period(0);
    modify.apply_immediately(true).send().await.unwrap();
    world.until_status("legacy", "available").await;
    let mut told = Vec::new();
    for _ in 0..2 {
        lifeboat(world, hook, &["status", "--json"]).await.assert_code(1);
        let heard = hook.take();
        told.push(of(&heard, "/hook").iter().filter(|one| one.json()["database"] == "legacy").count());
        assert_eq!(of(&heard, "/ping").len(), 0, "the switch is not for this command");
    }
    assert_eq!(told, [1, 0]);
}
