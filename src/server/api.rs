//! What the endpoints of `/api/` do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::answers::{Answer, listed, shown, too_many};
use super::guard::{Call, LARGEST_BODY, Recorded};
use super::jobs::{self, Job, Live, Order, Refused, Task};
use super::tokens::hexadecimal;
use super::{App, Wanted, call_of, off_the_runtime, overview};
use crate::backup::catalogue::{self, Catalogue};
use crate::backup::{
    self, BackupName, Event, Level, Manifest, Surroundings, create as creating, failures, prune,
    restore as restoring, stats as counting,
};
use crate::drill::journal;
use crate::error::{Error, Result};
use crate::output::redacted;
use crate::vault::{self, Outcome};

/// A body must have come by then.
const BODY: Duration = Duration::from_secs(10);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    backup_name: Option<String>,
    compress: Option<bool>,
    database: Option<String>,
    #[serde(default, rename = "async")]
    is_async: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RestoreBody {
    confirm: Option<String>,
    #[serde(default, rename = "async")]
    is_async: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyBody {
    level: Option<Level>,
    #[serde(default, rename = "async")]
    is_async: bool,
}

/// The end of a call: its id and the time go into every answer.
fn end(app: &App, call: &Call, answer: Answer) -> Response {
    let name = call.name.as_ref().map(BackupName::as_str);
    let answer = if answer.status.is_success() || answer.body["backup_name"].is_string() {
        answer
    } else {
        answer.named(name)
    };
    answer.field("request_id", call.request.as_str()).at((app.orders.clock)()).into_response()
}

/// The same for a call whose lines are in the audit log already.
fn end_recorded(app: &App, call: &Call, answer: Answer) -> Response {
    let mut response = end(app, call, answer);
    response.extensions_mut().insert(Recorded);
    response
}

fn refused(app: &App, call: &Call, error: &Error) -> Response {
    end(app, call, Answer::of(error))
}

/// The body of a request as what it is meant to be; an empty one says nothing.
async fn body<T: DeserializeOwned + Default>(
    headers: &HeaderMap,
    body: Body,
) -> std::result::Result<T, Answer> {
    let reading = tokio::time::timeout(BODY, Limited::new(body, LARGEST_BODY).collect()).await;
    let bytes = match reading {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(Answer::refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than {LARGEST_BODY} bytes"),
            )
            .header(header::CONNECTION, "close"));
        }
        Ok(Err(_)) => return Err(Answer::refusal(StatusCode::BAD_REQUEST, "the body was cut off")),
        Err(_) => {
            return Err(Answer::refusal(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not come within {} seconds", BODY.as_secs()),
            )
            .header(header::CONNECTION, "close"));
        }
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    if !kind.as_deref().is_none_or(|kind| kind == "application/json" || kind.ends_with("+json")) {
        return Err(Answer::refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is not said to be JSON")
            .hint("Send `Content-Type: application/json`."));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        Answer::refusal(StatusCode::BAD_REQUEST, format!("the body is not what is expected: {error}"))
            .hint("`/api/openapi.json` says what it may hold.")
    })
}

/// Whether the caller would rather be told where to look than wait.
fn prefers_async(headers: &HeaderMap) -> bool {
    let texts = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    texts
        .flat_map(|text| text.split([',', ';']))
        .any(|word| word.trim().eq_ignore_ascii_case("respond-async"))
}

/// The digest of who asks for what under which key.
fn key(headers: &HeaderMap, call: &Call) -> std::result::Result<Option<String>, Answer> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str().map(str::trim) {
        Ok(key) if (1..=255).contains(&key.len()) => {
            let text = format!("{}\n{}\n{key}", call.caller.who, call.endpoint.path);
            Ok(Some(hexadecimal(&Sha256::digest(text.as_bytes()))))
        }
        _ => Err(Answer::refusal(
            StatusCode::BAD_REQUEST,
            "an `Idempotency-Key` is 1 to 255 characters of ASCII",
        )),
    }
}

