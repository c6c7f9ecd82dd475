//! `POST /api/backup/create`, and what the pruning after it could not remove.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::body::{CreateBody, idempotency_key, read_body};
use super::operation::{actor_of, block_on, check_limit, context, look_up, of_act, run_as_job, wait_of_call};
use super::respond::answer_act;
use crate::backup::create::{self, AuditFrom};
use crate::backup::request::{self, Asked, Compress};
use crate::backup::{BackupName, Compression, Event};
use crate::error::{Error, Kind, Result};
use crate::output::redact_urls;
use crate::retention::PruneReport;
use crate::server::answers::{Answer, Answered, shown};
use crate::server::app::App;
use crate::server::call::Call;
use crate::server::jobs::{JobRequest, LiveJob, Task};
use crate::vault::Trigger;

pub(in crate::server) async fn create_backup(
    State(app): State<Arc<App>>,
    request: Request,
) -> Answered<Response> {
    answer_act(app, request, try_create).await
}

async fn try_create(app: Arc<App>, call: Call, request: Request) -> Answered<Response> {
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
) -> Answered<Response> {
    let wait = wait_of_call(headers, body.is_async);
    if let Some(database) = body.database.as_ref().filter(|name| !app.databases.contains(name)) {
        let known = app.databases.join("`, `");
        let database = database.escape_default();
        let answer = Answer::bad_request(format!("database `{database}` is not in lifeboat.toml"));
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
