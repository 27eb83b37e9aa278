//! Lookups by id for the admin API, whose errors say which kind of thing does not exist.

use std::sync::Arc;

use super::{Catalog, GroupNode, KeyEntry};
use crate::{
    domain::{
        endpoint::Endpoint,
        id::{EndpointId, GroupId, WebhookId},
        key::PublicKey,
        webhook::Webhook,
    },
    service::error::Error,
};

impl Catalog {
    /// The endpoint with this id.
    pub fn find_endpoint(&self, id: EndpointId) -> Result<Arc<Endpoint>, Error> {
        self.endpoints().get(&id).cloned().ok_or(Error::NotFound("endpoint"))
    }

    /// The group with this id.
    pub fn find_group(&self, id: GroupId) -> Result<Arc<GroupNode>, Error> {
        self.groups().get(&id).cloned().ok_or(Error::NotFound("group"))
    }

    /// A group's key by its prefix.
    pub fn find_key(&self, group: GroupId, prefix: &str) -> Result<Arc<KeyEntry>, Error> {
        self.find_group(group)?;
        let entry = self.key_by_prefix(prefix).filter(|entry| entry.key.group == group);
        entry.cloned().ok_or(Error::NotFound("API key"))
    }

    /// The webhook with this id.
    pub fn find_webhook(&self, id: WebhookId) -> Result<Arc<Webhook>, Error> {
        self.webhooks().get(&id).cloned().ok_or(Error::NotFound("webhook"))
    }

    /// The public key that verifies signed registrations of customers' keys.
    pub fn find_signing_key(&self) -> Result<PublicKey, Error> {
        self.signing_key().ok_or(Error::NotFound("signing key"))
    }
}
