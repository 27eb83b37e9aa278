//! The schedule of webhook deliveries: when one is tried, retried and given up, and how many are sent per second.
//!
//! A delivery is tried a few times and then given up. After that, the next delivery probes the receiver, and no more
//! are given up while the receiver is unreachable. An overnight outage therefore produces one dead letter instead of
//! thousands.

use std::time::Duration;

/// The most events in one delivery.
pub const BATCH_EVENTS: usize = 100;

/// How long a delivery waits for more events after the first one.
pub const BATCH_TIME: Duration = Duration::from_secs(1);

/// How long one attempt may take.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long after the first attempt a retry may begin.
const RETRY_WITHIN: Duration = Duration::from_secs(15);

/// The pause between a failed attempt and the next one. It doubles each time, up to the second value.
const BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// How often a receiver that failed is probed.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(30);

/// Whether a status ends a delivery without retries. A 4xx means that the request is wrong, so a retry would fail too.
pub fn is_final(status: Option<u16>) -> bool {
    matches!(status, Some(400..500))
}

/// The next step after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Retry after this time.
    Retry(Duration),
    /// Make it a dead letter.
    GiveUp,
    /// Keep it, and try again after this time. Nothing is given up.
    Wait(Duration),
}

/// The attempts at one delivery.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attempts {
    /// The number of failed attempts.
    pub failed: u32,
}

impl Attempts {
    /// Records a failed attempt and returns what to do next. `elapsed` is the time since the first attempt began.
    /// `is_probe` says that the previous delivery was given up.
    pub fn failed(&mut self, status: Option<u16>, elapsed: Duration, is_probe: bool) -> Verdict {
        let backoff = BACKOFF.saturating_mul(1 << self.failed.min(8)).min(LONGEST_BACKOFF);
        self.failed = self.failed.saturating_add(1);
        if is_final(status) {
            Verdict::GiveUp
        } else if is_probe {
            Verdict::Wait(PROBE_INTERVAL)
        } else if elapsed + backoff <= RETRY_WITHIN {
            Verdict::Retry(backoff)
        } else {
            Verdict::GiveUp
        }
    }
}

/// Deliveries per second to a receiver whose capacity is unknown: after a start and after an outage.
const FIRST_PACE: usize = 8;

/// The most deliveries per second.
const FULL_PACE: usize = 256;

/// How many seconds' worth of deliveries must be accepted before the pace doubles.
const PACE_SECONDS: usize = 2;

/// The delivery rate of a receiver. It starts low, so that a backlog does not flood a receiver that has just recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Deliveries per second.
    pub per_second: usize,
    /// Deliveries until it doubles.
    left: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { per_second: FIRST_PACE, left: FIRST_PACE * PACE_SECONDS }
    }
}

impl Pace {
    /// Records an accepted delivery. Returns whether the pace has changed.
    pub fn taken(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        let is_faster = self.left == 0 && self.per_second < FULL_PACE;
        if is_faster {
            self.per_second = (2 * self.per_second).min(FULL_PACE);
            self.left = self.per_second * PACE_SECONDS;
        }
        is_faster
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The seconds at which a delivery is tried if each attempt takes `takes`, and the verdict after the last attempt.
    fn tried_at(takes: Duration, status: Option<u16>, is_probe: bool) -> (Vec<u64>, Verdict) {
        let (mut attempts, mut elapsed, mut tried) = (Attempts::default(), Duration::ZERO, Vec::new());
        loop {
            tried.push(elapsed.as_secs());
            elapsed += takes;
            match attempts.failed(status, elapsed, is_probe) {
                Verdict::Retry(after) => elapsed += after,
                verdict => return (tried, verdict),
            }
        }
    }

    #[test]
    fn a_delivery_is_tried_with_growing_pauses_for_fifteen_seconds() {
        assert_eq!(tried_at(Duration::ZERO, None, false), (vec![0, 1, 3, 7, 12], Verdict::GiveUp));
        assert_eq!(tried_at(Duration::ZERO, Some(500), false), (vec![0, 1, 3, 7, 12], Verdict::GiveUp));
        assert_eq!(tried_at(ATTEMPT_TIMEOUT, None, false), (vec![0, 11], Verdict::GiveUp));
    }

    #[test]
    fn a_delivery_that_the_receiver_refuses_is_not_retried() {
        for status in [400, 404, 410, 429, 499] {
            assert_eq!(tried_at(SECOND, Some(status), false), (vec![0], Verdict::GiveUp), "{status}");
            assert_eq!(tried_at(SECOND, Some(status), true), (vec![0], Verdict::GiveUp), "{status}");
        }
    }

    #[test]
    fn a_failed_probe_gives_nothing_up() {
        for status in [None, Some(301), Some(500), Some(503)] {
            assert_eq!(tried_at(SECOND, status, true), (vec![0], Verdict::Wait(PROBE_INTERVAL)));
        }
    }

    #[test]
    fn the_pace_grows_slowly_to_its_maximum() {
        let mut pace = Pace::default();
        let mut seconds = 0.0;
        while pace.per_second < FULL_PACE {
            assert!(seconds < 11.0);
            seconds += 1.0 / pace.per_second as f64;
            pace.taken();
        }
        assert!(seconds > 9.0, "{seconds}");
        assert!((0..10_000).all(|_| !pace.taken()) && pace.per_second == FULL_PACE);
    }
}
