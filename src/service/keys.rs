//! Customers' keys and operators' keys.

use std::sync::Arc;

use super::{
    Gateway,
    catalog::{KeyEntry, OperatorEntry},
    error::Error,
};
use crate::{
    crypto::{
        mint::{Minted, mint},
        secret::Secret,
    },
    domain::{
        id::GroupId,
        key::{ApiKey, OperatorKey, OperatorType},
        record::{Actor, Row},
    },
};

/// Operators' keys begin with it, so that one is never mistaken for a customer's.
const OPERATOR_BRAND: &str = "tgo";

/// The prefix shown for the key in `TOLLGATE_ADMIN_KEY`.
pub const ENV_PREFIX: &str = "env";

/// What changes on a key; `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Default)]
pub struct KeyPatch {
    /// For people.
    pub name: Option<Option<String>>,
    /// Refused while set.
    pub disabled: Option<bool>,
    /// Unix ms.
    pub expires_at_ms: Option<Option<u64>>,
}

/// An operator key that is not in force yet.
pub(super) struct NewOperator {
    pub(super) row: OperatorKey,
    pub(super) key: Secret,
}

impl Gateway {
    /// A group's key by its prefix.
    pub fn key(&self, group: GroupId, prefix: &str) -> Result<Arc<KeyEntry>, Error> {
        self.group(group)?;
        let catalog = self.catalog.load();
        let entry = catalog.key_by_prefix(prefix).filter(|entry| entry.key.group == group);
        entry.cloned().ok_or(Error::NotFound("API key"))
    }

    /// Makes a key.
    pub async fn mint_key(
        self: &Arc<Self>,
        actor: Actor,
        group: GroupId,
        name: Option<String>,
        expires_at_ms: Option<u64>,
    ) -> Result<Minted, Error> {
        let change = self.change().await;
        if !change.catalog.groups().contains_key(&group) {
            return Err(Error::NotFound("group"));
        }
        let minted = loop {
            let minted = mint(&self.config.key_brand).map_err(Error::internal)?;
            if change.catalog.key_by_prefix(&minted.prefix).is_none() {
                break minted;
            }
        };
        let key = ApiKey {
            prefix: minted.prefix.clone(),
            name,
            group,
            hash: self.hasher.fingerprint(minted.key.expose()).to_stored(),
            created_at_ms: self.now_ms(),
            expires_at_ms,
            disabled: false,
        };
        change.commit(actor, "api_key.created", vec![Row::ApiKey(key)]).await?;
        Ok(minted)
    }

    /// Changes a key.
    pub async fn update_key(
        self: &Arc<Self>,
        actor: Actor,
        group: GroupId,
        prefix: &str,
        patch: KeyPatch,
    ) -> Result<Arc<KeyEntry>, Error> {
        let change = self.change().await;
        let mut key = self.key(group, prefix)?.key.clone();
        key.name = patch.name.unwrap_or(key.name);
        key.disabled = patch.disabled.unwrap_or(key.disabled);
        key.expires_at_ms = patch.expires_at_ms.unwrap_or(key.expires_at_ms);
        change.commit(actor, "api_key.updated", vec![Row::ApiKey(key)]).await?;
        self.key(group, prefix)
    }

    /// Revokes a key.
    pub async fn revoke_key(self: &Arc<Self>, actor: Actor, group: GroupId, prefix: &str) -> Result<(), Error> {
        let change = self.change().await;
        let entry = self.key(group, prefix)?;
        change.commit(actor, "api_key.revoked", vec![Row::ApiKeyGone(entry.key.prefix.clone())]).await
    }

    /// Makes an operator key.
    pub async fn create_operator(
        self: &Arc<Self>,
        actor: Actor,
        operator_type: OperatorType,
        name: Option<String>,
    ) -> Result<Secret, Error> {
        let new = self.prepare_operator(operator_type, name)?;
        self.add_operator(actor, new.row).await?;
        Ok(new.key)
    }

    pub(super) fn prepare_operator(
        &self,
        operator_type: OperatorType,
        name: Option<String>,
    ) -> Result<NewOperator, Error> {
        let Minted { prefix, key } = mint(OPERATOR_BRAND).map_err(Error::internal)?;
        let hash = self.hasher.fingerprint(key.expose()).to_stored();
        Ok(NewOperator { row: OperatorKey { prefix, name, operator_type, hash, created_at_ms: self.now_ms() }, key })
    }

    pub(super) async fn add_operator(self: &Arc<Self>, actor: Actor, row: OperatorKey) -> Result<(), Error> {
        self.change().await.commit(actor, "operator_key.created", vec![Row::Operator(row)]).await
    }

    /// Deletes an operator key. The last stored one that may do everything stays: without it nobody could make another.
    pub async fn delete_operator(self: &Arc<Self>, actor: Actor, prefix: &str) -> Result<(), Error> {
        if prefix == ENV_PREFIX && self.env_operator.is_some() {
            return Err(Error::invalid(
                "env_key",
                "The key `env` is set by TOLLGATE_ADMIN_KEY; it ends when Tollgate is started without that variable.",
            ));
        }
        let change = self.change().await;
        let operators = change.catalog.operators();
        let entry = operators.get(prefix).ok_or(Error::NotFound("operator key"))?;
        let manages_all = |entry: &Arc<OperatorEntry>| entry.key.operator_type == OperatorType::ManageAll;
        if manages_all(entry) && operators.values().filter(|entry| manages_all(entry)).count() == 1 {
            return Err(Error::invalid(
                "last_operator",
                "The last WORKSPACE_MANAGE_ALL key cannot be deleted; create another one first.",
            ));
        }
        change.commit(actor, "operator_key.deleted", vec![Row::OperatorGone(prefix.to_owned())]).await
    }
}
