//! Computes the sums of calendar windows anew, after another time zone was configured or in a store of a format without
//! them.
//!
//! They are made from the rollups, which are kept for ever. A window may begin in the middle of an hour. The events of
//! that hour after the beginning are then read from the journal: they count to the window that begins, and the rest of
//! the hour's rollups to the one that ends. If they are gone from the journal, the whole hour counts to the window that
//! begins, which is reported if that window still matters.
//!
//! A total does not depend on the zone. It is never made smaller, so it stays right if a rollup file cannot be read.
//!
//! Everything is computed before anything is written. A crash in between leaves the store without a zone, and the next
//! start computes everything again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    iter,
    ops::Range,
};

use super::slug_names::SlugNames;
use crate::{
    domain::{
        calendar::{Calendar, CalendarWindows, Period},
        day::{Day, Hour},
        group::{Enforcement, Group, MAX_LEVELS},
        id::{GroupId, SlugId},
        money::Currency,
        record::Record,
        rollup::{Rollup, Sums},
        sums::{Counted, Spent},
        time::rfc3339,
    },
    journal::{Journal, codec},
    store::{
        error::StoreError,
        fold::FoldError,
        handle::Store,
        rollups::file::Grain,
        sum_rows::{Changes, GroupSums, split_spent_key},
        table::{GROUP_VERSION, Table, decode},
    },
};

/// Rows that are written in one batch.
const WRITE_BATCH: usize = 10_000;

impl Store {
    /// Computes the rows anew if they are not complete for the calendar. All records in the files of days must be folded.
    pub(in crate::store) fn renew_sums(&self, journal: &Journal) -> Result<Renewed, FoldError> {
        let Some(calendar) = self.calendar().filter(|_| !self.has_complete_sums()) else {
            return Ok(Renewed::default());
        };
        tracing::info!(zone = calendar.name(), "computing the sums of days, weeks and months");
        let mut renewal = Renewal::new(self, journal, calendar)?;
        for day in self.rollup_days()? {
            renewal.add_day(day)?;
        }
        renewal.write()?;
        self.flush()?;
        #[cfg(test)]
        crate::crash::point("sums written, zone not set");
        self.set_zone(&renewal.calendar)?;
        self.flush()?;
        self.counting.write().is_complete = true;
        let is_exact = renewal.problems.is_empty() && renewal.undivided.is_empty();
        Ok(Renewed { findings: renewal.findings(), is_inexact: !is_exact })
    }
}

/// How rows were computed.
#[derive(Default)]
pub(in crate::store) struct Renewed {
    /// Problems that matter to limits and budgets, in sentences for an operator.
    pub(in crate::store) findings: Vec<String>,
    /// Whether any row may differ from the sums of its events.
    pub(in crate::store) is_inexact: bool,
}

/// Rows that are being computed.
pub(super) struct Renewal<'a> {
    store: &'a Store,
    journal: &'a Journal,
    pub(super) calendar: Calendar,
    /// The last record that the store includes.
    applied: u64,
    known: HashMap<GroupId, Known>,
    names: SlugNames,
    pub(super) rows: HashMap<GroupId, GroupSums>,
    pub(super) problems: Vec<String>,
    /// The beginnings of windows in hours that count to them as a whole.
    undivided: BTreeSet<u64>,
}

/// A group of the catalog, or a deleted one.
struct Known {
    parent: Option<GroupId>,
    is_gone: bool,
}

/// Sums by the groups whose keys were used.
#[derive(Default)]
pub(super) struct OwnGroups(HashMap<GroupId, OwnSums>);

#[derive(Default)]
struct OwnSums {
    used: HashMap<SlugId, Counted>,
    spent: HashMap<Currency, u128>,
}

impl OwnGroups {
    fn add(&mut self, group: GroupId, slug: Option<SlugId>, sums: &Sums) {
        let own = self.0.entry(group).or_default();
        if let Some(slug) = slug {
            let used = own.used.entry(slug).or_default();
            used.requests = used.requests.saturating_add(sums.requests);
            used.tokens = used.tokens.saturating_add(sums.tokens.total());
        }
        for cost in &sums.costs {
            let spent = own.spent.entry(cost.currency).or_default();
            *spent = spent.saturating_add(cost.amount);
        }
    }

