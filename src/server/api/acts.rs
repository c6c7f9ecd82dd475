//! Making, proving, restoring and deleting backups.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::asked::{CreateBody, RestoreBody, VerifyBody, body, flag, key, prefers_async};
use super::long::{
    absent, act, admit, asked_before, audited, check_limit, end_recorded, give_back, long, look_up,
    surroundings,
};
use super::{end, refused};
use crate::backup::catalogue;
use crate::backup::identity::Identity;
use crate::backup::loss::Loss;
use crate::backup::{
    self, BackupName, Event, Level, Manifest, Surroundings, create as creating, failures, prune,
    restore as restoring,
};
use crate::error::Error;
use crate::output::redacted;
use crate::server::answers::{Answer, shown};
use crate::server::guard::Call;
use crate::server::jobs::{Live, Order, Task};
use crate::server::{App, Wanted, call_of, off_the_runtime};
use crate::verify::Verdict;

/// What an act answers, or what is answered in its place.
async fn answered<Acting>(
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
        Err(answer) => end(&app, &call, answer),
    }
}

pub(in crate::server) async fn create(State(app): State<Arc<App>>, request: Request) -> Response {
    answered(app, request, try_create).await
}

async fn try_create(app: Arc<App>, call: Call, request: Request) -> std::result::Result<Response, Answer> {
    let (app, call) = (&app, &call);
    let (parts, content) = request.into_parts();
    let asked: CreateBody = body(&parts.headers, content).await?;
    let is_async = asked.is_async || prefers_async(&parts.headers);
    let named = asked.backup_name.as_deref().map(str::parse::<BackupName>).transpose();
    let name = named.map_err(|error| Answer::of(&error))?;
    let words = name.as_ref().map(ToString::to_string);
    create_asked(app, call, &parts.headers, (asked, name, is_async)).await.map_err(|answer| {
        if answer.body["backup_name"].is_string() { answer } else { answer.named(words.as_deref()) }
    })
}

async fn create_asked(
    app: &Arc<App>,
    call: &Call,
    headers: &HeaderMap,
    (asked, name, is_async): (CreateBody, Option<BackupName>, bool),
) -> std::result::Result<Response, Answer> {
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
    let key = key(headers, call)?;
    let digest = hex::encode(Sha256::digest(digest.as_bytes()));
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
        identity: None,
        who: call.caller.who.clone(),
        request: call.request.clone(),
        key,
        asked: digest,
    };
    let caller = call.clone();
    let work = move |app: &App, live: &Live| create_now(app, live, &caller, &wanted);
    long(app, call, (order, is_async), "a backup is being made already", work).await
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
            let warnings = prune_after(app, call, &manifest);
            let mut answer = Answer::new(StatusCode::CREATED, json!(shown(&manifest)));
            if !warnings.is_empty() {
                answer = answer.field("warnings", warnings);
            }
            answer
        }
    }
}

/// Removes what a new backup makes superfluous, on behalf of whoever asked for the backup. Says what could not be removed.
fn prune_after(app: &App, call: &Call, made: &Manifest) -> Vec<String> {
    let not_removed = |why: &str| format!("old backups were not removed: {why}");
    let plan = match (app.orders.prune)(made, &app.vault) {
        Ok(Some(plan)) => plan,
        Ok(None) => return Vec::new(),
        Err(error) => return vec![not_removed(&redacted(&error.chain()))],
    };
    let act = act(app, call, "prune", &made.source.database);
    match audited(app, act, || prune::apply(plan, &app.vault), |_| None) {
        Ok(report) => {
            let failed = report.failed.iter();
            failed.map(|it| format!("backup `{}` could not be removed: {}", it.id, it.reason)).collect()
        }
        Err(answer) => vec![not_removed(answer.body["error"].as_str().unwrap_or_default())],
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
        database_id: request.database_id.clone(),
        name: request.name.clone(),
        trigger: request.trigger.clone(),
        timestamp: began,
    };
    let words = redacted(&error.chain());
    if let Err(error) = failures::record(&wanted, error, words, since.elapsed().as_secs_f64(), surroundings) {
        tracing::warn!("the failure could not be recorded: {}", error.chain());
    }
}

pub(in crate::server) async fn restore(State(app): State<Arc<App>>, request: Request) -> Response {
    answered(app, request, try_restore).await
}

