//! Answers of untrusted servers.

use bytes::Bytes;
use serde_json::Value;

use super::{Observer, Seen};
use crate::{
    domain::route::Route,
    fuzz::pieces::cut,
    upstream::{
        sse::{self, FrameTooLong},
        usage::Report,
    },
};

const SLUG: &str = "acme/chat";

/// In a JSON answer nothing changes but the model's name, and it is metered alike however it is cut.
pub(crate) fn answer(input: &[u8]) {
    for route in Route::ALL {
        let mut whole = Observer::new(route, SLUG, false);
        let passed = whole.whole(Bytes::copy_from_slice(input));
        let before = serde_json::from_slice::<Value>(input);
        if let Ok(before) = before {
            assert!(!whole.seen.broken, "a valid document is held to be broken");
            let after = serde_json::from_slice::<Value>(&passed).ok().map(unnamed);
            assert_eq!(after, Some(unnamed(before)), "more has changed than the model");
        }
        let [one, pieces] = [input.chunks(1).collect(), cut(input)].map(|pieces| in_pieces(route, pieces));
        assert_eq!(one, pieces, "it matters where an answer is cut");
        assert_eq!(one, in_pieces(route, vec![input]), "it matters that an answer is cut");
    }
}

/// The bytes that are passed on, and the figures that are metered.
fn in_pieces(route: Route, pieces: Vec<&[u8]>) -> (Vec<u8>, Report, u64) {
    let mut observer = Observer::new(route, SLUG, false);
    let passed: Vec<Bytes> = pieces.into_iter().map(|piece| observer.piece(Bytes::copy_from_slice(piece))).collect();
    (passed.concat(), *observer.report(), observer.text_bytes())
}

/// In a stream nothing changes but the model's name, and it is passed on and metered alike however it is cut.
pub(crate) fn stream(input: &[u8]) {
    for (route, hides_usage) in
        [(Route::ChatCompletions, true), (Route::ChatCompletions, false), (Route::Completions, false)]
    {
        let whole = fed(route, hides_usage, vec![input]);
        assert_eq!(whole, fed(route, hides_usage, input.chunks(1).collect()), "it matters that a stream is cut");
        assert_eq!(whole, fed(route, hides_usage, cut(input)), "it matters where a stream is cut");
        let Ok(whole) = whole else { continue };
        if !hides_usage && whole.error.is_none() {
            let passed = [whole.pass, whole.terminal].concat();
            // An incomplete event at the end is dropped.
            let before = payloads(input);
            let after = payloads(&passed);
            assert!(before.len() - after.len() <= 1, "events are missing");
            for (before, after) in before.into_iter().zip(after) {
                assert!(before.is_none() || before == after, "more has changed than the model: {before:?} {after:?}");
            }
        }
    }
}

/// The results of observing a stream.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    pass: Vec<u8>,
    terminal: Vec<u8>,
    error: Option<Bytes>,
    seen: Seen,
}

fn fed(route: Route, hides_usage: bool, pieces: Vec<&[u8]>) -> Result<Outcome, FrameTooLong> {
    let mut observer = Observer::new(route, SLUG, hides_usage);
    let mut outcome = Outcome::default();
    let count = pieces.len();
    for at in 0..=count {
        let fed = match pieces.get(at) {
            Some(piece) => observer.feed(Bytes::copy_from_slice(piece))?,
            None => observer.finish(),
        };
        assert!(outcome.terminal.is_empty() || fed.pass.is_empty(), "something passes the terminal event");
        outcome.pass.extend_from_slice(&fed.pass);
        outcome.terminal.extend_from_slice(&fed.terminal.unwrap_or_default());
        outcome.error = outcome.error.or(fed.error);
    }
    outcome.seen = observer.seen;
    Ok(outcome)
}

/// Each event's data without the names of models; `None` if it is not JSON.
fn payloads(stream: &[u8]) -> Vec<Option<Value>> {
    let payloads = sse::frames(stream).filter_map(|frame| frame.payload().map(|payload| payload.into_owned()));
    payloads.map(|payload| serde_json::from_slice(&payload).ok().map(unnamed)).collect()
}

/// An answer without the names of models.
fn unnamed(mut answer: Value) -> Value {
    for inside in ["", "/response", "/message"] {
        if let Some(Value::Object(members)) = answer.pointer_mut(inside) {
            members.remove("model");
        }
    }
    answer
}
