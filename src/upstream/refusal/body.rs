//! Finds the message, the codes and the parameters in the body of an error.
//!
//! Servers put them in many places: OpenAI's `{"error": {…}}`, vLLM's bare object, FastAPI's list of validation errors
//! under `detail` (Mistral: within `message`), Gemini's list around the error, Cloudflare's `errors`, an event of a
//! stream, or plain text. All of [`HOLDERS`] are therefore searched, in objects and lists, in whatever order they
//! occur. A body that was cut off because it is too long is read up to the cut.

use std::borrow::Cow;

use serde_json::Value;

use super::partial_json;
use crate::upstream::body_form::BodyForm;

/// Greatest nesting depth of a message.
const MAX_DEPTH: usize = 8;

/// Most items of a list of errors that are passed on.
const MAX_LISTED: usize = 8;

/// The members that hold an error or its message. `base_resp` is MiniMax's; OpenRouter puts errors in `choices`, OpenAI's
/// event `response.failed` in `response`.
const HOLDERS: [&str; 10] =
    ["error", "message", "Message", "msg", "detail", "errors", "base_resp", "status_msg", "choices", "response"];

/// The contents of an error's body.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// The message. Empty if there is none.
    pub(super) message: String,
    /// Every `code` that is a string, the innermost first.
    pub(super) codes: Vec<String>,
    /// Every `type`, and every `error` that is a string.
    pub(super) kinds: Vec<String>,
    /// The first `param`, in the same order.
    pub(super) param: Option<String>,
    /// Paths of parameters: every `param`, and every `loc` of a validation error.
    pub(super) places: Vec<String>,
    /// Every message, including those that are not passed on.
    pub(super) texts: Vec<String>,
}

impl Body {
    pub(super) fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_start_matches('\u{feff}').trim();
        let text =
            if BodyForm::with(text.as_bytes(), false) == Some(BodyForm::Events) { event(text) } else { text.into() };
        let mut body = Self::default();
        match serde_json::from_str(&text).ok().or_else(|| partial_json::read(&text)) {
            Some(value) => {
                body.message = sentence(&value, MAX_DEPTH).unwrap_or_default();
                body.gather(&value, MAX_DEPTH);
            }
            None => {
                // Do not pass on an HTML page or a piece of the server's code.
                if !text.contains(['<', '{', '\0']) {
                    body.message = text.clone().into_owned();
                }
                body.texts.push(text.into_owned());
            }
        }
        body
    }

    fn gather(&mut self, value: &Value, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return };
        match value {
            Value::String(text) => self.texts.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| self.gather(item, depth)),
            Value::Object(members) => {
                HOLDERS.iter().filter_map(|name| members.get(*name)).for_each(|held| self.gather(held, depth));
                let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
                self.codes.extend(text("code"));
                self.kinds.extend(text("type"));
                self.kinds.extend(text("error"));
                self.places.extend(text("param"));
                self.places.extend(members.get("loc").map(place));
                self.param = self.param.take().or_else(|| text("param"));
            }
            _ => {}
        }
    }
}

/// Returns the data of the first event of a stream, or the whole text if it has no data.
fn event(text: &str) -> Cow<'_, str> {
    let lines = text.lines().skip_while(|line| !line.starts_with("data:")).take_while(|line| !line.is_empty());
    let data: Vec<_> = lines.filter_map(|line| line.strip_prefix("data:")).map(str::trim).collect();
    if data.is_empty() { text.into() } else { data.join("\n").into() }
}

/// Returns the message in a value: a string, a list (for example FastAPI's validation errors), or an object that holds
/// one of these.
fn sentence(value: &Value, depth: usize) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Array(items) => {
            let sentences: Vec<_> = items.iter().filter_map(|item| sentence(item, depth)).take(MAX_LISTED).collect();
            Some(sentences.join("; ")).filter(|text| !text.is_empty())
        }
        Value::Object(members) => {
            // An `error` that is a string may only be a code next to the message, so it is tried last.
            let error = members.get("error").filter(|error| !error.is_string());
            let held = HOLDERS.iter().skip(1).filter_map(|name| members.get(*name));
            let message =
                error.into_iter().chain(held).chain(members.get("error")).find_map(|held| sentence(held, depth))?;
            match members.get("loc").map(place) {
                Some(place) if !place.is_empty() => Some(format!("{place}: {message}")),
                _ => Some(message),
            }
        }
        _ => None,
    }
}

