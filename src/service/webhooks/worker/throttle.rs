//! The throttle of a webhook's attempts, which speeds up while a receiver keeps accepting.

use std::time::Duration;

use leaky_bucket::RateLimiter;

use crate::domain::delivery::Pace;

/// The most refills of the limiter in a second.
const REFILLS_PER_SECOND: usize = 16;

/// The throttle of a webhook's attempts.
pub(super) struct Throttle {
    pace: Pace,
    limiter: RateLimiter,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { pace: Pace::default(), limiter: limiter(Pace::default()) }
    }
}

impl Throttle {
    /// Waits until an attempt may be made.
    pub(super) async fn wait(&self) {
        self.limiter.acquire_one().await;
    }

    /// Notes an accepted delivery, which may speed attempts up.
    pub(super) fn note_accepted(&mut self) {
        if self.pace.taken() {
            self.limiter = limiter(self.pace);
        }
    }
}

fn limiter(pace: Pace) -> RateLimiter {
    let refill = pace.per_second.div_ceil(REFILLS_PER_SECOND);
    let interval = Duration::from_secs(1).mul_f64(refill as f64 / pace.per_second as f64);
    RateLimiter::builder().initial(1).max(refill).refill(refill).interval(interval).build()
}
