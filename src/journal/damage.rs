//! What is known to be missing from the journal.
//!
//! Sequence numbers are consecutive, so bytes that are no frame matter exactly if numbers are missing around them:
//! what a write that failed left behind is no damage, and a segment file that somebody removed is.

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
    /// The timestamp of the first record after them, Unix milliseconds; `u64::MAX` if it is not known. What is missing
    /// was stamped in between.
    pub to_ms: u64,
    /// The file with the unreadable bytes; if there are none, the one in which the records go on.
    pub file: PathBuf,
    /// Where in that file the unreadable bytes begin.
    pub offset: u64,
    /// How many they are.
    pub bytes: u64,
}

impl Damage {
    /// Records that are missing before the moment `to_ms`, nobody knows where they lay.
    pub fn somewhere(missing: RangeInclusive<u64>, to_ms: u64) -> Self {
        Self { missing, from_ms: 0, to_ms, file: PathBuf::new(), offset: 0, bytes: 0 }
    }

    /// Whether all that is missing in the other is missing here.
    pub fn covers(&self, other: &Self) -> bool {
        self.missing.start() <= other.missing.start() && other.missing.end() <= self.missing.end()
    }

    /// Whether some record is missing in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.missing.start() <= other.missing.end() && other.missing.start() <= self.missing.end()
    }
}

/// More places than this are counted into the last one.
const MAX_PLACES: usize = 1024;

/// All damage that anybody has come across, by its first missing number; no two overlap.
#[derive(Debug, Default)]
pub(super) struct DamageList(Mutex<BTreeMap<u64, Damage>>);

impl DamageList {
    /// Takes a place in; returns whether it was news.
    pub(super) fn note(&self, damage: Damage) -> bool {
        let mut places = self.0.lock();
        let (first, last) = (*damage.missing.start(), *damage.missing.end());
        // The entry that begins last before the end of this one is the only one that may cover it all.
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
    fn the_same_place_is_told_once_however_much_of_it_was_seen() {
        let list = DamageList::default();
        assert!(list.note(damage(15..=20)));
        assert!(list.note(damage(10..=20)), "more of the same place");
        assert!(!list.note(damage(12..=20)), "a reader that began within it");
        assert!(list.note(damage(30..=30)));
        assert_eq!(list.all().into_iter().map(|d| d.missing).collect::<Vec<_>>(), [10..=20, 30..=30]);
    }

    #[test]
    fn a_log_that_is_damaged_everywhere_takes_bounded_memory() {
        let list = DamageList::default();
        for seq in 0..5000 {
            list.note(damage(2 * seq..=2 * seq));
        }
        let all = list.all();
        assert_eq!((all.len(), *all[MAX_PLACES - 1].missing.end()), (MAX_PLACES, 9998));
    }
}
