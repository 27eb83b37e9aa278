//! Parameters that Tollgate adds to requests and that a target has refused. They are left out for ten minutes.

use std::sync::atomic::{AtomicU64, Ordering};

/// Time for which a refusal is remembered, in milliseconds.
const MEMORY_MS: u64 = 10 * 60 * 1000;

/// The parameters that one target has refused. Times are Unix milliseconds.
#[derive(Debug, Default)]
pub struct Declined {
    options_until: AtomicU64,
    second_maximum_until: AtomicU64,
}

impl Declined {
    /// Records that the target refused `stream_options`.
    pub fn options(&self, now_ms: u64) {
        self.options_until.store(now_ms + MEMORY_MS, Ordering::Relaxed);
    }

    /// Whether the target refused `stream_options` within the last ten minutes.
    pub fn has_options(&self, now_ms: u64) -> bool {
        now_ms < self.options_until.load(Ordering::Relaxed)
    }

    /// Records that the target refused a second output maximum, added to the customer's own.
    pub fn second_maximum(&self, now_ms: u64) {
        self.second_maximum_until.store(now_ms + MEMORY_MS, Ordering::Relaxed);
    }

    /// Whether the target refused a second output maximum within the last ten minutes.
    pub fn has_second_maximum(&self, now_ms: u64) -> bool {
        now_ms < self.second_maximum_until.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_for_ten_minutes() {
        let declined = Declined::default();
        assert!(!declined.has_options(1) && !declined.has_second_maximum(1));
        declined.options(1);
        assert!(declined.has_options(600_000) && !declined.has_options(600_001));
        assert!(!declined.has_second_maximum(2));
        declined.second_maximum(2);
        assert!(declined.has_second_maximum(600_001));
    }
}
