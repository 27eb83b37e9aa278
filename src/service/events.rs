//! Reading billing events back from the journal.
//!
//! A window is closed before it is read: every later event is stamped at or after its end, and everything stamped
//! before is waited for. So a poller that goes on from its last `end_time` misses nothing and sees nothing twice. An end
//! that lies a little ahead, as another machine's clock has it, is waited for; one far ahead means now.

use std::{sync::Arc, time::Duration};

use super::{Gateway, error::Error};
use crate::{
    domain::{
        id::GroupId,
        money::Cost,
        record::{Record, Settled},
        route::Route,
        usage::{Usage, UsageSource},
    },
    journal::{Barrier, codec},
};

/// How far ahead an end may lie to be waited for.
const AHEAD: Duration = Duration::from_secs(5);

/// How long a read waits for what is not durable yet.
const PATIENCE: Duration = Duration::from_secs(10);

/// Records read for one page: a filter that few events pass must not make one request scan the whole log.
const MAX_SCANNED: usize = 1_000_000;

/// Which events.
pub struct EventsQuery {
    /// Unix ms, inclusive; needed without `after`.
    pub start_ms: Option<u64>,
    /// Unix ms, exclusive; now when absent.
    pub end_ms: Option<u64>,
    /// Where the page before stopped: the last sequence number, and the end of its window in Unix ms.
    pub after: Option<(u64, u64)>,
    /// At most so many.
    pub limit: usize,
    /// Of these keys only, by prefix; of all when empty.
    pub api_keys: Vec<String>,
    /// Of these groups only; of all when empty.
    pub external_entity_ids: Vec<String>,
}

/// A page of events, ascending.
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
    /// Where the next page begins, as `EventsQuery::after`; absent at the end. A page may have less than the limit, or
    /// nothing, before the end.
    pub next: Option<(u64, u64)>,
}

/// One billing event.
pub struct Event {
    /// Its place in the journal.
    pub seq: u64,
    /// Unix ms of its settlement.
    pub at_ms: u64,
    /// The random part of its idempotency key.
    pub key_random: u128,
    /// The UUID that the customer got.
    pub request_id: u128,
    /// The request's `metadata` object, as JSON.
    pub metadata: Option<String>,
    /// The slug that was called.
    pub model_slug: String,
    /// The group's, at that time.
    pub external_entity_id: String,
    /// The key's public part.
    pub api_key_prefix: String,
    /// What is billed.
    pub usage: Usage,
    /// Where `usage` comes from.
    pub usage_source: UsageSource,
    /// The key's group.
    pub group: GroupId,
    /// The route that was called.
    pub route: Route,
    /// Whether it was a stream.
    pub streamed: bool,
    /// The HTTP status of the answer.
    pub status: u16,
    /// From the request's arrival to its settlement.
    pub duration_ms: u64,
    /// From the request's arrival to the first byte of the answer's body.
    pub ttft_ms: Option<u64>,
    /// What it costs.
    pub cost: Option<Cost>,
}

impl Event {
    fn new(seq: u64, at_ms: u64, settled: &Settled<'_>) -> Self {
        Self {
            seq,
            at_ms,
            key_random: settled.key_random,
            request_id: settled.request_id,
            metadata: settled.metadata.map(str::to_owned),
            model_slug: settled.model_slug.to_owned(),
            external_entity_id: settled.external_entity_id.to_owned(),
            api_key_prefix: settled.api_key_prefix.to_owned(),
            usage: settled.usage,
            usage_source: settled.usage_source,
            group: settled.counted_for.first().copied().unwrap_or(GroupId(0)),
            route: settled.route,
            streamed: settled.streamed,
            status: settled.status,
            duration_ms: settled.duration_ms,
            ttft_ms: settled.ttft_ms,
            cost: settled.cost,
        }
    }
}

impl EventsQuery {
    fn takes(&self, settled: &Settled<'_>) -> bool {
        let is_in = |wanted: &[String], found: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == found);
        is_in(&self.api_keys, settled.api_key_prefix) && is_in(&self.external_entity_ids, settled.external_entity_id)
    }
}

impl Gateway {
    /// Reads a page of events.
    pub async fn read_events(self: &Arc<Self>, query: EventsQuery) -> Result<EventPage, Error> {
        let window = self.close_window(query.after.map(|(_, end_ms)| end_ms).or(query.end_ms)).await?;
        let gateway = self.clone();
        let page = tokio::task::spawn_blocking(move || gateway.scan_events(&query, window.end_ms)).await;
        page.map_err(Error::internal)?
    }

    /// Closes a window that ends at `end_ms`, or now: everything in it can be read, and nothing will be added to it.
    pub(super) async fn close_window(&self, end_ms: Option<u64>) -> Result<Barrier, Error> {
        let wanted_end = end_ms.unwrap_or(u64::MAX);
        let ahead = Duration::from_millis(wanted_end.saturating_sub(self.journal.now_ms()));
        if ahead <= AHEAD {
            tokio::time::sleep(ahead).await;
        }
        let window = self.journal.barrier(wanted_end);
        if tokio::time::timeout(PATIENCE, self.journal.durable(window.seq)).await.is_err() {
            let why = self.cannot_meter();
            return Err(Error::Unavailable(why.unwrap_or_else(|| "The journal is slow to be written.".to_owned())));
        }
        Ok(window)
    }

    fn scan_events(&self, query: &EventsQuery, end_ms: u64) -> Result<EventPage, Error> {
        let mut reader = match (query.after, query.start_ms) {
            (Some((seq, _)), _) => self.journal.reader(seq),
            (None, start_ms) => self.journal.reader_from_time(start_ms.unwrap_or(0)),
        };
        let start_ms = query.start_ms.unwrap_or(0);
        let mut events: Vec<Event> = Vec::new();
        let mut scanned = 0;
        while let Some(frame) = reader.next().map_err(Error::internal)? {
            if frame.at_ms >= end_ms {
                break;
            }
            if frame.at_ms < start_ms {
                continue;
            }
            scanned += 1;
            if scanned > MAX_SCANNED {
                return Ok(EventPage { events, next: Some((frame.seq - 1, end_ms)) });
            }
            let Record::Settled(settled) = codec::decode(frame.body).map_err(Error::internal)? else { continue };
            if !query.takes(&settled) {
                continue;
            }
            if events.len() == query.limit {
                // There is at least one more.
                let next = events.last().map(|last| (last.seq, end_ms));
                return Ok(EventPage { events, next });
            }
            events.push(Event::new(frame.seq, frame.at_ms, &settled));
        }
        Ok(EventPage { events, next: None })
    }
}
