//! SIGINT, SIGTERM, SIGHUP and SIGQUIT as something to wait for, so that whoever holds something that costs money can put it away
//! before the process ends.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::{Error, Kind, Result};

/// Signals that have arrived so far.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    arrived: watch::Receiver<Vec<Kind>>,
    // Without signals to listen to, as in tests, the sender must outlive the receiver all the same.
    _sender: Arc<watch::Sender<Vec<Kind>>>,
}

impl Interrupt {
    /// Listens from now on.
    pub(crate) fn listen() -> Result<Self> {
        let failed = |error| Error::new(Kind::Bug, "signals cannot be listened to").caused_by(error);
        let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
        // A terminal that is closed or a lost ssh connection must not leave anything behind either.
        let mut hangups = signal(SignalKind::hangup()).map_err(failed)?;
        let mut quits = signal(SignalKind::quit()).map_err(failed)?;
        let (sender, arrived) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        let heard = Arc::clone(&sender);
        tokio::spawn(async move {
            loop {
                let kind = tokio::select! {
                    Some(()) = interrupts.recv() => Kind::Interrupted,
                    Some(()) = terminations.recv() => Kind::Terminated,
                    Some(()) = hangups.recv() => Kind::Terminated,
                    Some(()) = quits.recv() => Kind::Terminated,
                    else => return,
                };
                heard.send_modify(|arrived| arrived.push(kind));
            }
        });
        Ok(Interrupt { arrived, _sender: sender })
    }

    /// Hears nothing, ever.
    pub(crate) fn never() -> Self {
        let (sender, arrived) = watch::channel(Vec::new());
        Interrupt { arrived, _sender: Arc::new(sender) }
    }

    /// The first signal, if one has arrived.
    pub(crate) fn first(&self) -> Option<Kind> {
        self.arrived.borrow().first().copied()
    }

    /// Waits until `count` signals have arrived in all; returns the first.
    pub(crate) async fn wait(&self, count: usize) -> Kind {
        let mut arrived = self.arrived.clone();
        let has_come = arrived.wait_for(|arrived| arrived.len() >= count).await.is_ok();
        if !has_come {
            std::future::pending::<()>().await;
        }
        self.first().unwrap_or(Kind::Interrupted)
    }
}
