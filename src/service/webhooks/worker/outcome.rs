//! The end of a delivery: its record, and the update of the webhook's state.

use tokio::time::Instant;
use tracing::{info, warn};

use super::{DeliveryWorker, Trouble, own};
use crate::{
    crypto::random,
    domain::{
        delivery::{PROBE_INTERVAL, Pace},
        id::DeadLetterId,
        record::Record,
        webhook::{DeadLetter, Delivered, DeliveryFailure, Redelivered, Webhook},
    },
    journal::codec,
    service::webhooks::{
        batch::{Delivery, Source},
        state::Phase,
    },
};

impl DeliveryWorker {
    /// Records a successful delivery.
    pub(super) async fn accepted(&mut self, webhook: &Webhook, delivery: Delivery) -> Result<(), Trouble> {
        let events = delivery.events as u64;
        let through = delivery.source.through();
        let record = match &delivery.source {
            Source::Journal(batch) => Record::Delivered(Delivered { webhook: self.id, through: batch.through() }),
            Source::DeadLetter(id) => Record::Redelivered(Redelivered { webhook: self.id, id: *id, failure: None }),
        };
        let at_ms = match self.write(&record).await {
            Ok(at_ms) => at_ms,
            Err(problem) => {
                // Deliver it again rather than lose its record.
                self.put_back(delivery);
                return Err(problem);
            }
        };
        let mut was_failing = false;
        self.state.update(|standing| {
            was_failing = standing.phase == Phase::Failing;
            standing.phase = Phase::Ok;
            standing.deliveries += 1;
            standing.events += events;
            standing.last_success_ms = Some(at_ms);
            match through {
                Some(through) => {
                    standing.passed = standing.passed.max(through);
                    standing.oldest_waiting_ms = None;
                }
                None => standing.dead_letters = standing.dead_letters.saturating_sub(1),
            }
        });
        if was_failing {
            info!(webhook = %self.id, origin = webhook.origin(), "the webhook's receiver accepts deliveries again");
            self.set_pace(Pace::default());
        }
        if self.pace.taken() {
            self.set_pace(self.pace);
        }
        Ok(())
    }

    /// Gives up a delivery. Its events become a dead letter, or remain one.
    pub(super) async fn give_up(
        &mut self,
        webhook: &Webhook,
        delivery: Delivery,
        failure: DeliveryFailure,
    ) -> Result<(), Trouble> {
        let (attempts, error) = (failure.attempts, failure.last_error.clone());
        let through = delivery.source.through();
        // A working receiver that refuses a dead letter again is not a failing receiver.
        let refuses = through.is_none() && failure.is_final() && self.state.standing().phase != Phase::Failing;
        let written = match &delivery.source {
            Source::Journal(batch) => {
                // Dead letters are listed in the order of their ids, so the id uses the journal's time, which never
                // steps back.
                let id = DeadLetterId(random::ulid(self.core.now().unix_ms).map_err(own)?);
                let (through, events) = (batch.through(), batch.events());
                let letter = DeadLetter { webhook: self.id, id, through, failure, events };
                self.write(&Record::DeadLettered(letter)).await
            }
            Source::DeadLetter(id) => {
                let again = Redelivered { webhook: self.id, id: *id, failure: Some(failure) };
                self.write(&Record::Redelivered(again)).await
            }
        };
        if let Err(problem) = written {
            self.put_back(delivery);
            return Err(problem);
        }
        warn!(
            webhook = %self.id,
            origin = webhook.origin(),
            events = delivery.events,
            attempts,
            "a delivery was given up; its events are kept as a dead letter: {error}"
        );
        if !refuses {
            self.probe_at = Some(Instant::now() + PROBE_INTERVAL);
        }
        self.state.update(|standing| {
            standing.phase = if refuses { Phase::Ok } else { Phase::Failing };
            if let Some(through) = through {
                standing.passed = standing.passed.max(through);
                standing.dead_letters += 1;
                standing.oldest_waiting_ms = None;
            }
        });
        Ok(())
    }

    /// Writes a record and waits until it is durable. Returns its time in Unix ms.
    async fn write(&mut self, record: &Record<'_>) -> Result<u64, Trouble> {
        let mut bytes = Vec::new();
        codec::encode(record, &mut bytes).map_err(own)?;
        let appended = self.core.journal.append(&bytes).map_err(own)?;
        self.core.journal.durable(appended.seq).await;
        if let Record::Redelivered(_) = record {
            self.redelivered = appended.seq;
        }
        Ok(appended.at_ms)
    }
}
