//! What all parts of a running stack share.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::calls::CallLog;
use crate::clock::Clock;
use crate::cluster::config::{self, Config, Recovery};
use crate::cluster::engine::{Engine, Engines};
use crate::cluster::server::{Server, StartError, free_port, is_free};
use crate::cluster::template::Templates;
use crate::cluster::tls::Authority;
use crate::doors::Doors;
use crate::faults::Injected;
use crate::formula::{Variables, evaluate, is_formula};
use crate::home::Home;
use crate::lifecycle::Actors;
use crate::monitoring::Monitoring;
use crate::pace::Pace;
use crate::record::{Instance, State};
use crate::state::Store;
use crate::stop::{Cancel, Canceller};

/// How many of a kind a Region holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// DB instances; AWS's default is 40.
    pub instances: usize,
    /// Manual snapshots; AWS's default is 100.
    pub manual_snapshots: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { instances: 40, manual_snapshots: 100 }
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) home: Home,
    pub(crate) engines: Engines,
    pub(crate) templates: Templates,
    pub(crate) authority: Authority,
    pub(crate) store: Store,
    pub(crate) monitoring: Monitoring,
    pub(crate) clock: Clock,
    pub(crate) pace: Pace,
    pub(crate) limits: Limits,
    pub(crate) injected: Injected,
    pub(crate) calls: CallLog,
    pub(crate) actors: Actors,
    pub(crate) stopping: Canceller,
    pub(crate) doors: Doors,
    pub(crate) windows_only_in_jumps: bool,
    servers: Mutex<HashMap<String, Arc<Server>>>,
    endpoint: String,
}

