//! Observes an upstream's answer on its way to the customer. The model's name is rewritten, usage and text are
//! measured, and a stream's terminal event is separated from the rest, so that it can wait until the billing event is
//! durable.
//!
//! Each answer has one [`Observer`]. It is fed with [`Observer::feed`] if the answer is an event stream, with
//! [`Observer::whole`] if it is a JSON answer in memory, and with [`Observer::piece`] if it is a JSON answer that is
//! too large for that. Chunks may be cut anywhere. [`Observer::finish`] ends a stream or a large answer.
//!
//! Bytes that are not rewritten are passed on unchanged, as the same [`Bytes`] if nothing in a chunk changes. The
//! model's name is found by its path (`model`, `response.model`, `message.model`), never by a text search. Invalid JSON
//! is read as far as possible, by its brackets and quotes if necessary, and is passed on unchanged except for the
//! model's name.
//!
//! The frame of an upstream's error is taken out of the stream and returned to the caller, who replaces it. Nothing
//! after that frame is read.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;

use self::{
    choices::Choices,
    document::DocumentReader,
    facts::{DocumentFacts, TextBytes},
    large::LargeAnswerLexer,
    reading::CommonPrefix,
    slug::Slug,
};
use super::{
    json,
    splice::{Splice, splice},
    sse::{self, Frame, FrameTooLong, Frames},
    usage::Report,
};
use crate::domain::route::{Output, Route};

mod choices;
mod document;
mod event_type;
mod facts;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod key;
mod large;
mod reading;
mod slug;
#[cfg(test)]
mod tests;
mod typed;

/// The facts of an answer so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct AnswerFacts {
    report: Report,
    /// `report` was found inside a choice. A report outside replaces it.
    is_of_choices: bool,
    text: TextBytes,
    /// The bytes of `text` that came before the latest report of output.
    reported_bytes: u64,
    images: u64,
    /// The length of the recording that the usage reports, and the one that the answer states.
    micros: [Option<u64>; 2],
    choices: Choices,
    /// The chunk that carries nothing but the usage has come. Servers send it after the last choice has ended.
    usage_alone: bool,
    has_content: bool,
    /// The document has the form of the route's answer, even if it is empty: a choice, a list of vectors.
    has_answer: bool,
    has_terminal: bool,
    has_error: bool,
    /// A document that was read whole is not valid JSON.
    is_broken: bool,
}

/// The result of observing a chunk of a stream. The fields are to be passed on in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedChunk {
    /// The bytes for the customer; may be empty.
    pub pass: Bytes,
    /// The data of an upstream's error event, as the upstream wrote it. It is not part of `pass`, since it may name
    /// hosts.
    pub error: Option<Bytes>,
    /// All bytes from the terminal event on, of this chunk and all later ones. They wait until the billing event is
    /// durable.
    pub terminal: Option<Bytes>,
}

/// Observes one answer.
#[derive(Debug)]
pub struct Observer {
    route: Route,
    slug: Slug,
    hide_usage: bool,
    /// The number of pictures that were asked for. A stream ends with the last one.
    pictures: u64,
    facts: AnswerFacts,
    frames: Frames,
    prefix: CommonPrefix,
    large: LargeAnswerLexer,
    // A frame that was taken out ended with a CR at the end of its chunk. Its LF, if it follows, is taken out too.
    swallow_lf: bool,
    // Empty between calls; kept to reuse their allocations.
    splices: Vec<Splice>,
    models: Vec<Range<usize>>,
}

impl Observer {
    /// Creates the observer of an answer to a request on `route` for `slug`. With `hide_usage`, the extra chunk that
    /// carries the usage is taken out of a stream, because the gateway asked for it and the customer did not.
    pub fn new(route: Route, slug: &str, hide_usage: bool) -> Self {
        Self {
            route,
            slug: Slug { name: slug.into(), quoted: json::quote(slug).into() },
            hide_usage,
            pictures: 1,
            facts: AnswerFacts::default(),
            frames: Frames::default(),
            prefix: CommonPrefix::default(),
            large: LargeAnswerLexer::default(),
            swallow_lf: false,
            splices: Vec::new(),
            models: Vec::new(),
        }
    }

