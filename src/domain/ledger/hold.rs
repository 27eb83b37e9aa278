//! A running request's share of its limits and budgets.

use arrayvec::ArrayVec;

use super::{
    ask::{Ask, Output},
    cells::Place,
    standing::Standings,
};
use crate::domain::{
    estimate::{MAX_HOLD, Sample},
    group::MAX_LEVELS,
    id::SlugId,
    money::Currency,
    route::Route,
    usage::{Usage, UsageSource},
};

/// An admitted request.
#[derive(Debug)]
pub struct Admitted {
    /// Must be settled or released exactly once.
    pub hold: Hold,
    /// In strict admission, on a route with output: the maximum for one choice, in tokens, to send upstream. Never
    /// above the declared one.
    pub output_max: Option<u64>,
    /// The state of the limits after this admission.
    pub standings: Standings,
}

/// The places of the cells of a path, own group first.
pub(super) type Places = ArrayVec<Place, MAX_LEVELS>;

/// The money that a running request holds in the cells of its path.
#[derive(Debug)]
pub(super) struct HeldMoney {
    pub(super) currency: Currency,
    pub(super) places: Places,
    /// In 10^-12 units of the currency.
    pub(super) amount: u128,
    /// The price of one output token, in the same units.
    pub(super) output_price: u128,
}

/// The tokens and the money that a running request holds in the cells of its path. Do not drop it: pass it to
/// [`super::Ledger::charge`] or [`super::Ledger::release`] of the ledger that returned it.
#[derive(Debug)]
#[must_use = "what it holds stays held until it is settled or released"]
pub struct Hold {
    pub(super) places: Places,
    pub(super) tokens: u64,
    /// `None` if the request cannot have a cost.
    pub(super) money: Option<HeldMoney>,
    pub(super) admitted_ns: u64,
    pub(super) route: Route,
    prompt_tokens: u64,
    /// The most output, if the upstream respects the maximum that it is sent.
    most: u64,
    /// A review is due once more than this many output tokens have streamed.
    review_above: u64,
    slug: SlugId,
    prompt_bytes: u64,
    n: u64,
}

impl Hold {
    /// Tokens that stream between two reviews. A smaller step is not worth taking the lock.
    const STEP: u64 = 256;

    pub(super) fn new(
        slug: SlugId,
        ask: &Ask<'_>,
        prompt_tokens: u64,
        output: Output,
        admitted_ns: u64,
        (places, money): (Places, Option<HeldMoney>),
    ) -> Self {
        let Output { held, most, .. } = output;
        let (tokens, review_above) = (prompt_tokens.saturating_add(held), held.min(Self::STEP));
        let (route, prompt_bytes, n) = (ask.route, ask.learnable_bytes(), ask.n);
        Self { places, tokens, money, admitted_ns, route, prompt_tokens, most, review_above, slug, prompt_bytes, n }
    }

    /// The prompt's estimate, in tokens. It is billed if nothing reports a better figure.
    pub fn prompt_tokens(&self) -> u64 {
        self.prompt_tokens
    }

    /// Whether [`super::Ledger::review`] is due after `streamed` output tokens. Needs no lock.
    pub fn is_due(&self, streamed: u64) -> bool {
        streamed > self.review_above
    }

    /// One choice's share of `streamed` output tokens.
    pub fn each(&self, streamed: u64) -> u64 {
        streamed / self.n.max(1)
    }

    /// Raises the held amount after `streamed` output tokens, if each choice is expected to have `expected` tokens in
    /// the end. Never holds less than before, and always more than has streamed. Returns the increases, in tokens and in
    /// 10^-12 units of the currency.
    pub(super) fn review(&mut self, streamed: u64, expected: Option<u64>) -> (u64, u128) {
        let streamed = streamed.min(MAX_HOLD);
        let held = self.tokens - self.prompt_tokens;
        let ahead = if streamed > held { streamed + Self::STEP } else { held };
        let expected = expected.map_or(0, |each| each.saturating_mul(self.n.max(1)));
        let output = match streamed > self.most {
            true => ahead,
            false => ahead.max(expected).min(self.most).max(held),
        };
        self.review_above = output.min(streamed + Self::STEP);
        self.tokens = self.prompt_tokens.saturating_add(output);
        let more = output - held;
        let more_money = self.money.as_mut().map_or(0, |money| {
            let before = money.amount;
            money.amount = before.saturating_add(money.output_price.saturating_mul(more.into()));
            money.amount - before
        });
        (more, more_money)
    }

    /// The sample to learn from when the request has ended. `None` if the usage is our own count.
    pub(super) fn sample(&self, usage: Usage, source: UsageSource) -> Option<Sample> {
        let Self { slug, route, prompt_bytes, n, .. } = *self;
        (source == UsageSource::Upstream).then_some(Sample { slug, route, prompt_bytes, n, usage })
    }
}
