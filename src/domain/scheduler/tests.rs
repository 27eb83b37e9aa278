//! Compares the scheduler with a naive reference over random steps, and checks the contract's promises beside it.

use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::domain::{circuit::Availability, group::MAX_LEVELS, testing::Random};

/// A child of a node: a group, or the node's own requests.
type Child = Option<GroupId>;

/// The turn of those who wait below a child with one set of tried targets.
type Turn = (Child, TargetSet);

/// A waiting request, known by its arrival number.
#[derive(Debug, Clone)]
struct Waiter {
    path: Vec<GroupId>,
    arrival: u64,
    tried: TargetSet,
    affinity: Option<u64>,
}

impl Waiter {
    fn request(&self) -> Request<'_> {
        Request { path: &self.path, arrival: self.arrival, tried: self.tried, affinity: self.affinity }
    }

    /// Whether it waits for this turn at a node.
    fn waits_for(&self, node: &[GroupId], turn: Turn) -> bool {
        self.path.starts_with(node) && (self.path.get(node.len()).copied(), self.tried) == turn
    }

    fn target(&self, routing: Routing, candidates: &[Candidate]) -> Option<usize> {
        match choose(routing, candidates, self.tried, self.affinity) {
            Choice::Target(target) => Some(target),
            Choice::Full | Choice::NoneLeft => None,
        }
    }
}

/// The reference: all that wait in one list, and the turns at each node.
#[derive(Default)]
struct Naive {
    waiting: Vec<Waiter>,
    turns: BTreeMap<Vec<GroupId>, Vec<Turn>>,
}

impl Naive {
    fn push(&mut self, waiter: Waiter) {
        for level in 0..=waiter.path.len() {
            let turns = self.turns.entry(waiter.path[..level].to_vec()).or_default();
            let turn = (waiter.path.get(level).copied(), waiter.tried);
            if !turns.contains(&turn) {
                turns.push(turn);
            }
        }
        self.waiting.push(waiter);
    }

    fn remove(&mut self, arrival: u64) -> Waiter {
        let place = self.waiting.iter().position(|waiter| waiter.arrival == arrival).unwrap();
        let waiter = self.waiting.remove(place);
        for (node, turns) in &mut self.turns {
            turns.retain(|turn| self.waiting.iter().any(|waiter| waiter.waits_for(node, *turn)));
        }
        self.turns.retain(|_, turns| !turns.is_empty());
        waiter
    }

    fn next(&mut self, routing: Routing, candidates: &[Candidate]) -> Option<(Waiter, usize)> {
        let may_go: Vec<&Waiter> =
            self.waiting.iter().filter(|waiter| waiter.target(routing, candidates).is_some()).collect();
        let mut node = Vec::new();
        loop {
            let turns = self.turns.get_mut(&node)?;
            let is_next = |turn: &&Turn| may_go.iter().any(|waiter| waiter.waits_for(&node, **turn));
            let (child, _) = *turns.iter().find(is_next)?;
            // Stable: those of the child go behind the others.
            turns.sort_by_key(|(other, _)| *other == child);
            let Some(group) = child else { break };
            node.push(group);
        }
        let own = may_go.iter().filter(|waiter| waiter.path == node);
        let arrival = own.map(|waiter| waiter.arrival).min()?;
        let waiter = self.remove(arrival);
        let target = waiter.target(routing, candidates)?;
        Some((waiter, target))
    }
}

/// For each turn at each node, the siblings that were served while it waited.
#[derive(Default)]
struct Fairness(HashMap<(Vec<GroupId>, Turn), Vec<Child>>);

impl Fairness {
    /// Checks a turn, before the request leaves.
    fn check(&mut self, served: &Waiter, naive: &Naive, may_go: &[Waiter]) {
        for level in 0..=served.path.len() {
            let node = &served.path[..level];
            let child = served.path.get(level).copied();
            for turn in &naive.turns[node] {
                let since = self.0.entry((node.to_vec(), *turn)).or_default();
                if turn.0 == child {
                    since.clear();
                    continue;
                }
                let may_go = may_go.iter().any(|waiter| waiter.waits_for(node, *turn));
                assert!(!may_go || !since.contains(&child), "{child:?} was served twice before {turn:?}");
                since.push(child);
            }
        }
    }

