//! What the answers of the API have in common.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::backup::loss::Loss;
use crate::backup::{BackupName, Manifest};
use crate::error::Error;
use crate::server::answers::Answer;
use crate::server::app::App;
use crate::server::call::{Call, call_of};

/// The end of a call: its id and the time go into every answer.
pub(super) fn respond(app: &App, call: &Call, answer: Answer) -> Response {
    let name = call.name.as_ref().map(BackupName::as_str);
    let answer = if answer.status.is_success() || answer.body["backup_name"].is_string() {
        answer
    } else {
        answer.named(name)
    };
    answer.field("request_id", call.request.as_str()).at((app.setup.clock)()).into_response()
}

pub(super) fn respond_with_error(app: &App, call: &Call, error: &Error) -> Response {
    respond(app, call, Answer::of(error))
}

/// The answer of an action, or a refusal.
pub(super) async fn answer_act<Acting>(
    app: Arc<App>,
    request: Request,
    act: impl FnOnce(Arc<App>, Call, Request) -> Acting,
) -> Response
where
    Acting: Future<Output = std::result::Result<Response, Answer>>,
{
    let call = match call_of(&request) {
        Ok(call) => call,
        Err(error) => return Answer::of(&error).into_response(),
    };
    match act(Arc::clone(&app), call.clone(), request).await {
        Ok(response) => response,
        Err(answer) => respond(&app, &call, answer),
    }
}

/// The answer to a dry run.
pub(super) fn dry_run_answer(manifest: &Manifest, loss: &Loss) -> Answer {
    let body = json!({
        "success": true,
        "dry_run": true,
        "backup_name": manifest.backup_name,
        "file_path": manifest.file_path,
        "file_size": manifest.file_size,
        "duration": 0.0,
        "content_of": manifest.timestamp,
        "loss": loss,
    });
    Answer::new(StatusCode::OK, body)
}
