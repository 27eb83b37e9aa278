//! Answers of `/v1/chat/completions` and `/v1/completions`.

use serde_json::{Value, json};

use super::{
    CREATED, DemoBody, event,
    words::{Text, count, tokens},
};
use crate::domain::route::Route;

pub(super) fn answer(route: Route, request: &Value) -> DemoBody {
    let answer = Answer {
        route,
        request,
        prompt_tokens: tokens([if route == Route::Completions { &request["prompt"] } else { &request["messages"] }]),
        text: Text::filling(count(request, "max_completion_tokens").or(count(request, "max_tokens"))),
        choices: count(request, "n").unwrap_or(1).clamp(1, 128),
    };
    if request["stream"] == true { DemoBody::stream(answer.events()) } else { DemoBody::json(&answer.whole()) }
}

struct Answer<'a> {
    route: Route,
    request: &'a Value,
    prompt_tokens: usize,
    text: Text,
    choices: usize,
}

impl Answer<'_> {
    fn usage(&self) -> Value {
        let (prompt, completion) = (self.prompt_tokens, self.text.len() * self.choices);
        json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
    }

    fn finish_reason(&self) -> &'static str {
        if self.text.is_cut() { "length" } else { "stop" }
    }

    fn whole(&self) -> Value {
        let finish_reason = self.finish_reason();
        let choice = |index: usize| match self.route {
            Route::Completions => json!({ "index": index, "text": self.text.whole(), "finish_reason": finish_reason }),
            _ => json!({
                "index": index,
                "message": { "role": "assistant", "content": self.text.whole() },
                "finish_reason": finish_reason,
            }),
        };
        let mut answer = self.object("chat.completion", choice);
        answer["usage"] = self.usage();
        answer
    }

    fn events(&self) -> Vec<String> {
        let chunk = |delta: Value, finish_reason: Option<&str>| {
            self.object("chat.completion.chunk", |index| match self.route {
                Route::Completions => {
                    let text = delta["content"].as_str().unwrap_or_default();
                    json!({ "index": index, "text": text, "finish_reason": finish_reason })
                }
                _ => json!({ "index": index, "delta": delta, "finish_reason": finish_reason }),
            })
        };
        let mut chunks = Vec::new();
        if self.route == Route::ChatCompletions {
            chunks.push(chunk(json!({ "role": "assistant", "content": "" }), None));
        }
        chunks.extend(self.text.words().map(|word| chunk(json!({ "content": word }), None)));
        chunks.push(chunk(json!({}), Some(self.finish_reason())));
        if self.request["stream_options"]["include_usage"] == true {
            let mut last = chunk(Value::Null, None);
            last["choices"] = json!([]);
            last["usage"] = self.usage();
            chunks.push(last);
        }
        let done = "data: [DONE]\n\n".to_owned();
        chunks.iter().map(event).chain([done]).collect()
    }

    /// An answer or a chunk. `object` is the type that it has on chats.
    fn object(&self, object: &str, choice: impl Fn(usize) -> Value) -> Value {
        let (id, object) = match self.route {
            Route::Completions => ("cmpl-demo", "text_completion"),
            _ => ("chatcmpl-demo", object),
        };
        let choices: Vec<_> = (0..self.choices).map(choice).collect();
        json!({ "id": id, "object": object, "created": CREATED, "model": self.request["model"], "choices": choices })
    }
}