    /// Forgets the turns for which nobody waits any more.
    fn forget(&mut self, naive: &Naive) {
        self.0.retain(|(node, turn), _| naive.turns.get(node).is_some_and(|turns| turns.contains(turn)));
    }
}

/// Counts of the tested cases, to show that there were enough.
#[derive(Debug, Default)]
struct Tally {
    granted: u32,
    /// Requests that went after a failed attempt.
    came_back: u32,
    /// Requests that went while others could not.
    passed_others: u32,
    hung_up: u32,
    longest: usize,
}

struct Simulation {
    random: Random,
    paths: Vec<Vec<GroupId>>,
    routing: Routing,
    /// The targets, of which only the first `known` are configured at present.
    targets: Vec<Candidate>,
    known: usize,
    arrivals: u64,
    running: Vec<(Waiter, usize)>,
    scheduler: Scheduler<u64>,
    places: HashMap<u64, Place>,
    naive: Naive,
    fairness: Fairness,
    tally: Tally,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut paths: Vec<Vec<GroupId>> = Vec::new();
        for id in 0..3 + random.below(30) {
            let parents: Vec<_> = paths.iter().filter(|path| path.len() < MAX_LEVELS).collect();
            let is_root = parents.is_empty() || random.one_in(5);
            let mut path = if is_root { Vec::new() } else { random.pick(&parents).clone() };
            path.push(GroupId(u128::from(id)));
            paths.push(path);
        }
        let target = |identity| Candidate {
            identity,
            weight: 1 + identity as u32 % 3,
            max_concurrent: Some(2),
            running: 0,
            availability: Availability::In,
        };
        Self {
            random,
            paths,
            routing: Routing::Priority,
            targets: (0..4).map(target).collect(),
            known: 4,
            arrivals: 0,
            running: Vec::new(),
            scheduler: Scheduler::default(),
            places: HashMap::new(),
            naive: Naive::default(),
            fairness: Fairness::default(),
            tally: Tally::default(),
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..45 if self.scheduler.len() < 60 => self.arrive(),
            45..75 => drop(self.end()),
            75..85 => self.fail(),
            85..91 => self.hang_up(),
            91..95 => {
                let until_ms = self.random.below(5);
                let availability = self.random.pick(&[Availability::In, Availability::Out { until_ms }]);
                self.change(|target| target.availability = availability);
            }
            95..98 => {
                let max_concurrent = self.random.pick(&[None, Some(1), Some(1), Some(2), Some(3), Some(5)]);
                self.change(|target| target.max_concurrent = max_concurrent);
            }
            98 => self.known = 1 + self.random.below(4) as usize,
            99 => self.routing = self.random.pick(&[Routing::Priority, Routing::Spread]),
            _ => {}
        }
        self.grant();
        self.tally.longest = self.tally.longest.max(self.scheduler.len());
    }

    fn arrive(&mut self) {
        self.arrivals += 1;
        let path = self.random.below(self.paths.len() as u64) as usize;
        let path = self.paths[path].clone();
        let affinity = self.random.pick(&[None, Some(7), Some(u64::MAX / 3)]);
        self.push(Waiter { path, arrival: self.arrivals, tried: TargetSet::EMPTY, affinity });
    }

    fn push(&mut self, waiter: Waiter) {
        let place = self.scheduler.push(waiter.request(), waiter.arrival);
        self.places.insert(waiter.arrival, place);
        self.naive.push(waiter);
    }

    /// A running request ends.
    fn end(&mut self) -> Option<(Waiter, usize)> {
        let place = self.random.below(self.running.len().max(1) as u64) as usize;
        let (waiter, target) = (place < self.running.len()).then(|| self.running.swap_remove(place))?;
        self.targets[target].running -= 1;
        Some((waiter, target))
    }

    /// An attempt fails. Its request comes back, unless it has tried all targets.
    fn fail(&mut self) {
        let Some((mut waiter, target)) = self.end() else { return };
        waiter.tried.insert(target);
        if (0..self.known).any(|target| !waiter.tried.contains(target)) {
            self.push(waiter);
        }
    }

    fn hang_up(&mut self) {
        if self.naive.waiting.is_empty() {
            return;
        }
        let place = self.random.below(self.naive.waiting.len() as u64) as usize;
        let arrival = self.naive.waiting[place].arrival;
        self.naive.remove(arrival);
        self.fairness.forget(&self.naive);
        assert_eq!(self.scheduler.remove(&self.places[&arrival]), Some(arrival));
        assert_eq!(self.scheduler.remove(&self.places[&arrival]), None);
        self.tally.hung_up += 1;
    }

    fn change(&mut self, change: impl Fn(&mut Candidate)) {
        let target = self.random.below(self.targets.len() as u64) as usize;
        change(&mut self.targets[target]);
    }

    /// All that wait are sent away.
    fn drain(&mut self) {
        let mut arrivals = self.scheduler.drain();
        arrivals.sort_unstable();
        let mut waiting: Vec<u64> = self.naive.waiting.iter().map(|waiter| waiter.arrival).collect();
        waiting.sort_unstable();
        assert_eq!(arrivals, waiting);
        assert!(self.scheduler.is_empty());
    }

    fn grant(&mut self) {
        loop {
            let candidates = &self.targets[..self.known];
            let waiting = &self.naive.waiting;
            let may_go = waiting.iter().filter(|waiter| waiter.target(self.routing, candidates).is_some());
            let may_go: Vec<Waiter> = may_go.cloned().collect();
            assert_eq!(self.scheduler.len(), waiting.len());
            let Some((arrival, target)) = self.scheduler.next(self.routing, candidates) else {
                assert!(may_go.is_empty(), "a slot is free although {may_go:?} could use it");
                assert!(self.naive.next(self.routing, candidates).is_none());
                return;
            };
            let waiter = may_go.iter().find(|waiter| waiter.arrival == arrival).unwrap();
            let to = &candidates[target];
            assert!(!waiter.tried.contains(target), "{waiter:?} went to a target that had failed");
            assert!(to.max_concurrent.is_none_or(|most| to.running < most), "above the capacity of {to:?}");
            let mut ahead = may_go.iter().filter(|other| other.path == waiter.path && other.arrival < arrival);
            assert!(ahead.next().is_none(), "{waiter:?} was served before one of its group that came first");
            self.fairness.check(waiter, &self.naive, &may_go);

            self.tally.granted += 1;
            self.tally.came_back += u32::from(waiter.tried != TargetSet::EMPTY);
            self.tally.passed_others += u32::from(may_go.len() < self.naive.waiting.len());
            let (waiter, naive_target) = self.naive.next(self.routing, candidates).unwrap();
            assert_eq!((waiter.arrival, naive_target), (arrival, target));
            assert_eq!(self.scheduler.remove(&self.places[&arrival]), None);
            self.fairness.forget(&self.naive);
            self.targets[target].running += 1;
            self.running.push((waiter, target));
        }
    }
}

#[test]
fn slots_go_in_turn_to_those_who_can_use_them_and_none_stays_free_for_which_somebody_waits() {
    let mut total = Tally::default();
    for seed in 0..20 {
        let mut simulation = Simulation::new(seed);
        (0..1000).for_each(|_| simulation.step());
        simulation.drain();
        let Tally { granted, came_back, passed_others, hung_up, longest } = simulation.tally;
        total.granted += granted;
        total.came_back += came_back;
        total.passed_others += passed_others;
        total.hung_up += hung_up;
        total.longest = total.longest.max(longest);
    }
    let Tally { granted, came_back, passed_others, hung_up, longest } = total;
    let is_enough = granted > 5000 && came_back > 500 && passed_others > 500 && hung_up > 500 && longest >= 60;
    assert!(is_enough, "too little was tested: {total:?}");
}
