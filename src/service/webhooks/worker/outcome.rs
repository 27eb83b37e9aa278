//! The end of a delivery: its record, and the update of the webhook's state. If the record cannot be written, the
//! delivery has not ended and is made again.

use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    DeliveryWorker,
    interruption::{Interruption, own_failure},
    throttle::Throttle,
};
use crate::{
    crypto::random,
    domain::{
        delivery::PROBE_INTERVAL,
        id::DeadLetterId,
        record::Record,
        webhook::{Contents, DeadAlerts, DeadLetter, Delivered, DeliveryFailure, Redelivered, Webhook},
    },
    journal::codec,
    service::webhooks::{
        batch::{Delivery, Source},
        state::Phase,
    },
};

impl DeliveryWorker {
    /// Records a successful delivery.
    pub(super) async fn accepted(&mut self, webhook: &Webhook, delivery: &Delivery) -> Result<(), Interruption> {
        let events = delivery.events as u64;
        let through = delivery.source.through();
        let record = match &delivery.source {
            Source::Journal(batch) => Record::Delivered(Delivered { webhook: self.id, through: batch.through() }),
            Source::DeadLetter(id) => Record::Redelivered(Redelivered { webhook: self.id, id: *id, failure: None }),
        };
        let at_ms = self.write(&record).await?;
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
            self.throttle = Throttle::default();
        }
        self.throttle.note_accepted();
        Ok(())
    }

    /// Gives up a delivery. Its events or alerts become a dead letter, or remain one.
    pub(super) async fn give_up(
        &mut self,
        webhook: &Webhook,
        delivery: &Delivery,
        failure: DeliveryFailure,
    ) -> Result<(), Interruption> {
        let (attempts, error) = (failure.attempts, failure.last_error.clone());
        let through = delivery.source.through();
        // A working receiver that refuses a dead letter again is not a failing receiver.
        let refuses = through.is_none() && failure.is_final() && self.state.standing().phase != Phase::Failing;
        match &delivery.source {
            Source::Journal(batch) => {
                // Dead letters are listed in the order of their ids, so the id uses the journal's time, which never
                // steps back.
                let id = DeadLetterId(random::ulid(self.core.now().unix_ms).map_err(own_failure)?);
                let (webhook, through) = (self.id, batch.through());
                let record = match batch.contents() {
                    Contents::Events(events) => {
                        Record::DeadLettered(DeadLetter { webhook, id, through, failure, events })
                    }
                    Contents::Alerts(alerts) => {
                        Record::AlertsDeadLettered(DeadAlerts { webhook, id, through, failure, alerts })
                    }
                };
                self.write(&record).await?;
            }
            Source::DeadLetter(id) => {
                let again = Redelivered { webhook: self.id, id: *id, failure: Some(failure) };
                self.write(&Record::Redelivered(again)).await?;
            }
        }
        warn!(
            webhook = %self.id,
            origin = webhook.origin(),
            events = delivery.events,
            attempts,
            "a delivery was given up; its contents are kept as a dead letter: {error}"
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
    async fn write(&mut self, record: &Record<'_>) -> Result<u64, Interruption> {
        let mut bytes = Vec::new();
        codec::encode(record, &mut bytes).map_err(own_failure)?;
        let appended = self.core.journal.append(&bytes).map_err(own_failure)?;
        self.core.journal.durable(appended.seq).await;
        if let Record::Redelivered(_) = record {
            self.redeliveries.note_change(appended.seq);
        }
        Ok(appended.at_ms)
    }
}
