//! One webhook's deliveries: one after the other, in the journal's order.
//!
//! * A delivery ends in one of three ways, each of which is a record: its events were taken, it was given up and its events
//!   are kept as a dead letter, or a dead letter was tried again. The next one begins when that record is durable. So a
//!   crash repeats one delivery at most, and loses none.
//! * While a receiver fails, the delivery that is due is kept and the rest waits in the journal.
//! * Dead letters that are to be delivered again and new events take turns.

mod outcome;

use std::{sync::Arc, time::Duration};

use leaky_bucket::RateLimiter;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, error};
use uuid::Uuid;

use super::{
    attempt::{Attempt, Failed},
    batch::{Batch, Delivery, Source},
    deliveries::Stop,
    history::{Attempted, Outcome},
    state::{LastError, Phase, State},
};
use crate::{
    crypto::random,
    domain::{
        delivery::{BATCH_TIME, Pace, Verdict},
        id::WebhookId,
        webhook::{Failure, Webhook},
    },
    journal::{Reader, codec},
    service::Gateway,
    upstream::client::Client,
};

/// How long is waited when our own side fails: the disk, the store.
const OWN_TROUBLE: Duration = Duration::from_secs(5);

/// How long the store may take to catch up with what was just recorded, before new events go first.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// After so many records that are no events others get their turn.
const YIELD_RECORDS: usize = 1024;

/// Why there is no delivery to be made.
#[derive(Debug)]
enum Trouble {
    /// Of the journal or the store, in words.
    Own(String),
    /// Tollgate is stopping, or the webhook is gone.
    End,
}

fn own(error: impl std::fmt::Display) -> Trouble {
    Trouble::Own(error.to_string())
}

/// A webhook at work.
pub(super) struct Worker {
    gateway: Arc<Gateway>,
    client: Client,
    stop: Stop,
    id: WebhookId,
    state: Arc<State>,
    reader: Reader,
    /// What was read and has not become a delivery.
    batch: Batch,
    /// A delivery of new events that has not ended.
    delivery: Option<Delivery>,
    /// A dead letter's that has not ended.
    redelivery: Option<Delivery>,
    /// New events are next, if there are any and a dead letter waits as well.
    events_are_next: bool,
    /// The last record that may be about a redelivery: until the store has it, it is not asked for the next one.
    redelivered: u64,
    /// The store failed; it is asked for dead letters again from then on.
    redeliveries_after: Option<Instant>,
    /// When a receiver that failed is tried again.
    probe_at: Option<Instant>,
    pace: Pace,
    limiter: RateLimiter,
}

impl Worker {
    pub(super) fn new(gateway: &Arc<Gateway>, webhook: &Webhook, client: &Client, stop: &Stop) -> Self {
        let state = gateway.webhooks.state(webhook);
        let pace = Pace::default();
        Self {
            reader: gateway.journal.reader(state.standing().passed),
            gateway: gateway.clone(),
            client: client.clone(),
            stop: stop.clone(),
            id: webhook.id,
            state,
            batch: Batch::default(),
            delivery: None,
            redelivery: None,
            events_are_next: true,
            redelivered: gateway.journal.durable_seq(),
            redeliveries_after: None,
            probe_at: None,
            limiter: limiter(pace),
            pace,
        }
    }

    /// Delivers until the webhook is deleted or Tollgate stops.
    pub(super) async fn run(mut self) {
        loop {
            let done = match self.next().await {
                Ok(delivery) => self.deliver(delivery).await,
                Err(trouble) => Err(trouble),
            };
            match done {
                Ok(()) => self.state.update(|standing| standing.trouble = None),
                Err(Trouble::End) => return,
                Err(Trouble::Own(why)) => {
                    if self.state.trouble(&why) {
                        error!(webhook = %self.id, "deliveries pause: {why}");
                    }
                    if self.delivery.is_none() {
                        self.begin_again();
                    }
                    self.rest(Instant::now() + OWN_TROUBLE).await;
                }
            }
        }
    }

    /// Reads from the cursor on, so that nothing is passed over that was read and did not become a delivery.
    fn begin_again(&mut self) {
        self.batch = Batch::default();
        self.reader = self.gateway.journal.reader(self.state.standing().passed);
    }

    /// The webhook as it is now, if it is enabled.
    fn enabled(&self) -> Result<Option<Arc<Webhook>>, Trouble> {
        if self.stop.is_stopping() {
            return Err(Trouble::End);
        }
        let webhook = self.gateway.catalog.load().webhooks().get(&self.id).cloned().ok_or(Trouble::End)?;
        Ok(Some(webhook).filter(|webhook| webhook.enabled))
    }

    /// Waits until `deadline`, or until somebody changed something.
    async fn rest(&mut self, deadline: Instant) {
        if timeout_at(deadline, self.state.woken()).await.is_ok() {
            self.note_change();
        }
    }