/// FastAPI's path to a parameter, without a leading `body`.
fn place(loc: &Value) -> String {
    let steps = loc.as_array().map_or(&[][..], Vec::as_slice);
    let steps = steps.iter().filter_map(|step| match step {
        Value::String(name) => Some(name.clone()),
        Value::Number(index) => Some(index.to_string()),
        _ => None,
    });
    let steps: Vec<_> =
        steps.enumerate().filter(|(at, step)| *at > 0 || step != "body").map(|(_, step)| step).collect();
    steps.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> String {
        Body::read(body.as_bytes()).message
    }

    #[test]
    fn the_message_of_every_kind_of_server_is_found() {
        for body in [
            r#"{"error":{"message":"Too long.","code":"x"}}"#,
            r#"{"object":"error","message":"Too long.","code":400}"#,
            r#"{"detail":"Too long."}"#,
            r#"{"error":"Too long."}"#,
            r#"{"error":{"type":"x"},"message":"Too long."}"#,
            r#"{"error":"Bad Request","message":["Too long."],"statusCode":400}"#,
            r#"[{"error":{"code":400,"message":"Too long.","status":"INVALID_ARGUMENT"}}]"#,
            r#"{"detail":{"error":{"message":"Too long.","code":"x"}}}"#,
            r#"{"detail":{"error":"Too long."}}"#,
            r#"{"success":false,"errors":[{"code":7000,"message":"Too long."}]}"#,
            r#"{"Message":"Too long."}"#,
            r#"{"error":{"error":{"message":"Too long."}}}"#,
            r#"{"base_resp":{"status_code":1,"status_msg":"Too long."}}"#,
            r#"{"choices":[{"index":0,"message":{"content":""},"error":{"message":"Too long."}}]}"#,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Too long."},"request_id":"req_1"}"#,
            r#"{"type":"error","code":"x","message":"Too long.","param":null,"sequence_number":1}"#,
            r#"{"type":"response.failed","response":{"output":[],"error":{"code":"x","message":"Too long."}}}"#,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"Too long.\"}}\n\n",
            "\u{feff}{\"error\":{\"message\":\"Too long.\"}}",
            r#"{"error":{"message":"Too long.","x":NaN}}"#,
            "data: {\"error\":{\"message\":\"Too long.\"}}\n\ndata: [DONE]\n\n",
            ": hi\r\nevent: error\r\ndata: Too long.\r\n\r\n",
            "\"Too long.\"",
            "Too long.\n",
        ] {
            assert_eq!(message(body), "Too long.", "{body}");
        }
        assert_eq!(message(r#"{"error":{"message":"bad \ud83d thing"}}"#), "bad \u{fffd} thing");
        assert_eq!(message("[Errno 111] refused"), "[Errno 111] refused");
        assert_eq!(message("data must be a list"), "data must be a list");
        let incomplete =
            r#"{"type":"response.incomplete","response":{"error":null,"incomplete_details":{"reason":"x"}}}"#;
        assert_eq!(message(incomplete), "");
        for nothing in
            ["[]", "", "<html>busy</html>", r#"{"error":{"message":5}}"#, r#"{"error":null}"#, "{oops", "{Error: x}"]
        {
            assert_eq!(message(nothing), "", "{nothing}");
        }
        assert_eq!(message(&format!("{}\"x\"{}", "{\"detail\":".repeat(100), "}".repeat(100))), "");
    }

    #[test]
    fn a_list_of_validation_errors_becomes_a_sentence() {
        let list = r#"[{"type":"missing","loc":["body","messages",0,"role"],"msg":"Field required","input":{}},
            {"loc":["body"],"msg":"Input should be an object"}]"#;
        let sentence = "messages.0.role: Field required; Input should be an object";
        for body in [
            format!(r#"{{"detail":{list}}}"#),
            format!(r#"{{"object":"error","message":{{"detail":{list}}},"type":"invalid_request_error"}}"#),
            format!(r#"{{"error":{{"message":{list}}}}}"#),
        ] {
            assert_eq!(message(&body), sentence, "{body}");
        }
        assert_eq!(message(r#"{"error":{"message":[{"loc":["query","n"],"msg":"Too many"}]}}"#), "query.n: Too many");
    }

    #[test]
    fn a_truncated_body_is_read_up_to_the_cut() {
        let truncated = r#"{"detail":[{"loc":["body","messages"],"msg":"Field required","input":{"prompt":"xxxxx"#;
        assert_eq!(message(truncated), "messages: Field required");
        assert_eq!(message(r#"{"error":{"message":"Too long: gpu-7.inter"#), "Too long:");
    }

    #[test]
    fn codes_are_found_at_every_depth_the_innermost_first() {
        let body =
            Body::read(br#"{"code":"outer","type":"t","detail":[{"error":{"code":"inner","param":"p"}}],"param":"q"}"#);
        assert_eq!((body.codes, body.kinds), (vec!["inner".to_owned(), "outer".to_owned()], vec!["t".to_owned()]));
        assert_eq!(body.param.as_deref(), Some("p"));
        assert_eq!(Body::read(br#"{"error":"insufficient_quota","message":"x"}"#).kinds, ["insufficient_quota"]);
        for event in [
            &br#"{"type":"error","code":"server_error","message":"x","param":"input","sequence_number":1}"#[..],
            br#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"x","param":"input"}}}"#,
        ] {
            let body = Body::read(event);
            assert_eq!((body.codes, body.param.as_deref()), (vec!["server_error".to_owned()], Some("input")));
        }
    }
}
