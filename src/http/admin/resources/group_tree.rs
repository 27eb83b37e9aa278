//! `/v1/gateway/group_tree`: a summary of every group, for a page that shows all of them.

use std::{cell::Cell, iter, ops::Bound};

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    gaps::Gap,
    limits::{BudgetUsage, counted_from},
};
use crate::{
    domain::{
        id::GroupId,
        ledger::{Standing, count},
    },
    http::admin::{
        api::{
            field::{EnforcementWord, LimitTypeWord, UsageUnitWord},
            number::ThresholdNumber,
            operator::{ManageApiKeys, Operator},
            page::{self, Page, PageQuery},
            query::Query,
        },
        error::AdminError,
    },
    service::{
        Gateway,
        catalog::{Catalog, GroupNode},
        reading::limits::{highest_share, tightest_budget, tightest_of_day},
    },
};

const LIST: &str = "group_tree";

/// A page of groups, in the same order as `/v1/gateway/groups`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GroupTreePage")]
pub(in crate::http) struct TreePage {
    #[serde(flatten)]
    page: Page<GroupTreeItem>,
    /// Records that can no longer be read and are missing from the figures. Absent if the figures are complete.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<Gap>,
}

/// The summary of a group.
#[derive(Serialize, JsonSchema)]
struct GroupTreeItem {
    id: String,
    parent_group_id: Option<String>,
    name: Option<String>,
    external_entity_id: String,
    limit_enforcement: EnforcementWord,
    disabled: bool,
    /// The slugs that it carries.
    models: Vec<String>,
    /// The number of its API keys.
    keys: usize,
    /// The daily limit that has the smallest share left; `null` if the group has no daily limit.
    today: Option<TightestOfDay>,
    /// The budget that has the smallest share left; `null` if the group has no budget.
    budget: Option<BudgetUsage>,
    /// The highest share of `alert_at`, in percent, that one of its usage limits or budgets has reached in its current
    /// window; `null` if none has reached a share.
    alert_percent: Option<u8>,
}

/// The use of a daily limit.
#[derive(Serialize, JsonSchema)]
struct TightestOfDay {
    slug: String,
    #[serde(rename = "type")]
    limit_type: LimitTypeWord,
    unit: UsageUnitWord,
    threshold: ThresholdNumber,
    used: u64,
    /// The amount that running requests hold.
    held: u64,
    left: u64,
    source_group: String,
}

impl GroupTreeItem {
    fn new(
        catalog: &Catalog,
        node: &GroupNode,
        today: Option<TightestOfDay>,
        budget: Option<BudgetUsage>,
        alert_percent: Option<u8>,
    ) -> Self {
        let group = node.group();
        Self {
            id: group.id.to_string(),
            parent_group_id: group.parent.map(|parent| parent.to_string()),
            name: group.name.clone(),
            external_entity_id: group.external_entity_id.clone(),
            limit_enforcement: EnforcementWord(group.enforcement),
            disabled: group.disabled,
            models: group.models.iter().map(|model| catalog.slug_name(model.slug).to_owned()).collect(),
            keys: catalog.keys_of(group.id, None).count(),
            today,
            budget,
            alert_percent,
        }
    }
}

impl TightestOfDay {
    /// The view of a limit; `None` for a budget.
    fn new(slug: &str, standing: &Standing) -> Option<Self> {
        let limit = standing.effective.rule.limit()?;
        Some(Self {
            slug: slug.to_owned(),
            limit_type: LimitTypeWord(limit.limit_type),
            unit: UsageUnitWord(limit.unit),
            threshold: ThresholdNumber(limit.threshold),
            used: count(standing.used),
            held: count(standing.held),
            left: count(standing.left()),
            source_group: standing.effective.source.to_string(),
        })
    }
}

pub(in crate::http) async fn list(
    _: Operator<ManageApiKeys>,
    gateway: Data<Gateway>,
    Query(query): Query<PageQuery>,
) -> Result<Json<TreePage>, AdminError> {
    let after: Option<String> = query.cursor.as_deref().map(|cursor| page::decode(LIST, cursor)).transpose()?;
    let after: Option<GroupId> = after.and_then(|id| id.parse().ok());
    let (catalog, moment) = (gateway.core.catalog.load(), gateway.core.moment());
    let today = |node: &GroupNode| {
        let (slug, standing) = tightest_of_day(moment, node)?;
        TightestOfDay::new(catalog.slug_name(slug), &standing)
    };
    // The moment from which records are counted in the figures of this page.
    let from_ms = Cell::new(moment.windows.day.start_ms);
    let budget = |node: &GroupNode| {
        let standing = tightest_budget(moment, node)?;
        from_ms.set(from_ms.get().min(counted_from(node, iter::once(&standing), moment)));
        BudgetUsage::new(&standing, moment)
    };
    let shares = &gateway.core.config.alert_at;
    let after = after.map_or(Bound::Unbounded, Bound::Excluded);
    let rest = catalog.groups().range((after, Bound::Unbounded)).map(|(_, node)| node);
    let page = Page::of(
        LIST,
        rest,
        page::size(query.limit),
        |node| node.id.to_string(),
        |node| GroupTreeItem::new(&catalog, node, today(node), budget(node), highest_share(moment, node, shares)),
    )?;
    let incomplete = Gap::since(&gateway, from_ms.get());
    Ok(Json(TreePage { page, incomplete }))
}
