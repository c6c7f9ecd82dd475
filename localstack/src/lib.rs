//! A local Amazon RDS whose DB instances are real PostgreSQL servers.
//!
//! ```text
//! dispatch         HTTP: which service a call is for, which fault it meets, and who performs it
//! control          the control endpoint: faults, statuses, the clock, SQL in restored copies
//! rds              the RDS API: what each action accepts, refuses, decides and returns
//! cloudwatch       metrics, alarms that are evaluated, and the actions they run
//! secrets_manager  the master passwords that RDS manages
//! sts              who calls, and roles that are assumed
//! iam              the policy simulator
//! lifecycle        the work behind the states, one actor per instance; schedules
//! lazy_servers     servers that start when a client connects
//! event_delivery   events of RDS, recorded and delivered to event subscriptions
//! sns              topics, subscriptions, and messages that are delivered
//! stack            what all parts of a running stack share, and its PostgreSQL servers
//! actors           the work that waits for each instance
//! proxies          where lazy servers are reached
//! cluster          real PostgreSQL: versions, servers, base backups, certificates
//! home             the directory of a stack, and the user that runs its servers
//! http             bodies and answers of HTTP
//! faults           what was injected and is not used up
//! call_log         the log of API calls
//! restorable       the times to which an instance can be restored
//! store            what the stack knows of RDS, and `state.json`
//! monitoring       what the stack knows of CloudWatch and SNS, and their files
//! storage          what storage there is: sizes, IOPS and throughput of each type
//! formula          formulas that stand for a parameter's value
//! resources        instances, snapshots, groups, events: plain data
//! instance_status  the states of an instance, and which may follow which
//! instance_class   memory and processors of an instance class
//! event_messages   ids, categories and messages of events
//! windows          backup and maintenance windows
//! clock            the stack's time
//! pace             how long each state lasts
//! scope            accounts and Regions
//! document         what CloudWatch's three protocols have in common
//! wire             awsQuery in, XML out
//! error            refusals: code, HTTP status, message
//! ids              random ids
//! atomic_file      files that are replaced as a whole
//! cancel           a signal that work is no longer wanted
//! ```
//!
//! A module uses only what stands below it. Nothing here is shared with the tool: a misreading of AWS's manual must not be
//! on both sides.

mod dispatch;
mod control;
mod rds;
mod cloudwatch;
mod secrets_manager;
mod sts;
mod iam;
mod lifecycle;
mod lazy_servers;
mod event_delivery;
mod sns;
mod stack;
mod actors;
mod proxies;
mod cluster;
mod home;
mod http;
mod faults;
mod call_log;
mod restorable;
mod store;
mod monitoring;
mod storage;
mod formula;
mod resources;
mod instance_status;
mod instance_class;
mod event_messages;
mod windows;
mod clock;
mod pace;
mod scope;
mod document;
mod wire;
mod error;
mod ids;
mod atomic_file;
mod cancel;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::actors::Actors;
use crate::call_log::CallLog;
use crate::cancel::Canceller;
use crate::clock::Clock;
use crate::cluster::engine::Engines;
use crate::cluster::orphans;
use crate::cluster::template::Templates;
use crate::cluster::tls::Authority;
use crate::faults::InjectedFaults;
use crate::home::Home;
use crate::monitoring::Monitoring;
use crate::proxies::Proxies;
use crate::stack::{Context, report_problem};
use crate::store::Store;

pub use crate::pace::Pace;
pub use crate::stack::Limits;

/// How a stack is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The loopback address to listen on. Port 0 takes a free port.
    pub listen: SocketAddr,
    /// The directory of the stack; by default one per user.
    pub data: Option<PathBuf>,
    /// How fast states change.
    pub pace: Pace,
    /// The directory of `initdb` and `postgres`; searched for if not given.
    pub pg_bin: Option<PathBuf>,
    /// The quotas of a Region.
    pub limits: Limits,
    /// Whether servers start only when a client connects, and stop when none is connected any more.
    pub lazy: bool,
    /// Whether backup and maintenance windows count only when the clock jumps over their beginning. Otherwise a test
    /// of a few seconds could run into its own window if it happened to run at that hour.
    pub windows_only_in_jumps: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data: None,
            pace: Pace::default(),
            pg_bin: None,
            limits: Limits::default(),
            lazy: false,
            windows_only_in_jumps: false,
        }
    }
}

