//! Long or destructive operations: counted, started, audited, and answered when done or at once.

use std::sync::Arc;
use std::time::Instant;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde_json::json;

use super::body::prefers_async;
use super::respond::respond;
use crate::backup::catalogue;
use crate::backup::{BackupName, Context, Event, Manifest};
use crate::error::Error;
use crate::server::answers::{Answer, Answered, is_refusal, too_many};
use crate::server::app::App;
use crate::server::blocking::run_blocking;
use crate::server::call::{Call, Recorded};
use crate::server::jobs::{JobRequest, LiveJob, Refused};
use crate::vault::{Actor, Trigger, is_unaudited};

/// The same for a call that is already in the audit log.
pub(super) fn end_recorded(app: &App, call: &Call, answer: Answer) -> Response {
    let mut response = respond(app, call, answer);
    response.extensions_mut().insert(Recorded);
    response
}

/// A job that was requested earlier with the same key.
pub(super) fn asked_before(app: &App, key: Option<&str>, asked: &str) -> Answered<Option<Arc<LiveJob>>> {
    match key.and_then(|key| app.jobs.with_key(key, asked)) {
        None => Ok(None),
        Some((live, true)) => Ok(Some(live)),
        Some((_, false)) => Err(Answer::refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            "this `Idempotency-Key` was used with another request",
        )
        .hint("Use a new key for a new request.")),
    }
}

/// What a caller waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The end of the job.
    ForTheEnd,
    /// Its record, to be polled.
    ForTheRecord,
}

/// What a call waits for, by its body or `Prefer` header.
pub(super) fn wait_of_call(headers: &HeaderMap, is_async: bool) -> Wait {
    if is_async || prefers_async(headers) { Wait::ForTheRecord } else { Wait::ForTheEnd }
}

/// Whether the answer is that of an earlier call with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replay {
    Yes,
    No,
}

/// The answer of a job: its result, or its record.
async fn answer_of(app: &App, call: &Call, live: &LiveJob, wait: Wait, replay: Replay) -> Response {
    let replayed = |answer: Answer| {
        if replay == Replay::Yes {
            answer.header(header::HeaderName::from_static("idempotency-replayed"), "true")
        } else {
            answer
        }
    };
    if wait == Wait::ForTheEnd {
        return end_recorded(app, call, replayed(live.ended().await));
    }
    live.recorded().await;
    let job = live.shown();
    let path = format!("/api/backup/jobs/{}", job.job);
    let body = json!({
        "success": true,
        "job": job.job,
        "state": job.state,
        "backup_name": job.backup_name,
        "location": path,
    });
    let answer = Answer::new(StatusCode::ACCEPTED, body)
        .header(header::LOCATION, path)
        .header(header::HeaderName::from_static("preference-applied"), "respond-async");
    end_recorded(app, call, replayed(answer))
}

pub(super) fn refuse_busy(what: &str, job: &str) -> Answer {
    Answer::refusal(StatusCode::CONFLICT, what)
        .field("job", job)
        .hint(format!("Poll `/api/backup/jobs/{job}` and send the request again when that job is done."))
}

/// Counts the call towards the caller's limit for this endpoint. Returns the instant, for [`give_back`].
pub(super) fn admit_call(app: &App, call: &Call) -> Answered<Instant> {
    let now = Instant::now();
    let Some((limit, _)) = call.endpoint.limit else { return Ok(now) };
    app.limits
        .admit(&call.caller.who, call.endpoint.path, limit, now)
        .map_err(|wait| too_many(&limit.shown(), wait))?;
    Ok(now)
}

/// A call that was refused after all does not count.
pub(super) fn give_back(app: &App, call: &Call, answer: &Answer, taken: Instant) {
    if is_refusal(answer.status.as_u16()) {
        app.limits.give_back(&call.caller.who, call.endpoint.path, taken);
    }
}

/// An exceeded limit is reported before anything else.
pub(super) fn check_limit(app: &App, call: &Call) -> Answered<()> {
    let Some((limit, _)) = call.endpoint.limit else { return Ok(()) };
    match app.limits.full_for(&call.caller.who, call.endpoint.path, limit, Instant::now()) {
        Some(wait) => Err(too_many(&limit.shown(), wait)),
        None => Ok(()),
    }
}

/// A long operation: checked, counted, started, and answered when done or at once.
pub(super) async fn run_as_job(
    app: &Arc<App>,
    call: &Call,
    order: JobRequest,
    wait: Wait,
    what: &'static str,
    work: impl FnOnce(&App, &LiveJob) -> Answer + Send + 'static,
) -> Answered<Response> {
    if let Some(live) = asked_before(app, order.key.as_deref(), &order.asked)? {
        return Ok(answer_of(app, call, &live, wait, Replay::Yes).await);
    }
    check_limit(app, call)?;
    let (caller, inner) = (call.clone(), Arc::clone(app));
    let admit = || admit_call(app, call);
    let work = move |live: &LiveJob, taken: Instant| {
        let answer = work(&inner, live);
        give_back(&inner, &caller, &answer, taken);
        answer
    };
    let live = app.jobs.begin(order, admit, work).map_err(|refused| match refused {
        Refused::Busy(job) => refuse_busy(what, &job),
        Refused::Not(answer) => answer,
    })?;
    Ok(answer_of(app, call, &live, wait, Replay::No).await)
}

/// The files in the vault are authoritative.
pub(super) async fn look_up(app: &App, name: &BackupName) -> Answered<Manifest> {
    let (vault, wanted) = (app.setup.vault.clone(), name.clone());
    let catalogue =
        run_blocking(move || catalogue::read(&vault)).await.map_err(|error| Answer::of(&error))?;
    let found = catalogue.entries.into_iter().find(|entry| entry.manifest.backup_name == wanted);
    found.map(|entry| entry.manifest).ok_or_else(|| refuse_absent(name.as_str()))
}

pub(super) fn refuse_absent(name: &str) -> Answer {
    Answer::refusal(StatusCode::NOT_FOUND, format!("backup `{name}` does not exist"))
        .named(Some(name))
        .hint("`GET /api/backup/list` lists the backups.")
}

/// The caller.
pub(super) fn actor_of(app: &App, call: &Call) -> Actor {
    Actor {
        who: format!("{} at {}", call.caller.who, call.peer),
        host: app.setup.host.clone(),
        trigger: Trigger::Api,
        request: Some(call.request.clone()),
    }
}

/// The answer to an action that failed, or was not started because the audit log cannot be written.
pub(super) fn of_act(error: &Error) -> Answer {
    match is_unaudited(error) {
        true => Answer::refusal(StatusCode::SERVICE_UNAVAILABLE, error.chain()),
        false => Answer::of(error),
    }
}

/// Waits on the thread of a job.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(work)
}

/// The context of a call: `tell` gets its events, and the server's signals end it.
pub(super) fn context<'a>(app: &'a App, tell: &'a (dyn Fn(Event<'_>) + Sync)) -> Context<'a> {
    Context {
        vault: &app.setup.vault,
        interrupt: &app.setup.interrupt,
        tell,
        clock: app.setup.clock,
        host: app.setup.host.clone(),
    }
}
