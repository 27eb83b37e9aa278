//! The latest attempts at deliveries, in memory, for whoever sets a receiver up and wants to see what becomes of them.

use std::collections::VecDeque;

use parking_lot::Mutex;
use uuid::Uuid;

/// So many attempts of each webhook are known.
const KEPT: usize = 100;

/// So much of what was wrong is kept of each, in bytes; the webhook's last error has more of it. All webhooks' attempts
/// together take a few MiB at most.
const MAX_ERROR: usize = 256;

/// An attempt that has ended.
#[derive(Debug, Clone)]
pub struct Attempted {
    /// Of the delivery: the same in all its attempts.
    pub request_id: Uuid,
    /// When it began, Unix ms.
    pub at_ms: u64,
    /// Which one of its delivery, from 1.
    pub attempt: u32,
    /// What was to be delivered.
    pub content: Content,
    /// Events in it.
    pub events: usize,
    /// What was answered, if anything was.
    pub status: Option<u16>,
    /// What was wrong, in words.
    pub error: Option<String>,
    /// How long it took.
    pub duration_ms: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// What was to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// New events.
    Events,
    /// A dead letter's events.
    DeadLetter,
    /// An event that is not billed.
    Test,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Delivered,
    /// It is tried again soon.
    Retrying,
    /// It waits, since the receiver has failed for some time.
    Waiting,
    /// It was given up: its events are a dead letter.
    DeadLetter,
    /// It was not taken, and that is all.
    Failed,
}

/// The latest attempts, the newest at the end.
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

    /// All of them, the newest first.
    pub(super) fn newest_first(&self) -> Vec<Attempted> {
        self.0.lock().iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_hundred_are_known_and_little_of_each() {
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
                outcome: Outcome::Retrying,
            });
        }
        let known = history.newest_first();
        assert_eq!((known.len(), known[0].attempt, known[99].attempt), (KEPT, 250, 151));
        let longest = known[0].error.as_ref().unwrap();
        assert!(longest.len() <= MAX_ERROR && longest.starts_with("éé") && longest.ends_with('…'), "{longest}");
        assert!(known.iter().all(|attempted| attempted.error.as_ref().unwrap().len() <= MAX_ERROR));
    }
}
