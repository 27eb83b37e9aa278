//! The differences between providers: address, headers, and parameter names. Each provider has a small file. Apart from
//! the demo upstream, the code that calls targets does not check the provider.

mod anthropic;
mod baseten;
pub mod demo;
mod openai;

use url::Url;

use super::address::parse_http_url;
use crate::{
    crypto::secret::Secret,
    domain::{
        endpoint::{Provider, Target},
        route::Route,
    },
};

/// Returns the URL below which a target's routes are, including a path such as `/v1`. Returns `None` if the stored
/// target yields no valid address.
pub fn base_url(target: &Target) -> Option<Url> {
    let given = target.base_url.as_deref();
    match target.provider {
        Provider::OpenAiCompatible => parse_base_url(given?).ok(),
        Provider::OpenAi => parse_base_url(given.unwrap_or(openai::BASE_URL)).ok(),
        Provider::Anthropic => parse_base_url(given.unwrap_or(anthropic::BASE_URL)).ok(),
        Provider::Baseten => baseten::base_url(target.model_id.as_deref()?, target.environment_name.as_deref()),
        Provider::Demo => None,
    }
}

/// The header that carries the credential: its name and its value.
pub fn credential_header(provider: Provider, secret: &Secret) -> (&'static str, String) {
    let authorization = |scheme: &str| ("authorization", format!("{scheme} {}", secret.expose()));
    match provider {
        Provider::Anthropic => (anthropic::CREDENTIAL_HEADER, secret.expose().to_owned()),
        Provider::Baseten => authorization(baseten::AUTHORIZATION_SCHEME),
        Provider::OpenAiCompatible | Provider::OpenAi | Provider::Demo => authorization(openai::AUTHORIZATION_SCHEME),
    }
}

/// The header that every request needs, unless the customer sends one of the same name.
pub fn default_header(provider: Provider) -> Option<(&'static str, &'static str)> {
    (provider == Provider::Anthropic).then_some(anthropic::VERSION)
}

/// Whether a list of models has every name that the provider accepts. Anthropic's leaves out aliases.
pub fn lists_aliases(provider: Provider) -> bool {
    provider != Provider::Anthropic
}

/// The name of the parameter for the maximum of output tokens. `None` if the route has none.
pub fn output_parameter(provider: Provider, route: Route) -> Option<&'static str> {
    match (provider, route) {
        (Provider::OpenAi, Route::ChatCompletions) => Some(openai::CHAT_OUTPUT_PARAMETER),
        (_, Route::ChatCompletions | Route::Completions | Route::Messages) => Some("max_tokens"),
        (_, Route::Responses) => Some("max_output_tokens"),
        _ => None,
    }
}

/// Parses a base URL in the form that OpenAI SDKs take. Adds `/v1` if it has no path. The error says what is wrong with
/// it.
pub fn parse_base_url(text: &str) -> Result<Url, &'static str> {
    let mut url = parse_http_url(text, "must be a URL such as http://127.0.0.1:8000/v1")?;
    if url.query().is_some() {
        return Err("must not contain a query");
    }
    if matches!(url.path(), "" | "/") {
        url.set_path("/v1");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_has_the_form_that_openai_sdks_take() {
        let url = |text| parse_base_url(text).map(|url| url.to_string());
        assert_eq!(url("http://10.0.0.7:8000").as_deref(), Ok("http://10.0.0.7:8000/v1"));
        assert_eq!(url("https://models.example/api/v3/").as_deref(), Ok("https://models.example/api/v3/"));
        for bad in [
            "",
            "localhost:8000",
            "ftp://x/v1",
            "http://u:p@x/v1",
            "http://x/v1?a=b",
            "http://x/v1#a",
            "http://",
            "http:///v1",
            "http:/x",
            "http://x:0",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
