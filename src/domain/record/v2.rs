//! The form that endpoints had in the journals of frame version 3 and in stores of format 5. It is only read.

use serde::Deserialize;

use super::v1::PricingV1;
use crate::domain::{
    endpoint::{Endpoint, Region, Routing, Target},
    id::{EndpointId, SlugId},
    pricing::Pricing,
};

/// [`Endpoint`] before its pricing had prices besides those of input, output and cached tokens.
#[derive(Deserialize)]
pub struct EndpointV2 {
    id: EndpointId,
    slug: SlugId,
    region: Region,
    targets: Vec<Target>,
    pricing: Option<PricingV1>,
    routing: Routing,
    queue_timeout_s: u16,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl From<EndpointV2> for Endpoint {
    fn from(v2: EndpointV2) -> Self {
        let EndpointV2 { id, slug, region, targets, pricing, routing, queue_timeout_s, created_at_ms, updated_at_ms } =
            v2;
        Self {
            id,
            slug,
            region,
            targets,
            pricing: pricing.map(Pricing::from),
            routing,
            queue_timeout_s,
            created_at_ms,
            updated_at_ms,
        }
    }
}
