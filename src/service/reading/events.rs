//! Reads billing events from the journal.
//!
//! A window is closed before it is read: all events stamped before its end are durable, and every later event is
//! stamped at or after its end. So a poller that continues from its last `end_time` misses nothing and reads nothing
//! twice. If the end is up to five seconds in the future, because another machine's clock is ahead, the read waits for
//! it. A later end means now.

use std::{
    ops::Range,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};

use crate::{
    domain::{id::GroupId, record::Record, rollup::Rollup, settled::Settled},
    journal::{self, BackwardReader, Damage, Frame, Journal, Reader, codec},
    service::{error::Error, storage::Storage},
};

pub use super::event::Event;

/// The longest time for gathering one page, so that a filter that matches few events does not make one request read the
/// whole log.
const PAGE_TIME: Duration = Duration::from_secs(1);

/// Readers take turns. So together they keep at most one processor busy, and a short page does not wait for a long one.
static TURN: Mutex<()> = Mutex::new(());

/// The records of one turn, about a millisecond. With much shorter turns, waking the readers' threads would slow
/// requests down.
const TURN_RECORDS: usize = 4096;

/// The number of records after which a reader yields the processor, so that requests do not wait for an export.
const YIELD_RECORDS: usize = 256;

/// The order in which events are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    #[default]
    Ascending,
    /// Newest first.
    Descending,
}

/// A query for a page of events.
#[derive(Clone)]
pub struct EventsQuery {
    /// The start of the window: Unix ms, inclusive. Defaults to the first event.
    pub start_ms: Option<u64>,
    /// The end of the window: Unix ms, exclusive. Defaults to now.
    pub end_ms: Option<u64>,
    /// The end of the previous page: its last sequence number, and the end of its window in Unix ms.
    pub after: Option<(u64, u64)>,
    /// The order of the events.
    pub order: Order,
    /// The most events on the page.
    pub limit: usize,
    /// The events to include.
    pub filter: EventFilter,
}

/// A page of events.
pub struct EventPage {
    /// The events, in the requested order.
    pub events: Vec<Event>,
    /// The start of the next page, for `EventsQuery::after`; `None` on the last page. Earlier pages may also have fewer
    /// events than the limit, or none.
    pub next: Option<(u64, u64)>,
    /// The unreadable records between the page's start and its end.
    pub missing: Vec<Damage>,
}

/// A filter for events or their sums. An empty list matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only events of these keys, by prefix.
    pub api_keys: Vec<String>,
    /// Only events of these groups, by external id.
    pub external_entity_ids: Vec<String>,
    /// Only events of these models, by the slug that was called.
    pub model_slugs: Vec<String>,
    /// Only events of these groups, by id, without their descendants.
    pub group_ids: Vec<GroupId>,
}

impl EventFilter {
    fn matches(&self, settled: &Settled<'_>) -> bool {
        let Settled { api_key_prefix, external_entity_id, model_slug, .. } = settled;
        self.matches_all(api_key_prefix, external_entity_id, model_slug, settled.group())
    }

    pub(super) fn matches_sums(&self, row: &Rollup) -> bool {
        self.matches_all(&row.api_key_prefix, &row.external_entity_id, &row.model_slug, row.group)
    }

    fn matches_all(&self, api_key: &str, external_entity_id: &str, model_slug: &str, group: GroupId) -> bool {
        let is_in = |wanted: &[String], found: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == found);
        is_in(&self.api_keys, api_key)
            && is_in(&self.external_entity_ids, external_entity_id)
            && is_in(&self.model_slugs, model_slug)
            && (self.group_ids.is_empty() || self.group_ids.contains(&group))
    }
}

/// A walk over the journal in either direction.
enum Walk {
    Ascending(Reader),
    Descending(BackwardReader),
}

impl Walk {
    /// Starts where the previous page stopped, or at the window's first event in the query's order.
    fn begin(journal: &Journal, query: &EventsQuery, window: &Range<u64>) -> Self {
        match (query.order, query.after) {
            (Order::Ascending, Some((seq, _))) => Self::Ascending(journal.reader(seq)),
            (Order::Ascending, None) => Self::Ascending(journal.reader_from_time(window.start)),
            (Order::Descending, Some((seq, _))) => Self::Descending(journal.backward_reader(seq)),
            (Order::Descending, None) => Self::Descending(journal.backward_reader_before_time(window.end)),
        }
    }

    fn next(&mut self) -> Result<Option<Frame<'_>>, journal::Error> {
        match self {
            Self::Ascending(reader) => reader.next(),
            Self::Descending(reader) => reader.next(),
        }
    }

    /// The range of records that it has covered, both bounds exclusive, when `last` is the last record that it read.
    fn covered(&self, after: Option<u64>, last: Option<u64>) -> (u64, u64) {
        match self {
            Self::Ascending(_) => (after.unwrap_or(0), last.or(after).unwrap_or(0)),
            Self::Descending(reader) => (last.unwrap_or(0), after.unwrap_or(reader.bound())),
        }
    }
}

