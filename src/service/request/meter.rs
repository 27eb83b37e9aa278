//! The meter of an answer. It exists from the moment when an upstream's 2xx arrives.
//!
//! A meter writes exactly one event: [`Meter::end`] does, or the drop of an unsettled meter, from what has been seen so
//! far. There are two exceptions: an answer without content, whose reservation is given back for the next target or
//! released, and an answer of a route that is not billed.

use std::{fmt, time::Instant};

use bytes::{Bytes, BytesMut};
use tracing::warn;
use uuid::Uuid;

use super::admission::{AnswerFacts, Reservation, Settlement};
use crate::{
    domain::{
        route::Route,
        units::{Seconds, Units},
    },
    service::capacity::unfinished::Share,
    upstream::{
        observe::{ObservedChunk, Observer},
        sse::FrameTooLong,
        usage::{BillingFacts, TokenBounds},
    },
};

/// A reservation whose upstream has answered 2xx.
pub struct Meter {
    /// `None` once settled, released or given back.
    reservation: Option<Reservation>,
    request: Metered,
    /// The index of the target that answers, among the targets of the model.
    target: u16,
    status: u16,
    ttft_ms: Option<u64>,
    observer: Observer,
    form: Form,
    /// The observer's share of the memory for incomplete events.
    unfinished: Share,
    /// The pieces read so far of an answer that is read whole or whose form is not known yet. They are kept here so
    /// that a hang-up bills what has arrived.
    collected: Collected,
}

/// The facts of the request that the meter needs.
#[derive(Clone, Copy)]
struct Metered {
    id: Uuid,
    route: Route,
    choices: u64,
    characters: u64,
    most: TokenBounds,
}

/// Pieces to be joined. A single piece is not copied.
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

/// The form of an answer. It is not always the form that the customer asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A stream of events.
    Events,
    /// A JSON answer that is read whole.
    Whole,
    /// A JSON answer that is too large to be read whole.
    Pieces,
    /// Neither JSON nor a stream of events: sound, or the plain text of a transcript.
    Raw,
}

/// The outcome of ending an answer.
pub enum Ended {
    /// It has an event.
    Event(Settlement),
    /// Answers of its route make no event.
    NoEvent,
    /// Its event could not be written.
    Failed,
}

/// The error for an event that exceeds the size limit or the memory left for incomplete events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event is too long")
    }
}

impl Meter {
    /// Creates the meter of an answer of the target with the index `target`. `form` is the form by the answer's content
    /// type; `hide_usage` says that we asked for usage and the customer did not.
    pub fn new(reservation: Reservation, target: u16, status: u16, form: Form, hide_usage: bool) -> Self {
        let request = Metered {
            id: reservation.id(),
            route: reservation.route(),
            choices: reservation.choices(),
            characters: reservation.characters(),
            most: reservation.most(),
        };
        let mut observer = Observer::new(request.route, reservation.slug(), hide_usage);
        observer.expect_pictures(request.choices);
        let unfinished = reservation.share_of_unfinished();
        let (reservation, collected) = (Some(reservation), Collected::default());
        Self { reservation, request, target, status, ttft_ms: None, observer, form, unfinished, collected }
    }

    /// The slug that the customer called.
    pub fn slug(&self) -> &str {
        self.reservation.as_ref().map_or("", Reservation::slug)
    }

    /// The request's id, which the customer gets as `x-request-id`.
    pub fn request_id(&self) -> Uuid {
        self.request.id
    }

    /// The route that was called.
    pub fn route(&self) -> Route {
        self.request.route
    }

    /// The form of the answer.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Sets the form, as determined from the answer's first bytes. Returns the collected bytes, to be fed, unless the
    /// answer is read whole.
    pub fn set_form(&mut self, form: Form) -> Bytes {
        self.form = form;
        match form {
            // The time to the first byte of a stream is the time to its first content.
            Form::Events => self.ttft_ms = None,
            Form::Whole | Form::Pieces | Form::Raw => self.first_byte(),
        }
        if form == Form::Whole { Bytes::new() } else { self.collected.take() }
    }

    /// Takes in a piece of an answer that is read whole or whose form is not known yet. Returns the number of bytes
    /// collected so far.
    pub fn collect(&mut self, piece: Bytes) -> usize {
        if self.form != Form::Events {
            self.first_byte();
        }
        self.collected.push(piece);
        self.collected.len()
    }

    /// The bytes collected so far.
    pub fn collected(&self) -> &[u8] {
        if self.collected.first.is_empty() { &self.collected.joined } else { &self.collected.first }
    }