/// A job that was asked for before with the same key.
fn asked_before(app: &App, key: Option<&str>, asked: &str) -> std::result::Result<Option<Arc<Live>>, Answer> {
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
async fn answer_of(app: &App, call: &Call, live: &Live, is_async: bool, is_replay: bool) -> Response {
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

fn busy(what: &str, job: &str) -> Answer {
    Answer::refusal(StatusCode::CONFLICT, what)
        .field("job", job)
        .hint(format!("Look at `/api/backup/jobs/{job}`, and ask again when it is done."))
}

/// Takes one of what the caller has of this endpoint.
fn admit(app: &App, call: &Call) -> std::result::Result<(), Answer> {
    let Some((limit, _)) = call.endpoint.limit else { return Ok(()) };
    app.limits
        .admit(&call.caller.who, call.endpoint.path, limit, Instant::now())
        .map_err(|wait| too_many(&limit.shown(), wait))
}

/// What is said of a full limit comes before what is said of the rest.
fn check_limit(app: &App, call: &Call) -> std::result::Result<(), Answer> {
    let Some((limit, _)) = call.endpoint.limit else { return Ok(()) };
    match app.limits.full_for(&call.caller.who, call.endpoint.path, limit, Instant::now()) {
        Some(wait) => Err(too_many(&limit.shown(), wait)),
        None => Ok(()),
    }
}

/// Something that takes long: checked, counted, begun, and answered when it is over or at once.
async fn long(
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
    let live = jobs::begin(app, order, || admit(app, call), work).map_err(|refused| match refused {
        Refused::Busy(job) => busy(what, &job),
        Refused::Not(answer) => answer,
    })?;
    Ok(answer_of(app, call, &live, is_async, false).await)
}

/// The files of the vault hold the last word on what there is.
async fn look_up(app: &App, name: &BackupName) -> std::result::Result<Manifest, Answer> {
    let (vault, wanted) = (app.vault.clone(), name.clone());
    let catalogue =
        off_the_runtime(move || catalogue::read(&vault)).await.map_err(|error| Answer::of(&error))?;
    let found = catalogue.entries.into_iter().find(|entry| entry.manifest.backup_name == wanted);
    found.map(|entry| entry.manifest).ok_or_else(|| absent(name.as_str()))
}

fn absent(name: &str) -> Answer {
    Answer::refusal(StatusCode::NOT_FOUND, format!("there is no backup `{name}`"))
        .named(Some(name))
        .hint("`GET /api/backup/list` shows those there are.")
}

fn act(app: &App, call: &Call, what: &str, name: &str) -> vault::Act {
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
fn audited<T>(
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

pub(super) async fn create(State(app): State<Arc<App>>, request: Request) -> Response {
    let call = match call_of(&request) {
        Ok(call) => call,
        Err(error) => return Answer::of(&error).into_response(),
    };
    match try_create(&app, &call, request).await {
        Ok(response) => response,
        Err(answer) => end(&app, &call, answer),
    }
}

async fn try_create(app: &Arc<App>, call: &Call, request: Request) -> std::result::Result<Response, Answer> {
    let (parts, content) = request.into_parts();
    let asked: CreateBody = body(&parts.headers, content).await?;
    let is_async = asked.is_async || prefers_async(&parts.headers);
    let named = asked.backup_name.as_deref().map(str::parse::<BackupName>).transpose();
    let name = named.map_err(|error| Answer::of(&error))?;
    if let Some(database) = asked.database.as_ref().filter(|name| !app.orders.databases.contains(name)) {
        let known = app.orders.databases.join("`, `");
        let answer = Answer::refusal(
            StatusCode::BAD_REQUEST,
            format!("there is no database `{}` in lifeboat.toml", database.escape_default()),
        );
        return Err(if known.is_empty() { answer } else { answer.hint(format!("There are `{known}`.")) });
    }
    let wanted = Wanted { database: asked.database, name, compress: asked.compress };
    let digest = format!("{:?}", (&wanted.database, &wanted.name, wanted.compress));
    let key = key(&parts.headers, call)?;
    let digest = hexadecimal(&Sha256::digest(digest.as_bytes()));
    let is_replay = key.as_deref().is_some_and(|key| app.jobs.with_key(key, &digest).is_some());
    if !is_replay && let Some(name) = &wanted.name {
        check_limit(app, call)?;
        if look_up(app, name).await.is_ok() {
            return Err(Answer::refusal(StatusCode::CONFLICT, format!("there is a backup `{name}` already"))
                .named(Some(name.as_str()))
                .hint("Choose another `backup_name`, or leave it out: then one with the time is made."));
        }
    }
    let database = wanted.database.as_deref().or(app.orders.usual.as_deref());
    let lane = format!("database {}", database.unwrap_or_default());
    let order = Order {
        task: Task::Create,
        lane,
        name: wanted.name.as_ref().map(ToString::to_string),
        database: wanted.database.clone(),
        who: call.caller.who.clone(),
        request: call.request.clone(),
        key,
        asked: digest,
    };
    let caller = call.clone();
    let work = move |app: &App, live: &Live| create_now(app, live, &caller, &wanted);
    long(app, call, (order, is_async), "a backup is being made already", work).await
}

/// Surroundings of a job: it tells its record what happens, and hears the signals of the server.
fn surroundings<'a>(app: &'a App, tell: &'a (dyn Fn(Event<'_>) + Sync)) -> Surroundings<'a> {
    Surroundings {
        vault: &app.vault,
        interrupt: &app.interrupt,
        tell,
        clock: app.orders.clock,
        host: app.orders.host.clone(),
    }
}

