//! CORS (the Fetch standard): the headers that let web pages of other origins call this listener and read the
//! responses.
//!
//! A page sends its key in a header that it sets itself, never in a cookie, so credentials are not allowed. Any request
//! header is allowed, since unknown headers have no effect.

use actix_http::{
    Method, RequestHead,
    header::{self, HeaderMap, HeaderValue},
};

use crate::config::Origins;

/// How long a browser may cache a preflight, in seconds. No browser caches it for more than a day, Chromium for two
/// hours.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST");

const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, request-id, retry-after, x-should-retry, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, \
     x-ratelimit-reset-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens",
);

/// A request's kind with regard to the setting `cors_origins`.
pub(super) enum Cors {
    /// `cors_origins` is empty: no page of another origin may call.
    Off,
    /// The request does not come from a page of an allowed origin.
    NotAllowed,
    /// A call by a page of this origin.
    Call(HeaderValue),
    /// A preflight for a page of this origin, which asks to send these headers.
    Preflight(HeaderValue, Option<HeaderValue>),
}

impl Cors {
    pub(super) fn of(origins: &Origins, request: &RequestHead) -> Self {
        if *origins == Origins::None {
            return Self::Off;
        }
        let headers = &request.headers;
        let Some(origin) = headers.get(header::ORIGIN).filter(|origin| origins.allow(origin.as_bytes())).cloned()
        else {
            return Self::NotAllowed;
        };
        if request.method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
            Self::Preflight(origin, headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned())
        } else {
            Self::Call(origin)
        }
    }

    pub(super) fn is_preflight(&self) -> bool {
        matches!(self, Self::Preflight(..))
    }

    /// Adds the CORS headers to a response of any status.
    pub(super) fn write(self, headers: &mut HeaderMap) {
        if matches!(self, Self::Off) {
            return;
        }
        // Also on responses to requests without an origin: a cache must not return them to a page.
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        match self {
            Self::Off | Self::NotAllowed => {}
            Self::Call(origin) => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            }
            Self::Preflight(origin, requested) => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
                headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
                if let Some(requested) = requested {
                    // The headers are listed by name, since `*` would not include Authorization.
                    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, requested);
                }
            }
        }
    }
}
