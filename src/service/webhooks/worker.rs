//! The worker of one webhook. It makes one delivery at a time, in the journal's order.
//!
//! * A delivery ends in one of three ways, and each writes a record: the receiver accepted the events; the delivery was
//!   given up and its events are kept as a dead letter; or a redelivery of a dead letter succeeded or failed. The next
//!   delivery begins when that record is durable. So a crash repeats at most one delivery and loses none.
//! * While a receiver fails, the current delivery is kept and later events wait in the journal.
//! * Redeliveries of dead letters alternate with new events.

mod outcome;

use std::{sync::Arc, time::Duration};

use leaky_bucket::RateLimiter;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, error};
use uuid::Uuid;

use super::{
    attempt::{Attempt, Failed},
    batch::{Batch, Delivery, Source},
    history::{AttemptOutcome, Attempted},
    registry::Webhooks,
    state::{LastError, Phase, State},
    stop::Stop,
};
use crate::{
    crypto::{random, seal::Sealer},
    domain::{
        delivery::{BATCH_TIME, Pace, Verdict},
        id::WebhookId,
        webhook::{DeliveryFailure, Webhook},
    },
    journal::{Reader, codec},
    service::{core::Core, storage::Storage},
    upstream::client::Client,
};

/// The pause after a failure on our side (the disk or the store).
const OWN_TROUBLE: Duration = Duration::from_secs(5);

/// How long a redelivery waits for the store to catch up with the latest record, before new events go first.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// The number of records after which a worker yields to the other tasks.
const YIELD_RECORDS: usize = 1024;

/// Why no delivery can be made.
#[derive(Debug)]
enum Trouble {
    /// An error of the journal or the store, in words.
    Own(String),
    /// Tollgate is stopping, or the webhook was deleted.
    End,
}

fn own(error: impl std::fmt::Display) -> Trouble {
    Trouble::Own(error.to_string())
}

/// The worker of one webhook.
pub(super) struct DeliveryWorker {
    core: Arc<Core>,
    storage: Arc<Storage>,
    sealer: Arc<Sealer>,
    client: Client,
    stop: Stop,
    id: WebhookId,
    state: Arc<State>,
    reader: Reader,
    /// Events that were read and are not part of a delivery yet.
    batch: Batch,
    /// An unfinished delivery of new events.
    delivery: Option<Delivery>,
    /// An unfinished redelivery of a dead letter.
    redelivery: Option<Delivery>,
    /// Whether new events go before a waiting dead letter the next time.
    events_are_next: bool,
    /// The last record that may concern a redelivery. The store must have applied it before it is asked for the next
    /// one.
    redelivered: u64,
    /// After a failure of the store: the time from which it is asked for dead letters again.
    redeliveries_after: Option<Instant>,
    /// The time of the next attempt at a failing receiver.
    probe_at: Option<Instant>,
    pace: Pace,
    limiter: RateLimiter,
}

impl DeliveryWorker {
    pub(super) fn new(
        webhooks: &Webhooks,
        storage: &Arc<Storage>,
        webhook: &Webhook,
        client: &Client,
        stop: &Stop,
    ) -> Self {
        let (core, state) = (webhooks.core.clone(), webhooks.state(webhook));
        let pace = Pace::default();
        Self {
            reader: core.journal.reader(state.standing().passed),
            storage: storage.clone(),
            sealer: webhooks.sealer.clone(),
            client: client.clone(),
            stop: stop.clone(),
            id: webhook.id,
            state,
            batch: Batch::default(),
            delivery: None,
            redelivery: None,
            events_are_next: true,
            redelivered: core.journal.durable_seq(),
            redeliveries_after: None,
            probe_at: None,
            limiter: limiter(pace),
            pace,
            core,
        }
    }

    /// Delivers until the webhook is deleted or Tollgate stops.
    pub(super) async fn run(mut self) {
        loop {
            let done = match self.next().await {
                Ok(delivery) => self.deliver(delivery).await,
                Err(problem) => Err(problem),
            };
            match done {
                Ok(()) => self.state.update(|standing| standing.problem = None),
                Err(Trouble::End) => return,
                Err(Trouble::Own(why)) => {
                    if self.state.problem(&why) {
                        error!(webhook = %self.id, "deliveries are paused: {why}");
                    }
                    if self.delivery.is_none() {
                        self.begin_again();
                    }
                    self.rest(Instant::now() + OWN_TROUBLE).await;
                }
            }
        }
    }

