//! An answer that goes out piece by piece: a stream of events, or a JSON answer too large to be read whole.
//!
//! Earlier pieces never wait for the log. What ends the answer does: the terminal event of a stream, the last piece of
//! a JSON answer, and the body's end.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use serde_json::json;
use tracing::warn;

use super::running::{Answering, Running};
use crate::{
    service::{Gateway, meter::Form},
    upstream::{Body, observe::Fed, refusal, target::Target},
};

/// An answer that goes out piece by piece. It ends only when its event is durable.
pub struct AnswerStream {
    gateway: Arc<Gateway>,
    /// Who answers: its names are kept out of what it says of its errors.
    target: Arc<Target>,
    /// A piece that was read before the answer turned out to be large.
    read: Bytes,
    /// The latest piece of a JSON answer: it may be the last one.
    held: Bytes,
    form: Form,
    state: State,
}

#[expect(clippy::large_enum_variant, reason = "there is one in each stream, and it is boxed with it")]
enum State {
    Passing(Answering),
    Closing(Closing),
    /// All that the customer gets has been handed over; the connection is cut when it has been sent.
    Cutting {
        handed_over: bool,
    },
    Ended,
}

/// Settled; what ends the answer waits for the log.
struct Closing {
    durable: Pin<Box<dyn Future<Output = bool>>>,
    last: Bytes,
    /// Otherwise the answer must not look whole, and its connection is cut behind `last`.
    is_whole: bool,
    /// Kept until its end is read, so that its connection can be used again.
    body: Option<Body>,
}

/// The answer cannot go on: its connection is cut.
#[derive(Debug)]
pub struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer was cut")
    }
}

impl std::error::Error for Cut {}

impl AnswerStream {
    pub(super) fn new(gateway: Arc<Gateway>, answering: Answering, read: Bytes, target: Arc<Target>) -> Self {
        let form = answering.running.as_ref().map_or(Form::Pieces, |running| running.meter.form());
        Self { gateway, target, read, held: Bytes::new(), form, state: State::Passing(answering) }
    }

    /// Whether it is a stream of events.
    pub fn is_event_stream(&self) -> bool {
        self.form == Form::Events
    }

    /// The next piece for the customer; `None` at the end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        loop {
            let piece = match &mut self.state {
                State::Passing(answering) => std::task::ready!(poll_fed(answering, &mut self.read, cx)),
                State::Closing(closing) => {
                    let is_durable = std::task::ready!(closing.poll(cx));
                    let last = std::mem::take(&mut closing.last);
                    let is_whole = closing.is_whole && is_durable;
                    self.state = if is_whole { State::Ended } else { State::Cutting { handed_over: false } };
                    if is_durable && !last.is_empty() {
                        return Poll::Ready(Some(Ok(last)));
                    }
                    continue;
                }
                // An error drops what is not sent yet, so it comes one turn after the last piece.
                State::Cutting { handed_over: handed_over @ false } => {
                    *handed_over = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                State::Cutting { handed_over: true } => return Poll::Ready(Some(Err(Cut))),
                State::Ended => return Poll::Ready(None),
            };
            let pass = match piece {
                Ok(Next::Piece(fed)) => self.pass(fed),
                Ok(Next::End(fed)) => {
                    let last = [self.pass(fed), std::mem::take(&mut self.held)].concat();
                    self.close(last.into(), true);
                    Bytes::new()
                }
                Err(why) => {
                    warn!(why, "an upstream's answer broke off in the middle");
                    self.break_off("The model server broke off in the middle of its answer.");
                    Bytes::new()
                }
            };
            if !pass.is_empty() {
                return Poll::Ready(Some(Ok(pass)));
            }
        }
    }

    /// What goes out now of what was observed.
    fn pass(&mut self, fed: Fed) -> Bytes {
        if let Some(error) = fed.error {
            let message = match &self.state {
                State::Passing(Answering { running: Some(running), .. }) => {
                    refusal::in_stream(&error, &self.target, running.meter.slug())
                }
                _ => String::new(),
            };
            warn!("an upstream reported an error in the middle of its answer");
            self.break_off(&message);
        } else if let Some(terminal) = fed.terminal {
            self.close(terminal, true);
        }
        match self.form {
            Form::Events => fed.pass,
            Form::Whole | Form::Pieces if fed.pass.is_empty() => fed.pass,
            Form::Whole | Form::Pieces => std::mem::replace(&mut self.held, fed.pass),
        }
    }

    /// Settles; `last` goes out when the event is durable.
    fn close(&mut self, last: Bytes, is_whole: bool) {
        let State::Passing(answering) = &mut self.state else { return };
        let Some(Running { body, meter }) = answering.running.take() else { return };
        let settled = meter.settle();
        let gateway = self.gateway.clone();
        let durable = Box::pin(async move {
            match settled {
                Some(seq) => gateway.is_durable_in_time(seq).await,
                None => false,
            }
        });
        self.state = State::Closing(Closing { durable, last, is_whole, body: Some(body) });
    }

    /// The answer ends too early: a stream says so in an event of its own. Then the connection is cut.
    fn break_off(&mut self, message: &str) {
        self.gateway.counts.failed();
        match self.form {
            Form::Events => {
                let error =
                    json!({ "message": message, "type": "server_error", "param": null, "code": "upstream_error" });
                self.close(format!("data: {}\n\n", json!({ "error": error })).into(), false);
            }
            Form::Whole | Form::Pieces => self.close(Bytes::new(), false),
        }
    }
}

/// What comes next of an upstream's answer.
enum Next {
    Piece(Fed),
    End(Fed),
}

fn poll_fed(answering: &mut Answering, read: &mut Bytes, cx: &mut Context<'_>) -> Poll<Result<Next, String>> {
    let Some(Running { body, meter }) = &mut answering.running else {
        return Poll::Ready(Ok(Next::End(Fed::default())));
    };
    let piece = match std::mem::take(read) {
        read if !read.is_empty() => Some(Ok(read)),
        _ => std::task::ready!(body.poll_chunk(cx)),
    };
    Poll::Ready(match piece {
        Some(Ok(piece)) => meter.feed(piece).map(Next::Piece).map_err(|_| "an event is too large".to_owned()),
        Some(Err(error)) => Err(error.to_string()),
        None => Ok(Next::End(meter.finish())),
    })
}

impl Closing {
    /// Whether the event became durable in time.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if let Some(body) = &mut self.body
            && let Poll::Ready(None | Some(Err(_))) = body.poll_chunk(cx)
        {
            self.body = None;
        }
        self.durable.as_mut().poll(cx)
    }
}
