use std::{cmp::Reverse, collections::BinaryHeap};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::domain::endpoint::MAX_TARGETS;
use crate::domain::testing::Random;

fn idle(identity: u64, weight: u32) -> Candidate {
    Candidate { identity, weight, max_concurrent: None, running: 0, availability: Availability::In }
}

/// Idle targets with these weights and different identities.
fn all_idle(weights: &[u32]) -> Vec<Candidate> {
    (0..).zip(weights).map(|(identity, &weight)| idle(identity, weight)).collect()
}

fn spread(candidates: &[Candidate], affinity: u64) -> usize {
    match choose(Routing::Spread, candidates, TargetSet::EMPTY, Some(affinity)) {
        Choice::Target(index) => index,
        other => panic!("{other:?}"),
    }
}

/// Affinities as the product makes them: uniform hashes.
fn affinities(seed: u64, count: usize) -> Vec<u64> {
    let mut random = Random::new(seed);
    (0..count).map(|_| random.below(1 << 32) << 32 | random.below(1 << 32)).collect()
}

/// Simulates the requests of 1,000 sessions and returns the share that went to their session's target.
///
/// Arrivals are a Poisson process, each of a random session, and durations are exponential. A target has
/// `max_concurrent` slots for each unit of its weight, as a server of that size would. `load` is the share of all slots
/// that is occupied on average.
fn simulate(weights: &[u32], max_concurrent: u32, load: f64, seed: u64) -> f64 {
    const REQUESTS: usize = 50_000;
    const MEAN_NS: f64 = 1e9;
    let mut random = Random::new(seed);
    let sessions = affinities(seed, 1000);
    let mut candidates = all_idle(weights);
    let homes: Vec<usize> = sessions.iter().map(|&session| spread(&candidates, session)).collect();
    for candidate in &mut candidates {
        candidate.max_concurrent = Some(max_concurrent * candidate.weight);
    }
    let all: u32 = weights.iter().sum();
    let interval_ns = MEAN_NS / (load * f64::from(max_concurrent * all));
    let (mut now, mut ends, mut kept) = (0, BinaryHeap::<Reverse<(u64, usize)>>::new(), 0);
    for _ in 0..REQUESTS {
        now += (-random.unit().ln() * interval_ns) as u64;
        while let Some(&Reverse((_, index))) = ends.peek().filter(|Reverse((at, _))| *at <= now) {
            candidates[index].running -= 1;
            ends.pop();
        }
        let session = random.below(1000) as usize;
        let index = spread(&candidates, sessions[session]);
        kept += usize::from(index == homes[session]);
        candidates[index].running += 1;
        ends.push(Reverse((now + (-random.unit().ln() * MEAN_NS) as u64, index)));
        let (mine, running) = (candidates[index].running, candidates.iter().map(|target| target.running).sum::<u32>());
        let share = f64::from(running) * f64::from(weights[index]) / f64::from(all);
        assert!(
            f64::from(mine) < 1.25 * share + 1.0,
            "{mine} of {running} run on a target of weight {}",
            weights[index]
        );
    }
    kept as f64 / REQUESTS as f64
}

#[test]
fn at_a_load_of_70_percent_sessions_keep_their_target_and_no_target_exceeds_its_share() {
    for (weights, seed) in [([1; 4], 1), ([1; 4], 2), ([1; 4], 3), ([1, 2, 3, 4], 4)] {
        for slots in [32, 128] {
            let kept = simulate(&weights, slots, 0.7, seed);
            println!("weights {weights:?}, {slots} slots for each: {:.1} % stay", kept * 100.0);
            assert!(kept >= 0.95, "{kept}");
        }
    }
}

#[test]
fn a_removed_target_moves_only_its_own_sessions() {
    let before = all_idle(&[1, 2, 3, 4]);
    for gone in 0..4 {
        let mut out = before.clone();
        out[gone].availability = Availability::Out { until_ms: 1 };
        let mut removed = before.clone();
        removed.remove(gone);
        let mut moved_to = [0; 4];
        for session in affinities(5, 1000) {
            let (home, now) = (spread(&before, session), spread(&out, session));
            let in_shorter_list = spread(&removed, session);
            assert_eq!(in_shorter_list + usize::from(in_shorter_list >= gone), now);
            assert!(now == home || home == gone, "a session of target {home} moved");
            assert_ne!(now, gone);
            moved_to[now] += usize::from(home == gone);
        }
        assert!((0..4).all(|index| index == gone || moved_to[index] > 0), "{gone}: {moved_to:?}");
    }
}

#[test]
fn an_added_target_takes_only_its_share() {
    let (before, after) = (all_idle(&[1; 4]), all_idle(&[1; 5]));
    let moved = affinities(6, 20_000).into_iter().filter(|&session| {
        let (home, now) = (spread(&before, session), spread(&after, session));
        assert!(now == home || now == 4, "a session moved from target {home} to {now}");
        now != home
    });
    let share = moved.count() as f64 / 20_000.0;
    assert!((0.19..0.21).contains(&share), "{share}");
}

