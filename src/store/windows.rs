//! Sums of calendar windows: the use of each slug and the spending in each currency, by group.
//!
//! * Every living group that was billed has a row, whether or not it has a limit or a budget. So a limit that is set in
//!   the middle of a month is exact.
//! * The meta value `zone` names the time zone of the windows. While it is there, the rows include exactly the records
//!   up to `applied`, and the fold writes both in one transaction. It is removed before the rows are changed in any
//!   other way. Without it, the fold leaves the rows alone, and they are computed anew ([`renew`]) when the store has
//!   caught up.
//! * The rows of a deleted group are removed with it, and a later event makes no new ones.
//!
//! The rows are bounded by the living groups and the slugs and currencies that each of them has used.

use std::collections::{BTreeSet, HashMap, hash_map::Entry};

use serde::de::DeserializeOwned;

use super::{
    apply::Batch,
    error::StoreError,
    handle::Store,
    sum_rows::{Changes, Counting, GroupSums, spent_key, split_spent_key, split_used_key, used_key},
    table::{DAMAGED, Table, decode},
};
use crate::domain::{
    calendar::{Calendar, Period},
    id::{GroupId, SlugId},
    money::Currency,
    settled::Settled,
    sums::{Counted, Spent, Used},
};

mod before;
mod renew;
mod slug_names;

/// The use of a slug by a group.
pub type UsedRow = ((GroupId, SlugId), Used);

/// The spending of a group in a currency.
pub type SpentRow = ((GroupId, Currency), Spent);

impl Store {
    /// Uses the windows of `calendar`; without one, those of the zone that the rows were computed for, or UTC in an empty
    /// store. If the rows are not complete for it, nothing is counted before [`Self::renew_sums`].
    pub(super) fn use_calendar(&self, calendar: Option<&Calendar>) -> Result<(), StoreError> {
        let (zone, is_empty) = (self.zone()?, self.applied()? == 0);
        let of_zone = || Calendar::new(zone.as_deref()?).ok();
        let calendar = calendar.cloned().or_else(of_zone).or_else(|| is_empty.then(Calendar::default));
        let mut is_complete = match &calendar {
            Some(calendar) => zone.as_deref() == Some(calendar.name()) && self.fits(calendar)?,
            None => false,
        };
        match &calendar {
            Some(calendar) if is_empty => {
                self.set_zone(calendar)?;
                is_complete = true;
            }
            _ if !is_complete && zone.is_some() => self.forget_zone()?,
            _ => {}
        }
        *self.counting.write() = Counting { calendar, is_complete };
        Ok(())
    }

    /// The name of the time zone that the rows are complete for.
    pub(super) fn zone(&self) -> Result<Option<String>, StoreError> {
        let zone = self.tables()?.of(Table::Meta).get(ZONE)?;
        zone.map(|zone| String::from_utf8(zone.to_vec()).map_err(|_| DAMAGED)).transpose()
    }

    pub(super) fn set_zone(&self, calendar: &Calendar) -> Result<(), StoreError> {
        self.tables()?.of(Table::Meta).insert(ZONE, calendar.name())?;
        Ok(())
    }

    /// Notes durably that the rows are not complete.
    pub(super) fn forget_zone(&self) -> Result<(), StoreError> {
        self.counting.write().is_complete = false;
        self.tables()?.of(Table::Meta).remove(ZONE)?;
        self.flush()
    }

    /// The calendar of the windows.
    pub(super) fn calendar(&self) -> Option<Calendar> {
        self.counting.read().calendar.clone()
    }

    /// Whether every window in the rows begins where one of `calendar` does. It may not if this version knows other rules
    /// of the zone than the version that wrote them.
    fn fits(&self, calendar: &Calendar) -> Result<bool, StoreError> {
        let mut starts: [BTreeSet<u64>; 3] = Default::default();
        let used = self.used_by_groups()?.into_iter().map(|(_, row)| Period::ALL.map(|of| row.of(of).starts_ms()));
        let spent = self.spent_by_groups()?.into_iter().map(|(_, row)| Period::ALL.map(|of| row.of(of).starts_ms()));
        for row in used.chain(spent) {
            starts.iter_mut().zip(row).for_each(|(starts, row)| starts.extend(row));
        }
        let fits = |(period, start_ms): (Period, u64)| calendar.window(period, start_ms).start_ms == start_ms;
        let starts = Period::ALL.into_iter().zip(starts);
        // 0 stands for a window that was never counted in.
        let mut starts = starts.flat_map(|(period, starts)| starts.into_iter().map(move |start_ms| (period, start_ms)));
        Ok(starts.all(|start| start.1 == 0 || fits(start)))
    }