    /// Sets the number of pictures that were asked for. Without it, one is expected.
    pub fn expect_pictures(&mut self, pictures: u64) {
        self.pictures = pictures;
    }

    /// Observes a chunk of an event stream. Complete frames are passed on; an incomplete frame is held until the rest
    /// of it comes.
    ///
    /// # Errors
    ///
    /// If a frame is too long. Nothing more can be passed on then.
    pub fn feed(&mut self, chunk: Bytes) -> Result<ObservedChunk, FrameTooLong> {
        let frames = self.frames.push(chunk)?;
        Ok(self.pass_on(frames))
    }

    /// Ends the answer. If the last frame of a stream lacks only the empty line after it, it is passed on unchanged,
    /// and any bytes that follow it must begin with that line. A frame that lacks more is dropped, as is the beginning
    /// of a `model` in a large answer.
    pub fn finish(&mut self) -> ObservedChunk {
        let rest = self.frames.finish();
        let is_whole = sse::frames(&rest)
            .next()
            .and_then(|frame| frame.payload())
            .is_some_and(|payload| is_terminal(&payload) || json::validate(&payload).is_ok());
        if is_whole { self.pass_on(rest) } else { ObservedChunk::default() }
    }

    /// Observes a JSON answer: all of it, or all of it that came. Returns the bytes for the customer.
    /// [`Self::has_answer`] says afterwards whether it is a valid answer.
    pub fn whole(&mut self, answer: Bytes) -> Bytes {
        let mut reader = DocumentReader::new(self.route, &self.slug, &mut self.models, &mut self.facts.choices);
        let read = reader.read(&answer).or_else(|_| reader.read_leniently(&answer));
        let facts = reader.facts;
        let models = std::mem::take(&mut self.models);
        if read.is_err() {
            // If the customer has hung up, half an answer is billed too.
            self.facts.is_broken = true;
            return self.piece(answer);
        }
        self.add(&facts);
        let with = &self.slug.quoted;
        self.splices.extend(models.into_iter().map(|at| Splice { at, with: with.clone() }));
        let out = splice(&answer, &self.splices);
        self.splices.clear();
        out
    }

    /// Observes a piece of a JSON answer that is not kept in memory. Returns the bytes for the customer. The value of a
    /// `model` is held until it is complete.
    pub fn piece(&mut self, piece: Bytes) -> Bytes {
        let facts = self.large.feed(&piece, &self.slug, &mut self.splices);
        self.add(&facts);
        let out = splice(&piece, &self.splices);
        self.splices.clear();
        out
    }

    /// The upstream's usage reports so far, merged.
    pub fn report(&self) -> &Report {
        &self.facts.report
    }

    /// UTF-8 bytes of generated text: content, reasoning, refusals, transcripts, tool calls.
    pub fn text_bytes(&self) -> u64 {
        self.facts.text.bytes()
    }

    /// The number of complete pictures.
    pub fn images(&self) -> u64 {
        self.facts.images
    }

    /// The length of the recording in microseconds: the reported one, else the one that the answer states.
    pub fn recording_micros(&self) -> Option<u64> {
        let [reported, stated] = self.facts.micros;
        reported.or(stated)
    }

    /// Observes a piece of an answer that is neither JSON nor a stream of events: sound, or the plain text of a
    /// transcript.
    pub fn raw(&mut self, piece: &[u8]) {
        self.facts.has_content |= !piece.is_empty();
        if self.route.output() == Output::Text {
            self.facts.text.streamed = self.facts.text.streamed.saturating_add(piece.len() as u64);
        }
    }

    /// UTF-8 bytes of generated text in a stream that came after the latest report of output.
    pub fn unreported_bytes(&self) -> u64 {
        self.facts.text.bytes() - self.facts.reported_bytes
    }

