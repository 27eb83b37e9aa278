//! The signal that ends the deliveries. One task waits for it; the workers poll it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

/// The signal that ends the deliveries.
#[derive(Clone, Default)]
pub(super) struct Stop(Arc<Stopping>);

#[derive(Default)]
struct Stopping {
    is_stopping: AtomicBool,
    wake: Notify,
}

impl Stop {
    /// Ends the deliveries.
    pub(super) fn request(&self) {
        self.0.is_stopping.store(true, Ordering::SeqCst);
        self.0.wake.notify_one();
    }

    /// Waits for [`Self::request`].
    pub(super) async fn requested(&self) {
        self.0.wake.notified().await;
    }

    /// Whether [`Self::request`] has been called.
    pub(super) fn is_stopping(&self) -> bool {
        self.0.is_stopping.load(Ordering::SeqCst)
    }
}
