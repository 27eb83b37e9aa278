//! A target that did not answer, so that the next one is asked.

use crate::upstream::refusal::{UpstreamError, UpstreamRefusal};

/// The reason why a target was skipped.
pub(super) struct SkippedTarget {
    pub(super) why: SkipReason,
    /// The reason in words, for the operator.
    pub(super) words: String,
    /// The target's 429, if it is at its own limit.
    pub(super) limited: Option<Box<UpstreamRefusal>>,
}

/// The kind of failure, for the customer's error if no other target answers either.
pub(super) enum SkipReason {
    Unusable,
    TooSlow,
    /// The target failed, with the server's error message if it gave one.
    Failed(Option<String>),
}

impl SkippedTarget {
    pub(super) fn new(why: SkipReason, words: impl Into<String>) -> Self {
        Self { why, words: words.into(), limited: None }
    }

    pub(super) fn failed(words: impl Into<String>) -> Self {
        Self::new(SkipReason::Failed(None), words)
    }

    pub(super) fn too_slow(words: impl Into<String>) -> Self {
        Self::new(SkipReason::TooSlow, words)
    }

    /// A failure that the target itself reported. `did` says what it did, for the operator.
    pub(super) fn reported(error: &UpstreamError, did: &str, body: &[u8]) -> Self {
        Self::new(SkipReason::Failed(Some(error.failure_message())), error.for_operator(did, body))
    }

    pub(super) fn is_slow(&self) -> bool {
        matches!(self.why, SkipReason::TooSlow)
    }
}
