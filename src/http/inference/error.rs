//! Errors in the shapes that OpenAI's and Anthropic's SDKs expect. On this listener, only this file maps a refusal to a
//! status.

use std::{sync::Arc, time::Instant};

use actix_http::{Method, StatusCode};
use bytes::Bytes;
use serde_json::{Value, json};
use tracing::{debug, error, info};
use uuid::Uuid;

use super::{
    api::Api,
    limit_refusal::{self, INSUFFICIENT_QUOTA},
    suggestion::suggestion,
    wait::Wait,
};
use crate::{
    decode::{self, Encoding},
    domain::{ledger::Standings, route::Route, trace_context::TraceId},
    http::connection::Fault,
    service::{
        catalog::Model,
        request::{Refused, RequestFailure, error_frame},
    },
};

/// The maximum number of characters of a method that an error message repeats.
const METHOD_SHOWN: usize = 16;

/// The maximum number of characters of a path that an error message repeats.
const PATH_SHOWN: usize = 64;

/// An error response.
pub(super) struct Problem {
    pub(super) status: u16,
    code: Code,
    message: Box<str>,
    param: Option<Box<str>>,
    pub(super) retry: Retry,
    /// The model that was called, for the log.
    model: Option<Arc<Model>>,
    pub(super) standings: Option<Box<Standings>>,
    /// The methods that the URL accepts.
    pub(super) allow: Option<Methods>,
    /// Whether the connection is closed after the response.
    pub(super) closes: bool,
}

/// The code of an error.
enum Code {
    Own(&'static str),
    /// The code of an upstream's refusal that is passed on, if the upstream gave one.
    Upstream(Option<Box<str>>),
}

/// The methods that a URL accepts.
#[derive(Clone, Copy)]
pub(super) enum Methods {
    /// GET and HEAD.
    Get,
    Post,
}

impl Methods {
    /// The value of the `Allow` header.
    pub(super) fn header(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
        }
    }
}

/// The advice about a retry.
pub(super) enum Retry {
    Nothing,
    /// A retry cannot succeed.
    Never,
    /// The value of `Retry-After`: our own, or the upstream's.
    After(Bytes),
    /// The wait for the limit or budget that stopped the request.
    Limit(Wait),
}

