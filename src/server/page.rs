//! The dashboard: one page, drawn here, that says whether the data is safe.
//!
//! Everything that came from outside passes through maud's escaping. The page loads one stylesheet and one script, from here;
//! its policy lets nothing else run or load, no style in an attribute either. Without the script it still shows everything.

mod charts;
mod filter;
mod parts;
mod records;
mod view;

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use http_body_util::{BodyExt as _, Limited};
use maud::{DOCTYPE, Markup, html};

use super::answers::{Answer, Answered, LARGEST_BODY, text_response};
use super::app::App;
use super::blocking::run_blocking;
use super::call::{COOKIE, call_of};
use super::drills;
use super::endpoints::{self, Act, ENDPOINTS};
use super::overview;
use super::tokens::Scope;
use crate::backup::{catalogue, failures};
use crate::error::{Error, Result};
use crate::page::{BASE_CSS, draw_prose};
use crate::runbook::record;
use filter::Filter;
use view::{DashboardData, Permissions};

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The evidence of a drill carries its own style, runs no script and loads nothing.
const EVIDENCE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const OWN_CSS: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");
const ICON: &str = concat!(
    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 32 32\"><circle cx=\"16\" cy=\"16\" r=\"11\" fill=\"none\" ",
    "stroke=\"#2450b2\" stroke-width=\"7\"/><path d=\"M16 1.5v7M16 23.5v7M1.5 16h7M23.5 16h7\" stroke=\"#fff\" stroke-width=\"5\"/></svg>"
);

pub(super) async fn dashboard(State(app): State<Arc<App>>, request: Request) -> Answered<Response> {
    let call = call_of(&request)?;
    let may = Permissions {
        create: call.caller.may(Scope::Create),
        restore: call.caller.may(Scope::Restore),
        delete: call.caller.may(Scope::Delete),
        leave: call.caller.is_logged_in,
    };
    let filter = Filter::of(request.uri().query());
    let inner = Arc::clone(&app);
    Ok(match run_blocking(move || read_dashboard_data(&inner)).await {
        Ok(seen) => html_page(StatusCode::OK, "lifeboat", &parts::draw_dashboard(&seen, may, &filter)),
        Err(error) => failure_page("The vault cannot be read", &error),
    })
}

/// A page for something that the vault did not give.
fn failure_page(title: &str, error: &Error) -> Response {
    let words = crate::output::redact_urls(&error.chain());
    html_page(StatusCode::BAD_GATEWAY, "lifeboat", &draw_notice(title, &words, error.hints()))
}

/// A page for something that is not available, with a link back.
fn draw_notice(title: &str, words: &str, hints: &[String]) -> Markup {
    html! {
        main.told {
            div.answer {
                h1 { (title) }
                p { (draw_prose(words)) }
                @for hint in hints { p { (draw_prose(hint)) } }
                p { a href="/" { "Back to the dashboard" } }
            }
        }
    }
}

/// A refusal as a page.
pub(super) fn refusal_page(answer: &Answer, asked: &str) -> Response {
    let words = answer.body["error"].as_str().unwrap_or_default();
    if answer.status == StatusCode::FORBIDDEN {
        let mut response = login_page(Some(words), asked);
        *response.status_mut() = answer.status;
        return response;
    }
    if answer.status == StatusCode::NOT_FOUND {
        let path: String = asked.chars().take(200).filter(|c| *c != '`').collect();
        let words = format!("Nothing is served at `{path}`.");
        return html_page(answer.status, "lifeboat", &draw_notice("Page not found", &words, &[]));
    }
    let hints = answer.body["hints"].as_array().into_iter().flatten();
    let hints: Vec<String> = hints.filter_map(|hint| hint.as_str().map(str::to_owned)).collect();
    let title = "This page is not available";
    answer.with_headers_on(html_page(answer.status, "lifeboat", &draw_notice(title, words, &hints)))
}

fn read_dashboard_data(app: &App) -> Result<DashboardData> {
    let catalogue = catalogue::read(&app.setup.vault)?;
    let failures = failures::read(&app.setup.vault)?;
    let drills = drills::read(&app.setup.vault)?;
    let (runs, damaged_runs) = record::list_reports(&app.setup.vault)?;
    Ok(DashboardData {
        overview: overview::of(app, &catalogue, &failures, &drills),
        catalogue,
        failures,
        drills,
        runs,
        damaged_runs,
        jobs: app.jobs.list(),
        vault: app.setup.vault.shown("").trim_end_matches('/').to_owned(),
    })
}

fn html_page(status: StatusCode, title: &str, content: &Markup) -> Response {
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
    let mut response = text_response("text/html; charset=utf-8", page.into_string());
    *response.status_mut() = status;
    with_policy(response, POLICY)
}

