//! Measures the cost of the ledger for a request: admission and settlement, including the lock of the group tree.
//!
//! Run it with `cargo bench --bench ledger`. The goal is 400 ns for admission and settlement on five CASCADING levels
//! of four limits, two budgets and a limit on running requests. The time includes taking the lock twice and the work
//! under it. It does not include reading the clocks, looking up the estimates of a slug, and writing the event's record.
//! Finding the limits that apply to a request is measured separately.
//!
//! Each pair of admission and settlement advances a simulated clock, so that buckets fill and roll out as in a gateway.

#![expect(clippy::unwrap_used, reason = "the benchmark must stop if a request is refused")]

use std::{
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use parking_lot::Mutex;
use tollgate::domain::{
    budget::{Budget, BudgetUnit, Budgets},
    calendar::Calendar,
    day::Now,
    estimate::{Ratio, SlugEstimate},
    group::{Enforcement, Group, GroupModel, GroupModels},
    id::{GroupId, SlugId},
    ledger::{Account, Ask, Ledger, Moment, TokenAdmission},
    limit::{Limit, LimitType, Threshold, Unit},
    money::{Amount, Cost, Currency, Price},
    pricing::{Pricing, TokenPrices},
    route::Route,
    usage::{Usage, UsageSource},
};

// The allocator of the product: a refusal and a list of standings allocate memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SLUG: SlugId = SlugId(1);
const USAGE: Usage = Usage { input: 42, output: 57, cached: 0, cache_write: 0 };
const THREADS: usize = 2;

/// Time between two requests of a fully loaded gateway. A bucket of SECOND takes 800 of them.
const BUSY: Duration = Duration::from_micros(20);
/// Time between two requests that is longer than any bucket, so that each request has to advance all windows.
const QUIET: Duration = Duration::from_secs(1);

fn main() {
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    pairs(&mut criterion);
    answers(&mut criterion);
    criterion.final_summary();
}

/// Measures pairs of admission and settlement.
fn pairs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admit and settle");
    let all = "5 levels x 4 limits, 2 budgets and running requests";
    for (name, levels, callers, step, rules) in [
        ("1 level x 4 limits", 1, 1, BUSY, Rules::Limits),
        ("5 levels x 4 limits", 5, 1, BUSY, Rules::Limits),
        ("5 levels x 4 limits, a second apart", 5, 1, QUIET, Rules::Limits),
        ("5 levels x 4 limits, 1000 groups in turn", 5, 1000, BUSY, Rules::Limits),
        (all, 5, 1, BUSY, Rules::All),
        (&format!("{all}, a second apart"), 5, 1, QUIET, Rules::All),
        (&format!("{all}, 1000 groups in turn"), 5, 1000, BUSY, Rules::All),
    ] {
        let tree = Tree::new(levels, callers, Threshold::MAX, rules);
        let mut clock = Clock::new(step);
        let mut callers = tree.callers.iter().cycle();
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| bencher.iter(|| tree.pair(callers.next().unwrap(), clock.tick())));
    }
    for (name, levels) in [("1 level x 4 limits, 2 threads", 1), ("5 levels x 4 limits, 2 threads", 5)] {
        let tree = Tree::new(levels, THREADS, Threshold::MAX, Rules::Limits);
        let mut clock = Clock::new(BUSY);
        group.throughput(Throughput::Elements(THREADS as u64));
        group.bench_function(name, |bencher| bencher.iter_custom(|pairs| tree.on_threads(&mut clock, pairs)));
    }
}

/// Measures calls that take nothing from a limit.
fn answers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("5 levels x 4 limits");
    let full = Tree::new(5, 1, 100 * USAGE.total(), Rules::Limits);
    let caller = &full.callers[0];
    let mut clock = Clock::new(BUSY);
    (0..100).for_each(|_| full.pair(caller, clock.tick()));
    let moment = clock.moment;
    group.bench_function("refusal", |bencher| {
        bencher.iter(|| full.ledger.lock().admit(moment, &caller.account, &ask()).unwrap_err());
    });
    group.bench_function("standings and whether it would pass", |bencher| {
        bencher.iter(|| {
            let mut ledger = full.ledger.lock();
            let standings = ledger.standing(moment, &caller.account);
            (standings, ledger.would_admit(moment, &caller.account, 100, None))
        });
    });
    group.bench_function("find the limits that apply, without the lock", |bencher| {
        bencher.iter(|| Account::new(SLUG, black_box(&caller.groups)));
    });
}

/// A chat completion that declares no maximum.
fn ask() -> Ask<'static> {
    Ask {
        route: Route::ChatCompletions,
        prompt_bytes: 168,
        prompt_ids: 0,
        declared_output: None,
        n: 1,
        best_of: None,
        slug: SlugEstimate { ratio: Ratio::START, mean_output: 57 },
        admission: TokenAdmission::Adaptive,
        pricing: None,
        units: None,
    }
}

/// The rules of each group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rules {
    /// Limits on TOKEN and REQUEST for MINUTE and DAY. The model has no price.
    Limits,
    /// The same limits, a limit on running requests, and budgets for MONTH and TOTAL. The model has prices.
    All,
}

