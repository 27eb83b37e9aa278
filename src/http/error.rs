//! What an operator's request fails with: the only place that knows which status each failure has. An answer is
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

use super::connection::{Fault, refusal};
use crate::{crypto::random, service::error::Error};

/// How long somebody who guessed too often is told to wait, in seconds.
const GUESS_AGAIN_AFTER_S: u64 = 60;

/// Why an operator's request failed. Unless it is pending, nothing was changed.
#[derive(Debug)]
pub(super) enum AdminError {
    /// The service, or a rule that is checked before it is asked.
    Refused(Error),
    /// Neither a key nor a session that is still good.
    NoKey,
    /// A key that nobody has.
    WrongKey,
    /// One wrong key too many.
    TooManyWrongKeys,
    /// A customer's key.
    CustomerKey,
    /// An operator's key whose type may not do this; these may.
    WrongType(Vec<&'static str>),
    /// A name of this listener that nobody gave it.
    ForeignHost,
    /// A browser's request that does not prove that it comes from our own pages.
    ForeignOrigin(&'static str),
    /// No such route.
    NoRoute,
    /// No such method on this route; these there are.
    WrongMethod(Vec<Method>),
    /// Nothing can be metered now; what is wrong is told to operators only.
    NotReady,
    /// So many look on already with this key.
    TooManyViewers(usize),
    /// A body that did not come.
    BodyTimeout,
    /// A body over this many bytes.
    BodyTooLarge(u64),
    /// The memory for bodies is in use.
    Overloaded,
    /// A request that cannot be read.
    Malformed(Fault),
}

/// The body of every answer that is not a success.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(super) struct ErrorBody {
    /// What is wrong, for a person.
    error: String,
    /// What is wrong, for a program.
    code: &'static str,
}

impl From<Error> for AdminError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl AdminError {
    /// Status, code and sentence.
    fn told(&self) -> (StatusCode, &'static str, String) {
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
                "The change could not be written to the disk in time. It is queued, and comes into force once the \
                 journal can be written again."
                    .to_owned(),
            ),
            Self::Refused(Error::Unavailable(why)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "journal_unavailable", sentence(why))
            }
            Self::Refused(Error::Internal(cause)) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", logged(cause)),
            Self::NoKey => (
                StatusCode::UNAUTHORIZED,
                "missing_api_key",
                "An operator key is needed: \"Authorization: Bearer KEY\".".to_owned(),
            ),
            Self::WrongKey => (StatusCode::UNAUTHORIZED, "invalid_api_key", "This key is not known.".to_owned()),
            Self::TooManyWrongKeys => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_wrong_keys",
                "This key is not known, and too many wrong ones came from this address. Wait a minute.".to_owned(),
            ),
            Self::CustomerKey => (
                StatusCode::FORBIDDEN,
                "customer_key",
                "This is a customer's key; the admin API takes operator keys.".to_owned(),
            ),
            Self::WrongType(types) => (
                StatusCode::FORBIDDEN,
                "insufficient_scope",
                format!("This takes an operator key of type {}.", types.join(" or ")),
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
                "There is nothing at this address; GET /v1/spec lists what there is.".to_owned(),
            ),
            Self::WrongMethod(methods) => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                format!("This address takes {}.", names(methods)),
            ),
            Self::NotReady => {
                (StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Requests cannot be metered now.".to_owned())
            }
            Self::TooManyViewers(most) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_viewers",
                format!("This key has {most} live viewers already; close one of them first."),
            ),
            Self::BodyTimeout => {
                (StatusCode::REQUEST_TIMEOUT, "request_timeout", "The body did not come in time.".to_owned())
            }
            Self::BodyTooLarge(most) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", format!("The body must be at most {most} bytes."))
            }
            Self::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "Too many requests are being read just now; try again in a few seconds.".to_owned(),
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
                answer.insert_header((header::RETRY_AFTER, GUESS_AGAIN_AFTER_S));
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

/// The answer to a request whose head cannot be read, with these headers. It never becomes a request; its connection ends.
pub(super) fn refuse(fault: Fault, headers: &[(&str, &str)]) -> Bytes {
    let (status, code, error) = AdminError::Malformed(fault).told();
    info!(status = status.as_u16(), code, "admin request that cannot be read");
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
        let (status, code, error) = self.told();
        let mut answer = HttpResponse::build(status);
        self.add_headers(&mut answer);
        answer.json(ErrorBody { error, code })
    }
}

fn names(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}

/// What is told about a defect: where to find it in the log.
fn logged(cause: &str) -> String {
    let id = random::uuid().unwrap_or_default();
    error!(%id, cause, "an admin request failed");
    format!("Something went wrong inside; the log says more under {id}.")
}

/// A rule as a sentence: the path of a field in front of it is set apart, `models[0].slug: must…` becomes
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
    fn a_broken_rule_is_a_sentence_with_the_fields_path_set_apart() {
        assert_eq!(sentence("models[0].slug: no endpoint has it"), "`models[0].slug`: no endpoint has it.");
        assert_eq!(sentence("Child group exceeds parent group limit."), "Child group exceeds parent group limit.");
        assert_eq!(sentence("The journal: failed"), "The journal: failed.");
    }

    #[test]
    fn a_defect_is_told_by_its_id_alone() {
        let (status, _, message) = AdminError::from(Error::internal("/data/journal is gone")).told();
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!message.contains("journal"));
    }
}