/// Advises a retry after five seconds.
const SOON: Retry = Retry::After(Bytes::from_static(b"5"));

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<Box<str>>) -> Self {
        Self {
            status: status.as_u16(),
            code: Code::Own(code),
            message: message.into(),
            param: None,
            retry: Retry::Nothing,
            model: None,
            standings: None,
            allow: None,
            closes: false,
        }
    }

    pub(super) fn no_random() -> Self {
        Self::from_refused(Refused::Internal("the operating system gave no random numbers".to_owned()))
    }

    /// The error for a request that is not valid HTTP. The connection is closed after it.
    pub(super) fn malformed(fault: Fault) -> Self {
        let status = match fault.is_size() {
            true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            false => StatusCode::BAD_REQUEST,
        };
        Self { closes: true, ..Self::new(status, fault.code(), fault.message()) }
    }

    pub(super) fn method_not_allowed(method: &Method, allow: Methods) -> Self {
        let accepted = allow.header().replace(", ", " and ");
        let message = match *method {
            Method::OPTIONS => {
                format!("This URL accepts {accepted}. OPTIONS is only for CORS preflights from allowed origins.")
            }
            _ => format!("This URL accepts {accepted}, not {}.", excerpt(method.as_str(), METHOD_SHOWN)),
        };
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "unknown_url", message) }
    }

    pub(super) fn unknown_url(method: &Method, path: &str) -> Self {
        let (method, shown) = (excerpt(method.as_str(), METHOD_SHOWN), excerpt(path, PATH_SHOWN));
        let meant = suggestion(path).map(|path| format!(" Did you mean {path}?")).unwrap_or_default();
        let message = format!("Unknown URL: {method} {shown}.{meant}");
        Self::new(StatusCode::NOT_FOUND, "unknown_url", message)
    }

    pub(super) fn upgrade_required() -> Self {
        let message = "WebSockets are not supported. Use POST /v1/responses instead.";
        Self::new(StatusCode::UPGRADE_REQUIRED, "unknown_url", message)
    }

    pub(super) fn invalid_api_key() -> Self {
        // Clients look for the first four words. Claude Code hides a message that contains "x-api-key".
        let message =
            "Incorrect API key provided: it is missing or not valid. Send it as \"Authorization: Bearer KEY\".";
        // Claude Code retries a 401 for minutes unless it is told not to.
        Self { retry: Retry::Never, ..Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message) }
    }

    pub(super) fn access_disabled() -> Self {
        Self::new(StatusCode::FORBIDDEN, "access_disabled", "Access is suspended for this account.")
    }

    pub(super) fn not_ready() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "metering_unavailable", "Not ready.")
    }

    pub(super) fn unsupported_encoding() -> Self {
        let message = "The Content-Encoding of a request body must be one of gzip, deflate, br, zstd and identity.";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", message)
    }

    pub(super) fn request_too_large(max: u64, is_encoded: bool) -> Self {
        let decoded = if is_encoded { " after it is decoded" } else { "" };
        Self::too_large(format!("The request body must be at most {max} bytes{decoded}."))
    }

    fn too_large(message: impl Into<Box<str>>) -> Self {
        Self { closes: true, ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message) }
    }

    /// The error for a body that cannot be decoded.
    pub(super) fn invalid_encoding(encoding: Option<Encoding>, fault: &decode::Fault) -> Self {
        let name = encoding.map_or("identity", Encoding::name);
        let message = format!("The request body cannot be decoded as {name}: {fault}.");
        match fault {
            decode::Fault::Window => Self::too_large(message),
            _ => Self::new(StatusCode::BAD_REQUEST, "invalid_encoding", message),
        }
    }

    pub(super) fn request_timeout() -> Self {
        let message = "The request body stopped for 30 seconds, or arrived too slowly.";
        Self { closes: true, ..Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", message) }
    }

    pub(super) fn broken_body() -> Self {
        let message = "The request body ended before it was complete.";
        Self { closes: true, ..Self::new(StatusCode::BAD_REQUEST, "invalid_json", message) }
    }

    pub(super) fn overloaded() -> Self {
        Self {
            retry: SOON,
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too many requests are running at the moment.")
        }
    }

    pub(super) fn model_not_found(slug: &str) -> Self {
        let slug: String = slug.chars().take(255).collect();
        let message = format!("The model {slug:?} does not exist, or this key may not call it.");
        Self { param: Some("model".into()), ..Self::new(StatusCode::NOT_FOUND, "model_not_found", message) }
    }

    fn from_refused(refused: Refused) -> Self {
        match refused {
            Refused::Invalid(bad) => {
                Self { param: bad.param.map(Box::from), ..Self::new(StatusCode::BAD_REQUEST, bad.code, bad.message) }
            }
            Refused::ModelNotFound(slug) => Self::model_not_found(&slug),
            Refused::Limit(limited) => {
                let (code, message) = limit_refusal::words(&limited);
                Self {
                    retry: Retry::Limit(Wait::of(&limited.refusal)),
                    ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, message)
                }
            }
            Refused::CannotMeter(why) => {
                // The upkeep thread logs this once. A line per refused request would flood the log.
                debug!(why, "requests cannot be metered");
                let message = "Requests cannot be accepted at the moment.";
                Self { retry: SOON, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "metering_unavailable", message) }
            }
            Refused::NoUpstream => {
                let message = "No model server is available for this model.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_upstream", message)
            }
            Refused::Upstream(message) => {
                let message = message.unwrap_or_else(|| "The model server did not return a valid answer.".to_owned());
                Self::new(StatusCode::BAD_GATEWAY, "upstream_error", message)
            }
            Refused::UpstreamTimeout => {
                let message = "The model server did not answer in time.";
                Self::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", message)
            }
            Refused::Overloaded => Self::overloaded(),
            Refused::QueueFull => {
                let message = "All servers of this model are busy. Try again in a moment.";
                Self { retry: SOON, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message) }
            }
            Refused::UpstreamRefused(refusal) => Self {
                status: refusal.status,
                code: Code::Upstream(refusal.code.map(Box::from)),
                param: refusal.param.map(Box::from),
                retry: refusal.retry_after.map_or(Retry::Nothing, Retry::After),
                ..Self::new(StatusCode::BAD_REQUEST, "upstream_refused", refusal.message)
            },
            Refused::Internal(cause) => {
                error!(cause, "a request failed with an internal error");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "An internal error occurred.")
            }
        }
    }

    /// The code for the log. It never contains text from an upstream.
    pub(super) fn logged_code(&self) -> &'static str {
        match self.code {
            Code::Own(code) => code,
            Code::Upstream(_) => "upstream_refused",
        }
    }

    /// The body of the response to the request with this id.
    pub(super) fn body(&self, api: Api, id: Uuid) -> Value {
        match api {
            Api::OpenAi => self.openai_body(),
            Api::Anthropic => self.anthropic_body(id),
        }
    }

    /// The event for a stream whose head has been sent.
    pub(super) fn event(&self, api: Api, id: Uuid, route: Route) -> Bytes {
        error_frame(route, self.body(api, id)).into()
    }

    fn anthropic_body(&self, id: Uuid) -> Value {
        let error_type = match self.status {
            401 => "authentication_error",
            403 => "permission_error",
            404 | 405 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "api_error",
        };
        let mut error = json!({ "type": error_type, "message": self.message });
        if let Retry::Limit(Wait(seconds)) = self.retry {
            error["retry_after_s"] = json!(seconds);
        }
        json!({ "type": "error", "error": error, "request_id": id.to_string() })
    }

    fn openai_body(&self) -> Value {
        let error_type = match (self.status, &self.code) {
            (429, Code::Own(INSUFFICIENT_QUOTA)) => INSUFFICIENT_QUOTA,
            (429, _) => "rate_limit_error",
            (400..=499, _) => "invalid_request_error",
            _ => "server_error",
        };
        let code = match &self.code {
            Code::Own(code) => Some(*code),
            Code::Upstream(code) => code.as_deref(),
        };
        let mut error = json!({ "message": self.message, "type": error_type, "param": self.param, "code": code });
        if let Retry::Limit(Wait(seconds)) = self.retry {
            error["retry_after_s"] = json!(seconds);
        }
        json!({ "error": error })
    }

    /// Logs this error as the response to a request.
    pub(super) fn log(&self, id: Uuid, trace_id: Option<TraceId>, route: &'static str, at: Instant) {
        let trace_id = trace_id.map(tracing::field::display);
        let (status, code, duration_ms) = (self.status, self.logged_code(), millis_since(at));
        let model = self.model.as_ref().map(|model| &*model.slug);
        info!(target: "tollgate::request", %id, trace_id, route, model, status, code, duration_ms, "refused");
    }
}

