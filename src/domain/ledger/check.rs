//! Checks of a request against all limits and budgets of its account.
//!
//! The survey of every admission finds each cell once and counts limits in `u64`. What a refusal or a standing says is
//! looked up again, in `u128` for all rules alike.

use std::time::Duration;

use arrayvec::ArrayVec;

use super::{
    account::{Account, Effective, Rule},
    cell::{Cell, Consumption, State},
    cells::{Cells, Scope},
    moment::At,
    standing::{Refusal, Standing, Standings},
};
use crate::domain::{
    budget::Budget,
    group::MAX_LEVELS,
    limit::{Limit, LimitType, Unit},
    money::Currency,
};

/// The amounts that a request must find free.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) tokens: u64,
    /// In 10^-12 units of the currency. Budgets in other currencies are not asked for anything.
    pub(super) money: Option<(Currency, u128)>,
}

impl Asked {
    fn of(&self, rule: &Rule) -> u128 {
        match rule {
            Rule::Limit(limit) => self.of_limit(limit).into(),
            Rule::Budget(budget) => self.of_budget(budget),
        }
    }

    fn of_limit(&self, limit: &Limit) -> u64 {
        let is_token = limit.limit_type == LimitType::Token && limit.unit != Unit::Concurrent;
        if is_token { self.tokens } else { 1 }
    }

    fn of_budget(&self, budget: &Budget) -> u128 {
        self.money.filter(|(currency, _)| *currency == budget.currency).map_or(0, |(_, amount)| amount)
    }
}

/// Places of cells in the order of an account's groups. `None`: the cell does not exist and has consumed nothing.
type MaybePlaces = ArrayVec<Option<usize>, MAX_LEVELS>;

/// An account with the places of its cells.
pub(super) struct Located<'a> {
    pub(super) account: &'a Account,
    pub(super) places: MaybePlaces,
    /// The currency of `money`.
    pub(super) currency: Option<Currency>,
    pub(super) money: MaybePlaces,
}

/// The result of checking a request against every limit and budget.
#[derive(Default)]
pub(super) struct Survey {
    pub(super) stopped: bool,
    /// The index of the limit on requests with the least left, CONCURRENT left out, and the amount left.
    requests: Option<(usize, u64)>,
    /// The same for tokens.
    tokens: Option<(usize, u64)>,
    /// The same for budgets in the asked currency.
    money: Option<(usize, u128)>,
}

impl Survey {
    /// The tokens that every limit has left.
    pub(super) fn tokens_left(&self) -> u64 {
        self.tokens.map_or(u64::MAX, |(_, left)| left)
    }

    /// The money that every budget of the asked currency has left.
    pub(super) fn money_left(&self) -> u128 {
        self.money.map_or(u128::MAX, |(_, left)| left)
    }
}

