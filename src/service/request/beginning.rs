//! Reads the beginning of an upstream's answer before the customer gets any of it, so that another target can still be
//! tried.
//!
//! A 2xx without content does not count as an answer. It is one of:
//! * a stream that ends or reports an error before its first event with content,
//! * a JSON answer that holds only an error, or nothing that the route answers with,
//! * an answer that is neither JSON nor a stream of events, except for sound and for the plain text of a transcript.
//!
//! The form of an answer is determined by its first bytes, since content types are not always right. Anything that a
//! stream sends ahead of its content (comments, empty role chunks) is held back for at most [`HOLD`].

use std::{ops::Range, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::{
    admission::Reservation,
    error_object::error_object,
    meter::{Form, Meter},
    running::{OngoingAnswer, Running, WHOLE},
    skipped::SkippedTarget,
    stream::Origin,
    worker::InferenceWorker,
};
use crate::{
    domain::route::Route,
    service::dispatch::Attempt,
    upstream::{
        Response,
        body_form::{BodyForm, is_event_stream, is_type},
        observe::{self, ObservedChunk},
        refusal::{self, UpstreamError},
        splice::{Splice, splice},
        target::Target,
    },
};

/// The longest time and the most bytes for which a stream is held back ahead of its first content.
const HOLD: Duration = Duration::from_secs(1);
const MAX_HELD: usize = 64 << 10;

/// The most leading white space of an answer, in bytes.
const MAX_SPACE: usize = 64 << 10;

/// An answer that has content, or whose beginning can no longer be held back.
pub(super) struct StartedAnswer {
    pub(super) status: u16,
    pub(super) content_type: Bytes,
    pub(super) answering: OngoingAnswer,
    pub(super) first: AnswerStart,
}

/// The part of an answer that has been read.
pub(super) enum AnswerStart {
    /// A complete JSON answer, as the customer gets it.
    Whole(Bytes),
    /// The beginning of an answer that is sent piece by piece.
    Part(ObservedChunk),
}

/// A failed attempt, with the reservation for the next one.
pub(super) struct NoAnswer {
    pub(super) passed: SkippedTarget,
    /// `None` if the answer was given up meanwhile.
    pub(super) held: Option<(Attempt, Reservation)>,
}

/// Reads the beginning of a 2xx, and reports an answer to the target's circuit. A stream without content by
/// `origin.first_byte_by` is passed over.
pub(super) async fn begin(
    worker: &InferenceWorker,
    origin: &Origin,
    response: Response,
    attempt: Attempt,
    reservation: Reservation,
    asked: Asked<'_>,
) -> Result<StartedAnswer, NoAnswer> {
    let Response { status, content_type, body, is_encoded, .. } = response;
    if is_encoded {
        let passed = SkippedTarget::failed("its answer has an encoding that cannot be decoded");
        return Err(NoAnswer { passed, held: Some((attempt, reservation)) });
    }
    let is_event_stream = is_event_stream(content_type.as_deref());
    let form = if is_event_stream { Form::Events } else { Form::Whole };
    let meter = Meter::new(reservation, origin.index, status, form, asked.hides_usage);
    let mut answering = OngoingAnswer::begin(Running { body, meter, attempt }, worker.abandoned.clone());
    let mut reading = Reading {
        answering: &mut answering,
        target: &origin.target,
        request: asked.body,
        first_byte_by: origin.first_byte_by,
    };
    let may_be_raw = is_raw(asked.route, content_type.as_deref());
    let first = match reading.form(&asked, is_event_stream, may_be_raw).await {
        Ok(Form::Events) => reading.events().await.map(AnswerStart::Part),
        Ok(Form::Raw) => reading.raw(may_be_raw).await,
        Ok(Form::Whole | Form::Pieces) => reading.whole().await,
        Err(passed) => Err(passed),
    };
    match first {
        Ok(first) => {
            let form = answering.running.as_mut().map_or(Form::Whole, |running| {
                running.attempt.answered();
                running.meter.form()
            });
            Ok(StartedAnswer { status, content_type: content_type_of(form, content_type), answering, first })
        }
        Err(passed) => {
            let held = answering.running.take().and_then(|Running { meter, attempt, .. }| {
                let reservation = meter.give_back()?;
                Some((attempt, reservation))
            });
            Err(NoAnswer { passed, held })
        }
    }
}

/// The parts of the request that its answer depends on.
pub(super) struct Asked<'a> {
    pub(super) route: Route,
    /// The request's body.
    pub(super) body: &'a [u8],
    pub(super) stream: bool,
    /// Whether we asked for usage in the stream and the customer did not.
    pub(super) hides_usage: bool,
}

