//! `/api/openapi.json`: OpenAPI 3.1, generated from the table of endpoints, so that the two always agree.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use super::answers::Answer;
use super::app::App;
use super::endpoints::{Act, ENDPOINTS, Endpoint};

pub(super) async fn serve(State(_): State<Arc<App>>) -> Response {
    Answer::new(axum::http::StatusCode::OK, document()).into_response()
}

fn document() -> Value {
    let mut paths = Map::new();
    for endpoint in ENDPOINTS.iter().filter(|endpoint| is_api(endpoint.act)) {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.as_str().to_ascii_lowercase()] = operation(endpoint);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "lifeboat",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Verified backups: make, list, verify, restore and delete them, and see whether the data is safe.",
            "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {
                "type": "http",
                "scheme": "bearer",
                "description": "Created with `lifeboat serve token add`. On a loopback address none is needed, unless the call comes through a proxy.",
            }},
            "schemas": schemas(),
        },
    })
}

/// Pages for people are not described.
fn is_api(act: Act) -> bool {
    !matches!(act, Act::Dashboard | Act::Evidence | Act::Login | Act::Logout | Act::Asset)
}

fn operation(endpoint: &Endpoint) -> Value {
    let mut parameters = Vec::new();
    if endpoint.path.ends_with("{name}") {
        parameters.push(json!({
            "name": "name", "in": "path", "required": true, "description": "Name of the backup.",
            "schema": {"$ref": "#/components/schemas/BackupName"},
        }));
    }
    if endpoint.path.ends_with("{id}") {
        parameters.push(json!({"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}));
    }
    if endpoint.act == Act::Delete {
        parameters.push(json!({
            "name": "allow_last_copy", "in": "query", "schema": {"type": "boolean", "default": false},
            "description": "Delete it even if it is the last good backup of its database.",
        }));
        parameters.push(json!({
            "name": "dry_run", "in": "query", "schema": {"type": "boolean", "default": false},
            "description": "Only report what would be lost (`loss`). Does not count towards the rate limit.",
        }));
    }
    let body = body_schema(endpoint.act);
    if body.is_some() {
        parameters.push(json!({
            "name": "Prefer", "in": "header", "schema": {"type": "string"},
            "description": "`respond-async`: answer 202 with a job immediately.",
        }));
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
            "description": "A second call with the same key gets the answer to the first.",
        }));
    }
    let mut operation = json!({
        "operationId": operation_id(endpoint.act),
        "summary": endpoint.summary,
        "parameters": parameters,
        "responses": responses(endpoint),
    });
    if let Some((limit, _)) = endpoint.limit {
        operation["description"] =
            format!("At most {} for each principal, in any sliding window.", limit.shown()).into();
    }
    if let Some(scope) = endpoint.scope {
        operation["x-scope"] = scope.as_str().into();
    } else {
        operation["security"] = json!([{}]);
    }
    if let Some(schema) = body {
        operation["requestBody"] =
            json!({"required": false, "content": {"application/json": {"schema": {"$ref": schema}}}});
    }
    operation
}

fn body_schema(act: Act) -> Option<&'static str> {
    match act {
        Act::Create => Some("#/components/schemas/CreateRequest"),
        Act::Restore => Some("#/components/schemas/RestoreRequest"),
        Act::Verify => Some("#/components/schemas/VerifyRequest"),
        _ => None,
    }
}

fn operation_id(act: Act) -> &'static str {
    match act {
        Act::Create => "createBackup",
        Act::List => "listBackups",
        Act::Restore => "restoreBackup",
        Act::Delete => "deleteBackup",
        Act::Statistics => "backupStatistics",
        Act::Verify => "verifyBackup",
        Act::Jobs => "listJobs",
        Act::Job => "showJob",
        Act::Drills => "listDrills",
        Act::Status => "status",
        Act::Runs => "listRuns",
        Act::OpenApi => "openApi",
        Act::Healthy => "healthz",
        Act::Ready => "readyz",
        Act::Metrics => "metrics",
        Act::Dashboard | Act::Evidence | Act::Login | Act::Logout | Act::Asset => "page",
    }
}

fn answer(description: &str, schema: &str) -> Value {
    let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
    json!({"description": description, "content": {"application/json": {"schema": schema}}})
}

