//! A slug as a request needs it: its targets compiled, and its prices.

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
    /// What customers call it.
    pub slug: Arc<str>,
    /// What its counters hang on.
    pub slug_id: SlugId,
    /// The endpoint behind it.
    pub endpoint: EndpointId,
    /// In order of priority; never empty.
    pub targets: Vec<Arc<Target>>,
    /// What its tokens cost.
    pub pricing: Option<Pricing>,
    /// Unix ms.
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
