//! The first forms of billed requests, dead letters, endpoints, groups and webhooks. They are only read.

use serde::Deserialize;

use crate::domain::{
    budget::Budgets,
    endpoint::{Endpoint, Provider, Region, Routing, Target},
    group::{Enforcement, Group, GroupModels},
    id::{DeadLetterId, EndpointId, GroupId, SecretId, SlugId, WebhookId},
    money::{Cost, Currency, Price},
    pricing::{Pricing, TokenPrices},
    route::Route,
    settled::Settled,
    usage::{Usage, UsageSource},
    webhook::{DatedEvent, DeadLetter, DeliveryFailure, ReplacedSecret, Webhook, WebhookTypes},
};

/// [`Usage`] before tokens written to the cache were reported apart.
#[derive(Deserialize)]
struct UsageV1 {
    input: u64,
    output: u64,
    cached: u64,
}

/// [`Settled`] before it had `target`, `queue_ms` and `units`.
#[derive(Deserialize)]
pub(super) struct SettledV1<'a> {
    key_random: u128,
    request_id: u128,
    metadata: Option<&'a str>,
    model_slug: &'a str,
    slug: SlugId,
    external_entity_id: &'a str,
    counted_for: Vec<GroupId>,
    api_key_prefix: &'a str,
    usage: UsageV1,
    usage_source: UsageSource,
    route: Route,
    streamed: bool,
    status: u16,
    duration_ms: u64,
    ttft_ms: Option<u64>,
    choices: u64,
    prompt_bytes: u64,
    cost: Option<Cost>,
}

impl<'a> From<SettledV1<'a>> for Settled<'a> {
    fn from(v1: SettledV1<'a>) -> Self {
        let UsageV1 { input, output, cached } = v1.usage;
        Self {
            key_random: v1.key_random,
            request_id: v1.request_id,
            metadata: v1.metadata,
            model_slug: v1.model_slug,
            slug: v1.slug,
            external_entity_id: v1.external_entity_id,
            counted_for: v1.counted_for,
            api_key_prefix: v1.api_key_prefix,
            usage: Usage { input, output, cached, cache_write: 0 },
            usage_source: v1.usage_source,
            route: v1.route,
            streamed: v1.streamed,
            status: v1.status,
            duration_ms: v1.duration_ms,
            ttft_ms: v1.ttft_ms,
            choices: v1.choices,
            prompt_bytes: v1.prompt_bytes,
            cost: v1.cost,
            target: None,
            queue_ms: 0,
            units: None,
        }
    }
}

/// [`DatedEvent`] with the earlier form of its billed request.
#[derive(Deserialize)]
pub struct DatedEventV1<'a> {
    at_ms: u64,
    #[serde(borrow)]
    settled: SettledV1<'a>,
}

impl<'a> From<DatedEventV1<'a>> for DatedEvent<'a> {
    fn from(DatedEventV1 { at_ms, settled }: DatedEventV1<'a>) -> Self {
        Self { at_ms, settled: settled.into() }
    }
}

/// [`DeadLetter`] with the earlier form of its events.
#[derive(Deserialize)]
pub(super) struct DeadLetterV1<'a> {
    webhook: WebhookId,
    id: DeadLetterId,
    through: u64,
    failure: DeliveryFailure,
    #[serde(borrow)]
    events: Vec<DatedEventV1<'a>>,
}

impl<'a> From<DeadLetterV1<'a>> for DeadLetter<'a> {
    fn from(v1: DeadLetterV1<'a>) -> Self {
        let DeadLetterV1 { webhook, id, through, failure, events } = v1;
        Self { webhook, id, through, failure, events: events.into_iter().map(DatedEvent::from).collect() }
    }
}

/// [`Target`] before it had `weight` and `max_concurrent`.
#[derive(Deserialize)]
struct TargetV1 {
    provider: Provider,
    base_url: Option<String>,
    target_model: Option<String>,
    secret: Option<SecretId>,
    model_id: Option<String>,
    environment_name: Option<String>,
}

impl From<TargetV1> for Target {
    fn from(v1: TargetV1) -> Self {
        let TargetV1 { provider, base_url, target_model, secret, model_id, environment_name } = v1;
        Self { provider, base_url, target_model, secret, model_id, environment_name, weight: 1, max_concurrent: None }
    }
}

/// [`Pricing`] before it had more prices than these.
#[derive(Deserialize)]
pub(super) struct PricingV1 {
    currency: Currency,
    input: Price,
    output: Price,
    cached: Price,
}

impl From<PricingV1> for Pricing {
    fn from(v1: PricingV1) -> Self {
        let PricingV1 { currency, input, output, cached } = v1;
        Self::of_tokens(currency, TokenPrices { input, output, cached: Some(cached), cache_write: None })
    }
}

/// [`Endpoint`] before it had `routing` and `queue_timeout_s`.
#[derive(Deserialize)]
pub struct EndpointV1 {
    id: EndpointId,
    slug: SlugId,
    region: Region,
    targets: Vec<TargetV1>,
    pricing: Option<PricingV1>,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl From<EndpointV1> for Endpoint {
    fn from(v1: EndpointV1) -> Self {
        let EndpointV1 { id, slug, region, targets, pricing, created_at_ms, updated_at_ms } = v1;
        Self {
            id,
            slug,
            region,
            targets: targets.into_iter().map(Target::from).collect(),
            pricing: pricing.map(Pricing::from),
            routing: Routing::Priority,
            queue_timeout_s: 0,
            created_at_ms,
            updated_at_ms,
        }
    }
}

/// [`Group`] before it had `budgets`.
#[derive(Deserialize)]
pub struct GroupV1 {
    id: GroupId,
    external_entity_id: String,
    name: Option<String>,
    models: GroupModels,
    enforcement: Enforcement,
    parent: Option<GroupId>,
    created_at_ms: u64,
    disabled: bool,
}

impl From<GroupV1> for Group {
    fn from(v1: GroupV1) -> Self {
        let GroupV1 { id, external_entity_id, name, models, enforcement, parent, created_at_ms, disabled } = v1;
        Self {
            id,
            external_entity_id,
            name,
            models,
            enforcement,
            parent,
            created_at_ms,
            disabled,
            budgets: Budgets::default(),
        }
    }
}

/// [`Webhook`] before it had `types`.
#[derive(Deserialize)]
pub struct WebhookV1 {
    id: WebhookId,
    url: String,
    description: Option<String>,
    enabled: bool,
    secret: Vec<u8>,
    replaced: Option<ReplacedSecret>,
    starts_after: u64,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl From<WebhookV1> for Webhook {
    fn from(v1: WebhookV1) -> Self {
        let WebhookV1 { id, url, description, enabled, secret, replaced, starts_after, created_at_ms, updated_at_ms } =
            v1;
        Self {
            id,
            url,
            description,
            enabled,
            secret,
            replaced,
            starts_after,
            created_at_ms,
            updated_at_ms,
            types: WebhookTypes::default(),
        }
    }
}
