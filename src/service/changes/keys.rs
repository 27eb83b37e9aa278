//! Customers' keys.

use std::sync::Arc;

use crate::{
    crypto::{
        mint::{Minted, mint},
        secret::Secret,
    },
    domain::{
        action,
        id::GroupId,
        key::ApiKey,
        record::{Actor, Row},
        registered,
    },
    service::{catalog::KeyEntry, changes::change::Changes, error::Error},
};

/// The changes to a key. `None` leaves a field unchanged, `Some(None)` clears it.
#[derive(Default)]
pub struct KeyPatch {
    /// The name, for people.
    pub name: Option<Option<String>>,
    /// Whether the key is disabled. A disabled key is refused.
    pub disabled: Option<bool>,
    /// The time of expiry, in Unix ms.
    pub expires_at_ms: Option<Option<u64>>,
}

impl Changes {
    /// Creates a key.
    pub async fn mint_key(
        &self,
        actor: Actor,
        group: GroupId,
        name: Option<String>,
        expires_at_ms: Option<u64>,
    ) -> Result<Minted, Error> {
        let change = self.begin().await?;
        change.catalog.find_group(group)?;
        let minted = loop {
            let minted = mint(&self.core.config.key_brand).map_err(Error::internal)?;
            if change.catalog.key_by_prefix(&minted.prefix).is_none() {
                break minted;
            }
        };
        let key = ApiKey {
            prefix: minted.prefix.clone(),
            name,
            group,
            hash: self.access.fingerprint(minted.key.expose()).to_stored(),
            created_at_ms: self.core.now_ms(),
            expires_at_ms,
            disabled: false,
        };
        change.commit(actor, action::API_KEY_CREATED, vec![Row::ApiKey(key)]).await?;
        Ok(minted)
    }

    /// Registers a key that a customer already has. If the key exists, the error does not say whose it is.
    pub async fn register_key(
        &self,
        actor: Actor,
        group: GroupId,
        key: &Secret,
        name: Option<String>,
    ) -> Result<(), Error> {
        let change = self.begin().await?;
        change.catalog.find_group(group)?;
        let (key, fingerprint) = (key.expose(), self.access.fingerprint(key.expose()));
        if self.access.key_exists(&change.catalog, &fingerprint) {
            return Err(Error::invalid("duplicate_key", "key: this key already exists"));
        }
        let prefix = registered::prefix(key).to_owned();
        if change.catalog.key_by_prefix(&prefix).is_some() {
            let message = format!("key: another key has the same first {} characters", registered::PREFIX_CHARS);
            return Err(Error::invalid("duplicate_prefix", message));
        }
        let key = ApiKey {
            prefix,
            name,
            group,
            hash: fingerprint.to_stored(),
            created_at_ms: self.core.now_ms(),
            expires_at_ms: None,
            disabled: false,
        };
        change.commit(actor, action::API_KEY_REGISTERED, vec![Row::ApiKey(key)]).await
    }

    /// Changes a key.
    pub async fn update_key(
        &self,
        actor: Actor,
        group: GroupId,
        prefix: &str,
        patch: KeyPatch,
    ) -> Result<Arc<KeyEntry>, Error> {
        let change = self.begin().await?;
        let mut key = change.catalog.find_key(group, prefix)?.key.clone();
        key.name = patch.name.unwrap_or(key.name);
        key.disabled = patch.disabled.unwrap_or(key.disabled);
        key.expires_at_ms = patch.expires_at_ms.unwrap_or(key.expires_at_ms);
        change.commit(actor, action::API_KEY_UPDATED, vec![Row::ApiKey(key)]).await?;
        self.core.catalog.load().find_key(group, prefix)
    }

    /// Revokes a key.
    pub async fn revoke_key(&self, actor: Actor, group: GroupId, prefix: &str) -> Result<(), Error> {
        let change = self.begin().await?;
        let entry = change.catalog.find_key(group, prefix)?;
        change.commit(actor, action::API_KEY_REVOKED, vec![Row::ApiKeyGone(entry.key.prefix.clone())]).await
    }
}
