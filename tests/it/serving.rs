//! A server that answers, and what it was asked and answered.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::offline::Offline;
use crate::support::PASSWORD;

/// A server that answers.
pub(crate) struct Serving {
    child: Child,
    pub(crate) address: String,
    _rest: tokio::task::JoinHandle<()>,
}

/// What was answered.
#[derive(Debug)]
#[must_use = "look at the answer"]
pub(crate) struct Answered {
    pub(crate) status: u16,
    head: String,
    pub(crate) text: String,
}

impl Answered {
    #[track_caller]
    pub(crate) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.text);
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// A refusal has the same shape wherever it comes from.
    #[track_caller]
    pub(crate) fn refusal(&self, status: u16) -> Value {
        let body = self.json(status);
        assert_eq!(body["success"], false);
        assert!(!body["error"].as_str().unwrap().is_empty());
        assert!(body.as_object().unwrap().contains_key("backup_name"), "{body}");
        let _: chrono::DateTime<chrono::Utc> = body["timestamp"].as_str().unwrap().parse().unwrap();
        body
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

impl Serving {
    pub(crate) async fn start(mut command: Command) -> Serving {
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

    pub(crate) async fn of_place(place: &Offline, url: &str, flags: &[&str]) -> Serving {
        let mut command = place.command(&[&["serve", "--listen", "127.0.0.1:0"], flags].concat());
        command.env("DATABASE_URL", url);
        Serving::start(command).await
    }

    /// Sends bytes, and reads what comes.
    pub(crate) async fn raw(&self, request: &[u8]) -> Answered {
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

    pub(crate) async fn call_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answered {
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

    pub(crate) async fn get(&self, path: &str) -> Answered {
        self.call_with("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answered {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.call_with("POST", path, &[], &body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answered {
        self.call_with("DELETE", path, &[], "").await
    }

    pub(crate) async fn job(&self, id: &str) -> Value {
        self.get(&format!("/api/backup/jobs/{id}")).await.json(200)
    }

    pub(crate) fn signal(&self, name: &str) {
        let process = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([name, &process]).status().unwrap().success());
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) async fn stop(mut self) -> Option<i32> {
        self.signal("-TERM");
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await;
        ended.expect("it stops").unwrap().code()
    }
}

pub(crate) fn database(place: &Offline, name: &str, rows: usize) -> String {
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

pub(crate) fn rows(path: &Path) -> i64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row("select count(*) from accounts", [], |row| row.get(0)).unwrap()
}

pub(crate) fn audit(place: &Offline) -> Vec<Value> {
    let text = fs::read_to_string(place.path("vault/audit.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
