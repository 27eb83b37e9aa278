//! The use of a group's limits and budgets: `/usage` in the published shape, and `/limits` for a hypothetical request.

use std::collections::BTreeMap;

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gaps::Gap;
use crate::{
    domain::{
        id::GroupId,
        ledger::{Moment, Rule, Standing, count},
        limit::LimitKind,
        money::amount_text,
    },
    http::admin::{
        api::{
            field::{BudgetUnitWord, LimitKindWord, LimitTypeWord, Timestamp, TokenCount, UnitWord, UsageUnitWord},
            number::ThresholdNumber,
            operator::{AnyOperator, Operator},
            path::Path,
            query::Query,
        },
        error::AdminError,
    },
    service::{
        Gateway,
        catalog::GroupNode,
        reading::limits::{of_group, would_pass},
    },
};

/// The use of a group's usage limits and budgets.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct GroupUsage {
    /// The group's external entity id.
    customer_id: String,
    /// The use of each usage limit, by slug.
    usage: BTreeMap<String, Vec<LimitUsage>>,
    /// The use of each budget.
    budgets: Vec<BudgetUsage>,
    /// Records that can no longer be read and are missing from the figures. Absent if the figures are complete.
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
    /// The end of the window; `null` until its first request.
    reset_at: Option<Timestamp>,
    source_group: String,
}

/// The use of one budget. Amounts are decimal strings.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct BudgetUsage {
    unit: BudgetUnitWord,
    currency: String,
    amount: String,
    /// The cost of the requests of the current window that have ended.
    spent: String,
    /// The amount that running requests hold.
    held: String,
    left: String,
    /// The end of the window; `null` for TOTAL.
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

impl BudgetUsage {
    /// The use of a budget; `None` for a limit.
    pub(in crate::http) fn new(standing: &Standing, moment: Moment) -> Option<Self> {
        let budget = standing.effective.rule.budget()?;
        Some(Self {
            unit: BudgetUnitWord(budget.unit),
            currency: budget.currency.to_string(),
            amount: budget.amount.to_string(),
            spent: amount_text(standing.used),
            held: amount_text(standing.held),
            left: amount_text(standing.left()),
            reset_at: standing.reset_at_unix_ms(moment).map(Timestamp),
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
    /// The number of tokens that the request would hold. For budgets, they are a prompt at the model's prices. Default: 0.
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
    /// The limit or budget that stops the request, as an index into `limits`.
    stopped_by: Option<usize>,
    /// The limits, followed by the budgets.
    limits: Vec<RuleStanding>,
}

/// The use of one limit, in whole numbers, or of one budget, in decimal strings. `kind` says which of them it is.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum RuleStanding {
    Limit(LimitStanding),
    Budget(BudgetStanding),
}

/// The use of one limit.
#[derive(Serialize, JsonSchema)]
struct LimitStanding {
    kind: LimitKindWord,
    #[serde(rename = "type")]
    limit_type: LimitTypeWord,
    unit: UnitWord,
    threshold: ThresholdNumber,
    /// The amount used in the window; for CONCURRENT, the number of running requests.
    used: u64,
    /// The amount that running requests hold.
    held: u64,
    left: u64,
    /// The end of a calendar window. For a rolling window, when it will be empty if nothing more is used; `null` if it
    /// is empty now. `null` for CONCURRENT.
    reset_at: Option<Timestamp>,
    source_group: String,
}

/// The use of one budget. Amounts are decimal strings.
#[derive(Serialize, JsonSchema)]
struct BudgetStanding {
    kind: BudgetKind,
    #[serde(rename = "type")]
    measure: BudgetType,
    unit: BudgetUnitWord,
    currency: String,
    threshold: String,
    used: String,
    /// The amount that running requests hold.
    held: String,
    left: String,
    /// The end of the window; `null` for TOTAL.
    reset_at: Option<Timestamp>,
    source_group: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum BudgetKind {
    Budget,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum BudgetType {
    Cost,
}

impl RuleStanding {
    fn new(standing: &Standing, moment: Moment) -> Self {
        let reset_at = standing.reset_at_unix_ms(moment).map(Timestamp);
        let source_group = standing.effective.source.to_string();
        match &standing.effective.rule {
            Rule::Limit(limit) => Self::Limit(LimitStanding {
                kind: LimitKindWord(limit.kind()),
                limit_type: LimitTypeWord(limit.limit_type),
                unit: UnitWord(limit.unit),
                threshold: ThresholdNumber(limit.threshold),
                used: count(standing.used),
                held: count(standing.held),
                left: count(standing.left()),
                reset_at,
                source_group,
            }),
            Rule::Budget(budget) => Self::Budget(BudgetStanding {
                kind: BudgetKind::Budget,
                measure: BudgetType::Cost,
                unit: BudgetUnitWord(budget.unit),
                currency: budget.currency.to_string(),
                threshold: budget.amount.to_string(),
                used: amount_text(standing.used),
                held: amount_text(standing.held),
                left: amount_text(standing.left()),
                reset_at,
                source_group,
            }),
        }
    }
}

/// The moment from which records are counted in these figures: the start of the longest window, or for a TOTAL budget
/// the creation of the group that declared it.
pub(in crate::http) fn counted_from<'a>(
    node: &GroupNode,
    standings: impl Iterator<Item = &'a Standing>,
    moment: Moment,
) -> u64 {
    let created_at = |standing: &Standing| {
        let source = node.lineage().find(|node| node.id == standing.effective.source);
        source.map_or(0, |source| source.group().created_at_ms)
    };
    let from = |standing: &'a Standing| match standing.effective.rule.period() {
        Some(period) => moment.windows.of(period).start_ms,
        None => created_at(standing),
    };
    standings.map(from).min().unwrap_or(moment.windows.day.start_ms)
}

pub(in crate::http) async fn usage(
    _: Operator<AnyOperator>,
    gateway: Data<Gateway>,
    Path(id): Path<GroupId>,
) -> Result<Json<GroupUsage>, AdminError> {
    let node = gateway.core.catalog.load().find_group(id)?;
    let (group, catalog, moment) = (node.group(), gateway.core.catalog.load(), gateway.core.moment());
    let standings = of_group(moment, &node);
    let limits = standings.models.iter().flat_map(|(_, of_model)| of_model);
    let usage_limits = limits.filter(|standing| standing.effective.rule.period().is_some());
    let incomplete = Gap::since(&gateway, counted_from(&node, usage_limits.chain(&standings.budgets), moment));
    let usages = |of_model: &[Standing]| of_model.iter().filter_map(|one| LimitUsage::new(one, moment)).collect();
    let models = standings.models.iter();
    let usage = models.map(|(slug, of_model)| (catalog.slug_name(*slug).to_owned(), usages(of_model)));
    let budgets = standings.budgets.iter().filter_map(|standing| BudgetUsage::new(standing, moment));
    Ok(Json(GroupUsage {
        customer_id: group.external_entity_id.clone(),
        usage: usage.collect(),
        budgets: budgets.collect(),
        incomplete,
    }))
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
        limits: outcome.standings.iter().map(|standing| RuleStanding::new(standing, moment)).collect(),
    }))
}
