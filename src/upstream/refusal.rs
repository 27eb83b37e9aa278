//! An upstream's own refusal, made fit to be shown to a customer: no host, no credential, our slug in the place of its
//! model's name.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::{Response, target::Target};
use crate::crypto::secret::Secret;

/// What of a refusal is read, in bytes; more would not be an error message.
const MAX_READ: usize = 64 << 10;

/// How long a refusal's body may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest message that is passed on, in characters.
const MAX_MESSAGE: usize = 2000;

/// What stands in the place of what is not shown.
const BLANK: &str = "[…]";

/// A shorter credential is none, but what a server without keys is given; every other word would have it in it.
const MIN_CREDENTIAL: usize = 4;

/// A refusal that can be shown.
pub struct UpstreamRefusal {
    /// 400 to 499.
    pub status: u16,
    /// A sentence.
    pub message: String,
    /// As the upstream said.
    pub param: Option<String>,
    /// As the upstream said.
    pub code: Option<String>,
    /// As the upstream said.
    pub retry_after: Option<Bytes>,
}

/// Reads a refusal. What cannot be read becomes a plain sentence.
pub async fn read(mut response: Response, target: &Target, slug: &str) -> UpstreamRefusal {
    let mut body = Vec::new();
    let reading = async {
        while let Some(Ok(piece)) = response.body.chunk().await {
            body.extend_from_slice(&piece[..piece.len().min(MAX_READ - body.len())]);
            if body.len() == MAX_READ {
                break;
            }
        }
    };
    // What has come by then says enough.
    let _ = tokio::time::timeout(PATIENCE, reading).await;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    shape(response.status, response.retry_after, &body, &Names::of(target, slug))
}

/// The message of an error that came in the middle of a stream.
pub fn in_stream(data: &[u8], target: &Target, slug: &str) -> String {
    let body = serde_json::from_slice(data).unwrap_or(Value::Null);
    shape(500, None, &body, &Names::of(target, slug)).message
}

/// A server's text without the credential that it was sent: some servers repeat it.
pub fn without_credential(text: &str, credential: Option<&Secret>) -> String {
    match credential.map(Secret::expose).filter(|credential| credential.len() >= MIN_CREDENTIAL) {
        Some(credential) => text.replace(credential, BLANK),
        None => text.to_owned(),
    }
}

/// Finds the message in what servers answer: OpenAI's `{"error": {…}}`, vLLM's bare object, FastAPI's `detail`.
fn shape(status: u16, retry_after: Option<Bytes>, body: &Value, names: &Names<'_>) -> UpstreamRefusal {
    let error = body.get("error").filter(|error| !error.is_null()).unwrap_or(body);
    let text = |name| match error.get(name)? {
        Value::String(text) => Some(names.clean(text)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let alone = || error.as_str().map(|text| names.clean(text));
    let message = text("message").or_else(|| text("detail")).or_else(alone);
    UpstreamRefusal {
        status,
        message: message.unwrap_or_else(|| "The model server gave no reason.".to_owned()),
        param: text("param"),
        code: text("code"),
        retry_after,
    }
}

/// What must not be seen, and what stands in its place.
struct Names<'a> {
    model: &'a str,
    host: Option<&'a str>,
    credential: Option<&'a Secret>,
    slug: &'a str,
}

impl<'a> Names<'a> {
    fn of(target: &'a Target, slug: &'a str) -> Self {
        Self { model: &target.model, host: target.host(), credential: target.credential(), slug }
    }

    fn clean(&self, text: &str) -> String {
        // Before anything else: of a credential that was cut or renamed a part would be left.
        let text: String = without_credential(text, self.credential).chars().take(MAX_MESSAGE).collect();
        let named = self.name_slug(&text);
        let names_ours = |word: &str| self.host.is_some_and(|host| host.len() > 3 && word.contains(host));
        let is_hidden = |word: &str| names_a_host(word) || names_ours(word) || is_credential(word);
        let words = named.split_inclusive(char::is_whitespace);
        words.map(|word| if is_hidden(word) { blank(word) } else { word.to_owned() }).collect()
    }

    /// The model's name becomes the slug where it stands by itself, and not within another word.
    fn name_slug(&self, text: &str) -> String {
        let is_border = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '-' | '_' | '/'));
        let mut named = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(self.model).filter(|_| !self.model.is_empty() && self.model != self.slug) {
            let (before, after) = (&rest[..at], &rest[at + self.model.len()..]);
            let stands_alone =
                is_border(before.chars().next_back().or(named.chars().next_back())) && is_border(after.chars().next());
            named.push_str(before);
            named.push_str(if stands_alone { self.slug } else { self.model });
            rest = after;
        }
        named + rest
    }
}

