//! What is learned from reported usage: tokens per byte of prompt, and tokens per answer.
//!
//! An admission has to guess both before the upstream has counted anything. What a group's own requests have taught is
//! [`Learned`], kept in its ledger cell; until that has [`ENOUGH`] samples the guess is the slug's, from [`Estimates`],
//! which all customers of the slug share. Sharing must not let one of them spoil it:
//!
//! * Only figures that an upstream reported are learned, and each is clamped.
//! * Each customer has a mean of its own over its latest requests; the slug's figure is the median of the means of 8
//!   customers that report. However many requests one of three or more makes, the figure stays between those of the
//!   others; of two it is the lower.
//! * Memory is bounded: beyond 2 × 2048 figures of a kind the longest unused are forgotten and start anew.
//!
//! What a chat template adds to a short prompt, or an image beside it, outweighs its text: of short prompts a high ratio
//! is learned that is right for them and absurd for a document. So [`Size`]s are learned apart.

mod lengths;

use std::hash::Hash;

use arrayvec::ArrayVec;

use self::lengths::Lengths;
use super::{
    hash::IdMap,
    id::{GroupId, SlugId},
    route::Route,
    usage::Usage,
};

/// How long a prompt is: each size has a ratio of its own.
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
    /// The ratio of a slug nothing is known about: 1/4.
    pub const START: Self = Self(ONE / 4);

    const LEAST: u64 = ONE as u64 / 16;
    const MOST: u64 = ONE as u64;

    /// The estimate of a prompt of so many bytes, rounded up: at least one token, at most [`MAX_HOLD`].
    pub fn tokens(self, bytes: u64) -> u64 {
        let tokens = (u128::from(bytes) * u128::from(self.0)).div_ceil(u128::from(ONE));
        u64::try_from(tokens).unwrap_or(MAX_HOLD).clamp(1, MAX_HOLD)
    }

    fn from_scaled(scaled: u64) -> Self {
        Self(scaled.clamp(Self::LEAST, Self::MOST) as u32)
    }
}

/// From so many samples on, what a group's own requests have taught is used instead of the slug's figures.
const ENOUGH: u32 = 20;

/// More than any request has tokens: what one may hold at most. Holds of millions of requests add up without overflow.
pub const MAX_HOLD: u64 = 1 << 40;

/// Fixed point: one, as a [`Mean`] keeps it.
const ONE: u32 = 1 << 16;

/// The mean output of a slug and route nothing is known about, in tokens.
const START_OUTPUT: u64 = 256;

/// What an admission takes from [`Estimates`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlugEstimate {
    /// The slug's ratio for prompts of this size.
    pub ratio: Ratio,
    /// The mean output of one choice on this route, in tokens; 0 for a route without output.
    pub mean_output: u64,
}

/// One answered request as an upstream reported it: what can be learned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// What was called.
    pub slug: SlugId,
    /// On which route.
    pub route: Route,
    /// UTF-8 bytes of the prompt's text, inline data not counted.
    pub prompt_bytes: u64,
    /// Choices answered.
    pub n: u64,
    /// As reported.
    pub usage: Usage,
}

impl Sample {
    /// Tokens per byte, scaled; `None` if there was nothing to measure.
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

/// What one group's own requests for one slug have taught.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// By [`Size`].
    ratios: [Mean; 2],
    /// Of the routes that it has called.
    outputs: Vec<(Route, Lengths)>,
}

impl Learned {
    /// Its ratio for a prompt of so many bytes; `None` until there are enough samples of the size.
    pub(crate) fn ratio(&self, prompt_bytes: u64) -> Option<Ratio> {
        let ratio = &self.ratios[Size::of(prompt_bytes) as usize];
        (ratio.samples >= ENOUGH).then(|| Ratio::from_scaled(ratio.scaled))
    }

    /// The mean output of one choice, in tokens; `None` until there are enough samples.
    pub(crate) fn mean_output(&self, route: Route) -> Option<u64> {
        self.lengths(route).map(Lengths::mean)
    }

    /// What to expect of one choice that has so many output tokens already, in tokens; `None` until there are enough
    /// samples, and if none of them was so long.
    pub(crate) fn output_beyond(&self, route: Route, streamed: u64) -> Option<u64> {
        self.lengths(route)?.beyond(streamed)
    }

