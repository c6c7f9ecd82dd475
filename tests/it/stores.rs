//! The vault in a bucket: the same promises as in a directory, against an S3 that others wrote (moto), through a proxy that
//! loses answers, holds requests and moves the clock.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::offline::Offline;
use crate::support::{Moto, Run, World, aws_cli, finish, wait};

/// What befalls a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It is done, and its answer is lost.
    LoseAnswer,
    /// It arrives, and nothing happens with it any more.
    Hold,
}

struct Rule {
    method: &'static str,
    path: &'static str,
    /// So many are let through first.
    after: usize,
    fault: Fault,
    met: bool,
}

#[derive(Default)]
struct Faults {
    rules: Mutex<Vec<Rule>>,
    /// The first lines of all requests.
    seen: Mutex<Vec<String>>,
    /// How many seconds the clock of the store is ahead.
    ahead: AtomicI64,
    /// Connections that are open.
    open: AtomicI64,
    /// Whether the bucket has a default retention: then S3 refuses an upload without a checksum.
    is_locked: AtomicBool,
    /// Held by whoever writes: of S3's conditional writes one wins, and moto looks first and writes then.
    writing: tokio::sync::Mutex<()>,
}

/// A bucket `backups`, with the proxy before it.
pub(crate) struct Bucket {
    moto: Moto,
    proxy: u16,
    faults: Arc<Faults>,
}

impl Bucket {
    pub(crate) async fn start() -> Bucket {
        let moto = Moto::start(&[]).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (proxy, faults) = (listener.local_addr().unwrap().port(), Arc::new(Faults::default()));
        let (port, shared) = (moto.port, Arc::clone(&faults));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.open.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    pass_on(stream, port, Arc::clone(&shared)).await;
                    shared.open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        let bucket = Bucket { moto, proxy, faults };
        let able = [("x-amz-bucket-object-lock-enabled", "true")];
        assert_eq!(bucket.ask_with("PUT", "/backups", &able, "").await.0, 200);
        bucket
    }

    /// From now on every version that is written is kept for a day, and nobody can delete it.
    async fn retain_by_default(&self) {
        let rule = "<ObjectLockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><ObjectLockEnabled>Enabled</ObjectLockEnabled>\
                    <Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
        assert_eq!(self.ask("PUT", "/backups?object-lock", rule).await.0, 200);
        self.faults.is_locked.store(true, Ordering::Relaxed);
    }

    /// The URL of a vault in it.
    pub(crate) fn url(&self, prefix: &str) -> String {
        format!("s3://backups/{prefix}?endpoint=http://127.0.0.1:{}", self.proxy)
    }

    /// The first lines of all requests that came through the proxy, since it was last asked.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.faults.seen.lock().unwrap())
    }

    /// A request to moto itself.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.ask_with(method, path, &[], body).await
    }

    async fn ask_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.moto.port)).await.unwrap();
        // Whose it is does not matter to moto, only that it is somebody's.
        let somebody = "AWS4-HMAC-SHA256 Credential=test/20261122/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: {somebody}\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + body).as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (code, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    /// Names of the objects below a prefix, without the log and without locks that nobody holds any more.
    pub(crate) async fn objects(&self, prefix: &str) -> Vec<String> {
        let listed = self.ask("GET", &format!("/backups?list-type=2&prefix={prefix}/"), "").await.1;
        let keys = listed.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap());
        let names = keys.map(|key| key.trim_start_matches(prefix).trim_start_matches('/').to_owned());
        names.filter(|name| !name.starts_with("audit.jsonl/") && !name.starts_with(".locks/")).collect()
    }

    pub(crate) async fn uploads(&self) -> usize {
        self.ask("GET", "/backups?uploads", "").await.1.matches("<UploadId>").count()
    }

    fn fault(&self, method: &'static str, path: &'static str, after: usize, fault: Fault) {
        self.faults.rules.lock().unwrap().push(Rule { method, path, after, fault, met: false });
    }

    /// Waits until every fault has been met, and ends them.
    async fn met(&self, what: &str) {
        wait(what, async || self.faults.rules.lock().unwrap().iter().all(|rule| rule.met)).await;
        self.faults.rules.lock().unwrap().clear();
    }

    /// Waits until what a process had sent before it died has arrived, or never will.
    pub(crate) async fn settled(&self) {
        wait("the last requests", async || self.faults.open.load(Ordering::Relaxed) == 0).await;
    }

    /// Moves the clock of the store, so that locks of processes that have died are free at once.
    pub(crate) fn advance(&self, seconds: i64) {
        self.faults.ahead.fetch_add(seconds, Ordering::Relaxed);
    }
}