pub(crate) struct Parts {
    pub(crate) home: Home,
    pub(crate) engines: Engines,
    pub(crate) authority: Authority,
    pub(crate) store: Store,
    pub(crate) monitoring: Monitoring,
    pub(crate) pace: Pace,
    pub(crate) limits: Limits,
    pub(crate) is_lazy: bool,
    pub(crate) windows_only_in_jumps: bool,
    pub(crate) endpoint: String,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { home, engines, authority, store, monitoring, pace, limits, endpoint, .. } = parts;
        let clock = Clock::new(store.read(|state| state.jumps.clone()));
        Self {
            templates: Templates::new(&engines),
            home,
            engines,
            authority,
            store,
            monitoring,
            clock,
            pace,
            limits,
            injected: Injected::default(),
            calls: CallLog::default(),
            actors: Actors::default(),
            stopping: Canceller::new(),
            doors: Doors::new(parts.is_lazy),
            windows_only_in_jumps: parts.windows_only_in_jumps,
            servers: Mutex::default(),
            endpoint,
        }
    }

    /// The URL that callers use.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The installed PostgreSQL that an instance runs on.
    pub(crate) fn engine_of(&self, instance: &Instance) -> anyhow::Result<&Engine> {
        let major = instance.settings.major().parse().unwrap_or(0);
        self.engines.major(major).ok_or_else(|| {
            anyhow::anyhow!("`{}` needs PostgreSQL {major}, which is not installed here", instance.id)
        })
    }

    pub(crate) fn server(&self, resource_id: &str) -> Option<Arc<Server>> {
        self.servers().get(resource_id).filter(|server| !server.has_ended()).cloned()
    }

    /// Writes the configuration of an instance's server and starts it. Its port stays the same if it is still free.
    pub(crate) async fn start_server(
        &self,
        instance: &Instance,
        recovery: Option<Recovery<'_>>,
        cancel: &Cancel,
    ) -> anyhow::Result<Arc<Server>> {
        let engine = self.engine_of(instance)?;
        let paths = self.home.cluster(&instance.resource_id);
        let archive = self.home.archive(&instance.resource_id);
        self.home.make_private(&archive)?;
        if !paths.conf.join("server.key").is_file() {
            config::write_credentials(&self.home, &paths, &self.authority.issue()?)?;
        }
        let parameters = self.store.read(|state| parameters_of(state, instance));
        let equipment = &self.templates.get(&self.home, engine).await?.equipment;
        let mut wanted = instance.port.or_else(|| asked_port(instance)).filter(|port| is_free(*port));
        for attempt in 1.. {
            let port = match wanted.take() {
                Some(port) => port,
                None => free_port()?,
            };
            let config = Config {
                port,
                force_tls: forces_tls(instance, &parameters),
                parameters: &parameters,
                archive: &archive,
                recovery,
                equipment: Some(equipment),
            };
            config::write(&self.home, &paths, &config)?;
            match Server::start(&self.home, &equipment.program, &paths, port, cancel).await {
                Ok(server) => {
                    let server = Arc::new(server);
                    self.servers().insert(instance.resource_id.clone(), Arc::clone(&server));
                    return Ok(server);
                }
                // Someone took the port between our look and the server's.
                Err(StartError::PortTaken) if attempt < 5 => {}
                Err(error) => return Err(error.into()),
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Writes the configuration of a running server anew and has it read again.
    pub(crate) fn reload_server(&self, instance: &Instance) -> anyhow::Result<()> {
        // It runs, so its template was made.
        let equipment =
            self.templates.made(self.engine_of(instance)?).map(|template| template.equipment.clone());
        let Some(server) = self.server(&instance.resource_id) else { return Ok(()) };
        let parameters = self.store.read(|state| parameters_of(state, instance));
        let archive = self.home.archive(&instance.resource_id);
        let config = Config {
            port: server.port,
            force_tls: forces_tls(instance, &parameters),
            parameters: &parameters,
            archive: &archive,
            recovery: None,
            equipment: equipment.as_ref(),
        };
        config::write(&self.home, &self.home.cluster(&instance.resource_id), &config)?;
        server.reload();
        Ok(())
    }

    pub(crate) async fn stop_server(&self, resource_id: &str) {
        // Removed only once it has ended, so that a stack that stops meanwhile still knows of it.
        let server = self.servers().get(resource_id).cloned();
        if let Some(server) = server {
            server.stop().await;
            self.servers().remove(resource_id);
        }
    }

    pub(crate) async fn stop_all_servers(&self) {
        let servers: Vec<_> = self.servers().drain().map(|(_, server)| server).collect();
        let stopping: Vec<_> =
            servers.into_iter().map(|server| tokio::spawn(async move { server.stop().await })).collect();
        for stop in stopping {
            // A stop that was lost is made up for by the watcher.
            let _ = stop.await;
        }
    }

    /// Ends all servers without a runtime to wait in: they recover at their next start.
    pub(crate) fn abandon_all_servers(&self) {
        let servers: Vec<_> = self.servers().drain().map(|(_, server)| server).collect();
        for server in &servers {
            server.abandon();
        }
        let since = Instant::now();
        while servers.iter().any(|server| server.pid_file.exists())
            && since.elapsed() < Duration::from_secs(5)
        {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn servers(&self) -> MutexGuard<'_, HashMap<String, Arc<Server>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The values of parameters that the instance's server runs with.
fn parameters_of(state: &State, instance: &Instance) -> BTreeMap<String, String> {
    let mut values = instance.parameters.clone().unwrap_or_else(|| group_values(state, instance));
    let variables = Variables::of(instance);
    for value in values.values_mut().filter(|value| is_formula(value)) {
        if let Some(number) = evaluate(value, &variables) {
            *value = number.to_string();
        }
    }
    values
}

/// The values of the instance's parameter group.
pub(crate) fn group_values(state: &State, instance: &Instance) -> BTreeMap<String, String> {
    state
        .regions
        .get(&instance.region)
        .and_then(|region| region.parameter_groups.get(&instance.settings.parameter_group))
        .map(|group| group.values.clone())
        .unwrap_or_default()
}

/// RDS refuses connections without TLS by default from PostgreSQL 15 on.
fn forces_tls(instance: &Instance, parameters: &BTreeMap<String, String>) -> bool {
    match parameters.get("rds.force_ssl") {
        Some(value) => value == "1",
        None => instance.settings.major().parse::<u32>().is_ok_and(|major| major >= 15),
    }
}

/// The port a caller chose, unless it is the one that everybody gets.
fn asked_port(instance: &Instance) -> Option<u16> {
    Some(instance.settings.asked_port).filter(|port| *port != crate::rds::DEFAULT_PORT)
}

/// Tells the person who started the stack. stdout is for the ready line; this goes to stderr.
pub(crate) fn report(message: impl std::fmt::Display) {
    // There is nobody to tell that stderr is closed.
    let _ = writeln!(std::io::stderr().lock(), "lifeboat-localstack: {message}");
}
