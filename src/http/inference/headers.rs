//! Headers: selects those of a customer's request that are passed on to the upstream, and makes values for responses.

use actix_http::header::{HeaderMap, HeaderValue};
use bytes::Bytes;

const PASSED_ON: [&str; 4] = ["accept", "anthropic-version", "anthropic-beta", "openai-beta"];

/// The headers of a request that are passed on to the upstream. A body without a content type is treated as JSON. Lines
/// of the same name are joined: Anthropic's SDK for Go sends one for each beta.
pub(super) fn passed_on(headers: &HeaderMap) -> Vec<(&'static str, Bytes)> {
    let content_type = headers.get("content-type").map(|value| Bytes::copy_from_slice(value.as_bytes()));
    let content_type = content_type.unwrap_or_else(|| Bytes::from_static(b"application/json"));
    let joined =
        |name: &str| Bytes::from(headers.get_all(name).map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b", "[..]));
    let others = PASSED_ON.iter().filter(|name| headers.contains_key(**name)).map(|name| (*name, joined(name)));
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