    /// Takes in a piece of an answer that is not read whole. Returns what the customer gets of it.
    pub fn feed(&mut self, piece: Bytes) -> Result<ObservedChunk, TooLong> {
        let fed = match self.form {
            Form::Events => {
                let fed = self.observer.feed(piece).map_err(|FrameTooLong| TooLong)?;
                if !self.unfinished.hold(self.observer.held_bytes()) {
                    return Err(TooLong);
                }
                fed
            }
            Form::Whole | Form::Pieces => {
                ObservedChunk { pass: self.observer.piece(piece), ..ObservedChunk::default() }
            }
            Form::Raw => {
                self.observer.raw(&piece);
                ObservedChunk { pass: piece, ..ObservedChunk::default() }
            }
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

    /// Ends an answer that is not read whole. Returns what is left of it.
    pub fn finish(&mut self) -> ObservedChunk {
        self.observer.finish()
    }

    /// Ends an answer that is read whole. Returns what the customer gets.
    pub fn whole(&mut self) -> Bytes {
        self.observer.whole(self.collected.take())
    }

    /// Records that the upstream's answer has been read to its end.
    pub fn has_read(&mut self) {
        if let Some(reservation) = &mut self.reservation {
            reservation.has_read(Instant::now());
        }
    }

    fn first_byte(&mut self) {
        if let Some(reservation) = &self.reservation {
            self.ttft_ms.get_or_insert_with(|| reservation.age_ms());
        }
    }

    /// The output tokens so far: the bytes of text passed on / 4, rounded up, or the upstream's latest report if that
    /// is more.
    fn output_so_far(&self) -> u64 {
        let report = self.observer.report().within(self.request.most, self.request.route);
        self.observer.text_bytes().div_ceil(4).max(report.output_so_far())
    }

    /// Whether the answer has had any content yet.
    pub fn has_content(&self) -> bool {
        self.observer.has_content()
    }

    /// Whether a document that was read whole is JSON with the members that the route's answers have.
    pub fn has_answer(&self) -> bool {
        self.observer.has_answer()
    }

    /// Whether the upstream reported an error in the answer.
    pub fn has_error(&self) -> bool {
        self.observer.has_error()
    }

    /// Whether a stream that ends now is complete.
    pub fn is_whole(&self) -> bool {
        self.observer.is_whole()
    }

    /// Whether a stream is complete except for its terminal event: every choice has ended and the usage is known.
    pub fn is_complete(&self) -> bool {
        self.has_generated() && !self.lacks_usage()
    }

    /// Whether generation has ended and only the usage is missing. A hang-up then waits for the usage for a short time.
    pub fn awaits_usage(&self) -> bool {
        self.has_generated() && self.lacks_usage()
    }

    fn has_generated(&self) -> bool {
        self.form != Form::Events || self.observer.has_finished(self.request.choices)
    }

    /// Whether there is no usage yet although it may come, or a stream without its terminal event has passed on text
    /// after its latest usage report.
    fn lacks_usage(&self) -> bool {
        if self.form == Form::Raw {
            return false;
        }
        let is_ahead = !self.observer.has_terminal() && self.unreported_bytes() > 0;
        is_ahead || self.observer.report().usage(self.request.route).is_none()
    }

    /// The bytes of text after the latest usage report; 0 for a document, where the position of the usage does not
    /// matter.
    fn unreported_bytes(&self) -> u64 {
        if self.form == Form::Events { self.observer.unreported_bytes() } else { 0 }
    }

    /// Ends the answer: writes its event.
    pub fn end(mut self) -> Ended {
        self.settle_reservation()
    }

    /// Releases the reservation of an answer without content. No event is written.
    pub fn forget(mut self) {
        if let Some(reservation) = self.reservation.take() {
            reservation.release(false);
        }
    }

    /// Returns the reservation of an answer without content, for another target.
    pub fn give_back(mut self) -> Option<Reservation> {
        self.reservation.take()
    }

    fn settle_reservation(&mut self) -> Ended {
        let Some(mut reservation) = self.reservation.take() else { return Ended::Failed };
        if !self.request.route.is_billed() {
            reservation.overhead(Instant::now()).record();
            reservation.release(true);
            return Ended::NoEvent;
        }
        if self.collected.len() > 0 {
            self.whole();
        }
        let Metered { id, route, most, .. } = self.request;
        let bill = self.observer.report().bill(&BillingFacts {
            route,
            prompt_tokens: reservation.prompt_tokens(),
            most,
            text_bytes: self.observer.text_bytes(),
            unreported_bytes: self.unreported_bytes(),
        });
        if bill.is_implausible {
            warn!(%id, model = reservation.slug(), "a server reported more tokens than the request can have used");
        }
        let units = match route {
            Route::Images => Some(Units::Images(self.observer.images())),
            Route::Speech => Some(Units::Characters(self.request.characters)),
            _ => self.observer.recording_micros().map(|micros| Units::Seconds(Seconds::from_micros(micros))),
        };
        let settled = reservation.settle(AnswerFacts {
            target: self.target,
            status: self.status,
            ttft_ms: self.ttft_ms,
            streamed: self.form == Form::Events,
            usage: bill.usage,
            usage_source: bill.source,
            units,
        });
        settled.map_or(Ended::Failed, Ended::Event)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // Does nothing after `end`, `forget` or `give_back`, which take the reservation.
        self.settle_reservation();
    }
}
