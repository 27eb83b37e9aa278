//! Refusals and errors of model servers, read in the many shapes that servers give them.
//!
//! An [`UpstreamError`] is shown to customers and to operators. Customers get [`UpstreamError::into_refusal`], or the
//! message within one of our own sentences. Hosts, paths and credentials are removed from it, and the slug replaces the
//! model's name ([`clean`]). Operators get [`UpstreamError::for_operator`]: the server's message without the credential
//! and without quotes from the customer's request ([`echo`]).

use std::time::Duration;

use bytes::Bytes;

pub use self::credential::without_credential;
use self::{body::Body, clean::Names};
use super::{Response, target::Target};
use crate::domain::route::Route;

mod as_read;
mod body;
mod clean;
mod credential;
mod echo;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod hosts;
mod no_route;
mod partial_json;

/// Most bytes of a refusal's body that are read. No error message is longer.
const MAX_READ: usize = 64 << 10;

/// Longest time to read the body of a refusal that may be passed on.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time to read the body of a failure, after which another target is tried.
const FAILURE_BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest code that is passed on, in bytes, and longest parameter, in characters.
const MAX_NAME: usize = 128;

/// Longest part of a server's message that operators see, in characters.
const MAX_OPERATOR_MESSAGE: usize = 200;

/// Codes that concern the operator's account rather than the customer's request, in lower case. The last two are
/// Moonshot's and DashScope's.
const ACCOUNT_CODES: [&str; 8] = [
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "account_deactivated",
    "organization_deactivated",
    "invalid_api_key",
    "exceeded_current_quota_error",
    "arrearage",
];

/// The beginning of Anthropic's message about the operator's account, in lower case. It comes without a code. Only the
/// beginning of a message is compared, because a server that quotes this phrase from a prompt puts its own words first.
const ACCOUNT_PHRASE: &str = "your credit balance is too low to access the anthropic api";

/// The code that tells clients that a prompt is too long.
const TOO_LONG_CODE: &str = "context_length_exceeded";

/// The code of a route or a feature that the model server does not have.
const NOT_SUPPORTED_CODE: &str = "not_supported";

/// Phrases of servers that report a too long prompt without a code, in lower case: vLLM (four), SGLang (three),
/// llama.cpp, Anthropic (two), Mistral, LM Studio.
const TOO_LONG_PHRASES: [&str; 12] = [
    "maximum context length",
    "longer than the maximum model length",
    "model's context length is only",
    "too long to fit into the model",
    "longer than the model's context length",
    "tokens) exceeds the maximum allowed length",
    "exceeds the model's maximum context",
    "exceeds the available context size",
    "prompt is too long",
    "exceed context limit",
    "too large for model with",
    "context length of only",
];

/// A server's refusal or error.
pub struct UpstreamError {
    status: u16,
    /// The message for the customer. Empty if the server gave none that can be shown.
    pub message: String,
    /// The server's message, without the credential.
    raw_message: String,
    /// Paths of parameters: every `param`, and every `loc` of a validation error.
    places: Vec<String>,
    /// Every message in the body. Messages may name further parameters.
    texts: Vec<String>,
    param: Option<String>,
    code: Option<String>,
    is_too_long: bool,
    is_about_route: bool,
    concerns_account: bool,
    retry_after: Option<Bytes>,
}

/// The meaning of a status other than 2xx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The customer's request is at fault: another target would say the same.
    Customer,
    /// The server does not have the route.
    NoRoute,
    /// The operator's credential or account is at fault.
    Account,
    /// The server has reached its own limit.
    Limited,
    /// The server failed.
    Failed,
}

/// A refusal that can be shown to a customer.
pub struct UpstreamRefusal {
    /// The status, 400 to 499.
    pub status: u16,
    /// The message, never empty.
    pub message: String,
    /// The upstream's `param`, cleaned.
    pub param: Option<String>,
    /// The upstream's `code`, or the one that fits its status or message.
    pub code: Option<String>,
    /// The upstream's `retry-after` header.
    pub retry_after: Option<Bytes>,
}

impl UpstreamRefusal {
    /// The time that `retry-after` asks for, in seconds or as a date, at `now_ms` of Unix time. `None` if it cannot be
    /// read.
    pub fn wait(&self, now_ms: u64) -> Option<Duration> {
        let text = std::str::from_utf8(self.retry_after.as_ref()?).ok()?.trim();
        if let Ok(seconds) = text.parse::<f64>() {
            return Duration::try_from_secs_f64(seconds).ok();
        }
        let until = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        let until_ms = u64::try_from(until.as_millisecond()).ok()?;
        Some(Duration::from_millis(until_ms.saturating_sub(now_ms)))
    }
}