impl Storage {
    /// Reads a page of events.
    pub async fn read_events(self: &Arc<Self>, query: Arc<EventsQuery>) -> Result<EventPage, Error> {
        let window = self.close_window(query.after.map(|(_, end_ms)| end_ms).or(query.end_ms)).await?;
        let storage = self.clone();
        let scan = move || storage.scan_events(&query, window.end_ms, Instant::now() + PAGE_TIME);
        let page = tokio::task::spawn_blocking(scan).await;
        page.map_err(Error::internal)?
    }

    fn scan_events(&self, query: &EventsQuery, end_ms: u64, deadline: Instant) -> Result<EventPage, Error> {
        let mut turn = TURN.lock();
        let window = query.start_ms.unwrap_or(0)..end_ms;
        let after = query.after.map(|(seq, _)| seq);
        let mut walk = Walk::begin(&self.core.journal, query, &window);
        let (mut events, mut next, mut scanned) = (Vec::new(), None, 0_usize);
        // The last record that was read; `None` again after the walk has reached the first record of the journal.
        let mut last = after;
        loop {
            let Some(frame) = walk.next().map_err(Error::internal)? else {
                last = last.filter(|_| query.order == Order::Ascending);
                break;
            };
            if !window.contains(&frame.at_ms) {
                last = Some(frame.seq);
                break;
            }
            scanned += 1;
            if scanned.is_multiple_of(YIELD_RECORDS) {
                thread::yield_now();
            }
            if scanned.is_multiple_of(TURN_RECORDS) {
                if Instant::now() >= deadline {
                    next = last;
                    break;
                }
                MutexGuard::bump(&mut turn);
            }
            if let Record::Settled(settled) = codec::decode(frame.body).map_err(Error::internal)?
                && query.filter.matches(&settled)
            {
                if events.len() == query.limit {
                    // There is at least one more event.
                    next = last;
                    break;
                }
                events.push(Event::new(frame.at_ms, &settled));
            }
            last = Some(frame.seq);
        }
        let (low, high) = walk.covered(after, last);
        let mut missing = self.unreadable();
        missing.retain(|damage| {
            *damage.missing.start() > low && *damage.missing.end() < high && damage.to_ms >= window.start
        });
        Ok(EventPage { events, next: next.map(|seq| (seq, end_ms)), missing })
    }
}