/// An answer whose beginning is being read. What has been read stays in `answering`, so that it is billed if the
/// customer hangs up.
struct Reading<'a> {
    answering: &'a mut OngoingAnswer,
    target: &'a Target,
    request: &'a [u8],
    first_byte_by: Instant,
}

impl Reading<'_> {
    fn running(&mut self) -> Result<&mut Running, SkippedTarget> {
        self.answering.running.as_mut().ok_or_else(|| SkippedTarget::failed("it was already given up"))
    }

    /// Reads the next piece; `None` at the end. Fails as too slow if nothing has come by `until`.
    async fn next(&mut self, until: Option<Instant>) -> Result<Option<Bytes>, SkippedTarget> {
        let chunk = self.running()?.body.chunk();
        let piece = match until {
            Some(until) => {
                timeout_at(until, chunk).await.map_err(|_| SkippedTarget::too_slow("it was silent for too long"))?
            }
            None => chunk.await,
        };
        piece.transpose().map_err(|error| match error.is_timeout() {
            true => SkippedTarget::too_slow(error.to_string()),
            false => SkippedTarget::failed(error.to_string()),
        })
    }

    /// Determines the form of the answer from its first bytes, which stay in the meter's collected bytes.
    /// `may_be_raw` is whether the answer may be of another form than JSON and events.
    async fn form(&mut self, asked: &Asked<'_>, is_event_stream: bool, may_be_raw: Raw) -> Result<Form, SkippedTarget> {
        if may_be_raw == Raw::Always {
            return Ok(Form::Raw);
        }
        loop {
            let begins = self.running()?.meter.collected();
            match BodyForm::with(begins, is_event_stream) {
                Some(BodyForm::Json) => return Ok(Form::Whole),
                // The rankings of SGLang.
                Some(BodyForm::List) if asked.route == Route::Rerank => return Ok(Form::Whole),
                Some(BodyForm::Events) if asked.stream || is_event_stream => return Ok(Form::Events),
                Some(_) if may_be_raw == Raw::UnlessJson => return Ok(Form::Raw),
                None if begins.len() <= MAX_SPACE => {}
                _ => return Err(SkippedTarget::failed("its answer is neither JSON nor a stream of events")),
            }
            match self.next(Some(self.first_byte_by)).await? {
                Some(piece) => self.running()?.meter.collect(piece),
                None if may_be_raw == Raw::UnlessJson => return Ok(Form::Raw),
                None => return Err(SkippedTarget::failed("it ended its answer before any content")),
            };
        }
    }

    /// Reads a stream up to its first content, or until [`HOLD`] or [`MAX_HELD`] is reached.
    async fn events(&mut self) -> Result<ObservedChunk, SkippedTarget> {
        let held_until = Instant::now() + HOLD;
        let mut held = BytesMut::new();
        let mut piece = self.running()?.meter.set_form(Form::Events);
        loop {
            let fed = self.running()?.meter.feed(piece).map_err(|error| SkippedTarget::failed(error.to_string()))?;
            if self.running()?.meter.has_content() {
                return Ok(joined(held, fed));
            }
            if let Some(error) = fed.error {
                return Err(self.error(&error));
            }
            if fed.terminal.is_some() {
                return Err(SkippedTarget::failed("it ended its stream before any content"));
            }
            held.extend_from_slice(&fed.pass);
            if held.len() > MAX_HELD {
                return Ok(joined(held, ObservedChunk::default()));
            }
            let until = if held.is_empty() { self.first_byte_by } else { held_until.min(self.first_byte_by) };
            piece = match self.next(Some(until)).await {
                Ok(Some(piece)) => piece,
                Ok(None) => return self.last_event(held),
                Err(passed) if passed.is_slow() && !held.is_empty() && Instant::now() < self.first_byte_by => {
                    return Ok(joined(held, ObservedChunk::default()));
                }
                Err(passed) => return Err(passed),
            };
        }
    }

    /// Reads the last frame of a stream that has ended. It may lack the blank line that ends a frame.
    fn last_event(&mut self, held: BytesMut) -> Result<ObservedChunk, SkippedTarget> {
        let fed = self.running()?.meter.finish();
        match fed.error {
            Some(error) => Err(self.error(&error)),
            None if self.running()?.meter.has_content() => Ok(joined(held, fed)),
            None => Err(SkippedTarget::failed("it ended its stream before any content")),
        }
    }

    /// Reads the first piece of an answer that is neither JSON nor a stream of events. A transcript may be empty, sound
    /// may not.
    async fn raw(&mut self, may_be_raw: Raw) -> Result<AnswerStart, SkippedTarget> {
        let mut piece = self.running()?.meter.set_form(Form::Raw);
        if piece.is_empty() {
            piece = match self.next(Some(self.first_byte_by)).await? {
                Some(piece) => piece,
                None if may_be_raw == Raw::UnlessJson => Bytes::new(),
                None => return Err(SkippedTarget::failed("it ended its answer before any content")),
            };
        }
        let fed = self.running()?.meter.feed(piece).map_err(|error| SkippedTarget::failed(error.to_string()))?;
        Ok(AnswerStart::Part(fed))
    }

    /// Reads a JSON answer to its end, or until it is larger than [`WHOLE`].
    async fn whole(&mut self) -> Result<AnswerStart, SkippedTarget> {
        self.running()?.meter.set_form(Form::Whole);
        while let Some(piece) = self.next(None).await? {
            let meter = &mut self.running()?.meter;
            if meter.collect(piece) > WHOLE {
                let read = meter.set_form(Form::Pieces);
                let fed = meter.feed(read).map_err(|error| SkippedTarget::failed(error.to_string()))?;
                return Ok(AnswerStart::Part(fed));
            }
        }
        let meter = &mut self.running()?.meter;
        meter.has_read();
        let whole = meter.whole();
        match (meter.has_content(), meter.has_error()) {
            (false, true) => Err(self.error(&whole)),
            _ if !meter.has_answer() => Err(SkippedTarget::failed("its answer is broken JSON, or holds no answer")),
            (_, true) => Ok(AnswerStart::Whole(self.with_clean_errors(&whole))),
            _ => Ok(AnswerStart::Whole(whole)),
        }
    }

    fn error(&self, data: &[u8]) -> SkippedTarget {
        SkippedTarget::reported(&self.read_error(data), "it answered with an error", self.request)
    }

    /// Replaces the errors in an answer that also holds content, since they may name the upstream.
    fn with_clean_errors(&self, whole: &Bytes) -> Bytes {
        let replace = |at: Range<usize>| {
            let error = self.read_error(&whole[at.clone()]);
            let meter = self.answering.running.as_ref().map(|running| &running.meter);
            let (id, model) = meter.map_or(Default::default(), |meter| (meter.request_id(), meter.slug()));
            let why = error.for_operator("it reported an error beside its answer", self.request);
            warn!(%id, model, why, "an answer holds an error");
            Splice { at, with: error_object(&error.stream_error_message()).to_string().into() }
        };
        let splices: Vec<Splice> = observe::errors(whole).into_iter().map(replace).collect();
        splice(whole, &splices)
    }

    fn read_error(&self, data: &[u8]) -> UpstreamError {
        let slug = self.answering.running.as_ref().map_or("", |running| running.meter.slug());
        refusal::read_error(data, self.target, slug)
    }
}

