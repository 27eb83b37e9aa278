//! The meter beside an answer. It exists from the first sight of an upstream's 2xx on, and from there on there is exactly
//! one event: `settle` writes it, and dropping the meter settles by what was seen until then.

use bytes::{Bytes, BytesMut};

use super::metering::Reservation;
use crate::{
    domain::usage::{Usage, UsageSource},
    upstream::{
        observe::{Fed, Observer},
        sse::FrameTooLong,
    },
};

/// A reservation whose upstream has answered 2xx.
pub struct Meter {
    reservation: Reservation,
    status: u16,
    ttft_ms: Option<u64>,
    observer: Observer,
    form: Form,
    /// What has come of an answer that is read whole. It lies here so that a hang-up in its middle bills what had come.
    collected: Collected,
}

/// Pieces that are to be one; a single one is not copied.
#[derive(Default)]
struct Collected {
    first: Bytes,
    joined: BytesMut,
}

impl Collected {
    fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() && self.joined.is_empty() {
            self.first = piece;
            return;
        }
        self.joined.extend_from_slice(&std::mem::take(&mut self.first));
        self.joined.extend_from_slice(&piece);
    }

    fn len(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    fn take(&mut self) -> Bytes {
        match self.first.is_empty() {
            true => self.joined.split().freeze(),
            false => std::mem::take(&mut self.first),
        }
    }
}

/// In what form an answer comes, as its content type and size say: what the customer asked for and what an upstream
/// does are not always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A stream of events.
    Events,
    /// A JSON answer that is read whole.
    Whole,
    /// A JSON answer that is too large for that.
    Pieces,
}

impl Meter {
    /// An upstream has answered. `hide_usage`: we asked for usage that the customer did not ask for.
    pub fn new(mut reservation: Reservation, status: u16, form: Form, hide_usage: bool) -> Self {
        reservation.set_stream(form == Form::Events);
        let observer = Observer::new(reservation.route(), reservation.slug(), hide_usage);
        Self { reservation, status, ttft_ms: None, observer, form, collected: Collected::default() }
    }

    /// The model as the customer calls it.
    pub fn slug(&self) -> &str {
        self.reservation.slug()
    }

    /// In what form the answer comes.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Takes in a piece of an answer that is read whole. Gives how many bytes have come.
    pub fn collect(&mut self, piece: Bytes) -> usize {
        self.first_byte();
        self.collected.push(piece);
        self.collected.len()
    }

    /// The answer turned out to be too large to be read whole. Gives what has come, to be fed.
    pub fn read_in_pieces(&mut self) -> Bytes {
        self.form = Form::Pieces;
        self.collected.take()
    }

    /// Takes in a piece of an answer that is not read whole; gives what the customer gets of it.
    pub fn feed(&mut self, piece: Bytes) -> Result<Fed, FrameTooLong> {
        self.first_byte();
        let fed = match self.form {
            Form::Events => self.observer.feed(piece)?,
            Form::Whole | Form::Pieces => Fed { pass: self.observer.piece(piece), ..Fed::default() },
        };
        let output_tokens = self.counted_output();
        self.reservation.streamed(output_tokens);
        Ok(fed)
    }

    /// What is left of an answer that is not read whole, at its end.
    pub fn finish(&mut self) -> Fed {
        self.observer.finish()
    }

    /// An answer that is read whole has ended; gives what the customer gets.
    pub fn whole(&mut self) -> Bytes {
        self.observer.whole(self.collected.take())
    }

    fn first_byte(&mut self) {
        self.ttft_ms.get_or_insert_with(|| self.reservation.age_ms());
    }

    /// A quarter of the text passed on, rounded up; or what the upstream has reported so far, if that is more.
    fn counted_output(&self) -> u64 {
        let reported = self.observer.usage().map_or(0, |usage| usage.output);
        self.observer.text_bytes().div_ceil(4).max(reported)
    }

    /// Whether the generation is over and only the usage is still to come: worth a short wait if the customer goes.
    pub fn awaits_usage(&self) -> bool {
        let generated = self.form != Form::Events || self.observer.saw_finish_reason();
        generated && (self.observer.usage().is_none() || self.is_ahead_of_usage())
    }

    /// Whether a stream has said more than its latest usage tells of, and has not come to its end.
    fn is_ahead_of_usage(&self) -> bool {
        self.form == Form::Events && !self.observer.saw_terminal() && self.observer.unreported_bytes() > 0
    }

    /// Writes the event, once. Gives its place in the journal.
    pub fn settle(mut self) -> Option<u64> {
        self.write()
    }

    /// The answer broke before the customer got any of it: no event.
    pub fn forget(mut self) {
        self.reservation.end(false);
    }

    fn write(&mut self) -> Option<u64> {
        let prompt_tokens = self.reservation.prompt_tokens()?;
        if self.collected.len() > 0 {
            self.whole();
        }
        let (usage, source) = match self.observer.usage() {
            // A report from the middle of a stream that breaks off is filled up with what came after it.
            Some(usage) if self.is_ahead_of_usage() => {
                let output = usage.output.saturating_add(self.observer.unreported_bytes().div_ceil(4));
                (Usage { output, ..usage }, UsageSource::Counted)
            }
            Some(usage) => (usage, UsageSource::Upstream),
            None => {
                let output = if self.reservation.route().generates() { self.counted_output() } else { 0 };
                (Usage { input: prompt_tokens, output, cached: 0 }, UsageSource::Counted)
            }
        };
        self.reservation.settle(self.status, self.ttft_ms, usage, source)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // After `settle` or `forget` nothing is held any more and this does nothing.
        self.write();
    }
}
