//! A note in the vault that says who holds something, and that its holder writes anew again and again while it lives.
//!
//! Leases and the locks of an object store are such notes. A note is changed only by whoever saw it last, so that a holder
//! who was replaced finds out; [`Pulse`] says how often it is renewed and for how long its holder relies on it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::backend::{Backend, Version};
use super::pulse::{Overwritten, Pulse};
use crate::error::{Error, Result};

/// For how long a renewal that is under way is waited for when the note is let go.
const LAST_RENEWAL: Duration = Duration::from_secs(10);

/// What a note says of its renewals.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Renewals {
    /// How often it was written anew.
    pub(super) renewed: u64,
    /// For how long it holds without being renewed, where that is longer than usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lasts_seconds: Option<u64>,
}

/// A note that can be renewed.
pub(super) trait Renewable: Clone + fmt::Debug + Send + 'static {
    /// What it is called in messages: `lease`.
    const NOUN: &'static str;
    fn renewals(&mut self) -> &mut Renewals;
    fn to_json(&self) -> Vec<u8>;
}

/// A note that is ours, renewed until it is stopped or lost.
#[derive(Debug)]
pub(super) struct Renewal<N: Renewable> {
    shared: Arc<Shared<N>>,
    /// Dropped when the renewing is to end.
    end: Option<Sender<()>>,
    /// Closed when it has ended.
    ended: Mutex<Receiver<()>>,
}

#[derive(Debug)]
struct Shared<N> {
    backend: Arc<dyn Backend>,
    name: String,
    /// At first.
    pulse: Pulse,
    overwritten: Overwritten,
    state: Mutex<(N, Version)>,
    /// When it was renewed, and what holds since then.
    renewed_at: Mutex<(Instant, Pulse)>,
    is_lost: AtomicBool,
}

impl<N: Renewable> Renewal<N> {
    /// Writes a note where nothing is, or over what was seen there, and renews it from then on; `None` if somebody was
    /// quicker.
    pub(super) fn start(
        backend: Arc<dyn Backend>,
        name: &str,
        note: N,
        seen: Option<&Version>,
        pulse: Pulse,
    ) -> Result<Option<Self>> {
        let written_at = Instant::now();
        let Some(version) = backend.put_if(name, &note.to_json(), seen)? else { return Ok(None) };
        let shared = Arc::new(Shared {
            overwritten: backend.overwritten(),
            backend,
            name: name.to_owned(),
            pulse,
            state: Mutex::new((note, version)),
            renewed_at: Mutex::new((written_at, pulse)),
            is_lost: AtomicBool::new(false),
        });
        let ((end, is_ending), (has_ended, ended)) = (channel(), channel());
        let renewing = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("lease".to_owned()).spawn(move || {
            renewing.renew_until(&is_ending);
            drop::<Sender<()>>(has_ended);
        });
        thread.map_err(|error| Error::outside("cannot start a thread").caused_by(error))?;
        Ok(Some(Renewal { shared, end: Some(end), ended: Mutex::new(ended) }))
    }

    /// Whether it is still ours, and will be for some seconds: to be asked before something is done that must not be done
    /// twice. A process that was stopped for long, or that cannot reach the vault, has lost it.
    pub(super) fn require_held(&self) -> Result<()> {
        let Shared { backend, name, is_lost, renewed_at, .. } = &*self.shared;
        let (at, pulse) = *renewed_at.lock();
        let (loss, hint) = if is_lost.load(Ordering::Relaxed) {
            (
                "was lost to another process",
                "This process was suspended for too long or could not reach the vault",
            )
        } else if at.elapsed() > pulse.relied_on {
            ("could not be renewed", "The vault is unreachable, or this process was suspended for too long")
        } else {
            return Ok(());
        };
        Err(Error::outside(format!("the {} `{}` {loss}", N::NOUN, backend.shown(name)))
            .hint(format!("{hint}: run the command again.")))
    }

    /// Changes what the note says; it is an error if it is no longer ours.
    pub(super) fn change(&self, change: impl FnOnce(&mut N)) -> Result<()> {
        self.shared.change(change)?;
        self.require_held()
    }

    /// Ends the renewing; says whether the note is still ours. We do not write it again of our own accord.
    pub(super) fn stop(&mut self) -> bool {
        self.end = None;
        // A renewal that hangs at a vault that is gone is not waited for.
        self.require_held().is_ok()
            && self.ended.lock().recv_timeout(LAST_RENEWAL) == Err(RecvTimeoutError::Disconnected)
            && self.require_held().is_ok()
    }
}

impl<N: Renewable> Shared<N> {
    fn renew_until(&self, is_ending: &Receiver<()>) {
        let mut pause = self.pulse.every;
        while is_ending.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            pause = match self.change(|_| ()) {
                Ok(()) if self.is_lost.load(Ordering::Relaxed) => return,
                Ok(()) => self.renewed_at.lock().1.every,
                // It is tried again soon, however rarely it is renewed.
                Err(_) => self.pulse.every,
            };
        }
    }

    /// Writes the note anew, unless somebody else has written it.
    fn change(&self, change: impl FnOnce(&mut N)) -> Result<()> {
        let mut state = self.state.lock();
        let at = Instant::now();
        let mut next = state.0.clone();
        change(&mut next);
        let renewals = next.renewals();
        renewals.renewed += 1;
        let pulse = self.pulse.after(renewals.renewed, self.overwritten);
        renewals.lasts_seconds = pulse.written(self.pulse);
        match self.backend.put_if(&self.name, &next.to_json(), Some(&state.1))? {
            Some(version) => {
                *state = (next, version);
                *self.renewed_at.lock() = (at, pulse);
            }
            None => self.is_lost.store(true, Ordering::Relaxed),
        }
        Ok(())
    }
}
