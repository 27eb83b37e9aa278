//! Reading billing events back from the journal.
//!
//! A window is closed before it is read: every later event is stamped at or after its end, and everything stamped
//! before is waited for. So a poller that goes on from its last `end_time` misses nothing and sees nothing twice. An end
//! that lies a little ahead, as another machine's clock has it, is waited for; one far ahead means now.

use std::{
    ops::Range,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};

pub use super::event::Event;
use super::{Gateway, error::Error};
use crate::{
    domain::record::{Record, Settled},
    journal::{Barrier, Damage, Journal, codec},
};

/// How far ahead an end may lie to be waited for.
const AHEAD: Duration = Duration::from_secs(5);

/// How long a read waits for what is not durable yet.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a page is gathered: a filter that few events pass must not make one request read the whole log.
const PAGE_TIME: Duration = Duration::from_secs(1);

/// Readers take turns, so that together they keep one processor busy at most, and a short page waits for no long one.
static TURN: Mutex<()> = Mutex::new(());

/// Records of one turn, about a millisecond. Much shorter ones would wake so many threads that requests suffer.
const TURN_RECORDS: usize = 4096;

/// After so many records whatever else wants the processor goes first: requests do not queue behind an export.
const YIELD_RECORDS: usize = 256;

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
    /// Which of them.
    pub filter: EventFilter,
}

/// A page of events, ascending.
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
    /// Where the next page begins, as `EventsQuery::after`; absent at the end. A page may have less than the limit, or
    /// nothing, before the end.
    pub next: Option<(u64, u64)>,
    /// Records between the page's start and its end that cannot be read any more.
    pub missing: Vec<Damage>,
}

/// Which events of a window; all of them if nothing is named.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Of these keys only, by prefix.
    pub api_keys: Vec<String>,
    /// Of these groups only.
    pub external_entity_ids: Vec<String>,
}

impl EventFilter {
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
        let scan = move || gateway.scan_events(&query, window.end_ms, Instant::now() + PAGE_TIME);
        let page = tokio::task::spawn_blocking(scan).await;
        page.map_err(Error::internal)?
    }

    /// Closes a window that ends at `end_ms`, or now: everything in it can be read, and nothing will be added to it.
    pub(super) async fn close_window(&self, end_ms: Option<u64>) -> Result<Barrier, Error> {
        let wanted_end = end_ms.unwrap_or(u64::MAX);
        let ahead = Duration::from_millis(wanted_end.saturating_sub(self.journal.now_ms()));
        if !ahead.is_zero() && ahead <= AHEAD {
            tokio::time::sleep(ahead).await;
        }
        let window = self.journal.barrier(wanted_end);
        if tokio::time::timeout(PATIENCE, self.journal.durable(window.seq)).await.is_err() {
            let why = self.cannot_meter();
            return Err(Error::Unavailable(why.unwrap_or_else(|| "The journal is slow to be written.".to_owned())));
        }
        Ok(window)
    }

    fn scan_events(&self, query: &EventsQuery, end_ms: u64, deadline: Instant) -> Result<EventPage, Error> {
        let mut turn = TURN.lock();
        let start_ms = query.start_ms.unwrap_or(0);
        let (mut reader, after) = match query.after {
            Some((seq, _)) => (self.journal.reader(seq), seq),
            None => (self.journal.reader_from_time(start_ms), 0),
        };
        let (mut events, mut next, mut last_seq, mut scanned) = (Vec::new(), None, after, 0_usize);
        while let Some(frame) = reader.next().map_err(Error::internal)? {
            if frame.at_ms >= end_ms {
                last_seq = frame.seq;
                break;
            }
            scanned += 1;
            if scanned.is_multiple_of(YIELD_RECORDS) {
                thread::yield_now();
            }
            if scanned.is_multiple_of(TURN_RECORDS) {
                if Instant::now() >= deadline {
                    next = Some((last_seq, end_ms));
                    break;
                }
                MutexGuard::bump(&mut turn);
            }
            if let Record::Settled(settled) = codec::decode(frame.body).map_err(Error::internal)?
                && query.filter.takes(&settled)
            {
                if events.len() == query.limit {
                    // There is at least one more.
                    next = Some((last_seq, end_ms));
                    break;
                }
                events.push(Event::new(frame.at_ms, &settled));
            }
            last_seq = frame.seq;
        }
        let mut missing = self.unreadable();
        missing.retain(|damage| {
            *damage.missing.start() > after && *damage.missing.end() <= last_seq && damage.to_ms >= start_ms
        });
        Ok(EventPage { events, next, missing })
    }
}

