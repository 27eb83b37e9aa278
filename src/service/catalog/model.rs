//! A slug prepared for requests: its compiled targets and its prices.

use std::sync::Arc;

use crate::{
    crypto::secret::Secret,
    domain::{
        endpoint::Endpoint,
        id::{EndpointId, SecretId, SlugId},
        money::Pricing,
    },
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
    /// The targets in order of priority; never empty.
    pub targets: Vec<Arc<Target>>,
    /// The price of its tokens; `None` if it has none.
    pub pricing: Option<Pricing>,
    /// The time of the endpoint's creation, in Unix ms.
    pub created_at_ms: u64,
}

impl Model {
    pub(super) fn compile(slug: Arc<str>, endpoint: &Endpoint, secret: impl Fn(SecretId) -> Option<Secret>) -> Self {
        let compile = |target| Arc::new(Target::compile(target, &slug, &secret));
        Self {
            targets: endpoint.targets.iter().map(compile).collect(),
            slug_id: endpoint.slug,
            endpoint: endpoint.id,
            pricing: endpoint.pricing,
            created_at_ms: endpoint.created_at_ms,
            slug,
        }
    }
}
