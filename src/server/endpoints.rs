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

/// What a token that may read gets.
const fn get(act: Act, path: &'static str, limit: Option<Limit>, summary: &'static str) -> Endpoint {
    let limit = match limit {
        Some(limit) => Some((limit, AtOnce)),
        None => None,
    };
    endpoint(act, Method::GET, path, Some(Scope::Read), limit, summary)
}

/// What anybody gets.
const fn public(act: Act, method: Method, path: &'static str, summary: &'static str) -> Endpoint {
    endpoint(act, method, path, None, None, summary)
}

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
    get(Act::List, "/api/backup/list", Some(Limit::per_minute(20)), "List the backups, newest first."),
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
    get(
        Act::Statistics,
        "/api/backup/statistics",
        Some(Limit::per_minute(30)),
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
    get(Act::Jobs, "/api/backup/jobs", None, "Recent jobs, newest first."),
    get(Act::Job, "/api/backup/jobs/{id}", None, "One job."),
    get(Act::Drills, "/api/drills", None, "Drills, newest first."),
    get(
        Act::Status,
        "/api/status",
        None,
        "Whether the data is safe: each database with its newest copy, objectives, and findings with their remedies.",
    ),
    get(Act::Runs, "/api/runs", None, "Runs of runbooks, newest first."),
    public(Act::OpenApi, Method::GET, "/api/openapi.json", "This document."),
    public(Act::Healthy, Method::GET, "/healthz", "Whether the process answers."),
    public(
        Act::Ready,
        Method::GET,
        "/readyz",
        "Whether backups can be made, that is, whether the vault is writable.",
    ),
    get(Act::Metrics, "/metrics", None, "Metrics in the Prometheus text format."),
    get(Act::Dashboard, "/", None, "The dashboard."),
    get(
        Act::Evidence,
        "/drills/{source}/{run}/evidence.html",
        None,
        "The evidence of a drill, as it was written.",
    ),
    get(
        Act::Evidence,
        "/runs/{run}/evidence.html",
        None,
        "The evidence of a runbook run, as it was written.",
    ),
    public(Act::Login, Method::POST, "/login", "Log a browser in with a token."),
    public(Act::Logout, Method::POST, "/logout", "Log a browser out."),
    public(Act::Asset, Method::GET, "/assets/{file}", "Stylesheet, script and icon of the dashboard."),
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
