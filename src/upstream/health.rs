//! How a target has fared: what an operator needs to see when customers get 502.
//!
//! Kept per target as it was last written; a changed endpoint starts anew. A success costs two relaxed loads, and once a
//! second a store.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

/// How a target has fared.
#[derive(Default)]
pub struct Health {
    is_failing: AtomicBool,
    /// When it last answered: Unix time in whole seconds, 0 for never.
    last_success_s: AtomicU64,
    /// The last time that it did not answer.
    last_failure: Mutex<Option<Failure>>,
}

/// A target that did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What it did, in words for the operator.
    pub why: String,
    /// When that was, Unix ms.
    pub at_ms: u64,
    /// How often it has failed since it last answered; 0 if it has answered since.
    pub times: u64,
}

impl Health {
    /// It answered.
    pub fn succeeded(&self, at_ms: u64) {
        let at_s = at_ms / 1000;
        if self.last_success_s.load(Ordering::Relaxed) != at_s {
            self.last_success_s.store(at_s, Ordering::Relaxed);
        }
        if self.is_failing.load(Ordering::Relaxed) {
            if let Some(failure) = &mut *self.last_failure.lock() {
                failure.times = 0;
            }
            self.is_failing.store(false, Ordering::Relaxed);
        }
    }

    /// It did not.
    pub fn failed(&self, why: String, at_ms: u64) {
        let mut last = self.last_failure.lock();
        let times = last.as_ref().map_or(0, |before| before.times).saturating_add(1);
        *last = Some(Failure { why, at_ms, times });
        self.is_failing.store(true, Ordering::Relaxed);
    }

    /// When it last answered, to the second: Unix ms.
    pub fn last_success_ms(&self) -> Option<u64> {
        Some(self.last_success_s.load(Ordering::Relaxed) * 1000).filter(|at_ms| *at_ms > 0)
    }

    /// What went wrong the last time that something did.
    pub fn last_failure(&self) -> Option<Failure> {
        self.last_failure.lock().clone()
    }

    /// What is wrong, if something is.
    pub fn trouble(&self) -> Option<Failure> {
        self.last_failure().filter(|failure| failure.times > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_counted_until_the_target_answers() {
        let health = Health::default();
        assert_eq!((health.trouble(), health.last_success_ms()), (None, None));
        health.failed("no connection".to_owned(), 1);
        health.failed("status 500".to_owned(), 2);
        let last = |times| Some(Failure { why: "status 500".to_owned(), at_ms: 2, times });
        assert_eq!((health.trouble(), health.last_success_ms()), (last(2), None));
        health.succeeded(3_999);
        assert_eq!((health.trouble(), health.last_failure()), (None, last(0)), "what it was is still known");
        assert_eq!(health.last_success_ms(), Some(3_000));
        health.failed("no connection".to_owned(), 5_000);
        assert_eq!(health.trouble().map(|trouble| trouble.times), Some(1));
        assert_eq!(health.last_success_ms(), Some(3_000));
    }
}
