//! Errors of the admin API. Only this file maps an error to a status. The body of an error response is
//! `{"error": "Sentence for a person.", "code": "snake_case_code"}`.

use std::fmt;

use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    http::{Method, StatusCode, header},
};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use tracing::{error, info};

use crate::{
    crypto::random,
    http::connection::{Fault, refusal},
    service::error::Error,
};

/// The `Retry-After` of a client that sent too many wrong keys, in seconds.
const WRONG_KEYS_RETRY_AFTER_S: u64 = 60;

/// Why an operator's request failed. The request changed nothing, unless the error is [`Error::Pending`].
#[derive(Debug)]
pub(in crate::http) enum AdminError {
    /// The service, or a validation rule before it, refused the request.
    Refused(Error),
    /// The request has neither a key nor a valid session.
    NoKey,
    /// The key is unknown.
    WrongKey,
    /// The key is unknown, and too many wrong keys came from this address.
    TooManyWrongKeys,
    /// The key is a customer's.
    CustomerKey,
    /// The operator key is not of one of these types, which the route requires.
    WrongType(Vec<&'static str>),
    /// The Host header is not one of this listener's names.
    ForeignHost,
    /// A browser's request does not prove that it comes from Tollgate's own pages; the reason.
    ForeignOrigin(&'static str),
    /// There is no such route.
    NoRoute,
    /// The route does not have this method; it has these.
    WrongMethod(Vec<Method>),
    /// Requests cannot be metered. The response does not say why: only operators may see that.
    NotReady,
    /// The key already has this many live viewers, the maximum.
    TooManyViewers(usize),
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body is larger than this many bytes.
    BodyTooLarge(u64),
    /// The body has a content encoding.
    EncodedBody,
    /// The memory for request bodies is in use.
    Overloaded,
    /// The request is not valid HTTP.
    Malformed(Fault),
}

/// The body of every error response.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(in crate::http) struct ErrorBody {
    /// The error message: a sentence for a person.
    error: String,
    /// The error code, for programs.
    code: &'static str,
}

impl From<Error> for AdminError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl AdminError {
    /// The status, the code and the message.
    fn parts(&self) -> (StatusCode, &'static str, String) {
        let (status, code, message) = match self {
            Self::Refused(Error::Invalid { code, message }) => (StatusCode::BAD_REQUEST, *code, sentence(message)),
            Self::Refused(Error::Published { code, message }) => {
                (StatusCode::BAD_REQUEST, *code, (*message).to_owned())
            }
            Self::Refused(Error::NotFound(what)) => {
                (StatusCode::NOT_FOUND, "not_found", format!("There is no such {what}."))
            }
            Self::Refused(Error::Pending) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "change_pending",
                "The change could not be written to disk in time. It is queued and takes effect when the journal can \
                 be written again."
                    .to_owned(),
            ),
            Self::Refused(Error::Unavailable(why)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "journal_unavailable", sentence(why))
            }
            Self::Refused(Error::Internal(cause)) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", logged(cause)),
            Self::NoKey => (
                StatusCode::UNAUTHORIZED,
                "missing_api_key",
                "An operator key is required. Send it as \"Authorization: Bearer KEY\".".to_owned(),
            ),
            Self::WrongKey => (StatusCode::UNAUTHORIZED, "invalid_api_key", "This key is unknown.".to_owned()),
            Self::TooManyWrongKeys => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_wrong_keys",
                "This key is unknown, and too many wrong keys came from this address. Wait a minute.".to_owned(),
            ),
            Self::CustomerKey => (
                StatusCode::FORBIDDEN,
                "customer_key",
                "This is a customer's key. The admin API accepts only operator keys.".to_owned(),
            ),
            Self::WrongType(types) => (
                StatusCode::FORBIDDEN,
                "insufficient_scope",
                format!("This request requires an operator key of type {}.", types.join(" or ")),
            ),
            Self::ForeignHost => (
                StatusCode::FORBIDDEN,
                "forbidden_host",
                "The Host header must be an IP address, localhost or the host of admin_url.".to_owned(),
            ),
            Self::ForeignOrigin(why) => (StatusCode::FORBIDDEN, "forbidden_origin", (*why).to_owned()),
            Self::NoRoute => (
                StatusCode::NOT_FOUND,
                "unknown_url",
                "There is no such URL. GET /v1/spec lists all routes.".to_owned(),
            ),
            Self::WrongMethod(methods) => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                format!("This URL accepts only {}.", names(methods)),
            ),
            Self::NotReady => {
                (StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Requests cannot be metered at the moment.".to_owned())
            }
            Self::TooManyViewers(most) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_viewers",
                format!("This key already has {most} live viewers. Close one of them first."),
            ),
            Self::BodyTimeout => {
                (StatusCode::REQUEST_TIMEOUT, "request_timeout", "The request body did not arrive in time.".to_owned())
            }
            Self::BodyTooLarge(most) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", format!("The body must be at most {most} bytes."))
            }
            Self::EncodedBody => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_encoding",
                "The admin API accepts no encoded bodies. Send the body without Content-Encoding.".to_owned(),
            ),
            Self::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "Too many request bodies are being read at the moment. Try again in a few seconds.".to_owned(),
            ),
            Self::Malformed(fault) if fault.is_size() => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, fault.code(), fault.message().to_owned())
            }
            Self::Malformed(fault) => (StatusCode::BAD_REQUEST, fault.code(), fault.message().to_owned()),
        };
        (status, code, message)
    }

    fn add_headers(&self, answer: &mut HttpResponseBuilder) {
        match self {
            Self::NoKey | Self::WrongKey => {
                answer.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            Self::TooManyWrongKeys => {
                answer.insert_header((header::RETRY_AFTER, WRONG_KEYS_RETRY_AFTER_S));
            }
            Self::Overloaded => {
                answer.insert_header((header::RETRY_AFTER, "5"));
            }
            Self::WrongMethod(methods) => {
                answer.insert_header((header::ALLOW, names(methods)));
            }
            _ => {}
        }
    }
}

