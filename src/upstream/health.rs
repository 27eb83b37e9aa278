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
    last_failure: Mutex<Option<TargetFailure>>,
}

/// A failure of a target to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFailure {
    /// The reason, as a text for the operator.
    pub reason: String,
    /// The time of the failure in Unix milliseconds.
    pub at_ms: u64,
    /// The number of failures since the last answer, 0 if the target has answered after this failure.
    pub count: u64,
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
                failure.count = 0;
            }
            self.is_failing.store(false, Ordering::Relaxed);
        }
    }

    /// Records a failure.
    pub fn failed(&self, reason: String, at_ms: u64) {
        let mut last = self.last_failure.lock();
        let count = last.as_ref().map_or(0, |before| before.count).saturating_add(1);
        *last = Some(TargetFailure { reason, at_ms, count });
        self.is_failing.store(true, Ordering::Relaxed);
    }

    /// The time of the last answer in Unix milliseconds, rounded down to a second. `None` if there was none.
    pub fn last_success_ms(&self) -> Option<u64> {
        Some(self.last_success_s.load(Ordering::Relaxed) * 1000).filter(|at_ms| *at_ms > 0)
    }

    /// The last failure, even if the target has answered since.
    pub fn last_failure(&self) -> Option<TargetFailure> {
        self.last_failure.lock().clone()
    }

    /// The last failure, if the target has not answered since.
    pub fn current_failure(&self) -> Option<TargetFailure> {
        self.last_failure().filter(|failure| failure.count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_until_the_target_answers() {
        let health = Health::default();
        assert_eq!((health.current_failure(), health.last_success_ms()), (None, None));
        health.failed("no connection".to_owned(), 1);
        health.failed("status 500".to_owned(), 2);
        let last = |count| Some(TargetFailure { reason: "status 500".to_owned(), at_ms: 2, count });
        assert_eq!((health.current_failure(), health.last_success_ms()), (last(2), None));
        health.succeeded(3_999);
        assert_eq!((health.current_failure(), health.last_failure()), (None, last(0)), "the failure itself is kept");
        assert_eq!(health.last_success_ms(), Some(3_000));
        health.failed("no connection".to_owned(), 5_000);
        assert_eq!(health.current_failure().map(|current_failure| current_failure.count), Some(1));
        assert_eq!(health.last_success_ms(), Some(3_000));
    }
}
