//! The routes with streams: the prompts and events of their APIs.

use crate::answer::{Events, PROMPT_TOKENS};

/// A route with streams. Its events are those of the API, in their usual sizes.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(crate) enum Route {
    Chat,
    Responses,
    Messages,
}

/// The part of the prompt that Anthropic's API reports as written to the cache, and the part read from it.
const CACHED_TOKENS: [u32; 2] = [10, 20];

impl Route {
    pub(crate) const ALL: [Self; 3] = [Self::Chat, Self::Responses, Self::Messages];

    /// The route with this path. Everything else that is asked is answered as a chat.
    pub(crate) fn with_path(path: &str) -> Self {
        Self::ALL.into_iter().find(|route| route.path() == path).unwrap_or(Self::Chat)
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
        }
    }

    /// The members of a request's body that hold the prompt.
    pub(crate) fn prompt(self, system: &str, user: &str) -> String {
        let message = |role, content| format!(r#"{{"role":"{role}","content":"{content}"}}"#);
        match self {
            Self::Chat => format!(r#""messages":[{},{}]"#, message("system", system), message("user", user)),
            Self::Responses => format!(r#""instructions":"{system}","input":[{}]"#, message("user", user)),
            Self::Messages => {
                format!(r#""max_tokens":1024,"system":"{system}","messages":[{}]"#, message("user", user))
            }
        }
    }

    /// The events of a stream of `chunks` events with text. On the chat route, only `with_usage` reports the usage.
    pub(crate) fn events(self, model: &str, chunks: u32, with_usage: bool) -> Events {
        match self {
            Self::Chat => chat(model, chunks, with_usage),
            Self::Responses => responses(model, chunks),
            Self::Messages => messages(model, chunks),
        }
    }
}

fn chat(model: &str, chunks: u32, with_usage: bool) -> Events {
    let start = format!(
        "data: {{\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\
         \"model\":\"{model}\",\"choices\":["
    );
    let finish = format!("{start}{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n");
    let usage = format!(
        "{start}],\"usage\":{{\"prompt_tokens\":{PROMPT_TOKENS},\"completion_tokens\":{chunks},\
         \"total_tokens\":{}}}}}\n\n",
        PROMPT_TOKENS + chunks
    );
    let usage = if with_usage { usage } else { String::new() };
    Events {
        start: String::new(),
        head: format!("{start}{{\"index\":0,\"delta\":{{\"content\":\""),
        tail: "\"},\"finish_reason\":null}]}\n\n".into(),
        end: finish + &usage + "data: [DONE]\n\n",
    }
}

/// All sequence numbers are the same, so that all events with text have one length. The events at the end repeat a text
/// of four bytes per event, the size of a token.
fn responses(model: &str, chunks: u32) -> Events {
    let event = |name, members: &str| {
        format!("event: response.{name}\ndata: {{\"type\":\"response.{name}\",{members},\"sequence_number\":4}}\n\n")
    };
    let response = |status, output: &str, usage: &str| {
        format!(
            concat!(
                r#""response":{{"id":"resp_0123456789abcdef0123456789abcdef","object":"response","#,
                r#""created_at":1790000000,"status":"{}","background":false,"error":null,"incomplete_details":null,"#,
                r#""instructions":null,"max_output_tokens":null,"max_tool_calls":null,"model":"{}","output":[{}],"#,
                r#""parallel_tool_calls":true,"previous_response_id":null,"prompt_cache_key":null,"#,
                r#""reasoning":{{"effort":null,"summary":null}},"safety_identifier":null,"service_tier":"default","#,
                r#""store":true,"temperature":0.7,"text":{{"format":{{"type":"text"}},"verbosity":"medium"}},"#,
                r#""tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":1.0,"truncation":"disabled","#,
                r#""usage":{},"user":null,"metadata":{{}}}}"#
            ),
            status, model, output, usage
        )
    };
    const ITEM: &str = r#""item_id":"msg_0123456789abcdef0123456789abcdef","output_index":0,"content_index":0"#;
    let item = |status, content: &str| {
        format!(
            concat!(
                r#"{{"id":"msg_0123456789abcdef0123456789abcdef","type":"message","status":"{}","content":[{}],"#,
                r#""role":"assistant"}}"#
            ),
            status, content
        )
    };
    let part = |text: &str| format!(r#"{{"type":"output_text","annotations":[],"logprobs":[],"text":"{text}"}}"#);
    let text = " but".repeat(chunks as usize);
    let whole = item("completed", &part(&text));
    let usage = format!(
        concat!(
            r#"{{"input_tokens":{},"input_tokens_details":{{"cached_tokens":0}},"output_tokens":{},"#,
            r#""output_tokens_details":{{"reasoning_tokens":0}},"total_tokens":{}}}"#
        ),
        PROMPT_TOKENS,
        chunks,
        PROMPT_TOKENS + chunks
    );
    let start = [
        event("created", &response("in_progress", "", "null")),
        event("in_progress", &response("in_progress", "", "null")),
        event("output_item.added", &format!(r#""output_index":0,"item":{}"#, item("in_progress", ""))),
        event("content_part.added", &format!(r#"{ITEM},"part":{}"#, part(""))),
    ];
    let end = [
        event("output_text.done", &format!(r#"{ITEM},"text":"{text}","logprobs":[]"#)),
        event("content_part.done", &format!(r#"{ITEM},"part":{}"#, part(&text))),
        event("output_item.done", &format!(r#""output_index":0,"item":{whole}"#)),
        event("completed", &response("completed", &whole, &usage)),
    ];
    let delta = event("output_text.delta", &format!(r#"{ITEM},"delta":"","logprobs":[]"#));
    let at = delta.find(r#"","logprobs""#).unwrap_or_default();
    let (head, tail) = delta.split_at(at);
    Events { start: start.concat(), head: head.into(), tail: tail.into(), end: end.concat() }
}

fn messages(model: &str, chunks: u32) -> Events {
    let event = |name, members: &str| format!("event: {name}\ndata: {{\"type\":\"{name}\"{members}}}\n\n");
    let [written, read] = CACHED_TOKENS;
    let message = format!(
        concat!(
            r#","message":{{"model":"{}","id":"msg_0123456789abcdefghijklmn","type":"message","role":"assistant","#,
            r#""content":[],"stop_reason":null,"stop_sequence":null,"usage":{{"input_tokens":{},"#,
            r#""cache_creation_input_tokens":{},"cache_read_input_tokens":{},"output_tokens":1,"#,
            r#""service_tier":"standard"}}}}"#
        ),
        model,
        PROMPT_TOKENS - written - read,
        written,
        read
    );
    let start = [
        event("message_start", &message),
        event("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#),
        event("ping", ""),
    ];
    let ended =
        format!(r#","delta":{{"stop_reason":"end_turn","stop_sequence":null}},"usage":{{"output_tokens":{chunks}}}"#);
    let end = [event("content_block_stop", r#","index":0"#), event("message_delta", &ended), event("message_stop", "")];
    Events {
        start: start.concat(),
        head: "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\
               \"delta\":{\"type\":\"text_delta\",\"text\":\""
            .into(),
        tail: "\"}}\n\n".into(),
        end: end.concat(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_event_is_json_and_named_after_its_type() {
        for route in Route::ALL {
            let events = route.events("m", 3, true);
            let mut text = Vec::new();
            events.put_text(7, &mut text);
            let all = format!("{}{}{}", events.start, String::from_utf8(text).unwrap(), events.end);
            assert!(all.ends_with("\n\n"));
            for event in all.split_terminator("\n\n").filter(|event| *event != "data: [DONE]") {
                let (name, data) = event.split_once("data: ").unwrap();
                let data: Value = serde_json::from_str(data).unwrap();
                let named = data["type"].as_str().map_or(String::new(), |name| format!("event: {name}\n"));
                assert_eq!(name, named);
            }
        }
    }
}
