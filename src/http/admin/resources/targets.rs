//! The targets of endpoints, in requests and responses. One table here states which fields each provider has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Map, Value};

use crate::{
    domain::endpoint::{self as domain, MAX_TARGETS, Provider},
    http::admin::api::{
        body::Object,
        field::{BaseUrl, BasetenName, ProviderName, ProviderWord, SecretIdText, TargetModel},
        number::{MaxConcurrent, Weight},
    },
    service::error::Error,
};

/// One upstream of an endpoint.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct Target {
    provider: ProviderWord,
    base_url: Option<String>,
    target_model: Option<String>,
    secret_id: Option<String>,
    model_id: Option<String>,
    environment_name: Option<String>,
    /// Its share of the requests, relative to the other targets, if `routing` is SPREAD.
    weight: Weight,
    /// The most requests that run there at the same time; null if there is no limit.
    max_concurrent: Option<MaxConcurrent>,
    /// Always null: the provider VERTEX is not supported.
    #[schemars(with = "Option<Map<String, Value>>")]
    vertex_config: Option<()>,
}

impl Target {
    pub(in crate::http) fn new(target: &domain::Target) -> Self {
        Self {
            provider: ProviderWord(target.provider),
            base_url: target.base_url.clone(),
            target_model: target.target_model.clone(),
            secret_id: target.secret.map(|id| id.to_string()),
            model_id: target.model_id.clone(),
            // Leaving it out means the same.
            environment_name: target.environment_name.clone().filter(|name| name != "production"),
            weight: Weight(target.weight),
            max_concurrent: target.max_concurrent.map(MaxConcurrent),
            vertex_config: None,
        }
    }
}

/// One upstream of an endpoint, to be created or replaced.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct NewTarget {
    provider: ProviderName,
    /// The base URL, as for an OpenAI SDK.
    base_url: Option<BaseUrl>,
    /// The name of the model on the upstream. Default: the slug.
    target_model: Option<TargetModel>,
    /// The id of the credential.
    secret_id: Option<SecretIdText>,
    /// Only for BASETEN.
    model_id: Option<BasetenName>,
    /// Only for BASETEN.
    environment_name: Option<BasetenName>,
    /// Its share of the requests, relative to the other targets, if `routing` is SPREAD. Default: 1.
    weight: Option<Weight>,
    /// The most requests that run there at the same time. Default: no limit.
    max_concurrent: Option<MaxConcurrent>,
    /// For the provider VERTEX, which is not supported.
    #[schemars(with = "Option<Map<String, Value>>")]
    vertex_config: Option<IgnoredAny>,
}

#[derive(Clone, Copy)]
enum Use {
    Required,
    Optional,
    Refused,
}

/// How a provider uses `base_url`, `secret_id`, `model_id` and `environment_name`.
fn uses(provider: Provider) -> [Use; 4] {
    use Use::{Optional, Refused, Required};
    match provider {
        Provider::OpenAiCompatible => [Required, Optional, Refused, Refused],
        Provider::OpenAi | Provider::Anthropic => [Optional, Required, Refused, Refused],
        Provider::Baseten => [Refused, Optional, Required, Optional],
        Provider::Demo => [Refused, Refused, Refused, Refused],
    }
}

impl NewTarget {
    fn check(self, index: usize) -> Result<domain::Target, Error> {
        let provider = self.provider.0;
        let [base_url, secret_id, model_id, environment_name] = uses(provider);
        let fields = [
            ("base_url", self.base_url.is_some(), base_url),
            ("secret_id", self.secret_id.is_some(), secret_id),
            ("model_id", self.model_id.is_some(), model_id),
            ("environment_name", self.environment_name.is_some(), environment_name),
            ("vertex_config", self.vertex_config.is_some(), Use::Refused),
        ];
        for (field, is_given, usage) in fields {
            let rule = match (usage, is_given) {
                (Use::Required, false) => "is required for",
                (Use::Refused, true) => "is not supported for",
                _ => continue,
            };
            let provider = ProviderWord(provider).word();
            return Err(Error::invalid("invalid_target", format!("targets[{index}].{field}: {rule} {provider}")));
        }
        Ok(domain::Target {
            provider,
            base_url: self.base_url.map(|url| url.0),
            target_model: self.target_model.map(|model| model.0),
            secret: self.secret_id.map(|id| id.0),
            model_id: self.model_id.map(|id| id.0),
            environment_name: self.environment_name.map(|name| name.0),
            weight: self.weight.map_or(1, |weight| weight.0),
            max_concurrent: self.max_concurrent.map(|most| most.0),
        })
    }
}

