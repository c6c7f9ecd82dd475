//! The endpoints of `/api/`: those that read, and a file for each that acts. There is none for pruning: what the pruning after a
//! backup could not remove is in the `warnings` of `create`.

mod body;
mod create;
mod delete;
mod operation;
mod respond;
mod restore;
mod verify;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::answers::{Answer, entry_json, failed};
use super::app::App;
use super::blocking::run_blocking;
use super::call::call_of;
use super::jobs::Job;
use super::overview;
use crate::backup::catalogue::{self, Catalogue};
use crate::backup::failures::Failure;
use crate::backup::{failures, stats as counting};
use crate::drill::proof::{self, Records};
use crate::error::Result;

use respond::{respond, respond_with_error};

pub(super) use create::create_backup;
pub(super) use delete::delete_backup;
pub(super) use restore::restore_backup;
pub(super) use verify::verify_backup;

/// Reads something of the vault, and answers with it.
async fn read_only(
    app: Arc<App>,
    request: Request,
    look: impl FnOnce(&App) -> Result<Value> + Send + 'static,
) -> Response {
    let call = match call_of(&request) {
        Ok(call) => call,
        Err(error) => return Answer::of(&error).into_response(),
    };
    let inner = Arc::clone(&app);
    match run_blocking(move || look(&inner)).await {
        Ok(value) => respond(&app, &call, Answer::new(StatusCode::OK, value)),
        Err(error) => respond_with_error(&app, &call, &error),
    }
}

fn statistics_of(app: &App, catalogue: &Catalogue) -> Result<Value> {
    let stats = counting::compute_stats(catalogue, &failures::read(&app.setup.vault)?, (app.setup.clock)());
    let mut value = json!(stats);
    value["total_backups"] = stats.count.into();
    value["total_size_mb"] = json!((stats.total_size_bytes as f64 / 1_000.0).round() / 1_000.0);
    value["backup_directory"] = app.setup.vault.shown("").trim_end_matches('/').into();
    Ok(value)
}

pub(super) async fn list(State(app): State<Arc<App>>, request: Request) -> Response {
    read_only(app, request, |app| {
        let catalogue = catalogue::read(&app.setup.vault)?;
        let failures = failures::read(&app.setup.vault)?;
        let backups = listed_with_failures(&catalogue, &failures);
        Ok(json!({
            "success": true,
            "backups": backups,
            "statistics": statistics_of(app, &catalogue)?,
            "damaged": catalogue.damaged,
            "failures": failures,
        }))
    })
    .await
}

/// Backups and attempts that failed, newest first: the first entry is the latest attempt, and its `success` the result.
fn listed_with_failures(catalogue: &Catalogue, failures: &[Failure]) -> Vec<Value> {
    let made = catalogue.entries.iter().map(|entry| (entry.manifest.timestamp, entry_json(entry)));
    let mut attempts: Vec<_> = made.chain(failures.iter().map(|it| (it.timestamp, failed(it)))).collect();
    attempts.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    attempts.into_iter().map(|(_, attempt)| attempt).collect()
}

pub(super) async fn statistics(State(app): State<Arc<App>>, request: Request) -> Response {
    read_only(app, request, |app| {
        let mut value = statistics_of(app, &catalogue::read(&app.setup.vault)?)?;
        value["success"] = true.into();
        Ok(value)
    })
    .await
}

pub(super) async fn jobs(State(app): State<Arc<App>>, request: Request) -> Response {
    read_only(app, request, |app| Ok(json!({"success": true, "jobs": app.jobs.list()}))).await
}

pub(super) async fn job(State(app): State<Arc<App>>, request: Request) -> Response {
    let call = match call_of(&request) {
        Ok(call) => call,
        Err(error) => return Answer::of(&error).into_response(),
    };
    let id = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let found: Option<Job> = app.jobs.find(&id).map(|live| live.shown());
    let answer = match found {
        Some(job) => Answer::new(StatusCode::OK, json!(job)).field("success", true),
        None => Answer::refusal(StatusCode::NOT_FOUND, "job not found")
            .hint("`GET /api/backup/jobs` lists the jobs."),
    };
    respond(&app, &call, answer)
}

pub(super) async fn drills(State(app): State<Arc<App>>, request: Request) -> Response {
    read_only(app, request, |app| {
        let Records { reports: drills, damaged, .. } = proof::read_records(&app.setup.vault, &[])?;
        Ok(json!({"success": true, "drills": drills, "damaged": damaged}))
    })
    .await
}

pub(super) async fn status(State(app): State<Arc<App>>, request: Request) -> Response {
    read_only(app, request, |app| Ok(json!(overview::read_overview(app)?))).await
}

pub(super) async fn runs(State(app): State<Arc<App>>, request: Request) -> Response {
    read_only(app, request, |app| {
        let (runs, damaged) = overview::runs(app)?;
        Ok(json!({"success": true, "runs": runs, "damaged": damaged}))
    })
    .await
}

pub(super) async fn healthy(State(app): State<Arc<App>>) -> Response {
    let body = json!({"success": true, "status": "ok", "uptime_seconds": app.started.elapsed().as_secs()});
    Answer::new(StatusCode::OK, body).into_response()
}

/// The vault can be written, and with it the audit log.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let problem = app.readiness.problem(&app.setup.vault, &app.audit).await;
    let answer = match problem {
        None => Answer::new(StatusCode::OK, json!({"success": true, "status": "ready"})),
        Some(problem) => Answer::refusal(StatusCode::SERVICE_UNAVAILABLE, problem),
    };
    answer.at((app.setup.clock)()).into_response()
}
