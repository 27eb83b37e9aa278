//! The ledger's arguments and results.

use std::time::Duration;

use arrayvec::ArrayVec;

use super::account::EffectiveLimit;
use crate::domain::{
    day::Now,
    estimate::{Learned, MAX_HOLD, Sample, SlugEstimate},
    group::MAX_LEVELS,
    id::SlugId,
    limit::Unit,
    route::Route,
    usage::{Usage, UsageSource},
};

/// How many tokens must fit for a request to be admitted, and how many it holds: the setting `token_admission`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenAdmission {
    /// The prompt must fit. The expected output is held too, even if it does not fit.
    Adaptive,
    /// Everything that the request may consume must fit. The output is limited to the room that is left.
    Strict {
        /// Output tokens held by a request that declares no maximum.
        strict_output: u64,
    },
}

/// A request to admit.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// The route that was called.
    pub route: Route,
    /// UTF-8 bytes of the prompt's text, inline data not counted.
    pub prompt_bytes: u64,
    /// Tokens that the prompt gives as numeric ids.
    pub prompt_ids: u64,
    /// The declared maximum of output tokens for one choice. `None` if the request declares none.
    pub declared_output: Option<u64>,
    /// Choices to return; 1 if the request does not say.
    pub n: u64,
    /// Choices to generate, of which the upstream returns `n`. `None` if the request does not say.
    pub best_of: Option<u64>,
    /// The slug's estimates.
    pub slug: SlugEstimate,
    /// The current setting.
    pub admission: TokenAdmission,
}

impl Ask {
    fn choices(&self) -> u64 {
        self.n.max(self.best_of.unwrap_or(0)).max(1)
    }

    pub(super) fn prompt_tokens(&self, own: Option<&Learned>) -> u64 {
        if !self.route.is_billed() {
            return 0;
        }
        let ratio = own.and_then(|own| own.ratio(self.prompt_bytes)).unwrap_or(self.slug.ratio);
        let text = if self.prompt_bytes == 0 && self.prompt_ids > 0 { 0 } else { ratio.tokens(self.prompt_bytes) };
        text.saturating_add(self.prompt_ids).min(MAX_HOLD)
    }

    /// The prompt's bytes, for learning the ratio. 0 if the prompt has numeric ids, because its tokens then do not all
    /// come from its text.
    pub fn learnable_bytes(&self) -> u64 {
        if self.prompt_ids == 0 { self.prompt_bytes } else { 0 }
    }

    /// The output tokens expected of one choice.
    pub(super) fn expected_output(&self, own: Option<&Learned>) -> u64 {
        own.and_then(|own| own.mean_output(self.route)).unwrap_or(self.slug.mean_output)
    }

    /// The declared maximum of output tokens, for all choices together.
    fn declared_output(&self) -> Option<u64> {
        Some(self.declared_output?.saturating_mul(self.choices()).min(MAX_HOLD))
    }

    /// The most output tokens that the request may generate in strict admission, for all choices together.
    fn strict_output(&self, strict_output: u64) -> u64 {
        // A request without a declared maximum gets at least one token for each choice.
        self.declared_output().unwrap_or(strict_output.max(self.choices()).min(MAX_HOLD))
    }

    /// Output tokens that must fit in addition to the prompt.
    pub(super) fn least_output(&self) -> u64 {
        match self.admission {
            TokenAdmission::Strict { strict_output } if self.route.generates() => {
                self.strict_output(strict_output).min(self.choices())
            }
            TokenAdmission::Strict { .. } | TokenAdmission::Adaptive => 0,
        }
    }

    /// The output to hold if each choice is expected to have `expected` tokens and `left` tokens are left after the
    /// prompt. `left` is at least [`Self::least_output`].
    pub(super) fn output(&self, expected: u64, left: u64) -> Output {
        if !self.route.generates() {
            return Output { held: 0, most: 0, max_each: None };
        }
        match self.admission {
            TokenAdmission::Adaptive => {
                let most = self.declared_output().unwrap_or(MAX_HOLD);
                Output { held: expected.saturating_mul(self.n.max(1)).min(most), most, max_each: None }
            }
            TokenAdmission::Strict { strict_output } => {
                let each = self.strict_output(strict_output).min(left) / self.choices();
                let held = each.saturating_mul(self.choices());
                Output { held, most: held, max_each: Some(each) }
            }
        }
    }
}

