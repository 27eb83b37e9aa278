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
    /// Its last success and failure.
    pub health: Health,
    /// The parameters added by Tollgate that it has refused.
    pub declined: Declined,
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
            model,
            provider: target.provider,
            base_url,
            credential,
            reach,
            health: Health::default(),
            declined: Declined::default(),
        }
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
