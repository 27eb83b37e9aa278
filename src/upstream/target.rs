//! Compiled targets: the address, the credential and the constant part of the requests to a target. They are built when
//! the catalog changes, not for each request.

use std::sync::Arc;

use url::Url;

use super::{
    client::{Method, Template},
    declined::Declined,
    health::Health,
    provider,
};
use crate::{
    crypto::secret::Secret,
    domain::{
        endpoint::{self, Provider},
        id::SecretId,
        route::Route,
    },
};

/// The path of the list of models, relative to a target's base URL.
pub const MODELS_PATH: &str = "/models";

/// A compiled target.
pub struct Target {
    /// The model name that is sent to it.
    pub model: Arc<str>,
    provider: Provider,
    /// Its address. Customers must never see it.
    base_url: Option<Url>,
    /// The operator's credential. It must never be shown.
    credential: Option<Secret>,
    /// The way to call it.
    pub reach: Transport,
    /// A hash of its provider, its address and its model, for consistent hashing.
    identity: u64,
    /// Its share of the requests when they are spread over the targets, 1 to 100.
    pub weight: u8,
    /// The most requests that run there at the same time. `None` for no limit.
    pub max_concurrent: Option<u32>,
    /// Its health, shared with the target that it replaced if that is the same server.
    pub health: Arc<Health>,
    /// The parameters added by Tollgate that it has refused, shared in the same way.
    pub declined: Arc<Declined>,
}

/// The way to call a target.
pub enum Transport {
    /// Over HTTP.
    Http(Templates),
    /// In this process: the demo upstream.
    Demo,
    /// Impossible, because the stored target is not usable. The text for the operator says why.
    Broken(&'static str),
}

impl Target {
    /// Compiles a stored target. `secret` returns the decrypted credential with an id, or `None` if it cannot be
    /// decrypted.
    pub fn compile(target: &endpoint::Target, slug: &Arc<str>, secret: impl Fn(SecretId) -> Option<Secret>) -> Self {
        let model = target.target_model.as_deref().map_or_else(|| slug.clone(), Arc::from);
        let reach = match target.provider {
            Provider::Demo => Transport::Demo,
            _ => templates(target, &secret).map_or_else(Transport::Broken, Transport::Http),
        };
        let (base_url, credential) = (provider::base_url(target), target.secret.and_then(secret));
        Self {
            identity: identity(target.provider, base_url.as_ref(), &model),
            model,
            provider: target.provider,
            base_url,
            credential,
            reach,
            weight: target.weight,
            max_concurrent: target.max_concurrent,
            health: Arc::default(),
            declined: Arc::default(),
        }
    }

    /// Whether both are the same model at the same address with the same credential, so that one's health is the
    /// other's.
    pub fn is_same_server(&self, other: &Self) -> bool {
        (self.provider, &self.base_url, &self.model) == (other.provider, &other.base_url, &other.model)
            && self.credential().map(Secret::expose) == other.credential().map(Secret::expose)
    }

    /// Shares the health of `from`, the target that this one replaces. The two must be the same server.
    pub fn carry_over(&mut self, from: &Self) {
        self.health = from.health.clone();
        self.declined = from.declined.clone();
    }

    /// A hash of its provider, its address and its model. It is the same in every process.
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// The name or address of its host. The demo upstream has none.
    pub fn host(&self) -> Option<&str> {
        self.base_url.as_ref()?.host_str()
    }

    /// The operator's credential, which must be removed from the server's messages.
    pub fn credential(&self) -> Option<&Secret> {
        self.credential.as_ref()
    }

    /// Its scheme, host and port. The demo upstream has none.
    pub fn origin(&self) -> Option<String> {
        self.base_url.as_ref().map(|url| url.origin().ascii_serialization())
    }

    /// Its provider.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// The name of the parameter for the maximum of output tokens. `None` if the route has none.
    pub fn output_parameter(&self, route: Route) -> Option<&'static str> {
        provider::output_parameter(self.provider, route)
    }
}

fn identity(provider: Provider, base_url: Option<&Url>, model: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    // No URL has a zero byte.
    hasher.update(&[provider as u8]).update(base_url.map_or("", Url::as_str).as_bytes()).update(&[0]);
    let mut first = [0; 8];
    hasher.update(model.as_bytes()).finalize_xof().fill(&mut first);
    u64::from_le_bytes(first)
}

/// The templates of the requests to the routes of a target.
pub struct Templates {
    /// In the order of `Route::ALL`.
    plain: Vec<Template>,
    /// The templates with `?beta=true`, of Anthropic's routes. Nothing else of a query is passed on.
    beta: Vec<(Route, Template)>,
}