/// The tokens that a request holds for its output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    pub(super) held: u64,
    /// The most output, for all choices together, if the upstream respects the maximum that it is sent.
    most: u64,
    /// In strict admission: the maximum for one choice to send upstream.
    pub(super) max_each: Option<u64>,
}

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
pub(super) type Places = ArrayVec<usize, MAX_LEVELS>;

/// The tokens that a running request holds in the cells of its path. Do not drop it: pass it to
/// [`super::Ledger::charge`] or [`super::Ledger::release`] of the ledger that returned it.
#[derive(Debug)]
#[must_use = "its tokens stay held until it is settled or released"]
pub struct Hold {
    pub(super) places: Places,
    pub(super) tokens: u64,
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
        ask: &Ask,
        prompt_tokens: u64,
        output: Output,
        admitted_ns: u64,
        places: Places,
    ) -> Self {
        let Output { held, most, .. } = output;
        let (tokens, review_above) = (prompt_tokens.saturating_add(held), held.min(Self::STEP));
        let (route, prompt_bytes, n) = (ask.route, ask.learnable_bytes(), ask.n);
        Self { places, tokens, admitted_ns, route, prompt_tokens, most, review_above, slug, prompt_bytes, n }
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
    /// the end. Never holds less than before, and always more than has streamed. Returns the increase.
    pub(super) fn review(&mut self, streamed: u64, expected: Option<u64>) -> u64 {
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
        output - held
    }

    /// The sample to learn from when the request has ended. `None` if the usage is our own count.
    pub(super) fn sample(&self, usage: Usage, source: UsageSource) -> Option<Sample> {
        let Self { slug, route, prompt_bytes, n, .. } = *self;
        (source == UsageSource::Upstream).then_some(Sample { slug, route, prompt_bytes, n, usage })
    }
}

/// The state of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The limit.
    pub limit: EffectiveLimit,
    /// The amount recorded in its window or on its day.
    pub used: u64,
    /// What running requests hold against it.
    pub held: u64,
    /// Time until a rolling window is empty, assuming that running requests end now at their held amounts and no others
    /// arrive. `None` if it is empty. For DAY: the time until midnight.
    pub reset: Option<Duration>,
    /// Whether there was a request in its window or on its day, ended or running.
    pub begun: bool,
}

impl Standing {
    /// The amount left; never below 0.
    pub fn left(&self) -> u64 {
        self.limit.limit.threshold.get().saturating_sub(self.used.saturating_add(self.held))
    }

    /// When it resets, in ms of Unix time. For DAY this is the exact end of the day; for a window it is counted from
    /// `now`.
    pub fn reset_at_unix_ms(&self, now: Now) -> Option<u64> {
        match self.limit.limit.unit {
            Unit::Day | Unit::Week | Unit::Month => Some(now.day().end_unix_ms()),
            Unit::Concurrent => None,
            Unit::Second | Unit::Minute => {
                let millis = u64::try_from(self.reset?.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
                Some(now.wall_ms().saturating_add(millis))
            }
        }
    }
}

/// The limit of each type with the least left, the nearest one if several are equal. `None` if there is no limit of the
/// type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standings {
    /// The limit on requests.
    pub requests: Option<Standing>,
    /// The limit on tokens.
    pub tokens: Option<Standing>,
}

/// A refused request, which has taken nothing from any limit.
///
/// If several limits refuse it, the one with the longest wait is reported, so that `retry_after` is enough for all of
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitRefusal {
    /// The limit's index in the list that was checked.
    pub index: usize,
    /// The limit.
    pub limit: EffectiveLimit,
    /// The amount recorded against it.
    pub used: u64,
    /// What running requests hold against it.
    pub held: u64,
    /// The amount requested of it: one request, or the tokens that had to fit.
    pub asked: u64,
    /// Time until there is enough room, assuming that running requests end now at their held amounts and no others
    /// arrive. Waiting exactly this long is enough. `None` if there never will be room.
    pub retry_after: Option<Duration>,
    /// The current state of the limits.
    pub standings: Standings,
}

impl LimitRefusal {
    /// The wait in whole seconds, rounded up so that it is enough, and at least 1. `None` if there never will be room.
    pub fn retry_after_s(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1))
    }
}
