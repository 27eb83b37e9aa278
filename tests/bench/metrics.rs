//! Measures the cost of metrics: of counting a request, and of a scrape.
//!
//! Run it with `cargo bench --bench metrics`. The goals are 200 ns for all that is counted of a request, including
//! reading the clock, and 5 ms for a scrape with 1,000 models.

#![expect(clippy::unwrap_used, reason = "the benchmark must stop if the gateway does not start")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use tollgate::{
    config::Config,
    domain::{
        endpoint::{Endpoint, Provider, Region, Routing, Target},
        id::{EndpointId, GroupId, SlugId},
        money::{Cost, Currency},
        record::Row,
        route::Route,
        usage::Usage,
    },
    service::{
        Booted, boot,
        metrics::{Billed, Format, Metrics, Outcome, Overhead, RequestMetrics, WorkerMetrics, scrape},
    },
};

// The allocator of the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: Usage = Usage { input: 42, output: 57, cached: 0, cache_write: 0 };
const ROUTE: Route = Route::ChatCompletions;
const MODELS: u64 = 1000;

fn main() {
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    requests(&mut criterion);
    scrapes(&mut criterion);
    criterion.final_summary();
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("count a request");
    group.throughput(Throughput::Elements(1));
    for (name, has_groups, models) in
        [("1 model", false, 1), ("1000 models in turn", false, MODELS), ("1 model, with groups", true, 1)]
    {
        let metrics = Metrics::new(has_groups);
        let worker = WorkerMetrics::start(&metrics);
        let mut endpoints = (0..models).map(|model| EndpointId(model.into())).cycle();
        let at = Instant::now();
        group.bench_function(name, |bencher| bencher.iter(|| count(&worker, endpoints.next().unwrap(), at)));
    }
    // The part of it that is spent on the clock, which is read up to three times for metrics alone.
    group.bench_function("read the clock once", |bencher| bencher.iter(Instant::now));
}

/// Counts everything about one request that is answered and billed. The gateway reads the clock for `at` and for the
/// time of the attempt anyway.
fn count(worker: &WorkerMetrics, endpoint: EndpointId, at: Instant) {
    let request = RequestMetrics::begin(worker, Some(ROUTE.path()), at);
    request.set_group(GroupId(1));
    let metrics = request.set_model(endpoint).clone();
    metrics.admitted();
    // The attempt.
    metrics.attempted(0, Outcome::Answered);
    let waited = at.elapsed();
    // Settlement and the end.
    let cost = Some(Cost { currency: Currency::parse("EUR").unwrap(), amount: 123_456_789 });
    metrics.billed(&Billed { route: ROUTE, group: GroupId(1), day: 1, ttft_ms: Some(95), usage: &USAGE, cost });
    metrics.ended(Duration::ZERO);
    Overhead { metrics, route: ROUTE, at, waited }.record();
    request.set_status(black_box(200));
}

fn scrapes(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { data_dir: directory.path().join("data"), ..Config::default() };
    let booted = boot(config, None).unwrap();
    let gateway = &booted.gateway;
    let mut catalog = (**gateway.core.catalog.load()).clone();
    for model in 1..=MODELS {
        catalog.apply(Row::Slug(SlugId(model), format!("acme/model-{model}")), gateway.core.moment());
        catalog.apply(Row::Endpoint(endpoint(model)), gateway.core.moment());
    }
    gateway.core.catalog.store(catalog.into());
    let workers = [WorkerMetrics::start(&gateway.metrics), WorkerMetrics::start(&gateway.metrics)];
    for model in 1..=MODELS {
        workers.iter().for_each(|worker| count(worker, EndpointId(model.into()), Instant::now()));
    }
    let mut group = criterion.benchmark_group("scrape 1000 models, 2 workers");
    for (name, format) in [("Prometheus", Format::Prometheus), ("OpenMetrics", Format::OpenMetrics)] {
        group.throughput(Throughput::Bytes(scrape(gateway, format).len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| scrape(gateway, format)));
    }
    group.finish();
    Booted::close(booted);
}

fn endpoint(model: u64) -> Endpoint {
    let target = Target {
        provider: Provider::Demo,
        base_url: None,
        target_model: None,
        secret: None,
        model_id: None,
        environment_name: None,
        weight: 1,
        max_concurrent: None,
    };
    Endpoint {
        id: EndpointId(model.into()),
        slug: SlugId(model),
        region: Region::Unrestricted,
        targets: vec![target],
        pricing: None,
        routing: Routing::Priority,
        queue_timeout_s: 0,
        created_at_ms: 1,
        updated_at_ms: 1,
    }
}