    /// Somebody changed something: perhaps there is a dead letter to be delivered again.
    fn note_change(&mut self) {
        self.redelivered = self.gateway.journal.durable_seq();
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
                    // So that it is known since when events wait.
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

    /// A dead letter that is to be delivered again.
    async fn next_redelivery(&mut self) -> Option<Delivery> {
        if let Some(known) = self.redelivery.take() {
            return Some(known);
        }
        if self.redeliveries_after.is_some_and(|at| Instant::now() < at) {
            return None;
        }
        self.redeliveries_after = None;
        let folded = tokio::time::timeout(STORE_PATIENCE, self.gateway.upkeep.folded(self.redelivered)).await;
        match folded.map_err(own).and_then(|()| self.read_redelivery()) {
            Ok(redelivery) => redelivery,
            // A store that has failed is built anew; new events do not wait for that.
            Err(trouble) => {
                debug!(webhook = %self.id, "dead letters cannot be delivered again now: {trouble:?}");
                self.redeliveries_after = Some(Instant::now() + OWN_TROUBLE);
                None
            }
        }
    }

    fn read_redelivery(&self) -> Result<Option<Delivery>, Trouble> {
        let store = &self.gateway.store;
        let Some(id) = store.next_redelivery(self.id).map_err(own)? else { return Ok(None) };
        let Some(events) = store.dead_events(self.id, id).map_err(own)? else { return Ok(None) };
        let events = events.read().map_err(own)?;
        Delivery::of_dead_letter(id, &events, Self::request_id()?).map(Some).map_err(own)
    }

    fn request_id() -> Result<Uuid, Trouble> {
        random::uuid().map_err(own)
    }

    /// The next new events. Waits for them, and for a batch to fill, if `may_wait`; `None` if somebody changed something
    /// meanwhile, or there are none yet.
    async fn next_events(&mut self, webhook: &Webhook, may_wait: bool) -> Result<Option<Delivery>, Trouble> {
        if let Some(known) = self.delivery.take() {
            return Ok(Some(known));
        }
        let mut full_at = None;
        loop {
            // What is durable by now and is not read cannot be: that must not be waited for.
            let next = self.gateway.journal.durable_seq() + 1;
            self.read(webhook).await?;
            let now = Instant::now();
            let (deadline, wanted) = match self.batch.is_empty() {
                true => (None, next),
                // One wake for all that is missing, not one for each.
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
                () = self.gateway.journal.durable(wanted) => {}
                () = self.state.woken() => {
                    self.note_change();
                    return Ok(None);
                }
                () = at_last(deadline) => {}
                () = at_last(self.redeliveries_after) => return Ok(None),
            }
        }
    }

    /// Reads what there is, as far as the batch takes it.
    async fn read(&mut self, webhook: &Webhook) -> Result<(), Trouble> {
        self.state.skip_to(self.gateway.journal.first_seq(), webhook);
        let mut seen: usize = 0;
        while !self.batch.is_full() {
            let expected = self.reader.position().max(self.gateway.journal.first_seq().saturating_sub(1)) + 1;
            let Some(frame) = self.reader.next().map_err(own)? else { break };
            if frame.seq > expected {
                let gap = (expected, frame.seq - 1);
                error!(webhook = %self.id, from = gap.0, to = gap.1, "records that cannot be read were passed over");
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
            standing.trouble = None;
            standing.oldest_waiting_ms = since_ms;
            if since_ms.is_none() {
                // Nothing of what was read is to be delivered.
                standing.passed = standing.passed.max(position);
            }
        });
        Ok(())
    }

    /// Makes a delivery: tries until it is taken, given up, or to wait.
    async fn deliver(&mut self, mut delivery: Delivery) -> Result<(), Trouble> {
        let began = Instant::now();
        loop {
            self.limiter.acquire_one().await;
            let Some(webhook) = self.enabled()? else {
                self.put_back(delivery);
                return Ok(());
            };
            let (request_id, body) = (delivery.request_id, delivery.body.clone());
            let (at_ms, at) = (self.gateway.now().unix_ms, Instant::now());
            let attempt = Attempt { webhook: &webhook, request_id, body, now_ms: at_ms };
            let signed = match attempt.sign(&self.gateway.sealer) {
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
                    return self.taken(&webhook, delivery).await;
                }
                Err(failed) => failed,
            };
            let is_probe = self.state.standing().phase == Phase::Failing;
            let verdict = delivery.attempts.failed(status, began.elapsed(), is_probe);
            let outcome = match verdict {
                Verdict::Retry(_) => Outcome::Retrying,
                Verdict::Wait(_) => Outcome::Waiting,
                Verdict::GiveUp => Outcome::DeadLetter,
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
                        Failure { attempts: delivery.attempts.failed, last_status: status, last_error: error };
                    return self.give_up(&webhook, delivery, failure).await;
                }
            }
        }
    }

    fn note_error(&self, status: Option<u16>, message: String) {
        let at_ms = self.gateway.now().unix_ms;
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

/// Sixteen times a second at most it is looked whether there is room.
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
