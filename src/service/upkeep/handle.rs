//! The channels between the background thread and those that wait for the store.

use std::sync::mpsc;

use tokio::sync::watch;

/// The reason for waking the thread early.
pub(in crate::service) enum Wake {
    /// A reader waits for the store to apply the durable records.
    Fold,
    /// The process is stopping; do the last round.
    Stop,
}

/// The channels to and from the thread.
pub(in crate::service) struct Handle {
    pub(super) wake: mpsc::Sender<Wake>,
    /// The last record that the store has applied.
    pub(super) applied: watch::Sender<u64>,
}

impl Handle {
    pub(in crate::service) fn new() -> (Self, mpsc::Receiver<Wake>) {
        let (wake, woken) = mpsc::channel();
        (Self { wake, applied: watch::Sender::new(0) }, woken)
    }

    /// The last record that the store has applied, for readers that follow it.
    pub(in crate::service) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Waits until the store has applied the record `seq`, which must be durable.
    pub(in crate::service) async fn folded(&self, seq: u64) {
        let mut applied = self.applied.subscribe();
        if *applied.borrow() < seq {
            let _ = self.wake.send(Wake::Fold);
            let _ = applied.wait_for(|applied| *applied >= seq).await;
        }
    }
}