/// One request of one connection.
async fn pass_on(mut client: TcpStream, port: u16, faults: Arc<Faults>) -> Option<()> {
    let mut request = Vec::new();
    let end = loop {
        if let Some(at) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        client.read_buf(&mut request).await.ok().filter(|read| *read > 0)?;
    };
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)
        .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
    while request.len() < end + length {
        client.read_buf(&mut request).await.ok().filter(|read| *read > 0)?;
    }
    let line = String::from_utf8_lossy(&request[..end]).lines().next().unwrap().to_owned();
    faults.seen.lock().unwrap().push(line.clone());
    let mut fault = None;
    for rule in faults.rules.lock().unwrap().iter_mut() {
        if !rule.met && line.starts_with(rule.method) && line.contains(rule.path) {
            (rule.met, rule.after) = (rule.after == 0, rule.after.saturating_sub(1));
            fault = fault.or(rule.met.then_some(rule.fault));
        }
    }
    if fault == Some(Fault::Hold) {
        return std::future::pending().await;
    }
    let is_checked = head.contains("\r\nx-amz-checksum-") || head.contains("\r\ncontent-md5: ");
    if line.starts_with("PUT") && faults.is_locked.load(Ordering::Relaxed) && !is_checked {
        let part = if line.contains("partNumber") { "Put Part" } else { "Put Object" };
        let words = format!(
            "<Error><Code>InvalidRequest</Code><Message>Content-MD5 OR x-amz-checksum- HTTP header is required for {part} requests with Object Lock parameters</Message></Error>"
        );
        let refused = format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n{words}",
            words.len()
        );
        return client.write_all(refused.as_bytes()).await.ok();
    }
    let turn = if line.starts_with("GET") { None } else { Some(faults.writing.lock().await) };
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    // moto wants the algorithm named in a header of its own, which S3 does not.
    let is_named = is_checked && faults.is_locked.load(Ordering::Relaxed);
    let named: &[u8] = if is_named { b"x-amz-sdk-checksum-algorithm: SHA256\r\n" } else { b"" };
    server
        .write_all(&[&request[..end - 2], named, b"connection: close\r\n\r\n", &request[end..]].concat())
        .await
        .ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await.ok()?;
    drop(turn);
    if fault == Some(Fault::LoseAnswer) {
        return None;
    }
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let head: Vec<String> = head
        .split("\r\n")
        .map(|line| {
            match line.strip_prefix("Date: ").and_then(|date| DateTime::parse_from_rfc2822(date).ok()) {
                Some(date) => {
                    let there = date + TimeDelta::seconds(faults.ahead.load(Ordering::Relaxed));
                    format!("Date: {}", there.format("%a, %d %b %Y %H:%M:%S GMT"))
                }
                None => line.to_owned(),
            }
        })
        .collect();
    client.write_all(&[head.join("\r\n").as_bytes(), &answer[end..]].concat()).await.ok()
}

/// `lifeboat backup …` with the vault in a bucket.
async fn backup(place: &Offline, vault: &str, arguments: &[&str]) -> Run {
    place.backup(&[arguments, &["--vault", vault]].concat()).await
}

fn start(place: &Offline, vault: &str, arguments: &[&str]) -> Child {
    let all = [&["backup"], arguments, &["--vault", vault]].concat();
    place.command(&all).env("TMPDIR", place.path("tmp")).spawn().unwrap()
}

