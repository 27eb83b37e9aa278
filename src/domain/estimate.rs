//! Estimates learned from reported usage: tokens per byte of prompt, and tokens per answer.
//!
//! An admission needs both before the upstream has counted anything. The estimates from a group's own requests are
//! [`Learned`], kept in its ledger cell. Until those have [`ENOUGH`] samples, the slug's estimates from [`Estimates`]
//! are used, which all customers of the slug share. One customer must not be able to distort the shared estimates:
//!
//! * Only figures that an upstream reported are learned, and each is clamped.
//! * Each customer has its own mean over its latest requests. The slug's estimate is the median of the means of up to
//!   8 customers. With three or more customers, it stays between the means of the others, however many
//!   requests one of them makes. With two, it is the lower mean.
//! * Memory is bounded: above 2 × 2048 estimates of a kind, the least recently updated ones are dropped.
//!
//! The tokens of a chat template or an image can outnumber those of a short prompt's text. Short prompts therefore have
//! a high ratio that would be far too high for a document, so each [`Size`] has its own ratio.

mod customers;
mod lengths;

use self::{
    customers::{Average, EstimateMap, Mean, median},
    lengths::Lengths,
};
use super::{
    id::{GroupId, SlugId},
    route::Route,
    usage::Usage,
};

/// The size of a prompt. Each size has its own ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Size {
    Short,
    Long,
}

impl Size {
    /// The shortest long prompt, in bytes.
    const LONG: u64 = 256;

    fn of(prompt_bytes: u64) -> Self {
        if prompt_bytes < Self::LONG { Self::Short } else { Self::Long }
    }
}

/// Tokens per UTF-8 byte of a prompt's text, in 1/65536; between 1/16 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio(u32);

impl Ratio {
    /// The ratio of a slug without samples: 1/4.
    pub const START: Self = Self(ONE / 4);

    const LEAST: u64 = ONE as u64 / 16;
    const MOST: u64 = ONE as u64;

    /// The estimated tokens of a prompt of `bytes` bytes, rounded up: at least one, at most [`MAX_HOLD`].
    pub fn tokens(self, bytes: u64) -> u64 {
        let tokens = (u128::from(bytes) * u128::from(self.0)).div_ceil(u128::from(ONE));
        u64::try_from(tokens).unwrap_or(MAX_HOLD).clamp(1, MAX_HOLD)
    }

    fn from_scaled(scaled: u64) -> Self {
        Self(scaled.clamp(Self::LEAST, Self::MOST) as u32)
    }
}

/// From this many samples on, a group's own estimates are used instead of the slug's.
const ENOUGH: u32 = 20;

/// The most tokens that one request may hold: more than any request has. Holds of millions of requests add up without
/// overflow.
pub const MAX_HOLD: u64 = 1 << 40;

/// The value 1 in the fixed point that [`Mean`] uses.
const ONE: u32 = 1 << 16;

/// The mean output of a slug and route without samples, in tokens.
const START_OUTPUT: u64 = 256;

/// The slug's estimates that an admission uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlugEstimate {
    /// The slug's ratio for prompts of this size.
    pub ratio: Ratio,
    /// The mean output of one choice on this route, in tokens; 0 for a route without output.
    pub mean_output: u64,
}

/// One answered request with the usage that the upstream reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The slug that was called.
    pub slug: SlugId,
    /// The route.
    pub route: Route,
    /// UTF-8 bytes of the prompt's text, inline data not counted.
    pub prompt_bytes: u64,
    /// The number of choices returned.
    pub n: u64,
    /// The reported usage.
    pub usage: Usage,
}

impl Sample {
    /// Tokens per byte, in fixed point. `None` if there were no bytes or no tokens.
    fn ratio(&self) -> Option<u64> {
        if self.prompt_bytes == 0 || self.usage.input == 0 {
            return None;
        }
        let scaled = u128::from(self.usage.input) * u128::from(ONE) / u128::from(self.prompt_bytes);
        Some(u64::try_from(scaled).unwrap_or(u64::MAX).clamp(Ratio::LEAST, Ratio::MOST))
    }

    /// Output tokens of one choice; `None` on a route without output.
    fn output(&self) -> Option<u64> {
        self.route.generates().then(|| self.usage.output.div_ceil(self.n.max(1)))
    }
}

/// The estimates from one group's own requests for one slug.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// Indexed by [`Size`].
    ratios: [Mean; 2],
    /// One entry for each route that the group has called.
    outputs: Vec<(Route, Lengths)>,
}

impl Learned {
    /// The ratio for a prompt of `prompt_bytes` bytes. `None` until there are enough samples of its size.
    pub(crate) fn ratio(&self, prompt_bytes: u64) -> Option<Ratio> {
        let ratio = &self.ratios[Size::of(prompt_bytes) as usize];
        (ratio.samples >= ENOUGH).then(|| Ratio::from_scaled(ratio.scaled))
    }