    /// Whether the rows are complete for the calendar.
    pub fn has_complete_sums(&self) -> bool {
        self.counting.read().is_complete
    }

    /// The start of a batch's changes.
    pub(super) fn begin_sums(&self) -> Changes {
        let counting = self.counting.read();
        let calendar = counting.calendar.clone().filter(|_| counting.is_complete);
        let at = calendar.map(|calendar| {
            let windows = calendar.windows(0);
            (calendar, windows)
        });
        Changes { at, groups: HashMap::new() }
    }

    /// Adds an event to the rows of its groups.
    pub(super) fn add_to_sums(&self, batch: &mut Batch, at_ms: u64, settled: &Settled<'_>) -> Result<(), StoreError> {
        let Some(windows) = batch.sums.windows(at_ms) else { return Ok(()) };
        let counted = Counted { requests: 1, tokens: settled.usage.total() };
        for group in &settled.counted_for {
            if !batch.sums.groups.contains_key(group) {
                let is_gone = self.exists_in(batch, Table::GoneGroups, &group.0.to_be_bytes())?;
                batch.sums.groups.insert(*group, (!is_gone).then(GroupSums::default));
            }
            let Some(Some(sums)) = batch.sums.groups.get_mut(group) else { continue };
            let used = match sums.used.entry(settled.slug) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(self.sum(Table::Used, &used_key(*group, settled.slug))?),
            };
            used.add(&windows, &counted);
            // A cost of 0 changes no sum, and would make a row.
            let Some(cost) = settled.cost.filter(|cost| cost.amount > 0) else { continue };
            let spent = match sums.spent.entry(cost.currency) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(self.sum(Table::Spent, &spent_key(*group, cost.currency))?),
            };
            spent.add(&windows, cost.amount);
        }
        Ok(())
    }

    fn sum<T: DeserializeOwned + Default>(&self, table: Table, key: &[u8]) -> Result<T, StoreError> {
        let stored = self.tables()?.of(table).get(key)?;
        Ok(stored.map(|value| decode(&value)).transpose()?.unwrap_or_default())
    }

    /// Removes the rows of a group that is deleted.
    pub(super) fn forget_sums(&self, batch: &mut Batch, group: GroupId) -> Result<(), StoreError> {
        batch.sums.groups.insert(group, None);
        for table in [Table::Used, Table::Spent] {
            for key in self.tables()?.of(table).scan_prefix(group.0.to_be_bytes()).keys() {
                batch.write(table, &key?, None);
            }
        }
        Ok(())
    }

    /// The use of a slug by a group.
    pub fn used_of(&self, group: GroupId, slug: SlugId) -> Result<Used, StoreError> {
        self.sum(Table::Used, &used_key(group, slug))
    }

    /// The spending of a group in a currency.
    pub fn spent_of(&self, group: GroupId, currency: Currency) -> Result<Spent, StoreError> {
        self.sum(Table::Spent, &spent_key(group, currency))
    }

    /// The slugs that a group has used.
    pub fn slugs_used_by(&self, group: GroupId) -> Result<Vec<SlugId>, StoreError> {
        let keys = self.tables()?.of(Table::Used).scan_prefix(group.0.to_be_bytes()).keys();
        keys.map(|key| Ok(split_used_key(&key?)?.1)).collect()
    }

    /// The use of each slug by each group. Empty if it must be computed anew.
    pub fn used_by_groups(&self) -> Result<Vec<UsedRow>, StoreError> {
        self.sums_by_groups(Table::Used, split_used_key)
    }

    /// The spending of each group in each currency. Empty if it must be computed anew.
    pub fn spent_by_groups(&self) -> Result<Vec<SpentRow>, StoreError> {
        self.sums_by_groups(Table::Spent, split_spent_key)
    }

    fn sums_by_groups<K, T: DeserializeOwned>(
        &self,
        table: Table,
        split_key: impl Fn(&[u8]) -> Result<K, StoreError>,
    ) -> Result<Vec<(K, T)>, StoreError> {
        if self.zone()?.is_none() {
            return Ok(Vec::new());
        }
        let read = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = entry?;
            Ok((split_key(&key)?, decode(&value)?))
        };
        self.tables()?.of(table).iter().map(read).collect()
    }
}

/// The name of the meta value.
const ZONE: &str = "zone";
