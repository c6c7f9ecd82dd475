//! A signal that work under way is no longer wanted. The work checks it and ends; it is never dropped half way, so
//! that nothing keeps writing after a deletion.

use tokio::sync::watch;

/// Gives the signal.
#[derive(Debug, Clone)]
pub(crate) struct Canceller(watch::Sender<bool>);

/// Receives it.
#[derive(Debug, Clone)]
pub(crate) struct CancelSignal(watch::Receiver<bool>);

impl Canceller {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(crate) fn cancel(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn listener(&self) -> CancelSignal {
        CancelSignal(self.0.subscribe())
    }
}

impl CancelSignal {
    /// A signal that is never given.
    pub(crate) fn never() -> Self {
        Canceller::new().listener()
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for the signal; forever, if it can no longer be given.
    pub(crate) async fn wait(&self) {
        if self.0.clone().wait_for(|given| *given).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
