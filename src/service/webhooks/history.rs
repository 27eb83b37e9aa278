//! The latest delivery attempts, in memory, for people who set up a receiver.

use std::collections::VecDeque;

use parking_lot::Mutex;
use uuid::Uuid;

/// The most attempts that are kept for each webhook.
const KEPT: usize = 100;

/// The most bytes of each attempt's error that are kept, so that all webhooks' attempts take at most a few MiB. The
/// webhook's last error is kept at greater length.
const MAX_ERROR: usize = 256;

/// An attempt that has ended.
#[derive(Debug, Clone)]
pub struct Attempted {
    /// The id of the delivery, the same in all its attempts.
    pub request_id: Uuid,
    /// The time when it began, in Unix ms.
    pub at_ms: u64,
    /// The number of the attempt within its delivery, from 1.
    pub attempt: u32,
    /// The kind of content.
    pub content: Content,
    /// The number of events or alerts in it.
    pub events: usize,
    /// The status of the answer; `None` without an answer.
    pub status: Option<u16>,
    /// The failure, in words; `None` if there was none.
    pub error: Option<String>,
    /// The duration of the attempt.
    pub duration_ms: u64,
    /// The outcome.
    pub outcome: AttemptOutcome,
}

/// The content of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// New events.
    Events,
    /// New alerts.
    Alerts,
    /// A dead letter's events or alerts.
    DeadLetter,
    /// A test event, which is not billed.
    Test,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The receiver accepted it.
    Delivered,
    /// It failed and is retried soon.
    Retrying,
    /// It failed and waits, since the receiver has been failing for some time.
    Waiting,
    /// It was given up, and is a dead letter.
    DeadLetter,
    /// It failed and is not retried (a test).
    Failed,
}

/// The latest attempts, newest last.
#[derive(Default)]
pub(super) struct History(Mutex<VecDeque<Attempted>>);

impl History {
    pub(super) fn note(&self, mut attempted: Attempted) {
        if let Some(error) = &mut attempted.error
            && error.len() > MAX_ERROR
        {
            error.truncate(error.floor_char_boundary(MAX_ERROR - '…'.len_utf8()));
            error.push('…');
            error.shrink_to_fit();
        }
        let mut attempts = self.0.lock();
        if attempts.len() >= KEPT {
            attempts.pop_front();
        }
        attempts.push_back(attempted);
    }

    /// All attempts, newest first.
    pub(super) fn newest_first(&self) -> Vec<Attempted> {
        self.0.lock().iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_hundred_attempts_are_kept_with_short_errors() {
        let history = History::default();
        for attempt in 1..=250 {
            history.note(Attempted {
                request_id: Uuid::nil(),
                at_ms: 0,
                attempt,
                content: Content::Events,
                events: 1,
                status: Some(500),
                error: Some("é".repeat(attempt as usize)),
                duration_ms: 1,
                outcome: AttemptOutcome::Retrying,
            });
        }
        let known = history.newest_first();
        assert_eq!((known.len(), known[0].attempt, known[99].attempt), (KEPT, 250, 151));
        let longest = known[0].error.as_ref().unwrap();
        assert!(longest.len() <= MAX_ERROR && longest.starts_with("éé") && longest.ends_with('…'), "{longest}");
        assert!(known.iter().all(|attempted| attempted.error.as_ref().unwrap().len() <= MAX_ERROR));
    }
}
