//! The rows of the catalog, as a start reads them.

use std::collections::HashMap;

use serde::de::DeserializeOwned;

use super::{
    error::StoreError,
    handle::Store,
    progress::WebhookProgress,
    table::{
        DAMAGED, ENDPOINT_VERSION, GROUP_VERSION, Table, VERSION, WEBHOOK_VERSION, decode, decode_version, encode,
    },
};
use crate::domain::{
    endpoint::Endpoint,
    group::Group,
    id::{GroupId, SlugId, WebhookId},
    key::{ApiKey, OperatorKey, PublicKey, StoredSecret},
    record::Row,
    webhook::Webhook,
};

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
        rows.extend(self.values::<StoredSecret>(Table::Secrets, VERSION)?.into_iter().map(Row::Secret));
        rows.extend(self.values::<Endpoint>(Table::Endpoints, ENDPOINT_VERSION)?.into_iter().map(Row::Endpoint));
        rows.extend(parents_first(self.values(Table::Groups, GROUP_VERSION)?).into_iter().map(Row::Group));
        rows.extend(self.values::<ApiKey>(Table::ApiKeys, VERSION)?.into_iter().map(Row::ApiKey));
        rows.extend(self.values::<OperatorKey>(Table::Operators, VERSION)?.into_iter().map(Row::Operator));
        rows.extend(self.values::<Webhook>(Table::Webhooks, WEBHOOK_VERSION)?.into_iter().map(Row::Webhook));
        rows.extend(self.values::<Option<PublicKey>>(Table::Settings, VERSION)?.into_iter().map(Row::SigningKey));
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

    /// The ids of the slugs that have a name, by name.
    pub(super) fn slug_ids(&self) -> Result<HashMap<String, SlugId>, StoreError> {
        let mut ids = HashMap::new();
        for entry in self.tables()?.of(Table::Slugs).iter() {
            let (id, name) = entry?;
            let id = id.as_ref().try_into().map_err(|_| DAMAGED)?;
            ids.insert(decode(&name)?, SlugId(u64::from_be_bytes(id)));
        }
        ids.remove("");
        Ok(ids)
    }

    /// The values of a table, all of this version.
    pub(super) fn values<T: DeserializeOwned>(&self, table: Table, version: u8) -> Result<Vec<T>, StoreError> {
        self.tables()?.of(table).iter().values().map(|value| decode_version(version, &value?)).collect()
    }
}

/// Sorts parents before their children. The order of ids is not enough, because the clock may have been set back.
fn parents_first(groups: Vec<Group>) -> Vec<Group> {
    let parents: HashMap<_, _> = groups.iter().map(|group| (group.id, group.parent)).collect();
    let depth = |group: &Group| {
        let up = |id: &GroupId| parents.get(id).copied().flatten();
        std::iter::successors(Some(group.id), up).take(crate::domain::group::MAX_LEVELS + 1).count()
    };
    let mut groups = groups;
    groups.sort_by_cached_key(depth);
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            budget::{Budget, BudgetUnit, Budgets},
            money::{Amount, Currency},
            testing::{group_of_v1, webhook_of_v1},
            webhook::{WebhookType, WebhookTypes},
        },
        journal::{Durability, Journal},
        store::apply::Batch,
    };

    #[test]
    fn budgets_and_types_of_deliveries_are_kept_and_a_deleted_group_keeps_its_budgets() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&directory.path().join("journal"), Durability::Process).unwrap();
        let store = Store::open(directory.path(), &journal, None).unwrap();
        let currency = Currency::parse("EUR").unwrap();
        let budget = Budget { unit: BudgetUnit::Total, currency, amount: Amount::parse("500.000001").unwrap() };
        let group = Group { budgets: Budgets::new(vec![budget]).unwrap(), ..group_of_v1() };
        let webhook = Webhook { types: WebhookTypes::new([WebhookType::Alert]).unwrap(), ..webhook_of_v1() };
        let put = |rows: Vec<Row>| {
            let mut batch = Batch::after(0, store.begin_sums());
            rows.into_iter().for_each(|row| store.put(&mut batch, row).unwrap());
            store.write(batch).unwrap();
        };
        let rows = vec![Row::Group(group.clone()), Row::Webhook(webhook)];
        put(rows.clone());
        assert_eq!(format!("{:?}", store.rows().unwrap().rows), format!("{rows:?}"));
        put(vec![Row::GroupGone(group.id)]);
        assert_eq!(format!("{:?}", store.rows().unwrap().rows), format!("{:?}", &rows[1..]));
        assert_eq!(store.values::<Group>(Table::GoneGroups, GROUP_VERSION).unwrap(), [group]);
    }
}
