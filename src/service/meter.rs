//! The meter beside an answer, from the first sight of an upstream's 2xx on.
//!
//! It ends in exactly one event: `settle` writes it, and dropping the meter settles by what was seen until then. Only an
//! answer that said nothing makes none: its reservation is given back for the next target, or released.

use std::fmt;

use bytes::{Bytes, BytesMut};
use tracing::warn;
use uuid::Uuid;

use super::{metering::Reservation, unfinished::Share};
use crate::{
    domain::route::Route,
    upstream::{
        observe::{Fed, Observer},
        sse::FrameTooLong,
        usage::{Most, Seen},
    },
};

/// A reservation whose upstream has answered 2xx.
pub struct Meter {
    /// Absent once it is settled, released or given back.
    reservation: Option<Reservation>,
    request: Metered,
    status: u16,
    ttft_ms: Option<u64>,
    observer: Observer,
    form: Form,
    /// The observer's share of the memory for events that have not ended.
    unfinished: Share,
    /// What has come of an answer that is read whole, or whose form is not known yet. It lies here so that a hang-up in
    /// its middle bills what had come.
    collected: Collected,
}

/// The facts of the request that the meter needs.
#[derive(Clone, Copy)]
struct Metered {
    id: Uuid,
    route: Route,
    choices: u64,
    most: Most,
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

/// In what form an answer comes: what the customer asked for and what an upstream does are not always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A stream of events.
    Events,
    /// A JSON answer that is read whole.
    Whole,
    /// A JSON answer that is too large for that.
    Pieces,
}

/// An event is longer than one may be, or than there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event is too long")
    }
}

impl Meter {
    /// An upstream has answered, in this form as far as its head tells. `hide_usage`: we asked for usage that the customer
    /// did not ask for.
    pub fn new(reservation: Reservation, status: u16, form: Form, hide_usage: bool) -> Self {
        let request = Metered {
            id: reservation.id(),
            route: reservation.route(),
            choices: reservation.choices(),
            most: reservation.most(),
        };
        let observer = Observer::new(request.route, reservation.slug(), hide_usage);
        let unfinished = reservation.share_of_unfinished();
        let (reservation, collected) = (Some(reservation), Collected::default());
        Self { reservation, request, status, ttft_ms: None, observer, form, unfinished, collected }
    }

    /// The model as the customer calls it.
    pub fn slug(&self) -> &str {
        self.reservation.as_ref().map_or("", Reservation::slug)
    }

    /// The request's id, as the customer knows it.
    pub fn request_id(&self) -> Uuid {
        self.request.id
    }

    /// In what form the answer comes.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The form as the answer's first bytes tell it. Gives what was collected if it is to be fed.
    pub fn set_form(&mut self, form: Form) -> Bytes {
        self.form = form;
        match form {
            // The first byte of a stream is that of its first content.
            Form::Events => self.ttft_ms = None,
            Form::Whole | Form::Pieces => self.first_byte(),
        }
        if form == Form::Whole { Bytes::new() } else { self.collected.take() }
    }

    /// Takes in a piece of an answer that is read whole, or whose form is not known yet. Gives how many bytes have come.
    pub fn collect(&mut self, piece: Bytes) -> usize {
        if self.form != Form::Events {
            self.first_byte();
        }
        self.collected.push(piece);
        self.collected.len()
    }

    /// The first bytes of what was collected.
    pub fn collected(&self) -> &[u8] {
        if self.collected.first.is_empty() { &self.collected.joined } else { &self.collected.first }
    }

    /// Takes in a piece of an answer that is not read whole; gives what the customer gets of it.
    pub fn feed(&mut self, piece: Bytes) -> Result<Fed, TooLong> {
        let fed = match self.form {
            Form::Events => {
                let fed = self.observer.feed(piece).map_err(|FrameTooLong| TooLong)?;
                if !self.unfinished.hold(self.observer.held_bytes()) {
                    return Err(TooLong);
                }
                fed
            }
            Form::Whole | Form::Pieces => Fed { pass: self.observer.piece(piece), ..Fed::default() },
        };
        if self.form != Form::Events || self.has_content() {
            self.first_byte();
        }
        let output_tokens = self.output_so_far();
        if let Some(reservation) = &mut self.reservation {
            reservation.streamed(output_tokens);
        }
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
        if let Some(reservation) = &self.reservation {
            self.ttft_ms.get_or_insert_with(|| reservation.age_ms());
        }
    }

    /// A quarter of the text passed on, rounded up; or what the upstream has reported so far, if that is more.
    fn output_so_far(&self) -> u64 {
        let report = self.observer.report().within(self.request.most, self.request.route);
        self.observer.text_bytes().div_ceil(4).max(report.output_so_far())
    }

    /// Whether the answer has said anything yet.
    pub fn has_content(&self) -> bool {
        self.observer.saw_content()
    }

    /// Whether a document that was read whole is JSON that holds what the route answers with.
    pub fn has_answer(&self) -> bool {
        self.observer.saw_answer()
    }

    /// Whether the answer says that it is an error.
    pub fn has_error(&self) -> bool {
        self.observer.saw_error()
    }

    /// Whether a stream that ends here is whole.
    pub fn is_whole(&self) -> bool {
        self.observer.is_whole()
    }

    /// Whether a stream has said all that it will, its terminal event aside: every choice has ended and its usage is known.
    pub fn is_complete(&self) -> bool {
        self.has_generated() && !self.lacks_usage()
    }

    /// Whether the generation is over and only the usage is still to come: worth a short wait if the customer goes.
    pub fn awaits_usage(&self) -> bool {
        self.has_generated() && self.lacks_usage()
    }

    fn has_generated(&self) -> bool {
        self.form != Form::Events || self.observer.has_finished(self.request.choices)
    }

    /// Whether there is no usage yet, or a stream has said more than its latest usage tells of and has not come to its end.
    fn lacks_usage(&self) -> bool {
        let is_ahead = !self.observer.saw_terminal() && self.unreported_bytes() > 0;
        is_ahead || self.observer.report().usage(self.request.route).is_none()
    }

    /// In a document it does not matter where the usage stands.
    fn unreported_bytes(&self) -> u64 {
        if self.form == Form::Events { self.observer.unreported_bytes() } else { 0 }
    }

    /// Writes the event, once. Gives its place in the journal.
    pub fn settle(mut self) -> Option<u64> {
        self.write()
    }

    /// The upstream has said nothing: no event.
    pub fn forget(mut self) {
        if let Some(reservation) = self.reservation.take() {
            reservation.release(false);
        }
    }

    /// The upstream has said nothing: the reservation, for another one.
    pub fn give_back(mut self) -> Option<Reservation> {
        self.reservation.take()
    }

    fn write(&mut self) -> Option<u64> {
        let mut reservation = self.reservation.take()?;
        if self.collected.len() > 0 {
            self.whole();
        }
        let Metered { id, route, most, .. } = self.request;
        let bill = self.observer.report().bill(&Seen {
            route,
            prompt_tokens: reservation.prompt_tokens(),
            most,
            text_bytes: self.observer.text_bytes(),
            unreported_bytes: self.unreported_bytes(),
        });
        if bill.is_implausible {
            warn!(%id, model = reservation.slug(), "a server reported more tokens than the request can have taken");
        }
        reservation.settle(self.status, self.ttft_ms, self.form == Form::Events, bill.usage, bill.source)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // After `settle`, `forget` or `give_back` there is no reservation any more and this does nothing.
        self.write();
    }
}