fn responses(endpoint: &Endpoint) -> Value {
    let mut responses = Map::new();
    let (status, schema) = match endpoint.act {
        Act::Create => ("201", "Backup"),
        Act::List => ("200", "List"),
        Act::Restore => ("200", "Restored"),
        Act::Delete => ("200", "Deleted"),
        Act::Statistics => ("200", "Statistics"),
        Act::Verify => ("200", "Backup"),
        Act::Jobs => ("200", "Jobs"),
        Act::Job => ("200", "Job"),
        Act::Drills => ("200", "Drills"),
        Act::Status => ("200", "Overview"),
        Act::Runs => ("200", "Runs"),
        _ => ("200", "Document"),
    };
    responses.insert(status.to_owned(), answer("Done.", schema));
    if endpoint.act == Act::Metrics {
        let content = json!({"text/plain": {"schema": {"type": "string"}}});
        responses.insert("200".to_owned(), json!({"description": "Done.", "content": content}));
    }
    let mut refusals =
        vec![("400", "The request is wrong."), ("403", "Not allowed from this host or with this token.")];
    if endpoint.scope.is_some() {
        refusals.push(("401", "A token is required."));
    }
    if endpoint.limit.is_some() || endpoint.scope.is_some() {
        refusals.push(("429", "Too many requests; `Retry-After` says when to try again."));
    }
    if body_schema(endpoint.act).is_some() {
        responses.insert("202".to_owned(), answer("Accepted: poll the job.", "Accepted"));
        refusals.extend([
            ("408", "The body did not arrive in time."),
            ("409", "Another job is using it, or the name is taken."),
            ("413", "The body is too large."),
            ("415", "The content type of the body is not JSON."),
            ("422", "The backup is damaged, or the key was used for another request."),
            ("502", "The database or its server could not be reached."),
            ("503", "The server was stopped, or the audit log cannot be written."),
        ]);
    }
    if endpoint.act == Act::Delete {
        refusals
            .extend([("409", "The last good copy is kept."), ("503", "The audit log cannot be written.")]);
    }
    if endpoint.path.contains('{') {
        refusals.push(("404", "Not found."));
    }
    if endpoint.scope.is_some() {
        refusals.push(("413", "The body is too large."));
        refusals.push(("502", "The vault could not be read."));
    }
    if endpoint.act == Act::Ready {
        refusals.push(("503", "Backups are not possible now."));
    }
    for (status, description) in refusals {
        responses.entry(status).or_insert_with(|| answer(description, "Error"));
    }
    Value::Object(responses)
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "required": required, "properties": properties})
}

