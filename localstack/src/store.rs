//! What the stack knows of RDS: one `State` behind a lock that is held only for moments, written to `state.json` whenever
//! it changes.
//!
//! An answer waits until the change that it reports is in the file (`wait_until_saved`), so what a caller was told
//! survives a `kill -9`.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::atomic_file::{read_json, replace_file};
use crate::resources::State;

#[derive(Debug)]
pub(crate) struct Store {
    state: Mutex<State>,
    file: PathBuf,
    /// Counts changes.
    changes: watch::Sender<u64>,
    /// How many of them are in the file.
    written: watch::Sender<u64>,
}

impl Store {
    pub(crate) fn open(file: PathBuf) -> anyhow::Result<Self> {
        Ok(Self {
            state: Mutex::new(read_json(&file)?.unwrap_or_default()),
            file,
            changes: watch::Sender::new(0),
            written: watch::Sender::new(0),
        })
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn change<T>(&self, edit: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = edit(&mut state);
        // Counted while the state is locked, so that a writer that reads the count first never misses a change.
        self.changes.send_modify(|count| *count += 1);
        outcome
    }

    /// Learns of every change from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits until every change made so far is in the file.
    pub(crate) async fn wait_until_saved(&self) {
        let made = *self.changes.borrow();
        // Fails only when the store is gone, and then nobody waits.
        let _ = self.written.subscribe().wait_for(|written| *written >= made).await;
    }

    /// Writes changes as they come, for as long as the stack runs.
    pub(crate) async fn keep_writing(&self, trouble: impl Fn(&io::Error)) {
        let mut changes = self.changes.subscribe();
        loop {
            let made = *changes.borrow_and_update();
            if made > *self.written.borrow()
                && let Err(error) = self.write(made)
            {
                trouble(&error);
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Writes what is not written yet. The file is small and goes to the page cache, so this does not leave the thread.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.write(*self.changes.borrow())
    }

    fn write(&self, made: u64) -> io::Result<()> {
        let json = self.read(serde_json::to_vec).map_err(io::Error::other)?;
        let outcome = replace_file(&self.file, &json);
        // Counted as written even when it failed: a full disk must not make every call hang. The trouble is reported.
        self.written.send_modify(|written| *written = made.max(*written));
        outcome
    }
}
