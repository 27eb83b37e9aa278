//! The built-in upstream of `serve --demo`. It needs no network, answers with deterministic words, and reports exact
//! usage at one token per word. It ignores tools, and lacks the routes for images and audio.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use serde_json::Value;
use tokio::time::{Sleep, sleep};

use crate::domain::route::Route;

mod chat;
mod inputs;
mod messages;
mod responses;
#[cfg(test)]
mod tests;
mod words;

/// Pause between two events, long enough for a person to see the stream.
const PACE: Duration = Duration::from_millis(20);

/// The time at which every answer says that it was created, in Unix seconds.
const CREATED: u64 = 1_700_000_000;

/// The body of an answer of the demo upstream.
pub struct DemoBody {
    content_type: &'static str,
    pieces: VecDeque<Bytes>,
    /// The pause before the next piece. `None` if there is no pause.
    pause: Option<Pin<Box<Sleep>>>,
}

impl DemoBody {
    fn json(answer: &Value) -> Self {
        Self { content_type: "application/json", pieces: [answer.to_string().into()].into(), pause: None }
    }

    fn stream(events: Vec<String>) -> Self {
        let pieces = events.into_iter().map(Bytes::from).collect();
        Self { content_type: "text/event-stream", pieces, pause: None }
    }

    /// The value of its `content-type` header.
    pub fn content_type(&self) -> &'static str {
        self.content_type
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
    match route {
        Route::ChatCompletions | Route::Completions => Some(chat::answer(route, &request)),
        Route::Responses => Some(responses::answer(&request)),
        Route::Messages => Some(messages::answer(&request)),
        Route::CountTokens => Some(messages::count_tokens(&request)),
        Route::Embeddings => Some(inputs::embeddings(&request)),
        Route::Rerank => Some(inputs::rerank(&request)),
        Route::Moderations => Some(inputs::moderations(&request)),
        Route::Images | Route::Speech | Route::Transcriptions | Route::Translations => None,
    }
}

/// An event of a stream. If its data have a type, the type is also its name.
fn event(data: &Value) -> String {
    match data["type"].as_str() {
        Some(name) => format!("event: {name}\ndata: {data}\n\n"),
        None => format!("data: {data}\n\n"),
    }
}
