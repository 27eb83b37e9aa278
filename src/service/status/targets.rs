//! The targets of all endpoints.

use std::sync::Arc;

use crate::{domain::id::EndpointId, service::catalog::Catalog, upstream::target::Target};

/// A target of an endpoint.
pub struct TargetView {
    /// The endpoint's id.
    pub endpoint: EndpointId,
    /// The endpoint's slug.
    pub slug: Arc<str>,
    /// The target's index among the endpoint's targets.
    pub index: usize,
    /// The target.
    pub target: Arc<Target>,
}

/// All targets, in the order of their endpoints' creation.
pub(super) fn targets(catalog: &Catalog) -> Vec<TargetView> {
    let mut models: Vec<_> = catalog.models().collect();
    models.sort_unstable_by_key(|model| model.endpoint);
    let views = models.into_iter().flat_map(|model| {
        model.targets.iter().enumerate().map(|(index, target)| TargetView {
            endpoint: model.endpoint,
            slug: model.slug.clone(),
            index,
            target: target.clone(),
        })
    });
    views.collect()
}
