//! The parts of our own that a target has refused in requests: for ten minutes they are left out.

use std::sync::atomic::{AtomicU64, Ordering};

/// How long a refusal is remembered, in ms.
const MEMORY_MS: u64 = 10 * 60 * 1000;

/// The refusals of one target. Times are Unix ms.
#[derive(Debug, Default)]
pub struct Declined {
    options_until: AtomicU64,
    second_maximum_until: AtomicU64,
}

impl Declined {
    /// It refused `stream_options`.
    pub fn options(&self, now_ms: u64) {
        self.options_until.store(now_ms + MEMORY_MS, Ordering::Relaxed);
    }

    /// Whether it refused `stream_options` of late.
    pub fn has_options(&self, now_ms: u64) -> bool {
        now_ms < self.options_until.load(Ordering::Relaxed)
    }

    /// It refused an output maximum beside the customer's own.
    pub fn second_maximum(&self, now_ms: u64) {
        self.second_maximum_until.store(now_ms + MEMORY_MS, Ordering::Relaxed);
    }

    /// Whether it refused an output maximum beside the customer's own of late.
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
