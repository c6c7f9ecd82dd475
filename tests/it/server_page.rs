//! The dashboard in a browser, and the document of the API under a tester.

use std::fs;

use serde_json::{Value, json};

use crate::offline::Offline;
use crate::serving::{Serving, database};
use crate::support::{PASSWORD, World, root, wait};

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_runs_and_loads_nothing_that_is_not_its_own() {
    let place = Offline::new();
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
    let place = Offline::new();
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

/// A program of `make setup`, with what it says when it finds something.
async fn tester(program: &str, arguments: &[&str]) {
    let program = format!("{}/target/clients/bin/{program}", root().display());
    // Schemathesis keeps what it found where it runs, and begins with it the next time.
    let place = tempfile::tempdir().unwrap();
    let done =
        tokio::process::Command::new(&program).args(arguments).current_dir(place.path()).output().await;
    let done = done.unwrap_or_else(|error| panic!("{program}: {error}: run `make setup`"));
    let (stdout, stderr) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{stdout}\n{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_uses_the_dashboard_in_a_browser() {
    let world = World::with_orders().await;
    world.drill(&[]).await.assert_code(0);
    let url = world.url("orders-prod", "app").await.replacen("owner@", &format!("owner:{PASSWORD}@"), 1);
    world.write("lifeboat.toml", "[databases.orders-prod.backup]\nurl = \"env:ORDERS_URL\"\n");
    let mut command = world.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("ORDERS_URL", &url);
    let server = Serving::start(command).await;
    let _ = server.post("/api/backup/create", &json!({"backup_name": "first"})).await.json(201);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/browser/dashboard.py");
    tester("python", &[script, &format!("http://{}", server.address)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_based_tester_of_apis_finds_no_failure_and_no_broken_schema() {
    let place = Offline::new();
    let url = database(&place, "app.db", 10);
    let server = Serving::of_place(&place, &url, &[]).await;
    for name in ["first", "second"] {
        let _ = server.post("/api/backup/create", &json!({"backup_name": name})).await.json(201);
    }
    let document = format!("http://{}/api/openapi.json", server.address);
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance";
    tester("schemathesis", &["run", &document, "--checks", checks, "--max-examples", "10", "--seed", "7"])
        .await;
    assert_eq!(place.unfinished(), Vec::<String>::new());
    let _ = server.get("/healthz").await.json(200);
}
