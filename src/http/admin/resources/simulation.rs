//! `/v1/gateway/groups/{group_id}/simulate`: which past requests other limits and budgets would have refused.

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    budgets::{Budget, NewBudget, new_budgets},
    gaps::Gap,
    models::{Effective, NewModel, new_models},
};
use crate::{
    domain::{
        calendar::Calendar,
        id::GroupId,
        ledger::Rule,
        limit::Limit,
        simulation::{Outcome, Stop},
    },
    http::admin::{
        api::{
            body::{Body, Object},
            field::{LimitKindWord, LimitTypeWord, Moment, Timestamp, UnitWord},
            number::ThresholdNumber,
            operator::{AnyOperator, Operator},
            path::Path,
        },
        error::AdminError,
    },
    service::{Gateway, catalog::Catalog, error::Error, reading::simulation::Proposal},
};

/// The limits and budgets to try, and the time whose requests are replayed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Simulate {
    /// The group's whole set of models, with the limits to try. Default: as they are now.
    models: Option<Vec<Object<NewModel>>>,
    /// The group's budgets to try. Default: as they are now.
    budgets: Option<Vec<Object<NewBudget>>>,
    /// The start of the time range (inclusive).
    start_time: Moment,
    /// The end of the time range (exclusive), at most 92 days later. Default: now.
    end_time: Option<Moment>,
}

/// The result of replaying the requests of a group and its descendants.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct Simulated {
    requests: u64,
    admitted: u64,
    refused: u64,
    /// When the first refused request arrived; `null` if none would have been refused.
    first_refused_at: Option<Timestamp>,
    /// The limits and budgets that would have refused requests, those that refused most first.
    stopped_by: Vec<StoppedBy>,
    /// The days with requests, in order.
    by_day: Vec<DayOfRequests>,
    /// Events that can no longer be read and were not replayed. Absent if all were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<Gap>,
}

/// A limit or budget, and the number of requests that it would have refused.
#[derive(Serialize, JsonSchema)]
struct StoppedBy {
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Effective<ModelLimit>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<Effective<Budget>>,
    refused: u64,
}

/// A limit on a model.
#[derive(Serialize, JsonSchema)]
struct ModelLimit {
    slug: String,
    kind: LimitKindWord,
    #[serde(rename = "type")]
    limit_type: LimitTypeWord,
    unit: UnitWord,
    threshold: ThresholdNumber,
}

/// The requests of one day.
#[derive(Serialize, JsonSchema)]
struct DayOfRequests {
    /// The day in the gateway's time zone: `2026-11-23`.
    day: String,
    requests: u64,
    refused: u64,
}

impl ModelLimit {
    fn new(slug: &str, limit: &Limit) -> Self {
        Self {
            slug: slug.to_owned(),
            kind: LimitKindWord(limit.kind()),
            limit_type: LimitTypeWord(limit.limit_type),
            unit: UnitWord(limit.unit),
            threshold: ThresholdNumber(limit.threshold),
        }
    }
}

impl StoppedBy {
    fn new(catalog: &Catalog, stop: &Stop) -> Self {
        let source = stop.effective.source;
        let slug = stop.slug.map_or("", |slug| catalog.slug_name(slug));
        let (limit, budget) = match &stop.effective.rule {
            Rule::Limit(limit) => (Some(Effective::new(ModelLimit::new(slug, limit), source)), None),
            Rule::Budget(budget) => (None, Some(Effective::new(Budget::new(budget), source))),
        };
        Self { limit, budget, refused: stop.refused }
    }
}

impl Simulated {
    fn new(catalog: &Catalog, calendar: &Calendar, outcome: &Outcome, incomplete: Vec<Gap>) -> Self {
        let day = |(start_ms, counts): (&u64, &crate::domain::simulation::DayCounts)| DayOfRequests {
            day: calendar.date_text(*start_ms),
            requests: counts.requests,
            refused: counts.refused,
        };
        Self {
            requests: outcome.requests,
            admitted: outcome.requests - outcome.refused,
            refused: outcome.refused,
            first_refused_at: outcome.first_refused_ms.map(Timestamp),
            stopped_by: outcome.stopped_by.iter().map(|stop| StoppedBy::new(catalog, stop)).collect(),
            by_day: outcome.by_day.iter().map(day).collect(),
            incomplete,
        }
    }
}

pub(in crate::http) async fn simulate(
    _: Operator<AnyOperator>,
    gateway: Data<Gateway>,
    Path(id): Path<GroupId>,
    Body(body): Body<Simulate>,
) -> Result<Json<Simulated>, AdminError> {
    let (start_ms, end_ms) = (body.start_time.0, body.end_time.map(|moment| moment.0));
    if end_ms.is_some_and(|end_ms| end_ms < start_ms) {
        return Err(Error::invalid("invalid_parameter", "end_time: must not be before start_time").into());
    }
    let proposal = Proposal {
        models: body.models.map(new_models).transpose()?,
        budgets: body.budgets.map(new_budgets).transpose()?,
        start_ms,
        end_ms,
    };
    let simulated = gateway.storage.simulate(id, proposal).await?;
    let incomplete = Gap::of(&simulated.missing, &simulated.problems);
    let catalog = gateway.core.catalog.load();
    Ok(Json(Simulated::new(&catalog, &gateway.core.config.time_zone, &simulated.outcome, incomplete)))
}
