//! The records that are missing from the journal, and the figures that lack them.
//!
//! Totals (counters, rollups) permanently lack a record that was already damaged when the store reached it; the store
//! keeps the list of those records. Lists of events lack every record that cannot be read now.

use std::collections::BTreeMap;

use crate::{journal::Damage, service::gateway::Gateway};

/// The most places that get a sentence each; the status lists all of them.
const DESCRIBED: usize = 5;

impl Gateway {
    /// The records that totals do not include, in order.
    pub fn missing_from_totals(&self) -> Vec<Damage> {
        // A store that cannot be read is reported elsewhere.
        self.store.missing().unwrap_or_default()
    }

    /// The records that are known to be unreadable, in order.
    pub fn unreadable(&self) -> Vec<Damage> {
        let known = self.missing_from_totals().into_iter().chain(self.journal.damage());
        let by_first: BTreeMap<u64, Damage> = known.map(|damage| (*damage.missing.start(), damage)).collect();
        by_first.into_values().collect()
    }

    /// Sentences for the operator about the unreadable records.
    pub(in crate::service) fn damage_notices(&self) -> Vec<String> {
        let not_in_totals = self.missing_from_totals();
        let unreadable = self.unreadable();
        let describe = |damage: &Damage| {
            let (first, last) = (damage.missing.start(), damage.missing.end());
            let records = if first == last { format!("record {first}") } else { format!("records {first} to {last}") };
            let place = match damage.file.as_os_str().is_empty() {
                true => String::new(),
                false => format!(" ({}, byte {})", damage.file.display(), damage.offset),
            };
            let counted = !not_in_totals.iter().any(|missing| missing.overlaps(damage));
            let totals = if counted { "Totals include them" } else { "Totals of that time are incomplete" };
            format!("The journal is damaged: {records}{place} cannot be read. {totals}.")
        };
        let more = unreadable.len().saturating_sub(DESCRIBED);
        let more = (more > 0).then(|| format!("The journal is damaged in {more} more places; the status lists them."));
        unreadable.iter().take(DESCRIBED).map(describe).chain(more).collect()
    }
}
