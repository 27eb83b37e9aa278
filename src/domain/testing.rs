//! Shared test tools: reproducible random steps, a log of all arrivals, a billed request, and rows of earlier versions.

use std::collections::VecDeque;

use super::{
    alert::{Alert, Declaration},
    budget::Budgets,
    endpoint::{Endpoint, Provider, Region, Routing, Target},
    group::{Enforcement, Group, GroupModel, GroupModels},
    id::{AlertId, EndpointId, GroupId, SecretId, SlugId, WebhookId},
    limit::{Limit, LimitType, Threshold, Unit},
    money::{Currency, Price},
    pricing::{Pricing, TokenPrices},
    route::Route,
    settled::Settled,
    usage::{Usage, UsageSource},
    webhook::{ReplacedSecret, Webhook, WebhookTypes},
    window::Span,
};

/// A billed request. A test overrides the fields that matter to it.
pub(crate) fn settled() -> Settled<'static> {
    Settled {
        key_random: 1,
        request_id: 1,
        metadata: None,
        model_slug: "acme/chat",
        slug: SlugId(1),
        external_entity_id: "cust_42",
        counted_for: vec![GroupId(7)],
        api_key_prefix: "sk_abc",
        usage: Usage { input: 1, output: 1, cached: 0, cache_write: 0 },
        usage_source: UsageSource::Upstream,
        route: Route::ChatCompletions,
        streamed: false,
        status: 200,
        duration_ms: 1,
        ttft_ms: None,
        choices: 1,
        prompt_bytes: 1,
        cost: None,
        target: Some(0),
        queue_ms: 0,
        units: None,
    }
}

/// A billed request as versions before `Settled::target` encoded it.
pub(crate) const SETTLED_V1: &[u8] =
    b"\xfb\x2c\x01\x07\x01\x07{\"a\":1}\x09acme/chat\x01\x07cust_42\x02\x03\x04\x06sk_abc\
    \xfb\xe8\x03\x39\x14\x01\x02\x01\xc8\xfb\x2c\x03\x01\x5f\x01\x05\x01EUR\xfc\x70\x11\x01\x00";

/// An endpoint as versions before `Endpoint::routing` encoded it.
pub(crate) const ENDPOINT_V1: &[u8] =
    b"\x05\x01\x01\x02\x01\x01\x08http://a\x01\x01m\x01\x09\0\0\x03\0\0\0\x01\x03abc\x01\x03dev\
    \x01EUR\xfc\xa0\x25\x26\0\xfc\x80\x96\x98\0\xfc\x90\xd0\x03\0\xfb\x2c\x01\xfb\x90\x01";

/// The endpoint that [`ENDPOINT_V1`] encodes.
pub(crate) fn endpoint_of_v1() -> Endpoint {
    let target = |provider| Target {
        provider,
        base_url: None,
        target_model: None,
        secret: None,
        model_id: None,
        environment_name: None,
        weight: 1,
        max_concurrent: None,
    };
    let own = Target {
        base_url: Some("http://a".to_owned()),
        target_model: Some("m".to_owned()),
        secret: Some(SecretId(9)),
        ..target(Provider::OpenAi)
    };
    let baseten = Target {
        model_id: Some("abc".to_owned()),
        environment_name: Some("dev".to_owned()),
        ..target(Provider::Baseten)
    };
    let price = |text| Price::parse(text).unwrap();
    let currency = Currency::parse("EUR").unwrap();
    let tokens =
        TokenPrices { input: price("2.5"), output: price("10"), cached: Some(price("0.25")), cache_write: None };
    Endpoint {
        id: EndpointId(5),
        slug: SlugId(1),
        region: Region::Eu,
        targets: vec![own, baseten],
        pricing: Some(Pricing::of_tokens(currency, tokens)),
        routing: Routing::Priority,
        queue_timeout_s: 0,
        created_at_ms: 300,
        updated_at_ms: 400,
    }
}

/// An endpoint as versions before `Pricing::tokens` encoded it.
pub(crate) const ENDPOINT_V2: &[u8] =
    b"\x05\x01\x01\x02\x01\x01\x08http://a\x01\x01m\x01\x09\0\0\x03\x01\x08\x03\0\0\0\x01\x03abc\x01\x03dev\x01\0\
    \x01EUR\xfc\xa0\x25\x26\0\xfc\x80\x96\x98\0\xfc\x90\xd0\x03\0\x01\x1e\xfb\x2c\x01\xfb\x90\x01";