/// Gives `each` the events of a data directory in a window of Unix ms, until it says false. A gateway may be writing
/// there. Gives what could not be read, in words. `progress` is told records read and records in all.
pub fn export_events(
    data_dir: &Path,
    window: Range<u64>,
    filter: &EventFilter,
    progress: &dyn Fn(u64, u64),
    mut each: impl FnMut(Event) -> Result<bool, String>,
) -> Result<Vec<String>, String> {
    let opened = Journal::open_read_only(&data_dir.join("journal"));
    let (journal, report) = opened.map_err(|error| format!("the journal cannot be opened: {error}"))?;
    let mut reader = journal.reader_from_time(window.start);
    while let Some(frame) = reader.next().map_err(|error| error.to_string())?.filter(|frame| frame.at_ms < window.end) {
        if frame.seq.is_multiple_of(10_000) {
            progress(frame.seq, report.last_seq);
        }
        let record = codec::decode(frame.body);
        let record = record.map_err(|error| format!("record {} cannot be decoded: {error}", frame.seq))?;
        if let Record::Settled(settled) = record
            && filter.takes(&settled)
            && !each(Event::new(frame.at_ms, &settled))?
        {
            break;
        }
    }
    let tell = |damage: Damage| {
        format!("Records {} to {} cannot be read any more.", damage.missing.start(), damage.missing.end())
    };
    let in_window = |damage: &Damage| damage.to_ms >= window.start && damage.from_ms < window.end;
    Ok(journal.damage().into_iter().filter(in_window).map(tell).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, domain::testing::settled, service::boot};

    fn record(key_random: u128, api_key_prefix: &str) -> Record<'_> {
        Record::Settled(Settled { key_random, api_key_prefix, ..settled() })
    }

    /// The random part of its key, which the test gave out in order.
    fn number(event: &Event) -> u128 {
        let event = serde_json::to_value(event).unwrap();
        ulid::Ulid::from_string(event["idempotencyKey"].as_str().unwrap()).unwrap().random()
    }

    #[test]
    fn a_walk_whose_pages_run_out_of_time_meets_every_event_once() {
        const RECORDS: u128 = 10 * TURN_RECORDS as u128;
        let directory = tempfile::tempdir().unwrap();
        let booted = boot(Config { data_dir: directory.path().to_owned(), ..Config::default() }, None).unwrap();
        let journal = &booted.gateway.journal;
        let mut body = Vec::new();
        for event in 0..RECORDS {
            body.clear();
            let prefix = if event % 6000 == 0 { "sk_rare" } else { "sk_often" };
            codec::encode(&record(event, prefix), &mut body).unwrap();
            journal.append(&body).unwrap();
        }
        assert!(journal.durable_blocking(journal.last_seq(), Duration::from_secs(30)));

        let (mut after, mut seen, mut pages) = (None, Vec::new(), 0);
        loop {
            let query = EventsQuery {
                start_ms: Some(0),
                end_ms: None,
                after,
                limit: 2,
                filter: EventFilter { api_keys: vec!["sk_rare".to_owned()], ..EventFilter::default() },
            };
            let page = booted.gateway.scan_events(&query, u64::MAX, Instant::now()).unwrap();
            seen.extend(page.events.iter().map(number));
            pages += 1;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, [0, 6000, 12_000, 18_000, 24_000, 30_000, 36_000]);
        assert!(pages > 9, "{pages} pages");
        booted.close();
    }
}
