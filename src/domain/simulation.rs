//! Past requests, replayed against limits and budgets that were not in force then.
//!
//! A simulation has a ledger of its own and feeds it with the requests of the journal, so that the code that admits live
//! requests also decides here.
//!
//! * Requests are admitted in the order of their arrival and charged at the time of their event. In between they hold
//!   the same estimates as live requests, learned from the requests before them.
//! * A refused request is not charged: it would not have used anything.
//! * Requests of other groups that share a limit are charged but never refused.
//!
//! A live request is not simulated exactly in two points. Its declared output maximum was not recorded, so every request
//! holds its expected output, as in adaptive admission. And a stream's hold does not grow while it runs.
//!
//! The journal has requests in the order of their end. Those that were read wait for their turn in a buffer, until no
//! request that has yet to be read can have arrived earlier. The buffer is bounded, by [`LOOKAHEAD_MS`] and
//! [`MOST_WAITING`]: a request that ran longer, or beside more than so many others, is admitted late.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use super::{
    calendar::{Calendar, CalendarWindows},
    day::Now,
    estimate::{Estimates, Sample},
    id::{GroupId, SlugId},
    ledger::{Account, Admitted, Ask, Effective, Hold, Ledger, Moment, Past, Refusal, TokenAdmission},
    money::{Cost, Currency},
    pricing::Pricing,
    route::Route,
    sums::{Spent, Used},
    units::Units,
    usage::{Usage, UsageSource},
};

#[cfg(test)]
mod tests;

/// How long a request waits in the buffer for others that arrived before it.
const LOOKAHEAD_MS: u64 = 3_600_000;

/// The most requests in the buffer.
const MOST_WAITING: usize = 100_000;

/// A request that was billed.
#[derive(Debug, Clone)]
pub struct PastRequest {
    /// Where it counts.
    pub payer: Payer,
    /// When it arrived, in ms of Unix time.
    pub arrived_ms: u64,
    /// The timestamp of its event.
    pub settled_ms: u64,
    /// The route that was called.
    pub route: Route,
    /// The bytes that the prompt's estimate is made from; 0 if its tokens were given as ids.
    pub prompt_bytes: u64,
    /// Choices returned.
    pub choices: u64,
    /// The billed tokens.
    pub usage: Usage,
    /// The source of `usage`.
    pub source: UsageSource,
    /// The quantity besides tokens that it was priced by.
    pub units: Option<Units>,
    /// Its cost.
    pub cost: Option<Cost>,
}

/// An account of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payer(u32);

/// Where the requests of one group for one slug count.
#[derive(Debug)]
pub struct PayerAccount {
    /// The account, with the limits and budgets to try.
    pub account: Account,
    /// The slug's prices now, by which running requests hold money.
    pub pricing: Option<Pricing>,
    /// The root of the tree.
    pub customer: GroupId,
    /// Whether its requests are reported. The others only use what is shared.
    pub is_reported: bool,
}

/// The results of a simulation.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The requests that were replayed.
    pub requests: u64,
    /// How many of them would have been refused.
    pub refused: u64,
    /// When the first refused request arrived, in ms of Unix time.
    pub first_refused_ms: Option<u64>,
    /// The limits and budgets that refused, with the number of requests that each refused, most first.
    pub stopped_by: Vec<Stop>,
    /// The requests of each day, by its first moment in ms of Unix time.
    pub by_day: BTreeMap<u64, DayCounts>,
}

/// A limit or budget that refused requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// The slug that a limit belongs to; `None` for a budget.
    pub slug: Option<SlugId>,
    /// The limit or budget.
    pub effective: Effective,
    /// The requests that it refused.
    pub refused: u64,
}

/// The requests of one day.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct DayCounts {
    /// All of them.
    pub requests: u64,
    /// Those that would have been refused.
    pub refused: u64,
}

/// A simulation that is running. Requests are pushed in the order of their end.
pub struct Simulation<'a> {
    calendar: &'a Calendar,
    windows: CalendarWindows,
    start_ms: u64,
    ledger: Ledger,
    estimates: Estimates,
    payers: Vec<PayerAccount>,
    waiting: BinaryHeap<Reverse<Arrival>>,
    running: BinaryHeap<Reverse<Running>>,
    outcome: Outcome,
}

impl<'a> Simulation<'a> {
    /// A simulation of a window that starts at `start_ms` (Unix time), of groups that have used nothing.
    pub fn new(calendar: &'a Calendar, start_ms: u64) -> Self {
        Self {
            windows: calendar.windows(start_ms),
            calendar,
            start_ms,
            ledger: Ledger::default(),
            estimates: Estimates::default(),
            payers: Vec::new(),
            waiting: BinaryHeap::new(),
            running: BinaryHeap::new(),
            outcome: Outcome::default(),
        }
    }

    /// Adds an account.
    pub fn add_payer(&mut self, payer: PayerAccount) -> Payer {
        self.payers.push(payer);
        Payer(u32::try_from(self.payers.len() - 1).unwrap_or(u32::MAX))
    }

    /// Sets what a group had used of a slug before the window.
    pub fn load_used(&mut self, group: GroupId, slug: SlugId, used: &Used) {
        let at = self.moment(self.start_ms);
        self.ledger.load_used(at, group, slug, used);
    }

    /// Sets what a group had spent in a currency before the window.
    pub fn load_spent(&mut self, group: GroupId, currency: Currency, spent: &Spent) {
        let at = self.moment(self.start_ms);
        self.ledger.load_spent(at, group, currency, spent);
    }

