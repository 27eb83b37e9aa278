//! The store's format number, and the steps from each older format to the next.
//!
//! A snapshot is written before the first step.

use super::{
    error::StoreError,
    handle::Store,
    rollups::rows::key_with_id,
    table::{
        COUNTERS, ENDPOINT_VERSION, GROUP_VERSION, ROLLUPS, Table, WEBHOOK_VERSION, decode, decode_version,
        encode_version,
    },
    webhooks::EVENTS_VERSION,
};
use crate::{
    domain::{
        endpoint::Endpoint,
        group::Group,
        record::{
            v1::{DatedEventV1, EndpointV1, GroupV1, WebhookV1},
            v2::EndpointV2,
        },
        webhook::{DatedEvent, Webhook},
    },
    journal::Journal,
};

/// The format that this version writes.
pub(super) const FORMAT: u32 = 7;

type Step = fn(&Store, &Journal) -> Result<(), StoreError>;

/// The step to format `n + 2` is at index `n`.
const STEPS: [Step; FORMAT as usize - 1] =
    [fold_again, index_changes, renew_dead_events, renew_endpoints, renew_endpoints, to_format_7];

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

/// Migrates to format 5, in which endpoints and their targets have more members, and to format 6, in which their pricing
/// has more.
fn renew_endpoints(store: &Store, _: &Journal) -> Result<(), StoreError> {
    renew(store, Table::Endpoints, ENDPOINT_VERSION, |value| {
        let endpoint = match value.first() {
            Some(2) => Endpoint::from(decode_version::<EndpointV2>(2, value)?),
            _ => Endpoint::from(decode::<EndpointV1>(value)?),
        };
        encode_version(ENDPOINT_VERSION, &endpoint)
    })
}

/// Migrates to format 7.
fn to_format_7(store: &Store, journal: &Journal) -> Result<(), StoreError> {
    renew_groups_and_webhooks(store)?;
    add_slug_ids(store, journal)
}

/// Gives groups budgets and webhooks types.
fn renew_groups_and_webhooks(store: &Store) -> Result<(), StoreError> {
    for table in [Table::Groups, Table::GoneGroups] {
        renew(store, table, GROUP_VERSION, |value| {
            encode_version(GROUP_VERSION, &Group::from(decode::<GroupV1>(value)?))
        })?;
    }
    renew(store, Table::Webhooks, WEBHOOK_VERSION, |value| {
        encode_version(WEBHOOK_VERSION, &Webhook::from(decode::<WebhookV1>(value)?))
    })
}

/// Gives the hours of open days the ids of their slugs, and drops the counters of days. A store without a zone computes
/// the sums of calendar windows, which replace them, when it has caught up.
fn add_slug_ids(store: &Store, journal: &Journal) -> Result<(), StoreError> {
    let (tables, names) = (store.tables()?, store.slug_names(journal)?);
    let earlier = tables.of_earlier_formats()?;
    if let Some((_, hours)) = earlier.iter().find(|(name, _)| *name == ROLLUPS) {
        // An interrupted migration has moved some of them.
        tables.of(Table::Rollups).clear()?;
        for entry in hours.iter() {
            let (key, value) = entry?;
            let key = key_with_id(&key, |name, hour| names.id_before(name, hour.end_unix_ms()))?;
            tables.of(Table::Rollups).insert(key, value)?;
        }
        store.flush()?;
        tables.db.drop_tree(ROLLUPS)?;
    }
    tables.db.drop_tree(COUNTERS)?;
    Ok(())
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
            testing::{
                ENDPOINT_V1, ENDPOINT_V2, GROUP_V1, SETTLED_V1, WEBHOOK_V1, endpoint_of_v1, endpoint_of_v2,
                group_of_v1, webhook_of_v1,
            },
            webhook::Contents,
        },
        journal::Durability,
    };

    #[test]
    fn dead_letters_of_format_3_keep_their_events_even_if_the_migration_was_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&directory.path().join("journal"), Durability::Process).unwrap();
        let store = Store::open(directory.path(), &journal, None).unwrap();
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
                let contents = store.dead_contents(WebhookId(1), DeadLetterId(letter)).unwrap().unwrap();
                let Contents::Events(events) = contents.read().unwrap() else { panic!("events") };
                let [DatedEvent { at_ms: 9, settled }] = &events[..] else { panic!("one event") };
                assert_eq!((settled.model_slug, settled.usage.input, settled.target), ("acme/chat", 1000, None));
            }
        }
        assert_eq!(store.meta("format").unwrap(), Some(u64::from(FORMAT)));
    }

    #[test]
    fn endpoints_of_earlier_formats_are_complete_even_if_the_migration_was_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&directory.path().join("journal"), Durability::Process).unwrap();
        let store = Store::open(directory.path(), &journal, None).unwrap();
        let v1 = (4, [b"\x01", ENDPOINT_V1].concat(), endpoint_of_v1());
        let v2 = (5, [b"\x02", ENDPOINT_V2].concat(), endpoint_of_v2());
        // The previous version may have renewed an endpoint before it was interrupted.
        let half_renewed = (4, v2.1.clone(), v2.2.clone());
        let mut expected = Vec::new();
        for (id, (format, value, endpoint)) in (0_u128..).zip([v1.clone(), v1, half_renewed, v2.clone(), v2]) {
            store.tables().unwrap().of(Table::Endpoints).insert(id.to_be_bytes(), value).unwrap();
            store.set_meta("format", u64::from(format)).unwrap();
            migrate(&store, &journal, format).unwrap();
            expected.push(Row::Endpoint(endpoint));
            assert_eq!(format!("{:?}", store.rows().unwrap().rows), format!("{expected:?}"));
        }
        assert_eq!(store.meta("format").unwrap(), Some(u64::from(FORMAT)));
    }

    #[test]
    fn groups_and_webhooks_of_format_6_have_defaults_even_if_the_migration_was_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&directory.path().join("journal"), Durability::Process).unwrap();
        let store = Store::open(directory.path(), &journal, None).unwrap();
        let tables = store.tables().unwrap();
        let (mut groups, mut webhooks, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for id in 0..2_u128 {
            for (table, value) in
                [(Table::Groups, GROUP_V1), (Table::GoneGroups, GROUP_V1), (Table::Webhooks, WEBHOOK_V1)]
            {
                tables.of(table).insert(id.to_be_bytes(), [b"\x01", value].concat()).unwrap();
            }
            // The second time, the rows with the first id are renewed already.
            store.set_meta("format", 6).unwrap();
            migrate(&store, &journal, 6).unwrap();
            groups.push(Row::Group(group_of_v1()));
            webhooks.push(Row::Webhook(webhook_of_v1()));
            gone.push(group_of_v1());
            assert_eq!(format!("{:?}", store.rows().unwrap().rows), format!("{:?}", [&groups[..], &webhooks].concat()));
            let values = tables.of(Table::GoneGroups).iter().values();
            let decoded = values.map(|value| decode_version::<Group>(GROUP_VERSION, &value.unwrap()).unwrap());
            assert_eq!(decoded.collect::<Vec<_>>(), gone);
        }
        assert_eq!(store.meta("format").unwrap(), Some(u64::from(FORMAT)));
    }
}
