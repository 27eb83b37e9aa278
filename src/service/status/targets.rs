//! The targets of all endpoints, and the queues in front of them.

use std::sync::Arc;

use crate::{
    domain::{day::Now, id::EndpointId},
    service::{
        catalog::{Catalog, Model},
        dispatch::QueueStanding,
    },
    upstream::{health::Standing, target::Target},
};

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
    /// Its health.
    pub standing: Standing,
}

/// The queue of an endpoint.
pub struct QueueView {
    /// The endpoint's id.
    pub endpoint: EndpointId,
    /// The endpoint's slug.
    pub slug: Arc<str>,
    /// Its figures.
    pub standing: QueueStanding,
}

/// All models, in the order of their endpoints' creation.
fn models(catalog: &Catalog) -> Vec<&Arc<Model>> {
    let mut models: Vec<_> = catalog.models().collect();
    models.sort_unstable_by_key(|model| model.endpoint);
    models
}

/// All targets, in the order of their endpoints' creation.
pub(super) fn targets(catalog: &Catalog, now: Now) -> Vec<TargetView> {
    let of_model = |model: &Arc<Model>| {
        let (endpoint, slug, plan) = (model.endpoint, model.slug.clone(), model.dispatcher.plan());
        let view = |(index, target): (usize, &Arc<Target>)| {
            let (slug, target, standing) = (slug.clone(), target.clone(), target.health.standing(now));
            TargetView { endpoint, slug, index, target, standing }
        };
        plan.targets.iter().enumerate().map(view).collect::<Vec<_>>()
    };
    models(catalog).into_iter().flat_map(of_model).collect()
}

/// The queues of the endpoints whose requests may have to wait, in the order of their creation.
pub(super) fn queues(catalog: &Catalog) -> Vec<QueueView> {
    let may_wait = models(catalog).into_iter().filter(|model| model.dispatcher.plan().has_capacity());
    let view = |model: &Arc<Model>| QueueView {
        endpoint: model.endpoint,
        slug: model.slug.clone(),
        standing: model.dispatcher.queue_standing(),
    };
    may_wait.map(view).collect()
}