fn create_now(app: &App, live: &Live, call: &Call, wanted: &Wanted) -> Answer {
    let name = wanted.name.as_ref().map(BackupName::as_str);
    let object = name.or(wanted.database.as_deref()).unwrap_or("(a new one)");
    let tell = |event: Event<'_>| live.tell(event);
    let made = audited(
        app,
        act(app, call, "create", object),
        || {
            let surroundings = surroundings(app, &tell);
            let request = (app.orders.create)(wanted)?;
            let (began, since) = ((app.orders.clock)(), Instant::now());
            let planned = request.clone();
            let work = async {
                let plan = creating::plan(planned, &app.vault, began).await?;
                creating::run(plan, &surroundings).await
            };
            let made = tokio::runtime::Handle::current().block_on(work);
            if let Err(error) = &made {
                record_failure(&request, error, (began, since), &surroundings);
            }
            made
        },
        |manifest| Some(manifest.backup_name.to_string()),
    );
    match made {
        Err(answer) => answer.named(name),
        Ok(manifest) => {
            let warnings = (app.orders.prune)(&manifest, &app.vault);
            let mut answer = Answer::new(StatusCode::CREATED, json!(shown(&manifest)));
            if !warnings.is_empty() {
                answer = answer.field("warnings", warnings);
            }
            answer
        }
    }
}

/// A backup that did not come about is seen where backups are looked at.
fn record_failure(
    request: &creating::Request,
    error: &Error,
    (began, since): (chrono::DateTime<chrono::Utc>, Instant),
    surroundings: &Surroundings<'_>,
) {
    if !failures::is_worth_a_record(error.kind(), &request.trigger) {
        return;
    }
    let wanted = failures::Wanted {
        source: request.source.clone(),
        database: request.database.clone(),
        name: request.name.clone(),
        trigger: request.trigger.clone(),
        timestamp: began,
    };
    let words = redacted(&error.chain());
    if let Err(error) = failures::record(&wanted, error, words, since.elapsed().as_secs_f64(), surroundings) {
        tracing::warn!("the failure could not be recorded: {}", error.chain());
    }
}

