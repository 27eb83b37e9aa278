//! Usage reports: sums over billing events, grouped by the columns that an operator chooses.
//!
//! Whole hours come from the rollups, which outlive the events. The parts of hours at the ends of a window are read
//! from the journal. A window is closed before it is read (see `events`), and the rollups of its hours no longer change
//! once the store has applied the last record in it. So a report is exact to the event, even while requests are served.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::Arc,
};

use super::events::EventFilter;
use crate::{
    domain::{
        day::{HOUR_MS, Hour},
        id::GroupId,
        record::Record,
        rollup::{Rollup, Sums},
    },
    journal::{Damage, codec},
    service::{error::Error, storage::Storage},
    store::Grain,
};

/// The most rows of a report, which bounds its memory.
const MAX_ROWS: usize = 500_000;

/// The columns that a report is grouped by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Columns {
    /// The key's own group.
    pub group: bool,
    /// The slug as it was called.
    pub model: bool,
    /// The key.
    pub key: bool,
    /// The day in UTC.
    pub day: bool,
    /// The hour in UTC.
    pub hour: bool,
}

/// A query for a report.
#[derive(Debug, Clone)]
pub struct ReportQuery {
    /// The start of the window: Unix ms, inclusive.
    pub start_ms: u64,
    /// The end of the window: Unix ms, exclusive. Defaults to now.
    pub end_ms: Option<u64>,
    /// Its columns.
    pub by: Columns,
    /// The events to sum.
    pub filter: EventFilter,
    /// The most rows to return. They are the rows with the most tokens, in descending order.
    pub top: Option<usize>,
}

/// The values of a row's columns; `None` for columns that the report is not grouped by. Rows are sorted by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey {
    /// The hour, or the first hour of the day.
    pub hour: Option<Hour>,
    /// The key's own group.
    pub group: Option<GroupId>,
    /// The slug as it was called.
    pub model_slug: Option<String>,
    /// The key, by prefix.
    pub api_key_prefix: Option<String>,
}

/// A report.
pub struct Report {
    /// Its columns.
    pub by: Columns,
    /// The rows, in order.
    pub rows: Vec<(RowKey, Sums)>,
    /// The external entity ids of the groups in it.
    pub entities: HashMap<GroupId, String>,
    /// The records of the window that the sums do not include.
    pub missing: Vec<Damage>,
    /// Sentences about other data that the sums do not include.
    pub problems: Vec<String>,
}

/// The sums of a report while they are gathered.
struct Summary<'a> {
    query: &'a ReportQuery,
    rows: BTreeMap<RowKey, Sums>,
    entities: HashMap<GroupId, String>,
}

impl<'a> Summary<'a> {
    fn new(query: &'a ReportQuery) -> Self {
        Self { query, rows: BTreeMap::new(), entities: HashMap::new() }
    }

    fn is_too_large(&self) -> bool {
        self.rows.len() > MAX_ROWS
    }

    fn add(&mut self, row: Rollup) {
        if self.is_too_large() || !self.query.filter.matches_sums(&row) {
            return;
        }
        let Columns { group, model, key, day, hour } = self.query.by;
        let of_time = match (day, hour) {
            (_, true) => Some(row.hour),
            (true, false) => Some(row.hour.day().first_hour()),
            (false, false) => None,
        };
        if group {
            self.entities.entry(row.group).or_insert(row.external_entity_id);
        }
        let row_key = RowKey {
            hour: of_time,
            group: group.then_some(row.group),
            model_slug: model.then_some(row.model_slug),
            api_key_prefix: key.then_some(row.api_key_prefix),
        };
        self.rows.entry(row_key).or_default().add(&row.sums);
    }

    /// The requested rows.
    fn rows(self) -> (Vec<(RowKey, Sums)>, HashMap<GroupId, String>) {
        let mut rows = Vec::from_iter(self.rows);
        if let Some(top) = self.query.top {
            let size = |sums: &Sums| (sums.tokens.total(), sums.requests);
            // A stable sort keeps equal rows in order.
            rows.sort_by_key(|(_, sums)| Reverse(size(sums)));
            rows.truncate(top);
        }
        (rows, self.entities)
    }
}

