//! The worker of one webhook. It makes one delivery at a time, in the journal's order.
//!
//! * A delivery ends in one of three ways, and each writes a record: the receiver accepted the events; the delivery was
//!   given up and its events are kept as a dead letter; or a redelivery of a dead letter succeeded or failed. The next
//!   delivery begins when that record is durable. So a crash repeats at most one delivery and loses none.
//! * While a receiver fails, the current delivery is kept and later events wait in the journal.
//! * Redeliveries of dead letters alternate with new events.

mod interruption;
mod new_events;
mod outcome;
mod redeliveries;
mod throttle;

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use tracing::error;

use self::{
    interruption::{Interruption, OWN_FAILURE_PAUSE, own_failure},
    new_events::{Found, NewEvents},
    redeliveries::Redeliveries,
    throttle::Throttle,
};
use super::{
    attempt::{Attempt, Failed},
    batch::{Delivery, Source},
    history::{AttemptOutcome, Attempted},
    registry::Webhooks,
    state::{LastError, Phase, State},
    stop::Stop,
};
use crate::{
    crypto::seal::Sealer,
    domain::{
        delivery::Verdict,
        id::WebhookId,
        webhook::{DeliveryFailure, Webhook},
    },
    service::{core::Core, storage::Storage},
    upstream::client::Client,
};

/// The worker of one webhook.
pub(super) struct DeliveryWorker {
    core: Arc<Core>,
    sealer: Arc<Sealer>,
    client: Client,
    stop: Stop,
    id: WebhookId,
    state: Arc<State>,
    new_events: NewEvents,
    redeliveries: Redeliveries,
    /// Whether new events go before a waiting redelivery the next time.
    events_are_next: bool,
    /// The time of the next attempt at a failing receiver.
    probe_at: Option<Instant>,
    throttle: Throttle,
}