/// Milliseconds since `at`.
pub(super) fn millis_since(at: Instant) -> u64 {
    u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl From<RequestFailure> for Problem {
    fn from(failure: RequestFailure) -> Self {
        Self { standings: failure.standings, model: failure.model, ..Self::from_refused(failure.refused) }
    }
}

/// The first `most` characters of a text from a client. Characters that are not visible ASCII become `?`.
fn excerpt(text: &str, most: usize) -> String {
    let visible = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    let mut excerpt: String = text.chars().take(most).map(visible).collect();
    if text.chars().nth(most).is_some() {
        excerpt.push('\u{2026}');
    }
    excerpt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_repeats_only_the_start_of_an_unknown_url_and_only_visible_characters() {
        let message = |method: &[u8], path: &str| {
            Problem::unknown_url(&Method::from_bytes(method).unwrap(), path).message.into_string()
        };
        assert_eq!(message(b"GET", "/nothing"), "Unknown URL: GET /nothing.");
        let with_suggestion = message(b"POST", "/chat/completions");
        assert_eq!(with_suggestion, "Unknown URL: POST /chat/completions. Did you mean /v1/chat/completions?");
        assert_eq!(message(b"GET", "/a\u{202e}b\u{7f}c d"), "Unknown URL: GET /a?b?c?d.");
        let long = message(&[b'M'; 500], &format!("/{}", "x".repeat(60_000)));
        assert!(long.len() < 150 && long.ends_with("xx\u{2026}."), "{long}");
    }
}
