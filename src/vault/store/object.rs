//! Objects that are read: in pieces, ahead of whoever reads, and each piece only of what was there at the beginning.

use std::io::{self, Read};
use std::ops::Range;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::body::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore as _};
use tokio::sync::mpsc;

use super::client::{Store, said};
use crate::vault::backend::Opened;

/// How much is asked for at once.
const PIECE: u64 = 4 << 20;
/// One piece may take so long.
const PATIENCE: Duration = Duration::from_secs(180);

/// An object as it was when it was looked at: its size and its ETag.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) store: Store,
    pub(super) path: Path,
    pub(super) size: u64,
    pub(super) e_tag: Option<String>,
    pub(super) modified: DateTime<Utc>,
}

/// Reads an object from its beginning.
struct Reader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Opened for Object {
    fn reader(&self) -> Box<dyn Read + Send> {
        // One piece waits while another one is fetched.
        let (give, pieces) = mpsc::channel(1);
        let object = self.clone();
        self.store.thread.spawn(async move { object.fetch(&give).await });
        Box::new(Reader { pieces, piece: Bytes::new() })
    }
}

impl Object {
    async fn fetch(&self, give: &mpsc::Sender<io::Result<Bytes>>) {
        let mut at = 0;
        while at < self.size {
            let end = (at + PIECE).min(self.size);
            let piece = self.piece(at..end).await;
            let is_last = piece.is_err();
            if give.send(piece).await.is_err() || is_last {
                return;
            }
            at = end;
        }
    }

    async fn piece(&self, range: Range<u64>) -> io::Result<Bytes> {
        let mut attempt = 0;
        loop {
            let options = GetOptions {
                if_match: self.e_tag.clone(),
                range: Some(GetRange::Bounded(range.clone())),
                ..GetOptions::default()
            };
            let get = async { self.store.bucket.get_opts(&self.path, options).await?.bytes().await };
            let error = match tokio::time::timeout(PATIENCE, get).await {
                Ok(Ok(bytes)) if bytes.len() as u64 == range.end - range.start => return Ok(bytes),
                Ok(Ok(_)) => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is truncated"));
                }
                Ok(Err(
                    error @ (object_store::Error::Precondition { .. } | object_store::Error::NotFound { .. }),
                )) => {
                    let why = "it was replaced or removed while it was being read";
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("{why}: {}", said(&error).1),
                    ));
                }
                Ok(Err(error)) => io::Error::other(said(&error).1),
                Err(_) => io::Error::from(io::ErrorKind::TimedOut),
            };
            attempt += 1;
            if attempt == 3 {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_secs(attempt)).await;
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}
