//! The state of a webhook, written by its worker and read by the admin API.

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::warn;

use super::history::History;
use crate::{
    domain::webhook::Webhook,
    store::{Cursor, WebhookProgress},
};

/// The phase of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Everything is delivered or being delivered.
    #[default]
    Ok,
    /// A delivery failed and is being retried.
    Retrying,
    /// A delivery was given up. The next one is tried periodically.
    Failing,
}

/// The last failed attempt.
#[derive(Debug, Clone)]
pub struct LastError {
    /// The time of the failure, in Unix ms.
    pub at_ms: u64,
    /// The status of the answer; `None` without an answer.
    pub status: Option<u16>,
    /// The failure, in words.
    pub message: String,
}

/// The state of a webhook's deliveries.
#[derive(Debug, Clone, Default)]
pub struct DeliveryState {
    /// The phase of its worker.
    pub phase: Phase,
    /// The cursor: this record and all before it need no delivery.
    pub passed: u64,
    /// The time of the oldest waiting event or alert in Unix ms, if known.
    pub oldest_waiting_ms: Option<u64>,
    /// The time of the last successful delivery, in Unix ms.
    pub last_success_ms: Option<u64>,
    /// The last error since the start.
    pub last_error: Option<LastError>,
    /// The number of successful deliveries since the start.
    pub deliveries: u64,
    /// The number of events and alerts in them.
    pub events: u64,
    /// The number of failed attempts since the start.
    pub failed_attempts: u64,
    /// The number of dead letters.
    pub dead_letters: u64,
    /// Why deliveries are paused, in words. The cause is on our side.
    pub problem: Option<String>,
    /// The last range of unreadable records since the start. Events in them were not delivered.
    pub unreadable: Option<(u64, u64)>,
    /// The last record up to which retention has removed undelivered events since the start.
    pub skipped_to: Option<u64>,
}

/// The state of a webhook, and the signal that wakes its worker.
pub(super) struct State {
    standing: Mutex<DeliveryState>,
    /// The latest attempts.
    pub(super) history: History,
    wake: Notify,
}

impl State {
    pub(super) fn new(progress: WebhookProgress) -> Self {
        let WebhookProgress { cursor: Cursor { through, has_given_up, last_success_ms }, dead_letters } = progress;
        let phase = if has_given_up { Phase::Failing } else { Phase::Ok };
        let standing =
            DeliveryState { phase, passed: through, last_success_ms, dead_letters, ..DeliveryState::default() };
        Self { standing: Mutex::new(standing), history: History::default(), wake: Notify::new() }
    }

    pub(super) fn standing(&self) -> DeliveryState {
        self.standing.lock().clone()
    }

    pub(super) fn update(&self, write: impl FnOnce(&mut DeliveryState)) {
        write(&mut self.standing.lock());
    }

    /// Stores why deliveries are paused. Returns whether the reason is new.
    pub(super) fn problem(&self, why: &str) -> bool {
        let mut standing = self.standing.lock();
        let is_new = standing.problem.as_deref() != Some(why);
        standing.problem = Some(why.to_owned());
        is_new
    }

    /// Wakes the worker after a change.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Called when a failing receiver has accepted a test delivery. Waiting events are tried at once; if none wait, the
    /// phase becomes `Ok`.
    pub(super) fn is_back(&self) {
        let mut standing = self.standing.lock();
        if standing.phase == Phase::Failing && standing.oldest_waiting_ms.is_none() {
            standing.phase = Phase::Ok;
        }
        self.wake();
    }

    /// Waits for [`Self::wake`].
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Moves the cursor to the record `first`, because earlier records are no longer in the journal.
    pub(super) fn skip_to(&self, first: u64, webhook: &Webhook) {
        let mut standing = self.standing.lock();
        if standing.passed + 1 < first {
            let (from, to) = (standing.passed + 1, first - 1);
            warn!(webhook = %webhook.id, from, to, "events were removed before this webhook could deliver them");
            (standing.passed, standing.skipped_to) = (to, Some(to));
        }
    }
}