    fn lengths(&self, route: Route) -> Option<&Lengths> {
        let known = self.outputs.iter().find(|(known, _)| *known == route);
        known.map(|(_, lengths)| lengths).filter(|lengths| lengths.answers() >= ENOUGH)
    }

    /// Takes in one answered request.
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

/// What is known about slugs, shared by all customers. The caller keeps it behind a lock of its own.
#[derive(Debug, Default)]
pub struct Estimates {
    ratios: Figures<(SlugId, Size), Mean>,
    outputs: Figures<(SlugId, Route), Lengths>,
}

impl Estimates {
    /// What to expect of a request with a prompt of so many bytes.
    pub fn get(&self, slug: SlugId, route: Route, prompt_bytes: u64) -> SlugEstimate {
        let ratio = self
            .ratios
            .get(&(slug, Size::of(prompt_bytes)))
            .map_or(Ratio::START, |figure| Ratio::from_scaled(figure.median));
        let mean_output = match route.generates() {
            true => self.outputs.get(&(slug, route)).map_or(START_OUTPUT, |figure| figure.median),
            false => 0,
        };
        SlugEstimate { ratio, mean_output }
    }

    /// What to expect of one choice that has so many output tokens already, in tokens; `None` if no answer was seen to
    /// be so long.
    pub fn output_beyond(&self, slug: SlugId, route: Route, streamed: u64) -> Option<u64> {
        let figure = self.outputs.get(&(slug, route))?;
        median(figure.voices.iter().filter_map(|(_, lengths)| lengths.beyond(streamed)))
    }

    /// Takes in one answered request. `customer` is whose voice it is: the last group that the request counts for. So a
    /// pool of many groups has one voice, and of a plan each customer has its own.
    pub fn learn(&mut self, customer: GroupId, sample: &Sample) {
        if let Some(ratio) = sample.ratio() {
            self.ratios.learn((sample.slug, Size::of(sample.prompt_bytes)), customer, ratio);
        }
        if let Some(output) = sample.output() {
            self.outputs.learn((sample.slug, sample.route), customer, output);
        }
    }
}

/// What can be learned of a customer's requests, one figure a request.
trait Voice: Default {
    fn learn(&mut self, figure: u64);
    fn mean(&self) -> u64;
}

/// A mean in which the last 32 samples weigh most; the first ones weigh the same.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    scaled: u64,
    /// Up to [`Self::MEMORY`].
    samples: u32,
}

impl Mean {
    const MEMORY: u32 = 32;
}

impl Voice for Mean {
    fn learn(&mut self, scaled: u64) {
        self.samples = (self.samples + 1).min(Self::MEMORY);
        let weight = u64::from(self.samples);
        if scaled >= self.scaled {
            self.scaled += (scaled - self.scaled) / weight;
        } else {
            self.scaled -= (self.scaled - scaled) / weight;
        }
    }

    fn mean(&self) -> u64 {
        self.scaled
    }
}

/// Customers that have a say in one figure.
const VOICES: usize = 8;

/// When all voices are taken, one in so many reports of others takes the place of the voice that has been silent
/// longest: were it each of them, no voice would be heard long enough to have a mean.
const TURN: u32 = 64;

/// The middle of at most [`VOICES`] values. Of two in the middle the lower: between two customers neither can make the
/// other hold more than it would.
fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut values: ArrayVec<u64, VOICES> = values.take(VOICES).collect();
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// The median over some of the customers that report.
#[derive(Debug, Default)]
struct Figure<V> {
    /// The latest to report stands last.
    voices: ArrayVec<(GroupId, V), VOICES>,
    /// Reports of others since the last of them got a voice.
    unheard: u32,
    median: u64,
}

impl<V: Voice> Figure<V> {
    fn learn(&mut self, customer: GroupId, figure: u64) {
        let known = self.voices.iter().position(|(group, _)| *group == customer);
        if known.is_none() && self.voices.is_full() {
            self.unheard += 1;
            if self.unheard < TURN {
                return;
            }
            self.unheard = 0;
            self.voices.remove(0);
        }
        let mut voice = known.map(|at| self.voices.remove(at).1).unwrap_or_default();
        voice.learn(figure);
        self.voices.push((customer, voice));
        self.median = median(self.voices.iter().map(|(_, voice)| voice.mean())).unwrap_or_default();
    }
}

