//! The proxies in front of lazy servers: where each listens, and how many connections it has.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

/// How long a server without connections keeps running.
const IDLE: Duration = Duration::from_secs(4);

/// The proxies of a stack, by resource id; none if its servers run all the time.
#[derive(Debug)]
pub(crate) struct Proxies {
    pub(crate) is_lazy: bool,
    proxies: Mutex<HashMap<String, Proxy>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    pub(crate) listening: AbortHandle,
    pub(crate) connections: Arc<Connections>,
}

#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) open: AtomicUsize,
    last_used: Mutex<Instant>,
    /// Held while the server is started or shut down.
    pub(crate) switching: tokio::sync::Mutex<()>,
}

impl Connections {
    pub(crate) fn new() -> Self {
        Self {
            open: AtomicUsize::new(0),
            last_used: Mutex::new(Instant::now()),
            switching: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn mark_used(&self) {
        *self.last_used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether there has been no connection for a while.
    pub(crate) fn are_idle(&self) -> bool {
        let last_used = *self.last_used.lock().unwrap_or_else(PoisonError::into_inner);
        self.open.load(Ordering::SeqCst) == 0 && last_used.elapsed() > IDLE
    }
}

impl Proxies {
    pub(crate) fn new(is_lazy: bool) -> Self {
        Self { is_lazy, proxies: Mutex::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<String, Proxy>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts no further connections to any instance.
    pub(crate) fn close_all(&self) {
        for (_, proxy) in self.lock().drain() {
            proxy.listening.abort();
        }
    }

    /// Closes the proxy of an instance. When this returns, nobody is starting the server behind it, and nobody will.
    pub(crate) async fn close(&self, resource_id: &str) {
        let proxy = self.lock().remove(resource_id);
        if let Some(proxy) = proxy {
            proxy.listening.abort();
            drop(proxy.connections.switching.lock().await);
        }
    }
}
