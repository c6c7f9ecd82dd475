//! Making, proving, restoring and deleting backups.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::asked::{CreateBody, RestoreBody, VerifyBody, idempotency_key, query_flag, read_body};
use super::long::{
    actor_of, admit_call, asked_before, block_on, check_limit, context, end_recorded, give_back, look_up,
    of_act, refuse_absent, run_as_job, wait_of_call,
};
use super::respond::{respond, respond_with_error};
use crate::backup::create::{self, AuditFrom};
use crate::backup::delete::{self, LastCopy};
use crate::backup::identity::Identity;
use crate::backup::loss::Loss;
use crate::backup::request::{self, Asked, Compress};
use crate::backup::{
    self, BackupName, Compression, Event, Level, Manifest, ProofOptions, catalogue, restore,
};
use crate::error::{Error, Kind, Result};
use crate::output::redact_urls;
use crate::retention::PruneReport;
use crate::server::answers::{Answer, shown};
use crate::server::app::App;
use crate::server::blocking::run_blocking;
use crate::server::call::{Call, call_of};
use crate::server::jobs::{JobRequest, LiveJob, Task};
use crate::vault::Trigger;
use crate::verify::Verdict;

/// The answer of an action, or a refusal.
async fn answer_act<Acting>(
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

pub(in crate::server) async fn create_backup(State(app): State<Arc<App>>, request: Request) -> Response {
    answer_act(app, request, try_create).await
}

async fn try_create(app: Arc<App>, call: Call, request: Request) -> std::result::Result<Response, Answer> {
    let (app, call) = (&app, &call);
    let (parts, content) = request.into_parts();
    let asked: CreateBody = read_body(&parts.headers, content).await?;
    let named = asked.backup_name.as_deref().map(str::parse::<BackupName>).transpose();
    let name = named.map_err(|error| Answer::of(&error))?;
    let words = name.as_ref().map(ToString::to_string);
    create_asked(app, call, &parts.headers, asked, name).await.map_err(|answer| {
        if answer.body["backup_name"].is_string() { answer } else { answer.named(words.as_deref()) }
    })
}

async fn create_asked(
    app: &Arc<App>,
    call: &Call,
    headers: &HeaderMap,
    body: CreateBody,
    name: Option<BackupName>,
) -> std::result::Result<Response, Answer> {
    let wait = wait_of_call(headers, body.is_async);
    if let Some(database) = body.database.as_ref().filter(|name| !app.databases.contains(name)) {
        let known = app.databases.join("`, `");
        let answer = Answer::refusal(
            StatusCode::BAD_REQUEST,
            format!("database `{}` is not in lifeboat.toml", database.escape_default()),
        );
        return Err(if known.is_empty() {
            answer
        } else {
            answer.hint(format!("Known databases: `{known}`."))
        });
    }
    let digest = format!("{:?}", (&body.database, &name, body.compress));
    let key = idempotency_key(headers, call)?;
    let digest = hex::encode(Sha256::digest(digest.as_bytes()));
    let is_replay = key.as_deref().is_some_and(|key| app.jobs.with_key(key, &digest).is_some());
    if !is_replay && let Some(name) = &name {
        check_limit(app, call)?;
        if look_up(app, name).await.is_ok() {
            return Err(Answer::refusal(StatusCode::CONFLICT, format!("backup `{name}` already exists"))
                .named(Some(name.as_str()))
                .hint("Choose another `backup_name`, or leave it out: the default name contains the time."));
        }
    }
    let database = body.database.as_deref().or(app.default_database.as_deref());
    let order = JobRequest {
        task: Task::Create,
        lane: format!("database {}", database.unwrap_or_default()),
        name: name.as_ref().map(ToString::to_string),
        database: body.database.clone(),
        identity: None,
        who: call.caller.who.clone(),
        request: call.request.clone(),
        key,
        asked: digest,
    };
    let caller = call.clone();
    let work = move |app: &App, job: &LiveJob| create_now(app, job, &caller, &body, name.as_ref());
    run_as_job(app, call, order, wait, "another backup of the database is already running", work).await
}

fn create_now(app: &App, job: &LiveJob, call: &Call, body: &CreateBody, name: Option<&BackupName>) -> Answer {
    let resolve = || {
        let database = request::choose_database(body.database.clone(), &app.setup.config.backup)?;
        let asked = Asked {
            databases: database.into_iter().collect(),
            name: name.cloned(),
            compress: match body.compress {
                None => Compress::AsConfigured,
                Some(true) => Compress::Always,
                Some(false) => Compress::With(Compression::None),
            },
            ..app.setup.asked()
        };
        let mut requests = asked.resolve(&Trigger::Api, &app.setup.config.backup, &app.setup.tell)?;
        requests.pop().ok_or_else(|| Error::new(Kind::Bug, "there is nothing to back up"))
    };
    let name = name.map(BackupName::as_str);
    let object = name.or(body.database.as_deref()).unwrap_or("(a new one)");
    let tell = |event: Event<'_>| job.tell(event);
    let (cx, actor) = (context(app, &tell), actor_of(app, call));
    let from = AuditFrom::Request(object);
    let made = create::run_recorded(resolve, &actor, from, Some(&app.setup.config.backup), &cx);
    match block_on(made) {
        Err(error) => of_act(&error).named(name),
        Ok(created) => {
            let warnings = warnings_of_pruning(&created.pruned);
            let answer = Answer::new(StatusCode::CREATED, json!(shown(&created.manifest)));
            if warnings.is_empty() { answer } else { answer.field("warnings", warnings) }
        }
    }
}

/// What could not be removed after a backup.
fn warnings_of_pruning(pruned: &Result<Option<PruneReport>>) -> Vec<String> {
    match pruned {
        Ok(report) => {
            let failed = report.iter().flat_map(|report| &report.failed);
            failed.map(|it| format!("backup `{}` could not be removed: {}", it.id, it.reason)).collect()
        }
        Err(error) => vec![format!("old backups were not removed: {}", redact_urls(&error.chain()))],
    }
}

pub(in crate::server) async fn restore_backup(State(app): State<Arc<App>>, request: Request) -> Response {
    answer_act(app, request, try_restore).await
}

async fn try_restore(app: Arc<App>, call: Call, request: Request) -> std::result::Result<Response, Answer> {
    let (app, call) = (&app, &call);
    let (parts, content) = request.into_parts();
    let asked: RestoreBody = read_body(&parts.headers, content).await?;
    let name = call.name.clone().ok_or_else(|| refuse_absent(""))?;
    // The path names what is restored, and the old content is kept; a caller who wants a confirmation sends the name again.
    if asked.confirm.as_deref().is_some_and(|confirmed| confirmed != name.as_str()) {
        return Err(Answer::refusal(
            StatusCode::BAD_REQUEST,
            format!("`confirm` is not `{name}`: nothing was restored"),
        )
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
async fn restore_planned(app: &Arc<App>, name: &BackupName) -> std::result::Result<Answer, Answer> {
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

/// The answer to a dry run.
fn dry_run_answer(manifest: &Manifest, loss: &Loss) -> Answer {
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

pub(in crate::server) async fn verify_backup(State(app): State<Arc<App>>, request: Request) -> Response {
    answer_act(app, request, try_verify).await
}

async fn try_verify(app: Arc<App>, call: Call, request: Request) -> std::result::Result<Response, Answer> {
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

pub(in crate::server) async fn delete_backup(State(app): State<Arc<App>>, request: Request) -> Response {
    answer_act(app, request, try_delete).await
}

async fn try_delete(app: Arc<App>, call: Call, request: Request) -> std::result::Result<Response, Answer> {
    let allow = query_flag(request.uri().query(), "allow_last_copy")?;
    if query_flag(request.uri().query(), "dry_run")? {
        return deletion_planned(&app, &call).await.map(|answer| respond(&app, &call, answer));
    }
    check_limit(&app, &call)?;
    let (inner, caller) = (Arc::clone(&app), call.clone());
    match tokio::task::spawn_blocking(move || delete_now(&inner, &caller, allow)).await {
        Ok(deleted) => deleted.map(|answer| end_recorded(&app, &call, answer)),
        Err(error) => {
            let error = Error::new(Kind::Bug, "a thread has panicked").caused_by(error);
            Ok(respond_with_error(&app, &call, &error))
        }
    }
}

/// What a deletion would lose; nothing is touched, and it does not count towards the limit.
async fn deletion_planned(app: &Arc<App>, call: &Call) -> std::result::Result<Answer, Answer> {
    let name = call.name.clone().ok_or_else(|| refuse_absent(""))?;
    let inner = Arc::clone(app);
    let read = run_blocking(move || catalogue::read(&inner.setup.vault)).await;
    let catalogue = read.map_err(|error| Answer::of(&error))?;
    let entry = catalogue.entries.iter().find(|entry| entry.manifest.backup_name == name);
    let entry = entry.ok_or_else(|| refuse_absent(name.as_str()))?;
    Ok(dry_run_answer(&entry.manifest, &Loss::of_deletion(entry, &catalogue)))
}

fn delete_now(app: &App, call: &Call, even_the_last: bool) -> std::result::Result<Answer, Answer> {
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
