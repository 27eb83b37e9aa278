//! The use of a limit or budget in its last two calendar windows.

use crate::domain::{
    calendar::Calendar,
    ledger::Rule,
    limit::LimitType,
    money::Currency,
    sums::{Counted, Quantity, Spent, Used, WindowSums},
};

/// Which windows are compared: those that end after `since_ms`. All are Unix ms.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) since_ms: u64,
    pub(super) now_ms: u64,
}

/// The use of a limit or budget in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UseOfWindow {
    /// Unix ms.
    pub(super) start_ms: u64,
    /// Unix ms; `None` for TOTAL.
    pub(super) end_ms: Option<u64>,
    pub(super) used: u128,
    pub(super) has_ended: bool,
}

impl UseOfWindow {
    /// The use before the events in this window, and after each of them.
    pub(super) fn steps<T: Copy>(&self, events: &[(u64, T)], amount: impl Fn(T) -> u128) -> Vec<u128> {
        let is_inside = |at_ms: u64| at_ms >= self.start_ms && self.end_ms.is_none_or(|end_ms| at_ms < end_ms);
        let (mut used, mut steps) = (self.used, vec![self.used]);
        for (_, event) in events.iter().rev().filter(|(at_ms, _)| is_inside(*at_ms)) {
            used = used.saturating_sub(amount(*event));
            steps.push(used);
        }
        steps.reverse();
        steps
    }
}

/// The amount that an event counts against a limit.
pub(super) fn amount_of(rule: &Rule, counted: Counted) -> u128 {
    match rule.limit().map(|limit| limit.limit_type) {
        Some(LimitType::Token) => counted.tokens.into(),
        Some(LimitType::Request) => counted.requests.into(),
        None => 0,
    }
}

/// The use of a usage limit in its last two windows, the earlier one first.
pub(super) fn uses_of_limit(rule: &Rule, used: &Used, calendar: &Calendar, times: Times) -> [Option<UseOfWindow>; 2] {
    let Some(period) = rule.limit().and_then(|limit| limit.unit.period()) else { return [None; 2] };
    let end_ms = |start_ms| calendar.window(period, start_ms).end_ms;
    uses(used.of(period), |counted| amount_of(rule, counted), end_ms, times)
}

/// The use of a budget in its last two windows, the earlier one first; for TOTAL there is one.
pub(super) fn uses_of_budget(
    rule: &Rule,
    currency: Currency,
    spent: &Spent,
    created_at_ms: u64,
    calendar: &Calendar,
    times: Times,
) -> [Option<UseOfWindow>; 2] {
    let Some(budget) = rule.budget().filter(|budget| budget.currency == currency) else { return [None; 2] };
    let Some(period) = budget.unit.period() else {
        let total = UseOfWindow { start_ms: created_at_ms, end_ms: None, used: spent.total, has_ended: false };
        return [None, Some(total)];
    };
    uses(spent.of(period), |cost| cost, |start_ms| calendar.window(period, start_ms).end_ms, times)
}

fn uses<T: Quantity>(
    sums: &WindowSums<T>,
    used: impl Fn(T) -> u128,
    end_ms: impl Fn(u64) -> u64,
    times: Times,
) -> [Option<UseOfWindow>; 2] {
    [sums.previous, sums.latest].map(|(start_ms, sum)| {
        // 0 stands for a window that was never counted in.
        let end_ms = (start_ms > 0).then(|| end_ms(start_ms)).filter(|end_ms| *end_ms > times.since_ms)?;
        Some(UseOfWindow { start_ms, end_ms: Some(end_ms), used: used(sum), has_ended: end_ms <= times.now_ms })
    })
}