/// Reads the body of an answer with a status other than 2xx. If the body takes too long, only the part that has arrived
/// is used.
pub async fn read(mut response: Response, target: &Target, slug: &str) -> UpstreamError {
    let mut body = Vec::new();
    let reading = async {
        while let Some(Ok(piece)) = response.body.chunk().await {
            body.extend_from_slice(&piece[..piece.len().min(MAX_READ - body.len())]);
            if body.len() == MAX_READ {
                break;
            }
        }
    };
    let limit = if response.status < 500 { BODY_TIMEOUT } else { FAILURE_BODY_TIMEOUT };
    let _ = tokio::time::timeout(limit, reading).await;
    UpstreamError::read(response.status, response.retry_after, &body, &Names::of(target, slug))
}

/// Reads an error inside an answer whose status was a success.
pub fn read_error(data: &[u8], target: &Target, slug: &str) -> UpstreamError {
    UpstreamError::read(200, None, data, &Names::of(target, slug))
}

impl UpstreamRefusal {
    /// The refusal of a request to a route that the server does not have.
    pub fn no_route(slug: &str, route: Route) -> Self {
        let message = format!("The model server of {slug:?} does not have the route {}.", route.path());
        Self { status: 404, message, param: None, code: Some(NOT_SUPPORTED_CODE.to_owned()), retry_after: None }
    }
}

impl UpstreamError {
    fn read(status: u16, retry_after: Option<Bytes>, body: &[u8], names: &Names<'_>) -> Self {
        let Body { message, codes, kinds, param, places, texts } = Body::read(body);
        let raw_message = names.without_credential(clean::head(&message));
        let lower = raw_message.to_lowercase();
        let is_one_of = |known: &[&str]| {
            codes.iter().chain(&kinds).any(|code| known.iter().any(|known| known.eq_ignore_ascii_case(code)))
        };
        let is_too_long = is_one_of(&[TOO_LONG_CODE, "exceed_context_size_error"])
            || TOO_LONG_PHRASES.iter().any(|phrase| lower.contains(phrase));
        let is_about_route = no_route::is_about_route(&raw_message, &codes, param.as_deref());
        Self {
            status,
            message: names.clean(&raw_message),
            places,
            texts,
            param: param.map(|param| names.clean(&param).chars().take(MAX_NAME).collect()),
            is_too_long: is_too_long && matches!(status, 400 | 413 | 422),
            is_about_route: matches!(status, 404 | 405) && is_about_route,
            concerns_account: is_one_of(&ACCOUNT_CODES) || lower.starts_with(ACCOUNT_PHRASE),
            code: codes.into_iter().find(|code| is_code(code) && names.clean(code) == *code),
            raw_message,
            retry_after,
        }
    }

    /// The meaning of the status and the code.
    pub fn meaning(&self) -> Meaning {
        match self.status {
            401..=403 => Meaning::Account,
            400..=499 if self.concerns_account => Meaning::Account,
            429 => Meaning::Limited,
            _ if self.is_about_route => Meaning::NoRoute,
            400..=499 | 501 => Meaning::Customer,
            _ => Meaning::Failed,
        }
    }

    /// Whether the error is about `parameter` of the request with this `body`. A quote from the body does not count.
    pub fn refuses_parameter(&self, parameter: &str, body: &[u8]) -> bool {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        // The steps after an index are in one of the customer's messages, which can contain any name.
        let is_index = |step: &str| step.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
        let is_place = |place: &String| {
            place.split(|c| !is_part(c)).take_while(|step| !is_index(step)).any(|step| step == parameter)
        };
        matches!(self.status, 400 | 422)
            && (self.places.iter().any(is_place) || echo::names(&self.texts, parameter, body))
    }

    /// The refusal as the customer gets it.
    pub fn into_refusal(self) -> UpstreamRefusal {
        let Self { message, param, code, retry_after, .. } = self;
        let (status, code) = match self.status {
            501 => (400, Some(NOT_SUPPORTED_CODE.to_owned())),
            status if self.is_too_long => (status, Some(TOO_LONG_CODE.to_owned())),
            status => (status, code),
        };
        let message = if message.is_empty() { "The model server gave no reason.".to_owned() } else { message };
        UpstreamRefusal { status, message, param, code, retry_after }
    }

    /// The message for the customer when the server failed and no other target answered.
    pub fn failure_message(&self) -> String {
        let status = if self.status < 300 { String::new() } else { format!(" ({})", self.status) };
        // The body of a redirect is a page for browsers.
        match self.message.is_empty() || self.concerns_account || matches!(self.status, 300..400) {
            true => format!("The model server failed{status}."),
            false => format!("The model server failed{status}: {}", self.message),
        }
    }

    /// The message for the customer when the server failed in the middle of its answer.
    pub fn stream_error_message(&self) -> String {
        if self.message.is_empty() || self.concerns_account { self.failure_message() } else { self.message.clone() }
    }

