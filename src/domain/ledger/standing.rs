//! The state of limits and budgets, and refusals by them.

use std::time::Duration;

use super::{
    account::{Effective, Rule},
    moment::Moment,
};
use crate::domain::limit::Unit;

/// A figure of a limit, in tokens or requests. It fits into a `u64`, unlike those of budgets.
pub fn count(figure: u128) -> u64 {
    u64::try_from(figure).unwrap_or(u64::MAX)
}

/// The state of one limit or budget. Its amounts are tokens, requests, or 10^-12 units of the budget's currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The limit or budget.
    pub effective: Effective,
    /// The amount recorded in its window. For CONCURRENT, the running requests.
    pub used: u128,
    /// The amount that running requests hold against it.
    pub held: u128,
    /// Time until a calendar window ends, or until a rolling window is empty, assuming that running requests end now at
    /// their held amounts and no others arrive. `None` if a rolling window is empty, for CONCURRENT and for TOTAL.
    pub reset: Option<Duration>,
    /// Whether there was a request in its window, ended or running.
    pub begun: bool,
}

impl Standing {
    /// The amount left; never below 0.
    pub fn left(&self) -> u128 {
        self.effective.rule.threshold().saturating_sub(self.used.saturating_add(self.held))
    }

    /// When it resets, in ms of Unix time: the exact end of a calendar window; for a rolling window counted from
    /// `moment`.
    pub fn reset_at_unix_ms(&self, moment: Moment) -> Option<u64> {
        match (self.effective.rule, self.effective.rule.period()) {
            (_, Some(period)) => Some(moment.window(period).end_ms),
            (Rule::Limit(limit), None) if limit.unit != Unit::Concurrent => {
                let millis = u64::try_from(self.reset?.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
                Some(moment.now.wall_ms().saturating_add(millis))
            }
            (Rule::Limit(_) | Rule::Budget(_), None) => None,
        }
    }
}

/// The limit of each type with the least left, the nearest one if several are equal. CONCURRENT limits and budgets are
/// left out. `None` if there is no limit of the type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standings {
    /// The limit on requests.
    pub requests: Option<Standing>,
    /// The limit on tokens.
    pub tokens: Option<Standing>,
}

/// A refused request, which has taken nothing from any limit or budget. The amounts are tokens, requests, or 10^-12
/// units of the budget's currency.
///
/// If several of them refuse it, the one with the longest wait is reported, so that `retry_after` is enough for all of
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Its index among the account's rules.
    pub index: usize,
    /// The limit or budget.
    pub effective: Effective,
    /// The amount recorded against it.
    pub used: u128,
    /// The amount that running requests hold against it.
    pub held: u128,
    /// The amount requested of it: one request, or the tokens or the money that had to fit.
    pub asked: u128,
    /// Time until there is enough room, assuming that running requests end now at their held amounts and no others
    /// arrive. Waiting exactly this long is enough. For CONCURRENT one second. `None` if there never will be room, which
    /// includes every TOTAL budget.
    pub retry_after: Option<Duration>,
    /// The current state of the limits.
    pub standings: Standings,
}

impl Refusal {
    /// The wait in whole seconds, rounded up so that it is enough, and at least 1. `None` if there never will be room.
    pub fn retry_after_s(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1))
    }
}
