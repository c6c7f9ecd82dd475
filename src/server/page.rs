//! The dashboard: one page, drawn here, that says whether the data is safe.
//!
//! Everything that came from outside passes through maud's escaping. The page loads one stylesheet and one script, from here;
//! its policy lets nothing else run or load, no style in an attribute either. Without the script it still shows everything.

mod charts;
mod parts;

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use http_body_util::{BodyExt as _, Limited};
use maud::{DOCTYPE, Markup, html};

use super::answers::{Answer, text};
use super::guard::{COOKIE, LARGEST_BODY};
use super::jobs::{Job, State as JobState};
use super::tokens::Scope;
use super::{App, call_of, off_the_runtime, overview};
use crate::backup::catalogue::{self, Catalogue};
use crate::backup::failures::{self, Failure};
use crate::drill::proof::{self, Records};
use crate::drill::report::Report;
use crate::error::Result;
use crate::runbook::report::Report as RunReport;

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The evidence of a drill carries its own style, runs no script and loads nothing.
const EVIDENCE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");
const ICON: &str = concat!(
    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 32 32\"><circle cx=\"16\" cy=\"16\" r=\"11\" fill=\"none\" ",
    "stroke=\"#2450b2\" stroke-width=\"7\"/><path d=\"M16 1.5v7M16 23.5v7M1.5 16h7M23.5 16h7\" stroke=\"#fff\" stroke-width=\"5\"/></svg>"
);

/// What the page shows.
struct Seen {
    overview: overview::Overview,
    catalogue: Catalogue,
    failures: Vec<Failure>,
    drills: Vec<Report>,
    damaged_drills: Vec<String>,
    runs: Vec<RunReport>,
    damaged_runs: Vec<String>,
    jobs: Vec<Job>,
    vault: String,
    usual: Option<String>,
    known: Vec<String>,
}

/// What the one who looks may do.
#[derive(Clone, Copy)]
struct May {
    create: bool,
    restore: bool,
    delete: bool,
}

pub(super) async fn dashboard(State(app): State<Arc<App>>, request: Request) -> Response {
    let call = match call_of(&request) {
        Ok(call) => call,
        Err(error) => return Answer::of(&error).into_response(),
    };
    let may = May {
        create: call.caller.may(Scope::Create),
        restore: call.caller.may(Scope::Restore),
        delete: call.caller.may(Scope::Delete),
    };
    let inner = Arc::clone(&app);
    match off_the_runtime(move || look(&inner)).await {
        Ok(seen) => page(StatusCode::OK, "lifeboat", &parts::dashboard(&seen, may)),
        Err(error) => {
            let shown = html! { main { div.answer.bad { h1 { "The vault cannot be read" } p { (crate::output::redacted(&error.chain())) } } } };
            page(StatusCode::BAD_GATEWAY, "lifeboat", &shown)
        }
    }
}

fn look(app: &App) -> Result<Seen> {
    let catalogue = catalogue::read(&app.vault)?;
    let failures = failures::read(&app.vault)?;
    let Records { reports: drills, damaged: damaged_drills, .. } = proof::list(&app.vault, &[])?;
    let (runs, damaged_runs) = overview::runs(app)?;
    Ok(Seen {
        overview: overview::of(app, &catalogue, &failures),
        catalogue,
        failures,
        drills,
        damaged_drills,
        runs,
        damaged_runs,
        jobs: app.jobs.list(),
        vault: app.vault.shown("").trim_end_matches('/').to_owned(),
        usual: app.orders.usual.clone(),
        known: app.orders.databases.clone(),
    })
}

fn page(status: StatusCode, title: &str, content: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="format-detection" content="telephone=no, date=no, address=no, email=no";
                title { (title) }
                link rel="icon" type="image/svg+xml" href="/assets/icon.svg";
                link rel="stylesheet" href="/assets/style.css";
                script src="/assets/script.js" defer {}
            }
            body { (content) }
        }
    };
    let mut response = text("text/html; charset=utf-8", page.into_string());
    *response.status_mut() = status;
    with_policy(response, POLICY)
}