    /// Takes away a part.
    fn subtract(&mut self, part: &Self) {
        for (group, part) in &part.0 {
            let Some(own) = self.0.get_mut(group) else { continue };
            for (slug, part) in &part.used {
                if let Some(used) = own.used.get_mut(slug) {
                    used.requests = used.requests.saturating_sub(part.requests);
                    used.tokens = used.tokens.saturating_sub(part.tokens);
                }
            }
            for (currency, part) in &part.spent {
                if let Some(spent) = own.spent.get_mut(currency) {
                    *spent = spent.saturating_sub(*part);
                }
            }
        }
    }
}

impl<'a> Renewal<'a> {
    pub(super) fn new(store: &'a Store, journal: &'a Journal, calendar: Calendar) -> Result<Self, StoreError> {
        let mut known = HashMap::new();
        for (table, is_gone) in [(Table::GoneGroups, true), (Table::Groups, false)] {
            for group in store.values::<Group>(table, GROUP_VERSION)? {
                let parent = group.parent.filter(|_| group.enforcement == Enforcement::Cascading);
                known.insert(group.id, Known { parent, is_gone });
            }
        }
        Ok(Self {
            store,
            journal,
            calendar,
            applied: store.applied()?,
            known,
            names: store.slug_names(journal)?,
            rows: HashMap::new(),
            problems: Vec::new(),
            undivided: BTreeSet::new(),
        })
    }

    /// Adds the rollups of a day, UTC.
    pub(super) fn add_day(&mut self, day: Day) -> Result<(), FoldError> {
        let windows = self.calendar.windows(day.start_unix_ms());
        if windows.day.end_ms >= day.end_unix_ms() {
            let mut sums = OwnGroups::default();
            self.read(day.hours(), Grain::Day, |row, slug| sums.add(row.group, slug, &row.sums))?;
            self.count(&sums, &windows);
            return Ok(());
        }
        self.add_hours(day.hours())
    }

    /// Adds the rollups of hours of one day, UTC.
    pub(super) fn add_hours(&mut self, hours: Range<Hour>) -> Result<(), FoldError> {
        let mut sums: BTreeMap<Hour, OwnGroups> = BTreeMap::new();
        self.read(hours, Grain::Hour, |row, slug| sums.entry(row.hour).or_default().add(row.group, slug, &row.sums))?;
        sums.into_iter().try_for_each(|(hour, sums)| self.add_hour(hour, sums))
    }

    fn add_hour(&mut self, hour: Hour, mut sums: OwnGroups) -> Result<(), FoldError> {
        let windows = self.calendar.windows(hour.start_unix_ms());
        let (begin_ms, end_ms) = (windows.day.end_ms, hour.end_unix_ms());
        if begin_ms >= end_ms {
            self.count(&sums, &windows);
            return Ok(());
        }
        let next = self.calendar.windows(begin_ms);
        match self.events(begin_ms..end_ms)? {
            Some(later) => {
                sums.subtract(&later);
                self.count(&sums, &windows);
                self.count(&later, &next);
            }
            None => {
                self.undivided.insert(begin_ms);
                self.count(&sums, &next);
            }
        }
        Ok(())
    }

    /// Calls `each` with the rollups of hours of one day and the ids of their slugs.
    fn read(
        &mut self,
        hours: Range<Hour>,
        grain: Grain,
        mut each: impl FnMut(&Rollup, Option<SlugId>),
    ) -> Result<(), FoldError> {
        let read = self.store.rollups(Some(self.journal), hours.clone(), grain, |row| {
            let end_ms = if grain == Grain::Day { hours.end.start_unix_ms() } else { row.hour.end_unix_ms() };
            each(&row, row.slug.or_else(|| self.names.id_before(&row.model_slug, end_ms)));
        });
        self.problems.extend(read?);
        Ok(())
    }

    /// The sums of the events at a time (ms of Unix time), which is less than an hour; `None` if the journal no longer
    /// has all of them.
    pub(super) fn events(&self, at_ms: Range<u64>) -> Result<Option<OwnGroups>, FoldError> {
        let kept = self.journal.stats();
        if kept.first_seq > 1 && kept.first_at_ms.is_none_or(|first_ms| first_ms >= at_ms.start) {
            return Ok(None);
        }
        let (mut sums, mut reader) = (OwnGroups::default(), self.journal.reader_from_time(at_ms.start));
        while let Some(frame) = reader.next().map_err(|error| FoldError::Journal(error.to_string()))? {
            if frame.at_ms >= at_ms.end || frame.seq > self.applied {
                break;
            }
            let record = codec::decode(frame.body)
                .map_err(|error| FoldError::Journal(format!("record {} cannot be decoded: {error}", frame.seq)))?;
            if let Record::Settled(settled) = record {
                sums.add(settled.group(), Some(settled.slug), &Sums::of(settled.usage, settled.cost));
            }
        }
        Ok(Some(sums))
    }

