//! Creates a data directory with groups, keys, and any number of billing events over two days.
//!
//! Run it as `journal --data-dir DIR --events 5000000`. The directory must be new. A gateway on the directory first
//! creates customers and keys, as it does for an operator. Then the journal is rewritten by the product's own writer
//! with a simulated clock, so that the gateway's records come first and the events follow them. The directory has no
//! store; a gateway that is started on it builds the store.
//!
//! The events are spread evenly over the last 48 full hours, except for one hour in the middle that has none, and
//! randomly over the keys. Every run makes the same choice. The result is written to standard output as JSON: the
//! times, the hour without events, and the number of events of each key.

use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use serde_json::json;
use tollgate::{
    config::Config,
    domain::{
        budget::Budgets,
        endpoint::{Provider, Region, Routing, Target},
        group::{Enforcement, GroupModel, GroupModels},
        id::{GroupId, SlugId},
        money::{Currency, Price},
        pricing::{Pricing, TokenPrices},
        record::{Actor, Record},
        route::Route,
        settled::Settled,
        slug::Slug,
        usage::{Usage, UsageSource},
        webhook::WebhookTypes,
    },
    journal::{Durability, Journal, NextSegment, codec, system_clock},
    service::{
        Gateway, boot,
        changes::{endpoints::NewEndpoint, groups::NewGroup, webhooks::NewWebhook},
    },
};

const HOUR_MS: u64 = 60 * 60 * 1000;
const HOURS: u64 = 48;
const QUIET_HOUR: u64 = 24;
const PLANS: usize = 5;
const CUSTOMERS: usize = 50;
const KEYS_EACH: usize = 4;
/// Events appended between two waits for the writer.
const BATCH: u64 = 500;
/// Longest wait for the writer.
const TIMEOUT: Duration = Duration::from_secs(60);

type Failure = Box<dyn Error>;

#[derive(Parser)]
#[command(about = "Creates a data directory with billing events for Tollgate's benchmarks")]
struct Options {
    /// The directory to create. It must not have a journal yet.
    #[arg(long)]
    data_dir: PathBuf,
    /// The number of events.
    #[arg(long, default_value_t = 5_000_000)]
    events: u64,
    /// The URL of a webhook to create before the events, disabled.
    #[arg(long)]
    webhook: Option<String>,
}

fn main() -> Result<(), Failure> {
    let Options { data_dir, events, webhook } = Options::parse();
    let directory = data_dir.join("journal");
    if directory.exists() {
        return Err(format!("{} already exists", directory.display()).into());
    }
    let cast = Cast::install(&data_dir, webhook)?;
    let changes = changes(&directory)?;
    fs::remove_dir_all(&directory)?;
    fs::remove_dir_all(data_dir.join("store"))?;

    let end_ms = system_clock() / HOUR_MS * HOUR_MS;
    let start_ms = end_ms - HOURS * HOUR_MS;
    CLOCK.store(start_ms, Ordering::Relaxed);
    let (journal, _) = Journal::open_with_clock(&directory, Durability::Process, || CLOCK.load(Ordering::Relaxed))?;
    for change in changes {
        journal.append(&change)?;
    }
    let events_of = cast.call(&journal, start_ms, events)?;
    let bytes = journal.stats().log_bytes;
    if !journal.close(TIMEOUT) {
        return Err("the journal could not be written".into());
    }
    let keys: Vec<_> = cast.callers.iter().zip(events_of).map(|(caller, events)| caller.shown(events)).collect();
    let made = json!({
        "start_ms": start_ms, "end_ms": end_ms, "quiet_hour": QUIET_HOUR, "hours": HOURS, "events": events, "bytes": bytes,
        "keys": keys, "webhook": cast.webhook,
    });
    Ok(writeln!(io::stdout(), "{made}")?)
}

/// The time of the journal's clock, in Unix milliseconds.
static CLOCK: AtomicU64 = AtomicU64::new(0);