    /// The message for operators: `did` (for example "it failed"), the status, and the server's message without quotes
    /// from `body`, the request's body.
    pub fn for_operator(&self, did: &str, body: &[u8]) -> String {
        // Shorten the message first: each part of it is searched for in the request, which may be large.
        let message = self.raw_message.split_whitespace().take(MAX_OPERATOR_MESSAGE).collect::<Vec<_>>().join(" ");
        let message: String = message.chars().take(2 * MAX_OPERATOR_MESSAGE).collect();
        let message: String = echo::without_echo(&message, body).chars().take(MAX_OPERATOR_MESSAGE).collect();
        let status = if self.status < 300 { String::new() } else { format!(" ({})", self.status) };
        if message.is_empty() { format!("{did}{status}") } else { format!("{did}{status}: {message}") }
    }
}

fn is_code(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    text.len() <= MAX_NAME && text.bytes().all(is_part) && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(status: u16, body: &str) -> UpstreamError {
        UpstreamError::read(status, None, body.as_bytes(), &Names::of_model("meta/llama-70b", "acme/chat"))
    }

    #[test]
    fn a_refusal_without_a_message_gets_one() {
        assert_eq!(error_of(400, "[]").into_refusal().message, "The model server gave no reason.");
    }

    #[test]
    fn a_code_is_a_word_and_not_a_number_or_a_host() {
        let code =
            |code: &str| error_of(400, &format!(r#"{{"error":{{"message":"x","code":{code}}}}}"#)).into_refusal().code;
        assert_eq!(code(r#""string_above_max_length""#).as_deref(), Some("string_above_max_length"));
        for none in ["400", r#""400""#, "null", r#""gpu-box.internal""#, r#""two words""#, r#""a\nb""#, "[]"] {
            assert_eq!(code(none), None, "{none}");
        }
        assert_eq!(code(&format!("\"{}\"", "a".repeat(MAX_NAME + 1))), None);
    }

    #[test]
    fn a_too_long_prompt_has_the_same_code_on_every_server() {
        for body in [
            r#"{"error":{"code":400,"message":"the request exceeds it","type":"exceed_context_size_error","n_ctx":8}}"#,
            r#"{"message":"This model's maximum context length is 8 tokens. However, you requested 9.","code":400}"#,
            r#"{"message":"The decoder prompt (length 9) is longer than the maximum model length of 8."}"#,
            r#"{"error":{"message":"The input (9 tokens) is longer than the model's context length (8 tokens)."}}"#,
            r#"{"message":"You passed 9 input tokens. However, the model's context length is only 8 tokens"}"#,
            r#"{"message":"The prompt (total length 9) is too long to fit into the model (context length 8)."}"#,
            r#"{"message":"Input length (9 tokens) exceeds the maximum allowed length (8 tokens). Use a shorter one."}"#,
            r#"{"error":{"message":"input length and `max_tokens` exceed context limit: 9 + 8 > 10"}}"#,
            r#"{"error":"the model is loaded with context length of only 8 tokens and cannot continue"}"#,
            r#"[{"error":{"message":"x","code":"Context_Length_Exceeded"}}]"#,
            r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}"#,
        ] {
            assert_eq!(error_of(400, body).into_refusal().code.as_deref(), Some("context_length_exceeded"), "{body}");
        }
        let refusal = error_of(404, r#"{"message":"no model with this maximum context length"}"#).into_refusal();
        assert_eq!((refusal.status, refusal.code), (404, None));
    }

    #[test]
    fn status_and_code_decide_who_is_at_fault() {
        let meaning = |status, code: &str| error_of(status, &format!(r#"{{"error":{{"code":"{code}"}}}}"#)).meaning();
        assert_eq!(meaning(400, "x"), Meaning::Customer);
        assert_eq!(meaning(501, "x"), Meaning::Customer);
        for status in [401, 402, 403] {
            assert_eq!(meaning(status, "x"), Meaning::Account);
        }
        assert_eq!(meaning(429, "rate_limit_exceeded"), Meaning::Limited);
        for (status, code) in
            [(429, "insufficient_quota"), (400, "billing_hard_limit_reached"), (404, "invalid_api_key")]
        {
            assert_eq!(meaning(status, code), Meaning::Account);
        }
        for body in [
            r#"{"error":{"code":"INSUFFICIENT_QUOTA"}}"#,
            r#"[{"error":{"code":"insufficient_quota"}}]"#,
            r#"{"detail":{"error":{"type":"insufficient_quota"}}}"#,
            r#"{"error":"insufficient_quota","message":"You exceeded your current quota"}"#,
            r#"{"error":{"type":"exceeded_current_quota_error"}}"#,
            r#"{"error":{"code":"Arrearage"}}"#,
            r#"{"error":{"message":"Your credit balance is too low to access the Anthropic API. Please go"}}"#,
        ] {
            assert_eq!(error_of(400, body).meaning(), Meaning::Account, "{body}");
        }
        assert_eq!(error_of(404, r#"{"detail":"Not Found"}"#).meaning(), Meaning::NoRoute);
        assert_eq!(error_of(405, "").meaning(), Meaning::NoRoute);
        assert_eq!(error_of(400, r#"{"detail":"Not Found"}"#).meaning(), Meaning::Customer);
        assert_eq!(error_of(404, r#"{"error":{"message":"model: x"}}"#).meaning(), Meaning::Customer);
        let quote = "cannot parse: your credit balance is too low to access the Anthropic API";
        assert_eq!(error_of(400, quote).meaning(), Meaning::Customer);
        for status in [302, 500, 502, 503, 529] {
            assert_eq!(meaning(status, "insufficient_quota"), Meaning::Failed);
        }
    }

    #[test]
    fn a_501_becomes_a_400_for_the_customer() {
        let refusal = error_of(501, r#"{"error":{"code":501,"message":"no embeddings","type":"not_supported_error"}}"#);
        let refusal = refusal.into_refusal();
        assert_eq!((refusal.status, refusal.code.as_deref()), (400, Some("not_supported")));
        assert_eq!(refusal.message, "no embeddings");
    }

    #[test]
    fn a_refused_parameter_is_recognized_by_its_whole_name() {
        let names = |status, body: &str| error_of(status, body).refuses_parameter("stream_options", b"{}");
        let nine = format!(
            "{}{}",
            r#"{"loc":["body","a"],"msg":"no"},"#.repeat(8),
            r#"{"loc":["body","stream_options"],"msg":"no"}"#
        );
        for body in [
            r#"{"detail":[{"loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}"#,
            r#"{"detail":[{"loc":["body","Request","stream_options","include_usage"],"msg":"no"}]}"#,
            r#"{"object":"error","message":{"detail":[{"loc":["body","stream_options"],"msg":"no"}]}}"#,
            r#"{"error":{"message":"no","param":"stream_options"}}"#,
            r#"[{"error":{"message":"Unknown name \"stream_options\": Cannot find field."}}]"#,
            r#"{"errors":[{"message":"stream_options unknown"}]}"#,
            r#"{"detail":{"error":"stream_options unknown"}}"#,
            r#"{"stream_options":1,"detail":[{"loc":["body","stream_options"],"msg":"no","input":{"a":"cut"#,
            "<p>stream_options unknown</p>",
            "unknown key stream_options in {stream_options: ..}",
            "[{'loc': ('body', 'stream_options'), 'msg': 'no', 'input': {'include_usage': True}}]",
            &format!(r#"{{"detail":[{nine}]}}"#),
        ] {
            assert!(names(400, body) && names(422, body) && !names(500, body), "{body}");
        }
        for body in [
            r#"{"error":{"message":"'max_completion_tokens' is too large","param":"stream_options2"}}"#,
            r#"{"detail":[{"loc":["body","messages",0,"stream_options"],"msg":"no"}]}"#,
            r#"{"detail":[{"loc":["body","messages"],"msg":"no","input":{"stream_options":{"include_usage":true}}}]}"#,
            r#"{"message":"[{'loc': ('body', 'messages'), 'input': {'stream_options': {'include_usage': True}}}]"}"#,
            r#"{"message":"bad: {\"stream\":true,\"stream_options\":{\"include_usage\":true}}"}"#,
        ] {
            assert!(!names(400, body), "{body}");
        }
        let other = r#"{"error":{"message":"'max_completion_tokens' is too large"}}"#;
        assert!(!error_of(400, other).refuses_parameter("max_tokens", b""));
        let quote = error_of(400, "cannot parse: tell me of stream_options, please");
        assert!(!quote.refuses_parameter("stream_options", br#"{"content":"tell me of stream_options, please!"}"#));
        assert!(quote.refuses_parameter("stream_options", br#"{"content":"stream_options"}"#));
    }

    #[test]
    fn a_failure_has_a_message_for_customers_and_one_for_operators() {
        let failed = error_of(500, r#"{"error":{"message":"CUDA out of\n memory at 10.0.0.7"}}"#);
        assert_eq!(failed.failure_message(), "The model server failed (500): CUDA out of\n memory at […]");
        assert_eq!(failed.for_operator("it failed", b""), "it failed (500): CUDA out of memory at 10.0.0.7");
        let silent = error_of(503, "");
        assert_eq!(silent.failure_message(), "The model server failed (503).");
        assert_eq!(silent.for_operator("it failed", b""), "it failed (503)");
        let long = error_of(500, &format!(r#"{{"error":"{}"}}"#, "é ".repeat(500)));
        assert_eq!(
            long.for_operator("it failed", b"").chars().count(),
            "it failed (500): ".len() + MAX_OPERATOR_MESSAGE
        );
    }
}
