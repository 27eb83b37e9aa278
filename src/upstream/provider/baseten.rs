//! Baseten. The address is derived from the model and its environment, so that no request can be sent elsewhere.

use url::Url;

pub(super) const AUTHORIZATION_SCHEME: &str = "Api-Key";

/// Returns the base URL, or `None` unless both names satisfy [`is_name`].
pub(super) fn base_url(model_id: &str, environment: Option<&str>) -> Option<Url> {
    let environment = environment.unwrap_or("production");
    let is_valid = is_name(model_id) && is_name(environment);
    let text = format!("https://model-{model_id}.api.baseten.co/environments/{environment}/sync/v1");
    is_valid.then(|| Url::parse(&text).ok()).flatten()
}

/// Whether `text` matches `[A-Za-z0-9_-]{1,64}`.
fn is_name(text: &str) -> bool {
    matches!(text.len(), 1..=64) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}