/// A URL, `localhost`, an address, or a name with a port.
fn names_a_host(word: &str) -> bool {
    let bare = word.trim().trim_matches(|c: char| !c.is_alphanumeric() && c != '[');
    let host = bare.split_once('/').map_or(bare, |(host, _)| host);
    let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let has_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    word.contains("://")
        || name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok()
        || (has_port && !name.is_empty() && name.contains(|c: char| c == '.' || c.is_ascii_alphabetic()))
}

fn is_credential(word: &str) -> bool {
    word.trim_start_matches(|c: char| !c.is_alphanumeric()).starts_with("sk-")
}

/// A word with its end (white space) but nothing else of it.
fn blank(word: &str) -> String {
    format!("{BLANK}{}", &word[word.trim_end().len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_model(body: &str, model: &str) -> String {
        of_target(body, model, None)
    }

    fn of_target(body: &str, model: &str, credential: Option<&str>) -> String {
        let credential = credential.map(|credential| Secret::new(credential.to_owned()));
        let host = Some("vllm-0.svc.cluster.local");
        let names = Names { model, host, credential: credential.as_ref(), slug: "acme/chat" };
        shape(400, None, &serde_json::from_str(body).unwrap(), &names).message
    }

    fn message(body: &str) -> String {
        of_model(body, "meta/llama-70b")
    }

    #[test]
    fn every_servers_message_is_found() {
        assert_eq!(message(r#"{"error":{"message":"Too long.","code":"x"}}"#), "Too long.");
        assert_eq!(message(r#"{"object":"error","message":"Too long.","code":400}"#), "Too long.");
        assert_eq!(message(r#"{"detail":"Too long."}"#), "Too long.");
        assert_eq!(message(r#"{"error":"Too long."}"#), "Too long.");
        assert_eq!(message(r#"[]"#), "The model server gave no reason.");
    }

    #[test]
    fn a_models_name_is_replaced_only_where_it_stands_by_itself() {
        let shown = of_model(r#"{"detail":"a: max_tokens is too large for 'a' (a-b, ba)."}"#, "a");
        assert_eq!(shown, "acme/chat: max_tokens is too large for 'acme/chat' (a-b, ba).");
    }

    #[test]
    fn no_host_credential_or_model_name_is_shown() {
        let shown = message(
            r#"{"error":{"message":"meta/llama-70b at http://10.0.0.7:8000/v1 (gpu-box:8000, vllm-0.svc.cluster.local, 10.0.0.7, [::1]:80, localhost) refused key 'sk-secret123' at 12:30."}}"#,
        );
        for hidden in ["llama", "10.0.0.7", "gpu-box", "localhost", "cluster", "secret", "::1"] {
            assert!(!shown.contains(hidden), "{shown}");
        }
        assert!(shown.starts_with("acme/chat at […] "), "{shown}");
        assert!(shown.ends_with("at 12:30."), "{shown}");
    }

    #[test]
    fn the_targets_own_credential_is_shown_nowhere_whatever_it_looks_like() {
        let shown = |message: &str| {
            let body = serde_json::json!({ "error": { "message": message } }).to_string();
            of_target(&body, "gpt", Some("hush+gpt/0123"))
        };
        assert_eq!(shown("Bad key=hush+gpt/0123, told gpt."), "Bad key=[…], told acme/chat.");
        let cut = shown(&format!("{}hush+gpt/0123", "a ".repeat(MAX_MESSAGE / 2 - 1)));
        assert!(cut.ends_with("a […"), "{cut}");
        let body = r#"{"detail":"max_tokens"}"#;
        assert_eq!(of_target(body, "gpt", Some("x")), "max_tokens", "it stands for none");
    }
}
