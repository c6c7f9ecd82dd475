//! `lifeboat serve` as those call it who should not.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::offline::Offline;
use crate::serving::{Serving, audit, database};
use crate::support::finish;

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_bodies_hosts_and_origins_reach_nothing() {
    let place = Offline::new();
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

    // Of a body whose length is said in two ways nobody knows where it ends, whatever stands first.
    let both = [
        "content-length: 2\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 2\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n",
    ];
    for lengths in both {
        let head = format!("POST /api/backup/create HTTP/1.1\r\nhost: localhost\r\n{lengths}\r\n");
        let answer = server
            .raw(
                format!("{head}2\r\n{{}}\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
                    .as_bytes(),
            )
            .await;
        assert_eq!((answer.status, answer.text.matches("HTTP/1.1").count()), (400, 0), "{answer:?}");
        assert!(answer.text.contains("both `Content-Length` and `Transfer-Encoding`"), "{answer:?}");
    }

    for host in ["evil.example", "localhost.evil.example", "10.0.0.1:5000", "127.0.0.1.evil.example"] {
        let _ = server.call_with("GET", "/api/backup/list", &[("host", host)], "").await.refusal(403);
    }
    let _ = server.raw(b"GET /api/backup/list HTTP/1.1\r\nconnection: close\r\n\r\n").await.refusal(400);
    let _ = server.raw(b"GET /api/backup/list HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\nconnection: close\r\n\r\n").await.refusal(400);
    for origin in ["https://evil.example", "null", "http://127.0.0.1.evil.example", "file://"] {
        let _ = server.call_with("POST", "/api/backup/create", &[("origin", origin)], "").await.refusal(403);
    }
    // Behind a proxy on this machine, the internet would be local.
    for header in ["x-forwarded-for", "x-forwarded-proto", "x-real-ip", "forwarded", "via"] {
        let proxied = [("host", "localhost"), (header, "203.0.113.9")];
        let _ = server.call_with("GET", "/api/backup/list", &proxied, "").await.refusal(401);
    }
    let nginx = b"GET /api/backup/list HTTP/1.0\r\nhost: 127.0.0.1:5000\r\nconnection: close\r\n\r\n";
    let _ = server.raw(nginx).await.refusal(401);
    let _ = server.call_with("GET", "/healthz", &[("via", "1.1 proxy")], "").await.json(200);
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
    let place = Offline::new();
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

#[tokio::test(flavor = "multi_thread")]
async fn thirty_thousand_calls_of_nobody_are_a_bounded_number_of_lines_and_keep_nobody_from_restoring() {
    let place = Offline::new();
    let url = database(&place, "app.db", 10);
    let added = finish(
        place
            .command(&["serve", "token", "add", "keeper", "--scope", "read,create,restore,delete"])
            .spawn()
            .unwrap(),
    )
    .await;
    let token = format!("Bearer {}", added.assert_code(0).stdout.trim());
    let keeper = [("authorization", token.as_str())];
    let mut command = place.command(&["serve", "--listen", "0.0.0.0:0"]);
    command.env("DATABASE_URL", &url);
    let mut server = Serving::start(command).await;
    server.address = server.address.replace("0.0.0.0", "127.0.0.1");
    let made = server
        .call_with("POST", "/api/backup/create", &keeper, &json!({"backup_name": "kept"}).to_string())
        .await;
    let _ = made.json(201);
    // Whether it is ready is asked of the vault once in some seconds, and not by everybody who likes to know.
    let _ = server.get("/readyz").await.json(200);
    std::fs::rename(place.path("vault"), place.path("away")).unwrap();
    let still = server.get("/readyz").await.status;
    std::fs::rename(place.path("away"), place.path("vault")).unwrap();
    assert_eq!(still, 200);

    let guess = format!("authorization: Bearer lifeboat_{}\r\n", "0".repeat(64));
    let form = "content-type: application/x-www-form-urlencoded\r\ncontent-length: 7\r\n\r\ntoken=x";
    let kinds = [
        "GET /nothing HTTP/1.1\r\n".to_owned(),
        "PATCH /api/backup/list HTTP/1.1\r\n".to_owned(),
        "GET /api/backup/list HTTP/1.1\r\n".to_owned(),
        format!("DELETE /api/backup/delete/kept HTTP/1.1\r\n{guess}"),
        format!("GET /api/backup/list HTTP/1.1\r\n{guess}{guess}"),
        "GET /api/status HTTP/1.1\r\nauthorization: Basic x\r\n".to_owned(),
        "GET /api/openapi.json HTTP/1.1\r\n".to_owned(),
        "GET /readyz HTTP/1.1\r\n".to_owned(),
        "GET /assets/nothing HTTP/1.1\r\n".to_owned(),
        "POST /login HTTP/1.1\r\n".to_owned(),
    ];
    let floods = kinds.iter().map(|kind| {
        let end = if kind.starts_with("POST") { form } else { "\r\n" };
        let one = format!("{kind}host: x\r\n{end}");
        let last = format!("{kind}host: x\r\nconnection: close\r\n{end}");
        let bytes = format!("{}{last}", one.repeat(2999));
        let server = &server;
        async move { server.raw(bytes.as_bytes()).await.text.matches("HTTP/1.1 ").count() }
    });
    let answered: usize = futures::future::join_all(floods).await.into_iter().sum();
    assert!(answered >= 29_900, "only {answered} calls were answered");

    for _ in 0..5 {
        let _ = server.call_with("GET", "/api/backup/jobs", &keeper, "").await.json(200);
        let _ = server.call_with("GET", "/nothing-of-mine", &keeper, "").await.refusal(404);
    }
    let confirm = json!({"confirm": "kept"}).to_string();
    let restored = server.call_with("POST", "/api/backup/restore/kept", &keeper, &confirm).await;
    let _ = restored.json(200);
    let gone = server.call_with("DELETE", "/api/backup/delete/kept?allow_last_copy=true", &keeper, "").await;
    let _ = gone.json(200);
    assert_eq!(server.stop().await, Some(0));

    let lines = audit(&place);
    let of = |who: &str| lines.iter().filter(|line| line["who"] == who).collect::<Vec<_>>();
    let nobody = of("nobody");
    // Sixty of their own in an hour, and one a minute for all the others.
    assert!(nobody.len() <= 64, "{} lines", nobody.len());
    let counted: u64 = nobody.iter().filter_map(|line| line["more_since"].as_u64()).sum();
    assert!(counted >= 26_000, "{counted} calls were counted");
    let sum = nobody.iter().find(|line| line["what"] == "more calls").unwrap();
    assert!(sum["statuses"]["404"].as_u64().unwrap() >= 5_000 && sum["addresses"] == 1, "{sum}");
    let named = |what: &str| of("keeper").iter().filter(|line| line["what"] == what).count();
    assert_eq!((named("GET /api/backup/jobs"), named("GET /nothing-of-mine")), (5, 5));
    let acts = |what: &str| lines.iter().filter(|line| line["what"] == what).count();
    assert_eq!((acts("backup restore"), acts("backup delete")), (2, 2));
}
