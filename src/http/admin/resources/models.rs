//! The models and limits of groups, in requests and responses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        group::GroupModel,
        ledger::EffectiveLimit,
        limit::{Limit, LimitKind},
    },
    http::admin::api::{
        body::Object,
        field::{LimitTypeWord, RateUnitWord, SlugText, ThresholdNumber, UsageUnitWord},
    },
    service::{
        catalog::{Catalog, GroupNode},
        changes::groups::NewModel as ServiceModel,
        error::Error,
    },
};

const MAX_MODELS: usize = 1000;

/// A limit for a rolling window.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateLimit {
    #[serde(rename = "type")]
    limit_type: LimitTypeWord,
    unit: RateUnitWord,
    threshold: ThresholdNumber,
}

/// A limit for a calendar day (UTC).
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageLimit {
    #[serde(rename = "type")]
    limit_type: LimitTypeWord,
    unit: UsageUnitWord,
    threshold: ThresholdNumber,
}

impl RateLimit {
    fn new(limit: &Limit) -> Self {
        Self {
            limit_type: LimitTypeWord(limit.limit_type),
            unit: RateUnitWord(limit.unit),
            threshold: ThresholdNumber(limit.threshold),
        }
    }

    fn limit(&self) -> Limit {
        Limit { limit_type: self.limit_type.0, unit: self.unit.0, threshold: self.threshold.0 }
    }
}

impl UsageLimit {
    fn new(limit: &Limit) -> Self {
        Self {
            limit_type: LimitTypeWord(limit.limit_type),
            unit: UsageUnitWord(limit.unit),
            threshold: ThresholdNumber(limit.threshold),
        }
    }

    fn limit(&self) -> Limit {
        Limit { limit_type: self.limit_type.0, unit: self.unit.0, threshold: self.threshold.0 }
    }
}

/// A model that a group carries, with its own limits only.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Model {
    slug: String,
    rate_limits: Vec<RateLimit>,
    usage_limits: Vec<UsageLimit>,
}

impl Model {
    pub(crate) fn new(catalog: &Catalog, model: &GroupModel) -> Self {
        Self::named(catalog.slug_name(model.slug).to_owned(), model)
    }

    pub(crate) fn named(slug: String, model: &GroupModel) -> Self {
        Self {
            slug,
            rate_limits: model.limits_of(LimitKind::Rate).map(RateLimit::new).collect(),
            usage_limits: model.limits_of(LimitKind::Usage).map(UsageLimit::new).collect(),
        }
    }
}

/// A limit that applies to a group, with the group that declared it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Effective{L}")]
pub(crate) struct Effective<L> {
    #[serde(flatten)]
    limit: L,
    source_group: String,
}

/// A model with all limits that apply to its requests.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EffectiveModel {
    slug: String,
    rate_limits: Vec<Effective<RateLimit>>,
    usage_limits: Vec<Effective<UsageLimit>>,
}

impl EffectiveModel {
    pub(crate) fn new(catalog: &Catalog, node: &GroupNode, model: &GroupModel) -> Self {
        let account = node.account(model.slug);
        Self {
            slug: catalog.slug_name(model.slug).to_owned(),
            rate_limits: effective(account.limits(), LimitKind::Rate, RateLimit::new),
            usage_limits: effective(account.limits(), LimitKind::Usage, UsageLimit::new),
        }
    }
}

fn effective<L>(limits: &[EffectiveLimit], kind: LimitKind, view: impl Fn(&Limit) -> L) -> Vec<Effective<L>> {
    let of_kind = limits.iter().filter(|effective| effective.limit.kind() == kind);
    of_kind.map(|one| Effective { limit: view(&one.limit), source_group: one.source.to_string() }).collect()
}

/// A model to be carried by a group.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewModel {
    slug: SlugText,
    /// At most one limit of each type.
    rate_limits: Option<Vec<Object<RateLimit>>>,
    /// At most one limit of each type and unit.
    usage_limits: Option<Vec<Object<UsageLimit>>>,
}

