//! `DELETE /api/backup/delete/NAME`.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::body::query_flag;
use super::operation::{
    actor_of, admit_call, block_on, check_limit, context, end_recorded, give_back, of_act, refuse_absent,
};
use super::respond::{answer_act, dry_run_answer, respond};
use crate::backup::catalogue;
use crate::backup::delete::{self, LastCopy};
use crate::backup::loss::Loss;
use crate::error::{Error, Kind};
use crate::server::answers::{Answer, Answered};
use crate::server::app::App;
use crate::server::blocking::run_blocking;
use crate::server::call::Call;

pub(in crate::server) async fn delete_backup(
    State(app): State<Arc<App>>,
    request: Request,
) -> Answered<Response> {
    answer_act(app, request, try_delete).await
}

async fn try_delete(app: Arc<App>, call: Call, request: Request) -> Answered<Response> {
    let allow = query_flag(request.uri().query(), "allow_last_copy")?;
    if query_flag(request.uri().query(), "dry_run")? {
        return deletion_planned(&app, &call).await.map(|answer| respond(&app, &call, answer));
    }
    check_limit(&app, &call)?;
    let (inner, caller) = (Arc::clone(&app), call.clone());
    match tokio::task::spawn_blocking(move || delete_now(&inner, &caller, allow)).await {
        Ok(deleted) => deleted.map(|answer| end_recorded(&app, &call, answer)),
        Err(error) => Err(Answer::of(&Error::new(Kind::Bug, "a thread has panicked").caused_by(error))),
    }
}

/// What a deletion would lose; nothing is touched, and it does not count towards the limit.
async fn deletion_planned(app: &Arc<App>, call: &Call) -> Answered<Answer> {
    let name = call.name.clone().ok_or_else(|| refuse_absent(""))?;
    let inner = Arc::clone(app);
    let read = run_blocking(move || catalogue::read(&inner.setup.vault)).await;
    let catalogue = read.map_err(|error| Answer::of(&error))?;
    let entry = catalogue.entries.iter().find(|entry| entry.manifest.backup_name == name);
    let entry = entry.ok_or_else(|| refuse_absent(name.as_str()))?;
    Ok(dry_run_answer(&entry.manifest, &Loss::of_deletion(entry, &catalogue)))
}

fn delete_now(app: &App, call: &Call, even_the_last: bool) -> Answered<Answer> {
    let name = call.name.clone().ok_or_else(|| refuse_absent(""))?;
    let since = Instant::now();
    let failed = |error: Error| Answer::of(&error);
    catalogue::recover(&app.setup.vault).map_err(failed)?;
    let catalogue = catalogue::read(&app.setup.vault).map_err(failed)?;
    if !catalogue.entries.iter().any(|entry| entry.manifest.backup_name == name) {
        return Err(refuse_absent(name.as_str()));
    }
    let taken = admit_call(app, call)?;
    let last_copy = if even_the_last { LastCopy::Delete } else { LastCopy::Keep };
    let cx = context(app, &app.setup.tell);
    let actor = actor_of(app, call);
    let deleted = delete::run_recorded(&name, &catalogue, last_copy, &actor, &cx);
    let manifest = block_on(deleted).map_err(|error| {
        let answer = of_act(&error);
        give_back(app, call, &answer, taken);
        answer
    })?;
    let body = json!({
        "success": true,
        "backup_name": name,
        "file_path": manifest.file_path,
        "file_size": manifest.file_size,
        "duration": since.elapsed().as_secs_f64(),
    });
    Ok(Answer::new(StatusCode::OK, body))
}
