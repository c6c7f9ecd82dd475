//! The REST API, the metrics and the dashboard: `lifeboat serve`.
//!
//! A door beside the command line, to the same rooms and with the same rules: backups are made by `backup::create`, restored by
//! `backup::restore` and deleted by `backup::delete`, in this process. [`guard`] decides who may call what and how often,
//! before anything is read. What takes long is a job with a record, see [`jobs`].
//!
//! Writes, besides what backups write: `jobs/`, `serve/tokens.json` and `audit.jsonl` in the vault.

mod answers;
mod api;
mod audit;
mod banner;
mod drills;
mod endpoints;
mod guard;
mod heads;
mod jobs;
mod limits;
mod listen;
mod metrics;
mod openapi;
mod overview;
mod page;
mod readiness;
mod refusals;
pub(crate) mod tokens;
pub(crate) mod words;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::{MethodFilter, MethodRouter, on};
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;

use crate::backup::identity::Identity;
use crate::backup::request::{self, Asked};
use crate::backup::{AccessOptions, Event, catalogue};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::vault::{Trigger, Vault};

use endpoints::{Act, ENDPOINTS};

/// A day and an hour: a daily backup is never later than that, and never flaps.
const DEFAULT_RPO: Duration = Duration::from_secs(25 * 3600);

/// The objectives of a database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Objectives {
    /// Recovery time objective.
    pub rto: Option<Duration>,
    /// Recovery point objective.
    pub rpo: Duration,
}

/// What the server is started with.
pub(crate) struct Setup {
    /// Where backups, jobs and the audit log are.
    pub vault: Vault,
    /// lifeboat.toml.
    pub config: Config,
    /// How backups are opened and databases are reached.
    pub access: AccessOptions,
    /// Checks the DB instances of a Region, where a Region is settled.
    pub instances: Option<CheckInstances>,
    /// Signals.
    pub interrupt: Interrupt,
    /// The clock.
    pub clock: fn() -> DateTime<Utc>,
    /// Name of this machine.
    pub host: String,
    /// Hears what connection URLs have to say, and other warnings that no caller sees.
    pub tell: Box<dyn Fn(Event<'_>) + Send + Sync>,
}

/// A database that can be backed up from here.
#[derive(Clone, Debug)]
pub(crate) struct BackupTarget {
    /// Its name in lifeboat.toml; `None` for the database that a request without a name means.
    pub name: Option<String>,
    /// Which database it is, where that could be found out.
    pub identity: Option<Identity>,
}

/// Checks the DB instances of a Region.
pub(crate) type CheckInstances =
    Arc<dyn Fn() -> BoxFuture<'static, Result<crate::status::Report>> + Send + Sync>;

/// What every call works with.
struct App {
    setup: Setup,
    /// Databases that a request may name.
    databases: Vec<String>,
    /// The database that a request without a name means, if lifeboat.toml names it.
    default_database: Option<String>,
    /// What requests for backups reach.
    targets: Vec<BackupTarget>,
    limits: limits::Limits,
    jobs: jobs::Jobs,
    audit: audit::Audit,
    fleet: overview::Seen,
    readiness: readiness::Readiness,
    known: tokens::Known,
    /// Whether it listens on a loopback address.
    is_local: bool,
    started: std::time::Instant,
}

/// A server that has its address and may begin.
pub(crate) struct Server {
    listener: tokio::net::TcpListener,
    app: Arc<App>,
    /// How many jobs of dead servers were found.
    pub interrupted: usize,
}

impl Server {
    /// Takes the address and the vault, and puts right what dead processes left.
    pub(crate) fn open(address: SocketAddr, setup: Setup) -> Result<Self> {
        let (vault, now) = (setup.vault.clone(), (setup.clock)());
        let is_local = address.ip().is_loopback();
        if !is_local && tokens::list(&vault)?.is_empty() {
            return Err(Error::request(format!(
                "`{address}` can be reached from elsewhere, and there are no tokens"
            ))
            .hint("Add one first: `lifeboat serve token add NAME --scope read`.")
            .hint("Or listen on 127.0.0.1, where nobody needs one."));
        }
        let listener = listen::bind(address).map_err(|error| {
            let is_taken = error.kind() == std::io::ErrorKind::AddrInUse;
            Error::outside(format!("cannot listen on `{address}`")).caused_by(error).hint(if is_taken {
                "Another process listens there: stop it, or choose another port with `--listen`."
            } else {
                "Choose another address with `--listen`."
            })
        })?;
        catalogue::recover(&vault)?;
        let (jobs, interrupted) = jobs::Jobs::open(&vault, now)?;
        let limits = limits::Limits::default();
        take_up(&limits, &jobs, now);
        let audit = audit::Audit::start(&vault, setup.clock);
        let started = std::time::Instant::now();
        let fleet = overview::Seen::default();
        let (databases, default_database) =
            (request::configured_databases(&setup.config), request::default_database(&setup.config));
        let app = Arc::new(App {
            targets: targets(&setup, &databases, default_database.is_none()),
            setup,
            databases,
            default_database,
            limits,
            jobs,
            audit,
            fleet,
            readiness: readiness::Readiness::default(),
            known: tokens::Known::default(),
            is_local,
            started,
        });
        Ok(Server { listener, app, interrupted })
    }