/// Validates a whole list of targets.
pub(in crate::http) fn check_targets(targets: Vec<Object<NewTarget>>) -> Result<Vec<domain::Target>, Error> {
    if !matches!(targets.len(), 1..=MAX_TARGETS) {
        return Err(Error::invalid("invalid_targets", format!("targets: must have 1 to {MAX_TARGETS} targets")));
    }
    targets.into_iter().enumerate().map(|(index, target)| target.0.check(index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str) -> Result<Vec<domain::Target>, String> {
        let targets = serde_json::from_str(&format!("[{target}]")).map_err(|error| error.to_string())?;
        check_targets(targets).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn a_target_accepts_only_the_fields_of_its_provider() {
        let secret = "01J9X7Y0Z3K4M5N6P7Q8R9S0T1";
        for good in [
            r#"{"provider": "OPENAI_COMPATIBLE", "base_url": "http://10.0.0.7:8000", "vertex_config": null}"#
                .to_owned(),
            format!(r#"{{"provider": "OPENAI", "secret_id": "{secret}"}}"#),
            format!(r#"{{"provider": "ANTHROPIC", "secret_id": "{secret}", "base_url": "https://proxy.example"}}"#),
            r#"{"provider": "BASETEN", "model_id": "abc", "environment_name": "production"}"#.to_owned(),
            r#"{"provider": "DEMO", "target_model": "echo", "base_url": null}"#.to_owned(),
        ] {
            assert!(check(&good).is_ok(), "{good}");
        }
        for (bad, named) in [
            (r#"{"provider": "OPENAI_COMPATIBLE"}"#, "base_url: is required"),
            (r#"{"provider": "OPENAI"}"#, "secret_id: is required"),
            (r#"{"provider": "BASETEN"}"#, "model_id: is required"),
            (r#"{"provider": "BASETEN", "model_id": "a", "base_url": "http://x"}"#, "base_url: is not supported"),
            (r#"{"provider": "DEMO", "model_id": "a"}"#, "model_id: is not supported"),
            (r#"{"provider": "DEMO", "vertex_config": {}}"#, "vertex_config: is not supported"),
            (r#"{"provider": "BASETEN", "model_id": "../x"}"#, "must be 1 to 64 letters"),
            (r#"{"provider": "VERTEX"}"#, "VERTEX is not supported"),
            (r#"{"provider": "ANTHROPIC"}"#, "secret_id: is required"),
            (r#"{"provider": "openai"}"#, "must be OPENAI_COMPATIBLE"),
            (r#"{"provider": "DEMO", "target_model": "a b"}"#, "visible characters"),
        ] {
            let error = check(bad).unwrap_err();
            assert!(error.contains(named), "{bad}: {error}");
        }
    }

    #[test]
    fn the_environment_production_is_not_shown() {
        for (environment, shown) in [("production", None), ("staging", Some("staging"))] {
            let target = format!(r#"{{"provider": "BASETEN", "model_id": "a", "environment_name": "{environment}"}}"#);
            assert_eq!(Target::new(&check(&target).unwrap()[0]).environment_name.as_deref(), shown);
        }
    }

    #[test]
    fn an_endpoint_has_one_to_sixteen_targets() {
        let demo = r#"{"provider": "DEMO"}"#;
        assert!(check("").is_err());
        assert!(check(&[demo; 16].join(",")).is_ok());
        assert!(check(&[demo; 17].join(",")).is_err());
    }
}
