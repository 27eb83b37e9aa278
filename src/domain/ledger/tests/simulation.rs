//! Simulates token admission with realistic traffic. Measures how much of a budget is used before the first refusal,
//! and how far it is exceeded.
//!
//! A hundred clients each send one request at a time, as fast as they are answered. A refused client retries after the
//! refusal's wait. Before that, the ledger learns from fifty requests. Answers take as long as those of real models,
//! and streams outgrow what they hold step by step, as in the product. All time is simulated.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use super::*;
use crate::domain::{testing::Random, usage::UsageSource};

const CLIENTS: usize = 100;
const LEARNED_FROM: usize = 50;
const SECOND_NS: u64 = 1_000_000_000;
const LASTS_NS: u64 = 400 * SECOND_NS;
/// The interval between reviews of a stream.
const TICK_NS: u64 = SECOND_NS / 4;

/// A lognormal distribution, like that of real prompts and answers: many short ones and a few long ones.
#[derive(Clone, Copy)]
struct Tokens {
    mean: f64,
    /// The standard deviation divided by the mean.
    spread: f64,
}

const fn tokens(mean: f64, spread: f64) -> Tokens {
    Tokens { mean, spread }
}

/// One kind of traffic.
#[derive(Clone, Copy)]
struct Shape {
    route: Route,
    prompt: Tokens,
    output: Tokens,
    declared: Option<u64>,
    streams: bool,
    tokens_a_second: f64,
    /// Varies between texts.
    bytes_a_token: Tokens,
}

const CHAT: Shape = Shape {
    route: Route::ChatCompletions,
    prompt: tokens(200.0, 0.6),
    output: tokens(300.0, 0.7),
    declared: None,
    streams: true,
    tokens_a_second: 60.0,
    bytes_a_token: tokens(3.7, 0.1),
};
const AGENT: Shape =
    Shape { prompt: tokens(6000.0, 0.6), output: tokens(400.0, 1.0), declared: Some(32_000), streams: false, ..CHAT };
const LONG: Shape = Shape { output: tokens(4000.0, 0.6), tokens_a_second: 80.0, ..CHAT };
const EMBED: Shape =
    Shape { route: Route::Embeddings, prompt: tokens(500.0, 1.0), output: tokens(0.0, 0.0), streams: false, ..CHAT };

impl Tokens {
    fn draw(self, random: &mut Random) -> f64 {
        let Self { mean, spread } = self;
        let variance = (1.0 + spread * spread).ln();
        // A normal distribution by Box and Muller.
        let normal = (-2.0 * random.unit().ln()).sqrt() * (std::f64::consts::TAU * random.unit()).cos();
        mean * (variance.sqrt() * normal - variance / 2.0).exp()
    }
}

/// The actual figures of one request.
struct Job {
    shape: Shape,
    prompt_bytes: u64,
    usage: Usage,
    takes_ns: u64,
}

