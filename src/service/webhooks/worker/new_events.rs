//! The new events of a webhook: the reader that follows the journal from the webhook's cursor, and the deliveries
//! that are made from them.

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};
use tracing::error;

use super::interruption::{Interruption, own_failure};
use crate::{
    crypto::random,
    domain::{delivery::BATCH_TIME, webhook::Webhook},
    journal::{Reader, codec},
    service::{
        core::Core,
        webhooks::{
            batch::{Batch, Delivery},
            state::State,
        },
    },
};

/// The number of records after which a worker yields to the other tasks.
const YIELD_RECORDS: usize = 1024;

/// The outcome of looking for new events.
pub(super) enum Found {
    /// The next delivery.
    Delivery(Delivery),
    /// A change woke the worker before there was a delivery.
    Woken,
    /// There are no events to deliver yet.
    Nothing,
}

/// The new events of a webhook.
pub(super) struct NewEvents {
    core: Arc<Core>,
    state: Arc<State>,
    reader: Reader,
    /// Events that were read and are not part of a delivery yet.
    batch: Batch,
    /// A delivery that has not ended.
    pending: Option<Delivery>,
}

impl NewEvents {
    pub(super) fn new(core: Arc<Core>, state: Arc<State>) -> Self {
        let reader = core.journal.reader(state.standing().passed);
        Self { core, state, reader, batch: Batch::default(), pending: None }
    }

    /// Whether a delivery has not ended.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Keeps a delivery that has not ended.
    pub(super) fn put_back(&mut self, delivery: Delivery) {
        self.pending = Some(delivery);
    }

    /// Resets the reader to the cursor, so that events that were read but not delivered are read again.
    pub(super) fn begin_again(&mut self) {
        self.batch = Batch::default();
        self.reader = self.core.journal.reader(self.state.standing().passed);
    }

    /// Looks for the next delivery. With `may_wait`, waits for events and for a full batch, but not beyond `until`.
    pub(super) async fn next(
        &mut self,
        webhook: &Webhook,
        may_wait: bool,
        until: Option<Instant>,
    ) -> Result<Found, Interruption> {
        if let Some(pending) = self.pending.take() {
            return Ok(Found::Delivery(pending));
        }
        let mut full_at = None;
        loop {
            // A durable record that is not read now is unreadable, so only wait for later ones.
            let next = self.core.journal.durable_seq() + 1;
            self.read(webhook).await?;
            let now = Instant::now();
            let (deadline, wanted) = match self.batch.is_empty() {
                true => (None, next),
                // Wake once for all missing records instead of once for each.
                false => {
                    let full = self.reader.position() + self.batch.room() as u64;
                    (Some(*full_at.get_or_insert(now + BATCH_TIME)), next.max(full))
                }
            };
            if self.batch.is_full() || (!self.batch.is_empty() && (!may_wait || deadline.is_some_and(|at| at <= now))) {
                let request_id = random::uuid().map_err(own_failure)?;
                let delivery = Delivery::of_batch(std::mem::take(&mut self.batch), request_id);
                return delivery.map(Found::Delivery).map_err(own_failure);
            }
            if !may_wait {
                return Ok(Found::Nothing);
            }
            tokio::select! {
                () = self.core.journal.durable(wanted) => {}
                () = self.state.woken() => return Ok(Found::Woken),
                () = reached(deadline) => {}
                () = reached(until) => return Ok(Found::Nothing),
            }
        }
    }

    /// Reads the available records until the batch is full.
    pub(super) async fn read(&mut self, webhook: &Webhook) -> Result<(), Interruption> {
        let journal = &self.core.journal;
        self.state.skip_to(journal.first_seq(), webhook);
        let mut seen: usize = 0;
        while !self.batch.is_full() {
            let expected = self.reader.position().max(journal.first_seq().saturating_sub(1)) + 1;
            let Some(frame) = self.reader.next().map_err(own_failure)? else { break };
            if frame.seq > expected {
                let gap = (expected, frame.seq - 1);
                error!(webhook = %webhook.id, from = gap.0, to = gap.1, "unreadable records were skipped");
                self.state.update(|standing| standing.unreadable = Some(gap));
            }
            match codec::decode_settled(frame.body) {
                Ok(Some(_)) => self.batch.push(frame.seq, frame.at_ms, frame.body),
                Ok(None) => {}
                Err(error) => {
                    return Err(own_failure(format_args!("record {} cannot be decoded: {error}", frame.seq)));
                }
            }
            seen += 1;
            if seen.is_multiple_of(YIELD_RECORDS) {
                tokio::task::yield_now().await;
            }
        }
        let (position, since_ms) = (self.reader.position(), self.batch.since_ms());
        self.state.update(|standing| {
            standing.problem = None;
            standing.oldest_waiting_ms = since_ms;
            if since_ms.is_none() {
                // None of the records read is an event to deliver.
                standing.passed = standing.passed.max(position);
            }
        });
        Ok(())
    }
}

/// Waits until `deadline`; forever without one.
async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
