//! Servers that start when a client connects, and stop when none is connected any more: a fleet of hundreds then costs no
//! more than the databases in use.
//!
//! A proxy listens on the port of the instance. A connection starts the server, which listens on a port of its own, and is
//! forwarded to it. A server without connections is shut down in order after a while; its data stays. The data of an
//! instance that was restored from a snapshot is laid out only when its server starts for the first time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpStream};

use crate::cancel::CancelSignal;
use crate::cluster::base_backup::lay_out_base_backup;
use crate::cluster::server::Server;
use crate::instance_status::Status;
use crate::proxies::{Connections, Proxy};
use crate::resources::Instance;
use crate::stack::{Context, report_problem};

/// Opens the proxy of an instance, if it is not open, and returns its port.
pub(crate) async fn open_proxy(cx: &Arc<Context>, instance: &Instance) -> io::Result<u16> {
    if let Some(proxy) = cx.proxies.lock().get(&instance.resource_id) {
        return Ok(proxy.port);
    }
    let wanted = instance.wanted_port();
    let listener = match TcpListener::bind(("127.0.0.1", wanted.unwrap_or(0))).await {
        Err(_) if wanted.is_some() => TcpListener::bind(("127.0.0.1", 0)).await?,
        outcome => outcome?,
    };
    let port = listener.local_addr()?.port();
    let connections = Arc::new(Connections::new());
    let (weak, resource_id) = (Arc::downgrade(cx), instance.resource_id.clone());
    let counted = Arc::clone(&connections);
    let listening = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Some(cx) = weak.upgrade() else { return };
            let (resource_id, connections) = (resource_id.clone(), Arc::clone(&counted));
            tokio::spawn(async move { forward(&cx, &resource_id, &connections, client).await });
        }
    });
    let proxy = Proxy { port, listening: listening.abort_handle(), connections };
    cx.proxies.lock().insert(instance.resource_id.clone(), proxy);
    Ok(port)
}

/// The server of an instance, started if it does not run.
pub(crate) async fn wake_server(
    cx: &Arc<Context>,
    resource_id: &str,
    cancel: &CancelSignal,
) -> anyhow::Result<Arc<Server>> {
    let connections = cx.proxies.lock().get(resource_id).map(|proxy| Arc::clone(&proxy.connections));
    let connections = connections.context("the instance accepts no connections")?;
    let _switching = connections.switching.lock().await;
    if !cx.proxies.lock().contains_key(resource_id) {
        anyhow::bail!("the instance accepts no connections any more");
    }
    connections.mark_used();
    if let Some(server) = cx.server(resource_id) {
        return Ok(server);
    }
    let instance = cx.store.read(|state| state.instance(resource_id).cloned());
    let instance = instance.context("the instance was deleted")?;
    if let Some(backup) = &instance.asleep {
        cx.make_cluster_room(resource_id)?;
        let paths = cx.home.cluster(resource_id);
        lay_out_base_backup(&cx.home, &cx.home.backup(backup), &paths, cancel).await?;
    }
    let server = cx.start_server(&instance, None, cancel).await?;
    cx.store.change(|state| {
        if let Some(instance) = state.instance_mut(resource_id) {
            instance.asleep = None;
        }
    });
    connections.mark_used();
    Ok(server)
}

/// Forwards one connection to the server of an instance.
async fn forward(cx: &Arc<Context>, resource_id: &str, connections: &Connections, mut client: TcpStream) {
    let is_open = cx.store.read(|state| {
        // An instance that was stopped, or is still being created, accepts no connections.
        state
            .instance(resource_id)
            .is_some_and(|instance| instance.status.is_running() && instance.created_at.is_some())
    });
    if !is_open {
        return;
    }
    connections.open.fetch_add(1, Ordering::SeqCst);
    match wake_server(cx, resource_id, &cx.stopping.listener()).await {
        Ok(server) => {
            if let Ok(mut upstream) = TcpStream::connect(("127.0.0.1", server.port)).await {
                // How a connection ends is between client and server.
                let _ = client.set_nodelay(true).and_then(|()| upstream.set_nodelay(true));
                let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
            }
        }
        Err(error) => report_problem(format_args!("cannot start the server of `{resource_id}`: {error:#}")),
    }
    connections.mark_used();
    connections.open.fetch_sub(1, Ordering::SeqCst);
}

/// Shuts down servers without connections, for as long as the stack runs.
pub(crate) async fn stop_idle_servers(cx: Arc<Context>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let idle: Vec<(String, Arc<Connections>)> = cx
            .proxies
            .lock()
            .iter()
            .filter(|(resource_id, proxy)| proxy.connections.are_idle() && cx.server(resource_id).is_some())
            .map(|(resource_id, proxy)| (resource_id.clone(), Arc::clone(&proxy.connections)))
            .collect();
        for (resource_id, connections) in idle {
            let _switching = connections.switching.lock().await;
            // In any other state, the work under way needs the server.
            let is_at_rest = cx.store.read(|state| {
                state.instance(&resource_id).is_some_and(|instance| instance.status == Status::Available)
            });
            if connections.are_idle() && is_at_rest {
                cx.stop_server(&resource_id).await;
            }
        }
    }
}
