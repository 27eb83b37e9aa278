//! How a target has fared: what an operator needs to see when customers get 502.
//!
//! Kept per target as it was last written; a changed endpoint starts anew. A success costs one relaxed load.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// How a target has fared since it last answered.
#[derive(Default)]
pub struct Health {
    is_failing: AtomicBool,
    trouble: Mutex<Option<Trouble>>,
}

/// A target that does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What it did the last time, in words for the operator.
    pub why: String,
    /// When that was, Unix ms.
    pub at_ms: u64,
    /// How often it has failed since it last answered.
    pub times: u64,
}

impl Health {
    /// It answered.
    pub fn succeeded(&self) {
        if self.is_failing.load(Ordering::Relaxed) {
            *self.trouble.lock() = None;
            self.is_failing.store(false, Ordering::Relaxed);
        }
    }

    /// It did not.
    pub fn failed(&self, why: String, at_ms: u64) {
        let mut trouble = self.trouble.lock();
        let times = trouble.as_ref().map_or(0, |before| before.times).saturating_add(1);
        *trouble = Some(Trouble { why, at_ms, times });
        self.is_failing.store(true, Ordering::Relaxed);
    }

    /// What is wrong, if something is.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_counted_until_the_target_answers() {
        let health = Health::default();
        assert_eq!(health.trouble(), None);
        health.failed("no connection".to_owned(), 1);
        health.failed("status 500".to_owned(), 2);
        assert_eq!(health.trouble(), Some(Trouble { why: "status 500".to_owned(), at_ms: 2, times: 2 }));
        health.succeeded();
        assert_eq!(health.trouble(), None);
    }
}
