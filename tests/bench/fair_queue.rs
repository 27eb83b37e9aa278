//! Measures the queue of waiting requests: an enqueue, a dequeue and a hang-up while many others wait.
//!
//! Run it with `cargo bench --bench fair_queue`. The goal is 1 µs for each, with 10,000 requests that wait on five levels
//! of groups. The time includes the creation and removal of a group's nodes when the first of its requests begins to
//! wait and the last one ends. It does not include the lock of the queue.

#![expect(clippy::print_stdout, reason = "the result")]

use std::time::{Duration, Instant};

use tollgate::domain::{
    fair_queue::{FairQueue, Place},
    group::MAX_LEVELS,
    id::GroupId,
    routing::TargetSet,
};

// The allocator of the product: nodes are allocated and freed all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Operations between two readings of the clock, so that reading it does not count.
const BATCH: usize = 10;
const BATCHES: usize = 20_000;

type Path = [GroupId; MAX_LEVELS];

fn main() {
    println!("{:54} {:>8} {:>10} {:>10} {:>10}", "median ns", "waiting", "enqueue", "dequeue", "hang-up");
    for (name, groups, path) in [
        ("1 group", 1, path_of_tree as fn(u128) -> Path),
        ("1000 groups in a tree of 10 x 10 x 10", 1000, path_of_tree),
        ("1000 groups with ancestors of their own", 1000, |group| path([group; MAX_LEVELS])),
    ] {
        let paths: Vec<Path> = (0..groups).map(path).collect();
        for sets in [1, 4] {
            for waiting in [10, 1000, 10_000] {
                let [enqueue, dequeue, hang_up] = Bench::new(&paths, sets, waiting).run();
                let name = format!("{name}, tried sets: {sets}");
                println!("{name:54} {waiting:8} {enqueue:10.0} {dequeue:10.0} {hang_up:10.0}");
            }
        }
    }
}

/// The lowest three levels have ten children for each parent.
fn path_of_tree(group: u128) -> Path {
    path([0, 0, group / 100, group / 10, group])
}

/// Ids that look like ULIDs.
fn path(groups: [u128; MAX_LEVELS]) -> Path {
    let mut level = 0;
    groups.map(|group| {
        level += 1;
        GroupId(0x0190_0000 << 96 | level << 32 | group)
    })
}

struct Bench<'a> {
    paths: &'a [Path],
    sets: u64,
    queue: FairQueue<u64>,
    arrivals: u64,
    random: u64,
}

impl<'a> Bench<'a> {
    /// A queue in which so many requests of random groups wait, with one of `sets` sets of tried targets each.
    fn new(paths: &'a [Path], sets: u64, waiting: usize) -> Self {
        let mut bench = Self { paths, sets, queue: FairQueue::default(), arrivals: 0, random: 1 };
        for _ in 0..waiting {
            let (path, tried) = bench.request();
            bench.push(path, tried);
        }
        bench
    }

    /// The median times of an enqueue, a dequeue and a hang-up, in nanoseconds. The length of the queue stays the same.
    fn run(mut self) -> [f64; 3] {
        let [mut enqueues, mut dequeues, mut hang_ups] = [const { Vec::new() }; 3];
        for batch in 0..BATCHES {
            let requests: [_; BATCH] = std::array::from_fn(|_| self.request());
            let start = Instant::now();
            let places = requests.map(|(path, tried)| self.push(path, tried));
            enqueues.push(start.elapsed());
            let start = Instant::now();
            if batch % 2 == 0 {
                let popped = (0..BATCH).filter(|_| self.queue.pop(|_| true).is_some()).count();
                dequeues.push(start.elapsed());
                assert_eq!(popped, BATCH);
            } else {
                let removed = places.iter().filter(|place| self.queue.remove(place).is_some()).count();
                hang_ups.push(start.elapsed());
                assert_eq!(removed, BATCH);
            }
        }
        [enqueues, dequeues, hang_ups].map(median_ns)
    }

    fn push(&mut self, path: &Path, tried: TargetSet) -> Place {
        self.arrivals += 1;
        self.queue.push(path, self.arrivals, tried, self.arrivals)
    }

    fn request(&mut self) -> (&'a Path, TargetSet) {
        let mut tried = TargetSet::EMPTY;
        (0..self.below(self.sets)).for_each(|target| tried.insert(target as usize));
        (&self.paths[self.below(self.paths.len() as u64) as usize], tried)
    }

    /// xorshift.
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % bound
    }
}

fn median_ns(mut batches: Vec<Duration>) -> f64 {
    batches.sort_unstable();
    batches[batches.len() / 2].as_nanos() as f64 / BATCH as f64
}
