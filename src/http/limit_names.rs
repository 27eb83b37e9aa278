//! The names of limit types, units and kinds, and of the units of budgets, in JSON, on both listeners.

use crate::domain::{
    budget::BudgetUnit,
    limit::{LimitKind, LimitType, Unit},
};

/// `TOKEN` or `REQUEST`.
pub(super) fn limit_type(limit_type: LimitType) -> &'static str {
    match limit_type {
        LimitType::Token => "TOKEN",
        LimitType::Request => "REQUEST",
    }
}

/// `SECOND`, `MINUTE`, `DAY`, `WEEK`, `MONTH` or `CONCURRENT`.
pub(super) fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Second => "SECOND",
        Unit::Minute => "MINUTE",
        Unit::Day => "DAY",
        Unit::Week => "WEEK",
        Unit::Month => "MONTH",
        Unit::Concurrent => "CONCURRENT",
    }
}

/// `DAY`, `WEEK`, `MONTH` or `TOTAL`.
pub(super) fn budget_unit(unit: BudgetUnit) -> &'static str {
    match unit {
        BudgetUnit::Day => "DAY",
        BudgetUnit::Week => "WEEK",
        BudgetUnit::Month => "MONTH",
        BudgetUnit::Total => "TOTAL",
    }
}

/// `rate` or `usage`.
pub(super) fn kind(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::Rate => "rate",
        LimitKind::Usage => "usage",
    }
}
