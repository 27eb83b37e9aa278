//! The rows of the catalog, as changes record them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    v1::{EndpointV1, GroupV1, WebhookV1},
    v2::EndpointV2,
};
use crate::domain::{
    endpoint::Endpoint,
    group::Group,
    id::{DeadLetterId, EndpointId, GroupId, SecretId, SlugId, WebhookId},
    key::{ApiKey, OperatorKey, PublicKey, StoredSecret},
    webhook::Webhook,
};

/// One row of the catalog after a change, or its deletion.
#[derive(Debug, Clone)]
pub enum Row {
    /// A slug got this name.
    Slug(SlugId, String),
    /// A slug lost its name to another slug.
    SlugGone(SlugId),
    /// An endpoint was written.
    Endpoint(Endpoint),
    /// An endpoint was deleted.
    EndpointGone(EndpointId),
    /// A group was written.
    Group(Group),
    /// A group was deleted. It stays as a tombstone, so that reports can name it.
    GroupGone(GroupId),
    /// A customer's key was written.
    ApiKey(ApiKey),
    /// A customer's key, by prefix, was revoked.
    ApiKeyGone(String),
    /// An operator key was written.
    Operator(OperatorKey),
    /// An operator key, by prefix, was deleted.
    OperatorGone(String),
    /// A credential was written.
    Secret(StoredSecret),
    /// A credential was deleted.
    SecretGone(SecretId),
    /// A webhook was written.
    Webhook(Webhook),
    /// A webhook was deleted together with its dead letters.
    WebhookGone(WebhookId),
    /// A dead letter is to be redelivered.
    Redeliver(WebhookId, DeadLetterId),
    /// The public key that verifies registrations of customers' keys. `None` if it was removed.
    SigningKey(Option<PublicKey>),
}

/// Every kind of row ever written. The position of a variant is its number in a record.
#[derive(Deserialize)]
enum Stored {
    Slug(SlugId, String),
    SlugGone(SlugId),
    EndpointV1(EndpointV1),
    EndpointGone(EndpointId),
    GroupV1(GroupV1),
    GroupGone(GroupId),
    ApiKey(ApiKey),
    ApiKeyGone(String),
    Operator(OperatorKey),
    OperatorGone(String),
    Secret(StoredSecret),
    SecretGone(SecretId),
    WebhookV1(WebhookV1),
    WebhookGone(WebhookId),
    Redeliver(WebhookId, DeadLetterId),
    SigningKey(Option<PublicKey>),
    EndpointV2(EndpointV2),
    Endpoint(Endpoint),
    Group(Group),
    Webhook(Webhook),
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const NAME: &str = "Row";
        match self {
            Self::Slug(id, name) => serializer.serialize_newtype_variant(NAME, 0, "Slug", &(id, name)),
            Self::SlugGone(id) => serializer.serialize_newtype_variant(NAME, 1, "SlugGone", id),
            Self::Endpoint(endpoint) => serializer.serialize_newtype_variant(NAME, 17, "Endpoint", endpoint),
            Self::EndpointGone(id) => serializer.serialize_newtype_variant(NAME, 3, "EndpointGone", id),
            Self::Group(group) => serializer.serialize_newtype_variant(NAME, 18, "Group", group),
            Self::GroupGone(id) => serializer.serialize_newtype_variant(NAME, 5, "GroupGone", id),
            Self::ApiKey(key) => serializer.serialize_newtype_variant(NAME, 6, "ApiKey", key),
            Self::ApiKeyGone(prefix) => serializer.serialize_newtype_variant(NAME, 7, "ApiKeyGone", prefix),
            Self::Operator(key) => serializer.serialize_newtype_variant(NAME, 8, "Operator", key),
            Self::OperatorGone(prefix) => serializer.serialize_newtype_variant(NAME, 9, "OperatorGone", prefix),
            Self::Secret(secret) => serializer.serialize_newtype_variant(NAME, 10, "Secret", secret),
            Self::SecretGone(id) => serializer.serialize_newtype_variant(NAME, 11, "SecretGone", id),
            Self::Webhook(webhook) => serializer.serialize_newtype_variant(NAME, 19, "Webhook", webhook),
            Self::WebhookGone(id) => serializer.serialize_newtype_variant(NAME, 13, "WebhookGone", id),
            Self::Redeliver(webhook, id) => serializer.serialize_newtype_variant(NAME, 14, "Redeliver", &(webhook, id)),
            Self::SigningKey(key) => serializer.serialize_newtype_variant(NAME, 15, "SigningKey", key),
        }
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Stored::deserialize(deserializer)? {
            Stored::Slug(id, name) => Self::Slug(id, name),
            Stored::SlugGone(id) => Self::SlugGone(id),
            Stored::EndpointV1(endpoint) => Self::Endpoint(endpoint.into()),
            Stored::EndpointGone(id) => Self::EndpointGone(id),
            Stored::GroupV1(group) => Self::Group(group.into()),
            Stored::GroupGone(id) => Self::GroupGone(id),
            Stored::ApiKey(key) => Self::ApiKey(key),
            Stored::ApiKeyGone(prefix) => Self::ApiKeyGone(prefix),
            Stored::Operator(key) => Self::Operator(key),
            Stored::OperatorGone(prefix) => Self::OperatorGone(prefix),
            Stored::Secret(secret) => Self::Secret(secret),
            Stored::SecretGone(id) => Self::SecretGone(id),
            Stored::WebhookV1(webhook) => Self::Webhook(webhook.into()),
            Stored::WebhookGone(id) => Self::WebhookGone(id),
            Stored::Redeliver(webhook, id) => Self::Redeliver(webhook, id),
            Stored::SigningKey(key) => Self::SigningKey(key),
            Stored::EndpointV2(endpoint) => Self::Endpoint(endpoint.into()),
            Stored::Endpoint(endpoint) => Self::Endpoint(endpoint),
            Stored::Group(group) => Self::Group(group),
            Stored::Webhook(webhook) => Self::Webhook(webhook),
        })
    }
}
