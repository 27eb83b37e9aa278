//! An answer that is sent piece by piece: a stream of events, or a JSON answer too large to be read whole.
//!
//! * The end of an answer waits for the log: the terminal event of a stream, the last byte of any other answer, and the
//!   end of the body. Earlier pieces never wait.
//! * When a stream breaks off, the customer gets an error event and then a proper end of the HTTP body. If the
//!   connection were cut, clients would report that instead of the error. A JSON answer that breaks off is cut.
//! * A stream that is complete except for its terminal event is ended after [`QUIET`], even if heartbeats still arrive.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::warn;

use super::{
    error_object::error_event,
    meter::{Ended, Form, Meter},
    running::{OngoingAnswer, Running},
};
use crate::{
    service::{core::Core, metrics::Overhead},
    upstream::{Body, observe::ObservedChunk, refusal, target::Target},
};

/// How long a stream may stay open without its terminal event when it is complete otherwise.
const QUIET: Duration = Duration::from_secs(5);

/// The target that an answer comes from.
pub(super) struct Origin {
    pub(super) target: Arc<Target>,
    /// The target's index among the targets of the model.
    pub(super) index: u16,
    /// The deadline of its first content.
    pub(super) first_byte_by: Instant,
}

/// An answer that is sent piece by piece. It ends only when its event is durable.
pub struct AnswerStream {
    core: Arc<Core>,
    /// The target that answers. Its names are removed from its error messages.
    origin: Origin,
    /// The part that was read by `beginning`.
    first: Option<ObservedChunk>,
    /// The latest byte of a JSON answer or of sound, held back because it may be the last one.
    held: Bytes,
    form: Form,
    silence: SilenceTimer,
    is_broken: bool,
    state: State,
}

#[expect(clippy::large_enum_variant, reason = "there is one in each stream, and it is boxed with it")]
enum State {
    Passing(OngoingAnswer),
    Closing(Closing),
    /// The last piece has been handed over to HTTP. The connection is cut after that piece has been sent.
    Cutting {
        handed_over: bool,
    },
    Ended,
}

/// A settled answer whose end waits for the log.
struct Closing {
    durable: Pin<Box<dyn Future<Output = bool>>>,
    last: Bytes,
    /// `None` if the answer broke off or made no event.
    overhead: Option<Overhead>,
    /// Whether the body ends properly. Otherwise the connection is cut after `last`.
    ends: bool,
    /// The upstream's body, kept until its end is read so that the connection can be reused.
    body: Option<Body>,
}

/// The error that cuts the customer's connection because the answer cannot be completed.
#[derive(Debug)]
pub struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer was cut")
    }
}

impl std::error::Error for Cut {}

impl AnswerStream {
    pub(super) fn new(core: Arc<Core>, answering: OngoingAnswer, first: ObservedChunk, origin: Origin) -> Self {
        let form = answering.running.as_ref().map_or(Form::Pieces, |running| running.meter.form());
        Self {
            core,
            origin,
            first: Some(first),
            held: Bytes::new(),
            form,
            silence: SilenceTimer::default(),
            is_broken: false,
            state: State::Passing(answering),
        }
    }

