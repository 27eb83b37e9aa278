//! Headers: which of a customer's an upstream sees, and how values of ours are written.

use actix_http::header::{HeaderMap, HeaderValue};
use bytes::Bytes;

const PASSED_ON: [&str; 4] = ["accept", "anthropic-version", "anthropic-beta", "openai-beta"];

/// The headers to pass on; a body without a content type is JSON.
pub(super) fn passed_on(headers: &HeaderMap) -> Vec<(&'static str, Bytes)> {
    let value = |name: &str| headers.get(name).map(|value| Bytes::copy_from_slice(value.as_bytes()));
    let content_type = value("content-type").unwrap_or_else(|| Bytes::from_static(b"application/json"));
    let others = PASSED_ON.iter().filter_map(|name| value(name).map(|value| (*name, value)));
    std::iter::once(("content-type", content_type)).chain(others).collect()
}

/// Bytes as a header's value, if they can be one.
pub(super) fn value(bytes: Bytes) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(bytes).ok()
}

/// A text as a header's value; it is made of digits and letters.
pub(super) fn text(display: impl std::fmt::Display) -> HeaderValue {
    value(display.to_string().into()).unwrap_or_else(|| HeaderValue::from_static(""))
}