    /// Resets the reader to the cursor, so that events that were read but not delivered are read again.
    fn begin_again(&mut self) {
        self.batch = Batch::default();
        self.reader = self.core.journal.reader(self.state.standing().passed);
    }

    /// The current version of the webhook, if it is enabled.
    fn enabled(&self) -> Result<Option<Arc<Webhook>>, Trouble> {
        if self.stop.is_stopping() {
            return Err(Trouble::End);
        }
        let webhook = self.core.catalog.load().webhooks().get(&self.id).cloned().ok_or(Trouble::End)?;
        Ok(Some(webhook).filter(|webhook| webhook.enabled))
    }

    /// Waits until `deadline`, or until the worker is woken by a change.
    async fn rest(&mut self, deadline: Instant) {
        if timeout_at(deadline, self.state.woken()).await.is_ok() {
            self.note_change();
        }
    }

    /// Handles a change, which may be a request to redeliver a dead letter.
    fn note_change(&mut self) {
        self.redelivered = self.core.journal.durable_seq();
    }

    /// Waits for the next delivery that is due.
    async fn next(&mut self) -> Result<Delivery, Trouble> {
        loop {
            let Some(webhook) = self.enabled()? else {
                self.probe_at = None;
                self.state.woken().await;
                self.note_change();
                continue;
            };
            if let Some(at) = self.probe_at.take() {
                if self.delivery.is_none() {
                    // Sets the time since when events have been waiting.
                    self.read(&webhook).await?;
                }
                self.rest(at).await;
                continue;
            }
            self.redelivery = self.next_redelivery().await;
            let may_wait = self.redelivery.is_none();
            if (may_wait || self.events_are_next)
                && let Some(delivery) = self.next_events(&webhook, may_wait).await?
            {
                self.events_are_next = false;
                return Ok(delivery);
            }
            self.events_are_next = true;
            if let Some(redelivery) = self.redelivery.take() {
                return Ok(redelivery);
            }
        }
    }

    /// The next dead letter to redeliver.
    async fn next_redelivery(&mut self) -> Option<Delivery> {
        if let Some(known) = self.redelivery.take() {
            return Some(known);
        }
        if self.redeliveries_after.is_some_and(|at| Instant::now() < at) {
            return None;
        }
        self.redeliveries_after = None;
        let folded = tokio::time::timeout(STORE_PATIENCE, self.storage.upkeep.folded(self.redelivered)).await;
        match folded.map_err(own).and_then(|()| self.read_redelivery()) {
            Ok(redelivery) => redelivery,
            // A store that has failed is rebuilt. New events do not wait for that.
            Err(problem) => {
                debug!(webhook = %self.id, "dead letters cannot be redelivered now: {problem:?}");
                self.redeliveries_after = Some(Instant::now() + OWN_TROUBLE);
                None
            }
        }
    }

    fn read_redelivery(&self) -> Result<Option<Delivery>, Trouble> {
        let store = &self.storage.store;
        let Some(id) = store.next_redelivery(self.id).map_err(own)? else { return Ok(None) };
        let Some(events) = store.dead_events(self.id, id).map_err(own)? else { return Ok(None) };
        let events = events.read().map_err(own)?;
        Delivery::of_dead_letter(id, &events, Self::request_id()?).map(Some).map_err(own)
    }

    fn request_id() -> Result<Uuid, Trouble> {
        random::uuid().map_err(own)
    }

