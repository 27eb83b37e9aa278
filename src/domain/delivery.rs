//! When a delivery to a webhook is tried, tried again and given up, and how many there are in a second.
//!
//! One delivery is tried a few times and then given up. After that the receiver is probed with the next one and nothing
//! more is given up for being out of reach: an outage of a night costs one dead letter, not thousands.

use std::time::Duration;

/// Events of one delivery at most.
pub const BATCH_EVENTS: usize = 100;

/// How long a delivery waits for more events after its first one.
pub const BATCH_TIME: Duration = Duration::from_secs(1);

/// How long one attempt may take.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long after the first attempt another one may begin.
const RETRY_WITHIN: Duration = Duration::from_secs(15);

/// What lies between a failed attempt and the next one: doubled each time, up to the second figure.
const BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// How often a receiver that failed is tried.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(30);

/// Whether an answer ends a delivery for good: it says that the request is wrong, and it will not become right.
pub fn is_final(status: Option<u16>) -> bool {
    matches!(status, Some(400..500))
}

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after this time.
    Retry(Duration),
    /// It becomes a dead letter.
    GiveUp,
    /// It waits, and is tried again after this time; nothing is given up for it.
    Wait(Duration),
}

/// The attempts at one delivery.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attempts {
    /// How many have failed.
    pub failed: u32,
}

impl Attempts {
    /// What is to be done after another attempt failed with `status`, `elapsed` after the first one began. `is_probe`: the
    /// delivery before this one was given up.
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

/// Deliveries a second to a receiver of which it is not known how much it bears: after a start and after an outage.
const FIRST_PACE: usize = 8;

/// Deliveries a second at most.
const FULL_PACE: usize = 256;

/// How many seconds' worth of deliveries must be taken before the pace is doubled.
const PACE_SECONDS: usize = 2;

/// How many deliveries a second a receiver gets, so that a backlog does not flood one that has just come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Deliveries a second.
    pub per_second: usize,
    /// Deliveries until it is doubled.
    left: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { per_second: FIRST_PACE, left: FIRST_PACE * PACE_SECONDS }
    }
}

impl Pace {
    /// Notes a delivery that was taken. True if the pace is another one now.
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

    /// Seconds at which a delivery is tried whose attempts take `takes` each, and what happens after the last one.
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
    fn what_the_receiver_refuses_is_not_tried_again() {
        for status in [400, 404, 410, 429, 499] {
            assert_eq!(tried_at(SECOND, Some(status), false), (vec![0], Verdict::GiveUp), "{status}");
            assert_eq!(tried_at(SECOND, Some(status), true), (vec![0], Verdict::GiveUp), "{status}");
        }
    }

    #[test]
    fn a_probe_that_fails_gives_nothing_up() {
        for status in [None, Some(301), Some(500), Some(503)] {
            assert_eq!(tried_at(SECOND, status, true), (vec![0], Verdict::Wait(PROBE_INTERVAL)));
        }
    }

    #[test]
    fn a_receiver_gets_slowly_used_to_the_full_pace() {
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