fn schemas() -> Value {
    let text = || json!({"type": "string"});
    let maybe = |kind: &str| json!({"type": [kind, "null"]});
    let time = || json!({"type": "string", "format": "date-time"});
    let size = || json!({"type": "integer", "minimum": 0});
    let seconds = || json!({"type": "number", "minimum": 0});
    let flag = || json!({"type": "boolean"});
    let objects = || json!({"type": "array", "items": {"type": "object"}});
    let strict = |mut schema: Value| {
        schema["additionalProperties"] = false.into();
        schema
    };
    let asynchronous =
        json!({"type": "boolean", "default": false, "description": "Answer 202 with a job immediately."});
    let backup_fields = json!({
        "success": flag(), "backup_name": text(), "file_path": text(), "file_size": size(), "compressed": flag(),
        "database": text(), "database_type": {"enum": ["postgresql", "sqlite"]}, "timestamp": time(),
        "duration": seconds(), "sha256": text(), "verification": maybe("object"), "request_id": text(),
        "state": {"enum": ["present", "missing", "resized", "failed"]}, "error": text(),
    });
    let backup = [
        "success",
        "backup_name",
        "file_path",
        "file_size",
        "compressed",
        "database_type",
        "timestamp",
        "duration",
    ];
    let acted = ["success", "backup_name", "file_path", "file_size", "duration", "timestamp"];
    let acted_fields = json!({
        "success": {"const": true}, "backup_name": text(), "file_path": text(), "file_size": size(),
        "duration": seconds(), "timestamp": time(), "request_id": text(),
        "dry_run": flag(), "content_of": time(),
        "loss": object(&["host", "engine", "database", "gone"], json!({
            "host": text(), "engine": text(), "database": text(), "gone": text(),
        })),
    });
    let mut restored = acted_fields.clone();
    restored["restored_to"] = text();
    restored["kept_old"] = maybe("string");
    restored["rows_checked"] = size();
    let job = json!({
        "job": text(), "task": {"enum": ["create", "restore", "verify"]},
        "state": {"enum": ["running", "succeeded", "failed", "interrupted"]},
        "backup_name": maybe("string"), "started_at": time(), "finished_at": maybe("string"),
        "phase": maybe("string"), "bytes": size(), "status": maybe("integer"), "result": maybe("object"),
    });
    json!({
        "BackupName": {
            "type": "string", "minLength": 1, "maxLength": 128,
            "pattern": "^[A-Za-z0-9](?:[A-Za-z0-9_-]|\\.(?=[A-Za-z0-9_-]))*$",
        },
        "CreateRequest": strict(object(&[], json!({
            "backup_name": {
                "description": "Name of the backup; by default, it contains the time.",
                "anyOf": [{"$ref": "#/components/schemas/BackupName"}, {"type": "null"}],
            },
            "compress": {"type": ["boolean", "null"], "description": "By default, as configured."},
            "database": {"type": ["string", "null"], "description": "A database in lifeboat.toml; by default, the only one or that of DATABASE_URL."},
            "async": asynchronous,
        }))),
        "RestoreRequest": strict(object(&[], json!({
            "confirm": {"type": ["string", "null"], "description": "The name of the backup again, as a confirmation."},
            "dry_run": {"type": "boolean", "default": false, "description": "Only report what would be lost (`loss`). Does not count towards the rate limit."},
            "async": asynchronous,
        }))),
        "VerifyRequest": strict(object(&[], json!({
            "level": {"enum": ["checksum", "stream", "restore", null]},
            "async": asynchronous,
        }))),
        "Backup": object(&backup, backup_fields),
        "Restored": object(&acted, restored),
        "Deleted": object(&acted, acted_fields),
        "Accepted": object(&["success", "job", "state", "location"], json!({
            "success": {"const": true}, "job": text(), "state": text(), "location": text(), "backup_name": maybe("string"),
        })),
        "Error": object(&["success", "error", "backup_name", "timestamp"], json!({
            "success": {"const": false}, "error": text(), "backup_name": maybe("string"), "timestamp": time(),
            "hints": {"type": "array", "items": {"type": "string"}}, "job": text(), "request_id": text(),
            "retry_after_seconds": size(),
        })),
        "List": object(&["backups", "statistics"], json!({
            "backups": {"type": "array", "items": {"$ref": "#/components/schemas/Backup"}},
            "statistics": {"$ref": "#/components/schemas/Statistics"},
            "failures": objects(), "damaged": {"type": "array", "items": {"type": "string"}},
        })),
        "Statistics": object(&["total_backups", "total_size_mb", "backup_directory"], json!({
            "total_backups": size(), "total_size_mb": {"type": "number", "minimum": 0}, "backup_directory": text(),
            "total_size_bytes": size(), "verified": size(), "bad": size(), "databases": objects(),
        })),
        "Job": object(&["job", "task", "state", "started_at"], job),
        "Jobs": object(&["jobs"], json!({"jobs": {"type": "array", "items": {"$ref": "#/components/schemas/Job"}}})),
        "Drills": object(&["drills"], json!({"drills": objects()})),
        "Runs": object(&["runs", "damaged"], json!({"runs": objects(), "damaged": {"type": "array", "items": text()}})),
        "Overview": object(&["health", "databases", "instances", "timestamp"], json!({
            "health": {"enum": ["safe", "attention", "at_risk", "unknown"]}, "databases": objects(),
            "banner": object(&["health", "headline", "at_risk", "need_attention"], json!({
                "health": text(), "headline": text(), "details": text(), "databases": size(),
                "at_risk": {"type": "array", "items": text()}, "need_attention": {"type": "array", "items": text()},
            })),
            "findings": objects(), "drilled": objects(),
            "instances": {"type": "object"}, "timestamp": time(),
        })),
        "Document": {"type": "object"},
    })
}
