//! A way to a server: a TCP connection or a socket, with TLS on top where it is wanted, and what the server said about the
//! process behind it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use sha2::Digest as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::tls::{ChannelBinding, TlsConnect};
use tokio_rustls::client::TlsStream;

use super::certificate::{Certificate, Digest};
use super::server::{Server, is_socket};
use super::tls::Tls;

/// Why there is no link.
#[derive(Debug)]
pub(super) enum Unlinked {
    /// Nothing answered.
    Unreachable(io::Error),
    /// The server was reached, and the two cannot agree on how to protect the connection.
    Unprotected(io::Error),
    /// The server does not speak TLS.
    NoTls,
    /// What we were given to protect the connection with cannot be used.
    Unusable(crate::error::Error),
}

enum Carrier {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<Bare>>),
}

/// A connection before TLS.
enum Bare {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection that is ready for PostgreSQL's startup message.
pub(super) struct Link {
    carrier: Carrier,
    watch: Watch,
    process: Arc<AtomicI32>,
    is_protected: bool,
}

/// Opens a link: `with_tls` asks for TLS whatever the mode says, which has been turned into attempts already.
pub(super) async fn open_link(
    server: &Server,
    with_tls: WithTls,
    patience: Option<Duration>,
) -> std::result::Result<Link, Unlinked> {
    let mut bare = dial(server, patience).await?;
    let process = Arc::new(AtomicI32::new(0));
    let plain = |bare| Link {
        carrier: match bare {
            Bare::Tcp(stream) => Carrier::Tcp(stream),
            Bare::Unix(stream) => Carrier::Unix(stream),
        },
        watch: Watch::default(),
        process: Arc::clone(&process),
        is_protected: false,
    };
    if with_tls == WithTls::No {
        return Ok(plain(bare));
    }
    let config = server.tls.client_config(&server.host).map_err(Unlinked::Unusable)?;
    if !server.tls.direct {
        match ask_for_tls(&mut bare).await.map_err(Unlinked::Unreachable)? {
            b'S' => {}
            _ if with_tls == WithTls::IfOffered => return Ok(plain(bare)),
            _ => return Err(Unlinked::NoTls),
        }
    }
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream =
        connector.connect(Tls::name_to_send(&server.host), bare).await.map_err(Unlinked::Unprotected)?;
    Ok(Link { carrier: Carrier::Tls(Box::new(stream)), watch: Watch::default(), process, is_protected: true })
}

/// What is asked of a server before the startup message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WithTls {
    No,
    IfOffered,
    Yes,
}

/// Tries each address of a host in turn, each for as long as the patience lasts, as libpq does.
async fn dial(server: &Server, patience: Option<Duration>) -> std::result::Result<Bare, Unlinked> {
    let within = async |attempt: Pin<Box<dyn Future<Output = io::Result<Bare>> + Send>>| match patience {
        None => attempt.await,
        Some(patience) => tokio::time::timeout(patience, attempt).await.unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer in {} seconds", patience.as_secs()),
            ))
        }),
    };
    if is_socket(&server.host) {
        let (host, port) = (server.host.clone(), server.port);
        let attempt = Box::pin(async move { Ok(Bare::Unix(connect_to_socket(&host, port).await?)) });
        return within(attempt).await.map_err(Unlinked::Unreachable);
    }
    let host = server.wire.address.clone().unwrap_or_else(|| server.host.clone());
    let found = tokio::net::lookup_host((host.as_str(), server.port)).await.map_err(Unlinked::Unreachable)?;
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for address in found {
        let attempt = Box::pin(async move { Ok(Bare::Tcp(TcpStream::connect(address).await?)) });
        match within(attempt).await {
            Ok(bare) => {
                if let Bare::Tcp(stream) = &bare {
                    watch_over(stream);
                }
                return Ok(bare);
            }
            Err(error) => failed = error,
        }
    }
    Err(Unlinked::Unreachable(failed))
}

async fn connect_to_socket(host: &str, port: u16) -> io::Result<UnixStream> {
    let path = format!("{host}/.s.PGSQL.{port}");
    #[cfg(target_os = "linux")]
    if let Some(name) = path.strip_prefix('@') {
        use std::os::linux::net::SocketAddrExt as _;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        let stream = std::os::unix::net::UnixStream::connect_addr(&address)?;
        stream.set_nonblocking(true)?;
        return UnixStream::from_std(stream);
    }
    UnixStream::connect(path).await
}

/// A network that swallows packets must not hold a drill, and its throwaway, for ever.
fn watch_over(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let alive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10));
    // Without them the connection works as well.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&alive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(Duration::from_secs(120)));
}

