//! The store's format has a number from its first day; here are the steps from each older one to the next.
//!
//! A snapshot of what was there precedes the first step.

use super::{Store, StoreError};
use crate::journal::Journal;

/// The format that this version writes.
pub(super) const FORMAT: u32 = 3;

type Step = fn(&Store, &Journal) -> Result<(), StoreError>;

/// The step to format `n + 2` stands at place `n`.
const STEPS: [Step; FORMAT as usize - 1] = [fold_anew, index_changes];

/// Brings a store of the format `found` to [`FORMAT`].
pub(super) fn migrate(store: &Store, journal: &Journal, found: u32) -> Result<(), StoreError> {
    let done = match found {
        0 => return Err(StoreError::Damaged("its format has no number")),
        found if found > FORMAT => return Err(StoreError::Newer { found }),
        found => found as usize - 1,
    };
    let snapshot = store.write_snapshot()?;
    tracing::info!(found, to = FORMAT, snapshot = %snapshot.path.display(), "the store is brought to a newer format");
    for (step, to) in STEPS.iter().zip(2..).skip(done) {
        step(store, journal)?;
        store.set_meta("format", to)?;
        store.flush()?;
    }
    Ok(())
}

/// To 2, which has rollups: only the journal knows the events that they are made of, and it is whole, since nothing of
/// it was removed before.
fn fold_anew(store: &Store, _: &Journal) -> Result<(), StoreError> {
    store.set_meta("applied", 0)?;
    for (_, tree) in store.tables()?.by_name().filter(|(name, _)| *name != "meta" && *name != "operators_used") {
        tree.clear()?;
    }
    Ok(())
}

/// To 3, which has webhooks, of which there are none yet, and an index of changes, which are in the journal.
fn index_changes(store: &Store, journal: &Journal) -> Result<(), StoreError> {
    store.index_changes(journal)
}
