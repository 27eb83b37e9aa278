//! The headers that let pages of other origins call and read answers (CORS, the Fetch standard).
//!
//! A key travels in a header that the page sets itself, never in a cookie, so no credentials are allowed, and any header
//! may be sent: one that we do not know has no effect.

use actix_http::{
    Method, RequestHead,
    header::{self, HeaderMap, HeaderValue},
};

use crate::config::Origins;

/// How long a browser may remember a preflight, in seconds. None remembers it for longer than a day, Chromium two hours.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST");

const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, retry-after, x-should-retry, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, \
     x-ratelimit-reset-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens",
);

/// How a request stands to the setting `cors_origins`.
pub(super) enum Cors {
    /// No page of another origin may call.
    Off,
    /// No page calls, or none of an allowed origin.
    Elsewhere,
    /// A page of this origin calls.
    Call(HeaderValue),
    /// A browser asks whether a page of this origin may call, with these headers.
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
            return Self::Elsewhere;
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

    /// Adds what the browser must hear to an answer, whatever its status.
    pub(super) fn write(self, headers: &mut HeaderMap) {
        if matches!(self, Self::Off) {
            return;
        }
        // Also where there is no origin: a cache must not give that answer to a page.
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        match self {
            Self::Off | Self::Elsewhere => {}
            Self::Call(origin) => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            }
            Self::Preflight(origin, requested) => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
                headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
                if let Some(requested) = requested {
                    // By name: `*` would not cover Authorization.
                    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, requested);
                }
            }
        }
    }
}
