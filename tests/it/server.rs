//! `lifeboat serve`: the REST API as applications call it, and as those do who should not.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::backup::Place;
use crate::support::{PASSWORD, World, finish, wait};

/// A server that answers.
struct Serving {
    child: Child,
    address: String,
    _rest: tokio::task::JoinHandle<()>,
}

/// What was answered.
#[derive(Debug)]
#[must_use = "look at the answer"]
struct Answered {
    status: u16,
    head: String,
    text: String,
}

impl Answered {
    #[track_caller]
    fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.text);
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// A refusal has the same shape wherever it comes from.
    #[track_caller]
    fn refusal(&self, status: u16) -> Value {
        let body = self.json(status);
        assert_eq!(body["success"], false);
        assert!(!body["error"].as_str().unwrap().is_empty());
        assert!(body.as_object().unwrap().contains_key("backup_name"), "{body}");
        let _: chrono::DateTime<chrono::Utc> = body["timestamp"].as_str().unwrap().parse().unwrap();
        body
    }

    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

impl Serving {
    async fn start(mut command: Command) -> Serving {
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await.unwrap().unwrap();
        let line = line.unwrap_or_default();
        let Some(address) = line.strip_prefix("listening on http://") else {
            let done = child.wait_with_output().await.unwrap();
            panic!("it does not listen: {line}{}", String::from_utf8_lossy(&done.stderr));
        };
        let rest = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Serving { address: address.to_owned(), child, _rest: rest }
    }

    async fn of_place(place: &Place, url: &str, flags: &[&str]) -> Serving {
        let mut command = place.command(&[&["serve", "--listen", "127.0.0.1:0"], flags].concat());
        command.env("DATABASE_URL", url);
        Serving::start(command).await
    }

    /// Sends bytes, and reads what comes.
    async fn raw(&self, request: &[u8]) -> Answered {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let mut answer = Vec::new();
        let (mut reading, mut writing) = stream.split();
        // A server that has heard enough closes while we still send.
        let sending = async {
            let _ = writing.write_all(request).await;
        };
        let receiving = tokio::time::timeout(Duration::from_secs(90), reading.read_to_end(&mut answer));
        let ((), received) = tokio::join!(sending, receiving);
        let _ = received.expect("an answer comes");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        assert!(!answer.contains(PASSWORD), "a secret was answered: {answer}");
        Answered { status, head: head.to_owned(), text: text.to_owned() }
    }

    async fn call_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answered {
        let mut request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(key, _)| *key == "host") {
            request.push_str(&format!("host: {}\r\n", self.address));
        }
        for (key, value) in headers {
            request.push_str(&format!("{key}: {value}\r\n"));
        }
        if !body.is_empty() {
            if !headers.iter().any(|(key, _)| *key == "content-type") {
                request.push_str("content-type: application/json\r\n");
            }
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str(&format!("\r\n{body}"));
        self.raw(request.as_bytes()).await
    }

    async fn get(&self, path: &str) -> Answered {
        self.call_with("GET", path, &[], "").await
    }

    async fn post(&self, path: &str, body: &Value) -> Answered {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.call_with("POST", path, &[], &body).await
    }

    async fn delete(&self, path: &str) -> Answered {
        self.call_with("DELETE", path, &[], "").await
    }

    async fn job(&self, id: &str) -> Value {
        self.get(&format!("/api/backup/jobs/{id}")).await.json(200)
    }

    fn signal(&self, name: &str) {
        let process = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([name, &process]).status().unwrap().success());
    }

    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    async fn stop(mut self) -> Option<i32> {
        self.signal("-TERM");
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await;
        ended.expect("it stops").unwrap().code()
    }
}

