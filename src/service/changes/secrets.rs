//! Provider credentials: upserted by name, sealed, never shown again, and not deleted while a target uses them.

use std::sync::Arc;

use crate::{
    crypto::{random, secret::Secret},
    domain::{
        action,
        id::SecretId,
        key::StoredSecret,
        record::{Actor, Row},
    },
    service::{changes::change::Changes, error::Error},
};

impl Changes {
    /// Stores a provider credential. Replaces the value of an existing one with this name.
    pub async fn put_secret(&self, actor: Actor, name: &str, value: Secret) -> Result<Arc<StoredSecret>, Error> {
        let change = self.begin().await?;
        let (id, created_at_ms) = match change.catalog.secret_by_name(name) {
            Some(known) => (known.id, known.created_at_ms),
            None => (SecretId(random::ulid(self.core.now_ms()).map_err(Error::internal)?), self.core.now_ms()),
        };
        let sealed = self.sealer.seal(id.0, &value).map_err(Error::internal)?;
        let secret = StoredSecret { id, name: name.to_owned(), sealed, created_at_ms };
        let stored = Arc::new(secret.clone());
        change.commit(actor, action::SECRET_WRITTEN, vec![Row::Secret(secret)]).await?;
        Ok(stored)
    }

    /// Deletes a credential that no target uses.
    pub async fn delete_secret(&self, actor: Actor, name: &str) -> Result<(), Error> {
        let change = self.begin().await?;
        let id = change.catalog.secret_by_name(name).map(|secret| secret.id).ok_or(Error::NotFound("secret"))?;
        if let Some(user) = change.catalog.endpoints_using(id).next() {
            let slug = change.catalog.slug_name(user.slug);
            let message = format!("The endpoint {slug} ({}) uses this secret; change its targets first.", user.id);
            return Err(Error::invalid("secret_in_use", message));
        }
        change.commit(actor, action::SECRET_DELETED, vec![Row::SecretGone(id)]).await
    }
}