/// PostgreSQL's SSLRequest, and the one byte that answers it.
async fn ask_for_tls(bare: &mut Bare) -> io::Result<u8> {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    bare.write_all(&SSL_REQUEST).await?;
    let mut answer = [0];
    bare.read_exact(&mut answer).await?;
    Ok(answer[0])
}

impl Link {
    /// Where the process id of the server's end will stand once it has let us in.
    pub(super) fn process(&self) -> Arc<AtomicI32> {
        Arc::clone(&self.process)
    }

    /// Whether TLS is on.
    pub(super) fn is_protected(&self) -> bool {
        self.is_protected
    }
}

/// Hands a link over as it is: TLS, where it is wanted, is on already.
pub(super) struct AsItIs;

impl TlsConnect<Link> for AsItIs {
    type Stream = Link;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Link>>;

    fn connect(self, link: Link) -> Self::Future {
        std::future::ready(Ok(link))
    }
}

impl tokio_postgres::tls::TlsStream for Link {
    /// The certificate's digest by the algorithm of its own signature, as PostgreSQL computes it (RFC 5929,
    /// `tls-server-end-point`).
    fn channel_binding(&self) -> ChannelBinding {
        let Carrier::Tls(stream) = &self.carrier else { return ChannelBinding::none() };
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let Some(bytes) = certificate else { return ChannelBinding::none() };
        match Certificate::parse(bytes).and_then(|it| it.signature_digest()) {
            Some(Digest::Sha256) => {
                ChannelBinding::tls_server_end_point(sha2::Sha256::digest(bytes).to_vec())
            }
            Some(Digest::Sha384) => {
                ChannelBinding::tls_server_end_point(sha2::Sha384::digest(bytes).to_vec())
            }
            Some(Digest::Sha512) => {
                ChannelBinding::tls_server_end_point(sha2::Sha512::digest(bytes).to_vec())
            }
            None => ChannelBinding::none(),
        }
    }
}

/// Finds BackendKeyData among the server's first messages. A pooler hands out a key of its own there, so that the process it
/// names is not the one that answers.
#[derive(Default)]
struct Watch {
    /// The message under way: its kind, its length, and as much of its start as matters.
    head: Vec<u8>,
    rest: usize,
    is_over: bool,
}

impl Watch {
    fn see(&mut self, mut bytes: &[u8], process: &AtomicI32) {
        const HEADER: usize = 5;
        while !bytes.is_empty() && !self.is_over {
            if self.rest > 0 {
                let passed = self.rest.min(bytes.len());
                (self.rest, bytes) = (self.rest - passed, &bytes[passed..]);
                continue;
            }
            let is_key = self.head.first() == Some(&b'K');
            let wanted = if is_key { HEADER + 4 } else { HEADER };
            let taken = (wanted - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.head.len() == HEADER && self.head[0] == b'K' {
                continue;
            }
            if self.head.len() < wanted {
                continue;
            }
            let number = |at: usize| {
                i32::from_be_bytes([self.head[at], self.head[at + 1], self.head[at + 2], self.head[at + 3]])
            };
            match self.head[0] {
                b'K' => {
                    process.store(number(HEADER), Ordering::Relaxed);
                    self.is_over = true;
                }
                // ReadyForQuery, and no key before it.
                b'Z' => self.is_over = true,
                _ => {
                    self.rest = usize::try_from(number(1)).unwrap_or(4).saturating_sub(4);
                    self.head.clear();
                }
            }
        }
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let link = &mut *self;
        let read = match &mut link.carrier {
            Carrier::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Carrier::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Carrier::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        link.watch.see(&buf.filled()[before..], &link.process);
        read
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.carrier {
            Carrier::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Carrier::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Carrier::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Carrier::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Carrier::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Carrier::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Carrier::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Bare {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Bare::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Bare::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Bare {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Bare::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Bare::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Bare::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Bare::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Bare::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Bare::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_of_the_server_is_found_however_the_bytes_are_cut() {
        let mut stream = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x0bab\0cd\0\0".to_vec();
        stream.extend_from_slice(b"K\0\0\0\x0c\0\x01\x02\x03\x09\x09\x09\x09Z\0\0\0\x05I");
        for cut in 1..stream.len() {
            let (process, mut watch) = (AtomicI32::new(0), Watch::default());
            stream.chunks(cut).for_each(|piece| watch.see(piece, &process));
            assert_eq!(process.load(Ordering::Relaxed), 0x0001_0203, "cut at {cut}");
        }
    }
}