/// Why a stack did not start.
#[derive(Debug)]
pub enum StartError {
    /// The options are wrong.
    Request(String),
    /// The machine lacks something: a port, a directory, PostgreSQL.
    Machine(anyhow::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Request(message) => formatter.write_str(message),
            Self::Machine(error) => write!(formatter, "{error:#}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<anyhow::Error> for StartError {
    fn from(error: anyhow::Error) -> Self {
        Self::Machine(error)
    }
}

/// A running local RDS. Its servers end with it: in order on `stop`, immediately when it is dropped.
#[derive(Debug)]
pub struct Stack {
    cx: Arc<Context>,
    address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
    warm_up: Option<JoinHandle<()>>,
}

impl Stack {
    /// Starts a stack, with all instances in its directory. The stack answers calls when this returns.
    ///
    /// # Errors
    ///
    /// When the address is not a loopback address, when the port or the directory is in use, and when no PostgreSQL
    /// is installed.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        if !options.listen.ip().is_loopback() {
            return Err(StartError::Request(format!(
                "`{}` is not a loopback address: the local stack has no access control, so it listens on 127.0.0.1 only",
                options.listen
            )));
        }
        let engines = Engines::find(options.pg_bin.as_deref())?;
        let listener = TcpListener::bind(options.listen).await.with_context(|| {
            format!("cannot listen on {}: choose another port with `--listen 127.0.0.1:0`", options.listen)
        })?;
        let address = listener.local_addr().context("cannot read the address of the listening socket")?;
        let home = Home::open(&options.data.unwrap_or_else(home::default_directory))?;
        orphans::end_orphans(&home.clusters())?;
        let authority = Authority::open(&home)?;
        let store = Store::open(home.file("state.json"))?;
        let monitoring = Monitoring::open(home.file("monitoring.json"), home.file("metrics.json"))?;
        let cx = Arc::new(Context {
            home,
            templates: Templates::new(&engines),
            engines,
            authority,
            clock: Clock::new(store.read(|state| state.jumps.clone())),
            store,
            monitoring,
            pace: options.pace,
            limits: options.limits,
            injected: InjectedFaults::default(),
            calls: CallLog::default(),
            actors: Actors::default(),
            stopping: Canceller::new(),
            proxies: Proxies::new(options.lazy),
            windows_only_in_jumps: options.windows_only_in_jumps,
            servers: Mutex::default(),
            endpoint: format!("http://{address}"),
        });
        let writer = Arc::clone(&cx);
        let mut tasks = vec![tokio::spawn(async move {
            let report_failure = |error: &_| report_problem(format_args!("cannot write state.json: {error}"));
            writer.store.keep_writing(report_failure).await;
        })];
        let writer = Arc::clone(&cx);
        tasks.push(tokio::spawn(async move {
            let report_failure =
                |error: &_| report_problem(format_args!("cannot write monitoring.json: {error}"));
            writer.monitoring.keep_writing(report_failure).await;
        }));
        lifecycle::resume_instances(&cx).await?;
        tasks.push(tokio::spawn(cloudwatch::keep_watch(Arc::clone(&cx))));
        tasks.push(tokio::spawn(lifecycle::keep_schedules(Arc::clone(&cx))));
        tasks.push(tokio::spawn(lazy_servers::stop_idle_servers(Arc::clone(&cx))));
        tasks.push(tokio::spawn(dispatch::serve(Arc::clone(&cx), listener)));
        let warm_up = tokio::spawn(warm_up(Arc::clone(&cx)));
        Ok(Self { cx, address, tasks, warm_up: Some(warm_up) })
    }

    /// The endpoint URL for AWS clients.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The certificate that clients of the databases trust.
    pub fn ca_path(&self) -> PathBuf {
        self.cx.home.file("ca.pem")
    }

    /// The directory of the stack.
    pub fn directory(&self) -> &Path {
        &self.cx.home.root
    }

    /// Stops everything in order. A stack that starts with the same directory has every instance as it was.
    pub async fn stop(mut self) {
        // The schedules and the calls first, so that no new work is queued.
        for task in self.tasks.drain(1..) {
            task.abort();
        }
        self.cx.proxies.close_all();
        self.cx.stop_all_work().await;
        if let Some(warm_up) = self.warm_up.take() {
            // It has reported its own failure.
            let _ = warm_up.await;
        }
        self.cx.stop_all_servers().await;
        self.shut_down();
    }

    fn shut_down(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
        if let Err(error) = self.cx.store.flush() {
            report_problem(format_args!("cannot write state.json: {error}"));
        }
        if let Err(error) = self.cx.monitoring.flush() {
            report_problem(format_args!("cannot write monitoring.json: {error}"));
        }
        self.cx.home.release();
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        self.cx.stopping.cancel();
        self.cx.proxies.close_all();
        self.cx.cancel_all_work();
        self.cx.abandon_all_servers();
        self.shut_down();
    }
}

/// Makes the template of the newest version before anybody needs it.
async fn warm_up(cx: Arc<Context>) {
    let engine = cx.engines.newest();
    if let Err(error) = cx.templates.get_or_make(&cx.home, engine).await {
        report_problem(format_args!("{error:#}"));
    }
}
