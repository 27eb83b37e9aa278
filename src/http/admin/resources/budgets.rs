//! The budgets of groups, in requests and responses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::models::Effective;
use crate::{
    domain::budget as domain,
    http::admin::api::{
        body::Object,
        field::{AmountText, BudgetUnitWord, CurrencyCode},
    },
    service::{catalog::GroupNode, error::Error},
};

/// The most money that a group may spend in a calendar window, or in all.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct Budget {
    unit: BudgetUnitWord,
    currency: String,
    amount: String,
}

impl Budget {
    pub(in crate::http) fn new(budget: &domain::Budget) -> Self {
        Self {
            unit: BudgetUnitWord(budget.unit),
            currency: budget.currency.to_string(),
            amount: budget.amount.to_string(),
        }
    }
}

/// The budgets that apply to a group, the group's own first, then upwards.
pub(in crate::http) fn effective_budgets(node: &GroupNode) -> Vec<Effective<Budget>> {
    let account = node.account_of_budgets();
    let budgets = account.rules().iter().filter_map(|effective| Some((effective.rule.budget()?, effective.source)));
    budgets.map(|(budget, source)| Effective::new(Budget::new(budget), source)).collect()
}

/// A budget, to be set.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct NewBudget {
    unit: BudgetUnitWord,
    /// Costs in other currencies do not count.
    currency: CurrencyCode,
    /// The most that may be spent.
    amount: AmountText,
}

impl NewBudget {
    fn into_budget(self) -> domain::Budget {
        domain::Budget { unit: self.unit.0, currency: self.currency.0, amount: self.amount.0 }
    }
}

/// The whole set of budgets of a group. Units must be distinct.
pub(in crate::http) fn new_budgets(budgets: Vec<Object<NewBudget>>) -> Result<domain::Budgets, Error> {
    let budgets = budgets.into_iter().map(|budget| budget.0.into_budget()).collect();
    domain::Budgets::new(budgets).map_err(|duplicate| Error::invalid("duplicate_budget", duplicate.to_string()))
}
