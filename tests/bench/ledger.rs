//! What the ledger costs a request: admission and settlement, on the lock that one group tree has.
//!
//! `cargo bench --bench ledger`. The goal is 500 ns for admitting and settling on five CASCADING levels of four limits.
//! Counted is what happens under the lock and the taking of it, twice. Not counted are the reading of the clocks, what
//! is known about a slug, and the event's record; finding the limits that a request meets is a case of its own.
//!
//! Time is passed in and goes on with each pair, so that buckets fill and roll out as in a gateway.

#![expect(clippy::unwrap_used, reason = "a benchmark that would be refused must not go on")]

use std::{
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use parking_lot::Mutex;
use tollgate::domain::{
    day::Now,
    estimate::{Ratio, SlugEstimate},
    group::{EffectiveLimits, Enforcement, Group, GroupModel, effective_limits},
    id::{GroupId, SlugId},
    ledger::{Ask, Ledger, TokenAdmission},
    limit::{Limit, LimitType, Threshold, Unit},
    route::Route,
    usage::{Usage, UsageSource},
};

// As in the product: a refusal and a list of standings are allocated.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SLUG: SlugId = SlugId(1);
const USAGE: Usage = Usage { input: 42, output: 57, cached: 0 };
const THREADS: usize = 2;

/// Between two requests of a gateway at its limits. A bucket of SECOND takes 800 of them.
const BUSY: Duration = Duration::from_micros(20);
/// Longer than any bucket: each request finds all windows moved on.
const QUIET: Duration = Duration::from_secs(1);

fn main() {
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    pairs(&mut criterion);
    answers(&mut criterion);
    criterion.final_summary();
}

/// Admitted and settled.
fn pairs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admit and settle");
    for (name, levels, callers, step) in [
        ("1 level x 4 limits", 1, 1, BUSY),
        ("5 levels x 4 limits", 5, 1, BUSY),
        ("5 levels x 4 limits, a second apart", 5, 1, QUIET),
        ("5 levels x 4 limits, 1000 groups in turn", 5, 1000, BUSY),
    ] {
        let tree = Tree::new(levels, callers, Threshold::MAX);
        let mut clock = Clock::new(step);
        let mut callers = tree.callers.iter().cycle();
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| bencher.iter(|| tree.pair(callers.next().unwrap(), clock.tick())));
    }
    for (name, levels) in [("1 level x 4 limits, 2 threads", 1), ("5 levels x 4 limits, 2 threads", 5)] {
        let tree = Tree::new(levels, THREADS, Threshold::MAX);
        let mut clock = Clock::new(BUSY);
        group.throughput(Throughput::Elements(THREADS as u64));
        group.bench_function(name, |bencher| bencher.iter_custom(|pairs| tree.on_threads(&mut clock, pairs)));
    }
}

/// What takes nothing.
fn answers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("5 levels x 4 limits");
    let full = Tree::new(5, 1, 100 * USAGE.total());
    let caller = &full.callers[0];
    let mut clock = Clock::new(BUSY);
    (0..100).for_each(|_| full.pair(caller, clock.tick()));
    let now = clock.now;
    group.bench_function("refusal", |bencher| {
        bencher.iter(|| full.ledger.lock().admit(now, &caller.path, SLUG, &caller.limits, &ask()).unwrap_err());
    });
    group.bench_function("standings and whether it would pass", |bencher| {
        bencher.iter(|| {
            let mut ledger = full.ledger.lock();
            let standings = ledger.standing(now, &caller.path, SLUG, &caller.limits);
            (standings, ledger.would_admit(now, &caller.path, SLUG, &caller.limits, 100))
        });
    });
    group.bench_function("the limits that a request meets, without the lock", |bencher| {
        bencher.iter(|| effective_limits(Enforcement::Cascading, SLUG, black_box(&caller.groups)));
    });
}

/// A chat completion that declares no maximum.
fn ask() -> Ask {
    Ask {
        route: Route::ChatCompletions,
        prompt_bytes: 168,
        prompt_ids: 0,
        declared_output: None,
        n: 1,
        best_of: None,
        slug: SlugEstimate { ratio: Ratio::START, mean_output: 57 },
        admission: TokenAdmission::Adaptive,
    }
}