/// Figures by key, bounded: when `young` is full it becomes `old`, and what is still in `old` then is forgotten.
#[derive(Debug)]
struct Figures<K, V> {
    young: IdMap<K, Figure<V>>,
    old: IdMap<K, Figure<V>>,
}

impl<K, V> Default for Figures<K, V> {
    fn default() -> Self {
        Self { young: IdMap::default(), old: IdMap::default() }
    }
}

impl<K: Copy + Eq + Hash, V: Voice> Figures<K, V> {
    const GENERATION: usize = 2048;

    fn get(&self, key: &K) -> Option<&Figure<V>> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    fn learn(&mut self, key: K, customer: GroupId, measured: u64) {
        if let Some(figure) = self.young.get_mut(&key) {
            return figure.learn(customer, measured);
        }
        let mut figure = self.old.remove(&key).unwrap_or_default();
        figure.learn(customer, measured);
        if self.young.len() >= Self::GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, figure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLUG: SlugId = SlugId(1);
    const CHAT: Route = Route::ChatCompletions;

    fn sample(prompt_bytes: u64, input: u64, output: u64) -> Sample {
        Sample { slug: SLUG, route: CHAT, prompt_bytes, n: 1, usage: Usage { input, output, cached: 0 } }
    }

    #[test]
    fn a_slug_nobody_called_starts_at_a_quarter_token_a_byte_and_256_tokens_of_output() {
        let start = Estimates::default().get(SLUG, CHAT, 1000);
        assert_eq!(start, SlugEstimate { ratio: Ratio::START, mean_output: 256 });
        assert_eq!(start.ratio.tokens(400), 100);
        assert_eq!(start.ratio.tokens(401), 101);
        assert_eq!(start.ratio.tokens(0), 1);
        assert_eq!(start.ratio.tokens(u64::MAX), MAX_HOLD);
    }

    #[test]
    fn a_route_without_output_expects_none() {
        let mut estimates = Estimates::default();
        let embed = Sample { route: Route::Embeddings, ..sample(400, 100, 50) };
        estimates.learn(GroupId(1), &embed);
        assert_eq!(estimates.get(SLUG, Route::Embeddings, 1000).mean_output, 0);
        assert_eq!(estimates.get(SLUG, CHAT, 1000).mean_output, 256);
    }

    #[test]
    fn what_upstreams_report_is_learned() {
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
    fn the_output_of_several_choices_is_learned_for_one() {
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
    fn a_prompt_without_bytes_or_tokens_teaches_no_ratio() {
        let mut estimates = Estimates::default();
        estimates.learn(GroupId(1), &sample(0, 100, 1));
        estimates.learn(GroupId(1), &sample(100, 0, 1));
        assert_eq!(estimates.get(SLUG, CHAT, 1000).ratio, Ratio::START);
    }

    #[test]
    fn one_customer_cannot_poison_what_the_others_hold() {
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
    fn a_group_goes_by_its_own_figures_from_the_twentieth_sample_on() {
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
    fn short_prompts_teach_nothing_about_long_ones() {
        let (mut own, mut estimates) = (Learned::default(), Estimates::default());
        for _ in 0..100 {
            own.learn(&sample(6, 30, 9));
            estimates.learn(GroupId(1), &sample(6, 30, 9));
        }
        assert_eq!(own.ratio(255).map(|ratio| ratio.tokens(6)), Some(6), "at most a token a byte");
        assert_eq!(own.ratio(256), None);
        assert_eq!(estimates.get(SLUG, CHAT, 125_000).ratio, Ratio::START);
        assert_eq!(estimates.get(SLUG, CHAT, 6).ratio.tokens(6), 6);
    }

    #[test]
    fn many_customers_at_once_do_not_make_single_answers_the_slugs_mean() {
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
    fn memory_is_bounded_and_what_is_used_stays() {
        let mut estimates = Estimates::default();
        for slug in 0..20_000 {
            estimates.learn(GroupId(1), &sample(1000, 500, 10));
            estimates.learn(GroupId(1), &Sample { slug: SlugId(slug + 2), ..sample(1000, 500, 10) });
            let kept = estimates.ratios.young.len() + estimates.ratios.old.len();
            assert!(kept <= 2 * Figures::<(SlugId, Size), Mean>::GENERATION);
        }
        assert_eq!(estimates.get(SLUG, CHAT, 1000).mean_output, 10);
        assert_eq!(estimates.get(SlugId(2), CHAT, 1000).mean_output, 256);
    }
}
