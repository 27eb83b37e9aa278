//! Resources in a form that can be compared and written to a file.

use serde_json::Value;

use crate::{
    domain::{budget::Budgets, group::Enforcement, group::GroupModels, slug::Slug},
    http::admin::normal::NormalGroup,
};

/// A kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum Kind {
    Secret,
    Endpoint,
    Group,
    Webhook,
}

impl Kind {
    pub(in crate::commands) fn word(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Endpoint => "endpoint",
            Self::Group => "group",
            Self::Webhook => "webhook",
        }
    }

    /// The path of the resources of this kind.
    pub(in crate::commands) fn path(self) -> &'static str {
        match self {
            Self::Secret => "/v1/secrets",
            Self::Endpoint => "/v1/gateway/endpoints",
            Self::Group => "/v1/gateway/groups",
            Self::Webhook => "/v1/gateway/webhooks",
        }
    }
}

/// A group, declared or live.
pub(super) struct Group {
    /// The external id of the parent; `None` for a root.
    pub(super) parent: Option<String>,
    /// The mode that it declares; a live group always does.
    pub(super) mode: Option<Enforcement>,
    /// `metadata`, `models`, `budgets` and `disabled` in normal form.
    pub(super) normal: Value,
    /// Its models.
    pub(super) models: GroupModels<Slug>,
    /// Its budgets.
    pub(super) budgets: Budgets,
}

impl Group {
    pub(super) fn new(parent: Option<String>, disabled: bool, group: NormalGroup) -> Self {
        let NormalGroup { mut json, models, budgets, enforcement } = group;
        json["disabled"] = disabled.into();
        Self { parent, mode: enforcement, normal: tidy(json), models, budgets }
    }
}

/// Removes fields that are null, and sorts the lists whose order has no meaning.
pub(in crate::commands) fn tidy(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            let tidied = fields.map(|(name, value)| {
                let mut value = tidy(value);
                if let (true, Value::Array(items)) = (is_set(&name), &mut value) {
                    items.sort_by_cached_key(sort_key);
                }
                (name, value)
            });
            Value::Object(tidied.collect())
        }
        Value::Array(items) => items.into_iter().map(tidy).collect(),
        other => other,
    }
}

fn is_set(name: &str) -> bool {
    ["models", "rate_limits", "usage_limits", "budgets", "types"].contains(&name)
}

fn sort_key(item: &Value) -> String {
    label(item).unwrap_or_else(|| item.to_string())
}

/// The name of an item within its list, if it has one: a model's slug, a limit's type and unit, a budget's unit.
pub(super) fn label(item: &Value) -> Option<String> {
    let text = |name: &str| item.get(name).and_then(Value::as_str);
    match (text("slug"), text("type"), text("unit")) {
        (Some(slug), ..) => Some(slug.to_owned()),
        (None, Some(limit_type), Some(unit)) => Some(format!("{limit_type} {unit}")),
        (None, None, Some(unit)) => Some(unit.to_owned()),
        _ => None,
    }
}
