//! The stack's memory: one `State` behind a lock that is only held for moments, written to `state.json` as it changes.
//!
//! The file is replaced atomically. Answers wait until the change they report is in the file (`saved`), so what a caller
//! was told survives a `kill -9`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{fs, io};

use anyhow::Context;
use tokio::sync::watch;

use crate::record::State;

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
        let state = match fs::read(&file) {
            Ok(json) => serde_json::from_slice(&json)
                .with_context(|| format!("`{}` is not a state file of this version", file.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", file.display())),
        };
        Ok(Self {
            state: Mutex::new(state),
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
    pub(crate) async fn saved(&self) {
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
        let outcome = replace(&self.file, &json);
        // Counted as written even when it failed: a full disk must not make every call hang. The trouble is reported.
        self.written.send_modify(|written| *written = made.max(*written));
        outcome
    }
}

/// Puts `content` at `file` so that a reader finds the old or the new content whole.
pub(crate) fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let partial = file.with_extension("partial");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&partial)?.write_all(content)?;
    fs::rename(&partial, file)
}