    /// Bytes that are held of an incomplete frame.
    pub fn held_bytes(&self) -> u64 {
        self.frames.held_bytes()
    }

    /// Whether the answer has held anything for the customer: text, a tool call, a finish reason, a usage.
    pub fn has_content(&self) -> bool {
        self.facts.has_content
    }

    /// Whether an answer that was read by [`Self::whole`] is JSON, as [`json::Reader::lenient`] reads it, and holds an
    /// answer of its route.
    pub fn has_answer(&self) -> bool {
        !self.facts.is_broken && (self.facts.has_answer || self.facts.has_content)
    }

    /// Whether all of `choices` have a finish reason. Some servers return fewer choices than requested, so it is also
    /// true when all choices that have begun have one and the usage came after them.
    pub fn has_finished(&self, choices: u64) -> bool {
        let facts = &self.facts;
        facts.choices.finished() >= choices || (facts.usage_alone && facts.choices.have_all_finished())
    }

    /// Whether a stream that ends here is complete: its terminal event has come, or every choice has a finish reason.
    pub fn is_whole(&self) -> bool {
        self.facts.has_terminal || self.facts.choices.have_all_finished()
    }

    /// Whether the terminal event has come.
    pub fn has_terminal(&self) -> bool {
        self.facts.has_terminal
    }

    /// Whether the upstream reported an error in an answer that had begun as a success.
    pub fn has_error(&self) -> bool {
        self.facts.has_error
    }

    /// Observes whole frames.
    fn pass_on(&mut self, frames: Bytes) -> ObservedChunk {
        let mut observed = ObservedChunk::default();
        if self.facts.has_error {
            return observed;
        }
        // The place of the terminal event.
        let mut terminal_at = if self.facts.has_terminal { 0 } else { frames.len() };
        if !frames.is_empty() && std::mem::take(&mut self.swallow_lf) && frames.starts_with(b"\n") {
            self.splices.push(Splice { at: 0..1, with: Bytes::new() });
        }
        for frame in sse::frames(&frames) {
            let (verdict, payload) = match (self.stray_error(&frame), frame.payload()) {
                (Some(error), _) => (Verdict::Error, Cow::Borrowed(error)),
                (None, None) => continue,
                (None, Some(payload)) if is_terminal(&payload) => (Verdict::Terminal, payload),
                (None, Some(payload)) => (self.observe_frame(&frame, &payload), payload),
            };
            let mut end = frame.start + frame.bytes.len();
            match verdict {
                Verdict::Pass => continue,
                Verdict::Terminal => {
                    if !self.facts.has_terminal {
                        self.facts.has_terminal = true;
                        terminal_at = frame.start;
                    }
                    continue;
                }
                Verdict::Hide => {}
                Verdict::Error => {
                    self.facts.has_error = true;
                    observed.error = Some(Bytes::copy_from_slice(&payload));
                    end = frames.len();
                }
            }
            self.splices.push(Splice { at: frame.start..end, with: Bytes::new() });
            self.swallow_lf = end == frames.len() && frames.ends_with(b"\r");
            if verdict == Verdict::Error {
                break;
            }
        }
        if terminal_at == frames.len() {
            observed.pass = splice(&frames, &self.splices);
        } else {
            let before = self.splices.partition_point(|splice| splice.at.start < terminal_at);
            for splice in &mut self.splices[before..] {
                splice.at = splice.at.start - terminal_at..splice.at.end - terminal_at;
            }
            observed.terminal = Some(splice(&frames.slice(terminal_at..), &self.splices[before..]));
            observed.pass = splice(&frames.slice(..terminal_at), &self.splices[..before]);
        }
        self.splices.clear();
        observed
    }

