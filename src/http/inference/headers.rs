//! Headers: selects those of a customer's request that are passed on to the upstream, and makes values for responses.

use actix_http::header::{self, HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use uuid::Uuid;

use crate::{
    domain::trace_context::{TraceId, is_tracestate},
    service::request::PassedOn,
};

const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const ANTHROPIC_BETA: HeaderName = HeaderName::from_static("anthropic-beta");
const OPENAI_BETA: HeaderName = HeaderName::from_static("openai-beta");
const SESSION_AFFINITY: HeaderName = HeaderName::from_static("x-session-affinity");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The headers of a request that are passed on to the upstream, and our request id. A body without a content type is
/// treated as JSON. `trace_id` is the result of [`trace_id`] for the request.
pub(super) fn passed_on(headers: &HeaderMap, id: u128, trace_id: Option<TraceId>) -> PassedOn {
    let first = |name| headers.get(name).map(|value| Bytes::copy_from_slice(value.as_bytes()));
    let traceparent = trace_id.and_then(|_| first(TRACEPARENT));
    let tracestate =
        traceparent.as_ref().and_then(|_| joined(headers, TRACESTATE)).filter(|state| is_tracestate(state));
    let passed_on = [
        ("content-type", first(header::CONTENT_TYPE).or(Some(Bytes::from_static(b"application/json")))),
        ("accept", joined(headers, header::ACCEPT)),
        ("anthropic-version", joined(headers, ANTHROPIC_VERSION)),
        ("anthropic-beta", joined(headers, ANTHROPIC_BETA)),
        ("openai-beta", joined(headers, OPENAI_BETA)),
        ("traceparent", traceparent),
        ("tracestate", tracestate),
        ("x-request-id", Some(request_id(Uuid::from_u128(id)))),
    ];
    passed_on.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The name of the session that a request belongs to. It is not passed on.
pub(super) fn session_affinity(headers: &HeaderMap) -> Option<Bytes> {
    headers.get(SESSION_AFFINITY).map(|value| Bytes::copy_from_slice(value.as_bytes()))
}

/// The trace id of a request with one valid `traceparent` header.
pub(super) fn trace_id(headers: &HeaderMap) -> Option<TraceId> {
    let mut values = headers.get_all(TRACEPARENT);
    let value = values.next().filter(|_| values.next().is_none())?;
    TraceId::of_traceparent(value.as_bytes())
}

/// The value of a header whose lines are joined: Anthropic's SDK for Go sends one for each beta.
fn joined(headers: &HeaderMap, name: HeaderName) -> Option<Bytes> {
    let mut lines = headers.get_all(name).map(HeaderValue::as_bytes);
    let (first, rest) = (lines.next()?, lines);
    Some(rest.fold(Bytes::copy_from_slice(first), |joined, line| [&joined, line].join(&b", "[..]).into()))
}

/// The value of an `x-request-id` header.
pub(super) fn request_id(id: Uuid) -> Bytes {
    Bytes::copy_from_slice(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes())
}

/// Makes a header value of bytes. `None` if they are not a valid value.
pub(super) fn value(bytes: Bytes) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(bytes).ok()
}

/// Makes a header value of a text of letters and digits.
pub(super) fn text(display: impl std::fmt::Display) -> HeaderValue {
    value(display.to_string().into()).unwrap_or_else(|| HeaderValue::from_static(""))
}
