//! The progress of a webhook.

use serde::{Deserialize, Serialize};

/// The cursor of a webhook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The last record that it does not have to deliver any more.
    pub through: u64,
    /// Whether its last delivery was given up.
    pub has_given_up: bool,
    /// When events were last accepted, Unix ms.
    pub last_success_ms: Option<u64>,
}

/// The progress of a webhook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WebhookProgress {
    /// Its cursor.
    pub cursor: Cursor,
    /// The number of its dead letters.
    pub dead_letters: u64,
}
