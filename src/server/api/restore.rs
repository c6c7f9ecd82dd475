//! `POST /api/backup/restore/NAME`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::body::{RestoreBody, idempotency_key, read_body};
use super::operation::{
    actor_of, asked_before, block_on, check_limit, context, look_up, of_act, refuse_absent, run_as_job,
    wait_of_call,
};
use super::respond::{answer_act, dry_run_answer, respond};
use crate::backup::identity::Identity;
use crate::backup::loss::Loss;
use crate::backup::{BackupName, Event, Manifest, restore};
use crate::server::answers::{Answer, Answered};
use crate::server::app::App;
use crate::server::blocking::run_blocking;
use crate::server::call::Call;
use crate::server::jobs::{JobRequest, LiveJob, Task};

pub(in crate::server) async fn restore_backup(
    State(app): State<Arc<App>>,
    request: Request,
) -> Answered<Response> {
    answer_act(app, request, try_restore).await
}

async fn try_restore(app: Arc<App>, call: Call, request: Request) -> Answered<Response> {
    let (app, call) = (&app, &call);
    let (parts, content) = request.into_parts();
    let asked: RestoreBody = read_body(&parts.headers, content).await?;
    let name = call.name.clone().ok_or_else(|| refuse_absent(""))?;
    // The path names what is restored, and the old content is kept; a caller who wants a confirmation sends the name again.
    if asked.confirm.as_deref().is_some_and(|confirmed| confirmed != name.as_str()) {
        return Err(Answer::bad_request(format!("`confirm` is not `{name}`: nothing was restored"))
            .hint(format!("Send {{\"confirm\": \"{name}\"}}, or leave it out.")));
    }
    if asked.dry_run {
        return Ok(respond(app, call, restore_planned(app, &name).await?));
    }
    let key = idempotency_key(&parts.headers, call)?;
    let digest = hex::encode(Sha256::digest(name.as_str().as_bytes()));
    let wait = wait_of_call(&parts.headers, asked.is_async);
    check_limit(app, call).or_else(|answer| match asked_before(app, key.as_deref(), &digest) {
        Ok(Some(_)) => Ok(()),
        _ => Err(answer),
    })?;
    let found = look_up(app, &name).await?;
    let database = found.source.database.clone();
    let identity = Identity::of(&found).distinction();
    let is_usual = app.databases.contains(&database);
    let order = JobRequest {
        task: Task::Restore,
        lane: format!("database {}", if is_usual { database.as_str() } else { "" }),
        name: Some(name.to_string()),
        database: Some(database),
        identity: Some(identity),
        who: call.caller.who.clone(),
        request: call.request.clone(),
        key,
        asked: digest,
    };
    let caller = call.clone();
    let work = move |app: &App, job: &LiveJob| restore_now(app, job, &caller, &found);
    run_as_job(app, call, order, wait, "another backup or restore of the database is already running", work)
        .await
}

/// What a restore would lose; nothing is touched, and it does not count towards the limit.
async fn restore_planned(app: &Arc<App>, name: &BackupName) -> Answered<Answer> {
    let found = look_up(app, name).await?;
    let (inner, name) = (Arc::clone(app), name.to_string());
    let planned = run_blocking(move || {
        let cx = context(&inner, &inner.setup.tell);
        let asked = restore::Asked::of(&name, inner.setup.access.clone());
        let plan = block_on(restore::plan(&asked, &inner.setup.config.backup, &cx))?;
        Ok(Loss::of_restore(&plan, &inner.setup.host))
    });
    let loss = planned.await.map_err(|error| Answer::of(&error).named(Some(found.backup_name.as_str())))?;
    Ok(dry_run_answer(&found, &loss))
}

fn restore_now(app: &App, job: &LiveJob, call: &Call, found: &Manifest) -> Answer {
    let name = found.backup_name.as_str();
    let tell = |event: Event<'_>| job.tell(event);
    let cx = context(app, &tell);
    let asked = restore::Asked::of(name, app.setup.access.clone());
    let plan = restore::plan(&asked, &app.setup.config.backup, &cx);
    let restored = block_on(restore::run_recorded(name, plan, &actor_of(app, call), &cx));
    match restored {
        Err(error) => of_act(&error).named(Some(name)),
        Ok(report) => {
            let body = json!({
                "success": true,
                "backup_name": name,
                "file_path": found.file_path,
                "file_size": found.file_size,
                "duration": report.seconds,
                "restored_to": report.restored_to,
                "content_of": report.content_of,
                "kept_old": report.kept_old,
                "kept_until": report.kept_until,
                "tables_checked": report.tables_checked,
                "rows_checked": report.rows_checked,
            });
            Answer::new(StatusCode::OK, body)
        }
    }
}