    /// Replays a request, or learns from it if it ended before the window. Its end is not before that of an earlier
    /// one.
    pub fn push(&mut self, request: PastRequest) {
        if request.settled_ms < self.start_ms {
            return self.prepare(&request);
        }
        let read_until_ms = request.settled_ms;
        self.waiting.push(Reverse(Arrival(request)));
        while let Some(Reverse(Arrival(first))) = self.waiting.peek()
            && (first.arrived_ms.saturating_add(LOOKAHEAD_MS) <= read_until_ms || self.waiting.len() > MOST_WAITING)
        {
            self.admit_next();
        }
    }

    /// Enters a request from before the window into the estimates and, if it is recent, into the rolling windows.
    fn prepare(&mut self, request: &PastRequest) {
        let at = self.moment(self.start_ms);
        let Some(payer) = self.payers.get(request.payer.0 as usize) else { return };
        let (slug, path) = (payer.account.slug(), payer.account.counted_for());
        let ago = |unix_ms: u64| Duration::from_millis(self.start_ms - unix_ms);
        let (admitted_ago, settled_ago) = (ago(request.arrived_ms), ago(request.settled_ms));
        self.ledger.refill(at, path, slug, &Past { admitted_ago, settled_ago, usage: request.usage });
        if request.source == UsageSource::Upstream {
            let PastRequest { route, prompt_bytes, choices: n, usage, .. } = *request;
            let sample = Sample { slug, route, prompt_bytes, n, usage };
            self.estimates.learn(payer.customer, &sample);
            if let Some(own) = path.first().filter(|_| payer.is_reported) {
                self.ledger.learn(at, *own, &sample);
            }
        }
    }

    /// Ends the simulation after the last request.
    pub fn finish(mut self) -> Outcome {
        while self.admit_next() {}
        self.outcome.stopped_by.sort_by_key(|stop| Reverse(stop.refused));
        self.outcome
    }

    /// Admits or refuses the waiting request that arrived first. Returns whether there was one.
    fn admit_next(&mut self) -> bool {
        let Some(Reverse(Arrival(request))) = self.waiting.pop() else { return false };
        self.settle_until(request.arrived_ms);
        let at = self.moment(request.arrived_ms);
        let Some(payer) = self.payers.get(request.payer.0 as usize) else { return true };
        let ask = Ask {
            route: request.route,
            prompt_bytes: request.prompt_bytes,
            prompt_ids: if request.prompt_bytes == 0 { request.usage.input } else { 0 },
            declared_output: None,
            n: request.choices,
            best_of: None,
            slug: self.estimates.get(payer.account.slug(), request.route, request.prompt_bytes),
            admission: TokenAdmission::Adaptive,
            pricing: payer.pricing.as_ref(),
            units: request.units.filter(|units| !matches!(units, Units::Seconds(_))),
        };
        let admitted = self.ledger.admit(at, &payer.account, &ask);
        if payer.is_reported {
            let slug = payer.account.slug();
            self.count(at.now.unix_ms, slug, admitted.as_ref().err().map(|refusal| &**refusal));
        }
        if let Ok(Admitted { hold, .. }) = admitted {
            self.running.push(Reverse(Running { request, hold }));
        }
        true
    }

    fn count(&mut self, at_ms: u64, slug: SlugId, refusal: Option<&Refusal>) {
        let refused = u64::from(refusal.is_some());
        let day = self.outcome.by_day.entry(self.windows.day.start_ms).or_default();
        day.requests += 1;
        day.refused += refused;
        self.outcome.requests += 1;
        self.outcome.refused += refused;
        let Some(refusal) = refusal else { return };
        self.outcome.first_refused_ms.get_or_insert(at_ms);
        let Refusal { effective, .. } = refusal;
        let slug = effective.rule.limit().map(|_| slug);
        let is_same = |stop: &&mut Stop| {
            (stop.slug, stop.effective.rule, stop.effective.source) == (slug, effective.rule, effective.source)
        };
        match self.outcome.stopped_by.iter_mut().find(is_same) {
            Some(stop) => stop.refused += 1,
            None => self.outcome.stopped_by.push(Stop { slug, effective: *effective, refused: 1 }),
        }
    }

    /// Charges the running requests that ended by `until_ms`, in order.
    fn settle_until(&mut self, until_ms: u64) {
        while let Some(Reverse(first)) = self.running.peek()
            && first.request.settled_ms <= until_ms
            && let Some(Reverse(Running { request, hold })) = self.running.pop()
        {
            let at = self.moment(request.settled_ms);
            let sample = self.ledger.charge(hold, at, request.usage, request.source, request.cost);
            if let (Some(sample), Some(payer)) = (sample, self.payers.get(request.payer.0 as usize)) {
                self.estimates.learn(payer.customer, &sample);
            }
        }
    }

    /// The clocks at a time of the window. Before its start they show the start.
    fn moment(&mut self, unix_ms: u64) -> Moment {
        let unix_ms = unix_ms.max(self.start_ms);
        if !self.windows.day.contains(unix_ms) {
            self.windows = self.calendar.windows(unix_ms);
        }
        let now = Now { monotonic_ns: unix_ms.saturating_mul(1_000_000), unix_ms, behind_ms: 0 };
        Moment { now, windows: self.windows }
    }
}

/// Orders requests by arrival.
struct Arrival(PastRequest);

impl Arrival {
    fn key(&self) -> (u64, u64) {
        (self.0.arrived_ms, self.0.settled_ms)
    }
}

/// A running request, ordered by its end.
struct Running {
    request: PastRequest,
    hold: Hold,
}

macro_rules! ordered_by {
    ($name:ident, $key:expr) => {
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.cmp(other) == Ordering::Equal
            }
        }

        impl Eq for $name {}

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                let key: fn(&Self) -> _ = $key;
                key(self).cmp(&key(other))
            }
        }
    };
}

ordered_by!(Arrival, Arrival::key);
ordered_by!(Running, |running: &Self| running.request.settled_ms);