    fn observe_frame(&mut self, frame: &Frame<'_>, payload: &[u8]) -> Verdict {
        let mut reader = DocumentReader::new(self.route, &self.slug, &mut self.models, &mut self.facts.choices)
            .with_event(frame.event);
        let read = reader.read_after(&mut self.prefix, payload).or_else(|_| reader.read_leniently(payload));
        let mut facts = reader.facts;
        let is_error = frame.event == Some(b"error") || facts.is_error();
        if read.is_err() {
            facts = self.lex_frame(payload);
        }
        facts.has_error = is_error;
        self.add(&facts);
        let verdict = if is_error {
            Verdict::Error
        } else if self.hide_usage && facts.is_usage_alone() {
            Verdict::Hide
        } else if facts.is_terminal || (facts.images > 0 && self.facts.images >= self.pictures) {
            Verdict::Terminal
        } else {
            Verdict::Pass
        };
        if matches!(verdict, Verdict::Pass | Verdict::Terminal) {
            for at in self.models.iter().filter_map(|at| frame.locate(at)) {
                self.splices.push(Splice { at, with: self.slug.quoted.clone() });
            }
        }
        self.models.clear();
        verdict
    }

    /// An error in a frame that is not in the frame's data, as some servers write it: `{"error": …}`, `error: {…}`.
    fn stray_error<'a>(&self, frame: &Frame<'a>) -> Option<&'a [u8]> {
        let stray = frame.stray()?;
        if let Some(error) = stray.strip_prefix(b"error:") {
            return Some(error);
        }
        let (mut models, mut choices) = (Vec::new(), Choices::default());
        let mut reader = DocumentReader::new(self.route, &self.slug, &mut models, &mut choices);
        // An error that is cut off is an error too.
        let _ = reader.read_leniently(stray);
        reader.facts.is_error().then_some(stray)
    }

    /// Reads a frame that is not JSON by its brackets and quotes.
    fn lex_frame(&mut self, payload: &[u8]) -> DocumentFacts {
        let mut splices = Vec::new();
        let facts = LargeAnswerLexer::default().feed(payload, &self.slug, &mut splices);
        self.models.clear();
        self.models.extend(splices.into_iter().map(|splice| splice.at));
        if facts.has_content || facts.has_finish_reason {
            self.facts.choices.mark(0, facts.has_finish_reason);
        }
        facts
    }

    fn add(&mut self, document: &DocumentFacts) {
        let facts = &mut self.facts;
        facts.text.add(&document.text);
        facts.images = facts.images.saturating_add(document.images);
        let reported_micros = document.report.as_ref().and_then(Report::micros);
        facts.micros = [reported_micros.or(facts.micros[0]), document.micros.or(facts.micros[1])];
        let non_empty = |report: Option<Report>| report.filter(|report| !report.is_empty());
        let (report, of_choice) = (non_empty(document.report), non_empty(document.choice_report));
        if report.is_some() && std::mem::take(&mut facts.is_of_choices) {
            facts.report = Report::default();
        }
        facts.is_of_choices |= of_choice.is_some() && report.is_none() && facts.report.is_empty();
        let counts = report.or(of_choice.filter(|_| facts.is_of_choices));
        if let Some(report) = &counts {
            facts.report.add(report);
            if report.has_output() {
                facts.reported_bytes = facts.text.bytes();
            }
        }
        facts.usage_alone |= document.is_usage_alone();
        // Beside an error, a finish reason and a usage are not content.
        let has_ended = document.has_finish_reason || counts.is_some();
        facts.has_content |= document.has_content || (has_ended && !document.is_error());
        facts.has_answer |= document.is_answer();
        facts.has_error |= document.is_error();
    }
}

/// The treatment of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    /// The frame and everything after it waits until the billing event is durable.
    Terminal,
    Hide,
    Error,
}

/// The places of the errors in a JSON answer that also holds content.
pub fn errors(answer: &[u8]) -> Vec<Range<usize>> {
    document::errors(answer).unwrap_or_default()
}

/// Whether a frame's data is the terminal event.
fn is_terminal(payload: &[u8]) -> bool {
    payload.trim_ascii() == b"[DONE]"
}