/// Returns the bodies of the records that the gateway has written.
fn changes(directory: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let (journal, _) = Journal::open(directory, Durability::Process)?;
    let (mut reader, mut bodies) = (journal.reader(0), Vec::new());
    while let Some(frame) = reader.next()? {
        bodies.push(frame.body.to_vec());
    }
    Ok(bodies)
}

/// The keys that call, and the models that they call.
struct Cast {
    callers: Vec<Caller>,
    models: Vec<Model>,
    /// The id of the webhook.
    webhook: Option<String>,
}

/// A key, with the fields that its events have.
struct Caller {
    prefix: String,
    external_entity_id: String,
    counted_for: Vec<GroupId>,
}

struct Model {
    slug: &'static str,
    id: SlugId,
    pricing: Option<Pricing>,
}

impl Caller {
    fn shown(&self, events: u64) -> serde_json::Value {
        json!({"prefix": self.prefix, "external_entity_id": self.external_entity_id, "events": events})
    }
}

impl Cast {
    fn install(data_dir: &Path, webhook: Option<String>) -> Result<Self, Failure> {
        let booted = boot(Config { data_dir: data_dir.to_owned(), ..Config::default() }, None)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let set_up = Self::set_up(&booted.gateway, webhook);
        let cast = tokio::task::LocalSet::new().block_on(&runtime, set_up);
        booted.close();
        cast
    }

    /// Creates plans, customers below them, and the customers' keys.
    async fn set_up(gateway: &Arc<Gateway>, webhook: Option<String>) -> Result<Self, Failure> {
        let mut models = Vec::new();
        for (slug, price) in [("acme/large", Some(["2.50", "10", "0.25"])), ("acme/small", None), ("acme/mini", None)] {
            let pricing = price.map(pricing).transpose()?;
            let new = NewEndpoint {
                slug: parse_slug(slug)?,
                region: Region::Unrestricted,
                targets: vec![target()],
                pricing,
                routing: Routing::Priority,
                queue_timeout_s: 0,
            };
            let endpoint = gateway.changes.create_endpoint(Actor::system(), new).await.map_err(refused)?;
            models.push(Model { slug, id: endpoint.slug, pricing });
        }
        let mut plans = Vec::new();
        for plan in 0..PLANS {
            let plan =
                gateway.changes.create_group(Actor::system(), group(format!("plan-{plan}"), &models, None)?).await;
            plans.push(plan.map_err(refused)?.id);
        }
        let mut callers = Vec::new();
        for customer in 0..CUSTOMERS {
            let (name, plan) = (format!("customer-{customer}"), plans[customer % PLANS]);
            let customer =
                gateway.changes.create_group(Actor::system(), group(name.clone(), &models, Some(plan))?).await;
            let customer = customer.map_err(refused)?.id;
            for _ in 0..KEYS_EACH {
                let minted = gateway.changes.mint_key(Actor::system(), customer, None, None).await.map_err(refused)?;
                let counted_for = vec![customer, plan];
                callers.push(Caller { prefix: minted.prefix, external_entity_id: name.clone(), counted_for });
            }
        }
        let webhook = match webhook {
            Some(url) => {
                let new = NewWebhook { url, description: None, enabled: false, types: WebhookTypes::default() };
                let made = gateway.changes.create_webhook(Actor::system(), new).await.map_err(refused)?;
                Some(made.view.webhook.id.to_string())
            }
            None => None,
        };
        Ok(Self { callers, models, webhook })
    }

    /// Appends the events. Returns the number of events of each caller.
    fn call(&self, journal: &Journal, start_ms: u64, events: u64) -> Result<Vec<u64>, Failure> {
        let busy_ms = (HOURS - 1) * HOUR_MS;
        let mut random = Random(7);
        let mut events_of = vec![0; self.callers.len()];
        let mut body = Vec::new();
        for event in 0..events {
            let after_ms = (u128::from(event) * u128::from(busy_ms) / u128::from(events)) as u64;
            let quiet_ms = if after_ms < QUIET_HOUR * HOUR_MS { 0 } else { HOUR_MS };
            CLOCK.store(start_ms + after_ms + quiet_ms, Ordering::Relaxed);
            let caller = random.below(self.callers.len() as u64) as usize;
            events_of[caller] += 1;
            body.clear();
            self.settled(&mut random, caller, |record| codec::encode(record, &mut body))?;
            let appended = journal.append(&body)?;
            if event % BATCH == 0 {
                keep_pace(journal, appended.seq)?;
            }
        }
        Ok(events_of)
    }