pub(super) async fn restore(State(app): State<Arc<App>>, request: Request) -> Response {
    let call = match call_of(&request) {
        Ok(call) => call,
        Err(error) => return Answer::of(&error).into_response(),
    };
    match try_restore(&app, &call, request).await {
        Ok(response) => response,
        Err(answer) => end(&app, &call, answer),
    }
}

async fn try_restore(app: &Arc<App>, call: &Call, request: Request) -> std::result::Result<Response, Answer> {
    let (parts, content) = request.into_parts();
    let asked: RestoreBody = body(&parts.headers, content).await?;
    let name = call.name.clone().ok_or_else(|| absent(""))?;
    let send = format!("Send the body {{\"confirm\": \"{name}\"}} with `Content-Type: application/json`.");
    match asked.confirm.as_deref() {
        Some(confirmed) if confirmed == name.as_str() => {}
        Some(_) => {
            return Err(Answer::refusal(
                StatusCode::BAD_REQUEST,
                format!("a restore replaces the database, and `confirm` is not `{name}`: nothing was done"),
            )
            .hint(send));
        }
        None => {
            return Err(Answer::refusal(
                StatusCode::BAD_REQUEST,
                "a restore replaces the database, and that was not confirmed: nothing was done",
            )
            .hint(send));
        }
    }
    let key = key(&parts.headers, call)?;
    let digest = hexadecimal(&Sha256::digest(name.as_str().as_bytes()));
    let is_async = asked.is_async || prefers_async(&parts.headers);
    check_limit(app, call).or_else(|answer| match asked_before(app, key.as_deref(), &digest) {
        Ok(Some(_)) => Ok(()),
        _ => Err(answer),
    })?;
    let found = match look_up(app, &name).await {
        Ok(found) => found,
        Err(answer) => {
            // To look for names costs what a restore costs.
            admit(app, call)?;
            return Err(answer);
        }
    };
    let database = found.source.database.clone();
    let is_usual = app.orders.databases.contains(&database);
    let order = Order {
        task: Task::Restore,
        lane: format!("database {}", if is_usual { database.as_str() } else { "" }),
        name: Some(name.to_string()),
        database: Some(database),
        who: call.caller.who.clone(),
        request: call.request.clone(),
        key,
        asked: digest,
    };
    let caller = call.clone();
    let work = move |app: &App, live: &Live| restore_now(app, live, &caller, &found);
    long(app, call, (order, is_async), "the database is being backed up or restored already", work).await
}

