//! The models and limits of groups, in requests and responses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        group::{GroupModel, GroupModels, InvalidModels, MAX_MODELS},
        id::GroupId,
        ledger,
        limit::{Limit, LimitKind, LimitType, Unit},
        slug::Slug,
    },
    http::admin::api::{
        body::Object,
        field::{LimitTypeWord, RateUnitWord, SlugText, UnitWord, UsageUnitWord},
        number::ThresholdNumber,
    },
    service::{
        catalog::{Catalog, GroupNode},
        error::Error,
    },
};

/// A limit for a rolling window, or on the requests that run at the same time. CONCURRENT is for the type REQUEST only.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct RateLimit {
    #[serde(rename = "type")]
    limit_type: LimitTypeWord,
    unit: RateUnitWord,
    threshold: ThresholdNumber,
}

/// A limit for a calendar window of the configured time zone.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct UsageLimit {
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
pub(in crate::http) struct Model {
    slug: String,
    rate_limits: Vec<RateLimit>,
    usage_limits: Vec<UsageLimit>,
}

impl Model {
    pub(in crate::http) fn new(catalog: &Catalog, model: &GroupModel) -> Self {
        Self::named(catalog.slug_name(model.slug).to_owned(), model)
    }

    pub(in crate::http) fn named<S>(slug: String, model: &GroupModel<S>) -> Self {
        Self {
            slug,
            rate_limits: model.limits_of(LimitKind::Rate).map(RateLimit::new).collect(),
            usage_limits: model.limits_of(LimitKind::Usage).map(UsageLimit::new).collect(),
        }
    }
}

/// A limit or budget that applies to a group, with the group that declared it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Effective{L}")]
pub(in crate::http) struct Effective<L> {
    #[serde(flatten)]
    declared: L,
    source_group: String,
}

impl<L> Effective<L> {
    pub(in crate::http) fn new(declared: L, source: GroupId) -> Self {
        Self { declared, source_group: source.to_string() }
    }
}

/// A model with all limits that apply to its requests.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct EffectiveModel {
    slug: String,
    rate_limits: Vec<Effective<RateLimit>>,
    usage_limits: Vec<Effective<UsageLimit>>,
}

impl EffectiveModel {
    pub(in crate::http) fn new(catalog: &Catalog, node: &GroupNode, model: &GroupModel) -> Self {
        let account = node.account(model.slug);
        Self {
            slug: catalog.slug_name(model.slug).to_owned(),
            rate_limits: effective(account.rules(), LimitKind::Rate, RateLimit::new),
            usage_limits: effective(account.rules(), LimitKind::Usage, UsageLimit::new),
        }
    }
}

fn effective<L>(rules: &[ledger::Effective], kind: LimitKind, view: impl Fn(&Limit) -> L) -> Vec<Effective<L>> {
    let limits = rules.iter().filter_map(|effective| Some((effective.rule.limit()?, effective.source)));
    let of_kind = limits.filter(|(limit, _)| limit.kind() == kind);
    of_kind.map(|(limit, source)| Effective::new(view(limit), source)).collect()
}

/// A model to be carried by a group.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct NewModel {
    slug: SlugText,
    /// At most one limit of each type for a rolling window, and at most one on the requests that run at the same time.
    rate_limits: Option<Vec<Object<RateLimit>>>,
    /// At most one limit of each type and unit.
    usage_limits: Option<Vec<Object<UsageLimit>>>,
}

impl NewModel {
    fn into_model(self) -> GroupModel<Slug> {
        let rate = self.rate_limits.into_iter().flatten().map(|limit| limit.0.limit());
        let usage = self.usage_limits.into_iter().flatten().map(|limit| limit.0.limit());
        GroupModel { slug: self.slug.0, limits: rate.chain(usage).collect() }
    }
}

/// The models of a new group.
pub(in crate::http) fn models_of_new_group(models: Vec<Object<NewModel>>) -> Result<GroupModels<Slug>, Error> {
    GroupModels::of_new_group(into_models(models)?).map_err(invalid_models)
}

/// The whole new set of models of an existing group.
pub(in crate::http) fn new_models(models: Vec<Object<NewModel>>) -> Result<GroupModels<Slug>, Error> {
    GroupModels::new(into_models(models)?).map_err(invalid_models)
}

fn into_models(models: Vec<Object<NewModel>>) -> Result<Vec<GroupModel<Slug>>, Error> {
    let models: Vec<_> = models.into_iter().map(|model| model.0.into_model()).collect();
    for (model, GroupModel { limits, .. }) in models.iter().enumerate() {
        // Rate limits come before usage limits, so this is the index among them.
        let is_tokens_at_once = |limit: &Limit| (limit.limit_type, limit.unit) == (LimitType::Token, Unit::Concurrent);
        if let Some(index) = limits.iter().position(is_tokens_at_once) {
            let message = format!("models[{model}].rate_limits[{index}].type: must be REQUEST for the unit CONCURRENT");
            return Err(Error::invalid("invalid_field", message));
        }
    }
    Ok(models)
}

/// The error for a broken rule, which names the field.
fn invalid_models(broken: InvalidModels<Slug>) -> Error {
    let (code, message) = match broken {
        InvalidModels::Empty => ("no_models", "models: must have at least one model".to_owned()),
        InvalidModels::TooMany => ("too_many_models", format!("models: must have at most {MAX_MODELS} models")),
        InvalidModels::DuplicateSlug { model, slug } => {
            ("duplicate_slug", format!("models[{model}].slug: {:?} is listed twice", &*slug))
        }
        InvalidModels::DuplicateLimit { model, index, limit } => {
            let list = match limit.kind() {
                LimitKind::Rate => "rate_limits",
                LimitKind::Usage => "usage_limits",
            };
            let word = LimitTypeWord(limit.limit_type).word();
            let message = match limit.unit {
                Unit::Second | Unit::Minute => format!("a limit of type {word} for a second or a minute"),
                unit => format!("a limit of type {word} and unit {}", UnitWord(unit).word()),
            };
            ("duplicate_limit", format!("models[{model}].{list}[{index}]: there is already {message}"))
        }
    };
    Error::invalid(code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(models: &str) -> Result<GroupModels<Slug>, String> {
        let models = serde_json::from_str(models).map_err(|error| error.to_string())?;
        new_models(models).map_err(|error| format!("{error:?}"))
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
