//! What happens during a backup, a proof or a restore, and work on other threads that tells it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;

/// What happens during a backup, a proof or a restore.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    /// Something begins.
    Phase(&'a str),
    /// So many bytes of content have passed.
    Bytes(u64),
    /// Something that one may want to know.
    Note(&'a str),
    /// Something that is not as it should be.
    Warning(&'a str),
}

/// How many threads compress or expand, unless told otherwise.
pub(crate) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(1, 8)
}

/// The error of a run that was interrupted.
pub(super) fn stop_if_interrupted(interrupt: &Interrupt, what: &str) -> Result<()> {
    match interrupt.first() {
        None => Ok(()),
        Some(kind) => Err(Error::new(kind, format!("interrupted: {what}"))),
    }
}

pub(super) fn cannot_write(error: std::io::Error) -> Error {
    Error::outside("cannot write the backup")
        .caused_by(error)
        .hint("Free some space, or choose another `--vault`. The attempt was discarded.")
}

/// Waits for work that blocks, telling how far it has come.
pub(super) async fn follow_progress<T: Send + 'static>(
    bytes: &Arc<AtomicU64>,
    tell: &(dyn Fn(Event<'_>) + Sync),
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let mut work = tokio::task::spawn_blocking(work);
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(250));
    loop {
        tokio::select! {
            done = &mut work => {
                return done.map_err(|error| {
                    Error::new(Kind::Bug, "a thread has panicked").caused_by(error)
                })?;
            }
            _ = tick.tick() => tell(Event::Bytes(bytes.load(Ordering::Relaxed))),
        }
    }
}
