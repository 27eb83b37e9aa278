//! The new events and alerts of a webhook: the reader that follows the journal from the webhook's cursor, and the deliveries
//! that are made from them.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};
use tracing::error;

use super::interruption::{Interruption, own_failure};
use crate::{
    crypto::random,
    domain::{
        delivery::BATCH_TIME,
        record::Record,
        webhook::{Passed, Webhook, WebhookTypes},
    },
    journal::{Reader, codec},
    service::{
        core::Core,
        webhooks::{
            batch::{Batch, Delivery, Kind},
            state::State,
        },
    },
};

/// The number of records after which a worker yields to the other tasks.
const YIELD_RECORDS: usize = 1024;

/// A webhook's cursor is recorded without a delivery when it has passed this many records, at most once in this time.
const PASSED_RECORDS: u64 = 1000;
const PASSED_INTERVAL: Duration = Duration::from_secs(600);

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
    /// The types that the reader looks for.
    types: WebhookTypes,
    /// Events or alerts that were read and are not part of a delivery yet.
    batch: Batch,
    /// The first record after the batch, which is of the other kind.
    following: Option<Following>,
    /// A delivery that has not ended.
    pending: Option<Delivery>,
    /// The last record that [`Passed`] has recorded, and the time from which it may record another.
    recorded: u64,
    not_before: Instant,
}

/// A record that begins the next batch.
struct Following {
    kind: Kind,
    seq: u64,
    at_ms: u64,
    record: Vec<u8>,
}

impl NewEvents {
    pub(super) fn new(core: Arc<Core>, state: Arc<State>, types: WebhookTypes) -> Self {
        let recorded = state.standing().passed;
        Self {
            reader: core.journal.reader(recorded),
            core,
            state,
            types,
            batch: Batch::default(),
            following: None,
            pending: None,
            recorded,
            not_before: Instant::now() + PASSED_INTERVAL,
        }
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
        self.following = None;
        self.reader = self.core.journal.reader(self.state.standing().passed);
    }

    /// Begins again at the cursor if the webhook's types have changed. What it no longer gets is then skipped.
    fn follow_types(&mut self, webhook: &Webhook) {
        if self.types != webhook.types {
            self.types = webhook.types.clone();
            self.pending = None;
            self.begin_again();
        }
    }

    /// Looks for the next delivery. With `may_wait`, waits for events and for a full batch, but not beyond `until`.
    pub(super) async fn next(
        &mut self,
        webhook: &Webhook,
        may_wait: bool,
        until: Option<Instant>,
    ) -> Result<Found, Interruption> {
        self.follow_types(webhook);
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
            let is_complete = self.batch.is_full() || self.following.is_some();
            if is_complete || (!self.batch.is_empty() && (!may_wait || deadline.is_some_and(|at| at <= now))) {
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
        if self.batch.is_empty()
            && let Some(Following { kind, seq, at_ms, record }) = self.following.take()
        {
            self.batch.push(kind, seq, at_ms, &record);
        }
        let mut seen: usize = 0;
        while !self.batch.is_full() && self.following.is_none() {
            let expected = self.reader.position().max(journal.first_seq().saturating_sub(1)) + 1;
            let Some(frame) = self.reader.next().map_err(own_failure)? else { break };
            if frame.seq > expected {
                let gap = (expected, frame.seq - 1);
                error!(webhook = %webhook.id, from = gap.0, to = gap.1, "unreadable records were skipped");
                self.state.update(|standing| standing.unreadable = Some(gap));
            }
            match Kind::of(&self.types, frame.body) {
                Ok(Some(kind)) if self.batch.takes(kind) => {
                    self.batch.push(kind, frame.seq, frame.at_ms, frame.body);
                }
                Ok(Some(kind)) => {
                    let (seq, at_ms, record) = (frame.seq, frame.at_ms, frame.body.to_vec());
                    self.following = Some(Following { kind, seq, at_ms, record });
                }
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
                // None of the records read is to be delivered.
                standing.passed = standing.passed.max(position);
            }
        });
        if since_ms.is_none() {
            self.record_passed(webhook, position)?;
        }
        Ok(())
    }
}

impl NewEvents {
    /// Records that the cursor has passed many records without a delivery.
    fn record_passed(&mut self, webhook: &Webhook, through: u64) -> Result<(), Interruption> {
        if through < self.recorded.saturating_add(PASSED_RECORDS) || Instant::now() < self.not_before {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let record = Record::Passed(Passed { webhook: webhook.id, through });
        codec::encode(&record, &mut bytes).map_err(own_failure)?;
        self.core.journal.append(&bytes).map_err(own_failure)?;
        (self.recorded, self.not_before) = (through, Instant::now() + PASSED_INTERVAL);
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
