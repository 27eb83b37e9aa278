//! Known damage: records that are missing from the journal.
//!
//! Sequence numbers are consecutive, so invalid bytes matter only if numbers around them are missing. The remains of a
//! failed write are therefore not damage, but a removed segment file is.

use std::{collections::BTreeMap, ops::RangeInclusive, path::PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Records that were in the journal and can no longer be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The missing sequence numbers.
    pub missing: RangeInclusive<u64>,
    /// The timestamp of the last record before them, Unix milliseconds; 0 if it is not known.
    pub from_ms: u64,
    /// The timestamp of the first record after them, Unix milliseconds; `u64::MAX` if it is not known. The missing
    /// records were stamped between `from_ms` and `to_ms`.
    pub to_ms: u64,
    /// The file with the unreadable bytes. If there are none, the file in which the records continue.
    pub file: PathBuf,
    /// The offset of the unreadable bytes in that file.
    pub offset: u64,
    /// The number of unreadable bytes.
    pub bytes: u64,
}

impl Damage {
    /// Records from before `to_ms` that are missing from an unknown file.
    pub fn somewhere(missing: RangeInclusive<u64>, to_ms: u64) -> Self {
        Self { missing, from_ms: 0, to_ms, file: PathBuf::new(), offset: 0, bytes: 0 }
    }

    /// Whether all records missing in `other` are missing here too.
    pub fn covers(&self, other: &Self) -> bool {
        self.missing.start() <= other.missing.start() && other.missing.end() <= self.missing.end()
    }

    /// Whether some record is missing in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.missing.start() <= other.missing.end() && other.missing.start() <= self.missing.end()
    }
}

/// The most entries. Any further damage is merged into the last one.
const MAX_PLACES: usize = 1024;

/// All damage found so far, by first missing number. No two entries overlap.
#[derive(Debug, Default)]
pub(super) struct DamageList(Mutex<BTreeMap<u64, Damage>>);

impl DamageList {
    /// Adds damage. Returns whether it is new.
    pub(super) fn note(&self, damage: Damage) -> bool {
        let mut places = self.0.lock();
        let (first, last) = (*damage.missing.start(), *damage.missing.end());
        // Only the last entry that starts before the end of this one can cover all of it.
        if let Some((_, known)) = places.range_mut(..=last).next_back()
            && *known.missing.start() <= first
            && last <= *known.missing.end()
        {
            known.from_ms = known.from_ms.max(damage.from_ms);
            return false;
        }
        places.retain(|_, known| *known.missing.end() < first || last < *known.missing.start());
        if places.len() >= MAX_PLACES
            && let Some(mut widest) = places.last_entry()
        {
            let widest = widest.get_mut();
            let (start, end) = (*widest.missing.start().min(&first), *widest.missing.end().max(&last));
            widest.missing = start..=end;
            widest.from_ms = widest.from_ms.min(damage.from_ms);
            widest.to_ms = widest.to_ms.max(damage.to_ms);
        } else {
            places.insert(first, damage);
        }
        true
    }

    /// In order of sequence numbers.
    pub(super) fn all(&self) -> Vec<Damage> {
        self.0.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damage(missing: RangeInclusive<u64>) -> Damage {
        Damage { missing, from_ms: 0, to_ms: 9, file: PathBuf::new(), offset: 0, bytes: 1 }
    }

    #[test]
    fn the_same_damage_is_reported_once() {
        let list = DamageList::default();
        assert!(list.note(damage(15..=20)));
        assert!(list.note(damage(10..=20)), "more of the same damage");
        assert!(!list.note(damage(12..=20)), "a reader that started inside it");
        assert!(list.note(damage(30..=30)));
        assert_eq!(list.all().into_iter().map(|d| d.missing).collect::<Vec<_>>(), [10..=20, 30..=30]);
    }

    #[test]
    fn damage_everywhere_takes_bounded_memory() {
        let list = DamageList::default();
        for seq in 0..5000 {
            list.note(damage(2 * seq..=2 * seq));
        }
        let all = list.all();
        assert_eq!((all.len(), *all[MAX_PLACES - 1].missing.end()), (MAX_PLACES, 9998));
    }
}
