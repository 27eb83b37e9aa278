//! The tables, their keys and their values.
//!
//! Keys are big-endian, so sled sorts them by the numbers in them. A value is a version byte and the bincode of one
//! frozen struct.

use serde::{Deserialize, Serialize};

use super::error::StoreError;

/// A table. Its position in the list is its index in `Tables`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// Numbers by name: `format`, `applied`, `kept_from`, `alerted`; and `zone`, the name of the time zone of `Used` and `Spent`.
    Meta,
    /// Slug id → name; empty if another slug took the name.
    Slugs,
    /// Endpoint id → `Endpoint`.
    Endpoints,
    /// Group id → `Group`.
    Groups,
    /// Group id → `Group` at its deletion, so that reports can still name it.
    GoneGroups,
    /// Prefix → `ApiKey`.
    ApiKeys,
    /// Prefix → `OperatorKey`.
    Operators,
    /// Secret id → `StoredSecret`.
    Secrets,
    /// Group id, slug id → `Used`.
    Used,
    /// Group id, currency → `Spent`.
    Spent,
    /// Prefix of a customer's key → Unix ms of its last event.
    LastUsed,
    /// Prefix of an operator's key → Unix ms of its last request. It is not in the journal, so a rebuilt store does not
    /// have it.
    OperatorsUsed,
    /// Hour, group, slug, key and slug id → the sums of their events, for the days that have no file yet (`rollups`).
    Rollups,
    /// Day → its files.
    RollupFiles,
    /// First missing sequence number → `Damage`: records that totals do not include because the journal has lost them.
    Missing,
    /// `signing_key` → `Option<PublicKey>`.
    Settings,
    /// Webhook id → `Webhook`.
    Webhooks,
    /// Webhook id → `Cursor`.
    Cursors,
    /// Webhook id, dead letter id → `DeadLetterRow`.
    DeadLetters,
    /// Webhook id, dead letter id → its events or alerts. They are separate because they are large, and lists of dead letters
    /// need only some of them.
    DeadEvents,
    /// Webhook id, dead letter id → nothing, for those that are to be redelivered.
    Redeliveries,
    /// Sequence number of a change → Unix ms and action: an index of the journal.
    Audit,
    /// Sequence number of an alert → Unix ms and `Alert`.
    Alerts,
    /// Id of the group whose use it is, and encoded `Place` of the limit or budget → `LastAlert`.
    LastAlerts,
}

const TABLES: [&str; 24] = [
    "meta",
    "slugs",
    "endpoints",
    "groups",
    "gone_groups",
    "api_keys",
    "operators",
    "secrets",
    "used",
    "spent",
    "last_used",
    "operators_used",
    "hours",
    "rollup_files",
    "missing",
    "settings",
    "webhooks",
    "cursors",
    "dead_letters",
    "dead_events",
    "redeliveries",
    "audit",
    "alerts",
    "last_alerts",
];

/// Tables that only formats before 7 have.
const EARLIER_TABLES: [&str; 2] = [COUNTERS, ROLLUPS];

/// Day, group id, slug id → requests and tokens.
pub(super) const COUNTERS: &str = "counters";

/// The hours of open days, without the ids of slugs.
pub(super) const ROLLUPS: &str = "rollups";

/// Table, key, and value. `None` removes the row.
pub(super) type Write = (Table, Vec<u8>, Option<Vec<u8>>);

/// The open trees, in the order of `Table`.
pub(super) struct Tables {
    trees: Vec<sled::Tree>,
    pub(super) db: sled::Db,
}

impl Tables {
    pub(super) fn open(db: sled::Db) -> Result<Self, StoreError> {
        Ok(Self { trees: TABLES.iter().map(|name| db.open_tree(name)).collect::<Result<_, _>>()?, db })
    }

    pub(super) fn of(&self, table: Table) -> &sled::Tree {
        &self.trees[table as usize]
    }

    pub(super) fn by_name(&self) -> impl Iterator<Item = (&'static str, &sled::Tree)> {
        TABLES.into_iter().zip(&self.trees)
    }

    /// The tables of earlier formats that a migration has not dropped yet.
    pub(super) fn of_earlier_formats(&self) -> Result<Vec<(&'static str, sled::Tree)>, StoreError> {
        let names = self.db.tree_names();
        let left = EARLIER_TABLES.into_iter().filter(|name| names.iter().any(|known| known == name.as_bytes()));
        left.map(|name| Ok((name, self.db.open_tree(name)?))).collect()
    }

    pub(super) fn all(&self) -> &[sled::Tree] {
        &self.trees
    }
}

/// The version of a value unless its table says otherwise.
pub(super) const VERSION: u8 = 1;

/// The version of an endpoint's value.
pub(super) const ENDPOINT_VERSION: u8 = 3;

/// The version of a group's value, also of a deleted group.
pub(super) const GROUP_VERSION: u8 = 2;

/// The version of a webhook's value.
pub(super) const WEBHOOK_VERSION: u8 = 2;

pub(super) const DAMAGED: StoreError = StoreError::Damaged("a row cannot be read");

pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    encode_version(VERSION, value)
}

pub(super) fn encode_version(version: u8, value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![version];
    bincode::serde::encode_into_std_write(value, &mut bytes, bincode::config::standard())
        .map_err(|_| StoreError::Damaged("a row cannot be written"))?;
    Ok(bytes)
}

pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, StoreError> {
    decode_version(VERSION, bytes)
}

pub(super) fn decode_version<'a, T: Deserialize<'a>>(version: u8, bytes: &'a [u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((found, body)) if *found == version => {
            bincode::serde::borrow_decode_from_slice(body, bincode::config::standard())
                .map(|(value, _)| value)
                .map_err(|_| DAMAGED)
        }
        _ => Err(DAMAGED),
    }
}
