//! Changes to endpoints, and their rules: unique slugs, renames that apply to all groups at once, existing credentials.

use std::sync::Arc;

use crate::{
    crypto::random,
    domain::{
        action,
        endpoint::{Endpoint, Region, Routing, Target},
        id::{EndpointId, SlugId},
        pricing::Pricing,
        record::{Actor, Row},
        slug::Slug,
    },
    service::{catalog::Catalog, changes::change::Changes, error::Error},
};

/// The fields of a new endpoint.
pub struct NewEndpoint {
    /// The slug; unique.
    pub slug: Slug,
    /// The region in which requests may be processed.
    pub region: Region,
    /// The targets, 1 to 16, in order of priority.
    pub targets: Vec<Target>,
    /// Its prices.
    pub pricing: Option<Pricing>,
    /// How a request's target is chosen.
    pub routing: Routing,
    /// The longest time that a request waits for a target with free capacity, in seconds.
    pub queue_timeout_s: u16,
}

/// The changes to an endpoint. `None` leaves a field unchanged.
#[derive(Default, PartialEq)]
pub struct EndpointPatch {
    /// A new slug, which also renames it in every group that carries it.
    pub slug: Option<Slug>,
    /// The whole new list of targets.
    pub targets: Option<Vec<Target>>,
    /// The pricing; `Some(None)` clears it.
    pub pricing: Option<Option<Pricing>>,
    /// How a request's target is chosen.
    pub routing: Option<Routing>,
    /// The longest time that a request waits for a target with free capacity, in seconds.
    pub queue_timeout_s: Option<u16>,
}

impl EndpointPatch {
    /// Whether it leaves all fields unchanged.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Changes {
    /// Creates an endpoint.
    pub async fn create_endpoint(&self, actor: Actor, new: NewEndpoint) -> Result<Arc<Endpoint>, Error> {
        let change = self.begin().await?;
        let catalog = &change.catalog;
        if catalog.model(&new.slug).is_some() {
            return Err(duplicate(&new.slug));
        }
        known_secrets(catalog, &new.targets)?;
        let now_ms = self.core.now_ms();
        let slug = catalog.slug_id(&new.slug).unwrap_or_else(|| catalog.next_slug_id());
        let endpoint = Endpoint {
            id: EndpointId(random::ulid(now_ms).map_err(Error::internal)?),
            slug,
            region: new.region,
            targets: new.targets,
            pricing: new.pricing,
            routing: new.routing,
            queue_timeout_s: new.queue_timeout_s,
            created_at_ms: now_ms,
            updated_at_ms: now_ms,
        };
        let id = endpoint.id;
        let rows = vec![Row::Slug(slug, new.slug.into_string()), Row::Endpoint(endpoint)];
        change.commit(actor, action::ENDPOINT_CREATED, rows).await?;
        self.core.catalog.load().find_endpoint(id)
    }

    /// Changes an endpoint.
    pub async fn update_endpoint(
        &self,
        actor: Actor,
        id: EndpointId,
        patch: EndpointPatch,
    ) -> Result<Arc<Endpoint>, Error> {
        let change = self.begin().await?;
        let catalog = &change.catalog;
        let mut endpoint = Endpoint::clone(&*catalog.find_endpoint(id)?);
        let mut rows = Vec::new();
        if let Some(slug) = patch.slug.filter(|slug| **slug != *catalog.slug_name(endpoint.slug)) {
            rows.extend(rename(catalog, endpoint.slug, slug)?);
        }
        if let Some(targets) = patch.targets {
            known_secrets(catalog, &targets)?;
            endpoint.targets = targets;
        }
        endpoint.pricing = patch.pricing.unwrap_or(endpoint.pricing);
        endpoint.routing = patch.routing.unwrap_or(endpoint.routing);
        endpoint.queue_timeout_s = patch.queue_timeout_s.unwrap_or(endpoint.queue_timeout_s);
        endpoint.updated_at_ms = self.core.now_ms().max(endpoint.created_at_ms);
        rows.push(Row::Endpoint(endpoint));
        change.commit(actor, action::ENDPOINT_UPDATED, rows).await?;
        self.core.catalog.load().find_endpoint(id)
    }

    /// Deletes an endpoint and returns its slug's name. Groups keep the slug; if a new endpoint takes it, its counters
    /// continue.
    pub async fn delete_endpoint(&self, actor: Actor, id: EndpointId) -> Result<String, Error> {
        let change = self.begin().await?;
        let endpoint = change.catalog.find_endpoint(id)?;
        let slug = change.catalog.slug_name(endpoint.slug).to_owned();
        change.commit(actor, action::ENDPOINT_DELETED, vec![Row::EndpointGone(id)]).await?;
        Ok(slug)
    }
}

fn duplicate(slug: &str) -> Error {
    Error::invalid("duplicate_slug", format!("slug: another endpoint has {slug:?} already."))
}

/// Makes the rows of a rename. Counters belong to the slug's id, so a rename only gives the id a new name. A name that
/// a group carries without an endpoint has counters of its own and cannot be taken.
fn rename(catalog: &Catalog, slug: SlugId, name: Slug) -> Result<Vec<Row>, Error> {
    if catalog.model(&name).is_some() {
        return Err(duplicate(&name));
    }
    let mut rows = Vec::new();
    if let Some(taken) = catalog.slug_id(&name) {
        if catalog.groups().values().any(|node| node.group().model(taken).is_some()) {
            let message = format!("slug: a group carries {:?}; remove it there or create an endpoint for it.", &*name);
            return Err(Error::invalid("slug_carried", message));
        }
        rows.push(Row::SlugGone(taken));
    }
    rows.push(Row::Slug(slug, name.into_string()));
    Ok(rows)
}

/// Checks that every credential that a target names exists.
pub(in crate::service) fn known_secrets(catalog: &Catalog, targets: &[Target]) -> Result<(), Error> {
    for (index, secret) in targets.iter().enumerate().filter_map(|(index, target)| Some((index, target.secret?))) {
        if !catalog.secrets().contains_key(&secret) {
            let message = format!("targets[{index}].secret_id: no secret has the id {secret}.");
            return Err(Error::invalid("unknown_secret", message));
        }
    }
    Ok(())
}
