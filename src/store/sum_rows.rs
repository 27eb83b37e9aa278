//! The rows of sums of calendar windows while a batch changes them, and their keys. [`super::windows`] fills them.

use std::collections::HashMap;

use super::{
    error::StoreError,
    table::{DAMAGED, Table, Write, encode},
};
use crate::domain::{
    calendar::{Calendar, CalendarWindows},
    id::{GroupId, SlugId},
    money::Currency,
    sums::{Spent, Used},
};

/// The calendar that a store counts by.
#[derive(Default)]
pub(super) struct Counting {
    /// `None` if the store was opened without one and has no zone.
    pub(super) calendar: Option<Calendar>,
    /// Whether the rows are complete for it.
    pub(super) is_complete: bool,
}

/// The rows of one group.
#[derive(Default)]
pub(super) struct GroupSums {
    pub(super) used: HashMap<SlugId, Used>,
    pub(super) spent: HashMap<Currency, Spent>,
}

/// The rows that a batch changes.
#[derive(Default)]
pub(super) struct Changes {
    /// The calendar, and the windows of the last event; `None` if nothing is counted.
    pub(super) at: Option<(Calendar, CalendarWindows)>,
    /// `None` is a deleted group.
    pub(super) groups: HashMap<GroupId, Option<GroupSums>>,
}

impl Changes {
    /// The windows that a moment lies in; `None` if nothing is counted. A week or month never ends within a day.
    pub(super) fn windows(&mut self, at_ms: u64) -> Option<CalendarWindows> {
        let (calendar, windows) = self.at.as_mut()?;
        if !windows.day.contains(at_ms) {
            *windows = calendar.windows(at_ms);
        }
        Some(*windows)
    }

    /// The rows after the batch.
    pub(super) fn into_writes(self) -> Result<Vec<Write>, StoreError> {
        let mut writes = Vec::new();
        for (group, sums) in self.groups {
            let Some(GroupSums { used, spent }) = sums else { continue };
            for (slug, used) in used {
                writes.push((Table::Used, used_key(group, slug), Some(encode(&used)?)));
            }
            for (currency, spent) in spent {
                writes.push((Table::Spent, spent_key(group, currency), Some(encode(&spent)?)));
            }
        }
        Ok(writes)
    }
}

pub(super) fn used_key(group: GroupId, slug: SlugId) -> Vec<u8> {
    [&group.0.to_be_bytes()[..], &slug.0.to_be_bytes()].concat()
}

pub(super) fn spent_key(group: GroupId, currency: Currency) -> Vec<u8> {
    [&group.0.to_be_bytes()[..], currency.to_string().as_bytes()].concat()
}

pub(super) fn split_used_key(key: &[u8]) -> Result<(GroupId, SlugId), StoreError> {
    let (group, slug) = key.split_first_chunk::<16>().ok_or(DAMAGED)?;
    let slug = slug.try_into().map_err(|_| DAMAGED)?;
    Ok((GroupId(u128::from_be_bytes(*group)), SlugId(u64::from_be_bytes(slug))))
}

pub(super) fn split_spent_key(key: &[u8]) -> Result<(GroupId, Currency), StoreError> {
    let (group, currency) = key.split_first_chunk::<16>().ok_or(DAMAGED)?;
    let currency = std::str::from_utf8(currency).ok().and_then(Currency::parse).ok_or(DAMAGED)?;
    Ok((GroupId(u128::from_be_bytes(*group)), currency))
}