/// Joins the bytes that were held back and the ones that follow them.
fn joined(mut held: BytesMut, fed: ObservedChunk) -> ObservedChunk {
    if held.is_empty() {
        return fed;
    }
    held.extend_from_slice(&fed.pass);
    ObservedChunk { pass: held.freeze(), ..fed }
}

/// Whether an answer may be neither JSON nor a stream of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Raw {
    Never,
    /// If its first bytes are neither.
    UnlessJson,
    /// Whatever its first bytes are: sound can begin with any byte.
    Always,
}

fn is_raw(route: Route, content_type: Option<&[u8]>) -> Raw {
    let is = |wanted| content_type.is_some_and(|text| is_type(text, wanted));
    match route {
        Route::Speech if is("audio/") || is("application/octet-stream") => Raw::Always,
        Route::Transcriptions | Route::Translations
            if is("text/") && !is("text/html") && !is_event_stream(content_type) =>
        {
            Raw::UnlessJson
        }
        _ => Raw::Never,
    }
}

/// The upstream's content type if it matches the form, else the right one for the form.
fn content_type_of(form: Form, content_type: Option<Bytes>) -> Bytes {
    let right = match form {
        Form::Events => "text/event-stream",
        Form::Whole | Form::Pieces => "application/json",
        Form::Raw => return content_type.unwrap_or_else(|| Bytes::from_static(b"application/octet-stream")),
    };
    content_type.filter(|text| is_type(text, right)).unwrap_or_else(|| Bytes::from_static(right.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_that_fits_is_kept() {
        let of = |form, text: &'static str| content_type_of(form, Some(Bytes::from_static(text.as_bytes())));
        assert_eq!(of(Form::Whole, "application/json; charset=utf-8"), "application/json; charset=utf-8");
        assert_eq!(of(Form::Events, "Text/Event-Stream"), "Text/Event-Stream");
        assert_eq!(of(Form::Events, "application/json"), "text/event-stream");
        assert_eq!(of(Form::Pieces, "text/plain"), "application/json");
        assert_eq!(content_type_of(Form::Whole, None), "application/json");
    }
}
