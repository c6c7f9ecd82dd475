//! The endpoints: paths, methods, who may call them and how often. The router, the guard and the OpenAPI document are made
//! from this one table.

use axum::http::Method;

use super::limits::Limit;
use super::tokens::Scope;

/// When a call is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// When it comes.
    AtOnce,
    /// By its handler, once nothing else refuses it: refused calls do not count.
    WhenSound,
}

/// What is behind a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Create,
    List,
    Restore,
    Delete,
    Statistics,
    Verify,
    Jobs,
    Job,
    Drills,
    Status,
    Runs,
    OpenApi,
    Healthy,
    Ready,
    Metrics,
    Dashboard,
    Evidence,
    Login,
    Logout,
    Asset,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) act: Act,
    pub(super) method: Method,
    /// As the router and OpenAPI write it.
    pub(super) path: &'static str,
    /// The scope that a token needs; none for public paths.
    pub(super) scope: Option<Scope>,
    pub(super) limit: Option<(Limit, Counted)>,
    /// What it does, for the document.
    pub(super) summary: &'static str,
}

const fn endpoint(
    act: Act,
    method: Method,
    path: &'static str,
    scope: Option<Scope>,
    limit: Option<(Limit, Counted)>,
    summary: &'static str,
) -> Endpoint {
    Endpoint { act, method, path, scope, limit, summary }
}

use Counted::{AtOnce, WhenSound};

/// All of them.
pub(super) static ENDPOINTS: [Endpoint; 21] = [
    endpoint(
        Act::Create,
        Method::POST,
        "/api/backup/create",
        Some(Scope::Create),
        Some((Limit::per_hour(3), WhenSound)),
        "Make a backup. It gets its name only once it is complete, on disk, hashed and verified.",
    ),
    endpoint(
        Act::List,
        Method::GET,
        "/api/backup/list",
        Some(Scope::Read),
        Some((Limit::per_minute(20), AtOnce)),
        "List the backups, newest first.",
    ),
    endpoint(
        Act::Restore,
        Method::POST,
        "/api/backup/restore/{name}",
        Some(Scope::Restore),
        Some((Limit::per_hour(2), WhenSound)),
        "Restore a backup over the database that it was taken from; what the database held is kept.",
    ),
    endpoint(
        Act::Delete,
        Method::DELETE,
        "/api/backup/delete/{name}",
        Some(Scope::Delete),
        Some((Limit::per_hour(10), WhenSound)),
        "Delete a backup. The last good backup of a database is kept unless that is overridden.",
    ),
    endpoint(
        Act::Statistics,
        Method::GET,
        "/api/backup/statistics",
        Some(Scope::Read),
        Some((Limit::per_minute(30), AtOnce)),
        "How many backups there are and how they grow.",
    ),
    endpoint(
        Act::Verify,
        Method::POST,
        "/api/backup/verify/{name}",
        Some(Scope::Create),
        Some((Limit::per_hour(20), WhenSound)),
        "Verify a backup.",
    ),
    endpoint(
        Act::Jobs,
        Method::GET,
        "/api/backup/jobs",
        Some(Scope::Read),
        None,
        "Recent jobs, newest first.",
    ),
    endpoint(Act::Job, Method::GET, "/api/backup/jobs/{id}", Some(Scope::Read), None, "One job."),
    endpoint(Act::Drills, Method::GET, "/api/drills", Some(Scope::Read), None, "Drills, newest first."),
    endpoint(
        Act::Status,
        Method::GET,
        "/api/status",
        Some(Scope::Read),
        None,
        "Whether the data is safe: each database with its newest copy, objectives, and findings with their remedies.",
    ),
    endpoint(Act::Runs, Method::GET, "/api/runs", Some(Scope::Read), None, "Runs of runbooks, newest first."),
    endpoint(Act::OpenApi, Method::GET, "/api/openapi.json", None, None, "This document."),
    endpoint(Act::Healthy, Method::GET, "/healthz", None, None, "Whether the process answers."),
    endpoint(
        Act::Ready,
        Method::GET,
        "/readyz",
        None,
        None,
        "Whether backups can be made, that is, whether the vault is writable.",
    ),
    endpoint(
        Act::Metrics,
        Method::GET,
        "/metrics",
        Some(Scope::Read),
        None,
        "Metrics in the Prometheus text format.",
    ),
    endpoint(Act::Dashboard, Method::GET, "/", Some(Scope::Read), None, "The dashboard."),
    endpoint(
        Act::Evidence,
        Method::GET,
        "/drills/{source}/{run}/evidence.html",
        Some(Scope::Read),
        None,
        "The evidence of a drill, as it was written.",
    ),
    endpoint(
        Act::Evidence,
        Method::GET,
        "/runs/{run}/evidence.html",
        Some(Scope::Read),
        None,
        "The evidence of a runbook run, as it was written.",
    ),
    endpoint(Act::Login, Method::POST, "/login", None, None, "Log a browser in with a token."),
    endpoint(Act::Logout, Method::POST, "/logout", None, None, "Log a browser out."),
    endpoint(
        Act::Asset,
        Method::GET,
        "/assets/{file}",
        None,
        None,
        "Stylesheet, script and icon of the dashboard.",
    ),
];

/// The endpoint of a matched path.
pub(super) fn find_endpoint(method: &Method, path: &str) -> Option<&'static Endpoint> {
    let asked = if method == Method::HEAD { &Method::GET } else { method };
    ENDPOINTS.iter().find(|endpoint| endpoint.path == path && endpoint.method == *asked)
}

/// Whether a pattern of the router fits a path.
pub(super) fn path_matches(pattern: &str, path: &str) -> bool {
    let (patterns, parts): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    patterns.len() == parts.len()
        && patterns
            .iter()
            .zip(parts)
            .all(|(pattern, part)| if pattern.starts_with('{') { !part.is_empty() } else { *pattern == part })
}
