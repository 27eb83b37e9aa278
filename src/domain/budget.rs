//! Budgets: the most money that a group may spend in a day, week or month, or in all.

use std::{fmt, ops::Deref};

use serde::{Deserialize, Serialize};

use super::{
    calendar::Period,
    money::{Amount, Currency},
};

/// The time over which a budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BudgetUnit {
    /// A calendar day.
    Day,
    /// A calendar week, from Monday.
    Week,
    /// A calendar month.
    Month,
    /// From the group's beginning. It never resets.
    Total,
}

impl BudgetUnit {
    /// The calendar period that it counts over; `None` for TOTAL.
    pub fn period(self) -> Option<Period> {
        match self {
            Self::Day => Some(Period::Day),
            Self::Week => Some(Period::Week),
            Self::Month => Some(Period::Month),
            Self::Total => None,
        }
    }
}

/// One declared budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The time over which it counts.
    pub unit: BudgetUnit,
    /// The currency. Costs in other currencies do not count.
    pub currency: Currency,
    /// The most that may be spent.
    pub amount: Amount,
}

impl Budget {
    /// Whether both count the same currency over the same time. Their amounts may differ.
    pub fn is_like(&self, other: &Self) -> bool {
        self.unit == other.unit && self.currency == other.currency
    }
}

/// The budget at `index` has the unit of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DuplicateUnit {
    /// The budget's index, from 0.
    pub index: usize,
    /// Its unit.
    pub unit: BudgetUnit,
}

impl fmt::Display for DuplicateUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "budgets[{}]: there is already a budget of this unit", self.index)
    }
}

/// The budgets of a group, in the order in which they were written: at most one for each unit.
///
/// Stored records are decoded without this check, which the budgets passed before they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budgets(Vec<Budget>);

impl Budgets {
    /// Checks that no unit is given twice.
    pub fn new(budgets: Vec<Budget>) -> Result<Self, DuplicateUnit> {
        let is_duplicate = |(index, budget): &(usize, &Budget)| {
            let earlier: &[Budget] = &budgets[..*index];
            earlier.iter().any(|earlier| earlier.unit == budget.unit)
        };
        match budgets.iter().enumerate().find(is_duplicate) {
            Some((index, budget)) => Err(DuplicateUnit { index, unit: budget.unit }),
            None => Ok(Self(budgets)),
        }
    }
}

impl Deref for Budgets {
    type Target = [Budget];

    fn deref(&self) -> &[Budget] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_at_most_one_budget_for_each_unit() {
        let budget = |unit, currency, amount| Budget {
            unit,
            currency: Currency::parse(currency).unwrap(),
            amount: Amount::parse(amount).unwrap(),
        };
        use BudgetUnit::*;
        let four = [Day, Week, Month, Total].map(|unit| budget(unit, "EUR", "1"));
        assert_eq!(Budgets::new(four.to_vec()).unwrap().len(), 4);
        let duplicate = [&four[..], &[budget(Week, "USD", "2")]].concat();
        assert_eq!(Budgets::new(duplicate), Err(DuplicateUnit { index: 4, unit: Week }));
    }
}