fn with_policy(mut response: Response, policy: &'static str) -> Response {
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// Asks a browser for its token.
pub(super) fn login(refusal: Option<&str>) -> Response {
    let form = html! {
        main.login {
            div.answer {
                h1 { "lifeboat" }
                p { "A token is needed here. " code { "lifeboat serve token add NAME --scope read" } " makes one." }
                form method="post" action="/login" {
                    label { "Token" input type="password" name="token" autocomplete="current-password" required autofocus; }
                    @if let Some(refusal) = refusal { p.refusal role="alert" { (refusal) } }
                    div.actions { button.first type="submit" { "Log in" } }
                }
            }
        }
    };
    page(StatusCode::UNAUTHORIZED, "Log in to lifeboat", &form)
}

/// A browser keeps its token in a cookie that no script reads and that no other site's page sends.
pub(super) async fn log_in(State(app): State<Arc<App>>, request: Request) -> Response {
    let peer = call_of(&request).map(|call| call.peer);
    let body = tokio::time::timeout(
        std::time::Duration::from_secs(10),
        Limited::new(request.into_body(), LARGEST_BODY).collect(),
    );
    let Ok(Ok(body)) = body.await else { return login(Some("The form was cut off.")) };
    let bytes = body.to_bytes();
    let token = url::form_urlencoded::parse(&bytes)
        .find(|(key, _)| key == "token")
        .map(|(_, token)| token.trim().to_owned())
        .unwrap_or_default();
    let (asked, presented) = (Arc::clone(&app), token.clone());
    let is_plain =
        !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match off_the_runtime(move || asked.known.holder(&asked.vault, &presented)).await {
        Ok(Some(_)) if is_plain => {
            let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200");
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::SEE_OTHER;
            response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/"));
            if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            response
        }
        Ok(_) if peer.is_ok_and(|peer| app.limits.failed(peer, Instant::now()).is_err()) => {
            login(Some("Too many tries: come back in a minute."))
        }
        Ok(_) => login(Some("This token is not known: it was mistyped or revoked.")),
        Err(error) => login(Some(&crate::output::redacted(&error.chain()))),
    }
}

/// The evidence of a drill or of a run. What the path names is looked for among what there is, and never joined.
pub(super) async fn evidence(State(app): State<Arc<App>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let found = off_the_runtime(move || {
        let Some(parts) = path.strip_prefix('/').and_then(|path| path.strip_suffix("/evidence.html")) else {
            return Ok(None);
        };
        let mut folder = String::new();
        for part in parts.split('/') {
            if !folder.is_empty() && !app.vault.list(&folder)?.folders.iter().any(|known| known == part) {
                return Ok(None);
            }
            folder = if folder.is_empty() { part.to_owned() } else { format!("{folder}/{part}") };
        }
        app.vault.read(&format!("{folder}/evidence.html"))
    });
    match found.await {
        Ok(Some(page)) => {
            let page = String::from_utf8_lossy(&page).into_owned();
            with_policy(text("text/html; charset=utf-8", page), EVIDENCE_POLICY)
        }
        Ok(None) => {
            let shown = html! { main { div.answer { h1 { "There is no such evidence" } p { a href="/" { "Back" } } } } };
            page(StatusCode::NOT_FOUND, "lifeboat", &shown)
        }
        Err(error) => Answer::of(&error).into_response(),
    }
}

pub(super) async fn asset(request: Request) -> Response {
    match request.uri().path() {
        "/assets/style.css" => text("text/css; charset=utf-8", STYLE.to_owned()),
        "/assets/script.js" => text("text/javascript; charset=utf-8", SCRIPT.to_owned()),
        "/assets/icon.svg" => text("image/svg+xml", ICON.to_owned()),
        _ => Answer::refusal(StatusCode::NOT_FOUND, "there is nothing here").into_response(),
    }
}

/// Jobs that are going on.
fn running(jobs: &[Job]) -> impl Iterator<Item = &Job> {
    jobs.iter().filter(|job| job.state == JobState::Running)
}