#[test]
fn sessions_follow_their_target_when_the_list_is_reordered() {
    let before = all_idle(&[1, 2, 3, 4]);
    let mut after = before.clone();
    after.reverse();
    for session in affinities(7, 1000) {
        assert_eq!(spread(&after, session), 3 - spread(&before, session));
    }
}

#[test]
fn sessions_are_distributed_by_weight_also_over_a_server_that_is_listed_twice() {
    let mut twice = all_idle(&[1, 2, 5, 2]);
    twice[3].identity = twice[1].identity;
    for candidates in [all_idle(&[1, 1]), all_idle(&[1, 100]), all_idle(&[1, 2, 3, 4]), twice] {
        let mut sessions = vec![0; candidates.len()];
        for session in affinities(8, 50_000) {
            sessions[spread(&candidates, session)] += 1;
        }
        let all: u32 = candidates.iter().map(|candidate| candidate.weight).sum();
        for (sessions, candidate) in sessions.into_iter().zip(&candidates) {
            let expected = 50_000.0 * f64::from(candidate.weight) / f64::from(all);
            // Four standard deviations of a random distribution.
            let off = (f64::from(sessions) - expected).abs();
            assert!(off < 4.0 * expected.sqrt(), "{sessions} instead of {expected} of {candidates:?}");
        }
    }
}

#[test]
fn without_an_affinity_requests_are_distributed_by_weight() {
    let mut candidates = all_idle(&[1, 2, 3, 4]);
    for _ in 0..1000 {
        let Choice::Target(index) = choose(Routing::Spread, &candidates, TargetSet::EMPTY, None) else { panic!() };
        candidates[index].running += 1;
    }
    let running: Vec<u32> = candidates.iter().map(|candidate| candidate.running).collect();
    assert_eq!(running, [100, 200, 300, 400]);
}

/// The rules of the contract, section 7, one after the other.
fn by_the_contract(routing: Routing, candidates: &[Candidate], tried: TargetSet, affinity: Option<u64>) -> Choice {
    let untried: Vec<usize> = (0..candidates.len()).filter(|index| !tried.contains(*index)).collect();
    let mut usable: Vec<usize> =
        untried.iter().copied().filter(|index| candidates[*index].availability == Availability::In).collect();
    if usable.is_empty() {
        let next_in = |index: &&usize| match candidates[**index] {
            Candidate { availability: Availability::Out { until_ms }, running, max_concurrent, .. } => {
                (max_concurrent.is_some_and(|most| running >= most), until_ms)
            }
            _ => (false, 0),
        };
        let Some(first) = untried.iter().min_by_key(next_in) else { return Choice::NoneLeft };
        usable = vec![*first];
    }
    let full = |index: usize| candidates[index].max_concurrent.is_some_and(|most| candidates[index].running >= most);
    if usable.iter().all(|index| full(*index)) {
        return Choice::Full;
    }
    if routing == Routing::Priority {
        return Choice::Target(usable.into_iter().find(|index| !full(*index)).unwrap());
    }
    if let Some(affinity) = affinity {
        let running: u64 = usable.iter().map(|index| u64::from(candidates[*index].running)).sum();
        let weights: u64 = usable.iter().map(|index| u64::from(candidates[*index].weight)).sum();
        for index in preferences(candidates, affinity) {
            let bound = (5 * (running + 1) * u64::from(candidates[index].weight)).div_ceil(4 * weights);
            if usable.contains(&index) && !full(index) && u64::from(candidates[index].running) < bound {
                return Choice::Target(index);
            }
        }
    }
    let load = |index: &usize| f64::from(candidates[*index].running) / f64::from(candidates[*index].weight);
    let least = usable.into_iter().filter(|index| !full(*index)).min_by(|one, other| load(one).total_cmp(&load(other)));
    Choice::Target(least.unwrap())
}

/// The order in which a session tries these targets if all of them are in and idle.
fn preferences(candidates: &[Candidate], affinity: u64) -> Vec<usize> {
    let candidates: Vec<_> = candidates.iter().map(|candidate| idle(candidate.identity, candidate.weight)).collect();
    let (mut tried, mut order) = (TargetSet::EMPTY, Vec::new());
    while let Choice::Target(index) = choose(Routing::Spread, &candidates, tried, Some(affinity)) {
        tried.insert(index);
        order.push(index);
    }
    order
}

prop_compose! {
    fn any_candidate()(
        identity in 0_u64..6,
        weight in prop_oneof![1_u32..4, 1_u32..=100],
        max_concurrent in prop::option::of(1_u32..12),
        running in 0_u32..16,
        out in prop::option::of(0_u64..4),
    ) -> Candidate {
        let availability = out.map_or(Availability::In, |until_ms| Availability::Out { until_ms });
        Candidate { identity, weight, max_concurrent, running, availability }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_choice_is_the_one_that_the_contract_describes(
        candidates in vec(any_candidate(), 0..=MAX_TARGETS),
        tried in prop_oneof![Just(0_u16), any::<u16>()],
        affinity: Option<u64>,
    ) {
        let tried = TargetSet(tried);
        for routing in [Routing::Priority, Routing::Spread] {
            let expected = by_the_contract(routing, &candidates, tried, affinity);
            prop_assert_eq!(choose(routing, &candidates, tried, affinity), expected);
        }
    }
}