    /// Whether the answer broke off. The connection is then closed after it.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether its last piece has been handed over.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Cutting { .. } | State::Ended)
    }

    /// Whether it is a stream of events.
    pub fn is_event_stream(&self) -> bool {
        self.form == Form::Events
    }

    /// The next piece for the customer; `None` at the end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        loop {
            let piece = match &mut self.state {
                State::Passing(answering) => {
                    let first_byte_by = self.origin.first_byte_by;
                    let next = self.first.take().map(|first| Poll::Ready(AnswerStep::Piece(first)));
                    match next.unwrap_or_else(|| poll_fed(answering, cx)) {
                        Poll::Ready(next) => next,
                        Poll::Pending => std::task::ready!(self.silence.poll(answering, first_byte_by, cx)),
                    }
                }
                State::Closing(closing) => {
                    let is_durable = std::task::ready!(closing.poll(cx));
                    let last = std::mem::take(&mut closing.last);
                    let ends = closing.ends && is_durable;
                    if let Some(overhead) = closing.overhead.take().filter(|_| ends) {
                        overhead.record();
                    }
                    self.state = if ends { State::Ended } else { State::Cutting { handed_over: false } };
                    if is_durable && !last.is_empty() {
                        return Poll::Ready(Some(Ok(last)));
                    }
                    continue;
                }
                // An error discards bytes that are not sent yet, so it is returned one poll after the last piece.
                State::Cutting { handed_over: handed_over @ false } => {
                    *handed_over = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                State::Cutting { handed_over: true } => return Poll::Ready(Some(Err(Cut))),
                State::Ended => return Poll::Ready(None),
            };
            let pass = match piece {
                AnswerStep::Piece(fed) => self.pass(fed),
                AnswerStep::End(fed) => {
                    let last = [self.pass(fed), std::mem::take(&mut self.held)].concat();
                    self.end(last.into())
                }
                AnswerStep::Broken { why, message } => {
                    self.warn(&why);
                    self.break_off(message, Bytes::new());
                    Bytes::new()
                }
            };
            if !pass.is_empty() {
                return Poll::Ready(Some(Ok(pass)));
            }
        }
    }

    /// Takes in an observed piece and returns the bytes to send now.
    fn pass(&mut self, fed: ObservedChunk) -> Bytes {
        if let Some(error) = fed.error {
            let slug = self.meter().map_or("", Meter::slug);
            let reported = refusal::read_error(&error, &self.origin.target, slug);
            self.warn("it reported an error in the middle of its answer");
            self.break_off(&reported.stream_error_message(), Bytes::new());
        } else if let Some(terminal) = fed.terminal {
            self.close(terminal, true);
        }
        match self.form {
            Form::Events => fed.pass,
            Form::Whole | Form::Pieces | Form::Raw => self.hold_last_byte(fed.pass),
        }
    }

    /// Holds back the last byte of a piece. Returns the bytes to send now.
    fn hold_last_byte(&mut self, mut piece: Bytes) -> Bytes {
        let Some(last) = piece.len().checked_sub(1) else { return piece };
        let held = std::mem::replace(&mut self.held, piece.split_off(last));
        if held.is_empty() { piece } else { [held, piece].concat().into() }
    }

    /// Handles the end of the upstream's body, whose last piece is `last`. Returns the bytes to send now.
    fn end(&mut self, last: Bytes) -> Bytes {
        let Some(meter) = self.meter() else { return last };
        if self.form != Form::Events || meter.is_whole() {
            self.close(last, true);
            return Bytes::new();
        }
        self.warn("it ended its stream in the middle of its answer");
        self.break_off(BROKE_OFF, last);
        Bytes::new()
    }

    /// Settles the request; `last` is sent when the event is durable. A stream without content makes no event.
    fn close(&mut self, last: Bytes, ends: bool) {
        let State::Passing(answering) = &mut self.state else { return };
        let Some(Running { body, meter, .. }) = answering.running.take() else { return };
        let ended = match meter.form() == Form::Events && !meter.has_content() {
            true => {
                meter.forget();
                Ended::NoEvent
            }
            false => meter.end(),
        };
        let (seq, overhead) = match ended {
            Ended::Event(settled) => (Ok(Some(settled.seq)), Some(settled.overhead).filter(|_| !self.is_broken)),
            Ended::NoEvent => (Ok(None), None),
            Ended::Failed => (Err(()), None),
        };
        let core = self.core.clone();
        let durable = Box::pin(async move {
            match seq {
                Ok(Some(seq)) => core.is_durable_in_time(seq).await,
                Ok(None) => true,
                Err(()) => false,
            }
        });
        self.state = State::Closing(Closing { durable, last, overhead, ends, body: Some(body) });
    }

    /// Ends an answer that is incomplete. A stream gets an error event after `last`; a JSON answer is cut.
    fn break_off(&mut self, message: &str, last: Bytes) {
        self.core.counts.failed();
        self.is_broken = true;
        match self.form {
            Form::Events => {
                let event = self.meter().map_or_else(String::new, |meter| error_event(meter.route(), message));
                self.close([&last, event.as_bytes()].concat().into(), true);
            }
            Form::Whole | Form::Pieces | Form::Raw => self.close(last, false),
        }
    }

    fn meter(&self) -> Option<&Meter> {
        match &self.state {
            State::Passing(OngoingAnswer { running: Some(running), .. }) => Some(&running.meter),
            _ => None,
        }
    }

    fn warn(&self, why: &str) {
        let (id, model) = self.meter().map_or(Default::default(), |meter| (meter.request_id(), meter.slug()));
        warn!(%id, model, target_index = self.origin.index, why, "an answer broke off");
    }
}

