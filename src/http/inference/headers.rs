//! Headers: selects those of a customer's request that are passed on to the upstream, and makes values for responses.

use actix_http::header::{HeaderMap, HeaderValue};
use bytes::Bytes;

const PASSED_ON: [&str; 4] = ["accept", "anthropic-version", "anthropic-beta", "openai-beta"];

/// The headers of a request that are passed on to the upstream. A body without a content type is treated as JSON.
pub(super) fn passed_on(headers: &HeaderMap) -> Vec<(&'static str, Bytes)> {
    let value = |name: &str| headers.get(name).map(|value| Bytes::copy_from_slice(value.as_bytes()));
    let content_type = value("content-type").unwrap_or_else(|| Bytes::from_static(b"application/json"));
    let others = PASSED_ON.iter().filter_map(|name| value(name).map(|value| (*name, value)));
    std::iter::once(("content-type", content_type)).chain(others).collect()
}

/// Makes a header value of bytes. `None` if they are not a valid value.
pub(super) fn value(bytes: Bytes) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(bytes).ok()
}

/// Makes a header value of a text of letters and digits.
pub(super) fn text(display: impl std::fmt::Display) -> HeaderValue {
    value(display.to_string().into()).unwrap_or_else(|| HeaderValue::from_static(""))
}
