//! A target as a request needs it: where it is and the constant part of the requests to it, put together once when the
//! catalog changes and not for every request.

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

/// Where servers list their models, below a target's base URL.
pub const MODELS_PATH: &str = "/models";

/// A compiled target.
pub struct Target {
    /// What is sent as `model`.
    pub model: Arc<str>,
    provider: Provider,
    /// Where it is; never to be seen by a customer.
    base_url: Option<Url>,
    /// What is sent to it as the operator's; never to be seen by anybody.
    credential: Option<Secret>,
    /// How to reach it.
    pub reach: Reach,
    /// How it has fared.
    pub health: Health,
    /// The parts of our own that it has refused in requests.
    pub declined: Declined,
}

/// How a target is reached.
pub enum Reach {
    /// Over HTTP: one template for each route, in the order of `Route::ALL`.
    Http(Vec<Template>),
    /// In this process: the demo upstream.
    Demo,
    /// Not at all: what is stored cannot be used. The words are for the operator.
    Broken(&'static str),
}

impl Target {
    /// Puts a stored target together. `secret` opens the credential that it names.
    pub fn compile(target: &endpoint::Target, slug: &Arc<str>, secret: impl Fn(SecretId) -> Option<Secret>) -> Self {
        let model = target.target_model.as_deref().map_or_else(|| slug.clone(), Arc::from);
        let reach = match target.provider {
            Provider::Demo => Reach::Demo,
            Provider::Anthropic => Reach::Broken("the provider ANTHROPIC is not supported yet"),
            _ => templates(target, &secret).map_or_else(Reach::Broken, Reach::Http),
        };
        let (base_url, credential) = (provider::base_url(target), target.secret.and_then(secret));
        Self {
            model,
            provider: target.provider,
            base_url,
            credential,
            reach,
            health: Health::default(),
            declined: Declined::default(),
        }
    }

    /// Its host's name or address.
    pub fn host(&self) -> Option<&str> {
        self.base_url.as_ref()?.host_str()
    }

    /// What the operator put down for it, to be kept out of what its server says.
    pub fn credential(&self) -> Option<&Secret> {
        self.credential.as_ref()
    }

    /// Scheme, host and port. The demo upstream has none.
    pub fn origin(&self) -> Option<String> {
        self.base_url.as_ref().map(|url| url.origin().ascii_serialization())
    }

    /// Who runs it.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// What it calls the output maximum of a request.
    pub fn output_parameter(&self, route: Route) -> &'static str {
        provider::output_parameter(self.provider, route)
    }
}

/// The request for the list of a target's models.
pub fn list_of_models(
    target: &endpoint::Target,
    secret: impl Fn(SecretId) -> Option<Secret>,
) -> Result<Template, &'static str> {
    Site::of(target, secret)?.template(Method::Get, MODELS_PATH)
}

fn templates(
    target: &endpoint::Target,
    secret: impl Fn(SecretId) -> Option<Secret>,
) -> Result<Vec<Template>, &'static str> {
    let site = Site::of(target, secret)?;
    Route::ALL.iter().map(|route| site.template(Method::Post, route.upstream_path())).collect()
}

/// What the URLs of a target have in common, and the requests to it.
struct Site {
    base: Url,
    credential: Option<String>,
}

impl Site {
    fn of(target: &endpoint::Target, secret: impl Fn(SecretId) -> Option<Secret>) -> Result<Self, &'static str> {
        let base = provider::base_url(target).ok_or("its base_url cannot be used")?;
        let secret =
            target.secret.map(|id| secret(id).ok_or("its secret cannot be opened with this installation's key"));
        let scheme = provider::authorization_scheme(target.provider);
        let credential = secret.transpose()?.map(|secret| format!("{scheme} {}", secret.expose()));
        Ok(Self { base, credential })
    }

    fn template(&self, method: Method, path: &str) -> Result<Template, &'static str> {
        let mut headers = vec![("user-agent", "tollgate".as_bytes())];
        headers.extend(self.credential.as_ref().map(|credential| ("authorization", credential.as_bytes())));
        Template::new(method, &below(&self.base, path), &headers)
            .map_err(|_| "its base_url or its secret cannot be sent")
    }
}

fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&[base.path().trim_end_matches('/'), path].concat());
    url
}
