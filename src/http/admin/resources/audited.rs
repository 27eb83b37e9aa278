//! The objects of a change, before and after it, as the audit log shows them: with the names of the admin API, and with
//! secrets masked.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    budgets::Budget,
    endpoints::Endpoint,
    groups::{Hierarchy, Metadata},
    models::Model,
    signing_key::SigningKey,
};
use crate::{
    domain::{
        group,
        id::SlugId,
        key,
        record::Row,
        webhook::{self, ReplacedSecret},
    },
    http::admin::api::field::{OperatorTypeWord, Timestamp, WebhookTypeWord},
    service::catalog::Catalog,
};

/// The text that replaces a secret.
const MASK: &str = "***";

/// One object that a change created, modified or deleted.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditChange")]
pub(in crate::http) struct RowChange {
    object: Object,
    id: String,
    /// The state before the change; null if the object was created.
    before: Option<State>,
    /// The state after the change; null if the object was deleted.
    after: Option<State>,
}

/// The kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AuditObject")]
enum Object {
    Slug,
    Endpoint,
    Group,
    ApiKey,
    OperatorKey,
    Secret,
    Webhook,
    DeadLetter,
    SigningKey,
}

/// The state of an object.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "AuditState")]
enum State {
    Endpoint(Box<Endpoint>),
    Group(Group),
    ApiKey(ApiKey),
    OperatorKey(OperatorKey),
    Secret(Secret),
    Webhook(Webhook),
    DeadLetter(DeadLetter),
    SigningKey(SigningKey),
    // After the endpoint, which also has a slug: some clients take the first variant that matches.
    Slug(Slug),
}

/// The name by which customers call a model.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditedSlug")]
struct Slug {
    slug: String,
}

/// A group, with its own models, limits and budgets only.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditedGroup")]
struct Group {
    id: String,
    metadata: Metadata,
    models: Vec<Model>,
    budgets: Vec<Budget>,
    hierarchy: Hierarchy,
    created_at: Timestamp,
    disabled: bool,
}

/// A customer's key.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditedApiKey")]
struct ApiKey {
    prefix: String,
    name: Option<String>,
    group_id: String,
    created_at: Timestamp,
    disabled: bool,
    expires_at: Option<Timestamp>,
}

/// An operator key.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditedOperatorKey")]
struct OperatorKey {
    prefix: String,
    name: Option<String>,
    #[serde(rename = "type")]
    operator_type: OperatorTypeWord,
    created_at: Timestamp,
}

/// A provider credential.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditedSecret")]
struct Secret {
    id: String,
    name: String,
    /// Always masked, also when the value was replaced.
    value: &'static str,
    created_at: Timestamp,
}

/// A webhook.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditedWebhook")]
struct Webhook {
    id: String,
    /// The query is masked, since it may contain a credential.
    url: String,
    description: Option<String>,
    enabled: bool,
    types: Vec<WebhookTypeWord>,
    /// Always masked.
    secret: &'static str,
    /// Until then, deliveries are also signed with the previous secret; null if there is none.
    previous_secret_until: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A dead letter that was queued for redelivery.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditedDeadLetter")]
struct DeadLetter {
    webhook_id: String,
    /// Always true.
    redeliver: bool,
}

/// The objects of a change, before and after it. `before` has the rows that existed before the change.
pub(in crate::http) fn row_changes(catalog: &Catalog, before: &[Row], rows: &[Row]) -> Vec<RowChange> {
    let (names_before, names_after) = (Names::new(catalog, before), Names::new(catalog, rows));
    let mut before: HashMap<_, _> = before.iter().map(|row| (identity(row), row)).collect();
    let change = |row: &Row| {
        let (object, id) = identity(row);
        let before = before.remove(&(object, id.clone())).and_then(|row| state(&names_before, row));
        RowChange { object, id, before, after: state(&names_after, row) }
    };
    rows.iter().map(change).collect()
}

/// The names of slugs: those in the change itself, else the current ones.
struct Names<'a> {
    catalog: &'a Catalog,
    own: Vec<(SlugId, &'a str)>,
}

impl<'a> Names<'a> {
    fn new(catalog: &'a Catalog, rows: &'a [Row]) -> Self {
        let own = rows.iter().filter_map(|row| match row {
            Row::Slug(id, name) => Some((*id, name.as_str())),
            _ => None,
        });
        Self { catalog, own: own.collect() }
    }