fn database(place: &Place, name: &str, rows: usize) -> String {
    let connection = rusqlite::Connection::open(place.path(name)).unwrap();
    connection
        .execute_batch(&format!(
            "pragma journal_mode = wal; create table accounts (id integer primary key, text);
             with recursive n (i) as (select 1 union all select i + 1 from n where i < {rows})
             insert into accounts select i, hex(randomblob(100)) from n;"
        ))
        .unwrap();
    format!("sqlite://{}", place.path(name).display())
}

fn rows(path: &Path) -> i64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row("select count(*) from accounts", [], |row| row.get(0)).unwrap()
}

fn audit(place: &Place) -> Vec<Value> {
    let text = fs::read_to_string(place.path("vault/audit.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_makes_lists_counts_restores_and_deletes_backups() {
    let place = Place::new();
    let url = database(&place, "app.db", 2000);
    let server = Serving::of_place(&place, &url, &[]).await;
    let made = server
        .post("/api/backup/create", &json!({"backup_name": "first", "compress": false}))
        .await
        .json(201);
    assert_eq!(
        (&made["success"], &made["backup_name"], &made["compressed"]),
        (&json!(true), &json!("first"), &json!(false))
    );
    assert_eq!(made["database_type"], "sqlite");
    assert!(
        fs::metadata(made["file_path"].as_str().unwrap()).unwrap().len()
            == made["file_size"].as_u64().unwrap()
    );
    assert!(made["duration"].as_f64().unwrap() > 0.0);
    let second = server.post("/api/backup/create", &Value::Null).await.json(201);
    assert_eq!(second["compressed"], true);

    let list = server.get("/api/backup/list").await.json(200);
    let names: Vec<&str> =
        list["backups"].as_array().unwrap().iter().map(|it| it["backup_name"].as_str().unwrap()).collect();
    assert_eq!(names, [second["backup_name"].as_str().unwrap(), "first"]);
    assert_eq!(list["statistics"]["total_backups"], 2);
    assert_eq!(list["statistics"]["backup_directory"], place.path("vault").display().to_string());
    let statistics = server.get("/api/backup/statistics").await.json(200);
    assert!(statistics["total_size_mb"].as_f64().unwrap() > 0.1);

    // What replaces a database is confirmed with the name, and what was not confirmed has cost nothing.
    rusqlite::Connection::open(place.path("app.db"))
        .unwrap()
        .execute("delete from accounts where id > 5", [])
        .unwrap();
    for body in [Value::Null, json!({}), json!({"confirm": "yes"})] {
        let told = server.post("/api/backup/restore/first", &body).await.refusal(400);
        assert_eq!(told["backup_name"], "first");
        assert!(told["hints"].to_string().contains("confirm"), "{told}");
    }
    assert_eq!(rows(&place.path("app.db")), 5);
    let restored = server.post("/api/backup/restore/first", &json!({"confirm": "first"})).await.json(200);
    assert_eq!((&restored["success"], &restored["backup_name"]), (&json!(true), &json!("first")));
    assert_eq!(rows(&place.path("app.db")), 2000);

    let proven = server.post("/api/backup/verify/first", &json!({"level": "restore"})).await.json(200);
    assert_eq!(proven["verification"]["level"], "restore");
    let gone = server.delete("/api/backup/delete/first").await.json(200);
    assert_eq!(gone["backup_name"], "first");
    server.delete("/api/backup/delete/first").await.refusal(404);
    let _ = server
        .delete(&format!("/api/backup/delete/{}", restored["kept_old"].as_str().unwrap()))
        .await
        .json(200);
    // The last good copy of a database is kept until somebody insists.
    let last = format!("/api/backup/delete/{}", second["backup_name"].as_str().unwrap());
    let kept = server.delete(&last).await.refusal(409);
    assert!(kept["error"].as_str().unwrap().contains("last good one"), "{kept}");
    let _ = server.delete(&format!("{last}?allow_last_copy=true")).await.json(200);

    let lines = audit(&place);
    let of = |what: &str| -> Vec<&str> {
        let lines = lines.iter().filter(|line| line["what"] == what && line["trigger"] == "api");
        lines.map(|line| line["result"].as_str().unwrap()).collect()
    };
    assert_eq!(of("backup restore"), ["begun", "done"]);
    assert_eq!(of("backup delete").iter().filter(|result| **result == "failed").count(), 1);
    wait("the lines of reads", async || {
        audit(&place).iter().any(|line| line["what"] == "GET /api/backup/statistics")
    })
    .await;
    let begun = lines.iter().find(|line| line["what"] == "backup restore").unwrap();
    assert_eq!(begun["request"], restored["request_id"]);
    assert_eq!(server.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_exact_and_nothing_that_a_client_writes_moves_them() {
    let place = Place::new();
    let url = database(&place, "app.db", 10);
    let server = Serving::of_place(&place, &url, &[]).await;
    for _ in 0..3 {
        let _ = server.post("/api/backup/create", &Value::Null).await.json(201);
    }
    for number in 0..4 {
        let spoofed = format!("10.0.0.{number}");
        let headers = [
            ("x-forwarded-for", spoofed.as_str()),
            ("x-real-ip", &spoofed),
            ("forwarded", &format!("for={spoofed}")),
        ];
        let answer = server.call_with("POST", "/api/backup/create", &headers, "").await;
        let told = answer.refusal(429);
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((3500..=3600).contains(&seconds), "{told}");
    }
    for number in 0..21 {
        let answer = server.get("/api/backup/list").await;
        assert_eq!(answer.status, if number < 20 { 200 } else { 429 }, "list {number}");
    }
    for number in 0..31 {
        let answer = server.get("/api/backup/statistics").await;
        assert_eq!(answer.status, if number < 30 { 200 } else { 429 }, "statistics {number}");
    }
    for number in 0..11 {
        let answer = server.delete("/api/backup/delete/none").await;
        assert_eq!(answer.status, if number < 10 { 404 } else { 429 }, "delete {number}");
    }
    for number in 0..3 {
        let answer = server.post("/api/backup/restore/none", &json!({"confirm": "none"})).await;
        assert_eq!(answer.status, if number < 2 { 404 } else { 429 }, "restore {number}");
    }
    let _ = server.get("/healthz").await.json(200);
    // Of refusals there is a line, not one for each.
    wait("the line of a refusal", async || audit(&place).iter().any(|line| line["status"] == 429)).await;
    assert!(audit(&place).iter().filter(|line| line["status"] == 429).count() <= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_bodies_hosts_and_origins_reach_nothing() {
    let place = Place::new();
    let url = database(&place, "app.db", 10);
    fs::write(place.path("outside.json"), "{}").unwrap();
    let server = Serving::of_place(&place, &url, &[]).await;
    let long = "a".repeat(10_000);
    let names = [
        "..%2F..%2Fetc%2Fpasswd",
        "%00",
        "a%00b",
        "-rf",
        "%2e%2e",
        "%ff",
        ".hidden",
        "a%20b",
        "a..b",
        &long,
        "..%5Cx",
        "%E2%80%AEx",
    ];
    for name in names {
        for (method, path, body) in [
            ("POST", "restore", json!({"confirm": name}).to_string()),
            ("DELETE", "delete", String::new()),
            ("POST", "verify", String::new()),
        ] {
            let answer = server.call_with(method, &format!("/api/backup/{path}/{name}"), &[], &body).await;
            assert!([400, 404, 414].contains(&answer.status), "{method} {path} {name}: {answer:?}");
        }
        let _ = server.post("/api/backup/create", &json!({"backup_name": name})).await.refusal(400);
    }
    for path in [
        "/../../etc/passwd",
        "/api/backup/restore/../../x",
        "/api//backup/list",
        "/api/backup/restore/",
        "/nothing",
    ] {
        let answer = server.get(path).await;
        assert!([400, 404, 405].contains(&answer.status), "{path}: {answer:?}");
    }
    let _ = server.get("/api/backup/create").await.refusal(405);
    let nested = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let bodies = [
        "{",
        "[]",
        "1",
        "\"x\"",
        "{\"compress\": \"yes\"}",
        "{\"backup_name\": 5}",
        "{\"compress\": 1}",
        "{\"unknown\": 1}",
        "{\"async\": null}",
        "{\"backup_name\": {\"a\": 1}}",
        "\u{0}",
        &nested,
    ];
    for body in bodies {
        let _ = server.call_with("POST", "/api/backup/create", &[], body).await.refusal(400);
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let _ = server.call_with("POST", "/api/backup/create", &form, "backup_name=x").await.refusal(415);
    // A gigabyte that is claimed is refused before it is sent, and one that is not claimed as soon as it is too much.
    let claimed = format!(
        "POST /api/backup/create HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        1 << 30
    );
    let _ = server.raw(claimed.as_bytes()).await.refusal(413);
    let mut chunked = b"POST /api/backup/create HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n".to_vec();
    chunked.extend(b"20000\r\n");
    chunked.extend(vec![b' '; 0x20000]);
    let _ = server.raw(&chunked).await.refusal(413);

    for host in ["evil.example", "localhost.evil.example", "10.0.0.1:5000", "127.0.0.1.evil.example"] {
        let _ = server.call_with("GET", "/api/backup/list", &[("host", host)], "").await.refusal(403);
    }
    let _ = server.raw(b"GET /api/backup/list HTTP/1.1\r\nconnection: close\r\n\r\n").await.refusal(400);
    let _ = server.raw(b"GET /api/backup/list HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\nconnection: close\r\n\r\n").await.refusal(400);
    for origin in ["https://evil.example", "null", "http://127.0.0.1.evil.example", "file://"] {
        let _ = server.call_with("POST", "/api/backup/create", &[("origin", origin)], "").await.refusal(403);
    }
    let _ = server
        .call_with("POST", "/api/backup/create", &[("sec-fetch-site", "cross-site")], "")
        .await
        .refusal(403);
    let _ =
        server.call_with("GET", "/api/backup/list", &[("authorization", "Bearer x")], "").await.refusal(401);
    // None of it has made a backup, and none of it has cost the application one of its three.
    for _ in 0..3 {
        let origin = format!("http://{}", server.address);
        let _ = server.call_with("POST", "/api/backup/create", &[("origin", &origin)], "").await.json(201);
    }
    assert_eq!(place.files().iter().filter(|name| name.ends_with(".sqlite.gz")).count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn elsewhere_a_token_is_needed_and_is_good_for_what_it_says() {
    let place = Place::new();
    let url = database(&place, "app.db", 10);
    let refused = finish(place.command(&["serve", "--listen", "0.0.0.0:0"]).spawn().unwrap()).await;
    refused.assert_code(2).assert_says(&["there are no tokens", "serve token add"]);
    let token = async |arguments: &[&str]| {
        let run = finish(place.command(&[&["serve", "token"], arguments].concat()).spawn().unwrap()).await;
        run.assert_code(0);
        run.stdout.trim().to_owned()
    };
    let reader = token(&["add", "reader"]).await;
    let maker = token(&["add", "maker", "--scope", "create,read"]).await;
    let again = finish(place.command(&["serve", "token", "add", "maker"]).spawn().unwrap()).await;
    again.assert_code(2).assert_says(&["already"]);
    let kept = fs::read_to_string(place.path("vault/serve/tokens.json")).unwrap();
    assert!(!kept.contains(&reader) && !kept.contains(&maker));
    let mut command = place.command(&["serve", "--listen", "0.0.0.0:0"]);
    command.env("DATABASE_URL", &url);
    let mut server = Serving::start(command).await;
    server.address = server.address.replace("0.0.0.0", "127.0.0.1");
    let with = |token: &str| format!("Bearer {token}");
    let _ = server.get("/healthz").await.json(200);
    for path in ["/api/backup/list", "/metrics", "/api/status"] {
        let answer = server.get(path).await;
        let _ = answer.refusal(401);
        assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
    }
    let reading = with(&reader);
    let reading = [("authorization", reading.as_str())];
    let _ = server.call_with("GET", "/api/backup/list", &reading, "").await.json(200);
    let _ = server.call_with("POST", "/api/backup/create", &reading, "").await.refusal(403);
    // Those who fail take nothing from those who are known, though they come from the same address.
    for number in 0..30 {
        let answer =
            server.call_with("POST", "/api/backup/create", &[("authorization", "Bearer guess")], "").await;
        assert!([401, 429].contains(&answer.status), "{number}: {answer:?}");
    }
    let making = with(&maker);
    let making = [("authorization", making.as_str())];
    for _ in 0..3 {
        let _ = server.call_with("POST", "/api/backup/create", &making, "").await.json(201);
    }
    let _ = server.call_with("POST", "/api/backup/create", &making, "").await.refusal(429);
    let _ = server.call_with("GET", "/api/backup/list", &making, "").await.json(200);
    // A browser logs in with a token, and its cookie acts from pages of this site only.
    let asked = server.get("/").await;
    assert_eq!(asked.status, 401);
    assert!(asked.text.contains("type=\"password\"") && !asked.text.contains("vault"), "{}", asked.text);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(server.call_with("POST", "/login", &form, "token=guess").await.status, 401);
    let logged_in = server.call_with("POST", "/login", &form, &format!("token={maker}")).await;
    let cookie = logged_in.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(server.call_with("GET", "/", &[("cookie", cookie)], "").await.status, 200);
    let foreign = [("cookie", cookie), ("origin", "https://evil.example")];
    let _ = server.call_with("POST", "/api/backup/create", &foreign, "").await.refusal(403);
    token(&["revoke", "maker"]).await;
    let _ = server.call_with("GET", "/api/backup/list", &making, "").await.refusal(429);
    let _ = server.call_with("GET", "/api/backup/list", &reading, "").await.json(200);
    for line in audit(&place) {
        let line = line.to_string();
        assert!(!line.contains(&reader) && !line.contains(&maker), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_served_is_said_with_a_fitting_exit_code() {
    let place = Place::new();
    let url = database(&place, "app.db", 10);
    let server = Serving::of_place(&place, &url, &[]).await;
    let taken = finish(place.command(&["serve", "--listen", &server.address]).spawn().unwrap()).await;
    taken.assert_code(3).assert_says(&["cannot listen", "--listen"]);
    let nonsense = finish(place.command(&["serve", "--listen", "nonsense"]).spawn().unwrap()).await;
    nonsense.assert_code(2).assert_says(&["not an address"]);
    fs::write(place.path("file"), "").unwrap();
    let closed =
        finish(place.command(&["serve", "--vault", "file", "--listen", "127.0.0.1:0"]).spawn().unwrap())
            .await;
    closed.assert_code(3).assert_says(&["vault"]);
    // An audit log that cannot be written: nothing destructive is done, reads go on.
    let _ = server.post("/api/backup/create", &json!({"backup_name": "kept"})).await.json(201);
    wait("the lines so far", async || !audit(&place).is_empty()).await;
    fs::remove_file(place.path("vault/audit.jsonl")).unwrap();
    fs::create_dir(place.path("vault/audit.jsonl")).unwrap();
    for (method, path) in
        [("DELETE", "/api/backup/delete/kept?allow_last_copy=true"), ("POST", "/api/backup/restore/kept")]
    {
        let body = if method == "POST" { json!({"confirm": "kept"}).to_string() } else { String::new() };
        let told = server.call_with(method, path, &[], &body).await.refusal(503);
        assert!(told["error"].as_str().unwrap().contains("nothing was done"), "{told}");
    }
    let list = server.get("/api/backup/list").await.json(200);
    assert_eq!(list["backups"][0]["backup_name"], "kept");
    wait("readyz to notice", async || server.get("/readyz").await.status == 503).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_a_create_and_in_a_restore_it_leaves_nothing_half_made() {
    let place = Place::new();
    let url = database(&place, "app.db", 400_000);
    let server = Serving::of_place(&place, &url, &[]).await;
    let begun = server.post("/api/backup/create", &json!({"async": true, "backup_name": "killed"})).await;
    let job = begun.json(202)["job"].as_str().unwrap().to_owned();
    assert_eq!(begun.header("location"), Some(format!("/api/backup/jobs/{job}").as_str()));
    // One at a time; the second is told which job is at it.
    let busy = server.post("/api/backup/create", &Value::Null).await.refusal(409);
    assert_eq!(busy["job"], job.as_str());
    wait("the copy to be under way", async || server.job(&job).await["phase"] == "copying").await;
    server.kill().await;
    assert_eq!(place.files().iter().filter(|name| name.starts_with("killed")).count(), 0);

    let server = Serving::of_place(&place, &url, &[]).await;
    let found = server.job(&job).await;
    assert_eq!(found["state"], "interrupted", "{found}");
    assert!(place.unfinished().iter().all(|name| !name.contains("killed")), "{:?}", place.unfinished());
    let key = [("idempotency-key", "nightly-1")];
    let made =
        server.call_with("POST", "/api/backup/create", &key, "{\"backup_name\": \"whole\"}").await.json(201);
    let again = server.call_with("POST", "/api/backup/create", &key, "{\"backup_name\": \"whole\"}").await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json(201)["sha256"], made["sha256"]);
    let _ = server
        .call_with("POST", "/api/backup/create", &key, "{\"backup_name\": \"other\"}")
        .await
        .refusal(422);

    rusqlite::Connection::open(place.path("app.db"))
        .unwrap()
        .execute("delete from accounts where id > 399990", [])
        .unwrap();
    let body = json!({"confirm": "whole"}).to_string();
    let begun =
        server.call_with("POST", "/api/backup/restore/whole", &[("prefer", "respond-async")], &body).await;
    let job = begun.json(202)["job"].as_str().unwrap().to_owned();
    wait("the restore to be under way", async || {
        let phases = ["checking the backup", "restoring", "backing up what is there now", "copying"];
        server.job(&job).await["phase"].as_str().is_some_and(|phase| phases[1..].contains(&phase))
    })
    .await;
    server.kill().await;
    assert!([399_990, 400_000].contains(&rows(&place.path("app.db"))), "the database is neither old nor new");

    let server = Serving::of_place(&place, &url, &[]).await;
    assert_eq!(server.job(&job).await["state"], "interrupted");
    let _ = server.post("/api/backup/restore/whole", &json!({"confirm": "whole"})).await.json(200);
    assert_eq!(rows(&place.path("app.db")), 400_000);
    // Asked to stop, it lets what runs come to a safe end, and says what became of it.
    let begun =
        server.post("/api/backup/create", &json!({"async": true, "backup_name": "stopped"})).await.json(202);
    let job = begun["job"].as_str().unwrap().to_owned();
    assert_eq!(server.stop().await, Some(0));
    let record: Value =
        serde_json::from_slice(&fs::read(place.path(&format!("vault/jobs/{job}.json"))).unwrap()).unwrap();
    let is_made = place.files().contains(&"stopped.json".to_owned());
    assert_eq!(record["state"], if is_made { "succeeded" } else { "interrupted" }, "{record}");
    assert_eq!(place.unfinished(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_backed_up_and_restored_over_the_api_and_no_password_comes_out() {
    let world = World::new().await;
    world.create("orders-prod").await;
    world.fill("orders-prod").await;
    let url = world.url("orders-prod", "app").await.replacen("owner@", &format!("owner:{PASSWORD}@"), 1);
    world
        .write("lifeboat.toml", "[databases.orders.backup]\nurl = \"env:ORDERS_URL\"\nformat = \"custom\"\n");
    let mut command = world.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("ORDERS_URL", &url).env_remove("PGPASSWORD");
    let server = Serving::start(command).await;
    let before = server.get("/api/status").await.json(200);
    assert_eq!(
        (&before["health"], &before["databases"][0]["findings"][0]["code"]),
        (&json!("at_risk"), &json!("no_backup"))
    );
    let _ = server.post("/api/backup/create", &json!({"database": "none"})).await.refusal(400);
    let made = server.post("/api/backup/create", &json!({"backup_name": "before"})).await.json(201);
    assert_eq!(
        (&made["database"], &made["database_type"], &made["format"]),
        (&json!("orders"), &json!("postgresql"), &json!("custom"))
    );
    world.sql("orders-prod", "app", "delete from jobs where id > 100").await;
    let restored = server.post("/api/backup/restore/before", &json!({"confirm": "before"})).await.json(200);
    assert_eq!(world.sql("orders-prod", "app", "select count(*) from jobs").await, "300");
    let old = restored["kept_old"].as_str().unwrap();
    assert_eq!(world.sql("orders-prod", old, "select count(*) from jobs").await, "100");
    let metrics = server.get("/metrics").await;
    for metric in [
        "lifeboat_last_verified_timestamp_seconds{database=\"orders\"}",
        "lifeboat_backup_rto_seconds{database=\"orders\"}",
        "lifeboat_vault_free_bytes ",
    ] {
        assert!(metrics.text.contains(metric), "{}", metrics.text);
    }
    let drills = server.get("/api/drills").await.json(200);
    assert_eq!(drills["drills"], json!([]));
    assert_eq!(server.get("/api/runs").await.json(200)["runs"], json!([]));
    // A database that cannot be reached is said to be so, without its password.
    let vault = world.path("vault");
    let World { stack, .. } = world;
    stack.stop().await;
    let _ = server.post("/api/backup/create", &Value::Null).await.refusal(502);
    for file in ["audit.jsonl", "before.json"] {
        let text = fs::read_to_string(vault.join(file)).unwrap();
        assert!(!text.contains(PASSWORD), "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_runs_and_loads_nothing_that_is_not_its_own() {
    let place = Place::new();
    let url = database(&place, "app.db", 10);
    let server = Serving::of_place(&place, &url, &[]).await;
    let _ = server.post("/api/backup/create", &json!({"backup_name": "first"})).await.json(201);
    // Whoever can write to the vault must not be able to write the page.
    let path = place.path("vault/first.json");
    let hostile = fs::read_to_string(&path)
        .unwrap()
        .replace("\"database\": \"app\"", "\"database\": \"<script>alert(1)</script>\"");
    fs::write(&path, hostile).unwrap();
    let page = server.get("/").await;
    assert_eq!(page.status, 200, "{}", page.text);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(page.text.contains("&lt;script&gt;alert(1)"), "{}", page.text);
    assert!(
        !page.text.contains("<script>") && !page.text.contains(" style=") && !page.text.contains(" onclick"),
        "{}",
        page.text
    );
    for asset in page.text.split('"').filter(|word| word.starts_with("/assets/")) {
        assert_eq!(server.get(asset).await.status, 200, "{asset}");
    }
    assert_eq!(server.get("/drills/..%2F..%2Fetc/passwd/evidence.html").await.status, 404);
    assert_eq!(server.get("/assets/none").await.status, 404);
}

/// Whether a value is as a schema of the document says; of JSON Schema, what the document uses.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let found =
            document.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference}"));
        return check(document, found, value, at);
    }
    if let Some(expected) = schema.get("const") {
        assert_eq!(value, expected, "{at}");
    }
    if let Some(known) = schema["enum"].as_array() {
        assert!(known.contains(value), "{at}: {value}");
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is = |kind: &&str| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    };
    assert!(kinds.is_empty() || kinds.iter().any(is), "{at}: {value} is no {kinds:?}");
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(value.get(key).is_some(), "{at} lacks {key}: {value}");
    }
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(key) {
            check(document, schema, value, &format!("{at}.{key}"));
        }
    }
    if let Some(items) = schema.get("items") {
        for value in value.as_array().into_iter().flatten() {
            check(document, items, value, &format!("{at}[]"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_says_what_is_answered() {
    let place = Place::new();
    let url = database(&place, "app.db", 10);
    let server = Serving::of_place(&place, &url, &[]).await;
    let document = server.get("/api/openapi.json").await.json(200);
    assert_eq!(document["openapi"], "3.1.0");
    let name = json!({"backup_name": "one"});
    let calls = [
        ("GET", "/api/backup/list", "/api/backup/list", Value::Null),
        ("POST", "/api/backup/create", "/api/backup/create", name.clone()),
        ("POST", "/api/backup/create", "/api/backup/create", name),
        ("POST", "/api/backup/create", "/api/backup/create", json!({"compress": 5})),
        ("POST", "/api/backup/create", "/api/backup/create", json!({"async": true})),
        ("GET", "/api/backup/jobs", "/api/backup/jobs", Value::Null),
        ("GET", "/api/backup/jobs/none", "/api/backup/jobs/{id}", Value::Null),
        ("POST", "/api/backup/verify/one", "/api/backup/verify/{name}", Value::Null),
        ("GET", "/api/backup/list", "/api/backup/list", Value::Null),
        ("GET", "/api/backup/statistics", "/api/backup/statistics", Value::Null),
        ("POST", "/api/backup/restore/one", "/api/backup/restore/{name}", Value::Null),
        ("POST", "/api/backup/restore/one", "/api/backup/restore/{name}", json!({"confirm": "one"})),
        ("POST", "/api/backup/restore/-rf", "/api/backup/restore/{name}", json!({"confirm": "one"})),
        ("DELETE", "/api/backup/delete/one", "/api/backup/delete/{name}", Value::Null),
        ("DELETE", "/api/backup/delete/none", "/api/backup/delete/{name}", Value::Null),
        ("GET", "/api/status", "/api/status", Value::Null),
        ("GET", "/api/drills", "/api/drills", Value::Null),
        ("GET", "/api/runs", "/api/runs", Value::Null),
        ("GET", "/healthz", "/healthz", Value::Null),
        ("GET", "/readyz", "/readyz", Value::Null),
    ];
    for (method, path, pattern, body) in calls {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let answer = server.call_with(method, path, &[], &text).await;
        let operation = &document["paths"][pattern][method.to_ascii_lowercase()];
        let described = &operation["responses"][answer.status.to_string()];
        assert!(
            described.is_object(),
            "{method} {pattern} does not describe {}: {}",
            answer.status,
            answer.text
        );
        let schema = &described["content"]["application/json"]["schema"];
        check(&document, schema, &answer.json(answer.status), &format!("{method} {path}"));
        wait("the job to end", async || {
            let jobs = server.get("/api/backup/jobs").await.json(200);
            jobs["jobs"].as_array().unwrap().iter().all(|job| job["state"] != "running")
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_say_nothing_do_not_keep_others_waiting() {
    let place = Place::new();
    let url = database(&place, "app.db", 10);
    let server = Serving::of_place(&place, &url, &[]).await;
    let mut silent = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        if number % 2 == 0 {
            stream
                .write_all(
                    b"POST /api/backup/create HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{",
                )
                .await
                .unwrap();
        } else {
            stream.write_all(b"GET /api/backup/li").await.unwrap();
        }
        silent.push(stream);
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let began = std::time::Instant::now();
        let _ = server.get("/healthz").await.json(200);
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    // In the end they are shown the door.
    let mut stream = silent.pop().unwrap();
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "a client that never ends its request is still connected");
}