    /// The mean output of one choice, in tokens; `None` until there are enough samples.
    pub(crate) fn mean_output(&self, route: Route) -> Option<u64> {
        self.lengths(route).map(Lengths::mean)
    }

    /// The expected length in tokens of one choice that has already streamed `streamed`. `None` until there are enough
    /// samples, or if no sample was longer.
    pub(crate) fn output_beyond(&self, route: Route, streamed: u64) -> Option<u64> {
        self.lengths(route)?.beyond(streamed)
    }

    fn lengths(&self, route: Route) -> Option<&Lengths> {
        let known = self.outputs.iter().find(|(known, _)| *known == route);
        known.map(|(_, lengths)| lengths).filter(|lengths| lengths.answers() >= ENOUGH)
    }

    /// Learns from one answered request.
    pub(crate) fn learn(&mut self, sample: &Sample) {
        if let Some(ratio) = sample.ratio() {
            self.ratios[Size::of(sample.prompt_bytes) as usize].learn(ratio);
        }
        if let Some(output) = sample.output() {
            let known = self.outputs.iter().position(|(route, _)| *route == sample.route);
            let at = known.unwrap_or_else(|| {
                self.outputs.push((sample.route, Lengths::default()));
                self.outputs.len() - 1
            });
            self.outputs[at].1.learn(output);
        }
    }
}

/// The estimates of all slugs, shared by all customers. The caller keeps this behind its own lock.
#[derive(Debug, Default)]
pub struct Estimates {
    ratios: EstimateMap<(SlugId, Size), Mean>,
    outputs: EstimateMap<(SlugId, Route), Lengths>,
}

impl Estimates {
    /// The estimates for a request with a prompt of `prompt_bytes` bytes.
    pub fn get(&self, slug: SlugId, route: Route, prompt_bytes: u64) -> SlugEstimate {
        let ratio = self
            .ratios
            .get(&(slug, Size::of(prompt_bytes)))
            .map_or(Ratio::START, |estimate| Ratio::from_scaled(estimate.median));
        let mean_output = match route.generates() {
            true => self.outputs.get(&(slug, route)).map_or(START_OUTPUT, |estimate| estimate.median),
            false => 0,
        };
        SlugEstimate { ratio, mean_output }
    }

    /// The expected length in tokens of one choice that has already streamed `streamed`. `None` if no answer was
    /// longer.
    pub fn output_beyond(&self, slug: SlugId, route: Route, streamed: u64) -> Option<u64> {
        let estimate = self.outputs.get(&(slug, route))?;
        median(estimate.customers.iter().filter_map(|(_, lengths)| lengths.beyond(streamed)))
    }