/// Content that goes up in three parts.
fn large(place: &Offline) -> String {
    place.database("large.db", "delete", 62_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_keeps_proves_restores_and_prunes_as_a_directory_does() {
    let (place, bucket) = (Offline::new(), Bucket::start().await);
    let (vault, url) = (bucket.url("team/a"), place.database("app.db", "wal", 500));
    let run = backup(&place, &vault, &["create", "--url", &url, "--name", "first", "--json"]).await;
    let manifest = run.assert_code(0).json();
    assert_eq!(manifest["file_path"], "s3://backups/team/a/first.sqlite.gz");
    assert_eq!(manifest["verification"]["result"], "pass");
    assert_eq!(bucket.objects("team/a").await, ["first.json", "first.sqlite.gz"]);
    // As it lies there, the usual tools read it.
    let (code, said) = aws_cli(
        &bucket.moto.endpoint(),
        &["s3", "cp", "s3://backups/team/a/first.sqlite.gz", place.path("first.gz").to_str().unwrap()],
    )
    .await;
    assert_eq!(code, 0, "{said}");
    let sum = Command::new("sha256sum").arg(place.path("first.gz")).output().await.unwrap();
    assert!(String::from_utf8_lossy(&sum.stdout).starts_with(manifest["sha256"].as_str().unwrap()));
    // Two at once: the later has the name, and none is lost.
    let named = ["create", "--url", &url, "--name", "same", "--verify", "checksum"];
    let (left, right) = tokio::join!(backup(&place, &vault, &named), backup(&place, &vault, &named));
    left.assert_code(0);
    right.assert_code(0);
    let list = backup(&place, &vault, &["list", "--json"]).await.assert_code(0).json();
    let names =
        list["backups"].as_array().unwrap().iter().map(|it| it["backup_name"].as_str().unwrap().to_owned());
    let moved = names.into_iter().find(|name| name.starts_with("same_20")).unwrap();
    let unnamed = ["create", "--url", &url, "--verify", "checksum"];
    let (left, right) = tokio::join!(backup(&place, &vault, &unnamed), backup(&place, &vault, &unnamed));
    left.assert_code(0);
    right.assert_code(0);
    let list = backup(&place, &vault, &["list", "--json"]).await.assert_code(0).json();
    assert_eq!(list["backups"].as_array().unwrap().len(), 5);
    backup(&place, &vault, &["verify", "--all"]).await.assert_code(0);
    backup(&place, &vault, &["restore", "first", "--into", "back.db"]).await.assert_code(0);
    assert_eq!(place.query("back.db", "select count(*) from filler"), "Integer(500)");
    backup(&place, &vault, &["keep", "first"]).await.assert_code(0);
    backup(&place, &vault, &["delete", "first", "--confirm", "first"]).await.assert_code(4);
    backup(&place, &vault, &["delete", "same", "--confirm", "same"]).await.assert_code(0);
    backup(&place, &vault, &["delete", &moved, "--confirm", &moved]).await.assert_code(0);
    let pruned = backup(&place, &vault, &["prune", "--json"]).await.assert_code(0).json();
    assert_eq!(pruned["verdicts"].as_array().unwrap().len(), 3);
    assert!(
        bucket.objects("team/a").await.iter().all(|name| !name.starts_with("same") && !name.starts_with('.'))
    );
    // A clock that is wrong by 40 days condemns nothing.
    bucket.advance(-40 * 86_400);
    let run = backup(&place, &vault, &["prune", "--keep-days", "0"]).await;
    assert_eq!(run.code, Some(4), "{run:?}");
    run.assert_says(&["clock is 40 days ahead of the vault"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_mid_upload_leaves_no_name_and_the_next_run_removes_the_parts() {
    let (place, bucket) = (Offline::new(), Bucket::start().await);
    fs::create_dir(place.path("tmp")).unwrap();
    let url = large(&place);
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    // Before the first part, between parts, at the end of the upload, at the proof, at the manifest, and after it.
    let moments = [
        ("POST", "?uploads", 0),
        ("PUT", "partNumber", 0),
        ("PUT", "partNumber", 2),
        ("POST", "uploadId=", 0),
        ("GET", "k4.sqlite", 0),
        ("PUT", "k5.json", 0),
        ("DELETE", ".k6.partial", 0),
    ];
    for (number, (method, path, after)) in moments.into_iter().enumerate() {
        let (vault, name) = (bucket.url("killed"), format!("k{number}"));
        bucket.fault(method, path, after, Fault::Hold);
        let create = [
            "create",
            "--url",
            &url,
            "--name",
            &name,
            "--no-compress",
            "--encrypt-to",
            &recipient,
            "--verify",
            "checksum",
        ];
        let mut child = start(&place, &vault, &create);
        bucket.met(&name).await;
        child.kill().await.unwrap();
        bucket.advance(60);
        let objects = bucket.objects("killed").await;
        let shows = |ending: &str| objects.contains(&format!("{name}{ending}"));
        assert_eq!(shows(".json"), number == 6, "{objects:?}");
        assert_eq!(shows(".sqlite.age"), number >= 4, "a name that is not complete: {objects:?}");
        let list = backup(&place, &vault, &["list", "--json"]).await;
        list.assert_code(0);
        assert!(!list.stderr.contains("has no manifest"), "{}", list.stderr);
        assert_eq!(list.json()["backups"].as_array().unwrap().len(), usize::from(number == 6));
        assert_eq!(fs::read_dir(place.path("tmp")).unwrap().count(), 0, "content lies on the disk");
        // Each run removes the parts that the one before it has left.
        assert_eq!(bucket.uploads().await, usize::from((1..=3).contains(&number)), "{name}");
    }
    let vault = bucket.url("killed");
    let small = place.database("small.db", "delete", 10);
    backup(&place, &vault, &["create", "--url", &small, "--name", "last"]).await.assert_code(0);
    let left = bucket.objects("killed").await;
    assert_eq!(left, ["k6.json", "k6.sqlite.age", "last.json", "last.sqlite.gz"]);
    assert_eq!(bucket.uploads().await, 0);
    backup(&place, &vault, &["verify", "k6", "--level", "checksum"]).await.assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_a_default_retention_is_written_and_its_locks_leave_few_versions() {
    let (place, bucket) = (Offline::new(), Bucket::start().await);
    bucket.retain_by_default().await;
    fs::create_dir(place.path("tmp")).unwrap();
    let (vault, url) = (bucket.url("kept"), large(&place));
    // In parts, read back, and proven.
    let whole = ["create", "--url", &url, "--name", "whole", "--no-compress"];
    backup(&place, &vault, &whole).await.assert_code(0);
    assert!(bucket.requests().iter().any(|line| line.contains("partNumber=3")));
    backup(&place, &vault, &["verify", "whole", "--level", "checksum"]).await.assert_code(0);
    backup(&place, &vault, &["keep", "whole"]).await.assert_code(0);
    // A lock that is held for long says that it will be renewed more rarely.
    bucket.fault("PUT", "partNumber=2", 0, Fault::Hold);
    let long = ["create", "--url", &url, "--name", "long", "--no-compress"];
    let mut child = start(&place, &vault, &long);
    bucket.met("the second part").await;
    let lasts = async || {
        let note = bucket.ask("GET", "/backups/kept/.long.partial", "").await.1;
        serde_json::from_str::<Value>(&note).unwrap()["lasts_seconds"].as_i64().unwrap_or(30)
    };
    wait("a renewal", async || lasts().await >= 78).await;
    child.kill().await.unwrap();
    let lasts = lasts().await;
    // Its maker is dead; until the time that it named is over, nobody takes it over.
    bucket.advance(40);
    let small = place.database("small.db", "delete", 10);
    backup(&place, &vault, &["create", "--url", &small, "--name", "next"]).await.assert_code(0);
    assert!(bucket.objects("kept").await.contains(&".long.partial".to_owned()));
    bucket.advance(lasts);
    backup(&place, &vault, &["create", "--url", &small, "--name", "last"]).await.assert_code(0);
    assert_eq!(bucket.uploads().await, 0);
    let left = bucket.objects("kept").await;
    let names = ["last.json", "last.sqlite.gz", "next.json", "next.sqlite.gz", "whole.json", "whole.sqlite"];
    assert_eq!(left, names);
    // Whoever turns the checksums off is told what the store says.
    let all = ["backup", "create", "--url", &small, "--name", "off", "--vault", &vault];
    let mut command = place.command(&all);
    command.env("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required");
    let run = finish(command.spawn().unwrap()).await;
    run.assert_code(3).assert_says(&["x-amz-checksum- HTTP header is required for Put Object requests"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_neither_fails_a_backup_nor_doubles_it() {
    let (place, bucket) = (Offline::new(), Bucket::start().await);
    let url = large(&place);
    let small = place.database("small.db", "delete", 10);
    let vault = bucket.url("lost");
    // Of every kind of request one, all in the making of one backup.
    for (method, path) in [
        ("PUT", ".a.partial"),
        ("POST", "?uploads"),
        ("PUT", "partNumber"),
        ("POST", "uploadId="),
        ("GET", "a.sqlite"),
        ("PUT", "a.json"),
        ("DELETE", ".a.partial"),
    ] {
        bucket.fault(method, path, 0, Fault::LoseAnswer);
    }
    let create = ["create", "--url", &url, "--name", "a", "--no-compress", "--verify", "checksum"];
    backup(&place, &vault, &create).await.assert_code(0);
    bucket.met("every fault").await;
    bucket.fault("PUT", "small.sqlite", 0, Fault::LoseAnswer);
    backup(&place, &vault, &["create", "--url", &small, "--name", "small", "--no-prune"])
        .await
        .assert_code(0);
    bucket.met("the small one").await;
    let expected = ["a.json", "a.sqlite", "small.json", "small.sqlite.gz"];
    assert_eq!(bucket.objects("lost").await, expected);
    backup(&place, &vault, &["verify", "--all", "--level", "checksum"]).await.assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_altered_or_replaced_in_a_bucket_is_found_and_refused() {
    let (place, bucket) = (Offline::new(), Bucket::start().await);
    let (vault, url) = (bucket.url("bad"), place.database("app.db", "delete", 20));
    backup(&place, &vault, &["create", "--url", &url, "--name", "a", "--no-compress"]).await.assert_code(0);
    let before = fs::read(place.path("app.db")).unwrap();
    let whole = bucket.ask("GET", "/backups/bad/a.sqlite", "").await.1;
    let cut: String = whole.chars().take(1000).collect();
    for (content, shown) in [(cut, "altered"), ("x".repeat(before.len()), "present")] {
        assert_eq!(bucket.ask("PUT", "/backups/bad/a.sqlite", &content).await.0, 200);
        let list = backup(&place, &vault, &["list", "--json"]).await.assert_code(0).json();
        assert_eq!(list["backups"][0]["file"], shown);
        let run = backup(&place, &vault, &["verify", "a", "--json"]).await;
        assert_eq!(run.assert_code(1).json()["backups"][0]["verification"]["result"], "fail");
        backup(&place, &vault, &["restore", "a", "--url", &url, "--confirm", "a"])
            .await
            .assert_code(1)
            .assert_says(&["was refused"]);
        assert_eq!(fs::read(place.path("app.db")).unwrap(), before);
    }
    assert!(bucket.ask("DELETE", "/backups/bad/a.sqlite", "").await.0 < 300);
    backup(&place, &vault, &["verify", "a"]).await.assert_code(1);
    // While it is being read.
    let url = large(&place);
    backup(
        &place,
        &vault,
        &["create", "--url", &url, "--name", "b", "--no-compress", "--verify", "checksum"],
    )
    .await
    .assert_code(0);
    bucket.fault("GET", "b.sqlite", 1, Fault::Hold);
    let child = start(&place, &vault, &["verify", "b", "--level", "checksum"]);
    bucket.met("the second piece").await;
    bucket.ask("PUT", "/backups/bad/b.sqlite", "another").await;
    // The held request comes to nothing; the ones after it must not read what is there now.
    drop(child);
    backup(&place, &vault, &["verify", "b", "--level", "checksum"]).await.assert_code(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_cannot_be_used_is_told_at_once_with_the_remedy() {
    let place = Offline::new();
    let bucket = Bucket::start().await;
    let strict = Moto::start(&[("INITIAL_NO_AUTH_ACTION_COUNT", "0")]).await;
    let url = place.database("app.db", "delete", 10);
    let nowhere = bucket.url("x").replace("backups", "nowhere");
    let denied = format!("s3://backups?endpoint={}", strict.endpoint());
    let cases = [
        (nowhere.as_str(), 2, "the bucket does not exist"),
        (&denied, 3, "InvalidAccessKeyId"),
        ("s3://backups?endpoint=http://127.0.0.1:1", 3, "Connection refused"),
        ("s3://key:canary-key@backups", 2, "it contains credentials"),
        ("s3://", 2, "it names no bucket"),
        ("s3://backups?wrong=1", 2, "`wrong` is not a known"),
        ("s3://backups?endpoint=nonsense", 2, "is not a URL"),
        ("ftp://backups/x", 2, "its scheme is not supported"),
    ];
    for (vault, code, words) in cases {
        for arguments in [&["create", "--url", &url][..], &["list"]] {
            let run = backup(&place, vault, arguments).await;
            assert_eq!(run.code, Some(code), "{vault}: {run:?}");
            run.assert_says(&[words]);
        }
    }
    let mut command = place.command(&["backup", "list", "--vault", &bucket.url("x")]);
    let run = finish(command.env_remove("AWS_ACCESS_KEY_ID").spawn().unwrap()).await;
    run.assert_code(3).assert_says(&["no usable AWS credentials"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn drills_baselines_and_parallel_dumps_of_postgresql_live_in_a_bucket_too() {
    let (world, bucket) = (World::with_orders().await, Bucket::start().await);
    let vault = bucket.url("pg");
    let in_bucket = async |arguments: &[&str]| {
        world.lifeboat(&[arguments, &["--vault", &vault, "--json"]].concat()).await
    };
    let app = world.url("orders-prod", "app").await;
    let create = [
        "backup",
        "create",
        "--url",
        &app,
        "--name",
        "parts",
        "--format",
        "custom",
        "--jobs",
        "2",
        "--globals",
    ];
    let manifest = in_bucket(&create).await.assert_code(0).json();
    assert_eq!(
        (&manifest["format"], &manifest["verification"]["result"]),
        (&"directory".into(), &"pass".into())
    );
    assert_eq!(bucket.objects("pg").await, ["parts.globals.sql", "parts.json", "parts.tar.gz"]);
    let restore = ["backup", "restore", "parts", "--url", &app, "--into", "copy", "--jobs", "2"];
    assert!(in_bucket(&restore).await.assert_code(0).json()["rows_checked"].as_u64().unwrap() > 800);
    let replace = ["backup", "restore", "parts", "--url", &app, "--confirm", "parts"];
    in_bucket(&replace).await.assert_code(0);
    in_bucket(&["backup", "undo", "--url", &app, "--confirm", "app"]).await.assert_code(0);
    // `copy` was made after the snapshot, which nothing proves.
    let drill = ["drill", "run", "orders-prod", "--poll", "200ms", "--from", "before", "--dbname", "app"];
    let report: Value = in_bucket(&drill).await.assert_code(0).json();
    let evidence = report["evidence"]["json"].as_str().unwrap();
    assert!(evidence.starts_with("s3://backups/pg/drills/orders-prod/"), "{evidence}");
    let run = report["run"].as_str().unwrap();
    assert_eq!(in_bucket(&["drill", "show", run]).await.assert_code(0).json()["verdict"], "pass");
    let list = in_bucket(&["drill", "list"]).await.assert_code(0).json();
    assert_eq!(list["drills"].as_array().unwrap().len(), 1);
    let recorded = in_bucket(&["verify", "record", &app]).await.assert_code(0).json();
    let seal = recorded["sha256"].as_str().unwrap();
    in_bucket(&["verify", seal, &app]).await.assert_code(0);
}