/// Validates a whole set of models: slugs must be distinct, and so must each model's limits.
pub(crate) fn check_models(models: Vec<Object<NewModel>>) -> Result<Vec<ServiceModel>, Error> {
    if models.len() > MAX_MODELS {
        return Err(Error::invalid("too_many_models", format!("models: must have at most {MAX_MODELS} models")));
    }
    let mut checked: Vec<ServiceModel> = Vec::with_capacity(models.len());
    for (index, Object(model)) in models.into_iter().enumerate() {
        let slug = model.slug.0.into_string();
        if checked.iter().any(|known| known.slug == slug) {
            let message = format!("models[{index}].slug: {slug:?} is listed twice");
            return Err(Error::invalid("duplicate_slug", message));
        }
        let rate = model.rate_limits.unwrap_or_default().iter().map(|limit| limit.0.limit()).collect();
        let usage = model.usage_limits.unwrap_or_default().iter().map(|limit| limit.0.limit()).collect();
        let mut limits = distinct(rate, &format!("models[{index}].rate_limits"))?;
        limits.extend(distinct(usage, &format!("models[{index}].usage_limits"))?);
        checked.push(ServiceModel { slug, limits });
    }
    Ok(checked)
}

/// Checks that there is at most one limit of each type. That is also enough for usage limits, whose only unit is DAY.
fn distinct(limits: Vec<Limit>, path: &str) -> Result<Vec<Limit>, Error> {
    for (index, limit) in limits.iter().enumerate() {
        if limits[..index].iter().any(|known| known.limit_type == limit.limit_type) {
            let word = LimitTypeWord(limit.limit_type).word();
            let message = format!("{path}[{index}]: there is already a limit of type {word}");
            return Err(Error::invalid("duplicate_limit", message));
        }
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(models: &str) -> Result<Vec<ServiceModel>, String> {
        let models = serde_json::from_str(models).map_err(|error| error.to_string())?;
        check_models(models).map_err(|error| format!("{error:?}"))
    }

    fn limited(threshold: &str) -> String {
        format!(
            r#"[{{"slug": "a/b", "rate_limits": [{{"type": "TOKEN", "unit": "MINUTE", "threshold": {threshold}}}]}}]"#
        )
    }

    #[test]
    fn thresholds_are_whole_numbers_from_0_to_2_to_the_53_minus_1() {
        for good in ["0", "1", "9007199254740991"] {
            assert!(check(&limited(good)).is_ok(), "{good}");
        }
        for bad in ["-1", "1.5", "1.0", "1e3", "9007199254740992", "9223372036854775808", "\"5\"", "null", "true", "[]"]
        {
            let error = check(&limited(bad)).err().unwrap();
            assert!(error.contains("whole number from 0 to 9007199254740991"), "{bad}: {error}");
        }
    }

    #[test]
    fn slugs_and_limits_are_distinct() {
        let rate = |unit| format!(r#"{{"type": "TOKEN", "unit": "{unit}", "threshold": 1}}"#);
        let with = |field: &str, one: &str, other: &str| format!(r#"[{{"slug": "a/b", "{field}": [{one}, {other}]}}]"#);
        assert!(
            check(&with("rate_limits", &rate("SECOND"), &rate("MINUTE"))).is_err_and(|e| e.contains("rate_limits[1]"))
        );
        assert!(check(&with("usage_limits", &rate("DAY"), &rate("DAY"))).is_err_and(|e| e.contains("usage_limits[1]")));
        assert!(check(&with("rate_limits", &rate("DAY"), "")).is_err());
        assert!(check(r#"[{"slug": "a/b"}, {"slug": "a/b"}]"#).is_err_and(|e| e.contains("models[1].slug")));
        assert!(check(r#"[{"slug": "a/b", "rate_limits": null}, {"slug": "a/c"}]"#).is_ok());
    }
}
