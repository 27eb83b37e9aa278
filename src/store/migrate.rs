//! The store's format number, and the steps from each older format to the next.
//!
//! A snapshot is written before the first step.

use super::{
    error::StoreError,
    handle::Store,
    table::{Table, decode, encode_version},
    webhooks::EVENTS_VERSION,
};
use crate::{
    domain::{record::v1::DatedEventV1, webhook::DatedEvent},
    journal::Journal,
};

/// The format that this version writes.
pub(super) const FORMAT: u32 = 4;

type Step = fn(&Store, &Journal) -> Result<(), StoreError>;

/// The step to format `n + 2` is at index `n`.
const STEPS: [Step; FORMAT as usize - 1] = [fold_again, index_changes, renew_dead_events];

/// Brings a store of the format `found` to [`FORMAT`].
pub(super) fn migrate(store: &Store, journal: &Journal, found: u32) -> Result<(), StoreError> {
    let done = match found {
        0 => return Err(StoreError::Damaged("it has no format number")),
        found if found > FORMAT => return Err(StoreError::Newer { found, known: FORMAT }),
        found => found as usize - 1,
    };
    let snapshot = store.write_snapshot()?;
    tracing::info!(found, to = FORMAT, snapshot = %snapshot.path.display(), "migrating the store to a newer format");
    for (step, to) in STEPS.iter().zip(2..).skip(done) {
        step(store, journal)?;
        store.set_meta("format", to)?;
        store.flush()?;
    }
    Ok(())
}

/// Migrates to format 2, which has rollups. They can only be made from the journal's events, so everything is folded
/// again. The journal is complete, because retention did not exist before this format.
fn fold_again(store: &Store, _: &Journal) -> Result<(), StoreError> {
    store.set_meta("applied", 0)?;
    for (_, tree) in store.tables()?.by_name().filter(|(name, _)| *name != "meta" && *name != "operators_used") {
        tree.clear()?;
    }
    Ok(())
}

/// Migrates to format 3, which has webhooks (there are none yet) and an index of the changes in the journal.
fn index_changes(store: &Store, journal: &Journal) -> Result<(), StoreError> {
    store.index_changes(journal)
}

/// Migrates to format 4, in which the events of dead letters have more members.
fn renew_dead_events(store: &Store, _: &Journal) -> Result<(), StoreError> {
    let tables = store.tables()?;
    let table = tables.of(Table::DeadEvents);
    for entry in table.iter() {
        let (key, value) = entry?;
        // An interrupted migration has renewed some rows.
        if value.first() != Some(&EVENTS_VERSION) {
            let events: Vec<DatedEventV1<'_>> = decode(&value)?;
            let events: Vec<DatedEvent<'_>> = events.into_iter().map(DatedEvent::from).collect();
            table.insert(key, encode_version(EVENTS_VERSION, &events)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            id::{DeadLetterId, WebhookId},
            testing::SETTLED_V1,
        },
        journal::Durability,
    };

    #[test]
    fn dead_letters_of_format_3_keep_their_events_even_if_the_migration_was_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&directory.path().join("journal"), Durability::Process).unwrap();
        let store = Store::open(directory.path(), &journal).unwrap();
        // The version of the row, the number of events, and the time of the first one.
        let row = [&b"\x01\x01\x09"[..], SETTLED_V1].concat();
        let earlier = |letter: u128| {
            let key = [1_u128.to_be_bytes(), letter.to_be_bytes()].concat();
            store.tables().unwrap().of(Table::DeadEvents).insert(key, row.clone()).unwrap();
        };
        for left_over in [5, 6] {
            earlier(left_over);
            migrate(&store, &journal, 3).unwrap();
            for letter in 5..=left_over {
                let events = store.dead_events(WebhookId(1), DeadLetterId(letter)).unwrap().unwrap();
                let [DatedEvent { at_ms: 9, settled }] = &events.read().unwrap()[..] else { panic!("one event") };
                assert_eq!((settled.model_slug, settled.usage.input, settled.target), ("acme/chat", 1000, None));
            }
        }
        assert_eq!(store.meta("format").unwrap(), Some(u64::from(FORMAT)));
    }
}
