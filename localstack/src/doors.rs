//! Doors of databases whose servers start when somebody comes: a fleet of hundreds then costs no more than those of its
//! databases that are in use.
//!
//! A door listens on the port of its instance. Whoever connects wakes the server, which listens on a port of its own,
//! and is led there. When nobody has been there for a while, the server is shut down in order; its data stays. What was
//! restored from a snapshot is laid out only when it is woken for the first time.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::cluster::backup::put_back;
use crate::cluster::files::make_room;
use crate::cluster::server::Server;
use crate::record::Instance;
use crate::stack::{Shared, report};
use crate::status::Status;
use crate::stop::Cancel;

/// How long a server that nobody is connected to runs on.
const IDLE: Duration = Duration::from_secs(4);

/// The doors of a stack; none, if its servers run all the time.
#[derive(Debug)]
pub(crate) struct Doors {
    is_lazy: bool,
    doors: Mutex<HashMap<String, Door>>,
}

#[derive(Debug, Clone)]
struct Door {
    port: u16,
    listening: AbortHandle,
    visits: Arc<Visits>,
}

/// Who is there, and when somebody last was.
#[derive(Debug)]
struct Visits {
    guests: AtomicUsize,
    last: Mutex<Instant>,
    /// Held while the server is started or shut down.
    turning: tokio::sync::Mutex<()>,
}

impl Visits {
    fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn is_over(&self) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        self.guests.load(Ordering::SeqCst) == 0 && last.elapsed() > IDLE
    }
}

impl Doors {
    pub(crate) fn new(is_lazy: bool) -> Self {
        Self { is_lazy, doors: Mutex::default() }
    }

    fn doors(&self) -> MutexGuard<'_, HashMap<String, Door>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No one gets in any more.
    pub(crate) fn close_all(&self) {
        for (_, door) in self.doors().drain() {
            door.listening.abort();
        }
    }

    /// Closes a door. When this returns, nobody is waking what is behind it, and nobody will.
    pub(crate) async fn close(&self, resource_id: &str) {
        let door = self.doors().remove(resource_id);
        if let Some(door) = door {
            door.listening.abort();
            drop(door.visits.turning.lock().await);
        }
    }
}

impl Shared {
    /// Whether servers start only when somebody comes.
    pub(crate) fn is_lazy(&self) -> bool {
        self.doors.is_lazy
    }

    /// Opens the door of an instance, if it is not open, and says at which port.
    pub(crate) async fn open_door(self: &Arc<Self>, instance: &Instance) -> io::Result<u16> {
        if let Some(door) = self.doors.doors().get(&instance.resource_id) {
            return Ok(door.port);
        }
        let asked = instance
            .port
            .or(Some(instance.settings.asked_port))
            .filter(|port| *port != crate::rds::DEFAULT_PORT);
        let listener = match asked {
            Some(port) => match TcpListener::bind(("127.0.0.1", port)).await {
                Ok(listener) => listener,
                Err(_) => TcpListener::bind(("127.0.0.1", 0)).await?,
            },
            None => TcpListener::bind(("127.0.0.1", 0)).await?,
        };
        let port = listener.local_addr()?.port();
        let visits = Arc::new(Visits {
            guests: AtomicUsize::new(0),
            last: Mutex::new(Instant::now()),
            turning: tokio::sync::Mutex::default(),
        });
        let (shared, resource_id) = (Arc::downgrade(self), instance.resource_id.clone());
        let seen = Arc::clone(&visits);
        let listening = tokio::spawn(async move {
            while let Ok((guest, _)) = listener.accept().await {
                let Some(shared) = shared.upgrade() else { return };
                let (resource_id, visits) = (resource_id.clone(), Arc::clone(&seen));
                tokio::spawn(async move { lead_in(&shared, &resource_id, &visits, guest).await });
            }
        });
        let door = Door { port, listening: listening.abort_handle(), visits };
        self.doors.doors().insert(instance.resource_id.clone(), door);
        Ok(port)
    }

    /// The server of an instance, started if it is asleep.
    pub(crate) async fn wake(
        self: &Arc<Self>,
        resource_id: &str,
        cancel: &Cancel,
    ) -> anyhow::Result<Arc<Server>> {
        let visits = self.doors.doors().get(resource_id).map(|door| Arc::clone(&door.visits));
        let visits = visits.context("its door is closed")?;
        let _turning = visits.turning.lock().await;
        if !self.doors.doors().contains_key(resource_id) {
            anyhow::bail!("its door was closed");
        }
        visits.touch();
        if let Some(server) = self.server(resource_id) {
            return Ok(server);
        }
        let instance = self.store.read(|state| state.instance(resource_id).cloned()).context("it is gone")?;
        if let Some(backup) = &instance.asleep {
            let paths = self.home.cluster(resource_id);
            make_room(&paths.root)?;
            make_room(&self.home.archive(resource_id))?;
            self.home.make_private(&paths.root)?;
            put_back(&self.home, &self.home.backup(backup), &paths, cancel).await?;
        }
        let server = self.start_server(&instance, None, cancel).await?;
        self.store.change(|state| {
            if let Some(instance) = state.instance_mut(resource_id) {
                instance.asleep = None;
            }
        });
        visits.touch();
        Ok(server)
    }
}

async fn lead_in(shared: &Arc<Shared>, resource_id: &str, visits: &Visits, mut guest: TcpStream) {
    let is_open = shared.store.read(|state| {
        // One that was stopped, or is not there yet, lets nobody in.
        state
            .instance(resource_id)
            .is_some_and(|instance| instance.status.is_running() && instance.created_at.is_some())
    });
    if !is_open {
        return;
    }
    visits.guests.fetch_add(1, Ordering::SeqCst);
    match shared.wake(resource_id, &shared.stopping.listener()).await {
        Ok(server) => {
            if let Ok(mut inside) = TcpStream::connect(("127.0.0.1", server.port)).await {
                // How a conversation ends is between the two.
                let _ = guest.set_nodelay(true).and_then(|()| inside.set_nodelay(true));
                let _ = tokio::io::copy_bidirectional(&mut guest, &mut inside).await;
            }
        }
        Err(error) => report(format_args!("the server behind a door does not start: {error:#}")),
    }
    visits.touch();
    visits.guests.fetch_sub(1, Ordering::SeqCst);
}

/// Shuts servers down that nobody is connected to, for as long as the stack runs.
pub(crate) async fn close_behind_guests(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let over: Vec<(String, Arc<Visits>)> = shared
            .doors
            .doors()
            .iter()
            .filter(|(resource_id, door)| door.visits.is_over() && shared.server(resource_id).is_some())
            .map(|(resource_id, door)| (resource_id.clone(), Arc::clone(&door.visits)))
            .collect();
        for (resource_id, visits) in over {
            let _turning = visits.turning.lock().await;
            // Whatever else is being done with it has it awake.
            let is_at_rest = shared.store.read(|state| {
                state.instance(&resource_id).is_some_and(|instance| instance.status == Status::Available)
            });
            if visits.is_over() && is_at_rest {
                shared.stop_server(&resource_id).await;
            }
        }
    }
}