    /// Where it can be reached.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        self.listener
            .local_addr()
            .map_err(|error| Error::outside("the address is not known").caused_by(error))
    }

    /// Answers until a signal comes; then lets what is running come to an end.
    pub(crate) async fn run(self) -> Result<()> {
        overview::watch(&self.app);
        let router = router(&self.app);
        let interrupt = self.app.setup.interrupt.clone();
        listen::run(self.listener, router, &interrupt).await;
        let patience = tokio::time::sleep(listen::PATIENCE);
        tokio::pin!(patience);
        while self.app.jobs.running() > 0 {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
                kind = interrupt.wait(2) => return Err(Error::new(kind, "stopped at once: what was running is found interrupted at the next start")),
                () = &mut patience => break,
            }
        }
        let app = Arc::clone(&self.app);
        let _ = tokio::task::spawn_blocking(move || app.audit.finish()).await;
        Ok(())
    }
}

/// The databases that requests reach, and which they are.
fn targets(setup: &Setup, databases: &[String], is_unnamed_possible: bool) -> Vec<BackupTarget> {
    let target = |name: Option<&String>| {
        let asked = Asked { databases: name.cloned().into_iter().collect(), ..asked_of(setup) };
        let request = asked.resolve(&Trigger::Api, &setup.config, &setup.tell).ok()?.pop()?;
        Some(request.identity(&setup.host))
    };
    let named =
        databases.iter().map(|it| BackupTarget { name: Some(it.clone()), identity: target(Some(it)) });
    let unnamed = is_unnamed_possible.then(|| target(None)).flatten();
    let unnamed = unnamed.map(|identity| BackupTarget { name: None, identity: Some(identity) });
    named.chain(unnamed).collect()
}

/// A backup as it is asked for by a call that says nothing of how.
fn asked_of(setup: &Setup) -> Asked {
    Asked { access: setup.access.clone(), ..Asked::default() }
}

/// Jobs of the last hour count, whichever process ran them; what was refused does not.
fn take_up(limits: &limits::Limits, jobs: &jobs::Jobs, now: DateTime<Utc>) {
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
    // Whatever is not found has passed the guard's judgement too, which refuses it.
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

/// The call that a request has become in the guard.
fn call_of(request: &Request) -> Result<guard::Call> {
    let call = request.extensions().get::<guard::Call>().cloned();
    call.ok_or_else(|| Error::new(Kind::Bug, "a call has come past the guard"))
}

/// File work, off the threads that answer calls.
async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(Kind::Bug, "a thread has panicked").caused_by(error))?
}
