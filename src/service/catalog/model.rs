//! A slug prepared for requests: the dispatcher of its targets, and its prices.

use std::{sync::Arc, time::Duration};

use crate::{
    crypto::secret::Secret,
    domain::{
        endpoint::Endpoint,
        id::{EndpointId, SecretId, SlugId},
        pricing::Pricing,
    },
    service::dispatch::{Dispatcher, Plan},
    upstream::target::Target,
};

/// A callable model.
pub struct Model {
    /// The name that customers call.
    pub slug: Arc<str>,
    /// The id to which its counters belong.
    pub slug_id: SlugId,
    /// The id of its endpoint.
    pub endpoint: EndpointId,
    /// The targets. All versions of the endpoint share it.
    pub dispatcher: Arc<Dispatcher>,
    /// Its prices; `None` if it has none.
    pub pricing: Option<Pricing>,
    /// The time of the endpoint's creation, in Unix ms.
    pub created_at_ms: u64,
}

impl Model {
    pub(super) fn new(slug: Arc<str>, endpoint: &Endpoint, dispatcher: Arc<Dispatcher>) -> Self {
        Self {
            slug,
            slug_id: endpoint.slug,
            endpoint: endpoint.id,
            dispatcher,
            pricing: endpoint.pricing,
            created_at_ms: endpoint.created_at_ms,
        }
    }
}

/// Compiles an endpoint's targets. A target of `before` with the same address, credential and model keeps its state.
pub(super) fn plan(
    slug: &Arc<str>,
    endpoint: &Endpoint,
    secret: impl Fn(SecretId) -> Option<Secret>,
    before: Option<&Plan>,
) -> Plan {
    let mut before: Vec<_> = before.map(|plan| plan.targets.clone()).unwrap_or_default();
    let compile = |target| {
        let mut target = Target::compile(target, slug, &secret);
        // Each state is used once, also if the same server is listed twice.
        if let Some(same) = before.iter().position(|before| before.is_same_server(&target)) {
            target.carry_over(&before.remove(same));
        }
        Arc::new(target)
    };
    Plan {
        slug: slug.clone(),
        routing: endpoint.routing,
        queue_timeout: Duration::from_secs(endpoint.queue_timeout_s.into()),
        targets: endpoint.targets.iter().map(compile).collect(),
    }
}
