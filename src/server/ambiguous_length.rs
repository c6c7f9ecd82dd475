//! The lengths in the heads of requests, read as they arrive: hyper drops `Content-Length` beside `Transfer-Encoding`
//! before anybody sees it, and a proxy in front that goes by the other one of the two can be made to smuggle a request.
//!
//! After a head that has both, or that is chunked, nothing more is read of a connection: hyper closes it after the former,
//! [`super::listen`] after the latter. So no body but those of a known length has to be skipped.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Longer lines are cut: what counts stands at their beginning.
const LONGEST_LINE: usize = 256;

/// For each head that was read and not yet queried, whether its length is given twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads(Arc<Mutex<VecDeque<bool>>>);

impl Heads {
    /// Whether the next request gives its length in two ways.
    pub(super) fn next_is_ambiguous(&self) -> bool {
        self.0.lock().pop_front().unwrap_or(false)
    }
}

/// A connection whose heads are read along.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    scanner: Scanner,
    heads: Heads,
}

impl Watched {
    pub(super) fn new(stream: TcpStream) -> (Self, Heads) {
        let heads = Heads::default();
        (Watched { stream, scanner: Scanner::default(), heads: heads.clone() }, heads)
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let found = self.scanner.read(&buf.filled()[before..]);
        self.heads.0.lock().extend(found);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[derive(Debug, Default)]
struct Scanner {
    line: Vec<u8>,
    /// Whether a line of this head was read.
    is_begun: bool,
    length: Option<u64>,
    is_chunked: bool,
    /// Bytes of a body that are yet to come.
    body: u64,
    is_over: bool,
}

impl Scanner {
    /// Reads on; for each complete head, whether its length is given twice.
    fn read(&mut self, mut bytes: &[u8]) -> Vec<bool> {
        let mut found = Vec::new();
        while !bytes.is_empty() && !self.is_over {
            if self.body > 0 {
                let skipped = usize::try_from(self.body).unwrap_or(usize::MAX).min(bytes.len());
                self.body -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            let part = &bytes[..end.unwrap_or(bytes.len())];
            self.line.extend(&part[..part.len().min(room)]);
            let Some(end) = end else { break };
            bytes = &bytes[end + 1..];
            found.extend(self.end_line());
        }
        found
    }

    fn end_line(&mut self) -> Option<bool> {
        let line = std::mem::take(&mut self.line);
        let line = line.trim_ascii();
        if line.is_empty() {
            // Empty lines may stand before a request.
            return self.is_begun.then(|| self.end_head());
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if self.is_begun && name.eq_ignore_ascii_case(b"content-length") {
            let value = str::from_utf8(value.trim_ascii()).ok();
            // hyper refuses anything but a number, and closes the connection.
            self.length = Some(value.and_then(|value| value.parse().ok()).unwrap_or(u64::MAX));
        }
        self.is_chunked |= self.is_begun && name.eq_ignore_ascii_case(b"transfer-encoding");
        self.is_begun = true;
        None
    }

    fn end_head(&mut self) -> bool {
        let is_ambiguous = self.is_chunked && self.length.is_some();
        self.is_over = self.is_chunked;
        self.body = self.length.take().unwrap_or(0);
        (self.is_begun, self.is_chunked) = (false, false);
        is_ambiguous
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODY: &str = "content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n";

    #[test]
    fn a_length_that_is_said_twice_is_seen_wherever_the_bytes_are_cut() {
        let lengths = format!("content-length: {}\r\n\r\n{BODY}", BODY.len());
        let requests = [
            ("GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), false),
            (format!("POST / HTTP/1.1\r\nHost: x\r\n{lengths}"), false),
            (format!("\r\nPOST / HTTP/1.1\nCONTENT-LENGTH:\t{}\n\n{BODY}", BODY.len()), false),
        ];
        let ends = [
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nx: y\r\nContent-Length: 3\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx\r\nContent-Length: 3\r\n\r\n",
                false,
            ),
        ];
        proptest!(|(
            order in proptest::collection::vec(0..requests.len(), 0..5),
            end in 0..ends.len(),
            cuts in proptest::collection::vec(1_usize..90, 1..20),
        )| {
            let text: String = order.iter().map(|at| requests[*at].0.as_str()).chain([ends[end].0]).collect();
            let expected: Vec<bool> = order.iter().map(|at| requests[*at].1).chain([ends[end].1]).collect();
            let (mut scanner, mut found, mut rest) = (Scanner::default(), Vec::new(), text.as_bytes());
            for cut in cuts.iter().cycle() {
                let (part, later) = rest.split_at((*cut).min(rest.len()));
                found.extend(scanner.read(part));
                rest = later;
                if rest.is_empty() { break }
            }
            prop_assert_eq!(found, expected);
        });
    }
}
