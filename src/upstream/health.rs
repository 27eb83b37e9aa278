//! Records the last success and the last failure of a target, so that operators can see why customers get 502.
//!
//! Each compiled target has its own record, so a change of the endpoint starts a new one. Recording a success costs two
//! relaxed loads, and a store at most once a second.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

/// The last success and the last failure of a target.
#[derive(Default)]
pub struct Health {
    is_failing: AtomicBool,
    /// The time of the last answer in Unix seconds, 0 for never.
    last_success_s: AtomicU64,
    /// The last failure.
    last_failure: Mutex<Option<Failure>>,
}

/// A failure of a target to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The reason, as a text for the operator.
    pub why: String,
    /// The time of the failure in Unix milliseconds.
    pub at_ms: u64,
    /// The number of failures since the last answer, 0 if the target has answered after this failure.
    pub times: u64,
}

impl Health {
    /// Records an answer.
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

    /// Records a failure.
    pub fn failed(&self, why: String, at_ms: u64) {
        let mut last = self.last_failure.lock();
        let times = last.as_ref().map_or(0, |before| before.times).saturating_add(1);
        *last = Some(Failure { why, at_ms, times });
        self.is_failing.store(true, Ordering::Relaxed);
    }

    /// The time of the last answer in Unix milliseconds, rounded down to a second. `None` if there was none.
    pub fn last_success_ms(&self) -> Option<u64> {
        Some(self.last_success_s.load(Ordering::Relaxed) * 1000).filter(|at_ms| *at_ms > 0)
    }

    /// The last failure, even if the target has answered since.
    pub fn last_failure(&self) -> Option<Failure> {
        self.last_failure.lock().clone()
    }

    /// The last failure, if the target has not answered since.
    pub fn trouble(&self) -> Option<Failure> {
        self.last_failure().filter(|failure| failure.times > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_until_the_target_answers() {
        let health = Health::default();
        assert_eq!((health.trouble(), health.last_success_ms()), (None, None));
        health.failed("no connection".to_owned(), 1);
        health.failed("status 500".to_owned(), 2);
        let last = |times| Some(Failure { why: "status 500".to_owned(), at_ms: 2, times });
        assert_eq!((health.trouble(), health.last_success_ms()), (last(2), None));
        health.succeeded(3_999);
        assert_eq!((health.trouble(), health.last_failure()), (None, last(0)), "the failure itself is kept");
        assert_eq!(health.last_success_ms(), Some(3_000));
        health.failed("no connection".to_owned(), 5_000);
        assert_eq!(health.trouble().map(|trouble| trouble.times), Some(1));
        assert_eq!(health.last_success_ms(), Some(3_000));
    }
}
