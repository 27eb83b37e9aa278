//! Admission and settlement: from what a request wants to the one event that it becomes.
//!
//! * [`Reservation`] is what an admitted request holds. Whoever drops it unsettled has heard of no answer, so it is
//!   given back as the contract says for a customer who hung up: the day's count, not the rate's.
//! * [`Meter`] is a reservation whose upstream has answered 2xx. From there on there is exactly one event: `settle`
//!   writes it, and dropping the meter settles by what was seen until then.
//! * The event's timestamp is the journal's, and the ledger's DAY is that timestamp's: used is the sum over the day's
//!   events, exactly.

use std::{cell::RefCell, sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use tracing::{error, info};

use super::{
    Gateway,
    catalog::{KeyEntry, Model, Path},
};
use crate::{
    crypto::random::{self, NoRandom},
    domain::{
        day::Now,
        ledger::{Admitted, Ask, Hold, Refusal, Standings},
        record::{Record, Settled},
        route::Route,
        usage::{Usage, UsageSource},
    },
    journal::codec,
    upstream::{
        observe::{Fed, Observer},
        request::Request,
        sse::FrameTooLong,
    },
};

/// A request that has been authenticated and is about to be admitted.
pub struct Arrived {
    /// The `x-request-id` that the customer gets: a UUID.
    pub id: u128,
    /// The customer's key.
    pub key: Arc<KeyEntry>,
    /// The route that was called.
    pub route: Route,
    /// When its head had been read.
    pub at: Instant,
}

/// What an admitted request holds until its upstream answers.
pub struct Reservation {
    gateway: Arc<Gateway>,
    arrived: Arrived,
    model: Arc<Model>,
    counted_for: Path,
    /// Drawn at admission: a settlement must not fail for want of random numbers.
    key_random: u128,
    prompt_bytes: u64,
    choices: u64,
    metadata: Option<Box<str>>,
    streamed: bool,
    /// Absent once settled or released.
    hold: Option<Hold>,
}

/// Why a request was not admitted.
pub enum NotAdmitted {
    /// By a limit.
    Limit(Box<Refusal>),
    /// For want of random numbers.
    NoRandom(NoRandom),
}

/// What admission says besides the reservation.
pub struct Admission {
    /// What the request holds.
    pub reservation: Reservation,
    /// In strict admission the output maximum to send upstream.
    pub output_max: Option<u64>,
    /// The tightest limits, for the answer's headers.
    pub standings: Standings,
}

impl Gateway {
    /// Takes what a request needs from all limits on its path at once, or nothing.
    pub fn admit(
        self: &Arc<Self>,
        arrived: Arrived,
        model: &Arc<Model>,
        request: &Request,
        metadata: Option<&str>,
    ) -> Result<Admission, NotAdmitted> {
        let key_random = random::id().map_err(NotAdmitted::NoRandom)?;
        let group = &arrived.key.group;
        let (counted_for, limits) = (group.counted_for(), group.limits(model.slug_id));
        let ask = Ask {
            route: arrived.route,
            prompt_bytes: request.prompt_bytes,
            declared_output: request.max_output,
            n: request.n.saturating_mul(request.prompts),
            best_of: request.best_of.map(|best_of| best_of.saturating_mul(request.prompts)),
            slug: self.estimates.lock().get(model.slug_id, arrived.route),
            admission: self.token_admission(),
        };
        let admitted = group.tree.ledger.lock().admit(self.now(), &counted_for, model.slug_id, &limits, &ask);
        let Admitted { hold, output_max, standings } = admitted.map_err(NotAdmitted::Limit)?;
        self.counts.admitted();
        let reservation = Reservation {
            gateway: self.clone(),
            arrived,
            model: model.clone(),
            counted_for,
            key_random,
            prompt_bytes: request.prompt_bytes,
            choices: ask.n,
            metadata: metadata.map(Box::from),
            streamed: request.stream,
            hold: Some(hold),
        };
        Ok(Admission { reservation, output_max, standings })
    }
}

impl Reservation {
    /// The route that was called.
    pub fn route(&self) -> Route {
        self.arrived.route
    }

    /// Whether a stream was asked for; from the answer's head on, whether it is one.
    pub fn is_stream(&self) -> bool {
        self.streamed
    }

    /// The request ended without an event. Its rate counts are given back if no target answered.
    pub fn release(mut self, a_target_answered: bool) {
        self.end(!a_target_answered);
    }

    fn end(&mut self, give_back_rate: bool) {
        if let Some(hold) = self.hold.take() {
            let now = self.gateway.now();
            self.arrived.key.group.tree.ledger.lock().release(hold, now, give_back_rate);
            self.gateway.counts.ended();
        }
    }

    /// What a stream has produced so far never exceeds what it holds by much.
    fn grow(&mut self, output_tokens: u64) {
        if let Some(hold) = self.hold.as_mut().filter(|hold| hold.is_outgrown_by(output_tokens)) {
            self.arrived.key.group.tree.ledger.lock().grow(hold, output_tokens);
        }
    }

    /// Writes the event and replaces what was held by what is billed. Gives the event's place in the journal.
    fn settle(&mut self, status: u16, ttft_ms: Option<u64>, usage: Usage, usage_source: UsageSource) -> Option<u64> {
        let hold = self.hold.take()?;
        let (gateway, key) = (&self.gateway, &self.arrived.key);
        let group = key.group.group();
        let duration_ms = millis(self.arrived.at);
        // The price is that of the settlement; of an endpoint that has gone since, the last one known.
        let now_called = gateway.catalog.load().model_of(self.model.slug_id).cloned();
        let pricing = now_called.as_ref().unwrap_or(&self.model).pricing;
        let record = Record::Settled(Settled {
            key_random: self.key_random,
            request_id: self.arrived.id,
            metadata: self.metadata.as_deref(),
            model_slug: &self.model.slug,
            slug: self.model.slug_id,
            external_entity_id: &group.external_entity_id,
            counted_for: self.counted_for.to_vec(),
            api_key_prefix: &key.key.prefix,
            usage,
            usage_source,
            route: self.arrived.route,
            streamed: self.streamed,
            status,
            duration_ms,
            ttft_ms,
            choices: self.choices,
            prompt_bytes: self.prompt_bytes,
            cost: pricing.map(|pricing| pricing.cost(&usage)),
        });
        let appended = append(gateway, &record);
        let now = gateway.now();
        let now = Now { unix_ms: appended.map_or(now.unix_ms, |(_, at_ms)| at_ms), ..now };
        let sample = key.group.tree.ledger.lock().settle(hold, now, usage, usage_source);
        if let Some(sample) = sample {
            let root = key.group.lineage().last().map_or(key.group.id, |root| root.id);
            gateway.estimates.lock().learn(root, &sample);
        }
        key.last_used_ms.touch(now.unix_ms);
        gateway.counts.billed(&usage);
        gateway.counts.ended();
        info!(
            target: "tollgate::request",
            id = %uuid::Uuid::from_u128(self.arrived.id),
            route = self.arrived.route.path(),
            model = &*self.model.slug,
            group = %key.group.id,
            key = key.key.prefix,
            status,
            input_tokens = usage.input,
            output_tokens = usage.output,
            duration_ms,
            "billed"
        );
        appended.map(|(seq, _)| seq)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// Appends an event. Its size is bounded by what a request may carry, so the journal takes it; should it not, the
/// answer is not acknowledged as billed and the operator hears of it.
fn append(gateway: &Gateway, record: &Record<'_>) -> Option<(u64, u64)> {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        let encoded = codec::encode(record, buffer).map_err(|error| error.to_string());
        let appended = encoded.and_then(|()| gateway.journal.append(buffer).map_err(|error| error.to_string()));
        match appended {
            Ok(appended) => Some((appended.seq, appended.at_ms)),
            Err(error) => {
                error!(%error, "an event could not be written to the journal");
                None
            }
        }
    })
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

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
        reservation.streamed = form == Form::Events;
        let observer = Observer::new(reservation.arrived.route, &reservation.model.slug, hide_usage);
        Self { reservation, status, ttft_ms: None, observer, form, collected: Collected::default() }
    }

    /// The model as the customer calls it.
    pub fn slug(&self) -> &str {
        &self.reservation.model.slug
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
        let streamed = self.counted_output();
        self.reservation.grow(streamed);
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
        self.ttft_ms.get_or_insert_with(|| millis(self.reservation.arrived.at));
    }

    /// A quarter of the text passed on, rounded up; or what the upstream has reported so far, if that is more.
    fn counted_output(&self) -> u64 {
        let reported = self.observer.usage().map_or(0, |usage| usage.output);
        self.observer.text_bytes().div_ceil(4).max(reported)
    }

    /// Whether the generation is over and only the usage is still to come: worth a short wait if the customer goes.
    pub fn awaits_usage(&self) -> bool {
        let generated = self.form != Form::Events || self.observer.saw_finish_reason();
        generated && self.observer.usage().is_none()
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
        let prompt_tokens = self.reservation.hold.as_ref()?.prompt_tokens();
        if self.collected.len() > 0 {
            self.whole();
        }
        let (usage, source) = match self.observer.usage() {
            Some(usage) => (usage, UsageSource::Upstream),
            None => {
                let output = if self.reservation.arrived.route.generates() { self.counted_output() } else { 0 };
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