    /// Passes a random event of `caller` to `encode`. A third of the events have metadata, two thirds are of streams,
    /// and a quarter have a partly cached prompt.
    fn settled<T>(&self, random: &mut Random, caller: usize, encode: impl FnOnce(&Record<'_>) -> T) -> T {
        let Caller { prefix, external_entity_id, counted_for } = &self.callers[caller];
        let model = &self.models[random.below(self.models.len() as u64) as usize];
        let metadata = (random.below(3) == 0)
            .then(|| format!(r#"{{"user": "user-{}", "team": "search"}}"#, random.below(100_000)));
        let input = 20 + random.below(3000);
        let cached = if random.below(4) == 0 { random.below(input) } else { 0 };
        let usage = Usage { input, output: 1 + random.below(800), cached, cache_write: 0 };
        let streamed = random.below(3) > 0;
        let duration_ms = 50 + 12 * usage.output;
        encode(&Record::Settled(Settled {
            key_random: random.id() >> 48,
            request_id: random.id(),
            metadata: metadata.as_deref(),
            model_slug: model.slug,
            slug: model.id,
            external_entity_id,
            counted_for: counted_for.clone(),
            api_key_prefix: prefix,
            usage,
            usage_source: UsageSource::Upstream,
            route: Route::ChatCompletions,
            streamed,
            status: 200,
            duration_ms,
            ttft_ms: Some(if streamed { 50 + random.below(200) } else { duration_ms }),
            choices: 1,
            prompt_bytes: input * 4,
            cost: model.pricing.map(|pricing| pricing.cost(&usage, None)),
            target: Some(0),
            queue_ms: 0,
            units: None,
        }))
    }
}

/// Waits until everything is written, and for the next segment if it is being prepared. Otherwise the journal would use
/// small segments, because it is filled faster here than by any gateway.
fn keep_pace(journal: &Journal, seq: u64) -> Result<(), Failure> {
    let started = Instant::now();
    while !journal.durable_blocking(seq, TIMEOUT) || journal.stats().next_segment == NextSegment::Preparing {
        if started.elapsed() > TIMEOUT {
            return Err("the journal is not being written".into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn target() -> Target {
    Target {
        provider: Provider::Demo,
        base_url: None,
        target_model: None,
        secret: None,
        model_id: None,
        environment_name: None,
        weight: 1,
        max_concurrent: None,
    }
}

fn pricing([input, output, cached]: [&str; 3]) -> Result<Pricing, Failure> {
    let price = |text| Price::parse(text).map_err(|invalid| invalid.to_string());
    let currency = Currency::parse("EUR").ok_or("no currency")?;
    let cached = Some(price(cached)?);
    Ok(Pricing::of_tokens(
        currency,
        TokenPrices { input: price(input)?, output: price(output)?, cached, cache_write: None },
    ))
}

fn parse_slug(slug: &str) -> Result<Slug, Failure> {
    Ok(Slug::parse(slug).map_err(|invalid| invalid.to_string())?)
}

fn group(external_entity_id: String, models: &[Model], parent: Option<GroupId>) -> Result<NewGroup, Failure> {
    let model = |model: &Model| Ok(GroupModel { slug: parse_slug(model.slug)?, limits: Vec::new() });
    let models = models.iter().map(model).collect::<Result<_, Failure>>()?;
    Ok(NewGroup {
        external_entity_id,
        name: None,
        models: GroupModels::of_new_group(models).map_err(|invalid| format!("{invalid:?}"))?,
        budgets: Budgets::default(),
        enforcement: parent.is_none().then_some(Enforcement::Cascading),
        parent,
    })
}

fn refused(error: tollgate::service::error::Error) -> Failure {
    format!("{error:?}").into()
}

/// A random number generator (splitmix64). Every run produces the same numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn id(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}
