//! The REST API, the metrics and the dashboard: `lifeboat serve`.
//!
//! A second front end beside the command line, with the same rules: backups are made by `backup::create`, restored by
//! `backup::restore` and deleted by `backup::delete`, in this process. [`guard`] decides who may call what and how often,
//! before anything is read. Long operations are jobs with a record, see [`jobs`].
//!
//! Writes, besides what backups write: `jobs/`, `serve/tokens.json` and `audit.jsonl` in the vault.

mod answers;
mod api;
mod app;
mod audit;
mod banner;
mod blocking;
mod call;
mod drills;
mod endpoints;
mod guard;
mod ambiguous_length;
mod instances;
mod jobs;
mod limits;
mod listen;
mod metrics;
mod openapi;
mod overview;
mod page;
mod readiness;
mod refusals;
mod setup;
pub(crate) mod tokens;
pub(crate) mod words;

pub(crate) use setup::{CheckInstances, Setup};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{MethodFilter, MethodRouter, on};
use chrono::{DateTime, Utc};

use crate::backup::{catalogue, request};
use crate::error::{Error, Result};
use app::App;
use endpoints::{Act, ENDPOINTS};

/// A server that is bound to its address and ready to serve.
pub(crate) struct Server {
    listener: tokio::net::TcpListener,
    app: Arc<App>,
    /// How many unfinished jobs of dead servers were found.
    pub interrupted: usize,
}

impl Server {
    /// Binds the address, opens the vault, and cleans up after dead processes.
    pub(crate) fn open(address: SocketAddr, setup: Setup) -> Result<Self> {
        let setup = Arc::new(setup);
        let (vault, now) = (setup.vault.clone(), (setup.clock)());
        let is_local = address.ip().is_loopback();
        if !is_local && tokens::list(&vault)?.is_empty() {
            return Err(Error::request(format!(
                "`{address}` can be reached from other machines, and there are no tokens"
            ))
            .hint("Add one first: `lifeboat serve token add NAME --scope read`.")
            .hint("Or listen on 127.0.0.1, where nobody needs one."));
        }
        let listener = listen::bind_listener(address).map_err(|error| {
            let is_taken = error.kind() == std::io::ErrorKind::AddrInUse;
            Error::outside(format!("cannot listen on `{address}`")).caused_by(error).hint(if is_taken {
                "Another process listens there: stop it, or choose another port with `--listen`."
            } else {
                "Choose another address with `--listen`."
            })
        })?;
        catalogue::recover(&vault)?;
        let (jobs, interrupted) = jobs::Jobs::open(&setup)?;
        let limits = limits::Limits::default();
        count_earlier_jobs(&limits, &jobs, now);
        let app = Arc::new(App {
            databases: request::configured_databases(&setup.config.backup),
            default_database: request::default_database(&setup.config.backup),
            targets: setup.targets(),
            limits,
            jobs: Arc::new(jobs),
            audit: audit::Audit::start(&vault, setup.clock),
            instances: instances::WatchedInstances::default(),
            readiness: readiness::Readiness::default(),
            known: tokens::KnownTokens::default(),
            is_local,
            started: std::time::Instant::now(),
            setup,
        });
        Ok(Server { listener, app, interrupted })
    }

    /// Its URL.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        self.listener
            .local_addr()
            .map_err(|error| Error::outside("the address is not known").caused_by(error))
    }

    /// Serves until a signal comes; then lets running jobs finish.
    pub(crate) async fn run(self) -> Result<()> {
        instances::watch_instances(&self.app.setup, &self.app.instances);
        let router = router(&self.app);
        let interrupt = self.app.setup.interrupt.clone();
        listen::run(self.listener, router, &interrupt).await;
        let patience = tokio::time::sleep(listen::PATIENCE);
        tokio::pin!(patience);
        while self.app.jobs.running() > 0 {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
                kind = interrupt.wait(2) => return Err(Error::new(kind, "stopped at once: running jobs will be recorded as interrupted at the next start")),
                () = &mut patience => break,
            }
        }
        let app = Arc::clone(&self.app);
        let _ = tokio::task::spawn_blocking(move || app.audit.finish()).await;
        Ok(())
    }
}

/// Jobs of the last hour count, whichever process ran them; what was refused does not.
fn count_earlier_jobs(limits: &limits::Limits, jobs: &jobs::Jobs, now: DateTime<Utc>) {
    let instant = std::time::Instant::now();
    for job in jobs.list() {
        if job.status.is_some_and(answers::is_refusal) {
            continue;
        }
        let endpoint = ENDPOINTS.iter().find(|endpoint| endpoint.act == job.task.act());
        if let Some((endpoint, (limit, _))) = endpoint.and_then(|it| Some((it, it.limit?))) {
            limits.remember(&job.who, endpoint.path, limit, (now - job.started_at, instant));
        }
    }
}

fn router(app: &Arc<App>) -> Router {
    let mut router: Router<Arc<App>> = Router::new();
    for endpoint in &ENDPOINTS {
        let filter = MethodFilter::try_from(endpoint.method.clone()).unwrap_or(MethodFilter::GET);
        router = router.route(endpoint.path, handler(endpoint.act, filter));
    }
    // An unknown path also passes through the guard, which refuses it.
    let router = router.fallback(|| async { axum::http::StatusCode::NOT_FOUND });
    let guard = axum::middleware::from_fn_with_state(Arc::clone(app), guard::admit);
    router.layer(guard).with_state(Arc::clone(app))
}

fn handler(act: Act, filter: MethodFilter) -> MethodRouter<Arc<App>> {
    match act {
        Act::Create => on(filter, api::create_backup),
        Act::List => on(filter, api::list),
        Act::Restore => on(filter, api::restore_backup),
        Act::Delete => on(filter, api::delete_backup),
        Act::Statistics => on(filter, api::statistics),
        Act::Verify => on(filter, api::verify_backup),
        Act::Jobs => on(filter, api::jobs),
        Act::Job => on(filter, api::job),
        Act::Drills => on(filter, api::drills),
        Act::Status => on(filter, api::status),
        Act::Runs => on(filter, api::runs),
        Act::OpenApi => on(filter, openapi::serve),
        Act::Healthy => on(filter, api::healthy),
        Act::Ready => on(filter, api::ready),
        Act::Metrics => on(filter, metrics::serve),
        Act::Dashboard => on(filter, page::dashboard),
        Act::Evidence => on(filter, page::evidence),
        Act::Login => on(filter, page::log_in),
        Act::Logout => on(filter, page::log_out),
        Act::Asset => on(filter, page::asset),
    }
}
