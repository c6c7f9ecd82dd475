//! `lifeboat serve` as those call it who should not.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::backup::Place;
use crate::serving::{Serving, database};

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
    // The silent ones are waited for ten seconds.
    assert!(slowest < Duration::from_secs(8), "{slowest:?}");
    // In the end they are shown the door.
    let mut stream = silent.pop().unwrap();
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(90), stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "a client that never ends its request is still connected");
}