    /// Adds sums to the windows of each group that they count for.
    pub(super) fn count(&mut self, sums: &OwnGroups, windows: &CalendarWindows) {
        for (group, own) in &sums.0 {
            for group in path(&self.known, *group) {
                let rows = self.rows.entry(group).or_default();
                for (slug, counted) in own.used.iter().filter(|(_, counted)| counted.requests > 0) {
                    rows.used.entry(*slug).or_default().add(windows, counted);
                }
                for (currency, amount) in own.spent.iter().filter(|(_, amount)| **amount > 0) {
                    rows.spent.entry(*currency).or_default().add(windows, *amount);
                }
            }
        }
    }

    /// Writes all rows, and removes those that are not among them.
    fn write(&mut self) -> Result<(), StoreError> {
        for entry in self.store.tables()?.of(Table::Spent).iter() {
            let (key, value) = entry?;
            let (group, currency) = split_spent_key(&key)?;
            let total = decode::<Spent>(&value)?.total;
            if !self.known.get(&group).is_some_and(|known| known.is_gone) {
                let spent = self.rows.entry(group).or_default().spent.entry(currency).or_default();
                spent.total = spent.total.max(total);
            }
        }
        let changes =
            Changes { at: None, groups: self.rows.drain().map(|(group, sums)| (group, Some(sums))).collect() };
        let writes = changes.into_writes()?;
        let tables = self.store.tables()?;
        for table in [Table::Used, Table::Spent] {
            #[cfg(test)]
            if table == Table::Spent {
                crate::crash::point("sums partly written");
            }
            let of_table = writes.iter().filter(|(of, ..)| *of == table);
            let mut stale: HashSet<sled::IVec> = tables.of(table).iter().keys().collect::<Result<_, _>>()?;
            let mut batch = sled::Batch::default();
            for (number, (_, key, value)) in (1..).zip(of_table) {
                stale.remove(key.as_slice());
                if let Some(value) = value {
                    batch.insert(key.as_slice(), value.as_slice());
                }
                if number % WRITE_BATCH == 0 {
                    tables.of(table).apply_batch(std::mem::take(&mut batch))?;
                }
            }
            stale.into_iter().for_each(|key| batch.remove(key));
            tables.of(table).apply_batch(batch)?;
        }
        Ok(())
    }

    /// Problems in sentences for an operator.
    fn findings(&self) -> Vec<String> {
        let lack = |problem: &String| format!("{problem} The sums that limits and budgets need lack them.");
        let mut findings: Vec<String> = self.problems.iter().map(lack).collect();
        let matters = self.beginnings_that_matter();
        let undivided: Vec<String> = self.undivided.intersection(&matters).map(|begin_ms| rfc3339(*begin_ms)).collect();
        if !undivided.is_empty() {
            findings.push(format!(
                "The sums of days, weeks and months were computed for the time zone {}. Some of these begin in the middle \
                 of an hour whose events are gone from the journal, so they include what was used in the whole hour: \
                 those that begin at {}.",
                self.calendar.name(),
                undivided.join(", ")
            ));
        }
        findings
    }

    /// The beginnings of the current day, week and month, and of the ones before them. Limits and budgets need no
    /// others.
    fn beginnings_that_matter(&self) -> BTreeSet<u64> {
        let of_period = |period| {
            let current = self.calendar.window(period, self.journal.last_ms().max(self.journal.now_ms())).start_ms;
            [current, self.calendar.window(period, current.saturating_sub(1)).start_ms]
        };
        Period::ALL.into_iter().flat_map(of_period).collect()
    }
}

/// The groups in which the requests of a group count, without deleted ones.
fn path(known: &HashMap<GroupId, Known>, group: GroupId) -> impl Iterator<Item = GroupId> {
    let lineage = iter::successors(Some(group), |group| known.get(group)?.parent).take(MAX_LEVELS);
    lineage.filter(|group| known.get(group).is_none_or(|known| !known.is_gone))
}