/// One CASCADING tree; each of its groups has limits on TOKEN and REQUEST for MINUTE and DAY.
struct Tree {
    ledger: Mutex<Ledger>,
    callers: Vec<Caller>,
}

/// A group whose keys call, and what its requests meet.
struct Caller {
    groups: Vec<Group>,
    path: Vec<GroupId>,
    limits: EffectiveLimits,
}

impl Tree {
    /// Callers stand on the lowest of `levels`, ten below one parent and so on up to the one root.
    fn new(levels: usize, callers: usize, threshold: u64) -> Self {
        let caller = |caller: usize| {
            let number = |level: usize| if level + 1 == levels { 0 } else { caller / 10_usize.pow(level as u32) };
            let id = |level: usize| GroupId(((level as u128 + 1) << 64) + number(level) as u128);
            let parent = |level: usize| (level + 1 < levels).then(|| id(level + 1));
            let groups: Vec<_> = (0..levels).map(|level| group(id(level), parent(level), threshold)).collect();
            let path = groups.iter().map(|group| group.id).collect();
            Caller { limits: effective_limits(Enforcement::Cascading, SLUG, &groups), path, groups }
        };
        // On one level there is one group, whoever calls.
        Self { ledger: Mutex::default(), callers: (0..callers).map(caller).collect() }
    }

    fn pair(&self, caller: &Caller, now: Now) {
        let admitted = self.ledger.lock().admit(now, &caller.path, SLUG, &caller.limits, &black_box(ask()));
        let hold = black_box(admitted).unwrap().hold;
        black_box(self.ledger.lock().settle(hold, now, USAGE, UsageSource::Upstream));
    }

    /// From when all threads are there until each has made `pairs` of a caller of its own: so per pair it is the wall
    /// time of one thread's pair, in which the tree makes two. They do nothing else, as no gateway's threads do.
    fn on_threads(&self, clock: &mut Clock, pairs: u64) -> Duration {
        let began = clock.pass(pairs);
        let begin = Barrier::new(THREADS);
        let run = |caller| {
            let mut clock = began;
            begin.wait();
            let begun = Instant::now();
            (0..pairs).for_each(|_| self.pair(caller, clock.tick()));
            begun.elapsed()
        };
        thread::scope(|scope| {
            let running: Vec<_> = self.callers.iter().map(|caller| scope.spawn(|| run(caller))).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
        })
    }
}

fn group(id: GroupId, parent: Option<GroupId>, threshold: u64) -> Group {
    let threshold = Threshold::new(threshold).unwrap();
    let limits = [LimitType::Token, LimitType::Request]
        .into_iter()
        .flat_map(|limit_type| [Unit::Minute, Unit::Day].map(|unit| Limit { limit_type, unit, threshold }));
    Group {
        id,
        external_entity_id: id.to_string(),
        name: None,
        models: vec![GroupModel { slug: SLUG, limits: limits.collect() }],
        enforcement: Enforcement::Cascading,
        parent,
        created_at_ms: 0,
        disabled: false,
    }
}

/// Both clocks, going on by the same step with each reading.
#[derive(Clone, Copy)]
struct Clock {
    now: Now,
    step_ns: u64,
}

impl Clock {
    const START_MS: u64 = 1_795_428_000_000;

    fn new(step: Duration) -> Self {
        Self { now: Now { unix_ms: Self::START_MS, ..Now::default() }, step_ns: step.as_nanos() as u64 }
    }

    fn tick(&mut self) -> Now {
        self.pass(1);
        self.now
    }

    /// Goes on by so many ticks; gives the clock as it was.
    fn pass(&mut self, ticks: u64) -> Self {
        let before = *self;
        self.now.monotonic_ns += self.step_ns * ticks;
        self.now.unix_ms = Self::START_MS + self.now.monotonic_ns / 1_000_000;
        before
    }
}