/// The endpoint that [`ENDPOINT_V2`] encodes.
pub(crate) fn endpoint_of_v2() -> Endpoint {
    let mut endpoint = Endpoint { routing: Routing::Spread, queue_timeout_s: 30, ..endpoint_of_v1() };
    (endpoint.targets[0].weight, endpoint.targets[0].max_concurrent) = (3, Some(8));
    endpoint
}

/// A group as versions before `Group::budgets` encoded it.
pub(crate) const GROUP_V1: &[u8] =
    b"\x05\x07cust_42\x01\x04Plan\x01\x01\x02\x01\x01\xfb\xe8\x03\0\x02\xfc\xa0\x86\x01\0\x01\x01\x04\xfb\x2c\x01\x01";

/// The group that [`GROUP_V1`] encodes.
pub(crate) fn group_of_v1() -> Group {
    let limit = |limit_type, unit, threshold| Limit { limit_type, unit, threshold: Threshold::new(threshold).unwrap() };
    let limits = vec![limit(LimitType::Request, Unit::Minute, 1000), limit(LimitType::Token, Unit::Day, 100_000)];
    Group {
        id: GroupId(5),
        external_entity_id: "cust_42".to_owned(),
        name: Some("Plan".to_owned()),
        models: GroupModels::new(vec![GroupModel { slug: SlugId(1), limits }]).unwrap(),
        enforcement: Enforcement::Cascading,
        parent: Some(GroupId(4)),
        created_at_ms: 300,
        disabled: true,
        budgets: Budgets::default(),
    }
}

/// A webhook as versions before `Webhook::types` encoded it.
pub(crate) const WEBHOOK_V1: &[u8] =
    b"\x07\x08http://h\x01\x01d\x01\x02\x01\x02\x01\x01\x03\xfb\x2c\x01\x09\xfb\x2c\x01\xfb\x90\x01";

/// The webhook that [`WEBHOOK_V1`] encodes.
pub(crate) fn webhook_of_v1() -> Webhook {
    Webhook {
        id: WebhookId(7),
        url: "http://h".to_owned(),
        description: Some("d".to_owned()),
        enabled: true,
        secret: vec![1, 2],
        replaced: Some(ReplacedSecret { secret: vec![3], until_ms: 300 }),
        starts_after: 9,
        created_at_ms: 300,
        updated_at_ms: 400,
        types: WebhookTypes::default(),
    }
}

/// An alert about a usage limit. A test overrides the fields that matter to it.
pub(crate) fn alert() -> Alert {
    let limit = Limit { limit_type: LimitType::Token, unit: Unit::Day, threshold: Threshold::new(100).unwrap() };
    Alert {
        id: AlertId(1),
        group: GroupId(7),
        declared_by: GroupId(7),
        external_entity_id: "cust_42".to_owned(),
        declaration: Declaration::Limit(SlugId(1), limit),
        model_slug: Some("acme/chat".to_owned()),
        used: 90,
        percent: 90,
        window_start_ms: 300,
        reset_at_ms: Some(400),
    }
}

/// A small fast generator (xorshift). A seed gives the same steps in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// Between 0 and 1, both excluded.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// One step in time, in nanoseconds: from no time to several windows, often close to the edges of buckets and of
    /// the window.
    pub(crate) fn step(&mut self, span: Span) -> u64 {
        let length = span.length_ns();
        match self.below(1000) {
            0 => length + self.below(length),
            1 => length,
            2..=20 => length / 60 + self.below(3),
            21..=100 => self.below(length / 20),
            _ => self.below(length / 400),
        }
    }
}

/// Stores every arrival, to the nanosecond.
#[derive(Default)]
pub(crate) struct Arrivals {
    /// (time, amount), oldest first.
    all: VecDeque<(u64, u64)>,
}

impl Arrivals {
    /// The exact sum of the arrivals younger than `age_ns`.
    pub(crate) fn within(&self, now_ns: u64, age_ns: u64) -> u64 {
        self.all.iter().rev().take_while(|(at, _)| now_ns - at < age_ns).map(|(_, amount)| amount).sum()
    }

    pub(crate) fn record(&mut self, now_ns: u64, amount: u64) {
        self.all.push_back((now_ns, amount));
        // No query reaches back further than twice the longest window.
        while self.all.front().is_some_and(|(at, _)| now_ns - at > 2 * Span::Minute.length_ns()) {
            self.all.pop_front();
        }
    }
}
