//! An upstream's answer on its way to the customer: the model's name is rewritten, usage and text are observed, and a
//! stream's terminal event is set apart, so that it can wait for the log.
//!
//! There is one [`Observer`] an answer, fed in one of three ways: [`Observer::feed`] with the chunks of an event stream,
//! [`Observer::whole`] with a JSON answer in memory, [`Observer::piece`] with the chunks of a JSON answer that is too
//! large for that; the chunks may be cut anywhere. [`Observer::finish`] ends the first and the last.
//!
//! What is not rewritten is passed on as it came, as the very same [`Bytes`] where nothing in a chunk changes. The model
//! is found by its path (`model`, `response.model`, `message.model`), never by a search for text. JSON that is invalid
//! is read as far as it can be, if need be by its brackets and quotes: it is passed on as it came, but for the model.
//!
//! In a stream, the frame of an upstream's error is taken out and handed to the caller, who answers in his own words.
//! Nothing behind that frame is read.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;

use self::{
    answer::{Answer, Known, Said},
    big::Big,
    choices::Choices,
};
use super::{
    json,
    splice::{Splice, splice},
    sse::{self, Frame, FrameTooLong, Frames},
    usage::Report,
};
use crate::domain::route::Route;

mod answer;
mod big;
mod choices;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod key;
#[cfg(test)]
mod tests;

/// What has been seen of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    report: Report,
    /// No report has come but those inside choices.
    is_of_choices: bool,
    text_bytes: u64,
    /// Of which the latest report of output speaks, in a stream.
    reported_bytes: u64,
    choices: Choices,
    /// The chunk that carries nothing but the usage has come: servers send it when all choices have ended.
    usage_alone: bool,
    content: bool,
    /// The route's kind of answer was seen, even if it was empty: a choice, a list of vectors.
    answer: bool,
    terminal: bool,
    error: bool,
    /// A document that was read whole is no JSON.
    broken: bool,
}

/// What comes of a chunk of a stream. Pass on in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fed {
    /// For the customer, now; may be empty.
    pub pass: Bytes,
    /// The data of an upstream's error event, which is not in `pass`: as the upstream wrote it, names and all.
    pub error: Option<Bytes>,
    /// Everything from the terminal event on, in this and all later chunks: for the customer when the record is durable.
    pub terminal: Option<Bytes>,
}

/// Watches one answer.
#[derive(Debug)]
pub struct Observer {
    route: Route,
    slug: Slug,
    hide_usage: bool,
    seen: Seen,
    frames: Frames,
    known: Known,
    big: Big,
    // A frame that was taken out ended in a CR at the end of its chunk; its LF goes with it.
    swallow_lf: bool,
    // Empty between calls; kept for their room.
    splices: Vec<Splice>,
    models: Vec<Range<usize>>,
}

/// The name that a customer knows the model by.
#[derive(Debug, Clone)]
struct Slug {
    name: String,
    // As a JSON string.
    quoted: Bytes,
}

impl Observer {
    /// For an answer to a request on `route` for `slug`. With `hide_usage` the extra chunk of a stream that carries the
    /// usage is taken out: we asked for it, the customer did not.
    pub fn new(route: Route, slug: &str, hide_usage: bool) -> Self {
        Self {
            route,
            slug: Slug { name: slug.into(), quoted: json::quote(slug).into() },
            hide_usage,
            seen: Seen::default(),
            frames: Frames::default(),
            known: Known::default(),
            big: Big::default(),
            swallow_lf: false,
            splices: Vec::new(),
            models: Vec::new(),
        }
    }

    /// A chunk of an event stream. Whole frames are passed on, an incomplete one waits for the rest of it. `Err`: a
    /// frame without an end; nothing more can be passed on.
    pub fn feed(&mut self, chunk: Bytes) -> Result<Fed, FrameTooLong> {
        let run = self.frames.push(chunk)?;
        Ok(self.pass_on(run))
    }

    /// The answer has ended. Of a stream: a last frame that lacks nothing but the empty line behind it is passed on as it
    /// is, and what follows it must begin with that line; less than that is no event, and dropped. So is half a `model`
    /// of an answer that was fed in pieces.
    pub fn finish(&mut self) -> Fed {
        let left = self.frames.finish();
        let whole = sse::frames(&left)
            .next()
            .and_then(|frame| frame.payload())
            .is_some_and(|payload| is_terminal(self.route, &payload) || json::validate(&payload).is_ok());
        if whole { self.pass_on(left) } else { Fed::default() }
    }

