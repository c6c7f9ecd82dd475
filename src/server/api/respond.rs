//! What the answers of the API have in common.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::backup::loss::Loss;
use crate::backup::{BackupName, Manifest};
use crate::server::answers::{Answer, Answered};
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

/// The answer of an action, or a refusal.
pub(super) async fn answer_act<Acting>(
    app: Arc<App>,
    request: Request,
    act: impl FnOnce(Arc<App>, Call, Request) -> Acting,
) -> Answered<Response>
where
    Acting: Future<Output = Answered<Response>>,
{
    let call = call_of(&request)?;
    let acted = act(Arc::clone(&app), call.clone(), request).await;
    Ok(acted.unwrap_or_else(|answer| respond(&app, &call, answer)))
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
