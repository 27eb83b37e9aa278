//! The store's format number, and the steps from each older format to the next.
//!
//! A snapshot is written before the first step.

use super::{
    error::StoreError,
    handle::Store,
    table::{ENDPOINT_VERSION, Table, decode, encode_version},
    webhooks::EVENTS_VERSION,
};
use crate::{
    domain::{
        endpoint::Endpoint,
        record::v1::{DatedEventV1, EndpointV1},
        webhook::DatedEvent,
    },
    journal::Journal,
};

/// The format that this version writes.
pub(super) const FORMAT: u32 = 5;

type Step = fn(&Store, &Journal) -> Result<(), StoreError>;

/// The step to format `n + 2` is at index `n`.
const STEPS: [Step; FORMAT as usize - 1] = [fold_again, index_changes, renew_dead_events, renew_endpoints];

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
    renew(store, Table::DeadEvents, EVENTS_VERSION, |value| {
        let events: Vec<DatedEventV1<'_>> = decode(value)?;
        let events: Vec<DatedEvent<'_>> = events.into_iter().map(DatedEvent::from).collect();
        encode_version(EVENTS_VERSION, &events)
    })
}

/// Migrates to format 5, in which endpoints and their targets have more members.
fn renew_endpoints(store: &Store, _: &Journal) -> Result<(), StoreError> {
    renew(store, Table::Endpoints, ENDPOINT_VERSION, |value| {
        encode_version(ENDPOINT_VERSION, &Endpoint::from(decode::<EndpointV1>(value)?))
    })
}

/// Replaces the values of a table that are not of the given version yet. An interrupted migration has replaced some.
fn renew(
    store: &Store,
    table: Table,
    version: u8,
    renewed: impl Fn(&[u8]) -> Result<Vec<u8>, StoreError>,
) -> Result<(), StoreError> {
    let tables = store.tables()?;
    let table = tables.of(table);
    for entry in table.iter() {
        let (key, value) = entry?;
        if value.first() != Some(&version) {
            table.insert(key, renewed(&value)?)?;
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
            record::Row,
            testing::{ENDPOINT_V1, SETTLED_V1, endpoint_of_v1},
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

    #[test]
    fn endpoints_of_format_4_are_complete_even_if_the_migration_was_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&directory.path().join("journal"), Durability::Process).unwrap();
        let store = Store::open(directory.path(), &journal).unwrap();
        for left_over in 1..=2_u128 {
            let value = [b"\x01", ENDPOINT_V1].concat();
            store.tables().unwrap().of(Table::Endpoints).insert(left_over.to_be_bytes(), value).unwrap();
            store.set_meta("format", 4).unwrap();
            migrate(&store, &journal, 4).unwrap();
            let rows = store.rows().unwrap().rows;
            assert_eq!(rows.len() as u128, left_over);
            assert!(rows.iter().all(|row| matches!(row, Row::Endpoint(endpoint) if *endpoint == endpoint_of_v1())));
        }
        assert_eq!(store.meta("format").unwrap(), Some(u64::from(FORMAT)));
    }
}
