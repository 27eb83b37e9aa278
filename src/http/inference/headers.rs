//! Which of a customer's headers an upstream sees: these, and no others.

use actix_http::header::HeaderMap;
use bytes::Bytes;

const PASSED_ON: [&str; 4] = ["accept", "anthropic-version", "anthropic-beta", "openai-beta"];

/// The headers to pass on; a body without a content type is JSON.
pub(super) fn passed_on(headers: &HeaderMap) -> Vec<(&'static str, Bytes)> {
    let value = |name: &str| headers.get(name).map(|value| Bytes::copy_from_slice(value.as_bytes()));
    let content_type = value("content-type").unwrap_or_else(|| Bytes::from_static(b"application/json"));
    let others = PASSED_ON.iter().filter_map(|name| value(name).map(|value| (*name, value)));
    std::iter::once(("content-type", content_type)).chain(others).collect()
}
