//! The dead letters of a webhook that an operator wants to be redelivered.
//!
//! The list is in the store. New events do not wait while a failed store is rebuilt: the list is read again after
//! [`OWN_FAILURE_PAUSE`].

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};
use tracing::debug;

use super::interruption::{Interruption, OWN_FAILURE_PAUSE, own_failure};
use crate::{
    crypto::random,
    domain::id::WebhookId,
    service::{storage::Storage, webhooks::batch::Delivery},
};

/// How long a redelivery waits for the store to catch up with the latest record, before new events go first.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// The dead letters of a webhook that are queued for redelivery.
pub(super) struct Redeliveries {
    storage: Arc<Storage>,
    webhook: WebhookId,
    /// The next redelivery, which may have been tried already.
    pending: Option<Delivery>,
    /// The last record that may concern a redelivery. The store must have applied it before it is asked for the next
    /// one.
    changed_at: u64,
    /// After a failure of the store: the time from which it is asked again.
    not_before: Option<Instant>,
}

impl Redeliveries {
    pub(super) fn new(storage: Arc<Storage>, webhook: WebhookId) -> Self {
        let changed_at = storage.core.journal.durable_seq();
        Self { storage, webhook, pending: None, changed_at, not_before: None }
    }

    /// Handles a record that may concern a redelivery.
    pub(super) fn note_change(&mut self, seq: u64) {
        self.changed_at = seq;
    }

    /// After a failure of the store: the time from which it is asked again.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// Whether there is a redelivery to make.
    pub(super) async fn is_pending(&mut self) -> bool {
        if self.pending.is_none() && self.not_before.is_none_or(|at| at <= Instant::now()) {
            self.not_before = None;
            let folded = timeout(STORE_TIMEOUT, self.storage.upkeep.folded(self.changed_at)).await;
            match folded.map_err(own_failure).and_then(|()| self.read()) {
                Ok(redelivery) => self.pending = redelivery,
                Err(failure) => {
                    debug!(webhook = %self.webhook, "dead letters cannot be redelivered now: {failure:?}");
                    self.not_before = Some(Instant::now() + OWN_FAILURE_PAUSE);
                }
            }
        }
        self.pending.is_some()
    }

    /// Takes the redelivery to make.
    pub(super) fn take(&mut self) -> Option<Delivery> {
        self.pending.take()
    }

    /// Keeps a redelivery that has not ended.
    pub(super) fn put_back(&mut self, redelivery: Delivery) {
        self.pending = Some(redelivery);
    }

    fn read(&self) -> Result<Option<Delivery>, Interruption> {
        let store = &self.storage.store;
        let Some(id) = store.next_redelivery(self.webhook).map_err(own_failure)? else { return Ok(None) };
        let Some(stored) = store.dead_contents(self.webhook, id).map_err(own_failure)? else { return Ok(None) };
        let contents = stored.read().map_err(own_failure)?;
        let request_id = random::uuid().map_err(own_failure)?;
        Delivery::of_dead_letter(id, &contents, request_id).map(Some).map_err(own_failure)
    }
}
