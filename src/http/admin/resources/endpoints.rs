//! `/v1/gateway/endpoints`: slugs and the upstream targets that serve them.

use std::{ops::Bound, sync::Arc};

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    pricing::{NewPricing, Pricing},
    targets::{NewTarget, Target, check_targets},
};
use crate::{
    domain::{
        endpoint::{self as domain, Region, Routing},
        id::EndpointId,
    },
    http::admin::{
        api::{
            body::{Body, Object, clearable},
            field::{RegionWord, RoutingWord, SlugText, Timestamp},
            number::QueueTimeout,
            operator::{ManageAll, Operator},
            page::{self, Page, PageQuery},
            path::Path,
            query::Query,
        },
        error::AdminError,
    },
    service::{
        Gateway,
        catalog::Catalog,
        changes::endpoints::{self as service, NewEndpoint},
        error::Error,
    },
};

const LIST: &str = "endpoints";

/// An endpoint.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct Endpoint {
    id: String,
    slug: String,
    region: RegionWord,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// The targets, in order of priority.
    targets: Vec<Target>,
    pricing: Option<Pricing>,
    routing: RoutingWord,
    /// The longest time that a request waits for a target with free capacity, in seconds.
    queue_timeout_s: QueueTimeout,
}

impl Endpoint {
    fn new(catalog: &Catalog, endpoint: &domain::Endpoint) -> Self {
        Self::named(catalog.slug_name(endpoint.slug).to_owned(), endpoint)
    }

    pub(in crate::http) fn named(slug: String, endpoint: &domain::Endpoint) -> Self {
        Self {
            id: endpoint.id.to_string(),
            slug,
            region: RegionWord(endpoint.region),
            created_at: Timestamp(endpoint.created_at_ms),
            updated_at: Timestamp(endpoint.updated_at_ms),
            targets: endpoint.targets.iter().map(Target::new).collect(),
            pricing: endpoint.pricing.as_ref().map(Pricing::new),
            routing: RoutingWord(endpoint.routing),
            queue_timeout_s: QueueTimeout(endpoint.queue_timeout_s),
        }
    }
}

/// An endpoint to be created.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewEndpoint")]
pub(in crate::http) struct Create {
    slug: SlugText,
    region: Option<RegionWord>,
    /// 1 to 16 targets, in order of priority.
    targets: Vec<Object<NewTarget>>,
    pricing: Option<Object<NewPricing>>,
    /// Default: PRIORITY.
    routing: Option<RoutingWord>,
    /// The longest time that a request waits for a target with free capacity, in seconds. Default: 0.
    queue_timeout_s: Option<QueueTimeout>,
}

impl Create {
    /// Validates the body by the rules that do not depend on stored data.
    pub(in crate::http) fn read(self) -> Result<NewEndpoint, Error> {
        Ok(NewEndpoint {
            slug: self.slug.0,
            region: self.region.map_or(Region::Unrestricted, |region| region.0),
            targets: check_targets(self.targets)?,
            pricing: self.pricing.map(|pricing| pricing.0.into_pricing()),
            routing: self.routing.map_or(Routing::Priority, |routing| routing.0),
            queue_timeout_s: self.queue_timeout_s.map_or(0, |seconds| seconds.0),
        })
    }
}

/// The changes to an endpoint.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EndpointPatch")]
pub(in crate::http) struct Patch {
    slug: Option<SlugText>,
    /// The whole new list of targets.
    targets: Option<Vec<Object<NewTarget>>>,
    /// `null` clears the pricing.
    #[serde(default, deserialize_with = "clearable")]
    pricing: Option<Option<Object<NewPricing>>>,
    routing: Option<RoutingWord>,
    /// The longest time that a request waits for a target with free capacity, in seconds.
    queue_timeout_s: Option<QueueTimeout>,
}

/// A deleted endpoint.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct DeletedEndpoint {
    id: String,
    slug: String,
}

fn show(gateway: &Gateway, endpoint: &domain::Endpoint) -> Json<Endpoint> {
    Json(Endpoint::new(&gateway.core.catalog.load(), endpoint))
}

pub(in crate::http) async fn list(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Endpoint>>, AdminError> {
    let after: Option<String> = query.cursor.map(|cursor| page::decode(LIST, &cursor)).transpose()?;
    let after = after.and_then(|id| id.parse::<EndpointId>().ok()).map_or(Bound::Unbounded, Bound::Excluded);
    let catalog = gateway.core.catalog.load();
    let rest = catalog.endpoints().range((after, Bound::Unbounded)).map(|(_, endpoint)| endpoint);
    let size = page::size(query.limit);
    let view = |endpoint: &Arc<domain::Endpoint>| Endpoint::new(&catalog, endpoint);
    Ok(Json(Page::of(LIST, rest, size, |endpoint| endpoint.id.to_string(), view)?))
}

pub(in crate::http) async fn create(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Body(body): Body<Create>,
) -> Result<Json<Endpoint>, AdminError> {
    let endpoint = gateway.changes.create_endpoint(operator.actor(), body.read()?).await?;
    Ok(show(&gateway, &endpoint))
}

pub(in crate::http) async fn get(
    _: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<EndpointId>,
) -> Result<Json<Endpoint>, AdminError> {
    let endpoint = gateway.core.catalog.load().find_endpoint(id)?;
    Ok(show(&gateway, &endpoint))
}

pub(in crate::http) async fn update(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<EndpointId>,
    Body(body): Body<Patch>,
) -> Result<Json<Endpoint>, AdminError> {
    let patch = service::EndpointPatch {
        slug: body.slug.map(|slug| slug.0),
        targets: body.targets.map(check_targets).transpose()?,
        pricing: body.pricing.map(|pricing| pricing.map(|pricing| pricing.0.into_pricing())),
        routing: body.routing.map(|routing| routing.0),
        queue_timeout_s: body.queue_timeout_s.map(|seconds| seconds.0),
    };
    if patch.is_empty() {
        let message = "The body must have at least one of slug, targets, pricing, routing and queue_timeout_s";
        return Err(Error::invalid("empty_patch", message).into());
    }
    let endpoint = gateway.changes.update_endpoint(operator.actor(), id, patch).await?;
    Ok(show(&gateway, &endpoint))
}

pub(in crate::http) async fn delete(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<EndpointId>,
) -> Result<Json<DeletedEndpoint>, AdminError> {
    let slug = gateway.changes.delete_endpoint(operator.actor(), id).await?;
    Ok(Json(DeletedEndpoint { id: id.to_string(), slug }))
}
