//! The exact bytes of requests and answers, shared by the upstream and the load generator.

use memchr::memmem;

use crate::route::Route;

/// Prompt tokens that every answer reports.
pub(crate) const PROMPT_TOKENS: u32 = 42;
/// Completion tokens that a JSON answer reports. A stream reports one for each event with text.
const JSON_COMPLETION_TOKENS: u32 = 57;
/// Digits of the timestamp in a streamed event.
pub(crate) const STAMP_DIGITS: usize = 20;

/// The way to send a stream. The client chooses it: the route by the path, the rest in request fields that gateways
/// ignore and pass on.
#[derive(Clone, Copy, Debug, PartialEq, clap::Args)]
pub(crate) struct Stream {
    /// The route to call.
    #[arg(long, value_enum, default_value_t = Route::Chat)]
    pub(crate) route: Route,
    /// The number of events with text in each stream.
    #[arg(long, default_value_t = 200)]
    pub(crate) chunks: u32,
    /// Milliseconds between two events. 0 sends them as fast as the connection accepts them.
    #[arg(long, default_value_t = 0)]
    pub(crate) pace_ms: u32,
    /// The number of events per write in a stream without a pace. Each event is its own HTTP chunk.
    #[arg(long, default_value_t = 4)]
    pub(crate) batch: u32,
}

/// Returns the path of a request.
pub(crate) fn path(stream: Option<Stream>) -> &'static str {
    stream.map_or(Route::Chat, |stream| stream.route).path()
}

/// Returns the body of a request of a session, about 300 bytes.
pub(crate) fn request_body(model: &str, stream: Option<Stream>, session: Option<usize>) -> String {
    const SYSTEM: &str = "You are a terse assistant. Answer in one sentence.";
    const USER: &str = "What does an API gateway do that a reverse proxy does not, and when should a small team with \
                        only one server want to use the first?";
    let prompt = stream.map_or(Route::Chat, |stream| stream.route).prompt(SYSTEM, USER);
    let streaming = stream.map_or_else(String::new, |Stream { chunks, pace_ms, batch, .. }| {
        format!(r#","stream":true,"bench_chunks":{chunks},"bench_pace_ms":{pace_ms},"bench_batch":{batch}"#)
    });
    let session = session.map_or_else(String::new, |session| format!(r#","prompt_cache_key":"session-{session:06}""#));
    format!(r#"{{"model":"{model}",{prompt},"temperature":0.7{session}{streaming}}}"#)
}

/// The fields of a request that the upstream uses.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Asked {
    pub(crate) model: String,
    pub(crate) stream: Option<Stream>,
    pub(crate) include_usage: bool,
}

impl Asked {
    /// Finds the fields by a text search, which is enough for a body from [`request_body`] that passed through a proxy.
    pub(crate) fn read(path: &str, body: &[u8]) -> Self {
        let model = value(body, b"\"model\":").and_then(|rest| rest.strip_prefix(b"\"")).unwrap_or_default();
        let model = &model[..memchr::memchr(b'"', model).unwrap_or(0)];
        let streamed = value(body, b"\"stream\":").is_some_and(|rest| rest.starts_with(b"true"));
        Self {
            model: String::from_utf8_lossy(model).into_owned(),
            stream: streamed.then(|| Stream {
                route: Route::with_path(path),
                chunks: number(body, b"\"bench_chunks\":").unwrap_or(64),
                pace_ms: number(body, b"\"bench_pace_ms\":").unwrap_or(0),
                batch: number(body, b"\"bench_batch\":").unwrap_or(1).max(1),
            }),
            include_usage: streamed && value(body, b"\"include_usage\":").is_some_and(|rest| rest.starts_with(b"true")),
        }
    }
}

fn value<'a>(body: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    memmem::find(body, key).map(|at| body[at + key.len()..].trim_ascii_start())
}

fn number(body: &[u8], key: &[u8]) -> Option<u32> {
    let rest = value(body, key)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

/// The number of tokens to be billed for one answer.
pub(crate) fn tokens(stream: Option<Stream>) -> u32 {
    PROMPT_TOKENS + stream.map_or(JSON_COMPLETION_TOKENS, |stream| stream.chunks)
}

/// Returns the JSON answer, about 400 bytes.
pub(crate) fn json(model: &str) -> String {
    format!(
        concat!(
            r#"{{"id":"chatcmpl-0123456789abcdef","object":"chat.completion","created":1790000000,"model":"{}","#,
            r#""choices":[{{"index":0,"message":{{"role":"assistant","content":"It checks keys, enforces limits and "#,
            r#"records token usage."}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":{},"#,
            r#""completion_tokens":{},"total_tokens":{}}},"system_fingerprint":"fp_bench"}}"#
        ),
        model,
        PROMPT_TOKENS,
        JSON_COMPLETION_TOKENS,
        PROMPT_TOKENS + JSON_COMPLETION_TOKENS
    )
}

/// The events of a stream. Those with text consist of `head`, [`STAMP_DIGITS`] digits of a timestamp, and `tail`.
pub(crate) struct Events {
    /// The events before the first one with text.
    pub(crate) start: String,
    pub(crate) head: String,
    pub(crate) tail: String,
    /// The events after the last one with text.
    pub(crate) end: String,
}

impl Events {
    /// The number of bytes in an event with text.
    pub(crate) fn text_len(&self) -> usize {
        self.head.len() + STAMP_DIGITS + self.tail.len()
    }

    /// Appends an event with text and the timestamp `now_ns`.
    pub(crate) fn put_text(&self, now_ns: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(self.head.as_bytes());
        let at = out.len();
        out.resize(at + STAMP_DIGITS, b'0');
        let mut rest = now_ns;
        for digit in out[at..].iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        out.extend_from_slice(self.tail.as_bytes());
    }
}

/// Parses the timestamp of an event with text.
pub(crate) fn stamp(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upstream_reads_the_generators_requests() {
        let streams = Route::ALL.map(|route| Some(Stream { route, chunks: 7, pace_ms: 5, batch: 2 }));
        for stream in streams.into_iter().chain([None]) {
            let body = request_body("a/b", stream, None);
            assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok() && body.len() < 400, "{body}");
            let asked = Asked { model: "a/b".into(), stream, include_usage: false };
            assert_eq!(Asked::read(path(stream), body.as_bytes()), asked);
        }
        let asked = Asked::read("/", br#"{"model": "m", "stream": true, "stream_options": {"include_usage": true}}"#);
        assert!(asked.model == "m" && asked.stream.is_some() && asked.include_usage);
    }

    #[test]
    fn a_timestamp_is_read_back_unchanged() {
        for now in [0, 1_407_570_814_031, u64::MAX] {
            let (events, mut out) = (Route::Chat.events("m", 1, false), Vec::new());
            events.put_text(now, &mut out);
            assert_eq!(out.len(), events.text_len());
            assert_eq!(stamp(&out[events.head.len()..][..STAMP_DIGITS]), Some(now));
        }
    }
}
