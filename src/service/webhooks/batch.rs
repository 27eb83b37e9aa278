//! The content of one delivery.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use super::history::{AttemptOutcome, Attempted, Content};
use crate::{
    domain::{
        delivery::{Attempts, BATCH_EVENTS},
        id::DeadLetterId,
        webhook::{Contents, DatedAlert, DatedEvent, WebhookType, WebhookTypes},
    },
    journal::codec,
    service::reading::{alerts::Alert, event::Event},
};

/// The bytes at which a batch is full, even with few events. With one more event its JSON stays below 100 KiB, the
/// default limit of some servers; a larger delivery would be refused every time.
const BATCH_BYTES: usize = 80 << 10;

/// The bytes by which an event's JSON is longer than its record: names of members, and ids and numbers as text.
const LONGER_IN_JSON: usize = 500;

/// The type of a delivery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) enum Kind {
    /// Billing events.
    #[default]
    #[serde(rename = "API_BILLING_USAGE")]
    Usage,
    /// Alerts.
    #[serde(rename = "ALERT")]
    Alert,
    /// A test delivery, which bills nothing.
    #[serde(rename = "TEST")]
    Test,
}

impl Kind {
    /// The type of the delivery that a record of the journal belongs in; `None` if a webhook with these types does not
    /// get it.
    pub(super) fn of(types: &WebhookTypes, record: &[u8]) -> Result<Option<Self>, bincode::error::DecodeError> {
        if types.contains(WebhookType::ApiBillingUsage) && codec::decode_settled(record)?.is_some() {
            return Ok(Some(Self::Usage));
        }
        if types.contains(WebhookType::Alert) && codec::decode_alert(record)?.is_some() {
            return Ok(Some(Self::Alert));
        }
        Ok(None)
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: Kind,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Data<'a> {
    Events(&'a [Event]),
    Alerts(&'a [Alert]),
}

/// The body of a delivery of events.
pub(super) fn body(kind: Kind, events: &[Event]) -> serde_json::Result<Bytes> {
    serde_json::to_vec(&Envelope { kind, data: Data::Events(events) }).map(Bytes::from)
}

fn body_of(contents: &Contents<'_>) -> serde_json::Result<Bytes> {
    match contents {
        Contents::Events(events) => {
            let events: Vec<_> = events.iter().map(|event| Event::new(event.at_ms, &event.settled)).collect();
            body(Kind::Usage, &events)
        }
        Contents::Alerts(alerts) => {
            let alerts: Vec<_> = alerts.iter().map(|alert| Alert::new(alert.at_ms, &alert.alert)).collect();
            serde_json::to_vec(&Envelope { kind: Kind::Alert, data: Data::Alerts(&alerts) }).map(Bytes::from)
        }
    }
}

/// Events or alerts for the next delivery, as journal records.
#[derive(Default)]
pub(super) struct Batch {
    kind: Kind,
    /// The time (Unix ms) and the body of each record, in order.
    records: Vec<(u64, Vec<u8>)>,
    bytes: usize,
    /// The last record in it.
    through: u64,
}

impl Batch {
    /// Adds the record of an event or an alert, which the batch must [take](Self::takes).
    pub(super) fn push(&mut self, kind: Kind, seq: u64, at_ms: u64, record: &[u8]) {
        self.kind = kind;
        self.bytes += record.len() + LONGER_IN_JSON;
        self.records.push((at_ms, record.to_vec()));
        self.through = seq;
    }

    /// Whether it may contain records of this kind.
    pub(super) fn takes(&self, kind: Kind) -> bool {
        self.is_empty() || self.kind == kind
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.room() == 0 || self.bytes >= BATCH_BYTES
    }

    /// The number of records that still fit.
    pub(super) fn room(&self) -> usize {
        BATCH_EVENTS.saturating_sub(self.records.len())
    }

    /// The time of its first record, in Unix ms.
    pub(super) fn since_ms(&self) -> Option<u64> {
        self.records.first().map(|(at_ms, _)| *at_ms)
    }

    /// The last record in it.
    pub(super) fn through(&self) -> u64 {
        self.through
    }

    /// Its events or alerts, for the body or for a dead letter.
    pub(super) fn contents(&self) -> Contents<'_> {
        // Each record was decoded as one of its kind before it was pushed.
        match self.kind {
            Kind::Alert => Contents::Alerts(self.records.iter().filter_map(dated_alert).collect()),
            Kind::Usage | Kind::Test => Contents::Events(self.records.iter().filter_map(dated_event).collect()),
        }
    }
}

fn dated_event((at_ms, record): &(u64, Vec<u8>)) -> Option<DatedEvent<'_>> {
    Some(DatedEvent { at_ms: *at_ms, settled: codec::decode_settled(record).ok()?? })
}

fn dated_alert((at_ms, record): &(u64, Vec<u8>)) -> Option<DatedAlert> {
    Some(DatedAlert { at_ms: *at_ms, alert: codec::decode_alert(record).ok()?? })
}

/// The source of a delivery's events or alerts.
pub(super) enum Source {
    /// New ones from the journal.
    Journal(Batch),
    /// A dead letter.
    DeadLetter(DeadLetterId),
}

impl Source {
    /// The last record of new ones; `None` for a dead letter.
    pub(super) fn through(&self) -> Option<u64> {
        match self {
            Self::Journal(batch) => Some(batch.through()),
            Self::DeadLetter(_) => None,
        }
    }
}

/// A delivery. All its attempts have the same id and the same bytes.
pub(super) struct Delivery {
    pub(super) source: Source,
    pub(super) request_id: Uuid,
    pub(super) body: Bytes,
    /// The number of events or alerts in it.
    pub(super) events: usize,
    pub(super) attempts: Attempts,
}

impl Delivery {
    /// A delivery of new events or alerts.
    pub(super) fn of_batch(batch: Batch, request_id: Uuid) -> serde_json::Result<Self> {
        let (events, body) = (batch.records.len(), body_of(&batch.contents())?);
        Ok(Self { source: Source::Journal(batch), request_id, body, events, attempts: Attempts::default() })
    }