/// Calls `each` with the events of a data directory in a window of Unix ms, until it returns false. A gateway may be
/// writing to the directory. Returns sentences about unreadable records. `progress` gets the number of records read and
/// of all records.
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
            && filter.matches(&settled)
            && !each(Event::new(frame.at_ms, &settled))?
        {
            break;
        }
    }
    let describe =
        |damage: Damage| format!("Records {} to {} cannot be read.", damage.missing.start(), damage.missing.end());
    let in_window = |damage: &Damage| damage.to_ms >= window.start && damage.from_ms < window.end;
    Ok(journal.damage().into_iter().filter(in_window).map(describe).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        domain::{testing::settled, time},
        service::{Booted, boot},
    };
    use std::{fs, os::unix::fs::FileExt};
    use tempfile::TempDir;

    /// The random part of the event's key, which the test assigns in order.
    fn number(event: &Event) -> u128 {
        let event = serde_json::to_value(event).unwrap();
        ulid::Ulid::from_string(event["idempotencyKey"].as_str().unwrap()).unwrap().random()
    }

    fn stamp(event: &Event) -> u64 {
        let event = serde_json::to_value(event).unwrap();
        time::parse(event["timestamp"].as_str().unwrap()).unwrap()
    }

    /// Walks all pages. Returns the events' numbers, the missing records that the pages report, and the number of
    /// pages.
    fn walk(
        storage: &Storage,
        mut query: EventsQuery,
        end_ms: u64,
        deadline: Instant,
    ) -> (Vec<u128>, Vec<Damage>, usize) {
        let (mut seen, mut missing, mut pages) = (Vec::new(), Vec::new(), 0);
        loop {
            let page = storage.scan_events(&query, end_ms, deadline).unwrap();
            assert!(page.events.len() <= query.limit);
            seen.extend(page.events.iter().map(number));
            missing.extend(page.missing);
            pages += 1;
            query.after = page.next;
            if query.after.is_none() {
                return (seen, missing, pages);
            }
        }
    }

    fn query(order: Order, limit: usize, filter: &EventFilter) -> EventsQuery {
        EventsQuery { start_ms: Some(0), end_ms: None, after: None, order, limit, filter: filter.clone() }
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn append(journal: &Journal, records: impl IntoIterator<Item = Settled<'static>>) {
        let mut body = Vec::new();
        for record in records {
            body.clear();
            codec::encode(&Record::Settled(record), &mut body).unwrap();
            journal.append(&body).unwrap();
        }
        assert!(journal.durable_blocking(journal.last_seq(), Duration::from_secs(30)));
    }

    fn start(directory: &TempDir) -> Booted {
        boot(Config { data_dir: directory.path().to_owned(), ..Config::default() }, None).unwrap()
    }

    #[test]
    fn a_walk_whose_pages_run_out_of_time_returns_every_event_once() {
        const RECORDS: u128 = 10 * TURN_RECORDS as u128;
        let directory = tempfile::tempdir().unwrap();
        let booted = start(&directory);
        append(
            &booted.gateway.core.journal,
            (0..RECORDS).map(|event| Settled {
                key_random: event,
                api_key_prefix: if event % 6000 == 0 { "sk_rare" } else { "sk_often" },
                ..settled()
            }),
        );
        let rare = EventFilter { api_keys: vec!["sk_rare".to_owned()], ..EventFilter::default() };
        let mut expected = vec![0, 6000, 12_000, 18_000, 24_000, 30_000, 36_000];
        for order in [Order::Ascending, Order::Descending] {
            let (seen, _, pages) = walk(&booted.gateway.storage, query(order, 2, &rare), u64::MAX, Instant::now());
            assert_eq!(seen, expected);
            assert!(pages > 9, "{pages} pages");
            expected.reverse();
        }
        booted.close();
    }

    #[test]
    fn descending_order_is_the_reverse_of_ascending_order() {
        const RECORDS: u128 = 9000;
        const KEYS: [&str; 3] = ["sk_a", "sk_b", "sk_c"];
        const METADATA: &str = r#"{"purpose": "to make records long enough for the journal to begin another segment"}"#;
        const SLUGS: [&str; 2] = ["acme/chat", "acme/embed"];
        let directory = tempfile::tempdir().unwrap();
        let booted = start(&directory);
        for batch in 0..RECORDS / 100 {
            append(
                &booted.gateway.core.journal,
                (batch * 100..(batch + 1) * 100).map(|event| Settled {
                    key_random: event,
                    api_key_prefix: KEYS[event as usize % 3],
                    model_slug: SLUGS[event as usize / 3 % 2],
                    counted_for: vec![GroupId(event % 5), GroupId(99)],
                    metadata: Some(METADATA),
                    ..settled()
                }),
            );
        }
        let segments = booted.gateway.core.journal.segments().unwrap();
        assert!(segments.len() >= 2, "{segments:?}");
        booted.close();
        // Destroy some records in the middle of the first segment.
        let first = fs::OpenOptions::new().write(true).open(&segments[0].path).unwrap();
        first.write_all_at(&[0; 3000], segments[0].bytes / 2).unwrap();

        let booted = start(&directory);
        let storage = &booted.gateway.storage;
        let all = storage.scan_events(&query(Order::Ascending, usize::MAX, &EventFilter::default()), u64::MAX, later());
        let all = all.unwrap();
        let lost = RECORDS as usize - all.events.len();
        assert!((2..200).contains(&lost) && all.missing.len() == 1, "{lost} lost, {:?}", all.missing);
        let known: Vec<_> = all.events.iter().map(|event| (stamp(event), number(event))).collect();
        let (from, middle, to) = (known[0].0, known[known.len() / 2].0, known[known.len() - 1].0);
        let windows =
            [(0, u64::MAX), (middle, u64::MAX), (0, middle), (from, to), (middle, middle + 1), (to + 1, u64::MAX)];
        let filters = [
            EventFilter::default(),
            EventFilter { api_keys: vec!["sk_b".to_owned(), "sk_c".to_owned()], ..EventFilter::default() },
            EventFilter { model_slugs: vec!["acme/embed".to_owned()], ..EventFilter::default() },
            EventFilter {
                group_ids: vec![GroupId(3)],
                model_slugs: vec!["acme/chat".to_owned()],
                ..EventFilter::default()
            },
            EventFilter { external_entity_ids: vec!["cust_other".to_owned()], ..EventFilter::default() },
        ];
        for (filter, (start_ms, end_ms)) in filters.iter().flat_map(|filter| windows.map(|window| (filter, window))) {
            let is_wanted = |(at_ms, event): &(u64, u128)| {
                let event = *event as usize;
                (start_ms..end_ms).contains(at_ms)
                    && (filter.api_keys.is_empty() || filter.api_keys.iter().any(|key| key == KEYS[event % 3]))
                    && (filter.model_slugs.is_empty() || filter.model_slugs == [SLUGS[event / 3 % 2]])
                    && filter.external_entity_ids.is_empty()
                    && (filter.group_ids.is_empty() || filter.group_ids == [GroupId(event as u128 % 5)])
            };
            let wanted = known.iter().copied().filter(is_wanted).map(|(_, event)| event).collect::<Vec<_>>();
            for limit in [97, 2000, usize::MAX] {
                let walked = |order| {
                    let query = EventsQuery { start_ms: Some(start_ms), ..query(order, limit, filter) };
                    walk(storage, query, end_ms, later())
                };
                let (oldest_first, missing, _) = walked(Order::Ascending);
                let (mut newest_first, missing_too, _) = walked(Order::Descending);
                newest_first.reverse();
                let which = format!("{filter:?} by {limit} in {start_ms}..{end_ms}");
                assert_eq!((&oldest_first, &newest_first), (&wanted, &wanted), "{which}");
                assert_eq!(missing, missing_too, "{which}");
            }
        }
        booted.close();
    }
}
