//! The choice of a request's target among those of an endpoint.
//!
//! * A target that was tried for this request is not chosen again.
//! * Targets that are out are chosen only if all others have been tried: of those that are not full, the one whose
//!   pause ends first.
//! * A full target is never chosen. If all usable targets are full, the request has to wait.
//!
//! In SPREAD, requests with the same affinity go to the same target while its load allows it, so that its prompt cache
//! stays warm. This is rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
//! 1998): each target draws a number from the affinity and its own identity, and the smallest number wins. A target
//! that is removed therefore moves only its own requests, and an added one takes only the requests that it wins.
//! Weights enter by the logarithmic method of Schindelhauer and Schomaker ("Weighted distributed hash tables", 2005). A
//! target that runs 1.25 times its share is skipped (Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with
//! bounded loads", 2018).

use super::{circuit::Availability, endpoint::Routing};

#[cfg(test)]
mod tests;

/// A target as the choice sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// A hash of what the target is: its address and model. Affinities follow the identity, so the order of the targets
    /// and changes of other targets do not matter to them.
    pub identity: u64,
    /// The target's share of the load, 1 to 100.
    pub weight: u32,
    /// Most requests to run there at once, at least 1. `None` for no bound.
    pub max_concurrent: Option<u32>,
    /// Requests that run there now.
    pub running: u32,
    /// Whether it is in.
    pub availability: Availability,
}

impl Candidate {
    fn is_full(&self) -> bool {
        self.max_concurrent.is_some_and(|most| self.running >= most)
    }
}

/// A set of positions in a list of at most `MAX_TARGETS` targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TargetSet(u16);

impl TargetSet {
    /// No position.
    pub const EMPTY: Self = Self(0);

    /// Adds a position below `MAX_TARGETS`.
    pub fn insert(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    /// Whether the set has this position.
    pub fn contains(self, index: usize) -> bool {
        self.0 & 1 << index != 0
    }
}

/// The outcome of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The request goes to the target at this position.
    Target(usize),
    /// All usable targets are full.
    Full,
    /// All targets have been tried.
    NoneLeft,
}

/// Chooses a request's next target among at most `MAX_TARGETS`, in the endpoint's order. `tried` are those that
/// have failed to answer the request. The affinity must be a uniform hash. It is used in SPREAD only.
///
/// If the answer is `Target(i)`, the caller raises the `running` of that target before the next choice.
pub fn choose(routing: Routing, candidates: &[Candidate], tried: TargetSet, affinity: Option<u64>) -> Choice {
    let Some(usable) = usable(candidates, tried) else { return Choice::NoneLeft };
    let usable = || candidates.iter().enumerate().filter(move |(index, _)| usable.contains(*index));
    let free = || usable().filter(|(_, candidate)| !candidate.is_full());
    let chosen = match (routing, affinity) {
        (Routing::Priority, _) => free().map(|(index, _)| index).next(),
        (Routing::Spread, None) => least_loaded(free()),
        (Routing::Spread, Some(affinity)) => {
            let spread = Spread::over(usable().map(|(_, candidate)| candidate));
            let with_room = free().filter(|(_, candidate)| spread.has_room(candidate));
            let drawn = with_room.map(|(index, _)| (index, draw(candidates, index, affinity)));
            let first = drawn.min_by(|(_, one), (_, other)| one.total_cmp(other));
            first.map(|(index, _)| index).or_else(|| least_loaded(free()))
        }
    };
    chosen.map_or(Choice::Full, Choice::Target)
}

/// The untried targets that are in. If there are none, the untried target that is not full and whose pause ends first.
/// `None` if all have been tried.
fn usable(candidates: &[Candidate], tried: TargetSet) -> Option<TargetSet> {
    let (mut usable, mut next_in) = (TargetSet::EMPTY, None::<(usize, (bool, u64))>);
    for (index, candidate) in candidates.iter().enumerate().filter(|(index, _)| !tried.contains(*index)) {
        match candidate.availability {
            Availability::In => usable.insert(index),
            Availability::Out { until_ms } => {
                let rank = (candidate.is_full(), until_ms);
                next_in = next_in.filter(|(_, first)| *first <= rank).or(Some((index, rank)));
            }
        }
    }
    if usable == TargetSet::EMPTY {
        usable.insert(next_in?.0);
    }
    Some(usable)
}

/// The target with the fewest running requests for its weight; of equals, the first.
fn least_loaded<'a>(free: impl Iterator<Item = (usize, &'a Candidate)>) -> Option<usize> {
    let load = |one: &Candidate, other: &Candidate| u64::from(one.running) * u64::from(other.weight);
    free.min_by(|(_, one), (_, other)| load(one, other).cmp(&load(other, one))).map(|(index, _)| index)
}

/// The load of the usable targets together.
struct Spread {
    running: u64,
    weight: u64,
}

impl Spread {
    fn over<'a>(usable: impl Iterator<Item = &'a Candidate>) -> Self {
        usable.fold(Self { running: 0, weight: 0 }, |Self { running, weight }, candidate| Self {
            running: running + u64::from(candidate.running),
            weight: weight + u64::from(candidate.weight),
        })
    }

    /// Whether a target runs fewer requests than 1.25 × (all running + 1) × its weight / all weights, rounded up. For
    /// whole numbers, the rounding makes no difference.
    fn has_room(&self, candidate: &Candidate) -> bool {
        4 * u64::from(candidate.running) * self.weight < 5 * (self.running + 1) * u64::from(candidate.weight)
    }
}

/// The number that a target draws for an affinity: exponentially distributed with its weight as the rate, so that it is
/// the smallest of all with the probability weight / all weights.
fn draw(candidates: &[Candidate], index: usize, affinity: u64) -> f64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let Candidate { identity, weight, .. } = candidates[index];
    // A server that is listed twice takes part twice.
    let occurrence = candidates[..index].iter().filter(|earlier| earlier.identity == identity).count() as u64;
    let target = mix(identity.wrapping_add(GOLDEN.wrapping_mul(occurrence + 1)));
    // An odd number of 53 bits over 2^53 is exact in an f64, and neither 0 nor 1: its logarithm is finite and not 0.
    let uniform = (mix(affinity ^ target) >> 11 | 1) as f64 / (1_u64 << 53) as f64;
    -uniform.ln() / f64::from(weight)
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): a
/// bijection in which every bit of the input changes about half of the output.
fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}
