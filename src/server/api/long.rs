//! What takes long or destroys: counted, begun, audited, and answered when it is over or at once.

use std::sync::Arc;
use std::time::Instant;

use axum::http::{StatusCode, header};
use axum::response::Response;
use serde_json::json;

use super::end;
use crate::backup::catalogue;
use crate::backup::{BackupName, Event, Manifest, Surroundings};
use crate::error::Result;
use crate::output::redacted;
use crate::server::answers::{Answer, is_refusal, too_many};
use crate::server::guard::{Call, Recorded};
use crate::server::jobs::{self, Live, Order, Refused};
use crate::server::{App, off_the_runtime};
use crate::vault::{self, Outcome};

/// The same for a call whose lines are in the audit log already.
pub(super) fn end_recorded(app: &App, call: &Call, answer: Answer) -> Response {
    let mut response = end(app, call, answer);
    response.extensions_mut().insert(Recorded);
    response
}

/// A job that was asked for before with the same key.
pub(super) fn asked_before(
    app: &App,
    key: Option<&str>,
    asked: &str,
) -> std::result::Result<Option<Arc<Live>>, Answer> {
    match key.and_then(|key| app.jobs.with_key(key, asked)) {
        None => Ok(None),
        Some((live, true)) => Ok(Some(live)),
        Some((_, false)) => Err(Answer::refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            "this `Idempotency-Key` was used for another request",
        )
        .hint("Use a new key for a new request.")),
    }
}

/// The answer of a job: what came out of it, or where to look.
pub(super) async fn answer_of(
    app: &App,
    call: &Call,
    live: &Live,
    is_async: bool,
    is_replay: bool,
) -> Response {
    let replayed = |answer: Answer| {
        if is_replay {
            answer.header(header::HeaderName::from_static("idempotency-replayed"), "true")
        } else {
            answer
        }
    };
    if !is_async {
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

pub(super) fn busy(what: &str, job: &str) -> Answer {
    Answer::refusal(StatusCode::CONFLICT, what)
        .field("job", job)
        .hint(format!("Look at `/api/backup/jobs/{job}`, and ask again when it is done."))
}

/// Takes one of what the caller has of this endpoint. Says when, for [`give_back`].
pub(super) fn admit(app: &App, call: &Call) -> std::result::Result<Instant, Answer> {
    let now = Instant::now();
    let Some((limit, _)) = call.endpoint.limit else { return Ok(now) };
    app.limits
        .admit(&call.caller.who, call.endpoint.path, limit, now)
        .map_err(|wait| too_many(&limit.shown(), wait))?;
    Ok(now)
}

/// What was refused after all has cost nothing.
pub(super) fn give_back(app: &App, call: &Call, answer: &Answer, taken: Instant) {
    if is_refusal(answer.status.as_u16()) {
        app.limits.give_back(&call.caller.who, call.endpoint.path, taken);
    }
}

/// What is said of a full limit comes before what is said of the rest.
pub(super) fn check_limit(app: &App, call: &Call) -> std::result::Result<(), Answer> {
    let Some((limit, _)) = call.endpoint.limit else { return Ok(()) };
    match app.limits.full_for(&call.caller.who, call.endpoint.path, limit, Instant::now()) {
        Some(wait) => Err(too_many(&limit.shown(), wait)),
        None => Ok(()),
    }
}

/// Something that takes long: checked, counted, begun, and answered when it is over or at once.
pub(super) async fn long(
    app: &Arc<App>,
    call: &Call,
    (order, is_async): (Order, bool),
    what: &'static str,
    work: impl FnOnce(&App, &Live) -> Answer + Send + 'static,
) -> std::result::Result<Response, Answer> {
    if let Some(live) = asked_before(app, order.key.as_deref(), &order.asked)? {
        return Ok(answer_of(app, call, &live, is_async, true).await);
    }
    check_limit(app, call)?;
    let caller = call.clone();
    let admit = || admit(app, call);
    let work = move |app: &App, live: &Live, taken: Instant| {
        let answer = work(app, live);
        give_back(app, &caller, &answer, taken);
        answer
    };
    let live = jobs::begin(app, order, admit, work).map_err(|refused| match refused {
        Refused::Busy(job) => busy(what, &job),
        Refused::Not(answer) => answer,
    })?;
    Ok(answer_of(app, call, &live, is_async, false).await)
}

/// The files of the vault hold the last word on what there is.
pub(super) async fn look_up(app: &App, name: &BackupName) -> std::result::Result<Manifest, Answer> {
    let (vault, wanted) = (app.vault.clone(), name.clone());
    let catalogue =
        off_the_runtime(move || catalogue::read(&vault)).await.map_err(|error| Answer::of(&error))?;
    let found = catalogue.entries.into_iter().find(|entry| entry.manifest.backup_name == wanted);
    found.map(|entry| entry.manifest).ok_or_else(|| absent(name.as_str()))
}

pub(super) fn absent(name: &str) -> Answer {
    Answer::refusal(StatusCode::NOT_FOUND, format!("there is no backup `{name}`"))
        .named(Some(name))
        .hint("`GET /api/backup/list` shows those there are.")
}

pub(super) fn act(app: &App, call: &Call, what: &str, name: &str) -> vault::Act {
    vault::Act {
        who: format!("{} at {}", call.caller.who, call.peer),
        host: app.orders.host.clone(),
        trigger: "api".to_owned(),
        what: format!("backup {what}"),
        name: name.to_owned(),
        request: Some(call.request.clone()),
    }
}

/// Does something between two lines of the audit log. Where the first cannot be written, nothing is done.
pub(super) fn audited<T>(
    app: &App,
    act: vault::Act,
    work: impl FnOnce() -> Result<T>,
    name_of: impl FnOnce(&T) -> Option<String>,
) -> std::result::Result<T, Answer> {
    let begun = app.vault.begin(act, (app.orders.clock)()).map_err(|error| {
        Answer::refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the audit log cannot be written, so nothing was done: {}", error.chain()),
        )
    })?;
    let done = work();
    let (outcome, name) = match &done {
        Ok(value) => (Outcome::Done, name_of(value)),
        Err(error) => (Outcome::Failed(error.kind().exit_code(), redacted(&error.chain())), None),
    };
    if let Err(error) = begun.end(name.as_deref(), &outcome, (app.orders.clock)()) {
        tracing::warn!("{}", error.chain());
    }
    done.map_err(|error| Answer::of(&error))
}

/// Surroundings of a job: it tells its record what happens, and hears the signals of the server.
pub(super) fn surroundings<'a>(app: &'a App, tell: &'a (dyn Fn(Event<'_>) + Sync)) -> Surroundings<'a> {
    Surroundings {
        vault: &app.vault,
        interrupt: &app.interrupt,
        tell,
        clock: app.orders.clock,
        host: app.orders.host.clone(),
    }
}
