//! Customers' keys.

use std::{sync::Arc, time::Duration};

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
    service::{
        catalog::{Catalog, KeyEntry},
        changes::change::Changes,
        error::Error,
    },
};

/// A key that replaces another one.
pub struct Rotated {
    /// The new key.
    pub minted: Minted,
    /// The name of both keys.
    pub name: Option<String>,
    /// The expiry of the old key, in Unix ms.
    pub old_expires_at_ms: u64,
}

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
        let (minted, key) = self.new_key(&change.catalog, group, name, expires_at_ms)?;
        change.commit(actor, action::API_KEY_CREATED, vec![Row::ApiKey(key)]).await?;
        Ok(minted)
    }

    /// Makes a key with an unused prefix.
    fn new_key(
        &self,
        catalog: &Catalog,
        group: GroupId,
        name: Option<String>,
        expires_at_ms: Option<u64>,
    ) -> Result<(Minted, ApiKey), Error> {
        let minted = loop {
            let minted = mint(&self.core.config.key_brand).map_err(Error::internal)?;
            if catalog.key_by_prefix(&minted.prefix).is_none() {
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
        Ok((minted, key))
    }

    /// Replaces a key by a new one with the same name. The old key expires after `grace`, or at its own expiry if that
    /// is sooner.
    ///
    /// The new key does not expire, even if the old one does: with the same expiry, both would end at the same time. A
    /// disabled key is refused, since its replacement would work.
    pub async fn rotate_key(
        &self,
        actor: Actor,
        group: GroupId,
        prefix: &str,
        grace: Duration,
    ) -> Result<Rotated, Error> {
        let change = self.begin().await?;
        let mut old = change.catalog.find_key(group, prefix)?.key.clone();
        if old.disabled {
            let message = "A disabled key cannot be rotated; enable it first, or mint a new key";
            return Err(Error::invalid("disabled_key", message));
        }
        let name = old.name.clone();
        let (minted, new) = self.new_key(&change.catalog, group, name.clone(), None)?;
        let grace_ends_ms = new.created_at_ms.saturating_add(grace.as_millis() as u64);
        let old_expires_at_ms = old.expires_at_ms.unwrap_or(u64::MAX).min(grace_ends_ms);
        old.expires_at_ms = Some(old_expires_at_ms);
        change.commit(actor, action::API_KEY_ROTATED, vec![Row::ApiKey(old), Row::ApiKey(new)]).await?;
        Ok(Rotated { minted, name, old_expires_at_ms })
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