    /// A delivery of a dead letter's events or alerts.
    pub(super) fn of_dead_letter(
        id: DeadLetterId,
        contents: &Contents<'_>,
        request_id: Uuid,
    ) -> serde_json::Result<Self> {
        let body = body_of(contents)?;
        let events = match contents {
            Contents::Events(events) => events.len(),
            Contents::Alerts(alerts) => alerts.len(),
        };
        Ok(Self { source: Source::DeadLetter(id), request_id, body, events, attempts: Attempts::default() })
    }

    /// The history entry of a successful attempt that began at `at_ms` (Unix ms).
    pub(super) fn attempted(&self, at_ms: u64, took: Duration) -> Attempted {
        Attempted {
            request_id: self.request_id,
            at_ms,
            attempt: self.attempts.failed.saturating_add(1),
            content: match self.source {
                Source::Journal(Batch { kind: Kind::Alert, .. }) => Content::Alerts,
                Source::Journal(_) => Content::Events,
                Source::DeadLetter(_) => Content::DeadLetter,
            },
            events: self.events,
            status: None,
            error: None,
            duration_ms: took.as_millis() as u64,
            outcome: AttemptOutcome::Delivered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        id::GroupId,
        money::{Cost, Currency},
        record::Record,
        settled::Settled,
        testing::settled,
        units::{Seconds, Units},
    };

    #[test]
    fn the_json_of_a_full_batch_is_below_100_kib_whatever_the_size_of_its_events() {
        for size in [0, 300, 500, 600, 1000, 10_000, 16_000] {
            let metadata = format!(r#"{{"a":"{}"}}"#, "x".repeat(size));
            let event = Settled {
                key_random: u128::MAX,
                request_id: u128::MAX,
                metadata: Some(&metadata),
                counted_for: vec![GroupId(u128::MAX)],
                cost: Currency::parse("EUR").map(|currency| Cost { currency, amount: 123_456_789_012 }),
                units: Some(Units::Seconds(Seconds::from_micros(123_456_789))),
                ..settled()
            };
            let mut record = Vec::new();
            codec::encode(&Record::Settled(event), &mut record).unwrap();
            let mut batch = Batch::default();
            while !batch.is_full() {
                batch.push(Kind::Usage, 1, 1_800_000_000_000, &record);
            }
            let delivery = Delivery::of_batch(batch, Uuid::nil()).unwrap();
            assert!(delivery.events == BATCH_EVENTS || delivery.body.len() > 70_000, "{size}: not full");
            assert!(
                delivery.body.len() < 100 << 10,
                "{size}: {} events, {} bytes",
                delivery.events,
                delivery.body.len()
            );
        }
    }
}
