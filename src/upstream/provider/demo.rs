//! The built-in upstream of `serve --demo`. It needs no network, answers with deterministic words, and reports exact
//! usage at one token per word.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::{Sleep, sleep};

use crate::domain::route::Route;

/// Pause between two words, long enough for a person to see the stream.
const PACE: Duration = Duration::from_millis(20);

/// Most words of an answer, whatever maximum the request declares.
const MAX_WORDS: usize = 400;

const WORDS: [&str; 12] =
    ["every", "token", "passes", "the", "gate", "once", "is", "counted", "once", "and", "billed", "once"];

/// The body of an answer of the demo upstream.
pub struct DemoBody {
    pieces: VecDeque<Bytes>,
    is_stream: bool,
    /// The pause before the next word. `None` if there is no pause.
    pause: Option<Pin<Box<Sleep>>>,
}

impl DemoBody {
    /// The value of its `content-type` header.
    pub fn content_type(&self) -> &'static str {
        if self.is_stream { "text/event-stream" } else { "application/json" }
    }

    /// Returns the next piece, or `None` at the end.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(cx));
        }
        let piece = self.pieces.pop_front();
        self.pause = (!self.pieces.is_empty()).then(|| Box::pin(sleep(PACE)));
        Poll::Ready(piece)
    }
}

/// Answers a request. The gateway has already validated `body`. Returns `None` for a route that it does not have.
pub fn respond(route: Route, body: &[u8]) -> Option<DemoBody> {
    let request: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let pieces = match route {
        Route::Embeddings => vec![embeddings(&request)],
        Route::ChatCompletions | Route::Completions => {
            let asked = Asked::read(route, &request);
            if asked.stream { asked.stream() } else { vec![asked.whole()] }
        }
        _ => return None,
    };
    Some(DemoBody { is_stream: pieces.len() > 1, pieces: pieces.into(), pause: None })
}

struct Asked<'a> {
    route: Route,
    model: &'a Value,
    stream: bool,
    include_usage: bool,
    prompt_words: usize,
    words: usize,
    choices: usize,
}

impl<'a> Asked<'a> {
    fn read(route: Route, request: &'a Value) -> Self {
        let number = |name: &str| request[name].as_u64().and_then(|number| usize::try_from(number).ok());
        let most = number("max_completion_tokens").or(number("max_tokens")).unwrap_or(WORDS.len());
        Self {
            route,
            model: &request["model"],
            stream: request["stream"] == true,
            include_usage: request["stream_options"]["include_usage"] == true,
            prompt_words: words_in(if route == Route::Completions { &request["prompt"] } else { &request["messages"] }),
            words: most.min(MAX_WORDS),
            choices: number("n").unwrap_or(1).clamp(1, 128),
        }
    }

    fn usage(&self) -> Value {
        let (prompt, completion) = (self.prompt_words, self.words * self.choices);
        json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
    }

    fn finish_reason(&self) -> &'static str {
        if self.words == WORDS.len() { "stop" } else { "length" }
    }

    fn text(&self) -> String {
        (0..self.words).map(word).collect()
    }

    fn object(&self, choices: Value) -> Value {
        let (object, id) = match (self.route, self.stream) {
            (Route::Completions, _) => ("text_completion", "cmpl-demo"),
            (_, true) => ("chat.completion.chunk", "chatcmpl-demo"),
            (_, false) => ("chat.completion", "chatcmpl-demo"),
        };
        json!({ "id": id, "object": object, "created": 1_700_000_000, "model": self.model, "choices": choices })
    }

    fn whole(&self) -> Bytes {
        let choice = |index: usize| match self.route {
            Route::Completions => json!({ "index": index, "text": self.text(), "finish_reason": self.finish_reason() }),
            _ => json!({
                "index": index,
                "message": { "role": "assistant", "content": self.text() },
                "finish_reason": self.finish_reason(),
            }),
        };
        let mut answer = self.object((0..self.choices).map(choice).collect());
        answer["usage"] = self.usage();
        answer.to_string().into()
    }

    fn stream(&self) -> Vec<Bytes> {
        let event = |data: Value| Bytes::from(format!("data: {data}\n\n"));
        let choice = |index: usize, text: Option<String>| match (self.route, text) {
            (Route::Completions, text) => {
                let finish = text.is_none().then(|| self.finish_reason());
                json!({ "index": index, "text": text.unwrap_or_default(), "finish_reason": finish })
            }
            (_, Some(text)) => json!({ "index": index, "delta": { "content": text }, "finish_reason": null }),
            (_, None) => json!({ "index": index, "delta": {}, "finish_reason": self.finish_reason() }),
        };
        let all = |text: &dyn Fn() -> Option<String>| {
            let choices = (0..self.choices).map(|index| choice(index, text()));
            event(self.object(choices.collect()))
        };
        let mut events: Vec<_> = (0..self.words).map(|at| all(&|| Some(word(at)))).collect();
        events.push(all(&|| None));
        if self.include_usage {
            let mut last = self.object(json!([]));
            last["usage"] = self.usage();
            events.push(event(last));
        }
        events.push(Bytes::from_static(b"data: [DONE]\n\n"));
        events
    }
}

fn word(at: usize) -> String {
    let space = if at == 0 { "" } else { " " };
    format!("{space}{}", WORDS[at % WORDS.len()])
}

fn words_in(value: &Value) -> usize {
    match value {
        Value::String(text) => text.split_whitespace().count().max(1),
        Value::Array(items) => items.iter().map(words_in).sum(),
        Value::Object(fields) => fields.get("content").or_else(|| fields.get("text")).map_or(0, words_in),
        Value::Number(_) => 1,
        _ => 0,
    }
}

/// Returns an embedding of eight numbers for each text, computed from its bytes.
fn embeddings(request: &Value) -> Bytes {
    let input = &request["input"];
    let inputs = match input {
        Value::Array(items) if items.iter().all(|item| !item.is_number()) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    let embed = |(index, text): (usize, &Value)| {
        let bytes = text.to_string().into_bytes();
        let at = |place: usize| bytes.iter().skip(place).step_by(8).map(|b| f64::from(*b)).sum::<f64>() / 10_000.0;
        json!({ "object": "embedding", "index": index, "embedding": (0..8).map(at).collect::<Vec<_>>() })
    };
    let data: Vec<_> = inputs.iter().enumerate().map(embed).collect();
    let tokens = words_in(input);
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    json!({ "object": "list", "model": request["model"], "data": data, "usage": usage }).to_string().into()
}
