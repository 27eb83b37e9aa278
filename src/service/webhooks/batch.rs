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
        webhook::DatedEvent,
    },
    journal::codec,
    service::reading::event::Event,
};

/// The bytes at which a batch is full, even with few events. With one more event its JSON stays below 100 KiB, the
/// default limit of some servers; a larger delivery would be refused every time.
const BATCH_BYTES: usize = 80 << 10;

/// The bytes by which an event's JSON is longer than its record: names of members, and ids and numbers as text.
const LONGER_IN_JSON: usize = 500;

/// The type of a delivery.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) enum Kind {
    /// Billing events.
    #[serde(rename = "API_BILLING_USAGE")]
    Usage,
    /// A test delivery, which bills nothing.
    #[serde(rename = "TEST")]
    Test,
}

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: Kind,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    events: &'a [Event],
}

/// The body of a delivery.
pub(super) fn body(kind: Kind, events: &[Event]) -> serde_json::Result<Bytes> {
    serde_json::to_vec(&Envelope { kind, data: Data { events } }).map(Bytes::from)
}

/// Events for the next delivery, as journal records.
#[derive(Default)]
pub(super) struct Batch {
    /// The time (Unix ms) and the body of each record, in order.
    records: Vec<(u64, Vec<u8>)>,
    bytes: usize,
    /// The last record in it.
    through: u64,
}

impl Batch {
    /// Adds an event's record.
    pub(super) fn push(&mut self, seq: u64, at_ms: u64, record: &[u8]) {
        self.bytes += record.len() + LONGER_IN_JSON;
        self.records.push((at_ms, record.to_vec()));
        self.through = seq;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.room() == 0 || self.bytes >= BATCH_BYTES
    }

    /// The number of events that still fit.
    pub(super) fn room(&self) -> usize {
        BATCH_EVENTS.saturating_sub(self.records.len())
    }

    /// The time of its first event, in Unix ms.
    pub(super) fn since_ms(&self) -> Option<u64> {
        self.records.first().map(|(at_ms, _)| *at_ms)
    }

    /// The last record in it.
    pub(super) fn through(&self) -> u64 {
        self.through
    }

    /// Its events, for the body or for a dead letter.
    pub(super) fn events(&self) -> Vec<DatedEvent<'_>> {
        // Each record was decoded as an event before it was pushed.
        let records = self.records.iter();
        records
            .filter_map(|(at_ms, record)| {
                Some(DatedEvent { at_ms: *at_ms, settled: codec::decode_settled(record).ok()?? })
            })
            .collect()
    }
}

/// The source of a delivery's events.
pub(super) enum Source {
    /// New events from the journal.
    Journal(Batch),
    /// A dead letter.
    DeadLetter(DeadLetterId),
}

impl Source {
    /// The last record of new events; `None` for a dead letter.
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
    /// The number of events in it.
    pub(super) events: usize,
    pub(super) attempts: Attempts,
}

impl Delivery {
    /// A delivery of new events.
    pub(super) fn of_batch(batch: Batch, request_id: Uuid) -> serde_json::Result<Self> {
        let (events, body) = (batch.records.len(), usage_body(&batch.events())?);
        Ok(Self { source: Source::Journal(batch), request_id, body, events, attempts: Attempts::default() })
    }

    /// A delivery of a dead letter's events.
    pub(super) fn of_dead_letter(
        id: DeadLetterId,
        events: &[DatedEvent<'_>],
        request_id: Uuid,
    ) -> serde_json::Result<Self> {
        let body = usage_body(events)?;
        let source = Source::DeadLetter(id);
        Ok(Self { source, request_id, body, events: events.len(), attempts: Attempts::default() })
    }

    /// The history entry of a successful attempt that began at `at_ms` (Unix ms).
    pub(super) fn attempted(&self, at_ms: u64, took: Duration) -> Attempted {
        Attempted {
            request_id: self.request_id,
            at_ms,
            attempt: self.attempts.failed.saturating_add(1),
            content: match self.source {
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

fn usage_body(events: &[DatedEvent<'_>]) -> serde_json::Result<Bytes> {
    let events: Vec<_> = events.iter().map(|event| Event::new(event.at_ms, &event.settled)).collect();
    body(Kind::Usage, &events)
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
                batch.push(1, 1_800_000_000_000, &record);
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
