//! Admission and settlement: from a request's reservation to its one billing event.
//!
//! * A [`Reservation`] holds an admitted request's share of its limits. If it is dropped before it is settled, no
//!   upstream has answered: the DAY count is returned, the rate count is not (as the contract requires for a hang-up).
//! * Once an upstream has answered 2xx, the reservation belongs to a [`super::meter::Meter`], which settles it once.
//! * The event's timestamp comes from the journal, and the ledger counts the event for the calendar windows of that
//!   timestamp. So a window's usage is exactly the sum over its events.

use std::{
    cell::RefCell,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tracing::{error, info};
use uuid::Uuid;

use super::inflight::{InFlight, Slot};
use crate::{
    config::{self, Config},
    crypto::random::{self, NoRandom},
    domain::{
        day::Now,
        estimate::Estimates,
        ledger::{Admitted, Ask, GroupPath, Hold, Refusal, Standings, TokenAdmission},
        record::Record,
        route::Route,
        settled::Settled,
        trace_context::TraceId,
        units::Units,
        usage::{Usage, UsageSource},
    },
    journal::{Journal, codec},
    service::{
        capacity::unfinished::{Share, Unfinished},
        catalog::{KeyEntry, Model},
        core::Core,
        dispatch::Path,
        metrics::{Billed, ModelMetrics, Overhead},
    },
    upstream::{request::Request, usage::TokenBounds},
};

/// The state that admissions and settlements share.
pub struct Metering {
    pub(super) core: Arc<Core>,
    /// Learned estimates of prompt and output sizes, by slug.
    estimates: Mutex<Estimates>,
    /// The requests that were admitted and have not ended.
    pub in_flight: InFlight,
    /// The memory of incomplete server-sent events in running streams.
    unfinished: Arc<Unfinished>,
}

/// A request that has been authenticated and is about to be admitted.
pub struct Arrived {
    /// The `x-request-id` that the customer gets: a UUID.
    pub id: u128,
    /// The id of the customer's trace, for the log.
    pub trace_id: Option<TraceId>,
    /// The customer's key.
    pub key: Arc<KeyEntry>,
    /// The route that was called.
    pub route: Route,
    /// The time when the request's head had been read.
    pub at: Instant,
    /// The time spent waiting for the request's body, and for memory for it.
    pub waited_for_body: Duration,
}

/// An admitted request's hold on its limits, until it is settled or released.
pub struct Reservation {
    metering: Arc<Metering>,
    arrived: Arrived,
    model: Arc<Model>,
    counted_for: GroupPath,
    /// The random part of the event's idempotency key. Drawn at admission, so that a settlement cannot fail for lack of
    /// random numbers.
    key_random: u128,
    prompt_bytes: u64,
    choices: u64,
    characters: u64,
    metadata: Option<Box<str>>,
    most: TokenBounds,
    /// Time spent waiting for a free target.
    queued: Duration,
    /// Time spent waiting for targets, until `asked_at`.
    upstream: Duration,
    /// The time when the current target was asked, until its answer has been read.
    asked_at: Option<Instant>,
    metrics: ModelMetrics,
    /// `None` once settled or released.
    hold: Option<Hold>,
    /// Records the request for the next start, in case the process is killed before the request ends.
    slot: Option<Slot>,
}

/// The facts of an answer that its event records.
pub(super) struct AnswerFacts {
    /// The index of the target that answered, among the targets of the model.
    pub(super) target: u16,
    pub(super) status: u16,
    pub(super) ttft_ms: Option<u64>,
    pub(super) streamed: bool,
    pub(super) usage: Usage,
    pub(super) usage_source: UsageSource,
    pub(super) units: Option<Units>,
}

/// A settled request.
pub struct Settlement {
    /// The sequence number of its event in the journal.
    pub seq: u64,
    /// The measurement of the gateway's own time, which goes on until the end of the answer is handed over.
    pub overhead: Overhead,
}

/// Why a request was not admitted.
pub enum NotAdmitted {
    /// A limit or a budget refused it.
    Limit(Box<Refusal>),
    /// No random numbers were available.
    NoRandom(NoRandom),
}

/// The result of a successful admission.
pub struct Admission {
    /// The request's hold on its limits.
    pub reservation: Reservation,
    /// The output maximum to send upstream, in strict admission.
    pub output_max: Option<u64>,
    /// The tightest limits, for the answer's headers.
    pub standings: Standings,
}

impl Metering {
    pub(in crate::service) fn new(core: Arc<Core>, estimates: Estimates) -> Self {
        let (in_flight, unfinished) = (InFlight::default(), Arc::default());
        Self { core, estimates: Mutex::new(estimates), in_flight, unfinished }
    }

    /// Takes what a request needs from all limits on its path in one step, or takes nothing.
    pub fn admit(
        self: &Arc<Self>,
        arrived: Arrived,
        model: &Arc<Model>,
        request: &Request,
        metadata: Option<&str>,
        metrics: &ModelMetrics,
    ) -> Result<Admission, NotAdmitted> {
        let key_random = random::id().map_err(NotAdmitted::NoRandom)?;
        let group = &arrived.key.group;
        let account = group.account(model.slug_id);
        let ask = Ask {
            route: arrived.route,
            prompt_bytes: request.prompt_bytes,
            prompt_ids: request.prompt_ids,
            declared_output: request.max_output,
            n: request.n.saturating_mul(request.prompts),
            best_of: request.best_of.map(|best_of| best_of.saturating_mul(request.prompts)),
            slug: self.estimates.lock().get(model.slug_id, arrived.route, request.prompt_bytes),
            admission: token_admission(&self.core.config),
            pricing: model.pricing.as_ref(),
            units: known_units(arrived.route, request),
        };
        let mut ledger = group.tree.ledger.lock();
        let moment = self.core.moment();
        let admitted = ledger.admit(moment, &account, &ask);
        drop(ledger);
        let Admitted { hold, output_max, standings } = admitted.map_err(NotAdmitted::Limit)?;
        self.core.counts.admitted();
        metrics.admitted();
        let durable = self.core.journal.durable_seq();
        let slot = self.in_flight.begin(durable, arrived.id, group.id, model.slug_id, moment.now.unix_ms);
        let reservation = Reservation {
            metering: self.clone(),
            arrived,
            model: model.clone(),
            counted_for: account.counted_for().clone(),
            key_random,
            prompt_bytes: ask.learnable_bytes(),
            choices: ask.n,
            characters: request.characters,
            metadata: metadata.map(Box::from),
            most: request.most_tokens(),
            queued: Duration::ZERO,
            upstream: Duration::ZERO,
            asked_at: None,
            metrics: metrics.clone(),
            hold: Some(hold),
            slot,
        };
        Ok(Admission { reservation, output_max, standings })
    }
}

impl Reservation {
    /// The route that was called.
    pub fn route(&self) -> Route {
        self.arrived.route
    }

    /// The id of the customer's trace.
    pub(super) fn trace_id(&self) -> Option<TraceId> {
        self.arrived.trace_id
    }

    /// The time when the request's head had been read.
    pub(super) fn arrived_at(&self) -> Instant {
        self.arrived.at
    }

    /// The groups from the root down to the one that the request belongs to.
    pub(super) fn group_path(&self) -> Path {
        self.arrived.key.group.path()
    }

    /// An empty share of the memory for incomplete events.
    pub(super) fn share_of_unfinished(&self) -> Share {
        Share::of(&self.metering.unfinished)
    }

    /// The `x-request-id` that the customer gets.
    pub(super) fn id(&self) -> Uuid {
        Uuid::from_u128(self.arrived.id)
    }

    /// The number of choices that the request asks for.
    pub(super) fn choices(&self) -> u64 {
        self.choices
    }

    /// The characters of the text to speak.
    pub(super) fn characters(&self) -> u64 {
        self.characters
    }

    /// The most tokens that the request can use.
    pub(super) fn most(&self) -> TokenBounds {
        self.most
    }

    /// The slug that the customer called.
    pub(super) fn slug(&self) -> &str {
        &self.model.slug
    }

    /// Milliseconds since the request's arrival.
    pub(super) fn age_ms(&self) -> u64 {
        millis(self.arrived.at.elapsed())
    }

    /// Records the time that the request has waited for a free target.
    pub(super) fn set_queued(&mut self, queued: Duration) {
        self.queued = queued;
    }

    /// The metrics of the model.
    pub(super) fn metrics(&self) -> &ModelMetrics {
        &self.metrics
    }

    /// Records that a target is asked.
    pub(super) fn asks(&mut self, at: Instant) {
        self.asked_at = Some(at);
    }

    /// Records that nothing more is needed from the target that was asked.
    pub(super) fn has_read(&mut self, at: Instant) {
        self.upstream += self.asked_at.take().map_or(Duration::ZERO, |asked_at| at - asked_at);
    }

    /// Begins to measure the gateway's own time at the end of an answer that has been read.
    pub(super) fn overhead(&mut self, now: Instant) -> Overhead {
        self.has_read(now);
        let (metrics, Arrived { route, at, waited_for_body, .. }) = (self.metrics.clone(), &self.arrived);
        Overhead { metrics, route: *route, at: *at, waited: *waited_for_body + self.queued + self.upstream }
    }

    /// The estimated tokens of the prompt.
    pub(super) fn prompt_tokens(&self) -> u64 {
        self.hold.as_ref().map_or(0, Hold::prompt_tokens)
    }

    /// Ends the request without an event. Its rate counts are returned if no target answered.
    pub fn release(mut self, a_target_answered: bool) {
        self.end(!a_target_answered);
    }

    fn end(&mut self, give_back_rate: bool) {
        if let Some(hold) = self.hold.take() {
            let moment = self.metering.core.moment();
            self.arrived.key.group.tree.ledger.lock().release(hold, moment, give_back_rate);
            self.slot = None;
            self.metrics.ended(self.queued);
            self.metering.core.counts.ended();
        }
    }

    /// Raises the hold to the output that a stream has produced so far, if it is larger.
    pub(super) fn streamed(&mut self, output_tokens: u64) {
        if let Some(hold) = self.hold.as_mut().filter(|hold| hold.is_due(output_tokens)) {
            let (slug, route) = (self.model.slug_id, self.arrived.route);
            let of_slug = self.metering.estimates.lock().output_beyond(slug, route, hold.each(output_tokens));
            self.arrived.key.group.tree.ledger.lock().review(hold, output_tokens, of_slug);
        }
    }

    /// Writes the event and replaces the held amounts with the billed ones. Returns `None` if the event could not be
    /// appended.
    pub(super) fn settle(&mut self, answer: AnswerFacts) -> Option<Settlement> {
        let hold = self.hold.take()?;
        let now = Instant::now();
        let overhead = self.overhead(now);
        let AnswerFacts { target, status, ttft_ms, streamed, usage, usage_source, units } = answer;
        let (core, key) = (&self.metering.core, &self.arrived.key);
        let group = key.group.group();
        let (duration_ms, queue_ms) = (millis(now - self.arrived.at), millis(self.queued));
        let upstream_ms = millis(self.upstream);
        // The price at settlement applies. If the endpoint has been deleted since, its last known price does.
        let now_called = core.catalog.load().model_of(self.model.slug_id).cloned();
        let pricing = now_called.as_ref().unwrap_or(&self.model).pricing.as_ref();
        let cost = pricing.map(|pricing| pricing.cost(&usage, units));
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
            streamed,
            status,
            duration_ms,
            ttft_ms,
            choices: self.choices,
            prompt_bytes: self.prompt_bytes,
            cost,
            target: Some(target),
            queue_ms,
            units,
        });
        let slot = self.slot.take().inspect(|slot| slot.settling(core.journal.durable_seq()));
        let appended = append(&core.journal, &record);
        if let (Some(slot), Some((seq, _))) = (slot, appended) {
            slot.settled(seq);
        }
        let now = core.now();
        let now = Now { unix_ms: appended.map_or(now.unix_ms, |(_, at_ms)| at_ms), ..now };
        let moment = core.moment_at(now);
        let sample = key.group.tree.ledger.lock().charge(hold, moment, usage, usage_source, cost);
        if let Some(sample) = sample {
            let customer = self.counted_for.last().copied().unwrap_or(key.group.id);
            self.metering.estimates.lock().learn(customer, &sample);
        }
        key.last_used_ms.touch(now.unix_ms);
        if appended.is_some() {
            let day = moment.windows.day.start_ms;
            let billed = Billed { route: self.arrived.route, group: key.group.id, day, ttft_ms, usage: &usage, cost };
            self.metrics.billed(&billed);
            core.counts.billed(&usage);
        }
        self.metrics.ended(self.queued);
        core.counts.ended();
        info!(
            target: "tollgate::request",
            id = %self.id(),
            trace_id = self.arrived.trace_id.map(tracing::field::display),
            route = self.arrived.route.path(),
            model = &*self.model.slug,
            group = %key.group.id,
            key = key.key.prefix,
            status,
            target_index = target,
            input_tokens = usage.input,
            output_tokens = usage.output,
            duration_ms,
            queue_ms,
            upstream_ms,
            "billed"
        );
        appended.map(|(seq, _)| Settlement { seq, overhead })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// Appends an event. The journal accepts it, since its size is bounded by the limits on a request. If the append fails
/// anyway, the answer is not acknowledged as billed and an error is logged.
fn append(journal: &Journal, record: &Record<'_>) -> Option<(u64, u64)> {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        let encoded = codec::encode(record, buffer).map_err(|error| error.to_string());
        let appended = encoded.and_then(|()| journal.append(buffer).map_err(|error| error.to_string()));
        match appended {
            Ok(appended) => Some((appended.seq, appended.at_ms)),
            Err(error) => {
                error!(%error, "an event could not be written to the journal");
                None
            }
        }
    })
}

fn token_admission(config: &Config) -> TokenAdmission {
    match config.token_admission {
        config::TokenAdmission::Adaptive => TokenAdmission::Adaptive,
        config::TokenAdmission::Strict => TokenAdmission::Strict { strict_output: config.strict_output },
    }
}

/// The quantity besides tokens that the request will be billed for, if the request states it.
fn known_units(route: Route, request: &Request) -> Option<Units> {
    match route {
        Route::Images => Some(Units::Images(request.n)),
        Route::Speech => Some(Units::Characters(request.characters)),
        _ => None,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
