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
    domain::{
        id::GroupId,
        record::{Record, Settled},
        rollup::Rollup,
    },
    journal::{self, BackwardReader, Barrier, Damage, Frame, Journal, Reader, codec},
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

/// In which order events are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// The oldest first.
    #[default]
    Ascending,
    /// The newest first.
    Descending,
}

/// Which events.
#[derive(Clone)]
pub struct EventsQuery {
    /// Unix ms, inclusive; from the first event on when absent.
    pub start_ms: Option<u64>,
    /// Unix ms, exclusive; now when absent.
    pub end_ms: Option<u64>,
    /// Where the page before stopped: the last sequence number, and the end of its window in Unix ms.
    pub after: Option<(u64, u64)>,
    /// In which order.
    pub order: Order,
    /// At most so many.
    pub limit: usize,
    /// Which of them.
    pub filter: EventFilter,
}

/// A page of events.
pub struct EventPage {
    /// The events, in the order that was asked for.
    pub events: Vec<Event>,
    /// Where the next page begins, as `EventsQuery::after`; absent at the end. A page may have less than the limit, or
    /// nothing, before the end.
    pub next: Option<(u64, u64)>,
    /// Records between the page's start and its end that cannot be read any more.
    pub missing: Vec<Damage>,
}

/// Which events, or sums of them; all if nothing is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of these keys only, by prefix.
    pub api_keys: Vec<String>,
    /// Of these groups only.
    pub external_entity_ids: Vec<String>,
    /// Of these models only, by the slug that was called.
    pub model_slugs: Vec<String>,
    /// Of these groups only, by id; no groups below them.
    pub group_ids: Vec<GroupId>,
}

impl EventFilter {
    fn takes(&self, settled: &Settled<'_>) -> bool {
        let Settled { api_key_prefix, external_entity_id, model_slug, .. } = settled;
        self.takes_all(api_key_prefix, external_entity_id, model_slug, settled.group())
    }

    pub(super) fn takes_sums(&self, row: &Rollup) -> bool {
        self.takes_all(&row.api_key_prefix, &row.external_entity_id, &row.model_slug, row.group)
    }

    fn takes_all(&self, api_key: &str, external_entity_id: &str, model_slug: &str, group: GroupId) -> bool {
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
    /// From where the page before stopped, else from the window's near end.
    fn begin(journal: &Journal, query: &EventsQuery, window: &Range<u64>) -> Self {
        match (query.order, query.after) {
            (Order::Ascending, Some((seq, _))) => Self::Ascending(journal.reader(seq)),
            (Order::Ascending, None) => Self::Ascending(journal.reader_from_time(window.start)),
            (Order::Descending, Some((seq, _))) => Self::Descending(journal.reader_before(seq)),
            (Order::Descending, None) => Self::Descending(journal.reader_before_time(window.end)),
        }
    }

    fn next(&mut self) -> Result<Option<Frame<'_>>, journal::Error> {
        match self {
            Self::Ascending(reader) => reader.next(),
            Self::Descending(reader) => reader.next(),
        }
    }

    /// The records between which it has looked at all, when `last` is the last one that it met.
    fn stretch(&self, after: Option<u64>, last: Option<u64>) -> (u64, u64) {
        match self {
            Self::Ascending(_) => (after.unwrap_or(0), last.or(after).unwrap_or(0)),
            Self::Descending(reader) => (last.unwrap_or(0), after.unwrap_or(reader.bound())),
        }
    }
}