/// A worker's next step.
enum Turn {
    /// The webhook is disabled: wait for a change.
    Disabled,
    /// The receiver is failing: wait until this time.
    Pause(Instant),
    /// Deliver new events. `may_wait` says whether to wait for them.
    NewEvents { may_wait: bool },
    /// Redeliver a dead letter.
    Redelivery,
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
        Self {
            sealer: webhooks.sealer.clone(),
            client: client.clone(),
            stop: stop.clone(),
            id: webhook.id,
            new_events: NewEvents::new(core.clone(), state.clone(), webhook.types.clone()),
            redeliveries: Redeliveries::new(storage.clone(), webhook.id),
            events_are_next: true,
            probe_at: None,
            throttle: Throttle::default(),
            state,
            core,
        }
    }

    /// Delivers until the webhook is deleted or Tollgate stops.
    pub(super) async fn run(mut self) {
        loop {
            let done = match self.next().await {
                Ok(delivery) => self.deliver(delivery).await,
                Err(interruption) => Err(interruption),
            };
            match done {
                Ok(()) => self.state.update(|standing| standing.problem = None),
                Err(Interruption::End) => return,
                Err(Interruption::OwnFailure(why)) => {
                    if self.state.problem(&why) {
                        error!(webhook = %self.id, "deliveries are paused: {why}");
                    }
                    if !self.new_events.is_pending() {
                        self.new_events.begin_again();
                    }
                    self.rest(Instant::now() + OWN_FAILURE_PAUSE).await;
                }
            }
        }
    }

    /// The current version of the webhook.
    fn webhook(&self) -> Result<Arc<Webhook>, Interruption> {
        if self.stop.is_stopping() {
            return Err(Interruption::End);
        }
        self.core.catalog.load().webhooks().get(&self.id).cloned().ok_or(Interruption::End)
    }

    /// Waits until `deadline`, or until the worker is woken by a change.
    async fn rest(&mut self, deadline: Instant) {
        if timeout_at(deadline, self.state.woken()).await.is_ok() {
            self.note_change();
        }
    }

    /// Handles a change, which may be a request to redeliver a dead letter.
    fn note_change(&mut self) {
        self.redeliveries.note_change(self.core.journal.durable_seq());
    }

    /// Waits for the next delivery that is due.
    async fn next(&mut self) -> Result<Delivery, Interruption> {
        loop {
            let webhook = self.webhook()?;
            let delivery = match self.turn(&webhook).await {
                Turn::Disabled => {
                    self.state.woken().await;
                    self.note_change();
                    None
                }
                Turn::Pause(until) => {
                    if !self.new_events.is_pending() {
                        // Sets the time since when events have been waiting.
                        self.new_events.read(&webhook).await?;
                    }
                    self.rest(until).await;
                    None
                }
                Turn::NewEvents { may_wait } => {
                    let until = self.redeliveries.not_before();
                    let found = self.new_events.next(&webhook, may_wait, until).await?;
                    self.events_are_next = may_wait && !matches!(found, Found::Delivery(_));
                    match found {
                        Found::Delivery(delivery) => Some(delivery),
                        Found::Woken => {
                            self.note_change();
                            None
                        }
                        Found::Nothing => None,
                    }
                }
                Turn::Redelivery => {
                    self.events_are_next = true;
                    self.redeliveries.take()
                }
            };
            if let Some(delivery) = delivery {
                return Ok(delivery);
            }
        }
    }

    async fn turn(&mut self, webhook: &Webhook) -> Turn {
        let probe_at = self.probe_at.take();
        if !webhook.enabled {
            return Turn::Disabled;
        }
        if let Some(at) = probe_at {
            return Turn::Pause(at);
        }
        match (self.redeliveries.is_pending().await, self.events_are_next) {
            (false, _) => Turn::NewEvents { may_wait: true },
            (true, true) => Turn::NewEvents { may_wait: false },
            (true, false) => Turn::Redelivery,
        }
    }

    /// Makes a delivery, and keeps it if it has not ended.
    async fn deliver(&mut self, mut delivery: Delivery) -> Result<(), Interruption> {
        let has_ended = self.attempt(&mut delivery).await;
        if !matches!(has_ended, Ok(true)) {
            match delivery.source {
                Source::Journal(_) => self.new_events.put_back(delivery),
                Source::DeadLetter(_) => self.redeliveries.put_back(delivery),
            }
        }
        has_ended.map(drop)
    }

    /// Tries until the delivery is accepted or given up (`true`), or until it has to wait (`false`).
    async fn attempt(&mut self, delivery: &mut Delivery) -> Result<bool, Interruption> {
        let began = Instant::now();
        loop {
            self.throttle.wait().await;
            let webhook = self.webhook()?;
            if !webhook.enabled {
                return Ok(false);
            }
            let (request_id, body) = (delivery.request_id, delivery.body.clone());
            let (at_ms, at) = (self.core.now().unix_ms, Instant::now());
            let attempt = Attempt { webhook: &webhook, request_id, body, now_ms: at_ms };
            let sent = attempt.sign(&self.sealer).map_err(own_failure)?.send(&self.client).await;
            let attempted = delivery.attempted(at_ms, at.elapsed());
            let Failed { status, error } = match sent {
                Ok(status) => {
                    self.state.history.note(Attempted { status: Some(status), ..attempted });
                    self.accepted(&webhook, delivery).await?;
                    return Ok(true);
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
            match verdict {
                Verdict::Retry(after) => self.rest(Instant::now() + after).await,
                Verdict::Wait(after) => {
                    self.probe_at = Some(Instant::now() + after);
                    return Ok(false);
                }
                Verdict::GiveUp => {
                    let failure =
                        DeliveryFailure { attempts: delivery.attempts.failed, last_status: status, last_error: error };
                    self.give_up(&webhook, delivery, failure).await?;
                    return Ok(true);
                }
            }
        }
    }

    fn note_error(&self, status: Option<u16>, message: String) {
        let at_ms = self.core.now().unix_ms;
        self.state.update(|standing| {
            standing.last_error = Some(LastError { at_ms, status, message });
            standing.failed_attempts += 1;
            if standing.phase == Phase::Ok {
                standing.phase = Phase::Retrying;
            }
        });
    }
}
