//! Answers of the API, and refusals.

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use super::words;
use crate::backup::Manifest;
use crate::backup::catalogue::{Entry, State};
use crate::backup::failures::Failure;
use crate::error::{Error, Kind};
use crate::output::redact_urls;

/// An answer: a status, a document, and headers.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    headers: Vec<(HeaderName, String)>,
}

impl Answer {
    pub(super) fn new(status: StatusCode, body: Value) -> Self {
        Answer { status, body, headers: Vec::new() }
    }

    /// A refusal of what no caller may ask.
    pub(super) fn bad_request(error: impl Into<String>) -> Self {
        Answer::refusal(StatusCode::BAD_REQUEST, error)
    }

    /// A refusal in the common format.
    pub(super) fn refusal(status: StatusCode, error: impl Into<String>) -> Self {
        let body =
            json!({"success": false, "error": redact_urls(&error.into()), "backup_name": null, "hints": []});
        Answer::new(status, body)
    }

    /// One of our errors as a refusal, with its status.
    pub(super) fn of(error: &Error) -> Self {
        let mut answer = Answer::refusal(status_of_kind(error.kind()), error.chain());
        let told: Vec<String> = error.hints().iter().filter_map(|hint| words::for_callers(hint)).collect();
        if told.is_empty() && !error.hints().is_empty() {
            answer = answer.hint(words::ELSEWHERE);
        }
        told.into_iter().fold(answer, Answer::hint)
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Some(hints) = self.body["hints"].as_array_mut() {
            hints.push(redact_urls(&hint.into()).into());
        }
        self
    }

    #[must_use]
    pub(super) fn named(mut self, name: Option<&str>) -> Self {
        self.body["backup_name"] = name.into();
        self
    }

    #[must_use]
    pub(super) fn field(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.body[key] = value.into();
        self
    }

    #[must_use]
    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// When it was given.
    #[must_use]
    pub(super) fn at(mut self, now: DateTime<Utc>) -> Self {
        if self.body.get("timestamp").is_none() {
            self.body["timestamp"] = json!(now);
        }
        self
    }

    /// The same answer with another body.
    pub(super) fn with_headers_on(&self, mut response: Response) -> Response {
        for (name, value) in &self.headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

impl IntoResponse for Answer {
    fn into_response(mut self) -> Response {
        let body = self.body.take();
        self.with_headers_on((self.status, Json(body)).into_response())
    }
}

/// The largest body that is accepted.
pub(super) const LARGEST_BODY: usize = 64 << 10;

/// Something, or the answer that refuses it.
pub(super) type Answered<T> = std::result::Result<T, Answer>;

/// 429, with the time to retry.
pub(super) fn too_many(what: &str, wait: std::time::Duration) -> Answer {
    let seconds = (wait.as_secs_f64().ceil() as u64).max(1);
    Answer::refusal(StatusCode::TOO_MANY_REQUESTS, format!("too many requests: {what}"))
        .hint(format!("Try again in {seconds} seconds."))
        .header(header::RETRY_AFTER, seconds.to_string())
        .field("retry_after_seconds", seconds)
}

/// 413; what is left of the body is not read.
pub(super) fn too_large() -> Answer {
    Answer::refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {LARGEST_BODY} bytes"))
}

/// Whether a status means that nothing was done, so that it does not count towards a limit. 422 means that work was done.
pub(super) const fn is_refusal(status: u16) -> bool {
    status >= 400 && status < 500 && status != 422
}

fn status_of_kind(kind: Kind) -> StatusCode {
    match kind {
        Kind::Request => StatusCode::BAD_REQUEST,
        Kind::Guard | Kind::StillGoing => StatusCode::CONFLICT,
        Kind::No => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Outside => StatusCode::BAD_GATEWAY,
        Kind::Interrupted | Kind::Terminated => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Partial | Kind::LeftBehind | Kind::Bug => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A backup as the API shows it: what was promised, and what its verification says. What was observed in the database is
/// left out: of a large one it has megabytes.
#[derive(Clone, Debug, Serialize)]
pub(super) struct BackupAnswer<'a> {
    success: bool,
    backup_name: &'a str,
    file_path: &'a str,
    file_size: u64,
    compressed: bool,
    compression: crate::backup::Compression,
    encrypted: bool,
    database: &'a str,
    database_type: crate::backup::DatabaseType,
    format: crate::backup::Format,
    timestamp: DateTime<Utc>,
    duration: f64,
    plain_size: u64,
    sha256: &'a str,
    verification: Option<&'a crate::backup::Verification>,
    keep_forever: bool,
    class: Option<&'a str>,
    trigger: &'a str,
}

pub(super) fn shown(manifest: &Manifest) -> BackupAnswer<'_> {
    BackupAnswer {
        success: manifest.success,
        backup_name: manifest.backup_name.as_str(),
        file_path: &manifest.file_path,
        file_size: manifest.file_size,
        compressed: manifest.compressed,
        compression: manifest.compression,
        encrypted: manifest.encrypted,
        database: &manifest.source.database,
        database_type: manifest.database_type,
        format: manifest.format,
        timestamp: manifest.timestamp,
        duration: manifest.duration,
        plain_size: manifest.plain_size,
        sha256: &manifest.sha256,
        verification: manifest.verification.as_ref(),
        keep_forever: manifest.keep_forever,
        class: manifest.class.as_deref(),
        trigger: manifest.made_by.trigger.as_str(),
    }
}

/// A backup in a list, with the state of its file.
pub(super) fn entry_json(entry: &Entry) -> Value {
    let mut value = json!(shown(&entry.manifest));
    value["state"] = match entry.state {
        State::Present => "present",
        State::Missing => "missing",
        State::Resized(_) => "resized",
    }
    .into();
    value["success"] = (entry.manifest.success && entry.state == State::Present).into();
    value
}

/// An attempt that failed, in a list of backups: there is no file.
pub(super) fn failed(failure: &Failure) -> Value {
    let mut value = json!(failure);
    value["state"] = "failed".into();
    value["file_path"] = "".into();
    value["file_size"] = 0.into();
    value["compressed"] = false.into();
    value["verification"] = Value::Null;
    value
}

/// Text of a content type.
pub(super) fn text_response(kind: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
