//! What is asked of a ledger, and what it answers.

use std::time::Duration;

use super::cells::Places;
use crate::domain::{
    day::Now,
    estimate::{Learned, MAX_HOLD, Sample, SlugEstimate},
    id::SlugId,
    limit::{EffectiveLimit, Unit},
    route::Route,
    usage::{Usage, UsageSource},
};

/// How much a request must fit with, and how much it holds: the setting `token_admission`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenAdmission {
    /// The prompt must fit; the expected output is held beside it, whether it fits or not.
    Adaptive,
    /// All that the request may consume must fit; the output is bounded to what does.
    Strict {
        /// Output tokens held by a request that declares no maximum.
        strict_output: u64,
    },
}

/// A request that wants to be admitted.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// The route that was called.
    pub route: Route,
    /// UTF-8 bytes of the prompt's text, inline data not counted.
    pub prompt_bytes: u64,
    /// Tokens that the prompt names by their numbers.
    pub prompt_ids: u64,
    /// The maximum of output tokens as the request declares it: of one choice. `None` if it declares none.
    pub declared_output: Option<u64>,
    /// Choices to answer, 1 if the request does not say.
    pub n: u64,
    /// Choices to generate, of which `n` are answered; `None` if the request does not say.
    pub best_of: Option<u64>,
    /// What is known about the slug.
    pub slug: SlugEstimate,
    /// The setting in force.
    pub admission: TokenAdmission,
}

impl Ask {
    fn choices(&self) -> u64 {
        self.n.max(self.best_of.unwrap_or(0)).max(1)
    }

    pub(super) fn prompt_tokens(&self, own: Option<&Learned>) -> u64 {
        let ratio = own.and_then(|own| own.ratio(self.prompt_bytes)).unwrap_or(self.slug.ratio);
        let text = if self.prompt_bytes == 0 && self.prompt_ids > 0 { 0 } else { ratio.tokens(self.prompt_bytes) };
        text.saturating_add(self.prompt_ids).min(MAX_HOLD)
    }

    /// The prompt's bytes as far as its tokens come from them: where some do not, no ratio can be learned.
    pub fn taught_bytes(&self) -> u64 {
        if self.prompt_ids == 0 { self.prompt_bytes } else { 0 }
    }

    /// Output tokens to expect of one choice.
    pub(super) fn expected_output(&self, own: Option<&Learned>) -> u64 {
        own.and_then(|own| own.mean_output(self.route)).unwrap_or(self.slug.mean_output)
    }

    /// The most that the request declares to generate, in all choices together.
    fn declared_output(&self) -> Option<u64> {
        Some(self.declared_output?.saturating_mul(self.choices()).min(MAX_HOLD))
    }

    /// The most that the request may generate in strict admission, in all choices together.
    fn strict_output(&self, strict_output: u64) -> u64 {
        // Whoever declares none gets at least a token a choice.
        self.declared_output().unwrap_or(strict_output.max(self.choices()).min(MAX_HOLD))
    }

    /// Output tokens that must fit beside the prompt.
    pub(super) fn least_output(&self) -> u64 {
        match self.admission {
            TokenAdmission::Strict { strict_output } if self.route.generates() => {
                self.strict_output(strict_output).min(self.choices())
            }
            TokenAdmission::Strict { .. } | TokenAdmission::Adaptive => 0,
        }
    }

    /// What to hold for output, if so many tokens are expected of one choice and so many are left beside the prompt, at
    /// least [`Self::least_output`].
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

/// What a request holds for its output, in tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    pub(super) held: u64,
    /// What it will not exceed, in all choices together, if the upstream keeps to what it is asked.
    most: u64,
    /// In strict admission: the maximum of one choice to send upstream.
    pub(super) max_each: Option<u64>,
}

/// A request was admitted.
#[derive(Debug)]
pub struct Admitted {
    /// To be settled or released, once.
    pub hold: Hold,
    /// In strict admission, on a route with output: the maximum of one choice, in tokens, to send upstream. Never above
    /// the declared one.
    pub output_max: Option<u64>,
    /// After this admission.
    pub standings: Standings,
}

