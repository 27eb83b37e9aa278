//! The tables, their keys and their values.
//!
//! Keys are big-endian, so sled sorts them by the numbers in them. A value is a version byte and the bincode of one
//! frozen struct.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Store, StoreError, webhooks::WebhookProgress};
use crate::domain::{
    day::Day,
    endpoint::Endpoint,
    group::Group,
    id::{GroupId, SlugId, WebhookId},
    key::{ApiKey, OperatorKey, PublicKey, StoredSecret},
    record::Row,
    webhook::Webhook,
};

/// A table. Its position in the list is its index in `Tables`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// Numbers by name: `format`, `applied`.
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
    /// Day, group id, slug id → requests and tokens.
    Counters,
    /// Prefix of a customer's key → Unix ms of its last event.
    LastUsed,
    /// Prefix of an operator's key → Unix ms of its last request. It is not in the journal, so a rebuilt store does not
    /// have it.
    OperatorsUsed,
    /// Hour, group, slug and key → the sums of their events, for the days that have no file yet (`rollups`).
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
    /// Webhook id, dead letter id → its events. They are separate because they are large, and lists of dead letters
    /// need only some of them.
    DeadEvents,
    /// Webhook id, dead letter id → nothing, for those that are to be redelivered.
    Redeliveries,
    /// Sequence number of a change → Unix ms and action: an index of the journal.
    Audit,
}

const TABLES: [&str; 21] = [
    "meta",
    "slugs",
    "endpoints",
    "groups",
    "gone_groups",
    "api_keys",
    "operators",
    "secrets",
    "counters",
    "last_used",
    "operators_used",
    "rollups",
    "rollup_files",
    "missing",
    "settings",
    "webhooks",
    "cursors",
    "dead_letters",
    "dead_events",
    "redeliveries",
    "audit",
];

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

    pub(super) fn all(&self) -> &[sled::Tree] {
        &self.trees
    }
}

const VERSION: u8 = 1;
pub(super) const DAMAGED: StoreError = StoreError::Damaged("a row cannot be read");

pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![VERSION];
    bincode::serde::encode_into_std_write(value, &mut bytes, bincode::config::standard())
        .map_err(|_| StoreError::Damaged("a row cannot be written"))?;
    Ok(bytes)
}

pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&VERSION, body)) => bincode::serde::borrow_decode_from_slice(body, bincode::config::standard())
            .map(|(value, _)| value)
            .map_err(|_| DAMAGED),
        _ => Err(DAMAGED),
    }
}

/// The key of a day's counter.
pub(super) fn counter_key(day: Day, group: GroupId, slug: SlugId) -> [u8; 28] {
    let mut key = [0; 28];
    key[..4].copy_from_slice(&day.0.to_be_bytes());
    key[4..20].copy_from_slice(&group.0.to_be_bytes());
    key[20..].copy_from_slice(&slug.0.to_be_bytes());
    key
}

pub(super) fn split_counter_key(key: &[u8]) -> Result<(Day, GroupId, SlugId), StoreError> {
    let (day, rest) = key.split_first_chunk::<4>().ok_or(DAMAGED)?;
    let (group, slug) = rest.split_first_chunk::<16>().ok_or(DAMAGED)?;
    let slug: [u8; 8] = slug.try_into().map_err(|_| DAMAGED)?;
    Ok((Day(u32::from_be_bytes(*day)), GroupId(u128::from_be_bytes(*group)), SlugId(u64::from_be_bytes(slug))))
}

/// The rows of the catalog.
pub struct Rows {
    /// Ordered so that each row comes after those that it refers to.
    pub rows: Vec<Row>,
    /// Prefix of a customer's key → Unix ms of its last event.
    pub keys_used: Vec<(String, u64)>,
    /// Prefix of an operator's key → Unix ms of its last request.
    pub operators_used: Vec<(String, u64)>,
    /// The progress of each webhook.
    pub webhooks: Vec<(WebhookId, WebhookProgress)>,
}

impl Store {
    /// Reads the whole catalog.
    pub fn rows(&self) -> Result<Rows, StoreError> {
        let mut rows = Vec::new();
        for entry in self.tables()?.of(Table::Slugs).iter() {
            let (id, name) = entry?;
            let id = id.as_ref().try_into().map_err(|_| DAMAGED)?;
            let (id, name) = (SlugId(u64::from_be_bytes(id)), decode::<String>(&name)?);
            rows.push(if name.is_empty() { Row::SlugGone(id) } else { Row::Slug(id, name) });
        }
        rows.extend(self.values::<StoredSecret>(Table::Secrets)?.into_iter().map(Row::Secret));
        rows.extend(self.values::<Endpoint>(Table::Endpoints)?.into_iter().map(Row::Endpoint));
        rows.extend(parents_first(self.values(Table::Groups)?).into_iter().map(Row::Group));
        rows.extend(self.values::<ApiKey>(Table::ApiKeys)?.into_iter().map(Row::ApiKey));
        rows.extend(self.values::<OperatorKey>(Table::Operators)?.into_iter().map(Row::Operator));
        rows.extend(self.values::<Webhook>(Table::Webhooks)?.into_iter().map(Row::Webhook));
        rows.extend(self.values::<Option<PublicKey>>(Table::Settings)?.into_iter().map(Row::SigningKey));
        Ok(Rows {
            rows,
            keys_used: self.used(Table::LastUsed)?,
            operators_used: self.used(Table::OperatorsUsed)?,
            webhooks: self.progress_of_webhooks()?,
        })
    }

    fn used(&self, table: Table) -> Result<Vec<(String, u64)>, StoreError> {
        let read = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (prefix, at_ms) = entry?;
            Ok((String::from_utf8(prefix.to_vec()).map_err(|_| DAMAGED)?, decode(&at_ms)?))
        };
        self.tables()?.of(table).iter().map(read).collect()
    }

    /// Stores when operator keys were last used. Returns whether anything changed.
    pub fn note_operators_used(&self, used: &[(String, u64)]) -> Result<bool, StoreError> {
        let mut is_changed = false;
        for (prefix, at_ms) in used {
            let value = encode(at_ms)?;
            is_changed |=
                self.tables()?.of(Table::OperatorsUsed).insert(prefix, value.as_slice())?.as_deref() != Some(&value);
        }
        Ok(is_changed)
    }

    fn values<T: DeserializeOwned>(&self, table: Table) -> Result<Vec<T>, StoreError> {
        self.tables()?.of(table).iter().values().map(|value| decode(&value?)).collect()
    }
}

/// Sorts parents before their children. The order of ids is not enough, because the clock may have been set back.
fn parents_first(groups: Vec<Group>) -> Vec<Group> {
    let parents: std::collections::HashMap<_, _> = groups.iter().map(|group| (group.id, group.parent)).collect();
    let depth = |group: &Group| {
        let up = |id: &GroupId| parents.get(id).copied().flatten();
        std::iter::successors(Some(group.id), up).take(crate::domain::group::MAX_LEVELS + 1).count()
    };
    let mut groups = groups;
    groups.sort_by_cached_key(depth);
    groups
}