    /// The next delivery of new events. With `may_wait`, waits for events and for a full batch. `None` if there are no
    /// events yet, or if a change woke the worker.
    async fn next_events(&mut self, webhook: &Webhook, may_wait: bool) -> Result<Option<Delivery>, Trouble> {
        if let Some(known) = self.delivery.take() {
            return Ok(Some(known));
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
                let request_id = Self::request_id()?;
                return Delivery::of_batch(std::mem::take(&mut self.batch), request_id).map(Some).map_err(own);
            }
            if !may_wait {
                return Ok(None);
            }
            tokio::select! {
                () = self.core.journal.durable(wanted) => {}
                () = self.state.woken() => {
                    self.note_change();
                    return Ok(None);
                }
                () = at_last(deadline) => {}
                () = at_last(self.redeliveries_after) => return Ok(None),
            }
        }
    }

    /// Reads the available records until the batch is full.
    async fn read(&mut self, webhook: &Webhook) -> Result<(), Trouble> {
        self.state.skip_to(self.core.journal.first_seq(), webhook);
        let mut seen: usize = 0;
        while !self.batch.is_full() {
            let expected = self.reader.position().max(self.core.journal.first_seq().saturating_sub(1)) + 1;
            let Some(frame) = self.reader.next().map_err(own)? else { break };
            if frame.seq > expected {
                let gap = (expected, frame.seq - 1);
                error!(webhook = %self.id, from = gap.0, to = gap.1, "unreadable records were skipped");
                self.state.update(|standing| standing.unreadable = Some(gap));
            }
            match codec::decode_settled(frame.body) {
                Ok(Some(_)) => self.batch.push(frame.seq, frame.at_ms, frame.body),
                Ok(None) => {}
                Err(error) => return Err(Trouble::Own(format!("record {} cannot be decoded: {error}", frame.seq))),
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

    /// Makes a delivery: tries until it is accepted or given up, or until it has to wait.
    async fn deliver(&mut self, mut delivery: Delivery) -> Result<(), Trouble> {
        let began = Instant::now();
        loop {
            self.limiter.acquire_one().await;
            let Some(webhook) = self.enabled()? else {
                self.put_back(delivery);
                return Ok(());
            };
            let (request_id, body) = (delivery.request_id, delivery.body.clone());
            let (at_ms, at) = (self.core.now().unix_ms, Instant::now());
            let attempt = Attempt { webhook: &webhook, request_id, body, now_ms: at_ms };
            let signed = match attempt.sign(&self.sealer) {
                Ok(signed) => signed,
                Err(why) => {
                    self.put_back(delivery);
                    return Err(Trouble::Own(why));
                }
            };
            let sent = signed.send(&self.client).await;
            let attempted = delivery.attempted(at_ms, at.elapsed());
            let Failed { status, error } = match sent {
                Ok(status) => {
                    self.state.history.note(Attempted { status: Some(status), ..attempted });
                    return self.accepted(&webhook, delivery).await;
                }
                Err(failed) => failed,
            };
            let is_probe = self.state.standing().phase == Phase::Failing;
            let verdict = delivery.attempts.failed(status, began.elapsed(), is_probe);
            let outcome = match verdict {
                Verdict::Retry(_) => AttemptOutcome::Retrying,
                Verdict::Wait(_) => AttemptOutcome::Waiting,
                Verdict::GiveUp => AttemptOutcome::DeadLetter,
            };
            self.state.history.note(Attempted { status, error: Some(error.clone()), outcome, ..attempted });
            self.note_error(status, error.clone());
            self.state.update(|standing| {
                standing.failed_attempts += 1;
                if standing.phase == Phase::Ok {
                    standing.phase = Phase::Retrying;
                }
            });
            match verdict {
                Verdict::Retry(after) => self.rest(Instant::now() + after).await,
                Verdict::Wait(after) => {
                    self.probe_at = Some(Instant::now() + after);
                    self.put_back(delivery);
                    return Ok(());
                }
                Verdict::GiveUp => {
                    let failure =
                        DeliveryFailure { attempts: delivery.attempts.failed, last_status: status, last_error: error };
                    return self.give_up(&webhook, delivery, failure).await;
                }
            }
        }
    }

    fn note_error(&self, status: Option<u16>, message: String) {
        let at_ms = self.core.now().unix_ms;
        self.state.update(|standing| standing.last_error = Some(LastError { at_ms, status, message }));
    }

    fn put_back(&mut self, delivery: Delivery) {
        match delivery.source {
            Source::Journal(_) => self.delivery = Some(delivery),
            Source::DeadLetter(_) => self.redelivery = Some(delivery),
        }
    }

    fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
        self.limiter = limiter(pace);
    }
}

/// The most refills of the limiter in a second.
const REFILLS_PER_SECOND: usize = 16;

fn limiter(pace: Pace) -> RateLimiter {
    let refill = pace.per_second.div_ceil(REFILLS_PER_SECOND);
    let interval = Duration::from_secs(1).mul_f64(refill as f64 / pace.per_second as f64);
    RateLimiter::builder().initial(1).max(refill).refill(refill).interval(interval).build()
}

async fn at_last(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