impl Templates {
    /// The template for `route`. With `beta`, its URL has `?beta=true` if the route passes that on.
    pub fn get(&self, route: Route, beta: bool) -> Option<&Template> {
        let with_beta = || self.beta.iter().find(|(of, _)| *of == route).map(|(_, template)| template);
        beta.then(with_beta).flatten().or_else(|| self.plain.get(route as usize))
    }
}

/// Returns the template of the request for a target's list of models. The error is a text for the operator.
pub fn list_of_models(
    target: &endpoint::Target,
    secret: impl Fn(SecretId) -> Option<Secret>,
) -> Result<Template, &'static str> {
    Site::of(target, secret)?.template(Method::Get, MODELS_PATH, None)
}

fn templates(
    target: &endpoint::Target,
    secret: impl Fn(SecretId) -> Option<Secret>,
) -> Result<Templates, &'static str> {
    let site = Site::of(target, secret)?;
    let template = |route: Route, query| site.template(Method::Post, route.upstream_path(), query);
    let plain = Route::ALL.into_iter().map(|route| template(route, None)).collect::<Result<_, _>>()?;
    let with_beta = |route: Route| template(route, Some("beta=true")).map(|template| (route, template));
    let beta = Route::ALL.into_iter().filter(|route| route.is_anthropic()).map(with_beta).collect::<Result<_, _>>()?;
    Ok(Templates { plain, beta })
}

/// The common parts of all requests to a target.
struct Site {
    base: Url,
    credential: Option<(&'static str, String)>,
    default_header: Option<(&'static str, &'static str)>,
}

impl Site {
    fn of(target: &endpoint::Target, secret: impl Fn(SecretId) -> Option<Secret>) -> Result<Self, &'static str> {
        let base = provider::base_url(target).ok_or("its base_url cannot be used")?;
        let secret =
            target.secret.map(|id| secret(id).ok_or("its secret cannot be opened with this installation's key"));
        let credential = secret.transpose()?.map(|secret| provider::credential_header(target.provider, &secret));
        Ok(Self { base, credential, default_header: provider::default_header(target.provider) })
    }

    fn template(&self, method: Method, path: &str, query: Option<&str>) -> Result<Template, &'static str> {
        let mut headers = vec![("user-agent", "tollgate".as_bytes())];
        headers.extend(self.credential.as_ref().map(|(name, value)| (*name, value.as_bytes())));
        let mut url = self.base.clone();
        url.set_path(&[self.base.path().trim_end_matches('/'), path].concat());
        url.set_query(query);
        Template::new(method, &url, &headers)
            .map(|template| template.with_default(self.default_header))
            .map_err(|_| "its base_url or its secret cannot be sent")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(base_url: &str, model: Option<&str>, credential: Option<&'static str>) -> Target {
        let stored = endpoint::Target {
            provider: Provider::OpenAiCompatible,
            base_url: Some(base_url.to_owned()),
            target_model: model.map(str::to_owned),
            secret: credential.map(|_| SecretId(1)),
            model_id: None,
            environment_name: None,
            weight: 1,
            max_concurrent: None,
        };
        Target::compile(&stored, &"acme/chat".into(), |_| credential.map(|text| Secret::new(text.to_owned())))
    }

    #[test]
    fn a_change_of_address_model_or_credential_makes_another_server() {
        let old = target("http://a/v1", None, Some("one"));
        old.declined.options(1);
        let mut same = target("http://a/v1", Some("acme/chat"), Some("one"));
        assert!(same.is_same_server(&old));
        same.carry_over(&old);
        assert!(Arc::ptr_eq(&same.health, &old.health) && same.declined.has_options(2));
        for other in [
            target("http://b/v1", None, Some("one")),
            target("http://a/v2", None, Some("one")),
            target("http://a/v1", Some("m"), Some("one")),
            target("http://a/v1", None, Some("two")),
            target("http://a/v1", None, None),
        ] {
            assert!(!other.is_same_server(&old) && !old.is_same_server(&other));
        }
    }

    #[test]
    fn an_identity_depends_on_the_address_and_the_model_alone() {
        let identity = |base_url, model, credential| target(base_url, model, credential).identity();
        let one = identity("http://a/v1", None, Some("one"));
        assert_eq!(one, 12_179_634_540_133_499_188, "the same in every process");
        assert_eq!(one, identity("http://a/v1", Some("acme/chat"), Some("two")));
        assert_ne!(one, identity("http://b/v1", None, Some("one")));
        assert_ne!(one, identity("http://a/v1", Some("acme/chat2"), Some("one")));
    }
}