    fn of(&self, id: SlugId) -> String {
        let own = self.own.iter().find(|(known, _)| *known == id).map(|(_, name)| *name);
        own.unwrap_or_else(|| self.catalog.slug_name(id)).to_owned()
    }
}

/// The object that a row describes.
fn identity(row: &Row) -> (Object, String) {
    match row {
        Row::Slug(id, _) | Row::SlugGone(id) => (Object::Slug, id.0.to_string()),
        Row::Endpoint(endpoint) => (Object::Endpoint, endpoint.id.to_string()),
        Row::EndpointGone(id) => (Object::Endpoint, id.to_string()),
        Row::Group(group) => (Object::Group, group.id.to_string()),
        Row::GroupGone(id) => (Object::Group, id.to_string()),
        Row::ApiKey(key) => (Object::ApiKey, key.prefix.clone()),
        Row::ApiKeyGone(prefix) => (Object::ApiKey, prefix.clone()),
        Row::Operator(key) => (Object::OperatorKey, key.prefix.clone()),
        Row::OperatorGone(prefix) => (Object::OperatorKey, prefix.clone()),
        Row::Secret(secret) => (Object::Secret, secret.id.to_string()),
        Row::SecretGone(id) => (Object::Secret, id.to_string()),
        Row::Webhook(webhook) => (Object::Webhook, webhook.id.to_string()),
        Row::WebhookGone(id) => (Object::Webhook, id.to_string()),
        Row::Redeliver(_, id) => (Object::DeadLetter, id.to_string()),
        // There is only one signing key.
        Row::SigningKey(_) => (Object::SigningKey, "signing_key".to_owned()),
    }
}

/// The state that a row describes; `None` for a deletion.
fn state(names: &Names<'_>, row: &Row) -> Option<State> {
    Some(match row {
        Row::Slug(_, name) => State::Slug(Slug { slug: name.clone() }),
        Row::Endpoint(endpoint) => State::Endpoint(Box::new(Endpoint::named(names.of(endpoint.slug), endpoint))),
        Row::Group(group) => State::Group(Group::new(names, group)),
        Row::ApiKey(key) => State::ApiKey(ApiKey::new(key)),
        Row::Operator(key) => State::OperatorKey(OperatorKey::new(key)),
        Row::Secret(secret) => State::Secret(Secret::new(secret)),
        Row::Webhook(webhook) => State::Webhook(Webhook::new(webhook)),
        Row::Redeliver(webhook, _) => {
            State::DeadLetter(DeadLetter { webhook_id: webhook.to_string(), redeliver: true })
        }
        Row::SigningKey(Some(key)) => State::SigningKey(SigningKey::new(key)),
        Row::SlugGone(_)
        | Row::EndpointGone(_)
        | Row::GroupGone(_)
        | Row::ApiKeyGone(_)
        | Row::OperatorGone(_)
        | Row::SecretGone(_)
        | Row::WebhookGone(_)
        | Row::SigningKey(None) => return None,
    })
}

impl Group {
    fn new(names: &Names<'_>, group: &group::Group) -> Self {
        Self {
            id: group.id.to_string(),
            metadata: Metadata::new(group),
            models: group.models.iter().map(|model| Model::named(names.of(model.slug), model)).collect(),
            budgets: group.budgets.iter().map(Budget::new).collect(),
            hierarchy: Hierarchy::new(group),
            created_at: Timestamp(group.created_at_ms),
            disabled: group.disabled,
        }
    }
}

impl ApiKey {
    fn new(key: &key::ApiKey) -> Self {
        Self {
            prefix: key.prefix.clone(),
            name: key.name.clone(),
            group_id: key.group.to_string(),
            created_at: Timestamp(key.created_at_ms),
            disabled: key.disabled,
            expires_at: key.expires_at_ms.map(Timestamp),
        }
    }
}

impl OperatorKey {
    fn new(key: &key::OperatorKey) -> Self {
        Self {
            prefix: key.prefix.clone(),
            name: key.name.clone(),
            operator_type: OperatorTypeWord(key.operator_type),
            created_at: Timestamp(key.created_at_ms),
        }
    }
}

impl Secret {
    fn new(secret: &key::StoredSecret) -> Self {
        Self {
            id: secret.id.to_string(),
            name: secret.name.clone(),
            value: MASK,
            created_at: Timestamp(secret.created_at_ms),
        }
    }
}

impl Webhook {
    fn new(webhook: &webhook::Webhook) -> Self {
        let until = |replaced: &ReplacedSecret| Timestamp(replaced.until_ms);
        Self {
            id: webhook.id.to_string(),
            url: webhook.url.split_once('?').map_or_else(|| webhook.url.clone(), |(rest, _)| format!("{rest}?{MASK}")),
            description: webhook.description.clone(),
            enabled: webhook.enabled,
            types: webhook.types.iter().map(WebhookTypeWord).collect(),
            secret: MASK,
            previous_secret_until: webhook.replaced.as_ref().map(until),
            created_at: Timestamp(webhook.created_at_ms),
            updated_at: Timestamp(webhook.updated_at_ms),
        }
    }
}
