//! The outcomes of the calls to a target.

use std::time::Duration;

use crate::{domain::usage::Usage, upstream::client::SendError};

/// The reason why there was no answer.
pub(super) enum NoAnswer {
    /// The request could not be sent, or its answer could not be read.
    Failed(SendError),
    /// No answer came in time.
    Late,
}

/// The server's list of models.
pub(super) enum Models {
    /// Their names, at least one, whether ours is one of them, and whether the list has all names that the server
    /// accepts.
    Listed { has_ours: bool, is_complete: bool, names: Vec<String> },
    /// The server gave no readable list. Holds the status.
    Unlisted(u16),
}

/// The result of a call.
pub(super) enum Called {
    /// The answer was streamed.
    Streamed {
        /// The time from the request to the first content.
        first_after: Duration,
        /// The reported usage.
        usage: Option<Usage>,
        /// Whether the stream ended in time.
        is_whole: bool,
    },
    /// One JSON answer, with its reported usage.
    Whole(Option<Usage>),
    /// The server refused the call.
    Refused(ProbeRefusal),
    /// Another failure, in a sentence.
    Failed(String),
}

/// A server's refusal of a call.
pub(super) struct ProbeRefusal {
    /// The status: 4xx, or 501.
    pub(super) status: u16,
    /// The server's message; may be empty.
    pub(super) message: String,
    /// The machine-readable code.
    pub(super) code: Option<String>,
    /// The parameter that it concerns.
    pub(super) param: Option<String>,
}