impl Storage {
    /// Computes a report.
    pub async fn report(self: &Arc<Self>, query: ReportQuery) -> Result<Report, Error> {
        let window = self.close_window(query.end_ms).await?;
        self.folded(window.seq).await?;
        // The current hour is not over, but its rollups contain all of its events up to now.
        let is_open = query.end_ms.is_none_or(|end_ms| end_ms > window.end_ms);
        let end_ms =
            if is_open { Hour(Hour::from_unix_ms(window.end_ms).0 + 1).start_unix_ms() } else { window.end_ms };
        let (storage, window) = (self.clone(), query.start_ms..end_ms);
        let report = tokio::task::spawn_blocking(move || storage.sum_up(window, &query)).await;
        report.map_err(Error::internal)?
    }

    fn sum_up(&self, window: Range<u64>, query: &ReportQuery) -> Result<Report, Error> {
        let (mut summary, mut problems) = (Summary::new(query), Vec::new());
        let first = Hour(u32::try_from(window.start.div_ceil(HOUR_MS)).unwrap_or(u32::MAX));
        let last = Hour::from_unix_ms(window.end);
        // The parts read from the journal lack its unreadable records. The rollups may include those.
        let from_journal = if first <= last {
            let grain = if query.by.hour { Grain::Hour } else { Grain::Day };
            let read = self.store.rollups(Some(&self.core.journal), first..last, grain, |row| summary.add(row));
            problems = read.map_err(|error| Error::Unavailable(error.to_string()))?;
            let parts = [window.start..first.start_unix_ms(), last.start_unix_ms()..window.end];
            self.add_events(&mut summary, parts[0].clone(), "start_time")?;
            self.add_events(&mut summary, parts[1].clone(), "end_time")?;
            parts
        } else {
            self.add_events(&mut summary, window.clone(), "start_time")?;
            [window.clone(), 0..0]
        };
        if summary.is_too_large() {
            let message = format!(
                "group_by: the report would have more than {MAX_ROWS} rows; ask for a shorter time or fewer columns"
            );
            return Err(Error::invalid("report_too_large", message));
        }
        let touches = |damage: &Damage, part: &Range<u64>| {
            !part.is_empty() && damage.from_ms < part.end && part.start <= damage.to_ms
        };
        let mut missing = self.missing_from_totals();
        missing.retain(|damage| touches(damage, &window));
        for damage in self.core.journal.damage() {
            let is_listed = missing.iter().any(|listed| listed.overlaps(&damage));
            if !is_listed && from_journal.iter().any(|part| touches(&damage, part)) {
                missing.push(damage);
            }
        }
        missing.sort_by_key(|damage| *damage.missing.start());
        let (rows, entities) = summary.rows();
        Ok(Report { by: query.by, rows, entities, missing, problems })
    }

    /// Adds the events of a part of an hour. `bound` names the parameter that is not a whole hour.
    fn add_events(&self, summary: &mut Summary<'_>, window: Range<u64>, bound: &str) -> Result<(), Error> {
        if window.is_empty() {
            return Ok(());
        }
        let stats = self.core.journal.stats();
        if stats.first_seq > 1 && stats.first_at_ms.is_none_or(|first_at_ms| window.start < first_at_ms) {
            let message = format!("{bound}: must be a whole hour, since the events of that hour are no longer stored");
            return Err(Error::invalid("invalid_parameter", message));
        }
        let mut reader = self.core.journal.reader_from_time(window.start);
        while let Some(frame) = reader.next().map_err(Error::internal)?.filter(|frame| frame.at_ms < window.end) {
            if let Record::Settled(settled) = codec::decode(frame.body).map_err(Error::internal)? {
                summary.add(Rollup::of(frame.at_ms, &settled));
            }
        }
        Ok(())
    }
}
