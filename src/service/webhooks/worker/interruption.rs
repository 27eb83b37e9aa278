//! Why a worker cannot make a delivery now. The cause is never the receiver.

use std::time::Duration;

/// The pause after a failure of the journal or the store.
pub(super) const OWN_FAILURE_PAUSE: Duration = Duration::from_secs(5);

/// Why no delivery can be made.
#[derive(Debug)]
pub(super) enum Interruption {
    /// An error of the journal or the store, in words.
    OwnFailure(String),
    /// Tollgate is stopping, or the webhook was deleted.
    End,
}

/// An error of the journal or the store.
pub(super) fn own_failure(error: impl std::fmt::Display) -> Interruption {
    Interruption::OwnFailure(error.to_string())
}
