//! The use of a group's limits: `/usage` in the published shape, and `/limits` for a hypothetical request.

use std::collections::BTreeMap;

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gaps::Gap;
use crate::{
    domain::{
        id::GroupId,
        ledger::{Moment, Standing, count},
        limit::LimitKind,
    },
    http::admin::{
        api::{
            field::{LimitKindWord, LimitTypeWord, Timestamp, TokenCount, UnitWord, UsageUnitWord},
            number::ThresholdNumber,
            operator::{AnyOperator, Operator},
            path::Path,
            query::Query,
        },
        error::AdminError,
    },
    service::{
        Gateway,
        reading::limits::{standings, would_pass},
    },
};

/// The use of a group's usage limits.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct GroupUsage {
    /// The group's external entity id.
    customer_id: String,
    /// The use of each usage limit, by slug.
    usage: BTreeMap<String, Vec<LimitUsage>>,
    /// Records that can no longer be read and are missing from today's figures. Absent if the figures are complete.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<Gap>,
}

/// The use of one usage limit.
#[derive(Serialize, JsonSchema)]
struct LimitUsage {
    #[serde(rename = "type")]
    limit_type: LimitTypeWord,
    unit: UsageUnitWord,
    threshold: ThresholdNumber,
    /// The amount used in the current window; `null` until the first request of the window.
    current_usage: Option<u64>,
    reset_at: Option<Timestamp>,
    source_group: String,
}

impl LimitUsage {
    /// The use of a usage limit; `None` for another limit or a budget.
    fn new(standing: &Standing, moment: Moment) -> Option<Self> {
        let limit = standing.effective.rule.limit().filter(|limit| limit.kind() == LimitKind::Usage)?;
        Some(Self {
            limit_type: LimitTypeWord(limit.limit_type),
            unit: UsageUnitWord(limit.unit),
            threshold: ThresholdNumber(limit.threshold),
            current_usage: standing.begun.then(|| count(standing.used)),
            reset_at: standing.begun.then(|| standing.reset_at_unix_ms(moment)).flatten().map(Timestamp),
            source_group: standing.effective.source.to_string(),
        })
    }
}

/// A hypothetical request.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct LimitsQuery {
    /// The slug of a model that the group carries.
    slug: String,
    /// The number of tokens that the request would hold. Default: 0.
    tokens: Option<TokenCount>,
}

/// Whether the request would be admitted now.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct WouldPass {
    slug: String,
    tokens: u64,
    admitted: bool,
    /// The wait in whole seconds; `null` if the request is admitted or can never be.
    retry_after_s: Option<u64>,
    /// The limit that stops the request, as an index into `limits`.
    stopped_by: Option<usize>,
    limits: Vec<LimitStanding>,
}

/// The use of one limit.
#[derive(Serialize, JsonSchema)]
struct LimitStanding {
    kind: LimitKindWord,
    #[serde(rename = "type")]
    limit_type: LimitTypeWord,
    unit: UnitWord,
    threshold: ThresholdNumber,
    used: u64,
    /// The amount that running requests hold.
    held: u64,
    left: u64,
    /// For DAY, the next midnight UTC. For a rolling window, when it will be empty if nothing more is used; `null` if
    /// it is empty now.
    reset_at: Option<Timestamp>,
    source_group: String,
}

impl LimitStanding {
    /// The state of a limit; `None` for a budget.
    fn new(standing: &Standing, moment: Moment) -> Option<Self> {
        let limit = standing.effective.rule.limit()?;
        Some(Self {
            kind: LimitKindWord(limit.kind()),
            limit_type: LimitTypeWord(limit.limit_type),
            unit: UnitWord(limit.unit),
            threshold: ThresholdNumber(limit.threshold),
            used: count(standing.used),
            held: count(standing.held),
            left: count(standing.left()),
            reset_at: standing.reset_at_unix_ms(moment).map(Timestamp),
            source_group: standing.effective.source.to_string(),
        })
    }
}

pub(in crate::http) async fn usage(
    _: Operator<AnyOperator>,
    gateway: Data<Gateway>,
    Path(id): Path<GroupId>,
) -> Result<Json<GroupUsage>, AdminError> {
    let node = gateway.core.catalog.load().find_group(id)?;
    let (group, catalog, moment) = (node.group(), gateway.core.catalog.load(), gateway.core.moment());
    let usage = group.models.iter().map(|model| {
        let standings = standings(moment, &node, model.slug);
        let usages = standings.iter().filter_map(|standing| LimitUsage::new(standing, moment)).collect();
        (catalog.slug_name(model.slug).to_owned(), usages)
    });
    let incomplete = Gap::of_day(&gateway, moment.now);
    Ok(Json(GroupUsage { customer_id: group.external_entity_id.clone(), usage: usage.collect(), incomplete }))
}

pub(in crate::http) async fn limits(
    _: Operator<AnyOperator>,
    gateway: Data<Gateway>,
    Path(id): Path<GroupId>,
    Query(query): Query<LimitsQuery>,
) -> Result<Json<WouldPass>, AdminError> {
    let node = gateway.core.catalog.load().find_group(id)?;
    let tokens = query.tokens.map_or(0, |tokens| tokens.0);
    let moment = gateway.core.moment();
    let outcome = would_pass(&gateway.core.catalog.load(), moment, &node, &query.slug, tokens)?;
    Ok(Json(WouldPass {
        slug: query.slug,
        tokens,
        admitted: outcome.refusal.is_none(),
        retry_after_s: outcome.refusal.as_ref().and_then(|refusal| refusal.retry_after_s()),
        stopped_by: outcome.refusal.as_ref().map(|refusal| refusal.index),
        limits: outcome.standings.iter().filter_map(|standing| LimitStanding::new(standing, moment)).collect(),
    }))
}
