//! `lifeboat serve`: the REST API as applications call it.

use std::fs;

use serde_json::{Value, json};

use crate::offline::Offline;
use crate::serving::{Serving, audit, database, rows};
use crate::stores::Bucket;
use crate::support::{PASSWORD, World, finish, wait};

#[tokio::test(flavor = "multi_thread")]
async fn an_application_makes_lists_counts_restores_and_deletes_backups() {
    let place = Offline::new();
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

    // Who confirms what replaces a database with another name meant another one; that has cost nothing.
    rusqlite::Connection::open(place.path("app.db"))
        .unwrap()
        .execute("delete from accounts where id > 5", [])
        .unwrap();
    for _ in 0..3 {
        let told = server.post("/api/backup/restore/first", &json!({"confirm": "second"})).await.refusal(400);
        assert_eq!(told["backup_name"], "first");
        assert!(told["hints"].to_string().contains("confirm"), "{told}");
    }
    assert_eq!(rows(&place.path("app.db")), 5);
    let restored = server.post("/api/backup/restore/first", &Value::Null).await.json(200);
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
    assert!(kept["error"].as_str().unwrap().contains("last good backup"), "{kept}");
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

/// An application's own alert looks at `success` of the newest entry, and mails if that is not true.
#[tokio::test(flavor = "multi_thread")]
async fn the_newest_entry_of_the_list_is_the_newest_attempt_whether_it_succeeded_or_not() {
    let place = Offline::new();
    let url = database(&place, "app.db", 10);
    let server = Serving::of_place(&place, &url, &[]).await;
    let newest = async || server.get("/api/backup/list").await.json(200)["backups"][0].clone();
    let _ = server.post("/api/backup/create", &Value::Null).await.json(201);
    assert_eq!(newest().await["success"], true);
    fs::rename(place.path("app.db"), place.path("away.db")).unwrap();
    let told = server.post("/api/backup/create", &Value::Null).await;
    assert!(told.status >= 400);
    let failed = newest().await;
    assert_eq!((&failed["success"], &failed["state"]), (&json!(false), &json!("failed")), "{failed}");
    assert!(failed["error"].as_str().unwrap().contains("app.db"), "{failed}");
    let list = server.get("/api/backup/list").await.json(200);
    assert_eq!(
        (list["backups"].as_array().unwrap().len(), &list["statistics"]["total_backups"]),
        (2, &json!(1))
    );
    fs::rename(place.path("away.db"), place.path("app.db")).unwrap();
    let _ = server.post("/api/backup/create", &Value::Null).await.json(201);
    assert_eq!(newest().await["success"], true);
    assert_eq!(server.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backup_over_the_api_prunes_is_audited_as_its_caller() {
    let place = Offline::new();
    let url = database(&place, "app.db", 10);
    for name in ["oldest", "older"] {
        place.backup(&["create", "--url", &url, "--name", name]).await.assert_code(0);
        place.age(name, 90);
    }
    place.backup(&["create", "--url", &url, "--name", "recent"]).await.assert_code(0);
    let server = Serving::of_place(&place, &url, &[]).await;
    let made = server.post("/api/backup/create", &Value::Null).await.json(201);
    assert_eq!(made["warnings"], Value::Null);
    let lines = audit(&place);
    let of = |what: &str| {
        lines.iter().find(|line| line["what"] == what && line["trigger"] == "api").cloned().unwrap()
    };
    let (pruned, created) = (of("backup prune"), of("backup create"));
    assert_eq!((&pruned["who"], &pruned["request"]), (&created["who"], &created["request"]));
    assert_eq!(place.files().iter().filter(|file| file.starts_with("old")).count(), 0);
    // What could not be pruned is said to whoever asked.
    place.backup(&["create", "--url", &url, "--name", "stuck"]).await.assert_code(0);
    place.age("stuck", 90);
    let mut manifest: Value =
        serde_json::from_slice(&fs::read(place.path("vault/stuck.json")).unwrap()).unwrap();
    fs::remove_file(place.path("vault/stuck.sqlite.gz")).unwrap();
    fs::create_dir(place.path("vault/stuck.sqlite.gz")).unwrap();
    manifest["file_size"] = json!(0);
    fs::write(place.path("vault/stuck.json"), manifest.to_string()).unwrap();
    let made = server.post("/api/backup/create", &Value::Null).await.json(201);
    assert!(made["warnings"][0].as_str().unwrap().contains("stuck"), "{made}");
    assert_eq!(server.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_exact_and_nothing_that_a_client_writes_moves_them() {
    let place = Offline::new();
    let url = database(&place, "app.db", 10);
    let server = Serving::of_place(&place, &url, &[]).await;
    for _ in 0..3 {
        let _ = server.post("/api/backup/create", &Value::Null).await.json(201);
    }
    for number in 0..4 {
        let spoofed = format!("10.0.0.{number}");
        let headers =
            [("x-client-ip", spoofed.as_str()), ("true-client-ip", &spoofed), ("x-request-id", &spoofed)];
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
    let _ = server.get("/healthz").await.json(200);
    server.kill().await;
    // A restart gives nobody more.
    let server = Serving::of_place(&place, &url, &[]).await;
    let _ = server.post("/api/backup/create", &Value::Null).await.refusal(429);
    // Of refusals there is a line, not one for each.
    wait("the line of a refusal", async || audit(&place).iter().any(|line| line["status"] == 429)).await;
    assert!(audit(&place).iter().filter(|line| line["status"] == 429).count() <= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_costs_nothing_of_any_limit() {
    let place = Offline::new();
    let url = database(&place, "app.db", 10);
    let other = database(&place, "other.db", 10);
    let server = Serving::of_place(&place, &url, &[]).await;
    let _ = server.post("/api/backup/create", &json!({"backup_name": "one"})).await.json(201);
    place.backup(&["create", "--url", &other, "--name", "foreign"]).await.assert_code(0);
    for _ in 0..4 {
        let form = [("content-type", "text/plain")];
        let _ = server.call_with("POST", "/api/backup/create", &form, "x").await.refusal(415);
        let _ = server.post("/api/backup/create", &json!({"backup_name": ".."})).await.refusal(400);
        let _ = server.post("/api/backup/create", &json!({"database": "none"})).await.refusal(400);
        let _ = server.post("/api/backup/create", &json!({"backup_name": "one"})).await.refusal(409);
        for name in ["none", "-rf"] {
            let answer = server.post(&format!("/api/backup/restore/{name}"), &Value::Null).await;
            assert!([400, 404].contains(&answer.status), "{answer:?}");
        }
        let _ = server.post("/api/backup/restore/one", &json!({"confirm": "other"})).await.refusal(400);
        // The job is begun, and finds that DATABASE_URL names another database.
        let told = server.post("/api/backup/restore/foreign", &Value::Null).await;
        assert!([400, 409].contains(&told.status), "{told:?}");
    }
    for _ in 0..21 {
        let _ = server.post("/api/backup/verify/none", &Value::Null).await.refusal(404);
        let _ = server.post("/api/backup/verify/one", &json!({"level": "x"})).await.refusal(400);
    }
    for _ in 0..11 {
        let _ = server.delete("/api/backup/delete/none").await.refusal(404);
        let _ = server.delete("/api/backup/delete/one?allow_last_copy=x").await.refusal(400);
        let _ = server.delete("/api/backup/delete/one").await.refusal(409);
    }
    server.kill().await;
    // Nor does a restart count what was refused: all that an hour allows is still there, and no more.
    let server = Serving::of_place(&place, &url, &[]).await;
    for number in 0..3 {
        let answer =
            server.post("/api/backup/create", &json!({"backup_name": format!("more-{number}")})).await;
        assert_eq!(answer.status, if number < 2 { 201 } else { 429 }, "{answer:?}");
    }
    for number in 0..3 {
        let answer = server.post("/api/backup/restore/one", &Value::Null).await;
        assert_eq!(answer.status, if number < 2 { 200 } else { 429 }, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn elsewhere_a_token_is_needed_and_is_good_for_what_it_says() {
    let place = Offline::new();
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
    let added = |name: &str| {
        audit(&place).iter().filter(|line| line["what"] == "token add" && line["name"] == name).count()
    };
    assert_eq!((added("reader"), added("maker")), (2, 4), "one line before and one after each");
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
    // A page of another site must not log anybody in.
    for foreign in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")],
        &[("sec-fetch-site", "same-site"), ("origin", "https://evil.backups.example")],
        &[("sec-fetch-site", "cross-site")],
    ] {
        let headers = [&form[..], foreign].concat();
        let answer = server.call_with("POST", "/login", &headers, &format!("token={maker}")).await;
        let _ = answer.refusal(403);
        assert_eq!(answer.header("set-cookie"), None, "{foreign:?}");
    }
    let origin = format!("http://{}", server.address);
    for own in [&[("origin", origin.as_str())][..], &[("sec-fetch-site", "same-origin")]] {
        let headers = [&form[..], own].concat();
        let answer = server.call_with("POST", "/login", &headers, &format!("token={maker}")).await;
        assert_eq!(answer.status, 303, "{answer:?}");
    }
    let logged_in = server.call_with("POST", "/login", &form, &format!("token={maker}")).await;
    let cookie = logged_in.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(server.call_with("GET", "/", &[("cookie", cookie)], "").await.status, 200);
    let foreign = [("cookie", cookie), ("origin", "https://evil.example")];
    let _ = server.call_with("POST", "/api/backup/create", &foreign, "").await.refusal(403);
    // Whoever followed a link is led where it leads, and nowhere else; and a browser can forget its token.
    let evidence = "/drills/orders/run/evidence.html";
    let asked = server.get(evidence).await;
    assert!(
        asked.status == 401 && asked.text.contains(&format!("name=\"to\" value=\"{evidence}\"")),
        "{asked:?}"
    );
    for (to, leads) in
        [(evidence, evidence), ("//evil.example", "/"), ("https://evil.example", "/"), ("/\\evil", "/")]
    {
        let answer = server.call_with("POST", "/login", &form, &format!("token={maker}&to={to}")).await;
        assert_eq!((answer.status, answer.header("location")), (303, Some(leads)), "{to}");
    }
    let page = server.call_with("GET", "/", &[("cookie", cookie)], "").await;
    assert!(page.text.contains("action=\"/logout\""), "{}", page.text);
    let elsewhere = [("cookie", cookie), ("origin", "https://evil.example")];
    let _ = server.call_with("POST", "/logout", &elsewhere, "").await.refusal(403);
    let own = [("cookie", cookie), ("origin", origin.as_str())];
    let left = server.call_with("POST", "/logout", &own, "").await;
    assert!(left.status == 303 && left.header("set-cookie").unwrap().contains("Max-Age=0"), "{left:?}");
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
    let place = Offline::new();
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
    let place = Offline::new();
    let url = database(&place, "app.db", 400_000);
    let server = Serving::of_place(&place, &url, &[]).await;
    let begun = server.post("/api/backup/create", &json!({"async": true, "backup_name": "killed"})).await;
    let job = begun.json(202)["job"].as_str().unwrap().to_owned();
    assert_eq!(begun.header("location"), Some(format!("/api/backup/jobs/{job}").as_str()));
    // One at a time; the second is told which job is at it.
    let busy = server.post("/api/backup/create", &json!({"backup_name": "second"})).await.refusal(409);
    assert_eq!((&busy["job"], &busy["backup_name"]), (&json!(job), &json!("second")));
    wait("the copy to be under way", async || {
        server.job(&job).await["phase"].as_str().is_some_and(|phase| ["copying", "proving"].contains(&phase))
    })
    .await;
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
        let phases = ["checking the backup", "restoring", "backing up the current content", "copying"];
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

const RUNBOOK: &str = "---\nrunbook: 1\ntitle: Wait\nowner: o\nreview_by: 2099-01-01\nrto: 60m\n---\n# Wait\n## 1. Before\n```sh id=before timeout=5m\nuntil test -e go; do sleep 0.1; done\n```\n## 2. Gate\n```manual id=go\nLook at it\n```\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_in_a_bucket_is_served_as_well() {
    let (place, bucket) = (Offline::new(), Bucket::start().await);
    let url = database(&place, "app.db", 100);
    let server = Serving::of_place(&place, &url, &["--vault", &bucket.url("served")]).await;
    let made = server.post("/api/backup/create", &json!({"backup_name": "first"})).await.json(201);
    assert_eq!(made["file_path"], "s3://backups/served/first.sqlite.gz");
    let list = server.get("/api/backup/list").await.json(200);
    assert_eq!(list["backups"][0]["backup_name"], "first");
    assert_eq!(list["statistics"]["backup_directory"], "s3://backups/served");
    rusqlite::Connection::open(place.path("app.db")).unwrap().execute("delete from accounts", []).unwrap();
    let _ = server.post("/api/backup/restore/first", &Value::Null).await.json(200);
    assert_eq!(rows(&place.path("app.db")), 100);
    for path in ["/", "/api/status", "/api/drills", "/api/runs", "/metrics", "/readyz"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    let _ = server.delete("/api/backup/delete/first?allow_last_copy=true").await.json(200);
    assert_eq!(server.stop().await, Some(0));
    assert!(bucket.objects("served").await.iter().all(|name| !name.starts_with("first")));
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
    // Killed in a restore, it leaves the database as it was or as it is to be, and one that is whole.
    let begun = server.post("/api/backup/restore/before", &json!({"async": true})).await.json(202);
    let job = begun["job"].as_str().unwrap().to_owned();
    wait("the restore to be under way", async || {
        let phases = ["restoring", "checking the restored copy"];
        server.job(&job).await["phase"].as_str().is_some_and(|phase| phases.contains(&phase))
    })
    .await;
    server.kill().await;
    assert_eq!(world.sql("orders-prod", "app", "select count(*) from jobs").await, "300");
    let mut command = world.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("ORDERS_URL", &url).env_remove("PGPASSWORD");
    let server = Serving::start(command).await;
    assert_eq!(server.job(&job).await["state"], "interrupted");
    let _ = server.post("/api/backup/create", &json!({"backup_name": "after"})).await.json(201);
    let proof = json!({"level": "restore"});
    let _ = server.post("/api/backup/verify/before", &proof).await.json(200);
    // A run of a runbook is seen while it goes on, and while it waits for a person.
    world.write("wait.md", RUNBOOK);
    let running = world.command(&["runbook", "run", "wait.md"]).spawn().unwrap();
    wait("the run to be seen", async || {
        let runs = server.get("/api/runs").await.json(200);
        runs["runs"][0]["state"] == "running" && runs["runs"][0]["steps"][0]["state"] == "running"
    })
    .await;
    assert!(server.get("/").await.text.contains("data-live"), "the page would not look again");
    world.write("go", "");
    finish(running).await.assert_code(4);
    let runs = server.get("/api/runs").await.json(200);
    let run = &runs["runs"][0];
    assert_eq!((&run["state"], &run["steps"][0]["state"]), (&json!("waiting"), &json!("done")));
    let page = server.get("/").await;
    assert!(page.text.contains(">wait<") && page.text.contains("waiting"), "{}", page.text);
    let evidence = format!("/runs/{}/evidence.html", run["run"].as_str().unwrap());
    assert!(page.text.contains(&evidence));
    let shown = server.get(&evidence).await;
    assert!(shown.status == 200 && shown.text.contains("href=\"/#runs\""), "there is no way back");
    let as_written = server.get(&format!("{evidence}?as-written")).await;
    assert_eq!(as_written.text, fs::read_to_string(world.path(&format!("vault{evidence}"))).unwrap());
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
