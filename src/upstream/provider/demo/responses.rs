//! Answers of `/v1/responses`.

use serde_json::{Value, json};

use super::{
    CREATED, DemoBody, event,
    words::{Text, count, tokens},
};

/// The id of the only output item.
const ITEM: &str = "msg_demo";

pub(super) fn answer(request: &Value) -> DemoBody {
    let answer = Answer {
        request,
        prompt_tokens: tokens([&request["instructions"], &request["input"]]),
        text: Text::within(count(request, "max_output_tokens")),
    };
    if request["stream"] == true { DemoBody::stream(answer.events()) } else { DemoBody::json(&answer.whole()) }
}

struct Answer<'a> {
    request: &'a Value,
    prompt_tokens: usize,
    text: Text,
}

impl Answer<'_> {
    /// The response, and the state of its output item, once all words are written.
    fn status(&self) -> &'static str {
        if self.text.is_cut() { "incomplete" } else { "completed" }
    }

    fn whole(&self) -> Value {
        let (prompt, words) = (self.prompt_tokens, self.text.len());
        let mut response = self.response(self.status());
        response["incomplete_details"] = self.text.is_cut().then(|| json!({ "reason": "max_output_tokens" })).into();
        response["output"] = json!([self.item()]);
        response["usage"] = json!({
            "input_tokens": prompt,
            "input_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
            "output_tokens": words,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": prompt + words,
        });
        response
    }

    /// The response without its output.
    fn response(&self, status: &str) -> Value {
        json!({
            "id": "resp_demo",
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "error": null,
            "incomplete_details": null,
            "instructions": self.request["instructions"],
            "max_output_tokens": self.request["max_output_tokens"],
            "metadata": self.request["metadata"],
            "model": self.request["model"],
            "output": [],
            "parallel_tool_calls": false,
            "temperature": self.request["temperature"],
            "tool_choice": "none",
            "tools": [],
            "top_p": self.request["top_p"],
            "usage": null,
        })
    }

    fn item(&self) -> Value {
        json!({
            "id": ITEM,
            "type": "message",
            "role": "assistant",
            "status": self.status(),
            "content": [part(&self.text.whole())],
        })
    }

    fn events(&self) -> Vec<String> {
        let begun =
            json!({ "id": ITEM, "type": "message", "role": "assistant", "status": "in_progress", "content": [] });
        let mut events = vec![
            json!({ "type": "response.created", "response": self.response("in_progress") }),
            json!({ "type": "response.in_progress", "response": self.response("in_progress") }),
            json!({ "type": "response.output_item.added", "output_index": 0, "item": begun }),
            of_part("response.content_part.added", "part", part("")),
        ];
        events.extend(self.text.words().map(|word| of_text("response.output_text.delta", "delta", word)));
        events.extend([
            of_text("response.output_text.done", "text", self.text.whole()),
            of_part("response.content_part.done", "part", part(&self.text.whole())),
            json!({ "type": "response.output_item.done", "output_index": 0, "item": self.item() }),
            json!({ "type": format!("response.{}", self.status()), "response": self.whole() }),
        ]);
        for (number, event) in events.iter_mut().enumerate() {
            event["sequence_number"] = number.into();
        }
        events.iter().map(event).collect()
    }
}

fn part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

/// An event about the only part of the output item.
fn of_part(name: &str, member: &str, value: Value) -> Value {
    let mut event = json!({ "type": name, "item_id": ITEM, "output_index": 0, "content_index": 0 });
    event[member] = value;
    event
}

/// An event about the text of that part.
fn of_text(name: &str, member: &str, text: String) -> Value {
    let mut event = of_part(name, member, text.into());
    event["logprobs"] = json!([]);
    event
}