/// What a running request holds in the cells of its path. It is neither copied nor dropped: [`super::Ledger::settle`]
/// or [`super::Ledger::release`] takes it back, on the ledger that gave it.
#[derive(Debug)]
#[must_use = "what it holds stays held until it is settled or released"]
pub struct Hold {
    pub(super) places: Places,
    pub(super) tokens: u64,
    pub(super) admitted_ns: u64,
    pub(super) route: Route,
    prompt_tokens: u64,
    /// What the output will not exceed, if the upstream keeps to what it is asked.
    most: u64,
    /// Once more output than this has streamed it is worth looking again.
    review_above: u64,
    slug: SlugId,
    prompt_bytes: u64,
    n: u64,
}

impl Hold {
    /// How many tokens stream between two looks at what is held: fewer are not worth the lock.
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
        let (route, prompt_bytes, n) = (ask.route, ask.taught_bytes(), ask.n);
        Self { places, tokens, admitted_ns, route, prompt_tokens, most, review_above, slug, prompt_bytes, n }
    }

    /// The prompt's estimate, in tokens: what is billed for it if nobody reports better.
    pub fn prompt_tokens(&self) -> u64 {
        self.prompt_tokens
    }

    /// Whether so much has streamed, in output tokens, that [`super::Ledger::review`] is due. Needs no lock.
    pub fn is_due(&self, streamed: u64) -> bool {
        streamed > self.review_above
    }

    /// What one choice has of so many output tokens.
    pub fn each(&self, streamed: u64) -> u64 {
        streamed / self.n.max(1)
    }

    /// Holds what is expected of a request that has streamed so many output tokens, if so many are of each choice: never
    /// less than before, and always more than has streamed. Gives by how much it has grown.
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

    /// What can be learned once it has ended; nothing from figures of our own.
    pub(super) fn sample(&self, usage: Usage, source: UsageSource) -> Option<Sample> {
        let Self { slug, route, prompt_bytes, n, .. } = *self;
        (source == UsageSource::Upstream).then_some(Sample { slug, route, prompt_bytes, n, usage })
    }
}

/// How one limit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Which limit.
    pub limit: EffectiveLimit,
    /// What is recorded in its window, or on its day.
    pub used: u64,
    /// What running requests hold against it.
    pub held: u64,
    /// How long until a rolling window would be empty, if what runs ended now with what it holds and nobody spent more;
    /// `None` if it is empty. For DAY until midnight.
    pub reset: Option<Duration>,
    /// Whether its window, or its day, has seen a request, ended or running.
    pub begun: bool,
}

impl Standing {
    /// What is left; never below 0.
    pub fn left(&self) -> u64 {
        self.limit.limit.threshold.get().saturating_sub(self.used.saturating_add(self.held))
    }

    /// When it is reset, in ms of Unix time: a day's end is exact, how long a window lasts is counted from now.
    pub fn reset_at_unix_ms(&self, now: Now) -> Option<u64> {
        match self.limit.limit.unit {
            Unit::Day => Some(now.day().end_unix_ms()),
            Unit::Second | Unit::Minute => {
                let millis = u64::try_from(self.reset?.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
                Some(now.wall_ms().saturating_add(millis))
            }
        }
    }

    /// Whether others draw on it too: it is anchored on an ancestor.
    pub fn is_shared(&self) -> bool {
        self.limit.counted_at != 0
    }
}

/// The limit of each type with the least left, the nearest of equals; `None` without a limit of the type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standings {
    /// In requests.
    pub requests: Option<Standing>,
    /// In tokens.
    pub tokens: Option<Standing>,
}

/// A request was refused, and has taken nothing anywhere.
///
/// Of several limits that stop it, the one reported is the one that does so longest, so that `retry_after` is true of
/// all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The limit, by its place among those asked.
    pub index: usize,
    /// The limit.
    pub limit: EffectiveLimit,
    /// What is recorded against it.
    pub used: u64,
    /// What running requests hold against it.
    pub held: u64,
    /// What was asked of it: one request, or the tokens that had to fit.
    pub asked: u64,
    /// When enough room will be there, if running requests end now with what they hold and nobody else spends. Waiting
    /// exactly so long is enough. `None` if there never will be.
    pub retry_after: Option<Duration>,
    /// As they are.
    pub standings: Standings,
}

impl Refusal {
    /// The wait in whole seconds, at least one and rounded up, so that it is enough. `None` if it never is.
    pub fn retry_after_s(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1))
    }
}