fn with_policy(mut response: Response, policy: &'static str) -> Response {
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// The login page; after it, the browser gets the page it asked for.
pub(super) fn login_page(refusal: Option<&str>, asked: &str) -> Response {
    let form = html! {
        main.login {
            div.answer {
                h1 { "lifeboat" }
                p { "A token is required here.  " code { "lifeboat serve token add NAME --scope read" } " creates one." }
                form method="post" action="/login" {
                    label { "Token" input type="password" name="token" autocomplete="current-password" required autofocus; }
                    input type="hidden" name="to" value=(page_of_ours(asked));
                    @if let Some(refusal) = refusal { p.refusal role="alert" { (refusal) } }
                    div.actions { button.first type="submit" { "Log in" } @if page_of_ours(asked) != "/" { a href="/" { "To the dashboard" } } }
                }
            }
        }
    };
    html_page(StatusCode::UNAUTHORIZED, "Log in to lifeboat", &form)
}

/// What was asked for, if it is a page of this site; otherwise the dashboard.
fn page_of_ours(asked: &str) -> &str {
    let is_plain = asked.len() < 500 && asked.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let path = asked.split('?').next().unwrap_or_default();
    let mut pages = ENDPOINTS.iter().filter(|it| matches!(it.act, Act::Dashboard | Act::Evidence));
    if is_plain && pages.any(|page| endpoints::path_matches(page.path, path)) { asked } else { "/" }
}

/// Sends a browser on, with its cookie.
fn sent_on(to: &str, cookie: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = [(header::LOCATION, to), (header::SET_COOKIE, cookie)];
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

pub(super) async fn log_out() -> Response {
    sent_on("/", &format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"))
}

/// A browser keeps its token in a cookie that no script reads and that no other site's page sends.
pub(super) async fn log_in(State(app): State<Arc<App>>, request: Request) -> Response {
    let peer = call_of(&request).map(|call| call.peer);
    let body = tokio::time::timeout(
        std::time::Duration::from_secs(10),
        Limited::new(request.into_body(), LARGEST_BODY).collect(),
    );
    let Ok(Ok(body)) = body.await else { return login_page(Some("The form was cut off."), "/") };
    let bytes = body.to_bytes();
    let field = |name: &str| {
        let mut fields = url::form_urlencoded::parse(&bytes);
        fields.find(|(key, _)| key == name).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let (token, to) = (field("token"), field("to"));
    let is_plain =
        !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match app.holder_of(token.clone()).await {
        Ok(Some(_)) if is_plain => {
            let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200");
            sent_on(page_of_ours(&to), &cookie)
        }
        Ok(_) if peer.is_ok_and(|peer| app.limits.failed(peer, Instant::now()).is_err()) => {
            login_page(Some("Too many attempts. Try again in a minute."), &to)
        }
        Ok(_) => login_page(Some("Unknown token: it was mistyped or revoked."), &to),
        Err(error) => login_page(Some(&crate::output::redact_urls(&error.chain())), &to),
    }
}

/// The evidence of a drill or of a run. The name in the path is looked up among the existing ones, and never joined to a path.
pub(super) async fn evidence(State(app): State<Arc<App>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let as_written = request.uri().query() == Some("as-written");
    let section = if path.starts_with("/runs/") { "runs" } else { "drills" };
    let found = run_blocking(move || {
        let Some(parts) = path.strip_prefix('/').and_then(|path| path.strip_suffix("/evidence.html")) else {
            return Ok(None);
        };
        let mut folder = String::new();
        for part in parts.split('/') {
            if !folder.is_empty() && !app.setup.vault.list(&folder)?.folders.iter().any(|known| known == part)
            {
                return Ok(None);
            }
            folder = if folder.is_empty() { part.to_owned() } else { format!("{folder}/{part}") };
        }
        app.setup.vault.read(&format!("{folder}/evidence.html"))
    });
    match found.await {
        Ok(Some(evidence)) => {
            let evidence = String::from_utf8_lossy(&evidence).into_owned();
            let shown = if as_written { evidence } else { with_way_back(&evidence, section) };
            with_policy(text_response("text/html; charset=utf-8", shown), EVIDENCE_POLICY)
        }
        Ok(None) => {
            let words = "The vault holds no evidence of this run. It may have been removed, or the run may still be in progress.";
            html_page(StatusCode::NOT_FOUND, "lifeboat", &draw_notice("Evidence not found", words, &[]))
        }
        Err(error) => failure_page("The evidence cannot be read", &error),
    }
}

/// The page under a link back to the dashboard. The chain covers the original page, so that is available too.
fn with_way_back(evidence: &str, section: &str) -> String {
    let style = "nav.way-back{font:14px/1.5 system-ui,sans-serif;padding:12px 20px;display:flex;flex-wrap:wrap;gap:4px 20px}\
                 nav.way-back a{color:inherit}@media print{nav.way-back{display:none}}";
    let back = html! {
        style { (style) }
        nav.way-back aria-label="lifeboat" {
            a href={ "/#" (section) } { "Back to the dashboard" }
            a href="?as-written" { "The original page" }
        }
    };
    match evidence.split_once("<body>") {
        Some((head, body)) => format!("{head}<body>{}{body}", back.into_string()),
        None => evidence.to_owned(),
    }
}

pub(super) async fn asset(request: Request) -> Response {
    match request.uri().path() {
        "/assets/style.css" => text_response("text/css; charset=utf-8", [BASE_CSS, OWN_CSS].concat()),
        "/assets/script.js" => text_response("text/javascript; charset=utf-8", SCRIPT.to_owned()),
        "/assets/icon.svg" => text_response("image/svg+xml", ICON.to_owned()),
        _ => Answer::refusal(StatusCode::NOT_FOUND, "not found").into_response(),
    }
}