    /// A JSON answer, all of it or all that came. [`Self::saw_answer`] tells whether it is JSON at all.
    pub fn whole(&mut self, body: Bytes) -> Bytes {
        let mut answer = Answer::new(self.route, &self.slug, &mut self.models, &mut self.seen.choices);
        let read = answer.read(&body, None).or_else(|_| answer.read_again(&body));
        let said = answer.said;
        let models = std::mem::take(&mut self.models);
        if read.is_err() {
            // Half an answer is billed too, if the customer has hung up.
            self.seen.broken = true;
            return self.piece(body);
        }
        self.note(&said);
        let with = &self.slug.quoted;
        self.splices.extend(models.into_iter().map(|at| Splice { at, with: with.clone() }));
        let out = splice(&body, &self.splices);
        self.splices.clear();
        out
    }

    /// A chunk of a JSON answer that is not kept in memory. The value of a `model` is held back until it is complete.
    pub fn piece(&mut self, chunk: Bytes) -> Bytes {
        let said = self.big.feed(&chunk, &self.slug, &mut self.splices);
        self.note(&said);
        let out = splice(&chunk, &self.splices);
        self.splices.clear();
        out
    }

    /// The upstream's reports so far.
    pub fn report(&self) -> &Report {
        &self.seen.report
    }

    /// UTF-8 bytes of generated text: content, reasoning, refusals, transcripts, tool calls.
    pub fn text_bytes(&self) -> u64 {
        self.seen.text_bytes
    }

    /// UTF-8 bytes of generated text in a stream that came after the latest report of output.
    pub fn unreported_bytes(&self) -> u64 {
        self.seen.text_bytes - self.seen.reported_bytes
    }

    /// Bytes that are held of an event that has not ended.
    pub fn held_bytes(&self) -> u64 {
        self.frames.held_bytes()
    }

    /// Whether there was anything in it for the customer: text, a tool call, a finish reason, a usage.
    pub fn saw_content(&self) -> bool {
        self.seen.content
    }

    /// Whether an answer that was read by [`Self::whole`] is JSON that holds what its route answers with. JSON is meant as
    /// [`json::Reader::lenient`] reads it.
    pub fn saw_answer(&self) -> bool {
        !self.seen.broken && (self.seen.answer || self.seen.content)
    }

    /// Whether all of `choices` have said why they ended; or all that have begun, and the usage came behind them: some
    /// servers give fewer than they were asked for.
    pub fn has_finished(&self, choices: u64) -> bool {
        let seen = &self.seen;
        seen.choices.finished() >= choices || (seen.usage_alone && seen.choices.have_all_finished())
    }

    /// Whether a stream that ends here is whole: its terminal event has come, or every choice has said why it ended.
    pub fn is_whole(&self) -> bool {
        self.seen.terminal || self.seen.choices.have_all_finished()
    }

    /// Whether the event has come that ends a stream.
    pub fn saw_terminal(&self) -> bool {
        self.seen.terminal
    }

    /// Whether the upstream reported an error in an answer that had begun as a success.
    pub fn saw_error(&self) -> bool {
        self.seen.error
    }

    fn pass_on(&mut self, run: Bytes) -> Fed {
        let mut fed = Fed::default();
        if self.seen.error {
            return fed;
        }
        // Where the terminal event begins.
        let mut hold = if self.seen.terminal { 0 } else { run.len() };
        if !run.is_empty() && std::mem::take(&mut self.swallow_lf) && run.starts_with(b"\n") {
            self.splices.push(Splice { at: 0..1, with: Bytes::new() });
        }
        for frame in sse::frames(&run) {
            let (verdict, payload) = match (self.stray_error(&frame), frame.payload()) {
                (Some(error), _) => (Verdict::Error, Cow::Borrowed(error)),
                (None, None) => continue,
                (None, Some(payload)) if is_terminal(self.route, &payload) => {
                    if !self.seen.terminal {
                        self.seen.terminal = true;
                        hold = frame.start;
                    }
                    continue;
                }
                (None, Some(payload)) => (self.look(&frame, &payload), payload),
            };
            let mut end = frame.start + frame.bytes.len();
            match verdict {
                Verdict::Pass => continue,
                Verdict::Hide => {}
                Verdict::Error => {
                    self.seen.error = true;
                    fed.error = Some(Bytes::copy_from_slice(&payload));
                    end = run.len();
                }
            }
            self.splices.push(Splice { at: frame.start..end, with: Bytes::new() });
            self.swallow_lf = end == run.len() && run.ends_with(b"\r");
            if verdict == Verdict::Error {
                break;
            }
        }
        if hold == run.len() {
            fed.pass = splice(&run, &self.splices);
        } else {
            let held = self.splices.partition_point(|splice| splice.at.start < hold);
            for splice in &mut self.splices[held..] {
                splice.at = splice.at.start - hold..splice.at.end - hold;
            }
            fed.terminal = Some(splice(&run.slice(hold..), &self.splices[held..]));
            fed.pass = splice(&run.slice(..hold), &self.splices[..held]);
        }
        self.splices.clear();
        fed
    }

