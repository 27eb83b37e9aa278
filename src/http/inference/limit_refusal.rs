//! The code and the message of a refusal by a limit or a budget.
//!
//! If other groups share it, the message has no figures.

use super::wait::Wait;
use crate::{
    domain::{
        budget::{Budget, BudgetUnit},
        calendar::Period,
        ledger::{Refusal, Rule},
        limit::{Limit, LimitKind, LimitType, Unit},
        money::amount_text,
    },
    service::request::Limited,
};

/// The code of a refusal by a budget. In OpenAI's errors it is the type as well.
pub(super) const INSUFFICIENT_QUOTA: &str = "insufficient_quota";

/// The code and the message of a refusal.
pub(super) fn words(limited: &Limited) -> (&'static str, String) {
    let Limited { slug, time_zone, refusal } = limited;
    match &refusal.effective.rule {
        Rule::Limit(limit) => {
            let (code, name) = match limit.kind() {
                LimitKind::Rate => ("rate_limit_exceeded", "Rate limit"),
                LimitKind::Usage => ("usage_limit_exceeded", "Usage limit"),
            };
            let (reason, wait) = (of_limit(limit, time_zone, refusal), Wait::of(refusal));
            (code, format!("{name} reached for {slug}: {reason} {wait}"))
        }
        Rule::Budget(budget) => {
            let (reason, prospect) = (of_budget(budget, time_zone, refusal), prospect(budget, refusal));
            (INSUFFICIENT_QUOTA, format!("Budget reached for {slug}: {reason} {prospect}"))
        }
    }
}

fn of_limit(limit: &Limit, time_zone: &str, refusal: &Refusal) -> String {
    let threshold = limit.threshold.get();
    let is_one = threshold == 1 && !refusal.effective.is_shared();
    let counted = match (limit.limit_type, is_one) {
        (LimitType::Token, true) => "token",
        (LimitType::Token, false) => "tokens",
        (LimitType::Request, true) => "request",
        (LimitType::Request, false) => "requests",
    };
    let time = match (limit.unit, limit.unit.period()) {
        (_, Some(period)) => per_window(period, time_zone),
        (Unit::Second, _) => "per second".to_owned(),
        (Unit::Minute, _) => "per minute".to_owned(),
        _ => "at once".to_owned(),
    };
    let Refusal { used, held, asked, .. } = refusal;
    match (refusal.effective.is_shared(), limit.unit) {
        (true, _) => format!("{counted} {time}, a limit that is shared with others."),
        (false, Unit::Concurrent) => format!("{threshold} {counted} {time}. Running: {used}, requested: {asked}."),
        (false, _) => {
            format!("{threshold} {counted} {time}. Used: {used}, held by running requests: {held}, requested: {asked}.")
        }
    }
}

fn of_budget(budget: &Budget, time_zone: &str, refusal: &Refusal) -> String {
    let time = budget.unit.period().map(|period| per_window(period, time_zone));
    if refusal.effective.is_shared() {
        return match time {
            Some(time) => format!("a budget {time} that is shared with others."),
            None => "a total budget that is shared with others.".to_owned(),
        };
    }
    let (amount, currency, time) = (budget.amount, budget.currency, time.unwrap_or_else(|| "in total".to_owned()));
    let [spent, held, asked] = [refusal.used, refusal.held, refusal.asked].map(amount_text);
    format!(
        "{amount} {currency} {time}. Spent: {spent} {currency}, held by running requests: {held} {currency}, requested: \
         {asked} {currency}."
    )
}

/// `per day (Europe/Berlin)`
fn per_window(period: Period, time_zone: &str) -> String {
    let word = match period {
        Period::Day => "day",
        Period::Week => "week",
        Period::Month => "month",
    };
    format!("per {word} ({time_zone})")
}

/// When a request that a budget has refused can pass.
fn prospect(budget: &Budget, refusal: &Refusal) -> String {
    match Wait::of(refusal) {
        Wait(None) if budget.unit == BudgetUnit::Total => "This budget does not reset.".to_owned(),
        Wait(None) => "This request can never pass this budget.".to_owned(),
        wait => wait.to_string(),
    }
}
