//! The exact bytes of requests and answers, shared by the upstream and the load generator.

use memchr::memmem;

/// Prompt tokens that every answer reports.
const PROMPT_TOKENS: u32 = 42;
/// Completion tokens that a JSON answer reports. A stream reports one for each event with text.
const JSON_COMPLETION_TOKENS: u32 = 57;
/// Digits of the timestamp in a streamed event.
pub(crate) const STAMP_DIGITS: usize = 20;

/// The way to send a stream. The client chooses it, in request fields that gateways ignore and pass on.
#[derive(Clone, Copy, Debug, PartialEq, clap::Args)]
pub(crate) struct Stream {
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

/// Returns the body of a request, about 300 bytes.
pub(crate) fn request_body(model: &str, stream: Option<Stream>) -> String {
    let streaming = stream.map_or_else(String::new, |Stream { chunks, pace_ms, batch }| {
        format!(r#","stream":true,"bench_chunks":{chunks},"bench_pace_ms":{pace_ms},"bench_batch":{batch}"#)
    });
    format!(
        concat!(
            r#"{{"model":"{}","messages":[{{"role":"system","content":"You are a terse assistant. Answer in "#,
            r#"one sentence."}},{{"role":"user","content":"What does an API gateway do that a reverse proxy "#,
            r#"does not, and when should a small team with only one server want to use the first?"}}],"#,
            r#""temperature":0.7{}}}"#
        ),
        model, streaming
    )
}

/// The fields of a request that the upstream uses.
#[derive(Debug, PartialEq)]
pub(crate) struct Asked<'a> {
    pub(crate) model: &'a [u8],
    pub(crate) stream: Option<Stream>,
    pub(crate) include_usage: bool,
}

impl<'a> Asked<'a> {
    /// Finds the fields by a text search, which is enough for a body from [`request_body`] that passed through a proxy.
    pub(crate) fn read(body: &'a [u8]) -> Self {
        let model = value(body, b"\"model\":").and_then(|rest| rest.strip_prefix(b"\"")).unwrap_or_default();
        let streamed = value(body, b"\"stream\":").is_some_and(|rest| rest.starts_with(b"true"));
        Self {
            model: &model[..memchr::memchr(b'"', model).unwrap_or(0)],
            stream: streamed.then(|| Stream {
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

/// The events of one model's streams. An event with text consists of `head`, [`STAMP_DIGITS`] digits of a timestamp,
/// and `tail`.
pub(crate) struct Events {
    pub(crate) head: String,
    pub(crate) tail: String,
    /// The event with the finish reason.
    pub(crate) finish: String,
}

/// The last event of a stream.
pub(crate) const DONE: &[u8] = b"data: [DONE]\n\n";

impl Events {
    pub(crate) fn of(model: &str) -> Self {
        let start = format!(
            "data: {{\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\
             \"model\":\"{model}\",\"choices\":[{{\"index\":0,\"delta\":"
        );
        Self {
            head: format!("{start}{{\"content\":\""),
            tail: "\"},\"finish_reason\":null}]}\n\n".into(),
            finish: format!("{start}{{}},\"finish_reason\":\"stop\"}}]}}\n\n"),
        }
    }

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

    /// Returns the event that reports usage, for a request that asks for it.
    pub(crate) fn usage(model: &str, chunks: u32) -> String {
        format!(
            "data: {{\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\
             \"model\":\"{model}\",\"choices\":[],\"usage\":{{\"prompt_tokens\":{PROMPT_TOKENS},\
             \"completion_tokens\":{chunks},\"total_tokens\":{}}}}}\n\n",
            PROMPT_TOKENS + chunks
        )
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
        let stream = Some(Stream { chunks: 7, pace_ms: 5, batch: 2 });
        for stream in [None, stream] {
            let body = request_body("a/b", stream);
            assert_eq!(Asked::read(body.as_bytes()), Asked { model: b"a/b", stream, include_usage: false });
        }
        let asked = Asked::read(br#"{"model": "m", "stream": true, "stream_options": {"include_usage": true}}"#);
        assert!(asked.model == b"m" && asked.stream.is_some() && asked.include_usage);
    }

    #[test]
    fn a_timestamp_is_read_back_unchanged() {
        for now in [0, 1_407_570_814_031, u64::MAX] {
            let (events, mut out) = (Events::of("m"), Vec::new());
            events.put_text(now, &mut out);
            assert_eq!(out.len(), events.text_len());
            assert_eq!(stamp(&out[events.head.len()..][..STAMP_DIGITS]), Some(now));
        }
    }
}