/// The error message for the customer when a stream breaks off.
const BROKE_OFF: &str = "The model server broke off in the middle of its answer.";

/// The next step of an upstream's answer.
enum AnswerStep {
    Piece(ObservedChunk),
    End(ObservedChunk),
    Broken {
        /// The reason, for the operator.
        why: String,
        /// The error message, for the customer.
        message: &'static str,
    },
}

impl AnswerStep {
    fn broken(why: impl Into<String>) -> Self {
        Self::Broken { why: why.into(), message: BROKE_OFF }
    }
}

fn poll_fed(answering: &mut OngoingAnswer, cx: &mut Context<'_>) -> Poll<AnswerStep> {
    let Some(Running { body, meter, .. }) = &mut answering.running else {
        return Poll::Ready(AnswerStep::End(ObservedChunk::default()));
    };
    Poll::Ready(match std::task::ready!(body.poll_chunk(cx)) {
        Some(Ok(piece)) => {
            meter.feed(piece).map_or_else(|error| AnswerStep::broken(error.to_string()), AnswerStep::Piece)
        }
        // The stream has finished, so it does not matter how its connection ends.
        Some(Err(_)) if meter.form() == Form::Events && meter.is_whole() => AnswerStep::End(meter.finish()),
        Some(Err(error)) => AnswerStep::broken(error.to_string()),
        None => AnswerStep::End(meter.finish()),
    })
}

/// The timer of a silent stream. It limits the wait for the first content and the wait for the end of a complete
/// stream.
#[derive(Default)]
struct SilenceTimer {
    timer: Option<Pin<Box<Sleep>>>,
    has_begun: bool,
}

impl SilenceTimer {
    /// Called when there is nothing to read. Ready when the stream has been silent for too long.
    fn poll(&mut self, answering: &OngoingAnswer, first_byte_by: Instant, cx: &mut Context<'_>) -> Poll<AnswerStep> {
        let Some(Running { meter, .. }) = &answering.running else { return Poll::Pending };
        let has_begun = meter.has_content();
        if meter.form() != Form::Events || (has_begun && !meter.is_complete()) {
            self.timer = None;
            return Poll::Pending;
        }
        if self.has_begun != has_begun {
            *self = Self { timer: None, has_begun };
        }
        let until = || if has_begun { Instant::now() + QUIET } else { first_byte_by };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until())));
        std::task::ready!(timer.as_mut().poll(cx));
        Poll::Ready(match has_begun {
            true => AnswerStep::End(ObservedChunk::default()),
            false => AnswerStep::Broken {
                why: "its first content did not arrive in time".to_owned(),
                message: "The model server did not answer in time.",
            },
        })
    }
}

impl Closing {
    /// Ready when the wait for the log is over, with whether the event became durable in time.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if let Some(body) = &mut self.body
            && let Poll::Ready(None | Some(Err(_))) = body.poll_chunk(cx)
        {
            self.body = None;
        }
        self.durable.as_mut().poll(cx)
    }
}