fn restore_now(app: &App, live: &Live, call: &Call, found: &Manifest) -> Answer {
    let name = found.backup_name.as_str();
    let tell = |event: Event<'_>| live.tell(event);
    let restored = audited(
        app,
        act(app, call, "restore", name),
        || {
            let (destination, manner) = (app.orders.restore)(name)?;
            let surroundings = surroundings(app, &tell);
            tokio::runtime::Handle::current().block_on(async {
                let plan = restoring::plan(name, destination, manner, &app.vault).await?;
                restoring::apply(plan, &surroundings).await
            })
        },
        |_| None,
    );
    match restored {
        Err(answer) => answer.named(Some(name)),
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

pub(super) async fn verify(State(app): State<Arc<App>>, request: Request) -> Response {
    let call = match call_of(&request) {
        Ok(call) => call,
        Err(error) => return Answer::of(&error).into_response(),
    };
    match try_verify(&app, &call, request).await {
        Ok(response) => response,
        Err(answer) => end(&app, &call, answer),
    }
}

async fn try_verify(app: &Arc<App>, call: &Call, request: Request) -> std::result::Result<Response, Answer> {
    let (parts, content) = request.into_parts();
    let asked: VerifyBody = body(&parts.headers, content).await?;
    let name = call.name.clone().ok_or_else(|| absent(""))?;
    let level = asked.level.unwrap_or(Level::Stream);
    check_limit(app, call)?;
    let found = match look_up(app, &name).await {
        Ok(found) => found,
        Err(answer) => {
            admit(app, call)?;
            return Err(answer);
        }
    };
    let order = Order {
        task: Task::Verify,
        lane: format!("proof of {name}"),
        name: Some(name.to_string()),
        database: Some(found.source.database),
        who: call.caller.who.clone(),
        request: call.request.clone(),
        key: key(&parts.headers, call)?,
        asked: format!("{name} {}", level.as_str()),
    };
    let caller = call.clone();
    let work = move |app: &App, live: &Live| verify_now(app, live, &caller, &name, level);
    let is_async = asked.is_async || prefers_async(&parts.headers);
    long(app, call, (order, is_async), "the backup is being proven already", work).await
}

fn verify_now(app: &App, live: &Live, call: &Call, name: &BackupName, level: Level) -> Answer {
    let tell = |event: Event<'_>| live.tell(event);
    let since = Instant::now();
    let proven = audited(
        app,
        act(app, call, "verify", name.as_str()),
        || {
            let means = (app.orders.means)()?;
            let surroundings = surroundings(app, &tell);
            let proof = backup::verify(name.as_str(), level, &means, &surroundings);
            tokio::runtime::Handle::current().block_on(proof)
        },
        |_| None,
    );
    match proven {
        Err(answer) => answer.named(Some(name.as_str())),
        Ok(manifest) => {
            // The proof was made, whatever it says: `verification.result` says it.
            let answer = Answer::new(StatusCode::OK, json!(shown(&manifest)));
            answer.field("duration", since.elapsed().as_secs_f64()).field("verified", manifest.is_verified())
        }
    }
}

pub(super) async fn delete(State(app): State<Arc<App>>, request: Request) -> Response {
    let call = match call_of(&request) {
        Ok(call) => call,
        Err(error) => return Answer::of(&error).into_response(),
    };
    let allow = match flag(request.uri().query(), "allow_last_copy") {
        Ok(allow) => allow,
        Err(answer) => return end(&app, &call, answer),
    };
    let (inner, caller) = (Arc::clone(&app), call.clone());
    let deleted = tokio::task::spawn_blocking(move || delete_now(&inner, &caller, allow)).await;
    match deleted {
        Ok(Ok(answer)) => end_recorded(&app, &call, answer),
        Ok(Err(answer)) => end(&app, &call, answer),
        Err(error) => refused(
            &app,
            &call,
            &Error::new(crate::error::Kind::Bug, "a thread has panicked").caused_by(error),
        ),
    }
}

fn delete_now(app: &App, call: &Call, even_the_last: bool) -> std::result::Result<Answer, Answer> {
    let name = call.name.clone().ok_or_else(|| absent(""))?;
    let since = Instant::now();
    let failed = |error: Error| Answer::of(&error);
    catalogue::recover(&app.vault).map_err(failed)?;
    let catalogue = catalogue::read(&app.vault).map_err(failed)?;
    if !catalogue.entries.iter().any(|entry| entry.manifest.backup_name == name) {
        return Err(absent(name.as_str()));
    }
    let manifest = audited(
        app,
        act(app, call, "delete", name.as_str()),
        || prune::delete(&app.vault, &catalogue, &name, even_the_last),
        |_| None,
    )
    .map_err(|answer| {
        let is_guarded = answer.status == StatusCode::CONFLICT;
        if is_guarded { answer.hint("`?allow_last_copy=true` deletes it all the same.") } else { answer }
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

/// A parameter of the query that is true or false.
fn flag(query: Option<&str>, key: &str) -> std::result::Result<bool, Answer> {
    let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut found = false;
    for (_, value) in pairs.filter(|(name, _)| name == key) {
        found = match value.as_ref() {
            "true" => true,
            "false" => false,
            _ => {
                return Err(Answer::refusal(
                    StatusCode::BAD_REQUEST,
                    format!("`{key}` is `true` or `false`"),
                ));
            }
        };
    }
    Ok(found)
}

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
    match off_the_runtime(move || look(&inner)).await {
        Ok(value) => end(&app, &call, Answer::new(StatusCode::OK, value)),
        Err(error) => refused(&app, &call, &error),
    }
}

fn statistics_of(app: &App, catalogue: &Catalogue) -> Result<Value> {
    let stats = counting::stats(catalogue, &failures::read(&app.vault)?, (app.orders.clock)());
    let mut value = json!(stats);
    value["total_backups"] = stats.count.into();
    value["total_size_mb"] = json!((stats.total_size_bytes as f64 / 1_000.0).round() / 1_000.0);
    value["backup_directory"] = app.vault.shown("").trim_end_matches('/').into();
    Ok(value)
}

pub(super) async fn list(State(app): State<Arc<App>>, request: Request) -> Response {
    read_only(app, request, |app| {
        let catalogue = catalogue::read(&app.vault)?;
        let backups: Vec<Value> = catalogue.entries.iter().map(listed).collect();
        Ok(json!({
            "success": true,
            "backups": backups,
            "statistics": statistics_of(app, &catalogue)?,
            "damaged": catalogue.damaged,
            "failures": failures::read(&app.vault)?,
        }))
    })
    .await
}

pub(super) async fn statistics(State(app): State<Arc<App>>, request: Request) -> Response {
    read_only(app, request, |app| {
        let mut value = statistics_of(app, &catalogue::read(&app.vault)?)?;
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
        None => Answer::refusal(StatusCode::NOT_FOUND, "there is no such job")
            .hint("`GET /api/backup/jobs` shows those that are remembered."),
    };
    end(&app, &call, answer)
}

pub(super) async fn drills(State(app): State<Arc<App>>, request: Request) -> Response {
    read_only(app, request, |app| {
        let (drills, damaged) = journal::list(&app.vault, &[])?;
        Ok(json!({"success": true, "drills": drills, "damaged": damaged}))
    })
    .await
}

pub(super) async fn status(State(app): State<Arc<App>>, request: Request) -> Response {
    read_only(app, request, |app| Ok(json!(overview::look(app)?))).await
}

pub(super) async fn runs(State(app): State<Arc<App>>, request: Request) -> Response {
    read_only(app, request, |app| Ok(json!({"success": true, "runs": overview::runs(app)?}))).await
}

pub(super) async fn healthy(State(app): State<Arc<App>>) -> Response {
    let body = json!({"success": true, "status": "ok", "uptime_seconds": app.started.elapsed().as_secs()});
    Answer::new(StatusCode::OK, body).into_response()
}

/// The vault can be written, and with it the audit log.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let vault = app.vault.clone();
    let looking = tokio::time::timeout(Duration::from_secs(5), off_the_runtime(move || vault.clock()));
    let problem = match looking.await {
        Ok(Ok(_)) if app.audit.lost() == 0 => None,
        Ok(Ok(_)) => Some("lines of the audit log could not be written".to_owned()),
        Ok(Err(error)) => Some(error.chain()),
        Err(_) => Some("the vault does not answer".to_owned()),
    };
    let answer = match problem {
        None => Answer::new(StatusCode::OK, json!({"success": true, "status": "ready"})),
        Some(problem) => Answer::refusal(StatusCode::SERVICE_UNAVAILABLE, problem),
    };
    answer.at((app.orders.clock)()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asynchronous_answer_is_asked_for_in_a_header() {
        let mut headers = HeaderMap::new();
        assert!(!prefers_async(&headers));
        headers.insert("prefer", "wait=10, Respond-Async".parse().unwrap());
        assert!(prefers_async(&headers));
    }

    #[test]
    fn a_flag_is_true_or_false_and_nothing_else() {
        assert!(
            !flag(None, "x").unwrap()
                && !flag(Some("y=true"), "x").unwrap()
                && flag(Some("x=true"), "x").unwrap()
        );
        assert!(flag(Some("x=1"), "x").is_err());
    }
}