async fn try_restore(app: Arc<App>, call: Call, request: Request) -> std::result::Result<Response, Answer> {
    let (app, call) = (&app, &call);
    let (parts, content) = request.into_parts();
    let asked: RestoreBody = body(&parts.headers, content).await?;
    let name = call.name.clone().ok_or_else(|| absent(""))?;
    // The path names what is restored, and what was there is kept; who wants to be asked twice says the name twice.
    if asked.confirm.as_deref().is_some_and(|confirmed| confirmed != name.as_str()) {
        return Err(Answer::refusal(
            StatusCode::BAD_REQUEST,
            format!("a restore replaces the database, and `confirm` is not `{name}`: nothing was done"),
        )
        .hint(format!("Send {{\"confirm\": \"{name}\"}}, or leave it out.")));
    }
    if asked.dry_run {
        return Ok(end(app, call, restore_planned(app, &name).await?));
    }
    let key = key(&parts.headers, call)?;
    let digest = hex::encode(Sha256::digest(name.as_str().as_bytes()));
    let is_async = asked.is_async || prefers_async(&parts.headers);
    check_limit(app, call).or_else(|answer| match asked_before(app, key.as_deref(), &digest) {
        Ok(Some(_)) => Ok(()),
        _ => Err(answer),
    })?;
    let found = look_up(app, &name).await?;
    let database = found.source.database.clone();
    let identity = Identity::of(&found).distinction();
    let is_usual = app.orders.databases.contains(&database);
    let order = Order {
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
    let work = move |app: &App, live: &Live| restore_now(app, live, &caller, &found);
    long(app, call, (order, is_async), "the database is being backed up or restored already", work).await
}

/// What a restore would do away with; nothing is touched, and it costs nothing.
async fn restore_planned(app: &Arc<App>, name: &BackupName) -> std::result::Result<Answer, Answer> {
    let found = look_up(app, name).await?;
    let (inner, name) = (Arc::clone(app), name.to_string());
    let planned = off_the_runtime(move || {
        let (destination, manner) = (inner.orders.restore)(&name)?;
        let plan = restoring::plan(&name, destination, manner, &inner.vault);
        let plan = tokio::runtime::Handle::current().block_on(plan)?;
        Ok(Loss::of_restore(&plan, &inner.orders.host))
    });
    let loss = planned.await.map_err(|error| Answer::of(&error).named(Some(found.backup_name.as_str())))?;
    Ok(would(&found, &loss))
}

/// The answer to what is only asked about.
fn would(manifest: &Manifest, loss: &Loss) -> Answer {
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

pub(in crate::server) async fn verify(State(app): State<Arc<App>>, request: Request) -> Response {
    answered(app, request, try_verify).await
}

async fn try_verify(app: Arc<App>, call: Call, request: Request) -> std::result::Result<Response, Answer> {
    let (app, call) = (&app, &call);
    let (parts, content) = request.into_parts();
    let asked: VerifyBody = body(&parts.headers, content).await?;
    let name = call.name.clone().ok_or_else(|| absent(""))?;
    let level = asked.level.unwrap_or(Level::Stream);
    check_limit(app, call)?;
    let found = look_up(app, &name).await?;
    let order = Order {
        task: Task::Verify,
        lane: format!("proof of {name}"),
        name: Some(name.to_string()),
        identity: Some(Identity::of(&found).distinction()),
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
        Ok((proof, manifest)) => {
            // The look was had, whatever it says: `verification.result` says it, of this look and no earlier one.
            let is_good = proof.result == Verdict::Pass;
            let answer = Answer::new(StatusCode::OK, json!(shown(&manifest)));
            let answer = answer.field("verification", json!(proof)).field("verified", is_good);
            answer.field("duration", since.elapsed().as_secs_f64())
        }
    }
}

pub(in crate::server) async fn delete(State(app): State<Arc<App>>, request: Request) -> Response {
    answered(app, request, try_delete).await
}

async fn try_delete(app: Arc<App>, call: Call, request: Request) -> std::result::Result<Response, Answer> {
    let allow = flag(request.uri().query(), "allow_last_copy")?;
    if flag(request.uri().query(), "dry_run")? {
        return deletion_planned(&app, &call).await.map(|answer| end(&app, &call, answer));
    }
    check_limit(&app, &call)?;
    let (inner, caller) = (Arc::clone(&app), call.clone());
    match tokio::task::spawn_blocking(move || delete_now(&inner, &caller, allow)).await {
        Ok(deleted) => deleted.map(|answer| end_recorded(&app, &call, answer)),
        Err(error) => {
            let error = Error::new(crate::error::Kind::Bug, "a thread has panicked").caused_by(error);
            Ok(refused(&app, &call, &error))
        }
    }
}

/// What a deletion would do away with; nothing is touched, and it costs nothing.
async fn deletion_planned(app: &Arc<App>, call: &Call) -> std::result::Result<Answer, Answer> {
    let name = call.name.clone().ok_or_else(|| absent(""))?;
    let inner = Arc::clone(app);
    let read = off_the_runtime(move || catalogue::read(&inner.vault)).await;
    let catalogue = read.map_err(|error| Answer::of(&error))?;
    let entry = catalogue.entries.iter().find(|entry| entry.manifest.backup_name == name);
    let entry = entry.ok_or_else(|| absent(name.as_str()))?;
    Ok(would(&entry.manifest, &Loss::of_deletion(entry, &catalogue)))
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
    let taken = admit(app, call)?;
    let manifest = audited(
        app,
        act(app, call, "delete", name.as_str()),
        || prune::delete(&app.vault, &catalogue, &name, even_the_last),
        |_| None,
    )
    .inspect_err(|answer| give_back(app, call, answer, taken))?;
    let body = json!({
        "success": true,
        "backup_name": name,
        "file_path": manifest.file_path,
        "file_size": manifest.file_size,
        "duration": since.elapsed().as_secs_f64(),
    });
    Ok(Answer::new(StatusCode::OK, body))
}
