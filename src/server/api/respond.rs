//! Headers of every answer of the API.

use axum::response::Response;

use crate::backup::BackupName;
use crate::error::Error;
use crate::server::answers::Answer;
use crate::server::app::App;
use crate::server::call::Call;

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
