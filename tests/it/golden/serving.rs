//! `lifeboat serve`: the API, its document, metrics, and the pages of the dashboard.

use serde_json::{Value, json};

use super::backups::database;
use super::{Clock, Scene};
use crate::calendar::{a_record, recorded};
use crate::offline::Offline;
use crate::serving::{Answered, Serving};

const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

impl Scene<'_> {
    /// Writes down what was asked of a server and what it answered.
    fn answer(&mut self, asked: &str, answered: &Answered) {
        let text = match serde_json::from_str::<Value>(&answered.text) {
            Ok(document) => format!("{document:#}"),
            Err(_) => answered.text.clone(),
        };
        self.text.push_str(&format!("{asked}\n{}\n{text}\n\n", answered.status));
    }

    async fn ask(&mut self, server: &Serving, method: &str, path: &str, body: &Value) {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let answered = server.call_with(method, path, &[], &text).await;
        self.answer(format!("{method} {path} {text}").trim_end(), &answered);
    }

    pub(super) async fn show(&mut self, server: &Serving, path: &str) {
        let answered = server.call_with("GET", path, &[HTML], "").await;
        self.page(&format!("GET {path}\n{}", answered.status), &answered.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_answers_and_the_dashboard_shows() {
    let place = Offline::new();
    database(&place, "app.db");
    let url = format!("sqlite://{}", place.path("app.db").display());
    recorded(&place.path("vault"), &a_record(), "orders-prod", "2026-11-01", "pass");
    recorded(&place.path("vault"), &a_record(), "billing", "2026-11-02", "fail");
    let mut scene = Scene::of_place(&place);
    scene.clock = Clock::Still("2026-11-21 03:00:00");
    let server =
        Serving::start(scene.command(&format!("AWS_REGION= DATABASE_URL={url} serve --listen 127.0.0.1:0")))
            .await;
    scene.show(&server, "/").await;
    scene.assert_golden("page-dashboard-empty");
    let none = Value::Null;
    scene.ask(&server, "GET", "/api/openapi.json", &none).await;
    scene.assert_golden("api-openapi");
    for (method, path, body) in [
        ("GET", "/api/backup/list", none.clone()),
        ("POST", "/api/backup/create", json!({"backup_name": "one"})),
        ("POST", "/api/backup/create", json!({"backup_name": "one"})),
        ("POST", "/api/backup/create", json!({"backup_name": "../etc"})),
        ("POST", "/api/backup/create", json!({"compress": 5})),
        ("POST", "/api/backup/create", json!({"unknown": true})),
        ("GET", "/api/backup/jobs", none.clone()),
        ("GET", "/api/backup/jobs/none", none.clone()),
        ("POST", "/api/backup/verify/one", none.clone()),
        ("POST", "/api/backup/verify/one", json!({"level": "deep"})),
        ("POST", "/api/backup/verify/none", none.clone()),
        ("GET", "/api/backup/list", none.clone()),
        ("GET", "/api/backup/statistics", none.clone()),
        ("POST", "/api/backup/restore/one", json!({"confirm": "two"})),
        ("POST", "/api/backup/restore/none", json!({"confirm": "none"})),
        ("POST", "/api/backup/restore/-rf", json!({"confirm": "one"})),
        ("POST", "/api/backup/restore/one", none.clone()),
        ("DELETE", "/api/backup/delete/none", none.clone()),
        ("DELETE", "/api/backup/delete/one", none.clone()),
        ("GET", "/api/status", none.clone()),
        ("GET", "/api/drills", none.clone()),
        ("GET", "/api/runs", none.clone()),
        ("GET", "/healthz", none.clone()),
        ("GET", "/readyz", none.clone()),
        ("GET", "/api/nothing", none.clone()),
        ("PUT", "/api/status", none.clone()),
    ] {
        scene.ask(&server, method, path, &body).await;
    }
    let foreign =
        server.call_with("POST", "/api/backup/create", &[("origin", "https://elsewhere")], "{}").await;
    scene.answer("POST /api/backup/create from https://elsewhere", &foreign);
    let host = server.call_with("GET", "/api/status", &[("host", "elsewhere")], "").await;
    scene.answer("GET /api/status of host elsewhere", &host);
    let broken = server.call_with("POST", "/api/backup/create", &[], "{").await;
    scene.answer("POST /api/backup/create {", &broken);
    scene.assert_golden("api");
    scene.ask(&server, "GET", "/metrics", &none).await;
    scene.assert_golden("metrics");
    scene.show(&server, "/").await;
    scene.assert_golden("page-dashboard");
    for path in
        ["/?q=nothing+of+that+name", "/?only=findings", "/drills/orders-prod/none/evidence.html", "/none"]
    {
        scene.show(&server, path).await;
    }
    scene.assert_golden("page-dashboard-others");
    assert_eq!(server.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_listed_and_asked_for() {
    let place = Offline::new();
    database(&place, "app.db");
    let url = format!("sqlite://{}", place.path("app.db").display());
    let mut scene = Scene::of_place(&place);
    scene.clock = Clock::Still("2026-11-21 03:00:00");
    scene.pipe(&format!("AWS_REGION= DATABASE_URL={url} serve --listen 0.0.0.0:0")).await;
    scene.pipe("serve token list").await;
    let token = scene.run("serve token add reader").await.assert_code(0).stdout.trim().to_owned();
    scene.pipe("serve token add reader").await;
    scene.pipe("serve token add keeper --scope create,delete").await;
    scene.report("serve token list").await;
    scene.terminal("serve token revoke keeper").await;
    scene.pipe("serve token revoke nobody").await;
    let server =
        Serving::start(scene.command(&format!("AWS_REGION= DATABASE_URL={url} serve --listen 127.0.0.1:0")))
            .await;
    let bearer = format!("Bearer {token}");
    for (asked, headers) in [
        ("nobody", vec![]),
        ("a guess", vec![("authorization", "Bearer guess")]),
        ("the reader", vec![("authorization", bearer.as_str())]),
    ] {
        let answered = server.call_with("POST", "/api/backup/create", &headers, "{}").await;
        scene.answer(&format!("POST /api/backup/create by {asked}"), &answered);
    }
    scene.show(&server, "/login").await;
    scene.assert_golden("serve-token");
}
