//! What is missing from the journal, and which figures miss it.
//!
//! Totals (counters, rollups) miss a record that was already gone when the store came to it, and do so for good: that
//! is kept with them. Lists of events miss every record that cannot be read today.

use std::collections::BTreeMap;

use super::Gateway;
use crate::journal::Damage;

/// So many places are told in sentences; the status lists all.
const TOLD: usize = 5;

impl Gateway {
    /// Records that totals do not contain, in order.
    pub fn missing_from_totals(&self) -> Vec<Damage> {
        // A store that cannot be read is told of elsewhere.
        self.store.missing().unwrap_or_default()
    }

    /// Records that cannot be read, as far as anybody has tried, in order.
    pub fn unreadable(&self) -> Vec<Damage> {
        let known = self.missing_from_totals().into_iter().chain(self.journal.damage());
        let by_first: BTreeMap<u64, Damage> = known.map(|damage| (*damage.missing.start(), damage)).collect();
        by_first.into_values().collect()
    }

    /// The same in sentences for an operator.
    pub(super) fn damage_told(&self) -> Vec<String> {
        let not_in_totals = self.missing_from_totals();
        let unreadable = self.unreadable();
        let tell = |damage: &Damage| {
            let (first, last) = (damage.missing.start(), damage.missing.end());
            let records = if first == last { format!("record {first}") } else { format!("records {first} to {last}") };
            let place = match damage.file.as_os_str().is_empty() {
                true => String::new(),
                false => format!(" ({}, byte {})", damage.file.display(), damage.offset),
            };
            let counted = !not_in_totals.iter().any(|missing| missing.overlaps(damage));
            let totals = if counted { "Totals contain them" } else { "Totals of that time are incomplete" };
            format!("The journal is damaged: {records}{place} cannot be read. {totals}.")
        };
        let more = unreadable.len().saturating_sub(TOLD);
        let more = (more > 0).then(|| format!("The journal is damaged in {more} more places; the status lists them."));
        unreadable.iter().take(TOLD).map(tell).chain(more).collect()
    }
}
