//! Answers of `/v1/messages` and `/v1/messages/count_tokens`.

use serde_json::{Value, json};

use super::{
    DemoBody, event,
    words::{Text, count, tokens},
};

pub(super) fn count_tokens(request: &Value) -> DemoBody {
    DemoBody::json(&json!({ "input_tokens": prompt_tokens(request) }))
}

fn prompt_tokens(request: &Value) -> usize {
    tokens([&request["system"], &request["messages"]])
}

pub(super) fn answer(request: &Value) -> DemoBody {
    // Every request declares a maximum, often a large one, so the text does not fill it.
    let text = Text::within(count(request, "max_tokens"));
    let answer = Answer { model: &request["model"], prompt_tokens: prompt_tokens(request), text };
    if request["stream"] == true { DemoBody::stream(answer.events()) } else { DemoBody::json(&answer.whole()) }
}

struct Answer<'a> {
    model: &'a Value,
    prompt_tokens: usize,
    text: Text,
}

impl Answer<'_> {
    fn whole(&self) -> Value {
        let content = json!([{ "type": "text", "text": self.text.whole() }]);
        self.message(content, Some(self.stop_reason()), self.text.len())
    }

    fn stop_reason(&self) -> &'static str {
        if self.text.is_cut() { "max_tokens" } else { "end_turn" }
    }

    fn message(&self, content: Value, stop_reason: Option<&str>, output_tokens: usize) -> Value {
        json!({
            "id": "msg_demo",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": null,
            "usage": self.usage(output_tokens),
        })
    }

    fn usage(&self, output_tokens: usize) -> Value {
        json!({
            "input_tokens": self.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": output_tokens,
        })
    }

    fn events(&self) -> Vec<String> {
        let block = json!({ "type": "text", "text": "" });
        let delta = |word: String| json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": word } });
        let end = json!({ "stop_reason": self.stop_reason(), "stop_sequence": null });
        let mut events = vec![
            json!({ "type": "message_start", "message": self.message(json!([]), None, 0) }),
            json!({ "type": "content_block_start", "index": 0, "content_block": block }),
        ];
        events.extend(self.text.words().map(delta));
        events.extend([
            json!({ "type": "content_block_stop", "index": 0 }),
            json!({ "type": "message_delta", "delta": end, "usage": self.usage(self.text.len()) }),
            json!({ "type": "message_stop" }),
        ]);
        events.iter().map(event).collect()
    }
}
