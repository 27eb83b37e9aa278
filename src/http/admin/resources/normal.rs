//! The normal form of a resource that a client declares: the fields that the API would answer with, every default
//! filled in and every number in its shortest form. Ids, times and states are left out.
//!
//! Two declarations mean the same if their normal forms are equal. Bodies are validated by the rules of the API that do
//! not depend on stored data, with the API's own types.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    budgets::Budget,
    endpoints::{self, Endpoint},
    groups,
    models::{Model, new_models},
    secrets, webhooks,
};
use crate::{
    domain::{
        budget::Budgets,
        endpoint as domain,
        group::{Enforcement, GroupModels},
        id::{EndpointId, SlugId},
        slug::Slug,
    },
    http::admin::api::{
        body::parse,
        field::{EnforcementWord, WebhookTypeWord},
    },
    service::error::Error,
};

/// The fields of an endpoint that its owner declares.
pub(crate) const ENDPOINT_FIELDS: &[&str] = &["slug", "region", "targets", "pricing", "routing", "queue_timeout_s"];

/// The fields of a group that its owner declares.
pub(crate) const GROUP_FIELDS: &[&str] = &["metadata", "models", "budgets", "hierarchy", "disabled"];

/// The fields of a webhook that its owner declares.
pub(crate) const WEBHOOK_FIELDS: &[&str] = &["url", "description", "enabled", "types"];

/// A declared group.
pub(crate) struct NormalGroup {
    /// Its normal form, without `hierarchy` and `disabled`.
    pub(crate) json: Value,
    /// Its models.
    pub(crate) models: GroupModels<Slug>,
    /// Its budgets.
    pub(crate) budgets: Budgets,
    /// The mode that it declares.
    pub(crate) enforcement: Option<Enforcement>,
}

/// The normal form of an endpoint, from the body that creates it. The error names the field.
pub(crate) fn endpoint(body: &Value) -> Result<Value, String> {
    let new = read(body, endpoints::Create::read)?;
    let slug = new.slug.to_string();
    let endpoint = domain::Endpoint {
        id: EndpointId(0),
        slug: SlugId(0),
        region: new.region,
        targets: new.targets,
        pricing: new.pricing,
        routing: new.routing,
        queue_timeout_s: new.queue_timeout_s,
        created_at_ms: 0,
        updated_at_ms: 0,
    };
    declared(&Endpoint::named(slug, &endpoint), ENDPOINT_FIELDS)
}

/// A group, from the body that creates it, which may have no models here. The error names the field.
pub(crate) fn group(body: &Value) -> Result<NormalGroup, String> {
    let new = read(body, |body: groups::Create| body.read(new_models))?;
    let models: Vec<_> = new.models.iter().map(|model| Model::named(model.slug.to_string(), model)).collect();
    let budgets: Vec<_> = new.budgets.iter().map(Budget::new).collect();
    let json = json!({
        "metadata": { "name": new.name, "external_entity_id": new.external_entity_id },
        "models": models,
        "budgets": budgets,
    });
    Ok(NormalGroup { json, models: new.models, budgets: new.budgets, enforcement: new.enforcement })
}

/// The normal form of a webhook, from the body that creates it. The error names the field.
pub(crate) fn webhook(body: &Value) -> Result<Value, String> {
    let new = read(body, webhooks::Create::read)?;
    let types: Vec<_> = new.types.iter().map(WebhookTypeWord).collect();
    Ok(json!({ "url": new.url, "description": new.description, "enabled": new.enabled, "types": types }))
}

/// Checks the body that stores a provider credential. The error names the field and has no part of the value.
pub(crate) fn check_secret(body: &Value) -> Result<(), String> {
    read(body, |_: secrets::Put| Ok(()))
}

/// The name of a mode in JSON.
pub(crate) fn enforcement_word(mode: Enforcement) -> &'static str {
    EnforcementWord(mode).word()
}

fn read<B: serde::de::DeserializeOwned, T>(
    body: &Value,
    read: impl FnOnce(B) -> Result<T, Error>,
) -> Result<T, String> {
    let bytes = serde_json::to_vec(body).map_err(|error| error.to_string())?;
    parse(&bytes).and_then(read).map_err(|error| match error {
        Error::Invalid { message, .. } => message,
        other => format!("{other:?}"),
    })
}

/// The given fields of a response.
fn declared(response: &impl Serialize, fields: &[&str]) -> Result<Value, String> {
    let response = serde_json::to_value(response).map_err(|error| error.to_string())?;
    Ok(only(response, fields))
}

/// The given fields of an object.
pub(crate) fn only(object: Value, fields: &[&str]) -> Value {
    let Value::Object(all) = object else { return Value::Object(Map::new()) };
    all.into_iter().filter(|(name, _)| fields.contains(&name.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn fields_of<T: schemars::JsonSchema>() -> BTreeSet<String> {
        let schema = schemars::schema_for!(T);
        schema.as_value()["properties"].as_object().unwrap().keys().cloned().collect()
    }

    fn set(fields: &[&str]) -> BTreeSet<String> {
        fields.iter().map(|field| (*field).to_owned()).collect()
    }

    #[test]
    fn every_field_that_a_client_can_write_is_declared() {
        assert_eq!(fields_of::<endpoints::Create>(), set(ENDPOINT_FIELDS));
        assert_eq!(fields_of::<webhooks::Create>(), set(WEBHOOK_FIELDS));
        let mut group = fields_of::<groups::Create>();
        group.extend(fields_of::<groups::Patch>());
        assert_eq!(group, set(GROUP_FIELDS));
    }

    #[test]
    fn equal_declarations_have_equal_normal_forms() {
        let short = json!({ "slug": "a/b", "targets": [{ "provider": "DEMO" }],
            "pricing": { "currency": "EUR", "input": "1.50", "output": "2" } });
        let long = json!({ "slug": "a/b", "targets": [{ "provider": "DEMO", "weight": 1, "secret_id": null }],
            "pricing": { "currency": "EUR", "input": "1.5", "output": "2.000", "cached": "1.5" },
            "routing": "PRIORITY", "queue_timeout_s": 0, "region": "UNRESTRICTED" });
        assert_eq!(endpoint(&short).unwrap(), endpoint(&long).unwrap());
        assert_eq!(
            webhook(&json!({ "url": "https://a.example/" })).unwrap(),
            webhook(&json!({ "url": "https://a.example/", "enabled": true, "types": ["API_BILLING_USAGE"] })).unwrap()
        );
    }

    #[test]
    fn an_error_names_the_field_and_no_value_of_a_secret() {
        let error = |body: Value| group(&body).err().unwrap();
        let limits = json!([{ "type": "TOKEN", "unit": "MINUTE", "threshold": -1 }]);
        let body = json!({ "metadata": { "external_entity_id": "a" },
            "models": [{ "slug": "a/b", "rate_limits": limits }] });
        assert!(error(body).starts_with("models[0].rate_limits[0].threshold: must be a whole number"));
        assert!(error(json!({ "metadata": {}, "models": [] })).contains("missing field `external_entity_id`"));
        let refused = check_secret(&json!({ "name": "a", "value": "tell nobody" })).unwrap_err();
        assert!(refused.starts_with("value: must be") && !refused.contains("tell"), "{refused}");
    }
}
