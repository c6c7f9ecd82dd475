//! Connections: a limited number, each with a timeout for its request.
//!
//! hyper is driven here rather than through axum's own server, which waits for a request forever: a thousand clients that
//! send one byte a minute would block everyone else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service as _;

use super::ambiguous_length::Watched;
use super::call::{Ambiguous, Peer};
use crate::interrupt::Interrupt;

/// How long the head of a request may take; a connection may be idle as long.
const HEAD: Duration = Duration::from_secs(10);
/// How long calls and jobs may take to end after a signal.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Files that are open besides connections.
const OTHER_FILES: u64 = 128;
const CONNECTIONS: u64 = 12_000;

/// Binds an address, with a long queue: clients that find it full retry only after a second or more.
pub(super) fn bind_listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

/// Answers until a signal comes.
pub(super) async fn run(listener: TcpListener, router: Router, interrupt: &Interrupt) {
    let most = usize::try_from(connections()).unwrap_or(256);
    let places = Arc::new(Semaphore::new(most));
    loop {
        let place = tokio::select! {
            _ = interrupt.wait(1) => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let Ok(place) = place else { break };
        tokio::select! {
            _ = interrupt.wait(1) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (router, interrupt) = (router.clone(), interrupt.clone());
                    tokio::spawn(serve(stream, Peer(peer), router, interrupt, place));
                }
                // No file may be left, or the client has gone; neither passes at once.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
        }
    }
    drop(listener);
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    tokio::select! {
        _ = places.acquire_many(all) => {}
        _ = interrupt.wait(2) => {}
        () = tokio::time::sleep(PATIENCE) => {}
    }
}

/// As many as the limit of open files allows, after raising it to the hard limit.
fn connections() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = CONNECTIONS + OTHER_FILES;
    let raised = limit.maximum.map_or(wanted, |most| most.min(wanted)).max(limit.current.unwrap_or(0));
    let granted = match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum })
    {
        Ok(()) => raised,
        Err(_) => limit.current.unwrap_or(256),
    };
    granted.saturating_sub(OTHER_FILES).clamp(32, CONNECTIONS)
}

async fn serve(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    interrupt: Interrupt,
    _place: OwnedSemaphorePermit,
) {
    let _ = stream.set_nodelay(true);
    let (stream, heads) = Watched::new(stream);
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut router = router.clone();
        let is_ambiguous = heads.next_is_ambiguous();
        async move {
            let mut request = request.map(Body::new);
            let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
            request.extensions_mut().insert(peer);
            if is_ambiguous {
                request.extensions_mut().insert(Ambiguous);
            }
            // A router is always ready.
            let answered: std::result::Result<_, Infallible> = router.call(request).await;
            answered.map(|mut answer| {
                if is_chunked {
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                answer
            })
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = interrupt.wait(1) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended: {error}");
    }
}
