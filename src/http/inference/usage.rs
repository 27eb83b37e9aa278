//! `GET /v1/usage`: the limits and budgets of the key's own group and their use. For those that are shared with other
//! groups, the only figure is what is left.

use std::collections::BTreeMap;

use serde::Serialize;

use super::reply::Reply;
use crate::{
    domain::{
        ledger::{Moment, Standing, count},
        money::amount_text,
        time,
    },
    http::limit_names,
    service::{Gateway, catalog::KeyEntry, reading::limits::of_group},
};

#[derive(Serialize)]
struct UsageView<'a> {
    external_entity_id: &'a str,
    models: BTreeMap<&'a str, Vec<LimitView>>,
    budgets: Vec<BudgetView>,
}

#[derive(Serialize)]
struct LimitView {
    kind: &'static str,
    #[serde(rename = "type")]
    limit_type: &'static str,
    unit: &'static str,
    threshold: Option<u64>,
    used: Option<u64>,
    held: Option<u64>,
    left: u64,
    reset_at: Option<String>,
    shared: bool,
}

#[derive(Serialize)]
struct BudgetView {
    unit: &'static str,
    currency: String,
    amount: Option<String>,
    spent: Option<String>,
    held: Option<String>,
    left: String,
    reset_at: Option<String>,
    shared: bool,
}

impl LimitView {
    /// The view of a limit; `None` for a budget.
    fn new(standing: &Standing, moment: Moment) -> Option<Self> {
        let limit = standing.effective.rule.limit()?;
        let shared = standing.effective.is_shared();
        let own = |figure: u128| (!shared).then(|| count(figure));
        Some(Self {
            kind: limit_names::kind(limit.kind()),
            limit_type: limit_names::limit_type(limit.limit_type),
            unit: limit_names::unit(limit.unit),
            threshold: own(standing.effective.rule.threshold()),
            used: own(standing.used),
            held: own(standing.held),
            left: count(standing.left()),
            reset_at: standing.reset_at_unix_ms(moment).map(time::rfc3339),
            shared,
        })
    }
}

impl BudgetView {
    /// The view of a budget; `None` for a limit.
    fn new(standing: &Standing, moment: Moment) -> Option<Self> {
        let budget = standing.effective.rule.budget()?;
        let shared = standing.effective.is_shared();
        let own = |figure: u128| (!shared).then(|| amount_text(figure));
        Some(Self {
            unit: limit_names::budget_unit(budget.unit),
            currency: budget.currency.to_string(),
            amount: own(standing.effective.rule.threshold()),
            spent: own(standing.used),
            held: own(standing.held),
            left: amount_text(standing.left()),
            reset_at: standing.reset_at_unix_ms(moment).map(time::rfc3339),
            shared,
        })
    }
}

/// The response for a key's group.
pub(super) fn of_key(gateway: &Gateway, key: &KeyEntry) -> Reply {
    let (catalog, group, moment) = (gateway.core.catalog.load(), key.group.group(), gateway.core.moment());
    let standings = of_group(moment, &key.group);
    let views = |of_model: &[Standing]| of_model.iter().filter_map(|one| LimitView::new(one, moment)).collect();
    let models = standings.models.iter().map(|(slug, of_model)| (catalog.slug_name(*slug), views(of_model)));
    let shown = if gateway.core.config.show_cost { standings.budgets.as_slice() } else { &[] };
    let budgets = shown.iter().filter_map(|standing| BudgetView::new(standing, moment));
    Reply::json(&UsageView {
        external_entity_id: &group.external_entity_id,
        models: models.collect(),
        budgets: budgets.collect(),
    })
}
