//! Work that blocks, away from the threads that answer calls.

use crate::error::{Error, Kind, Result};

/// File work, off the threads that answer calls.
pub(super) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(Kind::Bug, "a thread has panicked").caused_by(error))?
}