    /// Learns from one answered request. `customer` is the last group of the request's path. So a CASCADING tree is one
    /// customer, and in an INDEPENDENT tree each group is one.
    pub fn learn(&mut self, customer: GroupId, sample: &Sample) {
        if let Some(ratio) = sample.ratio() {
            self.ratios.learn((sample.slug, Size::of(sample.prompt_bytes)), customer, ratio);
        }
        if let Some(output) = sample.output() {
            self.outputs.learn((sample.slug, sample.route), customer, output);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLUG: SlugId = SlugId(1);
    const CHAT: Route = Route::ChatCompletions;

    fn sample(prompt_bytes: u64, input: u64, output: u64) -> Sample {
        Sample {
            slug: SLUG,
            route: CHAT,
            prompt_bytes,
            n: 1,
            usage: Usage { input, output, cached: 0, cache_write: 0 },
        }
    }

    #[test]
    fn a_new_slug_starts_at_a_quarter_token_per_byte_and_256_output_tokens() {
        let start = Estimates::default().get(SLUG, CHAT, 1000);
        assert_eq!(start, SlugEstimate { ratio: Ratio::START, mean_output: 256 });
        assert_eq!(start.ratio.tokens(400), 100);
        assert_eq!(start.ratio.tokens(401), 101);
        assert_eq!(start.ratio.tokens(0), 1);
        assert_eq!(start.ratio.tokens(u64::MAX), MAX_HOLD);
    }

    #[test]
    fn a_route_without_output_has_an_expected_output_of_zero() {
        let mut estimates = Estimates::default();
        let embed = Sample { route: Route::Embeddings, ..sample(400, 100, 50) };
        estimates.learn(GroupId(1), &embed);
        assert_eq!(estimates.get(SLUG, Route::Embeddings, 1000).mean_output, 0);
        assert_eq!(estimates.get(SLUG, CHAT, 1000).mean_output, 256);
    }

    #[test]
    fn estimates_follow_reported_usage() {
        let mut estimates = Estimates::default();
        for _ in 0..100 {
            estimates.learn(GroupId(1), &sample(1000, 500, 40));
        }
        let learned = estimates.get(SLUG, CHAT, 1000);
        assert_eq!(learned.ratio.tokens(1000), 500);
        assert_eq!(learned.mean_output, 40);
        for _ in 0..400 {
            estimates.learn(GroupId(1), &sample(1000, 250, 80));
        }
        assert!((250..=251).contains(&estimates.get(SLUG, CHAT, 1000).ratio.tokens(1000)));
        assert!((79..=80).contains(&estimates.get(SLUG, CHAT, 1000).mean_output));
        assert_eq!(estimates.get(SlugId(2), CHAT, 1000), Estimates::default().get(SlugId(2), CHAT, 1000));
    }

    #[test]
    fn output_is_learned_per_choice() {
        let mut estimates = Estimates::default();
        estimates.learn(GroupId(1), &Sample { n: 4, ..sample(400, 100, 200) });
        assert_eq!(estimates.get(SLUG, CHAT, 1000).mean_output, 50);
        estimates.learn(GroupId(1), &Sample { n: 0, ..sample(400, 100, 50) });
        assert_eq!(estimates.get(SLUG, CHAT, 1000).mean_output, 50);
    }

    #[test]
    fn a_ratio_stays_between_a_sixteenth_and_one() {
        for (input, expected) in [(u64::MAX, 1600), (1, 100)] {
            let mut estimates = Estimates::default();
            estimates.learn(GroupId(1), &sample(1600, input, 1));
            assert_eq!(estimates.get(SLUG, CHAT, 1000).ratio.tokens(1600), expected);
        }
    }

    #[test]
    fn a_prompt_without_bytes_or_tokens_does_not_change_the_ratio() {
        let mut estimates = Estimates::default();
        estimates.learn(GroupId(1), &sample(0, 100, 1));
        estimates.learn(GroupId(1), &sample(100, 0, 1));
        assert_eq!(estimates.get(SLUG, CHAT, 1000).ratio, Ratio::START);
    }

    #[test]
    fn one_customer_cannot_distort_the_estimates_of_others() {
        let mut estimates = Estimates::default();
        for round in 0..50 {
            for customer in [1, 2] {
                estimates.learn(GroupId(customer), &sample(1000, 250, 100 + round % 3));
            }
            for _ in 0..1000 {
                estimates.learn(GroupId(666), &sample(1, u64::MAX, u64::MAX));
            }
        }
        let learned = estimates.get(SLUG, CHAT, 1000);
        assert!((100..=102).contains(&learned.mean_output), "{learned:?}");
        assert_eq!(learned.ratio.tokens(1000), 250);
    }

    #[test]
    fn a_group_uses_its_own_estimates_after_twenty_samples() {
        let mut own = Learned::default();
        for _ in 0..ENOUGH {
            assert_eq!((own.ratio(1000), own.mean_output(CHAT), own.output_beyond(CHAT, 1)), (None, None, None));
            own.learn(&sample(1000, 500, 90));
        }
        assert_eq!(own.ratio(1000).map(|ratio| ratio.tokens(1000)), Some(500));
        assert_eq!((own.mean_output(CHAT), own.output_beyond(CHAT, 89)), (Some(90), Some(90)));
        assert_eq!((own.mean_output(Route::Completions), own.output_beyond(CHAT, 90)), (None, None));
    }

    #[test]
    fn short_prompts_do_not_change_the_ratio_of_long_ones() {
        let (mut own, mut estimates) = (Learned::default(), Estimates::default());
        for _ in 0..100 {
            own.learn(&sample(6, 30, 9));
            estimates.learn(GroupId(1), &sample(6, 30, 9));
        }
        assert_eq!(own.ratio(255).map(|ratio| ratio.tokens(6)), Some(6), "at most one token per byte");
        assert_eq!(own.ratio(256), None);
        assert_eq!(estimates.get(SLUG, CHAT, 125_000).ratio, Ratio::START);
        assert_eq!(estimates.get(SLUG, CHAT, 6).ratio.tokens(6), 6);
    }

    #[test]
    fn with_many_customers_no_single_answer_becomes_the_slugs_mean() {
        let mut estimates = Estimates::default();
        for round in 0..200 {
            for customer in 0..20_u128 {
                let output = if (round + customer) % 4 == 0 { 1000 } else { 4 };
                estimates.learn(GroupId(customer), &sample(1000, 250, output));
            }
        }
        let mean = estimates.get(SLUG, CHAT, 1000).mean_output;
        assert!((200..=310).contains(&mean), "{mean}");
    }

    #[test]
    fn memory_is_bounded_and_estimates_in_use_are_kept() {
        let mut estimates = Estimates::default();
        for slug in 0..20_000 {
            estimates.learn(GroupId(1), &sample(1000, 500, 10));
            estimates.learn(GroupId(1), &Sample { slug: SlugId(slug + 2), ..sample(1000, 500, 10) });
            let kept = estimates.ratios.young.len() + estimates.ratios.old.len();
            assert!(kept <= 2 * EstimateMap::<(SlugId, Size), Mean>::GENERATION);
        }
        assert_eq!(estimates.get(SLUG, CHAT, 1000).mean_output, 10);
        assert_eq!(estimates.get(SlugId(2), CHAT, 1000).mean_output, 256);
    }
}