impl Job {
    fn draw(random: &mut Random, shapes: &[Shape]) -> Self {
        let shape = shapes[(random.unit() * shapes.len() as f64) as usize];
        let input = shape.prompt.draw(random).ceil();
        let output = shape.output.draw(random).round().min(shape.declared.unwrap_or(u64::MAX) as f64);
        let bytes = input * shape.bytes_a_token.draw(random);
        let seconds = 0.2 + output / shape.tokens_a_second;
        Self {
            shape,
            prompt_bytes: bytes as u64,
            usage: billed(input as u64, output as u64),
            takes_ns: (seconds * SECOND_NS as f64) as u64,
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives,
    /// A review of the stream that began at this time.
    Streams(u64),
    Ends,
}

struct Client {
    job: Job,
    running: Option<(Hold, u64)>,
}

struct Simulation {
    ledger: Ledger,
    estimates: Estimates,
    random: Random,
    shapes: Vec<Shape>,
    admission: TokenAdmission,
    limits: Vec<Effective>,
    now: u64,
    clients: Vec<Client>,
    due: BinaryHeap<Reverse<(u64, usize, Event)>>,
}

#[derive(Debug, Default)]
struct Outcome {
    /// The share of the budget that was spent or running at the first refusal, by the final bills.
    used: f64,
    /// The most that was billed in one window of the limit.
    most: f64,
    refused: u64,
}

impl Simulation {
    fn new(seed: u64, shapes: &[Shape], admission: TokenAdmission) -> Self {
        let mut random = Random::new(seed);
        let clients = (0..CLIENTS).map(|_| Client { job: Job::draw(&mut random, shapes), running: None }).collect();
        Self {
            ledger: Ledger::default(),
            estimates: Estimates::default(),
            random,
            shapes: shapes.to_vec(),
            admission,
            limits: Vec::new(),
            now: 0,
            clients,
            due: BinaryHeap::new(),
        }
    }

    fn try_admit(&mut self, job: &Job) -> Result<(Hold, Usage), Box<Refusal>> {
        let ask = Ask {
            route: job.shape.route,
            prompt_bytes: job.prompt_bytes,
            prompt_ids: 0,
            declared_output: job.shape.declared,
            n: 1,
            best_of: None,
            slug: self.estimates.get(SLUG, job.shape.route, job.prompt_bytes),
            admission: self.admission,
            pricing: None,
            units: None,
        };
        let admitted = self.ledger.admit(after_ns(self.now), &account(&[OWN], &self.limits), &ask)?;
        // The upstream generates at most the maximum that it was sent.
        let output = job.usage.output.min(admitted.output_max.unwrap_or(u64::MAX));
        Ok((admitted.hold, Usage { output, ..job.usage }))
    }

    fn charge(&mut self, hold: Hold, usage: Usage) {
        if let Some(sample) = self.ledger.charge(hold, after_ns(self.now), usage, UsageSource::Upstream, None) {
            self.estimates.learn(OWN, &sample);
        }
    }

    fn learn(&mut self) {
        for _ in 0..LEARNED_FROM {
            let job = Job::draw(&mut self.random, &self.shapes);
            let (hold, usage) = self.try_admit(&job).unwrap();
            self.charge(hold, usage);
        }
        self.now += 120 * SECOND_NS;
    }

    fn run(mut self, unit: Unit, threshold: u64) -> Outcome {
        self.learn();
        let before = self.ledger.standing(after_ns(self.now), &account(&[OWN], &[limit(0, Token, unit, 1)]))[0].used;
        let budget = threshold + count(before);
        self.limits = vec![limit(0, Token, unit, budget)];
        let end = self.now + LASTS_NS;
        for client in 0..CLIENTS {
            self.due.push(Reverse((self.now, client, Event::Arrives)));
        }
        let mut outcome = Outcome::default();
        let (mut billed, mut sum) = (VecDeque::new(), 0_u64);
        while let Some(Reverse((now, at, event))) = self.due.pop() {
            self.now = now;
            match event {
                Event::Arrives if now > end => {}
                Event::Arrives => {
                    let job = std::mem::replace(&mut self.clients[at].job, Job::draw(&mut self.random, &self.shapes));
                    match self.try_admit(&job) {
                        Ok((hold, usage)) => {
                            let ends = now + job.takes_ns;
                            if job.shape.streams {
                                self.due.push(Reverse((now + TICK_NS, at, Event::Streams(now))));
                            }
                            self.due.push(Reverse((ends, at, Event::Ends)));
                            self.clients[at] = Client { job: Job { usage, ..job }, running: Some((hold, now)) };
                        }
                        Err(refusal) => {
                            if outcome.refused == 0 {
                                let running = self.clients.iter().filter(|client| client.running.is_some());
                                let will: u64 = running.map(|client| client.job.usage.total()).sum();
                                outcome.used = (count(refusal.used) + will - count(before)) as f64 / threshold as f64;
                            }
                            outcome.refused += 1;
                            self.clients[at].job = job;
                            if let Some(wait) = refusal.retry_after_s().filter(|wait| *wait <= 60) {
                                self.due.push(Reverse((now + wait * SECOND_NS, at, Event::Arrives)));
                            }
                        }
                    }
                }
                Event::Streams(since) => {
                    let Client { job, running } = &mut self.clients[at];
                    if let Some((hold, _)) = running.as_mut().filter(|(_, began)| *began == since) {
                        let seconds = (now - since) as f64 / SECOND_NS as f64;
                        let streamed = (seconds * job.shape.tokens_a_second) as u64;
                        if hold.is_due(streamed) {
                            let slug = self.estimates.output_beyond(SLUG, job.shape.route, streamed);
                            self.ledger.review(hold, streamed, slug);
                        }
                        self.due.push(Reverse((now + TICK_NS, at, Event::Streams(since))));
                    }
                }
                Event::Ends => {
                    let Some((hold, _)) = self.clients[at].running.take() else { continue };
                    let usage = self.clients[at].job.usage;
                    self.charge(hold, usage);
                    billed.push_back((now, usage.total()));
                    sum += usage.total();
                    while unit == Minute && now - billed[0].0 > 60 * SECOND_NS {
                        sum -= billed.pop_front().map_or(0, |(_, tokens)| tokens);
                    }
                    outcome.most = outcome.most.max(sum as f64 / threshold as f64);
                    self.clients[at].job = Job::draw(&mut self.random, &self.shapes);
                    self.due.push(Reverse((now, at, Event::Arrives)));
                }
            }
        }
        outcome
    }
}

/// Runs every seed with a budget of `requests` average requests and returns the worst (share used at the first refusal,
/// most billed in one window).
fn worst(name: &str, shapes: &[Shape], unit: Unit, requests: u32, admission: TokenAdmission) -> (f64, f64) {
    let means = shapes.iter().map(|shape| shape.prompt.mean + shape.output.mean);
    let budget = f64::from(requests) * means.sum::<f64>() / shapes.len() as f64;
    let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
    for seed in 1..=10 {
        let outcome = Simulation::new(seed, shapes, admission).run(unit, budget as u64);
        assert!(outcome.refused > 0, "{name}: the budget was never reached");
        (least, most) = (least.min(outcome.used), most.max(outcome.most));
    }
    eprintln!(
        "{name:8} {unit:?} {admission:?}: {:.1} % used at the first refusal, at most {:.1} %",
        least * 100.0,
        most * 100.0
    );
    (least, most)
}

/// The budget is 500 requests, so a fifth of it is running at any time.
#[test]
fn adaptive_admission_uses_nearly_all_of_the_budget_and_exceeds_it_by_at_most_five_percent() {
    for (name, shape, units) in [
        ("chat", CHAT, &[Minute, Daily][..]),
        ("agents", AGENT, &[Minute, Daily]),
        ("embed", EMBED, &[Minute, Daily]),
        // Each takes most of a minute, so 500 of them never end within one minute.
        ("long", LONG, &[Daily]),
    ] {
        for unit in units {
            let (used, most) = worst(name, &[shape], *unit, 500, TokenAdmission::Adaptive);
            assert!(used >= 0.95, "{name}: refused at {used} of the budget");
            assert!(most <= 1.05, "{name}: {most} of the budget was billed");
        }
    }
}

/// If one customer mixes short and long requests, a request's length cannot be predicted. More is held for each request
/// that has already run for long.
#[test]
fn a_mixture_of_short_and_long_requests_exceeds_the_budget_by_at_most_a_tenth() {
    let mixture = [CHAT, CHAT, CHAT, CHAT, CHAT, CHAT, AGENT, AGENT, LONG];
    let (used, most) = worst("mixture", &mixture, Daily, 1000, TokenAdmission::Adaptive);
    assert!(used >= 0.95 && most <= 1.10, "{used} used, {most} billed");
}

#[test]
fn strict_admission_is_a_hard_cap_when_prompts_are_estimated_right() {
    for (name, shape) in [("chat", CHAT), ("agents", AGENT), ("long", LONG), ("embed", EMBED)] {
        let exactly = Shape { bytes_a_token: tokens(4.0, 0.0), ..shape };
        let (_, most) = worst(name, &[exactly], Daily, 500, TokenAdmission::Strict { strict_output: 4096 });
        assert!(most <= 1.0, "{name}: {most} of the budget was billed");
    }
}
