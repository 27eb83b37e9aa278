//! Fuzz targets for the answers of untrusted servers.

use bytes::Bytes;
use serde_json::Value;

use super::{AnswerFacts, Observer};
use crate::{
    domain::route::Route,
    fuzz::pieces::cut,
    upstream::{
        sse::{self, FrameTooLong},
        usage::Report,
    },
};

const SLUG: &str = "acme/chat";

/// Only the model's name changes in a JSON answer, and the cuts between its pieces do not change the figures.
pub(crate) fn answer(input: &[u8]) {
    for route in Route::ALL {
        let mut whole = Observer::new(route, SLUG, false);
        let passed = whole.whole(Bytes::copy_from_slice(input));
        let before = serde_json::from_slice::<Value>(input);
        if let Ok(before) = before {
            assert!(!whole.facts.is_broken, "a valid document counts as broken");
            let after = serde_json::from_slice::<Value>(&passed).ok().map(unnamed);
            assert_eq!(after, Some(unnamed(before)), "more than the model's name has changed");
        }
        let [one, pieces] = [input.chunks(1).collect(), cut(input)].map(|pieces| in_pieces(route, pieces));
        assert_eq!(one, pieces, "the result depends on the cuts");
        assert_eq!(one, in_pieces(route, vec![input]), "the result depends on the cuts");
    }
}

/// The bytes that are passed on, and the measured figures.
fn in_pieces(route: Route, pieces: Vec<&[u8]>) -> (Vec<u8>, Report, u64) {
    let mut observer = Observer::new(route, SLUG, false);
    let passed: Vec<Bytes> = pieces.into_iter().map(|piece| observer.piece(Bytes::copy_from_slice(piece))).collect();
    (passed.concat(), *observer.report(), observer.text_bytes())
}

/// The routes with streams, and whether their usage is hidden.
const STREAMS: [(Route, bool); 8] = [
    (Route::ChatCompletions, true),
    (Route::ChatCompletions, false),
    (Route::Completions, false),
    (Route::Responses, false),
    (Route::Messages, false),
    (Route::Images, false),
    (Route::Speech, false),
    (Route::Transcriptions, false),
];

/// Only the model's name changes in a stream, and the cuts between its chunks change neither bytes nor figures.
pub(crate) fn stream(input: &[u8]) {
    for (route, hides_usage) in STREAMS {
        let whole = observe(route, hides_usage, vec![input]);
        assert_eq!(whole, observe(route, hides_usage, input.chunks(1).collect()), "the result depends on the cuts");
        assert_eq!(whole, observe(route, hides_usage, cut(input)), "the result depends on the cuts");
        let Ok(whole) = whole else { continue };
        if !hides_usage && whole.error.is_none() {
            let passed = [whole.pass, whole.terminal].concat();
            // An incomplete event at the end is dropped.
            let before = payloads(input);
            let after = payloads(&passed);
            assert!(before.len() - after.len() <= 1, "events are missing");
            for (before, after) in before.into_iter().zip(after) {
                assert!(
                    before.is_none() || before == after,
                    "more than the model's name has changed: {before:?} {after:?}"
                );
            }
        }
    }
}

/// The result of observing a stream.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    pass: Vec<u8>,
    terminal: Vec<u8>,
    error: Option<Bytes>,
    facts: AnswerFacts,
}

fn observe(route: Route, hides_usage: bool, pieces: Vec<&[u8]>) -> Result<Outcome, FrameTooLong> {
    let mut observer = Observer::new(route, SLUG, hides_usage);
    let mut outcome = Outcome::default();
    let count = pieces.len();
    for at in 0..=count {
        let observed = match pieces.get(at) {
            Some(piece) => observer.feed(Bytes::copy_from_slice(piece))?,
            None => observer.finish(),
        };
        assert!(outcome.terminal.is_empty() || observed.pass.is_empty(), "bytes overtake the terminal event");
        outcome.pass.extend_from_slice(&observed.pass);
        outcome.terminal.extend_from_slice(&observed.terminal.unwrap_or_default());
        outcome.error = outcome.error.or(observed.error);
    }
    assert!(observer.unreported_bytes() <= observer.text_bytes(), "more text is unreported than there is");
    outcome.facts = observer.facts;
    Ok(outcome)
}

/// The data of each event without the models' names; `None` if it is not JSON.
fn payloads(stream: &[u8]) -> Vec<Option<Value>> {
    let payloads = sse::frames(stream).filter_map(|frame| frame.payload().map(|payload| payload.into_owned()));
    payloads.map(|payload| serde_json::from_slice(&payload).ok().map(unnamed)).collect()
}

/// An answer without the models' names.
fn unnamed(mut answer: Value) -> Value {
    for inside in ["", "/response", "/message"] {
        if let Some(Value::Object(members)) = answer.pointer_mut(inside) {
            members.remove("model");
        }
    }
    answer
}
