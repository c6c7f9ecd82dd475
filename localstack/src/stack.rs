//! What all parts of a running stack share.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::actors::Actors;
use crate::call_log::CallLog;
use crate::cancel::{CancelSignal, Canceller};
use crate::clock::Clock;
use crate::cluster::config::{self, Config, Recovery};
use crate::cluster::engine::{Engine, Engines};
use crate::cluster::extensions::Equipment;
use crate::cluster::files::make_room;
use crate::cluster::server::{Server, StartError, find_free_port, is_port_free};
use crate::cluster::template::Templates;
use crate::cluster::tls::Authority;
use crate::faults::InjectedFaults;
use crate::formula::{Variables, evaluate_formula, is_formula};
use crate::home::Home;
use crate::monitoring::Monitoring;
use crate::pace::Pace;
use crate::proxies::Proxies;
use crate::resources::Instance;
use crate::store::State;
use crate::store::Store;

/// The quotas of a Region.
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
pub(crate) struct Context {
    pub(crate) home: Home,
    pub(crate) engines: Engines,
    pub(crate) templates: Templates,
    pub(crate) authority: Authority,
    pub(crate) store: Store,
    pub(crate) monitoring: Monitoring,
    pub(crate) clock: Clock,
    pub(crate) pace: Pace,
    pub(crate) limits: Limits,
    pub(crate) injected: InjectedFaults,
    pub(crate) calls: CallLog,
    pub(crate) actors: Actors,
    pub(crate) stopping: Canceller,
    pub(crate) proxies: Proxies,
    pub(crate) windows_only_in_jumps: bool,
    pub(crate) servers: Mutex<HashMap<String, Arc<Server>>>,
    /// The URL that callers use.
    pub(crate) endpoint: String,
}

impl Context {
    /// Whether servers start only when a client connects.
    pub(crate) fn is_lazy(&self) -> bool {
        self.proxies.is_lazy
    }

    /// The installed PostgreSQL that an instance runs on.
    pub(crate) fn engine_of(&self, instance: &Instance) -> anyhow::Result<&Engine> {
        let major = instance.settings.major().parse().unwrap_or(0);
        self.engines.major(major).ok_or_else(|| {
            anyhow::anyhow!(
                "instance `{}` needs PostgreSQL {major}, which is not installed here",
                instance.id
            )
        })
    }

    pub(crate) fn server(&self, resource_id: &str) -> Option<Arc<Server>> {
        self.servers().get(resource_id).filter(|server| !server.has_ended()).cloned()
    }

    /// Makes room for the cluster and the archive of an instance whose data is about to be laid out.
    pub(crate) fn make_cluster_room(&self, resource_id: &str) -> io::Result<()> {
        let root = self.home.cluster(resource_id).root;
        make_room(&root)?;
        make_room(&self.home.archive(resource_id))?;
        self.home.make_private(&root)
    }

    /// Writes the configuration of an instance's server and starts it. Its port stays the same if it is still free.
    pub(crate) async fn start_server(
        &self,
        instance: &Instance,
        recovery: Option<Recovery<'_>>,
        cancel: &CancelSignal,
    ) -> anyhow::Result<Arc<Server>> {
        let engine = self.engine_of(instance)?;
        let paths = self.home.cluster(&instance.resource_id);
        self.home.make_private(&self.home.archive(&instance.resource_id))?;
        if !paths.conf.join("server.key").is_file() {
            config::write_credentials(&self.home, &paths, &self.authority.issue_certificate()?)?;
        }
        let equipment = &self.templates.get_or_make(&self.home, engine).await?.equipment;
        let mut wanted = instance.wanted_port().filter(|port| is_port_free(*port));
        for attempt in 1.. {
            let port = match wanted.take() {
                Some(port) => port,
                None => find_free_port()?,
            };
            self.write_config(instance, port, recovery, Some(equipment))?;
            match Server::start(&self.home, &equipment.program, &paths, port, cancel).await {
                Ok(server) => {
                    let server = Arc::new(server);
                    self.servers().insert(instance.resource_id.clone(), Arc::clone(&server));
                    return Ok(server);
                }
                // Another process took the port after we had found it free.
                Err(StartError::PortTaken) if attempt < 5 => {}
                Err(error) => return Err(error.into()),
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Writes the configuration of a running server anew and has the server reload it.
    pub(crate) fn reload_server(&self, instance: &Instance) -> anyhow::Result<()> {
        // The server runs, so its template exists.
        let template = self.templates.get_if_made(self.engine_of(instance)?);
        if let Some(server) = self.server(&instance.resource_id) {
            self.write_config(instance, server.port, None, template.map(|template| &template.equipment))?;
            server.reload();
        }
        Ok(())
    }

    fn write_config(
        &self,
        instance: &Instance,
        port: u16,
        recovery: Option<Recovery<'_>>,
        equipment: Option<&Equipment>,
    ) -> io::Result<()> {
        let parameters = self.store.read(|state| parameters_of(state, instance));
        let archive = self.home.archive(&instance.resource_id);
        let force_tls = forces_tls(instance, &parameters);
        let config =
            Config { port, force_tls, parameters: &parameters, archive: &archive, recovery, equipment };
        config::write_config(&self.home, &self.home.cluster(&instance.resource_id), &config)
    }

    pub(crate) async fn stop_server(&self, resource_id: &str) {
        // Removed only once it has ended, so that a stack that stops in the meantime still knows it.
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
            // If stopping failed, the watcher ends the server.
            let _ = stop.await;
        }
    }

    /// Ends all servers where there is no runtime to wait in. They recover at their next start.
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
    let mut values = instance.parameters.clone().unwrap_or_else(|| state.group_values(instance));
    let variables = Variables::of_instance(instance);
    for value in values.values_mut().filter(|value| is_formula(value)) {
        if let Some(number) = evaluate_formula(value, &variables) {
            *value = number.to_string();
        }
    }
    values
}

/// RDS refuses connections without TLS by default from PostgreSQL 15 on.
fn forces_tls(instance: &Instance, parameters: &BTreeMap<String, String>) -> bool {
    match parameters.get("rds.force_ssl") {
        Some(value) => value == "1",
        None => instance.settings.major().parse::<u32>().is_ok_and(|major| major >= 15),
    }
}

/// Tells the person who started the stack about a problem, on stderr: stdout is for the ready line.
pub(crate) fn report_problem(message: impl std::fmt::Display) {
    // If stderr is closed, the message is lost.
    let _ = writeln!(std::io::stderr().lock(), "lifeboat-localstack: {message}");
}
