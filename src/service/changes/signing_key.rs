//! The public key that verifies registrations of customers' keys. A signature proves that a registration comes from the
//! operator's own key system, even if an operator key has leaked.

use crate::{
    crypto::ed25519::is_signed,
    domain::{
        action,
        key::PublicKey,
        record::{Actor, Row},
    },
    service::{changes::change::Changes, error::Error},
};

impl Changes {
    /// Stores the public key, replacing the previous one.
    pub async fn put_signing_key(&self, actor: Actor, key: PublicKey) -> Result<(), Error> {
        self.begin().await?.commit(actor, action::SIGNING_KEY_WRITTEN, vec![Row::SigningKey(Some(key))]).await
    }

    /// Deletes the public key and returns it. Without it, no customer's key can be registered.
    pub async fn delete_signing_key(&self, actor: Actor) -> Result<PublicKey, Error> {
        let change = self.begin().await?;
        let key = change.catalog.find_signing_key()?;
        change.commit(actor, action::SIGNING_KEY_DELETED, vec![Row::SigningKey(None)]).await?;
        Ok(key)
    }

    /// Checks that the exact bytes of a body were signed by the operator's key system. `signature` is base64.
    pub fn check_signature(&self, body: &[u8], signature: &[u8]) -> Result<(), Error> {
        let key = self.core.catalog.load().signing_key().ok_or(Error::Published {
            code: "no_public_key",
            message: "Must configure a public key before registering API keys",
        })?;
        let refused = Error::Published { code: "invalid_signature", message: "Signature verification failed" };
        if is_signed(&key, body, signature) { Ok(()) } else { Err(refused) }
    }
}