impl Cells {
    pub(super) fn locate<'a>(&self, account: &'a Account, currency: Option<Currency>) -> Located<'a> {
        let mut located = Located { account, places: MaybePlaces::new(), currency, money: MaybePlaces::new() };
        for group in &account.counted_for {
            let (place, money) = self.find_both(*group, account.slug, currency);
            located.places.push(place);
            located.money.push(money);
        }
        located
    }

    pub(super) fn survey(&mut self, at: &At, located: &Located<'_>, asked: &Asked) -> Survey {
        let mut survey = Survey::default();
        let (limits, budgets) = located.account.limits_and_budgets();
        let mut cell = None;
        let mut of_group = None;
        for (index, effective) in limits.iter().enumerate() {
            let Rule::Limit(limit) = &effective.rule else { continue };
            if of_group != Some(effective.counted_at) {
                of_group = Some(effective.counted_at);
                cell = located.place(effective).and_then(|place| self.get_mut(place));
            }
            let counted = cell.as_deref_mut().map_or(0, |cell: &mut Cell| cell.counted_against(limit, at));
            let left = limit.threshold.get().saturating_sub(counted);
            survey.stopped |= left < asked.of_limit(limit);
            let least = match (limit.unit, limit.limit_type) {
                (Unit::Concurrent, _) => continue,
                (_, LimitType::Request) => &mut survey.requests,
                (_, LimitType::Token) => &mut survey.tokens,
            };
            if least.is_none_or(|(_, other)| left < other) {
                *least = Some((index, left));
            }
        }
        for (index, effective) in (limits.len()..).zip(budgets) {
            let Rule::Budget(budget) = &effective.rule else { continue };
            // A budget in another currency does not concern the request.
            if Some(budget.currency) != located.currency {
                continue;
            }
            let place = located.money.get(usize::from(effective.counted_at)).copied().flatten();
            let cell = place.and_then(|place| self.money_mut(place));
            let counted = cell.map_or(0, |cell| cell.consumption(budget.unit, at).sum());
            let left = budget.amount.as_cost().saturating_sub(counted);
            survey.stopped |= left < asked.of_budget(budget);
            if survey.money.is_none_or(|(_, other)| left < other) {
                survey.money = Some((index, left));
            }
        }
        survey
    }

    /// The refusal by the limit or budget with the longest wait. `None` if none refuses.
    #[cold]
    pub(super) fn refusal(
        &mut self,
        at: &At,
        located: &Located<'_>,
        asked: &Asked,
        survey: &Survey,
    ) -> Option<Box<Refusal>> {
        let standings = self.standings(at, located, survey);
        let mut longest: Option<Refusal> = None;
        for (index, effective) in located.account.rules.iter().enumerate() {
            let asked = asked.of(&effective.rule);
            let Consumption { used, held } = self.consumption(at, located, effective);
            // As in the survey: a rule that is exceeded does not refuse a request that asks for nothing of it.
            if effective.rule.threshold().saturating_sub(used.saturating_add(held)) >= asked {
                continue;
            }
            let retry_after = self.wait(at, located, effective, asked);
            let wait = |retry_after: Option<Duration>| retry_after.unwrap_or(Duration::MAX);
            if longest.is_none_or(|other| wait(retry_after) > wait(other.retry_after)) {
                let effective = *effective;
                longest = Some(Refusal { index, effective, used, held, asked, retry_after, standings });
            }
        }
        longest.map(Box::new)
    }

    pub(super) fn stand(&mut self, at: &At, located: &Located<'_>, effective: &Effective) -> Standing {
        let state = match &effective.rule {
            Rule::Limit(limit) => {
                located.place(effective).and_then(|place| self.get_mut(place)).map(|cell| cell.state(limit, at))
            }
            Rule::Budget(budget) => {
                let place = self.money_place(located, effective, budget);
                place.and_then(|place| self.money_mut(place)).map(|cell| cell.state(budget.unit, at))
            }
        };
        let State { consumption: Consumption { used, held }, reset, begun } =
            state.unwrap_or_else(|| State::untouched(effective.rule.period(), &at.moment));
        Standing { effective: *effective, used, held, reset, begun }
    }

    pub(super) fn standings(&mut self, at: &At, located: &Located<'_>, survey: &Survey) -> Standings {
        let mut stand = |least: Option<(usize, u64)>| {
            let effective = located.account.rules.get(least?.0)?;
            Some(self.stand(at, located, effective))
        };
        Standings { requests: stand(survey.requests), tokens: stand(survey.tokens) }
    }

    #[inline]
    fn consumption(&mut self, at: &At, located: &Located<'_>, effective: &Effective) -> Consumption {
        let consumption = match &effective.rule {
            Rule::Limit(limit) => {
                located.place(effective).and_then(|place| self.get_mut(place)).map(|cell| cell.consumption(limit, at))
            }
            Rule::Budget(budget) => self
                .money_place(located, effective, budget)
                .and_then(|place| self.money_mut(place))
                .map(|cell| cell.consumption(budget.unit, at)),
        };
        consumption.unwrap_or_default()
    }

    /// Time until a rule that refuses `asked` could admit it. `None` if it never can.
    fn wait(&mut self, at: &At, located: &Located<'_>, effective: &Effective, asked: u128) -> Option<Duration> {
        if asked > effective.rule.threshold() {
            return None;
        }
        match &effective.rule {
            Rule::Limit(limit) => {
                let cell = located.place(effective).and_then(|place| self.get_mut(place))?;
                Some(cell.wait(limit, asked, at))
            }
            Rule::Budget(budget) => budget.unit.period().map(|period| at.moment.until_end(period)),
        }
    }

    /// The place of the cell that a budget counts in.
    fn money_place(&self, located: &Located<'_>, effective: &Effective, budget: &Budget) -> Option<usize> {
        let counted_at = usize::from(effective.counted_at);
        if located.currency == Some(budget.currency) {
            return located.money.get(counted_at).copied().flatten();
        }
        let group = located.account.counted_for.get(counted_at)?;
        self.find(*group, Scope::Money(budget.currency))
    }
}

impl Located<'_> {
    /// The place of the cell that a limit counts in.
    fn place(&self, effective: &Effective) -> Option<usize> {
        self.places.get(usize::from(effective.counted_at)).copied().flatten()
    }
}