impl Gateway {
    /// Reads a page of events.
    pub async fn read_events(self: &Arc<Self>, query: Arc<EventsQuery>) -> Result<EventPage, Error> {
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
        let window = query.start_ms.unwrap_or(0)..end_ms;
        let after = query.after.map(|(seq, _)| seq);
        let mut walk = Walk::begin(&self.journal, query, &window);
        let (mut events, mut next, mut scanned) = (Vec::new(), None, 0_usize);
        // The last record that was met; none again at the journal's far end.
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
                && query.filter.takes(&settled)
            {
                if events.len() == query.limit {
                    // There is at least one more.
                    next = last;
                    break;
                }
                events.push(Event::new(frame.at_ms, &settled));
            }
            last = Some(frame.seq);
        }
        let (low, high) = walk.stretch(after, last);
        let mut missing = self.unreadable();
        missing.retain(|damage| {
            *damage.missing.start() > low && *damage.missing.end() < high && damage.to_ms >= window.start
        });
        Ok(EventPage { events, next: next.map(|seq| (seq, end_ms)), missing })
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
    use std::{fs, os::unix::fs::FileExt};

    use tempfile::TempDir;

    use super::*;
    use crate::{
        config::Config,
        domain::{testing::settled, time},
        service::{Booted, boot},
    };

    /// The random part of its key, which the test gave out in order.
    fn number(event: &Event) -> u128 {
        let event = serde_json::to_value(event).unwrap();
        ulid::Ulid::from_string(event["idempotencyKey"].as_str().unwrap()).unwrap().random()
    }

    fn stamp(event: &Event) -> u64 {
        let event = serde_json::to_value(event).unwrap();
        time::parse(event["timestamp"].as_str().unwrap()).unwrap()
    }

    /// Walks every page; gives the events' numbers and what the pages said to be missing, and how many pages they were.
    fn walk(
        gateway: &Gateway,
        mut query: EventsQuery,
        end_ms: u64,
        deadline: Instant,
    ) -> (Vec<u128>, Vec<Damage>, usize) {
        let (mut seen, mut missing, mut pages) = (Vec::new(), Vec::new(), 0);
        loop {
            let page = gateway.scan_events(&query, end_ms, deadline).unwrap();
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
    fn a_walk_whose_pages_run_out_of_time_meets_every_event_once() {
        const RECORDS: u128 = 10 * TURN_RECORDS as u128;
        let directory = tempfile::tempdir().unwrap();
        let booted = start(&directory);
        append(
            &booted.gateway.journal,
            (0..RECORDS).map(|event| Settled {
                key_random: event,
                api_key_prefix: if event % 6000 == 0 { "sk_rare" } else { "sk_often" },
                ..settled()
            }),
        );
        let rare = EventFilter { api_keys: vec!["sk_rare".to_owned()], ..EventFilter::default() };
        let mut expected = vec![0, 6000, 12_000, 18_000, 24_000, 30_000, 36_000];
        for order in [Order::Ascending, Order::Descending] {
            let (seen, _, pages) = walk(&booted.gateway, query(order, 2, &rare), u64::MAX, Instant::now());
            assert_eq!(seen, expected);
            assert!(pages > 9, "{pages} pages");
            expected.reverse();
        }
        booted.close();
    }

    #[test]
    fn the_newest_first_is_the_oldest_first_in_reverse() {
        const RECORDS: u128 = 9000;
        const KEYS: [&str; 3] = ["sk_a", "sk_b", "sk_c"];
        const METADATA: &str = r#"{"purpose": "to make records long enough for the journal to begin another segment"}"#;
        const SLUGS: [&str; 2] = ["acme/chat", "acme/embed"];
        let directory = tempfile::tempdir().unwrap();
        let booted = start(&directory);
        for batch in 0..RECORDS / 100 {
            append(
                &booted.gateway.journal,
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
        let segments = booted.gateway.journal.segments().unwrap();
        assert!(segments.len() >= 2, "{segments:?}");
        booted.close();
        // In the middle of the first one, some records are lost.
        let first = fs::OpenOptions::new().write(true).open(&segments[0].path).unwrap();
        first.write_all_at(&[0; 3000], segments[0].bytes / 2).unwrap();

        let booted = start(&directory);
        let gateway = &booted.gateway;
        let all = gateway.scan_events(&query(Order::Ascending, usize::MAX, &EventFilter::default()), u64::MAX, later());
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
                    walk(gateway, query, end_ms, later())
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
