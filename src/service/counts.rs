//! Counters of requests and billed tokens since the start.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::domain::{activity::ActivityCounts, usage::Usage};

/// Counters since the start.
#[derive(Default)]
pub struct Counts {
    admitted: AtomicU64,
    ended: AtomicU64,
    refused: AtomicU64,
    errors: AtomicU64,
    target_failures: AtomicU64,
    billed: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    /// Notified when the last running request ends during a drain.
    idle: Notify,
    is_draining: AtomicBool,
}

/// The values of [`Counts`] at one moment.
pub struct Counted {
    /// Requests that are running.
    pub running: u64,
    /// Requests that passed their limits.
    pub admitted: u64,
    /// Requests that a limit refused.
    pub refused: u64,
    /// Requests that failed because of us or an upstream, before or during their answer.
    pub errors: u64,
    /// Times that a target was passed over.
    pub target_failures: u64,
    /// Billing events.
    pub billed: u64,
    /// Prompt tokens billed.
    pub input_tokens: u64,
    /// Output tokens billed.
    pub output_tokens: u64,
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Counts {
    pub(super) fn admitted(&self) {
        add(&self.admitted, 1);
    }

    pub(super) fn ended(&self) {
        // Sequentially consistent with `is_draining`: either this sees the drain, or the drain sees that the request
        // has ended.
        self.ended.fetch_add(1, Ordering::SeqCst);
        if self.is_draining.load(Ordering::SeqCst) && self.running() == 0 {
            self.idle.notify_one();
        }
    }

    fn running(&self) -> u64 {
        let ended = self.ended.load(Ordering::SeqCst);
        self.admitted.load(Ordering::SeqCst).saturating_sub(ended)
    }

    /// Waits until no admitted request is running. Call it only after the listeners have stopped admitting requests.
    pub async fn drained(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        while self.running() > 0 {
            self.idle.notified().await;
        }
    }

    pub(super) fn refused(&self) {
        add(&self.refused, 1);
    }

    /// Counts a request with a valid key that failed through no fault of the customer.
    pub fn failed(&self) {
        add(&self.errors, 1);
    }

    pub(super) fn target_failed(&self) {
        add(&self.target_failures, 1);
    }

    pub(super) fn billed(&self, usage: &Usage) {
        add(&self.billed, 1);
        add(&self.input_tokens, usage.input);
        add(&self.output_tokens, usage.output);
    }

    /// Reads all counters.
    pub fn read(&self) -> Counted {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            running: self.running(),
            admitted: get(&self.admitted),
            refused: get(&self.refused),
            errors: get(&self.errors),
            target_failures: get(&self.target_failures),
            billed: get(&self.billed),
            input_tokens: get(&self.input_tokens),
            output_tokens: get(&self.output_tokens),
        }
    }

    /// The counters that the history of activity records.
    pub(super) fn activity(&self) -> ActivityCounts {
        let counted = self.read();
        ActivityCounts {
            requests: counted.billed,
            tokens: counted.input_tokens.saturating_add(counted.output_tokens),
            refused: counted.refused,
            errors: counted.errors,
        }
    }
}
