//! `POST /api/backup/verify/NAME`.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::body::{VerifyBody, idempotency_key, read_body};
use super::operation::{
    actor_of, block_on, check_limit, context, look_up, of_act, refuse_absent, run_as_job, wait_of_call,
};
use super::respond::answer_act;
use crate::backup::identity::Identity;
use crate::backup::{self, BackupName, Event, Level, ProofOptions};
use crate::server::answers::{Answer, Answered, shown};
use crate::server::app::App;
use crate::server::call::Call;
use crate::server::jobs::{JobRequest, LiveJob, Task};
use crate::verify::Verdict;

pub(in crate::server) async fn verify_backup(
    State(app): State<Arc<App>>,
    request: Request,
) -> Answered<Response> {
    answer_act(app, request, try_verify).await
}

async fn try_verify(app: Arc<App>, call: Call, request: Request) -> Answered<Response> {
    let (app, call) = (&app, &call);
    let (parts, content) = request.into_parts();
    let asked: VerifyBody = read_body(&parts.headers, content).await?;
    let name = call.name.clone().ok_or_else(|| refuse_absent(""))?;
    let level = asked.level.unwrap_or(Level::Stream);
    check_limit(app, call)?;
    let found = look_up(app, &name).await?;
    let order = JobRequest {
        task: Task::Verify,
        lane: format!("proof of {name}"),
        name: Some(name.to_string()),
        identity: Some(Identity::of(&found).distinction()),
        database: Some(found.source.database),
        who: call.caller.who.clone(),
        request: call.request.clone(),
        key: idempotency_key(&parts.headers, call)?,
        asked: format!("{name} {}", level.as_str()),
    };
    let caller = call.clone();
    let work = move |app: &App, job: &LiveJob| verify_now(app, job, &caller, &name, level);
    let wait = wait_of_call(&parts.headers, asked.is_async);
    run_as_job(app, call, order, wait, "the backup is already being verified", work).await
}

fn verify_now(app: &App, job: &LiveJob, call: &Call, name: &BackupName, level: Level) -> Answer {
    let tell = |event: Event<'_>| job.tell(event);
    let since = Instant::now();
    let cx = context(app, &tell);
    let verified = async {
        let read = app.setup.access.read_options(&app.setup.config.backup)?;
        let options = ProofOptions { read, ..ProofOptions::default() };
        backup::verify(name.as_str(), level, &options, &cx).await
    };
    let proven = block_on(cx.record_act(actor_of(app, call).act("backup verify", name.as_str()), verified));
    match proven {
        Err(error) => of_act(&error).named(Some(name.as_str())),
        Ok((proof, manifest)) => {
            // The verification ran, whatever its result: `verification.result` is of this one, not an earlier one.
            let is_good = proof.result == Verdict::Pass;
            let answer = Answer::new(StatusCode::OK, json!(shown(&manifest)));
            let answer = answer.field("verification", json!(proof)).field("verified", is_good);
            answer.field("duration", since.elapsed().as_secs_f64())
        }
    }
}