/// A CASCADING tree.
struct Tree {
    ledger: Mutex<Ledger>,
    pricing: Option<Pricing>,
    callers: Vec<Caller>,
}

/// A group whose keys make requests: its lineage and its account.
struct Caller {
    groups: Vec<Group>,
    account: Account,
}

impl Tree {
    /// Creates a tree with the callers on the lowest of `levels`. Ten callers share a parent, ten parents share one of
    /// their own, and so on up to the single root.
    fn new(levels: usize, callers: usize, threshold: u64, rules: Rules) -> Self {
        let caller = |caller: usize| {
            let number = |level: usize| if level + 1 == levels { 0 } else { caller / 10_usize.pow(level as u32) };
            let id = |level: usize| GroupId(((level as u128 + 1) << 64) + number(level) as u128);
            let parent = |level: usize| (level + 1 < levels).then(|| id(level + 1));
            let groups: Vec<_> = (0..levels).map(|level| group(id(level), parent(level), threshold, rules)).collect();
            Caller { account: Account::new(SLUG, &groups), groups }
        };
        // With one level, all callers are the same group.
        let pricing = (rules == Rules::All).then(pricing);
        Self { ledger: Mutex::default(), pricing, callers: (0..callers).map(caller).collect() }
    }

    fn pair(&self, caller: &Caller, moment: Moment) {
        let ask = Ask { pricing: self.pricing.as_ref(), ..ask() };
        let admitted = self.ledger.lock().admit(moment, &caller.account, &black_box(ask));
        let hold = black_box(admitted).unwrap().hold;
        let cost = self.pricing.as_ref().map(|pricing| Cost { currency: pricing.currency, amount: 700_000_000 });
        black_box(self.ledger.lock().charge(hold, moment, USAGE, UsageSource::Upstream, cost));
    }

    /// Returns the time from the moment when all threads are ready until each has made `pairs` pairs with its own
    /// caller. Per pair, this is the wall time of a pair of one thread, in which the tree makes one for each thread.
    /// The threads do nothing else, unlike those of a gateway.
    fn on_threads(&self, clock: &mut Clock, pairs: u64) -> Duration {
        let start_clock = clock.pass(pairs);
        let ready = Barrier::new(THREADS);
        let run = |caller| {
            let mut clock = start_clock;
            ready.wait();
            let started = Instant::now();
            (0..pairs).for_each(|_| self.pair(caller, clock.tick()));
            started.elapsed()
        };
        thread::scope(|scope| {
            let running: Vec<_> = self.callers.iter().map(|caller| scope.spawn(|| run(caller))).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
        })
    }
}

fn pricing() -> Pricing {
    let price = |text| Price::parse(text).unwrap();
    let tokens =
        TokenPrices { input: price("2.5"), output: price("10"), cached: Some(price("0.25")), cache_write: None };
    Pricing::of_tokens(Currency::parse("EUR").unwrap(), tokens)
}

fn group(id: GroupId, parent: Option<GroupId>, threshold: u64, rules: Rules) -> Group {
    let threshold = Threshold::new(threshold).unwrap();
    let limits = [LimitType::Token, LimitType::Request]
        .into_iter()
        .flat_map(|limit_type| [Unit::Minute, Unit::Day].map(|unit| Limit { limit_type, unit, threshold }));
    let running = Limit { limit_type: LimitType::Request, unit: Unit::Concurrent, threshold };
    let limits = limits.chain((rules == Rules::All).then_some(running));
    let budget = |unit| Budget {
        unit,
        currency: Currency::parse("EUR").unwrap(),
        amount: Amount::parse("999999999999").unwrap(),
    };
    let budgets = match rules {
        Rules::Limits => Vec::new(),
        Rules::All => vec![budget(BudgetUnit::Month), budget(BudgetUnit::Total)],
    };
    Group {
        id,
        external_entity_id: id.to_string(),
        name: None,
        models: GroupModels::new(vec![GroupModel { slug: SLUG, limits: limits.collect() }]).unwrap(),
        enforcement: Enforcement::Cascading,
        parent,
        created_at_ms: 0,
        disabled: false,
        budgets: Budgets::new(budgets).unwrap(),
    }
}

/// Simulated wall and monotonic clocks. Each reading advances both by the same step. The calendar windows are those of
/// the first reading, as for a gateway, which computes them once a day.
#[derive(Clone, Copy)]
struct Clock {
    moment: Moment,
    step_ns: u64,
}

impl Clock {
    const START_MS: u64 = 1_795_428_000_000;

    fn new(step: Duration) -> Self {
        let now = Now { unix_ms: Self::START_MS, ..Now::default() };
        let moment = Moment { now, windows: Calendar::default().windows(now.unix_ms) };
        Self { moment, step_ns: step.as_nanos() as u64 }
    }

    fn tick(&mut self) -> Moment {
        self.pass(1);
        self.moment
    }

    /// Advances the clock by `ticks` and returns it as it was before.
    fn pass(&mut self, ticks: u64) -> Self {
        let before = *self;
        let now = &mut self.moment.now;
        now.monotonic_ns += self.step_ns * ticks;
        now.unix_ms = Self::START_MS + now.monotonic_ns / 1_000_000;
        before
    }
}