    fn look(&mut self, frame: &Frame<'_>, payload: &[u8]) -> Verdict {
        let mut answer = Answer::new(self.route, &self.slug, &mut self.models, &mut self.seen.choices);
        let read = answer.read(payload, Some(&mut self.known)).or_else(|_| answer.read_again(payload));
        let mut said = answer.said;
        let is_error = frame.event == Some(b"error") || said.is_error();
        if read.is_err() {
            said = self.look_again(payload);
        }
        said.error = is_error;
        self.note(&said);
        let verdict = if is_error {
            Verdict::Error
        } else if self.hide_usage && said.is_usage_alone() {
            Verdict::Hide
        } else {
            Verdict::Pass
        };
        if verdict == Verdict::Pass {
            for at in self.models.iter().filter_map(|at| frame.locate(at)) {
                self.splices.push(Splice { at, with: self.slug.quoted.clone() });
            }
        }
        self.models.clear();
        verdict
    }

    /// An error that stands in a frame without being its data, as some servers write it: `{"error": …}`, `error: {…}`.
    fn stray_error<'a>(&self, frame: &Frame<'a>) -> Option<&'a [u8]> {
        let stray = frame.stray()?;
        if let Some(error) = stray.strip_prefix(b"error:") {
            return Some(error);
        }
        let (mut models, mut choices) = (Vec::new(), Choices::default());
        let mut answer = Answer::new(self.route, &self.slug, &mut models, &mut choices);
        // An error that is cut is one, too.
        let _ = answer.read_again(stray);
        answer.said.is_error().then_some(stray)
    }

    /// A frame that is no JSON, read by brackets and quotes.
    fn look_again(&mut self, payload: &[u8]) -> Said {
        let mut splices = Vec::new();
        let said = Big::default().feed(payload, &self.slug, &mut splices);
        self.models.clear();
        self.models.extend(splices.into_iter().map(|splice| splice.at));
        if said.content || said.finish_reason {
            self.seen.choices.mark(0, said.finish_reason);
        }
        said
    }

    fn note(&mut self, said: &Said) {
        let seen = &mut self.seen;
        seen.text_bytes = seen.text_bytes.saturating_add(said.text_bytes);
        let told = |report: Option<Report>| report.filter(|report| !report.is_empty());
        let (report, of_choice) = (told(said.report), told(said.choice_report));
        if report.is_some() && std::mem::take(&mut seen.is_of_choices) {
            seen.report = Report::default();
        }
        seen.is_of_choices |= of_choice.is_some() && report.is_none() && seen.report.is_empty();
        let counts = report.or(of_choice.filter(|_| seen.is_of_choices));
        if let Some(report) = &counts {
            seen.report.add(report);
            if report.has_output() {
                seen.reported_bytes = seen.text_bytes;
            }
        }
        seen.usage_alone |= said.is_usage_alone();
        // Beside an error, a finish reason and a usage say no more than that it failed.
        let tells = said.finish_reason || counts.is_some();
        seen.content |= said.content || (tells && !said.is_error());
        seen.answer |= said.is_answer();
        seen.error |= said.is_error();
    }
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    Hide,
    Error,
}

/// The places of the errors in a JSON answer that holds content, too.
pub fn errors(answer: &[u8]) -> Vec<Range<usize>> {
    answer::errors(answer).unwrap_or_default()
}

/// Whether a frame's data says that the stream is over.
fn is_terminal(route: Route, payload: &[u8]) -> bool {
    match route {
        Route::ChatCompletions | Route::Completions | Route::Embeddings => payload.trim_ascii() == b"[DONE]",
    }
}