/// The complete response to a request whose head is malformed, with these extra headers. The connection is closed after
/// it.
pub(in crate::http) fn refuse(fault: Fault, headers: &[(&str, &str)]) -> Bytes {
    let (status, code, error) = AdminError::Malformed(fault).parts();
    info!(status = status.as_u16(), code, "malformed admin request refused");
    let body = serde_json::to_string(&ErrorBody { error, code }).unwrap_or_default();
    refusal(status, headers, &body)
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl ResponseError for AdminError {
    fn error_response(&self) -> HttpResponse {
        let (status, code, error) = self.parts();
        let mut answer = HttpResponse::build(status);
        self.add_headers(&mut answer);
        answer.json(ErrorBody { error, code })
    }
}

fn names(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}

/// Logs the cause of an internal error under a new id. Returns the message for the operator, which names only the id.
fn logged(cause: &str) -> String {
    let id = random::uuid().unwrap_or_default();
    error!(%id, cause, "an admin request failed with an internal error");
    format!("An internal error occurred. The log has the details under the id {id}.")
}

/// Formats a validation error as a sentence, with the field's path in backticks: `models[0].slug: must…` becomes
/// `` `models[0].slug`: must… ``.
fn sentence(rule: &str) -> String {
    let end = if rule.ends_with(['.', '!', '?']) { "" } else { "." };
    match rule.split_once(": ") {
        Some((path, rest)) if path.starts_with(|c: char| c.is_ascii_lowercase()) && !path.contains(' ') => {
            format!("`{path}`: {rest}{end}")
        }
        _ => format!("{rule}{end}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validation_error_is_a_sentence_with_the_fields_path_in_backticks() {
        assert_eq!(sentence("models[0].slug: no endpoint has it"), "`models[0].slug`: no endpoint has it.");
        assert_eq!(sentence("Child group exceeds parent group limit."), "Child group exceeds parent group limit.");
        assert_eq!(sentence("The journal: failed"), "The journal: failed.");
    }

    #[test]
    fn an_internal_error_shows_only_its_id() {
        let (status, _, message) = AdminError::from(Error::internal("/data/journal is gone")).parts();
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!message.contains("journal"));
    }
}
